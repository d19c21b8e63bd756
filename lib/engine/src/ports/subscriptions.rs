//! Subscriptions: the filters of each tenant's endpoints, apart from their other settings.

use signpost_core::endpoint::EndpointId;
use signpost_core::endpoint::subscription::Subscription;
use signpost_core::event::TenantId;

/// The subscriptions of each tenant's endpoints.
pub trait Subscriptions {
    /// The reason why a call failed.
    type Error;

    /// Reads the versions of these tenants' subscriptions as they are now, in the order of `tenants`. A version changes
    /// with each subscription that is added, changed or removed. It is `None` if the tenant never had an endpoint.
    ///
    /// # Errors
    /// A tenant's version could not be read. The others may be there.
    async fn versions(&self, tenants: &[&TenantId]) -> Vec<Result<Option<u64>, Self::Error>>;

    /// Reads the subscriptions of all endpoints of a tenant, as they are now. One that cannot be read is `None`. So it
    /// does not hold up the others, and its endpoint loses nothing.
    ///
    /// # Errors
    /// The call failed.
    async fn of_tenant(&self, tenant: &TenantId) -> Result<Vec<(EndpointId, Option<Subscription>)>, Self::Error>;
}
