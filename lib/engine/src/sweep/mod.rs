//! The work of `sweep`: puts due deliveries back into the queue, and those to endpoints that accept requests again.

mod drains;
mod expiry_watch;
mod redrive;
mod replays;
mod tenant_erasures;

use std::time::Duration;

use futures_util::future::{join_all, join5};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use signpost_core::delivery::DeadLetterReason;
use signpost_core::delivery::parking::{Lane, last_swept_minute, rest_of_wait};
use signpost_core::endpoint::Limit;

use crate::limiter::Limiter;
use crate::logs::Chain;
use crate::metrics::{Meter, Metric};
use crate::ports::Ports;
use crate::ports::clock::{Clock as _, millis};
use crate::ports::deliveries::Deliveries as _;
use crate::ports::endpoints::Endpoints as _;
use crate::ports::events::Events as _;
use crate::ports::parking::{Parked, Parking as _, SweepState};
use crate::ports::queue::{Message, Queue as _};

use drains::Drained;
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
    /// The lists of deliveries.
    pub delivery_lists: P::DeliveryLists,
    /// The queue that `deliver` reads.
    pub deliveries_queue: P::Queue,
    /// The endpoints.
    pub endpoints: P::Endpoints,
    /// The erasures of tenants.
    pub erasures: P::TenantErasures,
    /// The events.
    pub events: P::Events,
    /// The queue that `fanout` reads.
    pub events_queue: P::Queue,
    /// The slots of endpoints and tenants, and the counts of endpoints.
    pub limits: P::Limits,
    /// The metrics.
    pub meter: Meter,
    /// The parked deliveries.
    pub parking: P::Parking,
    /// The queue for rejected events.
    pub rejected_queue: P::Queue,
    /// The bulk replays.
    pub replays: P::Replays,
    /// How long events are kept.
    pub retention: Duration,
    /// How many invocations of the slow track may send for one tenant at the same time.
    pub slow_invocations_per_tenant: Limit,
    /// The subscriptions, which name all endpoints of a tenant.
    pub subscriptions: P::Subscriptions,
}

/// One environment of `sweep`, with what it remembers.
pub struct Sweep<P: Ports> {
    clock: P::Clock,
    breakers: P::Breakers,
    dead_letter_queue: P::Queue,
    deliveries: P::Deliveries,
    deliveries_queue: P::Queue,
    delivery_lists: P::DeliveryLists,
    endpoints: P::Endpoints,
    erasures: P::TenantErasures,
    events: P::Events,
    events_queue: P::Queue,
    limiter: Limiter<P>,
    meter: Meter,
    parking: P::Parking,
    rejected_queue: P::Queue,
    replays: P::Replays,
    retention: Duration,
    slow_invocations_per_tenant: Limit,
    subscriptions: P::Subscriptions,
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
    /// How many requested drains are left to the next runs, without having moved a delivery.
    pub not_reached: usize,
    /// How many deliveries were parked for bulk replays.
    pub replayed: usize,
    /// How many things of erased tenants were removed: events, deliveries and others.
    pub erased: u64,
}

/// How long one run may begin to move deliveries: three calls in sequence, each of which may hang for 4 s, still end
/// within the function's 50 s. The next run continues.
const WORK: Duration = Duration::from_secs(38);
/// How long one run may begin pages of bulk replays and steps of erasures. A page makes more calls in sequence, so it ends earlier: a run that is
/// killed does not store how far its other work has come.
const REPLAY_WORK: Duration = Duration::from_secs(30);
/// How long a run keeps other runs away, in seconds: longer than it can last, and over before the next one starts.
const LEASE_SECONDS: u64 = 55;
/// How far the first run of a stack looks back: farther than its schedule can be late.
const FIRST_LOOK_BACK_MINUTES: u64 = 60;
/// How many calls run at the same time.
const CALLS_AT_ONCE: usize = 16;
/// How many deliveries of a lane are read together. The events of all due lanes and drains that are moved at the same time
/// must fit into memory, see `MOST_READ_BYTES`.
const PAGE: usize = 25;

impl<P: Ports> Sweep<P> {
    /// Creates an environment that remembers nothing yet.
    pub fn new(ports: SweepPorts<P>) -> Self {
        let SweepPorts { clock, random, breakers, dead_letter_queue, deliveries, deliveries_queue, .. } = ports;
        let SweepPorts { endpoints, events, events_queue, limits, parking, rejected_queue, retention, .. } = ports;
        let SweepPorts { delivery_lists, erasures, meter, replays, slow_invocations_per_tenant, subscriptions, .. } =
            ports;
        Self {
            breakers,
            dead_letter_queue,
            deliveries,
            deliveries_queue,
            delivery_lists,
            endpoints,
            erasures,
            events,
            events_queue,
            limiter: Limiter::new(clock.clone(), random, limits),
            meter,
            parking,
            rejected_queue,
            replays,
            retention,
            slow_invocations_per_tenant,
            subscriptions,
            clock,
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
        let Some(mut state) = self.parking.begin_sweep(now, now + LEASE_SECONDS, first).await? else {
            tracing::info!("sweep.busy");
            return Ok(Swept { busy: true, ..Swept::default() });
        };
        let SweepState { swept_minute, drained_until, watched_until } = &mut state;
        let began = self.clock.elapsed();
        let (mut due, mut expiring, mut replayed, mut erased) = (0, 0, 0, 0);
        let (moved, drained, watched, replays, erasures) = join5(
            // In boxes, because together they are larger than a stack frame should be.
            Box::pin(self.sweep_due(swept_minute, now_unix_ms, began + WORK, &mut due)),
            Box::pin(self.sweep_drains(drained_until, now_unix_ms, began + WORK)),
            self.watch(watched_until, now_unix_ms, &mut expiring),
            Box::pin(self.sweep_replays(now_unix_ms, began + REPLAY_WORK, &mut replayed)),
            Box::pin(self.sweep_erasures(now_unix_ms, began + REPLAY_WORK, &mut erased)),
        )
        .await;
        let minutes_behind = last.saturating_sub(state.swept_minute);
        let Drained { moved: drained, not_reached, outcome } = drained;
        let swept = Swept { due, drained, expiring, busy: false, minutes_behind, not_reached, replayed, erased };
        self.measure(&swept);
        self.parking.end_sweep(&state).await?;
        if swept != Swept::default() {
            tracing::info!(due, drained, expiring, minutes_behind, not_reached, replayed, erased, "sweep.done");
        }
        if minutes_behind > 0 || not_reached > 0 {
            tracing::warn!(minutes_behind, not_reached, "sweep.behind");
        }
        if let (Err(error), Err(_)) = (&moved, &outcome) {
            tracing::error!(error = %Chain(error), "sweep.due_failed"); // The runtime logs the other error.
        }
        outcome.and(moved).and(watched).and(replays).and(erasures)?;
        Ok(swept)
    }

    fn measure(&self, swept: &Swept) {
        self.meter.add(Metric::DeliveriesDue, swept.due);
        self.meter.add(Metric::DeliveriesDrained, swept.drained);
        self.meter.add(Metric::EndpointsExpiring, swept.expiring);
        self.meter.gauge(Metric::EndpointsNotReached, swept.not_reached as u64);
        self.meter.gauge(Metric::MinutesBehind, swept.minutes_behind);
        self.meter.gauge(Metric::OldestParkedAge, 0); // If none was seen.
    }

    /// Reports how long a delivery has waited that is parked for its endpoint.
    fn measure_oldest(&self, parked: &Parked, now_unix_ms: u64) {
        self.meter.gauge(Metric::OldestParkedAge, now_unix_ms.saturating_sub(parked.at_unix_ms) / 1_000);
    }

    /// Moves due deliveries, minute by minute, and advances `minute`. Counts them in `due`.
    async fn sweep_due(
        &self,
        minute: &mut u64,
        now_unix_ms: u64,
        deadline: Duration,
        due: &mut usize,
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
            *due += emptied.iter().map(|(_, moved)| moved).sum::<usize>();
            for (is_empty, _) in emptied {
                if !is_empty? {
                    return Ok(());
                }
            }
            *minute += 1;
        }
        Ok(())
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

    /// Returns whether the event of a parked delivery was erased, or its tenant.
    async fn is_erased(&self, parked: &Parked) -> Result<bool, P::Error> {
        let Some(delivery) = parked.key() else { return Ok(false) };
        if self.deliveries.standing(delivery).await?.is_some_and(|record| record.is_erased()) {
            return Ok(true);
        }
        Ok(delivery.arrived_unix_ms < self.endpoints.erased_until(&delivery.event.tenant).await?)
    }

    /// Puts deliveries back into the queue, each after `delay`, and removes them from the table.
    async fn move_all(&self, mut page: &[Parked], mut delay: impl FnMut(&Parked) -> Duration) -> Result<(), P::Error> {
        while !page.is_empty() {
            let moved = self.move_some(page, &mut delay).await?;
            page = &page[moved..];
        }
        Ok(())
    }

    /// Moves the first deliveries of a page, whose events fit into memory together. Returns how many.
    async fn move_some(&self, page: &[Parked], mut delay: impl FnMut(&Parked) -> Duration) -> Result<usize, P::Error> {
        let keys: Vec<_> = page.iter().map(|parked| &parked.event).collect();
        let (mut messages, mut gone) = (Vec::new(), Vec::new());
        let events = self.events.get_some(&keys).await?;
        let page = &page[..events.len()];
        for (parked, kept) in page.iter().zip(events) {
            match kept {
                Some(kept) => {
                    messages.push(Message { delay: delay(parked), ..Message::of_parked(parked, &kept) });
                }
                None if self.is_erased(parked).await? => {}
                None => gone.push(parked),
            }
        }
        self.deliveries_queue.send_all(messages).await?;
        if !gone.is_empty() {
            self.dead_letter_queue.send_all(gone.iter().map(|parked| parked.without_event())).await?;
            self.meter.add(Metric::DeliveriesDeadLettered, gone.len());
        }
        let ends = gone.iter().filter_map(|parked| parked.key());
        let ends = ends.map(|delivery| self.deliveries.end(delivery, DeadLetterReason::EventGone));
        stream::iter(ends).buffer_unordered(CALLS_AT_ONCE).try_collect::<()>().await?;
        self.parking.remove_all(page).await?;
        Ok(page.len())
    }
}
