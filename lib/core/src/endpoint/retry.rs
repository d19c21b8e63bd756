//! Retry policies: how often a failed delivery is tried again, and after which wait.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How an endpoint's failed deliveries are tried again.
///
/// Written as `{"maxRetries":5,"intervalSeconds":5,"backoff":"fixed"}`, as the same with `"backoff":"exponential"` and
/// `maxIntervalSeconds`, or as `{"schedule":[5,300,…]}`. The default is a schedule over about 28 hours
/// ([`DEFAULT_SCHEDULE_SECONDS`]). TransactionLink's policy, five retries five seconds apart, is the first of these examples.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RetryPolicyInput", into = "RetryPolicyInput")]
pub struct RetryPolicy(Waits);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Waits {
    /// Each twice as long as the one before, up to a limit.
    Exponential { max_retries: u32, interval_seconds: u32, max_interval_seconds: u32 },
    /// All alike.
    Fixed { max_retries: u32, interval_seconds: u32 },
    /// These, one after the other.
    Schedule(Vec<u32>),
}

/// How waits grow from one attempt to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Backoff {
    /// Each is twice as long as the one before.
    Exponential,
    /// They do not.
    #[default]
    Fixed,
}

/// A policy as it is written: what it has decides what it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RetryPolicyInput {
    /// How many retries; 5 by default, where there is another member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<u32>,
    /// The first wait, or every; 5 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_seconds: Option<u32>,
    /// The longest wait, where they grow; an hour by default, or the interval if that is longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_interval_seconds: Option<u32>,
    /// Whether they grow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// All waits, one by one. Nothing else stands beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Vec<u32>>,
}

/// What is wrong with a policy whose parts are right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RetryPolicyError {
    /// The longest wait is shorter than the first.
    #[error("`maxIntervalSeconds` is less than `intervalSeconds`")]
    LimitBelowInterval,
    /// A number is out of its range.
    #[error("a number of retries or of seconds is out of range")]
    OutOfRange,
    /// A limit for waits that do not grow, or anything beside a schedule.
    #[error("`maxIntervalSeconds` goes with backoff `exponential` only, and nothing goes with `schedule`")]
    Stray,
    /// All waits together are too long.
    #[error("all waits together are {total_seconds} seconds; expected {MAX_TOTAL_SECONDS} at the most")]
    TooLong {
        /// How long they are.
        total_seconds: u64,
    },
}

/// The longest wait: how long SQS can hide a message.
pub const MAX_WAIT: Duration = Duration::from_hours(12);
/// How long all waits of a policy may be together: a week.
pub const MAX_TOTAL_SECONDS: u64 = 7 * 24 * 3_600;
/// The longest wait of a policy that grows and does not say: an hour.
const DEFAULT_MAX_INTERVAL_SECONDS: u32 = 3_600;
/// How much longer or shorter a growing wait may turn out, so that deliveries that failed together do not come back
/// together.
const JITTER: f64 = 0.2;

/// The waits of an endpoint that says nothing: a receiver that is down for a day still gets everything.
pub const DEFAULT_SCHEDULE_SECONDS: [u32; 7] = [5, 300, 1_800, 7_200, 18_000, 36_000, 36_000];

impl RetryPolicy {
    /// How many retries there may be.
    pub const RETRIES: RangeInclusive<u32> = 0..=100;
    /// How many seconds they may be apart.
    pub const INTERVAL_SECONDS: RangeInclusive<u32> = 1..=43_200;

    /// A policy of equal waits.
    ///
    /// # Errors
    /// A count or an interval out of bounds.
    pub fn fixed(max_retries: u32, interval_seconds: u32) -> Result<Self, RetryPolicyError> {
        Self::checked(Waits::Fixed { max_retries, interval_seconds })
    }

    /// The wait after failed attempt `number` (the first is 1), or nothing when that was the last.
    ///
    /// `random` is any number from 0 up to 1. Waits that grow are up to a fifth shorter or longer than they should be,
    /// by that number.
    #[must_use]
    pub fn wait_after(&self, number: u32, random: f64) -> Option<Duration> {
        let seconds = self.0.nominal().nth(usize::try_from(number.checked_sub(1)?).ok()?)?;
        let wait = Duration::from_secs(seconds.into());
        match self.0 {
            Waits::Fixed { .. } | Waits::Schedule(_) => Some(wait),
            Waits::Exponential { .. } => {
                Some(wait.mul_f64(1.0 - JITTER + 2.0 * JITTER * random.clamp(0.0, 1.0)).min(MAX_WAIT))
            }
        }
    }

    fn checked(waits: Waits) -> Result<Self, RetryPolicyError> {
        let is_count = match &waits {
            Waits::Exponential { max_retries, .. } | Waits::Fixed { max_retries, .. } => {
                Self::RETRIES.contains(max_retries)
            }
            Waits::Schedule(seconds) => seconds.len() <= *Self::RETRIES.end() as usize,
        };
        let is_interval = |seconds: &u32| Self::INTERVAL_SECONDS.contains(seconds);
        let are_intervals = match &waits {
            Waits::Exponential { interval_seconds, max_interval_seconds, .. } => {
                if max_interval_seconds < interval_seconds {
                    return Err(RetryPolicyError::LimitBelowInterval);
                }
                is_interval(interval_seconds) && is_interval(max_interval_seconds)
            }
            Waits::Fixed { interval_seconds, .. } => is_interval(interval_seconds),
            Waits::Schedule(seconds) => seconds.iter().all(is_interval),
        };
        if !is_count || !are_intervals {
            return Err(RetryPolicyError::OutOfRange);
        }
        let total_seconds = waits.nominal().map(u64::from).sum();
        if total_seconds > MAX_TOTAL_SECONDS {
            return Err(RetryPolicyError::TooLong { total_seconds });
        }
        Ok(Self(waits))
    }
}

impl Waits {
    /// The waits in seconds, before anything is made of them by chance.
    fn nominal(&self) -> Box<dyn Iterator<Item = u32> + '_> {
        match self {
            Self::Fixed { max_retries, interval_seconds } => {
                Box::new(std::iter::repeat_n(*interval_seconds, *max_retries as usize))
            }
            Self::Exponential { max_retries, interval_seconds, max_interval_seconds } => {
                let doubled = |seconds: &u32| Some(seconds.saturating_mul(2));
                let growing = std::iter::successors(Some(*interval_seconds), doubled);
                let limited = growing.map(|seconds| seconds.min(*max_interval_seconds));
                Box::new(limited.take(*max_retries as usize))
            }
            Self::Schedule(seconds) => Box::new(seconds.iter().copied()),
        }
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self(Waits::Schedule(DEFAULT_SCHEDULE_SECONDS.to_vec()))
    }
}

impl TryFrom<RetryPolicyInput> for RetryPolicy {
    type Error = RetryPolicyError;

    fn try_from(written: RetryPolicyInput) -> Result<Self, RetryPolicyError> {
        if written == RetryPolicyInput::default() {
            return Ok(Self::default());
        }
        let RetryPolicyInput { max_retries, interval_seconds, max_interval_seconds, backoff, schedule } = written;
        if let Some(schedule) = schedule {
            let is_alone = max_retries.is_none()
                && interval_seconds.is_none()
                && max_interval_seconds.is_none()
                && backoff.is_none();
            return if is_alone { Self::checked(Waits::Schedule(schedule)) } else { Err(RetryPolicyError::Stray) };
        }
        let (max_retries, interval_seconds) = (max_retries.unwrap_or(5), interval_seconds.unwrap_or(5));
        Self::checked(match (backoff.unwrap_or_default(), max_interval_seconds) {
            (Backoff::Fixed, None) => Waits::Fixed { max_retries, interval_seconds },
            (Backoff::Fixed, Some(_)) => return Err(RetryPolicyError::Stray),
            (Backoff::Exponential, limit) => Waits::Exponential {
                max_retries,
                interval_seconds,
                max_interval_seconds: limit.unwrap_or(DEFAULT_MAX_INTERVAL_SECONDS.max(interval_seconds)),
            },
        })
    }
}

impl From<RetryPolicy> for RetryPolicyInput {
    fn from(RetryPolicy(waits): RetryPolicy) -> Self {
        match waits {
            Waits::Exponential { max_retries, interval_seconds, max_interval_seconds } => Self {
                max_retries: Some(max_retries),
                interval_seconds: Some(interval_seconds),
                max_interval_seconds: Some(max_interval_seconds),
                backoff: Some(Backoff::Exponential),
                schedule: None,
            },
            Waits::Fixed { max_retries, interval_seconds } => Self {
                max_retries: Some(max_retries),
                interval_seconds: Some(interval_seconds),
                backoff: Some(Backoff::Fixed),
                ..Self::default()
            },
            Waits::Schedule(seconds) => Self { schedule: Some(seconds), ..Self::default() },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy(written: &str) -> Result<RetryPolicy, String> {
        serde_json::from_str(written).map_err(|error| error.to_string())
    }

    fn waits(policy: &RetryPolicy, random: f64) -> Vec<f64> {
        (1..).map_while(|number| policy.wait_after(number, random)).map(|wait| wait.as_secs_f64()).collect()
    }

    #[test]
    fn each_policy_waits_as_it_is_written() {
        let cases = [
            ("{}", vec![5.0, 300.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0, 36_000.0], "about 28 hours"),
            (r#"{"backoff":"fixed"}"#, vec![5.0; 5], "TransactionLink's"),
            (r#"{"maxRetries":2,"intervalSeconds":60,"backoff":"fixed"}"#, vec![60.0, 60.0], "equal"),
            (r#"{"maxRetries":0}"#, vec![], "one attempt and no more"),
            (
                r#"{"maxRetries":5,"intervalSeconds":10,"backoff":"exponential","maxIntervalSeconds":60}"#,
                vec![10.0, 20.0, 40.0, 60.0, 60.0],
                "doubled, up to the limit",
            ),
            (
                r#"{"maxRetries":3,"intervalSeconds":2000,"backoff":"exponential"}"#,
                vec![2_000.0, 3_600.0, 3_600.0],
                "an hour, if no limit is given",
            ),
            (r#"{"schedule":[5,300,43200]}"#, vec![5.0, 300.0, 43_200.0], "one by one"),
            (r#"{"schedule":[]}"#, vec![], "none"),
        ];
        for (written, expected, why) in cases {
            let policy = policy(written).unwrap();
            assert_eq!(waits(&policy, 0.5), expected, "{why}");
            let again = serde_json::to_string(&policy).unwrap();
            assert_eq!(serde_json::from_str::<RetryPolicy>(&again).unwrap(), policy, "{again}");
        }
        assert_eq!(policy("{}").unwrap(), RetryPolicy::default());
    }

    #[test]
    fn a_policy_that_would_not_end_or_says_two_things_is_refused() {
        let cases = [
            (r#"{"maxRetries":101}"#, "too often"),
            (r#"{"intervalSeconds":0}"#, "no wait at all"),
            (r#"{"intervalSeconds":43201}"#, "more than twelve hours"),
            (r#"{"schedule":[43201]}"#, "more than twelve hours"),
            (r#"{"maxRetries":15,"intervalSeconds":43200}"#, "more than a week"),
            (r#"{"schedule":[1],"maxRetries":1}"#, "two policies"),
            (r#"{"schedule":[1],"backoff":"fixed"}"#, "two policies"),
            (r#"{"maxIntervalSeconds":60}"#, "a limit of what does not grow"),
            (r#"{"backoff":"exponential","intervalSeconds":60,"maxIntervalSeconds":59}"#, "a limit below the start"),
            (r#"{"backoff":"wild"}"#, "unknown"),
            (r#"{"interval":5}"#, "unknown"),
        ];
        for (written, why) in cases {
            assert!(policy(written).is_err(), "{written}: {why}");
        }
        assert!(policy(r#"{"maxRetries":14,"intervalSeconds":43200}"#).is_ok(), "a week exactly");
    }

    proptest! {
        #[test]
        fn growing_waits_stay_within_a_fifth_and_others_are_exact(
            retries in 0..=100_u32, interval in 1..=43_200_u32, more in 0..=43_200_u32, random in 0.0..1.0_f64
        ) {
            let limit = (interval + more).min(43_200);
            let written = RetryPolicyInput {
                max_retries: Some(retries), interval_seconds: Some(interval), max_interval_seconds: Some(limit),
                backoff: Some(Backoff::Exponential), schedule: None,
            };
            let Ok(policy) = RetryPolicy::try_from(written) else { return Ok(()) };
            let nominal = waits(&policy, 0.5);
            prop_assert_eq!(nominal.len(), retries as usize);
            for (wait, nominal) in waits(&policy, random).into_iter().zip(nominal) {
                prop_assert!((0.8 * nominal - 0.001..=1.2 * nominal + 0.001).contains(&wait), "{} of {}", wait, nominal);
                prop_assert!(wait <= 43_200.0);
            }
            if let Ok(fixed) = RetryPolicy::fixed(retries, interval) {
                let exactly = Some(Duration::from_secs(interval.into()));
                prop_assert!((1..=retries).all(|number| fixed.wait_after(number, random) == exactly));
            }
        }
    }
}
