//! JSON Schema 2020-12: what a tenant promises about the payloads of a type of its own.
//!
//! The cost of a schema and of a payload is bounded, also if their authors mean harm:
//!
//! - A schema has at most [`MAX_SCHEMA_BYTES`], [`MAX_LEVELS`], [`MAX_REFERENCES`] and [`MAX_PATTERNS`]. Its references stay
//!   inside it. Once each is followed, at most [`MAX_EXPANSION`] subschemas apply to one value.
//! - Regular expressions are searched in linear time. The engine has no look-around and no references to groups.
//! - The check of a payload ends after [`MAX_STEPS`] steps. Then the payload counts as invalid.
//!
//! Numbers compare by value, digit by digit, without rounding. `format` is an annotation, as the specification says.

mod check;
mod pattern;
mod read;
mod value;

use crate::event::family::Path;
use crate::input::fault::{Fault, FaultCode, Faults};
use crate::input::json;
use crate::input::number::Divisor;
use check::Checker;
use pattern::Pattern;
use value::Value;

/// How many bytes a schema may have, without whitespace.
pub const MAX_SCHEMA_BYTES: usize = 32 * 1024;
/// How deep objects and lists may be in each other, in schemas and in payloads of types with a schema.
pub const MAX_LEVELS: usize = 64;
/// How many references a schema may have.
pub const MAX_REFERENCES: usize = 100;
/// How many regular expressions a schema may have.
pub const MAX_PATTERNS: usize = 50;
/// How many subschemas may apply to one value, once each reference is followed.
pub const MAX_EXPANSION: u64 = 1_000;
/// How many steps the check of a payload may take. A step applies a subschema or a keyword to a value, or reads 16 bytes.
pub const MAX_STEPS: u64 = 1_000_000;

/// A schema, ready to check payloads.
#[derive(Debug)]
pub struct Schema {
    subschemas: Vec<Subschema>,
}

/// The place of a subschema among those of its schema.
type Id = usize;

#[derive(Debug, Default)]
struct Subschema {
    checks: Vec<Check>,
    /// Whether it must know which fields and items others have seen.
    needs_marks: bool,
}

/// A keyword, or several that work together.
#[derive(Debug)]
enum Check {
    All(Vec<Id>),
    Any(Vec<Id>),
    AtLeast(Box<str>),
    AtMost(Box<str>),
    Contains(Contained),
    Dependent { field: Box<str>, required: Box<[Box<str>]> },
    DependentSchema { field: Box<str>, schema: Id },
    Fields(Fields),
    If { cond: Id, then: Option<Id>, otherwise: Option<Id> },
    Items { prefix: Vec<Id>, rest: Option<Id> },
    LessThan(Box<str>),
    MaxFields(u64),
    MaxItems(u64),
    MaxLength(u64),
    MinFields(u64),
    MinItems(u64),
    MinLength(u64),
    MoreThan(Box<str>),
    MultipleOf(Divisor, String),
    Names(Id),
    Not(Id),
    Nothing,
    One(Vec<Id>),
    OneOf { values: Vec<Value<'static>>, weight: u64 },
    Pattern(Pattern),
    Required(Box<[Box<str>]>),
    Type(Types),
    UnevaluatedFields(Id),
    UnevaluatedItems(Id),
    UniqueItems,
}

#[derive(Debug)]
struct Contained {
    schema: Id,
    least: u64,
    most: Option<u64>,
}

/// `properties`, `patternProperties` and `additionalProperties`.
#[derive(Debug, Default)]
struct Fields {
    /// Sorted by name.
    named: Vec<(Box<str>, Id)>,
    patterns: Vec<(Pattern, Id)>,
    rest: Option<Id>,
}

/// A set of JSON types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Types(u8);

/// The types, in the order of their bits, with their names for people.
const TYPES: [(&str, &str); 7] = [
    ("array", "a list"),
    ("boolean", "`true` or `false`"),
    ("null", "`null`"),
    ("number", "a number"),
    ("object", "an object"),
    ("string", "a text"),
    ("integer", "a whole number"),
];

impl Types {
    fn named(value: &Value<'_>) -> Option<Self> {
        let Value::Text(name) = value else { return None };
        TYPES.iter().position(|(known, _)| known == name).map(|bit| Self(1 << bit))
    }

    fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn has(self, name: &str) -> bool {
        TYPES.iter().position(|(known, _)| *known == name).is_some_and(|bit| self.0 & (1 << bit) != 0)
    }

    fn expected(self) -> String {
        let names = TYPES.iter().filter(|(name, _)| self.has(name)).map(|(_, shown)| *shown);
        names.collect::<Vec<_>>().join(" or ")
    }
}

impl Check {
    fn one_of(values: Vec<Value<'static>>) -> Self {
        Self::OneOf { weight: values.iter().map(Value::weight).sum(), values }
    }

    /// Returns the subschemas that apply to the same value.
    fn in_place(&self) -> Vec<Id> {
        match self {
            Self::All(ids) | Self::Any(ids) | Self::One(ids) => ids.clone(),
            Self::Not(id) | Self::DependentSchema { schema: id, .. } => vec![*id],
            Self::If { cond, then, otherwise } => [Some(*cond), *then, *otherwise].into_iter().flatten().collect(),
            Self::AtLeast(_)
            | Self::AtMost(_)
            | Self::Contains(_)
            | Self::Dependent { .. }
            | Self::Fields(_)
            | Self::Items { .. }
            | Self::LessThan(_)
            | Self::MaxFields(_)
            | Self::MaxItems(_)
            | Self::MaxLength(_)
            | Self::MinFields(_)
            | Self::MinItems(_)
            | Self::MinLength(_)
            | Self::MoreThan(_)
            | Self::MultipleOf(..)
            | Self::Names(_)
            | Self::Nothing
            | Self::OneOf { .. }
            | Self::Pattern(_)
            | Self::Required(_)
            | Self::Type(_)
            | Self::UnevaluatedFields(_)
            | Self::UnevaluatedItems(_)
            | Self::UniqueItems => Vec::new(),
        }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Self::Pattern(pattern) => pattern.heap_bytes(),
            Self::Fields(fields) => fields.patterns.iter().map(|(pattern, _)| pattern.heap_bytes()).sum(),
            _ => 0,
        }
    }
}

impl Schema {
    /// Reads a schema. The pointers of its faults begin with `at`, such as `/schema`.
    ///
    /// # Errors
    /// All faults, or one if the text is not JSON.
    pub fn parse(text: &str, at: &'static str) -> Result<Self, Vec<Fault>> {
        json::parse(text, "a JSON Schema")?;
        let minified = json::minify(text);
        if minified.len() > MAX_SCHEMA_BYTES {
            let expected = format!("at most {MAX_SCHEMA_BYTES} bytes without whitespace");
            let fault = Fault::whole(format!("a schema of {} bytes", minified.len()), expected);
            return Err(vec![fault.code(FaultCode::OutOfRange).under(at)]);
        }
        let value = Value::read(&minified, MAX_LEVELS, Path::Root(at)).map_err(|fault| vec![fault])?;
        let mut faults = Faults::default();
        let schema = read::read(&value, Path::Root(at), &mut faults);
        faults.none().map(|()| schema)
    }

    /// Checks a payload, which is valid JSON. The pointers of faults begin with `at`, such as `/data`.
    ///
    /// # Errors
    /// All faults.
    pub fn check(&self, payload: &str, at: &'static str) -> Result<(), Vec<Fault>> {
        let at = Path::Root(at);
        let value = Value::read(payload, MAX_LEVELS, at).map_err(|fault| vec![fault])?;
        let mut faults = Faults::default();
        let mut checker = Checker::new(self);
        checker.apply(0, &value, at, Some(&mut faults), None);
        if checker.is_out() {
            let expected = format!("a payload that its schema can check in {MAX_STEPS} steps; send smaller events");
            return Err(vec![Fault::whole("more", expected).code(FaultCode::TooLarge).under(at.pointer())]);
        }
        faults.none()
    }

    /// Returns about how many bytes of memory it takes, at most.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let checks = self.subschemas.iter().flat_map(|one| &one.checks);
        let patterns: usize = checks.map(Check::heap_bytes).sum();
        self.subschemas.len() * size_of::<Subschema>()
            + 8 * MAX_SCHEMA_BYTES.min(self.subschemas.len() * 512)
            + patterns
    }
}

#[cfg(test)]
mod tests;
