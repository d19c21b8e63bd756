//! Warns operators of deliveries whose event may expire while they wait for their endpoint.

use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use signpost_core::delivery::parking::{Lane, NOTED_FOR_SECONDS, expires_soon, kept_for_endpoint_until};
use signpost_core::endpoint::EndpointId;

use crate::logs::Chain;
use crate::ports::Ports;
use crate::ports::clock::{Clock as _, rfc3339};
use crate::ports::parking::{Parking as _, Waiting};
use crate::sweep::{CALLS_AT_ONCE, Sweep};

/// How often a run begins to check endpoints.
const WATCHED_EVERY_MINUTES: u64 = 60;
/// How long one run may check endpoints, beside its other work.
const WATCH_WORK: Duration = Duration::from_secs(8);
/// How many endpoints are read together.
const PAGE: usize = 100;

impl<P: Ports> Sweep<P> {
    /// Checks the oldest delivery of each endpoint for which deliveries wait. Logs `delivery.expires_soon` if half of
    /// the time is over for which its event is kept. Counts these endpoints in `expiring`.
    ///
    /// Begins once an hour. If a run cannot check all endpoints, the next run goes on behind `after`, the last one that was
    /// checked.
    ///
    /// # Errors
    /// The list of endpoints could not be read. An endpoint that cannot be checked is logged, and does not stop the
    /// others.
    pub(super) async fn watch(
        &self,
        after: &mut Option<EndpointId>,
        now_unix_ms: u64,
        expiring: &mut usize,
    ) -> Result<(), P::Error> {
        if after.is_none() && !(now_unix_ms / 60_000).is_multiple_of(WATCHED_EVERY_MINUTES) {
            return Ok(());
        }
        let deadline = self.clock.elapsed() + WATCH_WORK;
        while self.clock.elapsed() < deadline {
            let page = self.parking.waiting(after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else {
                *after = None;
                return Ok(());
            };
            let looks = page.iter().map(async |waiting| match self.look_after(waiting, now_unix_ms).await {
                Ok(is_warned) => is_warned,
                Err(error) => {
                    tracing::warn!(endpoint.id = %waiting.endpoint, error = %Chain(&error), "sweep.watch_failed");
                    false
                }
            });
            let looked: Vec<_> = stream::iter(looks).buffer_unordered(CALLS_AT_ONCE).collect().await;
            *expiring += looked.into_iter().filter(|is_warned| *is_warned).count();
            *after = Some(last.endpoint.clone());
        }
        Ok(())
    }

    /// Checks one endpoint. Returns whether it logged a warning.
    async fn look_after(&self, waiting: &Waiting, now_unix_ms: u64) -> Result<bool, P::Error> {
        let lane = Lane::Endpoint(waiting.endpoint.clone());
        let oldest = self.parking.first_of(&lane, 1).await?;
        let Some(oldest) = oldest.first() else {
            // An environment that still considers its note valid may park another delivery without a new note.
            let is_stale = now_unix_ms / 1_000 > waiting.noted_at + 2 * NOTED_FOR_SECONDS;
            if is_stale && self.parking.is_empty(&lane).await? {
                self.parking.end_waiting(waiting).await?;
            }
            return Ok(false);
        };
        self.measure_oldest(oldest, now_unix_ms);
        if !expires_soon(oldest.at_unix_ms, self.retention, now_unix_ms) {
            return Ok(false);
        }
        tracing::warn!(
            tenant.id = %oldest.event.tenant,
            endpoint.id = %oldest.endpoint,
            waits.since = %rfc3339(oldest.at_unix_ms),
            kept.until = %rfc3339(kept_for_endpoint_until(oldest.at_unix_ms, self.retention)),
            "delivery.expires_soon"
        );
        Ok(true)
    }
}
