//! The limits of endpoints and tenants ([`signpost_core::delivery::limits`]), which all senders share.
//!
//! All senders of an endpoint write the same few items, and a table takes 1,000 writes a second in one place. So this
//! environment remembers for a moment that a limit is reached, and counts the requests of a batch together.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures_util::lock::Mutex;
use signpost_core::delivery::LONGEST_ATTEMPT;
use signpost_core::delivery::limits::{free_slots, left_in_second};
use signpost_core::endpoint::{EndpointId, Limit};

use crate::ports::Ports;
use crate::ports::clock::{Clock as _, Random as _, millis};
use crate::ports::limits::{ConcurrencySlot, Counted, Limits as _, SlotPool};
use crate::slots::Slots;

/// The limits, by the slots and counts in a table.
pub struct Limiter<P: Ports> {
    clock: P::Clock,
    random: P::Random,
    table: P::Limits,
    /// Until when each pool is considered full, in milliseconds since the Unix epoch.
    full: Slots<SlotPool, AtomicU64>,
    permits: Slots<EndpointId, Permits>,
}

/// The requests that may start in one second.
#[derive(Debug, Default)]
struct Permits {
    /// How many callers wait for one.
    wanted: AtomicU16,
    counted: Mutex<CountedAhead>,
}

/// The requests that are counted in the table and have not started.
#[derive(Clone, Copy, Debug, Default)]
struct CountedAhead {
    /// The second in which they may start, since the Unix epoch.
    unix_seconds: u64,
    left: u16,
    /// Whether no more than these may start in this second.
    is_full: bool,
}

/// How many free slots to try.
const TRIES: usize = 4;
/// How many times to count requests again that lost against others.
const ROUNDS: usize = 3;
/// How long a pool without a free slot is considered full.
const FULL_FOR: Duration = Duration::from_millis(100);
/// How many pools, and how many endpoints, are remembered.
const CAPACITY: usize = 2_000;

impl<P: Ports> Limiter<P> {
    /// Creates the limiter.
    pub fn new(clock: P::Clock, random: P::Random, table: P::Limits) -> Self {
        Self { clock, random, table, full: Slots::new(CAPACITY), permits: Slots::new(CAPACITY) }
    }

    /// Takes a slot for the time of one attempt. Returns `None` if all slots are held, or if others were faster.
    ///
    /// One call if most slots are free, and none if all were held a moment ago.
    ///
    /// # Errors
    /// A call failed. Do not send.
    pub async fn take(&self, pool: &SlotPool, limit: Limit) -> Result<Option<ConcurrencySlot>, P::Error> {
        let full_until = self.full.get(pool.clone());
        if self.clock.unix_ms() < full_until.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let guess = self.random.u64() % u64::from(u16::from(limit));
        if let Some(slot) = self.take_one(pool, u16::try_from(guess).unwrap_or_default()).await? {
            return Ok(Some(slot));
        }
        let slot = self.take_free(pool, limit).await?;
        if slot.is_none() {
            full_until.store(self.clock.unix_ms() + millis(FULL_FOR), Ordering::Relaxed);
        }
        Ok(slot)
    }

    /// Does as [`Self::take`], and remembers nothing: for a caller that parked a delivery, because the holder of a slot may
    /// have looked for parked deliveries just before.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub async fn take_free(&self, pool: &SlotPool, limit: Limit) -> Result<Option<ConcurrencySlot>, P::Error> {
        let held = self.table.held(pool, limit).await?;
        let mut free: Vec<_> = free_slots(&held, limit, self.clock.unix_ms()).collect();
        self.random.shuffle(&mut free);
        for index in free.into_iter().take(TRIES) {
            if let Some(slot) = self.take_one(pool, index).await? {
                return Ok(Some(slot));
            }
        }
        Ok(None)
    }

    async fn take_one(&self, pool: &SlotPool, index: u16) -> Result<Option<ConcurrencySlot>, P::Error> {
        let slot = ConcurrencySlot { pool: pool.clone(), index, holder: self.random.u64() };
        let now = self.clock.unix_ms();
        Ok(self.table.take(&slot, now, now + millis(LONGEST_ATTEMPT)).await?.then_some(slot))
    }

    /// Counts the free slots. One call.
    ///
    /// # Errors
    /// The call failed.
    pub async fn free(&self, pool: &SlotPool, limit: Limit) -> Result<usize, P::Error> {
        let held = self.table.held(pool, limit).await?;
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

    /// Counts a request in the current second. Returns false if the limit is reached. One call in most cases, which counts
    /// for all who ask at the same time; none if the limit of this second was reached before.
    ///
    /// # Errors
    /// A call failed. Do not send.
    pub async fn begin(&self, endpoint: &EndpointId, limit: Limit) -> Result<bool, P::Error> {
        let permits = self.permits.get(endpoint.clone());
        permits.wanted.fetch_add(1, Ordering::Relaxed);
        let _asking = Asking(&permits.wanted);
        yield_once().await; // The other deliveries of a batch say in the meantime that they want a permit, too.
        let mut counted = permits.counted.lock().await;
        loop {
            let is_over = counted.unix_seconds != self.clock.unix_seconds(); // Counted requests of a past second do not start.
            if !is_over && counted.left > 0 {
                counted.left -= 1;
                return Ok(true);
            }
            if !is_over && counted.is_full {
                return Ok(false);
            }
            let wanted = permits.wanted.load(Ordering::Relaxed);
            // Likely the first of its second, if this environment has sent nothing to the endpoint for a while.
            let is_first = counted.unix_seconds + 1 < self.clock.unix_seconds();
            *counted = self.count(endpoint, limit, wanted, is_first).await?;
            if counted.left == 0 {
                return Ok(false);
            }
        }
    }

    /// Returns whether the limit of this second is known to be reached. Makes no call.
    pub async fn is_second_full(&self, endpoint: &EndpointId) -> bool {
        let permits = self.permits.get(endpoint.clone());
        let counted = *permits.counted.lock().await;
        counted.is_full && counted.left == 0 && counted.unix_seconds == self.clock.unix_seconds()
    }

    /// Returns whether to use a free slot of an endpoint for its parked deliveries: always, unless the limit of this second is
    /// known to be reached. Then only about one of those who ask in a second does so, because a free slot helps little. Makes
    /// no call.
    pub async fn is_slot_of_use(&self, endpoint: &EndpointId, per_second: Option<Limit>) -> bool {
        let Some(limit) = per_second else { return true };
        !self.is_second_full(endpoint).await || self.random.u64().is_multiple_of(u16::from(limit).into())
    }

    /// Counts up to `wanted` requests, as many as the limit allows; tries first to be the first of this second if `is_first`.
    /// A refusal returns the actual count.
    async fn count(
        &self,
        endpoint: &EndpointId,
        limit: Limit,
        wanted: u16,
        mut is_first: bool,
    ) -> Result<CountedAhead, P::Error> {
        let mut left = wanted.clamp(1, limit.into());
        for _ in 0..ROUNDS {
            let now = self.clock.unix_ms();
            let unix_seconds = now / 1_000;
            let counted = if is_first {
                self.table.count_first(endpoint, unix_seconds, left).await?
            } else {
                self.table.count_more(endpoint, unix_seconds, limit, left).await?
            };
            let Counted::Instead(counted) = counted else {
                return Ok(CountedAhead { unix_seconds, left, is_full: left < wanted });
            };
            let room = left_in_second(counted, limit, now);
            if room == 0 {
                return Ok(CountedAhead { unix_seconds, left: 0, is_full: true });
            }
            is_first = counted.is_none_or(|counted| counted.unix_seconds < unix_seconds);
            left = left.min(room);
        }
        // So many others ask that little can be left.
        Ok(CountedAhead { unix_seconds: self.clock.unix_seconds(), left: 0, is_full: true })
    }
}

/// Lets the other tasks of this batch run once.
async fn yield_once() {
    let mut is_first = true;
    poll_fn(|context| {
        if std::mem::take(&mut is_first) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await;
}

/// A caller that waits for a permit.
struct Asking<'a>(&'a AtomicU16);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
