//! The hops of an event from its acceptance to its arrival, on the local stack: which are Signpost's, and which are waits for
//! AWS, which the emulator plays here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_sqs::types::{Message, MessageSystemAttributeName};
use serde::Serialize;
use serde_json::json;
use signpost_core::event::TenantId;
use signpost_testkit::aws_proxy::{AwsProxy, Passed};
use signpost_testkit::build::{event, event_id, tenant};
use signpost_testkit::event_source::{HOSTED_QUEUE_ARN, record};
use signpost_testkit::lambda_host::LambdaHost;
use signpost_testkit::local_stack::{LocalStack, setting};
use signpost_testkit::receiver::Receiver;
use uuid::Uuid;

/// The median of one hop, in milliseconds.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Hop {
    name: &'static str,
    is_own: bool,
    p50: f64,
}

/// The hops in their order, and whether each is Signpost's.
const HOPS: [(&str, bool); 6] = [
    ("`EventsQueue`: from its answer to the producer until the event is received", false),
    ("`fanout`: own work", true),
    ("`fanout`: calls of AWS", false),
    ("`DeliveriesQueue`: until the delivery is received", false),
    ("`deliver`: own work, until the request has arrived", true),
    ("`deliver`: calls of AWS before the request", false),
];
/// The events that are measured, one after the other, and those before them.
const EVENTS: usize = 200;
const WARM_UP: usize = 20;

/// Sends events one by one through warm functions, and measures each hop.
pub(crate) async fn measure(stack: &LocalStack) -> Vec<Hop> {
    let scene = Scene::new(stack).await;
    let mut measured = [const { Vec::new() }; HOPS.len()];
    for number in 0..WARM_UP + EVENTS {
        let hops = scene.send(number).await;
        if number >= WARM_UP {
            measured.iter_mut().zip(hops).for_each(|(all, hop)| all.push(hop.as_secs_f64() * 1_000.0));
        }
    }
    let hops = HOPS.iter().zip(&mut measured).map(|((name, is_own), all)| {
        all.sort_unstable_by(f64::total_cmp);
        Hop { name, is_own: *is_own, p50: all[all.len() / 2] }
    });
    let hops: Vec<_> = hops.collect();
    for Hop { name, is_own, p50 } in &hops {
        println!("{name:80}{p50:8.1} ms{}", if *is_own { "  own" } else { "" });
    }
    hops
}

/// A tenant with one endpoint, and queues, functions and proxies that nobody else uses.
struct Scene {
    receiver: Receiver,
    tenant: TenantId,
    sqs: aws_sdk_sqs::Client,
    events: String,
    deliveries: String,
    fanout: Hosted,
    deliver: Hosted,
}

/// A function, and the proxy through which it calls AWS.
struct Hosted {
    host: Arc<LambdaHost>,
    proxy: AwsProxy,
}

impl Scene {
    async fn new(stack: &LocalStack) -> Self {
        let (receiver, tenant) = (Receiver::start(|_| 204).await, tenant());
        stack.register_with(&tenant, &json!({"url": receiver.url, "jwsAlgorithm": "EdDSA"})).await;
        let name = Uuid::new_v4();
        let queue = async |kind| stack.queue_that_hides(&format!("hops-{kind}-{name}"), Duration::from_mins(2)).await;
        let (events, deliveries) = (queue("events").await, queue("deliveries").await);
        let fanout = Hosted::new("fanout", &events, &deliveries).await;
        let deliver = Hosted::new("deliver", &events, &deliveries).await;
        let sqs = aws_sdk_sqs::Client::new(&stack.aws);
        Self { receiver, tenant, sqs, events, deliveries, fanout, deliver }
    }

    /// Sends one event, and returns the time of each hop.
    async fn send(&self, number: usize) -> [Duration; HOPS.len()] {
        let body = event(&self.tenant, &event_id(), &json!({"amount": 10.5, "note": "to John Smith"})).to_string();
        self.sqs.send_message().queue_url(&self.events).message_body(body).send().await.expect("SQS accepts the event");
        let accepted = Instant::now();

        let message = self.receive(&self.events).await;
        let received = Instant::now();
        let calls = self.fanout.invoke(&message).await;
        let sent = calls
            .iter()
            .rfind(|call| call.operation == "SendMessageBatch")
            .expect("fanout queues the delivery")
            .clone();
        let calls_of_fanout = waited(&calls, sent.answered);
        let fanned = sent.answered - received;

        let message = self.receive(&self.deliveries).await;
        let taken = Instant::now();
        let calls = self.deliver.invoke(&message).await;
        let arrived = self.receiver.wait_for(number + 1).await[number].at.into_std();
        let called = waited(&calls, arrived);
        [
            received - accepted,
            fanned.saturating_sub(calls_of_fanout),
            calls_of_fanout,
            taken.saturating_duration_since(sent.answered),
            arrived.saturating_duration_since(taken).saturating_sub(called),
            called,
        ]
    }

    /// Receives the one message of a queue, and deletes it.
    async fn receive(&self, queue: &str) -> Message {
        loop {
            let call = self.sqs.receive_message().queue_url(queue).wait_time_seconds(5).message_attribute_names("All");
            let call = call.message_system_attribute_names(MessageSystemAttributeName::All);
            let messages = call.send().await.expect("SQS answers").messages.unwrap_or_default();
            let Some(message) = messages.into_iter().next() else { continue };
            let (sqs, queue) = (self.sqs.clone(), queue.to_owned());
            let handle = message.receipt_handle.clone();
            tokio::spawn(async move { sqs.delete_message().queue_url(queue).set_receipt_handle(handle).send().await });
            return message;
        }
    }
}

impl Hosted {
    async fn new(function: &str, events: &str, deliveries: &str) -> Self {
        let proxy = AwsProxy::start().await;
        let mut settings = vec![
            ("AWS_ENDPOINT_URL", proxy.url().to_owned()),
            ("DANGEROUSLY_ALLOW_HTTP", "true".into()),
            ("DANGEROUSLY_ALLOW_PRIVATE_TARGETS", "true".into()),
            ("DELIVERIES_QUEUE_URL", deliveries.to_owned()),
            ("EVENTS_QUEUE_URL", events.to_owned()),
            ("OWN_EVENTS_QUEUE_URL", events.to_owned()),
            ("RETENTION_DAYS", "30".into()),
            ("SLOW_DELIVERIES_QUEUE_ARN", HOSTED_QUEUE_ARN.into()), // `deliver` hands nothing over to it.
            ("SLOW_DELIVERIES_QUEUE_URL", deliveries.to_owned()),
            ("SLOW_INVOCATIONS_PER_TENANT", "50".into()),
        ];
        for name in OF_THE_STACK {
            settings.push((name, setting(name)));
        }
        let settings = settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { host: Arc::new(LambdaHost::new(function, settings)), proxy }
    }

    /// Invokes the function with one message, and returns its calls of AWS.
    async fn invoke(&self, message: &Message) -> Vec<Passed> {
        drop(self.proxy.take_passed());
        let response = self.host.invoke(&json!({"Records": [record(message)]})).await;
        match response {
            Ok(response) if response["batchItemFailures"] == json!([]) => {}
            other => crate::fail(&format!("a function did not do its work: {other:?}")),
        }
        self.proxy.take_passed()
    }
}

/// Settings that have the values of the stack.
const OF_THE_STACK: [&str; 15] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "DEAD_LETTER_QUEUE_URL",
    "ENDPOINTS_TABLE",
    "ENDPOINT_KEYS_TABLE",
    "EVENTS_TABLE",
    "KEYS_TABLE",
    "MAC_KEY",
    "OWN_EVENTS_QUEUE_ARN",
    "PARKING_TABLE",
    "PORTAL_TABLE",
    "REJECTED_QUEUE_URL",
    "TOKEN_REQUESTS_TABLE",
    "WRAPPING_KEY",
];

/// Returns how long at least one call was under way, up to a moment.
fn waited(calls: &[Passed], until: Instant) -> Duration {
    let mut spans: Vec<_> =
        calls.iter().filter(|call| call.called < until).map(|call| (call.called, call.answered.min(until))).collect();
    spans.sort_unstable();
    let (mut waited, mut counted_to) = (Duration::ZERO, None);
    for (from, to) in spans {
        let from = counted_to.map_or(from, |counted: Instant| counted.max(from));
        waited += to.saturating_duration_since(from);
        counted_to = Some(to.max(from));
    }
    waited
}
