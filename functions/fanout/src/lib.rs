//! Reads `EventsQueue` and `OwnEventsQueue`: stores each event once, and the status of its subject, and queues one
//! delivery for every endpoint that subscribes to it.

mod config;

use std::collections::{HashMap, HashSet};

use aws_config::SdkConfig;
use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use futures_util::future::join_all;
use lambda_runtime::Error;
use signpost_core::delivery::RejectionReason;
use signpost_core::endpoint::{Endpoint, EndpointId};
use signpost_core::event::{Event, TenantId};
use signpost_core::input::fault::Fault;
use signpost_core::input::json::minify;
use signpost_io::aws::AwsError;
use signpost_io::queue::{MAX_BATCH_BYTES, Message, Queue, size};
use signpost_io::runtime::clock::unix_ms_now;
use signpost_io::runtime::logs::Chain;
use signpost_io::tables::endpoints::Endpoints;
use signpost_io::tables::events::{EventClaim, Events};
use signpost_io::tables::states::States;

pub use config::Config;

/// The clients of the function.
#[derive(Debug)]
pub struct App {
    endpoints: Endpoints,
    events: Events,
    states: States,
    own_events_queue_arn: String,
    deliveries_queue: Queue,
    rejected_queue: Queue,
}

impl App {
    /// Creates the clients. This needs no network.
    #[must_use]
    pub fn new(aws: &SdkConfig, config: Config) -> Self {
        let (dynamodb, sqs) = (aws_sdk_dynamodb::Client::new(aws), aws_sdk_sqs::Client::new(aws));
        Self {
            endpoints: Endpoints::new(dynamodb.clone(), config.endpoints_table),
            events: Events::new(dynamodb.clone(), config.events_table.clone(), config.retention),
            states: States::new(dynamodb, config.events_table),
            own_events_queue_arn: config.own_events_queue_arn,
            deliveries_queue: Queue::new(sqs.clone(), config.deliveries_queue_url),
            rejected_queue: Queue::new(sqs, config.rejected_queue_url),
        }
    }
}

/// Fans out every event of a batch and names the messages that SQS must present again.
///
/// Needs `FunctionResponseTypes: [ReportBatchItemFailures]` on the event source; without it Lambda ignores the response
/// and deletes the whole batch. An invalid event, or one that conflicts with another, goes to `RejectedQueue` and is
/// done. Only an internal error makes SQS present a message again.
///
/// # Errors
/// A record has no message id. It cannot be named, so SQS presents the whole batch again.
pub async fn handle(batch: SqsEvent, app: &App) -> Result<SqsBatchResponse, Error> {
    let mut records = Vec::with_capacity(batch.records.len());
    for record in &batch.records {
        let id = record.message_id.as_deref().ok_or("SQS record without a messageId")?;
        let sent = record.attributes.get("SentTimestamp").and_then(|sent| sent.parse().ok());
        let (body, arrived_unix_ms) = (record.body.as_deref().unwrap_or_default(), sent.unwrap_or_else(unix_ms_now));
        let is_own = record.event_source_arn.as_ref() == Some(&app.own_events_queue_arn);
        records.push(Record { id, body, arrived_unix_ms, is_own });
    }
    let parsed: Vec<_> = records.iter().map(Record::event).collect();
    let endpoints = app.endpoints_of(parsed.iter().flatten().map(|event| &event.key.tenant)).await;

    let fates = records.iter().zip(&parsed).map(|(record, parsed)| app.judge(record, parsed, &endpoints));
    let fates = join_all(fates).await;
    let mut response = SqsBatchResponse::default();
    let (mut deliveries, mut rejections) = (Vec::new(), Vec::new());
    for (record, fate) in records.iter().zip(fates) {
        match fate {
            Ok(Outcome::Deliver(fan_out)) => deliveries.push((record.id, fan_out)),
            Ok(Outcome::Reject(message)) => rejections.push((record.id, message)),
            Ok(Outcome::Drop) => {}
            Err(error) => {
                tracing::error!(message.id = record.id, error = %Chain(&error), "event.not_fanned_out");
                response.add_failure(record.id);
            }
        }
    }
    // Messages are created one by one while they are sent, because a large event for many endpoints would not fit into
    // memory.
    let messages = deliveries.iter().flat_map(|(_, fan_out)| fan_out.messages());
    if let Err(error) = app.deliveries_queue.send_all(messages).await {
        tracing::error!(error = %Chain(&error), events = deliveries.len(), "event.not_fanned_out");
        for (id, ..) in &deliveries {
            response.add_failure(*id);
        }
    }
    let (ids, messages): (Vec<_>, Vec<_>) = rejections.into_iter().unzip();
    if let Err(error) = app.rejected_queue.send_all(messages).await {
        tracing::error!(error = %Chain(&error), messages = ids.len(), "event.not_rejected");
        for id in ids {
            response.add_failure(id);
        }
    }
    Ok(response)
}

/// One message of `EventsQueue` or `OwnEventsQueue`.
struct Record<'a> {
    id: &'a str,
    body: &'a str,
    /// When SQS accepted it, in milliseconds since the Unix epoch: the same each time it is presented.
    arrived_unix_ms: u64,
    /// Whether Signpost itself wrote it, because it came from `OwnEventsQueue`.
    is_own: bool,
}

impl Record<'_> {
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

/// The endpoints of the tenants of one batch. A tenant whose endpoints could not be read is missing.
type EndpointsByTenant<'a> = HashMap<&'a TenantId, Vec<(EndpointId, Option<Endpoint>)>>;

impl App {
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
        record: &Record<'_>,
        parsed: &'a Result<Event, Vec<Fault>>,
        endpoints: &EndpointsByTenant<'_>,
    ) -> Result<Outcome<'a>, FanOutError> {
        let event = match parsed {
            Ok(event) => event,
            Err(faults) => return Ok(Outcome::Reject(rejection(record, RejectionReason::InvalidEvent, faults))),
        };
        let of_tenant = endpoints.get(&event.key.tenant).ok_or(FanOutError::EndpointsUnknown)?;
        let routing_facts = event.routing_facts();
        let is_wanted = |(id, endpoint): &&(EndpointId, Option<Endpoint>)| {
            Endpoint::is_for(event, &routing_facts, id, endpoint.as_ref())
        };
        let wanted: Vec<_> = of_tenant.iter().filter(is_wanted).map(|(id, _)| id.clone()).collect();
        let (event_id, tenant_id) = (event.key.id.as_str(), event.key.tenant.as_str());
        let claim = self.events.claim(event, &wanted, record.id, record.arrived_unix_ms).await?;
        // Before the deliveries, so that a receiver of the webhook that then polls sees this state or a newer one.
        if let EventClaim::FanOut(first_time) | EventClaim::FanOutAgain(_, first_time) = claim {
            self.states.put(event, first_time, routing_facts.status.as_deref(), routing_facts.stage.as_deref()).await?;
        }
        match claim {
            EventClaim::FanOut(first_time) => {
                tracing::info!(
                    event.id = event_id,
                    tenant.id = tenant_id,
                    endpoints = wanted.len(),
                    "event.fanned_out"
                );
                let arrived_unix_ms = first_time.moment.arrived_unix_ms();
                Ok(Outcome::Deliver(FanOut { event, endpoints: wanted, arrived_unix_ms, since_unix_ms: None }))
            }
            EventClaim::FanOutAgain(ids, first_time) => {
                tracing::info!(
                    event.id = event_id,
                    tenant.id = tenant_id,
                    endpoints = ids.len(),
                    "event.fanned_out_again"
                );
                let (arrived_unix_ms, since_unix_ms) = (first_time.moment.arrived_unix_ms(), Some(unix_ms_now()));
                Ok(Outcome::Deliver(FanOut { event, endpoints: ids, arrived_unix_ms, since_unix_ms }))
            }
            EventClaim::Duplicate => {
                tracing::info!(event.id = event_id, tenant.id = tenant_id, "event.duplicate");
                Ok(Outcome::Drop)
            }
            EventClaim::Conflict => Ok(Outcome::Reject(rejection(record, RejectionReason::ConflictingDuplicate, &[]))),
        }
    }
}

/// The reason why an event could not be fanned out this time: an internal error, which may pass.
#[derive(Debug, thiserror::Error)]
enum FanOutError {
    #[error("event could not be written; its message is presented again")]
    Aws(#[from] AwsError),
    #[error("endpoints of the event's tenant could not be read; its message is presented again")]
    EndpointsUnknown,
}

/// Returns the message as it came, with the reason of its rejection. A message without room for the reason is cut, and
/// says so.
fn rejection(record: &Record<'_>, reason: RejectionReason, faults: &[Fault]) -> Message {
    tracing::warn!(message.id = record.id, reason = reason.as_str(), faults = faults.len(), "event.rejected");
    let mut attributes = vec![("reason", reason.as_str().to_owned()), ("messageId", record.id.to_owned())];
    if !faults.is_empty() {
        let listed = serde_json::to_string(faults).unwrap_or_default(); // Strings always serialize.
        attributes.push(("faults", minify(&listed))); // SQS refuses two characters that may be escaped in the input.
    }
    let mut message = Message { body: record.body.to_owned(), attributes, ..Message::default() };
    if size(&message) > MAX_BATCH_BYTES {
        message.attributes.push(("cutFromBytes", record.body.len().to_string()));
        let room = MAX_BATCH_BYTES.saturating_sub(size(&message) - message.body.len());
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
            let record = Record { id: "m-1", body: &body, arrived_unix_ms: 0, is_own: false };
            let faults = Event::parse(&body).unwrap_err();
            let message = rejection(&record, RejectionReason::InvalidEvent, &faults);
            assert!(size(&message) <= MAX_BATCH_BYTES);
            assert!(message.attributes.iter().all(|(_, value)| !value.contains('\u{ffff}')), "SQS takes no U+FFFF");
            assert!(body.starts_with(&message.body) && !message.body.is_empty());
            let attribute = message.attributes.iter().find(|(name, _)| *name == "cutFromBytes");
            assert_eq!(attribute.map(|(_, value)| value.clone()), cut.then(|| body.len().to_string()));
        }
    }
}
