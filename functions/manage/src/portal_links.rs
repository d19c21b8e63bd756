//! The operators' routes for links to the integrators' page ([`signpost_core::portal`]).

use aws_lc_rs::rand;
use serde_json::{Value, json};
use signpost_core::endpoint::EndpointId;
use signpost_core::input::fault::{Fault, Faults};
use signpost_core::input::problem::Problem;
use signpost_core::portal::{Capability, Link, LinkId, LinkRequest, PortalSecret, Scope, SessionState};
use signpost_engine::ports::subscriptions::Subscriptions as _;
use signpost_io::runtime::api_gateway::{empty, respond};
use signpost_io::runtime::clock::{unix_ms_now, unix_now};
use uuid::Uuid;

use crate::api_request::ApiRequest;
use crate::endpoints::{JSON, moment};
use crate::{Answer, App, Refusal};

/// How many links a page of the list may have.
const MAX_PAGE: i32 = 100;

impl App {
    /// Makes a link. Only this answer has its code.
    pub(crate) async fn create_link(&self, asked: &ApiRequest<'_>) -> Answer {
        let body = asked.optional_body(&[JSON])?.unwrap_or_else(|| "{}".into());
        let request = LinkRequest::parse(&body).map_err(Problem::bad_request)?;
        self.refuse_while_erased(asked).await?;
        self.check_scope(asked, &request.scope).await?;
        let mut random = [0; 32];
        rand::fill(&mut random).map_err(|_| Problem::unavailable("no random numbers; send the same request again"))?;
        let code = PortalSecret::new(random);
        let (id, now) = (LinkId::new(unix_ms_now(), Uuid::new_v4()), unix_now().as_secs());
        let link = Link::new(asked.tenant.clone(), id, request, code.hash(), now);
        asked.trail.result(None, shown(&link, now));
        self.portal_links.add(&link).await?;
        tracing::info!(tenant.id = %link.tenant, portal_link.id = %link.id, "portal_link.created");
        let url = code.page_url(&self.portal_base(asked));
        let body = json!({"id": link.id.as_str(), "url": url, "expiresAt": moment(link.code_expires_at)});
        Ok(respond(201, JSON, body.to_string()))
    }

    /// Refuses a link for endpoints that the tenant does not have: the operator mistyped them.
    async fn check_scope(&self, asked: &ApiRequest<'_>, scope: &Scope) -> Result<(), Refusal> {
        let Scope::Only(named) = scope else { return Ok(()) };
        let known = self.subscriptions.of_tenant(&asked.tenant).await?;
        let mut faults = Faults::default();
        for id in named.iter().filter(|id| !known.iter().any(|(known, _)| known == *id)) {
            faults.push(Fault::of_text("/endpoints".into(), id.as_str(), "ids of the tenant's endpoints"));
        }
        Ok(faults.none().map_err(Problem::bad_request)?)
    }

    /// Lists links with their sessions, newest first, without codes and tokens.
    pub(crate) async fn list_links(&self, asked: &ApiRequest<'_>) -> Answer {
        let (limit, cursor) = (asked.limit(MAX_PAGE), asked.parameter("cursor"));
        let after = cursor.as_deref().map(LinkId::parse);
        let mut faults = Vec::from_iter(limit.as_ref().err().cloned());
        if after == Some(None) {
            let found = cursor.as_deref().unwrap_or_default();
            faults.push(Fault::of_text("?cursor".into(), found, "the `cursor` of the page before"));
        }
        let Some(limit) = limit.ok().filter(|_| faults.is_empty()) else {
            return Err(Problem::bad_request(faults).into());
        };
        let (links, next) = self.portal_links.page(&asked.tenant, after.flatten().as_ref(), limit).await?;
        let now = unix_now().as_secs();
        let mut body = json!({ "links": links.iter().map(|link| shown(link, now)).collect::<Vec<_>>() });
        if let Some(next) = next {
            body["cursor"] = next.as_str().into();
        }
        Ok(respond(200, JSON, body.to_string()))
    }

    /// Ends a link and its session. The session's next request is refused.
    pub(crate) async fn end_link(&self, asked: &ApiRequest<'_>) -> Answer {
        let id = asked.link()?;
        asked.trail.result(None, json!({ "id": id.as_str() }));
        if !self.portal_links.end(&asked.tenant, &id, unix_now().as_secs()).await? {
            return Err(no_such_link().into());
        }
        tracing::info!(tenant.id = %asked.tenant, portal_link.id = %id, "portal_link.ended");
        Ok(empty(204))
    }

    /// Ends all links of the tenant and their sessions.
    pub(crate) async fn end_all_links(&self, asked: &ApiRequest<'_>) -> Answer {
        let ended = self.portal_links.end_all(&asked.tenant, unix_now().as_secs()).await?;
        asked.trail.result(None, json!({ "ended": ended }));
        tracing::info!(tenant.id = %asked.tenant, portal_links = ended, "portal_links.ended");
        Ok(empty(204))
    }
}

/// Returns the problem for a link that the tenant does not have.
pub(crate) fn no_such_link() -> Problem {
    Problem::not_found("the tenant has no such link, or not any more; list them to see which there are")
}

/// Returns a link in the form of answers and of the audit log.
fn shown(link: &Link, now: u64) -> Value {
    let session = link.session.as_ref().zip(link.session_state(now)).map(|(session, state)| {
        json!({
            "startedAt": moment(session.started_at), "expiresAt": moment(session.expires_at),
            "state": SessionState::as_str(state),
        })
    });
    json!({
        "id": link.id.as_str(), "name": link.name, "endpoints": shown_scope(&link.scope), "can": shown_rights(link),
        "createdAt": moment(link.created_at), "expiresAt": moment(link.code_expires_at),
        "state": link.state(now).as_str(), "session": session,
    })
}

/// Returns the endpoints of a link in the form of requests.
#[must_use]
pub fn shown_scope(scope: &Scope) -> Value {
    match scope {
        Scope::All => "*".into(),
        Scope::Only(endpoints) => endpoints.iter().map(EndpointId::as_str).collect(),
    }
}

/// Returns the capabilities of a link in the form of requests.
#[must_use]
pub fn shown_rights(link: &Link) -> Value {
    link.can.iter().copied().map(Capability::as_str).collect()
}
