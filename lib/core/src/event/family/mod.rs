//! Payload families: what the `data` of the known event types looks like, as five vendors document their callbacks.
//!
//! A family checks and describes; it never re-encodes. Fields that it does not know pass, and so do the events of types
//! that are no family's.

mod activation;
mod operation;
mod payment;
mod session;
mod shape;
mod token_request;
mod transaction;
mod workflow;

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::input::fault::Faults;
use crate::input::json::{Members, text_of};
use shape::Shape;

/// The callbacks of one kind.
#[derive(Debug)]
pub struct Family {
    /// The CloudEvents `type` that picks it.
    pub kind: &'static str,
    /// The fields it knows. Others pass.
    pub fields: &'static [Field],
    /// The field that names what the callback is about, such as the operation.
    pub subject: &'static str,
    /// The fields that tell one callback about a subject from the next: two deliveries that agree in these say the same.
    pub distinct_by: &'static [&'static str],
    /// The status values it may have.
    pub statuses: Statuses,
    /// The stages it may have; only sessions have any.
    pub stages: &'static [&'static str],
    /// Where the status is.
    status: StatusOf,
    /// Rules that concern more than one field.
    rules: fn(&Payload<'_>, &mut Faults),
}

/// The status values of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statuses {
    /// These and no others.
    Closed(&'static [&'static str]),
    /// Any: the vendor says that new ones will come.
    Open,
}

/// Where a status is read from.
#[derive(Debug)]
enum StatusOf {
    /// It follows from what fields there are.
    Derived(fn(&Payload<'_>) -> &'static str),
    /// It stands in this field.
    Field(&'static str),
}

/// A field that a family knows.
#[derive(Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Whether it must be there. Mandatory fields stay whatever fields an endpoint chooses.
    pub is_mandatory: bool,
    shape: Shape,
}

/// A field that must be there.
const fn mandatory(name: &'static str, shape: Shape) -> Field {
    Field { name, is_mandatory: true, shape }
}

/// A field that may be left out or `null`.
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

/// Gives the family of a CloudEvents `type`; most types have none.
#[must_use]
pub fn of_kind(kind: &str) -> Option<&'static Family> {
    FAMILIES.into_iter().find(|family| family.kind == kind)
}

impl Family {
    /// Checks a payload and adds its faults, with pointers into the event (`/data/…`).
    pub fn check(&self, payload: &Payload<'_>, faults: &mut Faults) {
        shape::check_fields(self.fields, &payload.members, "/data", faults);
        (self.rules)(payload, faults);
    }

    /// Gives the names of the fields that every payload of this family has.
    pub fn mandatory_fields(&self) -> impl Iterator<Item = &'static str> {
        self.fields.iter().filter(|field| field.is_mandatory).map(|field| field.name)
    }
}

/// The status of a payload: where its family says, or else in a field `status`. None if there is none that is text.
#[must_use]
pub fn status_of<'a>(kind: &str, payload: &Payload<'a>) -> Option<Cow<'a, str>> {
    match of_kind(kind).map(|family| &family.status) {
        Some(StatusOf::Derived(derive)) => Some(Cow::Borrowed(derive(payload))),
        Some(StatusOf::Field(name)) => payload.text(name),
        None => payload.text("status"),
    }
}

/// The members of a payload.
#[derive(Debug)]
pub struct Payload<'a> {
    members: Members<'a>,
}

impl<'a> Payload<'a> {
    /// Reads the members of a JSON object; none of anything else.
    #[must_use]
    pub fn new(object: &'a str) -> Self {
        Self { members: serde_json::from_str(object).unwrap_or_else(|_| Members(Vec::new())) }
    }

    /// Gives the value of a field. One that is `null` counts as absent; of two by one name the last counts, as it does for
    /// most of those who will read it.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'a RawValue> {
        let Members(members) = &self.members;
        members.iter().rfind(|(known, _)| known == name).map(|(_, value)| *value).filter(|value| value.get() != "null")
    }

    /// Gives the text of a field; none if it is no text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        text_of(self.field(name)?)
    }
}

/// For families whose fields do not depend on each other.
fn no_rules(_: &Payload<'_>, _: &mut Faults) {}

#[cfg(test)]
mod tests {
    use super::*;

    /// The faults of `data` under a family, as pointer and what was found.
    pub(super) fn faults(kind: &str, data: &str) -> Vec<(String, String)> {
        let mut faults = Faults::default();
        of_kind(kind).unwrap().check(&Payload::new(data), &mut faults);
        faults.listed().iter().map(|fault| (fault.pointer.clone(), fault.found.clone())).collect()
    }

    /// Asserts that putting `value` into `field` of the valid payload `base` gives exactly one fault, at that field.
    pub(super) fn assert_refused(kind: &str, base: &str, field: &str, value: &str) {
        let mut payload: serde_json::Value = serde_json::from_str(base).unwrap();
        payload[field] = serde_json::from_str(value).unwrap();
        let pointers: Vec<_> = faults(kind, &payload.to_string()).into_iter().map(|(pointer, _)| pointer).collect();
        let [pointer] = pointers.as_slice() else { panic!("{kind} {field} {value}: {pointers:?}") };
        assert!(pointer.starts_with(&format!("/data/{field}")), "{kind} {field} {value}: {pointer}");
    }

    /// Asserts that a status set is closed: each value passes, and another does not.
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
