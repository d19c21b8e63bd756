//! JSON as a schema sees it: a tree, with numbers as they are spelled.

use std::borrow::Cow;
use std::cmp::Ordering;

use crate::event::family::Path;
use crate::input::fault::{Fault, FaultCode, QUOTED_CHARACTERS};
use crate::input::json::text_in;
use crate::input::number;
use crate::input::scanner::Scanner;

/// A JSON value.
#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    /// `true` or `false`.
    Flag(bool),
    /// A list.
    List(Vec<Self>),
    /// `null`.
    Null,
    /// A number, as it is spelled.
    Number(Cow<'a, str>),
    /// An object. Its members are sorted by name, and no name is there twice.
    Object(Vec<(Cow<'a, str>, Self)>),
    /// A text.
    Text(Cow<'a, str>),
}

impl<'a> Value<'a> {
    /// Reads a value, which is valid JSON.
    ///
    /// # Errors
    /// The value has more levels than `levels`, a member twice, or a text that is not valid Unicode.
    pub(super) fn read(json: &'a str, levels: usize, at: Path<'_>) -> Result<Self, Fault> {
        let mut reader = Reader { most_levels: levels, fault: None };
        let read = reader.value(&mut Scanner::new(json), levels, at);
        read.ok_or_else(|| reader.fault.unwrap_or_else(|| Fault::at(&at.pointer(), json, "JSON")))
    }

    /// Returns the member `name` of an object.
    pub(super) fn member(&self, name: &str) -> Option<&Self> {
        let Self::Object(members) = self else { return None };
        find(members, name).map(|at| &members[at].1)
    }

    /// Returns how many steps it costs to compare the value with another.
    pub(super) fn weight(&self) -> u64 {
        match self {
            Self::Flag(_) | Self::Null => 1,
            Self::List(items) => 1 + items.iter().map(Self::weight).sum::<u64>(),
            Self::Number(text) | Self::Text(text) => text_weight(text),
            Self::Object(members) => {
                1 + members.iter().map(|(name, value)| text_weight(name) + value.weight()).sum::<u64>()
            }
        }
    }

    /// Compares two values: an order in which values are equal if JSON Schema says so. Numbers compare by value.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Flag(one), Self::Flag(other)) => one.cmp(other),
            (Self::List(one), Self::List(other)) => order_of(one, other, Self::order),
            (Self::Number(one), Self::Number(other)) => number::compare(one, other),
            (Self::Object(one), Self::Object(other)) => order_of(one, other, |(name, value), (other_name, other)| {
                name.cmp(other_name).then_with(|| value.order(other))
            }),
            (Self::Text(one), Self::Text(other)) => one.cmp(other),
            _ => self.rank().cmp(&other.rank()),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Flag(_) => 1,
            Self::Number(_) => 2,
            Self::Text(_) => 3,
            Self::List(_) => 4,
            Self::Object(_) => 5,
        }
    }

    /// Spells the value for a fault, shortened.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Flag(flag) => flag.to_string(),
            Self::List(items) => format!("a list of {} items", items.len()),
            Self::Null => "null".into(),
            Self::Number(text) => text.to_string(),
            Self::Object(members) => format!("an object of {} members", members.len()),
            Self::Text(text) => {
                let start: String = text.chars().take(QUOTED_CHARACTERS).collect();
                serde_json::to_string(&start).unwrap_or_default() // Texts always serialize.
            }
        }
    }

    /// Copies the value out of its text.
    pub(super) fn into_owned(self) -> Value<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        match self {
            Self::Flag(flag) => Value::Flag(flag),
            Self::List(items) => Value::List(items.into_iter().map(Self::into_owned).collect()),
            Self::Null => Value::Null,
            Self::Number(text) => Value::Number(owned(text)),
            Self::Object(members) => {
                let owned = |(name, value): (Cow<'_, str>, Self)| (owned(name), value.into_owned());
                Value::Object(members.into_iter().map(owned).collect())
            }
            Self::Text(text) => Value::Text(owned(text)),
        }
    }
}

/// Returns the place of the member `name` among members that are sorted by name.
pub(super) fn find<T>(members: &[(Cow<'_, str>, T)], name: &str) -> Option<usize> {
    members.binary_search_by(|(known, _)| (**known).cmp(name)).ok()
}

/// Returns how many steps it costs to read a text.
pub(super) fn text_weight(text: &str) -> u64 {
    1 + text.len() as u64 / 16
}

fn order_of<T>(one: &[T], other: &[T], order: impl Fn(&T, &T) -> Ordering) -> Ordering {
    let differing = one.iter().zip(other).map(|(one, other)| order(one, other)).find(|order| order.is_ne());
    differing.unwrap_or_else(|| one.len().cmp(&other.len()))
}

struct Reader {
    most_levels: usize,
    fault: Option<Fault>,
}

impl Reader {
    fn refuse<T>(&mut self, at: Path<'_>, code: FaultCode, found: &str, expected: impl Into<String>) -> Option<T> {
        let fault = Fault::whole(found, expected).code(code).under(at.pointer());
        self.fault.get_or_insert(fault);
        None
    }

    fn value<'a>(&mut self, scanner: &mut Scanner<'a>, levels: usize, at: Path<'_>) -> Option<Value<'a>> {
        match scanner.peek()? {
            b'{' | b'[' if levels == 0 => {
                let expected = format!("values in each other, {} levels at most", self.most_levels);
                self.refuse(at, FaultCode::OutOfRange, "one level more", expected)
            }
            b'{' => {
                let mut members = Vec::new();
                scanner.object(|scanner, name| {
                    let Some(name) = name.text() else {
                        return self.refuse(at, FaultCode::Malformed, "a name with half a character", UNICODE);
                    };
                    let value = self.value(scanner, levels - 1, Path::Member(&at, &name))?;
                    members.push((name, value));
                    Some(())
                })?;
                members.sort_by(|(one, _), (other, _)| one.cmp(other));
                if let Some([(name, _), _]) = members.array_windows().find(|[(one, _), (other, _)]| one == other) {
                    let at = Path::Member(&at, name);
                    return self.refuse(at, FaultCode::Duplicate, "a second value", "each member once");
                }
                Some(Value::Object(members))
            }
            b'[' => {
                let mut items = Vec::new();
                scanner.list(|scanner| {
                    items.push(self.value(scanner, levels - 1, Path::Item(&at, items.len()))?);
                    Some(())
                })?;
                Some(Value::List(items))
            }
            b'"' => match text_in(scanner.spelled()?) {
                Some(text) => Some(Value::Text(text)),
                None => self.refuse(at, FaultCode::Malformed, "a text with half a character", UNICODE),
            },
            b'-' | b'0'..=b'9' => scanner.spelled().map(|text| Value::Number(Cow::Borrowed(text))),
            b'n' => scanner.spelled().map(|_| Value::Null),
            first => scanner.spelled().map(|_| Value::Flag(first == b't')),
        }
    }
}

const UNICODE: &str = "valid Unicode; `\\ud800` to `\\udfff` must come in pairs";
