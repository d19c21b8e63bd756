//! Programs that a test starts, each with a time limit, so that no test waits for ever.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// A time limit for a program. It ends when it is dropped.
///
/// It kills a program that runs longer, with all that the program started. Then the output ends, so that the test goes
/// on, and fails with the output so far.
#[derive(Debug)]
#[must_use = "the limit ends when it is dropped"]
pub struct Limit(#[expect(dead_code, reason = "its drop ends the limit")] Sender<()>);

/// Starts a program in a process group of its own.
///
/// # Errors
/// The program cannot be started.
pub fn start(command: &mut Command, limit: Duration) -> io::Result<(Child, Limit)> {
    let child = command.process_group(0).spawn()?;
    let (group, name) = (format!("-{}", child.id()), command.get_program().display().to_string());
    let (sender, is_dropped) = channel();
    std::thread::spawn(move || {
        if is_dropped.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            eprintln!("{name} is killed: it ran for more than {} s", limit.as_secs());
            drop(Command::new("kill").args(["-KILL", "--", &group]).status());
        }
    });
    Ok((child, Limit(sender)))
}

/// A program that runs beside a test. It is killed when it is dropped, with all that it started.
#[derive(Debug)]
pub struct Running {
    child: Child,
    _limit: Limit,
}

/// Starts a program that ends with the value.
///
/// # Errors
/// The program cannot be started.
pub fn run_beside(command: &mut Command, limit: Duration) -> io::Result<Running> {
    let (child, limit) = start(command, limit)?;
    Ok(Running { child, _limit: limit })
}

impl Running {
    /// Returns whether the program has ended by itself.
    ///
    /// # Errors
    /// The system does not say.
    pub fn has_ended(&mut self) -> io::Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let group = format!("-{}", self.child.id());
        drop(Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status());
        drop(self.child.wait());
    }
}

/// Runs a program to its end, and returns its output.
///
/// # Errors
/// The program cannot be started.
pub fn output(command: &mut Command, limit: Duration) -> io::Result<Output> {
    let (child, _limit) = start(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()), limit)?;
    child.wait_with_output()
}

/// How long a Python program may run: the walk of the contract takes 13 minutes on two cores beside the other tests.
const PYTHON_LIMIT: Duration = Duration::from_mins(30);

/// Runs a program of `infra/local/` with the Python of `make tools`.
///
/// # Panics
/// There is no Python.
pub async fn python(file: &str, args: &[&str]) -> Output {
    let mut command = Command::new("python");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../infra/local").join(file)).args(args);
    let output = tokio::task::spawn_blocking(move || output(&mut command, PYTHON_LIMIT)).await;
    output.expect("no panic").unwrap_or_else(|error| panic!("python: {error}; run `make test`, which sets it up"))
}

/// Runs tests of `infra/local/` that use `unittest`.
///
/// # Panics
/// A test fails.
pub async fn python_tests(file: &str) {
    let output = python(file, &[]).await;
    let told = String::from_utf8_lossy(&output.stderr); // `unittest` prints to stderr.
    assert!(output.status.success() && told.contains("\nOK"), "{told}");
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_program_over_its_limit_is_killed_with_all_that_it_started() {
        let begin = Instant::now();
        let mut waits = Command::new("sh");
        waits.args(["-c", "echo begun; sleep 600 & wait"]); // The second process holds the pipe open, too.
        let output = output(&mut waits, Duration::from_millis(300)).unwrap();
        assert!(!output.status.success() && begin.elapsed() < Duration::from_mins(1));
        assert_eq!(output.stdout, b"begun\n");
    }

    #[test]
    fn a_program_beside_a_test_ends_with_it() {
        let mut running = run_beside(Command::new("sleep").arg("600"), Duration::from_mins(1)).unwrap();
        assert!(!running.has_ended().unwrap());
        let process = format!("/proc/{}", running.child.id());
        drop(running);
        assert!(!Path::new(&process).exists());
    }

    #[test]
    fn a_program_within_its_limit_ends_by_itself() {
        assert!(output(&mut Command::new("true"), Duration::from_mins(1)).unwrap().status.success());
    }
}
