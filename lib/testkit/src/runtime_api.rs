//! The Runtime API of Lambda on loopback, for one process of a function. It hands out invocations and takes the
//! results.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use signpost_io::runtime::clock::{millis, unix_now};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use uuid::Uuid;

/// A Runtime API. It runs until it is dropped.
#[derive(Debug)]
pub struct RuntimeApi {
    address: String,
    first_asked: watch::Receiver<Option<Instant>>,
    waiting: mpsc::UnboundedSender<Invocation>,
    server: JoinHandle<()>,
}

/// The end of an invocation: the function's response, or the error that it reported, both as the function wrote them.
pub type End = Result<Value, Value>;

#[derive(Debug)]
struct Invocation {
    event: String,
    trace: Option<String>,
    end: oneshot::Sender<End>,
}

/// The invocations that the process can take or has taken.
#[derive(Debug)]
struct Invocations {
    /// The time at which the process first asked for an invocation.
    first_asked: watch::Sender<Option<Instant>>,
    waiting: tokio::sync::Mutex<mpsc::UnboundedReceiver<Invocation>>,
    /// The channels to the callers that wait for the end, by request id.
    running: Mutex<HashMap<String, oneshot::Sender<End>>>,
}

impl RuntimeApi {
    /// Starts a Runtime API.
    ///
    /// # Panics
    /// Loopback has no free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port on loopback");
        let address = listener.local_addr().expect("a bound socket has an address").to_string();
        let (waiting, to_hand_out) = mpsc::unbounded_channel();
        let (sender, first_asked) = watch::channel(None);
        let invocations = Invocations { first_asked: sender, waiting: to_hand_out.into(), running: Mutex::default() };
        Self { address, first_asked, waiting, server: tokio::spawn(serve(listener, Arc::new(invocations))) }
    }

    /// Returns host and port, which the process expects in `AWS_LAMBDA_RUNTIME_API`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Waits until the process asks for its first invocation, which ends its cold start, and returns that time.
    ///
    /// # Panics
    /// The API has ended.
    pub async fn first_asked(&self) -> Instant {
        let mut first_asked = self.first_asked.clone();
        let asked = first_asked.wait_for(Option::is_some).await.expect("the API runs");
        asked.expect("`wait_for` returns only a time")
    }

    /// Hands `event` to the process when it next asks for one, and waits for the end. If the process dies, this waits
    /// for ever, so the caller must watch the process.
    ///
    /// # Errors
    /// The error that the function reported.
    ///
    /// # Panics
    /// The API has ended, or the process sent invalid JSON.
    pub async fn invoke(&self, event: &Value) -> End {
        self.invoke_with_trace(event, None).await
    }

    /// Does the same, with a trace header that the function's SDK sends with every call.
    ///
    /// # Errors
    /// The error that the function reported.
    ///
    /// # Panics
    /// The API has ended, or the process sent invalid JSON.
    pub async fn invoke_with_trace(&self, event: &Value, trace: Option<String>) -> End {
        let (end, ended) = oneshot::channel();
        self.waiting.send(Invocation { event: event.to_string(), trace, end }).expect("the API runs");
        ended.await.expect("the API reports the end")
    }
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The time limit that a function sees: the maximum of Lambda, 15 minutes. Nothing enforces it.
const DEADLINE: Duration = Duration::from_mins(15);

async fn serve(listener: TcpListener, invocations: Arc<Invocations>) {
    while let Ok((stream, _)) = listener.accept().await {
        let invocations = Arc::clone(&invocations);
        let service = service_fn(move |request| answer(request, Arc::clone(&invocations)));
        tokio::spawn(async move { drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await) });
    }
}

async fn answer(
    request: Request<Incoming>,
    invocations: Arc<Invocations>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().trim_start_matches("/2018-06-01/runtime/invocation/").to_owned();
    if path == "next" {
        return Ok(invocations.next().await);
    }
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let is_known = match path.split_once('/') {
        Some((id, "response")) => invocations.end(id, Ok(json(&body))),
        Some((id, "error")) => invocations.end(id, Err(json(&body))),
        _ => false,
    };
    let status = if is_known { StatusCode::ACCEPTED } else { StatusCode::NOT_FOUND };
    Ok(Response::builder().status(status).body(Full::default()).expect("a status"))
}

fn json(body: &[u8]) -> Value {
    serde_json::from_slice(body).expect("JSON")
}

impl Invocations {
    /// Waits for an invocation for the process.
    async fn next(&self) -> Response<Full<Bytes>> {
        self.first_asked.send_if_modified(|first| first.is_none() && first.replace(Instant::now()).is_none());
        let invocation = self.waiting.lock().await.recv().await;
        let Some(Invocation { event, trace, end }) = invocation else {
            return Response::builder().status(StatusCode::GONE).body(Full::default()).expect("a status");
        };
        let id = Uuid::new_v4().to_string();
        let response = Response::builder()
            .header("content-type", "application/json")
            .header("lambda-runtime-aws-request-id", &id)
            .header("lambda-runtime-deadline-ms", millis(unix_now() + DEADLINE))
            .header("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:000000000000:function:hosted");
        let response = match trace {
            Some(trace) => response.header("lambda-runtime-trace-id", trace),
            None => response,
        };
        self.running().insert(id, end);
        response.body(Full::from(event)).expect("a response")
    }

    /// Reports the end of an invocation to the caller that waits for it. Returns false if no caller waits.
    fn end(&self, id: &str, end: End) -> bool {
        self.running().remove(id).is_some_and(|waiting| waiting.send(end).is_ok())
    }

    fn running(&self) -> MutexGuard<'_, HashMap<String, oneshot::Sender<End>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
