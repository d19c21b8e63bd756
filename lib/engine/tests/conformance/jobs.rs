//! Jobs that a sweep works on: bulk replays and erasures of tenants.

use std::collections::BTreeSet;
use std::fmt::Debug;

use signpost_core::delivery::replay::{
    EndStatus, MOST_RUNNING, Replay, ReplayCounts, ReplayFilter, ReplayId, ReplayPosition, ReplayState,
};
use signpost_core::event::TenantId;
use signpost_core::tenant_erasure::{ErasureId, Removed, TenantErasure};
use signpost_engine::ports::replays::{Replays, RunningReplay};
use signpost_engine::ports::tenant_erasures::{RunningErasure, TenantErasures};
use uuid::Uuid;

use super::{AT, endpoint};

/// A replay is replaced only by its next version, and a note of one that runs is removed with its own id only.
pub async fn a_bulk_replay<R: Replays<Error: Debug>>(table: &R, create: impl AsyncFn(&Replay) -> bool) {
    let (tenant, other) = (TenantId::parse("acme").unwrap(), TenantId::parse("globex").unwrap());
    let filter = ReplayFilter {
        endpoints: BTreeSet::from([endpoint(1)]),
        types: BTreeSet::new(),
        statuses: BTreeSet::from([EndStatus::Exhausted]),
        since_unix_ms: AT,
        until_unix_ms: AT + 1,
    };
    let new = |tenant: &TenantId, number: u128| {
        let id = ReplayId::new(AT, Uuid::from_u128(number));
        Replay::new(tenant.clone(), id, filter.clone(), AT)
    };
    let replay = new(&tenant, 0);
    assert_eq!(table.get(&tenant, &replay.id).await.unwrap(), None);
    assert!(!table.replace(&replay.with_state(ReplayState::Done, AT)).await.unwrap(), "there is none");
    assert_eq!(table.running().await.unwrap(), []);
    assert!(create(&replay).await && create(&new(&other, 1)).await);
    assert_eq!(table.get(&tenant, &replay.id).await.unwrap(), Some(replay.clone()));
    assert_eq!(table.get(&other, &replay.id).await.unwrap(), None, "another tenant's");
    for number in 2..=u128::from(MOST_RUNNING) {
        assert!(create(&new(&tenant, number)).await, "{number}");
    }
    assert!(!create(&new(&tenant, 99)).await, "as many as may run");
    let running = table.running().await.unwrap();
    assert_eq!(running.len(), usize::from(MOST_RUNNING) + 1);

    let begun = replay.with_page(filter.part_of_list(None).range().map(|(first, _)| first), AT + 1);
    let paged = begun.after_page(ReplayPosition::Behind(endpoint(1)), ReplayCounts { sent: 2, skipped: 1 }, AT + 2);
    assert!(!table.replace(&paged).await.unwrap(), "not the next version");
    for next in [begun, paged] {
        assert!(table.replace(&next).await.unwrap());
        assert!(!table.replace(&next).await.unwrap(), "it is there already");
        assert_eq!(table.get(&tenant, &replay.id).await.unwrap(), Some(next));
    }

    let note = running.iter().find(|running| running.id == replay.id).unwrap();
    assert_eq!(note.tenant, tenant);
    table.end_running(&RunningReplay { id: ReplayId::new(AT, Uuid::from_u128(7)), ..note.clone() }).await.unwrap();
    assert_eq!(table.running().await.unwrap().len(), running.len(), "another replay's");
    for _ in 0..2 {
        table.end_running(note).await.unwrap();
        assert_eq!(table.running().await.unwrap().len(), running.len() - 1);
    }
    assert!(create(&new(&tenant, 99)).await, "there is room again");
}

/// A tenant has at most one erasure that runs. It is replaced only by its next version, and its note is removed with its own
/// id only.
pub async fn a_tenant_erasure<E>(table: &E, create: impl AsyncFn(&TenantErasure) -> TenantErasure)
where
    E: TenantErasures<Error: Debug>,
{
    let (tenant, other) = (TenantId::parse("acme").unwrap(), TenantId::parse("globex").unwrap());
    let new = |tenant: &TenantId, number: u128| {
        TenantErasure::new(tenant.clone(), ErasureId::new(AT, Uuid::from_u128(number)), AT)
    };
    let (first, second) = (new(&tenant, 0), new(&tenant, 1));
    let theirs = new(&other, 2);
    assert_eq!(table.get(&tenant, &first.id).await.unwrap(), None);
    assert!(!table.replace(&first.after_step(Removed::default(), None, AT)).await.unwrap(), "there is none");
    assert_eq!(table.running().await.unwrap(), []);
    assert_eq!(create(&first).await, first);
    assert_eq!(create(&second).await, first, "one of the tenant runs");
    assert_eq!(create(&theirs).await, theirs);
    assert_eq!(table.get(&tenant, &second.id).await.unwrap(), None);
    assert_eq!(table.get(&other, &first.id).await.unwrap(), None, "another tenant's");
    let running = table.running().await.unwrap();
    let tenants: BTreeSet<_> = running.iter().map(|note| note.tenant.as_str()).collect();
    assert_eq!((running.len(), tenants), (2, BTreeSet::from(["acme", "globex"])));

    let partly = first.after_step(Removed { endpoints: 2, ..Removed::default() }, Some("more".into()), AT + 1);
    let stopped = partly.after_step(Removed { endpoints: 1, states: 3, ..Removed::default() }, None, AT + 2);
    assert!(!table.replace(&stopped).await.unwrap(), "not the next version");
    for next in [partly, stopped] {
        assert!(table.replace(&next).await.unwrap());
        assert!(!table.replace(&next).await.unwrap(), "it is there already");
        assert_eq!(table.get(&tenant, &first.id).await.unwrap(), Some(next.clone()));
        assert_eq!(create(&second).await, next, "it still runs");
    }
    assert_eq!(table.get(&other, &theirs.id).await.unwrap(), Some(theirs), "another tenant's is as it was");

    let note = running.iter().find(|note| note.tenant == tenant).unwrap();
    table.end_running(&RunningErasure { id: second.id.clone(), ..note.clone() }).await.unwrap();
    assert_eq!(table.running().await.unwrap().len(), 2, "another erasure's");
    for _ in 0..2 {
        table.end_running(note).await.unwrap();
        let left = table.running().await.unwrap();
        assert_eq!(left.iter().map(|note| note.tenant.as_str()).collect::<Vec<_>>(), ["globex"]);
    }
    assert_eq!(create(&second).await, second, "the tenant can be erased again");
}
