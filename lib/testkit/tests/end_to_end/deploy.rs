//! `make deploy` and what operators use beside it, against the CloudFormation and DynamoDB of the local stack.

use std::path::Path;
use std::process::Command;

#[tokio::test]
async fn a_deploy_builds_what_the_stack_runs() {
    run("test_deploy.py").await;
}

#[tokio::test]
async fn items_of_a_restored_table_come_back() {
    run("test_restore.py").await;
}

async fn run(file: &str) {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../infra/local").join(file);
    let mut tests = Command::new("python");
    tests.arg(program);

    let output = tokio::task::spawn_blocking(move || tests.output()).await.unwrap();

    let output = output.unwrap_or_else(|error| panic!("python: {error}; run `make test`, which sets it up"));
    let told = String::from_utf8_lossy(&output.stderr); // `unittest` prints to stderr.
    assert!(output.status.success() && told.contains("\nOK"), "{told}");
}
