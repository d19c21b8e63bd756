//! Real deliveries to the programs of the receiver packages, as integrators run them.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;
use signpost_core::endpoint::EndpointId;
use signpost_core::event::{MAX_EVENT_BYTES, TenantId};
use signpost_testkit::build::{event, event_id, tenant};
use signpost_testkit::local_stack::{LocalStack, until};
use signpost_testkit::program::{Running, output, run_beside};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

/// How long a program may run, and the test.
const LIMIT: Duration = Duration::from_mins(10);

const FORMATS: [&str; 3] = ["jws", "standard-webhooks", "http-message-signatures"];

/// The programs, each with the methods that it gets webhooks by.
const PROGRAMS: [(&str, &[&str]); 10] = [
    ("axum", &["POST", "PUT", "GET"]),
    ("django", &["PUT"]),
    ("express", &["POST", "PUT", "GET"]),
    ("fastapi", &["POST", "GET"]),
    ("fastify", &["POST"]),
    ("flask", &["POST", "PUT", "GET"]),
    ("go", &["POST", "GET"]),
    ("jdk", &["POST", "PUT", "GET"]),
    ("php", &["PUT", "GET"]),
    ("ruby", &["POST", "GET"]),
];

/// Returns the formats that a program verifies.
fn formats_of(program: &str) -> &'static [&'static str] {
    if ["go", "php", "ruby"].contains(&program) { &FORMATS[..2] } else { &FORMATS }
}

fn package(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../receivers").join(name).canonicalize().unwrap()
}

/// Returns the folder of the build, which the package for Rust shares.
fn build() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().to_owned()
}

/// Returns the Python that the package's tests run with.
fn python() -> String {
    let prefix = output(Command::new("python").args(["-c", "import sys; print(sys.prefix)"]), LIMIT).unwrap();
    format!("{}-receivers/bin/python", String::from_utf8(prefix.stdout).unwrap().trim())
}

fn succeeds(command: &mut Command) {
    let done = output(command, LIMIT).unwrap();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Compiles the programs of Rust and Java.
fn compile() {
    let build = build();
    let target = build.ancestors().filter(|folder| folder.join("CACHEDIR.TAG").exists()).last().unwrap();
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--locked", "--quiet", "--example", "axum_receiver"]).current_dir(package("rust"));
    succeeds(cargo.env("CARGO_TARGET_DIR", target));
    succeeds(Command::new(package("java").join("test.sh")).arg("--build"));
    succeeds(Command::new("go").args(["build", "-o", "build/receiver", "./examples"]).current_dir(package("go")));
}

fn command(program: &str, port: u16, python: &str) -> Command {
    let examples = |name: &str| package(name).join("examples");
    let (port, with_python) = (port.to_string(), |args: &[&str]| {
        let mut command = Command::new(python);
        command.args(args).current_dir(examples("python")).env("PYTHONPATH", package("python"));
        command
    });
    let mut command = match program {
        "axum" => Command::new(build().join("examples/axum_receiver")),
        "django" => with_python(&["django_receiver.py", "runserver", "--noreload", &format!("127.0.0.1:{port}")]),
        "express" | "fastify" => {
            let mut node = Command::new("node");
            node.arg(examples("javascript").join(format!("{program}-receiver.js")));
            node
        }
        "fastapi" => with_python(&["-m", "uvicorn", "fastapi_receiver:app", "--port", &port]),
        "flask" => with_python(&["-m", "flask", "--app", "flask_receiver", "run", "--port", &port]),
        "go" => Command::new(package("go").join("build/receiver")),
        "jdk" => {
            let mut java = Command::new("java");
            java.args(["-cp", "build/main", "examples/WebhookServer.java"]).current_dir(package("java"));
            java
        }
        "php" => {
            let mut php = Command::new("php");
            php.args(["-S", &format!("127.0.0.1:{port}")]).arg(examples("php").join("receiver.php"));
            php.env("KEYS_FOLDER", env!("CARGO_TARGET_TMPDIR"));
            php
        }
        "ruby" => {
            let mut ruby = Command::new("ruby");
            ruby.arg(examples("ruby").join("receiver.rb"));
            ruby
        }
        other => panic!("there is no program {other}"),
    };
    command.env("PORT", port).env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::null());
    command
}

/// A program with an endpoint of each format.
struct Integrator {
    name: String,
    has_body: bool,
    tenant: TenantId,
    endpoints: Vec<(EndpointId, &'static str)>,
    log: PathBuf,
    running: Running,
}

impl Integrator {
    async fn start(stack: &LocalStack, program: &str, method: &str, python: &str) -> Self {
        let (name, tenant) = (format!("{program}-{method}"), tenant());
        let held = TcpListener::bind("127.0.0.1:0").unwrap(); // Until the program takes the port.
        let port = held.local_addr().unwrap().port();
        let (url, mut command) = (format!("http://127.0.0.1:{port}/in"), command(program, port, python));
        command.env("JWKS_URL", format!("{}/.well-known/jwks.json", stack.keys_url(&tenant))).env("ENDPOINT_URL", &url);
        let mut endpoints = Vec::new();
        for (format, algorithm) in formats_of(program).iter().zip(["RS256", "RS256", "ES256"]) {
            let settings = json!({
                "url": url, "method": method, "signatures": [format], "jwsAlgorithm": algorithm,
                "retry": {"maxRetries": 8, "intervalSeconds": 5, "backoff": "fixed"},
            });
            let registered = stack.register_with(&tenant, &settings).await;
            if *format == "standard-webhooks" {
                command.env("ENDPOINT", registered.id.as_str()).env("SECRET", &registered.signing_secret);
            }
            endpoints.push((registered.id, *format));
        }
        let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.log"));
        let file = File::create(&log).unwrap();
        command.stdout(file.try_clone().unwrap()).stderr(file);
        drop(held);
        let running = RefCell::new(run_beside(&mut command, LIMIT).unwrap());
        until(&format!("{name}, see {}", log.display()), async || {
            assert!(!running.borrow_mut().has_ended().unwrap(), "{name}: {}", std::fs::read_to_string(&log).unwrap());
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()
        })
        .await;
        Self { name, has_body: method != "GET", tenant, endpoints, log, running: running.into_inner() }
    }

    async fn send(&self, stack: &LocalStack) -> String {
        let id = event_id();
        let data = json!({"name": "John  Smith\u{a0}", "amount": 10.5, "text": "a&b=c"});
        stack.send_events([event(&self.tenant, &id, &data).to_string()]).await;
        id
    }

    /// Sends an event of the largest size. White space makes its request the longest that there is.
    async fn send_largest(&self, stack: &LocalStack) -> String {
        let id = event_id();
        let empty = event(&self.tenant, &id, &json!({"text": ""})).to_string();
        let data = json!({"text": " ".repeat(MAX_EVENT_BYTES - empty.len())});
        stack.send_events([event(&self.tenant, &id, &data).to_string()]).await;
        id
    }

    /// Waits until an event is verified in each format, and returns the ids of the keys that signed the JWS.
    ///
    /// An attempt may be refused only because its key, which signs at once, is not in the set yet.
    async fn verified(&mut self, stack: &LocalStack, id: &str) -> BTreeSet<String> {
        let mut kids = BTreeSet::new();
        for (endpoint, format) in &self.endpoints {
            for attempt in stack.wait_for_status(&self.tenant, id, endpoint, 204).await {
                let answer = attempt.response.unwrap_or_default();
                let log = std::fs::read_to_string(&self.log).unwrap();
                // The programs without a package answer without the step, and log it.
                let mut refusals = log.lines().filter(|line| line.contains("refused: "));
                let is_logged = refusals.next().is_some_and(is_of_kid) && refusals.all(is_of_kid);
                let is_early = attempt.status == Some(401) && (answer.contains("kid-unknown") || is_logged);
                assert!(attempt.status == Some(204) || is_early, "{} {format}: {answer}: {log}", self.name);
                if *format == "jws" && attempt.status == Some(204) {
                    kids.extend(attempt.kids);
                }
            }
        }
        assert!(!self.running.has_ended().unwrap(), "{} goes on", self.name);
        kids
    }
}

fn is_of_kid(line: &str) -> bool {
    line.contains("no key has the `kid`")
}

#[tokio::test]
async fn each_package_verifies_real_webhooks_in_each_format_while_keys_change() {
    let stack = LocalStack::from_env().await;
    let python = spawn_blocking(|| {
        compile();
        python()
    });
    let python = python.await.unwrap();
    let mut integrators = Vec::new();
    for (program, methods) in PROGRAMS {
        for method in methods {
            integrators.push(Integrator::start(&stack, program, method, &python).await);
        }
    }
    let (mut seen, deadline) = (vec![BTreeSet::new(); integrators.len()], Instant::now() + LIMIT);
    loop {
        assert!(Instant::now() < deadline, "no program has verified with two keys: {seen:?}");
        let mut sent = Vec::new();
        for integrator in &integrators {
            sent.push(integrator.send(&stack).await);
        }
        if seen.iter().all(BTreeSet::is_empty) {
            for integrator in &mut integrators {
                if integrator.has_body {
                    let id = integrator.send_largest(&stack).await;
                    integrator.verified(&stack, &id).await;
                }
            }
        }
        for ((integrator, id), kids) in integrators.iter_mut().zip(&sent).zip(&mut seen) {
            kids.extend(integrator.verified(&stack, id).await);
        }
        let fewest = seen.iter().map(BTreeSet::len).min().unwrap();
        if fewest >= 2 {
            break; // Each program has verified with a key that did not sign when it started.
        }
        if seen.iter().all(|kids| kids.len() == 1) {
            stack.rotate_now().await;
        }
    }
}
