//! Public keys as verifiers fetch them.

use std::collections::HashMap;
use std::collections::HashSet;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};
use signpost_core::event::TenantId;
use signpost_core::signing::algorithm::Algorithm;
use signpost_core::signing::kid::of_signing_key;
use signpost_io::tables::signing_keys::{StoredKey, WrappingKey};
use signpost_testkit::build::{event, event_id, tenant};
use signpost_testkit::local_stack::{Answer, LocalStack, endpoint_path, keys_path, setting, until};
use signpost_testkit::receiver::Receiver;
use signpost_testkit::verify::independently_with;
use uuid::Uuid;

const UNKNOWN: &str = "070725bf-7dac-4712-b61a-420ba3701263";

/// Returns the newest key, which stays valid while the test runs.
async fn newest(stack: &LocalStack) -> StoredKey {
    stack.keys(Algorithm::RS256).await.into_iter().max_by_key(|key| key.moments.sign_from).unwrap()
}

fn max_age(answer: &Answer) -> u64 {
    let seconds = answer.header("cache-control").strip_prefix("public, max-age=").unwrap();
    seconds.split_once(", stale-if-error=").unwrap().0.parse().unwrap()
}

async fn key_set(stack: &LocalStack, tenant: &TenantId) -> Vec<Value> {
    let set = stack.get(&format!("{}/.well-known/jwks.json", keys_path(tenant)), &[]).await;
    assert_eq!((set.status, set.header("content-type")), (200, "application/jwk-set+json"));
    set.json()["keys"].as_array().unwrap().clone()
}

fn kids(keys: &[Value]) -> HashSet<String> {
    keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_key_is_fetched_by_its_kid_as_pem_or_as_jwk() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let key = newest(&stack).await;
    let kid = of_signing_key(key.public.id(), &tenant);
    let path = format!("{}/keys/{kid}", keys_path(&tenant));

    let pem = stack.get(&path, &[]).await;
    assert_eq!((pem.status, pem.header("content-type")), (200, "application/x-pem-file"));
    assert_eq!(pem.text, key.public.pem());
    let jwk = stack.get(&path, &[("accept", "application/jwk+json")]).await;
    assert_eq!((jwk.status, jwk.header("content-type")), (200, "application/jwk+json"));
    assert_eq!(jwk.json()["kid"], kid);
    assert_ne!(pem.header("etag"), jwk.header("etag"), "each form has its own tag");
    for answer in [&pem, &jwk] {
        assert_eq!(answer.header("vary"), "accept");
        let lifetime = key.moments.verify_until - key.moments.published_at;
        assert!(max_age(answer) <= lifetime, "never longer than the key is published");
    }

    let again = stack.get(&path, &[("if-none-match", pem.header("etag"))]).await;
    assert_eq!((again.status, again.text.as_str()), (304, ""));
    assert_eq!(again.header("etag"), pem.header("etag"));
}

#[tokio::test]
async fn each_tenant_has_the_same_signing_keys_under_kids_of_its_own() {
    let (stack, [acme, globex]) = (LocalStack::from_env().await, [tenant(), tenant()]);
    let key = newest(&stack).await;
    let [of_acme, of_globex] = [&acme, &globex].map(async |tenant| key_set(&stack, tenant).await);
    let (of_acme, of_globex) = (of_acme.await, of_globex.await);

    assert!(kids(&of_acme).contains(&of_signing_key(key.public.id(), &acme)), "{of_acme:?}");
    assert!(kids(&of_acme).is_disjoint(&kids(&of_globex)), "no two tenants share a kid");
    assert!(of_acme.iter().all(|one| one["d"].is_null()), "no private part");
    for (own, other) in [(&acme, &of_globex), (&globex, &of_acme)] {
        for kid in kids(other) {
            let path = format!("{}/keys/{kid}", keys_path(own));
            assert_eq!(stack.get(&path, &[]).await.status, 404, "{path}: another tenant's kid");
        }
    }
    let outside = stack.get(&format!("{}/keys/..%2f..%2fkeys", keys_path(&acme)), &[]).await;
    assert_eq!(outside.status, 404, "{outside:?}");
    for kid in [key.public.id(), UNKNOWN, "x"] {
        let answer = stack.get(&format!("{}/keys/{kid}", keys_path(&acme)), &[]).await;
        assert_eq!((answer.status, answer.header("content-type")), (404, "application/problem+json"), "{kid}");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.json()["title"], "Not Found");
    }
}

#[tokio::test]
async fn the_key_set_is_cached_for_half_a_lead() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let set = stack.get(&format!("{}/.well-known/jwks.json", keys_path(&tenant)), &[]).await;
    assert_eq!(max_age(&set), 30, "the stack's lead is a minute");
}

#[tokio::test]
async fn anyone_can_read_that_a_stack_has_no_fixed_addresses() {
    let stack = LocalStack::from_env().await;
    let answer = stack.get("/.well-known/egress-addresses.json", &[]).await;
    assert_eq!((answer.status, max_age(&answer)), (200, 3_600));
    assert_eq!((&answer.json()["fixed"], &answer.json()["addresses"]), (&json!(false), &json!([])));
}

#[tokio::test]
async fn the_routes_without_a_tenant_name_those_with_one() {
    let stack = LocalStack::from_env().await;
    for path in [format!("/keys/{UNKNOWN}"), "/.well-known/jwks.json".into()] {
        let answer = stack.get(&path, &[]).await;
        assert_eq!((answer.status, answer.header("content-type")), (404, "application/problem+json"), "{path}");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("/tenants/{tenant}/keys/{kid}"), "{detail}");
        assert!(detail.contains("/tenants/{tenant}/.well-known/jwks.json"), "{detail}");
    }
}

#[tokio::test]
async fn an_endpoints_own_key_is_published_with_its_name_replaced_with_overlap_and_ended_with_its_endpoint() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let receiver = Receiver::start(|_| 204).await;
    let of_endpoints = async || -> Vec<Value> {
        let keys = key_set(&stack, &tenant).await;
        keys.into_iter().filter(|key| !key["endpoint"].is_null()).collect()
    };
    let jws_only = stack.register_with(&tenant, &json!({"url": receiver.url})).await;
    let path = endpoint_path(&tenant, &jws_only.id);
    assert!(of_endpoints().await.is_empty(), "an endpoint that does not sign by itself publishes nothing");
    let formats = json!({"signatures": ["jws", "standard-webhooks"]});
    let shown = stack.manage("PATCH", &path, Some(&formats)).await.json();

    let published = stack.until_set_has(&tenant, shown["signingPublicKey"].as_str().unwrap()).await;
    assert_eq!((&published["endpoint"], &published["crv"]), (&json!(jws_only.id.as_str()), &json!("Ed25519")));
    let by_kid = format!("{}/keys/{}", keys_path(&tenant), published["kid"].as_str().unwrap());
    // Another environment may cache for some seconds that the key does not exist.
    until(&format!("{published} at {by_kid}"), async || {
        (stack.get(&by_kid, &[("accept", "application/jwk+json")]).await.json() == published).then_some(())
    })
    .await;
    assert_eq!(shown["jwksUrl"], format!("{}/.well-known/jwks.json", stack.keys_url(&tenant)));

    let rotated = stack.manage("POST", &format!("{path}/rotate-secret"), None).await.json();
    assert_ne!(rotated["signingPublicKey"], shown["signingPublicKey"]);
    assert_eq!(rotated["signingSecrets"][0]["publicKey"], shown["signingPublicKey"]);
    stack.until_set_has(&tenant, rotated["signingPublicKey"].as_str().unwrap()).await;
    // Another environment may cache the old set.
    until("both keys in the set", async || (of_endpoints().await.len() == 2).then_some(())).await;
    stack.send_events([event(&tenant, &event_id(), &json!({})).to_string()]).await;
    let secret = rotated["signingSecret"].as_str().unwrap();
    for report in independently_with(&stack.keys_url(&tenant), &receiver.wait_for(1).await, secret).await {
        assert_eq!(report.error, None, "{report:?}");
    }

    stack.remove(&tenant, &jws_only.id).await;
    let call = stack.dynamodb().query().table_name(setting("ENDPOINT_KEYS_TABLE"));
    let call = call.key_condition_expression("tenant = :t");
    let left = call.expression_attribute_values(":t", AttributeValue::S(tenant.to_string())).send().await.unwrap();
    let is_sealing = |item: &HashMap<_, _>| item["key"] == AttributeValue::S("secrets".into());
    let mut of_endpoints = left.items().iter().filter(|item| !is_sealing(item));
    assert!(of_endpoints.all(|item| item.contains_key("expiresAt")), "{left:?}");
}

#[tokio::test]
async fn a_private_key_opens_under_its_own_id_only() {
    let stack = LocalStack::from_env().await;
    let key = newest(&stack).await;
    let wrapping = WrappingKey::new(aws_sdk_kms::Client::new(&stack.aws), setting("WRAPPING_KEY"));

    let opened = wrapping.unwrap_private(key.public.id(), &key.wrapped_private).await;
    let stolen = wrapping.unwrap_private(UNKNOWN, &key.wrapped_private).await;

    assert!(opened.is_ok());
    assert!(stolen.is_err(), "the wrapping includes the encryption context");
}

/// An attacker can write to the tables but cannot use KMS. They add forged, altered, swapped and unreadable items.
#[tokio::test]
async fn keys_that_signpost_did_not_write_are_neither_published_nor_used_and_never_stop_the_others() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let receiver = Receiver::start(|_| 204).await;
    let settings = json!({"url": receiver.url, "signatures": ["jws", "standard-webhooks"], "jwsAlgorithm": "ES256"});
    let endpoint = stack.register_with(&tenant, &settings).await;
    let genuine = stack.keys(Algorithm::ES256).await.into_iter().max_by_key(|key| key.moments.sign_from).unwrap();
    let read = async || {
        let call = stack.dynamodb().get_item().table_name(setting("KEYS_TABLE")).consistent_read(true);
        let call = call.key("algorithm", AttributeValue::S("ES256".into()));
        let call = call.key("generation", AttributeValue::N(genuine.generation.to_string()));
        call.send().await.unwrap().item.unwrap()
    };
    let number = |number: u64| AttributeValue::N(number.to_string());
    let item = read().await;
    // Public keys of other pairs, with which somebody else could sign.
    let other = stack.keys(Algorithm::ES256).await.into_iter().find(|key| key.public.id() != genuine.public.id());
    let others_key = other.map_or_else(|| vec![0; 91], |other| other.public_spki);
    let mut planted = Vec::new();
    let plant = |generation: u64, change: &dyn Fn(&mut std::collections::HashMap<String, AttributeValue>)| {
        let mut planted = item.clone();
        planted.insert("generation".into(), number(generation));
        planted.remove("expiresAt");
        change(&mut planted);
        planted
    };
    let id = |item: &mut std::collections::HashMap<String, AttributeValue>| {
        item.insert("keyId".into(), AttributeValue::S(Uuid::new_v4().to_string()));
    };
    planted.push(plant(1_000_001, &|_| {})); // Another generation.
    planted.push(plant(1_000_002, &|item| {
        id(item);
        item.insert("publicKey".into(), AttributeValue::B(Blob::new(others_key.clone())));
    }));
    planted.push(plant(1_000_003, &|item| {
        id(item);
        item.insert("signFrom".into(), number(32_503_680_000)); // Year 3000: rotation would wait until then.
        item.insert("signUntil".into(), number(32_503_690_000));
        item.insert("verifyUntil".into(), number(32_503_690_000));
    }));
    planted.push(plant(1_000_004, &|item| drop(item.remove("mac"))));
    planted.push(plant(1_000_005, &|item| drop(item.insert("mac".into(), AttributeValue::B(Blob::new([7; 32]))))));
    planted.push(plant(1_000_006, &|item| drop(item.insert("mac".into(), AttributeValue::B(Blob::new([7]))))));
    planted.push(plant(1_000_007, &|item| drop(item.insert("publicKey".into(), AttributeValue::S("text".into())))));
    planted.push(plant(u64::MAX, &|item| item.retain(|name, _| name == "algorithm" || name == "generation")));
    for item in &planted {
        stack
            .dynamodb()
            .put_item()
            .table_name(setting("KEYS_TABLE"))
            .set_item(Some(item.clone()))
            .send()
            .await
            .unwrap();
    }
    // Then keys of endpoints: a genuine item under the name of another endpoint, and an item with an arbitrary MAC.
    let forged = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";
    for (key, mac) in [(format!("{}#{forged}", endpoint.id), vec![7; 32]), ("no endpoint".into(), vec![7; 32])] {
        let call = stack.dynamodb().put_item().table_name(setting("ENDPOINT_KEYS_TABLE"));
        let call = call.item("tenant", AttributeValue::S(tenant.to_string())).item("key", AttributeValue::S(key));
        call.item("mac", AttributeValue::B(Blob::new(mac))).send().await.unwrap();
    }

    let app = |name: &str| -> String { crate::handlers::lookup(name).unwrap() };
    let keys = public_keys::Config::from_lookup(|name| Some(app(name))).unwrap();
    let keys = public_keys::App::new(&stack.aws, keys); // Cold, like a new environment.
    let text = include_str!("../../../../events/public-keys-set.json").replace("acme", tenant.as_str());
    let set = public_keys::handle(serde_json::from_str(&text).unwrap(), &keys).await;
    let aws_lambda_events::encodings::Body::Text(set) = set.body.unwrap() else { panic!("a text") };
    let published: Value = serde_json::from_str(&set).unwrap();
    let published = published["keys"].as_array().unwrap().clone();
    let forged_x = "1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4";
    assert!(published.iter().all(|key| key["x"] != forged_x), "{published:?}");
    for item in &planted {
        let Some(Ok(id)) = item.get("keyId").map(|id| id.as_s()) else { continue };
        let is_genuine = id == genuine.public.id();
        assert_eq!(kids(&published).contains(&of_signing_key(id, &tenant)), is_genuine, "{item:?}");
    }
    let made = stack.rotate_now().await;
    assert_eq!(made.len(), 3, "rotation goes on, for each algorithm");
    stack.send_events([event(&tenant, &event_id(), &json!({})).to_string()]).await;
    let requests = receiver.wait_for(1).await;
    // Deliveries continue. For a second after a forced rotation, an environment may not know the newest key.
    until("a webhook that verifies", async || {
        let reports = independently_with(&stack.keys_url(&tenant), &requests, &endpoint.signing_secret).await;
        reports.iter().all(|report| report.error.is_none()).then_some(())
    })
    .await;
    let logs = stack.logs_of(&["RotateKeysLogs"], "key.refused").await;
    assert!(logs.contains("ERROR"), "refused items are logged at `error`, which the alarm counts: {logs}");

    for item in planted {
        let [algorithm, generation] = ["algorithm", "generation"].map(|name| item[name].clone());
        let call = stack.dynamodb().delete_item().table_name(setting("KEYS_TABLE"));
        call.key("algorithm", algorithm).key("generation", generation).send().await.unwrap();
    }
}
