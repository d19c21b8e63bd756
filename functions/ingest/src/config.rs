use signpost_io::runtime::config::{ConfigError, environment, required};

/// Settings of the `ingest` function, read once at cold start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `ENDPOINTS_TABLE`: DynamoDB table with the event types of tenants; required.
    pub endpoints_table: String,
    /// `EVENTS_QUEUE_URL`: the queue that events are committed to; required.
    pub events_queue_url: String,
}

impl Config {
    /// Reads the settings from the process environment.
    ///
    /// # Errors
    /// A setting is missing; the message names it.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_lookup(environment)
    }

    /// Reads the settings from any source, so that tests never touch the process environment.
    ///
    /// # Errors
    /// As [`Self::from_env`].
    pub fn from_lookup(get: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        Ok(Self {
            endpoints_table: required(&get, "ENDPOINTS_TABLE")?,
            events_queue_url: required(&get, "EVENTS_QUEUE_URL")?,
        })
    }
}
