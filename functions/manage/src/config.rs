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
    /// `PUBLIC_URL`: what callback URLs begin with, such as `https://callbacks.example`, without a query; by default, the
    /// domain that the registration came by.
    pub public_url: Option<String>,
    /// `RETENTION_DAYS`: how long deliveries are kept once they are replayed, and token requests, in days; 1 to 365, required.
    pub retention: Duration,
    /// `TOKEN_REQUESTS_TABLE`: DynamoDB table of token requests; required.
    pub token_requests_table: String,
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
        let target_rules = target_rules(&get)?;
        Ok(Self {
            deliveries_queue_url: required(&get, "DELIVERIES_QUEUE_URL")?,
            endpoints_table: required(&get, "ENDPOINTS_TABLE")?,
            events_queue_url: required(&get, "EVENTS_QUEUE_URL")?,
            events_table: required(&get, "EVENTS_TABLE")?,
            parking_table: required(&get, "PARKING_TABLE")?,
            public_url: public_url(&get, &target_rules)?,
            retention: retention(&get)?,
            target_rules,
            token_requests_table: required(&get, "TOKEN_REQUESTS_TABLE")?,
            wrapping_key: required(&get, "WRAPPING_KEY")?,
        })
    }
}

fn public_url(get: impl Fn(&str) -> Option<String>, rules: &TargetRules) -> Result<Option<String>, ConfigError> {
    const NAME: &str = "PUBLIC_URL";
    let Some(found) = get(NAME).filter(|text| !text.is_empty()) else { return Ok(None) };
    let rest = match found.strip_prefix("http://") {
        Some(rest) if rules.dangerously_allow_http => Some(rest),
        _ => found.strip_prefix("https://"),
    };
    // What follows is `/callbacks/…`, so there is no room for a query.
    let fits = |rest: &str| {
        !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'?' && byte != b'#')
    };
    if !rest.is_some_and(fits) {
        let expected = "a URL such as `https://callbacks.example`, without a query".into();
        return Err(ConfigError::Invalid { name: NAME, found, expected });
    }
    Ok(Some(found.trim_end_matches('/').to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callback_urls_begin_with_https() {
        let internet = TargetRules::INTERNET;
        let local = TargetRules { dangerously_allow_http: true, ..TargetRules::INTERNET };
        let cases = [
            ("", &internet, None),
            ("https://a.example/", &internet, Some("https://a.example")),
            ("https://a.example/b", &internet, Some("https://a.example/b")),
            ("http://127.0.0.1:1/b", &local, Some("http://127.0.0.1:1/b")),
        ];
        for (text, rules, expected) in cases {
            assert_eq!(public_url(|_| Some(text.to_owned()), rules), Ok(expected.map(str::to_owned)), "{text}");
        }
        for bad in ["a.example", "http://a.example", "https://", "https://a.example?b", "https://a b"] {
            let told = public_url(|_| Some(bad.to_owned()), &internet).unwrap_err().to_string();
            let expected = "expected a URL such as `https://callbacks.example`, without a query";
            assert_eq!(told, format!("`PUBLIC_URL` is `{bad}`; {expected}"));
        }
    }
}
