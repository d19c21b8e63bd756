//! The audit log: every change of an operator has an entry, which no function may rewrite and which has no secret.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};
use signpost_core::audit::is_change;
use signpost_core::endpoint::EndpointId;
use signpost_core::event::TenantId;
use signpost_io::runtime::clock::unix_now;
use signpost_testkit::build::{event, event_id, tenant};
use signpost_testkit::local_stack::{LocalStack, endpoint_path, endpoints_path, setting};
use signpost_testkit::receiver::Receiver;

/// Routes that change something, or nothing, and are no operator's: `ingest`, `relay` and `echo` answer them.
const OF_OTHERS: [&str; 3] = ["POST /v1/events", "POST /callbacks/{state}", "POST /smoke"];

async fn entries(stack: &LocalStack, tenant: &TenantId, query: &str) -> Vec<Value> {
    let answer = stack.manage("GET", &format!("/v1/tenants/{tenant}/audit{query}"), None).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["entries"].as_array().unwrap().clone()
}

/// Returns the routes of the contract, such as `GET /v1/events`.
fn routes() -> Vec<String> {
    let (mut routes, mut path) = (Vec::new(), "");
    let contract = include_str!("../../../../infra/openapi.yaml");
    let paths = contract.split("\npaths:\n").nth(1).unwrap().split("\ncomponents:\n").next().unwrap();
    for line in paths.lines() {
        let text = line.trim_end().trim_end_matches(':');
        match text.strip_prefix("    ").filter(|_| text != line) {
            Some(method @ ("get" | "put" | "post" | "delete" | "patch" | "head" | "options")) => {
                routes.push(format!("{} {path}", method.to_uppercase()));
            }
            _ if line.starts_with("  /") => path = text.trim_start(),
            _ => {}
        }
    }
    routes
}

const SINCE: &str = "2026-01-31T10:00:00Z";

#[tokio::test]
async fn every_route_that_may_change_something_has_an_entry() {
    let (stack, tenant, receiver) = (LocalStack::from_env().await, tenant(), Receiver::start(|_| 204).await);
    let endpoint = stack.register_with(&tenant, &json!({"url": receiver.url})).await.id;
    let id = event_id();
    let mut about_subject = event(&tenant, &event_id(), &json!({}));
    about_subject["subject"] = json!("order-7");
    stack.send_events([event(&tenant, &id, &json!({})), about_subject].map(|event| event.to_string())).await;
    receiver.wait_for(2).await;
    let url = json!({"url": receiver.url});
    let bodies: HashMap<&str, Value> = HashMap::from([
        ("POST /v1/tenants/{tenant}/endpoints", url.clone()),
        ("PATCH /v1/tenants/{tenant}/endpoints/{endpoint}", json!({"description": "new"})),
        ("POST /v1/tenants/{tenant}/endpoints/{endpoint}/recover", json!({"since": SINCE})),
        ("POST /v1/tenants/{tenant}/replays", json!({"since": SINCE})),
        ("POST /v1/tenants/{tenant}/erasures", json!({"tenant": tenant.as_str()})),
        ("PUT /v1/tenants/{tenant}/notices", url),
        ("PUT /v1/tenants/{tenant}/event-types/{type}", json!({"schema": true, "example": {}})),
        ("POST /v1/tenants/{tenant}/token-requests", json!({"redirectUrl": "https://tpp.example/back"})),
    ]);
    let all = routes();
    let link = stack.manage("POST", &format!("/v1/tenants/{tenant}/portal-links"), None).await;
    let link = link.json()["id"].as_str().unwrap().to_owned();
    let replay = stack.manage("POST", &format!("/v1/tenants/{tenant}/replays"), Some(&json!({"since": SINCE}))).await;
    let replay = replay.json()["id"].as_str().unwrap().to_owned();
    assert!(all.len() > 20 && all.iter().any(|route| route == OF_OTHERS[0]), "{all:?}");
    // Those of the integrators' page have a test of their own.
    let is_operators = |route: &&String| !OF_OTHERS.contains(&&***route) && !route.contains(" /portal");
    let mut changes: Vec<_> = all.iter().filter(|route| is_change(route)).filter(is_operators).collect();
    // The other routes need an endpoint that is enabled and there.
    // After the erasure of the tenant has begun, all others are refused.
    changes
        .sort_by_key(|route| (route.ends_with("/erasures"), route.starts_with("DELETE"), route.ends_with("/disable")));
    for route in &changes {
        let (method, path) = route.split_once(' ').unwrap();
        let path = path.replace("{tenant}", tenant.as_str()).replace("{endpoint}", endpoint.as_str());
        let path = path.replace("{event}", &id).replace("/status/{type}/{subject}", "/status/example/order-7");
        let path = path.replace("{link}", &link).replace("{replay}", &replay).replace("{type}", "invoice.paid");
        assert!(!path.contains('{'), "{path}: this test does not know the parameter");
        let answer = stack.manage(method, &path, bodies.get(route.as_str())).await;
        assert!((200..300).contains(&answer.status), "{route}: {answer:?}");
        let newest = entries(&stack, &tenant, "?limit=1").await.remove(0);
        let seen = (newest["action"].as_str().unwrap(), newest["outcome"].as_str().unwrap(), &newest["status"]);
        // API Gateway's own spelling of a parameter that may hold slashes.
        let action = route.replace("{subject}", "{subject+}");
        assert_eq!(seen, (action.as_str(), "done", &json!(answer.status)), "{newest}");
        let principal = newest["actor"]["principal"].as_str().unwrap();
        assert!(newest["actor"]["kind"] == "iam" && principal.starts_with("arn:aws:"), "{newest}");
        assert!(!newest["requestId"].as_str().unwrap().is_empty(), "{newest}");
    }
    assert!(changes.len() > 10, "{changes:?}");
    assert_eq!(entries(&stack, &tenant, "").await.len(), changes.len() + 3, "one entry for each change");
}

#[tokio::test]
async fn an_entry_says_who_changed_what_from_what_to_what() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let operator = stack.operator_of(&tenant).await;
    let endpoint = stack.register_with(&tenant, &json!({"url": "https://hooks.example/a"})).await.id;
    let path = endpoint_path(&tenant, &endpoint);
    let moved = json!({"url": "https://hooks.example/b", "description": "moved"});
    assert_eq!(stack.manage_as(&operator, "PATCH", &path, &[], Some(&moved)).await.status, 200);
    assert_eq!(stack.manage_as(&operator, "PATCH", &path, &[("if-match", "\"1\"")], Some(&moved)).await.status, 412);
    assert_eq!(stack.manage("DELETE", &path, None).await.status, 204);

    let [deleted, refused, patched, created] = entries(&stack, &tenant, "").await.try_into().unwrap();
    assert_eq!(created["before"], Value::Null);
    assert_eq!(
        (&created["after"]["url"], &created["endpoint"]),
        (&json!("https://hooks.example/a"), &json!(endpoint.as_str()))
    );
    assert_eq!(created["changedSecrets"], json!(["signing"]));
    assert_eq!(patched["before"], json!({"url": "https://hooks.example/a", "description": ""}));
    assert_eq!(patched["after"], moved);
    assert_eq!((&patched["changedSecrets"], &patched["status"]), (&json!([]), &json!(200)));
    assert!(patched["actor"]["principal"].as_str().unwrap().contains("assumed-role"), "{patched}");
    assert_eq!((&refused["outcome"], &refused["status"]), (&json!("refused"), &json!(412)));
    assert_eq!((&refused["before"], &refused["after"]), (&Value::Null, &Value::Null));
    assert_eq!((&deleted["before"]["url"], &deleted["after"]), (&moved["url"], &Value::Null));
}

#[tokio::test]
async fn the_audit_log_has_no_secret() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let auth = |secret: &str| json!({"kind": "basic", "secret": format!("signpost:{secret}")});
    let settings = json!({"url": "https://hooks.example/in", "auth": auth("first-secret-7ad0"),
        "signatures": ["standard-webhooks"]});
    let made = stack.register_with(&tenant, &settings).await;
    let path = endpoint_path(&tenant, &made.id);
    let another = json!({"auth": auth("second-secret-7ad0")});
    assert_eq!(stack.manage("PATCH", &path, Some(&another)).await.status, 200);
    let rotated = stack.manage("POST", &format!("{path}/rotate-secret"), None).await;
    let token_request = stack.register_token_request(&tenant, &json!({})).await;
    let url = json!({"url": "https://hooks.example/n", "auth": auth("third-secret-7ad0")});
    let notices = stack.manage("PUT", &format!("/v1/tenants/{tenant}/notices"), Some(&url)).await;

    let entries = entries(&stack, &tenant, "").await;
    let secrets: Vec<_> = entries.iter().map(|entry| entry["changedSecrets"].clone()).collect();
    let expected =
        [json!(["auth", "signing"]), json!([]), json!(["signing"]), json!(["auth"]), json!(["auth", "signing"])];
    assert_eq!(secrets, expected);
    let items = stack.dynamodb().scan().table_name(setting("AUDIT_TABLE")).consistent_read(true).send().await.unwrap();
    let texts = [json!(entries).to_string(), format!("{:?}", items.items())];
    let text =
        |answer: &signpost_testkit::local_stack::Answer| answer.json()["signingSecret"].as_str().unwrap().to_owned();
    let state = token_request.rsplit('/').next().unwrap().to_owned();
    for secret in ["secret-7ad0".to_owned(), made.signing_secret, text(&rotated), text(&notices), state] {
        for text in &texts {
            assert!(text.contains("hooks.example") && !text.contains(&secret), "{secret} is in the audit log");
        }
    }
}

#[tokio::test]
async fn entries_are_listed_by_page_endpoint_and_time_and_expire() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let url = json!({"url": "https://hooks.example/in"});
    let one = stack.register_with(&tenant, &url).await.id;
    let other = stack.register_with(&tenant, &url).await.id;
    let switch = async |id: &EndpointId, way: &str| {
        let answer = stack.manage("POST", &format!("{}/{way}", endpoint_path(&tenant, id)), None).await;
        assert_eq!(answer.status, 200);
    };
    switch(&one, "disable").await;
    switch(&other, "disable").await;
    switch(&one, "enable").await;

    let all = entries(&stack, &tenant, "").await;
    assert_eq!(all.len(), 5);
    let (mut paged, mut query) = (Vec::new(), "?limit=2".to_owned());
    loop {
        let page = stack.manage("GET", &format!("/v1/tenants/{tenant}/audit{query}"), None).await.json();
        let entries = page["entries"].as_array().unwrap().clone();
        assert!(entries.len() <= 2);
        paged.extend(entries);
        let Some(cursor) = page["cursor"].as_str() else { break };
        query = format!("?cursor={cursor}&limit=2");
    }
    assert_eq!(paged, all, "no entry twice, and none missing");
    let of_one = entries(&stack, &tenant, &format!("?endpoint={one}")).await;
    assert_eq!(of_one, [&all[0], &all[2], &all[4]].map(Clone::clone));
    let since = all[1]["at"].as_str().unwrap().replace(':', "%3A");
    assert_eq!(entries(&stack, &tenant, &format!("?since={since}")).await, all[..2]);

    let call = stack.dynamodb().query().table_name(setting("AUDIT_TABLE")).key_condition_expression("tenant = :t");
    let items = call.expression_attribute_values(":t", AttributeValue::S(tenant.to_string())).send().await.unwrap();
    assert_eq!(items.items().len(), 10, "each entry has two items");
    let year = unix_now() + Duration::from_hours(24 * 365);
    for item in items.items() {
        let expires_at: u64 = item["expiresAt"].as_n().unwrap().parse().unwrap();
        assert!((year.as_secs() - 600..=year.as_secs()).contains(&expires_at), "AuditRetentionDays is a year");
    }
}

#[tokio::test]
async fn no_function_may_rewrite_the_audit_log() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    stack.register_with(&tenant, &json!({"url": "https://hooks.example/in"})).await;
    let call = stack.dynamodb().query().table_name(setting("AUDIT_TABLE")).key_condition_expression("tenant = :t");
    let items = call.expression_attribute_values(":t", AttributeValue::S(tenant.to_string())).send().await.unwrap();
    let entry = items.items()[0]["entry"].clone();
    let tenant = AttributeValue::S(tenant.to_string());
    for role in [
        "DELIVER_ROLE",
        "FANOUT_ROLE",
        "INGEST_ROLE",
        "MANAGE_ROLE",
        "PORTAL_ROLE",
        "PUBLICKEYS_ROLE",
        "RELAY_ROLE",
        "SWEEP_ROLE",
    ] {
        let aws = stack.assume_role(&setting(role)).await;
        let (dynamodb, table) = (aws_sdk_dynamodb::Client::new(&aws), setting("AUDIT_TABLE"));
        let code = |error: Option<&str>| error.unwrap_or_default().to_owned();
        let put = dynamodb.put_item().table_name(&table).item("tenant", tenant.clone()).item("entry", entry.clone());
        let put = put.send().await.err().map(|error| code(aws_sdk_dynamodb::error::ProvideErrorMetadata::code(&error)));
        let update =
            dynamodb.update_item().table_name(&table).key("tenant", tenant.clone()).key("entry", entry.clone());
        let update = update.update_expression("SET action = requestId").send().await;
        let update = update.err().map(|error| code(aws_sdk_dynamodb::error::ProvideErrorMetadata::code(&error)));
        let delete =
            dynamodb.delete_item().table_name(&table).key("tenant", tenant.clone()).key("entry", entry.clone());
        let delete = delete.send().await.err();
        let delete = delete.map(|error| code(aws_sdk_dynamodb::error::ProvideErrorMetadata::code(&error)));
        for (what, refused) in [("PutItem", put), ("UpdateItem", update), ("DeleteItem", delete)] {
            let refused = refused.unwrap_or_default();
            assert!(refused.starts_with("AccessDenied"), "{role}: {what} of an entry was answered with `{refused}`");
        }
    }
}

#[tokio::test]
async fn an_operator_of_one_tenant_sees_neither_log_nor_notices_of_another() {
    let stack = LocalStack::from_env().await;
    let (own, other) = (tenant(), tenant());
    stack.register_with(&other, &json!({"url": "https://hooks.example/in"})).await;
    let operator = stack.operator_of(&own).await;
    let url = json!({"url": "https://hooks.example/n"});
    for (method, path, body) in
        [("GET", "audit", None), ("PUT", "notices", Some(&url)), ("GET", "notices", None), ("DELETE", "notices", None)]
    {
        let ask = async |tenant: &TenantId| {
            stack.manage_as(&operator, method, &format!("/v1/tenants/{tenant}/{path}"), &[], body).await
        };
        assert_eq!(ask(&other).await.status, 403, "{method} {path}");
        assert!((200..300).contains(&ask(&own).await.status), "{method} {path}");
    }
    assert_eq!(entries(&stack, &other, "").await.len(), 1, "the registration");
    let made = stack.manage("POST", &endpoints_path(&own), Some(&url)).await;
    let cursor = entries(&stack, &other, "").await[0]["id"].as_str().unwrap().to_owned();
    let page = stack.manage_as(&operator, "GET", &format!("/v1/tenants/{own}/audit?cursor={cursor}"), &[], None).await;
    assert_eq!((made.status, page.status), (201, 200));
    assert!(!page.text.contains(other.as_str()), "a cursor of another tenant shows nothing of it");
}
