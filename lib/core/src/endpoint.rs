//! Endpoints: where a tenant's events are sent, and how.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::event::Event;
use crate::retry::RetryPolicy;

/// A receiver's URL and its settings, as operators write them and as the table keeps them.
///
/// Unknown fields are refused: a setting that is not honoured must not look as if it were.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Endpoint {
    /// Where requests go. Judged by [`crate::target::TargetRules`] whenever it is about to be used.
    pub url: String,
    /// The operator's own words.
    #[serde(default)]
    pub description: String,
    /// Which events it wants; empty means all.
    #[serde(default)]
    pub types: Vec<TypeFilter>,
    /// How failed attempts are repeated.
    #[serde(default)]
    pub retry: RetryPolicy,
    /// Budget of one attempt in seconds, from DNS to the last byte of the answer.
    #[serde(default)]
    pub timeout_seconds: TimeoutSeconds,
}

impl Endpoint {
    /// An endpoint with default settings.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            description: String::new(),
            types: Vec::new(),
            retry: RetryPolicy::default(),
            timeout_seconds: TimeoutSeconds::default(),
        }
    }

    /// Whether this endpoint is to receive `event`.
    #[must_use]
    pub fn wants(&self, event: &Event) -> bool {
        self.types.is_empty() || self.types.iter().any(|filter| filter.kind == event.kind)
    }
}

/// One kind of event that an endpoint wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TypeFilter {
    /// The CloudEvents `type`.
    #[serde(rename = "type")]
    pub kind: String,
}

/// An endpoint's id: `ep_` and 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointId(String);

impl EndpointId {
    /// Makes an id from a random UUID.
    #[must_use]
    pub fn new(random: Uuid) -> Self {
        Self(format!("ep_{}", random.simple()))
    }

    /// Takes an id of the form that [`Self::new`] makes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("ep_")?;
        let fits = digits.len() == 32 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        fits.then(|| Self(text.to_owned()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Seconds that one attempt may take: 1 to 30, 10 by default (the ten seconds of TransactionLink's page).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct TimeoutSeconds(u8);

impl Default for TimeoutSeconds {
    fn default() -> Self {
        Self(10)
    }
}

impl From<TimeoutSeconds> for Duration {
    fn from(seconds: TimeoutSeconds) -> Self {
        Self::from_secs(seconds.0.into())
    }
}

impl From<TimeoutSeconds> for u8 {
    fn from(seconds: TimeoutSeconds) -> Self {
        seconds.0
    }
}

impl TryFrom<u8> for TimeoutSeconds {
    type Error = String;

    fn try_from(seconds: u8) -> Result<Self, String> {
        match seconds {
            1..=30 => Ok(Self(seconds)),
            _ => Err(format!("`timeoutSeconds` is `{seconds}`; expected 1 to 30")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_enough() {
        let endpoint: Endpoint = serde_json::from_str(r#"{"url":"https://a.example/hook"}"#).unwrap();
        assert_eq!(endpoint, Endpoint::new("https://a.example/hook"));
        assert_eq!(Duration::from(endpoint.timeout_seconds), Duration::from_secs(10));
    }

    #[test]
    fn settings_that_would_not_be_honoured_are_refused() {
        let cases = [
            (r#"{"url":"https://a.example","auth":{"kind":"basic"}}"#, "unknown field"),
            (r#"{"url":"https://a.example","timeoutSeconds":0}"#, "no time at all"),
            (r#"{"url":"https://a.example","timeoutSeconds":31}"#, "longer than the function allows"),
            (r#"{"url":"https://a.example","retry":{"backoff":"exponential"}}"#, "unknown backoff"),
            (r#"{"url":"https://a.example","retry":{"intervalSeconds":901}}"#, "over 15 minutes in the queue"),
            (r#"{"url":"https://a.example","retry":{"maxRetries":101}}"#, "without end"),
        ];
        for (settings, why) in cases {
            assert!(serde_json::from_str::<Endpoint>(settings).is_err(), "{why}");
        }
    }

    #[test]
    fn types_decide_who_wants_an_event() {
        let event =
            Event::parse(r#"{"specversion":"1.0","id":"1","source":"/","type":"operation","tenant":"acme","data":{}}"#)
                .unwrap();
        let cases = [("[]", true), (r#"[{"type":"operation"}]"#, true), (r#"[{"type":"session"}]"#, false)];
        for (types, wanted) in cases {
            let endpoint: Endpoint =
                serde_json::from_str(&format!(r#"{{"url":"https://a.example","types":{types}}}"#)).unwrap();
            assert_eq!(endpoint.wants(&event), wanted, "{types}");
        }
    }

    #[test]
    fn endpoint_ids_read_back() {
        let id = EndpointId::new(Uuid::from_u128(7));
        assert_eq!(id.as_str(), "ep_00000000000000000000000000000007");
        assert_eq!(EndpointId::parse(id.as_str()), Some(id));
        for bad in ["", "ep_", "ep_0000000000000000000000000000000G", "00000000000000000000000000000007"] {
            assert_eq!(EndpointId::parse(bad), None, "{bad}");
        }
    }
}
