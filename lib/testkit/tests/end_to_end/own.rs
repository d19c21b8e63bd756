//! Queues and a table that belong to one test. No other test and no deployed function uses them. The other tables are
//! the stack's.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_lambda_events::sqs::SqsEvent;
use aws_sdk_sqs::types::{MessageSystemAttributeNameForSends, MessageSystemAttributeValue};
use futures_util::stream::{StreamExt as _, iter};
use serde_json::{Value, json};
use signpost_core::delivery::Delivery;
use signpost_core::endpoint::EndpointId;
use signpost_core::event::{Event, TenantId};
use signpost_io::runtime::clock::unix_ms_now;
use signpost_io::tables::parking::Parking;
use signpost_testkit::build::{ARRIVED, delivery, event, event_id};
use signpost_testkit::event_source::HOSTED_QUEUE_ARN;
use signpost_testkit::lambda_host::LambdaHost;
use signpost_testkit::lineage::Lineage;
use signpost_testkit::local_stack::{LocalStack, setting};
use signpost_testkit::receiver::{Received, Receiver};
use tokio::time::{interval, timeout};
use uuid::Uuid;

use crate::handlers::lookup;

pub(crate) struct Own {
    pub(crate) aws: SdkConfig,
    pub(crate) dead_letters: String,
    pub(crate) deliveries: String,
    pub(crate) events: String,
    pub(crate) parking: String,
    pub(crate) rejected: String,
}

/// How long the queues hide the messages that a dead process had received.
pub(crate) const HIDDEN: Duration = Duration::from_secs(10);

impl Own {
    pub(crate) async fn of(stack: &LocalStack) -> Self {
        let name = Uuid::new_v4();
        let queue = async |kind: &str| stack.queue_that_hides(&format!("own-{kind}-{name}"), HIDDEN).await;
        Self {
            aws: stack.aws.clone(),
            dead_letters: queue("dead-letters").await,
            deliveries: queue("deliveries").await,
            events: queue("events").await,
            parking: stack.parking_table(&format!("own-{name}")).await,
            rejected: queue("rejected").await,
        }
    }

    /// Looks up a setting of a function that uses these queues and this table.
    pub(crate) fn lookup(&self, name: &str) -> Option<String> {
        match name {
            "DEAD_LETTER_QUEUE_URL" => Some(self.dead_letters.clone()),
            "DELIVERIES_QUEUE_URL" | "SLOW_DELIVERIES_QUEUE_URL" => Some(self.deliveries.clone()),
            "SLOW_DELIVERIES_QUEUE_ARN" => Some(HOSTED_QUEUE_ARN.into()), // All here are on the slow track.
            "SLOW_INVOCATIONS_PER_TENANT" => Some("50".into()),
            "EVENTS_QUEUE_URL" | "OWN_EVENTS_QUEUE_URL" => Some(self.events.clone()),
            "PARKING_TABLE" => Some(self.parking.clone()),
            "REJECTED_QUEUE_URL" => Some(self.rejected.clone()),
            name => lookup(name),
        }
    }

    pub(crate) fn parking(&self) -> Parking {
        Parking::new(aws_sdk_dynamodb::Client::new(&self.aws), self.parking.clone(), Duration::ZERO)
    }

    pub(crate) fn deliver(&self) -> deliver::App {
        let config = deliver::Config::from_lookup(|name| self.lookup(name)).unwrap();
        deliver::app(&self.aws, config).unwrap()
    }

    pub(crate) fn sweep(&self) -> sweep::App {
        self.sweep_by(&self.aws)
    }

    pub(crate) fn sweep_by(&self, aws: &SdkConfig) -> sweep::App {
        sweep::app(aws, sweep::Config::from_lookup(|name| self.lookup(name)).unwrap())
    }

    /// Stores `count` events as `fanout` does, queues their deliveries, and returns their ids.
    pub(crate) async fn send(
        &self,
        stack: &LocalStack,
        tenant: &TenantId,
        endpoint: &EndpointId,
        count: usize,
    ) -> Vec<String> {
        let events: Vec<_> = iter((0..count).map(|_| stored(stack, tenant, endpoint))).buffered(10).collect().await;
        stack.send_to(&self.deliveries, events.iter().map(|event| delivery(endpoint, event))).await;
        events.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
    }

    /// Queues a delivery as if the invocations of `lineage` had led to it.
    pub(crate) async fn send_traced(&self, body: &str, lineage: &Lineage) {
        let trace = MessageSystemAttributeValue::builder().data_type("String").string_value(lineage.header());
        let call = aws_sdk_sqs::Client::new(&self.aws).send_message().queue_url(&self.deliveries).message_body(body);
        let name = MessageSystemAttributeNameForSends::AwsTraceHeader;
        let call = call.message_system_attributes(name, trace.build().unwrap());
        call.send().await.unwrap();
    }

    /// Queues the delivery of an event.
    pub(crate) async fn deliver_to(&self, stack: &LocalStack, endpoint: &EndpointId, event: &Event) {
        stack.send_to(&self.deliveries, [Delivery::message(endpoint, event, ARRIVED)]).await;
    }

    /// Sweeps repeatedly until `count` requests have arrived, and returns all requests.
    pub(crate) async fn sweep_until(&self, receiver: &Receiver, count: usize) -> Vec<Received> {
        self.sweep_while(receiver, |requests| requests.len() < count).await
    }

    /// Sweeps repeatedly until each of these events has arrived, and returns all requests.
    pub(crate) async fn sweep_until_all(&self, receiver: &Receiver, ids: &HashSet<String>) -> Vec<Received> {
        let is_missing = |requests: &[Received]| {
            let arrived: HashSet<_> = requests.iter().map(Received::event_id).collect();
            ids.iter().any(|id| !arrived.contains(id.as_str()))
        };
        self.sweep_while(receiver, is_missing).await
    }

    async fn sweep_while(&self, receiver: &Receiver, goes_on: impl Fn(&[Received]) -> bool) -> Vec<Received> {
        const PATIENCE: Duration = Duration::from_mins(4);
        let (sweep, mut ticks) = (self.sweep(), interval(Duration::from_secs(1)));
        let end = timeout(PATIENCE, async {
            while goes_on(&receiver.so_far()) {
                ticks.tick().await;
                // It fails if AWS refuses a call, as on a busy machine. The next minute tries again.
                let _ = sweep.sweep_at(unix_ms_now()).await;
            }
        });
        assert!(end.await.is_ok(), "{} requests arrived", receiver.so_far().len());
        receiver.so_far()
    }

    /// Runs a function in its own process, with the credentials of the account's root. It calls AWS at `endpoint_url`.
    pub(crate) fn host(&self, function: &str, endpoint_url: &str) -> Arc<LambdaHost> {
        const SETTINGS: [&str; 24] = [
            "AWS_ACCESS_KEY_ID",
            "AWS_REGION",
            "AWS_SECRET_ACCESS_KEY",
            "DANGEROUSLY_ALLOW_HTTP",
            "DANGEROUSLY_ALLOW_PRIVATE_TARGETS",
            "DEAD_LETTER_QUEUE_URL",
            "DELIVERIES_QUEUE_URL",
            "ENDPOINTS_TABLE",
            "ENDPOINT_KEYS_TABLE",
            "EVENTS_QUEUE_URL",
            "EVENTS_TABLE",
            "KEYS_TABLE",
            "MAC_KEY",
            "OWN_EVENTS_QUEUE_ARN",
            "OWN_EVENTS_QUEUE_URL",
            "PARKING_TABLE",
            "PORTAL_TABLE",
            "REJECTED_QUEUE_URL",
            "RETENTION_DAYS",
            "SLOW_DELIVERIES_QUEUE_ARN",
            "SLOW_DELIVERIES_QUEUE_URL",
            "SLOW_INVOCATIONS_PER_TENANT",
            "TOKEN_REQUESTS_TABLE",
            "WRAPPING_KEY",
        ];
        let own = SETTINGS.iter().map(|name| ((*name).to_owned(), self.lookup(name).unwrap()));
        let trusted = Path::new(&setting("RECEIVER_CERTIFICATE")).with_file_name("trusted.pem");
        let more = [("AWS_ENDPOINT_URL", endpoint_url.to_owned()), ("SSL_CERT_FILE", trusted.display().to_string())];
        let more = more.map(|(name, value)| (name.to_owned(), value));
        Arc::new(LambdaHost::new(function, own.chain(more).collect()))
    }
}

/// Stores an event in the table, as `fanout` does, and returns it.
pub(crate) async fn stored(stack: &LocalStack, tenant: &TenantId, endpoint: &EndpointId) -> Value {
    let event = event(tenant, &event_id(), &json!({"n": 10.5}));
    stack.store(&Event::parse(&event.to_string()).unwrap(), endpoint).await;
    event
}

/// Builds a batch of one message as Lambda passes it on. SQS has received it `receives` times, first at
/// `first_unix_ms`, in milliseconds since the Unix epoch.
pub(crate) fn presented(endpoint: &EndpointId, event: &Value, receives: u32, first_unix_ms: u64) -> SqsEvent {
    let attributes = json!({
        "ApproximateFirstReceiveTimestamp": first_unix_ms.to_string(),
        "ApproximateReceiveCount": receives.to_string(),
        "SentTimestamp": first_unix_ms.to_string(),
    });
    let record = json!({
        "messageId": "m-1", "receiptHandle": "r-1", "body": delivery(endpoint, event), "attributes": attributes,
        "eventSourceARN": HOSTED_QUEUE_ARN, "messageAttributes": {},
    });
    serde_json::from_value(json!({"Records": [record]})).unwrap()
}

/// Builds the same batch, as if it came from `DeliveriesQueue`.
pub(crate) fn on_the_fast_track(mut batch: SqsEvent) -> SqsEvent {
    batch.records.iter_mut().for_each(|record| record.event_source_arn = None);
    batch
}

/// Delivers with the function in this process. Returns false if the message returns to the queue.
pub(crate) async fn is_done(app: &deliver::App, message: SqsEvent) -> bool {
    deliver::handle(message, app).await.unwrap().batch_item_failures.is_empty()
}
