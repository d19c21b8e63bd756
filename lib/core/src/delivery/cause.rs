//! Causes of failed attempts: a code for programs, and a sentence for the endpoint's owner.

use std::fmt;
use std::time::Duration;

use crate::endpoint::destination::Kind;

/// A fault of an exchange with a server. Its texts never quote the server, an address or a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExchangeFault {
    /// The headers contradict each other about the end of the body.
    AnswerAmbiguous,
    /// The connection ended before the end of the answer.
    AnswerCut,
    /// The answer is not HTTP/1.1, or its headers are too large.
    AnswerUnreadable,
    /// The server's certificate has expired.
    CertificateExpired,
    /// The server's certificate cannot be verified for another reason.
    CertificateInvalid,
    /// The server's certificate is not valid yet.
    CertificateNotYetValid,
    /// The issuer of the server's certificate is not a trusted authority.
    CertificateUntrusted,
    /// The server's certificate is for other hosts.
    CertificateWrongName,
    /// The server does not accept the client's certificate.
    ClientCertificateRefused,
    /// The server asks for a client certificate, and the endpoint has none.
    ClientCertificateRequired,
    /// The server closed the connection without an answer.
    ConnectionClosed,
    /// The connection failed for another reason.
    ConnectionFailed,
    /// No server listens on the port.
    ConnectionRefused,
    /// The server, or a proxy in front of it, reset the connection.
    ConnectionReset,
    /// The host's name does not resolve.
    Dns,
    /// The server does not speak TLS.
    NotTls,
    /// The time of the attempt ended.
    TimedOut(Stage),
    /// The two sides have no TLS version or cipher in common, or one side stopped the handshake.
    TlsFailed,
    /// There is no route to the address.
    Unreachable,
}

/// A reason why AWS did not take a message or an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DestinationFault {
    /// The role, the target or its KMS key does not allow it.
    Denied,
    /// AWS failed.
    Failed,
    /// There is no such queue or event bus.
    Missing,
    /// AWS refused it for another reason.
    Refused,
    /// The queue or the event bus gets too much.
    Throttled,
}

impl DestinationFault {
    /// All faults.
    pub const ALL: [Self; 5] = [Self::Denied, Self::Failed, Self::Missing, Self::Refused, Self::Throttled];

    fn code(self) -> &'static str {
        match self {
            Self::Denied => "destination-denied",
            Self::Failed => "destination-failed",
            Self::Missing => "destination-missing",
            Self::Refused => "destination-refused",
            Self::Throttled => "destination-throttled",
        }
    }

    /// Describes for the owner of the destination what was found and what to do. `code` is that of AWS.
    #[must_use]
    pub fn told(self, kind: Kind, code: &str) -> String {
        let (noun, action) = (kind.noun(), kind.action());
        match self {
            Self::Denied => format!(
                "{noun} refused the webhook with `{code}`; allow `{action}` on it in the role's policy, and the use of its \
                 KMS key if it has one"
            ),
            Self::Failed => format!("{} failed with `{code}`; no action needed, Signpost tries again", kind.service()),
            Self::Missing => format!("{noun} does not exist; create it, or correct the ARN in `destination`"),
            Self::Refused => format!("{noun} refused the webhook with `{code}`; the answer says what to change"),
            Self::Throttled => {
                format!("{noun} gets too much, with `{code}`; raise its quota, or set `maxPerSecond` of the endpoint")
            }
        }
    }
}

/// The stage of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Signpost resolves the name, connects, and negotiates TLS.
    Connecting,
    /// Signpost sends the request and waits for the head of the answer.
    Waiting,
    /// Signpost reads the answer.
    Reading,
}

/// The code of a cause, such as `certificate-expired`. Codes for the token URL have the prefix `token-`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The host resolves to an address that Signpost may not call.
    AddressForbidden,
    /// The exchange with the endpoint failed.
    Exchange(ExchangeFault),
    /// The stored client certificate cannot be used.
    ClientCertificateUnusable,
    /// AWS did not take the message or the event.
    Destination(DestinationFault),
    /// The webhook is larger than the queue or the event bus takes.
    MessageTooLarge,
    /// The role of the destination could not be assumed.
    RoleRefused,
    /// The endpoint answered with another status than 2xx.
    Status,
    /// Signpost may not call the URL.
    TargetForbidden,
    /// Signpost may not call the token URL's address.
    TokenAddressForbidden,
    /// The exchange with the token URL failed.
    TokenExchange(ExchangeFault),
    /// The token URL answered with another status than 200.
    TokenStatus,
    /// Signpost may not call the token URL.
    TokenTargetForbidden,
    /// The answer of the token URL has no usable token.
    TokenUnusable,
    /// The endpoint did not prove that it wants webhooks.
    Unproven,
    /// The payload makes the URL too long.
    UrlTooLong,
}

#[cfg(test)]
impl Cause {
    /// Returns every cause.
    fn all() -> impl Iterator<Item = Self> {
        let alone = [
            Self::AddressForbidden,
            Self::ClientCertificateUnusable,
            Self::MessageTooLarge,
            Self::RoleRefused,
            Self::Status,
            Self::TargetForbidden,
            Self::TokenAddressForbidden,
            Self::TokenStatus,
            Self::TokenTargetForbidden,
            Self::TokenUnusable,
            Self::Unproven,
            Self::UrlTooLong,
        ];
        alone
            .into_iter()
            .chain(ExchangeFault::ALL.map(Self::Exchange))
            .chain(ExchangeFault::ALL.map(Self::TokenExchange))
            .chain(DestinationFault::ALL.map(Self::Destination))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AddressForbidden => "address-forbidden",
            Self::Exchange(fault) => fault.code(),
            Self::ClientCertificateUnusable => "client-certificate-unusable",
            Self::Destination(fault) => fault.code(),
            Self::MessageTooLarge => "message-too-large",
            Self::RoleRefused => "role-refused",
            Self::Status => "status",
            Self::TargetForbidden => "target-forbidden",
            Self::TokenAddressForbidden => "token-address-forbidden",
            Self::TokenExchange(fault) => return write!(f, "token-{}", fault.code()),
            Self::TokenStatus => "token-status",
            Self::TokenTargetForbidden => "token-target-forbidden",
            Self::TokenUnusable => "token-unusable",
            Self::Unproven => "unproven",
            Self::UrlTooLong => "url-too-long",
        })
    }
}

impl ExchangeFault {
    /// All faults.
    pub const ALL: [Self; 21] = [
        Self::AnswerAmbiguous,
        Self::AnswerCut,
        Self::AnswerUnreadable,
        Self::CertificateExpired,
        Self::CertificateInvalid,
        Self::CertificateNotYetValid,
        Self::CertificateUntrusted,
        Self::CertificateWrongName,
        Self::ClientCertificateRefused,
        Self::ClientCertificateRequired,
        Self::ConnectionClosed,
        Self::ConnectionFailed,
        Self::ConnectionRefused,
        Self::ConnectionReset,
        Self::Dns,
        Self::NotTls,
        Self::TimedOut(Stage::Connecting),
        Self::TimedOut(Stage::Waiting),
        Self::TimedOut(Stage::Reading),
        Self::TlsFailed,
        Self::Unreachable,
    ];

    /// Returns the fault with a code.
    pub(crate) fn of_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.code() == code)
    }

    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::AnswerAmbiguous => "answer-ambiguous",
            Self::AnswerCut => "answer-cut",
            Self::AnswerUnreadable => "answer-unreadable",
            Self::CertificateExpired => "certificate-expired",
            Self::CertificateInvalid => "certificate-invalid",
            Self::CertificateNotYetValid => "certificate-not-yet-valid",
            Self::CertificateUntrusted => "certificate-untrusted",
            Self::CertificateWrongName => "certificate-wrong-name",
            Self::ClientCertificateRefused => "client-certificate-refused",
            Self::ClientCertificateRequired => "client-certificate-required",
            Self::ConnectionClosed => "connection-closed",
            Self::ConnectionFailed => "connection-failed",
            Self::ConnectionRefused => "connection-refused",
            Self::ConnectionReset => "connection-reset",
            Self::Dns => "dns",
            Self::NotTls => "not-tls",
            Self::TimedOut(Stage::Connecting) => "timeout-connecting",
            Self::TimedOut(Stage::Waiting) => "timeout-waiting",
            Self::TimedOut(Stage::Reading) => "timeout-reading",
            Self::TlsFailed => "tls-failed",
            Self::Unreachable => "unreachable",
        }
    }

    /// Describes for the owner of `server` (`endpoint` or `token URL`) what was found and what to do. `timeout` is the
    /// time limit of the whole attempt.
    #[must_use]
    pub fn told(self, server: &str, timeout: Duration) -> String {
        let seconds = timeout.as_secs();
        let faster = match server {
            "endpoint" => "acknowledge first and work later",
            _ => "it is part of the attempt and must leave time for the request itself",
        };
        match self {
            Self::AnswerAmbiguous => format!(
                "answer of the {server} states its length twice; send one Content-Length, or Transfer-Encoding alone"
            ),
            Self::AnswerCut => {
                format!("{server} cut its answer off; send as many bytes as Content-Length says, or the last chunk")
            }
            Self::AnswerUnreadable => {
                format!("answer of the {server} cannot be read; answer in HTTP/1.1, with less than 400 KiB of headers")
            }
            Self::CertificateExpired => format!("certificate of the {server} has expired; renew it"),
            Self::CertificateInvalid => {
                format!("certificate of the {server} cannot be verified; check its form, its use and its revocation")
            }
            Self::CertificateNotYetValid => {
                format!("certificate of the {server} is not valid yet; check its dates and the server's clock")
            }
            Self::CertificateUntrusted => format!(
                "certificate of the {server} comes from no trusted authority; send its whole chain, use a public \
                 authority, or add yours to the trust store"
            ),
            Self::CertificateWrongName => {
                format!("certificate of the {server} is for another host; use one that names the URL's host")
            }
            Self::ClientCertificateRefused => {
                format!("{server} refused the client certificate; make it trust the issuer, or replace the key store")
            }
            Self::ClientCertificateRequired => {
                format!("{server} asks for a client certificate; set `auth` to kind `mtls`, or change its TLS settings")
            }
            Self::ConnectionClosed => {
                format!("{server} closed the connection without an answer; check its log, and any proxy in front of it")
            }
            Self::ConnectionFailed => format!("connection to the {server} failed; check that it is up and reachable"),
            Self::ConnectionRefused => {
                format!("{server} refused the connection; check that its server listens on the URL's port")
            }
            Self::ConnectionReset => {
                format!("{server} reset the connection without an answer; check its log, and any proxy in front of it")
            }
            Self::Dns => format!("host of the {server} does not resolve; check its spelling and its DNS records"),
            Self::NotTls => format!("{server} does not speak TLS on the URL's port; serve https there"),
            Self::TimedOut(Stage::Connecting) => {
                format!("{server} accepted no connection within {seconds} s; check its DNS, its firewall and its TLS")
            }
            Self::TimedOut(Stage::Waiting) => {
                format!("{server} did not answer within {seconds} s; {faster}")
            }
            Self::TimedOut(Stage::Reading) => {
                format!("{server} did not end its answer within {seconds} s; {faster}")
            }
            Self::TlsFailed => {
                format!("TLS handshake with the {server} failed; offer TLS 1.2 or 1.3 with current ciphers")
            }
            Self::Unreachable => {
                format!("{server} cannot be reached over the network; check its address, its routes and its firewall")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_distinct_words() {
        let codes: BTreeSet<_> = Cause::all().map(|cause| cause.to_string()).collect();
        assert_eq!(codes.len(), Cause::all().count());
        for cause in Cause::all() {
            let code = cause.to_string();
            assert!(code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{code}");
        }
    }

    #[test]
    fn every_code_is_in_the_contract_and_explained() {
        let contract = include_str!("../../../../infra/openapi.yaml");
        let (_, contract) = contract.split_once("\n    Cause:\n").unwrap();
        let codes = contract.split(['[', ']']).nth(1).unwrap().split(',').map(str::trim);
        let known: BTreeSet<_> = Cause::all().map(|cause| cause.to_string()).collect();
        assert_eq!(codes.collect::<BTreeSet<_>>(), known.iter().map(String::as_str).collect());
        let explained = include_str!("../../../../docs/operating.md");
        for cause in Cause::all().filter(|cause| !matches!(cause, Cause::TokenExchange(_))) {
            assert!(explained.contains(&format!("`{cause}`")), "{cause}");
        }
    }

    #[test]
    fn each_fault_has_a_sentence_of_its_own_that_says_what_to_do() {
        let told = |fault: ExchangeFault| fault.told("endpoint", Duration::from_secs(10));
        let texts: BTreeSet<_> = ExchangeFault::ALL.map(told).into();
        assert_eq!(texts.len(), ExchangeFault::ALL.len());
        assert!(texts.iter().all(|text| text.contains("endpoint") && text.contains("; ") && !text.ends_with('.')));
    }
}
