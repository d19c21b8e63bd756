//! The wall clock, read at the edges only: rules take the time as an argument.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Gives the time since the Unix epoch.
#[must_use]
pub fn unix_now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Gives the milliseconds since the Unix epoch.
#[must_use]
pub fn unix_ms_now() -> u64 {
    millis(unix_now())
}

/// A duration in whole milliseconds, which 64 bits hold for half a billion years.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
