//! Hostile receivers. Each attempt ends in time, memory stays bounded, and the record says what happened.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use signpost_core::delivery::attempt::Attempt;
use signpost_core::delivery::{DeliveryKey, Progress};
use signpost_core::endpoint::retry::MAX_WAIT;
use signpost_core::event::Event;
use signpost_engine::ports::deliveries::Deliveries as _;
use signpost_io::runtime::clock::{millis, unix_ms_now};
use signpost_io::tables::deliveries::Deliveries;
use signpost_testkit::build::{ARRIVED, event, event_id, tenant};
use signpost_testkit::event_source::EventSource;
use signpost_testkit::hostile::{Hostile, Trick};
use signpost_testkit::local_stack::{LocalStack, setting};
use signpost_testkit::receiver::certified_key;

use crate::own::Own;

const TIMEOUT: Duration = Duration::from_secs(5);
const RETRY_AFTER: Duration = Duration::from_secs(100);
/// The most memory that the process of a function may use while receivers send it gibibytes.
const MEMORY_KB: u64 = 150_000;

#[tokio::test]
async fn a_hostile_receiver_costs_the_time_of_an_attempt_at_most_and_the_record_says_what_it_did() {
    // The trick, and the statuses and causes that may be recorded. If there are two, either can come first: the limit
    // of size or the end of the time; the answer or the reset, which discards the answer.
    let (unreadable, late) = ((None, "answer-unreadable"), (None, "timeout-waiting"));
    let cases = [
        (Trick::Drips, [late; 2]),
        (Trick::EndlessBody, [(Some(500), "status"); 2]),
        (Trick::EndlessHeader, [unreadable, late]),
        (Trick::EndlessHeaders, [unreadable, late]),
        (Trick::GzipBomb, [(Some(500), "status"); 2]),
        (Trick::Informs, [late; 2]),
        (Trick::NeverAnswers, [late; 2]),
        (Trick::Redirects, [(Some(307), "status"); 2]),
        (Trick::Resets, [(Some(200), "answer-cut"), (None, "connection-reset")]),
        (Trick::TlsGarbage, [(None, "tls-failed"); 2]),
    ];
    let stack = LocalStack::from_env().await;
    let own = Own::of(&stack).await;
    let deliver = own.host("deliver", &setting("AWS_ENDPOINT_URL"));
    let _source = EventSource::start(&deliver, &stack.aws, &own.deliveries);

    // One after the other, because together the receivers would compete for the processor.
    for (trick, expected) in cases {
        let (attempt, _) = first_attempt(&stack, &own, trick).await;
        let seen = (attempt.status, attempt.cause.as_deref().unwrap_or_default());
        assert!(expected.contains(&seen), "{trick:?}: {attempt:?}");
        let kept = attempt.response.as_deref().unwrap_or_default();
        assert!(kept.len() <= 1_024, "{trick:?}: {} bytes of its answer are recorded", kept.len());
        let in_time = 2 * TIMEOUT; // The machine is busy with other tests.
        assert!(attempt.duration_ms <= millis(in_time), "{trick:?}: {} ms", attempt.duration_ms);
    }
    let memory = deliver.peak_memory_kb().await;
    assert!(memory < MEMORY_KB, "{memory} KB");
}

#[tokio::test]
async fn a_wait_that_is_asked_for_is_neither_shorter_than_the_policys_nor_absurd() {
    let cases = [
        (Trick::AsksToWait("Thu, 01 Jan 1970 00:00:00 GMT"), RETRY_AFTER),
        (Trick::AsksToWait("-5"), RETRY_AFTER),
        (Trick::AsksToWait("soon"), RETRY_AFTER),
        (Trick::AsksToWait("200"), Duration::from_secs(200)),
        (Trick::AsksToWait("99999999999999999999999"), MAX_WAIT),
        (Trick::AsksToWait("4000000000"), MAX_WAIT),
        (Trick::AsksToWait("Fri, 31 Dec 9999 23:59:59 GMT"), MAX_WAIT),
    ];
    let stack = LocalStack::from_env().await;
    let own = Own::of(&stack).await;
    let deliver = own.host("deliver", &setting("AWS_ENDPOINT_URL"));
    let _source = EventSource::start(&deliver, &stack.aws, &own.deliveries);

    let records = join_all(cases.map(|(trick, _)| first_attempt(&stack, &own, trick))).await;

    for ((trick, expected), (attempt, progress)) in cases.into_iter().zip(records) {
        assert_eq!(attempt.status, Some(429), "{trick:?}: {attempt:?}");
        let wait = Duration::from_millis(progress.next_attempt_unix_ms - attempt.at_unix_ms - attempt.duration_ms);
        assert!((expected..expected + Duration::from_secs(2)).contains(&wait), "{trick:?}: {wait:?}");
    }
}

/// Delivers an event to a hostile receiver, and returns its recorded attempt and progress.
async fn first_attempt(stack: &LocalStack, own: &Own, trick: Trick) -> (Attempt, Progress) {
    let certificate = certified_key(&setting("RECEIVER_CERTIFICATE"), &setting("RECEIVER_KEY"));
    let (hostile, tenant, id) = (Hostile::start(trick, certificate).await, tenant(), event_id());
    let settings = json!({
        "url": hostile.url, "timeoutSeconds": TIMEOUT.as_secs(), "retry": {"schedule": [RETRY_AFTER.as_secs()]},
    });
    let endpoint = stack.register_with(&tenant, &settings).await.id;
    let event = Event::parse(&event(&tenant, &id, &json!({})).to_string()).unwrap();
    own.deliver_to(stack, &endpoint, &event).await;
    let attempt = stack.wait_for_attempts(&tenant, &id, &endpoint, 1).await.remove(0);
    assert!(attempt.at_unix_ms <= unix_ms_now());
    let table = aws_sdk_dynamodb::Client::new(&stack.aws);
    let table = Deliveries::new(table, setting("EVENTS_TABLE"), Duration::ZERO);
    let standing = table
        .standing(DeliveryKey {
            event: &event.key,
            endpoint: &endpoint,
            arrived_unix_ms: ARRIVED,
            retention_days: None,
        })
        .await
        .unwrap();
    (attempt, standing.and_then(|standing| standing.progress).unwrap())
}
