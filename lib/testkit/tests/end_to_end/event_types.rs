//! The catalogue: event types of a tenant, with schemas that both doors check.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};
use signpost_core::event::TenantId;
use signpost_testkit::build::{event, event_id, tenant};
use signpost_testkit::local_stack::{LocalStack, attribute, endpoint_path, setting, until};
use signpost_testkit::receiver::Receiver;

fn path(tenant: &TenantId, kind: &str) -> String {
    format!("/v1/tenants/{tenant}/event-types/{kind}")
}

fn invoice() -> Value {
    json!({
        "description": "An invoice was paid.",
        "schema": {
            "type": "object", "required": ["number"],
            "properties": {"number": {"type": "string", "pattern": "^INV-[0-9]+$"}, "total": {"minimum": 0}},
        },
        "example": {"number": "INV-7", "total": 10.1},
    })
}

fn of_type(tenant: &TenantId, kind: &str, id: &str, data: &Value) -> Value {
    let mut sent = event(tenant, id, data);
    sent["type"] = json!(kind);
    sent
}

fn pointers(faults: &Value) -> Vec<&str> {
    faults.as_array().unwrap().iter().map(|fault| fault["pointer"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn events_of_a_registered_type_are_checked_at_both_doors_and_keep_their_bytes() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let receiver = Receiver::start(|_| 204).await;
    stack.register_with(&tenant, &json!({"url": receiver.url, "types": [{"type": "invoice.paid"}]})).await;
    let made = stack.manage("PUT", &path(&tenant, "invoice.paid"), Some(&invoice())).await;
    assert_eq!((made.status, made.header("cache-control")), (201, "no-store"), "{}", made.text);

    // The very next event by SQS is checked.
    let (bad_id, good_id) = (event_id(), event_id());
    let bad = of_type(&tenant, "invoice.paid", &bad_id, &json!({"number": 7, "total": -1}));
    let good = of_type(&tenant, "invoice.paid", &good_id, &json!({"number": "INV-1", "total": "TOTAL"}));
    let good = good.to_string().replace(r#""TOTAL""#, "12345678901234567890.50");
    stack.send_events([bad.to_string(), good]).await;
    let rejected = stack.wait_for_message("REJECTED_QUEUE_URL", |body| body.contains(&bad_id)).await;
    assert_eq!(attribute(&rejected, "reason"), "invalid-event");
    let faults: Value = serde_json::from_str(attribute(&rejected, "faults")).unwrap();
    assert_eq!(pointers(&faults), ["/data/number", "/data/total"]);
    let webhook = receiver.wait_for(1).await.remove(0);
    assert_eq!(webhook.event_id(), good_id, "the invalid one is not sent");
    assert!(String::from_utf8_lossy(&webhook.body).contains(r#""total":12345678901234567890.50"#), "as it was spelled");

    // By HTTP, the environments of `ingest` may know the type later.
    let refused = until("the check by HTTP", async || {
        let again = of_type(&tenant, "invoice.paid", &event_id(), &json!({"total": -1}));
        let answer = stack.post_events("application/json", again.to_string()).await;
        (answer.status == 400).then_some(answer)
    });
    assert_eq!(pointers(&refused.await.json()["errors"]), ["/data/number", "/data/total"]);
    let other = of_type(&tenant, "order", &event_id(), &json!({}));
    let batch = json!([other, of_type(&tenant, "invoice.paid", &event_id(), &json!({"number": "x"}))]);
    let refused = stack.post_events("application/cloudevents-batch+json", batch.to_string()).await;
    assert_eq!((refused.status, pointers(&refused.json()["errors"])), (400, vec!["/1/data/number"]));
    let fits = of_type(&tenant, "invoice.paid", &event_id(), &json!({"number": "INV-2"}));
    assert_eq!(stack.post_events("application/json", fits.to_string()).await.status, 202);
    receiver.wait_for(2).await;

    // Without the type, its events are accepted again.
    assert_eq!(stack.manage("DELETE", &path(&tenant, "invoice.paid"), None).await.status, 204);
    let free = event_id();
    stack.send_events([of_type(&tenant, "invoice.paid", &free, &json!({})).to_string()]).await;
    assert_eq!(receiver.wait_for(3).await[2].event_id(), free);
}

#[tokio::test]
async fn an_operator_sets_lists_and_removes_event_types_and_the_audit_log_knows() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let list = async || stack.manage("GET", &format!("/v1/tenants/{tenant}/event-types"), None).await.json();
    let built_in = ["operation", "activation", "workflow", "token-request", "session", "payment", "transaction"];
    let kinds = |list: &Value| {
        let all = list["types"].as_array().unwrap().iter().map(|one| one["type"].as_str().unwrap().to_owned());
        all.collect::<Vec<_>>()
    };
    assert_eq!(kinds(&list().await), built_in);
    let made = stack.manage("PUT", &path(&tenant, "invoice.paid"), Some(&invoice())).await;
    assert_eq!((made.status, made.header("location")), (201, &*path(&tenant, "invoice.paid")));
    let mut newer = invoice();
    newer["deprecated"] = json!(true);
    assert_eq!(stack.manage("PUT", &path(&tenant, "invoice.paid"), Some(&newer)).await.status, 200);
    let shown = stack.manage("GET", &path(&tenant, "invoice.paid"), None).await.json();
    for name in ["description", "schema", "example", "deprecated"] {
        assert_eq!(shown[name], newer[name], "{name}");
    }
    let shown = list().await;
    assert_eq!(kinds(&shown)[7..], ["invoice.paid"]);
    assert!(shown["types"][0]["builtIn"] == true && shown["types"][7]["builtIn"] == false);

    for kind in built_in {
        let [put, removed] = [("PUT", Some(invoice())), ("DELETE", None)].map(|(method, body)| (method, body));
        for (method, body) in [put, removed] {
            let refused = stack.manage(method, &path(&tenant, kind), body.as_ref()).await;
            assert_eq!(refused.status, 409, "{method} {kind}: {}", refused.text);
        }
        assert_eq!(stack.manage("GET", &path(&tenant, kind), None).await.json()["builtIn"], true);
    }
    let cases = [
        ("signpost.test", invoice(), 400, "?type"),
        ("a", json!({"schema": {"type": "text"}, "example": {}}), 400, "/schema/type"),
        ("a", json!({"schema": {"$ref": "#"}, "example": {}}), 400, "/schema"),
        ("a", json!({"schema": {"pattern": "^(?=x)"}, "example": {}}), 400, "/schema/pattern"),
        ("a", json!({"schema": {"required": ["b"]}, "example": {}}), 400, "/example/b"),
    ];
    for (kind, body, status, pointer) in cases {
        let refused = stack.manage("PUT", &path(&tenant, kind), Some(&body)).await;
        assert_eq!((refused.status, &refused.json()["errors"][0]["pointer"]), (status, &json!(pointer)), "{body}");
    }

    assert_eq!(stack.manage("DELETE", &path(&tenant, "invoice.paid"), None).await.status, 204);
    assert_eq!(stack.manage("DELETE", &path(&tenant, "invoice.paid"), None).await.status, 404);
    assert_eq!(stack.manage("GET", &path(&tenant, "invoice.paid"), None).await.status, 404);
    let audit = stack.manage("GET", &format!("/v1/tenants/{tenant}/audit"), None).await.json();
    let done = audit["entries"].as_array().unwrap().iter().filter(|entry| entry["outcome"] == "done");
    let done: Vec<_> = done.collect();
    assert_eq!(done.len(), 3, "two writes and a removal: {audit}");
    assert!(done.iter().all(|entry| entry["action"].as_str().unwrap().ends_with("/event-types/{type}")));
    assert_eq!((&done[2]["before"], &done[2]["after"]["type"]), (&Value::Null, &json!("invoice.paid")));
    assert_eq!(done[1]["after"], json!({"type": "invoice.paid", "deprecated": true}));
    assert_eq!((&done[0]["before"]["type"], &done[0]["after"]), (&json!("invoice.paid"), &Value::Null));
}

#[tokio::test]
async fn a_test_sends_the_example_of_a_type_to_its_endpoint_alone_and_says_nothing_of_a_subject() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let [tried, other] = [Receiver::start(|_| 204).await, Receiver::start(|_| 204).await];
    let id = stack.register_with(&tenant, &json!({"url": tried.url, "types": [{"type": "session"}]})).await.id;
    stack.register_with(&tenant, &json!({"url": other.url})).await;
    stack.manage("PUT", &path(&tenant, "invoice.paid"), Some(&invoice())).await;
    let test = format!("{}/test", endpoint_path(&tenant, &id));
    for (count, kind) in ["invoice.paid", "operation"].into_iter().enumerate() {
        let answer = stack.manage("POST", &test, Some(&json!({"type": kind}))).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        let webhook = tried.wait_for(count + 1).await.remove(count);
        let event = answer.json()["event"].as_str().unwrap().to_owned();
        assert_eq!(
            (webhook.event_id(), webhook.header("ce-type"), webhook.header("signpost-replay")),
            (&*event, kind, "test")
        );
        let example = stack.manage("GET", &path(&tenant, kind), None).await.json()["example"].clone();
        assert_eq!(serde_json::from_slice::<Value>(&webhook.body).unwrap(), example);
        if kind == "operation" {
            let subject = format!("/v1/tenants/{tenant}/status/operation/{}", example["operationId"].as_str().unwrap());
            assert_eq!(stack.manage("GET", &subject, None).await.status, 404, "an example is no news");
        }
    }
    let refused = stack.manage("POST", &test, Some(&json!({"type": "order"}))).await;
    assert_eq!((refused.status, &refused.json()["errors"][0]["pointer"]), (400, &json!("/type")));
    let last = event_id();
    stack.send_events([of_type(&tenant, "order", &last, &json!({})).to_string()]).await;
    assert_eq!(other.wait_for(1).await[0].event_id(), last, "it got no test");
}

/// Returns the items of an event in `EventsTable`, by kind: when each expires, in seconds from now.
async fn lifetimes(stack: &LocalStack, id: &str) -> Vec<(&'static str, i64)> {
    let call = stack.dynamodb().scan().table_name(setting("EVENTS_TABLE")).consistent_read(true);
    let items = call.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await.unwrap();
    let now = i64::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
    let is_of_it = |item: &&HashMap<String, AttributeValue>| {
        item.values().any(|value| value.as_s().is_ok_and(|text| text.contains(id)))
    };
    let found = items.iter().filter(is_of_it).map(|item| {
        let (pk, sk) = (item["pk"].as_s().unwrap(), item["sk"].as_s().unwrap());
        let kind = match sk {
            sk if sk.starts_with("event#") => "event",
            sk if sk.starts_with("state#") => "state",
            _ if pk.ends_with("/part") => "part",
            _ => "delivery",
        };
        (kind, item["expiresAt"].as_n().unwrap().parse::<i64>().unwrap() - now)
    });
    let mut found: Vec<_> = found.collect();
    found.sort_unstable();
    found
}

#[tokio::test]
async fn events_of_a_type_with_a_retention_expire_after_its_days_with_all_that_belongs_to_them() {
    const DAY: i64 = 86_400;
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let receiver = Receiver::start(|_| 204).await;
    stack.register_with(&tenant, &json!({"url": receiver.url})).await;
    let mut short = invoice();
    short["retentionDays"] = json!(2);
    let made = stack.manage("PUT", &path(&tenant, "invoice.paid"), Some(&short)).await;
    assert_eq!((made.status, &made.json()["retentionDays"]), (201, &json!(2)), "{}", made.text);
    short["retentionDays"] = json!(100_000);
    let refused = stack.manage("PUT", &path(&tenant, "invoice.paid"), Some(&short)).await;
    assert_eq!((refused.status, &refused.json()["errors"][0]["pointer"]), (400, &json!("/retentionDays")));

    let [small, large, other] = [event_id(), event_id(), event_id()];
    let noise: String = std::iter::repeat_with(fastrand::alphanumeric).take(700_000).collect();
    let mut events = [
        of_type(&tenant, "invoice.paid", &small, &json!({"number": "INV-1"})),
        of_type(&tenant, "invoice.paid", &large, &json!({"number": "INV-2", "note": noise})),
        of_type(&tenant, "order", &other, &json!({})),
    ];
    for event in &mut events {
        event["subject"] = json!("a-subject");
        stack.send_events([event.to_string()]).await;
    }
    receiver.wait_for(3).await;
    let kinds = async |id: &str, count: usize| {
        until("all items of the event", async || {
            let found = lifetimes(&stack, id).await;
            (found.len() >= count).then_some(found)
        })
        .await
    };
    let is_after = |days: i64| move |(_, seconds): &(&str, i64)| (days * DAY - 600..=days * DAY).contains(seconds);
    let of_small = kinds(&small, 3).await;
    assert_eq!(of_small.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), ["delivery", "event", "state"]);
    assert!(of_small.iter().all(is_after(2)), "{of_small:?}");
    let of_large = kinds(&large, 4).await;
    let (parts, rest): (Vec<_>, Vec<_>) = of_large.iter().partition(|(kind, _)| *kind == "part");
    assert!(!parts.is_empty() && rest.into_iter().all(is_after(2)), "{of_large:?}");
    assert!(parts.into_iter().all(is_after(9)), "parts last a week longer than their event: {of_large:?}");
    let of_other = kinds(&other, 3).await;
    assert!(of_other.iter().all(|(_, seconds)| *seconds > 7 * DAY), "the stack's own retention: {of_other:?}");

    // A replay resets the record, which is kept for the days of the type again, not for those of the stack.
    let replay = format!("/v1/tenants/{tenant}/events/{small}/replay");
    assert_eq!(stack.manage("POST", &replay, None).await.status, 202);
    receiver.wait_for(4).await;
    let again = kinds(&small, 3).await;
    assert!(again.iter().all(is_after(2)), "{again:?}");
}
