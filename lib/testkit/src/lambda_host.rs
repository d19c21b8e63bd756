//! A small Lambda. It runs the binary of a function in a process of its own, which a test can kill. The next invocation
//! starts a new process.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use serde_json::Value;
use tokio::sync::watch;

use crate::lineage::{Lineage, may_loop};
use crate::runtime_api::RuntimeApi;

/// An execution environment of a function. Its process ends when it is dropped.
#[derive(Debug)]
pub struct LambdaHost {
    function: String,
    binary: PathBuf,
    dropped: AtomicUsize,
    settings: Vec<(String, String)>,
    environment: tokio::sync::Mutex<Option<Arc<Environment>>>,
    started: watch::Sender<usize>,
}

/// The reason why an invocation returned no response.
#[derive(Debug)]
pub enum InvocationError {
    /// The process died during the invocation.
    Died,
    /// The function reported this error.
    Reported(Value),
}

/// A process and its own Runtime API, so that an invocation for a dead process does not reach the next process.
#[derive(Debug)]
struct Environment {
    process: Process, // Dropped first: otherwise it would log that its API is gone.
    api: RuntimeApi,
}

impl LambdaHost {
    /// Prepares to run a function from the target folder of the running test. The process gets these environment
    /// variables and those that Lambda sets. It starts with the first invocation.
    ///
    /// # Panics
    /// The binary does not exist.
    #[must_use]
    pub fn new(function: &str, settings: Vec<(String, String)>) -> Self {
        let binary = binary(function).unwrap_or_else(|| panic!("`{function}` is not built; run `cargo build --bins`"));
        let (function, dropped) = (function.to_owned(), AtomicUsize::new(0));
        Self {
            function,
            binary,
            dropped,
            settings,
            environment: tokio::sync::Mutex::default(),
            started: watch::Sender::default(),
        }
    }

    /// Invokes the function, in a new process if none is alive.
    ///
    /// # Errors
    /// The process died, or the function reported an error.
    ///
    /// # Panics
    /// The process cannot be started.
    pub async fn invoke(&self, event: &Value) -> Result<Value, InvocationError> {
        self.invoke_with_trace(event, None).await
    }

    /// Returns the lineage of an invocation, if Lambda would make it; `None` if it would take it for a recursive loop. The
    /// template decides whether the function may loop.
    #[must_use]
    pub fn admit(&self, lineage: &Lineage) -> Option<Lineage> {
        let admitted = lineage.invoke(&self.function, may_loop(&self.function));
        self.dropped.fetch_add(usize::from(admitted.is_none()), Ordering::Relaxed);
        admitted
    }

    /// Counts the messages that were not handed to the function, because Lambda would take them for a recursive loop.
    #[must_use]
    pub fn dropped(&self) -> usize {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Invokes the function with the trace header of a lineage.
    ///
    /// # Errors
    /// As [`Self::invoke`].
    ///
    /// # Panics
    /// As [`Self::invoke`].
    pub async fn invoke_with_trace(&self, event: &Value, lineage: Option<&Lineage>) -> Result<Value, InvocationError> {
        let environment = self.environment().await;
        tokio::select! {
            biased; // A response counts, even if the process has died since.
            end = environment.api.invoke_with_trace(event, lineage.map(Lineage::header)) => end.map_err(InvocationError::Reported),
            () = environment.process.death() => Err(InvocationError::Died),
        }
    }

    /// Kills the process (SIGKILL, by its pid) if there is one, and waits until it is dead.
    pub async fn kill(&self) {
        let environment = self.environment.lock().await.clone();
        if let Some(environment) = environment {
            environment.process.kill();
            environment.process.death().await;
        }
    }

    /// Returns the most memory that the process has used (`VmHWM`), in kibibytes, or 0 if there is no process.
    pub async fn peak_memory_kb(&self) -> u64 {
        let Some(environment) = self.environment.lock().await.clone() else { return 0 };
        let status = std::fs::read_to_string(format!("/proc/{}/status", environment.process.id())).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
    }

    /// Counts the processes that have been started.
    #[must_use]
    pub fn started(&self) -> usize {
        *self.started.borrow()
    }

    async fn environment(&self) -> Arc<Environment> {
        let mut environment = self.environment.lock().await;
        match &*environment {
            Some(alive) if !alive.process.is_dead() => Arc::clone(alive),
            _ => {
                let api = RuntimeApi::start().await;
                let process = Process::start(self.command(&api));
                self.started.send_modify(|count| *count += 1);
                Arc::clone(environment.insert(Arc::new(Environment { process, api })))
            }
        }
    }

    fn command(&self, api: &RuntimeApi) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .env_clear()
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_LAMBDA_FUNCTION_NAME", "hosted")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_LOG_FORMAT", "JSON")
            .env("AWS_LAMBDA_RUNTIME_API", api.address())
            .envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// Finds a function's binary where cargo puts it, or else where cargo-lambda puts it, which deploys the local stack.
fn binary(function: &str) -> Option<PathBuf> {
    let test = std::env::current_exe().expect("a test has a file");
    let in_folder = |folder: &Path| [folder.join(function), folder.join(format!("lambda/{function}/bootstrap"))];
    test.ancestors().skip(1).flat_map(in_folder).find(|binary| binary.is_file())
}

#[derive(Debug)]
struct Process {
    child: Mutex<Child>,
    dead: watch::Receiver<bool>,
}

impl Process {
    /// Starts the process, and discards its standard output, whose end shows that the process is dead. Its standard
    /// error is visible, so a developer sees why it cannot start.
    fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the binary starts");
        let mut said = child.stdout.take().expect("it is piped");
        let (dies, dead) = watch::channel(false);
        thread::spawn(move || {
            let mut buffer = [0; 4_096];
            while said.read(&mut buffer).is_ok_and(|bytes| bytes > 0) {}
            dies.send_replace(true);
        });
        Self { child: Mutex::new(child), dead }
    }

    fn kill(&self) {
        let mut child = self.child();
        child.kill().expect("a child of ours");
        child.wait().expect("a child of ours");
    }

    fn id(&self) -> u32 {
        self.child().id()
    }

    fn is_dead(&self) -> bool {
        *self.dead.borrow()
    }

    async fn death(&self) {
        self.dead.clone().wait_for(|dead| *dead).await.expect("the thread reports the death before it ends");
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
