//! Bank callbacks: every flow that Token.io documents, from the bank's request to the integrator's, byte for byte, and
//! invalid requests.
//!
//! The bank's requests are in `events/relay-*.json`. They are made from Token.io's documentation: the queries of its
//! URLs, its JSON in its own spelling, and a form. The integrator's requests are in `golden/`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::Value;
use signpost_core::delivery::request::{AttemptStart, Keyring, Request};
use signpost_core::endpoint::target::TargetRules;
use signpost_core::endpoint::{Endpoint, Method};
use signpost_core::event::{Event, TenantId};
use signpost_core::token_request::{
    BankResponse, Body, Callback, CallbackError, CallbackToken, RequestId, TokenRequest,
};

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns a token request with a bank callback that has this payload.
fn called(id: &str, redirect_url: &str, payload: String) -> (TokenRequest, BankResponse) {
    let called = BankResponse { at: 1_769_853_600, payload, acknowledged_by: None };
    let request = TokenRequest {
        tenant: TenantId::parse("acme").unwrap(),
        id: RequestId::parse(id).unwrap(),
        redirect_url: Some(redirect_url.to_owned()),
        registered_at: 1_769_853_000,
        expires_at: 1_769_856_600,
        state: CallbackToken::new([7; 32]).hash(),
        called: Some(called.clone()),
    };
    (request, called)
}

/// Returns the bank callback in a file of `events/`.
fn callback(file: &str) -> Result<Callback, CallbackError> {
    let request: Value = serde_json::from_str(&read(&format!("../../events/relay-{file}.json"))).unwrap();
    let text = |name: &str| request[name].as_str().unwrap_or_default().to_owned();
    let body = match request["isBase64Encoded"] {
        Value::Bool(true) => String::from_utf8(STANDARD.decode(text("body")).unwrap()).unwrap(),
        _ => text("body"),
    };
    let media_type = request["headers"]["content-type"].as_str().unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default();
    Callback::parse(&text("rawQueryString"), Body::of(media_type, &body)?)
}

/// Returns the request that an integrator gets, without its signatures.
fn to_integrator(event: &Event, url: &str, method: Method) -> Request {
    let mut endpoint = Endpoint::new(url);
    (endpoint.method, endpoint.signatures) = (method, Vec::new());
    let target = TargetRules::default().parse(url).unwrap();
    let start = AttemptStart { number: 1, unix_seconds: 1_769_853_600, replay: None };
    Request::build(event, &endpoint, target, start, &Keyring::default()).unwrap()
}

#[test]
fn every_documented_flow_reaches_the_integrator_byte_for_byte() {
    let redirect = ("redirect", "rq:3SVzgJtzu2DvaZSgRGznpdknT3dq:5zKtXEAq", "https://tpp.callback.url/");
    let error = ("error", redirect.1, "https://thirdparty.callabck.url/");
    let embedded = ("embedded", "rq:43hA2P34BC9a1jwYmyjmDYBrTETA:5zKtXEAq", "https://tpp.callabck.url/");
    let decoupled = ("decoupled", "rq:3smDYdTPr4gejc9g6MrHFnAAssg8:5zKtXEAq", "https://tpp.callabck.url/");
    let cases = [
        ("redirect", redirect, "completed"),
        ("redirect-json", redirect, "completed"),
        ("error", error, "error"),
        ("error-json", error, "error"),
        ("error-form", error, "error"),
        ("embedded", embedded, "credentials"),
        ("embedded-json", embedded, "credentials"),
        ("decoupled", decoupled, "credentials"),
        ("decoupled-json", decoupled, "credentials"),
    ];
    for (file, (flow, id, url), status) in cases {
        let payload = callback(file).unwrap().payload(&RequestId::parse(id).unwrap()).unwrap();
        let (request, called) = called(id, url, payload);
        let event = request.event(&called).unwrap();
        assert_eq!(event.routing_facts().status.as_deref(), Some(status), "{file}");
        assert_eq!(request.outcome(0).as_str(), status, "{file}");

        let golden = read(&format!("tests/golden/token-request-{flow}.get.txt"));
        let page_url = golden.lines().next().unwrap().trim_start_matches("GET ");
        assert_eq!(to_integrator(&event, url, Method::Get).target.url().as_str(), page_url, "{file}");
        assert_eq!(request.location(&called).as_deref(), Some(page_url), "{file}: the browser's way is the same");

        let golden = read(&format!("tests/golden/token-request-{flow}.post.txt"));
        let page_json = golden.trim_end().rsplit('\n').next().unwrap();
        let posted = to_integrator(&event, "https://integrator.example/hook", Method::Post);
        assert_eq!(posted.body, page_json, "{file}");
    }
}

#[test]
fn a_callback_of_another_request_or_with_half_an_error_becomes_no_event() {
    let id = RequestId::parse("rq:of:another").unwrap();
    assert_eq!(callback("redirect").unwrap().payload(&id), Err(CallbackError::OtherRequest("request-id")));
    let refused = callback("faults").unwrap().payload(&id).unwrap_err();
    let told = "The callback has faults. `trace-id`: expected a text, because there is an `error`.";
    assert_eq!(refused.to_string(), told, "without the script in the request");
}

/// Generates queries, forms and JSON around known fields, with special values, and garbage.
fn parameters() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        4 => prop::sample::select(vec![
            "request-id", "request_id", "trace-id", "error", "message", "credential-fields", "request%2Did", "state",
            "code", "order", "tenant", "Error", "error[]", "%e9",
        ]).prop_map(str::to_owned),
        1 => "[ -~]{0,6}",
        1 => any::<String>(),
    ];
    let value = prop_oneof![
        4 => prop::sample::select(vec![
            "rq:1:5zKtXEAq", "rq%3A1%3A5zKtXEAq", "14", "014", "+1", "0", "99", "Bank+is+unavailable", "%00", "%ff%fe",
            "%C3%A9", "%E9", "%EF%BF%BD",
            "%0d%0aLocation:%20https://evil.example", "<script>alert(1)</script>", "\"", "\\",
            "eyJmaWVsZHMiOlt7ImRlc2NyaXB0aW9uIjoiT25lLXRpbWUgcGFzc2NvZGUiLCJpZCI6Im90cCJ9XX0", "e30",
        ]).prop_map(str::to_owned),
        1 => "[ -~]{0,12}",
        1 => any::<String>(),
    ];
    let pairs = prop::collection::vec((name, value), 0..8);
    pairs.prop_map(|pairs| {
        let parameters: Vec<_> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        parameters.join("&")
    })
}

fn object() -> impl Strategy<Value = String> {
    let value = prop::sample::select(vec![
        r#""rq:1:5zKtXEAq""#,
        r#""rq:\u0031:5zKtXEAq""#,
        "14",
        "14.0",
        "1e1",
        "-0",
        r#""14""#,
        "null",
        "{\"a\":[]}",
        r#""\ud800""#,
        r#""\u0000""#,
        r#""<script>""#,
        r#""""#,
        r#""eyJmaWVsZHMiOlt7InR5cGUiOiJERUNPVVBMRUQifV19""#,
    ]);
    let name = prop::sample::select(vec![
        "request-id",
        "error",
        "message",
        "trace-id",
        "credential-fields",
        "\\u0065rror",
        "code",
        "status",
        "ERROR",
    ]);
    let members = prop::collection::vec((name, value), 0..6);
    let object = members.prop_map(|members| {
        let members: Vec<_> = members.into_iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", members.join(","))
    });
    prop_oneof![4 => object, 1 => any::<String>()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// No input causes a panic. An accepted callback becomes a valid event with each sent field and without replaced
    /// characters. Its redirect is one line, has only Token.io's fields, leads to the registered URL and fits into an
    /// answer. A refusal quotes nothing of the input.
    #[test]
    fn any_callback_becomes_a_valid_event_or_is_refused(
        query in parameters(),
        form in parameters(),
        object in object(),
        kind in 0..3,
    ) {
        let id = "rq:1:5zKtXEAq";
        let body = match kind {
            0 => Body::None,
            1 => Body::Form(&form),
            _ => Body::Json(&object),
        };
        let said = Callback::parse(&query, body).and_then(|callback| callback.payload(&RequestId::parse(id).unwrap()));
        match said {
            Ok(payload) => {
                let (request, called) = called(id, "https://tpp.example/done?order=7", payload);
                let event = request.event(&called).unwrap();
                let data: Value = serde_json::from_str(event.data()).unwrap();
                // The `url` crate has the standard's own parser.
                let form = if kind == 1 { &*form } else { "" };
                let pairs = [&*query, form].map(|part| url::form_urlencoded::parse(part.as_bytes()).into_owned());
                for (name, value) in pairs.into_iter().flatten() {
                    let held = &data[&*name];
                    let is_held = match held {
                        Value::Array(all) => all.iter().any(|one| *one == *value),
                        Value::Number(number) => number.to_string() == value,
                        one => *one == *value,
                    };
                    prop_assert!(is_held, "{name}={value} in {data}");
                }
                let sent = format!("{query}&{form}{object}");
                let is_sent = sent.contains('\u{fffd}') || sent.contains("%EF%BF%BD");
                prop_assert!(is_sent || !event.data().contains('\u{fffd}'), "{data}");
                prop_assert_eq!((&data["request-id"], &data["request_id"]), (&Value::from(id), &Value::from(id)));
                let location = request.location(&called).unwrap();
                let start = "https://tpp.example/done?order=7&request-id=rq:1:5zKtXEAq&request_id=rq:1:5zKtXEAq";
                prop_assert!(location.starts_with(start), "{location}");
                let added = location.split_once("order=7&").unwrap().1;
                let own = ["request-id", "request_id", "trace-id", "error", "message", "credential-fields"];
                let names: Vec<_> = url::form_urlencoded::parse(added.as_bytes()).map(|(name, _)| name.into_owned()).collect();
                prop_assert!(names.iter().all(|name| own.contains(&&**name)), "{location}");
                prop_assert!(location.bytes().all(|byte| byte.is_ascii_graphic()) && location.len() < 9_500, "{location}");
            }
            Err(refused) => {
                prop_assert!(matches!(refused.status(), 400 | 413 | 415));
                let told = refused.to_string();
                prop_assert!(!told.contains(['<', '>', '"', '\n']) && told.len() < 1_000, "{told}");
            }
        }
    }

    #[test]
    fn no_text_causes_a_panic(text in any::<String>(), more in any::<String>()) {
        for body in [Body::None, Body::Form(&more), Body::Json(&more)] {
            let _ = Callback::parse(&text, body);
        }
        prop_assert_eq!(CallbackToken::parse(&text), None);
    }
}
