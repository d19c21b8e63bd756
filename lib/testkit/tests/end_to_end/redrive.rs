//! Redrives of dead-letter queues. The test has its own queues, because other tests look for their dead letters in the
//! stack's.

use std::time::Duration;

use aws_lambda_events::sqs::SqsEvent;
use serde_json::{Value, json};
use signpost_core::delivery::{Delivery, DeliveryStatus, Progress};
use signpost_core::endpoint::EndpointId;
use signpost_core::event::{Event, TenantId};
use signpost_engine::ports::deliveries::{Deliveries as _, Recorded};
use signpost_engine::ports::queue::Message;
use signpost_engine::ports::queue::Queue as _;
use signpost_engine::sweep::{Redrive, Redriven};
use signpost_io::queue::Queue;
use signpost_io::tables::deliveries::Deliveries;
use signpost_testkit::aws_proxy::AwsProxy;
use signpost_testkit::build::{ARRIVED, attempt, event, event_id, tenant};
use signpost_testkit::event_source::HOSTED_QUEUE_ARN;
use signpost_testkit::local_stack::{LocalStack, setting};
use signpost_testkit::receiver::Receiver;
use sweep::Done;

use crate::handlers::lookup;
use crate::own::Own;

impl Own {
    async fn redrive(&self, payload: Value) -> Redriven {
        let done = sweep::handle(payload, &self.sweep()).await.unwrap();
        let Done::Redriven(redriven) = done else { panic!("{done:?}") };
        redriven
    }

    fn at(&self, url: &str) -> Queue {
        Queue::new(aws_sdk_sqs::Client::new(&self.aws), url.to_owned())
    }

    async fn bury(&self, body: &str, reason: Option<&'static str>) {
        self.put(&self.dead_letters, body, reason).await;
    }

    async fn reject(&self, body: &str, reason: Option<&'static str>) {
        self.put(&self.rejected, body, reason).await;
    }

    async fn put(&self, url: &str, body: &str, reason: Option<&'static str>) {
        let attributes = reason.map(|reason| ("reason", reason.to_owned())).into_iter().collect();
        self.at(url).send_all([Message { body: body.to_owned(), attributes, ..Message::default() }]).await.unwrap();
    }

    /// Reads all visible messages of a queue, in order, and hides them for some time.
    async fn bodies(&self, url: &str) -> Vec<String> {
        let (queue, mut bodies) = (self.at(url), Vec::new());
        loop {
            let received = queue.receive(Duration::from_mins(1)).await.unwrap();
            if received.is_empty() {
                bodies.sort_unstable();
                return bodies;
            }
            bodies.extend(received.into_iter().map(|received| received.body));
        }
    }
}

fn sorted(bodies: &[&str]) -> Vec<String> {
    let mut bodies: Vec<_> = bodies.iter().map(|body| (*body).to_owned()).collect();
    bodies.sort_unstable();
    bodies
}

fn message(tenant: &TenantId, endpoint: &EndpointId) -> String {
    let event = event(tenant, &event_id(), &json!({"n": 10.5}));
    Delivery::message(endpoint, &Event::parse(&event.to_string()).unwrap(), ARRIVED)
}

/// Records a delivery with one attempt.
async fn record(stack: &LocalStack, message: &str, status: DeliveryStatus) {
    let (table, delivery) = (table(stack), Delivery::parse(message).unwrap());
    let attempt = attempt(1, None);
    let progress = Progress {
        status,
        attempts: 1,
        before_replay: 0,
        next_attempt_unix_ms: 1,
        replay: None,
        last_sent: None,
        last_answer: None,
    };
    assert_eq!(table.record(delivery.key(), &attempt, None, progress).await.unwrap(), Recorded::Yes);
}

async fn on_record(stack: &LocalStack, message: &str) -> Option<(DeliveryStatus, u32)> {
    let (table, delivery) = (table(stack), Delivery::parse(message).unwrap());
    let standing = table.standing(delivery.key()).await;
    standing.unwrap()?.progress.map(|progress| (progress.status, progress.before_replay))
}

fn table(stack: &LocalStack) -> Deliveries {
    let client = aws_sdk_dynamodb::Client::new(&stack.aws);
    Deliveries::new(client, setting("EVENTS_TABLE"), Duration::from_hours(1))
}

/// Delivers with the function in this process.
async fn deliver(stack: &LocalStack, bodies: &[String]) {
    let app = deliver::app(&stack.aws, deliver::Config::from_lookup(lookup).unwrap()).unwrap();
    let records = bodies.iter().enumerate().map(|(index, body)| {
        json!({"messageId": format!("m-{index}"), "receiptHandle": "r", "body": body, "attributes": {},
               "eventSourceARN": setting("SLOW_DELIVERIES_QUEUE_ARN")})
    });
    let batch: SqsEvent = serde_json::from_value(json!({"Records": records.collect::<Vec<_>>()})).unwrap();
    assert!(deliver::handle(batch, &app).await.unwrap().batch_item_failures.is_empty());
}

#[tokio::test]
async fn deliverable_dead_letters_start_again_and_the_others_are_kept() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let (own, receiver) = (Own::of(&stack).await, Receiver::start(|_| 204).await);
    let endpoint = stack.register_with(&tenant, &json!({"url": receiver.url})).await.id;
    let nobody = EndpointId::new(uuid::Uuid::new_v4());
    let [given_up, crashed, back, acknowledged] = [(); 4].map(|()| message(&tenant, &endpoint));
    record(&stack, &given_up, DeliveryStatus::Exhausted).await;
    record(&stack, &acknowledged, DeliveryStatus::Delivered).await;
    own.bury(&given_up, Some("exhausted")).await;
    own.bury(&crashed, None).await;
    own.bury(&back, Some("endpoint-gone")).await;
    own.bury(&acknowledged, Some("exhausted")).await;
    let without_endpoint = message(&tenant, &nobody);
    let without_event = json!({"endpoint": endpoint.as_str(), "event": {"tenant": tenant.as_str(), "id": "op-1"}});
    let without_event = without_event.to_string();
    own.bury(&without_endpoint, Some("endpoint-gone")).await;
    own.bury(&without_event, Some("event-gone")).await;
    own.bury("no delivery at all", Some("bad-message")).await;

    let redriven = own.redrive(json!({"redrive": "DeadLetterQueue"})).await;

    assert_eq!(redriven, Redriven { moved: 4, kept: 3, more: false });
    assert_eq!(on_record(&stack, &given_up).await, Some((DeliveryStatus::Pending, 1)), "again, with all retries");
    assert_eq!(on_record(&stack, &acknowledged).await, Some((DeliveryStatus::Delivered, 0)), "unchanged");
    let queued = own.bodies(&own.deliveries).await;
    assert_eq!(queued, sorted(&[&given_up, &crashed, &back, &acknowledged]));
    deliver(&stack, &queued).await;
    let ids = |messages: &[&String]| {
        let ids = messages.iter().map(|message| Delivery::parse(message).unwrap().event.key.id.to_string());
        let mut ids: Vec<_> = ids.collect();
        ids.sort_unstable();
        ids
    };
    let mut arrived: Vec<_> = receiver.so_far().iter().map(|one| one.event_id().to_owned()).collect();
    arrived.sort_unstable();
    assert_eq!(arrived, ids(&[&given_up, &crashed, &back]), "acknowledged deliveries are not sent again");

    // The messages that were kept are visible again at once, and a second redrive sends nothing twice.
    let redriven = own.redrive(json!({"redrive": "DeadLetterQueue"})).await;
    assert_eq!(redriven, Redriven { moved: 0, kept: 3, more: false });
    let kept = own.bodies(&own.dead_letters).await;
    assert_eq!(kept, sorted(&[&without_endpoint, &without_event, "no delivery at all"]));
}

#[tokio::test]
async fn dead_letters_are_chosen_by_endpoint_and_tenant() {
    let (stack, one, other) = (LocalStack::from_env().await, tenant(), tenant());
    let own = Own::of(&stack).await;
    let register =
        async |tenant: &TenantId| stack.register_with(tenant, &json!({"url": "https://hooks.example/"})).await.id;
    let (first, second, third) = (register(&one).await, register(&one).await, register(&other).await);
    for (tenant, endpoint) in [(&one, &first), (&one, &second), (&other, &third)] {
        own.bury(&message(tenant, endpoint), Some("exhausted")).await;
    }
    let cases = [
        (json!({"redrive": "DeadLetterQueue", "endpoint": first.as_str(), "tenant": other.as_str()}), 0, 3),
        (json!({"redrive": "DeadLetterQueue", "endpoint": first.as_str()}), 1, 2),
        (json!({"redrive": "DeadLetterQueue", "tenant": one.as_str()}), 1, 1),
        (json!({"redrive": "DeadLetterQueue", "tenant": null}), 1, 0),
    ];
    for (payload, moved, kept) in cases {
        let redriven = own.redrive(payload.clone()).await;
        assert_eq!(redriven, Redriven { moved, kept, more: false }, "{payload}");
    }
}

#[tokio::test]
async fn rejected_messages_that_are_valid_now_are_sent_again_and_the_others_are_kept() {
    let (stack, one, other) = (LocalStack::from_env().await, tenant(), tenant());
    let own = Own::of(&stack).await;
    let [crashed, repaired, conflict] = [(); 3].map(|()| event(&one, &event_id(), &json!({"n": 10.5})).to_string());
    let elsewhere = event(&other, &event_id(), &json!({})).to_string();
    own.reject(&crashed, None).await;
    own.reject(&repaired, Some("invalid-event")).await;
    own.reject(&elsewhere, Some("invalid-event")).await;
    own.reject(&conflict, Some("conflicting-duplicate")).await;
    own.reject("no event at all", Some("invalid-event")).await;

    let redriven = own.redrive(json!({"redrive": "RejectedQueue", "tenant": one.as_str()})).await;
    assert_eq!(redriven, Redriven { moved: 2, kept: 3, more: false });
    let redriven = own.redrive(json!({"redrive": "RejectedQueue"})).await;
    assert_eq!(redriven, Redriven { moved: 1, kept: 2, more: false });

    assert_eq!(own.bodies(&own.events).await, sorted(&[&crashed, &repaired, &elsewhere]));
    assert_eq!(own.bodies(&own.rejected).await, sorted(&[&conflict, "no event at all"]));
}

#[tokio::test]
async fn a_redrive_ends_when_its_time_is_up_and_tells_that_there_is_more() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let own = Own::of(&stack).await;
    let (app, endpoint) = (own.sweep(), EndpointId::new(uuid::Uuid::new_v4()));
    let letters = (0..60).map(|_| Message { body: message(&tenant, &endpoint), ..Message::default() });
    own.at(&own.dead_letters).send_all(letters).await.unwrap();
    let all = Redrive::DeadLetters { endpoint: None, tenant: None };

    let none = app.redrive_for(&all, Duration::ZERO).await.unwrap();
    assert_eq!(none, Redriven { moved: 0, kept: 0, more: true });
    let some = app.redrive_for(&all, Duration::from_nanos(1)).await.unwrap();
    assert!(some.kept < 60 && some.more, "{some:?}");
    let whole = app.redrive_for(&all, Duration::from_secs(20)).await.unwrap();
    assert_eq!(whole, Redriven { moved: 0, kept: 60, more: false }, "each message once");
}

/// The redrive sends deliveries that fail and return to the queue that it empties.
#[tokio::test]
async fn a_redrive_tries_a_delivery_once_though_it_fails_again_at_once() {
    let (stack, tenant, receiver) = (LocalStack::from_env().await, tenant(), Receiver::start(|_| 500).await);
    let own = Own::of(&stack).await;
    let settings = json!({"url": receiver.url, "retry": {"maxRetries": 0}});
    let endpoint = stack.register_with(&tenant, &settings).await.id;
    let given_up = message(&tenant, &endpoint);
    record(&stack, &given_up, DeliveryStatus::Exhausted).await;
    own.bury(&given_up, Some("exhausted")).await;
    own.bury(&given_up, Some("exhausted")).await; // As after a crash before its message is deleted.
    let (app, queue) = (own.deliver(), own.at(&own.deliveries));
    let delivering = tokio::spawn(async move {
        loop {
            for received in queue.receive(Duration::from_mins(1)).await.unwrap() {
                let attributes =
                    json!({"ApproximateReceiveCount": "1", "SentTimestamp": received.sent_unix_ms.to_string()});
                let since = json!({"since": {"stringValue": received.sent_unix_ms.to_string(), "dataType": "Number"}});
                let record = json!({"messageId": received.id, "receiptHandle": received.receipt, "body": received.body,
                                    "attributes": attributes, "messageAttributes": since,
                                    "eventSourceARN": HOSTED_QUEUE_ARN});
                let batch: SqsEvent = serde_json::from_value(json!({"Records": [record]})).unwrap();
                deliver::handle(batch, &app).await.unwrap();
                queue.remove_all([received.receipt]).await.unwrap();
            }
        }
    });

    let redriven = own.redrive(json!({"redrive": "DeadLetterQueue"})).await;

    receiver.wait_for(1).await;
    stack.wait_for_message_at(&own.dead_letters, |body| body == given_up).await;
    assert_eq!((redriven.moved, redriven.more), (1, false), "{redriven:?}");
    assert_eq!(receiver.so_far().len(), 1, "one request");
    delivering.abort();
}

/// A run dies between two steps; the next run completes it.
#[tokio::test]
async fn a_redrive_that_fails_anywhere_loses_nothing_and_sends_nothing_twice() {
    let (stack, proxy) = (LocalStack::from_env().await, AwsProxy::start().await);
    let by_proxy = proxy.aws().await;
    for operation in ["GetItem", "UpdateItem", "SendMessageBatch", "DeleteMessageBatch"] {
        let (own, tenant, receiver) = (Own::of(&stack).await, tenant(), Receiver::start(|_| 204).await);
        let endpoint = stack.register_with(&tenant, &json!({"url": receiver.url})).await.id;
        let given_up = message(&tenant, &endpoint);
        record(&stack, &given_up, DeliveryStatus::Exhausted).await;
        own.bury(&given_up, Some("exhausted")).await;

        proxy.fail(operation);
        let failed = sweep::handle(json!({"redrive": "DeadLetterQueue"}), &own.sweep_by(&by_proxy)).await;
        proxy.heal();
        assert!(failed.is_err(), "{operation}: {failed:?}");
        deliver(&stack, &own.bodies(&own.deliveries).await).await;

        let redriven = own.redrive(json!({"redrive": "DeadLetterQueue"})).await;
        assert_eq!(redriven, Redriven { moved: 1, kept: 0, more: false }, "{operation}: the message was not lost");
        deliver(&stack, &own.bodies(&own.deliveries).await).await;
        assert_eq!(receiver.so_far().len(), 1, "{operation}");
    }
}

/// Sends invalid payloads to the deployed function.
#[tokio::test]
async fn a_payload_that_asks_for_nothing_is_refused_with_what_is_expected() {
    let stack = LocalStack::from_env().await;
    for payload in [json!({}), json!({"redrive": "EventsQueue"}), json!({"redrive": "DeadLetterQueue", "tenant": 7})] {
        let answer = stack.invoke("SWEEP_FUNCTION", &payload).await;
        assert!(!answer.header("x-amz-function-error").is_empty(), "{answer:?}");
        let message = answer.json()["errorMessage"].as_str().unwrap().to_owned();
        assert!(message.contains(&format!("payload is `{payload}`; expected the schedule's event")), "{message}");
    }
}
