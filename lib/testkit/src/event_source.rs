//! Lambda's part between an SQS queue and a function: an event source mapping with `ReportBatchItemFailures`.

use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message, MessageSystemAttributeName};
use serde_json::{Map, Value, json};
use tokio::task::JoinHandle;

use crate::aws_proxy::Traces;
use crate::lambda_host::LambdaHost;
use crate::lineage::Lineage;

/// An event source mapping. It runs until it is dropped, and makes one invocation at a time.
#[derive(Debug)]
pub struct EventSource {
    polling: JoinHandle<()>,
}

impl EventSource {
    /// Starts to invoke `host` with the messages of the queue at `url`, at most ten in one invocation.
    ///
    /// A message stays in the queue, hidden until its visibility timeout, if the invocation names it as failed, fails
    /// or dies. The host and its process end when nothing else refers to the host.
    #[must_use]
    pub fn start(host: &Arc<LambdaHost>, aws: &SdkConfig, url: &str) -> Self {
        Self::start_with_traces(host, aws, url, Traces::default())
    }

    /// Does the same, and detects recursive loops as Lambda does: it reads the lineage of each message from `traces`, and
    /// does not hand over messages that [`LambdaHost::admit`] refuses. They stay in the queue.
    #[must_use]
    pub fn start_with_traces(host: &Arc<LambdaHost>, aws: &SdkConfig, url: &str, traces: Traces) -> Self {
        // If the SDK timed out here, SQS would still hide the messages that it was about to return.
        let aws = aws.to_builder().timeout_config(TimeoutConfig::disabled()).build();
        Self { polling: tokio::spawn(poll(Arc::downgrade(host), Client::new(&aws), url.to_owned(), traces)) }
    }
}

impl Drop for EventSource {
    fn drop(&mut self) {
        self.polling.abort();
    }
}

/// How long SQS waits for messages in one call, in seconds.
const WAIT_SECONDS: i32 = 5;

/// How long the mapping waits after SQS refused a call. An emulator on a busy machine refuses some.
const AFTER_REFUSAL: Duration = Duration::from_millis(500);

async fn poll(host: Weak<LambdaHost>, sqs: Client, url: String, traces: Traces) {
    loop {
        let call = sqs.receive_message().queue_url(&url).max_number_of_messages(10).wait_time_seconds(WAIT_SECONDS);
        let call = call.message_system_attribute_names(MessageSystemAttributeName::All).message_attribute_names("All");
        let Ok(answer) = call.send().await else {
            tokio::time::sleep(AFTER_REFUSAL).await;
            continue;
        };
        let received = answer.messages.unwrap_or_default();
        if received.is_empty() {
            continue;
        }
        let Some(host) = host.upgrade() else { return };
        let mut lineage = Lineage::default();
        let received: Vec<_> = received
            .into_iter()
            .filter(|message| match host.admit(&lineage_of(message, &traces)) {
                Some(admitted) => {
                    lineage = std::mem::take(&mut lineage).merged(admitted);
                    true
                }
                None => false,
            })
            .collect();
        if received.is_empty() {
            continue;
        }
        let event = json!({"Records": received.iter().map(record).collect::<Vec<_>>()});
        let Some(failed) =
            host.invoke_with_trace(&event, Some(&lineage)).await.ok().and_then(|response| failed(&response))
        else {
            continue;
        };
        let done = received.iter().filter(|message| !failed.contains(message.message_id().unwrap_or_default()));
        let done = done.enumerate().map(|(index, message)| {
            let handle = message.receipt_handle().unwrap_or_default();
            let entry = DeleteMessageBatchRequestEntry::builder().id(index.to_string()).receipt_handle(handle);
            entry.build().expect("all parts are set")
        });
        let done: Vec<_> = done.collect();
        if !done.is_empty() {
            // A message stays if somebody else has received it in the meantime.
            let _ = sqs.delete_message_batch().queue_url(&url).set_entries(Some(done)).send().await;
        }
    }
}

/// Returns the lineage of a message: how it came into the queue.
fn lineage_of(message: &Message, traces: &Traces) -> Lineage {
    let kept = message.attributes().and_then(|all| all.get(&MessageSystemAttributeName::AwsTraceHeader).cloned());
    let trace = kept.or_else(|| traces.of(message.message_id().unwrap_or_default()));
    Lineage::parse(&trace.unwrap_or_default())
}

/// Converts a message to a record, as Lambda passes it to a function.
#[must_use]
pub fn record(message: &Message) -> Value {
    let attributes = message.attributes().into_iter().flatten();
    let attributes: Map<_, _> = attributes.map(|(name, value)| (name.as_str().to_owned(), json!(value))).collect();
    let own = message.message_attributes().into_iter().flatten().map(|(name, value)| {
        let value = json!({
            "dataType": value.data_type(), "stringValue": value.string_value(),
            "stringListValues": [], "binaryListValues": [],
        });
        (name.clone(), value)
    });
    json!({
        "messageId": message.message_id(),
        "receiptHandle": message.receipt_handle(),
        "body": message.body(),
        "attributes": attributes,
        "messageAttributes": own.collect::<Map<_, _>>(),
        "md5OfBody": message.md5_of_body(),
        "eventSource": "aws:sqs",
        "eventSourceARN": HOSTED_QUEUE_ARN,
        "awsRegion": "us-east-1",
    })
}

/// The ARN of the queue from which hosted functions get their messages, whichever it is.
pub const HOSTED_QUEUE_ARN: &str = "arn:aws:sqs:us-east-1:000000000000:hosted";

/// Returns the ids of the messages that a response names as failed. Returns nothing if it names an empty id, because
/// then Lambda treats all messages as failed.
fn failed(response: &Value) -> Option<HashSet<String>> {
    let named = response["batchItemFailures"].as_array().map(Vec::as_slice).unwrap_or_default();
    let id = |one: &Value| one["itemIdentifier"].as_str().filter(|id| !id.is_empty()).map(str::to_owned);
    named.iter().map(id).collect()
}
