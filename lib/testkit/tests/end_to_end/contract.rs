//! The HTTP API and its contract, `infra/openapi.yaml`.

use std::path::Path;
use std::process::{Command, Output};

use signpost_testkit::local_stack::setting;

#[tokio::test]
async fn the_api_keeps_to_its_contract() {
    let output = python("walk_contract.py", Some(setting("API_URL"))).await;
    let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{errors}{told}"); // The parts that failed are at the end.
}

#[tokio::test]
async fn the_walk_judges_answers_and_shows_what_failed() {
    let output = python("test_walk_contract.py", None).await;
    let told = String::from_utf8_lossy(&output.stderr); // `unittest` prints to stderr.
    assert!(output.status.success() && told.contains("\nOK"), "{told}");
}

async fn python(program: &str, argument: Option<String>) -> Output {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../infra/local").join(program);
    let mut command = Command::new("python");
    command.arg(program).args(argument);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
    output.unwrap_or_else(|error| panic!("python: {error}; run `make test`, which sets it up"))
}
