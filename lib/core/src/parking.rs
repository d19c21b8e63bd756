//! Parking: which deliveries wait in a table instead of in the queue, and where in it.
//!
//! A standard queue holds about 120,000 messages in flight, those that wait for a retry included. So only short waits
//! are spent there; a delivery that waits for longer, or for an endpoint to be enabled, is parked.

use std::time::Duration;

use crate::delivery::DeliveryKey;
use crate::endpoint::EndpointId;

/// The longest wait that is spent in the queue.
pub const LONGEST_IN_QUEUE: Duration = Duration::from_mins(15);

/// How many lanes the deliveries of one minute are spread over, so that no partition of the table gets more than its
/// share: 1,000 writes a second each.
pub const SHARDS: u8 = 8;

/// How long behind its moment the event of a parked delivery is kept: for a sweep that is late, and for what follows.
const KEPT_BEHIND: Duration = Duration::from_hours(24);

/// Until when, in seconds since the Unix epoch, an event has to be kept whose delivery is parked until a moment; nothing
/// if it is kept as long anyway. The table of parked deliveries has the event's key only.
#[must_use]
pub fn kept_until(arrived_unix_ms: u64, retention: Duration, until_unix_ms: u64) -> Option<u64> {
    let needed = until_unix_ms / 1_000 + KEPT_BEHIND.as_secs();
    (needed > arrived_unix_ms / 1_000 + retention.as_secs()).then_some(needed)
}

/// The same for a delivery that is parked now and waits for its endpoint, nobody knows for how long: a whole retention,
/// given anew once half of the event's own is over, so that most deliveries are parked without another write.
#[must_use]
pub fn kept_for_endpoint(arrived_unix_ms: u64, retention: Duration, now_unix_ms: u64) -> Option<u64> {
    let (arrived, now) = (arrived_unix_ms / 1_000, now_unix_ms / 1_000);
    (now > arrived + retention.as_secs() / 2).then_some(now + retention.as_secs())
}

/// Where parked deliveries stand in line: a partition of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Those that are due by the end of a minute since the Unix epoch.
    Due {
        /// The minute.
        minute: u64,
        /// Which of its [`SHARDS`].
        shard: u8,
    },
    /// Those that wait for an endpoint.
    Endpoint(EndpointId),
    /// Those to an endpoint that are given up: they wait for nothing, and may be recovered.
    Exhausted(EndpointId),
}

impl Lane {
    /// The lane of a delivery that is due at a moment, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn due_at(unix_ms: u64, delivery: DeliveryKey<'_>) -> Self {
        let id = delivery.event.id.as_str().bytes().chain(delivery.endpoint.as_str().bytes());
        let sum = id.fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte));
        Self::Due { minute: unix_ms.div_ceil(MINUTE_MS), shard: sum % SHARDS }
    }

    /// All lanes of a minute.
    pub fn of_minute(minute: u64) -> impl Iterator<Item = Self> {
        (0..SHARDS).map(move |shard| Self::Due { minute, shard })
    }

    /// The partition's key.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Due { minute, shard } => format!("due#{minute}#{shard}"),
            Self::Endpoint(id) => format!("endpoint#{id}"),
            Self::Exhausted(id) => format!("exhausted#{id}"),
        }
    }
}

/// Where the places of a moment, in milliseconds since the Unix epoch, begin.
#[must_use]
pub fn first_place(unix_ms: u64) -> String {
    format!("{unix_ms:013}")
}

/// The place of a delivery in its lane: by the moment, in milliseconds since the Unix epoch, so that the oldest is first.
/// The same delivery, parked again at the same moment, takes the same place.
#[must_use]
pub fn place(unix_ms: u64, delivery: DeliveryKey<'_>) -> String {
    let DeliveryKey { event, endpoint, .. } = delivery;
    format!("{}#{}/{}#{endpoint}#{}", first_place(unix_ms), event.tenant, event.id, event.source)
}

/// The last minute all of whose deliveries are due at a moment.
#[must_use]
pub fn last_due_minute(now_unix_ms: u64) -> u64 {
    now_unix_ms / MINUTE_MS
}

const MINUTE_MS: u64 = 60_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::event::{EventId, EventKey, TenantId};

    fn event() -> EventKey {
        let id = EventId::parse("op-1").unwrap();
        EventKey { tenant: TenantId::parse("acme").unwrap(), source: "/core".into(), id }
    }

    #[test]
    fn keys_are_spelled_so_that_the_oldest_is_first() {
        let (event, endpoint) = (event(), EndpointId::new(Uuid::from_u128(1)));
        let delivery = DeliveryKey { event: &event, endpoint: &endpoint, arrived_unix_ms: 0 };
        assert_eq!(place(7, delivery), format!("0000000000007#acme/op-1#{endpoint}#/core"));
        assert!(place(999, delivery) < place(1_000, delivery));
        assert!(first_place(1_000) < place(1_000, delivery) && first_place(1_000) > place(999, delivery));
        assert_eq!(Lane::Exhausted(endpoint.clone()).key(), format!("exhausted#{endpoint}"));
        assert_eq!(Lane::Endpoint(endpoint.clone()).key(), format!("endpoint#{endpoint}"));
        assert_eq!(Lane::Due { minute: 29_497_560, shard: 3 }.key(), "due#29497560#3");
    }

    proptest! {
        #[test]
        fn an_event_is_kept_until_after_its_delivery_was_due(
            arrived in 0..10_000_000_000_000_u64, days in 8..366_u64, wait in 0..100 * 24 * 3_600_000_u64
        ) {
            let (retention, due) = (Duration::from_hours(24 * days), arrived + wait);
            let own = arrived / 1_000 + retention.as_secs();
            let kept = kept_until(arrived, retention, due).unwrap_or(own);
            prop_assert!(kept >= own && kept >= due / 1_000 + 24 * 3_600);
            let for_endpoint = kept_for_endpoint(arrived, retention, due).unwrap_or(own);
            prop_assert!(for_endpoint >= due / 1_000 + retention.as_secs() / 2, "half a retention at least");
        }

        #[test]
        fn what_is_swept_is_due_and_what_is_due_is_swept_within_a_minute(due in 0..10_000_000_000_000_u64, late in 0..120_000_u64) {
            let (event, endpoint) = (event(), EndpointId::new(Uuid::from_u128(1)));
            let lane = Lane::due_at(due, DeliveryKey { event: &event, endpoint: &endpoint, arrived_unix_ms: 0 });
            let Lane::Due { minute, .. } = lane else { panic!("{lane:?}") };
            prop_assert!(Lane::of_minute(minute).any(|one| one == lane));
            let now = due.saturating_sub(1) + late;
            let is_swept = minute <= last_due_minute(now);
            prop_assert!(!is_swept || now >= due, "too early");
            prop_assert!(is_swept || now < due + 60_000, "too late");
        }
    }
}
