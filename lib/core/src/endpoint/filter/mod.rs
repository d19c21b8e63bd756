//! Filters: which events an endpoint wants, by their content, in the language of EventBridge's event patterns.
//!
//! A filter is an object that names fields of an event: `type`, `source`, `subject`, and those in `data`. All named fields
//! must fit. A field has a list of conditions, of which one must hold. `$or` has a list of alternatives. If a value of the
//! event is a list, one of its items must fit. The language is that of the [EventBridge user guide][operators], with two
//! differences: numbers compare by value in each condition, so `300` and `3.0e2` are equal; and `$or` is never the name of
//! a field.
//!
//! A field is present if it has a value that is not an object: a text, a number, `true`, `false`, `null`, or a list with
//! one of these. `exists` and `anything-but` are about such values.
//!
//! [operators]: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html

mod document;
mod matching;
pub(crate) mod pattern;
mod possible;
mod read;
mod wildcard;

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::endpoint::TypeFilter;
use crate::input::fault::{Fault, FaultCode, Faults};
use crate::input::json::minify;
use crate::input::object::Found;
pub use document::Document;
use pattern::Pattern;

/// The maximum number of bytes of a filter without whitespace. EventBridge's limit for an event pattern.
pub const MAX_FILTER_BYTES: usize = 4_096;
/// The maximum number of conditions of a filter.
pub const MAX_CONDITIONS: usize = 100;
/// How many objects of a filter may be in each other, with the filter itself.
pub const MAX_LEVELS: usize = 10;
/// How many steps the comparison of one event with one filter may take. A step is one condition for one value, or 64 bytes
/// of it, and takes 20 ns on a whole CPU. `fanout` has a seventh of one with 256 MB, so ten events for a thousand endpoints
/// take at most 3 s of the 12 after which it sends no more.
pub const MAX_STEPS: usize = 2_000;

/// A filter without faults.
#[derive(Clone, PartialEq, Eq)]
pub struct Filter {
    /// As it is stored and shown: with sorted names, and numbers in their shortest form.
    json: Box<str>,
    pattern: Pattern,
}

/// The result of comparing an event with a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The event does not fit.
    Differs,
    /// The event fits.
    Matches,
    /// The comparison would take more than [`MAX_STEPS`].
    TooCostly,
}

/// A difference between an event and a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The JSON Pointer into the event.
    pub pointer: String,
    /// The JSON Pointer into the filter.
    pub filter_pointer: String,
    /// A description of the conditions.
    pub expected: String,
    /// The value of the event, shortened.
    pub found: String,
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// All faults, with pointers into the filter.
    pub fn parse(json: &str) -> Result<Self, Vec<Fault>> {
        let value = crate::input::json::parse(json, "a filter in JSON")?;
        let mut faults = Faults::default();
        let read = Self::read(&Found::whole(value), &mut faults);
        faults.none()?;
        read.ok_or_else(|| vec![Fault::whole("a value that cannot be read", "a filter in JSON")])
    }

    /// Reads a filter at its place in settings. None if it has a fault.
    pub(crate) fn read(found: &Found<'_>, faults: &mut Faults) -> Option<Self> {
        let pointer = &*found.pointer;
        check_size(minify(found.value.get()).len(), pointer, faults)?;
        let mut own = Faults::default();
        read::read(found, &mut own);
        let is_fine = own.listed().is_empty();
        faults.absorb(own);
        // Read again as it is stored, so that the same conditions are the same filter in each spelling.
        let value = found.kept().filter(|_| is_fine)?;
        let json = value.to_string();
        check_size(json.len(), pointer, faults)?; // A number may be spelled in more digits now.
        let stored: &RawValue = serde_json::from_str(&json).ok()?;
        let pattern = read::read(&Found::whole(stored), &mut Faults::default())?;
        Some(Self { json: json.into(), pattern })
    }

    /// Finds out that no event fits that has one of these types, if there are any.
    pub(crate) fn check_types(&self, types: &[TypeFilter], pointer: &str, faults: &mut Faults) {
        possible::check(&self.pattern, types, pointer, faults);
    }

    /// Compares an event with the filter.
    #[must_use]
    pub fn judge(&self, document: &Document<'_>) -> Verdict {
        matching::judge(&self.pattern, document.root())
    }

    /// Returns where an event that does not match differs.
    #[must_use]
    pub fn mismatches(&self, document: &Document<'_>) -> Vec<Mismatch> {
        matching::differences(&self.pattern, document.root())
    }

    /// Returns the filter as it is stored and shown.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.json
    }

    /// Returns the filter in little memory.
    pub(crate) fn into_matcher(self) -> Matcher {
        Matcher(self.json)
    }
}

fn check_size(bytes: usize, pointer: &str, faults: &mut Faults) -> Option<()> {
    if bytes <= MAX_FILTER_BYTES {
        return Some(());
    }
    let expected = format!("at most {MAX_FILTER_BYTES} bytes without whitespace");
    faults.push(Fault::whole(format!("{bytes} bytes"), expected).code(FaultCode::TooLarge).under(pointer));
    None
}

/// A filter in little memory: its text, which is read for each event. A short condition takes ten times its bytes once it
/// is read, and `fanout` remembers those of thousands of endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Matcher(Box<str>);

impl Matcher {
    /// Compares an event with the filter, like [`Filter::judge`].
    pub(crate) fn judge(&self, document: &Document<'_>) -> Verdict {
        let read = || read::read(&Found::whole(serde_json::from_str(&self.0).ok()?), &mut Faults::default());
        // It had no fault before. Should it have one, the endpoint misses nothing.
        read().map_or(Verdict::TooCostly, |pattern| matching::judge(&pattern, document.root()))
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Filter").field(&self.json).finish()
    }
}

impl Serialize for Filter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value: Value = serde_json::from_str(&self.json).map_err(serde::ser::Error::custom)?;
        value.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let json = RawValue::from_string(value.to_string()).map_err(D::Error::custom)?;
        let mut faults = Faults::default();
        let read = Self::read(&Found::whole(&json), &mut faults);
        let first = faults.listed().first();
        let first = first.map(|Fault { pointer, expected, .. }| format!("`{pointer}`: expected {expected}"));
        read.ok_or_else(|| D::Error::custom(first.unwrap_or_else(|| "expected a filter".into())))
    }
}

#[cfg(test)]
mod tests;
