//! `GET` and `POST /callbacks/{state}`: takes what a bank says of a token request, commits it to `EventsQueue` as an event,
//! and sends the browser that carried it on.
//!
//! The route is public. Whoever calls it has a state, which nobody can guess, or gets an answer that tells him nothing.

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

/// What the function needs at hand.
#[derive(Debug)]
pub struct App {
    events_queue: Queue,
    token_requests: TokenRequests,
}

impl App {
    /// Makes the clients. Needs no network yet.
    #[must_use]
    pub fn new(aws: &SdkConfig, config: Config) -> Self {
        Self {
            events_queue: Queue::new(aws_sdk_sqs::Client::new(aws), config.own_events_queue_url),
            token_requests: TokenRequests::new(aws_sdk_dynamodb::Client::new(aws), config.token_requests_table),
        }
    }
}

/// Answers one callback.
///
/// - 303 to the registered URL, or 200 where none is registered: SQS has the event, and the state is used up.
/// - 400, 413, 415: it is no callback of this token request; the state can still be used.
/// - 404, 410: the state is not known, or was used, replaced or not used in time.
/// - 503: send the same again; nothing else is taken by this state from now on. Or a browser asks ahead of its user.
/// - 204: `HEAD`, which changes nothing (RFC 9110, section 9.2.1).
///
/// For ten minutes, the same callback gets the same answer again, and no second event: browsers repeat requests, and users
/// go back.
///
/// What was said is written down before it is queued, so that two callbacks at once cannot become two events that contradict
/// each other; and the state is used up after it is queued, so that whoever was not answered can say the same again.
pub async fn handle(request: ApiGatewayV2httpRequest, app: &App) -> ApiGatewayV2httpResponse {
    if is_ahead_of_user(&request.headers) {
        tracing::info!("callback.asked_ahead");
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
        tracing::info!(http.status = status, reason = text, "callback.refused"); // In words of our own.
    }
    let response = plain(status, &text);
    match location {
        Some(location) => with_header(response, LOCATION, &location),
        None => response,
    }
}

/// Whether a browser fetches or renders the page before its user opens it: `Sec-Purpose` (Fetch standard), and what browsers
/// sent before there was that.
///
/// The answer is 503, as [Nav Speculation] and the practice of servers have it: the browser drops any status but 2xx, and
/// asks again once its user opens the link. It would keep a 204.
///
/// [Nav Speculation]: https://wicg.github.io/nav-speculation/prefetch.html
fn is_ahead_of_user(headers: &HeaderMap) -> bool {
    const NAMES: [&str; 4] = ["sec-purpose", "purpose", "x-purpose", "x-moz"];
    let values = NAMES.iter().flat_map(|name| headers.get_all(*name)).filter_map(|value| value.to_str().ok());
    let mut words = values.flat_map(|value| value.split([',', ';', ' ']));
    words.any(|word| ["prefetch", "prerender", "preview"].iter().any(|ahead| word.eq_ignore_ascii_case(ahead)))
}

impl App {
    /// Gives the token request and what was said, once SQS has it and the state is used up.
    async fn relay(&self, request: &ApiGatewayV2httpRequest) -> Result<(TokenRequest, BankResponse), Refusal> {
        // What needs no look into the table comes first: whoever floods this route with garbage costs no reads.
        let state = request.path_parameters.get("state").and_then(|state| CallbackToken::parse(state));
        let state = state.ok_or(StateError::Unknown)?.hash();
        let callback = said(request)?;
        let (tenant, id) = self.token_requests.of_state(&state).await?.ok_or(StateError::Unknown)?;
        let payload = callback.payload(&id)?;

        let now = unix_now().as_secs();
        let heard = match self.token_requests.hear(&tenant, &id, &state, &payload, now).await? {
            Changed::Yes(request) => request,
            Changed::No(Some(request)) => {
                let again = request.repeated(&state, &payload, now).cloned();
                let refusal = request.refusal(&state, now);
                return again.map(|called| (request, called)).ok_or(refusal.into());
            }
            Changed::No(None) => return Err(StateError::Unknown.into()),
        };
        let called = heard.called.clone().ok_or(StateError::Unknown)?;
        let event = heard.event(&called).map_err(|_| AwsError::of("making an event")(UnfitError))?;
        self.events_queue.send_all([Message::of_event(&event)]).await?;
        // Where this changes nothing, the same callback was answered meanwhile, or the request was registered again for the
        // next step. The event is queued all the same.
        self.token_requests.acknowledge(&heard, &Uuid::new_v4().to_string()).await?;
        Ok((heard, called))
    }
}

/// What a request says, in its query and its body.
fn said(request: &ApiGatewayV2httpRequest) -> Result<Callback, CallbackError> {
    if request.body.as_deref().unwrap_or_default().len() > 2 * MAX_CALLBACK_BYTES {
        return Err(CallbackError::TooLarge); // In base64 as well.
    }
    if request.body.as_deref().is_some_and(|body| !body.is_empty()) {
        Body::check_charset(charset(&request.headers))?;
    }
    let text = body_text(request).map_err(|_| CallbackError::Malformed)?;
    let body = Body::of(&media_type(&request.headers), &text)?;
    Callback::parse(request.raw_query_string.as_deref().unwrap_or_default(), body)
}

/// Why a callback was not taken.
#[derive(Debug)]
enum Refusal {
    /// What it says.
    Callback(CallbackError),
    /// A fault on our side.
    Aws(AwsError),
    /// By which state it comes.
    State(StateError),
}

/// What was heard makes no event: the item was written by another version, or by hand.
#[derive(Debug, thiserror::Error)]
#[error("what a bank said, as the table has it, makes no event; repair or remove the item")]
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

/// An answer in plain text.
fn plain(status: u16, text: &str) -> ApiGatewayV2httpResponse {
    guarded(respond(status, "text/plain; charset=utf-8", format!("{text}\n")))
}

/// An answer that is kept nowhere, and tells nobody where its reader came from: the state is in the URL.
fn guarded(response: ApiGatewayV2httpResponse) -> ApiGatewayV2httpResponse {
    const HEADERS: [(HeaderName, &str); 4] = [
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    HEADERS.into_iter().fold(response, |response, (name, value)| with_header(response, name, value))
}
