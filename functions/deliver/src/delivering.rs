//! One delivery, from the message to its record.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use signpost_core::attempt::{Attempt, AttemptError, AttemptResult};
use signpost_core::delivery::{DeadLetterReason, Delivery, Due, Next, Progress, due, next};
use signpost_core::endpoint::{DisabledBecause, EndpointId};
use signpost_core::event::TenantId;
use signpost_core::parking::LONGEST_IN_QUEUE;
use signpost_core::request::{Keyring, Request, RequestError};
use signpost_io::aws::AwsError;
use signpost_io::callback::Exchange;
use signpost_io::clock::{millis, unix_ms_now, unix_now};
use signpost_io::deliveries::Recorded;
use signpost_io::logs::Chain;
use signpost_io::queue::Message;
use signpost_io::recipients::{Recipient, RecipientError};
use signpost_io::signers::NoSignerError;
use tokio::time::timeout;

use crate::App;

/// What SQS is to do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Delete it.
    Done,
    /// Present it again when its visibility timeout ends.
    PresentAgain,
}

/// A fault on our side: the endpoint is not charged with an attempt, and the message comes back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeferredError {
    #[error("delivery could not be looked up or recorded")]
    Aws(#[from] AwsError),
    #[error("delivery could not be signed")]
    NoSigner(#[from] NoSignerError),
    #[error("endpoint of the delivery is not ready to be called")]
    Recipient(#[from] RecipientError),
    #[error("preparing the delivery took more than {} s", PREPARATION.as_secs())]
    TooSlow,
    #[error("delivery could not be signed")]
    Unsigned(#[source] RequestError),
}

/// How long everything may take that is needed before an attempt: the endpoint, its secrets, the signing keys.
const PREPARATION: Duration = Duration::from_secs(12);

/// What there is to make an attempt with.
enum Prepared {
    /// The endpoint is disabled.
    Disabled,
    /// The endpoint is not there any more.
    Gone,
    /// All of it.
    Ready(Arc<Recipient>, Keyring),
}

impl App {
    /// Does what a message of `DeliveriesQueue` asks for. Gives the wait until it is to be presented again, or nothing
    /// when it is done with.
    pub(crate) async fn deliver(&self, body: &str) -> Result<Option<Duration>, DeferredError> {
        let delivery = match Delivery::parse(body) {
            Ok(delivery) => delivery,
            Err(faults) => {
                tracing::error!(faults = faults.len(), "a message that fanout did not write");
                self.bury(body, DeadLetterReason::BadMessage).await?;
                return Ok(None);
            }
        };
        let progress = self.deliveries.progress(delivery.key()).await?;
        match due(progress, unix_ms_now()) {
            Due::Attempt { number, before_replay } => self.attempt(&delivery, body, number, before_replay).await,
            Due::Wait { until_unix_ms } => self.wait(&delivery, until_unix_ms).await,
            Due::Delivered => Ok(None),
            Due::Exhausted { since_unix_ms } => self.give_up(&delivery, body, since_unix_ms).await.map(|()| None),
        }
    }

    async fn attempt(
        &self,
        delivery: &Delivery,
        body: &str,
        number: u32,
        before_replay: u32,
    ) -> Result<Option<Duration>, DeferredError> {
        let tenant = &delivery.event.key.tenant;
        let prepared = timeout(PREPARATION, self.prepare(tenant, &delivery.endpoint)).await;
        let (recipient, keyring) = match prepared.map_err(|_| DeferredError::TooSlow)?? {
            Prepared::Ready(recipient, keyring) => (recipient, keyring),
            Prepared::Disabled => {
                self.park(delivery).await?;
                return Ok(None);
            }
            Prepared::Gone => {
                self.bury(body, DeadLetterReason::EndpointGone).await?;
                return Ok(None);
            }
        };
        let (started, started_at) = (Instant::now(), unix_now());
        let Exchange { result, response } = self.send(delivery, &recipient, number, started_at, &keyring).await?;

        let attempt = Attempt {
            number,
            at_unix_ms: millis(started_at),
            duration_ms: millis(started.elapsed()),
            kids: keyring.signers.iter().map(|signer| signer.kid().to_owned()).collect(),
            status: result.as_ref().map_or_else(AttemptError::status, |status| Some(*status)),
            error: result.as_ref().err().map(ToString::to_string),
            response: response.filter(|_| result.is_err()), // Of an acknowledgement, the status says it all.
        };
        let next = next(&result, number.saturating_sub(before_replay), &recipient.endpoint().retry, fastrand::f64());
        log(delivery, &attempt, next, &result);
        let wait = if let Next::Retry(wait) = next { wait } else { Duration::ZERO };
        let next_attempt_unix_ms = unix_ms_now() + millis(wait);
        let progress = Progress { status: next.status(), attempts: number, before_replay, next_attempt_unix_ms };
        // Recorded before it is buried: a crash in between finds the record and buries it then.
        if self.deliveries.record(delivery.key(), &attempt, progress).await? == Recorded::Overtaken {
            return Ok(Some(Duration::ZERO)); // Another sender was faster; its record says what comes next.
        }
        match next {
            Next::Delivered => Ok(None),
            Next::Disable => {
                self.recipients.disable(tenant, &delivery.endpoint, DisabledBecause::Gone).await?;
                self.park(delivery).await.map(|()| None)
            }
            Next::Retry(_) => self.wait(delivery, next_attempt_unix_ms).await,
            Next::Exhausted => self.give_up(delivery, body, next_attempt_unix_ms).await.map(|()| None),
        }
    }

    /// Sees a delivery that is on record as exhausted since a moment to its end.
    async fn give_up(&self, delivery: &Delivery, body: &str, since_unix_ms: u64) -> Result<(), DeferredError> {
        self.parking.exhausted(delivery.key(), since_unix_ms).await?;
        Ok(self.bury(body, DeadLetterReason::Exhausted).await?)
    }

    /// Has a delivery wait until its endpoint is enabled.
    async fn park(&self, delivery: &Delivery) -> Result<(), DeferredError> {
        self.parking.for_endpoint(delivery.key(), unix_ms_now()).await?;
        tracing::info!(endpoint.id = %delivery.endpoint, event.id = %delivery.event.key.id, "delivery.parked");
        Ok(())
    }

    /// Has a delivery wait until the moment on record: in the queue if that is soon, parked otherwise. Copies of a message
    /// that park the same delivery for the same moment become one.
    async fn wait(&self, delivery: &Delivery, until_unix_ms: u64) -> Result<Option<Duration>, DeferredError> {
        let wait = Duration::from_millis(until_unix_ms.saturating_sub(unix_ms_now()));
        if wait <= LONGEST_IN_QUEUE {
            return Ok(Some(wait));
        }
        self.parking.until(delivery.key(), until_unix_ms).await?;
        Ok(None)
    }

    /// Gets together what an attempt needs: the endpoint, and what its requests are signed with now.
    async fn prepare(&self, tenant: &TenantId, endpoint: &EndpointId) -> Result<Prepared, DeferredError> {
        let Some(recipient) = self.recipients.get(tenant, endpoint).await? else { return Ok(Prepared::Gone) };
        if !recipient.is_enabled() {
            return Ok(Prepared::Disabled);
        }
        let algorithms = recipient.endpoint().algorithms();
        let signers = try_join_all(algorithms.into_iter().map(|algorithm| self.signers.current(algorithm))).await?;
        let secrets = recipient.signing_secrets(unix_now().as_secs());
        Ok(Prepared::Ready(recipient, Keyring { signers, secrets }))
    }

    async fn send(
        &self,
        delivery: &Delivery,
        recipient: &Recipient,
        number: u32,
        started_at: Duration,
        keyring: &Keyring,
    ) -> Result<Exchange, DeferredError> {
        let endpoint = recipient.endpoint();
        let failed = |error| Ok(Exchange { result: Err(error), response: None });
        let target = match self.callbacks.target(&endpoint.url) {
            Ok(target) => target,
            Err(error) => return failed(error),
        };
        match Request::build(&delivery.event, endpoint, target, number, started_at.as_secs(), keyring) {
            Ok(request) => Ok(self.callbacks.send(request, &recipient.caller, endpoint.timeout_seconds.into()).await),
            Err(RequestError::UrlTooLong { bytes }) => failed(AttemptError::UrlTooLong { bytes }),
            Err(error @ (RequestError::NoSigner(_) | RequestError::Signer(_))) => Err(DeferredError::Unsigned(error)),
        }
    }

    /// Puts a message into `DeadLetterQueue`. May happen twice when a crash comes between this and the end.
    async fn bury(&self, body: &str, reason: DeadLetterReason) -> Result<(), AwsError> {
        let attributes = vec![("reason", reason.as_str().to_owned())];
        self.dead_letters.send_all([Message { body: body.to_owned(), group: None, attributes }]).await?;
        tracing::warn!(reason = reason.as_str(), "delivery.dead_lettered");
        Ok(())
    }
}

/// The one line per attempt. An endpoint's failure is its owner's business: `warn`, never `error`.
fn log(delivery: &Delivery, attempt: &Attempt, next: Next, result: &AttemptResult) {
    macro_rules! attempted {
        ($level:ident, $($extra:tt)*) => {
            tracing::$level!(
                tenant.id = %delivery.event.key.tenant,
                event.id = %delivery.event.key.id,
                "event.type" = %delivery.event.kind,
                endpoint.id = %delivery.endpoint,
                attempt.number = attempt.number,
                attempt.status = attempt.status,
                attempt.duration_ms = attempt.duration_ms,
                key.kids = attempt.kids.join(" "),
                delivery.status = next.status().as_str(),
                $($extra)*
                "delivery.attempted"
            )
        };
    }
    match result {
        Ok(_) => attempted!(info,),
        Err(error) => attempted!(warn, error = %Chain(error),),
    }
}
