//! Separation of tenants by keys: the receiver of one tenant refuses all that the operator of another tenant makes
//! Signpost sign. That receiver runs the examples of `docs/verifying.md` and nothing else.

use aws_credential_types::Credentials;
use serde_json::{Value, json};
use signpost_core::event::TenantId;
use signpost_testkit::bank::Bank;
use signpost_testkit::build::{event, event_id, tenant};
use signpost_testkit::local_stack::{LocalStack, endpoint_path, endpoints_path, until};
use signpost_testkit::receiver::{Received, Receiver};
use signpost_testkit::verify::{Integrator, Verdicts};

const ALL_FORMATS: [&str; 3] = ["jws", "standard-webhooks", "http-message-signatures"];
/// The examples of `docs/verifying.md` and of the README, by the formats that they verify.
const EXAMPLES: [&str; 7] = ["HTTP", "JWS", "JWS (JavaScript)", "JWS (README)", "v1", "v1 (JavaScript)", "v1a"];

/// The operator of one tenant, with the example policy and no other.
struct Operator {
    tenant: TenantId,
    credentials: Credentials,
}

impl Operator {
    async fn new(stack: &LocalStack) -> Self {
        let tenant = tenant();
        let credentials = stack.operator_of(&tenant).await;
        Self { tenant, credentials }
    }

    async fn ask(&self, stack: &LocalStack, method: &str, path: &str, body: &Value) -> Value {
        let answer = stack.manage_as(&self.credentials, method, path, &[], Some(body)).await;
        assert!((200..300).contains(&answer.status), "{method} {path}: {answer:?}");
        answer.json()
    }

    /// Makes an endpoint, and returns its path and the settings that its owner needs to verify.
    async fn endpoint(&self, stack: &LocalStack, settings: &Value) -> (String, Integrator) {
        let made = self.ask(stack, "POST", &endpoints_path(&self.tenant), settings).await;
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        let integrator = Integrator {
            keys_url: text("jwksUrl").strip_suffix("/.well-known/jwks.json").unwrap().to_owned(),
            endpoint: text("id"),
            url: text("url"),
            secret: text("signingSecret"),
            algorithm: text("jwsAlgorithm"),
        };
        (format!("{}/{}", endpoints_path(&self.tenant), text("id")), integrator)
    }
}

fn refused_by_all(verdicts: &Verdicts) -> bool {
    verdicts.len() == EXAMPLES.len() && verdicts.values().all(Option::is_some)
}

fn accepted_by_all(verdicts: &Verdicts) -> bool {
    verdicts.keys().eq(EXAMPLES) && verdicts.values().all(Option::is_none)
}

#[tokio::test]
async fn no_operator_gets_a_webhook_signed_that_another_tenants_receiver_accepts() {
    let stack = LocalStack::from_env().await;
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        let (attacker, victim) = (Operator::new(&stack).await, Operator::new(&stack).await);
        let (theirs, own) = (Receiver::start(|_| 204).await, Receiver::start(|_| 204).await);
        let settings = |url: &str| json!({"url": url, "signatures": ALL_FORMATS, "jwsAlgorithm": algorithm});
        let (_, of_victim) = victim.endpoint(&stack, &settings(&theirs.url)).await;
        let genuine = json!({"type": "OPERATION", "operationId": "op-99", "status": "APPROVED"});
        stack.send_events([event(&victim.tenant, &event_id(), &genuine).to_string()]).await;
        let mut seen = theirs.wait_for(1).await.len();
        wait_until_accepted(&of_victim, &theirs.so_far()[0]).await;

        let mut attacks: Vec<(&str, Received)> = Vec::new();
        // The victim's URL, a test event, and the victim's own request id.
        let (path, of_attacker) = attacker.endpoint(&stack, &settings(&theirs.url)).await;
        attacker.ask(&stack, "POST", &format!("{path}/test"), &json!({})).await;
        attacks.push(("a test event", next(&theirs, &mut seen).await));
        let register = format!("/v1/tenants/{}/token-requests", attacker.tenant);
        let registered = attacker.ask(&stack, "POST", &register, &json!({"requestId": "rq:victim-4711"})).await;
        Bank::default().get(registered["callbackUrl"].as_str().unwrap(), "").await;
        attacks.push(("a token request", next(&theirs, &mut seen).await));
        // A webhook that the attacker's own endpoint got, replayed to the attacker's endpoint at the victim's URL. Its
        // acknowledgement is on record first, because otherwise it would also acknowledge the replay.
        let about = format!("/v1/tenants/{}/events/{}", attacker.tenant, attacks[1].1.event_id());
        until("the webhook of the token request is on record", async || {
            let told = stack.manage("GET", &about, None).await.json();
            (told["deliveries"][0]["status"] == "delivered").then_some(())
        })
        .await;
        attacker.ask(&stack, "POST", &format!("{about}/replay"), &json!({})).await;
        attacks.push(("a replay", next(&theirs, &mut seen).await));
        // A text of the attacker, in the query of the URL.
        let text = "?type=OPERATION&operationId=op-99&status=APPROVED";
        let mut get = settings(&format!("{}{text}", theirs.url));
        (get["method"], get["fields"]) = (json!("GET"), json!({"signpost.test": []}));
        let (path, _) = attacker.endpoint(&stack, &get).await;
        attacker.ask(&stack, "POST", &format!("{path}/test"), &json!({})).await;
        attacks.push(("a text in the URL", next(&theirs, &mut seen).await));
        // A webhook that the attacker's own receiver got, sent to the victim by hand.
        let (path, _) = attacker.endpoint(&stack, &settings(&own.url)).await;
        attacker.ask(&stack, "POST", &format!("{path}/test"), &json!({})).await;
        let carried = own.wait_for(1).await.remove(0);
        attacks.push(("carried by hand", Received { url: theirs.url.clone(), ..carried }));

        let (how, requests): (Vec<_>, Vec<_>) = attacks.into_iter().unzip();
        for (how, verdicts) in how.iter().zip(of_victim.judge(&requests).await) {
            assert!(refused_by_all(&verdicts), "{algorithm}, {how}: {verdicts:?}");
        }
        // Only the tenant makes the difference: the attacker's own integrator accepts the first webhook.
        wait_until_accepted(&of_attacker, &requests[0]).await;
    }
}

/// Waits until all examples accept a request: after a forced rotation, a set may lack the newest key for 15 seconds.
async fn wait_until_accepted(integrator: &Integrator, request: &Received) {
    until(&format!("{} with an accepted request", request.url), async || {
        accepted_by_all(&integrator.judge(std::slice::from_ref(request)).await[0]).then_some(())
    })
    .await;
}

/// Waits for the next request, and returns it.
async fn next(receiver: &Receiver, seen: &mut usize) -> Received {
    *seen += 1;
    receiver.wait_for(*seen).await.remove(*seen - 1)
}

#[tokio::test]
async fn another_endpoints_key_of_the_same_tenant_does_not_pass_for_ones_own() {
    let stack = LocalStack::from_env().await;
    let operator = Operator::new(&stack).await;
    let (one, other) = (Receiver::start(|_| 204).await, Receiver::start(|_| 204).await);
    let settings = |url: &str| json!({"url": url, "signatures": ["standard-webhooks"]});
    let (_, of_one) = operator.endpoint(&stack, &settings(&one.url)).await;
    operator.endpoint(&stack, &settings(&other.url)).await;
    stack.send_events([event(&operator.tenant, &event_id(), &json!({})).to_string()]).await;
    let carried = other.wait_for(1).await;

    let verdicts = of_one.judge(&[one.wait_for(1).await, carried].concat()).await;

    assert!(verdicts[0].values().all(Option::is_none), "{verdicts:?}");
    assert_eq!(verdicts[1].len(), 3);
    assert!(verdicts[1].values().all(Option::is_some), "{verdicts:?}");
}

#[tokio::test]
async fn the_payload_of_a_get_is_verified_apart_from_the_urls_own_query() {
    let stack = LocalStack::from_env().await;
    let (operator, receiver) = (Operator::new(&stack).await, Receiver::start(|_| 204).await);
    let url = format!("{}?key=a%20b&status=REJECTED", receiver.url);
    let settings = json!({"url": url, "method": "GET", "signatures": ALL_FORMATS});
    let (_, integrator) = operator.endpoint(&stack, &settings).await;
    let data = json!({"type": "OPERATION", "operationId": "1", "status": "APPROVED"});
    stack.send_events([event(&operator.tenant, &event_id(), &data).to_string()]).await;
    let genuine = receiver.wait_for(1).await.remove(0);
    assert!(genuine.url.contains("?key=a%20b&status=REJECTED&operationId=1&status=APPROVED"), "{}", genuine.url);

    let changed = |from: &str, to: &str| Received { url: genuine.url.replace(from, to), ..genuine.clone() };
    let requests = [genuine.clone(), changed("status=APPROVED", "status=FAILED"), changed("key=a%20b&", "")];
    let verdicts = integrator.judge(&requests).await;

    assert!(accepted_by_all(&verdicts[0]), "{verdicts:?}");
    assert!(refused_by_all(&verdicts[1]), "another payload: {verdicts:?}");
    assert!(refused_by_all(&verdicts[2]), "another query in the endpoint's URL: {verdicts:?}");
}

/// Two sources may use the same id (CloudEvents 1.0, `id`). A receiver that drops repetitions must see two events.
#[tokio::test]
async fn one_id_from_two_sources_arrives_as_two_webhooks_for_a_receiver_that_drops_repetitions() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let receiver = Receiver::start(|index| if index == 0 { 500 } else { 204 }).await; // The first is sent again.
    let settings = json!({"url": receiver.url, "retry": {"maxRetries": 3, "intervalSeconds": 1, "backoff": "fixed"}});
    let endpoint = stack.register_with(&tenant, &settings).await.id;
    let id = event_id();
    for source in ["/billing", "/payments"] {
        let mut event = event(&tenant, &id, &json!({"from": source}));
        event["source"] = json!(source);
        stack.send_events([event.to_string()]).await;
    }

    let mut requests = receiver.wait_for(3).await;
    assert!(requests.iter().all(|request| request.event_id() == id));
    let mut seen = std::collections::HashSet::new();
    requests.retain(|request| request.status == Some(204) && seen.insert(request.header("webhook-id").to_owned()));
    let mut bodies: Vec<_> =
        requests.iter().map(|request| String::from_utf8_lossy(&request.body).into_owned()).collect();
    bodies.sort_unstable();
    assert_eq!(bodies, [r#"{"from":"/billing"}"#, r#"{"from":"/payments"}"#]);

    let path = format!("/v1/tenants/{tenant}/events/{id}/replay?source=/billing");
    assert_eq!(stack.manage("POST", &path, None).await.status, 202);
    let replayed = receiver.wait_for(4).await.remove(3);
    assert!(seen.contains(replayed.header("webhook-id")), "a replay is the same event");
    assert_eq!(replayed.header("signpost-replay"), "replay");
    assert!(requests.iter().all(|request| request.header("signpost-replay").is_empty()));
    stack.manage("POST", &format!("{}/test", endpoint_path(&tenant, &endpoint)), None).await;
    assert_eq!(receiver.wait_for(5).await[4].header("signpost-replay"), "test");
}

#[tokio::test]
async fn producers_cannot_forge_signposts_own_events_at_either_door() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let receiver = Receiver::start(|_| 204).await;
    stack.register_with(&tenant, &json!({"url": receiver.url})).await;
    let forged = [
        ("type", "signpost.test"),
        ("type", "signpost.endpoint-disabled"),
        ("source", "/signpost"),
        ("source", "/callbacks"),
    ];
    for (name, value) in forged {
        let id = event_id();
        let mut event = event(&tenant, &id, &json!({}));
        event[name] = json!(value);
        let answer = stack.post_events("application/cloudevents+json", event.to_string()).await;
        assert_eq!(
            (answer.status, &answer.json()["errors"][0]["pointer"]),
            (400, &json!(format!("/{name}"))),
            "{value}"
        );
        stack.send_events([event.to_string()]).await;
        let rejected = stack.wait_for_message("REJECTED_QUEUE_URL", |body| body.contains(&id)).await;
        assert!(rejected.message_attributes().unwrap()["faults"].string_value().unwrap().contains(&format!("/{name}")));
    }
    assert!(receiver.so_far().is_empty());
}
