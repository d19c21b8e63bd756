//! `addresses`: the addresses that webhooks come from.

use serde_json::Value;

use crate::api::{Call, GET_EGRESS_ADDRESSES};
use crate::commands::endpoint::text;
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::stack::{API_URL, Stack};

/// Fetches the list, which is public.
pub async fn list(stack: &Stack<'_>, output: &Output) -> Outcome {
    let host = stack.output(API_URL).await?.trim_end_matches('/');
    let url = format!("{host}{}", Call::new(&GET_EGRESS_ADDRESSES, &[]).target());
    let answer = stack.aws.get(&url).await?;
    if answer.status != 200 {
        return Err(Failure::refused(format!("{url} answered {}; expected 200", answer.status), "try again"));
    }
    let addresses = answer.json();
    output.one(&addresses, |output| {
        if addresses["fixed"] != Value::Bool(true) {
            return vec!["the addresses change: do not filter by address, and verify signatures".to_owned()];
        }
        let rows = [("addresses", "now"), ("upcoming", "soon: allow it now")].map(|(name, use_from)| {
            let ranges = addresses[name].as_array().into_iter().flatten();
            ranges.map(|range| vec![text(range), use_from.to_owned()]).collect::<Vec<_>>()
        });
        output.table(&["range", "in use"], &rows.concat())
    })
}
