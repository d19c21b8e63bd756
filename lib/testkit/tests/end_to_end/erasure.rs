//! Operators erase events and subjects: no payload is left in a table, and nothing more is sent.

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::json;
use signpost_testkit::build::{event, event_id, tenant};
use signpost_testkit::local_stack::{LocalStack, setting, until};
use signpost_testkit::receiver::Receiver;
use uuid::Uuid;

/// Every table that a function writes to.
const TABLES: [&str; 5] = ["EVENTS_TABLE", "PARKING_TABLE", "AUDIT_TABLE", "ENDPOINTS_TABLE", "TOKEN_REQUESTS_TABLE"];

/// Returns whether a value has a text in it, as text or as bytes.
fn has(value: &AttributeValue, marker: &str) -> bool {
    match value {
        AttributeValue::S(text) => text.contains(marker),
        AttributeValue::Ss(texts) => texts.iter().any(|text| text.contains(marker)),
        AttributeValue::B(bytes) => bytes.as_ref().windows(marker.len()).any(|part| part == marker.as_bytes()),
        AttributeValue::L(values) => values.iter().any(|value| has(value, marker)),
        AttributeValue::M(values) => values.iter().any(|(name, value)| name.contains(marker) || has(value, marker)),
        _ => false,
    }
}

/// Returns the items of all tables that have a text in them, keys included.
async fn found(stack: &LocalStack, marker: &str) -> Vec<String> {
    let mut found = Vec::new();
    for table in TABLES {
        let mut items =
            stack.dynamodb().scan().table_name(setting(table)).consistent_read(true).into_paginator().items().send();
        while let Some(item) = items.try_next().await.unwrap() {
            if item.values().any(|value| has(value, marker)) {
                found.push(format!("{table}: {item:?}"));
            }
        }
    }
    found
}

fn marker() -> String {
    format!("Jane-{}", Uuid::new_v4().simple())
}

#[tokio::test]
async fn an_erased_event_leaves_no_payload_and_the_event_of_another_tenant_stays() {
    let (stack, tenants, marker) = (LocalStack::from_env().await, [tenant(), tenant()], marker());
    let echo = marker.clone();
    // The first answer repeats the payload, as a careless receiver does in an error.
    let receiver = Receiver::start_answering(move |index, _| match index {
        0 => (500, format!("{echo} is not known")),
        _ => (204, String::new()),
    })
    .await;
    let neighbour = Receiver::start(|_| 204).await;
    let retry = json!({"maxRetries": 3, "intervalSeconds": 1, "backoff": "fixed"});
    stack.register_with(&tenants[0], &json!({"url": receiver.url, "retry": retry, "method": "GET"})).await;
    stack.register_with(&tenants[1], &json!({"url": neighbour.url})).await;
    let id = event_id();
    for tenant in &tenants {
        let mut event = event(tenant, &id, &json!({"name": marker}));
        event["subject"] = json!(marker);
        stack.send_events([event.to_string()]).await;
    }
    receiver.wait_for(2).await;
    neighbour.wait_for(1).await;
    let path = |tenant: &str| format!("/v1/tenants/{tenant}/events/{id}");
    let (own, theirs) = (path(tenants[0].as_str()), path(tenants[1].as_str()));
    let is_delivered = async || {
        let seen = stack.manage("GET", &own, None).await.json();
        (seen["deliveries"][0]["status"] == "delivered").then_some(())
    };
    until("the delivery is on record", is_delivered).await;

    let counted = stack.manage("DELETE", &format!("{own}?dryRun=true"), None).await;
    assert_eq!((counted.status, counted.json()), (200, json!({"events": 1, "deliveries": 1, "more": false})));
    assert_eq!(stack.manage("GET", &own, None).await.status, 200, "counting changes nothing");
    assert!(
        found(&stack, &marker).await.len() >= 3,
        "the event, the answer to its first attempt, and another tenant's event"
    );

    let erased = stack.manage("DELETE", &own, None).await;
    let report = erased.json();
    assert_eq!((erased.status, &report["events"], &report["deliveries"]), (202, &json!(1), &json!(1)), "{erased:?}");
    let left = found(&stack, &marker).await;
    assert!(left.iter().all(|item| item.contains(tenants[1].as_str())), "{left:?}");
    assert_eq!(stack.manage("GET", &theirs, None).await.status, 200, "another tenant's event of the same id");
    for (method, path) in [("GET", own.clone()), ("POST", format!("{own}/replay"))] {
        let answer = stack.manage(method, &path, None).await;
        assert_eq!(answer.status, 410, "{method}: {answer:?}");
    }
    let status = format!("/v1/tenants/{}/status/example/{marker}", tenants[0]);
    assert_eq!(stack.manage("GET", &status, None).await.status, 404);
    let again = stack.manage("DELETE", &own, None).await;
    assert_eq!((again.status, &again.json()["events"]), (202, &json!(0)), "{again:?}");

    assert_eq!(stack.manage("DELETE", &theirs, None).await.status, 202);
    let left = found(&stack, &marker).await;
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn an_erased_subject_is_not_sent_when_its_parked_deliveries_come_up_and_nothing_else_is_lost() {
    let (stack, tenant, marker) = (LocalStack::from_env().await, tenant(), marker());
    let receiver = Receiver::start(|_| 204).await;
    let endpoint = stack.register_with(&tenant, &json!({"url": receiver.url})).await.id;
    let path = format!("/v1/tenants/{tenant}/endpoints/{endpoint}");
    assert_eq!(stack.manage("POST", &format!("{path}/disable"), None).await.status, 200);
    let send = async |subject: &str| {
        let mut event = event(&tenant, &event_id(), &json!({"name": subject}));
        event["subject"] = json!(subject);
        stack.send_events([event.to_string()]).await;
        event["id"].as_str().unwrap().to_owned()
    };
    for _ in 0..3 {
        send(&marker).await;
    }
    let kept = send("somebody-else").await;
    stack.wait_for_parked(&endpoint, 4).await;
    // One more, which is erased before it arrives.
    let early = event_id();
    let mut early_event = event(&tenant, &early, &json!({"name": marker}));
    early_event["subject"] = json!(marker);
    let erased = stack.manage("DELETE", &format!("/v1/tenants/{tenant}/events/{early}?source=/core"), None).await;
    assert_eq!((erased.status, &erased.json()["events"]), (202, &json!(0)), "{erased:?}");
    let unknown = stack.manage("DELETE", &format!("/v1/tenants/{tenant}/events/{}", event_id()), None).await;
    assert_eq!(unknown.status, 404, "without its source, nobody knows which event is meant");

    let subject = format!("/v1/tenants/{tenant}/status/example/{marker}");
    let counted = stack.manage("DELETE", &format!("{subject}?type=example&dryRun=true"), None).await;
    assert_eq!((counted.status, &counted.json()["events"]), (200, &json!(3)), "{counted:?}");
    let faulty = stack.manage("DELETE", &format!("{subject}?dryRun=yes"), None).await;
    assert_eq!((faulty.status, &faulty.json()["errors"][0]["pointer"]), (400, &json!("?dryRun")), "{faulty:?}");
    let erased = stack.manage("DELETE", &format!("{subject}?type=example"), None).await;
    let report = erased.json();
    assert_eq!((erased.status, &report["events"], &report["deliveries"]), (202, &json!(3), &json!(3)), "{erased:?}");
    assert_eq!(report["more"], false, "{erased:?}");
    assert_eq!(stack.manage("GET", &subject, None).await.status, 404);
    stack.send_events([early_event.to_string()]).await;

    assert_eq!(stack.manage("POST", &format!("{path}/enable"), None).await.status, 200);
    let last = send("somebody-else").await;
    let swept = async || {
        stack.invoke("SWEEP_FUNCTION", &json!({"source": "aws.events"})).await;
        let arrived: Vec<_> = receiver.so_far().iter().map(|request| request.event_id().to_owned()).collect();
        let lists = stack.manage("GET", &format!("{path}/deliveries?status=erased"), None).await.json();
        let skipped = lists["deliveries"].as_array().unwrap().len();
        ([&kept, &last].iter().all(|id| arrived.contains(id)) && skipped == 3).then_some(arrived)
    };
    let arrived = until("the other events are sent", swept).await;
    assert_eq!(arrived.len(), 2, "nothing of the erased subject is sent: {arrived:?}");
    let left = found(&stack, &marker).await;
    assert!(left.is_empty(), "{left:?}");
    let log = stack.manage("GET", &format!("/v1/tenants/{tenant}/audit"), None).await.json();
    let actions: Vec<_> = log["entries"].as_array().unwrap().iter().map(|entry| &entry["action"]).collect();
    assert!(actions.contains(&&json!("DELETE /v1/tenants/{tenant}/status/{type}/{subject+}")), "{actions:?}");
}
