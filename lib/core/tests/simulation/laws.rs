//! The laws of every world, and figures that show how close a schedule came to breaking them.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::rc::Rc;

use signpost_core::delivery::DeliveryStatus;
use signpost_core::endpoint::Limit;

use crate::tables::{Endpoint, LEASE_MS};
use crate::world::World;

/// The true course of events, independent of the tables.
#[derive(Default)]
pub struct Laws {
    /// By delivery.
    pub facts: Vec<Fact>,
    /// By event, its deliveries.
    pub events: Vec<Range<u32>>,
    /// By endpoint, a second and how many requests may begin in it.
    seconds: HashMap<usize, (u64, usize)>,
    pub figures: Figures,
    /// The history of each delivery, if a schedule runs alone.
    pub story: Option<Vec<(u32, String)>>,
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
    /// An event that is accepted, to endpoints.
    pub fn accept(&mut self, endpoints: &[usize], now: u64) -> u32 {
        let first = u32::try_from(self.facts.len()).unwrap();
        self.facts.extend(endpoints.iter().map(|&endpoint| Fact { endpoint, accepted_at: now, ..Fact::default() }));
        self.events.push(first..u32::try_from(self.facts.len()).unwrap());
        u32::try_from(self.events.len() - 1).unwrap()
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
        let (tables, laws, queue) = (self.tables.borrow(), self.laws.borrow(), self.deliveries.borrow());
        let accepted: HashSet<_> = self.events.borrow().bodies().collect();
        let queued: HashSet<_> = queue.bodies().collect();
        let parked: HashSet<_> = tables.waiting().collect();
        assert!(queue.given_up.is_empty(), "{:?} are dead letters without a reason", queue.given_up);
        for (event, deliveries) in laws.events.iter().enumerate() {
            if accepted.contains(&u32::try_from(event).unwrap()) {
                continue;
            }
            for id in deliveries.clone() {
                let is_delivered =
                    tables.records.get(&id).is_some_and(|record| record.status == Some(DeliveryStatus::Delivered));
                assert!(!is_delivered || laws.facts[id as usize].acknowledged_at.is_some(), "delivery {id} never was");
                let fact = &laws.facts[id as usize];
                let is_kept = is_delivered
                    || (fact.is_being_replayed && fact.acknowledged_at.is_some())
                    || queued.contains(&id)
                    || parked.contains(&id)
                    || tables.dead_letters.contains_key(&id);
                assert!(is_kept, "delivery {id} is lost: {fact:?}, {:?}", tables.records.get(&id));
            }
        }
    }

    /// One of the deliveries whose events an operator can see.
    pub fn any_delivery(&self, chosen: u32) -> Option<u32> {
        let (laws, tables) = (self.laws.borrow(), self.tables.borrow());
        let seen = laws.events.iter().zip(0..).filter(|(_, event)| tables.claims.contains_key(event));
        let ids: Vec<_> = seen.flat_map(|(ids, _)| ids.clone()).collect();
        ids.get(chosen as usize % ids.len().max(1)).copied()
    }

    /// Everything has come to its end: acknowledged, or a dead letter.
    pub fn is_all_over(&self) -> bool {
        let is_idle = self.events.borrow().is_empty() && self.deliveries.borrow().is_empty();
        is_idle && self.tables.borrow().waiting().next().is_none()
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
