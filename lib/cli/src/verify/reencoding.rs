//! Finds out how somebody changed a body between its arrival and its verification.
//!
//! The usual change is a JSON parser: it reads `10.50`, and writes `10.5`. The original is lost, but the signature is a
//! test for it. So this module tries the spellings that common libraries change, until one fits the signature.

use std::time::{Duration, Instant};

use signpost_core::input::json;

/// The most spellings that are tried. Each costs one verification, about 20 µs for RSA.
const MOST_TRIES: usize = 6_000;
/// The longest search. A wrong webhook that anyone sends to `listen` starts one.
const LONGEST: Duration = Duration::from_secs(2);
/// The most bytes that the spellings of one kind have together.
const MOST_BYTES: usize = 16 << 20;

/// The change of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The place: a JSON Pointer, or the number of a byte.
    pub place: String,
    /// The kind of change, for people.
    pub what: &'static str,
    /// The text of the body there.
    pub has: String,
    /// The text that Signpost signed there.
    pub signed: String,
}

/// A token of a JSON text.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    text: String,
    pointer: String,
    is_key: bool,
}

/// Looks for the body that Signpost signed. `fits` says whether the signature is valid for a body.
pub fn find_change(body: &[u8], fits: &dyn Fn(&[u8]) -> bool) -> Option<Change> {
    let trimmed = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii();
    if trimmed.len() < body.len() && fits(trimmed) {
        let place = if body.starts_with(b"\xef\xbb\xbf") { "byte 0" } else { "the end of the body" };
        return Some(Change {
            place: place.to_owned(),
            what: "bytes were added around the JSON",
            has: format!("{} bytes", body.len()),
            signed: format!("{} bytes", trimmed.len()),
        });
    }
    let text = std::str::from_utf8(trimmed).ok()?;
    serde_json::from_str::<&serde_json::value::RawValue>(text).ok()?;
    let begin = Instant::now();
    let candidates = spellings(text).take(MOST_TRIES).take_while(|_| begin.elapsed() < LONGEST);
    let original = candidates.into_iter().find(|candidate| fits(candidate.as_bytes()))?;
    Some(compare(text, &original))
}

/// Returns the first place where `text` has what Signpost never sends, if there is one.
#[must_use]
pub fn suspicious_place(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    serde_json::from_str::<&serde_json::value::RawValue>(text).ok()?;
    let at = text.find(json::is_whitespace_anywhere)?;
    Some(format!("byte {at}"))
}

fn spellings(text: &str) -> impl Iterator<Item = String> {
    let strings = [text.to_owned(), unescaped(text), escaped(text, false), escaped(text, true)];
    let bases: Vec<String> = strings.iter().map(|one| json::without_whitespace(&json::minify(one))).collect();
    let first = bases[0].clone();
    let numbers = bases.clone().into_iter().flat_map(|base| with_other_numbers(&base));
    let orders = bases.clone().into_iter().flat_map(|base| with_other_orders(&base));
    let both = with_other_numbers(&first).into_iter().flat_map(|one| with_other_orders(&one));
    bases.into_iter().chain(numbers).chain(orders).chain(both)
}

/// Writes each escaped character as itself, except those that JSON demands to be escaped.
fn unescaped(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        result.push_str(&rest[..at]);
        let escape = &rest[at..];
        let length = escape_length(escape);
        let (escape, after) = escape.split_at(length);
        let read: Option<String> = serde_json::from_str(&format!("\"{escape}\"")).ok();
        match read.as_deref() {
            Some("\"" | "\\") | None => result.push_str(escape),
            Some(one) if one.chars().all(char::is_control) => result.push_str(escape),
            Some(one) => result.push_str(one),
        }
        rest = after;
    }
    result + rest
}

/// Returns the length of the escape at the start of `text`: of a surrogate pair, both halves.
fn escape_length(text: &str) -> usize {
    let unit = |text: &str| {
        if text[1..].starts_with('u') && text.is_char_boundary(6.min(text.len())) {
            6.min(text.len())
        } else {
            2.min(text.len())
        }
    };
    let first = unit(text);
    let is_high =
        text.get(2..4).is_some_and(|digits| matches!(digits.to_ascii_lowercase().as_str(), "d8" | "d9" | "da" | "db"));
    if first == 6 && is_high && text[first..].starts_with("\\u") { (first + 6).min(text.len()) } else { first }
}

/// Writes each character outside ASCII as an escape.
fn escaped(text: &str, is_upper: bool) -> String {
    let mut units = [0; 2];
    text.chars()
        .map(|character| match character {
            character if character.is_ascii() => character.to_string(),
            character => character
                .encode_utf16(&mut units)
                .iter()
                .map(|unit| if is_upper { format!("\\u{unit:04X}") } else { format!("\\u{unit:04x}") })
                .collect(),
        })
        .collect()
}

/// Spells each number in the ways that parsers lose: `10.5` as `10.50`, `7` as `7.0`.
fn with_other_numbers(text: &str) -> Vec<String> {
    let tokens = tokens(text);
    let is_number = |token: &Token| token.text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    let places: Vec<usize> = (0..tokens.len()).filter(|index| is_number(&tokens[*index])).collect();
    let places = &places[..places.len().min(MOST_BYTES / 4 / text.len().max(1))];
    let join = |changes: &[(usize, String)]| {
        let mut result = String::new();
        for (index, token) in tokens.iter().enumerate() {
            let changed = changes.iter().find(|(place, _)| *place == index);
            result.push_str(changed.map_or(&token.text, |(_, text)| text));
        }
        result
    };
    let mut all = Vec::new();
    for place in places {
        all.extend(spellings_of_number(&tokens[*place].text).into_iter().map(|other| join(&[(*place, other)])));
    }
    for kind in 0..3 {
        let changes = places.iter().filter_map(|place| {
            let other = spellings_of_number(&tokens[*place].text).into_iter().nth(kind)?;
            Some((*place, other))
        });
        all.push(join(&changes.collect::<Vec<_>>()));
    }
    all
}

fn spellings_of_number(number: &str) -> Vec<String> {
    if number.contains(['e', 'E']) {
        let plain = number.replace("e+", "e").replace("E+", "E");
        let mut all = vec![plain.to_uppercase(), plain.to_lowercase(), number.to_uppercase()];
        if let Ok(value) = number.parse::<f64>() {
            all.push(format!("{value}"));
        }
        return all;
    }
    let mut all = match number.split_once('.') {
        Some((_, fraction)) if fraction.len() < 2 => {
            vec![format!("{number}0"), format!("{number}00"), format!("{number}000")]
        }
        Some(_) => vec![format!("{number}0"), format!("{number}00")],
        None => vec![format!("{number}.00"), format!("{number}.0"), format!("{number}.000")],
    };
    if let Some(whole) = number.strip_suffix(".0") {
        all.push(whole.to_owned());
    }
    all
}

/// Writes the members of the outermost object in every order, if they are few.
fn with_other_orders(text: &str) -> Vec<String> {
    let members = members(text);
    if !(2..=6).contains(&members.len()) || text.len() > MOST_BYTES / 720 {
        return Vec::new();
    }
    permutations(&members).into_iter().map(|order| format!("{{{}}}", order.join(","))).collect()
}

/// Splits the outermost object into its members.
fn members(text: &str) -> Vec<&str> {
    let Some(inside) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else { return Vec::new() };
    let (mut all, mut start, mut depth, mut is_in_string, mut is_escaped) = (Vec::new(), 0, 0, false, false);
    for (at, byte) in inside.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_in_string => is_escaped = true,
            b'"' => is_in_string = !is_in_string,
            b'{' | b'[' if !is_in_string => depth += 1,
            b'}' | b']' if !is_in_string => depth -= 1,
            b',' if !is_in_string && depth == 0 => {
                all.push(&inside[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    all.push(&inside[start..]);
    all
}

fn permutations<'a>(members: &[&'a str]) -> Vec<Vec<&'a str>> {
    if members.len() < 2 {
        return vec![members.to_vec()];
    }
    let mut all = Vec::new();
    for index in 0..members.len() {
        let mut rest = members.to_vec();
        let first = rest.remove(index);
        all.extend(permutations(&rest).into_iter().map(|order| [vec![first], order].concat()));
    }
    all
}

/// Describes the first difference between the body and the original.
fn compare(body: &str, original: &str) -> Change {
    let (has, signed) = (tokens(body), tokens(original));
    let different = has.iter().zip(&signed).find(|(one, other)| one.text != other.text);
    let Some((has, signed)) = different else {
        let at = body.bytes().zip(original.bytes()).position(|(one, other)| one != other).unwrap_or(original.len());
        let what = "whitespace was added between the JSON tokens";
        return Change { place: format!("byte {at}"), what, has: excerpt(body, at), signed: excerpt(original, at) };
    };
    let what = if has.is_key && signed.is_key && meaning(&has.text) != meaning(&signed.text) {
        "the order of the members changed"
    } else if has.text.starts_with('"') {
        "the spelling of a string changed"
    } else {
        "the spelling of a number changed"
    };
    Change { place: format!("`{}`", has.pointer), what, has: has.text.clone(), signed: signed.text.clone() }
}

fn meaning(text: &str) -> Option<String> {
    serde_json::from_str(text).ok()
}

fn excerpt(text: &str, at: usize) -> String {
    text.get(at..).unwrap_or_default().chars().take(12).collect()
}

/// Splits a valid JSON text into tokens without whitespace, each with the JSON Pointer of its value.
fn tokens(text: &str) -> Vec<Token> {
    let (mut all, mut rest) = (Vec::<Token>::new(), text.trim_start());
    // The open arrays and objects: the key or the index of the present value.
    let mut path: Vec<Result<String, usize>> = Vec::new();
    let pointer = |path: &[Result<String, usize>]| {
        path.iter().fold(String::new(), |pointer, step| match step {
            Ok(key) => format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1")),
            Err(index) => format!("{pointer}/{index}"),
        })
    };
    let mut is_key_next = false;
    while let Some(first) = rest.chars().next() {
        let length = token_length(rest);
        let (token, after) = rest.split_at(length);
        rest = after.trim_start();
        let is_key = is_key_next && first == '"';
        match first {
            '{' => path.push(Ok(String::new())),
            '[' => path.push(Err(0)),
            '}' | ']' => drop(path.pop()),
            ',' => {
                if let Some(Err(index)) = path.last_mut() {
                    *index += 1;
                }
            }
            '"' if is_key => {
                if let Some(step) = path.last_mut() {
                    *step = Ok(meaning(token).unwrap_or_default());
                }
            }
            _ => {}
        }
        is_key_next = first == '{' || (first == ',' && matches!(path.last(), Some(Ok(_))));
        all.push(Token { text: token.to_owned(), pointer: pointer(&path), is_key });
    }
    all
}

fn token_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    match bytes[0] {
        b'{' | b'}' | b'[' | b']' | b',' | b':' => 1,
        b'"' => {
            let mut is_escaped = false;
            let end = bytes[1..].iter().position(|byte| {
                let is_end = *byte == b'"' && !is_escaped;
                is_escaped = *byte == b'\\' && !is_escaped;
                is_end
            });
            end.map_or(text.len(), |end| end + 2)
        }
        _ => text.find(|one: char| matches!(one, ',' | '}' | ']' | ':') || one.is_whitespace()).unwrap_or(text.len()),
    }
}
