//! The tables, with the conditional writes of DynamoDB. Each method is one call, and happens at once. What a condition
//! is, the ports say; `lib/io` and this file are two implementations of it.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{Hash as _, Hasher as _};

use signpost_core::delivery::breaker::Breaker;
use signpost_core::delivery::limits::{HeldSlot, Second};
use signpost_core::delivery::list::ListPosition;
use signpost_core::delivery::parking::Lane;
use signpost_core::delivery::replay::{MOST_RUNNING, Replay, ReplayId};
use signpost_core::delivery::{DeliveryRecord, DeliveryStatus, LONGEST_ATTEMPT, Progress, ReplayKind};
use signpost_core::endpoint::auth::origin;
use signpost_core::endpoint::subscription::Subscription;
use signpost_core::endpoint::{DisabledBecause, EndpointId, Limit};
use signpost_core::event::TenantId;
use signpost_core::event::sequence::SequenceNumber;
use signpost_core::random_secret::SecretHash;
use signpost_core::tenant_erasure::{ErasureId, TenantErasure};
use signpost_core::token_request::{BankResponse, RequestId, TokenRequest};
use signpost_engine::ports::deliveries::{Lease, LeaseResult};
use signpost_engine::ports::endpoints::{StoredEndpoint, Written};
use signpost_engine::ports::events::FirstFanOut;
use signpost_engine::ports::limits::{Counted, SlotPool};
use signpost_engine::ports::parking::{Drain, SweepState};
use signpost_engine::ports::replays::RunningReplay;
use signpost_engine::ports::subscriptions::{TypeRules, Version};
use signpost_engine::ports::tenant_erasures::RunningErasure;
use signpost_engine::ports::token_requests::Changed;

use crate::clock::Numbers;
use crate::world::{endpoint_id, tenant_index};

pub const LEASE_MS: u64 = LONGEST_ATTEMPT.as_secs() * 1_000;

/// Whose slots: of an endpoint, or of a tenant, each by its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pool {
    Endpoint(usize),
    Tenant(usize),
}

impl Pool {
    pub fn of(pool: &SlotPool) -> Self {
        match pool {
            SlotPool::Endpoint(endpoint) => Self::Endpoint(index_of(endpoint)),
            SlotPool::Tenant(tenant) => Self::Tenant(tenant_index(tenant)),
        }
    }
}

/// Everything that is stored. Deliveries, events and endpoints are numbers.
#[derive(Default)]
pub struct Tables {
    pub endpoints: Vec<Option<StoredEndpoint>>,
    /// Endpoints, each with the versions in which it was enabled.
    pub enabled_versions: HashSet<(usize, u64)>,
    /// By event, its first fan-out.
    pub events: HashMap<u32, FirstFanOut, Numbers>,
    pub records: HashMap<u32, Record, Numbers>,
    pub breakers: HashMap<usize, (Breaker, u64), Numbers>,
    pub slots: BTreeMap<(Pool, u16), (u64, u64)>,
    pub seconds: HashMap<usize, Second, Numbers>,
    pub parked: BTreeMap<Place, BTreeMap<(u64, u32), u64>>,
    pub drains: BTreeMap<EndpointId, Request>,
    pub waiting: BTreeMap<EndpointId, u64>,
    /// By tenant and id.
    pub replays: BTreeMap<(String, ReplayId), Replay>,
    pub running_replays: Vec<RunningReplay>,
    /// The erasures of tenants, by tenant and id.
    pub erasures: BTreeMap<(String, ErasureId), TenantErasure>,
    pub running_erasures: Vec<RunningErasure>,
    /// By tenant, when it was erased.
    pub erased_until: BTreeMap<String, u64>,
    /// The endpoints of erased tenants, whose deliveries are to be removed.
    pub removed_endpoints: BTreeSet<usize>,
    /// The list of each endpoint. Records are added when a list is read.
    pub lists: BTreeMap<(usize, ListPosition), u32>,
    pub listed: HashSet<u32, Numbers>,
    pub busy_until: Option<u64>,
    /// The state that the last sweep left.
    pub swept: Option<SweepState>,
    /// The counters of subjects: the last number of each.
    pub counters: HashMap<String, SequenceNumber>,
    /// The events that were erased. Some are also in `events`, because they had arrived before.
    pub erased: HashSet<u32>,
    /// The events whose retention has ended.
    pub gone: HashSet<u32>,
    /// The event types.
    pub schemas: Vec<TypeRules>,
    /// The endpoints that cannot be read.
    pub unreadable: BTreeSet<usize>,
    pub states: HashMap<SecretHash, (TenantId, RequestId)>,
    pub token_requests: HashMap<(TenantId, RequestId), TokenRequest>,
}

/// A delivery's item in `EventsTable`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Record {
    pub status: Option<DeliveryStatus>,
    attempts: Option<u32>,
    before_replay: Option<u32>,
    next_attempt: u64,
    leased_until: Option<u64>,
    replay: Option<ReplayKind>,
    last_sent: Option<u64>,
    last_answer: Option<u64>,
}

/// A request to drain a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub tenant: TenantId,
    pub asked_at: u64,
    pub not_before: u64,
    pub token: Option<u64>,
}

/// A lane that holds deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Due { minute: u64, shard: u8 },
    Endpoint(usize),
    Exhausted(usize),
}

impl Place {
    pub fn of(lane: &Lane) -> Self {
        match lane {
            Lane::Due { minute, shard } => Self::Due { minute: *minute, shard: *shard },
            Lane::Endpoint(id) => Self::Endpoint(index_of(id)),
            Lane::Exhausted(id) => Self::Exhausted(index_of(id)),
        }
    }

    /// Returns the lane of the partition with this key ([`Lane::partitions`]).
    pub fn of_key(key: &str) -> Self {
        let mut parts = key.split('#');
        match (parts.next(), parts.next().unwrap(), parts.next()) {
            (Some("due"), minute, Some(shard)) => {
                Self::Due { minute: minute.parse().unwrap(), shard: shard.parse().unwrap() }
            }
            (Some("endpoint"), id, Some(_)) => Self::Endpoint(index_of(&EndpointId::parse(id).unwrap())),
            (Some("exhausted"), id, Some(_)) => Self::Exhausted(index_of(&EndpointId::parse(id).unwrap())),
            other => panic!("lane {other:?}"),
        }
    }
}

pub fn index_of(id: &EndpointId) -> usize {
    usize::from_str_radix(&id.as_str()[3..], 16).unwrap()
}

impl Record {
    fn standing(&self) -> DeliveryRecord {
        let progress = self.attempts.map(|attempts| Progress {
            status: self.status.unwrap(),
            attempts,
            before_replay: self.before_replay.unwrap_or_default(),
            next_attempt_unix_ms: self.next_attempt,
            replay: self.replay,
            last_sent: self.last_sent,
            last_answer: self.last_answer,
        });
        DeliveryRecord { progress, leased_until_unix_ms: self.leased_until.unwrap_or_default() }
    }

    fn of(progress: Progress) -> Self {
        Self {
            status: Some(progress.status),
            attempts: Some(progress.attempts),
            before_replay: Some(progress.before_replay),
            next_attempt: progress.next_attempt_unix_ms,
            leased_until: None,
            replay: progress.replay,
            last_sent: progress.last_sent,
            last_answer: progress.last_answer,
        }
    }
}

/// Records of deliveries.
impl Tables {
    pub fn standing(&self, id: u32) -> Option<DeliveryRecord> {
        self.records.get(&id).map(Record::standing)
    }

    pub fn lease(&mut self, id: u32, wanted: Lease) -> LeaseResult {
        let (record, standing) = (self.records.get(&id), self.standing(id));
        let is_free = record.and_then(|one| one.leased_until).is_none_or(|until| until <= wanted.from_unix_ms);
        let is_due = record
            .and_then(|one| Some((one.status?, one.next_attempt)))
            .is_none_or(|(status, next)| status == DeliveryStatus::Pending && next <= wanted.due_by_unix_ms);
        if !is_free || !is_due || (wanted.needs_record && record.is_none()) {
            return LeaseResult::Refused(standing);
        }
        self.records.entry(id).or_default().leased_until = Some(wanted.until_unix_ms);
        LeaseResult::Taken(standing)
    }

    pub fn release_lease(&mut self, id: u32, lease: Option<u64>) {
        let held = self.records.get(&id).and_then(|record| record.leased_until);
        if lease == held {
            self.records.entry(id).or_default().leased_until = Some(0);
        }
    }

    pub fn insert(&mut self, id: u32, progress: Progress) -> bool {
        let is_new = !self.records.contains_key(&id);
        if is_new {
            self.records.insert(id, Record::of(progress));
        }
        is_new
    }

    pub fn update(&mut self, id: u32, on_record: Option<u64>, progress: Progress) -> bool {
        let record = self.records.get(&id).copied().unwrap_or_default();
        let is_next = match on_record {
            None => record.attempts.is_none(),
            Some(due) => {
                record.attempts == Some(progress.attempts - 1)
                    && record.status == Some(DeliveryStatus::Pending)
                    && record.next_attempt == due
            }
        };
        if is_next {
            // The update sets none of these to nothing.
            let (replay, last_sent) = (record.replay, progress.last_sent.or(record.last_sent));
            let last_answer = progress.last_answer.or(record.last_answer);
            self.records.insert(id, Record { replay, last_sent, last_answer, ..Record::of(progress) });
        }
        is_next
    }

    pub fn acknowledge(&mut self, id: u32, progress: Progress) -> bool {
        let record = self.records.entry(id).or_default();
        let is_news = !matches!(record.status, Some(DeliveryStatus::Delivered | DeliveryStatus::Erased));
        if is_news {
            let (status, next_attempt) = (Some(progress.status), progress.next_attempt_unix_ms);
            let last_sent = progress.last_sent.or(record.last_sent);
            let last_answer = progress.last_answer.or(record.last_answer);
            *record = Record { status, next_attempt, leased_until: None, last_sent, last_answer, ..*record };
        }
        is_news
    }

    pub fn reset_for_replay(&mut self, id: u32, replay: ReplayKind, now: u64) {
        let record = self.records.entry(id).or_default();
        if record.status == Some(DeliveryStatus::Erased) {
            return;
        }
        record.status = Some(DeliveryStatus::Pending);
        record.before_replay = Some(*record.attempts.get_or_insert(0));
        record.next_attempt = now;
        record.replay = Some(replay);
        record.last_answer = None;
    }

    pub fn erase(&mut self, id: u32, now: u64) {
        let attempts = self.records.get(&id).and_then(|record| record.attempts).or(Some(0));
        let (status, next_attempt) = (Some(DeliveryStatus::Erased), now);
        self.records.insert(id, Record { status, attempts, next_attempt, ..Record::default() });
    }

    pub fn end(&mut self, id: u32, now: u64) {
        let record = self.records.entry(id).or_default();
        if !matches!(record.status, Some(DeliveryStatus::Delivered | DeliveryStatus::Erased)) {
            record.status = Some(DeliveryStatus::Exhausted);
            record.next_attempt = now;
            record.attempts.get_or_insert(0);
            record.leased_until = None;
        }
    }
}

/// Parked deliveries.
impl Tables {
    pub fn park(&mut self, place: Place, at: u64, id: u32, token: u64) {
        self.parked.entry(place).or_default().insert((at, id), token);
    }

    /// Returns the time, the delivery and the fencing token of each.
    pub fn first_of(&self, place: Place, limit: usize) -> Vec<(u64, u32, u64)> {
        let lane = self.parked.get(&place).into_iter().flatten();
        lane.take(limit).map(|(&(at, id), &token)| (at, id, token)).collect()
    }

    pub fn unpark(&mut self, place: Place, at: u64, id: u32, token: Option<u64>) {
        if let Some(lane) = self.parked.get_mut(&place) {
            if lane.get(&(at, id)).copied() == token {
                lane.remove(&(at, id));
            }
            if lane.is_empty() {
                self.parked.remove(&place);
            }
        }
    }

    pub fn begin_sweep(&mut self, now: u64, until: u64, first_minute: u64) -> Option<SweepState> {
        if self.busy_until.is_some_and(|busy| busy > now) {
            return None;
        }
        self.busy_until = Some(until);
        let first = SweepState { swept_minute: first_minute, ..SweepState::default() };
        Some(self.swept.get_or_insert(first).clone())
    }

    pub fn end_sweep(&mut self, state: SweepState) {
        self.swept = Some(state);
        self.busy_until = None;
    }

    /// Requests a drain; a postponed request stays so.
    pub fn ask_to_drain(&mut self, tenant: &TenantId, endpoint: &EndpointId, now: u64) {
        let first = || Request { tenant: tenant.clone(), asked_at: now, not_before: 0, token: None };
        self.drains.entry(endpoint.clone()).or_insert_with(first).asked_at = now;
    }

    /// Requests a drain by the next run.
    pub fn ask_to_drain_now(&mut self, tenant: &TenantId, endpoint: &EndpointId, now: u64, token: u64) {
        let request = Request { tenant: tenant.clone(), asked_at: now, not_before: 0, token: Some(token) };
        self.drains.insert(endpoint.clone(), request);
    }

    pub fn postpone_drain(&mut self, drain: &Drain, until: u64) {
        let request = self.drains.get_mut(&drain.endpoint);
        if let Some(request) = request.filter(|request| request.token == drain.fencing_token) {
            request.not_before = until;
        }
    }

    pub fn end_drain(&mut self, drain: &Drain) {
        if self.drains.get(&drain.endpoint).is_some_and(|request| request.asked_at == drain.asked_at) {
            self.drains.remove(&drain.endpoint);
        }
    }

    /// The deliveries that are parked to be sent.
    pub fn waiting(&self) -> impl Iterator<Item = u32> {
        let lanes = self.parked.iter().filter(|(place, _)| !matches!(place, Place::Exhausted(_)));
        lanes.flat_map(|(_, lane)| lane.keys().map(|(_, id)| *id))
    }
}

/// Bulk replays.
impl Tables {
    /// As `manage` makes one. Returns false if the tenant has as many as may run.
    pub fn create_replay(&mut self, replay: Replay, noted_at: u64) -> bool {
        let is_taken = |index| {
            self.running_replays.iter().any(|running| running.tenant == replay.tenant && running.index == index)
        };
        let Some(index) = (0..MOST_RUNNING).find(|index| !is_taken(*index)) else { return false };
        let (tenant, id) = (replay.tenant.clone(), replay.id.clone());
        self.running_replays.push(RunningReplay { tenant, index, id, noted_at });
        self.replays.insert((replay.tenant.to_string(), replay.id.clone()), replay);
        true
    }

    pub fn replace_replay(&mut self, after: &Replay) -> bool {
        let before = self.replays.get_mut(&(after.tenant.to_string(), after.id.clone()));
        before.filter(|before| before.version + 1 == after.version).map(|before| *before = after.clone()).is_some()
    }

    pub fn end_running_replay(&mut self, running: &RunningReplay) {
        let is_meant = |other: &RunningReplay| {
            (&other.tenant, other.index, &other.id) == (&running.tenant, running.index, &running.id)
        };
        self.running_replays.retain(|other| !is_meant(other));
    }

    /// Returns the records that are in no list yet.
    pub fn not_listed(&self) -> Vec<u32> {
        self.records.keys().copied().filter(|id| !self.listed.contains(id)).collect()
    }

    pub fn list(&mut self, id: u32, endpoint: usize, position: ListPosition) {
        self.listed.insert(id);
        self.lists.insert((endpoint, position), id);
    }

    /// Looks at `limit` records of a list that have an attempt. Returns those with one of these statuses.
    pub fn oldest_first(
        &self,
        endpoint: usize,
        (from, to): (ListPosition, ListPosition),
        statuses: &[DeliveryStatus],
        limit: usize,
    ) -> (Vec<(ListPosition, u32, Progress)>, Option<ListPosition>) {
        let looked_at: Vec<_> = self.lists.range((endpoint, from)..=(endpoint, to)).take(limit).collect();
        let read_to =
            (looked_at.len() == limit).then(|| looked_at.last().map(|((_, position), _)| *position)).flatten();
        let progress = |id: &u32| self.records.get(id).and_then(|record| record.standing().progress);
        let all = looked_at.into_iter().filter_map(|((_, position), id)| Some((*position, *id, progress(id)?)));
        (all.filter(|(.., progress)| statuses.contains(&progress.status)).collect(), read_to)
    }
}

/// Erasures of tenants.
impl Tables {
    /// As `manage` makes one, if none of the tenant runs.
    pub fn create_erasure(&mut self, erasure: &TenantErasure, noted_at: u64) -> TenantErasure {
        let running = self.running_erasures.iter().find(|running| running.tenant == erasure.tenant);
        if let Some(running) = running {
            return self.erasures[&(running.tenant.to_string(), running.id.clone())].clone();
        }
        let (tenant, id) = (erasure.tenant.clone(), erasure.id.clone());
        self.erasures.insert((tenant.to_string(), id.clone()), erasure.clone());
        self.running_erasures.push(RunningErasure { tenant, id, noted_at });
        erasure.clone()
    }

    pub fn replace_erasure(&mut self, after: &TenantErasure) -> bool {
        let before = self.erasures.get_mut(&(after.tenant.to_string(), after.id.clone()));
        before.filter(|before| before.version + 1 == after.version).map(|before| *before = after.clone()).is_some()
    }

    pub fn erased_until(&self, tenant: &TenantId) -> u64 {
        self.erased_until.get(tenant.as_str()).copied().unwrap_or_default()
    }
}

/// Removes a note, unless it was written again since.
pub fn end_note(notes: &mut BTreeMap<EndpointId, u64>, endpoint: &EndpointId, seen: u64) {
    if notes.get(endpoint) == Some(&seen) {
        notes.remove(endpoint);
    }
}

/// The state of an endpoint that all senders share.
impl Tables {
    pub fn replace_breaker(&mut self, endpoint: usize, before: Option<u64>, breaker: Breaker, version: u64) -> bool {
        let is_same = self.breakers.get(&endpoint).map(|(_, version)| *version) == before;
        if is_same {
            self.breakers.insert(endpoint, (breaker, version));
        }
        is_same
    }

    pub fn held(&self, pool: Pool, limit: Limit) -> Vec<HeldSlot> {
        let of_pool = self.slots.range((pool, 0)..(pool, limit.into()));
        of_pool.map(|(&(_, index), &(_, until_unix_ms))| HeldSlot { index, until_unix_ms }).collect()
    }

    pub fn take_slot(&mut self, slot: (Pool, u16), holder: u64, now: u64, until: u64) -> bool {
        let is_free = self.slots.get(&slot).is_none_or(|(_, until)| *until <= now);
        if is_free {
            self.slots.insert(slot, (holder, until));
        }
        is_free
    }

    pub fn renew_slot(&mut self, slot: (Pool, u16), holder: u64, now: u64, until: u64) -> bool {
        let is_held = self.slots.get(&slot).is_some_and(|(held_by, until)| *held_by == holder && *until > now);
        if is_held {
            self.slots.insert(slot, (holder, until));
        }
        is_held
    }

    pub fn release_slot(&mut self, slot: (Pool, u16), holder: u64) {
        if self.slots.get(&slot).is_some_and(|(held_by, _)| *held_by == holder) {
            self.slots.remove(&slot);
        }
    }

    pub fn count_first(&mut self, endpoint: usize, second: u64, requests: u16) -> Counted {
        let counted = self.seconds.get(&endpoint).copied();
        if counted.is_some_and(|counted| counted.unix_seconds >= second) {
            return Counted::Instead(counted);
        }
        self.seconds.insert(endpoint, Second { unix_seconds: second, begun: requests });
        Counted::Yes
    }

    pub fn count_more(&mut self, endpoint: usize, second: u64, limit: Limit, requests: u16) -> Counted {
        match self.seconds.get_mut(&endpoint) {
            Some(counted) if counted.unix_seconds == second && counted.begun + requests <= u16::from(limit) => {
                counted.begun += requests;
                Counted::Yes
            }
            counted => Counted::Instead(counted.copied()),
        }
    }
}

/// Subscriptions.
impl Tables {
    /// Returns the types and the filters of all endpoints. Those of an unreadable one are `None`.
    pub fn subscriptions(&self) -> Vec<(EndpointId, Option<Subscription>)> {
        let parsed = |(types, filter, sequence): (String, Option<String>, bool)| {
            let mut parsed = Subscription::parse(&types, filter.as_deref())?;
            parsed.sequence = sequence;
            Some(parsed)
        };
        self.chosen().map(|(index, chosen)| (endpoint_id(index), chosen.and_then(parsed))).collect()
    }

    /// Returns a number that changes with the subscriptions and the event types: their hash. `manage` counts its changes.
    pub fn subscriptions_version(&self) -> Option<Version> {
        let mut hasher = DefaultHasher::new();
        self.chosen().for_each(|one| one.hash(&mut hasher));
        self.schemas.hash(&mut hasher);
        let has_event_types = !self.schemas.is_empty();
        let version = Version { number: hasher.finish(), has_event_types, erased_until_unix_ms: 0 };
        (!self.endpoints.is_empty() || version.has_event_types).then_some(version)
    }

    fn chosen(&self) -> impl Iterator<Item = (usize, Option<(String, Option<String>, bool)>)> {
        let stored = self.endpoints.iter().enumerate().filter_map(|(index, stored)| Some((index, stored.as_ref()?)));
        stored.map(|(index, stored)| {
            let types = serde_json::to_string(&stored.settings.types).unwrap();
            let filter = stored.settings.filter.as_ref().map(|filter| filter.json().to_owned());
            (index, (!self.unreadable.contains(&index)).then_some((types, filter, stored.settings.sequence)))
        })
    }
}

/// Endpoints.
impl Tables {
    pub fn disable(&mut self, endpoint: usize, because: DisabledBecause) -> Written {
        let stored = self.endpoints[endpoint].as_mut().filter(|stored| stored.disabled.is_none());
        match stored {
            Some(stored) => {
                stored.disabled = Some(because);
                stored.version += 1;
                Written::Yes
            }
            None => Written::Overtaken,
        }
    }

    pub fn enable(&mut self, endpoint: usize) -> bool {
        let stored = self.endpoints[endpoint].as_mut().filter(|stored| stored.disabled.is_some());
        stored.is_some_and(|stored| {
            stored.disabled = None;
            stored.version += 1;
            self.enabled_versions.insert((endpoint, stored.version));
            true
        })
    }
}

impl Tables {
    pub fn verify(&mut self, endpoint: usize, proved: &str) -> Written {
        let is_asked = |stored: &&mut StoredEndpoint| {
            stored.disabled == Some(DisabledBecause::Unverified) && origin(&stored.settings.url) == proved
        };
        match self.endpoints[endpoint].as_mut().filter(is_asked) {
            Some(stored) => {
                stored.verified_origin = Some(proved.to_owned());
                stored.disabled = None;
                stored.version += 1;
                Written::Yes
            }
            None => Written::Overtaken,
        }
    }
}

/// Token requests.
impl Tables {
    /// As `manage` registers one.
    pub fn register(&mut self, request: TokenRequest) {
        let key = (request.tenant.clone(), request.id.clone());
        self.states.insert(request.state.clone(), key.clone());
        self.token_requests.insert(key, request);
    }

    pub fn record_callback(
        &mut self,
        key: &(TenantId, RequestId),
        state: &SecretHash,
        payload: &str,
        now: u64,
    ) -> Changed {
        let Some(request) = self.token_requests.get_mut(key) else { return Changed::No(None) };
        let is_wanted = match &request.called {
            None => request.expires_at > now,
            Some(called) => called.payload == payload && called.acknowledged_by.is_none(),
        };
        if request.state != *state || !is_wanted {
            return Changed::No(Some(request.clone()));
        }
        let response = || BankResponse { at: now, payload: payload.to_owned(), acknowledged_by: None };
        request.called.get_or_insert_with(response);
        Changed::Yes(request.clone())
    }

    pub fn acknowledge_callback(&mut self, seen: &TokenRequest, by: &str) -> Changed {
        let key = (seen.tenant.clone(), seen.id.clone());
        let Some(request) = self.token_requests.get_mut(&key) else { return Changed::No(None) };
        let called = request.called.as_mut().filter(|_| request.state == seen.state);
        match called {
            Some(called) if called.acknowledged_by.as_deref().is_none_or(|before| before == by) => {
                called.acknowledged_by = Some(by.to_owned());
                Changed::Yes(request.clone())
            }
            _ => Changed::No(Some(request.clone())),
        }
    }
}
