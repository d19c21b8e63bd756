//! Reads a JSON text once, from its beginning to its end.
//!
//! One scan checks the text, removes its insignificant whitespace, and finds the members of the objects that its caller
//! asks for. It accepts exactly the texts that `serde_json` accepts as a `RawValue`. For other texts, `json::parse` has
//! the fault.

use std::borrow::Cow;
use std::ops::Range;

use crate::input::json::{count_read, is_unfit_for_sqs, push_escape, text_in};

/// The members of a JSON object in the order of the text, with duplicate names, and with values as they are spelled.
pub(crate) type Spelled<'a> = Vec<(Cow<'a, str>, &'a str)>;

/// A JSON value without insignificant whitespace. If it is an object, its members are known, and so are those of an
/// object in it.
#[derive(Debug)]
pub(crate) struct Outline<'a> {
    /// The value as the text spells it.
    pub(crate) text: &'a str,
    /// The value as [`crate::input::json::minify`] spells it.
    pub(crate) json: String,
    members: Option<Vec<Member>>,
    inner: Option<Vec<Member>>,
}

/// The places of a member's name, with its quotes, and of its value.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    name: Range<usize>,
    value: Range<usize>,
}

impl Outline<'_> {
    /// Returns the members. None if the value is not an object, or if a name is not valid Unicode.
    pub(crate) fn members(&self) -> Option<Spelled<'_>> {
        spelled(&self.json, self.members.as_ref()?)
    }

    /// Returns the number of members. 0 if the value is not an object.
    pub(crate) fn member_count(&self) -> usize {
        self.members.as_ref().map_or(0, Vec::len)
    }

    /// Returns the members of the inner object. None if there is no such object, or if a name is not valid Unicode.
    pub(crate) fn inner_members(&self) -> Option<Spelled<'_>> {
        spelled(&self.json, self.inner.as_ref()?)
    }
}

fn spelled<'a>(json: &'a str, members: &[Member]) -> Option<Spelled<'a>> {
    let read = |Member { name, value }: &Member| Some((text_in(&json[name.clone()])?, &json[value.clone()]));
    members.iter().map(read).collect()
}

/// Scans `text` as one value. The member `inner` of an object may have members of its own.
///
/// None if the text is not JSON.
pub(crate) fn outline<'a>(text: &'a str, inner: &str) -> Option<Outline<'a>> {
    let mut scanner = Scanner::new(text);
    let outline = scanner.outline(inner)?;
    scanner.end()?;
    Some(outline)
}

/// Scans `text` as an object, and returns its members.
///
/// None if the text is not JSON or not an object, or if a name is not valid Unicode.
pub(crate) fn members(text: &str) -> Option<Spelled<'_>> {
    let mut scanner = Scanner::new(text);
    let members = scanner.object(|scanner, _| scanner.value())?;
    scanner.end()?;
    spelled(text, &members)
}

/// Scans `text` as a list, and returns its items.
///
/// None if the text is not JSON or not a list.
pub(crate) fn items(text: &str) -> Option<Vec<&str>> {
    let (mut scanner, mut items) = (Scanner::new(text), Vec::new());
    scanner.list(|scanner| {
        items.push(scanner.spelled()?);
        Some(())
    })?;
    scanner.end()?;
    Some(items)
}

/// A JSON text during its scan. Each method that reads returns none if the text is not JSON at the current position.
/// Then the scan is over.
pub(crate) struct Scanner<'a> {
    text: &'a str,
    /// The position of the next byte.
    at: usize,
    copy: Option<Minified>,
    /// The closing brackets of the containers in which the scan of a value is.
    open: Vec<u8>,
}

/// A copy of a part of the text without insignificant whitespace, in pieces that are as long as possible.
struct Minified {
    json: String,
    /// The position in the text where the next piece begins.
    from: usize,
}

/// A member's name as it is spelled, with its quotes.
pub(crate) struct Name<'a>(&'a str);

impl<'a> Name<'a> {
    /// Returns the name. None if it is not valid Unicode.
    pub(crate) fn text(&self) -> Option<Cow<'a, str>> {
        text_in(self.0)
    }
}

impl<'a> Scanner<'a> {
    /// Begins the scan of `text`.
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0, copy: None, open: Vec::new() }
    }

    /// Reads the end of the text, possibly after whitespace.
    pub(crate) fn end(&mut self) -> Option<()> {
        count_read(self.at);
        self.peek().is_none().then_some(())
    }

    /// Reads a value. If several members of an object are called `inner`, the first that is not `null` counts.
    pub(crate) fn outline(&mut self, inner: &str) -> Option<Outline<'a>> {
        let is_object = self.peek()? == b'{';
        let start = self.at;
        self.copy = Some(Minified { json: String::new(), from: start });
        let (mut inner_members, mut is_found) = (None, false);
        let members = if is_object {
            Some(self.object(|scanner, name| {
                if is_found || name.text().is_none_or(|name| name != inner) {
                    return scanner.value();
                }
                if scanner.peek()? == b'{' {
                    inner_members = Some(scanner.object(|scanner, _| scanner.value())?);
                    is_found = true;
                } else {
                    is_found = scanner.spelled()? != "null";
                }
                Some(())
            })?)
        } else {
            self.value()?;
            None
        };
        let Minified { mut json, from } = self.copy.take()?;
        json.push_str(&self.text[from..self.at]);
        Some(Outline { text: &self.text[start..self.at], json, members, inner: inner_members })
    }

    /// Reads a value, and returns it as it is spelled.
    pub(crate) fn spelled(&mut self) -> Option<&'a str> {
        self.peek()?;
        let start = self.at;
        self.value()?;
        Some(&self.text[start..self.at])
    }

    /// Reads an object. `read` reads the value of each member. Returns the places of the members in the copy or, if
    /// there is no copy, in the text.
    pub(crate) fn object(&mut self, mut read: impl FnMut(&mut Self, &Name<'a>) -> Option<()>) -> Option<Vec<Member>> {
        let mut members = Vec::new();
        self.token(b'{')?;
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(members);
        }
        loop {
            self.peek()?;
            let start = self.place();
            let spelled = self.string()?;
            let name = start..self.place();
            self.token(b':')?;
            self.peek()?;
            let start = self.place();
            read(self, &Name(spelled))?;
            members.push(Member { name, value: start..self.place() });
            match self.next()? {
                b',' => {}
                b'}' => return Some(members),
                _ => return None,
            }
        }
    }

    /// Reads a list. `read` reads each item.
    pub(crate) fn list(&mut self, mut read: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.token(b'[')?;
        if self.peek()? == b']' {
            self.at += 1;
            return Some(());
        }
        loop {
            read(self)?;
            match self.next()? {
                b',' => {}
                b']' => return Some(()),
                _ => return None,
            }
        }
    }

    /// Reads a value. It does not recurse, because a text may nest as deeply as it is long.
    pub(crate) fn value(&mut self) -> Option<()> {
        loop {
            match self.peek()? {
                b'{' => {
                    self.enter(b'}');
                    if self.peek()? != b'}' {
                        self.name()?;
                        continue;
                    }
                }
                b'[' => {
                    self.enter(b']');
                    if self.peek()? != b']' {
                        continue;
                    }
                }
                b'"' => drop(self.string()?),
                b'-' | b'0'..=b'9' => self.number()?,
                b'f' => self.literal("false")?,
                b'n' => self.literal("null")?,
                b't' => self.literal("true")?,
                _ => return None,
            }
            loop {
                let Some(&close) = self.open.last() else { return Some(()) };
                match self.next()? {
                    b',' if close == b'}' => break self.name()?,
                    b',' => break,
                    byte if byte == close => drop(self.open.pop()),
                    _ => return None,
                }
            }
        }
    }

    fn enter(&mut self, close: u8) {
        self.at += 1;
        self.open.push(close);
    }

    /// Reads a member's name, and the colon after it.
    fn name(&mut self) -> Option<()> {
        self.peek()?;
        self.string()?;
        self.token(b':')
    }

    /// Reads this byte after whitespace.
    fn token(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    fn literal(&mut self, literal: &str) -> Option<()> {
        self.text[self.at..].starts_with(literal).then(|| self.at += literal.len())
    }

    /// Reads a number (RFC 8259, section 6).
    fn number(&mut self) -> Option<()> {
        self.skip(|byte| byte == b'-', 1);
        if self.skip(|byte| byte == b'0', 1) == 0 {
            self.digits()?;
        }
        if self.skip(|byte| byte == b'.', 1) == 1 {
            self.digits()?;
        }
        if self.skip(|byte| matches!(byte, b'e' | b'E'), 1) == 1 {
            self.skip(|byte| matches!(byte, b'+' | b'-'), 1);
            self.digits()?;
        }
        Some(())
    }

    /// Reads one digit or more.
    fn digits(&mut self) -> Option<()> {
        (self.skip(|byte| byte.is_ascii_digit(), usize::MAX) > 0).then_some(())
    }

    /// Skips at most `most` bytes that `is_meant` picks. Returns how many there were.
    fn skip(&mut self, is_meant: impl Fn(u8) -> bool, most: usize) -> usize {
        let count = self.text.as_bytes()[self.at..].iter().take(most).take_while(|byte| is_meant(**byte)).count();
        self.at += count;
        count
    }

    /// Reads a string (RFC 8259, section 7), and returns it as it is spelled.
    fn string(&mut self) -> Option<&'a str> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        if bytes.get(start) != Some(&b'"') {
            return None;
        }
        let mut at = start + 1;
        loop {
            at = first_special(bytes, at);
            match bytes.get(at)? {
                b'"' => {
                    self.at = at + 1;
                    return Some(&self.text[start..self.at]);
                }
                b'\\' => at += escape_bytes(bytes.get(at + 1..)?)?,
                &UNFIT => {
                    self.copy_escaped(at);
                    at += 3;
                }
                _ => return None, // A control character.
            }
        }
    }

    /// Copies the character at this position as its escape, if it must be escaped.
    fn copy_escaped(&mut self, at: usize) {
        let character = self.text[at..].chars().next().filter(|character| is_unfit_for_sqs(*character));
        if let (Some(character), Some(Minified { json, from })) = (character, &mut self.copy) {
            json.push_str(&self.text[*from..at]);
            push_escape(json, character);
            *from = at + character.len_utf8();
        }
    }

    /// Reads the next byte after whitespace.
    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// Reads whitespace, and returns the byte after it.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = bytes.get(self.at) {
            self.at += 1;
        }
        if let (true, Some(Minified { json, from })) = (self.at > start, &mut self.copy) {
            json.push_str(&self.text[*from..start]);
            *from = self.at;
        }
        bytes.get(self.at).copied()
    }

    /// Returns the current place in the copy or, if there is no copy, in the text.
    fn place(&self) -> usize {
        self.copy.as_ref().map_or(self.at, |Minified { json, from }| json.len() + self.at - from)
    }
}

/// The first byte in UTF-8 of the characters that SQS refuses, and of those from U+F000 on.
const UNFIT: u8 = 0xef;

/// Returns the position of the first byte from `at` on that is special, or of the end.
fn first_special(bytes: &[u8], mut at: usize) -> usize {
    while let Some(word) = bytes[at..].first_chunk() {
        let special = special_in(u64::from_le_bytes(*word));
        if special != 0 {
            return at + special.trailing_zeros() as usize / 8;
        }
        at += size_of_val(word);
    }
    // Bytes after the end are special.
    let mut word = [0; 8];
    word[..bytes.len() - at].copy_from_slice(&bytes[at..]);
    at + special_in(u64::from_le_bytes(word)).trailing_zeros() as usize / 8
}

/// A word of eight bytes that are 1.
const ONES: u64 = 0x0101_0101_0101_0101;

/// Marks the first special byte of a word, in its highest bit. Special are `"`, `\`, [`UNFIT`] and control characters.
/// Bytes after it may be marked too.
fn special_in(word: u64) -> u64 {
    const HIGHEST: u64 = ONES << 7;
    // A byte below `limit` borrows, which sets its highest bit. A byte that has this bit already is not below.
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word & HIGHEST;
    let equal = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    below(word, 0x20) | equal(b'"') | equal(b'\\') | equal(UNFIT)
}

/// Returns the length of an escape, given the bytes after its backslash. Half of a surrogate pair is an escape too.
fn escape_bytes(rest: &[u8]) -> Option<usize> {
    match rest {
        [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => Some(2),
        [b'u', digits @ ..] => digits.first_chunk::<4>()?.iter().all(u8::is_ascii_hexdigit).then_some(6),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::{Index, select};
    use serde_json::value::RawValue;

    use super::*;
    use crate::input::json::{Members, minify};

    type Owned = Vec<(String, String)>;

    fn owned(members: Option<Spelled<'_>>) -> Option<Owned> {
        Some(members?.into_iter().map(|(name, value)| (name.into_owned(), value.to_owned())).collect())
    }

    /// Returns the members of an object as the parser finds them.
    fn parsed(json: &str) -> Option<Owned> {
        let Members(members) = serde_json::from_str(json).ok()?;
        Some(members.into_iter().map(|(name, value)| (name.into_owned(), value.get().to_owned())).collect())
    }

    /// Texts of every token, of which edits make others that are almost JSON.
    const SEEDS: [&str; 4] = [
        "{ \"data\" : {\"a\":[ 1, -0.5e+10 ,{}],\"\\u0062\":\"\\\\ \\\"x\"} ,\r\n\t\"id\":null }",
        r#"{"data":null,"data":{"é":"😀 that is longer than one step of the scan","data":{}},"b":[[[]],[true,false]]}"#,
        r#"[{"\u0064ata":{"a":1},"data":{"b":2}},{},"text",12,null]"#,
        "\"\u{f000}\u{fffe} \u{ffff}\\ud800\"",
    ];

    fn edited() -> impl Strategy<Value = String> {
        let tokens = [
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"",
            "\\",
            " ",
            "\n",
            "0",
            "-",
            ".5",
            "1e9",
            "E",
            "+",
            "true",
            "nul",
            "\u{1}",
            "é",
            "\\ud800",
            "\\u12",
            "\u{fffe}",
            "\u{feff}",
            "\u{a0}",
            "\"data\":",
            "\"data\":{},",
            "null,",
            "\"\\ud800\":1,",
        ];
        let edits = prop::collection::vec((any::<Index>(), 0..3_usize, select(tokens.to_vec())), 0..4);
        (select(SEEDS.to_vec()), edits).prop_map(|(seed, edits)| {
            let mut characters: Vec<char> = seed.chars().collect();
            for (at, length, token) in edits {
                let start = at.index(characters.len() + 1);
                let end = (start + length).min(characters.len());
                characters.splice(start..end, token.chars());
            }
            characters.into_iter().collect()
        })
    }

    fn nearly_json() -> impl Strategy<Value = String> {
        prop_oneof![3 => edited(), 1 => r#"[\[\]{}":,0-9eE+.tfnrualse \n\\-]{0,12}"#, 1 => any::<String>()]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        /// The parser takes one pass to check a text, one to copy it, and one for each object.
        #[test]
        fn one_scan_finds_what_the_parser_finds_in_several_passes(text in nearly_json()) {
            let raw = serde_json::from_str::<&RawValue>(&text).ok();
            let outline = outline(&text, "data");
            prop_assert_eq!(outline.as_ref().map(|outline| outline.text), raw.map(RawValue::get));
            prop_assert_eq!(items(&text).is_some(), serde_json::from_str::<Vec<&RawValue>>(&text).is_ok());
            prop_assert_eq!(owned(members(&text)), parsed(&text));
            let (Some(outline), Some(raw)) = (outline, raw) else { return Ok(()) };
            prop_assert_eq!(&outline.json, &minify(raw.get()));
            let found = parsed(&outline.json);
            prop_assert_eq!(&owned(outline.members()), &found);
            let is_data = |(name, value): &&(String, String)| name == "data" && value != "null";
            let data = found.as_ref().and_then(|members| members.iter().find(is_data));
            prop_assert!(data.is_none() || owned(outline.inner_members()) == data.and_then(|(_, value)| parsed(value)));
        }

        #[test]
        fn the_items_of_a_list_have_the_outlines_of_their_texts(text in nearly_json()) {
            let (mut scanner, mut found) = (Scanner::new(&text), Vec::new());
            let read = scanner.list(|scanner| {
                found.push(scanner.outline("data")?);
                Some(())
            });
            let read = read.and_then(|()| scanner.end());
            let raws: Option<Vec<&RawValue>> = serde_json::from_str(&text).ok();
            prop_assert_eq!(read.is_some(), raws.is_some());
            let Some(raws) = raws else { return Ok(()) };
            prop_assert_eq!(items(&text), Some(raws.iter().map(|raw| raw.get()).collect()));
            prop_assert_eq!(found.len(), raws.len());
            for (found, raw) in found.iter().zip(&raws) {
                let alone = outline(raw.get(), "data").unwrap();
                prop_assert_eq!((found.text, &found.json), (alone.text, &alone.json));
                prop_assert_eq!(owned(found.members()), owned(alone.members()));
                prop_assert_eq!(owned(found.inner_members()), owned(alone.inner_members()));
            }
        }

        #[test]
        fn the_first_special_byte_is_found_wherever_it_is(
            bytes in prop::collection::vec(any::<u8>(), 0..40),
            at in any::<Index>(),
        ) {
            let at = at.index(bytes.len() + 1);
            let is_special = |byte: &u8| *byte < b' ' || matches!(*byte, b'"' | b'\\' | UNFIT);
            let expected = bytes[at..].iter().position(is_special).map_or(bytes.len(), |found| at + found);
            prop_assert_eq!(first_special(&bytes, at), expected);
        }
    }

    #[test]
    fn a_text_may_nest_as_deeply_as_it_is_long() {
        let deep = format!("{}{}", "[".repeat(500_000), "]".repeat(500_000));
        assert_eq!(outline(&deep, "data").unwrap().json, deep);
        assert!(outline(&deep[1..], "data").is_none(), "one bracket too many");
        let objects = format!("{}1{}", r#"{"a":"#.repeat(100_000), "}".repeat(100_000));
        assert_eq!(outline(&objects, "a").unwrap().json, objects);
    }
}
