//! One delivery, from its message to what remains to be done.

use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::sqs::SqsMessage;
use signpost_core::delivery::breaker::Admission;
use signpost_core::delivery::parking::LONGEST_IN_QUEUE;
use signpost_core::delivery::request::{Keyring, RequestError};
use signpost_core::delivery::verification::Question;
use signpost_core::delivery::{
    DeadLetterReason, Delivery, DeliveryKey, DeliveryStatus, Due, DueAttempt, Progress, Receipt, due,
};
use signpost_core::event::TenantId;
use signpost_core::signing::signer::TenantSigner;
use signpost_io::aws::AwsError;
use signpost_io::cache::endpoint_cache::{EndpointCacheError, ResolvedEndpoint};
use signpost_io::cache::signer_cache::NoSignerError;
use signpost_io::queue::Message;
use signpost_io::runtime::clock::{unix_ms_now, unix_now};
use signpost_io::runtime::logs::Chain;
use signpost_io::tables::deliveries::{Lease, LeaseResult};
use signpost_io::tables::limits::ConcurrencySlot;
use tokio::time::timeout;

use crate::App;
use crate::admission::Permission;

/// The work that remains with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The message comes again after this wait, which is short enough for the queue.
    Again(Duration),
    /// Nothing remains: the delivery is acknowledged, parked, or a dead letter.
    Done,
}

/// An internal error. The endpoint is not charged with an attempt, and the delivery comes back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeferredError {
    #[error("delivery could not be looked up or recorded")]
    Aws(#[from] AwsError),
    #[error("delivery could not be signed")]
    NoSigner(#[from] NoSignerError),
    #[error("endpoint of the delivery could not be prepared for a request")]
    ResolvedEndpoint(#[from] EndpointCacheError),
    #[error("preparing the delivery took more than {} s", PREPARATION.as_secs())]
    TooSlow,
    #[error("request could not be built")]
    Unbuilt(#[source] RequestError),
    #[error("event `signpost.endpoint-disabled` could not be built")]
    UnfitNotice,
}

/// How long the preparation of an attempt may take: the endpoint, its secrets, the signing keys.
const PREPARATION: Duration = Duration::from_secs(12);

/// Everything that an attempt needs.
pub(crate) struct Ready {
    pub(crate) recipient: Arc<ResolvedEndpoint>,
    pub(crate) keyring: Keyring,
    pub(crate) due: DueAttempt,
    /// Whether it is the probe of an open breaker. Its failure costs the delivery no retry.
    pub(crate) is_probe: bool,
    /// The question by which the endpoint must prove itself, if the attempt asks one.
    pub(crate) question: Option<Question>,
}

/// The result of preparing an attempt.
enum Readiness {
    /// The endpoint accepts no further request at the moment.
    NotNow,
    /// Nothing is sent; the delivery is handled otherwise.
    Otherwise(Fate),
    /// An attempt is due. If the endpoint has a limit, it has this slot.
    Ready(Ready, Option<ConcurrencySlot>),
}

/// The work that remains after a delivery, when the wait of its message is set.
pub(crate) enum Then {
    /// Drain the parked deliveries of its endpoint with the attempt's slot.
    Drain(ConcurrencySlot, Delivery),
    /// Drain them with another slot, if one is free.
    DrainIfFree(Delivery),
    Nothing,
}

impl App {
    /// Handles a message of `DeliveriesQueue` to its end.
    pub(crate) async fn deliver(&self, body: &str, receipt: &Receipt) -> Result<(Fate, Then), DeferredError> {
        let delivery = match Delivery::parse(body) {
            Ok(delivery) => delivery,
            Err(faults) => {
                tracing::error!(faults = faults.len(), "delivery.invalid_message");
                self.dead_letter(body.to_owned(), DeadLetterReason::BadMessage).await?;
                return Ok((Fate::Done, Then::Nothing));
            }
        };
        let mut lease = None;
        let readiness = match self.ready(&delivery, receipt, &mut lease).await {
            Ok(readiness) => readiness,
            Err(error) => {
                self.release_lease(delivery.key(), receipt, lease).await;
                return Err(error);
            }
        };
        match readiness {
            Readiness::NotNow => {
                self.park_with_drain(&delivery, receipt).await?;
                if lease.is_some() {
                    self.release_lease(delivery.key(), receipt, lease).await;
                }
                Ok((Fate::Done, Then::DrainIfFree(delivery)))
            }
            Readiness::Otherwise(fate) => Ok((fate, Then::Nothing)),
            Readiness::Ready(ready, slot) => {
                let attempted = self.attempt(&delivery, receipt, ready).await;
                match (attempted, slot) {
                    (Ok(fate), Some(slot)) => Ok((fate, Then::Drain(slot, delivery))),
                    (Ok(fate), None) => Ok((fate, Then::Nothing)),
                    (Err(error), slot) => {
                        self.release(slot).await;
                        Err(error)
                    }
                }
            }
        }
    }

    /// Prepares an attempt, if one is due now.
    async fn ready(
        &self,
        delivery: &Delivery,
        receipt: &Receipt,
        lease: &mut Option<Lease>,
    ) -> Result<Readiness, DeferredError> {
        let recipient = self.endpoint_cache.get(&delivery.event.key.tenant, &delivery.endpoint);
        let Some(recipient) = timeout(PREPARATION, recipient).await.map_err(|_| DeferredError::TooSlow)?? else {
            return self.handle_missing_endpoint(delivery).await.map(|()| Readiness::Otherwise(Fate::Done));
        };
        let question = Question::of(&delivery.event);
        let recipient = match &question {
            Some(question) if recipient.version() < question.version => {
                // The cached endpoint is older than the question, and may have another URL. Read it again.
                self.endpoint_cache.forget(&delivery.event.key.tenant, &delivery.endpoint).await;
                self.endpoint_cache.get(&delivery.event.key.tenant, &delivery.endpoint).await?.unwrap_or(recipient)
            }
            Some(_) | None => recipient,
        };
        let question = question.filter(|one| recipient.is_unverified() && recipient.version() == one.version);
        if !recipient.is_enabled() && question.is_none() {
            return self.park(delivery, receipt).await.map(|()| Readiness::Otherwise(Fate::Done));
        }
        // Before anything else, so that a delivery to an endpoint that is down costs almost nothing.
        if self.breakers.get(&delivery.endpoint).await.admits(unix_ms_now()) == Admission::Park {
            return self.park_with_drain(delivery, receipt).await.map(|()| Readiness::Otherwise(Fate::Done));
        }
        let (due, taken) = self.due(delivery.key(), receipt).await?;
        *lease = taken;
        let fate = match due {
            Due::Attempt(due) => {
                let keyring = self.keyring(&delivery.event.key.tenant, &recipient).await?;
                return Ok(match self.permission(&recipient, &delivery.endpoint).await? {
                    Permission::Granted { slot, is_probe } => {
                        Readiness::Ready(Ready { recipient, keyring, due, is_probe, question }, slot)
                    }
                    Permission::NotNow => Readiness::NotNow,
                });
            }
            Due::Delivered => Fate::Done,
            Due::Elsewhere { until_unix_ms } => Fate::Again(until(until_unix_ms)),
            Due::Exhausted { since_unix_ms } => self.give_up(delivery, since_unix_ms).await.map(|()| Fate::Done)?,
            Due::Wait { until_unix_ms } => self.wait(delivery, until_unix_ms).await?,
        };
        Ok(Readiness::Otherwise(fate))
    }

    /// Looks up what is due. If others may be sending the delivery too, only the holder of the lease makes an attempt.
    pub(crate) async fn due(&self, key: DeliveryKey<'_>, receipt: &Receipt) -> Result<(Due, Option<Lease>), AwsError> {
        if receipt.is_only() {
            let standing = self.deliveries.standing_batched(key).await?;
            return Ok((due(standing, receipt, unix_ms_now()), None));
        }
        match self.deliveries.claim(key, receipt).await? {
            LeaseResult::Taken(lease, standing) => Ok((due(standing, receipt, unix_ms_now()), Some(lease))),
            LeaseResult::Refused(standing) => Ok(match due(standing, receipt, unix_ms_now()) {
                // The delivery became due after DynamoDB answered.
                Due::Attempt(_) => (Due::Elsewhere { until_unix_ms: unix_ms_now() + 1_000 }, None),
                due => (due, None),
            }),
        }
    }

    /// Returns the keys that sign the endpoint's requests now.
    pub(crate) async fn keyring(
        &self,
        tenant: &TenantId,
        recipient: &ResolvedEndpoint,
    ) -> Result<Keyring, DeferredError> {
        let signer = match recipient.endpoint().algorithm() {
            None => None,
            Some(algorithm) => {
                let signer = timeout(PREPARATION, self.signers.current(algorithm));
                Some(TenantSigner::new(signer.await.map_err(|_| DeferredError::TooSlow)??, tenant))
            }
        };
        Ok(Keyring { signer, endpoint_keys: recipient.endpoint_keys(unix_now().as_secs()) })
    }

    /// Releases the lease, so that the next receiver need not wait for it to expire. If this fails, the receiver waits.
    pub(crate) async fn release_lease(&self, key: DeliveryKey<'_>, receipt: &Receipt, lease: Option<Lease>) {
        if lease.is_none() && receipt.receives > 1 {
            return; // Another receiver has the lease, or none has.
        }
        if let Err(error) = self.deliveries.release(key, lease).await {
            tracing::warn!(event.id = %key.event.id, error = %Chain(&error), "delivery.lease_release_failed");
        }
    }

    /// Makes a delivery wait until the recorded time: in the queue if that is soon, otherwise parked. If copies of a
    /// message park the same delivery until the same time, there is only one item.
    pub(crate) async fn wait(&self, delivery: &Delivery, until_unix_ms: u64) -> Result<Fate, DeferredError> {
        let wait = until(until_unix_ms);
        if wait <= LONGEST_IN_QUEUE {
            return Ok(Fate::Again(wait));
        }
        self.events.keep_until(delivery.key(), until_unix_ms).await?; // A parked delivery has only the event's key.
        self.parking.until(delivery.key(), until_unix_ms).await?;
        Ok(Fate::Done)
    }

    /// Completes a delivery that is recorded as exhausted since `since_unix_ms`: notes it, and dead-letters it.
    pub(crate) async fn give_up(&self, delivery: &Delivery, since_unix_ms: u64) -> Result<(), DeferredError> {
        self.parking.exhausted(delivery.key(), since_unix_ms).await?;
        Ok(self.dead_letter(delivery.written(), DeadLetterReason::Exhausted).await?)
    }

    /// Completes a delivery whose endpoint was removed. If it was given up before, it may not be a dead letter yet.
    async fn handle_missing_endpoint(&self, delivery: &Delivery) -> Result<(), DeferredError> {
        let standing = self.deliveries.standing(delivery.key()).await?;
        match standing.and_then(|one| one.progress) {
            Some(Progress { status: DeliveryStatus::Delivered, .. }) => Ok(()),
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
    pub(crate) async fn give_up_deferred(&self, record: &SqsMessage) -> bool {
        let body = record.body.clone().unwrap_or_default();
        let Ok(delivery) = Delivery::parse(&body) else { return false };
        let end = async {
            self.parking.exhausted(delivery.key(), unix_ms_now()).await?;
            self.dead_letter(body, DeadLetterReason::Deferred).await?;
            self.deliveries.end(delivery.key(), DeadLetterReason::Deferred).await
        };
        let ended = end.await;
        if let Err(error) = &ended {
            let event_id = &delivery.event.key.id;
            tracing::error!(event.id = %event_id, error = %Chain(error), "delivery.dead_letter_not_recorded");
        }
        ended.is_ok()
    }

    /// Sends a message to `DeadLetterQueue`. It may be sent twice, if a crash follows before the end is recorded.
    pub(crate) async fn dead_letter(&self, body: String, reason: DeadLetterReason) -> Result<(), AwsError> {
        let attributes = vec![("reason", reason.as_str().to_owned())];
        self.dead_letter_queue.send_all([Message { body, attributes, ..Message::default() }]).await?;
        tracing::warn!(reason = reason.as_str(), "delivery.dead_lettered");
        Ok(())
    }
}

/// Returns the time left until a moment, which is in milliseconds since the Unix epoch.
fn until(unix_ms: u64) -> Duration {
    Duration::from_millis(unix_ms.saturating_sub(unix_ms_now()))
}
