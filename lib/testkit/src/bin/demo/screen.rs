//! The output of the demo: numbered sections, one line per event, and a summary of what was proven.

#![expect(clippy::print_stdout, reason = "this is the one place that prints")]

use std::cell::{Cell, RefCell};
use std::io::IsTerminal as _;

/// Characters of a line. Longer ones end with an ellipsis, so that one event stays one line.
const WIDTH: usize = 116;

/// Prints to stdout; in colour if that is a terminal and `NO_COLOR` is unset (<https://no-color.org>).
pub struct Screen {
    is_coloured: bool,
    sections: Cell<usize>,
    claims: RefCell<Vec<(bool, String)>>,
}

/// The colour of a line, as the parameter of an ANSI escape (ECMA-48, SGR).
#[derive(Clone, Copy)]
enum Colour {
    Bold = 1,
    Dim = 2,
    Red = 31,
    Green = 32,
    Yellow = 33,
}

impl Screen {
    #[expect(clippy::disallowed_methods, reason = "NO_COLOR is a setting of the terminal, not of Signpost")]
    pub fn new() -> Self {
        let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            is_coloured: std::io::stdout().is_terminal() && !is_plain,
            sections: Cell::default(),
            claims: RefCell::default(),
        }
    }

    /// Starts a section.
    pub fn section(&self, title: &str) {
        self.sections.set(self.sections.get() + 1);
        println!("\n{}", self.paint(Colour::Bold, &format!("{:>2}  {title}", self.sections.get())));
    }

    /// Prints an event that succeeded.
    pub fn done(&self, text: &str) {
        self.mark(Colour::Green, '✓', text);
    }

    /// Prints an event that Signpost or a receiver refused.
    pub fn refused(&self, text: &str) {
        self.mark(Colour::Yellow, '✗', text);
    }

    /// Prints a detail of the event before.
    pub fn detail(&self, text: &str) {
        println!("{}", self.paint(Colour::Dim, &format!("        {}", shorten(text, 8))));
    }

    /// Notes what a section has shown, for the summary.
    pub fn prove(&self, is_true: bool, claim: impl Into<String>) {
        self.claims.borrow_mut().push((is_true, claim.into()));
    }

    /// Prints the summary. Returns whether every claim is true.
    pub fn sum_up(&self) -> bool {
        println!("\n{}", self.paint(Colour::Bold, "    What this has shown"));
        for (is_true, claim) in &*self.claims.borrow() {
            let (colour, mark) = if *is_true { (Colour::Green, '✓') } else { (Colour::Red, '✗') };
            self.mark(colour, mark, claim);
        }
        self.claims.borrow().iter().all(|(is_true, _)| *is_true)
    }

    fn mark(&self, colour: Colour, mark: char, text: &str) {
        println!("    {} {}", self.paint(colour, &mark.to_string()), shorten(text, 6));
    }

    fn paint(&self, colour: Colour, text: &str) -> String {
        if self.is_coloured { format!("\x1b[{}m{text}\x1b[0m", colour as u8) } else { text.to_owned() }
    }
}

/// The beginning of a text that fits into a line after `indent` characters.
fn shorten(text: &str, indent: usize) -> String {
    let room = WIDTH - indent;
    if text.chars().count() <= room {
        return text.to_owned();
    }
    text.chars().take(room - 1).chain(['…']).collect()
}
