//! Erasures of tenants, and the removal of what the tables have of them.

use signpost_core::event::TenantId;
use signpost_core::tenant_erasure::{ErasureId, Removed, TenantErasure};

/// The erasures.
pub trait TenantErasures {
    /// The reason why a call failed.
    type Error;

    /// Reads the running erasures of all tenants. One that has just ended may be there.
    ///
    /// # Errors
    /// The call failed.
    async fn running(&self) -> Result<Vec<RunningErasure>, Self::Error>;

    /// Reads a tenant's erasure.
    ///
    /// # Errors
    /// The call failed, or the erasure cannot be read.
    async fn get(&self, tenant: &TenantId, id: &ErasureId) -> Result<Option<TenantErasure>, Self::Error>;

    /// Replaces an erasure by `after`, the next version of it. Returns false if another writer was faster.
    ///
    /// # Errors
    /// The call failed. The erasure may be replaced.
    async fn replace(&self, after: &TenantErasure) -> Result<bool, Self::Error>;

    /// Removes an erasure from those that run. Repeating the call changes nothing.
    ///
    /// # Errors
    /// The call failed. The next run finds that the erasure has ended.
    async fn end_running(&self, running: &RunningErasure) -> Result<(), Self::Error>;

    /// Does a step of the erasure's stage: removes some items of the tenant. A step takes some seconds at most. Repeating
    /// it removes what is left, and otherwise changes nothing.
    ///
    /// The first stage marks the tenant before it removes anything. The last one only notes when the erasure ended: what
    /// arrives afterwards is not erased.
    ///
    /// # Errors
    /// A call failed. Repeat the step.
    async fn step(&self, erasure: &TenantErasure) -> Result<ErasureStep, Self::Error>;
}

/// A note that an erasure runs. It is written before the erasure itself. A tenant has at most one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningErasure {
    /// The tenant.
    pub tenant: TenantId,
    /// The erasure.
    pub id: ErasureId,
    /// When the erasure was made, in seconds since the Unix epoch.
    pub noted_at: u64,
}

/// The result of a step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErasureStep {
    /// The numbers of removed things.
    pub removed: Removed,
    /// How far the stage has come; none if it is over.
    pub cursor: Option<String>,
}
