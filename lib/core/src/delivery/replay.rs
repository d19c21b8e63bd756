//! Bulk replays: deliveries of a tenant that match a filter are sent again.
//!
//! `manage` makes a replay, and `sweep` works on it: page by page through the lists of its endpoints, from the oldest
//! delivery on. It parks each delivery in its endpoint's lane, so that the drain sends it at the usual pace.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::dated_id::dated_id;
use crate::delivery::breaker::{Admission, Breaker};
use crate::delivery::drain::drain_quota;
use crate::delivery::list::{ListPosition, OldestFirst};
use crate::delivery::{DeliveryStatus, Progress, ReplayKind};
use crate::endpoint::{EndpointId, Limit};
use crate::event::TenantId;
use crate::input::fault::{Fault, FaultCode, Faults};
use crate::input::json;
use crate::input::moment::{MOMENT, unix_ms};
use crate::input::object::{Found, Object};

/// How many endpoints a filter may name.
pub const MAX_ENDPOINTS: usize = 100;
/// How many types a filter may name.
pub const MAX_TYPES: usize = 100;
/// How many replays of a tenant may run at the same time.
pub const MOST_RUNNING: u8 = 5;
/// How long a replay is kept after its last change.
pub const KEPT: Duration = Duration::from_hours(30 * 24);

/// How many characters a type of a filter may have.
const MAX_TYPE_CHARACTERS: usize = 256;

dated_id!(
    /// The id of a replay: `rp_`, the moment at which it was made, and random digits. A later replay has a greater id.
    ReplayId,
    "rp_"
);

/// A status that a delivery can end with, as a filter names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EndStatus {
    /// The receiver acknowledged it.
    Delivered,
    /// Signpost gave it up.
    Exhausted,
}

impl EndStatus {
    /// Returns the word of the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.status().as_str()
    }

    /// Returns the status of a delivery's record.
    #[must_use]
    pub fn status(self) -> DeliveryStatus {
        match self {
            Self::Delivered => DeliveryStatus::Delivered,
            Self::Exhausted => DeliveryStatus::Exhausted,
        }
    }

    fn of(status: DeliveryStatus) -> Option<Self> {
        match status {
            DeliveryStatus::Delivered => Some(Self::Delivered),
            DeliveryStatus::Exhausted => Some(Self::Exhausted),
            DeliveryStatus::Erased | DeliveryStatus::Pending => None,
        }
    }
}

/// The deliveries of a replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayFilter {
    /// The endpoints; if empty, all of the tenant's.
    pub endpoints: BTreeSet<EndpointId>,
    /// The types of the events; if empty, all types.
    pub types: BTreeSet<String>,
    /// The statuses. There is at least one.
    pub statuses: BTreeSet<EndStatus>,
    /// The earliest arrival of the event, in milliseconds since the Unix epoch.
    pub since_unix_ms: u64,
    /// The arrival before which the events must be, in milliseconds since the Unix epoch.
    pub until_unix_ms: u64,
}

/// A filter as a table stores it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredFilter {
    endpoints: Vec<String>,
    types: BTreeSet<String>,
    statuses: BTreeSet<EndStatus>,
    since: u64,
    until: u64,
}

impl ReplayFilter {
    /// Returns whether the filter includes events of this type.
    #[must_use]
    pub fn wants_type(&self, kind: &str) -> bool {
        self.types.is_empty() || self.types.contains(kind)
    }

    /// Returns the part of an endpoint's list after a position.
    #[must_use]
    pub fn part_of_list(&self, after: Option<ListPosition>) -> OldestFirst {
        OldestFirst { after, since_unix_ms: self.since_unix_ms, until_unix_ms: self.until_unix_ms }
    }

    /// Returns the filter in the JSON of tables.
    #[must_use]
    pub fn stored(&self) -> String {
        let stored = StoredFilter {
            endpoints: self.endpoints.iter().map(EndpointId::to_string).collect(),
            types: self.types.clone(),
            statuses: self.statuses.clone(),
            since: self.since_unix_ms,
            until: self.until_unix_ms,
        };
        serde_json::to_string(&stored).unwrap_or_default() // Strings and numbers always serialize.
    }

    /// Parses the JSON of [`Self::stored`].
    #[must_use]
    pub fn of_stored(text: &str) -> Option<Self> {
        let StoredFilter { endpoints, types, statuses, since, until } = serde_json::from_str(text).ok()?;
        let endpoints = endpoints.iter().map(|id| EndpointId::parse(id)).collect::<Option<_>>()?;
        let is_valid = !statuses.is_empty();
        is_valid.then_some(Self { endpoints, types, statuses, since_unix_ms: since, until_unix_ms: until })
    }
}

/// The body of a request for a replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayRequest {
    /// The deliveries.
    pub filter: ReplayFilter,
    /// Whether to count them only.
    pub is_dry_run: bool,
}

impl ReplayRequest {
    /// Parses `{"since":…,"until":…,"endpoints":[…],"types":[…],"statuses":[…],"dryRun":…}` at a given time, in
    /// milliseconds since the Unix epoch. Only `since` is required: without it, an empty filter would send everything
    /// again. Without `until`, or with a later one, the filter ends now.
    ///
    /// # Errors
    /// All faults.
    pub fn parse(text: &str, now_unix_ms: u64) -> Result<Self, Vec<Fault>> {
        let value = json::parse(text, "{\"since\":…}")?;
        let (mut faults, mut is_dry_run) = (Faults::default(), false);
        let mut filter = ReplayFilter {
            endpoints: BTreeSet::new(),
            types: BTreeSet::new(),
            statuses: BTreeSet::from([EndStatus::Exhausted]),
            since_unix_ms: 0,
            until_unix_ms: now_unix_ms,
        };
        if let Some(mut object) = Object::open(&Found::whole(value), &mut faults) {
            let (since, until) = (object.nullable_member("since"), object.nullable_member("until"));
            read_period(since.as_ref(), until.as_ref(), &mut filter, &mut faults);
            if let Some(found) = object.nullable_member("endpoints") {
                filter.endpoints = read_set(&found, MAX_ENDPOINTS, &mut faults, read_endpoint);
            }
            if let Some(found) = object.nullable_member("types") {
                filter.types =
                    read_set(&found, MAX_TYPES, &mut faults, |found, faults| found.text(MAX_TYPE_CHARACTERS, faults));
            }
            if let Some(found) = object.nullable_member("statuses") {
                filter.statuses =
                    read_set(&found, 2, &mut faults, |found, faults| found.one_of("delivered or exhausted", faults));
            }
            if let Some(found) = object.nullable_member("dryRun") {
                is_dry_run = found.read("true or false", &mut faults).unwrap_or_default();
            }
            object.close(&mut faults);
        }
        faults.none().map(|()| Self { filter, is_dry_run })
    }
}

const SINCE: &str = "the moment from which on events are sent again, such as 2026-01-31T10:00:00Z";

fn read_moment(found: &Found<'_>, faults: &mut Faults) -> Option<u64> {
    let text: String = found.read(MOMENT, faults)?;
    let moment = unix_ms(&text);
    if moment.is_none() {
        faults.push(Fault::at(&found.pointer, found.value, MOMENT));
    }
    moment
}

/// Reads the start and the end of the filter. A later end than now is now.
fn read_period(since: Option<&Found<'_>>, until: Option<&Found<'_>>, filter: &mut ReplayFilter, faults: &mut Faults) {
    if since.is_none() {
        faults.push(Fault::missing("since", SINCE));
    }
    let begin = since.and_then(|found| Some((found, read_moment(found, faults)?)));
    let end = until.and_then(|found| Some((found, read_moment(found, faults)?)));
    let now = filter.until_unix_ms;
    filter.until_unix_ms = end.map_or(now, |(_, end)| end.min(now));
    let Some((found, begin)) = begin else { return };
    filter.since_unix_ms = begin;
    if begin >= now {
        faults.push(Fault::at(&found.pointer, found.value, "a moment that has passed").code(FaultCode::OutOfRange));
    } else if let Some((found, _)) = end.filter(|(_, end)| *end <= begin) {
        faults.push(Fault::at(&found.pointer, found.value, "a moment after `since`").code(FaultCode::OutOfRange));
    }
}

/// Reads a list of 1 to `most` different values.
fn read_set<T: Ord>(
    found: &Found<'_>,
    most: usize,
    faults: &mut Faults,
    read: impl Fn(&Found<'_>, &mut Faults) -> Option<T>,
) -> BTreeSet<T> {
    let items = found.items(most, faults);
    if items.is_empty() && found.value.get().starts_with('[') {
        let expected = format!("a list of 1 to {most} values, or no such member");
        faults.push(Fault::at(&found.pointer, found.value, expected).code(FaultCode::OutOfRange));
    }
    let mut set = BTreeSet::new();
    for item in items {
        let Some(value) = read(&item, faults) else { continue };
        if !set.insert(value) {
            faults.push(Fault::at(&item.pointer, item.value, "each value once").code(FaultCode::Duplicate));
        }
    }
    set
}

fn read_endpoint(found: &Found<'_>, faults: &mut Faults) -> Option<EndpointId> {
    let text: String = found.read("the id of an endpoint", faults)?;
    let id = EndpointId::parse(&text);
    if id.is_none() {
        faults.push(Fault::at(&found.pointer, found.value, "the id of an endpoint"));
    }
    id
}

/// The state of a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayState {
    /// `sweep` has read all of its lists.
    Done,
    /// `sweep` works on it.
    Running,
    /// An operator stopped it.
    Stopped,
}

impl ReplayState {
    /// Returns the word for the API and tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Running => "running",
            Self::Stopped => "stopped",
        }
    }

    /// Parses a word of [`Self::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Done, Self::Running, Self::Stopped].into_iter().find(|state| state.as_str() == text)
    }
}

/// The point that a replay has reached. Its endpoints are in the order of their ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplayPosition {
    /// Behind this position of the endpoint's list; none before its first.
    In(EndpointId, Option<ListPosition>),
    /// Behind the list of this endpoint.
    Behind(EndpointId),
}

impl ReplayPosition {
    /// Returns the endpoint.
    #[must_use]
    pub fn endpoint(&self) -> &EndpointId {
        match self {
            Self::In(endpoint, _) | Self::Behind(endpoint) => endpoint,
        }
    }
}

/// The numbers of deliveries of a replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplayCounts {
    /// The deliveries that were parked, to be sent.
    pub sent: u64,
    /// The deliveries that the filter includes and that were not sent: they ended after the replay was made, or their
    /// event has expired.
    pub skipped: u64,
}

impl ReplayCounts {
    /// Returns the number of deliveries that the filter includes, as far as `sweep` has come.
    #[must_use]
    pub fn matched(self) -> u64 {
        self.sent + self.skipped
    }
}

/// A page that is begun: its first record may be reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayPage {
    /// When it was begun, in milliseconds since the Unix epoch. Its deliveries wait in their lane since then.
    pub since_unix_ms: u64,
    /// The position of its last delivery; none if it is that of the list. A repetition of the page does not go further.
    pub to: Option<ListPosition>,
}

/// A bulk replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// The tenant.
    pub tenant: TenantId,
    /// The id.
    pub id: ReplayId,
    /// Its deliveries.
    pub filter: ReplayFilter,
    /// Its state.
    pub state: ReplayState,
    /// The point that it has reached; none before the first page.
    pub position: Option<ReplayPosition>,
    /// The deliveries so far.
    pub counts: ReplayCounts,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_unix_ms: u64,
    /// When it was changed last, in milliseconds since the Unix epoch.
    pub changed_unix_ms: u64,
    /// The page after its position that `sweep` has begun; none if it did not. It may be half done.
    pub page: Option<ReplayPage>,
    /// The number of changes, which distinguishes a replay from what it was before.
    pub version: u64,
}

impl Replay {
    /// Makes a replay at a given time, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn new(tenant: TenantId, id: ReplayId, filter: ReplayFilter, now_unix_ms: u64) -> Self {
        Self {
            tenant,
            id,
            filter,
            state: ReplayState::Running,
            position: None,
            counts: ReplayCounts::default(),
            created_unix_ms: now_unix_ms,
            changed_unix_ms: now_unix_ms,
            page: None,
            version: 0,
        }
    }

    /// Returns the endpoint whose list is read next, of all endpoints of the replay in the order of their ids, and the
    /// position after which. Returns none if no list is left.
    #[must_use]
    pub fn next_list<'a>(&self, endpoints: &'a [EndpointId]) -> Option<(&'a EndpointId, Option<ListPosition>)> {
        let is_left = |endpoint: &&EndpointId| match &self.position {
            None => true,
            Some(ReplayPosition::In(reached, _)) => **endpoint >= *reached,
            Some(ReplayPosition::Behind(reached)) => **endpoint > *reached,
        };
        let endpoint = endpoints.iter().find(is_left)?;
        let after = match &self.position {
            Some(ReplayPosition::In(reached, after)) if reached == endpoint => *after,
            _ => None,
        };
        Some((endpoint, after))
    }

    /// Returns the replay when `sweep` begins a page that ends with the delivery at `to`.
    #[must_use]
    pub fn with_page(&self, to: Option<ListPosition>, now_unix_ms: u64) -> Self {
        Self { page: Some(ReplayPage { since_unix_ms: now_unix_ms, to }), ..self.changed(now_unix_ms) }
    }

    /// Returns the replay after a page, which ended at `position`. If the page was begun before and went further, the
    /// next one goes on with it.
    #[must_use]
    pub fn after_page(&self, position: ReplayPosition, counts: ReplayCounts, now_unix_ms: u64) -> Self {
        let is_left = |page: &ReplayPage| match (&position, page.to) {
            (ReplayPosition::Behind(_), _) => false,
            (ReplayPosition::In(..), None) => true,
            (ReplayPosition::In(_, reached), Some(to)) => reached.is_none_or(|reached| reached < to),
        };
        let page = self.page.filter(is_left);
        let ReplayCounts { sent, skipped } = self.counts;
        let counts = ReplayCounts { sent: sent + counts.sent, skipped: skipped + counts.skipped };
        Self { position: Some(position), counts, page, ..self.changed(now_unix_ms) }
    }

    /// Returns the replay in another state.
    #[must_use]
    pub fn with_state(&self, state: ReplayState, now_unix_ms: u64) -> Self {
        Self { state, ..self.changed(now_unix_ms) }
    }

    fn changed(&self, now_unix_ms: u64) -> Self {
        Self { version: self.version + 1, changed_unix_ms: now_unix_ms, ..self.clone() }
    }

    /// Decides about a delivery in the list of one of its endpoints, by its record.
    ///
    /// A delivery that ended after the replay was made is never sent: another request has sent it again, or this replay
    /// has. A page that is begun again also has deliveries of its first try. Those without an attempt since may have been
    /// reset and not parked, so they are sent. The others count, and are not sent.
    #[must_use]
    pub fn decide(&self, progress: &Progress) -> ReplayStep {
        let is_own = self.page.is_some() && progress.replay == Some(ReplayKind::Replay);
        let Some(status) = EndStatus::of(progress.status) else {
            return match is_own {
                true if progress.attempts == progress.before_replay => ReplayStep::Send,
                true => ReplayStep::IsSent,
                false => ReplayStep::Ignore,
            };
        };
        let is_wanted = self.filter.statuses.contains(&status);
        // The moment at which it ended. A delivery that has ended has no next attempt.
        let ended_since = progress.next_attempt_unix_ms >= self.created_unix_ms;
        match (ended_since, is_wanted) {
            (true, _) if is_own => ReplayStep::IsSent,
            (true, true) => ReplayStep::Skip,
            (false, true) => ReplayStep::Send,
            (_, false) => ReplayStep::Ignore,
        }
    }

    /// Returns the statuses of the deliveries that a page needs to read.
    #[must_use]
    pub fn statuses(&self) -> Vec<DeliveryStatus> {
        if self.page.is_some() {
            return vec![DeliveryStatus::Delivered, DeliveryStatus::Exhausted, DeliveryStatus::Pending];
        }
        self.filter.statuses.iter().copied().map(EndStatus::status).collect()
    }
}

/// The action for a delivery in the list of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayStep {
    /// The filter does not include it.
    Ignore,
    /// The first try of the page has sent it. It counts as sent.
    IsSent,
    /// Reset its record, and park it.
    Send,
    /// It ended after the replay was made. It counts as skipped.
    Skip,
}

/// How many deliveries a replay parks per minute for an endpoint that accepts none now: as many as the endpoint gets in
/// the first minute after it does.
const PARKED_PER_MINUTE: usize = 600;

/// Returns how many deliveries replays may park for an endpoint in one minute: as many as a drain sends. So the lane
/// does not grow, and a replay that is stopped leaves the deliveries of a minute or two. An endpoint that accepts
/// nothing now does not hold up a replay.
#[must_use]
pub fn parked_per_minute(
    breaker: &Breaker,
    max_per_second: Option<Limit>,
    is_enabled: bool,
    now_unix_ms: u64,
) -> usize {
    match breaker.admits(now_unix_ms) {
        Admission::Send if is_enabled => drain_quota(breaker, max_per_second, now_unix_ms),
        Admission::Park | Admission::Probe | Admission::Send => PARKED_PER_MINUTE,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    const NOW: u64 = 1_769_853_600_000; // 2026-01-31T10:00:00Z
    const ENDPOINT: &str = "ep_00000000000000000000000000000001";

    fn id(number: u128) -> EndpointId {
        EndpointId::new(Uuid::from_u128(number))
    }

    fn filter() -> ReplayFilter {
        ReplayFilter {
            endpoints: BTreeSet::new(),
            types: BTreeSet::new(),
            statuses: BTreeSet::from([EndStatus::Exhausted]),
            since_unix_ms: NOW - 3_600_000,
            until_unix_ms: NOW,
        }
    }

    fn replay(filter: ReplayFilter) -> Replay {
        let id = ReplayId::new(NOW, Uuid::from_u128(7));
        Replay::new(TenantId::parse("acme").unwrap(), id, filter, NOW)
    }

    fn parse(text: &serde_json::Value) -> Result<ReplayRequest, Vec<Fault>> {
        ReplayRequest::parse(&text.to_string(), NOW)
    }

    #[test]
    fn a_request_needs_a_start_and_nothing_else() {
        let least = parse(&json!({"since": "2026-01-31T09:00:00Z"})).unwrap();
        assert_eq!(least, ReplayRequest { filter: filter(), is_dry_run: false });
        let nulls = json!({"since": "2026-01-31T09:00:00Z", "until": null, "endpoints": null, "types": null,
            "statuses": null, "dryRun": null});
        assert_eq!(parse(&nulls), Ok(least));
        let all = json!({"since": "2026-01-31T08:00:00Z", "until": "2026-01-31T09:30:00Z", "endpoints": [ENDPOINT],
            "types": ["operation"], "statuses": ["exhausted", "delivered"], "dryRun": true});
        let expected = ReplayFilter {
            endpoints: BTreeSet::from([id(1)]),
            types: BTreeSet::from(["operation".to_owned()]),
            statuses: BTreeSet::from([EndStatus::Delivered, EndStatus::Exhausted]),
            since_unix_ms: NOW - 7_200_000,
            until_unix_ms: NOW - 1_800_000,
        };
        assert_eq!(parse(&all), Ok(ReplayRequest { filter: expected, is_dry_run: true }));
        let future = json!({"since": "2026-01-31T09:00:00Z", "until": "2027-01-31T09:00:00Z"});
        assert_eq!(parse(&future).unwrap().filter.until_unix_ms, NOW, "a filter ends now");
    }

    #[test]
    fn every_fault_is_listed() {
        let text = json!({"until": 7, "endpoints": ["ep_1", 7, ENDPOINT, ENDPOINT], "types": [""],
            "statuses": ["pending"], "dryRun": "yes", "tenant": "other"});
        let told: Vec<_> = parse(&text).unwrap_err().into_iter().map(|fault| (fault.pointer, fault.expected)).collect();
        let expected = [
            ("/since", SINCE),
            ("/until", MOMENT),
            ("/endpoints/0", "the id of an endpoint"),
            ("/endpoints/1", "the id of an endpoint"),
            ("/endpoints/3", "each value once"),
            ("/types/0", "a text of 1 to 256 characters"),
            ("/statuses/0", "delivered or exhausted"),
            ("/dryRun", "true or false"),
            ("/tenant", "no such member; there are since, until, endpoints, types, statuses, dryRun"),
        ];
        assert_eq!(told, expected.map(|(pointer, expected)| (pointer.to_owned(), expected.to_owned())));
    }

    #[test]
    fn a_filter_that_names_nothing_or_no_time_is_refused() {
        let with = |name: &str, value: serde_json::Value| {
            let mut body = json!({"since": "2026-01-31T09:00:00Z"});
            body[name] = value;
            body
        };
        let cases = [
            (json!({}), "/since", "it would send everything again"),
            (with("since", json!("2026-01-31T10:00:00Z")), "/since", "now"),
            (with("since", json!("yesterday")), "/since", "not a moment"),
            (with("until", json!("2026-01-31T09:00:00Z")), "/until", "no time at all"),
            (with("until", json!("2026-01-31T08:00:00Z")), "/until", "before the start"),
            (with("endpoints", json!([])), "/endpoints", "no endpoint"),
            (with("types", json!([])), "/types", "no type"),
            (with("statuses", json!([])), "/statuses", "no status"),
            (with("endpoints", json!(ENDPOINT)), "/endpoints", "not a list"),
            (json!([]), "", "not an object"),
        ];
        for (body, pointer, why) in cases {
            let faults = parse(&body).unwrap_err();
            assert_eq!(faults.iter().map(|fault| &*fault.pointer).collect::<Vec<_>>(), [pointer], "{why}");
        }
        let many: Vec<_> = (0..101).map(|number| id(number).to_string()).collect();
        assert_eq!(parse(&with("endpoints", json!(many))).unwrap_err()[0].code, FaultCode::OutOfRange);
    }

    #[test]
    fn words_of_states_read_back() {
        for state in [ReplayState::Done, ReplayState::Running, ReplayState::Stopped] {
            assert_eq!(ReplayState::parse(state.as_str()), Some(state));
        }
    }

    fn ended(status: DeliveryStatus, at: u64, replay: Option<ReplayKind>) -> Progress {
        Progress {
            status,
            attempts: 3,
            before_replay: 0,
            next_attempt_unix_ms: at,
            replay,
            last_sent: None,
            last_answer: None,
        }
    }

    #[test]
    fn a_delivery_is_sent_if_it_had_a_wanted_status_when_the_replay_was_made() {
        use DeliveryStatus::{Delivered, Exhausted, Pending};
        let reset = |attempts| Progress { attempts, before_replay: 3, ..ended(Pending, NOW, Some(ReplayKind::Replay)) };
        let own = Some(ReplayKind::Replay);
        let cases = [
            (ended(Exhausted, NOW - 1, None), ReplayStep::Send, ReplayStep::Send, "given up before"),
            (ended(Exhausted, NOW, None), ReplayStep::Skip, ReplayStep::Skip, "given up since"),
            (ended(Exhausted, NOW, own), ReplayStep::Skip, ReplayStep::IsSent, "given up again, by the first try"),
            (ended(Exhausted, NOW - 1, own), ReplayStep::Send, ReplayStep::Send, "by an earlier replay"),
            (ended(Delivered, NOW - 1, None), ReplayStep::Ignore, ReplayStep::Ignore, "not a wanted status"),
            (ended(Delivered, NOW, None), ReplayStep::Ignore, ReplayStep::Ignore, "delivered without this replay"),
            (ended(Delivered, NOW, own), ReplayStep::Ignore, ReplayStep::IsSent, "delivered by the first try"),
            (reset(3), ReplayStep::Ignore, ReplayStep::Send, "maybe reset and not parked"),
            (reset(4), ReplayStep::Ignore, ReplayStep::IsSent, "pending"),
            (ended(Pending, NOW, None), ReplayStep::Ignore, ReplayStep::Ignore, "pending for the first time"),
            (ended(Pending, NOW, Some(ReplayKind::Recover)), ReplayStep::Ignore, ReplayStep::Ignore, "recovered"),
        ];
        let first = replay(filter());
        let again = first.with_page(None, NOW + 1);
        for (progress, on_first, on_repeat, why) in cases {
            assert_eq!((first.decide(&progress), again.decide(&progress)), (on_first, on_repeat), "{why}");
        }
        let both =
            replay(ReplayFilter { statuses: BTreeSet::from([EndStatus::Delivered, EndStatus::Exhausted]), ..filter() });
        assert_eq!(both.decide(&ended(Delivered, NOW - 1, None)), ReplayStep::Send);
        assert_eq!(both.decide(&ended(Delivered, NOW, None)), ReplayStep::Skip, "delivered since");
    }

    #[test]
    fn replays_park_as_much_as_a_drain_sends() {
        let limit = Limit::try_from(2).unwrap();
        let cases = [
            (Breaker::default(), None, true, 6_000, "it never failed"),
            (Breaker::closed_at(NOW), None, true, 600, "just back"),
            (Breaker::default(), Some(limit), true, 108, "most of a minute at its limit"),
            (Breaker::default(), Some(limit), false, 600, "disabled: its lane waits"),
        ];
        for (breaker, limit, is_enabled, expected, why) in cases {
            assert_eq!(parked_per_minute(&breaker, limit, is_enabled, NOW), expected, "{why}");
        }
    }

    #[test]
    fn a_page_that_was_begun_is_left_only_behind_its_end() {
        let at =
            |unix_ms| OldestFirst { after: None, since_unix_ms: unix_ms, until_unix_ms: u64::MAX }.range().unwrap().0;
        let ends = |to| replay(filter()).with_page(to, NOW);
        let reached = |unix_ms| ReplayPosition::In(id(1), Some(at(unix_ms)));
        let cases = [
            (Some(at(7)), reached(6), true, "it ended early"),
            (Some(at(7)), reached(7), false, "all of it"),
            (Some(at(7)), reached(8), false, "there was nothing between"),
            (Some(at(7)), ReplayPosition::Behind(id(1)), false, "the endpoint was removed"),
            (None, reached(9), true, "it goes to the end of the list"),
            (None, ReplayPosition::Behind(id(1)), false, "the end of the list"),
        ];
        for (to, position, is_left, why) in cases {
            let begun = ends(to);
            let after = begun.after_page(position, ReplayCounts::default(), NOW);
            assert_eq!(after.page, begun.page.filter(|_| is_left), "{why}");
        }
    }

    #[test]
    fn a_replay_reads_the_lists_of_its_endpoints_one_after_the_other() {
        let endpoints = [1, 3, 5].map(id);
        let at = |position| Replay { position, ..replay(filter()) };
        let reached = OldestFirst { after: None, since_unix_ms: 7, until_unix_ms: 8 }.range().map(|(from, _)| from);
        let cases = [
            (None, Some((1, None)), "the first"),
            (Some(ReplayPosition::In(id(1), reached)), Some((1, reached)), "it goes on in its list"),
            (Some(ReplayPosition::Behind(id(1))), Some((3, None)), "the next"),
            (Some(ReplayPosition::In(id(2), reached)), Some((3, None)), "the endpoint was removed"),
            (Some(ReplayPosition::Behind(id(5))), None, "that was the last"),
        ];
        for (position, expected, why) in cases {
            let replay = at(position);
            let next = replay.next_list(&endpoints).map(|(endpoint, after)| (endpoint.clone(), after));
            assert_eq!(next, expected.map(|(number, after)| (id(number), after)), "{why}");
        }
    }

    fn any_progress() -> impl Strategy<Value = Progress> {
        let status =
            prop::sample::select(vec![DeliveryStatus::Delivered, DeliveryStatus::Exhausted, DeliveryStatus::Pending]);
        let kinds = [ReplayKind::Recover, ReplayKind::Redrive, ReplayKind::Replay];
        let kind = prop::option::of(prop::sample::select(kinds.to_vec()));
        (status, 0..5_u32, 0..5_u32, NOW - 5..NOW + 5, kind).prop_map(|(status, attempts, before, at, replay)| {
            Progress {
                status,
                attempts,
                before_replay: before.min(attempts),
                next_attempt_unix_ms: at,
                replay,
                last_sent: None,
                last_answer: None,
            }
        })
    }

    proptest! {
        #[test]
        fn filters_read_back(
            endpoints in prop::collection::btree_set(any::<u128>(), 0..5),
            types in prop::collection::btree_set("[a-z.\"]{1,9}", 0..5),
            statuses in prop::collection::btree_set(
                prop::sample::select(vec![EndStatus::Delivered, EndStatus::Exhausted]), 1..=2),
            since in any::<u64>(), until in any::<u64>(),
        ) {
            let endpoints = endpoints.into_iter().map(id).collect();
            let filter = ReplayFilter { endpoints, types, statuses, since_unix_ms: since, until_unix_ms: until };
            prop_assert_eq!(ReplayFilter::of_stored(&filter.stored()), Some(filter));
        }

        /// The law of a page that is repeated after a crash: all that the first try would send and has not parked is
        /// sent, and what ended since the replay was made is not.
        #[test]
        fn a_repeated_page_sends_all_that_the_first_try_may_have_reset_and_nothing_that_ended_since(
            progress in any_progress(), wants_delivered in any::<bool>()
        ) {
            let mut statuses = BTreeSet::from([EndStatus::Exhausted]);
            statuses.extend(wants_delivered.then_some(EndStatus::Delivered));
            let first = replay(ReplayFilter { statuses, ..filter() });
            let again = first.with_page(None, NOW + 9);
            if first.decide(&progress) == ReplayStep::Send {
                prop_assert_eq!(again.decide(&progress), ReplayStep::Send, "the first try did not reach it");
                let before_replay = progress.attempts;
                let (status, replay) = (DeliveryStatus::Pending, Some(ReplayKind::Replay));
                let reset = Progress { status, before_replay, replay, next_attempt_unix_ms: NOW + 9, ..progress };
                prop_assert_eq!(again.decide(&reset), ReplayStep::Send, "the first try may not have parked it");
                let tried = Progress { attempts: progress.attempts + 1, ..reset };
                prop_assert_eq!(again.decide(&tried), ReplayStep::IsSent);
                for status in [DeliveryStatus::Delivered, DeliveryStatus::Exhausted] {
                    prop_assert_eq!(again.decide(&Progress { status, ..tried }), ReplayStep::IsSent);
                }
            }
            let has_ended = progress.status != DeliveryStatus::Pending;
            for replay in [first, again] {
                let is_sent = replay.decide(&progress) == ReplayStep::Send;
                prop_assert!(!is_sent || !has_ended || progress.next_attempt_unix_ms < NOW);
                prop_assert!(!is_sent || replay.statuses().contains(&progress.status), "the page reads it");
            }
        }

        #[test]
        fn a_replay_comes_to_an_end_and_reads_each_list_once(numbers in prop::collection::btree_set(0..50_u128, 0..10)) {
            let endpoints: Vec<_> = numbers.into_iter().map(id).collect();
            let (mut replay, mut read) = (replay(filter()), Vec::new());
            while let Some((endpoint, None)) = replay.next_list(&endpoints) {
                read.push(endpoint.clone());
                let counts = ReplayCounts { sent: 2, skipped: 1 };
                replay = replay.with_page(None, NOW).after_page(ReplayPosition::Behind(endpoint.clone()), counts, NOW);
            }
            prop_assert_eq!(replay.counts.matched(), 3 * read.len() as u64);
            prop_assert_eq!(replay.next_list(&endpoints), None);
            prop_assert_eq!(read, endpoints);
        }
    }
}
