//! Patterns: the conditions of a filter, in the form in which events are compared with them.

use std::fmt;
use std::net::IpAddr;

use super::wildcard::Wildcard;
use crate::input::number;

/// Conditions on the fields of one object. All of them must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    /// The fields that it names.
    pub(crate) fields: Box<[Field]>,
    /// The alternatives of `$or`, of which one must hold too. Empty without `$or`.
    pub(crate) any_of: Box<[Pattern]>,
}

/// Conditions on one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    /// Its name.
    pub(crate) name: Box<str>,
    /// Its conditions.
    pub(crate) test: Test,
}

/// The conditions on a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Test {
    /// One of these must hold for one of its values.
    Value(Box<[Condition]>),
    /// Its value is an object, or a list of them, with these fields.
    Object(Box<Pattern>),
}

/// A condition on one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// None of these holds.
    AnythingBut(Box<[Condition]>),
    /// The text is an IP address in this network.
    Cidr(Network),
    /// There is a value, or there is none.
    Exists(bool),
    /// It is `true`, or `false`.
    Flag(bool),
    /// It is `null`.
    Null,
    /// It is a number equal to this one.
    Number(Box<str>),
    /// It is a number in this range.
    Range(Box<Range>),
    /// It is a text such as this.
    Text(TextTest),
}

/// A condition on a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TextTest {
    /// It begins so.
    Begins(Box<str>, Case),
    /// It ends so.
    Ends(Box<str>, Case),
    /// It is this text.
    Is(Box<str>, Case),
    /// It fits.
    Wildcard(WildcardTest),
}

/// A wildcard, which only this module takes apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WildcardTest {
    /// As the filter spells it.
    pub(super) spelled: Box<str>,
    pub(super) wildcard: Wildcard,
}

/// How letters compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    /// In either case.
    Any,
    /// As they are.
    Same,
}

/// A range of numbers. At least one end is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(super) lower: Option<End>,
    pub(super) upper: Option<End>,
}

/// An end of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) number: Box<str>,
    /// Whether the range has this number too.
    pub(super) is_included: bool,
}

/// A network in CIDR notation (RFC 4632; RFC 4291, section 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    address: IpAddr,
    bits: u8,
}

impl TextTest {
    pub(crate) fn holds(&self, text: &str) -> bool {
        match self {
            Self::Begins(start, Case::Same) => text.starts_with(&**start),
            Self::Begins(start, Case::Any) => begins(lower(text), lower(start)),
            Self::Ends(end, Case::Same) => text.ends_with(&**end),
            Self::Ends(end, Case::Any) => begins(lower(text).rev(), lower(end).rev()),
            Self::Is(whole, Case::Same) => **whole == *text,
            Self::Is(whole, Case::Any) => lower(text).eq(lower(whole)),
            Self::Wildcard(WildcardTest { wildcard, .. }) => wildcard.matches(text),
        }
    }
}

fn lower(text: &str) -> impl DoubleEndedIterator<Item = char> {
    text.chars().flat_map(char::to_lowercase)
}

fn begins(mut text: impl Iterator<Item = char>, mut start: impl Iterator<Item = char>) -> bool {
    start.all(|character| text.next() == Some(character))
}

impl Range {
    pub(crate) fn has(&self, spelled: &str) -> bool {
        let fits = |end: &Option<End>, outside: fn(std::cmp::Ordering) -> bool| {
            end.as_ref().is_none_or(|End { number, is_included }| {
                let order = number::compare(spelled, number);
                if order.is_eq() { *is_included } else { !outside(order) }
            })
        };
        fits(&self.lower, std::cmp::Ordering::is_lt) && fits(&self.upper, std::cmp::Ordering::is_gt)
    }

    /// Returns the range of these numbers and those between them.
    pub(super) fn between(least: i64, most: i64) -> Self {
        let end = |number: i64| Some(End { number: number.to_string().into(), is_included: true });
        Self { lower: end(least), upper: end(most) }
    }

    /// Returns whether some number may be in both ranges.
    pub(super) fn meets(&self, other: &Self) -> bool {
        let is_below = |lower: &Option<End>, upper: &Option<End>| {
            lower.as_ref().zip(upper.as_ref()).is_none_or(|(lower, upper)| {
                let order = number::compare(&lower.number, &upper.number);
                order.is_lt() || (order.is_eq() && lower.is_included && upper.is_included)
            })
        };
        is_below(&self.lower, &other.upper) && is_below(&other.lower, &self.upper)
    }
}

impl Network {
    /// Parses `10.0.0.0/8` or `2001:db8::/32`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let (address, bits): (IpAddr, u8) = (address.parse().ok()?, bits.parse().ok()?);
        let most = if address.is_ipv4() { 32 } else { 128 };
        (bits <= most).then_some(Self { address, bits })
    }

    pub(crate) fn has(&self, text: &str) -> bool {
        let shared = match (self.address, text.parse()) {
            (IpAddr::V4(own), Ok(IpAddr::V4(other))) => (own.to_bits() ^ other.to_bits()).leading_zeros(),
            (IpAddr::V6(own), Ok(IpAddr::V6(other))) => (own.to_bits() ^ other.to_bits()).leading_zeros(),
            (_, Ok(IpAddr::V4(_) | IpAddr::V6(_)) | Err(_)) => return false,
        };
        shared >= self.bits.into()
    }
}

/// Spells a text as JSON does.
pub(super) fn spelled(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default() // Texts always serialize.
}

/// Describes conditions of which one must hold, in words.
pub(crate) fn describe(conditions: &[Condition]) -> String {
    conditions.iter().map(Condition::to_string).collect::<Vec<_>>().join(", or ")
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnythingBut(conditions) => {
                let conditions: Vec<_> = conditions.iter().map(Self::to_string).collect();
                write!(f, "anything but {}", conditions.join(", "))
            }
            Self::Cidr(Network { address, bits }) => write!(f, "an IP address in {address}/{bits}"),
            Self::Exists(true) => f.write_str("a value"),
            Self::Exists(false) => f.write_str("no value"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Null => f.write_str("null"),
            Self::Number(number) => f.write_str(number),
            Self::Range(range) => write!(f, "a number {range}"),
            Self::Text(test) => test.fmt(f),
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(End { number, is_included }) = &self.lower {
            write!(f, ">{} {number}", if *is_included { "=" } else { "" })?;
        }
        if self.lower.is_some() && self.upper.is_some() {
            f.write_str(" and ")?;
        }
        if let Some(End { number, is_included }) = &self.upper {
            write!(f, "<{} {number}", if *is_included { "=" } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Display for TextTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let in_case = |case: &Case| if *case == Case::Any { " in any case" } else { "" };
        match self {
            Self::Begins(text, case) => write!(f, "a text that begins with {}{}", spelled(text), in_case(case)),
            Self::Ends(text, case) => write!(f, "a text that ends with {}{}", spelled(text), in_case(case)),
            Self::Is(text, case) => write!(f, "{}{}", spelled(text), in_case(case)),
            Self::Wildcard(WildcardTest { spelled: text, .. }) => write!(f, "a text like {}", spelled(text)),
        }
    }
}
