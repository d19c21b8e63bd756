//! Times in RFC 3339.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The form of a time, for the text of a fault.
pub(crate) const MOMENT: &str = "a moment in RFC 3339, such as 2026-01-31T10:00:00Z";

/// Parses a time in RFC 3339. Returns milliseconds since the Unix epoch, or 0 for an earlier time.
pub(crate) fn unix_ms(text: &str) -> Option<u64> {
    let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    Some(u64::try_from(moment.unix_timestamp_nanos() / 1_000_000).unwrap_or_default())
}
