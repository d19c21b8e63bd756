//! Management of endpoints by operators.

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use aws_lambda_events::encodings::Body;
use futures_util::future::join_all;
use serde_json::{Value, json};
use signpost_core::endpoint::EndpointId;
use signpost_core::event::TenantId;
use signpost_testkit::aws_proxy::AwsProxy;
use signpost_testkit::build::{event, event_id, tenant};
use signpost_testkit::local_stack::{Answer, LocalStack, endpoint_path, endpoints_path, root};
use signpost_testkit::receiver::Receiver;

use crate::handlers::lookup;

const URL: &str = "https://hooks.example/in";

async fn change(stack: &LocalStack, tenant: &TenantId, id: &EndpointId, if_match: &str, patch: &Value) -> Answer {
    let headers = [("if-match", if_match)];
    stack.manage_as(&root(), "PATCH", &endpoint_path(tenant, id), &headers, Some(patch)).await
}

#[tokio::test]
async fn an_endpoint_is_made_seen_changed_and_removed() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let settings =
        json!({"url": URL, "auth": {"kind": "basic", "secret": "user:hunter2"}, "signatures": ["standard-webhooks"]});

    let made = stack.manage("POST", &endpoints_path(&tenant), Some(&settings)).await;
    assert_eq!((made.status, made.header("etag"), made.header("cache-control")), (201, "\"1\"", "no-store"));
    let body = made.json();
    let id = EndpointId::parse(body["id"].as_str().unwrap()).unwrap();
    assert_eq!(made.header("location"), endpoint_path(&tenant, &id));
    assert!(body["signingSecret"].as_str().unwrap().starts_with("whsec_"));

    let seen = stack.manage("GET", &endpoint_path(&tenant, &id), None).await;
    let mut expected = body.clone();
    expected.as_object_mut().unwrap().remove("signingSecret");
    assert_eq!(seen.json(), expected, "the same, without the values that are shown once");
    assert_eq!(seen.json()["auth"], json!({"kind": "basic"}));
    assert!(!seen.text.contains("hunter2") && !seen.text.contains("whsec_"), "{}", seen.text);
    let unchanged = [("if-none-match", "\"1\"")];
    let again = stack.manage_as(&root(), "GET", &endpoint_path(&tenant, &id), &unchanged, None).await;
    assert_eq!((again.status, &*again.text), (304, ""));

    let changed = change(&stack, &tenant, &id, "\"1\"", &json!({"description": "new", "timeoutSeconds": 3})).await;
    assert_eq!((changed.status, changed.header("etag")), (200, "\"2\""));
    assert_eq!((&changed.json()["description"], &changed.json()["timeoutSeconds"]), (&json!("new"), &json!(3)));
    let late = change(&stack, &tenant, &id, "\"1\"", &json!({"description": "late"})).await;
    assert_eq!((late.status, late.header("content-type")), (412, "application/problem+json"));

    let stale = [("if-match", "\"1\"")];
    let refused = stack.manage_as(&root(), "DELETE", &endpoint_path(&tenant, &id), &stale, None).await;
    assert_eq!(refused.status, 412);
    stack.remove(&tenant, &id).await;
    for (method, path, body) in [
        ("GET", endpoint_path(&tenant, &id), None),
        ("DELETE", endpoint_path(&tenant, &id), None),
        ("PATCH", endpoint_path(&tenant, &id), Some(json!({}))),
        ("POST", format!("{}/rotate-secret", endpoint_path(&tenant, &id)), None),
        ("POST", format!("{}/test", endpoint_path(&tenant, &id)), None),
    ] {
        let gone = stack.manage(method, &path, body.as_ref()).await;
        assert_eq!((gone.status, gone.header("content-type")), (404, "application/problem+json"), "{method} {path}");
    }
}

#[tokio::test]
async fn endpoints_are_listed_page_by_page_and_by_tenant() {
    let (stack, tenant, other) = (LocalStack::from_env().await, tenant(), tenant());
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(stack.register_with(&tenant, &json!({"url": URL})).await.id.to_string());
    }
    stack.register_with(&other, &json!({"url": URL})).await;

    let mut listed = Vec::new();
    let mut path = format!("{}?limit=2", endpoints_path(&tenant));
    loop {
        let page = stack.manage("GET", &path, None).await;
        assert_eq!(page.status, 200);
        let endpoints = page.json()["endpoints"].as_array().unwrap().clone();
        assert!(endpoints.len() <= 2);
        listed.extend(endpoints.iter().map(|one| one["id"].as_str().unwrap().to_owned()));
        let Some(cursor) = page.json()["cursor"].as_str().map(str::to_owned) else { break };
        path = format!("{}?limit=2&cursor={cursor}", endpoints_path(&tenant));
    }
    made.sort_unstable();
    assert_eq!(listed, made);

    for query in ["limit=0", "limit=101", "limit=x", "cursor=x"] {
        let refused = stack.manage("GET", &format!("{}?{query}", endpoints_path(&tenant)), None).await;
        assert_eq!((refused.status, refused.json()["errors"].as_array().unwrap().len()), (400, 1), "{query}");
    }
}

#[tokio::test]
async fn all_faults_of_settings_come_at_once_and_nothing_is_written() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let settings = json!({"url": "ftp://a", "method": "DELETE", "auth": {"kind": "basic"}, "unknown": 1});
    let refused = stack.manage("POST", &endpoints_path(&tenant), Some(&settings)).await;
    assert_eq!((refused.status, refused.header("content-type")), (400, "application/problem+json"));
    let problem = refused.json();
    let pointers: Vec<_> = problem["errors"].as_array().unwrap().iter().map(|fault| &fault["pointer"]).collect();
    assert_eq!(pointers, ["/url", "/method", "/auth/secret", "/unknown"]);
    let listed = stack.manage("GET", &endpoints_path(&tenant), None).await.json();
    assert_eq!(listed, json!({"endpoints": []}));
}

#[tokio::test]
async fn changes_at_the_same_time_all_count() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let id = stack.register_with(&tenant, &json!({"url": URL})).await.id;
    let patches = ["a", "b", "c"].map(|name| json!({"headers": {name: "1"}}));
    let path = endpoint_path(&tenant, &id);
    for answer in join_all(patches.iter().map(|patch| stack.manage("PATCH", &path, Some(patch)))).await {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let seen = stack.manage("GET", &path, None).await;
    assert_eq!(seen.json()["headers"], json!({"a": "1", "b": "1", "c": "1"}));
    assert_eq!(seen.header("etag"), "\"4\"");
}

#[tokio::test]
async fn a_test_event_takes_the_whole_way_to_that_endpoint_only() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let (tried, neighbour) = (Receiver::start(|_| 204).await, Receiver::start(|_| 204).await);
    let chosen = json!({"url": tried.url, "types": [{"type": "operation"}], "headers": {"X-Team": "payments"}});
    let id = stack.register_with(&tenant, &chosen).await.id;
    stack.register_with(&tenant, &json!({"url": neighbour.url})).await;

    let answer = stack.manage("POST", &format!("{}/test", endpoint_path(&tenant, &id)), None).await;

    assert_eq!(answer.status, 202);
    let event_id = answer.json()["event"].as_str().unwrap().to_owned();
    let request = &tried.wait_for(1).await[0];
    assert_eq!(request.event_id(), event_id);
    assert_eq!(request.header("x-team"), "payments");
    assert!(request.header("jws-signature").contains(".."), "signed like any other event");
    assert_eq!(serde_json::from_slice::<Value>(&request.body).unwrap()["endpoint"], id.as_str());
    assert_eq!(stack.wait_for_event(&tenant, &event_id, "/signpost").await, [id.as_str()]);
    assert!(neighbour.so_far().is_empty());
}

#[tokio::test]
async fn a_disabled_endpoint_is_not_tried_out_and_enabling_is_the_way_back() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let receiver = Receiver::start(|_| 204).await;
    let id = stack.register_with(&tenant, &json!({"url": receiver.url})).await.id;
    let ask = async |what: &str| stack.manage("POST", &format!("{}/{what}", endpoint_path(&tenant, &id)), None).await;

    let disabled = ask("disable").await;
    assert_eq!((disabled.status, &disabled.json()["enabled"], disabled.header("etag")), (200, &json!(false), "\"2\""));
    assert_eq!(ask("disable").await.header("etag"), "\"2\"", "nothing to change");
    assert_eq!(ask("test").await.status, 409);
    let enabled = ask("enable").await;
    assert_eq!((enabled.status, &enabled.json()["enabled"]), (200, &json!(true)));
    assert_eq!(ask("test").await.status, 202);
    receiver.wait_for(1).await;
}

#[tokio::test]
async fn an_endpoint_that_changes_gets_the_next_events_the_new_way() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let (before, after) = (Receiver::start(|_| 204).await, Receiver::start(|_| 204).await);
    let id = stack.register_with(&tenant, &json!({"url": before.url})).await.id;
    stack.send_events([event(&tenant, &event_id(), &json!({})).to_string()]).await;
    before.wait_for(1).await;

    let patch = json!({"url": after.url, "auth": {"kind": "apiKey", "secret": "x-key:abc"}, "method": "PUT"});
    assert_eq!(stack.manage("PATCH", &endpoint_path(&tenant, &id), Some(&patch)).await.status, 200);

    let mut pace = tokio::time::interval(std::time::Duration::from_secs(1));
    while after.so_far().is_empty() {
        pace.tick().await; // The old endpoint may be cached for ten seconds.
        stack.send_events([event(&tenant, &event_id(), &json!({})).to_string()]).await;
    }
    let request = &after.so_far()[0];
    assert_eq!((request.method.as_str(), request.header("x-key")), ("PUT", "abc"));
}

/// AWS executes a call, but its answer is lost, so the SDK calls again.
#[tokio::test]
async fn a_write_whose_answer_is_lost_is_done_once_and_reported() {
    let (stack, tenant, proxy) = (LocalStack::from_env().await, tenant(), AwsProxy::start().await);
    let app = manage::App::new(&proxy.aws().await, manage::Config::from_lookup(lookup).unwrap());
    let ask = async |route: &str, endpoint: &str, if_match: &str, body: Option<Value>| {
        let mut request: ApiGatewayV2httpRequest =
            serde_json::from_str(include_str!("../../../../events/manage-create.json")).unwrap();
        request.route_key = Some(route.to_owned());
        request.path_parameters.insert("tenant".into(), tenant.to_string());
        request.path_parameters.insert("endpoint".into(), endpoint.to_owned());
        request.headers.insert("if-match", if_match.parse().unwrap());
        request.body = body.map(|body| body.to_string());
        let response = manage::handle(request, &app).await;
        let Some(Body::Text(text)) = response.body else { panic!("no text") };
        (response.status_code, serde_json::from_str::<Value>(&text).unwrap())
    };

    proxy.lose_answer_of("PutItem");
    let (status, made) = ask("POST /v1/tenants/{tenant}/endpoints", "", "*", Some(json!({"url": URL}))).await;
    assert_eq!(status, 201, "{made}");
    let listed = stack.manage("GET", &endpoints_path(&tenant), None).await.json();
    assert_eq!(listed["endpoints"].as_array().unwrap().len(), 1);

    let (rotate, id) = ("POST /v1/tenants/{tenant}/endpoints/{endpoint}/rotate-secret", made["id"].as_str().unwrap());
    for if_match in ["\"1\"", "*"] {
        proxy.lose_answer_of("PutItem");
        let (status, rotated) = ask(rotate, id, if_match, None).await;
        assert_eq!(status, 200, "{rotated}");
        let expected = if if_match == "*" { 3 } else { 2 };
        assert_eq!(rotated["signingSecrets"].as_array().unwrap().len(), expected, "one secret more, which is shown");
        assert!(rotated["signingSecret"].is_string());
    }
}

#[tokio::test]
async fn a_change_that_changes_nothing_writes_nothing() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let settings = json!({"url": URL, "description": "d", "auth": {"kind": "apiKey", "secret": "abc"}});
    let id = stack.register_with(&tenant, &settings).await.id;
    for patch in [json!({}), json!({"description": "d", "timeoutSeconds": 10})] {
        let answer = stack.manage("PATCH", &endpoint_path(&tenant, &id), Some(&patch)).await;
        assert_eq!((answer.status, answer.header("etag")), (200, "\"1\""), "{patch}");
    }
}

#[tokio::test]
async fn an_endpoint_that_says_nothing_of_retries_is_tried_for_more_than_a_day() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let made = stack.manage("POST", &endpoints_path(&tenant), Some(&json!({"url": "https://hooks.example/in"}))).await;
    let schedule = json!({"schedule": [5, 300, 1_800, 7_200, 18_000, 36_000, 36_000]});
    assert_eq!((made.status, &made.json()["retry"]), (201, &schedule));
    let path = endpoint_path(&tenant, &EndpointId::parse(made.json()["id"].as_str().unwrap()).unwrap());
    let fewer = stack.manage("PATCH", &path, Some(&json!({"retry": {"maxRetries": 3}}))).await.json();
    assert_eq!(fewer["retry"], json!({"maxRetries": 3, "intervalSeconds": 5, "backoff": "fixed"}));
    let again = stack.manage("PATCH", &path, Some(&json!({"retry": null}))).await.json();
    assert_eq!(again["retry"], schedule);
}
