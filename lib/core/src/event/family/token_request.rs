//! Callbacks of Token.io for API-only integrations.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;

use super::shape::Shape;
use super::{Family, Payload, StatusOf, Statuses, mandatory, optional};
use crate::input::fault::{Fault, FaultCode, Faults};

/// A token request is authorized, asks for more credentials, or has failed. The fields that are present show which.
pub(super) static TOKEN_REQUEST: Family = Family {
    kind: "token-request",
    fields: &[
        mandatory("request-id", Shape::Id),
        mandatory("request_id", Shape::Id),
        optional("credential-fields", Shape::Id),
        optional("error", Shape::Integer(1, 16)), // gRPC's status codes, without OK.
        optional("message", Shape::Text),
        optional("trace-id", Shape::Id),
    ],
    subject: "request-id",
    distinct_by: &["request-id", "credential-fields", "error", "trace-id"],
    statuses: Statuses::Closed(&["completed", "credentials", "error"]),
    stages: &[],
    status: StatusOf::Derived(status),
    rules,
};

fn status(payload: &Payload<'_>) -> &'static str {
    if payload.field("error").is_some() {
        "error"
    } else if payload.field("credential-fields").is_some() {
        "credentials"
    } else {
        "completed"
    }
}

/// Checks that both spellings of the id are equal, that an error has a message and a trace, and that credential fields
/// can be read.
fn rules(payload: &Payload<'_>, faults: &mut Faults) {
    if let (Some(_), Some(underscore)) = (payload.field("request-id"), payload.field("request_id"))
        && payload.text("request-id") != payload.text("request_id")
    {
        faults.push(Fault::at("/data/request_id", underscore, "the same as `request-id`").code(FaultCode::Conflict));
    }
    if let Some(error) = payload.field("error") {
        for name in ["message", "trace-id"] {
            if payload.field(name).is_none() {
                faults.push(Fault::nothing_at(&format!("/data/{name}"), "a text, because there is an `error`"));
            }
        }
        if payload.field("credential-fields").is_some() {
            faults.push(
                Fault::at("/data/error", error, "either `error` or `credential-fields`").code(FaultCode::Conflict),
            );
        }
    }
    if let (Some(raw), Some(text)) = (payload.field("credential-fields"), payload.text("credential-fields"))
        && !text.is_empty()
        && !is_credential_fields(&text)
    {
        faults.push(Fault::at("/data/credential-fields", raw, CREDENTIAL_FIELDS));
    }
}

const CREDENTIAL_FIELDS: &str = "base64 of a JSON object whose list `fields` has objects with `id` and `description`, or \
                                 with `type` `DECOUPLED`";

/// Accepts either alphabet, with or without padding. Token.io's own examples have no padding.
fn is_credential_fields(text: &str) -> bool {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let alphabets = [&alphabet::STANDARD, &alphabet::URL_SAFE];
    let decoded = alphabets.into_iter().find_map(|one| GeneralPurpose::new(one, config).decode(text).ok());
    let Some(Ok(value)) = decoded.map(|bytes| serde_json::from_slice::<Value>(&bytes)) else { return false };
    let is_field = |field: &Value| {
        let has_text = |name: &str| field[name].as_str().is_some_and(|text| !text.is_empty());
        (has_text("id") && has_text("description")) || field["type"] == "DECOUPLED"
    };
    value["fields"].as_array().is_some_and(|fields| !fields.is_empty() && fields.iter().all(is_field))
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::event::family::status_of;
    use crate::event::family::tests::{assert_refused, faults};

    const LEAST: &str = r#"{"request-id":"rq:1:5zKtXEAq","request_id":"rq:1:5zKtXEAq"}"#;

    /// Token.io's example.
    const EMBEDDED: &str = "eyJmaWVsZHMiOlt7ImRlc2NyaXB0aW9uIjoiT25lLXRpbWUgcGFzc2NvZGUiLCJpZCI6Im90cCJ9XX0";
    const DECOUPLED: &str = "eyJmaWVsZHMiOlt7ImRlc2NyaXB0aW9uIjoiUGxlYXNlLCBhdXRob3JpemUgcGF5bWVudCB1c2luZyBtb2JpbGUgZGV2aWNl\
                             LiIsInR5cGUiOiJERUNPVVBMRUQifV19";

    fn with(more: &str) -> String {
        LEAST.replacen('}', &format!(",{more}}}"), 1)
    }

    #[test]
    fn the_status_follows_from_the_fields() {
        let error = r#""error":14,"message":"Bank is unavailable","trace-id":"idm45Ag1X8D8Kvdw""#;
        let cases = [
            (LEAST.to_owned(), "completed"),
            (with(&format!(r#""credential-fields":"{EMBEDDED}""#)), "credentials"),
            (with(&format!(r#""credential-fields":"{DECOUPLED}""#)), "credentials"),
            (with(error), "error"),
        ];
        for (payload, status) in cases {
            assert_eq!(faults("token-request", &payload), []);
            assert_eq!(status_of("token-request", &Payload::new(&payload)).as_deref(), Some(status));
        }
    }

    #[test]
    fn each_field_has_its_type() {
        for (field, value) in [("credential-fields", "7"), ("message", "1"), ("trace-id", "1")] {
            assert_refused("token-request", LEAST, field, value);
        }
        let error = with(r#""error":14,"message":"m","trace-id":"t""#);
        for value in ["0", "17", r#""14""#] {
            assert_refused("token-request", &error, "error", value);
        }
    }

    #[test]
    fn fields_that_belong_together_are_checked_together() {
        let pointers = |payload: &str| {
            faults("token-request", payload).into_iter().map(|(pointer, _)| pointer).collect::<Vec<_>>()
        };
        assert_eq!(pointers(r#"{"request-id":"a","request_id":"b"}"#), ["/data/request_id"]);
        assert_eq!(pointers(&with(r#""error":14"#)), ["/data/message", "/data/trace-id"]);
        let both = format!(r#""error":14,"message":"m","trace-id":"t","credential-fields":"{EMBEDDED}""#);
        assert_eq!(pointers(&with(&both)), ["/data/error"]);
    }

    #[test]
    fn the_content_of_credential_fields_is_checked() {
        let good = [r#"{"fields":[{"id":"otp","description":"Code"},{"type":"DECOUPLED","description":"Phone"}]}"#];
        let bad = [
            "not JSON",
            "[]",
            "{}",
            r#"{"fields":[]}"#,
            r#"{"fields":[{"id":"otp"}]}"#,
            r#"{"fields":[{"description":"Code"}]}"#,
            r#"{"fields":[{"id":"","description":"Code"}]}"#,
            r#"{"fields":[{"type":"EMBEDDED","description":"Code"}]}"#,
            r#"{"fields":["otp"]}"#,
        ];
        for json in good {
            assert_eq!(
                faults("token-request", &with(&format!(r#""credential-fields":"{}""#, STANDARD.encode(json)))),
                []
            );
        }
        for json in bad {
            assert_refused("token-request", LEAST, "credential-fields", &format!("\"{}\"", STANDARD.encode(json)));
        }
        assert_refused("token-request", LEAST, "credential-fields", r#""%%%""#);
    }
}
