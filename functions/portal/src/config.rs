use std::time::Duration;

use public_keys::{AddressRange, ranges};
use signpost_core::endpoint::target::TargetRules;
use signpost_core::signing::key_rotation::KeySchedule;
use signpost_io::runtime::config::{ConfigError, environment, number, required};
use url::Url;

/// Settings of the `portal` function, read once at cold start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `EGRESS_ADDRESSES`: addresses that webhooks come from, as `public-keys` publishes them; default none.
    pub egress_addresses: Vec<AddressRange>,
    /// `FRAME_ANCESTORS`: origins whose pages may show this page in a frame, separated by commas, such as
    /// `https://app.example`; default none.
    pub frame_ancestors: Vec<String>,
    /// `KEYS_TABLE`: DynamoDB table of signing keys; required.
    pub keys_table: String,
    /// `KEY_LEAD_MINUTES`, `KEY_SIGNING_MINUTES`, `KEY_GRACE_MINUTES`: the lifetimes of signing keys, as `rotate-keys` has
    /// them, in minutes; required.
    pub key_schedule: KeySchedule,
    /// The settings of `manage`, whose code answers most requests. The page has no token requests, so
    /// `TOKEN_REQUESTS_TABLE` is not required.
    pub manage: manage::Config,
    /// `UPCOMING_EGRESS_ADDRESSES`: addresses that webhooks will come from later; default none.
    pub upcoming_egress_addresses: Vec<AddressRange>,
}

/// Stands for the table of token requests, which no route of the page uses and the function's role cannot read.
const NO_TOKEN_REQUESTS: &str = "none";

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
        let minutes = |name| number(&get, name, "minutes", 1..=525_600).map(Duration::from_mins);
        let manage = manage::Config::from_lookup(|name| match name {
            "TOKEN_REQUESTS_TABLE" => Some(NO_TOKEN_REQUESTS.into()),
            name => get(name),
        })?;
        Ok(Self {
            egress_addresses: ranges(&get, "EGRESS_ADDRESSES")?,
            frame_ancestors: origins(&get, "FRAME_ANCESTORS", &manage.target_rules)?,
            keys_table: required(&get, "KEYS_TABLE")?,
            key_schedule: KeySchedule {
                lead: minutes("KEY_LEAD_MINUTES")?,
                signing: minutes("KEY_SIGNING_MINUTES")?,
                grace: minutes("KEY_GRACE_MINUTES")?,
            },
            manage,
            upcoming_egress_addresses: ranges(&get, "UPCOMING_EGRESS_ADDRESSES")?,
        })
    }
}

/// Reads origins, separated by commas, each as a browser spells it (RFC 6454, section 6.2). The page compares them with
/// the origins of messages, so patterns are not possible.
fn origins(
    get: impl Fn(&str) -> Option<String>,
    name: &'static str,
    rules: &TargetRules,
) -> Result<Vec<String>, ConfigError> {
    let found = get(name).unwrap_or_default();
    let is_origin = |text: &str| {
        Url::parse(text).is_ok_and(|url| {
            let is_safe = url.scheme() == "https" || (url.scheme() == "http" && rules.dangerously_allow_http);
            // The host of a URL may have `;` and `*`, which mean something in a policy.
            let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".:/-".contains(&byte);
            is_safe && url.origin().ascii_serialization() == text && text.bytes().all(fits)
        })
    };
    let parts = found.split(',').map(str::trim).filter(|part| !part.is_empty());
    let mut read: Vec<_> = parts.map(str::to_owned).collect();
    if !read.iter().all(|part| is_origin(part)) {
        let expected = "origins separated by commas, such as `https://app.example,https://b.example:8443`".into();
        return Err(ConfigError::Invalid { name, found, expected });
    }
    read.sort_unstable();
    read.dedup();
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_origins_may_show_the_page_in_a_frame() {
        let read = |text: &str, rules: &TargetRules| origins(|_| Some(text.to_owned()), "FRAME_ANCESTORS", rules);
        let local = TargetRules { dangerously_allow_http: true, ..TargetRules::INTERNET };
        let cases = [
            ("", TargetRules::INTERNET, vec![]),
            (
                "https://b.example:8443, https://a.example",
                TargetRules::INTERNET,
                vec!["https://a.example", "https://b.example:8443"],
            ),
            ("https://a.example,https://a.example", TargetRules::INTERNET, vec!["https://a.example"]),
            ("http://127.0.0.1:4100", local, vec!["http://127.0.0.1:4100"]),
        ];
        for (text, rules, expected) in cases {
            assert_eq!(read(text, &rules), Ok(expected.into_iter().map(str::to_owned).collect()), "{text}");
        }
        for bad in [
            "*",
            "'self'",
            "a.example",
            "http://a.example",
            "https://a.example/",
            "https://a.example/page",
            "https://*.a.example",
            "https://A.example",
            "https://a.example:443",
            "https://user@a.example",
            "https://a.example; script-src *",
            "https://a.example;script-src",
            "https://a.example https://b.example",
            "data:text/html,x",
            "null",
        ] {
            let told = read(bad, &TargetRules::INTERNET).unwrap_err().to_string();
            let expected = "origins separated by commas, such as `https://app.example,https://b.example:8443`";
            assert_eq!(told, format!("`FRAME_ANCESTORS` is `{bad}`; expected {expected}"));
        }
    }
}
