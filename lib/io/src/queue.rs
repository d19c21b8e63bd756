//! SQS queues: sends, receives and deletes messages in batches, and changes how long one stays hidden.

use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{
    BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry,
    MessageAttributeValue, MessageSystemAttributeName, SendMessageBatchRequestEntry,
};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use signpost_core::delivery::Delivery;
use signpost_core::endpoint::EndpointId;
use signpost_core::event::Event;

use crate::aws::{AwsError, CALL_TIMEOUT};

/// One queue.
#[derive(Clone, Debug)]
pub struct Queue {
    client: Client,
    url: String,
}

/// A message to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The content. SQS accepts only the characters of XML 1.0.
    pub body: String,
    /// `MessageGroupId`: on a standard queue, the group whose share of the queue the message uses (fair queues).
    pub group: Option<String>,
    /// Text attributes, by name.
    pub attributes: Vec<(&'static str, String)>,
    /// How long SQS holds it before it presents it, in whole seconds, at most 15 minutes. It is not in flight
    /// meanwhile.
    pub delay: Duration,
}

/// The attribute of a delivery's message with the time since when it waits, in milliseconds since the Unix epoch. A
/// message has it if there may be another message of the same delivery.
pub const SINCE: &str = "since";

impl Message {
    /// Creates the message that brings an event to `fanout`. Each tenant is a message group of its own, so that SQS's fair
    /// queue keeps one tenant's backlog from delaying the others.
    #[must_use]
    pub fn of_event(event: &Event) -> Self {
        let group = Some(event.key.tenant.to_string());
        Self { body: event.json().to_owned(), group, ..Self::default() }
    }

    /// Creates the message that makes `deliver` send an event to an endpoint, for the first time or again.
    ///
    /// `arrived_unix_ms` is when the event arrived, `since_unix_ms` since when the message waits, both in milliseconds
    /// since the Unix epoch. Each endpoint is a group of its own, so that one's backlog does not delay the others (fair
    /// queues).
    #[must_use]
    pub fn of_delivery(endpoint: &EndpointId, event: &Event, arrived_unix_ms: u64, since_unix_ms: Option<u64>) -> Self {
        Self {
            body: Delivery::message(endpoint, event, arrived_unix_ms),
            group: Some(endpoint.to_string()),
            attributes: since_unix_ms.map(|since| (SINCE, since.to_string())).into_iter().collect(),
            delay: Duration::ZERO,
        }
    }
}

/// A message that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// `MessageId`: the same each time the message is received.
    pub id: String,
    /// The content.
    pub body: String,
    /// Its attribute `reason`, which says why it is in a dead-letter queue.
    pub reason: Option<String>,
    /// `SentTimestamp`: when SQS accepted it, in milliseconds since the Unix epoch; 0 if SQS does not report it.
    pub sent_unix_ms: u64,
    /// `ReceiptHandle`: names this receipt of the message, and is needed to delete or release it.
    pub receipt: String,
}

/// How many messages one call may have.
const MAX_BATCH_MESSAGES: usize = 10;
/// How many bytes one message may have, and all messages of one call together.
pub const MAX_BATCH_BYTES: usize = 1024 * 1024;
/// How many bytes are added for a message besides its body and its attributes' names and values.
const MESSAGE_MARGIN_BYTES: usize = 256;
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

    /// Sends all of `messages`, in as few calls as SQS's limits allow. It takes them one by one and holds only those of
    /// four concurrent calls.
    ///
    /// Needs `sqs:SendMessage`. One call per 10 messages or 1 MiB.
    ///
    /// # Errors
    /// Not all messages are in the queue, though some may be. Send all again; readers must recognise repetitions.
    pub async fn send_all(&self, messages: impl IntoIterator<Item = Message>) -> Result<(), AwsError> {
        let sized = messages.into_iter().map(|message| (size(&message), message));
        let calls = batches(sized, MAX_BATCH_MESSAGES, MAX_BATCH_BYTES).map(|batch| async {
            let entries = batch.into_iter().enumerate().map(|(index, message)| entry(index, message));
            self.send_batch(entries.collect::<Result<_, _>>()?).await
        });
        stream::iter(calls).buffer_unordered(CALLS_AT_ONCE).try_collect().await
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

    /// Receives up to ten messages, and hides them from other receivers for `hidden_for`. Returns none if none comes
    /// within a second.
    ///
    /// Needs `sqs:ReceiveMessage`. One call.
    ///
    /// # Errors
    /// The call failed.
    pub async fn receive(&self, hidden_for: Duration) -> Result<Vec<Received>, AwsError> {
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

    /// Deletes received messages.
    ///
    /// Needs `sqs:DeleteMessage`. One call per 10 messages.
    ///
    /// # Errors
    /// Not all messages are deleted, though some may be. The others come back.
    pub async fn remove_all(&self, receipts: impl IntoIterator<Item = String>) -> Result<(), AwsError> {
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

    /// Makes received messages visible again at once.
    ///
    /// Needs `sqs:ChangeMessageVisibility`. One call per 10 messages.
    ///
    /// # Errors
    /// Not all messages are visible. The others stay hidden until the time that was set when they were received.
    pub async fn release_all(&self, receipts: impl IntoIterator<Item = String>) -> Result<(), AwsError> {
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

    /// Makes SQS present a received message again after `wait`, counted from now, in whole seconds rounded up.
    ///
    /// Needs `sqs:ChangeMessageVisibility`. The message must also be reported as a batch item failure, or the event
    /// source mapping deletes it.
    ///
    /// # Errors
    /// The call failed. The message comes back after the queue's visibility timeout instead.
    pub async fn delay_retry(&self, receipt_handle: &str, wait: Duration) -> Result<(), AwsError> {
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

/// Returns how many bytes of [`MAX_BATCH_BYTES`] a message uses, rounded up.
#[must_use]
pub fn size(message: &Message) -> usize {
    let attributes = message.attributes.iter().map(|(name, value)| name.len() + "String".len() + value.len());
    message.body.len() + attributes.sum::<usize>() + MESSAGE_MARGIN_BYTES
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
    fn an_event_is_in_its_tenants_group_of_the_fair_queue() {
        let text = r#"{"specversion":"1.0","id":"1","source":"/core","type":"t","tenant":"acme","data":{}}"#;
        let message = Message::of_event(&Event::parse(text).unwrap());
        assert_eq!((&*message.body, message.group.as_deref()), (text, Some("acme")));
    }

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

    #[test]
    fn attributes_count_towards_the_size() {
        let bare = Message { body: "x".repeat(100), ..Message::default() };
        let full = Message { attributes: vec![("reason", "y".repeat(50))], ..bare.clone() };
        assert_eq!(size(&full) - size(&bare), 6 + 6 + 50);
    }
}
