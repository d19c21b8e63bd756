//! Deliveries: the record of each, with its attempts.

use signpost_core::delivery::attempt::Attempt;
use signpost_core::delivery::{
    DeadLetterReason, DeliveryKey, DeliveryRecord, DeliveryStatus, EARLY_MS, LONGEST_ATTEMPT, Progress, Receipt,
    ReplayKind,
};

use crate::ports::clock::millis;

/// The records of deliveries. Each write is conditional, so that of two senders only one succeeds.
pub trait Deliveries {
    /// The reason why a call failed.
    type Error;

    /// A first attempt that was announced. It counts until this is dropped.
    type Announced<'a>
    where
        Self: 'a;

    /// Reads a delivery's record as it is now. Returns `None` if the delivery has none yet.
    ///
    /// # Errors
    /// The call failed, or the record cannot be read.
    async fn standing(&self, delivery: DeliveryKey<'_>) -> Result<Option<DeliveryRecord>, Self::Error>;

    /// Reads a delivery's record together with others of the same batch.
    ///
    /// # Errors
    /// As [`Self::standing`].
    async fn standing_batched(&self, delivery: DeliveryKey<'_>) -> Result<Option<DeliveryRecord>, Self::Error>;

    /// Takes the lease of a delivery if, by its record, no other sender has it and an attempt is due.
    ///
    /// # Errors
    /// The call failed, or the record cannot be read. Do not send.
    async fn lease(&self, delivery: DeliveryKey<'_>, wanted: Lease) -> Result<LeaseResult, Self::Error>;

    /// Records that nothing is being sent, so that the next receiver need not wait: releases the lease that ends at
    /// `leased_until_unix_ms`, or notes it in a new record if that is `None`.
    ///
    /// # Errors
    /// The call failed. Until the time of one attempt is over, other senders assume that the delivery is being sent.
    async fn release(&self, delivery: DeliveryKey<'_>, leased_until_unix_ms: Option<u64>) -> Result<(), Self::Error>;

    /// Announces a first attempt, so that concurrent callers of [`Self::insert`] wait a moment to share one call.
    fn announce_first(&self) -> Self::Announced<'_>;

    /// Writes the record of a delivery that has none, with its first attempt. Returns false if it has one.
    ///
    /// # Errors
    /// As [`Self::update`].
    async fn insert(
        &self,
        delivery: DeliveryKey<'_>,
        attempt: &Attempt,
        progress: Progress,
    ) -> Result<bool, Self::Error>;

    /// Records an attempt and the progress that follows from it, if the record is still the one that the attempt was
    /// based on: pending, and due at `on_record`, in milliseconds since the Unix epoch; without an attempt if `None`.
    /// Ends the lease. Returns false if the record has changed.
    ///
    /// # Errors
    /// The call failed. The attempt may be recorded, and it may be repeated, which at-least-once delivery allows.
    async fn update(
        &self,
        delivery: DeliveryKey<'_>,
        attempt: &Attempt,
        on_record: Option<u64>,
        progress: Progress,
    ) -> Result<bool, Self::Error>;

    /// Records an acknowledgement, even if the record has changed, unless there is one already, or the event was erased. It keeps the number of attempts.
    /// Ends the lease. Returns false if the delivery was acknowledged before.
    ///
    /// # Errors
    /// As [`Self::update`].
    async fn acknowledge(
        &self,
        delivery: DeliveryKey<'_>,
        attempt: &Attempt,
        progress: Progress,
    ) -> Result<bool, Self::Error>;

    /// Records an attempt and the progress that follows from it.
    ///
    /// - A failure is recorded only if the record is still the one that the attempt was based on. So two senders never
    ///   count the same attempt, and no sender applies a retry count that a replay has reset.
    /// - An acknowledgement is always recorded, unless there is one already, and no failure follows it.
    ///
    /// # Errors
    /// As [`Self::update`].
    async fn record(
        &self,
        delivery: DeliveryKey<'_>,
        attempt: &Attempt,
        on_record: Option<u64>,
        progress: Progress,
    ) -> Result<Recorded, Self::Error> {
        if self.update(delivery, attempt, on_record, progress).await? {
            return Ok(Recorded::Yes);
        }
        let is_recorded =
            progress.status == DeliveryStatus::Delivered && self.acknowledge(delivery, attempt, progress).await?;
        Ok(if is_recorded { Recorded::Yes } else { Recorded::Overtaken })
    }

    /// Records the attempt of a delivery that has no record yet. If it has one after all, does as [`Self::record`].
    ///
    /// # Errors
    /// As [`Self::update`].
    async fn record_first(
        &self,
        delivery: DeliveryKey<'_>,
        attempt: &Attempt,
        progress: Progress,
    ) -> Result<Recorded, Self::Error> {
        if self.insert(delivery, attempt, progress).await? {
            return Ok(Recorded::Yes);
        }
        self.record(delivery, attempt, None, progress).await
    }

    /// Resets a delivery for a replay that an operator requested. It is due at once, even if it was delivered or given
    /// up, and its retry policy counts from here. A failure of a running attempt is no longer recorded.
    /// A delivery whose event was erased stays so.
    ///
    /// # Errors
    /// The call failed.
    async fn reset_for_replay(&self, delivery: DeliveryKey<'_>, replay: ReplayKind) -> Result<(), Self::Error>;

    /// Records that the event of a delivery was erased: nothing is sent any more, and no attempt is recorded. Removes its
    /// attempts, with their requests and answers. Repeating the call removes what a crash or a running attempt left.
    ///
    /// # Errors
    /// A call failed. It may be repeated.
    async fn erase(&self, delivery: DeliveryKey<'_>) -> Result<(), Self::Error>;

    /// Records that a delivery is given up without a failed attempt, and why, unless it is delivered or erased.
    ///
    /// # Errors
    /// The call failed.
    async fn end(&self, delivery: DeliveryKey<'_>, reason: DeadLetterReason) -> Result<(), Self::Error>;
}

/// The right to send a delivery, for the longest time that one attempt can take. All times are milliseconds since the
/// Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// When it is taken: no other lease may last longer than this.
    pub from_unix_ms: u64,
    /// When it ends.
    pub until_unix_ms: u64,
    /// The attempt must be due by then.
    pub due_by_unix_ms: u64,
    /// Whether the delivery must have a record. Without one, another receiver may be sending the first attempt.
    pub needs_record: bool,
}

impl Lease {
    /// Returns the lease that a receiver needs at `now_unix_ms`.
    #[must_use]
    pub fn of(receipt: &Receipt, now_unix_ms: u64) -> Self {
        Self {
            from_unix_ms: now_unix_ms,
            until_unix_ms: now_unix_ms + millis(LONGEST_ATTEMPT),
            due_by_unix_ms: now_unix_ms + EARLY_MS,
            needs_record: now_unix_ms < receipt.first_may_send_until(),
        }
    }
}

/// The result of recording an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// The attempt is on record.
    Yes,
    /// The attempt is not on record, because another sender recorded one meanwhile. Read the record again.
    Overtaken,
}

/// The result of asking for a lease, with the delivery's record from before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseResult {
    /// The caller has the lease; an attempt is due.
    Taken(Option<DeliveryRecord>),
    /// Another sender has the lease, or no attempt is due.
    Refused(Option<DeliveryRecord>),
}
