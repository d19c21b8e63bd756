//! `status`: the newest state of a subject.

use serde_json::Value;

use crate::api::{Call, READ_STATUS};
use crate::args::Status;
use crate::commands::endpoint::text;
use crate::failure::Outcome;
use crate::output::{Form, Output};
use crate::stack::Stack;

/// Shows it, with its history.
pub async fn show(args: &Status, stack: &Stack<'_>, output: &Output) -> Outcome {
    let path = [("tenant", args.tenant.tenant.as_str()), ("type", &args.kind), ("subject", &args.subject)];
    // API Gateway decodes slashes, so only the query says where the type ends.
    let query = [("type", Some(args.kind.as_str()))];
    let call = Call { prefer_wait: args.wait, ..Call::new(&READ_STATUS, &path).with_query(&query) };
    let spelled = stack.call_for_text(call).await?;
    if output.form() != Form::Table {
        return output.line(&spelled); // As the API spells it: the payload has numbers such as 10.50.
    }
    let answer: Value = serde_json::from_str(&spelled).unwrap_or_default();
    let states = answer["history"].as_array().map(Vec::as_slice).unwrap_or_default();
    let row = |state: &Value| ["time", "status", "stage", "event", "source"].map(|name| text(&state[name])).to_vec();
    let rows: Vec<_> = states.iter().map(row).collect();
    output.table(&["time", "status", "stage", "event", "source"], &rows).iter().try_for_each(|line| output.line(line))
}
