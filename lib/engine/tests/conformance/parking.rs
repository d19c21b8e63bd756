//! Parked deliveries, requests to drain, and what sweeps note.

use std::fmt::Debug;

use signpost_core::delivery::drain::{DRAIN_SHARDS, drain_shard};
use signpost_core::delivery::parking::{Lane, place};
use signpost_core::endpoint::EndpointId;
use signpost_core::event::TenantId;
use signpost_engine::ports::parking::{Drain, Parking, SweepState, Waiting};

use super::{AT, Subject, endpoint, key};

/// A lane holds each delivery once for each time, oldest first.
pub async fn a_lane<P: Parking<Error: Debug>>(table: &P, subject: impl Fn() -> Subject) {
    let subjects = [subject(), subject(), subject()];
    let endpoint = Lane::Endpoint(subjects[0].1.clone());
    let due = Lane::Due { minute: 7, shard: 3 };
    assert!(table.is_empty(&endpoint).await.unwrap());
    assert_eq!(table.first_of(&endpoint, 10).await.unwrap(), []);
    for (subject, at) in subjects.iter().zip([AT + 2, AT, AT + 1]) {
        table.park(endpoint.clone(), at, key(subject)).await.unwrap();
        table.park(endpoint.clone(), at, key(subject)).await.unwrap();
    }
    table.park(due.clone(), AT + 5, key(&subjects[0])).await.unwrap();
    table.park(Lane::Exhausted(subjects[0].1.clone()), AT + 5, key(&subjects[0])).await.unwrap();
    for limit in [1, 2, 3, 10] {
        let first = table.first_of(&endpoint, limit).await.unwrap();
        let expected = [(AT, 1), (AT + 1, 2), (AT + 2, 0)].into_iter().take(limit);
        let expected: Vec<_> = expected.map(|(at, turn): (u64, usize)| (at, place(at, key(&subjects[turn])))).collect();
        let found: Vec<_> = first.iter().map(|one| (one.at_unix_ms, one.place.clone())).collect();
        assert_eq!(found, expected, "the first {limit}");
        for one in first {
            let subject = subjects.iter().find(|subject| subject.0 == one.event).unwrap();
            assert_eq!(
                (&one.endpoint, one.arrived_unix_ms, one.lane),
                (&subject.1, Some(subject.2), endpoint.partition_of(&one.event))
            );
        }
    }
    assert!(!table.is_empty(&endpoint).await.unwrap());
    assert_eq!(table.first_of(&due, 10).await.unwrap().len(), 1);
    assert_eq!(table.first_of(&Lane::Due { minute: 7, shard: 4 }, 10).await.unwrap(), []);
    assert_eq!(table.first_of(&Lane::Due { minute: 8, shard: 3 }, 10).await.unwrap(), []);
    assert_eq!(table.first_of(&Lane::Exhausted(subjects[0].1.clone()), 10).await.unwrap().len(), 1);
}

/// A parked delivery is removed, unless it was parked again since it was read.
pub async fn a_removal<P: Parking<Error: Debug>>(table: &P, subject: impl Fn() -> Subject) {
    let subject = subject();
    let lane = Lane::Endpoint(subject.1.clone());
    table.park(lane.clone(), AT, key(&subject)).await.unwrap();
    let before = table.first_of(&lane, 1).await.unwrap().remove(0);
    table.park(lane.clone(), AT, key(&subject)).await.unwrap();
    table.remove(&before).await.unwrap();
    let now = table.first_of(&lane, 1).await.unwrap().remove(0);
    assert_ne!(before.fencing_token, now.fencing_token);
    let mut foreign = now.clone();
    foreign.fencing_token = None;
    table.remove(&foreign).await.unwrap();
    assert!(!table.is_empty(&lane).await.unwrap());
    table.remove(&now).await.unwrap();
    table.remove(&now).await.unwrap();
    assert!(table.is_empty(&lane).await.unwrap());
}

/// Deliveries are removed together, each unless it was parked again since it was read.
pub async fn a_removal_of_many<P: Parking<Error: Debug>>(table: &P, subject: impl Fn() -> Subject) {
    let subjects: Vec<_> = (0..60).map(|_| subject()).collect();
    let lane = Lane::Endpoint(subjects[0].1.clone());
    for (at, subject) in subjects.iter().enumerate() {
        table.park(lane.clone(), AT + at as u64, key(subject)).await.unwrap();
    }
    let read = table.first_of(&lane, 100).await.unwrap();
    assert_eq!(read.iter().map(|one| one.at_unix_ms - AT).collect::<Vec<_>>(), (0..60).collect::<Vec<_>>());
    table.park(lane.clone(), AT + 7, key(&subjects[7])).await.unwrap();
    table.remove_all(&read).await.unwrap();
    table.remove_all(&read).await.unwrap();
    table.remove_all(&[]).await.unwrap();
    let left = table.first_of(&lane, 100).await.unwrap();
    assert_eq!(left.iter().map(|one| one.at_unix_ms - AT).collect::<Vec<_>>(), [7], "it was parked again");
    table.remove_all(&left).await.unwrap();
    assert!(table.is_empty(&lane).await.unwrap());
}

/// Returns some endpoints whose drain requests are in the same shard, in their order.
fn of_one_shard() -> [EndpointId; 3] {
    let of_shard = (1..).map(endpoint).filter(|id| drain_shard(id) == drain_shard(&endpoint(1)));
    let mut of_shard = of_shard.take(3).collect::<Vec<_>>().into_iter();
    [(); 3].map(|()| of_shard.next().unwrap())
}

/// A request to drain is there once, in its shard, and ends unless it was made again.
pub async fn a_drain<P: Parking<Error: Debug>>(table: &P, now: impl Fn() -> u64) {
    let (ids, tenant) = (of_one_shard(), TenantId::parse("acme").unwrap());
    let shard = drain_shard(&ids[0]);
    let drains = async |after: Option<&EndpointId>, limit| table.drains(shard, after, limit).await.unwrap();
    assert_eq!(drains(None, 10).await, []);
    assert!(!table.is_drain_requested(&ids[0]).await.unwrap());
    let began = now() / 1_000;
    for id in [&ids[2], &ids[0], &ids[1], &ids[0]] {
        table.ask_to_drain(&tenant, id).await.unwrap();
    }
    let all = drains(None, 10).await;
    assert_eq!(all.iter().map(|drain| &drain.endpoint).collect::<Vec<_>>(), ids.iter().collect::<Vec<_>>());
    assert!(all.iter().all(|drain| (began..=now() / 1_000).contains(&drain.asked_at)), "{all:?}");
    assert!(all.iter().all(|drain| drain.tenant == tenant && drain.not_before_unix_ms == 0), "{all:?}");
    assert_eq!(drains(None, 2).await, all[..2]);
    assert_eq!(drains(Some(&ids[0]), 1).await, all[1..2]);
    assert_eq!(drains(Some(&ids[0]), 10).await, all[1..]);
    assert_eq!(drains(Some(&ids[2]), 10).await, []);
    for other in (0..DRAIN_SHARDS).filter(|other| *other != shard) {
        assert_eq!(table.drains(other, None, 10).await.unwrap(), [], "another shard");
    }
    let older = Drain { asked_at: all[0].asked_at - 1, ..all[0].clone() };
    table.end_drain(&older).await.unwrap();
    assert_eq!(drains(None, 10).await, all, "it was requested again since");
    assert!(table.is_drain_requested(&ids[0]).await.unwrap());
    table.end_drain(&all[0]).await.unwrap();
    table.end_drain(&all[0]).await.unwrap();
    assert_eq!(drains(None, 10).await, all[1..]);
}

/// A drain is postponed until it is requested for the next run; a usual request does not change that.
pub async fn a_postponed_drain<P: Parking<Error: Debug>>(table: &P) {
    let (id, tenant) = (endpoint(1), TenantId::parse("acme").unwrap());
    let request = async || table.drains(drain_shard(&id), None, 10).await.unwrap().pop();
    table.ask_to_drain(&tenant, &id).await.unwrap();
    let first = request().await.unwrap();
    table.postpone_drain(&first, AT).await.unwrap();
    assert_eq!(request().await.unwrap().not_before_unix_ms, AT);
    table.ask_to_drain(&tenant, &id).await.unwrap();
    assert_eq!(request().await.unwrap().not_before_unix_ms, AT, "a delivery was parked meanwhile");
    table.postpone_drain(&first, AT + 1).await.unwrap();
    assert_eq!(request().await.unwrap().not_before_unix_ms, AT + 1, "the request is the same");

    table.ask_to_drain_now(&tenant, &id).await.unwrap();
    let second = request().await.unwrap();
    assert_eq!((&second.tenant, second.not_before_unix_ms), (&tenant, 0));
    table.postpone_drain(&first, AT).await.unwrap();
    assert_eq!(request().await.unwrap(), second, "it was requested for the next run since it was read");
    table.ask_to_drain_now(&tenant, &id).await.unwrap();
    table.postpone_drain(&second, AT).await.unwrap();
    let third = request().await.unwrap();
    assert_eq!(third.not_before_unix_ms, 0, "and again");
    table.ask_to_drain(&tenant, &id).await.unwrap();
    table.postpone_drain(&third, AT).await.unwrap();
    let postponed = request().await.unwrap();
    assert_eq!(postponed.not_before_unix_ms, AT);

    table.end_drain(&postponed).await.unwrap();
    table.postpone_drain(&postponed, AT).await.unwrap();
    table.postpone_drain(&first, AT).await.unwrap();
    assert_eq!(request().await, None, "a request that has ended stays so");
}

/// A note of waiting deliveries is there once, in the order of the endpoints, and ends unless it was written again.
pub async fn a_waiting_note<P: Parking<Error: Debug>>(table: &P) {
    let ids = [1, 2, 3].map(endpoint);
    for id in [&ids[2], &ids[0], &ids[1], &ids[0]] {
        table.note_waiting(id).await.unwrap();
    }
    let all = table.waiting(None, 10).await.unwrap();
    assert_eq!(all.iter().map(|one| &one.endpoint).collect::<Vec<_>>(), ids.iter().collect::<Vec<_>>());
    assert_eq!(table.waiting(None, 2).await.unwrap(), all[..2]);
    assert_eq!(table.waiting(Some(&ids[0]), 10).await.unwrap(), all[1..]);
    assert_eq!(table.waiting(Some(&endpoint(0)), 1).await.unwrap(), all[..1]);
    assert_eq!(table.waiting(Some(&ids[2]), 10).await.unwrap(), []);
    let older = Waiting { noted_at: all[0].noted_at - 1, ..all[0].clone() };
    table.end_waiting(&older).await.unwrap();
    assert_eq!(table.waiting(None, 10).await.unwrap(), all, "it was noted again since");
    table.end_waiting(&all[0]).await.unwrap();
    assert_eq!(table.waiting(None, 10).await.unwrap(), all[1..]);
    for shard in 0..DRAIN_SHARDS {
        assert_eq!(table.drains(shard, None, 10).await.unwrap(), [], "a note is no drain");
    }
}

/// One sweep runs at a time, and the next starts where it stopped.
pub async fn a_sweep<P: Parking<Error: Debug>>(table: &P) {
    let first = SweepState { swept_minute: 7, ..SweepState::default() };
    assert_eq!(table.begin_sweep(100, 155, 7).await.unwrap(), Some(first.clone()));
    assert_eq!(table.begin_sweep(154, 200, 8).await.unwrap(), None, "another has the lease");
    let next = table.begin_sweep(155, 210, 9).await.unwrap();
    assert_eq!(next, Some(first), "the lease has expired, and nothing was swept");
    let states = [
        SweepState { swept_minute: 12, drained_until: Some(endpoint(1)), watched_until: None },
        SweepState { swept_minute: 13, drained_until: None, watched_until: Some(endpoint(2)) },
        SweepState { swept_minute: 14, drained_until: Some(endpoint(3)), watched_until: Some(endpoint(4)) },
        SweepState { swept_minute: 15, drained_until: None, watched_until: None },
    ];
    for state in states {
        table.end_sweep(&state).await.unwrap();
        assert_eq!(table.begin_sweep(156, 211, 9).await.unwrap(), Some(state), "it was released");
    }
}
