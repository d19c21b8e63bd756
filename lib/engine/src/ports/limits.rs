//! The state of an endpoint that all senders share: its slots, its count of requests per second, and its breaker.

use signpost_core::delivery::breaker::Breaker;
use signpost_core::delivery::limits::{HeldSlot, Second};
use signpost_core::endpoint::{EndpointId, Limit};
use signpost_core::event::TenantId;

/// The slots of endpoints and tenants, and the counts of endpoints.
pub trait Limits {
    /// The reason why a call failed.
    type Error;

    /// Reads the first `limit` slots of a pool that are or were held.
    ///
    /// # Errors
    /// The call failed.
    async fn held(&self, pool: &SlotPool, limit: Limit) -> Result<Vec<HeldSlot>, Self::Error>;

    /// Takes a slot until `until_unix_ms`, if it is free at `now_unix_ms`, both in milliseconds since the Unix epoch.
    /// Returns false if another sender holds it.
    ///
    /// # Errors
    /// The call failed. Do not send.
    async fn take(&self, slot: &ConcurrencySlot, now_unix_ms: u64, until_unix_ms: u64) -> Result<bool, Self::Error>;

    /// Extends a slot, if its holder still has it. Returns false if the slot was lost.
    ///
    /// # Errors
    /// The call failed. Do not send.
    async fn renew(&self, slot: &ConcurrencySlot, now_unix_ms: u64, until_unix_ms: u64) -> Result<bool, Self::Error>;

    /// Releases a slot, if its holder still has it.
    ///
    /// # Errors
    /// The call failed. The slot is free when its lease expires.
    async fn release(&self, slot: ConcurrencySlot) -> Result<(), Self::Error>;

    /// Counts the first requests of a second, in seconds since the Unix epoch, if the count is of an earlier one.
    ///
    /// # Errors
    /// The call failed. Do not send.
    async fn count_first(
        &self,
        endpoint: &EndpointId,
        unix_seconds: u64,
        requests: u16,
    ) -> Result<Counted, Self::Error>;

    /// Counts more requests of a second, if the count is of this second and stays within `limit`.
    ///
    /// # Errors
    /// The call failed. Do not send.
    async fn count_more(
        &self,
        endpoint: &EndpointId,
        unix_seconds: u64,
        limit: Limit,
        requests: u16,
    ) -> Result<Counted, Self::Error>;
}

/// A set of slots.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SlotPool {
    /// One slot for each request that an endpoint with `maxConcurrency` accepts at the same time.
    Endpoint(EndpointId),
    /// One slot for each invocation of the slow track that sends for a tenant.
    Tenant(TenantId),
}

/// A slot that the owner of this value holds.
#[derive(Debug)]
pub struct ConcurrencySlot {
    /// Its pool.
    pub pool: SlotPool,
    /// Which slot of the pool, from 0.
    pub index: u16,
    /// A random token that distinguishes the holder from later ones.
    pub holder: u64,
}

/// The result of counting requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// They are counted.
    Yes,
    /// They are not counted; this is the count instead.
    Instead(Option<Second>),
}

/// The breakers of endpoints.
pub trait Breakers {
    /// The reason why a call failed.
    type Error;

    /// Reads a breaker as it is now, with its version. An endpoint without a failure has a closed one, and no version.
    ///
    /// # Errors
    /// The call failed, or the breaker cannot be read.
    async fn read(&self, endpoint: &EndpointId) -> Result<(Breaker, Option<u64>), Self::Error>;

    /// Writes `breaker` as `version`, if the version is still `before`. Returns false if another writer was faster.
    ///
    /// # Errors
    /// The call failed. The breaker may be written.
    async fn replace(
        &self,
        endpoint: &EndpointId,
        before: Option<u64>,
        breaker: &Breaker,
        version: u64,
    ) -> Result<bool, Self::Error>;
}
