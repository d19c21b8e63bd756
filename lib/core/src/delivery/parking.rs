//! Parking: which deliveries wait in a table instead of the queue, and under which key.
//!
//! A standard SQS queue holds about 120,000 messages in flight, for all tenants together. A message that was received and
//! waits for its retry is one of them. Therefore only waits up to [`LONGEST_IN_FLIGHT`] are visibility timeouts. For a
//! longer wait, `deliver` sends the message again with a delay, because delayed messages are not in flight. If a delivery
//! waits longer than SQS can delay it, or until its endpoint is enabled, it is parked.

use std::time::Duration;

use crate::delivery::DeliveryKey;
use crate::endpoint::EndpointId;
use crate::event::EventKey;

/// The longest wait as a visibility timeout.
pub const LONGEST_IN_FLIGHT: Duration = Duration::from_secs(30);

/// The longest wait in the queue: SQS delays a message by at most 15 minutes (`DelaySeconds`).
pub const LONGEST_IN_QUEUE: Duration = Duration::from_mins(15);

/// The number of lanes for the deliveries of one minute. They keep each partition of the table below its limit of 1,000
/// writes per second.
pub const SHARDS: u8 = 8;

/// The number of partitions of an endpoint's lane. If 1,000 deliveries per second are parked for one endpoint and as many
/// are taken out, each partition has 250 writes per second. Functions that drain a lane at the same time remove some
/// deliveries more than once.
pub const ENDPOINT_SHARDS: u8 = 8;

/// How long Signpost keeps the event of a parked delivery after the delivery is due: for a late sweep, and for the
/// attempts that follow.
const KEPT_BEHIND: Duration = Duration::from_hours(24);

/// Returns, in seconds since the Unix epoch, until when Signpost must keep the event of a delivery that is parked until
/// `until_unix_ms`. Returns none if the event's own retention is long enough. The parking table has only the event's key.
#[must_use]
pub fn kept_until(arrived_unix_ms: u64, retention: Duration, until_unix_ms: u64) -> Option<u64> {
    let needed = until_unix_ms / 1_000 + KEPT_BEHIND.as_secs();
    (needed > arrived_unix_ms / 1_000 + retention.as_secs()).then_some(needed)
}

/// Returns the same for a delivery that is parked now and waits for its endpoint for an unknown time: now plus the
/// retention, if more than half of the event's own retention has passed. Before that it returns none, so that most
/// deliveries need no second write.
#[must_use]
pub fn kept_for_endpoint(arrived_unix_ms: u64, retention: Duration, now_unix_ms: u64) -> Option<u64> {
    let (arrived, now) = (arrived_unix_ms / 1_000, now_unix_ms / 1_000);
    (now > arrived + retention.as_secs() / 2).then_some(now + retention.as_secs())
}

/// The place where parked deliveries wait: one partition of the table, or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Deliveries that are due by the end of a minute since the Unix epoch.
    Due {
        /// The minute.
        minute: u64,
        /// The index of the shard, of [`SHARDS`].
        shard: u8,
    },
    /// Deliveries that wait for an endpoint.
    Endpoint(EndpointId),
    /// Deliveries to an endpoint that Signpost gave up. They wait for nothing, and an operator may recover them.
    Exhausted(EndpointId),
}

impl Lane {
    /// Returns the lane of a delivery that is due at a given time, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn due_at(unix_ms: u64, delivery: DeliveryKey<'_>) -> Self {
        let id = delivery.event.id.as_str().bytes().chain(delivery.endpoint.as_str().bytes());
        Self::Due { minute: unix_ms.div_ceil(MINUTE_MS), shard: shard_of(id, SHARDS) }
    }

    /// Returns all lanes of a minute.
    pub fn of_minute(minute: u64) -> impl Iterator<Item = Self> {
        (0..SHARDS).map(move |shard| Self::Due { minute, shard })
    }

    /// Returns the keys of all its partitions. The oldest delivery of a lane may be in any of them.
    #[must_use]
    pub fn partitions(&self) -> Vec<String> {
        match self {
            Self::Due { .. } => vec![self.partition(0)],
            Self::Endpoint(_) | Self::Exhausted(_) => (0..ENDPOINT_SHARDS).map(|shard| self.partition(shard)).collect(),
        }
    }

    /// Returns the key of the partition that has the delivery of an event.
    #[must_use]
    pub fn partition_of(&self, event: &EventKey) -> String {
        self.partition(shard_of(event.id.as_str().bytes(), ENDPOINT_SHARDS))
    }

    fn partition(&self, endpoint_shard: u8) -> String {
        match self {
            Self::Due { minute, shard } => format!("due#{minute}#{shard}"),
            Self::Endpoint(id) => format!("endpoint#{id}#{endpoint_shard}"),
            Self::Exhausted(id) => format!("exhausted#{id}#{endpoint_shard}"),
        }
    }
}

/// Spreads ids over `shards` partitions: FNV-1a, whose upper half is mixed into the lower one, because only the lowest
/// bits choose.
pub(crate) fn shard_of(id: impl Iterator<Item = u8>, shards: u8) -> u8 {
    let hash = id.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let [low, high] = [hash & 0xffff, hash >> 16];
    u8::try_from((low ^ high) % u32::from(shards)).unwrap_or_default()
}

/// Returns the start of the sort keys of a time, which is in milliseconds since the Unix epoch.
#[must_use]
pub fn first_place(unix_ms: u64) -> String {
    format!("{unix_ms:013}")
}

/// Returns the sort key of a delivery in its lane. It starts with the time, in milliseconds since the Unix epoch, so
/// the oldest is first. If the same delivery is parked again for the same time, it gets the same key.
#[must_use]
pub fn place(unix_ms: u64, delivery: DeliveryKey<'_>) -> String {
    let DeliveryKey { event, endpoint, .. } = delivery;
    format!("{}#{}/{}#{endpoint}#{}", first_place(unix_ms), event.tenant, event.id, event.source)
}

/// Returns the last minute whose deliveries a sweep at a given time puts into the queue. It is in the future: each
/// delivery spends its last minutes in the queue as a delayed message ([`rest_of_wait`]). Therefore it comes out on
/// time although `sweep` runs only once a minute, and even if one run fails.
#[must_use]
pub fn last_swept_minute(now_unix_ms: u64) -> u64 {
    now_unix_ms / MINUTE_MS + SWEPT_AHEAD_MINUTES
}

/// Returns the rest of a wait that a delivery spends in the queue, in whole seconds. It is rounded up, so that the
/// delivery does not come out early. It is below four minutes, and SQS allows 15 (`DelaySeconds`).
#[must_use]
pub fn rest_of_wait(due_unix_ms: u64, now_unix_ms: u64) -> Duration {
    Duration::from_secs(due_unix_ms.saturating_sub(now_unix_ms).div_ceil(1_000))
}

/// Returns whether operators need a warning about a delivery that waits for its endpoint. They do after half of the
/// minimum time that Signpost keeps its event ([`kept_for_endpoint`]). Times are in milliseconds since the Unix epoch.
#[must_use]
pub fn expires_soon(since_unix_ms: u64, retention: Duration, now_unix_ms: u64) -> bool {
    now_unix_ms / 1_000 > since_unix_ms / 1_000 + retention.as_secs() / 4
}

/// Returns the minimum time until which Signpost keeps the event of a delivery that waits for its endpoint since a
/// given time. Both are in milliseconds since the Unix epoch.
#[must_use]
pub fn kept_for_endpoint_until(since_unix_ms: u64, retention: Duration) -> u64 {
    since_unix_ms + retention.as_secs() / 2 * 1_000
}

/// How long, in seconds, the note is valid that deliveries wait for an endpoint. A later parking writes it again.
pub const NOTED_FOR_SECONDS: u64 = 3_600;

/// How many minutes early deliveries go into the queue: two runs of `sweep`, and the current minute.
const SWEPT_AHEAD_MINUTES: u64 = 3;

const MINUTE_MS: u64 = 60_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::event::{EventId, TenantId};

    fn event() -> EventKey {
        let id = EventId::parse("op-1").unwrap();
        EventKey { tenant: TenantId::parse("acme").unwrap(), source: "/core".into(), id }
    }

    #[test]
    fn keys_are_spelled_so_that_the_oldest_is_first() {
        let (event, endpoint) = (event(), EndpointId::new(Uuid::from_u128(1)));
        let delivery = DeliveryKey { event: &event, endpoint: &endpoint, arrived_unix_ms: 0, retention_days: None };
        assert_eq!(place(7, delivery), format!("0000000000007#acme/op-1#{endpoint}#/core"));
        assert!(place(999, delivery) < place(1_000, delivery));
        assert!(first_place(1_000) < place(1_000, delivery) && first_place(1_000) > place(999, delivery));
        let shards = |lane: &str| [0, 1, 2, 3, 4, 5, 6, 7].map(|shard| format!("{lane}#{endpoint}#{shard}"));
        assert_eq!(Lane::Exhausted(endpoint.clone()).partitions(), shards("exhausted"));
        assert_eq!(Lane::Endpoint(endpoint.clone()).partitions(), shards("endpoint"));
        let due = Lane::Due { minute: 29_497_560, shard: 3 };
        assert_eq!(
            (due.partitions(), due.partition_of(&event)),
            (vec!["due#29497560#3".into()], "due#29497560#3".into())
        );
    }

    #[test]
    fn no_partition_of_an_endpoint_gets_much_more_than_its_share_of_a_thousand_deliveries() {
        type Ids = fn(u32) -> String;
        let cases: [(Ids, &str); 3] = [
            (|number| format!("op-{number}"), "counted"),
            (|number| format!("{:08x}-0000", number.wrapping_mul(0x9e37_79b9)), "hexadecimal"),
            (
                |number| format!("{}", 1_769_853_600_000_u64 + 1_000 * u64::from(number)),
                "milliseconds of whole seconds",
            ),
        ];
        let lane = Lane::Endpoint(EndpointId::new(Uuid::from_u128(1)));
        for (ids, why) in cases {
            let partition =
                |number| lane.partition_of(&EventKey { id: EventId::parse(&ids(number)).unwrap(), ..event() });
            let chosen: Vec<_> = (0..1_000).map(partition).collect();
            for partition in lane.partitions() {
                let count = chosen.iter().filter(|one| **one == partition).count();
                assert!((90..165).contains(&count), "{why}: {partition} has {count} of 1,000");
            }
        }
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
            prop_assert!(for_endpoint >= due / 1_000 + retention.as_secs() / 2, "at least half a retention");
        }

        #[test]
        fn a_parked_delivery_comes_out_on_time_if_one_of_two_sweeps_runs(
            due in 1_000_000..10_000_000_000_000_u64, before in 0..240_000_u64
        ) {
            let (event, endpoint) = (event(), EndpointId::new(Uuid::from_u128(1)));
            let lane = Lane::due_at(due, DeliveryKey { event: &event, endpoint: &endpoint, arrived_unix_ms: 0, retention_days: None });
            let Lane::Due { minute, .. } = lane else { panic!("{lane:?}") };
            prop_assert_eq!(lane.partitions(), [lane.partition_of(&event)]);
            prop_assert!(Lane::of_minute(minute).any(|one| one == lane));
            let now = due - before;
            let is_swept = minute <= last_swept_minute(now);
            prop_assert!(is_swept || before > 120_000, "two runs find it before it is due");
            prop_assert!(!is_swept || before < 180_000, "no run finds it while it could still be parked");
            let comes_out = now + u64::try_from(rest_of_wait(due, now).as_millis()).unwrap();
            prop_assert!((due..due + 1_000).contains(&comes_out));
        }
    }
}
