//! `completion` and `man`: files for the shell and for `man`, made from the command line's own definition.

use std::path::Path;

use clap::CommandFactory as _;

use crate::args::{Args, Completion, Man};
use crate::failure::{Failure, Outcome};
use crate::output::Output;

/// Prints the completion script.
pub fn completion(args: &Completion, output: &Output) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "signpost", &mut script);
    output.line(String::from_utf8_lossy(&script).trim_end())
}

/// Writes a page for the program and for each command.
pub fn man(args: &Man, output: &Output) -> Outcome {
    let directory = Path::new(&args.directory);
    let failed = |error: &std::io::Error| {
        Failure::refused(
            format!("the pages cannot be written: {error}"),
            "name an existing directory that you may write to",
        )
    };
    let mut command = Args::command();
    command.build();
    clap_mangen::generate_to(command, directory).map_err(|error| failed(&error))?;
    output.say(&format!(
        "the pages are in {}; read one with `man {}/signpost.1`",
        directory.display(),
        directory.display()
    ));
    Ok(())
}
