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
    let (status, changed_at, version) = match stack.describe().await {
        Ok(description) => {
            let version = description.outputs.get("Version").map_or("-", String::as_str);
            (description.status.clone(), description.changed_at.clone(), version.to_owned())
        }
        Err(Failure::Told(told)) => (format!("not known: {}", told.what), "-".to_owned(), "-".to_owned()),
        Err(failure) => return Err(failure),
    };
    let program = env!("CARGO_PKG_VERSION");
    let value = json!({
        "account": account, "caller": caller, "region": region, "stack": stack.name(), "stackStatus": status,
        "deployedAt": changed_at, "version": version, "apiUrl": api_url, "programVersion": program,
    });
    output.one(&value, |output| {
        output.pairs(&[
            ("account", account),
            ("caller", caller),
            ("region", region),
            ("stack", stack.name().to_owned()),
            ("stackStatus", status),
            ("deployedAt", changed_at),
            ("version", version),
            ("apiUrl", api_url),
            ("programVersion", program.to_owned()),
        ])
    })
}
