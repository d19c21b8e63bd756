//! Logs: one flat JSON object per line.
//!
//! ```json
//! {"timestamp":"2026-11-28T08:00:00.000Z","level":"WARN","requestId":"…","message":"breaker.opened","endpoint.id":"ep_…"}
//! ```
//!
//! Acknowledged attempts, which are most lines, share one line per invocation: `deliveries` has an object for each. Lines of
//! libraries have level INFO at least, because the SDK's debug lines contain items of tables and payloads.

use std::fmt::{self, Debug, Write as _};
use std::io::{self, Write};
use std::panic;
use std::sync::{Arc, Mutex};

use signpost_engine::slots::lock;
use time::OffsetDateTime;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::runtime::clock::unix_ms_now;

pub use signpost_engine::logs::Chain;

/// The choice of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// The lowest level that is logged.
    pub level: LevelFilter,
    /// Of how many percent of the events acknowledged attempts are logged, 0 to 100. Failures always are.
    pub delivery_percent: u8,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { level: LevelFilter::INFO, delivery_percent: 100 }
    }
}

/// The log of a process, on its standard output.
pub struct Log {
    settings: LogSettings,
    current: Mutex<Current>,
    out: Mutex<Box<dyn Write + Send>>,
}

/// The current invocation, or the last one while there is none.
#[derive(Debug, Default)]
struct Current {
    ids: InvocationIds,
    /// The acknowledged attempts that are not written yet: JSON objects, separated by commas.
    acknowledged: String,
}

/// The ids that connect the lines of one invocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InvocationIds {
    /// The id of the invocation; empty before the first one.
    pub request: String,
    /// The id of the trace, if X-Ray records it.
    pub trace: Option<String>,
}

impl InvocationIds {
    /// Takes the ids of an invocation. `trace_header` is the value of Lambda's trace header. Without `Sampled=1` in it,
    /// X-Ray does not know the trace, so its id would only cost money.
    #[must_use]
    pub fn new(request: &str, trace_header: Option<&str>) -> Self {
        let fields = || trace_header.unwrap_or_default().split(';');
        let is_recorded = fields().any(|field| field == "Sampled=1");
        let root = fields().find_map(|field| field.strip_prefix("Root=")).filter(|_| is_recorded);
        Self { request: request.to_owned(), trace: root.map(str::to_owned) }
    }
}

/// The event that each attempt logs. At INFO, it is that of an acknowledged one.
const ATTEMPTED: &str = "delivery.attempted";

/// How many bytes of acknowledged attempts share a line at most. CloudWatch takes 256 KiB.
const GROUP_BYTES: usize = 32 * 1024;

impl Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Log {
    /// Makes the log of this process, and has panics logged like everything else. Later calls make a log that gets no
    /// lines.
    #[must_use]
    pub fn start(settings: LogSettings) -> Arc<Self> {
        let log = Arc::new(Self::new(settings, Box::new(io::stdout())));
        if tracing::subscriber::set_global_default(Arc::clone(&log)).is_ok() {
            let of_panics = Arc::clone(&log);
            panic::set_hook(Box::new(move |panicked| {
                let error = panicked.payload_as_str().unwrap_or("no text");
                let place = panicked.location().map(ToString::to_string);
                tracing::error!(error, panic.place = place, "function.panicked");
                of_panics.flush(); // The process may be about to end.
            }));
        }
        log
    }

    fn new(settings: LogSettings, out: Box<dyn Write + Send>) -> Self {
        Self { settings, current: Mutex::default(), out: Mutex::new(out) }
    }

    /// Begins an invocation. All lines have its ids until the next one begins.
    pub fn begin(&self, ids: InvocationIds) {
        self.flush();
        lock(&self.current).ids = ids;
    }

    /// Writes the line of the acknowledged attempts, if there are some. Call it at the end of an invocation, because
    /// Lambda may never run the process again.
    pub fn flush(&self) {
        let (ids, acknowledged) = {
            let mut current = lock(&self.current);
            (current.ids.clone(), std::mem::take(&mut current.acknowledged))
        };
        if !acknowledged.is_empty() {
            let deliveries = format!(",\"deliveries\":[{acknowledged}]");
            self.write(&line(unix_ms_now(), Level::INFO, &ids, ATTEMPTED, &deliveries));
        }
    }

    /// Writes a line as it is.
    pub(crate) fn write(&self, line: &str) {
        let mut out = lock(&self.out);
        // In one piece, so that it is one event for CloudWatch. There is no other place to report a failure.
        let _ = out.write_all(format!("{line}\n").as_bytes());
        let _ = out.flush();
    }

    /// Returns the ids of the current invocation.
    pub(crate) fn ids(&self) -> InvocationIds {
        lock(&self.current).ids.clone()
    }

    fn add_acknowledged(&self, fields: &Fields) {
        if !is_in_sample(&fields.event_id, self.settings.delivery_percent) {
            return;
        }
        let is_full = {
            let mut current = lock(&self.current);
            let comma = if current.acknowledged.is_empty() { "" } else { "," };
            let _ = write!(current.acknowledged, "{comma}{{{}}}", fields.json.trim_start_matches(',')); // It cannot fail.
            current.acknowledged.len() >= GROUP_BYTES
        };
        if is_full {
            self.flush();
        }
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let is_ours = metadata.target().starts_with("signpost_");
        let lowest = if is_ours { self.settings.level } else { self.settings.level.min(LevelFilter::INFO) };
        metadata.is_event() && *metadata.level() <= lowest
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.settings.level)
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = *event.metadata().level();
        if level == Level::INFO && fields.message == ATTEMPTED {
            self.add_acknowledged(&fields);
        } else {
            self.write(&line(unix_ms_now(), level, &self.ids(), &fields.message, &fields.json));
        }
    }

    // No span is enabled, so nobody calls these.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The fields of an event.
#[derive(Debug, Default)]
struct Fields {
    message: String,
    /// All others as members of a JSON object, each after a comma.
    json: String,
    /// The id of the event that the line is about, if it has one.
    event_id: String,
}

impl Fields {
    fn push(&mut self, field: &Field, value: &impl serde::Serialize) {
        // Numbers, switches and texts always serialize.
        let value = serde_json::to_string(value).unwrap_or_default();
        let _ = write!(self.json, ",\"{}\":{value}", field.name()); // Names need no escapes. It cannot fail.
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            "event.id" => {
                value.clone_into(&mut self.event_id);
                self.push(field, &value);
            }
            _ => self.push(field, &value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, &value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, &value);
    }
}

/// Returns a line. `fields` are members of a JSON object, each after a comma.
fn line(unix_ms: u64, level: Level, ids: &InvocationIds, message: &str, fields: &str) -> String {
    let text = |value: &str| serde_json::to_string(value).unwrap_or_default(); // Texts always serialize.
    let mut line = format!("{{\"timestamp\":\"{}\",\"level\":\"{level}\"", timestamp(unix_ms));
    for (name, id) in [("requestId", Some(&ids.request)), ("xrayTraceId", ids.trace.as_ref())] {
        if let Some(id) = id.filter(|id| !id.is_empty()) {
            let _ = write!(line, ",\"{name}\":{}", text(id)); // It cannot fail.
        }
    }
    let _ = write!(line, ",\"message\":{}{fields}}}", text(message)); // It cannot fail.
    line
}

/// Formats a time by RFC 3339 with milliseconds. Lambda needs this form to read the level of a line.
fn timestamp(unix_ms: u64) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000);
    let at = at.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
    let (hour, minute, second) = at.to_hms();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", at.millisecond())
}

/// Returns whether the acknowledged attempts of an event are logged. The id decides (FNV-1a), so that all of them are, or none.
fn is_in_sample(event_id: &str, percent: u8) -> bool {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = event_id.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    (hash >> 32) % 100 < percent.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use tracing::subscriber::with_default;

    use super::*;

    /// The bytes that were written to a log.
    #[derive(Clone, Debug, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            lock(&self.0).write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const ALL: LogSettings = LogSettings { level: LevelFilter::INFO, delivery_percent: 100 };

    /// Returns the lines of some work, without their times, which it checks.
    fn lines(settings: LogSettings, work: impl FnOnce(&Log)) -> Vec<Value> {
        let written = Written::default();
        let log = Arc::new(Log::new(settings, Box::new(written.clone())));
        with_default(Arc::clone(&log), || work(&log));
        let text = String::from_utf8(lock(&written.0).clone()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines
            .map(|mut line| {
                let at = line.as_object_mut().unwrap().remove("timestamp").unwrap();
                assert_eq!((at.as_str().unwrap().len(), at.as_str().unwrap().ends_with('Z')), (24, true), "{at}");
                line
            })
            .collect()
    }

    #[test]
    fn a_line_is_flat_and_has_the_ids_of_its_invocation_once() {
        let trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=1:a:0";
        let written = lines(ALL, |log| {
            tracing::info!("function.started");
            log.begin(InvocationIds::new("r-1", Some(trace)));
            let (none, some) = (None::<u16>, Some(503_u16));
            tracing::warn!(tenant.id = %"acme", attempt.status = some, attempt.cause = none, is_all = true, "a.happened");
            log.begin(InvocationIds::new("r-2", Some("Root=1-2-3;Parent=4;Sampled=0")));
            tracing::error!(error = "a \"quoted\"\nerror", moved = 7_usize, "b.failed");
        });
        let expected = [
            json!({"level": "INFO", "message": "function.started"}),
            json!({"level": "WARN", "requestId": "r-1", "xrayTraceId": "1-5759e988-bd862e3fe1be46a994272793",
                   "message": "a.happened", "tenant.id": "acme", "attempt.status": 503, "is_all": true}),
            json!({"level": "ERROR", "requestId": "r-2", "message": "b.failed", "error": "a \"quoted\"\nerror", "moved": 7}),
        ];
        assert_eq!(written, expected);
    }

    #[test]
    fn the_acknowledged_attempts_of_an_invocation_share_a_line_and_a_failure_has_its_own() {
        let written = lines(ALL, |log| {
            log.begin(InvocationIds::new("r-1", None));
            tracing::info!(event.id = "1", attempt.duration_ms = 35, "delivery.attempted");
            tracing::warn!(event.id = "2", "delivery.attempted");
            tracing::info!(event.id = "3", attempt.duration_ms = 4, "delivery.attempted");
            log.flush();
            log.flush();
        });
        let deliveries =
            json!([{"event.id": "1", "attempt.duration_ms": 35}, {"event.id": "3", "attempt.duration_ms": 4}]);
        let expected = [
            json!({"level": "WARN", "requestId": "r-1", "message": "delivery.attempted", "event.id": "2"}),
            json!({"level": "INFO", "requestId": "r-1", "message": "delivery.attempted", "deliveries": deliveries}),
        ];
        assert_eq!(written, expected);
    }

    #[test]
    fn a_line_of_acknowledged_attempts_stays_below_the_limit_of_cloudwatch() {
        let written = lines(ALL, |log| {
            for _ in 0..100 {
                tracing::info!(event.id = "x".repeat(1_000), "delivery.attempted");
            }
            log.flush();
        });
        let counts: Vec<_> = written.iter().map(|line| line["deliveries"].as_array().unwrap().len()).collect();
        assert_eq!((counts.iter().sum::<usize>(), counts.len()), (100, 4));
    }

    #[test]
    fn the_level_decides_and_libraries_never_log_below_info() {
        let logged = |level| {
            let settings = LogSettings { level, ..ALL };
            let written = lines(settings, |_| {
                tracing::debug!("ours");
                tracing::debug!(target: "aws_smithy_runtime", "theirs");
                tracing::info!(target: "aws_smithy_runtime", "theirs");
                let _span = tracing::info_span!("span").entered();
                tracing::error!("ours");
            });
            written.iter().map(|line| line["level"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(logged(LevelFilter::DEBUG), ["DEBUG", "INFO", "ERROR"]);
        assert_eq!(logged(LevelFilter::INFO), ["INFO", "ERROR"]);
        assert_eq!(logged(LevelFilter::ERROR), ["ERROR"]);
    }

    #[test]
    fn a_sample_drops_acknowledged_attempts_and_no_failure() {
        let settings = LogSettings { delivery_percent: 0, ..ALL };
        let written = lines(settings, |log| {
            tracing::info!(event.id = "1", "delivery.attempted");
            tracing::warn!(event.id = "1", "delivery.attempted");
            log.flush();
        });
        assert_eq!(written, [json!({"level": "WARN", "message": "delivery.attempted", "event.id": "1"})]);
    }

    proptest! {
        #[test]
        fn a_sample_has_its_share_and_a_larger_one_contains_it(percent in 0_u8..=100, prefix in "[a-z0-9-]{0,36}") {
            let ids = || (0..10_000).map(|number| format!("{prefix}{number}"));
            let kept = ids().filter(|id| is_in_sample(id, percent)).count();
            prop_assert!(kept.abs_diff(usize::from(percent) * 100) <= 300, "{kept} of 10,000 at {percent} %");
            prop_assert!(ids().all(|id| is_in_sample(&id, 100) && !is_in_sample(&id, 0)));
            prop_assert!(percent == 100 || ids().all(|id| !is_in_sample(&id, percent) || is_in_sample(&id, percent + 1)));
        }

        #[test]
        fn every_line_is_json_whatever_a_field_contains(text in ".*", id in ".*") {
            let ids = InvocationIds { request: id.clone(), trace: Some(id) };
            let fields = format!(",\"error\":{}", serde_json::to_string(&text).unwrap());
            let line = line(0, Level::WARN, &ids, &text, &fields);
            let read: Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!((&read["message"], &read["error"]), (&json!(text), &json!(text)));
            prop_assert!(!line.contains('\n'));
        }
    }

    #[test]
    fn a_time_has_milliseconds_by_rfc_3339() {
        let cases = [(0, "1970-01-01T00:00:00.000Z"), (1_769_853_600_007, "2026-01-31T10:00:00.007Z")];
        for (unix_ms, expected) in cases {
            assert_eq!(timestamp(unix_ms), expected);
        }
    }
}
