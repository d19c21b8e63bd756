//! Endpoints that must prove that they want webhooks before they get any.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use aws_lambda_events::encodings::Body;
use serde_json::{Value, json};
use signpost_core::endpoint::{EndpointId, VERIFICATION_TYPE};
use signpost_core::event::TenantId;
use signpost_testkit::build::{event, event_id, tenant};
use signpost_testkit::local_stack::{Answer, LocalStack, endpoint_path, endpoints_path, until};
use signpost_testkit::receiver::{Answered, Received, Receiver};

use crate::handlers::lookup;

/// The local stack's name for itself in requests. It has no `PublicUrl` when it is deployed.
const SENDER: &str = "signpost";

/// Builds an answer that grants what `OPTIONS` asks for.
fn grant(origin: &str) -> Answered {
    (200, String::new(), vec![("webhook-allowed-origin", origin.to_owned())])
}

/// Returns the challenge of a request, if it has one.
fn challenge(request: &Received) -> Option<String> {
    let body: Value = serde_json::from_slice(&request.body).ok()?;
    body["challenge"].as_str().map(str::to_owned)
}

fn is_question(request: &Received) -> bool {
    request.header("ce-type") == VERIFICATION_TYPE
}

/// The endpoint of a test, as its operator sees it.
struct Seen<'a> {
    stack: &'a LocalStack,
    tenant: &'a TenantId,
    id: EndpointId,
}

impl<'a> Seen<'a> {
    /// Makes an endpoint that must prove itself.
    async fn made(stack: &'a LocalStack, tenant: &'a TenantId, settings: Value) -> Self {
        let mut settings = settings;
        settings["verification"] = "challenge".into();
        let made = stack.manage("POST", &endpoints_path(tenant), Some(&settings)).await;
        assert_eq!(made.status, 201, "{made:?}");
        let seen = made.json();
        assert_eq!((&seen["state"], &seen["enabled"]), (&json!("unverified"), &json!(false)));
        assert_eq!(seen["disabledBecause"], "unverified");
        Self { stack, tenant, id: EndpointId::parse(seen["id"].as_str().unwrap()).unwrap() }
    }

    async fn ask(&self, what: &str) -> Answer {
        self.stack.manage("POST", &format!("{}/{what}", endpoint_path(self.tenant, &self.id)), None).await
    }

    async fn patch(&self, patch: &Value) -> Value {
        let answer = self.stack.manage("PATCH", &endpoint_path(self.tenant, &self.id), Some(patch)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    async fn state(&self) -> String {
        let seen = self.stack.manage("GET", &endpoint_path(self.tenant, &self.id), None).await.json();
        seen["state"].as_str().unwrap().to_owned()
    }

    async fn until_state(&self, expected: &str) {
        until(&format!("{} {expected}", self.id), async || (self.state().await == expected).then_some(())).await;
    }

    /// Submits an event, and returns its id once its delivery is parked, as the `parked`-th of the endpoint.
    async fn park(&self, parked: usize) -> String {
        let id = event_id();
        self.stack.send_events([event(self.tenant, &id, &json!({})).to_string()]).await;
        self.stack.wait_for_parked(&self.id, parked).await;
        id
    }

    /// Submits an event per second until one is parked, and returns all ids. For ten seconds, `deliver` may cache the
    /// old endpoint, with the server that has proved itself.
    async fn send_until_parked(&self) -> Vec<String> {
        let mut sent = Vec::new();
        let mut pace = tokio::time::interval(Duration::from_secs(1));
        let parked = self.stack.wait_for_parked(&self.id, 1);
        tokio::pin!(parked);
        loop {
            tokio::select! {
                () = &mut parked => return sent,
                _ = pace.tick() => {
                    let id = event_id();
                    self.stack.send_events([event(self.tenant, &id, &json!({})).to_string()]).await;
                    sent.push(id);
                }
            }
        }
    }
}

/// Waits until the receiver has `count` requests of a kind, and returns them.
async fn wait_for(receiver: &Receiver, count: usize, is_it: fn(&Received) -> bool) -> Vec<Received> {
    until(&format!("{count} matching requests at {}", receiver.url), async || {
        let found: Vec<_> = receiver.so_far().into_iter().filter(is_it).collect();
        (found.len() >= count).then_some(found)
    })
    .await
}

#[tokio::test]
async fn a_server_that_grants_what_options_asks_for_gets_what_was_parked() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let grants = Arc::new(AtomicBool::new(false));
    let receiver = {
        let grants = Arc::clone(&grants);
        Receiver::start_with_headers(move |_, request| match request.header("ce-type") {
            "" if grants.load(Ordering::Relaxed) => grant(SENDER),
            "" => (405, String::new(), Vec::new()),
            VERIFICATION_TYPE => (404, String::new(), Vec::new()),
            _ => (204, String::new(), Vec::new()),
        })
        .await
    };
    let settings = json!({
        "url": receiver.url, "auth": {"kind": "basic", "secret": "user:pass"}, "types": [{"type": "example"}],
        "headers": {"X-Team": "payments"}, "retry": {"schedule": [1, 3_600]},
    });
    let endpoint = Seen::made(&stack, &tenant, settings).await;
    // Neither the question nor its retry is answered yet.
    wait_for(&receiver, 2, is_question).await;
    let parked = endpoint.park(1).await;
    assert_eq!(endpoint.ask("test").await.status, 409);

    grants.store(true, Ordering::Relaxed);
    let enabled = endpoint.ask("enable").await;
    assert_eq!((enabled.status, &enabled.json()["state"]), (200, &json!("unverified")));
    endpoint.until_state("enabled").await;

    stack.wait_for_status(&tenant, &parked, &endpoint.id, 204).await;
    let requests = receiver.so_far();
    let asked: Vec<_> = requests.iter().filter(|request| request.method == "OPTIONS").collect();
    for request in &asked {
        assert_eq!(request.header("webhook-request-origin"), SENDER);
        assert_eq!(request.header("authorization"), "Basic dXNlcjpwYXNz");
        assert_eq!(request.header("x-team"), "payments");
        assert!(request.body.is_empty() && request.uri == "/hook", "{request:?}");
    }
    assert_eq!(asked.len(), 3, "two refused, one granted");
    assert_eq!(requests.iter().filter(|request| is_question(request)).count(), 2, "after a grant no challenge is sent");
    let delivered = requests.last().unwrap();
    assert_eq!((delivered.event_id(), delivered.header("webhook-request-origin")), (&*parked, SENDER));
    assert_eq!(endpoint.ask("test").await.status, 202);
}

#[tokio::test]
async fn a_server_that_echoes_the_challenge_gets_what_was_parked() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    for in_json in [false, true] {
        let is_first = AtomicBool::new(true);
        let receiver = Receiver::start_answering(move |_, request| match challenge(request) {
            Some(_) if is_first.swap(false, Ordering::Relaxed) => (500, String::new()),
            Some(challenge) if in_json => (200, json!({"challenge": challenge}).to_string()),
            Some(challenge) => (200, format!("{challenge}\n")),
            None if request.method == "OPTIONS" => (200, String::new()),
            None => (204, String::new()),
        })
        .await;
        let settings = json!({
            "url": receiver.url, "signatures": ["standard-webhooks"], "types": [{"type": "example"}],
            "retry": {"schedule": [3_600]},
        });
        let endpoint = Seen::made(&stack, &tenant, settings).await;
        let question = wait_for(&receiver, 1, is_question).await.remove(0);
        assert!(question.header("webhook-signature").starts_with("v1,"), "signed like any other webhook");
        assert_eq!(serde_json::from_slice::<Value>(&question.body).unwrap()["endpoint"], endpoint.id.as_str());
        let parked = endpoint.park(1).await;

        assert_eq!(endpoint.ask("enable").await.status, 200);
        endpoint.until_state("enabled").await;
        stack.wait_for_status(&tenant, &parked, &endpoint.id, 204).await;
        stack.remove(&tenant, &endpoint.id).await;
    }
}

#[tokio::test]
async fn a_server_that_acknowledges_or_reflects_everything_stays_unverified_and_loses_nothing() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let wants = Arc::new(AtomicBool::new(false));
    for reflects in [false, true] {
        wants.store(false, Ordering::Relaxed);
        let receiver = {
            let wants = Arc::clone(&wants);
            Receiver::start_with_headers(move |_, request| {
                if wants.load(Ordering::Relaxed) {
                    return grant("*");
                }
                let headers: Vec<_> =
                    request.headers.iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
                let body = String::from_utf8_lossy(&request.body);
                match (reflects, request.method.as_str()) {
                    (false, _) => (200, "ok".into(), Vec::new()),
                    (true, "POST") => (200, body.into_owned(), Vec::new()),
                    (true, _) => (200, format!("{}\n{}", headers.join("\n"), request.uri), Vec::new()),
                }
            })
            .await
        };
        // If the challenge were sent alone, a server that reflects the request would also echo it.
        let settings = json!({
            "url": receiver.url, "fields": {VERIFICATION_TYPE: ["challenge"]}, "types": [{"type": "example"}],
            "retry": {"schedule": [1]},
        });
        let endpoint = Seen::made(&stack, &tenant, settings).await;
        let questions = wait_for(&receiver, 2, is_question).await;
        assert_eq!(questions[0].event_id(), questions[1].event_id(), "a question is retried like any other webhook");
        let attempts = until("both recorded attempts", async || {
            let path = format!("/v1/tenants/{tenant}/events/{}", questions[0].event_id());
            let seen = stack.manage("GET", &path, None).await.json();
            let attempts = seen["deliveries"][0]["attempts"].as_array()?.clone();
            (attempts.len() == 2).then_some(attempts)
        })
        .await;
        let text = attempts[1]["error"].as_str().unwrap();
        assert!(text.contains("did not prove that it wants webhooks"), "{text}");
        assert_eq!((&attempts[1]["status"], &attempts[1]["sent"]["method"]), (&json!(200), &json!("POST")));
        let parked = endpoint.park(1).await;
        assert_eq!(endpoint.state().await, "unverified");

        wants.store(true, Ordering::Relaxed);
        assert_eq!(endpoint.ask("enable").await.status, 200);
        endpoint.until_state("enabled").await;
        stack.wait_for_status(&tenant, &parked, &endpoint.id, 200).await;
        stack.remove(&tenant, &endpoint.id).await;
    }
}

#[tokio::test]
async fn an_endpoint_that_moves_to_another_server_proves_itself_again_and_to_another_path_does_not() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let here = Receiver::start_with_headers(|_, _| grant(SENDER)).await;
    let elsewhere = Receiver::start(|_| 204).await;
    let settings = json!({"url": here.url, "types": [{"type": "example"}], "retry": {"schedule": [3_600]}});
    let endpoint = Seen::made(&stack, &tenant, settings).await;
    endpoint.until_state("enabled").await;

    let id = event_id();
    stack.send_events([event(&tenant, &id, &json!({})).to_string()]).await;
    stack.wait_for_status(&tenant, &id, &endpoint.id, 200).await; // From now on, the endpoint is cached.

    let path = endpoint.patch(&json!({"url": format!("{}/more", here.url)})).await;
    assert_eq!(path["state"], "enabled", "another path");
    let moved = endpoint.patch(&json!({"url": elsewhere.url})).await;
    assert_eq!((&moved["state"], &moved["disabledBecause"]), (&json!("unverified"), &json!("unverified")));
    wait_for(&elsewhere, 1, is_question).await;
    let sent = endpoint.send_until_parked().await;
    let asked = |receiver: &Receiver| receiver.so_far().iter().filter(|request| request.method == "OPTIONS").count();
    assert_eq!((asked(&here), asked(&elsewhere)), (1, 1), "each server is asked once");

    // The URL returns to the server that has proved itself, which gets what was parked.
    let back = endpoint.patch(&json!({"url": here.url})).await;
    assert_eq!(back["state"], "enabled");
    for id in &sent {
        stack.wait_for_status(&tenant, id, &endpoint.id, 200).await;
    }
    assert_eq!(asked(&here), 1);
    assert!(elsewhere.so_far().iter().all(|request| request.method == "OPTIONS" || is_question(request)));
}

#[tokio::test]
async fn disabling_and_enabling_does_not_skip_the_proof() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let receiver = Receiver::start(|_| 204).await;
    let settings = json!({"url": receiver.url, "types": [{"type": "example"}], "retry": {"schedule": [3_600]}});
    let endpoint = Seen::made(&stack, &tenant, settings).await;
    wait_for(&receiver, 1, is_question).await;

    let disabled = endpoint.ask("disable").await.json();
    assert_eq!((&disabled["state"], &disabled["disabledBecause"]), (&json!("disabled"), &json!("operator")));
    let enabled = endpoint.ask("enable").await.json();
    assert_eq!((&enabled["state"], &enabled["disabledBecause"]), (&json!("unverified"), &json!("unverified")));
    let questions = wait_for(&receiver, 2, is_question).await;
    assert_ne!(challenge(&questions[0]), challenge(&questions[1]), "each question has its own challenge");
    assert_eq!(endpoint.state().await, "unverified");
}

#[tokio::test]
async fn an_operator_who_knows_the_challenge_cannot_have_another_server_repeat_it() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    // It answers every POST with the text in its query. Many servers have such a page.
    let reflecting = Receiver::start_answering(|_, request| {
        let query = request.uri.query().unwrap_or_default();
        (if request.method == "OPTIONS" { 405 } else { 200 }, query.trim_start_matches("say=").to_owned())
    })
    .await;
    let settings = json!({"url": reflecting.url, "types": [{"type": "example"}], "retry": {"schedule": [2, 1, 3_600]}});
    let endpoint = Seen::made(&stack, &tenant, settings).await;
    let first = wait_for(&reflecting, 1, is_question).await.remove(0);
    let known = challenge(&first).unwrap();

    let changed = endpoint.patch(&json!({"url": format!("{}?say={known}", reflecting.url)})).await;

    assert_eq!(changed["state"], "unverified");
    let question = until("a question at the new URL", async || {
        reflecting.so_far().into_iter().find(|request| is_question(request) && request.uri.query().is_some())
    })
    .await;
    assert_ne!(challenge(&question), Some(known), "the challenge is made after the URL is set");
    // The retry of the first question is parked, because it asked about other settings.
    stack.wait_for_parked(&endpoint.id, 1).await;
    assert_eq!(endpoint.state().await, "unverified");
}

#[tokio::test]
async fn a_stack_that_asks_for_proof_asks_every_new_endpoint_and_leaves_those_there_were() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let receiver = Receiver::start(|_| 204).await;
    let settings = json!({"url": receiver.url, "types": [{"type": "other"}], "retry": {"schedule": [3_600]}});
    let before = stack.register_with(&tenant, &settings).await.id;
    let strict = |name: &str| if name == "ENDPOINT_VERIFICATION" { Some("challenge".into()) } else { lookup(name) };
    let app = manage::App::new(&stack.aws, manage::Config::from_lookup(strict).unwrap());
    let ask = async |route: &str, endpoint: &str, body: Value| {
        let mut request: ApiGatewayV2httpRequest =
            serde_json::from_str(include_str!("../../../../events/manage-create.json")).unwrap();
        request.route_key = Some(route.to_owned());
        request.path_parameters.insert("tenant".into(), tenant.to_string());
        request.path_parameters.insert("endpoint".into(), endpoint.to_owned());
        request.body = Some(body.to_string());
        let Some(Body::Text(text)) = manage::handle(request, &app).await.body else { panic!("no text") };
        serde_json::from_str::<Value>(&text).unwrap()["state"].as_str().unwrap().to_owned()
    };
    let (create, one) = ("POST /v1/tenants/{tenant}/endpoints", "/v1/tenants/{tenant}/endpoints/{endpoint}");
    let (patch, enable, disable) =
        (format!("PATCH {one}"), format!("POST {one}/enable"), format!("POST {one}/disable"));

    for verification in ["none", "challenge"] {
        let mut settings = settings.clone();
        settings["verification"] = verification.into();
        assert_eq!(ask(create, "", settings).await, "unverified", "{verification}");
    }
    wait_for(&receiver, 2, is_question).await;
    let before = before.as_str();
    assert_eq!(ask(&patch, before, json!({"description": "as it was"})).await, "enabled");
    assert_eq!(ask(&enable, before, json!({})).await, "enabled", "it is enabled already");
    assert_eq!(ask(&disable, before, json!({})).await, "disabled");
    assert_eq!(ask(&enable, before, json!({})).await, "unverified");
    wait_for(&receiver, 3, is_question).await;
}
