//! Every format and every algorithm, verified by libraries that share no code with Signpost.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use signpost_testkit::build::{event, event_id, tenant};
use signpost_testkit::local_stack::{LocalStack, endpoint_path};
use signpost_testkit::receiver::Receiver;
use signpost_testkit::verify::{independently_behind, independently_with};

const ALL_FORMATS: [&str; 3] = ["jws", "standard-webhooks", "http-message-signatures"];

#[tokio::test]
async fn every_format_and_algorithm_verifies_with_libraries_of_others() {
    let stack = LocalStack::from_env().await;
    let cases =
        [("RS256", "rsa-v1_5-sha256", "POST"), ("ES256", "ecdsa-p256-sha256", "PUT"), ("EdDSA", "ed25519", "GET")];
    for (algorithm, http_name, method) in cases {
        let (receiver, tenant) = (Receiver::start(|_| 204).await, tenant());
        let settings = json!({
            "url": format!("{}?key=a%20b", receiver.url), "method": method,
            "signatures": ALL_FORMATS, "jwsAlgorithm": algorithm,
        });
        let registered = stack.register_with(&tenant, &settings).await;
        let data = json!({"name": "John  Smith\u{a0}\n", "amount": 10.5});
        stack.send_events([event(&tenant, &event_id(), &data).to_string()]).await;

        let requests = receiver.wait_for(1).await;
        let (keys_url, secret) = (stack.keys_url(&tenant), &registered.signing_secret);
        let reports = independently_behind(&keys_url, "key=a%20b", &requests, secret).await;
        assert!(reports.iter().all(|report| report.error.is_none()), "{reports:?}");
        let verified: BTreeSet<_> = reports.iter().flat_map(|report| report.verified.clone()).collect();
        let expected = [
            format!("PyJWT {algorithm} raw"),
            format!("PyJWT {algorithm} stripped"),
            format!("jwcrypto {algorithm} raw"),
            format!("jwcrypto {algorithm} stripped"),
            format!("openssl {algorithm}"),
            format!("jose {algorithm} raw"),
            format!("jose {algorithm} stripped"),
            format!("http-message-signatures {http_name}"),
            "standardwebhooks v1".into(),
            "svix v1".into(),
            "npm standardwebhooks v1".into(),
            "cryptography v1a".into(),
        ];
        assert_eq!(verified, BTreeSet::from(expected), "{algorithm}");
    }
}

#[tokio::test]
async fn both_secrets_verify_while_one_follows_the_other() {
    let stack = LocalStack::from_env().await;
    let (receiver, tenant) = (Receiver::start(|_| 204).await, tenant());
    let settings = json!({"url": receiver.url, "signatures": ["standard-webhooks"]});
    let registered = stack.register_with(&tenant, &settings).await;
    let path = format!("{}/rotate-secret", endpoint_path(&tenant, &registered.id));
    let rotate = async |body| stack.manage("POST", &path, body).await;

    let rotated = rotate(None).await;
    assert_eq!((rotated.status, rotated.header("etag")), (200, "\"2\""));
    let body = rotated.json();
    let new = body["signingSecret"].as_str().unwrap();
    assert_ne!(new, registered.signing_secret);
    let secrets = body["signingSecrets"].as_array().unwrap();
    assert_eq!(secrets.len(), 2);
    assert!(secrets[0]["expiresAt"].is_string() && secrets[1]["expiresAt"].is_null(), "{body}");

    stack.send_events([event(&tenant, &event_id(), &json!({})).to_string()]).await;
    let requests = receiver.wait_for(1).await;
    for secret in [new, &registered.signing_secret] {
        for report in independently_with(&stack.keys_url(&tenant), &requests, secret).await {
            assert_eq!(report.error, None, "{report:?}");
        }
    }
    let stranger = stack.register_with(&tenant, &settings).await.signing_secret;
    let reports = independently_with(&stack.keys_url(&tenant), &requests, &stranger).await;
    assert!(reports.iter().all(|report| report.error.is_some()), "another secret verifies nothing: {reports:?}");

    let at_once = rotate(Some(&json!({"overlapSeconds": 0}))).await.json();
    let newest = at_once["signingSecret"].as_str().unwrap().to_owned();
    assert_eq!(at_once["signingSecrets"].as_array().unwrap().len(), 2, "the first secret keeps its end");
    let mut pace = tokio::time::interval(Duration::from_secs(1));
    loop {
        pace.tick().await; // The old secret may be cached for ten seconds.
        let before = receiver.so_far().len();
        stack.send_events([event(&tenant, &event_id(), &json!({})).to_string()]).await;
        let requests = receiver.wait_for(before + 1).await;
        let last = &requests[requests.len() - 1..];
        let is_new =
            independently_with(&stack.keys_url(&tenant), last, &newest).await.iter().all(|one| one.error.is_none());
        if is_new {
            let gone = independently_with(&stack.keys_url(&tenant), last, new).await;
            assert!(gone.iter().all(|report| report.error.is_some()), "{gone:?}");
            break;
        }
    }
}
