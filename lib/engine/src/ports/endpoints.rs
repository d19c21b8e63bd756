//! Endpoints, and what a request to one needs.

use std::error::Error;
use std::sync::Arc;

use signpost_core::endpoint::signing_secrets::SecretVersion;
use signpost_core::endpoint::{DisabledBecause, Endpoint, EndpointId};
use signpost_core::event::TenantId;
use signpost_core::signing::standard_webhooks::{EndpointKeys, WebhookPublicKey};

/// The endpoints of each tenant.
pub trait Endpoints {
    /// The reason why a call failed.
    type Error;

    /// Reads one endpoint as it is now; `None` if there is none.
    ///
    /// # Errors
    /// The call failed, or the endpoint cannot be read.
    async fn get(&self, tenant: &TenantId, id: &EndpointId) -> Result<Option<StoredEndpoint>, Self::Error>;

    /// Returns whether an endpoint exists, even if it cannot be read.
    ///
    /// # Errors
    /// The call failed.
    async fn exists(&self, tenant: &TenantId, id: &EndpointId) -> Result<bool, Self::Error>;

    /// Returns when a tenant was erased last, in milliseconds since the Unix epoch: what arrived before is dropped. It is
    /// [`NOT_ENDED`] while the tenant is being erased, and 0 if it never was.
    ///
    /// [`NOT_ENDED`]: signpost_core::tenant_erasure::NOT_ENDED
    ///
    /// # Errors
    /// The call failed, or the item cannot be read.
    async fn erased_until(&self, tenant: &TenantId) -> Result<u64, Self::Error>;

    /// Disables an endpoint. Returns [`Written::Overtaken`] if it does not exist or is disabled already.
    ///
    /// # Errors
    /// The call failed.
    async fn disable(
        &self,
        tenant: &TenantId,
        id: &EndpointId,
        because: DisabledBecause,
    ) -> Result<Written, Self::Error>;

    /// Records that the origin of an endpoint's URL has proved itself, and enables the endpoint. Returns
    /// [`Written::Overtaken`] if the endpoint is not unverified any more, or if its URL has another origin now.
    ///
    /// # Errors
    /// A call failed, or the endpoint cannot be read.
    async fn verify(&self, tenant: &TenantId, id: &EndpointId, origin: &str) -> Result<Written, Self::Error>;
}

/// The secrets of endpoints. The adapter remembers the secrets that it has opened.
pub trait Secrets {
    /// How the sender authenticates to a receiver.
    type Access;
    /// The reason why a secret could not be opened.
    type Error: Error + Send + Sync + 'static;

    /// Opens the secrets of an endpoint.
    ///
    /// # Errors
    /// A secret that the endpoint needs did not open, or has an unexpected form. No request can be sent.
    async fn open(
        &self,
        tenant: &TenantId,
        id: &EndpointId,
        stored: &StoredEndpoint,
    ) -> Result<OpenedSecrets<Self::Access>, Self::Error>;
}

/// The secrets of an endpoint, ready for a request.
#[derive(Debug)]
pub struct OpenedSecrets<A> {
    /// How the sender authenticates to the receiver.
    pub access: A,
    /// The endpoint's own signing keys, oldest first.
    pub keys: Vec<SecretVersion<Arc<EndpointKeys>>>,
}

/// An endpoint as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEndpoint {
    /// The settings without secrets.
    pub settings: Endpoint,
    /// The origin that has proved that it wants webhooks ([`signpost_core::delivery::verification`]), if any.
    pub verified_origin: Option<String>,
    /// Why the endpoint is disabled; `None` if it is enabled.
    pub disabled: Option<DisabledBecause>,
    /// The number of changes; each one adds 1.
    pub version: u64,
    /// When it was created, in seconds since the Unix epoch.
    pub created_at: u64,
    /// When it was changed last, in seconds since the Unix epoch.
    pub updated_at: u64,
    /// The secret of its client authentication, sealed.
    pub auth_secret: Option<Vec<u8>>,
    /// The authorities that may issue the receiver's certificate, in PEM; the public ones if `None`.
    pub trusted: Option<String>,
    /// The endpoint's own keys, oldest first.
    pub signing_secrets: Vec<SecretVersion<SealedKeys>>,
}

impl StoredEndpoint {
    /// Creates the first version of an endpoint, enabled and without secrets. `created_at` is in seconds since the Unix epoch.
    #[must_use]
    pub fn new(settings: Endpoint, created_at: u64) -> Self {
        Self {
            settings,
            verified_origin: None,
            disabled: None,
            version: 1,
            created_at,
            updated_at: created_at,
            auth_secret: None,
            trusted: None,
            signing_secrets: Vec::new(),
        }
    }
}

/// An endpoint's own keys as they are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedKeys {
    /// The secret and the private key, sealed.
    pub sealed: Vec<u8>,
    /// The public key, so that operators can see it.
    pub public_key: WebhookPublicKey,
}

/// The result of a conditional write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// The item was written.
    Yes,
    /// The item was not written, because the endpoint is not, or not any more, as the condition requires.
    Overtaken,
}

impl Written {
    /// Returns the result of a write whose condition held, or not.
    #[must_use]
    pub fn of(held: bool) -> Self {
        if held { Self::Yes } else { Self::Overtaken }
    }
}
