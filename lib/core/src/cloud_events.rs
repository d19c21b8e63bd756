//! CloudEvents on the wire: an event's attributes as headers of the request (HTTP Protocol Binding 1.0.2, section 3.1).
//!
//! A receiver sees by them what a webhook is about before it reads the body.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::event::Event;
use crate::headers::is_value;

/// The media type of a whole event in JSON (CloudEvents JSON format 1.0.2, section 3).
pub const MEDIA_TYPE: &str = "application/cloudevents+json";

/// What section 3.1.3.2 percent-encodes besides all that is not printable ASCII.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// The longest `tracestate` that is passed on, in bytes (W3C Trace Context, section 3.3.1.5).
const MAX_TRACESTATE_BYTES: usize = 512;

/// Returns the headers `ce-specversion`, `ce-id`, `ce-source`, `ce-type` and, where the event has them, `ce-subject`,
/// `ce-time` and `ce-sequence`, values percent-encoded.
#[must_use]
pub fn headers(event: &Event) -> Vec<(&'static str, String)> {
    let context = &event.context;
    let optional = [("ce-subject", &event.subject), ("ce-time", &context.time), ("ce-sequence", &context.sequence)];
    let required = [
        ("ce-specversion", "1.0"),
        ("ce-id", event.key.id.as_str()),
        ("ce-source", &event.key.source),
        ("ce-type", &event.kind),
    ];
    let optional = optional.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
    required.into_iter().chain(optional).map(|(name, value)| (name, encoded(value))).collect()
}

/// Returns `traceparent` and `tracestate` as the event has them, so that a receiver's trace goes on where the producer's
/// was. What is not of the form that W3C Trace Context demands is left out.
#[must_use]
pub fn trace(event: &Event) -> Vec<(&'static str, String)> {
    let context = &event.context;
    let Some(parent) = context.traceparent.as_ref().filter(|text| is_traceparent(text)) else { return Vec::new() };
    let state = context.tracestate.as_ref();
    let state = state.filter(|text| !text.is_empty() && text.len() <= MAX_TRACESTATE_BYTES && is_value(text));
    [("traceparent", Some(parent)), ("tracestate", state)]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?.clone())))
        .collect()
}

/// A header's value as the binding spells it.
pub(crate) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// Whether `text` is `version-trace-parent-flags` in lower-case hexadecimal digits (W3C Trace Context, section 3.2).
fn is_traceparent(text: &str) -> bool {
    let is_hex = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let parts: Vec<&str> = text.split('-').collect();
    let lengths = parts.iter().map(|part| part.len());
    lengths.eq([2, 32, 16, 2]) && parts.iter().all(|part| is_hex(part)) && parts[0] != "ff"
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

    /// The first example is that of section 3.1.3.2 of the HTTP Protocol Binding 1.0.2.
    #[test]
    fn values_are_percent_encoded_as_the_binding_says() {
        let cases =
            [("Euro € 😀", "Euro%20%E2%82%AC%20%F0%9F%98%80"), ("a\"b%c", "a%22b%25c"), ("~!a/ü", "~!a/%C3%BC")];
        for (subject, expected) in cases {
            let headers = headers(&event(&json!({ "subject": subject })));
            assert_eq!(headers[4], ("ce-subject", expected.into()), "{subject}");
        }
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
        ];
        for (more, expected, why) in cases {
            assert_eq!(trace(&event(&more)), expected, "{why}");
        }
    }
}
