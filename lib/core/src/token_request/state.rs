//! States: the secret ends of callback URLs. A caller that knows the state may call back.

use crate::random_secret::{RandomSecret, SecretHash};

/// A state. It is only in the callback URL. The table has its hash, which does not allow anyone to call back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallbackToken(RandomSecret);

impl CallbackToken {
    /// Makes a state of random bytes.
    #[must_use]
    pub fn new(random: [u8; 32]) -> Self {
        Self(RandomSecret::new(random))
    }

    /// Parses a text that may be a state. No table knows any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        RandomSecret::parse(text).map(Self)
    }

    /// Returns the callback URL, for the bank.
    #[must_use]
    pub fn callback_url(&self, base: &str) -> String {
        format!("{base}/callbacks/{}", self.0.reveal())
    }

    /// Returns the hash by which the state is recognised.
    #[must_use]
    pub fn hash(&self) -> SecretHash {
        self.0.hash()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_only_in_the_url() {
        let state = CallbackToken::new([0xab; 32]);
        let text = "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s";
        assert_eq!(state.callback_url("https://a.example"), format!("https://a.example/callbacks/{text}"));
        assert_eq!(CallbackToken::parse(text), Some(state.clone()));
        assert!(!format!("{state:?}").contains("q6ur"));
    }
}
