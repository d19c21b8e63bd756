//! The integrators' page and its API: an integrator opens a session with a link of an operator, and sees and manages
//! the endpoints that the link allows.
//!
//! The routes are public. A caller has a code or a token, which nobody can guess, or gets an answer that reveals nothing.
//! `manage` answers most requests. Its requests get tenant and endpoints from the session, never from the request.

mod config;
mod gzip;
mod keys;
mod page;
mod session;
mod snippets;

use aws_config::SdkConfig;
use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use http::header::{CACHE_CONTROL, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use manage::{Answer, Refusal, answer_integrator};
use serde_json::Value;
use signpost_core::input::problem::Problem;
use signpost_core::portal::Route;
use signpost_io::mac::MacKey;
use signpost_io::runtime::api_gateway::{check_parameters, refuse, respond, unavailable, with_header};
use signpost_io::runtime::logs::Chain;
use signpost_io::tables::portal_links::PortalLinks;
use signpost_io::tables::signing_keys::KeyTable;

pub use config::Config;
use page::Page;

const JSON: &str = "application/json";

/// The clients and settings of the function, and the documents that never change.
#[derive(Debug)]
pub struct App {
    egress_addresses: Value,
    frame_ancestors: Vec<String>,
    keys: KeyTable,
    links: PortalLinks,
    manage: manage::App,
    page: Page,
    rotation: String,
    snippets: String,
}

impl App {
    /// Creates the clients. This needs no network.
    #[must_use]
    pub fn new(aws: &SdkConfig, config: Config) -> Self {
        let (dynamodb, kms) = (aws_sdk_dynamodb::Client::new(aws), aws_sdk_kms::Client::new(aws));
        let mac = MacKey::new(kms, config.manage.mac_key.clone());
        let addresses = public_keys::document(&config.egress_addresses, &config.upcoming_egress_addresses);
        Self {
            egress_addresses: serde_json::from_str(&addresses).unwrap_or_default(), // It was JSON before.
            keys: KeyTable::new(dynamodb.clone(), config.keys_table, mac),
            links: PortalLinks::new(dynamodb, config.manage.portal_table.clone()),
            manage: manage::App::new(aws, config.manage),
            page: Page::new(&config.frame_ancestors),
            frame_ancestors: config.frame_ancestors,
            rotation: keys::rotation(&config.key_schedule),
            snippets: snippets::snippets(),
        }
    }
}

/// Answers one request, by its route.
pub async fn handle(request: ApiGatewayV2httpRequest, app: &App) -> ApiGatewayV2httpResponse {
    let route = request.route_key.as_deref().unwrap_or_default();
    if matches!(route, "GET /portal" | "GET /portal/") {
        return app.page.answer(&request.headers);
    }
    let response = match Box::pin(app.answer(route, &request)).await {
        Ok(response) => {
            tracing::info!(http.route = route, http.status = response.status_code, "portal.answered");
            with_header(response, CACHE_CONTROL, "no-store")
        }
        Err(Refusal::Problem(problem)) => {
            let faults = problem.errors.len();
            tracing::info!(http.route = route, http.status = problem.status, faults, "portal.refused");
            let response = refuse(&problem);
            if problem.status == 401 { with_header(response, WWW_AUTHENTICATE, "Bearer") } else { response }
        }
        Err(Refusal::Aws(error)) => {
            tracing::error!(http.route = route, error = %Chain(&error), "portal.failed");
            unavailable("the tables could not be reached; send the same request again")
        }
    };
    with_header(response, X_CONTENT_TYPE_OPTIONS, "nosniff")
}

impl App {
    async fn answer(&self, route: &str, request: &ApiGatewayV2httpRequest) -> Answer {
        match route {
            "POST /portal/session" => return self.open_session(request).await,
            "GET /portal/session" => return self.read_session(request).await,
            "DELETE /portal/session" => return self.end_session(request).await,
            _ => {}
        }
        let route = Route::of_key(route).ok_or_else(|| Problem::not_found("there is no such route"))?;
        let (link, _) = self.session(request).await?;
        if !link.can.contains(&route.needs) {
            let needed = route.needs.as_str();
            let text = format!("the link does not allow `{needed}`; ask for one that does");
            return Err(Problem::forbidden(text).into());
        }
        if let Some(operators) = route.operators {
            return Box::pin(answer_integrator(&link, operators, request, &self.manage)).await;
        }
        check_parameters(request, &[])?;
        match route.key {
            "GET /portal/api/snippets" => Ok(respond(200, JSON, &*self.snippets)),
            "GET /portal/api/keys" => self.read_keys(&link, request).await,
            _ => Err(Problem::not_found("there is no such route").into()),
        }
    }
}
