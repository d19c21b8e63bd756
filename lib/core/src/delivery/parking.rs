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

/// Returns the last minute whose deliveries a sweep puts into the queue at a moment. It is ahead of the moment: each
/// delivery spends its last minutes in the queue as a delayed message ([`rest_of_wait`]), so that it comes out on time
/// although `sweep` runs only once a minute, and although one run may fail.
#[must_use]
pub fn last_swept_minute(now_unix_ms: u64) -> u64 {
    now_unix_ms / MINUTE_MS + SWEPT_AHEAD_MINUTES
}

/// Returns the rest of a wait that a delivery spends in the queue, in whole seconds, rounded up so that it does not come out
/// before its time. Below four minutes, of the 15 that SQS allows (`DelaySeconds`).
#[must_use]
pub fn rest_of_wait(due_unix_ms: u64, now_unix_ms: u64) -> Duration {
    Duration::from_secs(due_unix_ms.saturating_sub(now_unix_ms).div_ceil(1_000))
}

/// Tells whether operators must hear of a delivery that has waited for its endpoint since a moment: half of the time is over
/// for which its event is kept at least ([`kept_for_endpoint`]). Moments are in milliseconds since the Unix epoch.
#[must_use]
pub fn expires_soon(since_unix_ms: u64, retention: Duration, now_unix_ms: u64) -> bool {
    now_unix_ms / 1_000 > since_unix_ms / 1_000 + retention.as_secs() / 4
}

/// Returns until when at least the event of a delivery is kept that waits for its endpoint since a moment. Both are in
/// milliseconds since the Unix epoch.
#[must_use]
pub fn kept_for_endpoint_until(since_unix_ms: u64, retention: Duration) -> u64 {
    since_unix_ms + retention.as_secs() / 2 * 1_000
}

/// How long a note that deliveries wait for an endpoint is valid, in seconds. Whoever parks a delivery later writes it again.
pub const NOTED_FOR_SECONDS: u64 = 3_600;

/// How many minutes ahead of time deliveries are put into the queue: two runs of `sweep`, and the minute that has begun.
const SWEPT_AHEAD_MINUTES: u64 = 3;

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
        fn a_parked_delivery_comes_out_on_time_if_one_of_two_sweeps_runs(
            due in 1_000_000..10_000_000_000_000_u64, before in 0..240_000_u64
        ) {
            let (event, endpoint) = (event(), EndpointId::new(Uuid::from_u128(1)));
            let lane = Lane::due_at(due, DeliveryKey { event: &event, endpoint: &endpoint, arrived_unix_ms: 0 });
            let Lane::Due { minute, .. } = lane else { panic!("{lane:?}") };
            prop_assert!(Lane::of_minute(minute).any(|one| one == lane));
            let now = due - before;
            let is_swept = minute <= last_swept_minute(now);
            prop_assert!(is_swept || before > 120_000, "two runs find it before it is due");
            prop_assert!(!is_swept || before < 180_000, "and none finds it while it could still be parked");
            let comes_out = now + u64::try_from(rest_of_wait(due, now).as_millis()).unwrap();
            prop_assert!((due..due + 1_000).contains(&comes_out));
        }
    }
}
