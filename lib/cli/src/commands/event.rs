//! `event show`, `replay` and `recover`.

use std::cell::Cell;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::api::{Call, LIST_DELIVERIES, READ_EVENT, RECOVER_ENDPOINT, REPLAY_EVENT};
use crate::args::{EventCommand, EventShow, Recover, Replay};
use crate::commands::care::{Count, is_count_needed, is_wanted};
use crate::commands::endpoint::text;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{Form, Output};
use crate::stack::Stack;

/// The time between two questions.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// The most deliveries that are counted before a recovery, at 50 a request.
const MOST_COUNTED: usize = 100_000;

/// Runs a command about events.
pub async fn run(command: EventCommand, stack: &Stack<'_>, output: &Output) -> Outcome {
    let EventCommand::Show(args) = command;
    show(&args, stack, output).await
}

/// An event's payload as its producer spelled it.
#[derive(Deserialize)]
struct Spelled {
    event: SpelledEvent,
}

#[derive(Deserialize)]
struct SpelledEvent {
    data: Box<RawValue>,
}

async fn show(args: &EventShow, stack: &Stack<'_>, output: &Output) -> Outcome {
    let path = [("tenant", args.tenant.tenant.as_str()), ("event", args.event.as_str())];
    let query = [("source", args.source.as_deref())];
    let call = Call::new(&READ_EVENT, &path).with_query(&query);
    if args.wait > 0 {
        wait_until_tried(&call, args.wait, stack).await?;
    }
    let first = stack.call_for_text(Call::new(call.operation, call.path).with_query(call.query)).await?;
    if output.form() != Form::Table && !first.contains("\"cursor\"") {
        return output.line(&first); // As the API spells it: the payload has numbers such as 10.50.
    }
    let data = serde_json::from_str::<Spelled>(&first).map(|spelled| spelled.event.data.get().to_owned());
    let history = whole(&call, stack).await?;
    output.one(&history, |output| {
        let event = &history["event"];
        let mut lines = output.pairs(&[
            ("event", text(&event["id"])),
            ("source", text(&event["source"])),
            ("type", text(&event["type"])),
            ("subject", text(&event["subject"])),
            ("fannedOutAt", text(&history["fannedOutAt"])),
            ("sequence", text(history.get("sequence").unwrap_or(&event["sequence"]))),
            ("data", data.unwrap_or_default()),
        ]);
        let rows: Vec<_> = deliveries(&history).iter().flat_map(rows).collect();
        let notes: Vec<_> = deliveries(&history)
            .iter()
            .flat_map(|delivery| notes(delivery, &args.tenant.tenant, &args.event))
            .collect();
        lines.push(String::new());
        if rows.is_empty() {
            lines.push(
                "no endpoint wants this event; compare its type and tenant with the endpoints' `types`".to_owned(),
            );
        } else {
            lines.extend(output.table(&["endpoint", "status", "attempt", "at", "answer", "time", "error"], &rows));
        }
        if !notes.is_empty() {
            lines.push(String::new());
            lines.extend(
                output.pairs(&notes.iter().map(|(about, note)| (about.as_str(), note.clone())).collect::<Vec<_>>()),
            );
        }
        lines
    })
}

/// Reads all pages of an event into one.
async fn whole(call: &Call<'_>, stack: &Stack<'_>) -> Outcome<Value> {
    let query = call.query;
    let mut history = stack.call(Call::new(call.operation, call.path).with_query(query)).await?;
    while let Some(cursor) = history["cursor"].as_str().map(str::to_owned) {
        let query: Vec<_> = query.iter().copied().chain([("cursor", Some(cursor.as_str()))]).collect();
        let next = stack.call(Call::new(call.operation, call.path).with_query(&query)).await?;
        let more = deliveries(&next).to_vec();
        if let Some(all) = history["deliveries"].as_array_mut() {
            all.extend(more);
        }
        history["cursor"] = next["cursor"].clone();
    }
    if let Some(members) = history.as_object_mut() {
        members.remove("cursor");
    }
    Ok(history)
}

fn deliveries(history: &Value) -> &[Value] {
    history["deliveries"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// A row for each attempt, or one for a delivery without any.
fn rows(delivery: &Value) -> Vec<Vec<String>> {
    let attempts = delivery["attempts"].as_array().map(Vec::as_slice).unwrap_or_default();
    let (endpoint, status) = (text(&delivery["endpoint"]), text(&delivery["status"]));
    if attempts.is_empty() {
        let held = delivery["held"]["because"]
            .as_str()
            .map_or_else(|| "no attempt yet".to_owned(), |because| format!("held: {because}"));
        return vec![vec![endpoint, status, "-".into(), "-".into(), "-".into(), "-".into(), held]];
    }
    let row = |attempt: &Value| {
        let mark = attempt["sent"]["headers"]["signpost-replay"].as_str();
        let number = format!("{}{}", attempt["number"], mark.map_or_else(String::new, |mark| format!(" ({mark})")));
        let time = format!("{} ms", attempt["durationMs"]);
        vec![
            endpoint.clone(),
            status.clone(),
            number,
            text(&attempt["at"]),
            text(&attempt["status"]),
            time,
            text(&attempt["error"]),
        ]
    };
    attempts.iter().map(row).collect()
}

/// Says what comes next for a delivery, and what its receiver answered last if it did not acknowledge.
fn notes(delivery: &Value, tenant: &str, event: &str) -> Vec<(String, String)> {
    let endpoint = text(&delivery["endpoint"]);
    let note = |note: String| Some((endpoint.clone(), note));
    let attempts = delivery["attempts"].as_array().map(Vec::as_slice).unwrap_or_default();
    let answer = attempts.last().filter(|last| !last["error"].is_null()).and_then(|last| last["response"].as_str());
    let next = match (delivery["status"].as_str(), delivery["nextAttemptAt"].as_str()) {
        (Some("exhausted"), _) => note(format!(
            "given up: {}; to send it again: signpost replay {event} -t {tenant} --endpoint {endpoint}",
            text(&delivery["reason"])
        )),
        (_, Some(at)) => note(format!("next attempt at {at}")),
        _ => None,
    };
    let held = delivery["held"]["because"].as_str().filter(|_| !attempts.is_empty());
    let held = held.and_then(|because| note(format!("held: {because}")));
    [answer.and_then(|answer| note(format!("answered: {answer}"))), held, next].into_iter().flatten().collect()
}

/// Waits until an event has a delivery with an attempt, and returns the delivery.
pub async fn wait_for_attempt(call: &Call<'_>, seconds: u64, stack: &Stack<'_>) -> Outcome<Value> {
    wait(call, seconds, stack, |history| {
        deliveries(history)
            .iter()
            .find(|delivery| delivery["attempts"].as_array().is_some_and(|all| !all.is_empty()))
            .cloned()
    })
    .await
}

/// Waits until an event has arrived, and each of its deliveries has an attempt or is held. If only attempts are missing in the
/// end, there is something to show.
async fn wait_until_tried(call: &Call<'_>, seconds: u64, stack: &Stack<'_>) -> Outcome {
    let has_arrived = Cell::new(false);
    let waited = wait(call, seconds, stack, |history| {
        has_arrived.set(true);
        let is_tried = |delivery: &Value| {
            delivery["status"] != "pending"
                || !delivery["held"].is_null()
                || delivery["attempts"].as_array().is_some_and(|all| !all.is_empty())
        };
        deliveries(history).iter().all(is_tried).then_some(())
    });
    waited.await.or_else(|failure| if has_arrived.get() && failure.is(Exit::TimedOut) { Ok(()) } else { Err(failure) })
}

/// Waits until all deliveries of an event are acknowledged, and returns their number.
pub async fn wait_for_all(call: &Call<'_>, seconds: u64, stack: &Stack<'_>) -> Outcome<usize> {
    wait(call, seconds, stack, |history| {
        let all = deliveries(history);
        all.iter().all(|delivery| delivery["status"] == "delivered").then_some(all.len())
    })
    .await
}

async fn wait<T>(call: &Call<'_>, seconds: u64, stack: &Stack<'_>, found: impl Fn(&Value) -> Option<T>) -> Outcome<T> {
    let mut last = Value::Null;
    let asking = async {
        loop {
            match stack.call(Call::new(call.operation, call.path).with_query(call.query)).await {
                Ok(history) => {
                    if let Some(found) = found(&history) {
                        return Ok(found);
                    }
                    last = history;
                }
                Err(failure) if failure.is(Exit::NotFound) => {} // It has not arrived yet.
                Err(failure) => return Err(failure),
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    };
    if let Ok(result) = tokio::time::timeout(Duration::from_secs(seconds), asking).await {
        return result;
    }
    let parameter = |name: &str| call.path.iter().find(|(given, _)| *given == name).map_or("", |(_, value)| *value);
    let (event, tenant) = (parameter("event"), parameter("tenant"));
    if last.is_null() {
        let what = format!("event `{event}` of tenant `{tenant}` did not arrive within {seconds} s");
        let next = "compare the id and the tenant with the event that was sent; a rejected event is in `signpost dlq list --queue rejected`";
        return Err(Failure::timed_out(what, next));
    }
    let error = deliveries(&last)
        .iter()
        .find_map(|one| one["attempts"].as_array()?.last()?["error"].as_str().map(str::to_owned));
    let why = error.map_or_else(String::new, |error| format!(": {error}"));
    let what = format!("event `{event}` was not delivered within {seconds} s{why}");
    Err(Failure::timed_out(what, format!("see `signpost event show {event} -t {tenant}`")))
}

/// Sends one event again. Unless the caller says yes in advance, the API first says to how many endpoints it would go.
pub async fn replay(args: &Replay, stack: &Stack<'_>, output: &Output) -> Outcome {
    let path = [("tenant", args.tenant.tenant.as_str()), ("event", args.event.as_str())];
    let query = [("source", args.source.as_deref())];
    let ask = async |is_dry_run: bool| {
        let mut body = json!({});
        if is_dry_run {
            body["dryRun"] = json!(true);
        }
        if let Some(endpoint) = &args.endpoint {
            body["endpoint"] = json!(endpoint);
        }
        let answer = stack.call(Call::new(&REPLAY_EVENT, &path).with_query(&query).with_json(&body)).await?;
        let endpoints = answer["endpoints"].as_array().map(|all| all.iter().map(text).collect::<Vec<_>>());
        Ok::<_, Failure>((answer, endpoints.unwrap_or_default()))
    };
    if is_count_needed(args.care) {
        let count = Count::exact(ask(true).await?.1.len());
        if !is_wanted(args.care, count, "deliveries that go out again", output)? {
            return Ok(());
        }
    }
    let (answer, endpoints) = ask(false).await?;
    output.one(&answer, |_| {
        [format!("sent again to {} endpoints", endpoints.len())].into_iter().chain(endpoints).collect()
    })
}

/// Sends again what an endpoint did not get. One request resends a part, so it asks until there is no more.
pub async fn recover(args: &Recover, stack: &Stack<'_>, output: &Output) -> Outcome {
    check_moment(&args.since)?;
    let path = [("tenant", args.tenant.tenant.as_str()), ("endpoint", args.endpoint.as_str())];
    let query = [("status", Some("exhausted")), ("since", Some(args.since.as_str()))];
    let failed =
        stack.count(&Call::new(&LIST_DELIVERIES, &path).with_query(&query), "deliveries", MOST_COUNTED).await?;
    if !is_wanted(args.care, failed, &format!("deliveries since {} that go out again", args.since), output)? {
        return Ok(());
    }
    let bar = output.progress(failed.number as u64, "recovering");
    let mut recovered = 0;
    loop {
        let answer = stack.call(Call::new(&RECOVER_ENDPOINT, &path).with_json(&json!({"since": args.since}))).await?;
        recovered += answer["recovered"].as_u64().unwrap_or_default();
        bar.set_position(recovered);
        if answer["more"] != true {
            break;
        }
    }
    bar.finish_and_clear();
    output.one(&json!({"recovered": recovered}), |_| vec![format!("{recovered} deliveries go out again")])
}

/// Refuses a moment that is not RFC 3339, before anything is asked.
pub fn check_moment(text: &str) -> Outcome {
    let unfit = |_| Failure::usage(format!("--since is `{text}`; expected RFC 3339"), "such as 2026-01-31T10:00:00Z");
    OffsetDateTime::parse(text, &Rfc3339).map(drop).map_err(unfit)
}
