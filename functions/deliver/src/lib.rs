//! Reads `DeliveriesQueue`: signs and posts each delivery, and records the attempt. SQS presents failed ones again.

mod admission;
mod attempting;
mod config;
mod delivering;
mod draining;
mod notes;

use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use futures_util::future::join_all;
use lambda_runtime::Error;
use signpost_core::delivery::drain::ASKED_FOR_SECONDS;
use signpost_core::delivery::parking::NOTED_FOR_SECONDS;
use signpost_core::delivery::{MOST_RECEIVES, Receipt};
use signpost_io::cache::endpoint_cache::EndpointCache;
use signpost_io::cache::signer_cache::Signers;
use signpost_io::http::guarded_client::Guard;
use signpost_io::http::webhook_sender::WebhookSender;
use signpost_io::mac::MacKey;
use signpost_io::queue::{Queue, SINCE};
use signpost_io::runtime::clock::unix_ms_now;
use signpost_io::runtime::logs::Chain;
use signpost_io::tables::breakers::Breakers;
use signpost_io::tables::deliveries::Deliveries;
use signpost_io::tables::endpoints::Endpoints;
use signpost_io::tables::events::Events;
use signpost_io::tables::limits::Limits;
use signpost_io::tables::parking::Parking;
use signpost_io::tables::signing_keys::{KeyTable, WrappingKey};
use signpost_io::vault::Vault;

pub use config::Config;
use delivering::{Fate, Then};
use notes::Notes;

/// The clients and caches of the function.
#[derive(Debug)]
pub struct App {
    /// The endpoints for which this environment requested a drain.
    asked_to_drain: Notes,
    breakers: Breakers,
    webhooks: WebhookSender,
    dead_letter_queue: Queue,
    deliveries: Deliveries,
    events: Events,
    limits: Limits,
    /// The endpoints that this environment noted as having waiting deliveries.
    noted_waiting: Notes,
    own_events_queue: Queue,
    parking: Parking,
    deliveries_queue: Queue,
    endpoint_cache: EndpointCache,
    /// The name by which receivers know the sender.
    sender: String,
    signers: Signers,
}

impl App {
    /// Creates the clients. This needs no network.
    ///
    /// # Errors
    /// The certificate store cannot be loaded, so nothing could be delivered.
    pub fn new(aws: &SdkConfig, config: Config) -> Result<Self, reqwest::Error> {
        let (dynamodb, sqs) = (aws_sdk_dynamodb::Client::new(aws), aws_sdk_sqs::Client::new(aws));
        let kms = aws_sdk_kms::Client::new(aws);
        let vault = Vault::new(kms.clone(), config.wrapping_key.clone());
        Ok(Self {
            asked_to_drain: Notes::new(ASKED_FOR_SECONDS),
            breakers: Breakers::new(dynamodb.clone(), config.parking_table.clone()),
            webhooks: WebhookSender::new(Guard::new(config.target_rules))?,
            dead_letter_queue: Queue::new(sqs.clone(), config.dead_letter_queue_url),
            deliveries: Deliveries::new(dynamodb.clone(), config.events_table.clone(), config.retention),
            events: Events::new(dynamodb.clone(), config.events_table, config.retention),
            limits: Limits::new(dynamodb.clone(), config.parking_table.clone()),
            noted_waiting: Notes::new(NOTED_FOR_SECONDS),
            own_events_queue: Queue::new(sqs.clone(), config.own_events_queue_url),
            parking: Parking::new(dynamodb.clone(), config.parking_table, config.retention),
            deliveries_queue: Queue::new(sqs, config.deliveries_queue_url),
            sender: config.sender,
            endpoint_cache: EndpointCache::new(Endpoints::new(dynamodb.clone(), config.endpoints_table), vault),
            signers: Signers::new(
                KeyTable::new(dynamodb, config.keys_table, MacKey::new(kms.clone(), config.mac_key)),
                WrappingKey::new(kms, config.wrapping_key),
            ),
        })
    }
}

/// Delivers all messages of a batch at the same time and names those that SQS must present again.
///
/// Needs `FunctionResponseTypes: [ReportBatchItemFailures]` on the event source; without it Lambda ignores the response
/// and deletes the whole batch. The visibility timeout of a named message is its wait. So the event source mapping
/// never sees an error, and never slows down for the other tenants.
///
/// # Errors
/// A record has no message id. It cannot be named, so SQS presents the whole batch again.
pub async fn handle(batch: SqsEvent, app: &App) -> Result<SqsBatchResponse, Error> {
    let ids = batch.records.iter().map(|record| record.message_id.as_deref());
    let ids: Vec<_> = ids.collect::<Option<_>>().ok_or("SQS record without a messageId")?; // Before anything is sent.
    let mut response = SqsBatchResponse::default();
    let deadline = Instant::now() + DRAIN_FOR;
    let verdicts = join_all(batch.records.iter().map(|record| app.settle(record, deadline))).await;
    for (id, verdict) in ids.into_iter().zip(verdicts) {
        if verdict == Verdict::PresentAgain {
            response.add_failure(id);
        }
    }
    Ok(response)
}

/// How long after its start an invocation may start to send a parked delivery; within the function's 90 s.
const DRAIN_FOR: Duration = Duration::from_secs(15);

/// Reads the attributes of a message.
fn receipt_of(record: &SqsMessage) -> Receipt {
    let number = |name: &str| record.attributes.get(name).and_then(|number| number.parse().ok());
    let since = record.message_attributes.get(SINCE).and_then(|since| since.string_value.as_ref()?.parse().ok());
    Receipt {
        receives: number("ApproximateReceiveCount").and_then(|count| u32::try_from(count).ok()).unwrap_or(1),
        first_received_unix_ms: number("ApproximateFirstReceiveTimestamp").unwrap_or_default(),
        since_unix_ms: since.or_else(|| number("SentTimestamp")).unwrap_or_else(unix_ms_now),
        is_again: since.is_some(),
    }
}

impl App {
    /// Handles one message to its end, then drains its endpoint's lane if it can. Returns what SQS must do with the
    /// message.
    async fn settle(&self, record: &SqsMessage, deadline: Instant) -> Verdict {
        let receipt = receipt_of(record);
        let (wait, then) = match self.deliver(record.body.as_deref().unwrap_or_default(), &receipt).await {
            Ok((Fate::Done, then)) => (None, then),
            Ok((Fate::Again(wait), then)) => (Some(wait), then),
            Err(error) => {
                let message_id = record.message_id.as_deref();
                tracing::error!(message.id = message_id, error = %Chain(&error), "delivery.deferred");
                let is_over = receipt.receives >= MOST_RECEIVES && self.give_up_deferred(record).await;
                ((!is_over).then(|| receipt.wait_after_our_fault()), Then::Nothing)
            }
        };
        if let Some(wait) = wait {
            let handle = record.receipt_handle.as_deref().unwrap_or_default();
            if let Err(error) = self.deliveries_queue.delay_retry(handle, wait).await {
                // SQS presents it after the queue's own visibility timeout, later than requested.
                let message_id = record.message_id.as_deref();
                tracing::warn!(message.id = message_id, error = %Chain(&error), "delivery.visibility_change_failed");
            }
        }
        match then {
            Then::Drain(slot, delivery) => self.drain(slot, &delivery, deadline).await,
            Then::DrainIfFree(delivery) => self.drain_if_free(&delivery, deadline).await,
            Then::Nothing => {}
        }
        if wait.is_some() { Verdict::PresentAgain } else { Verdict::Done }
    }
}

/// The instruction to SQS about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Delete it.
    Done,
    /// Present it again when its visibility timeout ends.
    PresentAgain,
}
