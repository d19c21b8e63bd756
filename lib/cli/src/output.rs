//! Output of a command: data on stdout, everything for people on stderr.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use crate::args::Global;
use crate::environment::Environment;
use crate::failure::{Failure, Outcome, Told};

/// The form of data on stdout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// Columns for people.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// One JSON document a line, for each item.
    Jsonl,
}

/// Writes data and talk.
#[derive(Clone, Debug)]
pub struct Output {
    form: Form,
    is_coloured: bool,
    is_talk_coloured: bool,
    is_verbose: bool,
}

/// A colour of a word on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Something went well.
    Green,
    /// Something failed.
    Red,
    /// Something waits.
    Yellow,
    /// A heading.
    Bold,
}

impl Colour {
    fn paint(self, text: &str) -> String {
        let code = match self {
            Self::Green => 32,
            Self::Red => 31,
            Self::Yellow => 33,
            Self::Bold => 1,
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// Returns the colour of a status, if it has one.
    #[must_use]
    pub fn of_status(status: &str) -> Option<Self> {
        match status {
            "delivered" | "enabled" | "ok" => Some(Self::Green),
            "exhausted" | "disabled" | "fail" => Some(Self::Red),
            "pending" | "unverified" | "warn" => Some(Self::Yellow),
            _ => None,
        }
    }
}

impl Output {
    /// Reads the options and the environment. Colours need a terminal, and no `NO_COLOR`.
    #[must_use]
    pub fn new(global: &Global, environment: &Environment) -> Self {
        let allows = environment.get("NO_COLOR").is_none() && environment.get("TERM") != Some("dumb");
        Self {
            form: global.output,
            is_coloured: allows && std::io::stdout().is_terminal() && global.output == Form::Table,
            is_talk_coloured: allows && std::io::stderr().is_terminal(),
            is_verbose: global.verbose,
        }
    }

    /// Returns the form that the caller chose.
    #[must_use]
    pub fn form(&self) -> Form {
        self.form
    }

    /// Writes a line of data.
    ///
    /// # Errors
    /// The reader went away, or stdout cannot be written.
    pub fn line(&self, text: &str) -> Outcome {
        let mut stdout = std::io::stdout().lock();
        match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Failure::BrokenPipe),
            Err(error) => Err(Failure::refused(
                format!("stdout cannot be written: {error}"),
                "free some space, or choose another file",
            )),
        }
    }

    /// Writes one value: as JSON, or in the lines that `text` makes.
    ///
    /// # Errors
    /// As for [`Self::line`].
    pub fn one(&self, value: &Value, text: impl FnOnce(&Self) -> Vec<String>) -> Outcome {
        match self.form {
            Form::Json => self.line(&serde_json::to_string_pretty(value).unwrap_or_default()),
            Form::Jsonl => self.line(&value.to_string()),
            Form::Table => text(self).iter().try_for_each(|line| self.line(line)),
        }
    }

    /// Writes a list: as JSON, or as a table with a row for each item.
    ///
    /// # Errors
    /// As for [`Self::line`].
    pub fn list(&self, items: &[Value], columns: &[&str], row: impl Fn(&Value) -> Vec<String>) -> Outcome {
        match self.form {
            Form::Json => self.line(&serde_json::to_string_pretty(items).unwrap_or_default()),
            Form::Jsonl => items.iter().try_for_each(|item| self.line(&item.to_string())),
            Form::Table => {
                let rows: Vec<_> = items.iter().map(row).collect();
                self.table(columns, &rows).iter().try_for_each(|line| self.line(line))
            }
        }
    }

    /// Lays out a table.
    #[must_use]
    pub fn table(&self, columns: &[&str], rows: &[Vec<String>]) -> Vec<String> {
        let rows: Vec<Vec<_>> = rows.iter().map(|row| row.iter().map(|cell| visible(cell)).collect()).collect();
        let width = |index: usize| {
            let cells = rows.iter().filter_map(|row| row.get(index)).map(|cell| cell.chars().count());
            cells.chain([columns[index].len()]).max().unwrap_or_default()
        };
        let widths: Vec<_> = (0..columns.len()).map(width).collect();
        let rows = &rows;
        let head: Vec<_> = columns.iter().map(|name| name.to_uppercase()).collect();
        let head = self.row(&head, &widths, |_| Some(Colour::Bold));
        [head].into_iter().chain(rows.iter().map(|row| self.row(row, &widths, Colour::of_status))).collect()
    }

    fn row(&self, cells: &[String], widths: &[usize], colour: impl Fn(&str) -> Option<Colour>) -> String {
        let cells = cells.iter().zip(widths).enumerate().map(|(index, (cell, width))| {
            let gap = if index + 1 == widths.len() { 0 } else { width + 2 - cell.chars().count() };
            format!("{}{}", self.painted(cell, colour(cell)), " ".repeat(gap))
        });
        cells.collect::<String>().trim_end().to_owned()
    }

    /// Lays out names and values, one pair a line.
    #[must_use]
    pub fn pairs(&self, pairs: &[(&str, String)]) -> Vec<String> {
        let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        let line = |(name, value): &(&str, String)| {
            let gap = " ".repeat(width + 2 - name.len());
            let value = visible(value);
            format!(
                "{}{gap}{}",
                self.painted(name, Some(Colour::Bold)),
                self.painted(&value, Colour::of_status(&value))
            )
        };
        pairs.iter().map(line).collect()
    }

    /// Colours a text of data, if stdout is a terminal.
    #[must_use]
    pub fn painted(&self, text: &str, colour: Option<Colour>) -> String {
        match colour {
            Some(colour) if self.is_coloured => colour.paint(text),
            _ => text.to_owned(),
        }
    }

    /// Says something to people, on stderr.
    pub fn say(&self, text: &str) {
        drop(writeln!(std::io::stderr().lock(), "{text}")); // Nobody reads it, if this fails.
    }

    /// Says that a list stops at `--limit`.
    pub fn say_if_more(&self, has_more: bool, shown: usize) {
        if has_more {
            self.say(&format!("these are the first {shown}, and there are more; --limit shows more of them"));
        }
    }

    /// Says something to people who asked for more (`--verbose`).
    pub fn say_verbosely(&self, text: &str) {
        if self.is_verbose {
            self.say(text);
        }
    }

    /// Says why the command failed, as JSON if data is JSON.
    pub fn failure(&self, failure: &Told) {
        if self.form != Form::Table {
            self.say(&failure.json().to_string());
            return;
        }
        let error = if self.is_talk_coloured { Colour::Red.paint("error:") } else { "error:".to_owned() };
        self.say(&format!("{error} {}", failure.what));
        for detail in &failure.details {
            self.say(&format!("  - {detail}"));
        }
        if !failure.next.is_empty() {
            self.say(&format!("  → {}", failure.next));
        }
    }

    /// Shows on a terminal that work goes on whose extent nobody knows, and nothing elsewhere.
    #[must_use]
    pub fn spinner(&self, doing: String) -> ProgressBar {
        let spinner = self.progress(0, "");
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            spinner.set_style(style);
        }
        spinner.set_message(doing);
        spinner
    }

    /// Shows progress on a terminal, and nothing elsewhere.
    #[must_use]
    pub fn progress(&self, total: u64, doing: &'static str) -> ProgressBar {
        let is_shown = std::io::stderr().is_terminal() && self.form == Form::Table;
        let target = if is_shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(total), target);
        let style = if self.is_talk_coloured {
            "{spinner} {msg} {bar:30.green} {pos}/{len}"
        } else {
            "{spinner} {msg} {bar:30} {pos}/{len}"
        };
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        bar.set_message(doing);
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    }
}
/// Makes characters visible that would move the cursor, colour the terminal or turn text around. Producers and receivers choose
/// texts that a table shows.
fn visible(text: &str) -> String {
    let is_hidden = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if is_hidden(c) { c.escape_default().to_string() } else { c.to_string() }).collect()
}
