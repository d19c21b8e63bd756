//! Reads `EventsQueue` and `OwnEventsQueue`: stores each event once, and the status of its subject, and queues one
//! delivery for every endpoint that subscribes to it. [`signpost_engine::fanout`] decides; this crate connects it to
//! AWS.

mod config;

use aws_config::SdkConfig;
use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use lambda_runtime::Error;
use signpost_engine::fanout::{Fanout, FanoutPorts, QueuedEvent};
use signpost_io::ports::Aws;
use signpost_io::queue::Queue;
use signpost_io::runtime::clock::{SystemClock, ThreadRandom, unix_ms_now};
use signpost_io::runtime::metrics::meter;
use signpost_io::tables::events::Events;
use signpost_io::tables::states::States;
use signpost_io::tables::subscriptions::Subscriptions;

pub use config::Config;

/// The function: the engine on AWS.
pub struct App {
    engine: Fanout<Aws>,
    own_events_queue_arn: String,
}

impl App {
    /// Creates the clients. This needs no network.
    #[must_use]
    pub fn new(aws: &SdkConfig, config: Config) -> Self {
        let (dynamodb, sqs) = (aws_sdk_dynamodb::Client::new(aws), aws_sdk_sqs::Client::new(aws));
        let queue = |url| Queue::new(sqs.clone(), url);
        let engine = Fanout::new(FanoutPorts {
            clock: SystemClock,
            deliveries_queue: queue(config.deliveries_queue_url),
            events: Events::new(dynamodb.clone(), config.events_table.clone(), config.retention),
            events_queue: queue(config.events_queue_url),
            meter: meter().clone(),
            notices_queues: config.notices_queue_urls.into_iter().map(queue).collect(),
            own_events_queue: queue(config.own_events_queue_url),
            random: ThreadRandom,
            rejected_queue: queue(config.rejected_queue_url),
            retention: config.retention,
            states: States::new(dynamodb.clone(), config.events_table, config.retention),
            subscriptions: Subscriptions::new(dynamodb, config.endpoints_table),
        });
        Self { engine, own_events_queue_arn: config.own_events_queue_arn }
    }

    fn queued<'a>(&self, record: &'a SqsMessage) -> Option<QueuedEvent<'a>> {
        let attribute = |name: &str| record.attributes.get(name).and_then(|value| value.parse().ok());
        Some(QueuedEvent {
            message_id: record.message_id.as_deref()?,
            receipt_handle: record.receipt_handle.as_deref().unwrap_or_default(),
            receives: attribute("ApproximateReceiveCount").and_then(|count| u32::try_from(count).ok()).unwrap_or(1),
            body: record.body.as_deref().unwrap_or_default(),
            arrived_unix_ms: attribute("SentTimestamp").unwrap_or_else(unix_ms_now),
            is_own: record.event_source_arn.as_ref() == Some(&self.own_events_queue_arn),
        })
    }
}

/// Fans out every event of a batch and names the messages that SQS must present again.
///
/// Needs `FunctionResponseTypes: [ReportBatchItemFailures]` on the event source; without it Lambda ignores the response
/// and deletes the whole batch. An invalid event, or one that conflicts with another, goes to `RejectedQueue` and is
/// done. Only an internal error, or a fan-out that needs more time, makes SQS present a message again.
///
/// # Errors
/// A record has no message id. It cannot be named, so SQS presents the whole batch again.
pub async fn handle(batch: SqsEvent, app: &App) -> Result<SqsBatchResponse, Error> {
    let messages = batch.records.iter().map(|record| app.queued(record)).collect::<Option<Vec<_>>>();
    let messages = messages.ok_or("SQS record without a messageId")?;
    let mut response = SqsBatchResponse::default();
    let handled = Box::pin(app.engine.handle(&messages)); // Large, because it holds the calls of a whole batch.
    response.set_failures(handled.await);
    Ok(response)
}
