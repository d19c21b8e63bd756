//! Notices about endpoints: to the tenant's address, as signed webhooks, and to the operator's queue.

use serde_json::{Value, json};
use signpost_core::endpoint::EndpointId;
use signpost_core::event::{Event, TenantId};
use signpost_testkit::build::{event, event_id, tenant};
use signpost_testkit::local_stack::{LocalStack, endpoint_path};
use signpost_testkit::receiver::{Received, Receiver};
use signpost_testkit::verify::independently_with;

use crate::handlers::lookup;

async fn set_notices(stack: &LocalStack, tenant: &TenantId, url: &str) -> (EndpointId, String) {
    let settings = json!({"url": url, "signatures": ["jws", "standard-webhooks"]});
    let answer = stack.manage("PUT", &format!("/v1/tenants/{tenant}/notices"), Some(&settings)).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let text = |name: &str| answer.json()[name].as_str().unwrap().to_owned();
    assert_eq!(answer.header("location"), format!("/v1/tenants/{tenant}/notices"));
    (EndpointId::parse(&text("id")).unwrap(), text("signingSecret"))
}

async fn fail(stack: &LocalStack, tenant: &TenantId, count: usize) {
    let events = (0..count).map(|_| event(tenant, &event_id(), &json!({})).to_string());
    stack.send_events(events.collect::<Vec<_>>()).await;
}

fn kind(request: &Received) -> &str {
    request.header("ce-type")
}

/// Uses the deployed functions, with their own roles.
#[tokio::test]
async fn an_address_of_notices_hears_once_of_an_endpoint_that_fails() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let (failing, owner) = (Receiver::start(|_| 500).await, Receiver::start(|_| 204).await);
    let endpoint = stack.register_with(&tenant, &json!({"url": format!("{}?token=secret", failing.url)})).await.id;
    let (address, secret) = set_notices(&stack, &tenant, &owner.url).await;

    fail(&stack, &tenant, 15).await;
    stack.wait_for_parked(&endpoint, 15).await;
    fail(&stack, &tenant, 5).await;
    stack.wait_for_parked(&endpoint, 20).await;
    let first = owner.wait_for(1).await.remove(0);
    assert_eq!(kind(&first), "signpost.endpoint-failing");
    let data: Value = serde_json::from_slice(&first.body).unwrap();
    assert_eq!((&data["endpoint"], &data["tenant"]), (&json!(endpoint.as_str()), &json!(tenant.as_str())));
    assert_eq!((&data["reason"], &data["documentation"]), (&json!("status"), &json!("docs/operating.md#notices")));
    assert!(failing.url.contains(data["host"].as_str().unwrap()) && !data.to_string().contains("secret"), "{data}");
    for report in independently_with(&stack.keys_url(&tenant), std::slice::from_ref(&first), &secret).await {
        assert_eq!((report.error, report.verified.is_empty()), (None, false));
    }

    // The tenant's own endpoint does not get it, because it did not choose the type, and it is about itself.
    assert!(failing.so_far().iter().all(|request| !kind(request).starts_with("signpost.")));
    let test = stack.manage("POST", &format!("{}/test", endpoint_path(&tenant, &address)), None).await;
    assert_eq!(test.status, 202);
    let all = owner.wait_for(2).await;
    let kinds: Vec<_> = all.iter().map(kind).collect();
    assert_eq!(kinds, ["signpost.endpoint-failing", "signpost.test"], "once, however many deliveries fail");
}

#[tokio::test]
async fn an_owner_hears_of_a_receiver_that_is_gone_and_of_a_delivery_that_was_given_up() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let (gone, failing) = (Receiver::start(|_| 410).await, Receiver::start(|_| 500).await);
    let owner = Receiver::start(|_| 204).await;
    set_notices(&stack, &tenant, &owner.url).await;
    let settings =
        json!({"url": failing.url, "types": [{"type": "fails"}], "retry": {"maxRetries": 0, "intervalSeconds": 1}});
    let fails = stack.register_with(&tenant, &settings).await.id;
    let other = stack.register_with(&tenant, &json!({"url": gone.url, "types": [{"type": "gone"}]})).await.id;
    for kind in ["fails", "fails", "gone"] {
        let mut event = event(&tenant, &event_id(), &json!({}));
        event["type"] = kind.into();
        stack.send_events([event.to_string()]).await;
    }
    let notices = owner.wait_for(2).await;
    let seen = |kind_of: &str| -> Value {
        let found = notices.iter().find(|request| kind(request) == kind_of).unwrap();
        serde_json::from_slice(&found.body).unwrap()
    };
    let disabled = seen("signpost.endpoint-disabled");
    assert_eq!((&disabled["endpoint"], &disabled["disabledBecause"]), (&json!(other.as_str()), &json!("gone")));
    assert_eq!(seen("signpost.delivery-exhausted")["endpoint"], fails.as_str());
}

#[tokio::test]
async fn an_address_of_notices_is_set_replaced_and_removed() {
    let (stack, tenant, receiver) = (LocalStack::from_env().await, tenant(), Receiver::start(|_| 204).await);
    let path = format!("/v1/tenants/{tenant}/notices");
    let ask = async |method: &str, body: Option<Value>| stack.manage(method, &path, body.as_ref()).await;
    assert_eq!(ask("GET", None).await.status, 404);
    assert_eq!(ask("DELETE", None).await.status, 404);
    let (id, _) = set_notices(&stack, &tenant, &receiver.url).await;

    let selection = json!({
        "url": receiver.url, "types": [{"type": "operation"}], "filter": {"source": ["/core"]}, "sequence": true,
        "cloudEvents": "headers",
    });
    let refused = ask("PUT", Some(selection)).await;
    let faults = refused.json()["errors"].clone();
    let pointers: Vec<_> = faults.as_array().unwrap().iter().map(|fault| fault["pointer"].as_str().unwrap()).collect();
    assert_eq!((refused.status, &*pointers), (400, &["/types", "/filter", "/sequence"][..]), "{refused:?}");
    let replaced = ask("PUT", Some(json!({"url": format!("{}/other", receiver.url), "timeoutSeconds": 5}))).await;
    assert_eq!(replaced.status, 200);
    let shown = ask("GET", None).await.json();
    assert_eq!(shown, replaced.json());
    assert_eq!((&shown["purpose"], &shown["id"]), (&json!("notices"), &json!(id.as_str())));
    assert_eq!((&shown["timeoutSeconds"], &shown["signatures"]), (&json!(5), &json!(["jws"])), "all of it is replaced");

    let endpoint = endpoint_path(&tenant, &id);
    let narrowed = stack.manage("PATCH", &endpoint, Some(&json!({"types": []}))).await;
    assert_eq!(narrowed.status, 409, "{narrowed:?}");
    let numbered = json!({"sequence": true, "cloudEvents": "headers"});
    let numbered = stack.manage("PATCH", &endpoint, Some(&numbered)).await;
    assert_eq!(numbered.status, 409, "{numbered:?}");
    assert_eq!(stack.manage("PATCH", &endpoint, Some(&json!({"description": "ops"}))).await.status, 200);
    let other = stack.register_with(&tenant, &json!({"url": receiver.url})).await.id;
    let purpose = stack.manage("GET", &endpoint_path(&tenant, &other), None).await.json()["purpose"].clone();
    assert_eq!(purpose, "events");

    assert_eq!(ask("DELETE", None).await.status, 204);
    assert_eq!(ask("GET", None).await.status, 404);
    set_notices(&stack, &tenant, &receiver.url).await;
}

/// `fanout` in this process, with a queue of this test, as the stack has one if `NoticesTopicArn` is set. The pipe from that
/// queue is not played here: `infra/local/check-notices.py` compares its paths with this event's schema.
#[tokio::test]
async fn the_operator_gets_a_copy_of_each_notice_once() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let queue = stack.queue(&format!("notices-{tenant}")).await;
    let with_topic = |name: &str| if name == "NOTICES_TOPIC_QUEUE_URL" { Some(queue.clone()) } else { lookup(name) };
    let app = fanout::App::new(&stack.aws, fanout::Config::from_lookup(with_topic).unwrap());
    let id = format!("failing-ep_{}-1769853600000", "0".repeat(32));
    let notice = |parked: u32, message: &str| {
        let body = json!({
            "specversion": "1.0", "id": id, "source": "/signpost", "type": "signpost.endpoint-failing",
            "tenant": tenant.as_str(), "subject": format!("ep_{}", "0".repeat(32)), "time": "2026-01-31T10:00:00Z",
            "data": {"parkedAtLeast": parked},
        });
        let record = json!({
            "messageId": message, "receiptHandle": "r", "body": body.to_string(), "messageAttributes": {},
            "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1769853600000"},
            "eventSourceARN": lookup("OWN_EVENTS_QUEUE_ARN"),
        });
        serde_json::from_value(json!({ "Records": [record] })).unwrap()
    };
    for (parked, message) in [(3, "m-1"), (4, "m-2")] {
        let response = fanout::handle(notice(parked, message), &app).await.unwrap();
        assert!(response.batch_item_failures.is_empty());
    }
    let copies = stack.take_all(&queue).await;
    assert_eq!(copies.len(), 1, "the second one is dropped, although it has other figures");
    let copy = Event::parse_own(copies[0].body().unwrap()).unwrap();
    assert_eq!((&*copy.kind, copy.data()), ("signpost.endpoint-failing", r#"{"parkedAtLeast":3}"#));
}
