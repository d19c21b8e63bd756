//! Each command of `signpost` on the stack, as operators and integrators call it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use signpost_core::event::TenantId;
use signpost_core::signing::algorithm::Algorithm;
use signpost_testkit::authority::Authority;
use signpost_testkit::build::{event, event_id, tenant};
use signpost_testkit::local_stack::{LocalStack, setting, until};
use signpost_testkit::program::{output, start};
use signpost_testkit::receiver::{Receiver, certified_key};
use tokio::task::spawn_blocking;

/// How long a command may run.
const LIMIT: Duration = Duration::from_mins(5);

/// Returns the program, which `make build` puts beside the functions.
pub(crate) fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().unwrap().parent().unwrap().join("signpost");
    assert!(program.exists(), "{} is missing; run `cargo build --workspace --bins`", program.display());
    program
}

pub(crate) struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ran {
    /// Returns the data of a command that did its work.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

pub(crate) async fn run(args: &[&str], input: &str) -> Ran {
    let (args, input) = (args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>(), input.to_owned());
    spawn_blocking(move || run_now(&args, &input)).await.unwrap()
}

fn run_now(args: &[String], input: &str) -> Ran {
    let mut command = Command::new(program());
    command.args(args).args(["--output", "json"]);
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (mut child, _limit) = start(command, LIMIT).unwrap();
    drop(child.stdin.take().unwrap().write_all(input.as_bytes())); // The program may not read it.
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Runs a command for a tenant.
async fn of(tenant: &TenantId, args: &[&str]) -> Ran {
    run(&[args, &["--tenant", tenant.as_str()]].concat(), "").await
}

#[tokio::test]
async fn an_operator_does_everything_with_the_command_line() {
    let (tenant, receiver) = (tenant(), Receiver::start(|_| 204).await);
    let created =
        of(&tenant, &["endpoint", "create", &receiver.url, "--signatures", "jws,standard-webhooks"]).await.json();
    let endpoint = created["id"].as_str().unwrap().to_owned();
    assert!(created["signingSecret"].as_str().unwrap().starts_with("whsec_"));

    let test = of(&tenant, &["endpoint", "test", &endpoint, "--wait", "60"]).await.json();
    assert_eq!((&test["status"], &test["attempt"]["status"]), (&json!("delivered"), &json!(204)));

    let id = event_id();
    let sent = event(&tenant, &id, &json!({"amount": 1})).to_string().replace("\"amount\":1", "\"amount\":10.50");
    run(&["send", "-", "--wait", "60"], &sent).await.json();
    let history = of(&tenant, &["event", "show", &id]).await;
    assert!(history.stdout.contains("10.50"), "{}", history.stdout);
    assert_eq!(history.json()["deliveries"][0]["status"], "delivered");
    let deliveries = of(&tenant, &["deliveries", &endpoint, "--status", "delivered"]).await.json();
    assert_eq!(deliveries.as_array().unwrap().len(), 2);

    let example = of(&tenant, &["send", "--type", "operation", "--via", "sqs", "--wait", "60"]).await;
    assert_eq!(example.json()["accepted"].as_array().unwrap().len(), 1);
    let before = receiver.so_far().len();
    assert_eq!(of(&tenant, &["replay", &id, "--dry-run"]).await.json()["count"], 1);
    let replayed = of(&tenant, &["replay", &id, "--yes"]).await.json();
    assert_eq!(replayed["endpoints"], json!([endpoint]));
    assert_eq!(receiver.wait_for(before + 1).await[before].header("signpost-replay"), "replay");

    let updated =
        of(&tenant, &["endpoint", "update", &endpoint, "--timeout", "5", "--description", "mine"]).await.json();
    assert_eq!((&updated["timeoutSeconds"], &updated["description"]), (&json!(5), &json!("mine")));
    assert_eq!(of(&tenant, &["endpoint", "disable", &endpoint]).await.json()["state"], "disabled");
    assert_eq!(of(&tenant, &["endpoint", "enable", &endpoint]).await.json()["state"], "enabled");
    let rotated = of(&tenant, &["endpoint", "rotate-secret", &endpoint, "--overlap", "60", "--yes"]).await.json();
    assert_ne!(rotated["signingSecret"], created["signingSecret"]);
    assert_eq!(of(&tenant, &["endpoint", "list"]).await.json().as_array().unwrap().len(), 1);
    assert_eq!(of(&tenant, &["endpoint", "show", &endpoint]).await.json()["id"], endpoint);

    let link = of(&tenant, &["portal-link", "create", "--can", "test"]).await.json();
    assert!(link["url"].as_str().unwrap().contains("/portal/#"), "{link}");
    let links = of(&tenant, &["portal-link", "list"]).await.json();
    assert_eq!((&links[0]["id"], &links[0]["state"]), (&link["id"], &json!("unused")), "{links}");
    let ended = of(&tenant, &["portal-link", "end", "--all", "--yes"]).await.json();
    assert_eq!(ended["ended"], json!([link["id"]]));

    let status = of(&tenant, &["status", "operation", "0a1b2c3d", "--wait", "1"]).await;
    assert_eq!(status.code, Some(3), "{}", status.stderr);
    let request = of(&tenant, &["token-request", "consent-42", "--expires-in", "60"]).await.json();
    assert!(request["callbackUrl"].as_str().unwrap().contains("/callbacks/"), "{request}");
    let address = of(&tenant, &["notices", "set", &receiver.url]).await.json();
    assert_eq!(of(&tenant, &["notices", "remove", "--dry-run"]).await.json()["count"], 0);
    assert_eq!(of(&tenant, &["notices", "show"]).await.json()["id"], address["id"]);
    assert_eq!(of(&tenant, &["notices", "remove", "--yes"]).await.json(), json!({"removed": true}));
    let entries = of(&tenant, &["audit", "--limit", "200"]).await.json();
    let removed = &entries[0];
    assert_eq!(
        (&removed["action"], &removed["outcome"]),
        (&json!("DELETE /v1/tenants/{tenant}/notices"), &json!("done"))
    );

    let keys = of(&tenant, &["keys", "list"]).await.json();
    assert!(keys["keys"].as_array().unwrap().iter().any(|key| key["endpoint"] == endpoint), "{keys}");
    let removed = of(&tenant, &["endpoint", "delete", &endpoint, "--yes"]).await.json();
    assert_eq!(removed["removed"], endpoint);
    assert_eq!(of(&tenant, &["endpoint", "show", &endpoint]).await.code, Some(3));
}

#[tokio::test]
async fn what_was_given_up_is_counted_and_then_recovered_and_redriven() {
    let stack = LocalStack::from_env().await;
    let tenant = tenant();
    let is_up = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let answers = std::sync::Arc::clone(&is_up);
    let receiver =
        Receiver::start(move |_| if answers.load(std::sync::atomic::Ordering::Relaxed) { 204 } else { 500 }).await;
    let endpoint = stack.register_with(&tenant, &json!({"url": receiver.url, "retry": {"maxRetries": 0}})).await.id;
    let send = async |status| {
        let id = event_id();
        stack.send_events([event(&tenant, &id, &json!({})).to_string()]).await;
        stack.wait_for_status(&tenant, &id, &endpoint, status).await;
        id
    };
    send(204).await; // Was acknowledged, so nobody sends it again.
    is_up.store(false, std::sync::atomic::Ordering::Relaxed);
    let before = send(500).await;
    let failed = [send(500).await, send(500).await];

    let deliveries = of(&tenant, &["deliveries", endpoint.as_str(), "--status", "exhausted"]).await.json();
    assert_eq!(deliveries[2]["event"], before, "{deliveries}");
    let since = deliveries[1]["arrivedAt"].as_str().unwrap();
    let recover = ["recover", endpoint.as_str(), "--since", since];
    let count = of(&tenant, &[&recover[..], &["--dry-run"]].concat()).await.json();
    assert_eq!(count, json!({"dryRun": true, "count": 2, "precision": "exact"}));
    let so_far = receiver.so_far().len();
    is_up.store(true, std::sync::atomic::Ordering::Relaxed);
    let recovered = of(&tenant, &[&recover[..], &["--yes"]].concat()).await.json();
    assert_eq!(recovered["recovered"], count["count"], "the stack sends again what was counted");
    for id in &failed {
        stack.wait_for_status(&tenant, id, &endpoint, 204).await;
    }
    let again = receiver.so_far().split_off(so_far);
    let again: Vec<_> = again.iter().map(|one| (one.header("signpost-replay"), one.event_id())).collect();
    assert_eq!(again.len(), 2, "{again:?}");
    assert!(again.iter().all(|(kind, id)| *kind == "recover" && *id != before), "{again:?}");

    // All three are in the queue. The messages of those that were recovered leave it as well.
    let redrive = ["dlq", "redrive"];
    let count = until("the messages of the tenant", async || {
        let counted = of(&tenant, &[&redrive[..], &["--dry-run"]].concat()).await.json();
        (counted["count"] == 3).then_some(counted)
    })
    .await;
    assert_eq!(count, json!({"dryRun": true, "count": 3, "precision": "about"}));
    let moved = std::cell::Cell::new(0);
    until("a redrive of what was counted", async || {
        let redriven = of(&tenant, &[&redrive[..], &["--yes"]].concat()).await.json(); // A look hides them for seconds.
        moved.set(moved.get() + redriven["moved"].as_u64()?);
        (moved.get() == 3).then_some(())
    })
    .await;
    stack.wait_for_status(&tenant, &before, &endpoint, 204).await;
    let rejected = run(&["dlq", "list", "--queue", "rejected", "--limit", "1"], "").await.json();
    assert!(rejected.is_array());
}

/// Runs `doctor`, which trusts what the stack's functions trust. Returns the step that fails.
async fn doctor(url: &str) -> Option<String> {
    let trusted = Path::new(&setting("RECEIVER_CERTIFICATE")).with_file_name("trusted.pem");
    let mut command = Command::new(program());
    command.args(["doctor", url, "--allow-private", "--output", "json"]).env("SSL_CERT_FILE", trusted);
    let output = spawn_blocking(move || output(&mut command, LIMIT).unwrap()).await.unwrap();
    let steps: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let failed = steps.iter().find(|one| one["status"] == "fail").map(|one| one["step"].as_str().unwrap().to_owned());
    assert_eq!(output.status.code(), Some(i32::from(failed.is_some())), "{steps:?}");
    failed
}

#[tokio::test]
async fn doctor_finds_the_fault_that_the_record_of_a_delivery_has() {
    let (stack, tenant, id) = (LocalStack::from_env().await, tenant(), event_id());
    let key = || certified_key(&setting("RECEIVER_CERTIFICATE"), &setting("RECEIVER_KEY"));
    let authority = Authority::new();
    let (plain, tls) = (Receiver::start(|_| 204).await, Receiver::start_tls(key()).await);
    let (untrusted, demanding) =
        (Receiver::start_tls(authority.server()).await, Receiver::start_mtls(key(), authority.der()).await);
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/", listener.local_addr().unwrap())
    };
    // The URL, the causes that the record may have, and the steps at which `doctor` may stop.
    let cases: [(String, &[&str], &[&str]); 7] = [
        (plain.url.clone(), &[], &[]),
        (tls.url.clone(), &[], &[]),
        (tls.url.replace("127.0.0.1", "localhost"), &["certificate-wrong-name"], &["tls"]),
        (untrusted.url.clone(), &["certificate-untrusted"], &["tls"]),
        (plain.url.replace("http:", "https:"), &["not-tls"], &["tls"]),
        (closed, &["connection-refused"], &["connect"]),
        // With TLS 1.3 the receiver refuses after the handshake, and its alert may be lost.
        (
            demanding.url.clone(),
            &["client-certificate-required", "connection-closed", "connection-reset"],
            &["tls", "answer"],
        ),
    ];
    let mut endpoints = Vec::new();
    for (url, ..) in &cases {
        endpoints.push(stack.register_with(&tenant, &json!({"url": url, "retry": {"maxRetries": 0}})).await.id);
    }
    stack.send_events([event(&tenant, &id, &json!({})).to_string()]).await;
    for ((url, causes, steps), endpoint) in cases.iter().zip(endpoints) {
        let attempt = stack.wait_for_attempts(&tenant, &id, &endpoint, 1).await.swap_remove(0);
        let (cause, step) = (attempt.cause.unwrap_or_default(), doctor(url).await.unwrap_or_default());
        let is_expected = |expected: &[&str], found: &str| {
            if expected.is_empty() { found.is_empty() } else { expected.contains(&found) }
        };
        assert!(is_expected(causes, &cause) && is_expected(steps, &step), "{url}: `{cause}`, and doctor says `{step}`");
    }
}

#[tokio::test]
async fn an_operator_follows_the_deliveries_of_a_tenant_and_of_an_endpoint() {
    let (stack, tenant, receiver) = (LocalStack::from_env().await, tenant(), Receiver::start(|_| 204).await);
    let endpoint = stack.register_with(&tenant, &json!({"url": receiver.url})).await.id;
    let id = event_id();
    let commands = [vec!["tail"], vec!["deliveries", endpoint.as_str(), "--follow"]];
    let mut following = Vec::new();
    for words in commands {
        let mut command = Command::new(program());
        command.args(words).args(["--tenant", tenant.as_str(), "--output", "jsonl"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let (mut child, limit) = start(&mut command, LIMIT).unwrap();
        let mut said = Vec::new();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let has_begun = lines.inspect(|line| said.push(line.clone())).any(|line| line.starts_with("following"));
        assert!(has_begun, "{said:?}");
        following.push((child, limit));
    }
    stack.send_events([event(&tenant, &id, &json!({})).to_string()]).await;
    for (mut child, _limit) in following {
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut shown = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
        let delivered = spawn_blocking(move || shown.find(|one| one["status"] == "delivered")).await.unwrap().unwrap();
        assert_eq!((&delivered["event"], &delivered["endpoint"]), (&json!(id), &json!(endpoint.as_str())));
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
}

#[tokio::test]
async fn an_operator_reads_a_rejected_message_and_rotates_the_signing_keys() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let note = format!("of {tenant}");
    stack.send_events([json!({"specversion": "1.0", "tenant": tenant.as_str(), "note": note}).to_string()]).await;
    let shown = until("a rejected message", async || {
        let listed = run(&["dlq", "list", "--queue", "rejected", "--limit", "10000"], "").await.json();
        let mine = listed.as_array()?.iter().find(|one| one["tenant"] == tenant.as_str())?;
        let id = mine["id"].as_str()?;
        // A look hides it for five seconds. A redrive by another test gives it another id, so the list is read again then.
        for _ in 0..20 {
            let shown = run(&["dlq", "show", id, "--queue", "rejected"], "").await;
            if shown.code == Some(0) {
                return Some(shown.json());
            }
        }
        None
    })
    .await;
    assert_eq!(shown["reason"], "invalid-event", "{shown}");
    assert!(shown["body"].as_str().unwrap().contains(&note), "{shown}");
    assert!(shown["attributes"]["faults"].as_str().unwrap().contains("/id"), "{shown}");

    let before = of(&tenant, &["keys", "list"]).await.json();
    let counted = run(&["keys", "rotate", "--dry-run"], "").await.json();
    assert_eq!(counted, json!({"dryRun": true, "count": Algorithm::ALL.len(), "precision": "exact"}));
    let made = run(&["keys", "rotate", "--yes"], "").await.json();
    let kids = |keys: &Value| keys["keys"].as_array().unwrap().iter().map(|key| key["kid"].clone()).collect::<Vec<_>>();
    until(&format!("one of the new keys, {made}"), async || {
        let after = of(&tenant, &["keys", "list"]).await.json(); // Environments remember the set for some seconds.
        kids(&after).iter().any(|kid| !kids(&before).contains(kid)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn whoami_knows_the_account_and_the_stack_and_anybody_its_addresses() {
    let who = run(&["whoami"], "").await.json();
    assert_eq!(
        (&who["account"], &who["region"], &who["stack"]),
        (&json!("000000000000"), &json!("us-east-1"), &json!("signpost"))
    );
    assert!(who["stackStatus"].as_str().unwrap().ends_with("_COMPLETE"), "{who}");
    assert_eq!(who["version"], who["programVersion"], "{who}");
    let addresses = run(&["addresses"], "").await.json();
    assert!(addresses["fixed"].is_boolean() && addresses["upcoming"].is_array(), "{addresses}");
    let named = run(&["whoami", "--stack", "signpost"], "").await.json();
    assert!(named["apiUrl"].as_str().unwrap().contains("execute-api"), "{named}");
    assert_eq!(run(&["whoami", "--stack", "another"], "").await.code, Some(3));
}

#[tokio::test]
async fn listen_makes_an_endpoint_shows_what_arrives_and_removes_it() {
    let tenant = tenant();
    let args = ["listen", "--port", "0", "--tenant", tenant.as_str(), "--output", "jsonl"];
    let mut command = Command::new(program());
    let (mut child, _limit) =
        start(command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()), LIMIT).unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
    let stderr = BufReader::new(child.stderr.take().unwrap()).lines();
    let pid = child.id().to_string();
    let mut arrival = move || serde_json::from_str::<Value>(&stdout.next().unwrap().unwrap()).unwrap();

    // If it does not become ready, it says why and ends by itself, so that no line blocks for ever.
    let said: Vec<String> = stderr.map(Result::unwrap).take_while(|line| !line.starts_with("ready: ")).collect();
    assert_eq!(said.len(), 1, "only that it waits: {said:?}");
    let test = arrival();
    assert_eq!((&test["type"], &test["verification"]["valid"]), (&json!("signpost.test"), &json!(true)), "{test}");
    assert_eq!(test["verification"]["checks"].as_array().unwrap().len(), 3, "all formats: {test}");

    of(&tenant, &["send", "--type", "payment"]).await.json();
    let payment = spawn_blocking(arrival).await.unwrap();
    assert_eq!((&payment["type"], &payment["verification"]["valid"]), (&json!("payment"), &json!(true)), "{payment}");

    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(of(&tenant, &["endpoint", "list"]).await.json(), json!([]), "it removed its endpoint");
}
