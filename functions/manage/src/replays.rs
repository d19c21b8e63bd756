//! The operators' routes for bulk replays ([`signpost_core::delivery::replay`]).

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use signpost_core::delivery::list::ListPosition;
use signpost_core::delivery::replay::{
    EndStatus, MOST_RUNNING, Replay, ReplayFilter, ReplayId, ReplayPosition, ReplayRequest, ReplayState, ReplayStep,
};
use signpost_core::endpoint::EndpointId;
use signpost_core::input::fault::{Fault, Faults};
use signpost_core::input::problem::Problem;
use signpost_core::quota::Quota;
use signpost_engine::ports::events::Events as _;
use signpost_engine::ports::replays::{DeliveryLists as _, ListStretch, Replays as _};
use signpost_engine::ports::subscriptions::Subscriptions as _;
use signpost_io::aws::AwsError;
use signpost_io::runtime::api_gateway::respond;
use signpost_io::runtime::clock::{rfc3339, unix_ms_now};
use uuid::Uuid;

use crate::api_request::ApiRequest;
use crate::endpoints::JSON;
use crate::{Answer, App, Refusal};

/// How many replays a page of the list may have.
const MAX_PAGE: i32 = 50;
/// How many pages of the tenant's replays are looked at for an integrator whose link names endpoints.
const PAGES_LOOKED_AT: usize = 10;
/// How long one request goes on to count deliveries; within the function's 29 s.
const COUNTING: Duration = Duration::from_secs(10);
/// How many deliveries of a list are looked at together.
const LOOKED_AT: usize = 4_000;
/// How many events are read together at most.
const EVENTS_AT_ONCE: usize = 50;

impl App {
    /// Makes a replay, or counts its deliveries.
    pub(crate) async fn create_replay(&self, asked: &ApiRequest<'_>) -> Answer {
        let now = unix_ms_now();
        let ReplayRequest { mut filter, is_dry_run } =
            ReplayRequest::parse(&asked.body(&[JSON])?, now).map_err(Problem::bad_request)?;
        self.refuse_while_erased(asked).await?;
        let endpoints = self.endpoints_of(asked, &filter).await?;
        if asked.only().is_some() {
            if endpoints.is_empty() {
                return Err(Problem::conflict("the tenant has none of the endpoints that the link names").into());
            }
            filter.endpoints = endpoints.iter().cloned().collect(); // A filter without endpoints means all of the tenant's.
        }
        self.count(&asked.tenant, Quota::Replays).await?;
        let replay = Replay::new(asked.tenant.clone(), ReplayId::new(now, Uuid::new_v4()), filter, now);
        if is_dry_run {
            asked.trail.result(None, json!({"filter": shown_filter(&replay.filter), "dryRun": true}));
            let (matched, is_all) = self.count_deliveries(&replay, &endpoints).await?;
            return Ok(respond(200, JSON, json!({"matched": matched, "more": !is_all}).to_string()));
        }
        asked.trail.result(None, json!({"id": replay.id.as_str(), "filter": shown_filter(&replay.filter)}));
        if !self.replays.create(&replay).await? {
            let detail = format!("the tenant has {MOST_RUNNING} running replays, which is the most");
            return Err(Problem::conflict(format!("{detail}; stop one, or wait until one is done")).into());
        }
        tracing::info!(tenant.id = %replay.tenant, replay.id = %replay.id, "replay.created");
        Ok(respond(202, JSON, shown(&replay).to_string()))
    }

    /// Returns the endpoints of a filter. Refuses one that the tenant does not have: the operator mistyped it. One that an
    /// integrator may not see is refused in the same way.
    async fn endpoints_of(&self, asked: &ApiRequest<'_>, filter: &ReplayFilter) -> Result<Vec<EndpointId>, Refusal> {
        let of_tenant = self.subscriptions.of_tenant(&asked.tenant).await?.into_iter().map(|(id, _)| id);
        let known: Vec<_> = of_tenant.filter(|id| asked.may_see(id)).collect();
        if filter.endpoints.is_empty() {
            return Ok(known);
        }
        let mut faults = Faults::default();
        for id in filter.endpoints.iter().filter(|id| !known.contains(id)) {
            faults.push(Fault::of_text("/endpoints".into(), id.as_str(), "ids of the tenant's endpoints"));
        }
        faults.none().map_err(Problem::bad_request)?;
        Ok(filter.endpoints.iter().cloned().collect())
    }

    /// Counts the deliveries that a replay would send. Also returns whether these are all.
    async fn count_deliveries(&self, replay: &Replay, endpoints: &[EndpointId]) -> Result<(usize, bool), Refusal> {
        let (mut matched, started, statuses) = (0, Instant::now(), replay.statuses());
        for endpoint in endpoints {
            let mut after = None;
            loop {
                if started.elapsed() >= COUNTING {
                    return Ok((matched, false));
                }
                let part = replay.filter.part_of_list(after);
                let read = self.listing.oldest_first(&replay.tenant, endpoint, part, &statuses, LOOKED_AT).await?;
                let read_to = read.read_to;
                let (found, is_all) = self.count_page(replay, read, started).await?;
                matched += found;
                after = match read_to {
                    _ if !is_all => return Ok((matched, false)),
                    None => break,
                    read_to => read_to,
                };
            }
        }
        Ok((matched, true))
    }

    /// Counts the deliveries of a page. The types of their events are with the events.
    async fn count_page(&self, replay: &Replay, read: ListStretch, began: Instant) -> Result<(usize, bool), Refusal> {
        let is_sent = |step| step == ReplayStep::Send;
        let deliveries = read.deliveries.iter().filter(|delivery| is_sent(replay.decide(&delivery.progress)));
        let keys: Vec<_> = deliveries.map(|delivery| &delivery.event).collect();
        if replay.filter.types.is_empty() {
            return Ok((keys.len(), true));
        }
        let mut matched = 0;
        let mut rest = &*keys;
        while !rest.is_empty() {
            if began.elapsed() >= COUNTING {
                return Ok((matched, false));
            }
            let kept = self.events.get_some(&rest[..rest.len().min(EVENTS_AT_ONCE)]).await?;
            rest = &rest[kept.len()..];
            matched += kept.into_iter().flatten().filter(|kept| replay.filter.wants_type(&kept.event.kind)).count();
        }
        Ok((matched, true))
    }

    /// Lists replays, newest first. An integrator whose link names endpoints gets the replays of these endpoints among the
    /// tenant's newest.
    pub(crate) async fn list_replays(&self, asked: &ApiRequest<'_>) -> Answer {
        let (limit, cursor) = (asked.limit(MAX_PAGE), asked.parameter("cursor"));
        let after = cursor.as_deref().map(ReplayId::parse);
        let mut faults = Vec::from_iter(limit.as_ref().err().cloned());
        if after == Some(None) {
            let found = cursor.as_deref().unwrap_or_default();
            faults.push(Fault::of_text("?cursor".into(), found, "the `cursor` of the page before"));
        }
        let Some(limit) = limit.ok().filter(|_| faults.is_empty()) else {
            return Err(Problem::bad_request(faults).into());
        };
        let (replays, next) = self.visible_replays(asked, after.flatten(), limit).await?;
        let mut body = json!({ "replays": replays.iter().map(shown).collect::<Vec<_>>() });
        if let Some(next) = next {
            body["cursor"] = next.as_str().into();
        }
        Ok(respond(200, JSON, body.to_string()))
    }

    /// Reads a page of the replays that the caller may see. The cursor of an integrator whose link names endpoints is the
    /// last replay of the answer, because the one behind it may be of other endpoints.
    async fn visible_replays(
        &self,
        asked: &ApiRequest<'_>,
        mut after: Option<ReplayId>,
        limit: i32,
    ) -> Result<(Vec<Replay>, Option<ReplayId>), AwsError> {
        if asked.only().is_none() {
            return self.replays.page(&asked.tenant, after.as_ref(), limit).await;
        }
        let (most, mut visible) = (usize::try_from(limit).unwrap_or_default(), Vec::new());
        for _ in 0..PAGES_LOOKED_AT {
            let (page, next) = self.replays.page(&asked.tenant, after.as_ref(), MAX_PAGE).await?;
            visible.extend(page.into_iter().filter(|replay| may_see(asked, replay)));
            if visible.len() > most {
                visible.truncate(most);
                let last = visible.last().map(|replay| replay.id.clone());
                return Ok((visible, last));
            }
            if next.is_none() {
                break;
            }
            after = next;
        }
        Ok((visible, None))
    }

    /// Reads the replay in the path. One that the caller may not see does not differ from one that does not exist.
    async fn replay_of(&self, asked: &ApiRequest<'_>) -> Result<Replay, Refusal> {
        let replay = self.replays.get(&asked.tenant, &asked.replay()?).await?;
        Ok(replay.filter(|replay| may_see(asked, replay)).ok_or_else(no_such_replay)?)
    }

    pub(crate) async fn read_replay(&self, asked: &ApiRequest<'_>) -> Answer {
        Ok(respond(200, JSON, shown(&self.replay_of(asked).await?).to_string()))
    }

    /// Stops a replay. Signpost still sends the deliveries that it has parked.
    pub(crate) async fn stop_replay(&self, asked: &ApiRequest<'_>) -> Answer {
        let id = asked.replay()?;
        asked.trail.result(None, json!({ "id": id.as_str() }));
        if asked.only().is_some() {
            self.replay_of(asked).await?; // Refuses a replay of other endpoints before any change.
        }
        let replay = self.replays.stop(&asked.tenant, &id).await?.ok_or_else(no_such_replay)?;
        asked.trail.result(None, json!({ "id": id.as_str(), "state": replay.state.as_str() }));
        tracing::info!(tenant.id = %asked.tenant, replay.id = %id, "replay.stopped");
        Ok(respond(200, JSON, shown(&replay).to_string()))
    }
}

/// Returns whether the caller may see a replay: all of its endpoints.
fn may_see(asked: &ApiRequest<'_>, replay: &Replay) -> bool {
    let endpoints = &replay.filter.endpoints;
    asked.only().is_none_or(|only| !endpoints.is_empty() && endpoints.is_subset(only))
}

/// Returns the problem for a replay that the tenant does not have.
pub(crate) fn no_such_replay() -> Problem {
    Problem::not_found("the tenant has no such replay, or not any more; list them to see which there are")
}

fn shown_filter(filter: &ReplayFilter) -> Value {
    let endpoints: Vec<_> = filter.endpoints.iter().map(EndpointId::as_str).collect();
    json!({
        "since": rfc3339(filter.since_unix_ms), "until": rfc3339(filter.until_unix_ms),
        "endpoints": Some(endpoints).filter(|endpoints| !endpoints.is_empty()),
        "types": Some(&filter.types).filter(|types| !types.is_empty()),
        "statuses": filter.statuses.iter().copied().map(EndStatus::as_str).collect::<Vec<_>>(),
    })
}

/// Returns a replay in the form of answers.
fn shown(replay: &Replay) -> Value {
    let is_over = replay.state != ReplayState::Running;
    let position = replay.position.as_ref().filter(|_| !is_over);
    json!({
        "id": replay.id.as_str(), "state": replay.state.as_str(), "filter": shown_filter(&replay.filter),
        "matched": replay.counts.matched(), "sent": replay.counts.sent, "skipped": replay.counts.skipped,
        "position": position.map(shown_position),
        "createdAt": rfc3339(replay.created_unix_ms), "changedAt": rfc3339(replay.changed_unix_ms),
        "endedAt": is_over.then(|| rfc3339(replay.changed_unix_ms)),
    })
}

/// Returns the point that a replay has reached: the endpoint, and the arrival of the last event in its list. Without the
/// arrival, it has not begun the list, or has read all of it.
fn shown_position(position: &ReplayPosition) -> Value {
    let arrived = match position {
        ReplayPosition::Behind(_) => None,
        ReplayPosition::In(_, after) => after.map(ListPosition::arrived_unix_ms),
    };
    json!({"endpoint": position.endpoint().as_str(), "arrivedAt": arrived.map(rfc3339)})
}
