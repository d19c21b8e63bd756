//! Holds: the reasons why all deliveries to an endpoint wait. Operators see them.

use crate::delivery::breaker::Breaker;
use crate::endpoint::DisabledBecause;

/// The reason why Signpost sends nothing to an endpoint. Times are in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The reason for the hold.
    pub because: HeldBecause,
    /// The start of the hold. None if it is not recorded.
    pub since_unix_ms: Option<u64>,
    /// The time when Signpost tries one delivery next. None if an operator or the receiver must act first.
    pub next_probe_unix_ms: Option<u64>,
}

/// The reason for a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldBecause {
    /// The endpoint is disabled.
    Disabled,
    /// Too many attempts failed.
    Failing,
    /// Too many attempts wait for an answer.
    Silent,
    /// Its server has not proved yet that it wants webhooks.
    Unverified,
}

impl HeldBecause {
    /// Returns the word for API responses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Failing => "failing",
            Self::Silent => "silent",
            Self::Unverified => "unverified",
        }
    }
}

impl Hold {
    /// Returns the hold of an endpoint, if there is one.
    #[must_use]
    pub fn of(disabled: Option<DisabledBecause>, breaker: &Breaker, now_unix_ms: u64) -> Option<Self> {
        let because = match disabled {
            None => return breaker.hold(now_unix_ms),
            Some(DisabledBecause::Unverified) => HeldBecause::Unverified,
            Some(DisabledBecause::Failing | DisabledBecause::Gone | DisabledBecause::Operator) => HeldBecause::Disabled,
        };
        Some(Self { because, since_unix_ms: None, next_probe_unix_ms: None })
    }
}

/// Returns the earliest time of a pending delivery's next attempt, which is never in the past. Returns none if the time
/// is unknown: the endpoint is disabled, or there is no record and no hold.
#[must_use]
pub fn next_attempt(on_record_unix_ms: Option<u64>, hold: Option<&Hold>, now_unix_ms: u64) -> Option<u64> {
    let earliest = match hold {
        None => on_record_unix_ms,
        Some(hold) => hold.next_probe_unix_ms.map(|probe| probe.max(on_record_unix_ms.unwrap_or_default())),
    };
    earliest.map(|at| at.max(now_unix_ms))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_probe_goes_to_a_disabled_endpoint() {
        let disabled = [DisabledBecause::Failing, DisabledBecause::Gone, DisabledBecause::Operator];
        let cases = disabled.map(|because| (because, "disabled"));
        for (because, expected) in cases.into_iter().chain([(DisabledBecause::Unverified, "unverified")]) {
            let hold = Hold::of(Some(because), &Breaker::default(), 7).unwrap();
            assert_eq!((hold.because.as_str(), hold.next_probe_unix_ms), (expected, None), "{because:?}");
            assert_eq!(next_attempt(Some(1), Some(&hold), 7), None, "{because:?}");
        }
        assert_eq!(Hold::of(None, &Breaker::default(), 7), None, "enabled and healthy");
    }

    proptest! {
        #[test]
        fn the_next_attempt_is_never_in_the_past_and_never_before_the_probe(
            on_record in prop::option::of(0..2_000_u64), probe in prop::option::of(0..2_000_u64), is_held: bool, now in 0..2_000_u64,
        ) {
            let hold = is_held.then_some(Hold {
                because: HeldBecause::Failing, since_unix_ms: Some(0), next_probe_unix_ms: probe,
            });
            if let Some(at) = next_attempt(on_record, hold.as_ref(), now) {
                prop_assert!(at >= now && on_record.is_none_or(|due| at >= due));
                prop_assert!(!is_held || probe.is_some_and(|probe| at >= probe));
            } else {
                let is_unknown = if is_held { probe.is_none() } else { on_record.is_none() };
                prop_assert!(is_unknown);
            }
        }
    }
}
