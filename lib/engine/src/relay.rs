//! The work of `relay`: turns one bank callback into an event.

use signpost_core::event::{Event, TenantId};
use signpost_core::input::fault::Fault;
use signpost_core::token_request::{
    BankResponse, Callback, CallbackError, CallbackToken, RequestId, StateError, TokenRequest,
};
use uuid::Builder;

use crate::ports::Ports;
use crate::ports::clock::{Clock as _, Random as _};
use crate::ports::queue::{Message, Queue as _};
use crate::ports::token_requests::{Changed, TokenRequests as _};

/// One environment of `relay`.
pub struct Relay<P: Ports> {
    /// Time.
    pub clock: P::Clock,
    /// The queue of Signpost's own events.
    pub own_events_queue: P::Queue,
    /// Chance.
    pub random: P::Random,
    /// The token requests.
    pub token_requests: P::TokenRequests,
}

/// The reason why a bank callback was refused.
#[derive(Debug, thiserror::Error)]
pub enum Refusal<E: std::error::Error + 'static> {
    /// Its content.
    #[error(transparent)]
    Callback(#[from] CallbackError),
    /// Its state.
    #[error(transparent)]
    State(#[from] StateError),
    /// An internal error. The same callback can be sent again.
    #[error("token request could not be read or changed, or its event could not be queued")]
    Call(#[source] E),
    /// The stored bank callback is not a valid event, because it was written by another version, or by hand.
    #[error("stored bank callback cannot be turned into an event; repair or remove the item")]
    Unfit(Vec<Fault>),
}

impl<P: Ports> Relay<P> {
    /// Stores and queues a bank callback and uses its state up. Returns the token request and the bank's response.
    ///
    /// The callback is stored before its event is queued, so that two callbacks at the same time cannot become two
    /// events that contradict each other. The state is used up afterwards, so that a caller without an answer can
    /// repeat the callback. For ten minutes after that, a repetition gets the same answer, and no second event.
    ///
    /// # Errors
    /// The state is unknown, used up, or does not fit the callback; or an internal error.
    pub async fn relay(
        &self,
        token: &CallbackToken,
        callback: Callback,
    ) -> Result<(TokenRequest, BankResponse), Refusal<P::Error>> {
        let state = token.hash();
        let of_state = self.token_requests.of_state(&state).await.map_err(Refusal::Call)?;
        let (tenant, id): (TenantId, RequestId) = of_state.ok_or(StateError::Unknown)?;
        let payload = callback.payload(&id)?;
        let now = self.clock.unix_seconds();
        let recorded = self.token_requests.record_callback(&tenant, &id, &state, &payload, now).await;
        let heard = match recorded.map_err(Refusal::Call)? {
            Changed::Yes(request) => request,
            Changed::No(Some(request)) => {
                let again = request.repeated(&state, &payload, now).cloned();
                let refusal = request.refusal(&state, now);
                return again.map(|called| (request, called)).ok_or(refusal.into());
            }
            Changed::No(None) => return Err(StateError::Unknown.into()),
        };
        let called = heard.called.clone().ok_or(StateError::Unknown)?;
        let event: Event = heard.event(&called).map_err(Refusal::Unfit)?;
        self.own_events_queue.send_all([Message::of_event(&event)]).await.map_err(Refusal::Call)?;
        // If this changes nothing, the same callback was answered meanwhile, or the request was registered again for
        // the next step. The event is queued in both cases.
        let by = Builder::from_random_bytes(self.random.bytes()).into_uuid().to_string();
        self.token_requests.acknowledge(&heard, &by).await.map_err(Refusal::Call)?;
        Ok((heard, called))
    }
}
