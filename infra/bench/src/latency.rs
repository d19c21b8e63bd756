//! Latency from the acceptance of an event to its arrival, on the local stack: at two rates, and next to a busy tenant.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use futures_util::future::{join, join_all};
use serde::Serialize;
use serde_json::json;
use signpost_core::event::TenantId;
use signpost_testkit::build::{event, event_id, tenant};
use signpost_testkit::local_stack::{LocalStack, setting};
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
const TIME: Duration = Duration::from_secs(30);
/// Duration of the load that is not measured, during which environments start.
const WARM_UP: Duration = Duration::from_secs(10);

pub(crate) async fn run() {
    let stack = &LocalStack::from_env().await;
    let mut all = Vec::new();
    for rate in [20, 200] {
        let one = Tenant::new(stack).await;
        one.load(rate, WARM_UP).await;
        let sent = one.load(rate, TIME).await;
        all.push(one.latency(format!("{rate} events/s"), sent).await);
        print(&all[all.len() - 1]);
    }
    let b = Tenant::new(stack).await;
    b.load(20, WARM_UP).await;
    let sent = b.load(20, TIME).await;
    all.push(b.latency("tenant B, 20 events/s, alone".into(), sent).await);
    print(&all[all.len() - 1]);

    let a = Tenant::new(stack).await;
    a.load(100, WARM_UP).await;
    let (sent, _) = join(b.load(20, TIME), a.load(100, TIME)).await;
    all.push(b.latency("tenant B next to A, healthy at 100 events/s".into(), sent).await);
    print(&all[all.len() - 1]);

    a.receiver.hold();
    let (sent, _) = join(b.load(20, TIME), a.load(100, TIME)).await;
    let first = b.latency("tenant B next to A, hanging, the first 30 s".into(), sent);
    let (first, (sent, _)) = join(first, join(b.load(20, TIME), a.load(100, TIME))).await;
    all.push(first);
    print(&all[all.len() - 1]);
    all.push(b.latency("tenant B next to A, hanging, after that".into(), sent).await);
    print(&all[all.len() - 1]);

    println!();
    let alone = all[2].clone();
    for one in &all[2..] {
        println!("{:46} p50 × {:.2}, p99 × {:.2}", one.case, one.p50 / alone.p50, one.p99 / alone.p99);
    }
    crate::report::write("bench-latency.json", &json!({"machine": crate::machine::describe(), "latency": all}));
}

fn print(one: &Latency) {
    println!(
        "{:46}{:>6} events{:>5} missing, ms: p50{:>8.1}  p95{:>8.1}  p99{:>9.1}  max{:>9.1}",
        one.case, one.events, one.missing, one.p50, one.p95, one.p99, one.max
    );
}

/// A tenant with one endpoint.
struct Tenant {
    id: TenantId,
    receiver: Receiver,
    sqs: aws_sdk_sqs::Client,
}

impl Tenant {
    async fn new(stack: &LocalStack) -> Self {
        let (id, receiver) = (tenant(), Receiver::start(|_| 204).await);
        let settings = json!({"url": receiver.url, "timeoutSeconds": 10, "jwsAlgorithm": "EdDSA"});
        stack.register_with(&id, &settings).await;
        Self { id, receiver, sqs: aws_sdk_sqs::Client::new(&stack.aws) }
    }

    /// Sends `rate` events per second to the queue, as a producer does, and returns when each was accepted.
    async fn load(&self, rate: usize, time: Duration) -> HashMap<String, Instant> {
        const TICKS_PER_SECOND: usize = 20;
        const TICK: Duration = Duration::from_millis(50);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let (mut sending, started) = (Vec::new(), Instant::now());
        while started.elapsed() < time {
            ticks.tick().await;
            let ids: Vec<_> = (0..rate / TICKS_PER_SECOND).map(|_| event_id()).collect();
            let entries = ids.iter().enumerate().map(|(index, id)| {
                let body = event(&self.id, id, &json!({"amount": 10.5, "note": "to John Smith"})).to_string();
                let entry = SendMessageBatchRequestEntry::builder().id(index.to_string()).message_body(body);
                entry.message_group_id(self.id.as_str()).build().expect("all parts are set")
            });
            let call = self.sqs.send_message_batch().queue_url(setting("EVENTS_QUEUE_URL"));
            let call = call.set_entries(Some(entries.collect()));
            sending.push(tokio::spawn(async move {
                call.send().await.expect("the queue accepts the events");
                let accepted = Instant::now();
                ids.into_iter().map(|id| (id, accepted)).collect::<Vec<_>>()
            }));
        }
        join_all(sending).await.into_iter().flat_map(|sent| sent.expect("no panic")).collect()
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
