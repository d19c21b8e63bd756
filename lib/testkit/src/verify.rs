//! Signatures verified by programs that share no code with Signpost: libraries of Python and JavaScript, and openssl.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::receiver::Received;

/// A verifier's result for one request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Report {
    /// Key id of the JWS, or else of the HTTP message signature; empty if there is neither.
    pub kid: String,
    /// Library, algorithm or version, and form of the payload, for each successful verification: `jose RS256 raw`,
    /// `svix v1`, `http-message-signatures ed25519`.
    pub verified: Vec<String>,
    /// The reason why the first failed verification failed.
    pub error: Option<String>,
}

/// Verifies every signature of every request with every library that knows its format, for endpoints that sign with
/// keys only. The formats are JWS, over the exact payload and over the payload without white space, HTTP message
/// signatures, and `v1a` of Standard Webhooks. A request without a signature, or with a `v1`, is an error.
///
/// Returns one report per program and request: first those of Python, then those of JavaScript. The JavaScript program
/// knows JWS and `v1`, and ignores the other formats. The programs fetch the tenant's keys below `keys_url`
/// ([`LocalStack::keys_url`]): by `kid` as PEM and JWK, and as a set. They refuse a signed timestamp that is more than
/// five minutes old.
///
/// # Panics
/// `python` or `node` cannot be run. Start the tests with `make test`, which puts the local stack's venv first in
/// `PATH`.
///
/// [`LocalStack::keys_url`]: crate::local_stack::LocalStack::keys_url
pub async fn independently(keys_url: &str, requests: &[Received]) -> Vec<Report> {
    verify(keys_url, "", requests, None).await
}

/// Does what [`independently`] does, for endpoints with a signing secret, `whsec_…`. So it verifies `v1` too.
///
/// # Panics
/// As [`independently`].
///
/// [`LocalStack::keys_url`]: crate::local_stack::LocalStack::keys_url
pub async fn independently_with(keys_url: &str, requests: &[Received], secret: &str) -> Vec<Report> {
    verify(keys_url, "", requests, Some(secret)).await
}

/// Does what [`independently_with`] does, for an endpoint whose URL has its own query, which the signature of a `GET`
/// does not cover.
///
/// # Panics
/// As [`independently`].
pub async fn independently_behind(keys_url: &str, own_query: &str, requests: &[Received], secret: &str) -> Vec<Report> {
    verify(keys_url, own_query, requests, Some(secret)).await
}

async fn verify(keys_url: &str, own_query: &str, requests: &[Received], secret: Option<&str>) -> Vec<Report> {
    let input: String =
        requests.iter().map(|request| captured(request, own_query, secret).to_string() + "\n").collect();
    let keys_url = keys_url.to_owned();
    let run = move || {
        let python = verifier("python", "verify.py", &keys_url, &input);
        let node = verifier("node", "verify.mjs", &keys_url, &input);
        [python, node].concat()
    };
    tokio::task::spawn_blocking(run).await.expect("the verifiers run")
}

/// An integrator who has written a receiver as `docs/verifying.md` shows, with these settings from the operator.
#[derive(Clone, Debug)]
pub struct Integrator {
    /// The endpoint's `jwksUrl` up to and including the tenant.
    pub keys_url: String,
    /// The endpoint's id.
    pub endpoint: String,
    /// The endpoint's URL.
    pub url: String,
    /// The endpoint's secret, `whsec_…`.
    pub secret: String,
    /// The endpoint's `jwsAlgorithm`.
    pub algorithm: String,
}

/// The results of the examples in `docs/verifying.md` for one request, by format: nothing if accepted, else the reason.
pub type Verdicts = BTreeMap<String, Option<String>>;

impl Integrator {
    /// Verifies requests with the examples in `docs/verifying.md`, each request in all formats that it carries.
    ///
    /// # Panics
    /// As [`independently`].
    pub async fn judge(&self, requests: &[Received]) -> Vec<Verdicts> {
        let requests: Vec<_> = requests.iter().map(|request| captured(request, "", None)).collect();
        let task = json!({
            "keysUrl": self.keys_url, "endpoint": self.endpoint, "url": self.url, "secret": self.secret,
            "alg": self.algorithm, "requests": requests,
        });
        let run = move || output("python", "from_docs.py", None, &task.to_string());
        let output = tokio::task::spawn_blocking(run).await.expect("the examples run");
        let verdicts: Vec<_> = output.lines().map(|line| serde_json::from_str(line).expect("verdicts")).collect();
        assert_eq!(verdicts.len(), requests.len(), "the examples ran to their end");
        verdicts
    }
}

/// Reads requests with the official CloudEvents SDKs for Python and JavaScript, and returns the events of each: their
/// attributes, and `data`.
///
/// # Panics
/// An SDK does not take a request for an event.
#[must_use]
pub fn read_with_sdks(requests: &[Received]) -> [Vec<Value>; 2] {
    let lines: Vec<_> = requests.iter().map(|request| captured(request, "", None).to_string()).collect();
    [("python", "cloudevents_sdk.py"), ("node", "cloudevents-sdk.mjs")].map(|(interpreter, program)| {
        let text = output(interpreter, program, None, &lines.join("\n"));
        let events: Vec<_> = text.lines().map(|line| serde_json::from_str(line).expect("an event")).collect();
        assert_eq!(events.len(), lines.len(), "{program} reads each request");
        events
    })
}

/// Writes a request as a line of input for the programs.
fn captured(request: &Received, own_query: &str, secret: Option<&str>) -> Value {
    let header = |name: &HeaderName| {
        let lines: Vec<_> = request.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
        // Several lines of one field are equal to one line (RFC 9110, section 5.3).
        (name.to_string(), String::from_utf8_lossy(&lines.join(&b", "[..])).into())
    };
    let headers: Map<String, Value> = request.headers.keys().map(header).collect();
    json!({
        "method": request.method.as_str(),
        "url": request.url,
        "ownQuery": own_query,
        "headers": headers,
        "body": STANDARD.encode(&request.body),
        "secret": secret,
    })
}

fn verifier(interpreter: &str, program: &str, keys_url: &str, input: &str) -> Vec<Report> {
    let text = output(interpreter, program, Some(keys_url), input);
    let reports: Vec<_> = text.lines().map(|line| serde_json::from_str(line).expect("a report")).collect();
    assert_eq!(reports.len(), input.lines().count(), "{program} judges each request once");
    reports
}

/// Runs a program of `infra/local/verify/`, and returns its output.
fn output(interpreter: &str, program: &str, argument: Option<&str>, input: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../infra/local/verify").join(program);
    let mut child = Command::new(interpreter)
        .arg(path)
        .args(argument)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{interpreter}: {error}; run `make test`, which sets it up"));
    let mut stdin = child.stdin.take().expect("a piped stdin");
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("output of the verifier");
    writer.join().expect("no panic").expect("the verifier reads its input");
    String::from_utf8(output.stdout).expect("UTF-8")
}
