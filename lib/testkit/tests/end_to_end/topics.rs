//! Events that producers publish to an SNS topic.

use serde_json::{Value, json};
use signpost_core::endpoint::Endpoint;
use signpost_testkit::build::{event, event_id, tenant};
use signpost_testkit::local_stack::LocalStack;
use signpost_testkit::program::python;
use signpost_testkit::receiver::Receiver;

#[tokio::test]
async fn an_event_of_a_topic_arrives_as_a_webhook_with_and_without_the_wrapping_of_sns() {
    let stack = LocalStack::from_env().await;
    let receiver = Receiver::start(|_| 204).await;
    let tenant = tenant();
    stack.register(&tenant, &Endpoint::new(&receiver.url)).await;

    for (number, kind) in [(1, "raw"), (2, "wrapped")] {
        let id = event_id();
        let published = event(&tenant, &id, &json!({"kind": kind, "note": "say \"yes\"\n"}));
        let output = python("publish.py", &["signpost-tests", kind, &published.to_string()]).await;
        assert!(output.status.success(), "{kind}: {}", String::from_utf8_lossy(&output.stderr));
        let webhooks = receiver.wait_for(number).await;
        let webhook = webhooks.last().unwrap();
        assert_eq!(webhook.event_id(), id, "{kind}");
        assert_eq!(serde_json::from_slice::<Value>(&webhook.body).unwrap(), published["data"], "{kind}");
    }
}
