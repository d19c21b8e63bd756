//! DynamoDB does what the engine's ports demand of every table: the checks of the tables in memory, against which the engine
//! is simulated. Each test has its own table; all have the same keys.

#[path = "../../../engine/tests/conformance/mod.rs"]
pub(crate) mod conformance;

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future::join_all;
use serde_json::{Value, json};
use signpost_core::delivery::replay::Replay;
use signpost_core::endpoint::filter::Filter;
use signpost_core::endpoint::quota::{MAX_SETTINGS_BYTES, QuotaError, Usage, settings_bytes};
use signpost_core::endpoint::{DisabledBecause, EndpointId, TypeFilter};
use signpost_core::event::catalogue::{EventType, TypeName};
use signpost_core::event::{Event, MAX_EVENT_BYTES};
use signpost_core::status::state::Moment;
use signpost_core::tenant_erasure::TenantErasure;
use signpost_core::token_request::{RequestId, TokenRequest};
use signpost_engine::ports::endpoints::{Endpoints as _, StoredEndpoint, Written};
use signpost_engine::ports::events::{Arrival, Events as _, FirstFanOut, Insertion, MOST_READ_BYTES};
use signpost_io::runtime::clock::unix_ms_now;
use signpost_io::tables::breakers::Breakers;
use signpost_io::tables::deliveries::Deliveries;
use signpost_io::tables::delivery_list::Listing;
use signpost_io::tables::endpoints::PutResult;
use signpost_io::tables::event_types::{self, EventTypes};
use signpost_io::tables::events::Events;
use signpost_io::tables::limits::Limits;
use signpost_io::tables::parking::Parking;
use signpost_io::tables::replays::Replays;
use signpost_io::tables::subscriptions::Subscriptions;
use signpost_io::tables::tenant_erasures::{ErasedTables, TenantErasures};
use signpost_io::tables::token_requests::TokenRequests;
use signpost_testkit::build::{ARRIVED, event, event_id, tenant};
use signpost_testkit::local_stack::{LocalStack, endpoint_path, endpoints_path, setting};
use uuid::Uuid;

use conformance::{EndpointWrite, Subject};

pub(crate) const RETENTION: Duration = Duration::from_hours(24);

pub(crate) fn endpoint_id() -> EndpointId {
    EndpointId::new(Uuid::new_v4())
}

pub(crate) fn new_event() -> Event {
    Event::parse(&event(&tenant(), &event_id(), &json!({"n": 1})).to_string()).unwrap()
}

/// Makes deliveries of one tenant to one endpoint.
pub(crate) fn subjects() -> impl Fn() -> Subject {
    let (event, endpoint) = (new_event(), endpoint_id());
    move || {
        let mut key = event.key.clone();
        key.id = new_event().key.id;
        (key, endpoint.clone(), ARRIVED)
    }
}

/// Creates a table whose keys are those of `EventsTable`, `ParkingTable` and `TokenRequestsTable`.
async fn table(stack: &LocalStack) -> String {
    stack.parking_table(&format!("own-{}", Uuid::new_v4())).await
}

async fn deliveries() -> Deliveries {
    let stack = LocalStack::from_env().await;
    Deliveries::new(stack.dynamodb(), table(&stack).await, RETENTION)
}

async fn parking() -> Parking {
    let stack = LocalStack::from_env().await;
    Parking::new(stack.dynamodb(), table(&stack).await, RETENTION)
}

#[tokio::test]
async fn leases_and_releases_of_deliveries_are_conditional() {
    let table = deliveries().await;
    conformance::a_lease(&table, subjects()).await;
    conformance::a_release(&table, subjects()).await;
}

#[tokio::test]
async fn attempts_are_recorded_only_on_the_record_that_they_were_based_on() {
    let table = deliveries().await;
    conformance::an_insert(&table, subjects()).await;
    conformance::an_update(&table, subjects()).await;
    conformance::an_update_keeps(&table, subjects()).await;
    conformance::an_acknowledgement(&table, subjects()).await;
    conformance::a_record(&table, subjects()).await;
}

#[tokio::test]
async fn replays_and_ends_of_deliveries_keep_what_they_must() {
    let table = deliveries().await;
    conformance::a_replay(&table, subjects(), unix_ms_now).await;
    conformance::an_end(&table, subjects(), unix_ms_now).await;
    conformance::an_erasure(&table, subjects()).await;
}

#[tokio::test]
async fn lanes_hold_parked_deliveries_in_order_until_these_are_removed() {
    let table = parking().await;
    conformance::a_lane(&table, subjects()).await;
    conformance::a_removal(&table, subjects()).await;
    conformance::a_removal_of_many(&table, subjects()).await;
}

#[tokio::test]
async fn notes_for_sweeps_end_unless_they_were_written_again() {
    let table = parking().await;
    conformance::a_drain(&table, unix_ms_now).await;
    conformance::a_postponed_drain(&parking().await).await;
    let table = parking().await;
    conformance::a_waiting_note(&table).await;
    conformance::a_sweep(&table).await;
}

#[tokio::test]
async fn a_bulk_replay_is_replaced_only_by_its_next_version() {
    let stack = LocalStack::from_env().await;
    let replays = Replays::new(stack.dynamodb(), table(&stack).await);
    conformance::a_bulk_replay(&replays, async |replay: &Replay| replays.create(replay).await.unwrap()).await;
}

#[tokio::test]
async fn a_tenant_has_one_erasure_that_runs_and_it_is_replaced_only_by_its_next_version() {
    let stack = LocalStack::from_env().await;
    // The checks of the port do no step of an erasure, so the other tables stay as they are.
    let tables = ErasedTables {
        endpoint_keys: setting("ENDPOINT_KEYS_TABLE"),
        endpoints: setting("ENDPOINTS_TABLE"),
        events: setting("EVENTS_TABLE"),
        parking: table(&stack).await,
        portal: setting("PORTAL_TABLE"),
        token_requests: setting("TOKEN_REQUESTS_TABLE"),
    };
    let erasures = TenantErasures::new(stack.dynamodb(), tables);
    let create = async |erasure: &TenantErasure| erasures.create(erasure).await.unwrap();
    conformance::a_tenant_erasure(&erasures, create).await;
}

#[tokio::test]
async fn a_list_of_deliveries_is_read_from_the_oldest_on() {
    let stack = LocalStack::from_env().await;
    let name = table(&stack).await;
    let deliveries = Deliveries::new(stack.dynamodb(), name.clone(), RETENTION);
    conformance::a_delivery_list(&deliveries, &Listing::new(stack.dynamodb(), name), subjects()).await;
}

#[tokio::test]
async fn limits_and_breakers_are_shared_by_conditional_writes() {
    let stack = LocalStack::from_env().await;
    let name = table(&stack).await;
    let limits = Limits::new(stack.dynamodb(), name.clone());
    conformance::a_slot(&limits, &endpoint_id()).await;
    conformance::a_count(&limits, &endpoint_id()).await;
    conformance::a_breaker(&Breakers::new(stack.dynamodb(), name), &endpoint_id()).await;
}

#[tokio::test]
async fn an_event_is_stored_once() {
    let stack = LocalStack::from_env().await;
    let events = Events::new(stack.dynamodb(), table(&stack).await, RETENTION);
    let (event, endpoint) = (new_event(), endpoint_id());
    conformance::an_event(&events, &event, &endpoint).await;
    conformance::an_erased_event(&events, &event, &endpoint).await;
    conformance::a_missing_event(&events, &new_event(), &endpoint_id()).await;
    conformance::an_event_erased_before_it_arrives(&events, &new_event()).await;
    let several: Vec<_> = std::iter::repeat_with(new_event).take(6).collect();
    conformance::counted_events(&events, &several, &endpoint_id(), "acme/sequence#a").await;
}

/// Makes an event of the largest size. Its text hardly shrinks, so that one item has no room for it.
fn largest_event() -> Event {
    let (tenant, id) = (tenant(), event_id());
    let room = MAX_EVENT_BYTES - event(&tenant, &id, &json!({"pad": ""})).to_string().len();
    let pad: String = std::iter::repeat_with(fastrand::alphanumeric).take(room).collect();
    Event::parse(&event(&tenant, &id, &json!({"pad": pad})).to_string()).unwrap()
}

#[tokio::test]
async fn an_event_of_the_largest_size_is_stored_in_parts_that_outlast_it() {
    let stack = LocalStack::from_env().await;
    let (name, event) = (table(&stack).await, largest_event());
    let events = Events::new(stack.dynamodb(), name.clone(), RETENTION);
    let expiries = async || {
        let items = stack.dynamodb().scan().table_name(&name).into_paginator().items().send();
        let items = items.collect::<Result<Vec<_>, _>>().await.unwrap();
        let of = |item: &HashMap<String, AttributeValue>| item["expiresAt"].as_n().unwrap().parse::<u64>().unwrap();
        let (parts, whole): (Vec<_>, Vec<_>) =
            items.iter().partition(|item| item["sk"].as_s().unwrap().contains("part#"));
        (whole.iter().map(|item| of(item)).max(), parts.iter().map(|item| of(item)).min(), parts.len())
    };

    conformance::an_event(&events, &event, &endpoint_id()).await;

    let (event_until, parts_until, parts) = expiries().await;
    assert!((1..=3).contains(&parts), "{parts} parts beside the item");
    assert!(parts_until > event_until, "the retention was extended for the parts, too");
    // As many as fit into memory, beginning with the first.
    let read = events.get_some(&[&event.key; 8]).await.unwrap();
    assert_eq!(read.len(), MOST_READ_BYTES / MAX_EVENT_BYTES);
    // Of another text under the same key, nothing is stored in the place of these parts.
    let mut other = event.clone().json().replace("\"pad\":\"", "\"pad\":\"x");
    other.replace_range(other.len() - 4..other.len() - 3, "");
    let other = Event::parse(&other).unwrap();
    assert_eq!(other.key, event.key);
    let first = FirstFanOut {
        message_id: "m".into(),
        endpoints: Vec::new(),
        sent: 0,
        at_unix_seconds: 1,
        arrival: Arrival { moment: Moment::of(&other, 1), expires_at: 1 },
        payload_hash: other.payload_hash(),
        number: None,
        retention_days: None,
    };
    assert!(matches!(events.insert(&other, &first, None).await.unwrap(), Insertion::Stored(_)), "it is another");
    assert_eq!(events.get(&event.key).await.unwrap().unwrap().event, event);
    // Erased, it has no parts, and another message with it leaves none.
    let (_, _, all) = expiries().await;
    assert_eq!(events.erase(&event.key).await.unwrap().unwrap().event, Some(event.clone()));
    assert_eq!(expiries().await.2, all - parts, "only the parts of the other text are left");
    let again = FirstFanOut { payload_hash: event.payload_hash(), ..first };
    assert_eq!(events.insert(&event, &again, None).await.unwrap(), Insertion::Erased);
    let left = stack.dynamodb().scan().table_name(&name).consistent_read(true).into_paginator().items().send();
    let left = left.collect::<Result<Vec<_>, _>>().await.unwrap();
    let texts = left.iter().filter(|item| item.contains_key("json") && item["sk"].as_s().unwrap().contains("part#"));
    assert_eq!(texts.count(), all - parts);
}

pub(crate) fn stored(settings: Value) -> StoredEndpoint {
    StoredEndpoint::new(serde_json::from_value(settings).unwrap(), 0)
}

#[tokio::test]
async fn an_endpoint_is_disabled_once_and_enabled_by_the_proof_of_its_own_origin() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let (table, before) = (stack.endpoints(), stored(json!({"url": "https://receiver.example/0"})));
    let put = async |stored: StoredEndpoint| {
        let id = endpoint_id();
        assert_eq!(table.put(&tenant, &id, &stored, None).await.unwrap(), PutResult::Written);
        assert!(table.exists(&tenant, &id).await.unwrap());
        id
    };
    conformance::an_endpoint(&table, &tenant, &endpoint_id(), &before, put).await;
}

#[tokio::test]
async fn the_version_of_subscriptions_changes_with_each_of_them() {
    let (stack, tenant, id) = (LocalStack::from_env().await, tenant(), endpoint_id());
    let (table, subscriptions) = (stack.endpoints(), Subscriptions::new(stack.dynamodb(), setting("ENDPOINTS_TABLE")));
    let change = async |change: &dyn Fn(&mut StoredEndpoint)| {
        let mut stored = table.get(&tenant, &id).await.unwrap().unwrap();
        let before = stored.version;
        stored.version += 1;
        change(&mut stored);
        assert_eq!(table.put(&tenant, &id, &stored, Some(before)).await.unwrap(), PutResult::Written);
    };
    let types = |types: &str| serde_json::from_str::<Vec<TypeFilter>>(types).unwrap();
    let write = async |write: EndpointWrite| match write {
        EndpointWrite::Create(text) => {
            let mut new = stored(json!({"url": "https://receiver.example/0"}));
            new.settings.types = types(text);
            assert_eq!(table.put(&tenant, &id, &new, None).await.unwrap(), PutResult::Written);
        }
        EndpointWrite::SetFilter(text) => {
            change(&|stored| stored.settings.filter = text.map(|text| Filter::parse(text).unwrap())).await;
        }
        EndpointWrite::SetTypes(text) => change(&|stored| stored.settings.types = types(text)).await,
        EndpointWrite::Describe => change(&|stored| stored.settings.description = "new".into()).await,
        EndpointWrite::Disable => {
            assert_eq!(table.disable(&tenant, &id, DisabledBecause::Gone).await.unwrap(), Written::Yes);
        }
        EndpointWrite::Remove => assert_eq!(table.delete(&tenant, &id, None).await.unwrap(), Written::Yes),
        EndpointWrite::SetSchema(schema) => {
            let (event_types, name) =
                (EventTypes::new(stack.dynamodb(), setting("ENDPOINTS_TABLE")), TypeName::parse("invoice").unwrap());
            match schema {
                Some(schema) => {
                    let text = format!(r#"{{"schema":{schema},"example":{{}},"retentionDays":7}}"#);
                    let event_type = EventType::parse(&text, Duration::from_hours(720)).unwrap();
                    let written = event_types.put(&tenant, &name, &event_type, 7).await.unwrap();
                    assert!(matches!(written, event_types::PutResult::Written(_)));
                }
                None => assert!(event_types.delete(&tenant, &name).await.unwrap().is_some()),
            }
        }
    };
    conformance::subscriptions(&subscriptions, &tenant, &id, write).await;
}

/// Both bounds are conditions of the writes, and what is removed or shortened makes room again.
#[tokio::test]
async fn a_tenant_stays_within_its_bounds_even_if_many_write_at_once() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let (table, subscriptions) = (stack.endpoints(), Subscriptions::new(stack.dynamodb(), setting("ENDPOINTS_TABLE")));
    // 64 KiB each, so that 32 have room, by the authorities that they trust.
    let fat = |bytes: u64| {
        let bare = stored(json!({"url": "https://receiver.example/0"}));
        let rest = usize::try_from(bytes - settings_bytes(&bare.settings, None)).unwrap();
        StoredEndpoint { trusted: Some("x".repeat(rest)), ..bare }
    };
    let ids: Vec<_> = (0..40).map(|_| endpoint_id()).collect();
    let put = async |id: &EndpointId| table.put(&tenant, id, &fat(64 * 1024), None).await.unwrap();
    let results = join_all(ids.iter().map(put)).await;
    let written: Vec<_> = ids.iter().zip(&results).filter(|(_, one)| **one == PutResult::Written).collect();
    assert_eq!(written.len(), 32, "{results:?}");
    let excess = QuotaError::SettingsBytes { found: MAX_SETTINGS_BYTES + 64 * 1024 };
    assert_eq!(results.iter().filter(|one| **one == PutResult::Full(excess)).count(), 8, "{results:?}");
    let full = Usage { endpoints: 32, settings_bytes: MAX_SETTINGS_BYTES };
    assert_eq!(subscriptions.usage(&tenant).await.unwrap(), full);

    let (first, second) = (written[0].0, written[1].0);
    let change = |bytes| StoredEndpoint { version: 2, ..fat(bytes) };
    let larger = table.put(&tenant, first, &change(64 * 1024 + 1), Some(1)).await.unwrap();
    assert_eq!(larger, PutResult::Full(QuotaError::SettingsBytes { found: MAX_SETTINGS_BYTES + 1 }));
    assert_eq!(table.put(&tenant, first, &change(63 * 1024), Some(1)).await.unwrap(), PutResult::Written);
    assert_eq!(table.delete(&tenant, second, Some(2)).await.unwrap(), Written::Overtaken, "another version");
    let gone = join_all([(); 3].map(async |()| table.delete(&tenant, second, None).await.unwrap())).await;
    assert_eq!(gone.iter().filter(|one| **one == Written::Yes).count(), 1, "counted once: {gone:?}");
    let rest = Usage { endpoints: 31, settings_bytes: MAX_SETTINGS_BYTES - 65 * 1024 };
    assert_eq!(subscriptions.usage(&tenant).await.unwrap(), rest);
    let (mut listed, mut after) = (0, None);
    loop {
        let page = table.page(&tenant, after.as_ref(), 100).await.unwrap();
        listed += page.endpoints.len();
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(listed, 31, "a list has endpoints only");

    let (small, rest, bare) = (endpoint_id(), endpoint_id(), stored(json!({"url": "https://receiver.example/0"})));
    let filler = fat(65 * 1024 - settings_bytes(&bare.settings, None));
    for (id, stored) in [(&small, &bare), (&rest, &filler)] {
        assert_eq!(table.put(&tenant, id, stored, None).await.unwrap(), PutResult::Written);
    }
    let refusals = [
        ("POST", endpoints_path(&tenant), json!({"url": "https://receiver.example/1"})),
        ("PATCH", endpoint_path(&tenant, &small), json!({"description": "longer"})),
    ];
    for (method, path, body) in refusals {
        let answer = stack.manage(method, &path, Some(&body)).await;
        let detail = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert!(answer.status == 409 && detail.contains("expected at most 2097152"), "{method}: {answer:?}");
    }
}

#[tokio::test]
async fn a_state_takes_one_bank_callback() {
    let (stack, id) = (LocalStack::from_env().await, RequestId::parse("rq:1").unwrap());
    let requests = TokenRequests::new(stack.dynamodb(), table(&stack).await);
    let register = async |request: &TokenRequest, before: Option<&TokenRequest>| {
        assert!(requests.register(request, before, RETENTION).await.unwrap());
    };
    conformance::a_token_request(&requests, &tenant(), &id, register).await;
}
