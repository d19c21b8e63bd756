//! Operators see events and replay them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use signpost_core::delivery::answer::{AnswerRecord, answer_print};
use signpost_core::delivery::attempt::Attempt;
use signpost_core::delivery::sent::{Connection, Sent, SentRecord};
use signpost_core::delivery::{DeadLetterReason, DeliveryKey, DeliveryStatus, Progress, ReplayKind};
use signpost_core::endpoint::EndpointId;
use signpost_core::event::{EventId, EventKey};
use signpost_core::quota::Quota;
use signpost_engine::ports::deliveries::{Deliveries as _, Recorded};
use signpost_io::runtime::clock::unix_now;
use signpost_io::tables::deliveries::Deliveries;
use signpost_io::tables::quotas::Quotas;
use signpost_testkit::aws_proxy::AwsProxy;
use signpost_testkit::build::{ARRIVED, attempt, event, event_id, tenant};
use signpost_testkit::local_stack::{LocalStack, endpoint_path, setting};
use signpost_testkit::receiver::Receiver;

#[tokio::test]
async fn an_exhausted_delivery_is_replayed_under_its_id_and_retried_like_any_other() {
    let (stack, tenant, id) = (LocalStack::from_env().await, tenant(), event_id());
    let broken = Arc::new(AtomicBool::new(true));
    let is_broken = Arc::clone(&broken);
    let repaired = move |index| if is_broken.load(Ordering::Relaxed) || index == 1 { 500 } else { 204 };
    let (receiver, neighbour) = (Receiver::start(repaired).await, Receiver::start(|_| 204).await);
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
    let dry_run = json!({"endpoint": endpoint.as_str(), "dryRun": true});
    let listed = stack.manage("POST", &format!("{path}/replay"), Some(&dry_run)).await;
    assert_eq!((listed.status, listed.json()), (200, json!({"endpoints": [endpoint.as_str()]})));
    assert_eq!(receiver.so_far().len(), 1, "a dry run sends nothing");
    let replayed = stack.manage("POST", &format!("{path}/replay"), Some(&only)).await;
    assert_eq!((replayed.status, replayed.json()), (202, json!({"endpoints": [endpoint.as_str()]})));

    // The second request fails. The retry uses the old policy, cached for ten seconds, or the new policy: in both cases
    // a replay starts with all retries.
    let requests = receiver.wait_for(2).await;
    assert_eq!(requests[1].event_id(), id, "the id stays the same");
    assert_eq!(requests[1].header("signpost-attempt"), "2", "the count of attempts continues");
    assert_eq!(neighbour.so_far().len(), 1, "the other endpoint gets nothing");

    let all = stack.manage("POST", &format!("{path}/replay"), None).await.json();
    assert_eq!(all["endpoints"].as_array().unwrap().len(), 2, "{all}");
    neighbour.wait_for(2).await;
    receiver.wait_for(3).await;
    stack.wait_for_status(&tenant, &id, &endpoint, 204).await;
    let seen = stack.manage("GET", &path, None).await.json();
    assert!(seen["deliveries"].as_array().unwrap().iter().all(|one| one["status"] == "delivered"), "{seen}");
}

#[tokio::test]
async fn deliveries_given_up_since_a_moment_are_recovered() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let broken = Arc::new(AtomicBool::new(true));
    let is_broken = Arc::clone(&broken);
    let receiver = Receiver::start(move |_| if is_broken.load(Ordering::Relaxed) { 500 } else { 204 }).await;
    let endpoint = stack.register_with(&tenant, &json!({"url": receiver.url, "retry": {"schedule": []}})).await.id;
    let path = format!("{}/recover", endpoint_path(&tenant, &endpoint));
    let recover = async |since: &str| stack.manage("POST", &path, Some(&json!({"since": since}))).await;
    let ids = [(); 3].map(|()| event_id());
    stack.send_events(ids.iter().map(|id| event(&tenant, id, &json!({})).to_string())).await;
    for id in &ids {
        stack.wait_for_message("DEAD_LETTER_QUEUE_URL", |body| body.contains(id)).await;
    }
    broken.store(false, Ordering::Relaxed);

    assert_eq!(recover("2100-01-01T00:00:00Z").await.json(), json!({"recovered": 0, "more": false}), "none since then");
    let recovered = recover("2026-01-01T00:00:00Z").await;
    assert_eq!((recovered.status, recovered.json()), (202, json!({"recovered": 3, "more": false})));

    let requests = receiver.wait_for(6).await;
    let mut again: Vec<_> = requests[3..].iter().map(|request| request.event_id().to_owned()).collect();
    again.sort_unstable();
    let mut expected = ids.to_vec();
    expected.sort_unstable();
    assert_eq!(again, expected);
    assert_eq!(recover("2026-01-01T00:00:00Z").await.json(), json!({"recovered": 0, "more": false}), "each once");
    let refused = stack.manage("POST", &path, Some(&json!({"since": "yesterday"}))).await;
    assert_eq!(refused.status, 400);
}

/// A delivery can fail again while the request that recovers it still runs.
#[tokio::test]
async fn recovering_tries_each_delivery_once_though_it_fails_again_at_once() {
    let (stack, tenant, receiver) = (LocalStack::from_env().await, tenant(), Receiver::start(|_| 500).await);
    let endpoint = stack.register_with(&tenant, &json!({"url": receiver.url, "retry": {"schedule": []}})).await.id;
    let ids = [(); 3].map(|()| event_id());
    stack.send_events(ids.iter().map(|id| event(&tenant, id, &json!({})).to_string())).await;
    for id in &ids {
        stack.wait_for_message("DEAD_LETTER_QUEUE_URL", |body| body.contains(id)).await;
    }

    let path = format!("{}/recover", endpoint_path(&tenant, &endpoint));
    let recovered = stack.manage("POST", &path, Some(&json!({"since": "2026-01-01T00:00:00Z"}))).await;

    assert_eq!(recovered.json(), json!({"recovered": 3, "more": false}));
    for id in &ids {
        stack.wait_for_message("DEAD_LETTER_QUEUE_URL", |body| body.contains(id)).await;
        assert_eq!(stack.attempts(&tenant, id, &endpoint).await.len(), 2, "the first attempt and one more");
    }
    assert_eq!(receiver.so_far().len(), 6);
}

#[tokio::test]
async fn an_event_without_recipients_can_be_seen_and_replayed_to_new_endpoints() {
    let (stack, tenant, id) = (LocalStack::from_env().await, tenant(), event_id());
    let data = json!({"note": "long enough to be compressed in the table; ".repeat(5_000)});
    stack.send_events([event(&tenant, &id, &data).to_string()]).await;
    assert_eq!(stack.wait_for_event(&tenant, &id, "/core").await, [""; 0]);
    let path = format!("/v1/tenants/{tenant}/events/{id}");
    let seen = stack.manage("GET", &path, None).await.json();
    assert_eq!((&seen["event"]["data"], &seen["deliveries"]), (&data, &json!([])));
    let receiver = Receiver::start(|_| 204).await;
    let mut endpoints = Vec::new();

    for count in 1..=2 {
        endpoints.push(stack.register_with(&tenant, &json!({"url": receiver.url})).await.id);
        let only = json!({"endpoint": endpoints[count - 1].as_str()});
        assert_eq!(stack.manage("POST", &format!("{path}/replay"), Some(&only)).await.status, 202);

        let requests = receiver.wait_for(count).await;
        assert_eq!(requests[count - 1].event_id(), id);
        let sent: serde_json::Value = serde_json::from_slice(&requests[count - 1].body).unwrap();
        assert_eq!(sent, data);
        stack.wait_for_attempts(&tenant, &id, &endpoints[count - 1], 1).await;
        let seen = stack.manage("GET", &path, None).await.json();
        let mut reached: Vec<_> = seen["deliveries"].as_array().unwrap().iter().collect();
        assert!(reached.iter().all(|one| one["status"] == "delivered"), "{reached:?}");
        reached.sort_by_key(|one| endpoints.iter().position(|endpoint| one["endpoint"] == endpoint.as_str()));
        assert_eq!(reached.len(), count, "the endpoints of replays are listed too: {reached:?}");
    }
}

#[tokio::test]
async fn an_unknown_event_is_not_found_and_an_ambiguous_id_is_a_conflict() {
    let (stack, tenant, id) = (LocalStack::from_env().await, tenant(), event_id());
    let path = format!("/v1/tenants/{tenant}/events/{id}");
    assert_eq!(stack.manage("GET", &path, None).await.status, 404);
    assert_eq!(stack.manage("POST", &format!("{path}/replay"), None).await.status, 404);
    assert_eq!(stack.manage("GET", &format!("/v1/tenants/{tenant}/events/no%23hashes"), None).await.status, 404);

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

/// Two senders with copies of one message record their attempts in either order.
#[tokio::test]
async fn an_acknowledgement_never_loses_and_a_replay_is_never_judged_by_what_was_before() {
    let stack = LocalStack::from_env().await;
    let table = Deliveries::new(
        aws_sdk_dynamodb::Client::new(&stack.aws),
        setting("EVENTS_TABLE"),
        std::time::Duration::from_hours(1),
    );
    let endpoint = EndpointId::new(uuid::Uuid::new_v4());
    let attempt = |number, status| attempt(number, Some(status));
    let progress = |status, attempts, before_replay| Progress {
        status,
        attempts,
        before_replay,
        next_attempt_unix_ms: 1,
        replay: None,
        last_sent: None,
        last_answer: None,
    };
    let (pending, delivered) = (DeliveryStatus::Pending, DeliveryStatus::Delivered);
    let event = || EventKey { tenant: tenant(), source: "/core".into(), id: EventId::parse(&event_id()).unwrap() };

    let event_key = event();
    let key = DeliveryKey { event: &event_key, endpoint: &endpoint, arrived_unix_ms: ARRIVED, retention_days: None };
    let due = |number| (number > 1).then_some(1); // As `progress` records it.
    for number in 1..=3 {
        let failed = table.record(key, &attempt(number, 500), due(number), progress(pending, number, 0)).await.unwrap();
        assert_eq!(failed, Recorded::Yes, "{number}");
    }
    let again = table.record(key, &attempt(3, 500), due(3), progress(pending, 3, 0)).await.unwrap();
    assert_eq!(again, Recorded::Overtaken, "the same attempt is not counted twice");
    let slow = table.record(key, &attempt(2, 204), due(2), progress(delivered, 2, 0)).await.unwrap();
    assert_eq!(slow, Recorded::Yes, "a late acknowledgement counts");
    let on_record = table.standing(key).await.unwrap().unwrap().progress.unwrap();
    assert_eq!((on_record.status, on_record.attempts), (delivered, 3), "the count stays");
    let failed = table.record(key, &attempt(4, 500), due(4), progress(pending, 4, 0)).await.unwrap();
    assert_eq!(failed, Recorded::Overtaken, "no failure is recorded after an acknowledgement");

    let event_key = event();
    let key = DeliveryKey { event: &event_key, endpoint: &endpoint, arrived_unix_ms: ARRIVED, retention_days: None };
    for number in 1..=2 {
        table.record(key, &attempt(number, 500), due(number), progress(pending, number, 0)).await.unwrap();
    }
    table.reset_for_replay(key, ReplayKind::Replay).await.unwrap();
    let begun = table.standing(key).await.unwrap().unwrap().progress.unwrap();
    assert_eq!(begun.before_replay, 2);
    let exhausted = progress(DeliveryStatus::Exhausted, 3, 0);
    let stale = table.record(key, &attempt(3, 500), due(3), exhausted).await.unwrap();
    assert_eq!(stale, Recorded::Overtaken, "this attempt was judged by the retries before the replay");
    let next_attempt = Some(begun.next_attempt_unix_ms);
    let first = table.record(key, &attempt(3, 500), next_attempt, progress(pending, 3, 2)).await.unwrap();
    assert_eq!(first, Recorded::Yes);

    // A replay during the first attempt, and a replay of a delivery that was given up without an attempt.
    for was_given_up in [false, true] {
        let event_key = event();
        let key =
            DeliveryKey { event: &event_key, endpoint: &endpoint, arrived_unix_ms: ARRIVED, retention_days: None };
        if was_given_up {
            table.end(key, DeadLetterReason::EndpointGone).await.unwrap();
        }
        table.reset_for_replay(key, ReplayKind::Replay).await.unwrap();
        let exhausted = progress(DeliveryStatus::Exhausted, 1, 0);
        let stale = table.record(key, &attempt(1, 500), None, exhausted).await.unwrap();
        assert_eq!(stale, Recorded::Overtaken, "the replay is not lost");
        let begun = table.standing(key).await.unwrap().unwrap().progress.unwrap();
        assert_eq!((begun.status, begun.attempts), (pending, 0));
        let next_attempt = Some(begun.next_attempt_unix_ms);
        let first = table.record(key, &attempt(1, 500), next_attempt, progress(pending, 1, 0)).await.unwrap();
        assert_eq!(first, Recorded::Yes);
    }
}

/// Records ten times as many attempts as a retry policy allows, each of the largest size.
#[tokio::test]
async fn a_delivery_with_very_many_attempts_is_still_recorded() {
    let stack = LocalStack::from_env().await;
    let table = Deliveries::new(
        aws_sdk_dynamodb::Client::new(&stack.aws),
        setting("EVENTS_TABLE"),
        std::time::Duration::from_hours(1),
    );
    let (endpoint, id) = (EndpointId::new(uuid::Uuid::new_v4()), EventId::parse(&event_id()).unwrap());
    let event_key = EventKey { tenant: tenant(), source: "/core".into(), id };
    let key = DeliveryKey { event: &event_key, endpoint: &endpoint, arrived_unix_ms: ARRIVED, retention_days: None };
    for number in 1..=1_000 {
        let on_record = (number > 1).then_some(1);
        let status = if number == 1_000 { DeliveryStatus::Delivered } else { DeliveryStatus::Pending };
        let recorded =
            table.record(key, &longest_attempt(number), on_record, progress_at(number, status)).await.unwrap();
        assert_eq!(recorded, Recorded::Yes, "{number}");
    }
    let attempts = table.attempts(key).await.unwrap();
    let numbers: Vec<_> = attempts.iter().map(|attempt| attempt.number).collect();
    assert_eq!(numbers, (1..=7).chain(920..=1_000).collect::<Vec<_>>(), "the first few and the last");
    assert!(attempts.iter().all(|attempt| *attempt == longest_attempt(attempt.number)), "each attempt is complete");
}

/// More than the 6 MB that Lambda allows: endpoints with as many failed attempts as possible.
#[tokio::test]
async fn an_event_that_failed_at_many_endpoints_is_read_page_by_page() {
    const ENDPOINTS: usize = 24;
    let (stack, tenant, id) = (LocalStack::from_env().await, tenant(), event_id());
    let text = event(&tenant, &id, &json!({"quotes": "\"".repeat(60_000)})).to_string();
    let event = signpost_core::event::Event::parse(&text).unwrap();
    let mut ids: Vec<_> = (0..ENDPOINTS).map(|_| EndpointId::new(uuid::Uuid::new_v4())).collect();
    ids.sort_unstable();
    stack.store(&event, &ids[0]).await;
    let (client, kept) = (aws_sdk_dynamodb::Client::new(&stack.aws), std::time::Duration::from_hours(1));
    let events = signpost_io::tables::events::Events::new(client.clone(), setting("EVENTS_TABLE"), kept);
    assert!(events.add_endpoints(&event.key, ids[1..].iter().map(EndpointId::to_string).collect()).await.unwrap());
    let table = Deliveries::new(client, setting("EVENTS_TABLE"), kept);
    let fail = ids[..ENDPOINTS - 1].iter().map(async |endpoint| {
        let key = DeliveryKey { event: &event.key, endpoint, arrived_unix_ms: ARRIVED, retention_days: None };
        for number in 1..=75 {
            let on_record = (number > 1).then_some(1);
            let progress = progress_at(number, DeliveryStatus::Pending);
            table.record(key, &longest_attempt(number), on_record, progress).await.unwrap();
        }
    });
    futures_util::future::join_all(fail).await;

    let path = format!("/v1/tenants/{tenant}/events/{id}");
    let (mut seen, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let answer = stack.manage("GET", &format!("{path}{cursor}"), None).await;
        assert_eq!(answer.status, 200);
        assert!(serde_json::to_string(&answer.text).unwrap().len() <= 5_000_100, "the size that Lambda sees");
        let page = answer.json();
        assert_eq!(page["event"]["id"], *id);
        let deliveries = page["deliveries"].as_array().unwrap();
        seen.extend(deliveries.iter().map(|one| (one["endpoint"].clone(), one["attempts"].as_array().unwrap().len())));
        pages += 1;
        match page["cursor"].as_str() {
            Some(last) => cursor = format!("?cursor={last}"),
            None => break,
        }
    }
    let all =
        ids.iter().enumerate().map(|(index, id)| (json!(id.as_str()), if index == ENDPOINTS - 1 { 0 } else { 75 }));
    assert_eq!(seen, all.collect::<Vec<_>>(), "each endpoint once, including those without an attempt");
    assert!(pages > 1, "the event does not fit into one answer");

    let few = stack.manage("GET", &format!("{path}?limit=2"), None).await.json();
    assert_eq!((few["deliveries"].as_array().unwrap().len(), &few["cursor"]), (2, &json!(ids[1].as_str())));
    for (query, pointer) in [("limit=0", "?limit"), ("limit=101", "?limit"), ("cursor=ep_7", "?cursor")] {
        let refused = stack.manage("GET", &format!("{path}?{query}"), None).await;
        assert_eq!((refused.status, &refused.json()["errors"][0]["pointer"]), (400, &json!(pointer)));
    }
}

/// A full record. The local stack does not have this limit, so the proxy refuses the write.
#[tokio::test]
async fn an_acknowledgement_is_recorded_where_there_is_no_room_for_the_attempt() {
    let (_, proxy) = (LocalStack::from_env().await, AwsProxy::start().await);
    let client = aws_sdk_dynamodb::Client::new(&proxy.aws().await);
    let table = Deliveries::new(client, setting("EVENTS_TABLE"), std::time::Duration::from_hours(1));
    let (endpoint, id) = (EndpointId::new(uuid::Uuid::new_v4()), EventId::parse(&event_id()).unwrap());
    let event_key = EventKey { tenant: tenant(), source: "/core".into(), id };
    let key = DeliveryKey { event: &event_key, endpoint: &endpoint, arrived_unix_ms: ARRIVED, retention_days: None };
    let failed = progress_at(1, DeliveryStatus::Pending);
    assert_eq!(table.record(key, &longest_attempt(1), None, failed).await.unwrap(), Recorded::Yes);

    proxy.refuse_over("UpdateItem", 1_400);
    let acknowledged = progress_at(2, DeliveryStatus::Delivered);
    assert_eq!(table.record(key, &longest_attempt(2), Some(1), acknowledged).await.unwrap(), Recorded::Yes);

    let progress = table.standing(key).await.unwrap().unwrap().progress.unwrap();
    assert_eq!((progress.status, progress.attempts), (DeliveryStatus::Delivered, 2));
    assert_eq!(table.attempts(key).await.unwrap().len(), 1, "the second attempt is not stored");
}

fn progress_at(attempts: u32, status: DeliveryStatus) -> Progress {
    let last_answer = Some(answer_print(&"x".repeat(1_024)));
    Progress { status, attempts, before_replay: 0, next_attempt_unix_ms: 1, replay: None, last_sent: None, last_answer }
}

fn longest_attempt(number: u32) -> Attempt {
    Attempt {
        at_unix_ms: u64::MAX,
        duration_ms: 30_000,
        kids: vec!["070725bf-7dac-4712-b61a-420ba3701263".into(); 2],
        cause: Some("response-truncated".into()),
        error: Some("x".repeat(300)),
        response: Some("x".repeat(1_024)),
        answer: if number == 1 { AnswerRecord::New } else { AnswerRecord::Known },
        sent: SentRecord::This(Sent {
            method: "DELETE".into(),
            url: "x".repeat(512),
            names: "x".repeat(1_024),
            values: vec![("x".repeat(100), "v".repeat(900))],
            body_sha256: [7; 32],
            body_bytes: u64::MAX,
        }),
        connection: Some(Connection {
            address: "[2001:db8:1234:5678:9abc:def0:1234:5678]:65535".parse().unwrap(),
            tls: Some("1.3".into()),
        }),
        redirect: Some("x".repeat(200)),
        ..attempt(number, Some(500))
    }
}

#[tokio::test]
async fn a_tenant_that_replays_or_recovers_too_often_is_told_when_to_come_again() {
    let (stack, busy, other) = (LocalStack::from_env().await, tenant(), tenant());
    let receiver = Receiver::start(|_| 204).await;
    let mut paths = Vec::new();
    for tenant in [&busy, &other] {
        let (endpoint, id) = (stack.register_with(tenant, &json!({"url": receiver.url})).await.id, event_id());
        stack.send_events([event(tenant, &id, &json!({})).to_string()]).await;
        stack.wait_for_attempts(tenant, &id, &endpoint, 1).await;
        paths.push([
            (format!("/v1/tenants/{tenant}/events/{id}/replay"), None),
            (format!("{}/recover", endpoint_path(tenant, &endpoint)), Some(json!({"since": "2026-01-01T00:00:00Z"}))),
        ]);
    }
    let quotas = Quotas::new(stack.dynamodb(), setting("PARKING_TABLE"));
    let now = unix_now().as_secs();
    for quota in Quota::ALL {
        for minute in [now, now + 60, now + 120] {
            let mut counted = 0;
            while quotas.count(&busy, quota, minute).await.unwrap() {
                counted += 1;
            }
            assert_eq!(counted, quota.per_minute(), "{quota:?}");
        }
    }

    for (path, body) in &paths[0] {
        let refused = stack.manage("POST", path, body.as_ref()).await;
        assert_eq!(refused.status, 429, "{path}: {refused:?}");
        assert_eq!(refused.header("content-type"), "application/problem+json");
        let wait: u64 = refused.header("retry-after").parse().unwrap();
        assert!((1..=60).contains(&wait), "{refused:?}");
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("which is its quota; wait"), "{detail}");
    }
    for (path, body) in &paths[1] {
        assert_eq!(stack.manage("POST", path, body.as_ref()).await.status, 202, "{path}: another tenant's");
    }
}
