//! `erase`: removes payloads for good.

use std::time::Duration;

use serde_json::{Value, json};

use crate::api::{Call, ERASE_EVENT, ERASE_SUBJECT, ERASE_TENANT, READ_ERASURE};
use crate::args::{Care, EraseCommand, EraseEvent, EraseShow, EraseSubject, EraseTenant};
use crate::commands::care::{Count, Precision, is_count_needed, is_wanted};
use crate::commands::endpoint::text;
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::stack::Stack;

/// The time between two questions. Signpost works on erasures once a minute.
const AGAIN_AFTER: Duration = Duration::from_secs(2);
/// Members of an erasure: the numbers of removed things, and the moments until which something is left.
const REMOVED: [&str; 9] =
    ["endpoints", "eventTypes", "events", "states", "deliveries", "parked", "tokenRequests", "links", "replays"];
const LEFT: [&str; 4] = ["lastAttemptEndsBy", "keysPublishedUntil", "queuesEmptyBy", "auditLogGoneBy"];

/// Runs a command that erases.
pub async fn run(command: EraseCommand, stack: &Stack<'_>, output: &Output) -> Outcome {
    match command {
        EraseCommand::Event(EraseEvent { event, tenant, source, care }) => {
            let path = [("tenant", tenant.tenant.as_str()), ("event", event.as_str())];
            let query = [("source", source.as_deref())];
            erase(&Call::new(&ERASE_EVENT, &path).with_query(&query), care, stack, output).await
        }
        EraseCommand::Subject(EraseSubject { kind, subject, tenant, care }) => {
            let path = [("tenant", tenant.tenant.as_str()), ("type", &kind), ("subject", &subject)];
            // API Gateway decodes slashes, so only the query says where the type ends.
            let query = [("type", Some(kind.as_str()))];
            erase(&Call::new(&ERASE_SUBJECT, &path).with_query(&query), care, stack, output).await
        }
        EraseCommand::Tenant(args) => tenant(&args, stack, output).await,
        EraseCommand::Show(args) => show(&args, stack, output).await,
    }
}

/// Counts, asks, and erases until there is no more.
async fn erase(call: &Call<'_>, care: Care, stack: &Stack<'_>, output: &Output) -> Outcome {
    if is_count_needed(care) {
        let query: Vec<_> = call.query.iter().copied().chain([("dryRun", Some("true"))]).collect();
        let found = stack.call(Call::new(call.operation, call.path).with_query(&query)).await?;
        let number = usize::try_from(found["events"].as_u64().unwrap_or_default()).unwrap_or(usize::MAX);
        let precision = if found["more"] == true { Precision::AtLeast } else { Precision::Exact };
        if !is_wanted(care, Count { number, precision }, "events that are erased for good", output)? {
            return Ok(());
        }
    }
    let (mut events, mut deliveries) = (0, 0);
    let last = loop {
        let answer = stack.call(Call::new(call.operation, call.path).with_query(call.query)).await?;
        events += answer["events"].as_u64().unwrap_or_default();
        deliveries += answer["deliveries"].as_u64().unwrap_or_default();
        if answer["more"] != true {
            break answer;
        }
    };
    let report = report(&last, events, deliveries);
    output.one(&report, |output| {
        let mut lines = vec![format!("erased {events} events with {deliveries} deliveries")];
        let left = ["lastAttemptEndsBy", "queuesEmptyBy", "tombstonesGoneBy"];
        lines.extend(output.pairs(&left.map(|name| (name, text(&report[name])))));
        lines
    })
}

async fn tenant(args: &EraseTenant, stack: &Stack<'_>, output: &Output) -> Outcome {
    let (name, path) = (args.name.as_str(), [("tenant", args.name.as_str())]);
    if is_count_needed(args.care) {
        let body = json!({"tenant": name, "dryRun": true});
        let found = stack.call(Call::new(&ERASE_TENANT, &path).with_json(&body)).await?;
        let number = usize::try_from(found["endpoints"].as_u64().unwrap_or_default()).unwrap_or(usize::MAX);
        let doing = format!("endpoints of `{name}`, which is erased for good with its events, settings and keys");
        if !is_wanted(args.care, Count::exact(number), &doing, output)? {
            return Ok(());
        }
    }
    let begun = stack.call(Call::new(&ERASE_TENANT, &path).with_json(&json!({ "tenant": name }))).await?;
    let Some(seconds) = args.wait else { return print(&begun, output) };
    print(&wait(name, &text(&begun["id"]), seconds, stack, output).await?, output)
}

async fn show(args: &EraseShow, stack: &Stack<'_>, output: &Output) -> Outcome {
    let (tenant, id) = (args.tenant.tenant.as_str(), args.erasure.as_str());
    let erasure = match args.wait {
        None => read(tenant, id, stack).await?,
        Some(seconds) => wait(tenant, id, seconds, stack, output).await?,
    };
    print(&erasure, output)
}

async fn read(tenant: &str, id: &str, stack: &Stack<'_>) -> Outcome<Value> {
    stack.call(Call::new(&READ_ERASURE, &[("tenant", tenant), ("erasure", id)])).await
}

/// Waits until an erasure has ended, and shows how much is removed.
async fn wait(tenant: &str, id: &str, seconds: u64, stack: &Stack<'_>, output: &Output) -> Outcome<Value> {
    let spinner = output.spinner(format!("erasing {tenant}"));
    let asking = async {
        loop {
            let erasure = read(tenant, id, stack).await?;
            let removed: u64 = REMOVED.iter().filter_map(|name| erasure["removed"][*name].as_u64()).sum();
            spinner.set_message(format!("erasing {tenant}: {}, {removed} removed", text(&erasure["stage"])));
            if erasure["state"] != "running" {
                return Ok(erasure);
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(seconds), asking).await;
    spinner.finish_and_clear();
    ended.unwrap_or_else(|_| {
        let what = format!("erasure `{id}` still runs after {seconds} s");
        Err(Failure::timed_out(what, format!("see `signpost erase show {id} --tenant {tenant}`")))
    })
}

fn print(erasure: &Value, output: &Output) -> Outcome {
    output.one(erasure, |output| {
        let facts = ["id", "state", "stage", "createdAt", "endedAt"].map(|name| (name, text(&erasure[name])));
        let removed = REMOVED.map(|name| (name, text(&erasure["removed"][name])));
        let left = LEFT.map(|name| (name, text(&erasure[name])));
        output.pairs(&[&facts[..], &removed, &left].concat())
    })
}

/// Returns the last report, with the sums of all.
fn report(last: &Value, events: u64, deliveries: u64) -> Value {
    let mut report = last.clone();
    report["events"] = json!(events);
    report["deliveries"] = json!(deliveries);
    report
}
