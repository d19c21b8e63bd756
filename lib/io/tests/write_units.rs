//! The price of a delivery's records, in write units of DynamoDB, and the attempts that are read back from them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod metered;

use std::time::Duration;

use signpost_core::delivery::answer::{AnswerRecord, answer_print};
use signpost_core::delivery::attempt::{Attempt, AttemptError};
use signpost_core::delivery::request::{AttemptStart, Keyring, Request};
use signpost_core::delivery::sent::{Connection, Sent, SentRecord};
use signpost_core::delivery::{DeliveryKey, DeliveryStatus, Progress, ReplayKind};
use signpost_core::endpoint::target::TargetRules;
use signpost_core::endpoint::{Endpoint, EndpointId};
use signpost_core::event::Event;
use signpost_core::event::sequence::SequenceNumber;
use signpost_core::status::state::Moment;
use signpost_engine::ports::deliveries::{Deliveries as _, Lease, Recorded};
use signpost_engine::ports::events::{Arrival, Events as _, FirstFanOut, Insertion};
use signpost_io::tables::deliveries::Deliveries;
use signpost_io::tables::events::Events;
use uuid::Uuid;

use metered::Table;

const ARRIVED: u64 = 1_769_853_600_007;

/// Returns a request as all formats of signatures and a trace make it.
fn sent(event: &Event) -> Sent {
    let mut endpoint = Endpoint::new("https://hooks.example.com/webhooks/signpost");
    endpoint.signatures.clear();
    let target = TargetRules::default().parse(&endpoint.url).unwrap();
    let start = AttemptStart { number: 1, unix_seconds: ARRIVED / 1_000, replay: None };
    let mut request = Request::build(event, &endpoint, target, start, &Keyring::default()).unwrap();
    let signatures = ["jws-signature", "content-digest", "signature-input", "signature", "webhook-signature"];
    request.headers.extend(signatures.map(|name| (name.into(), "signature".into())));
    Sent::of(&request, None)
}

fn event() -> Event {
    let event = serde_json::json!({
        "specversion": "1.0", "id": "0d7e7c2a-4a63-4dc6-9ac1-6e7b56a47b0c", "source": "/bank/core", "type": "payment.settled",
        "time": "2026-01-31T10:00:00Z", "subject": "operation/7c9e6679-7425-40de-944b-e07fc1f90ae7", "tenant": "acme",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "data": {"a": 1},
    });
    Event::parse(&event.to_string()).unwrap()
}

/// A delivery that is attempted as `deliver` does it.
struct Scene {
    table: Table,
    deliveries: Deliveries,
    event: Event,
    endpoint: EndpointId,
    expected: Vec<(Attempt, Option<String>)>,
    progress: Option<Progress>,
}

impl Scene {
    fn new() -> Self {
        let table = Table::default();
        let deliveries = Deliveries::new(table.dynamodb(), "t".into(), Duration::from_hours(720));
        let endpoint = EndpointId::new(Uuid::from_u128(0x0123_4567_89ab_cdef));
        Self { table, deliveries, event: event(), endpoint, expected: Vec::new(), progress: None }
    }

    fn key(&self) -> DeliveryKey<'_> {
        DeliveryKey {
            event: &self.event.key,
            endpoint: &self.endpoint,
            arrived_unix_ms: ARRIVED,
            retention_days: self.event.retention_days,
        }
    }

    /// Makes the next attempt. Returns the write units of its lease and of its record.
    async fn attempt(&mut self, response: Option<String>, status: DeliveryStatus) -> usize {
        let number = self.progress.map_or(0, |progress| progress.attempts) + 1;
        let at_unix_ms = ARRIVED + u64::from(number) * 900_000;
        if number > 1 {
            let (from_unix_ms, until_unix_ms) = (at_unix_ms, at_unix_ms + 95_000);
            let lease = Lease { from_unix_ms, until_unix_ms, due_by_unix_ms: at_unix_ms, needs_record: false };
            self.deliveries.lease(self.key(), lease).await.unwrap();
        }
        let is_delivered = status == DeliveryStatus::Delivered;
        let error = (!is_delivered).then_some(AttemptError::Rejected { status: 503, retry_after: None });
        let (last_sent, last_answer) =
            self.progress.map_or((None, None), |progress| (progress.last_sent, progress.last_answer));
        let is_last = status != DeliveryStatus::Pending;
        let answer = AnswerRecord::new(response.as_deref(), last_answer, number, is_last);
        let sent = sent(&self.event);
        let print = Some(sent.print());
        let attempt = Attempt {
            number,
            at_unix_ms,
            duration_ms: 1_200,
            kids: vec!["070725bf-7dac-4712-b61a-420ba3701263".into()],
            status: Some(if is_delivered { 204 } else { 503 }),
            error: error.as_ref().map(ToString::to_string),
            cause: error.as_ref().map(|error| error.cause().to_string()),
            response: response.clone(),
            answer,
            sent: SentRecord::new(Some(sent), last_sent),
            connection: Some(Connection { address: "203.0.113.7:443".parse().unwrap(), tls: Some("1.3".into()) }),
            redirect: None,
        };
        let stored = (answer == AnswerRecord::New).then(|| response.as_deref().map(answer_print)).flatten();
        let progress = Progress {
            status,
            attempts: number,
            before_replay: 0,
            next_attempt_unix_ms: at_unix_ms + 900_000,
            replay: None,
            last_sent: print,
            last_answer: stored.or(last_answer),
        };
        let recorded = match self.progress {
            None => self.deliveries.record_first(self.key(), &attempt, progress).await,
            Some(before) => {
                self.deliveries.record(self.key(), &attempt, Some(before.next_attempt_unix_ms), progress).await
            }
        };
        assert_eq!(recorded.unwrap(), Recorded::Yes);
        self.progress = Some(progress);
        self.expected.push((attempt, response));
        self.table.take_units()
    }

    /// Makes attempts that fail, and is given up with the last one. Returns the write units.
    async fn exhaust(&mut self, attempts: u32, response: impl Fn(u32) -> String) -> usize {
        let mut units = 0;
        for number in 1..=attempts {
            let status = if number == attempts { DeliveryStatus::Exhausted } else { DeliveryStatus::Pending };
            units += self.attempt(Some(response(number)), status).await;
        }
        units
    }

    /// Checks that the attempts are read back as promised.
    async fn check(&self) {
        let read = self.deliveries.attempts(self.key()).await.unwrap();
        let count = u32::try_from(self.expected.len()).unwrap();
        let numbers: Vec<_> = read.iter().map(|attempt| attempt.number).collect();
        assert!((1..=count.min(5)).all(|number| numbers.contains(&number)), "{numbers:?}");
        assert!((1..=count).rev().take(70).all(|number| numbers.contains(&number)), "{numbers:?}");
        let mut before = 0;
        for attempt in &read {
            let (expected, response) = &self.expected[attempt.number as usize - 1];
            let expected = Attempt { response: attempt.response.clone(), ..expected.clone() };
            match &attempt.sent {
                // After a gap, the request is said again.
                SentRecord::This(said) if attempt.number > before + 1 => assert_eq!(*said, sorted(sent(&self.event))),
                SentRecord::This(said) => assert_eq!(SentRecord::This(said.clone()), of(&expected.sent)),
                other => assert_eq!(*other, expected.sent),
            }
            before = attempt.number;
            assert_eq!(*attempt, Attempt { sent: attempt.sent.clone(), ..expected.clone() });
            match expected.answer {
                AnswerRecord::Skipped => assert_eq!(attempt.response, None),
                AnswerRecord::Known | AnswerRecord::New => assert_eq!(attempt.response, *response),
            }
        }
        for item in self.table.items() {
            assert!(item.contains_key("expiresAt"), "it never expires: {item:?}");
        }
    }
}

fn sorted(mut sent: Sent) -> Sent {
    sent.values.sort_unstable();
    sent
}

fn of(record: &SentRecord) -> SentRecord {
    match record {
        SentRecord::This(sent) => SentRecord::This(sorted(sent.clone())),
        other => other.clone(),
    }
}

/// Returns an answer of 1 KiB that cannot be compressed to less than half.
fn noise(seed: u32) -> String {
    let mut state = u64::from(seed) << 1 | 1;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b' ' + (state >> 33).to_le_bytes()[0] % 95)
    };
    std::iter::repeat_with(next).take(1_024).collect()
}

/// Returns an error page of 1 KiB with a number in it.
fn page(number: u32) -> String {
    let page = format!(
        "<!DOCTYPE html><html lang=\"en\"><head><title>503 Service Unavailable</title></head><body>\
         <h1>503 Service Unavailable</h1><p>The server is temporarily unable to service your request due to \
         maintenance downtime or capacity problems. Please try again later.</p><p>Request id {number:08}</p>{}\
         </body></html>",
        "<!-- a padding to disable MSIE and Chrome friendly error page -->".repeat(12)
    );
    page[..1_024].to_owned()
}

#[tokio::test]
async fn a_write_of_a_delivery_costs_a_unit_whatever_its_receiver_answers() {
    let mut lines = Vec::new();
    let mut scene = Scene::new();
    let first = scene.attempt(None, DeliveryStatus::Delivered).await;
    scene.check().await;
    lines.push(("acknowledged at once".to_owned(), first, 1, scene.table.sizes().len()));

    for (attempts, kind, most) in [
        (6, "the same page", 12),
        (6, "pages that differ", 17),
        (6, "noise that differs", 17),
        (8, "the same page", 17),
        (101, "the same page", 210),
        (101, "pages that differ", 219),
        (101, "noise that differs", 219),
    ] {
        let mut scene = Scene::new();
        let units = scene
            .exhaust(attempts, |number| match kind {
                "the same page" => page(7),
                "pages that differ" => page(number),
                _ => noise(number),
            })
            .await;
        scene.check().await;
        let sizes = scene.table.sizes();
        let record = sizes.iter().find(|(sort, _)| !sort.starts_with(['a', 'c', 's'])).unwrap();
        assert!(record.1 <= 1_024, "the record has {} bytes", record.1);
        lines.push((format!("{attempts} attempts, {kind}"), units, most, sizes.len()));
    }
    for (what, units, most, items) in &lines {
        println!("{what}: {units} write units, {items} items");
        assert!(units <= most, "{what}: {units} write units, at most {most} expected");
    }
}

/// No item is larger than a unit, whether it is the record, a chunk, a request or an answer.
#[tokio::test]
async fn every_item_of_a_delivery_fits_into_a_write_unit() {
    let mut scene = Scene::new();
    for number in 1..=300 {
        scene.attempt(Some(page(number)), DeliveryStatus::Pending).await;
        let largest = scene.table.sizes().into_iter().max_by_key(|(_, size)| *size).unwrap();
        assert!(largest.1 <= 1_024, "attempt {number}: {largest:?}");
    }
    scene.attempt(None, DeliveryStatus::Delivered).await;
    scene.check().await;
}

#[tokio::test]
async fn an_attempt_whose_answer_cannot_be_stored_is_recorded_and_the_answer_is_stored_with_the_next() {
    let mut scene = Scene::new();
    scene.attempt(Some("one".into()), DeliveryStatus::Pending).await;
    scene.table.refuse_answers(true);
    scene.attempt(Some("two".into()), DeliveryStatus::Pending).await;
    let responses = async |scene: &Scene| {
        let read = scene.deliveries.attempts(scene.key()).await.unwrap();
        read.into_iter().map(|attempt| attempt.response).collect::<Vec<_>>()
    };
    assert_eq!(responses(&scene).await, [Some("one".to_owned()), None]);

    scene.table.refuse_answers(false);
    scene.progress = scene.deliveries.standing(scene.key()).await.unwrap().unwrap().progress;
    assert_eq!(scene.progress.unwrap().last_answer, Some(answer_print("one")), "what is stored counts");
    scene.attempt(Some("two".into()), DeliveryStatus::Pending).await;
    assert_eq!(responses(&scene).await, ["one", "two", "two"].map(|answer| Some(answer.to_owned())));
}

/// The cost is that of docs/order.md. AWS charges two write units for each unit of a transaction ("Amazon DynamoDB Transactions: How
/// it works").
#[tokio::test]
async fn an_event_that_is_counted_costs_four_write_units_and_any_other_costs_one() {
    let table = Table::default();
    let events = Events::new(table.dynamodb(), "t".into(), Duration::from_hours(720));
    let insert = async |id: &str, counter: Option<&str>| {
        let event = event().json().replace("0d7e7c2a", id);
        let event = Event::parse(&event).unwrap();
        let first = FirstFanOut {
            message_id: "m-1".into(),
            endpoints: vec![EndpointId::new(Uuid::from_u128(1))],
            sent: 0,
            at_unix_seconds: ARRIVED / 1_000,
            arrival: Arrival { moment: Moment::of(&event, ARRIVED), expires_at: ARRIVED / 1_000 + 3_600 },
            payload_hash: event.payload_hash(),
            number: None,
            retention_days: None,
        };
        let inserted = events.insert(&event, &first, counter).await.unwrap();
        (inserted, table.take_units(), table.take_calls())
    };
    assert_eq!(insert("a", None).await, (Insertion::New(None), 1, 1));
    let number = SequenceNumber::first(ARRIVED / 1_000);
    for (id, number) in [("b", number), ("c", number.next())] {
        assert_eq!(insert(id, Some("acme/sequence#a")).await, (Insertion::New(Some(number)), 4, 2));
    }
    assert!(table.items().iter().all(|item| item.contains_key("expiresAt")));
}

#[tokio::test]
async fn a_record_is_kept_for_the_days_of_its_event_at_each_write() {
    let mut scene = Scene::new();
    scene.event.retention_days = Some(2);
    for status in [DeliveryStatus::Pending, DeliveryStatus::Pending, DeliveryStatus::Exhausted] {
        scene.attempt(Some("no".into()), status).await;
    }
    scene.deliveries.reset_for_replay(scene.key(), ReplayKind::Replay).await.unwrap();
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    for item in scene.table.items() {
        let expires: u64 = item["expiresAt"]["N"].as_str().unwrap().parse().unwrap();
        assert!((now + 2 * 86_400 - 60..=now + 2 * 86_400 + 60).contains(&expires), "{item:?}");
    }
}
