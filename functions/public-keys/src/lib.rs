//! `GET /tenants/{tenant}/keys/{kid}` and `GET /tenants/{tenant}/.well-known/jwks.json`: the public keys that a
//! tenant's integrators verify webhooks with. `GET /.well-known/egress-addresses.json`: the addresses that webhooks come
//! from.

mod answer;
mod config;
mod egress;
mod key_set;

use aws_config::SdkConfig;
use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use http::{HeaderMap, Method};
use signpost_core::event::TenantId;
use signpost_core::input::problem::Problem;
use signpost_core::signing::kid::is_kid;
use signpost_io::aws::AwsError;
use signpost_io::mac::MacKey;
use signpost_io::runtime::api_gateway::{refuse, unavailable};
use signpost_io::runtime::clock::unix_now;
use signpost_io::runtime::logs::Chain;
use signpost_io::tables::endpoint_keys::EndpointKeyTable;
use signpost_io::tables::signing_keys::KeyTable;

pub use config::Config;
pub use egress::{AddressRange, document, ranges};
use key_set::KeySets;

/// The caches and settings of the function.
#[derive(Debug)]
pub struct App {
    egress_document: String,
    key_sets: KeySets,
    set_max_age_seconds: u64,
}

impl App {
    /// Creates the clients. This needs no network.
    #[must_use]
    pub fn new(aws: &SdkConfig, config: Config) -> Self {
        let (dynamodb, kms) = (aws_sdk_dynamodb::Client::new(aws), aws_sdk_kms::Client::new(aws));
        let mac = MacKey::new(kms, config.mac_key);
        let keys = KeyTable::new(dynamodb.clone(), config.keys_table, mac.clone());
        Self {
            egress_document: egress::document(&config.egress_addresses, &config.upcoming_egress_addresses),
            key_sets: KeySets::new(keys, EndpointKeyTable::new(dynamodb, config.endpoint_keys_table, mac)),
            // Half of the lead is for caches, half for this function's own: a new key is in every copy of the set
            // before it signs.
            set_max_age_seconds: config.key_lead.as_secs() / 2,
        }
    }
}

/// The route of the addresses that webhooks come from. `HEAD` has the same path.
const EGRESS_PATH: &str = "/.well-known/egress-addresses.json";

/// Answers one request: with the tenant's key `kid`, with the tenant's key set if the path has no `kid`, or with the
/// addresses that webhooks come from.
///
/// 404 for a key that is unknown, another tenant's, or past its grace; 503 if a table cannot be read and nothing is
/// cached.
///
/// `HEAD` gets the answer of `GET` without the body (RFC 9110, section 9.3.2).
pub async fn handle(request: ApiGatewayV2httpRequest, app: &App) -> ApiGatewayV2httpResponse {
    let mut response = answer_of(&request, app).await;
    if request.request_context.http.method == Method::HEAD {
        response.body = None;
    }
    response
}

async fn answer_of(request: &ApiGatewayV2httpRequest, app: &App) -> ApiGatewayV2httpResponse {
    let route = request.route_key.as_deref().unwrap_or_default();
    if route.split_once(' ').is_some_and(|(_, path)| path == EGRESS_PATH) {
        return answer::egress_addresses(&app.egress_document, &request.headers);
    }
    let parameter = |name: &str| request.path_parameters.get(name).map(String::as_str);
    let Some(tenant) = parameter("tenant") else { return refuse(&keys_are_tenants()) };
    let Some(tenant) = TenantId::parse(tenant) else { return refuse(&answer::no_such_key()) };
    let answered = match parameter("kid") {
        Some(kid) => app.one_key(&tenant, kid, &request.headers).await,
        None => app.key_set(&tenant, &request.headers).await.map(Ok),
    };
    match answered {
        Ok(answer) => answer.unwrap_or_else(|problem| refuse(&problem)),
        Err(error) => {
            tracing::error!(error = %Chain(&error), "keys.not_read");
            unavailable("the keys could not be read; send the same request again")
        }
    }
}

/// Returns the problem for paths without a tenant.
fn keys_are_tenants() -> Problem {
    Problem::not_found(
        "each tenant has keys of its own: use /tenants/{tenant}/keys/{kid} or /tenants/{tenant}/.well-known/jwks.json",
    )
}

impl App {
    async fn one_key(
        &self,
        tenant: &TenantId,
        kid: &str,
        headers: &HeaderMap,
    ) -> Result<Result<ApiGatewayV2httpResponse, Problem>, AwsError> {
        if !is_kid(kid) {
            return Ok(Err(answer::no_such_key())); // Without a read.
        }
        let (keys, now) = (self.key_sets.signing_keys(tenant, Some(kid)).await?, unix_now().as_secs());
        if let Some(answer) = answer::signing_key(&keys, tenant, kid, now, headers) {
            return Ok(Ok(answer));
        }
        let keys = self.key_sets.endpoint_keys(tenant, Some(kid)).await?;
        let max_age = self.set_max_age_seconds;
        Ok(answer::endpoint_key(&keys, tenant, kid, max_age, headers).ok_or_else(answer::no_such_key))
    }

    async fn key_set(&self, tenant: &TenantId, headers: &HeaderMap) -> Result<ApiGatewayV2httpResponse, AwsError> {
        let signing_keys = self.key_sets.signing_keys(tenant, None).await?;
        let endpoint_keys = self.key_sets.endpoint_keys(tenant, None).await?;
        let now = unix_now().as_secs();
        Ok(answer::key_set(&signing_keys, &endpoint_keys, tenant, now, self.set_max_age_seconds, headers))
    }
}
