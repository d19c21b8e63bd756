//! Runs all of docs/vectors.json.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io;

use common::{FILE, at_time_of, body_of, headers_of, text, vector_of, vectors, verify, with_keys};
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
async fn a_refusal_names_its_step_and_the_answer() {
    let vector = vector_of("JWS RS256");
    let receiver = at_time_of(vector, with_keys(vector));
    let pretty: serde_json::Value = serde_json::from_slice(&body_of(vector)).unwrap();
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
