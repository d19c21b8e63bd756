//! Erasure: removes the payload of an event from all tables, and keeps what is left of it from being sent.
//!
//! A message in a queue cannot be removed. So each delivery gets a record that says that the event was erased, and
//! `deliver` skips it by the record that it reads anyway. The event's item becomes a tombstone, by which `fanout`
//! recognises a message that still brings the event.

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use signpost_core::delivery::DeliveryKey;
use signpost_core::endpoint::EndpointId;
use signpost_core::event::EventKey;

use crate::ports::Ports;
use crate::ports::deliveries::Deliveries as _;
use crate::ports::events::{EventTraces, Events as _, States as _};

/// How many deliveries are erased at the same time.
const AT_ONCE: usize = 16;

/// The tables of an erasure.
pub struct Erasure<'a, P: Ports> {
    /// The events.
    pub events: &'a P::Events,
    /// The records of deliveries.
    pub deliveries: &'a P::Deliveries,
    /// The states of subjects.
    pub states: &'a P::States,
}

/// The result of an erasure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// How many events had a payload.
    pub events: usize,
    /// How many deliveries they have.
    pub deliveries: usize,
    /// How many states of subjects they reported.
    pub states: usize,
}

impl Erased {
    /// Adds what another erasure found.
    pub fn add(&mut self, other: Self) {
        self.events += other.events;
        self.deliveries += other.deliveries;
        self.states += other.states;
    }
}

impl<P: Ports> Erasure<'_, P> {
    /// Erases an event. From the answer on, no attempt of it begins, except for those that had begun to prepare before. An
    /// attempt takes 95 s at most.
    ///
    /// The payload is removed last, because it names the states. So after a failure or a crash, a repetition finds
    /// everything again. It also removes what an attempt has left that ended since.
    ///
    /// # Errors
    /// A call failed. Erase the event again.
    pub async fn event(&self, key: &EventKey) -> Result<Erased, P::Error> {
        let before = self.events.traces(key).await?;
        let mut erased = Erased::default();
        let known = match &before {
            None => Vec::new(),
            Some(traces) => {
                erased.states = self.states_of(traces).await?;
                self.deliveries_of(key, traces, &[]).await?;
                traces.endpoints.clone()
            }
        };
        // Once the tombstone is there, the event gets no other endpoints.
        let Some(last) = self.events.erase(key).await? else { return Ok(erased) };
        if before.is_none_or(|before| before.event.is_none()) {
            erased.states += self.states_of(&last).await?;
        }
        self.deliveries_of(key, &last, &known).await?;
        erased.events = usize::from(last.event.is_some());
        erased.deliveries = last.endpoints.len();
        Ok(erased)
    }

    async fn states_of(&self, traces: &EventTraces) -> Result<usize, P::Error> {
        match (&traces.event, traces.moment) {
            (Some(event), Some(moment)) => self.states.erase(event, moment).await,
            _ => Ok(0),
        }
    }

    /// Erases the deliveries to all endpoints but those that are `done`.
    async fn deliveries_of(&self, key: &EventKey, traces: &EventTraces, done: &[EndpointId]) -> Result<(), P::Error> {
        let Some(moment) = traces.moment else { return Ok(()) };
        let arrived_unix_ms = moment.arrived_unix_ms();
        let rest = traces.endpoints.iter().filter(|endpoint| !done.contains(endpoint));
        let erased = rest.map(|endpoint| {
            self.deliveries.erase(DeliveryKey { event: key, endpoint, arrived_unix_ms, retention_days: None })
        });
        stream::iter(erased).buffer_unordered(AT_ONCE).try_collect().await
    }
}
