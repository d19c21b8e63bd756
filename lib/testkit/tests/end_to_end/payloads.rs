//! Payloads of the five documented vendors, sent through the whole stack.

use serde_json::{Value, json};
use signpost_core::endpoint::{Endpoint, Method, TypeFilter};
use signpost_testkit::build::{event, event_id, tenant};
use signpost_testkit::examples::EXAMPLES;
use signpost_testkit::local_stack::{LocalStack, attribute};
use signpost_testkit::receiver::Receiver;
use signpost_testkit::verify::{independently, independently_behind};

#[tokio::test]
async fn every_vendor_example_arrives_as_documented_and_verifies() {
    let stack = LocalStack::from_env().await;
    let receiver = Receiver::start(|_| 200).await;
    let tenant = tenant();
    stack.register(&tenant, &Endpoint::new(&receiver.url)).await;

    for example in EXAMPLES {
        let answer = stack.post_events("application/cloudevents+json", example.event(tenant.as_str())).await;
        assert_eq!(answer.status, 202, "{}: {}", example.name, answer.text);
    }

    let requests = receiver.wait_for(EXAMPLES.len()).await;
    for example in EXAMPLES {
        let request = requests.iter().find(|request| request.event_id() == example.id()).unwrap();
        assert_eq!(request.body, example.body(), "{}", example.name);
    }
    for report in independently(&stack.keys_url(&tenant), &requests).await {
        assert_eq!(report.error, None, "{report:?}");
    }
}

#[tokio::test]
async fn an_endpoint_chooses_statuses_fields_and_method() {
    let stack = LocalStack::from_env().await;
    let tenant = tenant();
    let (gets, puts) = (Receiver::start(|_| 200).await, Receiver::start(|_| 200).await);
    let mut get = Endpoint::new(format!("{}?key=1", gets.url));
    get.method = Method::Get;
    get.types = vec![TypeFilter { statuses: vec!["error".into()], ..TypeFilter::of("token-request") }];
    let mut put = Endpoint::new(&puts.url);
    put.method = Method::Put;
    put.types = vec![
        TypeFilter { statuses: vec!["APPROVED".into()], ..TypeFilter::of("operation") },
        TypeFilter { stages: vec!["Accounts".into()], ..TypeFilter::of("session") },
    ];
    put.fields.insert("operation".into(), vec!["status".into()]);
    put.fields.insert("session".into(), Vec::new());
    stack.register(&tenant, &get).await;
    stack.register(&tenant, &put).await;

    stack.send_events(EXAMPLES.map(|example| example.event(tenant.as_str()))).await;

    let got = gets.wait_for(1).await;
    assert_eq!((got[0].method.as_str(), got[0].body.len()), ("GET", 0));
    let id = "rq:3SVzgJtzu2DvaZSgRGznpdknT3dq:5zKtXEAq";
    let page =
        format!("request-id={id}&request_id={id}&trace-id=idm45Ag1X8D8Kvdw&error=14&message=Bank+is+unavailable");
    assert_eq!(got[0].uri.query(), Some(&*format!("key=1&{page}")));
    let put = puts.wait_for(2).await;
    let mut bodies: Vec<_> = put.iter().map(|request| (request.method.as_str(), &*request.body)).collect();
    bodies.sort_unstable();
    let operation = r#"{"type":"OPERATION","operationId":"7a0c2c2b-4a3e-4b6e-9a44-0c4f1d3c7e21","status":"APPROVED"}"#;
    let session = r#"{"sessionId":"0d5c2b7e-3f5a-4c1d-9b2e-7a6f5e4d3c2b","stage":"Accounts","status":"InProgress"}"#;
    assert_eq!(bodies, [("PUT", session.as_bytes()), ("PUT", operation.as_bytes())]);
    let keys_url = stack.keys_url(&tenant);
    let reports = [independently_behind(&keys_url, "key=1", &got, "").await, independently(&keys_url, &put).await];
    for report in reports.concat() {
        assert_eq!(report.error, None, "{report:?}");
    }
}

#[tokio::test]
async fn a_payload_with_faults_is_refused_at_both_doors_with_the_same_list() {
    let stack = LocalStack::from_env().await;
    let id = event_id();
    let mut faulty = event(&tenant(), &id, &json!({"paymentStatus": "completed", "bank": {"id": true}}));
    faulty["type"] = json!("payment");

    let answer = stack.post_events("application/cloudevents+json", faulty.to_string()).await;
    stack.send_events([faulty.to_string()]).await;

    assert_eq!(answer.status, 400);
    let errors = &answer.json()["errors"];
    let pointers: Vec<_> = errors.as_array().unwrap().iter().map(|error| &error["pointer"]).collect();
    assert_eq!(pointers, ["/data/bank/id", "/data/paymentId", "/data/paymentStatus"]);
    let message = stack.wait_for_message("REJECTED_QUEUE_URL", |body| body.contains(&id)).await;
    assert_eq!(serde_json::from_str::<Value>(attribute(&message, "faults")).unwrap(), *errors);
}
