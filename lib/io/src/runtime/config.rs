//! Settings, read once at cold start, from the environment only. A function with a missing or invalid setting does not
//! start. It names the setting and the fix before it takes any message.

use std::fmt::{self, Debug, Display};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use http::Uri;
use signpost_core::endpoint::destination::RolePatterns;
use signpost_core::endpoint::target::TargetRules;
use signpost_core::endpoint::{Limit, Verification};

/// A missing or invalid setting.
///
/// `Debug` is the same as `Display`, because a `main` that ends with an error prints `Debug`.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The value is not valid.
    #[error("`{name}` is `{found}`; expected {expected}")]
    Invalid {
        /// The environment variable.
        name: &'static str,
        /// Its value.
        found: String,
        /// The values that are accepted.
        expected: String,
    },
    /// The setting is required and missing.
    #[error("`{name}` is not set; set it under Environment.Variables in template.yaml")]
    Missing {
        /// The environment variable.
        name: &'static str,
    },
}

impl Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

/// Reads a setting from the process environment.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Reads a setting that has no default.
///
/// # Errors
/// The setting is missing or empty.
pub fn required(get: impl Fn(&str) -> Option<String>, name: &'static str) -> Result<String, ConfigError> {
    get(name).filter(|value| !value.is_empty()).ok_or(ConfigError::Missing { name })
}

/// Reads a whole number that has no default.
///
/// # Errors
/// The setting is missing, not a number, or outside of `range`.
pub fn number<T>(
    get: impl Fn(&str) -> Option<String>,
    name: &'static str,
    unit: &str,
    range: RangeInclusive<T>,
) -> Result<T, ConfigError>
where
    T: FromStr + PartialOrd + Display,
{
    let found = required(get, name)?;
    match found.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => {
            let expected = format!("{unit}, {} to {}", range.start(), range.end());
            Err(ConfigError::Invalid { name, found, expected })
        }
    }
}

/// Reads a limit of requests or invocations, [`Limit::RANGE`].
///
/// # Errors
/// As [`number`].
pub fn limit(get: impl Fn(&str) -> Option<String>, name: &'static str) -> Result<Limit, ConfigError> {
    let found = number(get, name, "a number", Limit::RANGE)?;
    let limit = u16::try_from(found).ok().and_then(|found| Limit::try_from(found).ok());
    limit.ok_or(ConfigError::Invalid { name, found: found.to_string(), expected: "a limit".into() })
}

/// Reads `RETENTION_DAYS`, 8 to 365: how long events and their history are kept. Every retry policy ends earlier.
///
/// # Errors
/// As [`number`].
pub fn retention(get: impl Fn(&str) -> Option<String>) -> Result<Duration, ConfigError> {
    number(get, "RETENTION_DAYS", "days", 8..=365).map(|days: u64| Duration::from_hours(24 * days))
}

/// Reads the rules for targets: `DANGEROUSLY_ALLOW_HTTP` and `DANGEROUSLY_ALLOW_PRIVATE_TARGETS`, `true` or `false`,
/// default `false`; and `MORE_TARGET_PORTS`, ports besides 443, separated by commas, default none.
///
/// # Errors
/// One of them has another value.
pub fn target_rules(get: impl Fn(&str) -> Option<String>) -> Result<TargetRules, ConfigError> {
    const PORTS: &str = "MORE_TARGET_PORTS";
    let ports = get(PORTS).unwrap_or_default();
    let listed = ports.split(',').map(str::trim).filter(|port| !port.is_empty());
    let more_ports = listed.map(str::parse).collect::<Result<_, _>>().map_err(|_| ConfigError::Invalid {
        name: PORTS,
        found: ports.clone(),
        expected: "ports separated by commas, such as `8443,9443`".into(),
    })?;
    Ok(TargetRules {
        more_ports,
        dangerously_allow_http: switch(&get, "DANGEROUSLY_ALLOW_HTTP")?,
        dangerously_allow_private_targets: switch(&get, "DANGEROUSLY_ALLOW_PRIVATE_TARGETS")?,
    })
}

/// Reads `DESTINATION_ROLE_ARNS`: the roles of customers that `deliver` may assume, separated by commas, with `*` and `?` as
/// in IAM. The default is none: then no endpoint can have a queue or an event bus.
///
/// # Errors
/// One of them is not a pattern of roles.
pub fn role_patterns(get: impl Fn(&str) -> Option<String>) -> Result<RolePatterns, ConfigError> {
    const NAME: &str = "DESTINATION_ROLE_ARNS";
    let found = get(NAME).unwrap_or_default();
    let expected = "ARNs of roles separated by commas, such as `arn:aws:iam::*:role/signpost-*`";
    RolePatterns::parse(&found).ok_or_else(|| ConfigError::Invalid { name: NAME, found, expected: expected.into() })
}

/// Reads `ENDPOINT_VERIFICATION`, `none` or `challenge`: how endpoints prove that they want webhooks. The default is
/// `none`.
///
/// # Errors
/// It has another value.
pub fn endpoint_verification(get: impl Fn(&str) -> Option<String>) -> Result<Verification, ConfigError> {
    const NAME: &str = "ENDPOINT_VERIFICATION";
    match get(NAME).as_deref() {
        None | Some("" | "none") => Ok(Verification::None),
        Some("challenge") => Ok(Verification::Challenge),
        Some(found) => {
            Err(ConfigError::Invalid { name: NAME, found: found.to_owned(), expected: "`none` or `challenge`".into() })
        }
    }
}

/// Reads the name by which receivers know this stack as a sender: the host of `PUBLIC_URL`, or `signpost` if that is
/// not set.
///
/// # Errors
/// `PUBLIC_URL` is not a URL with a host.
pub fn sender(get: impl Fn(&str) -> Option<String>) -> Result<String, ConfigError> {
    const NAME: &str = "PUBLIC_URL";
    let Some(found) = get(NAME).filter(|text| !text.is_empty()) else { return Ok("signpost".into()) };
    let host = found.parse::<Uri>().ok().and_then(|url| url.scheme().and(url.host()).map(str::to_ascii_lowercase));
    let expected = || "a URL such as `https://callbacks.example`".into();
    host.ok_or_else(|| ConfigError::Invalid { name: NAME, found, expected: expected() })
}

/// Reads a switch, `true` or `false`, default `false`.
///
/// # Errors
/// It has another value. A misspelt safety switch is never guessed.
pub fn switch(get: impl Fn(&str) -> Option<String>, name: &'static str) -> Result<bool, ConfigError> {
    match get(name).as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(found) => Err(ConfigError::Invalid { name, found: found.into(), expected: "`true` or `false`".into() }),
    }
}

#[cfg(test)]
mod tests {
    use signpost_core::endpoint::retry::MAX_TOTAL_SECONDS;

    use super::*;

    fn only(value: &'static str) -> impl Fn(&str) -> Option<String> {
        move |name| (name == "X").then(|| value.to_owned())
    }

    #[test]
    fn a_bad_setting_names_its_fix() {
        let cases = [
            (
                required(only("a"), "Y").unwrap_err(),
                "`Y` is not set; set it under Environment.Variables in template.yaml",
            ),
            (number(only("90s"), "X", "minutes", 1..=60).unwrap_err(), "`X` is `90s`; expected minutes, 1 to 60"),
            (number(only("61"), "X", "minutes", 1..=60).unwrap_err(), "`X` is `61`; expected minutes, 1 to 60"),
            (limit(only("501"), "X").unwrap_err(), "`X` is `501`; expected a number, 1 to 500"),
            (switch(only("yes"), "X").unwrap_err(), "`X` is `yes`; expected `true` or `false`"),
            (
                target_rules(|name| (name == "MORE_TARGET_PORTS").then(|| "8443;9443".into())).unwrap_err(),
                "`MORE_TARGET_PORTS` is `8443;9443`; expected ports separated by commas, such as `8443,9443`",
            ),
            (
                endpoint_verification(|_| Some("dns".into())).unwrap_err(),
                "`ENDPOINT_VERIFICATION` is `dns`; expected `none` or `challenge`",
            ),
            (
                sender(|_| Some("callbacks.example".into())).unwrap_err(),
                "`PUBLIC_URL` is `callbacks.example`; expected a URL such as `https://callbacks.example`",
            ),
        ];
        for (error, text) in cases {
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn the_shortest_retention_outlasts_the_longest_retry_policy() {
        let of = |days: &'static str| retention(move |_| Some(days.to_owned()));
        assert!(of("8").unwrap() > Duration::from_secs(MAX_TOTAL_SECONDS));
        assert_eq!(of("7").unwrap_err().to_string(), "`RETENTION_DAYS` is `7`; expected days, 8 to 365");
    }

    #[test]
    fn good_settings_are_read() {
        assert_eq!(required(only("a"), "X"), Ok("a".into()));
        assert_eq!(number(only("60"), "X", "minutes", 1..=60), Ok(60));
        assert_eq!(limit(only("500"), "X").map(u16::from), Ok(500));
        assert_eq!((switch(only("true"), "X"), switch(only("true"), "Y")), (Ok(true), Ok(false)));
        assert_eq!(target_rules(|_| None), Ok(TargetRules::INTERNET));
        let ports = target_rules(|name| (name == "MORE_TARGET_PORTS").then(|| "8443, 9443".into())).unwrap();
        assert_eq!(ports.more_ports, [8_443, 9_443].into());
        for (text, expected) in
            [("", Verification::None), ("none", Verification::None), ("challenge", Verification::Challenge)]
        {
            assert_eq!(endpoint_verification(|_| Some(text.into())), Ok(expected));
        }
        let senders = [
            ("", "signpost"),
            ("https://Callbacks.example/base", "callbacks.example"),
            ("http://127.0.0.1:4566/api", "127.0.0.1"),
        ];
        for (text, expected) in senders {
            assert_eq!(sender(|_| Some(text.into())).as_deref(), Ok(expected), "{text:?}");
        }
        assert_eq!(
            (sender(|_| None).as_deref(), endpoint_verification(|_| None)),
            (Ok("signpost"), Ok(Verification::None))
        );
    }
}
