//! `send`: events from a file, from stdin, or an example of a payload format.

use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::api::{Call, POST_EVENTS, READ_EVENT};
use crate::args::{PayloadFormat, Send, Via};
use crate::commands::event::wait_for_all;
use crate::failure::{Failure, Outcome};
use crate::input;
use crate::output::Output;
use crate::stack::{EVENTS_QUEUE_URL, Stack};

/// Limits of one request of the API: 100 events, and 4 MiB with the commas.
const MOST_EVENTS: usize = 100;
const MOST_BYTES: usize = 4_000_000;
/// Limits of one request of SQS: 10 messages, and 1 MiB.
const MOST_MESSAGES: usize = 10;
const MOST_MESSAGE_BYTES: usize = 1_000_000;

impl PayloadFormat {
    /// The request of `events/` that posts the example.
    fn file(self) -> &'static str {
        match self {
            Self::Operation => include_str!("../../../../events/ingest-operation.json"),
            Self::Activation => include_str!("../../../../events/ingest-activation.json"),
            Self::Workflow => include_str!("../../../../events/ingest-workflow.json"),
            Self::TokenRequest => include_str!("../../../../events/ingest-token-request-redirect.json"),
            Self::Session => include_str!("../../../../events/ingest-session.json"),
            Self::Payment => include_str!("../../../../events/ingest-payment.json"),
            Self::Transaction => include_str!("../../../../events/ingest-transaction.json"),
        }
    }

    /// The example, for a tenant, under an id of its own.
    fn event(self, tenant: &str) -> Value {
        let request: Value = serde_json::from_str(self.file()).unwrap_or_default();
        let mut event: Value = serde_json::from_str(request["body"].as_str().unwrap_or_default()).unwrap_or_default();
        event["tenant"] = json!(tenant);
        event["id"] = json!(format!("{}-{}", event["type"].as_str().unwrap_or("event"), Uuid::new_v4()));
        event
    }
}

/// Sends the events, and waits for them if asked to.
pub async fn run(args: &Send, stack: &Stack<'_>, output: &Output) -> Outcome {
    let events = match (&args.example, &args.file) {
        (Some(format), _) => vec![format.event(args.tenant.as_deref().unwrap_or_default()).to_string()],
        (None, Some(path)) => split(&input::read_text(path)?, path)?,
        (None, None) => Vec::new(),
    };
    if args.dry_run {
        output.say(&format!("{} events; nothing was sent", events.len()));
        return events.iter().try_for_each(|event| output.line(event));
    }
    let bar = output.progress(events.len() as u64, "sending");
    let (most, most_bytes) = match args.via {
        Via::Http => (MOST_EVENTS, MOST_BYTES),
        Via::Sqs => (MOST_MESSAGES, MOST_MESSAGE_BYTES),
    };
    let mut sent = 0;
    for batch in batches(&events, most, most_bytes) {
        let result = match args.via {
            Via::Http => post(batch, stack).await,
            Via::Sqs => enqueue(batch, stack).await,
        };
        if let Err(failure) = result {
            bar.finish_and_clear();
            output.say(&format!("{sent} of {} events were sent before this", events.len()));
            return Err(failure);
        }
        sent += batch.len();
        bar.set_position(sent as u64);
    }
    bar.finish_and_clear();
    let ids: Vec<(String, String, String)> = events.iter().map(|event| names(event)).collect();
    if let Some(seconds) = args.wait {
        for (tenant, id, source) in &ids {
            let path = [("tenant", tenant.as_str()), ("event", id.as_str())];
            let query = [("source", Some(source.as_str()))];
            let count = wait_for_all(&Call::new(&READ_EVENT, &path).with_query(&query), seconds, stack).await?;
            output.say(&format!("{id} is delivered to {count} endpoints"));
        }
    }
    let accepted: Vec<_> = ids.iter().map(|(_, id, _)| id).collect();
    output.one(&json!({"accepted": accepted}), |_| accepted.iter().map(|id| (*id).clone()).collect())
}

/// Splits a file into events, byte for byte: one object, an array, or an object a line.
fn split(text: &str, path: &str) -> Outcome<Vec<String>> {
    let expected = "write one event, a JSON array of events, or one event a line";
    let events: Result<Vec<String>, serde_json::Error> = if text.trim_start().starts_with('[') {
        serde_json::from_str::<Vec<Box<RawValue>>>(text).map(|all| all.iter().map(|one| one.get().to_owned()).collect())
    } else {
        let stream = serde_json::Deserializer::from_str(text).into_iter::<Box<RawValue>>();
        stream.map(|one| one.map(|one| one.get().to_owned())).collect()
    };
    let events = events.map_err(|error| Failure::refused(format!("`{path}` is not JSON: {error}"), expected))?;
    if events.is_empty() {
        return Err(Failure::refused(format!("`{path}` has no event"), expected));
    }
    Ok(events)
}

/// Cuts a list into parts that one request may carry.
fn batches(events: &[String], most: usize, most_bytes: usize) -> Vec<&[String]> {
    let (mut all, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (index, event) in events.iter().enumerate() {
        if index > start && (index - start == most || bytes + event.len() > most_bytes) {
            all.push(&events[start..index]);
            (start, bytes) = (index, 0);
        }
        bytes += event.len() + 1;
    }
    all.push(&events[start..]);
    all
}

/// Sends events by the API.
pub async fn post(events: &[String], stack: &Stack<'_>) -> Outcome {
    let body = match events {
        [event] => ("application/cloudevents+json", event.clone().into_bytes()),
        events => ("application/cloudevents-batch+json", format!("[{}]", events.join(",")).into_bytes()),
    };
    stack.call(Call { body: Some(body), ..Call::new(&POST_EVENTS, &[]) }).await.map(drop)
}

/// Sends events by `EventsQueue`.
pub async fn enqueue(events: &[String], stack: &Stack<'_>) -> Outcome {
    let url = stack.output(EVENTS_QUEUE_URL).await?;
    if let [event] = events {
        return stack.sqs("SendMessage", &json!({"QueueUrl": url, "MessageBody": event})).await.map(drop);
    }
    let entry = |(index, event): (usize, &String)| json!({"Id": index.to_string(), "MessageBody": event});
    let entries: Vec<_> = events.iter().enumerate().map(entry).collect();
    let answer = stack.sqs("SendMessageBatch", &json!({"QueueUrl": url, "Entries": entries})).await?;
    match answer["Failed"].as_array() {
        Some(failed) if !failed.is_empty() => {
            let what = format!("SQS refused {} of {} events: {}", failed.len(), events.len(), failed[0]["Message"]);
            Err(Failure::refused(what, "send the file again: sending an event twice is safe"))
        }
        _ => Ok(()),
    }
}

/// Returns the tenant, the id and the source of an event, as far as it has them.
fn names(event: &str) -> (String, String, String) {
    let event: Value = serde_json::from_str(event).unwrap_or_default();
    let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
    (text("tenant"), text("id"), text("source"))
}
