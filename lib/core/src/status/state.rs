//! States: the history of a subject, with one state for each event, for clients that poll.
//!
//! Only the events decide the order of a subject's states. It does not matter which instance handles them, when, how
//! often, or in which order: the newest state is the last one. So `fanout` overwrites nothing, and reads nothing before
//! it writes.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

use crate::event::{Event, EventId, TenantId};
use crate::fingerprint::fingerprint;

/// The maximum number of states that are shown of a subject, the newest ones.
pub const MAX_HISTORY: usize = 50;

/// The start of a state: the event's `time`, or its arrival if it has no `time`. Of two states with the same time, the
/// one that arrived later is newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    at: OffsetDateTime,
    arrived_unix_ms: u64,
}

impl Moment {
    /// Returns the moment of an event with this arrival time, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn of(event: &Event, arrived_unix_ms: u64) -> Self {
        let arrived_unix_ms = arrived_unix_ms.min(LAST_MS);
        let arrived = OffsetDateTime::from_unix_timestamp_nanos(i128::from(arrived_unix_ms) * 1_000_000);
        let at = event.time.or(arrived.ok()).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        Self { at: in_utc(at), arrived_unix_ms }
    }

    /// Returns the time when the event arrived, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn arrived_unix_ms(self) -> u64 {
        self.arrived_unix_ms
    }

    /// Returns the moment in RFC 3339, in UTC.
    #[must_use]
    pub fn rfc3339(self) -> String {
        self.at.format(&Rfc3339).unwrap_or_default() // Years have four digits here.
    }

    /// Returns the beginning of a sort key. Its order is that of the moments.
    #[must_use]
    pub fn key(self) -> String {
        let (date, time) = (self.at.date(), self.at.time());
        let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
        let (hour, minute, second, nanosecond) = time.as_hms_nano();
        let arrived = self.arrived_unix_ms;
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanosecond:09}Z#{arrived:013}")
    }

    /// Parses a key of [`Self::key`].
    #[must_use]
    pub fn parse(key: &str) -> Option<Self> {
        let (at, arrived) = key.split_once('#')?;
        let moment = Self { at: OffsetDateTime::parse(at, &Rfc3339).ok()?, arrived_unix_ms: arrived.parse().ok()? };
        (moment.key() == key).then_some(moment)
    }
}

/// The last millisecond with thirteen digits, in the year 2286.
const LAST_MS: u64 = 9_999_999_999_999;

/// Returns the same moment in UTC. A moment whose year would not have four digits there keeps its own offset.
fn in_utc(at: OffsetDateTime) -> OffsetDateTime {
    let utc = at.checked_to_offset(UtcOffset::UTC).filter(|utc| (0..=9_999).contains(&utc.year()));
    utc.unwrap_or_else(|| at.replace_offset(UtcOffset::UTC))
}

/// The position of a state among those of its subject. The newer of two is the greater.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StateKey {
    /// The start of the state.
    pub moment: Moment,
    /// The event's id.
    pub event: EventId,
    /// The event's source.
    pub source: String,
}

impl StateKey {
    /// Returns the position of an event's state.
    #[must_use]
    pub fn of(event: &Event, moment: Moment) -> Self {
        Self { moment, event: event.key.id.clone(), source: event.key.source.clone() }
    }

    /// Returns the sort key. Its order is that of the positions. An event always has the same key.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}#{}#{}", self.moment.key(), self.event, self.source)
    }

    /// Parses a key of [`Self::key`].
    #[must_use]
    pub fn parse(key: &str) -> Option<Self> {
        let mut parts = key.splitn(4, '#');
        let moment = Moment::parse(&format!("{}#{}", parts.next()?, parts.next()?))?;
        Some(Self { moment, event: EventId::parse(parts.next()?)?, source: parts.next()?.to_owned() })
    }

    /// Returns a tag of the state, for clients that ask for a newer one.
    #[must_use]
    pub fn tag(&self) -> String {
        tag_of(&self.key())
    }
}

/// Returns an opaque tag of a text (RFC 9110, section 8.8.3), with its quotes.
#[must_use]
pub fn tag_of(text: &str) -> String {
    format!("\"{}\"", URL_SAFE_NO_PAD.encode(&fingerprint([text])[..16]))
}

/// The state of a subject from a moment on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectState {
    /// The start of the state, and its event.
    pub place: StateKey,
    /// The status in the event, if there is one.
    pub status: Option<String>,
    /// The stage, which only sessions have.
    pub stage: Option<String>,
}

/// Returns the names of an event's subject: its CloudEvents `subject`, and the one in its family's payload if that is
/// different. An event without a family and a `subject` has none, so nobody can ask for it.
#[must_use]
pub fn subjects(event: &Event) -> Vec<Cow<'_, str>> {
    let told = event.subject.as_deref().map(Cow::Borrowed);
    let own = event.family_subject().filter(|own| told.as_ref() != Some(own));
    told.into_iter().chain(own).collect()
}

/// Returns the partition of a subject's states. Subjects may be long and contain any character, but keys may not.
#[must_use]
pub fn partition(tenant: &TenantId, kind: &str, subject: &str) -> String {
    // It is never the partition of an event, because event ids have no `#`.
    format!("{tenant}/states#{}", URL_SAFE_NO_PAD.encode(fingerprint([kind, subject])))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn event(id: &str, time: Option<&str>) -> Event {
        let event = json!({
            "specversion": "1.0", "id": id, "source": "/core", "type": "order", "tenant": "acme", "subject": "o-1",
            "time": time, "data": {"status": id},
        });
        Event::parse(&event.to_string()).unwrap()
    }

    /// The states of a subject as a table stores them, by sort key. The same key replaces its state.
    type Table = BTreeMap<String, String>;

    fn put(table: &mut Table, event: &Event, arrived_unix_ms: u64) {
        let place = StateKey::of(event, Moment::of(event, arrived_unix_ms));
        table.insert(place.key(), event.key.id.as_str().to_owned());
    }

    /// 2026-01-31T10:00:00Z.
    const TEN: u64 = 1_769_853_600_000;

    #[test]
    fn the_newest_state_is_the_one_of_the_latest_time_and_then_of_the_latest_arrival() {
        let (ten, eleven) = (Some("2026-01-31T10:00:00Z"), Some("2026-01-31T11:00:00Z"));
        // The time and arrival of `a`, the time and arrival of `b`, which one is newer, and why.
        let cases = [
            ((ten, TEN), (eleven, TEN + 1), "b", "in order"),
            ((eleven, TEN), (ten, TEN + 1), "a", "the older one is late"),
            ((ten, TEN), (ten, TEN + 1), "b", "equal times: the one that arrived later"),
            ((ten, TEN + 1), (ten, TEN), "a", "the same the other way round"),
            ((ten, TEN), (ten, TEN), "b", "everything equal: by id, so that all instances agree"),
            ((None, TEN), (None, TEN + 1), "b", "without times: as they arrived"),
            ((None, TEN + 1), (ten, TEN + 2), "a", "without a time, the state starts at its arrival, just after ten"),
            ((eleven, TEN), (None, TEN + 1), "a", "and that is before eleven"),
            ((Some("2026-01-31T12:30:00+02:30"), TEN), (ten, TEN + 1), "b", "another offset, the same moment"),
            ((Some("2026-01-31T10:00:00.000000001Z"), TEN), (ten, TEN + 1), "a", "a nanosecond later"),
            ((Some("1969-12-31T23:59:59Z"), TEN), (Some("0000-01-01T00:00:00Z"), TEN), "a", "before the epoch"),
        ];
        for ((time_a, arrived_a), (time_b, arrived_b), newest, why) in cases {
            let events = [(event("a", time_a), arrived_a), (event("b", time_b), arrived_b)];
            for order in [[0_usize, 1, 0], [1, 0, 1]] {
                let mut table = Table::new();
                for index in order {
                    let (event, arrived) = &events[index];
                    put(&mut table, event, *arrived);
                }
                let last = table.last_key_value().map(|(_, id)| &**id);
                assert_eq!((last, table.len()), (Some(newest), 2), "{why}, handled as {order:?}");
            }
        }
    }

    #[test]
    fn moments_are_shown_in_utc() {
        let cases = [
            (Some("2026-01-31T10:00:00.5+01:00"), "2026-01-31T09:00:00.5Z"),
            (None, "2026-01-31T10:00:00.007Z"),
            (Some("9999-12-31T23:59:59-01:00"), "9999-12-31T23:59:59Z"),
            (Some("0000-01-01T00:00:00+01:00"), "0000-01-01T00:00:00Z"),
        ];
        for (time, told) in cases {
            assert_eq!(Moment::of(&event("a", time), TEN + 7).rfc3339(), told);
        }
        assert_eq!(Moment::of(&event("a", None), u64::MAX).arrived_unix_ms, LAST_MS, "a clock that is very wrong");
    }

    #[test]
    fn a_subject_is_the_cloudevents_subject_and_the_one_of_the_family() {
        let about = |kind: &str, subject: Option<&str>, data: Value| {
            let event = json!({
                "specversion": "1.0", "id": "1", "source": "/", "type": kind, "tenant": "acme", "subject": subject, "data": data,
            });
            let event = Event::parse(&event.to_string()).unwrap();
            subjects(&event).into_iter().map(Cow::into_owned).collect::<Vec<_>>()
        };
        let operation = json!({"type": "OPERATION", "operationId": "op-1"});
        assert_eq!(about("operation", None, operation.clone()), ["op-1"]);
        assert_eq!(about("operation", Some("op-1"), operation.clone()), ["op-1"], "once");
        assert_eq!(about("operation", Some("user/7"), operation), ["user/7", "op-1"]);
        let families = [
            ("activation", json!({"type": "ACTIVATION", "activationId": "a"}), "a"),
            ("payment", json!({"paymentId": "p", "paymentStatus": "Created"}), "p"),
            ("session", json!({"sessionId": "s", "stage": "Accounts", "status": "Initiated"}), "s"),
            ("token-request", json!({"request-id": "r", "request_id": "r"}), "r"),
            ("transaction", json!({"id": "t", "status": "approved"}), "t"),
        ];
        for (kind, data, subject) in families {
            assert_eq!(about(kind, None, data), [subject], "{kind}");
        }
        let workflow = json!({
            "partyId": "u", "workflowId": "w", "workflowStatus": "PAUSED", "workflowName": "n", "workspaceId": "x",
        });
        assert_eq!(about("workflow", None, workflow), ["w"]);
        assert_eq!(about("order", Some("o/1"), json!({"id": "7"})), ["o/1"]);
        assert_eq!(about("order", None, json!({"id": "7"})), [""; 0], "no subject");
    }

    #[test]
    fn every_subject_has_a_partition_of_its_own_that_fits_into_a_key() {
        let [acme, other] = ["acme", "acm"].map(|tenant| TenantId::parse(tenant).unwrap());
        let long = "x".repeat(200_000);
        let partitions = [
            partition(&acme, "a/b", "c"),
            partition(&acme, "a", "b/c"),
            partition(&acme, "a", &long),
            partition(&other, "a", "b/c"),
        ];
        assert_eq!(partitions.iter().collect::<HashSet<_>>().len(), 4);
        assert!(partitions.iter().all(|partition| partition.len() < 128));
    }

    proptest! {
        #[test]
        fn any_order_of_arrival_gives_the_same_states(
            // Few moments, so that many are equal. Each event is handled once or several times.
            events in prop::collection::vec((prop::option::of(0..4_u64), 0..6_u64, 1..3_usize), 1..20),
            seed in any::<u64>(),
        ) {
            let events: Vec<_> = events.into_iter().enumerate().flat_map(|(index, (second, arrived, times))| {
                let time = second.map(|second| format!("2026-01-31T10:00:0{second}Z"));
                vec![(event(&format!("e-{index}"), time.as_deref()), TEN + arrived * 700); times]
            }).collect();
            let mut shuffled = events.clone();
            shuffled.sort_by_key(|(event, arrived)| fingerprint([event.key.id.as_str(), &seed.to_string(), &arrived.to_string()]));
            let (mut one, mut other) = (Table::new(), Table::new());
            for (handled, table) in [(&events, &mut one), (&shuffled, &mut other)] {
                for (event, arrived) in handled {
                    put(table, event, *arrived);
                }
            }
            prop_assert_eq!(&one, &other);
            let newest = events.iter().map(|(event, arrived)| StateKey::of(event, Moment::of(event, *arrived))).max().unwrap();
            prop_assert_eq!(one.last_key_value().map(|(key, _)| key.clone()), Some(newest.key()), "the newest is last");
        }

        #[test]
        fn keys_order_as_places_do(
            a in (-62_167_219_200..253_402_300_800_i64, 0..1_000_000_000_i64, 0..=LAST_MS, "[A-Za-z0-9_:-]{1,4}", "[#/a]{0,3}"),
            b in (-62_167_219_200..253_402_300_800_i64, 0..1_000_000_000_i64, 0..=LAST_MS, "[A-Za-z0-9_:-]{1,4}", "[#/a]{0,3}"),
            same_moment in any::<bool>(),
        ) {
            let place = |(seconds, nanos, arrived_unix_ms, id, source): (i64, i64, u64, String, String)| {
                let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap() + time::Duration::nanoseconds(nanos);
                StateKey { moment: Moment { at, arrived_unix_ms }, event: EventId::parse(&id).unwrap(), source }
            };
            let (a, mut b) = (place(a), place(b));
            if same_moment {
                b.moment = a.moment;
            }
            prop_assert_eq!(a.cmp(&b), a.key().cmp(&b.key()));
            prop_assert_eq!(a.tag() == b.tag(), a == b);
            prop_assert_eq!(StateKey::parse(&a.key()), Some(a));
        }
    }
}
