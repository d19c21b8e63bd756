//! Retry policies: how often a failed delivery is tried again, and after which wait.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How an endpoint's failed deliveries are tried again: `maxRetries` more attempts, each `intervalSeconds` after the
/// last one ended.
///
/// Both are bounded so that a wait fits in a visibility timeout without holding the queue: 0 to 100 retries, 1 to 900
/// seconds apart. The default is TransactionLink's: five retries, five seconds apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", try_from = "Unchecked")]
pub struct RetryPolicy {
    max_retries: u32,
    interval_seconds: u32,
    backoff: Backoff,
}

/// How waits grow from one attempt to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Backoff {
    /// They do not.
    #[default]
    Fixed,
}

impl RetryPolicy {
    /// How many retries there may be.
    pub const RETRIES: RangeInclusive<u32> = 0..=100;
    /// How many seconds they may be apart.
    pub const INTERVAL_SECONDS: RangeInclusive<u32> = 1..=900;

    /// A policy of equal waits.
    ///
    /// # Errors
    /// A count or an interval out of bounds, with the bounds.
    pub fn fixed(max_retries: u32, interval_seconds: u32) -> Result<Self, String> {
        if !Self::RETRIES.contains(&max_retries) {
            return Err(format!("`maxRetries` is `{max_retries}`; expected 0 to 100"));
        }
        if !Self::INTERVAL_SECONDS.contains(&interval_seconds) {
            return Err(format!("`intervalSeconds` is `{interval_seconds}`; expected 1 to 900"));
        }
        Ok(Self { max_retries, interval_seconds, backoff: Backoff::Fixed })
    }

    /// How many more attempts follow a failed one.
    #[must_use]
    pub fn max_retries(&self) -> u32 {
        self.max_retries
    }

    /// How many seconds lie between them.
    #[must_use]
    pub fn interval_seconds(&self) -> u32 {
        self.interval_seconds
    }

    /// The wait after failed attempt `number` (the first is 1), or nothing when that was the last.
    #[must_use]
    pub fn wait_after(&self, number: u32) -> Option<Duration> {
        match self.backoff {
            Backoff::Fixed => (number <= self.max_retries).then(|| Duration::from_secs(self.interval_seconds.into())),
        }
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { max_retries: 5, interval_seconds: 5, backoff: Backoff::Fixed }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Unchecked {
    max_retries: Option<u32>,
    interval_seconds: Option<u32>,
    #[serde(default)]
    backoff: Backoff,
}

impl TryFrom<Unchecked> for RetryPolicy {
    type Error = String;

    fn try_from(unchecked: Unchecked) -> Result<Self, String> {
        let default = Self::default();
        match unchecked.backoff {
            Backoff::Fixed => Self::fixed(
                unchecked.max_retries.unwrap_or(default.max_retries),
                unchecked.interval_seconds.unwrap_or(default.interval_seconds),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_five_retries_five_seconds_apart() {
        let waits: Vec<_> = (1..=6).map(|number| RetryPolicy::default().wait_after(number)).collect();
        let five = Some(Duration::from_secs(5));
        assert_eq!(waits, [five, five, five, five, five, None]);
    }

    #[test]
    fn no_retries_means_one_attempt() {
        assert_eq!(RetryPolicy::fixed(0, 5).unwrap().wait_after(1), None);
    }
}
