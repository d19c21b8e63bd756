//! A proxy in front of the local stack's AWS that counts what is called, fails, loses answers, and holds calls.

use std::collections::{BTreeMap, HashSet};
use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::local_stack::setting;

/// A proxy on loopback, until it is dropped.
#[derive(Debug)]
pub struct AwsProxy {
    url: String,
    calls: Arc<Mutex<Calls>>,
    held: watch::Receiver<HashSet<String>>,
    server: JoinHandle<()>,
}

/// Where a call is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Done, and its answer not given.
    Answered,
    /// Made, and not passed on.
    Called,
}

#[derive(Debug, Default)]
struct Calls {
    counts: BTreeMap<String, usize>,
    /// The operation that fails, and how many of its calls pass before.
    failing: Option<(String, usize)>,
    /// The operation of which no more than so many bytes are taken.
    bounded: Option<(String, usize)>,
    /// The operation that is held, and where.
    holding: Option<(String, Hold)>,
    /// The calls that are held, by the SDK's invocation id, which its retries share.
    held: watch::Sender<HashSet<String>>,
    /// What the body of a call has in it that AWS does not support.
    unsupported: Option<String>,
    /// The operation of which an answer gets lost, and how many calls of it are answered before.
    to_lose: Option<(String, usize)>,
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
        let server = tokio::spawn(serve(listener, Arc::clone(&calls)));
        Self { url, calls, held, server }
    }

    /// Where it listens, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The settings of the AWS SDK, by way of the proxy.
    pub async fn aws(&self) -> SdkConfig {
        aws_config::defaults(BehaviorVersion::latest()).endpoint_url(&self.url).load().await
    }

    /// How often `operation` was called, such as `Decrypt`.
    #[must_use]
    pub fn count(&self, operation: &str) -> usize {
        lock(&self.calls).counts.get(operation).copied().unwrap_or_default()
    }

    /// Has every call of `operation` fail, as when it is throttled, until [`Self::heal`].
    pub fn fail(&self, operation: &str) {
        self.fail_after(operation, 0);
    }

    /// The same once `passed` more calls of it have come through.
    pub fn fail_after(&self, operation: &str, passed: usize) {
        lock(&self.calls).failing = Some((operation.to_owned(), passed));
    }

    /// Refuses every call whose body has `text` in it, as AWS does with what a region does not support.
    pub fn lack(&self, text: &str) {
        lock(&self.calls).unsupported = Some(text.to_owned());
    }

    /// Refuses every call of `operation` that has more than so many bytes, as a write to an item that is full is, until
    /// [`Self::heal`].
    pub fn refuse_over(&self, operation: &str, bytes: usize) {
        lock(&self.calls).bounded = Some((operation.to_owned(), bytes));
    }

    /// Lets every call through again, except those that are lacked. What is held stays held.
    pub fn heal(&self) {
        let mut calls = lock(&self.calls);
        (calls.failing, calls.bounded, calls.holding) = (None, None, None);
    }

    /// Has every call of `operation` held for ever, until [`Self::heal`]: for callers that are killed there.
    pub fn hold(&self, operation: &str, hold: Hold) {
        lock(&self.calls).holding = Some((operation.to_owned(), hold));
    }

    /// Waits until as many calls are held. Tries of the same call count once.
    ///
    /// # Panics
    /// They are not within two minutes.
    pub async fn wait_for_held(&self, count: usize) {
        let mut held = self.held.clone();
        let enough = tokio::time::timeout(PATIENCE, held.wait_for(|held| held.len() >= count)).await;
        assert!(matches!(enough, Ok(Ok(_))), "{} of {count} calls are held", self.held.borrow().len());
    }

    /// Has the next call of `operation` done, and its answer lost: what is answered instead is a 500.
    pub fn lose_answer_of(&self, operation: &str) {
        self.lose_a_later_answer_of(operation, 0);
    }

    /// The same with the call after as many others.
    pub fn lose_a_later_answer_of(&self, operation: &str, others: usize) {
        lock(&self.calls).to_lose = Some((operation.to_owned(), others));
    }
}

impl Drop for AwsProxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// How long a test waits for calls before it fails.
const PATIENCE: Duration = Duration::from_mins(2);

fn lock(calls: &Mutex<Calls>) -> MutexGuard<'_, Calls> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: TcpListener, calls: Arc<Mutex<Calls>>) {
    let (client, aws) = (reqwest::Client::new(), setting("AWS_ENDPOINT_URL"));
    while let Ok((stream, _)) = listener.accept().await {
        let (client, aws, calls) = (client.clone(), aws.clone(), Arc::clone(&calls));
        let service = service_fn(move |request| pass_on(request, client.clone(), aws.clone(), Arc::clone(&calls)));
        tokio::spawn(async move { drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await) });
    }
}

async fn pass_on(
    request: Request<Incoming>,
    client: reqwest::Client,
    aws: String,
    calls: Arc<Mutex<Calls>>,
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
        (fails, is_too_large, calls.to_lose.take_if(is_its_turn).is_some(), hold, is_lacked)
    };
    let call = text(&parts.headers, "amz-sdk-invocation-id").to_owned();
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
    let sent = client.request(parts.method, format!("{aws}{}", parts.uri)).headers(parts.headers).body(body).send();
    let answer = sent.await.expect("an answer from the local stack");
    let (status, headers) = (answer.status(), answer.headers().clone());
    let mut response = Response::new(Full::new(answer.bytes().await.expect("a whole answer")));
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

/// Ends with the connection, when the caller is dead.
async fn hold_for_ever<T>(call: String, calls: &Mutex<Calls>) -> T {
    lock(calls).held.send_if_modified(|held| held.insert(call));
    pending().await
}

/// What the JSON protocols of AWS call the operation: `<service>.<operation>`.
fn operation(headers: &HeaderMap) -> String {
    text(headers, "x-amz-target").rsplit('.').next().unwrap_or_default().to_owned()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
