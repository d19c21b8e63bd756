//! One attempt: signs and sends a request, records the attempt, and reports its outcome to the endpoint's breaker.

use std::time::Duration;

use signpost_core::delivery::answer::{AnswerRecord, answer_print};
use signpost_core::delivery::attempt::{Attempt, AttemptClass, AttemptError, AttemptResult};
use signpost_core::delivery::destination::Call;
use signpost_core::delivery::request::{AttemptStart, Request, RequestError};
use signpost_core::delivery::sent::{Sent, SentRecord};
use signpost_core::delivery::verification::{Preflight, Question, REQUEST_ORIGIN};
use signpost_core::delivery::{Delivery, DueAttempt, Next, Progress, Receipt, next, next_of_probe};
use signpost_core::endpoint::DisabledBecause;
use signpost_core::endpoint::auth::origin;
use signpost_core::endpoint::destination::Destination;

use crate::deliver::prepare::Ready;
use crate::deliver::{Deferred, DeferredError, Deliver, Outcome};
use crate::endpoint_cache::ResolvedEndpoint;
use crate::logs::Chain;
use crate::metrics::Metric;
use crate::ports::clock::{Clock as _, Random as _, millis};
use crate::ports::deliveries::{Deliveries as _, Recorded};
use crate::ports::parking::Parking as _;
use crate::ports::webhooks::{Exchange, Webhooks as _};
use crate::ports::{Access, Ports};

impl<P: Ports> Deliver<P> {
    /// Makes an attempt, and does what follows from its outcome.
    pub(super) async fn attempt(
        &self,
        delivery: &Delivery,
        receipt: &Receipt,
        ready: &Ready<P>,
    ) -> Result<Outcome, Deferred<P>> {
        let Ready { recipient, keyring, due, is_probe, question, is_only, .. } = ready;
        let DueAttempt { number, before_replay, on_record, replay, last_sent, last_answer } = *due;
        let is_first = on_record.is_none() && *is_only;
        let expected = is_first.then(|| self.deliveries.announce_first());
        let (began, began_at) = (self.clock.elapsed(), self.clock.unix());
        let start = AttemptStart { number, unix_seconds: began_at.as_secs(), replay };
        let sent = self.send(delivery, ready, start);
        let Exchange { result, response, sent, connection, redirect } =
            self.breakers.watch(&delivery.endpoint, sent).await?;
        let took = self.clock.elapsed().saturating_sub(began);
        if question.is_some() && result.is_ok() {
            // Not after the record: after a crash in between, it would keep a later try from verifying.
            Box::pin(self.verify(delivery, recipient)).await?;
        }
        let is_signed = sent.as_ref().is_none_or(Sent::is_webhook);
        let sent_now = sent.as_ref().map(Sent::print).or(last_sent);

        let (counted, policy) = (number.saturating_sub(before_replay), &recipient.endpoint().retry);
        let (next, is_free) = if *is_probe {
            next_of_probe(&result, counted, policy, self.random.f64())
        } else {
            (next(&result, counted, policy, self.random.f64()), false)
        };
        let is_last = !matches!(next, Next::Retry(_));
        let answer = AnswerRecord::new(response.as_deref(), last_answer, number, is_last);
        let last_answer = match &response {
            Some(response) if answer == AnswerRecord::New => Some(answer_print(response)),
            _ => last_answer,
        };
        let attempt = Attempt {
            number,
            at_unix_ms: millis(began_at),
            duration_ms: millis(took),
            kids: keyring.signer.iter().filter(|_| is_signed).map(|signer| signer.kid().to_owned()).collect(),
            status: result.as_ref().map_or_else(AttemptError::status, |status| Some(*status)),
            error: result.as_ref().err().map(ToString::to_string),
            cause: result.as_ref().err().map(|error| error.cause().to_string()),
            response,
            answer,
            sent: SentRecord::new(sent, last_sent),
            connection,
            redirect,
        };
        let before_replay = before_replay + u32::from(is_free);
        log(delivery, &attempt, next, &result);
        self.measure(delivery, &attempt, replay.is_some(), &result);
        let wait = if let Next::Retry(wait) = next { wait } else { Duration::ZERO };
        let next_attempt_unix_ms = self.clock.unix_ms() + millis(wait);
        let (status, attempts, last_sent) = (next.status(), number, sent_now);
        let progress =
            Progress { status, attempts, before_replay, next_attempt_unix_ms, replay, last_sent, last_answer };
        // Recorded before it becomes a dead letter: after a crash in between, a later try finds the record and goes on.
        let recorded = if is_first {
            self.deliveries.record_first(delivery.key(), &attempt, progress).await
        } else {
            self.deliveries.record(delivery.key(), &attempt, on_record, progress).await
        };
        drop(expected);
        let breaker = self.breakers.observe(&delivery.endpoint, &result, took).await;
        let url = &*recipient.endpoint().url;
        self.send_notices(delivery, url, &breaker).await;
        if breaker.should_disable(self.clock.unix_ms()) {
            Box::pin(self.disable(delivery, url, DisabledBecause::Failing, &result)).await?;
        }
        if recorded? == Recorded::Overtaken {
            return Ok(Outcome::Again(Duration::ZERO)); // Another sender was faster; its record decides what follows.
        }
        match next {
            Next::Delivered => Ok(Outcome::Done),
            Next::Disable => {
                Box::pin(self.disable(delivery, url, DisabledBecause::Gone, &result)).await?;
                self.park(delivery, receipt).await?;
                self.meter.add_of(&delivery.event.key.tenant, Metric::DeliveriesParkedDisabled, 1);
                Ok(Outcome::Done)
            }
            Next::Retry(_) => self.wait(delivery, receipt, next_attempt_unix_ms).await,
            Next::Exhausted => {
                self.give_up(delivery, next_attempt_unix_ms).await?;
                Box::pin(self.notice_given_up(delivery, url, Some(&result))).await;
                Ok(Outcome::Done)
            }
        }
    }

    async fn send(&self, delivery: &Delivery, ready: &Ready<P>, start: AttemptStart) -> Result<Exchange, Deferred<P>> {
        let Ready { recipient, keyring, question, .. } = ready;
        let (endpoint, access) = (recipient.endpoint(), recipient.access());
        let timeout = endpoint.timeout_seconds.into();
        let failed = |error| Ok(Exchange::failed(error));
        let target = match self.webhooks.target(&endpoint.url) {
            Ok(target) => target,
            Err(error) => return failed(error),
        };
        let preflight = question.as_ref().map(|_| Preflight::new(endpoint, target.clone(), &self.sender));
        let built = Request::build(&delivery.event, endpoint, target, start, keyring).map(|mut request| {
            if question.is_some() || recipient.has_proved() {
                // Each webhook to a verified receiver names the sender that it has permitted (section 4.1.2).
                request.headers.push((REQUEST_ORIGIN.into(), self.sender.clone()));
            }
            request
        });
        match built {
            Ok(request) if let Some(destination) = &endpoint.destination => {
                // In a box, because it is rare and would make every attempt's future larger.
                Box::pin(self.put(delivery, destination, request, start, timeout)).await
            }
            Ok(request) => Ok(match (preflight, question) {
                (Some(preflight), Some(Question { challenge, .. })) => {
                    // In a box, because it is rare and would make every attempt's future larger.
                    let proof = self.webhooks.prove(preflight, request, &self.sender, challenge, access, timeout);
                    Box::pin(proof).await
                }
                _ => self.webhooks.send(request, access, timeout).await,
            }),
            Err(RequestError::UrlTooLong { bytes }) => failed(AttemptError::UrlTooLong { bytes }),
            Err(error @ (RequestError::NoSigner(_) | RequestError::Signer(_))) => Err(DeferredError::Unbuilt(error)),
        }
    }

    /// Puts a webhook into the queue or on the event bus of a customer.
    async fn put(
        &self,
        delivery: &Delivery,
        destination: &Destination,
        request: Request,
        start: AttemptStart,
        timeout: Duration,
    ) -> Result<Exchange, Deferred<P>> {
        let event = &delivery.event;
        let call = match Call::build(&request, destination, event, start) {
            Ok(call) => call,
            Err(error) => return Ok(Exchange::failed(error)),
        };
        let put = self.webhooks.put(&event.key.tenant, destination, request, call, timeout).await;
        put.map_err(|error| DeferredError::NoRole(Box::new(error)))
    }

    /// Counts an attempt and its times. The times since the event arrived say nothing about a replay.
    fn measure(&self, delivery: &Delivery, attempt: &Attempt, is_replay: bool, result: &AttemptResult) {
        let tenant = &delivery.event.key.tenant;
        self.meter.add_of(tenant, Metric::of_attempt(AttemptClass::of(result)), 1);
        self.meter.sample_of(tenant, Metric::AttemptDuration, attempt.duration_ms);
        let waited_ms = attempt.at_unix_ms.saturating_sub(delivery.arrived_unix_ms);
        if attempt.number == 1 && !is_replay {
            self.meter.sample_of(tenant, Metric::TimeToFirstAttempt, waited_ms);
        }
        if result.is_ok() && !is_replay {
            self.meter.sample_of(tenant, Metric::TimeToAcknowledgement, waited_ms + attempt.duration_ms);
        }
    }

    /// Enables an endpoint that has proved itself as `recipient`, and requests a drain of its parked deliveries.
    async fn verify(&self, delivery: &Delivery, recipient: &ResolvedEndpoint<Access<P>>) -> Result<(), Deferred<P>> {
        let origin = origin(&recipient.endpoint().url);
        // Before it is enabled: after a crash in between, the drain finds it disabled and moves nothing.
        self.parking.ask_to_drain_now(&delivery.event.key.tenant, &delivery.endpoint).await?;
        self.endpoints.verify(&delivery.event.key.tenant, &delivery.endpoint, &origin).await?;
        Ok(())
    }
}

/// Writes the one line per attempt. An endpoint's failure is its owner's concern, so it is `warn`, never `error`.
///
/// Most lines are those of acknowledged attempts, so they have only what is needed to find the record.
fn log(delivery: &Delivery, attempt: &Attempt, next: Next, result: &AttemptResult) {
    match result {
        Ok(_) => tracing::info!(
            tenant.id = %delivery.event.key.tenant,
            event.id = %delivery.event.key.id,
            endpoint.id = %delivery.endpoint,
            attempt.number = (attempt.number > 1).then_some(attempt.number),
            attempt.duration_ms = attempt.duration_ms,
            "delivery.attempted"
        ),
        Err(error) => tracing::warn!(
            tenant.id = %delivery.event.key.tenant,
            event.id = %delivery.event.key.id,
            "event.type" = %delivery.event.kind,
            endpoint.id = %delivery.endpoint,
            attempt.number = attempt.number,
            attempt.status = attempt.status,
            attempt.cause = attempt.cause,
            attempt.duration_ms = attempt.duration_ms,
            key.kids = attempt.kids.join(" "),
            delivery.status = next.status().as_str(),
            error = %Chain(error),
            "delivery.attempted"
        ),
    }
}
