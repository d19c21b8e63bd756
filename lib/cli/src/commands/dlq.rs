//! `dlq`: deliveries that were given up, and events that were rejected.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::args::{DlqCommand, DlqList, DlqRedrive, DlqShow, Queue};
use crate::commands::care::{Count, Precision, is_count_needed, is_wanted};
use crate::commands::endpoint::text;
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::stack::{DEAD_LETTER_QUEUE_URL, REJECTED_QUEUE_URL, SWEEP_FUNCTION, Stack, StackOutput};

/// How long a look hides a message from a redrive.
const HIDDEN: Duration = Duration::from_secs(5);
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

/// The most messages that SQS returns at once.
const MOST_RECEIVED: usize = 10;

/// Runs a command about the two queues.
pub async fn run(command: DlqCommand, stack: &Stack<'_>, output: &Output) -> Outcome {
    match command {
        DlqCommand::List(args) => list(&args, stack, output).await,
        DlqCommand::Show(args) => show(&args, stack, output).await,
        DlqCommand::Redrive(args) => redrive(&args, stack, output).await,
    }
}

async fn list(args: &DlqList, stack: &Stack<'_>, output: &Output) -> Outcome {
    let Seen { messages, has_more, .. } = look(args.queue, args.limit, stack, |_| false).await?;
    output.list(&messages, &["message", "reason", "tenant", "endpoint", "event"], |message| {
        ["id", "reason", "tenant", "endpoint", "event"].map(|name| text(&message[name])).to_vec()
    })?;
    output.say_if_more(has_more, messages.len());
    if messages.len() < args.limit {
        let depth = stack.depth(stack.output(args.queue.output()).await?).await.unwrap_or_default();
        let unseen = depth.saturating_sub(messages.len() as u64); // None if the caller may not see the depth.
        if unseen > 0 {
            output.say(&format!(
                "about {unseen} more messages are hidden by another look; look again in {} s",
                HIDDEN.as_secs()
            ));
        }
    }
    Ok(())
}

async fn show(args: &DlqShow, stack: &Stack<'_>, output: &Output) -> Outcome {
    let is_it = |message: &Value| message["id"] == args.message.as_str();
    let Seen { messages, has_more, .. } = look(args.queue, MOST_MESSAGES, stack, is_it).await?;
    let looked_at = Count::exact(messages.len());
    let message = messages.into_iter().find(is_it).ok_or_else(|| {
        let (message, queue) = (&args.message, args.queue.logical_id());
        let what = if has_more {
            format!("no message `{message}` is among {looked_at} messages of {queue}, which has more")
        } else {
            format!("no message `{message}` is visible in {queue}")
        };
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

/// The messages that a look found.
struct Seen {
    messages: Vec<Value>,
    /// Whether the look stopped at its limit, or went on for longer than it hides messages.
    has_more: bool,
    /// When all of them are visible again.
    visible_at: Instant,
}

/// Looks at messages until one `is_last`, the queue shows no new one, or there are `limit`. It removes nothing.
async fn look(queue: Queue, limit: usize, stack: &Stack<'_>, is_last: impl Fn(&Value) -> bool) -> Outcome<Seen> {
    let url = stack.output(queue.output()).await?;
    let (began, mut messages) = (Instant::now(), BTreeMap::new());
    loop {
        let body = json!({
            "QueueUrl": url, "MaxNumberOfMessages": MOST_RECEIVED, "VisibilityTimeout": HIDDEN.as_secs(), "WaitTimeSeconds": 1,
            "MessageAttributeNames": ["All"],
        });
        let answer = stack.sqs("ReceiveMessage", &body).await?;
        let visible_at = Instant::now() + HIDDEN;
        let received = answer["Messages"].as_array().map(Vec::as_slice).unwrap_or_default();
        let before = messages.len();
        for message in received {
            let message = described(message);
            if is_last(&message) {
                return Ok(Seen { messages: vec![message], has_more: true, visible_at });
            }
            messages.insert(text(&message["id"]), message);
        }
        let is_over = messages.len() == before;
        if is_over || messages.len() >= limit {
            let is_cut = messages.len() > limit || (!is_over && received.len() >= MOST_RECEIVED);
            // Messages that are visible again come a second time, before others were seen.
            let is_blurred = is_over && !received.is_empty() && began.elapsed() > HIDDEN;
            let has_more = is_cut || is_blurred;
            return Ok(Seen { messages: messages.into_values().take(limit).collect(), has_more, visible_at });
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
    let mut total = 0;
    if is_count_needed(args.care) {
        let (count, visible_at) = count(args, stack).await?;
        let doing = format!("messages of {} that are tried again", args.queue.logical_id());
        if !is_wanted(args.care, count, &doing, output)? {
            return Ok(());
        }
        // The function finds visible messages only, and the count has hidden those that it looked at.
        tokio::time::sleep_until(visible_at).await;
        total = count.number;
    }
    await_hidden(args.queue, stack, output).await?;
    let mut payload = json!({"redrive": args.queue.logical_id()});
    for (name, value) in [("tenant", &args.tenant), ("endpoint", &args.endpoint)] {
        if let Some(value) = value {
            payload[name] = json!(value);
        }
    }
    let bar = output.progress(total as u64, "redriving");
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
        vec![format!("{moved} messages start again; {kept} stay in the queue (see `signpost dlq list`)")]
    })
}

/// Waits until the messages are visible that an earlier look has hidden, for at most as long as a look hides them. Does
/// not wait if the caller may not see the depth of the queue.
async fn await_hidden(queue: Queue, stack: &Stack<'_>, output: &Output) -> Outcome {
    let url = stack.output(queue.output()).await?;
    let until = Instant::now() + HIDDEN + Duration::from_secs(1);
    let mut is_told = false;
    loop {
        let Ok((_, hidden)) = stack.visible_and_hidden(url).await else { return Ok(()) };
        if hidden == 0 {
            return Ok(());
        }
        if Instant::now() >= until {
            output.say(&format!("{hidden} messages are hidden by another program; they stay"));
            return Ok(());
        }
        if !is_told {
            output
                .say(&format!("{hidden} messages are hidden by a look, such as `signpost dlq list`; waiting for them"));
            is_told = true;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Counts the messages that a redrive would try, and returns when all of them are visible again.
async fn count(args: &DlqRedrive, stack: &Stack<'_>) -> Outcome<(Count, Instant)> {
    if args.tenant.is_none() && args.endpoint.is_none() {
        let depth = stack.depth(stack.output(args.queue.output()).await?).await?;
        let number = usize::try_from(depth).unwrap_or(usize::MAX);
        return Ok((Count { number, precision: Precision::About }, Instant::now()));
    }
    let seen = look(args.queue, MOST_MESSAGES, stack, |_| false).await?;
    let fits = |message: &Value, name: &str, wanted: &Option<String>| {
        wanted.as_ref().is_none_or(|wanted| message[name] == wanted.as_str())
    };
    let wanted = seen
        .messages
        .iter()
        .filter(|message| fits(message, "tenant", &args.tenant) && fits(message, "endpoint", &args.endpoint));
    let precision = if seen.has_more { Precision::AtLeast } else { Precision::About };
    Ok((Count { number: wanted.count(), precision }, seen.visible_at))
}
