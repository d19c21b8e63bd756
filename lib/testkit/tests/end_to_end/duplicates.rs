//! Messages that arrive more than once. One sender at a time sends a delivery, and nobody sends it again once it is
//! delivered.

use std::time::Duration;

use futures_util::future::{join, join_all};
use serde_json::json;
use signpost_core::delivery::LONGEST_ATTEMPT;
use signpost_engine::ports::queue::SINCE;
use signpost_io::runtime::clock::{millis, unix_ms_now};
use signpost_testkit::aws_proxy::AwsProxy;
use signpost_testkit::build::tenant;
use signpost_testkit::local_stack::LocalStack;
use signpost_testkit::receiver::Receiver;

use crate::own::{Own, is_done, presented, stored};

#[tokio::test]
async fn a_message_that_is_presented_again_while_it_is_sent_is_not_sent_again() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let (own, receiver) = (Own::of(&stack).await, Receiver::start_slow(Duration::from_secs(1)).await);
    let endpoint = stack.register_with(&tenant, &json!({"url": receiver.url})).await.id;
    let (event, now) = (stored(&stack, &tenant, &endpoint).await, unix_ms_now());
    let (first, second) = (own.deliver(), own.deliver());

    let again = async {
        receiver.wait_for(1).await;
        is_done(&second, presented(&endpoint, &event, 2, now)).await
    };
    let (first, again) = join(is_done(&first, presented(&endpoint, &event, 1, now)), again).await;

    assert!(first && again);
    assert_eq!(stack.delayed(&own.deliveries).await, 1, "another message comes when the first attempt must have ended");
    assert!(is_done(&second, presented(&endpoint, &event, 3, now)).await, "the attempt is recorded now");
    assert_eq!(receiver.so_far().len(), 1);
}

#[tokio::test]
async fn one_of_many_simultaneous_messages_of_a_delivery_is_sent() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let (own, receiver) = (Own::of(&stack).await, Receiver::start(|_| 204).await);
    let endpoint = stack.register_with(&tenant, &json!({"url": receiver.url})).await.id;
    let (event, now) = (stored(&stack, &tenant, &endpoint).await, unix_ms_now());
    let apps = [(); 5].map(|()| own.deliver());

    let done = join_all(apps.iter().map(|app| {
        let mut message = presented(&endpoint, &event, 1, now);
        let since = json!({"dataType": "String", "stringValue": now.to_string()});
        let attributes = &mut message.records[0].message_attributes;
        attributes.insert(SINCE.to_owned(), serde_json::from_value(since).unwrap());
        is_done(app, message)
    }))
    .await;

    assert!(done.contains(&true));
    assert_eq!(receiver.so_far().len(), 1);
    assert_eq!(stack.attempts(&tenant, event["id"].as_str().unwrap(), &endpoint).await.len(), 1);
}

/// Nobody knows whether the first sender has sent the request until the time of an attempt is over.
#[tokio::test]
async fn a_possibly_sent_delivery_is_sent_again_only_after_the_time_of_an_attempt() {
    let (stack, tenant, proxy) = (LocalStack::from_env().await, tenant(), AwsProxy::start().await);
    let (own, receiver) = (Own::of(&stack).await, Receiver::start(|_| 204).await);
    let endpoint = stack.register_with(&tenant, &json!({"url": receiver.url})).await.id;
    let (event, now) = (stored(&stack, &tenant, &endpoint).await, unix_ms_now());
    let through_proxy = Own { aws: proxy.aws().await, ..own };
    let app = through_proxy.deliver();

    proxy.fail("BatchExecuteStatement");
    assert!(!is_done(&app, presented(&endpoint, &event, 1, now)).await, "sent, but not recorded");
    proxy.heal();
    assert!(is_done(&app, presented(&endpoint, &event, 2, now)).await);
    assert_eq!(stack.delayed(&through_proxy.deliveries).await, 1, "another message comes in its place");
    assert_eq!(receiver.so_far().len(), 1, "the first sender might still be sending");
    let longest = millis(LONGEST_ATTEMPT);
    assert!(is_done(&app, presented(&endpoint, &event, 3, now - longest)).await);
    assert_eq!(receiver.so_far().len(), 2);
}

#[tokio::test]
async fn a_delivery_deferred_by_an_internal_error_is_sent_when_it_is_received_again() {
    let (stack, tenant, proxy) = (LocalStack::from_env().await, tenant(), AwsProxy::start().await);
    let (own, receiver) = (Own::of(&stack).await, Receiver::start(|_| 204).await);
    let endpoint = stack.register_with(&tenant, &json!({"url": receiver.url})).await.id;
    let (event, now) = (stored(&stack, &tenant, &endpoint).await, unix_ms_now());
    let through_proxy = Own { aws: proxy.aws().await, ..own };

    for receives in 1..=2 {
        proxy.fail("Decrypt");
        assert!(!is_done(&through_proxy.deliver(), presented(&endpoint, &event, receives, now)).await);
        proxy.heal();
    }
    assert!(receiver.so_far().is_empty());
    assert!(is_done(&through_proxy.deliver(), presented(&endpoint, &event, 3, now)).await);
    assert_eq!(receiver.so_far().len(), 1);
}
