//! Makes the keys that are due, for each algorithm separately.

use aws_config::SdkConfig;
use futures_util::future::join_all;
use serde::Serialize;
use signpost_core::signing::algorithm::Algorithm;
use signpost_core::signing::key_rotation::{KeyMoments, KeySchedule, current, plan, superseded};
use signpost_core::signing::public_key::PublicKey;
use signpost_io::aws::AwsError;
use signpost_io::mac::MacKey;
use signpost_io::runtime::clock::unix_now;
use signpost_io::runtime::logs::Chain;
use signpost_io::runtime::metrics::{Metric, meter};
use signpost_io::tables::signing_keys::{KeyLine, KeyTable, StoredKey, WrappedPair, WrappingKey};
use uuid::Uuid;

use crate::Config;

/// The answer of the function.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rotation {
    /// The ids of the new keys; empty if none was due. Each tenant knows them under a `kid` of its own.
    pub key_ids: Vec<String>,
    /// The algorithms whose key was due and was not made.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_made: Vec<NotMade>,
    /// After `{"dryRun":true}`, the algorithms for which a forced rotation would make a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would_replace: Option<Vec<Algorithm>>,
}

/// A key that was due and was not made. The last key of its algorithm continues to sign, if there is one.
#[derive(Clone, Debug, thiserror::Error, Serialize)]
#[error("no `{algorithm}` key was made; the next run, within a minute, tries again")]
pub struct NotMade {
    /// The algorithm of the key.
    pub algorithm: Algorithm,
    /// Whether the algorithm has keys, or may have some, or is the default one.
    ///
    /// If not, no webhook was ever signed with it. KMS may lack it in this region, so an alarm would never end.
    #[serde(skip)]
    pub in_use: bool,
    #[serde(serialize_with = "chain")]
    source: AwsError,
}

/// Serializes an error with its causes, so that operators who force a rotation see why it made no key.
fn chain<S: serde::Serializer>(error: &AwsError, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Chain(error))
}

/// How many keys of an algorithm one invocation makes at most, or loses to a faster rotation. Three are enough: a
/// forced key and, if keys sign hardly longer than they are published ahead, two successors.
const ROUNDS: usize = 5;

/// A maker of keys: the table of keys, the KMS key that wraps them, and the schedule.
#[derive(Debug)]
pub(crate) struct Rotator {
    algorithms: Vec<Algorithm>,
    keys: KeyTable,
    schedule: KeySchedule,
    wrapping: WrappingKey,
}

impl Rotator {
    /// Creates the clients. This needs no network.
    pub(crate) fn new(aws: &SdkConfig, config: Config) -> Self {
        let kms = aws_sdk_kms::Client::new(aws);
        let mac = MacKey::new(kms.clone(), config.mac_key);
        Self {
            algorithms: config.algorithms,
            keys: KeyTable::new(aws_sdk_dynamodb::Client::new(aws), config.keys_table, mac),
            schedule: config.schedule,
            wrapping: WrappingKey::new(kms, config.wrapping_key),
        }
    }

    /// Makes keys of every algorithm that is chosen or has keys, until none is due. A failure of one algorithm does not
    /// stop the others.
    pub(crate) async fn rotate(&self, force: bool) -> Rotation {
        let tried = join_all(Algorithm::ALL.map(async |algorithm| {
            let mut key_ids = Vec::new();
            let failure = self.rotate_one(algorithm, force, &mut key_ids).await.err();
            meter().add(Metric::KeysMade, key_ids.len());
            meter().add(Metric::KeysNotMade, failure.iter().filter(|failure| failure.in_use).count());
            (key_ids, failure)
        }));
        let (key_ids, failures): (Vec<_>, Vec<_>) = tried.await.into_iter().unzip();
        let not_made = failures.into_iter().flatten().collect();
        Rotation { key_ids: key_ids.concat(), not_made, would_replace: None }
    }

    /// Returns the algorithms for which a forced rotation would make a key. Makes none.
    pub(crate) async fn count(&self) -> Result<Rotation, AwsError> {
        let mut would_replace = Vec::new();
        for algorithm in Algorithm::ALL {
            let line = self.keys.line(algorithm).await?;
            if self.is_rotated(algorithm, &line) {
                would_replace.push(algorithm);
            }
        }
        Ok(Rotation { would_replace: Some(would_replace), ..Rotation::default() })
    }

    /// Returns whether the algorithm gets keys: it is chosen, or endpoints may use it.
    fn is_rotated(&self, algorithm: Algorithm, line: &KeyLine) -> bool {
        is_in_use(algorithm, line) || self.algorithms.contains(&algorithm)
    }

    /// Makes the due keys of one algorithm. Adds their ids to `key_ids`, even if a later step fails.
    async fn rotate_one(&self, algorithm: Algorithm, force: bool, key_ids: &mut Vec<String>) -> Result<(), NotMade> {
        let because = |in_use| move |source| NotMade { algorithm, in_use, source };
        for _ in 0..ROUNDS {
            let line = self.keys.line(algorithm).await.map_err(because(true))?;
            let in_use = is_in_use(algorithm, &line);
            if !self.is_rotated(algorithm, &line) {
                break;
            }
            let KeyLine { keys, taken } = line;
            let moments: Vec<KeyMoments> = keys.iter().map(|key| key.moments).collect();
            self.set_ttl(&keys, &moments).await;
            let force = force && key_ids.is_empty();
            let now = unix_now().as_secs();
            if let Some(index) = current(&moments, now) {
                meter().gauge(Metric::of_key_age(algorithm), now.saturating_sub(moments[index].sign_from));
            }
            let Some(planned) = plan(&moments, now, &self.schedule, force) else { break };
            let generation = next_generation(&keys, &taken);
            let key = self.make(algorithm, planned, generation).await.map_err(because(in_use))?;
            // The first writer of a generation succeeds; the other plans again.
            if self.keys.add(&key).await.map_err(because(in_use))? {
                let key_id = key.public.id();
                tracing::info!(key.id = key_id, key.algorithm = %algorithm, key.sign_from = planned.sign_from, force, "key.made");
                key_ids.push(key_id.to_owned());
            }
        }
        Ok(())
    }

    async fn make(&self, algorithm: Algorithm, moments: KeyMoments, generation: u64) -> Result<StoredKey, AwsError> {
        let id = Uuid::new_v4().to_string();
        let WrappedPair { public_spki, wrapped_private } = self.wrapping.generate_pair(algorithm, &id).await?;
        let public =
            PublicKey::from_spki(&id, &public_spki).map_err(AwsError::of("kms:GenerateDataKeyPairWithoutPlaintext"))?;
        Ok(StoredKey { generation, moments, public, public_spki, wrapped_private, expires_at: None })
    }

    /// Sets the removal date of every key that has a successor and no date yet. If that fails, the next run repeats it.
    async fn set_ttl(&self, keys: &[StoredKey], moments: &[KeyMoments]) {
        for (key, verify_until) in keys.iter().zip(superseded(moments)) {
            if let (Some(verify_until), None) = (verify_until, key.expires_at)
                && let Err(error) = self.keys.expire(key, verify_until + MARGIN_SECONDS).await
            {
                tracing::warn!(key.id = key.public.id(), error = %Chain(&error), "key.set_ttl_failed");
            }
        }
    }
}

/// Returns whether the algorithm has keys, or may have some, or is the default one.
fn is_in_use(algorithm: Algorithm, line: &KeyLine) -> bool {
    !line.keys.is_empty() || !line.taken.is_empty() || algorithm == Algorithm::default()
}

/// Returns the generation of a new key: after those of all keys, and different from those of refused items.
fn next_generation(keys: &[StoredKey], taken: &[u64]) -> u64 {
    let after = keys.iter().map(|key| key.generation + 1).max().unwrap_or_default();
    let mut candidates = after..=after + taken.len() as u64; // One more than the items can occupy.
    candidates.find(|generation| !taken.contains(generation)).unwrap_or(after)
}

/// How long a key is kept after it can no longer be fetched: a day, for investigations.
const MARGIN_SECONDS: u64 = 86_400;
