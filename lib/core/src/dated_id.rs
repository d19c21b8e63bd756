//! Ids of things that are listed by age: a prefix, the moment at which the thing was made, and random digits.

use uuid::Uuid;

/// How many digits follow the prefix of an id.
const DIGITS: usize = 32;
/// How many of them are the moment, in milliseconds since the Unix epoch. They last until the year 10889.
const MOMENT_DIGITS: usize = 12;

/// Defines the type of an id with its prefix.
macro_rules! dated_id {
    ($(#[$about:meta])* $name:ident, $prefix:literal) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// The form of such an id, for messages.
            pub const EXPECTED: &str = concat!("`", $prefix, "` and 32 hexadecimal digits");

            /// Makes an id from the moment, in milliseconds since the Unix epoch, and a random UUID.
            #[must_use]
            pub fn new(unix_ms: u64, random: uuid::Uuid) -> Self {
                Self($crate::dated_id::text_of($prefix, unix_ms, random))
            }

            /// Parses an id in the form that [`Self::new`] makes.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                $crate::dated_id::has_form(text, $prefix).then(|| Self(text.to_owned()))
            }

            /// Returns the id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
pub(crate) use dated_id;

/// Returns the text of an id. A later moment has a greater text.
pub(crate) fn text_of(prefix: &str, unix_ms: u64, random: Uuid) -> String {
    let moment = unix_ms & 0xffff_ffff_ffff;
    let random = random.simple().to_string();
    format!("{prefix}{moment:012x}{}", &random[MOMENT_DIGITS..])
}

/// Returns whether a text is `prefix` and 32 lower-case hexadecimal digits.
pub(crate) fn has_form(text: &str, prefix: &str) -> bool {
    let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text.strip_prefix(prefix).is_some_and(|digits| digits.len() == DIGITS && digits.bytes().all(is_digit))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::delivery::replay::ReplayId;
    use crate::portal::LinkId;
    use crate::tenant_erasure::ErasureId;

    dated_id!(
        /// The id of a test.
        TestId,
        "ti_"
    );

    proptest! {
        #[test]
        fn ids_sort_by_their_moments_and_read_back(
            earlier in 0..1_u64 << 47,
            wait in 1..1_u64 << 47,
            random: [u128; 2],
        ) {
            let [early, late] = random.map(Uuid::from_u128);
            let (first, second) = (TestId::new(earlier, early), TestId::new(earlier + wait, late));
            prop_assert!(first < second);
            prop_assert_eq!(TestId::parse(first.as_str()), Some(first));
        }

        #[test]
        fn only_the_whole_form_is_an_id(text in "(ti_|tj_|TI_)?[0-9a-gA-F]{31,33}") {
            let fits = text.len() == 35 && text.starts_with("ti_") && !text[3..].contains(|one: char| {
                !one.is_ascii_hexdigit() || one.is_ascii_uppercase()
            });
            prop_assert_eq!(TestId::parse(&text).is_some(), fits);
        }
    }

    #[test]
    fn an_id_has_its_moment_and_the_last_digits_of_the_random_ones() {
        let id = TestId::new(0x19b_0000_00ff, Uuid::from_u128(u128::MAX));
        assert_eq!(id.to_string(), format!("ti_019b000000ff{}", "f".repeat(20)));
    }

    #[test]
    fn no_id_of_one_kind_is_an_id_of_another() {
        type Parses = fn(&str) -> bool;
        let kinds: [(&str, &str, Parses); 3] = [
            ("er_", ErasureId::EXPECTED, |text| ErasureId::parse(text).is_some()),
            ("pl_", LinkId::EXPECTED, |text| LinkId::parse(text).is_some()),
            ("rp_", ReplayId::EXPECTED, |text| ReplayId::parse(text).is_some()),
        ];
        for (prefix, expected, parses) in kinds {
            assert_eq!(expected, format!("`{prefix}` and 32 hexadecimal digits"));
            for (other, ..) in kinds {
                assert_eq!(parses(&format!("{other}{}", "7".repeat(32))), other == prefix, "{prefix}, {other}");
            }
        }
        assert_eq!(TestId::EXPECTED, "`ti_` and 32 hexadecimal digits");
    }
}
