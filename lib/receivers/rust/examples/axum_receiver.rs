//! Receives webhooks with axum: `cargo run --example axum_receiver`.

use std::env;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, OriginalUri, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Json, Router};
use signpost_receiver::{Receiver, Settings};

/// The routes of the program.
pub fn app(receiver: Receiver) -> Router {
    // Layers that read the body belong to other routes. A body has up to 6 MiB.
    Router::new().route("/in", any(webhook)).layer(DefaultBodyLimit::max(6 << 20)).with_state(Arc::new(receiver))
}

async fn webhook(
    State(receiver): State<Arc<Receiver>>,
    OriginalUri(url): OriginalUri,
    method: Method,
    headers: HeaderMap,
    body: Bytes, // The bytes as they arrived. `Json` would parse them.
) -> Response {
    match receiver.verify(&headers, &body, Some(&url.to_string()), method.as_str()).await {
        Ok(event) if event.is_repeated => StatusCode::NO_CONTENT.into_response(),
        Ok(event) => {
            println!("event {:?} of type {:?}", event.id, event.kind); // Your work, in one transaction with the id.
            StatusCode::NO_CONTENT.into_response()
        }
        Err(error) => {
            eprintln!("{error}");
            let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, Json(serde_json::json!({"refused": error.step()}))).into_response()
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let receiver = Receiver::new(Settings {
        keys_url: Some(env::var("JWKS_URL")?), // The endpoint's `jwksUrl`.
        url: Some(env::var("ENDPOINT_URL")?),
        endpoint: env::var("ENDPOINT").ok(),
        secrets: env::var("SECRET").into_iter().collect(),
        ..Settings::default()
    })?;
    let port = env::var("PORT").unwrap_or_else(|_| "3000".to_owned());
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("http://{}/in", listener.local_addr()?);
    axum::serve(listener, app(receiver)).await?;
    Ok(())
}
