//! The wall clock. Only adapters read it; rules take the time as an argument.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use signpost_engine::ports::clock::{Clock, Random};
pub use signpost_engine::ports::clock::{millis, rfc3339};

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

/// The clocks of this process.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn unix(&self) -> Duration {
        unix_now()
    }

    fn elapsed(&self) -> Duration {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        START.elapsed()
    }

    async fn sleep(&self, wait: Duration) {
        tokio::time::sleep(wait).await;
    }
}

/// The random numbers of this thread.
#[derive(Clone, Copy, Debug)]
pub struct ThreadRandom;

impl Random for ThreadRandom {
    fn u64(&self) -> u64 {
        fastrand::u64(..)
    }
}
