//! A load of half an hour on the local stack: memory and connections of the functions, latency and duplicates, minute by
//! minute.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde_json::json;
use signpost_testkit::build::tenant;
use signpost_testkit::local_stack::{LocalStack, setting};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use crate::latency::load;

/// Events per second.
const RATE: usize = 200;
const MINUTE: Duration = Duration::from_mins(1);

/// The figures of one minute.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Minute {
    number: usize,
    sent: usize,
    /// Latency of the events that arrived in this minute, in milliseconds.
    p50: f64,
    p99: f64,
    /// Attempts that arrived more than once, from the start on.
    duplicates: usize,
    /// Processes of functions, the most memory that one of `deliver` has, and the sockets that all have open.
    processes: usize,
    deliver_mb: f64,
    sockets: usize,
}

/// Sends events for so many minutes, and prints and writes what each minute showed.
pub(crate) async fn run(minutes: usize) {
    let stack = &LocalStack::from_env().await;
    let (tenant, arrivals) = (tenant(), Arc::<Arrivals>::default());
    let url = serve(Arc::clone(&arrivals)).await;
    stack.register_with(&tenant, &json!({"url": url, "jwsAlgorithm": "EdDSA", "timeoutSeconds": 10})).await;
    let sqs = aws_sdk_sqs::Client::new(&stack.aws);
    let (mut all, mut missing) = (Vec::new(), HashMap::new());
    for minute in 1..=minutes {
        let sent = load(&sqs, &tenant, RATE, MINUTE).await;
        let count = sent.len();
        missing.extend(sent);
        let latencies = arrivals.match_with(&mut missing);
        let at = |percent: usize| latencies.get(latencies.len() * percent / 100).copied().unwrap_or(f64::NAN);
        let functions = functions();
        let deliver = functions.iter().filter(|one| one.name.contains("Deliver")).map(|one| one.memory_mb);
        let one = Minute {
            number: minute,
            sent: count,
            p50: at(50),
            p99: at(99),
            duplicates: arrivals.duplicates(),
            processes: functions.len(),
            deliver_mb: deliver.fold(0.0, f64::max),
            sockets: functions.iter().map(|one| one.sockets).sum(),
        };
        println!("{}", json!(one));
        all.push(one);
    }
    let deadline = Instant::now() + MINUTE;
    while !missing.is_empty() && Instant::now() < deadline {
        sleep(Duration::from_secs(1)).await;
        arrivals.match_with(&mut missing);
    }
    println!("{} events have not arrived, {} attempts arrived twice", missing.len(), arrivals.duplicates());
    let soak = json!({"rate": RATE, "missing": missing.len(), "duplicates": arrivals.duplicates(), "minutes": all});
    crate::report::write("bench-soak.json", &json!({"soak": soak}));
}

/// The first arrival of each attempt.
#[derive(Default)]
struct Arrivals {
    arrived: Mutex<HashMap<(String, String), Instant>>,
    /// The attempts that have been matched with what was sent, and those that came again.
    seen: Mutex<(std::collections::HashSet<(String, String)>, usize)>,
}

impl Arrivals {
    fn note(&self, attempt: (String, String)) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.0.insert(attempt.clone()) {
            self.arrived.lock().unwrap_or_else(PoisonError::into_inner).insert(attempt, Instant::now());
        } else {
            seen.1 += 1;
        }
    }

    fn duplicates(&self) -> usize {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    /// Removes what has arrived from `missing`, and returns the latencies in milliseconds, the least first.
    fn match_with(&self, missing: &mut HashMap<String, Instant>) -> Vec<f64> {
        let arrived = std::mem::take(&mut *self.arrived.lock().unwrap_or_else(PoisonError::into_inner));
        let mut latencies = Vec::new();
        let mut early = HashMap::new();
        for (attempt, at) in arrived {
            // An event can arrive before the answer to its sender.
            let event = attempt.0.split(':').next().unwrap_or_default();
            match missing.remove(event) {
                Some(accepted) => latencies.push(at.saturating_duration_since(accepted).as_secs_f64() * 1_000.0),
                None => drop(early.insert(attempt, at)),
            }
        }
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner).extend(early);
        latencies.sort_unstable_by(f64::total_cmp);
        latencies
    }
}

/// Starts a server that answers 204 and notes each attempt, and returns its URL.
async fn serve(arrivals: Arc<Arrivals>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port on loopback");
    let url = format!("http://{}/hook", listener.local_addr().expect("a bound socket has an address"));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let arrivals = Arc::clone(&arrivals);
            let service = service_fn(move |request| answer(request, Arc::clone(&arrivals)));
            tokio::spawn(
                async move { drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await) },
            );
        }
    });
    url
}

async fn answer(request: Request<Incoming>, arrivals: Arc<Arrivals>) -> Result<Response<Empty<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    drop(body.collect().await);
    let header =
        |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    arrivals.note((header("webhook-id"), header("signpost-attempt")));
    let mut response = Response::new(Empty::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

/// A process of a function of this stack.
struct Function {
    name: String,
    memory_mb: f64,
    sockets: usize,
}

/// Finds the processes of functions, by their environment.
fn functions() -> Vec<Function> {
    let endpoint = format!("AWS_ENDPOINT_URL={}", setting("AWS_ENDPOINT_URL"));
    let folders = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    let functions = folders.filter_map(|folder| {
        let environment = String::from_utf8_lossy(&fs::read(folder.join("environ")).ok()?).into_owned();
        let mut settings = environment.split('\0');
        let name = settings.clone().find_map(|one| one.strip_prefix("AWS_LAMBDA_FUNCTION_NAME="))?.to_owned();
        settings.find(|one| *one == endpoint)?;
        let status = fs::read_to_string(folder.join("status")).ok()?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kilobytes: f64 = resident.trim().trim_end_matches(" kB").parse().ok()?;
        let files = fs::read_dir(folder.join("fd")).ok()?.flatten();
        let targets = files.filter_map(|file| fs::read_link(file.path()).ok());
        let sockets = targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count();
        Some(Function { name, memory_mb: kilobytes / 1_000.0, sockets })
    });
    functions.collect()
}
