//! Payloads as query strings: top-level fields as parameters, as in Token.io's callbacks.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::input::json::Members;
use crate::input::json::text_of;

/// `application/x-www-form-urlencoded` ([WHATWG URL, section 5.2][form]), but with an unescaped colon, because Token.io
/// spells its ids so: `rq:3SVz…:5zKtXEAq`.
///
/// [form]: https://url.spec.whatwg.org/#urlencoded-serializing
const ENCODED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'*').remove(b'-').remove(b'.').remove(b'_').remove(b':').remove(b' ');

/// Encodes a JSON object as a query string: `name=value&…`, in the order of the object.
///
/// The value of a text is its characters. Any other value, including a nested one, is its JSON as it is spelled. So is
/// a text that is not valid Unicode because it has half of a surrogate pair.
#[must_use]
pub fn encode(object: &str) -> String {
    let Ok(Members(members)) = serde_json::from_str::<Members<'_>>(object) else { return String::new() };
    let parameters = members.iter().map(|(name, value)| {
        let value = text_of(value).unwrap_or(Cow::Borrowed(value.get()));
        format!("{}={}", encode_part(name), encode_part(&value))
    });
    parameters.collect::<Vec<_>>().join("&")
}

/// Returns whether a query, as it was sent, is UTF-8 after its escapes are decoded. Gateways replace other bytes by
/// U+FFFD.
#[must_use]
pub fn is_utf8(query: &str) -> bool {
    percent_decode_str(query).decode_utf8().is_ok()
}

fn encode_part(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string().replace(' ', "+")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    use super::*;

    #[test]
    fn the_documented_examples_are_reproduced() {
        let cases = [
            (
                r#"{"request-id":"rq:3SVzgJtzu2DvaZSgRGznpdknT3dq:5zKtXEAq","request_id":"rq:3SVzgJtzu2DvaZSgRGznpdknT3dq:5zKtXEAq"}"#,
                "request-id=rq:3SVzgJtzu2DvaZSgRGznpdknT3dq:5zKtXEAq&request_id=rq:3SVzgJtzu2DvaZSgRGznpdknT3dq:5zKtXEAq",
            ),
            (
                r#"{"trace-id":"idm45Ag1X8D8Kvdw","error":14,"message":"Bank is unavailable"}"#,
                "trace-id=idm45Ag1X8D8Kvdw&error=14&message=Bank+is+unavailable",
            ),
        ];
        for (object, query) in cases {
            assert_eq!(encode(object), query);
        }
    }

    #[test]
    fn nested_values_are_compact_json_and_reserved_characters_are_escaped() {
        let object = r#"{"a b":{"x":[1,10.10]},"c":null,"d":true,"e":"a+b&c=d/é%'"}"#;
        let query = "a+b=%7B%22x%22:%5B1%2C10.10%5D%7D&c=null&d=true&e=a%2Bb%26c%3Dd%2F%C3%A9%25%27";
        assert_eq!(encode(object), query);
        assert_eq!(encode("{}"), "");
    }

    proptest! {
        /// The `url` crate, which has the standard's own parser, reads it back.
        #[test]
        fn a_query_decodes_back_to_the_same_fields(
            texts in prop::collection::btree_map(".{0,8}", ".{0,12}", 0..6),
            numbers in prop::collection::btree_map("[a-z]{1,4}\\[\\]", any::<i64>(), 0..4),
        ) {
            let mut object: Map<String, Value> = texts.iter().map(|(name, text)| (name.clone(), text.clone().into())).collect();
            object.extend(numbers.iter().map(|(name, number)| (name.clone(), serde_json::json!({"n": [number]}))));
            let query = encode(&serde_json::to_string(&object).unwrap());
            let decoded: Map<String, Value> =
                url::form_urlencoded::parse(query.as_bytes()).map(|(name, value)| (name.into_owned(), value.into_owned().into())).collect();
            let expected: Map<String, Value> = object
                .into_iter()
                .map(|(name, value)| (name, value.as_str().map_or_else(|| value.to_string(), str::to_owned).into()))
                .collect();
            prop_assert_eq!(decoded, expected);
            prop_assert!(!query.contains(char::is_whitespace));
        }
    }
}
