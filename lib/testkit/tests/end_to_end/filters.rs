//! Endpoints choose events by their content.

use serde_json::{Value, json};
use signpost_core::endpoint::{EndpointId, TEST_TYPE};
use signpost_core::event::TenantId;
use signpost_testkit::build::{event, event_id, tenant};
use signpost_testkit::local_stack::{LocalStack, endpoint_path};
use signpost_testkit::receiver::Receiver;

/// Sends an event with this total. Returns its id, and the endpoints that it goes to.
async fn invoice(stack: &LocalStack, tenant: &TenantId, total: &str) -> (String, Vec<String>) {
    let id = event_id();
    let mut sent = event(tenant, &id, &json!({}));
    sent["data"] = json!({"total": "TOTAL", "lines": [{"sku": "a"}]});
    stack.send_events([sent.to_string().replace(r#""TOTAL""#, total)]).await;
    let source = sent["source"].as_str().unwrap().to_owned();
    let endpoints = stack.wait_for_event(tenant, &id, &source).await;
    (id, endpoints)
}

async fn patch(stack: &LocalStack, tenant: &TenantId, id: &EndpointId, filter: Value) -> Value {
    let patched = stack.manage("PATCH", &endpoint_path(tenant, id), Some(&json!({ "filter": filter }))).await;
    assert_eq!(patched.status, 200, "{}", patched.text);
    patched.json()["filter"].clone()
}

#[tokio::test]
async fn an_endpoint_gets_the_events_whose_content_fits_its_filter_and_no_others() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let (choosy, other) = (Receiver::start(|_| 204).await, Receiver::start(|_| 204).await);
    let filter = json!({"data": {"total": [{"numeric": [">", 100]}], "lines": {"sku": [{"prefix": "a"}]}}});
    let choosy_id = stack.register_with(&tenant, &json!({"url": choosy.url, "filter": filter})).await.id;
    let (small, to) = invoice(&stack, &tenant, "100.00").await;
    assert!(to.is_empty(), "recorded as an event that no endpoint wants: {to:?}");
    let other_id = stack.register_with(&tenant, &json!({"url": other.url, "filter": null})).await.id;
    let (_, to) = invoice(&stack, &tenant, "7").await;
    assert_eq!(to, [other_id.as_str()]);
    let (big, mut to) = invoice(&stack, &tenant, "12345678901234567890.50").await;
    to.sort();
    let mut both = vec![choosy_id.to_string(), other_id.to_string()];
    both.sort();
    assert_eq!(to, both);
    assert_eq!(choosy.wait_for(1).await[0].event_id(), big);

    // The very next event follows a change. A patch is merged.
    let merged = patch(&stack, &tenant, &choosy_id, json!({"data": {"total": null}})).await;
    assert_eq!(merged, json!({"data": {"lines": {"sku": [{"prefix": "a"}]}}}));
    let (_, to) = invoice(&stack, &tenant, "7").await;
    assert_eq!(to.len(), 2);
    choosy.wait_for(2).await;
    patch(&stack, &tenant, &choosy_id, json!({"data": {"lines": {"sku": ["b"]}}})).await;

    // A replay asks the filter again, unless it names the endpoint.
    let replay = format!("/v1/tenants/{tenant}/events/{small}/replay");
    let asked = stack.manage("POST", &replay, Some(&json!({"dryRun": true}))).await;
    assert_eq!((asked.status, asked.json()), (200, json!({"endpoints": [other_id.as_str()]})));
    let named = stack.manage("POST", &replay, Some(&json!({"endpoint": choosy_id.as_str()}))).await;
    assert_eq!((named.status, named.json()), (202, json!({"endpoints": [choosy_id.as_str()]})));
    assert_eq!(choosy.wait_for(3).await[2].event_id(), small);

    // A test reaches its endpoint with any filter.
    let test = stack.manage("POST", &format!("{}/test", endpoint_path(&tenant, &choosy_id)), None).await;
    let test = test.json()["event"].as_str().unwrap().to_owned();
    let last = choosy.wait_for(4).await.remove(3);
    assert_eq!((last.event_id(), last.header("ce-type")), (&*test, TEST_TYPE));
}

#[tokio::test]
async fn a_filter_that_can_never_match_is_refused() {
    let (stack, tenant, receiver) = (LocalStack::from_env().await, tenant(), Receiver::start(|_| 204).await);
    let types = json!([{"type": "operation", "statuses": ["APPROVED"]}]);
    let settings = |filter: Value| json!({"url": receiver.url, "types": types, "filter": filter});
    let path = format!("/v1/tenants/{tenant}/endpoints");
    for (filter, pointer) in [
        (json!({"data": {"status": ["FAILED"]}}), "/filter/data/status"),
        (json!({"data": {"operationId": [{"like": "x"}]}}), "/filter/data/operationId/0/like"),
        (json!({"colour": ["red"]}), "/filter/colour"),
    ] {
        let refused = stack.manage("POST", &path, Some(&settings(filter.clone()))).await;
        assert_eq!(refused.status, 400, "{filter}");
        assert_eq!(refused.json()["errors"][0]["pointer"], pointer, "{filter}");
    }
    let created = stack.manage("POST", &path, Some(&settings(json!({"data": {"status": ["APPROVED"]}})))).await;
    assert_eq!(created.status, 201);
    let id = EndpointId::parse(created.json()["id"].as_str().unwrap()).unwrap();
    let narrowed = json!({"types": [{"type": "session"}], "filter": {"type": ["operation"]}});
    let refused = stack.manage("PATCH", &endpoint_path(&tenant, &id), Some(&narrowed)).await;
    let pointers: Vec<_> =
        refused.json()["errors"].as_array().unwrap().iter().map(|one| one["pointer"].clone()).collect();
    assert_eq!(
        (refused.status, pointers),
        (400, vec![json!("/filter/data/status"), json!("/filter/type")]),
        "both filters"
    );

    let notices = json!({"url": receiver.url, "filter": {"type": ["signpost.endpoint-disabled"]}});
    let refused = stack.manage("PUT", &format!("/v1/tenants/{tenant}/notices"), Some(&notices)).await;
    assert_eq!((refused.status, &refused.json()["errors"][0]["pointer"]), (400, &json!("/filter")));
}

#[tokio::test]
async fn an_operator_tries_a_filter_and_learns_where_an_event_differs() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let path = format!("/v1/tenants/{tenant}/filters/test");
    let tried = event(&tenant, "invoice-1", &json!({"total": 7, "currency": "EUR"}));
    let ask = async |filter: Value| stack.manage("POST", &path, Some(&json!({"filter": filter, "event": tried}))).await;
    let fits = ask(json!({"data": {"total": [7.0], "currency": ["EUR", "USD"]}})).await;
    assert_eq!((fits.status, fits.header("cache-control")), (200, "no-store"));
    assert_eq!(fits.json(), json!({"matches": true, "tooCostly": false, "mismatches": []}));
    let differs = ask(json!({"data": {"$or": [{"total": [{"numeric": [">", 100]}]}, {"vip": [true]}]}})).await;
    let mismatch = |at: &str, place: usize, expected: &str, found: &str| json!({"pointer": format!("/data/{at}"), "filterPointer": format!("/data/$or/{place}/{at}"), "expected": expected, "found": found});
    let mismatches = [mismatch("total", 0, "a number > 100", "7"), mismatch("vip", 1, "true", "nothing")];
    assert_eq!(differs.json(), json!({"matches": false, "tooCostly": false, "mismatches": mismatches}));

    let foreign =
        json!({"filter": {"type": []}, "event": event(&TenantId::parse("initech").unwrap(), "1", &json!({}))});
    let refused = stack.manage("POST", &path, Some(&foreign)).await;
    let pointers: Vec<_> =
        refused.json()["errors"].as_array().unwrap().iter().map(|one| one["pointer"].clone()).collect();
    assert_eq!((refused.status, pointers), (400, vec![json!("/filter/type"), json!("/event/tenant")]));
    let audit = stack.manage("GET", &format!("/v1/tenants/{tenant}/audit"), None).await;
    assert_eq!(audit.json()["entries"], json!([]), "nothing has changed");
}
