//! Latency from the acceptance of an event to its arrival, on the local stack: at two rates, and beside other tenants.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use futures_util::future::{join, join_all};
use serde::Serialize;
use serde_json::{Value, json};
use signpost_core::endpoint::EndpointId;
use signpost_core::event::TenantId;
use signpost_testkit::build::{event, event_id, tenant};
use signpost_testkit::local_stack::{LocalStack, endpoint_path, setting};
use signpost_testkit::receiver::Receiver;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

/// Latency of the events of one tenant, in milliseconds.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Latency {
    case: String,
    events: usize,
    /// Events that had not arrived a minute after the last one was sent.
    missing: usize,
    p50: f64,
    p95: f64,
    p99: f64,
    max: f64,
}

/// Duration of each load.
const TIME: Duration = Duration::from_secs(20);
/// Duration of the load that is not measured, during which environments start.
const WARM_UP: Duration = Duration::from_secs(10);

/// The tenants beside the one whose latency is measured, at rates that two cores can carry. The model in
/// `lib/engine/tests/simulation/neighbours.rs` has the same at full rates, with fair queues and Lambda's scaling.
const NEIGHBOURS: [(&str, Neighbour); 8] = [
    ("is healthy", Neighbour::Healthy),
    ("is new, and never answers", Neighbour::Hangs),
    ("answers after 9 s", Neighbour::Slow(Duration::from_secs(9))),
    ("answers after 29 s", Neighbour::Slow(Duration::from_secs(29))),
    ("fails 49 %", Neighbour::Fails49Percent),
    ("has 5 endpoints, all down", Neighbour::ManyDown(5)),
    ("was just enabled, 1,000 parked", Neighbour::JustEnabled(1_000)),
    ("was quick, and begins to hang", Neighbour::BeginsToHang),
];

#[derive(Clone, Copy)]
enum Neighbour {
    Healthy,
    Hangs,
    Slow(Duration),
    Fails49Percent,
    ManyDown(usize),
    JustEnabled(usize),
    BeginsToHang,
}

/// Deliveries per second of the neighbour, and of the tenant whose latency is measured.
const NEIGHBOUR_RATE: usize = 100;
const OWN_RATE: usize = 20;

pub(crate) async fn run() {
    let stack = &LocalStack::from_env().await;
    let hops = crate::hops::measure(stack).await;
    let mut all = Vec::new();
    for rate in [20, 200] {
        let one = Tenant::new(stack).await;
        one.load(rate, WARM_UP).await;
        let sent = one.load(rate, TIME).await;
        all.push(one.latency(format!("{rate} events/s"), sent).await);
        print(&all[all.len() - 1]);
    }
    let own = Tenant::new(stack).await;
    own.load(OWN_RATE, WARM_UP).await;
    let sent = own.load(OWN_RATE, TIME).await;
    let alone = own.latency("20 events/s, alone".into(), sent).await;
    print(&alone);
    all.push(alone);
    let mut healthy = None;
    for (case, neighbour) in NEIGHBOURS {
        let other = neighbour.start(stack).await;
        let (sent, _) = join(own.load(OWN_RATE, TIME), other.load(NEIGHBOUR_RATE / other.endpoints.len(), TIME)).await;
        let one = own.latency(format!("beside one that {case}"), sent).await;
        print(&one);
        let healthy = healthy.get_or_insert_with(|| one.clone());
        println!("{:46} p50 × {:.2}, p99 × {:.2} of healthy", "", one.p50 / healthy.p50, one.p99 / healthy.p99);
        all.push(one);
        other.stop(stack).await;
    }
    crate::report::write(
        "bench-latency.json",
        &json!({"machine": crate::machine::describe(), "hops": hops, "latency": all}),
    );
}

impl Neighbour {
    async fn start(self, stack: &LocalStack) -> Tenant {
        let settings = json!({"timeoutSeconds": if matches!(self, Self::Slow(_)) { 30 } else { 10 }});
        match self {
            Self::Healthy => Tenant::warm(stack).await,
            Self::Hangs => {
                let tenant = Tenant::with(stack, Receiver::start(|_| 204).await, &settings, 1).await;
                tenant.receiver.hold();
                tenant
            }
            Self::Slow(after) => Tenant::with(stack, Receiver::start_slow(after).await, &settings, 1).await,
            Self::Fails49Percent => {
                let fails = |request: usize| if request * 49 % 100 < 49 { 500 } else { 204 };
                Tenant::with(stack, Receiver::start(fails).await, &settings, 1).await
            }
            Self::ManyDown(endpoints) => {
                Tenant::with(stack, Receiver::start(|_| 500).await, &settings, endpoints).await
            }
            Self::JustEnabled(parked) => {
                let tenant = Tenant::with(stack, Receiver::start(|_| 204).await, &settings, 1).await;
                tenant.enable(stack, false).await;
                tenant.load(200, Duration::from_secs(parked as u64 / 200)).await;
                sleep(WARM_UP).await; // Until they are parked.
                tenant.enable(stack, true).await;
                tenant
            }
            Self::BeginsToHang => {
                let tenant = Tenant::warm(stack).await;
                tenant.receiver.hold();
                tenant
            }
        }
    }
}

fn print(one: &Latency) {
    println!(
        "{:46}{:>6} events{:>5} missing, ms: p50{:>8.1}  p95{:>8.1}  p99{:>9.1}  max{:>9.1}",
        one.case, one.events, one.missing, one.p50, one.p95, one.p99, one.max
    );
}

/// A tenant whose endpoints all have the same receiver.
struct Tenant {
    id: TenantId,
    receiver: Receiver,
    endpoints: Vec<EndpointId>,
    sqs: Client,
}

impl Tenant {
    async fn new(stack: &LocalStack) -> Self {
        Self::with(stack, Receiver::start(|_| 204).await, &json!({"timeoutSeconds": 10}), 1).await
    }

    /// Makes a tenant whose endpoint has proved that it is quick.
    async fn warm(stack: &LocalStack) -> Self {
        let tenant = Self::new(stack).await;
        tenant.load(NEIGHBOUR_RATE, WARM_UP).await;
        tenant
    }

    async fn with(stack: &LocalStack, receiver: Receiver, settings: &Value, endpoints: usize) -> Self {
        let (id, mut settings) = (tenant(), settings.clone());
        (settings["url"], settings["jwsAlgorithm"]) = (json!(receiver.url), json!("EdDSA"));
        let made = join_all((0..endpoints).map(|_| stack.register_with(&id, &settings))).await;
        let endpoints = made.into_iter().map(|made| made.id).collect();
        Self { id, receiver, endpoints, sqs: Client::new(&stack.aws) }
    }

    /// Enables or disables the endpoints.
    async fn enable(&self, stack: &LocalStack, is_enabled: bool) {
        let action = if is_enabled { "enable" } else { "disable" };
        for endpoint in &self.endpoints {
            let path = format!("{}/{action}", endpoint_path(&self.id, endpoint));
            while stack.manage("POST", &path, None).await.status == 503 {
                sleep(Duration::from_secs(1)).await; // Under this load, a call to AWS may take too long.
            }
        }
    }

    /// Ends what the tenant costs: held requests are answered, and deliveries that wait are parked.
    async fn stop(self, stack: &LocalStack) {
        self.enable(stack, false).await;
        self.receiver.release();
        sleep(TIME).await;
    }

    async fn load(&self, rate: usize, time: Duration) -> HashMap<String, Instant> {
        load(&self.sqs, &self.id, rate, time).await
    }

    async fn latency(&self, case: String, sent: HashMap<String, Instant>) -> Latency {
        let deadline = Instant::now() + Duration::from_mins(1);
        let arrivals = || {
            let mut arrivals = HashMap::new();
            for one in self.receiver.so_far() {
                arrivals.entry(one.event_id().to_owned()).or_insert(one.at); // The first arrival counts.
            }
            arrivals
        };
        let mut arrived = arrivals();
        while !sent.keys().all(|id| arrived.contains_key(id)) && Instant::now() < deadline {
            sleep(Duration::from_millis(500)).await;
            arrived = arrivals();
        }
        // The answer to the sender can arrive later than the event.
        let took = sent.iter().filter_map(|(id, accepted)| Some(arrived.get(id)?.saturating_duration_since(*accepted)));
        let mut took: Vec<_> = took.map(|took| took.as_secs_f64() * 1_000.0).collect();
        took.sort_unstable_by(f64::total_cmp);
        let at = |percent: usize| took.get((took.len() * percent / 100).min(took.len().saturating_sub(1)));
        let at = |percent| at(percent).copied().unwrap_or(f64::NAN);
        Latency {
            case,
            events: sent.len(),
            missing: sent.len() - took.len(),
            p50: at(50),
            p95: at(95),
            p99: at(99),
            max: at(100),
        }
    }
}

/// Sends `rate` events per second to the queue, as a producer does, and returns when each was accepted.
pub(crate) async fn load(sqs: &Client, tenant: &TenantId, rate: usize, time: Duration) -> HashMap<String, Instant> {
    const TICKS_PER_SECOND: usize = 20;
    const TICK: Duration = Duration::from_millis(50);
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut sending, started) = (Vec::new(), Instant::now());
    while started.elapsed() < time {
        ticks.tick().await;
        let ids: Vec<_> = (0..rate / TICKS_PER_SECOND).map(|_| event_id()).collect();
        let entries = ids.iter().enumerate().map(|(index, id)| {
            let body = event(tenant, id, &json!({"amount": 10.5, "note": "to John Smith"})).to_string();
            let entry = SendMessageBatchRequestEntry::builder().id(index.to_string()).message_body(body);
            entry.message_group_id(tenant.as_str()).build().expect("all parts are set")
        });
        let call = sqs.send_message_batch().queue_url(setting("EVENTS_QUEUE_URL"));
        let call = call.set_entries(Some(entries.collect()));
        sending.push(tokio::spawn(async move {
            call.send().await.expect("the queue accepts the events");
            let accepted = Instant::now();
            ids.into_iter().map(|id| (id, accepted)).collect::<Vec<_>>()
        }));
    }
    join_all(sending).await.into_iter().flat_map(|sent| sent.expect("no panic")).collect()
}
