//! The command of an invocation: the schedule asks for a sweep, an operator for a redrive.

use serde::Deserialize;
use serde_json::Value;
use signpost_core::endpoint::EndpointId;
use signpost_core::event::TenantId;

use signpost_engine::sweep::Redrive;

/// The command of an invocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Redrive(Redrive),
    Sweep,
}

/// A payload that is not a valid command.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "payload is `{found}`; expected the schedule's event, `{{\"redrive\":\"DeadLetterQueue\"}}`, optionally with the \
     ids `endpoint` and `tenant`, or `{{\"redrive\":\"RejectedQueue\"}}`, optionally with `tenant`"
)]
pub(crate) struct CommandError {
    found: String,
}

impl Command {
    /// Reads the payload of an invocation.
    ///
    /// # Errors
    /// The payload is neither EventBridge's schedule event nor a redrive, or has an invalid id.
    pub(crate) fn parse(payload: &Value) -> Result<Self, CommandError> {
        if payload["source"] == "aws.events" {
            return Ok(Self::Sweep);
        }
        redrive(payload).map(Self::Redrive).ok_or_else(|| CommandError { found: quoted(payload) })
    }
}

/// A redrive command as operators write it.
#[derive(Deserialize)]
#[serde(tag = "redrive", deny_unknown_fields)]
enum Request {
    DeadLetterQueue { endpoint: Option<String>, tenant: Option<String> },
    RejectedQueue { tenant: Option<String> },
}

fn redrive(payload: &Value) -> Option<Redrive> {
    Some(match Request::deserialize(payload).ok()? {
        Request::DeadLetterQueue { endpoint, tenant } => Redrive::DeadLetters {
            endpoint: chosen(endpoint, EndpointId::parse).ok()?,
            tenant: chosen(tenant, TenantId::parse).ok()?,
        },
        Request::RejectedQueue { tenant } => Redrive::Rejected { tenant: chosen(tenant, TenantId::parse).ok()? },
    })
}

/// Parses the chosen id, if there is one. Returns an error if it is invalid.
fn chosen<T>(text: Option<String>, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, ()> {
    text.map(|text| parse(&text).ok_or(())).transpose()
}

/// How many characters of a payload an error quotes.
const QUOTED_CHARACTERS: usize = 200;

fn quoted(payload: &Value) -> String {
    payload.to_string().chars().take(QUOTED_CHARACTERS).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_schedule_sweeps_and_an_operator_redrives() {
        let file = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let id = "ep_00000000000000000000000000000007";
        let (endpoint, tenant) = (EndpointId::parse(id), TenantId::parse("acme"));
        let dead_letters = |endpoint, tenant| Command::Redrive(Redrive::DeadLetters { endpoint, tenant });
        let rejected = |tenant| Command::Redrive(Redrive::Rejected { tenant });
        let cases = [
            (file(include_str!("../../../events/sweep-schedule.json")), Command::Sweep),
            (file(include_str!("../../../events/sweep-redrive.json")), dead_letters(None, None)),
            (json!({"redrive": "DeadLetterQueue", "tenant": null}), dead_letters(None, None)),
            (json!({"redrive": "DeadLetterQueue", "tenant": "acme"}), dead_letters(None, tenant.clone())),
            (json!({"redrive": "DeadLetterQueue", "endpoint": id}), dead_letters(endpoint, None)),
            (json!({"redrive": "RejectedQueue"}), rejected(None)),
            (json!({"redrive": "RejectedQueue", "tenant": "acme"}), rejected(tenant)),
        ];
        for (payload, expected) in cases {
            assert_eq!(Command::parse(&payload), Ok(expected), "{payload}");
        }
    }

    #[test]
    fn an_invalid_payload_is_refused_with_the_expected_ones() {
        let id = "ep_00000000000000000000000000000007";
        let cases = [
            json!(null),
            json!({}),
            json!({"force": true}),
            json!("DeadLetterQueue"),
            json!({"redrive": true}),
            json!({"redrive": "EventsQueue"}),
            json!({"redrive": "DeadLetterQueue", "tenants": "acme"}),
            json!({"redrive": "DeadLetterQueue", "tenant": "ACME"}),
            json!({"redrive": "DeadLetterQueue", "endpoint": "ep_7"}),
            json!({"redrive": "RejectedQueue", "endpoint": id}),
        ];
        for payload in cases {
            let error = Command::parse(&payload).unwrap_err().to_string();
            assert!(error.starts_with(&format!("payload is `{payload}`; expected the schedule's event")), "{error}");
        }
        let long = Command::parse(&json!("x".repeat(10_000))).unwrap_err();
        assert_eq!(long.found.len(), QUOTED_CHARACTERS);
    }
}
