//! Endpoints that Signpost disables, and notices to their owners.

use serde_json::{Value, json};
use signpost_core::delivery::DeliveryStatus;
use signpost_core::delivery::attempt::judge_status;
use signpost_core::delivery::breaker::Outcomes;
use signpost_core::endpoint::{
    DISABLED_TYPE, DISABLING_SOON_TYPE, DisabledBecause, EXHAUSTED_TYPE, FAILING_TYPE, RECOVERED_TYPE,
};
use signpost_core::event::{Event, OWN_SOURCE};

use super::{disabled, is_drain_requested, is_noted_as_waiting, retried};
use crate::calm::{Broken, Calm, FIRST, Failure, MINUTE, SECOND, quick};
use crate::clock::START;
use crate::ports::Which;
use crate::receivers::Mood;
use crate::tables::Place;
use crate::world::endpoint_id;

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
fn a_notice_from_before_the_erasure_of_its_tenant_is_not_sent_and_a_later_one_is() {
    let calm = Calm::with(json!({"types": [{"type": FAILING_TYPE}]}), Mood::Well(50));
    let notice = |id: &str| {
        let event = json!({
            "specversion": "1.0", "id": id, "source": OWN_SOURCE, "type": FAILING_TYPE, "tenant": "acme",
            "subject": endpoint_id(1).as_str(), "data": {},
        });
        let event = Event::parse_own(&event.to_string()).unwrap();
        let number = calm.world.laws.borrow_mut().accept(Some(&event), &[0], calm.world.now());
        calm.stored(number, 0)
    };
    let old = notice("old");
    calm.wait(SECOND);
    calm.world.tables.borrow_mut().erased_until.insert("acme".into(), calm.world.now());
    let new = notice("new");
    for (delivery, requests, status) in [(old, 0, None), (new, 1, Some(DeliveryStatus::Delivered))] {
        assert!(!calm.deliver_one(delivery, FIRST), "{delivery} is done");
        assert_eq!((calm.requests(), calm.status(delivery)), (requests, status));
    }
    assert_eq!(calm.dead_letters().len(), 0);
}
