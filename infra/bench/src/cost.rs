//! Dollars per million deliveries, from counts, measurements and `prices.json`.

use serde::{Deserialize, Serialize};

use crate::aws::{DELIVERIES, EVENTS};
use crate::path::batch_of;
use crate::path::{Measured, WARM_UP, measure_function, measure_one, taken, warm_function};
use crate::world::{World, event, request};

#[derive(Deserialize)]
struct Table {
    usd: Prices,
    assumed: Assumed,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Prices {
    api_gateway_http_per_million_requests: f64,
    lambda_arm64_per_gb_second: f64,
    lambda_per_million_requests: f64,
    sqs_per_million_requests: f64,
    sqs_fair_queue_per_million_requests: f64,
    dynamodb_per_million_write_units: f64,
    dynamodb_per_million_read_units: f64,
    kms_per_million_requests: f64,
    cloudwatch_logs_per_gb: f64,
}

/// Values that the benchmark cannot measure.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Assumed {
    lambda_memory_mb: f64,
    /// Memory for one core: Lambda gives a function a share of a core in proportion to its memory.
    lambda_mb_per_vcpu: f64,
    /// Time of one call to AWS. Sequential calls of a function add up; concurrent calls count once.
    aws_call_ms: f64,
    receiver_ms: f64,
    hanging_receiver_ms: f64,
    /// `ReceiveMessage` and `DeleteMessageBatch`, which Lambda's event source mapping calls.
    event_source_calls_per_batch: f64,
    /// The log lines of Lambda itself: none with the default `SystemLogLevel`, some 450 bytes with `INFO`.
    log_bytes_per_invocation: f64,
}

/// Dollars per million events, by service.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Dollars {
    pub(crate) way: &'static str,
    pub(crate) api_gateway: f64,
    pub(crate) lambda: f64,
    pub(crate) sqs: f64,
    pub(crate) dynamodb: f64,
    pub(crate) kms: f64,
    pub(crate) logs: f64,
}

impl Dollars {
    pub(crate) fn total(&self) -> f64 {
        self.api_gateway + self.lambda + self.sqs + self.dynamodb + self.kms + self.logs
    }

    fn plus(self, other: &Self) -> Self {
        Self {
            way: self.way,
            api_gateway: self.api_gateway + other.api_gateway,
            lambda: self.lambda + other.lambda,
            sqs: self.sqs + other.sqs,
            dynamodb: self.dynamodb + other.dynamodb,
            kms: self.kms + other.kms,
            logs: self.logs + other.logs,
        }
    }
}

/// Measures the cost of one kilobyte of payload to one endpoint, with the default format (JWS) and Ed25519, in batches
/// of ten, without failures. Also the cost of first attempts at a receiver that fails at once, and at one that hangs until the
/// timeout.
pub(crate) async fn measure(world: &World) -> Vec<Dollars> {
    let table: Table = serde_json::from_str(include_str!("../prices.json")).expect("prices as above");
    let events: Vec<_> = (0..1_000 + WARM_UP).map(|_| event("ed25519", 1_000)).collect();
    let in_batches = events.chunks(100).map(|events| request(&events.into()));
    let ingest_100 = measure_function(world, "ingest", in_batches, 100).await;
    world.aws.take(EVENTS);
    let ingest = measure_function(world, "ingest", events.iter().map(request), 1).await;
    let records = taken(world, EVENTS, events.len());
    let fanout = measure_function(world, "fanout", records.chunks(10).map(batch_of), 10).await;
    let records = taken(world, DELIVERIES, events.len());
    let deliver = measure_function(world, "deliver", records.chunks(10).map(batch_of), 10).await;

    let (assumed, call) = (&table.assumed, table.assumed.aws_call_ms);
    // The sequential calls of one invocation: `fanout` reads endpoints, writes events and sends; `deliver` reads, posts
    // and records.
    let queues = table.dollars(&fanout, 10.0, 3.0 * call, true).plus(&table.dollars(
        &deliver,
        10.0,
        2.0 * call + assumed.receiver_ms,
        true,
    ));
    let by_http = |way, ingest, batch: f64| {
        let mut dollars = table.dollars(ingest, batch, call, false).plus(&queues);
        dollars.way = way;
        dollars.api_gateway = table.usd.api_gateway_http_per_million_requests / batch;
        dollars
    };
    let mut by_sqs = Dollars { way: "events by SQS, ten in a call", ..queues.clone() };
    by_sqs.sqs += (table.usd.sqs_per_million_requests + table.usd.sqs_fair_queue_per_million_requests) / 10.0;

    let attempts = async |way, signature, status, receiver_ms| {
        let attempts = failing(world, signature, status).await;
        Dollars { way, ..table.dollars(&attempts, FAILING as f64, 2.0 * call + receiver_ms, true) }
    };
    let way = "attempts at a receiver that fails at once";
    let failing = attempts(way, "ed25519", Some(500), assumed.receiver_ms).await;
    let way = "attempts at a receiver that hangs for 10 s";
    let hanging = attempts(way, "es256", None, assumed.hanging_receiver_ms).await;
    vec![
        by_http("events by HTTP, one in a request", &ingest, 1.0),
        by_http("events by HTTP, 100 in a request", &ingest_100, 100.0),
        by_sqs,
        failing,
        hanging,
    ]
}

/// How many attempts fail together. One more would open the breaker.
const FAILING: usize = 9;

/// Measures first attempts of a warm function that fail, for the tenant of a signature.
async fn failing(world: &World, signature: &str, status: Option<u16>) -> Measured {
    let count = 10 + FAILING;
    let events: Vec<_> = (0..count).map(|_| event(signature, 1_000)).collect();
    let ingest = world.start("ingest").await;
    ingest.invoke(&request(&events.into())).await;
    let fanout = world.start("fanout").await;
    for records in taken(world, EVENTS, count).chunks(10) {
        fanout.invoke(&batch_of(records)).await;
    }
    let records = taken(world, DELIVERIES, count);
    let deliver = warm_function(world, "deliver", &batch_of(&records[..10])).await;
    world.receiver.answer(status);
    let attempts = measure_one(world, &deliver, &batch_of(&records[10..]), FAILING).await;
    world.receiver.answer(Some(204));
    attempts
}

impl Table {
    /// Computes the cost of a million events. An invocation has `batch` events and waits `waits_ms`.
    fn dollars(&self, measured: &Measured, batch: f64, waits_ms: f64, by_queue: bool) -> Dollars {
        let Self { usd, assumed } = self;
        let cpu_share = assumed.lambda_memory_mb / assumed.lambda_mb_per_vcpu;
        let billed_ms = measured.cpu_ms * batch / cpu_share + waits_ms;
        let gb_seconds = billed_ms / 1_000.0 * assumed.lambda_memory_mb / 1_024.0;
        let per_event = |service: &str| {
            let of_service = measured.counts.0.iter().filter(|(operation, _)| operation.starts_with(service));
            of_service.map(|(_, count)| count.units.max(count.calls)).sum::<u64>() as f64 / measured.events as f64
        };
        let is_read = |operation: &str| operation.contains("Get") || operation.contains("Query");
        let (mut reads, mut writes) = (0.0, 0.0);
        for (operation, count) in measured.counts.0.iter().filter(|(operation, _)| operation.starts_with("dynamodb")) {
            let units = count.units as f64 / measured.events as f64;
            *(if is_read(operation) { &mut reads } else { &mut writes }) += units;
        }
        let polls = if by_queue { assumed.event_source_calls_per_batch / batch } else { 0.0 };
        let log_bytes = measured.logged_bytes + assumed.log_bytes_per_invocation / batch;
        Dollars {
            way: "",
            api_gateway: 0.0,
            lambda: (gb_seconds * usd.lambda_arm64_per_gb_second * 1e6 + usd.lambda_per_million_requests) / batch,
            // Messages have a group, because the queues are fair queues.
            sqs: (per_event("sqs") + polls) * (usd.sqs_per_million_requests + usd.sqs_fair_queue_per_million_requests),
            dynamodb: reads * usd.dynamodb_per_million_read_units + writes * usd.dynamodb_per_million_write_units,
            kms: per_event("kms") * usd.kms_per_million_requests,
            logs: log_bytes * 1e6 / 1e9 * usd.cloudwatch_logs_per_gb,
        }
    }
}
