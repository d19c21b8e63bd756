//! The HTTP API for operators and pollers. It manages a tenant's endpoints, shows events and deliveries and sends them
//! again, reports the status of subjects, and registers token requests and returns their results.

mod api_request;
mod audit;
mod config;
mod deliveries;
mod endpoints;
mod erasure;
mod event_types;
mod events;
mod filters;
mod holds;
mod notices;
mod portal_links;
mod replays;
mod sessions;
mod status;
mod token_requests;
mod update;

use std::time::Duration;

use aws_config::SdkConfig;
use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use http::header::CACHE_CONTROL;
use signpost_core::audit::is_change;
use signpost_core::endpoint::Verification;
use signpost_core::endpoint::destination::RolePatterns;
use signpost_core::event::TenantId;
use signpost_core::input::fault::FaultCode;
use signpost_core::input::problem::Problem;
use signpost_core::portal::Link;
use signpost_core::quota::{Quota, seconds_to_next_minute};
use signpost_io::aws::AwsError;
use signpost_io::http::guarded_client::Guard;
use signpost_io::mac::MacKey;
use signpost_io::queue::Queue;
use signpost_io::runtime::api_gateway::{check_parameters, refuse, unavailable, with_header};
use signpost_io::runtime::clock::unix_now;
use signpost_io::runtime::logs::Chain;
use signpost_io::tables::audit::AuditLog;
use signpost_io::tables::breakers::Breakers;
use signpost_io::tables::deliveries::Deliveries;
use signpost_io::tables::delivery_list::Listing;
use signpost_io::tables::endpoint_keys::EndpointKeyTable;
use signpost_io::tables::endpoints::Endpoints;
use signpost_io::tables::event_history::Histories;
use signpost_io::tables::event_types::EventTypes;
use signpost_io::tables::events::Events;
use signpost_io::tables::parking::Parking;
use signpost_io::tables::portal_links::PortalLinks;
use signpost_io::tables::quotas::Quotas;
use signpost_io::tables::replays::Replays;
use signpost_io::tables::sealing_keys::SealingKeys;
use signpost_io::tables::signing_keys::WrappingKey;
use signpost_io::tables::states::States;
use signpost_io::tables::subscriptions::Subscriptions;
use signpost_io::tables::tenant_erasures::{ErasedTables, TenantErasures};
use signpost_io::tables::token_requests::TokenRequests;
use signpost_io::vault::Sealer;

use api_request::ApiRequest;
pub use config::Config;
pub use portal_links::{shown_rights, shown_scope};

/// The clients and settings of the function.
#[derive(Debug)]
pub struct App {
    audit_log: AuditLog,
    audit_retention: Duration,
    breakers: Breakers,
    deliver_role_arn: String,
    deliveries: Deliveries,
    destination_roles: RolePatterns,
    endpoint_keys: EndpointKeyTable,
    endpoints: Endpoints,
    event_types: EventTypes,
    endpoint_verification: Verification,
    erasures: TenantErasures,
    own_events_queue: Queue,
    events: Events,
    guard: Guard,
    histories: Histories,
    listing: Listing,
    mac: MacKey,
    parking: Parking,
    keys_url: Option<String>,
    portal_links: PortalLinks,
    portal_url: Option<String>,
    public_url: Option<String>,
    deliveries_queue: Queue,
    quotas: Quotas,
    replays: Replays,
    retention: Duration,
    sealer: Sealer,
    states: States,
    subscriptions: Subscriptions,
    token_requests: TokenRequests,
}

impl App {
    /// Creates the clients. This needs no network.
    #[must_use]
    pub fn new(aws: &SdkConfig, config: Config) -> Self {
        let (dynamodb, sqs) = (aws_sdk_dynamodb::Client::new(aws), aws_sdk_sqs::Client::new(aws));
        let kms = aws_sdk_kms::Client::new(aws);
        let mac = MacKey::new(kms.clone(), config.mac_key);
        let erased = ErasedTables {
            endpoint_keys: config.endpoint_keys_table.clone(),
            endpoints: config.endpoints_table.clone(),
            events: config.events_table.clone(),
            parking: config.parking_table.clone(),
            portal: config.portal_table.clone(),
            token_requests: config.token_requests_table.clone(),
        };
        Self {
            audit_log: AuditLog::new(dynamodb.clone(), config.audit_table, config.audit_retention),
            audit_retention: config.audit_retention,
            breakers: Breakers::new(dynamodb.clone(), config.parking_table.clone()),
            deliver_role_arn: config.deliver_role_arn,
            deliveries: Deliveries::new(dynamodb.clone(), config.events_table.clone(), config.retention),
            destination_roles: config.destination_roles,
            endpoint_keys: EndpointKeyTable::new(dynamodb.clone(), config.endpoint_keys_table.clone(), mac.clone()),
            endpoints: Endpoints::new(dynamodb.clone(), config.endpoints_table.clone()),
            event_types: EventTypes::new(dynamodb.clone(), config.endpoints_table.clone()),
            endpoint_verification: config.endpoint_verification,
            erasures: TenantErasures::new(dynamodb.clone(), erased),
            own_events_queue: Queue::new(sqs.clone(), config.own_events_queue_url),
            events: Events::new(dynamodb.clone(), config.events_table.clone(), config.retention),
            guard: Guard::new(config.target_rules),
            histories: Histories::new(dynamodb.clone(), config.events_table.clone()),
            listing: Listing::new(dynamodb.clone(), config.events_table.clone()),
            deliveries_queue: Queue::new(sqs, config.deliveries_queue_url),
            states: States::new(dynamodb.clone(), config.events_table, config.retention),
            parking: Parking::new(dynamodb.clone(), config.parking_table.clone(), config.retention),
            quotas: Quotas::new(dynamodb.clone(), config.parking_table.clone()),
            replays: Replays::new(dynamodb.clone(), config.parking_table),
            keys_url: config.keys_url,
            portal_links: PortalLinks::new(dynamodb.clone(), config.portal_table),
            portal_url: config.portal_url,
            public_url: config.public_url,
            retention: config.retention,
            mac: mac.clone(),
            sealer: Sealer::new(
                SealingKeys::new(dynamodb.clone(), config.endpoint_keys_table),
                WrappingKey::new(kms, config.wrapping_key),
                mac,
            ),
            subscriptions: Subscriptions::new(dynamodb.clone(), config.endpoints_table),
            token_requests: TokenRequests::new(dynamodb, config.token_requests_table),
        }
    }
}

impl App {
    /// Returns the start of public URLs: those of bank callbacks and of keys.
    fn public_base(&self, asked: &ApiRequest<'_>) -> String {
        self.public_url.clone().unwrap_or_else(|| asked.base_url())
    }

    /// Returns the start of links to the integrators' page.
    fn portal_base(&self, asked: &ApiRequest<'_>) -> String {
        self.portal_url.clone().unwrap_or_else(|| self.public_base(asked))
    }

    /// Counts a request of the tenant, and refuses it if the quota is used up.
    async fn count(&self, tenant: &TenantId, quota: Quota) -> Result<(), Refusal> {
        let now = unix_now().as_secs();
        if self.quotas.count(tenant, quota, now).await? {
            return Ok(());
        }
        let (kind, most, wait) = (quota.as_str(), quota.per_minute(), seconds_to_next_minute(now));
        tracing::warn!(tenant.id = %tenant, quota = kind, "quota.used_up");
        let detail = format!("the tenant has made {most} requests to {kind} in this minute, which is its quota; wait");
        Err(Problem::too_many_requests(format!("{detail} {wait} seconds and send the request again"), wait).into())
    }

    /// Returns the URL where the tenant's integrators fetch the key set.
    fn jwks_url(&self, asked: &ApiRequest<'_>) -> String {
        let base = self.keys_url.clone().unwrap_or_else(|| self.public_base(asked));
        format!("{base}/tenants/{}/.well-known/jwks.json", asked.tenant)
    }
}

/// Answers one request, by its route. API Gateway and IAM have authorized the caller before.
pub async fn handle(request: ApiGatewayV2httpRequest, app: &App) -> ApiGatewayV2httpResponse {
    let route = request.route_key.as_deref().unwrap_or_default();
    let answer = match check_parameters(&request, parameters_of(route)).and_then(|()| ApiRequest::of(&request)) {
        Err(problem) if problem.errors.iter().any(|fault| fault.code == FaultCode::UnknownParameter) => {
            Err(problem.into())
        }
        _ if sessions::is_asked(route) => app.read_session(&request).await,
        _ if route == "GET /token-requests/{tokenRequestId}/result" => app.result(&request).await,
        Ok(asked) => app.answer_to(route, &asked).await,
        Err(problem) => Err(problem.into()),
    };
    match answer {
        Ok(response) => {
            tracing::info!(http.route = route, http.status = response.status_code, "manage.answered");
            with_header(response, CACHE_CONTROL, "no-store")
        }
        Err(Refusal::Problem(problem)) => {
            let faults = problem.errors.len();
            tracing::info!(http.route = route, http.status = problem.status, faults, "manage.refused");
            refuse(&problem)
        }
        Err(Refusal::Aws(error)) => {
            tracing::error!(http.route = route, error = %Chain(&error), "manage.failed");
            unavailable("the tables could not be reached; send the same request again")
        }
    }
}

/// Answers a request of an integrator, whose link allows it. `route` is the operators' route that does the same.
///
/// The tenant and the endpoints are those of the link. Other endpoints, and those of other tenants, are answered like
/// endpoints that do not exist. Each change has an entry in the audit log, which names the link.
///
/// # Errors
/// The request is refused, or an internal error occurred.
pub async fn answer_integrator(
    link: &Link,
    route: &str,
    request: &ApiGatewayV2httpRequest,
    app: &App,
) -> Result<ApiGatewayV2httpResponse, Refusal> {
    check_parameters(request, parameters_of(route))?;
    let asked = ApiRequest::of_integrator(link, request);
    if route == CREATE_ENDPOINT && asked.only().is_some() {
        return Err(Problem::forbidden("the link names its endpoints, so it cannot create others").into());
    }
    app.answer_to(route, &asked).await
}

/// Does `work` for the holder of a link between the two items of an entry in the audit log.
///
/// # Errors
/// `work` is refused, or the audit log could not be written.
pub async fn audited(
    link: &Link,
    route: &str,
    request: &ApiGatewayV2httpRequest,
    app: &App,
    work: impl Future<Output = Answer>,
) -> Answer {
    app.audited(route, &ApiRequest::of_integrator(link, request), work).await
}

/// Returns the URL where the integrators with this link fetch the key set.
#[must_use]
pub fn jwks_url(link: &Link, request: &ApiGatewayV2httpRequest, app: &App) -> String {
    app.jwks_url(&ApiRequest::of_integrator(link, request))
}

/// Returns whether endpoints may have a destination: whether the stack may assume any role.
#[must_use]
pub fn has_destinations(app: &App) -> bool {
    !app.destination_roles.is_empty()
}

const CREATE_ENDPOINT: &str = "POST /v1/tenants/{tenant}/endpoints";

impl App {
    /// Handles a request by its route. One that may change something has an entry in the audit log.
    async fn answer_to(&self, route: &str, asked: &ApiRequest<'_>) -> Answer {
        if !is_change(route) {
            return self.dispatch(route, asked).await;
        }
        let handled = Box::pin(self.dispatch(route, asked)); // Boxed: large.
        Box::pin(self.audited(route, asked, handled)).await
    }

    async fn dispatch(&self, route: &str, asked: &ApiRequest<'_>) -> Answer {
        match route {
            CREATE_ENDPOINT => Box::pin(self.create(asked)).await, // Boxed: large.
            "GET /v1/tenants/{tenant}/endpoints" => self.list(asked).await,
            "GET /v1/tenants/{tenant}/endpoints/{endpoint}" => self.read(asked).await,
            "PATCH /v1/tenants/{tenant}/endpoints/{endpoint}" => Box::pin(self.update(asked)).await,
            "DELETE /v1/tenants/{tenant}/endpoints/{endpoint}" => Box::pin(self.delete(asked)).await,
            "POST /v1/tenants/{tenant}/endpoints/{endpoint}/enable" => Box::pin(self.switch(asked, true)).await,
            "POST /v1/tenants/{tenant}/endpoints/{endpoint}/disable" => Box::pin(self.switch(asked, false)).await,
            "POST /v1/tenants/{tenant}/endpoints/{endpoint}/test" => self.test(asked).await,
            "POST /v1/tenants/{tenant}/endpoints/{endpoint}/recover" => self.recover(asked).await,
            "POST /v1/tenants/{tenant}/endpoints/{endpoint}/rotate-secret" => Box::pin(self.rotate_secret(asked)).await,
            "GET /v1/tenants/{tenant}/endpoints/{endpoint}/deliveries" => self.list_deliveries(asked).await,
            "GET /v1/tenants/{tenant}/events/{event}" => self.read_event(asked).await,
            "DELETE /v1/tenants/{tenant}/events/{event}" => Box::pin(self.erase_event(asked)).await,
            "POST /v1/tenants/{tenant}/events/{event}/replay" => self.replay(asked).await,
            "POST /v1/tenants/{tenant}/replays" => self.create_replay(asked).await,
            "GET /v1/tenants/{tenant}/replays" => self.list_replays(asked).await,
            "GET /v1/tenants/{tenant}/replays/{replay}" => self.read_replay(asked).await,
            "DELETE /v1/tenants/{tenant}/replays/{replay}" => self.stop_replay(asked).await,
            "POST /v1/tenants/{tenant}/erasures" => Box::pin(self.erase_tenant(asked)).await,
            "GET /v1/tenants/{tenant}/erasures/{erasure}" => self.read_erasure(asked).await,
            "GET /v1/tenants/{tenant}/status/{type}/{subject+}" => self.read_status(asked).await,
            "DELETE /v1/tenants/{tenant}/status/{type}/{subject+}" => Box::pin(self.erase_subject(asked)).await,
            "POST /v1/tenants/{tenant}/token-requests" => self.register(asked).await,
            "POST /v1/tenants/{tenant}/filters/test" => Self::test_filter(asked),
            "PUT /v1/tenants/{tenant}/event-types/{type}" => Box::pin(self.put_event_type(asked)).await,
            "GET /v1/tenants/{tenant}/event-types" => self.list_event_types(asked).await,
            "GET /v1/tenants/{tenant}/event-types/{type}" => self.read_event_type(asked).await,
            "DELETE /v1/tenants/{tenant}/event-types/{type}" => Box::pin(self.delete_event_type(asked)).await,
            "PUT /v1/tenants/{tenant}/notices" => Box::pin(self.set_notices(asked)).await,
            "GET /v1/tenants/{tenant}/notices" => self.read_notices(asked).await,
            "DELETE /v1/tenants/{tenant}/notices" => Box::pin(self.remove_notices(asked)).await,
            "POST /v1/tenants/{tenant}/portal-links" => self.create_link(asked).await,
            "GET /v1/tenants/{tenant}/portal-links" => self.list_links(asked).await,
            "DELETE /v1/tenants/{tenant}/portal-links" => self.end_all_links(asked).await,
            "DELETE /v1/tenants/{tenant}/portal-links/{link}" => self.end_link(asked).await,
            "GET /v1/tenants/{tenant}/audit" => self.list_audit(asked).await,
            _ => Err(Refusal::from(Problem::not_found("there is no such route"))),
        }
    }
}

/// Returns the parameters that a route's query may have.
fn parameters_of(route: &str) -> &'static [&'static str] {
    match route {
        "GET /v1/tenants/{tenant}/endpoints"
        | "GET /v1/tenants/{tenant}/event-types"
        | "GET /v1/tenants/{tenant}/portal-links"
        | "GET /v1/tenants/{tenant}/replays" => &["limit", "cursor"],
        "GET /v1/tenants/{tenant}/endpoints/{endpoint}/deliveries" => &["status", "since", "limit", "cursor"],
        "GET /v1/tenants/{tenant}/events/{event}" => &["source", "limit", "cursor"],
        "DELETE /v1/tenants/{tenant}/events/{event}" => &["source", "dryRun"],
        "POST /v1/tenants/{tenant}/events/{event}/replay" => &["source"],
        "GET /v1/tenants/{tenant}/audit" => &["since", "endpoint", "limit", "cursor"],
        "GET /token-requests/{tokenRequestId}/result" => &["tenant"],
        "GET /v1/tenants/{tenant}/status/{type}/{subject+}" => &["type"],
        "DELETE /v1/tenants/{tenant}/status/{type}/{subject+}" => &["type", "dryRun"],
        _ if sessions::is_asked(route) => &["tenant", "sessionId"],
        _ => &[],
    }
}

/// The reason why a request was refused.
#[derive(Debug)]
pub enum Refusal {
    /// An internal error.
    Aws(AwsError),
    /// The request is not valid, or conflicts with the current state.
    Problem(Problem),
}

impl From<AwsError> for Refusal {
    fn from(error: AwsError) -> Self {
        Self::Aws(error)
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

/// The answer to a request, or the reason why it was refused.
pub type Answer = Result<ApiGatewayV2httpResponse, Refusal>;
