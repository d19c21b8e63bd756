//! Requests: what one attempt puts on the wire.

use crate::endpoint::{Endpoint, Method};
use crate::event::Event;
use crate::json::without_whitespace;
use crate::jws::{Rs256Signer, SignerError};
use crate::query;
use crate::target::Target;

/// `Signpost/<version>`.
pub const USER_AGENT: &str = concat!("Signpost/", env!("CARGO_PKG_VERSION"));

/// The longest URL of a `GET`, in bytes: a little less than HTTP libraries can express. Most servers take far less.
pub const MAX_URL_BYTES: usize = 65_000;

/// Why a request cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The signature could not be made.
    #[error("request could not be signed")]
    Signer(#[from] SignerError),
    /// The payload makes the URL longer than [`MAX_URL_BYTES`].
    #[error("URL would have {bytes} bytes; expected {MAX_URL_BYTES} at the most")]
    UrlTooLong {
        /// How long it would be.
        bytes: usize,
    },
}

/// One attempt's request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its method.
    pub method: Method,
    /// Where it goes; for `GET`, the payload is in its query.
    pub target: Target,
    /// Header names in lower case, with their values.
    pub headers: Vec<(&'static str, String)>,
    /// The bytes of the body; empty for `GET`.
    pub body: String,
}

impl Request {
    /// Builds and signs the request of attempt `number` of `event` to `target`, in the form that `endpoint` chose.
    ///
    /// `unix_seconds` is when *this attempt* starts, not when the event happened, and the signature is made by the key
    /// that is current now: retries outlive keys. What is signed is the body, or, for `GET`, the query as it is sent,
    /// whatever the URL had before included.
    ///
    /// # Errors
    /// The signature could not be made, which is a fault on our side and never charged to the endpoint, or the payload
    /// does not fit into a URL, which is the endpoint's own choice.
    pub fn build(
        event: &Event,
        endpoint: &Endpoint,
        target: Target,
        number: u32,
        unix_seconds: u64,
        signer: &Rs256Signer,
    ) -> Result<Self, RequestError> {
        let payload = endpoint.payload_for(&event.kind, event.data());
        let mut headers = vec![
            ("user-agent", USER_AGENT.to_owned()),
            ("webhook-id", event.key.id.to_string()),
            ("webhook-timestamp", unix_seconds.to_string()),
            ("signpost-attempt", number.to_string()),
        ];
        let (target, body, signature) = match endpoint.method {
            Method::Get => {
                let target = target.with_query(&query::encode(&payload));
                let bytes = target.url().as_str().len();
                if bytes > MAX_URL_BYTES {
                    return Err(RequestError::UrlTooLong { bytes });
                }
                let signature = signer.sign_detached(target.url().query().unwrap_or_default().as_bytes())?;
                (target, String::new(), signature)
            }
            Method::Post | Method::Put => {
                headers.insert(0, ("content-type", "application/json".to_owned()));
                // Receivers who strip whitespace before they verify then see what was signed.
                let body = without_whitespace(&payload);
                let signature = signer.sign_detached(body.as_bytes())?;
                (target, body, signature)
            }
        };
        headers.push(("jws-signature", signature));
        Ok(Self { method: endpoint.method, target, headers, body })
    }
}
