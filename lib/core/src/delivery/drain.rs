//! Draining: sends the parked deliveries of an endpoint once Signpost may call it again.
//!
//! An instance that parks a delivery also requests a drain of the endpoint's lane. `sweep` acts on a request for
//! [`DRAIN_SECONDS`]. The instance repeats its request after [`ASKED_FOR_SECONDS`], which is earlier. Therefore `sweep`
//! forgets no lane.

use std::time::Duration;

use crate::delivery::breaker::{Admission, Breaker};
use crate::endpoint::Limit;

/// How long, in seconds, an instance relies on its own drain request. The difference to [`DRAIN_SECONDS`] is longer
/// than a sweep and a hanging call.
pub const ASKED_FOR_SECONDS: u64 = 60;
/// How long, in seconds, `sweep` checks an empty lane after a drain request. Instances that cached the endpoint still
/// park deliveries for a while.
pub const DRAIN_SECONDS: u64 = 180;

/// The number of seconds of a limit's capacity that a drain uses per minute. With all sixty, a delivery that comes out
/// a little late would exceed the limit and be parked again.
const SECONDS_WORTH: usize = 54;

/// Returns how many parked deliveries an enabled endpoint gets per minute, according to its breaker and its limit per
/// second. This ignores its limit of concurrent requests.
#[must_use]
pub fn drain_quota(breaker: &Breaker, max_per_second: Option<Limit>, now_unix_ms: u64) -> usize {
    let room = match breaker.admits(now_unix_ms) {
        Admission::Park => 0,
        Admission::Probe => 1,
        Admission::Send => breaker.drain_rate(now_unix_ms),
    };
    max_per_second.map_or(room, |limit| room.min(SECONDS_WORTH * usize::from(u16::from(limit))))
}

/// Delays for deliveries that a drain returns to the queue, so that they come out evenly.
#[derive(Clone, Debug)]
pub struct DelaySpreader {
    most: usize,
    put_back: usize,
    /// The number of deliveries that come out per second.
    per_second: usize,
}

impl DelaySpreader {
    /// Spreads `most` deliveries over the minute until the next sweep.
    #[must_use]
    pub fn over_a_minute(most: usize) -> Self {
        Self { most, put_back: 0, per_second: most.div_ceil(60).max(1) }
    }

    /// Returns how many more deliveries may return.
    #[must_use]
    pub fn left(&self) -> usize {
        self.most - self.put_back
    }

    /// Returns the delay of the next delivery.
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
    fn drained_deliveries_come_out_over_the_minute() {
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
            (&Breaker::default(), limit(7), 0, 378, "at most its limit in most of a minute"),
            (&Breaker::closed_at(0), limit(500), 0, 600, "just back"),
            (&open, limit(7), 29_999, 0, "left alone"),
            (&open, limit(7), 30_000, 1, "a probe"),
        ];
        for (breaker, limit, now, expected, why) in cases {
            assert_eq!(drain_quota(breaker, limit, now), expected, "{why}");
        }
    }
}
