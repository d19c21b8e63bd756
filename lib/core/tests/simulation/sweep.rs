//! The `sweep` function: step by step as `functions/sweep/src/sweep.rs`.

use std::time::Duration;

use signpost_core::delivery::drain::{DRAIN_SECONDS, DelaySpreader, drain_quota};
use signpost_core::delivery::limits::free_slots;
use signpost_core::delivery::parking::{SHARDS, last_swept_minute, rest_of_wait};

use crate::shared::Breakers;
use crate::tables::{Parked, Place};
use crate::world::{Fault, Process};

const DUE_WORK_MS: u64 = 20_000;
const DRAIN_WORK_MS: u64 = 15_000;
const LEASE_SECONDS: u64 = 55;
const FIRST_LOOK_BACK_MINUTES: u64 = 60;
const MAX_DRAINS: usize = 1_000;
const PAGE: usize = 25;
const CALLS_AT_ONCE: usize = 16;

pub async fn sweep(process: &Process) -> Result<(), Fault> {
    let now_ms = process.now();
    let (now, last) = (now_ms / 1_000, last_swept_minute(now_ms));
    let first = last.saturating_sub(FIRST_LOOK_BACK_MINUTES);
    let begun = process.table(|tables| tables.begin_sweep(now, now + LEASE_SECONDS, first)).await?;
    let Some(mut minute) = begun else { return Ok(()) };
    let due = sweep_due(process, &mut minute, last).await;
    let drained = sweep_drains(process, now).await;
    process.table(|tables| tables.end_sweep(minute)).await?;
    drained.and(due)
}

async fn sweep_due(process: &Process, minute: &mut u64, last: u64) -> Result<(), Fault> {
    let deadline = process.world.now() + DUE_WORK_MS;
    while *minute < last {
        let mut is_empty = true;
        for shard in 0..SHARDS {
            let lane = Place::Due { minute: *minute + 1, shard };
            is_empty &= empty(process, lane, deadline).await?;
        }
        if !is_empty {
            return Ok(());
        }
        *minute += 1;
    }
    Ok(())
}

async fn sweep_drains(process: &Process, now: u64) -> Result<(), Fault> {
    let (deadline, breakers) = (process.world.now() + DRAIN_WORK_MS, Breakers::new(process));
    let drains = process.table(|tables| tables.drains.clone()).await?;
    let mut drains: Vec<_> = drains.into_iter().take(MAX_DRAINS).collect();
    let first = usize::try_from(now / 60).unwrap() % drains.len().max(1);
    drains.rotate_left(first);
    let mut round: Vec<_> = drains.into_iter().map(|drain| (drain, None)).collect();
    let mut outcome = Ok(());
    while !round.is_empty() {
        let mut next = Vec::new();
        for (drain, spread) in round {
            match take_turn(process, &breakers, drain, spread, now, deadline).await {
                Ok(spread) => next.extend(spread.map(|spread| (drain, Some(spread)))),
                Err(Fault) => outcome = Err(Fault),
            }
        }
        round = next;
    }
    outcome
}

/// Moves a page of an endpoint's deliveries, and gives how what is left goes out; nothing if it was the last turn.
async fn take_turn(
    process: &Process,
    breakers: &Breakers,
    (endpoint, asked_at): (usize, u64),
    spread: Option<DelaySpreader>,
    now: u64,
    deadline: u64,
) -> Result<Option<DelaySpreader>, Fault> {
    if process.world.now() >= deadline {
        return Ok(None);
    }
    let lane = Place::Endpoint(endpoint);
    let spread = match spread {
        Some(spread) => Some(spread),
        None if process.table(|tables| tables.first_of(lane, 1)).await?.is_empty() => None,
        None => room_of(process, breakers, endpoint, now * 1_000).await?.map(DelaySpreader::over_a_minute),
    };
    let is_empty = match spread {
        Some(mut spread) if spread.left() > 0 => {
            let most = spread.left().min(PAGE);
            if move_page(process, lane, most, |_| spread.delay()).await? {
                return Ok(Some(spread));
            }
            true
        }
        Some(_) => false,
        None => true,
    };
    if is_empty && now >= asked_at + DRAIN_SECONDS {
        process.table(|tables| tables.end_drain(endpoint, asked_at)).await?;
    }
    Ok(None)
}

/// How many an endpoint takes in this minute; nothing until it is enabled.
async fn room_of(process: &Process, breakers: &Breakers, id: usize, now: u64) -> Result<Option<usize>, Fault> {
    let endpoint = match process.table(|tables| tables.endpoints[id].clone()).await? {
        None => return Ok(Some(usize::MAX)),
        Some(endpoint) if !endpoint.is_enabled => return Ok(None),
        Some(endpoint) => endpoint,
    };
    let mut room = drain_quota(&breakers.get(id).await, endpoint.max_per_second, now);
    if let Some(limit) = endpoint.max_concurrency.filter(|_| room > 0) {
        let held = process.table(|tables| tables.held(id)).await?;
        room = room.min(free_slots(&held, limit, process.now()).count());
    }
    Ok(Some(room))
}

async fn empty(process: &Process, lane: Place, deadline: u64) -> Result<bool, Fault> {
    while process.world.now() < deadline {
        let now = process.now();
        if !move_page(process, lane, PAGE, |parked| rest_of_wait(parked.at, now)).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns whether there was anything to move.
async fn move_page(
    process: &Process,
    lane: Place,
    most: usize,
    mut delay: impl FnMut(&Parked) -> Duration,
) -> Result<bool, Fault> {
    let page = process.table(|tables| tables.first_of(lane, most)).await?;
    for _ in page.chunks(CALLS_AT_ONCE) {
        process.table(|_| ()).await?; // Reads the events.
    }
    let messages: Vec<_> =
        page.iter().map(|parked| (parked.id, Some(parked.at), delay(parked).as_secs().min(900))).collect();
    process.send_all(&messages).await?;
    for some in page.chunks(CALLS_AT_ONCE) {
        process.table(|tables| some.iter().for_each(|parked| tables.unpark(parked))).await?;
        for parked in some {
            process.world.tell(parked.id, || "swept".into());
        }
    }
    Ok(!page.is_empty())
}
