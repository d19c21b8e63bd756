//! Deliveries: one event to one endpoint, over as many attempts as its retry policy allows.

pub mod attempt;
pub mod breaker;
pub mod cause;
pub mod drain;
pub mod hold;
pub mod limits;
pub mod list;
pub mod parking;
pub mod request;
pub mod response_excerpt;
pub mod sent;
mod spelling;
pub mod token_refusal;
pub mod verification;

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::delivery::attempt::{AttemptError, AttemptResult};
use crate::endpoint::EndpointId;
use crate::endpoint::retry::{MAX_WAIT, RetryPolicy};
use crate::event::{Event, EventKey};
use crate::input::fault::Fault;
use crate::input::json;

/// One event on its way to one endpoint: what a message of `DeliveriesQueue` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Where it goes.
    pub endpoint: EndpointId,
    /// What is delivered.
    pub event: Event,
    /// When the event arrived, in milliseconds since the Unix epoch.
    pub arrived_unix_ms: u64,
}

/// Longer than an attempt can last, from the receipt of its message to its record: `DeliverFunction` ends before.
pub const LONGEST_ATTEMPT: Duration = Duration::from_secs(95);

/// The most bytes that a delivery's message has beyond its event.
pub const MESSAGE_OVERHEAD_BYTES: usize = 128;

impl Delivery {
    /// The SQS message body: `{"endpoint":"ep_…","arrivedUnixMs":…,"event":{…}}`, the event as [`Event::json`] spells it.
    #[must_use]
    pub fn message(endpoint: &EndpointId, event: &Event, arrived_unix_ms: u64) -> String {
        format!(r#"{{"endpoint":"{endpoint}","arrivedUnixMs":{arrived_unix_ms},"event":{}}}"#, event.json())
    }

    /// The body of its own message.
    #[must_use]
    pub fn written(&self) -> String {
        Self::message(&self.endpoint, &self.event, self.arrived_unix_ms)
    }

    /// Reads what [`Self::message`] wrote.
    ///
    /// # Errors
    /// Every fault found. Nothing but `fanout` writes to the queue, so this is somebody else's message or a defect.
    pub fn parse(body: &str) -> Result<Self, Vec<Fault>> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Message<'a> {
            endpoint: String,
            arrived_unix_ms: u64,
            #[serde(borrow)]
            event: &'a RawValue,
        }

        const EXPECTED: &str = "a message that fanout wrote";
        let raw = json::parse(body, EXPECTED)?;
        let message: Message<'_> = serde_json::from_str(raw.get()).map_err(|_| vec![Fault::at("", raw, EXPECTED)])?;
        let Some(endpoint) = EndpointId::parse(&message.endpoint) else {
            return Err(vec![Fault::whole("another `endpoint`", "an endpoint id such as ep_0123…")]);
        };
        Ok(Self { endpoint, event: Event::reread(message.event)?, arrived_unix_ms: message.arrived_unix_ms })
    }

    /// Which delivery it is.
    #[must_use]
    pub fn key(&self) -> DeliveryKey<'_> {
        DeliveryKey { event: &self.event.key, endpoint: &self.endpoint, arrived_unix_ms: self.arrived_unix_ms }
    }
}

/// What makes a delivery the same delivery, and tells where its record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryKey<'a> {
    /// The event.
    pub event: &'a EventKey,
    /// The endpoint.
    pub endpoint: &'a EndpointId,
    /// When the event arrived for the first time, in milliseconds since the Unix epoch.
    pub arrived_unix_ms: u64,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryStatus {
    /// An attempt acknowledged it.
    Delivered,
    /// It was given up, and put into `DeadLetterQueue`: [`DeadLetterReason`] says why.
    Exhausted,
    /// At least one attempt failed and another will follow.
    Pending,
}

impl DeliveryStatus {
    /// The word in tables and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Exhausted => "exhausted",
            Self::Pending => "pending",
        }
    }

    /// Reads what [`Self::as_str`] wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Delivered, Self::Exhausted, Self::Pending].into_iter().find(|status| status.as_str() == text)
    }
}

/// How a delivery came to be sent again, or for the first time, at an operator's request: the header `signpost-replay`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayKind {
    /// `POST …/endpoints/{endpoint}/recover`.
    Recover,
    /// The redrive of `DeadLetterQueue`.
    Redrive,
    /// `POST …/events/{id}/replay`.
    Replay,
    /// `POST …/endpoints/{endpoint}/test`: not a repetition, but nothing that happened either.
    Test,
}

impl ReplayKind {
    /// The word in the header and in the table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Recover => "recover",
            Self::Redrive => "redrive",
            Self::Replay => "replay",
            Self::Test => "test",
        }
    }

    /// Reads what [`Self::as_str`] wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let kinds = [Self::Recover, Self::Redrive, Self::Replay, Self::Test];
        kinds.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// What the table knows of a delivery that has had attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Where it stands.
    pub status: DeliveryStatus,
    /// How many attempts are on record.
    pub attempts: u32,
    /// How many of them the retry policy does not count: those before the last replay, and failed probes since.
    pub before_replay: u32,
    /// The earliest moment of the next attempt, in milliseconds since the Unix epoch; meaningless once it is not pending.
    pub next_attempt_unix_ms: u64,
    /// Which request of an operator it was last sent again by, if any.
    pub replay: Option<ReplayKind>,
    /// What its last request was, by [`Sent::print`].
    ///
    /// [`Sent::print`]: crate::delivery::sent::Sent::print
    pub last_sent: Option<u64>,
}

/// What is on record of a delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeliveryRecord {
    /// Where it stands; nothing before its first attempt is on record.
    pub progress: Option<Progress>,
    /// Until when, in milliseconds since the Unix epoch, an attempt that was begun may still be under way; 0 if none is.
    pub leased_until_unix_ms: u64,
}

/// How a delivery came to who is to send it. Moments are milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// How often its message was received, this time included.
    pub receives: u32,
    /// When that was for the first time.
    pub first_received_unix_ms: u64,
    /// Since when it waits: its place in line, wherever it has to wait again.
    pub since_unix_ms: u64,
    /// Whether there may be another message of the same delivery, as after a replay or a crash.
    pub is_again: bool,
}

impl Receipt {
    /// Whether nobody else can know of the delivery: nothing has to be claimed.
    #[must_use]
    pub fn is_only(&self) -> bool {
        self.receives <= 1 && !self.is_again
    }

    /// The moment before which somebody who received the same message first may be sending it without a lease. SQS may
    /// present a message twice.
    #[must_use]
    pub fn first_may_send_until(&self) -> u64 {
        match self.receives {
            0 | 1 => 0,
            _ => self.first_received_unix_ms + LONGEST_ATTEMPT.as_secs() * 1_000,
        }
    }

    /// How long its message waits after a fault on our side: ten seconds more for each time it was received, up to a
    /// quarter of an hour, so that an outage of ours meets a receiver with few repetitions.
    #[must_use]
    pub fn wait_after_our_fault(&self) -> Duration {
        Duration::from_secs(10 * u64::from(self.receives.clamp(1, 90)))
    }
}

/// How often a message is received before faults on our side end it: at the waits of
/// [`Receipt::wait_after_our_fault`], for more than four days.
pub const MOST_RECEIVES: u32 = 500;

/// What to do with a delivery whose message has just been received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Make this attempt now.
    Attempt(DueAttempt),
    /// Acknowledged before; the message is a repetition.
    Delivered,
    /// Somebody else may be sending it: come back when that is over.
    Elsewhere {
        /// In milliseconds since the Unix epoch.
        until_unix_ms: u64,
    },
    /// Out of retries before; what is left is to see it into `DeadLetterQueue`.
    Exhausted {
        /// When that was, in milliseconds since the Unix epoch.
        since_unix_ms: u64,
    },
    /// Too early, as after a crash or an extra receive: come back at the moment on record.
    Wait {
        /// In milliseconds since the Unix epoch.
        until_unix_ms: u64,
    },
}

/// An attempt that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueAttempt {
    /// Its number; the first is 1.
    pub number: u32,
    /// How many attempts the retry policy does not count: those before the last replay, and failed probes since.
    pub before_replay: u32,
    /// The moment that is on record for it, in milliseconds since the Unix epoch; nothing if there is no record. A replay
    /// changes it, so that what comes of the attempt is recorded only if there was none meanwhile.
    pub on_record: Option<u64>,
    /// Which request of an operator it is sent again by, if any.
    pub replay: Option<ReplayKind>,
    /// What the attempt before it sent, by [`Sent::print`].
    ///
    /// [`Sent::print`]: crate::delivery::sent::Sent::print
    pub last_sent: Option<u64>,
}

const FIRST: Due =
    Due::Attempt(DueAttempt { number: 1, before_replay: 0, on_record: None, replay: None, last_sent: None });

/// SQS counts visibility in whole seconds, so a message may come back up to a second early.
pub const EARLY_MS: u64 = 999;

/// Decides what a received message asks for, from what is on record. SQS's receive count, which crashes and deferrals
/// burn, counts for nothing but the doubt whether somebody else is at it.
#[must_use]
pub fn due(standing: Option<DeliveryRecord>, receipt: &Receipt, now_unix_ms: u64) -> Due {
    let Some(standing) = standing else {
        return match receipt.first_may_send_until() {
            until_unix_ms if now_unix_ms < until_unix_ms => Due::Elsewhere { until_unix_ms },
            _ => FIRST,
        };
    };
    let attempt = match standing.progress {
        None => FIRST,
        Some(Progress { status: DeliveryStatus::Delivered, .. }) => return Due::Delivered,
        Some(Progress { status: DeliveryStatus::Exhausted, next_attempt_unix_ms, .. }) => {
            return Due::Exhausted { since_unix_ms: next_attempt_unix_ms };
        }
        Some(Progress { next_attempt_unix_ms, .. }) if next_attempt_unix_ms > now_unix_ms + EARLY_MS => {
            return Due::Wait { until_unix_ms: next_attempt_unix_ms };
        }
        Some(Progress { attempts, before_replay, next_attempt_unix_ms, replay, last_sent, .. }) => {
            let (number, on_record) = (attempts + 1, Some(next_attempt_unix_ms));
            Due::Attempt(DueAttempt { number, before_replay, on_record, replay, last_sent })
        }
    };
    match standing.leased_until_unix_ms {
        until_unix_ms if now_unix_ms < until_unix_ms => Due::Elsewhere { until_unix_ms },
        _ => attempt,
    }
}

/// What follows an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: it was acknowledged.
    Delivered,
    /// Nothing until the endpoint, which wants nothing more, is enabled again.
    Disable,
    /// Nothing: that was the last attempt, or another would fail the same.
    Exhausted,
    /// Another attempt after this wait.
    Retry(Duration),
}

impl Next {
    /// Where the delivery stands now.
    #[must_use]
    pub fn status(self) -> DeliveryStatus {
        match self {
            Self::Delivered => DeliveryStatus::Delivered,
            Self::Exhausted => DeliveryStatus::Exhausted,
            Self::Disable | Self::Retry(_) => DeliveryStatus::Pending,
        }
    }
}

/// Decides what follows attempt `number`, counted from the last replay. `random` is any number from 0 up to 1 ([`RetryPolicy::wait_after`]).
///
/// A receiver that asks for a longer wait gets it, up to [`MAX_WAIT`]; it never gets more attempts.
#[must_use]
pub fn next(result: &AttemptResult, number: u32, policy: &RetryPolicy, random: f64) -> Next {
    match (result, policy.wait_after(number, random)) {
        (Ok(_), _) => Next::Delivered,
        (Err(AttemptError::Rejected { status: 410, .. }), _) => Next::Disable,
        (Err(error), Some(wait)) if error.is_retryable() => {
            Next::Retry(wait.max(error.asks_to_wait().unwrap_or_default().min(MAX_WAIT)))
        }
        (Err(_), _) => Next::Exhausted,
    }
}

/// Decides what follows attempt `number` that was the probe of an open breaker. Returns as well whether it is free: the retry
/// policy then does not count it.
///
/// A probe is sent on behalf of all deliveries that wait for the endpoint, so its failure costs this one no retry: it waits as
/// long as after the attempt before. A failure that no repetition can mend ends the delivery as it does without a breaker.
#[must_use]
pub fn next_of_probe(result: &AttemptResult, number: u32, policy: &RetryPolicy, random: f64) -> (Next, bool) {
    match result {
        Err(error) if error.is_retryable() && !matches!(error, AttemptError::Rejected { status: 410, .. }) => {
            let wait = policy.wait_after(number.saturating_sub(1).max(1), random).unwrap_or(AFTER_PROBE);
            (Next::Retry(wait.max(error.asks_to_wait().unwrap_or_default().min(MAX_WAIT))), true)
        }
        Ok(_) | Err(_) => (next(result, number, policy, random), false),
    }
}

/// How long a delivery without retries waits after it was a probe: about as long as the breaker stays open.
const AFTER_PROBE: Duration = Duration::from_secs(30);

/// Why a delivery was given up: the attribute `reason` of its message in `DeadLetterQueue`, and of its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadLetterReason {
    /// The message is none that `fanout` writes.
    BadMessage,
    /// Faults on our side kept it from being sent for days, such as a secret that does not open.
    Deferred,
    /// The endpoint was removed while the delivery waited.
    EndpointGone,
    /// The event's retention ended while the delivery was parked.
    EventGone,
    /// The last retry failed, or there was no use in another.
    Exhausted,
}

impl DeadLetterReason {
    /// The code in the `reason` attribute.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadMessage => "bad-message",
            Self::Deferred => "deferred",
            Self::EndpointGone => "endpoint-gone",
            Self::EventGone => "event-gone",
            Self::Exhausted => "exhausted",
        }
    }

    /// Reads what [`Self::as_str`] wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let reasons = [Self::BadMessage, Self::Deferred, Self::EndpointGone, Self::EventGone, Self::Exhausted];
        reasons.into_iter().find(|reason| reason.as_str() == text)
    }
}

/// Why an event is in `RejectedQueue`: the message attribute `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectionReason {
    /// Another event of the same tenant, source and id has a different payload.
    ConflictingDuplicate,
    /// The message is no valid event; the attribute `faults` lists why.
    InvalidEvent,
}

impl RejectionReason {
    /// The code in the `reason` attribute.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConflictingDuplicate => "conflicting-duplicate",
            Self::InvalidEvent => "invalid-event",
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::delivery::attempt::judge_status;

    fn event() -> Event {
        Event::parse(
            r#"{"specversion":"1.0","id":"1","source":"/core","type":"t","tenant":"acme","data":{"n":"a b","x":10.10}}"#,
        )
        .unwrap()
    }

    #[test]
    fn a_message_reads_back_as_the_same_delivery() {
        let endpoint = EndpointId::new(Uuid::from_u128(1));
        let message = Delivery::message(&endpoint, &event(), u64::MAX);
        assert!(message.len() <= event().json().len() + MESSAGE_OVERHEAD_BYTES);
        assert_eq!(
            Delivery::parse(&message).unwrap(),
            Delivery { endpoint, event: event(), arrived_unix_ms: u64::MAX }
        );
    }

    #[test]
    fn foreign_messages_are_refused() {
        for body in ["", "hello", "{}", r#"{"endpoint":"x","arrivedUnixMs":0,"event":{}}"#, event().json()] {
            assert!(Delivery::parse(body).is_err(), "{body}");
        }
    }

    #[test]
    fn the_record_decides_what_is_due() {
        let at = |status, next_attempt_unix_ms| {
            let (attempts, before_replay, replay, last_sent) = (2, 0, None, Some(7));
            let progress = Progress { status, attempts, before_replay, next_attempt_unix_ms, replay, last_sent };
            let progress = Some(progress);
            Some(DeliveryRecord { progress, leased_until_unix_ms: 0 })
        };
        let leased =
            |until| at(DeliveryStatus::Pending, 0).map(|one| DeliveryRecord { leased_until_unix_ms: until, ..one });
        let first = Receipt { receives: 1, first_received_unix_ms: 10_000, since_unix_ms: 9_000, is_again: false };
        let next = |at| {
            let (number, on_record, last_sent) = (3, Some(at), Some(7));
            Due::Attempt(DueAttempt { number, before_replay: 0, on_record, replay: None, last_sent })
        };
        let cases = [
            (None, FIRST, "nothing on record"),
            (at(DeliveryStatus::Pending, 10_000), next(10_000), "exactly due"),
            (at(DeliveryStatus::Pending, 10_999), next(10_999), "within SQS's second"),
            (at(DeliveryStatus::Pending, 9_000), next(9_000), "overdue"),
            (at(DeliveryStatus::Pending, 14_000), Due::Wait { until_unix_ms: 14_000 }, "an extra receive"),
            (at(DeliveryStatus::Delivered, 0), Due::Delivered, "a repetition"),
            (
                at(DeliveryStatus::Exhausted, 7),
                Due::Exhausted { since_unix_ms: 7 },
                "crashed between record and dead letter",
            ),
            (leased(10_001), Due::Elsewhere { until_unix_ms: 10_001 }, "an attempt is under way"),
            (leased(10_000), next(0), "whoever made it has died"),
            (
                Some(DeliveryRecord { progress: None, leased_until_unix_ms: 10_001 }),
                Due::Elsewhere { until_unix_ms: 10_001 },
                "the first attempt is under way",
            ),
        ];
        for (standing, expected, why) in cases {
            assert_eq!(due(standing, &first, 10_000), expected, "{why}");
        }
    }

    #[test]
    fn who_received_a_message_first_gets_the_time_of_an_attempt() {
        let receipt = |receives, is_again| Receipt { receives, first_received_unix_ms: 0, since_unix_ms: 0, is_again };
        let (begin, wait) = (FIRST, Due::Elsewhere { until_unix_ms: 95_000 });
        let nothing_sent = Some(DeliveryRecord::default());
        let cases = [
            (receipt(1, false), None, 0, begin, true, "the only one"),
            (receipt(1, true), None, 0, begin, false, "another message of the same delivery may be about"),
            (receipt(2, false), None, 94_999, wait, false, "SQS may have presented it twice"),
            (receipt(2, false), None, 95_000, begin, false, "whoever received it first has died"),
            (
                receipt(2, false),
                nothing_sent,
                1_000,
                begin,
                false,
                "whoever received it first said that it was not sent",
            ),
        ];
        for (receipt, standing, now, expected, is_only, why) in cases {
            assert_eq!(due(standing, &receipt, now), expected, "{why}");
            assert_eq!(receipt.is_only(), is_only, "{why}");
        }
    }

    #[test]
    fn faults_on_our_side_are_waited_out_for_days() {
        let receipt = |receives| Receipt { receives, first_received_unix_ms: 0, since_unix_ms: 0, is_again: false };
        let wait = |receives| receipt(receives).wait_after_our_fault().as_secs();
        assert_eq!([0, 1, 2, 90, 91, 1_000].map(wait), [10, 10, 20, 900, 900, 900]);
        assert!((1..MOST_RECEIVES).map(wait).sum::<u64>() > 4 * 24 * 3_600);
    }

    #[test]
    fn the_last_failure_exhausts() {
        let policy = RetryPolicy::fixed(2, 5).unwrap();
        let retry = Next::Retry(Duration::from_secs(5));
        let cases = [
            (500, 1, retry),
            (302, 2, retry),
            (404, 2, retry),
            (500, 3, Next::Exhausted),
            (200, 3, Next::Delivered),
            (410, 1, Next::Disable),
            (410, 3, Next::Disable),
        ];
        for (status, number, expected) in cases {
            let result = judge_status(status, None);
            assert_eq!(next(&result, number, &policy, 0.0), expected, "{status} at attempt {number}");
        }
        let hopeless = Err(AttemptError::UrlTooLong { bytes: 70_000 });
        assert_eq!(next(&hopeless, 1, &policy, 0.0), Next::Exhausted, "the same again would fail the same");
    }

    #[test]
    fn a_probe_that_fails_costs_no_retry() {
        let policy = RetryPolicy::fixed(2, 5).unwrap();
        let retry = |seconds| (Next::Retry(Duration::from_secs(seconds)), true);
        for number in 1..=3 {
            assert_eq!(next_of_probe(&judge_status(500, None), number, &policy, 0.0), retry(5), "attempt {number}");
        }
        let none = RetryPolicy::fixed(0, 5).unwrap();
        assert_eq!(next_of_probe(&judge_status(500, None), 1, &none, 0.0), retry(30), "not even where there are none");
        let asked = judge_status(503, Some(Duration::from_secs(77)));
        assert_eq!(next_of_probe(&asked, 3, &policy, 0.0), retry(77));
        assert_eq!(next_of_probe(&judge_status(204, None), 3, &policy, 0.0), (Next::Delivered, false));
        assert_eq!(next_of_probe(&judge_status(410, None), 3, &policy, 0.0), (Next::Disable, false));
        let hopeless = Err(AttemptError::UrlTooLong { bytes: 70_000 });
        assert_eq!(next_of_probe(&hopeless, 1, &policy, 0.0), (Next::Exhausted, false));
    }

    #[test]
    fn a_receiver_that_asks_for_a_longer_wait_gets_it_within_reason() {
        let policy = RetryPolicy::fixed(2, 60).unwrap();
        let retry = |seconds| Next::Retry(Duration::from_secs(seconds));
        let cases = [
            (429, Some(120), 1, retry(120), "longer"),
            (503, Some(120), 1, retry(120), "longer"),
            (503, Some(5), 1, retry(60), "shorter than the policy's own"),
            (503, None, 1, retry(60), "not asked for"),
            (500, Some(120), 1, retry(60), "no status that may ask"),
            (429, Some(u64::MAX), 1, retry(43_200), "for ever: twelve hours at the most"),
            (429, Some(120), 3, Next::Exhausted, "no more attempts than the policy's"),
        ];
        for (status, asked, number, expected, why) in cases {
            let result = judge_status(status, asked.map(Duration::from_secs));
            assert_eq!(next(&result, number, &policy, 0.0), expected, "{why}");
        }
    }

    #[test]
    fn kinds_of_replays_read_back() {
        for kind in [ReplayKind::Recover, ReplayKind::Redrive, ReplayKind::Replay, ReplayKind::Test] {
            assert_eq!(ReplayKind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(ReplayKind::parse("again"), None);
    }

    #[test]
    fn reasons_read_back() {
        use DeadLetterReason::{BadMessage, Deferred, EndpointGone, EventGone, Exhausted};
        for reason in [BadMessage, Deferred, EndpointGone, EventGone, Exhausted] {
            assert_eq!(DeadLetterReason::parse(reason.as_str()), Some(reason));
        }
        assert_eq!(DeadLetterReason::parse("lost"), None);
    }

    #[test]
    fn statuses_read_back() {
        for status in [DeliveryStatus::Delivered, DeliveryStatus::Exhausted, DeliveryStatus::Pending] {
            assert_eq!(DeliveryStatus::parse(status.as_str()), Some(status));
        }
        assert_eq!(DeliveryStatus::parse("lost"), None);
    }
}
