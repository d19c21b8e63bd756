//! Tries the key cache against a real HTTP server.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{FILE, Server, at_time_of, settings_of, vector_of, verify};
use signpost_receiver::{Error, Event, KeySet, KeySetOptions, Settings};

const SECOND: Duration = Duration::from_secs(1);

/// A clock that a test sets.
#[derive(Clone)]
struct Clock(Arc<Mutex<Instant>>);

impl Clock {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    fn forward(&self, seconds: u32) {
        *self.0.lock().unwrap() += SECOND * seconds;
    }

    fn set_of(&self, server: &Server) -> KeySet {
        let clock = self.clone();
        let clock: Arc<dyn Fn() -> Instant + Send + Sync> = Arc::new(move || *clock.0.lock().unwrap());
        KeySet::new(&server.url, KeySetOptions { clock, ..KeySetOptions::default() }).unwrap()
    }
}

async fn verify_named(keys: &KeySet, name: &str) -> Result<Event, Error> {
    let vector = vector_of(name);
    let settings = Settings { keys: Some(keys.clone()), secrets: Vec::new(), ..settings_of(vector) };
    verify(&at_time_of(vector, settings), vector).await
}

async fn verify_with(keys: &KeySet) -> Result<Event, Error> {
    verify_named(keys, "JWS RS256").await
}

fn no_keys(server: &Server) {
    *server.state.body.lock().unwrap() = String::from(r#"{"keys":[]}"#);
}

fn all_keys(server: &Server) {
    *server.state.body.lock().unwrap() = FILE["keySets"]["acme"].to_string();
}

#[tokio::test]
async fn keys_are_kept_for_max_age() {
    let (server, clock) = (Server::start().await, Clock::new());
    let keys = clock.set_of(&server);
    for _ in 0..3 {
        verify_with(&keys).await.unwrap();
    }
    assert_eq!(server.requests(), 1);
    clock.forward(59);
    verify_with(&keys).await.unwrap();
    assert_eq!(server.requests(), 1);
    clock.forward(2);
    verify_with(&keys).await.unwrap();
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn an_answer_is_kept_for_the_time_that_its_headers_say() {
    for (headers, seconds) in [
        ("", 300),
        ("cache-control: max-age=60\r\nage: 20\r\n", 40),
        ("cache-control: MAX-AGE=\"60\", public\r\n", 60),
        ("cache-control: max-age=9999999\r\n", 24 * 3600),
        ("cache-control: s-maxage=9, max-age=60\r\n", 60),
    ] {
        let (server, clock) = (Server::start().await, Clock::new());
        *server.state.headers.lock().unwrap() = headers.to_owned();
        let keys = clock.set_of(&server);
        verify_with(&keys).await.unwrap();
        clock.forward(seconds - 1);
        verify_with(&keys).await.unwrap();
        assert_eq!(server.requests(), 1, "{headers}");
        clock.forward(1);
        verify_with(&keys).await.unwrap();
        assert_eq!(server.requests(), 2, "{headers}");
    }
}

#[tokio::test]
async fn an_expired_copy_is_compared_by_its_etag() {
    let (server, clock) = (Server::start().await, Clock::new());
    server.state.headers.lock().unwrap().push_str("etag: \"1\"\r\n");
    let keys = clock.set_of(&server);
    verify_with(&keys).await.unwrap();
    clock.forward(61);
    verify_with(&keys).await.unwrap();
    assert!(server.state.requests.lock().unwrap()[1].contains("if-none-match: \"1\""));
    clock.forward(59);
    verify_with(&keys).await.unwrap();
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn an_unknown_kid_fetches_again_once_and_not_more_often_than_the_cooldown() {
    let (server, clock) = (Server::start().await, Clock::new());
    no_keys(&server);
    let keys = clock.set_of(&server);
    for _ in 0..5 {
        assert_eq!(verify_with(&keys).await.unwrap_err().step(), "kid-unknown");
    }
    assert_eq!(server.requests(), 1);
    all_keys(&server);
    clock.forward(2);
    verify_with(&keys).await.unwrap();
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn a_new_key_of_v1a_is_found_in_the_same_way() {
    let (server, clock) = (Server::start().await, Clock::new());
    no_keys(&server);
    let keys = clock.set_of(&server);
    assert_eq!(verify_named(&keys, "Standard Webhooks v1a").await.unwrap_err().step(), "signature");
    all_keys(&server);
    clock.forward(2);
    verify_named(&keys, "Standard Webhooks v1a").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tasks_share_one_fetch_and_it_survives_the_one_that_began_it() {
    let (server, clock) = (Server::start().await, Clock::new());
    server.state.gate.forget_permits(1_000);
    let keys = clock.set_of(&server);
    let verify_in_task = || {
        let keys = keys.clone();
        tokio::spawn(async move { verify_with(&keys).await })
    };
    let first = verify_in_task();
    while server.requests() == 0 {
        tokio::task::yield_now().await;
    }
    let others: Vec<_> = (0..16).map(|_| verify_in_task()).collect();
    first.abort(); // As axum does when the caller closes its connection.
    assert!(first.await.unwrap_err().is_cancelled());
    server.state.gate.add_permits(1);
    for other in others {
        other.await.unwrap().unwrap();
    }
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn a_server_that_is_down_makes_the_keys_unavailable_and_is_not_flooded() {
    let (server, clock) = (Server::start().await, Clock::new());
    *server.state.status.lock().unwrap() = 500;
    let keys = clock.set_of(&server);
    for _ in 0..5 {
        let error = verify_with(&keys).await.unwrap_err();
        assert_eq!((error.step(), error.status()), ("keys-unavailable", 503));
    }
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn a_known_copy_serves_for_an_hour_while_the_server_is_down() {
    let (server, clock) = (Server::start().await, Clock::new());
    let keys = clock.set_of(&server);
    verify_with(&keys).await.unwrap();
    *server.state.status.lock().unwrap() = 503;
    clock.forward(61);
    verify_with(&keys).await.unwrap();
    assert_eq!(server.requests(), 2);
    clock.forward(3_600);
    assert_eq!(verify_with(&keys).await.unwrap_err().step(), "keys-unavailable");
}

#[tokio::test]
async fn a_refused_connection_makes_the_keys_unavailable() {
    let server = Server::start().await;
    let keys = KeySet::new(&server.url, KeySetOptions::default()).unwrap();
    let url = server.url.clone();
    drop(server);
    let error = verify_with(&keys).await.unwrap_err();
    assert!(matches!(error, Error::KeysUnavailable(_)) && error.to_string().contains(&url), "{error}");
}

#[tokio::test]
async fn a_silent_or_dripping_server_takes_no_longer_than_the_timeout() {
    for drips in [false, true] {
        let server = Server::start().await;
        *server.state.drips.lock().unwrap() = drips;
        if !drips {
            server.state.gate.forget_permits(1_000);
        }
        let options = KeySetOptions { timeout: SECOND * 3 / 10, ..KeySetOptions::default() };
        let (keys, begin) = (KeySet::new(&server.url, options).unwrap(), Instant::now());
        assert_eq!(verify_with(&keys).await.unwrap_err().step(), "keys-unavailable");
        assert!(begin.elapsed() < SECOND * 3);
    }
}

#[tokio::test]
async fn redirects_and_other_answers_are_not_keys() {
    let keys = FILE["keySets"]["acme"].to_string();
    let long = format!("{{\"keys\":[]{}}}", " ".repeat(4 << 20));
    for (status, body) in
        [(302, &*keys), (404, &keys), (200, "[]"), (200, "{\"keys\":\"none\"}"), (200, "text"), (200, &long)]
    {
        let (server, clock) = (Server::start().await, Clock::new());
        *server.state.headers.lock().unwrap() = format!("location: {}\r\n", server.url);
        (*server.state.status.lock().unwrap(), *server.state.body.lock().unwrap()) = (status, body.to_owned());
        let step = verify_with(&clock.set_of(&server)).await.unwrap_err().step();
        assert_eq!((step, server.requests()), ("keys-unavailable", 1), "{status} {body:.20}");
    }
}

#[tokio::test]
async fn keys_of_other_kinds_are_left_out() {
    let (server, clock) = (Server::start().await, Clock::new());
    let mut set = FILE["keySets"]["acme"].clone();
    let others = [
        serde_json::json!({"kty": "oct", "kid": "a", "k": "AAAA"}),
        serde_json::json!({"kty": "EC", "crv": "P-256", "kid": "b", "x": "AAAA", "y": "AAAA"}),
        serde_json::json!({"kty": "RSA", "kid": "c", "n": "AQAB", "e": "AQAB"}),
        serde_json::json!("text"),
    ];
    set["keys"].as_array_mut().unwrap().splice(0..0, others);
    *server.state.body.lock().unwrap() = set.to_string();
    verify_with(&clock.set_of(&server)).await.unwrap();
}
