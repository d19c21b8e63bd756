//! The official tests of JSON Schema 2020-12, and the schemas among them that Signpost refuses.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use signpost_core::event::schema::Schema;

#[derive(Deserialize)]
struct Group {
    description: String,
    schema: Box<RawValue>,
    tests: Vec<Test>,
}

#[derive(Deserialize)]
struct Test {
    description: String,
    data: Box<RawValue>,
    valid: bool,
}

fn suite() -> BTreeMap<String, Vec<Group>> {
    let suite = serde_json::from_str(include_str!("json-schema-suite/draft2020-12.json"));
    suite.unwrap_or_else(|error| panic!("the suite is not read: {error}"))
}

#[test]
fn each_schema_that_is_accepted_judges_as_the_official_tests_say() {
    let (mut judged, mut wrong) = (0, Vec::new());
    for (file, groups) in suite() {
        for Group { description: group, schema, tests } in groups {
            let Ok(schema) = Schema::parse(schema.get(), "/schema") else { continue };
            for Test { description, data, valid } in tests {
                judged += 1;
                if schema.check(data.get(), "/data").is_ok() != valid {
                    wrong.push(format!("{file}: {group}: {description}: expected {valid}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(judged, 1_092, "of 1,155 tests");
}

#[test]
fn the_schemas_that_are_refused_are_known() {
    let mut refused = Vec::new();
    for (file, groups) in suite() {
        for Group { description, schema, .. } in groups {
            if let Err(faults) = Schema::parse(schema.get(), "") {
                refused.push(format!("{file}: {description}: {} {}", faults[0].pointer, faults[0].expected));
            }
        }
    }
    let known: Vec<_> = include_str!("json-schema-suite/refused.txt").lines().collect();
    assert_eq!(refused, known, "{}", refused.join("\n"));
}
