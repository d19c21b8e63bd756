//! Preferences of a request (RFC 7240): how long it may wait for an answer.

use std::time::Duration;

/// Returns the `wait` preference of a request from its `Prefer` headers, in whole seconds (RFC 7240, section 4.3), if
/// there is one. The first of several counts, and an invalid one is ignored (section 2).
#[must_use]
pub fn wait<'a>(headers: impl IntoIterator<Item = &'a str>) -> Option<Duration> {
    let preferences = headers.into_iter().flat_map(|header| header.split(','));
    let seconds = preferences.map(str::trim).find_map(|preference| {
        let (preference, _parameters) = preference.split_once(';').unwrap_or((preference, ""));
        let (name, value) = preference.split_once('=')?;
        let value = value.trim();
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
        let is_wait = name.trim().eq_ignore_ascii_case("wait");
        (is_wait && !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit())).then_some(value)
    })?;
    Some(Duration::from_secs(seconds.parse().unwrap_or(u64::MAX))) // Too many digits mean a long time.
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_to_wait_is_found_among_the_preferences() {
        let cases: [(&[&str], Option<u64>, &str); 13] = [
            (&["wait=20"], Some(20), "alone"),
            (&["respond-async, Wait = 10"], Some(10), "among others, in any case"),
            (&["respond-async", "wait=10"], Some(10), "in a second header"),
            (&["wait=\"10\";foo=bar"], Some(10), "quoted, with a parameter"),
            (&["wait=1, wait=2"], Some(1), "the first counts"),
            (&["wait=0"], Some(0), "not at all"),
            (&["wait=99999999999999999999"], Some(u64::MAX), "without a limit"),
            (&["wait"], None, "how long?"),
            (&["wait="], None, "how long?"),
            (&["wait=-1"], None, "not a number of seconds"),
            (&["wait=1.5"], None, "not a whole number"),
            (&["handling=strict"], None, "another preference"),
            (&[], None, "none"),
        ];
        for (headers, seconds, why) in cases {
            assert_eq!(wait(headers.iter().copied()), seconds.map(Duration::from_secs), "{headers:?}: {why}");
        }
    }
}
