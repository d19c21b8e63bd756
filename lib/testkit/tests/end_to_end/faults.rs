//! Throttles and errors of AWS, in front of each function. No event is lost, and no endpoint is charged with an
//! attempt.

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use serde_json::json;
use signpost_core::delivery::parking::Lane;
use signpost_engine::ports::parking::Parking as _;
use signpost_io::runtime::clock::unix_ms_now;
use signpost_testkit::aws_proxy::AwsProxy;
use signpost_testkit::build::{delivery, event, event_id, tenant};
use signpost_testkit::local_stack::{LocalStack, attribute, endpoint_path, make_quick};
use signpost_testkit::receiver::Receiver;

use crate::handlers::lookup;
use crate::own::{Own, is_done, on_the_fast_track, presented, stored};

pub(crate) fn batch(bodies: &[String]) -> SqsEvent {
    let now = unix_ms_now().to_string();
    let records = bodies.iter().enumerate().map(|(index, body)| {
        let attributes = json!({"ApproximateFirstReceiveTimestamp": now});
        json!({"messageId": format!("m-{index}"), "receiptHandle": "r", "body": body, "attributes": attributes})
    });
    serde_json::from_value(json!({"Records": records.collect::<Vec<_>>()})).unwrap()
}

pub(crate) fn failed(response: &SqsBatchResponse) -> usize {
    response.batch_item_failures.len()
}

#[tokio::test]
async fn any_failure_around_an_attempt_returns_the_message_and_costs_no_retry() {
    let (stack, proxy) = (LocalStack::from_env().await, AwsProxy::start().await);
    let aws = proxy.aws().await;
    // The operation that fails, whether the request is sent despite that, and the affected step.
    let cases = [
        ("GetItem", false, "reading the delivery and the endpoint"),
        ("Query", false, "reading the signing keys"),
        ("Decrypt", false, "opening a signing key or a secret"),
        ("BatchExecuteStatement", true, "recording the attempt, after the request was sent"),
        ("ChangeMessageVisibility", true, "setting the wait: the message returns after the queue's visibility timeout"),
    ];
    for (operation, is_sent, why) in cases {
        let answer = if operation == "ChangeMessageVisibility" { 500 } else { 204 };
        let (receiver, tenant, id) = (Receiver::start(move |_| answer).await, tenant(), event_id());
        let settings = json!({"url": receiver.url, "auth": {"kind": "apiKey", "secret": "abc"}});
        let endpoint = stack.register_with(&tenant, &settings).await.id;
        stack.make_quick(&endpoint).await;
        let app = deliver::app(&aws, deliver::Config::from_lookup(lookup).unwrap()).unwrap();
        let message = batch(&[delivery(&endpoint, &event(&tenant, &id, &json!({})))]);

        proxy.fail(operation);
        let response = deliver::handle(message.clone(), &app).await.unwrap();
        proxy.heal();
        assert_eq!(failed(&response), 1, "{operation}: {why}");
        assert_eq!(receiver.so_far().len(), usize::from(is_sent), "{operation}: {why}");
        if operation == "ChangeMessageVisibility" {
            continue;
        }
        assert!(stack.attempts(&tenant, &id, &endpoint).await.is_empty(), "{operation}: no attempt is charged");

        // A new environment, because one that was refused waits a second before it asks for keys again.
        let app = deliver::app(&aws, deliver::Config::from_lookup(lookup).unwrap()).unwrap();
        assert_eq!(failed(&deliver::handle(message, &app).await.unwrap()), 0, "{operation}");
        let numbers: Vec<_> = receiver.so_far().iter().map(|one| one.header("signpost-attempt").to_owned()).collect();
        assert!(numbers.iter().all(|number| number == "1"), "{operation}: {numbers:?}");
        assert_eq!(stack.attempts(&tenant, &id, &endpoint).await.len(), 1, "{operation}");
    }
}

#[tokio::test]
async fn a_fan_out_that_fails_halfway_is_finished_by_the_same_message() {
    let (stack, proxy) = (LocalStack::from_env().await, AwsProxy::start().await);
    let aws = proxy.aws().await;
    for operation in ["Query", "BatchExecuteStatement", "SendMessageBatch"] {
        let (receiver, tenant, id) = (Receiver::start(|_| 204).await, tenant(), event_id());
        stack.register_with(&tenant, &json!({"url": receiver.url})).await;
        let app = fanout::App::new(&aws, fanout::Config::from_lookup(lookup).unwrap());
        let message = batch(&[event(&tenant, &id, &json!({})).to_string(), format!("garbage {id}")]);

        proxy.fail(operation);
        let response = fanout::handle(message.clone(), &app).await.unwrap();
        proxy.heal();
        let garbage = usize::from(operation == "SendMessageBatch"); // It cannot be rejected either.
        assert_eq!(failed(&response), 1 + garbage, "{operation}");
        assert!(receiver.so_far().is_empty());

        assert_eq!(failed(&fanout::handle(message, &app).await.unwrap()), 0, "{operation}");
        assert_eq!(receiver.wait_for(1).await[0].event_id(), id, "{operation}");
    }
}

#[tokio::test]
async fn events_that_cannot_be_queued_are_refused_and_may_be_sent_again() {
    let proxy = AwsProxy::start().await;
    let app = ingest::App::new(&proxy.aws().await, ingest::Config::from_lookup(lookup).unwrap());
    let request = || serde_json::from_str(include_str!("../../../../events/ingest-single.json")).unwrap();
    proxy.fail("SendMessageBatch");
    assert_eq!(ingest::handle(request(), &app).await.status_code, 503);
    proxy.heal();
    assert_eq!(ingest::handle(request(), &app).await.status_code, 202);
}

#[tokio::test]
async fn deliveries_that_cannot_be_parked_stay_in_the_queue() {
    let (stack, proxy) = (LocalStack::from_env().await, AwsProxy::start().await);
    let (receiver, tenant, id) = (Receiver::start(|_| 500).await, tenant(), event_id());
    let settings = json!({"url": receiver.url, "retry": {"schedule": [1_000, 1_000]}});
    let endpoint = stack.register_with(&tenant, &settings).await.id;
    stack.make_quick(&endpoint).await;
    let app = deliver::app(&proxy.aws().await, deliver::Config::from_lookup(lookup).unwrap()).unwrap();
    let message = batch(&[delivery(&endpoint, &event(&tenant, &id, &json!({})))]);

    proxy.fail("PutItem");
    for _ in 0..2 {
        assert_eq!(failed(&deliver::handle(message.clone(), &app).await.unwrap()), 1);
    }
    proxy.heal();
    assert_eq!(failed(&deliver::handle(message, &app).await.unwrap()), 0, "now the delivery is parked");
    assert_eq!(receiver.so_far().len(), 1, "because of the record, nothing was sent again in the meantime");
}

#[tokio::test]
async fn deliveries_deferred_for_days_are_kept_with_the_reason_and_can_be_retried() {
    let (stack, proxy, tenant) = (LocalStack::from_env().await, AwsProxy::start().await, tenant());
    let (own, receiver) = (Own::of(&stack).await, Receiver::start(|_| 204).await);
    let endpoint = stack.register_with(&tenant, &json!({"url": receiver.url})).await.id;
    let (event, days_ago) = (stored(&stack, &tenant, &endpoint).await, unix_ms_now() - 5 * 24 * 3_600_000);
    let own = Own { aws: proxy.aws().await, ..own };

    proxy.fail("Decrypt");
    assert!(is_done(&own.deliver(), presented(&endpoint, &event, 499, days_ago)).await);
    assert_eq!(stack.delayed(&own.deliveries).await, 1, "it comes again as another message");
    assert!(is_done(&own.deliver(), presented(&endpoint, &event, 500, days_ago)).await, "it is dead-lettered");
    proxy.heal();
    let message = stack.wait_for_message_at(&own.dead_letters, |body| body.contains(endpoint.as_str())).await;
    assert_eq!(attribute(&message, "reason"), "deferred");
    let path = format!("/v1/tenants/{tenant}/events/{}", event["id"].as_str().unwrap());
    let seen = stack.manage("GET", &path, None).await.json();
    let delivery = &seen["deliveries"][0];
    assert_eq!((&delivery["status"], &delivery["attempts"]), (&json!("exhausted"), &json!([])));
    assert_eq!(delivery["reason"], "deferred");
    assert_eq!(own.parking().first_of(&Lane::Exhausted(endpoint.clone()), 2).await.unwrap().len(), 1, "for `recover`");

    assert_eq!(stack.manage("POST", &format!("{path}/replay"), None).await.status, 202);
    assert_eq!(receiver.wait_for(1).await[0].header("signpost-attempt"), "1", "no attempt was charged");
    stack.wait_for_attempts(&tenant, event["id"].as_str().unwrap(), &endpoint, 1).await;
    assert_eq!(stack.manage("GET", &path, None).await.json()["deliveries"][0]["reason"], json!(null));
}

/// The receiver answers 410, and a step after that fails.
#[tokio::test]
async fn the_event_of_a_disabled_endpoint_is_sent_even_if_a_call_fails() {
    let (stack, proxy) = (LocalStack::from_env().await, AwsProxy::start().await);
    for (operation, why) in [("SendMessageBatch", "event not sent"), ("UpdateItem", "endpoint not disabled")] {
        let (tenant, own) = (tenant(), Own::of(&stack).await);
        let (receiver, queue) = (Receiver::start(|_| 410).await, own.events.clone());
        let endpoint = stack.register_with(&tenant, &json!({"url": receiver.url})).await.id;
        make_quick(&stack.aws, own.parking.clone(), &endpoint).await; // A seat on the slow track is an update, too.
        let (event, now) = (stored(&stack, &tenant, &endpoint).await, unix_ms_now());
        let own = Own { aws: proxy.aws().await, ..own };
        let message = |receives| on_the_fast_track(presented(&endpoint, &event, receives, now));

        proxy.fail(operation);
        assert!(!is_done(&own.deliver(), message(1)).await, "{why}");
        proxy.heal();
        let path = endpoint_path(&tenant, &endpoint);
        assert_eq!(stack.manage("GET", &path, None).await.json()["enabled"], true, "{why}: the event is first");
        assert!(is_done(&own.deliver(), message(2)).await, "{why}");

        assert_eq!(stack.manage("GET", &path, None).await.json()["disabledBecause"], "gone", "{why}");
        let told = stack.wait_for_message_at(&queue, |body| body.contains(endpoint.as_str())).await;
        let told: serde_json::Value = serde_json::from_str(told.body().unwrap()).unwrap();
        assert_eq!(told["id"], format!("disabled-{endpoint}-1-gone"), "{why}: the same id each time it is sent");
        let data = &told["data"];
        assert_eq!((&data["endpoint"], &data["disabledBecause"]), (&json!(endpoint.as_str()), &json!("gone")));
    }
}
