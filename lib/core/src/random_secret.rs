//! Random secrets in URLs and headers, and the hashes by which tables know them.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::secret::Secret;

/// 256 random bits, spelled in base64url. Tables have their hash only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RandomSecret(Secret);

/// The SHA-256 hash of a [`RandomSecret`], in base64url. Tables find items by it, so nobody compares secrets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SecretHash(String);

impl RandomSecret {
    /// Makes a secret of random bytes.
    #[must_use]
    pub fn new(random: [u8; 32]) -> Self {
        Self(Secret::new(URL_SAFE_NO_PAD.encode(random)))
    }

    /// Parses a text that may be a secret. No table knows any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        is_base64url_of_32_bytes(text).then(|| Self(Secret::new(text.to_owned())))
    }

    /// Returns the text. It is in the answer or URL that hands it over, and nowhere else.
    #[must_use]
    pub fn reveal(&self) -> &str {
        self.0.reveal()
    }

    /// Returns the hash by which tables know the secret.
    #[must_use]
    pub fn hash(&self) -> SecretHash {
        SecretHash(URL_SAFE_NO_PAD.encode(digest(&SHA256, self.reveal().as_bytes())))
    }
}

impl SecretHash {
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

impl fmt::Display for SecretHash {
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

    const TEXT: &str = "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s";

    #[test]
    fn a_secret_reads_back_and_only_its_hash_is_shown() {
        let secret = RandomSecret::new([0xab; 32]);
        assert_eq!(secret.reveal(), TEXT);
        assert_eq!(RandomSecret::parse(TEXT), Some(secret.clone()));
        // Python: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())
        assert_eq!(secret.hash().as_str(), "DpR3z0YFvjwi8HL7szpZiHe1HsCgl9lkvwZpTeD8SX4");
        assert_eq!(SecretHash::parse(secret.hash().as_str()), Some(secret.hash()));
        assert!(!format!("{secret:?}").contains("q6ur"));
    }

    #[test]
    fn an_invalid_secret_is_refused_without_a_read() {
        let cases = [
            (String::new(), "nothing"),
            (TEXT[1..].to_owned(), "too short"),
            (format!("{TEXT}A"), "too long"),
            (format!("{TEXT}="), "padded"),
            (TEXT.replace('s', "t"), "a spelling that loses the last bits"),
            (TEXT.replacen('q', "+", 1), "another alphabet"),
            (TEXT.replacen('q', "<", 1), "HTML"),
            (TEXT.replacen('q', "é", 1), "no ASCII"),
        ];
        for (text, why) in cases {
            assert_eq!(RandomSecret::parse(&text), None, "{why}");
            assert_eq!(SecretHash::parse(&text), None, "{why}");
        }
    }
}
