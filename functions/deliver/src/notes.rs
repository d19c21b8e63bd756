//! A cache of the notes that this environment has written to a table, so that it does not repeat them for each
//! delivery.

use std::collections::HashMap;

use signpost_core::endpoint::EndpointId;
use tokio::sync::Mutex;

/// How many endpoints are remembered.
const CAPACITY: usize = 2_000;

/// Endpoints, each with the time of its note, in seconds since the Unix epoch.
#[derive(Debug)]
pub(crate) struct Notes {
    valid_seconds: u64,
    noted: Mutex<HashMap<EndpointId, u64>>,
}

impl Notes {
    /// Creates an empty list, whose notes are valid for `valid_seconds`.
    pub(crate) fn new(valid_seconds: u64) -> Self {
        Self { valid_seconds, noted: Mutex::default() }
    }

    /// Notes an endpoint, unless its note is still valid. Returns true if the caller must write the note to the table.
    pub(crate) async fn add(&self, endpoint: &EndpointId, now: u64) -> bool {
        let mut noted = self.noted.lock().await;
        if noted.get(endpoint).is_some_and(|at| (*at..*at + self.valid_seconds).contains(&now)) {
            return false;
        }
        if noted.len() >= CAPACITY {
            noted.clear();
        }
        noted.insert(endpoint.clone(), now);
        true
    }

    /// Forgets an endpoint whose note could not be written.
    pub(crate) async fn remove(&self, endpoint: &EndpointId) {
        self.noted.lock().await.remove(endpoint);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_note_is_written_again_when_it_is_too_old_or_was_not_written() {
        let (notes, id) = (Notes::new(60), EndpointId::parse(&format!("ep_{}", "0".repeat(32))).unwrap());
        assert!(notes.add(&id, 1_000).await);
        assert!(!notes.add(&id, 1_059).await, "still valid");
        assert!(notes.add(&id, 1_060).await, "too old");
        assert!(notes.add(&id, 1_000).await, "the clock was set back");
        notes.remove(&id).await;
        assert!(notes.add(&id, 1_001).await, "not written");
    }
}
