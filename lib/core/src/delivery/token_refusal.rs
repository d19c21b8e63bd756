//! Refusals of token endpoints: the registered errors, answers without a usable token, and advice for the owner.

/// A registered error code of a token endpoint (RFC 6749, section 5.2). Signpost stores no other text of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OAuthError {
    /// The client is unknown, or its secret is wrong.
    InvalidClient,
    /// The server does not accept the grant.
    InvalidGrant,
    /// The request is incomplete or malformed.
    InvalidRequest,
    /// The server does not accept the scope.
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

    /// Returns the registered code.
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

    /// Parses a registered code. Returns none for any other text.
    #[must_use]
    pub fn parse(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|error| error.as_str() == code)
    }
}

/// The missing part of a token endpoint's answer (RFC 6749, section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenLack {
    /// The answer is not a JSON object.
    #[error("without a JSON object; answer as RFC 6749, section 5.1, requires")]
    Json,
    /// The `access_token` is absent, empty, or not allowed in a header.
    #[error("without a usable `access_token`; use visible ASCII characters for it (RFC 6750, section 2.1)")]
    Token,
    /// The answer has no `token_type`.
    #[error("without `token_type`; answer `Bearer`")]
    Type,
    /// The `token_type` is not `Bearer`.
    #[error("with a `token_type` other than `Bearer`; Signpost sends bearer tokens only")]
    OtherType,
}

/// Formats the code for the text, after the status.
pub(crate) fn spelled(error: Option<OAuthError>) -> String {
    error.map(|error| format!(" `{}`", error.as_str())).unwrap_or_default()
}

/// Returns advice about a refusal of the token endpoint. The error code is more specific than the status.
pub(crate) fn advice(status: u16, error: Option<OAuthError>) -> &'static str {
    match (error, status) {
        (Some(OAuthError::InvalidClient), _) | (None, 401) => "check the client's id, its secret and how it is sent",
        (Some(OAuthError::InvalidGrant | OAuthError::UnauthorizedClient | OAuthError::UnsupportedGrantType), _) => {
            "allow the client the grant `client_credentials`"
        }
        (Some(OAuthError::InvalidRequest), _) => "check how the client authenticates, and its scope",
        (Some(OAuthError::InvalidScope), _) => "check the client's scope",
        (None, 300..=399) => "Signpost follows no redirects: set `tokenUrl` to the target",
        (None, 403) => "allow the client to fetch tokens",
        (None, 404 | 405 | 410) => "check `tokenUrl`",
        (None, 408 | 429) => "it gets too many requests, or is too slow: raise its limits",
        (None, 400..=499) => "check the client's id, its secret and its scope",
        (None, 500..) => "the token server failed: check its log",
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
