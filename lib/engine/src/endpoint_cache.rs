//! The endpoints that `deliver` needs: each is remembered for some seconds, and its secrets are opened once.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use futures_util::lock::Mutex;
use signpost_core::delivery::verification::has_proved;
use signpost_core::endpoint::{DisabledBecause, Endpoint, EndpointId};
use signpost_core::event::TenantId;
use signpost_core::signing::standard_webhooks::EndpointKeys;

use crate::ports::clock::Clock as _;
use crate::ports::endpoints::{Endpoints as _, OpenedSecrets, Secrets as _, StoredEndpoint, Written};
use crate::ports::{Access, Ports};
use crate::slots::Slots;

/// An endpoint with its secrets opened, ready for a request.
#[derive(Debug)]
pub struct ResolvedEndpoint<A> {
    stored: StoredEndpoint,
    opened: OpenedSecrets<A>,
}

impl<A> ResolvedEndpoint<A> {
    /// Returns the endpoint's settings.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.stored.settings
    }

    /// Returns how the sender authenticates to the receiver.
    #[must_use]
    pub fn access(&self) -> &A {
        &self.opened.access
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
        self.opened.keys.iter().filter(|keys| keys.is_live(now)).map(|keys| Arc::clone(&keys.secret)).collect()
    }
}

/// The reason why no request can be sent to an endpoint now: an internal error, never charged to the endpoint.
#[derive(Debug, thiserror::Error)]
pub enum EndpointCacheError<E: Error + 'static> {
    /// The endpoint could not be read.
    #[error("endpoint could not be read")]
    Table(#[from] E),
    /// One of its secrets did not open.
    #[error("secret of the endpoint could not be used")]
    Secrets(#[source] Box<dyn Error + Send + Sync>),
}

/// Endpoints as they were at most [`REMEMBERED_FOR`] ago. `deliver` needs the same few repeatedly.
///
/// After a change or a removal, an endpoint therefore gets requests with its old settings for that long. The adapter of
/// [`Secrets`] remembers opened secrets by itself: an endpoint that is read again does not open them again.
///
/// [`Secrets`]: crate::ports::endpoints::Secrets
pub struct EndpointCache<P: Ports> {
    clock: P::Clock,
    table: P::Endpoints,
    secrets: P::Secrets,
    known: Slots<Key, CacheEntry<Access<P>>>,
}

type Key = (TenantId, EndpointId);

/// One endpoint: when it was read, and its content. The reader holds the lock, so that the deliveries of one batch
/// share one call.
type CacheEntry<A> = Mutex<Option<(Duration, Arc<ResolvedEndpoint<A>>)>>;

/// How long a remembered endpoint is used before it is read again.
pub const REMEMBERED_FOR: Duration = Duration::from_secs(10);

/// How many endpoints are remembered at once, if they fit into [`MAX_BYTES`].
const CAPACITY: usize = 5_000;

/// How much memory the remembered endpoints may have, by the estimate of [`bytes_of`]. Functions have 256 MB.
const MAX_BYTES: usize = 64 * 1024 * 1024;

impl<P: Ports> EndpointCache<P> {
    /// Creates a cache of the endpoints in `table`, whose secrets `secrets` opens.
    pub fn new(clock: P::Clock, table: P::Endpoints, secrets: P::Secrets) -> Self {
        Self { clock, table, secrets, known: Slots::within(CAPACITY, MAX_BYTES) }
    }

    /// Returns one endpoint; `None` if there is none. Absence is not remembered, so that a new endpoint is found at
    /// once.
    ///
    /// One read every [`REMEMBERED_FOR`].
    ///
    /// # Errors
    /// The endpoint was not remembered and could not be read, or one of its secrets did not open.
    pub async fn get(
        &self,
        tenant: &TenantId,
        id: &EndpointId,
    ) -> Result<Option<Arc<ResolvedEndpoint<Access<P>>>>, EndpointCacheError<P::Error>> {
        let key = (tenant.clone(), id.clone());
        let slot = self.known.get(key.clone());
        let mut slot = slot.lock().await;
        let now = self.clock.unix(); // Not the monotonic clock, which may stop while Lambda freezes the process.
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
            _ => {
                let opened = self.secrets.open(tenant, id, &stored).await;
                let opened = opened.map_err(|error| EndpointCacheError::Secrets(Box::new(error)))?;
                self.known.set_bytes(&key, bytes_of(&stored));
                Arc::new(ResolvedEndpoint { stored, opened })
            }
        };
        *slot = Some((now, Arc::clone(&recipient)));
        Ok(Some(recipient))
    }

    /// Reads the version of an endpoint; `None` if it does not exist or is disabled now.
    ///
    /// One read, because the cache is not used.
    ///
    /// # Errors
    /// The call failed, or the item cannot be read.
    pub async fn enabled_version(&self, tenant: &TenantId, id: &EndpointId) -> Result<Option<u64>, P::Error> {
        let stored = self.table.get(tenant, id).await?;
        Ok(stored.filter(|stored| stored.disabled.is_none()).map(|stored| stored.version))
    }

    /// Returns when a tenant was erased last ([`Endpoints::erased_until`]).
    ///
    /// One read, because nothing is remembered.
    ///
    /// # Errors
    /// The call failed, or the item cannot be read.
    ///
    /// [`Endpoints::erased_until`]: crate::ports::endpoints::Endpoints::erased_until
    pub async fn erased_until(&self, tenant: &TenantId) -> Result<u64, P::Error> {
        self.table.erased_until(tenant).await
    }

    /// Disables an endpoint in the table and forgets it here. Returns whether it was enabled before.
    ///
    /// One write.
    ///
    /// # Errors
    /// The call failed.
    pub async fn disable(
        &self,
        tenant: &TenantId,
        id: &EndpointId,
        because: DisabledBecause,
    ) -> Result<bool, P::Error> {
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
    /// One read and one write.
    ///
    /// # Errors
    /// A call failed.
    pub async fn verify(&self, tenant: &TenantId, id: &EndpointId, origin: &str) -> Result<bool, P::Error> {
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
}

/// Returns an estimate of the memory of an endpoint and its opened secrets, on the high side.
///
/// Settings need more memory than their JSON: a list of short names up to 14 times as much.
fn bytes_of(stored: &StoredEndpoint) -> usize {
    let json = serde_json::to_vec(&stored.settings).map_or(0, |json| json.len());
    let sealed = stored.signing_secrets.iter().map(|keys| keys.secret.sealed.len());
    let secrets = stored.auth_secret.as_ref().map_or(0, Vec::len) + sealed.sum::<usize>();
    let trusted = stored.trusted.as_ref().map_or(0, String::len);
    1_024 + 14 * json + 3 * (secrets + trusted)
}
