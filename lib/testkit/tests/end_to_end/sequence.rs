//! Numbers of events, by which receivers put them in order.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use signpost_core::event::sequence::{SequenceNumber, counter};
use signpost_core::event::{Event, TenantId};
use signpost_testkit::build::{event, event_id, tenant};
use signpost_testkit::local_stack::{LocalStack, endpoint_path, setting, until};
use signpost_testkit::receiver::{Received, Receiver};

fn about(tenant: &TenantId, subject: &str) -> Value {
    let mut sent = event(tenant, &event_id(), &json!({"n": 1}));
    sent["subject"] = json!(subject);
    sent
}

/// Returns the numbers that webhooks have, by event.
fn numbers(webhooks: &[Received]) -> BTreeMap<String, String> {
    webhooks.iter().map(|one| (one.event_id().to_owned(), one.header("ce-sequence").to_owned())).collect()
}

#[tokio::test]
async fn an_endpoint_that_asks_gets_numbers_that_grow_by_one_for_each_subject() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let (ordered, other) = (Receiver::start(|_| 204).await, Receiver::start(|_| 204).await);
    let asks = stack.register_with(&tenant, &json!({"url": ordered.url, "sequence": true})).await;
    stack.register_with(&tenant, &json!({"url": other.url})).await;
    let [one, two] = ["payment-1", "payment-2"];
    let mut sent: Vec<_> = [one, one, one, one, two].map(|subject| about(&tenant, subject)).into();
    sent[1]["type"] = json!("another-type"); // Of the same subject, so it is counted with the others.
    let mut own = about(&tenant, one);
    own["sequence"] = json!("0042");
    let without = event(&tenant, &event_id(), &json!({}));
    sent.extend([own.clone(), without.clone()]);
    // Each event twice, as a producer does that had no answer.
    stack.send_events(sent.iter().chain(&sent).map(Value::to_string)).await;

    let webhooks = ordered.wait_for(7).await;
    let given = numbers(&webhooks);
    let id = |event: &Value| event["id"].as_str().unwrap().to_owned();
    assert_eq!((given.len(), &*given[&id(&own)], &*given[&id(&without)]), (7, "0042", ""), "{given:?}");
    let mut of_one: Vec<_> =
        sent[..4].iter().map(|event| SequenceNumber::parse(&given[&id(event)]).expect("18 digits")).collect();
    of_one.sort_unstable();
    assert!(of_one.is_sorted_by(|before, after| before.next() == *after), "{of_one:?}");
    let of_two = &given[&id(&sent[4])];
    assert!(of_one[0].to_string().ends_with("00000001") && of_two.ends_with("00000001"), "{of_one:?} {of_two}");
    let unasked = numbers(&other.wait_for(7).await);
    let expected = |event: &String| if *event == id(&own) { "0042" } else { "" };
    assert!(unasked.iter().all(|(event, number)| number == expected(event)), "{unasked:?}");

    // The event keeps its number in a replay, and an operator sees it.
    let path = format!("/v1/tenants/{tenant}/events/{}", id(&sent[4]));
    let is_recorded = async || {
        let shown = stack.manage("GET", &path, None).await.json();
        let is_done = shown["deliveries"].as_array().unwrap().iter().all(|one| one["status"] == "delivered");
        is_done.then_some(shown)
    };
    let shown = until("the deliveries are on record", is_recorded).await;
    assert_eq!((&shown["sequence"], &shown["event"]["sequence"]), (&json!(of_two), &Value::Null), "{shown}");
    let of_asking =
        shown["deliveries"].as_array().unwrap().iter().find(|one| one["endpoint"] == json!(asks.id.as_str()));
    assert_eq!(of_asking.unwrap()["attempts"][0]["sent"]["headers"]["ce-sequence"], json!(of_two), "{shown}");
    let replayed = stack.manage("POST", &format!("{path}/replay"), Some(&json!({"endpoint": asks.id.as_str()}))).await;
    assert_eq!(replayed.status, 202, "{replayed:?}");
    let again = ordered.wait_for(8).await.pop().unwrap();
    assert_eq!((again.event_id(), again.header("ce-sequence")), (&*id(&sent[4]), &**of_two));
    assert_eq!(again.header("signpost-replay"), "replay");
}

#[tokio::test]
async fn a_parked_delivery_keeps_its_number_in_the_signed_body_and_the_counter_names_nobody() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let receiver = Receiver::start(|_| 204).await;
    let settings = json!({"url": receiver.url, "sequence": true, "cloudEvents": "structured"});
    let endpoint = stack.register_with(&tenant, &settings).await.id;
    let path = endpoint_path(&tenant, &endpoint);
    let first = about(&tenant, "Jane Doe");
    let body = |webhook: &Received| serde_json::from_slice::<Value>(&webhook.body).unwrap();
    assert_eq!(stack.manage("POST", &format!("{path}/disable"), None).await.status, 200);
    stack.send_events([first.to_string(), about(&tenant, "Jane Doe").to_string()]).await;
    stack.wait_for_parked(&endpoint, 2).await;
    assert_eq!(stack.manage("POST", &format!("{path}/enable"), None).await.status, 200);
    let swept = async || {
        stack.invoke("SWEEP_FUNCTION", &json!({"source": "aws.events"})).await;
        let arrived = receiver.so_far();
        (arrived.len() >= 2).then_some(arrived)
    };
    let arrived = until("the parked deliveries are sent", swept).await;
    let number = |webhook: &Received| SequenceNumber::parse(body(webhook)["sequence"].as_str().unwrap()).unwrap();
    let mut numbers: Vec<_> = arrived.iter().map(number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers[1], numbers[0].next());

    let key = counter(&Event::parse(&first.to_string()).unwrap()).unwrap();
    let call = stack.dynamodb().query().table_name(setting("EVENTS_TABLE")).consistent_read(true);
    let call = call.key_condition_expression("pk = :pk");
    let found = call.expression_attribute_values(":pk", aws_sdk_dynamodb::types::AttributeValue::S(key));
    let items = found.send().await.unwrap().items.unwrap();
    let [item] = &*items else { panic!("{items:?}") };
    let last = item["sequence"].as_n().unwrap().parse().unwrap();
    assert_eq!(SequenceNumber::of(last), numbers[1]);
    assert!(item.contains_key("expiresAt") && !format!("{item:?}").contains("Jane"), "{item:?}");
}

#[tokio::test]
async fn numbers_need_the_attributes_of_cloud_events() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let settings = json!({"url": "https://hooks.example/in", "sequence": true, "cloudEvents": "none"});
    let refused = stack.manage("POST", &format!("/v1/tenants/{tenant}/endpoints"), Some(&settings)).await;
    assert_eq!((refused.status, &refused.json()["errors"][0]["pointer"]), (400, &json!("/cloudEvents")), "{refused:?}");
}
