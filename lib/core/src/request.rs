//! Requests: what one attempt puts on the wire.

use crate::event::Event;
use crate::json::without_whitespace;
use crate::jws::{Rs256Signer, SignerError};

/// `Signpost/<version>`.
pub const USER_AGENT: &str = concat!("Signpost/", env!("CARGO_PKG_VERSION"));

/// One attempt's `POST`, complete but for the URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Header names in lower case, with their values.
    pub headers: Vec<(&'static str, String)>,
    /// The exact bytes that are signed and sent.
    pub body: String,
}

impl Request {
    /// Builds and signs the request of attempt `number` of `event`.
    ///
    /// `unix_seconds` is when *this attempt* starts, not when the event happened, and the signature is made by the key
    /// that is current now: retries outlive keys.
    ///
    /// # Errors
    /// The signature could not be made, which is a fault on our side and never charged to the endpoint.
    pub fn build(event: &Event, number: u32, unix_seconds: u64, signer: &Rs256Signer) -> Result<Self, SignerError> {
        // Receivers who strip whitespace before they verify then see what was signed.
        let body = without_whitespace(event.data());
        let headers = vec![
            ("content-type", "application/json".to_owned()),
            ("user-agent", USER_AGENT.to_owned()),
            ("webhook-id", event.key.id.to_string()),
            ("webhook-timestamp", unix_seconds.to_string()),
            ("signpost-attempt", number.to_string()),
            ("jws-signature", signer.sign_detached(body.as_bytes())?),
        ];
        Ok(Self { headers, body })
    }
}
