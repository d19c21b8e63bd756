//! The reason why an exchange failed, found among the causes of an error of the HTTP client.

use std::error::Error;
use std::io;

use rustls::{AlertDescription, CertificateError};
use signpost_core::delivery::cause::ExchangeFault;
use signpost_core::endpoint::target::TargetError;

use crate::http::guarded_client::LookupError;

/// Finds the fault of an exchange without an answer. `shows_certificate` is whether the client has a certificate.
pub(crate) fn fault_of(error: &reqwest::Error, shows_certificate: bool) -> ExchangeFault {
    let broken_off = |fault| if error.is_connect() { ExchangeFault::TlsFailed } else { fault };
    for cause in causes(error) {
        if cause.is::<LookupError>() {
            return ExchangeFault::Dns;
        }
        if let Some(error) = cause.downcast_ref::<rustls::Error>() {
            return of_tls(error, shows_certificate);
        }
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            use io::ErrorKind as Kind;
            return match error.kind() {
                Kind::ConnectionRefused => ExchangeFault::ConnectionRefused,
                Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::AddrNotAvailable | Kind::NetworkDown => {
                    ExchangeFault::Unreachable
                }
                Kind::TimedOut => ExchangeFault::Unreachable,
                Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe | Kind::NotConnected => {
                    broken_off(ExchangeFault::ConnectionReset)
                }
                Kind::UnexpectedEof => broken_off(ExchangeFault::ConnectionClosed),
                _ => continue,
            };
        }
        if let Some(error) = cause.downcast_ref::<hyper::Error>() {
            if error.is_parse() {
                return ExchangeFault::AnswerUnreadable;
            }
            if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
                return ExchangeFault::ConnectionClosed;
            }
        }
    }
    ExchangeFault::ConnectionFailed
}

/// Finds the fault of TLS. A server only judges certificates of clients, so its alerts about one are about Signpost's.
fn of_tls(error: &rustls::Error, shows_certificate: bool) -> ExchangeFault {
    use AlertDescription as Alert;
    match error {
        rustls::Error::InvalidCertificate(error) => match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => ExchangeFault::CertificateExpired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                ExchangeFault::CertificateNotYetValid
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                ExchangeFault::CertificateWrongName
            }
            // An authority with the same name and another key.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => ExchangeFault::CertificateUntrusted,
            CertificateError::Other(error) if is_own_authority(error) => ExchangeFault::CertificateUntrusted,
            _ => ExchangeFault::CertificateInvalid,
        },
        rustls::Error::NoCertificatesPresented => ExchangeFault::CertificateInvalid,
        rustls::Error::AlertReceived(
            Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::DecryptError,
        ) if shows_certificate => ExchangeFault::ClientCertificateRefused,
        rustls::Error::AlertReceived(Alert::CertificateRequired | Alert::BadCertificate) => {
            ExchangeFault::ClientCertificateRequired
        }
        rustls::Error::InvalidMessage(_) => ExchangeFault::NotTls,
        _ => ExchangeFault::TlsFailed,
    }
}

/// Returns whether a server uses an authority's certificate as its own, as `openssl req -x509` makes a self-signed one.
fn is_own_authority(error: &rustls::OtherError) -> bool {
    error.0.downcast_ref::<webpki::Error>() == Some(&webpki::Error::CaUsedAsEndEntity)
}

/// Finds the error of a forbidden address.
pub(crate) fn refusal(error: &reqwest::Error) -> Option<TargetError> {
    causes(error).find_map(|cause| cause.downcast_ref::<TargetError>().cloned())
}

/// Returns whether a request failed because its connection was closed before an answer. A dead reused connection fails
/// like that, and so does one whose other end reads the request and hangs up. The two cannot be distinguished.
pub(crate) fn was_closed(error: &reqwest::Error) -> bool {
    causes(error).any(|cause| {
        let is_incomplete = cause
            .downcast_ref::<hyper::Error>()
            .is_some_and(|error| error.is_incomplete_message() || error.is_canceled() || error.is_closed());
        let is_reset = cause.downcast_ref::<io::Error>().is_some_and(|error| {
            use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected};
            matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected)
        });
        is_incomplete || is_reset
    })
}

/// Returns an error and its causes, including the error inside of an [`io::Error`], which its `source` leaves out.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error: &&'a (dyn Error + 'static)| {
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
}
