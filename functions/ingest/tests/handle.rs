//! Requests that are refused before anything is sent, from the files that `sam local invoke` takes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use aws_config::{BehaviorVersion, SdkConfig};
use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use aws_lambda_events::encodings::Body;
use ingest::{App, Config, handle};
use serde_json::{Value, json};

/// Without region and credentials: whatever reaches for AWS gets a 503.
fn app() -> App {
    let aws = SdkConfig::builder().behavior_version(BehaviorVersion::latest()).build();
    App::new(&aws, Config { events_queue_url: "https://queue.invalid/events".into() })
}

fn request(file: &str) -> ApiGatewayV2httpRequest {
    serde_json::from_str(file).unwrap()
}

fn body(response: &ApiGatewayV2httpResponse) -> Value {
    let Some(Body::Text(text)) = &response.body else { panic!("no text in {response:?}") };
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn every_fault_is_listed_with_what_was_found_and_expected() {
    let response = handle(request(include_str!("../../../events/ingest-faults.json")), &app()).await;

    assert_eq!(response.status_code, 400);
    assert_eq!(response.headers["content-type"], "application/problem+json");
    let problem = body(&response);
    assert_eq!((&problem["status"], &problem["title"]), (&json!(400), &json!("Bad Request")));
    let faults = problem["errors"].as_array().unwrap();
    let told: Vec<_> =
        faults.iter().map(|one| (one["pointer"].as_str().unwrap(), one["found"].as_str().unwrap())).collect();
    let expected = [
        ("/specversion", r#""0.3""#),
        ("/id", r#""no.dots""#),
        ("/source", r#""not a uri""#),
        ("/type", "nothing"),
        ("/tenant", r#""ACME""#),
        ("/data", "[]"),
    ];
    assert_eq!(told, expected);
    assert!(faults.iter().all(|one| !one["expected"].as_str().unwrap().is_empty()));
}

#[tokio::test]
async fn one_bad_event_refuses_the_whole_batch_and_is_named_by_its_index() {
    let response = handle(request(include_str!("../../../events/ingest-batch-faults.json")), &app()).await;

    assert_eq!(response.status_code, 400);
    let problem = body(&response);
    let pointers: Vec<_> = problem["errors"].as_array().unwrap().iter().map(|one| &one["pointer"]).collect();
    assert_eq!(pointers, ["/1/id", "/1/source", "/1/type", "/1/tenant", "/1/data"]);
}

#[tokio::test]
async fn what_is_refused_says_why() {
    let too_large = |pad: usize| {
        let mut request = request(include_str!("../../../events/ingest-single.json"));
        request.body = request.body.map(|body| body.replace("op-1\"", &format!("{}\"", "x".repeat(pad))));
        request
    };
    let not_utf8 = || {
        let mut request = request(include_str!("../../../events/ingest-base64.json"));
        request.body = Some("/w==".into());
        request
    };
    let cases = [
        (request(include_str!("../../../events/ingest-not-json.json")), 400, "EOF while parsing"),
        (request(include_str!("../../../events/ingest-unsupported.json")), 415, "application/cloudevents-batch+json"),
        (too_large(256 * 1024), 413, "262144 bytes"),
        (too_large(7 * 1024 * 1024), 413, "262144 bytes"),
        (not_utf8(), 400, "UTF-8"),
    ];
    for (request, status, text) in cases {
        let response = handle(request, &app()).await;
        assert_eq!(response.status_code, status, "{text}");
        let problem = body(&response).to_string();
        assert!(problem.contains(text), "{problem}");
        assert_eq!(response.headers["cache-control"], "no-store");
    }
}

#[tokio::test]
async fn an_input_made_to_have_endless_faults_gets_an_answer_that_fits() {
    let mut request = request(include_str!("../../../events/ingest-batch.json"));
    let members: Vec<_> = (0..20_000).map(|index| format!(r#""A{index}":1"#)).collect();
    let event = format!("{{{}}}", members.join(","));
    request.body = Some(format!("[{}]", [&*event; 20].join(",")));

    let response = handle(request, &app()).await;

    let problem = body(&response);
    assert_eq!(problem["errors"].as_array().unwrap().len(), 1_000);
    assert!(problem["detail"].as_str().unwrap().contains("2020"), "{}", problem["detail"]);
}

#[tokio::test]
async fn events_that_cannot_be_queued_are_not_acknowledged() {
    for file in [
        include_str!("../../../events/ingest-single.json"),
        include_str!("../../../events/ingest-batch.json"),
        include_str!("../../../events/ingest-base64.json"),
    ] {
        let response = handle(request(file), &app()).await;
        assert_eq!(response.status_code, 503);
        assert_eq!(response.headers["retry-after"], "1");
    }
}
