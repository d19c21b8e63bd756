//! `dlq`: deliveries that were given up, and events that were rejected.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::args::{DlqCommand, DlqList, DlqRedrive, DlqShow, Queue};
use crate::commands::care::is_wanted;
use crate::commands::endpoint::text;
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::stack::{DEAD_LETTER_QUEUE_URL, REJECTED_QUEUE_URL, SWEEP_FUNCTION, Stack, StackOutput};

/// How long a look hides a message from a redrive.
const HIDDEN_SECONDS: u64 = 5;
/// The most messages that `show` and a filtered count look at.
const MOST_MESSAGES: usize = 10_000;

impl Queue {
    fn output(self) -> StackOutput {
        match self {
            Self::DeadLetter => DEAD_LETTER_QUEUE_URL,
            Self::Rejected => REJECTED_QUEUE_URL,
        }
    }

    /// The name in the payload of a redrive.
    fn logical_id(self) -> &'static str {
        match self {
            Self::DeadLetter => "DeadLetterQueue",
            Self::Rejected => "RejectedQueue",
        }
    }
}

/// Runs a command about the two queues.
pub async fn run(command: DlqCommand, stack: &Stack<'_>, output: &Output) -> Outcome {
    match command {
        DlqCommand::List(args) => list(&args, stack, output).await,
        DlqCommand::Show(args) => show(&args, stack, output).await,
        DlqCommand::Redrive(args) => redrive(&args, stack, output).await,
    }
}

async fn list(args: &DlqList, stack: &Stack<'_>, output: &Output) -> Outcome {
    let messages = look(args.queue, args.limit, stack, |_| false).await?;
    output.list(&messages, &["message", "reason", "tenant", "endpoint", "event"], |message| {
        ["id", "reason", "tenant", "endpoint", "event"].map(|name| text(&message[name])).to_vec()
    })
}

async fn show(args: &DlqShow, stack: &Stack<'_>, output: &Output) -> Outcome {
    let is_it = |message: &Value| message["id"] == args.message.as_str();
    let messages = look(args.queue, MOST_MESSAGES, stack, is_it).await?;
    let message = messages.into_iter().find(is_it).ok_or_else(|| {
        let what = format!("no message `{}` is visible in {}", args.message, args.queue.logical_id());
        Failure::not_found(what, "look with `signpost dlq list`; a message is hidden for some seconds after a look")
    })?;
    output.one(&message, |output| {
        let mut pairs: Vec<_> =
            ["id", "reason", "tenant", "endpoint", "event"].map(|name| (name, text(&message[name]))).to_vec();
        if let Some(faults) = message["attributes"]["faults"].as_str() {
            pairs.push(("faults", faults.to_owned()));
        }
        let body = text(&message["body"]); // As it is: a payload has numbers that a parser would change.
        output.pairs(&pairs).into_iter().chain([String::new()]).chain(body.lines().map(str::to_owned)).collect()
    })
}

/// Looks at messages until one `is_last`, the queue shows no new one, or there are `limit`. It removes nothing.
async fn look(queue: Queue, limit: usize, stack: &Stack<'_>, is_last: impl Fn(&Value) -> bool) -> Outcome<Vec<Value>> {
    let url = stack.output(queue.output()).await?;
    let mut messages = BTreeMap::new();
    loop {
        let body = json!({
            "QueueUrl": url, "MaxNumberOfMessages": 10, "VisibilityTimeout": HIDDEN_SECONDS, "WaitTimeSeconds": 1,
            "MessageAttributeNames": ["All"],
        });
        let answer = stack.sqs("ReceiveMessage", &body).await?;
        let before = messages.len();
        for message in answer["Messages"].as_array().map(Vec::as_slice).unwrap_or_default() {
            let message = described(message);
            if is_last(&message) {
                return Ok(vec![message]);
            }
            messages.insert(text(&message["id"]), message);
        }
        if messages.len() == before || messages.len() >= limit {
            return Ok(messages.into_values().take(limit).collect());
        }
    }
}

/// Reads a message as people want to see it.
fn described(message: &Value) -> Value {
    let body = message["Body"].as_str().unwrap_or_default();
    let parsed: Value = serde_json::from_str(body).unwrap_or_default();
    let attributes = message["MessageAttributes"].as_object().into_iter().flatten();
    let attributes: serde_json::Map<_, _> =
        attributes.map(|(name, value)| (name.clone(), value["StringValue"].clone())).collect();
    let event = if parsed["event"].is_object() { &parsed["event"] } else { &parsed };
    json!({
        "id": message["MessageId"], "reason": attributes.get("reason"), "tenant": event["tenant"],
        "endpoint": parsed["endpoint"], "event": event["id"], "attributes": attributes, "body": body,
    })
}

async fn redrive(args: &DlqRedrive, stack: &Stack<'_>, output: &Output) -> Outcome {
    let is_filtered = args.tenant.is_some() || args.endpoint.is_some();
    let count = if args.care.yes && !args.care.dry_run {
        0 // Nobody asks for it.
    } else if is_filtered {
        let wanted = |message: &Value| {
            let fits = |name: &str, wanted: &Option<String>| {
                wanted.as_ref().is_none_or(|wanted| message[name] == wanted.as_str())
            };
            fits("tenant", &args.tenant) && fits("endpoint", &args.endpoint)
        };
        look(args.queue, MOST_MESSAGES, stack, |_| false).await?.iter().filter(|message| wanted(message)).count()
    } else {
        usize::try_from(stack.depth(stack.output(args.queue.output()).await?).await?).unwrap_or(usize::MAX)
    };
    if !is_wanted(args.care, count, &format!("messages of {} that are tried again", args.queue.logical_id()), output)? {
        return Ok(());
    }
    let mut payload = json!({"redrive": args.queue.logical_id()});
    for (name, value) in [("tenant", &args.tenant), ("endpoint", &args.endpoint)] {
        if let Some(value) = value {
            payload[name] = json!(value);
        }
    }
    let bar = output.progress(count as u64, "redriving");
    let (mut moved, mut kept) = (0, 0);
    loop {
        let answer = stack.invoke(SWEEP_FUNCTION, &payload).await?;
        moved += answer["moved"].as_u64().unwrap_or_default();
        kept = answer["kept"].as_u64().unwrap_or(kept);
        bar.set_position(moved);
        if answer["more"] != true {
            break;
        }
    }
    bar.finish_and_clear();
    output.one(&json!({"moved": moved, "kept": kept}), |_| {
        vec![format!("{moved} messages are tried again; {kept} stay in the queue (see `signpost dlq list`)")]
    })
}
