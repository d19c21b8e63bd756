//! A stand-in for SQS, DynamoDB and KMS that takes almost no time, so that the benchmark measures the functions. It
//! speaks the wire protocol, checks each call, and counts it. An unknown call ends the benchmark.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::{AddAssign, Sub};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::dynamodb::Tables;
use crate::kms::Kms;

/// The stand-in. It runs as long as the benchmark.
pub(crate) struct Aws {
    pub(crate) url: String,
    inside: Arc<Inside>,
}

struct Inside {
    counts: Mutex<Counts>,
    kms: Kms,
    queues: Mutex<BTreeMap<String, Vec<Value>>>,
    tables: Tables,
}

/// The calls, by operation.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Counts(pub(crate) BTreeMap<String, Count>);

/// Number of calls, bytes of their bodies in both directions, and billed units.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Count {
    pub(crate) calls: u64,
    pub(crate) bytes: u64,
    /// Items written or read, or messages sent.
    pub(crate) items: u64,
    /// Write or read units of DynamoDB, including indexes, or requests of SQS.
    pub(crate) units: u64,
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.calls += other.calls;
        self.bytes += other.bytes;
        self.items += other.items;
        self.units += other.units;
    }
}

impl Sub<&Counts> for &Counts {
    type Output = Counts;

    fn sub(self, before: &Counts) -> Counts {
        let since = self.0.iter().map(|(operation, count)| {
            let before = before.0.get(operation).copied().unwrap_or_default();
            let count = Count {
                calls: count.calls - before.calls,
                bytes: count.bytes - before.bytes,
                items: count.items - before.items,
                units: count.units - before.units,
            };
            (operation.clone(), count)
        });
        Counts(since.filter(|(_, count)| count.calls > 0).collect())
    }
}

/// An answer, and what it counts as.
pub(crate) struct Answered {
    pub(crate) body: Value,
    pub(crate) items: u64,
    pub(crate) units: u64,
}

impl Aws {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port on loopback");
        let url = format!("http://{}", listener.local_addr().expect("a bound socket has an address"));
        let inside =
            Inside { counts: Mutex::default(), kms: Kms::new(), queues: Mutex::default(), tables: Tables::default() };
        let inside = Arc::new(inside);
        tokio::spawn(serve(listener, Arc::clone(&inside)));
        Self { url, inside }
    }

    /// Returns the calls so far.
    pub(crate) fn counts(&self) -> Counts {
        lock(&self.inside.counts).clone()
    }

    /// Takes all messages out of a queue, as records that Lambda's event source mapping passes to a function.
    pub(crate) fn take(&self, queue: &str) -> Vec<Value> {
        lock(&self.inside.queues).remove(queue).unwrap_or_default()
    }
}

/// Returns the URL of a queue by its name.
pub(crate) fn queue_url(name: &str) -> String {
    format!("https://sqs.us-east-1.amazonaws.com/000000000000/{name}")
}

pub(crate) const EVENTS: &str = "EventsQueue";
pub(crate) const DELIVERIES: &str = "DeliveriesQueue";
pub(crate) const DEAD_LETTERS: &str = "DeadLetterQueue";
pub(crate) const REJECTED: &str = "RejectedQueue";

async fn serve(listener: TcpListener, inside: Arc<Inside>) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let inside = Arc::clone(&inside);
        let service = service_fn(move |request| respond(request, Arc::clone(&inside)));
        tokio::spawn(async move { drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await) });
    }
}

async fn respond(request: Request<Incoming>, inside: Arc<Inside>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let target = text(&parts.headers, "x-amz-target").to_owned();
    let complain = |what: &str| format!("call of `{target}`: found {what}");
    if !text(&parts.headers, AUTHORIZATION.as_str()).starts_with("AWS4-HMAC-SHA256 Credential=") {
        crate::fail(&complain("no signature"));
    }
    let content_type = match target.split_once('.') {
        Some(("AmazonSQS" | "DynamoDB_20120810", _)) => "application/x-amz-json-1.0",
        Some(("TrentService", _)) => "application/x-amz-json-1.1",
        _ => crate::fail(&complain("an unknown service")),
    };
    if text(&parts.headers, CONTENT_TYPE.as_str()) != content_type {
        crate::fail(&complain("another content type"));
    }
    let Ok(json) = serde_json::from_slice(&body) else { crate::fail(&complain("a body that is not JSON")) };
    let answered = inside.answer(&target, &json).unwrap_or_else(|what| crate::fail(&complain(&what)));
    let (service, operation) = target.split_once('.').unwrap_or_default();
    let service = match service {
        "AmazonSQS" => "sqs",
        "TrentService" => "kms",
        _ => "dynamodb",
    };
    let answer = answered.body.to_string();
    let count =
        Count { calls: 1, bytes: (body.len() + answer.len()) as u64, items: answered.items, units: answered.units };
    let table = table_of(&json).unwrap_or_default();
    *lock(&inside.counts).0.entry(format!("{service}:{operation}{table}")).or_default() += count;
    let response = Response::builder().header(CONTENT_TYPE, content_type);
    let response = response.header("x-amzn-requestid", Uuid::new_v4().to_string());
    Ok(response.body(Full::from(answer)).expect("a response"))
}

/// Names the table of a call, for the list of calls.
fn table_of(body: &Value) -> Option<String> {
    let named = body["TableName"].as_str();
    let of_many = || body["RequestItems"].as_object()?.keys().next().map(String::as_str);
    let of_statements = || body["Statements"][0]["Statement"].as_str()?.split('"').nth(1);
    named.or_else(of_many).or_else(of_statements).map(|name| format!(" {name}"))
}

impl Inside {
    fn answer(&self, target: &str, body: &Value) -> Result<Answered, String> {
        match target.split_once('.') {
            Some(("DynamoDB_20120810", operation)) => self.tables.answer(operation, body),
            Some(("TrentService", operation)) => {
                Ok(Answered { body: self.kms.answer(operation, body)?, items: 0, units: 0 })
            }
            Some(("AmazonSQS", "SendMessageBatch")) => self.send(body),
            Some(("AmazonSQS", "ChangeMessageVisibility")) if body["VisibilityTimeout"].is_number() => {
                Ok(Answered { body: json!({}), items: 1, units: 1 })
            }
            _ => Err("an unknown operation".into()),
        }
    }

    fn send(&self, body: &Value) -> Result<Answered, String> {
        let url = body["QueueUrl"].as_str().ok_or("no QueueUrl")?;
        let queues = [EVENTS, DELIVERIES, DEAD_LETTERS, REJECTED];
        let queue = queues.into_iter().find(|name| queue_url(name) == url).ok_or_else(|| format!("`{url}`"))?;
        let entries = body["Entries"].as_array().ok_or("no Entries")?;
        if !(1..=10).contains(&entries.len()) {
            return Err(format!("{} entries", entries.len()));
        }
        let mut bytes = 0;
        let mut done = Vec::new();
        for entry in entries {
            let (Some(id), Some(message)) = (entry["Id"].as_str(), entry["MessageBody"].as_str()) else {
                return Err("an entry that lacks Id or MessageBody".into());
            };
            if entry["MessageGroupId"].is_null() {
                return Err("an entry without MessageGroupId; fair queues need it".into());
            }
            bytes += message.len();
            let message_id = Uuid::new_v4().to_string();
            done.push(json!({"Id": id, "MessageId": message_id, "MD5OfMessageBody": "0".repeat(32)}));
            lock(&self.queues).entry(queue.to_owned()).or_default().push(record(queue, &message_id, message));
        }
        if bytes > 1024 * 1024 {
            return Err("more than 1 MiB".into());
        }
        let units = bytes.div_ceil(64 * 1024).max(1) as u64; // SQS counts a request for each 64 KB.
        Ok(Answered { body: json!({"Successful": done, "Failed": []}), items: entries.len() as u64, units })
    }
}

/// Builds a message as Lambda passes it to a function that receives it for the first time.
fn record(queue: &str, message_id: &str, body: &str) -> Value {
    let now = signpost_io::runtime::clock::unix_ms_now().to_string();
    json!({
        "messageId": message_id,
        "receiptHandle": format!("AQEB{}", "x".repeat(180)),
        "body": body,
        "attributes": {
            "ApproximateReceiveCount": "1", "SentTimestamp": now, "SenderId": "AROAEXAMPLE:function",
            "ApproximateFirstReceiveTimestamp": now,
        },
        "messageAttributes": {},
        "md5OfBody": "0".repeat(32),
        "eventSource": "aws:sqs",
        "eventSourceARN": format!("arn:aws:sqs:us-east-1:000000000000:{queue}"),
        "awsRegion": "us-east-1",
    })
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
