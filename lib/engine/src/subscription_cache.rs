//! The subscriptions that `fanout` needs: each tenant's are read again only after they have changed.

use std::sync::{Arc, Mutex};

use lru::LruCache;
use signpost_core::endpoint::EndpointId;
use signpost_core::endpoint::filter::Document;
use signpost_core::endpoint::subscription::{Choice, Subscription};
use signpost_core::event::{Event, RoutingFacts, TenantId};

use crate::catalogue::TenantSchemas;
use crate::slots::lock;

/// The subscriptions of a tenant's endpoints, and the schemas of its event types.
#[derive(Debug)]
pub struct TenantSubscriptions {
    endpoints: Box<[(EndpointId, Option<Subscription>)]>,
    schemas: TenantSchemas,
    /// Whether one of the endpoints asks for the numbers of events.
    has_sequence: bool,
}

impl TenantSubscriptions {
    /// Creates them from what the table holds.
    #[must_use]
    pub fn new(endpoints: Vec<(EndpointId, Option<Subscription>)>, schemas: TenantSchemas) -> Self {
        let has_sequence = endpoints.iter().any(|(_, one)| asks_for_sequence(one.as_ref()));
        Self { endpoints: endpoints.into(), schemas, has_sequence }
    }

    /// Returns the schemas of the tenant's event types.
    #[must_use]
    pub fn schemas(&self) -> &TenantSchemas {
        &self.schemas
    }

    /// Returns the endpoints that an event goes to.
    #[must_use]
    pub fn chosen(&self, event: &Event, facts: &RoutingFacts<'_>) -> Vec<EndpointId> {
        let document = Document::of(event);
        let is_wanted = |(id, one): &&(EndpointId, Option<Subscription>)| {
            let choice = Subscription::is_for(&document, facts, id, one.as_ref());
            if choice == Choice::TooCostly {
                let (event_id, tenant) = (event.key.id.as_str(), &event.key.tenant);
                tracing::warn!(event.id = event_id, tenant.id = %tenant, endpoint.id = %id, "filter.too_costly");
            }
            choice.is_chosen()
        };
        self.endpoints.iter().filter(is_wanted).map(|(id, _)| id.clone()).collect()
    }

    /// Returns whether one of the `chosen` endpoints asks for the numbers of events.
    #[must_use]
    pub fn is_counted(&self, chosen: &[EndpointId]) -> bool {
        let asks =
            |(id, one): &(EndpointId, Option<Subscription>)| asks_for_sequence(one.as_ref()) && chosen.contains(id);
        self.has_sequence && self.endpoints.iter().any(asks)
    }

    /// Returns about how many bytes of memory they take.
    fn bytes(&self) -> usize {
        let heap = |(id, one): &(EndpointId, Option<Subscription>)| {
            id.as_str().len() + one.as_ref().map_or(0, Subscription::heap_bytes)
        };
        let endpoints = size_of_val(&*self.endpoints) + self.endpoints.iter().map(heap).sum::<usize>();
        TENANT_BYTES + endpoints + self.schemas.bytes()
    }
}

fn asks_for_sequence(one: Option<&Subscription>) -> bool {
    one.is_some_and(|one| one.sequence)
}

/// The subscriptions of the tenants that had an event most recently, as many as fit into 16 MiB.
#[derive(Debug)]
pub struct SubscriptionCache {
    max_bytes: usize,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    /// By tenant: the version, and the subscriptions.
    tenants: LruCache<TenantId, (u64, Arc<TenantSubscriptions>)>,
    /// How many bytes of memory all of them take.
    bytes: usize,
}

/// How much memory all remembered subscriptions may take: a hundred thousand ordinary ones, or those of three tenants with
/// the largest settings that are allowed.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// The memory for a tenant besides its subscriptions: its name, and its place in the cache.
const TENANT_BYTES: usize = 256;

impl Default for SubscriptionCache {
    fn default() -> Self {
        Self::new(MAX_BYTES)
    }
}

impl SubscriptionCache {
    fn new(max_bytes: usize) -> Self {
        Self { max_bytes, known: Mutex::new(Known { tenants: LruCache::unbounded(), bytes: 0 }) }
    }

    /// Returns a tenant's subscriptions, if those of this version are remembered.
    #[must_use]
    pub fn get(&self, tenant: &TenantId, version: u64) -> Option<Arc<TenantSubscriptions>> {
        let mut known = lock(&self.known);
        let (remembered, subscriptions) = known.tenants.get(tenant)?;
        (*remembered == version).then(|| Arc::clone(subscriptions))
    }

    /// Remembers a tenant's subscriptions, which were read after this version was. Forgets those that were not used for
    /// the longest time, until the rest has room. A tenant that has no room alone takes it from no other.
    pub fn put(&self, tenant: TenantId, version: u64, subscriptions: Arc<TenantSubscriptions>) {
        let mut known = lock(&self.known);
        if let Some((_, before)) = known.tenants.pop(&tenant) {
            known.bytes -= before.bytes();
        }
        if subscriptions.bytes() > self.max_bytes {
            return;
        }
        known.bytes += subscriptions.bytes();
        known.tenants.put(tenant, (version, subscriptions));
        while known.bytes > self.max_bytes
            && let Some((_, (_, oldest))) = known.tenants.pop_lru()
        {
            known.bytes -= oldest.bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    const BOUND: usize = 20_000;

    fn tenant(number: u8) -> TenantId {
        TenantId::parse(&format!("t{number}")).unwrap()
    }

    /// Subscriptions that take about this much memory.
    fn of_about(bytes: usize) -> Arc<TenantSubscriptions> {
        let types = format!(r#"[{{"type":"{}"}}]"#, "a".repeat(bytes));
        let id = EndpointId::new(Uuid::from_u128(0));
        Arc::new(TenantSubscriptions::new(vec![(id, Subscription::parse(&types, None))], TenantSchemas::default()))
    }

    #[test]
    fn only_the_version_that_was_read_is_remembered() {
        let (cache, acme) = (SubscriptionCache::new(BOUND), tenant(0));
        assert!(cache.get(&acme, 1).is_none());
        cache.put(acme.clone(), 1, of_about(1));
        assert!(cache.get(&acme, 1).is_some());
        assert!(cache.get(&acme, 2).is_none(), "they have changed");
        assert!(cache.get(&tenant(1), 1).is_none(), "another tenant's");
    }

    #[test]
    fn the_tenant_that_was_not_used_for_the_longest_time_is_forgotten_first() {
        let cache = SubscriptionCache::new(BOUND);
        let third = BOUND / 3 - 500;
        (0..3).for_each(|number| cache.put(tenant(number), 1, of_about(third)));
        assert!(cache.get(&tenant(0), 1).is_some(), "all three have room");
        cache.put(tenant(3), 1, of_about(third));
        let known = [0, 1, 2, 3].map(|number| cache.get(&tenant(number), 1).is_some());
        assert_eq!(known, [true, false, true, true]);
    }

    proptest! {
        #[test]
        fn the_remembered_subscriptions_never_take_more_than_their_bound(
            puts in prop::collection::vec((0_u8..8, 0_u64..3, 0..BOUND / 2), 0..40),
        ) {
            let cache = SubscriptionCache::new(BOUND);
            for (number, version, bytes) in puts {
                cache.put(tenant(number), version, of_about(bytes));
                let known = lock(&cache.known);
                prop_assert!(known.bytes <= BOUND);
                prop_assert_eq!(known.bytes, known.tenants.iter().map(|(_, (_, one))| one.bytes()).sum::<usize>());
                prop_assert!(known.tenants.contains(&tenant(number)), "it has room");
            }
            let before = lock(&cache.known).tenants.len();
            cache.put(tenant(9), 1, of_about(BOUND));
            prop_assert_eq!(lock(&cache.known).tenants.len(), before, "it has no room, and takes none");
        }
    }
}
