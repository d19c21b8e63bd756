//! Messages in queues, as each form writes them. The files of `fixtures/v1/` are messages of form 1
//! ([`signpost_core::form`]). They stay as they are: messages of a release may be read by the next one for 14 days, and by
//! the one before it after an operator has gone back.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use signpost_core::delivery::Delivery;
use signpost_core::endpoint::EndpointId;
use signpost_core::event::Event;
use signpost_core::form::NEWEST;
use uuid::Uuid;

const DELIVERY: &str = include_str!("fixtures/v1/delivery.json");
const EVENT: &str = include_str!("fixtures/v1/event.json");

fn delivery() -> Delivery {
    let endpoint = EndpointId::new(Uuid::from_u128(0x0123_4567_89ab_cdef));
    Delivery { endpoint, event: Event::parse(EVENT.trim_end()).unwrap(), arrived_unix_ms: 1_769_853_600_007 }
}

/// If this fails, this release writes other messages than the fixtures. If no release has written them yet, replace them.
/// Otherwise keep them, and add others. If an older release must not ignore the change, raise the form, in the release
/// after one that can read it.
#[test]
fn the_messages_of_this_release_are_those_of_the_fixtures() {
    assert_eq!(NEWEST, 1, "add fixtures of the new form, and keep those of form 1");
    assert_eq!(delivery().written(), DELIVERY.trim_end());
    assert_eq!(delivery().event.json(), EVENT.trim_end());
}

#[test]
fn the_messages_of_form_1_are_read() {
    assert_eq!(Delivery::parse(DELIVERY.trim_end()).unwrap(), delivery());
}

#[test]
fn a_newer_form_is_refused_by_name_and_is_no_foreign_message() {
    let newer = DELIVERY.trim_end().replacen('{', r#"{"v":2,"#, 1);
    assert_eq!(Delivery::newer_form(&newer).unwrap().found, 2);
    let faults = Delivery::parse(&newer).unwrap_err();
    assert_eq!((&*faults[0].found, &*faults[0].expected), ("form 2", "form 1 or less"));
    for older in [DELIVERY, r#"{"endpoint":"ep_1"}"#, "[]", "{"] {
        assert_eq!(Delivery::newer_form(older), None, "{older}");
    }
}

proptest! {
    /// So the release before reads what this one writes, as long as this one only adds members.
    #[test]
    fn members_that_a_newer_release_adds_are_ignored(
        name in "[a-z][A-Za-z0-9]{4,20}",
        value in prop_oneof!["\"[a-z ]{0,9}\"", "[1-9][0-9]{0,9}", Just("null".into()), Just("[{\"a\":[1]}]".into()), Just("{\"event\":{}}".into())],
        place in 0_usize..4,
    ) {
        prop_assume!(!["endpoint", "arrivedUnixMs", "sequence", "retentionDays", "event"].contains(&&*name));
        let text = DELIVERY.trim_end();
        let member = format!("\"{name}\":{value}");
        let ends: Vec<_> = [r#""endpoint""#, r#""arrivedUnixMs""#, r#""event""#].map(|name| text.find(name).unwrap()).into();
        let written = match ends.get(place) {
            Some(at) => format!("{}{member},{}", &text[..*at], &text[*at..]),
            None => format!("{},{member}}}", &text[..text.len() - 1]),
        };
        prop_assert_eq!(Delivery::parse(&written).unwrap(), delivery());
    }
}
