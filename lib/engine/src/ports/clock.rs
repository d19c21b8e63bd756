//! Time and chance.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The clocks of a process.
pub trait Clock: Clone {
    /// Returns the wall clock's time since the Unix epoch. It may differ from that of other processes, and jump.
    fn unix(&self) -> Duration;

    /// Returns the time since an arbitrary moment. It never goes back.
    fn elapsed(&self) -> Duration;

    /// Waits.
    async fn sleep(&self, wait: Duration);

    /// Returns the wall clock's time in milliseconds since the Unix epoch.
    fn unix_ms(&self) -> u64 {
        millis(self.unix())
    }

    /// Returns the wall clock's time in seconds since the Unix epoch.
    fn unix_seconds(&self) -> u64 {
        self.unix().as_secs()
    }

    /// Awaits `future` for at most `longest`. Returns `None`, and drops the future, if that is not enough.
    async fn within<T>(&self, longest: Duration, future: impl Future<Output = T>) -> Option<T> {
        match select(pin!(future), pin!(self.sleep(longest))).await {
            Either::Left((done, _)) => Some(done),
            Either::Right(_) => None,
        }
    }
}

/// Random numbers. They need not be secret.
pub trait Random: Clone {
    /// Returns any number with the same probability.
    fn u64(&self) -> u64;

    /// Returns a number from 0 up to, but not including, 1.
    fn f64(&self) -> f64 {
        const BITS: u32 = 53; // As many as an `f64` holds exactly.
        #[expect(clippy::cast_precision_loss, reason = "both numbers have at most 53 bits")]
        let of = |number: u64| number as f64;
        of(self.u64() >> (64 - BITS)) / of(1 << BITS)
    }

    /// Returns 16 random bytes, for a name that no other has.
    fn bytes(&self) -> [u8; 16] {
        (u128::from(self.u64()) << 64 | u128::from(self.u64())).to_be_bytes()
    }

    /// Puts `items` into a random order.
    fn shuffle<T>(&self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            let place = self.u64() % (end as u64 + 1);
            items.swap(end, usize::try_from(place).unwrap_or(end));
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns always the same number.
    #[derive(Clone)]
    struct Always(u64);

    impl Random for Always {
        fn u64(&self) -> u64 {
            self.0
        }
    }

    #[test]
    fn a_random_number_is_from_zero_up_to_but_not_one() {
        let cases = [(0, 0.0), (1 << 63, 0.5), (1 << 62, 0.25), (u64::MAX, 1.0 - f64::EPSILON / 2.0)];
        for (number, expected) in cases {
            assert_eq!(Always(number).f64().to_bits(), f64::to_bits(expected), "{number}");
        }
    }

    #[test]
    fn a_shuffle_loses_and_repeats_nothing() {
        for number in [0, 1, 12_345, u64::MAX] {
            let mut items: Vec<_> = (0..30).collect();
            Always(number).shuffle(&mut items);
            items.sort_unstable();
            assert_eq!(items, (0..30).collect::<Vec<_>>(), "{number}");
        }
    }
}
