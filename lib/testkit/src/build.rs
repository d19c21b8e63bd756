//! Builders of minimal valid values. Each name is unique, so that tests do not share data.

use serde_json::{Value, json};
use signpost_core::delivery::answer::AnswerRecord;
use signpost_core::delivery::attempt::Attempt;
use signpost_core::delivery::sent::SentRecord;
use signpost_core::endpoint::EndpointId;
use signpost_core::event::TenantId;
use uuid::Uuid;

/// Makes a tenant with a unique id.
///
/// # Panics
/// Never, because the id is valid.
#[must_use]
pub fn tenant() -> TenantId {
    TenantId::parse(&format!("tenant-{}", Uuid::new_v4())).expect("letters, digits and hyphens")
}

/// Makes a unique event id.
#[must_use]
pub fn event_id() -> String {
    format!("event-{}", Uuid::new_v4())
}

/// The time of arrival of events that do not come from a queue, in milliseconds since the Unix epoch:
/// 2026-01-31T10:00:00Z.
pub const ARRIVED: u64 = 1_769_853_600_000;

/// Builds the message that makes `deliver` send an event to an endpoint.
#[must_use]
pub fn delivery(endpoint: &EndpointId, event: &Value) -> String {
    json!({"endpoint": endpoint.as_str(), "arrivedUnixMs": ARRIVED, "event": event}).to_string()
}

/// Builds an event in the CloudEvents JSON format. Its type belongs to no family, so its payload may be any object.
#[must_use]
pub fn event(tenant: &TenantId, id: &str, data: &Value) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": "/core", "type": "example", "tenant": tenant.as_str(), "data": data
    })
}

/// Builds an attempt that sent nothing and stores nothing except its status.
#[must_use]
pub fn attempt(number: u32, status: Option<u16>) -> Attempt {
    Attempt {
        number,
        at_unix_ms: 1,
        duration_ms: 1,
        kids: Vec::new(),
        status,
        error: None,
        cause: None,
        response: None,
        answer: AnswerRecord::Known,
        sent: SentRecord::Nothing,
        connection: None,
        redirect: None,
    }
}
