//! A function's real binary in its own process with a Runtime API, and its consumption.

use std::cell::RefCell;
use std::fs;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use signpost_testkit::runtime_api::RuntimeApi;
use tokio::time::sleep;

/// An execution environment. Its process ends when it is dropped.
pub(crate) struct Function {
    name: &'static str,
    child: RefCell<Child>,
    api: RuntimeApi,
    logged: Arc<AtomicU64>,
    started: Instant,
}

/// CPU time, memory and log of a process since its start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    /// User and system time, in milliseconds.
    pub(crate) cpu_ms: f64,
    /// The most memory that it has used.
    pub(crate) peak_rss_bytes: u64,
    /// Bytes that it wrote to its log.
    pub(crate) logged_bytes: u64,
}

impl Function {
    /// Starts the binary `name` with these environment variables and those that Lambda sets.
    pub(crate) async fn start(name: &'static str, settings: &[(&str, String)]) -> Self {
        let api = RuntimeApi::start().await;
        let mut command = Command::new(binary(name));
        command
            .env_clear()
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_LAMBDA_FUNCTION_NAME", name)
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_LOG_FORMAT", "JSON")
            .env("AWS_LAMBDA_RUNTIME_API", api.address())
            .envs(settings.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let started = Instant::now();
        let mut child = command.spawn().expect("the binary starts");
        let mut said = child.stdout.take().expect("it is piped");
        let logged = Arc::<AtomicU64>::default();
        let count = Arc::clone(&logged);
        thread::spawn(move || {
            let mut buffer = [0; 16_384];
            while let Ok(bytes @ 1..) = said.read(&mut buffer) {
                count.fetch_add(bytes as u64, Ordering::Relaxed);
            }
        });
        Self { name, child: child.into(), api, logged, started }
    }

    /// Waits for the first request for an invocation, and returns the time since the start of the process.
    pub(crate) async fn cold_start(&self) -> Duration {
        self.watched(self.api.first_asked()).await.duration_since(self.started)
    }

    /// Returns the time since the start of the process.
    pub(crate) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Invokes the function, and returns its response.
    pub(crate) async fn invoke(&self, event: &Value) -> Value {
        match self.watched(self.api.invoke(event)).await {
            Ok(response) => response,
            Err(error) => crate::fail(&format!("`{}` reported an error: {error}", self.name)),
        }
    }

    /// Waits for the process. Ends the benchmark if the process ends, or takes longer than [`PATIENCE`].
    async fn watched<T>(&self, wait: impl Future<Output = T>) -> T {
        let ended = async {
            let begun = Instant::now();
            while begun.elapsed() < PATIENCE {
                sleep(Duration::from_millis(50)).await;
                if let Ok(Some(status)) = self.child.borrow_mut().try_wait() {
                    return format!("ended with {status}; its last words are above");
                }
            }
            format!("did not answer for {} s", PATIENCE.as_secs())
        };
        tokio::select! {
            biased;
            value = wait => value,
            fault = ended => crate::fail(&format!("`{}` {fault}", self.name)),
        }
    }

    pub(crate) fn used(&self) -> Used {
        let pid = self.child.borrow().id();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect(LINUX);
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel reports it");
        let kilobytes = peak.trim_end_matches("kB").trim().parse::<u64>().expect("a number");
        Used {
            cpu_ms: cpu_ms(&pid.to_string()),
            peak_rss_bytes: kilobytes * 1024,
            logged_bytes: self.logged.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        let child = self.child.get_mut();
        let _ = child.kill(); // It may have ended already.
        let _ = child.wait();
    }
}

/// How long a function may take for its cold start or for an invocation; longer than an attempt at a receiver that hangs.
const PATIENCE: Duration = Duration::from_mins(1);
const LINUX: &str = "the benchmark reads /proc, so it needs Linux";

/// Reads the user and system time of a process, in milliseconds; `self` is this process.
///
/// Linux reports it for the whole process in ticks of 10 ms, and for each live thread to the nanosecond. The functions
/// have one thread. If other threads have ended, the ticks are right.
pub(crate) fn cpu_ms(pid: &str) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect(LINUX);
    let after_name = stat.rsplit_once(')').expect("the name is in parentheses").1;
    let fields = after_name.split_whitespace().skip(11).take(2); // utime and stime, proc(5).
    let ticks = Duration::from_millis(fields.map(|ticks| ticks.parse::<u64>().expect("a number") * 10).sum());
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect(LINUX).flatten();
    let spent = threads.filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
    });
    let spent = spent.sum::<Duration>();
    let exact = if spent + Duration::from_millis(30) < ticks { ticks } else { spent };
    exact.as_secs_f64() * 1_000.0
}

/// Finds the binary of a function next to the running program.
pub(crate) fn binary(name: &str) -> PathBuf {
    let binary = std::env::current_exe().expect("a process has a file").with_file_name(name);
    if !binary.is_file() {
        crate::fail(&format!("`{name}` is not built in this profile; run `make bench`"));
    }
    binary
}
