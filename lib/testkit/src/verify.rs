//! Signatures verified by programs that share no code with Signpost: libraries of Python and JavaScript, and openssl.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::receiver::Received;

/// What one verifier says of one request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Report {
    /// The key that the JWS names, or else the HTTP message signature; empty where there is neither.
    pub kid: String,
    /// Library, algorithm or version, and form of the payload, for each verification that succeeded: `jose RS256 raw`,
    /// `svix v1`, `http-message-signatures ed25519`.
    pub verified: Vec<String>,
    /// Why the first one failed, if one did.
    pub error: Option<String>,
}

/// Has every signature of every request verified by every library that knows its format, where the endpoints sign with
/// keys only: JWS, over the payload as it came and after all whitespace was stripped, HTTP message signatures, and the
/// `v1a` of Standard Webhooks. A request without a signature is an error, and so is one with a `v1`.
///
/// Gives one report per program and request: first all of Python's, then all of JavaScript's, which knows JWS and `v1`
/// and passes over the rest. The programs fetch the keys from the stack at `api_url`, by `kid` as PEM and JWK, and as a
/// set. What has a timestamp that its signature covers is refused when that is more than five minutes ago.
///
/// # Panics
/// `python` or `node` cannot be run: the tests are started with the venv of the local stack first in `PATH`.
pub async fn independently(api_url: &str, requests: &[Received]) -> Vec<Report> {
    verify(api_url, requests, None).await
}

/// Does what [`independently`] does for endpoints with a signing secret, `whsec_…`, so that `v1` is verified too.
///
/// # Panics
/// As [`independently`].
pub async fn independently_with(api_url: &str, requests: &[Received], secret: &str) -> Vec<Report> {
    verify(api_url, requests, Some(secret)).await
}

async fn verify(api_url: &str, requests: &[Received], secret: Option<&str>) -> Vec<Report> {
    let input: String = requests.iter().map(|request| captured(request, secret).to_string() + "\n").collect();
    let api_url = api_url.to_owned();
    let run = move || {
        let python = verifier("python", "verify.py", &api_url, &input);
        let node = verifier("node", "verify.mjs", &api_url, &input);
        [python, node].concat()
    };
    tokio::task::spawn_blocking(run).await.expect("the verifiers run")
}

/// A request as a line of the programs' input.
fn captured(request: &Received, secret: Option<&str>) -> Value {
    let header = |name: &HeaderName| {
        let lines: Vec<_> = request.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
        // Several lines of one field mean the same as one (RFC 9110, section 5.3).
        (name.to_string(), String::from_utf8_lossy(&lines.join(&b", "[..])).into())
    };
    let headers: Map<String, Value> = request.headers.keys().map(header).collect();
    json!({
        "method": request.method.as_str(),
        "url": request.url,
        "headers": headers,
        "body": STANDARD.encode(&request.body),
        "secret": secret,
    })
}

fn verifier(interpreter: &str, program: &str, api_url: &str, input: &str) -> Vec<Report> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../infra/local/verify").join(program);
    let mut child = Command::new(interpreter)
        .arg(path)
        .arg(api_url)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{interpreter}: {error}; run `make test`, which sets it up"));
    let mut stdin = child.stdin.take().expect("a piped stdin");
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("output of the verifier");
    writer.join().expect("no panic").expect("the verifier reads its input");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("a report")).collect()
}
