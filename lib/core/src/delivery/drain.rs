//! Draining: how what is parked for an endpoint goes out again once the endpoint may be called.
//!
//! Who parks a delivery asks for the endpoint's lane to be drained. The sweeping keeps to that for longer than the asking
//! is taken to stand, so that no lane is forgotten between the two.

use std::time::Duration;

use crate::delivery::breaker::{Admission, Breaker};
use crate::endpoint::Limit;

/// For how long, in seconds, one's own request to drain an endpoint's lane is taken to stand. Less than
/// [`DRAIN_SECONDS`], by more than a sweeping and a call that hangs.
pub const ASKED_FOR_SECONDS: u64 = 60;
/// How long, in seconds, a lane that is empty is still looked at after it was asked for: functions that remember the
/// endpoint as it was go on parking for a while.
pub const DRAIN_SECONDS: u64 = 180;

/// How many seconds' worth of a limit are put back in a minute: with all sixty, what comes out a little late would find no
/// room and be parked again.
const SECONDS_WORTH: usize = 54;

/// How many parked deliveries an enabled endpoint gets in a minute, by its breaker and its limit in a second. What it has
/// free at once is not reckoned with.
#[must_use]
pub fn room(breaker: &Breaker, max_per_second: Option<Limit>, now_unix_ms: u64) -> usize {
    let room = match breaker.admits(now_unix_ms) {
        Admission::Park => 0,
        Admission::Probe => 1,
        Admission::Send => breaker.drain_rate(now_unix_ms),
    };
    max_per_second.map_or(room, |limit| room.min(SECONDS_WORTH * usize::from(u16::from(limit))))
}

/// How many deliveries are put back into the queue, and when they come out of it.
#[derive(Clone, Debug)]
pub struct DelaySpreader {
    most: usize,
    put_back: usize,
    /// How many come out in each second.
    per_second: usize,
}

impl DelaySpreader {
    /// So many, over the minute until the next sweeping.
    #[must_use]
    pub fn over_a_minute(most: usize) -> Self {
        Self { most, put_back: 0, per_second: most.div_ceil(60).max(1) }
    }

    /// How many more there may be.
    #[must_use]
    pub fn left(&self) -> usize {
        self.most - self.put_back
    }

    /// How long the next one is kept back.
    pub fn delay(&mut self) -> Duration {
        let seconds = self.put_back / self.per_second;
        self.put_back += 1;
        Duration::from_secs(seconds.try_into().unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::attempt::judge_status;
    use crate::delivery::breaker::Outcomes;

    #[test]
    fn what_is_drained_comes_out_over_the_minute() {
        let delays =
            |mut spread: DelaySpreader, count| -> Vec<u64> { (0..count).map(|_| spread.delay().as_secs()).collect() };
        assert_eq!(delays(DelaySpreader::over_a_minute(600), 21)[9..], [0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2]);
        assert_eq!(delays(DelaySpreader::over_a_minute(600), 600).last(), Some(&59));
        assert_eq!(delays(DelaySpreader::over_a_minute(3), 3), [0, 1, 2]);
        let mut probe = DelaySpreader::over_a_minute(1);
        assert_eq!((probe.left(), probe.delay(), probe.left()), (1, Duration::ZERO, 0));
    }

    #[test]
    fn an_endpoint_gets_as_many_as_its_breaker_and_its_limit_allow() {
        let mut failures = Outcomes::default();
        (0..10).for_each(|_| failures.add(&judge_status(500, None), 0));
        let open = Breaker::default().after(&failures, 0, 0.5);
        let limit = |limit| Some(Limit::try_from(limit).unwrap());
        let cases = [
            (&Breaker::default(), None, 0, 6_000, "well"),
            (&Breaker::default(), limit(7), 0, 378, "no more than its limit in most of a minute"),
            (&Breaker::closed_at(0), limit(500), 0, 600, "just back"),
            (&open, limit(7), 29_999, 0, "left alone"),
            (&open, limit(7), 30_000, 1, "a probe"),
        ];
        for (breaker, limit, now, expected, why) in cases {
            assert_eq!(room(breaker, limit, now), expected, "{why}");
        }
    }
}
