//! `event-type`: the catalogue of a tenant's event types.

use serde_json::{Value, json};

use crate::api::{Call, DELETE_EVENT_TYPE, LIST_EVENT_TYPES, PUT_EVENT_TYPE, READ_EVENT_TYPE};
use crate::args::{EventTypeCommand, EventTypeDelete, EventTypeOf, EventTypePut};
use crate::commands::care::{Count, is_wanted};
use crate::commands::endpoint::text;
use crate::commands::filter::written;
use crate::failure::Outcome;
use crate::output::Output;
use crate::stack::Stack;

const COLUMNS: [&str; 4] = ["type", "builtIn", "deprecated", "description"];
const ROWS: [&str; 9] =
    ["type", "builtIn", "deprecated", "retentionDays", "description", "schema", "example", "createdAt", "updatedAt"];

/// Runs a command about event types.
pub async fn run(command: EventTypeCommand, stack: &Stack<'_>, output: &Output) -> Outcome {
    match command {
        EventTypeCommand::Put(args) => put(&args, stack, output).await,
        EventTypeCommand::List(args) => {
            let path = [("tenant", args.tenant.tenant.as_str())];
            let types = stack.pages(&Call::new(&LIST_EVENT_TYPES, &path), "types").await?;
            output.list(&types, &COLUMNS, |one| COLUMNS.map(|name| text(&one[name])).to_vec())
        }
        EventTypeCommand::Show(args) => print(&read(&args, stack).await?, output),
        EventTypeCommand::Delete(args) => delete(&args, stack, output).await,
    }
}

async fn put(args: &EventTypePut, stack: &Stack<'_>, output: &Output) -> Outcome {
    // As it is spelled: a number such as 10.50 stays.
    let body = written(&args.definition)?.into_bytes();
    let path = [("tenant", args.tenant.tenant.as_str()), ("type", args.name.as_str())];
    let call = Call { body: Some(("application/json", body)), ..Call::new(&PUT_EVENT_TYPE, &path) };
    print(&stack.call(call).await?, output)
}

async fn read(args: &EventTypeOf, stack: &Stack<'_>) -> Outcome<Value> {
    let path = [("tenant", args.tenant.tenant.as_str()), ("type", args.name.as_str())];
    stack.call(Call::new(&READ_EVENT_TYPE, &path)).await
}

async fn delete(args: &EventTypeDelete, stack: &Stack<'_>, output: &Output) -> Outcome {
    let EventTypeDelete { event_type, care } = args;
    read(event_type, stack).await?;
    if !is_wanted(*care, Count::exact(1), "event types to remove, whose events are not checked then", output)? {
        return Ok(());
    }
    let path = [("tenant", event_type.tenant.tenant.as_str()), ("type", event_type.name.as_str())];
    stack.call(Call::new(&DELETE_EVENT_TYPE, &path)).await?;
    output.one(&json!({"removed": event_type.name}), |_| vec![format!("removed {}", event_type.name)])
}

fn print(shown: &Value, output: &Output) -> Outcome {
    let rows: Vec<_> =
        ROWS.iter().filter(|name| !shown[**name].is_null()).map(|name| (*name, text(&shown[*name]))).collect();
    output.one(shown, |output| output.pairs(&rows))
}
