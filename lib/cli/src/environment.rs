//! The variables of the environment that the command line reads itself. The AWS SDK reads its own.

use std::collections::BTreeMap;

/// Variables, read once.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<&'static str, String>);

/// Names of variables. The documents and `make up` use the same ones for the stack's outputs.
const NAMES: [&str; 9] = [
    "API_URL",
    "AWS_ENDPOINT_URL",
    "DEAD_LETTER_QUEUE_URL",
    "EVENTS_QUEUE_URL",
    "NO_COLOR",
    "REJECTED_QUEUE_URL",
    "ROTATE_KEYS_FUNCTION",
    "SWEEP_FUNCTION",
    "TERM",
];

impl Environment {
    /// Reads the variables of the process.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    pub fn from_env() -> Self {
        Self(NAMES.into_iter().filter_map(|name| Some((name, std::env::var(name).ok()?))).collect())
    }

    /// Returns a variable that is set and not empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}
