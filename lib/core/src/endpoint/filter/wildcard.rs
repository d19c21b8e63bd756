//! Texts with `*`, which stands for any characters, as EventBridge defines them.

/// A text with wildcards: the parts between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wildcard {
    /// The parts before, between and after the `*`: one more than there are `*`.
    parts: Box<[Box<str>]>,
}

impl Wildcard {
    /// Parses a text in which `*` stands for any characters, `\*` for an asterisk, and `\\` for a backslash.
    ///
    /// None if a `*` follows another, or if a backslash stands before another character.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = vec![String::new()];
        let mut characters = text.chars();
        let mut follows_star = false;
        while let Some(character) = characters.next() {
            let is_star = character == '*';
            match character {
                '*' if follows_star => return None,
                '*' => parts.push(String::new()),
                '\\' => match characters.next() {
                    Some(escaped @ ('*' | '\\')) => parts.last_mut()?.push(escaped),
                    _ => return None,
                },
                plain => parts.last_mut()?.push(plain),
            }
            follows_star = is_star;
        }
        Some(Self { parts: parts.into_iter().map(Box::from).collect() })
    }

    /// Returns whether the text fits. The time is proportional to the length of the text and that of the wildcard.
    ///
    /// Each part between two `*` is taken at the first place where it stands. A later place never allows more, so
    /// there is no way back.
    pub(super) fn matches(&self, text: &str) -> bool {
        let (first, rest) = match &*self.parts {
            [] => return false,
            [only] => return **only == *text,
            [first, rest @ ..] => (first, rest),
        };
        let (Some(mut text), [between @ .., last]) = (text.strip_prefix(&**first), rest) else { return false };
        for part in between {
            match text.find(&**part) {
                Some(at) => text = &text[at + part.len()..],
                None => return false,
            }
        }
        text.ends_with(&**last)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    fn matches(wildcard: &str, text: &str) -> bool {
        Wildcard::parse(wildcard).unwrap().matches(text)
    }

    #[test]
    fn an_asterisk_stands_for_any_characters() {
        let cases = [
            ("dir/*.png", "dir/a/b.png", true, "EventBridge's own example"),
            ("dir/*.png", "dir/.png", true, "none"),
            ("dir/*.png", "dirs/a.png", false, "another beginning"),
            ("*", "", true, "anything"),
            ("", "", true, "no wildcard"),
            ("", "a", false, "no wildcard"),
            ("a*a", "a", false, "a character counts once"),
            ("*ab*ab", "abab", true, "a part at the end as well"),
            ("*ab*ab", "ab", false, "a part counts once"),
            (r"a\*b", "a*b", true, "an escaped asterisk"),
            (r"a\*b", "axb", false, "an escaped asterisk"),
            (r"a\\*", r"a\bc", true, "an escaped backslash, and a wildcard"),
            ("ä*ö", "äüö", true, "characters, not bytes"),
        ];
        for (wildcard, text, expected, why) in cases {
            assert_eq!(matches(wildcard, text), expected, "{wildcard} {text}: {why}");
        }
        for bad in ["a**b", r"\a", r"a\"] {
            assert_eq!(Wildcard::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn no_text_takes_long() {
        let (wildcard, text) = (format!("{}b", "a*".repeat(1_000)), "a".repeat(256 * 1024));
        let began = Instant::now();
        assert!(!matches(&wildcard, &text));
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }

    /// Tries every way: exponential, and easy to believe.
    fn naive(wildcard: &[char], text: &[char]) -> bool {
        match (wildcard, text) {
            ([], []) => true,
            (['*', rest @ ..], _) => (0..=text.len()).any(|taken| naive(rest, &text[taken..])),
            (['\\', one, rest @ ..] | [one, rest @ ..], [first, others @ ..]) => one == first && naive(rest, others),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_trying_every_way(
            wildcard in prop::collection::vec(prop::sample::select(vec!["a", "b", "ä", "*", "\\*", "\\\\"]), 0..9),
            text in prop::collection::vec(prop::sample::select(vec!['a', 'b', 'ä', '*', '\\']), 0..12),
        ) {
            let wildcard = wildcard.concat();
            let characters: Vec<char> = wildcard.chars().collect();
            let Some(parsed) = Wildcard::parse(&wildcard) else {
                prop_assert!(wildcard.contains("**"));
                return Ok(());
            };
            let whole: String = text.iter().collect();
            prop_assert_eq!(parsed.matches(&whole), naive(&characters, &text));
        }
    }
}
