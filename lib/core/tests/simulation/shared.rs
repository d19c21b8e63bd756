//! The breakers and limits in each process: step by step as `lib/io/src/tables/breakers.rs` and `lib/io/src/tables/limits.rs`.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use signpost_core::delivery::attempt::AttemptResult;
use signpost_core::delivery::breaker::{Admission, Breaker, Outcomes, SILENT_AFTER};
use signpost_core::delivery::limits::{begin, free_slots};
use signpost_core::endpoint::Limit;

use crate::clock::{Lock, lock};
use crate::world::{Fault, Process, World};

pub struct Breakers {
    process: Process,
    known: RefCell<HashMap<usize, Rc<Known>>>,
}

#[derive(Default)]
struct Known {
    untold: RefCell<Outcomes>,
    lock: Rc<Lock>,
    read: RefCell<Option<Read>>,
    slowest_ms: Cell<u64>,
}

#[derive(Clone)]
struct Read {
    at: u64,
    breaker: Breaker,
    version: Option<u64>,
}

const REMEMBERED_FOR_MS: u64 = 2_000;
const ROUNDS: usize = 5;

impl Breakers {
    pub fn new(process: &Process) -> Self {
        Self { process: process.clone(), known: RefCell::default() }
    }

    pub async fn get(&self, endpoint: usize) -> Breaker {
        let known = self.known(endpoint);
        let _held = lock(&known.lock, &self.process.world.clock).await;
        let read = known.read.borrow().clone();
        match read {
            Some(one) if (one.at..one.at + REMEMBERED_FOR_MS).contains(&self.process.now()) => one.breaker,
            _ => self.refresh(endpoint, &known).await,
        }
    }

    pub async fn claim_probe(&self, endpoint: usize) -> bool {
        let known = self.known(endpoint);
        let _held = lock(&known.lock, &self.process.world.clock).await;
        let (breaker, now) = (self.refresh(endpoint, &known).await, self.process.now());
        breaker.admits(now) == Admission::Probe && self.replace(endpoint, &known, breaker.probing(now)).await
    }

    pub async fn watch<T>(&self, endpoint: usize, exchange: impl Future<Output = T>) -> T {
        let known = self.known(endpoint);
        let silent_after = u64::try_from(SILENT_AFTER.as_millis()).unwrap();
        let patience = silent_after.max(2 * known.slowest_ms.get());
        let mut exchange = pin!(exchange);
        let mut telling = pin!(async {
            self.process.world.clock.sleep(patience).await;
            known.untold.borrow_mut().add_silence();
            self.tell(endpoint, &known).await;
        });
        let mut is_told = false;
        poll_fn(|context| {
            if let Poll::Ready(done) = exchange.as_mut().poll(context) {
                return Poll::Ready(done);
            }
            is_told = is_told || telling.as_mut().poll(context).is_ready();
            Poll::Pending
        })
        .await
    }

    pub async fn observe(&self, endpoint: usize, result: &AttemptResult, took_ms: u64) -> Breaker {
        let known = self.known(endpoint);
        if result.is_ok() {
            let slowest = known.slowest_ms.get();
            known.slowest_ms.set(took_ms.max(slowest - slowest / 10));
        }
        known.untold.borrow_mut().add(result, self.process.now());
        self.tell(endpoint, &known).await
    }

    async fn tell(&self, endpoint: usize, known: &Known) -> Breaker {
        let _held = lock(&known.lock, &self.process.world.clock).await;
        for _ in 0..ROUNDS {
            let read = known.read.borrow().clone();
            let breaker = match read {
                Some(one) => one.breaker,
                None => self.refresh(endpoint, known).await,
            };
            if !known.untold.borrow().changes(&breaker) {
                known.untold.borrow_mut().forget_silences();
                return breaker;
            }
            let untold = known.untold.take();
            let random = self.process.world.dice.borrow_mut().f64();
            let after = breaker.after(&untold, self.process.now(), random);
            if self.replace(endpoint, known, after.clone()).await {
                return after;
            }
            known.untold.borrow_mut().merge_earlier(untold, self.process.now());
            self.refresh(endpoint, known).await;
        }
        known.read.borrow().clone().map(|one| one.breaker).unwrap_or_default()
    }

    fn known(&self, endpoint: usize) -> Rc<Known> {
        Rc::clone(self.known.borrow_mut().entry(endpoint).or_default())
    }

    async fn refresh(&self, endpoint: usize, known: &Known) -> Breaker {
        let read = self.process.table(|tables| tables.breakers.get(&endpoint).cloned()).await;
        if let Ok(read) = read {
            let (breaker, version) = read.map_or_else(Default::default, |(one, version)| (one, Some(version)));
            *known.read.borrow_mut() = Some(Read { at: self.process.now(), breaker, version });
        }
        known.read.borrow().clone().map(|one| one.breaker).unwrap_or_default()
    }

    async fn replace(&self, endpoint: usize, known: &Known, breaker: Breaker) -> bool {
        let before = known.read.borrow().as_ref().and_then(|one| one.version);
        let version = self.process.world.dice.borrow_mut().u64(..);
        let written = breaker.clone();
        let replaced = self.process.table(|tables| tables.replace_breaker(endpoint, before, written, version)).await;
        let is_written = matches!(replaced, Ok(true));
        if is_written {
            *known.read.borrow_mut() = Some(Read { at: self.process.now(), breaker, version: Some(version) });
        }
        is_written
    }
}

/// A slot that is held by who has this.
pub struct Slot {
    place: (usize, u16),
    holder: u64,
}

const TRIES: usize = 4;

impl Process {
    pub async fn take_slot(&self, endpoint: usize, limit: Limit) -> Result<Option<Slot>, Fault> {
        let held = self.table(|tables| tables.held(endpoint)).await?;
        let mut free: Vec<_> = free_slots(&held, limit, self.now()).collect();
        self.world.dice.borrow_mut().shuffle(&mut free);
        for index in free.into_iter().take(TRIES) {
            let holder = self.world.dice.borrow_mut().u64(..);
            let (slot, now) = (Slot { place: (endpoint, index), holder }, self.now());
            if self.table(|tables| tables.take_slot(slot.place, holder, now)).await? {
                return Ok(Some(slot));
            }
        }
        Ok(None)
    }

    pub async fn renew(&self, slot: &Slot) -> Result<bool, Fault> {
        let now = self.now();
        self.table(|tables| tables.renew_slot(slot.place, slot.holder, now)).await
    }

    /// A slot that cannot be released is free when its lease ends.
    pub async fn release(&self, slot: Option<Slot>) {
        if let Some(slot) = slot {
            let _ = self.table(|tables| tables.release_slot(slot.place, slot.holder)).await;
        }
    }

    pub async fn begin(&self, endpoint: usize, limit: Limit) -> Result<bool, Fault> {
        let mut is_first = false;
        for _ in 0..4 {
            let now = self.now();
            let count = |world: &World| {
                let counted = world.tables.borrow_mut().count(endpoint, limit, now / 1_000, is_first);
                if counted.is_ok() {
                    world.laws.borrow_mut().granted(endpoint, now / 1_000, limit);
                }
                counted
            };
            let counted = self.call(count).await?;
            let Err(counted) = counted else { return Ok(true) };
            let Some(next) = begin(counted, limit, now) else { return Ok(false) };
            is_first = next.begun == 1;
        }
        Ok(false)
    }
}
