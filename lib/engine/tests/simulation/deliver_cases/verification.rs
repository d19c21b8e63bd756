//! Endpoints that prove that they want webhooks.

use serde_json::json;
use signpost_core::delivery::DeliveryStatus;
use signpost_core::delivery::verification::Question;
use signpost_core::endpoint::{DisabledBecause, VERIFICATION_TYPE};
use signpost_core::event::{Event, OWN_SOURCE};

use super::{disabled, is_drain_requested, waiting_for};
use crate::calm::{Calm, FIRST, fixed};
use crate::receivers::Mood;
use crate::world::endpoint_id;

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
