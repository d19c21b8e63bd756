//! Excerpts: what is kept of an answer.

use crate::secret::Secret;

/// How many bytes of an answer are kept.
pub const KEPT_BYTES: usize = 1_024;

/// What stands where a secret stood.
const REDACTED: &str = "[redacted]";

/// Gives the beginning of an answer's body as text, [`KEPT_BYTES`] at the most. What is no UTF-8 is replaced.
///
/// None of `secrets` is in it, nor the beginning of one at the end of `body`: error pages like to print the request that
/// they failed at, and `body` may have been cut anywhere.
#[must_use]
pub fn excerpt(body: &[u8], secrets: &[Secret]) -> String {
    let mut text = String::from_utf8_lossy(body).into_owned();
    for secret in secrets.iter().filter(|secret| !secret.reveal().is_empty()) {
        text = text.replace(secret.reveal(), REDACTED);
    }
    // What is replaced makes room for what comes behind it, so the place where the body was cut may be within.
    for secret in secrets.iter().map(Secret::reveal) {
        let beginnings = secret.char_indices().map(|(at, _)| &secret[..at]).filter(|beginning| !beginning.is_empty());
        if let Some(beginning) = beginnings.rev().find(|beginning| text.ends_with(beginning)) {
            text.truncate(text.len() - beginning.len());
        }
    }
    text.truncate(text.floor_char_boundary(KEPT_BYTES));
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_excerpt_is_a_kilobyte_of_text_at_the_most() {
        assert_eq!(excerpt(b"no such payment", &[]), "no such payment");
        assert_eq!(excerpt(b"\xff\xfe ok", &[]), "\u{fffd}\u{fffd} ok");
        assert_eq!(excerpt("ü".repeat(1_000).as_bytes(), &[]).len(), 1_024);
        assert_eq!(excerpt(&[0xff; 2_000], &[]).len(), 1_023, "a replacement has three bytes");
    }

    proptest! {
        /// However often a page prints a secret, and wherever it is cut, not even half of it is kept.
        #[test]
        fn no_half_of_a_secret_is_kept(secret in "[a-z0-9]{8,600}", copies in 1..20_usize, between in "[A-Z <>:]{0,40}", more in 0..700_usize) {
            let page = [between.as_str(), secret.as_str()].concat().repeat(copies);
            let read = &page.as_bytes()[..page.len().min(KEPT_BYTES + more)];
            let kept = excerpt(read, &[Secret::new(secret.clone())]);
            prop_assert!(kept.len() <= KEPT_BYTES);
            prop_assert!(!kept.contains(&secret[..secret.len().div_ceil(2)]), "{}", kept);
        }
    }

    #[test]
    fn a_secret_that_comes_back_is_not_kept() {
        let secrets = ["Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"].map(|text| Secret::new(text.into()));
        let page = b"<pre>authorization: Basic dXNlcjpwYXNz (dXNlcjpwYXNz)</pre>";
        assert_eq!(excerpt(page, &secrets), "<pre>authorization: [redacted] ([redacted])</pre>");
        let page = b"Basic dXNlcjpwYXNz, Basic dXNlcjpwYXNz, Basic dXNlcjpwYX";
        assert_eq!(excerpt(page, &secrets), "[redacted], [redacted], ", "cut in the middle of the third");
    }
}
