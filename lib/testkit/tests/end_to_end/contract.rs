//! The HTTP API and its contract, `infra/openapi.yaml`.

use signpost_testkit::local_stack::setting;
use signpost_testkit::program::{python, python_tests};

#[tokio::test]
async fn the_api_keeps_to_its_contract() {
    let output = python("walk_contract.py", &[&setting("API_URL")]).await;
    let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{errors}{told}"); // The parts that failed are at the end.
    println!("{told}");
}

#[tokio::test]
async fn the_walk_judges_answers_and_shows_what_failed() {
    python_tests("test_walk_contract.py").await;
}
