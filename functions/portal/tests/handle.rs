//! Requests that `portal` answers without a table, and the page with its headers. A request that calls AWS gets a 503,
//! because the app has neither region nor credentials.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::io::Read as _;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use aws_lambda_events::encodings::Body;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use portal::{App, Config, handle};
use serde_json::Value;
use signpost_core::portal::{PortalSecret, ROUTES};

const SESSION: &str = include_str!("../../../events/portal-session.json");
const ENDPOINTS: &str = include_str!("../../../events/portal-endpoints.json");
const PAGE: &str = include_str!("../src/page.html");

fn config(frame_ancestors: &str) -> Config {
    Config::from_lookup(|name| {
        Some(match name {
            "FRAME_ANCESTORS" => frame_ancestors.to_owned(),
            "AUDIT_RETENTION_DAYS" | "RETENTION_DAYS" => "30".into(),
            "KEY_LEAD_MINUTES" | "KEY_SIGNING_MINUTES" | "KEY_GRACE_MINUTES" => "60".into(),
            "AUDIT_TABLE"
            | "ENDPOINTS_TABLE"
            | "ENDPOINT_KEYS_TABLE"
            | "EVENTS_TABLE"
            | "KEYS_TABLE"
            | "MAC_KEY"
            | "PARKING_TABLE"
            | "PORTAL_TABLE"
            | "WRAPPING_KEY" => "name".into(),
            "DELIVERIES_QUEUE_URL" | "OWN_EVENTS_QUEUE_URL" => "https://queue.invalid/q".into(),
            _ => return None,
        })
    })
    .unwrap()
}

fn app(frame_ancestors: &str) -> App {
    App::new(&SdkConfig::builder().behavior_version(BehaviorVersion::latest()).build(), config(frame_ancestors))
}

fn request(file: &str) -> ApiGatewayV2httpRequest {
    serde_json::from_str(file).unwrap()
}

fn of_route(route: &str) -> ApiGatewayV2httpRequest {
    let mut request = request(ENDPOINTS);
    request.route_key = Some(route.to_owned());
    request
}

fn text(response: &ApiGatewayV2httpResponse) -> &str {
    match &response.body {
        Some(Body::Text(text)) => text,
        None => "",
        other => panic!("found {other:?}; expected a text"),
    }
}

#[tokio::test]
async fn garbage_costs_no_read_and_a_secret_that_may_be_good_does() {
    let app = app("");
    let with = |file: &str, change: &dyn Fn(&mut ApiGatewayV2httpRequest)| {
        let mut request = request(file);
        change(&mut request);
        request
    };
    let bearer = |value: &'static str| {
        with(ENDPOINTS, &|request| drop(request.headers.insert("authorization", value.parse().unwrap())))
    };
    let body = |text: &str| with(SESSION, &|request| request.body = Some(text.to_owned()));
    let twice = |request: &mut ApiGatewayV2httpRequest| {
        let first = request.headers["authorization"].clone();
        assert!(request.headers.append("authorization", first), "a second one");
    };
    let cases = vec![
        (request(ENDPOINTS), 503, "a token that must be looked up"),
        (request(SESSION), 503, "a code that must be looked up"),
        (with(ENDPOINTS, &|request| drop(request.headers.remove("authorization"))), 401, "no token"),
        (bearer("Bearer x"), 401, "too short for a token"),
        (bearer("Basic eDp5"), 401, "another scheme"),
        (with(ENDPOINTS, &twice), 401, "two tokens"),
        (body(r#"{"code":"x"}"#), 401, "too short for a code"),
        (body("{}"), 400, "no code"),
        (body("<b>"), 400, "no JSON"),
        (body(&format!(r#"{{"code":"{}"}}"#, "x".repeat(2_000))), 413, "too long"),
        (with(SESSION, &|request| drop(request.headers.remove("content-type"))), 415, "no media type"),
        (of_route("GET /portal/api/none"), 404, "no such route"),
    ];
    for (request, status, why) in cases {
        let response = handle(request, &app).await;
        assert_eq!(response.status_code, status, "{why}");
        let header = |name: &str| response.headers[name].to_str().unwrap().to_owned();
        assert_eq!((header("cache-control"), header("x-content-type-options")), ("no-store".into(), "nosniff".into()));
        assert_eq!(response.headers.contains_key("www-authenticate"), status == 401, "{why}");
        let problem: Value = serde_json::from_str(text(&response)).unwrap();
        assert_eq!(problem["status"], status, "{why}");
        assert!(!text(&response).contains('<') && !text(&response).contains("xxxx"), "{why}: {problem}");
    }
}

#[tokio::test]
async fn no_route_answers_without_a_session() {
    let app = app("");
    let own = ["GET /portal/session", "DELETE /portal/session"];
    for route in ROUTES.iter().map(|route| route.key).chain(own) {
        let mut asked = of_route(route);
        assert_eq!(handle(asked.clone(), &app).await.status_code, 503, "{route}: the token must be looked up");
        asked.headers.remove("authorization");
        assert_eq!(handle(asked, &app).await.status_code, 401, "{route}");
    }
}

/// A route of the contract without an entry here could not be reached. An entry without a route would be untested.
#[test]
fn the_routes_are_those_of_the_contract() {
    let contract = include_str!("../../../infra/openapi.yaml");
    let (mut described, mut path) = (BTreeSet::new(), "");
    for line in contract.lines() {
        let name = line.trim_end().trim_end_matches(':');
        match name.strip_prefix("    ") {
            Some(method @ ("get" | "post" | "patch" | "delete" | "put")) if path.starts_with("/portal/api/") => {
                described.insert(format!("{} {path}", method.to_uppercase()));
            }
            _ if line.starts_with("  /") => path = name.trim_start(),
            _ => {}
        }
    }
    assert_eq!(described, ROUTES.iter().map(|route| route.key.to_owned()).collect());
}

#[tokio::test]
async fn the_page_runs_its_own_script_and_no_other() {
    let response = handle(of_route("GET /portal/"), &app("")).await;
    assert_eq!((response.status_code, text(&response) == PAGE), (200, true));
    let policy = response.headers["content-security-policy"].to_str().unwrap();
    // Computed from positions in the file, and not by the code that is tested.
    for (name, directive) in [("script", "script-src"), ("style", "style-src")] {
        let (open, close) = (format!("<{name}"), format!("</{name}>"));
        assert_eq!((PAGE.matches(&open).count(), PAGE.matches(&close).count()), (1, 1), "one <{name}>");
        let begin = PAGE.find(&open).unwrap() + open.len() + 1;
        assert_eq!(&PAGE[begin - 1..begin], ">", "<{name}> has no attribute");
        let content = &PAGE[begin..PAGE.find(&close).unwrap()];
        let hash = STANDARD.encode(digest(&SHA256, content.as_bytes()).as_ref());
        assert!(policy.contains(&format!("{directive} 'sha256-{hash}';")), "{policy}");
    }
    for directive in [
        "default-src 'none'",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ] {
        assert!(policy.split("; ").any(|one| one == directive), "{directive} is not in {policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
}

#[tokio::test]
async fn only_the_listed_origins_may_show_the_page_in_a_frame() {
    let response = handle(of_route("GET /portal"), &app("https://b.example,https://a.example:8443")).await;
    let policy = response.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("; frame-ancestors https://a.example:8443 https://b.example; "), "{policy}");
    let none = handle(of_route("GET /portal"), &app("")).await;
    assert_ne!(none.headers["etag"], response.headers["etag"], "a browser with the page gets the new policy");
}

#[tokio::test]
async fn a_browser_that_has_the_page_gets_no_body() {
    let app = app("");
    let first = handle(of_route("GET /portal/"), &app).await;
    let mut again = of_route("GET /portal/");
    again.headers.insert("if-none-match", first.headers["etag"].clone());
    let again = handle(again, &app).await;
    assert_eq!((again.status_code, again.body), (304, None));
    for name in ["cache-control", "content-security-policy", "etag", "strict-transport-security"] {
        assert_eq!(again.headers[name], first.headers[name], "{name}");
    }
}

#[tokio::test]
async fn a_browser_that_takes_gzip_gets_the_same_page_compressed() {
    let app = app("");
    let mut asked = of_route("GET /portal/");
    asked.headers.insert("accept-encoding", "gzip, deflate, br".parse().unwrap());
    let packed = handle(asked.clone(), &app).await;
    let plain = handle(of_route("GET /portal/"), &app).await;
    assert_eq!((packed.status_code, packed.is_base64_encoded), (200, true));
    assert_eq!(
        (&packed.headers["content-encoding"], &packed.headers["vary"]),
        (&"gzip".parse().unwrap(), &"accept-encoding".parse().unwrap())
    );
    let mut page = String::new();
    let bytes = STANDARD.decode(text(&packed)).unwrap();
    assert!(bytes.len() <= 28 * 1024, "{} bytes on the way", bytes.len());
    GzDecoder::new(&*bytes).read_to_string(&mut page).unwrap();
    assert_eq!(page, PAGE);
    assert_eq!(packed.headers["content-security-policy"], plain.headers["content-security-policy"]);
    assert_ne!(packed.headers["etag"], plain.headers["etag"], "a cache must not mix them up");
    asked.headers.insert("if-none-match", packed.headers["etag"].clone());
    assert_eq!(handle(asked, &app).await.status_code, 304);
}

#[test]
fn a_secret_in_a_file_of_events_is_an_example() {
    let example = PortalSecret::new([0xab; 32]);
    assert!(ENDPOINTS.contains(example.reveal()) && SESSION.contains(example.reveal()));
}

/// An integrator loads the page whole, and a reviewer reads it whole.
#[test]
fn the_page_has_at_most_80_kibibytes_and_makes_no_html_of_texts() {
    assert!(PAGE.len() <= 80 * 1024, "{} bytes", PAGE.len());
    for forbidden in
        ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "DOMParser", "eval(", "javascript:"]
    {
        assert!(!PAGE.contains(forbidden), "{forbidden}");
    }
    for part in [" src=", "@import", ": url(", "@font-face"] {
        assert!(!PAGE.contains(part), "{part} loads something else");
    }
}
