//! Access tokens by OAuth 2.0 client credentials (RFC 6749, section 4.4), kept until shortly before they expire.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use signpost_core::attempt::AttemptError;
use signpost_core::auth::{ClientAuthentication, ClientCredentials};
use signpost_core::fingerprint::fingerprint;
use signpost_core::secret::Secret;
use signpost_core::target::Target;
use tokio::sync::Mutex;

use crate::clients::{Clients, read_body, refusal};

/// The tokens of one warm environment.
#[derive(Default)]
pub(crate) struct Tokens {
    known: Mutex<HashMap<Key, Arc<Mutex<Option<Token>>>>>,
}

/// A digest over whom the token is for; secrets are no keys of maps.
type Key = [u8; 32];

struct Token {
    text: Secret,
    good_until: Instant,
}

/// A successful answer (RFC 6749, section 5.1).
#[derive(Deserialize)]
struct Answer {
    access_token: String,
    token_type: String,
    expires_in: Option<u64>,
}

/// How many clients' tokens are kept.
const CAPACITY: usize = 1_000;
/// How long a token is good whose answer does not say. Short, for it may be anything.
const UNSAID: Duration = Duration::from_mins(5);
/// The longest a token is kept, whatever is said.
const LONGEST: Duration = Duration::from_hours(24);
/// How long before its end a token is used no more; a fifth of its time where that is less.
const MARGIN: Duration = Duration::from_mins(1);
/// The longest answer of a token endpoint.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

impl Tokens {
    /// Gives a token that is good for some time yet, and fetches one if there is none. Callers at the same time share one
    /// fetching.
    ///
    /// # Errors
    /// The token endpoint is none that we call, cannot be reached, or gives no token: failures of the attempt like those
    /// of the endpoint itself.
    pub(crate) async fn get(
        &self,
        clients: &Clients,
        target: Target,
        client: &ClientCredentials,
        secret: &Secret,
    ) -> Result<Secret, AttemptError> {
        let slot = self.slot(key(client, secret)).await;
        let mut slot = slot.lock().await;
        if let Some(token) = slot.as_ref().filter(|token| Instant::now() < token.good_until) {
            return Ok(token.text.clone());
        }
        let token = fetch(clients, target, client, secret).await?;
        let text = token.text.clone();
        *slot = Some(token);
        Ok(text)
    }

    /// Has the next caller fetch another token.
    pub(crate) async fn forget(&self, client: &ClientCredentials, secret: &Secret) {
        *self.slot(key(client, secret)).await.lock().await = None;
    }

    async fn slot(&self, key: Key) -> Arc<Mutex<Option<Token>>> {
        let mut known = self.known.lock().await;
        if known.len() >= CAPACITY && !known.contains_key(&key) {
            known.clear(); // Whoever is still at it has its slot in hand.
        }
        Arc::clone(known.entry(key).or_default())
    }
}

fn key(client: &ClientCredentials, secret: &Secret) -> Key {
    let authentication = match client.client_authentication {
        ClientAuthentication::ClientSecretBasic => "basic",
        ClientAuthentication::ClientSecretPost => "post",
    };
    let scope = client.scope.as_deref().unwrap_or_default();
    fingerprint([&*client.token_url, &*client.client_id, scope, authentication, secret.reveal()])
}

async fn fetch(
    clients: &Clients,
    target: Target,
    client: &ClientCredentials,
    secret: &Secret,
) -> Result<Token, AttemptError> {
    let (form, header) = client.token_request(secret);
    let asked_at = Instant::now();
    let unreachable = |error: reqwest::Error| match refusal(&error) {
        Some(refusal) => AttemptError::ForbiddenTarget(refusal),
        None => AttemptError::TokenUnreachable(Box::new(error.without_url())),
    };
    let response = clients
        .send(|http| {
            let request = http
                .post(target.url().clone())
                .header("content-type", "application/x-www-form-urlencoded")
                .header("accept", "application/json")
                .header("user-agent", signpost_core::request::USER_AGENT)
                .body(form.reveal().to_owned());
            match &header {
                Some(header) => request.header(&header.name, header.value.reveal()),
                None => request,
            }
        })
        .await
        .map_err(unreachable)?;
    let status = response.status().as_u16();
    let body = zeroize::Zeroizing::new(read_body(response, MAX_ANSWER_BYTES).await.map_err(unreachable)?);
    if status != 200 {
        return Err(AttemptError::TokenRefused { status });
    }
    let answer: Answer = serde_json::from_slice(&body).map_err(|_| AttemptError::TokenUnusable)?;
    if !answer.token_type.eq_ignore_ascii_case("bearer") {
        return Err(AttemptError::TokenUnusable);
    }
    Ok(Token { text: Secret::new(answer.access_token), good_until: asked_at + good_for(answer.expires_in) })
}

/// How long a token is used that says to expire in `seconds`.
fn good_for(seconds: Option<u64>) -> Duration {
    let lifetime = seconds.map_or(UNSAID, Duration::from_secs).min(LONGEST);
    lifetime.saturating_sub(MARGIN.min(lifetime / 5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_given_up_shortly_before_it_expires() {
        let cases = [
            (Some(3_600), 3_540, "a minute before"),
            (Some(60), 48, "a fifth before"),
            (Some(0), 0, "at once"),
            (None, 240, "what is not said is short"),
            (Some(u64::MAX), 86_340, "a day at the most"),
        ];
        for (expires_in, seconds, why) in cases {
            assert_eq!(good_for(expires_in), Duration::from_secs(seconds), "{why}");
        }
    }
}
