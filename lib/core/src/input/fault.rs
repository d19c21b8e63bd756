//! What is wrong with somebody's input, one entry per fault.

use serde::Serialize;
use serde_json::value::RawValue;

/// One fault of an input: where it is, what stands there, and what should.
///
/// Faults are shown to producers in the `errors` member of a problem document and kept beside rejected messages. They
/// quote at most [`QUOTED_CHARACTERS`] characters of a name or a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Which kind of fault it is, for programs.
    pub code: FaultCode,
    /// JSON Pointer (RFC 6901) into the input; empty for the whole of it.
    pub pointer: String,
    /// What was found, as the input spells it, shortened; `nothing` for what is missing.
    pub found: String,
    /// What would have been accepted.
    pub expected: String,
    #[serde(skip)]
    is_too_large: bool,
}

/// The kinds of faults. The words stay the same from release to release; texts may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultCode {
    /// Two settings, or two fields, that do not go together.
    Conflict,
    /// A member, an item or a name that comes again.
    Duplicate,
    /// A URL that is not called.
    ForbiddenTarget,
    /// A value of the right type that does not have the form.
    Malformed,
    /// Nothing, where something must be.
    Missing,
    /// Faults that are not listed, since there are too many.
    MoreFaults,
    /// Not JSON, or not only JSON.
    NotJson,
    /// A text that is none of those that may stand there.
    NotOneOf,
    /// Bytes that are not UTF-8.
    NotUtf8,
    /// A number, a length or a count outside its bounds.
    OutOfRange,
    /// Shown, and not set.
    ReadOnly,
    /// A name or a value that is Signpost's own.
    Reserved,
    /// More bytes than are taken.
    TooLarge,
    /// A member that does not exist.
    UnknownMember,
    /// A query parameter that does not exist.
    UnknownParameter,
    /// A key store that cannot be used.
    UnusableKeyStore,
    /// One event where a batch is expected, or a batch where one event is: another media type fits.
    WrongMediaType,
    /// A value of another JSON type.
    WrongType,
}

/// How much of an offending value a fault quotes, so that an error stays small beside a 256 KiB event.
pub const QUOTED_CHARACTERS: usize = 80;

impl Fault {
    /// A fault of the member `name` of a top-level object that holds `value`.
    #[must_use]
    pub fn member(name: &str, value: &RawValue, expected: impl Into<String>) -> Self {
        Self::at(&pointer_to(name), value, expected)
    }

    /// A fault of `value`, which stands at `pointer`.
    #[must_use]
    pub fn at(pointer: &str, value: &RawValue, expected: impl Into<String>) -> Self {
        Self::of(FaultCode::Malformed, pointer, quote(value.get()), expected)
    }

    /// A fault of the text `found`, which stands at `pointer`.
    #[must_use]
    pub fn of_text(pointer: String, found: &str, expected: impl Into<String>) -> Self {
        Self::of(FaultCode::Malformed, pointer, format!("\"{}\"", quote(found)), expected)
    }

    /// Nothing stands at `pointer`, where something must.
    #[must_use]
    pub fn nothing_at(pointer: &str, expected: impl Into<String>) -> Self {
        Self::of(FaultCode::Missing, pointer, "nothing", expected)
    }

    /// A member that is required and absent.
    #[must_use]
    pub fn missing(name: &str, expected: impl Into<String>) -> Self {
        Self::nothing_at(&pointer_to(name), expected)
    }

    /// A fault of the input as a whole.
    #[must_use]
    pub fn whole(found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self::of(FaultCode::Malformed, "", found, expected)
    }

    /// A fault of what stands at `pointer`, which is a secret, or stands where secrets do: it is not quoted.
    #[must_use]
    pub fn hidden(pointer: impl Into<String>, expected: impl Into<String>) -> Self {
        Self::whole("a value that is not shown", expected).under(pointer)
    }

    fn of(code: FaultCode, pointer: impl Into<String>, found: impl Into<String>, expected: impl Into<String>) -> Self {
        let (pointer, found, expected) = (pointer.into(), found.into(), expected.into());
        Self { code, pointer, found, expected, is_too_large: false }
    }

    /// The same fault of another kind: [`FaultCode::Malformed`], or [`FaultCode::Missing`] of nothing, unless it is said.
    #[must_use]
    pub fn code(self, code: FaultCode) -> Self {
        Self { code, ..self }
    }

    /// The same fault, of [`FaultCode::WrongType`] if `value` does not begin as one of the type does, such as `"` for a text.
    #[must_use]
    pub(crate) fn unless_begins(self, value: &RawValue, first: &[char]) -> Self {
        if value.get().starts_with(first) { self } else { self.code(FaultCode::WrongType) }
    }

    /// The same fault, at `pointer`.
    #[must_use]
    pub fn under(self, pointer: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), ..self }
    }

    /// The input as a whole is over a size limit.
    #[must_use]
    pub fn too_large(found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { is_too_large: true, ..Self::whole(found, expected).code(FaultCode::TooLarge) }
    }

    /// Whether this is about a size limit, which HTTP has a status of its own for.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        self.is_too_large
    }

    /// The same fault seen from an array whose element `index` is the input.
    #[must_use]
    pub fn within(self, index: usize) -> Self {
        Self { pointer: format!("/{index}{}", self.pointer), ..self }
    }
}

/// Faults while they are collected: the first [`MAX_FAULTS`], and how many more there are.
#[derive(Debug, Default)]
pub struct Faults {
    listed: Vec<Fault>,
    untold: usize,
}

/// The most faults that are told of one input; only one that was made to have them has more.
pub const MAX_FAULTS: usize = 100;

impl Faults {
    /// Adds a fault.
    pub fn push(&mut self, fault: Fault) {
        if self.listed.len() < MAX_FAULTS {
            self.listed.push(fault);
        } else {
            self.untold += 1;
        }
    }

    /// Adds what another collection has.
    pub fn absorb(&mut self, other: Self) {
        self.extend(other.listed);
        self.untold += other.untold;
    }

    /// Those that are told.
    #[must_use]
    pub fn listed(&self) -> &[Fault] {
        &self.listed
    }

    /// Gives nothing if there is no fault.
    ///
    /// # Errors
    /// The faults, and a last one that counts those that are not told.
    pub fn none(mut self) -> Result<(), Vec<Fault>> {
        if self.untold > 0 {
            self.listed.push(Fault::whole(format!("{} more faults", self.untold), "none").code(FaultCode::MoreFaults));
        }
        if self.listed.is_empty() { Ok(()) } else { Err(self.listed) }
    }
}

impl Extend<Fault> for Faults {
    fn extend<T: IntoIterator<Item = Fault>>(&mut self, faults: T) {
        faults.into_iter().for_each(|fault| self.push(fault));
    }
}

/// The JSON Pointer of a top-level member (RFC 6901, section 3: `~` and `/` are escaped).
pub(crate) fn pointer_to(name: &str) -> String {
    format!("/{}", quote(name).replace('~', "~0").replace('/', "~1"))
}

/// The start of a piece of the input.
fn quote(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARACTERS) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_escape_what_rfc_6901_reserves() {
        assert_eq!(Fault::missing("a/b~c", "").pointer, "/a~1b~0c");
        assert_eq!(Fault::missing("id", "").within(3).pointer, "/3/id");
        assert_eq!(Fault::whole("", "").within(3).pointer, "/3");
    }

    #[test]
    fn a_long_value_is_quoted_by_its_start() {
        let long = serde_json::value::to_raw_value(&"ü".repeat(500)).unwrap();
        let fault = Fault::member("id", &long, "");
        assert_eq!(fault.found.chars().count(), QUOTED_CHARACTERS + 1);
        assert!(fault.found.ends_with('…'));
    }

    #[test]
    fn a_long_name_is_quoted_by_its_start_too() {
        assert!(Fault::missing(&"~".repeat(500_000), "").pointer.len() < 3 * QUOTED_CHARACTERS);
    }
}
