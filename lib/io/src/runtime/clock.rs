//! The wall clock. Only adapters read it; rules take the time as an argument.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Returns the time since the Unix epoch.
#[must_use]
pub fn unix_now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Returns the milliseconds since the Unix epoch.
#[must_use]
pub fn unix_ms_now() -> u64 {
    millis(unix_now())
}

/// Converts a duration to whole milliseconds. 64 bits are enough for half a billion years.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Formats a time, in milliseconds since the Unix epoch, by RFC 3339 in UTC. Returns an empty text after the year 9999.
#[must_use]
pub fn rfc3339(unix_ms: u64) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000).ok();
    at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default()
}
