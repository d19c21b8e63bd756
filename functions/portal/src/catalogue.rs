//! The catalogue: the payload formats that Signpost knows, each with an example from `events/`.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// A payload format: the `type` of its events, its vendor, what its events say, and a request with an example.
struct Format {
    kind: &'static str,
    vendor: &'static str,
    description: &'static str,
    request: &'static str,
}

const FORMATS: [Format; 7] = [
    Format {
        kind: "operation",
        vendor: "PowerAuth",
        description: "An operation, such as a payment, that a user approves or rejects.",
        request: include_str!("../../../events/ingest-operation.json"),
    },
    Format {
        kind: "activation",
        vendor: "PowerAuth",
        description: "The registration of a user's device.",
        request: include_str!("../../../events/ingest-activation.json"),
    },
    Format {
        kind: "workflow",
        vendor: "TransactionLink",
        description: "A workflow that has ended or is paused.",
        request: include_str!("../../../events/ingest-workflow.json"),
    },
    Format {
        kind: "token-request",
        vendor: "Token.io",
        description: "The answer of a bank to a token request, which a user authorizes there.",
        request: include_str!("../../../events/ingest-token-request-redirect.json"),
    },
    Format {
        kind: "session",
        vendor: "the account-information session service",
        description: "A stage of a session in which a user shares accounts.",
        request: include_str!("../../../events/ingest-session.json"),
    },
    Format {
        kind: "payment",
        vendor: "the account-information session service",
        description: "The status of a payment that a user initiated.",
        request: include_str!("../../../events/ingest-payment.json"),
    },
    Format {
        kind: "transaction",
        vendor: "IDPay",
        description: "The status of a transaction.",
        request: include_str!("../../../events/ingest-transaction.json"),
    },
];

/// A request with an event, as the files in `events/` have it.
#[derive(Deserialize)]
struct Request {
    body: String,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
}

/// Returns the catalogue in the form of an answer.
pub(crate) fn catalogue() -> String {
    let types: Vec<_> = FORMATS.iter().map(shown).collect();
    json!({ "types": types }).to_string()
}

fn shown(format: &Format) -> Value {
    let mut shown = json!({"type": format.kind, "description": format.description, "format": format.vendor});
    if let Some(example) = example(format) {
        shown["example"] = example;
    }
    shown
}

fn example(format: &Format) -> Option<Value> {
    let request: Request = serde_json::from_str(format.request).ok()?;
    let event: Envelope<'_> = serde_json::from_str(&request.body).ok()?;
    serde_json::from_str(event.data.get()).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use signpost_core::event::family::FAMILIES;

    use super::*;

    #[test]
    fn every_payload_family_has_an_entry_with_an_example_of_its_own() {
        let catalogue: Value = serde_json::from_str(&catalogue()).unwrap();
        let types = catalogue["types"].as_array().unwrap();
        let kinds: BTreeSet<_> = types.iter().map(|one| one["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, FAMILIES.iter().map(|family| family.kind).collect());
        for one in types {
            let family = FAMILIES.iter().find(|family| family.kind == one["type"]).unwrap();
            for name in family.mandatory_fields() {
                assert!(!one["example"][name].is_null(), "{name} is missing in {one}");
            }
        }
    }
}
