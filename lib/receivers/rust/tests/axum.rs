//! Tries the example over HTTP: with the body as it arrived, and with layers that read the body before it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
#[path = "../examples/axum_receiver.rs"]
#[expect(dead_code, reason = "the example has a main")]
mod example;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use common::{Server, at_time_of, body_of, headers_of, settings_of, vector_of};
use serde_json::Value;
use signpost_receiver::Settings;
use tokio::net::TcpListener;

const NAMES: [&str; 11] = [
    "JWS RS256",
    "JWS, PUT",
    "JWS, GET",
    "JWS, GET with a query of the endpoint",
    "Standard Webhooks",
    "Standard Webhooks, GET",
    "HTTP message signature ES256",
    "HTTP message signature, PUT",
    "HTTP message signature, GET",
    "HTTP message signature, GET with a query of the endpoint",
    "all formats",
];

/// Serves the example with the settings of a vector, and sends the vector. Returns the status and the step.
async fn post(vector: &Value, keys_url: &str, wrap: impl Fn(Router) -> Router) -> (u16, Option<String>) {
    let settings = Settings { keys_url: Some(keys_url.to_owned()), ..settings_of(vector) };
    let app = wrap(example::app(at_time_of(vector, settings)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_, query) = vector["request"]["url"].as_str().unwrap().split_once('?').unwrap_or_default();
    let url = format!("http://{}/in?{query}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    let method = vector["request"]["method"].as_str().unwrap().parse().unwrap();
    let mut request = reqwest::Client::new().request(method, url).body(body_of(vector));
    for (name, value) in headers_of(vector).into_iter().filter(|(name, _)| name != "host") {
        request = request.header(name, value);
    }
    let answer = request.send().await.unwrap();
    let (status, body) = (answer.status().as_u16(), answer.bytes().await.unwrap());
    server.abort();
    (status, serde_json::from_slice::<Value>(&body).ok().and_then(|body| body["refused"].as_str().map(str::to_owned)))
}

fn refused(status: u16, step: &str) -> (u16, Option<String>) {
    (status, Some(step.to_owned()))
}

#[tokio::test]
async fn the_example_accepts_each_format_and_method() {
    let keys = Server::start().await;
    for name in NAMES {
        assert_eq!(post(vector_of(name), &keys.url, |app| app).await, (204, None), "{name}");
    }
}

#[tokio::test]
async fn a_layer_that_parses_the_body_and_encodes_it_again_is_refused_with_the_reason() {
    async fn again(request: Request, next: Next) -> Response {
        let (head, body) = request.into_parts();
        let value: Value = serde_json::from_slice(&to_bytes(body, 1 << 20).await.unwrap()).unwrap();
        next.run(Request::from_parts(head, Body::from(value.to_string()))).await
    }
    let keys = Server::start().await;
    let found = post(vector_of("JWS RS256"), &keys.url, |app| app.layer(from_fn(again))).await;
    assert_eq!(found, refused(401, "body-reencoded"));
}

#[tokio::test]
async fn a_layer_that_reads_the_body_and_keeps_it_is_refused_with_the_reason() {
    async fn eats(request: Request, next: Next) -> Response {
        let (head, body) = request.into_parts();
        to_bytes(body, 1 << 20).await.unwrap();
        next.run(Request::from_parts(head, Body::empty())).await
    }
    let keys = Server::start().await;
    let found = post(vector_of("JWS RS256"), &keys.url, |app| app.layer(from_fn(eats))).await;
    assert_eq!(found, refused(401, "body-missing"));
}

#[tokio::test]
async fn keys_that_are_not_available_are_a_503() {
    let keys = Server::start().await;
    *keys.state.status.lock().unwrap() = 500;
    assert_eq!(post(vector_of("JWS RS256"), &keys.url, |app| app).await, refused(503, "keys-unavailable"));
}
