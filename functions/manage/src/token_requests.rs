//! What producers and operators do with token requests: register one, which gives the callback URL for the bank, and fetch
//! what came of it.

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use aws_lc_rs::rand;
use http::header::LOCATION;
use serde_json::{Value, json};
use signpost_core::event::TenantId;
use signpost_core::input::fault::Fault;
use signpost_core::input::problem::Problem;
use signpost_core::token_request::{CallbackToken, Registration, RequestId, TokenRequest};
use signpost_io::queue::Message;
use signpost_io::runtime::api_gateway::{respond, with_header};
use signpost_io::runtime::clock::unix_now;
use uuid::Uuid;

use crate::api_request::ApiRequest;
use crate::endpoints::{JSON, moment};
use crate::{Answer, App, Refusal};

/// How often a registration that lost against another, or against a callback, is made anew on what the other left.
const ROUNDS: usize = 5;

impl App {
    /// Registers a token request, for the first time or again. Its callback URL is in this answer and nowhere else, so whoever
    /// did not get the answer registers again: the URL before is void then.
    pub(crate) async fn register(&self, asked: &ApiRequest<'_>) -> Answer {
        let body = asked.body(&[JSON])?;
        let registration = Registration::parse(&body, self.guard.rules()).map_err(Problem::bad_request)?;
        let id = registration.id.clone().unwrap_or_else(made_up);
        let mut random = [0; 32];
        rand::fill(&mut random).map_err(|_| Problem::unavailable("no random numbers; send the same request again"))?;
        let state = CallbackToken::new(random);

        let request = self.registered(&asked.tenant, id, registration, &state).await?;
        tracing::info!(tenant.id = %request.tenant, token_request.id = %request.id, "token_request.registered");
        let body = json!({
            "requestId": request.id.as_str(), "tenant": request.tenant.as_str(), "redirectUrl": request.redirect_url,
            "callbackUrl": state.callback_url(&self.public_base(asked)), "expiresAt": moment(request.expires_at),
        });
        let location = format!("/token-requests/{}/result?tenant={}", request.id, request.tenant);
        Ok(with_header(respond(201, JSON, body.to_string()), LOCATION, &location))
    }

    async fn registered(
        &self,
        tenant: &TenantId,
        id: RequestId,
        registration: Registration,
        state: &CallbackToken,
    ) -> Result<TokenRequest, Refusal> {
        let now = unix_now().as_secs();
        let request = TokenRequest {
            tenant: tenant.clone(),
            id,
            redirect_url: registration.redirect_url,
            registered_at: now,
            expires_at: now + registration.lifetime.as_secs(),
            state: state.hash(),
            called: None,
        };
        for _ in 0..ROUNDS {
            let before = self.token_requests.find(&request.id, Some(tenant)).await?.pop();
            if before.as_ref().is_some_and(|before| before.state == request.state) {
                return Ok(request); // The answer to the write got lost.
            }
            if let Some(before) = &before {
                self.ensure_event_queued(before).await?;
                let outcome = before.outcome(now);
                if outcome.is_final() {
                    let outcome = outcome.as_str();
                    let text =
                        format!("the token request has ended, `{outcome}`; register another, by an id of its own");
                    return Err(Problem::conflict(text).into());
                }
            }
            if self.token_requests.register(&request, before.as_ref(), self.retention).await? {
                return Ok(request);
            }
        }
        Err(Problem::conflict("the token request is being registered by others; send the same request again").into())
    }

    /// Tells what came of a token request. Where several tenants have one of this id, `tenant` has to say whose.
    pub(crate) async fn result(&self, request: &ApiGatewayV2httpRequest) -> Answer {
        let id = request.path_parameters.get("tokenRequestId").and_then(|id| RequestId::parse(id));
        let none = || Problem::not_found("there is no such token request, or not any more");
        let id = id.ok_or_else(none)?;
        let tenant = request.query_string_parameters.first("tenant");
        let named = tenant.map(TenantId::parse);
        if named == Some(None) {
            let fault = Fault::of_text("?tenant".into(), tenant.unwrap_or_default(), TenantId::EXPECTED);
            return Err(Problem::bad_request(vec![fault]).into());
        }
        let mut found = self.token_requests.find(&id, named.flatten().as_ref()).await?;
        let last = found.pop().ok_or_else(none)?;
        if !found.is_empty() {
            return Err(Problem::conflict("several tenants have a token request of this id; add `?tenant=`").into());
        }
        self.ensure_event_queued(&last).await?;
        Ok(respond(200, JSON, shown(&last).to_string()))
    }

    /// Queues the event of a callback that nobody was told of: who heard it may have died before. If it is queued already, this
    /// is a repetition, and dropped.
    async fn ensure_event_queued(&self, request: &TokenRequest) -> Result<(), Refusal> {
        let Some(called) = request.called.as_ref().filter(|called| called.acknowledged_by.is_none()) else {
            return Ok(());
        };
        let event = request.event(called).map_err(|_| {
            tracing::error!(token_request.id = %request.id, "token_request.unreadable");
            Problem::unavailable("the token request cannot be read; look into the table")
        })?;
        Ok(self.own_events_queue.send_all([Message::of_event(&event)]).await?)
    }
}

/// An id for those who have none, in the page's fashion.
fn made_up() -> RequestId {
    let id = format!("rq:{}", Uuid::new_v4().simple());
    RequestId::parse(&id).unwrap_or_else(|| unreachable!("letters, digits and a colon"))
}

/// A token request as Token.io calls back, and more: the fields that the bank gave, if it has called back. Its other fields
/// are in a member of their own, or they could pass for members of the answer.
fn shown(request: &TokenRequest) -> Value {
    let (id, called) = (request.id.as_str(), request.called.as_ref());
    let read = |object: String| serde_json::from_str(&object).ok();
    let said = called.and_then(|called| read(called.own_fields()));
    let mut shown: Value = said.unwrap_or_else(|| json!({"request-id": id, "request_id": id}));
    shown["otherFields"] = called.and_then(|called| read(called.other_fields())).unwrap_or_else(|| json!({}));
    shown["tenant"] = request.tenant.as_str().into();
    shown["status"] = request.outcome(unix_now().as_secs()).as_str().into();
    shown["registeredAt"] = moment(request.registered_at).into();
    shown["expiresAt"] = moment(request.expires_at).into();
    shown["calledAt"] = called.map(|called| moment(called.at)).into();
    shown["event"] = called.map(|_| request.event_id()).into();
    shown
}
