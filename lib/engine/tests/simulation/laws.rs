//! The laws of every world, and figures that show how close a schedule came to breaking them.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use signpost_core::delivery::DeliveryStatus;
use signpost_core::endpoint::{Endpoint, EndpointId, Limit};
use signpost_core::event::Event;

use crate::tables::{LEASE_MS, index_of};
use crate::world::{Pipe, World};

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

    pub fn sent(&mut self, id: u32, now: u64, until: u64, is_acknowledged: bool, record: Option<DeliveryStatus>) {
        let fact = &mut self.facts[id as usize];
        let may_overlap = now < fact.may_overlap_until;
        self.figures.sends += 1;
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
        assert!(*begun <= usize::from(u16::from(limit)), "{begun} requests begin in a second, of {limit:?}");
    }

    pub fn in_a_second(&mut self, requests: usize, endpoint: &Endpoint) {
        if let Some(limit) = endpoint.max_per_second {
            let percent = 100 * requests / usize::from(u16::from(limit));
            self.figures.worst_second = self.figures.worst_second.max(percent);
        }
    }
}

impl World {
    /// Another message of a delivery is about to be sent.
    pub fn may_overlap(&self, id: u32) {
        let is_on_record = self.tables.borrow().standing(id).is_some_and(|standing| standing.progress.is_some());
        if !is_on_record {
            self.laws.borrow_mut().facts[id as usize].may_overlap_until = u64::MAX;
        }
    }

    /// Nothing that was accepted is gone: it is delivered, or parked, or in a queue, or a dead letter with its reason.
    pub fn check_that_nothing_is_lost(&self) {
        let (tables, laws) = (self.tables.borrow(), self.laws.borrow());
        let of = |pipe: &Pipe| pipe.queue.borrow().bodies().collect::<HashSet<_>>();
        let (accepted, own) = (of(&self.events), of(&self.own_events));
        let (queued, dead) = (of(&self.deliveries), of(&self.dead_letters));
        let parked: HashSet<_> = tables.waiting().collect();
        let given_up = &self.deliveries.queue.borrow().given_up;
        assert!(given_up.is_empty(), "{given_up:?} are dead letters without a reason");
        assert!(self.rejected.queue.borrow().is_empty(), "valid events are rejected");
        for (number, event) in (0..).zip(&laws.events) {
            let Some(first) = tables.events.get(&number) else {
                let is_on_its_way = accepted.contains(&number) || own.contains(&number);
                assert!(is_on_its_way, "event {number} is lost");
                continue;
            };
            if accepted.contains(&number) || own.contains(&number) {
                continue; // It is fanned out again.
            }
            for id in first.endpoints.iter().filter_map(|endpoint| event.delivery_to(index_of(endpoint))) {
                let is_delivered =
                    tables.records.get(&id).is_some_and(|record| record.status == Some(DeliveryStatus::Delivered));
                let fact = &laws.facts[id as usize];
                assert!(!is_delivered || fact.acknowledged_at.is_some(), "delivery {id} never was");
                let is_kept = is_delivered
                    || (fact.is_being_replayed && fact.acknowledged_at.is_some())
                    || queued.contains(&id)
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

    /// Everything has come to its end: acknowledged, or a dead letter.
    pub fn is_all_over(&self) -> bool {
        let pipes = [&self.events, &self.own_events, &self.deliveries];
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
            eprintln!("slots: {:?}, sweep: {:?} {:?}", tables.slots, tables.busy_until, tables.swept_minute);
            eprintln!("{:?}", self.0.receivers.borrow());
            for (id, what) in laws.story.take().into_iter().flatten() {
                eprintln!("delivery {id:>4}  {what}");
            }
        }
    }
}
