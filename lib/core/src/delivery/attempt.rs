//! Attempts: the HTTP requests of a delivery, and their results.

use std::time::{Duration, SystemTime};

use crate::delivery::answer::AnswerRecord;
use crate::delivery::cause::{Cause, DestinationFault, ExchangeFault};
use crate::delivery::sent::{Connection, SentRecord};
use crate::delivery::token_refusal::{OAuthError, TokenLack, advice, spelled};
use crate::endpoint::destination::Kind;
use crate::endpoint::target::TargetError;

/// The reason why an attempt was not acknowledged.
///
/// Signpost stores `Display` with the attempt and shows it to the tenant. It says what *the tenant* can change and
/// quotes no cause. Causes stay in `source()`, which only operators see in the logs.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    /// The endpoint answered 2xx, but the answer was incomplete.
    #[error("endpoint answered {status}, but: {}", fault.told("endpoint", *timeout))]
    AnswerBroken {
        /// The HTTP status.
        status: u16,
        /// The fault that ended the answer.
        fault: ExchangeFault,
        /// The time limit of the whole attempt.
        timeout: Duration,
    },
    /// The client's certificate cannot be used any more, because the rules changed after it was stored.
    #[error("client certificate cannot be used; set its key store again")]
    BadCertificate(#[source] BoxError),
    /// AWS did not take the message or the event.
    #[error("{}", fault.told(*kind, code))]
    Destination {
        /// The kind of the destination.
        kind: Kind,
        /// The HTTP status of AWS's answer. None if EventBridge took the request, and refused the event in it.
        status: Option<u16>,
        /// The fault.
        fault: DestinationFault,
        /// The code in AWS's answer ([`crate::delivery::destination::judge`]).
        code: String,
    },
    /// The endpoint did not answer.
    #[error("{}", fault.told("endpoint", *timeout))]
    Exchange {
        /// The fault of the exchange.
        fault: ExchangeFault,
        /// The time limit of the whole attempt.
        timeout: Duration,
        /// The cause, if there is one.
        #[source]
        source: Option<BoxError>,
    },
    /// The host resolves to an address that Signpost may not call. DNS may return another address next time.
    #[error("endpoint's host resolves to an address that is not public; correct its DNS records")]
    ForbiddenAddress(#[source] TargetError),
    /// Signpost may not call this URL.
    #[error("endpoint's target is refused; use a publicly routable https URL")]
    ForbiddenTarget(#[source] TargetError),
    /// The webhook is larger than the queue or the event bus takes.
    #[error(
        "webhook has {bytes} bytes with its headers, and {} takes at most {limit}; choose fewer `fields`, or use an \
         endpoint with a `url`",
        kind.service()
    )]
    MessageTooLarge {
        /// The kind of the destination.
        kind: Kind,
        /// The size of the message or the event.
        bytes: usize,
        /// The limit of AWS.
        limit: usize,
    },
    /// The endpoint answered with another status than 2xx.
    #[error("endpoint answered {status}; answer 2xx to acknowledge")]
    Rejected {
        /// The HTTP status.
        status: u16,
        /// The time that the endpoint asks Signpost to wait, if its status allows that.
        retry_after: Option<Duration>,
    },
    /// AWS STS did not let Signpost assume the role of the destination.
    #[error(
        "role of the destination cannot be assumed; let its trust policy allow `sts:AssumeRole` to the endpoint's \
         `assumedBy` with the endpoint's `externalId`"
    )]
    RoleRefused(#[source] BoxError),
    /// The token URL did not answer.
    #[error("{}", fault.told("token URL", *timeout))]
    TokenExchange {
        /// The fault of the exchange.
        fault: ExchangeFault,
        /// The time limit of the whole attempt.
        timeout: Duration,
        /// The cause, if there is one.
        #[source]
        source: Option<BoxError>,
    },
    /// The token URL's host resolves to an address that Signpost may not call.
    #[error("token URL's host resolves to an address that is not public; correct its DNS records")]
    TokenForbiddenAddress(#[source] TargetError),
    /// Signpost may not call the token URL.
    #[error("token URL is refused; use a publicly routable https URL")]
    TokenForbiddenTarget(#[source] TargetError),
    /// The token endpoint answered with another status than 200.
    #[error("token URL answered {status}{}; {}", spelled(*error), advice(*status, *error))]
    TokenRefused {
        /// The HTTP status.
        status: u16,
        /// The error code in its answer.
        error: Option<OAuthError>,
        /// The time that the token endpoint asks Signpost to wait, if its status allows that.
        retry_after: Option<Duration>,
    },
    /// The answer of the token endpoint has no usable token.
    #[error("token URL answered 200 {lack}")]
    TokenUnusable {
        /// The part that is missing or unusable.
        lack: TokenLack,
    },
    /// Signpost asked the endpoint whether it wants webhooks, and the endpoint did not confirm it.
    #[error(
        "endpoint answered {status} and did not prove that it wants webhooks; answer OPTIONS with \
         `WebHook-Allowed-Origin`, or echo the challenge"
    )]
    Unproven {
        /// The HTTP status.
        status: u16,
        /// The time that the endpoint asks Signpost to wait, if its status allows that.
        retry_after: Option<Duration>,
    },
    /// The payload makes the URL of a `GET` longer than any server accepts.
    #[error("URL has {bytes} bytes with the payload in it; choose fewer `fields`, or set `method` to POST")]
    UrlTooLong {
        /// The length of the URL.
        bytes: usize,
    },
}

/// A cause of any type.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl AttemptError {
    /// Returns the code of the cause.
    #[must_use]
    pub fn cause(&self) -> Cause {
        match self {
            Self::AnswerBroken { fault, .. } | Self::Exchange { fault, .. } => Cause::Exchange(*fault),
            Self::BadCertificate(_) => Cause::ClientCertificateUnusable,
            Self::Destination { fault, .. } => Cause::Destination(*fault),
            Self::ForbiddenAddress(_) => Cause::AddressForbidden,
            Self::ForbiddenTarget(_) => Cause::TargetForbidden,
            Self::MessageTooLarge { .. } => Cause::MessageTooLarge,
            Self::Rejected { .. } => Cause::Status,
            Self::RoleRefused(_) => Cause::RoleRefused,
            Self::TokenExchange { fault, .. } => Cause::TokenExchange(*fault),
            Self::TokenForbiddenAddress(_) => Cause::TokenAddressForbidden,
            Self::TokenForbiddenTarget(_) => Cause::TokenTargetForbidden,
            Self::TokenRefused { .. } => Cause::TokenStatus,
            Self::TokenUnusable { .. } => Cause::TokenUnusable,
            Self::Unproven { .. } => Cause::Unproven,
            Self::UrlTooLong { .. } => Cause::UrlTooLong,
        }
    }

    /// Returns how long the endpoint, or its token server, asks Signpost to wait.
    #[must_use]
    pub fn asks_to_wait(&self) -> Option<Duration> {
        match self {
            Self::Rejected { retry_after, .. }
            | Self::TokenRefused { retry_after, .. }
            | Self::Unproven { retry_after, .. } => *retry_after,
            Self::AnswerBroken { .. }
            | Self::BadCertificate(_)
            | Self::Destination { .. }
            | Self::Exchange { .. }
            | Self::ForbiddenAddress(_)
            | Self::ForbiddenTarget(_)
            | Self::MessageTooLarge { .. }
            | Self::RoleRefused(_)
            | Self::TokenExchange { .. }
            | Self::TokenForbiddenAddress(_)
            | Self::TokenForbiddenTarget(_)
            | Self::TokenUnusable { .. }
            | Self::UrlTooLong { .. } => None,
        }
    }

    /// Returns the endpoint's HTTP status, if it sent one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::AnswerBroken { status, .. } | Self::Rejected { status, .. } | Self::Unproven { status, .. } => {
                Some(*status)
            }
            Self::Destination { status, .. } => *status,
            Self::BadCertificate(_)
            | Self::Exchange { .. }
            | Self::ForbiddenAddress(_)
            | Self::ForbiddenTarget(_)
            | Self::MessageTooLarge { .. }
            | Self::RoleRefused(_)
            | Self::TokenExchange { .. }
            | Self::TokenForbiddenAddress(_)
            | Self::TokenForbiddenTarget(_)
            | Self::TokenRefused { .. }
            | Self::TokenUnusable { .. }
            | Self::UrlTooLong { .. } => None,
        }
    }

    /// Returns whether another attempt may succeed without a change of the settings. There is no `_` arm, so that each
    /// new variant must decide.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::AnswerBroken { .. }
            | Self::Destination { .. }
            | Self::Exchange { .. }
            | Self::ForbiddenAddress(_)
            | Self::Rejected { .. }
            | Self::RoleRefused(_)
            | Self::TokenExchange { .. }
            | Self::TokenForbiddenAddress(_)
            | Self::TokenRefused { .. }
            | Self::TokenUnusable { .. }
            | Self::Unproven { .. } => true,
            Self::BadCertificate(_)
            | Self::ForbiddenTarget(_)
            | Self::MessageTooLarge { .. }
            | Self::TokenForbiddenTarget(_)
            | Self::UrlTooLong { .. } => false,
        }
    }
}

/// The result of an attempt: the status of the acknowledgement, or the reason why there is none.
pub type AttemptResult = Result<u16, AttemptError>;

/// The class of an attempt's result, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptClass {
    /// The receiver answered 2xx.
    Acknowledged,
    /// Signpost sent nothing, because the target or the settings are not allowed.
    Blocked,
    /// DNS, the connection or TLS failed, or the receiver closed the connection without an answer.
    Disconnected,
    /// The receiver answered 5xx.
    Failed,
    /// The answer was cut off, or is not valid HTTP/1.1.
    Garbled,
    /// The receiver answered with another status, or did not prove that it wants webhooks.
    Refused,
    /// The time of the attempt ended.
    TimedOut,
    /// The token URL gave no token.
    WithoutToken,
}

impl AttemptClass {
    /// All classes.
    pub const ALL: [Self; 8] = [
        Self::Acknowledged,
        Self::Blocked,
        Self::Disconnected,
        Self::Failed,
        Self::Garbled,
        Self::Refused,
        Self::TimedOut,
        Self::WithoutToken,
    ];

    /// Returns the class of a result.
    #[must_use]
    pub fn of(result: &AttemptResult) -> Self {
        let Err(error) = result else { return Self::Acknowledged };
        match error {
            AttemptError::AnswerBroken { fault, .. } | AttemptError::Exchange { fault, .. } => Self::of_fault(*fault),
            AttemptError::BadCertificate(_)
            | AttemptError::ForbiddenAddress(_)
            | AttemptError::ForbiddenTarget(_)
            | AttemptError::MessageTooLarge { .. }
            | AttemptError::UrlTooLong { .. } => Self::Blocked,
            AttemptError::Destination { fault: DestinationFault::Failed, .. }
            | AttemptError::Rejected { status: 500..=599, .. } => Self::Failed,
            AttemptError::Destination { .. }
            | AttemptError::Rejected { .. }
            | AttemptError::RoleRefused(_)
            | AttemptError::Unproven { .. } => Self::Refused,
            AttemptError::TokenExchange { .. }
            | AttemptError::TokenForbiddenAddress(_)
            | AttemptError::TokenForbiddenTarget(_)
            | AttemptError::TokenRefused { .. }
            | AttemptError::TokenUnusable { .. } => Self::WithoutToken,
        }
    }

    fn of_fault(fault: ExchangeFault) -> Self {
        match fault {
            ExchangeFault::AnswerAmbiguous | ExchangeFault::AnswerCut | ExchangeFault::AnswerUnreadable => {
                Self::Garbled
            }
            ExchangeFault::CertificateExpired
            | ExchangeFault::CertificateInvalid
            | ExchangeFault::CertificateNotYetValid
            | ExchangeFault::CertificateUntrusted
            | ExchangeFault::CertificateWrongName
            | ExchangeFault::ClientCertificateRefused
            | ExchangeFault::ClientCertificateRequired
            | ExchangeFault::ConnectionClosed
            | ExchangeFault::ConnectionFailed
            | ExchangeFault::ConnectionRefused
            | ExchangeFault::ConnectionReset
            | ExchangeFault::Dns
            | ExchangeFault::NotTls
            | ExchangeFault::TlsFailed
            | ExchangeFault::Unreachable => Self::Disconnected,
            ExchangeFault::TimedOut(_) => Self::TimedOut,
        }
    }
}

/// Judges a status: any 2xx acknowledges the webhook, and any other status does not. Signpost never follows redirects
/// (SSRF), so a 3xx is a refusal too. `retry_after` is the value of `Retry-After` in the answer; it counts for 429 and
/// 503 (RFC 6585, section 4; RFC 9110, section 15.6.4).
///
/// # Errors
/// [`AttemptError::Rejected`] for every status outside 200 to 299.
pub fn judge_status(status: u16, retry_after: Option<Duration>) -> AttemptResult {
    if (200..300).contains(&status) {
        return Ok(status);
    }
    Err(AttemptError::Rejected { status, retry_after: may_ask(status, retry_after) })
}

/// Returns the value of `Retry-After` if the status allows the header.
#[must_use]
pub fn may_ask(status: u16, retry_after: Option<Duration>) -> Option<Duration> {
    retry_after.filter(|_| matches!(status, 429 | 503))
}

/// Reads `Retry-After`: seconds, or a date (RFC 9110, section 10.2.3). A date in the past means no wait. An invalid
/// value is ignored.
#[must_use]
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let moment = httpdate::parse_http_date(value).ok()?;
    Some(moment.duration_since(now).unwrap_or_default())
}

/// An attempt as Signpost stores it with its delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The number of the attempt, 1 for the first.
    pub number: u32,
    /// The time of its start, in milliseconds since the Unix epoch.
    pub at_unix_ms: u64,
    /// Its duration, in milliseconds.
    pub duration_ms: u64,
    /// The ids of the signing keys that made its signatures.
    pub kids: Vec<String>,
    /// The HTTP status, if the endpoint sent one.
    pub status: Option<u16>,
    /// The [`AttemptError`]'s `Display`. Absent if the endpoint acknowledged.
    pub error: Option<String>,
    /// The code of the cause. Absent if the endpoint acknowledged.
    pub cause: Option<String>,
    /// The start of the answer. Absent if the endpoint acknowledged or did not answer, and in a record whose answer is
    /// not stored.
    pub response: Option<String>,
    /// Whether the answer is stored.
    pub answer: AnswerRecord,
    /// The request.
    pub sent: SentRecord,
    /// The connection that the answer came over. Absent if the endpoint did not answer.
    pub connection: Option<Connection>,
    /// The target of a redirect, without the values of the URL's query. Signpost does not follow redirects.
    pub redirect: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::cause::Stage;

    #[test]
    fn status_decides_acknowledgement() {
        let cases = [
            (199, false, "interim answers never reach this function, and do not acknowledge"),
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
    fn each_result_is_in_the_class_that_names_the_side_at_fault() {
        let timeout = Duration::from_secs(10);
        let exchange = |fault| Err(AttemptError::Exchange { fault, timeout, source: None });
        let rejected = |status| Err(AttemptError::Rejected { status, retry_after: None });
        let inside = || TargetError::ForbiddenAddress { address: [10, 0, 0, 7].into() };
        let cases = [
            (Ok(204), AttemptClass::Acknowledged, "2xx"),
            (rejected(302), AttemptClass::Refused, "redirects are never followed"),
            (rejected(410), AttemptClass::Refused, "gone"),
            (rejected(429), AttemptClass::Refused, "too many requests"),
            (rejected(500), AttemptClass::Failed, "server error"),
            (rejected(599), AttemptClass::Failed, "the last 5xx"),
            (rejected(600), AttemptClass::Refused, "no class of HTTP"),
            (Err(AttemptError::Unproven { status: 200, retry_after: None }), AttemptClass::Refused, "no proof"),
            (exchange(ExchangeFault::TimedOut(Stage::Connecting)), AttemptClass::TimedOut, "no connection in time"),
            (exchange(ExchangeFault::TimedOut(Stage::Reading)), AttemptClass::TimedOut, "no end in time"),
            (exchange(ExchangeFault::Dns), AttemptClass::Disconnected, "no address"),
            (exchange(ExchangeFault::CertificateExpired), AttemptClass::Disconnected, "TLS"),
            (exchange(ExchangeFault::ConnectionClosed), AttemptClass::Disconnected, "no answer"),
            (exchange(ExchangeFault::AnswerUnreadable), AttemptClass::Garbled, "not HTTP/1.1"),
            (
                Err(AttemptError::AnswerBroken { status: 200, fault: ExchangeFault::AnswerCut, timeout }),
                AttemptClass::Garbled,
                "half an answer",
            ),
            (Err(AttemptError::ForbiddenAddress(inside())), AttemptClass::Blocked, "a private address"),
            (Err(AttemptError::UrlTooLong { bytes: 9_000 }), AttemptClass::Blocked, "a URL that is too long"),
            (
                Err(AttemptError::TokenExchange { fault: ExchangeFault::Dns, timeout, source: None }),
                AttemptClass::WithoutToken,
                "the token URL does not resolve",
            ),
            (Err(AttemptError::TokenForbiddenAddress(inside())), AttemptClass::WithoutToken, "a private token URL"),
        ];
        for (result, class, why) in cases {
            assert_eq!(AttemptClass::of(&result), class, "{why}");
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
    fn stored_texts_say_what_to_change_and_quote_no_cause() {
        let secret_cause = || -> BoxError { "10.0.0.7 refused".into() };
        let inside = || TargetError::ForbiddenAddress { address: [10, 0, 0, 7].into() };
        let timeout = Duration::from_secs(10);
        let exchange = |fault| AttemptError::Exchange { fault, timeout, source: Some(secret_cause()) };
        let cases = [
            (
                exchange(ExchangeFault::ConnectionRefused),
                "connection-refused",
                "endpoint refused the connection; check that its server listens on the URL's port",
            ),
            (
                exchange(ExchangeFault::Dns),
                "dns",
                "host of the endpoint does not resolve; check its spelling and its DNS records",
            ),
            (
                exchange(ExchangeFault::CertificateExpired),
                "certificate-expired",
                "certificate of the endpoint has expired; renew it",
            ),
            (
                exchange(ExchangeFault::TimedOut(Stage::Waiting)),
                "timeout-waiting",
                "endpoint did not answer within 10 s; acknowledge first and work later",
            ),
            (
                AttemptError::AnswerBroken { status: 200, fault: ExchangeFault::AnswerCut, timeout },
                "answer-cut",
                "endpoint answered 200, but: endpoint cut its answer off; send as many bytes as Content-Length says, or \
                 the last chunk",
            ),
            (
                AttemptError::ForbiddenTarget(inside()),
                "target-forbidden",
                "endpoint's target is refused; use a publicly routable https URL",
            ),
            (
                AttemptError::ForbiddenAddress(inside()),
                "address-forbidden",
                "endpoint's host resolves to an address that is not public; correct its DNS records",
            ),
            (
                AttemptError::BadCertificate(secret_cause()),
                "client-certificate-unusable",
                "client certificate cannot be used; set its key store again",
            ),
            (
                AttemptError::UrlTooLong { bytes: 70_000 },
                "url-too-long",
                "URL has 70000 bytes with the payload in it; choose fewer `fields`, or set `method` to POST",
            ),
            (
                AttemptError::Unproven { status: 200, retry_after: None },
                "unproven",
                "endpoint answered 200 and did not prove that it wants webhooks; answer OPTIONS with `WebHook-Allowed-Origin`, or echo the challenge",
            ),
            (
                AttemptError::Rejected { status: 500, retry_after: None },
                "status",
                "endpoint answered 500; answer 2xx to acknowledge",
            ),
        ];
        for (error, cause, text) in cases {
            assert_eq!((error.cause().to_string(), error.to_string()), (cause.to_owned(), text.to_owned()));
            assert!(!text.contains("10.0.0.7"));
        }
    }

    #[test]
    fn stored_texts_about_a_token_server_fit_what_it_answered() {
        let inside = || TargetError::ForbiddenAddress { address: [10, 0, 0, 7].into() };
        let timeout = Duration::from_secs(10);
        let token_exchange =
            |fault| AttemptError::TokenExchange { fault, timeout, source: Some("10.0.0.7 refused".into()) };
        let refused = |status, error| AttemptError::TokenRefused { status, error, retry_after: None };
        let unusable = |lack| AttemptError::TokenUnusable { lack };
        let cases = [
            (
                refused(401, None),
                "token-status",
                "token URL answered 401; check the client's id, its secret and how it is sent",
            ),
            (
                refused(400, Some(OAuthError::InvalidScope)),
                "token-status",
                "token URL answered 400 `invalid_scope`; check the client's scope",
            ),
            (
                refused(302, None),
                "token-status",
                "token URL answered 302; Signpost follows no redirects: set `tokenUrl` to the target",
            ),
            (
                refused(429, None),
                "token-status",
                "token URL answered 429; it gets too many requests, or is too slow: raise its limits",
            ),
            (refused(503, None), "token-status", "token URL answered 503; the token server failed: check its log"),
            (
                token_exchange(ExchangeFault::ConnectionRefused),
                "token-connection-refused",
                "token URL refused the connection; check that its server listens on the URL's port",
            ),
            (
                token_exchange(ExchangeFault::TimedOut(Stage::Waiting)),
                "token-timeout-waiting",
                "token URL did not answer within 10 s; it is part of the attempt and must leave time for the request itself",
            ),
            (
                AttemptError::TokenForbiddenAddress(inside()),
                "token-address-forbidden",
                "token URL's host resolves to an address that is not public; correct its DNS records",
            ),
            (
                AttemptError::TokenForbiddenTarget(inside()),
                "token-target-forbidden",
                "token URL is refused; use a publicly routable https URL",
            ),
            (
                unusable(TokenLack::Type),
                "token-unusable",
                "token URL answered 200 without `token_type`; answer `Bearer`",
            ),
        ];
        for (error, cause, text) in cases {
            assert_eq!((error.cause().to_string(), error.to_string()), (cause.to_owned(), text.to_owned()));
            assert!(!text.contains("10.0.0.7"));
        }
    }
}
