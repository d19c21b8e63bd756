//! The cases are those of the EventBridge user guide, with the place of each. Its events have `detail`; here it is `data`.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::event::Event;

fn event(data: &Value) -> Event {
    let event = json!({
        "specversion": "1.0", "id": "1", "source": "/core", "type": "invoice", "tenant": "acme", "subject": "i-7",
        "data": data,
    });
    Event::parse(&event.to_string()).unwrap()
}

fn judge(filter: &Value, data: &Value) -> Verdict {
    Filter::parse(&filter.to_string())
        .unwrap_or_else(|faults| panic!("{filter}: {faults:?}"))
        .judge(&Document::of(&event(data)))
}

fn matches(filter: &Value, data: &Value) -> bool {
    judge(&json!({ "data": filter }), data) == Verdict::Matches
}

/// "Comparison operators for use in event patterns": one row for each row of its table, with values on both sides.
/// <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html>
#[test]
fn each_operator_of_event_bridge_compares_as_its_guide_says() {
    let cases = [
        (json!({"Location": ["New York"], "Day": ["Monday"]}), json!({"Location": "New York", "Day": "Monday"}), true),
        (json!({"Location": ["New York"], "Day": ["Monday"]}), json!({"Location": "New York", "Day": "Friday"}), false),
        (json!({"state": [{"anything-but": "initializing"}]}), json!({"state": "running"}), true),
        (json!({"state": [{"anything-but": "initializing"}]}), json!({"state": "initializing"}), false),
        (json!({"state": [{"anything-but": "initializing"}]}), json!({}), false), // The field must be there.
        (json!({"state": [{"anything-but": "initializing"}]}), json!({"state": 7}), true),
        (json!({"x-limit": [{"anything-but": 123}]}), json!({"x-limit": 123.0}), false),
        (json!({"x-limit": [{"anything-but": 123}]}), json!({"x-limit": 124}), true),
        (json!({"state": [{"anything-but": ["stopped", "overloaded"]}]}), json!({"state": "overloaded"}), false),
        (json!({"state": [{"anything-but": ["stopped", "overloaded"]}]}), json!({"state": "running"}), true),
        (json!({"x-limit": [{"anything-but": [100, 200, 300]}]}), json!({"x-limit": 200}), false),
        (json!({"x-limit": [{"anything-but": [100, 200, 300]}]}), json!({"x-limit": 250}), true),
        (json!({"Region": [{"anything-but": {"prefix": "us-"}}]}), json!({"Region": "us-east-1"}), false),
        (json!({"Region": [{"anything-but": {"prefix": "us-"}}]}), json!({"Region": "eu-west-1"}), true),
        (json!({"state": [{"anything-but": {"prefix": ["init", "error"]}}]}), json!({"state": "errors"}), false),
        (json!({"FileName": [{"anything-but": {"suffix": ".png"}}]}), json!({"FileName": "a.png"}), false),
        (json!({"FileName": [{"anything-but": {"suffix": ".png"}}]}), json!({"FileName": "a.txt"}), true),
        (json!({"FileName": [{"anything-but": {"suffix": [".txt", ".rtf"]}}]}), json!({"FileName": "a.rtf"}), false),
        (
            json!({"state": [{"anything-but": {"equals-ignore-case": "initializing"}}]}),
            json!({"state": "INITIALIZING"}),
            false,
        ),
        (json!({"state": [{"anything-but": {"equals-ignore-case": ["a", "b"]}}]}), json!({"state": "B"}), false),
        (json!({"state": [{"anything-but": {"equals-ignore-case": ["a", "b"]}}]}), json!({"state": "C"}), true),
        (json!({"FilePath": [{"anything-but": {"wildcard": "*/lib/*"}}]}), json!({"FilePath": "a/lib/b"}), false),
        (
            json!({"FilePath": [{"anything-but": {"wildcard": ["*/lib/*", "*/bin/*"]}}]}),
            json!({"FilePath": "a/bin/b"}),
            false,
        ),
        (json!({"FilePath": [{"anything-but": {"wildcard": "*/lib/*"}}]}), json!({"FilePath": "a/src/b"}), true),
        (json!({"Region": [{"prefix": "us-"}]}), json!({"Region": "us-east-1"}), true),
        (json!({"Region": [{"prefix": "us-"}]}), json!({"Region": "US-east-1"}), false),
        (json!({"service": [{"prefix": {"equals-ignore-case": "eventb"}}]}), json!({"service": "EventBridge"}), true),
        (json!({"service": [{"prefix": {"equals-ignore-case": "eventb"}}]}), json!({"service": "Event"}), false),
        (json!({"LastName": [""]}), json!({"LastName": ""}), true),
        (json!({"LastName": [""]}), json!({"LastName": null}), false), // "Null values and empty strings" differ.
        (json!({"Name": ["Alice"]}), json!({"Name": "Alice"}), true),
        (json!({"Name": ["Alice"]}), json!({"Name": "alice"}), false),
        (json!({"Name": [{"equals-ignore-case": "alice"}]}), json!({"Name": "ALICE"}), true),
        (json!({"FileName": [{"suffix": ".png"}]}), json!({"FileName": "a.png"}), true),
        (json!({"FileName": [{"suffix": ".png"}]}), json!({"FileName": "a.PNG"}), false),
        (json!({"service": [{"suffix": {"equals-ignore-case": "tbridge"}}]}), json!({"service": "EventBridge"}), true),
        (json!({"service": [{"suffix": {"equals-ignore-case": "tbridge"}}]}), json!({"service": "Bridge"}), false),
        (json!({"ProductName": [{"exists": true}]}), json!({"ProductName": null}), true), // A leaf.
        (json!({"ProductName": [{"exists": true}]}), json!({}), false),
        (json!({"ProductName": [{"exists": true}]}), json!({"ProductName": {"a": 1}}), false), // "Only on leaf nodes".
        (json!({"ProductName": [{"exists": false}]}), json!({"ProductName": {"a": 1}}), true),
        (json!({"ProductName": [{"exists": false}]}), json!({"ProductName": "x"}), false),
        (json!({"a": {"ProductName": [{"exists": false}]}}), json!({"a": 7}), true),
        (json!({"Weather": [{"anything-but": ["Raining"]}]}), json!({"Weather": "Sunny"}), true),
        (json!({"UserID": [null]}), json!({"UserID": null}), true),
        (json!({"UserID": [null]}), json!({"UserID": "null"}), false),
        (json!({"UserID": [null]}), json!({}), false),
        (json!({"Price": [{"numeric": ["=", 100]}]}), json!({"Price": 1e2}), true),
        (json!({"Price": [{"numeric": ["=", 100]}]}), json!({"Price": "100"}), false), // "Only JSON numbers".
        (json!({"Price": [{"numeric": [">", 10, "<=", 20]}]}), json!({"Price": 10}), false),
        (json!({"Price": [{"numeric": [">", 10, "<=", 20]}]}), json!({"Price": 20.0}), true),
        (json!({"Price": [{"numeric": ["<", 10]}]}), json!({"Price": -7}), true),
        (json!({"PaymentType": ["Credit", "Debit"]}), json!({"PaymentType": "Debit"}), true),
        (json!({"PaymentType": ["Credit", "Debit"]}), json!({"PaymentType": "Cash"}), false),
        (json!({"$or": [{"Location": ["New York"]}, {"Day": ["Monday"]}]}), json!({"Day": "Monday"}), true),
        (json!({"$or": [{"Location": ["New York"]}, {"Day": ["Monday"]}]}), json!({"Day": "Friday"}), false),
        (json!({"FileName": [{"wildcard": "dir/*.png"}]}), json!({"FileName": "dir/a.png"}), true),
        (json!({"EventBusArn": [{"wildcard": "*:event-bus/*"}]}), json!({"EventBusArn": "arn:event-bus/x"}), true),
        (json!({"sourceIPAddress": [{"cidr": "10.0.0.0/24"}]}), json!({"sourceIPAddress": "10.0.0.255"}), true),
        (json!({"sourceIPAddress": [{"cidr": "10.0.0.0/24"}]}), json!({"sourceIPAddress": "10.0.1.0"}), false),
        (json!({"sourceIPAddress": [{"cidr": "2001:db8::/32"}]}), json!({"sourceIPAddress": "2001:DB8::7"}), true),
        (json!({"sourceIPAddress": [{"cidr": "0.0.0.0/0"}]}), json!({"sourceIPAddress": "::1"}), false),
        (json!({"flag": [true]}), json!({"flag": true}), true),
        (json!({"flag": [true]}), json!({"flag": "true"}), false),
    ];
    for (filter, data, expected) in cases {
        assert_eq!(matches(&filter, &data), expected, "{filter} {data}");
    }
}

/// "Matching on multiple field values", and "JSON array matching" of Event Ruler, the library of EventBridge.
/// <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-event-patterns-arrays.html>
/// <https://github.com/aws/event-ruler#json-array-matching>
#[test]
fn a_list_in_the_event_matches_if_one_item_does() {
    let employees = json!({"employees": [
        {"firstName": "John", "lastName": "Doe"}, [{"firstName": "Anna", "lastName": "Smith"}],
        {"firstName": "Peter", "lastName": "Jones", "age": 7},
    ]});
    let cases = [
        (json!({"resources": ["b", "c"]}), json!({"resources": ["a", "b"]}), true, "the lists share a value"),
        (json!({"resources": ["c"]}), json!({"resources": ["a", "b"]}), false, "they share none"),
        (json!({"resources": ["c"]}), json!({"resources": ["a", ["b", ["c"]]]}), true, "lists in lists"),
        (json!({"resources": [{"anything-but": "a"}]}), json!({"resources": ["a", "b"]}), true, "one item is not"),
        (json!({"resources": [{"anything-but": "a"}]}), json!({"resources": ["a", "a"]}), false, "each item is"),
        (json!({"resources": [{"exists": true}]}), json!({"resources": []}), false, "an empty list has no value"),
        (json!({"resources": [{"exists": false}]}), json!({"resources": []}), true, "an empty list has no value"),
        (json!({"employees": {"firstName": ["Anna"]}}), employees.clone(), true, "an object in lists"),
        (
            json!({"employees": {"firstName": ["Anna"], "lastName": ["Jones"]}}),
            employees.clone(),
            false,
            "two fields of different items",
        ),
        (
            json!({"employees": {"firstName": ["Anna"], "$or": [{"lastName": ["Jones"]}, {"lastName": ["Smith"]}]}}),
            employees.clone(),
            true,
            "an alternative of the same item",
        ),
        (
            json!({"employees": {"firstName": ["Anna"], "age": [{"exists": false}]}}),
            employees,
            false,
            "a field of another item is there",
        ),
    ];
    for (filter, data, expected, why) in cases {
        assert_eq!(matches(&filter, &data), expected, "{why}: {filter} {data}");
    }
}

#[test]
fn a_filter_names_the_attributes_of_the_event_too() {
    let cases = [
        (json!({"type": ["invoice"]}), true),
        (json!({"type": [{"prefix": "inv"}], "source": ["/core"], "subject": [{"suffix": "7"}]}), true),
        (json!({"source": [{"anything-but": "/core"}]}), false),
        (json!({"subject": [{"exists": false}]}), false),
        (json!({"$or": [{"type": ["other"]}, {"data": {"a": [1]}}]}), true),
        (json!({"$or": [{"type": ["other"]}, {"data": {"a": [2]}}]}), false),
        (json!({"type": ["invoice"], "data": {"a": [2]}}), false),
    ];
    for (filter, expected) in cases {
        assert_eq!(judge(&filter, &json!({"a": 1})) == Verdict::Matches, expected, "{filter}");
    }
}

#[test]
fn every_fault_of_a_filter_is_listed_with_its_place() {
    let faults = |filter: &str| -> Vec<String> {
        Filter::parse(filter).err().unwrap_or_default().into_iter().map(|fault| fault.pointer).collect()
    };
    let many = json!({"data": {"a": (0..101).collect::<Vec<_>>()}}).to_string();
    let spread: Value =
        (0..51).map(|index| (index.to_string(), json!([1, 2]))).collect::<serde_json::Map<_, _>>().into();
    let spread = json!({ "data": spread }).to_string();
    let long = json!({"data": {"a": ["x".repeat(4_096)]}}).to_string();
    let deep = format!("{}[1]{}", r#"{"data":"#.to_owned() + &r#"{"a":"#.repeat(10), "}".repeat(11));
    let cases: Vec<(&str, Vec<&str>, &str)> = vec![
        ("[]", vec![""], "no object"),
        ("{}", vec![""], "no field"),
        (r#"{"data":{}}"#, vec!["/data"], "no field"),
        (r#"{"data":[1]}"#, vec!["/data"], "data is an object"),
        (r#"{"type":{"a":[1]},"time":["x"]}"#, vec!["/type", "/time"], "an attribute is a text, and `time` is none"),
        (r#"{"type":[7],"source":[{"exists":false}]}"#, vec!["/type/0", "/source/0"], "values that they never have"),
        (r#"{"data":{"a":"x","b":[],"c":[[1]]}}"#, vec!["/data/a", "/data/b", "/data/c/0"], "no lists of conditions"),
        (r#"{"data":{"a":[1],"a":[2]}}"#, vec!["/data/a"], "a field twice"),
        (r#"{"data":{"a":[{"like":"x"}]}}"#, vec!["/data/a/0/like"], "no such operator"),
        (r#"{"data":{"a":[{"prefix":"x","suffix":"y"}]}}"#, vec!["/data/a/0"], "two operators"),
        (r#"{"data":{"a":[{}]}}"#, vec!["/data/a/0"], "no operator"),
        (r#"{"data":{"a":[{"prefix":7},{"exists":1}]}}"#, vec!["/data/a/0/prefix", "/data/a/1/exists"], "types"),
        (r#"{"data":{"a":[{"prefix":{"suffix":"x"}}]}}"#, vec!["/data/a/0/prefix/suffix"], "no such operator there"),
        (r#"{"data":{"a":[{"wildcard":"a**b"}]}}"#, vec!["/data/a/0/wildcard"], "two asterisks"),
        (r#"{"data":{"a":[{"wildcard":"a\\b"}]}}"#, vec!["/data/a/0/wildcard"], "an escape of nothing"),
        (r#"{"data":{"a":[{"cidr":"10.0.0.0"}]}}"#, vec!["/data/a/0/cidr"], "no network"),
        (r#"{"data":{"a":[{"cidr":"10.0.0.0/33"}]}}"#, vec!["/data/a/0/cidr"], "too many bits"),
        (r#"{"data":{"a":[{"numeric":[]}]}}"#, vec!["/data/a/0/numeric"], "no comparison"),
        (r#"{"data":{"a":[{"numeric":[">"]}]}}"#, vec!["/data/a/0/numeric"], "no number"),
        (r#"{"data":{"a":[{"numeric":[">","1"]}]}}"#, vec!["/data/a/0/numeric/1"], "a text"),
        (r#"{"data":{"a":[{"numeric":["!=",1]}]}}"#, vec!["/data/a/0/numeric"], "no such comparison"),
        (r#"{"data":{"a":[{"numeric":[">",5,"<",5]}]}}"#, vec!["/data/a/0/numeric"], "an empty range"),
        (r#"{"data":{"a":[{"numeric":["<",5,">",1]}]}}"#, vec!["/data/a/0/numeric"], "the wrong order"),
        (r#"{"data":{"a":[{"numeric":["=",1,"<",5]}]}}"#, vec!["/data/a/0/numeric"], "more than a value"),
        (r#"{"data":{"a":[1e16,1e400]}}"#, vec!["/data/a/0", "/data/a/1"], "numbers that tools round"),
        (r#"{"data":{"a":[{"anything-but":[]}]}}"#, vec!["/data/a/0/anything-but"], "nothing"),
        (r#"{"data":{"a":[{"anything-but":["x",1]}]}}"#, vec!["/data/a/0/anything-but"], "texts and numbers"),
        (r#"{"data":{"a":[{"anything-but":true}]}}"#, vec!["/data/a/0/anything-but"], "neither"),
        (r#"{"data":{"a":[{"anything-but":{"cidr":"::/0"}}]}}"#, vec!["/data/a/0/anything-but/cidr"], "not there"),
        (
            r#"{"data":{"a":[{"anything-but":{"prefix":""}}]}}"#,
            vec!["/data/a/0/anything-but/prefix"],
            "no text is left",
        ),
        (r#"{"$or":[{"type":["a"]}]}"#, vec!["/$or"], "one alternative"),
        (r#"{"$or":{"type":["a"]}}"#, vec!["/$or"], "no list"),
        (r#"{"$or":[{"type":["a"]},{"kind":["a"]}]}"#, vec!["/$or/1/kind"], "a fault in an alternative"),
        (&many, vec!["/data/a", ""], "more conditions than there may be"),
        (&spread, vec![""], "more conditions than there may be, in all fields"),
        (&long, vec![""], "too long"),
        (&deep, vec!["/data/a/a/a/a/a/a/a/a/a"], "too deep"),
    ];
    for (filter, mut expected, why) in cases {
        if filter == many {
            expected = vec!["/data/a"];
        }
        assert_eq!(faults(filter), expected, "{why}: {filter}");
    }
}

/// Returns the pointers of the faults that a filter has beside these types.
fn impossible(types: &Value, filter: &Value) -> Vec<String> {
    let types: Vec<TypeFilter> = serde_json::from_value(types.clone()).unwrap();
    let mut faults = Faults::default();
    Filter::parse(&filter.to_string()).unwrap().check_types(&types, "/filter", &mut faults);
    faults.listed().iter().map(|fault| fault.pointer.clone()).collect()
}

#[test]
fn a_filter_that_no_event_of_the_chosen_types_can_fit_is_refused() {
    let operation = json!([{"type": "operation"}]);
    let cases: Vec<(Value, Value, Vec<&str>, &str)> = vec![
        (operation.clone(), json!({"data": {"status": ["APPROVED"]}}), vec![], "a status that it has"),
        (operation.clone(), json!({"data": {"status": ["approved"]}}), vec!["/filter/data/status"], "another case"),
        (operation.clone(), json!({"data": {"status": [{"prefix": "APP"}]}}), vec![], "the start of one"),
        (operation.clone(), json!({"data": {"status": [{"prefix": "OK"}]}}), vec!["/filter/data/status"], "of none"),
        (operation.clone(), json!({"data": {"status": [{"exists": false}]}}), vec![], "it may be absent"),
        (
            operation.clone(),
            json!({"data": {"operationId": [{"exists": false}]}}),
            vec!["/filter/data/operationId"],
            "it may not",
        ),
        (operation.clone(), json!({"data": {"operationId": [null]}}), vec!["/filter/data/operationId"], "never null"),
        (operation.clone(), json!({"data": {"status": [null]}}), vec![], "null counts as absent"),
        (operation.clone(), json!({"data": {"failureCount": ["3"]}}), vec!["/filter/data/failureCount"], "a number"),
        (
            operation.clone(),
            json!({"data": {"failureCount": [{"numeric": ["<", 0]}]}}),
            vec!["/filter/data/failureCount"],
            "not below 0",
        ),
        (operation.clone(), json!({"data": {"failureCount": [{"numeric": ["<=", 0]}]}}), vec![], "0"),
        (operation.clone(), json!({"data": {"applicationId": ["7", 7]}}), vec![], "a text, or a number"),
        (
            operation.clone(),
            json!({"data": {"timestampCreated": ["today"]}}),
            vec!["/filter/data/timestampCreated"],
            "no moment",
        ),
        (
            operation.clone(),
            json!({"data": {"timestampCreated": [{"prefix": "2026"}]}}),
            vec![],
            "the start of a moment",
        ),
        (operation.clone(), json!({"data": {"type": ["ACTIVATION"]}}), vec!["/filter/data/type"], "another type's"),
        (
            operation.clone(),
            json!({"data": {"status": {"a": [1]}}}),
            vec!["/filter/data/status"],
            "a text has no fields",
        ),
        (operation.clone(), json!({"data": {"parameters": {"a": ["x"]}}}), vec![], "an object has"),
        (
            operation.clone(),
            json!({"data": {"parameters": ["x"]}}),
            vec!["/filter/data/parameters"],
            "an object is no value",
        ),
        (operation.clone(), json!({"data": {"colour": ["red"]}}), vec![], "an unknown field may come"),
        (operation.clone(), json!({"type": ["session"]}), vec!["/filter/type"], "a type that it did not choose"),
    ];
    for (types, filter, expected, why) in cases {
        assert_eq!(impossible(&types, &filter), expected, "{why}: {types} {filter}");
    }
}

#[test]
fn a_filter_is_possible_if_one_type_and_one_alternative_is() {
    let operation = json!([{"type": "operation"}]);
    let cases: Vec<(Value, Value, Vec<&str>, &str)> = vec![
        (
            json!([{"type": "operation", "statuses": ["APPROVED"]}]),
            json!({"data": {"status": ["FAILED"]}}),
            vec!["/filter/data/status"],
            "a status that it did not choose",
        ),
        (
            json!([{"type": "session", "stages": ["Accounts"]}]),
            json!({"data": {"stage": ["Transactions"]}}),
            vec!["/filter/data/stage"],
            "a stage that it did not choose",
        ),
        (
            json!([{"type": "invoice", "statuses": ["paid"]}]),
            json!({"data": {"status": ["open"]}}),
            vec!["/filter/data/status"],
            "a status that it did not choose, of a type that Signpost does not know",
        ),
        (
            json!([{"type": "operation"}, {"type": "workflow"}]),
            json!({"data": {"workflowStatus": ["COMPLETED"]}}),
            vec![],
            "one of the types is enough",
        ),
        (
            json!([{"type": "operation"}, {"type": "activation"}]),
            json!({"data": {"status": ["x"], "activationStatus": ["x"]}}),
            vec!["/filter/data/status", "/filter/data/activationStatus"],
            "none of them fits",
        ),
        (
            operation.clone(),
            json!({"$or": [{"type": ["session"]}, {"data": {"status": ["DONE"]}}]}),
            vec!["/filter/$or/0/type", "/filter/$or/1/data/status"],
            "no alternative fits",
        ),
        (operation, json!({"$or": [{"type": ["session"]}, {"data": {"status": ["FAILED"]}}]}), vec![], "one fits"),
        (
            json!([{"type": "token-request"}]),
            json!({"data": {"error": [{"numeric": [">", 16]}]}}),
            vec!["/filter/data/error"],
            "no code",
        ),
        (
            json!([{"type": "payment"}]),
            json!({"data": {"bank": {"id": [true]}}}),
            vec!["/filter/data/bank"],
            "a field further in",
        ),
        (json!([{"type": "payment"}]), json!({"data": {"bank": {"id": ["7"]}}}), vec![], "a field further in"),
        (json!([{"type": "invoice"}]), json!({"data": {"status": [7]}}), vec![], "a type that Signpost does not know"),
        (json!([]), json!({"data": {"status": ["approved"]}}), vec![], "each type is possible"),
    ];
    for (types, filter, expected, why) in cases {
        assert_eq!(impossible(&types, &filter), expected, "{why}: {types} {filter}");
    }
}

#[test]
fn the_differences_name_the_places_in_the_event_and_in_the_filter() {
    let found = |filter: Value, data: Value| -> Vec<[String; 4]> {
        let mismatches = Filter::parse(&filter.to_string()).unwrap().mismatches(&Document::of(&event(&data)));
        mismatches
            .into_iter()
            .map(|Mismatch { pointer, filter_pointer, expected, found }| [pointer, filter_pointer, expected, found])
            .collect()
    };
    let one = |pointer: &str, filter: &str, expected: &str, found: &str| {
        [pointer, filter, expected, found].map(str::to_owned)
    };
    let cases = [
        (json!({"type": ["invoice"]}), json!({}), vec![]),
        (
            json!({"type": ["x"], "data": {"a/b": [{"numeric": [">", 0, "<=", 5]}, null], "c": {"d": [{"exists": true}]}}}),
            json!({"a/b": 7.50}),
            vec![
                one("/data/a~1b", "/data/a~1b", "a number > 0 and <= 5, or null", "7.5"),
                one("/data/c/d", "/data/c/d", "a value", "nothing"),
                one("/type", "/type", "\"x\"", "\"invoice\""),
            ],
        ),
        (
            json!({"data": {"$or": [{"a": [1]}, {"b": [{"anything-but": {"prefix": ["x", "y"]}}]}]}}),
            json!({"b": ["x"]}),
            vec![
                one("/data/a", "/data/$or/0/a", "1", "nothing"),
                one(
                    "/data/b",
                    "/data/$or/1/b",
                    "anything but a text that begins with \"x\", a text that begins with \"y\"",
                    "a list with \"x\"",
                ),
            ],
        ),
        (
            json!({"data": {"items": {"a": [1], "b": [2]}}}),
            json!({"items": [{"a": 1}, {"b": 2}]}),
            vec![one(
                "/data/items",
                "/data/items",
                "one item that fits all conditions",
                "a list of 2 items of which none fits",
            )],
        ),
        (
            json!({"data": {"items": {"a": [{"wildcard": "*x"}], "c": [{"exists": false}]}}}),
            json!({"items": [{"a": "y", "b": 2}]}),
            vec![one("/data/items/0/a", "/data/items/a", "a text like \"*x\"", "\"y\"")],
        ),
    ];
    for (filter, data, expected) in cases {
        assert_eq!(found(filter.clone(), data.clone()), expected, "{filter} {data}");
    }
}

#[test]
fn no_event_keeps_a_filter_busy() {
    let names = |count: usize| (0..count).map(|index| format!("n{index}")).collect::<Vec<_>>();
    let filter = json!({"data": {"a": names(99), "b": {"c": [{"exists": false}]}}});
    let long = json!({"data": {"a": [{"wildcard": "*x*y*z"}]}});
    let cases = [
        (&filter, json!({"a": vec!["x"; 20_000]}), Verdict::TooCostly, "conditions times values"),
        (&filter, json!({"a": "n1", "b": vec![json!({"d": 1}); 20_000]}), Verdict::TooCostly, "objects"),
        (&filter, json!({"a": vec!["x"; 15]}), Verdict::Differs, "not that many"),
        (&long, json!({"a": "x".repeat(100_000)}), Verdict::Differs, "one long text"),
        (&long, json!({"a": vec!["x".repeat(2_000); 50]}), Verdict::Differs, "several long texts"),
        (&long, json!({"a": vec!["x"; 50_000]}), Verdict::TooCostly, "many short texts"),
    ];
    for (filter, data, expected, why) in cases {
        assert_eq!(judge(filter, &data), expected, "{why}");
    }
}

#[test]
fn a_filter_is_stored_in_one_spelling() {
    let spelled = r#"{ "type": ["b" , "a"], "data": {"z": [3.0e2], "a": [{"numeric": [">", 10.10]}]}}"#;
    let filter = Filter::parse(spelled).unwrap();
    assert_eq!(filter.json(), r#"{"data":{"a":[{"numeric":[">",10.1]}],"z":[300.0]},"type":["b","a"]}"#);
    assert_eq!(Filter::parse(filter.json()).unwrap(), filter);
    let stored = serde_json::to_string(&filter).unwrap();
    assert_eq!((&*stored, serde_json::from_str::<Filter>(&stored).unwrap()), (filter.json(), filter.clone()));
    assert!(serde_json::from_str::<Filter>("{}").is_err());
    let numbers = vec!["1e14"; 90].join(",");
    let grown = |rest: usize| Filter::parse(&format!(r#"{{"data":{{"a":[{numbers},"{}"]}}}}"#, "x".repeat(rest)));
    assert!(grown(1_000).is_ok() && grown(3_000).is_err(), "the stored spelling counts too");
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        prop::sample::select(vec!["", "a", "b", "ab", "aB", "10.0.0.7"]).prop_map(Value::from),
        (-2_i64..3).prop_map(Value::from),
        prop::sample::select(vec![json!(true), json!(false), json!(null), json!(1.0), json!({}), json!([])]),
    ]
}

fn data() -> impl Strategy<Value = Value> {
    let nested = value().prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(prop::sample::select(vec!["x", "y"]), inner, 0..3).prop_map(|map| json!(map)),
        ]
    });
    prop::collection::btree_map(prop::sample::select(vec!["x", "y"]), nested, 0..3).prop_map(|map| json!(map))
}

/// Conditions of every kind that `anything-but` can hold, in the form outside of it and in the form inside.
fn negatable() -> impl Strategy<Value = (Vec<Value>, Value)> {
    let texts = || prop::collection::vec(prop::sample::select(vec!["a", "b", "ab", "aB"]), 1..3);
    let nested = prop::sample::select(vec!["prefix", "suffix", "wildcard", "equals-ignore-case"]);
    prop_oneof![
        texts().prop_map(|texts| (texts.iter().map(|text| json!(text)).collect(), json!(texts))),
        prop::collection::vec(-2_i64..3, 1..3).prop_map(|all| (all.iter().map(|one| json!(one)).collect(), json!(all))),
        (nested, texts()).prop_map(|(operator, texts)| {
            (texts.iter().map(|text| json!({ operator: text })).collect(), json!({ operator: texts }))
        }),
    ]
}

fn condition() -> impl Strategy<Value = Value> {
    prop_oneof![
        prop::sample::select(vec!["", "a", "ab"]).prop_map(Value::from),
        (-2_i64..3).prop_map(Value::from),
        prop::sample::select(vec![
            json!(true),
            json!(null),
            json!({"exists": true}),
            json!({"exists": false}),
            json!({"cidr": "10.0.0.0/8"}),
            json!({"numeric": [">", -1, "<", 2]}),
            json!({"prefix": {"equals-ignore-case": "A"}}),
            json!({"wildcard": "*b"}),
        ]),
        negatable().prop_map(|(_, inner)| json!({ "anything-but": inner })),
    ]
}

fn pattern() -> impl Strategy<Value = Value> {
    let conditions = prop::collection::vec(condition(), 1..3).prop_map(Value::from);
    let fields = prop::collection::btree_map(prop::sample::select(vec!["x", "y"]), conditions, 1..3);
    fields.prop_map(|map| json!(map)).prop_recursive(3, 12, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|inner| json!({ "x": inner })),
            (inner.clone(), inner.clone()).prop_map(|(one, other)| json!({"$or": [one, other]})),
            (inner.clone(), inner).prop_map(|(one, other)| json!({"y": [{"exists": true}], "$or": [one, other]})),
        ]
    })
}

proptest! {
    /// For one value. Of a list, one item can be what another is not.
    #[test]
    fn anything_but_is_the_negation_of_a_value_that_is_there((conditions, inner) in negatable(), value in value()) {
        let is_there = !value.is_object() && !value.is_array();
        let data = json!({ "x": value });
        let (plain, negated) = (json!({ "x": conditions }), json!({"x": [{"anything-but": inner}]}));
        prop_assert_eq!(matches(&negated, &data), is_there && !matches(&plain, &data));
        let without = json!({});
        prop_assert!(!matches(&negated, &without));
    }

    #[test]
    fn alternatives_are_the_union(one in pattern(), other in pattern(), data in data()) {
        let either = json!({"$or": [one, other]});
        prop_assert_eq!(matches(&either, &data), matches(&one, &data) || matches(&other, &data));
    }

    #[test]
    fn conditions_on_one_field_are_the_union_and_fields_the_intersection(
        one in condition(), other in condition(), data in data(),
    ) {
        let x = |conditions: Value| json!({ "x": conditions });
        prop_assert_eq!(
            matches(&x(json!([one, other])), &data),
            matches(&x(json!([one])), &data) || matches(&x(json!([other])), &data)
        );
        prop_assert_eq!(
            matches(&json!({"x": [one], "y": [other]}), &data),
            matches(&x(json!([one])), &data) && matches(&json!({"y": [other]}), &data)
        );
    }

    #[test]
    fn a_list_matches_as_one_of_its_items_does(condition in condition(), items in prop::collection::vec(value(), 1..4)) {
        prop_assume!(condition != json!({"exists": false})); // It is about all items together.
        let x = |value: Value| json!({ "x": value });
        let filter = x(json!([condition]));
        let any = items.iter().any(|item| matches(&filter, &x(item.clone())));
        prop_assert_eq!(matches(&filter, &x(json!(items))), any);
    }

    #[test]
    fn a_field_exists_or_does_not(data in data()) {
        let exists = |exists: bool| matches(&json!({"x": [{"exists": exists}]}), &data);
        prop_assert!(exists(true) != exists(false));
    }

    #[test]
    fn an_event_differs_exactly_if_it_does_not_match(pattern in pattern(), data in data()) {
        let filter = Filter::parse(&json!({ "data": pattern }).to_string()).unwrap();
        let event = event(&data);
        let document = Document::of(&event);
        prop_assert_eq!(filter.judge(&document) == Verdict::Matches, filter.mismatches(&document).is_empty());
    }

    /// A filter that matches an event of a type was not refused because of the type.
    #[test]
    fn no_filter_that_matches_an_event_of_a_type_is_refused_for_it(
        status in prop::sample::select(vec!["APPROVED", "FAILED"]),
        count in prop::option::of(0_u8..3),
        parameters in prop::option::of(Just(json!({"x": "a"}))),
        condition in condition(),
        field in prop::sample::select(vec!["status", "failureCount", "parameters", "operationId", "type", "colour"]),
    ) {
        let mut data = json!({"type": "OPERATION", "operationId": "a", "status": status});
        for (name, value) in [("failureCount", count.map(Value::from)), ("parameters", parameters)] {
            if let Some(value) = value {
                data[name] = value;
            }
        }
        let filter = Filter::parse(&json!({"data": {field: [condition]}}).to_string()).unwrap();
        let operation = json!({"specversion": "1.0", "id": "1", "source": "/", "type": "operation", "tenant": "acme", "data": data});
        let event = Event::parse(&operation.to_string()).unwrap();
        if filter.judge(&Document::of(&event)) == Verdict::Matches {
            let mut faults = Faults::default();
            filter.check_types(&[TypeFilter::of("operation")], "", &mut faults);
            prop_assert!(faults.listed().is_empty(), "{:?}", faults.listed());
        }
    }
}
