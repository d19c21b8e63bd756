//! Sends an event over HTTP, signed with SigV4. docs/producers.md shows this program.
#![expect(clippy::disallowed_methods, reason = "a program to copy: it has no settings type")]

use std::env;
use std::error::Error;
use std::time::{Duration, SystemTime};

use aws_config::BehaviorVersion;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let id = format!("order-{}", uuid::Uuid::new_v4());
    post(&json!({"specversion": "1.0", "id": id, "source": "/shop", "type": "order", "tenant": "acme", "data": {"total": 1}})).await
}

/// Sends an event. The error has all faults if it is refused.
async fn post(event: &Value) -> Result<(), Box<dyn Error>> {
    let url = format!("{}/v1/events", env::var("API_URL")?);
    let header = ("content-type", "application/cloudevents+json");
    let body = event.to_string();

    let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let credentials =
        config.credentials_provider().ok_or("there are no AWS credentials")?.provide_credentials().await?;
    let identity = credentials.into();
    let region = config.region().ok_or("`AWS_REGION` is not set")?.as_ref();
    let params = SigningParams::builder().identity(&identity).region(region).name("execute-api");
    let params = params.time(SystemTime::now()).settings(SigningSettings::default()).build()?.into();
    let request = SignableRequest::new("POST", &url, [header].into_iter(), SignableBody::Bytes(body.as_bytes()))?;
    let (signed, _) = sign(request, &params)?.into_parts();

    let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build()?;
    let mut request = client.post(&url).header(header.0, header.1);
    for (name, value) in signed.headers() {
        request = request.header(name, value);
    }
    let answer = request.body(body).send().await?;
    if answer.status() != 202 {
        return Err(format!("Signpost answered {}: {}", answer.status(), answer.text().await?).into());
    }
    Ok(())
}
