use std::time::Duration;

use signpost_core::signing::algorithm::Algorithm;
use signpost_core::signing::key_rotation::KeySchedule;
use signpost_io::runtime::config::{ConfigError, environment, number, required};

/// Settings of the `rotate-keys` function, read once at cold start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `ALGORITHMS`: the algorithms that get a first key, separated by commas, such as `RS256,ES256`; default all. `RS256`
    /// is one of them. An algorithm that has keys gets new ones in any case, because endpoints may use it.
    pub algorithms: Vec<Algorithm>,
    /// `KEYS_TABLE`: DynamoDB table of signing keys; required.
    pub keys_table: String,
    /// `KEY_LEAD_MINUTES`, `KEY_SIGNING_MINUTES`, `KEY_GRACE_MINUTES`: how long a key is published before it signs, how
    /// long it signs, and how long it can be fetched afterwards, in minutes; 1 to 525 600 each, required. The lead must
    /// not be longer than the signing. Otherwise more and more keys would have to be made ahead.
    pub schedule: KeySchedule,
    /// `MAC_KEY`: id, ARN or alias of the KMS key that authenticates the table's items; required.
    pub mac_key: String,
    /// `WRAPPING_KEY`: id, ARN or alias of the KMS key that wraps private keys; required.
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
        let minutes = |name| number(&get, name, "minutes", 1..=525_600).map(Duration::from_mins);
        let schedule = KeySchedule {
            lead: minutes("KEY_LEAD_MINUTES")?,
            signing: minutes("KEY_SIGNING_MINUTES")?,
            grace: minutes("KEY_GRACE_MINUTES")?,
        };
        if schedule.lead > schedule.signing {
            let found = (schedule.lead.as_secs() / 60).to_string();
            return Err(ConfigError::Invalid {
                name: "KEY_LEAD_MINUTES",
                found,
                expected: "at most KEY_SIGNING_MINUTES".into(),
            });
        }
        Ok(Self {
            algorithms: algorithms(&get)?,
            keys_table: required(&get, "KEYS_TABLE")?,
            schedule,
            mac_key: required(&get, "MAC_KEY")?,
            wrapping_key: required(&get, "WRAPPING_KEY")?,
        })
    }
}

/// Reads `ALGORITHMS`. The default algorithm must be one of them, because endpoints use it unless they name another.
fn algorithms(get: impl Fn(&str) -> Option<String>) -> Result<Vec<Algorithm>, ConfigError> {
    const NAME: &str = "ALGORITHMS";
    let found = get(NAME).unwrap_or_default();
    if found.is_empty() {
        return Ok(Algorithm::ALL.to_vec());
    }
    let named = |name: &str| Algorithm::ALL.into_iter().find(|algorithm| algorithm.as_str() == name.trim());
    match found.split(',').map(named).collect::<Option<Vec<_>>>() {
        Some(algorithms) if algorithms.contains(&Algorithm::default()) => Ok(algorithms),
        _ => {
            let expected = "RS256, and after commas ES256 or EdDSA, such as `RS256,ES256`".into();
            Err(ConfigError::Invalid { name: NAME, found, expected })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_algorithms_are_all_or_those_that_are_named_with_the_default_one() {
        use Algorithm::{ES256, EdDSA, RS256};
        let read = |text: &str| algorithms(|_| Some(text.to_owned()));
        let cases = [
            ("", vec![EdDSA, ES256, RS256], "all"),
            ("RS256", vec![RS256], "one"),
            ("RS256, ES256", vec![RS256, ES256], "two, and a space"),
        ];
        for (text, expected, why) in cases {
            assert_eq!(read(text), Ok(expected), "`{text}`: {why}");
        }
        for bad in ["ES256", "RS256,", "rs256", "RS256,HS256"] {
            let told = read(bad).unwrap_err().to_string();
            let expected = "RS256, and after commas ES256 or EdDSA, such as `RS256,ES256`";
            assert_eq!(told, format!("`ALGORITHMS` is `{bad}`; expected {expected}"));
        }
    }

    #[test]
    fn a_lead_longer_than_the_signing_is_refused() {
        let with = |lead: &'static str| {
            Config::from_lookup(move |name| {
                Some(match name {
                    "ALGORITHMS" => String::new(),
                    "KEY_LEAD_MINUTES" => lead.into(),
                    "KEY_SIGNING_MINUTES" | "KEY_GRACE_MINUTES" => "60".into(),
                    name => name.to_lowercase(),
                })
            })
        };
        assert_eq!(with("60").unwrap().schedule.lead, Duration::from_hours(1));
        let told = with("61").unwrap_err().to_string();
        assert_eq!(told, "`KEY_LEAD_MINUTES` is `61`; expected at most KEY_SIGNING_MINUTES");
    }
}
