//! Attempts: one HTTP request of a delivery each, and what came of it.

use std::time::{Duration, SystemTime};

use crate::sent::{Connection, SentRecord};
use crate::target::TargetError;

/// Why an attempt did not end in an acknowledgement.
///
/// `Display` is stored with the attempt and shown to the tenant: it says what *they* can change and quotes no cause.
/// Causes stay in `source()`, which only operators see in the logs.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    /// The client's certificate cannot be used any more: rules have changed since it was written.
    #[error("client certificate cannot be used; write its key store anew")]
    BadCertificate(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The endpoint acknowledged, but the answer broke off or did not end in time.
    #[error(
        "endpoint answered {status}, but the answer broke off or did not end in time; send the whole answer, or none"
    )]
    AnswerCut {
        /// The HTTP status.
        status: u16,
    },
    /// No connection, or it broke before there was a status.
    #[error(
        "connection to the endpoint failed; check that it is up, reachable and speaks TLS with a valid certificate"
    )]
    Connection(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The host resolved to an address that Signpost does not call. DNS may answer otherwise next time.
    #[error("endpoint's host resolves to an address that is not public; check its DNS records")]
    ForbiddenAddress(#[source] TargetError),
    /// The URL is none that Signpost calls, whatever DNS says.
    #[error("endpoint's target is refused; use a publicly routable https URL")]
    ForbiddenTarget(#[source] TargetError),
    /// The endpoint answered with something else than 2xx.
    #[error("endpoint answered {status}; answer 2xx to acknowledge")]
    Rejected {
        /// The HTTP status.
        status: u16,
        /// How long it asks to be left alone, where its status may ask.
        retry_after: Option<Duration>,
    },
    /// The token endpoint answered with something else than 200.
    #[error("token URL answered {status}; check the client's id, its secret and its scope")]
    TokenRefused {
        /// The HTTP status.
        status: u16,
    },
    /// The attempt's time ran out before there was an access token.
    #[error("token URL gave no token within {} s, which is the time of the whole attempt", .0.as_secs())]
    TokenTimedOut(Duration),
    /// No connection to the token endpoint, or it broke before the answer was complete.
    #[error(
        "connection to the token URL failed; check that it is up, reachable and speaks TLS with a valid certificate"
    )]
    TokenUnreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The token endpoint answered without a token that could be used.
    #[error("token URL gave no bearer token in JSON; it must answer as RFC 6749, section 5.1, says")]
    TokenUnusable,
    /// The endpoint was asked whether it wants webhooks, and did not say so.
    #[error(
        "endpoint answered {status} and did not prove that it wants webhooks; answer OPTIONS with \
         `WebHook-Allowed-Origin`, or echo the challenge"
    )]
    Unproven {
        /// The HTTP status.
        status: u16,
        /// How long it asks to be left alone, where its status may ask.
        retry_after: Option<Duration>,
    },
    /// The payload makes the URL of a `GET` longer than any server takes.
    #[error("URL has {bytes} bytes with the payload in it; let the endpoint choose fewer fields, or POST")]
    UrlTooLong {
        /// How long it is.
        bytes: usize,
    },
    /// The attempt's time ran out before the answer was complete.
    #[error("endpoint did not answer within {} s; acknowledge first and work later", .0.as_secs())]
    TimedOut(Duration),
}

impl AttemptError {
    /// How long the endpoint asks to be left alone.
    #[must_use]
    pub fn asks_to_wait(&self) -> Option<Duration> {
        match self {
            Self::Rejected { retry_after, .. } | Self::Unproven { retry_after, .. } => *retry_after,
            Self::BadCertificate(_)
            | Self::AnswerCut { .. }
            | Self::Connection(_)
            | Self::ForbiddenAddress(_)
            | Self::ForbiddenTarget(_)
            | Self::TimedOut(_)
            | Self::TokenRefused { .. }
            | Self::TokenTimedOut(_)
            | Self::TokenUnreachable(_)
            | Self::TokenUnusable
            | Self::UrlTooLong { .. } => None,
        }
    }

    /// The endpoint's HTTP status, where one was received.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::BadCertificate(_)
            | Self::Connection(_)
            | Self::ForbiddenAddress(_)
            | Self::ForbiddenTarget(_)
            | Self::TimedOut(_)
            | Self::TokenRefused { .. }
            | Self::TokenTimedOut(_)
            | Self::TokenUnreachable(_)
            | Self::TokenUnusable
            | Self::UrlTooLong { .. } => None,
            Self::AnswerCut { status } | Self::Rejected { status, .. } | Self::Unproven { status, .. } => Some(*status),
        }
    }

    /// Whether another attempt may succeed without anybody changing a setting. No `_` arm: a new variant has to decide.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::AnswerCut { .. }
            | Self::Connection(_)
            | Self::ForbiddenAddress(_)
            | Self::Rejected { .. }
            | Self::TimedOut(_)
            | Self::TokenRefused { .. }
            | Self::TokenTimedOut(_)
            | Self::TokenUnreachable(_)
            | Self::TokenUnusable
            | Self::Unproven { .. } => true,
            Self::BadCertificate(_) | Self::ForbiddenTarget(_) | Self::UrlTooLong { .. } => false,
        }
    }
}

/// What an attempt came to: the status of the acknowledgement, or why there is none.
pub type AttemptResult = Result<u16, AttemptError>;

/// Judges a received status: any 2xx acknowledges, everything else does not. Redirects are never followed (SSRF), so a
/// 3xx is a refusal like any other. `retry_after` is what the answer's `Retry-After` says; it counts with 429 and 503
/// (RFC 6585, section 4; RFC 9110, section 15.6.4).
///
/// # Errors
/// [`AttemptError::Rejected`] for everything outside 200 to 299.
pub fn judge_status(status: u16, retry_after: Option<Duration>) -> AttemptResult {
    if (200..300).contains(&status) {
        return Ok(status);
    }
    Err(AttemptError::Rejected { status, retry_after: retry_after.filter(|_| matches!(status, 429 | 503)) })
}

/// Reads `Retry-After`: seconds, or a moment (RFC 9110, section 10.2.3). What is past asks for nothing; what cannot be
/// read does not count.
#[must_use]
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let moment = httpdate::parse_http_date(value).ok()?;
    Some(moment.duration_since(now).unwrap_or_default())
}

/// One attempt as it is kept with its delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// 1 for the first.
    pub number: u32,
    /// When it started, in milliseconds since the Unix epoch.
    pub at_unix_ms: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// The signing keys that its signatures were made with.
    pub kids: Vec<String>,
    /// The HTTP status, where one was received.
    pub status: Option<u16>,
    /// The [`AttemptError`]'s `Display`; absent when the endpoint acknowledged.
    pub error: Option<String>,
    /// The beginning of what was answered; absent when the endpoint acknowledged, or answered nothing.
    pub response: Option<String>,
    /// What was sent.
    pub sent: SentRecord,
    /// What it was answered over; absent when no answer came.
    pub connection: Option<Connection>,
    /// Where the answer redirects to, without the values of the URL's query. Redirects are not followed.
    pub redirect: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_decides_acknowledgement() {
        let cases = [
            (199, false, "interim answers never get here, but are no acknowledgement"),
            (200, true, "ok"),
            (204, true, "no content"),
            (299, true, "any 2xx"),
            (300, false, "outside"),
            (302, false, "redirects are never followed (SSRF)"),
            (404, false, "not found"),
            (500, false, "server error"),
        ];
        for (status, acknowledged, why) in cases {
            assert_eq!(judge_status(status, None).is_ok(), acknowledged, "{status}: {why}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_moment() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777); // Sun, 06 Nov 1994 08:49:37 GMT
        let cases = [
            ("120", Some(120), "seconds"),
            ("0", Some(0), "at once"),
            ("99999999999999999999999", Some(u64::MAX), "absurd"),
            ("Sun, 06 Nov 1994 08:51:37 GMT", Some(120), "RFC 9110's format"),
            ("Sunday, 06-Nov-94 08:51:37 GMT", Some(120), "RFC 850's"),
            ("Sun Nov  6 08:51:37 1994", Some(120), "asctime's"),
            ("Fri, 31 Dec 1999 23:59:59 GMT", Some(162_573_022), "RFC 9110's example"),
            ("Sun, 06 Nov 1994 08:49:36 GMT", Some(0), "past"),
            ("-1", None, "negative"),
            ("1.5", None, "not whole"),
            ("soon", None, "no moment"),
            ("", None, "nothing"),
        ];
        for (value, seconds, why) in cases {
            assert_eq!(retry_after(value, now), seconds.map(Duration::from_secs), "{value:?}: {why}");
        }
    }

    #[test]
    fn stored_texts_tell_the_tenant_what_to_change_and_quote_no_cause() {
        let secret_cause = || -> Box<dyn std::error::Error + Send + Sync> { "10.0.0.7 refused".into() };
        let cases = [
            (
                AttemptError::Connection(secret_cause()),
                "connection to the endpoint failed; check that it is up, reachable and speaks TLS with a valid certificate",
            ),
            (
                AttemptError::AnswerCut { status: 200 },
                "endpoint answered 200, but the answer broke off or did not end in time; send the whole answer, or none",
            ),
            (
                AttemptError::ForbiddenAddress(TargetError::ForbiddenAddress { address: [10, 0, 0, 7].into() }),
                "endpoint's host resolves to an address that is not public; check its DNS records",
            ),
            (
                AttemptError::ForbiddenTarget(TargetError::ForbiddenAddress { address: [10, 0, 0, 7].into() }),
                "endpoint's target is refused; use a publicly routable https URL",
            ),
            (
                AttemptError::BadCertificate(secret_cause()),
                "client certificate cannot be used; write its key store anew",
            ),
            (
                AttemptError::TokenRefused { status: 401 },
                "token URL answered 401; check the client's id, its secret and its scope",
            ),
            (
                AttemptError::TokenUnreachable(secret_cause()),
                "connection to the token URL failed; check that it is up, reachable and speaks TLS with a valid certificate",
            ),
            (
                AttemptError::TokenTimedOut(Duration::from_secs(10)),
                "token URL gave no token within 10 s, which is the time of the whole attempt",
            ),
            (
                AttemptError::TokenUnusable,
                "token URL gave no bearer token in JSON; it must answer as RFC 6749, section 5.1, says",
            ),
            (
                AttemptError::UrlTooLong { bytes: 70_000 },
                "URL has 70000 bytes with the payload in it; let the endpoint choose fewer fields, or POST",
            ),
            (
                AttemptError::Rejected { status: 500, retry_after: None },
                "endpoint answered 500; answer 2xx to acknowledge",
            ),
            (
                AttemptError::Unproven { status: 200, retry_after: None },
                "endpoint answered 200 and did not prove that it wants webhooks; answer OPTIONS with `WebHook-Allowed-Origin`, or echo the challenge",
            ),
            (
                AttemptError::TimedOut(Duration::from_secs(10)),
                "endpoint did not answer within 10 s; acknowledge first and work later",
            ),
        ];
        for (error, text) in cases {
            assert_eq!(error.to_string(), text);
        }
    }
}
