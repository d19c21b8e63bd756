//! SQS queues: sends, receives and deletes messages in batches, and changes how long one stays hidden.

use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{
    BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry,
    MessageAttributeValue, MessageSystemAttributeName, SendMessageBatchRequestEntry,
};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use signpost_engine::ports;
use signpost_engine::ports::queue::{MAX_BATCH_BYTES, Message, Received};

use crate::aws::{AwsError, CALL_TIMEOUT};

/// One queue.
#[derive(Clone, Debug)]
pub struct Queue {
    client: Client,
    url: String,
}

/// How many messages one call may have.
const MAX_BATCH_MESSAGES: usize = 10;
/// How many calls run at the same time.
const CALLS_AT_ONCE: usize = 4;
/// How often entries that SQS refused are sent in all, before the call counts as failed.
const ROUNDS: usize = 3;

impl Queue {
    /// Adapts `client` to the queue at `url`.
    #[must_use]
    pub fn new(client: Client, url: String) -> Self {
        Self { client, url }
    }

    async fn send_batch(&self, mut entries: Vec<SendMessageBatchRequestEntry>) -> Result<(), AwsError> {
        let mut round = 1;
        loop {
            let call = self.client.send_message_batch().queue_url(&self.url).set_entries(Some(entries.clone()));
            let failed = call.send().await.map_err(AwsError::of("sqs:SendMessage"))?.failed;
            if failed.is_empty() || round == ROUNDS || failed.iter().any(|entry| entry.sender_fault) {
                return none_refused("sqs:SendMessage", &failed);
            }
            entries.retain(|entry| failed.iter().any(|refused| refused.id == entry.id));
            round += 1;
        }
    }
}

impl ports::queue::Queue for Queue {
    type Error = AwsError;

    /// Needs `sqs:SendMessage`. One call per 10 messages or 1 MiB.
    async fn send_all(&self, messages: impl IntoIterator<Item = Message>) -> Result<(), AwsError> {
        let sized = messages.into_iter().map(|message| (message.size(), message));
        let calls = batches(sized, MAX_BATCH_MESSAGES, MAX_BATCH_BYTES).map(|batch| async {
            let entries = batch.into_iter().enumerate().map(|(index, message)| entry(index, message));
            self.send_batch(entries.collect::<Result<_, _>>()?).await
        });
        stream::iter(calls).buffer_unordered(CALLS_AT_ONCE).try_collect().await
    }

    /// Needs `sqs:ReceiveMessage`. One call.
    async fn receive(&self, hidden_for: Duration) -> Result<Vec<Received>, AwsError> {
        let call = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(10)
            .message_attribute_names("reason")
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
            .visibility_timeout(i32::try_from(hidden_for.as_secs()).unwrap_or(i32::MAX))
            .wait_time_seconds(1); // Long polling asks all of SQS's servers; short polling does not.
        let patient = TimeoutConfig::builder().operation_attempt_timeout(CALL_TIMEOUT).build();
        let call = call.customize().config_override(aws_sdk_sqs::config::Builder::new().timeout_config(patient));
        let messages = call.send().await.map_err(AwsError::of("sqs:ReceiveMessage"))?.messages.unwrap_or_default();
        let received = messages.into_iter().map(|message| Received {
            id: message.message_id.unwrap_or_default(),
            body: message.body.unwrap_or_default(),
            sent_unix_ms: message
                .attributes
                .and_then(|all| all.get(&MessageSystemAttributeName::SentTimestamp)?.parse().ok())
                .unwrap_or_default(),
            reason: message.message_attributes.and_then(|mut all| all.remove("reason")?.string_value),
            receipt: message.receipt_handle.unwrap_or_default(),
        });
        Ok(received.collect())
    }

    /// Needs `sqs:DeleteMessage`. One call per 10 messages.
    async fn remove_all(&self, receipts: impl IntoIterator<Item = String>) -> Result<(), AwsError> {
        const OPERATION: &str = "sqs:DeleteMessage";
        let calls = tens(receipts).map(async |receipts| {
            let entries = receipts.into_iter().enumerate().map(|(index, receipt)| {
                DeleteMessageBatchRequestEntry::builder().id(index.to_string()).receipt_handle(receipt).build()
            });
            let entries = entries.collect::<Result<_, _>>().map_err(AwsError::of(OPERATION))?;
            let call = self.client.delete_message_batch().queue_url(&self.url).set_entries(Some(entries));
            none_refused(OPERATION, &call.send().await.map_err(AwsError::of(OPERATION))?.failed)
        });
        stream::iter(calls).buffer_unordered(CALLS_AT_ONCE).try_collect().await
    }

    /// Needs `sqs:ChangeMessageVisibility`. One call per 10 messages.
    async fn release_all(&self, receipts: impl IntoIterator<Item = String>) -> Result<(), AwsError> {
        const OPERATION: &str = "sqs:ChangeMessageVisibility";
        let calls = tens(receipts).map(async |receipts| {
            let entries = receipts.into_iter().enumerate().map(|(index, receipt)| {
                let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(index.to_string());
                entry.receipt_handle(receipt).visibility_timeout(0).build()
            });
            let entries = entries.collect::<Result<_, _>>().map_err(AwsError::of(OPERATION))?;
            let call = self.client.change_message_visibility_batch().queue_url(&self.url).set_entries(Some(entries));
            none_refused(OPERATION, &call.send().await.map_err(AwsError::of(OPERATION))?.failed)
        });
        stream::iter(calls).buffer_unordered(CALLS_AT_ONCE).try_collect().await
    }

    /// Needs `sqs:ChangeMessageVisibility`. The message must also be reported as a batch item failure, or the event
    /// source mapping deletes it.
    async fn delay_retry(&self, receipt_handle: &str, wait: Duration) -> Result<(), AwsError> {
        let seconds = wait.as_millis().div_ceil(1_000).min(MAX_VISIBILITY_SECONDS);
        let call = self.client.change_message_visibility().queue_url(&self.url).receipt_handle(receipt_handle);
        let call = call.visibility_timeout(i32::try_from(seconds).unwrap_or(i32::MAX));
        call.send().await.map_err(AwsError::of("sqs:ChangeMessageVisibility"))?;
        Ok(())
    }
}

/// How long SQS can hold a message: at most 15 minutes.
pub const MAX_DELAY: Duration = Duration::from_mins(15);
/// How long SQS can hide a message: at most 12 hours.
const MAX_VISIBILITY_SECONDS: u128 = 43_200;

fn entry(index: usize, message: Message) -> Result<SendMessageBatchRequestEntry, AwsError> {
    let seconds = message.delay.min(MAX_DELAY).as_secs();
    let delay = i32::try_from(seconds).ok().filter(|seconds| *seconds > 0);
    let mut entry = SendMessageBatchRequestEntry::builder()
        .id(index.to_string())
        .message_body(message.body)
        .set_message_group_id(message.group)
        .set_delay_seconds(delay);
    for (name, value) in message.attributes {
        let value = MessageAttributeValue::builder().data_type("String").string_value(value).build();
        entry = entry.message_attributes(name, value.map_err(AwsError::of("sqs:SendMessage"))?);
    }
    entry.build().map_err(AwsError::of("sqs:SendMessage"))
}

/// Returns an error if SQS refused entries of a call.
fn none_refused(operation: &'static str, failed: &[BatchResultErrorEntry]) -> Result<(), AwsError> {
    let Some(first) = failed.first() else { return Ok(()) };
    let text = first.message.as_deref().unwrap_or_default();
    let refusal = format!("{} entries refused, {}: {text}", failed.len(), first.code);
    Err(AwsError::of(operation)(std::io::Error::other(refusal)))
}

/// Splits receipts into groups, one per call.
fn tens(receipts: impl IntoIterator<Item = String>) -> impl Iterator<Item = Vec<String>> {
    batches(receipts.into_iter().map(|receipt| (0, receipt)), MAX_BATCH_MESSAGES, MAX_BATCH_BYTES)
}

/// Splits sized items, in their order, into batches of at most `max_items` and `max_bytes`. An item over `max_bytes` is
/// alone in its batch.
fn batches<T>(
    items: impl Iterator<Item = (usize, T)>,
    max_items: usize,
    max_bytes: usize,
) -> impl Iterator<Item = Vec<T>> {
    let mut items = items.peekable();
    std::iter::from_fn(move || {
        let (mut bytes, first) = items.next()?;
        let mut batch = vec![first];
        while batch.len() < max_items
            && let Some((size, item)) = items.next_if(|(size, _)| bytes + size <= max_bytes)
        {
            bytes += size;
            batch.push(item);
        }
        Some(batch)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_end_at_ten_entries_and_at_the_byte_limit() {
        let cases = [
            (vec![], Vec::<Vec<usize>>::new(), "nothing to send, no call"),
            (vec![1, 2, 3, 4], vec![vec![1, 2, 3], vec![4]], "too many"),
            (vec![60, 40, 1], vec![vec![60, 40], vec![1]], "exactly full"),
            (vec![60, 41], vec![vec![60], vec![41]], "one byte too much"),
            (vec![5, 200, 5], vec![vec![5], vec![200], vec![5]], "an oversized item does not take others down"),
            (vec![90, 20, 20], vec![vec![90], vec![20, 20]], "bytes are counted per batch"),
        ];
        for (input, expected, why) in cases {
            let items = input.into_iter().map(|size| (size, size));
            assert_eq!(batches(items, 3, 100).collect::<Vec<_>>(), expected, "{why}");
        }
    }
}
