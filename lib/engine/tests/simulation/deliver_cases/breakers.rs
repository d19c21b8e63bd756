//! Endpoints that are removed, disabled, or held by their breakers.

use serde_json::json;
use signpost_core::delivery::breaker::Admission;
use signpost_core::delivery::{DeliveryStatus, Progress, Receipt};
use signpost_core::endpoint::DisabledBecause;

use super::{begin, disable, first, is_drain_requested, is_noted_as_waiting, retried, slow, waiting_for};
use crate::calm::{Broken, Calm, FIRST, Failure, MINUTE, SECOND, again, failed, open_since};
use crate::clock::START;
use crate::ports::Which;
use crate::receivers::Mood;
use crate::tables::Place;
use crate::world::Call;

#[test]
fn a_delivery_to_a_removed_endpoint_becomes_a_dead_letter_and_is_on_record_as_given_up() {
    for before in [None, Some(failed(2))] {
        let calm = Calm::with(json!({}), Mood::Well(50));
        let delivery = calm.delivery_to(0);
        if let Some(progress) = before {
            calm.put_record(delivery, progress);
        }
        calm.world.tables.borrow_mut().endpoints[0] = None;
        assert!(!calm.deliver_one(delivery, FIRST));
        assert_eq!((calm.requests(), calm.dead_letters()), (0, vec!["endpoint-gone".to_owned()]));
        assert_eq!(calm.status(delivery), Some(DeliveryStatus::Exhausted));
    }
}

#[test]
fn a_delivered_or_exhausted_delivery_to_a_removed_endpoint_keeps_its_status() {
    for (status, expected) in [(DeliveryStatus::Delivered, vec![]), (DeliveryStatus::Exhausted, vec!["exhausted"])] {
        let calm = Calm::with(json!({}), Mood::Well(50));
        let delivery = calm.delivery_to(0);
        calm.put_record(delivery, Progress { status, ..failed(1) });
        calm.world.tables.borrow_mut().endpoints[0] = None;
        assert!(!calm.deliver_one(delivery, again(2)));
        assert_eq!(
            (calm.status(delivery), calm.dead_letters()),
            (Some(status), expected.iter().map(ToString::to_string).collect())
        );
    }
}

#[test]
fn a_delivery_to_a_disabled_endpoint_is_parked_and_noted_as_waiting() {
    for because in
        [DisabledBecause::Failing, DisabledBecause::Gone, DisabledBecause::Operator, DisabledBecause::Unverified]
    {
        let calm = Calm::with(json!({}), Mood::Well(50));
        let delivery = calm.delivery_to(0);
        disable(&calm, because);
        assert!(!calm.deliver_one(delivery, FIRST), "{because:?}");
        assert_eq!((calm.requests(), calm.record(delivery)), (0, None), "{because:?}");
        assert_eq!(calm.lane(Place::Endpoint(0)), [(FIRST.since_unix_ms, delivery)]);
        assert!(is_noted_as_waiting(&calm, 0) && !is_drain_requested(&calm, 0), "{because:?}");
    }
}

#[test]
fn a_parked_delivery_keeps_the_time_since_when_it_waits() {
    let calm = Calm::with(json!({}), Mood::Well(50));
    let delivery = calm.delivery_to(0);
    disable(&calm, DisabledBecause::Operator);
    let since_unix_ms = START - 3 * MINUTE;
    calm.deliver_one(delivery, Receipt { since_unix_ms, is_again: true, ..FIRST });
    assert_eq!(calm.lane(Place::Endpoint(0)), [(since_unix_ms, delivery)]);
}

#[test]
fn while_a_breaker_is_open_deliveries_are_parked_with_a_request_to_drain_and_nothing_is_sent() {
    let calm = Calm::with(json!({}), Mood::Well(50));
    calm.put_breaker(0, open_since(START));
    let deliveries = [calm.delivery_to(0), calm.delivery_to(0)];
    assert!(calm.deliver(&deliveries.map(first)).is_empty());
    assert_eq!((calm.requests(), waiting_for(&calm, 0)), (0, deliveries.to_vec()));
    assert!(is_noted_as_waiting(&calm, 0) && is_drain_requested(&calm, 0));
    let requests = |call: Call| calm.seen(|watch| watch.calls.iter().filter(|one| **one == call).count());
    assert_eq!(requests(("Parking", "ask_to_drain")), 1, "once for the whole batch");
    assert_eq!(requests(("Deliveries", "standing")), 0, "before anything is looked up");
}

#[test]
fn the_failed_probe_of_an_open_breaker_costs_no_retry() {
    let calm = Calm::with(retried(1, 5), Mood::Failing);
    calm.put_breaker(0, open_since(START - MINUTE));
    let delivery = calm.delivery_to(0);
    assert!(calm.deliver_one(delivery, FIRST));
    let progress = calm.progress(delivery).unwrap();
    assert_eq!((progress.status, progress.attempts, progress.before_replay), (DeliveryStatus::Pending, 1, 1));
    assert_eq!(calm.waits(), [5]);
}

#[test]
fn one_delivery_probes_an_open_breaker_the_others_are_parked_and_its_acknowledgement_closes_the_breaker() {
    let calm = Calm::with(json!({}), Mood::Well(50));
    calm.put_breaker(0, open_since(START - MINUTE));
    let deliveries = [calm.delivery_to(0), calm.delivery_to(0), calm.delivery_to(0)];
    assert!(calm.deliver(&deliveries.map(first)).is_empty());
    assert_eq!((calm.requests(), waiting_for(&calm, 0).len()), (1, 2));
    let admits = calm.world.tables.borrow().breakers[&0].0.admits(calm.world.now());
    assert_eq!(admits, Admission::Send);
}

#[test]
fn an_environment_that_read_the_breaker_before_another_claimed_the_probe_sends_none() {
    let calm = Calm::with(json!({}), Mood::Well(5_000));
    let other = calm.beside();
    calm.put_breaker(0, open_since(START - MINUTE));
    let [probe, late] = [calm.delivery_to(0), calm.delivery_to(0)];
    let slow = |slow| calm.world.watch.borrow_mut().as_mut().unwrap().slow = slow;
    slow(Some((Broken::Each(("Deliveries", "standing")), 500)));
    begin(&other, late, FIRST);
    calm.wait(100);
    slow(None);
    begin(&calm, probe, FIRST);
    calm.wait(SECOND);
    assert_eq!((calm.requests(), waiting_for(&calm, 0)), (1, vec![late]));
}

#[test]
fn a_probe_that_cannot_be_claimed_is_not_sent_and_its_delivery_waits_for_the_next() {
    for failure in [Failure::Refused, Failure::Lost] {
        let calm = Calm::with(json!({}), Mood::Well(50));
        calm.put_breaker(0, open_since(START - MINUTE));
        let delivery = calm.delivery_to(0);
        calm.break_calls(Some((Broken::Each(("Breakers", "replace")), failure)));
        assert!(!calm.deliver_one(delivery, FIRST));
        assert_eq!((calm.requests(), waiting_for(&calm, 0)), (0, vec![delivery]), "{failure:?}");
        assert!(is_drain_requested(&calm, 0), "{failure:?}");
    }
}

#[test]
fn without_an_answer_about_its_breaker_an_endpoint_counts_as_well_and_as_slow() {
    let calm = Calm::with(json!({}), Mood::Well(50));
    calm.put_breaker(0, open_since(START));
    let delivery = calm.delivery_to(0);
    calm.break_calls(Some((Broken::Each(("Breakers", "read")), Failure::Refused)));
    assert!(!calm.deliver_one(delivery, FIRST));
    assert_eq!((calm.requests(), calm.sent(Which::SlowDeliveries).len()), (0, 1));
    assert!(!calm.deliver_one(delivery, slow(FIRST)));
    assert_eq!((calm.requests(), calm.status(delivery)), (1, Some(DeliveryStatus::Delivered)));
}

#[test]
fn ten_failures_in_a_row_open_the_breaker() {
    let calm = Calm::with(retried(5, 5), Mood::Failing);
    let deliveries: Vec<_> = (0..10).map(|_| first(calm.delivery_to(0))).collect();
    assert_eq!(calm.deliver(&deliveries).len(), 10);
    assert_eq!(calm.requests(), 10);
    let admits = calm.world.tables.borrow().breakers[&0].0.admits(calm.world.now());
    assert_eq!(admits, Admission::Park);
}
