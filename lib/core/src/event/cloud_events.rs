//! CloudEvents in HTTP: an event's attributes as headers of the request (HTTP Protocol Binding 1.0.2, section 3.1).
//!
//! They show a receiver the topic of a webhook before it reads the body.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use serde_json::json;

use crate::event::Event;
use crate::input::fault::{Fault, FaultCode, Faults, pointer_to};
use crate::input::headers::is_value;
use crate::input::json;

/// The media type of a whole event in JSON (CloudEvents JSON format 1.0.2, section 3).
pub const MEDIA_TYPE: &str = "application/cloudevents+json";

/// The media type of a batch of events in JSON (CloudEvents JSON format 1.0.2, section 4).
pub const BATCH_MEDIA_TYPE: &str = "application/cloudevents-batch+json";

/// The characters that section 3.1.3.2 percent-encodes in addition to those outside printable ASCII.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// The longest `tracestate` that Signpost forwards, in bytes (W3C Trace Context, section 3.3.1.5).
const MAX_TRACESTATE_BYTES: usize = 512;

/// How many members a `tracestate` has at most (W3C Trace Context, section 3.3.1.1).
const MAX_TRACESTATE_MEMBERS: usize = 32;

/// The header of the extension `sequence`.
pub const SEQUENCE: &str = "ce-sequence";

/// Returns the headers `ce-specversion`, `ce-id`, `ce-source`, `ce-type` and, if the event has them, `ce-subject`,
/// `ce-time` and `ce-sequence`: the producer's or, without one, the event's number. Values are percent-encoded.
#[must_use]
pub fn headers(event: &Event) -> Vec<(&'static str, String)> {
    let context = &event.context;
    let number = event.number.filter(|_| context.sequence.is_none()).map(|number| (SEQUENCE, number.to_string()));
    let optional = [("ce-subject", &event.subject), ("ce-time", &context.time), (SEQUENCE, &context.sequence)];
    let required = [
        ("ce-specversion", "1.0"),
        ("ce-id", event.key.id.as_str()),
        ("ce-source", &event.key.source),
        ("ce-type", &event.kind),
    ];
    let optional = optional.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
    required.into_iter().chain(optional).map(|(name, value)| (name, encoded(value))).chain(number).collect()
}

/// Reads an event in binary mode (section 3.1): its attributes are headers `ce-…`, percent-encoded, and the body is its
/// `data`. Returns the same event in the JSON format, for [`Event::parse`].
///
/// `headers` are all headers of the request, with names in lower case and values as bytes. `traceparent` and
/// `tracestate` are attributes too, unless there is a `ce-traceparent` or `ce-tracestate`. `Content-Type` is the
/// attribute `datacontenttype`.
///
/// # Errors
/// Headers that occur twice or are not UTF-8 after decoding, a body that is not JSON, and the faults of
/// [`Event::parse`]. The pointers are those of the JSON format (`/source` is `ce-source`).
pub fn parse_binary<'a>(
    headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    content_type: &str,
    body: &str,
) -> Result<Event, Vec<Fault>> {
    let mut faults = Faults::default();
    let mut members: BTreeMap<String, String> = BTreeMap::new();
    let mut trace = Vec::new();
    for (header, value) in headers {
        let Some(name) = header.strip_prefix("ce-") else {
            if matches!(header, "traceparent" | "tracestate") {
                trace.push((header, value));
            }
            continue;
        };
        if matches!(name, "data" | "data_base64" | "datacontenttype") {
            let expected = "no such header, because the body is the data, and `content-type` is its media type";
            faults.push(Fault::hidden(pointer_to(name), expected).code(FaultCode::UnknownMember));
        } else if let Some(text) = decoded(value) {
            if members.insert(name.to_owned(), text).is_some() {
                faults.push(Fault::hidden(pointer_to(name), "each attribute once").code(FaultCode::Duplicate));
            }
        } else {
            faults.push(Fault::hidden(pointer_to(name), "percent-encoded UTF-8").code(FaultCode::NotUtf8));
        }
    }
    for (name, value) in trace {
        if let Some(text) = decoded(value) {
            members.entry(name.to_owned()).or_insert(text);
        }
    }
    members.insert("datacontenttype".into(), content_type.to_owned());
    let spelled: Vec<_> = members.iter().map(|(name, text)| format!("{}:{}", json!(name), json!(text))).collect();
    let (attributes, data) = (spelled.join(","), body.trim_matches([' ', '\t', '\n', '\r']));
    let parsed = Event::parse_parts(&attributes, members.len(), data).unwrap_or_else(|| {
        let found = json::faults_of(body, "a body with the event's `data`, a JSON object");
        faults.extend(found.into_iter().map(|fault| fault.under("/data")));
        Event::parse(&format!("{{{attributes}}}"))
    });
    let faults = faults.none().err().unwrap_or_default();
    match parsed {
        Ok(event) if faults.is_empty() => Ok(event),
        Ok(_) => Err(faults),
        Err(more) => {
            let is_told = |fault: &Fault| faults.iter().any(|told| told.pointer == fault.pointer);
            let more: Vec<_> = more.into_iter().filter(|fault| !is_told(fault)).collect();
            Err(faults.into_iter().chain(more).collect())
        }
    }
}

/// Decodes a header's value as the binding requires (section 3.1.3.3): removes quotes around it, then the
/// percent-encoding.
fn decoded(value: &[u8]) -> Option<String> {
    let text = str::from_utf8(value).ok()?.trim_matches([' ', '\t']);
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let text = match inner {
        Some(inner) => unescaped(inner),
        None => text.to_owned(),
    };
    percent_decode_str(&text).decode_utf8().ok().map(Cow::into_owned)
}

/// Returns the content of a quoted string (RFC 9110, section 5.6.4).
fn unescaped(text: &str) -> String {
    let mut characters = text.chars();
    let mut out = String::with_capacity(text.len());
    while let Some(character) = characters.next() {
        out.extend(if character == '\\' { characters.next() } else { Some(character) });
    }
    out
}

/// Returns the event's `traceparent` and `tracestate`, so that the receiver's trace continues the producer's. Values
/// that do not conform to W3C Trace Context are omitted.
#[must_use]
pub fn trace(event: &Event) -> Vec<(&'static str, String)> {
    let context = &event.context;
    let Some(parent) = context.traceparent.as_ref().filter(|text| is_traceparent(text)) else { return Vec::new() };
    let state = context.tracestate.as_ref().filter(|text| is_tracestate(text));
    [("traceparent", Some(parent)), ("tracestate", state)]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?.clone())))
        .collect()
}

/// Encodes a header's value as the binding requires.
pub(crate) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// Returns whether `text` is `version-trace-parent-flags` in lower-case hexadecimal digits, with a trace and a parent that
/// are not all zeros (W3C Trace Context, section 3.2.2). Later versions than `00` may have more fields.
fn is_traceparent(text: &str) -> bool {
    let is_hex = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let mut parts = text.splitn(5, '-');
    let known: Vec<&str> = parts.by_ref().take(4).collect();
    let has_form = known.iter().map(|part| part.len()).eq([2, 32, 16, 2]) && known.iter().all(|part| is_hex(part));
    let rest = parts.next();
    let is_of_version = |version| version != "ff" && (version != "00" || rest.is_none());
    let is_zero = |part: &str| part.bytes().all(|byte| byte == b'0');
    has_form && is_of_version(known[0]) && !is_zero(known[1]) && !is_zero(known[2]) && rest.is_none_or(is_value)
}

/// Returns whether `text` is a list of at most 32 members `key=value`, each key once, that Signpost forwards (W3C Trace Context,
/// section 3.3.1). Empty members are allowed.
fn is_tracestate(text: &str) -> bool {
    let members: Vec<_> = text.split(',').map(|member| member.trim_matches([' ', '\t'])).collect();
    let members = members.into_iter().filter(|member| !member.is_empty());
    let parsed: Option<Vec<_>> =
        members.map(|member| member.split_once('=').filter(|(key, value)| is_member(key, value))).collect();
    let Some(parsed) = parsed.filter(|_| text.len() <= MAX_TRACESTATE_BYTES) else { return false };
    let keys: BTreeSet<_> = parsed.iter().map(|(key, _)| key).collect();
    (1..=MAX_TRACESTATE_MEMBERS).contains(&parsed.len()) && keys.len() == parsed.len()
}

/// Returns whether a key and a value may be in `tracestate`.
fn is_member(key: &str, value: &str) -> bool {
    let begins = key.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit());
    let is_key = key.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@'));
    let is_value = value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b',' && byte != b'=');
    begins && is_key && key.len() <= 256 && is_value && (1..=256).contains(&value.len()) && !value.ends_with(' ')
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn event(more: &Value) -> Event {
        let mut event = json!({"specversion": "1.0", "id": "op-1", "source": "/core", "type": "operation.v1",
                               "tenant": "acme", "data": {}});
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Event::parse(&event.to_string()).unwrap()
    }

    /// These are the default requests of the SDKs: `HTTP.binary` of JavaScript, `to_binary` of Python,
    /// `NewHTTPRequestFromEvent` of Go.
    #[test]
    fn binary_mode_gives_the_event_that_the_json_format_gives() {
        let sdks = [
            ("JavaScript", "application/json; charset=utf-8", "2026-01-31T10:00:00.000Z"),
            ("Python", "application/json", "2026-01-31T10:00:00+00:00"),
            ("Go", "application/json", "2026-01-31T10:00:00Z"),
        ];
        for (sdk, content_type, time) in sdks {
            let headers: [(&str, &[u8]); 9] = [
                ("ce-id", b"op-1"),
                ("ce-specversion", b"1.0"),
                ("ce-source", b"/core"),
                ("ce-type", b"operation.v1"),
                ("ce-tenant", b"acme"),
                ("ce-subject", b"caf%C3%A9%20%2525"),
                ("ce-time", time.as_bytes()),
                ("content-type", content_type.as_bytes()),
                ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            ];
            let event = parse_binary(headers, content_type, "{ \"amount\": 10.10 }").unwrap();
            assert_eq!((event.data(), event.subject.as_deref()), (r#"{"amount":10.10}"#, Some("café %25")), "{sdk}");
            assert_eq!(event.context.time.as_deref(), Some(time), "{sdk}");
            assert!(event.context.traceparent.is_some(), "{sdk}");
            assert_eq!(Event::parse(event.json()).unwrap(), event, "{sdk}");
        }
    }

    #[test]
    fn faults_of_binary_mode_name_the_attribute() {
        let good: [(&str, &[u8]); 5] = [
            ("ce-id", b"1"),
            ("ce-specversion", b"1.0"),
            ("ce-source", b"/c"),
            ("ce-type", b"t"),
            ("ce-tenant", b"acme"),
        ];
        let told = |more: &[(&'static str, &'static [u8])], content_type: &str, body: &str| {
            let headers =
                good.iter().filter(|(name, _)| more.iter().all(|(other, value)| other != name || !value.is_empty()));
            let headers = headers.copied().chain(more.iter().copied().filter(|(_, value)| !value.is_empty()));
            let faults = parse_binary(headers, content_type, body).err().unwrap_or_default();
            faults.into_iter().map(|fault| (fault.pointer, fault.code)).collect::<Vec<_>>()
        };
        let one = |pointer: &str, code| vec![(pointer.to_owned(), code)];
        assert_eq!(told(&[], "application/json", "{}"), []);
        assert_eq!(told(&[("ce-source", b"")], "application/json", "{}"), one("/source", FaultCode::Missing));
        assert_eq!(told(&[("ce-id", b"2")], "application/json", "{}"), one("/id", FaultCode::Duplicate));
        assert_eq!(told(&[("ce-subject", b"%ff")], "application/json", "{}"), one("/subject", FaultCode::NotUtf8));
        assert_eq!(told(&[("ce-data", b"x")], "application/json", "{}"), one("/data", FaultCode::UnknownMember));
        assert_eq!(told(&[], "application/json", ""), one("/data", FaultCode::Missing));
        assert_eq!(told(&[], "application/json", "\u{feff}{}"), one("/data", FaultCode::NotJson));
        for smuggled in [r#"{},"subject":"x""#, r#"{}},{"data":{}"#, "{}}", "{}{}"] {
            assert_eq!(told(&[], "application/json", smuggled), one("/data", FaultCode::NotJson), "{smuggled}");
        }
        assert_eq!(told(&[], "application/json", "[]"), one("/data", FaultCode::WrongType));
        assert_eq!(told(&[], "text/xml", "{}"), one("/datacontenttype", FaultCode::Malformed));
        assert_eq!(
            told(&[("ce-type", b""), ("ce-type", b"signpost.test")], "application/json", "{}"),
            one("/type", FaultCode::Reserved)
        );
        let faults = parse_binary(good, "application/json", "\n }").unwrap_err();
        assert_eq!(faults[0].found, "not JSON from line 2, column 2 on", "counted in the whole body");
        assert_eq!(told(&[("ce-subject", b"\"a\\\"b\"")], "application/json", "{}"), [], "a quoted string");
    }

    #[test]
    fn attributes_become_headers() {
        let more = json!({"subject": "op/1", "time": "2026-01-31T10:00:00Z", "sequence": "0042"});
        let expected = [
            ("ce-specversion", "1.0"),
            ("ce-id", "op-1"),
            ("ce-source", "/core"),
            ("ce-type", "operation.v1"),
            ("ce-subject", "op/1"),
            ("ce-time", "2026-01-31T10:00:00Z"),
            ("ce-sequence", "0042"),
        ];
        assert_eq!(headers(&event(&more)), expected.map(|(name, value)| (name, value.to_owned())));
        assert_eq!(
            headers(&event(&json!({}))),
            expected[..4].iter().map(|(n, v)| (*n, (*v).to_owned())).collect::<Vec<_>>()
        );
    }

    /// The first example is from section 3.1.3.2 of the HTTP Protocol Binding 1.0.2.
    #[test]
    fn values_are_percent_encoded_as_the_binding_says() {
        let cases =
            [("Euro € 😀", "Euro%20%E2%82%AC%20%F0%9F%98%80"), ("a\"b%c", "a%22b%25c"), ("~!a/ü", "~!a/%C3%BC")];
        for (subject, expected) in cases {
            let headers = headers(&event(&json!({ "subject": subject })));
            assert_eq!(headers[4], ("ce-subject", expected.into()), "{subject}");
        }
    }

    /// The first examples are from sections 3.3.1.3 and 3.3.2 of W3C Trace Context.
    #[test]
    fn a_trace_state_is_a_list_of_at_most_32_members() {
        let many = |count: u32| (0..count).map(|number| format!("k{number}=1")).collect::<Vec<_>>().join(",");
        let cases = [
            ("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", true, "two vendors"),
            ("fw529a3039@dt=FfAAAAAAAAAAAAAA", true, "a vendor of several tenants"),
            ("a=1 ,\tb= 2", true, "white space around members, and before a value"),
            ("a=1,,b=2", true, "an empty member"),
            (&many(32), true, "as many members as there may be"),
            (&many(33), false, "one too many"),
            ("a=1,a=2", false, "a key twice"),
            ("A=1", false, "upper case"),
            ("=1", false, "no key"),
            ("a=", false, "no value"),
            ("a=b=c", false, "a value with an equals sign"),
            ("a", false, "no member"),
            (",", false, "no member at all"),
        ];
        for (state, expected, why) in cases {
            assert_eq!(is_tracestate(state), expected, "{why}");
        }
    }

    #[test]
    fn a_trace_of_a_later_version_may_have_more_fields() {
        let later = "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-comes";
        assert_eq!(trace(&event(&json!({ "traceparent": later }))), [("traceparent", later.to_owned())]);
    }

    #[test]
    fn a_trace_goes_on_if_it_is_one() {
        const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let both = [("traceparent", PARENT.to_owned()), ("tracestate", "congo=t61rcWkgMzE".to_owned())];
        let cases = [
            (json!({"traceparent": PARENT, "tracestate": "congo=t61rcWkgMzE"}), &both[..], "W3C's own example"),
            (json!({"traceparent": PARENT}), &both[..1], "no state"),
            (json!({"traceparent": PARENT, "tracestate": "a\u{e9}"}), &both[..1], "no header's value"),
            (json!({"traceparent": PARENT, "tracestate": "x".repeat(513)}), &both[..1], "too long"),
            (json!({"tracestate": "congo=t61rcWkgMzE"}), &[], "a state alone means nothing"),
            (json!({"traceparent": PARENT.to_uppercase()}), &[], "upper case"),
            (json!({"traceparent": PARENT.replacen("00", "ff", 1)}), &[], "a version that is forbidden"),
            (json!({"traceparent": "00-0af7\r\nx-evil: 1"}), &[], "another header"),
            (json!({"traceparent": format!("{PARENT}-00")}), &[], "a field that version 00 does not have"),
            (json!({"traceparent": PARENT.replace("b7ad6b7169203331", &"0".repeat(16))}), &[], "no parent"),
            (
                json!({"traceparent": PARENT.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32))}),
                &[],
                "no trace",
            ),
        ];
        for (more, expected, why) in cases {
            assert_eq!(trace(&event(&more)), expected, "{why}");
        }
    }
}
