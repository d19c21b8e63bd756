//! The program as a test runs it: with credentials of nobody, and without the variables of the machine.

use std::ffi::OsStr;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use signpost_testkit::program::{self, Limit};

/// The result of a run.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Makes the command, for a stack with `api_url`.
pub fn command<A: AsRef<OsStr>>(api_url: &str, args: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_signpost"));
    command.env_clear().args(args);
    command.env("API_URL", api_url).env("AWS_ENDPOINT_URL", api_url);
    for name in ["EVENTS_QUEUE_URL", "DEAD_LETTER_QUEUE_URL", "REJECTED_QUEUE_URL"] {
        command.env(name, format!("{api_url}/000000000000/{name}"));
    }
    command.env("SWEEP_FUNCTION", "sweep").env("ROTATE_KEYS_FUNCTION", "rotate-keys");
    command.env("AWS_ACCESS_KEY_ID", "nobody").env("AWS_SECRET_ACCESS_KEY", "the-secret-of-nobody");
    command.env("AWS_REGION", "us-east-1").env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

/// Starts a command with pipes for its output, and a time limit.
pub fn start(command: &mut Command) -> (Child, Limit) {
    program::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()), LIMIT).unwrap()
}

/// Runs the program to its end.
pub fn run(api_url: &str, args: &[&str]) -> Ran {
    run_with_input(api_url, args, "")
}

/// Runs the program to its end, with a text on stdin.
pub fn run_with_input(api_url: &str, args: &[&str], input: &str) -> Ran {
    let mut command = command(api_url, args);
    let (mut child, _limit) = start(command.stdin(Stdio::piped()));
    drop(child.stdin.take().unwrap().write_all(input.as_bytes())); // The program may not read it.
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// How long a command may run, on a machine with much other work as well.
pub const LIMIT: Duration = Duration::from_mins(2);

/// A URL where nobody answers.
pub const NOWHERE: &str = "http://127.0.0.1:9";
