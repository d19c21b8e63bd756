//! `erase`: removes payloads for good.

use serde_json::{Value, json};

use crate::api::{Call, ERASE_EVENT, ERASE_SUBJECT};
use crate::args::{Care, EraseCommand, EraseEvent, EraseSubject};
use crate::commands::care::{Count, Precision, is_count_needed, is_wanted};
use crate::commands::endpoint::text;
use crate::failure::Outcome;
use crate::output::Output;
use crate::stack::Stack;

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

/// Returns the last report, with the sums of all.
fn report(last: &Value, events: u64, deliveries: u64) -> Value {
    let mut report = last.clone();
    report["events"] = json!(events);
    report["deliveries"] = json!(deliveries);
    report
}
