//! A cache of the current signing keys, each unwrapped once per warm environment.

use std::sync::Arc;
use std::time::Duration;

use signpost_core::signing::algorithm::Algorithm;
use signpost_core::signing::key_rotation::{KeyMoments, KeyPhase, current, standing};
use signpost_core::signing::signer::{Signer, SignerError};
use signpost_engine::ports;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::aws::AwsError;
use crate::runtime::clock::unix_now;
use crate::runtime::logs::Chain;
use crate::runtime::metrics::{Metric, meter};
use crate::tables::signing_keys::{KeyTable, StoredKey, WrappingKey};

/// How old the list of keys may be before it is read again. A planned key is published long before it signs, so this is
/// the delay after which a *forced* key signs.
pub const REFRESH_AFTER: Duration = Duration::from_secs(15);

/// How long no call is made after AWS failed, so that the deliveries of one batch do not wait for it one by one.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The signing keys that one warm environment knows.
#[derive(Debug)]
pub struct Signers {
    table: KeyTable,
    wrapping: WrappingKey,
    known: [Mutex<Known>; Algorithm::ALL.len()],
}

#[derive(Default)]
struct Known {
    keys: Vec<StoredKey>,
    /// Whether the last read failed.
    read_failed: bool,
    /// The keys are not read again before this time.
    refresh_at: Option<Duration>,
    signer: Option<Arc<Signer>>,
    /// No key is unwrapped again before this time, because the last try failed.
    open_at: Option<Duration>,
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").field("keys", &self.keys.len()).finish_non_exhaustive() // Never a private key.
    }
}

/// The reason why no key can sign: an internal error, never charged to an endpoint.
#[derive(Debug, thiserror::Error)]
pub enum NoSignerError {
    /// Reading or unwrapping failed, and there is no older key to use instead.
    #[error("no signing key could be loaded; deliveries wait until one can")]
    Aws(#[from] AwsError),
    /// Reading or unwrapping failed a moment ago, and is not tried again yet.
    #[error("signing keys could not be loaded a moment ago; deliveries wait until they can")]
    JustFailed,
    /// The table has no key of this algorithm that may sign.
    #[error(
        "there is no `{algorithm}` key; look for `key.not_made` in the log of RotateKeysFunction, or choose another \
         jwsAlgorithm for the endpoint"
    )]
    NoKey {
        /// The algorithm that the endpoint needs.
        algorithm: Algorithm,
    },
    /// The current key cannot be used.
    #[error("signing key is unusable; invoke the rotate-keys function with {{\"force\":true}}")]
    Unusable(#[from] SignerError),
}

impl Signers {
    /// Creates an empty cache; the first use reads and unwraps a key.
    #[must_use]
    pub fn new(table: KeyTable, wrapping: WrappingKey) -> Self {
        Self { table, wrapping, known: Default::default() }
    }

    /// Reads the keys again. If that fails, the known ones stay in use.
    async fn refresh(&self, algorithm: Algorithm, known: &mut Known) -> Result<(), NoSignerError> {
        let read = self.table.line(algorithm).await;
        known.read_failed = read.is_err();
        known.refresh_at = Some(unix_now() + if known.read_failed { RETRY_AFTER } else { REFRESH_AFTER });
        match read {
            Ok(line) => known.keys = line.keys,
            Err(error) if known.keys.is_empty() => return Err(error.into()),
            Err(error) => tracing::warn!(error = %Chain(&error), "keys.refresh_failed"),
        }
        Ok(())
    }

    async fn open(&self, key: &StoredKey) -> Result<Signer, NoSignerError> {
        let pkcs8 = Zeroizing::new(self.wrapping.unwrap_private(key.public.id(), &key.wrapped_private).await?);
        Ok(Signer::from_pkcs8(&key.public, &pkcs8)?)
    }
}

impl ports::webhooks::Signers for Signers {
    type Error = NoSignerError;

    /// Needs `dynamodb:Query` every [`REFRESH_AFTER`], and `kms:VerifyMac` and `kms:Decrypt` once per key. An algorithm
    /// that no endpoint uses makes no calls. Concurrent callers share one read.
    async fn current(&self, algorithm: Algorithm) -> Result<Arc<Signer>, NoSignerError> {
        let [eddsa, es256, rs256] = &self.known;
        let known = match algorithm {
            Algorithm::EdDSA => eddsa,
            Algorithm::ES256 => es256,
            Algorithm::RS256 => rs256,
        };
        let mut known = known.lock().await;
        if is_due(known.refresh_at) {
            self.refresh(algorithm, &mut known).await?;
        } else if known.read_failed && known.keys.is_empty() {
            return Err(NoSignerError::JustFailed);
        }
        let now = unix_now().as_secs();
        let moments: Vec<KeyMoments> = known.keys.iter().map(|key| key.moments).collect();
        let index = current(&moments, now).ok_or(NoSignerError::NoKey { algorithm })?;
        let key = &known.keys[index];
        if let Some(signer) = known.signer.as_ref().filter(|signer| signer.id() == key.public.id()) {
            return Ok(Arc::clone(signer));
        }
        let may_open = is_due(known.open_at);
        let opened = if may_open { self.open(key).await } else { Err(NoSignerError::JustFailed) };
        match opened {
            Ok(signer) => {
                tracing::info!(key.id = signer.id(), "key.activated");
                let signer = Arc::new(signer);
                known.signer = Some(Arc::clone(&signer));
                Ok(signer)
            }
            Err(error) => {
                let stand_in = known.signer.clone().filter(|signer| is_verifiable(signer.id(), &known.keys, now));
                if may_open {
                    known.open_at = Some(unix_now() + RETRY_AFTER);
                }
                let Some(signer) = stand_in else { return Err(error) };
                tracing::error!(error = %Chain(&error), key.id = signer.id(), "key.fallback_used");
                meter().add(Metric::KeyFallbacks, 1);
                Ok(signer)
            }
        }
    }
}

/// Returns whether a time is over, by the wall clock: the monotonic one may stop while Lambda freezes the process.
fn is_due(at: Option<Duration>) -> bool {
    at.is_none_or(|at| unix_now() >= at)
}

/// Returns whether receivers can still fetch the key with this id.
fn is_verifiable(id: &str, keys: &[StoredKey], now: u64) -> bool {
    let moments: Vec<KeyMoments> = keys.iter().map(|key| key.moments).collect();
    let standings = keys.iter().zip(standing(&moments, now));
    standings.into_iter().any(|(key, standing)| key.public.id() == id && standing != KeyPhase::Forgotten)
}
