//! The audit log: every request that may change something has an entry, which the router writes and no handler can
//! forget. Handlers only add what they changed.

use std::sync::{Mutex, PoisonError};

use aws_lambda_events::apigw::ApiGatewayV2httpResponse;
use serde_json::{Value, json};
use signpost_core::audit::{Actor, AuditQuery, Change, Entry, EntryId, Outcome};
use signpost_core::delivery::verification::state;
use signpost_core::endpoint::{DisabledBecause, EndpointId, settings};
use signpost_core::event::catalogue::TypeName;
use signpost_core::input::problem::Problem;
use signpost_engine::ports::endpoints::StoredEndpoint;
use signpost_io::runtime::api_gateway::respond;
use signpost_io::runtime::clock::{rfc3339, unix_ms_now};
use signpost_io::runtime::logs::Chain;
use uuid::Uuid;

use crate::api_request::ApiRequest;
use crate::endpoints::JSON;
use crate::{Answer, App, Refusal};

/// How many entries a page has by default, and at most.
const MAX_PAGE: i32 = 100;
/// How often the outcome is written in all, before the request is answered as failed.
const TRIES: usize = 3;

/// The changes of a request so far.
#[derive(Debug, Default)]
pub(crate) struct Trail(Mutex<Changed>);

#[derive(Clone, Debug, Default)]
struct Changed {
    endpoint: Option<EndpointId>,
    change: Change,
}

impl Trail {
    /// Notes that an endpoint was changed, created (no `before`) or removed (no `after`).
    pub(crate) fn endpoint(&self, id: &EndpointId, before: Option<&StoredEndpoint>, after: Option<&StoredEndpoint>) {
        let [was, is] = [before, after].map(|stored| stored.map_or(Value::Null, shown));
        let mut change = Change::between(was, is);
        let auth = |stored: Option<&StoredEndpoint>| stored.and_then(|stored| stored.auth_secret.clone());
        let signing = |stored: Option<&StoredEndpoint>| stored.map(|stored| stored.signing_secrets.clone());
        if auth(before) != auth(after) {
            change.secrets.insert("auth");
        }
        if signing(before) != signing(after) {
            change.secrets.insert("signing");
        }
        self.note(Changed { endpoint: Some(id.clone()), change });
    }

    /// Notes the result of a request that changes no settings, and the endpoint in question if its path does not name it.
    /// `after` has no secret.
    pub(crate) fn result(&self, endpoint: Option<&EndpointId>, after: Value) {
        self.note(Changed { endpoint: endpoint.cloned(), change: Change::between(Value::Null, after) });
    }

    /// Notes that an event type was changed, registered (`before` is null) or removed (`after` is null).
    pub(crate) fn event_type(&self, name: &TypeName, before: Value, after: Value) {
        let mut change = Change::between(before, after);
        for state in [&mut change.before, &mut change.after] {
            if let Value::Object(members) = state {
                members.insert("type".into(), name.as_str().into());
            }
        }
        self.note(Changed { endpoint: None, change });
    }

    fn note(&self, changed: Changed) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = changed;
    }

    fn noted(&self) -> Changed {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Returns an endpoint without secrets, in the form of the audit log.
fn shown(stored: &StoredEndpoint) -> Value {
    let mut shown = settings::shown(&stored.settings, stored.trusted.as_deref());
    shown["state"] = state(stored.disabled).into();
    shown["disabledBecause"] = stored.disabled.map(DisabledBecause::as_str).into();
    let keys = stored.signing_secrets.iter().map(|keys| keys.secret.public_key.to_string());
    shown["signingPublicKeys"] = keys.collect::<Vec<_>>().into();
    shown
}

impl App {
    /// Handles a request that may change something, between the two items of its entry. Without the first one, nothing is
    /// changed; without the second one, the request is not answered as done.
    pub(crate) async fn audited(
        &self,
        route: &str,
        asked: &ApiRequest<'_>,
        handled: impl Future<Output = Answer>,
    ) -> Answer {
        let context = &asked.request().request_context;
        let intended = Entry {
            id: EntryId::new(unix_ms_now(), Uuid::new_v4()),
            actor: actor(asked),
            action: route.to_owned(),
            endpoint: asked.named_endpoint(),
            event: asked.event().ok().map(|event| event.to_string()),
            request_id: context.request_id.clone().unwrap_or_default(),
            status: None,
            change: Change::default(),
        };
        self.audit_log.write(&asked.tenant, &intended).await?;
        let answer = handled.await;
        let Changed { endpoint, change } = asked.trail.noted();
        let status = Some(status_of(&answer));
        let change = if Outcome::of_status(status) == Outcome::Refused { Change::default() } else { change };
        let ended = Entry { status, endpoint: endpoint.or_else(|| intended.endpoint.clone()), change, ..intended };
        let Err(error) = self.write_outcome(asked, &ended).await else { return answer };
        tracing::error!(tenant.id = %asked.tenant, http.route = route, error = %Chain(&error), "audit.not_completed");
        match Outcome::of_status(ended.status) {
            Outcome::Done => Err(Problem::unavailable(
                "the change is made, but the audit log does not say so; read what it is now before you repeat the request",
            )
            .into()),
            Outcome::Failed | Outcome::Refused | Outcome::Unknown => answer,
        }
    }

    /// Writes the outcome of a request, several times if need be: its change is made.
    async fn write_outcome(&self, asked: &ApiRequest<'_>, ended: &Entry) -> Result<(), signpost_io::aws::AwsError> {
        let mut tries = 1;
        loop {
            match self.audit_log.write(&asked.tenant, ended).await {
                Err(_) if tries < TRIES => tries += 1,
                written => return written,
            }
        }
    }

    /// Lists who changed what, newest first.
    pub(crate) async fn list_audit(&self, asked: &ApiRequest<'_>) -> Answer {
        let [since, endpoint, cursor] = ["since", "endpoint", "cursor"].map(|name| asked.parameter(name));
        let query = AuditQuery::parse(since.as_deref(), endpoint.as_deref(), cursor.as_deref());
        let limit = asked.limit(MAX_PAGE);
        let (query, limit) = match (query, limit) {
            (Ok(query), Ok(limit)) => (query, usize::try_from(limit).unwrap_or_default()),
            (query, limit) => {
                let faults = [limit.err().map(|fault| vec![fault]), query.err()];
                return Err(Problem::bad_request(faults.into_iter().flatten().flatten().collect()).into());
            }
        };
        let (entries, next) = self.audit_log.page(&asked.tenant, &query, limit).await?;
        let mut body = json!({ "entries": entries.iter().map(shown_entry).collect::<Vec<_>>() });
        if let Some(next) = next {
            body["cursor"] = next.as_str().into();
        }
        Ok(respond(200, JSON, body.to_string()))
    }
}

/// Returns the caller of a request: a link of the integrators' page, or an operator whom API Gateway has authorized.
fn actor(asked: &ApiRequest<'_>) -> Actor {
    if let Some(link) = asked.integrator() {
        return Actor::Link { id: link.id.to_string() };
    }
    let iam = asked.request().request_context.authorizer.as_ref().and_then(|authorizer| authorizer.iam.as_ref());
    let principal = iam.and_then(|iam| iam.user_arn.clone()).unwrap_or_else(|| "unknown".into());
    Actor::Iam { principal }
}

fn status_of(answer: &Result<ApiGatewayV2httpResponse, Refusal>) -> u16 {
    match answer {
        Ok(response) => response.status_code.try_into().unwrap_or(500),
        Err(Refusal::Problem(problem)) => problem.status,
        Err(Refusal::Aws(_)) => 503,
    }
}

fn shown_entry(entry: &Entry) -> Value {
    let Entry { id, actor, action, endpoint, event, request_id, status, change } = entry;
    json!({
        "id": id.as_str(), "at": rfc3339(id.unix_ms()), "actor": actor.shown(), "action": action,
        "endpoint": endpoint.as_ref().map(EndpointId::as_str), "event": event, "requestId": request_id,
        "outcome": Outcome::of_status(*status).as_str(), "status": status,
        "before": change.before, "after": change.after, "changedSecrets": change.secrets,
    })
}
