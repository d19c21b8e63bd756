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
use signpost_io::aws::AwsError;
use signpost_io::queue::{Message, Queue};
use signpost_io::runtime::api_gateway::{body_text, charset, empty, media_type, respond, with_header};
use signpost_io::runtime::clock::unix_now;
use signpost_io::runtime::logs::Chain;
use signpost_io::tables::token_requests::{Changed, TokenRequests};
use uuid::Uuid;

pub use config::Config;

/// The clients of the function.
#[derive(Debug)]
pub struct App {
    events_queue: Queue,
    token_requests: TokenRequests,
}

impl App {
    /// Creates the clients. This needs no network.
    #[must_use]
    pub fn new(aws: &SdkConfig, config: Config) -> Self {
        Self {
            events_queue: Queue::new(aws_sdk_sqs::Client::new(aws), config.own_events_queue_url),
            token_requests: TokenRequests::new(aws_sdk_dynamodb::Client::new(aws), config.token_requests_table),
        }
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
    let (status, text, location) = match app.relay(&request).await {
        Ok((request, called)) => {
            let (tenant, outcome) = (&request.tenant, request.outcome(called.at).as_str());
            tracing::info!(tenant.id = %tenant, event.id = request.event_id(), outcome, "callback.accepted");
            match request.location(&called) {
                Some(location) => (303, "Thank you. You are being sent on.".to_owned(), Some(location)),
                None => (200, "Thank you. You may close this page.".to_owned(), None),
            }
        }
        Err(Refusal::Aws(error)) => {
            tracing::error!(error = %Chain(&error), "callback.failed");
            let text = "This did not work, for a reason on our side. Please try the same again in a moment.";
            return with_header(plain(503, text), RETRY_AFTER, "1");
        }
        Err(Refusal::Callback(error)) => (error.status(), error.to_string(), None),
        Err(Refusal::State(StateError::Unknown)) => (404, StateError::Unknown.to_string(), None),
        Err(Refusal::State(error)) => (410, error.to_string(), None),
    };
    if status >= 400 {
        tracing::info!(http.status = status, reason = text, "callback.refused"); // Signpost's own text.
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

impl App {
    /// Stores and queues a bank callback and uses its state up. Returns the token request and the callback.
    async fn relay(&self, request: &ApiGatewayV2httpRequest) -> Result<(TokenRequest, BankResponse), Refusal> {
        // Checks without a table come first, so that a flood of garbage on this route costs no reads.
        let state = request.path_parameters.get("state").and_then(|state| CallbackToken::parse(state));
        let state = state.ok_or(StateError::Unknown)?.hash();
        let callback = said(request)?;
        let (tenant, id) = self.token_requests.of_state(&state).await?.ok_or(StateError::Unknown)?;
        let payload = callback.payload(&id)?;

        let now = unix_now().as_secs();
        let heard = match self.token_requests.record_callback(&tenant, &id, &state, &payload, now).await? {
            Changed::Yes(request) => request,
            Changed::No(Some(request)) => {
                let again = request.repeated(&state, &payload, now).cloned();
                let refusal = request.refusal(&state, now);
                return again.map(|called| (request, called)).ok_or(refusal.into());
            }
            Changed::No(None) => return Err(StateError::Unknown.into()),
        };
        let called = heard.called.clone().ok_or(StateError::Unknown)?;
        let event = heard.event(&called).map_err(|_| AwsError::corrupt("token request")(UnfitError))?;
        self.events_queue.send_all([Message::of_event(&event)]).await?;
        // If this changes nothing, the same callback was answered meanwhile, or the request was registered again for
        // the next step. The event is queued in both cases.
        self.token_requests.acknowledge(&heard, &Uuid::new_v4().to_string()).await?;
        Ok((heard, called))
    }
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

/// The reason why a bank callback was refused.
#[derive(Debug)]
enum Refusal {
    /// Its content.
    Callback(CallbackError),
    /// An internal error.
    Aws(AwsError),
    /// Its state.
    State(StateError),
}

/// The stored bank callback is not a valid event, because it was written by another version, or by hand.
#[derive(Debug, thiserror::Error)]
#[error("stored bank callback cannot be turned into an event; repair or remove the item")]
struct UnfitError;

impl From<AwsError> for Refusal {
    fn from(error: AwsError) -> Self {
        Self::Aws(error)
    }
}

impl From<CallbackError> for Refusal {
    fn from(error: CallbackError) -> Self {
        Self::Callback(error)
    }
}

impl From<StateError> for Refusal {
    fn from(error: StateError) -> Self {
        Self::State(error)
    }
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
