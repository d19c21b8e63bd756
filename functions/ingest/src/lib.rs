//! `POST /v1/events`: takes events from producers over HTTP and commits them to `EventsQueue`.

mod config;

use std::fmt::Write as _;

use aws_config::SdkConfig;
use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use http::header::RETRY_AFTER;
use serde_json::json;
use signpost_core::event::Event;
use signpost_core::fault::Fault;
use signpost_core::problem::Problem;
use signpost_io::http_api::{body_text, media_type, refuse, respond, with_header};
use signpost_io::logs::Chain;
use signpost_io::queue::{Message, Queue};

pub use config::Config;

/// What the function needs at hand.
#[derive(Debug)]
pub struct App {
    events: Queue,
}

impl App {
    /// Makes the clients. Needs no network yet.
    #[must_use]
    pub fn new(aws: &SdkConfig, config: Config) -> Self {
        Self { events: Queue::new(aws_sdk_sqs::Client::new(aws), config.events_queue_url) }
    }
}

/// Answers one request.
///
/// - 202 `{"accepted":["id",…]}`: SQS has all of the events.
/// - 400, 413, 415: none was taken; the problem document lists every fault.
/// - 503: some may have been taken. Sending all of them again is safe, for repetitions are dropped.
pub async fn handle(request: ApiGatewayV2httpRequest, app: &App) -> ApiGatewayV2httpResponse {
    let events = match parse(&request) {
        Ok(events) => events,
        Err(problem) => {
            tracing::info!(http.status = problem.status, faults = problem.errors.len(), "events.refused");
            return refuse(&problem);
        }
    };
    let accepted: Vec<_> = events.iter().map(|event| event.key.id.to_string()).collect();
    let messages = events.iter().map(|event| Message {
        body: event.json().to_owned(),
        group: Some(event.key.tenant.to_string()),
        ..Message::default()
    });
    if let Err(error) = app.events.send_all(messages).await {
        tracing::error!(error = %Chain(&error), events = accepted.len(), "events.not_queued");
        let problem = Problem::unavailable("the events could not be queued; send the same request again");
        return with_header(refuse(&problem), RETRY_AFTER, "1");
    }
    tracing::info!(events = accepted.len(), "events.accepted");
    respond(202, "application/json", json!({ "accepted": accepted }).to_string())
}

fn parse(request: &ApiGatewayV2httpRequest) -> Result<Vec<Event>, Problem> {
    let media_type = media_type(&request.headers);
    let parse = match media_type.as_str() {
        "application/cloudevents+json" | "application/json" => |text: &str| Event::parse(text).map(|event| vec![event]),
        "application/cloudevents-batch+json" => Event::parse_batch,
        _ => return Err(unsupported(&media_type)),
    };
    let text = body_text(request)
        .map_err(|error| Problem::bad_request(vec![Fault::whole(error.to_string(), "JSON in UTF-8")]))?;
    parse(&text).map_err(problem_of)
}

fn unsupported(media_type: &str) -> Problem {
    Problem::unsupported_media_type(format!(
        "content-type is `{media_type}`; expected application/cloudevents+json, application/json or \
         application/cloudevents-batch+json"
    ))
}

/// The most faults in one answer, which must fit through Lambda: a batch of nothing but faults has more.
const MAX_FAULTS: usize = 1_000;

fn problem_of(mut faults: Vec<Fault>) -> Problem {
    let count = faults.len();
    let too_large = faults.iter().any(Fault::is_too_large);
    faults.truncate(MAX_FAULTS);
    let mut problem = if too_large { Problem::content_too_large(faults) } else { Problem::bad_request(faults) };
    if count > MAX_FAULTS {
        let _ = write!(problem.detail, "; it has {count}, these are the first {MAX_FAULTS}"); // A String takes all.
    }
    problem
}
