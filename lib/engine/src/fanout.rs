//! The work of `fanout`: stores each event once, and the state of its subject, and queues one delivery for every
//! endpoint that subscribes to it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures_util::future::join_all;
use signpost_core::delivery::RejectionReason;
use signpost_core::endpoint::{Endpoint, EndpointId};
use signpost_core::event::{Event, TenantId};
use signpost_core::input::fault::Fault;
use signpost_core::input::json::minify;
use signpost_core::status::state::Moment;

use crate::logs::Chain;
use crate::ports::Ports;
use crate::ports::clock::Clock as _;
use crate::ports::endpoints::Endpoints as _;
use crate::ports::events::{Arrival, Events as _, FirstFanOut, States as _};
use crate::ports::queue::{MAX_BATCH_BYTES, Message, Queue as _};

/// One environment of `fanout`.
pub struct Fanout<P: Ports> {
    /// Time.
    pub clock: P::Clock,
    /// The queue for one message per event and endpoint.
    pub deliveries_queue: P::Queue,
    /// The endpoints.
    pub endpoints: P::Endpoints,
    /// The events.
    pub events: P::Events,
    /// The queue for invalid events, and for those that conflict with another.
    pub rejected_queue: P::Queue,
    /// How long events are kept.
    pub retention: Duration,
    /// The states of subjects.
    pub states: P::States,
}

/// One message of `EventsQueue` or `OwnEventsQueue`.
#[derive(Clone, Copy, Debug)]
pub struct QueuedEvent<'a> {
    /// `MessageId`.
    pub message_id: &'a str,
    /// The content: an event in structured JSON.
    pub body: &'a str,
    /// When SQS accepted it, in milliseconds since the Unix epoch: the same each time it is presented.
    pub arrived_unix_ms: u64,
    /// Whether Signpost itself wrote it, because it came from `OwnEventsQueue`.
    pub is_own: bool,
}

impl QueuedEvent<'_> {
    fn event(&self) -> Result<Event, Vec<Fault>> {
        if self.is_own { Event::parse_own(self.body) } else { Event::parse(self.body) }
    }
}

/// The decision on a message.
enum Outcome<'a> {
    Deliver(FanOut<'a>),
    Drop,
    Reject(Message),
}

/// An event and its endpoints. Times are milliseconds since the Unix epoch.
struct FanOut<'a> {
    event: &'a Event,
    endpoints: Vec<EndpointId>,
    /// When the event first arrived.
    arrived_unix_ms: u64,
    /// Since when it waits, if this is not the first fan-out.
    since_unix_ms: Option<u64>,
}

impl FanOut<'_> {
    fn messages(&self) -> impl Iterator<Item = Message> {
        let Self { event, endpoints, arrived_unix_ms, since_unix_ms } = self;
        endpoints.iter().map(|endpoint| Message::of_delivery(endpoint, event, *arrived_unix_ms, *since_unix_ms))
    }
}

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

/// Decides what a message does with its event, if `existing` was stored before `ours`.
fn claim(existing: Option<&FirstFanOut>, ours: &FirstFanOut) -> Claim {
    match existing {
        None => Claim::First,
        Some(existing) if existing.payload_hash != ours.payload_hash => Claim::Conflict,
        Some(existing) => {
            let is_owner = existing.message_id == ours.message_id;
            let is_alive = ours.at_unix_seconds < existing.at_unix_seconds + OWNER_ALIVE_SECONDS;
            if !is_owner && is_alive { Claim::Duplicate } else { Claim::Again }
        }
    }
}

/// The endpoints of the tenants of one batch. A tenant whose endpoints could not be read is missing.
type EndpointsByTenant<'a> = HashMap<&'a TenantId, Vec<(EndpointId, Option<Endpoint>)>>;

impl<P: Ports> Fanout<P> {
    /// Fans out every event of a batch. Returns the ids of the messages that SQS must present again, after an internal
    /// error. An invalid event, or one that conflicts with another, goes to `RejectedQueue` and is done.
    pub async fn handle<'a>(&self, batch: &[QueuedEvent<'a>]) -> Vec<&'a str> {
        let parsed: Vec<_> = batch.iter().map(QueuedEvent::event).collect();
        let endpoints = self.endpoints_of(parsed.iter().flatten().map(|event| &event.key.tenant)).await;

        let outcomes = batch.iter().zip(&parsed).map(|(message, parsed)| self.judge(message, parsed, &endpoints));
        let outcomes = join_all(outcomes).await;
        let mut again = Vec::new();
        let (mut deliveries, mut rejections) = (Vec::new(), Vec::new());
        for (message, outcome) in batch.iter().zip(outcomes) {
            match outcome {
                Ok(Outcome::Deliver(fan_out)) => deliveries.push((message.message_id, fan_out)),
                Ok(Outcome::Reject(rejected)) => rejections.push((message.message_id, rejected)),
                Ok(Outcome::Drop) => {}
                Err(error) => {
                    tracing::error!(message.id = message.message_id, error = %Chain(&error), "event.not_fanned_out");
                    again.push(message.message_id);
                }
            }
        }
        // Messages are created one by one while they are sent, because a large event for many endpoints would not fit
        // into memory.
        let messages = deliveries.iter().flat_map(|(_, fan_out)| fan_out.messages());
        if let Err(error) = self.deliveries_queue.send_all(messages).await {
            tracing::error!(error = %Chain(&error), events = deliveries.len(), "event.not_fanned_out");
            again.extend(deliveries.iter().map(|(id, _)| *id));
        }
        let (ids, messages): (Vec<_>, Vec<_>) = rejections.into_iter().unzip();
        if let Err(error) = self.rejected_queue.send_all(messages).await {
            tracing::error!(error = %Chain(&error), messages = ids.len(), "event.not_rejected");
            again.extend(ids);
        }
        again
    }

    /// Reads each tenant's endpoints once per batch, so that a new endpoint gets the very next event.
    async fn endpoints_of<'a>(&self, tenants: impl Iterator<Item = &'a TenantId>) -> EndpointsByTenant<'a> {
        let tenants: HashSet<_> = tenants.collect();
        let read = tenants.into_iter().map(async |tenant| match self.endpoints.of_tenant(tenant).await {
            Ok(endpoints) => Some((tenant, endpoints)),
            Err(error) => {
                tracing::error!(tenant.id = %tenant, error = %Chain(&error), "endpoints.not_read");
                None
            }
        });
        join_all(read).await.into_iter().flatten().collect()
    }

    async fn judge<'a>(
        &self,
        message: &QueuedEvent<'_>,
        parsed: &'a Result<Event, Vec<Fault>>,
        endpoints: &EndpointsByTenant<'_>,
    ) -> Result<Outcome<'a>, FanOutError<P::Error>> {
        let event = match parsed {
            Ok(event) => event,
            Err(faults) => return Ok(Outcome::Reject(rejection(message, RejectionReason::InvalidEvent, faults))),
        };
        let of_tenant = endpoints.get(&event.key.tenant).ok_or(FanOutError::EndpointsUnknown)?;
        let routing_facts = event.routing_facts();
        let is_wanted = |(id, endpoint): &&(EndpointId, Option<Endpoint>)| {
            Endpoint::is_for(event, &routing_facts, id, endpoint.as_ref())
        };
        let wanted = of_tenant.iter().filter(is_wanted).map(|(id, _)| id.clone()).collect();
        let (event_id, tenant_id) = (event.key.id.as_str(), event.key.tenant.as_str());
        let now = self.clock.unix();
        let ours = FirstFanOut {
            message_id: message.message_id.to_owned(),
            endpoints: wanted,
            at_unix_seconds: now.as_secs(),
            arrival: Arrival {
                moment: Moment::of(event, message.arrived_unix_ms),
                expires_at: (now + self.retention).as_secs(),
            },
            payload_hash: event.payload_hash(),
        };
        let existing = self.events.insert(event, &ours).await?;
        let claim = claim(existing.as_ref(), &ours);
        let FirstFanOut { endpoints, arrival, .. } = existing.unwrap_or(ours);
        let arrived_unix_ms = arrival.moment.arrived_unix_ms();
        // Before the deliveries, so that a receiver of the webhook that then polls sees this state or a newer one.
        if let Claim::First | Claim::Again = claim {
            self.states.put(event, arrival, routing_facts.status.as_deref(), routing_facts.stage.as_deref()).await?;
        }
        match claim {
            Claim::First => {
                tracing::info!(
                    event.id = event_id,
                    tenant.id = tenant_id,
                    endpoints = endpoints.len(),
                    "event.fanned_out"
                );
                Ok(Outcome::Deliver(FanOut { event, endpoints, arrived_unix_ms, since_unix_ms: None }))
            }
            Claim::Again => {
                tracing::info!(
                    event.id = event_id,
                    tenant.id = tenant_id,
                    endpoints = endpoints.len(),
                    "event.fanned_out_again"
                );
                let since_unix_ms = Some(self.clock.unix_ms());
                Ok(Outcome::Deliver(FanOut { event, endpoints, arrived_unix_ms, since_unix_ms }))
            }
            Claim::Duplicate => {
                tracing::info!(event.id = event_id, tenant.id = tenant_id, "event.duplicate");
                Ok(Outcome::Drop)
            }
            Claim::Conflict => Ok(Outcome::Reject(rejection(message, RejectionReason::ConflictingDuplicate, &[]))),
        }
    }
}

/// The reason why an event could not be fanned out this time: an internal error, which may pass.
#[derive(Debug, thiserror::Error)]
enum FanOutError<E: std::error::Error + 'static> {
    #[error("event could not be written; its message is presented again")]
    Call(#[from] E),
    #[error("endpoints of the event's tenant could not be read; its message is presented again")]
    EndpointsUnknown,
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
            let queued = QueuedEvent { message_id: "m-1", body: &body, arrived_unix_ms: 0, is_own: false };
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
    fn the_stored_event_decides() {
        let moment = Moment::parse("2026-01-31T10:00:00.000000000Z#1769853600007").unwrap();
        let stored = |payload_hash, message_id: &str, at_unix_seconds| FirstFanOut {
            message_id: message_id.into(),
            endpoints: Vec::new(),
            at_unix_seconds,
            arrival: Arrival { moment, expires_at: 9_000 },
            payload_hash,
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
            assert_eq!(claim(Some(&existing), &stored(hash, message_id, now)), expected, "{why}");
        }
        assert_eq!(claim(None, &stored([1; 32], "m-1", 1_000)), Claim::First);
    }
}
