//! Requests that `public-keys` answers without a table.

use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use http::Method;
use public_keys::{App, Config, handle};

#[tokio::test]
async fn head_is_answered_as_get_is_without_the_body() {
    let aws = SdkConfig::builder().behavior_version(BehaviorVersion::latest()).build();
    let config = Config {
        endpoint_keys_table: "endpoint-keys".into(),
        key_lead: Duration::from_hours(1),
        keys_table: "keys".into(),
        mac_key: "mac".into(),
    };
    let app = App::new(&aws, config);
    for (file, is_asked_of_no_tenant) in [
        (include_str!("../../../events/public-keys-pem.json"), false),
        (include_str!("../../../events/public-keys-set.json"), false),
        (include_str!("../../../events/public-keys-set.json"), true),
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
