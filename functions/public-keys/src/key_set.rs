//! A cache of the keys in the tables, for a few seconds in a warm environment.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use signpost_core::event::TenantId;
use signpost_core::signing::algorithm::Algorithm;
use signpost_core::signing::kid;
use signpost_engine::slots::Slots;
use signpost_io::aws::AwsError;
use signpost_io::runtime::clock::unix_now;
use signpost_io::runtime::logs::Chain;
use signpost_io::tables::endpoint_keys::{EndpointKey, EndpointKeyTable};
use signpost_io::tables::signing_keys::{KeyTable, StoredKey};
use tokio::sync::Mutex;

/// How old remembered keys may be. Well below half of the shortest lead, which is 30 seconds.
const REMEMBERED_FOR: Duration = Duration::from_secs(15);

/// How old they may be if a caller asks for a `kid` that is not among them. A forced key signs at once, so its first
/// verifier must find it. Requests for invented `kid`s cost at most four reads per second.
const REMEMBERED_FOR_STRANGERS: Duration = Duration::from_secs(1);

/// How many tenants are remembered, because anybody may ask for any name. The tenant that was asked for least recently is
/// forgotten first.
const MAX_TENANTS: usize = 1_000;

/// How much memory the lists may have. A tenant may have 1,000 endpoints, each with several keys.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// How much memory a key in a list needs, about.
const BYTES_OF_A_KEY: usize = 400;

/// The keys that one warm environment knows.
#[derive(Debug)]
pub(crate) struct KeySets {
    table: KeyTable,
    endpoint_keys: EndpointKeyTable,
    signing: Remembered<(), StoredKey>,
    of_endpoints: Remembered<TenantId, EndpointKey>,
}

/// Lists of keys, by owner.
#[derive(Debug)]
struct Remembered<K: Eq + Hash, V>(Slots<K, Mutex<Option<Reading<V>>>>);

/// A list, and when it was read, as time since the Unix epoch.
type Reading<V> = (Duration, Arc<[V]>);

impl<K: Eq + Hash, V> Default for Remembered<K, V> {
    fn default() -> Self {
        Self(Slots::within(MAX_TENANTS, MAX_BYTES))
    }
}

impl KeySets {
    pub(crate) fn new(table: KeyTable, endpoint_keys: EndpointKeyTable) -> Self {
        Self { table, endpoint_keys, signing: Remembered::default(), of_endpoints: Remembered::default() }
    }

    /// Returns the signing keys of all algorithms. Reads them again if none of them has `kid` for the tenant.
    pub(crate) async fn signing_keys(
        &self,
        tenant: &TenantId,
        kid: Option<&str>,
    ) -> Result<Arc<[StoredKey]>, AwsError> {
        let is_wanted = |key: &StoredKey| kid.is_none_or(|kid| kid == kid::of_signing_key(key.public.id(), tenant));
        let read = async || {
            let lines = try_join_all(Algorithm::ALL.map(|algorithm| self.table.line(algorithm))).await?;
            Ok(lines.into_iter().flat_map(|line| line.keys).collect())
        };
        self.signing.get((), is_wanted, read).await
    }

    /// Returns the keys of a tenant's endpoints. Reads them again if none of them has `kid`.
    pub(crate) async fn endpoint_keys(
        &self,
        tenant: &TenantId,
        kid: Option<&str>,
    ) -> Result<Arc<[EndpointKey]>, AwsError> {
        let is_wanted = |key: &EndpointKey| {
            kid.is_none_or(|kid| kid == kid::of_endpoint_key(tenant, &key.endpoint, &key.public_key))
        };
        let read = async || self.endpoint_keys.of_tenant(tenant).await;
        self.of_endpoints.get(tenant.clone(), is_wanted, read).await
    }
}

impl<K: Eq + Hash + Clone, V> Remembered<K, V> {
    /// Returns the list of `key`. Reads it again if it is too old, which is sooner if it has no wanted key. If that
    /// fails, the known list stays in use, because the times of a key do not change.
    async fn get(
        &self,
        key: K,
        is_wanted: impl Fn(&V) -> bool,
        read: impl AsyncFnOnce() -> Result<Vec<V>, AwsError>,
    ) -> Result<Arc<[V]>, AwsError> {
        let slot = self.0.get(key.clone());
        let mut known = slot.lock().await;
        if let Some((read_at, list)) = &*known {
            let has_it = list.iter().any(is_wanted);
            let limit = if has_it { REMEMBERED_FOR } else { REMEMBERED_FOR_STRANGERS };
            // By the wall clock, because the monotonic one may stop while Lambda freezes the process.
            if (*read_at..*read_at + limit).contains(&unix_now()) {
                return Ok(Arc::clone(list));
            }
        }
        match (read().await, &*known) {
            (Ok(list), _) => {
                let list: Arc<[V]> = list.into();
                self.0.set_bytes(&key, BYTES_OF_A_KEY * (list.len() + 1));
                *known = Some((unix_now(), Arc::clone(&list)));
                Ok(list)
            }
            (Err(error), Some((_, list))) => {
                tracing::warn!(error = %Chain(&error), "keys.not_refreshed");
                Ok(Arc::clone(list))
            }
            (Err(error), None) => Err(error),
        }
    }
}
