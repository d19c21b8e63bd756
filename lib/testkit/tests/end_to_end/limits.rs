//! Limits of an endpoint: concurrent requests and requests per second, over all senders.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::json;
use signpost_core::delivery::parking::Lane;
use signpost_core::delivery::{DeliveryKey, LONGEST_ATTEMPT};
use signpost_core::event::Event;
use signpost_engine::ports::parking::Parking as _;
use signpost_testkit::aws_proxy::{AwsProxy, Hold};
use signpost_testkit::build::{ARRIVED, delivery, event, event_id, tenant};
use signpost_testkit::event_source::EventSource;
use signpost_testkit::lineage::{LONGEST_CHAIN, Lineage};
use signpost_testkit::local_stack::{LocalStack, setting};
use signpost_testkit::receiver::{Received, Receiver};
use tokio::time::timeout;

use crate::busy::undisturbed;
use crate::own::{Own, stored};

/// The time that a receiver takes to answer, so that requests overlap.
const SLOW: Duration = Duration::from_millis(200);

fn ids(requests: &[Received]) -> HashSet<String> {
    requests.iter().map(|request| request.event_id().to_owned()).collect()
}

#[tokio::test]
async fn no_more_than_the_limit_are_sent_at_once_and_what_found_no_slot_follows() {
    const LIMIT: usize = 3;
    const DELIVERIES: usize = 40;
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let (own, receiver) = (Own::of(&stack).await, Receiver::start_slow(SLOW).await);
    let settings = json!({"url": receiver.url, "maxConcurrency": LIMIT});
    let endpoint = stack.register_with(&tenant, &settings).await.id;
    let sent: HashSet<_> = own.send(&stack, &tenant, &endpoint, DELIVERIES).await.into_iter().collect();
    let hosts = [(); 4].map(|()| own.host("deliver", &setting("AWS_ENDPOINT_URL")));
    let _sources = hosts.each_ref().map(|host| EventSource::start(host, &stack.aws, &own.deliveries));

    // No sweep runs yet: the holders of slots send parked deliveries.
    receiver.wait_for(DELIVERIES / 2).await;
    let without_a_sweep = timeout(Duration::from_secs(30), receiver.wait_for(DELIVERIES)).await;
    // On a busy machine AWS may refuse a call of the last holder. Then only a sweep can send the rest.
    let requests = match without_a_sweep {
        Ok(requests) => requests,
        Err(_) => own.sweep_until_all(&receiver, &sent).await,
    };

    assert_eq!(ids(&requests).len(), DELIVERIES, "each event arrives once");
    // If AWS refuses calls, a slot may stay empty for a while.
    assert!((2..=LIMIT).contains(&receiver.most_at_once()), "{} at once", receiver.most_at_once());
}

/// Uses the deployed functions, with their own roles.
#[tokio::test]
async fn both_limits_hold_together_and_everything_arrives() {
    const EVENTS: usize = 12;
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let receiver = Receiver::start_slow(SLOW).await;
    let settings = json!({"url": receiver.url, "maxConcurrency": 2, "maxPerSecond": 3});
    stack.register_with(&tenant, &settings).await;
    stack.send_events((0..EVENTS).map(|_| event(&tenant, &event_id(), &json!({})).to_string())).await;

    let requests = receiver.wait_for(EVENTS).await;

    assert_eq!(ids(&requests).len(), EVENTS, "each event arrives once");
    assert!(receiver.most_at_once() <= 2, "{} at once", receiver.most_at_once());
    let last = requests[EVENTS - 1].at - requests[0].at;
    assert!(last >= Duration::from_secs(2), "{last:?}: at most three per second");
}

#[tokio::test]
async fn a_holder_that_is_killed_in_the_middle_of_a_drain_frees_its_slot_and_nothing_is_lost() {
    const DELIVERIES: usize = 10;
    let (stack, tenant, proxy) = (LocalStack::from_env().await, tenant(), AwsProxy::start().await);
    let (own, receiver) = (Own::of(&stack).await, Receiver::start_slow(SLOW).await);
    let settings = json!({"url": receiver.url, "maxConcurrency": 1});
    let endpoint = stack.register_with(&tenant, &settings).await.id;
    let sent: HashSet<_> = own.send(&stack, &tenant, &endpoint, DELIVERIES).await.into_iter().collect();
    let deliver = own.host("deliver", proxy.url());
    let _source = EventSource::start(&deliver, &stack.aws, &own.deliveries);

    receiver.wait_for(3).await;
    proxy.hold("DeleteItem", Hold::Called); // The sent delivery is to be deleted.
    proxy.wait_for_held(1).await;
    deliver.kill().await;
    proxy.heal();
    let by_then = receiver.so_far();
    let requests = own.sweep_until_all(&receiver, &sent).await;

    assert!((3..DELIVERIES).contains(&by_then.len()), "{} requests before the kill", by_then.len());
    let idle = requests[by_then.len()].at - by_then[0].at;
    assert!(idle >= LONGEST_ATTEMPT, "{idle:?}: the dead holder's attempt might still have been running");
    assert_eq!(receiver.most_at_once(), 1);
    assert_eq!(requests.len(), DELIVERIES, "recorded deliveries are not sent again");
}

#[tokio::test]
async fn no_more_than_so_many_are_sent_in_a_second_and_the_others_follow() {
    const PER_SECOND: usize = 2;
    const DELIVERIES: usize = 12;
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let (own, receiver) = (Own::of(&stack).await, Receiver::start(|_| 204).await);
    let settings = json!({"url": receiver.url, "maxPerSecond": PER_SECOND});
    let endpoint = stack.register_with(&tenant, &settings).await.id;
    let sent: HashSet<_> = own.send(&stack, &tenant, &endpoint, DELIVERIES).await.into_iter().collect();
    let hosts = [(); 2].map(|()| own.host("deliver", &setting("AWS_ENDPOINT_URL")));
    let _sources = hosts.each_ref().map(|host| EventSource::start(host, &stack.aws, &own.deliveries));

    let requests = own.sweep_until_all(&receiver, &sent).await;

    assert_eq!(requests.len(), DELIVERIES, "each event arrives once");
    let took = requests[DELIVERIES - 1].at - requests[0].at;
    assert!(
        took >= Duration::from_secs(4),
        "{took:?}: they take six seconds of the clock, of which the first and the last are partial"
    );
}

/// Lambda would cut a chain of 16 invocations. 14 invocations have led to the first message of this one.
#[tokio::test]
async fn a_drain_goes_on_when_its_chain_is_longer_than_lambda_allows_by_default() {
    // A call that AWS refuses ends the chain until the next sweep, and none runs here.
    let (arrived, sent, dropped) = undisturbed("a long chain", drain_by_a_long_chain).await;

    assert_eq!(arrived, sent, "each event arrives");
    assert_eq!(dropped, 0, "the template lets deliver loop");
}

/// Drains a lane by a long chain, without a sweep. Returns the events that arrived, those that were sent, and how many messages
/// Lambda would not have handed over.
async fn drain_by_a_long_chain(proxy: AwsProxy) -> (HashSet<String>, HashSet<String>, usize) {
    const BEFORE: u32 = 15;
    const DELIVERIES: usize = 40;
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let (own, receiver) = (Own::of(&stack).await, Receiver::start_slow(Duration::from_secs(1)).await);
    let settings = json!({"url": receiver.url, "maxConcurrency": 1});
    let endpoint = stack.register_with(&tenant, &settings).await.id;
    let mut lineage = Lineage::default();
    for _ in 0..BEFORE {
        lineage = lineage.invoke("deliver", false).unwrap();
    }
    let (parking, mut sent) = (own.parking(), HashSet::new());
    parking.ask_to_drain(&tenant, &endpoint).await.unwrap();
    for number in 1..DELIVERIES {
        let event = stored(&stack, &tenant, &endpoint).await;
        let parked = Event::parse(&event.to_string()).unwrap();
        let key =
            DeliveryKey { event: &parked.key, endpoint: &endpoint, arrived_unix_ms: ARRIVED, retention_days: None };
        parking.park(Lane::Endpoint(endpoint.clone()), number as u64, key).await.unwrap();
        sent.insert(event["id"].as_str().unwrap().to_owned());
    }
    let event = stored(&stack, &tenant, &endpoint).await;
    sent.insert(event["id"].as_str().unwrap().to_owned());
    own.send_traced(&delivery(&endpoint, &event), &lineage).await;
    let deliver = own.host("deliver", proxy.url());
    let _source = EventSource::start_with_traces(&deliver, &stack.aws, &own.deliveries, proxy.traces());

    // No sweep runs, so only the chain sends them: 15 seconds of each drain, and one message to go on.
    let requests = receiver.wait_for(DELIVERIES).await;

    let longest = proxy.traces().longest("deliver");
    assert!(longest > LONGEST_CHAIN, "the chain has {longest} invocations");
    (ids(&requests), sent, deliver.dropped())
}
