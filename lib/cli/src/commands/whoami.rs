//! `whoami`: the account, the region and the stack that commands would use.

use serde_json::json;

use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::stack::{API_URL, Stack};

/// Shows them.
pub async fn run(stack: &Stack<'_>, output: &Output) -> Outcome {
    let region = stack.aws.region().await?;
    let (account, caller) = stack.caller().await?;
    let api_url = stack.output(API_URL).await?.to_owned();
    let (status, changed_at) = match stack.describe().await {
        Ok(description) => (description.status.clone(), description.changed_at.clone()),
        Err(Failure::Told(told)) => (format!("not known: {}", told.what), "-".to_owned()),
        Err(failure) => return Err(failure),
    };
    let version = env!("CARGO_PKG_VERSION");
    let value = json!({
        "account": account, "caller": caller, "region": region, "stack": stack.name(), "stackStatus": status,
        "deployedAt": changed_at, "apiUrl": api_url, "version": version,
    });
    output.one(&value, |output| {
        output.pairs(&[
            ("account", account),
            ("caller", caller),
            ("region", region),
            ("stack", stack.name().to_owned()),
            ("stackStatus", status),
            ("deployedAt", changed_at),
            ("apiUrl", api_url),
            ("version", version.to_owned()),
        ])
    })
}
