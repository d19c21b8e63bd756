//! `portal-link`: links to the integrators' page.

use serde_json::{Map, Value, json};

use crate::api::{CREATE_PORTAL_LINK, Call, END_PORTAL_LINK, END_PORTAL_LINKS, LIST_PORTAL_LINKS};
use crate::args::{PortalLinkCommand, PortalLinkCreate, PortalLinkEnd};
use crate::commands::care::{Count, is_wanted};
use crate::commands::endpoint::text;
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::stack::Stack;

const COLUMNS: [&str; 6] = ["id", "state", "session", "endpoints", "can", "expiresAt"];

/// Runs a command about links.
pub async fn run(command: PortalLinkCommand, stack: &Stack<'_>, output: &Output) -> Outcome {
    match command {
        PortalLinkCommand::Create(args) => create(&args, stack, output).await,
        PortalLinkCommand::List(args) => output.list(&links(&args.tenant.tenant, stack).await?, &COLUMNS, row),
        PortalLinkCommand::End(args) => end(&args, stack, output).await,
    }
}

async fn create(args: &PortalLinkCreate, stack: &Stack<'_>, output: &Output) -> Outcome {
    let mut wanted = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            wanted.insert(name.to_owned(), value);
        }
    };
    set("endpoints", (!args.endpoints.is_empty()).then(|| json!(args.endpoints)));
    set("can", (!args.can.is_empty()).then(|| json!(args.can)));
    set("expiresInSeconds", args.expires_in.map(|seconds| json!(seconds)));
    set("sessionSeconds", args.session.map(|seconds| json!(seconds)));
    set("name", args.name.as_ref().map(|name| json!(name)));
    let path = [("tenant", args.tenant.tenant.as_str())];
    let link = stack.call(Call::new(&CREATE_PORTAL_LINK, &path).with_json(&Value::Object(wanted))).await?;
    output.one(&link, |output| output.pairs(&["id", "url", "expiresAt"].map(|name| (name, text(&link[name])))))?;
    output.say("send the url to one person: it opens once, and no other answer shows it");
    Ok(())
}

async fn end(args: &PortalLinkEnd, stack: &Stack<'_>, output: &Output) -> Outcome {
    let tenant = args.tenant.tenant.as_str();
    let open = links(tenant, stack).await?.into_iter().filter(is_open).map(|link| text(&link["id"]));
    let open: Vec<_> = open.filter(|id| args.link.as_ref().is_none_or(|link| link == id)).collect();
    if !is_wanted(args.care, Count::exact(open.len()), "links that end, with their sessions", output)? {
        return Ok(());
    }
    match &args.link {
        Some(link) => {
            stack.call(Call::new(&END_PORTAL_LINK, &[("tenant", tenant), ("link", link.as_str())])).await?;
        }
        None => drop(stack.call(Call::new(&END_PORTAL_LINKS, &[("tenant", tenant)])).await?),
    }
    output.one(&json!({"ended": open}), |_| vec![format!("ended {} links", open.len())])
}

async fn links(tenant: &str, stack: &Stack<'_>) -> Result<Vec<Value>, Failure> {
    stack.pages(&Call::new(&LIST_PORTAL_LINKS, &[("tenant", tenant)]), "links").await
}

/// Returns whether a code or a token of the link can still be used.
fn is_open(link: &Value) -> bool {
    link["state"] == "unused" || link["session"]["state"] == "open"
}

fn row(link: &Value) -> Vec<String> {
    let list = |value: &Value| value.as_array().map(|all| all.iter().map(text).collect::<Vec<_>>().join(","));
    vec![
        text(&link["id"]),
        text(&link["state"]),
        text(&link["session"]["state"]),
        list(&link["endpoints"]).unwrap_or_else(|| "all".to_owned()),
        list(&link["can"]).unwrap_or_default(),
        text(&link["expiresAt"]),
    ]
}
