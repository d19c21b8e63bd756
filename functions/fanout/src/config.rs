use std::time::Duration;

use signpost_io::runtime::config::{ConfigError, environment, required, retention};

/// Settings of the `fanout` function, read once at cold start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `DELIVERIES_QUEUE_URL`: the queue for one message per event and endpoint; required.
    pub deliveries_queue_url: String,
    /// `ENDPOINTS_TABLE`: DynamoDB table of endpoints; required.
    pub endpoints_table: String,
    /// `EVENTS_QUEUE_URL`: the queue that producers' events come from; required.
    pub events_queue_url: String,
    /// `EVENTS_TABLE`: DynamoDB table of events and deliveries; required.
    pub events_table: String,
    /// `NOTICES_BUS_QUEUE_URL` and `NOTICES_TOPIC_QUEUE_URL`: the queues that bring notices about endpoints to the operator's
    /// event bus and topic; default none.
    pub notices_queue_urls: Vec<String>,
    /// `OWN_EVENTS_QUEUE_ARN`: the queue of Signpost's own events; required. Producers cannot send to it, so only its
    /// messages may have Signpost's own types and sources.
    pub own_events_queue_arn: String,
    /// `OWN_EVENTS_QUEUE_URL`: the same queue; required.
    pub own_events_queue_url: String,
    /// `REJECTED_QUEUE_URL`: the queue for invalid events, and for those that conflict with another; required.
    pub rejected_queue_url: String,
    /// `RETENTION_DAYS`: how long events are kept, in days; 8 to 365, required.
    pub retention: Duration,
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
            deliveries_queue_url: required(&get, "DELIVERIES_QUEUE_URL")?,
            endpoints_table: required(&get, "ENDPOINTS_TABLE")?,
            events_queue_url: required(&get, "EVENTS_QUEUE_URL")?,
            events_table: required(&get, "EVENTS_TABLE")?,
            notices_queue_urls: ["NOTICES_BUS_QUEUE_URL", "NOTICES_TOPIC_QUEUE_URL"]
                .into_iter()
                .filter_map(|name| get(name).filter(|url| !url.is_empty()))
                .collect(),
            own_events_queue_arn: required(&get, "OWN_EVENTS_QUEUE_ARN")?,
            own_events_queue_url: required(&get, "OWN_EVENTS_QUEUE_URL")?,
            rejected_queue_url: required(&get, "REJECTED_QUEUE_URL")?,
            retention: retention(&get)?,
        })
    }
}
