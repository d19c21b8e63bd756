//! `filter`: filters of the events' content.

use serde_json::{Map, Value};

use crate::api::{Call, TEST_FILTER};
use crate::args::{FilterCommand, FilterTest};
use crate::commands::endpoint::text;
use crate::failure::{Failure, Outcome};
use crate::input;
use crate::output::Output;
use crate::stack::Stack;

const COLUMNS: [&str; 4] = ["pointer", "expected", "found", "filterPointer"];

/// Runs a command about filters.
pub async fn run(command: FilterCommand, stack: &Stack<'_>, output: &Output) -> Outcome {
    match command {
        FilterCommand::Test(args) => test(&args, stack, output).await,
    }
}

/// Compares an event with a filter. The exit code says whether it fits.
async fn test(args: &FilterTest, stack: &Stack<'_>, output: &Output) -> Outcome {
    if args.filter == "-" && args.event == "-" {
        return Err(Failure::usage("stdin cannot be both the filter and the event", "name a file for one of them"));
    }
    let (filter, event) = (written(&args.filter)?, written(&args.event)?);
    // As they are spelled: a number such as 10.50 stays.
    let body = format!("{{\"filter\":{filter},\"event\":{event}}}");
    let path = [("tenant", args.tenant.tenant.as_str())];
    let call = Call { body: Some(("application/json", body.into_bytes())), ..Call::new(&TEST_FILTER, &path) };
    let answer = stack.call(call).await?;
    output.one(&answer, |output| {
        if answer["tooCostly"] == true {
            return vec!["the event goes to the endpoint: to compare it would take too long".to_owned()];
        }
        let mismatches = answer["mismatches"].as_array().map(Vec::as_slice).unwrap_or_default();
        if mismatches.is_empty() {
            return vec!["the event fits".to_owned()];
        }
        let row = |one: &Value| COLUMNS.map(|name| text(&one[name])).to_vec();
        output.table(&COLUMNS, &mismatches.iter().map(row).collect::<Vec<_>>())
    })?;
    if answer["matches"] == true {
        return Ok(());
    }
    Err(Failure::refused("the event does not fit the filter", "change the filter where the event should fit"))
}

/// Returns JSON that an argument is, or that is in the file that it names.
pub fn written(argument: &str) -> Outcome<String> {
    let is_json = argument.trim_start().starts_with(['{', '[']);
    let text = if is_json { argument.to_owned() } else { input::read_text(argument)? };
    match serde_json::from_str::<serde::de::IgnoredAny>(&text) {
        Ok(_) => Ok(text),
        Err(error) => {
            let place = if is_json { "the argument" } else { argument };
            Err(Failure::usage(
                format!("`{place}` is not JSON: {error}"),
                "write a JSON object, or name a file with one",
            ))
        }
    }
}

/// Returns the merge patch (RFC 7396) that makes `new` of `old`.
pub fn replacement(old: &Value, new: &Value) -> Value {
    let (Value::Object(before), Value::Object(after)) = (old, new) else { return new.clone() };
    let removed = before.keys().filter(|name| !after.contains_key(*name)).map(|name| (name.clone(), Value::Null));
    let changed = after.iter().map(|(name, value)| {
        (name.clone(), before.get(name).map_or_else(|| value.clone(), |old| replacement(old, value)))
    });
    Value::Object(removed.chain(changed).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_replacement_removes_what_the_new_value_does_not_have() {
        let cases = [
            (json!(null), json!({"a": [1]}), json!({"a": [1]})),
            (
                json!({"a": [1], "b": {"c": [2], "d": [3]}}),
                json!({"b": {"d": [4]}}),
                json!({"a": null, "b": {"c": null, "d": [4]}}),
            ),
            (json!({"a": {"b": [1]}}), json!({"a": [1]}), json!({"a": [1]})),
            (json!({"a": [1]}), json!(null), json!(null)),
        ];
        for (old, new, expected) in cases {
            assert_eq!(replacement(&old, &new), expected, "{old} {new}");
        }
    }
}
