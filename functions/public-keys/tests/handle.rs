//! Requests that `public-keys` answers without a table.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use aws_lambda_events::encodings::Body;
use http::Method;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use public_keys::{App, Config, handle};
use serde_json::{Value, json};

const EGRESS: &str = include_str!("../../../events/public-keys-egress-addresses.json");

fn app(egress_addresses: &str) -> App {
    let aws = SdkConfig::builder().behavior_version(BehaviorVersion::latest()).build();
    let setting = |name: &str| match name {
        "EGRESS_ADDRESSES" => egress_addresses.to_owned(),
        "KEY_LEAD_MINUTES" => "60".to_owned(),
        "UPCOMING_EGRESS_ADDRESSES" => "203.0.113.9".to_owned(),
        name => name.to_lowercase(),
    };
    let config = Config::from_lookup(|name| Some(setting(name))).unwrap();
    assert_eq!(config.key_lead, Duration::from_hours(1));
    App::new(&aws, config)
}

fn json_of(response: &ApiGatewayV2httpResponse) -> Value {
    let Some(Body::Text(text)) = &response.body else { panic!("a text") };
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn head_is_answered_as_get_is_without_the_body() {
    let app = app("203.0.113.7");
    for (file, is_asked_of_no_tenant) in [
        (include_str!("../../../events/public-keys-pem.json"), false),
        (include_str!("../../../events/public-keys-set.json"), false),
        (include_str!("../../../events/public-keys-set.json"), true),
        (EGRESS, false),
    ] {
        let mut request: ApiGatewayV2httpRequest = serde_json::from_str(file).unwrap();
        if is_asked_of_no_tenant {
            request.path_parameters.clear();
        }
        let get = handle(request.clone(), &app).await;
        request.request_context.http.method = Method::HEAD;
        let head = handle(request, &app).await;
        assert_eq!((head.status_code, &head.headers), (get.status_code, &get.headers), "{file}");
        assert!(get.body.is_some() && head.body.is_none(), "{file}");
    }
}

#[tokio::test]
async fn receivers_find_the_addresses_that_webhooks_come_from() {
    let request: ApiGatewayV2httpRequest = serde_json::from_str(EGRESS).unwrap();
    let fixed = handle(request.clone(), &app("203.0.113.7,203.0.113.8/31")).await;
    let not_fixed = handle(request.clone(), &app("")).await;

    assert_eq!((fixed.status_code, not_fixed.status_code), (200, 200));
    assert_eq!(fixed.headers[CONTENT_TYPE], "application/json");
    assert_eq!(fixed.headers[CACHE_CONTROL], "public, max-age=3600, stale-if-error=3600");
    let (fixed_json, not_fixed) = (json_of(&fixed), json_of(&not_fixed));
    assert_eq!(fixed_json["addresses"], json!(["203.0.113.7/32", "203.0.113.8/31"]));
    assert_eq!((&fixed_json["fixed"], &not_fixed["fixed"]), (&json!(true), &json!(false)));
    assert_eq!(fixed_json["upcoming"], json!(["203.0.113.9/32"]));

    let mut again = request;
    again.headers.insert("if-none-match", fixed.headers[ETAG].clone());
    let again = handle(again, &app("203.0.113.8/31,203.0.113.7")).await;
    assert_eq!(again.status_code, 304, "the order of the setting does not matter");
}
