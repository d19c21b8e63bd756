//! The states of subjects, for clients that poll.

use std::time::{Duration, Instant};

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use aws_lambda_events::sqs::SqsEvent;
use futures_util::future::join_all;
use serde_json::{Value, json};
use signpost_core::event::TenantId;
use signpost_core::quota::MOST_WAITING;
use signpost_io::tables::quotas::Quotas;
use signpost_testkit::aws_proxy::AwsProxy;
use signpost_testkit::build::{event_id, tenant};
use signpost_testkit::examples::EXAMPLES;
use signpost_testkit::local_stack::{Answer, LocalStack, root, setting, until};
use signpost_testkit::receiver::Receiver;

use crate::handlers::lookup;

fn path(tenant: &TenantId, kind: &str, subject: &str) -> String {
    format!("/v1/tenants/{tenant}/status/{kind}/{subject}")
}

async fn ask(stack: &LocalStack, path: &str, headers: &[(&str, &str)]) -> Answer {
    stack.manage_as(&root(), "GET", path, headers, None).await
}

/// Waits until the state of a subject is known, as a polling client does.
async fn told(stack: &LocalStack, path: &str) -> Answer {
    let answer = ask(stack, path, &[("prefer", "wait=20")]).await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, "no-store"), "{answer:?}");
    answer
}

/// Waits until the history has `count` states.
async fn told_of(stack: &LocalStack, path: &str, count: usize) -> Value {
    until(&format!("{count} states at {path}"), async || {
        let answer = ask(stack, path, &[]).await;
        let is_all = answer.status == 200 && answer.json()["history"].as_array().unwrap().len() >= count;
        is_all.then(|| answer.json())
    })
    .await
}

/// Builds an event about a subject, of a type that belongs to no family.
fn order(tenant: &TenantId, id: &str, time: Option<&str>, status: &str) -> String {
    json!({
        "specversion": "1.0", "id": id, "source": "/core", "type": "order", "tenant": tenant.as_str(), "time": time,
        "subject": "order-1", "data": {"status": status},
    })
    .to_string()
}

async fn post(stack: &LocalStack, event: String) {
    let answer = stack.post_events("application/cloudevents+json", event).await;
    assert_eq!(answer.status, 202, "{answer:?}");
}

fn events_of(status: &Value) -> Vec<&str> {
    status["history"].as_array().unwrap().iter().map(|state| state["event"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_subject_of_each_vendors_payload_can_be_polled() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    // The example, its type, the field that names its subject, and its status.
    let cases = [
        ("operation", "operation", "operationId", "APPROVED"),
        ("activation", "activation", "activationId", "BLOCKED"),
        ("workflow", "workflow", "workflowId", "COMPLETED"),
        ("token-request-redirect", "token-request", "request-id", "completed"),
        ("session", "session", "sessionId", "InProgress"),
        ("payment", "payment", "paymentId", "Completed"),
        ("transaction", "transaction", "id", "approved"),
    ];
    for (name, kind, field, status) in cases {
        let example = EXAMPLES.into_iter().find(|example| example.name == name).unwrap();
        let event: Value = serde_json::from_str(&example.event(tenant.as_str())).unwrap();
        post(&stack, event.to_string()).await;

        let told = told(&stack, &path(&tenant, kind, event["data"][field].as_str().unwrap())).await.json();

        let state =
            [("status", status), ("event", &*example.id()), ("source", "/core"), ("time", "2026-01-31T10:00:00Z")];
        for (member, expected) in state {
            assert_eq!(told[member], expected, "{name}: {told}");
            assert_eq!(told["history"][0][member], expected, "{name}: {told}");
        }
        assert_eq!((&told["data"], &told["type"]), (&event["data"], &json!(kind)), "{name}");
    }
}

#[tokio::test]
async fn states_are_in_the_order_of_their_time_and_then_of_their_arrival() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let path = path(&tenant, "order", "order-1");
    let (nine, ten) = (Some("2026-01-31T09:00:00Z"), Some("2026-01-31T10:00:00Z"));
    post(&stack, order(&tenant, "shipped", ten, "shipped")).await;
    let first = told(&stack, &path).await;
    let tag = first.header("etag").to_owned();

    // It arrives later than its time says.
    post(&stack, order(&tenant, "placed", nine, "placed")).await;
    let late = told_of(&stack, &path, 2).await;
    assert_eq!((&late["status"], events_of(&late)), (&json!("shipped"), vec!["shipped", "placed"]));
    assert_eq!(late["history"][1]["time"], "2026-01-31T09:00:00Z");
    let answer = ask(&stack, &path, &[("if-none-match", &tag)]).await;
    assert_eq!((answer.status, answer.header("etag"), &*answer.text), (304, &*tag, ""), "nothing has changed");

    // First at the same time, then later.
    post(&stack, order(&tenant, "lost", ten, "lost")).await;
    let equal = told_of(&stack, &path, 3).await;
    assert_eq!((&equal["status"], events_of(&equal)), (&json!("lost"), vec!["lost", "shipped", "placed"]));

    // Without a time, the time of arrival counts.
    post(&stack, order(&tenant, "found", None, "found")).await;
    let found = told_of(&stack, &path, 4).await;
    assert_eq!((&found["status"], events_of(&found)), (&json!("found"), vec!["found", "lost", "shipped", "placed"]));
    assert_eq!(ask(&stack, &path, &[("if-none-match", &tag)]).await.status, 200, "the state has changed");
}

#[tokio::test]
async fn neither_a_repetition_nor_a_conflict_is_another_state() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let path = path(&tenant, "order", "order-1");
    post(&stack, order(&tenant, "placed", None, "placed")).await;
    let before = told(&stack, &path).await.json();

    post(&stack, order(&tenant, "placed", Some("2036-01-31T10:00:00Z"), "placed")).await;
    post(&stack, order(&tenant, "placed", None, "forged")).await;
    let is_it = |body: &str| body.contains("forged") && body.contains(tenant.as_str());
    stack.wait_for_message("REJECTED_QUEUE_URL", is_it).await;

    assert_eq!(ask(&stack, &path, &[]).await.json(), before);
}

#[tokio::test]
async fn a_payload_is_shown_as_it_was_spelled() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let data = r#"{"z":10.50,"a":12345678901234567890.5,"status":"paid"}"#;
    let event = format!(
        r#"{{"specversion":"1.0","id":"1","source":"/core","type":"invoice","tenant":"{tenant}","subject":"i-1","data":{data}}}"#
    );
    post(&stack, event).await;
    let answer = told(&stack, &path(&tenant, "invoice", "i-1")).await;
    assert!(answer.text.contains(&format!(r#""data":{data}"#)), "{}", answer.text);
}

#[tokio::test]
async fn a_poller_that_waits_is_answered_as_soon_as_the_state_changes() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let path = path(&tenant, "order", "order-1");
    let started = Instant::now();
    let unknown = ask(&stack, &path, &[("prefer", "wait=1")]).await;
    assert_eq!((unknown.status, unknown.header("preference-applied")), (404, "wait=1"), "{unknown:?}");
    assert!(started.elapsed() >= Duration::from_millis(500), "the request waited");

    post(&stack, order(&tenant, "placed", None, "placed")).await;
    let known = told(&stack, &path).await;
    assert_eq!((known.header("preference-applied"), &known.json()["status"]), ("wait=20", &json!("placed")));
    let tag = known.header("etag").to_owned();
    let unchanged = ask(&stack, &path, &[("if-none-match", &tag), ("prefer", "respond-async, wait=1")]).await;
    assert_eq!((unchanged.status, unchanged.header("preference-applied")), (304, "wait=1"), "{unchanged:?}");
    assert_eq!(unchanged.header("etag"), tag);

    let headers = [("if-none-match", &*tag), ("prefer", "wait=3600")];
    let shipped = order(&tenant, "shipped", None, "shipped"); // If it arrives first, the answer comes at once.
    let (changed, ()) = futures_util::future::join(ask(&stack, &path, &headers), post(&stack, shipped)).await;
    assert_eq!((changed.status, &changed.json()["status"]), (200, &json!("shipped")), "{changed:?}");
    assert_eq!(changed.header("preference-applied"), "wait=20", "at most as long as API Gateway waits");
}

/// The function runs in this process, because the local stack starts a process for each request that waits.
#[tokio::test]
async fn no_more_than_ten_requests_of_a_tenant_wait_at_once() {
    let (stack, busy, other) = (LocalStack::from_env().await, tenant(), tenant());
    let app = manage::App::new(&stack.aws, manage::Config::from_lookup(lookup).unwrap());
    let ask = async |tenant: &TenantId, wait: &str| {
        let file = include_str!("../../../../events/manage-status.json").replace("acme", tenant.as_str());
        let mut request: ApiGatewayV2httpRequest = serde_json::from_str(&file).unwrap();
        request.headers.insert("prefer", wait.parse().unwrap());
        let answer = tokio::time::timeout(Duration::from_secs(15), manage::handle(request, &app)).await;
        let answer = answer.expect("an answer before the wait of 20 seconds is over");
        let applied = answer.headers.get("preference-applied").map(|value| value.to_str().unwrap().to_owned());
        (answer.status_code, applied)
    };
    let quotas = Quotas::new(stack.dynamodb(), setting("PARKING_TABLE"));
    let long = Duration::from_mins(5);
    let at_once = join_all((0..30).map(|_| quotas.wait(&busy, long))).await;
    let mut places: Vec<_> = at_once.into_iter().filter_map(Result::unwrap).collect();
    while let Some(place) = quotas.wait(&busy, long).await.unwrap() {
        places.push(place);
    }
    assert_eq!(places.len(), MOST_WAITING);

    assert_eq!(ask(&busy, "wait=20").await, (404, None), "one too many is answered at once");
    assert_eq!(ask(&other, "wait=1").await, (404, Some("wait=1".into())), "other tenants are not affected");
    quotas.leave(places.pop().unwrap()).await.unwrap();
    for _ in 0..2 {
        assert_eq!(ask(&busy, "wait=1").await, (404, Some("wait=1".into())), "each gives its place back");
    }
    assert!(quotas.wait(&busy, Duration::ZERO).await.unwrap().is_some());
    assert!(quotas.wait(&busy, long).await.unwrap().is_some(), "a place whose time is over is free");
}

#[tokio::test]
async fn a_poller_sees_the_state_of_the_webhook_that_it_got() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let receiver = Receiver::start(|_| 204).await;
    stack.register_with(&tenant, &json!({"url": receiver.url})).await;
    for count in 1..=5 {
        post(&stack, order(&tenant, &format!("e-{count}"), None, &format!("step {count}"))).await;
        receiver.wait_for(count).await;
        let answer = ask(&stack, &path(&tenant, "order", "order-1"), &[]).await;
        assert_eq!(answer.json()["status"], format!("step {count}"));
    }
}

#[tokio::test]
async fn a_subject_may_hold_anything_that_a_path_can() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    // The subject, and its spelling in the path.
    let cases = [
        ("a/b", "a%2Fb"),
        ("c/d", "c/d"),
        ("e f", "e%20f"),
        ("100%", "100%25"),
        ("%41", "%2541"),
        ("1+1=2", "1+1=2"),
        ("ü#1", "%C3%BC%231"),
        (r#"{"k":"v"}"#, "%7B%22k%22%3A%22v%22%7D"),
        ("states", "states"),
    ];
    for (index, (subject, spelled)) in cases.into_iter().enumerate() {
        let event = json!({
            "specversion": "1.0", "id": format!("e-{index}"), "source": "/core", "type": "com.acme order",
            "tenant": tenant.as_str(), "subject": subject, "data": {},
        });
        post(&stack, event.to_string()).await;
        let told = told(&stack, &path(&tenant, "com.acme%20order", spelled)).await.json();
        assert_eq!((&told["subject"], &told["event"]), (&json!(subject), &json!(format!("e-{index}"))));
        assert_eq!(told["status"], Value::Null, "the payload has no status");
    }
    for unknown in ["a", "a/", "a/b/", "A/b", "41"] {
        assert_eq!(ask(&stack, &path(&tenant, "com.acme%20order", unknown), &[]).await.status, 404, "{unknown}");
    }
    assert_eq!(ask(&stack, &path(&tenant, "com.acme", "a/b"), &[]).await.status, 404, "another type");
}

/// API Gateway decodes `%2F`, so the path does not show where the type ends.
#[tokio::test]
async fn no_subject_is_answered_with_the_state_of_another_that_its_path_can_mean() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let event = |id: &str, kind: &str, subject: &str| {
        json!({"specversion": "1.0", "id": id, "source": "/core", "type": kind, "tenant": tenant.as_str(),
            "subject": subject, "data": {}})
        .to_string()
    };
    post(&stack, event("e-1", "a", "b/c")).await;
    assert_eq!(told(&stack, &path(&tenant, "a", "b/c")).await.json()["event"], "e-1", "no other subject matches");
    post(&stack, event("e-2", "a/b", "c")).await;
    let certain = |kind: &str| format!("{}?type={kind}", path(&tenant, "a%2Fb", "c"));
    assert_eq!(told(&stack, &certain("a%2Fb")).await.json()["event"], "e-2");

    let refused = ask(&stack, &path(&tenant, "a%2Fb", "c"), &[]).await;
    assert_eq!(refused.status, 409, "both subjects exist");
    assert!(refused.text.contains("such as `a/b`"), "{}", refused.text);
    assert_eq!(ask(&stack, &certain("a"), &[]).await.json()["event"], "e-1");
    assert_eq!(ask(&stack, &certain("a%2Fb%2Fc"), &[]).await.status, 404, "the path leaves no subject");
    assert_eq!(ask(&stack, &certain("b"), &[]).await.status, 404, "the path has another type");
    let deep = "d/".repeat(20);
    assert_eq!(ask(&stack, &path(&tenant, "a", &format!("{deep}e")), &[]).await.status, 409, "too many subjects");
    assert_eq!(ask(&stack, &format!("{}?type=a", path(&tenant, "a", &format!("{deep}e"))), &[]).await.status, 404);
}

/// Builds a payload of the account-information session service, one minute after the one with the number before.
fn callback(tenant: &TenantId, number: u32, stage: &str, status: &str, more: &Value) -> String {
    let mut data = json!({"sessionId": "s/1", "stage": stage, "status": status, "bankId": "75", "isSca": "true"});
    data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({
        "specversion": "1.0", "id": format!("callback-{number}"), "source": "/core", "type": "session",
        "tenant": tenant.as_str(), "time": format!("2026-01-31T10:{number:02}:00Z"), "subject": "customer/7", "data": data,
    })
    .to_string()
}

#[tokio::test]
async fn a_session_answers_its_three_questions_while_it_advances() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let history = path(&tenant, "session", "s/1");
    let query = format!("sessionId=s%2F1&tenant={tenant}");
    let [current, accounts, details] =
        ["status", "Accounts/status", "status/details"].map(|question| format!("/api/session/{question}?{query}"));
    for question in [&current, &accounts, &details] {
        assert_eq!(ask(&stack, question, &[]).await.status, 404, "{question}");
    }

    post(&stack, callback(&tenant, 1, "Authentication", "Finished", &json!({}))).await;
    told_of(&stack, &history, 1).await;
    let told = ask(&stack, &current, &[]).await;
    assert_eq!((told.status, told.header("cache-control")), (200, "no-store"));
    let answer = json!({
        "sessionId": "s/1", "stage": "Authentication", "status": "Finished", "time": "2026-01-31T10:01:00Z",
        "details": null, "bank": null, "bankId": "75", "isSca": "true", "sessionExternalId": null, "userId": null,
    });
    assert_eq!(told.json(), answer);
    let tag = told.header("etag");
    let again = ask(&stack, &current, &[("if-none-match", tag)]).await;
    assert_eq!((again.status, again.header("etag")), (304, tag));
    assert_eq!(ask(&stack, &accounts, &[]).await.status, 404, "no event was received for that stage");

    // The second arrives before the first, which is late.
    post(&stack, callback(&tenant, 3, "Accounts", "InProgress", &json!({"details": {"accounts": "2/3"}}))).await;
    told_of(&stack, &history, 2).await;
    post(&stack, callback(&tenant, 2, "Accounts", "Initiated", &json!({"details": {"accounts": "0/3"}}))).await;
    told_of(&stack, &history, 3).await;
    let told = ask(&stack, &current, &[("if-none-match", tag)]).await.json();
    assert_eq!((&told["stage"], &told["status"]), (&json!("Accounts"), &json!("InProgress")));
    assert_eq!(told["counters"], json!({"accounts": "2/3"}));
    assert_eq!(ask(&stack, &accounts, &[]).await.json(), told);

    let list = json!([{"accountNumber": "BE2345", "accountType": "CurrentAccount"}]);
    let page = json!({"accountId": "a-1", "transactionStatus": "Booked", "transactionsCount": 100});
    let callbacks = [
        callback(&tenant, 4, "Accounts", "Finished", &json!({"details": {"accounts": list}})),
        callback(&tenant, 5, "Transactions", "InProgress", &page),
    ];
    for one in callbacks {
        post(&stack, one).await;
    }
    told_of(&stack, &history, 5).await;
    let told = ask(&stack, &details, &[]).await.json();
    assert_eq!(
        (&told["stage"], &told["status"], &told["accounts"]),
        (&json!("Transactions"), &json!("InProgress"), &list)
    );
    let stages = told["stages"].as_array().unwrap().iter();
    let stages: Vec<_> = stages.map(|one| (one["stage"].as_str().unwrap(), one["status"].as_str().unwrap())).collect();
    assert_eq!(stages, [("Authentication", "Finished"), ("Accounts", "Finished"), ("Transactions", "InProgress")]);
    assert_eq!(told["stages"][1]["counters"], json!({"accounts": "2/3"}), "the last counters received");
    assert_eq!(told["transactions"][0]["transactionsCount"], 100);
    assert_eq!(ask(&stack, &accounts, &[]).await.json()["status"], "Finished");
    let by_subject = ask(&stack, &path(&tenant, "session", "customer/7"), &[]).await.json();
    assert_eq!(events_of(&by_subject).len(), 5, "the event also has its producer's own subject");
}

#[tokio::test]
async fn a_session_is_answered_whole_whose_callbacks_are_large() {
    const CALLBACKS: u32 = 6; // 200 KiB each, so more than one page of a query.
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let large = json!({"details": {"accounts": [{"accountNumber": "x".repeat(200 * 1024)}]}});
    let first = callback(&tenant, 0, "Authentication", "Finished", &large);
    let others = (1..CALLBACKS).map(|number| callback(&tenant, number, "Accounts", "InProgress", &large));
    stack.send_events([first].into_iter().chain(others)).await;
    told_of(&stack, &path(&tenant, "session", "s/1"), CALLBACKS as usize).await;

    let told = ask(&stack, &format!("/api/session/status/details?sessionId=s/1&tenant={tenant}"), &[]).await.json();

    let stages = told["stages"].as_array().unwrap().iter();
    let stages: Vec<_> =
        stages.map(|stage| (stage["stage"].as_str().unwrap(), stage["time"].as_str().unwrap())).collect();
    assert_eq!(stages, [("Authentication", "2026-01-31T10:00:00Z"), ("Accounts", "2026-01-31T10:05:00Z")]);
}

#[tokio::test]
async fn a_history_has_the_newest_fifty_states() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let time = |index: u32| format!("2026-01-31T10:{index:02}:00Z");
    let events = (0..55).map(|index| order(&tenant, &format!("e-{index}"), Some(&time(index)), "moved"));
    stack.send_events(events).await;
    let path = path(&tenant, "order", "order-1");
    let told = until("the first and the last of 55 states", async || {
        let told = told_of(&stack, &path, 50).await;
        let ends = [&told["history"][0]["event"], &told["history"][49]["event"]];
        (ends == [&json!("e-54"), &json!("e-5")]).then_some(told)
    })
    .await;
    assert_eq!(events_of(&told), (5..55).rev().map(|index| format!("e-{index}")).collect::<Vec<_>>());
    assert_eq!(told["time"], time(54));
}

#[tokio::test]
async fn the_session_examples_add_up_to_the_details_of_their_session() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let examples: Vec<_> = EXAMPLES.into_iter().filter(|example| example.name.starts_with("session")).collect();
    for example in &examples {
        post(&stack, example.event(tenant.as_str())).await;
    }
    let session = "0d5c2b7e-3f5a-4c1d-9b2e-7a6f5e4d3c2b";
    told_of(&stack, &path(&tenant, "session", session), examples.len()).await;

    let answer = ask(&stack, &format!("/api/session/status/details?sessionId={session}&tenant={tenant}"), &[]).await;

    let told = answer.json();
    assert_eq!(told["accounts"][0]["accountNumber"], "BE2345");
    assert_eq!(told["stages"][0]["counters"], json!({"accounts": "2/3", "transactions": "40/120"}));
    assert_eq!(told["transactions"][0]["transactionStatus"], "Booked");
    assert_eq!((&told["sessionExternalId"], &told["bank"]["id"]), (&json!("external 9"), &json!("bank-75")));
}

#[tokio::test]
async fn every_bad_parameter_of_a_session_query_is_reported() {
    let stack = LocalStack::from_env().await;
    for question in ["status", "Accounts/status", "status/details"] {
        let answer = ask(&stack, &format!("/api/session/{question}?sessionId=&tenant=ACME"), &[]).await;
        assert_eq!((answer.status, answer.header("content-type")), (400, "application/problem+json"), "{question}");
        let problem = answer.json();
        let pointers = problem["errors"].as_array().unwrap().iter().map(|fault| fault["pointer"].as_str().unwrap());
        assert_eq!(pointers.collect::<Vec<_>>(), ["?tenant", "?sessionId"], "{question}");
    }
    let answer = ask(&stack, "/api/session/accounts/status?sessionId=s&tenant=acme", &[]).await;
    assert_eq!(answer.status, 404);
    let stages = "Authentication, Accounts, Transactions, TransactionDetails";
    assert_eq!(answer.json()["detail"], format!("there is no such stage; there are {stages}"));
}

fn message(event: &str) -> SqsEvent {
    let attributes = json!({"SentTimestamp": "1769853600007"});
    let record = json!({"messageId": "m-1", "receiptHandle": "r", "body": event, "attributes": attributes});
    serde_json::from_value(json!({"Records": [record]})).unwrap()
}

#[tokio::test]
async fn a_state_that_cannot_be_written_brings_the_message_back_and_nothing_is_lost_or_twice() {
    let (stack, proxy) = (LocalStack::from_env().await, AwsProxy::start().await);
    let (receiver, tenant, id) = (Receiver::start(|_| 204).await, tenant(), event_id());
    stack.register_with(&tenant, &json!({"url": receiver.url})).await;
    let app = fanout::App::new(&proxy.aws().await, fanout::Config::from_lookup(lookup).unwrap());
    let message = message(&order(&tenant, &id, None, "placed"));

    proxy.fail_after("BatchExecuteStatement", 1); // The event is written, but the state is not.
    let response = fanout::handle(message.clone(), &app).await.unwrap();
    proxy.heal();
    assert_eq!(response.batch_item_failures.len(), 1);
    assert!(receiver.so_far().is_empty(), "no webhook is sent whose state cannot be polled");
    assert_eq!(ask(&stack, &path(&tenant, "order", "order-1"), &[]).await.status, 404);

    for presented in ["again", "and twice at the same time"] {
        proxy.lose_answer_of("BatchExecuteStatement"); // The SDK calls again.
        let (one, other) =
            futures_util::future::join(fanout::handle(message.clone(), &app), fanout::handle(message.clone(), &app))
                .await;
        assert!(
            one.unwrap().batch_item_failures.is_empty() && other.unwrap().batch_item_failures.is_empty(),
            "{presented}"
        );
    }

    receiver.wait_for(1).await;
    let told = ask(&stack, &path(&tenant, "order", "order-1"), &[]).await.json();
    assert_eq!((&told["status"], events_of(&told)), (&json!("placed"), vec![&*id]), "one state");
    assert_eq!(told["time"], "2026-01-31T10:00:00.007Z", "the time at which the message entered the queue");
}
