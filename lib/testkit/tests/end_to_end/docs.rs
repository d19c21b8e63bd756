//! The commands of the documents, run as written.

use signpost_testkit::program::python;

#[tokio::test]
async fn every_command_of_the_documents_works_for_a_user_with_limited_rights() {
    run_as("user").await;
}

#[tokio::test]
async fn every_command_of_the_documents_works_for_a_session_with_limited_rights() {
    run_as("session").await;
}

async fn run_as(kind: &'static str) {
    let command_line = crate::command_line::program();
    let output = python("run_docs.py", &[kind, command_line.parent().unwrap().to_str().unwrap()]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
