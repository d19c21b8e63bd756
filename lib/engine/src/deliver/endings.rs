//! The ways in which the work with a delivery ends for now: it waits, is parked, or is given up.

use std::time::Duration;

use signpost_core::delivery::parking::{LONGEST_IN_FLIGHT, LONGEST_IN_QUEUE, Lane};
use signpost_core::delivery::{DeadLetterReason, Delivery, DeliveryKey, DeliveryStatus, Progress, Receipt, Track};
use signpost_core::endpoint::NOTICE_TYPES;

use crate::deliver::prepare::Refusal;
use crate::deliver::{Deferred, Deliver, Outcome, QueuedDelivery};
use crate::logs::Chain;
use crate::metrics::Metric;
use crate::ports::Ports;
use crate::ports::clock::Clock as _;
use crate::ports::deliveries::Deliveries as _;
use crate::ports::events::Events as _;
use crate::ports::parking::Parking as _;
use crate::ports::queue::{Message, Queue as _, RECEIVES, SINCE};

impl<P: Ports> Deliver<P> {
    /// Makes a delivery wait until the recorded time: as a message in flight if that is soon, as a delayed message if SQS
    /// can delay it for so long, otherwise parked. If copies of a message park the same delivery until the same time,
    /// there is only one item.
    pub(super) async fn wait(
        &self,
        delivery: &Delivery,
        receipt: &Receipt,
        until_unix_ms: u64,
    ) -> Result<Outcome, Deferred<P>> {
        let wait = self.until(until_unix_ms);
        if wait <= LONGEST_IN_FLIGHT {
            return Ok(Outcome::Again(wait));
        }
        if wait <= LONGEST_IN_QUEUE {
            self.requeue(delivery, receipt, receipt.track, wait).await?;
            return Ok(Outcome::Done);
        }
        let key = delivery.key();
        self.events.keep_until(key, until_unix_ms).await?; // A parked delivery has only the event's key.
        self.parking.park(Lane::due_at(until_unix_ms, key), until_unix_ms, key).await?;
        self.meter.add_of(&key.event.tenant, Metric::DeliveriesParkedUntilDue, 1);
        Ok(Outcome::Done)
    }

    /// Moves a delivery to the slow track, or parks it, because its endpoint does not accept it here and now. If the
    /// endpoint may accept it soon, also requests a drain.
    pub(super) async fn set_aside(
        &self,
        delivery: &Delivery,
        receipt: &Receipt,
        refusal: Refusal,
    ) -> Result<(), Deferred<P>> {
        let set_aside = match refusal {
            Refusal::Disabled => self.park(delivery, receipt).await,
            Refusal::BreakerOpen | Refusal::Full | Refusal::NoSeat => self.park_with_drain(delivery, receipt).await,
            Refusal::NotQuick => self.requeue(delivery, receipt, Track::Slow, Duration::ZERO).await,
        };
        if set_aside.is_ok() {
            self.meter.add_of(&delivery.event.key.tenant, set_aside_metric(refusal), 1);
        } else {
            self.note_nothing_sent(delivery.key(), receipt).await;
        }
        set_aside
    }

    /// Parks a delivery until its endpoint is enabled.
    pub(super) async fn park(&self, delivery: &Delivery, receipt: &Receipt) -> Result<(), Deferred<P>> {
        let (key, endpoint) = (delivery.key(), &delivery.endpoint);
        // Noted first, because `sweep` would not find a parked delivery without the note.
        let note = self.parking.note_waiting(endpoint);
        self.noted_waiting.write(endpoint, self.clock.unix_seconds(), note).await?;
        self.events.keep_for_endpoint(key).await?; // A parked delivery has only the event's key.
        self.parking.park(Lane::Endpoint(endpoint.clone()), receipt.since_unix_ms, key).await?;
        tracing::info!(endpoint.id = %endpoint, event.id = %key.event.id, "delivery.parked");
        Ok(())
    }

    /// Parks a delivery and requests a drain. If no function drains the lane now, a sweep does.
    async fn park_with_drain(&self, delivery: &Delivery, receipt: &Receipt) -> Result<(), Deferred<P>> {
        // Requested first, because a parked delivery without a drain request would stay parked.
        let request = self.parking.ask_to_drain(&delivery.event.key.tenant, &delivery.endpoint);
        self.asked_to_drain.write(&delivery.endpoint, self.clock.unix_seconds(), request).await?;
        self.park(delivery, receipt).await
    }

    /// Completes a delivery that is recorded as exhausted since `since_unix_ms`: notes it, and dead-letters it.
    pub(super) async fn give_up(&self, delivery: &Delivery, since_unix_ms: u64) -> Result<(), Deferred<P>> {
        self.note_given_up(delivery, since_unix_ms).await?;
        self.dead_letter(delivery.written(), DeadLetterReason::Exhausted).await?;
        self.meter.add_of(&delivery.event.key.tenant, Metric::DeliveriesExhausted, 1);
        Ok(())
    }

    /// Completes a delivery whose endpoint was removed. If its whole tenant was erased, nothing of it is kept. If it was given up before, it may not be a dead letter yet.
    pub(super) async fn end_without_endpoint(&self, delivery: &Delivery) -> Result<(), Deferred<P>> {
        let record = self.deliveries.standing(delivery.key()).await?;
        match record.and_then(|one| one.progress) {
            Some(Progress { status: DeliveryStatus::Delivered | DeliveryStatus::Erased, .. }) => Ok(()),
            _ if self.is_tenant_erased(delivery.key()).await? => {
                tracing::info!(event.id = %delivery.event.key.id, endpoint.id = %delivery.endpoint, "delivery.skipped");
                Ok(())
            }
            Some(Progress { status: DeliveryStatus::Exhausted, next_attempt_unix_ms, .. }) => {
                self.give_up(delivery, next_attempt_unix_ms).await
            }
            None | Some(Progress { status: DeliveryStatus::Pending, .. }) => {
                self.dead_letter(delivery.written(), DeadLetterReason::EndpointGone).await?;
                Ok(self.deliveries.end(delivery.key(), DeadLetterReason::EndpointGone).await?)
            }
        }
    }

    /// Dead-letters a message that internal errors have held up for days. Returns false if that failed. It notes the
    /// delivery first, so that an operator can recover it.
    pub(super) async fn give_up_deferred(&self, body: &str) -> bool {
        let Ok(delivery) = Delivery::parse(body) else { return false };
        let end = async {
            if self.is_erased(delivery.key()).await? {
                return Ok(());
            }
            self.note_given_up(&delivery, self.clock.unix_ms()).await?;
            self.dead_letter(body.to_owned(), DeadLetterReason::Deferred).await?;
            self.deliveries.end(delivery.key(), DeadLetterReason::Deferred).await
        };
        let ended = end.await;
        if let Err(error) = &ended {
            let event_id = &delivery.event.key.id;
            tracing::error!(event.id = %event_id, error = %Chain(error), "delivery.dead_letter_not_recorded");
        }
        ended.is_ok()
    }

    /// Returns whether the event of a delivery was erased, or its tenant.
    pub(super) async fn is_erased(&self, delivery: DeliveryKey<'_>) -> Result<bool, P::Error> {
        let record = self.deliveries.standing(delivery).await?;
        Ok(record.is_some_and(|record| record.is_erased()) || self.is_tenant_erased(delivery).await?)
    }

    /// Returns whether a delivery is a notice from before the erasure of its tenant. If the tenant sets an address of notices
    /// again, it has the same id. All other endpoints have new ids.
    pub(super) async fn is_notice_of_erased_tenant(&self, delivery: &Delivery) -> Result<bool, P::Error> {
        Ok(NOTICE_TYPES.contains(&&*delivery.event.kind) && self.is_tenant_erased(delivery.key()).await?)
    }

    /// Returns whether the tenant of a delivery was erased since its event arrived. One read: asked only for notices, if the
    /// endpoint or the event is gone, or if a delivery is given up after days.
    async fn is_tenant_erased(&self, delivery: DeliveryKey<'_>) -> Result<bool, P::Error> {
        Ok(delivery.arrived_unix_ms < self.endpoints.erased_until(&delivery.event.tenant).await?)
    }

    /// Notes a delivery that was given up, so that an operator can recover it.
    async fn note_given_up(&self, delivery: &Delivery, since_unix_ms: u64) -> Result<(), P::Error> {
        self.parking.park(Lane::Exhausted(delivery.endpoint.clone()), since_unix_ms, delivery.key()).await
    }

    /// Sends a message to `DeadLetterQueue`. It may be sent twice, if a crash follows before the end is recorded.
    pub(super) async fn dead_letter(&self, body: String, reason: DeadLetterReason) -> Result<(), P::Error> {
        let attributes = vec![("reason", reason.as_str().to_owned())];
        self.dead_letter_queue.send_all([Message { body, attributes, ..Message::default() }]).await?;
        tracing::warn!(reason = reason.as_str(), "delivery.dead_lettered");
        self.meter.add(Metric::DeliveriesDeadLettered, 1);
        Ok(())
    }

    /// Puts a delivery into a queue again, as another message that SQS presents after `wait`.
    pub(super) async fn requeue(
        &self,
        delivery: &Delivery,
        receipt: &Receipt,
        track: Track,
        wait: Duration,
    ) -> Result<(), Deferred<P>> {
        let Delivery { endpoint, event, arrived_unix_ms } = delivery;
        let message = Message::of_delivery(endpoint, event, *arrived_unix_ms, Some(receipt.since_unix_ms));
        Ok(self.queue(track).send_all([Message { delay: delay(wait), ..message }]).await?)
    }

    /// Sends a message again with a delay, in place of the received one, which would be in flight for the whole wait.
    /// Returns false if that failed.
    ///
    /// The new message counts the receives of the old one. It comes only when the first receiver of the old one is done
    /// for certain.
    pub(super) async fn send_again(&self, message: &QueuedDelivery<'_>, wait: Duration) -> bool {
        let QueuedDelivery { message_id, body, receipt, .. } = message;
        let wait = wait.max(self.until(receipt.first_may_send_until()));
        let message = Message {
            body: (*body).to_owned(),
            group: Delivery::parse(body).ok().map(|delivery| delivery.event.key.tenant.to_string()),
            attributes: vec![
                (SINCE, receipt.since_unix_ms.to_string()),
                (RECEIVES, receipt.all_receives().to_string()),
            ],
            delay: delay(wait),
        };
        let sent = self.queue(receipt.track).send_all([message]).await;
        if let Err(error) = &sent {
            tracing::warn!(message.id = message_id, error = %Chain(error), "delivery.not_requeued");
        }
        sent.is_ok()
    }
}

/// Returns the delay of a message that must not come before the end of a wait. SQS counts in whole seconds.
fn delay(wait: Duration) -> Duration {
    Duration::from_secs(wait.as_millis().div_ceil(1_000).try_into().unwrap_or(u64::MAX))
}

/// Returns the metric of deliveries that are set aside for a reason.
fn set_aside_metric(refusal: Refusal) -> Metric {
    match refusal {
        Refusal::BreakerOpen => Metric::DeliveriesParkedBreakerOpen,
        Refusal::Disabled => Metric::DeliveriesParkedDisabled,
        Refusal::Full => Metric::DeliveriesParkedAtLimit,
        Refusal::NoSeat => Metric::DeliveriesParkedNoSeat,
        Refusal::NotQuick => Metric::DeliveriesMovedToSlowTrack,
    }
}
