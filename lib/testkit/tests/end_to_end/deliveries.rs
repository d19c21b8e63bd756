//! The list of an endpoint's deliveries.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use signpost_core::delivery::attempt::Attempt;
use signpost_core::delivery::{DeliveryKey, DeliveryStatus, Progress, ReplayKind};
use signpost_core::endpoint::EndpointId;
use signpost_core::event::{EventId, EventKey, TenantId};
use signpost_engine::ports::deliveries::{Deliveries as _, Recorded};
use signpost_io::tables::deliveries::Deliveries;
use signpost_testkit::build::{ARRIVED, attempt, event, event_id, tenant};
use signpost_testkit::local_stack::{LocalStack, endpoint_path, setting};
use signpost_testkit::receiver::Receiver;

fn list_path(tenant: &TenantId, endpoint: &EndpointId) -> String {
    format!("{}/deliveries", endpoint_path(tenant, endpoint))
}

async fn listed(stack: &LocalStack, path: &str, query: &str) -> Value {
    let answer = stack.manage("GET", &format!("{path}?{query}"), None).await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, "no-store"), "{answer:?}");
    answer.json()
}

fn ids(page: &Value) -> Vec<String> {
    let deliveries = page["deliveries"].as_array().unwrap();
    deliveries.iter().map(|one| one["event"].as_str().unwrap().to_owned()).collect()
}

/// Reads all pages, one after the other.
async fn all(stack: &LocalStack, path: &str, parameters: &str) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = listed(stack, path, &format!("{cursor}{parameters}")).await;
        let deliveries = page["deliveries"].as_array().unwrap();
        assert!(deliveries.len() <= 50);
        all.extend_from_slice(deliveries);
        let Some(next) = page["cursor"].as_str() else { return all };
        cursor = format!("cursor={next}&");
    }
}

/// Delivery records as `deliver` writes them, made without requests.
struct Records {
    table: Deliveries,
    tenant: TenantId,
    endpoint: EndpointId,
}

impl Records {
    fn of(stack: &LocalStack, tenant: &TenantId, endpoint: &EndpointId) -> Self {
        let client = aws_sdk_dynamodb::Client::new(&stack.aws);
        let table = Deliveries::new(client, setting("EVENTS_TABLE"), Duration::from_hours(1));
        Self { table, tenant: tenant.clone(), endpoint: endpoint.clone() }
    }

    fn event(&self, id: &str) -> EventKey {
        EventKey { tenant: self.tenant.clone(), source: "/core".into(), id: EventId::parse(id).unwrap() }
    }

    /// Records an attempt that was made `later_ms` after the event arrived.
    async fn add(&self, id: &str, number: u32, arrived_unix_ms: u64, later_ms: u64, status: DeliveryStatus) {
        let at_unix_ms = arrived_unix_ms + later_ms;
        let attempt = Attempt { at_unix_ms, ..attempt(number, None) };
        let progress = Progress {
            status,
            attempts: number,
            before_replay: 0,
            next_attempt_unix_ms: at_unix_ms + 5_000,
            replay: None,
            last_sent: None,
            last_answer: None,
        };
        let event = self.event(id);
        let key = DeliveryKey { event: &event, endpoint: &self.endpoint, arrived_unix_ms, retention_days: None };
        let standing = self.table.standing(key).await.unwrap();
        let on_record = standing.and_then(|standing| standing.progress).map(|before| before.next_attempt_unix_ms);
        assert_eq!(self.table.record(key, &attempt, on_record, progress).await.unwrap(), Recorded::Yes, "{id}");
    }
}

#[tokio::test]
async fn deliveries_are_listed_by_status() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let [good, bad] = [204, 500].map(|status| Receiver::start(move |_| status));
    let (good, bad) = (good.await, bad.await);
    let delivering = stack.register_with(&tenant, &json!({"url": good.url})).await.id;
    let giving_up = stack.register_with(&tenant, &json!({"url": bad.url, "retry": {"maxRetries": 0}})).await.id;
    let waiting = stack.register_with(&tenant, &json!({"url": bad.url, "retry": {"schedule": [600]}})).await.id;
    let id = event_id();
    stack.send_events([event(&tenant, &id, &json!({})).to_string()]).await;

    for (endpoint, status) in [(&delivering, "delivered"), (&giving_up, "exhausted"), (&waiting, "pending")] {
        stack.wait_for_attempts(&tenant, &id, endpoint, 1).await;
        let path = list_path(&tenant, endpoint);
        let page = listed(&stack, &path, "").await;
        let [one] = &page["deliveries"].as_array().unwrap()[..] else { panic!("{page}") };
        assert_eq!((&one["event"], &one["source"]), (&json!(id), &json!("/core")));
        assert_eq!((&one["status"], &one["attempts"]), (&json!(status), &json!(1)));
        let moments = ["arrivedAt", "firstAttemptAt", "nextAttemptAt"];
        let [arrived, first, next] = moments.map(|name| one[name].as_str().unwrap_or_default());
        assert!(arrived <= first && arrived.ends_with('Z'), "{one}");
        assert_eq!(next > first, status == "pending", "{one}");
        assert_eq!(page.get("cursor"), None, "there is no other page");
        for filter in ["delivered", "exhausted", "pending"] {
            let found = ids(&listed(&stack, &path, &format!("status={filter}")).await);
            assert_eq!(found.len(), usize::from(filter == status), "{status} in the list of {filter}");
        }
        let later = listed(&stack, &path, "since=2100-01-01T00%3A00%3A00Z").await;
        assert_eq!(later, json!({"deliveries": []}));
    }
}

#[tokio::test]
async fn pages_lead_through_all_deliveries_of_that_endpoint_once_and_the_newest_first() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let endpoint = stack.register_with(&tenant, &json!({"url": "https://hooks.example/"})).await.id;
    let neighbour = stack.register_with(&tenant, &json!({"url": "https://hooks.example/"})).await.id;
    let [records, others] = [&endpoint, &neighbour].map(|endpoint| Records::of(&stack, &tenant, endpoint));
    let path = list_path(&tenant, &endpoint);
    assert_eq!(listed(&stack, &path, "").await, json!({"deliveries": []}));
    let status = |index| if index % 10 == 0 { DeliveryStatus::Exhausted } else { DeliveryStatus::Delivered };
    // Three deliveries in each millisecond.
    let made: Vec<_> = (0..130_u64).map(|index| (format!("op-{index}"), ARRIVED + index / 3, index)).collect();
    for some in made.chunks(26) {
        join_all(some.iter().map(|(id, at, index)| records.add(id, 1, *at, 0, status(*index)))).await;
    }
    others.add("op-1", 1, ARRIVED, 0, DeliveryStatus::Delivered).await;

    let found = all(&stack, &path, "").await;

    let seen: Vec<_> = found.iter().map(|one| one["event"].as_str().unwrap()).collect();
    let millisecond = |id: &str| id.strip_prefix("op-").unwrap().parse::<u64>().unwrap() / 3;
    assert!(seen.is_sorted_by_key(|id| std::cmp::Reverse(millisecond(id))), "{seen:?}");
    assert_eq!(found[129]["firstAttemptAt"], "2026-01-31T10:00:00Z");
    let mut seen = seen;
    seen.sort_unstable();
    let mut expected: Vec<_> = made.iter().map(|(id, ..)| &**id).collect();
    expected.sort_unstable();
    assert_eq!(seen, expected);
    assert_eq!(all(&stack, &path, "status=exhausted").await.len(), 13);
    let since = all(&stack, &path, "since=2026-01-31T10%3A00%3A00.040Z&status=delivered").await;
    assert_eq!(since.len(), 9, "nine of the ten since then were delivered: {since:?}");

    // New deliveries come before the first page. A delivery keeps its position, even if it is replayed.
    let page = listed(&stack, &path, "").await;
    let [replayed, late] = ["op-0", "op-late"];
    records.add(late, 1, ARRIVED + 7_000, 500, DeliveryStatus::Pending).await;
    records.add(late, 2, ARRIVED + 7_000, 9_000, DeliveryStatus::Exhausted).await;
    let event = records.event(replayed);
    let key = DeliveryKey { event: &event, endpoint: &endpoint, arrived_unix_ms: ARRIVED, retention_days: None };
    records.table.reset_for_replay(key, ReplayKind::Replay).await.unwrap();
    let cursor = page["cursor"].as_str().unwrap();
    let rest = listed(&stack, &path, &format!("cursor={cursor}")).await;
    assert!(!ids(&rest).iter().any(|id| id == late || ids(&page).contains(id)));
    let found = all(&stack, &path, "").await;
    assert_eq!((found.len(), &found[0]["event"]), (131, &json!(late)));
    assert_eq!((&found[0]["attempts"], &found[0]["status"]), (&json!(2), &json!("exhausted")));
    assert_eq!(found[0]["arrivedAt"], "2026-01-31T10:00:07Z");
    assert_eq!(found[0]["firstAttemptAt"], "2026-01-31T10:00:07.5Z");
    assert_eq!(found.iter().filter(|one| one["event"] == replayed).count(), 1);
    assert_eq!(all(&stack, &path, "status=pending").await.len(), 1);

    // A cursor is a position, and does not name an endpoint.
    let elsewhere = listed(&stack, &list_path(&tenant, &neighbour), &format!("cursor={cursor}")).await;
    assert_eq!(ids(&elsewhere), ["op-1"]);
}

/// A record can exist before the first attempt, when a sender holds the delivery's lease.
#[tokio::test]
async fn a_delivery_is_listed_once_it_has_begun() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let endpoint = stack.register_with(&tenant, &json!({"url": "https://hooks.example/"})).await.id;
    let records = Records::of(&stack, &tenant, &endpoint);
    let event = records.event("op-1");
    let key = DeliveryKey { event: &event, endpoint: &endpoint, arrived_unix_ms: ARRIVED, retention_days: None };
    records.table.release(key, None).await.unwrap();
    let path = list_path(&tenant, &endpoint);
    assert_eq!(listed(&stack, &path, "").await, json!({"deliveries": []}));

    records.table.reset_for_replay(key, ReplayKind::Replay).await.unwrap();

    let page = listed(&stack, &path, "").await;
    let [one] = &page["deliveries"].as_array().unwrap()[..] else { panic!("{page}") };
    assert_eq!(
        (&one["status"], &one["attempts"], &one["firstAttemptAt"]),
        (&json!("pending"), &json!(0), &json!(null))
    );
}

#[tokio::test]
async fn a_list_is_for_the_tenant_of_the_endpoint_and_bad_parameters_are_refused() {
    let (stack, own, other) = (LocalStack::from_env().await, tenant(), tenant());
    let endpoint = stack.register_with(&own, &json!({"url": "https://hooks.example/"})).await.id;
    Records::of(&stack, &own, &endpoint).add("op-1", 1, ARRIVED, 0, DeliveryStatus::Delivered).await;
    assert_eq!(stack.manage("GET", &list_path(&other, &endpoint), None).await.status, 404, "another tenant's endpoint");
    let nobody = EndpointId::new(uuid::Uuid::new_v4());
    assert_eq!(stack.manage("GET", &list_path(&own, &nobody), None).await.status, 404);

    let query = "cursor=bm8&since=yesterday&status=lost";
    let refused = stack.manage("GET", &format!("{}?{query}", list_path(&own, &endpoint)), None).await;
    assert_eq!((refused.status, refused.header("content-type")), (400, "application/problem+json"));
    let problem = refused.json();
    let pointers: Vec<_> = problem["errors"].as_array().unwrap().iter().map(|fault| &fault["pointer"]).collect();
    assert_eq!(pointers, ["?status", "?since", "?cursor"]);
}
