//! `listen`: webhooks of each format, wrong ones, another program behind it, and an endpoint of its own.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use signpost_core::signing::algorithm::Algorithm;
use signpost_testkit::program::Limit;

use crate::program::{NOWHERE, command, run, start};
use crate::signed::{BODY, ENDPOINT, Webhook, endpoint_keys, key_set};
use crate::stub_api::{Asked, StubApi};

/// A running `signpost listen`, killed at the end of the test.
struct Listening {
    child: Child,
    _limit: Limit,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
    address: String,
}

impl Listening {
    /// Starts it, and waits until it is ready.
    fn start(api_url: &str, args: &[&str]) -> Self {
        let args = [&["listen", "--port", "0"], args].concat();
        let (mut child, limit) = start(command(api_url, args).stdin(Stdio::null()));
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let mut this = Self { child, _limit: limit, stdout, stderr, address: String::new() };
        let mut said = String::new();
        while !said.contains("ready: ") {
            let line = this.said();
            assert!(!line.is_empty(), "it ended before it was ready: {said}");
            said += &line;
        }
        let address = said.split("http://").nth(1).unwrap();
        address.split('/').next().unwrap().clone_into(&mut this.address);
        this
    }

    fn said(&mut self) -> String {
        let mut line = String::new();
        self.stderr.read_line(&mut line).unwrap();
        line
    }

    fn printed(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line
    }

    fn signal(&self, name: &str) {
        let done = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(done.success());
    }

    /// Sends a request, and returns the status and the body of the answer.
    fn post(&self, webhook: &Webhook) -> (u16, String) {
        post(&self.address, webhook)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn post(address: &str, webhook: &Webhook) -> (u16, String) {
    let length = webhook.request.body.len().to_string();
    let message = String::from_utf8(webhook.message()).unwrap();
    let (head, body) = message.split_once("\r\n\r\n").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(stream, "{head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn key_server() -> StubApi {
    StubApi::start(|_| (200, key_set().to_string()))
}

/// `verify` judges a request that `listen` saved as `listen` did.
#[test]
fn saved_requests_are_verified_again() {
    let keys = key_server();
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("saved-{}", std::process::id()));
    let mut listening = Listening::start(NOWHERE, &["--keys", &keys.url, "--save", folder.to_str().unwrap()]);
    let good = Webhook::jws(Algorithm::RS256, "acme");
    let changed = String::from_utf8(good.request.body.clone()).unwrap().replace("10.50", "10.5");
    assert_eq!(listening.post(&good).0, 204);
    assert_eq!(listening.post(&Webhook::jws(Algorithm::RS256, "acme").with_body(&changed)).0, 401);

    assert!(listening.printed().contains("✓ 204"));
    let (line, diagnosis, saved) = (listening.printed(), listening.printed(), listening.printed());

    assert!(line.contains("✗ 401") && diagnosis.contains("body"), "{line}{diagnosis}");
    let path = saved.trim().strip_prefix("saved as ").unwrap();
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert_eq!((files.len(), files[1].to_str()), (2, Some(path)));
    let judge =
        |file: &std::path::Path| run(NOWHERE, &["verify", file.to_str().unwrap(), "--keys", &keys.url, "--any-age"]);
    assert_eq!(judge(&files[0]).code, 0, "{:?}", judge(&files[0]));
    let refused = judge(&files[1]);
    assert!(refused.code == 1 && refused.stdout.contains("body"), "{refused:?}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn each_format_is_verified_acknowledged_and_printed() {
    let keys = key_server();
    let secret = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("listen-secret.txt");
    std::fs::write(&secret, endpoint_keys(1).secret().written().reveal()).unwrap();
    let args = ["--keys", &keys.url, "--secret-file", secret.to_str().unwrap(), "--endpoint", ENDPOINT];
    let mut listening = Listening::start(NOWHERE, &args);
    let url = format!("http://{}/in", listening.address);
    for algorithm in Algorithm::ALL {
        let host = listening.address.clone();
        let http = Webhook::http_at(algorithm, "acme", &url, now()).with("host", &host);
        for webhook in [Webhook::jws(algorithm, "acme"), Webhook::standard_at(1, now()), http] {
            let (status, _) = listening.post(&webhook);
            let line = listening.printed();
            assert_eq!(status, 204, "{line}");
            assert!(line.contains("✓ 204") && line.contains("operation  payment-1-approved  attempt 1"), "{line}");
        }
    }
}

#[test]
fn an_http_message_signature_verifies_under_the_endpoints_url() {
    let keys = key_server();
    let mut listening = Listening::start(NOWHERE, &["--keys", &keys.url, "--url", crate::signed::URL]);
    let webhook = Webhook::http_at(Algorithm::ES256, "acme", crate::signed::URL, now());
    assert_eq!(listening.post(&webhook).0, 204, "{}", listening.printed());
}

#[test]
fn a_wrong_webhook_is_refused_with_its_reason_and_goes_nowhere() {
    let (keys, behind) = (key_server(), StubApi::start(|_| (200, "thanks".to_owned())));
    let mut listening = Listening::start(NOWHERE, &["--keys", &keys.url, "--forward-to", &behind.url]);
    let wrong = Webhook::jws(Algorithm::RS256, "acme").with_body(&BODY.replace("10.50", "10.5"));
    let (status, text) = listening.post(&wrong);
    assert_eq!((status, text.as_str()), (401, "the webhook does not verify: body-reencoded"));
    assert!(listening.printed().contains("✗ 401"));
    assert!(listening.printed().contains("the spelling of a number changed at `/amount`"));
    assert!(behind.asked().is_empty());
}

#[test]
fn a_webhook_is_passed_on_and_the_answer_comes_back() {
    let (keys, behind) = (key_server(), StubApi::start(|_| (202, "thanks".to_owned())));
    let target = format!("{}/hooks", behind.url);
    let mut listening = Listening::start(NOWHERE, &["--keys", &keys.url, "--forward-to", &target, "--output", "jsonl"]);
    let webhook = Webhook::jws(Algorithm::EdDSA, "acme");
    assert_eq!(listening.post(&webhook), (202, "thanks".to_owned()));
    let asked = behind.asked().remove(0);
    assert_eq!((asked.method.as_str(), asked.target.as_str(), asked.body.as_str()), ("POST", "/hooks", BODY));
    assert_eq!(asked.header("jws-signature"), webhook.request.header("jws-signature").unwrap());
    let line: Value = serde_json::from_str(&listening.printed()).unwrap();
    assert_eq!((&line["status"], &line["verification"]["valid"]), (&json!(202), &json!(true)));
}

#[test]
fn a_target_that_does_not_answer_is_a_502_with_the_cause() {
    let keys = key_server();
    let mut listening = Listening::start(NOWHERE, &["--keys", &keys.url, "--forward-to", "http://127.0.0.1:9/"]);
    assert_eq!(listening.post(&Webhook::jws(Algorithm::EdDSA, "acme")).0, 502);
    assert!(listening.printed().contains("✗ 502"));
    assert!(listening.printed().contains("http://127.0.0.1:9/ does not answer"));
}

#[test]
fn a_challenge_is_answered() {
    let keys = key_server();
    let listening = Listening::start(NOWHERE, &["--keys", &keys.url, "--skip-verify"]);
    let challenge = Webhook::jws(Algorithm::EdDSA, "acme").with("ce-type", "signpost.verification");
    assert_eq!(listening.post(&challenge.with_body(r#"{"challenge":"c-1"}"#)), (200, "c-1".to_owned()));
}

/// Plays the API that makes an endpoint and sends the test event to it.
fn api(removed: Arc<Mutex<bool>>, does_send: bool) -> StubApi {
    let url = Arc::<Mutex<String>>::default();
    StubApi::start(move |asked: &Asked| {
        let path = asked.target.split('?').next().unwrap();
        match (asked.method.as_str(), path.rsplit('/').next().unwrap()) {
            ("POST", "endpoints") => {
                let settings: Value = serde_json::from_str(&asked.body).unwrap();
                settings["url"].as_str().unwrap().clone_into(&mut url.lock().unwrap());
                let secret = endpoint_keys(1).secret().written();
                (201, json!({"id": ENDPOINT, "url": settings["url"], "signingSecret": secret.reveal()}).to_string())
            }
            ("GET", "jwks.json") => (200, key_set().to_string()),
            ("POST", "test") => {
                let address = url.lock().unwrap().trim_start_matches("http://").trim_end_matches('/').to_owned();
                if does_send {
                    let webhook =
                        Webhook::jws(Algorithm::RS256, "acme").with("ce-id", "test-1").with("ce-type", "signpost.test");
                    std::thread::spawn(move || post(&address, &webhook));
                }
                (202, json!({"event": "test-1"}).to_string())
            }
            ("GET", "deliveries") => {
                let delivery = |event: &str| json!({"event": event, "status": "pending", "attempts": 1});
                (200, json!({"deliveries": [delivery("missed-1"), delivery("payment-1-approved")]}).to_string())
            }
            ("DELETE", _) => {
                *removed.lock().unwrap() = true;
                (204, String::new())
            }
            _ => (404, String::new()),
        }
    })
}

#[test]
fn with_an_account_it_is_ready_after_a_test_event_and_removes_its_endpoint_at_the_end() {
    let removed = Arc::<Mutex<bool>>::default();
    let api = api(Arc::clone(&removed), true);
    let mut listening = Listening::start(&api.url, &["--tenant", "acme"]);
    assert!(listening.printed().contains("signpost.test"));
    assert!(!*removed.lock().unwrap());
    listening.signal("INT");
    assert_eq!(listening.said(), format!("removed endpoint {ENDPOINT}\n"));
    assert_eq!(listening.child.wait().unwrap().code(), Some(0));
    assert!(*removed.lock().unwrap());
}

/// Only a stopped process shows what a machine that slept does.
#[test]
fn after_a_sleep_it_says_what_it_missed() {
    let api = api(Arc::default(), true);
    let mut listening = Listening::start(&api.url, &["--tenant", "acme"]);
    listening.signal("STOP");
    std::thread::sleep(Duration::from_secs(7));
    listening.signal("CONT");
    let said = listening.said();
    assert!(said.contains("slept from") && said.contains("missed 1 deliveries"), "{said}");
    assert!(listening.said().contains("missed-1"), "payment-1-approved arrived before");
}

#[test]
fn an_endpoint_is_removed_if_its_keys_cannot_be_fetched() {
    let removed = Arc::<Mutex<bool>>::default();
    let record = Arc::clone(&removed);
    let api = StubApi::start(move |asked| match asked.method.as_str() {
        "POST" => (201, json!({"id": ENDPOINT, "url": "http://127.0.0.1/"}).to_string()),
        "DELETE" => {
            *record.lock().unwrap() = true;
            (204, String::new())
        }
        _ => (404, String::new()),
    });
    let ran = run(&api.url, &["listen", "--port", "0", "--tenant", "acme"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(*removed.lock().unwrap());
}
