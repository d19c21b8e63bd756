//! Rotation of signing keys: when a key is published, when it signs, and when it ends.
//!
//! A key is published one lead before it signs, so that verifiers that cache the key set learn it in time. It signs for
//! a day, and can be fetched for one more day. If its successor is late, a key signs longer and stays fetchable until
//! there is one. Therefore a missing key never stops deliveries.

use std::time::Duration;

/// The lifetimes of signing keys. Parameters of the stack set all three, in minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySchedule {
    /// How long a key is published before it signs.
    pub lead: Duration,
    /// How long a key signs.
    pub signing: Duration,
    /// How long a key can be fetched after it stops signing.
    pub grace: Duration,
}

/// The four planned times of a signing key, in seconds since the Unix epoch.
///
/// `published_at` ≤ `sign_from` < `sign_until` < `verify_until`, as planned when the key was made. The actual times
/// also depend on the other keys: see [`standing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyMoments {
    /// The start of its publication.
    pub published_at: u64,
    /// The start of signing.
    pub sign_from: u64,
    /// The planned end of signing.
    pub sign_until: u64,
    /// The planned end of its publication.
    pub verify_until: u64,
}

/// How early a new key is made: the interval of the invocations of `rotate-keys`. It keeps the lead regardless of the
/// times of the invocations.
pub const CHECK_INTERVAL: Duration = Duration::from_mins(1);

/// Decides whether a key must be made now, and returns its times.
///
/// `keys` are all existing keys, in any order. With `force`, a new key signs at once: for a key that must be replaced
/// immediately. Verifiers then see a `kid` that is missing in their cache, and fetch it.
#[must_use]
pub fn plan(keys: &[KeyMoments], now: u64, schedule: &KeySchedule, force: bool) -> Option<KeyMoments> {
    let lead = schedule.lead.as_secs();
    let last = keys.iter().max_by_key(|key| key.sign_from);
    let sign_from = match last {
        None => now,
        Some(_) if force => first_free_second(keys, now),
        Some(last) if last.sign_until > now + lead + CHECK_INTERVAL.as_secs() => return None,
        Some(last) => last.sign_until.max(now + lead),
    };
    let sign_until = sign_from + schedule.signing.as_secs();
    Some(KeyMoments { published_at: now, sign_from, sign_until, verify_until: sign_until + schedule.grace.as_secs() })
}

/// Returns `now`, or the next second in which no other key starts. Of two keys that start together, neither would be
/// the last to start.
fn first_free_second(keys: &[KeyMoments], now: u64) -> u64 {
    let seconds = now..=now + keys.len() as u64; // One second more than there are keys.
    seconds.into_iter().find(|second| keys.iter().all(|key| key.sign_from != *second)).unwrap_or(now)
}

/// The phase of a key at a given time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPhase {
    /// The key is published, and will sign.
    Next,
    /// The key signs.
    Current,
    /// The key no longer signs, but can be fetched until the given time.
    Retiring {
        /// The end of its publication, in seconds since the Unix epoch.
        verify_until: u64,
    },
    /// The grace has passed: the key has no effect any more.
    Forgotten,
}

/// Returns the phase of each of `keys` at `now`, in their order.
///
/// The current key is the one that started last. Each other key stopped signing when the next one started, or at its
/// planned end, whichever was *later*. A key whose successor is late signs until the successor starts. The grace begins
/// then.
#[must_use]
pub fn standing(keys: &[KeyMoments], now: u64) -> Vec<KeyPhase> {
    let current = current(keys, now);
    let of = |(index, (key, verify_until)): (usize, (&KeyMoments, Option<u64>))| match verify_until {
        _ if Some(index) == current => KeyPhase::Current,
        _ if key.sign_from > now => KeyPhase::Next,
        Some(verify_until) if now < verify_until => KeyPhase::Retiring { verify_until },
        Some(_) | None => KeyPhase::Forgotten,
    };
    keys.iter().zip(superseded(keys)).enumerate().map(of).collect()
}

/// Returns, for each of `keys` with a successor, until when it can be fetched, in seconds since the Unix epoch.
#[must_use]
pub fn superseded(keys: &[KeyMoments]) -> Vec<Option<u64>> {
    let of = |key: &KeyMoments| {
        let successor = keys.iter().map(|other| other.sign_from).filter(|other| *other > key.sign_from).min()?;
        let grace = key.verify_until - key.sign_until;
        Some(key.verify_until.max(successor + grace))
    };
    keys.iter().map(of).collect()
}

/// Returns the index of the key that signs at `now`: of the keys that started, the last to start. None before the first
/// start.
#[must_use]
pub fn current(keys: &[KeyMoments], now: u64) -> Option<usize> {
    let begun = keys.iter().enumerate().filter(|(_, key)| key.sign_from <= now);
    begun.max_by_key(|(_, key)| key.sign_from).map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: u64 = 3_600;
    const DAY: u64 = 24 * HOUR;
    const SCHEDULE: KeySchedule = KeySchedule {
        lead: Duration::from_secs(HOUR),
        signing: Duration::from_secs(DAY),
        grace: Duration::from_secs(DAY),
    };

    fn first() -> KeyMoments {
        plan(&[], 0, &SCHEDULE, false).unwrap()
    }

    #[test]
    fn the_first_key_signs_at_once() {
        let key = first();
        assert_eq!(key, KeyMoments { published_at: 0, sign_from: 0, sign_until: DAY, verify_until: 2 * DAY });
        assert_eq!(standing(&[key], 0), [KeyPhase::Current]);
    }

    #[test]
    fn a_successor_is_published_one_lead_ahead_and_takes_over_on_time() {
        let key = first();
        let due = DAY - HOUR - CHECK_INTERVAL.as_secs();
        assert_eq!(plan(&[key], due - 1, &SCHEDULE, false), None, "not yet");
        let next = plan(&[key], due, &SCHEDULE, false).unwrap();
        assert_eq!((next.published_at, next.sign_from, next.sign_until), (due, DAY, 2 * DAY));
        assert_eq!(plan(&[key, next], due + 1, &SCHEDULE, false), None, "a second run finds nothing to do");
        assert_eq!(standing(&[key, next], DAY - 1), [KeyPhase::Current, KeyPhase::Next]);
        assert_eq!(standing(&[key, next], DAY), [KeyPhase::Retiring { verify_until: 2 * DAY }, KeyPhase::Current]);
        assert_eq!(standing(&[key, next], 2 * DAY)[0], KeyPhase::Forgotten);
    }

    #[test]
    fn when_rotation_fails_the_last_key_goes_on_and_its_grace_is_kept() {
        let key = first();
        assert_eq!(standing(&[key], 5 * DAY), [KeyPhase::Current], "fetchable while it signs");
        let late = plan(&[key], 5 * DAY, &SCHEDULE, false).unwrap();
        assert_eq!(late.sign_from, 5 * DAY + HOUR, "even a late key is published ahead");
        let keys = [key, late];
        assert_eq!(standing(&keys, 5 * DAY), [KeyPhase::Current, KeyPhase::Next]);
        let verify_until = 6 * DAY + HOUR;
        assert_eq!(standing(&keys, verify_until - 1)[0], KeyPhase::Retiring { verify_until });
        assert_eq!(standing(&keys, verify_until)[0], KeyPhase::Forgotten);
    }

    #[test]
    fn a_forced_key_signs_at_once_and_planned_keys_stay() {
        let key = first();
        let next = plan(&[key], DAY - HOUR, &SCHEDULE, false).unwrap();
        let forced = plan(&[key, next], DAY - 60, &SCHEDULE, true).unwrap();
        assert_eq!(forced.sign_from, DAY - 60);
        let keys = [key, next, forced];
        let retiring = KeyPhase::Retiring { verify_until: 2 * DAY };
        assert_eq!(standing(&keys, DAY - 60), [retiring, KeyPhase::Next, KeyPhase::Current]);
        assert_eq!(standing(&keys, DAY)[1], KeyPhase::Current);
    }

    #[test]
    fn keys_that_sign_for_a_minute_are_soon_enough_ahead() {
        let minute = Duration::from_mins(1);
        let schedule = KeySchedule { lead: minute, signing: minute, grace: minute };
        let mut keys = Vec::new();
        for made in 0..3 {
            keys.extend(plan(&keys, 0, &schedule, false));
            assert_eq!(keys.len(), made + 1);
        }
        assert_eq!(plan(&keys, 0, &schedule, false), None, "only two successors ahead");
    }

    proptest! {
        /// Rotation runs at arbitrary times. Some runs are forced, and some runs are missing. Deliveries continue all
        /// the time.
        #[test]
        fn a_key_that_signed_can_be_fetched_for_a_whole_grace(
            steps in prop::collection::vec((prop_oneof![Just(0), 0..3 * DAY], prop::bool::weighted(0.1), prop::bool::weighted(0.8)), 1..40)
        ) {
            let mut keys = vec![first()];
            let mut now = 0;
            let mut signed = Vec::new();
            for (step, force, runs) in steps {
                now += step;
                if runs {
                    keys.extend(plan(&keys, now, &SCHEDULE, force));
                    let mut begin: Vec<_> = keys.iter().map(|key| key.sign_from).collect();
                    begin.sort_unstable();
                    begin.dedup();
                    prop_assert_eq!(begin.len(), keys.len(), "no two keys begin together");
                    if !force {
                        prop_assert_eq!(plan(&keys, now, &SCHEDULE, false), None, "idempotent");
                    }
                }
                let signer = current(&keys, now);
                prop_assert!(signer.is_some(), "there is always a key to sign with");
                signed.push((now, signer.unwrap()));
                let standings = standing(&keys, now);
                for &(at, index) in signed.iter().filter(|(at, _)| now - at < DAY) {
                    prop_assert_ne!(standings[index], KeyPhase::Forgotten, "signed at {}, now {}", at, now);
                }
                prop_assert_eq!(standings.iter().filter(|one| **one == KeyPhase::Current).count(), 1);
            }
        }
    }
}
