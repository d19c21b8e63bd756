//! Requests: what one attempt puts on the wire.

use std::borrow::Cow;
use std::sync::Arc;

use crate::algorithm::Algorithm;
use crate::endpoint::{Endpoint, Method, SignatureFormat};
use crate::event::Event;
use crate::http_signature::{self, Covered};
use crate::json::without_whitespace;
use crate::jws;
use crate::query;
use crate::signer::{Signer, SignerError};
use crate::standard_webhooks::{self, SigningSecret};
use crate::target::Target;

/// `Signpost/<version>`.
pub const USER_AGENT: &str = concat!("Signpost/", env!("CARGO_PKG_VERSION"));

/// The longest URL of a `GET`, in bytes: a little less than HTTP libraries can express. Most servers take far less.
pub const MAX_URL_BYTES: usize = 65_000;

/// Why a request cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// There is no signer of an algorithm that the endpoint asks for.
    #[error("no signing key for `{0}` is at hand")]
    NoSigner(Algorithm),
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

/// One attempt's request, but for what authenticates it: that is secret, and joins at the last moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its method.
    pub method: Method,
    /// Where it goes; for `GET`, the payload is in its query.
    pub target: Target,
    /// Header names with their values.
    pub headers: Vec<(Cow<'static, str>, String)>,
    /// The bytes of the body; empty for `GET`.
    pub body: String,
}

/// What requests are signed with.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    /// The signing keys that are current now, one of each algorithm that the endpoint asks for.
    pub signers: Vec<Arc<Signer>>,
    /// The endpoint's live secrets.
    pub secrets: Vec<SigningSecret>,
}

impl Keyring {
    fn signer(&self, algorithm: Algorithm) -> Result<&Signer, RequestError> {
        let signer = self.signers.iter().find(|signer| signer.algorithm() == algorithm);
        signer.map(AsRef::as_ref).ok_or(RequestError::NoSigner(algorithm))
    }
}

impl Request {
    /// Builds and signs the request of attempt `number` of `event` to `target`, in the form that `endpoint` chose.
    ///
    /// `unix_seconds` is when *this attempt* starts, not when the event happened, and the signatures are made by keys
    /// that are current now: retries outlive keys. What is signed is the body, or, for `GET`, the query as it is sent,
    /// whatever the URL had before included.
    ///
    /// # Errors
    /// A signature could not be made, which is a fault on our side and never charged to the endpoint, or the payload
    /// does not fit into a URL, which is the endpoint's own choice.
    pub fn build(
        event: &Event,
        endpoint: &Endpoint,
        target: Target,
        number: u32,
        unix_seconds: u64,
        keyring: &Keyring,
    ) -> Result<Self, RequestError> {
        let payload = endpoint.payload_for(&event.kind, event.data());
        let (target, body) = match endpoint.method {
            Method::Get => {
                let target = target.with_query(&query::encode(&payload));
                let bytes = target.url().as_str().len();
                if bytes > MAX_URL_BYTES {
                    return Err(RequestError::UrlTooLong { bytes });
                }
                (target, String::new())
            }
            // Receivers who strip whitespace before they verify then see what was signed.
            Method::Post | Method::Put => (target, without_whitespace(&payload)),
        };
        let mut request = Self { method: endpoint.method, target, headers: Vec::new(), body };
        if endpoint.method != Method::Get {
            request.header("content-type", "application/json");
        }
        request.header("user-agent", USER_AGENT);
        request.header("webhook-id", event.key.id.as_str());
        request.header("webhook-timestamp", unix_seconds.to_string());
        request.header("signpost-attempt", number.to_string());
        for (name, value) in &endpoint.headers {
            request.headers.push((Cow::Owned(name.clone()), value.clone()));
        }
        for format in &endpoint.signatures {
            request.sign(*format, event, endpoint, unix_seconds, keyring)?;
        }
        Ok(request)
    }

    fn header(&mut self, name: &'static str, value: impl Into<String>) {
        self.headers.push((Cow::Borrowed(name), value.into()));
    }

    /// What the formats that know nothing of HTTP sign: the body, or the query of a `GET`.
    fn payload(&self) -> &[u8] {
        match self.method {
            Method::Get => self.target.url().query().unwrap_or_default().as_bytes(),
            Method::Post | Method::Put => self.body.as_bytes(),
        }
    }

    fn sign(
        &mut self,
        format: SignatureFormat,
        event: &Event,
        endpoint: &Endpoint,
        unix_seconds: u64,
        keyring: &Keyring,
    ) -> Result<(), RequestError> {
        let id = &event.key.id;
        match format {
            SignatureFormat::Jws => {
                let signer = keyring.signer(endpoint.jws_algorithm)?;
                let signature = jws::sign_detached(signer, self.payload())?;
                self.header("jws-signature", signature);
            }
            SignatureFormat::StandardWebhooks => {
                let signer = keyring.signer(Algorithm::EdDSA)?;
                let signature = standard_webhooks::sign(&keyring.secrets, signer, id, unix_seconds, self.payload())?;
                self.header("webhook-signature", signature);
            }
            SignatureFormat::HttpMessageSignatures => {
                let signer = keyring.signer(endpoint.jws_algorithm)?;
                let (method, target_uri) = (self.method.as_str(), self.target.url().as_str());
                let covered = Covered { method, target_uri, body: self.body.as_bytes(), id };
                let headers = http_signature::sign(covered, signer, unix_seconds)?;
                self.header("content-digest", headers.content_digest);
                self.header("signature-input", headers.signature_input);
                self.header("signature", headers.signature);
            }
        }
        Ok(())
    }
}
