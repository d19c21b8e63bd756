//! `make smoke`, against this stack.

use std::path::Path;
use std::process::Command;

#[tokio::test]
async fn the_smoke_test_passes_and_names_what_fails() {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../infra/local/test_smoke.py");
    let mut tests = Command::new("python");
    tests.arg(program);

    let output = tokio::task::spawn_blocking(move || tests.output()).await.unwrap();

    let output = output.unwrap_or_else(|error| panic!("python: {error}; run `make test`, which sets it up"));
    let told = String::from_utf8_lossy(&output.stderr); // `unittest` prints to stderr.
    assert!(output.status.success() && told.contains("\nOK"), "{told}");
}
