//! Golden tests for every example payload in the five vendors' documents. The files of `golden/` have the event as a
//! producer posts it, and the integrator's request, byte for byte except for times and signatures.
//!
//! The files were made from the vendors' documents, not by this code. Bodies are the documented JSON without
//! whitespace, with values instead of placeholders and with corrected typographic errors. The counters of a session are
//! ours, because the account-information session service mentions them without an example. The URLs of the `GET`s are
//! Token.io's own, with the `/` that a URL has before its query.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use signpost_core::delivery::request::{AttemptStart, Keyring, Request, RequestError, USER_AGENT};
use signpost_core::endpoint::target::TargetRules;
use signpost_core::endpoint::{Endpoint, Method};
use signpost_core::event::{Event, TenantId};
use signpost_core::signing::public_key::PublicKey;
use signpost_core::signing::signer::{Signer, TenantSigner};

const START: AttemptStart = AttemptStart { number: 1, unix_seconds: 1_769_853_600, replay: None };

/// The examples: the name of each, and its status as the family reads it.
const EXAMPLES: [(&str, &str); 13] = [
    ("operation", "APPROVED"),
    ("activation", "BLOCKED"),
    ("workflow", "COMPLETED"),
    ("token-request-redirect", "completed"),
    ("token-request-error", "error"),
    ("token-request-embedded", "credentials"),
    ("token-request-decoupled", "credentials"),
    ("session", "InProgress"),
    ("session-accounts", "InProgress"),
    ("session-counters", "InProgress"),
    ("session-transactions", "InProgress"),
    ("payment", "Completed"),
    ("transaction", "approved"),
];

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the event of an example, from the request that posts it.
fn event(name: &str) -> Event {
    let request: Value = serde_json::from_str(&read(&format!("../../events/ingest-{name}.json"))).unwrap();
    Event::parse(request["body"].as_str().unwrap()).unwrap_or_else(|faults| panic!("{name}: {faults:?}"))
}

fn keyring() -> Keyring {
    let der = |pem: &str| {
        let lines: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        STANDARD.decode(lines).unwrap()
    };
    let public = PublicKey::from_spki("kid", &der(include_str!("data/rsa-2048.public.pem"))).unwrap();
    let signer = Signer::from_pkcs8(&public, &der(include_str!("data/rsa-2048.pem"))).unwrap();
    let signer = TenantSigner::new(signer.into(), &TenantId::parse("acme").unwrap());
    Keyring { signer: Some(signer), endpoint_keys: Vec::new() }
}

/// Returns a request in the text form of `golden/`.
fn written(request: &Request) -> String {
    let mut text = format!("{} {}\n", request.method.as_str(), request.target.url());
    for (name, value) in &request.headers {
        if !matches!(&**name, "webhook-timestamp" | "jws-signature") {
            writeln!(text, "{name}: {}", value.replace(USER_AGENT, "Signpost/VERSION")).unwrap();
        }
    }
    format!("{text}\n{}\n", request.body)
}

fn request(event: &Event, endpoint: &Endpoint, keyring: &Keyring) -> Request {
    let target = TargetRules::default().parse(&endpoint.url).unwrap();
    Request::build(event, endpoint, target, START, keyring).unwrap()
}

#[test]
fn every_vendor_example_arrives_as_documented() {
    let keyring = keyring();
    for (name, status) in EXAMPLES {
        let event = event(name);
        assert_eq!(event.routing_facts().status.as_deref(), Some(status), "{name}");
        let mut endpoint = Endpoint::new("https://integrator.example/hook");
        let golden = read(&format!("tests/golden/{name}.post.txt"));
        assert_eq!(written(&request(&event, &endpoint, &keyring)), golden, "{name}");
        endpoint.method = Method::Put;
        let put = written(&request(&event, &endpoint, &keyring));
        assert_eq!(put, golden.replacen("POST", "PUT", 1), "{name}");
    }
}

#[test]
fn token_requests_arrive_as_the_documented_urls() {
    let keyring = keyring();
    let cases = [
        ("token-request-redirect", "https://tpp.callback.url"),
        ("token-request-error", "https://thirdparty.callabck.url"),
        ("token-request-embedded", "https://tpp.callabck.url/"),
        ("token-request-decoupled", "https://tpp.callabck.url/"),
    ];
    for (name, url) in cases {
        let mut endpoint = Endpoint::new(url);
        endpoint.method = Method::Get;
        let golden = read(&format!("tests/golden/{name}.get.txt"));
        assert_eq!(written(&request(&event(name), &endpoint, &keyring)), golden, "{name}");
    }
}

#[test]
fn chosen_fields_are_all_that_arrives() {
    let mut endpoint = Endpoint::new("https://integrator.example/hook?tenant=acme");
    endpoint.fields.insert("operation".into(), vec!["status".into(), "parameters".into()]);
    let body = r#"{"type":"OPERATION","operationId":"7a0c2c2b-4a3e-4b6e-9a44-0c4f1d3c7e21","status":"APPROVED","parameters":{"key1":"value\u00201","key2":"value\u00202"}}"#;
    let posted = request(&event("operation"), &endpoint, &keyring());
    assert_eq!((posted.body.as_str(), posted.target.url().query()), (body, Some("tenant=acme")));

    endpoint.method = Method::Get;
    let got = request(&event("operation"), &endpoint, &keyring());
    let query = "tenant=acme&type=OPERATION&operationId=7a0c2c2b-4a3e-4b6e-9a44-0c4f1d3c7e21&status=APPROVED&parameters=\
                 %7B%22key1%22:%22value+1%22%2C%22key2%22:%22value+2%22%7D";
    assert_eq!((got.body.as_str(), got.target.url().query()), ("", Some(query)));
}

#[test]
fn a_payload_that_is_too_long_for_a_url_has_its_own_error() {
    let text = format!(
        r#"{{"specversion":"1.0","id":"1","source":"/","type":"note","tenant":"acme","data":{{"text":"{}"}}}}"#,
        "é".repeat(11_000)
    );
    let mut endpoint = Endpoint::new("https://integrator.example/hook");
    endpoint.method = Method::Get;
    let target = TargetRules::default().parse(&endpoint.url).unwrap();
    let refused = Request::build(&Event::parse(&text).unwrap(), &endpoint, target, START, &keyring());
    assert!(matches!(refused, Err(RequestError::UrlTooLong { bytes: 66_000.. })), "{refused:?}");
}

#[test]
fn a_faulty_payload_is_refused_with_every_fault() {
    let text = r#"{"specversion":"1.0","id":"1","source":"/","type":"operation","tenant":"ACME",
        "data":{"type":"ACTIVATION","status":"approved","failureCount":-1,"parameters":{"a":1}}}"#;
    let faults = Event::parse(text).unwrap_err();
    let told: Vec<_> = faults.iter().map(|fault| (&*fault.pointer, &*fault.found)).collect();
    let expected = [
        ("/tenant", r#""ACME""#),
        ("/data/type", r#""ACTIVATION""#),
        ("/data/operationId", "nothing"),
        ("/data/status", r#""approved""#),
        ("/data/parameters/a", "1"),
        ("/data/failureCount", "-1"),
    ];
    assert_eq!(told, expected);
    assert_eq!(faults[3].expected, "one of PENDING, CANCELED, EXPIRED, APPROVED, REJECTED, FAILED");
}
