//! A cache of the notes that this environment has written to a table, so that it does not repeat them for each
//! delivery.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::slots::Slots;
use signpost_core::endpoint::EndpointId;

/// How many endpoints are remembered.
const CAPACITY: usize = 2_000;

/// Endpoints, each with the time of its note, in seconds since the Unix epoch.
#[derive(Debug)]
pub(crate) struct Notes {
    valid_seconds: u64,
    noted: Slots<EndpointId, AtomicU64>,
}

impl Notes {
    /// Creates an empty list, whose notes are valid for `valid_seconds`.
    pub(crate) fn new(valid_seconds: u64) -> Self {
        Self { valid_seconds, noted: Slots::new(CAPACITY) }
    }

    /// Notes an endpoint, unless its note is still valid. Returns true if the caller must write the note to the table.
    pub(crate) fn add(&self, endpoint: &EndpointId, now: u64) -> bool {
        let slot = self.noted.get(endpoint.clone());
        let at = slot.load(Ordering::Relaxed);
        let is_new = !(at..at + self.valid_seconds).contains(&now);
        if is_new {
            slot.store(now, Ordering::Relaxed);
        }
        is_new
    }

    /// Forgets an endpoint whose note could not be written.
    pub(crate) fn remove(&self, endpoint: &EndpointId) {
        self.noted.get(endpoint.clone()).store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_written_again_when_it_is_too_old_or_was_not_written() {
        let (notes, id) = (Notes::new(60), EndpointId::parse(&format!("ep_{}", "0".repeat(32))).unwrap());
        assert!(notes.add(&id, 1_000));
        assert!(!notes.add(&id, 1_059), "still valid");
        assert!(notes.add(&id, 1_060), "too old");
        assert!(notes.add(&id, 1_000), "the clock was set back");
        notes.remove(&id);
        assert!(notes.add(&id, 1_001), "not written");
    }
}
