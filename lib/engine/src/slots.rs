//! The memory of a warm environment: a slot for each key, and at most a fixed number of slots.

use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

/// Slots by key. If all are taken, a new key takes the place of the key that was used least recently. The same happens
/// while the slots together are larger than allowed.
///
/// All callers of one key share its slot. A slot with a lock inside therefore lets concurrent callers share one call. A caller
/// keeps the slot that it holds, even if the key loses its place meanwhile.
pub struct Slots<K: Hash + Eq, V> {
    memory: Mutex<Memory<K, V>>,
    capacity: usize,
    max_bytes: usize,
}

struct Memory<K: Hash + Eq, V> {
    slots: LruCache<K, Slot<V>>,
    /// The sum over all slots.
    bytes: usize,
}

#[derive(Default)]
struct Slot<V> {
    content: Arc<V>,
    bytes: usize,
}

impl<K: Hash + Eq, V: Default> Slots<K, V> {
    /// Makes room for `capacity` keys, at least one.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self::within(capacity, usize::MAX)
    }

    /// Makes room for `capacity` keys, at least one, as long as their contents have at most `max_bytes` together. Callers
    /// report the size of a content with [`Self::set_bytes`].
    #[must_use]
    pub fn within(capacity: usize, max_bytes: usize) -> Self {
        let memory = Memory { slots: LruCache::unbounded(), bytes: 0 }; // Bounded by `Memory::shrink`, which counts bytes.
        Self { memory: Mutex::new(memory), capacity, max_bytes }
    }

    /// Returns the slot of a key; an empty one for a new key.
    pub fn get(&self, key: K) -> Arc<V> {
        let mut memory = lock(&self.memory);
        let content = Arc::clone(&memory.slots.get_or_insert(key, Slot::default).content);
        memory.shrink(self.capacity, self.max_bytes);
        content
    }
}

impl<K: Hash + Eq, V> Slots<K, V> {
    /// Records how many bytes the content of a key has. Other keys lose their place if there is no room for it.
    pub fn set_bytes(&self, key: &K, bytes: usize) {
        let mut memory = lock(&self.memory);
        let Some(slot) = memory.slots.get_mut(key) else { return };
        let before = std::mem::replace(&mut slot.bytes, bytes);
        memory.bytes = memory.bytes.saturating_sub(before).saturating_add(bytes);
        memory.shrink(self.capacity, self.max_bytes);
    }
}

impl<K: Hash + Eq, V> Memory<K, V> {
    /// Forgets the least recently used keys until the rest fits. The most recent key always stays.
    fn shrink(&mut self, capacity: usize, max_bytes: usize) {
        while self.slots.len() > 1 && (self.slots.len() > capacity || self.bytes > max_bytes) {
            let Some((_, slot)) = self.slots.pop_lru() else { return };
            self.bytes = self.bytes.saturating_sub(slot.bytes);
        }
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

    #[test]
    fn large_contents_leave_room_for_fewer_keys() {
        let slots: Slots<u8, AtomicU32> = Slots::within(10, 100);
        let is_known = |key| slots.get(key).load(Ordering::Relaxed) == 1;
        let add = |key, bytes| {
            slots.get(key).store(1, Ordering::Relaxed);
            slots.set_bytes(&key, bytes);
        };
        add(1, 40);
        add(2, 40);
        add(3, 20);
        assert!([1, 2, 3].into_iter().all(is_known), "100 bytes fit");
        add(3, 30);
        assert!(!is_known(1), "the least recently used key is forgotten");
        assert!(is_known(2) && is_known(3), "and no other");
        add(4, 1_000);
        assert!(is_known(4), "the most recent key stays, even if it is too large alone");
        add(5, 1);
        assert!(is_known(5) && !is_known(4));
        slots.set_bytes(&9, 1_000);
        assert!(is_known(5), "an unknown key has no size");
    }

    proptest! {
        /// The sizes of all remembered contents never exceed the limit, except for a single one.
        #[test]
        fn contents_stay_within_their_limit(uses in proptest::collection::vec((0..20_u8, 0..60_usize), 1..200)) {
            let slots: Slots<u8, AtomicU32> = Slots::within(10, 100);
            for (key, bytes) in uses {
                slots.get(key);
                slots.set_bytes(&key, bytes);
                let memory = lock(&slots.memory);
                let sum: usize = memory.slots.iter().map(|(_, slot)| slot.bytes).sum();
                prop_assert_eq!(sum, memory.bytes);
                prop_assert!(memory.slots.len() <= 10 && (sum <= 100 || memory.slots.len() == 1));
                prop_assert_eq!(memory.slots.peek(&key).map(|slot| slot.bytes), Some(bytes));
            }
        }

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
