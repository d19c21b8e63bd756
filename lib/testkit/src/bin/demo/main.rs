//! The demo: real events through API Gateway and SQS of the local stack, signed webhooks at real receivers, a retry, a bank
//! callback, a rotation, and verification by libraries that share no code with Signpost. `make demo` starts it.
//!
//! Each section begins with the command line where it has a command. Then it shows the same over HTTP, as curl does it.

#![expect(clippy::expect_used, reason = "a demo that cannot go on says why and ends")]

mod screen;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde_json::{Value, json};
use signpost_core::endpoint::EndpointId;
use signpost_core::event::TenantId;
use signpost_core::signing::kid::of_signing_key;
use signpost_testkit::bank::Bank;
use signpost_testkit::build::event;
use signpost_testkit::examples::EXAMPLES;
use signpost_testkit::local_stack::{LocalStack, Registered, endpoints_path, root};
use signpost_testkit::program::start;
use signpost_testkit::receiver::{Received, Receiver};
use signpost_testkit::verify::{Report, independently, independently_with};

use crate::screen::Screen;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let demo = Demo::start().await;
    let globex_endpoint = demo.create_endpoints().await;
    demo.send_events().await;
    demo.show_webhooks().await;
    demo.send_every_payload().await;
    demo.poll_a_session().await;
    demo.show_a_retry().await;
    demo.test_an_endpoint(&globex_endpoint).await;
    demo.relay_a_bank_callback().await;
    demo.rotate_keys().await;
    demo.verify_everything(&globex_endpoint).await;
    if demo.screen.sum_up() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The stack, three tenants and their receivers.
struct Demo {
    stack: LocalStack,
    screen: Screen,
    acme: TenantId,
    globex: TenantId,
    /// A client of a bank.
    tpp: TenantId,
    /// Accepts every webhook; acme's.
    healthy: Receiver,
    /// Fails on the first webhook; globex's.
    flaky: Receiver,
    /// The receiver of `tpp`.
    integrator: Receiver,
}

impl Demo {
    async fn start() -> Self {
        Self {
            stack: LocalStack::from_env().await,
            screen: Screen::new(),
            acme: tenant("acme"),
            globex: tenant("globex"),
            tpp: tenant("tpp"),
            healthy: Receiver::start(|_| 204).await,
            flaky: Receiver::start(|index| if index == 0 { 503 } else { 204 }).await,
            integrator: Receiver::start(|_| 204).await,
        }
    }

    /// Creates an endpoint of acme and one of globex, and tries to create a faulty one. Returns that of globex.
    async fn create_endpoints(&self) -> Registered {
        self.screen.section("Operators create endpoints");
        self.create_endpoint(&["--signatures", "jws"], &self.healthy.url, &self.acme, "").await;
        let settings = json!({
            "auth": {"kind": "apiKey", "secret": "X-Api-Key:open sesame"}, "jwsAlgorithm": "EdDSA",
            "retry": {"maxRetries": 5, "intervalSeconds": 5, "backoff": "fixed"},
        });
        let formats = ["--signatures", "jws,standard-webhooks,http-message-signatures", "--settings", "-"];
        let created = self.create_endpoint(&formats, &self.flaky.url, &self.globex, &settings.to_string()).await;
        let faulty = r#"{"method":"DELETE","auth":{"kind":"basic","secret":"no colon"}}"#;
        let words = ["endpoint", "create", "ftp://hooks.example", "--tenant", "acme", "--settings", "-"];
        let ran = self.signpost(&words, faulty).await;
        self.show(&ran);
        let path = endpoints_path(&self.acme);
        let answer = self.stack.manage("GET", &path, None).await;
        let count = answer.json()["endpoints"].as_array().map_or(0, Vec::len);
        self.screen.done(&format!("curl: GET {path} → {}, {count} endpoint", answer.status));
        created
    }

    async fn create_endpoint(&self, options: &[&str], url: &str, tenant: &TenantId, settings: &str) -> Registered {
        let words = [&["endpoint", "create", url, "--tenant", tenant.as_str()], options].concat();
        let created = self.signpost_for_data(&words, settings).await;
        self.screen.detail(&format!("{} {}", text(&created["id"]), text(&created["state"])));
        let id = EndpointId::parse(&text(&created["id"])).expect("an endpoint's id");
        Registered { id, signing_secret: text(&created["signingSecret"]) }
    }

    async fn send_events(&self) {
        self.screen.section("Producers send events, over HTTP and into the queue");
        for (words, input) in [
            (vec!["send", "-"], payment("payment-1", "approved")),
            (vec!["send", "-"], r#"{"specversion":"1.0","id":"no#hashes"}"#.to_owned()),
            (
                vec!["send", "-", "--via", "sqs"],
                event(&self.globex, "device-7-registered", &json!({"device": 7})).to_string(),
            ),
        ] {
            let ran = self.signpost(&words, &input).await;
            self.show(&ran);
        }
        let batch = format!("[{},{}]", payment("payment-2", "pending"), payment("payment-2", "rejected"));
        let answer = self.stack.post_events("application/cloudevents-batch+json", batch).await;
        self.screen.done(&format!("curl: POST /v1/events, a batch → {}  {}", answer.status, answer.text));
    }

    async fn show_webhooks(&self) {
        self.screen.section("Signed webhooks arrive");
        let arrived = self.healthy.wait_for(3).await;
        for request in &arrived {
            self.screen.done(&format!("{} {}  {}", request.method, request.uri, request.event_id()));
        }
        self.screen.detail("The first one on the wire:");
        for name in ["webhook-id", "webhook-timestamp", "signpost-attempt", "jws-signature"] {
            self.screen.detail(&format!("{name}: {}", arrived[0].header(name)));
        }
        self.screen.detail(&String::from_utf8_lossy(&arrived[0].body));
        self.screen.detail(&format!("The signature's header: {}", jose_header(&arrived[0])));
        let keys = format!("{}/.well-known/jwks.json", self.stack.keys_url(&self.acme));
        let ran = self.signpost(&["verify", "-", "--keys", &keys], &message(&arrived[0])).await;
        self.show(&ran);
        self.screen.prove(ran.is_done, "An integrator verifies a saved request with the command line");
    }

    async fn send_every_payload(&self) {
        self.screen.section("One payload of each kind that five vendors document");
        let before = self.healthy.so_far().len();
        let events = EXAMPLES.map(|example| example.event(self.acme.as_str())).join("\n");
        self.signpost(&["send", "-", "--via", "sqs"], &events).await;
        let arrived = self.healthy.wait_for(before + EXAMPLES.len()).await;
        for request in &arrived[before..] {
            self.screen.done(&format!("{:26} {}", request.event_id(), String::from_utf8_lossy(&request.body)));
        }
    }

    /// Polls a session while its events come, and asks for all details in the end.
    async fn poll_a_session(&self) {
        self.screen.section("A client that polls gets each change at once");
        let before = self.healthy.so_far().len();
        let path = format!("/v1/tenants/{}/status/session/session-9", self.acme);
        let mut tag = String::new();
        for (index, (stage, status, details)) in stages().into_iter().enumerate() {
            let event = json!({
                "specversion": "1.0", "id": format!("session-9-{index}"), "source": "/core", "type": "session",
                "tenant": "acme",
                "data": {"sessionId": "session-9", "stage": stage, "status": status, "details": details},
            });
            let sending = self.stack.send_events([event.to_string()]);
            tag = if tag.is_empty() {
                self.wait_for_first_state(&path, sending).await
            } else {
                self.wait_for_next_state(&path, &tag, sending).await
            };
        }
        let words = ["status", "session", "session-9", "--tenant", "acme"];
        let ran = self.signpost(&words, "").await;
        self.show(&ran);
        for name in ["status", "Accounts/status", "status/details"] {
            let question = format!("/api/session/{name}?sessionId=session-9&tenant={}", self.acme);
            let answer = self.stack.manage("GET", &question, None).await;
            self.screen.done(&format!("curl: GET /api/session/{name} → {} {}", answer.status, answer.text));
        }
        self.healthy.wait_for(before + stages().len()).await; // The webhooks are sent all the same.
    }

    /// Waits with the command line. Returns the tag of the state.
    async fn wait_for_first_state(&self, path: &str, sending: impl Future<Output = ()>) -> String {
        let words = ["status", "session", "session-9", "--tenant", "acme", "--wait", "20"];
        let (ran, ()) = tokio::join!(self.signpost(&words, ""), sending);
        self.show(&ran);
        self.stack.manage("GET", path, None).await.header("etag").to_owned()
    }

    /// Waits for a state with another tag, as curl does. Returns its tag.
    async fn wait_for_next_state(&self, path: &str, tag: &str, sending: impl Future<Output = ()>) -> String {
        let (started, root, headers) = (Instant::now(), root(), [("prefer", "wait=20"), ("if-none-match", tag)]);
        let (answer, ()) = tokio::join!(self.stack.manage_as(&root, "GET", path, &headers, None), sending);
        let (seen, after) = (answer.json(), started.elapsed().as_secs_f32());
        let [stage, status] = ["stage", "status"].map(|name| text(&seen[name]));
        let line =
            format!("curl: GET …/status/session/session-9 → {} after {after:.1} s  {stage} {status}", answer.status);
        self.screen.done(&line);
        answer.header("etag").to_owned()
    }

    async fn show_a_retry(&self) {
        self.screen.section("A webhook that fails is sent again");
        let tries = self.flaky.wait_for(2).await;
        let after = tries[1].at - tries[0].at;
        let id = tries[0].event_id();
        self.screen.refused(&format!("{id}  attempt {} → 503", tries[0].header("signpost-attempt")));
        let attempt = tries[1].header("signpost-attempt");
        self.screen.done(&format!("{id}  attempt {attempt}, {:.1} s later → 204", after.as_secs_f32()));
        let ran = self.signpost(&["event", "show", id, "--tenant", "globex"], "").await;
        self.show(&ran);
        self.screen.detail("This endpoint has an API key and all three signature formats:");
        for name in
            ["x-api-key", "jws-signature", "webhook-signature", "content-digest", "signature-input", "signature"]
        {
            self.screen.detail(&format!("{name}: {}", tries[1].header(name)));
        }
        let is_same = tries[1].event_id() == id && attempt == "2" && after >= Duration::from_secs(4);
        self.screen.prove(is_same, "A failed webhook is sent again after the wait that the endpoint asks for");
    }

    async fn test_an_endpoint(&self, endpoint: &Registered) {
        self.screen.section("An operator tests an endpoint, and sees what it got");
        let id = endpoint.id.as_str();
        let ran = self.signpost(&["endpoint", "test", id, "--tenant", "globex"], "").await;
        self.show(&ran);
        let is_delivered = ran.is_done && ran.lines.iter().any(|line| line.ends_with("delivered"));
        self.screen.prove(is_delivered, "The command line tests an endpoint, and shows the answer");
        let arrived = self.flaky.wait_for(3).await;
        self.screen.done(&format!("{} arrives", arrived[2].event_id()));
        let ran = self.signpost(&["deliveries", id, "--tenant", "globex"], "").await;
        self.show(&ran);
    }

    /// Runs the command line as an operator does, with a text on stdin. The stack's settings are in the environment.
    async fn signpost(&self, words: &[&str], input: &str) -> Ran {
        let ran = run(words, input).await;
        let call = format!("$ signpost {}", words.join(" "));
        if ran.is_done {
            self.screen.done(&call);
        } else {
            self.screen.refused(&call);
        }
        if !input.is_empty() {
            let input: Vec<_> = input.split_whitespace().collect();
            self.screen.detail(&format!("< {}", input.join(" ")));
        }
        ran
    }

    /// The same, for data that a program reads.
    async fn signpost_for_data(&self, words: &[&str], input: &str) -> Value {
        let ran = self.signpost(&[words, &["--output", "json"]].concat(), input).await;
        serde_json::from_str(&ran.data).unwrap_or_else(|_| panic!("{}", ran.lines.join("\n")))
    }

    /// Shows what the command line printed.
    fn show(&self, ran: &Ran) {
        ran.lines.iter().for_each(|line| self.screen.detail(line));
    }

    /// Registers a token request, and calls back as the bank does, twice.
    async fn relay_a_bank_callback(&self) {
        self.screen.section("A bank calls back: the integrator gets a webhook, the browser is sent on");
        let options = ["--settings", "-"];
        self.create_endpoint(&options, &self.integrator.url, &self.tpp, r#"{"method":"GET"}"#).await;
        let id = "rq:3SVzgJtzu2DvaZSgRGznpdknT3dq:5zKtXEAq";
        let words = ["token-request", id, "--tenant", "tpp", "--redirect-url", "https://tpp.callback.url"];
        let callback_url = text(&self.signpost_for_data(&words, "").await["callbackUrl"]);
        self.screen.detail(&format!("for the bank: {callback_url}"));
        let (bank, query) = (Bank::default(), format!("request-id={id}&request_id={id}"));
        let first = bank.get(&callback_url, &query).await;
        self.screen.done(&format!(
            "the browser comes from the bank → {} to {}",
            first.status,
            first.header("location")
        ));
        let arrived = self.integrator.wait_for(1).await;
        self.screen.done(&format!("{} {} arrives", arrived[0].method, arrived[0].uri));
        let again = bank.get(&callback_url, &query).await;
        self.screen.done(&format!("the same call again → {} to {}", again.status, again.header("location")));
        let other = bank.get(&callback_url, &format!("{query}&note=another")).await;
        self.screen.refused(&format!("another call → {} {}", other.status, other.text.trim_end()));
        let ran = self.signpost(&["status", "token-request", id, "--tenant", "tpp"], "").await;
        self.show(&ran);
        let path = format!("/token-requests/{id}/result?tenant={}", self.tpp);
        let result = self.stack.manage("GET", &path, None).await.json();
        self.screen.done(&format!("curl: GET {path} → {}", text(&result["status"])));
        let is_same = again.header("location") == first.header("location");
        let is_once = (first.status, again.status, other.status) == (303, 303, 410) && is_same;
        self.screen.prove(is_once, "A bank callback becomes one webhook; another call of its link is refused");
    }

    async fn rotate_keys(&self) {
        self.screen.section("Signing keys rotate while events flow");
        let old = kid(&self.healthy.so_far()[0]);
        let dry = self.signpost(&["keys", "rotate", "--dry-run"], "").await;
        self.show(&dry);
        let made = self.signpost_for_data(&["keys", "rotate", "--yes"], "").await;
        let made = made["answer"]["keyIds"].as_array().into_iter().flatten();
        let made: Vec<_> = made.map(|key_id| of_signing_key(&text(key_id), &self.acme)).collect();
        let (first, new) = self.send_until_signed_by(&made).await;
        self.screen.done(&format!("before: {old}"));
        self.screen.done(&format!("now:    {new}, first used for {first}"));
        self.screen.prove(old != new, "The signing keys changed while events went on");
    }

    /// Sends acme an event a second until one arrives that is signed with one of the keys `kids`. Returns that event's id and
    /// the key's.
    async fn send_until_signed_by(&self, kids: &[String]) -> (String, String) {
        let mut pace = tokio::time::interval(Duration::from_secs(1));
        for index in 1.. {
            pace.tick().await;
            let before = self.healthy.so_far().len();
            let heartbeat = event(&self.acme, &format!("heartbeat-{index}"), &json!({"beat": index}));
            self.stack.send_events([heartbeat.to_string()]).await;
            let arrived = self.healthy.wait_for(before + 1).await;
            if let Some(request) = arrived[before..].iter().find(|request| kids.contains(&kid(request))) {
                return (request.event_id().to_owned(), kid(request));
            }
        }
        unreachable!("the loop has no end")
    }

    async fn verify_everything(&self, globex_endpoint: &Registered) {
        self.screen.section("Other libraries verify every signature, with keys fetched over HTTP");
        let ran = self.signpost(&["keys", "list", "--tenant", "acme"], "").await;
        self.show(&ran);
        let (stack, secret) = (&self.stack, &globex_endpoint.signing_secret);
        let receivers = [&self.healthy, &self.flaky, &self.integrator];
        let [acmes, globexes, tpps] = receivers.map(Receiver::so_far);
        let reports = [
            independently(&stack.keys_url(&self.acme), &acmes).await,
            independently_with(&stack.keys_url(&self.globex), &globexes, secret).await,
            independently(&stack.keys_url(&self.tpp), &tpps).await,
        ]
        .concat();
        for (how, count) in tally(&reports) {
            self.screen.done(&format!("{how:36} {count:3} verified"));
        }
        let failures: Vec<_> = reports.iter().filter_map(|report| report.error.as_ref()).collect();
        for failure in &failures {
            self.screen.refused(failure);
        }
        let arrived = acmes.len() + globexes.len() + tpps.len();
        let is_verified = failures.is_empty() && reports.len() == PROGRAMS * arrived;
        self.screen.prove(is_verified, format!("{arrived} webhooks arrived, and every signature is verified"));
    }
}

/// The result of a run of the command line.
struct Ran {
    is_done: bool,
    /// Its data.
    data: String,
    /// All that it printed.
    lines: Vec<String>,
}

/// How long the command line may run.
const LIMIT: Duration = Duration::from_mins(1);

/// Runs the command line to its end.
async fn run(words: &[&str], input: &str) -> Ran {
    let demo = std::env::current_exe().expect("the demo has a file");
    let mut command = Command::new(demo.with_file_name("signpost"));
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let input = input.to_owned();
    let ended = tokio::task::spawn_blocking(move || {
        let (mut child, _limit) = start(&mut command, LIMIT)?;
        if let Some(mut stdin) = child.stdin.take() {
            drop(stdin.write_all(input.as_bytes())); // A command that reads no stdin may have ended.
        }
        child.wait_with_output()
    });
    let output = ended.await.expect("no panic").expect("`make build` builds it beside the demo");
    let [data, talk] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let lines = data.lines().chain(talk.lines()).map(str::to_owned).collect();
    Ran { is_done: output.status.success(), data, lines }
}

/// Writes a request that arrived as an HTTP message.
fn message(request: &Received) -> String {
    let headers: Vec<_> = request
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap_or_default()))
        .collect();
    let body = String::from_utf8_lossy(&request.body);
    format!("{} {} HTTP/1.1\r\n{}\r\n{body}", request.method, request.uri, headers.concat())
}

/// Programs that report on each request: Python's and JavaScript's.
const PROGRAMS: usize = 2;

/// Counts the verifications by library, algorithm and form.
fn tally(reports: &[Report]) -> BTreeMap<&str, usize> {
    let mut tally = BTreeMap::new();
    for how in reports.iter().flat_map(|report| &report.verified) {
        *tally.entry(how.as_str()).or_default() += 1;
    }
    tally
}

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).expect("lower case letters")
}

/// Makes an event as a producer may spell it: with whitespace, in its own order, with a decimal that must stay as it is.
fn payment(id: &str, status: &str) -> String {
    format!(
        r#"{{"specversion": "1.0", "id": "{id}-{status}", "source": "/core", "type": "operation", "tenant": "acme",
            "data": {{"type": "OPERATION", "operationId": "{id}", "status": "{}", "payer": "John Smith", "amount": 10.50}}}}"#,
        status.to_uppercase()
    )
}

/// The stages of a session, each with its status and details.
fn stages() -> [(&'static str, &'static str, Value); 4] {
    [
        ("Authentication", "Finished", Value::Null),
        ("Accounts", "InProgress", json!({"accounts": "2/3"})),
        ("Accounts", "Finished", json!({"accounts": [{"accountNumber": "BE2345"}]})),
        ("Transactions", "InProgress", json!({"transactions": "40/120"})),
    ]
}

/// A text without quotes, or other JSON as it is.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The decoded header of a request's signature.
fn jose_header(request: &Received) -> Value {
    let (header, _) = request.header("jws-signature").split_once("..").expect("a detached signature");
    serde_json::from_slice(&BASE64URL.decode(header).expect("base64url")).expect("JSON")
}

fn kid(request: &Received) -> String {
    jose_header(request)["kid"].as_str().expect("a kid").to_owned()
}
