//! Pace: whether an endpoint answers quickly.
//!
//! An invocation of `deliver` lasts as long as its slowest attempt. If quick and slow endpoints shared invocations, one
//! endpoint that answers after 9 seconds could use up the invocations that all tenants need. So there are two queues, each
//! with its own maximum of invocations ([`Track`]). The fast one is for endpoints that have proved that they are quick. Only
//! the time counts, not the outcome: an error that comes quickly holds up nobody.
//!
//! [`Track`]: crate::delivery::Track

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::delivery::breaker::SILENT_AFTER;

/// How far an endpoint has proved that it is quick. A new endpoint has proved nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pace(u8);

/// The attempts that an instance has seen and not shared yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PaceChange {
    /// Whether there was a slow attempt.
    has_slow: bool,
    /// The quick attempts since then, or all if there was none.
    quick: u8,
}

/// An attempt that took no longer than this is quick.
pub const QUICK_WITHIN: Duration = Duration::from_secs(1);
/// How many quick attempts without a slow one prove that an endpoint is quick.
pub const QUICK_AFTER: u8 = 20;

impl Pace {
    /// Returns whether the endpoint is quick: its last [`QUICK_AFTER`] attempts, or more, took at most [`QUICK_WITHIN`], and
    /// none took [`SILENT_AFTER`]. Attempts in between prove nothing.
    #[must_use]
    pub fn is_quick(self) -> bool {
        self.0 >= QUICK_AFTER
    }

    /// Returns the pace after some attempts.
    #[must_use]
    pub fn after(self, change: PaceChange) -> Self {
        let before = if change.has_slow { 0 } else { self.0 };
        Self(before.saturating_add(change.quick).min(QUICK_AFTER))
    }
}

impl PaceChange {
    /// Adds an attempt.
    pub fn add(&mut self, took: Duration) {
        if took <= QUICK_WITHIN {
            self.quick = self.quick.saturating_add(1).min(QUICK_AFTER);
        } else if took >= SILENT_AFTER {
            self.add_slow();
        }
    }

    /// Adds an attempt that is slow, even if it has not ended yet.
    pub fn add_slow(&mut self) {
        *self = Self { has_slow: true, quick: 0 };
    }

    /// Returns these attempts, followed by later ones.
    #[must_use]
    pub fn then(self, later: Self) -> Self {
        if later.has_slow {
            return later;
        }
        Self { quick: self.quick.saturating_add(later.quick).min(QUICK_AFTER), ..self }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn change(seconds: &[f64]) -> PaceChange {
        let mut change = PaceChange::default();
        for took in seconds {
            change.add(Duration::from_secs_f64(*took));
        }
        change
    }

    #[test]
    fn twenty_quick_attempts_prove_an_endpoint_and_one_slow_attempt_disproves_it() {
        let cases = [
            (vec![], false, "new"),
            (vec![1.0; 19], false, "one is missing"),
            (vec![1.0; 20], true, "just quick enough"),
            (vec![1.1; 100], false, "neither quick nor slow"),
            ([vec![0.1; 10], vec![1.9; 5], vec![0.1; 10]].concat(), true, "what is between proves nothing"),
            ([vec![0.1; 30], vec![1.9; 5]].concat(), true, "nor disproves anything"),
            ([vec![0.1; 100], vec![2.0]].concat(), false, "slow once"),
            ([vec![2.0], vec![0.1; 20]].concat(), true, "proved again"),
            ([vec![0.1; 19], vec![9.0], vec![0.1; 19]].concat(), false, "counted from the slow one on"),
        ];
        for (seconds, expected, why) in cases {
            assert_eq!(Pace::default().after(change(&seconds)).is_quick(), expected, "{why}, told together");
            let one_by_one = seconds.iter().fold(Pace::default(), |pace, took| pace.after(change(&[*took])));
            assert_eq!(one_by_one.is_quick(), expected, "{why}, told one by one");
        }
    }

    proptest! {
        #[test]
        fn it_makes_no_difference_which_attempts_are_told_together(
            seconds in prop::collection::vec(prop::sample::select(vec![0.1, 1.5, 3.0]), 0..60), split in 0..60_usize
        ) {
            let (first, then) = seconds.split_at(split.min(seconds.len()));
            prop_assert_eq!(change(first).then(change(then)), change(&seconds));
            prop_assert_eq!(Pace::default().after(change(first)).after(change(then)), Pace::default().after(change(&seconds)));
        }
    }
}
