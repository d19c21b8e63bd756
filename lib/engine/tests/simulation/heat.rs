//! How many writes a second each partition of the tables gets. DynamoDB takes 1,000 write units a second in one, and charges a
//! write whose condition does not hold as well. It forgives a single second: capacity that was not used lasts for minutes.

use std::collections::{BTreeMap, HashMap};

/// The writes of the current window, and the most there were in any.
#[derive(Default)]
pub struct Heat {
    window: u64,
    writes: HashMap<(&'static str, String), u64>,
    most: BTreeMap<&'static str, u64>,
}

const WINDOW_SECONDS: u64 = 5;

impl Heat {
    /// Counts a write of a kind of items to the partition with this key.
    pub fn add(&mut self, kind: &'static str, key: String, now: u64) {
        let window = now / (1_000 * WINDOW_SECONDS);
        if window != self.window {
            self.writes.clear();
            self.window = window;
        }
        let writes = self.writes.entry((kind, key)).or_default();
        *writes += 1;
        let most = self.most.entry(kind).or_default();
        *most = (*most).max(*writes);
    }

    /// Returns the most writes a second in one partition, on average over five seconds, by kind.
    pub fn most_per_second(&self) -> BTreeMap<&'static str, u64> {
        self.most.iter().map(|(kind, most)| (*kind, most.div_ceil(WINDOW_SECONDS))).collect()
    }
}
