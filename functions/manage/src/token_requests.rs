//! The routes for token requests: registering one, which returns the callback URL for the bank, and fetching its
//! result.

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use aws_lc_rs::rand;
use http::header::LOCATION;
use serde_json::{Value, json};
use signpost_core::event::TenantId;
use signpost_core::input::fault::Fault;
use signpost_core::input::problem::Problem;
use signpost_core::token_request::{CallbackToken, Registration, RequestId, TokenRequest};
use signpost_engine::ports::queue::Message;
use signpost_engine::ports::queue::Queue as _;
use signpost_io::runtime::api_gateway::{respond, with_header};
use signpost_io::runtime::clock::unix_now;
use uuid::Uuid;

use crate::api_request::ApiRequest;
use crate::endpoints::{JSON, moment};
use crate::{Answer, App, Refusal};

/// How often a registration that lost against another, or against a bank callback, is repeated.
const ROUNDS: usize = 5;

impl App {
    /// Registers a token request, for the first time or again. Only this answer has the callback URL. A caller that did
    /// not get the answer registers again, which makes the earlier URL invalid.
    pub(crate) async fn register(&self, asked: &ApiRequest<'_>) -> Answer {
        let body = asked.body(&[JSON])?;
        let registration = Registration::parse(&body, self.guard.rules()).map_err(Problem::bad_request)?;
        self.refuse_while_erased(asked).await?;
        let id = registration.id.clone().unwrap_or_else(made_up);
        let mut random = [0; 32];
        rand::fill(&mut random).map_err(|_| Problem::unavailable("no random numbers; send the same request again"))?;
        let state = CallbackToken::new(random);

        asked.trail.result(None, json!({ "requestId": id.as_str() }));
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
                    let text = format!("the token request has ended, `{outcome}`; register another one with a new id");
                    return Err(Problem::conflict(text).into());
                }
            }
            if self.token_requests.register(&request, before.as_ref(), self.retention).await? {
                return Ok(request);
            }
        }
        Err(Problem::conflict("others register the token request at the same time; send the same request again").into())
    }

    /// Returns the result of a token request. If several tenants have one with this id, the parameter `tenant` must
    /// choose one.
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
            return Err(Problem::conflict("several tenants have a token request with this id; add `?tenant=`").into());
        }
        self.ensure_event_queued(&last).await?;
        Ok(respond(200, JSON, shown(&last).to_string()))
    }

    /// Queues the event of a bank callback that was not acknowledged, because `relay` may have crashed after it stored
    /// the callback. If the event is queued already, `fanout` drops the repetition.
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

/// Generates an id for a request without one, in the form of Token.io's ids.
fn made_up() -> RequestId {
    let id = format!("rq:{}", Uuid::new_v4().simple());
    RequestId::parse(&id).unwrap_or_else(|| unreachable!("letters, digits and a colon"))
}

/// Returns a token request with the fields of the bank callback, named as Token.io names them. Other fields of the
/// callback are in a separate member, so that they cannot pass for members of the answer.
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
