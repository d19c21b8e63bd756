use std::time::Duration;

use signpost_core::endpoint::Verification;
use signpost_core::endpoint::destination::RolePatterns;
use signpost_core::endpoint::target::TargetRules;
use signpost_io::runtime::config::{
    ConfigError, endpoint_verification, environment, number, required, retention, role_patterns, target_rules,
};

/// Settings of the `manage` function, read once at cold start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `AUDIT_RETENTION_DAYS`: how long entries of the audit log are kept, in days; 1 to 3650, required.
    pub audit_retention: Duration,
    /// `AUDIT_TABLE`: DynamoDB table of the audit log; required.
    pub audit_table: String,
    /// `DELIVER_ROLE_ARN`: the role that assumes the customers' roles, which their trust policies name; required if
    /// `DESTINATION_ROLE_ARNS` is set.
    pub deliver_role_arn: String,
    /// `DELIVERIES_QUEUE_URL`: the queue for replayed deliveries; required.
    pub deliveries_queue_url: String,
    /// `DESTINATION_ROLE_ARNS`: the customers' roles that endpoints may name; see
    /// [`signpost_io::runtime::config::role_patterns`]; default none. They must be those of `deliver`.
    pub destination_roles: RolePatterns,
    /// `ENDPOINTS_TABLE`: DynamoDB table of endpoints; required.
    pub endpoints_table: String,
    /// `ENDPOINT_KEYS_TABLE`: DynamoDB table of endpoints' public keys; required.
    pub endpoint_keys_table: String,
    /// `ENDPOINT_VERIFICATION`: how new origins prove that they want webhooks, `none` or `challenge`; default `none`.
    pub endpoint_verification: Verification,
    /// `DANGEROUSLY_ALLOW_HTTP`, `DANGEROUSLY_ALLOW_PRIVATE_TARGETS` and `MORE_TARGET_PORTS`: see
    /// [`signpost_io::runtime::config::target_rules`]. They must be those of `deliver`, or it would refuse targets that
    /// are accepted here.
    pub target_rules: TargetRules,
    /// `EVENTS_TABLE`: DynamoDB table of events and deliveries; required.
    pub events_table: String,
    /// `KEYS_URL`: the start of `jwksUrl` in answers, such as `https://keys.example`, without a query; default as
    /// `PUBLIC_URL`.
    pub keys_url: Option<String>,
    /// `MAC_KEY`: id, ARN or alias of the KMS key that authenticates the items of `ENDPOINT_KEYS_TABLE`; required.
    pub mac_key: String,
    /// `OWN_EVENTS_QUEUE_URL`: the queue of Signpost's own events, such as test events; required.
    pub own_events_queue_url: String,
    /// `PARKING_TABLE`: DynamoDB table of parked deliveries; required.
    pub parking_table: String,
    /// `PORTAL_TABLE`: DynamoDB table of links to the integrators' page; required.
    pub portal_table: String,
    /// `PORTAL_URL`: the start of links to the integrators' page, such as `https://webhooks.example`, without a query;
    /// default as `PUBLIC_URL`.
    pub portal_url: Option<String>,
    /// `PUBLIC_URL`: the start of callback URLs, such as `https://callbacks.example`, without a query; default the
    /// domain of the registration's request.
    pub public_url: Option<String>,
    /// `RETENTION_DAYS`: how long replayed deliveries and token requests are kept, in days; 8 to 365, required.
    pub retention: Duration,
    /// `TOKEN_REQUESTS_TABLE`: DynamoDB table of token requests; required.
    pub token_requests_table: String,
    /// `WRAPPING_KEY`: id, ARN or alias of the KMS key that seals endpoints' secrets; required.
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
        let target_rules = target_rules(&get)?;
        let destination_roles = role_patterns(&get)?;
        let has_roles = !destination_roles.is_empty();
        let deliver_role_arn = if has_roles { required(&get, "DELIVER_ROLE_ARN")? } else { String::new() };
        Ok(Self {
            audit_retention: number(&get, "AUDIT_RETENTION_DAYS", "days", 1..=3_650)
                .map(|days: u64| Duration::from_hours(24 * days))?,
            audit_table: required(&get, "AUDIT_TABLE")?,
            deliver_role_arn,
            deliveries_queue_url: required(&get, "DELIVERIES_QUEUE_URL")?,
            destination_roles,
            endpoints_table: required(&get, "ENDPOINTS_TABLE")?,
            endpoint_keys_table: required(&get, "ENDPOINT_KEYS_TABLE")?,
            endpoint_verification: endpoint_verification(&get)?,
            mac_key: required(&get, "MAC_KEY")?,
            own_events_queue_url: required(&get, "OWN_EVENTS_QUEUE_URL")?,
            events_table: required(&get, "EVENTS_TABLE")?,
            parking_table: required(&get, "PARKING_TABLE")?,
            keys_url: url(&get, "KEYS_URL", &target_rules)?,
            portal_table: required(&get, "PORTAL_TABLE")?,
            portal_url: url(&get, "PORTAL_URL", &target_rules)?,
            public_url: url(&get, "PUBLIC_URL", &target_rules)?,
            retention: retention(&get)?,
            target_rules,
            token_requests_table: required(&get, "TOKEN_REQUESTS_TABLE")?,
            wrapping_key: required(&get, "WRAPPING_KEY")?,
        })
    }
}

/// Reads a base URL, to which paths are added, and removes a slash at its end.
fn url(
    get: impl Fn(&str) -> Option<String>,
    name: &'static str,
    rules: &TargetRules,
) -> Result<Option<String>, ConfigError> {
    let Some(found) = get(name).filter(|text| !text.is_empty()) else { return Ok(None) };
    let rest = match found.strip_prefix("http://") {
        Some(rest) if rules.dangerously_allow_http => Some(rest),
        _ => found.strip_prefix("https://"),
    };
    // A path is appended, so a query is not possible.
    let fits = |rest: &str| {
        !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'?' && byte != b'#')
    };
    if !rest.is_some_and(fits) {
        let expected = "a URL such as `https://callbacks.example`, without a query".into();
        return Err(ConfigError::Invalid { name, found, expected });
    }
    Ok(Some(found.trim_end_matches('/').to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_others_see_begin_with_https() {
        let internet = TargetRules::INTERNET;
        let local = TargetRules { dangerously_allow_http: true, ..TargetRules::INTERNET };
        let cases = [
            ("", &internet, None),
            ("https://a.example/", &internet, Some("https://a.example")),
            ("https://a.example/b", &internet, Some("https://a.example/b")),
            ("http://127.0.0.1:1/b", &local, Some("http://127.0.0.1:1/b")),
        ];
        for (text, rules, expected) in cases {
            assert_eq!(url(|_| Some(text.to_owned()), "PUBLIC_URL", rules), Ok(expected.map(str::to_owned)), "{text}");
        }
        for bad in ["a.example", "http://a.example", "https://", "https://a.example?b", "https://a b"] {
            let told = url(|_| Some(bad.to_owned()), "PUBLIC_URL", &internet).unwrap_err().to_string();
            let expected = "expected a URL such as `https://callbacks.example`, without a query";
            assert_eq!(told, format!("`PUBLIC_URL` is `{bad}`; {expected}"));
        }
    }
}
