//! Makes signing keys that are due. A schedule invokes it every minute, the stack while it is deployed, and operators
//! with `{"force":true}`. `{"dryRun":true}` returns what a forced rotation would replace.

mod config;
mod custom_resource;
mod rotation;

use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use lambda_runtime::Error;
use serde::Deserialize;
use serde_json::Value;
use signpost_core::signing::algorithm::Algorithm;
use signpost_io::runtime::config::ConfigError;
use signpost_io::runtime::logs::Chain;

pub use config::Config;
use custom_resource::{CustomResourceEvent, Responder};
use rotation::Rotator;
pub use rotation::{NotMade, Rotation};

/// The clients and settings of the function.
#[derive(Debug)]
pub struct App {
    responder: Responder,
    rotator: Result<Rotator, ConfigError>,
}

impl App {
    /// Creates the clients. This needs no network.
    ///
    /// Invalid settings are kept until a caller asks for keys. If the function did not start, CloudFormation would wait
    /// for two minutes and get no reason.
    ///
    /// # Errors
    /// The certificate store cannot be loaded, so a deploy could not be answered.
    pub fn new(aws: &SdkConfig, config: Result<Config, ConfigError>) -> Result<Self, reqwest::Error> {
        Ok(Self { responder: Responder::new()?, rotator: config.map(|config| Rotator::new(aws, config)) })
    }
}

/// Makes the signing keys that are due. If the payload is `{"force":true}`, it makes one key per algorithm that signs
/// at once. If the payload has `"dryRun":true`, it makes none, and returns the algorithms whose keys a forced rotation
/// would replace.
///
/// Running it again, or twice at the same time, makes no more keys than are due. The answer to a custom resource's
/// request, including a failure, goes to CloudFormation, which handles it. So the invocation itself succeeds then.
/// Otherwise Lambda would repeat it, and make keys in a table that is being rolled back.
///
/// # Errors
/// A setting is invalid, or an algorithm that is in use got no key: Lambda counts the error, the alarm fires, and the
/// schedule tries again within a minute. Meanwhile the last key continues to sign. Or CloudFormation could not be
/// answered.
pub async fn handle(payload: Value, app: &App) -> Result<Rotation, Error> {
    if let Ok(request) = CustomResourceEvent::deserialize(&payload) {
        let outcome = if request.is_delete() { Ok(Rotation::default()) } else { app.rotate_patiently().await };
        if let Err(reason) = &outcome {
            tracing::error!(error = reason, "deploy.refused");
        }
        app.responder.answer(&request, outcome.as_ref().err().map(String::as_str)).await?;
        return Ok(outcome.unwrap_or_default());
    }
    let asks_for = |name| payload.get(name) == Some(&Value::Bool(true));
    let force = asks_for("force");
    let rotator = app.rotator.as_ref().map_err(Clone::clone)?;
    if asks_for("dryRun") {
        return Ok(rotator.count().await?);
    }
    let rotation = rotator.rotate(force).await;
    log_failures(&rotation);
    match rotation.not_made.iter().find(|failure| failure.in_use) {
        Some(failure) => Err(failure.clone().into()),
        None => Ok(rotation),
    }
}

fn log_failures(rotation: &Rotation) {
    for failure in &rotation.not_made {
        tracing::error!(key.algorithm = %failure.algorithm, error = %Chain(failure), "key.not_made");
    }
}

/// How long a deploy's rotation is repeated.
const DEPLOY_PATIENCE: Duration = Duration::from_secs(30);
/// The wait between two tries.
const DEPLOY_WAIT: Duration = Duration::from_secs(3);

impl App {
    /// Makes keys while the stack is deployed, or returns the reason why it cannot. The role is new, and IAM needs some
    /// seconds until its permissions apply everywhere, so a refused call is repeated.
    ///
    /// A deploy needs only a key of the default algorithm. KMS may lack another algorithm in this region, which must
    /// not stop the deploy. The schedule tries those again within a minute.
    async fn rotate_patiently(&self) -> Result<Rotation, String> {
        let rotator = self.rotator.as_ref().map_err(ToString::to_string)?;
        let deadline = Instant::now() + DEPLOY_PATIENCE;
        loop {
            let rotation = rotator.rotate(false).await;
            let Some(failure) = rotation.not_made.iter().find(|failure| failure.algorithm == Algorithm::default())
            else {
                log_failures(&rotation);
                return Ok(rotation);
            };
            if Instant::now() >= deadline {
                return Err(Chain(failure).to_string());
            }
            tracing::warn!(error = %Chain(failure), "key.not_made_yet");
            tokio::time::sleep(DEPLOY_WAIT).await;
        }
    }
}
