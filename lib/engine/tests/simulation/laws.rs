//! The laws of every world, and figures that show how close a schedule came to breaking them.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use signpost_core::delivery::breaker::Admission;
use signpost_core::delivery::notices::MOST_PER_HOUR;
use signpost_core::delivery::{DeadLetterReason, DeliveryStatus};
use signpost_core::endpoint::{DISABLED_TYPE, DisabledBecause, Endpoint, EndpointId, Limit, NOTICE_TYPES};
use signpost_core::event::Event;
use signpost_core::event::sequence::{self, SequenceNumber};
use signpost_engine::ports::endpoints::Written;

use crate::functions::SWEEP_TIMEOUT_MS;
use crate::tables::{LEASE_MS, Place, index_of};
use crate::world::{Pipe, World, endpoint_id, tenant_name};

/// When every function knows that an endpoint is disabled. A number of its own, because it is a promise to tenants.
const KNOWN_BY_ALL_MS: u64 = 10_000;

/// The true course of events, independent of the tables.
#[derive(Default)]
pub struct Laws {
    /// By delivery.
    pub facts: Vec<Fact>,
    pub events: Vec<Accepted>,
    /// The numbers of Signpost's own events, by id.
    own: HashMap<String, u32>,
    /// By endpoint, a second and how many requests may begin in it.
    seconds: HashMap<usize, (u64, usize)>,
    /// By endpoint with a limit per second, how many requests were counted that have not begun yet.
    granted: HashMap<usize, u32>,
    /// By endpoint that is disabled, since when.
    disabled_since: HashMap<usize, u64>,
    /// By endpoint whose breaker is open, since when, and how many claims of a probe were not used yet.
    open: HashMap<usize, (u64, u32)>,
    /// The endpoints whose breaker an operator has closed, and that are not enabled yet.
    closing: HashSet<usize>,
    /// By endpoint, when notices about it were sent.
    notices: HashMap<String, Vec<u64>>,
    /// Until when the sweep that began last may run.
    sweeping_until: u64,
    /// The holders of slots that they could not release, or do not know to have.
    pub forgotten_slots: HashSet<u64>,
    /// The events whose state can be polled.
    pub states: HashSet<u32>,
    /// By event that was erased, when its operator had the answer.
    pub erased_at: HashMap<u32, u64>,
    /// By tenant that was erased, when its operator had the answer.
    pub tenants_erased_at: HashMap<usize, u64>,
    /// By counter, the numbers that it gave to events, in the order in which they were stored.
    numbers: HashMap<String, Vec<(u32, SequenceNumber)>>,
    /// When the requests of small worlds began.
    pub sent_at: Vec<u64>,
    /// By delivery, until when its event is kept at least.
    pub kept_until: HashMap<u32, u64>,
    pub figures: Figures,
    /// The history of each delivery, if a schedule runs alone.
    pub story: Option<Vec<(u32, String)>>,
}

/// An event that was accepted.
#[derive(Debug)]
pub struct Accepted {
    /// The event itself, if it is one of Signpost's own.
    pub own: Option<Event>,
    /// The endpoints that it goes to.
    pub endpoints: Vec<usize>,
    first_delivery: u32,
}

impl Accepted {
    /// Returns the delivery to an endpoint.
    pub fn delivery_to(&self, endpoint: usize) -> Option<u32> {
        let place = self.endpoints.iter().position(|one| *one == endpoint)?;
        Some(self.first_delivery + u32::try_from(place).unwrap())
    }

    /// Returns all deliveries, each with its endpoint.
    pub fn deliveries(&self) -> impl Iterator<Item = (u32, usize)> {
        (self.first_delivery..).zip(self.endpoints.iter().copied())
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Fact {
    pub endpoint: usize,
    pub accepted_at: u64,
    /// When an attempt was acknowledged first.
    pub acknowledged_at: Option<u64>,
    /// How many attempts were begun and are not on record.
    pub unrecorded: u32,
    sends: u32,
    sending_until: u64,
    pub is_replayed: bool,
    /// Whether an operator is about to replay it, and has no answer yet.
    pub is_being_replayed: bool,
    /// Until when two may be at it. Its first attempt has no lease: another message that is sent before that is on record, by
    /// an operator's replay or because SQS presented its event twice, does not know of it.
    may_overlap_until: u64,
}

/// The worst there was.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub sends: u64,
    pub crashes: u64,
    /// Acknowledged deliveries that were sent again, for the acknowledgement could not be recorded.
    pub repeated: u64,
    pub overlaps: u64,
    pub killed_late: u64,
    pub most_in_flight: usize,
    /// Requests that arrived in a second, in hundredths of the limit: the wire takes its time.
    pub worst_second: usize,
}

impl Figures {
    pub fn add(&mut self, other: &Self) {
        self.sends += other.sends;
        self.crashes += other.crashes;
        self.repeated += other.repeated;
        self.overlaps += other.overlaps;
        self.killed_late += other.killed_late;
        self.most_in_flight = self.most_in_flight.max(other.most_in_flight);
        self.worst_second = self.worst_second.max(other.worst_second);
    }
}

impl Laws {
    /// Notes an event that is accepted. Returns its number.
    pub fn accept(&mut self, own: Option<&Event>, endpoints: &[usize], now: u64) -> u32 {
        let first_delivery = u32::try_from(self.facts.len()).unwrap();
        self.facts.extend(endpoints.iter().map(|&endpoint| Fact { endpoint, accepted_at: now, ..Fact::default() }));
        let number = u32::try_from(self.events.len()).unwrap();
        if let Some(own) = own {
            self.own.insert(own.key.id.to_string(), number);
        }
        self.events.push(Accepted { own: own.cloned(), endpoints: endpoints.to_vec(), first_delivery });
        number
    }

    /// Returns the event of a delivery.
    pub fn event_of(&self, id: u32) -> u32 {
        let behind = self.events.partition_point(|event| event.first_delivery <= id);
        u32::try_from(behind - 1).unwrap()
    }

    /// A notice about an endpoint is sent for the first time. There are few in an hour. Clocks are off by some seconds, and a
    /// notice may wait, so two hours' worth may come together. An operator who enables the endpoint adds one that it is
    /// disabled again.
    pub fn noticed(&mut self, notice: &Event, now: u64) {
        const HOUR: u64 = 3_600_000;
        if notice.kind == DISABLED_TYPE {
            return;
        }
        let of_endpoint = self.notices.entry(notice.subject.clone().unwrap_or_default()).or_default();
        of_endpoint.retain(|at| now < at + HOUR);
        of_endpoint.push(now);
        assert!(of_endpoint.len() <= 2 * MOST_PER_HOUR, "a storm of notices: {} at {of_endpoint:?}", notice.key.id);
    }

    /// An event is stored, with its number if it was counted. Numbers of a counter grow by one, and no event gets two.
    pub fn numbered(&mut self, event: u32, counter: Option<&str>, number: Option<SequenceNumber>) {
        let Some((counter, number)) = counter.zip(number) else { return };
        let is_new = !self.numbers.values().flatten().any(|(other, _)| *other == event);
        assert!(is_new, "event {event} is counted twice");
        let of_counter = self.numbers.entry(counter.to_owned()).or_default();
        if let Some((before, last)) = of_counter.last() {
            assert_eq!(number, last.next(), "event {event} does not follow event {before} of its subject");
        }
        of_counter.push((event, number));
    }

    pub fn own_event(&self, id: &str) -> Option<u32> {
        self.own.get(id).copied()
    }

    /// `fanout` chooses those that an event goes to, except those that are removed.
    pub fn chosen(&self, number: u32, chosen: &[EndpointId], is_removed: impl Fn(usize) -> bool) {
        let chosen: HashSet<_> = chosen.iter().map(index_of).collect();
        let meant = &self.events[number as usize].endpoints;
        assert!(
            chosen.iter().all(|index| meant.contains(index)),
            "event {number} goes to {chosen:?}, not to {meant:?}"
        );
        let forgotten = meant.iter().find(|index| !chosen.contains(index) && !is_removed(**index));
        assert_eq!(forgotten, None, "event {number} goes to {chosen:?}, not to {meant:?}");
    }

    pub fn sent(
        &mut self,
        id: u32,
        tenant_of: fn(usize) -> usize,
        (now, until): (u64, u64),
        is_acknowledged: bool,
        record: Option<DeliveryStatus>,
    ) {
        let erased_at = self.erased_at.get(&self.event_of(id));
        assert!(erased_at.is_none_or(|at| now <= at + LEASE_MS), "delivery {id} is sent, erased at {erased_at:?}");
        let endpoint = self.facts[id as usize].endpoint;
        let tenant_erased_at = self.tenants_erased_at.get(&tenant_of(endpoint));
        assert!(
            tenant_erased_at.is_none_or(|at| now <= at + KNOWN_BY_ALL_MS + LEASE_MS),
            "delivery {id} is sent, its tenant is erased at {tenant_erased_at:?}"
        );
        let fact = &mut self.facts[id as usize];
        let may_overlap = now < fact.may_overlap_until;
        self.figures.sends += 1;
        if self.sent_at.len() < 100 {
            self.sent_at.push(now);
        }
        if fact.sending_until > now {
            self.figures.overlaps += 1;
            assert!(may_overlap, "delivery {id} is sent twice at the same time");
        }
        if record == Some(DeliveryStatus::Delivered) {
            assert!(may_overlap, "delivery {id} is on record as delivered, and sent again");
        }
        if fact.acknowledged_at.is_some() && !fact.is_replayed {
            self.figures.repeated += 1;
            assert!(fact.unrecorded > 0 || may_overlap, "delivery {id} is sent again although nothing crashed");
        }
        fact.sends += 1;
        fact.unrecorded += 1;
        fact.sending_until = fact.sending_until.max(until);
        if is_acknowledged {
            fact.acknowledged_at.get_or_insert(until);
        }
    }

    pub fn recorded(&mut self, id: u32, now: u64) {
        let fact = &mut self.facts[id as usize];
        fact.unrecorded -= 1;
        fact.may_overlap_until = fact.may_overlap_until.min(now + LEASE_MS);
    }

    pub fn at_once(requests: usize, endpoint: &Endpoint) {
        if let Some(limit) = endpoint.max_concurrency {
            assert!(requests <= u16::from(limit).into(), "{requests} requests at once, of {limit:?}");
        }
    }

    /// A request may begin in a second of the clock of who asked.
    pub fn granted(&mut self, endpoint: usize, second: u64, limit: Limit) {
        let (counted, begun) = self.seconds.entry(endpoint).or_default();
        assert!(*counted <= second, "a request begins in a second that is over");
        *begun = if *counted == second { *begun + 1 } else { 1 };
        *counted = second;
        *self.granted.entry(endpoint).or_default() += 1;
        assert!(*begun <= usize::from(u16::from(limit)), "{begun} requests begin in a second, of {limit:?}");
    }

    /// A request to an endpoint begins.
    pub fn begins(&mut self, endpoint: usize, limit: Option<Limit>, now: u64) {
        if limit.is_some() {
            let granted = self.granted.entry(endpoint).or_default();
            assert!(*granted > 0, "a request to endpoint {endpoint} was not counted in its second");
            *granted -= 1;
        }
        if let Some(since) = self.disabled_since.get(&endpoint) {
            let known_by = since + KNOWN_BY_ALL_MS + LEASE_MS;
            assert!(now < known_by, "endpoint {endpoint} gets a request, although it is disabled since {since}");
        }
    }

    /// A request begins while the breaker of its endpoint is open. Every function reads it every two seconds.
    pub fn begins_while_open(&mut self, endpoint: usize, now: u64) {
        let Some((since, probes)) = self.open.get_mut(&endpoint) else { return };
        if *since + LEASE_MS < now {
            assert!(
                *probes > 0,
                "endpoint {endpoint} gets a request that is no probe; its breaker is open since {since}"
            );
            *probes -= 1;
        }
    }

    /// A function replaces a breaker.
    pub fn breaker_changes(&mut self, endpoint: usize, before: Admission, after: Admission, now: u64) {
        match (before, after) {
            (_, Admission::Send) => drop(self.open.remove(&endpoint)),
            (Admission::Send, _) => drop(self.open.insert(endpoint, (now, 0))),
            (Admission::Probe, Admission::Park) => self.open.entry(endpoint).or_insert((now, 0)).1 += 1,
            (Admission::Probe | Admission::Park, Admission::Probe | Admission::Park) => {}
        }
    }

    pub fn disabled(&mut self, endpoint: usize, now: u64) {
        self.disabled_since.entry(endpoint).or_insert(now);
    }

    /// An operator enables an endpoint, and closes its breaker.
    pub fn enabled(&mut self, endpoint: usize) {
        self.disabled_since.remove(&endpoint);
        self.closing.remove(&endpoint);
    }

    pub fn closed(&mut self, endpoint: usize) {
        self.open.remove(&endpoint);
        self.closing.insert(endpoint);
    }

    /// A sweep begins. The one before it has ended, or was killed.
    pub fn sweeps(&mut self, now: u64) {
        assert!(self.sweeping_until <= now, "a sweep begins while another one may run until {}", self.sweeping_until);
        self.sweeping_until = now + SWEEP_TIMEOUT_MS;
    }

    pub fn sweep_ends(&mut self) {
        self.sweeping_until = 0;
    }

    pub fn in_a_second(&mut self, requests: usize, endpoint: &Endpoint) {
        if let Some(limit) = endpoint.max_per_second {
            let percent = 100 * requests / usize::from(u16::from(limit));
            self.figures.worst_second = self.figures.worst_second.max(percent);
        }
    }
}

impl World {
    /// Returns whether laws hold about the order of calls. A test that observes single calls makes some of them itself.
    pub fn has_laws(&self) -> bool {
        self.watch.borrow().is_none()
    }

    /// Another message of a delivery is about to be sent.
    pub fn may_overlap(&self, id: u32) {
        let is_on_record = self.tables.borrow().standing(id).is_some_and(|standing| standing.progress.is_some());
        if !is_on_record {
            self.laws.borrow_mut().facts[id as usize].may_overlap_until = u64::MAX;
        }
    }

    /// A delivery is about to be parked: the request that moves it again was made.
    pub fn check_parking(&self, place: Place, at: u64, id: u32) {
        if !self.has_laws() {
            return;
        }
        let (tables, laws) = (self.tables.borrow(), self.laws.borrow());
        let is_kept_until = |until| laws.kept_until.get(&id).is_some_and(|kept| *kept >= until);
        match place {
            Place::Due { .. } => {
                assert!(is_kept_until(at), "the event of delivery {id} may expire before it is due");
            }
            Place::Endpoint(index) => {
                let endpoint = endpoint_id(index);
                assert!(is_kept_until(u64::MAX), "the event of delivery {id} may expire while it waits");
                assert!(tables.waiting.contains_key(&endpoint), "nothing watches how long delivery {id} waits");
                let is_disabled = tables.endpoints[index].as_ref().is_some_and(|stored| stored.disabled.is_some());
                let request = tables.drains.get(&endpoint);
                assert!(
                    is_disabled || request.is_some(),
                    "delivery {id} is parked, and no drain of its endpoint was requested"
                );
                let latest_clock = self.now() + 2 * self.plan.skew_ms;
                let not_before = request.map(|request| request.not_before).filter(|until| *until > latest_clock);
                let open_until = tables.breakers.get(&index).and_then(|(breaker, _)| breaker.open_until());
                let is_in_time = not_before <= open_until || laws.closing.contains(&index);
                assert!(is_in_time, "delivery {id} waits until {not_before:?}, its breaker until {open_until:?}");
            }
            Place::Exhausted(_) => {}
        }
    }

    /// A delivery is about to be a dead letter: its reason is right, and an operator can see and recover it.
    pub fn check_dead_letter(&self, id: u32, reason: DeadLetterReason) {
        if !self.has_laws() {
            return;
        }
        let (tables, laws) = (self.tables.borrow(), self.laws.borrow());
        let erased_at = laws.tenants_erased_at.get(&self.tenant_of(id));
        assert!(
            erased_at.is_none_or(|at| self.now() <= at + KNOWN_BY_ALL_MS + LEASE_MS),
            "delivery {id} is a dead letter, its tenant is erased at {erased_at:?}"
        );
        let (fact, status) = (&laws.facts[id as usize], tables.records.get(&id).and_then(|record| record.status));
        let is_noted = || {
            let noted = tables.parked.get(&Place::Exhausted(fact.endpoint));
            noted.is_some_and(|noted| noted.keys().any(|(_, one)| *one == id))
        };
        match reason {
            DeadLetterReason::Exhausted => {
                let is_exhausted = status == Some(DeliveryStatus::Exhausted) || fact.is_replayed;
                assert!(
                    is_exhausted,
                    "delivery {id} is a dead letter because it is exhausted, and on record as {status:?}"
                );
                assert!(is_noted(), "delivery {id} is exhausted, and no operator can recover it");
            }
            DeadLetterReason::EndpointGone => {
                assert!(
                    tables.endpoints[fact.endpoint].is_none(),
                    "delivery {id} is a dead letter; its endpoint exists"
                );
                let is_delivered = status == Some(DeliveryStatus::Delivered);
                let is_old = fact.acknowledged_at.is_some_and(|at| at + LEASE_MS < self.now());
                assert!(!is_delivered || !is_old, "delivery {id} is delivered, and a dead letter afterwards");
            }
            DeadLetterReason::EventGone => {
                assert!(
                    !tables.events.contains_key(&laws.event_of(id)),
                    "delivery {id} is a dead letter; its event exists"
                );
            }
            DeadLetterReason::Deferred => {
                assert!(is_noted(), "delivery {id} was held up, and no operator can recover it");
            }
            DeadLetterReason::BadMessage => panic!("the message of delivery {id} is taken for a foreign one"),
        }
    }

    /// Disables an endpoint. If a function does that, its event was sent before, so that a crash cannot lose it.
    pub fn disable(&self, index: usize, because: DisabledBecause) -> Written {
        let version = self.tables.borrow().endpoints[index].as_ref().map(|stored| stored.version);
        let written = self.tables.borrow_mut().disable(index, because);
        if written == Written::Yes {
            self.laws.borrow_mut().disabled(index, self.now());
            let id = format!("disabled-{}-{}-{}", endpoint_id(index), version.unwrap_or_default(), because.as_str());
            let is_told =
                !self.has_laws() || because == DisabledBecause::Operator || self.laws.borrow().own_event(&id).is_some();
            assert!(is_told, "endpoint {index} is disabled, and its event `{id}` was not sent before");
        }
        written
    }

    /// No slot is held by a function that has ended, unless it was killed or its release failed.
    pub fn check_that_slots_are_free(&self) {
        let (tables, laws) = (self.tables.borrow(), self.laws.borrow());
        let mut holders = tables.slots.iter().filter(|(_, (holder, _))| !laws.forgotten_slots.contains(holder));
        let held = holders.next();
        assert_eq!(held, None, "a slot is held, and nothing is being sent");
    }

    /// The events that an endpoint with `sequence` gets have a number, each another one of its subject, and no event else.
    pub fn check_numbers(&self) {
        let (tables, laws) = (self.tables.borrow(), self.laws.borrow());
        let mut given = HashSet::new();
        for (number, first) in &tables.events {
            let asks = |id: &EndpointId| {
                let stored = tables.endpoints[index_of(id)].as_ref();
                stored.is_some_and(|stored| stored.settings.sequence)
            };
            let is_removed = first.endpoints.iter().any(|id| tables.endpoints[index_of(id)].is_none());
            let is_own = laws.events[*number as usize].own.is_some();
            assert!(!is_own || first.number.is_none(), "notice {number} is counted");
            if !is_own && !is_removed {
                let is_counted = first.endpoints.iter().any(asks);
                assert_eq!(first.number.is_some(), is_counted, "event {number} goes to {:?}", first.endpoints);
            }
            if let Some(one) = first.number {
                let subject = sequence::counter(&self.event(*number));
                assert!(given.insert((subject, one)), "number {one} is given twice");
            }
        }
    }

    /// Nothing that was accepted is gone: it is delivered, or parked, or in a queue, or a dead letter with its reason.
    pub fn check_that_nothing_is_lost(&self) {
        let (tables, laws) = (self.tables.borrow(), self.laws.borrow());
        let of = |pipe: &Pipe| pipe.queue.borrow().bodies().collect::<HashSet<_>>();
        let (accepted, own) = (of(&self.events), of(&self.own_events));
        let (queued, slow, dead) = (of(&self.deliveries), of(&self.slow_deliveries), of(&self.dead_letters));
        let parked: HashSet<_> = tables.waiting().collect();
        for pipe in [&self.deliveries, &self.slow_deliveries] {
            let given_up = &pipe.queue.borrow().given_up;
            assert!(given_up.is_empty(), "{given_up:?} are dead letters without a reason");
        }
        assert!(self.rejected.queue.borrow().is_empty(), "valid events are rejected");
        let copies = of(&self.notices);
        let is_erased = |laws: &Laws, number| {
            let tenant = tenant_name(self.tenant_of_number(laws, number));
            tables.erased_until.contains_key(&tenant)
        };
        let is_notice = |event: &Event| NOTICE_TYPES.contains(&&*event.kind);
        let noticed = (0..).zip(&laws.events).filter(|(_, event)| event.own.as_ref().is_some_and(is_notice));
        for (number, _) in noticed {
            let is_copied = copies.contains(&number) || own.contains(&number) || is_erased(&laws, number);
            assert!(is_copied, "the operator does not get notice {number}");
        }
        for (number, event) in (0..).zip(&laws.events) {
            if is_erased(&laws, number) {
                continue;
            }
            let Some(first) = tables.events.get(&number) else {
                let is_on_its_way =
                    accepted.contains(&number) || own.contains(&number) || tables.erased.contains(&number);
                assert!(is_on_its_way, "event {number} is lost");
                continue;
            };
            if accepted.contains(&number) || own.contains(&number) || tables.erased.contains(&number) {
                continue; // It is fanned out again, or erased.
            }
            for id in first.endpoints.iter().filter_map(|endpoint| event.delivery_to(index_of(endpoint))) {
                let is_delivered =
                    tables.records.get(&id).is_some_and(|record| record.status == Some(DeliveryStatus::Delivered));
                let fact = &laws.facts[id as usize];
                assert!(!is_delivered || fact.acknowledged_at.is_some(), "delivery {id} never was");
                let status = tables.records.get(&id).and_then(|record| record.status);
                let is_being_erased = status == Some(DeliveryStatus::Erased); // Its event is erased last.
                let is_kept = is_delivered
                    || is_being_erased
                    || (fact.is_being_replayed && fact.acknowledged_at.is_some())
                    || queued.contains(&id)
                    || slow.contains(&id)
                    || parked.contains(&id)
                    || dead.contains(&id);
                assert!(is_kept, "delivery {id} is lost: {fact:?}, {:?}", tables.records.get(&id));
            }
        }
    }

    /// One of the deliveries whose events an operator can see.
    pub fn any_delivery(&self, chosen: u32) -> Option<(u32, EndpointId)> {
        let tables = self.tables.borrow();
        let mut seen: Vec<_> = tables.events.iter().collect();
        seen.sort_unstable_by_key(|(number, _)| **number);
        let all = seen.iter().flat_map(|(number, first)| first.endpoints.iter().map(|id| (**number, id.clone())));
        let all: Vec<_> = all.collect();
        all.get(chosen as usize % all.len().max(1)).cloned()
    }

    /// One of the producers' events that were accepted, whether it has arrived or not.
    pub fn any_event(&self, chosen: u32) -> Option<u32> {
        let laws = self.laws.borrow();
        let of_producers: Vec<_> =
            (0..).zip(&laws.events).filter(|(_, event)| event.own.is_none()).map(|(number, _)| number).collect();
        of_producers.get(chosen as usize % of_producers.len().max(1)).copied()
    }

    /// Everything has come to its end: acknowledged, or a dead letter.
    pub fn is_all_over(&self) -> bool {
        let pipes = [&self.events, &self.own_events, &self.deliveries, &self.slow_deliveries];
        pipes.iter().all(|pipe| pipe.queue.borrow().is_empty()) && self.tables.borrow().waiting().next().is_none()
    }
}

/// Records everything that happens, and prints it if a law is broken.
pub struct Story(Rc<World>);

impl Story {
    pub fn of(world: &Rc<World>) -> Self {
        world.laws.borrow_mut().story = Some(Vec::new());
        Self(Rc::clone(world))
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        let Ok(mut laws) = self.0.laws.try_borrow_mut() else { return };
        if std::thread::panicking() {
            eprintln!("{:?}", self.0.plan);
            let tables = self.0.tables.borrow();
            eprintln!("{:?}\ndrains: {:?}\nbreakers: {:?}", tables.endpoints, tables.drains, tables.breakers);
            eprintln!("slots: {:?}, sweep: {:?} {:?}", tables.slots, tables.busy_until, tables.swept);
            eprintln!("{:?}", self.0.receivers.borrow());
            for (id, what) in laws.story.take().into_iter().flatten() {
                eprintln!("delivery {id:>4}  {what}");
            }
        }
    }
}
