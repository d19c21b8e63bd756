//! DynamoDB: one module per kind of item.

use std::time::Duration;

use crate::aws::{Item, ItemError, number, optional, unreadable};
use crate::runtime::clock::unix_now;

mod attempts;
pub mod audit;
pub mod breakers;
pub mod deliveries;
pub mod delivery_list;
pub mod endpoint_keys;
pub mod endpoints;
pub mod event_history;
pub mod event_types;
pub mod events;
pub mod limits;
pub mod parking;
pub mod portal_links;
pub mod quotas;
pub mod replays;
pub mod sealing_keys;
pub mod signing_keys;
pub mod states;
pub mod subscriptions;
pub mod tenant_erasures;
pub mod token_requests;

/// The attribute of an event, of an event type and of a parked delivery with the days for which the event is kept.
const RETENTION_DAYS: &str = "retentionDays";

fn retention_days_of(item: &Item) -> Result<Option<u16>, ItemError> {
    let days = optional(item, RETENTION_DAYS, number)?;
    days.map(|days| u16::try_from(days).map_err(|_| unreadable(RETENTION_DAYS))).transpose()
}

/// How long SQS keeps a message: `MessageRetentionPeriod` of all queues in the template.
pub const MESSAGES_KEPT: Duration = Duration::from_hours(14 * 24);

/// Returns when the tombstone of something that is erased now expires, in seconds since the Unix epoch: with an event that
/// arrives now, and not before the last message that may still bring the erased one.
fn tombstone_expires_at(retention: Duration) -> u64 {
    (unix_now() + tombstone_kept(retention)).as_secs()
}

/// Returns how long a tombstone is kept.
#[must_use]
pub fn tombstone_kept(retention: Duration) -> Duration {
    retention.max(MESSAGES_KEPT + Duration::from_hours(1))
}
