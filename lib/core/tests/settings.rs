//! Settings are stable: Signpost shows the settings that it accepted, and accepts the settings that it shows.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use signpost_core::endpoint::Endpoint;
use signpost_core::endpoint::destination::RolePatterns;
use signpost_core::endpoint::settings::{Context, Stored, Submission, patched, read, shown};
use signpost_core::endpoint::target::TargetRules;

const LOCAL: TargetRules =
    TargetRules { more_ports: BTreeSet::new(), dangerously_allow_http: true, dangerously_allow_private_targets: true };

const POST: Context<'_> = Context { targets: &LOCAL, roles: &RolePatterns::NONE, now: 1_800_000_000, stored: None };

fn patch(submission: &Submission, patch: &str) -> Result<Submission, String> {
    let trusted = submission.trusted.as_deref();
    let stored = Stored { endpoint: &submission.endpoint, trusted };
    let whole = patched(&submission.endpoint, trusted, patch).map_err(|faults| format!("{faults:?}"))?;
    read(&whole, Context { stored: Some(stored), ..POST }).map_err(|faults| format!("{faults:?}"))
}

fn url() -> impl Strategy<Value = Value> {
    let path = prop_oneof![
        "[a-zA-Z0-9/._~é%20 {}?&=#-]{0,30}",
        (300..700_usize).prop_map(|count| "é".repeat(count)),
        (2_000..2_060_usize).prop_map(|count| "a".repeat(count)),
        (600..700_usize).prop_map(|count| "{".repeat(count)),
    ];
    let host = prop_oneof![
        Just("a.example".to_owned()),
        Just("127.0.0.1:9".to_owned()),
        Just("ÄÖ.example".to_owned()),
        "[a-z0-9-]{1,70}\\.example",
        "[a-z.]{1,12}",
    ];
    (prop_oneof![Just("http"), Just("HTTPS")], host, path)
        .prop_map(|(scheme, host, path)| json!(format!("{scheme}://{host}/{path}")))
}

fn auth() -> impl Strategy<Value = Value> {
    let value = "[ -~]{1,12}";
    prop_oneof![
        Just(json!({"kind": "none"})),
        "[a-z]{1,5}:[ -~é]{0,8}".prop_map(|secret| json!({"kind": "basic", "secret": secret})),
        "([A-Za-z-]{1,8}:)?[ -~]{1,12}".prop_map(|secret| json!({"kind": "apiKey", "secret": secret})),
        ("[A-Za-z-]{1,8}", value)
            .prop_map(|(header, secret)| json!({"kind": "apiKey", "header": header, "secret": secret})),
        (url(), value, prop::option::of(value)).prop_map(|(url, id, scope)| {
            let mut auth = json!({"kind": "oauth2", "tokenUrl": url, "clientId": id, "secret": "s"});
            if let Some(scope) = scope {
                auth["scope"] = scope.into();
            }
            auth
        }),
    ]
}

fn retry() -> impl Strategy<Value = Value> {
    let number = prop_oneof![0..120_u32, 43_000..43_300_u32];
    let some = prop::option::of(number.clone());
    let backoff = prop::option::of(prop_oneof![Just("fixed"), Just("exponential")]);
    let policy = (some.clone(), some.clone(), some, backoff).prop_map(|(retries, interval, longest, backoff)| {
        let members = [
            ("maxRetries", json!(retries)),
            ("intervalSeconds", json!(interval)),
            ("maxIntervalSeconds", json!(longest)),
            ("backoff", json!(backoff)),
        ];
        let members = members.into_iter().filter(|(_, value)| !value.is_null());
        Value::Object(members.map(|(name, value)| (name.to_owned(), value)).collect())
    });
    prop_oneof![policy, prop::collection::vec(number, 0..6).prop_map(|waits| json!({ "schedule": waits }))]
}

fn headers() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[A-Za-z-]{1,8}", "[!-~]{0,6}", 0..4).prop_map(|headers| json!(headers))
}

fn filter() -> impl Strategy<Value = Value> {
    let condition = prop_oneof![
        "[a-z*]{0,4}".prop_map(Value::from),
        "[a-z*]{0,4}".prop_map(|text| json!({ "wildcard": text })),
        any::<f32>().prop_map(|number| json!(number)),
        (-9_i64..9, -9_i64..9).prop_map(|(least, most)| json!({"numeric": [">", least, "<=", most]})),
        prop_oneof![Just(Value::Null), Just(json!({"exists": false})), Just(json!({"anything-but": ["a", "b"]}))],
    ];
    let conditions = prop::collection::vec(condition, 1..3).prop_map(Value::from);
    let fields = conditions.prop_recursive(3, 8, 3, |inner| {
        let fields = prop::collection::btree_map("[a-c]", inner, 1..3).prop_map(|fields| json!(fields));
        prop_oneof![fields.clone(), (fields.clone(), fields).prop_map(|(one, other)| json!({"$or": [one, other]}))]
    });
    prop_oneof![
        fields.prop_map(|fields| json!({ "data": fields })),
        "[a-z]{1,3}".prop_map(|kind| json!({ "type": [kind] })),
        Just(Value::Null),
    ]
}

fn member() -> impl Strategy<Value = (&'static str, Value)> {
    let names = || prop::collection::vec("[A-Z]{1,4}|é", 0..3);
    let one_type = ("[a-z]{1,6}", names()).prop_map(|(kind, statuses)| json!({"type": kind, "statuses": statuses}));
    prop_oneof![
        ".{0,20}".prop_map(|text| ("description", json!(text))),
        prop::collection::vec(one_type, 0..3).prop_map(|types| ("types", json!(types))),
        filter().prop_map(|filter| ("filter", filter)),
        prop::collection::btree_map("[a-z]{1,4}", names(), 0..3).prop_map(|fields| ("fields", json!(fields))),
        prop_oneof![Just("headers"), Just("structured"), Just("none")].prop_map(|mode| ("cloudEvents", json!(mode))),
        any::<bool>().prop_map(|asked| ("sequence", json!(asked))),
        prop_oneof![Just("GET"), Just("POST"), Just("PUT")].prop_map(|method| ("method", json!(method))),
        auth().prop_map(|auth| ("auth", auth)),
        Just(("signatures", json!(["standard-webhooks", "jws"]))),
        retry().prop_map(|retry| ("retry", retry)),
        (0..33_u32).prop_map(|seconds| ("timeoutSeconds", json!(f64::from(seconds)))),
        (0..502_u32).prop_map(|most| ("maxConcurrency", json!(most))),
        headers().prop_map(|headers| ("headers", headers)),
        Just(("verification", json!("challenge"))),
    ]
}

fn settings() -> impl Strategy<Value = Value> {
    (url(), prop::collection::vec(member(), 0..5)).prop_map(|(url, members)| {
        let members = members.into_iter().map(|(name, value)| (name.to_owned(), value));
        Value::Object([("url".to_owned(), url)].into_iter().chain(members).collect())
    })
}

/// Generates a merge patch that sets and removes some members, and some members inside them.
fn any_patch() -> impl Strategy<Value = Value> {
    let taken = prop_oneof![
        Just("description"),
        Just("auth"),
        Just("retry"),
        Just("headers"),
        Just("maxConcurrency"),
        Just("url"),
        "[a-z]{1,5}".prop_map(|name| &*name.leak()),
    ];
    let inside = prop_oneof![
        "[a-zA-Z]{1,10}|scope|secret|header|kind".prop_map(|name| json!({"auth": {name: null}})),
        "maxRetries|intervalSeconds|backoff|schedule|colour".prop_map(|name| json!({"retry": {name: null}})),
        "[A-Za-z -]{1,8}".prop_map(|name| json!({"headers": {name: null}})),
        "[a-c]|[$]or".prop_map(|name| json!({"filter": {"data": {name: null}}})),
        prop_oneof![Just("type"), Just("data"), Just("time")].prop_map(|name| json!({"filter": {name: null}})),
    ];
    let members = prop::collection::vec(member(), 0..3)
        .prop_map(|members| Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()));
    prop_oneof![taken.prop_map(|name| json!({name: null})), inside, members]
}

/// RFC 7396, section 2.
fn merge(target: Value, patch: &Value) -> Value {
    let Value::Object(members) = patch else { return patch.clone() };
    let mut merged = match target {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    for (name, value) in members {
        if value.is_null() {
            merged.remove(name);
        } else {
            let old = merged.remove(name).unwrap_or_default();
            merged.insert(name.clone(), merge(old, value));
        }
    }
    Value::Object(merged)
}

proptest! {
    /// POST accepts the settings, GET shows them, and POST and PATCH accept the shown settings again.
    #[test]
    fn accepted_settings_are_shown_and_accepted_again(settings in settings()) {
        let Ok(submission) = read(&settings.to_string(), POST) else { return Ok(()) };
        let seen = shown(&submission.endpoint, submission.trusted.as_deref());
        prop_assert_eq!(serde_json::from_value::<Endpoint>(json!(submission.endpoint)).unwrap(), submission.endpoint.clone());

        let mut again = seen.clone();
        if let Some(secret) = settings.pointer("/auth/secret") {
            again["auth"]["secret"] = secret.clone();
        }
        let posted = read(&again.to_string(), POST);
        prop_assert_eq!(posted.as_ref(), Ok(&submission), "POST of {}", again);

        for changes in ["{}".to_owned(), seen.to_string(), json!({"description": "x"}).to_string()] {
            let changed = patch(&submission, &changes);
            prop_assert!(changed.is_ok(), "PATCH {} of {}: {:?}", changes, seen, changed);
            let changed = changed.unwrap();
            prop_assert_eq!(changed.auth_secret, None);
            let mut expected = seen.clone();
            if changes.starts_with(r#"{"description":"x"}"#) {
                expected["description"] = "x".into();
            }
            prop_assert_eq!(shown(&changed.endpoint, changed.trusted.as_deref()), expected);
        }
    }

    /// POST accepts the whole result of an accepted PATCH, and refuses every name that POST does not know.
    #[test]
    fn patch_accepts_nothing_that_post_refuses(settings in settings(), changes in any_patch()) {
        let Ok(submission) = read(&settings.to_string(), POST) else { return Ok(()) };
        let Ok(changed) = patch(&submission, &changes.to_string()) else { return Ok(()) };
        let mut whole = shown(&changed.endpoint, None);
        if let Some(secret) = changes.pointer("/auth/secret").or_else(|| settings.pointer("/auth/secret"))
            && whole["auth"]["kind"] != "none"
        {
            whole["auth"]["secret"] = secret.clone();
        }
        prop_assert!(read(&whole.to_string(), POST).is_ok(), "{} by {}", settings, changes);

        let known = json!({"url": 0, "description": 0, "types": 0, "filter": 0, "fields": 0, "cloudEvents": 0, "sequence": 0, "method": 0, "auth": 0,
            "signatures": 0, "jwsAlgorithm": 0, "retry": 0, "timeoutSeconds": 0, "maxConcurrency": 0, "maxPerSecond": 0,
            "headers": 0, "verification": 0});
        prop_assert!(changes.as_object().unwrap().keys().all(|name| known.get(name).is_some()), "{}", changes);

        // If the kind does not change, the outcome is that of RFC 7396.
        if changes.get("auth").is_none() && changes.get("retry").is_none() && changes.get("headers").is_none() {
            let merged = merge(shown(&submission.endpoint, None), &changes);
            let mut expected = merged.clone();
            if let Some(secret) = settings.pointer("/auth/secret") {
                expected["auth"]["secret"] = secret.clone();
            }
            let expected = read(&expected.to_string(), POST).map(|one| one.endpoint);
            prop_assert_eq!(expected.as_ref(), Ok(&changed.endpoint), "{}", merged);
        }
    }
}
