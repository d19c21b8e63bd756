//! Answers of `echo` to the files that `sam local invoke` takes.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use aws_lambda_events::encodings::Body;
use echo::{TOO_EARLY, handle};
use serde_json::{Value, json};
use signpost_core::delivery::response_excerpt::{KEPT_BYTES, excerpt};

fn request(file: &str) -> ApiGatewayV2httpRequest {
    serde_json::from_str(file).unwrap()
}

fn first_attempt() -> ApiGatewayV2httpRequest {
    request(include_str!("../../../events/echo-first-attempt.json"))
}

fn text(request: &ApiGatewayV2httpRequest) -> (i64, String) {
    let response = handle(request);
    let body = match response.body {
        Some(Body::Text(text)) => text,
        _ => String::new(),
    };
    (response.status_code, body)
}

#[test]
fn the_first_attempt_comes_back_with_what_verifies_it_and_nothing_else() {
    let request = first_attempt();

    let response = handle(&request);

    assert_eq!(response.status_code, i64::from(TOO_EARLY));
    assert_eq!(response.headers["content-type"], "application/json");
    assert_eq!(response.headers["x-content-type-options"], "nosniff", "no browser takes it for a page");
    assert_eq!(response.headers["cache-control"], "no-store");
    let (_, body) = text(&request);
    let echoed: Value = serde_json::from_str(&body).unwrap();
    let expected = json!({"body": "{\"run\":\"5f0c1a2b\",\"text\":\"a\\u0020b\"}", "headers": {
        "ce-source": "/smoke",
        "ce-type": "smoke-5f0c1a2b",
        "webhook-id": "5f0c1a2b-http:5e20e4179b97",
        "webhook-signature": "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
        "webhook-timestamp": "1769853600",
    }});
    assert_eq!(echoed, expected);
    assert_eq!(excerpt(body.as_bytes(), false, &[]), body, "the record keeps it whole");
}

#[test]
fn later_attempts_are_acknowledged_and_other_requests_refused() {
    let with = |change: &dyn Fn(&mut ApiGatewayV2httpRequest)| {
        let mut request = first_attempt();
        change(&mut request);
        request
    };
    let attempt = |number: &'static str| {
        with(&|request| drop(request.headers.insert("signpost-attempt", number.parse().unwrap())))
    };
    let body = |length: usize, is_base64: bool| {
        with(&|request| (request.body, request.is_base64_encoded) = (Some("x".repeat(length)), is_base64))
    };
    let long = "x".repeat(KEPT_BYTES);
    let cases = [
        (attempt("2"), 204, "a retry"),
        (attempt("71"), 204, "a late retry"),
        (attempt("0"), 400, "attempts count from 1"),
        (attempt("one"), 400, "no number"),
        (with(&|request| drop(request.headers.remove("signpost-attempt"))), 400, "a stranger's request"),
        (body(KEPT_BYTES, false), 413, "a body that the record cannot hold"),
        (with(&|request| drop(request.headers.insert("jws-signature", long.parse().unwrap()))), 413, "a long header"),
        (body(3, true), 400, "damaged base64"),
        (with(&|request| request.body = None), 425, "no body"),
    ];
    for (request, expected, why) in cases {
        let (status, body) = text(&request);
        assert_eq!(status, expected, "{why}: {body}");
        assert!(body.len() <= KEPT_BYTES, "{why}: answers are short");
    }
}

#[test]
fn a_challenge_comes_back_alone() {
    let question = |body: &str| {
        let mut request = request(include_str!("../../../events/echo-challenge.json"));
        request.body = Some(body.to_owned());
        text(&request)
    };
    let whole = request(include_str!("../../../events/echo-challenge.json"));
    assert_eq!(text(&whole), (200, "mhYs2tqZ3bVw0sJb1nT9c8yKfQe5Xr7uLpAaGdIoHkE".into()));
    assert_eq!(handle(&whole).headers["x-content-type-options"], "nosniff");
    let long = format!(r#"{{"challenge":"{}"}}"#, "x".repeat(65));
    for (body, why) in [
        (r#"{"challenge":"<script>"}"#, "a page"),
        (&long, "too long for a challenge"),
        (r#"{"endpoint":"ep_1"}"#, "no challenge"),
        ("{", "no JSON"),
    ] {
        let (status, answer) = question(body);
        assert!(status == 400 && !answer.contains("<script>"), "{why}: {answer}");
    }
}
