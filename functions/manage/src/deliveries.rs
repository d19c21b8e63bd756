//! The list of an endpoint's deliveries, for operators.

use std::time::{Duration, Instant};

use serde::Serialize;
use signpost_core::delivery::hold::{Hold, next_attempt};
use signpost_core::delivery::list::{ListPosition, ListQuery};
use signpost_core::delivery::{DeadLetterReason, DeliveryStatus};
use signpost_core::input::problem::Problem;
use signpost_engine::ports::endpoints::Endpoints as _;
use signpost_io::runtime::api_gateway::respond;
use signpost_io::runtime::clock::{rfc3339, unix_ms_now};
use signpost_io::tables::delivery_list::Listed;

use crate::api_request::{ApiRequest, no_such_endpoint};
use crate::endpoints::JSON;
use crate::holds::ShownHold;
use crate::{Answer, App};

/// How many deliveries a page may have.
const MAX_PAGE: i32 = 50;
/// How long one request searches for deliveries of one status, which may be few among many; within the function's 29 s.
const LOOKING: Duration = Duration::from_secs(5);

impl App {
    /// Lists an endpoint's deliveries that had an attempt, were given up or were replayed, newest first.
    pub(crate) async fn list_deliveries(&self, asked: &ApiRequest<'_>) -> Answer {
        let endpoint = asked.endpoint()?;
        let [status, since, cursor] = ["status", "since", "cursor"].map(|name| asked.parameter(name));
        let wanted = ListQuery::parse(status.as_deref(), since.as_deref(), cursor.as_deref());
        let limit = asked.limit(MAX_PAGE);
        let (mut wanted, limit) = match (wanted, limit) {
            (Ok(wanted), Ok(limit)) => (wanted, usize::try_from(limit).unwrap_or_default()),
            (wanted, limit) => {
                let faults = [wanted.err(), limit.err().map(|fault| vec![fault])];
                return Err(Problem::bad_request(faults.into_iter().flatten().flatten().collect()).into());
            }
        };
        if !self.endpoints.exists(&asked.tenant, &endpoint).await? {
            return Err(no_such_endpoint().into());
        }
        let (mut deliveries, started) = (Vec::new(), Instant::now());
        let next = loop {
            let most = limit - deliveries.len();
            let (found, next) = self.listing.page(&asked.tenant, &endpoint, wanted, most).await?;
            deliveries.extend(found);
            match next {
                Some(next) if deliveries.len() < limit && started.elapsed() < LOOKING => {
                    wanted = wanted.after(next);
                }
                next => break next,
            }
        };
        let has_pending = deliveries.iter().any(|one| one.progress.status == DeliveryStatus::Pending);
        let holds = if has_pending { self.holds(&asked.tenant, &[endpoint]).await? } else { Vec::new() };
        let (hold, now) = (holds.into_iter().next().flatten(), unix_ms_now());
        let deliveries = deliveries.iter().map(|one| shown(one, hold.as_ref(), now)).collect();
        let page = ShownPage { deliveries, cursor: next.map(ListPosition::cursor) };
        let body = serde_json::to_string(&page).unwrap_or_default(); // Strings and numbers always serialize.
        Ok(respond(200, JSON, body))
    }
}

#[derive(Serialize)]
struct ShownPage<'a> {
    deliveries: Vec<Shown<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    event: &'a str,
    source: &'a str,
    status: &'static str,
    reason: Option<&'static str>,
    attempts: u32,
    arrived_at: String,
    first_attempt_at: Option<String>,
    next_attempt_at: Option<String>,
    held: Option<ShownHold>,
}

fn shown<'a>(listed: &'a Listed, hold: Option<&Hold>, now_unix_ms: u64) -> Shown<'a> {
    let is_pending = listed.progress.status == DeliveryStatus::Pending;
    let next = is_pending.then(|| next_attempt(Some(listed.progress.next_attempt_unix_ms), hold, now_unix_ms));
    Shown {
        event: listed.event.id.as_str(),
        source: &listed.event.source,
        status: listed.progress.status.as_str(),
        reason: listed.reason.map(DeadLetterReason::as_str),
        attempts: listed.progress.attempts,
        arrived_at: rfc3339(listed.arrived_unix_ms),
        first_attempt_at: listed.first_attempt_unix_ms.map(rfc3339),
        next_attempt_at: next.flatten().map(rfc3339),
        held: hold.filter(|_| is_pending).map(ShownHold::of),
    }
}
