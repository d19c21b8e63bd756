//! Reads `DeliveriesQueue`: signs and posts each delivery, records the attempt, and has SQS present again what failed.

mod config;
mod delivering;

use std::time::Duration;

use aws_config::SdkConfig;
use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use futures_util::future::join_all;
use lambda_runtime::Error;
use signpost_io::callback::Callbacks;
use signpost_io::clients::Guard;
use signpost_io::deliveries::Deliveries;
use signpost_io::endpoints::Endpoints;
use signpost_io::keys::{KeyTable, WrappingKey};
use signpost_io::logs::Chain;
use signpost_io::parking::Parking;
use signpost_io::queue::Queue;
use signpost_io::recipients::Recipients;
use signpost_io::signers::Signers;
use signpost_io::vault::Vault;

pub use config::Config;
use delivering::Verdict;

/// What the function needs at hand.
#[derive(Debug)]
pub struct App {
    callbacks: Callbacks,
    dead_letters: Queue,
    deliveries: Deliveries,
    parking: Parking,
    queue: Queue,
    recipients: Recipients,
    signers: Signers,
}

impl App {
    /// Makes the clients. Needs no network yet.
    ///
    /// # Errors
    /// The certificate store cannot be loaded: nothing could be delivered.
    pub fn new(aws: &SdkConfig, config: Config) -> Result<Self, reqwest::Error> {
        let (dynamodb, sqs) = (aws_sdk_dynamodb::Client::new(aws), aws_sdk_sqs::Client::new(aws));
        let kms = aws_sdk_kms::Client::new(aws);
        let vault = Vault::new(kms.clone(), config.wrapping_key.clone());
        Ok(Self {
            callbacks: Callbacks::new(Guard::new(config.target_rules))?,
            dead_letters: Queue::new(sqs.clone(), config.dead_letter_queue_url),
            deliveries: Deliveries::new(dynamodb.clone(), config.events_table, config.retention),
            parking: Parking::new(dynamodb.clone(), config.parking_table, config.retention),
            queue: Queue::new(sqs, config.deliveries_queue_url),
            recipients: Recipients::new(Endpoints::new(dynamodb.clone(), config.endpoints_table), vault),
            signers: Signers::new(
                KeyTable::new(dynamodb, config.keys_table),
                WrappingKey::new(kms, config.wrapping_key),
            ),
        })
    }
}

/// Delivers every message of a batch at once and names the ones that SQS should present again.
///
/// Needs `FunctionResponseTypes: [ReportBatchItemFailures]` on the event source; without it Lambda ignores the
/// response and deletes the whole batch. How long a named message waits is set by its visibility timeout, so that the
/// event source mapping never sees an error and never slows down for the other tenants.
///
/// # Errors
/// A record without a message id: it could not be named, so the whole batch is presented again.
pub async fn handle(batch: SqsEvent, app: &App) -> Result<SqsBatchResponse, Error> {
    let ids = batch.records.iter().map(|record| record.message_id.as_deref());
    let ids: Vec<_> = ids.collect::<Option<_>>().ok_or("SQS record without a messageId")?; // Before anything is sent.
    let mut response = SqsBatchResponse::default();
    let verdicts = join_all(batch.records.iter().map(|record| app.settle(record))).await;
    for (id, verdict) in ids.into_iter().zip(verdicts) {
        if verdict == Verdict::PresentAgain {
            response.add_failure(id);
        }
    }
    Ok(response)
}

/// How long a message waits after a fault on our side: ten seconds more for each time it was received, up to a quarter
/// of an hour, so that an outage of ours meets a receiver with few repetitions.
fn after_our_fault(record: &SqsMessage) -> Duration {
    let receives = record.attributes.get("ApproximateReceiveCount").and_then(|count| count.parse().ok());
    Duration::from_secs(10 * receives.unwrap_or(1).clamp(1, 90))
}

impl App {
    /// Sees one message through and says whether it is done with.
    async fn settle(&self, record: &SqsMessage) -> Verdict {
        let wait = match self.deliver(record.body.as_deref().unwrap_or_default()).await {
            Ok(None) => return Verdict::Done,
            Ok(Some(wait)) => wait,
            Err(error) => {
                let message_id = record.message_id.as_deref();
                tracing::error!(message.id = message_id, error = %Chain(&error), "delivery.deferred");
                after_our_fault(record)
            }
        };
        let handle = record.receipt_handle.as_deref().unwrap_or_default();
        if let Err(error) = self.queue.present_again(handle, wait).await {
            // It comes back after the queue's own visibility timeout, later than asked for.
            tracing::warn!(message.id = record.message_id.as_deref(), error = %Chain(&error), "delivery.wait_not_set");
        }
        Verdict::PresentAgain
    }
}
