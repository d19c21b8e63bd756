//! `fanout` with as many endpoints, and as fat ones, as tenants may have.

use std::time::Duration;

use futures_util::stream::{StreamExt as _, iter};
use serde_json::{Value, json};
use signpost_core::endpoint::quota::{MAX_ENDPOINTS, MAX_SETTINGS_BYTES, settings_bytes};
use signpost_core::endpoint::{Endpoint, EndpointId, TypeFilter};
use signpost_core::event::TenantId;
use signpost_engine::ports::endpoints::StoredEndpoint;
use signpost_io::runtime::clock::unix_ms_now;
use signpost_io::tables::endpoints::PutResult;
use signpost_testkit::build::{event, event_id, tenant};
use signpost_testkit::local_stack::{LocalStack, setting};
use tokio::time::timeout;
use uuid::Uuid;

use crate::own::Own;

/// How much memory `fanout` may take: half of what its function has.
const MEMORY_KB: u64 = 128 * 1024;

/// The largest settings of one endpoint, and the number of those that a tenant may have.
const FATTEST: u64 = 32 * 1024;

/// Settings of this size whose filters have as many names as fit: each is one character, so that the memory for each counts.
/// Every tenth one wants all events.
fn fat(index: u64, bytes: u64) -> Endpoint {
    let mut settings = Endpoint::new("https://receiver.example");
    if index.is_multiple_of(10) {
        return settings;
    }
    let filter = |statuses| TypeFilter { statuses: vec!["a".into(); statuses], ..TypeFilter::of("b") };
    while settings_bytes(&settings, None) + 450 < bytes {
        settings.types.push(filter(100));
    }
    while settings_bytes(&settings, None) + 20 < bytes {
        settings.types.push(filter(0));
    }
    settings
}

/// Creates a tenant whose endpoints take all the bytes that it may have.
async fn full_tenant(stack: &LocalStack, endpoints: u64) -> TenantId {
    let (table, tenant) = (stack.endpoints(), tenant());
    let put = async |index| {
        let (id, stored) =
            (EndpointId::new(Uuid::new_v4()), StoredEndpoint::new(fat(index, MAX_SETTINGS_BYTES / endpoints), 0));
        assert_eq!(table.put(&tenant, &id, &stored, None).await.unwrap(), PutResult::Written);
    };
    iter(0..endpoints).map(put).buffer_unordered(4).collect::<Vec<()>>().await;
    tenant
}

/// Builds a batch of messages with these bodies, as Lambda passes it on.
fn batch(bodies: &[Value]) -> Value {
    let now = unix_ms_now().to_string();
    let records = bodies.iter().map(|body| {
        let attributes = json!({"SentTimestamp": now, "ApproximateReceiveCount": "1"});
        json!({
            "messageId": Uuid::new_v4().to_string(), "receiptHandle": "r", "body": body.to_string(),
            "attributes": attributes, "messageAttributes": {},
        })
    });
    json!({"Records": records.collect::<Vec<_>>()})
}

#[tokio::test]
async fn the_fattest_tenants_of_a_batch_have_room_in_half_of_the_functions_memory() {
    const PATIENCE: Duration = Duration::from_mins(4);
    let stack = LocalStack::from_env().await;
    let own = Own::of(&stack).await;
    let fanout = own.host("fanout", &setting("AWS_ENDPOINT_URL"));
    let counts = [MAX_ENDPOINTS].into_iter().chain([MAX_SETTINGS_BYTES / FATTEST; 9]);
    let tenants: Vec<_> = iter(counts).map(|count| full_tenant(&stack, count)).buffered(1).collect().await;

    let (small, large) = (json!({"n": 1}), json!({"text": "x".repeat(250_000)}));
    let events = |data: &Value| tenants.iter().map(|one| event(one, &event_id(), data)).collect::<Vec<_>>();
    // All tenants at once, and then a large event for each, which is sent to every tenth endpoint.
    for mut bodies in [events(&small), events(&small), events(&large)[1..].to_vec()] {
        let done = timeout(PATIENCE, async {
            while !bodies.is_empty() {
                let message = batch(&bodies);
                let answer = fanout.invoke(&message).await.unwrap();
                let again = answer["batchItemFailures"].as_array().unwrap().clone();
                let is_again = |record: &&Value| again.iter().any(|one| one["itemIdentifier"] == record["messageId"]);
                let rest = message["Records"].as_array().unwrap().iter().filter(is_again);
                bodies = rest.map(|one| serde_json::from_str(one["body"].as_str().unwrap()).unwrap()).collect();
            }
        });
        done.await.expect("every fan-out ends");
    }

    let memory = fanout.peak_memory_kb().await;
    assert!((1..MEMORY_KB).contains(&memory), "{memory} KB");
    assert_eq!(fanout.started(), 1, "it was not killed");
}
