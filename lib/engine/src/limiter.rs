//! The limits of endpoints ([`signpost_core::delivery::limits`]), which all senders share.

use signpost_core::delivery::LONGEST_ATTEMPT;
use signpost_core::delivery::limits::{begin, free_slots};
use signpost_core::endpoint::{EndpointId, Limit};

use crate::ports::Ports;
use crate::ports::clock::{Clock as _, Random as _, millis};
use crate::ports::limits::{ConcurrencySlot, Counted, Limits as _};

/// The limits, by the slots and counts in a table.
pub struct Limiter<P: Ports> {
    clock: P::Clock,
    random: P::Random,
    table: P::Limits,
}

/// How many free slots to try.
const TRIES: usize = 4;
/// How many times to count a request again that lost against others.
const ROUNDS: usize = 4;

impl<P: Ports> Limiter<P> {
    /// Creates the limiter.
    pub fn new(clock: P::Clock, random: P::Random, table: P::Limits) -> Self {
        Self { clock, random, table }
    }

    /// Takes a slot for the time of one attempt. Returns `None` if all slots are held, or if others were faster.
    ///
    /// One call if all slots are held, otherwise two in most cases.
    ///
    /// # Errors
    /// A call failed. Do not send.
    pub async fn take(&self, endpoint: &EndpointId, limit: Limit) -> Result<Option<ConcurrencySlot>, P::Error> {
        let held = self.table.held(endpoint).await?;
        let mut free: Vec<_> = free_slots(&held, limit, self.clock.unix_ms()).collect();
        self.random.shuffle(&mut free);
        for index in free.into_iter().take(TRIES) {
            let slot = ConcurrencySlot { endpoint: endpoint.clone(), index, holder: self.random.u64() };
            let now = self.clock.unix_ms();
            if self.table.take(&slot, now, now + millis(LONGEST_ATTEMPT)).await? {
                return Ok(Some(slot));
            }
        }
        Ok(None)
    }

    /// Counts the free slots. One call.
    ///
    /// # Errors
    /// The call failed.
    pub async fn free(&self, endpoint: &EndpointId, limit: Limit) -> Result<usize, P::Error> {
        let held = self.table.held(endpoint).await?;
        Ok(free_slots(&held, limit, self.clock.unix_ms()).count())
    }

    /// Extends a slot for another attempt. Returns false if the slot was lost. One call.
    ///
    /// # Errors
    /// The call failed. Do not send.
    pub async fn renew(&self, slot: &ConcurrencySlot) -> Result<bool, P::Error> {
        let now = self.clock.unix_ms();
        self.table.renew(slot, now, now + millis(LONGEST_ATTEMPT)).await
    }

    /// Releases a slot. One call.
    ///
    /// # Errors
    /// The call failed. The slot is free when its lease expires.
    pub async fn release(&self, slot: ConcurrencySlot) -> Result<(), P::Error> {
        self.table.release(slot).await
    }

    /// Counts a request in the current second. Returns false if the limit is reached. One call in most cases.
    ///
    /// # Errors
    /// A call failed. Do not send.
    pub async fn begin(&self, endpoint: &EndpointId, limit: Limit) -> Result<bool, P::Error> {
        // Try the most likely case first: another request of this second. A refusal returns the actual count.
        let mut is_first = false;
        for _ in 0..ROUNDS {
            let now = self.clock.unix_ms();
            let counted = if is_first {
                self.table.count_first(endpoint, now / 1_000).await?
            } else {
                self.table.count_another(endpoint, now / 1_000, limit).await?
            };
            let Counted::Instead(counted) = counted else { return Ok(true) };
            let Some(next) = begin(counted, limit, now) else { return Ok(false) };
            is_first = next.begun == 1;
        }
        Ok(false)
    }
}
