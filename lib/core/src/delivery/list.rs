//! The list of an endpoint's deliveries: where each of them stands, which are asked for, and how a page is put together.
//!
//! The newest is first, by the moment when its event arrived, which never changes: a delivery is kept where it stands in
//! the list. That is in [`SHARDS`] parts, so that all deliveries of a busy endpoint do not go into one partition; a page
//! is merged from all of them.

use std::cmp::Reverse;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::delivery::{DeliveryKey, DeliveryStatus};
use crate::endpoint::EndpointId;
use crate::fingerprint::fingerprint;
use crate::input::fault::{Fault, Faults};
use crate::input::moment::{MOMENT, unix_ms};

/// How many parts a list has. A partition takes 1,000 writes a second.
pub const SHARDS: u8 = 8;

/// All parts of an endpoint's list, by the names of their partitions.
pub fn parts(endpoint: &EndpointId) -> impl Iterator<Item = String> {
    (0..SHARDS).map(move |shard| part(endpoint, shard))
}

/// Where a delivery is kept: the part of its list, by the name of its partition, and its place there.
#[must_use]
pub fn key_of(delivery: DeliveryKey<'_>) -> (String, ListPosition) {
    // What tells it from all others to its endpoint, whose tenant is always the same.
    let hash = fingerprint([delivery.event.id.as_str(), &*delivery.event.source]);
    let tie = hash.iter().fold(0, |tie, byte| tie << 8 | u128::from(*byte)); // The last sixteen are left.
    let place = ListPosition { tie, ..ListPosition::first_at(delivery.arrived_unix_ms) };
    (part(delivery.endpoint, hash[0] % SHARDS), place)
}

fn part(endpoint: &EndpointId, shard: u8) -> String {
    format!("{endpoint}#{shard}")
}

/// Where a delivery stands in its endpoint's list, which is no other's place. The newer of two is the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListPosition {
    arrived_unix_ms: u64,
    /// Orders the deliveries of one millisecond, and tells them apart.
    tie: u128,
}

impl ListPosition {
    /// The least place of a moment.
    fn first_at(unix_ms: u64) -> Self {
        Self { arrived_unix_ms: unix_ms.min(LAST_MS), tie: 0 }
    }

    /// When the event arrived, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn arrived_unix_ms(self) -> u64 {
        self.arrived_unix_ms
    }

    /// The sort key, which orders as the places do.
    #[must_use]
    pub fn key(self) -> String {
        format!("{:013}#{:032x}", self.arrived_unix_ms, self.tie)
    }

    /// Reads what [`Self::key`] wrote.
    #[must_use]
    pub fn parse(key: &str) -> Option<Self> {
        let (unix_ms, tie) = key.split_once('#')?;
        let is_key = unix_ms.len() == 13 && tie.len() == 32 && unix_ms.bytes().all(|byte| byte.is_ascii_digit());
        let is_hex = tie.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (is_key && is_hex).then_some(())?;
        Some(Self { arrived_unix_ms: unix_ms.parse().ok()?, tie: u128::from_str_radix(tie, 16).ok()? })
    }

    /// What leads an operator to the page behind this place. It says nothing else, and so gives access to nothing.
    #[must_use]
    pub fn cursor(self) -> String {
        URL_SAFE_NO_PAD.encode(self.key())
    }

    /// Reads what [`Self::cursor`] wrote, and nothing else.
    #[must_use]
    pub fn of_cursor(cursor: &str) -> Option<Self> {
        let key = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        Self::parse(str::from_utf8(&key).ok()?)
    }

    /// The next smaller place, if there is one.
    fn before(self) -> Option<Self> {
        match (self.arrived_unix_ms, self.tie) {
            (0, 0) => None,
            (unix_ms, 0) => Some(Self { arrived_unix_ms: unix_ms - 1, tie: u128::MAX }),
            (_, tie) => Some(Self { tie: tie - 1, ..self }),
        }
    }
}

/// The last millisecond of thirteen digits, in the year 2286.
const LAST_MS: u64 = 9_999_999_999_999;

/// Which deliveries of a list are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListQuery {
    /// Those that stand like this; all if there is none.
    pub status: Option<DeliveryStatus>,
    from: ListPosition,
    to: Option<ListPosition>,
}

impl ListQuery {
    /// Reads the parameters of a request: one of the three statuses, since when the event arrived, in RFC 3339, and
    /// the cursor of the page before.
    ///
    /// # Errors
    /// Every fault, its pointer the parameter's name behind a `?`.
    pub fn parse(status: Option<&str>, since: Option<&str>, cursor: Option<&str>) -> Result<Self, Vec<Fault>> {
        let mut faults = Faults::default();
        let status = read("?status", status, DeliveryStatus::parse, "delivered, exhausted or pending", &mut faults);
        let since = read("?since", since, unix_ms, expected_of(since), &mut faults);
        let cursor = read("?cursor", cursor, ListPosition::of_cursor, "the `cursor` of the page before", &mut faults);
        faults.none()?;
        let newest = ListPosition { arrived_unix_ms: LAST_MS, tie: u128::MAX };
        let (from, to) =
            (ListPosition::first_at(since.unwrap_or_default()), cursor.map_or(Some(newest), ListPosition::before));
        Ok(Self { status, from, to })
    }

    /// The same behind a place.
    #[must_use]
    pub fn behind(self, place: ListPosition) -> Self {
        Self { to: place.before(), ..self }
    }

    /// The oldest and the newest place that are asked for; none if there is nothing between them.
    #[must_use]
    pub fn range(self) -> Option<(ListPosition, ListPosition)> {
        self.to.filter(|to| self.from <= *to).map(|to| (self.from, to))
    }
}

/// What was expected of a moment; a `+` that came as a space is explained.
fn expected_of(since: Option<&str>) -> &'static str {
    let has_lost_plus = |text: &str| text.contains(' ') && unix_ms(&text.replacen(' ', "+", 1)).is_some();
    if since.is_some_and(has_lost_plus) { PLUS } else { MOMENT }
}

const PLUS: &str = "a moment in RFC 3339 with its `+` written as `%2B`: in a query, `+` is a space";

fn read<T>(
    pointer: &str,
    found: Option<&str>,
    parse: impl Fn(&str) -> Option<T>,
    expected: &str,
    faults: &mut Faults,
) -> Option<T> {
    let parsed = parse(found?);
    if parsed.is_none() {
        faults.push(Fault::of_text(pointer.to_owned(), found.unwrap_or_default(), expected));
    }
    parsed
}

/// What was found in one part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardPage<T> {
    /// What is wanted of it, in any order.
    pub found: Vec<(ListPosition, T)>,
    /// The place down to which it was looked at; none if that is its end.
    pub scanned_to: Option<ListPosition>,
}

/// Merges what was found in the parts of a list to a page of up to `most`, the newest first, and tells behind which place
/// the next one begins; none after the last.
///
/// Nothing is on it that is older than what some part was not looked at for, or that part's deliveries would be missing
/// in between. So a page may be shorter although others follow, and even empty where few deliveries are wanted.
#[must_use]
pub fn page<T>(stretches: Vec<ShardPage<T>>, most: usize) -> (Vec<(ListPosition, T)>, Option<ListPosition>) {
    let complete_down_to = stretches.iter().filter_map(|stretch| stretch.scanned_to).max();
    let mut page: Vec<_> = stretches.into_iter().flat_map(|stretch| stretch.found).collect();
    page.retain(|(place, _)| complete_down_to.is_none_or(|end| *place >= end));
    page.sort_unstable_by_key(|(place, _)| Reverse(*place));
    if page.len() <= most {
        return (page, complete_down_to);
    }
    page.truncate(most);
    let last = page.last().map(|(place, _)| *place);
    (page, last)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::event::{EventId, EventKey, TenantId};

    fn event(id: &str, source: &str) -> EventKey {
        let (tenant, id) = (TenantId::parse("acme").unwrap(), EventId::parse(id).unwrap());
        EventKey { tenant, source: source.into(), id }
    }

    #[test]
    fn a_plus_that_a_query_made_a_space_is_explained() {
        let expected = |since| ListQuery::parse(None, Some(since), None).unwrap_err().remove(0).expected;
        assert_eq!(expected("2026-01-31T10:00:00 01:00"), PLUS);
        assert_eq!(expected("2026-01-31 ten"), MOMENT);
        assert!(ListQuery::parse(None, Some("2026-01-31T10:00:00+01:00"), None).is_ok());
    }

    #[test]
    fn every_delivery_has_a_part_and_a_place_of_its_own() {
        let endpoint = EndpointId::new(Uuid::from_u128(1));
        let keys: Vec<_> = (0..1_000).map(|index| event(&format!("op-{index}"), "/core")).collect();
        let deliveries: Vec<_> =
            keys.iter().map(|event| DeliveryKey { event, endpoint: &endpoint, arrived_unix_ms: 7 }).collect();
        for part in parts(&endpoint) {
            let here = deliveries.iter().filter(|delivery| key_of(**delivery).0 == part).count();
            assert!((80..=170).contains(&here), "{here} of 1,000 in {part}");
        }
        let places: BTreeSet<_> = deliveries.iter().map(|delivery| key_of(*delivery).1).collect();
        assert_eq!(places.len(), 1_000);
        let elsewhere = event("op-1", "/elsewhere");
        assert_ne!(key_of(DeliveryKey { event: &elsewhere, ..deliveries[1] }), key_of(deliveries[1]));
        let never = DeliveryKey { arrived_unix_ms: u64::MAX, ..deliveries[1] };
        let (_, place) = key_of(never);
        assert_eq!(ListPosition::parse(&place.key()), Some(place), "a clock that is far off");
    }

    #[test]
    fn a_cursor_is_a_place_and_nothing_else() {
        let place = ListPosition { arrived_unix_ms: 1_769_853_600_123, tie: 0xa1b2 };
        assert_eq!(place.key(), "1769853600123#0000000000000000000000000000a1b2");
        let cursor = place.cursor();
        assert_eq!(ListPosition::of_cursor(&cursor), Some(place));
        let upper = URL_SAFE_NO_PAD.encode("1769853600123#0000000000000000000000000000A1B2");
        let signed = URL_SAFE_NO_PAD.encode("+769853600123#0000000000000000000000000000a1b2");
        let other = URL_SAFE_NO_PAD.encode("ep_00000000000000000000000000000001#3");
        let cases = [
            ("", "nothing"),
            ("MTc2OTg1MzYwMDEyMw", "half of one"),
            (&*format!("{cursor}="), "padded"),
            (&*format!("{cursor}A"), "more than one"),
            (&cursor[..cursor.len() - 1], "less than one"),
            (&*place.key(), "not encoded"),
            (&*upper, "spelled otherwise"),
            (&*signed, "a number with a sign"),
            (&*other, "the name of a part"),
            ("ü", "no base64"),
        ];
        for (text, why) in cases {
            assert_eq!(ListPosition::of_cursor(text), None, "{why}");
        }
    }

    #[test]
    fn every_bad_parameter_is_told() {
        let faults = ListQuery::parse(Some("lost"), Some("yesterday"), Some("1")).unwrap_err();
        let pointers: Vec<_> = faults.iter().map(|fault| &*fault.pointer).collect();
        assert_eq!(pointers, ["?status", "?since", "?cursor"]);
        assert_eq!(faults[0].found, "\"lost\"");
        assert!(ListQuery::parse(Some(""), None, None).is_err(), "an empty text is no status");
        let all = ListQuery::parse(None, None, None).unwrap();
        assert_eq!((all.status, all.range().is_some()), (None, true));
    }

    #[test]
    fn what_is_asked_for_ends_at_the_moment_and_begins_behind_the_cursor() {
        let at = |unix_ms, tie| ListPosition { arrived_unix_ms: unix_ms, tie };
        let range = |since: &str, cursor: ListPosition| {
            ListQuery::parse(Some("pending"), Some(since), Some(&cursor.cursor())).unwrap().range()
        };
        let second = "1970-01-01T00:00:01Z";
        assert_eq!(range(second, at(1_500, 7)), Some((at(1_000, 0), at(1_500, 6))));
        assert_eq!(range(second, at(1_500, 0)), Some((at(1_000, 0), at(1_499, u128::MAX))));
        assert_eq!(range(second, at(1_000, 1)), Some((at(1_000, 0), at(1_000, 0))), "one place is left");
        assert_eq!(range(second, at(1_000, 0)), None, "none is left");
        assert_eq!(range(second, at(0, 0)), None, "there is nothing behind the first place");
        let far = ListQuery::parse(None, Some("9999-12-31T23:59:59Z"), None).unwrap();
        assert_eq!(far.range().unwrap().0, at(LAST_MS, 0), "beyond what keys can say");
    }

    /// A part of a list as the table keeps it: its places, each with whether it is wanted.
    type Part = BTreeSet<(ListPosition, bool)>;

    /// Looks at up to `limit` places of a part, the newest first, as a query with a limit and a filter does.
    fn look(part: &Part, wanted: ListQuery, limit: usize) -> ShardPage<()> {
        let Some((from, to)) = wanted.range() else { return ShardPage { found: Vec::new(), scanned_to: None } };
        let seen = part.iter().rev().filter(|(place, _)| (from..=to).contains(place));
        let seen: Vec<_> = seen.take(limit).collect();
        let scanned_to = (seen.len() == limit).then(|| seen.last().map(|(place, _)| *place)).flatten();
        let found = seen.into_iter().filter(|(_, is_wanted)| *is_wanted).map(|(place, _)| (*place, ())).collect();
        ShardPage { found, scanned_to }
    }

    proptest! {
        #[test]
        fn pages_give_everything_once_and_the_newest_first(
            // Few moments and few ties, so that many places are neighbours, and some parts are empty.
            places in prop::collection::btree_map((0..6_u64, 0..40_u128), (0..SHARDS, any::<bool>()), 0..120),
            since in 0..4_u64,
            most in 1..12_usize,
            limit in 1..12_usize,
        ) {
            let mut parts = vec![Part::new(); SHARDS.into()];
            for (&(unix_ms, tie), &(shard, is_wanted)) in &places {
                parts[usize::from(shard)].insert((ListPosition { arrived_unix_ms: unix_ms, tie }, is_wanted));
            }
            let all = parts.iter().flatten().filter(|(place, is_wanted)| *is_wanted && place.arrived_unix_ms >= since);
            let mut expected: Vec<_> = all.map(|(place, _)| *place).collect();
            expected.sort_unstable_by_key(|place| Reverse(*place));

            let mut wanted = ListQuery::parse(None, None, None).unwrap();
            wanted.from = ListPosition::first_at(since);
            let mut paged = Vec::new();
            loop {
                let stretches = parts.iter().map(|part| look(part, wanted, limit)).collect();
                let (page, next) = page(stretches, most);
                prop_assert!(page.len() <= most);
                paged.extend(page.into_iter().map(|(place, ())| place));
                let Some(next) = next else { break };
                prop_assert!(wanted.range().is_some_and(|(_, to)| next <= to), "every page gets on");
                wanted = wanted.behind(ListPosition::of_cursor(&next.cursor()).unwrap());
            }
            prop_assert_eq!(paged, expected);
        }

        #[test]
        fn keys_order_as_places_do(a in (0..=LAST_MS, any::<u128>()), b in (0..=LAST_MS, any::<u128>())) {
            let [a, b] = [a, b].map(|(arrived_unix_ms, tie)| ListPosition { arrived_unix_ms, tie });
            prop_assert_eq!(a.cmp(&b), a.key().cmp(&b.key()));
            prop_assert_eq!(ListPosition::parse(&a.key()), Some(a));
        }
    }
}
