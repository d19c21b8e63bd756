//! Records of the requests that attempts sent. They never contain a credential, a signature, or a value of a URL's
//! query.
//!
//! Most of a request follows from its event and its attempt. Therefore a record has the names of all headers, but only
//! those values that do not follow. Attempts with an identical request share the record of the first one.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

use aws_lc_rs::digest::{SHA256, digest};
use url::Url;

use crate::delivery::request::Request;
use crate::delivery::verification::Preflight;
use crate::endpoint::target::Target;
use crate::event::Event;
use crate::event::cloud_events;
use crate::fingerprint::fingerprint;

/// A request as Signpost stores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The method.
    pub method: String,
    /// The URL without the values of its query, at most [`MAX_URL_BYTES`].
    pub url: String,
    /// The names of all headers, separated by spaces, in the order of the request.
    pub names: String,
    /// The names and values of headers that are not secret and do not follow from the event and the attempt.
    pub values: Vec<(String, String)>,
    /// SHA-256 of the body.
    pub body_sha256: [u8; 32],
    /// The number of bytes of the body.
    pub body_bytes: u64,
}

/// The record of an attempt's request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SentRecord {
    /// Signpost sent nothing, for example because it had no access token.
    Nothing,
    /// The request was the same as that of the previous attempt.
    Same,
    /// This request.
    This(Sent),
}

impl SentRecord {
    /// Compares a request with the previous one, by [`Sent::print`].
    #[must_use]
    pub fn new(sent: Option<Sent>, last: Option<u64>) -> Self {
        match sent {
            None => Self::Nothing,
            Some(sent) if Some(sent.print()) == last => Self::Same,
            Some(sent) => Self::This(sent),
        }
    }
}

/// The connection of an answered request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The receiver's address and port.
    pub address: SocketAddr,
    /// The version of TLS, such as `1.3`. None over plain HTTP.
    pub tls: Option<String>,
}

/// The maximum number of stored bytes of a URL.
pub const MAX_URL_BYTES: usize = 512;
/// The maximum number of stored bytes of one header's value.
const MAX_VALUE_BYTES: usize = 128;
/// The maximum number of stored bytes of all names, and of all values.
pub const MAX_HEADER_BYTES: usize = 1_024;

/// The method of a handshake.
const PREFLIGHT: &str = "OPTIONS";

/// Headers whose values follow from the event and the attempt, or are signatures.
const DERIVED: [&str; 10] = [
    "content-digest",
    "jws-signature",
    "signature",
    "signature-input",
    "signpost-attempt",
    "traceparent",
    "tracestate",
    "webhook-id",
    "webhook-signature",
    "webhook-timestamp",
];

impl Sent {
    /// Describes a request. `auth` is the name of the header that authenticates it, if there is one. Its value is
    /// secret.
    #[must_use]
    pub fn of(request: &Request, auth: Option<&str>) -> Self {
        let Request { method, target, headers, body } = request;
        Self::of_parts(method.as_str(), target, headers, body, auth)
    }

    /// Describes the request of a handshake in the same way.
    #[must_use]
    pub fn of_preflight(preflight: &Preflight, auth: Option<&str>) -> Self {
        Self::of_parts(PREFLIGHT, &preflight.target, &preflight.headers, "", auth)
    }

    fn of_parts(
        method: &str,
        target: &Target,
        headers: &[(Cow<'static, str>, String)],
        body: &str,
        auth: Option<&str>,
    ) -> Self {
        let is_auth = |name: &str| auth.is_some_and(|auth| auth.eq_ignore_ascii_case(name));
        let is_derived = |name: &str| DERIVED.contains(&name) || name.starts_with("ce-");
        let (mut names, mut values, mut room) = (String::new(), Vec::new(), MAX_HEADER_BYTES);
        for name in headers.iter().map(|(name, _)| &**name).filter(|name| !is_auth(name)).chain(auth) {
            if names.len() + name.len() < MAX_HEADER_BYTES {
                let space = if names.is_empty() { "" } else { " " };
                let _ = write!(names, "{space}{name}"); // Writing to a string cannot fail.
            }
        }
        for (name, value) in headers {
            let kept = shortened(value, MAX_VALUE_BYTES);
            if !is_auth(name) && !is_derived(name) && name.len() + kept.len() <= room {
                room -= name.len() + kept.len();
                values.push(((**name).to_owned(), kept));
            }
        }
        let mut body_sha256 = [0; 32];
        body_sha256.copy_from_slice(digest(&SHA256, body.as_bytes()).as_ref());
        Self {
            method: method.to_owned(),
            url: shortened(&without_query_values(target.url()), MAX_URL_BYTES),
            names,
            values,
            body_sha256,
            body_bytes: body.len() as u64,
        }
    }

    /// Returns whether the request was a webhook, and so was signed. A handshake is not signed.
    #[must_use]
    pub fn is_webhook(&self) -> bool {
        self.method != PREFLIGHT
    }

    /// Returns a fingerprint of the record: the first eight bytes of a hash over all of it. The order of the values does
    /// not count, because a table does not keep it.
    #[must_use]
    pub fn print(&self) -> u64 {
        let values: BTreeMap<_, _> =
            self.values.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        let values = values.into_iter().flat_map(|(name, value)| [name, value]);
        let bytes = self.body_bytes.to_be_bytes();
        let parts = [self.method.as_bytes(), self.url.as_bytes(), self.names.as_bytes(), &self.body_sha256, &bytes];
        let hash = fingerprint(parts.into_iter().chain(values));
        hash[..8].iter().fold(0, |print, byte| print << 8 | u64::from(*byte))
    }

    /// Lists the headers of attempt `number` of `event` that started at `at_unix_ms`. The value is none if it is not
    /// stored, as for signatures and credentials.
    #[must_use]
    pub fn headers(&self, event: &Event, number: u32, at_unix_ms: u64) -> Vec<(String, Option<String>)> {
        let of_event = cloud_events::headers(event).into_iter().chain(cloud_events::trace(event));
        let of_event: Vec<_> = of_event.collect();
        let value = |name: &str| match name {
            "signpost-attempt" => Some(number.to_string()),
            "webhook-id" => Some(event.key.webhook_id()),
            "webhook-timestamp" => Some((at_unix_ms / 1_000).to_string()),
            _ => {
                let kept = self.values.iter().find(|(kept, _)| kept == name).map(|(_, value)| value.clone());
                kept.or_else(|| of_event.iter().find(|(of, _)| *of == name).map(|(_, value)| value.clone()))
            }
        };
        self.names.split(' ').map(|name| (name.to_owned(), value(name))).collect()
    }
}

/// Returns a URL whose query has only names, because a value may be a token or the payload.
#[must_use]
pub fn without_query_values(url: &Url) -> String {
    let mut shown = url.clone();
    if let Some(query) = url.query() {
        let names = query.split('&').map(|pair| match pair.split_once('=') {
            Some((name, _)) => format!("{name}=[redacted]"),
            None => "[redacted]".to_owned(), // A token without a name.
        });
        let query = names.collect::<Vec<_>>().join("&");
        shown.set_query(None);
        return format!("{shown}?{query}");
    }
    shown.into()
}

/// Returns the beginning of a text, cut at a character, with a mark if there is more.
#[must_use]
pub fn shortened(text: &str, most_bytes: usize) -> String {
    const MARK: &str = "…";
    if text.len() <= most_bytes {
        return text.to_owned();
    }
    format!("{}{MARK}", &text[..text.floor_char_boundary(most_bytes - MARK.len())])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::delivery::request::{AttemptStart, Keyring};
    use crate::endpoint::Endpoint;
    use crate::endpoint::target::TargetRules;

    fn event() -> Event {
        let event = json!({"specversion": "1.0", "id": "op-1", "source": "/core", "type": "t", "tenant": "acme",
                           "subject": "ä", "data": {"a": 1}});
        Event::parse(&event.to_string()).unwrap()
    }

    fn request(settings: &serde_json::Value) -> Request {
        let mut endpoint: Endpoint = serde_json::from_value(settings.clone()).unwrap();
        endpoint.signatures.clear();
        let target = TargetRules::default().parse(&endpoint.url).unwrap();
        let start = AttemptStart { number: 2, unix_seconds: 1_769_853_600, replay: None };
        Request::build(&event(), &endpoint, target, start, &Keyring::default()).unwrap()
    }

    #[test]
    fn a_request_is_shown_as_it_was_sent_without_secrets() {
        let request = request(&json!({"url": "https://a.example/in?token=s3cr3t&plain", "headers": {"X-Team": "a"}}));
        let sent = Sent::of(&request, Some("authorization"));
        assert_eq!(sent.url, "https://a.example/in?token=[redacted]&[redacted]");
        assert_eq!((sent.method.as_str(), sent.body_bytes), ("POST", 7));
        // Python: hashlib.sha256(b'{"a":1}').hexdigest()
        assert_eq!(sent.body_sha256[..4], [0x01, 0x5a, 0xbd, 0x7f]);
        let shown = sent.headers(&event(), 2, 1_769_853_600_123);
        let expected = request.headers.iter().map(|(name, value)| (name.to_string(), Some(value.clone())));
        let expected: Vec<_> = expected.collect();
        assert_eq!(shown, [expected, vec![("authorization".to_owned(), None)]].concat());
    }

    #[test]
    fn records_are_bounded_and_show_where_they_were_cut() {
        let long = |bytes| "x".repeat(bytes);
        let headers: std::collections::BTreeMap<_, _> =
            (0..20).map(|number| (format!("x-{number}-{}", long(100)), long(1_000))).collect();
        let sent =
            Sent::of(&request(&json!({"url": format!("https://a.example/{}", long(1_000)), "headers": headers})), None);
        assert!(sent.url.len() <= MAX_URL_BYTES && sent.url.ends_with('…'));
        assert!(sent.names.len() <= MAX_HEADER_BYTES);
        assert!(sent.values.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() <= MAX_HEADER_BYTES);
        assert!(sent.values.iter().any(|(_, value)| value.ends_with('…')));
        assert_eq!(shortened("ää", 4), "ää");
        assert_eq!(shortened("äää", 5), "ä…");
    }

    #[test]
    fn two_requests_that_differ_have_two_prints() {
        let print = |settings| Sent::of(&request(&settings), None).print();
        let one = json!({"url": "https://a.example/in"});
        assert_eq!(print(one.clone()), print(one.clone()));
        for other in [
            json!({"url": "https://b.example/in"}),
            json!({"url": "https://a.example/in", "method": "PUT"}),
            json!({"url": "https://a.example/in", "headers": {"X-Team": "a"}}),
            json!({"url": "https://a.example/in", "cloudEvents": "none"}),
            json!({"url": "https://a.example/in", "fields": {"t": []}}),
        ] {
            assert_ne!(print(other.clone()), print(one.clone()), "{other}");
        }
    }
}
