//! Signatures verified by programs that share no code with Signpost: PyJWT and jwcrypto in Python, jose in JavaScript.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde::Deserialize;
use serde_json::json;

use crate::receiver::Received;

/// What one verifier says of one request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Report {
    /// The key that the signature names.
    pub kid: String,
    /// Library and form of the body, for each verification that succeeded: `jose raw`, `jose stripped`.
    pub verified: Vec<String>,
    /// Why the first one failed, if one did.
    pub error: Option<String>,
}

/// Has every request verified by every library, over the body as it came and after all whitespace was stripped. Gives
/// one report per library's program and request: first all of Python's, then all of JavaScript's.
///
/// The programs fetch the keys from the stack at `api_url`, by `kid` as PEM and JWK, and as a set.
///
/// # Panics
/// `python` or `node` cannot be run: the tests are started with the venv of the local stack first in `PATH`.
pub async fn independently(api_url: &str, requests: &[Received]) -> Vec<Report> {
    let lines = requests.iter().map(|request| {
        let payload = match request.method {
            Method::GET => request.uri.query().unwrap_or_default().as_bytes(),
            _ => &request.body,
        };
        json!({"signature": request.header("jws-signature"), "payload": STANDARD.encode(payload)}).to_string() + "\n"
    });
    let input: String = lines.collect();
    let api_url = api_url.to_owned();
    let run = move || {
        let python = verifier("python", "verify.py", &api_url, &input);
        let node = verifier("node", "verify.mjs", &api_url, &input);
        [python, node].concat()
    };
    tokio::task::spawn_blocking(run).await.expect("the verifiers run")
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
