use std::time::Duration;

use signpost_core::endpoint::target::TargetRules;
use signpost_io::runtime::config::{ConfigError, environment, required, retention, sender, target_rules};

/// Settings of the `deliver` function, read once at cold start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `DEAD_LETTER_QUEUE_URL`: the queue for deliveries that are given up; required.
    pub dead_letter_queue_url: String,
    /// `DELIVERIES_QUEUE_URL`: the queue that this function reads, to delay messages and to send them again; required.
    pub deliveries_queue_url: String,
    /// `ENDPOINTS_TABLE`: DynamoDB table of endpoints; required.
    pub endpoints_table: String,
    /// `EVENTS_TABLE`: DynamoDB table of events and deliveries; required.
    pub events_table: String,
    /// `KEYS_TABLE`: DynamoDB table of signing keys; required.
    pub keys_table: String,
    /// `MAC_KEY`: id, ARN or alias of the KMS key that authenticates the items of `KEYS_TABLE`; required.
    pub mac_key: String,
    /// `OWN_EVENTS_QUEUE_URL`: the queue of Signpost's own events, such as notices of disabled endpoints; required.
    pub own_events_queue_url: String,
    /// `PARKING_TABLE`: DynamoDB table of parked deliveries; required.
    pub parking_table: String,
    /// `RETENTION_DAYS`: how long attempts are kept, in days; 8 to 365, required.
    pub retention: Duration,
    /// `PUBLIC_URL`: its host is the name by which receivers know the sender; default `signpost`.
    pub sender: String,
    /// `DANGEROUSLY_ALLOW_HTTP`, `DANGEROUSLY_ALLOW_PRIVATE_TARGETS` and `MORE_TARGET_PORTS`: see
    /// [`signpost_io::runtime::config::target_rules`].
    pub target_rules: TargetRules,
    /// `WRAPPING_KEY`: id, ARN or alias of the KMS key that wraps private keys and endpoints' secrets; required.
    pub wrapping_key: String,
}

impl Config {
    /// Reads the settings from the process environment.
    ///
    /// # Errors
    /// A setting is missing or invalid; the message names it and the fix.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_lookup(environment)
    }

    /// Reads the settings from any source, so that tests never touch the process environment.
    ///
    /// # Errors
    /// As [`Self::from_env`].
    pub fn from_lookup(get: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        Ok(Self {
            dead_letter_queue_url: required(&get, "DEAD_LETTER_QUEUE_URL")?,
            deliveries_queue_url: required(&get, "DELIVERIES_QUEUE_URL")?,
            endpoints_table: required(&get, "ENDPOINTS_TABLE")?,
            events_table: required(&get, "EVENTS_TABLE")?,
            keys_table: required(&get, "KEYS_TABLE")?,
            mac_key: required(&get, "MAC_KEY")?,
            own_events_queue_url: required(&get, "OWN_EVENTS_QUEUE_URL")?,
            parking_table: required(&get, "PARKING_TABLE")?,
            retention: retention(&get)?,
            sender: sender(&get)?,
            target_rules: target_rules(&get)?,
            wrapping_key: required(&get, "WRAPPING_KEY")?,
        })
    }
}
