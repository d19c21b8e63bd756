//! Deliveries that wait outside of the queue, and what `sweep` must know.

use serde_json::json;
use signpost_core::delivery::parking::Lane;
use signpost_core::delivery::{DeadLetterReason, DeliveryKey};
use signpost_core::endpoint::EndpointId;
use signpost_core::event::EventKey;

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

    /// Requests a drain of an endpoint's lane.
    ///
    /// # Errors
    /// The call failed. Parked deliveries stay there; request again.
    async fn ask_to_drain(&self, endpoint: &EndpointId) -> Result<(), Self::Error>;

    /// Reads up to `limit` endpoints whose lanes must be drained.
    ///
    /// # Errors
    /// The call failed.
    async fn drains(&self, limit: usize) -> Result<Vec<Drain>, Self::Error>;

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
    ///
    /// # Errors
    /// The call failed.
    async fn waiting(&self, after: Option<&EndpointId>, limit: usize) -> Result<Vec<Waiting>, Self::Error>;

    /// Removes an endpoint from those for which deliveries wait, unless it was noted again since.
    ///
    /// # Errors
    /// The call failed. A sweep looks at the endpoint again.
    async fn end_waiting(&self, waiting: &Waiting) -> Result<(), Self::Error>;

    /// Takes the lease of the sweep until `until` and returns the last minute that was swept completely. Returns `None`
    /// if another sweep holds the lease. All times are seconds or minutes since the Unix epoch.
    ///
    /// # Errors
    /// The call failed, or the state of the sweep cannot be read.
    async fn begin_sweep(&self, now: u64, until: u64, first_minute: u64) -> Result<Option<u64>, Self::Error>;

    /// Stores the last minute that was swept completely, and releases the lease.
    ///
    /// # Errors
    /// The call failed. The next sweep waits until the lease expires, and starts where this one started.
    async fn end_sweep(&self, swept_minute: u64) -> Result<(), Self::Error>;
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
    /// The key of its lane ([`Lane::key`]).
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
        Some(DeliveryKey { event, endpoint, arrived_unix_ms: self.arrived_unix_ms? })
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
    /// When the drain was requested, in seconds since the Unix epoch.
    pub asked_at: u64,
}

/// An endpoint for which deliveries wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// When this was last noted, in seconds since the Unix epoch.
    pub noted_at: u64,
}
