//! A proxy in front of the local stack's AWS that counts what is called, fails, and loses answers.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_config::{BehaviorVersion, SdkConfig};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::local_stack::setting;

/// A proxy on loopback, until it is dropped.
#[derive(Debug)]
pub struct AwsProxy {
    url: String,
    calls: Arc<Mutex<Calls>>,
    server: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Calls {
    counts: BTreeMap<String, usize>,
    /// The operation that fails.
    failing: Option<String>,
    /// The operation whose next answer gets lost.
    to_lose: Option<String>,
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
        let server = tokio::spawn(serve(listener, Arc::clone(&calls)));
        Self { url, calls, server }
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
        lock(&self.calls).failing = Some(operation.to_owned());
    }

    /// Lets every call through again.
    pub fn heal(&self) {
        lock(&self.calls).failing = None;
    }

    /// Has the next call of `operation` done, and its answer lost: what is answered instead is a 500.
    pub fn lose_answer_of(&self, operation: &str) {
        lock(&self.calls).to_lose = Some(operation.to_owned());
    }
}

impl Drop for AwsProxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

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
    let (fails, is_lost) = {
        let mut calls = lock(&calls);
        *calls.counts.entry(operation.clone()).or_default() += 1;
        let fails = calls.failing.as_ref() == Some(&operation);
        (fails, calls.to_lose.take_if(|to_lose| *to_lose == operation).is_some())
    };
    if fails {
        let body = r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#;
        let response = Response::builder().status(400).header("content-type", "application/x-amz-json-1.0");
        return Ok(response.body(Full::from(body)).expect("a response"));
    }
    let sent = client.request(parts.method, format!("{aws}{}", parts.uri)).headers(parts.headers).body(body).send();
    let answer = sent.await.expect("an answer from the local stack");
    let (status, headers) = (answer.status(), answer.headers().clone());
    let mut response = Response::new(Full::new(answer.bytes().await.expect("a whole answer")));
    if is_lost {
        return Ok(Response::builder().status(500).body(Full::default()).expect("a status"));
    }
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

/// What the JSON protocols of AWS call the operation: `<service>.<operation>`.
fn operation(headers: &HeaderMap) -> String {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    target.rsplit('.').next().unwrap_or_default().to_owned()
}
