//! Requests: what one attempt puts on the wire.

use std::borrow::Cow;
use std::sync::Arc;

use crate::delivery::ReplayKind;
use crate::endpoint::target::Target;
use crate::endpoint::{CloudEvents, Endpoint, Method, SignatureFormat, TEST_TYPE};
use crate::event::cloud_events;
use crate::event::{Event, MAX_EVENT_BYTES};
use crate::input::json::without_whitespace;
use crate::input::query;
use crate::signing::algorithm::Algorithm;
use crate::signing::http_signature::{self, Covered};
use crate::signing::jws;
use crate::signing::signer::{SignerError, TenantSigner};
use crate::signing::standard_webhooks::{self, EndpointKeys};

/// `Signpost/<version>`.
pub const USER_AGENT: &str = concat!("Signpost/", env!("CARGO_PKG_VERSION"));

/// The longest URL of a `GET`, in bytes: a little less than HTTP libraries can express. Most servers take far less.
pub const MAX_URL_BYTES: usize = 65_000;

/// The longest body, in bytes: each byte of an event is a space within a string, and is sent as `\u0020`. No character
/// grows more: all others that are escaped have two or three bytes, and their escape has six as well.
pub const MAX_BODY_BYTES: usize = 6 * MAX_EVENT_BYTES;

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
    /// The signing key that is current now, of the endpoint's algorithm, under the tenant's `kid`.
    pub signer: Option<TenantSigner>,
    /// The endpoint's own live keys, oldest first.
    pub endpoint_keys: Vec<Arc<EndpointKeys>>,
}

impl Keyring {
    fn signer(&self, algorithm: Algorithm) -> Result<&TenantSigner, RequestError> {
        let signer = self.signer.as_ref().filter(|signer| signer.algorithm() == algorithm);
        signer.ok_or(RequestError::NoSigner(algorithm))
    }
}

/// Which attempt a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptStart {
    /// 1 for the first.
    pub number: u32,
    /// When it starts, in seconds since the Unix epoch.
    pub unix_seconds: u64,
    /// How the delivery came to be sent again, if an operator asked for that.
    pub replay: Option<ReplayKind>,
}

impl Request {
    /// Builds and signs the request of one attempt of `event` to `target`, in the form that `endpoint` chose.
    ///
    /// The signatures are made at this moment, by keys that are current now: retries outlive keys. JWS and Standard
    /// Webhooks sign the body. For `GET` they sign the query that the event's fields make, and not what the endpoint's URL
    /// has in front of it: nobody gets a text signed by writing it into a URL.
    ///
    /// # Errors
    /// A signature could not be made, which is a fault on our side and never charged to the endpoint, or the payload
    /// does not fit into a URL, which is the endpoint's own choice.
    pub fn build(
        event: &Event,
        endpoint: &Endpoint,
        target: Target,
        start: AttemptStart,
        keyring: &Keyring,
    ) -> Result<Self, RequestError> {
        let payload = endpoint.payload_for(&event.kind, event.data());
        let (target, content) = match endpoint.method {
            Method::Get => {
                let query = query::encode(&payload);
                let target = target.with_query(&query);
                let bytes = target.url().as_str().len();
                if bytes > MAX_URL_BYTES {
                    return Err(RequestError::UrlTooLong { bytes });
                }
                (target, query)
            }
            // Receivers who strip whitespace before they verify then see what was signed.
            Method::Post | Method::Put => {
                let body = match endpoint.cloud_events {
                    CloudEvents::Structured => Cow::Owned(event.json_with(&payload)),
                    CloudEvents::Headers | CloudEvents::None => payload,
                };
                (target, without_whitespace(&body))
            }
        };
        let mut unsigned = Unsigned { method: endpoint.method, target, content, headers: Vec::new() };
        unsigned.add_headers(event, endpoint, start);
        for format in &endpoint.signatures {
            unsigned.sign(*format, event, endpoint, start.unix_seconds, keyring)?;
        }
        let Unsigned { method, target, content, headers } = unsigned;
        let body = if method == Method::Get { String::new() } else { content };
        Ok(Self { method, target, headers, body })
    }
}

/// A request while its headers are put together.
struct Unsigned {
    method: Method,
    target: Target,
    /// What the formats that know nothing of HTTP sign: the body or, for `GET`, the payload's part of the query.
    content: String,
    headers: Vec<(Cow<'static, str>, String)>,
}

impl Unsigned {
    fn header(&mut self, name: &'static str, value: impl Into<String>) {
        self.headers.push((Cow::Borrowed(name), value.into()));
    }

    fn add_headers(&mut self, event: &Event, endpoint: &Endpoint, start: AttemptStart) {
        if self.method != Method::Get {
            let is_structured = endpoint.cloud_events == CloudEvents::Structured;
            self.header("content-type", if is_structured { cloud_events::MEDIA_TYPE } else { "application/json" });
        }
        self.header("user-agent", USER_AGENT);
        self.header("webhook-id", event.key.webhook_id());
        self.header("webhook-timestamp", start.unix_seconds.to_string());
        self.header("signpost-attempt", start.number.to_string());
        let test = (event.kind == TEST_TYPE).then_some(ReplayKind::Test);
        if let Some(replay) = start.replay.or(test) {
            self.header("signpost-replay", replay.as_str());
        }
        if endpoint.cloud_events == CloudEvents::Headers {
            for (name, value) in cloud_events::headers(event) {
                self.header(name, value);
            }
        }
        for (name, value) in cloud_events::trace(event) {
            self.header(name, value);
        }
        for (name, value) in &endpoint.headers {
            self.headers.push((Cow::Owned(name.clone()), value.clone()));
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
        let (webhook_id, content) = (event.key.webhook_id(), self.content.as_bytes());
        match format {
            SignatureFormat::Jws => {
                let signature = jws::sign_detached(keyring.signer(endpoint.jws_algorithm)?, content)?;
                self.header("jws-signature", signature);
            }
            SignatureFormat::StandardWebhooks => {
                let signature = standard_webhooks::sign(&keyring.endpoint_keys, &webhook_id, unix_seconds, content)?;
                self.header("webhook-signature", signature);
            }
            SignatureFormat::HttpMessageSignatures => {
                let [kind, source] = [&event.kind, &event.key.source].map(|text| cloud_events::encoded(text));
                let covered = Covered {
                    method: self.method.as_str(),
                    target_uri: self.target.url().as_str(),
                    body: if self.method == Method::Get { b"" } else { content },
                    webhook_id: &webhook_id,
                    ce_type_and_source: (endpoint.cloud_events == CloudEvents::Headers).then_some((&kind, &source)),
                };
                let headers = http_signature::sign(covered, keyring.signer(endpoint.jws_algorithm)?, unix_seconds)?;
                self.header("content-digest", headers.content_digest);
                self.header("signature-input", headers.signature_input);
                self.header("signature", headers.signature);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::endpoint::target::TargetRules;

    #[test]
    fn the_longest_event_of_spaces_has_six_times_its_bytes_on_the_wire() {
        let event = |spaces| {
            let data = json!({ "note": " ".repeat(spaces) });
            let event =
                json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "tenant": "acme", "data": data});
            Event::parse(&event.to_string())
        };
        let spaces = MAX_EVENT_BYTES - event(0).unwrap().json().len();
        assert!(event(spaces + 1).is_err(), "longer than an event may be");
        let event = event(spaces).unwrap();
        let start = AttemptStart { number: 1, unix_seconds: 0, replay: None };
        for cloud_events in [CloudEvents::Headers, CloudEvents::Structured] {
            let endpoint = Endpoint { cloud_events, signatures: Vec::new(), ..Endpoint::new("https://a.example/") };
            let target = TargetRules::INTERNET.parse(&endpoint.url).unwrap();
            let request = Request::build(&event, &endpoint, target, start, &Keyring::default()).unwrap();
            let bytes = request.body.len();
            assert!((MAX_BODY_BYTES - 1_000..=MAX_BODY_BYTES).contains(&bytes), "{cloud_events:?}: {bytes} bytes");
        }
    }
}
