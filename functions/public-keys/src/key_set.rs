//! The keys of the table, remembered for a few seconds by a warm environment.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use signpost_core::algorithm::Algorithm;
use signpost_io::aws::AwsError;
use signpost_io::clock::unix_now;
use signpost_io::keys::{KeyTable, StoredKey};
use signpost_io::logs::Chain;
use tokio::sync::Mutex;

/// How old the remembered keys may be. Well below the shortest half of a lead, 30 seconds.
const REMEMBERED_FOR: Duration = Duration::from_secs(15);

/// How old they may be when a `kid` is asked for that is not among them: a forced key signs at once, so its first
/// verifier must find it, and whoever makes up `kid`s costs three reads (one for each algorithm) a second at most.
const REMEMBERED_FOR_STRANGERS: Duration = Duration::from_secs(1);

/// The keys as one warm environment knows them.
#[derive(Debug)]
pub(crate) struct KeySets {
    table: KeyTable,
    known: Mutex<Option<(Duration, Arc<[StoredKey]>)>>,
}

impl KeySets {
    pub(crate) fn new(table: KeyTable) -> Self {
        Self { table, known: Mutex::default() }
    }

    async fn read(&self) -> Result<Vec<StoredKey>, AwsError> {
        let read = try_join_all(Algorithm::ALL.map(|algorithm| self.table.all(algorithm))).await?;
        Ok(read.concat())
    }

    /// Gives all keys, freshly read if they are too old for a question about `kid`. If they cannot be read, those that
    /// are known serve on: what moments a key has does not change.
    pub(crate) async fn get(&self, kid: Option<&str>) -> Result<Arc<[StoredKey]>, AwsError> {
        let mut known = self.known.lock().await;
        if let Some((read_at, keys)) = &*known {
            let is_stranger = kid.is_some_and(|kid| keys.iter().all(|key| key.public.kid() != kid));
            let limit = if is_stranger { REMEMBERED_FOR_STRANGERS } else { REMEMBERED_FOR };
            // By the wall clock: the monotonic one may stand still while Lambda has the process frozen.
            if (*read_at..*read_at + limit).contains(&unix_now()) {
                return Ok(Arc::clone(keys));
            }
        }
        match (self.read().await, &*known) {
            (Ok(keys), _) => {
                let keys: Arc<[StoredKey]> = keys.into();
                *known = Some((unix_now(), Arc::clone(&keys)));
                Ok(keys)
            }
            (Err(error), Some((_, keys))) => {
                tracing::warn!(error = %Chain(&error), "keys.not_refreshed");
                Ok(Arc::clone(keys))
            }
            (Err(error), None) => Err(error),
        }
    }
}
