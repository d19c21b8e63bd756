//! Bulk replays: parks the deliveries of running replays in the lanes of their endpoints, from where drains send them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, FuturesUnordered, StreamExt as _, TryStreamExt as _};
use signpost_core::delivery::drain::Turns;
use signpost_core::delivery::list::ListPosition;
use signpost_core::delivery::parking::Lane;
use signpost_core::delivery::replay::{
    Replay, ReplayCounts, ReplayPosition, ReplayState, ReplayStep, parked_per_minute,
};
use signpost_core::delivery::{DeliveryKey, ReplayKind};
use signpost_core::endpoint::EndpointId;

use crate::logs::Chain;
use crate::ports::Ports;
use crate::ports::clock::Clock as _;
use crate::ports::deliveries::Deliveries as _;
use crate::ports::endpoints::Endpoints as _;
use crate::ports::events::Events as _;
use crate::ports::limits::Breakers as _;
use crate::ports::parking::Parking as _;
use crate::ports::replays::{DeliveryLists as _, ListStretch, ListedDelivery, Replays as _, RunningReplay};
use crate::ports::subscriptions::Subscriptions as _;
use crate::sweep::{CALLS_AT_ONCE, Sweep};

/// How many replays have a turn at the same time.
const REPLAYS_AT_ONCE: usize = 4;
/// How many deliveries a page has at most.
const PAGE: usize = 50;
/// How many deliveries of a list one page looks at. If few of them match, the next page looks at twice as many.
const LOOKED_AT: usize = 80;
/// The most deliveries of a list that one page looks at: eight queries of 500.
const MOST_LOOKED_AT: usize = 4_000;
/// How long a note without its replay is kept, in seconds: longer than `manage` takes to write both.
const NOTED_FOR_SECONDS: u64 = 600;
/// How often a change of a replay is tried, because an operator may stop it at the same time.
const TRIES: usize = 3;

/// A running replay, and how far it has come in this run.
struct Work {
    running: RunningReplay,
    replay: Replay,
    /// All of its endpoints that exist, in the order of their ids.
    endpoints: Vec<EndpointId>,
    /// How many deliveries its next page looks at.
    looked_at: usize,
}

/// How many more deliveries may be parked in this run for each endpoint, for all replays together.
type Rooms = Mutex<HashMap<EndpointId, usize>>;

/// The result of a turn.
struct Turn {
    parked: usize,
    /// The replay, if it goes on in this run.
    work: Option<Work>,
}

impl Turn {
    const LAST: Self = Self { parked: 0, work: None };
}

impl<P: Ports> Sweep<P> {
    /// Works on the running replays. Tenants take turns, and the replays of a tenant take turns. In each turn a replay
    /// gets one page. A failure of one replay does not stop the others. Adds the parked deliveries to `parked`.
    ///
    /// A page is repeated if a run ends in it. Then a delivery may be sent twice, and none is left out.
    ///
    /// # Errors
    /// A call failed. The next run goes on with the page.
    pub(super) async fn sweep_replays(
        &self,
        now_unix_ms: u64,
        deadline: Duration,
        parked: &mut usize,
    ) -> Result<(), P::Error> {
        let mut turns = Turns::default();
        for running in self.replays.running().await? {
            turns.push(running.tenant.clone(), (running, None));
        }
        let (rooms, mut outcome, mut running) = (Rooms::default(), Ok(()), FuturesUnordered::new());
        loop {
            while running.len() < REPLAYS_AT_ONCE
                && self.clock.elapsed() < deadline
                && let Some((tenant, (note, work))) = turns.pop()
            {
                let rooms = &rooms;
                running.push(async move {
                    let turn = self.take_replay_turn(&note, work, rooms, now_unix_ms).await;
                    (tenant, note, turn)
                });
            }
            let Some((tenant, note, turn)) = running.next().await else { return outcome };
            match turn {
                Ok(turn) => {
                    *parked += turn.parked;
                    if turn.work.is_some() {
                        turns.push(tenant, (note, turn.work));
                    }
                }
                Err(error) => {
                    tracing::error!(tenant.id = %tenant, replay.id = %note.id, error = %Chain(&error), "sweep.replay_failed");
                    outcome = Err(error);
                }
            }
        }
    }

    /// Works on a page of a replay. Without `work`, reads the replay first.
    async fn take_replay_turn(
        &self,
        running: &RunningReplay,
        work: Option<Work>,
        rooms: &Rooms,
        now_unix_ms: u64,
    ) -> Result<Turn, P::Error> {
        let begun = match work {
            Some(work) => Some(work),
            None => self.begin_work(running, now_unix_ms).await?,
        };
        let Some(mut work) = begun else { return Ok(Turn::LAST) };
        let Some((endpoint, after)) = work.replay.next_list(&work.endpoints) else {
            self.end_replay(&work).await?;
            return Ok(Turn::LAST);
        };
        let Some(room) = self.replay_room(&work.replay, endpoint, rooms, now_unix_ms).await? else {
            let behind = ReplayPosition::Behind(endpoint.clone()); // It was removed: nothing is sent to it any more.
            let is_running = self.store_page(&mut work.replay, behind, ReplayCounts::default()).await?;
            return Ok(Turn { parked: 0, work: Some(work).filter(|_| is_running) });
        };
        if room == 0 {
            return Ok(Turn::LAST); // Until the next minute.
        }
        let (replay, part) = (&work.replay, work.replay.filter.part_of_list(after));
        let lists = &self.delivery_lists;
        let read = lists.oldest_first(&replay.tenant, endpoint, part, &replay.statuses(), work.looked_at).await?;
        self.replay_page(work, read, room, rooms).await
    }

    /// Reads a replay and its endpoints. Removes the note of one that has ended.
    async fn begin_work(&self, running: &RunningReplay, now_unix_ms: u64) -> Result<Option<Work>, P::Error> {
        let replay = match self.replays.get(&running.tenant, &running.id).await? {
            Some(replay) if replay.state == ReplayState::Running => replay,
            // `manage` writes the replay after its note, so it may still come.
            None if now_unix_ms / 1_000 < running.noted_at + NOTED_FOR_SECONDS => return Ok(None),
            Some(_) | None => {
                self.replays.end_running(running).await?;
                return Ok(None);
            }
        };
        let mut endpoints = if replay.filter.endpoints.is_empty() {
            let of_tenant = self.subscriptions.of_tenant(&running.tenant).await?;
            of_tenant.into_iter().map(|(id, _)| id).collect()
        } else {
            replay.filter.endpoints.iter().cloned().collect::<Vec<_>>()
        };
        endpoints.sort_unstable();
        Ok(Some(Work { running: running.clone(), replay, endpoints, looked_at: LOOKED_AT }))
    }

    /// Returns how many deliveries may be parked for an endpoint in this run. Returns none if it was removed.
    async fn replay_room(
        &self,
        replay: &Replay,
        endpoint: &EndpointId,
        rooms: &Rooms,
        now_unix_ms: u64,
    ) -> Result<Option<usize>, P::Error> {
        if let Some(room) = rooms.lock().unwrap_or_else(PoisonError::into_inner).get(endpoint) {
            return Ok(Some(*room));
        }
        let (breaker, _) = self.breakers.read(endpoint).await?;
        let (limit, is_enabled) = match self.endpoints.get(&replay.tenant, endpoint).await {
            Ok(None) => return Ok(None),
            Ok(Some(stored)) => (stored.settings.max_per_second, stored.disabled.is_none()),
            Err(error) if self.endpoints.exists(&replay.tenant, endpoint).await? => {
                tracing::warn!(endpoint.id = %endpoint, error = %Chain(&error), "sweep.endpoint_unreadable");
                (None, false)
            }
            Err(error) => return Err(error),
        };
        let room = parked_per_minute(&breaker, limit, is_enabled, now_unix_ms);
        Ok(Some(*rooms.lock().unwrap_or_else(PoisonError::into_inner).entry(endpoint.clone()).or_insert(room)))
    }

    /// Parks the deliveries of a page that the filter includes, and stores that this is done.
    async fn replay_page(
        &self,
        mut work: Work,
        read: ListStretch,
        room: usize,
        rooms: &Rooms,
    ) -> Result<Turn, P::Error> {
        let Some((endpoint, _)) = work.replay.next_list(&work.endpoints) else { return Ok(Turn::LAST) };
        let endpoint = endpoint.clone();
        let chosen = Chosen::of(&work.replay, read, room);
        let position = match chosen.read_to {
            Some(position) => ReplayPosition::In(endpoint.clone(), Some(position)),
            None => ReplayPosition::Behind(endpoint.clone()),
        };
        work.looked_at = if chosen.is_full { LOOKED_AT } else { (2 * work.looked_at).min(MOST_LOOKED_AT) };
        let (to_send, counts) = self.of_wanted_events(&work.replay, chosen.deliveries).await?;
        if !to_send.is_empty() {
            let Some(begun) = self.begin_page(&work.replay, chosen.read_to).await? else { return Ok(Turn::LAST) }; // It was stopped.
            work.replay = begun;
            self.park_all(&work.replay, &endpoint, &to_send).await?;
            if let Some(room) = rooms.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&endpoint) {
                *room = room.saturating_sub(to_send.len());
            }
        }
        let is_running = self.store_page(&mut work.replay, position, counts).await?;
        Ok(Turn { parked: to_send.len(), work: Some(work).filter(|_| is_running) })
    }

    /// Reads the events of deliveries. Returns the deliveries that must be sent, and counts all that the filter includes.
    async fn of_wanted_events(
        &self,
        replay: &Replay,
        chosen: Vec<(ListedDelivery, ReplayStep)>,
    ) -> Result<(Vec<ListedDelivery>, ReplayCounts), P::Error> {
        let (mut to_send, mut counts) = (Vec::new(), ReplayCounts::default());
        let keys: Vec<_> = chosen.iter().map(|(delivery, _)| &delivery.event).collect();
        let mut kinds = Vec::with_capacity(keys.len());
        while kinds.len() < keys.len() {
            let events = self.events.get_some(&keys[kinds.len()..]).await?;
            kinds.extend(events.into_iter().map(|kept| kept.map(|kept| (kept.event.kind, kept.event.retention_days))));
        }
        for ((mut delivery, step), kind) in chosen.into_iter().zip(kinds) {
            delivery.retention_days = kind.as_ref().and_then(|(_, days)| *days);
            let is_wanted = match &kind {
                Some((kind, _)) => replay.filter.wants_type(kind),
                None => replay.filter.types.is_empty(), // The type of an event that has expired is not known.
            };
            match step {
                _ if !is_wanted => {}
                ReplayStep::Ignore => {}
                ReplayStep::Send if kind.is_some() => {
                    counts.sent += 1;
                    to_send.push(delivery);
                }
                ReplayStep::IsSent => counts.sent += 1,
                ReplayStep::Send | ReplayStep::Skip => counts.skipped += 1,
            }
        }
        Ok((to_send, counts))
    }

    /// Notes that a page is begun, before the first record is reset. Returns none if the replay was stopped.
    async fn begin_page(&self, replay: &Replay, to: Option<ListPosition>) -> Result<Option<Replay>, P::Error> {
        if replay.page.is_some() {
            return Ok(Some(replay.clone()));
        }
        let begun = replay.with_page(to, self.clock.unix_ms());
        Ok(self.replays.replace(&begun).await?.then_some(begun))
    }

    /// Resets the records of deliveries, and parks them in the lane of their endpoint. A repetition parks them at the same
    /// place.
    async fn park_all(
        &self,
        replay: &Replay,
        endpoint: &EndpointId,
        deliveries: &[ListedDelivery],
    ) -> Result<(), P::Error> {
        // Both first, because `sweep` would not find parked deliveries without them.
        self.parking.ask_to_drain(&replay.tenant, endpoint).await?;
        self.parking.note_waiting(endpoint).await?;
        let since = replay.page.map_or(replay.created_unix_ms, |page| page.since_unix_ms);
        let parks = deliveries.iter().map(async |delivery| {
            let arrived_unix_ms = delivery.position.arrived_unix_ms();
            let key = DeliveryKey {
                event: &delivery.event,
                endpoint,
                arrived_unix_ms,
                retention_days: delivery.retention_days,
            };
            // The record first. `deliver` would take a message that comes before for a repetition.
            self.deliveries.reset_for_replay(key, ReplayKind::Replay).await?;
            self.events.keep_for_endpoint(key).await?; // A parked delivery has only the event's key.
            self.parking.park(Lane::Endpoint(endpoint.clone()), since, key).await
        });
        stream::iter(parks).buffer_unordered(CALLS_AT_ONCE).try_collect().await
    }

    /// Stores that a page is done, even if the replay was stopped meanwhile. Returns whether it goes on.
    async fn store_page(
        &self,
        replay: &mut Replay,
        position: ReplayPosition,
        counts: ReplayCounts,
    ) -> Result<bool, P::Error> {
        let mut before = replay.clone();
        for _ in 0..TRIES {
            let after = before.after_page(position.clone(), counts, self.clock.unix_ms());
            if self.replays.replace(&after).await? {
                *replay = after;
                return Ok(replay.state == ReplayState::Running);
            }
            match self.replays.get(&replay.tenant, &replay.id).await? {
                Some(found) if found == after => return Ok(false), // The answer was lost. The next run goes on.
                Some(found) if found.position == replay.position => before = found,
                _ => return Ok(false),
            }
        }
        Ok(false)
    }

    /// Ends a replay whose lists are all read.
    async fn end_replay(&self, work: &Work) -> Result<(), P::Error> {
        let done = work.replay.with_state(ReplayState::Done, self.clock.unix_ms());
        if self.replays.replace(&done).await? {
            let Replay { tenant, id, counts: ReplayCounts { sent, skipped }, .. } = &done;
            tracing::info!(tenant.id = %tenant, replay.id = %id, sent, skipped, "replay.done");
            self.replays.end_running(&work.running).await?;
        }
        Ok(()) // Otherwise it was stopped, and the next run removes its note.
    }
}

/// The deliveries of one page.
struct Chosen {
    /// The deliveries that are not ignored, oldest first.
    deliveries: Vec<(ListedDelivery, ReplayStep)>,
    /// The position up to which the page goes; none if that is the end of the list.
    read_to: Option<ListPosition>,
    /// Whether deliveries were left to the next page.
    is_full: bool,
}

impl Chosen {
    /// Chooses the first deliveries of a list, of which at most `room` are sent. A page that was begun before does not go
    /// further than it would have gone.
    fn of(replay: &Replay, read: ListStretch, room: usize) -> Self {
        let (mut deliveries, mut to_send) = (Vec::new(), 0);
        let end = replay.page.and_then(|page| page.to);
        for delivery in read.deliveries {
            if end.is_some_and(|end| delivery.position > end) {
                return Self { deliveries, read_to: end, is_full: true };
            }
            let step = replay.decide(&delivery.progress);
            if step == ReplayStep::Ignore {
                continue;
            }
            to_send += usize::from(step == ReplayStep::Send);
            if deliveries.len() == PAGE || to_send > room {
                let last = deliveries.last().map(|(last, _): &(ListedDelivery, _)| last.position);
                return Self { deliveries, read_to: last, is_full: true };
            }
            deliveries.push((delivery, step));
        }
        Self { deliveries, read_to: read.read_to, is_full: false }
    }
}
