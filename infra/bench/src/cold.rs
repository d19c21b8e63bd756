//! Cold starts: from the start of the process to its first request for work, and to its first completed work.

use std::fs;
use std::io::Write as _;
use std::time::Duration;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use serde::Serialize;
use serde_json::{Value, json};

use crate::aws::{DELIVERIES, EVENTS};
use crate::path::batch_of;
use crate::process::binary;
use crate::world::{World, event, request};

/// One function's cold starts, in milliseconds.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ColdStart {
    pub(crate) function: &'static str,
    pub(crate) first_next_median: f64,
    pub(crate) first_next_max: f64,
    /// For `deliver`, the time until its first delivery is recorded.
    pub(crate) first_done_median: f64,
    pub(crate) first_done_max: f64,
    /// User and system time until the first work is complete, on average.
    pub(crate) cpu_mean: f64,
    /// Size of the binary in a zip file.
    pub(crate) zipped_mb: f64,
}

pub(crate) const FUNCTIONS: [&str; 9] =
    ["ingest", "fanout", "deliver", "sweep", "rotate-keys", "public-keys", "manage", "relay", "portal"];

/// The number of starts per function.
const RUNS: usize = 20;

pub(crate) async fn measure(world: &World, only: &str) -> Vec<ColdStart> {
    let mut all = Vec::new();
    for function in FUNCTIONS {
        if !format!("cold/{function}").contains(only) {
            continue;
        }
        crate::say(&format!("  {function}"));
        let (mut first_next, mut first_done) = (Vec::new(), Vec::new());
        let mut cpu_ms = 0.0;
        for _ in 0..RUNS {
            let work = work(world, function).await;
            let process = world.start(function).await;
            first_next.push(process.cold_start().await);
            process.invoke(&work).await;
            first_done.push(process.age());
            cpu_ms += process.used().cpu_ms;
        }
        all.push(ColdStart {
            function,
            first_next_median: median(&mut first_next),
            first_next_max: milliseconds(first_next[RUNS - 1]),
            first_done_median: median(&mut first_done),
            first_done_max: milliseconds(first_done[RUNS - 1]),
            cpu_mean: cpu_ms / RUNS as f64,
            zipped_mb: zipped_mb(function),
        });
    }
    all
}

/// Builds the input of one invocation of each function.
async fn work(world: &World, function: &str) -> Value {
    let tenant = "hmac-ed25519";
    match function {
        "ingest" => request(&event(tenant, 1_000)),
        "fanout" | "deliver" => {
            let (ingest, fanout) = (world.start("ingest").await, world.start("fanout").await);
            world.aws.take(EVENTS);
            ingest.invoke(&request(&event(tenant, 1_000))).await;
            let to_fan_out = batch_of(&world.aws.take(EVENTS));
            if function == "fanout" {
                return to_fan_out;
            }
            fanout.invoke(&to_fan_out).await;
            batch_of(&world.aws.take(DELIVERIES))
        }
        "manage" => http_request("GET", &format!("/v1/tenants/{tenant}/endpoints"), &json!({"tenant": tenant})),
        "portal" => http_request("GET", "/portal/", &json!({})),
        "relay" => serde_json::from_str(include_str!("../../../events/relay-redirect.json")).expect("a request"),
        "public-keys" => {
            http_request("GET", &format!("/tenants/{tenant}/.well-known/jwks.json"), &json!({"tenant": tenant}))
        }
        _ => json!({
            "version": "0", "id": "00000000-0000-4000-8000-000000000000", "detail-type": "Scheduled Event",
            "source": "aws.events", "account": "000000000000", "time": "2026-01-31T10:00:00Z", "region": "us-east-1",
            "resources": ["arn:aws:events:us-east-1:000000000000:rule/every-minute"], "detail": {},
        }),
    }
}

fn http_request(method: &str, path: &str, parameters: &Value) -> Value {
    let mut request = request(&json!({}));
    request["rawPath"] = path.into();
    request["pathParameters"] = parameters.clone();
    request["requestContext"]["http"]["method"] = method.into();
    request["requestContext"]["http"]["path"] = path.into();
    let template = path.replace("hmac-ed25519", "{tenant}");
    request["routeKey"] = format!("{method} {template}").into();
    request["requestContext"]["routeKey"] = request["routeKey"].clone();
    request["body"] = Value::Null;
    request
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    milliseconds((times[times.len() / 2] + times[(times.len() - 1) / 2]) / 2)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// Returns the size of the binary in a zip file, which is what Lambda loads.
fn zipped_mb(function: &str) -> f64 {
    let mut zip = DeflateEncoder::new(Vec::new(), Compression::default());
    zip.write_all(&fs::read(binary(function)).expect("a file")).expect("memory accepts the bytes");
    zip.finish().expect("memory accepts the bytes").len() as f64 / 1e6
}
