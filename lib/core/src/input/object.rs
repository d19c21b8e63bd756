//! JSON objects that are read member by member, so that every fault is found and none hides another.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::RangeInclusive;

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::input::fault::{Fault, FaultCode, Faults, pointer_to};
use crate::input::json::Members;

/// An object during reading. A member that no code asked for is a fault. Otherwise a setting without effect would look
/// as if it had one.
pub(crate) struct Object<'a> {
    pointer: String,
    members: Vec<(Cow<'a, str>, &'a RawValue)>,
    asked: Vec<&'static str>,
    is_patch: bool,
}

/// A value and its position.
#[derive(Clone)]
pub(crate) struct Found<'a> {
    pub(crate) pointer: String,
    pub(crate) value: &'a RawValue,
    /// True if a member with the value `null` counts as absent, because a merge patch removes it (RFC 7396). A merge
    /// does not change the items of lists.
    is_patch: bool,
}

impl<'a> Object<'a> {
    /// Opens a value that must be an object.
    pub(crate) fn open(found: &Found<'a>, faults: &mut Faults) -> Option<Self> {
        let Ok(Members(members)) = serde_json::from_str::<Members<'a>>(found.value.get()) else {
            let is_secret = found.pointer.starts_with("/auth") || found.pointer.is_empty();
            let fault = if is_secret {
                Fault::hidden(&*found.pointer, "a JSON object")
            } else {
                Fault::at(&found.pointer, found.value, "a JSON object")
            };
            faults.push(fault.code(FaultCode::WrongType));
            return None;
        };
        Some(Self { pointer: found.pointer.clone(), members, asked: Vec::new(), is_patch: found.is_patch })
    }

    /// Returns the member `name`, or none if it is absent.
    pub(crate) fn member(&mut self, name: &'static str) -> Option<Found<'a>> {
        self.asked.push(name);
        let (_, value) = self.members.iter().find(|(known, _)| known == name)?;
        let found = Found { pointer: self.pointer_to(name), value, is_patch: self.is_patch };
        (!found.is_removed()).then_some(found)
    }

    /// Returns the member `name`, or none if it is absent or `null`.
    pub(crate) fn nullable_member(&mut self, name: &'static str) -> Option<Found<'a>> {
        self.member(name).filter(|found| found.value.get() != "null")
    }

    /// Returns whether a patch removes the member `name`.
    pub(crate) fn removes(&self, name: &str) -> bool {
        self.is_patch && self.members.iter().any(|(known, value)| known == name && value.get() == "null")
    }

    /// Returns whether the member `name` has the value that Signpost shows. Then it may be present.
    pub(crate) fn holds(&mut self, name: &'static str, value: &Value) -> bool {
        let holds = self.members.iter().any(|(known, found)| {
            known == name && serde_json::from_str::<Value>(found.get()).is_ok_and(|own| own == *value)
        });
        if holds {
            self.asked.push(name);
        }
        holds
    }

    /// Adds a fault if the member `name` is present. `expected` says why it must be absent.
    pub(crate) fn refuse(&mut self, name: &str, expected: &str, faults: &mut Faults) {
        if self.members.iter().any(|(known, _)| known == name) {
            faults.push(Fault::hidden(self.pointer_to(name), expected).code(FaultCode::ReadOnly));
            self.members.retain(|(known, _)| known != name);
        }
    }

    /// Returns the pointer to the member `name`, which may be absent.
    pub(crate) fn pointer_to(&self, name: &str) -> String {
        format!("{}{}", self.pointer, pointer_to(name))
    }

    /// Ends the reading. Members that no code asked for, and duplicates, are faults. Faults do not quote values,
    /// because a secret may be in the wrong place.
    pub(crate) fn close(self, faults: &mut Faults) {
        let mut seen = HashSet::new();
        for (name, _) in &self.members {
            if !self.asked.contains(&&**name) {
                let expected = format!("no such member; there are {}", self.asked.join(", "));
                faults.push(Fault::hidden(self.pointer_to(name), expected).code(FaultCode::UnknownMember));
            } else if !seen.insert(name) {
                faults.push(Fault::hidden(self.pointer_to(name), "each member once").code(FaultCode::Duplicate));
            }
        }
    }

    /// Returns at most `most` members of an object whose names the operator chooses. More members, or a name that
    /// occurs twice, are faults.
    pub(crate) fn into_members(self, most: usize, faults: &mut Faults) -> Vec<(String, Found<'a>)> {
        if self.members.len() > most {
            let found = format!("{} members", self.members.len());
            faults.push(
                Fault::whole(found, format!("at most {most} members"))
                    .code(FaultCode::OutOfRange)
                    .under(&*self.pointer),
            );
        }
        let (mut seen, mut read) = (HashSet::new(), Vec::new());
        for (name, value) in self.members.iter().take(most) {
            let pointer = self.pointer_to(name);
            if seen.insert(name) {
                read.push((name.to_string(), Found { pointer, value, is_patch: self.is_patch }));
            } else {
                faults.push(Fault::hidden(pointer, "each member once").code(FaultCode::Duplicate));
            }
        }
        read
    }
}

impl<'a> Found<'a> {
    /// Returns the whole input.
    pub(crate) fn whole(value: &'a RawValue) -> Self {
        Self { pointer: String::new(), value, is_patch: false }
    }

    /// Returns the whole result of a merge patch. Each `null` of the patch remains in it.
    pub(crate) fn whole_patched(value: &'a RawValue) -> Self {
        Self { is_patch: true, ..Self::whole(value) }
    }
}

impl Found<'_> {
    /// Returns whether a merge patch removes it.
    pub(crate) fn is_removed(&self) -> bool {
        self.is_patch && self.value.get() == "null"
    }

    /// Returns its value without the members that a merge patch removes. None if JSON tools cannot read it.
    pub(crate) fn kept(&self) -> Option<Value> {
        fn drop_removed(value: &mut Value) {
            if let Value::Object(members) = value {
                members.retain(|_, member| !member.is_null());
                members.values_mut().for_each(drop_removed);
            }
        }
        let mut value = serde_json::from_str(self.value.get()).ok()?;
        if self.is_patch {
            drop_removed(&mut value);
        }
        Some(value)
    }

    /// Reads it as a `T`. Anything else is a fault.
    pub(crate) fn read<T: DeserializeOwned>(&self, expected: &str, faults: &mut Faults) -> Option<T> {
        let read = serde_json::from_str(self.value.get()).ok();
        if read.is_none() {
            faults.push(Fault::at(&self.pointer, self.value, expected).code(FaultCode::WrongType));
        }
        read
    }

    /// Reads it as one of several texts that stand for a `T`. Anything else is a fault.
    pub(crate) fn one_of<T: DeserializeOwned>(&self, expected: &str, faults: &mut Faults) -> Option<T> {
        let read = serde_json::from_str(self.value.get()).ok();
        if read.is_none() {
            let fault = Fault::at(&self.pointer, self.value, expected).code(FaultCode::NotOneOf);
            faults.push(fault.unless_begins(self.value, &['"']));
        }
        read
    }

    /// Reads it as a text of 1 to `most` characters.
    pub(crate) fn text(&self, most: usize, faults: &mut Faults) -> Option<String> {
        let expected = format!("a text of 1 to {most} characters");
        let text: String = self.read(&expected, faults)?;
        if text.is_empty() || text.chars().count() > most {
            faults.push(Fault::at(&self.pointer, self.value, expected).code(FaultCode::OutOfRange));
            return None;
        }
        Some(text)
    }

    /// Reads it as a text of at most `most` characters.
    pub(crate) fn text_or_empty(&self, most: usize, faults: &mut Faults) -> Option<String> {
        let expected = format!("a text of at most {most} characters");
        let text: String = self.read(&expected, faults)?;
        if text.chars().count() > most {
            faults.push(Fault::at(&self.pointer, self.value, expected).code(FaultCode::OutOfRange));
            return None;
        }
        Some(text)
    }

    /// Reads it as a whole number in `range`.
    pub(crate) fn within(&self, range: RangeInclusive<u32>, faults: &mut Faults) -> Option<u32> {
        let expected = format!("a whole number, {} to {}", range.start(), range.end());
        let number =
            serde_json::from_str(self.value.get()).ok().and_then(whole).filter(|number| range.contains(number));
        if number.is_none() {
            let fault = Fault::at(&self.pointer, self.value, expected).code(FaultCode::OutOfRange);
            faults.push(fault.unless_begins(self.value, &NUMBER));
        }
        number
    }

    /// Reads it as a text of 1 to `most` characters that a fault must not quote.
    pub(crate) fn secret(&self, most: usize, faults: &mut Faults) -> Option<String> {
        self.hidden_text(1..=most, faults)
    }

    /// Reads it like [`Self::secret`], but it may be empty.
    pub(crate) fn secret_or_empty(&self, most: usize, faults: &mut Faults) -> Option<String> {
        self.hidden_text(0..=most, faults)
    }

    fn hidden_text(&self, characters: RangeInclusive<usize>, faults: &mut Faults) -> Option<String> {
        let text: Option<String> = serde_json::from_str(self.value.get()).ok();
        let text = text.filter(|text| characters.contains(&text.chars().count()));
        if text.is_none() {
            let expected = format!("a text of {} to {} characters", characters.start(), characters.end());
            let fault = Fault::hidden(&*self.pointer, expected).code(FaultCode::OutOfRange);
            faults.push(fault.unless_begins(self.value, &['"']));
        }
        text
    }

    /// Returns whether it has this value.
    pub(crate) fn is(&self, value: &Value) -> bool {
        serde_json::from_str::<Value>(self.value.get()).is_ok_and(|own| own == *value)
    }
}

/// The characters that a number can begin with.
const NUMBER: [char; 11] = ['-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'];

/// Returns a whole number in any spelling: for JSON Schema, `5.0` is one.
fn whole(number: f64) -> Option<u32> {
    let is_whole = number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "just compared")]
    is_whole.then_some(number as u32)
}

impl<'a> Found<'a> {
    /// Reads it as a list of at most `most` items.
    pub(crate) fn items(&self, most: usize, faults: &mut Faults) -> Vec<Found<'a>> {
        let items: Vec<&'a RawValue> = serde_json::from_str(self.value.get()).unwrap_or_else(|_| {
            faults.push(Fault::at(&self.pointer, self.value, "a list").code(FaultCode::WrongType));
            Vec::new()
        });
        if items.len() > most {
            let expected = format!("at most {most} items");
            faults.push(
                Fault::whole(format!("{} items", items.len()), expected)
                    .code(FaultCode::OutOfRange)
                    .under(&*self.pointer),
            );
        }
        let found = |(index, value)| Found { pointer: format!("{}/{index}", self.pointer), value, is_patch: false };
        items.into_iter().take(most).enumerate().map(found).collect()
    }
}
