//! Metrics.

use serde_json::json;
use signpost_core::delivery::breaker::Breaker;
use signpost_core::delivery::{Progress, Receipt, ReplayKind};
use signpost_core::endpoint::DisabledBecause;
use signpost_engine::metrics::Metric;

use super::{disable, hold_seat, hold_slot, retried, slow};
use crate::calm::{Broken, Calm, FIRST, Failure, SECOND, again, failed, open_since};
use crate::clock::START;
use crate::receivers::Mood;

#[test]
fn each_attempt_counts_in_the_class_of_its_outcome() {
    let cases: [(Mood, &[(&str, u64)]); 6] = [
        (Mood::Well(50), &[("AttemptsAcknowledged", 1)]),
        (Mood::Failing, &[("AttemptsFailed", 1)]),
        (Mood::Refusing, &[("AttemptsDisconnected", 1)]),
        (Mood::Hanging, &[("AttemptsTimedOut", 1)]),
        (Mood::Busy(25), &[("AttemptsRefused", 1)]),
        (Mood::Gone, &[("AttemptsRefused", 1), ("DeliveriesParkedDisabled", 1), ("EndpointsDisabled", 1)]),
    ];
    for (mood, expected) in cases {
        let calm = Calm::with(retried(5, 5), mood);
        calm.deliver_one(calm.delivery_to(0), FIRST);
        assert_eq!(calm.numbers(), expected, "{mood:?}");
    }
}

#[test]
fn the_times_of_an_attempt_are_measured_from_the_acceptance_of_its_event() {
    let calm = Calm::with(json!({}), Mood::After(70));
    let delivery = calm.delivery_to(0);
    calm.wait(2 * SECOND);
    calm.deliver_one(delivery, FIRST);
    let expected =
        [("AttemptDuration", vec![70]), ("TimeToAcknowledgement", vec![2_070]), ("TimeToFirstAttempt", vec![2_000])];
    let samples = calm.world.meter.take().all.samples;
    assert_eq!(samples.into_iter().map(|(metric, all)| (metric.as_str(), all)).collect::<Vec<_>>(), expected);
}

#[test]
fn the_times_of_a_replay_say_nothing_about_its_event() {
    let calm = Calm::with(json!({}), Mood::After(70));
    let delivery = calm.delivery_to(0);
    calm.put_record(delivery, Progress { replay: Some(ReplayKind::Replay), ..failed(0) });
    calm.deliver_one(delivery, again(2));
    let samples = calm.world.meter.take().all.samples;
    assert_eq!(samples.into_keys().map(Metric::as_str).collect::<Vec<_>>(), ["AttemptDuration"]);
}

#[test]
fn a_delivery_that_is_set_aside_counts_by_the_reason() {
    type Prepare = fn(&Calm);
    let cases: [(&str, Prepare, Receipt); 5] = [
        ("DeliveriesParkedDisabled", |calm| disable(calm, DisabledBecause::Operator), FIRST),
        ("DeliveriesParkedBreakerOpen", |calm| calm.put_breaker(0, open_since(START)), FIRST),
        ("DeliveriesParkedAtLimit", |calm| hold_slot(calm, 0), FIRST),
        ("DeliveriesParkedNoSeat", hold_seat, slow(FIRST)),
        ("DeliveriesMovedToSlowTrack", |calm| calm.put_breaker(0, Breaker::default()), FIRST),
    ];
    for (expected, prepare, receipt) in cases {
        let calm = Calm::with(json!({"maxConcurrency": 1}), Mood::Well(50));
        prepare(&calm);
        calm.run(calm.invocation(vec![(calm.body_of(calm.delivery_to(0)), receipt)]));
        assert_eq!(calm.numbers(), [(expected, 1)]);
    }
}

#[test]
fn a_wait_in_the_table_an_exhausted_delivery_and_a_deferred_one_count() {
    let calm = Calm::with(retried(5, 901), Mood::Failing);
    calm.deliver_one(calm.delivery_to(0), FIRST);
    assert_eq!(calm.numbers(), [("AttemptsFailed", 1), ("DeliveriesParkedUntilDue", 1)]);
    let calm = Calm::with(retried(0, 5), Mood::Failing);
    calm.deliver_one(calm.delivery_to(0), FIRST);
    assert_eq!(calm.numbers(), [("AttemptsFailed", 1), ("DeliveriesDeadLettered", 1), ("DeliveriesExhausted", 1)]);
    let calm = Calm::with(json!({}), Mood::Well(50));
    calm.break_calls(Some((Broken::Each(("Endpoints", "get")), Failure::Refused)));
    calm.deliver_one(calm.delivery_to(0), FIRST);
    assert_eq!(calm.numbers(), [("DeliveriesDeferred", 1)]);
}
