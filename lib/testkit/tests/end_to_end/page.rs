//! The integrators' page in a browser.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long the browser's tests may take. They stop themselves before.
const LIMIT: Duration = Duration::from_mins(5);

#[tokio::test]
async fn the_page_works_in_a_browser() {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../infra/browser/page.mjs");
    let mut command = Command::new("node");
    command.arg(program).process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let tests = command.spawn().unwrap_or_else(|error| panic!("node: {error}; run `make test`, which sets it up"));
    let group = tests.id();
    let ended = tokio::task::spawn_blocking(move || tests.wait_with_output());

    let Ok(output) = tokio::time::timeout(LIMIT, ended).await else {
        drop(Command::new("kill").args(["-KILL", "--", &format!("-{group}")]).status());
        panic!("the tests of the page did not end within {LIMIT:?}");
    };

    let output = output.unwrap().unwrap();
    let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{errors}{told}");
}
