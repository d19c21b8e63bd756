//! Events that producers submit, as CloudEvents 1.0 in the JSON format.

pub mod catalogue;
pub mod cloud_events;
mod envelope;
pub mod family;
pub mod projection;
pub mod schema;
pub mod sequence;
pub mod sns;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use time::OffsetDateTime;

use crate::event::cloud_events::{BATCH_MEDIA_TYPE, MEDIA_TYPE};
use crate::event::envelope::Envelope;
pub use crate::event::envelope::is_source;
use crate::event::family::{Payload, Status};
use crate::event::sequence::SequenceNumber;
use crate::fingerprint::{fingerprint, hexadecimal};
use crate::input::fault::{Fault, FaultCode, Faults};
use crate::input::json::{self, text_in};
use crate::input::scanner::{Outline, Scanner, outline};
use crate::status::session;

/// The maximum size of one minified event in bytes: a message of SQS, less 4 KiB for what the message of a delivery has
/// beside its event.
pub const MAX_EVENT_BYTES: usize = MAX_SPELLED_BYTES - 4 * 1024;
/// The maximum size of one minified event of a session in bytes. One item of DynamoDB keeps the whole payload of a session's
/// state, and has at most 400 KB.
pub const MAX_SESSION_EVENT_BYTES: usize = 256 * 1024;
/// The maximum size of one event as it is spelled, with whitespace, in bytes. It is the limit of one SQS message.
pub const MAX_SPELLED_BYTES: usize = 1024 * 1024;
/// The maximum number of events of one batch.
pub const MAX_BATCH_EVENTS: usize = 100;

/// A valid event: a CloudEvents 1.0 envelope around a JSON object.
///
/// Attributes that Signpost does not know stay in the event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The identity of the event, with its tenant.
    pub key: EventKey,
    /// The CloudEvents `type`, which selects the payload family and the endpoints.
    pub kind: String,
    /// CloudEvents `subject`, if the producer set one.
    pub subject: Option<String>,
    /// The CloudEvents `time`, if the producer set one: when the event happened.
    pub time: Option<OffsetDateTime>,
    /// The attributes that Signpost sends as headers.
    pub context: Context,
    /// The number that Signpost gave to it, if an endpoint asked for one. It is not in the event's JSON.
    pub number: Option<SequenceNumber>,
    /// For how many days Signpost keeps it, if its type says so. It is not in the event's JSON either.
    pub retention_days: Option<u16>,
    json: String,
    data: Range<usize>,
    facts: Facts,
}

/// The places in an event's JSON where its facts are spelled. They are found when the event is parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Facts {
    status: Option<Fact>,
    stage: Option<Fact>,
    subject: Option<Fact>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Fact {
    /// The fact follows from the fields that are present.
    Derived(&'static str),
    /// The fact is here, if the value is a text.
    Spelled(Range<usize>),
}

impl Facts {
    /// Finds the facts of a `payload` that is a part of `json`.
    fn find(kind: &str, payload: &Payload<'_>, json: &str) -> Self {
        let spelled = |value| Fact::Spelled(place(json, value));
        let status = family::spelled_status(kind, payload).map(|status| match status {
            Status::Derived(status) => Fact::Derived(status),
            Status::Spelled(value) => spelled(value),
        });
        let subject = family::of_kind(kind).and_then(|family| payload.field(family.subject));
        Self { status, stage: payload.field("stage").map(spelled), subject: subject.map(spelled) }
    }
}

/// Returns where `part` is in `whole`.
fn place(whole: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - whole.as_ptr().addr();
    start..start + part.len()
}

/// The attributes of an event that Signpost sends as headers, as the producer spelled them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// CloudEvents `time`.
    pub time: Option<String>,
    /// The extension `sequence`, if the producer set one: the position among the events of a source.
    pub sequence: Option<String>,
    /// The extension `traceparent` (W3C Trace Context).
    pub traceparent: Option<String>,
    /// The extension `tracestate` (W3C Trace Context).
    pub tracestate: Option<String>,
}

/// The source of events that Signpost itself makes: tests, and notices about endpoints.
pub const OWN_SOURCE: &str = "/signpost";
/// The source of events that Signpost makes from bank callbacks.
pub const CALLBACKS_SOURCE: &str = "/callbacks";

/// The type of an event by which an operator tries out whether an endpoint receives and acknowledges requests. An event of
/// another type of the catalogue from [`OWN_SOURCE`] does the same ([`Event::is_test`]).
pub const TEST_TYPE: &str = "signpost.test";

/// Returns whether `kind` is a type of Signpost's own events. Producers may not use it.
pub(crate) fn is_own_type(kind: &str) -> bool {
    kind.starts_with("signpost.")
}

/// Returns whether `source` is a source of Signpost's own events. Producers may not use it.
pub(crate) fn is_own_source(source: &str) -> bool {
    matches!(source, OWN_SOURCE | CALLBACKS_SOURCE)
}

/// The traits by which endpoints choose events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutingFacts<'a> {
    /// The CloudEvents `type`.
    pub kind: &'a str,
    /// The status in the payload, as the event's family defines it.
    pub status: Option<Cow<'a, str>>,
    /// The stage, which only sessions have.
    pub stage: Option<Cow<'a, str>>,
}

/// The identity of an event: its tenant, its source and its id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventKey {
    /// The tenant whose endpoints receive it.
    pub tenant: TenantId,
    /// The CloudEvents `source`: a URI reference that identifies the producer.
    pub source: String,
    /// The CloudEvents `id`: unique within the tenant and source.
    pub id: EventId,
}

/// An event's id: 1 to 128 visible ASCII characters, except for those that some channel cannot transport.
///
/// - `#` and `/` separate the parts of table keys. `/`, `?` and `\` end a segment of a URL's path, and API Gateway
///   decodes `%` twice. `.` and `..` are not segments at all.
/// - Standard Webhooks signs `<webhook-id>.<timestamp>.<body>`. No signed text may begin like another one. Therefore no
///   part of an id between two dots has nine digits or more, as timestamps have.
/// - A JSON Web Signature signs `<header in base64url>.<payload>`. No id may make a signed text look like one.
///   Therefore the part before an id's first dot is not a JSON object in base64url.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(String);

/// A tenant's id: 1 to 64 of `a-z0-9-`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(String);

impl EventKey {
    /// Returns the header `webhook-id`: `<event id>:<12 hexadecimal digits of SHA-256 over the source>`.
    ///
    /// It is the same in all attempts and replays of an event. It differs between two sources that use the same id, so
    /// a receiver that drops repetitions never drops the other source's event. No text signed with it can be read as
    /// another signed text, especially not as a JSON Web Signature: see [`EventId`].
    #[must_use]
    pub fn webhook_id(&self) -> String {
        let hash = digest(&SHA256, self.source.as_bytes());
        format!("{}:{}", self.id, hexadecimal(&hash.as_ref()[..6]))
    }
}

impl EventId {
    /// The form of an event id, for messages.
    pub const EXPECTED: &str = "1 to 128 visible ASCII characters other than `#`, `/`, `?`, `%` and `\\`";

    /// Parses an id that fits [`Self::EXPECTED`] and cannot be read as a signed text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::judge(text).ok()
    }

    /// Parses an id like [`Self::parse`].
    ///
    /// # Errors
    /// The expected form, with the first character that does not fit.
    pub fn judge(text: &str) -> Result<Self, String> {
        let is_carried = |character: &char| character.is_ascii_graphic() && !"#/?%\\".contains(*character);
        if let Some(character) = text.chars().find(|character| !is_carried(character)) {
            return Err(format!("{}; `{}` is not allowed", Self::EXPECTED, character.escape_default()));
        }
        if !(1..=128).contains(&text.len()) {
            return Err(Self::EXPECTED.to_owned());
        }
        if matches!(text, "." | "..") {
            return Err(format!("{}; `.` and `..` alone cannot be a part of a URL's path", Self::EXPECTED));
        }
        if reads_as_signed(text) {
            return Err(
                "an id with at most eight digits between two dots, because more look like the timestamp of a signature"
                    .into(),
            );
        }
        if reads_as_jws_header(text) {
            return Err(
                "an id that does not look like a JSON Web Signature: no JSON in base64url before its first `.`".into(),
            );
        }
        Ok(Self(text.to_owned()))
    }

    /// Returns the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns whether a part between two dots of an id could be taken for a timestamp. A receiver does not know the ids.
/// It would verify `a.1900000000.status=DONE:…` as the webhook `a` of that time, with a body that begins in the id.
fn reads_as_signed(id: &str) -> bool {
    let parts: Vec<&str> = id.split('.').collect();
    let digits = |part: &&str| part.bytes().filter(u8::is_ascii_digit).count();
    let between = parts.get(1..parts.len().saturating_sub(1)).unwrap_or_default();
    between.iter().any(|part| digits(part) >= TIMESTAMP_DIGITS)
}

/// The minimum number of digits of a Unix time in seconds that a receiver might accept. Since 2001, such times have
/// ten.
const TIMESTAMP_DIGITS: usize = 9;

/// Returns whether an id begins like a JSON Web Signature (RFC 7515, section 7.1).
fn reads_as_jws_header(id: &str) -> bool {
    let Some((header, _)) = id.split_once('.') else { return false };
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let Ok(decoded) = GeneralPurpose::new(&URL_SAFE, config).decode(header) else { return false };
    let decoded = decoded.trim_ascii();
    decoded.starts_with(b"{") && decoded.ends_with(b"}")
}

impl TenantId {
    /// The form of a tenant id, for messages.
    pub const EXPECTED: &str = "1 to 64 of a-z, 0-9, `-`";

    /// Parses an id that fits [`Self::EXPECTED`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        ((1..=64).contains(&text.len()) && text.bytes().all(fits)).then(|| Self(text.to_owned()))
    }

    /// Returns the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Event {
    /// Parses an event of a producer in the CloudEvents JSON format, and minifies it.
    ///
    /// # Errors
    /// All faults of the envelope and, if the type belongs to a family, of the payload. Types and sources of Signpost's
    /// own events are faults too. A text that is not JSON has one fault, with the position.
    pub fn parse(text: &str) -> Result<Self, Vec<Fault>> {
        Self::from_text(text, Rules::Producer)
    }

    /// Parses an event that Signpost itself made, like [`Self::parse`]. Do not call it for texts that a producer can
    /// write.
    ///
    /// # Errors
    /// The same as for [`Self::parse`], except that Signpost's own types and sources are allowed.
    pub fn parse_own(text: &str) -> Result<Self, Vec<Fault>> {
        Self::from_text(text, Rules::Own)
    }

    fn from_text(text: &str, rules: Rules) -> Result<Self, Vec<Fault>> {
        let outline = outline(text, "data").ok_or_else(|| json::faults_of(text, EVENT_EXPECTED))?;
        if rules == Rules::Producer && outline.json.starts_with('[') {
            let expected = format!("one event; a batch has the media type {BATCH_MEDIA_TYPE}");
            return Err(vec![Fault::whole("a list", expected).code(FaultCode::WrongMediaType)]);
        }
        Self::from_outline(outline, rules)
    }

    /// Parses an event of a producer whose `data` is apart from its other attributes: `count` JSON members, separated by
    /// commas. None if `data` is not JSON.
    pub(crate) fn parse_parts(attributes: &str, count: usize, data: &str) -> Option<Result<Self, Vec<Fault>>> {
        let text = format!("{{{attributes},\"data\":{data}}}");
        // With another number of members, `data` has begun as a value and gone on as members of the event.
        let outline = outline(&text, "data").filter(|outline| outline.member_count() == count + 1)?;
        Some(Self::from_outline(outline, Rules::Producer))
    }

    /// Parses a CloudEvents JSON batch of 1 to [`MAX_BATCH_EVENTS`] events. If one event is invalid, none is accepted.
    ///
    /// # Errors
    /// All faults of all events. The pointer starts with the event's index.
    pub fn parse_batch(text: &str) -> Result<Vec<Self>, Vec<Fault>> {
        let expected = format!("a JSON array of 1 to {MAX_BATCH_EVENTS} CloudEvents 1.0 events");
        let mut parsed = Vec::new();
        let Some(count) = Self::scan_batch(text, &mut parsed) else {
            let raw = json::parse(text, &*expected)?;
            if raw.get().starts_with('{') {
                let expected = format!("{expected}; a single event has the media type {MEDIA_TYPE}");
                return Err(vec![Fault::whole("a JSON object", expected).code(FaultCode::WrongMediaType)]);
            }
            return Err(vec![Fault::at("", raw, &*expected).code(FaultCode::WrongType)]);
        };
        if !(1..=MAX_BATCH_EVENTS).contains(&count) {
            let expected = format!("{expected}; do not send an empty batch");
            return Err(vec![Fault::whole(format!("{count} events"), expected).code(FaultCode::OutOfRange)]);
        }
        let mut events = Vec::with_capacity(count);
        let mut faults = Vec::new();
        for (index, parsed) in parsed.into_iter().enumerate() {
            match parsed {
                Ok(event) => events.push(event),
                Err(found) => faults.extend(found.into_iter().map(|fault| fault.within(index))),
            }
        }
        if faults.is_empty() { Ok(events) } else { Err(faults) }
    }

    /// Parses the first [`MAX_BATCH_EVENTS`] items of a JSON array during one scan. Returns the number of all items. None
    /// if the text is not JSON, or not an array.
    fn scan_batch(text: &str, parsed: &mut Vec<Result<Self, Vec<Fault>>>) -> Option<usize> {
        let (mut scanner, mut count) = (Scanner::new(text), 0);
        scanner.list(|scanner| {
            count += 1;
            if count > MAX_BATCH_EVENTS {
                return scanner.value();
            }
            parsed.push(Self::from_outline(scanner.outline("data")?, Rules::Producer));
            Some(())
        })?;
        scanner.end()?;
        Some(count)
    }

    /// Parses an event that was accepted before. Its payload is not checked again, because stricter rules must not stop
    /// an event that is already queued.
    ///
    /// # Errors
    /// The same as for [`Self::parse`], but only for the envelope.
    pub fn reread(text: &str) -> Result<Self, Vec<Fault>> {
        Self::from_text(text, Rules::Envelope)
    }

    /// Parses an event that was accepted before, like [`Self::reread`], as a part of a larger text.
    pub(crate) fn reread_part(scanner: &mut Scanner<'_>) -> Option<Result<Self, Vec<Fault>>> {
        Some(Self::from_outline(scanner.outline("data")?, Rules::Envelope))
    }

    fn from_outline(outline: Outline<'_>, rules: Rules) -> Result<Self, Vec<Fault>> {
        if outline.text.len() > MAX_SPELLED_BYTES {
            return Err(vec![too_large(outline.text.len(), MAX_EVENT_BYTES)]);
        }
        let Some(members) = outline.members() else {
            return Err(vec![Fault::at("", outline.text, "a JSON object").code(FaultCode::WrongType)]);
        };
        let mut faults = Faults::default();
        let payload = outline.inner_members().map(Payload::from);
        let envelope = Envelope::read(&members, payload.is_some(), &mut faults);
        let is_of_session = envelope.kind.as_deref() == Some(session::KIND);
        let most_bytes = if is_of_session { MAX_SESSION_EVENT_BYTES } else { MAX_EVENT_BYTES };
        if outline.json.len() > most_bytes {
            faults.push(too_large(outline.json.len(), most_bytes));
        }
        let family = envelope.kind.as_deref().and_then(family::of_kind);
        if let (Rules::Producer | Rules::Own, Some(family), Some(payload)) = (rules, family, &payload) {
            family.check(payload, &mut faults);
        }
        if rules == Rules::Producer {
            envelope.refuse_own(&members, &mut faults);
        }
        let checked = faults.none();
        let (
            Envelope {
                id: Some(id),
                source: Some(source),
                kind: Some(kind),
                tenant: Some(tenant),
                subject,
                time,
                context,
                data: Some(data),
            },
            Some(payload),
        ) = (envelope, payload)
        else {
            return Err(checked.err().unwrap_or_default());
        };
        checked?;
        let (data, facts) = (place(&outline.json, data), Facts::find(&kind, &payload, &outline.json));
        let key = EventKey { tenant, source, id };
        Ok(Self {
            key,
            kind,
            subject,
            time,
            context,
            number: None,
            retention_days: None,
            json: outline.json,
            data,
            facts,
        })
    }

    /// Returns whether an operator tries an endpoint out with the event, which goes to the endpoint in its subject only.
    /// It says nothing about a subject of the tenant.
    #[must_use]
    pub fn is_test(&self) -> bool {
        self.kind == TEST_TYPE || (self.key.source == OWN_SOURCE && !is_own_type(&self.kind))
    }

    /// Returns the traits by which endpoints choose.
    #[must_use]
    pub fn routing_facts(&self) -> RoutingFacts<'_> {
        let Facts { status, stage, .. } = &self.facts;
        RoutingFacts { kind: &self.kind, status: self.text_of(status.as_ref()), stage: self.text_of(stage.as_ref()) }
    }

    /// Returns the subject in the payload, as the event's family defines it.
    #[must_use]
    pub fn family_subject(&self) -> Option<Cow<'_, str>> {
        self.text_of(self.facts.subject.as_ref())
    }

    fn text_of(&self, fact: Option<&Fact>) -> Option<Cow<'_, str>> {
        match fact? {
            Fact::Derived(text) => Some(Cow::Borrowed(text)),
            Fact::Spelled(place) => text_in(&self.json[place.clone()]),
        }
    }

    /// Returns the whole minified event, which is the SQS message body.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.json
    }

    /// Returns the whole event with another payload, for an endpoint that receives structured CloudEvents. `number` becomes
    /// its `sequence`.
    #[must_use]
    pub fn json_with(&self, payload: &str, number: Option<SequenceNumber>) -> String {
        // An attribute that is null is absent, and no attribute may occur twice.
        const ABSENT: &str = r#","sequence":null"#;
        let (before, after) = (&self.json[..self.data.start], &self.json[self.data.end..]);
        match (number, after.strip_suffix('}')) {
            (Some(number), Some(rest)) => {
                let (before, rest) = (before.replacen(ABSENT, "", 1), rest.replacen(ABSENT, "", 1));
                format!(r#"{before}{payload}{rest},"sequence":"{number}"}}"#)
            }
            _ => [before, payload, after].concat(),
        }
    }

    /// Returns the minified payload: the bytes that receivers get.
    #[must_use]
    pub fn data(&self) -> &str {
        &self.json[self.data.clone()]
    }

    /// Returns the SHA-256 hash over the parts that receivers can distinguish: type, subject and payload.
    ///
    /// If a producer submits the same event again with a new `time`, the hash is the same. Other bytes in the payload
    /// are a conflict.
    #[must_use]
    pub fn payload_hash(&self) -> [u8; 32] {
        fingerprint([&*self.kind, self.subject.as_deref().unwrap_or_default(), self.data()])
    }
}

const EVENT_EXPECTED: &str = "a CloudEvents 1.0 event in JSON";

/// The rules for reading an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rules {
    /// The rules for envelope and payload. Signpost's own types and sources are not allowed.
    Producer,
    /// The rules for envelope and payload.
    Own,
    /// The rules for the envelope only.
    Envelope,
}

fn too_large(size_bytes: usize, most_bytes: usize) -> Fault {
    let expected = format!("at most {most_bytes} bytes without whitespace");
    Fault::too_large(format!("an event of {size_bytes} bytes"), expected)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;
    use crate::delivery::Delivery;
    use crate::endpoint::EndpointId;
    use crate::event::cloud_events::parse_binary;
    use crate::input::fault::MAX_FAULTS;
    use crate::status::state::subjects;

    fn envelope() -> Value {
        json!({"specversion": "1.0", "id": "op-1", "source": "/core", "type": "custom", "tenant": "acme", "data": {}})
    }

    fn pointers(text: &str) -> Vec<String> {
        Event::parse(text).unwrap_err().into_iter().map(|fault| fault.pointer).collect()
    }

    #[test]
    fn an_event_keeps_the_payload_as_it_was_spelled() {
        let event = Event::parse(
            "{\"specversion\":\"1.0\",\"id\":\"a:1_b-2\",\"source\":\"/core\",\"type\":\"custom\",\"tenant\":\"acme\",
             \"traceparent\":\"00-0af7\", \"subject\":null,
             \"data\": {\"z\": 10.10, \"a\": [1, 12345678901234567890.5], \"n\": \"John Smith\"} }",
        )
        .unwrap();
        assert_eq!(event.data(), r#"{"z":10.10,"a":[1,12345678901234567890.5],"n":"John Smith"}"#);
        assert_eq!(event.key.id.as_str(), "a:1_b-2");
        assert_eq!(event.subject, None, "null is absent");
        assert!(event.json().contains(r#""traceparent":"00-0af7""#), "extensions stay");
        assert_eq!(Event::parse(event.json()).unwrap(), event, "the queue's body reads back as the same event");
    }

    /// The allowance is for the attributes of the envelope, which are short.
    #[test]
    fn a_payload_is_read_once() {
        const ATTRIBUTES: usize = 500;
        let mut spelled = envelope();
        spelled["type"] = json!("session");
        spelled["data"] = json!({
            "sessionId": "s", "stage": "Accounts", "status": "Finished", "note": "John Smith\n".repeat(10_000),
        });
        let (text, pretty) = (spelled.to_string(), serde_json::to_string_pretty(&spelled).unwrap());
        let event = Event::parse(&text).unwrap();
        let message = Delivery::message(&EndpointId::new(Uuid::nil()), &event, 7);
        let cases: [(&str, usize, &dyn Fn()); 7] = [
            ("ingest", text.len(), &|| drop(Event::parse(&text).unwrap())),
            ("ingest, with whitespace", pretty.len(), &|| drop(Event::parse(&pretty).unwrap())),
            ("ingest, binary mode", event.data().len(), &|| {
                let headers: [(&str, &[u8]); 5] = [
                    ("ce-id", b"1"),
                    ("ce-specversion", b"1.0"),
                    ("ce-source", b"/c"),
                    ("ce-type", b"t"),
                    ("ce-tenant", b"acme"),
                ];
                drop(parse_binary(headers, "application/json", event.data()).unwrap());
            }),
            ("ingest, a batch", text.len(), &|| drop(Event::parse_batch(&format!("[{text}]")).unwrap())),
            ("fanout", text.len(), &|| {
                let event = Event::parse(&text).unwrap();
                let RoutingFacts { status, stage, .. } = event.routing_facts();
                assert_eq!((status.as_deref(), stage.as_deref()), (Some("Finished"), Some("Accounts")));
                assert_eq!(subjects(&event), ["s"]);
            }),
            ("deliver", text.len(), &|| drop(Delivery::parse(&message).unwrap())),
            ("an item of the table", text.len(), &|| drop(Event::reread(&text).unwrap())),
        ];
        for (process, bytes, work) in cases {
            let (read, ()) = json::bytes_read_by(work);
            assert!((bytes..bytes + ATTRIBUTES).contains(&read), "{process} reads {read} bytes of {bytes}");
        }
    }

    #[test]
    fn every_attribute_has_its_rule() {
        let long = |length: usize| "x".repeat(length);
        let cases = [
            ("specversion", json!("0.3"), "another version of the specification"),
            ("specversion", json!(1.0), "a number"),
            ("id", json!(""), "empty"),
            ("id", json!("a#b"), "a separator of keys"),
            ("id", json!(long(129)), "too long"),
            ("id", json!(7), "a number"),
            ("source", json!(""), "empty"),
            ("source", json!("my core"), "a space is not a URI reference"),
            ("source", json!(long(513)), "too long for a key"),
            ("type", json!(""), "empty"),
            ("type", json!("a\u{7}"), "a control character"),
            ("tenant", json!("Acme"), "upper case"),
            ("tenant", json!(long(65)), "too long"),
            ("tenant", Value::Null, "null is absent"),
            ("subject", json!(""), "empty"),
            ("subject", json!(1), "a number"),
            ("time", json!("yesterday"), "not RFC 3339"),
            ("time", json!("2026-01-31"), "a date without a time"),
            ("datacontenttype", json!("text/plain"), "not JSON"),
            ("dataschema", json!("/relative"), "a URI has a scheme"),
            ("data", json!("text"), "a string"),
            ("data", json!([1]), "an array"),
            ("data", Value::Null, "null"),
            ("data", json!({"\u{1}half": 1}), "a name that is not valid Unicode"),
            ("data_base64", json!("AAAA"), "binary payloads"),
            ("CamelCase", json!("x"), "attribute names are lower case"),
            ("ext", json!({"a": 1}), "extensions are scalars"),
        ];
        for (name, value, why) in cases {
            let mut event = envelope();
            event[name] = value;
            let text = event.to_string().replace("\\u0001half", "\\ud800"); // serde_json cannot write half a pair.
            assert_eq!(pointers(&text), [format!("/{name}")], "{name}: {why}");
        }
    }

    #[test]
    fn types_and_sources_of_signposts_own_events_are_refused_from_producers() {
        let cases = [
            ("type", "signpost.test", Some("/type"), "a test event"),
            ("type", "signpost.endpoint-disabled", Some("/type"), "a notice"),
            ("type", "signpost.anything", Some("/type"), "all of them, those of later versions too"),
            ("type", "signposts.test", None, "another word"),
            ("source", "/signpost", Some("/source"), "Signpost's own"),
            ("source", "/callbacks", Some("/source"), "a bank callback's"),
            ("source", "/callbacks/mine", None, "another source"),
        ];
        for (name, value, pointer, why) in cases {
            let mut event = envelope();
            event[name] = json!(value);
            let text = event.to_string();
            let found = Event::parse(&text).err().map(|faults| faults[0].pointer.clone());
            assert_eq!(found.as_deref(), pointer, "{value}: {why}");
            let batch = Event::parse_batch(&format!("[{text}]"));
            assert_eq!(batch.is_err(), pointer.is_some(), "{value} in a batch: {why}");
            assert!(Event::parse_own(&text).is_ok() && Event::reread(&text).is_ok());
        }
    }

    #[test]
    fn one_id_of_two_sources_makes_two_webhook_ids() {
        let key = |source: &str| EventKey {
            tenant: TenantId::parse("acme").unwrap(),
            source: source.into(),
            id: EventId::parse("1").unwrap(),
        };
        // Python: hashlib.sha256(b"/billing").hexdigest()[:12]
        assert_eq!(key("/billing").webhook_id(), "1:648622138063");
        assert_eq!(key("/payments").webhook_id(), "1:2686bdb4a67c");
    }

    #[test]
    fn attributes_for_headers_are_kept_as_they_were_spelled() {
        let mut event = envelope();
        event["time"] = json!("2026-01-31T10:00:00.10+01:00");
        event["sequence"] = json!(7);
        event["traceparent"] = json!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        let context = Event::parse(&event.to_string()).unwrap().context;
        assert_eq!(context.time.as_deref(), Some("2026-01-31T10:00:00.10+01:00"));
        assert_eq!(context.sequence.as_deref(), Some("7"), "a number is its spelling");
        assert!(context.traceparent.is_some() && context.tracestate.is_none());
    }

    #[test]
    fn another_payload_leaves_the_envelope_as_it_was() {
        let event = Event::parse(&envelope().to_string()).unwrap();
        assert_eq!(event.json_with("{}", None), event.json());
        let numbered = event.json_with("{}", Some(SequenceNumber::first(1_769_853_600)));
        assert_eq!(Event::parse(&numbered).unwrap().context.sequence.as_deref(), Some("176985360000000001"));
        let with_more = event.json_with(r#"{"a":1}"#, None);
        assert_eq!(Event::parse(&with_more).unwrap().data(), r#"{"a":1}"#);
    }

    #[test]
    fn envelopes_that_the_specification_allows_are_accepted() {
        let cases = [
            ("id", json!("x".repeat(128))),
            ("source", json!("urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66")),
            ("time", json!("2026-01-31T10:00:00.123+01:00")),
            ("datacontenttype", json!("application/vnd.acme+json; charset=utf-8")),
            ("dataschema", json!("https://acme.example/schema")),
            ("partitionkey", json!("p")),
            ("sequence", json!(7)),
        ];
        for (name, value) in cases {
            let mut event = envelope();
            event[name] = value;
            assert!(Event::parse(&event.to_string()).is_ok(), "{name}");
        }
    }

    #[test]
    fn ids_of_other_systems_are_accepted_unless_a_channel_cannot_transport_them() {
        let header = "eyJhbGciOiJFZERTQSIsImI2NCI6ZmFsc2V9"; // {"alg":"EdDSA","b64":false}
        let jws = format!("{header}.payload");
        let cases = [
            ("order.17", true, "a dot"),
            ("name:test_server1;lsn:29274832;txId:565", true, "Debezium"),
            (r#"name:pg;lsn:29274832;txId:565;sequence:["29273320","29274832"]"#, true, "Debezium, with its sequence"),
            ("1096434104173400", true, "Eventarc, of Pub/Sub"),
            ("exam.17", true, "base64url, but not of JSON"),
            ("A234-1234-1234", true, "the specification's own"),
            ("a@b+c=d~e!f$g&h'(i)*,{j}|^`<k>", true, "all other characters"),
            ("2026-01-31T10:00:00.123Z", true, "a moment"),
            (header, true, "no dot, and so a colon before the first one of what is signed"),
            ("a/b", false, "a separator of paths and keys"),
            ("a#b", false, "a separator of keys"),
            ("a?b", false, "where a path ends"),
            ("a%2Fb", false, "decoded twice"),
            ("a\\b", false, "a slash to some"),
            ("a b", false, "a space"),
            ("é", false, "no ASCII"),
            ("a\n", false, "a control character"),
            ("", false, "nothing"),
            (".", false, "no segment"),
            ("..", false, "no segment"),
            ("a.1900000000.status=DONE", false, "the beginning of another signed text"),
            ("a.1_900_000_000.status=DONE", false, "the same to some parsers"),
            ("a.1900000000", true, "no body after it"),
            ("v1.20260131.17", true, "a date"),
            (&jws, false, "a header of JWS with an unencoded payload (RFC 7797)"),
        ];
        for (id, fits, why) in cases {
            assert_eq!(EventId::parse(id).is_some(), fits, "{id}: {why}");
        }
        let mut event = envelope();
        event["id"] = json!("a/b");
        let expected = &Event::parse(&event.to_string()).unwrap_err()[0].expected;
        assert!(expected.ends_with("; `/` is not allowed"), "{expected}");
    }

    proptest! {
        /// The signed text of Standard Webhooks begins with its own id and timestamp, and cannot begin with another
        /// one.
        #[test]
        fn no_signed_text_begins_as_another(id in "([a-z0-9:.{]|\\.|1900000000|[0-9]{8}){1,8}") {
            let Some(id) = EventId::parse(&id) else { return Ok(()) };
            let webhook_id = format!("{id}:648622138063");
            let signed = format!("{webhook_id}.1700000000.{{}}");
            let mut read = signed.match_indices('.').filter(|(at, _)| {
                let timestamp = signed[at + 1..].split_once('.').map(|(timestamp, _)| timestamp);
                timestamp.is_some_and(|text| text.len() >= 9 && text.bytes().all(|byte| byte.is_ascii_digit()))
            });
            prop_assert_eq!(read.next().map(|(at, _)| &signed[..at]), Some(&*webhook_id));
        }
    }

    #[test]
    fn all_faults_come_at_once() {
        assert_eq!(pointers("{}"), ["/specversion", "/id", "/source", "/type", "/tenant", "/data"]);
        assert_eq!(pointers("[]"), [""]);
        assert_eq!(pointers("{"), [""]);
        assert_eq!(
            pointers(r#"{"specversion":"1.0","id":"a","id":"b","source":"/","type":"t","tenant":"t","data":{}}"#),
            ["/id"]
        );
    }

    #[test]
    fn an_event_made_to_have_endless_faults_has_a_hundred_and_a_count() {
        let faults = Event::parse(&format!("{{{}\"\":0}}", "\"\":0,".repeat(100_000))).unwrap_err();
        assert_eq!(faults.len(), MAX_FAULTS + 1);
        assert!(faults[MAX_FAULTS].found.ends_with(" more faults"), "{:?}", faults[MAX_FAULTS]);
    }

    #[test]
    fn faults_in_a_batch_name_the_event() {
        let mut bad = envelope();
        bad["tenant"] = json!("ACME");
        let batch = json!([envelope(), bad, 7]).to_string();
        let faults = Event::parse_batch(&batch).unwrap_err();
        let pointers: Vec<_> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(pointers, ["/1/tenant", "/2"]);

        let full = Value::from(vec![envelope(); MAX_BATCH_EVENTS]);
        assert_eq!(Event::parse_batch(&full.to_string()).unwrap().len(), MAX_BATCH_EVENTS);
        for size in [0, MAX_BATCH_EVENTS + 1] {
            assert!(Event::parse_batch(&Value::from(vec![envelope(); size]).to_string()).is_err(), "{size} events");
        }
    }

    #[test]
    fn an_event_is_measured_without_whitespace() {
        let mut event = envelope();
        event["data"]["pad"] = json!("");
        let room = MAX_EVENT_BYTES - event.to_string().len();
        event["data"]["pad"] = json!("x".repeat(room));
        assert!(Event::parse(&serde_json::to_string_pretty(&event).unwrap()).is_ok());
        event["data"]["pad"] = json!("x".repeat(room + 1));
        let faults = Event::parse(&event.to_string()).unwrap_err();
        assert!(faults[0].is_too_large() && faults.len() == 1);
        let spaced = envelope().to_string() + &" ".repeat(MAX_SPELLED_BYTES);
        assert!(Event::parse(&spaced).is_ok(), "whitespace around it does not count");
        let spread = envelope().to_string().replace('{', &format!("{{{}", " ".repeat(MAX_SPELLED_BYTES)));
        assert!(Event::parse(&spread).unwrap_err()[0].is_too_large(), "too large for any message");
    }

    #[test]
    fn events_that_receivers_can_distinguish_have_different_hashes() {
        let hash = |change: &dyn Fn(&mut Value)| {
            let mut event = envelope();
            change(&mut event);
            Event::parse(&event.to_string()).unwrap().payload_hash()
        };
        let same = hash(&|_| ());
        assert_eq!(hash(&|event| event["time"] = json!("2026-01-31T10:00:00Z")), same, "a retry with a fresh time");
        assert_ne!(hash(&|event| event["data"] = json!({"a": 1})), same);
        assert_ne!(hash(&|event| event["type"] = json!("another")), same);
        assert_ne!(hash(&|event| event["subject"] = json!("s")), same);
    }
}
