//! `token-request`: a URL by which a bank calls back.

use serde_json::json;

use crate::api::{Call, REGISTER_TOKEN_REQUEST};
use crate::args::TokenRequest;
use crate::commands::endpoint::text;
use crate::failure::Outcome;
use crate::output::Output;
use crate::stack::Stack;

/// Registers a token request, and shows the URL once.
pub async fn register(args: &TokenRequest, stack: &Stack<'_>, output: &Output) -> Outcome {
    let body = json!({"requestId": args.id, "redirectUrl": args.redirect_url, "expiresInSeconds": args.expires_in});
    let path = [("tenant", args.tenant.tenant.as_str())];
    let registered = stack.call(Call::new(&REGISTER_TOKEN_REQUEST, &path).with_json(&body)).await?;
    output.one(&registered, |output| {
        output.pairs(&["requestId", "callbackUrl", "expiresAt"].map(|name| (name, text(&registered[name]))))
    })?;
    output.say("give the callbackUrl to the bank: no other answer shows it");
    Ok(())
}
