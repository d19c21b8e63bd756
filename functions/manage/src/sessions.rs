//! The three routes for a session of the account-information session service. The tenant is in the query, so an IAM
//! policy cannot restrict them to one tenant.

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use http::header::{ETAG, IF_NONE_MATCH};
use serde::Serialize;
use signpost_core::event::TenantId;
use signpost_core::input::fault::{Fault, Faults};
use signpost_core::input::problem::Problem;
use signpost_core::status::session::{KIND, Session, stages};
use signpost_core::status::state::tag_of;
use signpost_io::runtime::api_gateway::{empty, lists_weakly, parameter, respond, with_header};
use signpost_io::tables::states::SubjectKey;

use crate::endpoints::JSON;
use crate::events::unreadable;
use crate::{Answer, App};

const CURRENT: &str = "GET /api/session/status";
const STAGE: &str = "GET /api/session/{stage}/status";
const DETAILS: &str = "GET /api/session/status/details";

/// How many payloads of a session are read at most, the newest ones.
const MAX_CALLBACKS: usize = 1_000;

/// Returns whether a route is one of the three.
pub(crate) fn is_asked(route: &str) -> bool {
    [CURRENT, STAGE, DETAILS].contains(&route)
}

impl App {
    /// Returns the current stage of a session, the status of one stage, or everything that is known about the session.
    pub(crate) async fn read_session(&self, request: &ApiGatewayV2httpRequest) -> Answer {
        let stage = request.path_parameters.get("stage");
        if stage.is_some_and(|stage| !stages().contains(&&**stage)) {
            return Err(Problem::not_found(format!("there is no such stage; there are {}", stages().join(", "))).into());
        }
        let (tenant, session_id) = session_of(request).map_err(Problem::bad_request)?;
        let subject = SubjectKey { tenant: &tenant, kind: KIND, name: &session_id };
        let callbacks = self.states.callbacks(subject, MAX_CALLBACKS).await?;
        let session = Session::of(&session_id, callbacks.iter().map(|(place, data)| (place, &**data)));
        let Some(session) = session else {
            return Err(Problem::not_found("the tenant has no such session, or not any more").into());
        };
        match stage {
            Some(stage) => match session.stage(stage) {
                Some(stage) => show(request, &stage),
                None => Err(Problem::not_found(format!("no event received for stage `{stage}`")).into()),
            },
            None if request.route_key.as_deref() == Some(DETAILS) => show(request, &session),
            None => show(request, &session.current()),
        }
    }
}

/// Reads the tenant and the session id.
fn session_of(request: &ApiGatewayV2httpRequest) -> Result<(TenantId, String), Vec<Fault>> {
    let mut faults = Faults::default();
    let tenant = parameter(request, "tenant");
    let parsed = tenant.as_deref().and_then(TenantId::parse);
    if parsed.is_none() {
        faults.push(match tenant {
            Some(tenant) => Fault::of_text("?tenant".into(), &tenant, TenantId::EXPECTED),
            None => Fault::nothing_at("?tenant", TenantId::EXPECTED),
        });
    }
    let id = parameter(request, "sessionId").filter(|id| !id.is_empty());
    if id.is_none() {
        faults.push(Fault::nothing_at("?sessionId", "the session's id"));
    }
    faults.none().and_then(|()| parsed.zip(id).ok_or_else(Vec::new)) // Without a fault, both exist.
}

/// Builds the answer, or 304 if the caller has it already.
fn show(request: &ApiGatewayV2httpRequest, what: &impl Serialize) -> Answer {
    let body = serde_json::to_string(what).map_err(unreadable)?;
    let tag = tag_of(&body);
    let has_it = lists_weakly(&request.headers, IF_NONE_MATCH, &tag);
    let answer = if has_it { empty(304) } else { respond(200, JSON, body) };
    Ok(with_header(answer, ETAG, &tag))
}
