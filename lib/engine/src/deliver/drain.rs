//! Draining of a lane: an invocation of the slow track sends the parked deliveries of an endpoint, one after the other.

use std::time::Duration;

use signpost_core::delivery::parking::Lane;
use signpost_core::delivery::{DeadLetterReason, Delivery, Receipt, Track};

use crate::deliver::prepare::{Prepared, Turn};
use crate::deliver::{Deferred, Deliver, Outcome};
use crate::logs::Chain;
use crate::metrics::Metric;
use crate::ports::Ports;
use crate::ports::clock::{Clock as _, Random as _};
use crate::ports::deliveries::Deliveries as _;
use crate::ports::events::{Events as _, StoredEvent};
use crate::ports::limits::{ConcurrencySlot, SlotPool};
use crate::ports::parking::{Parked, Parking as _};
use crate::ports::queue::{Message, Queue as _};

/// How many parked deliveries are read together. Deliveries that other functions are sending are skipped.
const PAGE: usize = 25;
/// Over how many milliseconds functions that wait for the next second spread, so that they do not all ask at its start.
const SPREAD_MS: u64 = 100;

/// The result of sending a parked delivery.
enum Unparked {
    /// It is no longer parked.
    Yes,
    /// Another function is sending it.
    Elsewhere,
    /// The endpoint accepts no further request for now.
    NotNow,
}

impl<P: Ports> Deliver<P> {
    /// Takes a slot if one is free now, and drains the parked deliveries with it, or hands them over. Call it after parking
    /// for lack of a slot, because the last holder may have looked just before.
    pub(super) async fn use_free_slot(&self, delivery: &Delivery, track: Track, deadline: Duration) {
        let taken =
            async { if self.is_slot_of_use(delivery).await? { self.take_slot(delivery).await } else { Ok(None) } };
        match (taken.await, track) {
            (Ok(Some(slot)), Track::Fast) => self.hand_over(slot, delivery).await,
            (Ok(Some(slot)), Track::Slow) => Box::pin(self.drain(slot, delivery, deadline)).await,
            (Ok(None), _) => {}
            (Err(error), _) => {
                tracing::warn!(endpoint.id = %delivery.endpoint, error = %Chain(&error), "slot.not_taken");
            }
        }
    }

    /// Releases a slot on the fast track. If deliveries are parked for the endpoint, it puts the oldest on the slow track,
    /// where an invocation may drain them: one after the other, they would hold up this one.
    pub(super) async fn hand_over(&self, slot: ConcurrencySlot, delivery: &Delivery) {
        self.release(slot).await;
        let handed_over = async {
            if self.is_slot_of_use(delivery).await? && self.parking.is_drain_requested(&delivery.endpoint).await? {
                self.requeue_one(&Lane::Endpoint(delivery.endpoint.clone())).await?;
            }
            Ok::<_, Deferred<P>>(())
        };
        if let Err(error) = handed_over.await {
            log_stopped::<P>(delivery, &error);
        }
    }

    async fn is_slot_of_use(&self, delivery: &Delivery) -> Result<bool, Deferred<P>> {
        let recipient = self.endpoints.get(&delivery.event.key.tenant, &delivery.endpoint).await?;
        let per_second = recipient.and_then(|one| one.endpoint().max_per_second);
        Ok(self.limiter.is_slot_of_use(&delivery.endpoint, per_second).await)
    }

    /// Sends the parked deliveries of the endpoint of `delivery` with a slot, oldest first, until none is left or
    /// `deadline` has passed. Then it puts one back into the queue, whose receiver goes on.
    pub(super) async fn drain(&self, mut slot: ConcurrencySlot, delivery: &Delivery, deadline: Duration) {
        let lane = Lane::Endpoint(delivery.endpoint.clone());
        loop {
            let drained = self.drain_lane(Some(&slot), &lane, delivery, deadline).await;
            self.release(slot).await;
            let outcome = match drained {
                // A delivery that was parked since then found no free slot.
                Ok(true) => match self.has_parked(&lane, delivery).await {
                    Ok(false) => return,
                    Ok(true) => self.take_slot(delivery).await,
                    Err(error) => Err(error),
                },
                Ok(false) => self.go_on(&lane, deadline).await.map(|()| None),
                Err(error) => Err(error),
            };
            match outcome {
                Ok(Some(another)) => slot = another,
                Ok(None) => return,
                Err(error) => {
                    log_stopped::<P>(delivery, &error);
                    return;
                }
            }
        }
    }

    /// Sends the parked deliveries of the endpoint of `delivery`, which has no `maxConcurrency`, with the seat that this invocation
    /// has. Another invocation goes on as after [`Self::drain`].
    ///
    /// Sends none if the endpoint has just recovered, because then a sweep sets the pace.
    pub(super) async fn drain_with_seat(&self, delivery: &Delivery, deadline: Duration) {
        let breaker = self.breakers.get(&delivery.endpoint).await;
        if !breaker.is_at_full_pace(self.clock.unix_ms()) {
            return;
        }
        let lane = Lane::Endpoint(delivery.endpoint.clone());
        let drained = match self.drain_lane(None, &lane, delivery, deadline).await {
            Ok(true) => Ok(()),
            Ok(false) => self.go_on(&lane, deadline).await,
            Err(error) => Err(error),
        };
        if let Err(error) = drained {
            log_stopped::<P>(delivery, &error);
        }
    }

    /// Returns whether deliveries are parked in a lane that must be drained. One call if no drain is requested.
    async fn has_parked(&self, lane: &Lane, delivery: &Delivery) -> Result<bool, Deferred<P>> {
        Ok(self.parking.is_drain_requested(&delivery.endpoint).await?
            && !self.parking.first_of(lane, 1).await?.is_empty())
    }

    /// Sends the deliveries in a lane. Returns true if the lane is empty, or if no drain of it is requested.
    async fn drain_lane(
        &self,
        slot: Option<&ConcurrencySlot>,
        lane: &Lane,
        delivery: &Delivery,
        deadline: Duration,
    ) -> Result<bool, Deferred<P>> {
        if !self.parking.is_drain_requested(&delivery.endpoint).await? {
            return Ok(true); // A look at the lane takes several calls.
        }
        while self.clock.elapsed() < deadline {
            let mut page = self.parking.first_of(lane, PAGE).await?;
            if page.is_empty() {
                return Ok(true);
            }
            self.random.shuffle(&mut page); // Other functions may be draining it too.
            let mut is_idle = true;
            for parked in page {
                if self.clock.elapsed() >= deadline {
                    return Ok(false);
                }
                match self.unpark(slot, &parked, delivery, deadline).await? {
                    Unparked::Yes => is_idle = false,
                    Unparked::Elsewhere => {}
                    Unparked::NotNow => return Ok(false),
                }
            }
            if is_idle {
                return Ok(false); // The other functions continue.
            }
        }
        Ok(false)
    }

    /// Sends one parked delivery to the endpoint of `like`, if the endpoint accepts it.
    async fn unpark(
        &self,
        slot: Option<&ConcurrencySlot>,
        parked: &Parked,
        like: &Delivery,
        deadline: Duration,
    ) -> Result<Unparked, Deferred<P>> {
        let Some(StoredEvent { event, arrived_unix_ms }) = self.events.get(&parked.event).await? else {
            self.end_without_event(parked).await?;
            return Ok(Unparked::Yes);
        };
        let delivery = Delivery { endpoint: like.endpoint.clone(), event, arrived_unix_ms };
        let receipt = Receipt {
            receives: 1,
            earlier_receives: 0,
            first_received_unix_ms: 0,
            since_unix_ms: parked.at_unix_ms,
            is_again: true,
            track: Track::Slow,
        };
        if !self.wait_for_turn(like, deadline).await? {
            return Ok(Unparked::NotNow);
        }
        let outcome = match self.prepare(&delivery, &receipt, Turn::Drained(slot)).await? {
            Prepared::Ready(ready) => self.attempt(&delivery, &receipt, &ready).await?,
            Prepared::Over(outcome) => outcome,
            Prepared::Elsewhere { .. } => return Ok(Unparked::Elsewhere),
            Prepared::Refused(_) => return Ok(Unparked::NotNow),
        };
        if let Outcome::Again(wait) = outcome {
            self.requeue(&delivery, &receipt, receipt.track, wait).await?;
        }
        self.take_out(parked).await?;
        Ok(Unparked::Yes)
    }

    /// Waits for a second in which the endpoint of `delivery` accepts another request, and counts it. Returns false if
    /// `deadline` comes first.
    async fn wait_for_turn(&self, delivery: &Delivery, deadline: Duration) -> Result<bool, Deferred<P>> {
        let recipient = self.endpoints.get(&delivery.event.key.tenant, &delivery.endpoint).await?;
        let Some(limit) = recipient.and_then(|one| one.endpoint().max_per_second) else { return Ok(true) };
        while !self.limiter.begin(&delivery.endpoint, limit).await? {
            if self.clock.elapsed() >= deadline {
                return Ok(false);
            }
            let to_the_next = 1_000 - self.clock.unix_ms() % 1_000;
            self.clock.sleep(Duration::from_millis(to_the_next + self.random.u64() % SPREAD_MS)).await;
        }
        Ok(true)
    }

    /// Has another invocation continue a drain, if time ended it.
    async fn go_on(&self, lane: &Lane, deadline: Duration) -> Result<(), Deferred<P>> {
        if self.clock.elapsed() < deadline {
            return Ok(());
        }
        self.requeue_one(lane).await
    }

    /// Puts the oldest parked delivery back into the queue of the slow track, whose receiver drains the others.
    async fn requeue_one(&self, lane: &Lane) -> Result<(), Deferred<P>> {
        while let Some(parked) = self.parking.first_of(lane, 1).await?.first() {
            let Some(kept) = self.events.get(&parked.event).await? else {
                self.end_without_event(parked).await?;
                continue;
            };
            self.queue(Track::Slow).send_all([Message::of_parked(parked, &kept)]).await?;
            self.take_out(parked).await?;
            break;
        }
        Ok(())
    }

    /// Dead-letters a parked delivery whose event has expired. Nothing remains of one whose event was erased.
    async fn end_without_event(&self, parked: &Parked) -> Result<(), Deferred<P>> {
        if let Some(delivery) = parked.key()
            && self.is_erased(delivery).await?
        {
            return self.take_out(parked).await;
        }
        let Message { body, .. } = parked.without_event();
        self.dead_letter(body, DeadLetterReason::EventGone).await?;
        if let Some(delivery) = parked.key() {
            self.deliveries.end(delivery, DeadLetterReason::EventGone).await?;
        }
        self.take_out(parked).await
    }

    /// Removes a delivery from its lane, after it was sent or queued.
    async fn take_out(&self, parked: &Parked) -> Result<(), Deferred<P>> {
        self.parking.remove(parked).await?;
        self.meter.add(Metric::DeliveriesDrained, 1);
        Ok(())
    }

    async fn take_slot(&self, delivery: &Delivery) -> Result<Option<ConcurrencySlot>, Deferred<P>> {
        let recipient = self.endpoints.get(&delivery.event.key.tenant, &delivery.endpoint).await?;
        let limit = recipient.filter(|one| one.is_enabled()).and_then(|one| one.endpoint().max_concurrency);
        let Some(limit) = limit else { return Ok(None) };
        Ok(self.limiter.take_free(&SlotPool::Endpoint(delivery.endpoint.clone()), limit).await?)
    }
}

/// Logs that a drain ended early. A sweep continues it.
fn log_stopped<P: Ports>(delivery: &Delivery, error: &Deferred<P>) {
    tracing::warn!(endpoint.id = %delivery.endpoint, error = %Chain(error), "endpoint.drain_stopped");
}
