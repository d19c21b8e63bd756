//! Each function's `handle` in this process, with the stack's queues and tables, and the files of `events/` as input.

use aws_lambda_events::encodings::Body;
use serde_json::Value;
use serde_json::json;
use signpost_core::endpoint::Endpoint;
use signpost_core::event::TenantId;
use signpost_core::signing::algorithm::Algorithm;
use signpost_core::signing::kid::of_signing_key;
use signpost_testkit::build::{event_id, tenant};
use signpost_testkit::local_stack::{LocalStack, attribute, setting};
use signpost_testkit::receiver::Receiver;

/// Looks up a setting of a function: those of the stack, and the constants of the template.
#[expect(clippy::unnecessary_wraps, reason = "the shape of a look-up")]
pub(crate) fn lookup(name: &str) -> Option<String> {
    Some(match name {
        "DANGEROUSLY_ALLOW_HTTP" | "DANGEROUSLY_ALLOW_PRIVATE_TARGETS" => "true".into(),
        "ALGORITHMS"
        | "DESTINATION_ROLE_ARNS"
        | "EGRESS_ADDRESSES"
        | "KEYS_URL"
        | "PORTAL_URL"
        | "NOTICES_BUS_QUEUE_URL"
        | "NOTICES_TOPIC_QUEUE_URL"
        | "UPCOMING_EGRESS_ADDRESSES"
        | "MORE_TARGET_PORTS" => String::new(),
        "AUDIT_RETENTION_DAYS" => "365".into(),
        "ENDPOINT_VERIFICATION" => "none".into(),
        "PUBLIC_URL" => setting("API_URL"),
        "KEY_GRACE_MINUTES" | "KEY_LEAD_MINUTES" | "KEY_SIGNING_MINUTES" => "1".into(),
        "RETENTION_DAYS" => "30".into(),
        "SLOW_INVOCATIONS_PER_TENANT" => "50".into(),
        name => setting(name),
    })
}

/// Parses a file of `events/`, with a unique tenant and event id.
fn file<T: serde::de::DeserializeOwned>(text: &str, tenant: &str, id: &str) -> T {
    serde_json::from_str(&text.replace("acme", tenant).replace("op-1-approved", id)).unwrap()
}

/// Builds a batch with a delivery to an unknown endpoint, and an invalid message that contains `id`.
fn deliver_batch(id: &str) -> String {
    include_str!("../../../../events/deliver-batch.json").replace("no delivery at all", &format!("no {id}"))
}

fn text(body: Option<&Body>) -> &str {
    match body {
        Some(Body::Text(text)) => text,
        other => panic!("found {other:?}; expected a text"),
    }
}

#[tokio::test]
async fn ingest_accepts_what_the_files_submit() {
    let stack = LocalStack::from_env().await;
    let app = ingest::App::new(&stack.aws, ingest::Config::from_lookup(lookup).unwrap());
    let single = include_str!("../../../../events/ingest-single.json");
    let batch = include_str!("../../../../events/ingest-batch.json");
    for (file_text, more) in [(single, None), (batch, Some("act-1-active"))] {
        let (tenant, id) = (tenant(), event_id());
        let response = ingest::handle(file(file_text, tenant.as_str(), &id), &app).await;
        assert_eq!(response.status_code, 202);
        let accepted: Value = serde_json::from_str(text(response.body.as_ref())).unwrap();
        let ids: Vec<_> = [Some(&*id), more].into_iter().flatten().collect();
        assert_eq!(accepted, json!({"accepted": ids}));
    }
}

#[tokio::test]
async fn fanout_drops_the_repetition_rejects_garbage_and_sends_the_rest() {
    let stack = LocalStack::from_env().await;
    let app = fanout::App::new(&stack.aws, fanout::Config::from_lookup(lookup).unwrap());
    let receiver = Receiver::start(|_| 200).await;
    let (tenant, id) = (tenant(), event_id());
    stack.register(&tenant, &Endpoint::new(&receiver.url)).await;
    let batch = include_str!("../../../../events/fanout-batch.json").replace("no event at all", &format!("no {id}"));

    for presented in ["first", "again, as after a crash"] {
        let response = fanout::handle(file(&batch, tenant.as_str(), &id), &app).await.unwrap();
        assert!(response.batch_item_failures.is_empty(), "{presented}");
    }

    let requests = receiver.wait_for(1).await;
    let body = r#"{"type":"OPERATION","operationId":"op-1","status":"APPROVED","amount":10.10}"#;
    assert_eq!(requests[0].body, body, "byte for byte");
    let garbage = format!("no {id}");
    let rejected = stack.wait_for_message("REJECTED_QUEUE_URL", |body| body == garbage).await;
    assert_eq!(attribute(&rejected, "reason"), "invalid-event");
    assert_eq!(attribute(&rejected, "messageId"), "11111111-0000-4000-8000-000000000002");
    assert_eq!(stack.wait_for_event(&tenant, &id, "/core").await.len(), 1);
}

#[tokio::test]
async fn deliver_buries_what_cannot_be_delivered_and_returns_nothing() {
    let stack = LocalStack::from_env().await;
    let app = deliver::app(&stack.aws, deliver::Config::from_lookup(lookup).unwrap()).unwrap();
    let (tenant, id) = (tenant(), event_id());
    let batch = deliver_batch(&id);

    let response = deliver::handle(file(&batch, tenant.as_str(), &id), &app).await.unwrap();

    assert!(response.batch_item_failures.is_empty());
    let garbage = format!("no {id}");
    let message = stack.wait_for_message("DEAD_LETTER_QUEUE_URL", |body| body == garbage).await;
    assert_eq!(attribute(&message, "reason"), "bad-message");
    let message = stack.wait_for_message("DEAD_LETTER_QUEUE_URL", |body| body.contains(&id)).await;
    assert_eq!(attribute(&message, "reason"), "endpoint-gone");
}

#[tokio::test]
async fn deliver_sends_once_and_recognises_the_repetition() {
    let stack = LocalStack::from_env().await;
    let app = deliver::app(&stack.aws, deliver::Config::from_lookup(lookup).unwrap()).unwrap();
    let receiver = Receiver::start(|_| 200).await;
    let (tenant, id) = (tenant(), event_id());
    let endpoint = stack.register(&tenant, &Endpoint::new(&receiver.url)).await;
    stack.make_quick(&endpoint).await;
    let batch = deliver_batch(&id).replace("ep_00000000000000000000000000000001", endpoint.as_str());

    for _ in 0..2 {
        let response = deliver::handle(file(&batch, tenant.as_str(), &id), &app).await.unwrap();
        assert!(response.batch_item_failures.is_empty());
    }

    assert_eq!(receiver.so_far().len(), 1, "the record stops the second message");
    assert_eq!(stack.attempts(&tenant, &id, &endpoint).await.len(), 1);
}

#[tokio::test]
async fn deliver_has_a_failed_delivery_presented_again() {
    let stack = LocalStack::from_env().await;
    let app = deliver::app(&stack.aws, deliver::Config::from_lookup(lookup).unwrap()).unwrap();
    let receiver = Receiver::start(|_| 500).await;
    let (tenant, id) = (tenant(), event_id());
    let endpoint = stack.register(&tenant, &Endpoint::new(&receiver.url)).await;
    stack.make_quick(&endpoint).await;
    let batch = deliver_batch(&id).replace("ep_00000000000000000000000000000001", endpoint.as_str());

    for presented in ["first", "too early"] {
        let response = deliver::handle(file(&batch, tenant.as_str(), &id), &app).await.unwrap();
        let failed: Vec<_> = response.batch_item_failures.iter().map(|one| one.item_identifier.as_str()).collect();
        assert_eq!(failed, ["22222222-0000-4000-8000-000000000001"], "{presented}");
    }

    assert_eq!(receiver.so_far().len(), 1, "an early message waits for its time");
}

#[tokio::test]
async fn rotate_keys_takes_the_schedule_the_force_and_the_dry_run() {
    let stack = LocalStack::from_env().await;
    let app = rotate_keys::App::new(&stack.aws, rotate_keys::Config::from_lookup(lookup)).unwrap();
    let schedule: Value = serde_json::from_str(include_str!("../../../../events/rotate-keys-schedule.json")).unwrap();
    let force: Value = serde_json::from_str(include_str!("../../../../events/rotate-keys-force.json")).unwrap();

    let dry_run: Value = serde_json::from_str(include_str!("../../../../events/rotate-keys-dry-run.json")).unwrap();

    let counted = rotate_keys::handle(dry_run, &app).await.unwrap();
    assert_eq!((counted.would_replace, counted.key_ids), (Some(Algorithm::ALL.to_vec()), vec![]));
    let forced = rotate_keys::handle(force, &app).await.unwrap().key_ids;
    rotate_keys::handle(schedule, &app).await.unwrap();

    for algorithm in Algorithm::ALL {
        let keys = stack.keys(algorithm).await;
        let made = keys.iter().find(|key| forced.iter().any(|id| id == key.public.id())).unwrap();
        assert_eq!(made.moments.sign_from, made.moments.published_at, "a forced key signs at once");
    }
}

#[tokio::test]
async fn public_keys_answers_what_the_files_ask() {
    let stack = LocalStack::from_env().await;
    let app = public_keys::App::new(&stack.aws, public_keys::Config::from_lookup(lookup).unwrap());
    let newest = stack.keys(Algorithm::RS256).await.into_iter().max_by_key(|key| key.moments.sign_from).unwrap();
    let placeholder = "070725bf-7dac-4712-b61a-420ba3701263";
    let ask = async |file: &str, kid: &str| {
        let request = serde_json::from_str(&file.replace(placeholder, kid)).unwrap();
        public_keys::handle(request, &app).await
    };
    let pem = include_str!("../../../../events/public-keys-pem.json");
    let jwk = include_str!("../../../../events/public-keys-jwk.json");
    let set = include_str!("../../../../events/public-keys-set.json");

    let kid = of_signing_key(newest.public.id(), &TenantId::parse("acme").unwrap());
    assert_eq!(text(ask(pem, &kid).await.body.as_ref()), newest.public.pem());
    assert!(text(ask(jwk, &kid).await.body.as_ref()).contains(r#""kty":"RSA""#));
    assert!(text(ask(set, "").await.body.as_ref()).contains(&kid));
    assert_eq!(ask(pem, placeholder).await.status_code, 404);
}
