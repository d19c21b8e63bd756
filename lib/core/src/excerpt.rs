//! Excerpts: what is kept of an answer.

use crate::secret::Secret;

/// How many bytes of an answer are kept.
pub const KEPT_BYTES: usize = 1_024;

/// What stands where a secret stood.
const REDACTED: &str = "[redacted]";

/// Gives the beginning of an answer's body as text, [`KEPT_BYTES`] at the most. What is no UTF-8 is replaced.
///
/// None of `secrets` is in it: error pages like to print the request that they failed at. Give some bytes more than are
/// kept, as many as the longest secret has, so that none is cut in two before it is seen.
#[must_use]
pub fn excerpt(body: &[u8], secrets: &[Secret]) -> String {
    let mut text = String::from_utf8_lossy(body).into_owned();
    for secret in secrets.iter().filter(|secret| !secret.reveal().is_empty()) {
        text = text.replace(secret.reveal(), REDACTED);
    }
    text.truncate(text.floor_char_boundary(KEPT_BYTES));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_a_kilobyte_of_text_at_the_most() {
        assert_eq!(excerpt(b"no such payment", &[]), "no such payment");
        assert_eq!(excerpt(b"\xff\xfe ok", &[]), "\u{fffd}\u{fffd} ok");
        assert_eq!(excerpt("ü".repeat(1_000).as_bytes(), &[]).len(), 1_024);
        assert_eq!(excerpt(&[0xff; 2_000], &[]).len(), 1_023, "a replacement has three bytes");
    }

    #[test]
    fn a_secret_that_comes_back_is_not_kept() {
        let secrets = ["Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"].map(|text| Secret::new(text.into()));
        let page = b"<pre>authorization: Basic dXNlcjpwYXNz (dXNlcjpwYXNz)</pre>";
        assert_eq!(excerpt(page, &secrets), "<pre>authorization: [redacted] ([redacted])</pre>");
        let cut = [&[b'x'; 1_020][..], b"dXNlcjpwYXNz"].concat();
        assert!(!excerpt(&cut, &secrets).contains("dXNl"));
    }
}
