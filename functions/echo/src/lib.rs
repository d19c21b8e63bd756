//! `POST /smoke`: the receiver of the smoke test, `infra/smoke.py`.
//!
//! The route is public, so the function stores nothing, calls nothing, and has no permission except to write its log.
//! The stack keeps the beginning of an answer that does not acknowledge a webhook. So the function refuses the first
//! attempt of a webhook with what arrived, and acknowledges the second. Operators find the answer in the record of the
//! delivery.

use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use http::HeaderMap;
use http::header::{CACHE_CONTROL, HeaderName, X_CONTENT_TYPE_OPTIONS};
use serde_json::{Map, Value, json};
use signpost_core::delivery::response_excerpt::KEPT_BYTES;
use signpost_core::endpoint::VERIFICATION_TYPE;
use signpost_core::input::fault::{Fault, FaultCode};
use signpost_core::input::problem::Problem;
use signpost_io::runtime::api_gateway::{body_text, empty, refuse, respond, with_header};

/// The status of the answer to a first attempt: not 2xx, so that Signpost keeps the answer, and not 5xx, so that no
/// alarm counts it.
pub const TOO_EARLY: u16 = 425; // RFC 8470, section 5.2.

/// The headers that a verifier needs. No other header comes back.
const ECHOED: [&str; 9] = [
    "ce-source",
    "ce-type",
    "content-digest",
    "jws-signature",
    "signature",
    "signature-input",
    "webhook-id",
    "webhook-signature",
    "webhook-timestamp",
];

/// The numbers of the attempts that Signpost makes (`signpost-attempt`).
const ATTEMPT: HeaderName = HeaderName::from_static("signpost-attempt");

/// The length of the longest challenge that comes back. Signpost's have 43 characters.
const MAX_CHALLENGE_BYTES: usize = 64;

/// Answers one request.
///
/// - A webhook that asks for proof is answered with its challenge. A stack that asks endpoints for proof so sends its smoke
///   test too.
/// - The first attempt of a webhook is answered 425 with its body and the headers that verify it.
/// - Other attempts are answered 204.
/// - A request that is not a webhook of Signpost is answered 400, and one that the record cannot hold 413.
#[must_use]
pub fn handle(request: &ApiGatewayV2httpRequest) -> ApiGatewayV2httpResponse {
    if request.headers.get("ce-type").is_some_and(|kind| kind == VERIFICATION_TYPE) {
        return prove(request).unwrap_or_else(|problem| refuse(&problem));
    }
    match attempt(&request.headers) {
        None => refuse(&not_a_webhook()),
        Some(1) => echo(request).unwrap_or_else(|problem| refuse(&problem)),
        Some(_) => empty(204),
    }
}

/// Returns the challenge and nothing else, as `docs/verifying.md` asks of receivers.
fn prove(request: &ApiGatewayV2httpRequest) -> Result<ApiGatewayV2httpResponse, Problem> {
    let question: Value = serde_json::from_str(&body_text(request)?).unwrap_or_default();
    let is_character = |one: char| one.is_ascii_alphanumeric() || matches!(one, '-' | '_');
    match question["challenge"].as_str() {
        Some(challenge) if challenge.len() <= MAX_CHALLENGE_BYTES && challenge.chars().all(is_character) => {
            Ok(private(respond(200, "text/plain", challenge)))
        }
        _ => Err(Problem::bad_request(vec![Fault::whole(
            "a question without a challenge",
            "a `challenge` in base64url",
        )])),
    }
}

/// Forbids caches to keep an answer, and browsers to take it for a page.
fn private(response: ApiGatewayV2httpResponse) -> ApiGatewayV2httpResponse {
    with_header(with_header(response, CACHE_CONTROL, "no-store"), X_CONTENT_TYPE_OPTIONS, "nosniff")
}

fn attempt(headers: &HeaderMap) -> Option<u32> {
    headers.get(ATTEMPT)?.to_str().ok()?.parse().ok().filter(|number| *number > 0)
}

fn echo(request: &ApiGatewayV2httpRequest) -> Result<ApiGatewayV2httpResponse, Problem> {
    let text = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
    let headers: Map<_, _> =
        ECHOED.into_iter().filter_map(|name| Some((name.to_owned(), Value::from(text(name)?)))).collect();
    let answer = json!({"headers": headers, "body": body_text(request)?}).to_string();
    if answer.len() > KEPT_BYTES {
        return Err(too_long(answer.len()));
    }
    Ok(private(respond(TOO_EARLY, "application/json", answer)))
}

fn not_a_webhook() -> Problem {
    let expected = "a webhook of the smoke test, whose `signpost-attempt` is a number from 1 on";
    Problem::bad_request(vec![Fault::whole("a request without the number of its attempt", expected)])
}

fn too_long(bytes: usize) -> Problem {
    let found = format!("an answer of {bytes} bytes");
    let expected = format!("a body and signatures that fit into {KEPT_BYTES} bytes of JSON");
    Problem::content_too_large(vec![Fault::whole(found, expected).code(FaultCode::TooLarge)])
}
