//! Forms: the versions in which messages and items are stored.
//!
//! Messages live for 14 days and items for longer, and an operator may go back to the release before. So each release
//! reads what the one before it and the one after it write. Writers only add members, and readers ignore members that
//! they do not know. A change that an older reader must not ignore raises the form, the member or attribute [`MEMBER`].
//! The older reader then refuses the message or item by name, and leaves it where it is.

/// The newest form that this release reads. A message or an item without [`MEMBER`] has form 1.
pub const NEWEST: u64 = 1;

/// The name of the member or attribute with the form.
pub const MEMBER: &str = "v";

/// A message or an item that a newer release wrote, in a form that this release must not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it has form {found}, and this release reads forms up to {NEWEST}; deploy the newer release again")]
pub struct NewerForm {
    /// The form found; the largest number if it is not a number.
    pub found: u64,
}

/// Checks the form of a message or an item as it is spelled; `None` if it does not have one.
///
/// # Errors
/// The form is newer than [`NEWEST`], or is not a number.
pub fn check(spelled: Option<&str>) -> Result<(), NewerForm> {
    let found = spelled.map_or(NEWEST, |spelled| spelled.parse().unwrap_or(u64::MAX));
    if found <= NEWEST { Ok(()) } else { Err(NewerForm { found }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_newer_forms_are_refused() {
        let cases = [
            (None, true, "the first form has no member"),
            (Some("1"), true, "the newest"),
            (Some("2"), false, "a newer one"),
            (Some("\"2\""), false, "a newer release may spell it as a text"),
        ];
        for (spelled, expected, why) in cases {
            assert_eq!(check(spelled).is_ok(), expected, "{why}");
        }
    }
}
