//! Compares a payload with a schema.

use super::pattern::Pattern;
use super::value::{Value, find, text_weight};
use super::{Check, Contained, Fields, Id, MAX_STEPS, Schema, Subschema, Types};
use crate::event::family::Path;
use crate::input::fault::{Fault, FaultCode, Faults};
use crate::input::number::{self, is_whole};

/// One check of a payload.
pub(super) struct Checker<'s> {
    subschemas: &'s [Subschema],
    /// How many steps are left.
    steps: u64,
    is_out: bool,
}

/// The members or items of a value that a keyword has seen.
pub(super) struct Marks(Vec<bool>);

impl Marks {
    fn of(value: &Value<'_>) -> Self {
        Self(vec![false; count(value)])
    }

    fn merge(&mut self, other: &Self) {
        for (mark, other) in self.0.iter_mut().zip(&other.0) {
            *mark |= other;
        }
    }
}

fn count(value: &Value<'_>) -> usize {
    match value {
        Value::List(items) => items.len(),
        Value::Object(members) => members.len(),
        Value::Flag(_) | Value::Null | Value::Number(_) | Value::Text(_) => 0,
    }
}

/// Where faults go; none if only the verdict counts.
type Sink<'f> = Option<&'f mut Faults>;

impl<'s> Checker<'s> {
    pub(super) fn new(schema: &'s Schema) -> Self {
        Self { subschemas: &schema.subschemas, steps: MAX_STEPS, is_out: false }
    }

    /// Returns whether the steps were too few for a verdict.
    pub(super) fn is_out(&self) -> bool {
        self.is_out
    }

    /// Takes steps. Returns false if there are none left.
    fn spend(&mut self, steps: u64) -> bool {
        match self.steps.checked_sub(steps) {
            Some(left) => self.steps = left,
            None => self.is_out = true,
        }
        !self.is_out
    }

    /// Applies a subschema. Without a sink, it ends at the first fault. A verdict counts only if the steps are not out.
    pub(super) fn apply(
        &mut self,
        id: Id,
        value: &Value<'_>,
        at: Path<'_>,
        mut faults: Sink<'_>,
        marks: Option<&mut Marks>,
    ) -> bool {
        let subschema = &self.subschemas[id];
        let has_marks = subschema.needs_marks || marks.is_some();
        let cost = if has_marks { 1 + count(value) as u64 / 8 } else { 1 };
        if !self.spend(cost) {
            return false;
        }
        let mut own = has_marks.then(|| Marks::of(value));
        let mut is_valid = true;
        for check in &subschema.checks {
            if !self.spend(1) {
                return false;
            }
            if !self.check(check, value, at, faults.as_deref_mut(), own.as_mut()) {
                is_valid = false;
                if faults.is_none() || self.is_out {
                    return false;
                }
            }
        }
        if let (true, Some(marks), Some(own)) = (is_valid, marks, own) {
            marks.merge(&own);
        }
        is_valid
    }

    /// Applies a subschema without a list of faults.
    fn accepts(&mut self, id: Id, value: &Value<'_>, at: Path<'_>, marks: Option<&mut Marks>) -> bool {
        self.apply(id, value, at, None, marks)
    }

    fn check(
        &mut self,
        check: &'s Check,
        value: &Value<'_>,
        at: Path<'_>,
        faults: Sink<'_>,
        marks: Option<&mut Marks>,
    ) -> bool {
        match check {
            Check::All(ids) => self.all(ids, value, at, faults, marks),
            Check::Any(ids) => self.any(ids, value, at, faults, marks),
            Check::One(ids) => self.one(ids, value, at, faults, marks),
            Check::Not(id) => {
                let fits = !self.accepts(*id, value, at, None);
                fits || refuse(faults, value, at, FaultCode::Conflict, || {
                    "a value that does not fit the schema in `not`".into()
                })
            }
            Check::If { cond, then, otherwise } => {
                self.branch([Some(*cond), *then, *otherwise], value, at, faults, marks)
            }
            Check::Nothing => {
                let code = if let Path::Member(..) = at { FaultCode::UnknownMember } else { FaultCode::OutOfRange };
                refuse(faults, value, at, code, || "nothing here; the schema of the type does not allow it".into())
            }
            Check::Type(types) => {
                fits_type(*types, value) || refuse(faults, value, at, FaultCode::WrongType, || types.expected())
            }
            Check::OneOf { values, weight } => {
                let fits = self.spend(*weight) && values.iter().any(|one| one.order(value).is_eq());
                fits || refuse(faults, value, at, FaultCode::NotOneOf, || one_of(values))
            }
            Check::AtLeast(_) | Check::AtMost(_) | Check::LessThan(_) | Check::MoreThan(_) | Check::MultipleOf(..) => {
                let Value::Number(spelled) = value else { return true };
                self.spend(text_weight(spelled)) && number(check, spelled, value, at, faults)
            }
            Check::MaxLength(_) | Check::MinLength(_) | Check::Pattern(_) => {
                let Value::Text(text) = value else { return true };
                self.text(check, text, value, at, faults)
            }
            Check::Items { prefix, rest } => self.items(prefix, *rest, value, at, faults, marks),
            Check::Contains(contained) => self.contains(contained, value, at, faults, marks),
            Check::MaxItems(_) | Check::MinItems(_) | Check::UniqueItems => self.list(check, value, at, faults),
            Check::UnevaluatedItems(id) => self.unevaluated_items(*id, value, at, faults, marks),
            Check::Fields(fields) => self.fields(fields, value, at, faults, marks),
            Check::Names(id) => self.names(*id, value, at, faults),
            Check::MaxFields(_) | Check::MinFields(_) => object(check, value, at, faults),
            Check::Required(names) => self.required(names, value, at, faults),
            Check::Dependent { field, required } => {
                value.member(field).is_none() || self.required(required, value, at, faults)
            }
            Check::DependentSchema { field, schema } => {
                value.member(field).is_none() || self.apply(*schema, value, at, faults, marks)
            }
            Check::UnevaluatedFields(id) => self.unevaluated_fields(*id, value, at, faults, marks),
        }
    }

    fn all(
        &mut self,
        ids: &[Id],
        value: &Value<'_>,
        at: Path<'_>,
        mut faults: Sink<'_>,
        mut marks: Option<&mut Marks>,
    ) -> bool {
        let mut is_valid = true;
        for id in ids {
            is_valid &= self.apply(*id, value, at, faults.as_deref_mut(), marks.as_deref_mut());
            if !is_valid && (faults.is_none() || self.is_out) {
                return false;
            }
        }
        is_valid
    }

    fn any(
        &mut self,
        ids: &[Id],
        value: &Value<'_>,
        at: Path<'_>,
        faults: Sink<'_>,
        mut marks: Option<&mut Marks>,
    ) -> bool {
        let mut is_valid = false;
        for id in ids {
            is_valid |= self.accepts(*id, value, at, marks.as_deref_mut());
            if is_valid && marks.is_none() {
                return true;
            }
        }
        is_valid || self.refuse_alternatives("anyOf", ids, value, at, faults)
    }

    fn one(
        &mut self,
        ids: &[Id],
        value: &Value<'_>,
        at: Path<'_>,
        faults: Sink<'_>,
        mut marks: Option<&mut Marks>,
    ) -> bool {
        let mut fitting = 0;
        for id in ids {
            fitting += usize::from(self.accepts(*id, value, at, marks.as_deref_mut()));
        }
        match fitting {
            1 => true,
            0 => self.refuse_alternatives("oneOf", ids, value, at, faults),
            _ => refuse(faults, value, at, FaultCode::Conflict, || {
                format!("a value that fits one schema in `oneOf`; this fits {fitting} of them")
            }),
        }
    }

    /// Adds the faults of the alternative that has the fewest.
    fn refuse_alternatives(
        &mut self,
        keyword: &str,
        ids: &[Id],
        value: &Value<'_>,
        at: Path<'_>,
        faults: Sink<'_>,
    ) -> bool {
        let Some(faults) = faults else { return false };
        let mut closest: Option<(usize, Faults)> = None;
        for (index, id) in ids.iter().enumerate() {
            let mut of_it = Faults::default();
            self.apply(*id, value, at, Some(&mut of_it), None);
            if closest.as_ref().is_none_or(|(_, least)| of_it.count() < least.count()) {
                closest = Some((index, of_it));
            }
        }
        let Some((index, of_it)) = closest else { return false };
        if ids.len() > 1 {
            refuse(Some(faults), value, at, FaultCode::NotOneOf, || {
                format!(
                    "a value that fits a schema in `{keyword}`; number {index} of 0 to {} comes closest",
                    ids.len() - 1
                )
            });
        }
        faults.absorb(of_it);
        false
    }

    fn branch(
        &mut self,
        [cond, then, otherwise]: [Option<Id>; 3],
        value: &Value<'_>,
        at: Path<'_>,
        faults: Sink<'_>,
        mut marks: Option<&mut Marks>,
    ) -> bool {
        let Some(cond) = cond else { return true };
        let chosen = if self.accepts(cond, value, at, marks.as_deref_mut()) { then } else { otherwise };
        chosen.is_none_or(|id| self.apply(id, value, at, faults, marks))
    }

    fn text(&mut self, check: &Check, text: &str, value: &Value<'_>, at: Path<'_>, faults: Sink<'_>) -> bool {
        if let Check::Pattern(pattern) = check {
            let fits = self.matches(pattern, text);
            return fits
                || refuse(faults, value, at, FaultCode::Malformed, || format!("a text like `{}`", pattern.source()));
        }
        let characters = || text.chars().count() as u64;
        let (fits, bound) = match check {
            Check::MaxLength(most) => (self.spend(text_weight(text)) && characters() <= *most, ("at most", *most)),
            Check::MinLength(least) => (self.spend(text_weight(text)) && characters() >= *least, ("at least", *least)),
            _ => return true,
        };
        fits || refuse(faults, value, at, FaultCode::OutOfRange, || {
            format!("a text of {} {} characters", bound.0, bound.1)
        })
    }

    fn matches(&mut self, pattern: &Pattern, text: &str) -> bool {
        self.spend(pattern.steps(text)) && pattern.is_match(text)
    }

    fn items(
        &mut self,
        prefix: &[Id],
        rest: Option<Id>,
        value: &Value<'_>,
        at: Path<'_>,
        mut faults: Sink<'_>,
        marks: Option<&mut Marks>,
    ) -> bool {
        let Value::List(items) = value else { return true };
        let mut is_valid = true;
        for (index, item) in items.iter().enumerate() {
            let Some(id) = prefix.get(index).copied().or(rest) else { break };
            is_valid &= self.apply(id, item, Path::Item(&at, index), faults.as_deref_mut(), None);
            if !is_valid && (faults.is_none() || self.is_out) {
                return false;
            }
        }
        if let Some(marks) = marks {
            let seen = if rest.is_some() { items.len() } else { prefix.len() };
            marks.0.iter_mut().take(seen).for_each(|mark| *mark = true);
        }
        is_valid
    }

    fn contains(
        &mut self,
        contained: &Contained,
        value: &Value<'_>,
        at: Path<'_>,
        faults: Sink<'_>,
        mut marks: Option<&mut Marks>,
    ) -> bool {
        let Value::List(items) = value else { return true };
        let mut fitting = 0;
        for (index, item) in items.iter().enumerate() {
            if self.accepts(contained.schema, item, Path::Item(&at, index), None) {
                fitting += 1;
                if let Some(marks) = &mut marks {
                    marks.0[index] = true;
                }
            }
        }
        let Contained { least, most, .. } = *contained;
        (least..=most.unwrap_or(u64::MAX)).contains(&fitting)
            || refuse(faults, value, at, FaultCode::OutOfRange, || {
                let most = most.map_or(String::new(), |most| format!(" and at most {most}"));
                format!("a list with at least {least}{most} items that fit `contains`; {fitting} do")
            })
    }

    fn list(&mut self, check: &Check, value: &Value<'_>, at: Path<'_>, faults: Sink<'_>) -> bool {
        let Value::List(items) = value else { return true };
        let length = items.len() as u64;
        let (fits, expected) = match check {
            Check::MaxItems(most) => (length <= *most, format!("a list of at most {most} items")),
            Check::MinItems(least) => (length >= *least, format!("a list of at least {least} items")),
            _ => {
                let rounds = u64::from(items.len().max(1).ilog2()) + 1;
                if !self.spend(value.weight() * rounds) {
                    return false;
                }
                let mut sorted: Vec<_> = items.iter().collect();
                sorted.sort_unstable_by(|one, other| one.order(other));
                let is_unique = sorted.array_windows().all(|[one, other]| one.order(other).is_ne());
                (is_unique, "a list in which no item is there twice".into())
            }
        };
        fits || refuse(faults, value, at, FaultCode::OutOfRange, || expected)
    }

    fn unevaluated_items(
        &mut self,
        id: Id,
        value: &Value<'_>,
        at: Path<'_>,
        mut faults: Sink<'_>,
        marks: Option<&mut Marks>,
    ) -> bool {
        let (Value::List(items), Some(marks)) = (value, marks) else { return true };
        let mut is_valid = true;
        for (index, item) in items.iter().enumerate().filter(|(index, _)| !marks.0[*index]) {
            is_valid &= self.apply(id, item, Path::Item(&at, index), faults.as_deref_mut(), None);
            if !is_valid && (faults.is_none() || self.is_out) {
                return false;
            }
        }
        marks.0.fill(true);
        is_valid
    }

    fn fields(
        &mut self,
        fields: &Fields,
        value: &Value<'_>,
        at: Path<'_>,
        mut faults: Sink<'_>,
        mut marks: Option<&mut Marks>,
    ) -> bool {
        let Value::Object(members) = value else { return true };
        let mut is_valid = true;
        for (index, (name, member)) in members.iter().enumerate() {
            if !self.spend(text_weight(name)) {
                return false;
            }
            let named = fields.named.binary_search_by(|(known, _)| (**known).cmp(name)).ok();
            let mut ids: Vec<_> = named.map(|index| fields.named[index].1).into_iter().collect();
            for (pattern, id) in &fields.patterns {
                ids.extend(self.matches(pattern, name).then_some(*id));
            }
            if ids.is_empty() {
                ids.extend(fields.rest);
            }
            if let (Some(marks), false) = (&mut marks, ids.is_empty()) {
                marks.0[index] = true;
            }
            for id in ids {
                is_valid &= self.apply(id, member, Path::Member(&at, name), faults.as_deref_mut(), None);
                if !is_valid && (faults.is_none() || self.is_out) {
                    return false;
                }
            }
        }
        is_valid
    }

    fn names(&mut self, id: Id, value: &Value<'_>, at: Path<'_>, mut faults: Sink<'_>) -> bool {
        let Value::Object(members) = value else { return true };
        let mut is_valid = true;
        for (name, _) in members {
            let text = Value::Text(name.clone());
            is_valid &= self.apply(id, &text, Path::Member(&at, name), faults.as_deref_mut(), None);
            if !is_valid && (faults.is_none() || self.is_out) {
                return false;
            }
        }
        is_valid
    }

    fn required(&mut self, names: &[Box<str>], value: &Value<'_>, at: Path<'_>, mut faults: Sink<'_>) -> bool {
        let Value::Object(members) = value else { return true };
        if !self.spend(names.len() as u64) {
            return false;
        }
        let mut is_valid = true;
        for name in names.iter().filter(|name| find(members, name).is_none()) {
            is_valid = false;
            let Some(faults) = faults.as_deref_mut() else { return false };
            faults.push(Fault::nothing_at(&Path::Member(&at, name).pointer(), "a value, which the schema requires"));
        }
        is_valid
    }

    fn unevaluated_fields(
        &mut self,
        id: Id,
        value: &Value<'_>,
        at: Path<'_>,
        mut faults: Sink<'_>,
        marks: Option<&mut Marks>,
    ) -> bool {
        let (Value::Object(members), Some(marks)) = (value, marks) else { return true };
        let mut is_valid = true;
        for (_, (name, member)) in members.iter().enumerate().filter(|(index, _)| !marks.0[*index]) {
            is_valid &= self.apply(id, member, Path::Member(&at, name), faults.as_deref_mut(), None);
            if !is_valid && (faults.is_none() || self.is_out) {
                return false;
            }
        }
        marks.0.fill(true);
        is_valid
    }
}

fn fits_type(types: Types, value: &Value<'_>) -> bool {
    match value {
        Value::Flag(_) => types.has("boolean"),
        Value::List(_) => types.has("array"),
        Value::Null => types.has("null"),
        Value::Number(spelled) => types.has("number") || (types.has("integer") && is_whole(spelled)),
        Value::Object(_) => types.has("object"),
        Value::Text(_) => types.has("string"),
    }
}

fn number(check: &Check, spelled: &str, value: &Value<'_>, at: Path<'_>, faults: Sink<'_>) -> bool {
    let (fits, expected) = match check {
        Check::AtLeast(bound) => (number::compare(spelled, bound).is_ge(), ("a number from", &**bound, "on")),
        Check::AtMost(bound) => (number::compare(spelled, bound).is_le(), ("a number up to", &**bound, "")),
        Check::LessThan(bound) => (number::compare(spelled, bound).is_lt(), ("a number less than", &**bound, "")),
        Check::MoreThan(bound) => (number::compare(spelled, bound).is_gt(), ("a number greater than", &**bound, "")),
        Check::MultipleOf(divisor, shown) => (divisor.divides(spelled), ("a multiple of", &**shown, "")),
        _ => return true,
    };
    fits || refuse(faults, value, at, FaultCode::OutOfRange, || {
        let (before, bound, after) = expected;
        format!("{before} {bound} {after}").trim_end().to_owned()
    })
}

fn object(check: &Check, value: &Value<'_>, at: Path<'_>, faults: Sink<'_>) -> bool {
    let Value::Object(members) = value else { return true };
    let count = members.len() as u64;
    let (fits, expected) = match check {
        Check::MaxFields(most) => (count <= *most, ("at most", *most)),
        Check::MinFields(least) => (count >= *least, ("at least", *least)),
        _ => return true,
    };
    fits || refuse(faults, value, at, FaultCode::OutOfRange, || {
        format!("an object of {} {} members", expected.0, expected.1)
    })
}

/// How many values of `enum` a fault lists.
const LISTED_VALUES: usize = 10;

fn one_of(values: &[Value<'_>]) -> String {
    let listed: Vec<_> = values.iter().take(LISTED_VALUES).map(Value::shown).collect();
    let more = values.len().saturating_sub(LISTED_VALUES);
    let more = if more > 0 { format!(", or one of {more} more") } else { String::new() };
    if values.len() == 1 { listed.concat() } else { format!("one of {}{more}", listed.join(", ")) }
}

/// Adds a fault, if there is a list of them. Returns false.
fn refuse(
    faults: Sink<'_>,
    value: &Value<'_>,
    at: Path<'_>,
    code: FaultCode,
    expected: impl FnOnce() -> String,
) -> bool {
    if let Some(faults) = faults {
        faults.push(Fault::whole(value.shown(), expected()).code(code).under(at.pointer()));
    }
    false
}
