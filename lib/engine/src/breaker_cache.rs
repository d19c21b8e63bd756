//! The breakers of endpoints ([`signpost_core::delivery::breaker`]) as one environment knows them.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as SyncMutex};
use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::lock::Mutex;
use signpost_core::delivery::attempt::AttemptResult;
use signpost_core::delivery::breaker::{Admission, Breaker, Outcomes, SILENT_AFTER};
use signpost_core::delivery::notices::Notice;
use signpost_core::endpoint::EndpointId;

use crate::logs::Chain;
use crate::metrics::{Meter, Metric};
use crate::ports::Ports;
use crate::ports::clock::{Clock as _, Random as _, millis};
use crate::ports::limits::Breakers as _;
use crate::slots::{Slots, lock};

/// The breakers, each at most [`REMEMBERED_FOR`] old, and the outcomes that are not written yet.
///
/// If a call fails, deliveries go on with the breaker that was read last, or with a closed one if none was ever read.
pub struct BreakerCache<P: Ports> {
    clock: P::Clock,
    random: P::Random,
    table: P::Breakers,
    meter: Meter,
    known: Slots<EndpointId, Known>,
}

#[derive(Debug, Default)]
struct Known {
    untold: SyncMutex<Outcomes>,
    /// Every reader and writer holds the lock, so that outcomes that are counted meanwhile are written together.
    read: Mutex<Option<Read>>,
    /// The duration of the slowest recent acknowledgement, in milliseconds. It decays.
    slowest_ms: AtomicU64,
}

#[derive(Clone, Debug, Default)]
struct Read {
    at: Duration,
    breaker: Breaker,
    /// The version that was read; `None` if there is none.
    version: Option<u64>,
}

/// How long a breaker that was read is used before it is read again.
pub const REMEMBERED_FOR: Duration = Duration::from_secs(2);
/// How long an attempt waits at most until its outcome is written to the breaker.
const TELLING: Duration = Duration::from_secs(8);
/// How many breakers are remembered at once. A forgotten one loses the counts of a few minutes.
const CAPACITY: usize = 5_000;
/// How many times a change that lost against another is computed again.
const ROUNDS: usize = 5;

impl<P: Ports> BreakerCache<P> {
    /// Creates an empty cache.
    pub fn new(clock: P::Clock, random: P::Random, table: P::Breakers, meter: Meter) -> Self {
        Self { clock, random, table, meter, known: Slots::new(CAPACITY) }
    }

    /// Returns the breaker of an endpoint. One read every [`REMEMBERED_FOR`].
    pub async fn get(&self, endpoint: &EndpointId) -> Breaker {
        let known = self.known(endpoint);
        let mut read = known.read.lock().await;
        match &*read {
            Some(one) if (one.at..one.at + REMEMBERED_FOR).contains(&self.clock.unix()) => one.breaker.clone(),
            _ => self.refresh(endpoint, &mut read).await,
        }
    }

    /// Claims the right to send the probe. Returns false if another sender was faster. One read and one write.
    pub async fn claim_probe(&self, endpoint: &EndpointId) -> bool {
        let known = self.known(endpoint);
        let mut read = known.read.lock().await;
        let (breaker, now) = (self.refresh(endpoint, &mut read).await, self.clock.unix_ms());
        breaker.admits(now) == Admission::Probe && self.replace(endpoint, &mut read, breaker.probing(now)).await
    }

    /// Awaits an exchange with an endpoint. If there is no answer for long, it reports that to the breaker: first that the
    /// endpoint is slow, and that it is silent when even its slowest acknowledgements would have come.
    pub async fn watch<T>(&self, endpoint: &EndpointId, exchange: impl Future<Output = T>) -> T {
        let known = self.known(endpoint);
        let patience = SILENT_AFTER.max(2 * Duration::from_millis(known.slowest_ms.load(Ordering::Relaxed)));
        let mut exchange = pin!(exchange);
        let mut waited = Duration::ZERO;
        for wait in [SILENT_AFTER, patience].into_iter().skip(usize::from(patience == SILENT_AFTER)) {
            if let Some(done) = self.clock.within(wait.saturating_sub(waited), exchange.as_mut()).await {
                return done;
            }
            waited = wait;
            lock(&known.untold).add_slow();
            if wait == patience {
                lock(&known.untold).add_silence();
            }
            let telling = pin!(self.tell(endpoint, &known));
            if let Either::Left((done, _)) = select(exchange.as_mut(), telling).await {
                return done;
            }
        }
        exchange.await
    }

    /// Reports the outcome of an attempt to the breaker, with its duration, and returns the breaker after it. Takes at
    /// most eight seconds. An outcome that is not written by then is written with the next one.
    ///
    /// One read and one write if the outcome changes the breaker. A healthy endpoint that has proved its pace needs
    /// neither.
    pub async fn observe(&self, endpoint: &EndpointId, result: &AttemptResult, took: Duration) -> Breaker {
        let known = self.known(endpoint);
        if result.is_ok() {
            let slowest = known.slowest_ms.load(Ordering::Relaxed);
            known.slowest_ms.store(millis(took).max(slowest - slowest / 10), Ordering::Relaxed);
        }
        {
            let mut untold = lock(&known.untold);
            untold.add(result, self.clock.unix_ms());
            untold.add_duration(took);
        }
        self.clock.within(TELLING, self.tell(endpoint, &known)).await.unwrap_or_default()
    }

    /// Reports a delivery that was given up, with the error of its last attempt if that is known, and returns the breaker
    /// after it. Takes at most eight seconds.
    ///
    /// One read and one write if the owner must hear of it, which is once an hour at most; otherwise one read if the
    /// breaker is not known here.
    pub async fn give_up(&self, endpoint: &EndpointId, result: Option<&AttemptResult>) -> Breaker {
        let known = self.known(endpoint);
        let error = result.and_then(|result| result.as_ref().err());
        lock(&known.untold).add_exhausted(error, self.clock.unix_ms());
        self.clock.within(TELLING, self.tell(endpoint, &known)).await.unwrap_or_default()
    }

    /// Removes notices from the breaker after they were sent. If that fails, another instance sends them again, under the
    /// same ids.
    ///
    /// One write, and one read more for each writer that was faster.
    pub async fn notices_sent(&self, endpoint: &EndpointId, sent: &[Notice]) {
        let known = self.known(endpoint);
        let mut read = known.read.lock().await;
        for _ in 0..ROUNDS {
            let breaker = match &*read {
                Some(one) => one.breaker.clone(),
                None => self.refresh(endpoint, &mut read).await,
            };
            let after = breaker.clone().without_notices(sent);
            if after == breaker || self.replace(endpoint, &mut read, after).await {
                return;
            }
            self.refresh(endpoint, &mut read).await;
        }
    }

    async fn tell(&self, endpoint: &EndpointId, known: &Known) -> Breaker {
        let mut read = known.read.lock().await;
        for _ in 0..ROUNDS {
            let breaker = match &*read {
                Some(one) => one.breaker.clone(),
                None => self.refresh(endpoint, &mut read).await,
            };
            let untold = {
                let mut untold = lock(&known.untold);
                if !untold.changes(&breaker) {
                    untold.forget_unneeded();
                    return breaker;
                }
                std::mem::take(&mut *untold)
            };
            let after = breaker.clone().after(&untold, self.clock.unix_ms(), self.random.f64());
            if self.replace(endpoint, &mut read, after.clone()).await {
                self.log_change(endpoint, &breaker, &after);
                return after;
            }
            lock(&known.untold).merge_earlier(untold, self.clock.unix_ms());
            self.refresh(endpoint, &mut read).await;
        }
        read.as_ref().map(|one| one.breaker.clone()).unwrap_or_default()
    }

    fn known(&self, endpoint: &EndpointId) -> Arc<Known> {
        self.known.get(endpoint.clone())
    }

    async fn refresh(&self, endpoint: &EndpointId, read: &mut Option<Read>) -> Breaker {
        let (breaker, version) = match self.table.read(endpoint).await {
            Ok(read) => read,
            Err(error) => {
                tracing::warn!(endpoint.id = %endpoint, error = %Chain(&error), "breaker.not_read");
                // Remember it like one that was read, so that the next callers do not wait for the table as well.
                let Read { breaker, version, .. } = read.take().unwrap_or_default();
                (breaker, version)
            }
        };
        *read = Some(Read { at: self.clock.unix(), breaker: breaker.clone(), version });
        breaker
    }

    /// Writes the successor of the breaker that was read. Returns false if another writer changed it since, or if the
    /// call failed.
    async fn replace(&self, endpoint: &EndpointId, read: &mut Option<Read>, breaker: Breaker) -> bool {
        let before = read.as_ref().and_then(|one| one.version);
        let version = self.random.u64();
        match self.table.replace(endpoint, before, &breaker, version).await {
            Ok(true) => {
                *read = Some(Read { at: self.clock.unix(), breaker, version: Some(version) });
                true
            }
            Ok(false) => false,
            Err(error) => {
                tracing::warn!(endpoint.id = %endpoint, error = %Chain(&error), "breaker.not_written");
                false
            }
        }
    }

    fn log_change(&self, endpoint: &EndpointId, before: &Breaker, after: &Breaker) {
        let now = self.clock.unix_ms();
        match (before.admits(now), after.admits(now)) {
            (Admission::Send, Admission::Park) => {
                tracing::warn!(endpoint.id = %endpoint, "breaker.opened");
                self.meter.add(Metric::BreakersOpened, 1);
            }
            (Admission::Park | Admission::Probe, Admission::Send) => {
                tracing::info!(endpoint.id = %endpoint, "breaker.closed");
                self.meter.add(Metric::BreakersClosed, 1);
            }
            _ => {}
        }
    }
}
