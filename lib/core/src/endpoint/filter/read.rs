//! Reads a filter, and finds every fault in it.

use serde_json::value::RawValue;

use super::pattern::{Case, Condition, End, Field, Network, Pattern, Range, Test, TextTest, WildcardTest};
use super::wildcard::Wildcard;
use super::{MAX_CONDITIONS, MAX_LEVELS};
use crate::input::fault::{Fault, FaultCode, Faults};
use crate::input::number::{self, MAX_DIGITS};
use crate::input::object::{Found, Object};

/// The member whose value is a list of alternatives.
const ANY_OF: &str = "$or";
/// The attributes of an event that a filter may name, besides [`DATA`]. Their values are texts.
const ATTRIBUTES: [&str; 3] = ["type", "source", "subject"];
const DATA: &str = "data";

/// Reads a pattern of events.
pub(super) fn read(found: &Found<'_>, faults: &mut Faults) -> Option<Pattern> {
    let mut reader = Reader { faults, conditions: 0 };
    let pattern = reader.pattern(found, Place::Event, MAX_LEVELS);
    if reader.conditions > MAX_CONDITIONS {
        let found_count = format!("{} conditions", reader.conditions);
        let expected = format!("at most {MAX_CONDITIONS} conditions");
        let fault = Fault::whole(found_count, expected).code(FaultCode::OutOfRange);
        reader.faults.push(fault.under(&*found.pointer));
    }
    pattern
}

struct Reader<'f> {
    faults: &'f mut Faults,
    /// How many conditions there were so far.
    conditions: usize,
}

/// The subject of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The payload, or an object in it.
    Data,
    /// The whole event.
    Event,
}

impl Reader<'_> {
    fn refuse<T>(&mut self, found: &Found<'_>, code: FaultCode, expected: impl Into<String>) -> Option<T> {
        self.faults.push(Fault::at(&found.pointer, found.value, expected).code(code));
        None
    }

    fn pattern(&mut self, found: &Found<'_>, place: Place, levels: usize) -> Option<Pattern> {
        if levels == 0 {
            return self.refuse(found, FaultCode::OutOfRange, format!("objects in each other, {MAX_LEVELS} at most"));
        }
        let members = Object::open(found, self.faults)?.into_members(MAX_CONDITIONS, self.faults);
        if members.iter().all(|(_, found)| found.is_removed()) {
            return self.refuse(found, FaultCode::OutOfRange, "an object that names at least one field");
        }
        let (mut fields, mut any_of) = (Vec::new(), Vec::new());
        for (name, found) in &members {
            if name == ANY_OF {
                if found.is_removed() {
                    continue;
                }
                any_of = self.any_of(found, place, levels - 1);
                continue;
            }
            let test = match (place, &**name) {
                (Place::Data, _) | (Place::Event, DATA | "type" | "source" | "subject") if found.is_removed() => None,
                (Place::Data, _) => self.test(found, levels - 1),
                (Place::Event, DATA) => {
                    self.pattern(found, Place::Data, levels - 1).map(|pattern| Test::Object(Box::new(pattern)))
                }
                (Place::Event, name) if ATTRIBUTES.contains(&name) => Some(self.attribute(name, found)),
                (Place::Event, _) => {
                    let expected = "no such attribute; a filter names `type`, `source`, `subject`, `data` or `$or`";
                    self.refuse(found, FaultCode::UnknownMember, expected)
                }
            };
            fields.extend(test.map(|test| Field { name: (**name).into(), test }));
        }
        Some(Pattern { fields: fields.into(), any_of: any_of.into() })
    }

    fn any_of(&mut self, found: &Found<'_>, place: Place, levels: usize) -> Vec<Pattern> {
        let alternatives = found.items(MAX_CONDITIONS, self.faults);
        if found.value.get().starts_with('[') && alternatives.len() < 2 {
            self.refuse::<()>(found, FaultCode::OutOfRange, "a list of two alternatives or more");
        }
        alternatives.iter().filter_map(|found| self.pattern(found, place, levels)).collect()
    }

    /// Reads the conditions on an attribute, which is a text.
    fn attribute(&mut self, name: &str, found: &Found<'_>) -> Test {
        let items = self.items(found, "a list of conditions");
        let conditions = items.iter().filter_map(|item| {
            let condition = self.condition(item)?;
            let fits = match &condition {
                Condition::AnythingBut(_) | Condition::Cidr(_) | Condition::Exists(true) | Condition::Text(_) => true,
                Condition::Exists(false) => name == "subject", // The others are required.
                Condition::Flag(_) | Condition::Null | Condition::Number(_) | Condition::Range(_) => false,
            };
            if !fits {
                let expected = format!("a condition on a text, because `{name}` is one");
                return self.refuse(item, FaultCode::Conflict, expected);
            }
            Some(condition)
        });
        let conditions: Vec<_> = conditions.collect();
        Test::Value(conditions.into())
    }

    fn test(&mut self, found: &Found<'_>, levels: usize) -> Option<Test> {
        const EXPECTED: &str = "a list of conditions, or an object with further fields";
        if found.value.get().starts_with('{') {
            return self.pattern(found, Place::Data, levels).map(|pattern| Test::Object(Box::new(pattern)));
        }
        let items = self.items(found, EXPECTED);
        let conditions: Vec<_> = items.iter().filter_map(|item| self.condition(item)).collect();
        Some(Test::Value(conditions.into()))
    }

    fn items<'a>(&mut self, found: &Found<'a>, expected: &str) -> Vec<Found<'a>> {
        if !found.value.get().starts_with('[') {
            self.refuse::<()>(found, FaultCode::WrongType, expected);
            return Vec::new();
        }
        let items = found.items(MAX_CONDITIONS, self.faults);
        if items.is_empty() {
            self.refuse::<()>(found, FaultCode::OutOfRange, "a list of at least one condition");
        }
        self.conditions += items.len();
        items
    }

    fn condition(&mut self, found: &Found<'_>) -> Option<Condition> {
        match kind(found.value) {
            Kind::Flag(flag) => Some(Condition::Flag(flag)),
            Kind::List => {
                let expected = "a text, a number, true, false, null, or an object with one operator";
                self.refuse(found, FaultCode::WrongType, expected)
            }
            Kind::Null => Some(Condition::Null),
            Kind::Number => self.number(found).map(Condition::Number),
            Kind::Object => self.operator(found),
            Kind::Text => self.text(found).map(|text| Condition::Text(TextTest::Is(text, Case::Same))),
        }
    }

    /// Reads an object with one operator.
    fn operator(&mut self, found: &Found<'_>) -> Option<Condition> {
        const OPERATORS: &str =
            "one of anything-but, cidr, equals-ignore-case, exists, numeric, prefix, suffix, wildcard";
        let (name, value) = self.only_member(found)?;
        match &*name {
            "anything-but" => self.anything_but(&value),
            "cidr" => {
                let text = self.text(&value)?;
                let network = Network::parse(&text);
                if network.is_none() {
                    return self.refuse(&value, FaultCode::Malformed, "a network, such as 10.0.0.0/8 or 2001:db8::/32");
                }
                network.map(Condition::Cidr)
            }
            "exists" => match kind(value.value) {
                Kind::Flag(flag) => Some(Condition::Exists(flag)),
                Kind::List | Kind::Null | Kind::Number | Kind::Object | Kind::Text => {
                    self.refuse(&value, FaultCode::WrongType, "true or false")
                }
            },
            "numeric" => self.range(&value),
            "prefix" | "suffix" if value.value.get().starts_with('{') => {
                let (inner, value) = self.only_member(&value)?;
                if inner != "equals-ignore-case" {
                    return self.refuse(&value, FaultCode::NotOneOf, "a text, or an object with `equals-ignore-case`");
                }
                self.text_test(&name, &value, Case::Any).map(Condition::Text)
            }
            "equals-ignore-case" | "prefix" | "suffix" | "wildcard" => {
                self.text_test(&name, &value, Case::Same).map(Condition::Text)
            }
            _ => self.refuse(&value, FaultCode::UnknownMember, format!("no such operator; {OPERATORS}")),
        }
    }

    fn only_member<'a>(&mut self, found: &Found<'a>) -> Option<(String, Found<'a>)> {
        let mut members = Object::open(found, self.faults)?.into_members(MAX_CONDITIONS, self.faults);
        if members.len() != 1 {
            return self.refuse(found, FaultCode::OutOfRange, "an object with one operator");
        }
        members.pop()
    }

    fn text_test(&mut self, operator: &str, found: &Found<'_>, case: Case) -> Option<TextTest> {
        let text = self.text(found)?;
        match operator {
            "equals-ignore-case" => Some(TextTest::Is(text, Case::Any)),
            "prefix" => Some(TextTest::Begins(text, case)),
            "suffix" => Some(TextTest::Ends(text, case)),
            _ => {
                let Some(wildcard) = Wildcard::parse(&text) else {
                    let expected = "a text without `**`, in which `\\` stands only before `*` or `\\`";
                    return self.refuse(found, FaultCode::Malformed, expected);
                };
                Some(TextTest::Wildcard(WildcardTest { spelled: text, wildcard }))
            }
        }
    }

    fn anything_but(&mut self, found: &Found<'_>) -> Option<Condition> {
        const EXPECTED: &str =
            "texts, or numbers, or an object with one of prefix, suffix, wildcard, equals-ignore-case";
        let (operator, value) = match kind(found.value) {
            Kind::Object => {
                let (name, value) = self.only_member(found)?;
                if !["prefix", "suffix", "wildcard", "equals-ignore-case"].contains(&&*name) {
                    return self.refuse(&value, FaultCode::UnknownMember, EXPECTED);
                }
                (Some(name), value)
            }
            Kind::Flag(_) | Kind::List | Kind::Null | Kind::Number | Kind::Text => (None, found.clone()),
        };
        let values = match kind(value.value) {
            Kind::List => self.items(&value, EXPECTED),
            Kind::Flag(_) | Kind::Null | Kind::Number | Kind::Object | Kind::Text => vec![value.clone()],
        };
        let kinds_fit = |wanted: Kind| values.iter().all(|value| kind(value.value) == wanted);
        if !kinds_fit(Kind::Text) && (operator.is_some() || !kinds_fit(Kind::Number)) {
            let expected = if operator.is_some() { "a text, or a list of texts" } else { EXPECTED };
            return self.refuse(&value, FaultCode::WrongType, expected);
        }
        let mut conditions = Vec::new();
        for value in &values {
            let Some(operator) = &operator else {
                conditions.extend(self.condition(value));
                continue;
            };
            if matches!(&**operator, "prefix" | "suffix") && value.value.get() == "\"\"" {
                self.refuse::<()>(
                    value,
                    FaultCode::OutOfRange,
                    "a text that is not empty, because each text begins and ends so",
                );
                continue;
            }
            conditions.extend(self.text_test(operator, value, Case::Same).map(Condition::Text));
        }
        Some(Condition::AnythingBut(conditions.into()))
    }

    fn range(&mut self, found: &Found<'_>) -> Option<Condition> {
        const EXPECTED: &str = "a comparison such as [\"=\",7], [\">\",0] or [\">\",0,\"<=\",5]";
        if kind(found.value) != Kind::List {
            return self.refuse(found, FaultCode::WrongType, EXPECTED);
        }
        let items = found.items(MAX_CONDITIONS, self.faults);
        let mut comparisons = Vec::new();
        for pair in items.chunks(2) {
            let [operator, number] = pair else { return self.refuse(found, FaultCode::OutOfRange, EXPECTED) };
            let operator: String = operator.read(EXPECTED, self.faults)?;
            if kind(number.value) != Kind::Number {
                return self.refuse(number, FaultCode::WrongType, "a number");
            }
            comparisons.push((operator, self.number(number)?));
        }
        let mut comparisons = comparisons.into_iter();
        let (first, second, more) = (comparisons.next(), comparisons.next(), comparisons.next());
        let Some((operator, number)) = first.filter(|_| more.is_none()) else {
            return self.refuse(found, FaultCode::OutOfRange, EXPECTED);
        };
        let end = |number, operator: &str| Some(End { number, is_included: operator.ends_with('=') });
        let (lower, upper) = match (&*operator, second) {
            ("=", None) => return Some(Condition::Number(number)),
            (">" | ">=", None) => (end(number, &operator), None),
            ("<" | "<=", None) => (None, end(number, &operator)),
            (">" | ">=", Some((upper, most))) if matches!(&*upper, "<" | "<=") => {
                if number::compare(&number, &most).is_ge() {
                    return self.refuse(
                        found,
                        FaultCode::OutOfRange,
                        "a first number that is less than the second one",
                    );
                }
                (end(number, &operator), end(most, &upper))
            }
            _ => return self.refuse(found, FaultCode::NotOneOf, EXPECTED),
        };
        Some(Condition::Range(Box::new(Range { lower, upper })))
    }

    fn number(&mut self, found: &Found<'_>) -> Option<Box<str>> {
        let spelled = found.value.get();
        if !number::is_exact(spelled) {
            let expected = format!("a number of at most {MAX_DIGITS} digits, between -1e15 and 1e15");
            return self.refuse(found, FaultCode::OutOfRange, expected);
        }
        Some(spelled.into())
    }

    fn text(&mut self, found: &Found<'_>) -> Option<Box<str>> {
        found.read::<String>("a text", self.faults).map(Box::from)
    }
}

/// The JSON type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Flag(bool),
    List,
    Null,
    Number,
    Object,
    Text,
}

fn kind(value: &RawValue) -> Kind {
    match value.get().as_bytes().first() {
        Some(b'"') => Kind::Text,
        Some(b'[') => Kind::List,
        Some(b'{') => Kind::Object,
        Some(b'f') => Kind::Flag(false),
        Some(b't') => Kind::Flag(true),
        Some(b'n') => Kind::Null,
        _ => Kind::Number,
    }
}
