//! Compares an event with a pattern.

use super::document::Node;
use super::pattern::{Condition, Field, Pattern, Test, TextTest, describe, spelled};
use super::{MAX_STEPS, Mismatch, Verdict};
use crate::input::fault::{pointer_to, quote};
use crate::input::number;

/// How many bytes of a long text or number cost one more step.
const BYTES_PER_STEP: usize = 64;

/// The comparison took too many steps.
#[derive(Debug)]
struct TooCostly;

type Answer = Result<bool, TooCostly>;

/// Compares the event whose tree is `root` with `pattern`.
pub(super) fn judge(pattern: &Pattern, root: &Node<'_>) -> Verdict {
    let mut matching = Matching { root, path: Vec::new(), absences: Vec::new(), steps: MAX_STEPS };
    match matching.object(pattern, Some(root)) {
        Ok(true) => Verdict::Matches,
        Ok(false) => Verdict::Differs,
        Err(TooCostly) => Verdict::TooCostly,
    }
}

/// One comparison.
struct Matching<'m, 'a> {
    root: &'m Node<'a>,
    /// The names of the fields from the root to the object that is compared.
    path: Vec<&'m str>,
    /// The fields whose absence is known, by their addresses in the pattern.
    absences: Vec<(*const Field, bool)>,
    /// How many steps may follow.
    steps: usize,
}

impl<'m> Matching<'m, '_> {
    fn step(&mut self, count: usize) -> Result<(), TooCostly> {
        self.steps = self.steps.checked_sub(count).ok_or(TooCostly)?;
        Ok(())
    }

    /// Compares an object. Of a list, one item must have all the fields: two fields of different items are no match.
    fn object(&mut self, pattern: &'m Pattern, value: Option<&Node<'_>>) -> Answer {
        if let Some(Node::List(items)) = value
            && !items.is_empty()
        {
            for item in items {
                if self.object(pattern, Some(item))? {
                    return Ok(true);
                }
            }
            return Ok(false);
        }
        self.step(1)?;
        for field in &pattern.fields {
            if !self.field(field, value.and_then(|value| value.member(&field.name)))? {
                return Ok(false);
            }
        }
        for alternative in &pattern.any_of {
            if self.object(alternative, value)? {
                return Ok(true);
            }
        }
        Ok(pattern.any_of.is_empty())
    }

    fn field(&mut self, field: &'m Field, value: Option<&Node<'_>>) -> Answer {
        self.path.push(&field.name);
        let answer = match &field.test {
            Test::Object(pattern) => self.object(pattern, value),
            Test::Value(conditions) => self.value(field, conditions, value),
        };
        self.path.pop();
        answer
    }

    fn value(&mut self, field: &'m Field, conditions: &[Condition], value: Option<&Node<'_>>) -> Answer {
        self.step(1)?;
        if conditions.contains(&Condition::Exists(false)) && self.is_absent(field)? {
            return Ok(true);
        }
        match value {
            Some(value) => self.any_leaf(value, conditions),
            None => Ok(false),
        }
    }

    /// Returns whether a condition holds for the value or, if it is a list, for one of its items. Objects are no values.
    fn any_leaf(&mut self, value: &Node<'_>, conditions: &[Condition]) -> Answer {
        match value {
            Node::List(items) => {
                self.step(1)?;
                for item in items {
                    if self.any_leaf(item, conditions)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Node::Object(_) => self.step(1).map(|()| false),
            leaf @ (Node::Flag(_) | Node::Null | Node::Number(_) | Node::Text(_) | Node::Unreadable) => {
                for condition in conditions {
                    self.step(cost(condition, leaf))?;
                    if holds(condition, leaf) {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }

    /// Returns whether the whole event has no value for a field. The place of an item in a list does not matter.
    fn is_absent(&mut self, field: &'m Field) -> Answer {
        let known = self.absences.iter().find(|(known, _)| std::ptr::eq(*known, field));
        if let Some((_, is_absent)) = known {
            return Ok(*is_absent);
        }
        let path = self.path.clone();
        let is_absent = !self.has_leaf(self.root, &path)?;
        self.absences.push((field, is_absent));
        Ok(is_absent)
    }

    fn has_leaf(&mut self, value: &Node<'_>, path: &[&str]) -> Answer {
        self.step(1)?;
        match (value, path) {
            (Node::List(items), _) => {
                for item in items {
                    if self.has_leaf(item, path)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            (Node::Object(_), [name, rest @ ..]) => match value.member(name) {
                Some(value) => self.has_leaf(value, rest),
                None => Ok(false),
            },
            (Node::Object(_), []) => Ok(false),
            (Node::Flag(_) | Node::Null | Node::Number(_) | Node::Text(_) | Node::Unreadable, path) => {
                Ok(path.is_empty())
            }
        }
    }
}

/// Returns how many steps a condition costs for a value.
fn cost(condition: &Condition, value: &Node<'_>) -> usize {
    let read = match (condition, value) {
        (Condition::AnythingBut(inner), _) => return inner.iter().map(|one| cost(one, value)).sum(),
        (Condition::Text(TextTest::Wildcard(_)), Node::Text(text)) => text.len(),
        (Condition::Number(_) | Condition::Range(_), Node::Number(number)) => number.len(),
        _ => 0, // They stop where the shorter text ends.
    };
    1 + read / BYTES_PER_STEP
}

/// Returns whether a condition holds for a value that is there.
pub(crate) fn holds(condition: &Condition, value: &Node<'_>) -> bool {
    match (condition, value) {
        (Condition::AnythingBut(inner), _) => !inner.iter().any(|one| holds(one, value)),
        (Condition::Exists(exists), _) => *exists,
        (Condition::Cidr(network), Node::Text(text)) => network.has(text),
        (Condition::Flag(flag), Node::Flag(value)) => flag == value,
        (Condition::Null, Node::Null) => true,
        (Condition::Number(number), Node::Number(value)) => number::compare(number, value).is_eq(),
        (Condition::Range(range), Node::Number(value)) => range.has(value),
        (Condition::Text(wanted), Node::Text(text)) => wanted.holds(text),
        (
            Condition::Cidr(_)
            | Condition::Flag(_)
            | Condition::Null
            | Condition::Number(_)
            | Condition::Range(_)
            | Condition::Text(_),
            _,
        ) => false,
    }
}

/// Returns where an event that does not match differs from a pattern.
pub(super) fn differences(pattern: &Pattern, root: &Node<'_>) -> Vec<Mismatch> {
    let matching = Matching { root, path: Vec::new(), absences: Vec::new(), steps: MAX_STEPS };
    let mut search = Search { matching, found: Vec::new() };
    // It stops where it would take too long. What it has found by then is true.
    let _ = search.object(pattern, Some(root), Place::default());
    search.found
}

struct Search<'m, 'a> {
    matching: Matching<'m, 'a>,
    found: Vec<Mismatch>,
}

/// The places of a value in the event, and of its conditions in the filter, as JSON Pointers.
#[derive(Clone, Debug, Default)]
struct Place {
    event: String,
    filter: String,
}

impl Place {
    fn of(&self, name: &str) -> Self {
        let pointer = pointer_to(name);
        Self { event: format!("{}{pointer}", self.event), filter: format!("{}{pointer}", self.filter) }
    }
}

impl<'m> Search<'m, '_> {
    fn object(&mut self, pattern: &'m Pattern, value: Option<&Node<'_>>, place: Place) -> Result<(), TooCostly> {
        if let Some(Node::List(items)) = value
            && let [first, rest @ ..] = &**items
        {
            if rest.is_empty() {
                return self.object(pattern, Some(first), Place { event: format!("{}/0", place.event), ..place });
            }
            let expected = "one item that fits all conditions".to_owned();
            let found = format!("a list of {} items of which none fits", items.len());
            self.found.push(Mismatch { pointer: place.event, filter_pointer: place.filter, expected, found });
            return Ok(());
        }
        for field in &pattern.fields {
            let value = value.and_then(|value| value.member(&field.name));
            if self.matching.field(field, value)? {
                continue;
            }
            let place = place.of(&field.name);
            match &field.test {
                Test::Object(pattern) => {
                    self.matching.path.push(&field.name);
                    let searched = self.object(pattern, value, place);
                    self.matching.path.pop();
                    searched?;
                }
                Test::Value(conditions) => self.found.push(Mismatch {
                    pointer: place.event,
                    filter_pointer: place.filter,
                    expected: describe(conditions),
                    found: shown(value),
                }),
            }
        }
        let mut holds = pattern.any_of.is_empty();
        for alternative in &pattern.any_of {
            holds = holds || self.matching.object(alternative, value)?;
        }
        for (index, alternative) in pattern.any_of.iter().enumerate().filter(|_| !holds) {
            let filter = format!("{}/$or/{index}", place.filter);
            self.object(alternative, value, Place { filter, event: place.event.clone() })?;
        }
        Ok(())
    }
}

/// Returns a value in few words.
fn shown(value: Option<&Node<'_>>) -> String {
    match value {
        None => "nothing".into(),
        Some(Node::Flag(flag)) => flag.to_string(),
        Some(Node::List(items)) => match &**items {
            [] => "an empty list".into(),
            [only] => format!("a list with {}", shown(Some(only))),
            items => format!("a list of {} items of which none fits", items.len()),
        },
        Some(Node::Null) => "null".into(),
        Some(Node::Number(number)) => quote(number),
        Some(Node::Object(_)) => "an object".into(),
        Some(Node::Text(text)) => spelled(&quote(text)),
        Some(Node::Unreadable) => "a text that is not valid Unicode".into(),
    }
}
