//! Metrics: the lines of a load, compared with what its receivers saw.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use signpost_core::event::TenantId;
use signpost_testkit::build::{event, event_id, tenant};
use signpost_testkit::local_stack::{LocalStack, until};
use signpost_testkit::program::python;
use signpost_testkit::receiver::{Received, Receiver};
use tokio::time::{Instant, sleep};

/// The log groups of all functions, by logical id.
const GROUPS: [&str; 8] = [
    "DeliverLogs",
    "FanoutLogs",
    "IngestLogs",
    "ManageLogs",
    "PublicKeysLogs",
    "RelayLogs",
    "RotateKeysLogs",
    "SweepLogs",
];

/// Returns the metric lines that the functions have written so far.
async fn metric_lines(stack: &LocalStack) -> Vec<String> {
    let mut lines = Vec::new();
    for group in GROUPS {
        lines.extend(stack.log_lines(group).await.into_iter().filter(|line| line.contains("\"_aws\"")));
    }
    lines
}

/// Adds up the metrics of a tenant: sums as they are, and of other metrics the number of their values.
fn sums(lines: &[String], tenant: &TenantId) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    let lines = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    for line in lines.filter(|line| line["Tenant"] == tenant.as_str()) {
        for definition in line["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().unwrap() {
            let name = definition["Name"].as_str().unwrap();
            let value = match &line[name] {
                Value::Array(values) => values.len() as u64,
                Value::Number(_) if definition["Unit"] == "Milliseconds" => 1,
                number => number.as_u64().unwrap(),
            };
            *sums.entry(name.to_owned()).or_default() += value;
        }
    }
    sums
}

fn answered(requests: &[Received], status: u16) -> u64 {
    requests.iter().filter(|request| request.status == Some(status)).count() as u64
}

/// How often a load is sent before a difference counts. If a machine is so busy that AWS loses the end of an invocation, its
/// metrics are lost, and its messages come again.
const LOADS: usize = 3;

#[tokio::test]
async fn the_metrics_of_a_load_are_what_the_receivers_saw() {
    let mut differences = Vec::new();
    for _ in 0..LOADS {
        match metrics_of_a_load().await {
            Ok(lines) => return check(&lines).await,
            Err(difference) => differences.push(difference),
        }
    }
    panic!("found other metrics than the receivers saw, each time: {differences:#?}");
}

/// Sends a load, and returns the lines of its metrics if they are what the receivers saw. Otherwise returns the difference.
async fn metrics_of_a_load() -> Result<Vec<String>, String> {
    const EVENTS: usize = 300;
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let healthy = Receiver::start(|_| 204).await;
    let failing = Receiver::start(|index| if index % 3 == 0 { 500 } else { 404 }).await;
    for receiver in [&healthy, &failing] {
        let retry = json!({"maxRetries": 1, "intervalSeconds": 5, "backoff": "fixed"});
        stack.register_with(&tenant, &json!({"url": receiver.url, "retry": retry})).await;
    }
    let events: Vec<_> = (0..EVENTS).map(|_| event(&tenant, &event_id(), &json!({})).to_string()).collect();
    for batch in events.chunks(100) {
        // A busy machine answers 503, and a producer sends the same request again.
        until("an answer of 202", async || {
            let body = format!("[{}]", batch.join(","));
            let answer = stack.post_events("application/cloudevents-batch+json", body).await;
            assert!([202, 503].contains(&answer.status), "{}", answer.text);
            (answer.status == 202).then_some(())
        })
        .await;
    }
    healthy.wait_for(EVENTS).await;

    let deadline = Instant::now() + Duration::from_mins(1);
    let lines = loop {
        let lines = metric_lines(&stack).await;
        let sums = sums(&lines, &tenant);
        let (well, bad) = (healthy.so_far(), failing.so_far());
        let seen = [
            ("EventsAccepted", EVENTS as u64),
            ("DeliveriesQueued", 2 * EVENTS as u64),
            ("AttemptsAcknowledged", answered(&well, 204)),
            ("AttemptsFailed", answered(&bad, 500)),
            ("AttemptsRefused", answered(&bad, 404)),
            ("AttemptDuration", (well.len() + bad.len()) as u64),
            ("TimeToAcknowledgement", answered(&well, 204)),
        ];
        let differs = |(name, count): &&(&str, u64)| sums.get(*name).copied().unwrap_or_default() != *count;
        let different: Vec<_> = seen.iter().filter(differs).collect();
        // Notices about the endpoint that fails are events of the tenant, too.
        let fanned_out = sums.get("EventsFannedOut").copied().unwrap_or_default();
        let notices = fanned_out.checked_sub(EVENTS as u64);
        if different.is_empty() && notices.is_some_and(|count| count <= 5) && answered(&bad, 500) > 0 {
            break lines;
        }
        if Instant::now() > deadline {
            return Err(format!("seen {seen:?}; metrics {sums:?}"));
        }
        sleep(Duration::from_secs(1)).await;
    };

    let parked = sums(&lines, &tenant).get("DeliveriesParkedBreakerOpen").copied().unwrap_or_default();
    assert!(parked > 0, "the breaker of the endpoint that fails has opened");
    Ok(lines)
}

/// Checks all lines by the specification of the format and by `docs/metrics.md`.
async fn check(lines: &[String]) {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("metrics.jsonl");
    std::fs::write(&file, lines.join("\n")).unwrap();
    let output = python("check-metrics.py", &[file.to_str().unwrap()]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Returns whether MiniStack's Lambda wrote a line itself.
fn is_of_lambda(line: &str) -> bool {
    ["START RequestId: ", "END RequestId: ", "REPORT RequestId: "].iter().any(|begin| line.starts_with(begin))
}

#[tokio::test]
async fn each_line_of_a_log_is_flat_json_with_a_time_a_level_and_one_request_id() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let receiver = Receiver::start(|index| if index == 0 { 500 } else { 204 }).await;
    let retry = json!({"maxRetries": 5, "intervalSeconds": 5, "backoff": "fixed"});
    stack.register_with(&tenant, &json!({"url": receiver.url, "retry": retry})).await;
    let id = event_id();
    stack.send_events([event(&tenant, &id, &json!({})).to_string()]).await;
    receiver.wait_for(2).await;

    let mut attempts = until("lines of both attempts", async || {
        let lines = stack.log_lines("DeliverLogs").await;
        let lines = lines
            .iter()
            .filter(|line| !is_of_lambda(line))
            .map(|line| serde_json::from_str::<Value>(line).expect("each line is JSON"));
        let lines = lines.filter(|line| line["message"] == "delivery.attempted" && line.to_string().contains(&id));
        Some(lines.collect::<Vec<_>>()).filter(|lines| lines.len() == 2)
    })
    .await;

    attempts.sort_by_key(|line| line["timestamp"].to_string()); // The log group may have several streams.
    let levels: Vec<_> = attempts.iter().map(|line| line["level"].as_str().unwrap()).collect();
    assert_eq!(levels, ["WARN", "INFO"], "{attempts:?}");
    for line in &attempts {
        let text = line.to_string();
        assert_eq!(text.matches(line["requestId"].as_str().unwrap()).count(), 1, "{text}");
        assert_eq!(line["timestamp"].as_str().unwrap().len(), "2026-11-28T08:00:00.000Z".len(), "{text}");
    }
    assert_eq!((&attempts[0]["event.id"], &attempts[0]["attempt.status"]), (&json!(id), &json!(500)));
    let acknowledged = attempts[1]["deliveries"].as_array().unwrap();
    let ours = acknowledged.iter().find(|one| one["event.id"] == id).unwrap();
    assert_eq!(ours["attempt.number"], 2, "{ours}");
}
