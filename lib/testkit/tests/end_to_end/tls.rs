//! Receivers that speak TLS, and receivers that require authentication.

use serde_json::json;
use signpost_core::endpoint::Endpoint;
use signpost_core::endpoint::retry::RetryPolicy;
use signpost_testkit::authority::Authority;
use signpost_testkit::build::{event, event_id, tenant};
use signpost_testkit::local_stack::{LocalStack, endpoint_path, setting};
use signpost_testkit::receiver::{Receiver, certified_key};

#[tokio::test]
async fn a_receiver_is_called_over_tls_under_the_names_of_its_certificate_only() {
    let stack = LocalStack::from_env().await;
    let receiver = Receiver::start_tls(certified_key(&setting("RECEIVER_CERTIFICATE"), &setting("RECEIVER_KEY"))).await;
    let tenant = tenant();
    let mut right = Endpoint::new(&receiver.url);
    right.retry = RetryPolicy::fixed(0, 5).unwrap();
    let mut wrong = right.clone();
    wrong.url = receiver.url.replace("127.0.0.1", "localhost"); // The same server by another name.
    let (right, wrong) = (stack.register(&tenant, &right).await, stack.register(&tenant, &wrong).await);
    let id = event_id();

    stack.send_events([event(&tenant, &id, &json!({})).to_string()]).await;

    assert_eq!(stack.wait_for_attempts(&tenant, &id, &right, 1).await[0].status, Some(204));
    let refused = &stack.wait_for_attempts(&tenant, &id, &wrong, 1).await[0];
    assert_eq!((refused.status, refused.cause.as_deref()), (None, Some("certificate-wrong-name")));
    let text = "certificate of the endpoint is for another host; use one that names the URL's host";
    assert_eq!(refused.error.as_deref(), Some(text));
    assert_eq!(receiver.so_far().len(), 1, "nothing was sent over the failed connection");
}

#[tokio::test]
async fn a_receiver_that_demands_a_certificate_is_shown_that_of_the_endpoint() {
    let stack = LocalStack::from_env().await;
    let (authority, tenant, id) = (Authority::new(), tenant(), event_id());
    let receiver = Receiver::start_mtls(authority.server(), authority.der()).await;
    let store = |content: String| json!({"format": "pem", "content": content});
    let auth = json!({
        "kind": "mtls", "keyStore": store(authority.client("acme")), "trustStore": store(authority.pem()),
    });
    let retry = json!({"maxRetries": 0});
    let made = stack.register_with(&tenant, &json!({"url": receiver.url, "auth": auth, "retry": retry})).await;
    let key = certified_key(&setting("RECEIVER_CERTIFICATE"), &setting("RECEIVER_KEY"));
    let public = Receiver::start_mtls(key, authority.der()).await; // Its certificate is trusted publicly.
    let stranger = stack.register_with(&tenant, &json!({"url": public.url, "retry": retry})).await;

    let shown = stack.manage("GET", &endpoint_path(&tenant, &made.id), None).await;
    assert_eq!(shown.json()["auth"]["certificate"]["subject"], "CN=acme");
    assert_eq!(shown.json()["auth"]["trustStore"]["format"], "pem");
    assert!(!shown.text.contains("PRIVATE KEY") && shown.json()["auth"]["keyStore"].is_null(), "{}", shown.text);
    stack.send_events([event(&tenant, &id, &json!({})).to_string()]).await;

    assert_eq!(stack.wait_for_attempts(&tenant, &id, &made.id, 1).await[0].status, Some(204));
    let refused = &stack.wait_for_attempts(&tenant, &id, &stranger.id, 1).await[0];
    // With TLS 1.3 the server refuses after the handshake. Its alert is lost if the client sees the end of the
    // connection first.
    let causes = ["client-certificate-required", "connection-closed", "connection-reset"];
    assert_eq!(refused.status, None);
    assert!(causes.contains(&refused.cause.as_deref().unwrap_or_default()), "{refused:?}");
    assert_eq!((receiver.so_far().len(), public.so_far().len()), (1, 0));
    assert!(receiver.so_far()[0].client_certificate.is_some());

    let patch = json!({"auth": {"keyStore": store(authority.client("acme renewed"))}});
    let renewed = stack.manage("PATCH", &endpoint_path(&tenant, &made.id), Some(&patch)).await.json();
    assert_eq!(renewed["auth"]["certificate"]["subject"], "CN=acme renewed");
    assert_eq!(renewed["auth"]["trustStore"], shown.json()["auth"]["trustStore"], "the patch does not name it");
}

#[tokio::test]
async fn an_endpoint_behind_oauth_gets_a_token_that_was_fetched_for_it() {
    let stack = LocalStack::from_env().await;
    let (tenant, id) = (tenant(), event_id());
    let tokens = Receiver::start_answering(|_, _| {
        (200, json!({"access_token": "t-1", "token_type": "bearer", "expires_in": 3_600}).to_string())
    })
    .await;
    let receiver = Receiver::start(|_| 204).await;
    let auth = json!({
        "kind": "oauth2", "tokenUrl": tokens.url, "clientId": "signpost", "secret": "s3cret",
        "clientAuthentication": "client_secret_post",
    });
    stack.register_with(&tenant, &json!({"url": receiver.url, "auth": auth})).await;

    stack.send_events([event(&tenant, &id, &json!({})).to_string()]).await;

    assert_eq!(receiver.wait_for(1).await[0].header("authorization"), "Bearer t-1");
    let form = "grant_type=client_credentials&client_id=signpost&client_secret=s3cret";
    assert_eq!(tokens.so_far()[0].body, form);
}
