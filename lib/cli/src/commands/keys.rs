//! `keys`: a tenant's public keys, and the rotation of signing keys.

use serde_json::{Value, json};

use crate::api::{Call, GET_KEY_SET};
use crate::args::{Care, KeysCommand};
use crate::commands::care::{Count, is_count_needed, is_wanted};
use crate::commands::endpoint::text;
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::stack::{API_URL, ROTATE_KEYS_FUNCTION, Stack};
use crate::verify::keys::PublishedKey;

/// Runs a command about keys.
pub async fn run(command: KeysCommand, stack: &Stack<'_>, output: &Output) -> Outcome {
    match command {
        KeysCommand::List(args) => {
            let set = key_set(&args.tenant.tenant, stack).await?;
            if output.form() == crate::output::Form::Json {
                return output.one(&set, |_| Vec::new()); // The set as it is, for --keys.
            }
            let keys = set["keys"].as_array().map(Vec::as_slice).unwrap_or_default();
            output.list(keys, &["kid", "algorithm", "verifies"], |key| {
                let verifies =
                    key["endpoint"].as_str().map_or_else(|| "all endpoints".to_owned(), |id| format!("v1a of {id}"));
                vec![text(&key["kid"]), text(&key["alg"]), verifies]
            })
        }
        KeysCommand::Rotate(args) => rotate(args.care, stack, output).await,
    }
}

/// Makes new keys. Before that, the function says how many it would make.
async fn rotate(care: Care, stack: &Stack<'_>, output: &Output) -> Outcome {
    let doing = "signing keys that new ones replace at once, for all tenants, before receivers have fetched them";
    if is_count_needed(care) {
        let answer = stack.invoke(ROTATE_KEYS_FUNCTION, &json!({"dryRun": true})).await?;
        let count = answer["wouldReplace"].as_array().map_or(0, Vec::len);
        if !is_wanted(care, Count::exact(count), doing, output)? {
            return Ok(());
        }
    }
    let answer = stack.invoke(ROTATE_KEYS_FUNCTION, &json!({"force": true})).await?;
    output.one(&json!({"rotated": true, "answer": answer}), |_| {
        vec!["new keys sign; functions take them up within 15 seconds".to_owned()]
    })
}

/// Fetches the key set, which is public.
async fn key_set(tenant: &str, stack: &Stack<'_>) -> Outcome<Value> {
    let path = [("tenant", tenant)];
    let url =
        format!("{}{}", stack.output(API_URL).await?.trim_end_matches('/'), Call::new(&GET_KEY_SET, &path).target());
    let answer = stack.aws.get(&url).await?;
    match answer.status {
        200 => Ok(answer.json()),
        404 => Err(Failure::not_found(format!("tenant `{tenant}` has no key set"), "check the tenant's name")),
        status => Err(Failure::refused(format!("{url} answered {status}; expected 200"), "try again")),
    }
}

/// Fetches the key set for verification.
pub async fn published(tenant: &str, stack: &Stack<'_>) -> Outcome<Vec<PublishedKey>> {
    let set = key_set(tenant, stack).await?.to_string();
    PublishedKey::parse_set(set.as_bytes()).map_err(|error| Failure::refused(error, "try again"))
}
