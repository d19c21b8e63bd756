//! `GET` and `POST /callbacks/{state}`: accepts a bank callback for a token request, commits it to `OwnEventsQueue` as
//! an event, and redirects the user's browser.
//!
//! The route is public. A caller either has a state, which nobody can guess, or gets an answer that reveals nothing.

mod config;

use aws_config::SdkConfig;
use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, LOCATION, REFERRER_POLICY, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, Method};
use signpost_core::token_request::{
    BankResponse, Body, Callback, CallbackError, CallbackToken, MAX_CALLBACK_BYTES, StateError, TokenRequest,
};
use signpost_engine::relay::{Refusal, Relay};
use signpost_io::aws::AwsError;
use signpost_io::ports::Aws;
use signpost_io::queue::Queue;
use signpost_io::runtime::api_gateway::{body_text, charset, empty, media_type, respond, with_header};
use signpost_io::runtime::clock::{SystemClock, ThreadRandom};
use signpost_io::runtime::logs::Chain;
use signpost_io::runtime::metrics::{Metric, meter};
use signpost_io::tables::token_requests::TokenRequests;

pub use config::Config;

/// The function: the engine on AWS.
pub type App = Relay<Aws>;

/// Creates the clients. This needs no network.
#[must_use]
pub fn app(aws: &SdkConfig, config: Config) -> App {
    Relay {
        clock: SystemClock,
        own_events_queue: Queue::new(aws_sdk_sqs::Client::new(aws), config.own_events_queue_url),
        random: ThreadRandom,
        token_requests: TokenRequests::new(aws_sdk_dynamodb::Client::new(aws), config.token_requests_table),
    }
}

/// Answers one bank callback.
///
/// - 303 to the registered URL, or 200 if none is registered: SQS has the event, and the state is used up.
/// - 400, 413, 415: the request is not a bank callback of this token request; the state can still be used.
/// - 404, 410: the state is unknown, or was used, replaced or not used in time.
/// - 503: an internal error; send the same callback again, because the state accepts no other from now on. Or a browser
///   prefetches the page before its user opens it.
/// - 204: `HEAD`, which changes nothing (RFC 9110, section 9.2.1).
///
/// For ten minutes, a repetition of the callback gets the same answer, and no second event: browsers repeat requests,
/// and users go back.
///
/// The callback is stored before its event is queued, so that two callbacks at the same time cannot become two events
/// that contradict each other. The state is used up afterwards, so that a caller without an answer can repeat the
/// callback.
pub async fn handle(request: ApiGatewayV2httpRequest, app: &App) -> ApiGatewayV2httpResponse {
    if is_ahead_of_user(&request.headers) {
        tracing::info!("callback.prefetched");
        return plain(503, "This link does not answer ahead of time. Please open it.");
    }
    if request.request_context.http.method == Method::HEAD {
        return guarded(empty(204));
    }
    let (status, text, location) = match relay(&request, app).await {
        Ok((request, called)) => {
            let (tenant, outcome) = (&request.tenant, request.outcome(called.at).as_str());
            tracing::info!(tenant.id = %tenant, event.id = request.event_id(), outcome, "callback.accepted");
            meter().add(Metric::CallbacksAccepted, 1);
            match request.location(&called) {
                Some(location) => (303, "Thank you. You are being sent on.".to_owned(), Some(location)),
                None => (200, "Thank you. You may close this page.".to_owned(), None),
            }
        }
        Err(error @ (Refusal::Call(_) | Refusal::Unfit(_))) => {
            tracing::error!(error = %Chain(&error), "callback.failed");
            meter().add(Metric::CallbacksFailed, 1);
            let text = "This did not work, for a reason on our side. Please try the same again in a moment.";
            return with_header(plain(503, text), RETRY_AFTER, "1");
        }
        Err(Refusal::Callback(error)) => (error.status(), error.to_string(), None),
        Err(Refusal::State(StateError::Unknown)) => (404, StateError::Unknown.to_string(), None),
        Err(Refusal::State(error)) => (410, error.to_string(), None),
    };
    if status >= 400 {
        tracing::info!(http.status = status, reason = text, "callback.refused"); // Signpost's own text.
        meter().add(Metric::CallbacksRefused, 1);
    }
    let response = plain(status, &text);
    match location {
        Some(location) => with_header(response, LOCATION, &location),
        None => response,
    }
}

/// Returns whether a browser prefetches or prerenders the page before its user opens it: `Sec-Purpose` (Fetch
/// standard), or one of the older headers.
///
/// The answer to these is 503, as in [Nav Speculation] and other servers: the browser drops any status except 2xx, and
/// asks again when its user opens the link. It would keep a 204.
///
/// [Nav Speculation]: https://wicg.github.io/nav-speculation/prefetch.html
fn is_ahead_of_user(headers: &HeaderMap) -> bool {
    const NAMES: [&str; 4] = ["sec-purpose", "purpose", "x-purpose", "x-moz"];
    let values = NAMES.iter().flat_map(|name| headers.get_all(*name)).filter_map(|value| value.to_str().ok());
    let mut words = values.flat_map(|value| value.split([',', ';', ' ']));
    words.any(|word| ["prefetch", "prerender", "preview"].iter().any(|ahead| word.eq_ignore_ascii_case(ahead)))
}

/// Relays the bank callback of a request. Returns the token request and the bank's response.
async fn relay(
    request: &ApiGatewayV2httpRequest,
    app: &App,
) -> Result<(TokenRequest, BankResponse), Refusal<AwsError>> {
    // Checks without a table come first, so that a flood of garbage on this route costs no reads.
    let state = request.path_parameters.get("state").and_then(|state| CallbackToken::parse(state));
    let state = state.ok_or(StateError::Unknown)?;
    app.relay(&state, said(request)?).await
}

/// Reads a bank callback from a request's query and body.
fn said(request: &ApiGatewayV2httpRequest) -> Result<Callback, CallbackError> {
    if request.body.as_deref().unwrap_or_default().len() > 2 * MAX_CALLBACK_BYTES {
        return Err(CallbackError::TooLarge); // Twice as much, because of base64.
    }
    if request.body.as_deref().is_some_and(|body| !body.is_empty()) {
        Body::check_charset(charset(&request.headers))?;
    }
    let text = body_text(request).map_err(|_| CallbackError::Malformed)?;
    let body = Body::of(&media_type(&request.headers), &text)?;
    Callback::parse(request.raw_query_string.as_deref().unwrap_or_default(), body)
}

/// Builds an answer in plain text.
fn plain(status: u16, text: &str) -> ApiGatewayV2httpResponse {
    guarded(respond(status, "text/plain; charset=utf-8", format!("{text}\n")))
}

/// Adds headers that prevent caching, and that hide this URL from other sites, because it contains the state.
fn guarded(response: ApiGatewayV2httpResponse) -> ApiGatewayV2httpResponse {
    const HEADERS: [(HeaderName, &str); 4] = [
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    HEADERS.into_iter().fold(response, |response, (name, value)| with_header(response, name, value))
}
