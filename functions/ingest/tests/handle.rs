//! Requests that `ingest` refuses before it sends anything, from the files that `sam local invoke` takes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use aws_config::{BehaviorVersion, SdkConfig};
use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use aws_lambda_events::encodings::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ingest::{App, Config, handle};
use serde_json::{Value, json};

/// Creates the app without region and credentials: a request that calls AWS gets a 503.
fn app() -> App {
    let aws = SdkConfig::builder().behavior_version(BehaviorVersion::latest()).build();
    App::new(
        &aws,
        Config { endpoints_table: "endpoints".into(), events_queue_url: "https://queue.invalid/events".into() },
    )
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
        ("/id", r#""no#hashes""#),
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
async fn refusals_say_why() {
    let too_large = |pad: usize| {
        let mut request = request(include_str!("../../../events/ingest-single.json"));
        request.body = request.body.map(|body| body.replace("op-1\"", &format!("{}\"", "x".repeat(pad))));
        request
    };
    let in_base64 = |mut request: ApiGatewayV2httpRequest| {
        request.body = request.body.map(|body| STANDARD.encode(body));
        request.is_base64_encoded = true;
        request
    };
    let not_utf8 = || {
        let mut request = request(include_str!("../../../events/ingest-base64.json"));
        request.body = Some("/w==".into());
        request
    };
    let cases = [
        (request(include_str!("../../../events/ingest-not-json.json")), 400, "JSON that ends too early"),
        (request(include_str!("../../../events/ingest-unsupported.json")), 415, "application/cloudevents-batch+json"),
        (too_large(1_044_480), 413, "1044480 bytes"),
        (too_large(4 * 1024 * 1024), 413, "4194304 bytes"),
        (in_base64(too_large(4 * 1024 * 1024)), 413, "4194304 bytes"),
        (in_base64(too_large(3 * 1024 * 1024)), 413, "1044480 bytes"),
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

/// Returns a request with this body and these headers; an empty value removes a header.
fn sent(file: &str, headers: &[(&'static str, &str)], body: &str) -> ApiGatewayV2httpRequest {
    let mut request = request(file);
    for (name, value) in headers {
        request.headers.remove(*name);
        if !value.is_empty() {
            request.headers.insert(*name, value.parse().unwrap());
        }
    }
    request.body = Some(body.into());
    request
}

const SINGLE: &str = include_str!("../../../events/ingest-single.json");
const BINARY: &str = include_str!("../../../events/ingest-binary.json");

#[tokio::test]
async fn an_event_with_a_wrong_media_type_is_refused_with_the_right_one() {
    const BATCH: &str = "application/cloudevents-batch+json";
    let event = || request(SINGLE).body.unwrap_or_default();
    let data = || request(BINARY).body.unwrap_or_default();
    let batch = format!("[{}]", event());
    let cases = vec![
        (sent(SINGLE, &[], &batch), 400, "wrong-media-type", BATCH),
        (sent(SINGLE, &[("content-type", "application/json")], "[]"), 400, "wrong-media-type", BATCH),
        (sent(SINGLE, &[("content-type", BATCH)], &event()), 400, "wrong-media-type", "application/cloudevents+json"),
        (sent(SINGLE, &[("content-type", BATCH)], "[]"), 400, "out-of-range", "0 events"),
        (sent(SINGLE, &[("content-type", BATCH)], "7"), 400, "wrong-type", "1 to 100"),
        (sent(SINGLE, &[("content-type", "")], &event()), 415, "missing", "application/cloudevents+json"),
        (sent(BINARY, &[("content-type", "")], &data()), 415, "missing", "application/json"),
        (sent(BINARY, &[("content-type", "text/xml")], "<a/>"), 415, "text/xml", "application/json"),
        (sent(BINARY, &[("ce-tenant", "")], &data()), 400, "missing", "/tenant"),
        (sent(BINARY, &[], &data()), 503, "", ""),
        (sent(BINARY, &[("content-type", "text/json; charset=utf-8")], &data()), 503, "", ""),
        (sent(SINGLE, &[("content-type", "application/json")], &event()), 503, "", ""),
        (sent(SINGLE, &[("content-type", "Text/JSON")], &event()), 503, "", ""),
        (sent(BINARY, &[("content-type", "application/vnd.acme+json")], &data()), 503, "", ""),
    ];
    for (request, status, first, second) in cases {
        let shown = format!("{:?} {:?}", request.headers, request.body);
        let response = handle(request, &app()).await;
        let problem = body(&response).to_string();
        assert_eq!(response.status_code, status, "{shown}: {problem}");
        assert!(problem.contains(first) && problem.contains(second), "{shown}: {problem}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_plain_json_is_refused_in_plain_words() {
    let utf16 = || {
        let mut request = sent(SINGLE, &[], "//57AH0A");
        request.is_base64_encoded = true;
        request
    };
    let cases = [
        (sent(SINGLE, &[], ""), 400, "missing", "nothing"),
        (sent(SINGLE, &[], "\u{feff}{}"), 400, "not-json", "a byte order mark before the JSON"),
        (sent(SINGLE, &[], "{\"data\":NaN}"), 400, "not-json", "`NaN`"),
        (utf16(), 400, "not-utf8", "from byte 1 on"),
        (sent(SINGLE, &[("content-encoding", "gzip")], "x"), 415, "gzip", "without a content coding"),
        (sent(SINGLE, &[("content-encoding", "identity, br")], "x"), 415, "br", "without a content coding"),
        (sent(SINGLE, &[("content-encoding", "identity")], "7"), 400, "wrong-type", "a JSON object"),
    ];
    for (request, status, first, second) in cases {
        let response = handle(request, &app()).await;
        let problem = body(&response).to_string();
        assert_eq!(response.status_code, status, "{problem}");
        assert!(problem.contains(first) && problem.contains(second), "{problem}");
        assert!(!problem.contains("expected value") && !problem.contains(" at line "), "{problem}");
        assert_eq!(response.headers.get("accept-encoding").is_some(), problem.contains("content coding"));
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
