//! Limits of endpoints, and drains by the holders of slots.

use serde_json::{Value, json};
use signpost_core::delivery::limits::Second;
use signpost_core::delivery::parking::Lane;
use signpost_core::delivery::{DeliveryStatus, Receipt};
use signpost_engine::ports::deliveries::Lease;

use super::{begin, first, hold_slot, is_drain_requested, is_noted_as_waiting, slow, waiting_for};
use crate::calm::{Broken, Calm, FIRST, MINUTE, Presented, SECOND, again, fixed, open_since};
use crate::clock::{IMMORTAL, START};
use crate::ports::Which;
use crate::receivers::Mood;
use crate::tables::{LEASE_MS, Pool};
use crate::world::endpoint_id;

#[test]
fn a_delivery_that_finds_no_free_slot_is_parked_with_a_request_to_drain() {
    let calm = Calm::with(json!({"maxConcurrency": 1}), Mood::Well(50));
    hold_slot(&calm, 0);
    let delivery = calm.delivery_to(0);
    assert!(!calm.deliver_one(delivery, FIRST));
    assert_eq!((calm.requests(), waiting_for(&calm, 0)), (0, vec![delivery]));
    assert!(is_noted_as_waiting(&calm, 0) && is_drain_requested(&calm, 0));
}

#[test]
fn an_endpoint_whose_slots_are_all_held_is_considered_full_for_a_tenth_of_a_second() {
    let calm = Calm::with(json!({"maxConcurrency": 1}), Mood::Well(50));
    hold_slot(&calm, 0);
    let sent_now = || {
        let receipt = Receipt { first_received_unix_ms: calm.world.now(), ..FIRST };
        calm.break_calls(None);
        let before = calm.requests();
        assert!(calm.run(calm.invocation(vec![(calm.body_of(calm.delivery_to(0)), receipt)])).is_empty());
        (calm.requests() - before, calm.calls(("Limits", "take")))
    };
    assert_eq!(sent_now(), (0, 1));
    assert_eq!(sent_now(), (0, 0), "it does not try again at once");
    calm.world.tables.borrow_mut().slots.clear();
    calm.wait(100);
    assert_eq!(sent_now(), (1, 1));
}

/// Creates two deliveries to an endpoint with limits. The second one is parked.
fn one_and_one_parked(settings: Value, mood: Mood) -> (Calm, u32, u32) {
    let calm = Calm::with(settings, mood);
    let [delivery, parked] = [calm.delivery_to(0), calm.delivery_to(0)];
    calm.park(Lane::Endpoint(endpoint_id(0)), START, parked);
    (calm, delivery, parked)
}

#[test]
fn the_holder_of_a_slot_that_another_function_took_meanwhile_drains_nothing() {
    let (calm, delivery, parked) = one_and_one_parked(json!({"maxConcurrency": 1}), Mood::Well(500));
    begin(&calm, delivery, slow(FIRST));
    calm.wait(100);
    hold_slot(&calm, 0);
    calm.wait(10 * SECOND);
    assert_eq!((calm.requests(), waiting_for(&calm, 0)), (1, vec![parked]));
}

#[test]
fn the_holder_of_a_slot_has_it_for_the_longest_time_of_each_attempt() {
    let (calm, delivery, _) = one_and_one_parked(json!({"maxConcurrency": 1}), Mood::After(9 * SECOND));
    begin(&calm, delivery, slow(FIRST));
    for requests in [1, 2] {
        let began = calm.world.now();
        calm.wait(SECOND);
        let (_, until) = calm.world.tables.borrow().slots[&(Pool::Endpoint(0), 0)];
        assert_eq!((calm.requests(), until), (requests, began + LEASE_MS));
        calm.wait(8 * SECOND);
    }
}

#[test]
fn a_drain_waits_for_a_second_with_room_until_its_time_is_over() {
    let limits = json!({"maxConcurrency": 1, "maxPerSecond": 1});
    let (calm, delivery, _) = one_and_one_parked(limits, Mood::Well(500));
    begin(&calm, delivery, slow(FIRST));
    calm.wait(100);
    let full = Second { unix_seconds: START / SECOND + 3_600, begun: 1 }; // By a clock that is an hour ahead.
    calm.world.tables.borrow_mut().seconds.insert(0, full);
    calm.wait(20 * SECOND);
    assert_eq!((calm.requests(), calm.parked(), calm.sent(Which::SlowDeliveries).len()), (1, Vec::new(), 1));
}

#[test]
fn a_drain_sends_no_probe() {
    let calm = Calm::with(json!({"maxConcurrency": 1, "maxPerSecond": 1}), Mood::Well(50));
    calm.put_breaker(0, open_since(START - MINUTE));
    calm.world.tables.borrow_mut().seconds.insert(0, Second { unix_seconds: START / SECOND, begun: 1 });
    let delivery = calm.delivery_to(0);
    assert!(!calm.deliver_one(delivery, FIRST));
    assert!(calm.world.now() >= START + SECOND, "a drain has waited for the next second");
    assert_eq!((calm.requests(), waiting_for(&calm, 0)), (0, vec![delivery]));
}

#[test]
fn the_holder_of_a_slot_sends_a_delivery_that_is_parked_while_it_releases_the_slot() {
    let calm = Calm::with(json!({"maxConcurrency": 1}), Mood::Well(50));
    let [delivery, parked] = [calm.delivery_to(0), calm.delivery_to(0)];
    calm.world.watch.borrow_mut().as_mut().unwrap().slow = Some((Broken::Each(("Limits", "release")), SECOND));
    begin(&calm, delivery, slow(FIRST));
    calm.wait(500);
    calm.park(Lane::Endpoint(endpoint_id(0)), START, parked);
    calm.wait(5 * SECOND);
    assert_eq!((calm.requests(), calm.parked()), (2, Vec::new()));
}

#[test]
fn a_drain_ends_if_other_functions_are_sending_all_that_is_parked() {
    let calm = Calm::in_time(&[(json!({"maxConcurrency": 1}), Mood::Well(50))], 20);
    let [delivery, parked] = [calm.delivery_to(0), calm.delivery_to(0)];
    calm.park(Lane::Endpoint(endpoint_id(0)), START, parked);
    calm.world.tables.borrow_mut().lease(parked, Lease::of(&again(2), START));
    calm.break_calls(None);
    assert!(!calm.deliver_one(delivery, FIRST));
    assert_eq!((calm.requests(), waiting_for(&calm, 0)), (1, vec![parked]));
    assert_eq!(calm.calls(("Parking", "first_of")), 1);
}

#[test]
fn the_holder_of_a_slot_sends_the_deliveries_that_found_none_and_releases_it() {
    let calm = Calm::with(json!({"maxConcurrency": 1}), Mood::Well(500));
    let deliveries = [calm.delivery_to(0), calm.delivery_to(0), calm.delivery_to(0)];
    assert!(calm.deliver(&deliveries.map(first)).is_empty());
    assert_eq!((calm.requests(), calm.parked()), (3, Vec::new()));
    assert!(deliveries.iter().all(|one| calm.status(*one) == Some(DeliveryStatus::Delivered)));
    assert!(calm.world.tables.borrow().slots.is_empty());
}

#[test]
fn the_holder_of_a_slot_stops_after_15_seconds_and_puts_one_delivery_back_into_the_queue() {
    let calm = Calm::with(json!({"maxConcurrency": 1, "timeoutSeconds": 30}), Mood::Hanging);
    let deliveries = [calm.delivery_to(0), calm.delivery_to(0), calm.delivery_to(0)];
    calm.deliver(&deliveries.map(first));
    let requeued = calm.sent(Which::SlowDeliveries);
    assert_eq!((calm.requests(), requeued.len(), waiting_for(&calm, 0).len()), (1, 1, 1));
    assert_eq!(calm.attributes(Which::SlowDeliveries, "since"), [Some(START.to_string())]);
    assert!(calm.world.tables.borrow().slots.is_empty());
}

#[test]
fn a_drain_stops_in_the_middle_of_a_page_when_its_time_is_over() {
    let calm = Calm::with(json!({"maxConcurrency": 1, "timeoutSeconds": 8}), Mood::Hanging);
    let delivery = calm.delivery_to(0);
    for since in 1..=4 {
        let parked = calm.delivery_to(0);
        calm.park(Lane::Endpoint(endpoint_id(0)), START + since, parked);
    }
    calm.deliver_one(delivery, FIRST);
    assert_eq!(calm.requests(), 2, "the second one begins after 8 s and ends after 16");
}

#[test]
fn a_drained_delivery_that_fails_keeps_its_place_in_line() {
    let calm = Calm::with(json!({"maxConcurrency": 1, "retry": fixed(5, 60)}), Mood::Failing);
    let (delivery, parked) = (calm.delivery_to(0), calm.delivery_to(0));
    calm.park(Lane::Endpoint(endpoint_id(0)), START - 7 * SECOND, parked);
    calm.deliver_one(delivery, FIRST);
    let since = calm.attributes(Which::SlowDeliveries, "since");
    assert!(since.contains(&Some((START - 7 * SECOND).to_string())), "{since:?}");
}

#[test]
fn a_drained_delivery_whose_event_is_gone_becomes_a_dead_letter() {
    let calm = Calm::with(json!({"maxConcurrency": 1}), Mood::Well(50));
    let (delivery, parked) = (calm.delivery_to(0), calm.delivery_to(0));
    calm.park(Lane::Endpoint(endpoint_id(0)), START, parked);
    calm.world.tables.borrow_mut().gone.insert(calm.world.laws.borrow().event_of(parked));
    assert!(!calm.deliver_one(delivery, FIRST));
    assert_eq!((calm.requests(), calm.dead_letters()), (1, vec!["event-gone".to_owned()]));
    assert_eq!((calm.parked(), calm.status(parked)), (Vec::new(), Some(DeliveryStatus::Exhausted)));
}

#[test]
fn deliveries_over_the_limit_per_second_are_parked_with_a_request_to_drain() {
    let calm = Calm::with(json!({"maxPerSecond": 2}), Mood::Well(50));
    let deliveries = [calm.delivery_to(0), calm.delivery_to(0), calm.delivery_to(0)];
    assert!(calm.deliver(&deliveries.map(first)).is_empty());
    assert_eq!((calm.requests(), waiting_for(&calm, 0).len()), (2, 1));
    assert!(is_drain_requested(&calm, 0));
    calm.wait(SECOND);
    let later = calm.delivery_to(0);
    assert!(!calm.deliver_one(later, Receipt { first_received_unix_ms: calm.world.now(), ..FIRST }));
    assert_eq!(calm.status(later), Some(DeliveryStatus::Delivered), "another second");
}

/// Presents so many new deliveries to an environment now. Returns how many requests it sends.
fn sent_by(calm: &Calm, count: usize) -> usize {
    let receipt = Receipt { first_received_unix_ms: calm.world.now(), ..FIRST };
    let batch: Vec<_> = (0..count).map(|_| Presented { delivery: calm.delivery_to(0), receipt }).collect();
    let before = calm.requests();
    assert!(calm.deliver(&batch).is_empty());
    calm.requests() - before
}

#[test]
fn requests_that_are_counted_after_their_second_are_counted_again_in_the_next() {
    let calm = Calm::with(json!({"maxPerSecond": 5}), Mood::Well(50));
    let other = calm.beside();
    calm.wait(600);
    let slow = |slow| calm.world.watch.borrow_mut().as_mut().unwrap().slow = slow;
    slow(Some((Broken::Each(("Limits", "count_first")), 600)));
    assert_eq!(sent_by(&calm, 5), 5);
    slow(None);
    assert_eq!((calm.world.now() - START) / SECOND, 1);
    assert_eq!(sent_by(&other, 5), 0, "five were sent in this second");
}

#[test]
fn environments_share_the_requests_of_a_second_and_count_only_those_that_they_send() {
    let calm = Calm::with(json!({"maxPerSecond": 5}), Mood::Well(50));
    let other = calm.beside();
    assert_eq!(sent_by(&calm, 5), 5);
    calm.wait(SECOND);
    assert_eq!([sent_by(&calm, 1), sent_by(&calm, 1), sent_by(&other, 6)], [1, 1, 3], "in the next second");
    assert_eq!(waiting_for(&calm, 0).len(), 3);
}

#[test]
fn the_limit_of_a_second_is_asked_for_once_and_no_slot_is_taken_after_it_is_reached() {
    let calm = Calm::with(json!({"maxConcurrency": 50, "maxPerSecond": 20}), Mood::Well(500));
    let batch: Vec<_> = (0..21).map(|_| (calm.body_of(calm.delivery_to(0)), FIRST)).collect();
    let full = calm.invocation(batch);
    calm.world.clock.spawn(IMMORTAL, async move { drop(full.await) });
    calm.wait(100);
    assert_eq!(
        (calm.requests(), calm.calls(("Limits", "count_first")), calm.calls(("Limits", "count_more"))),
        (20, 1, 0)
    );
    calm.break_calls(None);
    let later = calm.delivery_to(0);
    assert!(calm.run(calm.invocation(vec![(calm.body_of(later), FIRST)])).is_empty());
    assert!(waiting_for(&calm, 0).contains(&later));
    assert_eq!(calm.calls(("Limits", "take")), 0);
}

#[test]
fn a_refused_delivery_gives_its_slot_back() {
    let calm = Calm::with(json!({"maxPerSecond": 1, "maxConcurrency": 5}), Mood::Well(50));
    let deliveries = [calm.delivery_to(0), calm.delivery_to(0)];
    calm.deliver(&deliveries.map(first));
    assert!(calm.world.tables.borrow().slots.is_empty());
}
