//! Secrets of endpoints: sealed in the table, opened once, only for their own endpoint, and never shown.

use std::fmt::Write as _;

use aws_lambda_events::sqs::SqsBatchResponse;
use serde_json::json;
use signpost_core::endpoint::EndpointId;
use signpost_core::event::TenantId;
use signpost_engine::ports::endpoints::Endpoints as _;
use signpost_testkit::aws_proxy::AwsProxy;
use signpost_testkit::build::{delivery, event, event_id, tenant};
use signpost_testkit::local_stack::{LocalStack, endpoint_path};
use signpost_testkit::receiver::Receiver;

use crate::faults::batch;
use crate::handlers::lookup;

/// Delivers a new event to an endpoint with the function in this process.
async fn deliver(app: &deliver::App, tenant: &TenantId, endpoint: &EndpointId) -> SqsBatchResponse {
    let body = delivery(endpoint, &event(tenant, &event_id(), &json!({})));
    deliver::handle(batch(&[body]), app).await.unwrap()
}

fn app(aws: &aws_config::SdkConfig) -> deliver::App {
    deliver::app(aws, deliver::Config::from_lookup(lookup).unwrap()).unwrap()
}

#[tokio::test]
async fn a_secret_opens_for_its_own_endpoint_only() {
    let stack = LocalStack::from_env().await;
    let (receiver, acme, globex) = (Receiver::start(|_| 204).await, tenant(), tenant());
    let settings = |secret: &str| json!({"url": receiver.url, "auth": {"kind": "basic", "secret": secret}});
    let victim = stack.register_with(&acme, &settings("acme:hunter2")).await.id;
    let thieves = [
        (&acme, stack.register_with(&acme, &settings("other:endpoint")).await.id),
        (&globex, stack.register_with(&globex, &settings("other:tenant")).await.id),
    ];
    for endpoint in [&victim, &thieves[0].1, &thieves[1].1] {
        stack.make_quick(endpoint).await;
    }
    let table = stack.endpoints();
    let stolen = table.get(&acme, &victim).await.unwrap().unwrap();

    for (tenant, thief) in &thieves {
        let mut stored = table.get(tenant, thief).await.unwrap().unwrap();
        let own = stored.auth_secret.replace(stolen.auth_secret.clone().unwrap());
        table.put(tenant, thief, &stored, Some(1)).await.unwrap();
        let response = deliver(&app(&stack.aws), tenant, thief).await;
        assert_eq!(response.batch_item_failures.len(), 1, "the message is kept until the endpoint is repaired");
        assert!(receiver.so_far().is_empty(), "nothing is sent with the secret of another endpoint");
        stored.auth_secret = own;
        table.put(tenant, thief, &stored, Some(1)).await.unwrap();
    }
    // The secret does not open for another server or another use, even if somebody rewrites the settings in the table.
    let rewritten = [
        json!({"url": receiver.url.replace("127.0.0.1", "localhost"), "auth": {"kind": "basic"}}),
        json!({"url": receiver.url, "auth": {"kind": "apiKey"}}),
        json!({"url": receiver.url, "auth": {"kind": "oauth2", "tokenUrl": receiver.url, "clientId": "thief"}}),
    ];
    for settings in rewritten {
        let settings = serde_json::from_value(settings).unwrap();
        let stored = signpost_engine::ports::endpoints::StoredEndpoint { settings, ..stolen.clone() };
        table.put(&acme, &victim, &stored, Some(1)).await.unwrap();
        assert_eq!(deliver(&app(&stack.aws), &acme, &victim).await.batch_item_failures.len(), 1);
        assert!(receiver.so_far().is_empty(), "{:?}", stored.settings);
    }
    // A secret that is sealed for signing does not open for authentication, even at the same endpoint.
    let mut stored = stolen.clone();
    stored.auth_secret = Some(stolen.signing_secrets[0].secret.sealed.clone());
    table.put(&acme, &victim, &stored, Some(1)).await.unwrap();
    assert_eq!(deliver(&app(&stack.aws), &acme, &victim).await.batch_item_failures.len(), 1);
    assert!(receiver.so_far().is_empty());

    table.put(&acme, &victim, &stolen, Some(1)).await.unwrap();
    assert_eq!(deliver(&app(&stack.aws), &acme, &victim).await.batch_item_failures.len(), 0);
    assert_eq!(receiver.so_far()[0].header("authorization"), "Basic YWNtZTpodW50ZXIy");
}

#[tokio::test]
async fn a_warm_environment_delivers_without_a_call_to_kms() {
    let stack = LocalStack::from_env().await;
    let (receiver, tenant, proxy) = (Receiver::start(|_| 204).await, tenant(), AwsProxy::start().await);
    let settings = json!({
        "url": receiver.url, "auth": {"kind": "apiKey", "secret": "x-key:abc"},
        "signatures": ["jws", "standard-webhooks"], "jwsAlgorithm": "ES256",
    });
    let id = stack.register_with(&tenant, &settings).await.id;
    stack.make_quick(&id).await;
    let app = app(&proxy.aws().await);

    deliver(&app, &tenant, &id).await;
    assert_eq!(proxy.count("Decrypt"), 2, "the signing key, and the key that opens the tenant's secrets");
    let verified = proxy.count("VerifyMac");
    assert!(verified > 0, "the signing keys are authenticated");
    for _ in 0..5 {
        deliver(&app, &tenant, &id).await;
    }

    assert_eq!(receiver.so_far().len(), 6);
    assert_eq!(proxy.count("Decrypt"), 2, "no further call");
    assert_eq!(proxy.count("VerifyMac"), verified, "no further check of the keys");
    assert_eq!(proxy.count("BatchExecuteStatement"), 6, "each attempt is recorded");

    let others = futures_util::future::join_all((0..5).map(|_| stack.register_with(&tenant, &settings))).await;
    for other in &others {
        stack.make_quick(&other.id).await;
        deliver(&app, &tenant, &other.id).await;
    }
    assert_eq!(receiver.so_far().len(), 11);
    assert_eq!(proxy.count("Decrypt"), 2, "all endpoints of the tenant share one key");
}

#[tokio::test]
async fn the_first_endpoints_of_a_tenant_agree_on_one_key() {
    let stack = LocalStack::from_env().await;
    let (receiver, tenant) = (Receiver::start(|_| 204).await, tenant());
    let settings = json!({"url": receiver.url, "auth": {"kind": "basic", "secret": "acme:hunter2"}});
    let registered = futures_util::future::join_all((0..6).map(|_| stack.register_with(&tenant, &settings))).await;
    let app = app(&stack.aws);
    for endpoint in &registered {
        stack.make_quick(&endpoint.id).await;
        assert_eq!(deliver(&app, &tenant, &endpoint.id).await.batch_item_failures.len(), 0);
    }
    let seen: Vec<_> = receiver.so_far().iter().map(|request| request.header("authorization").to_owned()).collect();
    assert_eq!(seen, vec!["Basic YWNtZTpodW50ZXIy"; 6]);
}

#[tokio::test]
async fn a_secret_is_seen_in_no_answer_no_item_no_record_and_no_log() {
    let stack = LocalStack::from_env().await;
    let tenant = tenant();
    let (user, token) = (format!("user-{tenant}"), format!("token-{tenant}"));
    let echo = |_: usize, request: &signpost_testkit::receiver::Received| {
        (500, format!("debug page of a framework: {:?}", request.headers))
    };
    let receiver = Receiver::start_answering(echo).await;
    let retry = json!({"maxRetries": 0});
    let basic =
        json!({"url": receiver.url, "retry": retry, "auth": {"kind": "basic", "secret": format!("{user}:{token}")}});
    let key =
        json!({"url": receiver.url, "retry": retry, "auth": {"kind": "apiKey", "secret": format!("x-key:{token}")}});
    let registered = [stack.register_with(&tenant, &basic).await, stack.register_with(&tenant, &key).await];
    let faulty = json!({"url": "ftp://a", "auth": {"kind": "apiKey", "secret": format!("host:{token}")}});
    let refused = stack.manage("POST", &format!("/v1/tenants/{tenant}/endpoints"), Some(&faulty)).await;
    assert_eq!(refused.status, 400);
    let id = event_id();
    stack.send_events([event(&tenant, &id, &json!({})).to_string()]).await;

    let mut seen = refused.text;
    for endpoint in &registered {
        let attempts = stack.wait_for_attempts(&tenant, &id, &endpoint.id, 1).await;
        assert!(attempts[0].response.as_ref().unwrap().contains("[redacted]"), "{attempts:?}");
        write!(seen, "{attempts:?}").unwrap();
        seen += &stack.manage("GET", &endpoint_path(&tenant, &endpoint.id), None).await.text;
        write!(seen, "{:?}", stack.endpoints().get(&tenant, &endpoint.id).await.unwrap()).unwrap();
    }
    seen += &stack.logs_of(&["DeliverLogs", "ManageLogs", "FanoutLogs"], id.as_str()).await;

    assert!(seen.contains("delivery.attempted"), "the logs were read");
    let basic = "Basic ".to_owned()
        + &base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("{user}:{token}"));
    let secrets = [&user, &token, &basic, &registered[0].signing_secret, &registered[1].signing_secret];
    for secret in secrets {
        assert!(!seen.contains(secret.as_str()), "{secret} in {seen}");
    }
}
