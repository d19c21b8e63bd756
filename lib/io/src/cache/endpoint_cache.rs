//! A cache of endpoints for `deliver`: each is remembered for some seconds, and its secrets are opened once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use signpost_core::delivery::verification::has_proved;
use signpost_core::endpoint::auth::{Auth, api_key, basic};
use signpost_core::endpoint::signing_secrets::SecretVersion;
use signpost_core::endpoint::{DisabledBecause, Endpoint, EndpointId, SignatureFormat};
use signpost_core::event::TenantId;
use signpost_core::secret::Secret;
use signpost_core::signing::standard_webhooks::EndpointKeys;
use tokio::sync::Mutex;

use crate::aws::AwsError;
use crate::http::webhook_sender::ClientAuth;
use crate::runtime::clock::unix_now;
use crate::runtime::logs::Chain;
use crate::runtime::slots::Slots;
use crate::tables::endpoints::{Endpoints, StoredEndpoint, Written};
use crate::vault::{OpenError, Purpose, SealContext, Vault};

/// An endpoint with its secrets opened, ready for a request.
#[derive(Debug)]
pub struct ResolvedEndpoint {
    stored: StoredEndpoint,
    /// How Signpost authenticates to the receiver.
    pub caller: ClientAuth,
    keys: Vec<SecretVersion<Arc<EndpointKeys>>>,
    opened: Opened,
}

/// Opened secrets, by their sealed bytes and their purpose.
type Opened = HashMap<(Vec<u8>, String), Secret>;

impl ResolvedEndpoint {
    /// Returns the endpoint's settings.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.stored.settings
    }

    /// Returns whether deliveries are sent to the endpoint.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.stored.disabled.is_none()
    }

    /// Returns the version of the remembered settings.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.stored.version
    }

    /// Returns whether the endpoint is disabled because its server has not proved yet that it wants webhooks.
    #[must_use]
    pub fn is_unverified(&self) -> bool {
        self.stored.disabled == Some(DisabledBecause::Unverified)
    }

    /// Returns whether the endpoint's server has proved that it wants webhooks.
    #[must_use]
    pub fn has_proved(&self) -> bool {
        has_proved(self.stored.verified_origin.as_deref(), &self.stored.settings.url)
    }

    /// Returns the endpoint's own keys that sign at `now`, in seconds since the Unix epoch.
    #[must_use]
    pub fn endpoint_keys(&self, now: u64) -> Vec<Arc<EndpointKeys>> {
        self.keys.iter().filter(|keys| keys.is_live(now)).map(|keys| Arc::clone(&keys.secret)).collect()
    }
}

/// The reason why no request can be sent to an endpoint now: an internal error, never charged to the endpoint.
#[derive(Debug, thiserror::Error)]
pub enum EndpointCacheError {
    /// The endpoint could not be read.
    #[error("endpoint could not be read")]
    Aws(#[from] AwsError),
    /// One of its secrets has an unexpected form.
    #[error("secret of the endpoint is unusable; expected {0}; set the secret again")]
    BadSecret(&'static str),
    /// One of its secrets did not open.
    #[error("secret of the endpoint could not be opened")]
    Open(#[from] OpenError),
}

/// Endpoints as they were at most [`REMEMBERED_FOR`] ago. `deliver` needs the same few repeatedly.
///
/// After a change or a removal, an endpoint therefore gets requests with its old settings for that long. A secret is
/// opened once, while its sealed bytes stay the same: a warm environment makes no call to KMS, even if other settings
/// change.
#[derive(Debug)]
pub struct EndpointCache {
    table: Endpoints,
    vault: Vault,
    known: Slots<Key, CacheEntry>,
}

type Key = (TenantId, EndpointId);

/// One endpoint: when it was read, and its content. The reader holds the lock, so that the deliveries of one batch
/// share one call.
type CacheEntry = Mutex<Option<(Duration, Arc<ResolvedEndpoint>)>>;

/// How long a remembered endpoint is used before it is read again.
pub const REMEMBERED_FOR: Duration = Duration::from_secs(10);

/// How many endpoints are remembered at once: about a kilobyte each, or 100 KB with certificates of their own.
const CAPACITY: usize = 500;

impl EndpointCache {
    /// Creates a cache of the endpoints in `table`, whose secrets `vault` opens.
    #[must_use]
    pub fn new(table: Endpoints, vault: Vault) -> Self {
        Self { table, vault, known: Slots::new(CAPACITY) }
    }

    /// Returns one endpoint; `None` if there is none. Absence is not remembered, so that a new endpoint is found at
    /// once.
    ///
    /// Needs `dynamodb:GetItem` every [`REMEMBERED_FOR`], and `kms:Decrypt` once per secret in use, at the same time.
    ///
    /// # Errors
    /// The endpoint was not remembered and could not be read, or one of its secrets did not open.
    pub async fn get(
        &self,
        tenant: &TenantId,
        id: &EndpointId,
    ) -> Result<Option<Arc<ResolvedEndpoint>>, EndpointCacheError> {
        let slot = self.known.get((tenant.clone(), id.clone()));
        let mut slot = slot.lock().await;
        let now = unix_now(); // Not the monotonic clock, which may stop while Lambda freezes the process.
        // A disabled endpoint is not remembered. Otherwise deliveries would be parked after it was enabled, and stay
        // parked.
        if let Some((read_at, recipient)) = &*slot
            && recipient.is_enabled()
            && (*read_at..*read_at + REMEMBERED_FOR).contains(&now)
        {
            return Ok(Some(Arc::clone(recipient)));
        }
        let Some(stored) = self.table.get(tenant, id).await? else {
            *slot = None;
            return Ok(None);
        };
        let before = slot.take().map(|(_, recipient)| recipient);
        let recipient = match before {
            Some(recipient) if recipient.stored == stored => recipient,
            before => {
                let opened = before.map(|recipient| recipient.opened.clone()).unwrap_or_default();
                Arc::new(self.open(tenant, id, stored, &opened).await?)
            }
        };
        *slot = Some((now, Arc::clone(&recipient)));
        Ok(Some(recipient))
    }

    /// Reads the version of an endpoint; `None` if it does not exist or is disabled now.
    ///
    /// Needs `dynamodb:GetItem`. One call, because the cache is not used.
    ///
    /// # Errors
    /// The call failed, or the item cannot be read.
    pub async fn enabled_version(&self, tenant: &TenantId, id: &EndpointId) -> Result<Option<u64>, AwsError> {
        let stored = self.table.get(tenant, id).await?;
        Ok(stored.filter(|stored| stored.disabled.is_none()).map(|stored| stored.version))
    }

    /// Disables an endpoint in the table and forgets it here. Returns whether it was enabled before.
    ///
    /// Needs `dynamodb:UpdateItem`.
    ///
    /// # Errors
    /// The call failed.
    pub async fn disable(
        &self,
        tenant: &TenantId,
        id: &EndpointId,
        because: DisabledBecause,
    ) -> Result<bool, AwsError> {
        let was_enabled = self.table.disable(tenant, id, because).await? == Written::Yes;
        if was_enabled {
            let because = because.as_str();
            tracing::warn!(tenant.id = %tenant, endpoint.id = %id, because, "endpoint.disabled");
        }
        self.forget(tenant, id).await;
        Ok(was_enabled)
    }

    /// Records that the server of an endpoint has proved at `origin` that it wants webhooks, and enables the endpoint.
    /// Returns false if the endpoint was removed or was not unverified any more.
    ///
    /// Needs `dynamodb:GetItem` and `dynamodb:UpdateItem`.
    ///
    /// # Errors
    /// A call failed.
    pub async fn verify(&self, tenant: &TenantId, id: &EndpointId, origin: &str) -> Result<bool, AwsError> {
        let was_unverified = self.table.verify(tenant, id, origin).await? == Written::Yes;
        if was_unverified {
            tracing::info!(tenant.id = %tenant, endpoint.id = %id, "endpoint.verified");
        }
        self.forget(tenant, id).await;
        Ok(was_unverified)
    }

    /// Makes the next [`Self::get`] read the endpoint again. Its secrets stay open.
    pub async fn forget(&self, tenant: &TenantId, id: &EndpointId) {
        if let Some((read_at, _)) = &mut *self.known.get((tenant.clone(), id.clone())).lock().await {
            *read_at = Duration::ZERO;
        }
    }

    async fn open(
        &self,
        tenant: &TenantId,
        endpoint: &EndpointId,
        stored: StoredEndpoint,
        known: &Opened,
    ) -> Result<ResolvedEndpoint, EndpointCacheError> {
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
        let opened =
            try_join_all(all.map(|(place, sealed, needed)| self.open_one(place, sealed, needed, known))).await?;
        let opened: Opened = opened.into_iter().flatten().collect();
        let of = |sealed: &Vec<u8>, place: SealContext<'_>| opened.get(&(sealed.clone(), key_of(place)));

        let secret = stored.auth_secret.as_ref().filter(|_| authenticates).and_then(|sealed| of(sealed, auth)).cloned();
        let caller = match (&stored.settings.auth, secret) {
            (Auth::None, _) => ClientAuth::Anonymous,
            (_, None) => return Err(EndpointCacheError::BadSecret("a secret")),
            (Auth::ApiKey(_), Some(secret)) => {
                ClientAuth::Header(api_key(&secret).map_err(EndpointCacheError::BadSecret)?)
            }
            (Auth::Basic, Some(secret)) => ClientAuth::Header(basic(&secret).map_err(EndpointCacheError::BadSecret)?),
            (Auth::Mtls { .. }, Some(identity)) => ClientAuth::certificate(identity, stored.trusted.clone()),
            (Auth::OAuth2(client), Some(secret)) => ClientAuth::OAuth2 { client: client.clone(), secret },
        };
        let mut keys = Vec::new();
        for SecretVersion { secret, created_at, expires_at } in live {
            let Some(opened) = of(&secret.sealed, signing) else { continue };
            let opened =
                EndpointKeys::parse(opened.reveal()).ok_or(EndpointCacheError::BadSecret("`whsec_` and `whsk_`"))?;
            keys.push(SecretVersion { secret: Arc::new(opened), created_at: *created_at, expires_at: *expires_at });
        }
        Ok(ResolvedEndpoint { stored, caller, keys, opened })
    }

    /// Opens a secret that is not open yet. Returns `None` if its seal is broken and it is not `needed`.
    async fn open_one(
        &self,
        place: SealContext<'_>,
        sealed: &[u8],
        needed: bool,
        known: &Opened,
    ) -> Result<Option<((Vec<u8>, String), Secret)>, OpenError> {
        let key = (sealed.to_vec(), key_of(place));
        let secret = match known.get(&key) {
            Some(secret) => secret.clone(),
            None => match self.vault.open(place, sealed).await {
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
