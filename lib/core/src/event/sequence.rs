//! Numbers of events, by which receivers put the events of a subject in order and notice gaps: the extension `sequence` of
//! CloudEvents (cloudevents/spec, `extensions/sequence.md`).
//!
//! The specification wants a text that sorts as the events do, and recommends that it grows without gaps. So a number has
//! 18 digits: ten for the second in which Signpost began to count the subject, and eight for the count, from 1 on. A
//! counter that expired begins in a later second, so that no number is ever less than one before it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::event::{Event, is_own_type};
use crate::fingerprint::fingerprint;
use crate::status::state::subjects;

/// The number that Signpost gave to an event among those of its source and subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceNumber(u64);

/// How many numbers belong to one second.
const PER_SECOND: u64 = 100_000_000;
const DIGITS: usize = 18;
/// The last second with ten digits, in the year 2286.
const LAST_SECOND: u64 = 9_999_999_999;

impl SequenceNumber {
    /// Returns the first number of a counter that begins now, in seconds since the Unix epoch.
    #[must_use]
    pub fn first(unix_seconds: u64) -> Self {
        Self(unix_seconds.min(LAST_SECOND) * PER_SECOND + 1)
    }

    /// Returns the number after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Returns a number that is stored as a number.
    #[must_use]
    pub fn of(number: u64) -> Self {
        Self(number)
    }

    /// Returns it as a number.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }

    /// Parses a text of [`fmt::Display`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_number = text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse().ok().map(Self)).flatten()
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0DIGITS$}", self.0)
    }
}

/// Returns the partition of the counter of an event's source and subject. Sources and subjects may be long and name
/// people, so only their hash is in the key. `None` for an event that is not counted: one without a subject, one whose
/// producer gave it a `sequence`, and a test or notice of Signpost itself.
///
/// The subject is the CloudEvents `subject` or, without one, the subject that the payload's family names.
#[must_use]
pub fn counter(event: &Event) -> Option<String> {
    if event.context.sequence.is_some() || event.is_test() || is_own_type(&event.kind) {
        return None;
    }
    let subject = subjects(event).into_iter().next()?;
    // It is never the partition of an event, because event ids have no `#`.
    let hash = URL_SAFE_NO_PAD.encode(fingerprint([&*event.key.source, &*subject]));
    Some(format!("{}/sequence#{hash}", event.key.tenant))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn event(more: &Value) -> Event {
        let mut event = json!({"specversion": "1.0", "id": "1", "source": "/core", "type": "order", "tenant": "acme",
                               "data": {}});
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Event::parse_own(&event.to_string()).unwrap()
    }

    #[test]
    fn a_number_has_the_second_of_its_counter_and_the_count() {
        let first = SequenceNumber::first(1_769_853_600);
        assert_eq!(
            (first.to_string(), first.next().to_string()),
            ("176985360000000001".into(), "176985360000000002".into())
        );
        for bad in ["", "1", "17698536000000000", "1769853600000000011", "+76985360000000001", "17698536000000000a"] {
            assert_eq!(SequenceNumber::parse(bad), None, "{bad}");
        }
        assert_eq!(SequenceNumber::first(u64::MAX).to_string().len(), 18, "a clock that is wrong");
    }

    #[test]
    fn source_and_subject_decide_which_counter_an_event_has() {
        let [one, two] = ["o-1", "o-2"].map(|subject| json!({ "subject": subject }));
        let operation =
            json!({"type": "operation", "data": {"type": "OPERATION", "operationId": "o-1", "status": "APPROVED"}});
        let of_family = counter(&event(&operation));
        assert_eq!(counter(&event(&one)), of_family, "the subject of the payload, and of another type");
        let cases = [
            (json!({"subject": "o-1", "type": "paid", "id": "2"}), true, "another type and id"),
            (two, false, "another subject"),
            (json!({"subject": "o-1", "source": "/other"}), false, "another source"),
            (json!({"subject": "o-1", "tenant": "other"}), false, "another tenant"),
        ];
        for (more, is_same, why) in cases {
            let counter = counter(&event(&more));
            assert!(counter.is_some(), "{why}");
            assert_eq!(counter == of_family, is_same, "{why}");
        }
        let key = of_family.unwrap();
        assert!(key.starts_with("acme/sequence#") && !key.contains("o-1"), "{key}");
    }

    #[test]
    fn some_events_are_not_counted() {
        let cases = [
            (json!({}), "no subject"),
            (json!({"subject": "o-1", "sequence": "7"}), "the producer's own sequence"),
            (json!({"subject": "o-1", "sequence": 7}), "the producer's own sequence, as a number"),
            (json!({"subject": "ep_1", "type": "signpost.test"}), "a test"),
            (json!({"subject": "ep_1", "source": "/signpost"}), "a test by an example"),
            (json!({"subject": "ep_1", "type": "signpost.endpoint-failing"}), "a notice"),
        ];
        for (more, why) in cases {
            assert_eq!(counter(&event(&more)), None, "{why}");
        }
    }

    proptest! {
        /// The texts sort as CloudEvents asks, also over counters that began again.
        #[test]
        fn later_numbers_are_greater_as_texts_too(start in 1_000_000_000_u64..LAST_SECOND - 1_000, counts in prop::collection::vec(1_usize..20, 1..5)) {
            let (mut texts, mut begins) = (Vec::new(), start);
            for count in counts {
                let mut number = SequenceNumber::first(begins);
                for _ in 0..count {
                    prop_assert_eq!(SequenceNumber::parse(&number.to_string()), Some(number));
                    texts.push(number.to_string());
                    number = number.next();
                }
                begins += 1;
            }
            prop_assert!(texts.is_sorted_by(|before, after| before < after), "{texts:?}");
        }
    }
}
