//! `make smoke` and `signpost smoke`, against this stack. They are for one tenant, so one comes after the other.

use serde_json::Value;
use signpost_testkit::program::python_tests;

use crate::command_line::run;

#[tokio::test]
async fn the_smoke_test_passes_and_names_what_fails() {
    python_tests("test_smoke.py").await;

    let steps = run(&["smoke"], "").await.json();
    let verified = |step: &&Value| step["step"].as_str().is_some_and(|step| step.starts_with("verify "));
    assert_eq!(steps.as_array().unwrap().iter().filter(verified).count(), 6, "{steps}");
}
