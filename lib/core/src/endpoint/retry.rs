//! Retry policies: how often Signpost repeats a failed delivery, and how long it waits.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The policy for repeating an endpoint's failed deliveries.
///
/// It is written as `{"maxRetries":5,"intervalSeconds":5,"backoff":"fixed"}`, as the same with
/// `"backoff":"exponential"` and `maxIntervalSeconds`, or as `{"schedule":[5,300,…]}`. The default is a schedule over
/// about 28 hours ([`DEFAULT_SCHEDULE_SECONDS`]). The first example is TransactionLink's policy: five retries, five
/// seconds apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RetryPolicyInput", into = "RetryPolicyInput")]
pub struct RetryPolicy(Waits);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Waits {
    /// Each wait is twice as long as the previous one, up to a limit.
    Exponential { max_retries: u32, interval_seconds: u32, max_interval_seconds: u32 },
    /// All waits are equal.
    Fixed { max_retries: u32, interval_seconds: u32 },
    /// These waits, one after the other.
    Schedule(Vec<u32>),
}

/// How the waits grow from one attempt to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Backoff {
    /// Each wait is twice as long as the previous one.
    Exponential,
    /// All waits are equal.
    #[default]
    Fixed,
}

/// The written form of a policy. Its members decide which kind it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetryPolicyInput {
    /// The number of retries. The default is 5 if there is another member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<u32>,
    /// The first wait if waits grow, or every wait. The default is 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_seconds: Option<u32>,
    /// The longest wait if waits grow. The default is an hour, or the interval if that is longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_interval_seconds: Option<u32>,
    /// Whether the waits grow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// All waits, one by one. Excludes the other members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Vec<u32>>,
}

/// A fault of a policy whose members are readable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RetryPolicyError {
    /// The longest wait is shorter than the first.
    #[error("`maxIntervalSeconds` is less than `intervalSeconds`")]
    LimitBelowInterval,
    /// A number is out of its range.
    #[error("a number of retries or of seconds is out of range")]
    OutOfRange,
    /// A limit although the waits do not grow, or another member beside `schedule`.
    #[error("`maxIntervalSeconds` requires backoff `exponential`, and `schedule` excludes all other members")]
    Stray,
    /// The sum of all waits is too long.
    #[error("all waits together are {total_seconds} seconds; expected at most {MAX_TOTAL_SECONDS}")]
    TooLong {
        /// The sum of all waits.
        total_seconds: u64,
    },
}

/// The longest wait, which is the longest time that SQS can hide a message.
pub const MAX_WAIT: Duration = Duration::from_hours(12);
/// The longest sum of all waits of a policy: a week.
pub const MAX_TOTAL_SECONDS: u64 = 7 * 24 * 3_600;
/// The default of the longest wait if the waits grow: an hour.
const DEFAULT_MAX_INTERVAL_SECONDS: u32 = 3_600;
/// The random part of a growing wait. It prevents deliveries that failed together from returning together.
const JITTER: f64 = 0.2;

/// The default waits: a receiver that is down for a day still receives everything.
pub const DEFAULT_SCHEDULE_SECONDS: [u32; 7] = [5, 300, 1_800, 7_200, 18_000, 36_000, 36_000];

impl RetryPolicy {
    /// The allowed number of retries.
    pub const RETRIES: RangeInclusive<u32> = 0..=100;
    /// The allowed number of seconds between them.
    pub const INTERVAL_SECONDS: RangeInclusive<u32> = 1..=43_200;

    /// Makes a policy of equal waits.
    ///
    /// # Errors
    /// The count or the interval is out of range.
    pub fn fixed(max_retries: u32, interval_seconds: u32) -> Result<Self, RetryPolicyError> {
        Self::checked(Waits::Fixed { max_retries, interval_seconds })
    }

    /// Returns the wait after the failed attempt `number` (the first is 1), or none if that was the last attempt.
    ///
    /// `random` is a number from 0 up to 1. It makes growing waits up to a fifth shorter or longer.
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
    /// The waits in seconds, without the random part.
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
            (r#"{"maxRetries":0}"#, vec![], "only one attempt"),
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
    fn a_policy_without_an_end_or_of_two_kinds_is_refused() {
        let cases = [
            (r#"{"maxRetries":101}"#, "too often"),
            (r#"{"intervalSeconds":0}"#, "no wait at all"),
            (r#"{"intervalSeconds":43201}"#, "more than twelve hours"),
            (r#"{"schedule":[43201]}"#, "more than twelve hours"),
            (r#"{"maxRetries":15,"intervalSeconds":43200}"#, "more than a week"),
            (r#"{"schedule":[1],"maxRetries":1}"#, "two policies"),
            (r#"{"schedule":[1],"backoff":"fixed"}"#, "two policies"),
            (r#"{"maxIntervalSeconds":60}"#, "a limit although the waits do not grow"),
            (
                r#"{"backoff":"exponential","intervalSeconds":60,"maxIntervalSeconds":59}"#,
                "a limit below the first wait",
            ),
            (r#"{"backoff":"wild"}"#, "unknown"),
        ];
        for (written, why) in cases {
            assert!(policy(written).is_err(), "{written}: {why}");
        }
        assert!(policy(r#"{"maxRetries":14,"intervalSeconds":43200}"#).is_ok(), "exactly a week");
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
