//! The catalogue: the types of events that a tenant's integrators can expect. Seven are built in, and tenants have their
//! own.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::event::family::{FAMILIES, of_kind};
use crate::event::is_own_type;
use crate::event::schema::Schema;
use crate::input::fault::{Fault, FaultCode, Faults};
use crate::input::json;
use crate::input::object::{Found, Object};

/// How many event types a tenant may have.
pub const MAX_EVENT_TYPES: u64 = 200;
/// How many bytes the event types of a tenant may have together: schemas, examples and descriptions.
pub const MAX_CATALOGUE_BYTES: u64 = 512 * 1024;
/// How many bytes an example may have, without whitespace.
pub const MAX_EXAMPLE_BYTES: usize = 32 * 1024;
/// How many characters a description may have.
const MAX_DESCRIPTION: usize = 1_000;

/// The name of an event type that a tenant may register: a CloudEvents `type` that fits into a URL's path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TypeName(String);

impl TypeName {
    /// The form of a name, for messages.
    pub const EXPECTED: &str =
        "1 to 128 of A-Z, a-z, 0-9, `.`, `_`, `-`, `:`, and no name that begins with `signpost.`";

    /// Parses a name. The names of payload formats are names too.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte);
        let is_name = (1..=128).contains(&text.len()) && text.bytes().all(fits) && text.contains(|one| one != '.');
        (is_name && !is_own_type(text)).then(|| Self(text.to_owned()))
    }

    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the payload format of this name, which no tenant can replace.
    #[must_use]
    pub fn built_in(&self) -> Option<&'static BuiltIn> {
        BUILT_IN.iter().find(|one| one.kind == self.0)
    }
}

impl fmt::Display for TypeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns whether a tenant may have a schema for events of this type. Payload formats have rules of their own.
#[must_use]
pub fn may_have_schema(kind: &str) -> bool {
    of_kind(kind).is_none() && TypeName::parse(kind).is_some()
}

/// An event type of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventType {
    /// The meaning of its events, for integrators. It may be empty.
    pub description: String,
    /// The JSON Schema of its payloads, without whitespace.
    pub schema: String,
    /// A payload that fits the schema, without whitespace.
    pub example: String,
    /// Whether producers should stop to send it. Its events are accepted all the same.
    pub deprecated: bool,
    /// For how many days its events are kept, if shorter than the stack keeps events.
    pub retention_days: Option<u16>,
}

impl EventType {
    /// Reads an event type as an operator sends it, on a stack that keeps events for `stack_retention`.
    ///
    /// # Errors
    /// All faults: of the settings, of the schema, and of an example that does not fit the schema.
    pub fn parse(text: &str, stack_retention: Duration) -> Result<Self, Vec<Fault>> {
        let found = Found::whole(json::parse(text, "an event type in JSON")?);
        let mut faults = Faults::default();
        let Some(mut object) = Object::open(&found, &mut faults) else {
            return Err(faults.none().err().unwrap_or_default());
        };
        let description = object.member("description").and_then(|one| one.text_or_empty(MAX_DESCRIPTION, &mut faults));
        let deprecated = object.member("deprecated").and_then(|one| one.read("`true` or `false`", &mut faults));
        let days = object.nullable_member("retentionDays");
        let retention_days = days.and_then(|one| one.within(days_up_to(stack_retention), &mut faults));
        let schema =
            required(&mut object, "schema", "a JSON Schema 2020-12, such as `{\"type\":\"object\"}`", &mut faults);
        let example = required(&mut object, "example", "a payload that fits the schema", &mut faults);
        object.close(&mut faults);
        let compiled = schema.as_ref().map(|schema| Schema::parse(schema.value.get(), "/schema"));
        let compiled = compiled.and_then(|compiled| compiled.map_err(|found| faults.extend(found)).ok());
        let example = example.and_then(|example| read_example(&example, &mut faults));
        if let (Some(schema), Some(example)) = (compiled, &example)
            && let Err(found) = schema.check(example, "/example")
        {
            faults.extend(found);
        }
        faults.none()?;
        Ok(Self {
            description: description.unwrap_or_default(),
            schema: schema.map(|schema| json::minify(schema.value.get())).unwrap_or_default(),
            example: example.unwrap_or_default(),
            deprecated: deprecated.unwrap_or_default(),
            retention_days: retention_days.and_then(|days| u16::try_from(days).ok()),
        })
    }

    /// Returns how many bytes count for [`MAX_CATALOGUE_BYTES`].
    #[must_use]
    pub fn bytes(&self) -> u64 {
        (self.description.len() + self.schema.len() + self.example.len()) as u64
    }
}

/// Returns the values that `retentionDays` may have on a stack that keeps events for `stack_retention`.
fn days_up_to(stack_retention: Duration) -> RangeInclusive<u32> {
    1..=u32::try_from(stack_retention.as_secs() / 86_400).unwrap_or(u32::MAX).max(1)
}

/// Returns for how long Signpost keeps an event of a type with `retention_days`. It is never longer than the stack keeps
/// events, which may have changed since.
#[must_use]
pub fn retention_of(retention_days: Option<u16>, stack_retention: Duration) -> Duration {
    let own = retention_days.map(|days| Duration::from_hours(24 * u64::from(days)));
    own.map_or(stack_retention, |own| own.min(stack_retention))
}

fn required<'a>(object: &mut Object<'a>, name: &'static str, expected: &str, faults: &mut Faults) -> Option<Found<'a>> {
    let found = object.member(name);
    if found.is_none() {
        faults.push(Fault::missing(name, expected));
    }
    found
}

fn read_example(found: &Found<'_>, faults: &mut Faults) -> Option<String> {
    let example = json::minify(found.value.get());
    if !example.starts_with('{') {
        let fault = Fault::at(&found.pointer, found.value, "a JSON object, as the `data` of an event is");
        faults.push(fault.code(FaultCode::WrongType));
        return None;
    }
    if example.len() > MAX_EXAMPLE_BYTES {
        let expected = format!("at most {MAX_EXAMPLE_BYTES} bytes without whitespace");
        let fault = Fault::whole(format!("an example of {} bytes", example.len()), expected);
        faults.push(fault.code(FaultCode::OutOfRange).under(&*found.pointer));
        return None;
    }
    Some(example)
}

/// A payload format: the `type` of its events, its vendor, what its events say, and an example.
#[derive(Debug)]
pub struct BuiltIn {
    /// The CloudEvents `type`.
    pub kind: &'static str,
    /// Who documents the format.
    pub vendor: &'static str,
    /// The meaning of its events.
    pub description: &'static str,
    /// A request with an example, from `events/`.
    request: &'static str,
}

/// All payload formats.
pub static BUILT_IN: [BuiltIn; FAMILIES.len()] = [
    BuiltIn {
        kind: "operation",
        vendor: "PowerAuth",
        description: "An operation, such as a payment, that a user approves or rejects.",
        request: include_str!("../../../../events/ingest-operation.json"),
    },
    BuiltIn {
        kind: "activation",
        vendor: "PowerAuth",
        description: "The registration of a user's device.",
        request: include_str!("../../../../events/ingest-activation.json"),
    },
    BuiltIn {
        kind: "workflow",
        vendor: "TransactionLink",
        description: "A workflow that has ended or is paused.",
        request: include_str!("../../../../events/ingest-workflow.json"),
    },
    BuiltIn {
        kind: "token-request",
        vendor: "Token.io",
        description: "The answer of a bank to a token request, which a user authorizes there.",
        request: include_str!("../../../../events/ingest-token-request-redirect.json"),
    },
    BuiltIn {
        kind: "session",
        vendor: "the account-information session service",
        description: "A stage of a session in which a user shares accounts.",
        request: include_str!("../../../../events/ingest-session.json"),
    },
    BuiltIn {
        kind: "payment",
        vendor: "the account-information session service",
        description: "The status of a payment that a user initiated.",
        request: include_str!("../../../../events/ingest-payment.json"),
    },
    BuiltIn {
        kind: "transaction",
        vendor: "IDPay",
        description: "The status of a transaction.",
        request: include_str!("../../../../events/ingest-transaction.json"),
    },
];

impl BuiltIn {
    /// Returns the example: a payload without whitespace.
    #[must_use]
    pub fn example(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Request {
            body: String,
        }

        #[derive(Deserialize)]
        struct Envelope<'a> {
            #[serde(borrow)]
            data: &'a RawValue,
        }

        let request: Request = serde_json::from_str(self.request).ok()?;
        let event: Envelope<'_> = serde_json::from_str(&request.body).ok()?;
        Some(json::minify(event.data.get()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    #[test]
    fn every_payload_format_is_built_in_with_an_example_of_its_own() {
        let kinds: BTreeSet<_> = BUILT_IN.iter().map(|one| one.kind).collect();
        assert_eq!(kinds, FAMILIES.iter().map(|family| family.kind).collect());
        for one in &BUILT_IN {
            let example: Value = serde_json::from_str(&one.example().unwrap()).unwrap();
            for name in of_kind(one.kind).unwrap().mandatory_fields() {
                assert!(!example[name].is_null(), "{name} is missing in {example}");
            }
        }
    }

    #[test]
    fn names_fit_into_a_path() {
        for good in ["invoice", "com.acme.Invoice:paid_2-b", "a", "operation", "signposts.a"] {
            assert_eq!(TypeName::parse(good).map(|name| name.to_string()).as_deref(), Some(good));
        }
        for bad in ["", ".", "..", "a/b", "a b", "é", "signpost.test", "a%2Fb", &"a".repeat(129)] {
            assert_eq!(TypeName::parse(bad), None, "{bad}");
        }
        assert!(may_have_schema("invoice") && !may_have_schema("operation") && !may_have_schema("a/b"));
    }

    #[test]
    fn an_event_type_keeps_the_spelling_of_its_schema_and_its_example() {
        let text = r#"{"description":"Paid.","deprecated":true,
            "schema": {"type":"object", "properties":{"total":{"maximum":12345678901234567890.5}}},
            "example": {"total": 10.10}}"#;
        let read = EventType::parse(text, Duration::from_hours(720)).unwrap();
        let schema = r#"{"type":"object","properties":{"total":{"maximum":12345678901234567890.5}}}"#;
        assert_eq!((&*read.schema, &*read.example), (schema, r#"{"total":10.10}"#));
        assert_eq!((&*read.description, read.deprecated), ("Paid.", true));
        assert_eq!(read.bytes(), 5 + 15 + schema.len() as u64);
    }

    #[test]
    fn a_type_keeps_its_events_for_days_and_never_longer_than_the_stack() {
        let day = Duration::from_hours(24);
        let parse = |days: &str| {
            EventType::parse(&format!(r#"{{"schema":{{}},"example":{{}},"retentionDays":{days}}}"#), 30 * day)
        };
        for (days, expected) in [("1", Some(1)), ("30", Some(30)), ("null", None)] {
            assert_eq!(parse(days).unwrap().retention_days, expected, "{days}");
        }
        for bad in ["0", "31", "1.5", "-1", "\"7\"", "true"] {
            assert_eq!(parse(bad).unwrap_err()[0].pointer, "/retentionDays", "{bad}");
        }
        let cases = [(None, 30, "no days"), (Some(7), 7, "fewer days"), (Some(90), 30, "the stack keeps less now")];
        for (days, expected, why) in cases {
            assert_eq!(retention_of(days, 30 * day), expected * day, "{why}");
        }
    }

    #[test]
    fn all_faults_of_an_event_type_come_at_once() {
        let cases = [
            ("{", &[""][..], "no JSON"),
            ("[]", &[""], "no object"),
            ("{}", &["/schema", "/example"], "nothing"),
            (r#"{"schema":{},"example":{},"exmaple":{}}"#, &["/exmaple"], "an unknown member"),
            (r#"{"schema":{},"example":[]}"#, &["/example"], "a payload is an object"),
            (
                r#"{"schema":{"type":"objekt","minLength":-1},"example":{}}"#,
                &["/schema/minLength", "/schema/type"],
                "a bad schema",
            ),
            (
                r#"{"schema":{"required":["a"],"properties":{"b":{"type":"string"}}},"example":{"b":1},"deprecated":1}"#,
                &["/deprecated", "/example/a", "/example/b"],
                "an example that does not fit",
            ),
        ];
        for (text, pointers, why) in cases {
            let faults = EventType::parse(text, Duration::from_hours(720)).unwrap_err();
            assert_eq!(faults.iter().map(|fault| &*fault.pointer).collect::<Vec<_>>(), pointers, "{why}: {faults:?}");
        }
        let long = |name: &str, bytes: usize| format!(r#"{{"{name}":"{}"}}"#, "x".repeat(bytes));
        for (schema, example, pointer) in
            [(long("title", 33_000), "{}".into(), "/schema"), ("{}".into(), long("a", 33_000), "/example")]
        {
            let faults =
                EventType::parse(&format!(r#"{{"schema":{schema},"example":{example}}}"#), Duration::from_hours(720))
                    .unwrap_err();
            assert_eq!(faults[0].pointer, pointer);
        }
    }
}
