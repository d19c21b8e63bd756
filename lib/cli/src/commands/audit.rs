//! `audit`: who changed what.

use serde_json::Value;

use crate::api::{Call, LIST_AUDIT};
use crate::args::Audit;
use crate::commands::endpoint::text;
use crate::commands::event::check_moment;
use crate::failure::Outcome;
use crate::output::Output;
use crate::stack::Stack;

const COLUMNS: [&str; 5] = ["at", "outcome", "actor", "action", "endpoint"];

/// Lists the entries, newest first.
pub async fn list(args: &Audit, stack: &Stack<'_>, output: &Output) -> Outcome {
    args.since.as_deref().map_or(Ok(()), check_moment)?;
    let path = [("tenant", args.tenant.tenant.as_str())];
    let query = [("endpoint", args.endpoint.as_deref()), ("since", args.since.as_deref())];
    let call = Call::new(&LIST_AUDIT, &path).with_query(&query);
    let (entries, has_more) = stack.first(&call, "entries", args.limit).await?;
    output.list(&entries, &COLUMNS, row)?;
    output.say_if_more(has_more, entries.len());
    Ok(())
}

fn row(entry: &Value) -> Vec<String> {
    let actor = &entry["actor"];
    let actor = actor["principal"].as_str().or(actor["id"].as_str()).unwrap_or_default().to_owned();
    vec![text(&entry["at"]), text(&entry["outcome"]), actor, text(&entry["action"]), text(&entry["endpoint"])]
}
