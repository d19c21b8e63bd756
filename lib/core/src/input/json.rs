//! JSON as bytes: removes whitespace and changes nothing else. Key order and number spelling are the producer's.
//!
//! These functions expect valid JSON. The result for an invalid text is invalid too.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::input::fault::{Fault, FaultCode};

/// Removes the insignificant whitespace of a JSON text ([RFC 8259, section 2][ws]) and keeps every other byte.
///
/// One exception: JSON strings may contain U+FFFE and U+FFFF, but SQS refuses them in a message body. They are spelled
/// as `\ufffe` and `\uffff`. The JSON value does not change.
///
/// [ws]: https://www.rfc-editor.org/rfc/rfc8259#section-2
#[must_use]
pub fn minify(json: &str) -> String {
    respell(json, is_unfit_for_sqs)
}

/// Returns whether SQS refuses `character` in a message body, though JSON allows it in strings.
pub(crate) fn is_unfit_for_sqs(character: char) -> bool {
    matches!(character, '\u{fffe}' | '\u{ffff}')
}

/// Removes insignificant whitespace like [`minify`], and spells the whitespace *inside* strings as `\u0020`-style
/// escapes. The result has no whitespace, and its JSON value is the same.
///
/// Some receivers remove all whitespace before they verify a detached signature. They still see the signed bytes.
/// [`is_whitespace_anywhere`] defines whitespace: every character that a common language strips.
#[must_use]
pub fn without_whitespace(json: &str) -> String {
    respell(json, is_whitespace_anywhere)
}

/// Returns whether some receiver's language treats `character` as whitespace.
///
/// This is the union of Unicode's `White_Space` (Rust, Python, .NET, Java), ECMAScript's `\s`, which adds U+FEFF, and
/// U+180E. The latter was white space until Unicode 6.3 and still is in older runtimes.
#[must_use]
pub fn is_whitespace_anywhere(character: char) -> bool {
    character.is_whitespace() || matches!(character, '\u{feff}' | '\u{180e}')
}

/// Copies `json` without whitespace between tokens, and with an escape such as `\u0020` for each character inside a
/// string that `is_escaped` picks. Every picked character must be in the Basic Multilingual Plane, and none may be visible
/// ASCII.
fn respell(json: &str, is_escaped: impl Fn(char) -> bool) -> String {
    count_read(json.len());
    let mut out = String::with_capacity(json.len());
    // The text between `copied` and `at` is copied unchanged, at once.
    let (mut copied, mut at) = (0, 0);
    let mut in_string = false;
    while let Some(&byte) = json.as_bytes().get(at) {
        if byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\') {
            at += 1;
            continue;
        }
        let character = if byte.is_ascii() { char::from(byte) } else { first_of(&json[at..]) };
        let next = at + character.len_utf8();
        match character {
            '"' => in_string = !in_string,
            '\\' => {
                at = next + json[next..].chars().next().map_or(0, char::len_utf8);
                continue;
            }
            ' ' | '\t' | '\n' | '\r' if !in_string => {
                out.push_str(&json[copied..at]);
                copied = next;
            }
            _ if in_string && is_escaped(character) => {
                out.push_str(&json[copied..at]);
                push_escape(&mut out, character);
                copied = next;
            }
            _ => {}
        }
        at = next;
    }
    out.push_str(&json[copied..]);
    out
}

fn first_of(text: &str) -> char {
    text.chars().next().unwrap_or_default()
}

/// Adds the escape of a character of the Basic Multilingual Plane, such as `\u0020`.
pub(crate) fn push_escape(out: &mut String, character: char) {
    out.push_str("\\u");
    let digits = [12, 8, 4, 0].map(|shift| char::from_digit((u32::from(character) >> shift) & 0xf, 16));
    out.extend(digits.into_iter().flatten());
}

/// Checks that `text` is JSON. Its values are read later.
///
/// # Errors
/// One fault that never quotes the parser: what was found instead, and at which position.
pub(crate) fn parse(text: &str, expected: impl Into<String>) -> Result<&RawValue, Vec<Fault>> {
    count_read(text.len());
    serde_json::from_str(text).map_err(|error| vec![not_json(text, &error, expected.into())])
}

/// Returns the fault of a text that is not JSON, as [`parse`] does.
pub(crate) fn faults_of(text: &str, expected: &str) -> Vec<Fault> {
    // The scan that refused the text and the parser accept the same texts: a property test proves it.
    parse(text, expected).err().unwrap_or_else(|| vec![Fault::whole("a text that is not JSON", expected)])
}

fn not_json(text: &str, error: &serde_json::Error, expected: String) -> Fault {
    if text.starts_with('\u{feff}') {
        let expected = "JSON without a byte order mark (U+FEFF); remove it";
        return Fault::whole("a byte order mark before the JSON", expected).code(FaultCode::NotJson);
    }
    if text.trim_matches([' ', '\t', '\n', '\r']).is_empty() {
        return Fault::nothing_at("", expected);
    }
    if error.is_eof() {
        return Fault::whole("JSON that ends too early", expected).code(FaultCode::NotJson);
    }
    let before = text.split_inclusive('\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
    let before = before.as_bytes().get(..error.column().saturating_sub(1)).unwrap_or_default();
    let column = String::from_utf8_lossy(before).chars().count() + 1; // The parser counts bytes, and people count characters.
    let mut found = format!("not JSON from line {}, column {column} on", error.line());
    if let Some(word) = ["NaN", "Infinity", "undefined", "None", "True", "False"]
        .into_iter()
        .find(|word| at(text, error).starts_with(word))
    {
        let _ = write!(found, ": `{word}`, which JSON does not have"); // Writing to a String cannot fail.
    }
    Fault::whole(found, expected).code(FaultCode::NotJson)
}

/// Returns the text that the parser did not understand, from the beginning of its word.
fn at<'a>(text: &'a str, error: &serde_json::Error) -> &'a str {
    let line: usize = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    let end = line + error.column().saturating_sub(1);
    let before = text.get(..end).unwrap_or_default();
    &text[before.trim_end_matches(|character: char| character.is_ascii_alphabetic()).len()..]
}

/// The members of a JSON object in the order of the text, with duplicate names, and with values as they are spelled.
#[derive(Debug)]
pub struct Members<'a>(pub Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((Name(name), value)) = map.next_entry::<_, &RawValue>()? {
                    count_read(name.len() + value.get().len());
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(MembersVisitor)
    }
}

/// Returns the text of a JSON value that is a text.
#[must_use]
pub fn text_of(value: &RawValue) -> Option<Cow<'_, str>> {
    text_in(value.get())
}

/// Returns the text of a JSON value that is a text. `json` must be valid, and have no whitespace around it.
pub(crate) fn text_in(json: &str) -> Option<Cow<'_, str>> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    count_read(json.len());
    if inner.contains('\\') { serde_json::from_str(json).ok().map(Cow::Owned) } else { Some(Cow::Borrowed(inner)) }
}

/// Counts bytes that a pass over a JSON text reads, so that tests can prove how often a payload is read.
pub(crate) fn count_read(bytes: usize) {
    #[cfg(test)]
    READ_BYTES.set(READ_BYTES.get() + bytes);
    #[cfg(not(test))]
    let _ = bytes;
}

#[cfg(test)]
thread_local! {
    static READ_BYTES: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Returns how many bytes of JSON `work` reads, and its result.
#[cfg(test)]
pub(crate) fn bytes_read_by<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let before = READ_BYTES.get();
    let result = work();
    (READ_BYTES.get() - before, result)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn minify_touches_nothing_but_whitespace_between_tokens() {
        let cases = [
            ("{ \"b\" : 1 ,\n\t\"a\" : 2 }", r#"{"b":1,"a":2}"#, "key order is the producer's"),
            (
                "[ 10.10, 12345678901234567890.5, 1E+2, -0 ]",
                "[10.10,12345678901234567890.5,1E+2,-0]",
                "number spelling",
            ),
            (r#"{"a": "x  y\t\" z\\"}"#, r#"{"a":"x  y\t\" z\\"}"#, "strings stay, escapes and quotes included"),
            (r#"{"a":"\u0041\/"}"#, r#"{"a":"\u0041\/"}"#, "an unnecessary escape is still the producer's spelling"),
            ("{\"a\":1, \"a\":2}", r#"{"a":1,"a":2}"#, "repeated names are not checked here"),
            ("\"\u{fffe}\u{ffff}\"", r#""\ufffe\uffff""#, "SQS refuses these two raw"),
        ];
        for (input, expected, why) in cases {
            assert_eq!(minify(input), expected, "{why}");
        }
    }

    #[test]
    fn whitespace_inside_strings_is_spelled_as_escapes() {
        let cases = [
            (r#"{"name": "John Smith"}"#, r#"{"name":"John\u0020Smith"}"#),
            ("\"a\u{a0}b\u{2028}c\u{feff}d\u{3000}\"", r#""a\u00a0b\u2028c\ufeffd\u3000""#),
            (r#""tab\tand\nline""#, r#""tab\tand\nline""#),
        ];
        for (input, expected) in cases {
            assert_eq!(without_whitespace(input), expected);
        }
    }

    #[test]
    fn members_keep_order_and_repetition() {
        let Members(members) = serde_json::from_str(r#"{"b":1.0,"a\u0062":[ 2 ],"b":3}"#).unwrap();
        let seen: Vec<_> = members.iter().map(|(name, value)| (name.as_ref(), value.get())).collect();
        assert_eq!(seen, [("b", "1.0"), ("ab", "[ 2 ]"), ("b", "3")]);
    }

    #[test]
    fn invalid_json_has_a_fault_in_words_of_our_own() {
        let cases = [
            ("", FaultCode::Missing, "nothing"),
            (" \r\n", FaultCode::Missing, "nothing"),
            ("\u{feff}{}", FaultCode::NotJson, "a byte order mark before the JSON"),
            ("{\"a\":", FaultCode::NotJson, "JSON that ends too early"),
            ("{\"é\":1,}", FaultCode::NotJson, "not JSON from line 1, column 8 on"),
            (
                "{\n \"a\":NaN}",
                FaultCode::NotJson,
                "not JSON from line 2, column 6 on: `NaN`, which JSON does not have",
            ),
            (
                "[-Infinity]",
                FaultCode::NotJson,
                "not JSON from line 1, column 3 on: `Infinity`, which JSON does not have",
            ),
            ("{} x", FaultCode::NotJson, "not JSON from line 1, column 4 on"),
            ("a=b", FaultCode::NotJson, "not JSON from line 1, column 1 on"),
            ("\"\u{1}\"", FaultCode::NotJson, "not JSON from line 1, column 1 on"),
        ];
        for (text, code, found) in cases {
            let faults = parse(text, "a letter").unwrap_err();
            assert_eq!((faults[0].code, &*faults[0].found), (code, found), "{text:?}");
        }
        for fine in ["\"\u{fffe}\u{ffff}\"", " {} ", "1e400"] {
            assert!(parse(fine, "").is_ok(), "{fine}");
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let text = prop_oneof![any::<String>(), "[ \\t\\n\\r\u{b}\u{c}\u{85}\u{a0}\u{2003}\u{feff}\"\\\\a]{0,12}"];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(|number| json!(number)),
            text.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 8, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::btree_map(text.clone(), inner, 0..8).prop_map(|map| json!(map)),
            ]
        })
    }

    proptest! {
        /// [`crate::delivery::request::MAX_BODY_BYTES`] relies on it.
        #[test]
        fn escapes_make_a_text_six_times_as_long_at_the_most(text in r"[ \t\u{85}\u{a0}\u{180e}\u{2003}\u{feff}aä€😀]{0,50}") {
            let json = serde_json::to_string(&text).unwrap();
            prop_assert!(without_whitespace(&json).len() <= 6 * json.len());
        }

        /// Compared as text: a parser would not see the difference between `10.10` and `10.1`.
        #[test]
        fn key_order_and_number_spelling_survive(
            members in prop::collection::vec(("[a-z]{1,6}", "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?"), 0..12),
            space in "[ \\t\\n\\r]{0,3}",
        ) {
            let spelled: Vec<_> =
                members.iter().map(|(name, number)| format!("{space}\"{name}\"{space}:{space}{number}{space}")).collect();
            let bare = without_whitespace(&format!("{{{}}}", spelled.join(",")));
            let Members(read) = serde_json::from_str(&bare).unwrap();
            let read: Vec<_> = read.iter().map(|(name, value)| (name.to_string(), value.get().to_owned())).collect();
            prop_assert_eq!(read, members);
        }

        /// No fault contains a word of the parser.
        #[test]
        fn no_fault_quotes_the_parser(text in prop_oneof![any::<String>(), "[\\[{\"a:, 1.eENaInf\\\\u]{0,12}"]) {
            let Err(faults) = parse(&text, "a letter") else { return Ok(()) };
            let ours = ["nothing", "a byte order mark before the JSON", "JSON that ends too early", "not JSON from line "];
            prop_assert!(ours.iter().any(|start| faults[0].found.starts_with(start)), "{}", faults[0].found);
        }

        #[test]
        fn any_value_survives_and_no_whitespace_is_left(value in any_json(), pretty in any::<bool>()) {
            let spelled = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            let value: Value = serde_json::from_str(&spelled).unwrap(); // As a receiver reads it, float rounding included.
            let bare = without_whitespace(&spelled);
            prop_assert_eq!(serde_json::from_str::<Value>(&bare).unwrap(), value.clone());
            prop_assert!(!bare.contains(is_whitespace_anywhere), "{}", bare);
            let minified = minify(&spelled);
            prop_assert_eq!(serde_json::from_str::<Value>(&minified).unwrap(), value);
            prop_assert_eq!(without_whitespace(&minified), bare);
        }
    }
}
