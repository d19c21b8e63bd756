//! The commands of the documents, run as written.

use std::path::Path;
use std::process::Command;

#[tokio::test]
async fn every_command_of_the_documents_works_for_a_user_with_limited_rights() {
    run_as("user").await;
}

#[tokio::test]
async fn every_command_of_the_documents_works_for_a_session_with_limited_rights() {
    run_as("session").await;
}

async fn run_as(kind: &'static str) {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../infra/local/run_docs.py");
    let mut commands = Command::new("python");
    commands.arg(program).arg(kind).arg(crate::command_line::program().parent().unwrap());

    let output = tokio::task::spawn_blocking(move || commands.output()).await.unwrap();

    let output = output.unwrap_or_else(|error| panic!("python: {error}; run `make test`, which sets it up"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
