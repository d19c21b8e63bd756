//! Finds filters that can never match, because the types that their endpoint names never have such values.

use super::pattern::{Case, Condition, Field, Pattern, Range, Test, TextTest, describe};
use crate::endpoint::TypeFilter;
use crate::endpoint::filter::document::Node;
use crate::endpoint::filter::matching::holds;
use crate::event::family::{self, Possible, Sample};
use crate::input::fault::{Fault, FaultCode, Faults, pointer_to};

/// Adds faults if no event of any of `types` can fit. Without types, each event may.
pub(super) fn check(pattern: &Pattern, types: &[TypeFilter], pointer: &str, faults: &mut Faults) {
    let mut all = Faults::default();
    for chosen in types {
        let mut search = Search { chosen, faults: Faults::default() };
        if search.event(pattern, pointer) {
            return;
        }
        all.absorb(search.faults);
    }
    faults.absorb(all);
}

/// The search for the events of one type.
struct Search<'t> {
    chosen: &'t TypeFilter,
    faults: Faults,
}

impl Search<'_> {
    fn event(&mut self, pattern: &Pattern, pointer: &str) -> bool {
        let unfit = pattern.fields.iter().filter(|field| !self.attribute(field, pointer)).count(); // Each adds its fault.
        self.any_of(pattern, pointer, Self::event) && unfit == 0
    }

    fn attribute(&mut self, field: &Field, pointer: &str) -> bool {
        let pointer = format!("{pointer}{}", pointer_to(&field.name));
        match (&*field.name, &field.test) {
            ("type", Test::Value(conditions)) => {
                let can = is_value(conditions, &self.chosen.kind);
                if !can {
                    self.refuse(&pointer, conditions, &format!("`{}`", self.chosen.kind));
                }
                can
            }
            ("data", Test::Object(data)) => self.data(data, &pointer),
            _ => true,
        }
    }

    fn any_of(&mut self, pattern: &Pattern, pointer: &str, can: fn(&mut Self, &Pattern, &str) -> bool) -> bool {
        let found = pattern.any_of.iter().enumerate().filter(|(index, alternative)| {
            let mut search = Search { chosen: self.chosen, faults: Faults::default() };
            let can = can(&mut search, alternative, &format!("{pointer}/$or/{index}"));
            if !can {
                self.faults.absorb(search.faults);
            }
            can
        });
        let found = found.count();
        pattern.any_of.is_empty() || found > 0
    }

    fn data(&mut self, data: &Pattern, pointer: &str) -> bool {
        let unfit = data.fields.iter().filter(|field| !self.field(field, pointer)).count(); // Each adds its fault.
        self.any_of(data, pointer, Self::data) && unfit == 0
    }

    fn field(&mut self, field: &Field, pointer: &str) -> bool {
        let pointer = format!("{pointer}{}", pointer_to(&field.name));
        if let (Test::Value(conditions), Some(values)) = (&field.test, self.narrowed(&field.name)) {
            let can = values.iter().any(|value| is_value(conditions, value));
            if !can {
                self.refuse(&pointer, conditions, &format!("one of {}", values.join(", ")));
            }
            return can;
        }
        let Some(possible) = family::of_kind(&self.chosen.kind).and_then(|family| family.possible(&field.name)) else {
            return true;
        };
        let can = can(&field.test, possible);
        if !can && let Test::Value(conditions) = &field.test {
            self.refuse(&pointer, conditions, &possible.expected());
        } else if !can {
            let fault = Fault::whole("conditions on fields that no value has", possible.expected());
            self.faults.push(fault.code(FaultCode::Conflict).under(&*pointer));
        }
        can
    }

    /// Returns the values of a field that `types` lists.
    fn narrowed(&self, field: &str) -> Option<&[String]> {
        let TypeFilter { kind, statuses, stages } = self.chosen;
        let family = family::of_kind(kind);
        let status = family.map_or(Some("status"), family::Family::status_field);
        let listed = [(status, statuses), (family.map(|_| "stage"), stages)];
        let found = listed.into_iter().find(|(name, values)| *name == Some(field) && !values.is_empty());
        found.map(|(_, values)| &**values)
    }

    fn refuse(&mut self, pointer: &str, conditions: &[Condition], values: &str) {
        let expected = format!("a condition that events of the type `{}` can fulfil: {values}", self.chosen.kind);
        let fault = Fault::whole(describe(conditions), expected).code(FaultCode::Conflict);
        self.faults.push(fault.under(pointer));
    }
}

/// Returns whether one of the conditions holds for this text.
fn is_value(conditions: &[Condition], text: &str) -> bool {
    conditions.iter().any(|condition| holds(condition, &Node::Text(text.into())))
}

/// Returns whether a value of this field can fit.
fn can(test: &Test, possible: Possible) -> bool {
    match test {
        Test::Value(conditions) => conditions.iter().any(|condition| match condition {
            Condition::Exists(false) => possible.is_optional || possible.may_have_no_value(),
            Condition::Null if possible.is_optional => true, // It counts as absent, and so is accepted.
            Condition::AnythingBut(_)
            | Condition::Cidr(_)
            | Condition::Exists(true)
            | Condition::Flag(_)
            | Condition::Null
            | Condition::Number(_)
            | Condition::Range(_)
            | Condition::Text(_) => possible.samples().into_iter().any(|sample| fits(condition, sample)),
        }),
        Test::Object(pattern) => {
            let is_fit =
                |fields: Option<&'static [family::Field]>| fields.is_none_or(|fields| fits_object(pattern, fields));
            without_value(pattern) || possible.objects().into_iter().any(is_fit)
        }
    }
}

/// Returns whether an object with these fields, and possibly others, can fit.
fn fits_object(pattern: &Pattern, fields: &'static [family::Field]) -> bool {
    let is_fit = |field: &Field| {
        let known = fields.iter().find(|known| *known.name == *field.name);
        known.is_none_or(|known| can(&field.test, known.possible()))
    };
    let any_of = || pattern.any_of.iter().any(|alternative| fits_object(alternative, fields));
    pattern.fields.iter().all(is_fit) && (pattern.any_of.is_empty() || any_of())
}

/// Returns whether a condition holds for some value of this form.
fn fits(condition: &Condition, sample: Sample) -> bool {
    match (condition, sample) {
        (_, Sample::Flag(flag)) => holds(condition, &Node::Flag(flag)),
        (_, Sample::One(text)) => holds(condition, &Node::Text(text.into())),
        (Condition::Number(number), Sample::Integer(least, most)) => {
            let range = Range::between(least, most);
            range.has(number)
        }
        (Condition::Range(range), Sample::Integer(least, most)) => range.meets(&Range::between(least, most)),
        (Condition::Text(TextTest::Is(text, Case::Same)), Sample::Text(shape)) => shape.accepts(text),
        (_, Sample::Any)
        | (Condition::AnythingBut(_) | Condition::Exists(true), Sample::Integer(..) | Sample::Text(_))
        | (Condition::Cidr(_) | Condition::Text(_), Sample::Text(_)) => true,
        (Condition::Cidr(_) | Condition::Text(_), Sample::Integer(..))
        | (Condition::Number(_) | Condition::Range(_), Sample::Text(_))
        | (Condition::Exists(false) | Condition::Flag(_) | Condition::Null, Sample::Integer(..) | Sample::Text(_)) => {
            false
        }
    }
}

/// Returns whether a pattern fits a value without fields.
fn without_value(pattern: &Pattern) -> bool {
    let fits = |field: &Field| match &field.test {
        Test::Value(conditions) => conditions.contains(&Condition::Exists(false)),
        Test::Object(pattern) => without_value(pattern),
    };
    pattern.fields.iter().all(fits) && (pattern.any_of.is_empty() || pattern.any_of.iter().any(without_value))
}
