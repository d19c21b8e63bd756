//! Erasures of tenants: removes what the tables have of them, step by step.

use std::collections::VecDeque;
use std::time::Duration;

use signpost_core::tenant_erasure::{ErasureStage, Removed, TenantErasure};

use crate::logs::Chain;
use crate::metrics::Metric;
use crate::ports::Ports;
use crate::ports::clock::Clock as _;
use crate::ports::tenant_erasures::{ErasureStep, RunningErasure, TenantErasures as _};
use crate::sweep::Sweep;

/// How long a note without its erasure is kept, in seconds: longer than `manage` takes to write both.
const NOTED_FOR_SECONDS: u64 = 600;

impl<P: Ports> Sweep<P> {
    /// Works on the erasures of tenants, which take turns. In each turn an erasure does a step. A failure of one does not
    /// stop the others. Adds what was removed to `removed`.
    ///
    /// A step is repeated if a run ends in it. Then it finds only what is left.
    ///
    /// # Errors
    /// A call failed. The next run goes on with the step.
    pub(super) async fn sweep_erasures(
        &self,
        now_unix_ms: u64,
        deadline: Duration,
        removed: &mut u64,
    ) -> Result<(), P::Error> {
        let mut turns: VecDeque<(RunningErasure, Option<TenantErasure>)> =
            self.erasures.running().await?.into_iter().map(|running| (running, None)).collect();
        let mut outcome = Ok(());
        while self.clock.elapsed() < deadline
            && let Some((running, erasure)) = turns.pop_front()
        {
            match self.take_erasure_turn(&running, erasure, now_unix_ms, removed).await {
                Ok(None) => {}
                Ok(next) => turns.push_back((running, next)),
                Err(error) => {
                    let (tenant, id) = (&running.tenant, &running.id);
                    tracing::error!(tenant.id = %tenant, erasure.id = %id, error = %Chain(&error), "sweep.erasure_failed");
                    outcome = Err(error);
                }
            }
        }
        outcome
    }

    /// Does a step of an erasure. Without `erasure`, reads it first. Returns it if it goes on in this run.
    async fn take_erasure_turn(
        &self,
        running: &RunningErasure,
        erasure: Option<TenantErasure>,
        now_unix_ms: u64,
        removed: &mut u64,
    ) -> Result<Option<TenantErasure>, P::Error> {
        let erasure = match erasure {
            Some(erasure) => Some(erasure),
            None => self.erasures.get(&running.tenant, &running.id).await?,
        };
        let Some(erasure) = erasure.filter(|erasure| !erasure.is_done()) else {
            // `manage` writes the erasure after its note, so it may still come.
            return self.end_erasure_note(running, now_unix_ms).await.map(|()| None);
        };
        let step = match erasure.stage {
            ErasureStage::Settling if !erasure.has_settled(now_unix_ms) => return Ok(None), // The next run looks again.
            ErasureStage::Settling => ErasureStep::default(),
            _ => Box::pin(self.erasures.step(&erasure)).await?,
        };
        *removed += step.removed.total();
        self.meter.add(Metric::ErasedItems, usize::try_from(step.removed.total()).unwrap_or(usize::MAX));
        let after = erasure.after_step(step.removed, step.cursor, self.clock.unix_ms());
        if !self.erasures.replace(&after).await? {
            return Ok(None); // Another run was faster.
        }
        if !after.is_done() {
            return Ok(Some(after));
        }
        let Removed { endpoints, events, deliveries, .. } = after.removed;
        let TenantErasure { tenant, id, .. } = &after;
        tracing::info!(tenant.id = %tenant, erasure.id = %id, endpoints, events, deliveries, "tenant.erased");
        self.erasures.end_running(running).await?;
        Ok(None)
    }

    async fn end_erasure_note(&self, running: &RunningErasure, now_unix_ms: u64) -> Result<(), P::Error> {
        let is_late = now_unix_ms / 1_000 >= running.noted_at + NOTED_FOR_SECONDS;
        if is_late || self.erasures.get(&running.tenant, &running.id).await?.is_some() {
            self.erasures.end_running(running).await?;
        }
        Ok(())
    }
}
