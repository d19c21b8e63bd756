//! Token.io's token requests: registered, called back by the bank, delivered to the integrator, and fetched. Also
//! invalid bank callbacks, and failures of each step.

use std::collections::HashSet;

use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use aws_lambda_events::encodings::Body;
use futures_util::future::join_all;
use serde_json::{Value, json};
use signpost_core::event::TenantId;
use signpost_testkit::aws_proxy::{AwsProxy, Hold};
use signpost_testkit::bank::Bank;
use signpost_testkit::build::{event, event_id, tenant};
use signpost_testkit::examples::{EXAMPLES, Example};
use signpost_testkit::lambda_host::{InvocationError, LambdaHost};
use signpost_testkit::local_stack::{Answer, LocalStack};
use signpost_testkit::receiver::{Received, Receiver};
use signpost_testkit::verify::independently;
use uuid::Uuid;

use crate::handlers::lookup;

const GET: &str = include_str!("../../../../events/relay-redirect.json");
const ERROR: &str = "trace-id=idm45Ag1X8D8Kvdw&error=14&message=Bank+is+unavailable";
const FORM: &str = "application/x-www-form-urlencoded";

/// Makes an id that no other test has.
fn request_id() -> String {
    format!("rq:{}:5zKtXEAq", Uuid::new_v4().simple())
}

fn result_path(tenant: &TenantId, id: &str) -> String {
    format!("/token-requests/{id}/result?tenant={tenant}")
}

/// Asserts that an answer is plain text, echoes no input and has no redirect.
fn assert_plain(answer: &Answer, status: u16, text: &str) {
    assert_eq!((answer.status, answer.text.trim_end()), (status, text), "{answer:?}");
    let headers = [
        ("content-type", "text/plain; charset=utf-8"),
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
    ];
    for (name, value) in headers {
        assert_eq!(answer.header(name), value, "{answer:?}");
    }
    assert_eq!(answer.header("location"), "", "{answer:?}");
}

/// Waits until a receiver has `count` requests, then sends one more event and checks that no other request arrives with
/// it.
async fn exactly(count: usize, stack: &LocalStack, tenant: &TenantId, receiver: &Receiver) -> Vec<Received> {
    receiver.wait_for(count).await;
    let last = event_id();
    stack.send_events([event(tenant, &last, &json!({})).to_string()]).await;
    let mut arrived = receiver.wait_for(count + 1).await;
    arrived.retain(|request| request.event_id() != last);
    assert_eq!(arrived.len(), count, "{arrived:?}");
    arrived
}

/// The examples of Token.io's documentation: name of the flow, query of the URL, and JSON.
fn flows() -> Vec<(&'static str, String, &'static str)> {
    let query = |file: &str| {
        let request: Value = serde_json::from_str(file).unwrap();
        request["rawQueryString"].as_str().unwrap().to_owned()
    };
    let json = |name: &str| EXAMPLES.iter().find(|example| example.name == name).map(Example::body).unwrap();
    vec![
        ("completed", query(GET), json("token-request-redirect")),
        ("error", query(include_str!("../../../../events/relay-error.json")), json("token-request-error")),
        ("credentials", query(include_str!("../../../../events/relay-embedded.json")), json("token-request-embedded")),
        (
            "credentials",
            query(include_str!("../../../../events/relay-decoupled.json")),
            json("token-request-decoupled"),
        ),
    ]
}

#[tokio::test]
async fn every_documented_flow_goes_from_the_bank_to_the_integrator_and_back_to_the_browser() {
    let (stack, bank) = (LocalStack::from_env().await, Bank::default());
    for (status, query, page_json) in flows() {
        for form in ["GET", FORM, "application/json"] {
            // Each form has its own tenant, because the examples share an id.
            let tenant = tenant();
            let (gets, posts) = (Receiver::start(|_| 200).await, Receiver::start(|_| 200).await);
            stack.register_with(&tenant, &json!({"url": gets.url, "method": "GET"})).await;
            stack.register_with(&tenant, &json!({"url": posts.url})).await;
            let id = serde_json::from_str::<Value>(page_json).unwrap()["request-id"].as_str().unwrap().to_owned();
            let registration = json!({"requestId": id, "redirectUrl": "https://tpp.callback.url/done?order=7"});
            let url = stack.register_token_request(&tenant, &registration).await;
            let pending = stack.manage("GET", &result_path(&tenant, &id), None).await.json();
            assert_eq!((&pending["status"], &pending["request-id"]), (&json!("pending"), &json!(id)));

            let answer = match form {
                "GET" => bank.get(&url, &query).await,
                FORM => bank.post(&url, FORM, &*query).await,
                _ => bank.post(&url, form, page_json).await,
            };

            assert_eq!(answer.status, 303, "{form} {query}: {answer:?}");
            assert_eq!(answer.header("location"), format!("https://tpp.callback.url/done?order=7&{query}"));
            assert_eq!((answer.header("cache-control"), answer.header("referrer-policy")), ("no-store", "no-referrer"));
            let (got, posted) = (gets.wait_for(1).await, posts.wait_for(1).await);
            assert_eq!((got[0].method.as_str(), got[0].uri.query()), ("GET", Some(&*query)), "{form}");
            assert_eq!(posted[0].body, page_json, "{form}");
            let result = stack.manage("GET", &result_path(&tenant, &id), None).await.json();
            assert_eq!(result["status"], status);
            for (name, value) in serde_json::from_str::<Value>(page_json).unwrap().as_object().unwrap() {
                let unescaped = value.as_str().map_or_else(|| value.clone(), Value::from);
                assert_eq!(result[name], unescaped, "{name}");
            }
            assert_eq!(result["event"], posted[0].event_id());
            for report in independently(&stack.keys_url(&tenant), &[got, posted].concat()).await {
                assert_eq!(report.error, None, "{report:?}");
            }
        }
    }
}

#[tokio::test]
async fn the_browser_arrives_where_it_was_registered_to() {
    let (stack, tenant, tpp) = (LocalStack::from_env().await, tenant(), Receiver::start(|_| 200).await);
    let id = request_id();
    let registration = json!({"requestId": id, "redirectUrl": tpp.url});
    let url = stack.register_token_request(&tenant, &registration).await;

    let browser = reqwest::Client::new(); // Follows redirects, as browsers do.
    let answer = browser.post(&url).header("content-type", FORM).body("next=//evil.example").send().await.unwrap();

    assert_eq!(answer.status().as_u16(), 200);
    let arrived = tpp.wait_for(1).await;
    assert_eq!(arrived[0].method.as_str(), "GET", "303 makes every method a GET");
    assert_eq!(arrived[0].uri.query(), Some(&*format!("request-id={id}&request_id={id}")));
}

#[tokio::test]
async fn a_decoupled_step_follows_by_a_callback_url_of_its_own() {
    let (stack, tenant, bank, id) = (LocalStack::from_env().await, tenant(), Bank::default(), request_id());
    let receiver = Receiver::start(|_| 200).await;
    stack.register_with(&tenant, &json!({"url": receiver.url})).await;
    let first = stack.register_token_request(&tenant, &json!({"requestId": id})).await;
    let credentials = flows()[3].1.split_once("credential-fields=").unwrap().1.to_owned();
    let answer = bank.get(&first, &format!("credential-fields={credentials}")).await;
    assert_plain(&answer, 200, "Thank you. You may close this page.");
    receiver.wait_for(1).await;

    let second = stack.register_token_request(&tenant, &json!({"requestId": id})).await;
    assert_eq!(stack.manage("GET", &result_path(&tenant, &id), None).await.json()["status"], "pending");
    assert_plain(&bank.get(&first, "").await, 410, "This link was replaced by another.");
    assert_eq!(bank.get(&second, &format!("request-id={id}")).await.status, 200);

    let arrived = exactly(2, &stack, &tenant, &receiver).await;
    let bodies: Vec<Value> = arrived.iter().map(|request| serde_json::from_slice(&request.body).unwrap()).collect();
    let page = json!({"request-id": id, "request_id": id});
    assert_eq!(bodies.iter().filter(|body| **body == page).count(), 1);
    assert_eq!(bodies.iter().filter(|body| body["credential-fields"] == credentials).count(), 1);
    let (path, registration) = (format!("/v1/tenants/{tenant}/token-requests"), json!({"requestId": id}));
    let again = stack.manage("POST", &path, Some(&registration)).await;
    assert_eq!(again.status, 409);
    assert!(again.text.contains("has ended, `completed`"), "{again:?}");
}

#[tokio::test]
async fn late_altered_and_too_large_callbacks_get_plain_text_and_become_no_event() {
    let (stack, tenant, bank) = (LocalStack::from_env().await, tenant(), Bank::default());
    let receiver = Receiver::start(|_| 200).await;
    stack.register_with(&tenant, &json!({"url": receiver.url})).await;
    let (id, late) = (request_id(), request_id());
    let redirect = "https://tpp.example/done";
    let url = stack.register_token_request(&tenant, &json!({"requestId": id, "redirectUrl": redirect})).await;

    // Nothing of this uses up the state.
    let (base, state) = url.rsplit_once('/').unwrap();
    let mut bytes = state.as_bytes().to_vec();
    bytes[7] = if bytes[7] == b'A' { b'B' } else { b'A' };
    let tampered = format!("{base}/{}", String::from_utf8(bytes).unwrap());
    let script = "%3Cimg%20src=x%20onerror=alert(1)%3E";
    assert_plain(&bank.get(&tampered, ERROR).await, 404, "This link is not known.");
    assert_plain(&bank.get(&format!("{base}/{script}"), "").await, 404, "This link is not known.");
    assert_plain(&bank.get(&format!("{base}/{state}A"), "").await, 404, "This link is not known.");
    let other = "The link belongs to another token request than `request_id` says.";
    assert_plain(&bank.get(&url, "request_id=rq:of:another").await, 400, other);
    assert_plain(&bank.get(&url, "error=2&error=14").await, 400, "`error` occurs more than once.");
    let half = "The callback has faults. `trace-id`: expected a text, because there is an `error`.";
    assert_plain(&bank.get(&url, &format!("error=14&message={script}")).await, 400, half);
    let body = "The body cannot be read; expected a form or a JSON object in UTF-8.";
    assert_plain(&bank.post(&url, "application/json", "<script>").await, 400, body);
    let format = "The body is in an unknown format; expected application/x-www-form-urlencoded or application/json.";
    assert_plain(&bank.post(&url, "text/html", "<script>").await, 415, format);
    let large = "The callback is too large; expected at most 8192 bytes and 32 parameters.";
    assert_plain(&bank.post(&url, FORM, format!("message={}", "x".repeat(9_000))).await, 413, large);
    assert_plain(&bank.get(&url, &"a=1&".repeat(40)).await, 413, large);
    exactly(0, &stack, &tenant, &receiver).await;
    assert_eq!(stack.manage("GET", &result_path(&tenant, &id), None).await.json()["status"], "pending");

    let evil = "redirectUrl=https://evil.example&redirect_uri=https://evil.example&next=//evil.example";
    let answer = bank.get(&url, &format!("{ERROR}&{evil}")).await;
    let said = format!("request-id={id}&request_id={id}&{ERROR}");
    assert_eq!((answer.status, answer.header("location")), (303, &*format!("{redirect}?{said}")));
    for query in [ERROR, "", "error=2&message=m&trace-id=t"] {
        assert_plain(&bank.get(&url, query).await, 410, "This link was used before.");
    }
    stack.let_callback_age(&tenant, &id, 600).await;
    assert_plain(&bank.get(&url, &format!("{ERROR}&{evil}")).await, 410, "This link was used before.");

    let url = stack.register_token_request(&tenant, &json!({"requestId": late, "redirectUrl": redirect})).await;
    stack.let_expire(&tenant, &late).await;
    assert_plain(&bank.get(&url, "").await, 410, "This link has expired.");
    assert_eq!(stack.manage("GET", &result_path(&tenant, &late), None).await.json()["status"], "expired");

    let arrived = exactly(2, &stack, &tenant, &receiver).await; // With the event of the first `exactly`.
    let body: Value = serde_json::from_slice(&arrived[1].body).unwrap();
    assert_eq!((&body["request-id"], &body["error"], body.as_object().unwrap().len()), (&json!(id), &json!(14), 8));
    assert_eq!(body["next"], "//evil.example", "the integrator gets all fields");
}

#[tokio::test]
async fn fields_that_the_bank_adds_reach_the_integrator_but_not_the_browsers_url() {
    let (stack, tenant, bank) = (LocalStack::from_env().await, tenant(), Bank::default());
    let (gets, posts) = (Receiver::start(|_| 200).await, Receiver::start(|_| 200).await);
    stack.register_with(&tenant, &json!({"url": gets.url, "method": "GET"})).await;
    stack.register_with(&tenant, &json!({"url": posts.url})).await;
    let added = r#""code":"a.b/c","state":"s 1","tenant":"other""#;
    let cases = [
        ("GET", "state=s+1&code=a.b%2Fc&tenant=other".to_owned()),
        (FORM, "tenant=other&state=s%201&code=a.b%2Fc".to_owned()),
        ("application/json", format!("{{{added}}}")),
    ];
    for (index, (form, said)) in cases.into_iter().enumerate() {
        let id = request_id();
        let registration = json!({"requestId": id, "redirectUrl": "https://tpp.example/done?tenant=acme"});
        let url = stack.register_token_request(&tenant, &registration).await;

        let answer = match form {
            "GET" => bank.get(&url, &said).await,
            _ => bank.post(&url, form, said).await,
        };

        let ids = format!("request-id={id}&request_id={id}");
        let location = format!("https://tpp.example/done?tenant=acme&{ids}");
        assert_eq!((answer.status, answer.header("location")), (303, &*location), "{form}");
        let (got, posted) = (gets.wait_for(index + 1).await, posts.wait_for(index + 1).await);
        let body = format!(r#"{{"request-id":"{id}","request_id":"{id}",{}}}"#, added.replace(' ', "\\u0020"));
        assert!(posted.iter().any(|request| request.body == body), "{form}: {body} in {posted:?}");
        let query = format!("{ids}&code=a.b%2Fc&state=s+1&tenant=other");
        assert!(got.iter().any(|request| request.uri.query() == Some(&query)), "{form}: {query} in {got:?}");
        let result = stack.manage("GET", &result_path(&tenant, &id), None).await.json();
        assert_eq!((&result["tenant"], &result["status"]), (&json!(tenant.as_str()), &json!("completed")), "{form}");
        assert_eq!(result["otherFields"], json!({"code": "a.b/c", "state": "s 1", "tenant": "other"}), "{form}");
    }
}

#[tokio::test]
async fn a_prefetch_leaves_the_link_to_the_user() {
    let (stack, tenant, bank, id) = (LocalStack::from_env().await, tenant(), Bank::default(), request_id());
    let receiver = Receiver::start(|_| 200).await;
    stack.register_with(&tenant, &json!({"url": receiver.url})).await;
    let registration = json!({"requestId": id, "redirectUrl": "https://tpp.example/"});
    let url = stack.register_token_request(&tenant, &registration).await;

    for header in [("sec-purpose", "prefetch"), ("sec-purpose", "prefetch;prerender"), ("x-moz", "prefetch")] {
        let ahead = "This link does not answer ahead of time. Please open it.";
        assert_plain(&bank.get_with(&url, ERROR, header).await, 503, ahead);
    }
    let head = bank.head(&url, ERROR).await;
    assert_eq!((head.status, head.header("cache-control"), &*head.text), (204, "no-store", ""));
    exactly(0, &stack, &tenant, &receiver).await;
    assert_eq!(stack.manage("GET", &result_path(&tenant, &id), None).await.json()["status"], "pending");

    let opened = bank.get(&url, ERROR).await;
    let opened_again = bank.get(&url, ERROR).await;
    assert_eq!(opened.status, 303);
    assert_eq!((opened_again.status, opened_again.header("location")), (303, opened.header("location")));
    exactly(2, &stack, &tenant, &receiver).await; // With the event of the first `exactly`.
}

#[tokio::test]
async fn text_in_another_charset_is_refused_and_leaves_the_link_good() {
    let (stack, tenant, bank, id) = (LocalStack::from_env().await, tenant(), Bank::default(), request_id());
    let receiver = Receiver::start(|_| 200).await;
    stack.register_with(&tenant, &json!({"url": receiver.url})).await;
    let url = stack.register_token_request(&tenant, &json!({"requestId": id})).await;
    let said = |message: &str| format!("error=14&trace-id=t&message={message}");

    let charset = "The body is in an unknown charset; expected UTF-8.";
    let escapes = "The callback has escapes that are not UTF-8; send its text in UTF-8.";
    let latin = format!("{FORM}; charset=ISO-8859-1");
    assert_plain(&bank.post(&url, &latin, said("indisponibilit%E9")).await, 415, charset);
    assert_plain(&bank.post(&url, FORM, said("indisponibilit%E9")).await, 400, escapes);
    assert_plain(&bank.get(&url, &said("indisponibilit%E9")).await, 400, escapes);
    let utf8 = format!("{FORM}; charset=UTF-8");
    assert_eq!(bank.post(&url, &utf8, said("indisponibilit%C3%A9")).await.status, 200);

    let arrived = exactly(1, &stack, &tenant, &receiver).await;
    let body: Value = serde_json::from_slice(&arrived[0].body).unwrap();
    assert_eq!(body["message"], "indisponibilité");
}

#[tokio::test]
async fn callbacks_at_once_become_one_event_and_those_that_say_it_get_one_answer() {
    let (stack, bank) = (LocalStack::from_env().await, Bank::default());
    let cases = [("the same", [ERROR, ERROR]), ("others", ["", ERROR])];
    for (what, queries) in cases {
        let (tenant, id, receiver) = (tenant(), request_id(), Receiver::start(|_| 200).await);
        stack.register_with(&tenant, &json!({"url": receiver.url})).await;
        let registration = json!({"requestId": id, "redirectUrl": "https://tpp.example/"});
        let url = stack.register_token_request(&tenant, &registration).await;

        let answers = join_all((0..8).map(|index| bank.get(&url, queries[index % 2]))).await;

        let taken: Vec<_> = answers.iter().filter(|answer| answer.status == 303).collect();
        assert_eq!(taken.len(), if what == "the same" { 8 } else { 4 }, "{what}: {answers:?}");
        let location = taken[0].header("location");
        assert!(taken.iter().all(|answer| answer.header("location") == location), "{what}: {answers:?}");
        for refused in answers.iter().filter(|answer| answer.status != 303) {
            assert_plain(refused, 410, "This link was used before.");
        }
        let arrived = exactly(1, &stack, &tenant, &receiver).await;
        let body: Value = serde_json::from_slice(&arrived[0].body).unwrap();
        let is_error = taken[0].header("location").contains("error=14");
        assert_eq!(body["error"].is_number(), is_error, "{what}: the answered callback is the recorded one");
        let result = stack.manage("GET", &result_path(&tenant, &id), None).await.json();
        assert_eq!(result["status"], if is_error { "error" } else { "completed" }, "{what}");
    }
}

/// Builds a bank callback as API Gateway passes it on.
fn callback(url: &str, query: &str) -> Value {
    let mut request: Value = serde_json::from_str(GET).unwrap();
    request["pathParameters"]["state"] = url.rsplit('/').next().into();
    request["rawQueryString"] = query.into();
    request
}

async fn relayed(app: &relay::App, request: &Value) -> ApiGatewayV2httpResponse {
    relay::handle(serde_json::from_value(request.clone()).unwrap(), app).await
}

#[tokio::test]
async fn a_callback_that_fails_anywhere_is_taken_when_it_comes_again() {
    let (stack, proxy) = (LocalStack::from_env().await, AwsProxy::start().await);
    let app = relay::app(&proxy.aws().await, relay::Config::from_lookup(lookup).unwrap());
    for operation in ["GetItem", "UpdateItem", "SendMessageBatch"] {
        let (tenant, id, receiver) = (tenant(), request_id(), Receiver::start(|_| 200).await);
        stack.register_with(&tenant, &json!({"url": receiver.url})).await;
        let url = stack.register_token_request(&tenant, &json!({"requestId": id})).await;

        proxy.fail(operation);
        let failed = relayed(&app, &callback(&url, ERROR)).await;
        proxy.heal();
        assert_eq!((failed.status_code, &failed.headers["retry-after"]), (503, &"1".parse().unwrap()), "{operation}");
        if operation == "SendMessageBatch" {
            // `relay` has recorded it, so it stays valid after the link has expired. No other callback is accepted any
            // more.
            stack.let_expire(&tenant, &id).await;
            assert_eq!(relayed(&app, &callback(&url, "")).await.status_code, 410);
        }
        for _ in 0..2 {
            assert_eq!(relayed(&app, &callback(&url, ERROR)).await.status_code, 200, "{operation}");
        }
        assert_eq!(relayed(&app, &callback(&url, "")).await.status_code, 410, "{operation}: the link is used up");
        exactly(1, &stack, &tenant, &receiver).await;
    }
}

#[tokio::test]
async fn an_answer_of_aws_that_gets_lost_costs_neither_a_callback_nor_a_registration() {
    let (stack, proxy) = (LocalStack::from_env().await, AwsProxy::start().await);
    let aws = proxy.aws().await;
    let relay = relay::app(&aws, relay::Config::from_lookup(lookup).unwrap());
    let manage = manage::App::new(&aws, manage::Config::from_lookup(lookup).unwrap());
    let (tenant, receiver) = (tenant(), Receiver::start(|_| 200).await);
    stack.register_with(&tenant, &json!({"url": receiver.url})).await;
    let lost = [("UpdateItem", 0), ("SendMessageBatch", 0), ("UpdateItem", 1)];
    for (index, (operation, others)) in lost.into_iter().enumerate() {
        let id = request_id();
        let mut request: ApiGatewayV2httpRequest =
            serde_json::from_str(include_str!("../../../../events/manage-token-request.json")).unwrap();
        request.path_parameters.insert("tenant".into(), tenant.to_string());
        request.body = Some(json!({"requestId": id}).to_string());

        proxy.lose_a_later_answer_of("PutItem", index % 2); // The item of the state, or of the request.
        let registered = manage::handle(request, &manage).await;
        let Some(Body::Text(text)) = &registered.body else { panic!("{registered:?}") };
        assert_eq!(registered.status_code, 201, "{text}");
        let url = serde_json::from_str::<Value>(text).unwrap()["callbackUrl"].as_str().unwrap().to_owned();

        proxy.lose_a_later_answer_of(operation, others);
        for _ in 0..2 {
            assert_eq!(relayed(&relay, &callback(&url, ERROR)).await.status_code, 200, "{operation} {others}");
        }
        assert_eq!(relayed(&relay, &callback(&url, "")).await.status_code, 410, "{operation} {others}: used up");
    }
    let arrived = exactly(lost.len(), &stack, &tenant, &receiver).await;
    let ids: HashSet<_> = arrived.iter().map(|request| request.event_id().to_owned()).collect();
    assert_eq!(ids.len(), lost.len());
}

#[tokio::test]
async fn relay_killed_anywhere_accepts_the_callback_again_and_delivers_it_once() {
    let stack = LocalStack::from_env().await;
    // The point of death, and the answer to the same callback when it comes again.
    let cases = [
        ("GetItem", Hold::Called, 200, "nothing done"),
        ("UpdateItem", Hold::Answered, 200, "recorded, not queued"),
        ("SendMessageBatch", Hold::Called, 200, "recorded, queue call not forwarded"),
        ("SendMessageBatch", Hold::Answered, 200, "queued, state not used up"),
    ];
    for (operation, hold, status, why) in cases {
        let (tenant, id, receiver) = (tenant(), request_id(), Receiver::start(|_| 200).await);
        let proxy = AwsProxy::start().await;
        stack.register_with(&tenant, &json!({"url": receiver.url})).await;
        let request = callback(&stack.register_token_request(&tenant, &json!({"requestId": id})).await, ERROR);
        let host = relay_host(&proxy);

        proxy.hold(operation, hold);
        let kill = async {
            proxy.wait_for_held(1).await;
            host.kill().await;
        };
        let (died, ()) = tokio::join!(host.invoke(&request), kill);
        assert!(matches!(died, Err(InvocationError::Died)), "{why}: {died:?}");
        proxy.heal();
        for _ in 0..2 {
            assert_eq!(host.invoke(&request).await.unwrap()["statusCode"], status, "{why}");
        }
        exactly(1, &stack, &tenant, &receiver).await;
    }
}

#[tokio::test]
async fn a_callback_recorded_by_a_relay_that_died_is_delivered_when_its_result_is_read() {
    let stack = LocalStack::from_env().await;
    for how in ["the result is fetched", "the request is registered again"] {
        let (tenant, id, proxy) = (tenant(), request_id(), AwsProxy::start().await);
        let receiver = Receiver::start(|_| 200).await;
        stack.register_with(&tenant, &json!({"url": receiver.url})).await;
        let url = stack.register_token_request(&tenant, &json!({"requestId": id})).await;
        let credentials = flows()[2].1.split_once('&').unwrap().1.split_once('&').unwrap().1.to_owned();
        let host = relay_host(&proxy);
        proxy.hold("SendMessageBatch", Hold::Called);
        let request = callback(&url, &credentials);
        let kill = async {
            proxy.wait_for_held(1).await;
            host.kill().await;
        };
        let (died, ()) = tokio::join!(host.invoke(&request), kill);
        assert!(died.is_err(), "{how}");

        if how.starts_with("the result") {
            assert_eq!(stack.manage("GET", &result_path(&tenant, &id), None).await.json()["status"], "credentials");
        } else {
            stack.register_token_request(&tenant, &json!({"requestId": id})).await;
        }
        let arrived = exactly(1, &stack, &tenant, &receiver).await;
        assert!(String::from_utf8_lossy(&arrived[0].body).contains(&id), "{how}");
    }
}

fn relay_host(proxy: &AwsProxy) -> LambdaHost {
    let names =
        ["AWS_ACCESS_KEY_ID", "AWS_REGION", "AWS_SECRET_ACCESS_KEY", "OWN_EVENTS_QUEUE_URL", "TOKEN_REQUESTS_TABLE"];
    let mut settings = names.map(|name| (name.to_owned(), lookup(name).unwrap())).to_vec();
    settings.push(("AWS_ENDPOINT_URL".to_owned(), proxy.url().to_owned()));
    LambdaHost::new("relay", settings)
}

#[tokio::test]
async fn a_state_is_in_the_callback_url_and_nowhere_else() {
    let (stack, tenant, bank, id) = (LocalStack::from_env().await, tenant(), Bank::default(), request_id());
    let url = stack.register_token_request(&tenant, &json!({"requestId": id})).await;
    let (base, state) = url.rsplit_once('/').unwrap();
    assert_eq!((base, state.len()), (&*format!("{}/callbacks", stack.api_url), 43), "the state has 256 bits");
    let second = stack.register_token_request(&tenant, &json!({})).await;
    assert_ne!(second.rsplit('/').next(), Some(state));

    let answer = bank.get(&url, ERROR).await;
    assert_eq!(answer.status, 200);
    let result = stack.manage("GET", &result_path(&tenant, &id), None).await;
    let event = result.json()["event"].as_str().unwrap().to_owned();
    let table = stack.token_requests_table().await;
    assert!(table.contains(&id));
    let logs = stack.logs_of(&["RelayLogs", "ManageLogs", "FanoutLogs"], &event).await;
    let history = stack.wait_for_event(&tenant, &event, "/callbacks").await.join(",");
    for (seen, place) in
        [(table, "table"), (logs, "logs"), (result.text, "result"), (answer.text, "answer"), (history, "event")]
    {
        assert!(!seen.contains(state), "{place}");
    }
}

#[tokio::test]
async fn an_ambiguous_result_is_returned_only_with_its_tenant() {
    let (stack, own, other, id) = (LocalStack::from_env().await, tenant(), tenant(), request_id());
    let path = format!("/token-requests/{id}/result");
    assert_eq!(stack.manage("GET", &path, None).await.status, 404);
    assert_eq!(stack.get(&path, &[]).await.status, 403, "strangers may not see results");
    let answer =
        stack.manage("POST", &format!("/v1/tenants/{own}/token-requests"), Some(&json!({"requestId": id}))).await;
    assert_eq!(answer.header("location"), format!("{path}?tenant={own}"));
    assert_eq!(stack.manage("GET", answer.header("location"), None).await.json()["tenant"], own.as_str());
    assert_eq!(stack.manage("GET", &path, None).await.json()["tenant"], own.as_str());
    assert_eq!(stack.manage("GET", &result_path(&other, &id), None).await.status, 404);

    stack.register_token_request(&other, &json!({"requestId": id})).await;
    assert_eq!(stack.manage("GET", &path, None).await.status, 409);
    assert_eq!(stack.manage("GET", &result_path(&other, &id), None).await.json()["tenant"], other.as_str());
    let bad = stack.manage("GET", &format!("{path}?tenant=ACME"), None).await;
    assert_eq!((bad.status, &bad.json()["errors"][0]["pointer"]), (400, &json!("?tenant")));
}

#[tokio::test]
async fn registrations_at_once_leave_one_callback_url_that_is_good() {
    let (stack, tenant, bank, id) = (LocalStack::from_env().await, tenant(), Bank::default(), request_id());
    let path = format!("/v1/tenants/{tenant}/token-requests");
    let registration = json!({"requestId": id});
    let answers = join_all((0..4).map(|_| stack.manage("POST", &path, Some(&registration)))).await;
    let urls: Vec<_> = answers.iter().filter(|answer| answer.status == 201).map(Answer::json).collect();
    assert!(!urls.is_empty() && answers.iter().all(|answer| matches!(answer.status, 201 | 409)), "{answers:?}");
    let mut statuses = Vec::new();
    for url in &urls {
        statuses.push(bank.get(url["callbackUrl"].as_str().unwrap(), "").await.status);
    }
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
}
