//! `endpoint`: a tenant's endpoints.

use serde_json::{Map, Value, json};

use crate::api::{
    CREATE_ENDPOINT, Call, DELETE_ENDPOINT, DISABLE_ENDPOINT, ENABLE_ENDPOINT, GET_ENDPOINT, LIST_DELIVERIES,
    LIST_ENDPOINTS, Operation, READ_EVENT, ROTATE_SECRET, TEST_ENDPOINT, UPDATE_ENDPOINT,
};
use crate::args::{
    EndpointCommand, EndpointCreate, EndpointDelete, EndpointOf, EndpointTest, EndpointUpdate, RotateSecret, Settings,
};
use crate::commands::care::{Count, Precision, is_count_needed, is_wanted};
use crate::commands::event::wait_for_attempt;
use crate::commands::filter::{replacement, written};
use crate::failure::{Failure, Outcome};
use crate::input;
use crate::output::Output;
use crate::stack::Stack;

/// A note for people beside an answer that has a signing secret.
pub const KEEP_THE_SECRET: &str = "keep the signingSecret: no other answer shows it";

/// The most deliveries that are counted, at 50 a request.
const MOST_COUNTED: usize = 10_000;
const COLUMNS: [&str; 5] = ["id", "state", "url", "signatures", "description"];

/// Runs a command about endpoints.
pub async fn run(command: EndpointCommand, stack: &Stack<'_>, output: &Output) -> Outcome {
    match command {
        EndpointCommand::Create(args) => create(&args, stack, output).await,
        EndpointCommand::List(args) => {
            let path = [("tenant", args.tenant.tenant.as_str())];
            let endpoints = stack.pages(&Call::new(&LIST_ENDPOINTS, &path), "endpoints").await?;
            output.list(&endpoints, &COLUMNS, row)
        }
        EndpointCommand::Show(args) => show(&switched(&GET_ENDPOINT, &args, stack).await?, output),
        EndpointCommand::Update(args) => update(&args, stack, output).await,
        EndpointCommand::Delete(args) => delete(&args, stack, output).await,
        EndpointCommand::Enable(args) => show(&switched(&ENABLE_ENDPOINT, &args, stack).await?, output),
        EndpointCommand::Disable(args) => show(&switched(&DISABLE_ENDPOINT, &args, stack).await?, output),
        EndpointCommand::Test(args) => test(&args, stack, output).await,
        EndpointCommand::RotateSecret(args) => rotate_secret(&args, stack, output).await,
    }
}

impl EndpointOf {
    fn path(&self) -> [(&str, &str); 2] {
        [("tenant", &self.tenant.tenant), ("endpoint", &self.endpoint)]
    }
}

async fn switched(operation: &Operation, args: &EndpointOf, stack: &Stack<'_>) -> Outcome<Value> {
    stack.call(Call::new(operation, &args.path())).await
}

async fn create(args: &EndpointCreate, stack: &Stack<'_>, output: &Output) -> Outcome {
    let settings = new_settings(args)?;
    let path = [("tenant", args.tenant.tenant.as_str())];
    let endpoint = stack.call(Call::new(&CREATE_ENDPOINT, &path).with_json(&Value::Object(settings))).await?;
    show(&endpoint, output)?;
    output.say(KEEP_THE_SECRET);
    say_what_the_role_needs(&endpoint, output);
    Ok(())
}

/// Reads the settings of a new endpoint, with its URL or its destination.
pub fn new_settings(args: &EndpointCreate) -> Outcome<Map<String, Value>> {
    let mut settings = read_settings(&args.settings)?;
    if let Some(url) = &args.url {
        settings.insert("url".to_owned(), json!(url));
    }
    let targets = [("sqs", "queueArn", &args.queue_arn), ("eventBridge", "busArn", &args.bus_arn)];
    for (kind, member, arn) in targets {
        if let Some(arn) = arn {
            let destination = json!({"kind": kind, member: arn, "roleArn": args.role_arn});
            settings.insert("destination".to_owned(), destination);
        }
    }
    Ok(settings)
}

/// Tells people what the owner of a queue or a bus has to do.
pub fn say_what_the_role_needs(endpoint: &Value, output: &Output) {
    let destination = &endpoint["destination"];
    if destination.is_object() {
        output.say(&format!(
            "let the trust policy of {} allow sts:AssumeRole to {}, with the ExternalId {}",
            text(&destination["roleArn"]),
            text(&destination["assumedBy"]),
            text(&destination["externalId"]),
        ));
    }
}

/// Returns where an endpoint's webhooks go: its URL, or the ARN of its queue or bus.
pub fn target(endpoint: &Value) -> String {
    let destination = &endpoint["destination"];
    let all = [&endpoint["url"], &destination["queueArn"], &destination["busArn"]];
    all.into_iter().find_map(Value::as_str).unwrap_or("-").to_owned()
}

async fn update(args: &EndpointUpdate, stack: &Stack<'_>, output: &Output) -> Outcome {
    let mut settings = read_settings(&args.settings)?;
    if let Some(url) = &args.url {
        settings.insert("url".to_owned(), json!(url));
    }
    if settings.is_empty() {
        return Err(Failure::usage(
            "there is nothing to change",
            "name a setting, such as --timeout 5, or --settings FILE",
        ));
    }
    let path = args.endpoint.path();
    if let Some(filter) = settings.get_mut("filter") {
        // A merge would keep conditions of the filter before.
        let before = stack.call(Call::new(&GET_ENDPOINT, &path)).await?;
        *filter = replacement(&before["filter"], filter);
    }
    let endpoint = stack.call(Call::new(&UPDATE_ENDPOINT, &path).with_json(&Value::Object(settings))).await?;
    show(&endpoint, output)
}

async fn delete(args: &EndpointDelete, stack: &Stack<'_>, output: &Output) -> Outcome {
    let path = args.endpoint.path();
    let waiting = waiting(&args.endpoint.tenant.tenant, &args.endpoint.endpoint, stack).await?;
    // Without this, an id that does not exist would have no deliveries, and seem to be one.
    stack.call(Call::new(&GET_ENDPOINT, &path)).await?;
    let doing = format!("pending deliveries to {} that are given up", args.endpoint.endpoint);
    if !is_wanted(args.care, waiting, &doing, output)? {
        return Ok(());
    }
    stack.call(Call::new(&DELETE_ENDPOINT, &path)).await?;
    let value = json!({
        "removed": args.endpoint.endpoint, "givenUp": waiting.number, "precision": waiting.precision.as_str(),
    });
    output.one(&value, |_| vec![format!("removed {}", args.endpoint.endpoint)])
}

/// Counts the deliveries to an endpoint that wait for an attempt. The API does not list those that had none yet, so there
/// may be more.
pub async fn waiting(tenant: &str, endpoint: &str, stack: &Stack<'_>) -> Outcome<Count> {
    let path = [("tenant", tenant), ("endpoint", endpoint)];
    let query = [("status", Some("pending"))];
    let call = Call::new(&LIST_DELIVERIES, &path).with_query(&query);
    let Count { number, .. } = stack.count(&call, "deliveries", MOST_COUNTED).await?;
    Ok(Count { number, precision: Precision::AtLeast })
}

async fn test(args: &EndpointTest, stack: &Stack<'_>, output: &Output) -> Outcome {
    let path = args.endpoint.path();
    let call = Call::new(&TEST_ENDPOINT, &path);
    let answer = stack.call(match &args.event_type {
        None => call,
        Some(kind) => call.with_json(&json!({ "type": kind })),
    });
    let answer = answer.await?;
    let event = answer["event"].as_str().unwrap_or_default().to_owned();
    if args.wait == 0 {
        return output.one(&answer, |_| vec![format!("sent {event}")]);
    }
    output.say(&format!("sent {event}; waiting for the receiver's answer"));
    let path = [("tenant", args.endpoint.tenant.tenant.as_str()), ("event", event.as_str())];
    let delivery = wait_for_attempt(&Call::new(&READ_EVENT, &path), args.wait, stack).await?;
    let attempt = delivery["attempts"].as_array().and_then(|attempts| attempts.last()).cloned().unwrap_or_default();
    let value = json!({"event": event, "status": delivery["status"], "attempt": attempt});
    output.one(&value, |output| {
        output.pairs(&[
            ("event", event.clone()),
            ("status", text(&delivery["status"])),
            ("answer", text(&attempt["status"])),
            ("time", format!("{} ms", attempt["durationMs"])),
        ])
    })?;
    if delivery["status"] == "delivered" {
        return Ok(());
    }
    let error = attempt["error"].as_str().unwrap_or("no attempt is on record");
    Err(Failure::refused(
        format!("the receiver did not acknowledge: {error}"),
        format!("see `signpost event show {event} -t {}`, and `signpost doctor URL`", args.endpoint.tenant.tenant),
    ))
}

async fn rotate_secret(args: &RotateSecret, stack: &Stack<'_>, output: &Output) -> Outcome {
    let path = args.endpoint.path();
    if is_count_needed(args.care) {
        let endpoint = stack.call(Call::new(&GET_ENDPOINT, &path)).await?;
        let (count, doing) = ending_secrets(args, &endpoint);
        if !is_wanted(args.care, Count::exact(count), &doing, output)? {
            return Ok(());
        }
    }
    let mut rotation = Map::new();
    if let Some(seconds) = args.overlap {
        rotation.insert("overlapSeconds".to_owned(), json!(seconds));
    }
    if args.end_all_others {
        rotation.insert("endAllOthers".to_owned(), json!(true));
    }
    let endpoint = stack.call(Call::new(&ROTATE_SECRET, &path).with_json(&Value::Object(rotation))).await?;
    show(&endpoint, output)?;
    output.say(KEEP_THE_SECRET);
    Ok(())
}

/// Counts the secrets to which the rotation gives an end, and says when that is. Older secrets keep their own end.
fn ending_secrets(args: &RotateSecret, endpoint: &Value) -> (usize, String) {
    let secrets = endpoint["signingSecrets"].as_array().map(Vec::as_slice).unwrap_or_default();
    let newest = secrets.iter().filter(|secret| secret["expiresAt"].is_null()).count();
    let (count, end) = match args.overlap {
        _ if args.end_all_others => (secrets.len(), "at once: the receiver needs the new one now".to_owned()),
        Some(0) => (newest, "at once: the receiver needs the new one now".to_owned()),
        Some(seconds) => (newest, format!("in {seconds} s")),
        None => (newest, "in a day".to_owned()),
    };
    (count, format!("signing secrets of {} that end {end}", args.endpoint.endpoint))
}

/// Reads `--settings`, and sets what other options name.
pub fn read_settings(args: &Settings) -> Outcome<Map<String, Value>> {
    let mut settings = match &args.settings {
        None => Map::new(),
        Some(path) => {
            let expected = "write a JSON object, such as {\"timeoutSeconds\":5}";
            let parsed = serde_json::from_str(&input::read_text(path)?);
            parsed.map_err(|error| Failure::usage(format!("`{path}` is not a JSON object: {error}"), expected))?
        }
    };
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            settings.insert(name.to_owned(), value);
        }
    };
    set("description", args.description.as_ref().map(|text| json!(text)));
    set("types", if args.types.is_empty() { None } else { Some(types(&args.types)?) });
    set("filter", args.filter.as_deref().map(read_filter).transpose()?);
    set("sequence", args.sequence.map(|asked| json!(asked)));
    set("signatures", (!args.signatures.is_empty()).then(|| json!(args.signatures)));
    set("jwsAlgorithm", args.algorithm.as_ref().map(|text| json!(text)));
    set("timeoutSeconds", args.timeout.map(|seconds| json!(seconds)));
    if let (Some(kind), Some(path)) = (&args.auth, &args.auth_secret_file) {
        let secret = input::read_secret(path)?;
        set("auth", Some(json!({"kind": kind, "secret": secret.reveal()})));
    }
    Ok(settings)
}

fn read_filter(argument: &str) -> Outcome<Value> {
    let text = written(argument)?;
    serde_json::from_str(&text)
        .map_err(|error| Failure::usage(format!("the filter is not JSON: {error}"), "shorten it"))
}

/// Reads `operation` and `operation:APPROVED,REJECTED`.
pub fn types(texts: &[String]) -> Outcome<Value> {
    let one = |text: &String| match text.split_once(':') {
        None => Ok(json!({"type": text})),
        Some((name, statuses)) if !name.is_empty() && !statuses.is_empty() => {
            Ok(json!({"type": name, "statuses": statuses.split(',').collect::<Vec<_>>()}))
        }
        Some(_) => Err(Failure::usage(
            format!("--type is `{text}`; expected TYPE or TYPE:STATUS,STATUS"),
            "such as --type operation:APPROVED",
        )),
    };
    texts.iter().map(one).collect::<Outcome<Vec<_>>>().map(Value::Array)
}

fn row(endpoint: &Value) -> Vec<String> {
    let signatures = endpoint["signatures"].as_array().map(|all| all.iter().map(text).collect::<Vec<_>>().join(","));
    vec![
        text(&endpoint["id"]),
        state(endpoint),
        target(endpoint),
        signatures.unwrap_or_default(),
        text(&endpoint["description"]),
    ]
}

/// The state, with the reason why it gets nothing.
fn state(endpoint: &Value) -> String {
    let held = endpoint["held"]["because"].as_str().map(|because| format!("held ({because})"));
    let disabled =
        endpoint["disabledBecause"].as_str().filter(|because| *because != "operator" && *because != "unverified");
    held.or_else(|| disabled.map(|because| format!("disabled ({because})"))).unwrap_or_else(|| text(&endpoint["state"]))
}

/// Shows an endpoint's settings.
pub fn show(endpoint: &Value, output: &Output) -> Outcome {
    output.one(endpoint, |output| {
        let compact = |name: &str| match &endpoint[name] {
            Value::String(text) => text.clone(),
            Value::Null => "-".to_owned(),
            other => other.to_string(),
        };
        let mut pairs = vec![("id", compact("id")), ("state", state(endpoint))];
        let destination = &endpoint["destination"];
        if destination.is_object() {
            pairs.push(("target", target(endpoint)));
            pairs.extend(["roleArn", "externalId", "assumedBy"].map(|name| (name, text(&destination[name]))));
        } else {
            pairs.push(("url", compact("url")));
        }
        let names = [
            "description",
            "types",
            "filter",
            "signatures",
            "jwsAlgorithm",
            "method",
            "cloudEvents",
            "sequence",
            "auth",
            "retry",
            "timeoutSeconds",
            "maxConcurrency",
            "maxPerSecond",
            "headers",
            "jwksUrl",
            "signingPublicKey",
            "updatedAt",
        ];
        pairs.extend(names.map(|name| (name, compact(name))));
        if !endpoint["held"].is_null() {
            pairs.push(("nextProbeAt", text(&endpoint["held"]["nextProbeAt"])));
        }
        if endpoint["signingSecret"].is_string() {
            pairs.push(("signingSecret", compact("signingSecret")));
        }
        output.pairs(&pairs)
    })
}

/// Returns a text as it is, nothing as a dash, and everything else as JSON.
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}
