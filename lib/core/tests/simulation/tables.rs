//! The tables, with the conditional writes that `lib/io` makes. Each method is one call, and happens at once.

use std::collections::{BTreeMap, HashMap};

use signpost_core::delivery::breaker::Breaker;
use signpost_core::delivery::limits::{HeldSlot, Second};
use signpost_core::delivery::parking::Lane;
use signpost_core::delivery::{
    DeadLetterReason, DeliveryKey, DeliveryRecord, DeliveryStatus, EARLY_MS, LONGEST_ATTEMPT, Progress, Receipt,
};
use signpost_core::endpoint::retry::RetryPolicy;
use signpost_core::endpoint::{EndpointId, Limit};
use signpost_core::event::{EventId, EventKey, TenantId};
use uuid::Uuid;

pub const LEASE_MS: u64 = LONGEST_ATTEMPT.as_secs() * 1_000;

/// Everything that is stored. Deliveries and endpoints are numbers.
#[derive(Default)]
pub struct Tables {
    pub endpoints: Vec<Option<Endpoint>>,
    /// By event: the message that brought it, and when.
    pub claims: HashMap<u32, (u64, u64)>,
    pub records: HashMap<u32, Record>,
    pub breakers: HashMap<usize, (Breaker, u64)>,
    pub slots: BTreeMap<(usize, u16), (u64, u64)>,
    pub seconds: HashMap<usize, Second>,
    pub parked: BTreeMap<Place, BTreeMap<(u64, u32), u64>>,
    /// How often something was parked.
    pub parkings: u64,
    pub drains: BTreeMap<usize, u64>,
    pub busy_until: Option<u64>,
    pub swept_minute: Option<u64>,
    pub dead_letters: HashMap<u32, Vec<DeadLetterReason>>,
}

#[derive(Clone, Debug)]
pub struct Endpoint {
    pub is_enabled: bool,
    pub retry: RetryPolicy,
    pub timeout_ms: u64,
    pub max_concurrency: Option<Limit>,
    pub max_per_second: Option<Limit>,
}

/// A delivery's item in `EventsTable`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Record {
    pub status: Option<DeliveryStatus>,
    attempts: Option<u32>,
    before_replay: Option<u32>,
    next_attempt: u64,
    leased_until: Option<u64>,
}

/// A lane that holds deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Due { minute: u64, shard: u8 },
    Endpoint(usize),
    Exhausted(usize),
}

#[derive(Clone, Copy, Debug)]
pub struct Parked {
    pub place: Place,
    pub at: u64,
    pub id: u32,
    /// Which parking it is: the same place may be taken again.
    parking: u64,
}

pub enum Claim {
    Taken(u64, Option<DeliveryRecord>),
    Refused(Option<DeliveryRecord>),
}

impl Record {
    fn standing(&self) -> DeliveryRecord {
        let progress = self.attempts.map(|attempts| Progress {
            status: self.status.unwrap(),
            attempts,
            before_replay: self.before_replay.unwrap_or_default(),
            next_attempt_unix_ms: self.next_attempt,
            replay: None,
            last_sent: None,
        });
        DeliveryRecord { progress, leased_until_unix_ms: self.leased_until.unwrap_or_default() }
    }
}

// `lib/io/src/tables/deliveries.rs`.
impl Tables {
    pub fn standing(&self, id: u32) -> Option<DeliveryRecord> {
        self.records.get(&id).map(Record::standing)
    }

    pub fn claim(&mut self, id: u32, receipt: &Receipt, now: u64) -> Claim {
        let (record, standing) = (self.records.get(&id), self.standing(id));
        let is_free = record.and_then(|one| one.leased_until).is_none_or(|until| until <= now);
        let is_due = record.is_none_or(|one| match one.status {
            None => true,
            Some(status) => status == DeliveryStatus::Pending && one.next_attempt <= now + EARLY_MS,
        });
        let is_known = now >= receipt.first_may_send_until() || record.is_some();
        if !(is_free && is_due && is_known) {
            return Claim::Refused(standing);
        }
        self.records.entry(id).or_default().leased_until = Some(now + LEASE_MS);
        Claim::Taken(now + LEASE_MS, standing)
    }

    pub fn release_lease(&mut self, id: u32, lease: Option<u64>) {
        let held = self.records.get(&id).and_then(|record| record.leased_until);
        if lease == held {
            self.records.entry(id).or_default().leased_until = Some(0);
        }
    }

    pub fn record_next(&mut self, id: u32, on_record: Option<u64>, progress: Progress) -> bool {
        let record = self.records.entry(id).or_default();
        let is_next = match on_record {
            None => record.attempts.is_none(),
            Some(due) => {
                record.attempts == Some(progress.attempts - 1)
                    && record.status == Some(DeliveryStatus::Pending)
                    && record.next_attempt == due
            }
        };
        if is_next {
            *record = Record {
                status: Some(progress.status),
                attempts: Some(progress.attempts),
                before_replay: Some(progress.before_replay),
                next_attempt: progress.next_attempt_unix_ms,
                leased_until: None,
            };
        }
        is_next
    }

    pub fn record_acknowledgement(&mut self, id: u32, progress: Progress) -> bool {
        let record = self.records.entry(id).or_default();
        let is_news = record.status != Some(DeliveryStatus::Delivered);
        if is_news {
            let (status, next_attempt) = (Some(progress.status), progress.next_attempt_unix_ms);
            *record = Record { status, next_attempt, leased_until: None, ..*record };
        }
        is_news
    }

    pub fn begin_anew(&mut self, id: u32, now: u64) {
        let record = self.records.entry(id).or_default();
        record.status = Some(DeliveryStatus::Pending);
        record.before_replay = Some(*record.attempts.get_or_insert(0));
        record.next_attempt = now;
    }

    pub fn end(&mut self, id: u32, now: u64) {
        let record = self.records.entry(id).or_default();
        if record.status != Some(DeliveryStatus::Delivered) {
            record.status = Some(DeliveryStatus::Exhausted);
            record.next_attempt = now;
            record.attempts.get_or_insert(0);
            record.leased_until = None;
        }
    }
}

// `lib/io/src/tables/parking.rs`.
impl Tables {
    pub fn park(&mut self, place: Place, at: u64, id: u32) {
        self.parkings += 1;
        self.parked.entry(place).or_default().insert((at, id), self.parkings);
    }

    pub fn first_of(&self, place: Place, limit: usize) -> Vec<Parked> {
        let lane = self.parked.get(&place).into_iter().flatten();
        lane.take(limit).map(|(&(at, id), &parking)| Parked { place, at, id, parking }).collect()
    }

    pub fn unpark(&mut self, parked: &Parked) {
        if let Some(lane) = self.parked.get_mut(&parked.place) {
            if lane.get(&(parked.at, parked.id)) == Some(&parked.parking) {
                lane.remove(&(parked.at, parked.id));
            }
            if lane.is_empty() {
                self.parked.remove(&parked.place);
            }
        }
    }

    pub fn end_drain(&mut self, endpoint: usize, asked_at: u64) {
        if self.drains.get(&endpoint) == Some(&asked_at) {
            self.drains.remove(&endpoint);
        }
    }

    pub fn begin_sweep(&mut self, now: u64, until: u64, first_minute: u64) -> Option<u64> {
        if self.busy_until.is_some_and(|busy| busy > now) {
            return None;
        }
        self.busy_until = Some(until);
        Some(*self.swept_minute.get_or_insert(first_minute))
    }

    pub fn end_sweep(&mut self, minute: u64) {
        self.swept_minute = Some(minute);
        self.busy_until = None;
    }
}

// `lib/io/src/tables/breakers.rs` and `lib/io/src/tables/limits.rs`.
impl Tables {
    pub fn replace_breaker(&mut self, endpoint: usize, before: Option<u64>, breaker: Breaker, version: u64) -> bool {
        let is_same = self.breakers.get(&endpoint).map(|(_, version)| *version) == before;
        if is_same {
            self.breakers.insert(endpoint, (breaker, version));
        }
        is_same
    }

    pub fn held(&self, endpoint: usize) -> Vec<HeldSlot> {
        let of_endpoint = self.slots.range((endpoint, 0)..=(endpoint, u16::MAX));
        of_endpoint.map(|(&(_, index), &(_, until_unix_ms))| HeldSlot { index, until_unix_ms }).collect()
    }

    pub fn take_slot(&mut self, slot: (usize, u16), holder: u64, now: u64) -> bool {
        let is_free = self.slots.get(&slot).is_none_or(|(_, until)| *until <= now);
        if is_free {
            self.slots.insert(slot, (holder, now + LEASE_MS));
        }
        is_free
    }

    pub fn renew_slot(&mut self, slot: (usize, u16), holder: u64, now: u64) -> bool {
        let is_held = self.slots.get(&slot).is_some_and(|(held_by, until)| *held_by == holder && *until > now);
        if is_held {
            self.slots.insert(slot, (holder, now + LEASE_MS));
        }
        is_held
    }

    pub fn release_slot(&mut self, slot: (usize, u16), holder: u64) {
        if self.slots.get(&slot).is_some_and(|(held_by, _)| *held_by == holder) {
            self.slots.remove(&slot);
        }
    }

    /// Counts a request in a second; gives what there is instead if that cannot be.
    pub fn count(&mut self, endpoint: usize, limit: Limit, second: u64, is_first: bool) -> Result<(), Option<Second>> {
        let counted = self.seconds.get(&endpoint).copied();
        let next = match counted {
            None if is_first => Second { unix_seconds: second, begun: 1 },
            Some(counted) if is_first && counted.unix_seconds < second => Second { unix_seconds: second, begun: 1 },
            Some(counted) if !is_first && counted.unix_seconds == second && counted.begun < u16::from(limit) => {
                Second { begun: counted.begun + 1, ..counted }
            }
            counted => return Err(counted),
        };
        self.seconds.insert(endpoint, next);
        Ok(())
    }
}

/// The lane of a delivery that is due at a moment.
pub fn due_at(unix_ms: u64, id: u32, endpoint: usize) -> Place {
    let event = EventKey {
        tenant: TenantId::parse("acme").unwrap(),
        source: "/core".into(),
        id: EventId::parse(&format!("e{id}")).unwrap(),
    };
    let endpoint = EndpointId::new(Uuid::from_u128(endpoint as u128));
    match Lane::due_at(unix_ms, DeliveryKey { event: &event, endpoint: &endpoint, arrived_unix_ms: 0 }) {
        Lane::Due { minute, shard } => Place::Due { minute, shard },
        Lane::Endpoint(_) | Lane::Exhausted(_) => unreachable!("what is due at a moment stands in a minute's lane"),
    }
}

impl Tables {
    /// The deliveries that are parked to be sent.
    pub fn waiting(&self) -> impl Iterator<Item = u32> {
        let lanes = self.parked.iter().filter(|(place, _)| !matches!(place, Place::Exhausted(_)));
        lanes.flat_map(|(_, lane)| lane.keys().map(|(_, id)| *id))
    }
}
