//! `replays`: bulk replays.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::api::{CREATE_REPLAY, Call, LIST_REPLAYS, READ_REPLAY, STOP_REPLAY};
use crate::args::{ReplaysCommand, ReplaysCreate, ReplaysShow, ReplaysStop};
use crate::commands::care::{Count, Precision, is_count_needed, is_wanted};
use crate::commands::endpoint::text;
use crate::commands::event::check_moment;
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::stack::Stack;

const COLUMNS: [&str; 7] = ["id", "state", "matched", "sent", "skipped", "createdAt", "endedAt"];
/// The time between two questions. Signpost works on replays once a minute.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// Runs a command about bulk replays.
pub async fn run(command: ReplaysCommand, stack: &Stack<'_>, output: &Output) -> Outcome {
    match command {
        ReplaysCommand::Create(args) => create(&args, stack, output).await,
        ReplaysCommand::List(args) => {
            let path = [("tenant", args.tenant.tenant.as_str())];
            let replays = stack.pages(&Call::new(&LIST_REPLAYS, &path), "replays").await?;
            output.list(&replays, &COLUMNS, |replay| COLUMNS.map(|name| text(&replay[name])).to_vec())
        }
        ReplaysCommand::Show(args) => show(&args, stack, output).await,
        ReplaysCommand::Stop(args) => stop(&args, stack, output).await,
    }
}

async fn create(args: &ReplaysCreate, stack: &Stack<'_>, output: &Output) -> Outcome {
    check_moment(&args.since)?;
    let tenant = args.tenant.tenant.as_str();
    let mut wanted = Map::new();
    wanted.insert("since".to_owned(), json!(args.since));
    wanted.extend(args.until.as_ref().map(|until| ("until".to_owned(), json!(until))));
    for (name, values) in [("endpoints", &args.endpoints), ("types", &args.types), ("statuses", &args.statuses)] {
        wanted.extend((!values.is_empty()).then(|| (name.to_owned(), json!(values))));
    }
    let path = [("tenant", tenant)];
    let mut counted = 0;
    if is_count_needed(args.care) {
        let mut body = wanted.clone();
        body.insert("dryRun".to_owned(), json!(true));
        let answer = stack.call(Call::new(&CREATE_REPLAY, &path).with_json(&Value::Object(body))).await?;
        counted = answer["matched"].as_u64().unwrap_or_default();
        let precision = if answer["more"] == true { Precision::AtLeast } else { Precision::Exact };
        let count = Count { number: usize::try_from(counted).unwrap_or(usize::MAX), precision };
        let doing = format!("deliveries since {} that go out again", args.since);
        if !is_wanted(args.care, count, &doing, output)? {
            return Ok(());
        }
    }
    let replay = stack.call(Call::new(&CREATE_REPLAY, &path).with_json(&Value::Object(wanted))).await?;
    let Some(seconds) = args.wait else { return print(&replay, output) };
    let ended = wait(tenant, &text(&replay["id"]), seconds, counted, stack, output).await?;
    print(&ended, output)
}

async fn show(args: &ReplaysShow, stack: &Stack<'_>, output: &Output) -> Outcome {
    let (tenant, id) = (args.tenant.tenant.as_str(), args.replay.as_str());
    let replay = match args.wait {
        None => read(tenant, id, stack).await?,
        Some(seconds) => wait(tenant, id, seconds, 0, stack, output).await?,
    };
    print(&replay, output)
}

async fn stop(args: &ReplaysStop, stack: &Stack<'_>, output: &Output) -> Outcome {
    let (tenant, id) = (args.tenant.tenant.as_str(), args.replay.as_str());
    let is_running = read(tenant, id, stack).await?["state"] == "running";
    if !is_wanted(args.care, Count::exact(usize::from(is_running)), "bulk replays that stop", output)? {
        return Ok(());
    }
    let path = [("tenant", tenant), ("replay", id)];
    print(&stack.call(Call::new(&STOP_REPLAY, &path)).await?, output)
}

async fn read(tenant: &str, id: &str, stack: &Stack<'_>) -> Outcome<Value> {
    stack.call(Call::new(&READ_REPLAY, &[("tenant", tenant), ("replay", id)])).await
}

/// Waits until a replay has ended. `counted` is the number of its deliveries; 0 if it is not known.
async fn wait(
    tenant: &str,
    id: &str,
    seconds: u64,
    counted: u64,
    stack: &Stack<'_>,
    output: &Output,
) -> Outcome<Value> {
    let bar = output.progress(counted, "replaying");
    let asking = async {
        loop {
            let replay = read(tenant, id, stack).await?;
            let matched = replay["matched"].as_u64().unwrap_or_default();
            bar.set_length(counted.max(matched));
            bar.set_position(matched);
            if replay["state"] != "running" {
                return Ok(replay);
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(seconds), asking).await;
    bar.finish_and_clear();
    ended.unwrap_or_else(|_| {
        let what = format!("replay `{id}` still runs after {seconds} s");
        Err(Failure::timed_out(what, format!("see `signpost replays show {id} --tenant {tenant}`")))
    })
}

fn print(replay: &Value, output: &Output) -> Outcome {
    output.one(replay, |output| output.pairs(&COLUMNS.map(|name| (name, text(&replay[name])))))
}
