//! HTTP requests signed with SigV4, as producers and operators send them.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use reqwest::{Client, Request, Response};

/// Credentials and service of a signature.
#[derive(Clone, Debug)]
pub struct Signature<'a> {
    /// The access keys.
    pub credentials: &'a Credentials,
    /// The AWS service that the request calls, as SigV4 spells it: `execute-api` for API Gateway.
    pub service: &'static str,
}

/// Signs `request` and sends it.
///
/// # Errors
/// The server does not answer.
///
/// # Panics
/// The request cannot be signed, for example because its body is a stream.
pub async fn send(client: &Client, mut request: Request, signature: &Signature<'_>) -> reqwest::Result<Response> {
    let identity = signature.credentials.clone().into();
    let params = SigningParams::builder()
        .identity(&identity)
        .region("us-east-1")
        .name(signature.service)
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()
        .expect("all parameters are set");
    let body = request.body().map(|body| body.as_bytes().expect("a body in memory").to_vec()).unwrap_or_default();
    let headers = request.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().expect("ASCII")));
    let signable =
        SignableRequest::new(request.method().as_str(), request.url().as_str(), headers, SignableBody::Bytes(&body))
            .expect("a request that can be signed");
    let (instructions, _) = sign(signable, &params.into()).expect("a request that can be signed").into_parts();
    let (signed, _) = instructions.into_parts();
    for header in signed {
        let name = http::HeaderName::from_static(header.name());
        request.headers_mut().insert(name, header.value().parse().expect("ASCII"));
    }
    client.execute(request).await
}
