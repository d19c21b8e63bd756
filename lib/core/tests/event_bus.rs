//! The input transformer of template.yaml: EventBridge's events become events that Signpost takes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::{Value, json};
use signpost_core::event::Event;

const TEMPLATE: &str = include_str!("../../../template.yaml");

/// Returns the input templates: one for a tenant by parameter, one for a tenant in the detail.
fn input_templates() -> Vec<&'static str> {
    let quoted = TEMPLATE.lines().filter_map(|line| line.split_once("'{\"specversion\"").map(|(_, rest)| rest));
    quoted.map(|rest| rest.strip_suffix('\'').unwrap()).collect()
}

/// Fills a template as EventBridge does: it writes a text with quotation marks, and an object as it is.
fn transformed(rest: &str, event: &Value) -> String {
    let mut text = format!("{{\"specversion\"{rest}").replace("${EventBusTenant}", "globex");
    let paths = [
        ("id", &event["id"]),
        ("source", &event["source"]),
        ("type", &event["detail-type"]),
        ("tenant", &event["detail"]["tenant"]),
        ("time", &event["time"]),
        ("data", &event["detail"]),
    ];
    for (name, value) in paths {
        text = text.replace(&format!("<{name}>"), &value.to_string());
    }
    text
}

#[test]
fn an_event_of_a_bus_becomes_an_event_of_its_tenant() {
    let event = json!({
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": "Order \"Placed\"",
        "source": "com.bank.core",
        "account": "123456789012",
        "time": "2026-01-31T10:00:00Z",
        "region": "us-east-1",
        "resources": [],
        "detail": {"tenant": "acme", "order": "1", "status": "PLACED"}
    });
    let templates = input_templates();
    assert_eq!(templates.len(), 2, "{templates:?}");
    for (template, tenant) in templates.into_iter().zip(["globex", "acme"]) {
        let text = transformed(template, &event);
        let parsed = Event::parse(&text).unwrap();
        assert_eq!(parsed.key.tenant.as_str(), tenant, "{text}");
        assert_eq!(parsed.key.id.as_str(), event["id"], "a repetition of EventBridge has the same id");
        assert_eq!((parsed.key.source.as_str(), &*parsed.kind), ("com.bank.core", "Order \"Placed\""));
        assert_eq!(serde_json::from_str::<Value>(parsed.data()).unwrap(), event["detail"]);
    }
}

#[test]
fn an_event_that_names_no_tenant_is_rejected() {
    // EventBridge makes no variable of a path that is not there, so the member has no value.
    let text = r#"{"specversion":"1.0","id":"1","source":"com.bank.core","type":"Order","tenant":,"data":{}}"#;
    assert!(Event::parse(text).is_err());
}
