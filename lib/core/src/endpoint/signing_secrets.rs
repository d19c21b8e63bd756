//! Signing secrets of an endpoint: which ones are valid, and how a rotation adds a new one.

use std::time::Duration;

/// A stored signing secret, encrypted or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretVersion<T> {
    /// The secret.
    pub secret: T,
    /// The time of its creation, in seconds since the Unix epoch.
    pub created_at: u64,
    /// The time when it stops signing, in seconds since the Unix epoch. The newest secret has none.
    pub expires_at: Option<u64>,
}

/// The maximum number of valid secrets. Each makes every request longer by an entry of 48 bytes.
pub const MAX_LIVE: usize = 10;

/// There are already [`MAX_LIVE`] secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_LIVE} signing secrets are valid until their promised ends; wait until one expires")]
pub struct TooManyError;

impl<T> SecretVersion<T> {
    /// Makes the newest secret.
    #[must_use]
    pub fn new(secret: T, created_at: u64) -> Self {
        Self { secret, created_at, expires_at: None }
    }

    /// Returns whether it signs requests at `now`.
    #[must_use]
    pub fn is_live(&self, now: u64) -> bool {
        self.expires_at.is_none_or(|expires_at| now < expires_at)
    }
}

/// Adds a secret. The previously newest secret stays valid for `overlap`. Secrets that already have an end keep it.
/// Expired secrets are removed.
///
/// # Errors
/// [`TooManyError`]: too many would be valid, and none may end earlier than promised.
pub fn rotate<T>(
    secrets: Vec<SecretVersion<T>>,
    new: T,
    now: u64,
    overlap: Duration,
) -> Result<Vec<SecretVersion<T>>, TooManyError> {
    let ends = now + overlap.as_secs();
    let followed =
        secrets.into_iter().map(|secret| SecretVersion { expires_at: secret.expires_at.or(Some(ends)), ..secret });
    let mut live: Vec<_> = followed.filter(|secret| secret.is_live(now)).collect();
    if live.len() >= MAX_LIVE {
        return Err(TooManyError);
    }
    live.push(SecretVersion::new(new, now));
    Ok(live)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn ends(secrets: &[SecretVersion<u32>]) -> Vec<(u32, Option<u64>)> {
        secrets.iter().map(|secret| (secret.secret, secret.expires_at)).collect()
    }

    #[test]
    fn a_second_rotation_inside_the_overlap_keeps_every_live_secret_live() {
        let first = vec![SecretVersion::new(1, 0)];
        let second = rotate(first, 2, 100, DAY).unwrap();
        assert_eq!(ends(&second), [(1, Some(86_500)), (2, None)]);
        let third = rotate(second.clone(), 3, 200, DAY).unwrap();
        assert_eq!(ends(&third), [(1, Some(86_500)), (2, Some(86_600)), (3, None)]);
        let hasty = rotate(second, 3, 200, Duration::from_secs(10)).unwrap();
        assert_eq!(ends(&hasty), [(1, Some(86_500)), (2, Some(210)), (3, None)], "the promised end stays");
    }

    #[test]
    fn expired_secrets_are_removed_and_no_overlap_ends_the_last_one_at_once() {
        let secrets = rotate(vec![SecretVersion::new(1, 0)], 2, 100, DAY).unwrap();
        assert_eq!(ends(&rotate(secrets, 3, 90_000, Duration::ZERO).unwrap()), [(3, None)]);
    }

    #[test]
    fn no_more_than_ten_are_live() {
        let mut secrets = vec![SecretVersion::new(0, 0)];
        for number in 1..10 {
            secrets = rotate(secrets, number, 0, DAY).unwrap();
        }
        assert_eq!(rotate(secrets.clone(), 10, 0, DAY), Err(TooManyError));
        assert_eq!(rotate(secrets, 10, 86_400, DAY).unwrap().len(), 2, "after eight have expired");
    }

    proptest! {
        /// No secret ends before its promised end, and exactly one secret has no end.
        #[test]
        fn no_promise_is_broken(steps in prop::collection::vec((0..200_000_u64, 0..200_000_u64), 1..30)) {
            let mut secrets = vec![SecretVersion::new(0, 0)];
            let mut now = 0;
            for (number, (step, overlap)) in (1..).zip(steps) {
                now += step;
                let before = secrets.clone();
                match rotate(before.clone(), number, now, Duration::from_secs(overlap)) {
                    Err(TooManyError) => prop_assert!(before.len() >= MAX_LIVE),
                    Ok(after) => secrets = after,
                }
                for old in before.iter().filter(|old| old.expires_at.is_some_and(|end| now < end)) {
                    prop_assert!(secrets.contains(old), "{:?} was cut short", old);
                }
                prop_assert!(secrets.iter().all(|secret| secret.is_live(now)));
                prop_assert_eq!(secrets.iter().filter(|secret| secret.expires_at.is_none()).count(), 1);
            }
        }
    }
}
