//! Builders: the least that is valid, with names of their own, so that tests never meet each other's.

use serde_json::{Value, json};
use signpost_core::delivery::attempt::Attempt;
use signpost_core::delivery::sent::SentRecord;
use signpost_core::endpoint::EndpointId;
use signpost_core::event::TenantId;
use uuid::Uuid;

/// Gives a tenant that nobody else has.
///
/// # Panics
/// Never: what it builds is a tenant id.
#[must_use]
pub fn tenant() -> TenantId {
    TenantId::parse(&format!("tenant-{}", Uuid::new_v4())).expect("letters, digits and hyphens")
}

/// Gives an event id that nobody else has.
#[must_use]
pub fn event_id() -> String {
    format!("event-{}", Uuid::new_v4())
}

/// When events arrive that do not come by the queue, in milliseconds since the Unix epoch: 2026-01-31T10:00:00Z.
pub const ARRIVED: u64 = 1_769_853_600_000;

/// Builds the message that has an event delivered to an endpoint.
#[must_use]
pub fn delivery(endpoint: &EndpointId, event: &Value) -> String {
    json!({"endpoint": endpoint.as_str(), "arrivedUnixMs": ARRIVED, "event": event}).to_string()
}

/// Builds an event in the CloudEvents JSON format, of a type that is no family's: its payload may be any object.
#[must_use]
pub fn event(tenant: &TenantId, id: &str, data: &Value) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": "/core", "type": "example", "tenant": tenant.as_str(), "data": data
    })
}

/// Builds an attempt that sent nothing and kept nothing but its status.
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
        sent: SentRecord::Nothing,
        connection: None,
        redirect: None,
    }
}
