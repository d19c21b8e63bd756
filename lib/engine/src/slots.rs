//! The memory of a warm environment: a slot for each key, and at most a fixed number of slots.

use std::fmt;
use std::hash::Hash;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

/// Slots by key. If all are taken, a new key takes the place of the key that was used least recently.
///
/// All callers of one key share its slot. A slot with a lock inside therefore lets concurrent callers share one call. A caller
/// keeps the slot that it holds, even if the key loses its place meanwhile.
pub struct Slots<K: Hash + Eq, V> {
    slots: Mutex<LruCache<K, Arc<V>>>,
}

impl<K: Hash + Eq, V: Default> Slots<K, V> {
    /// Makes room for `capacity` keys, at least one.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { slots: Mutex::new(LruCache::new(NonZeroUsize::new(capacity).unwrap_or(NonZeroUsize::MIN))) }
    }

    /// Returns the slot of a key; an empty one for a new key.
    pub fn get(&self, key: K) -> Arc<V> {
        Arc::clone(lock(&self.slots).get_or_insert(key, Arc::default))
    }
}

impl<K: Hash + Eq, V> fmt::Debug for Slots<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots").finish_non_exhaustive() // Slots may hold secrets.
    }
}

/// Locks a mutex. A panic elsewhere does not make its content invalid here.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_new_key_takes_the_place_of_the_least_recently_used_one() {
        let slots: Slots<u8, AtomicU32> = Slots::new(2);
        let held = slots.get(1);
        held.store(7, Ordering::Relaxed);
        slots.get(2).store(8, Ordering::Relaxed);
        assert_eq!(slots.get(1).load(Ordering::Relaxed), 7, "now 2 is the least recently used");
        slots.get(3);
        let values = [1, 2].map(|key| slots.get(key).load(Ordering::Relaxed));
        assert_eq!(values, [7, 0], "one key is forgotten, not all");
        assert_eq!(held.load(Ordering::Relaxed), 7, "a caller keeps the slot that it holds");
    }

    proptest! {
        /// Any number of other keys, however often they are used, forgets none of the `capacity` most recent ones.
        #[test]
        fn the_most_recent_keys_are_remembered(keys in proptest::collection::vec(0..20_u8, 1..200), capacity in 1..20_usize) {
            let slots: Slots<u8, AtomicU32> = Slots::new(capacity);
            let mut recent: Vec<u8> = Vec::new();
            for key in keys {
                let is_known = slots.get(key).swap(1, Ordering::Relaxed) == 1;
                prop_assert_eq!(is_known, recent.iter().rev().take(capacity).any(|known| *known == key));
                recent.retain(|known| *known != key);
                recent.push(key);
            }
        }
    }
}
