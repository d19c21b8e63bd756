//! `notices`: the address that gets notices about a tenant's endpoints.

use serde_json::{Value, json};

use crate::api::{Call, DELETE_NOTICES, GET_NOTICES, SET_NOTICES};
use crate::args::{NoticesCommand, NoticesRemove};
use crate::commands::care::is_wanted;
use crate::commands::endpoint::{KEEP_THE_SECRET, new_settings, say_what_the_role_needs, show, target, text, waiting};
use crate::failure::Outcome;
use crate::output::Output;
use crate::stack::Stack;

/// Runs a command about the address of notices, which is an endpoint.
pub async fn run(command: NoticesCommand, stack: &Stack<'_>, output: &Output) -> Outcome {
    match command {
        NoticesCommand::Set(args) => {
            let settings = new_settings(&args)?;
            let path = [("tenant", args.tenant.tenant.as_str())];
            let address = stack.call(Call::new(&SET_NOTICES, &path).with_json(&Value::Object(settings))).await?;
            show(&address, output)?;
            if address["signingSecret"].is_string() {
                output.say(KEEP_THE_SECRET);
            }
            say_what_the_role_needs(&address, output);
            Ok(())
        }
        NoticesCommand::Show(args) => {
            let path = [("tenant", args.tenant.tenant.as_str())];
            show(&stack.call(Call::new(&GET_NOTICES, &path)).await?, output)
        }
        NoticesCommand::Remove(args) => remove(&args, stack, output).await,
    }
}

async fn remove(args: &NoticesRemove, stack: &Stack<'_>, output: &Output) -> Outcome {
    let tenant = args.tenant.tenant.as_str();
    let address = stack.call(Call::new(&GET_NOTICES, &[("tenant", tenant)])).await?;
    let waiting = waiting(tenant, &text(&address["id"]), stack).await?;
    let doing = format!("pending notices to {} that are given up", target(&address));
    if !is_wanted(args.care, waiting, &doing, output)? {
        return Ok(());
    }
    stack.call(Call::new(&DELETE_NOTICES, &[("tenant", tenant)])).await?;
    output.one(&json!({"removed": true}), |_| {
        vec!["removed the address of notices; notices reach only the operator".to_owned()]
    })
}
