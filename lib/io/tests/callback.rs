//! The HTTP client against receivers that misbehave, over real sockets.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use signpost_core::delivery::attempt::{AttemptError, AttemptResult};
use signpost_core::delivery::cause::{Cause, ExchangeFault, Stage};
use signpost_core::delivery::request::Request;
use signpost_core::delivery::verification::Preflight;
use signpost_core::endpoint::target::TargetRules;
use signpost_core::endpoint::{Endpoint, Method};
use signpost_io::http::guarded_client::{Guard, Lookup};
use signpost_io::http::webhook_sender::{ClientAuth, WebhookSender};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

const LOCAL: TargetRules =
    TargetRules { more_ports: BTreeSet::new(), dangerously_allow_http: true, dangerously_allow_private_targets: true };
const TIMEOUT: Duration = Duration::from_millis(500);

async fn post(callbacks: &WebhookSender, url: &str, timeout: Duration) -> AttemptResult {
    let headers = vec![("webhook-id".into(), "1".into())];
    let request = Request { method: Method::Post, target: callbacks.target(url)?, headers, body: "{}".into() };
    callbacks.send(request, &ClientAuth::Anonymous, timeout).await.result
}

/// Starts a server that calls `treat` for each connection, after it has read the request's head. Returns its port and a
/// channel with one message per connection.
async fn server<F: Future<Output = ()> + Send + 'static>(
    treat: impl Fn(TcpStream) -> F + Send + 'static,
) -> (u16, mpsc::UnboundedReceiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (connected, connections) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = connected.send(());
            let mut head = Vec::new();
            while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            tokio::spawn(treat(stream));
        }
    });
    (port, connections)
}

async fn answer(mut stream: TcpStream, text: &'static str) {
    let _ = stream.write_all(text.as_bytes()).await;
}

#[tokio::test]
async fn a_redirect_is_a_refusal_and_not_followed() {
    let (port, mut connections) = server(|stream| {
        answer(stream, "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/latest/meta-data/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    })
    .await;
    let callbacks = WebhookSender::new(Guard::new(LOCAL)).unwrap();
    let result = post(&callbacks, &format!("http://127.0.0.1:{port}/"), TIMEOUT).await;
    assert!(matches!(result, Err(AttemptError::Rejected { status: 302, .. })), "{result:?}");
    connections.recv().await.unwrap();
    assert!(connections.try_recv().is_err(), "one connection only");
}

#[tokio::test]
async fn one_deadline_covers_everything_up_to_the_last_byte() {
    let silent = |stream: TcpStream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    };
    let dripping = |mut stream: TcpStream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n").await;
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let cases = [
        ("silence", server(silent).await, Stage::Waiting, None),
        ("a drip", server(dripping).await, Stage::Reading, Some(200)),
    ];
    for (what, (port, _connections), stage, status) in cases {
        let callbacks = WebhookSender::new(Guard::new(LOCAL)).unwrap();
        let started = Instant::now();
        let result = post(&callbacks, &format!("http://127.0.0.1:{port}/"), TIMEOUT).await;
        let error = result.unwrap_err();
        assert_eq!((fault(&error), error.status()), (Some(ExchangeFault::TimedOut(stage)), status), "{what}");
        assert!(started.elapsed() < 2 * TIMEOUT, "{what}: {:?}", started.elapsed());
    }
}

#[tokio::test]
async fn an_endless_answer_is_read_to_its_limit_and_its_status_counts() {
    let (port, _connections) = server(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
        while stream.write_all(chunk.as_bytes()).await.is_ok() {}
    })
    .await;
    let callbacks = WebhookSender::new(Guard::new(LOCAL)).unwrap();
    let result = post(&callbacks, &format!("http://127.0.0.1:{port}/"), Duration::from_secs(10)).await;
    assert!(matches!(result, Ok(200)), "{result:?}");
}

#[tokio::test]
async fn an_answer_without_a_status_says_what_is_wrong_with_it() {
    use ExchangeFault::{AnswerAmbiguous, AnswerUnreadable, ConnectionClosed};
    let cases = [
        ("", ConnectionClosed, "closed without an answer"),
        ("HTTP/1.1 200 OK\r\ncontent-le", ConnectionClosed, "closed in the middle of the head"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok", AnswerUnreadable, "two lengths"),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            AnswerAmbiguous,
            "a length, and chunks",
        ),
        ("HTTP/1.1 20x OK\r\n\r\n", AnswerUnreadable, "no status"),
        ("not HTTP at all\r\n\r\n", AnswerUnreadable, "another protocol"),
    ];
    for (text, expected, why) in cases {
        let (port, _connections) = server(move |stream| answer(stream, text)).await;
        let callbacks = WebhookSender::new(Guard::new(LOCAL)).unwrap();
        let error = post(&callbacks, &format!("http://127.0.0.1:{port}/"), TIMEOUT).await.unwrap_err();
        assert_eq!((fault(&error), error.status()), (Some(expected), None), "{why}: {error:?}");
    }
}

/// Returns the fault that ended an exchange.
fn fault(error: &AttemptError) -> Option<ExchangeFault> {
    match error.cause() {
        Cause::Exchange(fault) => Some(fault),
        _ => None,
    }
}

/// The status line decides. curl, Python's requests, Node's fetch, PHP, Ruby and Java accept these heads.
#[tokio::test]
async fn an_odd_head_does_not_take_an_acknowledgement_back() {
    let many: &'static str = Box::leak("X-Many: 1\r\n".repeat(900).into_boxed_str());
    let long: &'static str = Box::leak(format!("X-Long: {}\r\n", "x".repeat(60_000)).into_boxed_str());
    let cases = [
        ("X-A: 1\r\n 2\r\n", "a folded line (RFC 9112, section 5.2)"),
        ("X-A: 1\r\n\t2\r\n", "folded by a tab"),
        ("X-A : 1\r\n", "a space before the colon"),
        ("X A: 1\r\n", "a space in a name"),
        ("no colon at all\r\n", "a line that is not a header"),
        (": no name\r\n", "a header without a name"),
        ("X-A: \u{1}\r\n", "a control character"),
        ("X-A: ä\r\n", "bytes that are not ASCII"),
        ("X-A:\r\n", "an empty value"),
        ("content-length: 0\r\n", "the same length twice"),
        (many, "many headers"),
        (long, "a long header"),
    ];
    for (line, why) in cases {
        let text: &'static str =
            Box::leak(format!("HTTP/1.1 200 OK\r\n{line}content-length: 0\r\n\r\n").into_boxed_str());
        let (port, _connections) = server(move |stream| answer(stream, text)).await;
        let callbacks = WebhookSender::new(Guard::new(LOCAL)).unwrap();
        let result = post(&callbacks, &format!("http://127.0.0.1:{port}/"), TIMEOUT).await;
        assert!(matches!(result, Ok(200)), "{why}: {result:?}");
    }
    for (text, why) in [
        ("HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n", "no reason"),
        ("HTTP/1.0 200 OK\r\n\r\n", "HTTP/1.0, ended by closing"),
        ("HTTP/1.1 200 OK\ncontent-length: 0\n\n", "bare line feeds"),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "an interim answer first"),
    ] {
        let (port, _connections) = server(move |stream| answer(stream, text)).await;
        let callbacks = WebhookSender::new(Guard::new(LOCAL)).unwrap();
        let result = post(&callbacks, &format!("http://127.0.0.1:{port}/"), TIMEOUT).await;
        assert!(matches!(result, Ok(200)), "{why}: {result:?}");
    }
}

/// A status that arrived is on record, however its body ends.
#[tokio::test]
async fn a_status_is_not_lost_with_its_body() {
    const CUT: &str = "\r\ncontent-length: 100\r\nretry-after: 7\r\n\r\nabc";
    for status in [200, 204, 302, 400, 410, 413, 429, 500, 503] {
        for is_stalled in [false, true] {
            let text = format!("HTTP/1.1 {status} Some{CUT}");
            let (port, _connections) = server(move |mut stream| {
                let text = text.clone();
                async move {
                    let _ = stream.write_all(text.as_bytes()).await;
                    if is_stalled {
                        std::future::pending::<()>().await;
                    }
                }
            })
            .await;
            let callbacks = WebhookSender::new(Guard::new(LOCAL)).unwrap();
            let target = callbacks.target(&format!("http://127.0.0.1:{port}/")).unwrap();
            let request = Request { method: Method::Post, target, headers: Vec::new(), body: "{}".into() };
            let exchange = callbacks.send(request, &ClientAuth::Anonymous, TIMEOUT).await;
            let why = format!("{status}, stalled: {is_stalled}: {exchange:?}");
            if status == 204 {
                assert!(matches!(exchange.result, Ok(204)), "it has no body (RFC 9110, section 15.3.5): {why}");
                continue;
            }
            let error = exchange.result.unwrap_err();
            assert_eq!(error.status(), Some(status), "{why}");
            assert!(error.is_retryable() && exchange.connection.is_some(), "{why}");
            assert_eq!(exchange.response.as_deref(), Some("abc…"), "{why}");
            let asks = error.asks_to_wait().map(|wait| wait.as_secs());
            assert_eq!(asks, matches!(status, 429 | 503).then_some(7), "{why}");
        }
    }
}

/// After Lambda thaws, a connection may look alive and be dead.
#[tokio::test]
async fn a_dead_pooled_connection_costs_no_attempt() {
    const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let (port, mut connections) = server(|mut stream| async move {
        stream.write_all(OK).await.unwrap();
        stream.read_u8().await.unwrap(); // The second request on this connection gets no answer.
    })
    .await;
    let callbacks = WebhookSender::new(Guard::new(LOCAL)).unwrap();
    for number in 1..=2 {
        let result = post(&callbacks, &format!("http://127.0.0.1:{port}/"), TIMEOUT).await;
        assert!(matches!(result, Ok(200)), "request {number}: {result:?}");
        connections.recv().await.unwrap();
    }
    assert!(connections.try_recv().is_err(), "one new connection for each dead one");
}

/// A long body is sent again in full.
#[tokio::test]
async fn a_long_body_says_its_length_and_survives_a_dead_pooled_connection() {
    const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let body = (0..40_000).fold(String::new(), |body, number| body + &format!("{number:05}"));
    let receiver = tokio::spawn(async move {
        let mut requests = Vec::new();
        for is_dead in [true, false] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"39999") {
                assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0, "the request ends before its body");
            }
            stream.write_all(OK).await.unwrap();
            requests.push(String::from_utf8(request).unwrap());
            if is_dead {
                stream.read_u8().await.unwrap(); // The second request on this connection gets no answer.
            }
        }
        requests
    });
    let callbacks = WebhookSender::new(Guard::new(LOCAL)).unwrap();
    for _ in 0..2 {
        let target = callbacks.target(&url).unwrap();
        let request = Request { method: Method::Post, target, headers: Vec::new(), body: body.clone() };
        let exchange = callbacks.send(request, &ClientAuth::Anonymous, 20 * TIMEOUT).await;
        assert!(matches!(exchange.result, Ok(200)), "{exchange:?}");
    }
    for request in receiver.await.unwrap() {
        let (head, sent) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("content-length: 200000") && !head.contains("transfer-encoding"), "{head}");
        assert_eq!(sent, body);
    }
}

/// An answer, even half of one, is the receiver's failure, also on a reused connection.
#[tokio::test]
async fn an_answer_that_breaks_off_is_not_tried_twice() {
    let (port, mut connections) = server(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        stream.read_u8().await.unwrap();
        stream.write_all(b"garbage instead of an answer\r\n\r\n").await.unwrap();
    })
    .await;
    let callbacks = WebhookSender::new(Guard::new(LOCAL)).unwrap();
    let url = format!("http://127.0.0.1:{port}/");
    post(&callbacks, &url, TIMEOUT).await.unwrap();
    let result = post(&callbacks, &url, TIMEOUT).await;
    assert_eq!(fault(&result.unwrap_err()), Some(ExchangeFault::AnswerUnreadable));
    connections.recv().await.unwrap();
    assert!(connections.try_recv().is_err(), "one connection for both");
}

#[tokio::test]
async fn a_new_connection_that_breaks_is_not_tried_twice() {
    let (port, mut connections) = server(|stream| async move { drop(stream) }).await;
    let callbacks = WebhookSender::new(Guard::new(LOCAL)).unwrap();
    let result = post(&callbacks, &format!("http://127.0.0.1:{port}/"), TIMEOUT).await;
    assert_eq!(fault(&result.unwrap_err()), Some(ExchangeFault::ConnectionClosed));
    connections.recv().await.unwrap();
    assert!(connections.try_recv().is_err(), "the receiver got it once");
}

#[tokio::test]
async fn private_addresses_are_refused_before_a_connection_is_made() {
    let (port, mut connections) = server(|stream| answer(stream, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")).await;
    let rules = TargetRules { dangerously_allow_http: true, more_ports: [port].into(), ..TargetRules::default() };
    let callbacks = WebhookSender::new(Guard::new(rules)).unwrap();
    for host in ["localhost", "127.0.0.1", "[::1]", "0x7f.1"] {
        let result = post(&callbacks, &format!("http://{host}:{port}/"), TIMEOUT).await;
        let is_refused = match host {
            "localhost" => matches!(result, Err(AttemptError::ForbiddenAddress(_))),
            _ => matches!(result, Err(AttemptError::ForbiddenTarget(_))),
        };
        assert!(is_refused, "{host}: {result:?}");
    }
    let callbacks = WebhookSender::new(Guard::new(TargetRules::default())).unwrap();
    let result = post(&callbacks, &format!("http://127.0.0.1:{port}/"), TIMEOUT).await;
    assert!(matches!(result, Err(AttemptError::ForbiddenTarget(_))), "http is off by default: {result:?}");
    assert!(connections.try_recv().is_err(), "no connection was made");
}

/// Creates a resolver that returns `answers` one after the other, and the last one from then on. Also returns how often
/// it was asked.
fn resolver(answers: &'static [&'static [&'static str]]) -> (Arc<Lookup>, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let lookup = move |_: String| {
        let index = count.fetch_add(1, Ordering::Relaxed).min(answers.len() - 1);
        let addresses = answers[index].iter().map(|address| address.parse().unwrap()).collect();
        Box::pin(std::future::ready(Ok(addresses))) as _
    };
    (Arc::new(lookup), asked)
}

#[tokio::test]
async fn a_host_that_becomes_private_is_refused_before_a_request() {
    let (port, mut connections) = server(|stream| answer(stream, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")).await;
    let (lookup, asked) = resolver(&[&["93.184.215.14"], &["127.0.0.1"]]);
    let rules = TargetRules { dangerously_allow_http: true, more_ports: [port].into(), ..TargetRules::default() };
    let guard = Guard::with_lookup(rules, lookup);
    let url = format!("http://rebound.example:{port}/");
    assert_eq!(guard.probe(&guard.rules().parse(&url).unwrap(), TIMEOUT).await, Ok(()));

    let result = post(&WebhookSender::new(guard).unwrap(), &url, TIMEOUT).await;

    assert!(matches!(result, Err(AttemptError::ForbiddenAddress(_))), "{result:?}");
    assert!(result.unwrap_err().is_retryable(), "DNS may return another address next time");
    assert_eq!(asked.load(Ordering::Relaxed), 2, "the earlier answer is not reused");
    assert!(connections.try_recv().is_err(), "no connection was made");
}

#[tokio::test]
async fn one_private_address_among_public_ones_is_enough_to_refuse() {
    for addresses in
        [&["93.184.215.14", "10.0.0.1"], &["10.0.0.1", "93.184.215.14"], &["2606:4700::1111", "::ffff:127.0.0.1"]]
    {
        let answers: &'static [&'static [&'static str]] = Box::leak(Box::new([&addresses[..]]));
        let guard = Guard::with_lookup(TargetRules::default(), resolver(answers).0);
        let target = guard.rules().parse("https://mixed.example/").unwrap();
        assert!(guard.probe(&target, TIMEOUT).await.is_err(), "{addresses:?}");
        let result = post(&WebhookSender::new(guard).unwrap(), "https://mixed.example/", TIMEOUT).await;
        assert!(matches!(result, Err(AttemptError::ForbiddenAddress(_))), "{addresses:?}: {result:?}");
    }
}

#[tokio::test]
async fn the_connection_is_made_to_the_address_that_was_judged() {
    let (port, mut connections) = server(|stream| answer(stream, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")).await;
    let (lookup, asked) = resolver(&[&["127.0.0.1"], &["127.0.0.2"]]); // No server listens at the second address.
    let callbacks = WebhookSender::new(Guard::with_lookup(LOCAL, lookup)).unwrap();
    let result = post(&callbacks, &format!("http://pinned.example:{port}/"), TIMEOUT).await;
    assert!(matches!(result, Ok(200)), "{result:?}");
    assert_eq!(asked.load(Ordering::Relaxed), 1, "resolved once, and not again to connect");
    connections.recv().await.unwrap();
}

#[tokio::test]
async fn a_host_that_does_not_resolve_is_accepted_but_cannot_be_reached() {
    let lookup: Arc<Lookup> = Arc::new(|_| Box::pin(std::future::ready(Err(std::io::Error::other("no such host")))));
    let guard = Guard::with_lookup(TargetRules::default(), lookup);
    let target = guard.rules().parse("https://later.example/").unwrap();
    assert_eq!(guard.probe(&target, TIMEOUT).await, Ok(()));
    let result = post(&WebhookSender::new(guard).unwrap(), "https://later.example/", TIMEOUT).await;
    assert_eq!(fault(&result.unwrap_err()), Some(ExchangeFault::Dns));
}

#[tokio::test]
async fn a_server_that_ignores_options_has_the_other_half_of_the_time_to_echo() {
    const ECHO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc";
    let count = Arc::new(AtomicUsize::new(0));
    let (port, _connections) = server(move |stream| {
        let number = count.fetch_add(1, Ordering::Relaxed);
        async move {
            if number == 0 {
                std::future::pending::<()>().await;
            }
            answer(stream, ECHO).await;
        }
    })
    .await;
    let callbacks = WebhookSender::new(Guard::new(LOCAL)).unwrap();
    let endpoint = Endpoint::new(format!("http://127.0.0.1:{port}/"));
    let target = callbacks.target(&endpoint.url).unwrap();
    let preflight = Preflight::new(&endpoint, target.clone(), "signpost");
    let request = Request { method: Method::Post, target, headers: Vec::new(), body: "{}".into() };

    let exchange = callbacks.prove(preflight, request, "signpost", "abc", &ClientAuth::Anonymous, TIMEOUT).await;

    assert_eq!(exchange.result.unwrap(), 200);
    assert_eq!(exchange.sent.unwrap().method, "POST", "the request that decided");
}
