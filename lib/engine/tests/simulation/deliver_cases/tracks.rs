//! The two tracks, and the seats of tenants.

use serde_json::json;
use signpost_core::delivery::breaker::Breaker;
use signpost_core::delivery::parking::Lane;
use signpost_core::delivery::{DeliveryStatus, Receipt};

use super::{hold_slot, is_drain_requested, is_noted_as_waiting, slow, waiting_for};
use crate::calm::{Broken, Calm, FIRST, Failure, MINUTE, Presented, SECOND};
use crate::clock::{IMMORTAL, START};
use crate::ports::Which;
use crate::receivers::Mood;
use crate::tables::Pool;
use crate::world::endpoint_id;

#[test]
fn a_delivery_to_an_endpoint_that_is_not_known_to_be_quick_is_moved_to_the_slow_track_unsent() {
    let cases = [(Breaker::default(), "new"), (Breaker::closed_at(START), "just enabled")];
    for (breaker, why) in cases {
        let calm = Calm::with(json!({}), Mood::Well(50));
        calm.put_breaker(0, breaker);
        let delivery = calm.delivery_to(0);
        calm.wait(SECOND);
        let moved = calm.run(calm.invocation(vec![(calm.body_of(delivery), FIRST)]));
        assert!(moved.is_empty() && calm.requests() == 0, "{why}");
        let sent = calm.sent(Which::SlowDeliveries);
        assert_eq!(sent.iter().map(|message| message.delay.as_secs()).collect::<Vec<_>>(), [0], "{why}");
        assert_eq!(calm.attributes(Which::SlowDeliveries, "since"), [Some(START.to_string())], "{why}: in its place");
        assert!(!calm.deliver_one(delivery, slow(Receipt { is_again: true, ..FIRST })), "{why}");
        assert_eq!(calm.status(delivery), Some(DeliveryStatus::Delivered), "{why}");
        assert!(calm.world.tables.borrow().slots.is_empty(), "{why}: the seat is free again");
    }
}

#[test]
fn on_the_fast_track_the_holder_of_a_slot_drains_nothing_and_puts_one_parked_delivery_on_the_slow_track() {
    for is_refused in [false, true] {
        let calm = Calm::with(json!({"maxConcurrency": 1}), Mood::Well(50));
        let delivery = calm.delivery_to(0);
        for since in 1..=2 {
            calm.park(Lane::Endpoint(endpoint_id(0)), START - since, calm.delivery_to(0));
        }
        if is_refused {
            hold_slot(&calm, 0);
        }
        assert!(calm.run(calm.invocation(vec![(calm.body_of(delivery), FIRST)])).is_empty());
        let (requests, handed_over) = (calm.requests(), calm.sent(Which::SlowDeliveries).len());
        assert_eq!(
            (requests, handed_over, waiting_for(&calm, 0).len()),
            if is_refused { (0, 0, 3) } else { (1, 1, 1) }
        );
    }
}

#[test]
fn on_the_fast_track_a_slot_that_is_free_after_a_delivery_was_parked_is_not_used_for_a_drain() {
    let calm = Calm::with(json!({"maxConcurrency": 1, "maxPerSecond": 1}), Mood::Well(50));
    for handed_over in [0, 1] {
        assert!(calm.run(calm.invocation(vec![(calm.body_of(calm.delivery_to(0)), FIRST)])).is_empty());
        assert_eq!((calm.requests(), calm.sent(Which::SlowDeliveries).len()), (1, handed_over));
    }
    assert!(calm.world.tables.borrow().slots.is_empty());
}

#[test]
fn a_delivery_that_cannot_be_moved_comes_again() {
    for failure in [Failure::Refused, Failure::Lost] {
        let calm = Calm::with(json!({}), Mood::Well(50));
        calm.put_breaker(0, Breaker::default());
        let delivery = calm.delivery_to(0);
        calm.break_calls(Some((Broken::Each(("SlowDeliveriesQueue", "send_all")), failure)));
        assert!(calm.deliver_one(delivery, FIRST), "{failure:?}");
        assert_eq!((calm.requests(), calm.waits()), (0, vec![10]), "{failure:?}");
    }
}

#[test]
fn an_endpoint_is_quick_after_twenty_quick_attempts_and_slow_after_two_seconds_without_an_answer() {
    let calm = Calm::with(json!({}), Mood::Well(50));
    calm.put_breaker(0, Breaker::default());
    let is_quick = || calm.world.tables.borrow().breakers[&0].0.is_quick();
    let now = |calm: &Calm| Receipt { first_received_unix_ms: calm.world.now(), ..FIRST };
    for number in 0..20 {
        assert!(!is_quick(), "after {number} attempts");
        calm.deliver_one(calm.delivery_to(0), slow(now(&calm)));
    }
    assert!(is_quick());
    calm.wait(MINUTE);
    calm.set_mood(0, Mood::Hanging);
    let hanging = calm.invocation(vec![(calm.body_of(calm.delivery_to(0)), now(&calm))]);
    calm.world.clock.spawn(IMMORTAL, async move { drop(hanging.await) });
    calm.wait(1_999);
    assert!(is_quick());
    calm.wait(2);
    assert!(!is_quick(), "while the attempt goes on");
}

#[test]
fn an_endpoint_that_takes_more_than_a_second_is_not_quick() {
    for (ms, expected) in [(1_000, true), (1_001, false)] {
        let calm = Calm::with(json!({}), Mood::After(ms));
        calm.put_breaker(0, Breaker::default());
        let on_slow: Vec<_> =
            (0..30).map(|_| Presented { delivery: calm.delivery_to(0), receipt: slow(FIRST) }).collect();
        calm.deliver(&on_slow);
        let is_quick = calm.world.tables.borrow().breakers.get(&0).is_some_and(|(breaker, _)| breaker.is_quick());
        assert_eq!((calm.requests(), is_quick), (30, expected), "{ms} ms");
    }
}

#[test]
fn quick_attempts_from_before_a_slow_one_do_not_prove_that_an_endpoint_is_quick_again() {
    let calm = Calm::with(json!({}), Mood::Well(50));
    let other = calm.beside();
    let now = |calm: &Calm| Receipt { first_received_unix_ms: calm.world.now(), ..FIRST };
    for _ in 0..30 {
        calm.deliver_one(calm.delivery_to(0), now(&calm));
    }
    calm.set_mood(0, Mood::After(3 * SECOND));
    other.deliver_one(calm.delivery_to(0), now(&calm));
    calm.set_mood(0, Mood::Well(50));
    calm.wait(3 * SECOND);
    calm.deliver_one(calm.delivery_to(0), slow(now(&calm)));
    assert_eq!(calm.requests(), 32);
    assert!(!calm.world.tables.borrow().breakers[&0].0.is_quick(), "one quick attempt after the slow one");
}

#[test]
fn the_deliveries_of_a_tenant_in_one_batch_share_a_seat_and_without_one_they_are_parked() {
    let calm = Calm::with(json!({}), Mood::Well(50));
    let deliveries = [calm.delivery_to(0), calm.delivery_to(0), calm.delivery_to(0)];
    let on_slow = |deliveries: &[u32]| -> Vec<_> {
        deliveries.iter().map(|delivery| Presented { delivery: *delivery, receipt: slow(FIRST) }).collect()
    };
    assert!(calm.deliver(&on_slow(&deliveries[..2])).is_empty());
    let calls =
        calm.seen(|watch| watch.calls.iter().filter(|(port, _)| *port == "Limits").copied().collect::<Vec<_>>());
    assert_eq!(calls, [("Limits", "take"), ("Limits", "release")]);
    calm.world.tables.borrow_mut().slots.insert((Pool::Tenant(0), 0), (7, u64::MAX)); // Another invocation has the only seat.
    assert!(calm.deliver(&on_slow(&deliveries[2..])).is_empty());
    assert_eq!((calm.requests(), waiting_for(&calm, 0)), (2, vec![deliveries[2]]));
    assert!(is_noted_as_waiting(&calm, 0) && is_drain_requested(&calm, 0));
}

#[test]
fn an_invocation_with_a_seat_sends_what_was_parked_for_lack_of_one_but_nothing_to_an_endpoint_that_is_just_back() {
    for (closed_at, expected) in [(START - 10 * MINUTE, 3), (START, 1)] {
        let calm = Calm::with(json!({}), Mood::Well(50));
        calm.put_breaker(0, Breaker::closed_at(closed_at));
        let delivery = calm.delivery_to(0);
        for since in 1..=2 {
            calm.park(Lane::Endpoint(endpoint_id(0)), START - since, calm.delivery_to(0));
        }
        assert!(!calm.deliver_one(delivery, slow(FIRST)));
        assert_eq!(calm.requests(), expected, "back since {closed_at}");
    }
}

#[test]
fn an_invocation_with_a_seat_stops_after_15_seconds_and_puts_one_delivery_back_into_the_queue() {
    let calm = Calm::with(json!({"timeoutSeconds": 30}), Mood::Hanging);
    calm.put_breaker(0, Breaker::closed_at(START - 10 * MINUTE));
    let delivery = calm.delivery_to(0);
    for since in 1..=2 {
        calm.park(Lane::Endpoint(endpoint_id(0)), START - since, calm.delivery_to(0));
    }
    assert!(calm.deliver_one(delivery, slow(FIRST)));
    assert_eq!((calm.requests(), waiting_for(&calm, 0).len()), (1, 1));
    assert_eq!(calm.attributes(Which::SlowDeliveries, "since"), [Some((START - 2).to_string())], "the oldest");
}

#[test]
fn an_invocation_that_could_not_record_its_attempt_sends_nothing_that_is_parked() {
    let calm = Calm::with(json!({}), Mood::Well(50));
    calm.put_breaker(0, Breaker::closed_at(START - 10 * MINUTE));
    let delivery = calm.delivery_to(0);
    calm.park(Lane::Endpoint(endpoint_id(0)), START - 1, calm.delivery_to(0));
    calm.break_calls(Some((Broken::Each(("Deliveries", "insert")), Failure::Refused)));
    assert!(calm.deliver_one(delivery, slow(FIRST)));
    assert_eq!((calm.requests(), waiting_for(&calm, 0).len()), (1, 1));
}
