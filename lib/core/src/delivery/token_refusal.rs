//! Refusals of token endpoints: the registered errors, an answer without a usable token, and what the owner can do.

/// The registered error codes of a token endpoint (RFC 6749, section 5.2). Other texts of its answer are not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OAuthError {
    /// The client is unknown, or its secret is wrong.
    InvalidClient,
    /// The grant is none that it gives.
    InvalidGrant,
    /// The request lacks something.
    InvalidRequest,
    /// The scope is none that it gives.
    InvalidScope,
    /// The client may not use this grant.
    UnauthorizedClient,
    /// The server does not know this grant.
    UnsupportedGrantType,
}

impl OAuthError {
    const ALL: [Self; 6] = [
        Self::InvalidClient,
        Self::InvalidGrant,
        Self::InvalidRequest,
        Self::InvalidScope,
        Self::UnauthorizedClient,
        Self::UnsupportedGrantType,
    ];

    /// The registered code.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::InvalidRequest => "invalid_request",
            Self::InvalidScope => "invalid_scope",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
        }
    }

    /// Reads a registered code; nothing of any other text.
    #[must_use]
    pub fn parse(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|error| error.as_str() == code)
    }
}

/// What a token endpoint's answer lacks (RFC 6749, section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenLack {
    /// It is no JSON object.
    #[error("with something else than a JSON object; answer as RFC 6749, section 5.1, says")]
    Json,
    /// It has no `access_token`, an empty one, or one that fits in no header.
    #[error("without a usable `access_token`; answer one of visible ASCII characters (RFC 6750, section 2.1)")]
    Token,
    /// It has no `token_type`.
    #[error("without `token_type`; answer `Bearer`")]
    Type,
    /// Its `token_type` is another.
    #[error("with a `token_type` other than `Bearer`; Signpost sends bearer tokens only")]
    OtherType,
}

/// Writes the code behind the status.
pub(crate) fn spelled(error: Option<OAuthError>) -> String {
    error.map(|error| format!(" `{}`", error.as_str())).unwrap_or_default()
}

/// What to do about a refusal of the token endpoint. Its code says more than its status.
pub(crate) fn advice(status: u16, error: Option<OAuthError>) -> &'static str {
    match (error, status) {
        (Some(OAuthError::InvalidClient), _) | (None, 401) => "check the client's id, its secret and how it is sent",
        (Some(OAuthError::InvalidGrant | OAuthError::UnauthorizedClient | OAuthError::UnsupportedGrantType), _) => {
            "allow the client the grant `client_credentials`"
        }
        (Some(OAuthError::InvalidRequest), _) => "check how the client authenticates, and its scope",
        (Some(OAuthError::InvalidScope), _) => "check the client's scope",
        (None, 300..=399) => "redirects are not followed: set `tokenUrl` to where it leads",
        (None, 403) => "allow the client to fetch tokens",
        (None, 404 | 405 | 410) => "check `tokenUrl`",
        (None, 408 | 429) => "it is asked too often, or too slow: raise its limits",
        (None, 400..=499) => "check the client's id, its secret and its scope",
        (None, 500..) => "the token server fails: look into its log",
        (None, _) => "answer 200 with a token",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_registered_codes_of_a_token_server_are_kept() {
        for error in OAuthError::ALL {
            assert_eq!(OAuthError::parse(error.as_str()), Some(error));
        }
        assert_eq!(OAuthError::parse("your secret is hunter2"), None);
    }
}
