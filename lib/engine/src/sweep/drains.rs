//! Drains: moves the parked deliveries of endpoints that accept requests again.

use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use signpost_core::delivery::breaker::Breaker;
use signpost_core::delivery::drain::{
    DRAIN_SECONDS, DRAIN_SHARDS, DelaySpreader, Turns, drain_quota, drain_shard, not_before,
};
use signpost_core::delivery::parking::Lane;
use signpost_core::endpoint::EndpointId;

use crate::logs::Chain;
use crate::ports::Ports;
use crate::ports::clock::Clock as _;
use crate::ports::endpoints::Endpoints as _;
use crate::ports::limits::{Breakers as _, SlotPool};
use crate::ports::parking::{Drain, Parked, Parking as _};
use crate::sweep::{PAGE, Sweep};

/// How many drain requests are read together.
const REQUESTS: usize = 1_000;
/// How many drain requests one run keeps in memory. The next run starts behind them.
const MOST_REQUESTS: usize = 100_000;
/// How many lanes are drained at the same time. Their pages have at most 75 MiB of events, which a function of this size
/// receives in about a second: more would run into the timeouts of the calls, and then no page would be moved.
const DRAINS_AT_ONCE: usize = 12;

/// The result of draining lanes in one run.
pub(super) struct Drained<E> {
    pub(super) moved: usize,
    /// How many requests were not looked at.
    pub(super) not_reached: usize,
    /// The last failure, which did not stop the drains of other endpoints.
    pub(super) outcome: Result<(), E>,
}

/// The drain requests that are not postponed.
struct Requests<E> {
    /// In the order in which they were read.
    requested: Vec<Drain>,
    /// Whether these are all.
    is_all: bool,
    outcome: Result<(), E>,
}

/// A requested drain, and how far it has come in this run.
struct Work {
    drain: Drain,
    /// Its place in the order in which the requests were read.
    index: usize,
    /// How the lane is put back in this minute; none before its first turn.
    pace: Option<Pace>,
}

struct Pace {
    spread: DelaySpreader,
    began: Duration,
}

/// How many parked deliveries an endpoint accepts.
enum Room {
    /// At most this many in this minute.
    For(usize),
    /// None until the endpoint is enabled.
    NotUntilEnabled,
}

/// The result of one endpoint's turn in a sweep.
struct Turn {
    moved: usize,
    /// How to send the rest; none if this was the last turn.
    pace: Option<Pace>,
}

impl Turn {
    const LAST: Self = Self { moved: 0, pace: None };
}

impl<P: Ports> Sweep<P> {
    /// Moves deliveries to endpoints that accept requests again. Tenants take turns, and the endpoints of a tenant take
    /// turns. In each turn an endpoint gets one page, so that none waits for a long lane. A failure for one endpoint does
    /// not stop the others.
    ///
    /// Starts behind the endpoint `after`, and sets it so that the next run starts with the first request that was not
    /// reached.
    pub(super) async fn sweep_drains(
        &self,
        after: &mut Option<EndpointId>,
        now_unix_ms: u64,
        deadline: Duration,
    ) -> Drained<P::Error> {
        let Requests { requested, is_all, mut outcome } = self.requests(after.as_ref(), now_unix_ms).await;
        let order: Vec<_> = requested.iter().map(|drain| drain.endpoint.clone()).collect();
        let mut turns = Turns::default();
        for (index, drain) in requested.into_iter().enumerate() {
            turns.push(drain.tenant.clone(), Work { drain, index, pace: None });
        }
        let (mut moved, mut running) = (0, FuturesUnordered::new());
        loop {
            while running.len() < DRAINS_AT_ONCE
                && self.clock.elapsed() < deadline
                && let Some((tenant, Work { drain, index, pace })) = turns.pop()
            {
                running.push(async move {
                    let turn = self.take_turn(&drain, pace, now_unix_ms).await;
                    (tenant, drain, index, turn)
                });
            }
            let Some((tenant, drain, index, turn)) = running.next().await else { break };
            match turn {
                Ok(turn) => {
                    moved += turn.moved;
                    if let Some(pace) = turn.pace {
                        turns.push(tenant, Work { drain, index, pace: Some(pace) });
                    }
                }
                Err(error) => {
                    tracing::error!(endpoint.id = %drain.endpoint, error = %Chain(&error), "sweep.drain_failed");
                    outcome = Err(error);
                }
            }
        }
        let left = std::iter::from_fn(|| turns.pop()).map(|(_, work)| work);
        let left: Vec<_> = left.filter(|work| work.pace.is_none()).map(|work| work.index).collect();
        let reached = left.iter().min().copied().unwrap_or(order.len());
        if reached == order.len() && is_all {
            *after = None;
        } else if let Some(last) = reached.checked_sub(1) {
            *after = order.get(last).cloned();
        }
        Drained { moved, not_reached: left.len() + usize::from(!is_all), outcome }
    }

    /// Reads the requests that are not postponed: those behind `after` first, then those before it. If a shard cannot be
    /// read, the others are.
    async fn requests(&self, after: Option<&EndpointId>, now_unix_ms: u64) -> Requests<P::Error> {
        let first = after.map(drain_shard).unwrap_or_default();
        let mut requests = Requests { requested: Vec::new(), is_all: true, outcome: Ok(()) };
        for turn in 0..DRAIN_SHARDS {
            let after = after.filter(|_| turn == 0);
            self.read_requests((first + turn) % DRAIN_SHARDS, after, None, now_unix_ms, &mut requests).await;
        }
        if after.is_some() {
            self.read_requests(first, None, after, now_unix_ms, &mut requests).await;
        }
        requests
    }

    /// Adds the requests of a shard that are not postponed: those behind `after`, up to the endpoint `until`.
    async fn read_requests(
        &self,
        shard: u8,
        after: Option<&EndpointId>,
        until: Option<&EndpointId>,
        now_unix_ms: u64,
        requests: &mut Requests<P::Error>,
    ) {
        let mut after = after.cloned();
        while requests.is_all {
            let page = match self.parking.drains(shard, after.as_ref(), REQUESTS).await {
                Ok(page) => page,
                Err(error) => {
                    requests.outcome = Err(error);
                    return;
                }
            };
            let Some(last) = page.last().map(|drain| drain.endpoint.clone()) else { return };
            let is_over = until.is_some_and(|until| last >= *until);
            let in_turn = page.into_iter().filter(|drain| {
                drain.not_before_unix_ms <= now_unix_ms && until.is_none_or(|until| drain.endpoint <= *until)
            });
            requests.requested.extend(in_turn);
            if is_over {
                return;
            }
            requests.is_all = requests.requested.len() < MOST_REQUESTS;
            after = Some(last);
        }
    }

    /// Moves a page of an endpoint's deliveries.
    async fn take_turn(&self, drain: &Drain, pace: Option<Pace>, now_unix_ms: u64) -> Result<Turn, P::Error> {
        let lane = Lane::Endpoint(drain.endpoint.clone());
        let (mut pace, parked) = if let Some(pace) = pace {
            let parked = self.parking.first_of(&lane, pace.spread.left().min(PAGE)).await?;
            (pace, parked)
        } else if let Some(begun) = self.begin(drain, &lane, now_unix_ms).await? {
            begun
        } else {
            return Ok(Turn::LAST);
        };
        if pace.spread.left() == 0 {
            return Ok(Turn::LAST);
        }
        if parked.is_empty() {
            self.end(drain, now_unix_ms).await?;
            return Ok(Turn::LAST);
        }
        let passed = Duration::from_secs(self.clock.elapsed().saturating_sub(pace.began).as_secs());
        self.move_all(&parked, |_| pace.spread.delay().saturating_sub(passed)).await?;
        Ok(Turn { moved: parked.len(), pace: Some(pace).filter(|pace| pace.spread.left() > 0) })
    }

    /// Begins an endpoint's first turn: decides its pace, and reads its first page. Returns none if nothing is to be sent
    /// to it in this run.
    async fn begin(
        &self,
        drain: &Drain,
        lane: &Lane,
        now_unix_ms: u64,
    ) -> Result<Option<(Pace, Vec<Parked>)>, P::Error> {
        // Read after the request, so that a request that follows the closing of the breaker is not postponed.
        let (breaker, _) = self.breakers.read(&drain.endpoint).await?;
        if self.postpone(drain, &breaker, now_unix_ms).await? {
            return Ok(None);
        }
        let mut parked = self.parking.first_of(lane, PAGE).await?;
        let room = match parked.first() {
            Some(oldest) => {
                self.measure_oldest(oldest, now_unix_ms);
                self.room(oldest, &breaker, now_unix_ms).await?
            }
            None => Room::NotUntilEnabled,
        };
        let Room::For(most) = room else {
            self.end(drain, now_unix_ms).await?; // Nothing is parked, or it would only be parked again.
            return Ok(None);
        };
        parked.truncate(most);
        Ok(Some((Pace { spread: DelaySpreader::over_a_minute(most), began: self.clock.elapsed() }, parked)))
    }

    /// Postpones a drain if the breaker of its endpoint is open. Returns false if it is not.
    async fn postpone(&self, drain: &Drain, breaker: &Breaker, now_unix_ms: u64) -> Result<bool, P::Error> {
        let Some(until) = not_before(breaker, now_unix_ms) else { return Ok(false) };
        if !self.endpoints.exists(&drain.tenant, &drain.endpoint).await? {
            return Ok(false); // Its deliveries go to the dead-letter queue at once.
        }
        self.parking.postpone_drain(drain, until).await?;
        Ok(true)
    }

    /// Ends a drain whose lane is empty or whose endpoint accepts nothing, if it was not requested lately.
    async fn end(&self, drain: &Drain, now_unix_ms: u64) -> Result<(), P::Error> {
        let is_over = now_unix_ms / 1_000 >= drain.asked_at + DRAIN_SECONDS;
        if is_over { self.parking.end_drain(drain).await } else { Ok(()) }
    }

    /// Returns how many deliveries the endpoint of a parked one accepts in this minute.
    async fn room(&self, parked: &Parked, breaker: &Breaker, now_unix_ms: u64) -> Result<Room, P::Error> {
        let (tenant, id) = (&parked.event.tenant, &parked.endpoint);
        let settings = match self.endpoints.get(tenant, id).await {
            Ok(None) => return Ok(Room::For(usize::MAX)), // Removed: they go to the dead-letter queue.
            Ok(Some(stored)) if stored.disabled.is_some() => return Ok(Room::NotUntilEnabled),
            Ok(Some(stored)) => stored.settings,
            Err(error) if self.endpoints.exists(tenant, id).await? => {
                tracing::warn!(endpoint.id = %id, error = %Chain(&error), "sweep.endpoint_unreadable");
                return Ok(Room::For(0)); // It may be readable in a minute, so the request to drain stays.
            }
            Err(error) => return Err(error),
        };
        let mut room = drain_quota(breaker, settings.max_per_second, now_unix_ms);
        // The holder of a slot drains on by itself, so this fills only the free slots.
        if let Some(limit) = settings.max_concurrency.filter(|_| room > 0) {
            room = room.min(self.limiter.free(&SlotPool::Endpoint(id.clone()), limit).await?);
        } else if room > 0 && !breaker.is_quick() {
            // On the slow track, the holder of a seat does so too, unless the endpoint has just recovered.
            let seats = SlotPool::Tenant(tenant.clone());
            let free = self.limiter.free(&seats, self.slow_invocations_per_tenant).await?;
            room = if breaker.is_at_full_pace(now_unix_ms) || free == 0 { room.min(free) } else { room };
        }
        Ok(Room::For(room))
    }
}
