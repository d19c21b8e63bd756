//! Checks of every implementation of the tables' ports: one suite for the tables in memory, against which the engine is
//! simulated, and for DynamoDB. A difference between them would make the simulation prove nothing.
//!
//! Each function checks one port whose tables hold nothing else. A *subject* is something that the tables do not have yet.

#![allow(clippy::future_not_send, reason = "the tables in memory belong to one thread")]

mod deliveries;
mod endpoints;
mod events;
mod jobs;
mod limits;
mod parking;

use signpost_core::delivery::DeliveryKey;
use signpost_core::endpoint::EndpointId;
use signpost_core::event::EventKey;
use uuid::Uuid;

pub use deliveries::*;
pub use endpoints::*;
pub use events::*;
pub use jobs::*;
pub use limits::*;
pub use parking::*;

/// A delivery: its event, its endpoint, and when the event arrived.
pub type Subject = (EventKey, EndpointId, u64);

fn key((event, endpoint, arrived_unix_ms): &Subject) -> DeliveryKey<'_> {
    DeliveryKey { event, endpoint, arrived_unix_ms: *arrived_unix_ms, retention_days: None }
}

/// Any moment. No lease and no attempt of these checks is related to the time at which they run.
const AT: u64 = 1_900_000_000_000;

fn endpoint(number: u128) -> EndpointId {
    EndpointId::new(Uuid::from_u128(number))
}
