//! API Gateway HTTP APIs, payload format 2.0: what requests carry and how answers are shaped.

use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue};
use signpost_core::problem::{self, Problem};

/// Gives the body of a request as text.
///
/// API Gateway encodes bodies that it takes for binary in base64; to the sender they are the same.
///
/// # Errors
/// Bytes that are no UTF-8, which JSON has to be (RFC 8259, section 8.1).
pub fn body_text(request: &ApiGatewayV2httpRequest) -> Result<String, NotUtf8> {
    let body = request.body.as_deref().unwrap_or_default();
    if !request.is_base64_encoded {
        return Ok(body.to_owned());
    }
    let bytes = STANDARD.decode(body).map_err(|_| NotUtf8)?;
    String::from_utf8(bytes).map_err(|_| NotUtf8)
}

/// A body that is not text.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("body is not UTF-8; send JSON in UTF-8")]
pub struct NotUtf8;

/// Gives the media type of a request's body, in lower case and without parameters; empty if none is named.
#[must_use]
pub fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Shapes an answer with a body.
#[must_use]
pub fn respond(status: u16, media_type: &'static str, body: impl Into<String>) -> ApiGatewayV2httpResponse {
    let mut response = empty(status);
    response.headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response.body = Some(body.into().into());
    response
}

/// Shapes an answer without a body.
#[must_use]
pub fn empty(status: u16) -> ApiGatewayV2httpResponse {
    let mut response = ApiGatewayV2httpResponse::default();
    response.status_code = status.into();
    response
}

/// Shapes a problem document; it is not to be cached.
#[must_use]
pub fn refuse(problem: &Problem) -> ApiGatewayV2httpResponse {
    let body = serde_json::to_string(problem).unwrap_or_default(); // Strings and numbers always serialize.
    with_header(respond(problem.status, problem::MEDIA_TYPE, body), CACHE_CONTROL, "no-store")
}

/// Adds a header whose value is visible ASCII.
#[must_use]
pub fn with_header(mut response: ApiGatewayV2httpResponse, name: HeaderName, value: &str) -> ApiGatewayV2httpResponse {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers.insert(name, value);
    }
    response
}
