//! EventBridge as a door: the rule of the template, with its input transformer.

use serde_json::{Value, json};
use signpost_core::endpoint::Endpoint;
use signpost_testkit::build::tenant;
use signpost_testkit::local_stack::LocalStack;
use signpost_testkit::program::python;
use signpost_testkit::receiver::Receiver;

#[tokio::test]
async fn an_event_of_a_bus_arrives_as_a_webhook() {
    let stack = LocalStack::from_env().await;
    let receiver = Receiver::start(|_| 204).await;
    let tenant = tenant();
    stack.register(&tenant, &Endpoint::new(&receiver.url)).await;
    let detail = json!({"tenant": tenant.as_str(), "order": "o-1", "note": "say \"yes\""});

    // The stack's parameter EventBusSources names this source, and not the other one.
    for source in ["signpost.other", "signpost.tests"] {
        let entry = json!({"Source": source, "DetailType": "Order Placed", "Detail": detail.to_string()});
        let output = python("put_event.py", &[&entry.to_string()]).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        if source == "signpost.other" {
            continue;
        }
        let [webhook] = &receiver.wait_for(1).await[..] else { panic!("one webhook") };
        assert_eq!(webhook.event_id(), String::from_utf8_lossy(&output.stdout).trim(), "the id of EventBridge");
        assert_eq!((webhook.header("ce-type"), webhook.header("ce-source")), ("Order%20Placed", source));
        assert_eq!(serde_json::from_slice::<Value>(&webhook.body).unwrap(), detail);
    }
}
