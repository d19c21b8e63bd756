//! The answers of failed attempts: which of them Signpost stores. Most receivers fail with the same page each time, so an
//! answer is stored only if it differs from the one that was stored last, and of many different ones only some.

use crate::fingerprint::fingerprint;

/// The record of an attempt's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerRecord {
    /// There was no answer, or it is the one that was stored last.
    Known,
    /// The answer is stored with this attempt.
    New,
    /// The answer differs from the one that was stored last, and is not stored itself. It can be read if an earlier
    /// attempt stored the same answer.
    Skipped,
}

/// The number of first attempts whose answers are all stored.
const ALL_OF_FIRST: u32 = 5;

impl AnswerRecord {
    /// Decides about the answer of attempt `number`. `last` is the fingerprint of the answer that was stored last, and
    /// `is_last` says that no retry follows. The first answer is stored, also the first after a replay, then those of
    /// attempts 1 to 5, 8, 16, 32 and so on, and that of the last attempt.
    #[must_use]
    pub fn new(response: Option<&str>, last: Option<u64>, number: u32, is_last: bool) -> Self {
        let Some(response) = response else { return Self::Known };
        match last {
            Some(last) if last == answer_print(response) => Self::Known,
            None => Self::New,
            Some(_) if is_last || number <= ALL_OF_FIRST || number.is_power_of_two() => Self::New,
            Some(_) => Self::Skipped,
        }
    }
}

/// Returns the fingerprint of an answer: the first eight bytes of a hash.
#[must_use]
pub fn answer_print(response: &str) -> u64 {
    fingerprint([response])[..8].iter().fold(0, |print, byte| print << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_stored_if_it_is_new_and_early_or_last() {
        let (busy, down) = (Some("busy"), Some(answer_print("down")));
        let cases = [
            (None, down, 1, true, AnswerRecord::Known, "there is none"),
            (busy, None, 7, false, AnswerRecord::New, "the first one, or the first after a replay"),
            (busy, Some(answer_print("busy")), 3, true, AnswerRecord::Known, "the same again"),
            (busy, down, 5, false, AnswerRecord::New, "one of the first five"),
            (busy, down, 6, false, AnswerRecord::Skipped, "between"),
            (busy, down, 8, false, AnswerRecord::New, "8"),
            (busy, down, 63, false, AnswerRecord::Skipped, "between"),
            (busy, down, 64, false, AnswerRecord::New, "64"),
            (busy, down, 63, true, AnswerRecord::New, "the last"),
        ];
        for (response, last, number, is_last, expected, why) in cases {
            assert_eq!(AnswerRecord::new(response, last, number, is_last), expected, "{number}: {why}");
        }
    }
}
