//! The way of an event through the functions, with the CPU time and the AWS calls of each.

use serde::Serialize;
use serde_json::{Value, json};

use crate::aws::{Counts, DELIVERIES, EVENTS};
use crate::floor;
use crate::process::{Function, Used};
use crate::world::{SIGNATURES, Signature, World, event, request};

/// CPU time, memory and calls of one function, per event.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Measured {
    pub(crate) cpu_ms: f64,
    pub(crate) wall_ms: f64,
    pub(crate) peak_rss_mb: f64,
    pub(crate) logged_bytes: f64,
    /// Bytes of bodies to and from AWS, and of requests to the receiver.
    pub(crate) bytes: f64,
    pub(crate) events: u64,
    pub(crate) counts: Counts,
}

/// The three functions on the way of an event, for one payload, batch size and signature.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Way {
    pub(crate) signature: &'static str,
    pub(crate) payload_bytes: usize,
    pub(crate) batch: usize,
    pub(crate) ingest: Measured,
    pub(crate) fanout: Measured,
    pub(crate) deliver: Measured,
    /// CPU-ms of the signatures alone, in the endpoint's formats.
    pub(crate) signing_ms: f64,
    /// CPU-ms of one HTTP POST of the payload alone, by the same client.
    pub(crate) post_ms: f64,
}

impl Way {
    pub(crate) fn cpu_ms(&self) -> f64 {
        self.ingest.cpu_ms + self.fanout.cpu_ms + self.deliver.cpu_ms
    }

    /// Returns the CPU-ms of `deliver` beyond its signatures and one POST.
    pub(crate) fn deliver_over_floor_ms(&self) -> f64 {
        self.deliver.cpu_ms - self.signing_ms - self.post_ms
    }
}

/// Measures all ways whose name (`<signature>/<payload bytes>/<batch size>`) contains `only`.
pub(crate) async fn measure(world: &World, only: &str) -> Vec<Way> {
    let mut ways = Vec::new();
    for (payload_bytes, events) in [(500, 3_000), (50_000, 600)] {
        for batch in [1, 10] {
            let floors = &mut None;
            for signature in SIGNATURES {
                let name = format!("{}/{payload_bytes}/{batch}", signature.name);
                if !name.contains(only) {
                    continue;
                }
                crate::say(&format!("  {name}"));
                let way = way(world, signature, payload_bytes, batch, events, floors).await;
                ways.push(way);
            }
        }
    }
    ways
}

/// The number of first events that are not measured, because they fill caches and open connections.
pub(crate) const WARM_UP: usize = 100;

async fn way(
    world: &World,
    signature: Signature,
    payload_bytes: usize,
    batch: usize,
    events: usize,
    post: &mut Option<f64>,
) -> Way {
    let events: Vec<_> = (0..events + WARM_UP).map(|_| event(signature.name, payload_bytes)).collect();
    let requests = events.chunks(batch).map(|events| match events {
        [event] if batch == 1 => request(event),
        _ => request(&events.into()),
    });
    let ingest = measure_function(world, "ingest", requests, batch).await;
    let records = taken(world, EVENTS, events.len());
    let fanout = measure_function(world, "fanout", records.chunks(batch).map(batch_of), batch).await;
    let records = taken(world, DELIVERIES, events.len());
    let before = world.receiver.so_far().0;
    let deliver = measure_function(world, "deliver", records.chunks(batch).map(batch_of), batch).await;
    let arrived = world.receiver.so_far().0 - before;
    if arrived != events.len() as u64 {
        crate::fail(&format!("{arrived} of {} deliveries arrived", events.len()));
    }
    let post_ms = match *post {
        Some(known) => known,
        None => *post.insert(floor::post_ms(&world.receiver.plain_url(), payload_bytes, batch).await),
    };
    let signing_ms = floor::signing_ms(signature, payload_bytes).await;
    Way { signature: signature.name, payload_bytes, batch, ingest, fanout, deliver, signing_ms, post_ms }
}

pub(crate) fn taken(world: &World, queue: &str, expected: usize) -> Vec<Value> {
    let records = world.aws.take(queue);
    if records.len() != expected {
        crate::fail(&format!("{} of {expected} messages are in `{queue}`", records.len()));
    }
    records
}

pub(crate) fn batch_of(records: &[Value]) -> Value {
    json!({ "Records": records })
}

/// Invokes a function with one event after the other, as Lambda does in one environment, and measures it.
pub(crate) async fn measure_function(
    world: &World,
    name: &'static str,
    invocations: impl Iterator<Item = Value>,
    batch: usize,
) -> Measured {
    let function = world.start(name).await;
    let mut before = None;
    let mut invoked = 0;
    for invocation in invocations {
        if invoked * batch >= WARM_UP && before.is_none() {
            before = Some(Moment::now(world, &function, invoked * batch));
        }
        let response = function.invoke(&invocation).await;
        let is_well =
            response["statusCode"] == 202 || response["batchItemFailures"].as_array().is_some_and(Vec::is_empty);
        if !is_well {
            crate::fail(&format!("`{name}` answered {response}"));
        }
        invoked += 1;
    }
    let before = before.expect("more events than the warm-up");
    let after = Moment::now(world, &function, invoked * batch);
    after.since(&before)
}

/// Starts a function that a first invocation makes warm.
pub(crate) async fn warm_function(world: &World, name: &'static str, invocation: &Value) -> Function {
    let function = world.start(name).await;
    function.invoke(invocation).await;
    function
}

/// Invokes a function once, and measures it. A failed invocation counts too.
pub(crate) async fn measure_one(world: &World, function: &Function, invocation: &Value, batch: usize) -> Measured {
    let before = Moment::now(world, function, 0);
    function.invoke(invocation).await;
    Moment::now(world, function, batch).since(&before)
}

struct Moment {
    age_ms: f64,
    used: Used,
    counts: Counts,
    received_bytes: u64,
    events: usize,
}

impl Moment {
    fn now(world: &World, function: &Function, events: usize) -> Self {
        Self {
            age_ms: function.age().as_secs_f64() * 1_000.0,
            used: function.used(),
            counts: world.aws.counts(),
            received_bytes: world.receiver.so_far().1,
            events,
        }
    }

    fn since(&self, before: &Self) -> Measured {
        let events = (self.events - before.events) as f64;
        let counts = &self.counts - &before.counts;
        let aws_bytes: u64 = counts.0.values().map(|count| count.bytes).sum();
        Measured {
            cpu_ms: (self.used.cpu_ms - before.used.cpu_ms) / events,
            wall_ms: (self.age_ms - before.age_ms) / events,
            peak_rss_mb: self.used.peak_rss_bytes as f64 / 1e6,
            logged_bytes: (self.used.logged_bytes - before.used.logged_bytes) as f64 / events,
            bytes: (aws_bytes + self.received_bytes - before.received_bytes) as f64 / events,
            events: (self.events - before.events) as u64,
            counts,
        }
    }
}
