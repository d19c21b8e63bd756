//! Messages that come again, internal errors, and leases.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use signpost_core::delivery::{DeliveryStatus, MOST_RECEIVES, Progress, Receipt};
use signpost_core::endpoint::{DISABLED_TYPE, DisabledBecause};
use signpost_core::event::Event;
use signpost_engine::ports::deliveries::Lease;

use super::{disable, hold_slot, is_drain_requested, is_noted_as_waiting, retried};
use crate::calm::{Broken, Calm, FIRST, Failure, MINUTE, SECOND, again, failed, fixed, open_since};
use crate::clock::START;
use crate::ports::Which;
use crate::receivers::Mood;
use crate::tables::Place;
use crate::world::Call;

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
