//! Single invocations of `deliver`, and their effects on each message.

mod attempts;
mod breakers;
mod figures;
mod limits;
mod messages;
mod owners;
mod tracks;
mod verification;

use serde_json::{Value, json};
use signpost_core::delivery::{Receipt, Track};
use signpost_core::endpoint::DisabledBecause;

use crate::calm::{Calm, FIRST, Presented, fixed};
use crate::clock::IMMORTAL;
use crate::tables::{Place, Pool};
use crate::world::endpoint_id;

fn first(delivery: u32) -> Presented {
    Presented { delivery, receipt: FIRST }
}

fn slow(receipt: Receipt) -> Receipt {
    Receipt { track: Track::Slow, ..receipt }
}

fn retried(max_retries: u32, seconds: u32) -> Value {
    json!({"retry": fixed(max_retries, seconds)})
}

/// The lane of an endpoint, with its parked deliveries.
fn waiting_for(calm: &Calm, endpoint: usize) -> Vec<u32> {
    calm.lane(Place::Endpoint(endpoint)).into_iter().map(|(_, id)| id).collect()
}

fn is_drain_requested(calm: &Calm, endpoint: usize) -> bool {
    calm.world.tables.borrow().drains.contains_key(&endpoint_id(endpoint))
}

fn is_noted_as_waiting(calm: &Calm, endpoint: usize) -> bool {
    calm.world.tables.borrow().waiting.contains_key(&endpoint_id(endpoint))
}

fn disabled(calm: &Calm, endpoint: usize) -> Option<DisabledBecause> {
    calm.world.tables.borrow().endpoints[endpoint].as_ref().unwrap().disabled
}

fn disable(calm: &Calm, because: DisabledBecause) {
    calm.world.tables.borrow_mut().endpoints[0].as_mut().unwrap().disabled = Some(because);
}

/// Has another sender hold all slots of an endpoint with a limit of one.
fn hold_slot(calm: &Calm, endpoint: usize) {
    calm.world.tables.borrow_mut().slots.insert((Pool::Endpoint(endpoint), 0), (7, u64::MAX));
}

/// Has another invocation hold the only seat of the tenant.
fn hold_seat(calm: &Calm) {
    calm.world.tables.borrow_mut().slots.insert((Pool::Tenant(0), 0), (7, u64::MAX));
}

/// Invokes `deliver` with a delivery, and does not wait for its end.
fn begin(calm: &Calm, delivery: u32, receipt: Receipt) {
    let invocation = calm.invocation(vec![(calm.body_of(delivery), receipt)]);
    calm.world.clock.spawn(IMMORTAL, async move { drop(invocation.await) });
}
