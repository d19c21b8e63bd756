//! Queues, and the messages in them.

use std::time::Duration;

use signpost_core::delivery::{Delivery, Stored};
use signpost_core::endpoint::EndpointId;
use signpost_core::event::Event;

/// A queue that presents each message at least once, in any order (an SQS standard queue).
pub trait Queue {
    /// The reason why a call failed.
    type Error;

    /// Sends all of `messages`. It takes them one by one and holds only those of a few calls.
    ///
    /// # Errors
    /// Not all messages are in the queue, though some may be. Send all again; readers must recognise repetitions.
    async fn send_all(&self, messages: impl IntoIterator<Item = Message>) -> Result<(), Self::Error>;

    /// Makes the queue present a received message again after `wait`, counted from now, in whole seconds rounded up.
    /// The message must also be reported as failed, or the queue forgets it.
    ///
    /// # Errors
    /// The call failed. The message comes back after the queue's visibility timeout instead.
    async fn delay_retry(&self, receipt: &str, wait: Duration) -> Result<(), Self::Error>;

    /// Receives up to ten messages, and hides them from other receivers for `hidden_for`. Returns none if none comes
    /// within a second.
    ///
    /// # Errors
    /// The call failed.
    async fn receive(&self, hidden_for: Duration) -> Result<Vec<Received>, Self::Error>;

    /// Deletes received messages.
    ///
    /// # Errors
    /// Not all messages are deleted, though some may be. The others come back.
    async fn remove_all(&self, receipts: impl IntoIterator<Item = String>) -> Result<(), Self::Error>;

    /// Makes received messages visible again at once.
    ///
    /// # Errors
    /// Not all messages are visible. The others stay hidden until the time that was set when they were received.
    async fn release_all(&self, receipts: impl IntoIterator<Item = String>) -> Result<(), Self::Error>;
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
    /// How long the queue holds it before it presents it, in whole seconds, at most 15 minutes. It is not in flight
    /// meanwhile.
    pub delay: Duration,
}

/// The attribute of a delivery's message with the time since when it waits, in milliseconds since the Unix epoch. A
/// message has it if there may be another message of the same delivery.
pub const SINCE: &str = "since";

/// The attribute of a delivery's message with how often `deliver` received the messages in whose place this one was sent.
pub const RECEIVES: &str = "receives";

/// How many bytes one message may have, and all messages of one call together.
pub const MAX_BATCH_BYTES: usize = 1024 * 1024;

/// How many bytes are added for a message besides its body and its attributes' names and values.
const MESSAGE_MARGIN_BYTES: usize = 256;

impl Message {
    /// Creates the message that brings an event to `fanout`. Each tenant is a message group of its own, so that SQS's
    /// fair queue keeps one tenant's backlog from delaying the others.
    #[must_use]
    pub fn of_event(event: &Event) -> Self {
        let group = Some(event.key.tenant.to_string());
        Self { body: event.json().to_owned(), group, ..Self::default() }
    }

    /// Creates the message that makes `deliver` send an event to an endpoint, for the first time or again.
    ///
    /// `arrived_unix_ms` is when the event arrived, `since_unix_ms` since when the message waits, both in milliseconds
    /// since the Unix epoch. Each tenant is a group of its own, so that the backlog of one, however many endpoints it has,
    /// does not delay the others (fair queues).
    #[must_use]
    pub fn of_delivery(endpoint: &EndpointId, event: &Event, arrived_unix_ms: u64, since_unix_ms: Option<u64>) -> Self {
        Self::of_stored(endpoint, event, Stored::of(event), arrived_unix_ms, since_unix_ms)
    }

    /// Creates the message of [`Self::of_delivery`] for an event that has just been stored.
    #[must_use]
    pub fn of_stored(
        endpoint: &EndpointId,
        event: &Event,
        stored: Stored,
        arrived_unix_ms: u64,
        since_unix_ms: Option<u64>,
    ) -> Self {
        Self {
            body: Delivery::message_with(endpoint, event, stored, arrived_unix_ms),
            group: Some(event.key.tenant.to_string()),
            attributes: since_unix_ms.map(|since| (SINCE, since.to_string())).into_iter().collect(),
            delay: Duration::ZERO,
        }
    }

    /// Returns how many of [`MAX_BATCH_BYTES`] the message uses, rounded up.
    #[must_use]
    pub fn size(&self) -> usize {
        let attributes = self.attributes.iter().map(|(name, value)| name.len() + "String".len() + value.len());
        self.body.len() + attributes.sum::<usize>() + MESSAGE_MARGIN_BYTES
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
    fn attributes_count_towards_the_size() {
        let bare = Message { body: "x".repeat(100), ..Message::default() };
        let full = Message { attributes: vec![("reason", "y".repeat(50))], ..bare.clone() };
        assert_eq!(full.size() - bare.size(), 6 + 6 + 50);
    }
}
