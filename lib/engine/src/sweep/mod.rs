//! The work of `sweep`: puts due deliveries back into the queue, and those to endpoints that accept requests again.

mod expiry_watch;
mod redrive;

use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use signpost_core::delivery::DeadLetterReason;
use signpost_core::delivery::drain::{DRAIN_SECONDS, DelaySpreader, drain_quota};
use signpost_core::delivery::parking::{Lane, last_swept_minute, rest_of_wait};

use crate::breaker_cache::BreakerCache;
use crate::limiter::Limiter;
use crate::logs::Chain;
use crate::ports::Ports;
use crate::ports::clock::{Clock as _, millis};
use crate::ports::deliveries::Deliveries as _;
use crate::ports::endpoints::Endpoints as _;
use crate::ports::events::Events as _;
use crate::ports::limits::SlotPool;
use crate::ports::parking::{Drain, Parked, Parking as _};
use crate::ports::queue::{Message, Queue as _};

pub use redrive::{REDRIVE_WORK, Redrive, Redriven};

/// The ports and settings of one environment of `sweep`.
pub struct SweepPorts<P: Ports> {
    /// Time.
    pub clock: P::Clock,
    /// Chance.
    pub random: P::Random,
    /// The breakers of endpoints.
    pub breakers: P::Breakers,
    /// The queue for deliveries that were given up.
    pub dead_letter_queue: P::Queue,
    /// The records of deliveries.
    pub deliveries: P::Deliveries,
    /// The queue that `deliver` reads.
    pub deliveries_queue: P::Queue,
    /// The endpoints.
    pub endpoints: P::Endpoints,
    /// The events.
    pub events: P::Events,
    /// The queue that `fanout` reads.
    pub events_queue: P::Queue,
    /// The slots and counts of endpoints.
    pub limits: P::Limits,
    /// The parked deliveries.
    pub parking: P::Parking,
    /// The queue for rejected events.
    pub rejected_queue: P::Queue,
    /// How long events are kept.
    pub retention: Duration,
}

/// One environment of `sweep`, with what it remembers.
pub struct Sweep<P: Ports> {
    clock: P::Clock,
    random: P::Random,
    breakers: BreakerCache<P>,
    dead_letter_queue: P::Queue,
    deliveries: P::Deliveries,
    deliveries_queue: P::Queue,
    endpoints: P::Endpoints,
    events: P::Events,
    events_queue: P::Queue,
    limiter: Limiter<P>,
    parking: P::Parking,
    rejected_queue: P::Queue,
    retention: Duration,
}

/// The result of one sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Swept {
    /// How many deliveries were put back into the queue because they are due within the next minutes.
    pub due: usize,
    /// How many were put back because their endpoint accepts requests again.
    pub drained: usize,
    /// For how many endpoints a delivery waits whose event may expire. Checked once an hour.
    pub expiring: usize,
    /// Whether another sweep was running, so that this one did nothing.
    pub busy: bool,
    /// How many minutes of due deliveries are left to the next runs.
    pub minutes_behind: u64,
}

/// How long one run may move due deliveries. The next run continues.
const DUE_WORK: Duration = Duration::from_secs(20);
/// How long one run may drain lanes, however many deliveries are due.
const DRAIN_WORK: Duration = Duration::from_secs(15);
/// How long a run keeps other runs away, in seconds: longer than it can last, and over before the next one starts.
const LEASE_SECONDS: u64 = 55;
/// How often a run looks for waiting deliveries that may expire; with the other work, within the function's 50 s.
const WATCHED_EVERY_MINUTES: u64 = 60;
/// How far the first run of a stack looks back: farther than its schedule can be late.
const FIRST_LOOK_BACK_MINUTES: u64 = 60;
/// How many endpoints' lanes are drained in one run.
const MAX_DRAINS: usize = 1_000;
/// How many lanes are drained at the same time.
const DRAINS_AT_ONCE: usize = 4;
/// How many calls run at the same time.
const CALLS_AT_ONCE: usize = 16;
/// How many deliveries of a lane are moved together: at most 6 MiB of events, so several lanes fit into memory.
const PAGE: usize = 25;

/// How many parked deliveries an endpoint accepts.
enum Room {
    /// At most this many in this minute.
    For(usize),
    /// None until the endpoint is enabled, or can be read again.
    NotUntilEnabled,
}

/// The result of one endpoint's turn in a sweep.
struct Turn {
    moved: usize,
    /// How to send the rest; `None` if this was the last turn.
    spread: Option<DelaySpreader>,
}

impl Turn {
    const LAST: Self = Self { moved: 0, spread: None };
}

impl<P: Ports> Sweep<P> {
    /// Creates an environment that remembers nothing yet.
    pub fn new(ports: SweepPorts<P>) -> Self {
        let SweepPorts { clock, random, breakers, dead_letter_queue, deliveries, deliveries_queue, .. } = ports;
        let SweepPorts { endpoints, events, events_queue, limits, parking, rejected_queue, retention, .. } = ports;
        Self {
            breakers: BreakerCache::new(clock.clone(), random.clone(), breakers),
            dead_letter_queue,
            deliveries,
            deliveries_queue,
            endpoints,
            events,
            events_queue,
            limiter: Limiter::new(clock.clone(), random.clone(), limits),
            parking,
            rejected_queue,
            retention,
            clock,
            random,
        }
    }

    /// Sweeps once, as of `now_unix_ms`, in milliseconds since the Unix epoch.
    ///
    /// Two runs at the same time, and a crash at any point, do no harm. One run keeps the others away. A delivery
    /// leaves the table only after it is in the queue, where `deliver` recognises a repetition by its record.
    ///
    /// # Errors
    /// A table or a queue failed. The next run moves what this one did not move.
    pub async fn sweep_at(&self, now_unix_ms: u64) -> Result<Swept, P::Error> {
        let (now, last) = (now_unix_ms / 1_000, last_swept_minute(now_unix_ms));
        let first = last.saturating_sub(FIRST_LOOK_BACK_MINUTES);
        let Some(mut minute) = self.parking.begin_sweep(now, now + LEASE_SECONDS, first).await? else {
            tracing::info!("sweep.busy");
            return Ok(Swept { busy: true, ..Swept::default() });
        };
        let mut swept = Swept::default();
        let due = self.sweep_due(&mut minute, now_unix_ms, self.clock.elapsed() + DUE_WORK, &mut swept).await;
        let drained = self.sweep_drains(now, self.clock.elapsed() + DRAIN_WORK, &mut swept).await;
        let mut watched = Ok(());
        if (now / 60).is_multiple_of(WATCHED_EVERY_MINUTES) {
            watched = self.watch(now_unix_ms).await.map(|expiring| swept.expiring = expiring);
        }
        self.parking.end_sweep(minute).await?;
        swept.minutes_behind = last.saturating_sub(minute);
        if swept != Swept::default() {
            let Swept { due, drained, expiring, minutes_behind, .. } = swept;
            tracing::info!(due, drained, expiring, minutes_behind, "sweep.done");
        }
        if let (Err(error), Err(_)) = (&due, &drained) {
            tracing::error!(error = %Chain(error), "sweep.due_failed"); // The runtime logs the other error.
        }
        drained.and(due).and(watched)?;
        Ok(swept)
    }

    /// Moves due deliveries, minute by minute, and advances `minute`.
    async fn sweep_due(
        &self,
        minute: &mut u64,
        now_unix_ms: u64,
        deadline: Duration,
        swept: &mut Swept,
    ) -> Result<(), P::Error> {
        let began = self.clock.elapsed();
        let now = || now_unix_ms + millis(self.clock.elapsed().saturating_sub(began));
        while *minute < last_swept_minute(now_unix_ms) {
            let emptied = Lane::of_minute(*minute + 1).map(async |lane| {
                let mut moved = 0;
                let is_empty = self.empty(&lane, now, deadline, &mut moved).await;
                (is_empty, moved)
            });
            let emptied = join_all(emptied).await;
            swept.due += emptied.iter().map(|(_, moved)| moved).sum::<usize>();
            for (is_empty, _) in emptied {
                if !is_empty? {
                    return Ok(());
                }
            }
            *minute += 1;
        }
        Ok(())
    }

    /// Moves deliveries to endpoints that accept requests again. Each endpoint gets one page per turn, so that none
    /// waits for a long lane. A failure for one endpoint does not stop the others.
    async fn sweep_drains(&self, now: u64, deadline: Duration, swept: &mut Swept) -> Result<(), P::Error> {
        let mut drains = self.parking.drains(MAX_DRAINS).await?;
        let first = usize::try_from(now / 60).unwrap_or_default() % drains.len().max(1);
        drains.rotate_left(first); // If there is not time for all, others are first in the next minute.
        let mut round: Vec<_> = drains.into_iter().map(|drain| (drain, None)).collect();
        let mut outcome = Ok(());
        while !round.is_empty() {
            let turns = round.into_iter().map(async |(drain, spread)| {
                let turn = self.take_turn(&drain, spread, now, deadline).await;
                (drain, turn)
            });
            let turns: Vec<_> = stream::iter(turns).buffered(DRAINS_AT_ONCE).collect().await;
            round = Vec::new();
            for (drain, turn) in turns {
                match turn {
                    Ok(Turn { moved, spread }) => {
                        swept.drained += moved;
                        round.extend(spread.map(|spread| (drain, Some(spread))));
                    }
                    Err(error) => {
                        tracing::error!(endpoint.id = %drain.endpoint, error = %Chain(&error), "sweep.drain_failed");
                        outcome = Err(error);
                    }
                }
            }
        }
        outcome
    }

    /// Moves a page of an endpoint's deliveries.
    async fn take_turn(
        &self,
        drain: &Drain,
        spread: Option<DelaySpreader>,
        now: u64,
        deadline: Duration,
    ) -> Result<Turn, P::Error> {
        if self.clock.elapsed() >= deadline {
            return Ok(Turn::LAST);
        }
        let lane = Lane::Endpoint(drain.endpoint.clone());
        let spread = match spread {
            Some(spread) => Some(spread),
            None => self.spread(&lane, now).await?,
        };
        let Some(mut spread) = spread else { return self.end(drain, now).await };
        if spread.left() == 0 {
            return Ok(Turn::LAST);
        }
        let page = self.parking.first_of(&lane, spread.left().min(PAGE)).await?;
        if page.is_empty() {
            return self.end(drain, now).await;
        }
        self.move_all(&page, |_| spread.delay()).await?;
        Ok(Turn { moved: page.len(), spread: Some(spread) })
    }

    /// Returns how an endpoint's lane is put back in this minute. Returns `None` if the lane is empty or the endpoint
    /// accepts nothing, because its deliveries would only be parked again.
    async fn spread(&self, lane: &Lane, now: u64) -> Result<Option<DelaySpreader>, P::Error> {
        let first = self.parking.first_of(lane, 1).await?;
        let Some(parked) = first.first() else { return Ok(None) };
        Ok(match self.room(parked, now * 1_000).await? {
            Room::NotUntilEnabled => None,
            Room::For(most) => Some(DelaySpreader::over_a_minute(most)),
        })
    }

    async fn end(&self, drain: &Drain, now: u64) -> Result<Turn, P::Error> {
        if now >= drain.asked_at + DRAIN_SECONDS {
            self.parking.end_drain(drain).await?;
        }
        Ok(Turn::LAST)
    }

    /// Returns how many deliveries the endpoint of a parked one accepts in this minute.
    async fn room(&self, parked: &Parked, now_unix_ms: u64) -> Result<Room, P::Error> {
        let (tenant, id) = (&parked.event.tenant, &parked.endpoint);
        let settings = match self.endpoints.get(tenant, id).await {
            Ok(None) => return Ok(Room::For(usize::MAX)), // Removed: they go to the dead-letter queue.
            Ok(Some(stored)) if stored.disabled.is_some() => return Ok(Room::NotUntilEnabled),
            Ok(Some(stored)) => stored.settings,
            Err(error) if self.endpoints.exists(tenant, id).await? => {
                tracing::warn!(endpoint.id = %id, error = %Chain(&error), "sweep.endpoint_unreadable");
                return Ok(Room::NotUntilEnabled);
            }
            Err(error) => return Err(error),
        };
        let breaker = self.breakers.get(id).await;
        let mut room = drain_quota(&breaker, settings.max_per_second, now_unix_ms);
        // The holder of a slot drains on by itself, so this fills only the free slots.
        if let Some(limit) = settings.max_concurrency.filter(|_| room > 0) {
            room = room.min(self.limiter.free(&SlotPool::Endpoint(id.clone()), limit).await?);
        }
        Ok(Room::For(room))
    }

    /// Moves the due deliveries of a lane. Returns true if the lane is empty.
    async fn empty(
        &self,
        lane: &Lane,
        now_unix_ms: impl Fn() -> u64,
        deadline: Duration,
        moved: &mut usize,
    ) -> Result<bool, P::Error> {
        while self.clock.elapsed() < deadline {
            let page = self.parking.first_of(lane, PAGE).await?;
            if page.is_empty() {
                return Ok(true);
            }
            let now = now_unix_ms();
            self.move_all(&page, |parked| rest_of_wait(parked.at_unix_ms, now)).await?;
            *moved += page.len();
        }
        Ok(false)
    }

    /// Puts deliveries back into the queue, each after `delay`, and removes them from the table.
    async fn move_all(&self, page: &[Parked], mut delay: impl FnMut(&Parked) -> Duration) -> Result<(), P::Error> {
        let read = page.iter().map(async |parked| Ok::<_, P::Error>((parked, self.events.get(&parked.event).await?)));
        let read: Vec<_> = stream::iter(read).buffered(CALLS_AT_ONCE).try_collect().await?;
        let (mut messages, mut gone) = (Vec::new(), Vec::new());
        for (parked, kept) in read {
            match kept {
                Some(kept) => {
                    messages.push(Message { delay: delay(parked), ..Message::of_parked(parked, &kept) });
                }
                None => gone.push(parked),
            }
        }
        self.deliveries_queue.send_all(messages).await?;
        self.dead_letter_queue.send_all(gone.iter().map(|parked| parked.without_event())).await?;
        for delivery in gone.iter().filter_map(|parked| parked.key()) {
            self.deliveries.end(delivery, DeadLetterReason::EventGone).await?;
        }
        let removed = page.iter().map(|parked| self.parking.remove(parked));
        stream::iter(removed).buffer_unordered(CALLS_AT_ONCE).try_collect::<()>().await
    }
}
