//! Projection: the fields of a payload that an endpoint chose, as in PowerAuth Cloud. Order and spelling do not change.

use crate::input::json::Members;

/// Copies a minified JSON object with only those top-level fields whose names `keeps` picks. The spelling of names and
/// values does not change, and nested values are copied whole. For a text that is not an object, the result is empty.
#[must_use]
pub fn project(object: &str, keeps: impl Fn(&str) -> bool) -> String {
    let Ok(Members(members)) = serde_json::from_str::<Members<'_>>(object) else { return "{}".to_owned() };
    let mut kept = String::with_capacity(object.len());
    let mut member_start = 1; // After the brace.
    for (name, value) in members {
        let value_end = value.get().as_ptr().addr() - object.as_ptr().addr() + value.get().len();
        if keeps(&name) {
            kept.push(if kept.is_empty() { '{' } else { ',' });
            kept.push_str(&object[member_start..value_end]);
        }
        member_start = value_end + 1; // After the comma.
    }
    if kept.is_empty() {
        kept.push('{');
    }
    kept.push('}');
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    use super::*;
    use crate::event::family::FAMILIES;
    use crate::input::json::minify;

    #[test]
    fn kept_members_keep_their_spelling() {
        let object = r#"{"b":10.10,"\u0061":{"x":[1,{"b":2}]},"c":"x,\"y}","b":1E2}"#;
        let cases: [(&[&str], &str); 5] = [
            (&["a", "b", "c"], object),
            (&["b"], r#"{"b":10.10,"b":1E2}"#),
            (&["a"], r#"{"\u0061":{"x":[1,{"b":2}]}}"#),
            (&["c", "none"], r#"{"c":"x,\"y}"}"#),
            (&[], "{}"),
        ];
        for (names, expected) in cases {
            assert_eq!(project(object, |name| names.contains(&name)), expected, "{names:?}");
        }
        assert_eq!(project("{}", |_| true), "{}");
    }

    proptest! {
        #[test]
        fn the_chosen_fields_stay_and_no_others(
            fields in prop::collection::btree_map("[a-z\"\\\\]{1,3}", any::<(i64, String)>(), 0..8),
            chosen in prop::collection::hash_set("[a-z\"\\\\]{1,3}", 0..8),
        ) {
            let object: Map<String, Value> = fields
                .into_iter()
                .map(|(name, (number, text))| (name, serde_json::json!([number, text])))
                .collect();
            let spelled = minify(&serde_json::to_string_pretty(&object).unwrap());
            let projected: Map<String, Value> = serde_json::from_str(&project(&spelled, |name| chosen.contains(name))).unwrap();
            let expected: Map<String, Value> =
                object.into_iter().filter(|(name, _)| chosen.contains(name)).collect();
            prop_assert_eq!(projected, expected);
        }

        #[test]
        fn mandatory_fields_are_never_dropped(family in 0..FAMILIES.len(), chosen in prop::collection::vec("[a-zA-Z_-]{1,12}", 0..4)) {
            let family = FAMILIES[family];
            let object: Map<String, Value> =
                family.fields.iter().map(|field| (field.name.to_owned(), Value::Null)).collect();
            let mut endpoint = crate::endpoint::Endpoint::new("https://a.example");
            endpoint.fields.insert(family.kind.to_owned(), chosen);
            let kept = endpoint.payload_for(family.kind, &serde_json::to_string(&object).unwrap()).into_owned();
            let kept: Map<String, Value> = serde_json::from_str(&kept).unwrap();
            for name in family.mandatory_fields() {
                prop_assert!(kept.contains_key(name), "{} of {}", name, family.kind);
            }
        }
    }
}
