//! The list of an endpoint's deliveries: their order, the filters of a request, and the pages.
//!
//! The newest delivery comes first, by the time when its event arrived. This time never changes, so a delivery keeps
//! its position. The list has [`SHARDS`] parts, so that the deliveries of a busy endpoint are not all in one partition.
//! A page is merged from all parts.

use std::cmp::Reverse;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::delivery::{DeliveryKey, DeliveryStatus};
use crate::endpoint::EndpointId;
use crate::fingerprint::fingerprint;
use crate::input::fault::{Fault, Faults};
use crate::input::moment::{MOMENT, unix_ms};

/// The number of parts of a list. A partition accepts 1,000 writes per second.
pub const SHARDS: u8 = 8;

/// Returns all parts of an endpoint's list, by the names of their partitions.
pub fn parts(endpoint: &EndpointId) -> impl Iterator<Item = String> {
    (0..SHARDS).map(move |shard| part(endpoint, shard))
}

/// Returns the key of a delivery's item: the part of the list, by the name of its partition, and the position there.
#[must_use]
pub fn key_of(delivery: DeliveryKey<'_>) -> (String, ListPosition) {
    // Distinguishes the delivery from all others to its endpoint. The tenant is always the same.
    let hash = fingerprint([delivery.event.id.as_str(), &*delivery.event.source]);
    let tie = hash.iter().fold(0, |tie, byte| tie << 8 | u128::from(*byte)); // The last sixteen bytes remain.
    let place = ListPosition { tie, ..ListPosition::first_at(delivery.arrived_unix_ms) };
    (part(delivery.endpoint, hash[0] % SHARDS), place)
}

fn part(endpoint: &EndpointId, shard: u8) -> String {
    format!("{endpoint}#{shard}")
}

/// The unique position of a delivery in its endpoint's list. The newer of two positions is the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListPosition {
    arrived_unix_ms: u64,
    /// Distinguishes and orders the deliveries of one millisecond.
    tie: u128,
}

impl ListPosition {
    /// Returns the smallest position of a time.
    fn first_at(unix_ms: u64) -> Self {
        Self { arrived_unix_ms: unix_ms.min(LAST_MS), tie: 0 }
    }

    /// Returns the time when the event arrived, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn arrived_unix_ms(self) -> u64 {
        self.arrived_unix_ms
    }

    /// Returns the sort key. Its order is that of the positions.
    #[must_use]
    pub fn key(self) -> String {
        format!("{:013}#{:032x}", self.arrived_unix_ms, self.tie)
    }

    /// Parses a key of [`Self::key`].
    #[must_use]
    pub fn parse(key: &str) -> Option<Self> {
        let (unix_ms, tie) = key.split_once('#')?;
        let is_key = unix_ms.len() == 13 && tie.len() == 32 && unix_ms.bytes().all(|byte| byte.is_ascii_digit());
        let is_hex = tie.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (is_key && is_hex).then_some(())?;
        Some(Self { arrived_unix_ms: unix_ms.parse().ok()?, tie: u128::from_str_radix(tie, 16).ok()? })
    }

    /// Returns a cursor for the page after this position. It contains nothing else, so it grants no access.
    #[must_use]
    pub fn cursor(self) -> String {
        URL_SAFE_NO_PAD.encode(self.key())
    }

    /// Parses a cursor of [`Self::cursor`], and nothing else.
    #[must_use]
    pub fn of_cursor(cursor: &str) -> Option<Self> {
        let key = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        Self::parse(str::from_utf8(&key).ok()?)
    }

    /// Returns the next greater position, if there is one.
    fn next(self) -> Option<Self> {
        match (self.arrived_unix_ms, self.tie) {
            (LAST_MS.., u128::MAX) => None,
            (unix_ms, u128::MAX) => Some(Self::first_at(unix_ms + 1)),
            (_, tie) => Some(Self { tie: tie + 1, ..self }),
        }
    }

    /// Returns the next smaller position, if there is one.
    fn before(self) -> Option<Self> {
        match (self.arrived_unix_ms, self.tie) {
            (0, 0) => None,
            (unix_ms, 0) => Some(Self { arrived_unix_ms: unix_ms - 1, tie: u128::MAX }),
            (_, tie) => Some(Self { tie: tie - 1, ..self }),
        }
    }
}

/// The last millisecond with thirteen digits, in the year 2286.
const LAST_MS: u64 = 9_999_999_999_999;

/// The filter of a list request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListQuery {
    /// The status that deliveries must have. None means all.
    pub status: Option<DeliveryStatus>,
    from: ListPosition,
    to: Option<ListPosition>,
}

impl ListQuery {
    /// Parses the parameters of a request: one of the three statuses, the earliest arrival of the event in RFC 3339,
    /// and the cursor of the previous page.
    ///
    /// # Errors
    /// All faults. The pointer is the parameter's name after a `?`.
    pub fn parse(status: Option<&str>, since: Option<&str>, cursor: Option<&str>) -> Result<Self, Vec<Fault>> {
        let mut faults = Faults::default();
        let status =
            read("?status", status, DeliveryStatus::parse, "delivered, erased, exhausted or pending", &mut faults);
        let since = read("?since", since, unix_ms, expected_of(since), &mut faults);
        let cursor = read("?cursor", cursor, ListPosition::of_cursor, "the `cursor` of the page before", &mut faults);
        faults.none()?;
        let newest = ListPosition { arrived_unix_ms: LAST_MS, tie: u128::MAX };
        let (from, to) =
            (ListPosition::first_at(since.unwrap_or_default()), cursor.map_or(Some(newest), ListPosition::before));
        Ok(Self { status, from, to })
    }

    /// Returns the same filter for the page after this position.
    #[must_use]
    pub fn after(self, place: ListPosition) -> Self {
        Self { to: place.before(), ..self }
    }

    /// Returns the oldest and the newest position of the filter, or none if it allows no position.
    #[must_use]
    pub fn range(self) -> Option<(ListPosition, ListPosition)> {
        self.to.filter(|to| self.from <= *to).map(|to| (self.from, to))
    }
}

/// A part of a list that is read from its oldest delivery on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OldestFirst {
    /// The position after which it begins.
    pub after: Option<ListPosition>,
    /// The earliest arrival, in milliseconds since the Unix epoch.
    pub since_unix_ms: u64,
    /// The arrival before which it ends, in milliseconds since the Unix epoch.
    pub until_unix_ms: u64,
}

impl OldestFirst {
    /// Returns the oldest and the newest position, or none if there is no position.
    #[must_use]
    pub fn range(self) -> Option<(ListPosition, ListPosition)> {
        let first = ListPosition::first_at(self.since_unix_ms);
        let from = match self.after {
            None => first,
            Some(after) => after.next()?.max(first),
        };
        ListPosition::first_at(self.until_unix_ms).before().filter(|to| from <= *to).map(|to| (from, to))
    }
}

/// Returns the expected form of a time. It explains a `+` that arrived as a space.
pub(crate) fn expected_of(since: Option<&str>) -> &'static str {
    let has_lost_plus = |text: &str| text.contains(' ') && unix_ms(&text.replacen(' ', "+", 1)).is_some();
    if since.is_some_and(has_lost_plus) { PLUS } else { MOMENT }
}

const PLUS: &str = "a moment in RFC 3339 with its `+` written as `%2B`: in a query, `+` is a space";

/// Parses a parameter, and notes a fault if that fails.
pub(crate) fn read<T>(
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

/// The result of reading one part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardPage<T> {
    /// The deliveries that match the filter, in any order.
    pub found: Vec<(ListPosition, T)>,
    /// The last position that was read. None if that is the end of the part.
    pub scanned_to: Option<ListPosition>,
}

/// Merges the parts of a list into a page of at most `most` deliveries, newest first. Also returns the position after
/// which the next page starts, or none for the last page.
///
/// A page has nothing older than the position to which all parts were read. Otherwise deliveries of some part could be
/// missing in between. So a page may be shorter than `most`, or even empty if few deliveries match, although others
/// follow.
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

/// Merges the parts of a list that were read from the oldest delivery on, as [`page`] does. Also returns the position
/// up to which all parts were read, or none if that is their end.
#[must_use]
pub fn oldest_first<T>(stretches: Vec<ShardPage<T>>) -> (Vec<(ListPosition, T)>, Option<ListPosition>) {
    let complete_up_to = stretches.iter().filter_map(|stretch| stretch.scanned_to).min();
    let mut page: Vec<_> = stretches.into_iter().flat_map(|stretch| stretch.found).collect();
    page.retain(|(place, _)| complete_up_to.is_none_or(|end| *place <= end));
    page.sort_unstable_by_key(|(place, _)| *place);
    (page, complete_up_to)
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
        let deliveries: Vec<_> = keys
            .iter()
            .map(|event| DeliveryKey { event, endpoint: &endpoint, arrived_unix_ms: 7, retention_days: None })
            .collect();
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
        assert_eq!(ListPosition::parse(&place.key()), Some(place), "a clock that is very wrong");
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
    fn every_bad_parameter_is_a_fault() {
        let faults = ListQuery::parse(Some("lost"), Some("yesterday"), Some("1")).unwrap_err();
        let pointers: Vec<_> = faults.iter().map(|fault| &*fault.pointer).collect();
        assert_eq!(pointers, ["?status", "?since", "?cursor"]);
        assert_eq!(faults[0].found, "\"lost\"");
        assert!(ListQuery::parse(Some(""), None, None).is_err(), "an empty text is no status");
        let all = ListQuery::parse(None, None, None).unwrap();
        assert_eq!((all.status, all.range().is_some()), (None, true));
    }

    #[test]
    fn a_range_ends_at_the_moment_and_begins_after_the_cursor() {
        let at = |unix_ms, tie| ListPosition { arrived_unix_ms: unix_ms, tie };
        let range = |since: &str, cursor: ListPosition| {
            ListQuery::parse(Some("pending"), Some(since), Some(&cursor.cursor())).unwrap().range()
        };
        let second = "1970-01-01T00:00:01Z";
        assert_eq!(range(second, at(1_500, 7)), Some((at(1_000, 0), at(1_500, 6))));
        assert_eq!(range(second, at(1_500, 0)), Some((at(1_000, 0), at(1_499, u128::MAX))));
        assert_eq!(range(second, at(1_000, 1)), Some((at(1_000, 0), at(1_000, 0))), "one position remains");
        assert_eq!(range(second, at(1_000, 0)), None, "no position remains");
        assert_eq!(range(second, at(0, 0)), None, "there is nothing before the first position");
        let far = ListQuery::parse(None, Some("9999-12-31T23:59:59Z"), None).unwrap();
        assert_eq!(far.range().unwrap().0, at(LAST_MS, 0), "beyond the range of keys");
    }

    /// A part of a list as the table stores it: its positions, each with whether it matches the filter.
    type Part = BTreeSet<(ListPosition, bool)>;

    /// Reads up to `limit` positions of a part, newest first, like a query with a limit and a filter.
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
            // Few times and few ties, so that many positions are neighbours and some parts are empty.
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
                prop_assert!(wanted.range().is_some_and(|(_, to)| next <= to), "every page makes progress");
                wanted = wanted.after(ListPosition::of_cursor(&next.cursor()).unwrap());
            }
            prop_assert_eq!(paged, expected);
        }

        #[test]
        fn pages_from_the_oldest_on_give_everything_once_in_order(
            places in prop::collection::btree_map((0..6_u64, 0..40_u128), (0..SHARDS, any::<bool>()), 0..120),
            since in 0..4_u64,
            until in 0..8_u64,
            limit in 1..12_usize,
        ) {
            let mut parts = vec![Part::new(); SHARDS.into()];
            for (&(unix_ms, tie), &(shard, is_wanted)) in &places {
                parts[usize::from(shard)].insert((ListPosition { arrived_unix_ms: unix_ms, tie }, is_wanted));
            }
            let is_within = |place: &ListPosition| (since..until).contains(&place.arrived_unix_ms);
            let all = parts.iter().flatten().filter(|(place, is_wanted)| *is_wanted && is_within(place));
            let mut expected: Vec<_> = all.map(|(place, _)| *place).collect();
            expected.sort_unstable();

            let mut wanted = OldestFirst { after: None, since_unix_ms: since, until_unix_ms: until };
            let mut read = Vec::new();
            while let Some((from, to)) = wanted.range() {
                let look = |part: &Part| {
                    let seen: Vec<_> = part.iter().filter(|(place, _)| (from..=to).contains(place)).take(limit).collect();
                    let scanned_to = (seen.len() == limit).then(|| seen.last().map(|(place, _)| *place)).flatten();
                    let found = seen.into_iter().filter(|(_, is_wanted)| *is_wanted).map(|(place, _)| (*place, ()));
                    ShardPage { found: found.collect(), scanned_to }
                };
                let (page, end) = oldest_first(parts.iter().map(look).collect());
                read.extend(page.into_iter().map(|(place, ())| place));
                let Some(end) = end else { break };
                prop_assert!(end >= from, "every page makes progress");
                wanted.after = Some(end);
            }
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn keys_order_as_places_do(a in (0..=LAST_MS, any::<u128>()), b in (0..=LAST_MS, any::<u128>())) {
            let [a, b] = [a, b].map(|(arrived_unix_ms, tie)| ListPosition { arrived_unix_ms, tie });
            prop_assert_eq!(a.cmp(&b), a.key().cmp(&b.key()));
            prop_assert_eq!(ListPosition::parse(&a.key()), Some(a));
        }
    }
}
