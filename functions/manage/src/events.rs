//! The operators' routes for events: their history, replay and recovery.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;
use signpost_core::delivery::attempt::Attempt;
use signpost_core::delivery::hold::{Hold, next_attempt};
use signpost_core::delivery::parking::Lane;
use signpost_core::delivery::sent::{Sent, SentRecord};
use signpost_core::delivery::{DeadLetterReason, DeliveryKey, DeliveryStatus, ReplayKind};
use signpost_core::endpoint::EndpointId;
use signpost_core::endpoint::filter::Document;
use signpost_core::endpoint::settings;
use signpost_core::endpoint::subscription::Subscription;
use signpost_core::event::{Event, EventKey, TenantId};
use signpost_core::fingerprint::hexadecimal;
use signpost_core::input::problem::Problem;
use signpost_core::quota::Quota;
use signpost_engine::ports::deliveries::Deliveries as _;
use signpost_engine::ports::endpoints::Endpoints as _;
use signpost_engine::ports::events::Events as _;
use signpost_engine::ports::parking::Parked;
use signpost_engine::ports::parking::Parking as _;
use signpost_engine::ports::queue::Message;
use signpost_engine::ports::queue::Queue as _;
use signpost_engine::ports::subscriptions::Subscriptions as _;
use signpost_io::aws::AwsError;
use signpost_io::runtime::api_gateway::{MAX_ANSWER_BYTES, bytes_in_answer, respond};
use signpost_io::runtime::clock::{rfc3339, unix_ms_now};
use signpost_io::tables::event_history::{DeliveryHistory, History, Tombstone};

use crate::api_request::{ApiRequest, no_such_endpoint};
use crate::endpoints::{JSON, moment};
use crate::holds::ShownHold;
use crate::{Answer, App, Refusal};

/// How many deliveries are reset together and then sent. If a replay is cut short, at most this many records lack their
/// message.
const REPLAYED_AT_ONCE: usize = 50;

/// How many deliveries of an event one answer may have.
const MAX_DELIVERIES: i32 = 100;
/// How many deliveries are read together. Each may have some 90 attempts with different requests and answers of a few KB.
const READ_AT_ONCE: usize = 20;
/// An upper limit for the bytes of an answer besides the event and the deliveries.
const BESIDE: usize = 1_024;

/// How long one request goes on to recover deliveries; within the function's 29 s.
const RECOVERY: Duration = Duration::from_secs(10);
/// How many deliveries are recovered together.
const PAGE: usize = 50;

impl App {
    pub(crate) async fn read_event(&self, asked: &ApiRequest<'_>) -> Answer {
        let (limit, after) = asked.page_by_endpoint(MAX_DELIVERIES)?;
        let limit = usize::try_from(limit).unwrap_or_default();
        let history = self.history(asked).await?;
        let event = history.event.json();
        let mut page =
            Page { deliveries: Vec::new(), room: MAX_ANSWER_BYTES - BESIDE - bytes_in_answer(event), is_full: false };
        let endpoints: BTreeSet<_> = recipients(&history).filter(|id| asked.may_see(id)).collect();
        let rest: Vec<_> = endpoints.into_iter().filter(|id| after.as_ref().is_none_or(|after| *id > after)).collect();
        for some in rest[..rest.len().min(limit)].chunks(READ_AT_ONCE) {
            let read = self.histories.deliveries(&history, some).await?;
            let holds = self.holds_of_pending(&asked.tenant, some, &read).await?;
            for id in some {
                let read = read.iter().find(|one| one.endpoint == **id);
                page.add(&history.event, id, read, holds.get(id).and_then(Option::as_ref))?;
            }
            if page.is_full {
                break;
            }
        }
        let shown = ShownEvent {
            event: serde_json::from_str(event).map_err(unreadable)?,
            sequence: history.event.number.map(|number| number.to_string()),
            fanned_out_at: moment(history.fanned_out_at),
            cursor: page
                .deliveries
                .len()
                .checked_sub(1)
                .filter(|last| last + 1 < rest.len())
                .map(|last| rest[last].as_str()),
            deliveries: page.deliveries,
        };
        Ok(respond(200, JSON, serde_json::to_string(&shown).map_err(unreadable)?))
    }

    /// Reads the holds on the pending deliveries to `endpoints`.
    async fn holds_of_pending<'a>(
        &self,
        tenant: &TenantId,
        endpoints: &[&'a EndpointId],
        read: &[DeliveryHistory],
    ) -> Result<HashMap<&'a EndpointId, Option<Hold>>, AwsError> {
        let is_over = |id: &EndpointId| {
            let over = |one: &DeliveryHistory| one.endpoint == *id && one.progress.status != DeliveryStatus::Pending;
            read.iter().any(over)
        };
        let pending: Vec<&EndpointId> = endpoints.iter().copied().filter(|id| !is_over(id)).collect();
        let ids: Vec<_> = pending.iter().map(|id| (*id).clone()).collect();
        let holds = self.holds(tenant, &ids).await?;
        Ok(pending.into_iter().zip(holds).collect())
    }

    /// Replays an event: sends it again to the endpoint in the body, or to all endpoints that subscribe to it now.
    pub(crate) async fn replay(&self, asked: &ApiRequest<'_>) -> Answer {
        let asked_for = settings::replay(asked.optional_body(&[JSON])?.as_deref()).map_err(Problem::bad_request)?;
        let chosen = asked_for.endpoint;
        let History { event, arrived_unix_ms, endpoints, also_to, .. } = self.history(asked).await?;
        self.count(&asked.tenant, Quota::Replay).await?;
        let of_tenant = self.subscriptions.of_tenant(&asked.tenant).await?;
        let meant = asked_again(asked, &event, chosen.as_ref(), of_tenant);
        if let (Some(chosen), []) = (&chosen, &*meant) {
            return Err(Problem::conflict(format!("the tenant has no endpoint `{chosen}`")).into());
        }
        let key = &event.key;
        let ids: Vec<_> = meant.iter().map(EndpointId::as_str).collect();
        let answer = json!({ "endpoints": ids }).to_string();
        let mut result = json!({"source": key.source, "endpoints": meant.len()});
        if asked_for.is_dry_run {
            result["dryRun"] = true.into();
            asked.trail.result(chosen.as_ref(), result);
            return Ok(respond(200, JSON, answer));
        }
        asked.trail.result(chosen.as_ref(), result);
        let is_new = |id: &&EndpointId| !endpoints.contains(id) && !also_to.contains(id);
        let new: Vec<_> = meant.iter().filter(is_new).map(EndpointId::to_string).collect();
        if !new.is_empty() && !self.events.add_endpoints(key, new).await? {
            return Err(no_such_event().into()); // Its retention has ended just now, or it was erased.
        }
        for some in meant.chunks(REPLAYED_AT_ONCE) {
            // The records first. A message that arrives before its record is reset would be taken for a repetition.
            let begun = some.iter().map(|endpoint| DeliveryKey {
                event: key,
                endpoint,
                arrived_unix_ms,
                retention_days: event.retention_days,
            });
            try_join_all(begun.map(|delivery| self.deliveries.reset_for_replay(delivery, ReplayKind::Replay))).await?;
            let again = |endpoint| Message::of_delivery(endpoint, &event, arrived_unix_ms, Some(unix_ms_now()));
            self.deliveries_queue.send_all(some.iter().map(again)).await?;
        }
        tracing::info!(tenant.id = %key.tenant, event.id = %key.id, endpoints = meant.len(), "event.replayed");
        Ok(respond(202, JSON, answer))
    }

    /// Recovers an endpoint: sends all deliveries again that were given up since a given time.
    pub(crate) async fn recover(&self, asked: &ApiRequest<'_>) -> Answer {
        let endpoint = asked.endpoint()?;
        let since = settings::since(&asked.body(&[JSON])?).map_err(Problem::bad_request)?;
        if !self.endpoints.exists(&asked.tenant, &endpoint).await? {
            return Err(no_such_endpoint().into());
        }
        self.count(&asked.tenant, Quota::Recover).await?;
        asked.trail.result(None, json!({"since": rfc3339(since)})); // For a request that fails after it has recovered some.
        let (lane, started, began_unix_ms) = (Lane::Exhausted(endpoint), Instant::now(), unix_ms_now());
        let (mut recovered, mut is_all) = (HashSet::new(), false);
        while !is_all && started.elapsed() < RECOVERY {
            let page = self.parking.first_since(&lane, since, PAGE).await?;
            // Skips deliveries that are given up from now on, because this request has tried them and would repeat them
            // forever.
            let page: Vec<_> = page.into_iter().take_while(|parked| parked.at_unix_ms < began_unix_ms).collect();
            is_all = page.is_empty();
            self.recover_all(&asked.tenant, &page, &mut recovered).await?;
        }
        let recovered = recovered.len();
        asked.trail.result(None, json!({"since": rfc3339(since), "recovered": recovered, "more": !is_all}));
        tracing::info!(tenant.id = %asked.tenant, recovered, is_all, "endpoint.recovered");
        Ok(respond(202, JSON, json!({"recovered": recovered, "more": !is_all}).to_string()))
    }

    /// Restarts the deliveries that are still given up, each once, and removes the notes of all. Adds their events to
    /// `recovered`.
    async fn recover_all(
        &self,
        tenant: &TenantId,
        page: &[Parked],
        recovered: &mut HashSet<EventKey>,
    ) -> Result<(), AwsError> {
        let mut seen = recovered.clone();
        let is_due = |parked: &&Parked| parked.event.tenant == *tenant && seen.insert(parked.event.clone());
        let due: Vec<_> = page.iter().filter(is_due).collect();
        let read = due.into_iter().map(async |parked| {
            let Some(kept) = self.events.get(&parked.event).await? else { return Ok(None) };
            let (event, arrived_unix_ms) = (&parked.event, kept.arrived_unix_ms);
            let retention_days = kept.event.retention_days;
            let delivery = DeliveryKey { event, endpoint: &parked.endpoint, arrived_unix_ms, retention_days };
            let standing = self.deliveries.standing(delivery).await?;
            match standing.and_then(|standing| standing.progress).map(|progress| progress.status) {
                Some(DeliveryStatus::Exhausted) => {
                    self.deliveries.reset_for_replay(delivery, ReplayKind::Recover).await?;
                }
                Some(DeliveryStatus::Pending) => {} // A crash here left it so, maybe without its message.
                None | Some(DeliveryStatus::Delivered | DeliveryStatus::Erased) => return Ok(None), // Replayed meanwhile, or expired.
            }
            Ok::<_, AwsError>(Some((parked.event.clone(), Message::of_parked(parked, &kept))))
        });
        let (keys, messages): (Vec<_>, Vec<_>) = try_join_all(read).await?.into_iter().flatten().unzip();
        self.deliveries_queue.send_all(messages).await?;
        recovered.extend(keys);
        try_join_all(page.iter().map(|parked| self.parking.remove(parked))).await.map(drop)
    }

    /// Reads the history of the requested event. If several producers used its id, the parameter `source` must choose
    /// one.
    async fn history(&self, asked: &ApiRequest<'_>) -> Result<History, Refusal> {
        let id = asked.event()?;
        let (mut found, mut erased) = self.histories.of(&asked.tenant, &id).await?;
        if asked.integrator().is_some() {
            // Before anything is said about them: an integrator sees no event that none of their endpoints got.
            found.retain(|history| recipients(history).any(|endpoint| asked.may_see(endpoint)));
            erased.retain(|tombstone| tombstone.endpoints.iter().any(|endpoint| asked.may_see(endpoint)));
        }
        if let Some(source) = asked.parameter("source") {
            found.retain(|history| history.event.key.source == source);
            erased.retain(|tombstone| tombstone.source == source);
        }
        let last = found.pop();
        match (last, &*found) {
            (None, _) => Err(erased.first().map_or_else(no_such_event, was_erased).into()),
            (Some(history), []) => Ok(history),
            (Some(last), others) => {
                let sources = others.iter().chain([&last]).map(|history| &*history.event.key.source);
                let sources = sources.collect::<Vec<_>>().join("`, `");
                Err(Problem::conflict(format!("several events have this id; add `?source=` with one of `{sources}`"))
                    .into())
            }
        }
    }
}

/// Returns the endpoints that an event goes to again: `chosen`, or all that choose it now.
fn asked_again(
    asked: &ApiRequest<'_>,
    event: &Event,
    chosen: Option<&EndpointId>,
    of_tenant: Vec<(EndpointId, Option<Subscription>)>,
) -> Vec<EndpointId> {
    let (document, routing_facts) = (Document::of(event), event.routing_facts());
    let is_meant = |(id, subscription): &(EndpointId, Option<Subscription>)| match chosen {
        _ if !asked.may_see(id) => false,
        Some(chosen) => id == chosen,
        None => Subscription::is_for(&document, &routing_facts, id, subscription.as_ref()).is_chosen(),
    };
    of_tenant.into_iter().filter(is_meant).map(|(id, _)| id).collect()
}

/// Returns the endpoints that an event goes to. An endpoint may be there twice.
fn recipients(history: &History) -> impl Iterator<Item = &EndpointId> {
    history.endpoints.iter().chain(&history.also_to)
}

fn was_erased(tombstone: &Tombstone) -> Problem {
    Problem::gone(format!("the event was erased at {}; it cannot be shown or sent again", moment(tombstone.erased_at)))
}

pub(crate) fn no_such_event() -> Problem {
    Problem::not_found("the tenant has no such event, or not any more")
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownEvent<'a> {
    event: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<String>,
    fanned_out_at: String,
    deliveries: Vec<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownDelivery<'a> {
    endpoint: &'a str,
    status: &'static str,
    reason: Option<&'static str>,
    next_attempt_at: Option<String>,
    held: Option<ShownHold>,
    attempts: Vec<ShownAttempt<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownAttempt<'a> {
    number: u32,
    at: String,
    duration_ms: u64,
    status: Option<u16>,
    error: Option<&'a str>,
    cause: Option<&'a str>,
    response: Option<&'a str>,
    kids: &'a [String],
    sent: Option<ShownSent<'a>>,
    connection: Option<ShownConnection<'a>>,
    redirect: Option<&'a str>,
}

/// The request that an attempt sent. A header's value is null if it is not stored: credentials and signatures.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownSent<'a> {
    method: &'a str,
    url: &'a str,
    headers: BTreeMap<String, Option<String>>,
    body_sha256: String,
    body_bytes: u64,
}

#[derive(Serialize)]
struct ShownConnection<'a> {
    address: String,
    tls: Option<&'a str>,
}

/// The deliveries of one answer.
struct Page {
    deliveries: Vec<Box<RawValue>>,
    /// How many more bytes the answer may have.
    room: usize,
    is_full: bool,
}

impl Page {
    /// Adds a delivery, if it and all before it fit. The first one always fits.
    fn add(
        &mut self,
        event: &Event,
        id: &EndpointId,
        read: Option<&DeliveryHistory>,
        hold: Option<&Hold>,
    ) -> Result<(), Refusal> {
        let now = unix_ms_now();
        let shown = match read {
            Some(delivery) => shown_delivery(event, delivery, hold, now),
            None => ShownDelivery {
                endpoint: id.as_str(),
                status: DeliveryStatus::Pending.as_str(),
                reason: None,
                next_attempt_at: next_attempt(None, hold, now).map(rfc3339),
                held: hold.map(ShownHold::of),
                attempts: Vec::new(),
            },
        };
        let shown = serde_json::to_string(&shown).map_err(unreadable)?;
        let left = self.room.checked_sub(bytes_in_answer(&shown) + 1); // And a comma.
        self.is_full |= left.is_none() && !self.deliveries.is_empty();
        if !self.is_full {
            self.room = left.unwrap_or_default();
            self.deliveries.push(RawValue::from_string(shown).map_err(unreadable)?);
        }
        Ok(())
    }
}

pub(crate) fn unreadable(_: serde_json::Error) -> Refusal {
    Problem::unavailable("the event cannot be shown; look into the table").into() // It was parsed before.
}

fn shown_delivery<'a>(
    event: &Event,
    delivery: &'a DeliveryHistory,
    hold: Option<&Hold>,
    now_unix_ms: u64,
) -> ShownDelivery<'a> {
    let is_pending = delivery.progress.status == DeliveryStatus::Pending;
    let next = is_pending.then(|| next_attempt(Some(delivery.progress.next_attempt_unix_ms), hold, now_unix_ms));
    ShownDelivery {
        endpoint: delivery.endpoint.as_str(),
        status: delivery.progress.status.as_str(),
        reason: delivery.reason.map(DeadLetterReason::as_str),
        next_attempt_at: next.flatten().map(rfc3339),
        held: hold.map(ShownHold::of),
        attempts: shown_attempts(event, &delivery.attempts),
    }
}

/// Returns attempts with the request that each sent. A request is on record only if it differs from the one before. If
/// that attempt is not kept, the request is unknown.
fn shown_attempts<'a>(event: &Event, attempts: &'a [Attempt]) -> Vec<ShownAttempt<'a>> {
    let (mut last, mut before) = (None, 0);
    let shown = attempts.iter().map(|attempt| {
        last = last.filter(|_| attempt.number <= before + 1);
        before = attempt.number;
        let sent = match &attempt.sent {
            SentRecord::Nothing => None,
            SentRecord::Same => last,
            SentRecord::This(sent) => {
                last = Some(sent);
                last
            }
        };
        shown_attempt(event, attempt, sent)
    });
    shown.collect()
}

fn shown_sent<'a>(event: &Event, attempt: &Attempt, sent: &'a Sent) -> ShownSent<'a> {
    ShownSent {
        method: &sent.method,
        url: &sent.url,
        headers: sent.headers(event, attempt.number, attempt.at_unix_ms).into_iter().collect(),
        body_sha256: hexadecimal(sent.body_sha256),
        body_bytes: sent.body_bytes,
    }
}

fn shown_attempt<'a>(event: &Event, attempt: &'a Attempt, sent: Option<&'a Sent>) -> ShownAttempt<'a> {
    ShownAttempt {
        sent: sent.map(|sent| shown_sent(event, attempt, sent)),
        connection: attempt.connection.as_ref().map(|connection| ShownConnection {
            address: connection.address.to_string(),
            tls: connection.tls.as_deref(),
        }),
        redirect: attempt.redirect.as_deref(),
        number: attempt.number,
        at: rfc3339(attempt.at_unix_ms),
        duration_ms: attempt.duration_ms,
        status: attempt.status,
        error: attempt.error.as_deref(),
        cause: attempt.cause.as_deref(),
        response: attempt.response.as_deref(),
        kids: &attempt.kids,
    }
}
