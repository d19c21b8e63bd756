use std::error::Error as StdError;
use std::sync::Arc;

/// Reason why `verify` returns no event.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The key set could not be fetched, so nothing is known about the request.
    #[error(transparent)]
    KeysUnavailable(#[from] KeysUnavailable),
    /// The `seen` hook failed. The request verifies.
    #[error("the `seen` hook failed; try again")]
    Seen(#[source] Box<dyn StdError + Send + Sync>),
    /// The request does not verify.
    #[error(transparent)]
    Refused(#[from] VerificationError),
}

impl Error {
    /// Step that failed, by the names of `signpost verify`; also `keys-unavailable` and `seen`.
    #[must_use]
    pub fn step(&self) -> &'static str {
        match self {
            Self::KeysUnavailable(_) => "keys-unavailable",
            Self::Seen(_) => "seen",
            Self::Refused(error) => error.step(),
        }
    }

    /// Status to answer: 401 refuses the request for good, and after 503 Signpost sends it again.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::KeysUnavailable(_) | Self::Seen(_) => 503,
            Self::Refused(_) => 401,
        }
    }
}

/// Request that does not verify. Answer 401.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{step}: {found}; {next}")]
pub struct VerificationError {
    step: &'static str,
    found: String,
    next: String,
}

impl VerificationError {
    pub(crate) fn new(step: &'static str, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self { step, found: found.into(), next: next.into() }
    }

    /// Step that failed, by the names of `signpost verify`.
    #[must_use]
    pub fn step(&self) -> &'static str {
        self.step
    }

    /// Fact: found, and expected.
    #[must_use]
    pub fn found(&self) -> &str {
        &self.found
    }

    /// Advice.
    #[must_use]
    pub fn next(&self) -> &str {
        &self.next
    }
}

/// Key set that could not be fetched. Answer 503: Signpost sends the webhook again.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the key set at `{url}` could not be fetched; compare the URL with the endpoint's `jwksUrl`")]
pub struct KeysUnavailable {
    pub(crate) url: String,
    #[source]
    pub(crate) cause: Option<Arc<FetchError>>,
}

/// Reason why a fetch of the key set failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("not a key set; expected {{\"keys\":[…]}}, as the endpoint's `jwksUrl` answers")]
    NotAKeySet,
    #[error("no whole answer")]
    NoAnswer(#[source] reqwest::Error),
    #[error("the answer's status is {0}; expected 200")]
    Status(u16),
    #[error("the key set has more than {0} bytes")]
    TooLong(usize),
}

/// Settings with which nothing can be verified.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// A name of an algorithm is not one of an endpoint's `jwsAlgorithm`.
    #[error("the algorithm is `{0}`; expected RS256, ES256 or EdDSA")]
    Algorithm(String),
    /// The HTTP client that fetches keys cannot be made.
    #[error("the HTTP client for the keys cannot be made; look for the system's certificates")]
    Client(#[source] reqwest::Error),
    /// A name of a format is not one of an endpoint's `signatures`.
    #[error("the format is `{0}`; expected jws, standard-webhooks or http-message-signatures")]
    Format(String),
    /// The text of a key set is not one.
    #[error("the key set cannot be read; expected {{\"keys\":[…]}}, as the endpoint's `jwksUrl` answers")]
    Keys,
    /// The URL of the keys does not protect them.
    #[error("the key URL is `{0}`; expected https, because the keys decide what is genuine")]
    KeysUrl(String),
    /// No format is accepted.
    #[error("`formats` is empty; expected at least one format")]
    NoFormat,
    /// There is nothing to verify with.
    #[error("there is neither `keys_url` nor `secrets`; expected one of them")]
    NothingToVerifyWith,
    /// A signing secret cannot be read.
    #[error("a secret cannot be read; expected `whsec_` and base64, as the API shows `signingSecret`")]
    Secret,
}
