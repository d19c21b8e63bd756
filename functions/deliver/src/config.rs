use std::time::Duration;

use signpost_core::endpoint::Limit;
use signpost_core::endpoint::destination::RolePatterns;
use signpost_core::endpoint::target::TargetRules;
use signpost_io::runtime::config::{
    ConfigError, environment, limit, required, retention, role_patterns, sender, target_rules,
};

/// Settings of the `deliver` function, read once at cold start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `DEAD_LETTER_QUEUE_URL`: the queue for deliveries that are given up; required.
    pub dead_letter_queue_url: String,
    /// `DELIVERIES_QUEUE_URL`: the queue of the fast track, to delay its messages and to send them again; required.
    pub deliveries_queue_url: String,
    /// `DESTINATION_ROLE_ARNS`: the customers' roles that this function may assume; see
    /// [`signpost_io::runtime::config::role_patterns`]; default none.
    pub destination_roles: RolePatterns,
    /// `ENDPOINT_KEYS_TABLE`: DynamoDB table of the key pairs that seal endpoints' secrets; required.
    pub endpoint_keys_table: String,
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
    /// `SLOW_DELIVERIES_QUEUE_ARN`: the queue of the slow track, by which this function recognises its messages; required.
    pub slow_deliveries_queue_arn: String,
    /// `SLOW_DELIVERIES_QUEUE_URL`: the same queue, to move deliveries to it and to delay its messages; required.
    pub slow_deliveries_queue_url: String,
    /// `SLOW_INVOCATIONS_PER_TENANT`: how many invocations of the slow track may send for one tenant at the same time; 1 to
    /// 500, required.
    pub slow_invocations_per_tenant: Limit,
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
            destination_roles: role_patterns(&get)?,
            endpoint_keys_table: required(&get, "ENDPOINT_KEYS_TABLE")?,
            endpoints_table: required(&get, "ENDPOINTS_TABLE")?,
            events_table: required(&get, "EVENTS_TABLE")?,
            keys_table: required(&get, "KEYS_TABLE")?,
            mac_key: required(&get, "MAC_KEY")?,
            own_events_queue_url: required(&get, "OWN_EVENTS_QUEUE_URL")?,
            parking_table: required(&get, "PARKING_TABLE")?,
            retention: retention(&get)?,
            sender: sender(&get)?,
            slow_deliveries_queue_arn: required(&get, "SLOW_DELIVERIES_QUEUE_ARN")?,
            slow_deliveries_queue_url: required(&get, "SLOW_DELIVERIES_QUEUE_URL")?,
            slow_invocations_per_tenant: limit(&get, "SLOW_INVOCATIONS_PER_TENANT")?,
            target_rules: target_rules(&get)?,
            wrapping_key: required(&get, "WRAPPING_KEY")?,
        })
    }
}
