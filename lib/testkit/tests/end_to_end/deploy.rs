//! `make deploy` and what operators use beside it, against the CloudFormation and DynamoDB of the local stack.

use signpost_testkit::program::python_tests;

#[tokio::test]
async fn a_deploy_builds_what_the_stack_runs() {
    python_tests("test_deploy.py").await;
}

#[tokio::test]
async fn items_of_a_restored_table_come_back() {
    python_tests("test_restore.py").await;
}
