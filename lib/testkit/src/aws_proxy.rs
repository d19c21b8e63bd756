//! A proxy in front of the local stack's AWS that counts calls, and can refuse them, lose their answers or hold them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_config::{BehaviorVersion, SdkConfig};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::lineage::Lineage;
use crate::local_stack::setting;

/// A proxy on loopback. It runs until it is dropped.
#[derive(Debug)]
pub struct AwsProxy {
    url: String,
    calls: Arc<Mutex<Calls>>,
    held: watch::Receiver<HashSet<String>>,
    traces: Traces,
    server: JoinHandle<()>,
}

/// The point at which the proxy holds a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// AWS has answered; the caller gets no answer.
    Answered,
    /// The caller has called; the proxy does not forward the call.
    Called,
}

#[derive(Debug, Default)]
struct Calls {
    counts: BTreeMap<String, usize>,
    /// The operation whose calls fail, and the number of calls that succeed first.
    failing: Option<(String, usize)>,
    /// The operation whose calls are limited in size, and the most bytes that a call may have.
    bounded: Option<(String, usize)>,
    /// The operation whose calls the proxy holds, and at which point.
    holding: Option<(String, Hold)>,
    /// The calls that the proxy holds, by the SDK's invocation id. The SDK's retries of a call share the id.
    held: watch::Sender<HashSet<String>>,
    /// A text in a call's body that stands for a feature which AWS does not support.
    unsupported: Option<String>,
    /// The operation one of whose answers is lost, and the number of calls that are answered first.
    to_lose: Option<(String, usize)>,
    /// When each call was passed on, and when it was answered.
    passed: Vec<Passed>,
    /// When the proxy held the first call since it was asked to.
    held_since: Option<Instant>,
    /// The number of disturbances.
    disturbances: usize,
}

/// A call that was passed on to AWS.
#[derive(Clone, Debug)]
pub struct Passed {
    /// Its operation, such as `SendMessageBatch`.
    pub operation: String,
    /// When the proxy had the whole call.
    pub called: Instant,
    /// When the proxy had the whole answer.
    pub answered: Instant,
}

/// A counter of what a busy machine does to a test: calls that the SDK repeated without a cause in the proxy, and callers that
/// a test left waiting for so long that they give a held call up.
#[derive(Clone, Debug)]
pub struct Disturbances(Arc<Mutex<Calls>>);

impl Disturbances {
    /// Returns their number up to now.
    #[must_use]
    pub fn count(&self) -> usize {
        lock(&self.0).disturbances
    }
}

/// The trace headers with which messages were sent through a proxy, by message id. SQS keeps such a header with its message,
/// as `AWSTraceHeader`. The local stack does not.
#[derive(Clone, Debug, Default)]
pub struct Traces(Arc<Mutex<HashMap<String, String>>>);

impl Traces {
    /// Returns the trace header of a message.
    #[must_use]
    pub fn of(&self, message_id: &str) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(message_id).cloned()
    }

    /// Returns the length of the longest chain of invocations of a function.
    #[must_use]
    pub fn longest(&self, function: &str) -> u32 {
        let traces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        traces.values().map(|trace| Lineage::parse(trace).count(function)).max().unwrap_or_default()
    }

    /// Keeps the trace header of a call with the messages that it sent, by the answer of SQS.
    fn keep(&self, trace: &str, answer: &[u8]) {
        let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
        let batch = answer["Successful"].as_array().map(Vec::as_slice).unwrap_or_default();
        let ids = batch.iter().chain([&answer]).filter_map(|sent| sent["MessageId"].as_str());
        let kept = ids.map(|id| (id.to_owned(), trace.to_owned()));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(kept);
    }
}

impl AwsProxy {
    /// Starts a proxy.
    ///
    /// # Panics
    /// Loopback has no free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port on loopback");
        let url = format!("http://{}", listener.local_addr().expect("a bound socket has an address"));
        let calls = Arc::<Mutex<Calls>>::default();
        let held = lock(&calls).held.subscribe();
        let traces = Traces::default();
        let server = tokio::spawn(serve(listener, Arc::clone(&calls), traces.clone()));
        Self { url, calls, held, traces, server }
    }

    /// Returns the URL of the proxy, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Loads the settings of an AWS SDK that calls the proxy.
    pub async fn aws(&self) -> SdkConfig {
        aws_config::defaults(BehaviorVersion::latest()).endpoint_url(&self.url).load().await
    }

    /// Returns the trace headers of the messages that are sent through the proxy.
    #[must_use]
    pub fn traces(&self) -> Traces {
        self.traces.clone()
    }

    /// Takes the calls that were passed on since the last time, in the order of their answers.
    #[must_use]
    pub fn take_passed(&self) -> Vec<Passed> {
        std::mem::take(&mut lock(&self.calls).passed)
    }

    /// Counts the calls of `operation`, such as `Decrypt`.
    #[must_use]
    pub fn count(&self, operation: &str) -> usize {
        lock(&self.calls).counts.get(operation).copied().unwrap_or_default()
    }

    /// Returns a counter of the disturbances. It can be read when the proxy is gone.
    #[must_use]
    pub fn disturbances(&self) -> Disturbances {
        Disturbances(Arc::clone(&self.calls))
    }

    /// Fails every call of `operation` as if it were throttled, until [`Self::heal`].
    pub fn fail(&self, operation: &str) {
        self.fail_after(operation, 0);
    }

    /// Does what [`Self::fail`] does, after `passed` more calls of the operation.
    pub fn fail_after(&self, operation: &str, passed: usize) {
        lock(&self.calls).failing = Some((operation.to_owned(), passed));
    }

    /// Refuses every call whose body contains `text`, as AWS does if a region does not support a feature.
    pub fn lack(&self, text: &str) {
        lock(&self.calls).unsupported = Some(text.to_owned());
    }

    /// Refuses every call of `operation` with more than `bytes` bytes, as DynamoDB does if an item becomes too large.
    /// Ends with [`Self::heal`].
    pub fn refuse_over(&self, operation: &str, bytes: usize) {
        lock(&self.calls).bounded = Some((operation.to_owned(), bytes));
    }

    /// Forwards all calls again, except those that [`Self::lack`] refuses. The calls that are held stay held.
    pub fn heal(&self) {
        let mut calls = lock(&self.calls);
        (calls.failing, calls.bounded, calls.holding) = (None, None, None);
        let waited = calls.held_since.take().map(|since| since.elapsed()).unwrap_or_default();
        calls.disturbances += usize::from(waited > GIVEN_UP_AFTER);
    }

    /// Holds every call of `operation` until [`Self::heal`]. A held call never ends: tests kill the caller there.
    pub fn hold(&self, operation: &str, hold: Hold) {
        lock(&self.calls).holding = Some((operation.to_owned(), hold));
    }

    /// Waits until `count` calls are held. Retries of one call count once.
    ///
    /// # Panics
    /// Fewer calls are held after two minutes.
    pub async fn wait_for_held(&self, count: usize) {
        let mut held = self.held.clone();
        let enough = tokio::time::timeout(PATIENCE, held.wait_for(|held| held.len() >= count)).await;
        let held = self.held.borrow().len();
        let operation = {
            let mut calls = lock(&self.calls);
            calls.disturbances += usize::from(held > 0 && held < count); // They came too late for each other.
            calls.holding.as_ref().map(|(operation, _)| operation.clone())
        };
        assert!(matches!(enough, Ok(Ok(_))), "{held} of {count} calls of {operation:?} are held");
    }

    /// Forwards the next call of `operation`, but answers 500 to the caller, as if the answer of AWS were lost.
    pub fn lose_answer_of(&self, operation: &str) {
        self.lose_a_later_answer_of(operation, 0);
    }

    /// Does what [`Self::lose_answer_of`] does, after `others` more calls of the operation.
    pub fn lose_a_later_answer_of(&self, operation: &str, others: usize) {
        lock(&self.calls).to_lose = Some((operation.to_owned(), others));
    }
}

impl Drop for AwsProxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The functions give up a call after 4 seconds. A test that needs longer to kill one does not know where it dies.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(3);

/// How long a test waits for calls before it fails.
const PATIENCE: Duration = Duration::from_mins(2);

fn lock(calls: &Mutex<Calls>) -> MutexGuard<'_, Calls> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: TcpListener, calls: Arc<Mutex<Calls>>, traces: Traces) {
    let (client, aws) = (reqwest::Client::new(), setting("AWS_ENDPOINT_URL"));
    while let Ok((stream, _)) = listener.accept().await {
        let (client, aws, calls, traces) = (client.clone(), aws.clone(), Arc::clone(&calls), traces.clone());
        let service = service_fn(move |request| {
            pass_on(request, client.clone(), aws.clone(), Arc::clone(&calls), traces.clone())
        });
        tokio::spawn(async move { drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await) });
    }
}

async fn pass_on(
    request: Request<Incoming>,
    client: reqwest::Client,
    aws: String,
    calls: Arc<Mutex<Calls>>,
    traces: Traces,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let operation = operation(&parts.headers);
    let (fails, is_too_large, is_lost, hold, is_lacked) = {
        let mut calls = lock(&calls);
        *calls.counts.entry(operation.clone()).or_default() += 1;
        let fails = match &mut calls.failing {
            Some((failing, passed)) if *failing == operation => {
                let fails = *passed == 0;
                *passed = passed.saturating_sub(1);
                fails
            }
            Some(_) | None => false,
        };
        let hold = calls.holding.as_ref().filter(|(held, _)| *held == operation).map(|(_, hold)| *hold);
        let is_its_turn = |(to_lose, others): &mut (String, usize)| {
            let is_its_turn = *to_lose == operation && *others == 0;
            *others = others.saturating_sub(usize::from(*to_lose == operation));
            is_its_turn
        };
        let is_lacked = calls.unsupported.as_ref().is_some_and(|text| String::from_utf8_lossy(&body).contains(text));
        let is_over = |(bounded, bytes): &(String, usize)| *bounded == operation && body.len() > *bytes;
        let is_too_large = calls.bounded.as_ref().is_some_and(is_over);
        let is_passed_on = hold.is_none() && calls.failing.is_none() && calls.to_lose.is_none();
        calls.disturbances += usize::from(is_passed_on && is_repeated(&parts.headers));
        (fails, is_too_large, calls.to_lose.take_if(is_its_turn).is_some(), hold, is_lacked)
    };
    let call = text(&parts.headers, "amz-sdk-invocation-id").to_owned();
    let trace = text(&parts.headers, "x-amzn-trace-id").to_owned();
    if hold == Some(Hold::Called) {
        return hold_for_ever(call, &calls).await;
    }
    if is_lacked {
        let body = r#"{"__type":"UnsupportedOperationException","message":"not in this region"}"#;
        let response = Response::builder().status(400).header("content-type", "application/x-amz-json-1.1");
        return Ok(response.body(Full::from(body)).expect("a response"));
    }
    if fails || is_too_large {
        let (kind, message) = if fails {
            ("ThrottlingException", "Rate exceeded")
        } else {
            ("ValidationException", "Item size to update has exceeded the maximum allowed size")
        };
        let body = format!(r#"{{"__type":"{kind}","message":"{message}"}}"#);
        let response = Response::builder().status(400).header("content-type", "application/x-amz-json-1.0");
        return Ok(response.body(Full::from(body)).expect("a response"));
    }
    let called = Instant::now();
    let sent = client.request(parts.method, format!("{aws}{}", parts.uri)).headers(parts.headers).body(body).send();
    let answer = sent.await.expect("an answer from the local stack");
    let (status, headers) = (answer.status(), answer.headers().clone());
    let bytes = answer.bytes().await.expect("a whole answer");
    lock(&calls).passed.push(Passed { operation: operation.clone(), called, answered: Instant::now() });
    if !trace.is_empty() && operation.starts_with("SendMessage") {
        traces.keep(&trace, &bytes);
    }
    let mut response = Response::new(Full::new(bytes));
    if hold == Some(Hold::Answered) {
        return hold_for_ever(call, &calls).await;
    }
    if is_lost {
        return Ok(Response::builder().status(500).body(Full::default()).expect("a status"));
    }
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

/// Holds a call. Ends with the connection, when the caller is dead.
async fn hold_for_ever<T>(call: String, calls: &Mutex<Calls>) -> T {
    {
        let mut calls = lock(calls);
        calls.held_since.get_or_insert_with(Instant::now);
        calls.held.send_if_modified(|held| held.insert(call));
    }
    pending().await
}

/// Reads the operation from the header of the JSON protocols of AWS: `<service>.<operation>`.
fn operation(headers: &HeaderMap) -> String {
    text(headers, "x-amz-target").rsplit('.').next().unwrap_or_default().to_owned()
}

/// Returns whether the SDK sends a call again, by its header `amz-sdk-request: attempt=2; max=3`.
fn is_repeated(headers: &HeaderMap) -> bool {
    let attempt = text(headers, "amz-sdk-request").split("; ").find_map(|part| part.strip_prefix("attempt="));
    attempt.is_some_and(|attempt| attempt != "1")
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
