//! Counts and questions, before a command sends again, replaces or removes.

use std::fmt;

use serde_json::json;

use crate::args::Care;
use crate::failure::Outcome;
use crate::input::confirm;
use crate::output::Output;

/// A number of things, and how far it can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// The number.
    pub number: usize,
    /// The trust.
    pub precision: Precision,
}

/// How far a number can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// The count stopped at a bound.
    AtLeast,
    /// SQS estimates it.
    About,
    /// All of them were counted.
    Exact,
}

impl Count {
    /// Makes a count of all.
    #[must_use]
    pub fn exact(number: usize) -> Self {
        Self { number, precision: Precision::Exact }
    }
}

impl Precision {
    /// Returns the name for programs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AtLeast => "at-least",
            Self::About => "about",
            Self::Exact => "exact",
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.precision {
            Precision::AtLeast => f.write_str("at least ")?,
            Precision::About => f.write_str("about ")?,
            Precision::Exact => {}
        }
        f.write_str(&grouped(self.number))
    }
}

/// Spells a number with a comma before each three digits.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let parts: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    parts.join(",")
}

/// Returns whether the count is needed. With `--yes`, nobody reads it.
#[must_use]
pub fn is_count_needed(care: Care) -> bool {
    care.dry_run || !care.yes
}

/// Shows the count for `--dry-run`, or asks before the work begins. Returns whether to go on.
///
/// # Errors
/// The person says no, or there is nobody to ask.
pub fn is_wanted(care: Care, count: Count, doing: &str, output: &Output) -> Outcome<bool> {
    if care.dry_run {
        let value = json!({"dryRun": true, "count": count.number, "precision": count.precision.as_str()});
        output.one(&value, |_| vec![format!("{doing}: {count}; nothing was changed")])?;
        return Ok(false);
    }
    confirm(&format!("{doing}: {count}. Go on?"), care.yes)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_says_how_far_it_can_be_trusted() {
        for (number, precision, expected) in [
            (0, Precision::Exact, "0"),
            (999, Precision::Exact, "999"),
            (10_000, Precision::AtLeast, "at least 10,000"),
            (100_000, Precision::AtLeast, "at least 100,000"),
            (1_234_567, Precision::About, "about 1,234,567"),
        ] {
            assert_eq!(Count { number, precision }.to_string(), expected);
        }
    }
}
