//! The rules of the CloudEvents envelope, for each attribute.

use std::borrow::Cow;
use std::collections::HashSet;

use fluent_uri::UriRef;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::event::{Context, EventId, TenantId, is_own_source, is_own_type};
use crate::input::fault::{Fault, FaultCode, Faults};
use crate::input::json::text_in;
use crate::input::scanner::Spelled;

/// The attributes of an envelope. An absent or faulty one is none. If it is required, there is a fault too.
#[derive(Debug)]
pub(crate) struct Envelope<'a> {
    pub(crate) id: Option<EventId>,
    pub(crate) source: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) tenant: Option<TenantId>,
    pub(crate) subject: Option<String>,
    pub(crate) time: Option<OffsetDateTime>,
    pub(crate) context: Context,
    pub(crate) data: Option<&'a str>,
}

impl<'a> Envelope<'a> {
    /// Reads the envelope of an event and adds its faults, in the order of the rules. `is_data_fit` says whether `data`
    /// is an object with valid Unicode names.
    pub(crate) fn read(members: &Spelled<'a>, is_data_fit: bool, faults: &mut Faults) -> Self {
        let mut reader = Reader { members, faults };
        reader.required("specversion", "`1.0`", |text| (text == "1.0").then_some(()));
        let unfit_id = reader.scalar("id").and_then(|text| EventId::judge(&text).err());
        let id = reader.required("id", unfit_id.as_deref().unwrap_or(EventId::EXPECTED), EventId::parse);
        let source = reader.required("source", SOURCE_EXPECTED, parse_source);
        let kind = reader.required("type", TYPE_EXPECTED, |text| parse_text(text, MAX_TYPE_BYTES));
        let tenant = reader.required("tenant", TenantId::EXPECTED, TenantId::parse);
        let subject = reader.optional("subject", SUBJECT_EXPECTED, |text| parse_text(text, MAX_KEY_PART_BYTES));
        let time = reader.optional("time", "an RFC 3339 moment, such as 2026-01-31T10:00:00Z", |text| {
            OffsetDateTime::parse(text, &Rfc3339).ok()
        });
        reader.optional("datacontenttype", "a JSON media type, or no value", parse_json_media_type);
        reader.optional("dataschema", "a URI with a scheme", |text| UriRef::parse(text).ok()?.scheme().map(drop));
        let data = reader.data(is_data_fit);
        reader.check_names_and_extensions();
        let context = Context {
            time: time.and_then(|_| reader.scalar("time")),
            sequence: reader.scalar("sequence"),
            traceparent: reader.scalar("traceparent"),
            tracestate: reader.scalar("tracestate"),
        };
        Self { id, source, kind, tenant, subject, time, context, data }
    }

    /// Adds a fault for each value that is reserved for Signpost's own events.
    pub(crate) fn refuse_own(&self, members: &Spelled<'a>, faults: &mut Faults) {
        let mut reader = Reader { members, faults };
        if self.kind.as_deref().is_some_and(is_own_type) {
            reader.refuse("type", "a type that does not begin with `signpost.`, which is reserved");
        }
        if self.source.as_deref().is_some_and(is_own_source) {
            reader.refuse("source", "a source other than `/signpost` and `/callbacks`, which are reserved");
        }
    }
}

/// An envelope during reading.
struct Reader<'r, 'a> {
    members: &'r Spelled<'a>,
    faults: &'r mut Faults,
}

impl<'a> Reader<'_, 'a> {
    /// Returns the member `name`. JSON `null` counts as absent (CloudEvents JSON format 1.0, section 2.3).
    fn member(&self, name: &str) -> Option<&'a str> {
        self.members.iter().find(|(known, value)| known == name && *value != "null").map(|(_, value)| *value)
    }

    /// Returns an attribute's text, or the spelling of a number or a boolean.
    fn scalar(&self, name: &str) -> Option<String> {
        let value = self.member(name)?;
        let text = text_in(value).map(Cow::into_owned);
        text.or_else(|| (!value.starts_with(['{', '[', '"'])).then(|| value.to_owned()))
    }

    fn refuse(&mut self, name: &str, expected: &str) {
        if let Some(value) = self.member(name) {
            self.faults.push(Fault::member(name, value, expected).code(FaultCode::Reserved));
        }
    }

    fn required<T>(&mut self, name: &str, expected: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        if self.member(name).is_none() {
            self.faults.push(Fault::missing(name, expected));
            return None;
        }
        self.optional(name, expected, parse)
    }

    fn optional<T>(&mut self, name: &str, expected: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let value = self.member(name)?;
        let parsed = text_in(value).and_then(|text| parse(&text));
        if parsed.is_none() {
            self.faults.push(Fault::member(name, value, expected).unless_begins(value, &['"']));
        }
        parsed
    }

    fn data(&mut self, is_fit: bool) -> Option<&'a str> {
        let expected = "a JSON object with valid Unicode names";
        match self.member("data") {
            Some(data) if is_fit => Some(data),
            Some(data) => {
                self.faults.push(Fault::member("data", data, expected).code(FaultCode::WrongType));
                None
            }
            None => {
                self.faults.push(Fault::missing("data", expected));
                None
            }
        }
    }

    /// Checks CloudEvents 1.0, "Naming conventions" and "Type System", for every attribute that Signpost does not
    /// define. No attribute may occur twice, because readers disagree on which value counts.
    fn check_names_and_extensions(&mut self) {
        let mut seen = HashSet::with_capacity(self.members.len());
        for (name, value) in self.members {
            let value = *value;
            if !seen.insert(name) {
                self.faults.push(Fault::member(name, value, "each attribute once").code(FaultCode::Duplicate));
            }
            if KNOWN_ATTRIBUTES.contains(&&**name) {
                continue;
            }
            if name == "data_base64" {
                self.faults.push(
                    Fault::member(name, value, "the payload as a JSON object in `data`").code(FaultCode::UnknownMember),
                );
            } else if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) {
                self.faults
                    .push(Fault::member(name, value, "an attribute name of a-z, 0-9").code(FaultCode::UnknownMember));
            } else if value.starts_with(['{', '[']) {
                self.faults
                    .push(Fault::member(name, value, "a string, a number or a boolean").code(FaultCode::WrongType));
            }
        }
    }
}

const SOURCE_EXPECTED: &str = "a URI reference of 1 to 512 bytes, such as `/core` or `https://core.example`";
const TYPE_EXPECTED: &str = "1 to 128 bytes without control characters";
const SUBJECT_EXPECTED: &str = "1 to 512 bytes without control characters";

/// Parses `source` as CloudEvents 1.0 defines it: a non-empty URI-reference (RFC 3986, section 4.1).
fn parse_source(text: &str) -> Option<String> {
    is_source(text).then(|| text.to_owned())
}

/// Returns whether an event can have this `source`.
#[must_use]
pub fn is_source(text: &str) -> bool {
    (1..=MAX_KEY_PART_BYTES).contains(&text.len()) && UriRef::parse(text).is_ok()
}

/// Parses a String of CloudEvents 1.0, "Type System": it has no control characters. `type` and `subject` are not empty.
fn parse_text(text: &str, max_bytes: usize) -> Option<String> {
    let fits = (1..=max_bytes).contains(&text.len()) && !text.contains(char::is_control);
    fits.then(|| text.to_owned())
}

/// Parses a media type of JSON. Only with one is `data` a JSON value (CloudEvents JSON format 1.0, section 3.1).
fn parse_json_media_type(text: &str) -> Option<()> {
    let (essence, _parameters) = text.split_once(';').unwrap_or((text, ""));
    let (kind, subtype) = essence.trim().split_once('/')?;
    let subtype = subtype.to_ascii_lowercase();
    (!kind.is_empty() && (subtype == "json" || subtype.ends_with("+json"))).then_some(())
}

const KNOWN_ATTRIBUTES: [&str; 10] =
    ["specversion", "id", "source", "type", "tenant", "subject", "time", "datacontenttype", "dataschema", "data"];

/// The maximum length of `source` and `subject` in bytes. Both are parts of sort keys, which DynamoDB limits to 1,024
/// bytes, and other parts need room too.
const MAX_KEY_PART_BYTES: usize = 512;
/// The maximum length of `type` in bytes.
const MAX_TYPE_BYTES: usize = 128;
