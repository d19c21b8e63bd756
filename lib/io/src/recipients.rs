//! Endpoints as `deliver` meets them: remembered for some seconds, their secrets opened once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use signpost_core::auth::{Auth, api_key, basic};
use signpost_core::endpoint::{Endpoint, EndpointId, SignatureFormat};
use signpost_core::event::TenantId;
use signpost_core::live_secrets::LiveSecret;
use signpost_core::standard_webhooks::SigningSecret;

use crate::aws::AwsError;
use crate::callback::Caller;
use crate::clock::unix_now;
use crate::endpoints::{Endpoints, StoredEndpoint};
use crate::vault::{OpenError, Place, Purpose, Vault};

/// An endpoint, ready to be called.
#[derive(Debug)]
pub struct Recipient {
    stored: StoredEndpoint,
    /// How it is shown who calls.
    pub caller: Caller,
    secrets: Vec<LiveSecret<SigningSecret>>,
}

impl Recipient {
    /// Its settings.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.stored.settings
    }

    /// Whether anything is sent to it.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.stored.is_enabled
    }

    /// The secrets that sign at `now`, in seconds since the Unix epoch.
    #[must_use]
    pub fn signing_secrets(&self, now: u64) -> Vec<SigningSecret> {
        self.secrets.iter().filter(|secret| secret.is_live(now)).map(|secret| secret.secret.clone()).collect()
    }
}

/// Why an endpoint cannot be called now: a fault on our side, never charged to it.
#[derive(Debug, thiserror::Error)]
pub enum RecipientError {
    /// It could not be read.
    #[error("endpoint could not be read")]
    Aws(#[from] AwsError),
    /// A secret of it is not what it should be.
    #[error("secret of the endpoint is unusable: it is no longer {0}; write it anew")]
    BadSecret(&'static str),
    /// A secret of it did not open.
    #[error("secret of the endpoint could not be opened")]
    Open(#[from] OpenError),
}

/// Endpoints as they were at most [`REMEMBERED_FOR`] ago, for `deliver`, which meets the same few again and again.
///
/// A changed or removed endpoint therefore gets requests under its old settings for that long. Secrets are opened once,
/// as long as what is sealed stays the same: a warm environment makes no call to KMS.
#[derive(Debug)]
pub struct Recipients {
    table: Endpoints,
    vault: Vault,
    known: Mutex<HashMap<Key, Known>>,
}

type Key = (TenantId, EndpointId);

/// When it was read, and what it is.
type Known = (Instant, Arc<Recipient>);

/// How long a remembered endpoint is taken for current.
pub const REMEMBERED_FOR: Duration = Duration::from_secs(10);

/// How many endpoints are remembered at once: mostly a kilobyte each, some tens with certificates of their own.
const CAPACITY: usize = 1_000;

impl Recipients {
    /// Remembers what `table` answers and `vault` opens.
    #[must_use]
    pub fn new(table: Endpoints, vault: Vault) -> Self {
        Self { table, vault, known: Mutex::default() }
    }

    /// Gives one endpoint, if it is there. An absent one is not remembered, so that a new one is found at once.
    ///
    /// Needs `dynamodb:GetItem` every [`REMEMBERED_FOR`], and `kms:Decrypt` once per secret in use.
    ///
    /// # Errors
    /// It was not remembered and could not be read, or a secret of it did not open.
    pub async fn get(&self, tenant: &TenantId, id: &EndpointId) -> Result<Option<Arc<Recipient>>, RecipientError> {
        let (now, key) = (Instant::now(), (tenant.clone(), id.clone()));
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some((read_at, recipient)) = &known
            && now.duration_since(*read_at) < REMEMBERED_FOR
        {
            return Ok(Some(Arc::clone(recipient)));
        }
        let Some(stored) = self.table.get(tenant, id).await? else { return Ok(None) };
        let recipient = match known {
            Some((_, recipient)) if recipient.stored == stored => recipient,
            _ => Arc::new(self.open(tenant, id, stored).await?),
        };
        self.remember(key, now, &recipient);
        Ok(Some(recipient))
    }

    fn remember(&self, key: Key, now: Instant, recipient: &Arc<Recipient>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= CAPACITY && !known.contains_key(&key) {
            // Whoever was not met lately makes room; if all were, one of them does, to be opened anew.
            let oldest = known.iter().min_by_key(|(_, (read_at, _))| *read_at).map(|(key, _)| key.clone());
            known.retain(|key, _| Some(key) != oldest.as_ref());
        }
        known.insert(key, (now, Arc::clone(recipient)));
    }

    async fn open(
        &self,
        tenant: &TenantId,
        endpoint: &EndpointId,
        stored: StoredEndpoint,
    ) -> Result<Recipient, RecipientError> {
        let place = |purpose| Place { tenant, endpoint, purpose };
        let secret = match (&stored.settings.auth, &stored.auth_secret) {
            (Auth::None, _) => None,
            (_, None) => return Err(RecipientError::BadSecret("there")),
            (_, Some(sealed)) => Some(self.vault.open(place(Purpose::Auth), sealed).await?),
        };
        let caller = match (&stored.settings.auth, secret) {
            (_, None) | (Auth::None, _) => Caller::Anonymous,
            (Auth::ApiKey, Some(secret)) => Caller::Header(api_key(&secret).map_err(RecipientError::BadSecret)?),
            (Auth::Basic, Some(secret)) => Caller::Header(basic(&secret).map_err(RecipientError::BadSecret)?),
            (Auth::Mtls { .. }, Some(identity)) => Caller::certificate(identity, stored.trusted.clone()),
            (Auth::OAuth2(client), Some(secret)) => Caller::OAuth2 { client: client.clone(), secret },
        };
        let mut secrets = Vec::new();
        if stored.settings.signs(SignatureFormat::StandardWebhooks) {
            let now = unix_now().as_secs();
            let live = stored.signing_secrets.iter().filter(|secret| secret.is_live(now));
            for LiveSecret { secret, created_at, expires_at } in live {
                let opened = self.vault.open(place(Purpose::Signing), secret).await?;
                let secret =
                    SigningSecret::parse(opened.reveal()).ok_or(RecipientError::BadSecret("`whsec_` and base64"))?;
                secrets.push(LiveSecret { secret, created_at: *created_at, expires_at: *expires_at });
            }
        }
        Ok(Recipient { stored, caller, secrets })
    }
}
