//! Makes signing keys when they are due: invoked by a schedule every minute, by the stack while it deploys, and by
//! operators with `{"force":true}`.

mod config;
mod custom_resource;

use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use futures_util::future::join_all;
use lambda_runtime::Error;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use signpost_core::algorithm::Algorithm;
use signpost_core::keys::{KeyMoments, KeySchedule, plan, superseded};
use signpost_core::public_key::PublicKey;
use signpost_io::aws::AwsError;
use signpost_io::clock::unix_now;
use signpost_io::keys::{KeyLine, KeyTable, StoredKey, WrappedPair, WrappingKey};
use signpost_io::logs::Chain;
use signpost_io::mac::MacKey;
use uuid::Uuid;

pub use config::Config;
use custom_resource::{CustomResourceEvent, Responder};

/// What the function needs at hand.
#[derive(Debug)]
pub struct App {
    keys: KeyTable,
    responder: Responder,
    schedule: KeySchedule,
    wrapping: WrappingKey,
}

impl App {
    /// Makes the clients. Needs no network yet.
    ///
    /// # Errors
    /// The certificate store cannot be loaded: a deploy could not be answered.
    pub fn new(aws: &SdkConfig, config: Config) -> Result<Self, reqwest::Error> {
        let kms = aws_sdk_kms::Client::new(aws);
        let mac = MacKey::new(kms.clone(), config.mac_key);
        Ok(Self {
            keys: KeyTable::new(aws_sdk_dynamodb::Client::new(aws), config.keys_table, mac),
            responder: Responder::new()?,
            schedule: config.schedule,
            wrapping: WrappingKey::new(kms, config.wrapping_key),
        })
    }
}

/// What the function answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rotation {
    /// The ids of the keys it made, none if none was due. Each tenant knows them under a `kid` of its own.
    pub key_ids: Vec<String>,
}

/// Makes signing keys if they are due, and ones that sign at once, one for each algorithm, if the payload is
/// `{"force":true}`.
///
/// Running it again, or twice at once, makes no more keys than are due. A custom resource's request is answered to CloudFormation
/// as well, failures included, so that a deploy never waits in vain.
///
/// # Errors
/// KMS or DynamoDB failed: Lambda counts the error, the alarm fires, and the schedule tries again within a minute.
/// Meanwhile the last key goes on signing.
pub async fn handle(payload: Value, app: &App) -> Result<Rotation, Error> {
    if let Ok(request) = CustomResourceEvent::deserialize(&payload) {
        let result = if request.is_delete() { Ok(Rotation::default()) } else { app.rotate_patiently().await };
        app.responder.answer(&request, result.as_ref().err()).await?;
        return Ok(result?);
    }
    let force = payload.get("force") == Some(&Value::Bool(true));
    Ok(app.rotate(force).await?)
}

/// For how long a deploy's rotation is tried again.
const DEPLOY_PATIENCE: Duration = Duration::from_secs(30);
/// The wait before each further try.
const DEPLOY_WAIT: Duration = Duration::from_secs(3);

/// How many keys of an algorithm are made at the most, or lost to a faster rotation, in one invocation. Three are enough: a forced key,
/// and, where keys sign hardly longer than they are published ahead, two successors.
const ROUNDS: usize = 5;

impl App {
    /// Makes keys while the stack is deployed. The role was made a moment ago, and IAM takes some seconds to let everybody
    /// know what it may do: what is refused at first is tried again.
    async fn rotate_patiently(&self) -> Result<Rotation, AwsError> {
        let deadline = Instant::now() + DEPLOY_PATIENCE;
        loop {
            match self.rotate(false).await {
                Err(error) if Instant::now() < deadline => {
                    tracing::warn!(error = %Chain(&error), "key.not_made_yet");
                    tokio::time::sleep(DEPLOY_WAIT).await;
                }
                result => return result,
            }
        }
    }

    /// Makes keys of every algorithm until none is due. One algorithm's trouble does not keep the others from theirs.
    async fn rotate(&self, force: bool) -> Result<Rotation, AwsError> {
        let made = join_all(Algorithm::ALL.map(|algorithm| self.rotate_one(algorithm, force))).await;
        let made: Vec<_> = made.into_iter().collect::<Result<_, _>>()?;
        Ok(Rotation { key_ids: made.concat() })
    }

    async fn rotate_one(&self, algorithm: Algorithm, force: bool) -> Result<Vec<String>, AwsError> {
        let mut key_ids = Vec::new();
        for _ in 0..ROUNDS {
            let KeyLine { keys, taken } = self.keys.line(algorithm).await?;
            let moments: Vec<KeyMoments> = keys.iter().map(|key| key.moments).collect();
            self.leave_to_ttl(&keys, &moments).await;
            let force = force && key_ids.is_empty();
            let Some(planned) = plan(&moments, unix_now().as_secs(), &self.schedule, force) else { break };
            let key = self.make(algorithm, planned, next_generation(&keys, &taken)).await?;
            // The first to write a generation has made it; the other plans again.
            if self.keys.add(&key).await? {
                let key_id = key.public.id();
                tracing::info!(key.id = key_id, key.algorithm = %algorithm, key.sign_from = planned.sign_from, force, "key.made");
                key_ids.push(key_id.to_owned());
            }
        }
        Ok(key_ids)
    }

    async fn make(&self, algorithm: Algorithm, moments: KeyMoments, generation: u64) -> Result<StoredKey, AwsError> {
        let id = Uuid::new_v4().to_string();
        let WrappedPair { public_spki, wrapped_private } = self.wrapping.generate_pair(algorithm, &id).await?;
        let public =
            PublicKey::from_spki(&id, &public_spki).map_err(AwsError::of("kms:GenerateDataKeyPairWithoutPlaintext"))?;
        Ok(StoredKey { generation, moments, public, public_spki, wrapped_private, expires_at: None })
    }

    /// Gives every key that has a successor and no date of removal yet one. If that fails, the next run does it.
    async fn leave_to_ttl(&self, keys: &[StoredKey], moments: &[KeyMoments]) {
        for (key, verify_until) in keys.iter().zip(superseded(moments)) {
            if let (Some(verify_until), None) = (verify_until, key.expires_at)
                && let Err(error) = self.keys.expire(key, verify_until + MARGIN_SECONDS).await
            {
                tracing::warn!(key.id = key.public.id(), error = %Chain(&error), "key.not_left_to_ttl");
            }
        }
    }
}

/// The generation of a new key: behind those of all keys, and not that of an item that was refused.
fn next_generation(keys: &[StoredKey], taken: &[u64]) -> u64 {
    let after = keys.iter().map(|key| key.generation + 1).max().unwrap_or_default();
    let mut candidates = after..=after + taken.len() as u64; // One more than there are items to take them.
    candidates.find(|generation| !taken.contains(generation)).unwrap_or(after)
}

/// How long a key is kept after nobody can fetch it: a day, for those who look into what happened.
const MARGIN_SECONDS: u64 = 86_400;
