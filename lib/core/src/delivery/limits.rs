//! Limits of an endpoint: how many requests may run at the same time, and how many may start per second.
//!
//! All senders share these limits. A sender holds a *slot* by a lease that is longer than any attempt. The slot becomes
//! free when its holder releases it, or when the lease ends because the holder died. There is no counter that could
//! drift.

use crate::endpoint::Limit;

/// A slot that is held. Times are in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldSlot {
    /// The index of the slot, from 0.
    pub index: u16,
    /// The end of its lease.
    pub until_unix_ms: u64,
}

/// Returns the free slots. After an operator lowers the limit, the slots above it are released and not taken again.
pub fn free_slots(held: &[HeldSlot], limit: Limit, now_unix_ms: u64) -> impl Iterator<Item = u16> {
    let is_held = move |index: &u16| held.iter().any(|slot| slot.index == *index && slot.until_unix_ms > now_unix_ms);
    (0..limit.into()).filter(move |index| !is_held(index))
}

/// The number of requests that started in one second of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Second {
    /// The second, counted since the Unix epoch.
    pub unix_seconds: u64,
    /// The number of requests that started.
    pub begun: u16,
}

/// Returns how many more requests may start in this second.
///
/// A count for a future second, written by a clock that is ahead, allows none. Therefore the limit holds on every clock.
#[must_use]
pub fn left_in_second(counted: Option<Second>, limit: Limit, now_unix_ms: u64) -> u16 {
    let unix_seconds = now_unix_ms / 1_000;
    match counted {
        Some(counted) if counted.unix_seconds > unix_seconds => 0,
        Some(counted) if counted.unix_seconds == unix_seconds => u16::from(limit).saturating_sub(counted.begun),
        None | Some(_) => limit.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(limit: u16) -> Limit {
        Limit::try_from(limit).unwrap()
    }

    #[test]
    fn a_slot_is_free_once_it_is_given_back_or_its_lease_has_ended() {
        let held = [(0, 10), (1, 11), (3, 99), (7, 99)].map(|(index, until_unix_ms)| HeldSlot { index, until_unix_ms });
        assert_eq!(free_slots(&held, limit(5), 10).collect::<Vec<_>>(), [0, 2, 4]);
        assert_eq!(free_slots(&held[1..2], limit(2), 10).collect::<Vec<_>>(), [0]);
        assert_eq!(free_slots(&held, limit(1), 9).count(), 0);
        assert_eq!(free_slots(&[], limit(500), 0).count(), 500);
    }

    #[test]
    fn a_second_has_room_for_the_limit_and_no_more() {
        let at = |unix_seconds, begun| Some(Second { unix_seconds, begun });
        let cases = [
            (None, 2, "the first ever"),
            (at(6, 2), 2, "the first of this second"),
            (at(7, 1), 1, "the last"),
            (at(7, 2), 0, "one too many"),
            (at(7, 3), 0, "an operator lowered the limit"),
            (at(8, 1), 0, "another instance's clock is ahead"),
        ];
        for (counted, expected, why) in cases {
            assert_eq!(left_in_second(counted, limit(2), 7_999), expected, "{why}");
        }
    }
}
