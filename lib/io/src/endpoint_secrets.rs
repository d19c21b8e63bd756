//! The secrets of endpoints, opened by the [`Vault`]: how Signpost authenticates to a receiver, and the keys that sign
//! its webhooks.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::try_join_all;
use signpost_core::endpoint::auth::{Auth, api_key, basic};
use signpost_core::endpoint::signing_secrets::SecretVersion;
use signpost_core::endpoint::{EndpointId, SignatureFormat};
use signpost_core::event::TenantId;
use signpost_core::secret::Secret;
use signpost_core::signing::standard_webhooks::EndpointKeys;
use signpost_engine::ports::endpoints::{OpenedSecrets, Secrets, StoredEndpoint};

use crate::http::webhook_sender::ClientAuth;
use crate::runtime::clock::unix_now;
use crate::runtime::logs::Chain;
use crate::vault::{OpenError, Purpose, SealContext, Vault};

/// The way in which Signpost authenticates to a receiver, and every secret that was opened for the endpoint.
#[derive(Debug)]
pub struct EndpointAccess {
    /// The way.
    pub caller: ClientAuth,
    opened: Opened,
}

/// Opened secrets, by their sealed bytes and their purpose.
type Opened = HashMap<(Vec<u8>, String), Secret>;

/// The reason why the secrets of an endpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// One of them has an unexpected form.
    #[error("secret of the endpoint is unusable; expected {0}; set the secret again")]
    BadForm(&'static str),
    /// One of them did not open.
    #[error("secret of the endpoint could not be opened")]
    Open(#[from] OpenError),
}

impl Secrets for Vault {
    type Access = EndpointAccess;
    type Error = SecretError;

    /// Needs `kms:Decrypt`: one call per secret that is not open yet, all at the same time. A secret is opened once,
    /// while its sealed bytes stay the same: a warm environment makes no call to KMS, even if other settings change.
    async fn open(
        &self,
        tenant: &TenantId,
        endpoint: &EndpointId,
        stored: &StoredEndpoint,
        before: Option<&EndpointAccess>,
    ) -> Result<OpenedSecrets<EndpointAccess>, SecretError> {
        let binding = stored.settings.auth.binding(&stored.settings.url);
        let auth = SealContext { tenant, endpoint, purpose: Purpose::Auth(&binding) };
        let signing = SealContext { tenant, endpoint, purpose: Purpose::Signing };
        let (now, signs) = (unix_now().as_secs(), stored.settings.signs(SignatureFormat::StandardWebhooks));
        let live = stored.signing_secrets.iter().filter(|secret| signs && secret.is_live(now));
        let live: Vec<_> = live.collect();
        let authenticates = stored.settings.auth != Auth::None;
        let sealed_auth = stored.auth_secret.as_ref().filter(|_| authenticates).map(|sealed| (auth, sealed, true));
        // The receiver does not need a secret that has a successor, so such a secret must not hold up everything.
        let sealed_signing = live.iter().map(|live| (signing, &live.secret.sealed, live.expires_at.is_none()));
        let all = sealed_auth.into_iter().chain(sealed_signing);
        let known = before.map(|before| &before.opened);
        let opened = all.map(|(place, sealed, needed)| self.open_one(place, sealed, needed, known));
        let opened: Opened = try_join_all(opened).await?.into_iter().flatten().collect();
        let of = |sealed: &Vec<u8>, place: SealContext<'_>| opened.get(&(sealed.clone(), key_of(place)));

        let secret = stored.auth_secret.as_ref().filter(|_| authenticates).and_then(|sealed| of(sealed, auth)).cloned();
        let caller = match (&stored.settings.auth, secret) {
            (Auth::None, _) => ClientAuth::Anonymous,
            (_, None) => return Err(SecretError::BadForm("a secret")),
            (Auth::ApiKey(_), Some(secret)) => ClientAuth::Header(api_key(&secret).map_err(SecretError::BadForm)?),
            (Auth::Basic, Some(secret)) => ClientAuth::Header(basic(&secret).map_err(SecretError::BadForm)?),
            (Auth::Mtls { .. }, Some(identity)) => ClientAuth::certificate(identity, stored.trusted.clone()),
            (Auth::OAuth2(client), Some(secret)) => ClientAuth::OAuth2 { client: client.clone(), secret },
        };
        let mut keys = Vec::new();
        for SecretVersion { secret, created_at, expires_at } in live {
            let Some(opened) = of(&secret.sealed, signing) else { continue };
            let opened = EndpointKeys::parse(opened.reveal()).ok_or(SecretError::BadForm("`whsec_` and `whsk_`"))?;
            keys.push(SecretVersion { secret: Arc::new(opened), created_at: *created_at, expires_at: *expires_at });
        }
        Ok(OpenedSecrets { access: EndpointAccess { caller, opened }, keys })
    }
}

impl Vault {
    /// Opens a secret that is not open yet. Returns `None` if its seal is broken and it is not `needed`.
    async fn open_one(
        &self,
        place: SealContext<'_>,
        sealed: &[u8],
        needed: bool,
        known: Option<&Opened>,
    ) -> Result<Option<((Vec<u8>, String), Secret)>, OpenError> {
        let key = (sealed.to_vec(), key_of(place));
        let secret = match known.and_then(|known| known.get(&key)) {
            Some(secret) => secret.clone(),
            None => match self.open(place, sealed).await {
                Ok(secret) => secret,
                Err(error) if !needed => {
                    let (tenant, endpoint, error) = (place.tenant, place.endpoint, Chain(&error));
                    tracing::warn!(tenant.id = %tenant, endpoint.id = %endpoint, %error, "endpoint.old_secret_left_out");
                    return Ok(None);
                }
                Err(error) => return Err(error),
            },
        };
        Ok(Some((key, secret)))
    }
}

/// Returns a secret's purpose as a part of a map key.
fn key_of(place: SealContext<'_>) -> String {
    match place.purpose {
        Purpose::Auth(binding) => format!("auth {binding}"),
        Purpose::Signing => "signing".into(),
    }
}
