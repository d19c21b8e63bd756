//! Faults of an input: one entry for each.

use serde::Serialize;
use serde_json::value::RawValue;

/// A fault of an input: where it is, what was found, and what was expected.
///
/// Producers see faults in the `errors` member of a problem document. Rejected messages carry them too. A fault quotes
/// at most [`QUOTED_CHARACTERS`] characters of a name or a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The kind of fault, for programs.
    pub code: FaultCode,
    /// The JSON Pointer (RFC 6901) into the input. It is empty for the whole input.
    pub pointer: String,
    /// The value that was found, as the input spells it, shortened. `nothing` if it is missing.
    pub found: String,
    /// A description of the values that Signpost accepts.
    pub expected: String,
    #[serde(skip)]
    is_too_large: bool,
}

/// Kinds of faults. The words stay the same in every release. Texts may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultCode {
    /// Two settings or fields that exclude each other.
    Conflict,
    /// A member, an item or a name that occurs twice.
    Duplicate,
    /// A URL that Signpost may not call.
    ForbiddenTarget,
    /// A value of the right type, but in the wrong format.
    Malformed,
    /// A required value that is missing.
    Missing,
    /// More faults than the list can hold.
    MoreFaults,
    /// A text that is not JSON, or has more after the JSON.
    NotJson,
    /// A text that is not one of the accepted texts.
    NotOneOf,
    /// Bytes that are not UTF-8.
    NotUtf8,
    /// A number, a length or a count that is outside its bounds.
    OutOfRange,
    /// A read-only member.
    ReadOnly,
    /// A name or a value that is reserved for Signpost.
    Reserved,
    /// More bytes than Signpost accepts.
    TooLarge,
    /// A member that does not exist.
    UnknownMember,
    /// A query parameter that does not exist.
    UnknownParameter,
    /// A key store that cannot be used.
    UnusableKeyStore,
    /// One event instead of a batch, or a batch instead of one event. The request needs another media type.
    WrongMediaType,
    /// A value of another JSON type.
    WrongType,
}

/// JSON as it is spelled, which a fault quotes.
pub trait Spelling {
    /// Returns the JSON.
    fn spelling(&self) -> &str;
}

impl Spelling for RawValue {
    fn spelling(&self) -> &str {
        self.get()
    }
}

impl Spelling for str {
    fn spelling(&self) -> &str {
        self
    }
}

/// The maximum number of characters that a fault quotes of a value. It keeps the error small if the event has 256 KiB.
pub const QUOTED_CHARACTERS: usize = 80;

impl Fault {
    /// Returns a fault of the member `name`, with this `value`, of a top-level object.
    #[must_use]
    pub fn member(name: &str, value: &(impl Spelling + ?Sized), expected: impl Into<String>) -> Self {
        Self::at(&pointer_to(name), value, expected)
    }

    /// Returns a fault of the `value` at `pointer`.
    #[must_use]
    pub fn at(pointer: &str, value: &(impl Spelling + ?Sized), expected: impl Into<String>) -> Self {
        Self::of(FaultCode::Malformed, pointer, quote(value.spelling()), expected)
    }

    /// Returns a fault of the text `found` at `pointer`.
    #[must_use]
    pub fn of_text(pointer: String, found: &str, expected: impl Into<String>) -> Self {
        Self::of(FaultCode::Malformed, pointer, format!("\"{}\"", quote(found)), expected)
    }

    /// Returns a fault because the value at `pointer` is missing.
    #[must_use]
    pub fn nothing_at(pointer: &str, expected: impl Into<String>) -> Self {
        Self::of(FaultCode::Missing, pointer, "nothing", expected)
    }

    /// Returns a fault because the required top-level member `name` is absent.
    #[must_use]
    pub fn missing(name: &str, expected: impl Into<String>) -> Self {
        Self::nothing_at(&pointer_to(name), expected)
    }

    /// Returns a fault of the whole input.
    #[must_use]
    pub fn whole(found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self::of(FaultCode::Malformed, "", found, expected)
    }

    /// Returns a fault that does not quote the value at `pointer`, because it is a secret, or may be one.
    #[must_use]
    pub fn hidden(pointer: impl Into<String>, expected: impl Into<String>) -> Self {
        Self::whole("a value that is not shown", expected).under(pointer)
    }

    fn of(code: FaultCode, pointer: impl Into<String>, found: impl Into<String>, expected: impl Into<String>) -> Self {
        let (pointer, found, expected) = (pointer.into(), found.into(), expected.into());
        Self { code, pointer, found, expected, is_too_large: false }
    }

    /// Replaces the code of the fault. The default is [`FaultCode::Malformed`], or [`FaultCode::Missing`] if nothing
    /// was found.
    #[must_use]
    pub fn code(self, code: FaultCode) -> Self {
        Self { code, ..self }
    }

    /// Changes the code to [`FaultCode::WrongType`] unless `value` begins with one of these characters, such as `"` for
    /// a text.
    #[must_use]
    pub(crate) fn unless_begins(self, value: &(impl Spelling + ?Sized), first: &[char]) -> Self {
        if value.spelling().starts_with(first) { self } else { self.code(FaultCode::WrongType) }
    }

    /// Moves the fault to `pointer`.
    #[must_use]
    pub fn under(self, pointer: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), ..self }
    }

    /// Returns a fault because the whole input exceeds a size limit.
    #[must_use]
    pub fn too_large(found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { is_too_large: true, ..Self::whole(found, expected).code(FaultCode::TooLarge) }
    }

    /// Returns whether a size limit is exceeded. HTTP has its own status for this.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        self.is_too_large
    }

    /// Adjusts the pointer for an input that is the element `index` of an array.
    #[must_use]
    pub fn within(self, index: usize) -> Self {
        Self { pointer: format!("/{index}{}", self.pointer), ..self }
    }
}

/// A collection of faults: the first [`MAX_FAULTS`], and the number of the others.
#[derive(Debug, Default)]
pub struct Faults {
    listed: Vec<Fault>,
    untold: usize,
}

/// The maximum number of faults that are listed for one input. Only inputs with malicious intent have more.
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

    /// Adds the faults of another collection.
    pub fn absorb(&mut self, other: Self) {
        self.extend(other.listed);
        self.untold += other.untold;
    }

    /// Returns how many faults there are.
    pub(crate) fn count(&self) -> usize {
        self.listed.len() + self.untold
    }

    /// Returns the listed faults.
    #[must_use]
    pub fn listed(&self) -> &[Fault] {
        &self.listed
    }

    /// Succeeds if there is no fault.
    ///
    /// # Errors
    /// The listed faults, and a last one with the number of the others.
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

/// Returns the JSON Pointer of a top-level member. It escapes `~` and `/` (RFC 6901, section 3).
pub(crate) fn pointer_to(name: &str) -> String {
    format!("/{}", quote(name).replace('~', "~0").replace('/', "~1"))
}

/// Returns the start of a part of the input.
pub(crate) fn quote(text: &str) -> String {
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
        let fault = Fault::member("id", &*long, "");
        assert_eq!(fault.found.chars().count(), QUOTED_CHARACTERS + 1);
        assert!(fault.found.ends_with('…'));
    }

    #[test]
    fn a_long_name_is_quoted_by_its_start_too() {
        assert!(Fault::missing(&"~".repeat(500_000), "").pointer.len() < 3 * QUOTED_CHARACTERS);
    }
}
