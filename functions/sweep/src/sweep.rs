//! Puts back into the queue what is due, and what waits for endpoints that take more again.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use lambda_runtime::Error;
use serde::Serialize;
use signpost_core::delivery::DeadLetterReason;
use signpost_core::delivery::drain::{DRAIN_SECONDS, DelaySpreader, room};
use signpost_core::delivery::parking::{Lane, last_swept_minute, rest_of_wait};
use signpost_io::aws::AwsError;
use signpost_io::queue::Message;
use signpost_io::runtime::clock::millis;
use signpost_io::runtime::logs::Chain;
use signpost_io::tables::parking::{Drain, Parked, without_event};

use crate::{App, CALLS_AT_ONCE};

/// What one sweeping did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Swept {
    /// How many deliveries are back in the queue because they are due within the next minutes.
    pub due: usize,
    /// How many because their endpoint may be called again.
    pub drained: usize,
    /// For how many endpoints a delivery waits whose event may expire. Looked at once an hour.
    pub expiring: usize,
    /// Whether somebody else was at it, so that nothing was done.
    pub busy: bool,
    /// Of how many minutes what is due is left to the next runs.
    pub minutes_behind: u64,
}

/// How long what is due may take in one run; what is left is the next one's.
const DUE_WORK: Duration = Duration::from_secs(20);
/// How long the drains may take in one run, whatever is due.
const DRAIN_WORK: Duration = Duration::from_secs(15);
/// How long a run keeps the others away, in seconds: longer than it can last, and over when the next one comes.
const LEASE_SECONDS: u64 = 55;
/// How often a run looks for deliveries that may expire while they wait; with the others, within the function's 50 s.
const WATCHED_EVERY_MINUTES: u64 = 60;
/// How far the very first run of a stack looks back: farther than its schedule can be late.
const FIRST_LOOK_BACK_MINUTES: u64 = 60;
/// How many endpoints' lanes are drained in one run.
const MAX_DRAINS: usize = 1_000;
/// How many endpoints' lanes are drained at once.
const DRAINS_AT_ONCE: usize = 4;
/// How many deliveries of a lane are moved together: 6 MiB of events at the most, and several lanes at once fit into memory.
const PAGE: usize = 25;

/// Sweeps once, as if it were the moment `now_unix_ms`, in milliseconds since the Unix epoch.
///
/// Safe to run twice at once, and to be stopped anywhere: one run keeps the others away, and a delivery leaves the table
/// only after it is in the queue, where a repetition is recognised by its record.
///
/// # Errors
/// DynamoDB or SQS failed: what was not moved is moved by the next run.
pub async fn sweep_at(app: &App, now_unix_ms: u64) -> Result<Swept, Error> {
    let (now, last) = (now_unix_ms / 1_000, last_swept_minute(now_unix_ms));
    let first = last.saturating_sub(FIRST_LOOK_BACK_MINUTES);
    let Some(mut minute) = app.parking.begin_sweep(now, now + LEASE_SECONDS, first).await? else {
        tracing::info!("sweep.busy");
        return Ok(Swept { busy: true, ..Swept::default() });
    };
    let mut swept = Swept::default();
    let due = app.sweep_due(&mut minute, now_unix_ms, Instant::now() + DUE_WORK, &mut swept).await;
    let drained = app.sweep_drains(now, Instant::now() + DRAIN_WORK, &mut swept).await;
    let mut watched = Ok(());
    if (now / 60).is_multiple_of(WATCHED_EVERY_MINUTES) {
        watched = app.watch(now_unix_ms).await.map(|expiring| swept.expiring = expiring);
    }
    app.parking.end_sweep(minute).await?;
    swept.minutes_behind = last.saturating_sub(minute);
    if swept != Swept::default() {
        let Swept { due, drained, expiring, minutes_behind, .. } = swept;
        tracing::info!(due, drained, expiring, minutes_behind, "sweep.done");
    }
    if let (Err(error), Err(_)) = (&due, &drained) {
        tracing::error!(error = %Chain(error), "sweep.due_failed"); // The other one is logged by the runtime.
    }
    drained.and(due).and(watched)?;
    Ok(swept)
}

/// What an endpoint takes of what is parked for it.
enum Room {
    /// So many in this minute.
    For(usize),
    /// Nothing until it is enabled, or can be read again.
    NotUntilEnabled,
}

/// What one endpoint's turn in a sweeping came to.
struct Turn {
    moved: usize,
    /// How what is left goes out; nothing if it was the last turn.
    spread: Option<DelaySpreader>,
}

impl Turn {
    const LAST: Self = Self { moved: 0, spread: None };
}

impl App {
    /// Moves what is due, minute by minute, and counts `minute` up as it goes.
    async fn sweep_due(
        &self,
        minute: &mut u64,
        now_unix_ms: u64,
        deadline: Instant,
        swept: &mut Swept,
    ) -> Result<(), AwsError> {
        let began = Instant::now();
        let now = || now_unix_ms + millis(began.elapsed());
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

    /// Moves what waits for endpoints that may be called again: a page of each in turn, so that none has to wait for
    /// those with more before it. One's trouble does not keep the others from their turn.
    async fn sweep_drains(&self, now: u64, deadline: Instant, swept: &mut Swept) -> Result<(), AwsError> {
        let mut drains = self.parking.drains(MAX_DRAINS).await?;
        let first = usize::try_from(now / 60).unwrap_or_default() % drains.len().max(1);
        drains.rotate_left(first); // Where not all get their turn, others are the first in a minute.
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
        deadline: Instant,
    ) -> Result<Turn, AwsError> {
        if Instant::now() >= deadline {
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

    /// How the deliveries of an endpoint's lane are put back in this minute; nothing where none is there, or none would be
    /// taken: what would go out would only be parked anew.
    async fn spread(&self, lane: &Lane, now: u64) -> Result<Option<DelaySpreader>, AwsError> {
        let first = self.parking.first_of(lane, 1).await?;
        let Some(parked) = first.first() else { return Ok(None) };
        Ok(match self.room(parked, now * 1_000).await? {
            Room::NotUntilEnabled => None,
            Room::For(most) => Some(DelaySpreader::over_a_minute(most)),
        })
    }

    async fn end(&self, drain: &Drain, now: u64) -> Result<Turn, AwsError> {
        if now >= drain.asked_at + DRAIN_SECONDS {
            self.parking.end_drain(drain).await?;
        }
        Ok(Turn::LAST)
    }

    /// How many deliveries the endpoint of a parked one takes in this minute.
    async fn room(&self, parked: &Parked, now_unix_ms: u64) -> Result<Room, AwsError> {
        let (tenant, id) = (&parked.event.tenant, &parked.endpoint);
        let settings = match self.endpoints.get(tenant, id).await {
            Ok(None) => return Ok(Room::For(usize::MAX)), // Removed: they are for the dead-letter queue.
            Ok(Some(stored)) if stored.disabled.is_some() => return Ok(Room::NotUntilEnabled),
            Ok(Some(stored)) => stored.settings,
            Err(error) if self.endpoints.exists(tenant, id).await? => {
                tracing::warn!(endpoint.id = %id, error = %Chain(&error), "sweep.endpoint_unreadable");
                return Ok(Room::NotUntilEnabled);
            }
            Err(error) => return Err(error),
        };
        let breaker = self.breakers.get(id).await;
        let mut room = room(&breaker, settings.max_per_second, now_unix_ms);
        // Whoever gets a slot drains on: there is work here for the free ones only.
        if let Some(limit) = settings.max_concurrency.filter(|_| room > 0) {
            room = room.min(self.limits.free(id, limit).await?);
        }
        Ok(Room::For(room))
    }

    /// Moves the deliveries of a lane that are due soon, and tells whether there is none left.
    async fn empty(
        &self,
        lane: &Lane,
        now_unix_ms: impl Fn() -> u64,
        deadline: Instant,
        moved: &mut usize,
    ) -> Result<bool, AwsError> {
        while Instant::now() < deadline {
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

    /// Puts deliveries back into the queue, each after `delay`, and takes them out of the table.
    async fn move_all(&self, page: &[Parked], mut delay: impl FnMut(&Parked) -> Duration) -> Result<(), AwsError> {
        let read = page.iter().map(async |parked| Ok::<_, AwsError>((parked, self.events.get(&parked.event).await?)));
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
        self.dead_letter_queue.send_all(gone.iter().map(|parked| without_event(parked))).await?;
        for delivery in gone.iter().filter_map(|parked| parked.key()) {
            self.deliveries.end(delivery, DeadLetterReason::EventGone).await?;
        }
        let removed = page.iter().map(|parked| self.parking.remove(parked));
        stream::iter(removed).buffer_unordered(CALLS_AT_ONCE).try_collect::<()>().await
    }
}
