//! Single invocations of `deliver`, and their effects on each message.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use signpost_core::delivery::attempt::judge_status;
use signpost_core::delivery::breaker::{Admission, Breaker, Outcomes};
use signpost_core::delivery::limits::Second;
use signpost_core::delivery::parking::Lane;
use signpost_core::delivery::verification::Question;
use signpost_core::delivery::{DeliveryKey, DeliveryStatus, MOST_RECEIVES, Progress, Receipt, ReplayKind, Track};
use signpost_core::endpoint::{
    DISABLED_TYPE, DISABLING_SOON_TYPE, DisabledBecause, EXHAUSTED_TYPE, FAILING_TYPE, RECOVERED_TYPE,
    VERIFICATION_TYPE,
};
use signpost_core::event::{Event, OWN_SOURCE};
use signpost_engine::metrics::Metric;
use signpost_engine::ports::deliveries::{Deliveries as _, Lease};

use crate::calm::{Broken, Calm, FIRST, Failure, MINUTE, Presented, SECOND, again, failed, fixed, open_since, quick};
use crate::clock::{IMMORTAL, START};
use crate::ports::Which;
use crate::receivers::Mood;
use crate::tables::{LEASE_MS, Place, Pool};
use crate::world::{Call, endpoint_id};

fn first(delivery: u32) -> Presented {
    Presented { delivery, receipt: FIRST }
}

fn slow(receipt: Receipt) -> Receipt {
    Receipt { track: Track::Slow, ..receipt }
}

fn retried(max_retries: u32, seconds: u32) -> Value {
    json!({"retry": fixed(max_retries, seconds)})
}

/// The lane of an endpoint, with its parked deliveries.
fn waiting_for(calm: &Calm, endpoint: usize) -> Vec<u32> {
    calm.lane(Place::Endpoint(endpoint)).into_iter().map(|(_, id)| id).collect()
}

fn is_drain_requested(calm: &Calm, endpoint: usize) -> bool {
    calm.world.tables.borrow().drains.contains_key(&endpoint_id(endpoint))
}

fn is_noted_as_waiting(calm: &Calm, endpoint: usize) -> bool {
    calm.world.tables.borrow().waiting.contains_key(&endpoint_id(endpoint))
}

fn disabled(calm: &Calm, endpoint: usize) -> Option<DisabledBecause> {
    calm.world.tables.borrow().endpoints[endpoint].as_ref().unwrap().disabled
}

fn disable(calm: &Calm, because: DisabledBecause) {
    calm.world.tables.borrow_mut().endpoints[0].as_mut().unwrap().disabled = Some(because);
}

/// Has another sender hold all slots of an endpoint with a limit of one.
fn hold_slot(calm: &Calm, endpoint: usize) {
    calm.world.tables.borrow_mut().slots.insert((Pool::Endpoint(endpoint), 0), (7, u64::MAX));
}

/// Has another invocation hold the only seat of the tenant.
fn hold_seat(calm: &Calm) {
    calm.world.tables.borrow_mut().slots.insert((Pool::Tenant(0), 0), (7, u64::MAX));
}

/// Invokes `deliver` with a delivery, and does not wait for its end.
fn begin(calm: &Calm, delivery: u32, receipt: Receipt) {
    let invocation = calm.invocation(vec![(calm.body_of(delivery), receipt)]);
    calm.world.clock.spawn(IMMORTAL, async move { drop(invocation.await) });
}

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
fn a_receiver_that_answers_410_is_disabled_an_event_says_so_and_the_delivery_is_parked() {
    let told = json!({"types": [{"type": "t1"}, {"type": DISABLED_TYPE}]});
    let calm = Calm::new(&[(json!({}), Mood::Gone), (told, Mood::Well(50))]);
    let delivery = calm.delivery_to(0);
    assert!(!calm.deliver_one(delivery, FIRST));
    assert_eq!(disabled(&calm, 0), Some(DisabledBecause::Gone));
    let events = calm.sent(Which::OwnEvents);
    let event = Event::parse_own(&events[0].body).unwrap();
    assert_eq!((events.len(), &*event.kind), (1, DISABLED_TYPE));
    let data: Value = serde_json::from_str(event.data()).unwrap();
    let endpoint = endpoint_id(0);
    let expected = [("endpoint", endpoint.as_str()), ("disabledBecause", "gone"), ("host", "receiver.example")];
    for (name, value) in expected {
        assert_eq!(data[name], value, "{name}");
    }
    assert_eq!((&data["reason"], &data["parkedAtLeast"]), (&json!("status"), &json!(0)));
    assert_eq!(calm.lane(Place::Endpoint(0)), [(FIRST.since_unix_ms, delivery)]);
    assert_eq!(calm.status(delivery), Some(DeliveryStatus::Pending), "it is sent once the endpoint is enabled");
    assert!(is_noted_as_waiting(&calm, 0) && !is_drain_requested(&calm, 0));
}

#[test]
fn an_endpoint_that_only_failed_for_five_days_is_disabled_and_an_event_says_so() {
    const DAY: u64 = 24 * 60 * MINUTE;
    let mut breaker = quick();
    for at in (1..=6).rev().map(|days| START - days * DAY) {
        let mut failures = Outcomes::default();
        (0..10).for_each(|_| failures.add(&judge_status(500, None), at));
        breaker = breaker.probing(at).after(&failures, at, 0.5);
    }
    let calm = Calm::with(retried(5, 5), Mood::Failing);
    calm.put_breaker(0, breaker);
    let delivery = calm.delivery_to(0);
    assert!(calm.deliver_one(delivery, FIRST));
    assert_eq!(disabled(&calm, 0), Some(DisabledBecause::Failing));
    // The breaker of this test has notices that nobody has sent.
    assert_eq!(notices(&calm), [FAILING_TYPE, DISABLING_SOON_TYPE, DISABLED_TYPE]);
}

fn notices(calm: &Calm) -> Vec<String> {
    calm.sent(Which::OwnEvents).iter().map(|message| Event::parse_own(&message.body).unwrap().kind).collect()
}

#[test]
fn the_owner_hears_once_of_an_endpoint_that_fails_and_once_that_it_works_again() {
    let calm = Calm::with(retried(20, 1), Mood::Failing);
    calm.put_breaker(0, quick());
    for attempt in 0..10 {
        assert_eq!(notices(&calm), Vec::<String>::new(), "after {attempt} failures");
        calm.deliver_one(calm.delivery_to(0), FIRST);
    }
    assert_eq!(notices(&calm), [FAILING_TYPE]);
    for _ in 0..3 {
        calm.deliver_one(calm.delivery_to(0), FIRST);
    }
    let sent = calm.sent(Which::OwnEvents);
    let data: Value = serde_json::from_str(Event::parse_own(&sent[0].body).unwrap().data()).unwrap();
    assert_eq!((sent.len(), &data["reason"]), (1, &json!("status")), "deliveries are parked, and no news");
}

#[test]
fn a_notice_that_could_not_be_sent_is_sent_by_a_later_delivery() {
    let mut breaker = quick();
    let mut failures = Outcomes::default();
    (0..10).for_each(|_| failures.add(&judge_status(500, None), START - MINUTE));
    breaker = breaker.after(&failures, START - MINUTE, 0.5);
    let calm = Calm::with(retried(5, 5), Mood::Well(50));
    calm.put_breaker(0, breaker);
    calm.break_calls(Some((Broken::Each(("OwnEventsQueue", "send_all")), Failure::Refused)));
    assert!(!calm.deliver_one(calm.delivery_to(0), FIRST), "the probe is acknowledged");
    assert_eq!(notices(&calm), Vec::<String>::new());
    calm.break_calls(None);
    assert!(!calm.deliver_one(calm.delivery_to(0), FIRST));
    assert_eq!(notices(&calm), [FAILING_TYPE, RECOVERED_TYPE]);
}

#[test]
fn a_notice_that_its_finder_has_not_sent_is_sent_by_a_delivery_that_is_parked() {
    for (ago, expected, why) in
        [(40_000, vec![FAILING_TYPE], "its finder has crashed"), (20_000, vec![], "its finder sends it")]
    {
        let mut failures = Outcomes::default();
        (0..10).for_each(|_| failures.add(&judge_status(500, None), START - ago));
        let breaker = quick().after(&failures, START - ago, 0.5);
        let mut probe = Outcomes::default();
        probe.add(&judge_status(500, None), START - 1_000);
        let calm = Calm::with(retried(5, 5), Mood::Well(50));
        calm.put_breaker(0, breaker.probing(START - 1_000).after(&probe, START - 1_000, 0.5));
        calm.deliver_one(calm.delivery_to(0), FIRST);
        assert_eq!((calm.requests(), notices(&calm)), (0, expected.into_iter().map(str::to_owned).collect()), "{why}");
    }
}

#[test]
fn the_owner_hears_once_of_deliveries_that_are_given_up() {
    let calm = Calm::with(retried(0, 5), Mood::Failing);
    calm.put_breaker(0, quick());
    for _ in 0..3 {
        calm.deliver_one(calm.delivery_to(0), FIRST);
    }
    assert_eq!(calm.dead_letters().len(), 3);
    assert_eq!(notices(&calm), [EXHAUSTED_TYPE]);
}

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

#[test]
fn the_second_receive_waits_while_the_first_may_be_sending() {
    for is_disabled in [false, true] {
        let calm = Calm::with(json!({}), Mood::Well(50));
        let delivery = calm.delivery_to(0);
        calm.wait(10 * SECOND);
        if is_disabled {
            disable(&calm, DisabledBecause::Operator);
        }
        assert!(!calm.deliver_one(delivery, Receipt { receives: 2, ..FIRST }));
        let delays = calm.delays(Which::Deliveries);
        assert_eq!((calm.requests(), calm.parked(), delays), (0, Vec::new(), vec![85]), "{is_disabled}");
    }
}

#[test]
fn the_second_receive_sends_under_a_lease_after_the_time_of_the_first() {
    let calm = Calm::with(json!({}), Mood::Well(50));
    let delivery = calm.delivery_to(0);
    calm.wait(95 * SECOND);
    assert!(!calm.deliver_one(delivery, Receipt { receives: 2, ..FIRST }));
    assert!(calm.seen(|watch| watch.calls.contains(&("Deliveries", "lease"))));
    assert_eq!((calm.requests(), calm.status(delivery)), (1, Some(DeliveryStatus::Delivered)));
    assert_eq!(calm.record(delivery).unwrap().leased_until_unix_ms, 0, "the record ends the lease");
}

#[test]
fn a_first_receive_that_begins_late_takes_a_lease() {
    for (late_ms, is_leased) in [(4 * SECOND, false), (4 * SECOND + 1, true)] {
        let calm = Calm::with(json!({}), Mood::Well(50));
        let delivery = calm.delivery_to(0);
        calm.wait(late_ms);
        assert!(!calm.deliver_one(delivery, FIRST));
        let has_leased = calm.seen(|watch| watch.calls.contains(&("Deliveries", "lease")));
        assert_eq!((calm.requests(), has_leased), (1, is_leased), "{late_ms} ms");
    }
}

#[test]
fn a_delivery_that_is_on_record_as_delivered_is_done_without_a_request() {
    for receipt in [FIRST, again(2), Receipt { is_again: true, ..FIRST }] {
        let calm = Calm::with(json!({}), Mood::Well(50));
        let delivery = calm.delivery_to(0);
        calm.put_record(delivery, Progress { status: DeliveryStatus::Delivered, ..failed(1) });
        assert!(!calm.deliver_one(delivery, receipt));
        assert_eq!((calm.requests(), calm.progress(delivery).unwrap().attempts), (0, 1));
    }
}

#[test]
fn a_delivery_whose_lease_another_sender_has_comes_again_when_the_lease_ends() {
    let calm = Calm::with(json!({}), Mood::Well(50));
    let delivery = calm.delivery_to(0);
    calm.world.tables.borrow_mut().lease(delivery, Lease::of(&again(2), START));
    calm.wait(5 * SECOND);
    assert!(!calm.deliver_one(delivery, again(2)));
    assert_eq!((calm.requests(), calm.delays(Which::Deliveries)), (0, vec![90]));
}

#[test]
fn a_delivery_that_becomes_due_after_its_lease_was_refused_comes_again_unsent() {
    let calm = Calm::with(json!({}), Mood::Well(50));
    let delivery = calm.delivery_to(0);
    calm.put_record(delivery, Progress { next_attempt_unix_ms: START + 5 * SECOND, ..failed(1) });
    calm.world.watch.borrow_mut().as_mut().unwrap().slow = Some((Broken::Each(("Deliveries", "lease")), 10 * SECOND));
    assert!(calm.deliver_one(delivery, again(2)));
    assert_eq!((calm.requests(), calm.waits()), (0, vec![1]));
}

#[test]
fn a_message_that_comes_too_early_waits_until_its_recorded_time() {
    let calm = Calm::with(json!({}), Mood::Well(50));
    let delivery = calm.delivery_to(0);
    calm.put_record(delivery, Progress { next_attempt_unix_ms: START + 20 * SECOND, ..failed(1) });
    assert!(calm.deliver_one(delivery, again(2)));
    assert_eq!((calm.requests(), calm.waits()), (0, vec![20]));
}

#[test]
fn a_message_that_fanout_did_not_write_becomes_a_dead_letter() {
    let calm = Calm::with(json!({}), Mood::Well(50));
    let foreign = r#"{"endpoint":"ep_1"}"#;
    calm.world.watch.borrow_mut().as_mut().unwrap().foreign.insert(foreign.to_owned());
    assert!(calm.run(calm.invocation(vec![(foreign.to_owned(), FIRST)])).is_empty());
    assert_eq!(calm.dead_letters(), ["bad-message"]);
    assert_eq!(calm.sent(Which::DeadLetters)[0].body, foreign);
    calm.break_calls(Some((Broken::Each(("DeadLetterQueue", "send_all")), Failure::Refused)));
    assert_eq!(calm.run(calm.invocation(vec![(foreign.to_owned(), again(3))])), [0]);
    assert_eq!(calm.waits(), [30], "it stays in its queue until it is a dead letter");
}

#[test]
fn a_message_of_a_newer_release_waits_for_it_however_long() {
    let calm = Calm::with(json!({}), Mood::Well(50));
    let newer = r#"{"v":2,"endpoint":"ep_1"}"#.to_owned();
    calm.world.watch.borrow_mut().as_mut().unwrap().foreign.insert(newer.clone());
    assert_eq!(calm.run(calm.invocation(vec![(newer.clone(), again(1))])), [0]);
    assert_eq!(calm.waits(), [10]);
    assert!(calm.run(calm.invocation(vec![(newer, again(MOST_RECEIVES))])).is_empty());
    assert_eq!(calm.delays(Which::Deliveries), [900], "as another message");
    assert_eq!((calm.dead_letters().len(), calm.requests()), (0, 0));
}

/// The calls without which no request can be sent.
const NEEDED: [Call; 5] = [
    ("Deliveries", "standing"),
    ("Endpoints", "get"),
    ("Limits", "count_first"),
    ("Limits", "take"),
    ("Secrets", "open"),
];

fn limited() -> Calm {
    Calm::with(json!({"maxConcurrency": 1, "maxPerSecond": 5, "retry": fixed(0, 5)}), Mood::Failing)
}

#[test]
fn an_internal_error_is_no_attempt_and_the_message_comes_again_after_ten_seconds_for_each_receive() {
    for call in NEEDED {
        let calm = limited();
        let delivery = calm.delivery_to(0);
        calm.break_calls(Some((Broken::Each(call), Failure::Refused)));
        assert!(calm.deliver_one(delivery, FIRST), "{call:?}");
        assert_eq!((calm.requests(), calm.progress(delivery), calm.waits()), (0, None, vec![10]), "{call:?}");
        assert!(calm.world.tables.borrow().slots.is_empty(), "{call:?}: the slot is free again");
        assert_eq!((calm.parked(), calm.dead_letters().len()), (Vec::new(), 0), "{call:?}");
    }
}

#[test]
fn a_message_waits_in_flight_for_an_internal_error_for_30_s_and_longer_as_another_message_with_a_delay() {
    let fails = |receipt| {
        let calm = limited();
        let delivery = calm.delivery_to(0);
        calm.break_calls(Some((Broken::Each(("Deliveries", "lease")), Failure::Refused)));
        let comes_again = calm.deliver_one(delivery, receipt);
        assert_eq!((calm.requests(), calm.progress(delivery)), (0, None));
        (calm, comes_again)
    };
    let (calm, comes_again) = fails(again(3));
    assert_eq!((comes_again, calm.waits()), (true, vec![30]));
    let earlier = |earlier_receives| Receipt { earlier_receives, ..again(1) };
    let cases = [
        (again(4), 40, 4),
        (again(90), 900, 90),
        (again(MOST_RECEIVES - 1), 900, 499),
        (earlier(4), 50, 5),
        (earlier(MOST_RECEIVES - 2), 900, 499),
    ];
    for (receipt, seconds, receives) in cases {
        let (calm, comes_again) = fails(receipt);
        assert_eq!((comes_again, calm.waits()), (false, Vec::new()), "{seconds} s");
        let [sent] = &calm.sent(Which::SlowDeliveries)[..] else { panic!("{seconds} s: on its track") };
        assert_eq!(sent.delay.as_secs(), seconds);
        let attributes = vec![("since", START.to_string()), ("receives", receives.to_string())];
        assert_eq!(sent.attributes, attributes, "in its place, and with the count of receives");
    }
}

#[test]
fn a_message_that_cannot_be_sent_again_stays_in_flight() {
    let calm = limited();
    let delivery = calm.delivery_to(0);
    calm.break_calls(Some((Broken::All, Failure::Refused)));
    assert!(calm.deliver_one(delivery, again(4)));
    assert_eq!(calm.sent(Which::SlowDeliveries), []);
}

#[test]
fn a_message_in_place_of_another_does_not_come_before_the_first_receiver_of_that_is_done() {
    let calm = limited();
    let delivery = calm.delivery_to(0);
    calm.break_calls(Some((Broken::Each(("Endpoints", "get")), Failure::Refused)));
    assert!(!calm.deliver_one(delivery, Receipt { receives: 4, ..FIRST }), "40 s are too long in flight");
    assert_eq!(calm.delays(Which::SlowDeliveries), [95], "the time of an attempt");
}

#[test]
fn without_a_signing_key_nothing_is_sent_and_the_message_comes_again() {
    let calm = Calm::with(json!({"signatures": ["jws"]}), Mood::Well(50));
    let delivery = calm.delivery_to(0);
    assert!(calm.deliver_one(delivery, FIRST));
    assert_eq!((calm.requests(), calm.progress(delivery), calm.waits()), (0, None, vec![10]));
}

#[test]
fn the_receive_after_an_internal_error_need_not_wait_until_the_first_may_have_sent() {
    let calm = limited();
    let delivery = calm.delivery_to(0);
    calm.break_calls(Some((Broken::Each(("Limits", "take")), Failure::Refused)));
    assert!(calm.deliver_one(delivery, FIRST));
    calm.break_calls(None);
    calm.set_mood(0, Mood::Well(50));
    calm.wait(10 * SECOND);
    assert!(!calm.deliver_one(delivery, Receipt { receives: 2, ..FIRST }));
    assert_eq!((calm.requests(), calm.status(delivery)), (1, Some(DeliveryStatus::Delivered)));
}

#[test]
fn after_internal_errors_for_days_a_delivery_is_noted_and_becomes_a_dead_letter() {
    let earlier = Receipt { earlier_receives: MOST_RECEIVES - 1, ..again(1) };
    let receipts = [again(MOST_RECEIVES), earlier];
    let calls = [("Endpoints", "get"), ("Secrets", "open"), ("Deliveries", "lease")];
    for (call, receipt) in calls.into_iter().flat_map(|call| receipts.map(|receipt| (call, receipt))) {
        let calm = limited();
        let delivery = calm.delivery_to(0);
        calm.break_calls(Some((Broken::Each(call), Failure::Refused)));
        assert!(!calm.deliver_one(delivery, receipt), "{call:?}");
        assert_eq!((calm.requests(), calm.dead_letters()), (0, vec!["deferred".to_owned()]), "{call:?}");
        assert_eq!(calm.lane(Place::Exhausted(0)), [(START, delivery)], "{call:?}");
        assert_eq!(calm.status(delivery), Some(DeliveryStatus::Exhausted), "{call:?}");
    }
}

#[test]
fn a_delivery_that_cannot_even_become_a_dead_letter_comes_again() {
    let calm = limited();
    let delivery = calm.delivery_to(0);
    disable(&calm, DisabledBecause::Operator);
    calm.break_calls(Some((Broken::Each(("Parking", "park")), Failure::Refused)));
    assert!(!calm.deliver_one(delivery, again(MOST_RECEIVES)));
    assert_eq!((calm.delays(Which::SlowDeliveries), calm.dead_letters().len()), (vec![900], 0));
}

/// The state of a delivery and its endpoint.
#[derive(Debug, PartialEq, Eq)]
struct Ending {
    status: Option<DeliveryStatus>,
    /// In which kinds of lanes it is parked, once for each item.
    parked: Vec<&'static str>,
    dead_letters: BTreeSet<String>,
    own_events: BTreeSet<String>,
    /// Whether the endpoint exists, and why it is disabled.
    endpoint: (bool, Option<DisabledBecause>),
    is_noted_as_waiting: bool,
    is_drain_requested: bool,
}

impl Ending {
    fn of(calm: &Calm, delivery: u32) -> Self {
        let stored = calm.world.tables.borrow().endpoints[0].clone();
        Self {
            status: calm.status(delivery),
            parked: calm.parked().into_iter().map(|(place, ..)| kind(place)).collect(),
            dead_letters: calm.dead_letters().into_iter().collect(),
            own_events: disablings(calm),
            endpoint: (stored.is_some(), stored.and_then(|stored| stored.disabled)),
            is_noted_as_waiting: is_noted_as_waiting(calm, 0),
            is_drain_requested: is_drain_requested(calm, 0),
        }
    }
}

/// Returns the ids of the notices that an endpoint is disabled. Other notices wait in the breaker if a call fails.
fn disablings(calm: &Calm) -> BTreeSet<String> {
    let events = calm.sent(Which::OwnEvents);
    let events = events.iter().map(|message| Event::parse_own(&message.body).unwrap());
    events.filter(|event| event.kind == DISABLED_TYPE).map(|event| event.key.id.to_string()).collect()
}

fn kind(place: Place) -> &'static str {
    match place {
        Place::Due { .. } => "due",
        Place::Endpoint(_) => "endpoint",
        Place::Exhausted(_) => "exhausted",
    }
}

/// A world, and what happens in it before its delivery is presented.
type Scene = (&'static str, Value, Mood, fn(&Calm, u32));

const SCENES: usize = 8;

fn scenes() -> [Scene; SCENES] {
    let limits = json!({"maxConcurrency": 1, "maxPerSecond": 5});
    [
        ("acknowledged", limits.clone(), Mood::Well(50), |_, _| {}),
        ("exhausted", retried(0, 5), Mood::Failing, |_, _| {}),
        ("gone", limits.clone(), Mood::Gone, |_, _| {}),
        ("parked until later", retried(5, 7_200), Mood::Failing, |_, _| {}),
        ("disabled", limits.clone(), Mood::Well(50), |calm, _| disable(calm, DisabledBecause::Operator)),
        ("breaker open", limits.clone(), Mood::Well(50), |calm, _| {
            calm.put_breaker(0, open_since(START + 20 * MINUTE));
        }),
        ("no free slot", limits.clone(), Mood::Well(50), |calm, _| hold_slot(calm, 0)),
        ("endpoint removed", limits, Mood::Well(50), |calm, _| {
            calm.world.tables.borrow_mut().endpoints[0] = None;
        }),
    ]
}

fn enter((_, settings, mood, prepare): &Scene) -> (Calm, u32) {
    let calm = Calm::with(settings.clone(), *mood);
    let delivery = calm.delivery_to(0);
    prepare(&calm, delivery);
    calm.break_calls(None);
    (calm, delivery)
}

#[test]
fn whichever_call_fails_or_loses_its_answer_the_next_receive_brings_the_delivery_to_the_same_end() {
    for scene in scenes() {
        let (calm, delivery) = enter(&scene);
        assert!(!calm.deliver_one(delivery, FIRST), "{}", scene.0);
        let (expected, calls) = (Ending::of(&calm, delivery), calm.seen(|watch| watch.calls.clone()));
        for (nth, call) in calls.into_iter().enumerate() {
            for failure in [Failure::Refused, Failure::Lost] {
                if call == ("Breakers", "read") {
                    continue; // A breaker that cannot be read counts as closed.
                }
                if (call, failure) == (("Deliveries", "end"), Failure::Lost) {
                    continue; // The repetition finds it given up, and makes another dead letter, by the record's status.
                }
                let name = format!("{}: {call:?}, call {nth}, {failure:?}", scene.0);
                let (calm, delivery) = enter(&scene);
                calm.break_calls(Some((Broken::Nth(nth), failure)));
                let comes_again = calm.deliver_one(delivery, FIRST);
                calm.break_calls(None);
                if comes_again {
                    if calm.requests() == 0 {
                        let attempts = calm.progress(delivery).map_or(0, |progress| progress.attempts);
                        assert_eq!((attempts, calm.waits()), (0, vec![10]), "{name}");
                    }
                    calm.wait(9 * MINUTE);
                    let receipt = Receipt { receives: 2, ..FIRST };
                    assert!(!calm.deliver_one(delivery, receipt), "{name}");
                }
                assert_eq!(Ending::of(&calm, delivery), expected, "{name}");
                let attempts = calm.progress(delivery).map_or(0, |progress| progress.attempts);
                assert!(attempts as usize <= calm.requests(), "{name}: {attempts} attempts are on record");
                assert!(calm.requests() <= 2, "{name}");
            }
        }
    }
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

/// Has an unverified endpoint asked with a question for `version` of its settings.
fn asked(calm: &Calm, version: u64) -> u32 {
    {
        let mut tables = calm.world.tables.borrow_mut();
        let stored = tables.endpoints[0].as_mut().unwrap();
        (stored.disabled, stored.version) = (Some(DisabledBecause::Unverified), 3);
    }
    let id = endpoint_id(0);
    let event = json!({
        "specversion": "1.0", "id": "question", "source": OWN_SOURCE, "type": VERIFICATION_TYPE, "tenant": "acme",
        "subject": id.as_str(), "data": Question::new(&id, version, [7; 32]).data(),
    });
    let event = Event::parse_own(&event.to_string()).unwrap();
    let number = calm.world.laws.borrow_mut().accept(Some(&event), &[0], calm.world.now());
    calm.stored(number, 0)
}

#[test]
fn an_unverified_endpoint_is_asked_and_its_proof_enables_it_and_requests_a_drain() {
    let calm = Calm::with(json!({"verification": "challenge"}), Mood::Well(50));
    let delivery = asked(&calm, 3);
    assert!(!calm.deliver_one(delivery, FIRST));
    assert_eq!((calm.requests(), disabled(&calm, 0)), (1, None));
    assert_eq!(calm.header("webhook-request-origin").as_deref(), Some("signpost"));
    let origin = calm.world.tables.borrow().endpoints[0].as_ref().unwrap().verified_origin.clone();
    assert_eq!(origin.as_deref(), Some("https://receiver.example"));
    assert!(is_drain_requested(&calm, 0));
    assert_eq!(calm.status(delivery), Some(DeliveryStatus::Delivered));
}

#[test]
fn an_endpoint_that_does_not_prove_itself_stays_unverified() {
    let calm = Calm::with(json!({"verification": "challenge", "retry": fixed(5, 5)}), Mood::Failing);
    let delivery = asked(&calm, 3);
    assert!(calm.deliver_one(delivery, FIRST));
    assert_eq!((calm.requests(), disabled(&calm, 0)), (1, Some(DisabledBecause::Unverified)));
}

#[test]
fn a_question_for_older_settings_is_not_asked() {
    let calm = Calm::with(json!({"verification": "challenge"}), Mood::Well(50));
    let delivery = asked(&calm, 2);
    assert!(!calm.deliver_one(delivery, FIRST));
    assert_eq!((calm.requests(), disabled(&calm, 0)), (0, Some(DisabledBecause::Unverified)));
    assert_eq!(waiting_for(&calm, 0), [delivery]);
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
