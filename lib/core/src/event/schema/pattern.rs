//! The regular expressions of schemas: those of ECMA-262, as far as an engine of linear time can do them.

use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::Chars;

use regex_lite::{Regex, RegexBuilder};

/// A regular expression.
#[derive(Debug)]
pub(super) struct Pattern {
    source: Box<str>,
    regex: Regex,
    /// About how many bytes it takes.
    bytes: usize,
}

/// How many bytes a compiled expression may take. It takes 24 for each character, class or repetition.
pub(super) const MAX_BYTES: usize = 32 * 1024;

/// How many bytes of the expression cost a step, for each byte of a text.
const BYTES_PER_STEP: usize = 256;

impl Pattern {
    /// Compiles an expression.
    ///
    /// # Errors
    /// A description of the accepted expressions, which names the part that does not fit.
    pub(super) fn parse(source: &str) -> Result<Self, String> {
        let translated = Translator { rest: source.chars().peekable(), out: String::new() }.translated()?;
        let compile = |bytes: usize| RegexBuilder::new(&translated).size_limit(bytes).build();
        let mut regex = compile(MAX_BYTES).map_err(|error| {
            let error = error.to_string();
            if error.contains("size limit") {
                return format!("a regular expression of at most {MAX_BYTES} bytes once compiled; repeat less often");
            }
            format!("a regular expression; this one has a fault: {error}")
        })?;
        // Its size is the smallest limit that it fits: the engine does not report it.
        let mut bytes = MAX_BYTES;
        while bytes > BYTES_PER_STEP
            && let Ok(smaller) = compile(bytes / 2)
        {
            (regex, bytes) = (smaller, bytes / 2);
        }
        Ok(Self { source: source.into(), regex, bytes })
    }

    /// Returns the expression as the schema spells it.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// Returns whether a part of the text matches.
    pub(super) fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// Returns how many steps it costs to search a text: at most all parts of the expression at each byte.
    pub(super) fn steps(&self, text: &str) -> u64 {
        (1 + text.len() as u64) * (1 + self.bytes / BYTES_PER_STEP) as u64
    }

    /// Returns about how many bytes of memory it takes.
    pub(super) fn heap_bytes(&self) -> usize {
        2 * self.bytes
    }
}

/// Translates ECMA-262 with the flag `u`, as JSON Schema recommends it, to the engine's language.
struct Translator<'a> {
    rest: Peekable<Chars<'a>>,
    out: String,
}

/// The white space of ECMA-262, `\s`.
const SPACE: &str = r"\t\n\x0b\x0c\r \u{a0}\u{1680}\u{2000}-\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}\u{feff}";

/// The meaning of an escape.
enum Atom {
    Character(char),
    Set(&'static str),
    White,
    NotWhite,
    /// An assertion, which has no place in a class.
    Boundary(&'static str),
}

impl Translator<'_> {
    fn translated(mut self) -> Result<String, String> {
        while let Some(character) = self.rest.next() {
            match character {
                '\\' => match self.escape()? {
                    Atom::Character(character) => self.literal(character),
                    Atom::Set(set) | Atom::Boundary(set) => self.out.push_str(set),
                    Atom::White => self.out.extend(["[", SPACE, "]"]),
                    Atom::NotWhite => self.out.extend(["[^", SPACE, "]"]),
                },
                '.' => self.out.push_str(r"[^\n\r\u{2028}\u{2029}]"),
                '[' => self.class()?,
                '(' => self.group()?,
                '{' => self.repetition()?,
                '}' | ']' => {
                    return Err(format!("a regular expression with `\\{character}` for a single `{character}`"));
                }
                '*' | '+' | '?' | '|' | '^' | '$' | ')' => self.out.push(character),
                character => self.literal(character),
            }
        }
        Ok(self.out)
    }

    fn literal(&mut self, character: char) {
        if character.is_ascii_alphanumeric() {
            self.out.push(character);
        } else {
            let _ = write!(self.out, "\\u{{{:x}}}", u32::from(character)); // Writing to a String cannot fail.
        }
    }

    fn group(&mut self) -> Result<(), String> {
        self.out.push_str("(?:");
        if self.rest.next_if_eq(&'?').is_none() {
            return Ok(());
        }
        match self.rest.next() {
            Some(':') => Ok(()),
            Some('<') if !matches!(self.rest.peek(), Some('=' | '!')) => {
                let is_closed = self.rest.by_ref().any(|character| character == '>');
                is_closed
                    .then_some(())
                    .ok_or_else(|| "a regular expression with a `>` after the name of a group".into())
            }
            Some('=' | '!' | '<') => {
                Err("a regular expression without look-around; write several schemas with `allOf` and `not` instead"
                    .into())
            }
            _ => Err("a regular expression without flags; write `[Aa]` for both cases".into()),
        }
    }

    fn repetition(&mut self) -> Result<(), String> {
        let inner: String = std::iter::from_fn(|| self.rest.next_if(|next| *next != '}')).collect();
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let fits = match inner.split_once(',') {
            Some((least, most)) => is_number(least) && (most.is_empty() || is_number(most)),
            None => is_number(&inner),
        };
        if !fits || self.rest.next() != Some('}') {
            return Err(
                "a regular expression with `{2}`, `{2,}` or `{2,5}` for repetitions, and `\\{` for a `{`".into()
            );
        }
        self.out.extend(["{", &inner, "}"]);
        Ok(())
    }

    fn class(&mut self) -> Result<(), String> {
        self.out.push('[');
        if self.rest.next_if_eq(&'^').is_some() {
            self.out.push('^');
        }
        if self.rest.peek() == Some(&']') {
            return Err("a regular expression without the empty class `[]`".into());
        }
        while let Some(character) = self.rest.next() {
            if character == ']' {
                self.out.push(']');
                return Ok(());
            }
            let Some(from) = self.in_class(character)? else { continue };
            self.literal(from);
            let mut ahead = self.rest.clone();
            if ahead.next() != Some('-') || ahead.peek().is_none_or(|next| *next == ']') {
                continue;
            }
            self.rest = ahead;
            self.out.push('-');
            let character = self.rest.next().unwrap_or_default(); // It was peeked at.
            let length = self.out.len();
            let to = self.in_class(character)?;
            match to {
                Some(to) if to >= from => self.literal(to),
                _ => {
                    self.out.truncate(length);
                    return Err("a regular expression whose ranges go from a lower to a higher character".into());
                }
            }
        }
        Err("a regular expression with a `]` after each `[`".into())
    }

    /// Reads an item of a class that begins with `character`. Returns it if it is a single character.
    fn in_class(&mut self, character: char) -> Result<Option<char>, String> {
        if character != '\\' {
            return Ok(Some(character));
        }
        match self.escape()? {
            Atom::Character(character) => return Ok(Some(character)),
            Atom::Boundary(r"\b") => return Ok(Some('\u{8}')),
            Atom::Set(set) => self.out.push_str(set),
            Atom::White => self.out.push_str(SPACE),
            Atom::NotWhite => self.out.push_str(r"\S"),
            Atom::Boundary(_) => return Err("a regular expression without `\\B` in a class".into()),
        }
        Ok(None)
    }

    fn escape(&mut self) -> Result<Atom, String> {
        let Some(character) = self.rest.next() else {
            return Err("a regular expression that does not end with `\\`".into());
        };
        Ok(match character {
            'd' => Atom::Set(r"\d"),
            'D' => Atom::Set(r"\D"),
            'w' => Atom::Set(r"\w"),
            'W' => Atom::Set(r"\W"),
            's' => Atom::White,
            'S' => Atom::NotWhite,
            'b' => Atom::Boundary(r"\b"),
            'B' => Atom::Boundary(r"\B"),
            't' => Atom::Character('\t'),
            'n' => Atom::Character('\n'),
            'r' => Atom::Character('\r'),
            'f' => Atom::Character('\u{c}'),
            'v' => Atom::Character('\u{b}'),
            '0' if !self.rest.peek().is_some_and(char::is_ascii_digit) => Atom::Character('\0'),
            'c' => {
                let letter = self.rest.next().filter(char::is_ascii_alphabetic);
                let letter = letter.ok_or("a regular expression with a letter after `\\c`")?;
                Atom::Character(char::from(letter as u8 % 32))
            }
            'x' => Atom::Character(self.digits(2).and_then(char::from_u32).ok_or(HEXADECIMAL)?),
            'u' => Atom::Character(self.unicode().ok_or(HEXADECIMAL)?),
            'p' | 'P' => {
                return Err(
                    "a regular expression without classes of Unicode such as `\\p{L}`; write the characters, such as \
                            `[A-Za-zÀ-ɏ]`"
                        .into(),
                );
            }
            '0'..='9' | 'k' => {
                return Err(
                    "a regular expression without references to groups, because they need more than linear time".into(),
                );
            }
            character if "^$\\.*+?()[]{}|/-".contains(character) => Atom::Character(character),
            character => {
                return Err(format!("a regular expression without `\\{character}`, which has no meaning in ECMA-262"));
            }
        })
    }

    /// Reads hexadecimal digits.
    fn digits(&mut self, count: usize) -> Option<u32> {
        (0..count).try_fold(0, |sum, _| Some(sum * 16 + self.rest.next()?.to_digit(16)?))
    }

    /// Reads what follows `\u`: four digits, two times four for a pair, or any number of digits in braces.
    fn unicode(&mut self) -> Option<char> {
        if self.rest.next_if_eq(&'{').is_some() {
            let digits: String = std::iter::from_fn(|| self.rest.next_if(char::is_ascii_hexdigit)).take(6).collect();
            return self.rest.next_if_eq(&'}').and_then(|_| char::from_u32(u32::from_str_radix(&digits, 16).ok()?));
        }
        let first = self.digits(4)?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first);
        }
        let follows = self.rest.next() == Some('\\') && self.rest.next() == Some('u');
        let second =
            if follows { self.digits(4)?.checked_sub(0xdc00).filter(|low| *low < 0x400)? } else { return None };
        char::from_u32(0x10000 + ((first - 0xd800) << 10) + second)
    }
}

const HEXADECIMAL: &str = "a regular expression with a character's digits after `\\x` and `\\u`, such as `\\u00e9`";
