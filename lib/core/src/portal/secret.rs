//! Codes of links and tokens of sessions, and the ids of links, which are no secrets.

use crate::dated_id::dated_id;
use crate::random_secret::{RandomSecret, SecretHash};

/// The code of a link or the token of a session. Tables have its hash only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortalSecret(RandomSecret);

impl PortalSecret {
    /// Makes a secret of random bytes.
    #[must_use]
    pub fn new(random: [u8; 32]) -> Self {
        Self(RandomSecret::new(random))
    }

    /// Parses a text that may be a secret. No table knows any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        RandomSecret::parse(text).map(Self)
    }

    /// Parses the value of `Authorization: Bearer <token>` (RFC 6750, section 2.1). The name of the scheme has any case.
    #[must_use]
    pub fn of_authorization(value: &str) -> Option<Self> {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| Self::parse(token))?
    }

    /// Returns the text. It is in the answer that hands it over, and nowhere else.
    #[must_use]
    pub fn reveal(&self) -> &str {
        self.0.reveal()
    }

    /// Returns the URL that opens the page with this code. A browser does not send the part after `#`, so no log has it.
    #[must_use]
    pub fn page_url(&self, base: &str) -> String {
        format!("{base}/portal/#{}", self.reveal())
    }

    /// Returns the hash by which tables know the secret.
    #[must_use]
    pub fn hash(&self) -> SecretHash {
        self.0.hash()
    }
}

dated_id!(
    /// The id of a link: `pl_`, the moment at which it was made, and random digits. A later link has a greater id.
    LinkId,
    "pl_"
);

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s";

    #[test]
    fn a_code_is_only_in_the_fragment_of_the_url() {
        let code = PortalSecret::new([0xab; 32]);
        assert_eq!(code.page_url("https://a.example/base"), format!("https://a.example/base/portal/#{TEXT}"));
        assert_eq!(PortalSecret::parse(TEXT), Some(code.clone()));
        assert!(!format!("{code:?}").contains("q6ur"));
    }

    #[test]
    fn only_one_bearer_token_is_taken_from_a_header() {
        let cases = [
            (format!("Bearer {TEXT}"), true, "as the page sends it"),
            (format!("bearer {TEXT}"), true, "a scheme has no case"),
            (format!("Bearer {TEXT},Bearer {TEXT}"), false, "two headers, as API Gateway joins them"),
            (format!("Bearer {TEXT}, Basic eA=="), false, "two schemes"),
            (format!("Bearer  {TEXT}"), false, "two spaces"),
            (format!("Bearer {TEXT} "), false, "a space at the end"),
            (format!("Bearer\t{TEXT}"), false, "a tab"),
            (format!("Basic {TEXT}"), false, "another scheme"),
            (TEXT.to_owned(), false, "no scheme"),
            ("Bearer ".into(), false, "no token"),
            (format!("Bearer {}", &TEXT[1..]), false, "too short"),
            (format!("Bearer {TEXT}="), false, "padded"),
            (format!("Bearer {}", TEXT.replace('s', "t")), false, "a spelling that loses the last bits"),
        ];
        for (value, is_taken, why) in cases {
            assert_eq!(PortalSecret::of_authorization(&value).is_some(), is_taken, "{why}");
        }
    }
}
