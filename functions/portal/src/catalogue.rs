//! The catalogue: the payload formats that Signpost knows, each with an example.

use serde_json::{Value, json};
use signpost_core::event::catalogue::{BUILT_IN, BuiltIn};

/// Returns the catalogue in the form of an answer.
pub(crate) fn catalogue() -> String {
    let types: Vec<_> = BUILT_IN.iter().map(shown).collect();
    json!({ "types": types }).to_string()
}

fn shown(format: &BuiltIn) -> Value {
    let mut shown = json!({"type": format.kind, "description": format.description, "format": format.vendor});
    if let Some(example) = format.example().and_then(|example| serde_json::from_str::<Value>(&example).ok()) {
        shown["example"] = example;
    }
    shown
}
