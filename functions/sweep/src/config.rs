use std::time::Duration;

use signpost_core::endpoint::Limit;
use signpost_io::runtime::config::{ConfigError, environment, limit, required, retention};

/// Settings of the `sweep` function, read once at cold start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `DEAD_LETTER_QUEUE_URL`: the queue for deliveries whose event is gone, which operators can redrive; required.
    pub dead_letter_queue_url: String,
    /// `DELIVERIES_QUEUE_URL`: the queue for deliveries that are due; required.
    pub deliveries_queue_url: String,
    /// `ENDPOINTS_TABLE`: DynamoDB table of endpoints; required.
    pub endpoints_table: String,
    /// `ENDPOINT_KEYS_TABLE`: DynamoDB table of endpoints' keys, from which those of erased tenants are removed; required.
    pub endpoint_keys_table: String,
    /// `EVENTS_QUEUE_URL`: the queue for redriven events; required.
    pub events_queue_url: String,
    /// `EVENTS_TABLE`: DynamoDB table of events and deliveries; required.
    pub events_table: String,
    /// `PARKING_TABLE`: DynamoDB table of parked deliveries; required.
    pub parking_table: String,
    /// `PORTAL_TABLE`: DynamoDB table of links to the integrators' page, from which those of erased tenants are removed;
    /// required.
    pub portal_table: String,
    /// `REJECTED_QUEUE_URL`: the queue of invalid events, which operators can redrive; required.
    pub rejected_queue_url: String,
    /// `RETENTION_DAYS`: how long events are kept, in days; 8 to 365, required.
    pub retention: Duration,
    /// `SLOW_INVOCATIONS_PER_TENANT`: how many invocations of `deliver` may send for one tenant from `SlowDeliveriesQueue` at
    /// the same time; 1 to 500, required.
    pub slow_invocations_per_tenant: Limit,
    /// `TOKEN_REQUESTS_TABLE`: DynamoDB table of token requests, from which those of erased tenants are removed; required.
    pub token_requests_table: String,
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
            endpoint_keys_table: required(&get, "ENDPOINT_KEYS_TABLE")?,
            events_queue_url: required(&get, "EVENTS_QUEUE_URL")?,
            events_table: required(&get, "EVENTS_TABLE")?,
            parking_table: required(&get, "PARKING_TABLE")?,
            portal_table: required(&get, "PORTAL_TABLE")?,
            rejected_queue_url: required(&get, "REJECTED_QUEUE_URL")?,
            retention: retention(&get)?,
            slow_invocations_per_tenant: limit(&get, "SLOW_INVOCATIONS_PER_TENANT")?,
            token_requests_table: required(&get, "TOKEN_REQUESTS_TABLE")?,
        })
    }
}
