//! Signing keys: when one is published, signs, rests and is forgotten, and which one signs now.
//!
//! A key is published one lead before it signs, so that verifiers who cache the key set know it in time; it signs for
//! a day, and can be fetched for a day more. A key whose successor failed to come goes on signing, and stays
//! fetchable, until there is one: deliveries never stop for want of a new key.

use std::time::Duration;

/// How long signing keys live. All three are set in minutes by parameters of the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySchedule {
    /// How long a key is published before it signs.
    pub lead: Duration,
    /// How long it signs.
    pub signing: Duration,
    /// How long it can be fetched after it has ceased to sign.
    pub grace: Duration,
}

/// The four moments of a signing key, in seconds since the Unix epoch.
///
/// `published_at` ≤ `sign_from` < `sign_until` < `verify_until`, as planned when the key was made. What really holds
/// also depends on the keys around it: see [`standing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyMoments {
    /// From when on it can be fetched.
    pub published_at: u64,
    /// From when on it signs.
    pub sign_from: u64,
    /// Until when it is planned to sign.
    pub sign_until: u64,
    /// Until when it is planned to be fetchable.
    pub verify_until: u64,
}

/// How early before it is strictly needed a new key is made: the interval at which `rotate-keys` is invoked, so that
/// the lead is kept whichever way the invocations fall.
pub const CHECK_INTERVAL: Duration = Duration::from_mins(1);

/// Decides whether a key has to be made now, and gives its moments if so.
///
/// `keys` are all keys there are, in any order. With `force`, a key is made that signs at once, whatever there is:
/// for the day a key must be replaced. Verifiers then meet a `kid` that their cached set lacks, and fetch it.
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

/// Now, or as soon as no other key begins: of two keys that began together, none would be the last to begin.
fn first_free_second(keys: &[KeyMoments], now: u64) -> u64 {
    let seconds = now..=now + keys.len() as u64; // One more than there are keys to take them.
    seconds.into_iter().find(|second| keys.iter().all(|key| key.sign_from != *second)).unwrap_or(now)
}

/// What a key is good for at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPhase {
    /// Published, and will sign.
    Next,
    /// Signs.
    Current,
    /// Signs no more; can be fetched until the moment given.
    Retiring {
        /// In seconds since the Unix epoch.
        verify_until: u64,
    },
    /// Past its grace: as if it had never been.
    Forgotten,
}

/// Gives the standing of each of `keys` at `now`, in their order.
///
/// The current key is the one that was last to begin signing. The others have ceased: when the next one began, or when
/// they were planned to, whichever came *later*, for a key whose successor was late went on until then. Their grace
/// counts from there.
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

/// Gives, for each of `keys` that has a successor, until when it can be fetched, in seconds since the Unix epoch.
#[must_use]
pub fn superseded(keys: &[KeyMoments]) -> Vec<Option<u64>> {
    let of = |key: &KeyMoments| {
        let successor = keys.iter().map(|other| other.sign_from).filter(|other| *other > key.sign_from).min()?;
        let grace = key.verify_until - key.sign_until;
        Some(key.verify_until.max(successor + grace))
    };
    keys.iter().map(of).collect()
}

/// The index of the key that signs at `now`: of those that have begun, the last to begin. None before the first begins.
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
        assert_eq!(standing(&[key], 5 * DAY), [KeyPhase::Current], "fetchable as long as it signs");
        let late = plan(&[key], 5 * DAY, &SCHEDULE, false).unwrap();
        assert_eq!(late.sign_from, 5 * DAY + HOUR, "even a late key is published ahead");
        let keys = [key, late];
        assert_eq!(standing(&keys, 5 * DAY), [KeyPhase::Current, KeyPhase::Next]);
        let verify_until = 6 * DAY + HOUR;
        assert_eq!(standing(&keys, verify_until - 1)[0], KeyPhase::Retiring { verify_until });
        assert_eq!(standing(&keys, verify_until)[0], KeyPhase::Forgotten);
    }

    #[test]
    fn a_forced_key_signs_at_once_and_what_was_planned_stays() {
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
        assert_eq!(plan(&keys, 0, &schedule, false), None, "two successors ahead, and no more");
    }

    proptest! {
        /// Rotation runs at arbitrary moments, some of them forced, some never; deliveries go on all the time.
        #[test]
        fn whatever_signed_can_be_fetched_for_a_whole_grace(
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
