//! Attempts, their records, and the waits between them.

use serde_json::json;
use signpost_core::delivery::{DeliveryKey, DeliveryStatus, Progress, Receipt, ReplayKind};
use signpost_engine::ports::deliveries::Deliveries as _;

use super::{is_drain_requested, is_noted_as_waiting, retried};
use crate::calm::{Calm, FIRST, MINUTE, SECOND, again, failed, fixed};
use crate::clock::{IMMORTAL, START};
use crate::ports::Which;
use crate::receivers::Mood;
use crate::tables::Place;

#[test]
fn an_acknowledged_delivery_is_done_and_on_record() {
    let calm = Calm::with(json!({}), Mood::Well(50));
    let delivery = calm.delivery_to(0);
    assert!(!calm.deliver_one(delivery, FIRST));
    assert_eq!(calm.requests(), 1);
    let progress = calm.progress(delivery).unwrap();
    assert_eq!((progress.status, progress.attempts), (DeliveryStatus::Delivered, 1));
    assert_eq!(calm.header("signpost-replay"), None);
    assert_eq!((calm.parked(), calm.dead_letters().len()), (Vec::new(), 0));
}

#[test]
fn an_acknowledgement_by_an_endpoint_without_limits_takes_five_calls() {
    let calm = Calm::with(json!({}), Mood::Well(50));
    let delivery = calm.delivery_to(0);
    calm.deliver_one(delivery, FIRST);
    let expected = [
        ("Endpoints", "get"),
        ("Secrets", "open"),
        ("Breakers", "read"),
        ("Deliveries", "standing"),
        ("Deliveries", "insert"),
    ];
    assert_eq!(calm.seen(|watch| watch.calls.clone()), expected);
}

#[test]
fn a_failed_delivery_comes_again_after_the_wait_of_its_policy_counted_from_the_failure() {
    let calm = Calm::with(json!({"retry": fixed(5, 20), "timeoutSeconds": 10}), Mood::Hanging);
    let delivery = calm.delivery_to(0);
    assert!(calm.deliver_one(delivery, FIRST));
    assert_eq!(calm.waits(), [20]);
    let expected = Progress { attempts: 1, next_attempt_unix_ms: START + 30 * SECOND, ..failed(1) };
    assert_eq!(calm.progress(delivery), Some(expected), "ten seconds of the attempt, and twenty of the wait");
}

#[test]
fn a_receiver_that_asks_for_a_longer_wait_gets_it() {
    let calm = Calm::with(retried(5, 5), Mood::Busy(25));
    let delivery = calm.delivery_to(0);
    assert!(calm.deliver_one(delivery, FIRST));
    assert_eq!(calm.waits(), [25]);
}

#[test]
fn a_wait_up_to_30_s_is_in_flight_and_up_to_15_minutes_a_delayed_message_and_a_longer_one_is_parked() {
    for seconds in [30, 31, 900, 901] {
        let calm = Calm::with(retried(5, seconds), Mood::Refusing);
        let delivery = calm.delivery_to(0);
        let is_again = calm.deliver_one(delivery, FIRST);
        let due = calm.progress(delivery).unwrap().next_attempt_unix_ms;
        let delayed_until = calm.world.deliveries.queue.borrow_mut().next_visible(calm.world.now());
        let parked = calm.parked();
        match seconds {
            30 => assert_eq!((is_again, calm.waits(), parked), (true, vec![30], Vec::new())),
            31 | 900 => {
                assert_eq!((is_again, calm.waits(), parked), (false, Vec::new(), Vec::new()), "{seconds} s");
                let until = delayed_until.unwrap();
                assert!((due..=due + SECOND).contains(&until), "{seconds} s: due at {due}, delayed until {until}");
            }
            _ => {
                assert_eq!((is_again, delayed_until), (false, None));
                let [(Place::Due { minute, .. }, at, id)] = parked[..] else { panic!("{parked:?}") };
                assert_eq!((id, at, minute), (delivery, due, due.div_ceil(MINUTE)));
                assert!(calm.seen(|watch| watch.calls.contains(&("Events", "keep_until"))), "its event is kept");
            }
        }
    }
}

#[test]
fn a_delivery_that_is_parked_until_later_does_not_count_as_waiting_for_its_endpoint() {
    let calm = Calm::with(retried(5, 3_600), Mood::Refusing);
    let delivery = calm.delivery_to(0);
    calm.deliver_one(delivery, FIRST);
    assert!(!is_noted_as_waiting(&calm, 0) && !is_drain_requested(&calm, 0));
}

#[test]
fn an_exhausted_delivery_is_noted_and_becomes_a_dead_letter_with_its_reason() {
    let calm = Calm::with(retried(2, 5), Mood::Failing);
    let delivery = calm.delivery_to(0);
    calm.put_record(delivery, failed(2));
    assert!(!calm.deliver_one(delivery, again(2)));
    let progress = calm.progress(delivery).unwrap();
    assert_eq!((progress.status, progress.attempts), (DeliveryStatus::Exhausted, 3));
    assert_eq!(calm.dead_letters(), ["exhausted"]);
    assert_eq!(calm.sent(Which::DeadLetters)[0].body, calm.body_of(delivery));
    assert_eq!(calm.lane(Place::Exhausted(0)), [(progress.next_attempt_unix_ms, delivery)]);
}

#[test]
fn a_delivery_that_is_on_record_as_exhausted_becomes_a_dead_letter_without_another_request() {
    let calm = Calm::with(json!({}), Mood::Well(50));
    let delivery = calm.delivery_to(0);
    calm.put_record(delivery, Progress { status: DeliveryStatus::Exhausted, ..failed(3) });
    assert!(!calm.deliver_one(delivery, again(2)));
    assert_eq!((calm.requests(), calm.dead_letters()), (0, vec!["exhausted".to_owned()]));
}

#[test]
fn one_endpoint_that_hangs_does_not_hold_up_the_records_of_the_others_in_its_batch() {
    let moods = (0..10).map(|index| (json!({}), if index == 3 { Mood::Hanging } else { Mood::Well(50) }));
    let calm = Calm::new(&moods.collect::<Vec<_>>());
    let deliveries: Vec<_> = (0..10).map(|index| calm.delivery_to(index)).collect();
    let batch = deliveries.iter().map(|delivery| (calm.body_of(*delivery), FIRST));
    let invocation = calm.invocation(batch.collect());
    calm.world.clock.spawn(IMMORTAL, async move { assert_eq!(invocation.await, [3]) });
    calm.wait(SECOND);
    for (index, delivery) in deliveries.iter().enumerate() {
        let expected = (index != 3).then_some(DeliveryStatus::Delivered);
        assert_eq!(calm.status(*delivery), expected, "endpoint {index}");
    }
    calm.wait(MINUTE);
    assert_eq!(calm.status(deliveries[3]), Some(DeliveryStatus::Pending));
}

#[test]
fn a_replayed_delivery_is_sent_again_with_its_header_and_a_retry_policy_that_counts_from_there() {
    let kinds = [ReplayKind::Recover, ReplayKind::Redrive, ReplayKind::Replay, ReplayKind::Test];
    for (kind, mood) in kinds.into_iter().flat_map(|kind| [(kind, Mood::Well(50)), (kind, Mood::Failing)]) {
        let calm = Calm::with(retried(1, 5), mood);
        let delivery = calm.delivery_to(0);
        calm.put_record(delivery, Progress { status: DeliveryStatus::Exhausted, ..failed(2) });
        let process = calm.process.clone();
        calm.run(async move {
            let (event, endpoint, arrived_unix_ms) = process.world.parts_of(delivery);
            let key = DeliveryKey { event: &event, endpoint: &endpoint, arrived_unix_ms, retention_days: None };
            process.reset_for_replay(key, kind).await.unwrap();
        });
        let comes_again = calm.deliver_one(delivery, Receipt { is_again: true, ..FIRST });
        assert_eq!((calm.requests(), calm.header("signpost-replay").as_deref()), (1, Some(kind.as_str())));
        let progress = calm.progress(delivery).unwrap();
        assert_eq!((progress.attempts, progress.before_replay, comes_again), (3, 2, mood == Mood::Failing));
    }
}
