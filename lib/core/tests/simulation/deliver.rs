//! The `deliver` function: step by step as `functions/deliver/src`, beside its draining.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use signpost_core::delivery::breaker::Admission;
use signpost_core::delivery::parking::LONGEST_IN_QUEUE;
use signpost_core::delivery::{
    DeadLetterReason, DeliveryStatus, Due, DueAttempt, MOST_RECEIVES, Next, Progress, Receipt, due, next, next_of_probe,
};

use crate::queue::Received;
use crate::shared::{Breakers, Slot};
use crate::tables::{Claim, Endpoint, Place, due_at};
use crate::world::{Fault, Process, World};

/// An environment, with what it remembers.
pub struct Environment {
    pub process: Process,
    pub breakers: Breakers,
    pub asked_to_drain: RefCell<HashMap<usize, u64>>,
    recipients: RefCell<HashMap<usize, (u64, Endpoint)>>,
}

const REMEMBERED_FOR_MS: u64 = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Again(Duration),
    Done,
}

pub enum Then {
    Drain(Slot),
    DrainIfFree,
    Nothing,
}

/// All that an attempt needs.
pub struct Ready {
    pub recipient: Endpoint,
    pub number: u32,
    pub before_replay: u32,
    pub on_record: Option<u64>,
    pub is_probe: bool,
}

enum Readiness {
    NotNow,
    Otherwise(Fate),
    Ready(Ready, Option<Slot>),
}

impl Environment {
    pub fn new(process: Process) -> Self {
        let breakers = Breakers::new(&process);
        Self { process, breakers, asked_to_drain: RefCell::default(), recipients: RefCell::default() }
    }

    /// Handles one message. Returns whether SQS deletes it.
    pub async fn settle(&self, message: Received, deadline: u64) -> bool {
        let (id, receipt) = (message.body, message.receipt);
        let (wait, then) = match self.deliver(id, &receipt).await {
            Ok((Fate::Done, then)) => (None, then),
            Ok((Fate::Again(wait), then)) => (Some(wait), then),
            Err(Fault) => {
                let is_over = receipt.receives >= MOST_RECEIVES && self.defer_no_more(id).await;
                ((!is_over).then(|| receipt.wait_after_our_fault()), Then::Nothing)
            }
        };
        if let Some(wait) = wait {
            let seconds = u64::try_from(wait.as_millis().div_ceil(1_000)).unwrap();
            let hide = |world: &World| {
                world.deliveries.borrow_mut().hide(&message, seconds, world.now());
                world.deliveries_bell.ring(&world.clock);
            };
            let _ = self.process.call(hide).await;
        }
        let endpoint = self.process.world.endpoint_of(id);
        match then {
            Then::Drain(slot) => self.drain(slot, endpoint, deadline).await,
            Then::DrainIfFree => self.drain_if_free(endpoint, deadline).await,
            Then::Nothing => {}
        }
        wait.is_none()
    }

    async fn deliver(&self, id: u32, receipt: &Receipt) -> Result<(Fate, Then), Fault> {
        let mut lease = None;
        let readiness = match self.ready(id, receipt, &mut lease).await {
            Ok(readiness) => readiness,
            Err(fault) => {
                self.call_off(id, receipt, lease).await;
                return Err(fault);
            }
        };
        match readiness {
            Readiness::NotNow => {
                self.park_with_drain(id, receipt).await?;
                if lease.is_some() {
                    self.call_off(id, receipt, lease).await;
                }
                Ok((Fate::Done, Then::DrainIfFree))
            }
            Readiness::Otherwise(fate) => Ok((fate, Then::Nothing)),
            Readiness::Ready(ready, slot) => match (self.attempt(id, receipt, ready).await, slot) {
                (Ok(fate), Some(slot)) => Ok((fate, Then::Drain(slot))),
                (Ok(fate), None) => Ok((fate, Then::Nothing)),
                (Err(fault), slot) => {
                    self.process.release(slot).await;
                    Err(fault)
                }
            },
        }
    }

    async fn ready(&self, id: u32, receipt: &Receipt, lease: &mut Option<u64>) -> Result<Readiness, Fault> {
        let endpoint = self.process.world.endpoint_of(id);
        let Some(recipient) = self.recipient(endpoint).await? else {
            return self.without_endpoint(id).await.map(|()| Readiness::Otherwise(Fate::Done));
        };
        if !recipient.is_enabled {
            return self.park(id, receipt).await.map(|()| Readiness::Otherwise(Fate::Done));
        }
        if self.breakers.get(endpoint).await.admits(self.process.now()) == Admission::Park {
            return self.park_with_drain(id, receipt).await.map(|()| Readiness::Otherwise(Fate::Done));
        }
        let (due, taken) = self.due(id, receipt).await?;
        *lease = taken;
        let fate = match due {
            Due::Attempt(DueAttempt { number, before_replay, on_record, .. }) => {
                return Ok(match self.permission(endpoint, &recipient).await? {
                    Some((slot, is_probe)) => {
                        Readiness::Ready(Ready { recipient, number, before_replay, on_record, is_probe }, slot)
                    }
                    None => Readiness::NotNow,
                });
            }
            Due::Delivered => Fate::Done,
            Due::Elsewhere { until_unix_ms } => Fate::Again(self.until(until_unix_ms)),
            Due::Exhausted { since_unix_ms } => self.give_up(id, since_unix_ms).await.map(|()| Fate::Done)?,
            Due::Wait { until_unix_ms } => self.wait(id, until_unix_ms).await?,
        };
        Ok(Readiness::Otherwise(fate))
    }

    pub async fn due(&self, id: u32, receipt: &Receipt) -> Result<(Due, Option<u64>), Fault> {
        if receipt.is_only() {
            let standing = self.process.delivery(id, "read", |tables| tables.standing(id)).await?;
            return Ok((due(standing, receipt, self.process.now()), None));
        }
        let now = self.process.now();
        let claim = self.process.delivery(id, "claim", |tables| tables.claim(id, receipt, now)).await?;
        match claim {
            Claim::Taken(lease, standing) => Ok((due(standing, receipt, self.process.now()), Some(lease))),
            Claim::Refused(standing) => Ok(match due(standing, receipt, self.process.now()) {
                Due::Attempt { .. } => (Due::Elsewhere { until_unix_ms: self.process.now() + 1_000 }, None),
                due => (due, None),
            }),
        }
    }

    pub async fn call_off(&self, id: u32, receipt: &Receipt, lease: Option<u64>) {
        if lease.is_some() || receipt.receives <= 1 {
            let _ = self.process.delivery(id, "call off", |tables| tables.release_lease(id, lease)).await;
        }
    }

    pub async fn wait(&self, id: u32, until: u64) -> Result<Fate, Fault> {
        let wait = self.until(until);
        if wait <= LONGEST_IN_QUEUE {
            return Ok(Fate::Again(wait));
        }
        let place = due_at(until, id, self.process.world.endpoint_of(id));
        self.process.delivery(id, "park until", |tables| tables.park(place, until, id)).await?;
        Ok(Fate::Done)
    }

    pub async fn give_up(&self, id: u32, since: u64) -> Result<(), Fault> {
        let lane = Place::Exhausted(self.process.world.endpoint_of(id));
        self.process.delivery(id, "note exhausted", |tables| tables.park(lane, since, id)).await?;
        self.bury(id, DeadLetterReason::Exhausted).await
    }

    async fn without_endpoint(&self, id: u32) -> Result<(), Fault> {
        let standing = self.process.table(|tables| tables.standing(id)).await?;
        match standing.and_then(|one| one.progress) {
            Some(Progress { status: DeliveryStatus::Delivered, .. }) => Ok(()),
            Some(Progress { status: DeliveryStatus::Exhausted, next_attempt_unix_ms, .. }) => {
                self.give_up(id, next_attempt_unix_ms).await
            }
            None | Some(Progress { status: DeliveryStatus::Pending, .. }) => {
                self.bury(id, DeadLetterReason::EndpointGone).await?;
                let now = self.process.now();
                self.process.delivery(id, "end", |tables| tables.end(id, now)).await
            }
        }
    }

    async fn defer_no_more(&self, id: u32) -> bool {
        let now = self.process.now();
        let end = async {
            let lane = Place::Exhausted(self.process.world.endpoint_of(id));
            self.process.delivery(id, "note deferred", |tables| tables.park(lane, now, id)).await?;
            self.bury(id, DeadLetterReason::Deferred).await?;
            self.process.delivery(id, "end", |tables| tables.end(id, now)).await
        };
        end.await.is_ok()
    }

    async fn bury(&self, id: u32, reason: DeadLetterReason) -> Result<(), Fault> {
        self.process.delivery(id, "bury", |tables| tables.dead_letters.entry(id).or_default().push(reason)).await
    }

    async fn permission(&self, id: usize, endpoint: &Endpoint) -> Result<Option<(Option<Slot>, bool)>, Fault> {
        let slot = match endpoint.max_concurrency {
            None => None,
            Some(limit) => match self.process.take_slot(id, limit).await? {
                Some(slot) => Some(slot),
                None => return Ok(None),
            },
        };
        match self.takes_one_more(id, endpoint).await {
            Ok(Some(is_probe)) => Ok(Some((slot, is_probe))),
            refused => {
                self.process.release(slot).await;
                refused.map(|_| None)
            }
        }
    }

    async fn takes_one_more(&self, id: usize, endpoint: &Endpoint) -> Result<Option<bool>, Fault> {
        if let Some(limit) = endpoint.max_per_second
            && !self.process.begin(id, limit).await?
        {
            return Ok(None);
        }
        Ok(match self.breakers.get(id).await.admits(self.process.now()) {
            Admission::Park => None,
            Admission::Probe => self.breakers.claim_probe(id).await.then_some(true),
            Admission::Send => Some(false),
        })
    }

    pub async fn attempt(&self, id: u32, receipt: &Receipt, ready: Ready) -> Result<Fate, Fault> {
        let Ready { recipient, number, before_replay, on_record, is_probe } = ready;
        let endpoint = self.process.world.endpoint_of(id);
        let started = self.process.now();
        let result = self.breakers.watch(endpoint, self.process.send(id, endpoint, &recipient)).await;
        let took = self.process.now() - started;
        let random = self.process.world.dice.borrow_mut().f64();
        let counted = number.saturating_sub(before_replay);
        let (next, is_free) = if is_probe {
            next_of_probe(&result, counted, &recipient.retry, random)
        } else {
            (next(&result, counted, &recipient.retry, random), false)
        };
        let before_replay = before_replay + u32::from(is_free);
        let wait = if let Next::Retry(wait) = next { wait } else { Duration::ZERO };
        let next_attempt = self.process.now() + u64::try_from(wait.as_millis()).unwrap();
        let (status, next_attempt_unix_ms) = (next.status(), next_attempt);
        let progress =
            Progress { status, attempts: number, before_replay, next_attempt_unix_ms, replay: None, last_sent: None };
        let recorded = self.record(id, on_record, progress).await;
        if recorded.is_ok() {
            self.process.world.laws.borrow_mut().recorded(id, self.process.world.now());
        }
        let breaker = self.breakers.observe(endpoint, &result, took).await;
        if breaker.should_disable(self.process.now()) {
            self.disable(endpoint).await?;
        }
        if !recorded? {
            return Ok(Fate::Again(Duration::ZERO));
        }
        match next {
            Next::Delivered => Ok(Fate::Done),
            Next::Disable => {
                self.disable(endpoint).await?;
                self.park(id, receipt).await.map(|()| Fate::Done)
            }
            Next::Retry(_) => self.wait(id, next_attempt).await,
            Next::Exhausted => self.give_up(id, next_attempt).await.map(|()| Fate::Done),
        }
    }

    async fn record(&self, id: u32, on_record: Option<u64>, progress: Progress) -> Result<bool, Fault> {
        if self.process.delivery(id, "record", |tables| tables.record_next(id, on_record, progress)).await? {
            return Ok(true);
        }
        if progress.status != DeliveryStatus::Delivered {
            return Ok(false);
        }
        self.process.delivery(id, "record after all", |tables| tables.record_acknowledgement(id, progress)).await
    }

    async fn disable(&self, endpoint: usize) -> Result<(), Fault> {
        let disable = |stored: &mut Option<Endpoint>| stored.iter_mut().for_each(|one| one.is_enabled = false);
        self.process.table(|tables| disable(&mut tables.endpoints[endpoint])).await?;
        self.recipients.borrow_mut().remove(&endpoint);
        Ok(())
    }

    pub async fn recipient(&self, id: usize) -> Result<Option<Endpoint>, Fault> {
        let now = self.process.now();
        let known = self.recipients.borrow().get(&id).cloned();
        if let Some((read_at, endpoint)) = known
            && endpoint.is_enabled
            && (read_at..read_at + REMEMBERED_FOR_MS).contains(&now)
        {
            return Ok(Some(endpoint));
        }
        let endpoint = self.process.table(|tables| tables.endpoints[id].clone()).await?;
        match &endpoint {
            Some(endpoint) => self.recipients.borrow_mut().insert(id, (now, endpoint.clone())),
            None => self.recipients.borrow_mut().remove(&id),
        };
        Ok(endpoint)
    }

    fn until(&self, moment: u64) -> Duration {
        Duration::from_millis(moment.saturating_sub(self.process.now()))
    }
}
