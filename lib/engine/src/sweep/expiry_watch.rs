//! Warns operators of deliveries whose event may expire while they wait for their endpoint.

use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use signpost_core::delivery::parking::{Lane, NOTED_FOR_SECONDS, expires_soon, kept_for_endpoint_until};
use signpost_core::endpoint::EndpointId;
use uuid::Builder;

use crate::logs::Chain;
use crate::ports::Ports;
use crate::ports::clock::{Clock as _, Random as _, rfc3339};
use crate::ports::parking::{Parking as _, Waiting};
use crate::sweep::{CALLS_AT_ONCE, Sweep};

/// How long one run may check endpoints.
const WATCH_WORK: Duration = Duration::from_secs(8);
/// How many endpoints are read together.
const PAGE: usize = 100;

impl<P: Ports> Sweep<P> {
    /// Checks the oldest delivery of each endpoint for which deliveries wait. Logs `delivery.expires_soon` if half of
    /// the time is over for which its event is kept. Returns the number of these endpoints.
    ///
    /// Starts at a random endpoint, so that each gets its turn even if a run cannot check all.
    ///
    /// # Errors
    /// The list of endpoints could not be read. An endpoint that cannot be checked is logged, and does not stop the
    /// others.
    pub(super) async fn watch(&self, now_unix_ms: u64) -> Result<usize, P::Error> {
        let begin = EndpointId::new(Builder::from_random_bytes(self.random.bytes()).into_uuid());
        let deadline = self.clock.elapsed() + WATCH_WORK;
        let behind = self.watch_from(Some(&begin), None, now_unix_ms, deadline).await?;
        Ok(behind + self.watch_from(None, Some(&begin), now_unix_ms, deadline).await?)
    }

    async fn watch_from(
        &self,
        after: Option<&EndpointId>,
        until: Option<&EndpointId>,
        now_unix_ms: u64,
        deadline: Duration,
    ) -> Result<usize, P::Error> {
        let (mut after, mut warned) = (after.cloned(), 0);
        while self.clock.elapsed() < deadline {
            let page = self.parking.waiting(after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.endpoint.clone());
            let is_over = until.is_some_and(|until| last.endpoint > *until);
            let is_in_turn = |waiting: &&Waiting| until.is_none_or(|until| waiting.endpoint <= *until);
            let looks =
                page.iter().filter(is_in_turn).map(async |waiting| match self.look_after(waiting, now_unix_ms).await {
                    Ok(is_warned) => is_warned,
                    Err(error) => {
                        tracing::warn!(endpoint.id = %waiting.endpoint, error = %Chain(&error), "sweep.watch_failed");
                        false
                    }
                });
            let looked: Vec<_> = stream::iter(looks).buffer_unordered(CALLS_AT_ONCE).collect().await;
            warned += looked.into_iter().filter(|is_warned| *is_warned).count();
            if is_over {
                break;
            }
        }
        Ok(warned)
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
