//! The secrets of endpoints, opened by the [`Vault`]: how Signpost authenticates to a receiver, and the keys that sign
//! its webhooks.

use std::sync::Arc;

use futures_util::future::{try_join, try_join_all};
use signpost_core::endpoint::auth::{Auth, api_key, basic};
use signpost_core::endpoint::signing_secrets::SecretVersion;
use signpost_core::endpoint::{EndpointId, SignatureFormat};
use signpost_core::event::TenantId;
use signpost_core::signing::standard_webhooks::EndpointKeys;
use signpost_engine::ports::endpoints::{OpenedSecrets, SealedKeys, Secrets, StoredEndpoint};

use crate::http::webhook_sender::ClientAuth;
use crate::runtime::clock::unix_now;
use crate::runtime::logs::Chain;
use crate::vault::{OpenError, Purpose, SealContext, Vault};

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
    type Access = ClientAuth;
    type Error = SecretError;

    /// Needs `dynamodb:GetItem` and `kms:Decrypt`, once per tenant and environment. A warm environment makes no call,
    /// even if other settings change, or if the endpoint itself was forgotten.
    async fn open(
        &self,
        tenant: &TenantId,
        endpoint: &EndpointId,
        stored: &StoredEndpoint,
    ) -> Result<OpenedSecrets<ClientAuth>, SecretError> {
        let auth = self.open_auth(tenant, endpoint, stored);
        let now = unix_now().as_secs();
        let signs = stored.settings.signs(SignatureFormat::StandardWebhooks);
        let live = stored.signing_secrets.iter().filter(|keys| signs && keys.is_live(now));
        let place = SealContext { tenant, endpoint, purpose: Purpose::Signing };
        let keys = try_join_all(live.map(|keys| self.open_keys(place, keys)));
        let (access, keys) = try_join(auth, keys).await?;
        Ok(OpenedSecrets { access, keys: keys.into_iter().flatten().collect() })
    }
}

impl Vault {
    /// Returns the way in which Signpost authenticates to the endpoint's receiver.
    async fn open_auth(
        &self,
        tenant: &TenantId,
        endpoint: &EndpointId,
        stored: &StoredEndpoint,
    ) -> Result<ClientAuth, SecretError> {
        let settings = &stored.settings;
        if settings.auth == Auth::None {
            return Ok(ClientAuth::Anonymous);
        }
        let sealed = stored.auth_secret.as_ref().ok_or(SecretError::BadForm("a secret"))?;
        let binding = settings.auth.binding(&settings.url);
        let secret = self.open(SealContext { tenant, endpoint, purpose: Purpose::Auth(&binding) }, sealed).await?;
        Ok(match &settings.auth {
            Auth::None => ClientAuth::Anonymous,
            Auth::ApiKey(_) => ClientAuth::Header(api_key(&secret).map_err(SecretError::BadForm)?),
            Auth::Basic => ClientAuth::Header(basic(&secret).map_err(SecretError::BadForm)?),
            Auth::Mtls { .. } => ClientAuth::certificate(secret, stored.trusted.clone()),
            Auth::OAuth2(client) => ClientAuth::OAuth2 { client: client.clone(), secret },
        })
    }

    /// Opens some of the endpoint's own keys. Returns `None` if they do not open and have a successor: the receiver does
    /// not need them, so they must not hold up everything.
    async fn open_keys(
        &self,
        place: SealContext<'_>,
        keys: &SecretVersion<SealedKeys>,
    ) -> Result<Option<SecretVersion<Arc<EndpointKeys>>>, SecretError> {
        let SecretVersion { secret, created_at, expires_at } = keys;
        let opened = match self.open(place, &secret.sealed).await {
            Ok(opened) => opened,
            Err(error) if expires_at.is_some() => {
                let (tenant, endpoint, error) = (place.tenant, place.endpoint, Chain(&error));
                tracing::warn!(tenant.id = %tenant, endpoint.id = %endpoint, %error, "endpoint.old_secret_left_out");
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let opened = EndpointKeys::parse(opened.reveal()).ok_or(SecretError::BadForm("`whsec_` and `whsk_`"))?;
        Ok(Some(SecretVersion { secret: Arc::new(opened), created_at: *created_at, expires_at: *expires_at }))
    }
}
