//! The process of a function: its log, its metrics, and its invocations one after the other.

use std::fmt::{Debug, Display};
use std::process::ExitCode;
use std::sync::Arc;

use lambda_runtime::{Diagnostic, Error, LambdaEvent, Runtime, service_fn};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::level_filters::LevelFilter;

use crate::runtime::clock::unix_ms_now;
use crate::runtime::config::{ConfigError, environment, number, switch};
use crate::runtime::logs::{InvocationIds, Log, LogSettings};
use crate::runtime::metrics::{Source, meter};

/// Settings of logs and metrics, which all functions have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelemetryConfig {
    /// `LOG_LEVEL`: `DEBUG`, `INFO`, `WARN` or `ERROR`; default `INFO`. `DELIVERY_LOG_SAMPLE`: of how many percent of the
    /// events acknowledged attempts are logged; 0 to 100, default 100.
    pub logs: LogSettings,
    /// `METRICS_BY_TENANT`: whether metrics are also written for each tenant; `true` or `false`, default `false`.
    pub metrics_by_tenant: bool,
    /// `METRICS_OFF`: whether no metrics are written, because the log group's class ignores them; `true` or `false`, default
    /// `false`.
    pub metrics_off: bool,
    /// `STACK`: the name of the stack, a dimension of its metrics; default `signpost`.
    pub stack: String,
}

impl TelemetryConfig {
    /// Reads the settings from any source, so that tests never touch the process environment.
    ///
    /// # Errors
    /// A setting is invalid; the message names it and the fix.
    pub fn from_lookup(get: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let given = |name: &str| get(name).filter(|text| !text.is_empty());
        let delivery_percent = match given("DELIVERY_LOG_SAMPLE") {
            Some(_) => number(&get, "DELIVERY_LOG_SAMPLE", "percent", 0..=100)?,
            None => 100,
        };
        Ok(Self {
            logs: LogSettings { level: level(given("LOG_LEVEL").as_deref())?, delivery_percent },
            metrics_by_tenant: switch(&get, "METRICS_BY_TENANT")?,
            metrics_off: switch(&get, "METRICS_OFF")?,
            stack: given("STACK").unwrap_or_else(|| "signpost".into()),
        })
    }
}

fn level(found: Option<&str>) -> Result<LevelFilter, ConfigError> {
    match found {
        Some("DEBUG") => Ok(LevelFilter::DEBUG),
        None | Some("INFO") => Ok(LevelFilter::INFO),
        Some("WARN") => Ok(LevelFilter::WARN),
        Some("ERROR") => Ok(LevelFilter::ERROR),
        Some(found) => Err(ConfigError::Invalid {
            name: "LOG_LEVEL",
            found: found.into(),
            expected: "`DEBUG`, `INFO`, `WARN` or `ERROR`".into(),
        }),
    }
}

/// The process of one function.
#[derive(Debug)]
pub struct Lambda {
    function: &'static str,
    log: Arc<Log>,
    metrics_off: bool,
    stack: String,
}

impl Lambda {
    /// Starts the log and the metrics of `function`, and then what `run` does. If that fails, it logs the reason, so that
    /// operators find it where they find everything else.
    pub async fn run(function: &'static str, run: impl AsyncFnOnce(&Self) -> Result<(), Error>) -> ExitCode {
        let config = TelemetryConfig::from_lookup(environment);
        let logs = config.as_ref().map_or(LogSettings::default(), |config| config.logs);
        let log = Log::start(logs);
        let outcome = match config {
            Ok(config) => run(&Self::new(function, log, config)).await,
            Err(error) => Err(error.into()),
        };
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                log_failure(&error);
                ExitCode::FAILURE
            }
        }
    }

    fn new(function: &'static str, log: Arc<Log>, config: TelemetryConfig) -> Self {
        let TelemetryConfig { metrics_by_tenant, metrics_off, stack, .. } = config;
        if metrics_by_tenant {
            meter().count_by_tenant();
        }
        Self { function, log, metrics_off, stack }
    }

    /// Answers invocations with `handle` until Lambda ends the process. After each, it writes the metrics and the lines that
    /// waited for the end of the invocation.
    ///
    /// # Errors
    /// Lambda's Runtime API failed.
    pub async fn serve<A, R, E>(&self, handle: impl AsyncFn(A) -> Result<R, E>) -> Result<(), Error>
    where
        A: DeserializeOwned,
        R: Serialize,
        E: Into<Diagnostic> + Debug,
    {
        let handle = &handle;
        let invoke = move |event: LambdaEvent<A>| async move {
            let context = event.context;
            self.log.begin(InvocationIds::new(&context.request_id, context.xray_trace_id.as_deref()));
            // In a box, because the compiler gives up on futures that are nested so deeply.
            let answer = Box::pin(handle(event.payload)).await;
            self.end();
            answer
        };
        Runtime::new(service_fn(invoke)).run().await
    }

    /// Ends an invocation. Lambda may never run the process again.
    fn end(&self) {
        self.log.flush();
        let measured = meter().take();
        if self.metrics_off {
            return;
        }
        let source = Source { stack: &self.stack, function: self.function, ids: &self.log.ids() };
        for line in source.lines(&measured, unix_ms_now()) {
            self.log.write(&line);
        }
    }
}

fn log_failure(error: &(impl Display + ?Sized)) {
    tracing::error!(%error, "function.not_started");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_defaults_and_a_bad_one_names_its_fix() {
        let config = TelemetryConfig::from_lookup(|_| None).unwrap();
        let logs = LogSettings { level: LevelFilter::INFO, delivery_percent: 100 };
        let stack = "signpost".to_owned();
        assert_eq!(config, TelemetryConfig { logs, metrics_by_tenant: false, metrics_off: false, stack });
        let cases = [
            ("LOG_LEVEL", "warn", "`LOG_LEVEL` is `warn`; expected `DEBUG`, `INFO`, `WARN` or `ERROR`"),
            ("DELIVERY_LOG_SAMPLE", "101", "`DELIVERY_LOG_SAMPLE` is `101`; expected percent, 0 to 100"),
            ("METRICS_BY_TENANT", "yes", "`METRICS_BY_TENANT` is `yes`; expected `true` or `false`"),
            ("METRICS_OFF", "yes", "`METRICS_OFF` is `yes`; expected `true` or `false`"),
        ];
        for (name, value, expected) in cases {
            let error = TelemetryConfig::from_lookup(|one| (one == name).then(|| value.to_owned())).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }
}
