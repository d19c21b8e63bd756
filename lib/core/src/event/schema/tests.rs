use std::time::Instant;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::FaultCode::{Malformed, Missing, NotOneOf, OutOfRange, UnknownMember, WrongType};
use super::*;
use crate::event::MAX_EVENT_BYTES;

fn schema(text: &str) -> Schema {
    Schema::parse(text, "/schema").unwrap_or_else(|faults| panic!("{text}: {faults:?}"))
}

fn faults_of(schema: &str, payload: &str) -> Vec<(FaultCode, String)> {
    let faults = self::schema(schema).check(payload, "/data").err().unwrap_or_default();
    faults.into_iter().map(|fault| (fault.code, fault.pointer)).collect()
}

#[test]
fn every_fault_of_a_payload_is_listed_with_its_place() {
    let invoice = r##"{
        "type": "object", "required": ["number", "total"], "additionalProperties": false,
        "properties": {
            "number": {"type": "string", "pattern": "^INV-[0-9]+$", "maxLength": 10},
            "total": {"$ref": "#/$defs/money"},
            "status": {"enum": ["paid", "open"]},
            "lines": {"type": "array", "minItems": 1, "uniqueItems": true, "items": {"$ref": "#/$defs/money"}},
            "note": {"anyOf": [{"type": "null"}, {"type": "string", "minLength": 2}]}
        },
        "$defs": {"money": {"type": "number", "minimum": 0, "multipleOf": 0.01}}
    }"##;
    let cases: [(&str, &[(FaultCode, &str)]); 9] = [
        (r#"{"number":"INV-1","total":10.10,"status":"paid","lines":[1,2.50],"note":null}"#, &[]),
        ("{}", &[(Missing, "/data/number"), (Missing, "/data/total")]),
        (r#"{"number":7,"total":"1"}"#, &[(WrongType, "/data/number"), (WrongType, "/data/total")]),
        (r#"{"number":"INV-12345678","total":0}"#, &[(OutOfRange, "/data/number")]),
        (r#"{"number":"inv-1","total":0.001}"#, &[(Malformed, "/data/number"), (OutOfRange, "/data/total")]),
        (r#"{"number":"INV-1","total":1,"extra/field":1}"#, &[(UnknownMember, "/data/extra~1field")]),
        (
            r#"{"number":"INV-1","total":1,"lines":[1,-1,1]}"#,
            &[(OutOfRange, "/data/lines"), (OutOfRange, "/data/lines/1")],
        ),
        (r#"{"number":"INV-1","total":1,"status":"PAID"}"#, &[(NotOneOf, "/data/status")]),
        (r#"{"number":"INV-1","total":1,"note":"x"}"#, &[(NotOneOf, "/data/note"), (WrongType, "/data/note")]),
    ];
    for (payload, expected) in cases {
        let mut found = faults_of(invoice, payload);
        found.sort_by(|(_, one), (_, other)| one.cmp(other));
        let expected: Vec<_> = expected.iter().map(|(code, pointer)| (*code, (*pointer).to_owned())).collect();
        assert_eq!(found, expected, "{payload}");
    }
}

#[test]
fn numbers_compare_without_rounding() {
    let cases = [
        (r#"{"maximum":12345678901234567890.5}"#, "12345678901234567890.5", true),
        (r#"{"maximum":12345678901234567890.5}"#, "12345678901234567890.6", false),
        (r#"{"const":12345678901234567890}"#, "12345678901234567891", false),
        (r#"{"const":1.10}"#, "1.1", true),
        (r#"{"type":"integer"}"#, "12345678901234567890.5", false),
        (r#"{"type":"integer"}"#, "1e400", true),
        (r#"{"uniqueItems":true}"#, "[12345678901234567890,12345678901234567891]", true),
        (r#"{"uniqueItems":true}"#, "[100,1e2]", false),
    ];
    for (schema, payload, expected) in cases {
        assert_eq!(self::schema(schema).check(payload, "").is_ok(), expected, "{schema} {payload}");
    }
}

#[test]
fn schemas_that_cannot_be_checked_cheaply_or_at_all_are_refused() {
    let many = |count: usize, one: &str| vec![one; count].join(",");
    let doubling: Vec<_> = (0..20)
        .map(|level| {
            format!(r##""{level}":{{"allOf":[{{"$ref":"#/$defs/{0}"}},{{"$ref":"#/$defs/{0}"}}]}}"##, level + 1)
        })
        .collect();
    let cases = [
        (r##"{"$ref":"#"}"##.to_owned(), "leads back", "endless"),
        (r##"{"allOf":[{"$ref":"#/$defs/a"}],"$defs":{"a":{"not":{"$ref":"#"}}}}"##.into(), "leads back", "endless"),
        (
            format!(r##"{{"$ref":"#/$defs/0","$defs":{{{},"20":{{}}}}}}"##, doubling.join(",")),
            "1000 subschemas",
            "exponential",
        ),
        (
            format!(r#"{{"anyOf":[{}]}}"#, many(101, r##"{"items":{"$ref":"#"}}"##)),
            "100 references",
            "too many references",
        ),
        (format!(r#"{{"items":{{"allOf":[{}]}}}}"#, many(1_001, "{}")), "1000 subschemas", "too many of them"),
        (format!(r#"{{"anyOf":[{}]}}"#, many(51, r#"{"pattern":"a"}"#)), "50 regular", "too many expressions"),
        (r#"{"pattern":"(a{100}){100}"}"#.into(), "repeat less", "an expression that grows"),
        (r#"{"pattern":"^(?!x)"}"#.into(), "look-around", "look-ahead"),
        (r#"{"pattern":"(a)\\1"}"#.into(), "references to groups", "a reference to a group"),
        (r#"{"pattern":"\\p{L}"}"#.into(), "[A-Za-z", "a class of Unicode"),
        (r#"{"pattern":"(?i)a"}"#.into(), "[Aa]", "a flag"),
        (r#"{"pattern":"["}"#.into(), "`]`", "a class without an end"),
        (r#"{"pattern":"a{,2}"}"#.into(), "{2,5}", "a repetition without a least number"),
        (r#"{"pattern":"("}"#.into(), "has a fault", "a group without an end"),
        (r#"{"$ref":"https://json-schema.org/draft/2020-12/schema"}"#.into(), "copy schemas", "a schema elsewhere"),
        (r##"{"$ref":"#/$defs/none"}"##.into(), "copy schemas", "no such schema"),
        (r##"{"$ref":"#/title","title":"x"}"##.into(), "copy schemas", "no schema"),
        (r##"{"$dynamicRef":"#a"}"##.into(), "`$ref`", "a reference that depends on the path"),
        (r#"{"requried":["a"]}"#.into(), "`x-`", "a keyword with a typing mistake"),
        (r#"{"items":[{}]}"#.into(), "prefixItems", "a list of another draft"),
        (r#"{"$schema":"http://json-schema.org/draft-07/schema#"}"#.into(), "2020-12", "another draft"),
        (r#"{"multipleOf":0}"#.into(), "greater than zero", "zero"),
        (r#"{"type":"text"}"#.into(), "string", "no type"),
        (r#"{"required":"a"}"#.into(), "a list of names", "no list"),
        (r#"{"a":{"$id":"x"},"properties":{"b":{"$id":"x"}}}"#.into(), "keyword", "both faults"),
        (format!("{}true{}", r#"{"not":"#.repeat(65), "}".repeat(65)), "64 levels", "too deep"),
        (format!(r#"{{"title":"{}"}}"#, "x".repeat(MAX_SCHEMA_BYTES)), "bytes", "too long"),
        (r#"{"type":"string","type":"number"}"#.into(), "once", "a member twice"),
    ];
    for (text, expected, why) in cases {
        let faults = Schema::parse(&text, "/schema").expect_err(why);
        assert!(faults[0].expected.contains(expected) || faults[0].found.contains(expected), "{why}: {faults:?}");
        assert!(faults.iter().all(|fault| fault.pointer.starts_with("/schema")), "{why}: {faults:?}");
    }
}

#[test]
fn schemas_may_be_recursive_if_they_go_into_the_value() {
    let tree = schema(r##"{"type":"object","required":["name"],"properties":{"children":{"items":{"$ref":"#"}}}}"##);
    assert!(tree.check(r#"{"name":"a","children":[{"name":"b","children":[]}]}"#, "").is_ok());
    let faults = tree.check(r#"{"name":"a","children":[{"children":[]}]}"#, "").unwrap_err();
    assert_eq!(faults[0].pointer, "/children/0/name");
}

#[test]
fn payloads_that_parsers_read_differently_are_refused() {
    let any = schema("{}");
    for (payload, pointer) in [
        (r#"{"a":{"b":1,"b":2}}"#.to_owned(), "/data/a/b"),
        (r#"{"a":"\ud800"}"#.into(), "/data/a"),
        (format!("{{\"a\":{}{}}}", "[".repeat(64), "]".repeat(64)), "/data/a/0"),
    ] {
        let faults = any.check(&payload, "/data").unwrap_err();
        assert!(faults.len() == 1 && faults[0].pointer.starts_with(pointer), "{payload}: {faults:?}");
    }
}

#[test]
fn expressions_mean_what_ecma_262_says() {
    let cases = [
        (r"^\d+$", "12", true),
        (r"^\d+$", "\u{663}", false),
        (r"^\w\W$", "a-", true),
        (r"^[\s\S]$", "\u{a0}", true),
        (r"^\s$", "\u{a0}", true),
        (r"^\S$", "\u{feff}", false),
        (r"^.$", "\u{1f432}", true),
        (r"^.$", "\u{2028}", false),
        (r"^[^a-c\]\-]$", "]", false),
        (r"^[a&&b~~-]+$", "a&b~-", true),
        (r"^[[]$", "[", true),
        (r"^\u00e9\x41\cJ\0$", "éA\n\0", true),
        (r"^\ud83d\udc32$", "\u{1f432}", true),
        (r"^\u{1f432}{2}$", "\u{1f432}\u{1f432}", true),
        (r"(?<year>[0-9]{4})-(?:0[1-9]|1[0-2])", "on 2026-11", true),
        (r"^a\/b\.c$", "a/b.c", true),
        (r"^#x $", "#x ", true),
        (r"^[\b]$", "\u{8}", true),
        (r"^(a|b)*?c{2,}$", "ababcc", true),
        ("$", "a\n", true),
    ];
    for (pattern, text, expected) in cases {
        let compiled = pattern::Pattern::parse(pattern).unwrap_or_else(|fault| panic!("{pattern}: {fault}"));
        assert_eq!(compiled.is_match(text), expected, "{pattern} in {text:?}");
    }
}

/// Schemas and payloads of the largest sizes, made to take long.
fn hostile() -> Vec<(&'static str, String, String)> {
    let room = MAX_EVENT_BYTES - 1_000;
    let list = |item: &str| format!("[{}]", vec![item; room / (item.len() + 1)].join(","));
    let all = |count: usize, one: &str| format!(r#"{{"items":{{"allOf":[{}]}}}}"#, vec![one; count].join(","));
    let digits = "7".repeat(30_000);
    let nested = |keyword: &str| {
        (0..31).fold("{\"type\":\"null\"}".to_owned(), |inner, _| format!(r#"{{"{keyword}":[{inner}]}}"#))
    };
    let tree = r##"{"properties":{"a":{"allOf":[{"$ref":"#"},{"$ref":"#"}]}}}"##.to_owned();
    let members: Vec<_> = (0..20_000).map(|index| format!(r#""{index}":0"#)).collect();
    vec![
        ("many faults", all(900, r#"{"type":"null"}"#), list("0")),
        ("many alternatives", all(400, r#"{"anyOf":[{"type":"null"}]}"#), list("0")),
        ("nested alternatives", nested("anyOf"), "0".into()),
        ("nested choices", nested("oneOf"), list("0")),
        ("exponential recursion", tree, format!("{}0{}", r#"{"a":"#.repeat(60), "}".repeat(60))),
        ("an expression at each byte", r#"{"pattern":"([ab]*a[ab]{200}){1,2}$"}"#.into(), format!("\"{}\"", "ab".repeat(room / 2))),
        ("many expressions", all(50, r#"{"pattern":"(a*)*b$"}"#), format!("[\"{}\"]", "a".repeat(room))),
        ("expressions of names", r#"{"patternProperties":{"(x+x+)+y":true,"^(0|1)*$":false}}"#.into(), format!("{{{}}}", members.join(","))),
        ("unique texts", r#"{"uniqueItems":true}"#.into(), list(&format!("\"{}\"", "x".repeat(40)))),
        ("unique numbers", r#"{"uniqueItems":true}"#.into(), list(&digits)),
        ("multiples of long numbers", r#"{"items":{"multipleOf":123456789012345}}"#.into(), list(&digits)),
        ("long exponents", r#"{"items":{"multipleOf":0.123456789012345}}"#.into(), list("1e999999999999999999")),
        ("unevaluated members", r#"{"allOf":[{"allOf":[{"properties":{"a":true}}],"unevaluatedProperties":{"type":"integer"}}],"unevaluatedProperties":false}"#.into(), format!("{{{}}}", members.join(","))),
        ("large constants", format!(r#"{{"items":{{"enum":[{}]}}}}"#, vec!["[0,1]"; 5_000].join(",")), list("[0,2]")),
        ("many required names", format!(r#"{{"items":{{"required":[{}]}}}}"#, vec![r#""ab""#; 6_000].join(",")), list("{}")),
        ("contained items", r#"{"items":{"contains":{"contains":{"const":1}}}}"#.into(), list("[[0],[0]]")),
    ]
}

const MOST_MS: u128 = 10_000;

/// The bound in milliseconds is for a debug build on a shared machine; a release build takes a twentieth.
#[test]
fn the_largest_payload_is_judged_in_bounded_time_under_every_schema() {
    for (name, text, payload) in hostile() {
        assert!(payload.len() <= MAX_EVENT_BYTES);
        let began = Instant::now();
        let schema = Schema::parse(&text, "/schema").unwrap_or_else(|faults| panic!("{name}: {faults:?}"));
        let compiled = began.elapsed();
        let faults = schema.check(&payload, "/data").err().map_or(0, |faults| faults.len());
        let took = began.elapsed();
        println!(
            "{name}: compiled in {compiled:?}, judged in {:?}, {faults} faults",
            took.checked_sub(compiled).unwrap()
        );
        assert!(took.as_millis() < MOST_MS, "{name}: {took:?}");
        assert!(faults <= crate::input::fault::MAX_FAULTS + 1);
        assert!(schema.heap_bytes() < 4 * 1024 * 1024, "{name}: {}", schema.heap_bytes());
    }
}

/// JSON values of a few names and texts.
fn values() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        (-3_i64..4).prop_map(Json::from),
        prop::sample::select(vec!["", "a", "b", "ab"]).prop_map(Json::from),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::btree_map(prop::sample::select(vec!["a", "b", "c"]), inner, 0..3)
                .prop_map(|members| json!(members)),
        ]
    })
}

/// Schemas of a few keywords, references into themselves included.
fn schemas() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Json::from),
        prop::sample::select(vec!["null", "boolean", "integer", "number", "string", "array", "object"])
            .prop_map(|kind| json!({"type": kind})),
        values().prop_map(|value| json!({"const": value})),
        (0_u32..4).prop_map(|bound| json!({"minLength": bound, "maxItems": bound, "minimum": bound})),
        Just(json!({"$ref": "#"})),
        Just(json!({"$ref": "#/$defs/d"})),
        Just(json!({"required": ["a"], "uniqueItems": true, "pattern": "^a*b?$"})),
    ];
    let inner = leaf.prop_recursive(3, 24, 3, |inner| {
        let list = prop::collection::vec(inner.clone(), 1..3);
        prop_oneof![
            (prop::sample::select(vec!["allOf", "anyOf", "oneOf", "prefixItems"]), list)
                .prop_map(|(name, list)| json!({name: list})),
            (
                prop::sample::select(vec!["not", "items", "contains", "additionalProperties", "propertyNames"]),
                inner.clone()
            )
                .prop_map(|(name, one)| json!({name: one})),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| json!({"if": a, "then": b, "else": c})),
            (inner.clone(), inner.clone())
                .prop_map(|(a, b)| json!({"properties": {"a": a}, "patternProperties": {"b|c": b}})),
            (inner.clone(), inner)
                .prop_map(|(a, b)| json!({"allOf": [a], "unevaluatedProperties": b, "unevaluatedItems": false})),
        ]
    });
    (inner.clone(), inner).prop_map(|(whole, part)| match whole {
        Json::Object(mut members) => {
            members.insert("$defs".into(), json!({"d": part}));
            members.into()
        }
        other => other,
    })
}

proptest! {
    /// `allOf`, `anyOf` and `not` are the operations of logic on verdicts, and both ways to a verdict agree.
    #[test]
    fn verdicts_obey_the_laws_of_logic(one in schemas(), other in schemas(), value in values()) {
        let payload = value.to_string();
        let fits = |schema: &Json| {
            let schema = Schema::parse(&schema.to_string(), "").ok()?;
            let is_valid = schema.check(&payload, "").is_ok();
            let mut checker = Checker::new(&schema);
            let value = Value::read(&payload, MAX_LEVELS, Path::Root("")).unwrap();
            assert_eq!(checker.apply(0, &value, Path::Root(""), None, None), is_valid, "with and without faults");
            Some(is_valid)
        };
        // In a larger schema, `#` would be another one.
        let stands_alone = |schema: &Json| !schema.to_string().contains("$ref");
        if let (Some(first), Some(second)) = (fits(&one), fits(&other)) && stands_alone(&one) && stands_alone(&other) {
            prop_assert_eq!(fits(&json!({"allOf": [one, other]})), Some(first && second));
            prop_assert_eq!(fits(&json!({"anyOf": [one, other]})), Some(first || second));
            prop_assert_eq!(fits(&json!({"oneOf": [one, other]})), Some(first != second));
            prop_assert_eq!(fits(&json!({"not": one})), Some(!first));
            prop_assert_eq!(fits(&json!({"if": one, "then": other})), Some(!first || second));
        }
    }

    #[test]
    fn any_value_equals_itself_alone(one in values(), other in values()) {
        let schema = schema(&json!({"const": one}).to_string());
        prop_assert!(schema.check(&one.to_string(), "").is_ok());
        prop_assert_eq!(schema.check(&other.to_string(), "").is_ok(), one == other);
        let unique = self::schema(r#"{"uniqueItems":true}"#);
        prop_assert_eq!(unique.check(&json!([one, other]).to_string(), "").is_ok(), one != other);
    }

    #[test]
    fn no_text_makes_the_reader_of_schemas_panic(text in "[\\\\\\[\\](){}^$|?*+.a-c0-9,:=!<>pPuxdDsSwWbBk-]{0,30}") {
        if let Ok(pattern) = pattern::Pattern::parse(&text) {
            let _ = pattern.is_match("abc");
        }
    }
}
