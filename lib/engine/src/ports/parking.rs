//! Deliveries that wait outside of the queue, and what `sweep` must know.

use serde_json::json;
use signpost_core::delivery::parking::Lane;
use signpost_core::delivery::{DeadLetterReason, DeliveryKey};
use signpost_core::endpoint::EndpointId;
use signpost_core::event::{EventKey, TenantId};

use crate::ports::events::StoredEvent;
use crate::ports::queue::Message;

/// The parked deliveries, by lane, and the notes about them.
pub trait Parking {
    /// The reason why a call failed.
    type Error;

    /// Parks a delivery in a lane, at the place of `unix_ms`, in milliseconds since the Unix epoch. Repeating the call
    /// changes nothing. A delivery in [`Lane::Exhausted`] is only a note, which expires after the retention.
    ///
    /// # Errors
    /// The call failed. The delivery must stay in the queue.
    async fn park(&self, lane: Lane, unix_ms: u64, delivery: DeliveryKey<'_>) -> Result<(), Self::Error>;

    /// Reads up to `limit` deliveries of a lane, oldest first. One that cannot be read is skipped and logged.
    ///
    /// # Errors
    /// The call failed.
    async fn first_of(&self, lane: &Lane, limit: usize) -> Result<Vec<Parked>, Self::Error>;

    /// Returns whether a lane has no items, unreadable ones included.
    ///
    /// # Errors
    /// The call failed.
    async fn is_empty(&self, lane: &Lane) -> Result<bool, Self::Error>;

    /// Removes a delivery after it was put back into the queue, unless it was parked again since. `deliver` may be
    /// faster than this call, and parks it again under the same key.
    ///
    /// # Errors
    /// The call failed. The delivery will be put into the queue again, where `deliver` recognises the repetition.
    async fn remove(&self, parked: &Parked) -> Result<(), Self::Error>;

    /// Removes deliveries as [`Self::remove`] does, many in one call.
    ///
    /// # Errors
    /// A call failed. Some of the deliveries may be removed.
    async fn remove_all(&self, parked: &[Parked]) -> Result<(), Self::Error>;

    /// Requests a drain of the lane of a tenant's endpoint. If the request was postponed, it stays so.
    ///
    /// # Errors
    /// The call failed. Parked deliveries stay there; request again.
    async fn ask_to_drain(&self, tenant: &TenantId, endpoint: &EndpointId) -> Result<(), Self::Error>;

    /// Returns whether a drain of an endpoint's lane is requested, postponed or not. While deliveries are parked for an
    /// endpoint that may accept them, it is.
    ///
    /// # Errors
    /// The call failed.
    async fn is_drain_requested(&self, endpoint: &EndpointId) -> Result<bool, Self::Error>;

    /// Requests a drain of the lane by the next run, even if the request was postponed. Call it before a change after
    /// which the endpoint accepts deliveries, or after which nothing is sent to it any more.
    ///
    /// # Errors
    /// As [`Self::ask_to_drain`].
    async fn ask_to_drain_now(&self, tenant: &TenantId, endpoint: &EndpointId) -> Result<(), Self::Error>;

    /// Reads up to `limit` drain requests of a shard ([`signpost_core::delivery::drain::drain_shard`]), in the order of
    /// their endpoints' ids, starting after `after`. One that cannot be read is skipped and logged.
    ///
    /// # Errors
    /// The call failed.
    async fn drains(&self, shard: u8, after: Option<&EndpointId>, limit: usize) -> Result<Vec<Drain>, Self::Error>;

    /// Postpones a drain until `unix_ms`, in milliseconds since the Unix epoch, unless [`Self::ask_to_drain_now`] was
    /// called since the request was read.
    ///
    /// # Errors
    /// The call failed. The next run looks at the endpoint again.
    async fn postpone_drain(&self, drain: &Drain, unix_ms: u64) -> Result<(), Self::Error>;

    /// Ends a drain, unless it was requested again since.
    ///
    /// # Errors
    /// The call failed. A sweep looks at the lane again.
    async fn end_drain(&self, drain: &Drain) -> Result<(), Self::Error>;

    /// Notes that deliveries wait for an endpoint, so that `sweep` monitors them ([`Self::waiting`]). Call it before
    /// the first delivery is parked, and again every hour.
    ///
    /// # Errors
    /// The call failed. Do not park yet, because nothing would warn operators of a delivery that waits too long.
    async fn note_waiting(&self, endpoint: &EndpointId) -> Result<(), Self::Error>;

    /// Reads up to `limit` endpoints for which deliveries wait, in the order of their ids, starting after `after`.
    /// A note that cannot be read is skipped and logged.
    ///
    /// # Errors
    /// The call failed.
    async fn waiting(&self, after: Option<&EndpointId>, limit: usize) -> Result<Vec<Waiting>, Self::Error>;

    /// Removes an endpoint from those for which deliveries wait, unless it was noted again since.
    ///
    /// # Errors
    /// The call failed. A sweep looks at the endpoint again.
    async fn end_waiting(&self, waiting: &Waiting) -> Result<(), Self::Error>;

    /// Takes the lease of the sweep until `until` and returns what the last sweep left, or a state in which
    /// `first_minute` was swept. Returns `None` if another sweep holds the lease. All times are seconds or minutes since
    /// the Unix epoch.
    ///
    /// # Errors
    /// The call failed, or the state of the sweep cannot be read.
    async fn begin_sweep(&self, now: u64, until: u64, first_minute: u64) -> Result<Option<SweepState>, Self::Error>;

    /// Stores the state of the sweep for the next one, and releases the lease.
    ///
    /// # Errors
    /// The call failed. The next sweep waits until the lease expires, and starts where this one started.
    async fn end_sweep(&self, state: &SweepState) -> Result<(), Self::Error>;
}

/// The state that one sweep leaves to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SweepState {
    /// The last minute, since the Unix epoch, whose due deliveries were moved completely.
    pub swept_minute: u64,
    /// The endpoint behind whose drain request the next run starts; `None` if all were reached.
    pub drained_until: Option<EndpointId>,
    /// The last endpoint that the expiry watch has checked; `None` if it has checked all.
    pub watched_until: Option<EndpointId>,
}

/// A parked delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// The event.
    pub event: EventKey,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// The time in its place, in milliseconds since the Unix epoch: since when it waits, or until when.
    pub at_unix_ms: u64,
    /// When the event arrived, in milliseconds since the Unix epoch, if known; a part of the key of the delivery's
    /// record.
    pub arrived_unix_ms: Option<u64>,
    /// For how many days its event is kept, if its type says so.
    pub retention_days: Option<u16>,
    /// The key of its partition ([`Lane::partition_of`]).
    pub lane: String,
    /// Its place in the lane ([`signpost_core::delivery::parking::place`]).
    pub place: String,
    /// A random token that distinguishes this item from a later one at the same place.
    pub fencing_token: Option<u64>,
}

impl Parked {
    /// Returns which delivery it is, if that is known without its event.
    #[must_use]
    pub fn key(&self) -> Option<DeliveryKey<'_>> {
        let (event, endpoint) = (&self.event, &self.endpoint);
        let retention_days = self.retention_days;
        Some(DeliveryKey { event, endpoint, arrived_unix_ms: self.arrived_unix_ms?, retention_days })
    }

    /// Builds the dead letter of a parked delivery whose event has expired. Only the event's key is left.
    #[must_use]
    pub fn without_event(&self) -> Message {
        let (event, reason) = (&self.event, DeadLetterReason::EventGone);
        tracing::error!(
            tenant.id = %event.tenant,
            event.id = %event.id,
            endpoint.id = %self.endpoint,
            "delivery.event_gone"
        );
        let key = json!({"tenant": event.tenant.as_str(), "id": event.id.as_str(), "source": event.source});
        let body = json!({"endpoint": self.endpoint.as_str(), "event": key}).to_string();
        Message { body, attributes: vec![("reason", reason.as_str().to_owned())], ..Message::default() }
    }
}

impl Message {
    /// Builds the message for `DeliveriesQueue` from a parked delivery and its stored event.
    #[must_use]
    pub fn of_parked(parked: &Parked, StoredEvent { event, arrived_unix_ms }: &StoredEvent) -> Self {
        Self::of_delivery(&parked.endpoint, event, *arrived_unix_ms, Some(parked.at_unix_ms))
    }
}

/// An endpoint whose parked deliveries must be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// The endpoint's tenant. Tenants take turns.
    pub tenant: TenantId,
    /// When the drain was requested last, in seconds since the Unix epoch.
    pub asked_at: u64,
    /// Until when no run looks at the endpoint, in milliseconds since the Unix epoch; 0 if the request is not postponed.
    pub not_before_unix_ms: u64,
    /// A random token that distinguishes a request for the next run from those before it.
    pub fencing_token: Option<u64>,
}

/// An endpoint for which deliveries wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// When this was last noted, in seconds since the Unix epoch.
    pub noted_at: u64,
}
