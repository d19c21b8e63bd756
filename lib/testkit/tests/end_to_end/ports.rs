//! DynamoDB does what the engine's ports demand of every table: the checks of the tables in memory, against which the engine
//! is simulated. Each test has its own table; all have the same keys.

#[path = "../../../engine/tests/conformance/mod.rs"]
mod conformance;

use std::time::Duration;

use serde_json::{Value, json};
use signpost_core::endpoint::EndpointId;
use signpost_core::event::Event;
use signpost_core::token_request::{RequestId, TokenRequest};
use signpost_engine::ports::endpoints::{Endpoints as _, StoredEndpoint, Written};
use signpost_io::runtime::clock::unix_ms_now;
use signpost_io::tables::breakers::Breakers;
use signpost_io::tables::deliveries::Deliveries;
use signpost_io::tables::events::Events;
use signpost_io::tables::limits::Limits;
use signpost_io::tables::parking::Parking;
use signpost_io::tables::token_requests::TokenRequests;
use signpost_testkit::build::{ARRIVED, event, event_id, tenant};
use signpost_testkit::local_stack::LocalStack;
use uuid::Uuid;

use conformance::Subject;

const RETENTION: Duration = Duration::from_hours(24);

fn endpoint_id() -> EndpointId {
    EndpointId::new(Uuid::new_v4())
}

fn new_event() -> Event {
    Event::parse(&event(&tenant(), &event_id(), &json!({"n": 1})).to_string()).unwrap()
}

/// Makes deliveries of one tenant to one endpoint.
fn subjects() -> impl Fn() -> Subject {
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
}

#[tokio::test]
async fn lanes_hold_parked_deliveries_in_order_until_these_are_removed() {
    let table = parking().await;
    conformance::a_lane(&table, subjects()).await;
    conformance::a_removal(&table, subjects()).await;
}

#[tokio::test]
async fn notes_for_sweeps_end_unless_they_were_written_again() {
    let table = parking().await;
    conformance::a_drain(&table, unix_ms_now).await;
    let table = parking().await;
    conformance::a_waiting_note(&table).await;
    conformance::a_sweep(&table).await;
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
    conformance::an_event(&events, &new_event(), &endpoint_id()).await;
    conformance::a_missing_event(&events, &new_event(), &endpoint_id()).await;
}

fn stored(settings: Value) -> StoredEndpoint {
    StoredEndpoint {
        settings: serde_json::from_value(settings).unwrap(),
        verified_origin: None,
        disabled: None,
        version: 1,
        created_at: 0,
        updated_at: 0,
        auth_secret: None,
        trusted: None,
        signing_secrets: Vec::new(),
    }
}

#[tokio::test]
async fn an_endpoint_is_disabled_once_and_enabled_by_the_proof_of_its_own_origin() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let (table, before) = (stack.endpoints(), stored(json!({"url": "https://receiver.example/0"})));
    let put = async |stored: StoredEndpoint| {
        let id = endpoint_id();
        assert_eq!(table.put(&tenant, &id, &stored, None).await.unwrap(), Written::Yes);
        assert!(table.exists(&tenant, &id).await.unwrap());
        id
    };
    conformance::an_endpoint(&table, &tenant, &endpoint_id(), &before, put).await;
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
