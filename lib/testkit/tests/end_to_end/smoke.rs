//! `make smoke`, against this stack.

use signpost_testkit::program::python_tests;

#[tokio::test]
async fn the_smoke_test_passes_and_names_what_fails() {
    python_tests("test_smoke.py").await;
}
