//! Events that enter through HTTP and SQS, and leave as webhooks that other libraries verify.

use serde_json::{Value, json};
use signpost_core::endpoint::Endpoint;
use signpost_core::event::MAX_EVENT_BYTES;
use signpost_testkit::build::{event, event_id, tenant};
use signpost_testkit::local_stack::LocalStack;
use signpost_testkit::receiver::{Received, Receiver};
use signpost_testkit::verify::{independently, read_with_sdks};

#[tokio::test]
async fn events_come_in_through_both_doors_and_arrive_signed() {
    let stack = LocalStack::from_env().await;
    let receiver = Receiver::start(|_| 204).await;
    let tenant = tenant();
    stack.register(&tenant, &Endpoint::new(&receiver.url)).await;
    let data = json!({"type": "OPERATION", "operationId": "1", "name": "John  Smith\u{a0}\n", "amount": 10.5});

    let [single, first, second, queued] = [(); 4].map(|()| event_id());
    let pretty = serde_json::to_string_pretty(&event(&tenant, &single, &data)).unwrap();
    let answer = stack.post_events("application/cloudevents+json", pretty).await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.json(), json!({"accepted": [single]}));
    let batch = json!([event(&tenant, &first, &data), event(&tenant, &second, &data)]);
    let answer = stack.post_events("application/cloudevents-batch+json", batch.to_string()).await;
    assert_eq!(answer.json(), json!({"accepted": [first, second]}));
    stack.send_events([event(&tenant, &queued, &data).to_string()]).await;

    let requests = receiver.wait_for(4).await;
    let mut ids: Vec<_> = requests.iter().map(Received::event_id).collect();
    let mut sent = [&*single, &*first, &*second, &*queued];
    ids.sort_unstable();
    sent.sort_unstable();
    assert_eq!(ids, sent);
    for request in &requests {
        assert_eq!(request.method, "POST");
        assert_eq!(request.uri, "/hook");
        assert_eq!(request.header("content-type"), "application/json");
        assert_eq!(request.header("user-agent"), concat!("Signpost/", env!("CARGO_PKG_VERSION")));
        assert_eq!(request.header("signpost-attempt"), "1");
        assert!(request.header("webhook-timestamp").parse::<u64>().unwrap() > 1_767_225_600, "Unix time in seconds");
        let body = std::str::from_utf8(&request.body).unwrap();
        assert!(!body.contains(char::is_whitespace), "{body}");
        assert_eq!(serde_json::from_str::<Value>(body).unwrap(), data);
    }
    for report in independently(&stack.keys_url(&tenant), &requests).await {
        assert_eq!(report.error, None);
        assert!(report.verified.len() >= 2, "{report:?}");
    }
}

#[tokio::test]
async fn a_large_event_reaches_more_endpoints_than_one_call_to_the_queue_could_carry() {
    let stack = LocalStack::from_env().await;
    let receiver = Receiver::start(|_| 204).await;
    let tenant = tenant();
    for _ in 0..11 {
        stack.register(&tenant, &Endpoint::new(&receiver.url)).await;
    }
    let data = json!({"pad": "x".repeat(250 * 1024)}); // Four of these are 1 MiB, the maximum of one call.
    let body = event(&tenant, &event_id(), &data).to_string();

    assert_eq!(stack.post_events("application/json", body).await.status, 202);

    for request in receiver.wait_for(11).await {
        assert_eq!(request.body.len(), data.to_string().len());
    }
}

/// Text that hardly shrinks does not fit into one item of DynamoDB, so the table has it in parts.
#[tokio::test]
async fn the_largest_event_comes_in_through_both_doors_and_is_shown_and_replayed_whole() {
    let stack = LocalStack::from_env().await;
    let receiver = Receiver::start(|_| 204).await;
    let tenant = tenant();
    let endpoint = stack.register(&tenant, &Endpoint::new(&receiver.url)).await;
    let of_size = |bytes: usize| {
        let (id, mut data) = (event_id(), json!({"pad": ""}));
        let room = bytes - event(&tenant, &id, &data).to_string().len();
        data["pad"] = std::iter::repeat_with(fastrand::alphanumeric).take(room).collect::<String>().into();
        (id.clone(), event(&tenant, &id, &data).to_string(), data)
    };
    let (by_http, by_queue) = (of_size(MAX_EVENT_BYTES), of_size(MAX_EVENT_BYTES));
    let (_, too_large, _) = of_size(MAX_EVENT_BYTES + 1);

    assert_eq!(stack.post_events("application/json", by_http.1).await.status, 202);
    stack.send_events([by_queue.1]).await;
    let refused = stack.post_events("application/json", too_large).await;

    assert_eq!(refused.status, 413);
    assert!(refused.text.contains("at most 1044480 bytes"), "{}", refused.text);
    receiver.wait_for(2).await;
    for (id, data) in [(by_http.0, by_http.2), (by_queue.0, by_queue.2)] {
        stack.wait_for_attempts(&tenant, &id, &endpoint, 1).await;
        let path = format!("/v1/tenants/{tenant}/events/{id}");
        let shown = stack.manage("GET", &path, None).await;
        assert_eq!(shown.json()["event"]["data"], data);
        let before = receiver.so_far().len();
        assert_eq!(stack.manage("POST", &format!("{path}/replay"), None).await.status, 202);
        for request in receiver.wait_for(before + 1).await.iter().filter(|request| request.event_id() == id) {
            assert!(request.body == data.to_string().as_bytes(), "{} bytes of {id}", request.body.len());
        }
    }
}

#[tokio::test]
async fn the_official_sdks_read_the_event_in_what_arrives() {
    let (stack, tenant, receiver) = (LocalStack::from_env().await, tenant(), Receiver::start(|_| 204).await);
    for mode in ["headers", "structured"] {
        stack.register_with(&tenant, &json!({"url": receiver.url, "cloudEvents": mode})).await;
    }
    let data = json!({"name": "K\u{e4}se  50 %", "amount": 10.5, "ids": [1, null, true]});
    let mut event = event(&tenant, &event_id(), &data);
    // The binding of HTTP encodes spaces, quotes, percent signs and what is not ASCII (CloudEvents HTTP 1.0.2, 3.1.3.2).
    event["subject"] = json!("K\u{e4}se \"50 %\" \u{1f9c0}");
    event["source"] = json!("/shop?of=Br%C3%A4u%20haus");
    event["time"] = json!("2026-11-29T10:00:00.123Z");
    stack.send_events([event.to_string()]).await;

    let requests = receiver.wait_for(2).await;

    for read in read_with_sdks(&requests) {
        for found in read {
            for name in ["id", "source", "type", "subject", "data"] {
                assert_eq!(found[name], event[name], "{name} of {found}");
            }
            // Python prints a time with a space and six digits.
            let time = found["time"].as_str().unwrap().replace(' ', "T").replace("000+00:00", "Z");
            assert_eq!(time, "2026-11-29T10:00:00.123Z");
        }
    }
}
