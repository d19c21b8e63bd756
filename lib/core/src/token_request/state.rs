//! States: the secret ends of callback URLs. A caller that knows the state may call back.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::secret::Secret;

/// 256 random bits, spelled in base64url. The state is only in the callback URL. The table has its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallbackToken(Secret);

/// The SHA-256 hash of a state, in base64url. The hash does not allow anyone to call back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StateHash(String);

impl CallbackToken {
    /// Makes a state of random bytes.
    #[must_use]
    pub fn new(random: [u8; 32]) -> Self {
        Self(Secret::new(URL_SAFE_NO_PAD.encode(random)))
    }

    /// Parses a text that may be a state. No table knows any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        is_base64url_of_32_bytes(text).then(|| Self(Secret::new(text.to_owned())))
    }

    /// Returns the callback URL, for the bank.
    #[must_use]
    pub fn callback_url(&self, base: &str) -> String {
        format!("{base}/callbacks/{}", self.0.reveal())
    }

    /// Returns the hash by which the state is recognised.
    #[must_use]
    pub fn hash(&self) -> StateHash {
        StateHash(URL_SAFE_NO_PAD.encode(digest(&SHA256, self.0.reveal().as_bytes())))
    }
}

impl StateHash {
    /// Parses a text that may be a hash.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        is_base64url_of_32_bytes(text).then(|| Self(text.to_owned()))
    }

    /// Returns the hash as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_base64url_of_32_bytes(text: &str) -> bool {
    URL_SAFE_NO_PAD.decode(text).is_ok_and(|bytes| bytes.len() == 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_only_in_the_url_and_its_hash_elsewhere() {
        let state = CallbackToken::new([0xab; 32]);
        let text = "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s";
        assert_eq!(state.callback_url("https://a.example"), format!("https://a.example/callbacks/{text}"));
        assert_eq!(CallbackToken::parse(text), Some(state.clone()));
        // Python: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())
        assert_eq!(state.hash().as_str(), "DpR3z0YFvjwi8HL7szpZiHe1HsCgl9lkvwZpTeD8SX4");
        assert_eq!(StateHash::parse(state.hash().as_str()), Some(state.hash()));
        assert!(!format!("{state:?}").contains("q6ur"));
    }

    #[test]
    fn an_invalid_state_is_refused_without_a_read() {
        let text = "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s";
        let cases = [
            (String::new(), "nothing"),
            (text[1..].to_owned(), "too short"),
            (format!("{text}A"), "too long"),
            (format!("{text}="), "padded"),
            (text.replace('s', "t"), "a spelling that loses the last bits"),
            (text.replacen('q', "+", 1), "another alphabet"),
            (text.replacen('q', "<", 1), "HTML"),
            (text.replacen('q', "é", 1), "no ASCII"),
        ];
        for (text, why) in cases {
            assert_eq!(CallbackToken::parse(&text), None, "{why}");
        }
        assert_eq!(StateHash::parse("0"), None);
    }
}
