//! The preparation of an attempt: is one due, and does the endpoint accept it?

use std::sync::Arc;
use std::time::Duration;

use signpost_core::delivery::breaker::Admission;
use signpost_core::delivery::request::Keyring;
use signpost_core::delivery::verification::Question;
use signpost_core::delivery::{Delivery, DeliveryKey, Due, DueAttempt, Receipt, Track, due};
use signpost_core::endpoint::EndpointId;
use signpost_core::event::TenantId;
use signpost_core::signing::signer::TenantSigner;

use crate::deliver::seats::Seats;
use crate::deliver::{Deferred, DeferredError, Deliver, Outcome};
use crate::endpoint_cache::ResolvedEndpoint;
use crate::logs::Chain;
use crate::ports::clock::Clock as _;
use crate::ports::deliveries::{Deliveries as _, Lease, LeaseResult};
use crate::ports::limits::{ConcurrencySlot, SlotPool};
use crate::ports::webhooks::Signers as _;
use crate::ports::{Access, Ports};

/// How long the preparation of an attempt may wait for the endpoint and its secrets, and again for the signing keys.
pub(super) const PREPARATION: Duration = Duration::from_secs(12);

/// The result of preparing an attempt.
pub(super) enum Prepared<P: Ports> {
    /// An attempt is due, and the endpoint accepts it.
    Ready(Box<Ready<P>>),
    /// The endpoint accepts no request now. Nothing is being sent.
    Refused(Refusal),
    /// No attempt is due: the record says what remains, and that is done.
    Over(Outcome),
    /// Another function may be sending the delivery.
    Elsewhere {
        /// Until when, in milliseconds since the Unix epoch.
        until_unix_ms: u64,
    },
}

/// Everything that an attempt needs.
pub(super) struct Ready<P: Ports> {
    pub(super) recipient: Arc<ResolvedEndpoint<Access<P>>>,
    pub(super) keyring: Keyring,
    pub(super) due: DueAttempt,
    /// Whether it is the probe of an open breaker. Its failure costs the delivery no retry.
    pub(super) is_probe: bool,
    /// The question by which the endpoint must prove itself, if the attempt asks one.
    pub(super) question: Option<Question>,
    /// Whether no other function can be sending the delivery, so that no lease was taken.
    pub(super) is_only: bool,
    /// The slot that was taken for it, if the endpoint has a limit.
    pub(super) slot: Option<ConcurrencySlot>,
}

/// The reason why an endpoint accepts no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is disabled.
    Disabled,
    /// Its breaker is open.
    BreakerOpen,
    /// Its limits are reached, or another function sends the probe.
    Full,
    /// Its tenant has the most invocations on the slow track.
    NoSeat,
    /// The delivery is on the fast track, and its endpoint has not proved that it is quick.
    NotQuick,
}

/// The way in which a delivery comes to its attempt.
#[derive(Clone, Copy)]
pub(super) enum Turn<'a> {
    /// From the queue. It needs a seat of its tenant and a slot of its endpoint, and counts as a request of this second.
    Queued(&'a Seats),
    /// From its lane, with the seat of the function that drains it, and with its slot if the endpoint has a limit. It is
    /// counted already.
    Drained(Option<&'a ConcurrencySlot>),
}

impl<P: Ports> Deliver<P> {
    /// Prepares an attempt, if one is due now. If the result is not [`Prepared::Ready`], no lease is held.
    pub(super) async fn prepare(
        &self,
        delivery: &Delivery,
        receipt: &Receipt,
        turn: Turn<'_>,
    ) -> Result<Prepared<P>, Deferred<P>> {
        let Some((recipient, question)) = self.recipient(delivery).await? else {
            return self.end_without_endpoint(delivery).await.map(|()| Prepared::Over(Outcome::Done));
        };
        if self.is_notice_of_erased_tenant(delivery).await? {
            tracing::info!(event.id = %delivery.event.key.id, endpoint.id = %delivery.endpoint, "delivery.skipped");
            return Ok(Prepared::Over(Outcome::Done));
        }
        if !recipient.is_enabled() && question.is_none() {
            return self.refused(delivery.key(), receipt, Refusal::Disabled).await;
        }
        // Before anything else, so that a delivery to an endpoint that is down costs almost nothing.
        let breaker = self.breakers.get(&delivery.endpoint).await;
        self.send_forgotten_notices(delivery, &recipient.endpoint().url, &breaker).await;
        match (breaker.admits(self.clock.unix_ms()), turn) {
            (Admission::Send, _) | (Admission::Probe, Turn::Queued(_)) => {}
            (Admission::Probe | Admission::Park, _) => {
                return self.refused(delivery.key(), receipt, Refusal::BreakerOpen).await;
            }
        }
        if receipt.track == Track::Fast && !breaker.is_quick() {
            return self.refused(delivery.key(), receipt, Refusal::NotQuick).await;
        }
        let tenant = &delivery.event.key.tenant;
        if let Turn::Queued(seats) = turn
            && !self.is_seated(seats, receipt.track, tenant).await?
        {
            return self.refused(delivery.key(), receipt, Refusal::NoSeat).await;
        }
        let Some(slot) = self.slot(&recipient, &delivery.endpoint, turn).await? else {
            return self.refused(delivery.key(), receipt, Refusal::Full).await;
        };
        match self.prepare_with(delivery, receipt, recipient, question).await {
            Ok(Prepared::Ready(ready)) => Ok(Prepared::Ready(Box::new(Ready { slot, ..*ready }))),
            other => {
                if let Some(slot) = slot {
                    self.release(slot).await;
                }
                other
            }
        }
    }

    /// Prepares an attempt at an endpoint that accepts it.
    async fn prepare_with(
        &self,
        delivery: &Delivery,
        receipt: &Receipt,
        recipient: Arc<ResolvedEndpoint<Access<P>>>,
        question: Option<Question>,
    ) -> Result<Prepared<P>, Deferred<P>> {
        let (due, lease) = self.due(delivery.key(), receipt).await?;
        let due = match due {
            Due::Attempt(due) => due,
            Due::Delivered => return Ok(Prepared::Over(Outcome::Done)),
            Due::Erased => {
                tracing::info!(event.id = %delivery.event.key.id, endpoint.id = %delivery.endpoint, "delivery.skipped");
                return Ok(Prepared::Over(Outcome::Done));
            }
            Due::Elsewhere { until_unix_ms } => return Ok(Prepared::Elsewhere { until_unix_ms }),
            Due::Exhausted { since_unix_ms } => {
                self.give_up(delivery, since_unix_ms).await?;
                Box::pin(self.notice_given_up(delivery, &recipient.endpoint().url, None)).await;
                return Ok(Prepared::Over(Outcome::Done));
            }
            Due::Wait { until_unix_ms } => {
                return self.wait(delivery, receipt, until_unix_ms).await.map(Prepared::Over);
            }
        };
        let equipped = async {
            let keyring = self.keyring(&delivery.event.key.tenant, &recipient).await?;
            Ok(self.may_probe(&delivery.endpoint).await.map(|is_probe| (keyring, is_probe)))
        };
        match equipped.await {
            Ok(Some((keyring, is_probe))) => {
                let is_only = lease.is_none();
                let ready = Ready { recipient, keyring, due, is_probe, question, is_only, slot: None };
                Ok(Prepared::Ready(Box::new(ready)))
            }
            refused => {
                self.release_lease(delivery.key(), lease).await;
                refused.map(|_| Prepared::Refused(Refusal::Full))
            }
        }
    }

    /// Returns a refusal, unless the first receiver of the message may be sending the delivery and has no record yet. If
    /// the delivery were parked then, a drain could send it at the same time.
    async fn refused(
        &self,
        key: DeliveryKey<'_>,
        receipt: &Receipt,
        refusal: Refusal,
    ) -> Result<Prepared<P>, Deferred<P>> {
        let until_unix_ms = receipt.first_may_send_until();
        if self.clock.unix_ms() < until_unix_ms && self.deliveries.standing(key).await?.is_none() {
            return Ok(Prepared::Elsewhere { until_unix_ms });
        }
        Ok(Prepared::Refused(refusal))
    }

    /// Returns the endpoint of a delivery, with the question by which it must prove itself, if the delivery asks one.
    async fn recipient(
        &self,
        delivery: &Delivery,
    ) -> Result<Option<(Arc<ResolvedEndpoint<Access<P>>>, Option<Question>)>, Deferred<P>> {
        let (tenant, endpoint) = (&delivery.event.key.tenant, &delivery.endpoint);
        let read = self.clock.within(PREPARATION, self.endpoints.get(tenant, endpoint));
        let Some(recipient) = read.await.ok_or(DeferredError::TooSlow)?? else { return Ok(None) };
        let question = Question::of(&delivery.event);
        let recipient = match &question {
            Some(question) if recipient.version() < question.version => {
                // The cached endpoint is older than the question, and may have another URL. Read it again.
                self.endpoints.forget(tenant, endpoint).await;
                self.endpoints.get(tenant, endpoint).await?.unwrap_or(recipient)
            }
            Some(_) | None => recipient,
        };
        let question = question.filter(|one| recipient.is_unverified() && recipient.version() == one.version);
        Ok(Some((recipient, question)))
    }

    /// Looks up what is due. If others may be sending the delivery too, only the holder of the lease makes an attempt.
    /// Returns when the lease ends, if there is one.
    async fn due(&self, key: DeliveryKey<'_>, receipt: &Receipt) -> Result<(Due, Option<u64>), P::Error> {
        if receipt.is_only(self.clock.unix_ms()) {
            let record = self.deliveries.standing_batched(key).await?;
            return Ok((due(record, receipt, self.clock.unix_ms()), None));
        }
        let lease = Lease::of(receipt, self.clock.unix_ms());
        match self.deliveries.lease(key, lease).await? {
            LeaseResult::Taken(record) => Ok((due(record, receipt, self.clock.unix_ms()), Some(lease.until_unix_ms))),
            LeaseResult::Refused(record) => {
                let now = self.clock.unix_ms();
                Ok(match due(record, receipt, now) {
                    // The delivery became due after the table answered.
                    Due::Attempt(_) => (Due::Elsewhere { until_unix_ms: now + 1_000 }, None),
                    due => (due, None),
                })
            }
        }
    }

    /// Returns the keys that sign the endpoint's requests now.
    async fn keyring(
        &self,
        tenant: &TenantId,
        recipient: &ResolvedEndpoint<Access<P>>,
    ) -> Result<Keyring, Deferred<P>> {
        let signer = match recipient.endpoint().algorithm() {
            None => None,
            Some(algorithm) => {
                let signer = self.clock.within(PREPARATION, self.signers.current(algorithm)).await;
                let signer = signer.ok_or(DeferredError::TooSlow)?;
                let signer = signer.map_err(|error| DeferredError::NoSigner(Box::new(error)))?;
                Some(TenantSigner::new(signer, tenant))
            }
        };
        Ok(Keyring { signer, endpoint_keys: recipient.endpoint_keys(self.clock.unix_seconds()) })
    }

    /// Asks the limits of the endpoint. Returns `None` if the request may not be sent, otherwise the slot that it takes, if it
    /// takes one. Makes no call for an endpoint without limits.
    async fn slot(
        &self,
        recipient: &ResolvedEndpoint<Access<P>>,
        endpoint: &EndpointId,
        turn: Turn<'_>,
    ) -> Result<Option<Option<ConcurrencySlot>>, P::Error> {
        let settings = recipient.endpoint();
        let is_counted = matches!(turn, Turn::Queued(_)) && settings.max_per_second.is_some();
        if is_counted && self.limiter.is_second_full(endpoint).await {
            return Ok(None); // Before a slot is taken for nothing.
        }
        let slot = match (turn, settings.max_concurrency) {
            // If the slot's lease has expired, another function may have the slot.
            (Turn::Drained(Some(slot)), _) => return Ok(self.limiter.renew(slot).await?.then_some(None)),
            (Turn::Drained(None), _) => return Ok(Some(None)),
            (Turn::Queued(_), None) => None,
            (Turn::Queued(_), Some(limit)) => {
                match self.limiter.take(&SlotPool::Endpoint(endpoint.clone()), limit).await? {
                    Some(slot) => Some(slot),
                    None => return Ok(None),
                }
            }
        };
        let begun = match settings.max_per_second {
            None => Ok(true),
            Some(limit) => self.limiter.begin(endpoint, limit).await,
        };
        match (begun, slot) {
            (Ok(true), slot) => Ok(Some(slot)),
            (refused, Some(slot)) => {
                self.release(slot).await;
                refused.map(|_| None)
            }
            (refused, None) => refused.map(|_| None),
        }
    }

    /// Asks the breaker once more. Returns whether the request is its probe; `None` if it may not be sent.
    async fn may_probe(&self, endpoint: &EndpointId) -> Option<bool> {
        match self.breakers.get(endpoint).await.admits(self.clock.unix_ms()) {
            Admission::Park => None,
            Admission::Probe => self.breakers.claim_probe(endpoint).await.then_some(true),
            Admission::Send => Some(false),
        }
    }

    /// Releases a lease, so that the next receiver need not wait for it to expire. If this fails, the receiver waits.
    async fn release_lease(&self, key: DeliveryKey<'_>, lease: Option<u64>) {
        if lease.is_some() {
            self.release_in_table(key, lease).await;
        }
    }

    /// Notes that the first receiver of a message has sent nothing, so that the next one need not wait. If this fails,
    /// the next one waits.
    pub(super) async fn note_nothing_sent(&self, key: DeliveryKey<'_>, receipt: &Receipt) {
        if receipt.receives <= 1 {
            self.release_in_table(key, None).await;
        }
    }

    async fn release_in_table(&self, key: DeliveryKey<'_>, lease: Option<u64>) {
        if let Err(error) = self.deliveries.release(key, lease).await {
            tracing::warn!(event.id = %key.event.id, error = %Chain(&error), "delivery.lease_release_failed");
        }
    }
}
