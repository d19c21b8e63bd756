//! The values that fields may have, for filters that name them.

use super::Field;
use super::shape::Shape;
use crate::input::fault::Faults;

/// The values that a field may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Possible {
    /// Whether the field may be absent or `null`.
    pub(crate) is_optional: bool,
    shape: &'static Shape,
}

/// A form of the values that a field may have.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sample {
    /// Any value.
    Any,
    /// This value.
    Flag(bool),
    /// A whole number in this range.
    Integer(i64, i64),
    /// This text.
    One(&'static str),
    /// A text of this form.
    Text(TextForm),
}

/// A form of texts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TextForm(&'static Shape);

impl TextForm {
    /// Returns whether a text has this form.
    pub(crate) fn accepts(self, text: &str) -> bool {
        let json = serde_json::to_string(text).unwrap_or_default(); // Texts always serialize.
        let mut faults = Faults::default();
        self.0.check(&json, super::Path::Root(""), &mut faults);
        faults.listed().is_empty()
    }
}

impl Field {
    /// Returns the values that the field may have.
    pub(crate) fn possible(&'static self) -> Possible {
        Possible { is_optional: !self.is_mandatory, shape: &self.shape }
    }
}

impl Possible {
    /// Describes the values in words.
    pub(crate) fn expected(self) -> String {
        self.shape.expected()
    }

    /// Returns whether the field may be there without a value that conditions see.
    pub(crate) fn may_have_no_value(self) -> bool {
        match self.shape {
            Shape::Any | Shape::List(_) | Shape::Object(_) | Shape::TextMap => true,
            Shape::Either(shapes) => shapes.iter().any(|shape| Self { shape, ..self }.may_have_no_value()),
            Shape::Constant(_)
            | Shape::Count
            | Shape::Counter
            | Shape::DateTime
            | Shape::Flag
            | Shape::Id
            | Shape::Integer(..)
            | Shape::OneOf(_)
            | Shape::Text
            | Shape::TextOrInteger => false,
        }
    }

    /// Returns the forms of the values that conditions see.
    pub(crate) fn samples(self) -> Vec<Sample> {
        let shape = self.shape;
        match shape {
            Shape::Any => vec![Sample::Any],
            Shape::Constant(text) => vec![Sample::One(text)],
            Shape::Count => vec![Sample::Integer(0, i64::MAX)],
            Shape::Counter | Shape::DateTime | Shape::Id | Shape::Text => vec![Sample::Text(TextForm(shape))],
            Shape::Either(shapes) => shapes.iter().flat_map(|shape| Self { shape, ..self }.samples()).collect(),
            Shape::Flag => vec![Sample::Flag(true), Sample::Flag(false), Sample::Text(TextForm(shape))],
            Shape::Integer(least, most) => vec![Sample::Integer(*least, *most)],
            Shape::List(shape) => Self { shape, ..self }.samples(),
            Shape::Object(_) | Shape::TextMap => Vec::new(),
            Shape::OneOf(texts) => texts.iter().map(|text| Sample::One(text)).collect(),
            Shape::TextOrInteger => vec![Sample::Text(TextForm(shape)), Sample::Integer(i64::MIN, i64::MAX)],
        }
    }

    /// Returns the fields of each object that may be the value. None for an object with any fields.
    pub(crate) fn objects(self) -> Vec<Option<&'static [Field]>> {
        match self.shape {
            Shape::Any | Shape::TextMap => vec![None],
            Shape::Either(shapes) => shapes.iter().flat_map(|shape| Self { shape, ..self }.objects()).collect(),
            Shape::List(shape) => Self { shape, ..self }.objects(),
            Shape::Object(fields) => vec![Some(fields)],
            Shape::Constant(_)
            | Shape::Count
            | Shape::Counter
            | Shape::DateTime
            | Shape::Flag
            | Shape::Id
            | Shape::Integer(..)
            | Shape::OneOf(_)
            | Shape::Text
            | Shape::TextOrInteger => Vec::new(),
        }
    }
}
