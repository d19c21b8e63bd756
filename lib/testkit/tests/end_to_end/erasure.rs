//! Operators erase events, subjects and tenants: no payload is left in a table, and nothing more is sent.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::json;
use signpost_core::delivery::Delivery;
use signpost_core::delivery::parking::Lane;
use signpost_core::endpoint::EndpointId;
use signpost_core::event::Event;
use signpost_engine::ports::events::Events as _;
use signpost_engine::ports::parking::Parking as _;
use signpost_io::runtime::clock::unix_ms_now;
use signpost_io::tables::events::Events;
use signpost_testkit::bank::Bank;
use signpost_testkit::build::{ARRIVED, event, event_id, tenant};
use signpost_testkit::event_source::EventSource;
use signpost_testkit::local_stack::{LocalStack, setting, until};
use signpost_testkit::receiver::Receiver;
use uuid::Uuid;

use crate::own::{Own, is_done, on_the_fast_track, presented};

/// Every table of the stack.
const TABLES: [&str; 8] = [
    "AUDIT_TABLE",
    "ENDPOINTS_TABLE",
    "ENDPOINT_KEYS_TABLE",
    "EVENTS_TABLE",
    "KEYS_TABLE",
    "PARKING_TABLE",
    "PORTAL_TABLE",
    "TOKEN_REQUESTS_TABLE",
];

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

/// Returns the items of all tables that have one of these texts in them, keys included: the table, and the item.
async fn items_with(stack: &LocalStack, texts: &[&str]) -> Vec<(&'static str, HashMap<String, AttributeValue>)> {
    let mut found = Vec::new();
    for table in TABLES {
        let mut items =
            stack.dynamodb().scan().table_name(setting(table)).consistent_read(true).into_paginator().items().send();
        while let Some(item) = items.try_next().await.unwrap() {
            if item.values().any(|value| texts.iter().any(|text| has(value, text))) {
                found.push((table, item));
            }
        }
    }
    found
}

/// Returns the messages of one of the stack's queues that have a text in them. They stay in the queue.
async fn messages_with(stack: &LocalStack, queue: &str, text: &str) -> BTreeSet<String> {
    messages_at(stack, &setting(queue), text).await
}

async fn messages_at(stack: &LocalStack, url: &str, text: &str) -> BTreeSet<String> {
    let (sqs, mut found) = (aws_sdk_sqs::Client::new(&stack.aws), BTreeSet::new());
    for _ in 0..30 {
        let call = sqs.receive_message().queue_url(url).max_number_of_messages(10).visibility_timeout(0);
        let messages = call.message_attribute_names("All").send().await.unwrap().messages.unwrap_or_default();
        let matching = messages.into_iter().filter(|message| format!("{message:?}").contains(text));
        found.extend(matching.filter_map(|message| message.message_id));
    }
    found
}

/// Returns the items of all tables that have a text in them, keys included, in words.
async fn found(stack: &LocalStack, marker: &str) -> Vec<String> {
    items_with(stack, &[marker]).await.into_iter().map(|(table, item)| format!("{table}: {item:?}")).collect()
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

/// Both queues of deliveries, with messages of events that are erased while they wait.
#[tokio::test]
async fn deliveries_that_wait_in_a_queue_are_skipped_after_each_kind_of_erasure() {
    let stack = LocalStack::from_env().await;
    for kind in ["event", "subject", "tenant"] {
        let (own, tenant, marker) = (Own::of(&stack).await, tenant(), marker());
        let receiver = Receiver::start(|_| 204).await;
        let endpoint = stack.register_with(&tenant, &json!({"url": receiver.url})).await.id;
        let mut event = event(&tenant, &event_id(), &json!({"name": marker}));
        event["subject"] = json!(marker);
        stack.send_events([event.to_string()]).await;
        let sent = receiver.wait_for(1).await.len();
        let history = format!("/v1/tenants/{tenant}/status/example/{marker}");
        let is_listed = async || (stack.manage("GET", &history, None).await.status == 200).then_some(());
        until("the subject has a state", is_listed).await;
        let key = Event::parse(&event.to_string()).unwrap().key;
        let events = Events::new(stack.dynamodb(), setting("EVENTS_TABLE"), Duration::ZERO);
        let stored = events.get(&key).await.unwrap().unwrap();
        let body = Delivery::message(&endpoint, &stored.event, stored.arrived_unix_ms);
        // As after an outage: messages of the same delivery wait on the slow track, and one on the fast track.
        stack.send_to(&own.deliveries, [(); 3].map(|()| body.clone())).await;
        assert_eq!(messages_at(&stack, &own.deliveries, &marker).await.len(), 3, "{kind}");

        let erased = match kind {
            "event" => {
                let id = event["id"].as_str().unwrap();
                stack.manage("DELETE", &format!("/v1/tenants/{tenant}/events/{id}"), None).await
            }
            "subject" => stack.manage("DELETE", &history, None).await,
            _ => {
                let body = json!({"tenant": tenant.as_str()});
                stack.manage("POST", &format!("/v1/tenants/{tenant}/erasures"), Some(&body)).await
            }
        };
        assert_eq!(erased.status, 202, "{kind}: {erased:?}");
        let mut fast = on_the_fast_track(presented(&endpoint, &event, 1, unix_ms_now()));
        fast.records[0].body = Some(body);
        assert!(is_done(&own.deliver(), fast).await, "{kind}");
        let deliver = own.host("deliver", &setting("AWS_ENDPOINT_URL"));
        let _source = EventSource::start(&deliver, &stack.aws, &own.deliveries);

        assert!(stack.wait_until_empty(&own.deliveries, Duration::from_mins(1)).await, "{kind}: messages are left");
        assert_eq!(receiver.so_far().len(), sent, "{kind}: nothing more is sent");
        assert_eq!(stack.take_all(&own.dead_letters).await, [], "{kind}: and nothing is kept for a redrive");
        let parking = own.parking().first_of(&Lane::Endpoint(endpoint), 1).await.unwrap();
        assert_eq!(parking, [], "{kind}: and nothing is parked");
    }
}

/// Pretends that two minutes have passed since the endpoints were removed.
async fn settle(stack: &LocalStack, tenant: &str, erasure: &str) {
    let call = stack.dynamodb().update_item().table_name(setting("PARKING_TABLE"));
    let call = call.key("pk", AttributeValue::S(format!("erasure#{tenant}")));
    let call = call.key("sk", AttributeValue::S(erasure.to_owned()));
    let call = call.update_expression("SET stoppedUnixMs = :long").condition_expression("attribute_exists(pk)");
    call.expression_attribute_values(":long", AttributeValue::N("1".into())).send().await.unwrap();
}

/// A tenant that uses everything: what belongs to it has the marker, its name, or the id of one of its endpoints.
#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one tenant that uses everything")]
async fn an_erased_tenant_leaves_in_tables_and_queues_only_what_the_page_lists() {
    let (stack, marker) = (LocalStack::from_env().await, marker());
    let (tenant, neighbour) = (tenant(), tenant());
    let path = |rest: &str| format!("/v1/tenants/{tenant}/{rest}");
    let echo = marker.clone();
    let receiver = Receiver::start_answering(move |index, _| match index {
        0 => (500, format!("{echo} is not known")),
        _ => (204, String::new()),
    })
    .await;
    let (theirs, unwell) = (Receiver::start(|_| 204).await, Receiver::start(|_| 500).await);
    stack.register_with(&neighbour, &json!({"url": theirs.url})).await;
    let retry = json!({"maxRetries": 3, "intervalSeconds": 1, "backoff": "fixed"});
    let settings = json!({
        "url": receiver.url, "retry": retry, "headers": {"x-customer": marker}, "signatures": ["standard-webhooks"],
        "types": [{"type": "example"}, {"type": "session"}, {"type": "token-request"}],
    });
    let main = stack.register_with(&tenant, &settings).await.id;
    let disabled = stack.register_with(&tenant, &json!({"url": theirs.url, "types": [{"type": "example"}]})).await.id;
    assert_eq!(stack.manage("POST", &path(&format!("endpoints/{disabled}/disable")), None).await.status, 200);
    let no_retry = json!({"maxRetries": 0, "intervalSeconds": 1, "backoff": "fixed"});
    let failing = json!({"url": unwell.url, "types": [{"type": "failing"}], "retry": no_retry});
    let failing = stack.register_with(&tenant, &failing).await.id;
    let removed = stack.register_with(&tenant, &json!({"url": theirs.url, "types": [{"type": "gone"}]})).await.id;
    let notices = json!({"url": theirs.url});
    assert_eq!(stack.manage("PUT", &path("notices"), Some(&notices)).await.status, 201);
    let event_type = json!({"schema": true, "example": {"name": marker}});
    assert_eq!(stack.manage("PUT", &path("event-types/invoice"), Some(&event_type)).await.status, 201);
    let link = stack.manage("POST", &path("portal-links"), Some(&json!({"name": marker}))).await.json();
    let code = link["url"].as_str().unwrap().split_once("/portal/#").unwrap().1;
    let opened = stack.ask("POST", "/portal/session", &[], Some(json!({ "code": code }).to_string())).await;
    assert_eq!(opened.status, 201, "{opened:?}");

    let send = async |kind: &str, data: serde_json::Value| {
        let mut event = event(&tenant, &event_id(), &data);
        (event["type"], event["subject"]) = (json!(kind), json!(marker));
        stack.send_events([event.to_string()]).await;
        event["id"].as_str().unwrap().to_owned()
    };
    // So large that the event has parts, and hardly packed.
    let pad: String = std::iter::repeat_with(fastrand::alphanumeric).take(600_000).collect();
    let large = send("example", json!({"name": marker, "pad": pad})).await;
    send("session", json!({"sessionId": marker, "stage": "Accounts", "status": "InProgress"})).await;
    send("unwanted", json!({"name": marker})).await;
    let given_up = send("failing", json!({"name": marker})).await;
    let gone = send("gone", json!({"name": marker})).await;
    let registration = json!({"redirectUrl": format!("https://tpp.example/{marker}")});
    let url = stack.register_token_request(&tenant, &registration).await;
    let answered = Bank::default().get(&url, &format!("error=14&message={marker}&trace-id=1")).await;
    assert_eq!(answered.status, 303, "{answered:?}");
    stack.register_token_request(&tenant, &registration).await; // One that no bank answers.
    receiver.wait_for(4).await; // The first is repeated.
    stack.wait_for_parked(&disabled, 1).await;
    for (id, status) in [(&large, "delivered"), (&given_up, "exhausted"), (&gone, "delivered")] {
        let is_recorded = async || {
            let seen = stack.manage("GET", &path(&format!("events/{id}")), None).await.json();
            seen["deliveries"].as_array()?.iter().any(|one| one["status"] == status).then_some(())
        };
        until("the delivery is on record", is_recorded).await;
    }
    assert_eq!(stack.manage("DELETE", &path(&format!("endpoints/{removed}")), None).await.status, 204);
    let replay = json!({"since": "2026-01-31T10:00:00Z", "endpoints": [disabled.as_str()]});
    assert_eq!(stack.manage("POST", &path("replays"), Some(&replay)).await.status, 202);
    let dead = async || {
        let dead = messages_with(&stack, "DEAD_LETTER_QUEUE_URL", tenant.as_str()).await;
        (dead.len() == 1).then_some(dead)
    };
    let dead = until("the dead letter", dead).await;

    let mut texts = vec![marker.as_str(), tenant.as_str()];
    texts.extend([&main, &disabled, &failing, &removed].map(EndpointId::as_str));
    let before: BTreeMap<_, usize> =
        items_with(&stack, &texts).await.into_iter().fold(BTreeMap::new(), |mut all, one| {
            *all.entry(one.0).or_default() += 1;
            all
        });
    let used = TABLES.iter().filter(|table| before.contains_key(**table)).count();
    assert_eq!(used, TABLES.len() - 1, "all tables but that of the signing keys: {before:?}");

    let wrong = stack.manage("POST", &path("erasures"), Some(&json!({"tenant": neighbour.as_str()}))).await;
    assert_eq!((wrong.status, &wrong.json()["errors"][0]["pointer"]), (400, &json!("/tenant")), "{wrong:?}");
    let counted =
        stack.manage("POST", &path("erasures"), Some(&json!({"tenant": tenant.as_str(), "dryRun": true}))).await;
    let expected = json!({"endpoints": 4, "eventTypes": 1, "events": null, "deliveries": null});
    assert_eq!((counted.status, counted.json()), (200, expected), "{counted:?}");
    let body = json!({"tenant": tenant.as_str()});
    let begun = stack.manage("POST", &path("erasures"), Some(&body)).await;
    assert_eq!((begun.status, &begun.json()["removed"]["endpoints"]), (202, &json!(4)), "{begun:?}");
    let id = begun.json()["id"].as_str().unwrap().to_owned();
    let again = stack.manage("POST", &path("erasures"), Some(&body)).await;
    assert_eq!((again.status, &again.json()["id"]), (202, &json!(id)), "one at a time: {again:?}");

    let refused = stack.manage("POST", &path("endpoints"), Some(&json!({"url": theirs.url}))).await;
    assert_eq!(refused.status, 409, "{refused:?}");
    let late = send("example", json!({"name": marker})).await;
    let settled = receiver.so_far().len();
    settle(&stack, tenant.as_str(), &id).await;
    let end = async || {
        stack.invoke("SWEEP_FUNCTION", &json!({"source": "aws.events"})).await;
        let seen = stack.manage("GET", &path(&format!("erasures/{id}")), None).await.json();
        (seen["state"] == "done").then_some(seen)
    };
    let done = until("the erasure is done", end).await;
    let removed_counts = &done["removed"];
    assert!(removed_counts["events"].as_u64() >= Some(6) && removed_counts["deliveries"].as_u64() >= Some(5), "{done}");
    for (name, count) in [("eventTypes", 1), ("tokenRequests", 2), ("links", 1), ("replays", 1)] {
        assert_eq!(removed_counts[name], json!(count), "{name}: {done}");
    }
    let is_dropped = async || {
        let queued = messages_with(&stack, "EVENTS_QUEUE_URL", &late).await;
        queued.is_empty().then_some(())
    };
    until("the late event is dropped", is_dropped).await;

    let mut left = BTreeSet::new();
    for (table, item) in items_with(&stack, &texts).await {
        let key = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).cloned().unwrap_or_default();
        let what = match table {
            "AUDIT_TABLE" => "an entry of the audit log".to_owned(),
            "ENDPOINTS_TABLE" => {
                let names: BTreeSet<_> = item.keys().map(String::as_str).collect();
                format!("{} of {names:?}", key("endpoint"))
            }
            "ENDPOINT_KEYS_TABLE" => {
                assert!(item.contains_key("expiresAt"), "{item:?}");
                format!("{}…", &key("key")[..3])
            }
            _ => key("pk"),
        };
        left.insert((table, what));
    }
    let head = r#"{"endpoint", "endpoints", "erasedUntil", "eventTypeBytes", "eventTypes", "settingsBytes", "tenant", "version"}"#;
    let expected = BTreeSet::from([
        ("AUDIT_TABLE", "an entry of the audit log".to_owned()),
        ("ENDPOINTS_TABLE", format!("head of {head}")),
        ("ENDPOINT_KEYS_TABLE", "ep_…".to_owned()),
        ("PARKING_TABLE", format!("erasure#{tenant}")),
        ("PARKING_TABLE", format!("quota#{tenant}")),
    ]);
    // The counts of requests are removed too, but may be counted again since.
    left.insert(("PARKING_TABLE", format!("quota#{tenant}")));
    assert_eq!(left, expected);

    assert_eq!(receiver.so_far().len(), settled, "nothing more is sent");
    for queue in ["EVENTS_QUEUE_URL", "OWN_EVENTS_QUEUE_URL", "REJECTED_QUEUE_URL"] {
        assert_eq!(messages_with(&stack, queue, &marker).await, BTreeSet::new(), "{queue}");
    }
    assert_eq!(messages_with(&stack, "DEAD_LETTER_QUEUE_URL", tenant.as_str()).await, dead, "until a redrive");
    let redriven = json!({"redrive": "DeadLetterQueue", "tenant": tenant.as_str()});
    let is_removed = async || {
        stack.invoke("SWEEP_FUNCTION", &redriven).await;
        messages_with(&stack, "DEAD_LETTER_QUEUE_URL", tenant.as_str()).await.is_empty().then_some(())
    };
    until("a redrive removes the dead letter", is_removed).await;
    assert_eq!(unwell.so_far().len(), 1, "and does not send it");

    // The tenant may begin again, and its neighbour has lost nothing.
    let fresh = Receiver::start(|_| 204).await;
    stack.register_with(&tenant, &json!({"url": fresh.url})).await;
    let new = send("example", json!({})).await;
    assert_eq!(fresh.wait_for(1).await[0].event_id(), new);
    let seen = stack.manage("GET", &path(&format!("events/{late}")), None).await;
    assert_eq!(seen.status, 404, "what arrived before is dropped: {seen:?}");

    // The address of notices has the same id as before. A notice that waited for its retry all the time comes up.
    let again = json!({"url": fresh.url});
    assert_eq!(stack.manage("PUT", &path("notices"), Some(&again)).await.status, 201);
    let mut notice = event(&tenant, &event_id(), &json!({"name": marker}));
    notice["type"] = json!("signpost.endpoint-failing");
    let own = Own::of(&stack).await;
    let address = EndpointId::of_notices(tenant.as_str());
    for message in [presented(&address, &notice, 1, unix_ms_now()), presented(&address, &notice, 3, ARRIVED)] {
        assert!(is_done(&own.deliver(), message).await, "an old notice is skipped");
    }
    assert_eq!(fresh.so_far().len(), 1, "an old notice is not sent");
    let id = event_id();
    let arrived = theirs.so_far().len();
    stack.send_events([event(&neighbour, &id, &json!({})).to_string()]).await;
    assert_eq!(theirs.wait_for(arrived + 1).await.last().unwrap().event_id(), id);
}
