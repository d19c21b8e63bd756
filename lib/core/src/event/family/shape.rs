//! Shapes: the values that a field may have.

use time::{Date, Month};

use super::{Field, mandatory, optional};
use crate::input::fault::{Fault, FaultCode, Faults, pointer_to};
use crate::input::json::text_in;
use crate::input::scanner::{Spelled, items, members};

/// The values that a field may have.
#[derive(Debug)]
pub(super) enum Shape {
    /// Any value.
    Any,
    /// This text.
    Constant(&'static str),
    /// A whole number, 0 or more.
    Count,
    /// A number of a total, such as `2/3`.
    Counter,
    /// A time in ISO 8601, with or without an offset.
    DateTime,
    /// A value of any of these shapes.
    Either(&'static [Shape]),
    /// `true` or `false`, or the same as a text.
    Flag,
    /// A whole number in this range.
    Integer(i64, i64),
    /// A text that is not empty.
    Id,
    /// A list of values of this shape.
    List(&'static Shape),
    /// An object with these fields, and possibly others.
    Object(&'static [Field]),
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// A text.
    Text,
    /// An object whose values are texts.
    TextMap,
    /// A text, or a whole number.
    TextOrInteger,
}

impl Shape {
    /// Describes the shape in words, for faults.
    pub(super) fn expected(&self) -> String {
        match self {
            Self::Any => "any value".into(),
            Self::Constant(text) => format!("`{text}`"),
            Self::Count => format!("a whole number, 0 to {}", i64::MAX),
            Self::Counter => "a number of a total, such as `2/3`".into(),
            Self::DateTime => "a moment in ISO 8601, such as 2026-01-31T10:00:00Z".into(),
            Self::Either(shapes) => shapes.iter().map(Self::expected).collect::<Vec<_>>().join(", or "),
            Self::Flag => "true or false".into(),
            Self::Integer(least, most) => format!("a whole number, {least} to {most}"),
            Self::Id => "a text that is not empty".into(),
            Self::List(_) => "a list".into(),
            Self::Object(_) => "an object".into(),
            Self::OneOf(texts) => format!("one of {}", texts.join(", ")),
            Self::Text => "a text".into(),
            Self::TextMap => "an object whose values are texts".into(),
            Self::TextOrInteger => format!("a text, or a whole number, {} to {}", i64::MIN, i64::MAX),
        }
    }

    /// Returns the code of the fault for a `value` that does not fit.
    fn code_of(&self, value: &str) -> FaultCode {
        let begins = |first: fn(char) -> bool| value.starts_with(first);
        let (is_text, is_number) =
            (begins(|first| first == '"'), begins(|first| first == '-' || first.is_ascii_digit()));
        match self {
            Self::Constant(_) | Self::OneOf(_) if is_text => FaultCode::NotOneOf,
            Self::Count | Self::Integer(..) | Self::TextOrInteger if is_number => FaultCode::OutOfRange,
            Self::Counter | Self::DateTime | Self::Id | Self::Text if is_text => FaultCode::Malformed,
            Self::Any
            | Self::Constant(_)
            | Self::Count
            | Self::Counter
            | Self::DateTime
            | Self::Either(_)
            | Self::Flag
            | Self::Integer(..)
            | Self::Id
            | Self::List(_)
            | Self::Object(_)
            | Self::OneOf(_)
            | Self::Text
            | Self::TextMap
            | Self::TextOrInteger => FaultCode::WrongType,
        }
    }

    /// Adds the faults of the `value` at `path`.
    pub(super) fn check(&self, value: &str, path: Path<'_>, faults: &mut Faults) {
        let fits = match self {
            Self::Any => true,
            Self::Constant(constant) => text_in(value).is_some_and(|text| text == *constant),
            Self::Count => integer(value).is_some_and(|number| number >= 0),
            Self::Counter => text_in(value).is_some_and(|text| is_counter(&text)),
            Self::DateTime => text_in(value).is_some_and(|text| is_date_time(&text)),
            Self::Either(shapes) => {
                // The intended shape accepts the value itself, and may find faults inside it.
                let tried = shapes.iter().map(|shape| {
                    let mut faults = Faults::default();
                    shape.check(value, path, &mut faults);
                    faults
                });
                let takes = |faults: &Faults| faults.listed().iter().all(|fault| fault.pointer != path.pointer());
                match tried.filter(takes).min_by_key(|faults| faults.listed().len()) {
                    Some(found) => {
                        faults.absorb(found);
                        true
                    }
                    None => false,
                }
            }
            Self::Flag => matches!(value, "true" | "false") || text_in(value).is_some(),
            Self::Integer(least, most) => integer(value).is_some_and(|number| (*least..=*most).contains(&number)),
            Self::Id => text_in(value).is_some_and(|text| !text.is_empty()),
            Self::List(shape) => match items(value) {
                Some(items) => {
                    for (index, item) in items.into_iter().enumerate() {
                        shape.check(item, Path::Item(&path, index), faults);
                    }
                    true
                }
                None => false,
            },
            Self::Object(fields) => match members(value) {
                Some(members) => {
                    check_fields(fields, &members, path, faults);
                    true
                }
                None => false,
            },
            Self::OneOf(texts) => text_in(value).is_some_and(|text| texts.contains(&&*text)),
            Self::Text => text_in(value).is_some(),
            Self::TextMap => match members(value) {
                Some(members) => {
                    for (name, value) in members.into_iter().filter(|(_, value)| *value != "null") {
                        Self::Text.check(value, Path::Member(&path, &name), faults);
                    }
                    true
                }
                None => false,
            },
            Self::TextOrInteger => text_in(value).is_some() || integer(value).is_some(),
        };
        if !fits {
            faults.push(Fault::at(&path.pointer(), value, self.expected()).code(self.code_of(value)));
        }
    }
}

/// The path to a value. It is spelled only for a fault, because most values have none.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Path<'a> {
    /// The item of a list.
    Item(&'a Path<'a>, usize),
    /// The member of an object.
    Member(&'a Path<'a>, &'a str),
    /// The value at this JSON Pointer.
    Root(&'static str),
}

impl Path<'_> {
    /// Returns the path as a JSON Pointer.
    pub(crate) fn pointer(self) -> String {
        match self {
            Self::Item(list, index) => format!("{}/{index}", list.pointer()),
            Self::Member(object, name) => object.pointer() + &pointer_to(name),
            Self::Root(pointer) => pointer.to_owned(),
        }
    }
}

/// Adds the faults of an object's `members` at `path`: missing fields, wrong values, and duplicates. `null` counts
/// as absent.
pub(super) fn check_fields(fields: &[Field], members: &Spelled<'_>, path: Path<'_>, faults: &mut Faults) {
    for Field { name, is_mandatory, shape } in fields {
        let path = Path::Member(&path, name);
        let mut values = members.iter().filter(|(known, _)| known == name).map(|(_, value)| *value);
        match values.next().filter(|value| *value != "null") {
            Some(value) => shape.check(value, path, faults),
            None if *is_mandatory => faults.push(Fault::nothing_at(&path.pointer(), shape.expected())),
            None => {}
        }
        faults.extend(
            values.map(|again| Fault::at(&path.pointer(), again, "each field once").code(FaultCode::Duplicate)),
        );
    }
}

fn integer(value: &str) -> Option<i64> {
    value.parse().ok()
}

fn is_counter(text: &str) -> bool {
    let Some((done, all)) = text.split_once('/') else { return false };
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u32>().ok())?;
    number(done).zip(number(all)).is_some_and(|(done, all)| done <= all)
}

/// Returns whether `text` is `YYYY-MM-DDTHH:MM`, then seconds, their fraction, and an offset. The last three are
/// optional, because the vendors' documents define no format. They often have Java's spelling of an offset, `+0000`.
fn is_date_time(text: &str) -> bool {
    let (Some(date), Some(rest)) = (text.get(..10), text.get(10..)) else { return false };
    let Some(time) = rest.strip_prefix(['T', 't', ' ']) else { return false };
    let offset_at = time.find(['Z', 'z', '+', '-']).unwrap_or(time.len());
    let (time, offset) = time.split_at(offset_at);
    let (clock, fraction) = time.split_once(['.', ',']).unwrap_or((time, "0"));
    let is_fraction = !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit());
    is_date(date) && is_clock(clock) && is_fraction && is_offset(offset)
}

fn is_date(text: &str) -> bool {
    let year = text.get(..4).and_then(|digits| digits.parse().ok());
    let month = u8::try_from(two(text, 5)).ok().and_then(|month| Month::try_from(month).ok());
    let day = u8::try_from(two(text, 8)).ok();
    let date = year.zip(month).zip(day).map(|((year, month), day)| Date::from_calendar_date(year, month, day));
    matches_digits(text, "####-##-##") && date.is_some_and(|date| date.is_ok())
}

/// Returns whether the time is valid. The last second of a day may be a leap second.
fn is_clock(text: &str) -> bool {
    let is_spelled = matches_digits(text, "##:##") || (matches_digits(text, "##:##:##") && two(text, 6) <= 60);
    is_spelled && two(text, 0) <= 23 && two(text, 3) <= 59
}

fn is_offset(text: &str) -> bool {
    let Some(digits) = text.strip_prefix(['+', '-']) else { return matches!(text, "" | "Z" | "z") };
    let is_spelled = ["##", "####", "##:##"].into_iter().any(|pattern| matches_digits(digits, pattern));
    let minutes = if digits.len() == 2 { 0 } else { two(digits, digits.len().saturating_sub(2)) };
    is_spelled && two(digits, 0) <= 23 && minutes <= 59
}

/// Returns whether `text` is `pattern`, with a digit for each `#`.
fn matches_digits(text: &str, pattern: &str) -> bool {
    text.len() == pattern.len()
        && text.bytes().zip(pattern.bytes()).all(|(byte, expected)| match expected {
            b'#' => byte.is_ascii_digit(),
            expected => byte == expected,
        })
}

/// Returns the two digits at `at`, or a number that is out of every range if there are none.
fn two(text: &str, at: usize) -> u32 {
    text.get(at..at + 2).and_then(|digits| digits.parse().ok()).unwrap_or(u32::MAX)
}

/// An account that a session of the account-information session service has found.
static ACCOUNT: Shape = Shape::Object(&[
    optional("accountNumber", Shape::Text),
    optional("accountType", Shape::Text),
    optional("accountRelation", Shape::List(&Shape::Any)),
    optional("manualAccountRelation", Shape::Text),
]);

/// Accounts of the account-information session service: the list, or the number found so far.
pub(super) const ACCOUNTS: Shape = Shape::Either(&[Shape::List(&ACCOUNT), Shape::Counter]);

/// Other ids of a bank or a user: a list of types and values, or an object of texts. The account-information session
/// service documents both.
const SECONDARY_IDENTIFIERS: Shape = Shape::Either(&[
    Shape::List(&Shape::Object(&[mandatory("type", Shape::TextOrInteger), mandatory("value", Shape::Text)])),
    Shape::TextMap,
]);

/// A bank of the account-information session service.
pub(super) const BANK: Shape =
    Shape::Object(&[optional("id", Shape::TextOrInteger), optional("secondaryIdentifiers", SECONDARY_IDENTIFIERS)]);

/// A user of the account-information session service.
pub(super) const USER: Shape =
    Shape::Object(&[optional("externalId", Shape::Text), optional("secondaryIdentifiers", SECONDARY_IDENTIFIERS)]);

#[cfg(test)]
mod tests {
    use super::*;

    fn pointers(shape: &Shape, value: &str) -> Vec<String> {
        assert!(serde_json::from_str::<&serde_json::value::RawValue>(value).is_ok(), "{value}");
        let mut faults = Faults::default();
        shape.check(value, Path::Root("/f"), &mut faults);
        faults.listed().iter().map(|fault| fault.pointer.clone()).collect()
    }

    #[test]
    fn each_shape_takes_its_own_and_refuses_the_rest() {
        let cases: [(&Shape, &[&str], &[&str]); 13] = [
            (&Shape::Any, &["null", "[1]", "\"\""], &[]),
            (&Shape::Constant("A"), &["\"A\"", r#""\u0041""#], &["\"a\"", "\"\"", "1"]),
            (&Shape::Count, &["0", "100"], &["-1", "1.0", "\"1\"", "true", "99999999999999999999"]),
            (&Shape::Counter, &["\"2/3\"", "\"0/0\""], &["\"4/3\"", "\"2\"", "\"/\"", "\"+1/2\"", "2", "\"a/b\""]),
            (
                &Shape::DateTime,
                &[
                    "\"2019-02-26T00:00:00.000Z\"",
                    "\"2022-05-13T06:29:00+0000\"",
                    "\"2022-05-13T06:29:00+02:00\"",
                    "\"2022-05-13T06:29\"",
                    "\"2022-05-13T23:59:60,5+02\"",
                ],
                &[
                    "\"yesterday\"",
                    "\"2022-05-13\"",
                    "\"2022-02-31T00:00:00Z\"",
                    "\"2022-05-13T24:00:00Z\"",
                    "\"2022-05-13T06:29:00+99:99\"",
                    "\"2022-05-13T06:29:00.\"",
                    "1",
                    "\"ü2022\"",
                ],
            ),
            (&Shape::Flag, &["true", "false", "\"true\""], &["1", "[]", "{}"]),
            (&Shape::Integer(1, 16), &["1", "14", "16"], &["0", "17", "\"14\"", "1.5"]),
            (&Shape::Id, &["\"x\""], &["\"\"", "1", "{}"]),
            (&Shape::List(&Shape::Text), &["[]", "[\"a\"]"], &["{}", "\"a\""]),
            (&Shape::OneOf(&["A", "B"]), &["\"A\"", "\"B\""], &["\"C\"", "\"a\"", "0"]),
            (&Shape::Text, &["\"\"", "\"a\""], &["1", "false"]),
            (&Shape::TextMap, &["{}", r#"{"a":"b","c":null}"#], &["1", "[]"]),
            (&Shape::TextOrInteger, &["75", "\"75\"", "-9223372036854775808"], &["7.5", "true", "9223372036854775808"]),
        ];
        for (shape, good, bad) in cases {
            for value in good {
                assert!(pointers(shape, value).is_empty(), "{shape:?} takes {value}");
            }
            for value in bad {
                assert_eq!(pointers(shape, value), ["/f"], "{shape:?} refuses {value}");
            }
        }
    }

    #[test]
    fn faults_inside_a_value_point_to_their_place() {
        let cases: [(&Shape, &str, &[&str]); 9] = [
            (&Shape::List(&Shape::Text), r#"["a",1,"b",2]"#, &["/f/1", "/f/3"]),
            (&Shape::TextMap, r#"{"a":"b","c/d":1}"#, &["/f/c~1d"]),
            (&ACCOUNTS, r#"[{"accountNumber":"BE2345"},{"accountNumber":7}]"#, &["/f/1/accountNumber"]),
            (&ACCOUNTS, r#""2/3""#, &[]),
            (&ACCOUNTS, r#""3/2""#, &["/f"]),
            (&ACCOUNTS, "7", &["/f"]),
            (&BANK, r#"{"id":75,"secondaryIdentifiers":{"swiftBicCode":"BPKOPLPW"}}"#, &[]),
            (&BANK, r#"{"id":"b","secondaryIdentifiers":[{"type":"1","value":"SWIFT"}]}"#, &[]),
            (&BANK, r#"{"secondaryIdentifiers":[{"type":"1"}]}"#, &["/f/secondaryIdentifiers/0/value"]),
        ];
        for (shape, value, expected) in cases {
            assert_eq!(pointers(shape, value), expected, "{value}");
        }
    }
}
