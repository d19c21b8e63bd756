//! Records of what was sent: without secrets, and stored once while nothing changes.

use serde_json::{Value, json};
use signpost_core::delivery::sent::SentRecord;
use signpost_testkit::build::{event, event_id, tenant};
use signpost_testkit::local_stack::{LocalStack, setting};
use signpost_testkit::receiver::{Received, Receiver, certified_key};

#[tokio::test]
async fn an_operator_sees_what_each_attempt_sent_and_where_to() {
    let (stack, tenant, id) = (LocalStack::from_env().await, tenant(), event_id());
    let receiver = Receiver::start(|index| [500, 500, 204][index.min(2)]).await;
    let settings = json!({
        "url": format!("{}?token=s3cr3t-token&plain", receiver.url), "headers": {"X-Team": "payments"},
        "auth": {"kind": "basic", "secret": "signpost:correct horse"}, "signatures": ["jws", "standard-webhooks"],
        "retry": {"maxRetries": 3, "intervalSeconds": 1, "backoff": "fixed"},
    });
    let endpoint = stack.register_with(&tenant, &settings).await.id;
    stack.send_events([event(&tenant, &id, &json!({"name": "John Smith"})).to_string()]).await;
    let requests = receiver.wait_for(3).await;
    let attempts = stack.wait_for_attempts(&tenant, &id, &endpoint, 3).await;

    let kept: Vec<_> = attempts.iter().map(|attempt| matches!(attempt.sent, SentRecord::This(_))).collect();
    assert_eq!(kept, [true, false, false], "the request is stored once");
    let seen = stack.manage("GET", &format!("/v1/tenants/{tenant}/events/{id}"), None).await.json();
    let shown = seen["deliveries"][0]["attempts"].as_array().unwrap().clone();
    assert_eq!(shown.len(), 3);
    for (attempt, request) in shown.iter().zip(&requests) {
        let sent = &attempt["sent"];
        assert_eq!((&sent["method"], &sent["bodyBytes"]), (&json!("POST"), &json!(request.body.len())));
        assert_eq!(sent["bodySha256"], sha256(&request.body));
        assert_eq!(sent["url"], format!("{}?token=[redacted]&[redacted]", receiver.url));
        assert_eq!(attempt["connection"], json!({"address": address(&receiver.url), "tls": null}));
        for (name, value) in headers(sent) {
            match &*name {
                "authorization" | "jws-signature" | "webhook-signature" => assert_eq!(value, Value::Null, "{name}"),
                name => assert_eq!(value, request.header(name), "{name}"),
            }
        }
        let arrived = request.headers.keys().map(ToString::to_string);
        let framing = ["host", "content-length", "accept"]; // The HTTP library adds these.
        let mut arrived: Vec<_> = arrived.filter(|name| !framing.contains(&&**name)).collect();
        let mut listed: Vec<_> = headers(sent).into_iter().map(|(name, _)| name.to_lowercase()).collect();
        arrived.sort_unstable();
        listed.sort_unstable();
        assert_eq!(listed, arrived, "the record names every header");
    }
    for secret in ["s3cr3t-token", "correct horse", "c2lnbnBvc3Q6Y29ycmVjdCBob3JzZQ"] {
        assert!(!seen.to_string().contains(secret), "{secret} in {seen}");
    }
}

#[tokio::test]
async fn the_record_has_the_version_of_tls_and_the_target_of_a_redirect_and_says_when_nothing_was_sent() {
    let (stack, tenant, id) = (LocalStack::from_env().await, tenant(), event_id());
    let tls = Receiver::start_tls(certified_key(&setting("RECEIVER_CERTIFICATE"), &setting("RECEIVER_KEY"))).await;
    let moved = |_: usize, _: &Received| (302, String::new(), vec![("location", "/login?session=abc".to_owned())]);
    let moved = Receiver::start_with_headers(moved).await;
    let retry = json!({"maxRetries": 0});
    let oauth2 = json!({"kind": "oauth2", "secret": "s", "clientId": "c", "tokenUrl": format!("{}/none", moved.url)});
    let settings = [
        json!({"url": tls.url}),
        json!({"url": moved.url, "retry": retry}),
        json!({"url": moved.url, "retry": retry, "auth": oauth2}),
    ];
    let mut endpoints = Vec::new();
    for settings in &settings {
        endpoints.push(stack.register_with(&tenant, settings).await.id);
    }
    stack.send_events([event(&tenant, &id, &json!({})).to_string()]).await;
    for endpoint in &endpoints {
        stack.wait_for_attempts(&tenant, &id, endpoint, 1).await;
    }

    let seen = stack.manage("GET", &format!("/v1/tenants/{tenant}/events/{id}"), None).await.json();
    let of = |index: usize| {
        let id = endpoints[index].as_str();
        let delivery = seen["deliveries"].as_array().unwrap().iter().find(|delivery| delivery["endpoint"] == id);
        delivery.unwrap()["attempts"][0].clone()
    };
    assert_eq!(of(0)["connection"]["tls"], "1.3", "{seen}");
    assert_eq!(of(1)["redirect"], format!("http://{}/login?session=[redacted]", address(&moved.url)));
    assert_eq!((&of(2)["sent"], &of(2)["connection"]), (&Value::Null, &Value::Null), "without a token nothing is sent");
}

fn headers(sent: &Value) -> Vec<(String, Value)> {
    sent["headers"].as_object().unwrap().clone().into_iter().collect()
}

/// Returns host and port of a URL.
fn address(url: &str) -> &str {
    url.split('/').nth(2).unwrap()
}

fn sha256(body: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body);
    digest.as_ref().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
