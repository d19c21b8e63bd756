use std::time::Duration;

use signpost_io::runtime::config::{ConfigError, environment, number, required};

use crate::egress::{AddressRange, ranges};

/// Settings of the `public-keys` function, read once at cold start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `EGRESS_ADDRESSES`: IPv4 addresses or ranges that webhooks come from, separated by commas, such as
    /// `203.0.113.7/32`; default none, which means that they are not fixed.
    pub egress_addresses: Vec<AddressRange>,
    /// `ENDPOINT_KEYS_TABLE`: DynamoDB table of endpoints' public keys; required.
    pub endpoint_keys_table: String,
    /// `KEY_LEAD_MINUTES`: how long a key is published before it signs, in minutes; 1 to 525 600, required. The key set
    /// may be cached for half of it.
    pub key_lead: Duration,
    /// `KEYS_TABLE`: DynamoDB table of signing keys; required.
    pub keys_table: String,
    /// `MAC_KEY`: id, ARN or alias of the KMS key that authenticates the items of both tables; required.
    pub mac_key: String,
    /// `UPCOMING_EGRESS_ADDRESSES`: addresses that webhooks will come from later, in the same form; default none.
    pub upcoming_egress_addresses: Vec<AddressRange>,
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
            egress_addresses: ranges(&get, "EGRESS_ADDRESSES")?,
            endpoint_keys_table: required(&get, "ENDPOINT_KEYS_TABLE")?,
            key_lead: number(&get, "KEY_LEAD_MINUTES", "minutes", 1..=525_600).map(Duration::from_mins)?,
            keys_table: required(&get, "KEYS_TABLE")?,
            mac_key: required(&get, "MAC_KEY")?,
            upcoming_egress_addresses: ranges(&get, "UPCOMING_EGRESS_ADDRESSES")?,
        })
    }
}
