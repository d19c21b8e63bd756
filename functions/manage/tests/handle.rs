//! Requests that `manage` refuses before it changes anything, from the files that `sam local invoke` takes. AWS is played
//! by a server in this process, which keeps the audit log and refuses other calls.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use aws_lambda_events::encodings::Body;
use manage::{App, Config, handle};
use serde_json::{Value, json};
use signpost_core::endpoint::Verification;
use signpost_core::endpoint::destination::RolePatterns;
use signpost_core::endpoint::target::TargetRules;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// AWS, as far as these tests need it: a server that answers each call by `answer`, which gets the target of the call and
/// how many calls of the same target came before.
struct Aws {
    url: String,
    seen: Arc<Mutex<Vec<String>>>,
}

/// The target of the call that writes to the audit log.
const AUDIT: &str = "DynamoDB_20120810.BatchExecuteStatement";
const WRITTEN: (u16, &str) = (200, r#"{"Responses":[{}]}"#);
const REFUSED: (u16, &str) = (400, r#"{"__type":"com.amazonaws.dynamodb.v20120810#ResourceNotFoundException"}"#);

impl Aws {
    async fn start(answer: fn(&str, usize) -> (u16, &'static str)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let calls = Arc::clone(&seen);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let target = target_of(&mut stream).await;
                let earlier = {
                    let mut calls = calls.lock().unwrap();
                    calls.push(target.clone());
                    calls.iter().filter(|one| **one == target).count() - 1
                };
                let (status, body) = answer(&target, earlier);
                let head = format!("HTTP/1.1 {status} -\r\ncontent-length: {}\r\nconnection: close\r\n", body.len());
                let head = format!("{head}content-type: application/x-amz-json-1.0\r\n\r\n");
                stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
            }
        });
        Self { url, seen }
    }

    /// Returns the targets of the calls so far.
    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    fn app(&self) -> App {
        let credentials = Credentials::new("a", "b", None, None, "test");
        let aws = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .endpoint_url(&self.url)
            .build();
        let config = Config {
            audit_retention: Duration::from_hours(24),
            audit_table: "audit".into(),
            deliver_role_arn: String::new(),
            destination_roles: RolePatterns::NONE,
            endpoint_verification: Verification::None,
            deliveries_queue_url: "https://queue.invalid/deliveries".into(),
            endpoints_table: "endpoints".into(),
            endpoint_keys_table: "endpoint-keys".into(),
            keys_url: None,
            mac_key: "mac".into(),
            own_events_queue_url: "https://queue.invalid/own-events".into(),
            events_table: "events".into(),
            parking_table: "parking".into(),
            portal_table: "portal".into(),
            portal_url: None,
            public_url: None,
            retention: Duration::ZERO,
            target_rules: TargetRules::default(),
            token_requests_table: "token-requests".into(),
            wrapping_key: "key".into(),
        };
        App::new(&aws, config)
    }
}

/// Reads a whole request, and returns its target.
async fn target_of(stream: &mut TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let (mut target, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).await.unwrap();
        if line.trim().is_empty() {
            break;
        }
        let (name, value) = line.trim().split_once(": ").unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "x-amz-target" => target = value.to_owned(),
            "content-length" => length = value.parse().unwrap(),
            _ => {}
        }
    }
    reader.read_exact(&mut vec![0; length]).await.unwrap();
    target
}

/// Creates an app that can write to the audit log. Each other call to AWS fails, so a request that needs one gets a 503.
/// Targets are those of the internet.
async fn app() -> App {
    Aws::start(|target, _| if target == AUDIT { WRITTEN } else { REFUSED }).await.app()
}

fn request(file: &str) -> ApiGatewayV2httpRequest {
    serde_json::from_str(file).unwrap()
}

const CREATE: &str = include_str!("../../../events/manage-create.json");

const RESULT: &str = include_str!("../../../events/manage-token-request-result.json");

/// Returns a request that creates an endpoint with these settings.
fn create(settings: &Value) -> ApiGatewayV2httpRequest {
    let mut request = request(CREATE);
    request.body = Some(settings.to_string());
    request
}

fn body(response: &ApiGatewayV2httpResponse) -> Value {
    let Some(Body::Text(text)) = &response.body else { panic!("no text in {response:?}") };
    serde_json::from_str(text).unwrap()
}

/// Returns the pointers of the faults, with the expected values.
fn faults(response: &ApiGatewayV2httpResponse) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let problem = body(response);
    let faults = problem["errors"].as_array().cloned().unwrap_or_default();
    faults.iter().map(|fault| (text(&fault["pointer"]), text(&fault["expected"]))).collect()
}

#[tokio::test]
async fn every_fault_is_listed_and_no_secret_quoted() {
    let response = handle(request(include_str!("../../../events/manage-create-faults.json")), &app().await).await;
    assert_eq!((response.status_code, &response.headers["cache-control"]), (400, &"no-store".parse().unwrap()));
    let pointers: Vec<_> = faults(&response).into_iter().map(|(pointer, _)| pointer).collect();
    assert_eq!(pointers, ["/url", "/method", "/auth/secret", "/colour"]);
    assert!(!body(&response).to_string().contains("no colon"));
}

#[tokio::test]
async fn every_bad_parameter_of_a_list_is_reported() {
    let response = handle(request(include_str!("../../../events/manage-deliveries-faults.json")), &app().await).await;
    assert_eq!((response.status_code, &response.headers["cache-control"]), (400, &"no-store".parse().unwrap()));
    let expected = [
        ("?status", "delivered, erased, exhausted or pending"),
        ("?since", "a moment in RFC 3339, such as 2026-01-31T10:00:00Z"),
        ("?cursor", "the `cursor` of the page before"),
        ("?limit", "a whole number, 1 to 50"),
    ];
    assert_eq!(faults(&response), expected.map(|(pointer, expected)| (pointer.to_owned(), expected.to_owned())));
}

#[tokio::test]
async fn all_faults_of_a_link_are_reported_before_a_table_is_read() {
    let response = handle(request(include_str!("../../../events/manage-portal-link-faults.json")), &app().await).await;
    assert_eq!(response.status_code, 400);
    let pointers: Vec<_> = faults(&response).into_iter().map(|(pointer, _)| pointer).collect();
    assert_eq!(pointers, ["/endpoints/0", "/can/1", "/expiresInSeconds", "/sessionSeconds", "/name", "/tenant"]);
}

#[tokio::test]
async fn all_faults_of_a_bulk_replay_are_reported_and_an_empty_filter_is_one() {
    let mut asked = request(include_str!("../../../events/manage-replay-faults.json"));
    let response = handle(asked.clone(), &app().await).await;
    assert_eq!(response.status_code, 400);
    let pointers: Vec<_> = faults(&response).into_iter().map(|(pointer, _)| pointer).collect();
    let expected = ["/since", "/until", "/endpoints/0", "/types", "/statuses/0", "/dryRun", "/tenant"];
    assert_eq!(pointers, expected);
    asked.body = Some("{}".into());
    let response = handle(asked, &app().await).await;
    assert_eq!((response.status_code, &*faults(&response)[0].0), (400, "/since"));
}

#[tokio::test]
async fn a_parameter_that_is_not_known_is_refused_wherever_it_comes() {
    for file in [
        CREATE,
        RESULT,
        include_str!("../../../events/manage-deliveries-faults.json"),
        include_str!("../../../events/manage-list.json"),
        include_str!("../../../events/manage-patch.json"),
        include_str!("../../../events/manage-session.json"),
        include_str!("../../../events/manage-status.json"),
        include_str!("../../../events/manage-token-request.json"),
    ] {
        let mut asked = request(file);
        let parameters = std::collections::HashMap::from([("stauts".to_owned(), "x".to_owned())]);
        asked.query_string_parameters = parameters.into();
        let response = handle(asked, &app().await).await;
        assert_eq!((response.status_code, &*faults(&response)[0].0), (400, "?stauts"), "{file}");
        assert_eq!(body(&response)["errors"][0]["code"], "unknown-parameter");
    }
}

#[tokio::test]
async fn every_bad_parameter_of_a_session_request_is_reported() {
    let asked = request(include_str!("../../../events/manage-session-faults.json"));
    let response = handle(asked.clone(), &app().await).await;
    assert_eq!((response.status_code, &response.headers["cache-control"]), (400, &"no-store".parse().unwrap()));
    let expected = [("?tenant", "1 to 64 of a-z, 0-9, `-`"), ("?sessionId", "the session's id")];
    let expected = expected.map(|(pointer, expected)| (pointer.to_owned(), expected.to_owned()));
    assert_eq!(faults(&response), expected);

    let mut without = asked.clone();
    without.query_string_parameters = std::collections::HashMap::<String, String>::new().into();
    assert_eq!(faults(&handle(without, &app().await).await), expected);

    let mut elsewhere = asked;
    elsewhere.path_parameters.insert("stage".into(), "accounts".into());
    assert_eq!(handle(elsewhere, &app().await).await.status_code, 404, "stages are spelled as the service spells them");
}

#[tokio::test]
async fn a_poller_gets_503_and_retry_after_when_the_table_cannot_be_reached() {
    for file in
        [include_str!("../../../events/manage-status.json"), include_str!("../../../events/manage-session.json")]
    {
        let mut asked = request(file);
        asked.headers.insert("prefer", "wait=20".parse().unwrap());
        let response = handle(asked, &app().await).await;
        assert_eq!((response.status_code, &response.headers["retry-after"]), (503, &"1".parse().unwrap()));
    }
}

#[tokio::test]
async fn every_fault_of_a_token_request_is_listed() {
    let response =
        handle(request(include_str!("../../../events/manage-token-request-faults.json")), &app().await).await;
    assert_eq!((response.status_code, &response.headers["cache-control"]), (400, &"no-store".parse().unwrap()));
    let pointers: Vec<_> = faults(&response).into_iter().map(|(pointer, _)| pointer).collect();
    assert_eq!(pointers, ["/requestId", "/redirectUrl", "/expiresInSeconds", "/state"]);
}

#[tokio::test]
async fn a_target_that_would_be_refused_is_a_400_when_it_is_written() {
    let app = app().await;
    let cases = [
        ("http://hooks.example/", "URL scheme is `http`; expected `https`"),
        ("https://10.1.2.3/", "address `10.1.2.3` is not public; use a publicly routable host"),
        ("https://[fd00:ec2::254]/", "address `fd00:ec2::254` is not public; use a publicly routable host"),
        (
            "https://hooks.example:6379/",
            "URL port is `6379`; expected 443, or one that the stack's parameter MoreTargetPorts lists",
        ),
        ("https://user@hooks.example/", "URL holds a user name or a password; remove it"),
    ];
    for (url, reason) in cases {
        let response = handle(create(&json!({"url": url})), &app).await;
        let expected = format!("a URL that may be called: {reason}");
        assert_eq!((response.status_code, faults(&response)), (400, vec![("/url".into(), expected)]), "{url}");
        let auth = json!({"kind": "oauth2", "tokenUrl": url, "clientId": "c", "secret": "s"});
        let response = handle(create(&json!({"url": "https://hooks.example", "auth": auth})), &app).await;
        assert_eq!(faults(&response)[0].0, "/auth/tokenUrl", "{url}");
    }
}

/// `localhost` resolves on every machine, and to no public address.
#[tokio::test]
async fn a_name_of_a_private_address_is_a_400_without_the_address() {
    let response = handle(create(&json!({"url": "https://localhost/"})), &app().await).await;
    let expected = "a host that resolves to public addresses only";
    assert_eq!((response.status_code, faults(&response)), (400, vec![("/url".into(), expected.into())]));
    assert!(!body(&response).to_string().contains("127.0.0.1"));
}

#[tokio::test]
async fn each_trouble_with_a_key_store_has_a_text_of_its_own() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../lib/core/tests/data/key_stores/");
    let cases = [
        ("keytool.jks", "jks", "changeit", ""),
        ("keytool.jks", "jks", "wrong", "password does not open the store; give the one it was written with"),
        ("keytool.p12", "pkcs12", "wrong", "password does not open the store; give the one it was written with"),
        ("expired.jks", "jks", "changeit", "certificate of `CN=expired` expired at 2002-01-01T00:00:00Z; renew it"),
        ("expired.p12", "pkcs12", "changeit", "certificate of `CN=expired` expired at 2002-01-01T00:00:00Z; renew it"),
        (
            "mismatch.jks",
            "jks",
            "changeit",
            "private key belongs to none of the certificates; give the key and the certificate that was issued for it",
        ),
        (
            "mismatch.p12",
            "pkcs12",
            "changeit",
            "private key belongs to none of the certificates; give the key and the certificate that was issued for it",
        ),
    ];
    for (file, format, password, expected) in cases {
        let content = std::fs::read(format!("{folder}{file}")).unwrap();
        let content = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, content);
        let store = json!({"format": format, "content": content, "password": password});
        let settings = json!({"url": "https://hooks.example", "auth": {"kind": "mtls", "keyStore": store}});
        let response = handle(create(&settings), &app().await).await;
        if expected.is_empty() {
            assert_eq!(response.status_code, 503, "the key store is valid, but there is no table");
        } else {
            assert_eq!(faults(&response), [("/auth/keyStore".into(), expected.into())], "{file}");
        }
    }
}

#[tokio::test]
async fn an_invalid_endpoint_request_gets_a_problem_with_its_status() {
    let app = app().await;
    let valid = request(CREATE);
    let with = |change: &dyn Fn(&mut ApiGatewayV2httpRequest)| {
        let mut request = valid.clone();
        change(&mut request);
        request
    };
    let cases = [
        (with(&|_| ()), 503, "valid, and nowhere to write it"),
        (with(&|request| request.body = None), 400, "no body"),
        (
            with(&|request| drop(request.headers.insert("content-encoding", "br".parse().unwrap()))),
            415,
            "a content coding",
        ),
        (with(&|request| request.body = Some("x".repeat(256 * 1024 + 1))), 413, "too large"),
        (with(&|request| drop(request.headers.remove("content-type"))), 415, "no media type"),
        (with(&|request| drop(request.headers.insert("content-type", "text/plain".parse().unwrap()))), 415, "another"),
        (with(&|request| drop(request.path_parameters.insert("tenant".into(), "ACME".into()))), 404, "bad tenant id"),
        (with(&|request| drop(request.path_parameters.insert("tenant".into(), "a/../b".into()))), 404, "a path"),
        (with(&|request| request.route_key = Some("GET /v1/tenants/{tenant}".into())), 404, "no such route"),
        (request(include_str!("../../../events/manage-list.json")), 503, "valid, and nowhere to read it"),
        (request(include_str!("../../../events/manage-patch.json")), 503, "valid, and nowhere to read it"),
    ];
    for (request, status, why) in cases {
        let response = handle(request, &app).await;
        assert_eq!(response.status_code, status, "{why}");
        assert_eq!(response.headers["content-type"], "application/problem+json", "{why}");
        assert_eq!(response.headers.contains_key("retry-after"), status == 503, "{why}");
    }
}

#[tokio::test]
async fn an_invalid_token_request_gets_a_problem_with_its_status() {
    let cases = [
        (
            include_str!("../../../events/manage-token-request.json"),
            "acme",
            "acme",
            503,
            "valid, and nowhere to write it",
        ),
        (RESULT, "acme", "acme", 503, "valid, and nowhere to read it"),
        (RESULT, r#""tenant": "acme""#, r#""tenant": "ACME""#, 400, "bad tenant id"),
        (RESULT, ":5zKtXEAq\"", "/5zKtXEAq\"", 404, "bad token request id"),
    ];
    for (file, from, to, status, why) in cases {
        let response = handle(request(&file.replace(from, to)), &app().await).await;
        assert_eq!(response.status_code, status, "{why}");
    }
}

/// Every route of the contract is in these files or in the end-to-end tests. The router is the same for all.
#[tokio::test]
async fn nothing_is_changed_if_the_audit_log_cannot_be_written() {
    let aws = Aws::start(|_, _| REFUSED).await;
    let app = aws.app();
    let mut asked = request(CREATE);
    for route in [
        "POST /v1/tenants/{tenant}/endpoints",
        "PATCH /v1/tenants/{tenant}/endpoints/{endpoint}",
        "DELETE /v1/tenants/{tenant}/endpoints/{endpoint}",
        "POST /v1/tenants/{tenant}/events/{event}/replay",
        "POST /v1/tenants/{tenant}/token-requests",
        "PUT /v1/tenants/{tenant}/a-route-of-the-future",
    ] {
        asked.route_key = Some(route.into());
        asked.path_parameters.insert("endpoint".into(), format!("ep_{}", "0".repeat(32)));
        let response = handle(asked.clone(), &app).await;
        assert_eq!((response.status_code, &response.headers["retry-after"]), (503, &"1".parse().unwrap()), "{route}");
    }
    assert!(aws.seen().iter().all(|target| target == AUDIT), "{:?}", aws.seen());
}

#[tokio::test]
async fn a_request_that_reads_has_no_entry() {
    let aws = Aws::start(|_, _| REFUSED).await;
    handle(request(include_str!("../../../events/manage-list.json")), &aws.app()).await;
    assert_eq!(aws.seen(), ["DynamoDB_20120810.Query"]);
}

#[tokio::test]
async fn a_change_whose_outcome_is_not_on_record_is_not_answered_as_done() {
    let token_request = || request(include_str!("../../../events/manage-token-request.json"));
    let done = Aws::start(|target, _| if target == AUDIT { WRITTEN } else { (200, "{}") }).await;
    assert_eq!(handle(token_request(), &done.app()).await.status_code, 201);

    let aws = Aws::start(|target, before| match (target, before) {
        (AUDIT, 0) => WRITTEN,
        (AUDIT, _) => REFUSED,
        _ => (200, "{}"),
    });
    let aws = aws.await;
    let response = handle(token_request(), &aws.app()).await;
    assert_eq!(response.status_code, 503);
    let detail =
        "the change is made, but the audit log does not say so; read what it is now before you repeat the request";
    assert_eq!(body(&response)["detail"], detail);
    assert_eq!(aws.seen().iter().filter(|target| *target == AUDIT).count(), 4, "once before, and three tries after");
}

#[tokio::test]
async fn every_bad_parameter_of_the_audit_log_is_reported() {
    let mut asked = request(include_str!("../../../events/manage-list.json"));
    asked.route_key = Some("GET /v1/tenants/{tenant}/audit".into());
    let bad = [("since", "yesterday"), ("endpoint", "ep_1"), ("cursor", "1"), ("limit", "0")];
    let bad: std::collections::HashMap<_, _> = bad.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    asked.query_string_parameters = bad.into();
    let response = handle(asked, &app().await).await;
    let pointers: Vec<_> = faults(&response).into_iter().map(|(pointer, _)| pointer).collect();
    assert_eq!(
        (response.status_code, pointers),
        (400, ["?limit", "?since", "?endpoint", "?cursor"].map(str::to_owned).into())
    );
}
