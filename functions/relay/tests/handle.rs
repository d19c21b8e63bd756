//! Bank callbacks that `relay` refuses before it reads a table, from the files that `sam local invoke` takes.

use aws_config::{BehaviorVersion, SdkConfig};
use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use aws_lambda_events::encodings::Body;
use relay::{App, Config, handle};

/// Creates the app without region and credentials: a request that calls AWS gets a 503.
fn app() -> App {
    let aws = SdkConfig::builder().behavior_version(BehaviorVersion::latest()).build();
    let config = Config {
        own_events_queue_url: "https://queue.invalid/own-events".into(),
        token_requests_table: "token-requests".into(),
    };
    relay::app(&aws, config)
}

#[tokio::test]
async fn garbage_is_refused_in_plain_words_and_costs_no_read() {
    let app = app();
    let request = |file: &str| serde_json::from_str::<ApiGatewayV2httpRequest>(file).unwrap();
    let get = request(include_str!("../../../events/relay-redirect.json"));
    let post = request(include_str!("../../../events/relay-error-json.json"));
    let with = |request: &ApiGatewayV2httpRequest, change: &dyn Fn(&mut ApiGatewayV2httpRequest)| {
        let mut request = request.clone();
        change(&mut request);
        request
    };
    let state = |text: &str| {
        let text = text.to_owned();
        with(&get, &|request| drop(request.path_parameters.insert("state".into(), text.clone())))
    };
    let query =
        |text: &str| with(&get, &|request| request.raw_query_string = Some(format!("message={}", text.repeat(3_000))));
    let body = |text: &str, is_base64: bool| {
        with(&post, &|request| {
            (request.body, request.is_base64_encoded) = (Some(text.to_owned()), is_base64);
        })
    };
    let media_type = |text: &'static str| {
        with(&post, &|request| drop(request.headers.insert("content-type", text.parse().unwrap())))
    };
    let form = |text: &str, charset: &str| {
        let media_type = format!("application/x-www-form-urlencoded{charset}");
        with(&post, &|request| {
            request.headers.insert("content-type", media_type.parse().unwrap());
            request.body = Some(text.to_owned());
        })
    };
    let cases = vec![
        (get.clone(), 503, "a state that must be looked up"),
        (post.clone(), 503, "the same"),
        (request(include_str!("../../../events/relay-error-form.json")), 503, "the same, as a form"),
        (state("x"), 404, "too short for a state"),
        (state("<script>alert(1)</script>"), 404, "a script"),
        (with(&get, &|request| request.path_parameters.clear()), 404, "no state"),
        (query("%3Cb%3E"), 413, "a long query"),
        (query("&a="), 413, "many parameters"),
        (body(&"x".repeat(9_000), false), 413, "a long body"),
        (body(&"eHh4".repeat(5_000), true), 413, "a long body in base64"),
        (body("<script>", false), 400, "no JSON"),
        (body("/w==", true), 400, "no UTF-8"),
        (media_type("text/html"), 415, "HTML"),
        (media_type("application/json; charset=iso-8859-1"), 415, "JSON in another charset"),
        (media_type("application/json; charset=UTF-8"), 503, "JSON in UTF-8"),
        (form("message=%E9", "; charset=ISO-8859-1"), 415, "a form in another charset"),
        (form("message=%E9", ""), 400, "a form that is not UTF-8"),
        (form("code=%C3%A9", "; charset=utf-8"), 503, "a form in UTF-8"),
        (with(&get, &|request| request.raw_query_string = Some("code=%E9".into())), 400, "a query that is not UTF-8"),
    ];
    for (request, status, why) in cases {
        let response = handle(request, &app).await;
        assert_eq!(response.status_code, status, "{why}");
        let Some(Body::Text(text)) = &response.body else { panic!("{why}: no text") };
        assert!(!text.contains('<') && text.lines().count() == 1, "{why}: {text}");
        let expected = [
            ("content-type", "text/plain; charset=utf-8"),
            ("cache-control", "no-store"),
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
        ];
        for (name, value) in expected {
            assert_eq!(response.headers[name], value, "{why}");
        }
        assert_eq!(response.headers.contains_key("retry-after"), status == 503, "{why}");
        assert!(!response.headers.contains_key("location"), "{why}");
    }
}

#[tokio::test]
async fn a_prefetch_gets_503_and_costs_no_read() {
    let app = app();
    let get: ApiGatewayV2httpRequest =
        serde_json::from_str(include_str!("../../../events/relay-redirect.json")).unwrap();
    let ahead = "This link does not answer ahead of time. Please open it.\n";
    let ours = "This did not work, for a reason on our side. Please try the same again in a moment.\n";
    let cases = [
        ("sec-purpose", "prefetch", ahead),
        ("sec-purpose", "prefetch;prerender", ahead),
        ("sec-purpose", "prefetch;anonymous-client-ip", ahead),
        ("sec-purpose", "Prefetch; Prerender", ahead),
        ("purpose", "prefetch", ahead),
        ("x-purpose", "preview", ahead),
        ("x-moz", "prefetch", ahead),
        ("sec-purpose", "", ours),
        ("sec-purpose", "prefetched", ours),
        ("sec-fetch-dest", "prefetch", ours),
    ];
    for (name, value, expected) in cases {
        let mut request = get.clone();
        request.headers.insert(name, value.parse().unwrap());
        let response = handle(request, &app).await;
        let Some(Body::Text(text)) = response.body else { panic!("{name}: {value}") };
        assert_eq!((response.status_code, &*text), (503, expected), "{name}: {value}");
        assert_eq!(response.headers["cache-control"], "no-store", "{name}: {value}");
    }
}

#[tokio::test]
async fn a_head_request_changes_nothing_and_reveals_nothing() {
    let mut request: ApiGatewayV2httpRequest =
        serde_json::from_str(include_str!("../../../events/relay-redirect.json")).unwrap();
    request.request_context.http.method = http::Method::HEAD;
    for state in ["q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s", "x"] {
        request.path_parameters.insert("state".into(), state.into());
        let response = handle(request.clone(), &app()).await;
        assert_eq!((response.status_code, response.body), (204, None), "{state}");
        assert_eq!(response.headers["cache-control"], "no-store", "{state}");
    }
}
