//! Notices to the owners of endpoints ([`signpost_core::delivery::notices`]): sends those that are due as events of
//! Signpost's own.

use std::time::Duration;

use serde_json::{Value, json};
use signpost_core::delivery::Delivery;
use signpost_core::delivery::attempt::AttemptResult;
use signpost_core::delivery::breaker::{Breaker, HOPELESS_AFTER};
use signpost_core::delivery::notices::{LEFT_ALONE, LastError, Notice, Notices};
use signpost_core::delivery::parking::Lane;
use signpost_core::endpoint::auth::origin;
use signpost_core::endpoint::{DISABLED_TYPE, DisabledBecause, EndpointId};
use signpost_core::event::{Event, OWN_SOURCE, TenantId};

use crate::deliver::{Deferred, DeferredError, Deliver};
use crate::logs::Chain;
use crate::metrics::Metric;
use crate::ports::Ports;
use crate::ports::clock::{Clock as _, millis, rfc3339};
use crate::ports::parking::Parking as _;
use crate::ports::queue::{Message, Queue as _};

/// How long a delivery waits at most for notices to be sent. They wait for a later delivery if that is not enough.
pub(super) const PATIENCE: Duration = Duration::from_secs(4);
/// How many parked deliveries are counted at most.
const MOST_COUNTED: usize = 100;
/// Where the owner can read what to do, in the documents.
const DOCUMENTATION: &str = "docs/operating.md#notices";

/// The endpoint that a notice is about.
struct About<'a> {
    tenant: &'a TenantId,
    endpoint: &'a EndpointId,
    /// The host of its URL. The path and the query may have a secret.
    host: String,
    last_error: Option<&'a LastError>,
    /// At least so many deliveries are parked for it.
    parked: usize,
}

impl<P: Ports> Deliver<P> {
    /// Sends the notices that this instance has found due. If that fails, a later call does it.
    pub(super) async fn send_notices(&self, delivery: &Delivery, url: &str, breaker: &Breaker) {
        self.send_notices_of(delivery, url, breaker, Duration::ZERO).await;
    }

    /// Sends notices that wait for so long that the instance that found them due has not sent them. Makes no call if there
    /// are none.
    pub(super) async fn send_forgotten_notices(&self, delivery: &Delivery, url: &str, breaker: &Breaker) {
        self.send_notices_of(delivery, url, breaker, LEFT_ALONE).await;
    }

    async fn send_notices_of(&self, delivery: &Delivery, url: &str, breaker: &Breaker, age: Duration) {
        let due = breaker.notices().due(self.clock.unix_ms(), age);
        if due.is_empty() {
            return;
        }
        let sent = async {
            let about = self.about(delivery, url, breaker.notices()).await;
            let events = due.iter().map(|notice| built::<P>(&notice.event_id(about.endpoint), &event(notice, &about)));
            let events = events.collect::<Result<Vec<_>, _>>()?;
            self.own_events_queue.send_all(events.iter().map(Message::of_event)).await?;
            Ok::<_, Deferred<P>>(())
        };
        let (tenant, endpoint) = (&delivery.event.key.tenant, &delivery.endpoint);
        match self.clock.within(PATIENCE, Box::pin(sent)).await.unwrap_or(Err(DeferredError::SlowNotice)) {
            Ok(()) => {
                for notice in due {
                    let kind = notice.kind.event_type();
                    tracing::info!(tenant.id = %tenant, endpoint.id = %endpoint, "event.type" = kind, "notice.sent");
                }
                self.breakers.notices_sent(endpoint, due).await;
            }
            Err(error) => {
                tracing::warn!(tenant.id = %tenant, endpoint.id = %endpoint, error = %Chain(&error), "notice.not_sent");
            }
        }
    }

    /// Notes a delivery that was given up, and sends the notice if the owner must hear of it.
    pub(super) async fn notice_given_up(&self, delivery: &Delivery, url: &str, result: Option<&AttemptResult>) {
        let breaker = self.breakers.give_up(&delivery.endpoint, result).await;
        self.send_notices(delivery, url, &breaker).await;
    }

    /// Disables the endpoint of a delivery, and sends a notice of it.
    ///
    /// The notice is sent first, so that a crash in between cannot lose it. The delivery comes back, finds the endpoint
    /// enabled, and sends the notice again: its id contains the endpoint's version.
    pub(super) async fn disable(
        &self,
        delivery: &Delivery,
        url: &str,
        because: DisabledBecause,
        result: &AttemptResult,
    ) -> Result<(), Deferred<P>> {
        let (tenant, endpoint) = (&delivery.event.key.tenant, &delivery.endpoint);
        let Some(version) = self.endpoints.enabled_version(tenant, endpoint).await? else { return Ok(()) };
        let breaker = self.breakers.get(endpoint).await;
        let about = self.about(delivery, url, breaker.notices()).await;
        let last_error = result.as_ref().err().map(LastError::of);
        let about = About { last_error: last_error.as_ref().or(about.last_error), ..about };
        let now = self.clock.unix_ms();
        let since = breaker.failing_since().unwrap_or(now);
        let more = json!({ "disabledBecause": because.as_str() });
        let id = format!("disabled-{endpoint}-{version}-{}", because.as_str());
        let event = built::<P>(&id, &envelope(&id, DISABLED_TYPE, now, &about, &data(since, &about, &more)))?;
        self.own_events_queue.send_all([Message::of_event(&event)]).await?;
        let was_enabled = self.endpoints.disable(tenant, endpoint, because).await?;
        self.meter.add_of(tenant, Metric::EndpointsDisabled, was_enabled.into());
        Ok(())
    }

    /// Collects the content of notices. If the parked deliveries cannot be counted, at least none is parked.
    async fn about<'a>(&self, delivery: &'a Delivery, url: &str, notices: &'a Notices) -> About<'a> {
        let (tenant, endpoint) = (&delivery.event.key.tenant, &delivery.endpoint);
        let parked = self.parking.first_of(&Lane::Endpoint(endpoint.clone()), MOST_COUNTED).await;
        let parked = parked.map_or(0, |parked| parked.len());
        About { tenant, endpoint, host: host_of(url), last_error: notices.last_error(), parked }
    }
}

/// Returns the host and, if it is unusual, the port of a URL.
fn host_of(url: &str) -> String {
    origin(url).split_once("://").map(|(_, host)| host.to_owned()).unwrap_or_default()
}

fn event(notice: &Notice, about: &About<'_>) -> Value {
    let more = match notice.kind.percent() {
        None => json!({}),
        Some(percent) => {
            let end = notice.since + millis(HOPELESS_AFTER);
            json!({"percent": percent, "disabledFrom": rfc3339(end)})
        }
    };
    let data = data(notice.since, about, &more);
    envelope(&notice.event_id(about.endpoint), notice.kind.event_type(), notice.at, about, &data)
}

fn data(since: u64, about: &About<'_>, more: &Value) -> Value {
    let mut data = json!({
        "endpoint": about.endpoint.as_str(), "tenant": about.tenant.as_str(), "host": about.host,
        "since": rfc3339(since), "reason": about.last_error.map(|error| &*error.cause),
        "lastError": about.last_error.map(|error| &*error.text), "parkedAtLeast": about.parked,
        "documentation": DOCUMENTATION,
    });
    if let (Some(data), Some(more)) = (data.as_object_mut(), more.as_object()) {
        data.extend(more.clone());
    }
    data
}

fn envelope(id: &str, kind: &str, at: u64, about: &About<'_>, data: &Value) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": OWN_SOURCE, "type": kind, "tenant": about.tenant.as_str(),
        "subject": about.endpoint.as_str(), "time": rfc3339(at), "data": data,
    })
}

fn built<P: Ports>(id: &str, event: &Value) -> Result<Event, Deferred<P>> {
    Event::parse_own(&event.to_string()).map_err(|_| DeferredError::UnfitNotice { id: id.to_owned() })
}

#[cfg(test)]
mod tests {
    use signpost_core::delivery::notices::NoticeKind;
    use uuid::Uuid;

    use super::*;

    const AT: u64 = 1_769_853_600_000;

    /// Returns the events of all kinds, as `deliver` sends them.
    fn all() -> Vec<Value> {
        let (tenant, endpoint) = (TenantId::parse("acme").unwrap(), EndpointId::new(Uuid::from_u128(1)));
        let text = "endpoint answered 503; answer 2xx to acknowledge".to_owned();
        let last_error = LastError { cause: "status".into(), text };
        let host = host_of("https://hooks.acme.example/in?token=secret");
        let about = About { tenant: &tenant, endpoint: &endpoint, host, last_error: Some(&last_error), parked: 17 };
        let kinds = [NoticeKind::Failing, NoticeKind::HalfOver, NoticeKind::Recovered, NoticeKind::Exhausted];
        let mut all: Vec<_> = kinds.map(|kind| event(&Notice { kind, since: AT, at: AT + 60_000 }, &about)).into();
        let more = json!({"disabledBecause": "failing"});
        let id = format!("disabled-{endpoint}-4-failing");
        all.push(envelope(&id, DISABLED_TYPE, AT + 60_000, &about, &data(AT, &about, &more)));
        all
    }

    #[test]
    fn the_examples_in_the_documents_are_what_is_sent() {
        let document = include_str!("../../../../docs/payloads.md");
        for event in all() {
            let parsed = Event::parse_own(&event.to_string()).unwrap();
            let spelled = serde_json::to_string_pretty(&event["data"]).unwrap();
            let kind = &parsed.kind;
            assert!(document.contains(&spelled), "docs/payloads.md lacks the `data` of {kind}:\n{spelled}");
            assert!(document.contains(&format!("`{kind}`")), "docs/payloads.md lacks {kind}");
        }
    }

    #[test]
    fn a_notice_has_the_host_of_a_url_and_nothing_else_of_it() {
        for event in all() {
            let text = event.to_string();
            assert!(text.contains("hooks.acme.example") && !text.contains("token") && !text.contains("/in"), "{text}");
        }
        assert_eq!(host_of("https://a.example:8443/x"), "a.example:8443");
        assert_eq!(host_of("nonsense"), "");
    }
}
