//! Requests: the HTTP request of one attempt.

use std::borrow::Cow;
use std::sync::Arc;

use crate::delivery::ReplayKind;
use crate::endpoint::target::Target;
use crate::endpoint::{CloudEvents, Endpoint, Method, SignatureFormat};
use crate::event::cloud_events;
use crate::event::sequence::SequenceNumber;
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

/// The maximum length of the URL of a `GET`, in bytes: a little less than HTTP libraries allow. Most servers accept far
/// less.
pub const MAX_URL_BYTES: usize = 65_000;

/// The maximum length of a body, in bytes. The worst event has only spaces within a string, and each is sent as
/// `\u0020`. No character grows more: all other escaped characters have two or three bytes, and their escape also has
/// six.
pub const MAX_BODY_BYTES: usize = 6 * MAX_EVENT_BYTES;

/// The reason why a request cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// There is no signer for the endpoint's algorithm.
    #[error("no signing key for `{0}` is available")]
    NoSigner(Algorithm),
    /// The signature could not be made.
    #[error("request could not be signed")]
    Signer(#[from] SignerError),
    /// The payload makes the URL longer than [`MAX_URL_BYTES`].
    #[error("URL would have {bytes} bytes; expected at most {MAX_URL_BYTES}")]
    UrlTooLong {
        /// The length that the URL would have.
        bytes: usize,
    },
}

/// The request of one attempt, without its authentication. That is secret, so the sender adds it last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The target. For `GET`, its query contains the payload.
    pub target: Target,
    /// The names and values of the headers.
    pub headers: Vec<(Cow<'static, str>, String)>,
    /// The body. Empty for `GET`.
    pub body: String,
}

/// The keys that sign requests.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    /// The current signing key of the endpoint's algorithm, under the tenant's `kid`.
    pub signer: Option<TenantSigner>,
    /// The endpoint's own valid keys, oldest first.
    pub endpoint_keys: Vec<Arc<EndpointKeys>>,
}

impl Keyring {
    fn signer(&self, algorithm: Algorithm) -> Result<&TenantSigner, RequestError> {
        let signer = self.signer.as_ref().filter(|signer| signer.algorithm() == algorithm);
        signer.ok_or(RequestError::NoSigner(algorithm))
    }
}

/// The attempt of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptStart {
    /// The number of the attempt, 1 for the first.
    pub number: u32,
    /// The time of its start, in seconds since the Unix epoch.
    pub unix_seconds: u64,
    /// The kind of replay, if an operator requested one.
    pub replay: Option<ReplayKind>,
}

impl Request {
    /// Builds and signs the request of one attempt of `event` to `target`, in the format of `endpoint`.
    ///
    /// The signatures are made now, with the current keys, because retries last longer than keys. JWS and Standard
    /// Webhooks sign the body. For `GET`, they sign the query that Signpost makes of the event's fields, without the
    /// query of the endpoint's own URL. Otherwise an operator could get any text signed by writing it into the URL.
    ///
    /// # Errors
    /// The signature could not be made, which is an internal error and never counts against the endpoint. Or the
    /// payload does not fit into the URL, which follows from the endpoint's settings.
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
            // Some receivers remove whitespace before they verify. They still see the signed bytes.
            Method::Post | Method::Put => {
                let body = match endpoint.cloud_events {
                    CloudEvents::Structured => Cow::Owned(event.json_with(&payload, number_for(event, endpoint))),
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

/// Returns the number of an event, if the endpoint asks for it. The producer's own `sequence` counts instead.
fn number_for(event: &Event, endpoint: &Endpoint) -> Option<SequenceNumber> {
    event.number.filter(|_| endpoint.sequence && event.context.sequence.is_none())
}

/// A request under construction.
struct Unsigned {
    method: Method,
    target: Target,
    /// The bytes that JWS and Standard Webhooks sign: the body or, for `GET`, the payload's part of the query.
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
        let test = event.is_test().then_some(ReplayKind::Test);
        if let Some(replay) = start.replay.or(test) {
            self.header("signpost-replay", replay.as_str());
        }
        if endpoint.cloud_events == CloudEvents::Headers {
            let is_numbered = event.context.sequence.is_some() || number_for(event, endpoint).is_some();
            for (name, value) in cloud_events::headers(event) {
                if name != cloud_events::SEQUENCE || is_numbered {
                    self.header(name, value);
                }
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

    /// The trace is the example of W3C Trace Context, sections 3.2.4 and 3.3.2.
    #[test]
    fn the_trace_of_an_event_goes_out_with_every_method_and_form() {
        let trace = [
            ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"),
            ("tracestate", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
        ];
        let mut event =
            json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "tenant": "acme", "data": {}});
        event.as_object_mut().unwrap().extend(trace.map(|(name, value)| (name.to_owned(), json!(value))));
        let event = Event::parse(&event.to_string()).unwrap();
        for method in [Method::Get, Method::Post, Method::Put] {
            for cloud_events in [CloudEvents::Headers, CloudEvents::None, CloudEvents::Structured] {
                let endpoint = Endpoint::new("https://a.example/");
                let endpoint = Endpoint { method, cloud_events, signatures: Vec::new(), ..endpoint };
                let target = TargetRules::INTERNET.parse(&endpoint.url).unwrap();
                let start = AttemptStart { number: 3, unix_seconds: 0, replay: Some(ReplayKind::Replay) };
                let request = Request::build(&event, &endpoint, target, start, &Keyring::default()).unwrap();
                let sent = request.headers.iter().filter(|(name, _)| name.starts_with("trace"));
                let sent: Vec<_> = sent.map(|(name, value)| (&**name, &**value)).collect();
                assert_eq!(sent, trace, "{method:?}, {cloud_events:?}");
            }
        }
    }

    /// The spelling of the header is that of the HTTP Protocol Binding 1.0.2 for the extension `sequence`.
    #[test]
    fn an_endpoint_that_asks_gets_the_number_of_an_event() {
        let event = |own: Option<&str>| {
            let event = json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "tenant": "acme",
                               "sequence": own, "data": {}});
            let mut event = Event::parse(&event.to_string()).unwrap();
            event.number = SequenceNumber::parse("176985360000000002");
            event
        };
        let (ours, theirs) = (Some("176985360000000002"), Some("0042"));
        let cases = [
            (None, true, ours, "an endpoint that asks"),
            (None, false, None, "one that does not"),
            (theirs, true, theirs, "the producer's own"),
            (theirs, false, theirs, "the producer's own, to every endpoint"),
        ];
        for (own, sequence, expected, why) in cases {
            for (method, cloud_events) in [
                (Method::Get, CloudEvents::Headers),
                (Method::Post, CloudEvents::Headers),
                (Method::Post, CloudEvents::Structured),
            ] {
                let endpoint = Endpoint::new("https://a.example/");
                let endpoint = Endpoint { method, cloud_events, sequence, signatures: Vec::new(), ..endpoint };
                let target = TargetRules::INTERNET.parse(&endpoint.url).unwrap();
                let start = AttemptStart { number: 1, unix_seconds: 0, replay: None };
                let request = Request::build(&event(own), &endpoint, target, start, &Keyring::default()).unwrap();
                let sent = if cloud_events == CloudEvents::Structured {
                    Event::parse(&request.body).unwrap().context.sequence
                } else {
                    let headers = request.headers.iter().filter(|(name, _)| name == "ce-sequence");
                    let values: Vec<_> = headers.map(|(_, value)| value.clone()).collect();
                    assert!(values.len() <= 1, "{why}");
                    values.into_iter().next()
                };
                assert_eq!(sent.as_deref(), expected, "{why}, {method:?}, {cloud_events:?}");
            }
        }
    }

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
