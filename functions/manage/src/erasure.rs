//! The operators' routes that erase: one event, all events about a subject, or a tenant with all that it has.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use serde_json::{Value, json};
use signpost_core::delivery::LONGEST_ATTEMPT;
use signpost_core::event::{CALLBACKS_SOURCE, EventId, EventKey, is_source};
use signpost_core::input::fault::Fault;
use signpost_core::input::problem::Problem;
use signpost_core::quota::Quota;
use signpost_core::status::state::StateKey;
use signpost_core::tenant_erasure::{ErasureId, ErasureRequest, ErasureStage, NOT_ENDED, TenantErasure};
use signpost_core::token_request::RequestId;
use signpost_engine::endpoint_cache::REMEMBERED_FOR;
use signpost_engine::erasure::{Erased, Erasure};
use signpost_engine::ports::events::{EventTraces, Events as _};
use signpost_engine::ports::tenant_erasures::TenantErasures as _;
use signpost_io::ports::Aws;
use signpost_io::runtime::api_gateway::respond;
use signpost_io::runtime::clock::{rfc3339, unix_ms_now, unix_now};
use signpost_io::tables::endpoint_keys::KEYS_OUTLIVE_SECONDS;
use signpost_io::tables::states::SubjectKey;
use signpost_io::tables::{MESSAGES_KEPT, tombstone_kept};
use uuid::Uuid;

use crate::api_request::ApiRequest;
use crate::endpoints::{JSON, moment};
use crate::events::no_such_event;
use crate::{Answer, App, Refusal};

/// How long one request goes on to erase the events of a subject; within the function's 29 s.
const ERASING: Duration = Duration::from_secs(10);
/// How many events of a subject are erased at the same time. Each erases 16 deliveries at the same time.
const AT_ONCE: usize = 4;
/// How many states of a subject are counted at most.
const MOST_COUNTED: usize = 10_000;

impl App {
    /// Erases an event. With `source`, it also erases an event that has not arrived yet: its message is dropped.
    pub(crate) async fn erase_event(&self, asked: &ApiRequest<'_>) -> Answer {
        let is_dry_run = is_dry_run(asked)?;
        let key = self.meant(asked, asked.event()?).await?;
        self.refuse_while_erased(asked).await?;
        self.count(&asked.tenant, Quota::Erase).await?;
        let traces = self.events.traces(&key).await?;
        if is_dry_run {
            let found = traces.filter(|traces| traces.event.is_some());
            let deliveries = found.as_ref().map_or(0, |traces| traces.endpoints.len());
            let found = json!({"events": usize::from(found.is_some()), "deliveries": deliveries, "more": false});
            asked.trail.result(None, json!({"source": key.source, "dryRun": true}));
            return Ok(respond(200, JSON, found.to_string()));
        }
        asked.trail.result(None, json!({"source": key.source})); // For a request that fails after it has erased a part.
        let erased = self.erase(&key, traces.as_ref()).await?;
        asked.trail.result(None, json!({"source": key.source, "deliveries": erased.deliveries}));
        tracing::info!(tenant.id = %key.tenant, event.id = %key.id, deliveries = erased.deliveries, "event.erased");
        Ok(respond(202, JSON, self.report(erased, true).to_string()))
    }

    /// Erases the events about a subject that have arrived so far, for at most [`ERASING`].
    pub(crate) async fn erase_subject(&self, asked: &ApiRequest<'_>) -> Answer {
        let is_dry_run = is_dry_run(asked)?;
        let about = asked.subject()?;
        self.refuse_while_erased(asked).await?;
        self.refuse_ambiguous(asked, &about).await?;
        let subject = SubjectKey { tenant: &asked.tenant, kind: &about.kind, name: &about.name };
        self.count(&asked.tenant, Quota::Erase).await?;
        // Neither the subject nor its type is in the audit log, because they may name a person.
        if is_dry_run {
            let found = self.states.oldest(subject, MOST_COUNTED).await?.len();
            asked.trail.result(None, json!({"dryRun": true}));
            let found = json!({"events": found, "deliveries": null, "more": found == MOST_COUNTED});
            return Ok(respond(200, JSON, found.to_string()));
        }
        let (mut erased, mut is_all, began) = (Erased::default(), false, Instant::now());
        while !is_all && began.elapsed() < ERASING {
            let places = self.states.oldest(subject, AT_ONCE).await?;
            is_all = places.is_empty();
            let one = async |place: &StateKey| {
                let key =
                    EventKey { tenant: asked.tenant.clone(), source: place.source.clone(), id: place.event.clone() };
                let traces = self.events.traces(&key).await?;
                let erased = self.erase(&key, traces.as_ref()).await?;
                // Last, because it is how a repetition finds the event. An event that has expired does not name it.
                self.states.erase_state(subject, place).await?;
                Ok::<_, Refusal>(erased)
            };
            try_join_all(places.iter().map(one)).await?.into_iter().for_each(|one| erased.add(one));
            asked.trail.result(None, json!({"events": erased.events, "more": !is_all}));
        }
        tracing::info!(tenant.id = %asked.tenant, events = erased.events, is_all, "subject.erased");
        Ok(respond(202, JSON, self.report(erased, is_all).to_string()))
    }

    /// Begins to erase a tenant: from now on, nothing of it is sent. `sweep` removes the rest. Goes on with an erasure that
    /// runs.
    pub(crate) async fn erase_tenant(&self, asked: &ApiRequest<'_>) -> Answer {
        let tenant = &asked.tenant;
        let ErasureRequest { is_dry_run } =
            ErasureRequest::parse(&asked.body(&[JSON])?, tenant).map_err(Problem::bad_request)?;
        self.count(tenant, Quota::Erase).await?;
        if is_dry_run {
            let (endpoints, event_types) = self.subscriptions.counts(tenant).await?;
            asked.trail.result(None, json!({"dryRun": true}));
            // The others are in tables of all tenants. To count them is as much work as to erase them.
            let found = json!({"endpoints": endpoints, "eventTypes": event_types, "events": null, "deliveries": null});
            return Ok(respond(200, JSON, found.to_string()));
        }
        let now = unix_ms_now();
        let new = TenantErasure::new(tenant.clone(), ErasureId::new(now, Uuid::new_v4()), now);
        let mut erasure = self.erasures.create(&new).await?;
        asked.trail.result(None, json!({"id": erasure.id.as_str()}));
        if erasure.stage == ErasureStage::Endpoints {
            let step = self.erasures.step(&erasure).await?;
            let after = erasure.after_step(step.removed, step.cursor, unix_ms_now());
            erasure = if self.erasures.replace(&after).await? {
                after
            } else {
                self.erasures.get(tenant, &erasure.id).await?.unwrap_or(after) // `sweep` was faster.
            };
        }
        let endpoints = erasure.removed.endpoints;
        asked.trail.result(None, json!({"id": erasure.id.as_str(), "endpoints": endpoints}));
        tracing::info!(tenant.id = %tenant, erasure.id = %erasure.id, endpoints, "tenant.erasing");
        Ok(respond(202, JSON, self.shown_erasure(&erasure).to_string()))
    }

    pub(crate) async fn read_erasure(&self, asked: &ApiRequest<'_>) -> Answer {
        let erasure = self.erasures.get(&asked.tenant, &asked.erasure()?).await?.ok_or_else(no_such_erasure)?;
        Ok(respond(200, JSON, self.shown_erasure(&erasure).to_string()))
    }

    /// Refuses to add something to a tenant that is being erased: the erasure would miss it, or undo it. Everything else needs
    /// an endpoint, and none is left.
    pub(crate) async fn refuse_while_erased(&self, asked: &ApiRequest<'_>) -> Result<(), Refusal> {
        if self.subscriptions.erased_until(&asked.tenant).await? == NOT_ENDED {
            let detail = "the tenant is being erased; wait until its erasure is done, and send the request again";
            return Err(Problem::conflict(detail).into());
        }
        Ok(())
    }

    /// Says how far an erasure has come, what it has removed, and until when what is left may be somewhere.
    fn shown_erasure(&self, erasure: &TenantErasure) -> Value {
        let TenantErasure { id, stage, removed, created_unix_ms, stopped_unix_ms, changed_unix_ms, .. } = erasure;
        let after = |unix_ms: u64, wait: Duration| moment(unix_ms / 1_000 + wait.as_secs());
        let stopped = stopped_unix_ms.unwrap_or(*changed_unix_ms);
        let ended = erasure.is_done().then_some(*changed_unix_ms);
        let last = ended.unwrap_or_else(unix_ms_now);
        json!({
            "id": id.as_str(), "state": if erasure.is_done() { "done" } else { "running" }, "stage": stage.as_str(),
            "removed": removed,
            "createdAt": rfc3339(*created_unix_ms), "changedAt": rfc3339(*changed_unix_ms),
            "endedAt": ended.map(rfc3339),
            "lastAttemptEndsBy": after(stopped, REMEMBERED_FOR + LONGEST_ATTEMPT),
            "keysPublishedUntil": after(last, Duration::from_secs(KEYS_OUTLIVE_SECONDS)),
            "queuesEmptyBy": after(last, MESSAGES_KEPT),
            "auditLogGoneBy": after(last, self.audit_retention),
        })
    }

    /// Erases an event, and the token request whose bank callback it is.
    async fn erase(&self, key: &EventKey, traces: Option<&EventTraces>) -> Result<Erased, Refusal> {
        if key.source == CALLBACKS_SOURCE
            && let Some(event) = traces.and_then(|traces| traces.event.as_ref())
            && let Some(id) = event.subject.as_deref().and_then(RequestId::parse)
        {
            // First, because only the event names it.
            for request in self.token_requests.find(&id, Some(&key.tenant)).await? {
                if request.event_id() == key.id.as_str() {
                    self.token_requests.erase(&request).await?;
                }
            }
        }
        let erasure = Erasure::<Aws> { events: &self.events, deliveries: &self.deliveries, states: &self.states };
        Ok(erasure.event(key).await?)
    }

    /// Returns the event that a request means: that of `source`, or the only one with the id.
    async fn meant(&self, asked: &ApiRequest<'_>, id: EventId) -> Result<EventKey, Refusal> {
        let key = |source| EventKey { tenant: asked.tenant.clone(), source, id: id.clone() };
        if let Some(source) = asked.parameter("source") {
            // Otherwise a mistyped source would be answered as if its event were erased.
            return if is_source(&source) { Ok(key(source)) } else { Err(no_such_event().into()) };
        }
        let (found, erased) = self.histories.of(&asked.tenant, &id).await?;
        let sources = found.into_iter().map(|history| history.event.key.source);
        let sources: Vec<_> = sources.chain(erased.into_iter().map(|tombstone| tombstone.source)).collect();
        match &*sources {
            [] => Err(no_such_event().into()),
            [source] => Ok(key(source.clone())),
            several => {
                let several = several.join("`, `");
                let detail = format!("several events have this id; add `?source=` with one of `{several}`");
                Err(Problem::conflict(detail).into())
            }
        }
    }

    /// Says what was removed, and until when what is left may be somewhere.
    fn report(&self, erased: Erased, is_all: bool) -> Value {
        let now = unix_now();
        let until = |after: Duration| moment((now + after).as_secs());
        json!({
            "events": erased.events, "deliveries": erased.deliveries, "more": !is_all,
            "lastAttemptEndsBy": until(LONGEST_ATTEMPT),
            "queuesEmptyBy": until(LONGEST_ATTEMPT + MESSAGES_KEPT),
            "tombstonesGoneBy": until(tombstone_kept(self.retention)),
        })
    }
}

/// Returns the problem for an erasure that the tenant does not have.
pub(crate) fn no_such_erasure() -> Problem {
    Problem::not_found("the tenant has no such erasure, or not any more; the answer to the request named its id")
}

fn is_dry_run(asked: &ApiRequest<'_>) -> Result<bool, Problem> {
    match asked.parameter("dryRun").as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => {
            Err(Problem::bad_request(vec![Fault::of_text("?dryRun".into(), other, "`true` or `false`".to_owned())]))
        }
    }
}
