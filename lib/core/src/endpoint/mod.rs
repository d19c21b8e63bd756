//! Endpoints: where a tenant's events are sent, which of them, and how.

pub mod auth;
pub mod key_store;
pub mod retry;
pub mod settings;
pub mod signing_secrets;
pub mod target;

pub use crate::endpoint_id::EndpointId;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::endpoint::auth::Auth;
use crate::endpoint::retry::RetryPolicy;
use crate::event::family::{self, Statuses};
use crate::event::projection::project;
use crate::event::{Event, RoutingFacts};
use crate::input::fault::{Fault, FaultCode, Faults, pointer_to};
use crate::input::headers;
use crate::signing::algorithm::Algorithm;

/// A receiver's URL and its settings, as the table keeps them and as operators are shown them: without secrets.
///
/// Unknown fields are refused: a setting that is not honoured must not look as if it were. What operators write is read
/// by [`crate::endpoint::settings`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Endpoint {
    /// Where requests go. Judged by [`crate::endpoint::target::TargetRules`] whenever it is about to be used.
    pub url: String,
    /// The operator's own words.
    #[serde(default)]
    pub description: String,
    /// Which events it wants; empty means all.
    #[serde(default)]
    pub types: Vec<TypeFilter>,
    /// Which top-level fields it gets, by event type. The mandatory ones of a family always stay; a type that is not
    /// named here is sent whole.
    #[serde(default)]
    pub fields: BTreeMap<String, Vec<String>>,
    /// How requests carry the event's CloudEvents attributes.
    #[serde(default)]
    pub cloud_events: CloudEvents,
    /// How the payload is sent.
    #[serde(default)]
    pub method: Method,
    /// How Signpost authenticates to the receiver.
    #[serde(default)]
    pub auth: Auth,
    /// In which formats requests are signed: one of each at the most, and one at least.
    #[serde(default = "jws_only")]
    pub signatures: Vec<SignatureFormat>,
    /// The algorithm of [`SignatureFormat::Jws`] and [`SignatureFormat::HttpMessageSignatures`].
    #[serde(default)]
    pub jws_algorithm: Algorithm,
    /// How failed attempts are repeated.
    #[serde(default)]
    pub retry: RetryPolicy,
    /// Budget of one attempt in seconds, from DNS to the last byte of the answer.
    #[serde(default)]
    pub timeout_seconds: TimeoutSeconds,
    /// The most requests at once; no limit if there is none.
    #[serde(default)]
    pub max_concurrency: Option<Limit>,
    /// The most requests that begin in one second of the clock; no limit if there is none.
    #[serde(default)]
    pub max_per_second: Option<Limit>,
    /// Headers of its own, which every request carries.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Whether it proves that it wants webhooks before the first delivery, if the stack does not ask for that anyway.
    #[serde(default)]
    pub verification: Verification,
}

/// Why nothing is sent to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisabledBecause {
    /// It has done nothing but fail for five days ([`crate::delivery::breaker::HOPELESS_AFTER`]).
    Failing,
    /// It answered 410: the receiver has opted out.
    Gone,
    /// An operator has switched it off.
    Operator,
    /// Its server has not proved yet that it wants webhooks ([`crate::delivery::verification`]).
    Unverified,
}

impl DisabledBecause {
    /// The word in tables, logs and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failing => "failing",
            Self::Gone => "gone",
            Self::Operator => "operator",
            Self::Unverified => "unverified",
        }
    }

    /// Reads what [`Self::as_str`] wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let all = [Self::Failing, Self::Gone, Self::Operator, Self::Unverified];
        all.into_iter().find(|because| because.as_str() == text)
    }
}

/// The type of events that try an endpoint out. They go to the endpoint that their `subject` names, whatever types it
/// chose, and to no other.
pub const TEST_TYPE: &str = "signpost.test";

/// The type of events that ask an endpoint to prove that it wants webhooks ([`crate::delivery::verification`]). They go to the endpoint
/// that their `subject` names, and to no other.
pub const VERIFICATION_TYPE: &str = "signpost.verification";

/// The type of events that tell of an endpoint that was disabled by Signpost itself. They go to those only who name it among
/// their types.
pub const DISABLED_TYPE: &str = "signpost.endpoint-disabled";

/// A format that requests are signed in.
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
    /// As headers `ce-…`; the body is the payload (binary mode).
    #[default]
    Headers,
    /// Not at all; the body is the payload.
    None,
    /// In the body, which is the whole event (structured mode). Not with [`Method::Get`], which has no body.
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

/// How a payload is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// Its top-level fields as query parameters, without a body (S2).
    Get,
    /// As JSON.
    #[default]
    Post,
    /// As JSON.
    Put,
}

impl Method {
    /// The method as HTTP spells it.
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
    /// An endpoint with default settings.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            description: String::new(),
            types: Vec::new(),
            fields: BTreeMap::new(),
            cloud_events: CloudEvents::default(),
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

    /// Lists what is wrong with the settings although they could be read: filters that could never match, headers that
    /// would break a request or belong to Signpost, no signature at all.
    ///
    /// # Errors
    /// Every fault, with pointers into the settings.
    pub fn check(&self) -> Result<(), Vec<Fault>> {
        let mut faults = Faults::default();
        for (index, filter) in self.types.iter().enumerate() {
            filter.check(&format!("/types/{index}"), &mut faults);
        }
        self.check_headers(&mut faults);
        if (self.cloud_events, self.method) == (CloudEvents::Structured, Method::Get) {
            let found = Fault::whole("`structured` with method GET", "`headers` or `none`: a GET has no body")
                .code(FaultCode::Conflict);
            faults.push(found.under("/cloudEvents"));
        }
        if self.signatures.is_empty() {
            faults.push(
                Fault::whole("no format", "one signature format at least")
                    .code(FaultCode::OutOfRange)
                    .under("/signatures"),
            );
        }
        for (index, format) in self.signatures.iter().enumerate() {
            if self.signatures[..index].contains(format) {
                faults.push(
                    Fault::whole("a format again", "each once")
                        .code(FaultCode::Duplicate)
                        .under(format!("/signatures/{index}")),
                );
            }
        }
        faults.none()
    }

    fn check_headers(&self, faults: &mut Faults) {
        if self.headers.len() > headers::MAX_COUNT {
            let expected = format!("{} headers at the most", headers::MAX_COUNT);
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
                let expected = format!("a name of {name_bytes} bytes and a value of {value_bytes} at the most");
                faults.push(Fault::of_text(pointer, name, expected).code(FaultCode::OutOfRange));
            } else if !headers::is_name(name) {
                faults.push(Fault::of_text(pointer, name, "a header's name, such as X-Team"));
            } else if headers::is_ours(&lower) {
                let expected = "a header that Signpost does not set itself; secrets go to `auth`";
                faults.push(Fault::of_text(pointer, name, expected).code(FaultCode::Reserved));
            } else if !headers::is_value(value) {
                faults.push(Fault::of_text(pointer, value, "visible ASCII characters, and spaces inside"));
            } else if !seen.insert(lower) {
                faults.push(
                    Fault::of_text(pointer, name, "each header once, in whatever case").code(FaultCode::Duplicate),
                );
            }
        }
    }

    /// The algorithm of the signing key that its requests are signed with; none if its own keys are all that sign.
    #[must_use]
    pub fn algorithm(&self) -> Option<Algorithm> {
        let signs = |format: &SignatureFormat| match format {
            SignatureFormat::HttpMessageSignatures | SignatureFormat::Jws => true,
            SignatureFormat::StandardWebhooks => false,
        };
        self.signatures.iter().any(signs).then_some(self.jws_algorithm)
    }

    /// Whether its requests are signed in this format.
    #[must_use]
    pub fn signs(&self, format: SignatureFormat) -> bool {
        self.signatures.contains(&format)
    }

    /// Whether this endpoint chose events with these traits.
    #[must_use]
    pub fn wants(&self, event: &RoutingFacts<'_>) -> bool {
        self.types.is_empty() || self.types.iter().any(|filter| filter.matches(event))
    }

    /// Whether an event is for the endpoint called `id`, whose settings are `endpoint`: one that tries an endpoint out, or
    /// asks it for proof, is for the endpoint that it names, others are for those who chose them. Nobody knows what an endpoint wants that cannot
    /// be read, so it misses nothing.
    #[must_use]
    pub fn is_for(event: &Event, traits: &RoutingFacts<'_>, id: &EndpointId, endpoint: Option<&Self>) -> bool {
        match endpoint {
            _ if [TEST_TYPE, VERIFICATION_TYPE].contains(&&*event.kind) => {
                event.subject.as_deref() == Some(id.as_str())
            }
            _ if event.kind == DISABLED_TYPE => endpoint.is_some_and(|one| !one.types.is_empty() && one.wants(traits)),
            Some(endpoint) => endpoint.wants(traits),
            None => true,
        }
    }

    /// Gives the part of a minified payload that this endpoint gets. A challenge is never sent alone: a server that reflects
    /// all that it gets would otherwise echo it.
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

/// One kind of event that an endpoint wants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TypeFilter {
    /// The CloudEvents `type`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Which statuses; empty means all, those of events that have none included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statuses: Vec<String>,
    /// Which stages, for sessions; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<String>,
}

impl TypeFilter {
    /// All events of a type.
    #[must_use]
    pub fn of(kind: impl Into<String>) -> Self {
        Self { kind: kind.into(), ..Self::default() }
    }

    fn matches(&self, event: &RoutingFacts<'_>) -> bool {
        let is_among = |values: &[String], value: &Option<Cow<'_, str>>| {
            values.is_empty() || value.as_ref().is_some_and(|value| values.iter().any(|one| one == value))
        };
        self.kind == event.kind && is_among(&self.statuses, &event.status) && is_among(&self.stages, &event.stage)
    }

    /// A filter on what a family can never say is a mistake.
    fn check(&self, pointer: &str, faults: &mut Faults) {
        let family = family::of_kind(&self.kind);
        let mut check = |name: &str, values: &[String], possible: &[&str]| {
            let impossible = values.iter().enumerate().filter(|(_, value)| !possible.contains(&value.as_str()));
            faults.extend(impossible.map(|(index, value)| {
                let expected = match possible {
                    [] => format!("no {name}, for events of this type have none"),
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

/// Seconds that one attempt may take: 1 to 30, 10 by default (the ten seconds of TransactionLink's page).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct TimeoutSeconds(u8);

impl TimeoutSeconds {
    /// How many there may be.
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

/// How many requests there may be, at once or in a second: 1 to 500, as IDPay's simultaneous sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Limit(u16);

impl Limit {
    /// How many there may be.
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
            (r#"{"url":"https://a.example","maxPerMinute":5}"#, "unknown field"),
            (r#"{"url":"https://a.example","maxConcurrency":0}"#, "nothing could be sent"),
            (r#"{"url":"https://a.example","maxPerSecond":501}"#, "beyond IDPay's"),
            (r#"{"url":"https://a.example","timeoutSeconds":0}"#, "no time at all"),
            (r#"{"url":"https://a.example","timeoutSeconds":31}"#, "longer than the function allows"),
            (r#"{"url":"https://a.example","retry":{"backoff":"wild"}}"#, "unknown backoff"),
            (r#"{"url":"https://a.example","retry":{"intervalSeconds":43201}}"#, "over twelve hours"),
            (r#"{"url":"https://a.example","retry":{"maxRetries":101}}"#, "without end"),
        ];
        for (settings, why) in cases {
            assert!(serde_json::from_str::<Endpoint>(settings).is_err(), "{why}");
        }
    }

    fn event(kind: &str, data: &str) -> Event {
        Event::parse_own(&format!(
            r#"{{"specversion":"1.0","id":"1","source":"/","type":"{kind}","tenant":"acme","data":{data}}}"#
        ))
        .unwrap()
    }

    fn with(setting: &str) -> Endpoint {
        serde_json::from_str(&format!(r#"{{"url":"https://a.example",{setting}}}"#)).unwrap()
    }

    #[test]
    fn types_statuses_and_stages_decide_who_wants_an_event() {
        let approved = ("operation", r#"{"type":"OPERATION","operationId":"1","status":"APPROVED"}"#);
        let unsaid = ("operation", r#"{"type":"OPERATION","operationId":"1"}"#);
        let session = ("session", r#"{"sessionId":"1","stage":"Accounts","status":"Finished"}"#);
        let failed =
            ("token-request", r#"{"request-id":"1","request_id":"1","error":14,"message":"m","trace-id":"t"}"#);
        let transaction = ("transaction", r#"{"id":"1","status":"captured"}"#);
        let custom = ("invoice", r#"{"status":"paid"}"#);
        let cases = [
            ("[]", approved, true, "no filter"),
            (r#"[{"type":"operation"}]"#, approved, true, "the type"),
            (r#"[{"type":"session"}]"#, approved, false, "another type"),
            (r#"[{"type":"operation","statuses":["APPROVED"]}]"#, approved, true, "the status"),
            (r#"[{"type":"operation","statuses":["FAILED"]}]"#, approved, false, "another status"),
            (r#"[{"type":"operation","statuses":["APPROVED"]}]"#, unsaid, false, "no status to match"),
            (r#"[{"type":"operation"}]"#, unsaid, true, "no status asked for"),
            (r#"[{"type":"session","stages":["Accounts"]}]"#, session, true, "the stage"),
            (r#"[{"type":"session","stages":["Transactions"]}]"#, session, false, "another stage"),
            (r#"[{"type":"session","stages":["Accounts"],"statuses":["Failed"]}]"#, session, false, "stage and status"),
            (r#"[{"type":"token-request","statuses":["error"]}]"#, failed, true, "a status that is derived"),
            (r#"[{"type":"token-request","statuses":["completed"]}]"#, failed, false, "another that is derived"),
            (r#"[{"type":"transaction","statuses":["captured"]}]"#, transaction, true, "a status that came later"),
            (r#"[{"type":"invoice","statuses":["paid"]}]"#, custom, true, "a custom type"),
            (r#"[{"type":"invoice"},{"type":"session"}]"#, session, true, "one of several"),
        ];
        for (types, (kind, data), wanted, why) in cases {
            let endpoint = with(&format!(r#""types":{types}"#));
            assert_eq!(endpoint.wants(&event(kind, data).routing_facts()), wanted, "{types}: {why}");
            assert_eq!(endpoint.check(), Ok(()), "{types}: {why}");
        }
    }

    #[test]
    fn an_event_that_tries_an_endpoint_out_or_asks_for_proof_is_for_that_one_only() {
        let [tried, other] = [1, 2].map(|number| EndpointId::new(Uuid::from_u128(number)));
        let [trial, question] = [TEST_TYPE, VERIFICATION_TYPE].map(|kind| {
            let text = format!(
                r#"{{"specversion":"1.0","id":"1","source":"/","type":"{kind}","tenant":"acme","subject":"{tried}","data":{{}}}}"#
            );
            Event::parse_own(&text).unwrap()
        });
        let (all, operations) = (with(r#""types":[]"#), with(r#""types":[{"type":"operation"}]"#));
        let custom = event("custom", "{}");
        let cases = [
            (&trial, &tried, Some(&operations), true, "whatever it chose"),
            (&trial, &tried, None, true, "even if it cannot be read"),
            (&trial, &other, Some(&all), false, "nobody else"),
            (&trial, &other, None, false, "nobody else"),
            (&question, &tried, Some(&operations), true, "whatever it chose"),
            (&question, &other, Some(&all), false, "nobody else"),
            (&custom, &other, Some(&all), true, "chosen"),
            (&custom, &other, Some(&operations), false, "not chosen"),
            (&custom, &other, None, true, "who knows"),
        ];
        for (event, id, endpoint, expected, why) in cases {
            assert_eq!(Endpoint::is_for(event, &event.routing_facts(), id, endpoint), expected, "{why}");
        }
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
        assert_eq!(choosing.payload_for(VERIFICATION_TYPE, question), question, "or a reflection would be an echo");
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
