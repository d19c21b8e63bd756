//! Spellings: the ways in which frameworks write a text into JSON, HTML, URLs and source code.
//!
//! Frameworks nest spellings: an HTML page may show JSON that contains a URL. The text does not show how many are
//! nested, because `%2F` may be a slash or three characters. Therefore a text has many [`Readings`], and a search must
//! try each.

use std::ops::Range;

/// A way to read a part of a text as one character.
///
/// A byte that is not ASCII reads as the character with that number (Latin-1), and as a part of UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reading {
    /// The number of the character, which may be half of a surrogate pair, or [`OPEN`].
    character: u32,
    /// The end of the part.
    end: usize,
    /// The number of nested spellings in it.
    nesting: u8,
}

/// Any character, because the text was cut inside its spelling.
const OPEN: u32 = u32::MAX;

/// The maximum number of nested spellings. HTML of a URL in JSON in JSON has four.
const MAX_NESTING: u8 = 4;

/// The maximum number of readings that start at one position. Only a long run of backslashes or quotes has so many.
const MAX_READINGS: usize = 32;

/// All ways to read a text, nested spellings included.
#[derive(Debug)]
pub struct Readings {
    all: Vec<Reading>,
    /// The readings in `all` that start at each byte of the text.
    from: Vec<Range<usize>>,
    is_cut: bool,
}

/// The part of a term that a text contains from one position on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The number of characters of the term that were read.
    pub characters: usize,
    /// The end of these characters in the text.
    pub end: usize,
    /// True if the rest of the term may be in the part of the text that was cut off.
    pub is_open: bool,
}

impl Readings {
    /// Reads `text`. If `is_cut`, an incomplete spelling at its end may be any character.
    #[must_use]
    pub fn new(text: &[u8], is_cut: bool) -> Self {
        let mut readings = Self { all: Vec::with_capacity(text.len()), from: vec![0..0; text.len()], is_cut };
        // Starts at the end, because a spelling consists of readings, and those after its first must be known.
        for (at, byte) in text.iter().enumerate().rev() {
            let first = readings.all.len();
            readings.all.push(Reading { character: u32::from(*byte), end: at + 1, nesting: 0 });
            let mut next = first;
            while let Some(reading) = readings.all.get(next).copied() {
                for found in Decoder::decode(&readings, reading) {
                    let known = &readings.all[first..];
                    let is_new = known.iter().all(|one| (one.character, one.end) != (found.character, found.end));
                    if is_new && known.len() < MAX_READINGS {
                        readings.all.push(found);
                    }
                }
                next += 1;
            }
            readings.from[at] = first..readings.all.len();
        }
        readings
    }

    fn from(&self, at: usize) -> &[Reading] {
        self.from.get(at).map_or(&[], |range| &self.all[range.clone()])
    }

    fn len(&self) -> usize {
        self.from.len()
    }

    /// Returns the completely decoded text, as the numbers of its characters.
    #[must_use]
    pub fn plain(&self) -> Vec<u32> {
        let (mut plain, mut at) = (Vec::with_capacity(self.len()), 0);
        while let Some(longest) = self.from(at).iter().max_by_key(|reading| reading.end) {
            plain.push(longest.character);
            at = longest.end;
        }
        plain
    }

    /// Reads `term` from `start` on, as far as any reading reaches. Padding (`=`) after a whole term belongs to it.
    ///
    /// Each comparison takes one of `steps`. If no step remains, the reach may be too short.
    #[must_use]
    pub fn reach(&self, start: usize, term: &[u32], steps: &mut usize) -> Reach {
        let mut reach = Reach { characters: 0, end: start, is_open: false };
        let (mut ends, mut next) = (Vec::new(), Vec::new());
        let padding = std::iter::repeat(u32::from('='));
        for character in term.iter().copied().chain(padding) {
            let before = if reach.characters == 0 { &[start][..] } else { &ends };
            for reading in before.iter().flat_map(|end| self.from(*end)) {
                *steps = steps.saturating_sub(1 + next.len());
                if *steps == 0 {
                    return reach;
                }
                if reading.spells(character) && !next.contains(&reading.end) {
                    next.push(reading.end);
                }
            }
            let Some(end) = next.iter().max() else { break };
            reach.characters = term.len().min(reach.characters + 1);
            reach.end = *end;
            reach.is_open |= self.is_cut && *end == self.len();
            std::mem::swap(&mut ends, &mut next);
            next.clear();
        }
        reach
    }
}

impl Reading {
    fn spells(self, character: u32) -> bool {
        self.character == OPEN || fold(self.character) == fold(character)
    }
}

/// Replaces characters that have the same meaning: `+-` and `/_` in the two alphabets of base64 (RFC 4648, sections 4
/// and 5), and the space, which a form spells `+` and HTML may spell U+00A0.
fn fold(character: u32) -> u32 {
    match char::from_u32(character) {
        Some('-' | ' ' | '\u{a0}') => u32::from('+'),
        Some('_') => u32::from('/'),
        _ => character,
    }
}

/// Finds the spellings whose first part is a given reading.
struct Decoder<'a> {
    readings: &'a Readings,
    found: Vec<Reading>,
    /// True if the text ends inside a spelling.
    is_open: bool,
}

impl<'a> Decoder<'a> {
    fn decode(readings: &'a Readings, first: Reading) -> Vec<Reading> {
        let mut decoder = Self { readings, found: Vec::new(), is_open: false };
        let start = [Reading { character: 0, ..first }];
        let sign = char::from_u32(first.character).filter(|_| first.nesting < MAX_NESTING);
        match (first.character, sign) {
            (_, Some('%')) => decoder.percent(&start),
            (_, Some('\\')) => decoder.backslash(&start),
            (_, Some('&')) => decoder.entity(&start),
            (_, Some(quote @ ('\'' | '"'))) => decoder.doubled(&start, quote),
            (lead @ 0xc2..=0xf4, _) => decoder.utf8(&start, lead),
            (high @ 0xd800..=0xdbff, _) => decoder.surrogates(&start, high),
            _ => {}
        }
        if decoder.is_open && readings.is_cut {
            decoder.found.push(Reading { character: OPEN, end: readings.len(), nesting: first.nesting });
        }
        decoder.found
    }

    /// Reads one more character after each of `parts`. `accept` returns the new value of a part from its current value
    /// and the character, or none if the character does not continue the spelling.
    fn then(&mut self, parts: &[Reading], accept: impl Fn(u32, u32) -> Option<u32>) -> Vec<Reading> {
        let mut longer = Vec::new();
        for part in parts {
            self.is_open |= part.end == self.readings.len();
            for reading in self.readings.from(part.end) {
                self.is_open |= reading.character == OPEN;
                if let Some(character) = accept(part.character, reading.character)
                    && longer.len() < MAX_READINGS
                {
                    longer.push(Reading { character, end: reading.end, nesting: part.nesting.max(reading.nesting) });
                }
            }
        }
        longer
    }

    fn exactly(&mut self, parts: &[Reading], expected: char) -> Vec<Reading> {
        self.then(parts, |value, character| (character == u32::from(expected)).then_some(value))
    }

    fn digits(&mut self, parts: &[Reading], count: usize, radix: u32) -> Vec<Reading> {
        let digit = |value: u32, character| {
            let digit = char::from_u32(character)?.to_digit(radix)?;
            value.checked_mul(radix)?.checked_add(digit)
        };
        (0..count).fold(parts.to_vec(), |parts, _| self.then(&parts, digit))
    }

    /// Adds `parts` as readings. Their nesting is one more than that of their parts.
    fn found(&mut self, parts: &[Reading]) {
        let deeper = parts.iter().map(|part| Reading { nesting: part.nesting + 1, ..*part });
        self.found.extend(deeper.filter(|part| part.nesting <= MAX_NESTING && part.character <= u32::from(char::MAX)));
    }

    /// `%2F` (RFC 3986, section 2.1), and `%u002F` of JavaScript's `escape`.
    fn percent(&mut self, start: &[Reading]) {
        let byte = self.digits(start, 2, 16);
        self.found(&byte);
        let unit = self.exactly(start, 'u');
        let unit = self.digits(&unit, 4, 16);
        self.found(&unit);
    }

    /// `\/`, `\n`, `\u002f`, `\U0000002f`, `\u{2f}`, `\x2f`, `\x{2f}` and `\057`, of JSON (RFC 8259, section 7) and
    /// programming languages.
    fn backslash(&mut self, start: &[Reading]) {
        let single = self.then(start, |_, character| unescaped(char::from_u32(character)?));
        self.found(&single);
        for (letter, count) in [('x', 2), ('u', 4), ('U', 8)] {
            let begun = self.exactly(start, letter);
            let fixed = self.digits(&begun, count, 16);
            self.found(&fixed);
            let mut braced = self.exactly(&begun, '{');
            for _ in 0..6 {
                braced = self.digits(&braced, 1, 16);
                let closed = self.exactly(&braced, '}');
                self.found(&closed);
            }
        }
        let octal = self.digits(start, 3, 8);
        self.found(&octal);
    }

    /// `&sol;`, `&#47;`, `&#047;`, `&#x2F;` (WHATWG HTML, section 13.1.4).
    fn entity(&mut self, start: &[Reading]) {
        let number = self.exactly(start, '#');
        let marks = ['x', 'X'].map(|mark| self.exactly(&number, mark));
        for (mut digits, radix) in [(number, 10), (marks.concat(), 16)] {
            for _ in 0..MAX_ENTITY_DIGITS {
                digits = self.digits(&digits, 1, radix);
                let closed = self.exactly(&digits, ';');
                self.found(&closed);
            }
        }
        for first in
            self.then(start, |_, character| char::from_u32(character)?.is_ascii_alphabetic().then_some(character))
        {
            for (name, character) in
                entities().filter(|(name, _)| name.chars().next().map(u32::from) == Some(first.character))
            {
                let mut parts = vec![Reading { character, ..first }];
                for letter in name.chars().skip(1).chain([';']) {
                    parts = self.exactly(&parts, letter);
                }
                self.found(&parts);
            }
        }
    }

    /// `''` within single quotes (SQL, YAML), and `""` within double ones (CSV).
    fn doubled(&mut self, start: &[Reading], quote: char) {
        let doubled = self.then(start, |_, character| (character == u32::from(quote)).then_some(character));
        self.found(&doubled);
    }

    /// The bytes of one character in UTF-8, also if a framework read each as a character (`Ã©`). This adds no nesting.
    fn utf8(&mut self, start: &[Reading], lead: u32) {
        let (count, bits) = match lead {
            0xc2..=0xdf => (1, lead & 0x1f),
            0xe0..=0xef => (2, lead & 0x0f),
            _ => (3, lead & 0x07),
        };
        let next = |value, byte| (0x80..=0xbf).contains(&byte).then_some(value << 6 | byte & 0x3f);
        let start = start.iter().map(|part| Reading { character: bits, ..*part }).collect();
        let joined = (0..count).fold(start, |parts: Vec<_>, _| self.then(&parts, next));
        self.found.extend(joined);
    }

    /// The two halves of one character in UTF-16 (RFC 8259, section 7). This adds no nesting either.
    fn surrogates(&mut self, start: &[Reading], high: u32) {
        let joined = self.then(start, |_, low| {
            (0xdc00..=0xdfff).contains(&low).then(|| 0x1_0000 + ((high - 0xd800) << 10 | (low - 0xdc00)))
        });
        self.found.extend(joined);
    }
}

/// Returns the character that a backslash and `letter` spell. Punctuation and the space spell themselves.
fn unescaped(letter: char) -> Option<u32> {
    let character = match letter {
        '0' => '\0',
        'a' => '\u{7}',
        'b' => '\u{8}',
        't' => '\t',
        'n' => '\n',
        'v' => '\u{b}',
        'f' => '\u{c}',
        'r' => '\r',
        'e' => '\u{1b}',
        ' ' => ' ',
        punctuation if punctuation.is_ascii_punctuation() => punctuation,
        _ => return None,
    };
    Some(u32::from(character))
}

/// Seven digits spell every character, and up to three leading zeros may precede them.
const MAX_ENTITY_DIGITS: usize = 10;

/// Returns the names of characters in HTML.
fn entities() -> impl Iterator<Item = (&'static str, u32)> {
    ENTITIES
        .map(|(name, character)| (name, u32::from(character)))
        .into_iter()
        .chain(LATIN_ENTITIES.into_iter().zip(0xa0..))
}

/// The names of ASCII's characters (WHATWG HTML, section 13.5), and of one that PHP's `htmlentities` also names.
const ENTITIES: [(&str, char); 50] = [
    ("Tab", '\t'),
    ("NewLine", '\n'),
    ("excl", '!'),
    ("quot", '"'),
    ("QUOT", '"'),
    ("num", '#'),
    ("dollar", '$'),
    ("percnt", '%'),
    ("amp", '&'),
    ("AMP", '&'),
    ("apos", '\''),
    ("lpar", '('),
    ("rpar", ')'),
    ("ast", '*'),
    ("midast", '*'),
    ("plus", '+'),
    ("comma", ','),
    ("hyphen", '-'),
    ("dash", '-'),
    ("period", '.'),
    ("sol", '/'),
    ("colon", ':'),
    ("semi", ';'),
    ("lt", '<'),
    ("LT", '<'),
    ("equals", '='),
    ("gt", '>'),
    ("GT", '>'),
    ("quest", '?'),
    ("commat", '@'),
    ("lsqb", '['),
    ("lbrack", '['),
    ("bsol", '\\'),
    ("rsqb", ']'),
    ("rbrack", ']'),
    ("Hat", '^'),
    ("lowbar", '_'),
    ("UnderBar", '_'),
    ("grave", '`'),
    ("DiacriticalGrave", '`'),
    ("lcub", '{'),
    ("lbrace", '{'),
    ("verbar", '|'),
    ("vert", '|'),
    ("VerticalLine", '|'),
    ("rcub", '}'),
    ("rbrace", '}'),
    ("NonBreakingSpace", '\u{a0}'),
    ("tilde", '~'),
    ("euro", '€'),
];

/// The names of the characters from U+00A0 to U+00FF, in this order, which PHP's `htmlentities` writes.
const LATIN_ENTITIES: [&str; 96] = [
    "nbsp", "iexcl", "cent", "pound", "curren", "yen", "brvbar", "sect", "uml", "copy", "ordf", "laquo", "not", "shy",
    "reg", "macr", "deg", "plusmn", "sup2", "sup3", "acute", "micro", "para", "middot", "cedil", "sup1", "ordm",
    "raquo", "frac14", "frac12", "frac34", "iquest", "Agrave", "Aacute", "Acirc", "Atilde", "Auml", "Aring", "AElig",
    "Ccedil", "Egrave", "Eacute", "Ecirc", "Euml", "Igrave", "Iacute", "Icirc", "Iuml", "ETH", "Ntilde", "Ograve",
    "Oacute", "Ocirc", "Otilde", "Ouml", "times", "Oslash", "Ugrave", "Uacute", "Ucirc", "Uuml", "Yacute", "THORN",
    "szlig", "agrave", "aacute", "acirc", "atilde", "auml", "aring", "aelig", "ccedil", "egrave", "eacute", "ecirc",
    "euml", "igrave", "iacute", "icirc", "iuml", "eth", "ntilde", "ograve", "oacute", "ocirc", "otilde", "ouml",
    "divide", "oslash", "ugrave", "uacute", "ucirc", "uuml", "yacute", "thorn", "yuml",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spelling_reads_as_its_character() {
        let cases = [
            ("%2F%2f", "//", "RFC 3986, section 2.1: either case"),
            ("%u20AC", "€", "JavaScript escape"),
            ("%", "%", "nothing behind the percent sign"),
            ("%2x", "%2x", "not a hexadecimal digit"),
            (r#"\/\"\'\\"#, r#"/"'\"#, "punctuation"),
            (r"\t\n\0", "\t\n\0", "control characters"),
            (r"\z", r"\z", "no escape"),
            (r"\u002f\u002F\x2f\57\057", r"///\57/", "octal has three digits"),
            (r"\u{2f}\x{2F}\u{1f600}\U0001F600", "//😀😀", "braces, and eight digits"),
            (r"\ud83d\ude00", "😀", "RFC 8259, section 7: two halves"),
            ("&sol;&lt;&eacute;&euro;", "/<é€", "names"),
            ("&sol &nosuch;", "&sol &nosuch;", "no semicolon, no such name"),
            ("&#47;&#047;&#x2F;&#X2f;&#x00002f;", "/////", "numbers with leading zeros"),
            ("&#4294967299;&#xffffffff;", "&#4294967299;&#xffffffff;", "numbers of no character"),
            ("''", "'", "SQL, YAML"),
            ("%E2%82%AC", "€", "UTF-8 by byte"),
            ("Ã©", "é", "UTF-8 that was read as Latin-1"),
            ("%25252F", "/", "three nested"),
            (r"&#92;u002f", "/", "JSON within XML"),
            (r"\\\\\\\/", "/", "JSON three times"),
            ("%252525252F", "%2F", "five nested, one more than the maximum"),
        ];
        for (text, expected, why) in cases {
            let plain = Readings::new(text.as_bytes(), false).plain().into_iter().map(char::from_u32);
            assert_eq!(plain.collect::<Option<String>>().as_deref(), Some(expected), "{text}: {why}");
        }
    }
}
