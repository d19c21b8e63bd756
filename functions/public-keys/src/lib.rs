//! `GET /keys/{kid}` and `GET /.well-known/jwks.json`: the public keys that integrators verify with.

mod answer;
mod config;
mod key_set;

use aws_config::SdkConfig;
use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use signpost_core::problem::Problem;
use signpost_io::clock::unix_now;
use signpost_io::http_api::{refuse, with_header};
use signpost_io::keys::KeyTable;
use signpost_io::logs::Chain;

pub use config::Config;
use key_set::KeySets;

/// What the function needs at hand.
#[derive(Debug)]
pub struct App {
    key_sets: KeySets,
    set_max_age_seconds: u64,
}

impl App {
    /// Makes the clients. Needs no network yet.
    #[must_use]
    pub fn new(aws: &SdkConfig, config: Config) -> Self {
        Self {
            key_sets: KeySets::new(KeyTable::new(aws_sdk_dynamodb::Client::new(aws), config.keys_table)),
            // Half a lead for caches, half for what this function itself remembers: a new key is in every copy of the
            // set before it signs.
            set_max_age_seconds: config.key_lead.as_secs() / 2,
        }
    }
}

/// Answers one request: the key of the path's `kid`, or the set of all keys where the path has none.
///
/// 404 for a key that is unknown or past its grace, 503 if the table cannot be read and nothing is remembered.
pub async fn handle(request: ApiGatewayV2httpRequest, app: &App) -> ApiGatewayV2httpResponse {
    let kid = request.path_parameters.get("kid");
    let keys = match app.key_sets.get(kid.map(String::as_str)).await {
        Ok(keys) => keys,
        Err(error) => {
            tracing::error!(error = %Chain(&error), "keys.not_read");
            let problem = Problem::unavailable("the keys could not be read; send the same request again");
            return with_header(refuse(&problem), http::header::RETRY_AFTER, "1");
        }
    };
    let now = unix_now().as_secs();
    let answer = match kid {
        Some(kid) => answer::one_key(&keys, kid, now, &request.headers),
        None => Ok(answer::key_set(&keys, now, app.set_max_age_seconds, &request.headers)),
    };
    answer.unwrap_or_else(|problem| refuse(&problem))
}
