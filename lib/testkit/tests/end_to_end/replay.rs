//! Events seen by operators, and delivered again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use signpost_testkit::build::{event, event_id, tenant};
use signpost_testkit::local_stack::{LocalStack, endpoint_path};
use signpost_testkit::receiver::Receiver;

#[tokio::test]
async fn an_exhausted_delivery_is_replayed_under_its_id_and_retried_like_any_other() {
    let (stack, tenant, id) = (LocalStack::from_env().await, tenant(), event_id());
    let broken = Arc::new(AtomicBool::new(true));
    let is_broken = Arc::clone(&broken);
    let mended = move |index| if is_broken.load(Ordering::Relaxed) || index == 1 { 500 } else { 204 };
    let (receiver, neighbour) = (Receiver::start(mended).await, Receiver::start(|_| 204).await);
    let settings = json!({"url": receiver.url, "retry": {"schedule": []}});
    let endpoint = stack.register_with(&tenant, &settings).await.id;
    let other = stack.register_with(&tenant, &json!({"url": neighbour.url})).await.id;
    let path = format!("/v1/tenants/{tenant}/events/{id}");
    stack.send_events([event(&tenant, &id, &json!({"amount": 10.5})).to_string()]).await;
    stack.wait_for_message("DEAD_LETTER_QUEUE_URL", |body| body.contains(&id)).await;
    neighbour.wait_for(1).await;
    stack.wait_for_attempts(&tenant, &id, &other, 1).await;

    let seen = stack.manage("GET", &path, None).await;
    assert_eq!((seen.status, seen.header("cache-control")), (200, "no-store"));
    let seen = seen.json();
    assert_eq!(seen["event"]["data"], json!({"amount": 10.5}));
    let of = |id: &str| {
        let deliveries = seen["deliveries"].as_array().unwrap();
        deliveries.iter().find(|one| one["endpoint"] == id).unwrap().clone()
    };
    assert_eq!(
        (&of(endpoint.as_str())["status"], &of(other.as_str())["status"]),
        (&json!("exhausted"), &json!("delivered"))
    );
    let attempt = &of(endpoint.as_str())["attempts"][0];
    assert_eq!((&attempt["number"], &attempt["status"]), (&json!(1), &json!(500)));

    broken.store(false, Ordering::Relaxed);
    let retries = json!({"retry": {"schedule": [1]}});
    let patched = stack.manage("PATCH", &endpoint_path(&tenant, &endpoint), Some(&retries)).await;
    assert_eq!(patched.status, 200);
    let only = json!({"endpoint": endpoint.as_str()});
    let replayed = stack.manage("POST", &format!("{path}/replay"), Some(&only)).await;
    assert_eq!((replayed.status, replayed.json()), (202, json!({"endpoints": [endpoint.as_str()]})));

    // The second request fails; whether it is tried again by the old policy, remembered for ten seconds, or by the new
    // one, a replay begins with all of its retries.
    let requests = receiver.wait_for(2).await;
    assert_eq!(requests[1].header("webhook-id"), id, "the same id");
    assert_eq!(requests[1].header("signpost-attempt"), "2", "attempts are counted on");
    assert_eq!(neighbour.so_far().len(), 1, "the others are left alone");

    let all = stack.manage("POST", &format!("{path}/replay"), None).await.json();
    assert_eq!(all["endpoints"].as_array().unwrap().len(), 2, "{all}");
    neighbour.wait_for(2).await;
    receiver.wait_for(3).await;
    stack.wait_for_status(&tenant, &id, &endpoint, 204).await;
    let seen = stack.manage("GET", &path, None).await.json();
    assert!(seen["deliveries"].as_array().unwrap().iter().all(|one| one["status"] == "delivered"), "{seen}");
}

#[tokio::test]
async fn an_event_that_nobody_wanted_can_be_seen_and_sent_to_who_wants_it_now() {
    let (stack, tenant, id) = (LocalStack::from_env().await, tenant(), event_id());
    stack.send_events([event(&tenant, &id, &json!({})).to_string()]).await;
    assert_eq!(stack.wait_for_event(&tenant, &id, "/core").await, [""; 0]);
    let path = format!("/v1/tenants/{tenant}/events/{id}");
    assert_eq!(stack.manage("GET", &path, None).await.json()["deliveries"], json!([]));
    let receiver = Receiver::start(|_| 204).await;
    stack.register_with(&tenant, &json!({"url": receiver.url})).await;

    assert_eq!(stack.manage("POST", &format!("{path}/replay"), None).await.status, 202);

    assert_eq!(receiver.wait_for(1).await[0].header("webhook-id"), id);
}

#[tokio::test]
async fn an_event_that_is_not_there_or_is_meant_by_several_is_told_so() {
    let (stack, tenant, id) = (LocalStack::from_env().await, tenant(), event_id());
    let path = format!("/v1/tenants/{tenant}/events/{id}");
    assert_eq!(stack.manage("GET", &path, None).await.status, 404);
    assert_eq!(stack.manage("POST", &format!("{path}/replay"), None).await.status, 404);
    assert_eq!(stack.manage("GET", &format!("/v1/tenants/{tenant}/events/no.dots"), None).await.status, 404);

    let mut elsewhere = event(&tenant, &id, &json!({}));
    elsewhere["source"] = json!("/elsewhere");
    stack.send_events([event(&tenant, &id, &json!({})).to_string(), elsewhere.to_string()]).await;
    stack.wait_for_event(&tenant, &id, "/core").await;
    stack.wait_for_event(&tenant, &id, "/elsewhere").await;
    assert_eq!(stack.manage("GET", &path, None).await.status, 409);
    let one = stack.manage("GET", &format!("{path}?source=%2Felsewhere"), None).await;
    assert_eq!((one.status, &one.json()["event"]["source"]), (200, &json!("/elsewhere")));
    let nobody = json!({"endpoint": "ep_00000000000000000000000000000000"});
    let refused = stack.manage("POST", &format!("{path}/replay?source=%2Fcore"), Some(&nobody)).await;
    assert_eq!(refused.status, 409);
}
