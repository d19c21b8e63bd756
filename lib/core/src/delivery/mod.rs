//! Deliveries: one event to one endpoint, in as many attempts as the endpoint's retry policy allows.

pub mod answer;
pub mod attempt;
pub mod attempt_log;
pub mod breaker;
pub mod cause;
pub mod destination;
pub mod drain;
pub mod hold;
pub mod limits;
pub mod list;
pub mod notices;
pub mod pace;
pub mod parking;
pub mod replay;
pub mod request;
pub mod response_excerpt;
pub mod sent;
mod spelling;
pub mod token_refusal;
pub mod verification;

use std::borrow::Cow;
use std::time::Duration;

use crate::delivery::attempt::{AttemptError, AttemptResult};
use crate::endpoint::EndpointId;
use crate::endpoint::retry::{MAX_WAIT, RetryPolicy};
use crate::event::sequence::SequenceNumber;
use crate::event::{Event, EventKey};
use crate::form::{self, NewerForm};
use crate::input::fault::Fault;
use crate::input::json::{self, text_in};
use crate::input::scanner::Scanner;

/// A delivery of one event to one endpoint, as a message of `DeliveriesQueue` or `SlowDeliveriesQueue` contains it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The endpoint that receives it.
    pub endpoint: EndpointId,
    /// The event.
    pub event: Event,
    /// The time when the event arrived, in milliseconds since the Unix epoch.
    pub arrived_unix_ms: u64,
}

/// A time limit that no attempt exceeds, from the receipt of its message to its record. `DeliverFunction` ends earlier.
pub const LONGEST_ATTEMPT: Duration = Duration::from_secs(95);

/// The maximum number of bytes of a delivery's message without its event.
pub const MESSAGE_OVERHEAD_BYTES: usize = 160;

impl Delivery {
    /// Returns the SQS message body: `{"endpoint":"ep_…","arrivedUnixMs":…,"event":{…}}`, with the event as
    /// [`Event::json`] spells it. Its number and its retention are beside it, as `sequence` and `retentionDays`, if it has them.
    #[must_use]
    pub fn message(endpoint: &EndpointId, event: &Event, arrived_unix_ms: u64) -> String {
        Self::message_with(endpoint, event, Stored::of(event), arrived_unix_ms)
    }

    /// Returns the message of [`Self::message`] for an event that has just been stored.
    #[must_use]
    pub fn message_with(endpoint: &EndpointId, event: &Event, stored: Stored, arrived_unix_ms: u64) -> String {
        let event = event.json();
        let number = stored.number.map(|number| format!(r#""sequence":"{number}","#)).unwrap_or_default();
        let days = stored.retention_days.map(|days| format!(r#""retentionDays":{days},"#)).unwrap_or_default();
        format!(r#"{{"endpoint":"{endpoint}","arrivedUnixMs":{arrived_unix_ms},{number}{days}"event":{event}}}"#)
    }

    /// Returns the body of this delivery's message.
    #[must_use]
    pub fn written(&self) -> String {
        Self::message(&self.endpoint, &self.event, self.arrived_unix_ms)
    }

    /// Parses a message that [`Self::message`] wrote. Members that it does not know are ignored.
    ///
    /// # Errors
    /// All faults. Only `fanout` writes to the queue, so a fault means a foreign message, a defect, or a message of a
    /// newer release ([`Self::newer_form`]).
    pub fn parse(body: &str) -> Result<Self, Vec<Fault>> {
        const EXPECTED: &str = "a message written by fanout";
        if let Some(newer) = Self::newer_form(body) {
            return Err(vec![Fault::whole(format!("form {}", newer.found), format!("form {} or less", form::NEWEST))]);
        }
        let Some(Message {
            endpoint: Some(endpoint),
            arrived_unix_ms: Some(arrived_unix_ms),
            number,
            retention_days,
            event: Some(event),
        }) = Message::scan(body)
        else {
            let raw = json::parse(body, EXPECTED)?;
            return Err(vec![Fault::at("", raw, EXPECTED)]);
        };
        let Some(endpoint) = EndpointId::parse(&endpoint) else {
            return Err(vec![Fault::whole("another `endpoint`", "an endpoint id such as ep_0123…")]);
        };
        let mut event = event?;
        event.number = number;
        event.retention_days = retention_days;
        Ok(Self { endpoint, event, arrived_unix_ms })
    }

    /// Returns the form of a message that only a newer release can read; `None` for any other text.
    #[must_use]
    pub fn newer_form(body: &str) -> Option<NewerForm> {
        let (mut scanner, mut spelled) = (Scanner::new(body), None);
        scanner.object(|scanner, name| {
            if name.text()? == form::MEMBER {
                spelled = Some(scanner.spelled()?);
                return Some(());
            }
            scanner.value()
        })?;
        form::check(spelled).err()
    }

    /// Returns the key of the delivery.
    #[must_use]
    pub fn key(&self) -> DeliveryKey<'_> {
        DeliveryKey {
            event: &self.event.key,
            endpoint: &self.endpoint,
            arrived_unix_ms: self.arrived_unix_ms,
            retention_days: self.event.retention_days,
        }
    }
}

/// The facts about an event that Signpost stores beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Its number, if it was counted.
    pub number: Option<SequenceNumber>,
    /// For how many days it is kept, if its type says so.
    pub retention_days: Option<u16>,
}

impl Stored {
    /// Returns those of a stored event.
    #[must_use]
    pub fn of(event: &Event) -> Self {
        Self { number: event.number, retention_days: event.retention_days }
    }
}

/// The members of a message.
#[derive(Default)]
struct Message<'a> {
    endpoint: Option<Cow<'a, str>>,
    arrived_unix_ms: Option<u64>,
    number: Option<SequenceNumber>,
    retention_days: Option<u16>,
    event: Option<Result<Event, Vec<Fault>>>,
}

impl<'a> Message<'a> {
    /// Scans a message once, with its event. None if it is not a JSON object, or if it has a member of these twice or
    /// with a value of another type.
    fn scan(body: &'a str) -> Option<Self> {
        let (mut scanner, mut message) = (Scanner::new(body), Self::default());
        scanner.object(|scanner, name| match &*name.text()? {
            "arrivedUnixMs" => once(&mut message.arrived_unix_ms, scanner.spelled()?.parse().ok()?),
            "endpoint" => once(&mut message.endpoint, text_in(scanner.spelled()?)?),
            "sequence" => once(&mut message.number, SequenceNumber::parse(&text_in(scanner.spelled()?)?)?),
            "retentionDays" => once(&mut message.retention_days, scanner.spelled()?.parse().ok()?),
            "event" => once(&mut message.event, Event::reread_part(scanner)?),
            _ => scanner.value(),
        })?;
        scanner.end()?;
        Some(message)
    }
}

fn once<T>(member: &mut Option<T>, value: T) -> Option<()> {
    member.replace(value).is_none().then_some(())
}

/// The identity of a delivery, which also determines where its record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryKey<'a> {
    /// The event.
    pub event: &'a EventKey,
    /// The endpoint.
    pub endpoint: &'a EndpointId,
    /// The time when the event first arrived, in milliseconds since the Unix epoch.
    pub arrived_unix_ms: u64,
    /// For how many days the event is kept, if its type says so. It is no part of the identity.
    pub retention_days: Option<u16>,
}

/// The status of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryStatus {
    /// An attempt was acknowledged.
    Delivered,
    /// An operator erased the event. Nothing is sent any more, and nothing else is kept of the delivery.
    Erased,
    /// Signpost gave the delivery up and put it into `DeadLetterQueue`. [`DeadLetterReason`] has the reason.
    Exhausted,
    /// At least one attempt failed, and another one will follow.
    Pending,
}

impl DeliveryStatus {
    /// Returns the word for tables and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Erased => "erased",
            Self::Exhausted => "exhausted",
            Self::Pending => "pending",
        }
    }

    /// Parses a word of [`Self::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Delivered, Self::Erased, Self::Exhausted, Self::Pending]
            .into_iter()
            .find(|status| status.as_str() == text)
    }
}

/// The request of an operator that caused a delivery to be sent, often again: the header `signpost-replay`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayKind {
    /// `POST …/endpoints/{endpoint}/recover`.
    Recover,
    /// The redrive of `DeadLetterQueue`.
    Redrive,
    /// `POST …/events/{id}/replay`, or a bulk replay: `POST …/replays`.
    Replay,
    /// `POST …/endpoints/{endpoint}/test`. It is not a repetition, but the event is not real either.
    Test,
}

impl ReplayKind {
    /// Returns the word for the header and the table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Recover => "recover",
            Self::Redrive => "redrive",
            Self::Replay => "replay",
            Self::Test => "test",
        }
    }

    /// Parses a word of [`Self::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let kinds = [Self::Recover, Self::Redrive, Self::Replay, Self::Test];
        kinds.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// The stored progress of a delivery that has had attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The status of the delivery.
    pub status: DeliveryStatus,
    /// The number of recorded attempts.
    pub attempts: u32,
    /// The number of attempts that the retry policy does not count: those before the last replay, and failed probes
    /// after it.
    pub before_replay: u32,
    /// The earliest time of the next attempt, in milliseconds since the Unix epoch. Valid only while the delivery is
    /// pending.
    pub next_attempt_unix_ms: u64,
    /// The kind of the last replay, if there was one.
    pub replay: Option<ReplayKind>,
    /// The fingerprint of its last request, from [`Sent::print`].
    ///
    /// [`Sent::print`]: crate::delivery::sent::Sent::print
    pub last_sent: Option<u64>,
    /// The fingerprint of the answer that was stored last, from [`answer_print`]. None if no answer was stored since the
    /// last replay.
    ///
    /// [`answer_print`]: crate::delivery::answer::answer_print
    pub last_answer: Option<u64>,
}

/// The record of a delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeliveryRecord {
    /// The progress of the delivery. None before the first attempt is recorded.
    pub progress: Option<Progress>,
    /// The end of the lease, in milliseconds since the Unix epoch: until then, an attempt may be in progress. 0 if
    /// there is no lease.
    pub leased_until_unix_ms: u64,
}

impl DeliveryRecord {
    /// Returns whether an operator erased the event.
    #[must_use]
    pub fn is_erased(&self) -> bool {
        self.progress.is_some_and(|progress| progress.status == DeliveryStatus::Erased)
    }
}

/// The receipt of a delivery by `deliver`. Times are in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// How often `deliver` received its message, including this time.
    pub receives: u32,
    /// How often it received earlier messages of the delivery, each of which it sent again with a delay instead of
    /// keeping it in flight.
    pub earlier_receives: u32,
    /// The time when it received the message first.
    pub first_received_unix_ms: u64,
    /// The start of the wait. If the delivery must wait again, it keeps this time, and so its place in line.
    pub since_unix_ms: u64,
    /// True if another message of the same delivery may exist, for example after a replay or a crash.
    pub is_again: bool,
    /// The queue that it came from.
    pub track: Track,
}

/// One of the two queues of deliveries. Each has its own maximum of invocations of `deliver`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Track {
    /// `DeliveriesQueue`: every delivery comes here first. Only those to quick endpoints ([`pace`]) are sent from here.
    Fast,
    /// `SlowDeliveriesQueue`, for all other endpoints. Each tenant has a maximum of invocations at the same time.
    Slow,
}

impl Receipt {
    /// Returns whether no other instance can be sending the delivery before this one is done. Then it needs no lease.
    ///
    /// Lambda may hold a batch for minutes before it invokes the function, while the account's concurrency is used up.
    /// Then the next receiver would assume too early that this one is done ([`Self::first_may_send_until`]).
    #[must_use]
    pub fn is_only(&self, now_unix_ms: u64) -> bool {
        let is_prompt = now_unix_ms <= self.first_received_unix_ms + millis(PROMPTLY);
        self.receives <= 1 && !self.is_again && is_prompt
    }

    /// Returns the time until which the first receiver of the message may be sending it without a lease. SQS may
    /// deliver a message twice.
    #[must_use]
    pub fn first_may_send_until(&self) -> u64 {
        match self.receives {
            0 | 1 => 0,
            _ => self.first_received_unix_ms + LONGEST_ATTEMPT.as_secs() * 1_000,
        }
    }

    /// Returns how often `deliver` received this message and the earlier ones, in whose place it was sent.
    #[must_use]
    pub fn all_receives(&self) -> u32 {
        self.receives.saturating_add(self.earlier_receives)
    }

    /// Returns how long the delivery waits after an internal error: ten seconds for each receive, at most a quarter of
    /// an hour. Therefore an outage of Signpost causes few repetitions at the receiver.
    #[must_use]
    pub fn wait_after_our_fault(&self) -> Duration {
        Duration::from_secs(10 * u64::from(self.all_receives().clamp(1, 90)))
    }
}

/// How soon after the receive the function must be invoked, so that it ends within the time of an attempt: its timeout
/// is 90 s. One second is left for the difference between the clocks of SQS and Lambda.
const PROMPTLY: Duration = Duration::from_secs(4);

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The number of receives after which internal errors end a delivery. With the waits of
/// [`Receipt::wait_after_our_fault`], this takes more than four days.
pub const MOST_RECEIVES: u32 = 500;

/// The action for a delivery whose message `deliver` has received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Make this attempt now.
    Attempt(DueAttempt),
    /// Nothing: an earlier attempt was acknowledged, and the message is a repetition.
    Delivered,
    /// Wait: another instance may be sending the delivery.
    Elsewhere {
        /// The end of the wait, in milliseconds since the Unix epoch.
        until_unix_ms: u64,
    },
    /// Nothing: an operator erased the event after this message was sent.
    Erased,
    /// Put the delivery into `DeadLetterQueue`, because its retries ended before.
    Exhausted {
        /// The time when they ended, in milliseconds since the Unix epoch.
        since_unix_ms: u64,
    },
    /// Wait until the recorded time, because the message came too early, for example after a crash or an extra receive.
    Wait {
        /// The recorded time, in milliseconds since the Unix epoch.
        until_unix_ms: u64,
    },
}

/// An attempt that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueAttempt {
    /// The number of the attempt. The first is 1.
    pub number: u32,
    /// The number of attempts that the retry policy does not count: those before the last replay, and failed probes
    /// after it.
    pub before_replay: u32,
    /// The recorded time of this attempt, in milliseconds since the Unix epoch. None without a record. A replay changes
    /// this time. Therefore `deliver` records the outcome only if no replay happened in between.
    pub on_record: Option<u64>,
    /// The kind of the last replay, if there was one.
    pub replay: Option<ReplayKind>,
    /// The fingerprint of the previous attempt's request, from [`Sent::print`].
    ///
    /// [`Sent::print`]: crate::delivery::sent::Sent::print
    pub last_sent: Option<u64>,
    /// The fingerprint of the answer that was stored last, from [`answer_print`]. None if no answer was stored since the
    /// last replay.
    ///
    /// [`answer_print`]: crate::delivery::answer::answer_print
    pub last_answer: Option<u64>,
}

const FIRST: Due = Due::Attempt(DueAttempt {
    number: 1,
    before_replay: 0,
    on_record: None,
    replay: None,
    last_sent: None,
    last_answer: None,
});

/// SQS counts visibility in whole seconds, so a message may come back up to one second early.
pub const EARLY_MS: u64 = 999;

/// Decides what to do with a received message, based on the record. Crashes and deferrals raise SQS's receive count, so
/// the count only shows whether another instance may be sending the delivery.
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
        Some(Progress { status: DeliveryStatus::Erased, .. }) => return Due::Erased,
        Some(Progress { status: DeliveryStatus::Exhausted, next_attempt_unix_ms, .. }) => {
            return Due::Exhausted { since_unix_ms: next_attempt_unix_ms };
        }
        Some(Progress { next_attempt_unix_ms, .. }) if next_attempt_unix_ms > now_unix_ms + EARLY_MS => {
            return Due::Wait { until_unix_ms: next_attempt_unix_ms };
        }
        Some(Progress { attempts, before_replay, next_attempt_unix_ms, replay, last_sent, last_answer, .. }) => {
            let (number, on_record) = (attempts + 1, Some(next_attempt_unix_ms));
            Due::Attempt(DueAttempt { number, before_replay, on_record, replay, last_sent, last_answer })
        }
    };
    match standing.leased_until_unix_ms {
        until_unix_ms if now_unix_ms < until_unix_ms => Due::Elsewhere { until_unix_ms },
        _ => attempt,
    }
}

/// The next step after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// No step: the attempt was acknowledged.
    Delivered,
    /// Disable the endpoint, because it wants no more webhooks. The delivery waits until an operator enables it again.
    Disable,
    /// No step: this was the last attempt, or another attempt would fail in the same way.
    Exhausted,
    /// Another attempt after this wait.
    Retry(Duration),
}

impl Next {
    /// Returns the status of the delivery after this step.
    #[must_use]
    pub fn status(self) -> DeliveryStatus {
        match self {
            Self::Delivered => DeliveryStatus::Delivered,
            Self::Exhausted => DeliveryStatus::Exhausted,
            Self::Disable | Self::Retry(_) => DeliveryStatus::Pending,
        }
    }
}

/// Decides the step after attempt `number`, counted from the last replay. `random` is a number from 0 up to 1
/// ([`RetryPolicy::wait_after`]).
///
/// If a receiver asks for a longer wait, the delivery waits longer, up to [`MAX_WAIT`]. It never gets more attempts.
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

/// Decides the step after attempt `number`, which was the probe of an open breaker. Also returns whether the probe is
/// free: then the retry policy does not count it.
///
/// A probe is sent for all deliveries that wait for the endpoint. Therefore its failure costs this delivery no retry:
/// it waits as long as after the previous attempt. A failure that no repetition can correct still ends the delivery.
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

/// The wait of a delivery without retries after it was a probe. The breaker stays open for about the same time.
const AFTER_PROBE: Duration = Duration::from_secs(30);

/// The reason why Signpost gave a delivery up: the attribute `reason` of its message in `DeadLetterQueue`, and of its
/// record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadLetterReason {
    /// The message was not written by `fanout`.
    BadMessage,
    /// Internal errors prevented the delivery for days, for example a secret that cannot be decrypted.
    Deferred,
    /// The endpoint was deleted while the delivery waited.
    EndpointGone,
    /// The event's retention ended while the delivery was parked.
    EventGone,
    /// The last retry failed, or another retry could not succeed.
    Exhausted,
}

impl DeadLetterReason {
    /// Returns the code for the attribute `reason`.
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

    /// Parses a code of [`Self::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let reasons = [Self::BadMessage, Self::Deferred, Self::EndpointGone, Self::EventGone, Self::Exhausted];
        reasons.into_iter().find(|reason| reason.as_str() == text)
    }
}

/// The reason why an event is in `RejectedQueue`: the message attribute `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectionReason {
    /// Another event with the same tenant, source and id has a different payload.
    ConflictingDuplicate,
    /// The message is not a valid event. The attribute `faults` lists the faults.
    InvalidEvent,
}

impl RejectionReason {
    /// Returns the code for the attribute `reason`.
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
            Delivery { endpoint: endpoint.clone(), event: event(), arrived_unix_ms: u64::MAX }
        );
        let mut numbered = event();
        numbered.number = Some(SequenceNumber::first(1_769_853_600));
        numbered.retention_days = Some(u16::MAX);
        let message = Delivery::message(&endpoint, &numbered, u64::MAX);
        assert!(message.len() <= event().json().len() + MESSAGE_OVERHEAD_BYTES);
        let read = Delivery::parse(&message).unwrap();
        assert_eq!((read.event.json(), &read.event), (event().json(), &numbered), "the event itself stays as it was");
        assert!(Delivery::parse(&message.replace("17698536", "1769853x")).is_err(), "no number");
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
            let (attempts, before_replay, replay, last_sent, last_answer) = (2, 0, None, Some(7), Some(8));
            let progress =
                Progress { status, attempts, before_replay, next_attempt_unix_ms, replay, last_sent, last_answer };
            let progress = Some(progress);
            Some(DeliveryRecord { progress, leased_until_unix_ms: 0 })
        };
        let leased =
            |until| at(DeliveryStatus::Pending, 0).map(|one| DeliveryRecord { leased_until_unix_ms: until, ..one });
        let first = Receipt {
            receives: 1,
            earlier_receives: 0,
            first_received_unix_ms: 10_000,
            since_unix_ms: 9_000,
            is_again: false,
            track: Track::Fast,
        };
        let next = |at| {
            let (number, on_record, last_sent, last_answer) = (3, Some(at), Some(7), Some(8));
            Due::Attempt(DueAttempt { number, before_replay: 0, on_record, replay: None, last_sent, last_answer })
        };
        let cases = [
            (None, FIRST, "nothing on record"),
            (at(DeliveryStatus::Pending, 10_000), next(10_000), "exactly due"),
            (at(DeliveryStatus::Pending, 10_999), next(10_999), "within SQS's second"),
            (at(DeliveryStatus::Pending, 9_000), next(9_000), "overdue"),
            (at(DeliveryStatus::Pending, 14_000), Due::Wait { until_unix_ms: 14_000 }, "an extra receive"),
            (at(DeliveryStatus::Delivered, 0), Due::Delivered, "a repetition"),
            (at(DeliveryStatus::Erased, 0), Due::Erased, "its event was erased"),
            (
                at(DeliveryStatus::Exhausted, 7),
                Due::Exhausted { since_unix_ms: 7 },
                "crashed between record and dead letter",
            ),
            (leased(10_001), Due::Elsewhere { until_unix_ms: 10_001 }, "an attempt is under way"),
            (leased(10_000), next(0), "its instance died"),
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
    fn the_first_receiver_of_a_message_has_the_time_of_an_attempt() {
        let track = Track::Fast;
        let receipt = |receives, is_again| Receipt {
            receives,
            earlier_receives: 0,
            first_received_unix_ms: 0,
            since_unix_ms: 0,
            is_again,
            track,
        };
        let (begin, wait) = (FIRST, Due::Elsewhere { until_unix_ms: 95_000 });
        let nothing_sent = Some(DeliveryRecord::default());
        let cases = [
            (receipt(1, false), None, 0, begin, true, "the only message"),
            (receipt(1, false), None, 4_000, begin, true, "the only message, after a cold start"),
            (receipt(1, false), None, 4_001, begin, false, "Lambda held it, and the next receiver does not know"),
            (receipt(1, true), None, 0, begin, false, "another message of the same delivery may exist"),
            (receipt(2, false), None, 94_999, wait, false, "SQS may have delivered it twice"),
            (receipt(2, false), None, 95_000, begin, false, "the first receiver died"),
            (
                receipt(2, false),
                nothing_sent,
                1_000,
                begin,
                false,
                "the first receiver released its lease without sending",
            ),
        ];
        for (receipt, standing, now, expected, is_only, why) in cases {
            assert_eq!(due(standing, &receipt, now), expected, "{why}");
            assert_eq!(receipt.is_only(now), is_only, "{why}");
        }
    }

    #[test]
    fn faults_on_our_side_are_waited_out_for_days() {
        let (is_again, track) = (false, Track::Fast);
        let receipt = |receives, earlier_receives| Receipt {
            receives,
            earlier_receives,
            first_received_unix_ms: 0,
            since_unix_ms: 0,
            is_again,
            track,
        };
        let wait = |receives| receipt(receives, 0).wait_after_our_fault().as_secs();
        assert_eq!([0, 1, 2, 90, 91, 1_000].map(wait), [10, 10, 20, 900, 900, 900]);
        assert_eq!(receipt(1, 4).wait_after_our_fault().as_secs(), 50, "a message in place of another");
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
        assert_eq!(next(&hopeless, 1, &policy, 0.0), Next::Exhausted, "a repetition would fail in the same way");
    }

    #[test]
    fn a_probe_that_fails_costs_no_retry() {
        let policy = RetryPolicy::fixed(2, 5).unwrap();
        let retry = |seconds| (Next::Retry(Duration::from_secs(seconds)), true);
        for number in 1..=3 {
            assert_eq!(next_of_probe(&judge_status(500, None), number, &policy, 0.0), retry(5), "attempt {number}");
        }
        let none = RetryPolicy::fixed(0, 5).unwrap();
        assert_eq!(next_of_probe(&judge_status(500, None), 1, &none, 0.0), retry(30), "even without retries");
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
            (503, None, 1, retry(60), "not requested"),
            (500, Some(120), 1, retry(60), "a status without `Retry-After`"),
            (429, Some(u64::MAX), 1, retry(43_200), "for ever: at most twelve hours"),
            (429, Some(120), 3, Next::Exhausted, "no more attempts than the policy allows"),
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
        use DeliveryStatus::{Delivered, Erased, Exhausted, Pending};
        for status in [Delivered, Erased, Exhausted, Pending] {
            assert_eq!(DeliveryStatus::parse(status.as_str()), Some(status));
        }
        assert_eq!(DeliveryStatus::parse("lost"), None);
    }
}
