//! One delivery, from its message to what is left to do with it.

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

/// What is left to do with a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It comes again after this wait, which is short enough to be spent in the queue.
    Again(Duration),
    /// Nothing: it is delivered, parked, or a dead letter.
    Done,
}

/// A fault on our side: the endpoint is not charged with an attempt, and the delivery comes back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeferredError {
    #[error("delivery could not be looked up or recorded")]
    Aws(#[from] AwsError),
    #[error("delivery could not be signed")]
    NoSigner(#[from] NoSignerError),
    #[error("endpoint of the delivery is not ready to be called")]
    ResolvedEndpoint(#[from] EndpointCacheError),
    #[error("preparing the delivery took more than {} s", PREPARATION.as_secs())]
    TooSlow,
    #[error("request could not be built")]
    Unbuilt(#[source] RequestError),
    #[error("event `signpost.endpoint-disabled` could not be built")]
    UnfitNotice,
}

/// How long everything may take that is needed before an attempt: the endpoint, its secrets, the signing keys.
const PREPARATION: Duration = Duration::from_secs(12);

/// All that an attempt needs.
pub(crate) struct Ready {
    pub(crate) recipient: Arc<ResolvedEndpoint>,
    pub(crate) keyring: Keyring,
    pub(crate) due: DueAttempt,
    /// Whether it is the probe of an open breaker: its failure costs the delivery no retry.
    pub(crate) is_probe: bool,
    /// What the endpoint has to prove itself by, if the attempt asks for that.
    pub(crate) question: Option<Question>,
}

/// What is to become of a delivery.
enum Readiness {
    /// Its endpoint takes no more at the moment.
    NotNow,
    /// Nothing is to be sent.
    Otherwise(Fate),
    /// An attempt is to be made, with the slot that it takes where the endpoint has a limit.
    Ready(Ready, Option<ConcurrencySlot>),
}

/// What is left to do once a delivery is seen to, and its message has its wait.
pub(crate) enum Then {
    /// Drain what is parked for its endpoint with the slot that was taken,
    Drain(ConcurrencySlot, Delivery),
    /// or with one that has become free meanwhile.
    DrainIfFree(Delivery),
    Nothing,
}

impl App {
    /// Sees a message of `DeliveriesQueue` through.
    pub(crate) async fn deliver(&self, body: &str, receipt: &Receipt) -> Result<(Fate, Then), DeferredError> {
        let delivery = match Delivery::parse(body) {
            Ok(delivery) => delivery,
            Err(faults) => {
                tracing::error!(faults = faults.len(), "a message that fanout did not write");
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

    /// Gets together what an attempt needs, if one is to be made now.
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
                // As it was before it had to prove itself: it would get the question at the URL that it had then.
                self.endpoint_cache.forget(&delivery.event.key.tenant, &delivery.endpoint).await;
                self.endpoint_cache.get(&delivery.event.key.tenant, &delivery.endpoint).await?.unwrap_or(recipient)
            }
            Some(_) | None => recipient,
        };
        let question = question.filter(|one| recipient.is_unverified() && recipient.version() == one.version);
        if !recipient.is_enabled() && question.is_none() {
            return self.park(delivery, receipt).await.map(|()| Readiness::Otherwise(Fate::Done));
        }
        // Before anything else, so that what is sent to an endpoint that is down costs next to nothing.
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

    /// Looks up what is due. Where others may be sending the delivery too, an attempt is due to the one who gets the lease.
    pub(crate) async fn due(&self, key: DeliveryKey<'_>, receipt: &Receipt) -> Result<(Due, Option<Lease>), AwsError> {
        if receipt.is_only() {
            let standing = self.deliveries.standing_batched(key).await?;
            return Ok((due(standing, receipt, unix_ms_now()), None));
        }
        match self.deliveries.claim(key, receipt).await? {
            LeaseResult::Taken(lease, standing) => Ok((due(standing, receipt, unix_ms_now()), Some(lease))),
            LeaseResult::Refused(standing) => Ok(match due(standing, receipt, unix_ms_now()) {
                // It has become due between the table's answer and this.
                Due::Attempt(_) => (Due::Elsewhere { until_unix_ms: unix_ms_now() + 1_000 }, None),
                due => (due, None),
            }),
        }
    }

    /// What the endpoint's requests are signed with now.
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

    /// Says that nothing is sent after all, so that whoever comes next need not wait. If it cannot be said, they wait.
    pub(crate) async fn release_lease(&self, key: DeliveryKey<'_>, receipt: &Receipt, lease: Option<Lease>) {
        if lease.is_none() && receipt.receives > 1 {
            return; // Somebody else's, or nobody's.
        }
        if let Err(error) = self.deliveries.release(key, lease).await {
            tracing::warn!(event.id = %key.event.id, error = %Chain(&error), "delivery.not_called_off");
        }
    }

    /// Has a delivery wait until the moment on record: in the queue if that is soon, parked otherwise. Copies of a message
    /// that park the same delivery for the same moment become one.
    pub(crate) async fn wait(&self, delivery: &Delivery, until_unix_ms: u64) -> Result<Fate, DeferredError> {
        let wait = until(until_unix_ms);
        if wait <= LONGEST_IN_QUEUE {
            return Ok(Fate::Again(wait));
        }
        self.events.keep_until(delivery.key(), until_unix_ms).await?; // The parking has the event's key only.
        self.parking.until(delivery.key(), until_unix_ms).await?;
        Ok(Fate::Done)
    }

    /// Sees a delivery that is on record as exhausted since a moment to its end.
    pub(crate) async fn give_up(&self, delivery: &Delivery, since_unix_ms: u64) -> Result<(), DeferredError> {
        self.parking.exhausted(delivery.key(), since_unix_ms).await?;
        Ok(self.dead_letter(delivery.written(), DeadLetterReason::Exhausted).await?)
    }

    /// Sees a delivery to its end whose endpoint was removed. One that was given up before may not be a dead letter yet.
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

    /// Sees a message to its end that faults on our side have held up for days. Tells whether that could be done. It is
    /// noted first, so that the delivery can be recovered.
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
            tracing::error!(event.id = %delivery.event.key.id, error = %Chain(error), "delivery.end_not_recorded");
        }
        ended.is_ok()
    }

    /// Puts a message into `DeadLetterQueue`. May happen twice when a crash comes between this and the end.
    pub(crate) async fn dead_letter(&self, body: String, reason: DeadLetterReason) -> Result<(), AwsError> {
        let attributes = vec![("reason", reason.as_str().to_owned())];
        self.dead_letter_queue.send_all([Message { body, attributes, ..Message::default() }]).await?;
        tracing::warn!(reason = reason.as_str(), "delivery.dead_lettered");
        Ok(())
    }
}

/// How long it is until a moment, in milliseconds since the Unix epoch.
fn until(unix_ms: u64) -> Duration {
    Duration::from_millis(unix_ms.saturating_sub(unix_ms_now()))
}
