//! The judgement of `signpost smoke`, which is that of `infra/smoke.py`: `infra/local/test_smoke.py` has the same cases.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use signpost_cli::commands::smoke::{echoed, judge};
use signpost_cli::verify::keys::PublishedKey;
use signpost_cli::verify::request::SavedRequest;
use signpost_cli::verify::{Format, Trust};
use signpost_core::signing::standard_webhooks::SigningSecret;

use crate::signed::{ENDPOINT, Webhook, key_set};

/// Returns whether a vector passes as a webhook of the smoke test, which are all `POST`.
fn passes(vector: &Value, format: Format, key_sets: &Value) -> bool {
    let (request, receiver) = (&vector["request"], &vector["receiver"]);
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let header = |pair: &Value| (text(&pair[0]).unwrap().to_lowercase(), text(&pair[1]).unwrap());
    let saved = SavedRequest {
        method: text(&request["method"]),
        target: text(&receiver["url"]),
        headers: request["headers"].as_array().unwrap().iter().map(header).collect(),
        body: STANDARD.decode(request["body"].as_str().unwrap()).unwrap(),
    };
    let keys = receiver["keySet"].as_str().map(|name| key_sets[name].to_string());
    let trust = Trust {
        keys: keys.map_or_else(Vec::new, |keys| PublishedKey::parse_set(keys.as_bytes()).unwrap()),
        secrets: text(&receiver["secrets"][0]).and_then(|secret| SigningSecret::parse(&secret)).into_iter().collect(),
        endpoint: Some(text(&receiver["endpoint"]).unwrap_or_default()),
        url: text(&receiver["url"]).map(|url| url.parse().unwrap()),
        algorithm: None,
        now: None,
        tolerance: Duration::ZERO,
    };
    request["method"] == "POST" && judge(&saved, format, &trust).is_ok()
}

#[test]
fn it_judges_the_test_vectors_as_the_program_in_python_does() {
    let document: Value = serde_json::from_str(include_str!("../../../../docs/vectors.json")).unwrap();
    let passing: Value = serde_json::from_str(include_str!("../../../../infra/local/smoke-vectors.json")).unwrap();
    for format in [Format::Jws, Format::StandardWebhooks, Format::HttpMessageSignatures] {
        let vectors = document["vectors"].as_array().unwrap().iter();
        let found = vectors.filter(|one| passes(one, format, &document["keySets"]));
        let found: Vec<_> = found.map(|one| one["name"].clone()).collect();
        assert_eq!(Value::Array(found), passing[format.as_str()], "{}", format.as_str());
    }
}

/// A cache of the key set may be older than the endpoint.
#[test]
fn a_signature_by_v1_alone_waits_for_the_key_of_v1a() {
    let request = Webhook::standard(1).request;
    let secret = SigningSecret::parse("whsec_AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=").unwrap();
    let keys = |set: Value| PublishedKey::parse_set(set.to_string().as_bytes()).unwrap();
    let mut without = key_set();
    without["keys"].as_array_mut().unwrap().retain(|key| key["endpoint"] != ENDPOINT);
    for (keys, expected, why) in
        [(keys(key_set()), None, "all is there"), (keys(without), Some(true), "the key comes with a newer set")]
    {
        let trust =
            Trust { keys, secrets: vec![secret.clone()], endpoint: Some(ENDPOINT.to_owned()), ..Trust::default() };
        let judged = judge(&request, Format::StandardWebhooks, &trust);
        assert_eq!(judged.err().map(|unfit| unfit.may_lack_a_key), expected, "{why}");
    }
}

#[test]
fn a_record_must_have_what_was_sent() {
    let (body, data) = (r#"{"text":"a b"}"#, json!({"text": "a b"}));
    let sent = json!({"bodySha256": "8d8f61d3050b793b5997df186c048fa86639073e6a5a8b7b28d43d738a609e1d"});
    let answer = json!({"headers": {"webhook-id": "e:1"}, "body": body}).to_string();
    let first = json!({"status": 425, "response": answer, "sent": sent});
    let last = json!({"status": 204, "response": null, "sent": sent});
    let changed = |name: &str, value: Value| {
        let mut attempt = first.clone();
        attempt[name] = value;
        attempt
    };
    let url = "https://api.example/smoke";
    let arrived = echoed(&json!({"attempts": [first, last]}), &data, url).unwrap();
    assert_eq!((arrived.header("webhook-id"), arrived.body.as_slice()), (Some("e:1"), body.as_bytes()));
    for (attempts, expected, why) in [
        (json!([]), &data, "no attempt"),
        (json!([last]), &data, "was acknowledged at once"),
        (json!([first]), &data, "was not acknowledged"),
        (json!([changed("response", json!("<html>")), last]), &data, "a proxy answered"),
        (json!([changed("response", Value::Null), last]), &data, "there was no answer"),
        (json!([changed("sent", json!({"bodySha256": "0".repeat(64)})), last]), &data, "another body was sent"),
        (json!([first, last]), &json!({"text": "b"}), "is the data of another event"),
    ] {
        assert!(echoed(&json!({"attempts": attempts}), expected, url).is_err(), "{why}");
    }
}
