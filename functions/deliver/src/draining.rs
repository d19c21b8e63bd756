//! Parking of deliveries to an endpoint that accepts no further request at the moment, and draining of its lane.

use std::time::{Duration, Instant};

use signpost_core::delivery::breaker::Admission;
use signpost_core::delivery::parking::Lane;
use signpost_core::delivery::{DeadLetterReason, Delivery, Due, Receipt};
use signpost_io::queue::Message;
use signpost_io::runtime::clock::{unix_ms_now, unix_now};
use signpost_io::runtime::logs::Chain;
use signpost_io::tables::events::StoredEvent;
use signpost_io::tables::limits::ConcurrencySlot;
use signpost_io::tables::parking::{Parked, without_event};

use crate::App;
use crate::delivering::{DeferredError, Fate, Ready};

/// How many parked deliveries are read together. Deliveries that other functions are sending are skipped.
const PAGE: usize = 25;

/// The result of sending a parked delivery.
enum Unparked {
    /// It is no longer parked.
    Yes,
    /// Another function is sending it.
    Elsewhere,
    /// The endpoint accepts no further request for now.
    NotNow,
}

impl App {
    /// Parks a delivery until its endpoint is enabled.
    pub(crate) async fn park(&self, delivery: &Delivery, receipt: &Receipt) -> Result<(), DeferredError> {
        // Noted first, because `sweep` would not find a parked delivery without the note.
        if self.noted_waiting.add(&delivery.endpoint, unix_now().as_secs())
            && let Err(error) = self.parking.note_waiting(&delivery.endpoint).await
        {
            self.noted_waiting.remove(&delivery.endpoint);
            return Err(error.into());
        }
        self.events.keep_for_endpoint(delivery.key()).await?; // A parked delivery has only the event's key.
        self.parking.for_endpoint(delivery.key(), receipt.since_unix_ms).await?;
        tracing::info!(endpoint.id = %delivery.endpoint, event.id = %delivery.event.key.id, "delivery.parked");
        Ok(())
    }

    /// Parks a delivery and requests a drain. If no function drains the lane now, a sweep does.
    pub(crate) async fn park_with_drain(&self, delivery: &Delivery, receipt: &Receipt) -> Result<(), DeferredError> {
        // Requested first, because a parked delivery without a drain request would stay parked.
        if self.asked_to_drain.add(&delivery.endpoint, unix_now().as_secs())
            && let Err(error) = self.parking.ask_to_drain(&delivery.endpoint).await
        {
            self.asked_to_drain.remove(&delivery.endpoint);
            return Err(error.into());
        }
        self.park(delivery, receipt).await
    }

    /// Takes a slot if one is free now, and drains the parked deliveries with it. Call it after parking for lack of a
    /// slot, because the last holder may have looked just before.
    pub(crate) async fn drain_if_free(&self, delivery: &Delivery, deadline: Instant) {
        match self.take_slot(delivery).await {
            Ok(Some(slot)) => self.drain(slot, delivery, deadline).await,
            Ok(None) => {}
            Err(error) => tracing::warn!(endpoint.id = %delivery.endpoint, error = %Chain(&error), "slot.not_taken"),
        }
    }

    /// Sends the parked deliveries of the endpoint of `delivery` with a slot, oldest first, until none is left or
    /// `deadline` has passed. Then it puts one back into the queue, whose receiver goes on.
    pub(crate) async fn drain(&self, mut slot: ConcurrencySlot, delivery: &Delivery, deadline: Instant) {
        let lane = Lane::Endpoint(delivery.endpoint.clone());
        loop {
            let drained = self.drain_lane(&slot, &lane, delivery, deadline).await;
            self.release(Some(slot)).await;
            let outcome = match drained {
                // A delivery that was parked since then found no free slot.
                Ok(true) => match self.parking.first_of(&lane, 1).await {
                    Ok(left) if left.is_empty() => return,
                    Ok(_) => self.take_slot(delivery).await,
                    Err(error) => Err(error.into()),
                },
                Ok(false) => self.requeue_one(&lane, deadline).await.map(|()| None),
                Err(error) => Err(error),
            };
            match outcome {
                Ok(Some(another)) => slot = another,
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(endpoint.id = %delivery.endpoint, error = %Chain(&error), "endpoint.drain_stopped");
                    return; // A sweep continues.
                }
            }
        }
    }

    /// Sends the deliveries in a lane. Returns true if the lane is empty.
    async fn drain_lane(
        &self,
        slot: &ConcurrencySlot,
        lane: &Lane,
        delivery: &Delivery,
        deadline: Instant,
    ) -> Result<bool, DeferredError> {
        while Instant::now() < deadline {
            let mut page = self.parking.first_of(lane, PAGE).await?;
            if page.is_empty() {
                return Ok(true);
            }
            fastrand::shuffle(&mut page); // Other functions may be draining it too.
            let mut is_idle = true;
            for parked in page {
                if Instant::now() >= deadline {
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
        slot: &ConcurrencySlot,
        parked: &Parked,
        like: &Delivery,
        deadline: Instant,
    ) -> Result<Unparked, DeferredError> {
        let recipient = self.endpoint_cache.get(&like.event.key.tenant, &like.endpoint).await?;
        let Some(recipient) = recipient.filter(|one| one.is_enabled()) else { return Ok(Unparked::NotNow) };
        if self.breakers.get(&like.endpoint).await.admits(unix_ms_now()) != Admission::Send {
            return Ok(Unparked::NotNow);
        }
        let Some(StoredEvent { event, arrived_unix_ms }) = self.events.get(&parked.event).await? else {
            let Message { body, .. } = without_event(parked);
            self.dead_letter(body, DeadLetterReason::EventGone).await?;
            if let Some(delivery) = parked.key() {
                self.deliveries.end(delivery, DeadLetterReason::EventGone).await?;
            }
            self.parking.remove(parked).await?;
            return Ok(Unparked::Yes);
        };
        let delivery = Delivery { endpoint: like.endpoint.clone(), event, arrived_unix_ms };
        let receipt =
            Receipt { receives: 1, first_received_unix_ms: 0, since_unix_ms: parked.at_unix_ms, is_again: true };
        let keyring = self.keyring(&like.event.key.tenant, &recipient).await?;
        if let Some(limit) = recipient.endpoint().max_per_second {
            while !self.limits.begin(&like.endpoint, limit).await? {
                if Instant::now() >= deadline {
                    return Ok(Unparked::NotNow);
                }
                tokio::time::sleep(Duration::from_millis(1_000 - unix_ms_now() % 1_000)).await;
            }
        }
        let (due, lease) = self.due(delivery.key(), &receipt).await?;
        let fate = match due {
            Due::Attempt(due) => match self.limits.renew(slot).await {
                Ok(true) => {
                    let ready = Ready { recipient, keyring, due, is_probe: false, question: None };
                    self.attempt(&delivery, &receipt, ready).await?
                }
                renewed => {
                    self.release_lease(delivery.key(), &receipt, lease).await;
                    renewed?;
                    return Ok(Unparked::NotNow); // The slot's lease has expired, so another function may have it.
                }
            },
            Due::Delivered => Fate::Done,
            Due::Elsewhere { .. } => return Ok(Unparked::Elsewhere),
            Due::Exhausted { since_unix_ms } => self.give_up(&delivery, since_unix_ms).await.map(|()| Fate::Done)?,
            Due::Wait { until_unix_ms } => self.wait(&delivery, until_unix_ms).await?,
        };
        if let Fate::Again(wait) = fate {
            self.requeue(&delivery, &receipt, wait).await?;
        }
        self.parking.remove(parked).await?;
        Ok(Unparked::Yes)
    }

    /// Puts the oldest parked delivery back into the queue, so that its receiver continues the drain.
    async fn requeue_one(&self, lane: &Lane, deadline: Instant) -> Result<(), DeferredError> {
        if Instant::now() < deadline {
            return Ok(()); // The drain ended for another reason than time.
        }
        for parked in self.parking.first_of(lane, 1).await? {
            let Some(kept) = self.events.get(&parked.event).await? else { continue };
            let message = Message::of_parked(&parked, &kept);
            self.deliveries_queue.send_all([message]).await?;
            self.parking.remove(&parked).await?;
        }
        Ok(())
    }

    /// Puts a delivery from a lane back into the queue, to be presented after `wait`.
    async fn requeue(&self, delivery: &Delivery, receipt: &Receipt, wait: Duration) -> Result<(), DeferredError> {
        let Delivery { endpoint, event, arrived_unix_ms } = delivery;
        let message = Message::of_delivery(endpoint, event, *arrived_unix_ms, Some(receipt.since_unix_ms));
        // Rounded up, so that it does not come before its time.
        let delay = Duration::from_secs(wait.as_millis().div_ceil(1_000).try_into().unwrap_or(u64::MAX));
        Ok(self.deliveries_queue.send_all([Message { delay, ..message }]).await?)
    }

    async fn take_slot(&self, delivery: &Delivery) -> Result<Option<ConcurrencySlot>, DeferredError> {
        let recipient = self.endpoint_cache.get(&delivery.event.key.tenant, &delivery.endpoint).await?;
        let limit = recipient.filter(|one| one.is_enabled()).and_then(|one| one.endpoint().max_concurrency);
        let Some(limit) = limit else { return Ok(None) };
        Ok(self.limits.take(&delivery.endpoint, limit).await?)
    }
}
