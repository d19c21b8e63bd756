//! Metrics: what an environment counts and measures during one invocation.
//!
//! The engine only adds numbers up. `signpost-io` takes them at the end of an invocation and writes them for CloudWatch.
//! `docs/metrics.md` lists them for operators.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use signpost_core::delivery::attempt::AttemptClass;
use signpost_core::event::TenantId;
use signpost_core::signing::algorithm::Algorithm;

use crate::slots::lock;

/// The unit of a metric, one of CloudWatch's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// How many.
    Count,
    /// A duration of a request or of a wait.
    Milliseconds,
    /// An age.
    Seconds,
}

impl Unit {
    /// Returns CloudWatch's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Count => "Count",
            Self::Milliseconds => "Milliseconds",
            Self::Seconds => "Seconds",
        }
    }
}

/// Declares [`Metric`]: each metric with its unit. The names in CloudWatch are those of the variants.
macro_rules! metrics {
    ($($(#[$doc:meta])* $name:ident: $unit:ident,)*) => {
        /// A metric. Its name in CloudWatch is that of the variant.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Metric {
            $($(#[$doc])* $name,)*
        }

        impl Metric {
            /// All metrics.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Returns the name in CloudWatch.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// Returns the unit.
            #[must_use]
            pub fn unit(self) -> Unit {
                match self {
                    $(Self::$name => Unit::$unit,)*
                }
            }
        }
    };
}

metrics! {
    /// The duration of an attempt.
    AttemptDuration: Milliseconds,
    /// Attempts that the receiver acknowledged.
    AttemptsAcknowledged: Count,
    /// Attempts that Signpost did not send.
    AttemptsBlocked: Count,
    /// Attempts without a connection.
    AttemptsDisconnected: Count,
    /// Attempts that a receiver answered with 5xx.
    AttemptsFailed: Count,
    /// Attempts with an answer that cannot be read.
    AttemptsGarbled: Count,
    /// Attempts that a receiver refused.
    AttemptsRefused: Count,
    /// Attempts whose time ended.
    AttemptsTimedOut: Count,
    /// Attempts for which the token URL gave no token.
    AttemptsWithoutToken: Count,
    /// Breakers that closed.
    BreakersClosed: Count,
    /// Breakers that opened.
    BreakersOpened: Count,
    /// Bank callbacks that were accepted.
    CallbacksAccepted: Count,
    /// Bank callbacks that failed because of AWS or a stored item.
    CallbacksFailed: Count,
    /// Bank callbacks that were refused.
    CallbacksRefused: Count,
    /// Messages that were sent to `DeadLetterQueue`.
    DeliveriesDeadLettered: Count,
    /// Deliveries that could not be tried, because AWS or a key failed.
    DeliveriesDeferred: Count,
    /// Parked deliveries of an endpoint that left its lane.
    DeliveriesDrained: Count,
    /// Parked deliveries that were put back because they are due.
    DeliveriesDue: Count,
    /// Deliveries that were given up after their last attempt.
    DeliveriesExhausted: Count,
    /// Deliveries that were moved to the slow track.
    DeliveriesMovedToSlowTrack: Count,
    /// Deliveries that were parked at a limit of their endpoint.
    DeliveriesParkedAtLimit: Count,
    /// Deliveries that were parked behind an open breaker.
    DeliveriesParkedBreakerOpen: Count,
    /// Deliveries that were parked for a disabled endpoint.
    DeliveriesParkedDisabled: Count,
    /// Deliveries that were parked because their tenant has no free seat.
    DeliveriesParkedNoSeat: Count,
    /// Deliveries that were parked until their next attempt.
    DeliveriesParkedUntilDue: Count,
    /// Deliveries that were put into `DeliveriesQueue`.
    DeliveriesQueued: Count,
    /// Failed requests to DynamoDB.
    DynamoDbErrors: Count,
    /// Endpoints that Signpost disabled.
    EndpointsDisabled: Count,
    /// Endpoints for which a delivery waits whose event may expire.
    EndpointsExpiring: Count,
    /// Endpoints that had no turn in a sweep.
    EndpointsNotReached: Count,
    /// Items of tenants that are being erased, which were removed.
    ErasedItems: Count,
    /// Events that were accepted over HTTP.
    EventsAccepted: Count,
    /// Messages of events that come again, because the time was too short for all endpoints.
    EventsContinued: Count,
    /// Messages of events that come again after a failure.
    EventsDeferred: Count,
    /// Repetitions of events.
    EventsDuplicate: Count,
    /// New events.
    EventsFannedOut: Count,
    /// Events that could not be queued.
    EventsNotQueued: Count,
    /// Messages that were moved to `RejectedQueue`.
    EventsRejected: Count,
    /// New events to which no endpoint subscribes.
    EventsUnwanted: Count,
    /// Current signing keys that could not be opened.
    KeyFallbacks: Count,
    /// Signing keys that were made.
    KeysMade: Count,
    /// Signing keys that were due and were not made.
    KeysNotMade: Count,
    /// Requests to KMS.
    KmsCalls: Count,
    /// Failed requests to KMS.
    KmsErrors: Count,
    /// Messages that a redrive moved.
    MessagesRedriven: Count,
    /// Minutes of due deliveries that a sweep left to the next one.
    MinutesBehind: Count,
    /// How long the oldest delivery waits that is parked for an endpoint.
    OldestParkedAge: Seconds,
    /// Key items that Signpost did not write.
    RefusedKeys: Count,
    /// Requests of producers that were refused.
    RequestsRefused: Count,
    /// Since when the current key of `EdDSA` signs.
    SigningKeyAgeEdDSA: Seconds,
    /// Since when the current key of `ES256` signs.
    SigningKeyAgeES256: Seconds,
    /// Since when the current key of `RS256` signs.
    SigningKeyAgeRS256: Seconds,
    /// Failed requests to SQS.
    SqsErrors: Count,
    /// From the acceptance of an event to a receiver's acknowledgement.
    TimeToAcknowledgement: Milliseconds,
    /// From the acceptance of an event to the start of its first attempt.
    TimeToFirstAttempt: Milliseconds,
}

impl Metric {
    /// Returns the metric that counts attempts of a class.
    #[must_use]
    pub fn of_attempt(class: AttemptClass) -> Self {
        match class {
            AttemptClass::Acknowledged => Self::AttemptsAcknowledged,
            AttemptClass::Blocked => Self::AttemptsBlocked,
            AttemptClass::Disconnected => Self::AttemptsDisconnected,
            AttemptClass::Failed => Self::AttemptsFailed,
            AttemptClass::Garbled => Self::AttemptsGarbled,
            AttemptClass::Refused => Self::AttemptsRefused,
            AttemptClass::TimedOut => Self::AttemptsTimedOut,
            AttemptClass::WithoutToken => Self::AttemptsWithoutToken,
        }
    }

    /// Returns the metric of the age of an algorithm's current key.
    #[must_use]
    pub fn of_key_age(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::EdDSA => Self::SigningKeyAgeEdDSA,
            Algorithm::ES256 => Self::SigningKeyAgeES256,
            Algorithm::RS256 => Self::SigningKeyAgeRS256,
        }
    }
}

/// The values of one invocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values {
    /// Sums and gauges.
    pub numbers: BTreeMap<Metric, u64>,
    /// Metrics with one value per thing, of which CloudWatch computes percentiles.
    pub samples: BTreeMap<Metric, Vec<u64>>,
}

impl Values {
    /// Returns whether there is no value at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty() && self.samples.is_empty()
    }
}

/// All values of one invocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// Those of all tenants together.
    pub all: Values,
    /// Those of each tenant. Empty if the meter does not count by tenant.
    pub by_tenant: BTreeMap<TenantId, Values>,
}

/// The values of the current invocation. All clones share them.
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    measured: Measured,
    is_by_tenant: bool,
}

impl Meter {
    /// From now on, also counts for each tenant.
    pub fn count_by_tenant(&self) {
        lock(&self.0).is_by_tenant = true;
    }

    /// Counts `many` things. Zero leaves no trace.
    pub fn add(&self, metric: Metric, many: usize) {
        if let Ok(many @ 1..) = u64::try_from(many) {
            self.change(None, |values| *values.numbers.entry(metric).or_default() += many);
        }
    }

    /// Counts `many` things of a tenant. Zero leaves no trace.
    pub fn add_of(&self, tenant: &TenantId, metric: Metric, many: usize) {
        if let Ok(many @ 1..) = u64::try_from(many) {
            self.change(Some(tenant), |values| *values.numbers.entry(metric).or_default() += many);
        }
    }

    /// Reports one value of a tenant, such as the duration of an attempt.
    pub fn sample_of(&self, tenant: &TenantId, metric: Metric, value: u64) {
        self.change(Some(tenant), |values| values.samples.entry(metric).or_default().push(value));
    }

    /// Reports a gauge, zero included. Of several reports in one invocation, the highest counts.
    pub fn gauge(&self, metric: Metric, value: u64) {
        self.change(None, |values| {
            let highest = values.numbers.entry(metric).or_default();
            *highest = value.max(*highest);
        });
    }

    /// Returns the values and starts again from nothing.
    #[must_use]
    pub fn take(&self) -> Measured {
        std::mem::take(&mut lock(&self.0).measured)
    }

    fn change(&self, tenant: Option<&TenantId>, change: impl Fn(&mut Values)) {
        let mut counts = lock(&self.0);
        change(&mut counts.measured.all);
        if let Some(tenant) = tenant.filter(|_| counts.is_by_tenant) {
            change(counts.measured.by_tenant.entry(tenant.clone()).or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    #[test]
    fn an_invocation_is_counted_once_and_leaves_nothing_to_the_next() {
        let meter = Meter::default();
        let clone = meter.clone();
        meter.add(Metric::KmsCalls, 2);
        clone.add(Metric::KmsCalls, 1);
        meter.add(Metric::SqsErrors, 0);
        clone.sample_of(&tenant("acme"), Metric::AttemptDuration, 35);
        meter.sample_of(&tenant("b"), Metric::AttemptDuration, 0);
        meter.gauge(Metric::MinutesBehind, 0);
        meter.gauge(Metric::OldestParkedAge, 7);
        meter.gauge(Metric::OldestParkedAge, 3);
        let Measured { all, by_tenant } = clone.take();
        let numbers = [(Metric::KmsCalls, 3), (Metric::MinutesBehind, 0), (Metric::OldestParkedAge, 7)];
        assert_eq!(all.numbers, BTreeMap::from(numbers), "zero is a value of a gauge, and none of a sum");
        assert_eq!(all.samples, BTreeMap::from([(Metric::AttemptDuration, vec![35, 0])]));
        assert!(by_tenant.is_empty());
        assert_eq!(meter.take(), Measured::default());
    }

    #[test]
    fn tenants_are_counted_apart_only_on_demand() {
        let meter = Meter::default();
        meter.count_by_tenant();
        meter.add_of(&tenant("acme"), Metric::EventsFannedOut, 2);
        meter.add_of(&tenant("b"), Metric::EventsFannedOut, 1);
        meter.add(Metric::EventsRejected, 1);
        let Measured { all, by_tenant } = meter.take();
        assert_eq!(all.numbers, BTreeMap::from([(Metric::EventsFannedOut, 3), (Metric::EventsRejected, 1)]));
        let of = |name| by_tenant[&tenant(name)].numbers.clone();
        assert_eq!(of("acme"), BTreeMap::from([(Metric::EventsFannedOut, 2)]));
        assert_eq!(of("b"), BTreeMap::from([(Metric::EventsFannedOut, 1)]));
    }

    #[test]
    fn the_document_lists_every_metric_with_its_unit() {
        let document = include_str!("../../../docs/metrics.md");
        let mut sorted: Vec<_> = document
            .lines()
            .filter_map(|line| {
                let mut columns = line.strip_prefix("| `")?.split('|').map(str::trim);
                let name = columns.next()?.trim_end_matches([' ', '*', '`']);
                Some((name.to_owned(), columns.next()?.to_owned()))
            })
            .collect();
        sorted.sort();
        let metrics = Metric::ALL.iter().map(|metric| (metric.as_str().to_owned(), metric.unit().as_str().to_owned()));
        let mut metrics: Vec<_> = metrics.collect();
        metrics.sort();
        assert_eq!(sorted, metrics);
    }
}
