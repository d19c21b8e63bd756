//! Failures of commands, and the exit codes that tell them apart.

use serde_json::{Value, json};

/// The exit code of a command. 0 means that everything was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 1: Signpost, AWS or a receiver refused, or something failed.
    Refused,
    /// 2: the command line is wrong.
    Usage,
    /// 3: what the command names does not exist.
    NotFound,
    /// 4: an answer or an event did not come in time.
    TimedOut,
}

impl Exit {
    /// Returns the number.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Refused => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::TimedOut => 4,
        }
    }

    /// Returns the name for programs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Usage => "usage",
            Self::NotFound => "not-found",
            Self::TimedOut => "timed-out",
        }
    }
}

/// A failure that people or programs read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The exit code.
    pub exit: Exit,
    /// The fact: found, and expected.
    pub what: String,
    /// Details, one a line, such as the faults of a request.
    pub details: Vec<String>,
    /// The advice: something to do.
    pub next: String,
}

/// The reason why a command ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The reader of stdout went away, as `head` does. It is no fault.
    BrokenPipe,
    /// Every other reason.
    Told(Box<Told>),
}

impl Failure {
    fn told(exit: Exit, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self::Told(Box::new(Told { exit, what: what.into(), details: Vec::new(), next: next.into() }))
    }

    /// Something refused, or failed.
    pub fn refused(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self::told(Exit::Refused, what, next)
    }

    /// The command line is wrong.
    pub fn usage(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self::told(Exit::Usage, what, next)
    }

    /// Something does not exist.
    pub fn not_found(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self::told(Exit::NotFound, what, next)
    }

    /// Something did not come in time.
    pub fn timed_out(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self::told(Exit::TimedOut, what, next)
    }

    /// Says where it failed.
    #[must_use]
    pub fn within(mut self, place: &str) -> Self {
        if let Self::Told(told) = &mut self {
            told.what = format!("{place}: {}", told.what);
        }
        self
    }

    /// Adds details.
    #[must_use]
    pub fn with_details(mut self, details: Vec<String>) -> Self {
        if let Self::Told(told) = &mut self {
            told.details = details;
        }
        self
    }

    /// Returns whether it has this exit code.
    #[must_use]
    pub fn is(&self, exit: Exit) -> bool {
        matches!(self, Self::Told(told) if told.exit == exit)
    }
}

impl Told {
    /// Returns the failure for programs.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({"error": {"kind": self.exit.as_str(), "message": self.what, "details": self.details, "next": self.next}})
    }
}

/// The result of a command, or of a part of one.
pub type Outcome<T = ()> = Result<T, Failure>;
