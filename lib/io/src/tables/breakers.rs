//! The circuit breakers of endpoints ([`signpost_core::delivery::breaker`]), in `ParkingTable`: lane `breaker#<endpoint>`, place
//! `breaker`. An endpoint that was always well has none.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as SyncMutex, MutexGuard, PoisonError};
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
use crate::tables::parking::key;

/// The breakers, each as it was at most [`REMEMBERED_FOR`] ago, and what has not been told of them yet.
///
/// Whatever goes wrong with a breaker, deliveries go on: it is read as it was last, and closed if it was never read.
#[derive(Debug)]
pub struct Breakers {
    client: Client,
    table: String,
    known: SyncMutex<HashMap<EndpointId, Arc<Known>>>,
}

#[derive(Debug, Default)]
struct Known {
    untold: SyncMutex<Outcomes>,
    /// Whoever reads or writes it holds the lock, so that what others count meanwhile is told in one go.
    read: Mutex<Option<Read>>,
    /// How long acknowledgements take of late, in milliseconds.
    slowest_ms: AtomicU64,
}

#[derive(Clone, Debug, Default)]
struct Read {
    at: Duration,
    breaker: Breaker,
    /// What the table has it under; none if it has none.
    version: Option<u64>,
}

/// How long a breaker is taken for what it was.
pub const REMEMBERED_FOR: Duration = Duration::from_secs(2);
/// How long telling a breaker what came of an attempt may hold that up.
const TELLING: Duration = Duration::from_secs(8);
/// How many are remembered at once.
const CAPACITY: usize = 2_000;
/// How often a change that lost against another is made anew.
const ROUNDS: usize = 5;
/// A breaker that nothing happens to is forgotten.
const KEPT_FOR: Duration = Duration::from_hours(30 * 24);

impl Breakers {
    /// Adapts `client` to the table called `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table, known: SyncMutex::default() }
    }

    /// Gives the breaker of an endpoint.
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

    /// Becomes the one that sends the probe; tells whether nobody else was faster.
    ///
    /// Needs `dynamodb:GetItem` and `dynamodb:PutItem`.
    pub async fn claim_probe(&self, endpoint: &EndpointId) -> bool {
        let known = self.known(endpoint);
        let mut read = known.read.lock().await;
        let (breaker, now) = (self.refresh(endpoint, &mut read).await, unix_ms_now());
        breaker.admits(now) == Admission::Probe && self.replace(endpoint, &mut read, breaker.probing(now)).await
    }

    /// Sees to an exchange with an endpoint, and tells its breaker when there is no answer for long.
    ///
    /// Needs `dynamodb:GetItem` and `dynamodb:PutItem`, if it has to be told.
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

    /// Tells the breaker what came of an attempt, and how long it took, and gives what it is then. Takes eight seconds at the most: what cannot
    /// be told in that time is told with what comes next, or by others.
    ///
    /// Needs `dynamodb:GetItem` and `dynamodb:PutItem`, where it is news: an endpoint that is well costs neither.
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

    /// Reads the breakers of endpoints as they are now, in their order.
    ///
    /// Needs `dynamodb:BatchGetItem`, and `dynamodb:GetItem` for one that is alone. One call for a hundred of them, strongly
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

    /// Closes a breaker, for an operator who says that the endpoint is well.
    ///
    /// Needs `dynamodb:PutItem`.
    ///
    /// # Errors
    /// The call failed: ask again.
    pub async fn close(&self, endpoint: &EndpointId) -> Result<(), AwsError> {
        let item = item_of(endpoint, &Breaker::closed_at(unix_ms_now()), fastrand::u64(..))?;
        let call = self.client.put_item().table_name(&self.table).set_item(Some(item));
        call.send().await.map_err(AwsError::of("dynamodb:PutItem"))?;
        Ok(())
    }

    fn known(&self, endpoint: &EndpointId) -> Arc<Known> {
        let mut known = lock(&self.known);
        if known.len() >= CAPACITY && !known.contains_key(endpoint) {
            known.clear(); // What is lost is a few minutes' counting.
        }
        Arc::clone(known.entry(endpoint.clone()).or_default())
    }

    async fn refresh(&self, endpoint: &EndpointId, read: &mut Option<Read>) -> Breaker {
        match self.read(endpoint).await {
            Ok((breaker, version)) => *read = Some(Read { at: unix_now(), breaker, version }),
            Err(error) => {
                tracing::warn!(endpoint.id = %endpoint, error = %Chain(&error), "breaker.not_read");
                // For as long as one that was read: others need not wait for the table as well.
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

    /// Writes what becomes of the breaker that was read, unless somebody else has changed it since.
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

const READING: &str = "reading a breaker";
const PLACE: &str = "breaker";

fn lane(endpoint: &EndpointId) -> String {
    format!("breaker#{endpoint}")
}

/// Reads what [`item_of`] wrote: a breaker and its version.
fn breaker_of(item: &Item) -> Result<(Breaker, u64), AwsError> {
    let read = || -> Result<_, ItemError> { Ok((text(item, "state")?, number(item, "version")?)) };
    let (state, version) = read().map_err(AwsError::of::<ItemError>(READING))?;
    Ok((serde_json::from_str(state).map_err(AwsError::of(READING))?, version))
}

fn item_of(endpoint: &EndpointId, breaker: &Breaker, version: u64) -> Result<Item, AwsError> {
    let mut item = key(lane(endpoint), PLACE.into());
    item.insert("state".into(), s(serde_json::to_string(breaker).map_err(AwsError::of("dynamodb:PutItem"))?));
    item.insert("version".into(), n(version));
    item.insert("expiresAt".into(), n((unix_now() + KEPT_FOR).as_secs()));
    Ok(item)
}

fn lock<T>(mutex: &SyncMutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
