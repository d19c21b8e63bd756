//! Bulk replays, and the lists of deliveries that they read.

use signpost_core::delivery::list::{ListPosition, OldestFirst};
use signpost_core::delivery::replay::{Replay, ReplayId};
use signpost_core::delivery::{DeliveryStatus, Progress};
use signpost_core::endpoint::EndpointId;
use signpost_core::event::{EventKey, TenantId};

/// The replays.
pub trait Replays {
    /// The reason why a call failed.
    type Error;

    /// Reads the running replays of all tenants. One that has just ended may be there.
    ///
    /// # Errors
    /// The call failed.
    async fn running(&self) -> Result<Vec<RunningReplay>, Self::Error>;

    /// Reads a tenant's replay.
    ///
    /// # Errors
    /// The call failed, or the replay cannot be read.
    async fn get(&self, tenant: &TenantId, id: &ReplayId) -> Result<Option<Replay>, Self::Error>;

    /// Replaces a replay by `after`, the next version of it. Returns false if another writer was faster.
    ///
    /// # Errors
    /// The call failed. The replay may be replaced.
    async fn replace(&self, after: &Replay) -> Result<bool, Self::Error>;

    /// Removes a replay from those that run. Repeating the call changes nothing.
    ///
    /// # Errors
    /// The call failed. The next run finds that the replay has ended.
    async fn end_running(&self, running: &RunningReplay) -> Result<(), Self::Error>;
}

/// A note that a replay runs. It is written before the replay itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningReplay {
    /// The tenant.
    pub tenant: TenantId,
    /// The index of the note among those of the tenant.
    pub index: u8,
    /// The replay.
    pub id: ReplayId,
    /// When the replay was made, in seconds since the Unix epoch.
    pub noted_at: u64,
}

/// The lists of deliveries.
pub trait DeliveryLists {
    /// The reason why a call failed.
    type Error;

    /// Reads the deliveries with one of these statuses in a part of an endpoint's list, from the oldest on. Looks at about
    /// `looked_at` deliveries.
    ///
    /// A delivery that cannot be read is left out and logged.
    ///
    /// # Errors
    /// A call failed.
    async fn oldest_first(
        &self,
        tenant: &TenantId,
        endpoint: &EndpointId,
        part: OldestFirst,
        statuses: &[DeliveryStatus],
        looked_at: usize,
    ) -> Result<ListStretch, Self::Error>;
}

/// A stretch of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListStretch {
    /// The deliveries, oldest first.
    pub deliveries: Vec<ListedDelivery>,
    /// The position up to which the list was read; none if that is the end of the part.
    pub read_to: Option<ListPosition>,
}

/// A delivery in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedDelivery {
    /// Its position.
    pub position: ListPosition,
    /// The event.
    pub event: EventKey,
    /// The delivery's progress.
    pub progress: Progress,
    /// For how many days the event is kept, if its type says so. The list does not know it.
    pub retention_days: Option<u16>,
}
