//! Runs all of docs/vectors.json.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io;

use common::{FILE, at_time_of, body_of, headers_of, text, vector_of, vectors, verify, with_keys};
use serde_json::Value;
use signpost_receiver::{Error, Format, KeySet, KeySetOptions, Receiver, Settings, SettingsError};

#[tokio::test]
async fn each_vector_is_accepted_or_refused_at_its_step() {
    assert!(vectors().len() > 100);
    let mut wrong = Vec::new();
    for vector in vectors() {
        let (expected, name) = (&vector["expected"], &vector["name"]);
        let result = verify(&at_time_of(vector, with_keys(vector)), vector).await;
        let is_right = match &result {
            Ok(event) => {
                let signed: Vec<_> = event.signed.iter().collect();
                expected["accepted"] == true
                    && event.id == text(&expected["event"]["id"])
                    && event.source == text(&expected["event"]["source"])
                    && event.kind == text(&expected["event"]["type"])
                    && event.attempt.map(u64::from) == expected["event"]["attempt"].as_u64()
                    && event.replay == text(&expected["event"]["replay"])
                    && serde_json::json!(signed) == expected["event"]["signed"]
            }
            Err(error) => expected["steps"].as_array().is_some_and(|steps| steps.contains(&error.step().into())),
        };
        if !is_right {
            wrong.push(format!("{name}: found {result:?}; expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn each_changed_byte_of_a_body_is_refused() {
    let accepted = |vector: &&Value| vector["expected"]["accepted"] == true && vector["request"]["method"] != "GET";
    for vector in vectors().iter().filter(accepted) {
        let (receiver, headers) = (at_time_of(vector, with_keys(vector)), headers_of(vector));
        for at in (0..body_of(vector).len()).step_by(7) {
            let mut body = body_of(vector);
            body[at] ^= 1;
            let (url, method) = (vector["request"]["url"].as_str(), vector["request"]["method"].as_str().unwrap());
            let result = receiver.verify(headers.clone(), &body, url, method).await;
            assert!(matches!(result, Err(Error::Refused(_))), "{} at {at}: {result:?}", vector["name"]);
        }
    }
}

#[tokio::test]
async fn hostile_requests_are_accepted_or_refused_and_end_nothing() {
    let attacked = ["JWS EdDSA", "JWS, structured", "Standard Webhooks", "HTTP message signature EdDSA", "all formats"];
    let (mut count, deep) = (0, vec![b'['; 100_000]);
    for vector in attacked.map(vector_of) {
        let (receiver, headers, body) = (at_time_of(vector, with_keys(vector)), headers_of(vector), body_of(vector));
        let (url, method) = (vector["request"]["url"].as_str().unwrap(), vector["request"]["method"].as_str().unwrap());
        for at in 0..headers.len() {
            for hostile in hostile_values(&headers[at].1) {
                let mut headers: Vec<(String, Vec<u8>)> =
                    headers.iter().map(|(name, value)| (name.clone(), value.clone().into_bytes())).collect();
                headers[at].1.clone_from(&hostile);
                let called = format!("{url}?{}", String::from_utf8_lossy(&hostile));
                let calls = [(&*body, url, method), (&*deep, url, "POST"), (b"", &called, "GET")];
                for (body, url, method) in calls {
                    count += 1;
                    let result = receiver.verify(headers.clone(), body, Some(url), method).await;
                    assert!(matches!(result, Ok(_) | Err(Error::Refused(_))), "{} {result:?}", vector["name"]);
                }
            }
        }
    }
    assert!(count > 1_000, "{count}");
}

fn hostile_values(value: &str) -> Vec<Vec<u8>> {
    let texts = [
        "",
        ",",
        "=",
        "\"",
        "((",
        "))",
        ":",
        "::",
        ".",
        "..",
        "é",
        "\u{0}",
        "٣",
        "e30..",
        "bnVsbA..",
        "W10..",
        "eyJhbGciOltdfQ..A",
        "sig=();tag=\"signpost\"",
        "sig=(\"@method\";x);tag=\"signpost\"",
        "é=(é);tag=\"signpost\", é",
        &value[..value.len() / 2],
    ];
    let made = [
        "9".repeat(15),
        "9".repeat(400),
        "A".repeat(5_000),
        format!("{value}, {value}"),
        value.chars().rev().collect(),
    ];
    let texts = texts.into_iter().map(str::to_owned).chain(made).map(String::into_bytes);
    texts.chain([vec![0xff, 0xfe]]).collect()
}

#[tokio::test]
async fn a_refusal_names_its_step_and_the_answer() {
    let vector = vector_of("JWS RS256");
    let receiver = at_time_of(vector, with_keys(vector));
    let pretty: Value = serde_json::from_slice(&body_of(vector)).unwrap();
    let body = serde_json::to_vec_pretty(&pretty).unwrap();
    let error = receiver.verify(headers_of(vector), &body, None, "POST").await.unwrap_err();
    assert_eq!((error.step(), error.status()), ("body-reencoded", 401));
    assert!(error.to_string().contains("in axum: take `Bytes` and not `Json`"), "{error}");
}

#[tokio::test]
async fn the_hook_marks_repetitions() {
    let vector = vector_of("Standard Webhooks v1");
    let known = text(&vector["expected"]["event"]["id"]).unwrap();
    let receiver = at_time_of(vector, with_keys(vector));
    let receiver = receiver.with_seen(move |id| std::future::ready(Ok::<_, io::Error>(id == known)));
    assert!(verify(&receiver, vector).await.unwrap().is_repeated);
    let other = at_time_of(vector, with_keys(vector)).with_seen(|_| std::future::ready(Ok::<_, io::Error>(false)));
    assert!(!verify(&other, vector).await.unwrap().is_repeated);
}

#[tokio::test]
async fn a_hook_that_fails_asks_for_another_attempt() {
    let vector = vector_of("Standard Webhooks v1");
    let receiver = at_time_of(vector, with_keys(vector));
    let receiver = receiver.with_seen(|_| std::future::ready(Err(io::Error::other("the database is down"))));
    let error = verify(&receiver, vector).await.unwrap_err();
    assert!(matches!(error, Error::Seen(_)));
    assert_eq!(error.status(), 503);
}

#[tokio::test]
async fn only_accepted_formats_count() {
    let vector = vector_of("JWS RS256");
    let settings = Settings { formats: vec![Format::HttpMessageSignatures], ..with_keys(vector) };
    assert_eq!(verify(&at_time_of(vector, settings), vector).await.unwrap_err().step(), "no-signature");
}

#[test]
fn settings_that_verify_nothing_are_refused() {
    let settings = Settings::default;
    assert!(matches!(Receiver::new(settings()), Err(SettingsError::NothingToVerifyWith)));
    let secrets = vec!["whsec_x".to_owned()];
    assert!(matches!(Receiver::new(Settings { secrets, ..settings() }), Err(SettingsError::Secret)));
    for url in ["http://a.example/k", "file:///etc/keys", "keys"] {
        assert!(matches!(KeySet::new(url, KeySetOptions::default()), Err(SettingsError::KeysUrl(_))), "{url}");
    }
    let keys = KeySet::fixed(&FILE["keySets"]["acme"].to_string()).unwrap();
    let nothing = Settings { keys: Some(keys), formats: Vec::new(), ..settings() };
    assert!(matches!(Receiver::new(nothing), Err(SettingsError::NoFormat)));
    assert!("HS256".parse::<signpost_receiver::Algorithm>().is_err() && "svix".parse::<Format>().is_err());
}

#[test]
fn secrets_are_not_shown() {
    let vector = vector_of("Standard Webhooks v1");
    let shown = format!("{:?} {:?}", with_keys(vector), at_time_of(vector, with_keys(vector)));
    assert!(!shown.contains("whsec_"), "{shown}");
}
