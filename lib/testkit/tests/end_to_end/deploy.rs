//! `make deploy`, against the CloudFormation of the local stack.

use std::path::Path;
use std::process::Command;

#[tokio::test]
async fn a_deploy_builds_what_the_stack_runs() {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../infra/local/test_deploy.py");
    let mut tests = Command::new("python");
    tests.arg(program);

    let output = tokio::task::spawn_blocking(move || tests.output()).await.unwrap();

    let output = output.unwrap_or_else(|error| panic!("python: {error}; run `make test`, which sets it up"));
    let told = String::from_utf8_lossy(&output.stderr); // `unittest` prints to stderr.
    assert!(output.status.success() && told.contains("\nOK"), "{told}");
}
