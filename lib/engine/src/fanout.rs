//! The work of `fanout`: stores each event once, and the state of its subject, and queues one delivery for every
//! endpoint that subscribes to it.

mod send;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join, join_all, try_join, try_join_all};
use signpost_core::delivery::{RejectionReason, Stored};
use signpost_core::endpoint::NOTICE_TYPES;
use signpost_core::event::catalogue::retention_of;
use signpost_core::event::sequence;
use signpost_core::event::sns::message_in;
use signpost_core::event::{Event, TenantId};
use signpost_core::input::fault::Fault;
use signpost_core::input::json::minify;
use signpost_core::status::state::Moment;

use crate::catalogue::{Schemas, TenantSchemas};
use crate::logs::Chain;
use crate::metrics::{Meter, Metric};
use crate::ports::Ports;
use crate::ports::clock::{Clock as _, Random as _};
use crate::ports::events::{Arrival, Events as _, FirstFanOut, Insertion, States as _};
use crate::ports::queue::{MAX_BATCH_BYTES, Message, Queue as _};
use crate::ports::subscriptions::{Subscriptions as _, Version};
use crate::subscription_cache::{SubscriptionCache, TenantSubscriptions};

use send::{CALL_TIMEOUT, End, FanOut, Sent};

/// One environment of `fanout`.
pub struct Fanout<P: Ports> {
    ports: FanoutPorts<P>,
    known: SubscriptionCache,
    schemas: Schemas,
}

/// The ports of one environment.
pub struct FanoutPorts<P: Ports> {
    /// Time.
    pub clock: P::Clock,
    /// The queue for one message per event and endpoint.
    pub deliveries_queue: P::Queue,
    /// The events.
    pub events: P::Events,
    /// The queues that bring notices about endpoints to the operator.
    pub notices_queues: Vec<P::Queue>,
    /// The queue that producers' events come from.
    pub events_queue: P::Queue,
    /// The metrics.
    pub meter: Meter,
    /// The queue that Signpost's own events come from.
    pub own_events_queue: P::Queue,
    /// Chance.
    pub random: P::Random,
    /// The queue for invalid events, and for those that conflict with another.
    pub rejected_queue: P::Queue,
    /// How long events are kept.
    pub retention: Duration,
    /// The states of subjects.
    pub states: P::States,
    /// The subscriptions of the endpoints.
    pub subscriptions: P::Subscriptions,
}

/// One message of `EventsQueue` or `OwnEventsQueue`.
#[derive(Clone, Copy, Debug)]
pub struct QueuedEvent<'a> {
    /// `MessageId`.
    pub message_id: &'a str,
    /// `ReceiptHandle`: names this receipt of the message.
    pub receipt_handle: &'a str,
    /// `ApproximateReceiveCount`: how often the message was presented, this time included.
    pub receives: u32,
    /// The content: an event in structured JSON, or a notification of SNS with one.
    pub body: &'a str,
    /// When SQS accepted it, in milliseconds since the Unix epoch: the same each time it is presented.
    pub arrived_unix_ms: u64,
    /// Whether Signpost itself wrote it, because it came from `OwnEventsQueue`.
    pub is_own: bool,
}

impl QueuedEvent<'_> {
    fn event(&self) -> Result<Event, Vec<Fault>> {
        if self.is_own { Event::parse_own(self.body) } else { Event::parse(&message_in(self.body)) }
    }
}

/// The decision on a message.
enum Outcome<'a> {
    Deliver(FanOut<'a>),
    Drop,
    Reject(Message),
}

/// When a message comes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    /// At once, because only the time was too short.
    GoesOn,
    /// After some seconds, because a call failed.
    Failed,
}

/// How long after the start of an invocation each of its steps ends at the latest. After them come two calls of at most
/// 4 seconds each, one to a table and one to a queue. The sum is less than `FanoutFunction.Timeout`, 30 seconds.
const READ_UNTIL: Duration = Duration::from_secs(6);
const JUDGE_UNTIL: Duration = Duration::from_secs(14);
/// Until when a call to send may begin. It takes [`CALL_TIMEOUT`] at most.
const SEND_UNTIL: Duration = Duration::from_secs(12);

/// How long a message waits after a failed call: this, or up to twice as long, at random, so that the messages of an outage
/// do not come back together. It waits longer with each receipt, up to a minute.
const LEAST_WAIT: Duration = Duration::from_secs(5);
const MOST_WAITS: u32 = 6;

/// The role of a message for its event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    /// The event is new. This message fans it out.
    First,
    /// This message fans the event out again, to the endpoints of the first time. SQS presented it again after a crash
    /// or a failed call, and some of its deliveries may be queued already. Endpoints that were added meanwhile do not
    /// get it.
    Again,
    /// Another message brought the same event shortly before, and fans it out.
    Duplicate,
    /// Another message brought an event with the same key and a different payload.
    Conflict,
}

/// How long, in seconds, the message that brought an event is assumed to be alive, so that a repetition can be left to
/// it. SQS presents it for far longer, but it may have gone to a dead-letter queue and come back under a new id. A
/// repetition that comes later than this sends the deliveries again; `deliver` recognises those on record.
const OWNER_ALIVE_SECONDS: u64 = 900;

/// Decides what a message does with its event, if `existing` was stored before `ours`. A notice that `deliver` sends again
/// may have other figures; the first one counts.
fn claim(existing: Option<&FirstFanOut>, ours: &FirstFanOut, is_notice: bool) -> Claim {
    match existing {
        None => Claim::First,
        Some(existing) if is_notice && existing.message_id != ours.message_id => Claim::Duplicate,
        Some(existing) if existing.payload_hash != ours.payload_hash => Claim::Conflict,
        Some(existing) => {
            let is_owner = existing.message_id == ours.message_id;
            let is_alive = ours.at_unix_seconds < existing.at_unix_seconds + OWNER_ALIVE_SECONDS;
            if !is_owner && is_alive { Claim::Duplicate } else { Claim::Again }
        }
    }
}

/// The subscriptions of the tenants of one batch. A tenant whose subscriptions could not be read is missing.
type SubscriptionsByTenant<'a> = HashMap<&'a TenantId, OfTenant>;

/// The facts that a batch knows of a tenant.
struct OfTenant {
    subscriptions: Arc<TenantSubscriptions>,
    /// When the tenant was erased: events that arrived before are dropped ([`Version::erased_until_unix_ms`]).
    erased_until_unix_ms: u64,
}

impl<P: Ports> Fanout<P> {
    /// Creates an environment, which remembers nothing yet.
    pub fn new(ports: FanoutPorts<P>) -> Self {
        Self { ports, known: SubscriptionCache::default(), schemas: Schemas::default() }
    }

    /// Fans out every event of a batch. Returns the ids of the messages that SQS must present again: after an internal
    /// error, or because the time was too short for all endpoints. The failure of one tenant concerns only its own events.
    /// An invalid event, or one that conflicts with another, goes to `RejectedQueue` and is done.
    pub async fn handle<'a>(&self, batch: &[QueuedEvent<'a>]) -> Vec<&'a str> {
        let began = self.ports.clock.elapsed();
        let parsed: Vec<_> = batch.iter().map(QueuedEvent::event).collect();
        let tenants: HashSet<_> = parsed.iter().flatten().map(|event| &event.key.tenant).collect();
        let subscriptions = self.subscriptions_of(tenants.into_iter().collect(), began + READ_UNTIL).await;

        let outcomes = batch.iter().zip(&parsed).map(async |(message, parsed)| {
            let judged = self.judge(message, parsed, &subscriptions);
            self.until(began + JUDGE_UNTIL, judged).await.unwrap_or(Err(FanOutError::TooSlow))
        });
        let outcomes = join_all(outcomes).await;
        let mut again = Vec::new();
        let (mut fan_outs, mut rejections) = (Vec::new(), Vec::new());
        for (message, outcome) in batch.iter().zip(outcomes) {
            match outcome {
                Ok(Outcome::Deliver(fan_out)) => fan_outs.push((message, fan_out)),
                Ok(Outcome::Reject(rejected)) => rejections.push((message, rejected)),
                Ok(Outcome::Drop) => {}
                Err(error) => {
                    tracing::error!(message.id = message.message_id, error = %Chain(&error), "event.not_fanned_out");
                    again.push((message, Again::Failed));
                }
            }
        }
        let (sent, not_rejected) = join(self.send(fan_outs, began + SEND_UNTIL), self.reject(rejections)).await;
        again.extend(sent);
        again.extend(not_rejected.into_iter().map(|message| (message, Again::Failed)));
        let failed = again.iter().filter(|(_, when)| *when == Again::Failed).count();
        self.ports.meter.add(Metric::EventsDeferred, failed);
        self.ports.meter.add(Metric::EventsContinued, again.len() - failed);
        join_all(again.iter().map(|(message, when)| self.delay(message, *when))).await;
        again.iter().map(|(message, _)| message.message_id).collect()
    }

    /// Reads the versions of the tenants' subscriptions, so that a new endpoint gets the very next event, and those
    /// subscriptions that have changed since they were read last.
    async fn subscriptions_of<'a>(&self, tenants: Vec<&'a TenantId>, deadline: Duration) -> SubscriptionsByTenant<'a> {
        let versions = self.until(deadline, self.ports.subscriptions.versions(&tenants)).await.unwrap_or_default();
        let versions = versions.into_iter().map(Some).chain(std::iter::repeat_with(|| None));
        let read = tenants.into_iter().zip(versions).map(async |(tenant, version)| {
            let subscriptions = async {
                let (subscriptions, erased_until_unix_ms) = match version.ok_or(FanOutError::TooSlow)?? {
                    None => (Arc::new(TenantSubscriptions::new(Vec::new(), TenantSchemas::default())), 0),
                    Some(version) => (self.subscriptions_at(tenant, version).await?, version.erased_until_unix_ms),
                };
                Ok(OfTenant { subscriptions, erased_until_unix_ms })
            };
            match self.until(deadline, subscriptions).await.unwrap_or(Err(FanOutError::TooSlow)) {
                Ok(subscriptions) => Some((tenant, subscriptions)),
                Err(error) => {
                    tracing::error!(tenant.id = %tenant, error = %Chain(&error), "subscriptions.not_read");
                    None
                }
            }
        });
        join_all(read).await.into_iter().flatten().collect()
    }

    /// Returns a tenant's subscriptions and schemas, of this version or a later one.
    async fn subscriptions_at(
        &self,
        tenant: &TenantId,
        version: Version,
    ) -> Result<Arc<TenantSubscriptions>, FanOutError<P::Error>> {
        if let Some(known) = self.known.get(tenant, version.number) {
            return Ok(known);
        }
        let schemas = async {
            if version.has_event_types { self.ports.subscriptions.schemas(tenant).await } else { Ok(Vec::new()) }
        };
        let (endpoints, schemas) = try_join(self.ports.subscriptions.of_tenant(tenant), schemas).await?;
        let read = Arc::new(TenantSubscriptions::new(endpoints, TenantSchemas::new(schemas)));
        self.known.put(tenant.clone(), version.number, Arc::clone(&read));
        Ok(read)
    }

    /// Queues deliveries until the deadline. Returns the messages that come again.
    async fn send<'m, 'a>(
        &self,
        fan_outs: Vec<(&'m QueuedEvent<'a>, FanOut<'_>)>,
        deadline: Duration,
    ) -> Vec<(&'m QueuedEvent<'a>, Again)> {
        let (messages, fan_outs): (Vec<&QueuedEvent<'_>>, Vec<_>) = fan_outs.into_iter().unzip();
        let ends = self.send_until(&fan_outs, deadline).await;
        let again = messages.into_iter().zip(&fan_outs).zip(ends).map(async |((message, fan_out), Sent { sent, end })| {
            let (event, endpoints) = (&fan_out.event.key, fan_out.endpoints.len());
            let when = match end {
                End::Done => return None,
                End::Stopped => Again::GoesOn,
                End::Failed => Again::Failed,
            };
            tracing::info!(event.id = %event.id, tenant.id = %event.tenant, endpoints, sent, "event.partly_fanned_out");
            if sent == fan_out.sent {
                return Some((message, when));
            }
            let noted = self.ports.events.note_sent(event, sent).await;
            if let Err(error) = &noted {
                tracing::error!(message.id = message.message_id, error = %Chain(error), "event.not_fanned_out");
            }
            Some((message, if noted.is_ok() { when } else { Again::Failed }))
        });
        join_all(again).await.into_iter().flatten().collect()
    }

    /// Sends messages to `RejectedQueue`, each alone, so that none waits for another. Returns those that were not sent.
    async fn reject<'m, 'a>(&self, rejections: Vec<(&'m QueuedEvent<'a>, Message)>) -> Vec<&'m QueuedEvent<'a>> {
        let not_sent = rejections.into_iter().map(async |(message, rejected)| {
            let sent = self.ports.clock.within(CALL_TIMEOUT, self.ports.rejected_queue.send_all([rejected])).await;
            let error = match sent {
                Some(Ok(())) => {
                    self.ports.meter.add(Metric::EventsRejected, 1);
                    return None;
                }
                Some(Err(error)) => FanOutError::Call(error),
                None => FanOutError::TooSlow,
            };
            tracing::error!(message.id = message.message_id, error = %Chain(&error), "event.not_rejected");
            Some(message)
        });
        join_all(not_sent).await.into_iter().flatten().collect()
    }

    /// Sets when SQS presents a message again. Otherwise it would come after the queue's visibility timeout.
    async fn delay(&self, message: &QueuedEvent<'_>, when: Again) {
        let queue = if message.is_own { &self.ports.own_events_queue } else { &self.ports.events_queue };
        let wait = match when {
            Again::GoesOn => Duration::ZERO,
            Again::Failed => wait_after(message.receives, self.ports.random.f64()),
        };
        if let Err(error) = queue.delay_retry(message.receipt_handle, wait).await {
            tracing::warn!(message.id = message.message_id, error = %Chain(&error), "event.visibility_change_failed");
        }
    }

    /// Awaits `future` until a moment of [`crate::ports::clock::Clock::elapsed`]. Returns `None` if that is not enough.
    async fn until<T>(&self, deadline: Duration, future: impl Future<Output = T>) -> Option<T> {
        self.ports.clock.within(deadline.saturating_sub(self.ports.clock.elapsed()), future).await
    }

    async fn judge<'a>(
        &self,
        message: &QueuedEvent<'_>,
        parsed: &'a Result<Event, Vec<Fault>>,
        subscriptions: &SubscriptionsByTenant<'_>,
    ) -> Result<Outcome<'a>, FanOutError<P::Error>> {
        let event = match parsed {
            Ok(event) => event,
            Err(faults) => return Ok(Outcome::Reject(rejection(message, RejectionReason::InvalidEvent, faults))),
        };
        let of_tenant = subscriptions.get(&event.key.tenant).ok_or(FanOutError::SubscriptionsUnknown)?;
        if message.arrived_unix_ms < of_tenant.erased_until_unix_ms {
            tracing::info!(event.id = %event.key.id, tenant.id = %event.key.tenant, "event.dropped");
            return Ok(Outcome::Drop);
        }
        let of_tenant = &of_tenant.subscriptions;
        if !message.is_own
            && let Err(faults) = self.schemas.check(event, of_tenant.schemas())
            && !self.is_begun(message, event).await?
        {
            return Ok(Outcome::Reject(rejection(message, RejectionReason::InvalidEvent, &faults)));
        }
        let routing_facts = event.routing_facts();
        let (event_id, tenant_id) = (event.key.id.as_str(), event.key.tenant.as_str());
        let now = self.ports.clock.unix();
        let retention_days = of_tenant.schemas().retention_days(&event.kind);
        let retention = retention_of(retention_days, self.ports.retention);
        let ours = FirstFanOut {
            message_id: message.message_id.to_owned(),
            endpoints: of_tenant.chosen(event, &routing_facts),
            sent: 0,
            at_unix_seconds: now.as_secs(),
            arrival: Arrival {
                moment: Moment::of(event, message.arrived_unix_ms),
                expires_at: (now + retention).as_secs(),
            },
            payload_hash: event.payload_hash(),
            number: None,
            retention_days,
        };
        let is_counted = of_tenant.is_counted(&ours.endpoints);
        let counter = if is_counted { sequence::counter(event) } else { None };
        let (existing, new_number) = match self.ports.events.insert(event, &ours, counter.as_deref()).await? {
            Insertion::New(number) => (None, number),
            Insertion::Stored(first) => (Some(first), None),
            Insertion::Erased => {
                tracing::info!(event.id = event_id, tenant.id = tenant_id, "event.dropped");
                return Ok(Outcome::Drop);
            }
        };
        let is_notice = message.is_own && NOTICE_TYPES.contains(&&*event.kind);
        let claim = claim(existing.as_ref(), &ours, is_notice);
        let FirstFanOut { endpoints, sent, arrival, number, retention_days, .. } = existing.unwrap_or(ours);
        let stored = Stored { number: number.or(new_number), retention_days };
        let (sent, arrived_unix_ms) = (sent.min(endpoints.len()), arrival.moment.arrived_unix_ms());
        // Before the deliveries, so that a receiver of the webhook that then polls sees this state or a newer one.
        if let Claim::First | Claim::Again = claim {
            if !event.is_test() {
                let (status, stage) = (routing_facts.status.as_deref(), routing_facts.stage.as_deref());
                self.ports.states.put(event, arrival, status, stage).await?;
            }
            if is_notice {
                let copies = self.ports.notices_queues.iter().map(|queue| queue.send_all([Message::of_event(event)]));
                try_join_all(copies).await?;
            }
        }
        match claim {
            Claim::First => {
                self.log_first(event, endpoints.len());
                Ok(Outcome::Deliver(FanOut { event, stored, endpoints, sent, arrived_unix_ms, since_unix_ms: None }))
            }
            Claim::Again => {
                tracing::info!(
                    event.id = event_id,
                    tenant.id = tenant_id,
                    endpoints = endpoints.len(),
                    "event.fanned_out_again"
                );
                let since_unix_ms = Some(self.ports.clock.unix_ms());
                Ok(Outcome::Deliver(FanOut { event, stored, endpoints, sent, arrived_unix_ms, since_unix_ms }))
            }
            Claim::Duplicate => {
                tracing::info!(event.id = event_id, tenant.id = tenant_id, "event.duplicate");
                self.ports.meter.add_of(&event.key.tenant, Metric::EventsDuplicate, 1);
                Ok(Outcome::Drop)
            }
            Claim::Conflict => Ok(Outcome::Reject(rejection(message, RejectionReason::ConflictingDuplicate, &[]))),
        }
    }

    /// Returns whether a fan-out of the message's event has begun. A schema that was changed since does not stop it.
    async fn is_begun(&self, message: &QueuedEvent<'_>, event: &Event) -> Result<bool, FanOutError<P::Error>> {
        if message.receives <= 1 {
            return Ok(false);
        }
        let stored = self.ports.events.get(&event.key).await?;
        Ok(stored.is_some_and(|stored| stored.event.payload_hash() == event.payload_hash()))
    }

    /// Counts a new event. Logs it at `debug`, because the line of its attempt follows; at `info` if there will be none.
    fn log_first(&self, event: &Event, endpoints: usize) {
        let (event_id, tenant) = (event.key.id.as_str(), &event.key.tenant);
        self.ports.meter.add_of(tenant, Metric::EventsFannedOut, 1);
        if endpoints > 0 {
            tracing::debug!(event.id = event_id, tenant.id = %tenant, endpoints, "event.fanned_out");
        } else {
            tracing::info!(event.id = event_id, tenant.id = %tenant, "event.unwanted");
            self.ports.meter.add_of(tenant, Metric::EventsUnwanted, 1);
        }
    }
}

/// The reason why an event could not be fanned out this time: an internal error, which may pass.
#[derive(Debug, thiserror::Error)]
enum FanOutError<E: std::error::Error + 'static> {
    #[error("call to a table or a queue failed; the message is presented again")]
    Call(#[from] E),
    #[error("subscriptions of the event's tenant could not be read; its message is presented again")]
    SubscriptionsUnknown,
    #[error("calls took longer than the function has; the message is presented again")]
    TooSlow,
}

/// Returns how long a message waits that was presented `receives` times and failed. `chance` is from 0 up to 1.
fn wait_after(receives: u32, chance: f64) -> Duration {
    LEAST_WAIT.mul_f64(1.0 + chance) * receives.clamp(1, MOST_WAITS)
}

/// Returns the message as it came, with the reason of its rejection. A message without room for the reason is cut, and
/// says so.
fn rejection(rejected: &QueuedEvent<'_>, reason: RejectionReason, faults: &[Fault]) -> Message {
    let QueuedEvent { message_id, body, .. } = rejected;
    tracing::warn!(message.id = message_id, reason = reason.as_str(), faults = faults.len(), "event.rejected");
    let mut attributes = vec![("reason", reason.as_str().to_owned()), ("messageId", (*message_id).to_owned())];
    if !faults.is_empty() {
        let listed = serde_json::to_string(faults).unwrap_or_default(); // Strings always serialize.
        attributes.push(("faults", minify(&listed))); // SQS refuses two characters that may be escaped in the input.
    }
    let mut message = Message { body: (*body).to_owned(), attributes, ..Message::default() };
    if message.size() > MAX_BATCH_BYTES {
        message.attributes.push(("cutFromBytes", body.len().to_string()));
        let room = MAX_BATCH_BYTES.saturating_sub(message.size() - message.body.len());
        message.body.truncate(message.body.floor_char_boundary(room));
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejected_message_always_fits_into_the_queue() {
        let names: Vec<_> = (0..5_000).map(|index| format!(r#""~~{}{index}":0"#, "ü".repeat(100))).collect();
        let data = format!(r#"{{"request-id":"{}","request_id":"b"}}"#, "\\\"".repeat(100_000));
        let token_request = format!(
            r#"{{"specversion":"1.0","id":"1","source":"/","type":"token-request","tenant":"acme","data":{data}}}"#
        );
        let cases = [
            ("tiny".to_owned(), false),
            ("ü".repeat(MAX_BATCH_BYTES / 2), true),
            (format!("{{{}}}", names.join(",")), true),
            (format!(r#"{{"{}":0}}"#, "~".repeat(600_000)), false),
            (r#"{"\uffff":0}"#.to_owned(), false),
            (token_request, false),
        ];
        for (body, cut) in cases {
            let queued = QueuedEvent {
                message_id: "m-1",
                receipt_handle: "r-1",
                receives: 1,
                body: &body,
                arrived_unix_ms: 0,
                is_own: false,
            };
            let faults = Event::parse(&body).unwrap_err();
            let message = rejection(&queued, RejectionReason::InvalidEvent, &faults);
            assert!(message.size() <= MAX_BATCH_BYTES);
            assert!(message.attributes.iter().all(|(_, value)| !value.contains('\u{ffff}')), "SQS takes no U+FFFF");
            assert!(body.starts_with(&message.body) && !message.body.is_empty());
            let attribute = message.attributes.iter().find(|(name, _)| *name == "cutFromBytes");
            assert_eq!(attribute.map(|(_, value)| value.clone()), cut.then(|| body.len().to_string()));
        }
    }

    #[test]
    fn a_failed_message_waits_for_seconds_and_longer_each_time_up_to_a_minute() {
        let cases = [(0, 5, 10), (1, 5, 10), (2, 10, 20), (6, 30, 60), (7, 30, 60), (u32::MAX, 30, 60)];
        for (receives, least, most) in cases {
            assert_eq!(wait_after(receives, 0.0), Duration::from_secs(least), "{receives}");
            let longest = wait_after(receives, 1.0 - f64::EPSILON);
            assert!(longest > Duration::from_secs(least) && longest <= Duration::from_secs(most), "{receives}");
        }
    }

    #[test]
    fn the_stored_event_decides() {
        let moment = Moment::parse("2026-01-31T10:00:00.000000000Z#1769853600007").unwrap();
        let stored = |payload_hash, message_id: &str, at_unix_seconds| FirstFanOut {
            message_id: message_id.into(),
            endpoints: Vec::new(),
            sent: 0,
            at_unix_seconds,
            arrival: Arrival { moment, expires_at: 9_000 },
            payload_hash,
            number: None,
            retention_days: None,
        };
        let cases = [
            ([1; 32], "m-1", 1_000, Claim::Again, "SQS presents the same message again"),
            ([1; 32], "m-2", 1_000, Claim::Duplicate, "the producer sent the event again"),
            ([1; 32], "m-2", 1_899, Claim::Duplicate, "and again, while the first message is alive"),
            ([1; 32], "m-2", 1_900, Claim::Again, "the first message may be gone, as after a redrive"),
            ([2; 32], "m-2", 9_000, Claim::Conflict, "another payload under the same id"),
            ([2; 32], "m-1", 1_000, Claim::Conflict, "another payload, even from the same message"),
        ];
        for (hash, message_id, now, expected, why) in cases {
            let existing = stored([1; 32], "m-1", 1_000);
            assert_eq!(claim(Some(&existing), &stored(hash, message_id, now), false), expected, "{why}");
        }
        assert_eq!(claim(None, &stored([1; 32], "m-1", 1_000), false), Claim::First);
        let notices = [
            ([2; 32], "m-2", 1_000, Claim::Duplicate, "the same notice with newer figures"),
            ([1; 32], "m-2", 9_000, Claim::Duplicate, "however late it comes again"),
            ([1; 32], "m-1", 1_000, Claim::Again, "SQS presents the same message again"),
        ];
        for (hash, message_id, now, expected, why) in notices {
            let existing = stored([1; 32], "m-1", 1_000);
            assert_eq!(claim(Some(&existing), &stored(hash, message_id, now), true), expected, "{why}");
        }
    }
}
