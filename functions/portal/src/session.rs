//! Sessions: a code becomes a token once, and each other request shows the token.

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use aws_lc_rs::rand;
use http::header::AUTHORIZATION;
use manage::{Answer, Refusal, audited, has_destinations, shown_rights, shown_scope};
use serde::Deserialize;
use serde_json::{Value, json};
use signpost_core::input::fault::{Fault, FaultCode};
use signpost_core::input::problem::Problem;
use signpost_core::portal::{Link, LinkState, PortalSecret, Session};
use signpost_io::runtime::api_gateway::{body_text, empty, media_type, respond};
use signpost_io::runtime::clock::{rfc3339, unix_now};

use crate::{App, JSON};

/// How many bytes the body with a code may have.
const MAX_BODY_BYTES: usize = 1_024;

/// The body of a request for a session.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Opening {
    code: String,
}

impl App {
    /// Opens the session of a link. A code is good once.
    pub(crate) async fn open_session(&self, request: &ApiGatewayV2httpRequest) -> Answer {
        let code = code_of(request)?.ok_or_else(not_good)?.hash();
        let link = self.links.of_code(&code).await?.ok_or_else(not_good)?;
        let now = unix_now().as_secs();
        let state = link.state(now);
        if state != LinkState::Unused {
            let state = state.as_str();
            tracing::warn!(tenant.id = %link.tenant, portal_link.id = %link.id, state, "portal.code_refused");
            return Err(not_good().into()); // Before the audit log, so that old links cannot fill it.
        }
        let mut random = [0; 32];
        rand::fill(&mut random).map_err(|_| Problem::unavailable("no random numbers; send the same request again"))?;
        let token = PortalSecret::new(random);
        let session = link.session(token.hash(), now);
        let opened = async {
            if !self.links.open(&link, &session).await? {
                return Err(not_good().into()); // Another request was faster, or an operator.
            }
            tracing::info!(tenant.id = %link.tenant, portal_link.id = %link.id, "portal.session_opened");
            let mut body = self.shown(&link, &session);
            body["token"] = token.reveal().into();
            Ok(respond(201, JSON, body.to_string()))
        };
        Box::pin(audited(&link, "POST /portal/session", request, &self.manage, opened)).await // Boxed: large.
    }

    /// Shows the session of a request.
    pub(crate) async fn read_session(&self, request: &ApiGatewayV2httpRequest) -> Answer {
        let (link, session) = self.session(request).await?;
        Ok(respond(200, JSON, self.shown(&link, &session).to_string()))
    }

    /// Ends the session of a request.
    pub(crate) async fn end_session(&self, request: &ApiGatewayV2httpRequest) -> Answer {
        let (link, session) = self.session(request).await?;
        let ended = async {
            self.links.end_session(&link, &session.token, unix_now().as_secs()).await?;
            tracing::info!(tenant.id = %link.tenant, portal_link.id = %link.id, "portal.session_ended");
            Ok(empty(204))
        };
        Box::pin(audited(&link, "DELETE /portal/session", request, &self.manage, ended)).await
    }

    /// Finds the open session whose token the request has.
    pub(crate) async fn session(&self, request: &ApiGatewayV2httpRequest) -> Result<(Link, Session), Refusal> {
        let token = token_of(request).ok_or_else(no_session)?.hash();
        let link = self.links.of_token(&token).await?.ok_or_else(no_session)?;
        let session = link.open_session(&token, unix_now().as_secs()).cloned().ok_or_else(no_session)?;
        Ok((link, session))
    }

    fn shown(&self, link: &Link, session: &Session) -> Value {
        json!({
            "link": link.id.as_str(), "tenant": link.tenant.as_str(), "name": link.name, "can": shown_rights(link),
            "endpoints": shown_scope(&link.scope), "expiresAt": rfc3339(session.expires_at.saturating_mul(1_000)),
            "destinations": has_destinations(&self.manage), "frameAncestors": self.frame_ancestors,
        })
    }
}

/// Reads the code of a request; `None` if it cannot be one. Faults do not quote the body, which may have a code.
fn code_of(request: &ApiGatewayV2httpRequest) -> Result<Option<PortalSecret>, Problem> {
    let found = media_type(&request.headers);
    if found != JSON {
        return Err(Problem::unsupported_media_type(format!("content-type is `{found}`; expected {JSON}")));
    }
    let text = body_text(request)?;
    if text.len() > MAX_BODY_BYTES {
        let fault = Fault::too_large(format!("{} bytes", text.len()), format!("at most {MAX_BODY_BYTES} bytes"));
        return Err(Problem::content_too_large(vec![fault]));
    }
    let Ok(Opening { code }) = serde_json::from_str(&text) else {
        let fault = Fault::hidden("", "a JSON object with the text `code` and nothing else");
        return Err(Problem::bad_request(vec![fault.code(FaultCode::WrongType)]));
    };
    Ok(PortalSecret::parse(&code))
}

/// Reads the token of a request. Several headers `Authorization` are none, because it is not clear which of them counts.
fn token_of(request: &ApiGatewayV2httpRequest) -> Option<PortalSecret> {
    let mut values = request.headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() { None } else { PortalSecret::of_authorization(value) }
}

/// Returns the problem for a code that is unknown, used, late or ended. It does not say which.
fn not_good() -> Problem {
    Problem::unauthorized("the link is not good any more; ask for a new one where you got it")
}

fn no_session() -> Problem {
    Problem::unauthorized("there is no such session, or not any more; open it with a new link")
}
