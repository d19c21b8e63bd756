use signpost_io::runtime::config::{ConfigError, environment, required};

/// Settings of the `relay` function, read once at cold start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `OWN_EVENTS_QUEUE_URL`: the queue that bank callbacks are committed to, as events; required.
    pub own_events_queue_url: String,
    /// `TOKEN_REQUESTS_TABLE`: DynamoDB table of token requests; required.
    pub token_requests_table: String,
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
            own_events_queue_url: required(&get, "OWN_EVENTS_QUEUE_URL")?,
            token_requests_table: required(&get, "TOKEN_REQUESTS_TABLE")?,
        })
    }
}
