//! Receivers that fail sometimes, that always fail, and that do not answer.

use std::time::Duration;

use serde_json::json;
use signpost_core::endpoint::Endpoint;
use signpost_core::endpoint::retry::RetryPolicy;
use signpost_testkit::build::{event, event_id, tenant};
use signpost_testkit::local_stack::{LocalStack, attribute};
use signpost_testkit::receiver::Receiver;
use signpost_testkit::verify::independently;

#[tokio::test]
async fn a_receiver_that_fails_twice_gets_it_again_five_seconds_apart() {
    let stack = LocalStack::from_env().await;
    let receiver = Receiver::start(|index| if index < 2 { 500 } else { 204 }).await;
    let (tenant, id) = (tenant(), event_id());
    let endpoint = stack.register(&tenant, &Endpoint::new(&receiver.url)).await;

    stack.send_events([event(&tenant, &id, &json!({"try": "again"})).to_string()]).await;

    let requests = receiver.wait_for(3).await;
    for (index, request) in requests.iter().enumerate() {
        assert_eq!(request.event_id(), id, "the event id stays the same");
        assert_eq!(request.header("signpost-attempt"), (index + 1).to_string());
    }
    for pair in requests.windows(2) {
        let gap = pair[1].at - pair[0].at;
        assert!(gap >= Duration::from_secs(5), "too early: {gap:?}");
        assert!(gap < Duration::from_secs(15), "far too late: {gap:?}");
        let timestamp = |index: usize| pair[index].header("webhook-timestamp").parse::<u64>().unwrap();
        assert!(timestamp(1) >= timestamp(0) + 5, "each attempt has its own timestamp");
    }
    for report in independently(&stack.keys_url(&tenant), &requests).await {
        assert_eq!(report.error, None, "each attempt has its own signature");
    }
    let attempts = stack.wait_for_attempts(&tenant, &id, &endpoint, 3).await;
    let told: Vec<_> = attempts.iter().map(|one| (one.number, one.status, one.error.as_deref())).collect();
    let refused = Some("endpoint answered 500; answer 2xx to acknowledge");
    assert_eq!(told, [(1, Some(500), refused), (2, Some(500), refused), (3, Some(204), None)]);
}

#[tokio::test]
async fn a_receiver_that_never_accepts_ends_in_the_dead_letter_queue_after_six_attempts() {
    let stack = LocalStack::from_env().await;
    let receiver = Receiver::start(|_| 503).await;
    let (tenant, id) = (tenant(), event_id());
    let endpoint = stack.register(&tenant, &Endpoint::new(&receiver.url)).await;

    stack.send_events([event(&tenant, &id, &json!({})).to_string()]).await;

    let message = stack.wait_for_message("DEAD_LETTER_QUEUE_URL", |body| body.contains(&id)).await;
    assert_eq!(attribute(&message, "reason"), "exhausted");
    assert!(message.body().unwrap().contains(endpoint.as_str()), "the message names its endpoint");
    assert_eq!(receiver.so_far().len(), 6);
    let numbers: Vec<_> = stack.attempts(&tenant, &id, &endpoint).await.iter().map(|one| one.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
}

/// An answer that comes again is stored once, and an old attempt is in an item beside the record.
#[tokio::test]
async fn the_history_of_an_event_shows_each_answer_of_a_delivery_that_failed_often() {
    let stack = LocalStack::from_env().await;
    let page = |index: usize| if index < 4 { format!("down since {index} hours") } else { "down".to_owned() };
    let receiver =
        Receiver::start_answering(move |index, _| if index < 9 { (503, page(index)) } else { (204, String::new()) })
            .await;
    let (tenant, id) = (tenant(), event_id());
    let mut settings = Endpoint::new(&receiver.url);
    settings.retry = RetryPolicy::fixed(20, 1).unwrap();
    let endpoint = stack.register(&tenant, &settings).await;

    stack.send_events([event(&tenant, &id, &json!({})).to_string()]).await;

    stack.wait_for_status(&tenant, &id, &endpoint, 204).await;
    let shown = stack.manage("GET", &format!("/v1/tenants/{tenant}/events/{id}"), None).await.json();
    let attempts = shown["deliveries"][0]["attempts"].as_array().unwrap();
    let answers: Vec<_> = attempts.iter().map(|one| one["response"].as_str()).collect();
    let expected: Vec<_> = (0..9).map(page).collect();
    let expected: Vec<_> = expected.iter().map(|page| Some(&**page)).chain([None]).collect();
    assert_eq!(answers, expected);
    for (attempt, number) in attempts.iter().zip(1..) {
        let headers = &attempt["sent"]["headers"];
        assert_eq!((&attempt["number"], &headers["signpost-attempt"]), (&json!(number), &json!(number.to_string())));
        assert_eq!(headers["webhook-id"], *receiver.so_far()[0].header("webhook-id"));
        let error = if number == 10 { json!(null) } else { json!("endpoint answered 503; answer 2xx to acknowledge") };
        assert_eq!((&attempt["error"], &attempt["connection"]["tls"]), (&error, &json!(null)));
    }
    let listed = stack.manage("GET", &format!("/v1/tenants/{tenant}/endpoints/{endpoint}/deliveries"), None).await;
    let listed = listed.json()["deliveries"].as_array().unwrap().clone();
    assert_eq!(listed.len(), 1, "the items beside the record are not in the list");
    assert_eq!((&listed[0]["attempts"], &listed[0]["status"]), (&json!(10), &json!("delivered")));
    assert_eq!(listed[0]["firstAttemptAt"], attempts[0]["at"]);
}

#[tokio::test]
async fn silence_is_a_failure_once_the_time_is_up() {
    let stack = LocalStack::from_env().await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap(); // Connections wait in its backlog.
    let (tenant, id) = (tenant(), event_id());
    let mut endpoint = Endpoint::new(format!("http://{}/hook", silent.local_addr().unwrap()));
    endpoint.timeout_seconds = 1.try_into().unwrap();
    endpoint.retry = RetryPolicy::fixed(0, 5).unwrap();
    let endpoint = stack.register(&tenant, &endpoint).await;

    stack.send_events([event(&tenant, &id, &json!({})).to_string()]).await;

    stack.wait_for_message("DEAD_LETTER_QUEUE_URL", |body| body.contains(&id)).await;
    let attempts = stack.attempts(&tenant, &id, &endpoint).await;
    assert_eq!(attempts.len(), 1);
    let text = attempts[0].error.as_deref();
    assert_eq!(text, Some("endpoint did not answer within 1 s; acknowledge first and work later"));
    assert!((1_000..3_000).contains(&attempts[0].duration_ms), "{}", attempts[0].duration_ms);
}

#[tokio::test]
async fn a_delivery_whose_endpoint_is_gone_is_kept_with_the_reason() {
    let stack = LocalStack::from_env().await;
    let receiver = Receiver::start(|_| 500).await;
    let (tenant, id) = (tenant(), event_id());
    let mut settings = Endpoint::new(&receiver.url);
    settings.retry = RetryPolicy::fixed(100, 1).unwrap();
    let endpoint = stack.register(&tenant, &settings).await;

    stack.send_events([event(&tenant, &id, &json!({})).to_string()]).await;
    receiver.wait_for(1).await;
    stack.remove(&tenant, &endpoint).await;

    let message = stack.wait_for_message("DEAD_LETTER_QUEUE_URL", |body| body.contains(&id)).await;
    assert_eq!(attribute(&message, "reason"), "endpoint-gone");
}

#[tokio::test]
async fn an_unreadable_endpoint_holds_nobody_up_and_gets_what_it_missed_once_it_is_repaired() {
    let stack = LocalStack::from_env().await;
    let (neighbour, repaired) = (Receiver::start(|_| 200).await, Receiver::start(|_| 200).await);
    let (tenant, id) = (tenant(), event_id());
    stack.register(&tenant, &Endpoint::new(&neighbour.url)).await;
    let unreadable = stack.register_unreadable(&tenant).await;

    stack.send_events([event(&tenant, &id, &json!({})).to_string()]).await;
    assert_eq!(neighbour.wait_for(1).await[0].event_id(), id);
    stack.repair(&tenant, &unreadable, Endpoint::new(&repaired.url)).await;

    assert_eq!(repaired.wait_for(1).await[0].event_id(), id);
    assert_eq!(repaired.so_far()[0].header("signpost-attempt"), "1", "our fault was not charged as an attempt");
}
