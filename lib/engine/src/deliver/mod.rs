//! The work of `deliver`: signs and sends each delivery of a batch, records the attempt, and drains the lanes of
//! endpoints.
//!
//! One delivery goes through `prepare` (is an attempt due, and does the endpoint accept it?), `attempt` (send and
//! record) and `endings` (wait, park, give up). A delivery from the queue and one from a lane take the same way;
//! `drain` takes the second one again and again.
//!
//! There are two queues ([`Track`]). A delivery on the fast track whose endpoint is not quick is moved to the slow one,
//! unsent. On the slow track, `seats` bounds the invocations of each tenant.

mod attempt;
mod drain;
mod endings;
mod notes;
mod notices;
mod prepare;
mod seats;

use std::time::Duration;

use futures_util::future::join_all;
use signpost_core::delivery::drain::ASKED_FOR_SECONDS;
use signpost_core::delivery::parking::LONGEST_IN_FLIGHT;
use signpost_core::delivery::parking::NOTED_FOR_SECONDS;
use signpost_core::delivery::request::RequestError;
use signpost_core::delivery::{DeadLetterReason, Delivery, MOST_RECEIVES, Receipt, Track};
use signpost_core::endpoint::Limit;
use signpost_core::form::NewerForm;

use crate::breaker_cache::BreakerCache;
use crate::endpoint_cache::{EndpointCache, EndpointCacheError};
use crate::limiter::Limiter;
use crate::logs::Chain;
use crate::metrics::{Meter, Metric};
use crate::ports::Ports;
use crate::ports::clock::Clock as _;
use crate::ports::limits::ConcurrencySlot;
use crate::ports::queue::Queue as _;

use notes::Notes;
use prepare::{PREPARATION, Prepared, Refusal, Turn};
use seats::Seats;

/// The ports and settings of one environment of `deliver`.
pub struct DeliverPorts<P: Ports> {
    /// Time.
    pub clock: P::Clock,
    /// Chance.
    pub random: P::Random,
    /// The breakers of endpoints.
    pub breakers: P::Breakers,
    /// The queue for deliveries that are given up.
    pub dead_letter_queue: P::Queue,
    /// The records of deliveries.
    pub deliveries: P::Deliveries,
    /// The queue of the fast track.
    pub deliveries_queue: P::Queue,
    /// The endpoints.
    pub endpoints: P::Endpoints,
    /// The events.
    pub events: P::Events,
    /// The slots of endpoints and tenants, and the counts of endpoints.
    pub limits: P::Limits,
    /// The metrics.
    pub meter: Meter,
    /// The queue of Signpost's own events.
    pub own_events_queue: P::Queue,
    /// The parked deliveries.
    pub parking: P::Parking,
    /// The secrets of endpoints.
    pub secrets: P::Secrets,
    /// The name by which receivers know the sender.
    pub sender: String,
    /// The signing keys.
    pub signers: P::Signers,
    /// The queue of the slow track.
    pub slow_deliveries_queue: P::Queue,
    /// How many invocations of the slow track may send for one tenant at the same time.
    pub slow_invocations_per_tenant: Limit,
    /// The way to receivers.
    pub webhooks: P::Webhooks,
}

/// One environment of `deliver`, with what it remembers.
pub struct Deliver<P: Ports> {
    clock: P::Clock,
    random: P::Random,
    /// The endpoints for which this environment requested a drain.
    asked_to_drain: Notes,
    breakers: BreakerCache<P>,
    dead_letter_queue: P::Queue,
    deliveries: P::Deliveries,
    deliveries_queue: P::Queue,
    endpoints: EndpointCache<P>,
    events: P::Events,
    limiter: Limiter<P>,
    meter: Meter,
    /// The endpoints that this environment noted as having waiting deliveries.
    noted_waiting: Notes,
    own_events_queue: P::Queue,
    parking: P::Parking,
    sender: String,
    signers: P::Signers,
    slow_deliveries_queue: P::Queue,
    slow_invocations_per_tenant: Limit,
    webhooks: P::Webhooks,
}

/// A message of `DeliveriesQueue` or `SlowDeliveriesQueue`.
#[derive(Clone, Copy, Debug)]
pub struct QueuedDelivery<'a> {
    /// `MessageId`.
    pub message_id: &'a str,
    /// The content ([`Delivery::message`]).
    pub body: &'a str,
    /// `ReceiptHandle`.
    pub receipt_handle: &'a str,
    /// The attributes that SQS gave the message, and the queue that it came from.
    pub receipt: Receipt,
}

/// How long after its start an invocation may start to send a parked delivery; within the function's 90 s.
const DRAIN_FOR: Duration = Duration::from_secs(15);

/// The work that remains with a delivery, after everything for now is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It is due again after this wait.
    Again(Duration),
    /// Nothing remains: the delivery is acknowledged, parked, or a dead letter.
    Done,
}

/// An internal error. The endpoint is not charged with an attempt, and the delivery comes back.
#[derive(Debug, thiserror::Error)]
enum DeferredError<E: std::error::Error + 'static> {
    #[error("delivery could not be looked up or recorded")]
    Call(#[from] E),
    #[error("endpoint of the delivery could not be prepared for a request")]
    Endpoint(#[from] EndpointCacheError<E>),
    #[error("message cannot be read by this release")]
    NewerForm(#[source] NewerForm),
    #[error("role of the destination could not be assumed")]
    NoRole(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("delivery could not be signed")]
    NoSigner(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("sending a notice took more than {} s", notices::PATIENCE.as_secs())]
    SlowNotice,
    #[error("preparing the delivery took more than {} s", PREPARATION.as_secs())]
    TooSlow,
    #[error("request could not be built")]
    Unbuilt(#[source] RequestError),
    #[error("notice `{id}` could not be built")]
    UnfitNotice { id: String },
}

type Deferred<P> = DeferredError<<P as Ports>::Error>;

impl<P: Ports> Deliver<P> {
    /// Creates an environment that remembers nothing yet.
    pub fn new(ports: DeliverPorts<P>) -> Self {
        let DeliverPorts { clock, random, breakers, dead_letter_queue, deliveries, deliveries_queue, .. } = ports;
        let DeliverPorts { endpoints, events, limits, own_events_queue, parking, secrets, sender, signers, .. } = ports;
        let DeliverPorts { meter, slow_deliveries_queue, slow_invocations_per_tenant, webhooks, .. } = ports;
        Self {
            asked_to_drain: Notes::new(ASKED_FOR_SECONDS),
            breakers: BreakerCache::new(clock.clone(), random.clone(), breakers, meter.clone()),
            dead_letter_queue,
            deliveries,
            deliveries_queue,
            endpoints: EndpointCache::new(clock.clone(), endpoints, secrets),
            events,
            limiter: Limiter::new(clock.clone(), random.clone(), limits),
            meter,
            noted_waiting: Notes::new(NOTED_FOR_SECONDS),
            own_events_queue,
            parking,
            sender,
            signers,
            slow_deliveries_queue,
            slow_invocations_per_tenant,
            webhooks,
            clock,
            random,
        }
    }

    /// Delivers all messages of a batch at the same time. Returns the ids of those that SQS must present again, when
    /// their visibility timeout ends: it is set to their wait. All others are done.
    pub async fn handle<'a>(&self, batch: &[QueuedDelivery<'a>]) -> Vec<&'a str> {
        let deadline = self.clock.elapsed() + DRAIN_FOR;
        let seats = Seats::default();
        let settled = join_all(batch.iter().map(|message| self.settle(message, &seats, deadline))).await;
        self.leave(seats).await;
        let again = batch.iter().zip(settled).filter(|(_, is_done)| !is_done);
        again.map(|(message, _)| message.message_id).collect()
    }

    /// Handles one message to its end, then drains its endpoint's lane if it can. Returns whether the message is done.
    async fn settle(&self, message: &QueuedDelivery<'_>, seats: &Seats, deadline: Duration) -> bool {
        let receipt = &message.receipt;
        let delivery = match Delivery::parse(message.body) {
            Ok(delivery) => delivery,
            Err(faults) => {
                if let Some(newer) = Delivery::newer_form(message.body) {
                    // It stays in the queue until the newer release is back.
                    return self.answer(message, Err(DeferredError::NewerForm(newer))).await;
                }
                tracing::error!(faults = faults.len(), "delivery.invalid_message");
                let buried = self.dead_letter(message.body.to_owned(), DeadLetterReason::BadMessage).await;
                return self.answer(message, buried.map(|()| Outcome::Done).map_err(DeferredError::from)).await;
            }
        };
        match self.prepare(&delivery, receipt, Turn::Queued(seats)).await {
            Ok(Prepared::Ready(ready)) => {
                let attempted = self.attempt(&delivery, receipt, &ready).await;
                let has_failed = attempted.is_err();
                let is_done = self.answer(message, attempted).await;
                match (ready.slot, receipt.track) {
                    (Some(slot), _) if has_failed => self.release(slot).await,
                    (Some(slot), Track::Fast) => self.hand_over(slot, &delivery).await,
                    // In boxes, because they contain another attempt and would make the future of every delivery larger.
                    (Some(slot), Track::Slow) => Box::pin(self.drain(slot, &delivery, deadline)).await,
                    (None, Track::Slow) if !has_failed => Box::pin(self.drain_with_seat(&delivery, deadline)).await,
                    (None, Track::Fast | Track::Slow) => {}
                }
                is_done
            }
            Ok(Prepared::Refused(refusal)) => {
                let set_aside = self.set_aside(&delivery, receipt, refusal).await;
                let may_drain = set_aside.is_ok() && refusal == Refusal::Full;
                let is_done = self.answer(message, set_aside.map(|()| Outcome::Done)).await;
                if may_drain {
                    self.use_free_slot(&delivery, receipt.track, deadline).await;
                }
                is_done
            }
            Ok(Prepared::Over(outcome)) => self.answer(message, Ok(outcome)).await,
            Ok(Prepared::Elsewhere { until_unix_ms }) => {
                self.answer(message, Ok(Outcome::Again(self.until(until_unix_ms)))).await
            }
            Err(error) => {
                self.note_nothing_sent(delivery.key(), receipt).await;
                self.answer(message, Err(error)).await
            }
        }
    }

    /// Sets the wait of a message that must come again. Returns whether the message is done.
    async fn answer(&self, message: &QueuedDelivery<'_>, outcome: Result<Outcome, Deferred<P>>) -> bool {
        let QueuedDelivery { message_id, body, receipt_handle, receipt } = message;
        let wait = match outcome {
            Ok(Outcome::Done) => return true,
            Ok(Outcome::Again(wait)) => wait,
            Err(error) => {
                tracing::error!(message.id = message_id, error = %Chain(&error), "delivery.deferred");
                self.meter.add(Metric::DeliveriesDeferred, 1);
                if receipt.all_receives() >= MOST_RECEIVES && self.give_up_deferred(body).await {
                    return true;
                }
                receipt.wait_after_our_fault()
            }
        };
        if wait > LONGEST_IN_FLIGHT && self.send_again(message, wait).await {
            return true;
        }
        if let Err(error) = self.queue(receipt.track).delay_retry(receipt_handle, wait).await {
            // SQS presents it after the queue's own visibility timeout, later than requested.
            tracing::warn!(message.id = message_id, error = %Chain(&error), "delivery.visibility_change_failed");
        }
        false
    }

    fn queue(&self, track: Track) -> &P::Queue {
        match track {
            Track::Fast => &self.deliveries_queue,
            Track::Slow => &self.slow_deliveries_queue,
        }
    }

    /// Releases a slot. If that fails, the slot is free when its lease expires.
    async fn release(&self, slot: ConcurrencySlot) {
        if let Err(error) = self.limiter.release(slot).await {
            tracing::warn!(error = %Chain(&error), "slot.not_released");
        }
    }

    /// Returns the time left until a moment, which is in milliseconds since the Unix epoch.
    fn until(&self, unix_ms: u64) -> Duration {
        Duration::from_millis(unix_ms.saturating_sub(self.clock.unix_ms()))
    }
}
