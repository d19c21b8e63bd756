//! Endpoints: the receivers of a tenant's events, with the events and the format that each of them chose.

pub mod auth;
pub mod destination;
pub mod filter;
pub mod key_store;
pub mod quota;
pub mod retry;
pub mod settings;
pub mod signing_secrets;
pub mod subscription;
pub mod target;

pub use crate::endpoint_id::EndpointId;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::endpoint::auth::Auth;
use crate::endpoint::destination::Destination;
use crate::endpoint::filter::Filter;
use crate::endpoint::retry::RetryPolicy;
use crate::event::family::{self, Statuses};
use crate::event::projection::project;
use crate::input::fault::{Fault, FaultCode, Faults, pointer_to};
use crate::input::headers;
use crate::signing::algorithm::Algorithm;

/// A receiver's URL and its settings, as the table stores them and as operators see them: without secrets.
///
/// Unknown fields are ignored, because a newer release may have written them ([`crate::form`]).
/// [`crate::endpoint::settings`] reads the settings that operators write, and refuses unknown ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// The target of requests. [`crate::endpoint::target::TargetRules`] checks it before each use. If the endpoint has a
    /// destination, it is the URL of the queue, or of the service.
    pub url: String,
    /// The customer's queue or event bus that takes the webhooks instead of a server at the URL. In a box, because most
    /// endpoints have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<Box<Destination>>,
    /// The operator's description.
    #[serde(default)]
    pub description: String,
    /// The events that the endpoint receives. Empty means all.
    #[serde(default)]
    pub types: Vec<TypeFilter>,
    /// The content of the events that the endpoint receives. None means any content.
    #[serde(default)]
    pub filter: Option<Filter>,
    /// The top-level fields that the endpoint receives, by event type. The mandatory fields of a family always stay. A
    /// type that is not in the map is sent with all fields.
    #[serde(default)]
    pub fields: BTreeMap<String, Vec<String>>,
    /// How requests contain the event's CloudEvents attributes.
    #[serde(default)]
    pub cloud_events: CloudEvents,
    /// Whether requests have the numbers of events, by which receivers put them in order ([`crate::event::sequence`]).
    #[serde(default)]
    pub sequence: bool,
    /// The HTTP method.
    #[serde(default)]
    pub method: Method,
    /// How Signpost authenticates to the receiver.
    #[serde(default)]
    pub auth: Auth,
    /// The formats of the signatures: at least one, and each at most once.
    #[serde(default = "jws_only")]
    pub signatures: Vec<SignatureFormat>,
    /// The algorithm of [`SignatureFormat::Jws`] and [`SignatureFormat::HttpMessageSignatures`].
    #[serde(default)]
    pub jws_algorithm: Algorithm,
    /// The policy for repeating failed attempts.
    #[serde(default)]
    pub retry: RetryPolicy,
    /// The time limit of one attempt in seconds, from DNS to the last byte of the answer.
    #[serde(default)]
    pub timeout_seconds: TimeoutSeconds,
    /// The maximum number of concurrent requests. None means no limit.
    #[serde(default)]
    pub max_concurrency: Option<Limit>,
    /// The maximum number of requests that start within one second of the clock. None means no limit.
    #[serde(default)]
    pub max_per_second: Option<Limit>,
    /// Additional headers of every request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Whether the endpoint must prove that it wants webhooks before the first delivery, if the stack does not require
    /// that anyway.
    #[serde(default)]
    pub verification: Verification,
}

/// The reason why Signpost sends nothing to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisabledBecause {
    /// All attempts failed for five days ([`crate::delivery::breaker::HOPELESS_AFTER`]).
    Failing,
    /// The receiver opted out by answering 410.
    Gone,
    /// An operator disabled it.
    Operator,
    /// Its server has not proved yet that it wants webhooks ([`crate::delivery::verification`]).
    Unverified,
}

impl DisabledBecause {
    /// Returns the word for tables, logs and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failing => "failing",
            Self::Gone => "gone",
            Self::Operator => "operator",
            Self::Unverified => "unverified",
        }
    }

    /// Parses a word of [`Self::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let all = [Self::Failing, Self::Gone, Self::Operator, Self::Unverified];
        all.into_iter().find(|because| because.as_str() == text)
    }
}

pub use crate::event::TEST_TYPE;

/// The type of events that ask an endpoint to prove that it wants webhooks ([`crate::delivery::verification`]). They go
/// only to the endpoint in their `subject`.
pub const VERIFICATION_TYPE: &str = "signpost.verification";

/// The type of events that report an endpoint that Signpost itself disabled.
pub const DISABLED_TYPE: &str = "signpost.endpoint-disabled";
/// The type of events that report an endpoint that Signpost will disable if it goes on to fail.
pub const DISABLING_SOON_TYPE: &str = "signpost.endpoint-disabling-soon";
/// The type of events that report a delivery that was given up.
pub const EXHAUSTED_TYPE: &str = "signpost.delivery-exhausted";
/// The type of events that report an endpoint to which Signpost sends nothing, because it fails.
pub const FAILING_TYPE: &str = "signpost.endpoint-failing";
/// The type of events that report an endpoint that works again.
pub const RECOVERED_TYPE: &str = "signpost.endpoint-recovered";

/// The types of notices to the owners of endpoints ([`crate::delivery::notices`]). They go only to endpoints that list
/// their type, and never to the endpoint that they are about.
pub const NOTICE_TYPES: [&str; 5] = [EXHAUSTED_TYPE, DISABLED_TYPE, DISABLING_SOON_TYPE, FAILING_TYPE, RECOVERED_TYPE];

/// A format of signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignatureFormat {
    /// `Signature` and `Signature-Input` ([`crate::signing::http_signature`]).
    HttpMessageSignatures,
    /// `JWS-SIGNATURE` ([`crate::signing::jws`]).
    Jws,
    /// `webhook-signature` ([`crate::signing::standard_webhooks`]).
    StandardWebhooks,
}

fn jws_only() -> Vec<SignatureFormat> {
    vec![SignatureFormat::Jws]
}

/// How requests carry an event's CloudEvents attributes ([`crate::event::cloud_events`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CloudEvents {
    /// As headers `ce-…`. The body is the payload (binary mode).
    #[default]
    Headers,
    /// Not at all. The body is the payload.
    None,
    /// In the body, which is the whole event (structured mode). Not possible with [`Method::Get`], which has no body.
    Structured,
}

/// How an endpoint proves that it wants webhooks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verification {
    /// By a handshake or by the echo of a challenge ([`crate::delivery::verification`]).
    Challenge,
    /// Not at all.
    #[default]
    None,
}

/// How Signpost sends a payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// Its top-level fields are query parameters, and there is no body. Token.io sends its callbacks this way.
    Get,
    /// As JSON in the body.
    #[default]
    Post,
    /// As JSON in the body.
    Put,
}

impl Method {
    /// Returns the method as HTTP spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
        }
    }
}

impl Endpoint {
    /// Returns an endpoint with default settings.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            destination: None,
            description: String::new(),
            types: Vec::new(),
            filter: None,
            fields: BTreeMap::new(),
            cloud_events: CloudEvents::default(),
            sequence: false,
            method: Method::default(),
            auth: Auth::default(),
            signatures: jws_only(),
            jws_algorithm: Algorithm::default(),
            retry: RetryPolicy::default(),
            timeout_seconds: TimeoutSeconds::default(),
            max_concurrency: None,
            max_per_second: None,
            headers: BTreeMap::new(),
            verification: Verification::default(),
        }
    }

    /// Finds faults in readable settings: filters that never match, headers that would break a request or are reserved
    /// for Signpost, and missing signatures.
    ///
    /// # Errors
    /// All faults, with pointers into the settings.
    pub fn check(&self) -> Result<(), Vec<Fault>> {
        let mut faults = Faults::default();
        for (index, filter) in self.types.iter().enumerate() {
            filter.check(&format!("/types/{index}"), &mut faults);
        }
        if let Some(filter) = &self.filter {
            filter.check_types(&self.types, "/filter", &mut faults);
        }
        self.check_headers(&mut faults);
        self.check_destination(&mut faults);
        if (self.cloud_events, self.method) == (CloudEvents::Structured, Method::Get) {
            let found = Fault::whole("`structured` with method GET", "`headers` or `none`, because a GET has no body")
                .code(FaultCode::Conflict);
            faults.push(found.under("/cloudEvents"));
        }
        if self.sequence && self.cloud_events == CloudEvents::None {
            let expected = "`headers` or `structured`, because `sequence` is an attribute of CloudEvents";
            faults
                .push(Fault::whole("`none` with `sequence`", expected).code(FaultCode::Conflict).under("/cloudEvents"));
        }
        if self.signatures.is_empty() {
            faults.push(
                Fault::whole("no format", "at least one signature format")
                    .code(FaultCode::OutOfRange)
                    .under("/signatures"),
            );
        }
        for (index, format) in self.signatures.iter().enumerate() {
            if self.signatures[..index].contains(format) {
                faults.push(
                    Fault::whole("a format twice", "each format once")
                        .code(FaultCode::Duplicate)
                        .under(format!("/signatures/{index}")),
                );
            }
        }
        faults.none()
    }

    /// Finds settings that only HTTP has, beside a destination.
    fn check_destination(&self, faults: &mut Faults) {
        let Some(destination) = &self.destination else { return };
        let noun = destination.resource.kind.noun();
        let article = if noun.starts_with('e') { "an" } else { "a" };
        let mut refuse = |pointer: String, found: String, expected: String| {
            faults.push(Fault::whole(found, expected).code(FaultCode::Conflict).under(pointer));
        };
        if self.auth != Auth::None {
            let expected = "kind `none`, because the role of `destination` authenticates";
            refuse("/auth".into(), "an authentication".into(), expected.into());
        }
        if self.method != Method::Post {
            let expected = format!("no method, or `POST`, because {article} {noun} has none");
            refuse("/method".into(), self.method.as_str().into(), expected);
        }
        if !self.headers.is_empty() {
            let expected = format!("no headers, because {article} {noun} takes none of yours");
            refuse("/headers".into(), "headers".into(), expected);
        }
        if self.verification == Verification::Challenge {
            let expected = "`none`, because the trust policy of the role proves that its owner wants webhooks";
            refuse("/verification".into(), "challenge".into(), expected.into());
        }
        for (index, _) in
            (0..).zip(&self.signatures).filter(|(_, format)| **format == SignatureFormat::HttpMessageSignatures)
        {
            let expected = format!(
                "`jws` or `standard-webhooks`, because this format signs a method and a URI, and {article} {noun} has none"
            );
            refuse(format!("/signatures/{index}"), "http-message-signatures".into(), expected);
        }
    }

    fn check_headers(&self, faults: &mut Faults) {
        if self.headers.len() > headers::MAX_COUNT {
            let expected = format!("at most {} headers", headers::MAX_COUNT);
            faults.push(
                Fault::whole(format!("{} headers", self.headers.len()), expected)
                    .code(FaultCode::OutOfRange)
                    .under("/headers"),
            );
        }
        let mut seen = HashSet::new();
        for (name, value) in &self.headers {
            let (pointer, lower) = (format!("/headers{}", pointer_to(name)), name.to_ascii_lowercase());
            if name.len() > headers::MAX_NAME_BYTES || value.len() > headers::MAX_VALUE_BYTES {
                let (name_bytes, value_bytes) = (headers::MAX_NAME_BYTES, headers::MAX_VALUE_BYTES);
                let expected = format!("a name of at most {name_bytes} bytes and a value of at most {value_bytes}");
                faults.push(Fault::of_text(pointer, name, expected).code(FaultCode::OutOfRange));
            } else if !headers::is_name(name) {
                faults.push(Fault::of_text(pointer, name, "a header's name, such as X-Team"));
            } else if headers::is_ours(&lower) {
                let expected = "a header that Signpost does not set itself; secrets go to `auth`";
                faults.push(Fault::of_text(pointer, name, expected).code(FaultCode::Reserved));
            } else if !headers::is_value(value) {
                faults.push(Fault::of_text(pointer, value, "visible ASCII characters, with spaces only between them"));
            } else if !seen.insert(lower) {
                faults.push(Fault::of_text(pointer, name, "each header once, in any case").code(FaultCode::Duplicate));
            }
        }
    }

    /// Returns the algorithm of the signing key for this endpoint's requests. None if only its own keys sign.
    #[must_use]
    pub fn algorithm(&self) -> Option<Algorithm> {
        let signs = |format: &SignatureFormat| match format {
            SignatureFormat::HttpMessageSignatures | SignatureFormat::Jws => true,
            SignatureFormat::StandardWebhooks => false,
        };
        self.signatures.iter().any(signs).then_some(self.jws_algorithm)
    }

    /// Returns whether its requests have a signature in this format.
    #[must_use]
    pub fn signs(&self, format: SignatureFormat) -> bool {
        self.signatures.contains(&format)
    }

    /// Returns the part of a minified payload that this endpoint receives. A challenge never goes out alone. Otherwise
    /// a server that reflects every request would echo it.
    #[must_use]
    pub fn payload_for<'a>(&self, kind: &str, data: &'a str) -> Cow<'a, str> {
        let Some(chosen) = self.fields.get(kind).filter(|_| kind != VERIFICATION_TYPE) else {
            return Cow::Borrowed(data);
        };
        let mut kept: HashSet<&str> = chosen.iter().map(String::as_str).collect();
        if let Some(family) = family::of_kind(kind) {
            for name in family.mandatory_fields() {
                kept.insert(name);
            }
        }
        Cow::Owned(project(data, |name| kept.contains(name)))
    }
}

/// One type of event that an endpoint receives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeFilter {
    /// The CloudEvents `type`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The statuses. Empty means all events, including those without a status.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statuses: Vec<String>,
    /// The stages, for sessions. Empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<String>,
}

impl TypeFilter {
    /// Returns a filter for all events of a type.
    #[must_use]
    pub fn of(kind: impl Into<String>) -> Self {
        Self { kind: kind.into(), ..Self::default() }
    }

    /// Finds values that the family never has. They are mistakes.
    fn check(&self, pointer: &str, faults: &mut Faults) {
        let family = family::of_kind(&self.kind);
        let mut check = |name: &str, values: &[String], possible: &[&str]| {
            let impossible = values.iter().enumerate().filter(|(_, value)| !possible.contains(&value.as_str()));
            faults.extend(impossible.map(|(index, value)| {
                let expected = match possible {
                    [] => format!("no {name}, because events of this type have none"),
                    _ => format!("one of {}", possible.join(", ")),
                };
                Fault::of_text(format!("{pointer}/{name}/{index}"), value, expected).code(FaultCode::NotOneOf)
            }));
        };
        if let Some(Statuses::Closed(possible)) = family.map(|family| family.statuses) {
            check("statuses", &self.statuses, possible);
        }
        check("stages", &self.stages, family.map_or(&[], |family| family.stages));
    }
}

/// The time limit of one attempt in seconds: 1 to 30, 10 by default (TransactionLink documents ten seconds).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct TimeoutSeconds(u8);

impl TimeoutSeconds {
    /// The range of allowed values.
    pub const RANGE: RangeInclusive<u32> = 1..=30;
}

impl Default for TimeoutSeconds {
    fn default() -> Self {
        Self(10)
    }
}

impl From<TimeoutSeconds> for Duration {
    fn from(seconds: TimeoutSeconds) -> Self {
        Self::from_secs(seconds.0.into())
    }
}

impl From<TimeoutSeconds> for u8 {
    fn from(seconds: TimeoutSeconds) -> Self {
        seconds.0
    }
}

impl TryFrom<u8> for TimeoutSeconds {
    type Error = String;

    fn try_from(seconds: u8) -> Result<Self, String> {
        if Self::RANGE.contains(&seconds.into()) {
            Ok(Self(seconds))
        } else {
            Err(format!("`timeoutSeconds` is `{seconds}`; expected 1 to 30"))
        }
    }
}

/// A limit of requests, concurrent or per second: 1 to 500, like IDPay's simultaneous sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Limit(u16);

impl Limit {
    /// The range of allowed values.
    pub const RANGE: RangeInclusive<u32> = 1..=500;
}

impl From<Limit> for u16 {
    fn from(limit: Limit) -> Self {
        limit.0
    }
}

impl TryFrom<u16> for Limit {
    type Error = String;

    fn try_from(limit: u16) -> Result<Self, String> {
        if Self::RANGE.contains(&limit.into()) { Ok(Self(limit)) } else { Err(format!("`{limit}`; expected 1 to 500")) }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_url_is_enough() {
        let endpoint: Endpoint = serde_json::from_str(r#"{"url":"https://a.example/hook"}"#).unwrap();
        assert_eq!(endpoint, Endpoint::new("https://a.example/hook"));
        assert_eq!(Duration::from(endpoint.timeout_seconds), Duration::from_secs(10));
    }

    #[test]
    fn settings_that_would_not_be_honoured_are_refused() {
        let cases = [
            (r#"{"url":"https://a.example","maxConcurrency":0}"#, "no request may be sent"),
            (r#"{"url":"https://a.example","maxPerSecond":501}"#, "beyond IDPay's"),
            (r#"{"url":"https://a.example","timeoutSeconds":0}"#, "zero seconds"),
            (r#"{"url":"https://a.example","timeoutSeconds":31}"#, "longer than the function allows"),
            (r#"{"url":"https://a.example","retry":{"backoff":"wild"}}"#, "unknown backoff"),
            (r#"{"url":"https://a.example","retry":{"intervalSeconds":43201}}"#, "over twelve hours"),
            (r#"{"url":"https://a.example","retry":{"maxRetries":101}}"#, "without end"),
        ];
        for (settings, why) in cases {
            assert!(serde_json::from_str::<Endpoint>(settings).is_err(), "{why}");
        }
    }

    fn with(setting: &str) -> Endpoint {
        serde_json::from_str(&format!(r#"{{"url":"https://a.example",{setting}}}"#)).unwrap()
    }

    #[test]
    fn a_filter_that_could_never_match_is_refused() {
        let cases = [
            (r#"{"type":"operation","statuses":["APPROVED","approved"]}"#, "/types/0/statuses/1"),
            (r#"{"type":"token-request","statuses":["done"]}"#, "/types/0/statuses/0"),
            (r#"{"type":"session","stages":["Payment"]}"#, "/types/0/stages/0"),
            (r#"{"type":"operation","stages":["Accounts"]}"#, "/types/0/stages/0"),
            (r#"{"type":"invoice","stages":["Accounts"]}"#, "/types/0/stages/0"),
        ];
        for (filter, pointer) in cases {
            let faults = with(&format!(r#""types":[{filter}]"#)).check().unwrap_err();
            assert_eq!(faults.iter().map(|fault| &*fault.pointer).collect::<Vec<_>>(), [pointer], "{filter}");
        }
        assert_eq!(with(r#""types":[{"type":"transaction","statuses":["one that will come"]}]"#).check(), Ok(()));
    }

    #[test]
    fn chosen_fields_are_kept_and_mandatory_ones_always() {
        let data = r#"{"status":"APPROVED","type":"OPERATION","userId":"u","operationId":"1","parameters":{"a":"b"}}"#;
        let cases = [
            (r#"{"operation":["status"]}"#, r#"{"status":"APPROVED","type":"OPERATION","operationId":"1"}"#),
            (r#"{"operation":[]}"#, r#"{"type":"OPERATION","operationId":"1"}"#),
            (r#"{"operation":["parameters"]}"#, r#"{"type":"OPERATION","operationId":"1","parameters":{"a":"b"}}"#),
            (r#"{"activation":[]}"#, data),
        ];
        for (fields, expected) in cases {
            assert_eq!(with(&format!(r#""fields":{fields}"#)).payload_for("operation", data), expected, "{fields}");
        }
        assert_eq!(with(r#""fields":{"invoice":["b"]}"#).payload_for("invoice", r#"{"a":1,"b":2}"#), r#"{"b":2}"#);
        let question = r#"{"endpoint":"ep_1","challenge":"a","version":1}"#;
        let choosing = with(r#""fields":{"signpost.verification":["challenge"]}"#);
        assert_eq!(
            choosing.payload_for(VERIFICATION_TYPE, question),
            question,
            "otherwise a reflection would be an echo"
        );
    }

    #[test]
    fn headers_that_would_break_or_forge_a_request_are_refused() {
        let cases = [
            (r#"{"X-Team":"a b","x-env":""}"#, vec![], "fine"),
            (r#"{"X Team":"a"}"#, vec!["/headers/X Team"], "no name"),
            (r#"{"X-Team":"a\r\nhost: evil"}"#, vec!["/headers/X-Team"], "a header smuggled in"),
            (r#"{"Webhook-Id":"forged","Host":"evil"}"#, vec!["/headers/Host", "/headers/Webhook-Id"], "ours"),
            (r#"{"Authorization":"Bearer x"}"#, vec!["/headers/Authorization"], "a secret in the clear"),
            (r#"{"X-Team":"a","x-team":"b"}"#, vec!["/headers/x-team"], "twice"),
            (&format!(r#"{{"x-team":"{}"}}"#, "a".repeat(1_025)), vec!["/headers/x-team"], "too long"),
        ];
        for (headers, expected, why) in cases {
            let faults = with(&format!(r#""headers":{headers}"#)).check().err().unwrap_or_default();
            let pointers: Vec<_> = faults.iter().map(|fault| &*fault.pointer).collect();
            assert_eq!(pointers, expected, "{why}");
        }
        let many: BTreeMap<_, _> = (0..21).map(|number| (format!("x-{number}"), "a")).collect();
        let faults = with(&format!(r#""headers":{}"#, serde_json::to_string(&many).unwrap())).check().unwrap_err();
        assert_eq!(faults[0].pointer, "/headers");
    }

    #[test]
    fn an_endpoint_has_one_signature_of_each_kind_and_one_at_least() {
        assert_eq!(with(r#""signatures":["jws","standard-webhooks","http-message-signatures"]"#).check(), Ok(()));
        assert!(with(r#""signatures":[]"#).check().is_err());
        assert_eq!(with(r#""signatures":["jws","jws"]"#).check().unwrap_err()[0].pointer, "/signatures/1");
    }

    #[test]
    fn formats_and_algorithm_decide_which_signing_key_signs() {
        use Algorithm::{ES256, EdDSA, RS256};
        let cases = [
            (r#""signatures":["jws"]"#, Some(RS256)),
            (r#""signatures":["standard-webhooks"]"#, None),
            (r#""signatures":["jws","http-message-signatures"],"jwsAlgorithm":"ES256""#, Some(ES256)),
            (r#""signatures":["jws","standard-webhooks"]"#, Some(RS256)),
            (r#""signatures":["jws","standard-webhooks"],"jwsAlgorithm":"EdDSA""#, Some(EdDSA)),
        ];
        for (settings, expected) in cases {
            assert_eq!(with(settings).algorithm(), expected, "{settings}");
        }
    }

    #[test]
    fn endpoint_ids_read_back() {
        let id = EndpointId::new(Uuid::from_u128(7));
        assert_eq!(id.as_str(), "ep_00000000000000000000000000000007");
        assert_eq!(EndpointId::parse(id.as_str()), Some(id));
        for bad in ["", "ep_", "ep_0000000000000000000000000000000G", "00000000000000000000000000000007"] {
            assert_eq!(EndpointId::parse(bad), None, "{bad}");
        }
    }
}
