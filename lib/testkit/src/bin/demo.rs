//! The demo: real events through API Gateway and SQS of the local stack, signed callbacks at real receivers, a retry, a
//! bank's callback on its way, a rotation, and verification by libraries that share no code with Signpost. `make demo` starts it.

#![expect(clippy::print_stdout, reason = "what it prints is what it is for")]
#![expect(clippy::expect_used, reason = "a demo that cannot go on says why and ends")]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde_json::{Value, json};
use signpost_core::event::TenantId;
use signpost_core::signing::kid::of_signing_key;
use signpost_testkit::bank::Bank;
use signpost_testkit::build::event;
use signpost_testkit::examples::EXAMPLES;
use signpost_testkit::local_stack::{LocalStack, Registered, endpoint_path, endpoints_path, root};
use signpost_testkit::receiver::{Received, Receiver};
use signpost_testkit::verify::{independently, independently_with};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let stack = LocalStack::from_env().await;
    let (acme, globex) = (tenant("acme"), tenant("globex"));
    let healthy = Receiver::start(|_| 204).await;
    let flaky = Receiver::start(|index| if index == 0 { 503 } else { 204 }).await;

    title(
        "Operators make endpoints: one that accepts, and one that fails at first and wants an API key and three signatures",
    );
    make_endpoint(&stack, &acme, &json!({"url": healthy.url})).await;
    let every_format = json!({
        "url": flaky.url, "auth": {"kind": "apiKey", "secret": "X-Api-Key:open sesame"},
        "signatures": ["jws", "standard-webhooks", "http-message-signatures"], "jwsAlgorithm": "EdDSA",
        "retry": {"maxRetries": 5, "intervalSeconds": 5, "backoff": "fixed"},
    });
    let globex_endpoint = make_endpoint(&stack, &globex, &every_format).await;
    let faulty =
        json!({"url": "ftp://hooks.example", "method": "DELETE", "auth": {"kind": "basic", "secret": "no colon"}});
    show_refusal(&stack, &acme, &faulty).await;

    title("Events go in: over HTTP, one and in a batch, and straight into the queue");
    let one = payment("payment-1", "approved");
    show_answer(&stack, "application/cloudevents+json", one).await;
    let batch = format!("[{},{}]", payment("payment-2", "pending"), payment("payment-2", "rejected"));
    show_answer(&stack, "application/cloudevents-batch+json", batch).await;
    show_answer(&stack, "application/cloudevents+json", r#"{"specversion":"1.0","id":"no#hashes"}"#.into()).await;
    stack.send_events([event(&globex, "device-7-registered", &json!({"device": 7})).to_string()]).await;
    println!("  SQS EventsQueue ← device-7-registered, for globex");

    title("Signed callbacks come out");
    for request in healthy.wait_for(3).await {
        show_request(&request);
    }

    title("One of each callback that five vendors document");
    let arrived = healthy.so_far().len();
    stack.send_events(EXAMPLES.map(|example| example.event(acme.as_str()))).await;
    for request in &healthy.wait_for(arrived + EXAMPLES.len()).await[arrived..] {
        println!("  {:26} {:.90}…", request.event_id(), String::from_utf8_lossy(&request.body));
    }

    title("Whoever would rather poll waits for news: a session while it advances");
    let told = show_polling(&stack, &acme).await;
    healthy.wait_for(arrived + EXAMPLES.len() + told).await; // Callbacks go out all the same.

    title("A receiver that fails gets it again, five seconds later");
    let tries = flaky.wait_for(2).await;
    for (request, status) in tries.iter().zip([503, 204]) {
        let after = (request.at - tries[0].at).as_secs_f32();
        let (id, attempt) = (request.event_id(), request.header("signpost-attempt"));
        println!("  {id} attempt {attempt}, {after:.1} s after the first → {status}");
    }

    show_authentication(&tries[1]);

    title("An operator tries an endpoint out");
    let path = format!("{}/test", endpoint_path(&globex, &globex_endpoint.id));
    println!("  POST {path} → {}", stack.manage("POST", &path, None).await.status);
    println!("  {} arrived", flaky.wait_for(3).await[2].event_id());

    title("A bank calls back: the integrator hears of it, and the browser goes on to him");
    let integrator = Receiver::start(|_| 204).await;
    relay_a_callback(&stack, &tenant("tpp"), &integrator).await;

    title("The signing keys are rotated while events go on");
    let old = kid(&healthy.so_far()[0]);
    let made = stack.rotate_now().await;
    let made: Vec<_> = made.iter().map(|key_id| of_signing_key(key_id, &acme)).collect();
    let (signed_anew, new) = send_until_signed_by(&stack, &acme, &healthy, &made).await;
    println!("  until now {old}\n  from now  {new}");
    println!("  {signed_anew} is the first event signed with the new key");

    title("Everybody can verify, with keys fetched over HTTP");
    let plain = independently(&stack.keys_url(&acme), &healthy.so_far()).await;
    let every_format =
        independently_with(&stack.keys_url(&globex), &flaky.so_far(), &globex_endpoint.signing_secret).await;
    let relayed = independently(&stack.keys_url(&tenant("tpp")), &integrator.so_far()).await;
    let reports = [plain, every_format, relayed].concat();
    let mut tally = BTreeMap::<_, usize>::new();
    for report in &reports {
        for how in &report.verified {
            *tally.entry((&report.kid, how)).or_default() += 1;
        }
    }
    for ((kid, how), count) in &tally {
        println!("  {kid}  {how:31} {count} verified");
    }
    let failed: Vec<_> = reports.iter().filter_map(|report| report.error.as_ref()).collect();
    if !failed.is_empty() || reports.is_empty() {
        println!("\n  NOT VERIFIED: {failed:?}");
        return ExitCode::FAILURE;
    }
    let arrived: usize = [healthy, flaky, integrator].iter().map(|receiver| receiver.so_far().len()).sum();
    println!("\nEvery one of {arrived} callbacks verified.");
    ExitCode::SUCCESS
}

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).expect("lower case letters")
}

/// An event as a producer may spell it: with whitespace, with an order of its own, with numbers that mean what they say.
fn payment(id: &str, status: &str) -> String {
    format!(
        r#"{{"specversion": "1.0", "id": "{id}-{status}", "source": "/core", "type": "operation", "tenant": "acme",
            "data": {{"type": "OPERATION", "operationId": "{id}", "status": "{}", "payer": "John Smith", "amount": 10.50}}}}"#,
        status.to_uppercase()
    )
}

fn title(text: &str) {
    println!("\n{text}");
}

/// Makes an endpoint as an operator does, and shows how.
async fn make_endpoint(stack: &LocalStack, tenant: &TenantId, settings: &Value) -> Registered {
    let registered = stack.register_with(tenant, settings).await;
    println!("  POST {}\n    {settings}", endpoints_path(tenant));
    println!("    → 201 {}, and once only: {:.14}…", registered.id, registered.signing_secret);
    registered
}

async fn show_refusal(stack: &LocalStack, tenant: &TenantId, settings: &Value) {
    let answer = stack.manage("POST", &endpoints_path(tenant), Some(settings)).await;
    println!("  POST {}\n    {settings}\n    → {}", endpoints_path(tenant), answer.status);
    for fault in answer.json()["errors"].as_array().into_iter().flatten() {
        println!("      {} is {}; expected {}", fault["pointer"], fault["found"], fault["expected"]);
    }
}

/// What shows a receiver who calls, besides `JWS-SIGNATURE`.
fn show_authentication(request: &Received) {
    for name in ["x-api-key", "webhook-signature", "content-digest", "signature-input", "signature"] {
        println!("    {name}: {:.100}…", request.header(name));
    }
}

async fn show_answer(stack: &LocalStack, media_type: &str, body: String) {
    let answer = stack.post_events(media_type, body).await;
    println!("  POST /v1/events  {media_type}\n    → {} {}", answer.status, answer.text);
}

fn show_request(request: &Received) {
    println!("  {} {}", request.method, request.uri);
    for name in ["webhook-id", "webhook-timestamp", "signpost-attempt"] {
        println!("    {name}: {}", request.header(name));
    }
    println!("    JWS-SIGNATURE: {:.60}…", request.header("jws-signature"));
    println!("      which says {}", jose_header(request));
    println!("    {}", String::from_utf8_lossy(&request.body));
}

/// Polls a session while its events come, asks for all details in the end, and gives how many events there were.
async fn show_polling(stack: &LocalStack, tenant: &TenantId) -> usize {
    let path = format!("/v1/tenants/{tenant}/status/session/session-9");
    let question = |name: &str| format!("/api/session/{name}?sessionId=session-9&tenant={tenant}");
    let steps = [
        ("Authentication", "Finished", Value::Null),
        ("Accounts", "InProgress", json!({"accounts": "2/3"})),
        ("Accounts", "Finished", json!({"accounts": [{"accountNumber": "BE2345"}]})),
        ("Transactions", "InProgress", json!({"transactions": "40/120"})),
    ];
    println!("  GET {path}  prefer: wait=20, if-none-match: the tag of the answer before");
    let mut tag = String::new();
    for (index, (stage, status, details)) in steps.iter().enumerate() {
        let event = json!({
            "specversion": "1.0", "id": format!("session-9-{index}"), "source": "/core", "type": "session", "tenant": "acme",
            "data": {"sessionId": "session-9", "stage": stage, "status": status, "details": details},
        });
        let (started, root, headers) = (Instant::now(), root(), [("prefer", "wait=20"), ("if-none-match", &*tag)]);
        let waiting = stack.manage_as(&root, "GET", &path, &headers, None);
        let (answer, ()) = tokio::join!(waiting, stack.send_events([event.to_string()]));
        let (told, after) = (answer.json(), started.elapsed().as_secs_f32());
        println!("    → {} after {after:.1} s: {} {}", answer.status, told["stage"], told["status"]);
        answer.header("etag").clone_into(&mut tag);
    }
    for name in ["status", "Accounts/status", "status/details"] {
        let answer = stack.manage("GET", &question(name), None).await;
        println!("  GET {}\n    → {} {:.150}…", question(name), answer.status, answer.text);
    }
    steps.len()
}

/// The decoded header of a request's signature.
fn jose_header(request: &Received) -> Value {
    let (header, _) = request.header("jws-signature").split_once("..").expect("a detached signature");
    serde_json::from_slice(&BASE64URL.decode(header).expect("base64url")).expect("JSON")
}

fn kid(request: &Received) -> String {
    jose_header(request)["kid"].as_str().expect("a kid").to_owned()
}

/// Registers a token request, calls back as the bank does, and shows what the integrator and the browser get.
async fn relay_a_callback(stack: &LocalStack, tenant: &TenantId, integrator: &Receiver) {
    stack.register_with(tenant, &json!({"url": integrator.url, "method": "GET"})).await;
    let id = "rq:3SVzgJtzu2DvaZSgRGznpdknT3dq:5zKtXEAq";
    let registration = json!({"requestId": id, "redirectUrl": "https://tpp.callback.url"});
    let callback_url = stack.register_token_request(tenant, &registration).await;
    println!("  POST /v1/tenants/{tenant}/token-requests\n    {registration}\n    → 201, for the bank: {callback_url}");
    let bank = Bank::default();
    let query = format!("request-id={id}&request_id={id}");
    let answer = bank.get(&callback_url, &query).await;
    println!("  GET …?{query}\n    → {} to {}", answer.status, answer.header("location"));
    let arrived = integrator.wait_for(1).await;
    println!("  {} {} arrived", arrived[0].method, arrived[0].uri);
    let again = bank.get(&callback_url, &query).await;
    println!("  the same again → {} to {}", again.status, again.header("location"));
    let other = bank.get(&callback_url, "error=14&message=Bank+is+unavailable&trace-id=t").await;
    println!("  something else → {} {}", other.status, other.text.trim_end());
    let path = format!("/token-requests/{id}/result?tenant={tenant}");
    let result = stack.manage("GET", &path, None).await.json();
    println!("  GET {path}\n    → {}", result["status"]);
}

/// Sends an event a second until one arrives that is signed with one of the keys `kids`, and gives that event's id and
/// the key's.
async fn send_until_signed_by(
    stack: &LocalStack,
    tenant: &TenantId,
    receiver: &Receiver,
    kids: &[String],
) -> (String, String) {
    let mut pace = tokio::time::interval(Duration::from_secs(1));
    for index in 1.. {
        pace.tick().await;
        let arrived = receiver.so_far().len();
        stack.send_events([event(tenant, &format!("heartbeat-{index}"), &json!({"beat": index})).to_string()]).await;
        let requests = receiver.wait_for(arrived + 1).await;
        if let Some(request) = requests[arrived..].iter().find(|request| kids.contains(&kid(request))) {
            return (request.event_id().to_owned(), kid(request));
        }
    }
    unreachable!("the loop has no end")
}
