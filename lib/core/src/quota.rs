//! Quotas: how much of what is expensive a tenant may ask for, so that one tenant does not take up a function that all share.

/// A kind of request that is counted for each tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quota {
    /// Erasing an event, a subject or a tenant. One request may work for ten seconds.
    Erase,
    /// Recovering an endpoint. One request may work for ten seconds.
    Recover,
    /// Replaying an event. One request may send 1,000 deliveries.
    Replay,
    /// Making a bulk replay, or counting its deliveries, which may take ten seconds.
    Replays,
}

impl Quota {
    /// Every quota.
    pub const ALL: [Self; 4] = [Self::Erase, Self::Recover, Self::Replay, Self::Replays];

    /// Returns the name of the quota in tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Erase => "erase",
            Self::Recover => "recover",
            Self::Replay => "replay",
            Self::Replays => "replays",
        }
    }

    /// Returns how many requests a tenant may make in one minute of the clock.
    #[must_use]
    pub fn per_minute(self) -> u32 {
        match self {
            Self::Recover | Self::Replays => 30, // With ten seconds each, five at once.
            Self::Erase | Self::Replay => 120,
        }
    }
}

/// How many requests of a tenant may wait for news at once. Each keeps a function busy for up to 20 seconds.
pub const MOST_WAITING: usize = 10;

/// Returns the minute of a time, both counted since the Unix epoch.
#[must_use]
pub fn minute_of(unix_seconds: u64) -> u64 {
    unix_seconds / 60
}

/// Returns in how many seconds the next minute begins, at least one.
#[must_use]
pub fn seconds_to_next_minute(unix_seconds: u64) -> u64 {
    60 - unix_seconds % 60
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quotas_are_told_apart() {
        let names = std::collections::BTreeSet::from(Quota::ALL.map(Quota::as_str));
        assert_eq!(names.len(), Quota::ALL.len());
    }

    proptest! {
        /// After the wait, a request counts in another minute. A second earlier, it would not.
        #[test]
        fn the_wait_ends_with_the_minute(now in 0..u64::MAX - 60) {
            let wait = seconds_to_next_minute(now);
            prop_assert!((1..=60).contains(&wait));
            prop_assert_eq!(minute_of(now + wait), minute_of(now) + 1);
            prop_assert_eq!(minute_of(now + wait - 1), minute_of(now));
        }
    }
}
