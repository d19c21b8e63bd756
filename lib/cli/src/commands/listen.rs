//! `listen`: a receiver on this machine that verifies each webhook and prints a line for it.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};

use crate::api::{CREATE_ENDPOINT, Call, DELETE_ENDPOINT, LIST_DELIVERIES, READ_EVENT, TEST_ENDPOINT};
use crate::args::Listen;
use crate::aws::http_client;
use crate::commands::care::{Count, Precision};
use crate::commands::endpoint::types;
use crate::commands::trust;
use crate::failure::{Failure, Outcome};
use crate::output::{Colour, Form, Output};
use crate::signals::Stop;
use crate::stack::Stack;
use crate::verify::keys::PublishedKey;
use crate::verify::request::SavedRequest;
use crate::verify::{Report, Trust, verify};

/// The longest body of a webhook (docs/verifying.md).
const MOST_BYTES: usize = 6_266_880;
/// A key set is fetched again at most this often.
const FETCH_AGAIN_AFTER: Duration = Duration::from_secs(2);
/// How long the test event may take.
const ROUND_TRIP: Duration = Duration::from_secs(30);
/// A gap between two ticks of a second that only a sleep of the machine, or of the process, explains.
const SLEPT: Duration = Duration::from_secs(5);
/// The most deliveries that are looked through for those that the machine missed.
const MOST_MISSED: usize = 1_000;

/// A webhook that arrived, and the answer to it.
#[derive(Clone, Debug)]
struct Arrival {
    at: OffsetDateTime,
    status: u16,
    duration: Duration,
    headers: HeaderMap,
    report: Report,
    /// The file of the request, if requests are saved.
    saved: Option<PathBuf>,
    trouble: Option<String>,
}

/// State that all connections share.
struct Receiver {
    trust: Mutex<Trust>,
    keys_url: Option<String>,
    fetched: Mutex<Instant>,
    forward_to: Option<String>,
    is_lenient: bool,
    saves: Option<Saves>,
    http: reqwest::Client,
    arrivals: mpsc::UnboundedSender<Arrival>,
}

/// The files of requests.
struct Saves {
    folder: PathBuf,
    count: AtomicU64,
}

impl Saves {
    fn new(folder: &Path) -> Outcome<Self> {
        std::fs::create_dir_all(folder).map_err(|error| {
            Failure::refused(
                format!("the folder {} cannot be made: {error}", folder.display()),
                "choose another with --save",
            )
        })?;
        Ok(Self { folder: folder.to_owned(), count: AtomicU64::new(0) })
    }

    /// Saves a request in a file that only the caller's user may read. Its name has the time, so that no file of an earlier run
    /// is overwritten.
    fn save(&self, request: &SavedRequest) -> Result<PathBuf, String> {
        let (now, number) = (OffsetDateTime::now_utc(), self.count.fetch_add(1, Ordering::Relaxed) + 1);
        let (date, (hour, minute, second)) = (now.date(), now.to_hms());
        let path = self.folder.join(format!("{date}T{hour:02}{minute:02}{second:02}-{number}.http"));
        let failed = |error| format!("{} cannot be written: {error}", path.display());
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&path).map_err(failed)?;
        std::io::Write::write_all(&mut file, &request.message()).map_err(failed)?;
        Ok(path)
    }
}

/// An endpoint that lives as long as the command.
struct Made {
    tenant: String,
    endpoint: String,
    url: String,
}

/// Receives until Ctrl-C.
pub async fn run(args: &Listen, stack: &Stack<'_>, output: &Output) -> Outcome {
    if args.tenant.is_none() && args.trusted.keys.is_none() && args.trusted.secret_file.is_none() && !args.skip_verify {
        let next =
            "add --keys with the endpoint's `jwksUrl`, or --secret-file; with an AWS account, --tenant is enough";
        return Err(Failure::usage("there is nothing to verify with", next));
    }
    let mut stop = Stop::listen()?;
    let mut trust = trust::read(&args.trusted, stack.aws).await?;
    let saves = args.save.as_deref().map(Saves::new).transpose()?;
    let listener = bind(args.port).await?;
    let address = listener.local_addr().map_err(|error| Failure::refused(error.to_string(), "try another --port"))?;
    let made = match &args.tenant {
        Some(tenant) => {
            let (made, settings) = make(tenant, address, args, stack).await?;
            if let Err(failure) = made.trust(&settings, &mut trust, stack).await {
                made.remove(stack, output).await?;
                return Err(failure);
            }
            Some(made)
        }
        None => None,
    };
    let (arrivals, mut arrived) = mpsc::unbounded_channel();
    let keys_url = args.trusted.keys.clone().filter(|place| place.starts_with("http"));
    let receiver = Receiver {
        keys_url: keys_url.or_else(|| made.as_ref().and_then(|made| made.keys_url(stack))),
        trust: Mutex::new(trust),
        fetched: Mutex::new(Instant::now()),
        forward_to: args.forward_to.clone(),
        is_lenient: args.skip_verify,
        saves,
        http: http_client()?,
        arrivals,
    };
    let server = tokio::spawn(serve(listener, Arc::new(receiver)));
    let result = tokio::select! {
        result = work(made.as_ref(), address, &mut arrived, stack, output) => result,
        () = stop.wait() => Ok(()),
    };
    server.abort();
    if let Some(made) = made {
        made.remove(stack, output).await?;
    }
    result
}

async fn bind(port: u16) -> Outcome<TcpListener> {
    TcpListener::bind(("127.0.0.1", port)).await.map_err(|error| {
        Failure::refused(
            format!("port {port} cannot be opened: {error}"),
            "choose another with --port; 0 takes a free one",
        )
    })
}

/// Makes the endpoint, and returns it with its settings.
async fn make(tenant: &str, address: SocketAddr, args: &Listen, stack: &Stack<'_>) -> Outcome<(Made, Value)> {
    let url = args.public_url.clone().unwrap_or_else(|| format!("http://{address}/"));
    let settings = json!({
        "url": url, "types": types(&args.types)?, "description": "signpost listen",
        "signatures": ["jws", "standard-webhooks", "http-message-signatures"],
    });
    let path = [("tenant", tenant)];
    let endpoint = stack.call(Call::new(&CREATE_ENDPOINT, &path).with_json(&settings)).await?;
    let text = |name: &str| endpoint[name].as_str().unwrap_or_default().to_owned();
    let made = Made { tenant: tenant.to_owned(), endpoint: text("id"), url: text("url") };
    Ok((made, endpoint))
}

impl Made {
    /// Trusts the endpoint's keys and its secret.
    async fn trust(&self, settings: &Value, trust: &mut Trust, stack: &Stack<'_>) -> Outcome {
        let text = |name: &str| settings[name].as_str().unwrap_or_default();
        trust.secrets = trust::parse_secret(text("signingSecret")).into_iter().collect();
        (trust.endpoint, trust.url) = (Some(self.endpoint.clone()), self.url.parse().ok());
        trust.keys = crate::commands::keys::published(&self.tenant, stack).await?;
        Ok(())
    }

    /// Returns the URL of the key set, as far as it is known without a request.
    fn keys_url(&self, stack: &Stack<'_>) -> Option<String> {
        stack
            .known_api_url()
            .map(|url| format!("{}/tenants/{}/.well-known/jwks.json", url.trim_end_matches('/'), self.tenant))
    }

    async fn remove(&self, stack: &Stack<'_>, output: &Output) -> Outcome {
        let path = [("tenant", self.tenant.as_str()), ("endpoint", self.endpoint.as_str())];
        stack.call(Call::new(&DELETE_ENDPOINT, &path)).await?;
        output.say(&format!("removed endpoint {}", self.endpoint));
        Ok(())
    }
}

/// Says *ready* when a request has gone round, then prints arrivals.
async fn work(
    made: Option<&Made>,
    address: SocketAddr,
    arrived: &mut mpsc::UnboundedReceiver<Arrival>,
    stack: &Stack<'_>,
    output: &Output,
) -> Outcome {
    let mut seen = BTreeSet::new();
    // From before *ready* on: a sleep right after it is noticed as well.
    let (mut tick, mut last) = (tokio::time::interval(Duration::from_secs(1)), SystemTime::now());
    if let Some(made) = made {
        output.say(&format!("made endpoint {} for {}; waiting for a test event", made.endpoint, made.url));
        let event = test(made, arrived, stack, output, &mut seen).await?;
        output.say(&format!("ready: test event {event} went round; Ctrl-C stops, and removes the endpoint"));
    } else {
        go_round(address).await?;
        output.say(&format!("ready: http://{address}/ answers; Ctrl-C stops"));
    }
    loop {
        tokio::select! {
            arrival = arrived.recv() => {
                let Some(arrival) = arrival else { return Ok(()) };
                seen.insert(arrival.header("webhook-id").to_owned());
                arrival.print(output)?;
            }
            _ = tick.tick() => {
                let now = SystemTime::now();
                if now.duration_since(last).is_ok_and(|gap| gap > SLEPT) {
                    woke(made, last, &seen, stack, output).await;
                }
                last = now;
            }
        }
    }
}

/// Sends the test event, and waits until it arrives.
async fn test(
    made: &Made,
    arrived: &mut mpsc::UnboundedReceiver<Arrival>,
    stack: &Stack<'_>,
    output: &Output,
    seen: &mut BTreeSet<String>,
) -> Outcome<String> {
    let path = [("tenant", made.tenant.as_str()), ("endpoint", made.endpoint.as_str())];
    let event = stack.call(Call::new(&TEST_ENDPOINT, &path)).await?;
    let event = event["event"].as_str().unwrap_or_default().to_owned();
    let is_back = async {
        while let Some(arrival) = arrived.recv().await {
            seen.insert(arrival.header("webhook-id").to_owned());
            arrival.print(output)?;
            if arrival.header("ce-id") == event {
                let failed =
                    arrival.report.diagnosis().map(|diagnosis| (diagnosis.found.clone(), diagnosis.next.clone()));
                return failed.map_or(Ok(()), |(found, next)| Err(Failure::refused(found, next)));
            }
        }
        Ok(())
    };
    if let Ok(result) = tokio::time::timeout(ROUND_TRIP, is_back).await {
        return result.map(|()| event);
    }
    let path = [("tenant", made.tenant.as_str()), ("event", event.as_str())];
    let history = stack.call(Call::new(&READ_EVENT, &path)).await.unwrap_or_default();
    let error =
        history["deliveries"][0]["attempts"][0]["error"].as_str().unwrap_or("no attempt is on record").to_owned();
    let what = format!("the test event did not arrive within {} s: {error}", ROUND_TRIP.as_secs());
    Err(Failure::timed_out(what, format!("make sure that {} leads to this machine; see --public-url", made.url)))
}

/// Calls the receiver itself, so that *ready* is true.
async fn go_round(address: SocketAddr) -> Outcome {
    let failed = |error: &reqwest::Error| {
        Failure::refused(format!("the receiver does not answer itself: {error}"), "choose another --port")
    };
    let client = reqwest::Client::builder().no_proxy().build().map_err(|error| failed(&error))?;
    client.request(Method::OPTIONS, format!("http://{address}/")).send().await.map_err(|error| failed(&error))?;
    Ok(())
}

/// Says what the machine missed while it slept.
async fn woke(made: Option<&Made>, since: SystemTime, seen: &BTreeSet<String>, stack: &Stack<'_>, output: &Output) {
    let since = OffsetDateTime::from(since).format(&Rfc3339).unwrap_or_default();
    let Some(made) = made else {
        output.say(&format!("this machine slept from {since}; what came meanwhile comes again, or see its deliveries"));
        return;
    };
    let path = [("tenant", made.tenant.as_str()), ("endpoint", made.endpoint.as_str())];
    let query = [("since", Some(since.as_str()))];
    match stack.first(&Call::new(&LIST_DELIVERIES, &path).with_query(&query), "deliveries", MOST_MISSED).await {
        Ok((deliveries, has_more)) => {
            let missed: Vec<_> = deliveries.iter().filter(|one| !is_seen(one, seen)).collect();
            let precision = if has_more { Precision::AtLeast } else { Precision::Exact };
            let count = Count { number: missed.len(), precision };
            output.say(&format!("this machine slept from {since}, and missed {count} deliveries"));
            for one in missed {
                let text = |name: &str| one[name].as_str().unwrap_or_default();
                output.say(&format!("  {}  {}  {} attempts", text("event"), text("status"), one["attempts"]));
            }
        }
        Err(Failure::Told(told)) => {
            output.say(&format!("this machine slept from {since}; what it missed is not known: {}", told.what));
        }
        Err(Failure::BrokenPipe) => {}
    }
}

fn is_seen(delivery: &Value, seen: &BTreeSet<String>) -> bool {
    let event = delivery["event"].as_str().unwrap_or_default();
    seen.iter().any(|id| id.rsplit_once(':').is_some_and(|(one, _)| one == event))
}

impl Arrival {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    fn print(&self, output: &Output) -> Outcome {
        if output.form() != Form::Table {
            return output.line(&self.json().to_string());
        }
        let is_fine = self.report.is_valid() && (200..300).contains(&self.status);
        let mark =
            if is_fine { output.painted("✓", Some(Colour::Green)) } else { output.painted("✗", Some(Colour::Red)) };
        let (hour, minute, second) = self.at.to_hms();
        let kid = self.report.kid().map_or_else(String::new, |kid| format!("  kid {}…", kid.get(..8).unwrap_or(kid)));
        let replay = if self.header("signpost-replay").is_empty() {
            String::new()
        } else {
            format!("  {}", self.header("signpost-replay"))
        };
        output.line(&format!(
            "{hour:02}:{minute:02}:{second:02} {mark} {}  {} ms  {}  {}  attempt {}{replay}{kid}",
            self.status,
            self.duration.as_millis(),
            or_dash(self.header("ce-type")),
            or_dash(self.header("webhook-id").rsplit_once(':').map_or(self.header("ce-id"), |(event, _)| event)),
            or_dash(self.header("signpost-attempt")),
        ))?;
        if let Some(diagnosis) = self.report.diagnosis() {
            output.line(&format!("         {}: {}", diagnosis.step.as_str(), diagnosis.found))?;
        }
        if let (false, Some(saved)) = (is_fine, &self.saved) {
            output.line(&format!("         saved as {}", saved.display()))?;
        }
        self.trouble.as_ref().map_or(Ok(()), |trouble| output.line(&format!("         {trouble}")))
    }

    fn json(&self) -> Value {
        json!({
            "at": self.at.format(&Rfc3339).unwrap_or_default(), "status": self.status,
            "durationMs": u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX),
            "webhookId": self.header("webhook-id"), "type": self.header("ce-type"), "attempt": self.header("signpost-attempt"),
            "replay": self.header("signpost-replay"), "saved": self.saved, "trouble": self.trouble, "verification": self.report.json(),
        })
    }
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

async fn serve(listener: TcpListener, receiver: Arc<Receiver>) {
    while let Ok((stream, _)) = listener.accept().await {
        let receiver = Arc::clone(&receiver);
        tokio::spawn(async move {
            let answer = |request| respond(request, Arc::clone(&receiver));
            drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await);
        });
    }
}

async fn respond(request: Request<Incoming>, receiver: Arc<Receiver>) -> Result<Response<Full<Bytes>>, Infallible> {
    let begin = Instant::now();
    let (parts, body) = request.into_parts();
    if parts.method == Method::OPTIONS {
        // The question whether this receiver wants webhooks (docs/verifying.md).
        return Ok(Response::builder().header("webhook-allowed-origin", "*").body(Full::default()).unwrap_or_default());
    }
    let body = http_body_util::Limited::new(body, MOST_BYTES).collect().await;
    let Ok(body) = body.map(http_body_util::Collected::to_bytes) else {
        return Ok(response(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long, or was cut"));
    };
    let headers = parts
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let saved = SavedRequest {
        method: Some(parts.method.to_string()),
        target: Some(parts.uri.to_string()),
        headers: headers.collect(),
        body: body.to_vec(),
    };
    let report = receiver.verify(&saved).await;
    let file = receiver.saves.as_ref().map(|saves| saves.save(&saved)).transpose();
    let (answer, trouble) = if report.is_valid() || receiver.is_lenient {
        receiver.answer(&parts.method, &parts.uri, &parts.headers, body).await
    } else {
        let step = report.diagnosis().map_or("", |diagnosis| diagnosis.step.as_str());
        (response(StatusCode::UNAUTHORIZED, &format!("the webhook does not verify: {step}")), None)
    };
    let (at, status) = (OffsetDateTime::now_utc(), answer.status().as_u16());
    let (saved, trouble) = match file {
        Ok(saved) => (saved, trouble),
        Err(unsaved) => (None, Some(trouble.map_or(unsaved.clone(), |trouble| format!("{trouble}; {unsaved}")))),
    };
    let arrival = Arrival { at, status, duration: begin.elapsed(), headers: parts.headers, report, saved, trouble };
    drop(receiver.arrivals.send(arrival)); // The command is over.
    Ok(answer)
}

fn response(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text.to_owned()));
    *response.status_mut() = status;
    response
}

impl Receiver {
    /// Verifies, and fetches the key set again, once, if it may lack the key.
    async fn verify(&self, request: &SavedRequest) -> Report {
        let mut trust = self.trust.lock().await;
        trust.now = Some(trust::now());
        let report = verify(request, &trust);
        if !report.may_lack_a_key() {
            return report;
        }
        let Some(url) = &self.keys_url else { return report };
        let mut fetched = self.fetched.lock().await;
        if fetched.elapsed() < FETCH_AGAIN_AFTER {
            return report;
        }
        *fetched = Instant::now();
        if let Ok(keys) = self.fetch_keys(url).await {
            trust.keys = keys;
        }
        verify(request, &trust)
    }

    async fn fetch_keys(&self, url: &str) -> Result<Vec<PublishedKey>, String> {
        let answer = self.http.get(url).send().await.map_err(|error| error.to_string())?;
        PublishedKey::parse_set(&answer.bytes().await.map_err(|error| error.to_string())?)
    }

    /// Answers a challenge, or passes the webhook on, or acknowledges it.
    async fn answer(
        &self,
        method: &Method,
        uri: &http::Uri,
        headers: &HeaderMap,
        body: Bytes,
    ) -> (Response<Full<Bytes>>, Option<String>) {
        if headers.get("ce-type").is_some_and(|value| value == "signpost.verification") {
            let challenge = serde_json::from_slice::<Value>(&body).unwrap_or_default();
            return (response(StatusCode::OK, challenge["challenge"].as_str().unwrap_or_default()), None);
        }
        let Some(target) = &self.forward_to else { return (response(StatusCode::NO_CONTENT, ""), None) };
        let target = uri.query().map_or_else(|| target.clone(), |query| format!("{target}?{query}"));
        let mut call = self.http.request(method.clone(), &target).body(body);
        for (name, value) in headers {
            if !matches!(name.as_str(), "host" | "connection" | "content-length" | "transfer-encoding") {
                call = call.header(name, value);
            }
        }
        let answer = async {
            let answer = call.send().await?;
            Ok::<_, reqwest::Error>((answer.status(), answer.bytes().await?))
        };
        match answer.await {
            Ok((status, bytes)) => (forwarded(status, bytes), None),
            Err(error) => {
                let trouble = format!("{target} does not answer: {}", crate::aws::chain(&error));
                (response(StatusCode::BAD_GATEWAY, "the receiver behind does not answer"), Some(trouble))
            }
        }
    }
}

fn forwarded(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response
}
