//! The breaker: Signpost pauses a failing endpoint, and sends everything once it works again.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};
use signpost_core::delivery::attempt::AttemptError;
use signpost_core::delivery::breaker::{Admission, Breaker, Outcomes};
use signpost_core::endpoint::EndpointId;
use signpost_core::endpoint::settings;
use signpost_core::event::{Event, TenantId};
use signpost_engine::ports::limits::Breakers as _;
use signpost_io::runtime::clock::unix_ms_now;
use signpost_io::tables::breakers::Breakers;
use signpost_testkit::build::{event, event_id, tenant};
use signpost_testkit::event_source::EventSource;
use signpost_testkit::local_stack::{LocalStack, endpoint_path, endpoints_path, root, setting, until};
use signpost_testkit::receiver::Receiver;
use tokio::time::interval;

use crate::own::{Own, presented, stored};

#[tokio::test]
async fn an_endpoint_that_fails_is_left_alone_until_a_probe_succeeds_and_then_gets_everything() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let own = Own::of(&stack).await;
    let well = Arc::new(AtomicBool::new(false));
    let is_well = Arc::clone(&well);
    let receiver = Receiver::start(move |_| if is_well.load(Ordering::Relaxed) { 204 } else { 500 }).await;
    let settings = json!({"url": receiver.url, "retry": {"maxRetries": 5, "intervalSeconds": 10}});
    let endpoint = stack.register_with(&tenant, &settings).await.id;
    let deliver = own.host("deliver", &setting("AWS_ENDPOINT_URL"));
    let _source = EventSource::start(&deliver, &stack.aws, &own.deliveries);

    let mut sent = own.send(&stack, &tenant, &endpoint, 10).await;
    receiver.wait_for(10).await;
    sent.extend(own.send(&stack, &tenant, &endpoint, 20).await);
    stack.wait_for_parked_in(&own.parking, &endpoint, 30).await;
    assert_eq!(receiver.so_far().len(), 10, "neither later events nor retries are sent");

    well.store(true, Ordering::Relaxed);
    let requests = own.sweep_until(&receiver, 40).await;

    let alone = requests[10].at - requests[9].at;
    assert!(alone >= Duration::from_secs(24), "{alone:?}: the breaker stays open for at least 30 s less a fifth");
    let mut arrived: Vec<_> = requests[10..].iter().map(|one| one.event_id().to_owned()).collect();
    arrived.sort_unstable();
    sent.sort_unstable();
    assert_eq!(arrived, sent, "each event arrives once");
}

/// Uses the deployed functions, with their own roles.
#[tokio::test]
async fn enabling_an_endpoint_that_is_left_alone_has_everything_tried_at_once() {
    const EVENTS: usize = 15;
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let well = Arc::new(AtomicBool::new(false));
    let is_well = Arc::clone(&well);
    let receiver = Receiver::start(move |_| if is_well.load(Ordering::Relaxed) { 204 } else { 500 }).await;
    let settings = json!({"url": receiver.url, "retry": {"maxRetries": 5, "intervalSeconds": 20}});
    let endpoint = stack.register_with(&tenant, &settings).await.id;
    let ids: HashSet<_> = (0..EVENTS).map(|_| event_id()).collect();
    stack.send_events(ids.iter().map(|id| event(&tenant, id, &json!({})).to_string())).await;
    stack.wait_for_parked(&endpoint, EVENTS).await;
    let failed = receiver.so_far().len();
    assert!((10..=EVENTS).contains(&failed), "{failed} attempts before the breaker opened");

    well.store(true, Ordering::Relaxed);
    assert_eq!(stack.manage("POST", &format!("{}/enable", endpoint_path(&tenant, &endpoint)), None).await.status, 200);

    let requests = receiver.wait_for(failed + EVENTS).await;
    let arrived: HashSet<_> = requests[failed..].iter().map(|one| one.event_id().to_owned()).collect();
    assert_eq!(arrived, ids, "each event arrives once");
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_is_held_before_the_first_attempt_has_timed_out() {
    const TIMEOUT: Duration = Duration::from_secs(20);
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let (own, receiver) = (Own::of(&stack).await, Receiver::start(|_| 204).await);
    receiver.hold();
    let settings = json!({"url": receiver.url, "timeoutSeconds": TIMEOUT.as_secs()});
    let endpoint = stack.register_with(&tenant, &settings).await.id;
    let hosts = [(); 3].map(|()| own.host("deliver", &setting("AWS_ENDPOINT_URL")));
    let _sources = hosts.each_ref().map(|host| EventSource::start(host, &stack.aws, &own.deliveries));

    own.send(&stack, &tenant, &endpoint, 10).await;
    let first = receiver.wait_for(10).await[0].at;
    let is_held = async || {
        let breaker = Breakers::new(aws_sdk_dynamodb::Client::new(&stack.aws), own.parking.clone());
        breaker.read(&endpoint).await.unwrap().0.admits(unix_ms_now()) == Admission::Park
    };
    let mut ticks = interval(Duration::from_millis(200));
    while !is_held().await && first.elapsed() < TIMEOUT {
        ticks.tick().await;
    }
    own.send(&stack, &tenant, &endpoint, 5).await;
    stack.wait_for_parked_in(&own.parking, &endpoint, 5).await;

    assert!(first.elapsed() < TIMEOUT, "{:?}", first.elapsed());
    assert_eq!(receiver.so_far().len(), 10);
}

#[tokio::test]
async fn a_receiver_that_is_slow_and_well_gets_everything_once() {
    const DELIVERIES: usize = 30;
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let (own, receiver) = (Own::of(&stack).await, Receiver::start_slow(Duration::from_secs(3)).await);
    let endpoint = stack.register_with(&tenant, &json!({"url": receiver.url})).await.id;
    let hosts = [(); 3].map(|()| own.host("deliver", &setting("AWS_ENDPOINT_URL")));
    let _sources = hosts.each_ref().map(|host| EventSource::start(host, &stack.aws, &own.deliveries));

    let sent: HashSet<_> = own.send(&stack, &tenant, &endpoint, DELIVERIES).await.into_iter().collect();

    let requests = own.sweep_until_all(&receiver, &sent).await;
    assert_eq!(requests.len(), DELIVERIES);
}

#[tokio::test]
async fn an_endpoint_that_failed_for_days_is_disabled_and_its_operators_get_an_event() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let (own, receiver) = (Own::of(&stack).await, Receiver::start(|_| 500).await);
    let endpoint = stack.register_with(&tenant, &json!({"url": receiver.url})).await.id;
    let six_days_ago = unix_ms_now() - 6 * 24 * 3_600_000;
    put_breaker(&stack, &own, &endpoint, &failing_since(six_days_ago)).await;
    let event = stored(&stack, &tenant, &endpoint).await;
    let message = presented(&endpoint, &event, 1, unix_ms_now());

    deliver::handle(message, &own.deliver()).await.unwrap();

    assert_eq!(receiver.so_far().len(), 1, "one probe, which fails");
    let seen = stack.manage("GET", &endpoint_path(&tenant, &endpoint), None).await.json();
    assert_eq!((&seen["enabled"], &seen["disabledBecause"]), (&json!(false), &json!("failing")));
    let is_told = |body: &str| body.contains(endpoint.as_str()) && body.contains("signpost.endpoint-disabled");
    let told = stack.wait_for_message_at(&own.events, is_told).await;
    let told = Event::parse_own(told.body().unwrap()).unwrap();
    assert_eq!(told.key.tenant, tenant);
    let data: Value = serde_json::from_str(told.data()).unwrap();
    assert_eq!((&data["endpoint"], &data["disabledBecause"]), (&json!(endpoint.as_str()), &json!("failing")));
}

/// Reads, with the deployed functions, an operator's view from the first failure until everything has arrived.
#[tokio::test]
async fn operators_see_why_nothing_is_sent_and_when_that_may_change() {
    const EVENTS: usize = 12;
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let well = Arc::new(AtomicBool::new(false));
    let is_well = Arc::clone(&well);
    let receiver = Receiver::start(move |_| if is_well.load(Ordering::Relaxed) { 204 } else { 500 }).await;
    let settings = json!({"url": receiver.url, "retry": {"maxRetries": 20, "intervalSeconds": 2}});
    let endpoint = stack.register_with(&tenant, &settings).await.id;
    let view = View { stack: &stack, tenant: &tenant, endpoint: &endpoint };
    assert_eq!(view.look(None).await, Value::Null, "nothing has failed");
    let mut ids: Vec<_> = (0..EVENTS).map(|_| event_id()).collect();
    stack.send_events(ids.iter().map(|id| event(&tenant, id, &json!({})).to_string())).await;
    let began = unix_ms_now();
    let mut ticks = interval(Duration::from_millis(500));
    while view.look(Some(&ids)).await.is_null() {
        ticks.tick().await;
    }
    stack.wait_for_parked(&endpoint, EVENTS).await;

    let held = view.look(Some(&ids)).await;
    let since = unix_ms(&held["since"]);
    assert_eq!(held["because"], "failing");
    assert!((began..=unix_ms_now()).contains(&since), "{held}");
    assert!(unix_ms(&held["nextProbeAt"]) >= since + 24_000, "at least 30 s less a fifth: {held}");
    let path = endpoint_path(&tenant, &endpoint);
    let seen = stack.manage("GET", &path, None).await;
    let tag = seen.header("etag");
    assert_ne!(tag, "\"1\"", "the tag covers `held`");
    let ask = async |method, name, tag, body: Option<Value>| {
        stack.manage_as(&root(), method, &path, &[(name, tag)], body.as_ref()).await.status
    };
    assert_eq!(ask("GET", "if-none-match", tag, None).await, 304);
    assert_eq!(ask("GET", "if-none-match", "\"1\"", None).await, 200);
    assert_eq!(
        ask("PATCH", "if-match", tag, Some(json!({"description": "down"}))).await,
        200,
        "`if-match` compares the version, which is the same"
    );
    assert_eq!(ask("PATCH", "if-match", tag, Some(json!({"description": "up"}))).await, 412, "the version has changed");

    well.store(true, Ordering::Relaxed);
    let mut held = held;
    while !held.is_null() {
        if unix_ms_now() >= unix_ms(&held["nextProbeAt"]) {
            let id = event_id(); // The probe.
            stack.send_events([event(&tenant, &id, &json!({})).to_string()]).await;
            ids.push(id);
        }
        ticks.tick().await;
        held = view.look(Some(&ids)).await;
    }
    assert_eq!(stack.manage("GET", &path, None).await.header("etag"), "\"2\"");
    assert_eq!(stack.manage("POST", &format!("{path}/enable"), None).await.status, 200); // Or the next sweep does it.
    for id in &ids {
        stack.wait_for_status(&tenant, id, &endpoint, 204).await;
        let delivery = view.delivery(id).await;
        assert_eq!((&delivery["held"], &delivery["nextAttemptAt"]), (&Value::Null, &Value::Null), "{delivery}");
    }
}

/// Uses the deployed functions.
#[tokio::test]
async fn a_delivery_to_a_disabled_endpoint_has_no_next_attempt_and_says_why() {
    let (stack, tenant, receiver) = (LocalStack::from_env().await, tenant(), Receiver::start(|_| 204).await);
    let endpoint = stack.register_with(&tenant, &json!({"url": receiver.url})).await.id;
    let (path, id) = (endpoint_path(&tenant, &endpoint), event_id());
    assert_eq!(stack.manage("POST", &format!("{path}/disable"), None).await.status, 200);
    stack.send_events([event(&tenant, &id, &json!({})).to_string()]).await;
    stack.wait_for_parked(&endpoint, 1).await;

    let view = View { stack: &stack, tenant: &tenant, endpoint: &endpoint };
    let delivery = view.delivery(&id).await;

    let disabled = json!({"since": null, "because": "disabled", "nextProbeAt": null});
    assert_eq!((&delivery["held"], &delivery["nextAttemptAt"]), (&disabled, &Value::Null));
    assert_eq!(view.look(Some(&[id])).await, Value::Null, "`disabledBecause` says why");
}

/// An endpoint as its operator sees it.
struct View<'a> {
    stack: &'a LocalStack,
    tenant: &'a TenantId,
    endpoint: &'a EndpointId,
}

impl View<'_> {
    /// Reads the endpoint, alone and in the list, and its deliveries; those of `ids` also through their events. Checks
    /// that no planned time has passed. Returns what suspends the endpoint.
    async fn look(&self, ids: Option<&[String]>) -> Value {
        let path = endpoint_path(self.tenant, self.endpoint);
        let before = unix_ms_now();
        let held = self.stack.manage("GET", &path, None).await.json()["held"].clone();
        assert_to_come(&held, before);
        let listed = self.stack.manage("GET", &endpoints_path(self.tenant), None).await.json();
        assert_to_come(&listed["endpoints"][0]["held"], before);
        let page = self.stack.manage("GET", &format!("{path}/deliveries"), None).await.json();
        page["deliveries"].as_array().unwrap().iter().for_each(|delivery| assert_to_come(delivery, before));
        for id in ids.into_iter().flatten().take(2) {
            let before = unix_ms_now();
            let delivery = self.delivery(id).await;
            assert_to_come(&delivery, before);
            let [next, probe] = [&delivery["nextAttemptAt"], &delivery["held"]["nextProbeAt"]];
            assert!(probe.is_null() || unix_ms(next) >= unix_ms(probe), "{delivery}");
        }
        held
    }

    /// Waits for an event, and returns its delivery at this endpoint.
    async fn delivery(&self, id: &str) -> Value {
        let path = format!("/v1/tenants/{}/events/{id}", self.tenant);
        until("the event", async || {
            let seen = self.stack.manage("GET", &path, None).await;
            (seen.status == 200).then(|| seen.json()["deliveries"][0].clone())
        })
        .await
    }
}

/// Checks that no planned time is before `before`.
fn assert_to_come(shown: &Value, before: u64) {
    for moment in [&shown["nextAttemptAt"], &shown["nextProbeAt"], &shown["held"]["nextProbeAt"]] {
        assert!(moment.is_null() || unix_ms(moment) >= before, "{moment} has passed at {before}: {shown}");
    }
}

fn unix_ms(moment: &Value) -> u64 {
    settings::since(&json!({ "since": moment }).to_string()).unwrap()
}

/// A probe is sent on behalf of all waiting deliveries, so it does not use up a delivery's last retry.
#[tokio::test]
async fn a_delivery_that_was_a_probe_keeps_its_retries() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let well = Arc::new(AtomicBool::new(false));
    let is_well = Arc::clone(&well);
    let receiver = Receiver::start(move |_| if is_well.load(Ordering::Relaxed) { 204 } else { 500 }).await;
    let own = Own::of(&stack).await;
    let settings = json!({"url": receiver.url, "retry": {"maxRetries": 1, "intervalSeconds": 1}});
    let endpoint = stack.register_with(&tenant, &settings).await.id;
    let event = stored(&stack, &tenant, &endpoint).await;
    let path = format!("/v1/tenants/{tenant}/events/{}", event["id"].as_str().unwrap());
    let read = async || stack.manage("GET", &path, None).await.json()["deliveries"][0].clone();
    for probe in 1..=3 {
        put_breaker(&stack, &own, &endpoint, &failing_since(unix_ms_now() - 26 * 3_600_000)).await;
        let message = presented(&endpoint, &event, probe, unix_ms_now() - 96_000);
        deliver::handle(message, &own.deliver()).await.unwrap();
        let seen = read().await;
        assert_eq!(seen["attempts"].as_array().unwrap().len(), probe as usize, "each probe is recorded");
        assert_eq!(seen["status"], "pending", "two attempts are allowed, and a probe counts as neither");
    }
    assert_eq!(receiver.so_far().len(), 3);
}

/// Builds a breaker that has recorded ten failures on the first day, and ten on the second.
fn failing_since(unix_ms: u64) -> Breaker {
    [unix_ms, unix_ms + 24 * 3_600_000].into_iter().fold(Breaker::default(), |breaker, at| {
        let mut outcomes = Outcomes::default();
        for _ in 0..10 {
            outcomes.add(&Err(AttemptError::Rejected { status: 500, retry_after: None }), at);
        }
        breaker.after(&outcomes, at, 0.5)
    })
}

async fn put_breaker(stack: &LocalStack, own: &Own, endpoint: &EndpointId, breaker: &Breaker) {
    let call = aws_sdk_dynamodb::Client::new(&stack.aws).put_item().table_name(&own.parking);
    let text = |text: &str| AttributeValue::S(text.to_owned());
    call.item("pk", text(&format!("breaker#{endpoint}")))
        .item("sk", text("breaker"))
        .item("state", text(&serde_json::to_string(breaker).unwrap()))
        .item("version", AttributeValue::N("1".to_owned()))
        .send()
        .await
        .unwrap();
}
