//! Input of a command: files, stdin, secrets and answers of people.

use std::io::{BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::path::Path;

use signpost_core::secret::Secret;

use crate::failure::{Failure, Outcome};

/// Reads a file, or stdin for `-`.
///
/// # Errors
/// The file cannot be read.
pub fn read(path: &str) -> Outcome<Vec<u8>> {
    let mut bytes = Vec::new();
    let result = if path == "-" {
        std::io::stdin().read_to_end(&mut bytes).map(drop)
    } else {
        std::fs::read(path).map(|all| bytes = all)
    };
    match result {
        Ok(()) => Ok(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Failure::not_found(format!("there is no file `{path}`"), "check the path, or use - for stdin"))
        }
        Err(error) => {
            Err(Failure::refused(format!("`{path}` cannot be read: {error}"), "check the path and its permissions"))
        }
    }
}

/// Reads a file as text.
///
/// # Errors
/// The file cannot be read, or is not UTF-8.
pub fn read_text(path: &str) -> Outcome<String> {
    String::from_utf8(read(path)?).map_err(|_| Failure::refused(format!("`{path}` is not UTF-8"), "save it as UTF-8"))
}

/// Reads a secret from a file, or from stdin for `-`, without the line end. If stdin is a terminal, asks for the secret and
/// does not show what is typed.
///
/// # Errors
/// The file cannot be read, or is empty.
pub fn read_secret(path: &str) -> Outcome<Secret> {
    let text = if path == "-" && std::io::stdin().is_terminal() { ask_for_secret()? } else { read_text(path)? };
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(Failure::usage(format!("`{path}` is empty; expected a secret"), "write the secret into the file"));
    }
    Ok(Secret::new(text.to_owned()))
}

fn ask_for_secret() -> Outcome<String> {
    drop(write!(std::io::stderr(), "Secret (not shown): "));
    rpassword::read_password().map_err(|error| {
        Failure::refused(format!("the terminal cannot be read: {error}"), "write the secret into a file, and name it")
    })
}

/// Asks whether to go on. Without a terminal, only `--yes` goes on.
///
/// # Errors
/// The person says no, or there is nobody to ask.
pub fn confirm(question: &str, is_yes: bool) -> Outcome {
    if is_yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(
            format!("stdin is not a terminal, so nobody can be asked: {question}"),
            "add --yes, or look first with --dry-run",
        ));
    }
    drop(write!(std::io::stderr(), "{question} [y/N] "));
    let mut answer = String::new();
    drop(std::io::stdin().lock().read_line(&mut answer));
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(Failure::refused("nothing was changed", "answer y to go on"))
}

/// Returns whether a path names an existing file.
#[must_use]
pub fn is_file(path: &str) -> bool {
    Path::new(path).is_file()
}
