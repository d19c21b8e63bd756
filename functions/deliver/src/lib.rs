//! Reads `DeliveriesQueue` and `SlowDeliveriesQueue`: signs and posts each delivery, and records the attempt. SQS presents
//! failed ones again.
//! [`signpost_engine::deliver`] decides; this crate connects it to AWS.

mod config;

use aws_config::SdkConfig;
use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use lambda_runtime::Error;
use signpost_core::delivery::{Receipt, Track};
use signpost_engine::deliver::{Deliver, DeliverPorts, QueuedDelivery};
use signpost_engine::ports::queue::{RECEIVES, SINCE};
use signpost_io::http::guarded_client::Guard;
use signpost_io::http::webhook_sender::WebhookSender;
use signpost_io::mac::MacKey;
use signpost_io::ports::Aws;
use signpost_io::queue::Queue;
use signpost_io::runtime::clock::{SystemClock, ThreadRandom, unix_ms_now};
use signpost_io::runtime::metrics::meter;
use signpost_io::signer_cache::Signers;
use signpost_io::tables::breakers::Breakers;
use signpost_io::tables::deliveries::Deliveries;
use signpost_io::tables::endpoints::Endpoints;
use signpost_io::tables::events::Events;
use signpost_io::tables::limits::Limits;
use signpost_io::tables::parking::Parking;
use signpost_io::tables::sealing_keys::SealingKeys;
use signpost_io::tables::signing_keys::{KeyTable, WrappingKey};
use signpost_io::vault::Vault;

pub use config::Config;

/// The function: the engine on AWS.
pub struct App {
    engine: Deliver<Aws>,
    slow_deliveries_queue_arn: String,
}

/// Creates the clients. This needs no network.
///
/// # Errors
/// The certificate store cannot be loaded, so nothing could be delivered.
pub fn app(aws: &SdkConfig, config: Config) -> Result<App, reqwest::Error> {
    let (dynamodb, sqs) = (aws_sdk_dynamodb::Client::new(aws), aws_sdk_sqs::Client::new(aws));
    let kms = aws_sdk_kms::Client::new(aws);
    let engine = Deliver::new(DeliverPorts {
        clock: SystemClock,
        random: ThreadRandom,
        breakers: Breakers::new(dynamodb.clone(), config.parking_table.clone()),
        dead_letter_queue: Queue::new(sqs.clone(), config.dead_letter_queue_url),
        deliveries: Deliveries::new(dynamodb.clone(), config.events_table.clone(), config.retention),
        deliveries_queue: Queue::new(sqs.clone(), config.deliveries_queue_url),
        endpoints: Endpoints::new(dynamodb.clone(), config.endpoints_table),
        events: Events::new(dynamodb.clone(), config.events_table, config.retention),
        limits: Limits::new(dynamodb.clone(), config.parking_table.clone()),
        meter: meter().clone(),
        own_events_queue: Queue::new(sqs.clone(), config.own_events_queue_url),
        parking: Parking::new(dynamodb.clone(), config.parking_table, config.retention),
        secrets: Vault::new(
            SealingKeys::new(dynamodb.clone(), config.endpoint_keys_table),
            WrappingKey::new(kms.clone(), config.wrapping_key.clone()),
        ),
        sender: config.sender,
        signers: Signers::new(
            KeyTable::new(dynamodb, config.keys_table, MacKey::new(kms.clone(), config.mac_key)),
            WrappingKey::new(kms, config.wrapping_key),
        ),
        slow_deliveries_queue: Queue::new(sqs, config.slow_deliveries_queue_url),
        slow_invocations_per_tenant: config.slow_invocations_per_tenant,
        webhooks: WebhookSender::new(Guard::new(config.target_rules))?.with_roles(aws, config.destination_roles),
    });
    Ok(App { engine, slow_deliveries_queue_arn: config.slow_deliveries_queue_arn })
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
    let messages = batch.records.iter().map(|record| app.queued(record)).collect::<Option<Vec<_>>>();
    let messages = messages.ok_or("SQS record without a messageId")?; // Before anything is sent.
    let mut response = SqsBatchResponse::default();
    // In a box, because the compiler gives up on futures that are nested so deeply.
    response.set_failures(Box::pin(app.engine.handle(&messages)).await);
    Ok(response)
}

impl App {
    fn queued<'a>(&self, record: &'a SqsMessage) -> Option<QueuedDelivery<'a>> {
        Some(QueuedDelivery {
            message_id: record.message_id.as_deref()?,
            body: record.body.as_deref().unwrap_or_default(),
            receipt_handle: record.receipt_handle.as_deref().unwrap_or_default(),
            receipt: receipt_of(record, self.track_of(record)),
        })
    }

    fn track_of(&self, record: &SqsMessage) -> Track {
        let is_slow = record.event_source_arn.as_ref() == Some(&self.slow_deliveries_queue_arn);
        if is_slow { Track::Slow } else { Track::Fast }
    }
}

/// Reads the attributes of a message.
fn receipt_of(record: &SqsMessage, track: Track) -> Receipt {
    let number = |name: &str| record.attributes.get(name).and_then(|number| number.parse().ok());
    let own = |name: &str| record.message_attributes.get(name).and_then(|own| own.string_value.as_ref()?.parse().ok());
    let since: Option<u64> = own(SINCE);
    let count = |number: Option<u64>| number.and_then(|count| u32::try_from(count).ok());
    Receipt {
        receives: count(number("ApproximateReceiveCount")).unwrap_or(1),
        earlier_receives: count(own(RECEIVES)).unwrap_or_default(),
        first_received_unix_ms: number("ApproximateFirstReceiveTimestamp").unwrap_or_default(),
        since_unix_ms: since.or_else(|| number("SentTimestamp")).unwrap_or_else(unix_ms_now),
        is_again: since.is_some(),
        track,
    }
}

#[cfg(test)]
mod tests {
    use aws_lambda_events::sqs::SqsMessage;
    use signpost_core::delivery::{Receipt, Track};

    use super::receipt_of;

    #[test]
    fn the_receipt_of_a_message_that_was_sent_again_counts_the_receives_of_the_earlier_ones() {
        let record: SqsMessage = serde_json::from_str(
            r#"{
                "messageId": "059f36b4-87a3-44ab-83d2-661975830a7d",
                "attributes": {
                    "ApproximateReceiveCount": "2",
                    "SentTimestamp": "1545082649183",
                    "ApproximateFirstReceiveTimestamp": "1545082649185"
                },
                "messageAttributes": {
                    "since": {"stringValue": "1545082000000", "dataType": "String"},
                    "receives": {"stringValue": "7", "dataType": "String"}
                }
            }"#,
        )
        .unwrap();
        let expected = Receipt {
            receives: 2,
            earlier_receives: 7,
            first_received_unix_ms: 1_545_082_649_185,
            since_unix_ms: 1_545_082_000_000,
            is_again: true,
            track: Track::Fast,
        };
        assert_eq!(receipt_of(&record, Track::Fast), expected);
        let mut first = record;
        first.message_attributes.clear();
        let expected = Receipt { earlier_receives: 0, since_unix_ms: 1_545_082_649_183, is_again: false, ..expected };
        assert_eq!(receipt_of(&first, Track::Fast), expected);
    }
}
