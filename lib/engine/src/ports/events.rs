//! Events, each stored once, and the states of their subjects.

use signpost_core::delivery::DeliveryKey;
use signpost_core::endpoint::EndpointId;
use signpost_core::event::{Event, EventKey};
use signpost_core::status::state::Moment;

/// How many bytes of events [`Events::get_some`] returns at most, unless the first event alone has more.
pub const MOST_READ_BYTES: usize = 6 * 1024 * 1024;

/// The events.
pub trait Events {
    /// The reason why a call failed.
    type Error;

    /// Writes an event that is not there yet. If there is one with the same key, returns its first
    /// fan-out.
    ///
    /// # Errors
    /// The call failed, or the existing item cannot be read. The event may be written.
    async fn insert(&self, event: &Event, first: &FirstFanOut) -> Result<Option<FirstFanOut>, Self::Error>;

    /// Notes that the deliveries to the first `sent` of the event's endpoints are in the queue, so that the next fan-out
    /// begins after them. A lower number than the noted one changes nothing.
    ///
    /// # Errors
    /// The call failed. The next fan-out begins where this one began.
    async fn note_sent(&self, key: &EventKey, sent: usize) -> Result<(), Self::Error>;

    /// Reads an event. Returns `None` if its retention has ended, or if it cannot be read.
    ///
    /// # Errors
    /// The call failed.
    async fn get(&self, key: &EventKey) -> Result<Option<StoredEvent>, Self::Error>;

    /// Reads events, many in one call. Returns each in the order of `keys`, as [`Self::get`] does, and at least the first.
    /// Leaves out events that would not fit into [`MOST_READ_BYTES`] with the ones before them: ask for them again.
    ///
    /// # Errors
    /// A call failed.
    async fn get_some(&self, keys: &[&EventKey]) -> Result<Vec<Option<StoredEvent>>, Self::Error>;

    /// Extends the retention of the event of a delivery that is parked until `unix_ms`, in milliseconds since the Unix
    /// epoch, so that the event is there until then.
    ///
    /// # Errors
    /// The call failed. Do not park the delivery, because its event could be gone when the delivery is due.
    async fn keep_until(&self, delivery: DeliveryKey<'_>, unix_ms: u64) -> Result<(), Self::Error>;

    /// Extends it for a delivery that waits for its endpoint, to at least half of the retention from now on.
    ///
    /// # Errors
    /// As [`Self::keep_until`].
    async fn keep_for_endpoint(&self, delivery: DeliveryKey<'_>) -> Result<(), Self::Error>;
}

/// The states of subjects.
pub trait States {
    /// The reason why a call failed.
    type Error;

    /// Writes the state that an event reports of its subject; does nothing if the event has no subject. The same event
    /// always writes the same item, so a repetition changes nothing.
    ///
    /// # Errors
    /// A call failed. It may be repeated.
    async fn put(
        &self,
        event: &Event,
        arrival: Arrival,
        status: Option<&str>,
        stage: Option<&str>,
    ) -> Result<(), Self::Error>;
}

/// Facts about the first arrival of an event. They are stored, so that every repetition has the same effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When the state that the event reports began.
    pub moment: Moment,
    /// When its retention ends, in seconds since the Unix epoch.
    pub expires_at: u64,
}

/// The first fan-out of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstFanOut {
    /// The message that brought the event.
    pub message_id: String,
    /// The endpoints that get it.
    pub endpoints: Vec<EndpointId>,
    /// How many of them it was sent to when a fan-out stopped early ([`Events::note_sent`]).
    pub sent: usize,
    /// When it is fanned out, in seconds since the Unix epoch.
    pub at_unix_seconds: u64,
    /// When it arrived.
    pub arrival: Arrival,
    /// SHA-256 of its payload ([`Event::payload_hash`]).
    pub payload_hash: [u8; 32],
}

/// A stored event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// The event.
    pub event: Event,
    /// When it first arrived, in milliseconds since the Unix epoch.
    pub arrived_unix_ms: u64,
}
