//! Payload families: the `data` of known event types, as five vendors document it.
//!
//! A family checks and describes. It never encodes a payload again. Unknown fields are accepted, and so are events
//! whose type belongs to no family.

mod activation;
mod operation;
mod payment;
mod possible;
mod session;
mod shape;
mod token_request;
mod transaction;
mod workflow;

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::input::fault::Faults;
use crate::input::json::text_in;
use crate::input::scanner::{Spelled, members};
pub(crate) use possible::{Possible, Sample};
pub(crate) use shape::Path;
use shape::Shape;

/// Payloads of one kind.
#[derive(Debug)]
pub struct Family {
    /// The CloudEvents `type` of the family.
    pub kind: &'static str,
    /// The known fields. Other fields are accepted.
    pub fields: &'static [Field],
    /// The field that identifies the subject, such as the operation.
    pub subject: &'static str,
    /// The fields that distinguish two payloads about one subject. If two payloads agree in these, they report the
    /// same.
    pub distinct_by: &'static [&'static str],
    /// The allowed status values.
    pub statuses: Statuses,
    /// The allowed stages. Only sessions have stages.
    pub stages: &'static [&'static str],
    /// The source of the status.
    status: StatusOf,
    /// The rules that concern more than one field.
    rules: fn(&Payload<'_>, &mut Faults),
}

/// The status values of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statuses {
    /// Only these values.
    Closed(&'static [&'static str]),
    /// Any value, because the vendor announces new ones.
    Open,
}

/// The source of a status.
#[derive(Debug)]
enum StatusOf {
    /// The status follows from the fields that are present.
    Derived(fn(&Payload<'_>) -> &'static str),
    /// The status is in this field.
    Field(&'static str),
}

/// A field that a family knows.
#[derive(Debug)]
pub struct Field {
    /// The name.
    pub name: &'static str,
    /// Whether the field is required. Mandatory fields stay even if an endpoint chooses other fields.
    pub is_mandatory: bool,
    shape: Shape,
}

/// Returns a required field.
const fn mandatory(name: &'static str, shape: Shape) -> Field {
    Field { name, is_mandatory: true, shape }
}

/// Returns a field that may be absent or `null`.
const fn optional(name: &'static str, shape: Shape) -> Field {
    Field { name, is_mandatory: false, shape }
}

/// All families.
pub static FAMILIES: [&Family; 7] = [
    &activation::ACTIVATION,
    &operation::OPERATION,
    &payment::PAYMENT,
    &session::SESSION,
    &token_request::TOKEN_REQUEST,
    &transaction::TRANSACTION,
    &workflow::WORKFLOW,
];

/// Returns the family of a CloudEvents `type`. Most types have none.
#[must_use]
pub fn of_kind(kind: &str) -> Option<&'static Family> {
    FAMILIES.into_iter().find(|family| family.kind == kind)
}

impl Family {
    /// Checks a payload and adds its faults, with pointers into the event (`/data/…`).
    pub fn check(&self, payload: &Payload<'_>, faults: &mut Faults) {
        shape::check_fields(self.fields, &payload.members, Path::Root("/data"), faults);
        (self.rules)(payload, faults);
    }

    /// Returns the values that a field may have. None for a field that the family does not know.
    pub(crate) fn possible(&self, field: &str) -> Option<Possible> {
        self.fields.iter().find(|known| known.name == field).map(Field::possible)
    }

    /// Returns the field with the status. None if the status follows from other fields.
    pub(crate) fn status_field(&self) -> Option<&'static str> {
        match self.status {
            StatusOf::Derived(_) => None,
            StatusOf::Field(name) => Some(name),
        }
    }

    /// Returns the names of the fields that every payload of this family has.
    pub fn mandatory_fields(&self) -> impl Iterator<Item = &'static str> {
        self.fields.iter().filter(|field| field.is_mandatory).map(|field| field.name)
    }
}

/// Returns the status of a payload: from the source of its family, or else from a field `status`. None if there is no
/// status that is a text.
#[must_use]
pub fn status_of<'a>(kind: &str, payload: &Payload<'a>) -> Option<Cow<'a, str>> {
    match spelled_status(kind, payload)? {
        Status::Derived(status) => Some(Cow::Borrowed(status)),
        Status::Spelled(value) => text_in(value),
    }
}

/// A status that may not be a text.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Status<'a> {
    /// A status that is not in a field.
    Derived(&'static str),
    /// The value of a field, as it is spelled.
    Spelled(&'a str),
}

/// Returns the status of a payload like [`status_of`], but does not read it.
pub(crate) fn spelled_status<'a>(kind: &str, payload: &Payload<'a>) -> Option<Status<'a>> {
    match of_kind(kind).map(|family| &family.status) {
        Some(StatusOf::Derived(derive)) => Some(Status::Derived(derive(payload))),
        Some(StatusOf::Field(name)) => payload.field(name).map(Status::Spelled),
        None => payload.field("status").map(Status::Spelled),
    }
}

/// The members of a payload.
#[derive(Debug)]
pub struct Payload<'a> {
    members: Spelled<'a>,
}

impl<'a> From<Spelled<'a>> for Payload<'a> {
    fn from(members: Spelled<'a>) -> Self {
        Self { members }
    }
}

impl<'a> Payload<'a> {
    /// Reads the members of a JSON object. For any other JSON, there are no members.
    #[must_use]
    pub fn new(object: &'a str) -> Self {
        Self { members: members(object).unwrap_or_default() }
    }

    /// Returns the value of a field, as it is spelled. `null` counts as absent. If a name occurs twice, the last value
    /// counts, as for most receivers.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'a str> {
        let field = self.members.iter().rfind(|(known, _)| known == name);
        field.map(|(_, value)| *value).filter(|value| *value != "null")
    }

    /// Returns the value of a field like [`Self::field`], for an answer that contains it.
    #[must_use]
    pub fn raw(&self, name: &str) -> Option<&'a RawValue> {
        serde_json::from_str(self.field(name)?).ok()
    }

    /// Returns the text of a field, or none if the field is not a text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        text_in(self.field(name)?)
    }
}

/// The rules of families whose fields do not depend on each other.
fn no_rules(_: &Payload<'_>, _: &mut Faults) {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the faults of `data` under a family, as pointer and found value.
    pub(super) fn faults(kind: &str, data: &str) -> Vec<(String, String)> {
        let mut faults = Faults::default();
        of_kind(kind).unwrap().check(&Payload::new(data), &mut faults);
        faults.listed().iter().map(|fault| (fault.pointer.clone(), fault.found.clone())).collect()
    }

    /// Asserts that `value` in `field` of the valid payload `base` causes exactly one fault, at that field.
    pub(super) fn assert_refused(kind: &str, base: &str, field: &str, value: &str) {
        let mut payload: serde_json::Value = serde_json::from_str(base).unwrap();
        payload[field] = serde_json::from_str(value).unwrap();
        let pointers: Vec<_> = faults(kind, &payload.to_string()).into_iter().map(|(pointer, _)| pointer).collect();
        let [pointer] = pointers.as_slice() else { panic!("{kind} {field} {value}: {pointers:?}") };
        assert!(pointer.starts_with(&format!("/data/{field}")), "{kind} {field} {value}: {pointer}");
    }

    /// Asserts that a set of statuses is closed: each value is accepted, and another one is not.
    pub(super) fn assert_closed(kind: &str, base: &str, field: &str, values: &[&str]) {
        for value in values {
            let mut payload: serde_json::Value = serde_json::from_str(base).unwrap();
            payload[field] = (*value).into();
            assert_eq!(faults(kind, &payload.to_string()), [], "{value}");
            assert_eq!(status_of(kind, &Payload::new(&payload.to_string())).as_deref(), Some(*value));
            assert_refused(kind, base, field, &format!("\"{}\"", value.to_lowercase().replace('e', "3")));
        }
    }

    #[test]
    fn every_family_describes_itself_by_fields_it_knows() {
        for family in FAMILIES {
            let knows = |name: &str| family.fields.iter().any(|field| field.name == name);
            assert!(knows(family.subject), "{}", family.kind);
            assert!(family.distinct_by.iter().all(|name| knows(name)), "{}", family.kind);
            assert!(family.mandatory_fields().any(|name| name == family.subject), "{}", family.kind);
            assert_eq!(of_kind(family.kind).map(|found| found.kind), Some(family.kind));
        }
        assert!(of_kind("invoice").is_none());
    }

    #[test]
    fn a_missing_mandatory_field_is_a_fault_and_so_is_null() {
        for family in FAMILIES {
            for data in ["{}".to_owned(), format!("{{\"{}\":null}}", family.subject)] {
                let pointers: Vec<_> = faults(family.kind, &data).into_iter().collect();
                for name in family.mandatory_fields() {
                    let missing = (format!("/data/{name}"), "nothing".to_owned());
                    assert!(pointers.contains(&missing), "{} {name}: {pointers:?}", family.kind);
                }
            }
        }
    }

    #[test]
    fn a_known_field_twice_is_a_fault_and_unknown_ones_pass() {
        let twice = r#"{"id":"1","status":"approved","status":"expired","new":{"a":[1]}}"#;
        assert_eq!(faults("transaction", twice), [("/data/status".into(), r#""expired""#.into())]);
    }

    #[test]
    fn a_custom_type_has_the_status_of_its_status_field() {
        assert_eq!(status_of("invoice", &Payload::new(r#"{"status":"paid"}"#)).as_deref(), Some("paid"));
        assert_eq!(status_of("invoice", &Payload::new(r#"{"status":7}"#)), None);
        assert_eq!(status_of("invoice", &Payload::new("{}")), None);
    }
}
