//! Reads a schema, and finds every fault in it.

use std::collections::HashMap;

use percent_encoding::percent_decode_str;

use super::pattern::Pattern;
use super::value::Value;
use super::{Check, Contained, Fields, Id, MAX_EXPANSION, MAX_PATTERNS, MAX_REFERENCES, Schema, Subschema, Types};
use crate::event::family::Path;
use crate::input::fault::{Fault, FaultCode, Faults};
use crate::input::number::{Divisor, MAX_DIGITS, is_whole};

/// The dialect of schemas.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Reads a schema whose place in the input is `at`.
pub(super) fn read(value: &Value<'_>, at: Path<'_>, faults: &mut Faults) -> Schema {
    let mut reader =
        Reader { faults, subschemas: Vec::new(), places: HashMap::new(), references: Vec::new(), patterns: 0 };
    reader.schema(value, at, "");
    let references = std::mem::take(&mut reader.references);
    if references.len() > MAX_REFERENCES {
        let expected = format!("at most {MAX_REFERENCES} references");
        let fault = Fault::whole(format!("{} times `$ref`", references.len()), expected).code(FaultCode::OutOfRange);
        reader.faults.push(fault.under(at.pointer()));
    }
    if reader.patterns > MAX_PATTERNS {
        let expected = format!("at most {MAX_PATTERNS} regular expressions");
        let fault = Fault::whole(format!("{} of them", reader.patterns), expected).code(FaultCode::OutOfRange);
        reader.faults.push(fault.under(at.pointer()));
    }
    for Reference { from, target, pointer } in &references {
        let Some(id) = reader.resolved(target) else {
            let expected =
                "`#`, `#/$defs/name`, or `#name` for an `$anchor` of this schema; copy schemas of others into `$defs`";
            reader.faults.push(Fault::of_text(pointer.clone(), target, expected).code(FaultCode::Malformed));
            continue;
        };
        // First, because `unevaluatedProperties` counts what it has seen.
        reader.subschemas[*from].checks.insert(0, Check::All(vec![id]));
    }
    let schema = Schema { subschemas: reader.subschemas };
    check_expansion(&schema, at, reader.faults);
    schema
}

/// Refuses a schema that applies too many subschemas to one value, once each reference is followed, or endlessly many.
fn check_expansion(schema: &Schema, at: Path<'_>, faults: &mut Faults) {
    let mut sizes = vec![Size::Unknown; schema.subschemas.len()];
    let worst = (0..sizes.len()).map(|id| size_of(schema, id, &mut sizes)).max().unwrap_or_default();
    if worst <= MAX_EXPANSION {
        return;
    }
    let (found, expected) = if worst == ENDLESS {
        let found = "a `$ref` that leads back to itself for the same value";
        (
            found.to_owned(),
            "references that go into the value before they lead back, as by `properties` or `items`".to_owned(),
        )
    } else {
        let found = "more of them, once each `$ref` is followed".to_owned();
        (found, format!("at most {MAX_EXPANSION} subschemas for one value"))
    };
    faults.push(Fault::whole(found, expected).code(FaultCode::OutOfRange).under(at.pointer()));
}

/// How many subschemas apply to the value of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Unknown,
    Counting,
    Known(u64),
}

const ENDLESS: u64 = u64::MAX;

fn size_of(schema: &Schema, id: Id, sizes: &mut [Size]) -> u64 {
    match sizes[id] {
        Size::Known(size) => return size,
        Size::Counting => return ENDLESS,
        Size::Unknown => sizes[id] = Size::Counting,
    }
    let inner = schema.subschemas[id].checks.iter().flat_map(Check::in_place).map(|id| size_of(schema, id, sizes));
    let size = inner.fold(1, u64::saturating_add);
    sizes[id] = Size::Known(size);
    size
}

struct Reader<'f> {
    faults: &'f mut Faults,
    subschemas: Vec<Subschema>,
    /// The subschemas by their JSON Pointers in the schema, and by their anchors.
    places: HashMap<String, Id>,
    references: Vec<Reference>,
    patterns: usize,
}

struct Reference {
    from: Id,
    target: String,
    pointer: String,
}

/// The keywords of a schema that work together.
#[derive(Default)]
struct Together {
    cond: [Option<Id>; 3],
    contained: [Option<u64>; 2],
    contains: Option<Id>,
    fields: Fields,
    prefix: Vec<Id>,
    rest: Option<Id>,
    unevaluated: Vec<Check>,
}

impl Reader<'_> {
    fn refuse(&mut self, at: Path<'_>, value: &Value<'_>, code: FaultCode, expected: impl Into<String>) {
        self.faults.push(Fault::whole(value.shown(), expected).code(code).under(at.pointer()));
    }

    fn resolved(&self, target: &str) -> Option<Id> {
        let place = percent_decode_str(target.strip_prefix('#')?).decode_utf8().ok()?;
        let key = if place.is_empty() || place.starts_with('/') { place.into_owned() } else { format!("#{place}") };
        self.places.get(&key).copied()
    }

    /// Reads a schema. `key` is its JSON Pointer, without an end.
    fn schema(&mut self, value: &Value<'_>, at: Path<'_>, key: &str) -> Id {
        let id = self.subschemas.len();
        self.subschemas.push(Subschema::default());
        self.places.insert(key.to_owned(), id);
        let checks = match value {
            Value::Flag(true) => Vec::new(),
            Value::Flag(false) => vec![Check::Nothing],
            Value::Object(_) => self.keywords(id, value, at, key),
            Value::List(_) | Value::Null | Value::Number(_) | Value::Text(_) => {
                self.refuse(at, value, FaultCode::WrongType, "a schema: an object, `true` or `false`");
                Vec::new()
            }
        };
        let marks =
            checks.iter().any(|check| matches!(check, Check::UnevaluatedFields(_) | Check::UnevaluatedItems(_)));
        self.subschemas[id].needs_marks = marks;
        self.subschemas[id].checks = checks;
        id
    }

    fn keywords(&mut self, id: Id, value: &Value<'_>, at: Path<'_>, key: &str) -> Vec<Check> {
        let Value::Object(members) = value else { return Vec::new() };
        let (mut checks, mut together) = (Vec::new(), Together::default());
        for (name, value) in members {
            let at = Path::Member(&at, name);
            let key = format!("{key}/{}", escaped(name));
            self.keyword(id, name, value, at, &key, &mut checks, &mut together);
        }
        let Together {
            cond: [cond, then, otherwise],
            contained: [least, most],
            contains,
            fields,
            prefix,
            rest,
            unevaluated,
        } = together;
        if let Some(schema) = contains {
            checks.push(Check::Contains(Contained { schema, least: least.unwrap_or(1), most }));
        }
        if !prefix.is_empty() || rest.is_some() {
            checks.push(Check::Items { prefix, rest });
        }
        if !fields.named.is_empty() || !fields.patterns.is_empty() || fields.rest.is_some() {
            checks.push(Check::Fields(fields));
        }
        if let Some(cond) = cond {
            checks.push(Check::If { cond, then, otherwise });
        }
        checks.extend(unevaluated);
        checks
    }

    #[expect(clippy::too_many_arguments, reason = "a keyword, its place, and where its checks go")]
    #[expect(clippy::too_many_lines, reason = "one arm for each keyword of the specification")]
    fn keyword(
        &mut self,
        id: Id,
        name: &str,
        value: &Value<'_>,
        at: Path<'_>,
        key: &str,
        checks: &mut Vec<Check>,
        together: &mut Together,
    ) {
        match name {
            "type" => checks.extend(self.types(value, at).map(Check::Type)),
            "enum" => match value {
                Value::List(items) => {
                    checks.push(Check::one_of(items.iter().cloned().map(Value::into_owned).collect()));
                }
                _ => self.refuse(at, value, FaultCode::WrongType, "a list of values"),
            },
            "const" => checks.push(Check::one_of(vec![value.clone().into_owned()])),
            "multipleOf" => {
                let divisor = number_of(value).and_then(Divisor::parse);
                checks.extend(divisor.map(|divisor| Check::MultipleOf(divisor, value.shown())));
                if divisor.is_none() {
                    let expected = format!("a number greater than zero, with at most {MAX_DIGITS} digits");
                    self.refuse(at, value, FaultCode::OutOfRange, expected);
                }
            }
            "maximum" | "exclusiveMaximum" | "minimum" | "exclusiveMinimum" => match number_of(value) {
                Some(bound) => checks.push(match name {
                    "maximum" => Check::AtMost(bound.into()),
                    "exclusiveMaximum" => Check::LessThan(bound.into()),
                    "minimum" => Check::AtLeast(bound.into()),
                    _ => Check::MoreThan(bound.into()),
                }),
                None => self.refuse(at, value, FaultCode::WrongType, "a number"),
            },
            "maxLength" => checks.extend(self.count(value, at).map(Check::MaxLength)),
            "minLength" => checks.extend(self.count(value, at).map(Check::MinLength)),
            "maxItems" => checks.extend(self.count(value, at).map(Check::MaxItems)),
            "minItems" => checks.extend(self.count(value, at).map(Check::MinItems)),
            "maxProperties" => checks.extend(self.count(value, at).map(Check::MaxFields)),
            "minProperties" => checks.extend(self.count(value, at).map(Check::MinFields)),
            "maxContains" => together.contained[1] = self.count(value, at),
            "minContains" => together.contained[0] = self.count(value, at),
            "pattern" => match value {
                Value::Text(text) => checks.extend(self.pattern(text, value, at).map(Check::Pattern)),
                _ => self.refuse(at, value, FaultCode::WrongType, "a regular expression"),
            },
            "uniqueItems" => match value {
                Value::Flag(true) => checks.push(Check::UniqueItems),
                Value::Flag(false) => {}
                _ => self.refuse(at, value, FaultCode::WrongType, "`true` or `false`"),
            },
            "required" => checks.push(Check::Required(self.names(value, at))),
            "dependentRequired" => {
                for (name, value) in self.members(value, at) {
                    let names = self.names(value, Path::Member(&at, name));
                    checks.push(Check::Dependent { field: name.into(), required: names });
                }
            }
            "dependentSchemas" => {
                for (name, schema) in self.schemas_by_name(value, at, key) {
                    checks.push(Check::DependentSchema { field: name, schema });
                }
            }
            "properties" => together.fields.named = self.schemas_by_name(value, at, key),
            "patternProperties" => {
                for (name, schema) in self.schemas_by_name(value, at, key) {
                    let pattern = self.pattern(&name, value, Path::Member(&at, &name));
                    together.fields.patterns.extend(pattern.map(|pattern| (pattern, schema)));
                }
            }
            "additionalProperties" => together.fields.rest = Some(self.schema(value, at, key)),
            "propertyNames" => checks.push(Check::Names(self.schema(value, at, key))),
            "prefixItems" => together.prefix = self.schemas(value, at, key),
            "items" if matches!(value, Value::List(_)) => {
                self.refuse(at, value, FaultCode::WrongType, "one schema; for a list of schemas, `prefixItems`");
            }
            "items" => together.rest = Some(self.schema(value, at, key)),
            "contains" => together.contains = Some(self.schema(value, at, key)),
            "allOf" => checks.push(Check::All(self.schemas(value, at, key))),
            "anyOf" => checks.push(Check::Any(self.schemas(value, at, key))),
            "oneOf" => checks.push(Check::One(self.schemas(value, at, key))),
            "not" => checks.push(Check::Not(self.schema(value, at, key))),
            "if" => together.cond[0] = Some(self.schema(value, at, key)),
            "then" => together.cond[1] = Some(self.schema(value, at, key)),
            "else" => together.cond[2] = Some(self.schema(value, at, key)),
            "unevaluatedItems" => together.unevaluated.push(Check::UnevaluatedItems(self.schema(value, at, key))),
            "unevaluatedProperties" => {
                together.unevaluated.push(Check::UnevaluatedFields(self.schema(value, at, key)));
            }
            "$defs" | "definitions" => drop(self.schemas_by_name(value, at, key)),
            "$ref" => match value {
                Value::Text(target) => {
                    self.references.push(Reference { from: id, target: target.to_string(), pointer: at.pointer() });
                }
                _ => self.refuse(at, value, FaultCode::WrongType, "a text such as `#/$defs/name`"),
            },
            "$anchor" => match value {
                Value::Text(anchor) => {
                    if self.places.insert(format!("#{anchor}"), id).is_some() {
                        self.refuse(at, value, FaultCode::Duplicate, "each anchor once");
                    }
                }
                _ => self.refuse(at, value, FaultCode::WrongType, "a text"),
            },
            "$schema" => {
                if !matches!(value, Value::Text(dialect) if dialect.trim_end_matches('#') == DIALECT) {
                    self.refuse(at, value, FaultCode::NotOneOf, format!("`{DIALECT}`"));
                }
            }
            "$id" if key != "/$id" => {
                self.refuse(
                    at,
                    value,
                    FaultCode::UnknownMember,
                    "no `$id` but that of the whole schema; use `$anchor`",
                );
            }
            "$id" | "$comment" | "title" | "description" | "default" | "examples" | "deprecated" | "readOnly"
            | "writeOnly" | "format" | "contentEncoding" | "contentMediaType" | "contentSchema" => {}
            own if own.starts_with("x-") => {}
            _ => {
                let expected = match name {
                    "$dynamicRef" | "$dynamicAnchor" | "$recursiveRef" | "$recursiveAnchor" => "`$ref` and `$anchor`",
                    "additionalItems" => "`items` beside `prefixItems`",
                    "dependencies" => "`dependentRequired` or `dependentSchemas`",
                    "nullable" => "`\"type\": [\"string\", \"null\"]`",
                    _ => "a keyword of JSON Schema 2020-12; names of your own begin with `x-`",
                };
                self.refuse(at, value, FaultCode::UnknownMember, expected);
            }
        }
    }

    fn types(&mut self, value: &Value<'_>, at: Path<'_>) -> Option<Types> {
        let named = match value {
            Value::List(items) if !items.is_empty() => items.iter().map(Types::named).collect::<Option<Vec<_>>>(),
            one => Types::named(one).map(|one| vec![one]),
        };
        let Some(named) = named else {
            let expected = "array, boolean, integer, null, number, object or string, or a list of them";
            self.refuse(at, value, FaultCode::NotOneOf, expected);
            return None;
        };
        Some(named.into_iter().fold(Types::default(), Types::or))
    }

    fn count(&mut self, value: &Value<'_>, at: Path<'_>) -> Option<u64> {
        let count = number_of(value).filter(|spelled| is_whole(spelled)).and_then(|spelled| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in these bounds")]
            spelled.parse::<f64>().ok().filter(|count| (0.0..=1e15).contains(count)).map(|count| count as u64)
        });
        if count.is_none() {
            self.refuse(at, value, FaultCode::OutOfRange, "a whole number from 0 on");
        }
        count
    }

    fn pattern(&mut self, source: &str, value: &Value<'_>, at: Path<'_>) -> Option<Pattern> {
        self.patterns += 1;
        if self.patterns > MAX_PATTERNS {
            return None; // A fault of its own.
        }
        let pattern = Pattern::parse(source);
        if let Err(expected) = &pattern {
            let found = if matches!(value, Value::Text(_)) { value.shown() } else { format!("\"{source}\"") };
            let fault = Fault::of_text(at.pointer(), found.trim_matches('"'), &**expected);
            self.faults.push(fault);
        }
        pattern.ok()
    }

    fn names(&mut self, value: &Value<'_>, at: Path<'_>) -> Box<[Box<str>]> {
        let name = |item: &Value<'_>| match item {
            Value::Text(name) => Some(Box::from(&**name)),
            _ => None,
        };
        let names = match value {
            Value::List(items) => items.iter().map(name).collect::<Option<Vec<_>>>(),
            _ => None,
        };
        if names.is_none() {
            self.refuse(at, value, FaultCode::WrongType, "a list of names");
        }
        names.unwrap_or_default().into()
    }

    fn members<'v>(&mut self, value: &'v Value<'_>, at: Path<'_>) -> Vec<(&'v str, &'v Value<'v>)> {
        let Value::Object(members) = value else {
            self.refuse(at, value, FaultCode::WrongType, "an object");
            return Vec::new();
        };
        members.iter().map(|(name, value)| (&**name, value)).collect()
    }

    fn schemas_by_name(&mut self, value: &Value<'_>, at: Path<'_>, key: &str) -> Vec<(Box<str>, Id)> {
        let members = self.members(value, at);
        let read = members.into_iter().map(|(name, value)| {
            let key = format!("{key}/{}", escaped(name));
            (name.into(), self.schema(value, Path::Member(&at, name), &key))
        });
        read.collect()
    }

    fn schemas(&mut self, value: &Value<'_>, at: Path<'_>, key: &str) -> Vec<Id> {
        match value {
            Value::List(items) if !items.is_empty() => {
                let read = items.iter().enumerate();
                read.map(|(index, value)| self.schema(value, Path::Item(&at, index), &format!("{key}/{index}")))
                    .collect()
            }
            _ => {
                self.refuse(at, value, FaultCode::WrongType, "a list of at least one schema");
                Vec::new()
            }
        }
    }
}

fn number_of<'v>(value: &'v Value<'_>) -> Option<&'v str> {
    match value {
        Value::Number(spelled) => Some(spelled),
        _ => None,
    }
}

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
