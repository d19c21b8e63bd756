//! Numbers as JSON spells them, compared by value and without rounding.

use std::cmp::Ordering;

/// A spelled number, taken apart.
struct Parts<'a> {
    is_negative: bool,
    /// The digits before and after the point.
    digits: [&'a [u8]; 2],
    /// How many zeros the digits begin with.
    zeros: usize,
    /// The place of the first digit that is not zero, counted from the point. None for zero.
    magnitude: Option<i64>,
}

impl<'a> Parts<'a> {
    fn of(spelled: &'a str) -> Self {
        let (is_negative, spelled) = match spelled.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, spelled),
        };
        let (mantissa, exponent) = spelled.split_once(['e', 'E']).unwrap_or((spelled, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = [whole.as_bytes(), fraction.as_bytes()];
        let zeros = digits.iter().copied().flatten().take_while(|digit| **digit == b'0').count();
        let is_zero = zeros == whole.len() + fraction.len();
        // An exponent that an `i64` cannot hold is beyond all others.
        let beyond = if exponent.starts_with('-') { i64::MIN / 2 } else { i64::MAX / 2 };
        let exponent: i64 = exponent.parse().unwrap_or(beyond).clamp(i64::MIN / 2, i64::MAX / 2);
        let place = i64::try_from(whole.len()).unwrap_or_default() - i64::try_from(zeros).unwrap_or_default();
        Self { is_negative, digits, zeros, magnitude: (!is_zero).then_some(place + exponent) }
    }

    /// Returns the digits from the first one that is not zero, and then zeros without end.
    fn significant(&self) -> impl Iterator<Item = u8> {
        let [whole, fraction] = self.digits;
        whole.iter().chain(fraction).skip(self.zeros).copied().chain(std::iter::repeat(b'0'))
    }

    fn digit_count(&self) -> usize {
        self.digits.iter().map(|digits| digits.len()).sum::<usize>() - self.zeros
    }

    /// Returns the digits from the first to the last that is not zero.
    fn significant_only(&self) -> Vec<u8> {
        let mut digits: Vec<u8> = self.significant().take(self.digit_count()).collect();
        digits.truncate(digits.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1));
        digits
    }
}

/// Compares two JSON numbers by value: `300`, `300.0` and `3e2` are equal.
pub(crate) fn compare(one: &str, other: &str) -> Ordering {
    let (one, other) = (Parts::of(one), Parts::of(other));
    let (first, second) = match (one.magnitude, other.magnitude) {
        (None, None) => return Ordering::Equal,
        (None, Some(_)) => return if other.is_negative { Ordering::Greater } else { Ordering::Less },
        (Some(_), None) => return if one.is_negative { Ordering::Less } else { Ordering::Greater },
        (Some(first), Some(second)) => (first, second),
    };
    match (one.is_negative, other.is_negative) {
        (false, true) => return Ordering::Greater,
        (true, false) => return Ordering::Less,
        (false, false) | (true, true) => {}
    }
    let digits = one.digit_count().max(other.digit_count());
    let size = first.cmp(&second).then_with(|| one.significant().take(digits).cmp(other.significant().take(digits)));
    if one.is_negative { size.reverse() } else { size }
}

/// The number of significant digits that a filter's number may have. A number with as many survives each JSON tool.
pub(crate) const MAX_DIGITS: usize = 15;

/// Returns whether each JSON tool reads the number as it is spelled: it has at most [`MAX_DIGITS`] digits from the first
/// to the last that is not zero, and is between 10⁻¹⁵ and 10¹⁵, or zero.
pub(crate) fn is_exact(spelled: &str) -> bool {
    let parts = Parts::of(spelled);
    let Some(magnitude) = parts.magnitude else { return true };
    parts.significant_only().len() <= MAX_DIGITS && (-14..=15).contains(&magnitude)
}

/// A number as digits and a power of ten: `digits` × 10^`power`. Neither the first nor the last digit is zero.
struct Scaled {
    digits: Vec<u8>,
    power: i64,
}

impl Scaled {
    /// Takes a number apart. None for zero.
    fn of(spelled: &str) -> Option<Self> {
        let parts = Parts::of(spelled);
        let (magnitude, digits) = (parts.magnitude?, parts.significant_only());
        let count = i64::try_from(digits.len()).unwrap_or(i64::MAX / 4);
        Some(Self { digits, power: magnitude - count })
    }
}

/// Returns whether the value is a whole number, in any spelling: `5.0` and `1e400` are.
pub(crate) fn is_whole(spelled: &str) -> bool {
    Scaled::of(spelled).is_none_or(|number| number.power >= 0)
}

/// A number of which others may be multiples: greater than zero, with at most [`MAX_DIGITS`] digits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Divisor {
    digits: u128,
    power: i64,
}

impl Divisor {
    /// Reads a divisor. None if it is not positive, or has too many digits.
    pub(crate) fn parse(spelled: &str) -> Option<Self> {
        let Scaled { digits, power } = Scaled::of(spelled)?;
        let fits = !spelled.starts_with('-') && digits.len() <= MAX_DIGITS;
        fits.then(|| Self { digits: digits.iter().fold(0, |sum, digit| sum * 10 + u128::from(digit - b'0')), power })
    }

    /// Returns whether a number is a multiple, without rounding.
    pub(crate) fn divides(self, spelled: &str) -> bool {
        let Some(number) = Scaled::of(spelled) else { return true };
        // A number of a lower power than the divisor has a digit that no multiple has.
        let Ok(zeros) = u64::try_from(number.power.saturating_sub(self.power)) else { return false };
        let rest = number.digits.iter().fold(0, |rest, digit| (rest * 10 + u128::from(digit - b'0')) % self.digits);
        (rest * self.power_of_ten(zeros)).is_multiple_of(self.digits)
    }

    /// Returns the rest of 10^`power`, by squaring.
    fn power_of_ten(self, mut power: u64) -> u128 {
        let (mut result, mut square) = (1 % self.digits, 10 % self.digits);
        while power > 0 {
            if power % 2 == 1 {
                result = result * square % self.digits;
            }
            square = square * square % self.digits;
            power /= 2;
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_compare_by_value() {
        let cases = [
            ("300", "300.0", Ordering::Equal, "a fraction of zero"),
            ("300", "3.0e2", Ordering::Equal, "an exponent"),
            ("300", "0.003E+5", Ordering::Equal, "an exponent and zeros"),
            ("0", "-0.0e9", Ordering::Equal, "zero has no sign"),
            ("-1", "0", Ordering::Less, "a sign"),
            ("-1", "-2", Ordering::Greater, "two signs"),
            ("0.1", "0.09", Ordering::Greater, "zeros after the point"),
            ("12345678901234567890.5", "12345678901234567890.4", Ordering::Greater, "more digits than a double has"),
            ("1e400", "9e399", Ordering::Greater, "beyond a double"),
            ("1e99999999999999999999", "1e5", Ordering::Greater, "beyond every exponent"),
            ("1e-99999999999999999999", "0", Ordering::Greater, "still more than zero"),
        ];
        for (one, other, expected, why) in cases {
            assert_eq!(compare(one, other), expected, "{why}");
            assert_eq!(compare(other, one), expected.reverse(), "{why}");
        }
    }

    #[test]
    fn only_numbers_that_survive_each_tool_are_exact() {
        for fine in ["0", "-0.0", "5e9", "123456789012345", "0.000001", "10.10", "-1e3"] {
            assert!(is_exact(fine), "{fine}");
        }
        for bad in ["1234567890123456", "0.1234567890123456", "1e16", "1e-16", "1e400"] {
            assert!(!is_exact(bad), "{bad}");
        }
    }

    #[test]
    fn whole_numbers_and_multiples_are_found_without_rounding() {
        let whole = ["0", "-0.0", "5", "5.0", "-50e-1", "1e400", "12345678901234567890123"];
        assert!(whole.iter().all(|number| is_whole(number)));
        assert!(!["0.5", "1e-1", "12345678901234567890.5"].iter().any(|number| is_whole(number)));
        let cases = [
            ("0", "7", true),
            ("21", "7", true),
            ("22", "7", false),
            ("-21.0", "7", true),
            ("0.3", "0.1", true),
            ("0.35", "0.1", false),
            ("4.5", "1.5", true),
            ("1e400", "2", true),
            ("1e400", "3", false),
            ("100000000000000000000000000000000000000000000000001", "2", false),
            ("10", "4", false),
            ("100", "4", true),
            ("1e-400", "1e-400", true),
            ("5", "1e2", false),
        ];
        for (number, divisor, expected) in cases {
            assert_eq!(Divisor::parse(divisor).unwrap().divides(number), expected, "{number} of {divisor}");
        }
        assert!(["0", "-1", "0.1234567890123456"].iter().all(|bad| Divisor::parse(bad).is_none()));
    }

    proptest! {
        #[test]
        fn the_order_is_that_of_integers_in_every_spelling(
            one in -9_999_i64..9_999,
            other in -9_999_i64..9_999,
            zeros in 0_usize..6,
        ) {
            let spelled = format!("{other}.{}", "0".repeat(zeros + 1));
            prop_assert_eq!(compare(&one.to_string(), &spelled), one.cmp(&other));
            if let Some(divisor) = u64::try_from(other).ok().filter(|other| *other > 0) {
                let divisor = Divisor::parse(&divisor.to_string()).unwrap();
                prop_assert_eq!(divisor.divides(&one.to_string()), one % other == 0);
            }
            let shifted = format!("{other}{}e-{zeros}", if other == 0 { String::new() } else { "0".repeat(zeros) });
            prop_assert_eq!(compare(&one.to_string(), &shifted), one.cmp(&other));
        }
    }
}
