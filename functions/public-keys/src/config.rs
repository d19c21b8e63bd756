use std::time::Duration;

use signpost_io::runtime::config::{ConfigError, environment, number, required};

/// Settings of the `public-keys` function, read once at cold start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `ENDPOINT_KEYS_TABLE`: DynamoDB table of endpoints' public keys; required.
    pub endpoint_keys_table: String,
    /// `KEY_LEAD_MINUTES`: how long a key is published before it signs, in minutes; 1 to 525 600, required. The key set
    /// may be cached for half of it.
    pub key_lead: Duration,
    /// `KEYS_TABLE`: DynamoDB table of signing keys; required.
    pub keys_table: String,
    /// `MAC_KEY`: id, ARN or alias of the KMS key that authenticates the items of both tables; required.
    pub mac_key: String,
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
            endpoint_keys_table: required(&get, "ENDPOINT_KEYS_TABLE")?,
            key_lead: number(&get, "KEY_LEAD_MINUTES", "minutes", 1..=525_600).map(Duration::from_mins)?,
            keys_table: required(&get, "KEYS_TABLE")?,
            mac_key: required(&get, "MAC_KEY")?,
        })
    }
}
