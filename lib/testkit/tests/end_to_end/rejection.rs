//! Invalid events, repeated events, and events without recipients.

use serde_json::{Value, json};
use signpost_core::endpoint::{Endpoint, TypeFilter};
use signpost_testkit::build::{event, event_id, tenant};
use signpost_testkit::local_stack::{LocalStack, attribute};
use signpost_testkit::receiver::Receiver;

#[tokio::test]
async fn garbage_in_the_queue_is_rejected_and_its_neighbours_are_delivered() {
    let stack = LocalStack::from_env().await;
    let receiver = Receiver::start(|_| 200).await;
    let tenant = tenant();
    stack.register(&tenant, &Endpoint::new(&receiver.url)).await;
    let [first, second, garbage] = [(); 3].map(|()| event_id());
    let good = |id: &str| event(&tenant, id, &json!({})).to_string();
    let broken = json!({"specversion": "1.0", "id": garbage, "tenant": "NOT ONE"}).to_string();

    stack.send_events([good(&first), format!("garbage {garbage}"), broken, good(&second)]).await;

    let ids: Vec<_> = receiver.wait_for(2).await.iter().map(|one| one.event_id().to_owned()).collect();
    assert!(ids.contains(&first) && ids.contains(&second), "{ids:?}");
    for start in ["garbage", "{"] {
        let is_it = |body: &str| body.starts_with(start) && body.contains(&garbage);
        let message = stack.wait_for_message("REJECTED_QUEUE_URL", is_it).await;
        assert_eq!(attribute(&message, "reason"), "invalid-event");
        let faults: Value = serde_json::from_str(attribute(&message, "faults")).unwrap();
        let pointers: Vec<_> = faults.as_array().unwrap().iter().map(|fault| &fault["pointer"]).collect();
        let expected = if start == "{" { vec!["/source", "/type", "/tenant", "/data"] } else { vec![""] };
        assert_eq!(pointers, expected);
    }
}

#[tokio::test]
async fn the_same_event_again_is_dropped_and_another_under_its_id_is_rejected() {
    let stack = LocalStack::from_env().await;
    let receiver = Receiver::start(|_| 200).await;
    let tenant = tenant();
    stack.register(&tenant, &Endpoint::new(&receiver.url)).await;
    let (id, last) = (event_id(), event_id());
    let original = event(&tenant, &id, &json!({"amount": 10}));
    let conflicting = event(&tenant, &id, &json!({"amount": 11}));

    stack.post_events("application/json", original.to_string()).await;
    receiver.wait_for(1).await;
    stack.post_events("application/json", original.to_string()).await;
    stack.send_events([original.to_string(), conflicting.to_string()]).await;
    let message = stack.wait_for_message("REJECTED_QUEUE_URL", |body| body.contains(&id)).await;
    let batch = json!([original, event(&tenant, &last, &json!({}))]);
    stack.post_events("application/cloudevents-batch+json", batch.to_string()).await;

    assert_eq!(attribute(&message, "reason"), "conflicting-duplicate");
    let stored: Value = serde_json::from_str(message.body().unwrap()).unwrap();
    assert_eq!(stored, conflicting);
    let ids: Vec<_> = receiver.wait_for(2).await.iter().map(|one| one.event_id().to_owned()).collect();
    assert_eq!(ids, [id, last], "each event once");
}

#[tokio::test]
async fn an_endpoint_gets_the_types_it_asked_for_and_unwanted_events_are_stored() {
    let stack = LocalStack::from_env().await;
    let receiver = Receiver::start(|_| 200).await;
    let tenant = tenant();
    let mut endpoint = Endpoint::new(&receiver.url);
    endpoint.types = vec![TypeFilter::of("wanted")];
    stack.register(&tenant, &endpoint).await;
    let (unwanted, wanted) = (event_id(), event_id());
    let mut of_that_type = event(&tenant, &wanted, &json!({}));
    of_that_type["type"] = json!("wanted");

    stack.send_events([event(&tenant, &unwanted, &json!({})).to_string(), of_that_type.to_string()]).await;

    assert_eq!(receiver.wait_for(1).await[0].event_id(), wanted);
    assert_eq!(stack.wait_for_event(&tenant, &wanted, "/core").await.len(), 1);
    assert_eq!(stack.wait_for_event(&tenant, &unwanted, "/core").await, [""; 0], "stored for a replay");
    assert_eq!(receiver.so_far().len(), 1);
}

#[tokio::test]
async fn the_api_lists_every_fault_and_queues_nothing() {
    let stack = LocalStack::from_env().await;
    let tenant = tenant();
    let batch = json!([event(&tenant, &event_id(), &json!({})), {"specversion": "0.3", "id": "no#hashes"}]);

    let answer = stack.post_events("application/cloudevents-batch+json", batch.to_string()).await;

    assert_eq!((answer.status, answer.header("content-type")), (400, "application/problem+json"));
    let problem = answer.json();
    let pointers: Vec<_> = problem["errors"].as_array().unwrap().iter().map(|one| &one["pointer"]).collect();
    assert_eq!(pointers, ["/1/specversion", "/1/id", "/1/source", "/1/type", "/1/tenant", "/1/data"]);
}
