//! Subscriptions: the filters of each tenant's endpoints, apart from their other settings; and the schemas of its event
//! types.

use signpost_core::endpoint::EndpointId;
use signpost_core::endpoint::subscription::Subscription;
use signpost_core::event::TenantId;

/// The subscriptions of each tenant's endpoints.
pub trait Subscriptions {
    /// The reason why a call failed.
    type Error;

    /// Reads the versions of these tenants' subscriptions and event types as they are now, in the order of `tenants`. A
    /// version changes with each of them that is added, changed or removed. It is `None` if the tenant never had one.
    ///
    /// # Errors
    /// A tenant's version could not be read. The others may be there.
    async fn versions(&self, tenants: &[&TenantId]) -> Vec<Result<Option<Version>, Self::Error>>;

    /// Reads the subscriptions of all endpoints of a tenant, as they are now. One that cannot be read is `None`. So it
    /// does not hold up the others, and its endpoint loses nothing.
    ///
    /// # Errors
    /// The call failed.
    async fn of_tenant(&self, tenant: &TenantId) -> Result<Vec<(EndpointId, Option<Subscription>)>, Self::Error>;

    /// Reads the rules of a tenant's event types, as they are now. Unreadable ones are left out, so that their
    /// events are accepted.
    ///
    /// # Errors
    /// The call failed.
    async fn schemas(&self, tenant: &TenantId) -> Result<Vec<TypeRules>, Self::Error>;
}

/// The rules of an event type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TypeRules {
    /// The CloudEvents `type`.
    pub kind: String,
    /// The JSON Schema of its payloads.
    pub schema: String,
    /// For how many days its events are kept, if shorter than the stack keeps events.
    pub retention_days: Option<u16>,
}

/// A version of a tenant's subscriptions and event types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// The number of changes so far.
    pub number: u64,
    /// Whether the tenant has event types of its own.
    pub has_event_types: bool,
    /// When the tenant was erased last, in milliseconds since the Unix epoch: what arrived before is dropped. It is
    /// [`NOT_ENDED`] while the tenant is being erased, and 0 if it never was.
    ///
    /// [`NOT_ENDED`]: signpost_core::tenant_erasure::NOT_ENDED
    pub erased_until_unix_ms: u64,
}
