//! DynamoDB calls of a batch: `deliver` makes one call for all messages, and each message keeps its own condition.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use signpost_core::delivery::{DeliveryKey, DeliveryStatus, Progress};
use signpost_core::endpoint::EndpointId;
use signpost_core::event::{EventId, EventKey};
use signpost_engine::ports::deliveries::{Deliveries as _, Recorded};
use signpost_io::tables::deliveries::Deliveries;
use signpost_testkit::aws_proxy::AwsProxy;
use signpost_testkit::build::{ARRIVED, attempt, delivery, event, event_id, tenant};
use signpost_testkit::local_stack::{LocalStack, setting};
use signpost_testkit::receiver::Receiver;
use uuid::Uuid;

use crate::faults::{batch, failed};
use crate::handlers::lookup;

#[tokio::test]
async fn a_warm_environment_reads_a_batch_in_one_call_and_records_it_in_few() {
    let (stack, proxy) = (LocalStack::from_env().await, AwsProxy::start().await);
    let (receiver, tenant) = (Receiver::start(|_| 204).await, tenant());
    let endpoint = stack.register_with(&tenant, &json!({"url": receiver.url})).await.id;
    stack.make_quick(&endpoint).await;
    let app = deliver::app(&proxy.aws().await, deliver::Config::from_lookup(lookup).unwrap()).unwrap();
    let calls = || ["BatchGetItem", "BatchExecuteStatement", "UpdateItem"].map(|operation| proxy.count(operation));
    let mut before = calls();
    for round in 1..=2 {
        let ids: Vec<_> = (0..10).map(|_| event_id()).collect();
        let bodies: Vec<_> = ids.iter().map(|id| delivery(&endpoint, &event(&tenant, id, &json!({})))).collect();
        assert_eq!(failed(&deliver::handle(batch(&bodies), &app).await.unwrap()), 0);
        for id in &ids {
            assert_eq!(stack.attempts(&tenant, id, &endpoint).await.len(), 1);
        }
        let after = calls();
        let [reads, inserts, updates] = [0, 1, 2].map(|index| after[index] - before[index]);
        assert_eq!((reads, updates), (1, 0), "round {round}");
        // One call, if all answers come within ten milliseconds.
        assert!((1..=4).contains(&inserts), "round {round}: {inserts} calls");
        before = after;
    }
    assert_eq!(receiver.so_far().len(), 20);
}

#[tokio::test]
async fn a_record_waits_for_no_neighbour_that_hangs() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let (healthy, hanging) = (Receiver::start(|_| 204).await, Receiver::start(|_| 204).await);
    hanging.hold();
    let own = stack.register_with(&tenant, &json!({"url": healthy.url})).await.id;
    let neighbour = stack.register_with(&tenant, &json!({"url": hanging.url, "timeoutSeconds": 30})).await.id;
    stack.make_quick(&own).await;
    stack.make_quick(&neighbour).await;
    let app = deliver::app(&stack.aws, deliver::Config::from_lookup(lookup).unwrap()).unwrap();
    let (id, event) = (event_id(), |id: &str| event(&tenant, id, &json!({})));
    let bodies = [delivery(&own, &event(&id)), delivery(&neighbour, &event(&event_id()))];

    let invocation = deliver::handle(batch(&bodies), &app);
    let recorded = async { while stack.attempts(&tenant, &id, &own).await.is_empty() {} };
    tokio::select! {
        _ = invocation => panic!("the invocation ends before the neighbour's timeout"),
        () = recorded => {}
    }
}

#[tokio::test]
async fn first_attempts_recorded_together_are_judged_separately() {
    let stack = LocalStack::from_env().await;
    let dynamodb = aws_sdk_dynamodb::Client::new(&stack.aws);
    let table = Deliveries::new(dynamodb, setting("EVENTS_TABLE"), Duration::from_hours(1));
    let endpoint = EndpointId::new(Uuid::new_v4());
    let event = || EventKey { tenant: tenant(), source: "/core".into(), id: EventId::parse(&event_id()).unwrap() };
    let attempt = attempt(1, Some(204));
    let status = DeliveryStatus::Delivered;
    let progress = Progress {
        status,
        attempts: 1,
        before_replay: 0,
        next_attempt_unix_ms: 1,
        replay: None,
        last_sent: None,
        last_answer: None,
    };
    let (known, leased, new) = (event(), event(), event());
    let [known, leased, new] = [&known, &leased, &new].map(|event| DeliveryKey {
        event,
        endpoint: &endpoint,
        arrived_unix_ms: ARRIVED,
        retention_days: None,
    });
    assert_eq!(table.record(known, &attempt, None, progress).await.unwrap(), Recorded::Yes);
    table.release(leased, None).await.unwrap();

    let recorded = [known, leased, new, new].map(|key| table.record_first(key, &attempt, progress));
    let recorded: Vec<_> = join_all(recorded).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(recorded, [Recorded::Overtaken, Recorded::Yes, Recorded::Yes, Recorded::Overtaken]);
    for key in [known, leased, new] {
        assert_eq!(table.attempts(key).await.unwrap(), std::slice::from_ref(&attempt));
        let standing = table.standing(key).await.unwrap().unwrap();
        assert_eq!((standing.progress, standing.leased_until_unix_ms), (Some(progress), 0));
    }
    let absent = event();
    let keys = [known, DeliveryKey { event: &absent, ..known }, new, new];
    let read = join_all(keys.map(|key| table.standing_batched(key))).await;
    let read: Vec<_> = read.into_iter().map(|one| one.unwrap().and_then(|one| one.progress)).collect();
    assert_eq!(read, [Some(progress), None, Some(progress), Some(progress)]);
}
