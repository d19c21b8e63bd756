//! The seats of one invocation: for each tenant, at most one of the slots that bound the tenant's invocations on the slow
//! track.
//!
//! An invocation lasts as long as its slowest attempt. So the invocations are bounded, not the attempts: all deliveries of
//! a tenant in one batch share a seat.

use std::collections::HashMap;
use std::sync::{Arc, Mutex as SyncMutex};

use futures_util::lock::Mutex;
use signpost_core::delivery::Track;
use signpost_core::event::TenantId;

use crate::deliver::Deliver;
use crate::ports::Ports;
use crate::ports::limits::{ConcurrencySlot, SlotPool};
use crate::slots::lock;

/// The seats that an invocation asked for, by tenant.
#[derive(Debug, Default)]
pub(super) struct Seats(SyncMutex<HashMap<TenantId, Arc<Mutex<Seat>>>>);

/// The lock is held during the call, so that the deliveries of a tenant ask once.
#[derive(Debug, Default)]
enum Seat {
    #[default]
    NotAsked,
    Taken(ConcurrencySlot),
    Refused,
}

impl<P: Ports> Deliver<P> {
    /// Returns whether this invocation may send for a tenant. On the slow track it takes a seat, unless it has one already.
    ///
    /// Needs no lease beyond that of the slot, because the function ends earlier than the slot's lease.
    ///
    /// # Errors
    /// A call failed. Do not send.
    pub(super) async fn is_seated(&self, seats: &Seats, track: Track, tenant: &TenantId) -> Result<bool, P::Error> {
        if track == Track::Fast {
            return Ok(true);
        }
        let seat = Arc::clone(lock(&seats.0).entry(tenant.clone()).or_default());
        let mut seat = seat.lock().await;
        if let Seat::NotAsked = *seat {
            let taken = self.limiter.take(&SlotPool::Tenant(tenant.clone()), self.slow_invocations_per_tenant).await?;
            *seat = taken.map_or(Seat::Refused, Seat::Taken);
        }
        Ok(matches!(*seat, Seat::Taken(_)))
    }

    /// Gives the seats back, after all deliveries of the batch are done.
    pub(super) async fn leave(&self, seats: Seats) {
        let asked = std::mem::take(&mut *lock(&seats.0));
        for seat in asked.into_values() {
            if let Seat::Taken(slot) = std::mem::take(&mut *seat.lock().await) {
                self.release(slot).await;
            }
        }
    }
}
