//! The circuit breakers of endpoints ([`signpost_core::delivery::breaker`]), in `ParkingTable`: lane
//! `breaker#<endpoint>`, place `breaker`. An endpoint without a failure has none.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as SyncMutex};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use futures_util::future::{Either, select};
use signpost_core::delivery::attempt::AttemptResult;
use signpost_core::delivery::breaker::{Admission, Breaker, Outcomes, SILENT_AFTER};
use signpost_core::endpoint::EndpointId;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::aws::batch_get::get_all;
use crate::aws::{AwsError, Item, ItemError, if_condition_held, n, number, s, text};
use crate::runtime::clock::{millis, unix_ms_now, unix_now};
use crate::runtime::logs::Chain;
use crate::runtime::slots::{Slots, lock};
use crate::tables::parking::key;

/// The breakers, each at most [`REMEMBERED_FOR`] old, and the outcomes that are not written yet.
///
/// If a call fails, deliveries go on with the breaker that was read last, or with a closed one if none was ever read.
#[derive(Debug)]
pub struct Breakers {
    client: Client,
    table: String,
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
    /// The version of the item that was read; `None` if the table has none.
    version: Option<u64>,
}

/// How long a breaker that was read is used before it is read again.
pub const REMEMBERED_FOR: Duration = Duration::from_secs(2);
/// How long an attempt waits at most until its outcome is written to the breaker.
const TELLING: Duration = Duration::from_secs(8);
/// How many breakers are remembered at once. A forgotten one loses the counts of a few minutes.
const CAPACITY: usize = 2_000;
/// How many times a change that lost against another is computed again.
const ROUNDS: usize = 5;
/// How long the table keeps a breaker that does not change.
const KEPT_FOR: Duration = Duration::from_hours(30 * 24);

impl Breakers {
    /// Adapts `client` to the table called `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table, known: Slots::new(CAPACITY) }
    }

    /// Returns the breaker of an endpoint.
    ///
    /// Needs `dynamodb:GetItem` every [`REMEMBERED_FOR`].
    pub async fn get(&self, endpoint: &EndpointId) -> Breaker {
        let known = self.known(endpoint);
        let mut read = known.read.lock().await;
        match &*read {
            Some(one) if (one.at..one.at + REMEMBERED_FOR).contains(&unix_now()) => one.breaker.clone(),
            _ => self.refresh(endpoint, &mut read).await,
        }
    }

    /// Claims the right to send the probe. Returns false if another sender was faster.
    ///
    /// Needs `dynamodb:GetItem` and `dynamodb:PutItem`.
    pub async fn claim_probe(&self, endpoint: &EndpointId) -> bool {
        let known = self.known(endpoint);
        let mut read = known.read.lock().await;
        let (breaker, now) = (self.refresh(endpoint, &mut read).await, unix_ms_now());
        breaker.admits(now) == Admission::Probe && self.replace(endpoint, &mut read, breaker.probing(now)).await
    }

    /// Awaits an exchange with an endpoint. If there is no answer for long, it reports that to the breaker.
    ///
    /// Needs `dynamodb:GetItem` and `dynamodb:PutItem` for the report.
    pub async fn watch<T>(&self, endpoint: &EndpointId, exchange: impl Future<Output = T>) -> T {
        let known = self.known(endpoint);
        let patience = SILENT_AFTER.max(2 * Duration::from_millis(known.slowest_ms.load(Ordering::Relaxed)));
        let mut exchange = pin!(exchange);
        if let Ok(done) = timeout(patience, exchange.as_mut()).await {
            return done;
        }
        lock(&known.untold).add_silence();
        let telling = pin!(self.tell(endpoint, &known));
        match select(exchange, telling).await {
            Either::Left((done, _)) => done,
            Either::Right((_, exchange)) => exchange.await,
        }
    }

    /// Reports the outcome of an attempt to the breaker, with its duration, and returns the breaker after it. Takes at
    /// most eight seconds. An outcome that is not written by then is written with the next one.
    ///
    /// Needs `dynamodb:GetItem` and `dynamodb:PutItem` if the outcome changes the breaker. A healthy endpoint needs
    /// neither.
    pub async fn observe(&self, endpoint: &EndpointId, result: &AttemptResult, took: Duration) -> Breaker {
        let known = self.known(endpoint);
        if result.is_ok() {
            let slowest = known.slowest_ms.load(Ordering::Relaxed);
            known.slowest_ms.store(millis(took).max(slowest - slowest / 10), Ordering::Relaxed);
        }
        lock(&known.untold).add(result, unix_ms_now());
        timeout(TELLING, self.tell(endpoint, &known)).await.unwrap_or_default()
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
                    untold.forget_silences();
                    return breaker;
                }
                std::mem::take(&mut *untold)
            };
            let after = breaker.clone().after(&untold, unix_ms_now(), fastrand::f64());
            if self.replace(endpoint, &mut read, after.clone()).await {
                log_change(endpoint, &breaker, &after);
                return after;
            }
            lock(&known.untold).merge_earlier(untold, unix_ms_now());
            self.refresh(endpoint, &mut read).await;
        }
        read.as_ref().map(|one| one.breaker.clone()).unwrap_or_default()
    }

    /// Reads the breakers of endpoints as they are now, in the order of `endpoints`.
    ///
    /// Needs `dynamodb:BatchGetItem`, and `dynamodb:GetItem` for a single one. One call for up to 100 of them. Strongly
    /// consistent.
    ///
    /// # Errors
    /// A call failed, or an item cannot be read.
    pub async fn read_all(&self, endpoints: &[EndpointId]) -> Result<Vec<Breaker>, AwsError> {
        let keys = endpoints.iter().map(|endpoint| key(lane(endpoint), PLACE.into())).collect();
        let items = get_all(&self.client, &self.table, keys, None).await;
        let read = |item: Option<Item>| Ok(item.as_ref().map(breaker_of).transpose()?.unwrap_or_default().0);
        items.into_iter().map(|item| item.and_then(read)).collect()
    }

    /// Closes a breaker, because an operator says that the endpoint is healthy.
    ///
    /// Needs `dynamodb:PutItem`.
    ///
    /// # Errors
    /// The call failed. Try again.
    pub async fn close(&self, endpoint: &EndpointId) -> Result<(), AwsError> {
        let item = item_of(endpoint, &Breaker::closed_at(unix_ms_now()), fastrand::u64(..))?;
        let call = self.client.put_item().table_name(&self.table).set_item(Some(item));
        call.send().await.map_err(AwsError::of("dynamodb:PutItem"))?;
        Ok(())
    }

    fn known(&self, endpoint: &EndpointId) -> Arc<Known> {
        self.known.get(endpoint.clone())
    }

    async fn refresh(&self, endpoint: &EndpointId, read: &mut Option<Read>) -> Breaker {
        match self.read(endpoint).await {
            Ok((breaker, version)) => *read = Some(Read { at: unix_now(), breaker, version }),
            Err(error) => {
                tracing::warn!(endpoint.id = %endpoint, error = %Chain(&error), "breaker.not_read");
                // Remember it like one that was read, so that the next callers do not wait for the table as well.
                let Read { breaker, version, .. } = read.take().unwrap_or_default();
                *read = Some(Read { at: unix_now(), breaker, version });
            }
        }
        read.as_ref().map(|one| one.breaker.clone()).unwrap_or_default()
    }

    async fn read(&self, endpoint: &EndpointId) -> Result<(Breaker, Option<u64>), AwsError> {
        let call = self.client.get_item().table_name(&self.table).set_key(Some(key(lane(endpoint), PLACE.into())));
        let item = call.consistent_read(true).send().await.map_err(AwsError::of("dynamodb:GetItem"))?.item;
        let Some(item) = item else { return Ok((Breaker::default(), None)) };
        let (breaker, version) = breaker_of(&item)?;
        Ok((breaker, Some(version)))
    }

    /// Writes the successor of the breaker that was read. Returns false if another writer changed it since, or if the
    /// call failed.
    async fn replace(&self, endpoint: &EndpointId, read: &mut Option<Read>, breaker: Breaker) -> bool {
        let before = read.as_ref().and_then(|one| one.version);
        let version = fastrand::u64(..);
        let written = async {
            let item = item_of(endpoint, &breaker, version)?;
            let call = self.client.put_item().table_name(&self.table).set_item(Some(item));
            let call = match before {
                None => call.condition_expression("attribute_not_exists(pk)"),
                Some(before) => {
                    call.condition_expression("version = :before").expression_attribute_values(":before", n(before))
                }
            };
            if_condition_held(call.send().await, "dynamodb:PutItem")
        };
        match written.await {
            Ok(Some(_)) => {
                *read = Some(Read { at: unix_now(), breaker, version: Some(version) });
                true
            }
            Ok(None) => false,
            Err(error) => {
                tracing::warn!(endpoint.id = %endpoint, error = %Chain(&error), "breaker.not_written");
                false
            }
        }
    }
}

fn log_change(endpoint: &EndpointId, before: &Breaker, after: &Breaker) {
    let now = unix_ms_now();
    match (before.admits(now), after.admits(now)) {
        (Admission::Send, Admission::Park) => {
            tracing::warn!(endpoint.id = %endpoint, "breaker.opened");
        }
        (Admission::Park | Admission::Probe, Admission::Send) => {
            tracing::info!(endpoint.id = %endpoint, "breaker.closed");
        }
        _ => {}
    }
}

const ITEM: &str = "breaker";
const PLACE: &str = "breaker";

fn lane(endpoint: &EndpointId) -> String {
    format!("breaker#{endpoint}")
}

/// Reads an item of [`item_of`]: a breaker and its version.
fn breaker_of(item: &Item) -> Result<(Breaker, u64), AwsError> {
    let read = || -> Result<_, ItemError> { Ok((text(item, "state")?, number(item, "version")?)) };
    let (state, version) = read().map_err(AwsError::corrupt(ITEM))?;
    Ok((serde_json::from_str(state).map_err(AwsError::corrupt(ITEM))?, version))
}

fn item_of(endpoint: &EndpointId, breaker: &Breaker, version: u64) -> Result<Item, AwsError> {
    let mut item = key(lane(endpoint), PLACE.into());
    item.insert("state".into(), s(serde_json::to_string(breaker).map_err(AwsError::of("dynamodb:PutItem"))?));
    item.insert("version".into(), n(version));
    item.insert("expiresAt".into(), n((unix_now() + KEPT_FOR).as_secs()));
    Ok(item)
}
