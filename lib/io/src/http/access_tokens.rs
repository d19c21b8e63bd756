//! Access tokens by OAuth 2.0 client credentials (RFC 6749, section 4.4), used until shortly before they expire.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use signpost_core::delivery::attempt::{AttemptError, may_ask};
use signpost_core::delivery::cause::{ExchangeFault, Stage};
use signpost_core::delivery::token_refusal::{OAuthError, TokenLack};
use signpost_core::endpoint::auth::{AuthHeader, ClientCredentials, bearer};
use signpost_core::endpoint::target::{Target, TargetError};
use signpost_core::fingerprint::fingerprint;
use signpost_core::secret::Secret;
use tokio::sync::Mutex;
use tokio::time::timeout_at;

use crate::http::guarded_client::{Body, Clients, Failed, read_body};
use crate::http::webhook_sender::{Deadline, wait_of};
use crate::runtime::clock::unix_now;
use signpost_engine::slots::Slots;

/// The tokens of one warm environment.
pub(crate) struct Tokens {
    known: Slots<Key, Mutex<CacheEntry>>,
}

impl Default for Tokens {
    fn default() -> Self {
        Self { known: Slots::within(CAPACITY, MAX_BYTES) }
    }
}

/// A fingerprint of the token request. Secrets are not used as keys of maps.
type Key = [u8; 32];

/// The state of one client.
#[derive(Default)]
struct CacheEntry {
    token: Option<Token>,
    /// Why the last request failed, and until when other callers get this answer.
    failure: Option<(Failure, Duration)>,
}

/// A token that was checked: it fits into its header.
struct Token {
    header: AuthHeader,
    /// By the wall clock, because the monotonic one may stop while Lambda freezes the process.
    good_until: Duration,
}

/// The reason why there is no token, in a form that several callers can share.
#[derive(Clone, Debug)]
enum Failure {
    Exchange { fault: ExchangeFault, source: Option<Arc<reqwest::Error>> },
    Forbidden(TargetError),
    Refused { status: u16, error: Option<OAuthError>, retry_after: Option<Duration> },
    Unusable(TokenLack),
}

impl Failure {
    const TIMED_OUT: Self = Self::Exchange { fault: ExchangeFault::TimedOut(Stage::Waiting), source: None };

    fn told(self, timeout: Duration) -> AttemptError {
        match self {
            Self::Exchange { fault, source } => {
                let source = source.map(|source| Box::new(source) as _);
                AttemptError::TokenExchange { fault, timeout, source }
            }
            Self::Forbidden(error) => AttemptError::TokenForbiddenAddress(error),
            Self::Refused { status, error, retry_after } => AttemptError::TokenRefused { status, error, retry_after },
            Self::Unusable(lack) => AttemptError::TokenUnusable { lack },
        }
    }

    /// Returns whether other callers that wait for the same token get this failure. A timeout concerns only its own
    /// caller.
    fn is_shared(&self) -> bool {
        !matches!(self, Self::Exchange { fault: ExchangeFault::TimedOut(_), .. })
    }
}

/// A successful answer (RFC 6749, section 5.1), before it is checked.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    access_token: Value,
    #[serde(default)]
    token_type: Value,
    /// Seconds. Some servers send them as a string.
    #[serde(default)]
    expires_in: Value,
}

/// An error answer of a token server (RFC 6749, section 5.2).
#[derive(Deserialize)]
struct Refusal {
    error: String,
}

/// How many clients' tokens are kept, if they fit into [`MAX_BYTES`].
const CAPACITY: usize = 5_000;
/// How much memory the tokens may have. One has a kilobyte or two, and at most [`MAX_ANSWER_BYTES`].
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// How much memory a stored token needs besides its text, about.
const BESIDE_TOKEN: usize = 300;
/// How long a token without `expires_in` is used. Short, because its real lifetime is unknown.
const UNSAID: Duration = Duration::from_mins(5);
/// How long a token is used at most, even if it is valid for longer.
const LONGEST: Duration = Duration::from_hours(24);
/// How long before its end a token is not used any more; a fifth of its lifetime if that is less.
const MARGIN: Duration = Duration::from_mins(1);
/// How long a failure is shared, so that the deliveries of one batch do not wait for it one by one.
const FAILURE_SHARED_FOR: Duration = Duration::from_secs(1);
/// How many bytes an answer of a token server may have.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

impl Tokens {
    /// Returns a token that is valid for some time, and requests one if there is none. Concurrent callers share one
    /// request and its failure.
    ///
    /// # Errors
    /// The token server has a forbidden address, cannot be reached, or returns no token. The attempt fails as if the
    /// endpoint itself had failed.
    pub(crate) async fn get(
        &self,
        clients: &Clients,
        target: &Target,
        client: &ClientCredentials,
        secret: &Secret,
        deadline: Deadline,
    ) -> Result<AuthHeader, AttemptError> {
        let timeout = deadline.timeout;
        let key = key(client, secret);
        let slot = self.known.get(key);
        let slot = timeout_at(deadline.at, slot.lock()).await; // Another caller may be requesting one, with more time.
        let mut slot = slot.map_err(|_| Failure::TIMED_OUT.told(timeout))?;
        if let Some(token) = slot.token.as_ref().filter(|token| unix_now() < token.good_until) {
            return Ok(token.header.clone());
        }
        if let Some((failure, _)) = slot.failure.as_ref().filter(|(_, until)| unix_now() < *until) {
            return Err(failure.clone().told(timeout));
        }
        match fetch(clients, target, client, secret, deadline).await {
            Ok(token) => {
                let header = token.header.clone();
                self.known.set_bytes(&key, BESIDE_TOKEN + header.value.reveal().len());
                *slot = CacheEntry { token: Some(token), failure: None };
                Ok(header)
            }
            Err(failure) => {
                let until = unix_now() + FAILURE_SHARED_FOR;
                *slot = CacheEntry { token: None, failure: failure.is_shared().then(|| (failure.clone(), until)) };
                Err(failure.told(timeout))
            }
        }
    }

    /// Makes the next caller request another token than `used`. Does nothing while a request runs, because that returns
    /// another token.
    pub(crate) fn forget(&self, client: &ClientCredentials, secret: &Secret, used: &AuthHeader) {
        let slot = self.known.get(key(client, secret));
        if let Ok(mut slot) = slot.try_lock()
            && slot.token.as_ref().is_some_and(|token| token.header.value == used.value)
        {
            slot.token = None;
        }
    }
}

fn key(client: &ClientCredentials, secret: &Secret) -> Key {
    fingerprint([&*json!(client).to_string(), secret.reveal()]) // All of it, because each setting may change the token.
}

async fn fetch(
    clients: &Clients,
    target: &Target,
    client: &ClientCredentials,
    secret: &Secret,
    deadline: Deadline,
) -> Result<Token, Failure> {
    let (form, header) = client.token_request(secret);
    let asked_at = unix_now();
    let build = |http: &reqwest::Client| {
        let request = http
            .post(target.url().clone())
            .header("content-type", "application/x-www-form-urlencoded")
            .header("accept", "application/json")
            .header("user-agent", signpost_core::delivery::request::USER_AGENT)
            .body(form.reveal().to_owned());
        match &header {
            Some(header) => request.header(&header.name, header.value.reveal()),
            None => request,
        }
    };
    let response = clients.send(build, deadline.at).await.map_err(|failed| match failed {
        Failed::Forbidden(refusal) => Failure::Forbidden(refusal),
        Failed::Exchange { fault, source } => Failure::Exchange { fault, source: source.map(Arc::new) },
    })?;
    let (status, asked) = (response.status().as_u16(), wait_of(&response));
    let Body { kept, fault } = read_body(response, MAX_ANSWER_BYTES, deadline.at).await;
    let body = zeroize::Zeroizing::new(kept);
    if status != 200 {
        let error = serde_json::from_slice::<Refusal>(&body).ok();
        let error = error.and_then(|refusal| OAuthError::parse(&refusal.error));
        return Err(Failure::Refused { status, error, retry_after: may_ask(status, asked) });
    }
    if let Some(fault) = fault {
        return Err(Failure::Exchange { fault, source: None });
    }
    judged(&body, asked_at).map_err(Failure::Unusable)
}

/// Checks an answer before any part of it is stored.
fn judged(body: &[u8], asked_at: Duration) -> Result<Token, TokenLack> {
    let answer: Answer = serde_json::from_slice(body).map_err(|_| TokenLack::Json)?;
    match answer.token_type.as_str() {
        Some(kind) if kind.eq_ignore_ascii_case("bearer") => {}
        None if answer.token_type.is_null() => return Err(TokenLack::Type),
        None | Some(_) => return Err(TokenLack::OtherType),
    }
    let Value::String(token) = answer.access_token else { return Err(TokenLack::Token) };
    let header = bearer(&Secret::new(token)).map_err(|_| TokenLack::Token)?;
    Ok(Token { header, good_until: asked_at + good_for(&answer.expires_in) })
}

/// Returns how long to use a token with this `expires_in`, a number of seconds or a string with one. Other values are
/// ignored.
fn good_for(expires_in: &Value) -> Duration {
    let seconds = expires_in.as_f64().or_else(|| expires_in.as_str()?.parse().ok());
    let lifetime = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds.min(LONGEST.as_secs_f64())).ok());
    let lifetime = lifetime.unwrap_or(UNSAID);
    lifetime.saturating_sub(MARGIN.min(lifetime / 5))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use signpost_core::endpoint::auth::ClientAuthentication;

    use super::*;

    #[test]
    fn a_token_is_given_up_shortly_before_it_expires() {
        let cases = [
            (json!(3_600), 3_540, "a minute before"),
            (json!("3600"), 3_540, "as a text"),
            (json!(3_600.0), 3_540, "as a fraction"),
            (json!(60), 48, "a fifth before"),
            (json!(0), 0, "at once"),
            (Value::Null, 240, "no lifetime: a short one"),
            (json!(-1), 240, "an invalid lifetime counts as none"),
            (json!("soon"), 240, "an invalid lifetime counts as none"),
            (json!(u64::MAX), 86_340, "at most a day"),
            (json!(1e300), 86_340, "at most a day"),
        ];
        for (expires_in, seconds, why) in cases {
            assert_eq!(good_for(&expires_in), Duration::from_secs(seconds), "{why}");
        }
    }

    #[test]
    fn a_token_request_with_any_difference_gets_another_token() {
        let client = ClientCredentials {
            token_url: "https://t.example/".into(),
            client_id: "c".into(),
            scope: None,
            audience: None,
            resource: None,
            parameters: BTreeMap::new(),
            client_authentication: ClientAuthentication::ClientSecretBasic,
        };
        let others = [
            ClientCredentials { scope: Some("s".into()), ..client.clone() },
            ClientCredentials { audience: Some("s".into()), ..client.clone() },
            ClientCredentials { resource: Some("s".into()), ..client.clone() },
            ClientCredentials { parameters: BTreeMap::from([("a".into(), "s".into())]), ..client.clone() },
            ClientCredentials { client_authentication: ClientAuthentication::ClientSecretPost, ..client.clone() },
        ];
        let secret = Secret::new("s".into());
        let keys: BTreeSet<_> = others.iter().chain([&client]).map(|one| key(one, &secret)).collect();
        assert_eq!(keys.len(), others.len() + 1);
    }
}
