//! Events, each stored once, and the states of their subjects.

use signpost_core::delivery::DeliveryKey;
use signpost_core::endpoint::EndpointId;
use signpost_core::event::sequence::SequenceNumber;
use signpost_core::event::{Event, EventKey};
use signpost_core::status::state::Moment;

/// How many bytes of events [`Events::get_some`] returns at most, unless the first event alone has more.
pub const MOST_READ_BYTES: usize = 6 * 1024 * 1024;

/// The events.
pub trait Events {
    /// The reason why a call failed.
    type Error;

    /// Writes an event that is not there yet. If there is one with the same key, returns its first
    /// fan-out, or that it was erased.
    ///
    /// With a `counter` ([`signpost_core::event::sequence::counter`]), the event gets the next number of it, in the same
    /// transaction: the counter goes on exactly if the event is written. `first.number` is not read.
    ///
    /// # Errors
    /// The call failed, or the existing item cannot be read, or too many others count with the same counter. The event may
    /// be written.
    async fn insert(&self, event: &Event, first: &FirstFanOut, counter: Option<&str>)
    -> Result<Insertion, Self::Error>;

    /// Notes that the deliveries to the first `sent` of the event's endpoints are in the queue, so that the next fan-out
    /// begins after them. A lower number than the noted one changes nothing.
    ///
    /// # Errors
    /// The call failed. The next fan-out begins where this one began.
    async fn note_sent(&self, key: &EventKey, sent: usize) -> Result<(), Self::Error>;

    /// Reads an event. Returns `None` if its retention has ended, if it was erased, or if it cannot be read.
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

    /// Reads what is known of an event, also if it was erased. Returns `None` if nothing is.
    ///
    /// # Errors
    /// The call failed, or the item cannot be read.
    async fn traces(&self, key: &EventKey) -> Result<Option<EventTraces>, Self::Error>;

    /// Replaces an event by a tombstone, which has its endpoints and no payload. It also writes a tombstone for an event
    /// that is not there, so that a message that still brings it is dropped. Returns what was known of the event before.
    /// From then on, no endpoint is added to it. Repeating the call changes nothing.
    ///
    /// # Errors
    /// The call failed, or the item cannot be read. The tombstone may be written.
    async fn erase(&self, key: &EventKey) -> Result<Option<EventTraces>, Self::Error>;
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

    /// Replaces the states that an event reports by tombstones, also those that `fanout` has not written yet: it does not
    /// overwrite a tombstone. Returns how many there are. Repeating the call changes nothing.
    ///
    /// # Errors
    /// A call failed. It may be repeated.
    async fn erase(&self, event: &Event, moment: Moment) -> Result<usize, Self::Error>;
}

/// Facts about the first arrival of an event. They are stored, so that every repetition has the same effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When the state that the event reports began.
    pub moment: Moment,
    /// When its retention ends, in seconds since the Unix epoch.
    pub expires_at: u64,
}

/// The result of writing an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Insertion {
    /// An operator has erased the event.
    Erased,
    /// There was none with this key. It is written, with this number if it was counted.
    New(Option<SequenceNumber>),
    /// There is one with this key, and this is its first fan-out.
    Stored(FirstFanOut),
}

/// The facts that are known of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventTraces {
    /// The event; `None` after it was erased, or if it cannot be read.
    pub event: Option<Event>,
    /// When it arrived; `None` if it was erased before it arrived.
    pub moment: Option<Moment>,
    /// The endpoints that it goes to, those of replays included.
    pub endpoints: Vec<EndpointId>,
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
    /// Its number, if it was counted.
    pub number: Option<SequenceNumber>,
    /// For how many days the event is kept, if its type says so.
    pub retention_days: Option<u16>,
}

/// A stored event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// The event.
    pub event: Event,
    /// When it first arrived, in milliseconds since the Unix epoch.
    pub arrived_unix_ms: u64,
}
