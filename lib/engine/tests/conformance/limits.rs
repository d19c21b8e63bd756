//! Slots, counts of requests, and breakers.

use std::fmt::Debug;

use signpost_core::delivery::attempt::judge_status;
use signpost_core::delivery::breaker::{Breaker, Outcomes};
use signpost_core::delivery::limits::{HeldSlot, Second};
use signpost_core::endpoint::{EndpointId, Limit};
use signpost_core::event::TenantId;
use signpost_engine::ports::limits::{Breakers, ConcurrencySlot, Counted, Limits, SlotPool};

use super::AT;

/// A slot belongs to its holder until its lease ends.
pub async fn a_slot<L: Limits<Error: Debug>>(table: &L, endpoint: &EndpointId) {
    let pool = SlotPool::Endpoint(endpoint.clone());
    let slot = |index, holder| ConcurrencySlot { pool: pool.clone(), index, holder };
    let (until, limit) = (AT + 95_000, Limit::try_from(12).unwrap());
    assert_eq!(table.held(&pool, limit).await.unwrap(), []);
    assert!(!table.renew(&slot(0, 7), AT, until).await.unwrap(), "nobody has it");
    assert!(table.take(&slot(0, 7), AT, until).await.unwrap());
    assert!(!table.take(&slot(0, 8), until - 1, until + 1).await.unwrap(), "another has it");
    assert!(!table.take(&slot(0, 7), AT, until).await.unwrap(), "even its holder does not take it twice");
    assert!(table.take(&slot(11, 9), AT, AT + 1).await.unwrap(), "another slot");
    let held = [(0, until), (11, AT + 1)].map(|(index, until_unix_ms)| HeldSlot { index, until_unix_ms });
    assert_eq!(table.held(&pool, limit).await.unwrap(), held, "those that have expired, too");
    assert_eq!(table.held(&pool, Limit::try_from(11).unwrap()).await.unwrap(), held[..1], "only the first slots");
    let tenants = SlotPool::Tenant(TenantId::parse("acme").unwrap());
    assert_eq!(table.held(&tenants, limit).await.unwrap(), [], "another pool");

    assert!(!table.renew(&slot(0, 8), AT, until + 5).await.unwrap(), "another's");
    assert!(table.renew(&slot(0, 7), until - 1, until + 5).await.unwrap());
    assert!(!table.renew(&slot(0, 7), until + 5, until + 9).await.unwrap(), "it has expired");
    table.release(slot(0, 8)).await.unwrap();
    assert_eq!(table.held(&pool, limit).await.unwrap()[0].until_unix_ms, until + 5, "another's");
    assert!(table.take(&slot(0, 8), until + 5, until + 9).await.unwrap(), "it has expired");
    table.release(slot(0, 7)).await.unwrap();
    assert_eq!(table.held(&pool, limit).await.unwrap().len(), 2, "it was lost before");
    table.release(slot(0, 8)).await.unwrap();
    table.release(slot(0, 8)).await.unwrap();
    assert_eq!(table.held(&pool, limit).await.unwrap(), held[1..]);
}

/// Requests are counted by the second, up to a limit, and never in a second that is over.
pub async fn a_count<L: Limits<Error: Debug>>(table: &L, endpoint: &EndpointId) {
    let limit = Limit::try_from(3).unwrap();
    let instead = |unix_seconds, begun| Counted::Instead(Some(Second { unix_seconds, begun }));
    assert_eq!(table.count_more(endpoint, 100, limit, 1).await.unwrap(), Counted::Instead(None));
    assert_eq!(table.count_first(endpoint, 100, 1).await.unwrap(), Counted::Yes);
    assert_eq!(table.count_first(endpoint, 100, 1).await.unwrap(), instead(100, 1));
    assert_eq!(table.count_more(endpoint, 100, limit, 1).await.unwrap(), Counted::Yes);
    assert_eq!(table.count_more(endpoint, 101, limit, 1).await.unwrap(), instead(100, 2), "the next second");
    assert_eq!(table.count_more(endpoint, 99, limit, 1).await.unwrap(), instead(100, 2), "a second that is over");
    assert_eq!(table.count_first(endpoint, 99, 1).await.unwrap(), instead(100, 2), "a second that is over");
    assert_eq!(table.count_more(endpoint, 100, limit, 1).await.unwrap(), Counted::Yes);
    assert_eq!(table.count_more(endpoint, 100, limit, 1).await.unwrap(), instead(100, 3), "the limit");
    assert_eq!(table.count_first(endpoint, 200, 2).await.unwrap(), Counted::Yes, "two at once");
    assert_eq!(table.count_more(endpoint, 200, limit, 2).await.unwrap(), instead(200, 2), "all or none");
    assert_eq!(table.count_more(endpoint, 200, limit, 1).await.unwrap(), Counted::Yes);
    assert_eq!(table.count_first(endpoint, 301, 1).await.unwrap(), Counted::Yes);
    assert_eq!(table.count_more(endpoint, 100, limit, 1).await.unwrap(), instead(301, 1));
}

/// A breaker is replaced only by a writer that knows it.
pub async fn a_breaker<B: Breakers<Error: Debug>>(table: &B, endpoint: &EndpointId) {
    let mut failures = Outcomes::default();
    (0..10).for_each(|_| failures.add(&judge_status(500, None), AT));
    let (open, closed) = (Breaker::default().after(&failures, AT, 0.5), Breaker::closed_at(AT));
    assert_eq!(table.read(endpoint).await.unwrap(), (Breaker::default(), None));
    assert!(!table.replace(endpoint, Some(1), &open, 2).await.unwrap(), "there is none");
    assert!(table.replace(endpoint, None, &open, u64::MAX).await.unwrap());
    assert_eq!(table.read(endpoint).await.unwrap(), (open.clone(), Some(u64::MAX)));
    assert!(!table.replace(endpoint, None, &closed, 3).await.unwrap(), "there is one");
    assert!(!table.replace(endpoint, Some(2), &closed, 3).await.unwrap(), "there is another");
    assert_eq!(table.read(endpoint).await.unwrap(), (open, Some(u64::MAX)));
    assert!(table.replace(endpoint, Some(u64::MAX), &closed, 3).await.unwrap());
    assert_eq!(table.read(endpoint).await.unwrap(), (closed, Some(3)));
}
