use std::time::Duration;

use signpost_core::target::TargetRules;
use signpost_io::config::{ConfigError, environment, required, retention, target_rules};

/// Settings of the `manage` function, read once at cold start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `DELIVERIES_QUEUE_URL`: where deliveries are sent that are replayed; required.
    pub deliveries_queue_url: String,
    /// `ENDPOINTS_TABLE`: DynamoDB table of endpoints; required.
    pub endpoints_table: String,
    /// `EVENTS_QUEUE_URL`: where test events are sent, as any event is; required.
    pub events_queue_url: String,
    /// `DANGEROUSLY_ALLOW_HTTP`, `DANGEROUSLY_ALLOW_PRIVATE_TARGETS` and `MORE_TARGET_PORTS`: see
    /// [`signpost_io::config::target_rules`]. Those of `deliver`, or what is accepted here would fail there.
    pub target_rules: TargetRules,
    /// `EVENTS_TABLE`: DynamoDB table of events and deliveries; required.
    pub events_table: String,
    /// `PARKING_TABLE`: DynamoDB table of parked deliveries; required.
    pub parking_table: String,
    /// `RETENTION_DAYS`: how long deliveries are kept once they are replayed, in days; 1 to 365, required.
    pub retention: Duration,
    /// `WRAPPING_KEY`: id, ARN or alias of the KMS key that endpoints' secrets are sealed under; required.
    pub wrapping_key: String,
}

impl Config {
    /// Reads the process environment.
    ///
    /// # Errors
    /// A setting is missing or bad; the message names it and the fix.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_lookup(environment)
    }

    /// The same rules over any source, so that tests never touch the process environment.
    ///
    /// # Errors
    /// As [`Self::from_env`].
    pub fn from_lookup(get: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        Ok(Self {
            deliveries_queue_url: required(&get, "DELIVERIES_QUEUE_URL")?,
            endpoints_table: required(&get, "ENDPOINTS_TABLE")?,
            events_queue_url: required(&get, "EVENTS_QUEUE_URL")?,
            events_table: required(&get, "EVENTS_TABLE")?,
            parking_table: required(&get, "PARKING_TABLE")?,
            retention: retention(&get)?,
            target_rules: target_rules(&get)?,
            wrapping_key: required(&get, "WRAPPING_KEY")?,
        })
    }
}
