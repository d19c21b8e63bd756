//! The HTTP API and its contract, `infra/openapi.yaml`.

use std::path::Path;
use std::process::Command;

use signpost_testkit::local_stack::setting;

#[tokio::test]
async fn the_api_keeps_to_its_contract() {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../infra/local/walk_contract.py");
    let mut walk = Command::new("python");
    walk.arg(program).arg(setting("API_URL"));

    let output = tokio::task::spawn_blocking(move || walk.output()).await.unwrap();

    let output = output.unwrap_or_else(|error| panic!("python: {error}; run `make test`, which sets it up"));
    let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}{errors}");
}
