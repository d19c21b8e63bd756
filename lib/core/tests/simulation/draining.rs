//! Parking and draining in `deliver`: step by step as `functions/deliver/src/draining.rs`.

use signpost_core::delivery::breaker::Admission;
use signpost_core::delivery::drain::ASKED_FOR_SECONDS;
use signpost_core::delivery::{Due, DueAttempt, Receipt};

use crate::deliver::{Environment, Fate, Ready};
use crate::shared::Slot;
use crate::tables::{Parked, Place};
use crate::world::Fault;

const PAGE: usize = 25;

enum Unparked {
    Yes,
    Elsewhere,
    NotNow,
}

impl Environment {
    pub async fn park(&self, id: u32, receipt: &Receipt) -> Result<(), Fault> {
        let lane = Place::Endpoint(self.process.world.endpoint_of(id));
        self.process.delivery(id, "park", |tables| tables.park(lane, receipt.since_unix_ms, id)).await
    }

    pub async fn park_with_drain(&self, id: u32, receipt: &Receipt) -> Result<(), Fault> {
        let (endpoint, now) = (self.process.world.endpoint_of(id), self.process.now() / 1_000);
        let is_asked = {
            let mut asked = self.asked_to_drain.borrow_mut();
            let before = asked.get(&endpoint).copied();
            let stands = before.is_some_and(|at| (at..at + ASKED_FOR_SECONDS).contains(&now));
            if !stands {
                asked.insert(endpoint, now);
            }
            stands
        };
        if !is_asked {
            let now = self.process.now() / 1_000;
            let asked = self.process.table(|tables| tables.drains.insert(endpoint, now)).await;
            if asked.is_err() {
                self.asked_to_drain.borrow_mut().remove(&endpoint);
                return Err(Fault);
            }
        }
        self.park(id, receipt).await
    }

    pub async fn drain_if_free(&self, endpoint: usize, deadline: u64) {
        if let Ok(Some(slot)) = self.take_free_slot(endpoint).await {
            self.drain(slot, endpoint, deadline).await;
        }
    }

    pub async fn drain(&self, mut slot: Slot, endpoint: usize, deadline: u64) {
        let lane = Place::Endpoint(endpoint);
        loop {
            let drained = self.drain_lane(&slot, endpoint, deadline).await;
            self.process.release(Some(slot)).await;
            let outcome = match drained {
                Ok(true) => match self.process.table(|tables| tables.first_of(lane, 1)).await {
                    Ok(left) if left.is_empty() => return,
                    Ok(_) => self.take_free_slot(endpoint).await,
                    Err(fault) => Err(fault),
                },
                Ok(false) => self.hand_over(lane, deadline).await.map(|()| None),
                Err(fault) => Err(fault),
            };
            match outcome {
                Ok(Some(another)) => slot = another,
                Ok(None) | Err(Fault) => return,
            }
        }
    }

    async fn drain_lane(&self, slot: &Slot, endpoint: usize, deadline: u64) -> Result<bool, Fault> {
        let world = &self.process.world;
        while world.now() < deadline {
            let mut page = self.process.table(|tables| tables.first_of(Place::Endpoint(endpoint), PAGE)).await?;
            if page.is_empty() {
                return Ok(true);
            }
            world.dice.borrow_mut().shuffle(&mut page);
            let mut is_idle = true;
            for parked in page {
                if world.now() >= deadline {
                    return Ok(false);
                }
                match self.unpark(slot, &parked, endpoint, deadline).await? {
                    Unparked::Yes => is_idle = false,
                    Unparked::Elsewhere => {}
                    Unparked::NotNow => return Ok(false),
                }
            }
            if is_idle {
                return Ok(false);
            }
        }
        Ok(false)
    }

    async fn unpark(&self, slot: &Slot, parked: &Parked, to: usize, deadline: u64) -> Result<Unparked, Fault> {
        let (process, id) = (&self.process, parked.id);
        let recipient = self.recipient(to).await?.filter(|one| one.is_enabled);
        let Some(recipient) = recipient else { return Ok(Unparked::NotNow) };
        if self.breakers.get(to).await.admits(process.now()) != Admission::Send {
            return Ok(Unparked::NotNow);
        }
        process.table(|_| ()).await?; // Reads the event.
        let receipt = Receipt { receives: 1, first_received_unix_ms: 0, since_unix_ms: parked.at, is_again: true };
        if let Some(limit) = recipient.max_per_second {
            while !process.begin(to, limit).await? {
                if process.world.now() >= deadline {
                    return Ok(Unparked::NotNow);
                }
                process.world.clock.sleep(1_000 - process.now() % 1_000).await;
            }
        }
        let (due, lease) = self.due(id, &receipt).await?;
        let fate = match due {
            Due::Attempt(DueAttempt { number, before_replay, on_record, .. }) => match process.renew(slot).await {
                Ok(true) => {
                    self.attempt(id, &receipt, Ready { recipient, number, before_replay, on_record, is_probe: false })
                        .await?
                }
                renewed => {
                    self.call_off(id, &receipt, lease).await;
                    renewed?;
                    return Ok(Unparked::NotNow);
                }
            },
            Due::Delivered => Fate::Done,
            Due::Elsewhere { .. } => return Ok(Unparked::Elsewhere),
            Due::Exhausted { since_unix_ms } => self.give_up(id, since_unix_ms).await.map(|()| Fate::Done)?,
            Due::Wait { until_unix_ms } => self.wait(id, until_unix_ms).await?,
        };
        if let Fate::Again(wait) = fate {
            let seconds = u64::try_from(wait.as_millis().div_ceil(1_000)).unwrap().min(900);
            process.send_all(&[(id, Some(receipt.since_unix_ms), seconds)]).await?;
        }
        process.delivery(id, "unpark", |tables| tables.unpark(parked)).await?;
        Ok(Unparked::Yes)
    }

    async fn hand_over(&self, lane: Place, deadline: u64) -> Result<(), Fault> {
        if self.process.world.now() < deadline {
            return Ok(());
        }
        for parked in self.process.table(|tables| tables.first_of(lane, 1)).await? {
            self.process.send_all(&[(parked.id, Some(parked.at), 0)]).await?;
            self.process.delivery(parked.id, "unpark", |tables| tables.unpark(&parked)).await?;
        }
        Ok(())
    }

    async fn take_free_slot(&self, endpoint: usize) -> Result<Option<Slot>, Fault> {
        let recipient = self.recipient(endpoint).await?.filter(|one| one.is_enabled);
        match recipient.and_then(|one| one.max_concurrency) {
            None => Ok(None),
            Some(limit) => self.process.take_slot(endpoint, limit).await,
        }
    }
}
