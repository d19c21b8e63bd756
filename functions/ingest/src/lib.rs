//! `POST /v1/events`: accepts events from producers over HTTP and commits them to `EventsQueue`.

mod config;

use std::fmt::Write as _;

use aws_config::SdkConfig;
use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde_json::json;
use signpost_core::event::Event;
use signpost_core::event::cloud_events::{self, BATCH_MEDIA_TYPE, MEDIA_TYPE};
use signpost_core::input::fault::Fault;
use signpost_core::input::problem::Problem;
use signpost_engine::catalogue::Catalogue;
use signpost_engine::ports::queue::Message;
use signpost_engine::ports::queue::Queue as _;
use signpost_io::queue::Queue;
use signpost_io::runtime::api_gateway::{body_text, check_parameters, media_type, refuse, respond, unavailable};
use signpost_io::runtime::clock::SystemClock;
use signpost_io::runtime::logs::Chain;
use signpost_io::runtime::metrics::{Metric, meter};
use signpost_io::tables::subscriptions::Subscriptions;

pub use config::Config;

/// The clients of the function.
pub struct App {
    catalogue: Catalogue<Subscriptions, SystemClock>,
    events_queue: Queue,
}

impl App {
    /// Creates the clients. This needs no network.
    #[must_use]
    pub fn new(aws: &SdkConfig, config: Config) -> Self {
        let subscriptions = Subscriptions::new(aws_sdk_dynamodb::Client::new(aws), config.endpoints_table);
        Self {
            catalogue: Catalogue::new(subscriptions, SystemClock),
            events_queue: Queue::new(aws_sdk_sqs::Client::new(aws), config.events_queue_url),
        }
    }
}

/// Answers one request.
///
/// - 202 `{"accepted":["id",…]}`: SQS has all of the events.
/// - 400, 413, 415: no event was accepted; the problem document lists every fault.
/// - 503: some events may be queued. Sending all of them again is safe, because `fanout` drops repetitions.
pub async fn handle(request: ApiGatewayV2httpRequest, app: &App) -> ApiGatewayV2httpResponse {
    let events = match accept(&request, app).await {
        Ok(events) => events,
        Err(problem) => {
            tracing::info!(http.status = problem.status, faults = problem.errors.len(), "events.refused");
            meter().add(Metric::RequestsRefused, 1);
            return refuse(&problem);
        }
    };
    let accepted: Vec<_> = events.iter().map(|event| event.key.id.to_string()).collect();
    if let Err(error) = app.events_queue.send_all(events.iter().map(Message::of_event)).await {
        tracing::error!(error = %Chain(&error), events = accepted.len(), "events.not_queued");
        meter().add(Metric::EventsNotQueued, accepted.len());
        return unavailable("the events could not be queued; send the same request again");
    }
    tracing::info!(events = accepted.len(), "events.accepted");
    for event in &events {
        meter().add_of(&event.key.tenant, Metric::EventsAccepted, 1);
    }
    respond(202, "application/json", json!({ "accepted": accepted }).to_string())
}

/// Parses the events, and checks those whose type has a schema.
async fn accept(request: &ApiGatewayV2httpRequest, app: &App) -> Result<Vec<Event>, Problem> {
    let events = parse(request)?;
    let is_batch = media_type(&request.headers) == BATCH_MEDIA_TYPE;
    let checked = app.catalogue.check(&events).await.into_iter().enumerate().filter_map(|(index, checked)| {
        let within = move |fault: Fault| if is_batch { fault.within(index) } else { fault };
        checked.err().map(|faults| faults.into_iter().map(within))
    });
    let faults: Vec<_> = checked.flatten().collect();
    if faults.is_empty() { Ok(events) } else { Err(problem_of(faults)) }
}

fn parse(request: &ApiGatewayV2httpRequest) -> Result<Vec<Event>, Problem> {
    check_parameters(request, &[])?;
    let bytes = body_bytes(request);
    if bytes > MAX_BODY_BYTES {
        let expected = format!("at most {MAX_BODY_BYTES} bytes; send the events in several requests");
        return Err(Problem::content_too_large(vec![Fault::too_large(format!("{bytes} bytes"), expected)]));
    }
    let media_type = media_type(&request.headers);
    let text = body_text(request);
    let parsed = match media_type.as_str() {
        MEDIA_TYPE => Event::parse(&text?).map(|event| vec![event]),
        BATCH_MEDIA_TYPE => Event::parse_batch(&text?),
        // HTTP Protocol Binding 1.0.2, section 3: any other type with the headers of an event is binary mode. An empty
        // type is included, so that the error text can explain what is missing.
        _ if is_binary(&request.headers) && !media_type.starts_with("application/cloudevents") => {
            if !is_json(&media_type) {
                return Err(unsupported_data(&media_type));
            }
            parse_binary(request, &text?).map(|event| vec![event])
        }
        "application/json" | "text/json" => Event::parse(&text?).map(|event| vec![event]),
        _ => return Err(unsupported(&media_type)),
    };
    parsed.map_err(problem_of)
}

/// Returns whether a request has an event in binary mode, which any CloudEvents attribute in a header shows.
fn is_binary(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with("ce-"))
}

fn is_json(media_type: &str) -> bool {
    media_type.split_once('/').is_some_and(|(_, subtype)| subtype == "json" || subtype.ends_with("+json"))
}

fn parse_binary(request: &ApiGatewayV2httpRequest, text: &str) -> Result<Event, Vec<Fault>> {
    let content_type = request.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let headers = request.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    cloud_events::parse_binary(headers, content_type, text)
}

fn unsupported_data(media_type: &str) -> Problem {
    let found = if media_type.is_empty() { "missing".to_owned() } else { format!("`{media_type}`") };
    Problem::unsupported_media_type(format!(
        "content-type is {found}; the headers `ce-…` mean that the body is the event's data, which must be JSON: \
         expected application/json, or another type that ends in +json"
    ))
}

fn unsupported(media_type: &str) -> Problem {
    let found = if media_type.is_empty() { "missing".to_owned() } else { format!("`{media_type}`") };
    Problem::unsupported_media_type(format!(
        "content-type is {found}; expected {MEDIA_TYPE} or application/json for one event, {BATCH_MEDIA_TYPE} for several, or \
         the data's own JSON type with the headers `ce-…` (binary mode)"
    ))
}

/// How many bytes a body may have. Lambda accepts 6 MB, and API Gateway encodes bodies of CloudEvents' media types in
/// base64, which turns three bytes into four.
const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;

/// Returns how many bytes the sender sent.
fn body_bytes(request: &ApiGatewayV2httpRequest) -> usize {
    let body = request.body.as_deref().unwrap_or_default();
    let padding = body.bytes().rev().take_while(|byte| *byte == b'=').count();
    if request.is_base64_encoded { (body.len() / 4 * 3).saturating_sub(padding) } else { body.len() }
}

/// How many faults one answer may have. A batch that consists of faults has more than fit through Lambda.
const MAX_FAULTS: usize = 1_000;

fn problem_of(mut faults: Vec<Fault>) -> Problem {
    let count = faults.len();
    let too_large = faults.iter().any(Fault::is_too_large);
    faults.truncate(MAX_FAULTS);
    let mut problem = if too_large { Problem::content_too_large(faults) } else { Problem::bad_request(faults) };
    if count > MAX_FAULTS {
        let _ = write!(problem.detail, "; it has {count}, these are the first {MAX_FAULTS}"); // It cannot fail.
    }
    problem
}
