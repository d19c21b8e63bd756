//! Metrics in CloudWatch's [embedded metric format][emf]: one line per invocation, and none if nothing was counted.
//!
//! With metrics by tenant, each tenant of the invocation has a further line. A metric has at most 100 values in a line, so a long
//! drain may write several.
//!
//! [emf]: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html

use std::sync::LazyLock;

use serde::Serialize;
use serde_json::{Map, Value, json};
use signpost_engine::metrics::{Measured, Meter, Values};

use crate::runtime::logs::InvocationIds;

pub use signpost_engine::metrics::Metric;

/// Returns the meter of this process. Like its log, a process has one.
#[must_use]
pub fn meter() -> &'static Meter {
    static METER: LazyLock<Meter> = LazyLock::new(Meter::default);
    &METER
}

/// The namespace of all metrics in CloudWatch.
const NAMESPACE: &str = "Signpost";

/// How many values a metric may have in one line.
const MAX_VALUES: usize = 100;

/// The source of metrics: the values of their dimensions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    /// The dimension `Stack`.
    pub(crate) stack: &'a str,
    /// The dimension `Function`.
    pub(crate) function: &'a str,
    /// The invocation. Its ids are no dimensions; they lead from a line to the others of the invocation.
    pub(crate) ids: &'a InvocationIds,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Definition {
    name: &'static str,
    unit: &'static str,
}

impl Source<'_> {
    /// Returns the lines of an invocation that ended at `unix_ms`.
    pub(crate) fn lines(self, measured: &Measured, unix_ms: u64) -> Vec<String> {
        let all = self.lines_of(&measured.all, None, unix_ms);
        let of_tenants = measured.by_tenant.iter();
        let of_tenants = of_tenants.flat_map(|(tenant, values)| self.lines_of(values, Some(tenant.as_str()), unix_ms));
        all.into_iter().chain(of_tenants).collect()
    }

    fn lines_of(self, values: &Values, tenant: Option<&str>, unix_ms: u64) -> Vec<String> {
        let mut numbers: Vec<_> = values.numbers.iter().map(|(metric, number)| (*metric, json!(number))).collect();
        let chunks = values.samples.values().map(|samples| samples.len().div_ceil(MAX_VALUES)).max().unwrap_or(1);
        let lines = (0..chunks).map(|index| {
            let samples = values.samples.iter().filter_map(|(metric, samples)| {
                let chunk = samples.chunks(MAX_VALUES).nth(index)?;
                Some((*metric, if let [one] = chunk { json!(one) } else { json!(chunk) }))
            });
            numbers.drain(..).chain(samples).collect::<Vec<_>>()
        });
        let lines: Vec<_> = lines.filter(|metrics| !metrics.is_empty()).collect();
        lines.into_iter().map(|metrics| self.line(metrics, tenant, unix_ms)).collect()
    }

    fn line(self, metrics: Vec<(Metric, Value)>, tenant: Option<&str>, unix_ms: u64) -> String {
        let dimensions = [("Stack", Some(self.stack)), ("Function", Some(self.function)), ("Tenant", tenant)];
        let dimensions = dimensions.iter().filter_map(|(name, value)| Some((*name, (*value)?)));
        let names: Vec<_> = dimensions.clone().map(|(name, _)| name).collect();
        let definition = |metric: Metric| Definition { name: metric.as_str(), unit: metric.unit().as_str() };
        let definitions: Vec<_> = metrics.iter().map(|(metric, _)| definition(*metric)).collect();
        let directive = json!({ "Namespace": NAMESPACE, "Dimensions": [names], "Metrics": definitions });
        let mut line = Map::new();
        line.insert("_aws".into(), json!({ "Timestamp": unix_ms, "CloudWatchMetrics": [directive] }));
        line.extend(dimensions.map(|(name, value)| (name.to_owned(), json!(value))));
        line.insert("requestId".into(), json!(self.ids.request));
        line.extend(self.ids.trace.iter().map(|trace| ("xrayTraceId".to_owned(), json!(trace))));
        line.extend(metrics.into_iter().map(|(metric, value)| (metric.as_str().to_owned(), value)));
        Value::Object(line).to_string()
    }
}

#[cfg(test)]
mod tests {
    use signpost_core::event::TenantId;

    use super::*;

    fn lines(meter: &Meter) -> Vec<Value> {
        let ids = InvocationIds { request: "r-1".into(), trace: None };
        let source = Source { stack: "signpost", function: "deliver", ids: &ids };
        let lines = source.lines(&meter.take(), 1_574_109_732_004);
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn acme() -> TenantId {
        TenantId::parse("acme").unwrap()
    }

    #[test]
    fn an_invocation_writes_one_line_with_a_definition_for_each_value() {
        let meter = Meter::default();
        meter.add_of(&acme(), Metric::AttemptsAcknowledged, 2);
        meter.sample_of(&acme(), Metric::AttemptDuration, 35);
        meter.sample_of(&acme(), Metric::AttemptDuration, 4);
        meter.sample_of(&acme(), Metric::TimeToFirstAttempt, 121);
        let expected = json!({
            "_aws": {
                "Timestamp": 1_574_109_732_004_u64,
                "CloudWatchMetrics": [{
                    "Namespace": "Signpost",
                    "Dimensions": [["Stack", "Function"]],
                    "Metrics": [
                        {"Name": "AttemptsAcknowledged", "Unit": "Count"},
                        {"Name": "AttemptDuration", "Unit": "Milliseconds"},
                        {"Name": "TimeToFirstAttempt", "Unit": "Milliseconds"},
                    ],
                }],
            },
            "Stack": "signpost", "Function": "deliver", "requestId": "r-1",
            "AttemptsAcknowledged": 2, "AttemptDuration": [35, 4], "TimeToFirstAttempt": 121,
        });
        assert_eq!(lines(&meter), [expected]);
    }

    #[test]
    fn an_invocation_without_values_writes_no_line() {
        let meter = Meter::default();
        meter.add(Metric::KmsCalls, 0);
        assert_eq!(lines(&meter), [Value::Null; 0]);
    }

    #[test]
    fn a_metric_has_at_most_100_values_in_a_line_and_loses_none() {
        let meter = Meter::default();
        meter.add(Metric::AttemptsAcknowledged, 250);
        (0..250).for_each(|value| meter.sample_of(&acme(), Metric::AttemptDuration, value));
        let lines = lines(&meter);
        let values = |line: &Value| line["AttemptDuration"].as_array().unwrap().clone();
        assert_eq!(lines.iter().map(|line| values(line).len()).collect::<Vec<_>>(), [100, 100, 50]);
        assert_eq!(
            lines.iter().flat_map(values).collect::<Vec<_>>(),
            (0..250).map(|value| json!(value)).collect::<Vec<_>>()
        );
        let sums: Vec<_> = lines.iter().map(|line| line.get("AttemptsAcknowledged").cloned()).collect();
        assert_eq!(sums, [Some(json!(250)), None, None], "a sum counts once");
    }

    #[test]
    fn each_tenant_has_a_line_with_a_dimension_of_its_own() {
        let meter = Meter::default();
        meter.count_by_tenant();
        meter.add_of(&acme(), Metric::EventsFannedOut, 1);
        meter.add(Metric::EventsRejected, 1);
        let lines = lines(&meter);
        let parts = |line: &Value| {
            (
                line["_aws"]["CloudWatchMetrics"][0]["Dimensions"].clone(),
                line["Tenant"].clone(),
                line["EventsRejected"].clone(),
            )
        };
        let expected = [
            (json!([["Stack", "Function"]]), Value::Null, json!(1)),
            (json!([["Stack", "Function", "Tenant"]]), json!("acme"), Value::Null),
        ];
        assert_eq!(lines.iter().map(parts).collect::<Vec<_>>(), expected);
    }
}
