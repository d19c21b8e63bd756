//! Deliveries that wait in the parking table.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use signpost_core::delivery::drain::drain_shard;
use signpost_core::delivery::parking::Lane;
use signpost_core::delivery::{Delivery, DeliveryKey, Stored};
use signpost_core::endpoint::EndpointId;
use signpost_core::event::{Event, EventId, EventKey};
use signpost_engine::ports::deliveries::Deliveries as _;
use signpost_engine::ports::parking::Parking as _;
use signpost_io::runtime::clock::unix_ms_now;
use signpost_io::tables::deliveries::Deliveries;
use signpost_testkit::build::{ARRIVED, event, event_id, tenant};
use signpost_testkit::local_stack::{LocalStack, attribute, endpoint_path, setting, until};
use signpost_testkit::receiver::Receiver;
use tokio::time::Instant;
use uuid::Uuid;

use crate::own::{Own, is_done, presented, stored};

const MINUTES: u64 = 60_000;

/// Sweeps as if it were `unix_ms`, until no delivery is due by then. Returns the number of due deliveries.
async fn due_by(sweep: &sweep::App, unix_ms: u64) -> usize {
    let mut due = 0;
    loop {
        let swept = sweep.sweep_at(unix_ms).await.unwrap();
        assert!(!swept.busy);
        due += swept.due;
        if swept.minutes_behind == 0 {
            return due;
        }
    }
}

#[tokio::test]
async fn a_long_wait_is_spent_in_the_table_and_ends_when_it_is_due() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let (own, receiver) = (Own::of(&stack).await, Receiver::start(|_| 500).await);
    let settings = json!({"url": receiver.url, "retry": {"schedule": [1_000]}});
    let endpoint = stack.register_with(&tenant, &settings).await.id;
    let event = stored(&stack, &tenant, &endpoint).await;
    let (deliver, sweep, now) = (own.deliver(), own.sweep(), unix_ms_now());

    assert!(is_done(&deliver, presented(&endpoint, &event, 1, now)).await, "the queue no longer holds the message");
    assert!(
        is_done(&deliver, presented(&endpoint, &event, 1, now)).await,
        "nor a second copy, which is parked under the same key"
    );
    assert_eq!(due_by(&sweep, now + 13 * MINUTES).await, 0, "not yet");
    assert_eq!(due_by(&sweep, now + 19 * MINUTES).await, 1, "both copies are one item");

    let message = Delivery::message(&endpoint, &Event::parse(&event.to_string()).unwrap(), ARRIVED);
    stack.wait_for_message_at(&own.deliveries, |body| body == message).await;
    assert_eq!(due_by(&sweep, now + 21 * MINUTES).await, 0, "the item is deleted");
    assert_eq!(receiver.so_far().len(), 1);
}

/// The table holds the longest part of a wait, and the queue holds the end.
#[tokio::test]
async fn a_parked_wait_ends_within_seconds_of_its_moment() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let (own, receiver) = (Own::of(&stack).await, Receiver::start(|_| 500).await);
    let settings = json!({"url": receiver.url, "retry": {"schedule": [930]}});
    let endpoint = stack.register_with(&tenant, &settings).await.id;
    let event = stored(&stack, &tenant, &endpoint).await;
    assert!(is_done(&own.deliver(), presented(&endpoint, &event, 1, unix_ms_now())).await);
    let read = Event::parse(&event.to_string()).unwrap();
    let delivery =
        DeliveryKey { event: &read.key, endpoint: &endpoint, arrived_unix_ms: ARRIVED, retention_days: None };
    let kept = std::time::Duration::from_hours(1);
    let table = Deliveries::new(aws_sdk_dynamodb::Client::new(&stack.aws), setting("EVENTS_TABLE"), kept);
    let standing = table.standing(delivery).await.unwrap().unwrap();
    let due = standing.progress.unwrap().next_attempt_unix_ms;

    let sweep = own.sweep();
    assert_eq!(due_by(&sweep, due - 10 * MINUTES).await, 0, "the delivery stays in the table");
    let swept_at = Instant::now();
    assert_eq!(due_by(&sweep, due - 2_500).await, 1, "it is queued before its time, not by the first sweep after it");
    stack.wait_for_message_at(&own.deliveries, |body| body.contains(read.key.id.as_str())).await;
    let came_after = swept_at.elapsed().as_millis();
    assert!((2_400..6_000).contains(&came_after), "sent after {came_after} ms of the 2,500 that were left");
}

/// Signpost warns operators of a waiting delivery early enough for them to enable its endpoint.
#[tokio::test]
async fn operators_are_warned_before_the_event_of_a_waiting_delivery_expires() {
    const QUARTER: u64 = 30 * 24 * 60 * MINUTES / 4; // Of the retention.
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let (own, receiver) = (Own::of(&stack).await, Receiver::start(|_| 204).await);
    let endpoint = stack.register_with(&tenant, &json!({"url": receiver.url})).await.id;
    stack.manage("POST", &format!("{}/disable", endpoint_path(&tenant, &endpoint)), None).await;
    let event = stored(&stack, &tenant, &endpoint).await;
    let now = unix_ms_now();
    assert!(is_done(&own.deliver(), presented(&endpoint, &event, 1, now)).await);
    let (sweep, hour) = (own.sweep(), now - now % (60 * MINUTES));
    let warned_at = async |unix_ms| sweep.sweep_at(unix_ms).await.unwrap().expiring;

    assert_eq!(warned_at(hour + QUARTER).await, 0, "there is enough time");
    assert_eq!(warned_at(hour + QUARTER + 120 * MINUTES).await, 1);
    assert_eq!(warned_at(hour + QUARTER + 121 * MINUTES).await, 0, "once an hour");

    let parking = own.parking();
    for parked in parking.first_of(&Lane::Endpoint(endpoint.clone()), 9).await.unwrap() {
        parking.remove(&parked).await.unwrap();
    }
    let noted = async || parking.waiting(None, 9).await.unwrap().len();
    let text = |text: &str| aws_sdk_dynamodb::types::AttributeValue::S(text.to_owned());
    let (client, lane) =
        (aws_sdk_dynamodb::Client::new(&stack.aws), text(&Lane::Endpoint(endpoint.clone()).partitions()[0]));
    let unreadable =
        client.put_item().table_name(&own.parking).item("pk", lane.clone()).item("sk", text("0000000000001#"));
    unreadable.send().await.unwrap();
    assert_eq!(
        (warned_at(hour + QUARTER + 120 * MINUTES).await, noted().await),
        (0, 1),
        "an item waits that nobody can read"
    );
    let remove = client.delete_item().table_name(&own.parking).key("pk", lane).key("sk", text("0000000000001#"));
    remove.send().await.unwrap();
    assert_eq!((warned_at(hour + 60 * MINUTES).await, noted().await), (0, 1), "others may need the note");
    assert_eq!((warned_at(hour + QUARTER + 120 * MINUTES).await, noted().await), (0, 0));
}

#[tokio::test]
async fn unreadable_items_hide_nothing_behind_them() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let own = Own::of(&stack).await;
    let (parking, endpoint) = (own.parking(), EndpointId::new(Uuid::new_v4()));
    let lane = Lane::Endpoint(endpoint.clone());
    let text = |text: &str| aws_sdk_dynamodb::types::AttributeValue::S(text.to_owned());
    let client = aws_sdk_dynamodb::Client::new(&stack.aws);
    for index in 0..60 {
        let item = client.put_item().table_name(&own.parking).item("pk", text(&lane.partitions()[index % 4]));
        item.item("sk", text(&format!("0000000000001#{index:02}"))).send().await.unwrap();
    }
    let sources = ["/core", "/core two", "/core!"];
    for source in sources {
        let key = EventKey { tenant: tenant.clone(), source: source.into(), id: EventId::parse("1").unwrap() };
        let delivery = DeliveryKey { event: &key, endpoint: &endpoint, arrived_unix_ms: ARRIVED, retention_days: None };
        parking.park(lane.clone(), 2, delivery).await.unwrap();
    }
    for limit in 1..=4 {
        let found: Vec<_> =
            parking.first_of(&lane, limit).await.unwrap().into_iter().map(|one| one.event.source).collect();
        assert_eq!(found, sources[..limit.min(3)], "{limit}");
    }
}

#[tokio::test]
async fn a_parked_delivery_whose_event_is_gone_is_kept_with_the_reason() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let (own, receiver) = (Own::of(&stack).await, Receiver::start(|_| 500).await);
    let settings = json!({"url": receiver.url, "retry": {"schedule": [1_000]}});
    let endpoint = stack.register_with(&tenant, &settings).await.id;
    let event = event(&tenant, &event_id(), &json!({})); // Not in the table.

    assert!(is_done(&own.deliver(), presented(&endpoint, &event, 1, unix_ms_now())).await);
    assert_eq!(due_by(&own.sweep(), unix_ms_now() + 19 * MINUTES).await, 1);

    let message = stack.wait_for_message_at(&own.dead_letters, |body| body.contains(endpoint.as_str())).await;
    assert_eq!(attribute(&message, "reason"), "event-gone");
    assert!(message.body().unwrap().contains(event["id"].as_str().unwrap()));
    let listed = stack.manage("GET", &format!("{}/deliveries", endpoint_path(&tenant, &endpoint)), None).await.json();
    let listed = &listed["deliveries"][0];
    assert_eq!((&listed["event"], &listed["attempts"]), (&event["id"], &json!(1)), "the record outlives the event");
    assert_eq!((&listed["status"], &listed["reason"]), (&json!("exhausted"), &json!("event-gone")));
}

/// Uses the deployed functions, and the schedule that starts a sweep every minute.
#[tokio::test]
async fn deliveries_to_a_disabled_endpoint_are_parked_and_sent_after_it_is_enabled() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let receiver = Receiver::start(|_| 204).await;
    let endpoint = stack.register_with(&tenant, &json!({"url": receiver.url})).await.id;
    let switch = async |what: &str| {
        let path = format!("{}/{what}", endpoint_path(&tenant, &endpoint));
        assert_eq!(stack.manage("POST", &path, None).await.status, 200);
    };
    switch("disable").await;
    let ids = [(); 5].map(|()| event_id());
    stack.send_events(ids.iter().map(|id| event(&tenant, id, &json!({})).to_string())).await;
    stack.wait_for_parked(&endpoint, 5).await;
    assert!(receiver.so_far().is_empty());

    switch("enable").await;

    let requests = receiver.wait_for(5).await;
    let mut arrived: Vec<_> = requests.iter().map(|request| request.event_id().to_owned()).collect();
    arrived.sort_unstable();
    let mut sent = ids.to_vec();
    sent.sort_unstable();
    assert_eq!(arrived, sent, "each event arrives once");
    assert!(requests.iter().all(|request| request.header("signpost-attempt") == "1"), "no attempt was charged");
}

#[tokio::test]
async fn a_delivery_parked_again_while_it_is_queued_stays_parked() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let own = Own::of(&stack).await;
    let parking = own.parking();
    let endpoint = EndpointId::new(Uuid::new_v4());
    let key = Event::parse(&event(&tenant, &event_id(), &json!({})).to_string()).unwrap().key;
    let (delivery, lane) = (
        DeliveryKey { event: &key, endpoint: &endpoint, arrived_unix_ms: ARRIVED, retention_days: None },
        Lane::Endpoint(endpoint.clone()),
    );
    parking.park(Lane::Endpoint(delivery.endpoint.clone()), 7, delivery).await.unwrap();
    let seen = parking.first_of(&lane, 1).await.unwrap().remove(0);

    // `deliver` took the message and found the endpoint still down, so it parks the delivery under the same key.
    parking.park(Lane::Endpoint(delivery.endpoint.clone()), 7, delivery).await.unwrap();
    parking.remove(&seen).await.unwrap();

    let left = parking.first_of(&lane, 2).await.unwrap();
    assert_eq!(left.len(), 1, "who saw the old item does not delete the new one");
    parking.remove(&left[0]).await.unwrap();
    parking.remove(&left[0]).await.unwrap();
    assert_eq!(parking.first_of(&lane, 1).await.unwrap(), []);
}

#[tokio::test]
async fn parked_deliveries_of_a_removed_endpoint_are_kept_with_the_reason() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let endpoint = stack.register_with(&tenant, &json!({"url": "http://127.0.0.1:9/"})).await.id;
    stack.manage("POST", &format!("{}/disable", endpoint_path(&tenant, &endpoint)), None).await;
    let id = event_id();
    stack.send_events([event(&tenant, &id, &json!({})).to_string()]).await;
    stack.wait_for_parked(&endpoint, 1).await;

    stack.remove(&tenant, &endpoint).await;

    let started = Instant::now();
    let message = stack.wait_for_message("DEAD_LETTER_QUEUE_URL", |body| body.contains(&id)).await;
    assert_eq!(attribute(&message, "reason"), "endpoint-gone", "after {:?}", started.elapsed());
    let path = format!("/v1/tenants/{tenant}/events/{id}");
    let told = async || {
        let seen = stack.manage("GET", &path, None).await.json();
        (seen["deliveries"][0]["status"] == "exhausted").then(|| seen["deliveries"][0].clone())
    };
    let told = until("the end of the delivery in its record", told).await;
    assert_eq!((&told["reason"], &told["attempts"]), (&json!("endpoint-gone"), &json!([])));
}

/// Uses the deployed functions. A receiver opts out by answering 410.
#[tokio::test]
async fn a_receiver_that_is_gone_disables_its_endpoint_and_nothing_is_lost() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let gone = Arc::new(AtomicBool::new(true));
    let is_gone = Arc::clone(&gone);
    let receiver = Receiver::start(move |_| if is_gone.load(Ordering::Relaxed) { 410 } else { 204 }).await;
    let settings = json!({"url": receiver.url, "retry": {"maxRetries": 0}});
    let endpoint = stack.register_with(&tenant, &settings).await.id;
    let operators = Receiver::start(|_| 204).await;
    let settings = json!({"url": operators.url, "types": [{"type": "signpost.endpoint-disabled"}]});
    stack.register_with(&tenant, &settings).await;
    let ids = [(); 3].map(|()| event_id());
    stack.send_events(ids.iter().map(|id| event(&tenant, id, &json!({})).to_string())).await;
    stack.wait_for_parked(&endpoint, 3).await;

    let seen = stack.manage("GET", &endpoint_path(&tenant, &endpoint), None).await.json();
    assert_eq!((&seen["enabled"], &seen["disabledBecause"]), (&json!(false), &json!("gone")));
    let told = operators.wait_for(1).await.remove(0);
    let told: serde_json::Value = serde_json::from_slice(&told.body).unwrap();
    assert_eq!((&told["endpoint"], &told["disabledBecause"]), (&json!(endpoint.as_str()), &json!("gone")));
    gone.store(false, Ordering::Relaxed);
    let before = receiver.so_far().len();
    let path = format!("{}/enable", endpoint_path(&tenant, &endpoint));
    let enabled = stack.manage("POST", &path, None).await.json();
    assert_eq!((&enabled["enabled"], &enabled["disabledBecause"]), (&json!(true), &json!(null)));

    receiver.wait_for(before + 3).await;
    assert_eq!(operators.so_far().len(), 1, "sent once, and only to the endpoint that names the type");
    for id in &ids {
        let attempts = stack.wait_for_status(&tenant, id, &endpoint, 204).await;
        assert_eq!(attempts.last().and_then(|last| last.status), Some(204), "{attempts:?}");
        assert!(attempts.iter().rev().skip(1).all(|attempt| attempt.status == Some(410)), "{attempts:?}");
    }
}

#[tokio::test]
async fn a_drain_moves_nothing_while_its_endpoint_is_disabled_and_is_not_ended_by_who_saw_an_older_one() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let own = Own::of(&stack).await;
    let parking = own.parking();
    let endpoint = stack.register_with(&tenant, &json!({"url": "https://hooks.example/"})).await.id;
    let switch = async |what: &str| {
        let path = format!("{}/{what}", endpoint_path(&tenant, &endpoint));
        assert_eq!(stack.manage("POST", &path, None).await.status, 200);
    };
    let event = stored(&stack, &tenant, &endpoint).await;
    let key = Event::parse(&event.to_string()).unwrap().key;
    parking
        .park(
            Lane::Endpoint(endpoint.clone()),
            unix_ms_now(),
            DeliveryKey { event: &key, endpoint: &endpoint, arrived_unix_ms: ARRIVED, retention_days: None },
        )
        .await
        .unwrap();
    parking.ask_to_drain(&tenant, &endpoint).await.unwrap();
    let sweep = own.sweep();

    switch("disable").await;
    assert_eq!(sweep.sweep_at(unix_ms_now()).await.unwrap().drained, 0, "the delivery would be parked again");
    let drain = parking.drains(drain_shard(&endpoint), None, 10).await.unwrap().remove(0);
    let older = signpost_engine::ports::parking::Drain { asked_at: drain.asked_at - 1, ..drain.clone() };
    parking.end_drain(&older).await.unwrap();
    assert_eq!(
        parking.drains(drain_shard(&endpoint), None, 10).await.unwrap(),
        [drain],
        "the drain was requested again in the meantime"
    );

    switch("enable").await;
    assert_eq!(sweep.sweep_at(unix_ms_now()).await.unwrap().drained, 1);
    assert_eq!(sweep.sweep_at(unix_ms_now() + 4 * MINUTES).await.unwrap().drained, 0);
    assert_eq!(
        parking.drains(drain_shard(&endpoint), None, 10).await.unwrap(),
        [],
        "the partition has been empty for three minutes"
    );
}

/// A receiver asks for more time than its event has left, and an operator disables an endpoint late in its event's
/// life.
#[tokio::test]
async fn an_event_is_kept_while_its_delivery_waits() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let (own, receiver) = (Own::of(&stack).await, Receiver::start(|_| 500).await);
    let settings = json!({"url": receiver.url, "retry": {"schedule": [43_200]}});
    let endpoint = stack.register_with(&tenant, &settings).await.id;
    let (now, days) = (unix_ms_now(), 24 * 3_600_000);
    let expires_at = async |event: &serde_json::Value| {
        let key = Event::parse(&event.to_string()).unwrap().key;
        let text = aws_sdk_dynamodb::types::AttributeValue::S;
        let call = aws_sdk_dynamodb::Client::new(&stack.aws).get_item().table_name(setting("EVENTS_TABLE"));
        let call = call.key("pk", text(format!("{tenant}/{}", key.id))).key("sk", text("event#/core".into()));
        let item = call.send().await.unwrap().item.unwrap();
        item["expiresAt"].as_n().unwrap().parse::<u64>().unwrap() * 1_000
    };
    let arrived_at = |event: &serde_json::Value, arrived: u64| {
        let body = Delivery::message(&endpoint, &Event::parse(&event.to_string()).unwrap(), arrived);
        let mut batch = presented(&endpoint, event, 1, now);
        batch.records[0].body = Some(body);
        batch
    };

    // Events are kept for 30 days. The table shows when an event expires that has just arrived.
    let (late, early) = (stored(&stack, &tenant, &endpoint).await, stored(&stack, &tenant, &endpoint).await);
    set_expiry(&stack, &late, now / 1_000 + 60).await;
    set_expiry(&stack, &early, now / 1_000 + 60).await;
    assert!(is_done(&own.deliver(), arrived_at(&late, now - 30 * days + 60_000)).await);
    assert!(expires_at(&late).await > now + days * 3 / 2 - 1_000, "twelve hours and a day");
    assert!(is_done(&own.deliver(), arrived_at(&early, now - days)).await);
    assert!(expires_at(&early).await < now + days, "by its time of arrival 29 days are left, so nothing is written");

    stack.manage("POST", &format!("{}/disable", endpoint_path(&tenant, &endpoint)), None).await;
    let waits = stored(&stack, &tenant, &endpoint).await;
    set_expiry(&stack, &waits, now / 1_000 + 60).await;
    assert!(is_done(&own.deliver(), arrived_at(&waits, now - 16 * days)).await);
    assert!(expires_at(&waits).await > now + 29 * days, "the whole retention again");

    // The events of this one's type are kept for two days.
    let brief = stored(&stack, &tenant, &endpoint).await;
    set_expiry(&stack, &brief, now / 1_000 + 60).await;
    let kept_for = Stored { number: None, retention_days: Some(2) };
    let mut batch = arrived_at(&brief, now);
    let event = Event::parse(&brief.to_string()).unwrap();
    batch.records[0].body = Some(Delivery::message_with(&endpoint, &event, kept_for, now - days * 3 / 2));
    assert!(is_done(&own.deliver(), batch).await);
    let expires_at = expires_at(&brief).await;
    assert!((now + days * 3 / 2..now + days * 5 / 2).contains(&expires_at), "two days again: {expires_at}");
}

async fn set_expiry(stack: &LocalStack, event: &serde_json::Value, unix_seconds: u64) {
    use aws_sdk_dynamodb::types::AttributeValue::{N, S};
    let key = Event::parse(&event.to_string()).unwrap().key;
    let call = aws_sdk_dynamodb::Client::new(&stack.aws).update_item().table_name(setting("EVENTS_TABLE"));
    let call = call.key("pk", S(format!("{}/{}", key.tenant, key.id))).key("sk", S("event#/core".into()));
    let call =
        call.update_expression("SET expiresAt = :at").expression_attribute_values(":at", N(unix_seconds.to_string()));
    call.send().await.unwrap();
}
