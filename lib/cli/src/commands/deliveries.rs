//! `deliveries` and `tail`: what endpoints got.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::api::{Call, LIST_DELIVERIES, LIST_ENDPOINTS};
use crate::args::{Deliveries, Tail};
use crate::commands::endpoint::text;
use crate::commands::event::check_moment;
use crate::failure::{Exit, Outcome};
use crate::output::{Colour, Form, Output};
use crate::signals::Stop;
use crate::stack::Stack;

const COLUMNS: [&str; 6] = ["arrived", "status", "attempts", "event", "source", "waits for"];
/// The time between two questions.
const AGAIN_AFTER: Duration = Duration::from_secs(2);
/// Events that arrived so long ago are looked at again, because their deliveries change.
const LOOK_BACK: Duration = Duration::from_mins(5);
/// The most deliveries to an endpoint that one look takes.
const MOST_CHANGES: usize = 1_000;

/// Lists the deliveries to an endpoint.
pub async fn list(args: &Deliveries, stack: &Stack<'_>, output: &Output) -> Outcome {
    args.since.as_deref().map_or(Ok(()), check_moment)?;
    let path = [("tenant", args.tenant.tenant.as_str()), ("endpoint", args.endpoint.as_str())];
    let query = [("status", args.status.as_deref()), ("since", args.since.as_deref())];
    let call = Call::new(&LIST_DELIVERIES, &path).with_query(&query);
    let (deliveries, has_more) = stack.first(&call, "deliveries", args.limit).await?;
    if !args.follow {
        output.list(&deliveries, &COLUMNS, row)?;
        output.say_if_more(has_more, deliveries.len());
        return Ok(());
    }
    let mut followed = Followed::default();
    for delivery in deliveries.iter().rev() {
        followed.show(&args.endpoint, delivery, output)?;
    }
    let mut stop = Stop::listen()?;
    output.say("following; Ctrl-C stops");
    loop {
        tokio::select! {
            () = stop.wait() => return Ok(()),
            () = tokio::time::sleep(AGAIN_AFTER) => {
                followed.look(&args.tenant.tenant, &args.endpoint, args.status.as_deref(), stack, output).await?;
            }
        }
    }
}

/// Shows the deliveries of all endpoints of a tenant.
pub async fn tail(args: &Tail, stack: &Stack<'_>, output: &Output) -> Outcome {
    let mut stop = Stop::listen()?;
    let (tenant, mut followed) = (args.tenant.tenant.as_str(), Followed { is_quiet: true, ..Followed::default() });
    loop {
        let path = [("tenant", tenant)];
        for endpoint in stack.pages(&Call::new(&LIST_ENDPOINTS, &path), "endpoints").await? {
            let id = text(&endpoint["id"]);
            match followed.look(tenant, &id, None, stack, output).await {
                Err(failure) if failure.is(Exit::NotFound) => {} // It was removed meanwhile.
                other => other?,
            }
        }
        if std::mem::take(&mut followed.is_quiet) {
            output.say(&format!("following {tenant}; Ctrl-C stops"));
        }
        tokio::select! {
            () = stop.wait() => return Ok(()),
            () = tokio::time::sleep(AGAIN_AFTER) => {}
        }
    }
}

/// The deliveries that were shown, by endpoint, source and event, with their state.
#[derive(Debug, Default)]
struct Followed {
    shown: BTreeMap<(String, String, String), String>,
    /// Only remembers, because what happened before is not news.
    is_quiet: bool,
}

impl Followed {
    async fn look(
        &mut self,
        tenant: &str,
        endpoint: &str,
        status: Option<&str>,
        stack: &Stack<'_>,
        output: &Output,
    ) -> Outcome {
        let since = (OffsetDateTime::now_utc() - LOOK_BACK).format(&Rfc3339).unwrap_or_default();
        let path = [("tenant", tenant), ("endpoint", endpoint)];
        let query = [("since", Some(since.as_str())), ("status", status)];
        let call = Call::new(&LIST_DELIVERIES, &path).with_query(&query);
        let (deliveries, has_more) = stack.first(&call, "deliveries", MOST_CHANGES).await?;
        if has_more && !self.is_quiet {
            output.say(&format!(
                "{endpoint} has more than {MOST_CHANGES} deliveries since {since}; the newest are shown"
            ));
        }
        deliveries.iter().rev().try_for_each(|delivery| self.show(endpoint, delivery, output))
    }

    /// Shows a delivery if it is new or has changed.
    fn show(&mut self, endpoint: &str, delivery: &Value, output: &Output) -> Outcome {
        let key = (endpoint.to_owned(), text(&delivery["source"]), text(&delivery["event"]));
        let state = format!("{} {} {}", delivery["status"], delivery["attempts"], delivery["reason"]);
        if self.shown.insert(key, state.clone()) == Some(state) || self.is_quiet {
            return Ok(());
        }
        if output.form() != Form::Table {
            let mut delivery = delivery.clone();
            delivery["endpoint"] = json!(endpoint);
            return output.line(&delivery.to_string());
        }
        let status = text(&delivery["status"]);
        let time = text(&delivery["arrivedAt"]);
        output.line(&format!(
            "{time}  {}  {endpoint}  {}  attempts {}",
            output.painted(&status, Colour::of_status(&status)),
            text(&delivery["event"]),
            delivery["attempts"],
        ))
    }
}

fn row(delivery: &Value) -> Vec<String> {
    let held = delivery["held"]["because"].as_str().map(|because| format!("held: {because}"));
    let reason = delivery["reason"].as_str().map(|reason| format!("given up: {reason}"));
    let waits = reason.or(held).unwrap_or_else(|| text(&delivery["nextAttemptAt"]));
    vec![
        text(&delivery["arrivedAt"]),
        text(&delivery["status"]),
        text(&delivery["attempts"]),
        text(&delivery["event"]),
        text(&delivery["source"]),
        waits,
    ]
}
