//! Makes signing keys when they are due: invoked by a schedule every minute, by the stack while it deploys, and by
//! operators with `{"force":true}`.

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

/// What the function needs at hand.
#[derive(Debug)]
pub struct App {
    responder: Responder,
    rotator: Result<Rotator, ConfigError>,
}

impl App {
    /// Makes the clients. Needs no network yet.
    ///
    /// Bad settings are kept until somebody asks for keys: a function that fails to start leaves CloudFormation waiting for
    /// two minutes, without a reason.
    ///
    /// # Errors
    /// The certificate store cannot be loaded: a deploy could not be answered.
    pub fn new(aws: &SdkConfig, config: Result<Config, ConfigError>) -> Result<Self, reqwest::Error> {
        Ok(Self { responder: Responder::new()?, rotator: config.map(|config| Rotator::new(aws, config)) })
    }
}

/// Makes signing keys if they are due, and ones that sign at once, one for each algorithm, if the payload is
/// `{"force":true}`.
///
/// Running it again, or twice at once, makes no more keys than are due. A custom resource's request is answered to CloudFormation,
/// failures included. Such a failure is CloudFormation's to handle, so the invocation itself succeeds: Lambda would repeat
/// it, and make keys in a table that is being rolled back.
///
/// # Errors
/// A setting is bad, or an algorithm that is in use got no key: Lambda counts the error, the alarm fires, and the schedule
/// tries again within a minute. Meanwhile the last key goes on signing. Or CloudFormation could not be answered.
pub async fn handle(payload: Value, app: &App) -> Result<Rotation, Error> {
    if let Ok(request) = CustomResourceEvent::deserialize(&payload) {
        let outcome = if request.is_delete() { Ok(Rotation::default()) } else { app.rotate_patiently().await };
        if let Err(reason) = &outcome {
            tracing::error!(error = reason, "deploy.refused");
        }
        app.responder.answer(&request, outcome.as_ref().err().map(String::as_str)).await?;
        return Ok(outcome.unwrap_or_default());
    }
    let force = payload.get("force") == Some(&Value::Bool(true));
    let rotator = app.rotator.as_ref().map_err(Clone::clone)?;
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

/// For how long a deploy's rotation is tried again.
const DEPLOY_PATIENCE: Duration = Duration::from_secs(30);
/// The wait before each further try.
const DEPLOY_WAIT: Duration = Duration::from_secs(3);

impl App {
    /// Makes keys while the stack is deployed, or says why it cannot. The role was made a moment ago, and IAM takes some seconds
    /// to let everybody know what it may do: what is refused at first is tried again.
    ///
    /// A deploy needs a key of the default algorithm only. KMS may lack another one in this region, and that is no reason
    /// to have no stack. The schedule tries those again within a minute.
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
