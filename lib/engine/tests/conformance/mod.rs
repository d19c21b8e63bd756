//! Checks of every implementation of the tables' ports: one suite for the tables in memory, against which the engine is
//! simulated, and for DynamoDB. A difference between them would make the simulation prove nothing.
//!
//! Each function checks one port whose tables hold nothing else. A *subject* is something that the tables do not have yet.

#![allow(clippy::future_not_send, reason = "the tables in memory belong to one thread")]

use std::collections::BTreeSet;
use std::fmt::Debug;

use futures_util::future::join_all;
use signpost_core::delivery::answer::AnswerRecord;
use signpost_core::delivery::attempt::{Attempt, judge_status};
use signpost_core::delivery::breaker::{Breaker, Outcomes};
use signpost_core::delivery::drain::{DRAIN_SHARDS, drain_shard};
use signpost_core::delivery::limits::{HeldSlot, Second};
use signpost_core::delivery::list::{OldestFirst, key_of};
use signpost_core::delivery::parking::{Lane, place};
use signpost_core::delivery::replay::{
    EndStatus, MOST_RUNNING, Replay, ReplayCounts, ReplayFilter, ReplayId, ReplayPosition, ReplayState,
};
use signpost_core::delivery::sent::SentRecord;
use signpost_core::delivery::{DeadLetterReason, DeliveryKey, DeliveryRecord, DeliveryStatus, Progress, ReplayKind};
use signpost_core::endpoint::subscription::Subscription;
use signpost_core::endpoint::{DisabledBecause, EndpointId, Limit};
use signpost_core::event::sequence::SequenceNumber;
use signpost_core::event::{Event, EventKey, TenantId};
use signpost_core::status::state::Moment;
use signpost_core::token_request::{BankResponse, CallbackToken, RequestId, TokenRequest};
use signpost_engine::ports::deliveries::{Deliveries, Lease, LeaseResult, Recorded};
use signpost_engine::ports::endpoints::{Endpoints, StoredEndpoint, Written};
use signpost_engine::ports::events::{Arrival, EventTraces, Events, FirstFanOut, Insertion, StoredEvent};
use signpost_engine::ports::limits::{Breakers, ConcurrencySlot, Counted, Limits, SlotPool};
use signpost_engine::ports::parking::{Drain, Parking, SweepState, Waiting};
use signpost_engine::ports::replays::{DeliveryLists, ListStretch, Replays, RunningReplay};
use signpost_engine::ports::subscriptions::{Subscriptions, TypeRules};
use signpost_engine::ports::token_requests::{Changed, TokenRequests};
use uuid::Uuid;

/// A delivery: its event, its endpoint, and when the event arrived.
pub type Subject = (EventKey, EndpointId, u64);

fn key((event, endpoint, arrived_unix_ms): &Subject) -> DeliveryKey<'_> {
    DeliveryKey { event, endpoint, arrived_unix_ms: *arrived_unix_ms, retention_days: None }
}

/// Any moment. No lease and no attempt of these checks is related to the time at which they run.
const AT: u64 = 1_900_000_000_000;

fn attempt(number: u32) -> Attempt {
    Attempt {
        number,
        at_unix_ms: AT,
        duration_ms: 1,
        kids: Vec::new(),
        status: Some(500),
        error: None,
        cause: None,
        response: None,
        answer: AnswerRecord::Known,
        sent: SentRecord::Nothing,
        connection: None,
        redirect: None,
    }
}

fn pending(attempts: u32) -> Progress {
    Progress {
        status: DeliveryStatus::Pending,
        attempts,
        before_replay: 0,
        next_attempt_unix_ms: AT,
        replay: None,
        last_sent: None,
        last_answer: None,
    }
}

fn only_leased(leased_until_unix_ms: u64) -> DeliveryRecord {
    DeliveryRecord { progress: None, leased_until_unix_ms }
}

fn on_record(progress: Progress) -> DeliveryRecord {
    DeliveryRecord { progress: Some(progress), leased_until_unix_ms: 0 }
}

const WANTED: Lease =
    Lease { from_unix_ms: AT, until_unix_ms: AT + 95_000, due_by_unix_ms: AT + 999, needs_record: false };

/// The state in which a check finds a delivery.
#[derive(Clone, Copy, Debug)]
enum Before {
    Nothing,
    Leased,
    Released,
    Recorded(Progress),
    RecordedAndLeased(Progress),
}

const DELIVERED: Progress = Progress {
    status: DeliveryStatus::Delivered,
    attempts: 2,
    before_replay: 0,
    next_attempt_unix_ms: AT,
    replay: None,
    last_sent: Some(u64::MAX),
    last_answer: Some(u64::MAX),
};
const EXHAUSTED: Progress = Progress { status: DeliveryStatus::Exhausted, ..DELIVERED };

impl Before {
    async fn set<D: Deliveries<Error: Debug>>(self, table: &D, subject: &Subject) {
        match self {
            Self::Nothing => {}
            Self::Leased => {
                assert_eq!(table.lease(key(subject), WANTED).await.unwrap(), LeaseResult::Taken(None));
            }
            Self::Released => table.release(key(subject), None).await.unwrap(),
            Self::Recorded(progress) => {
                assert!(table.insert(key(subject), &attempt(progress.attempts), progress).await.unwrap());
            }
            Self::RecordedAndLeased(progress) => {
                assert!(table.insert(key(subject), &attempt(progress.attempts), progress).await.unwrap());
                let taken = LeaseResult::Taken(Some(on_record(progress)));
                assert_eq!(table.lease(key(subject), WANTED).await.unwrap(), taken);
            }
        }
    }

    fn record(self) -> Option<DeliveryRecord> {
        match self {
            Self::Nothing => None,
            Self::Leased => Some(only_leased(WANTED.until_unix_ms)),
            Self::Released => Some(only_leased(0)),
            Self::Recorded(progress) => Some(on_record(progress)),
            Self::RecordedAndLeased(progress) => {
                Some(DeliveryRecord { leased_until_unix_ms: WANTED.until_unix_ms, ..on_record(progress) })
            }
        }
    }
}

async fn standing<D: Deliveries<Error: Debug>>(table: &D, subject: &Subject) -> Option<DeliveryRecord> {
    let standing = table.standing(key(subject)).await.unwrap();
    assert_eq!(table.standing_batched(key(subject)).await.unwrap(), standing);
    standing
}

/// A lease is refused while another holds, and unless an attempt is due.
pub async fn a_lease<D: Deliveries<Error: Debug>>(table: &D, subject: impl Fn() -> Subject) {
    let later = Lease { from_unix_ms: WANTED.until_unix_ms, until_unix_ms: AT + 200_000, ..WANTED };
    let needs_record = |lease| Lease { needs_record: true, ..lease };
    let due = |next_attempt_unix_ms| Before::Recorded(Progress { next_attempt_unix_ms, ..pending(1) });
    let cases = [
        (Before::Nothing, WANTED, true, "nothing is there"),
        (Before::Nothing, needs_record(WANTED), false, "the first receiver may be sending"),
        (Before::Leased, WANTED, false, "another sender has it"),
        (Before::Leased, Lease { from_unix_ms: WANTED.until_unix_ms - 1, ..later }, false, "for another millisecond"),
        (Before::Leased, later, true, "it has expired"),
        (Before::Leased, needs_record(later), true, "expired, with a record"),
        (Before::Released, WANTED, true, "it was released"),
        (Before::Released, needs_record(WANTED), true, "the first receiver has noted that it sent nothing"),
        (due(WANTED.due_by_unix_ms), WANTED, true, "just due"),
        (due(WANTED.due_by_unix_ms), needs_record(WANTED), true, "just due, with a record"),
        (due(WANTED.due_by_unix_ms + 1), WANTED, false, "not due"),
        (Before::Recorded(DELIVERED), WANTED, false, "delivered"),
        (Before::Recorded(EXHAUSTED), WANTED, false, "given up"),
        (Before::RecordedAndLeased(pending(1)), WANTED, false, "due, and leased"),
        (Before::RecordedAndLeased(pending(1)), later, true, "due, and the lease has expired"),
    ];
    for (before, wanted, is_taken, why) in cases {
        let subject = subject();
        before.set(table, &subject).await;
        let answer = table.lease(key(&subject), wanted).await.unwrap();
        let expected = if is_taken { LeaseResult::Taken } else { LeaseResult::Refused };
        assert_eq!(answer, expected(before.record()), "{why}");
        let progress = before.record().and_then(|record| record.progress);
        let leased = DeliveryRecord { progress, leased_until_unix_ms: wanted.until_unix_ms };
        let after = if is_taken { Some(leased) } else { before.record() };
        assert_eq!(standing(table, &subject).await, after, "{why}");
    }
}

/// A lease is released only by its owner, and noted as released only if there never was one.
pub async fn a_release<D: Deliveries<Error: Debug>>(table: &D, subject: impl Fn() -> Subject) {
    let ours = Some(WANTED.until_unix_ms);
    let cases = [
        (Before::Nothing, None, Some(only_leased(0)), "nothing was sent"),
        (Before::Nothing, ours, None, "there is no lease"),
        (Before::Leased, ours, Some(only_leased(0)), "the owner's"),
        (Before::Leased, Some(AT), Before::Leased.record(), "another's"),
        (Before::Leased, None, Before::Leased.record(), "another receiver has leased it"),
        (Before::Released, None, Some(only_leased(0)), "again"),
        (Before::Released, ours, Some(only_leased(0)), "another's, released before"),
        (Before::Recorded(pending(1)), None, Some(on_record(pending(1))), "it has a record"),
        (Before::RecordedAndLeased(pending(1)), ours, Some(on_record(pending(1))), "the owner's, with a record"),
    ];
    for (before, released, after, why) in cases {
        let subject = subject();
        before.set(table, &subject).await;
        table.release(key(&subject), released).await.unwrap();
        assert_eq!(standing(table, &subject).await, after, "{why}");
    }
}

/// A first attempt is recorded only if there is no item at all.
pub async fn an_insert<D: Deliveries<Error: Debug>>(table: &D, subject: impl Fn() -> Subject) {
    let probe = Progress { before_replay: 1, last_sent: Some(7), ..pending(1) };
    let befores = [
        Before::Nothing,
        Before::Leased,
        Before::Released,
        Before::Recorded(pending(1)),
        Before::Recorded(DELIVERED),
        Before::RecordedAndLeased(pending(1)),
    ];
    for before in befores {
        for progress in [pending(1), probe, DELIVERED] {
            let subject = subject();
            before.set(table, &subject).await;
            let expected = before.record().is_none();
            let announced = table.announce_first();
            assert_eq!(table.insert(key(&subject), &attempt(1), progress).await.unwrap(), expected, "{before:?}");
            drop(announced);
            let after = before.record().unwrap_or_else(|| on_record(progress));
            assert_eq!(standing(table, &subject).await, Some(after), "{before:?}");
        }
    }
}

/// An attempt is recorded if the record is the one that it was based on. It ends the lease.
pub async fn an_update<D: Deliveries<Error: Debug>>(table: &D, subject: impl Fn() -> Subject) {
    let third = Before::Recorded(pending(2));
    let cases = [
        (Before::Nothing, 1, None, true, "the first, of a delivery without a record"),
        (Before::Leased, 1, None, true, "the first, under a lease"),
        (Before::Released, 1, None, true, "the first, after a release"),
        (Before::Recorded(pending(1)), 1, None, false, "another sender has recorded the first"),
        (Before::Nothing, 3, Some(AT), false, "there is no record"),
        (Before::Leased, 3, Some(AT), false, "there is only a lease"),
        (third, 3, Some(AT), true, "the next"),
        (Before::RecordedAndLeased(pending(2)), 3, Some(AT), true, "the next, under a lease"),
        (third, 3, Some(AT + 1), false, "it was due at another time: an operator has replayed it"),
        (third, 2, Some(AT), false, "another sender has recorded it"),
        (third, 4, Some(AT), false, "the one before is missing"),
        (Before::Recorded(DELIVERED), 3, Some(AT), false, "delivered"),
        (Before::Recorded(EXHAUSTED), 3, Some(AT), false, "given up"),
    ];
    for (before, number, due, expected, why) in cases {
        for status in [DeliveryStatus::Pending, DeliveryStatus::Exhausted, DeliveryStatus::Delivered] {
            let subject = subject();
            before.set(table, &subject).await;
            let next = Progress { status, next_attempt_unix_ms: AT + 60_000, before_replay: 1, ..pending(number) };
            let is_updated = table.update(key(&subject), &attempt(number), due, next).await.unwrap();
            assert_eq!(is_updated, expected, "{why}");
            let after = if expected { Some(on_record(next)) } else { before.record() };
            assert_eq!(standing(table, &subject).await, after, "{why}");
        }
    }
}

/// The fingerprints of a request and of an answer stay until there are others, and the kind of a replay stays.
pub async fn an_update_keeps<D: Deliveries<Error: Debug>>(table: &D, subject: impl Fn() -> Subject) {
    let subject = subject();
    Before::Recorded(Progress { last_sent: Some(7), ..pending(1) }).set(table, &subject).await;
    table.reset_for_replay(key(&subject), ReplayKind::Redrive).await.unwrap();
    let mut due = standing(table, &subject).await.unwrap().progress.unwrap().next_attempt_unix_ms;
    for (number, printed, last_sent) in [(2, None, 7), (3, Some(8), 8), (4, None, 8)] {
        let (replay, answered) = (Some(ReplayKind::Redrive), printed.map(|print| print + 1));
        let next = Progress { last_sent: printed, last_answer: answered, replay, before_replay: 1, ..pending(number) };
        assert!(table.update(key(&subject), &attempt(number), Some(due), next).await.unwrap());
        let last_answer = (last_sent != 7).then_some(last_sent + 1);
        let expected = Progress { last_sent: Some(last_sent), last_answer, ..next };
        assert_eq!(standing(table, &subject).await, Some(on_record(expected)), "attempt {number}");
        due = AT;
    }
}

/// An acknowledgement is recorded once, even if the record has changed. It keeps the number of attempts and ends the lease.
pub async fn an_acknowledgement<D: Deliveries<Error: Debug>>(table: &D, subject: impl Fn() -> Subject) {
    let free = Progress { before_replay: 1, last_sent: Some(7), ..pending(2) };
    let cases = [
        (Before::Recorded(free), true, "pending"),
        (Before::RecordedAndLeased(free), true, "pending, under a lease"),
        (Before::Recorded(EXHAUSTED), true, "given up"),
        (Before::Recorded(DELIVERED), false, "acknowledged before"),
    ];
    for (before, expected, why) in cases {
        for last_sent in [None, Some(8)] {
            let subject = subject();
            before.set(table, &subject).await;
            let found = before.record().and_then(|record| record.progress).unwrap();
            let next = Progress {
                next_attempt_unix_ms: AT + 1,
                attempts: 9,
                before_replay: 9,
                last_sent,
                last_answer: last_sent,
                ..DELIVERED
            };
            assert_eq!(table.acknowledge(key(&subject), &attempt(9), next).await.unwrap(), expected, "{why}");
            let (status, next_attempt_unix_ms) = (DeliveryStatus::Delivered, AT + 1);
            let acknowledged = Progress {
                status,
                next_attempt_unix_ms,
                last_sent: last_sent.or(found.last_sent),
                last_answer: last_sent.or(found.last_answer),
                ..found
            };
            let after = if expected { on_record(acknowledged) } else { on_record(found) };
            assert_eq!(standing(table, &subject).await, Some(after), "{why}");
        }
    }
}

/// A failure is never recorded over another sender's record, and an acknowledgement always is.
pub async fn a_record<D: Deliveries<Error: Debug>>(table: &D, subject: impl Fn() -> Subject) {
    let acknowledged = Progress { status: DeliveryStatus::Delivered, ..pending(1) };
    let cases = [
        (Before::Nothing, pending(1), Recorded::Yes, "the first"),
        (Before::Leased, pending(1), Recorded::Yes, "the first, although another has leased it"),
        (Before::Recorded(pending(1)), pending(1), Recorded::Overtaken, "another has recorded a failure"),
        (Before::Recorded(pending(1)), acknowledged, Recorded::Yes, "another has recorded a failure"),
        (Before::Recorded(EXHAUSTED), acknowledged, Recorded::Yes, "another has given it up"),
        (Before::Recorded(DELIVERED), acknowledged, Recorded::Overtaken, "another has an acknowledgement"),
    ];
    for (before, progress, expected, why) in cases {
        let subject = subject();
        before.set(table, &subject).await;
        assert_eq!(table.record_first(key(&subject), &attempt(1), progress).await.unwrap(), expected, "{why}");
    }
}

/// A replay makes a delivery due at once. Its attempts so far do not count.
pub async fn a_replay<D: Deliveries<Error: Debug>>(table: &D, subject: impl Fn() -> Subject, now: impl Fn() -> u64) {
    let befores = [
        Before::Nothing,
        Before::Leased,
        Before::Released,
        Before::Recorded(pending(2)),
        Before::RecordedAndLeased(pending(2)),
        Before::Recorded(DELIVERED),
        Before::Recorded(EXHAUSTED),
    ];
    for (before, kind) in
        befores.into_iter().flat_map(|before| [(before, ReplayKind::Replay), (before, ReplayKind::Test)])
    {
        let subject = subject();
        before.set(table, &subject).await;
        let began = now();
        table.reset_for_replay(key(&subject), kind).await.unwrap();
        let found = standing(table, &subject).await.unwrap();
        let progress = found.progress.unwrap();
        let due = progress.next_attempt_unix_ms;
        assert!((began..=now()).contains(&due), "{before:?}: due at {due}");
        let was = before.record().unwrap_or_default();
        let attempts = was.progress.map_or(0, |progress| progress.attempts);
        let expected = Progress {
            before_replay: attempts,
            next_attempt_unix_ms: due,
            replay: Some(kind),
            last_sent: was.progress.and_then(|progress| progress.last_sent),
            ..pending(attempts)
        };
        assert_eq!(found, DeliveryRecord { progress: Some(expected), ..was }, "{before:?}");
    }
}

/// A delivery is given up unless it is delivered.
pub async fn an_end<D: Deliveries<Error: Debug>>(table: &D, subject: impl Fn() -> Subject, now: impl Fn() -> u64) {
    let befores = [
        Before::Nothing,
        Before::Leased,
        Before::Released,
        Before::Recorded(pending(2)),
        Before::RecordedAndLeased(pending(2)),
        Before::Recorded(EXHAUSTED),
    ];
    for before in befores {
        let subject = subject();
        before.set(table, &subject).await;
        let began = now();
        table.end(key(&subject), DeadLetterReason::EndpointGone).await.unwrap();
        let progress = standing(table, &subject).await.unwrap().progress.unwrap();
        let at = progress.next_attempt_unix_ms;
        assert!((began..=now()).contains(&at), "{before:?}: at {at}");
        let was = before.record().and_then(|record| record.progress).unwrap_or_else(|| pending(0));
        let expected = Progress { status: DeliveryStatus::Exhausted, next_attempt_unix_ms: at, ..was };
        assert_eq!(standing(table, &subject).await, Some(on_record(expected)), "{before:?}");
    }
    let subject = subject();
    Before::Recorded(DELIVERED).set(table, &subject).await;
    table.end(key(&subject), DeadLetterReason::EndpointGone).await.unwrap();
    assert_eq!(standing(table, &subject).await, Some(on_record(DELIVERED)));
}

/// A delivery whose event was erased stays so. No later record changes it.
pub async fn an_erasure<D: Deliveries<Error: Debug>>(table: &D, subject: impl Fn() -> Subject) {
    let befores = [
        Before::Nothing,
        Before::Leased,
        Before::Released,
        Before::Recorded(pending(2)),
        Before::RecordedAndLeased(pending(2)),
        Before::Recorded(DELIVERED),
        Before::Recorded(EXHAUSTED),
    ];
    for before in befores {
        let subject = subject();
        before.set(table, &subject).await;
        table.erase(key(&subject)).await.unwrap();
        let erased = standing(table, &subject).await.unwrap();
        let progress = erased.progress.unwrap();
        let attempts = before.record().and_then(|record| record.progress).map_or(0, |progress| progress.attempts);
        assert_eq!((progress.status, progress.attempts), (DeliveryStatus::Erased, attempts), "{before:?}");
        assert_eq!((progress.last_sent, progress.last_answer, progress.replay), (None, None, None), "{before:?}");
        assert!(erased.is_erased() && erased.leased_until_unix_ms == 0, "{before:?}");

        let late = WANTED.until_unix_ms * 2;
        let wanted = Lease { from_unix_ms: late, due_by_unix_ms: late, ..WANTED };
        assert_eq!(table.lease(key(&subject), wanted).await.unwrap(), LeaseResult::Refused(Some(erased)), "{before:?}");
        assert!(!table.insert(key(&subject), &attempt(1), pending(1)).await.unwrap(), "{before:?}");
        let number = attempts + 1;
        let delivered = Progress { attempts: number, ..DELIVERED };
        for due in [None, Some(AT)] {
            for next in [pending(number), delivered] {
                let recorded = table.record(key(&subject), &attempt(number), due, next).await.unwrap();
                assert_eq!(recorded, Recorded::Overtaken, "{before:?}");
            }
        }
        table.reset_for_replay(key(&subject), ReplayKind::Replay).await.unwrap();
        table.end(key(&subject), DeadLetterReason::EndpointGone).await.unwrap();
        assert_eq!(standing(table, &subject).await, Some(erased), "{before:?}");
        table.erase(key(&subject)).await.unwrap();
        assert!(standing(table, &subject).await.unwrap().is_erased(), "{before:?}: again");
    }
}

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

fn endpoint(number: u128) -> EndpointId {
    EndpointId::new(Uuid::from_u128(number))
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

/// The list of an endpoint is read from the oldest delivery on: all with an attempt and one of the statuses.
pub async fn a_delivery_list<D, L>(table: &D, lists: &L, subject: impl Fn() -> Subject)
where
    D: Deliveries<Error: Debug>,
    L: DeliveryLists<Error: Debug>,
{
    let subjects: Vec<_> = (0..60).map(|_| subject()).collect();
    let statuses = [DeliveryStatus::Delivered, DeliveryStatus::Exhausted, DeliveryStatus::Pending];
    let mut expected = Vec::new();
    for (index, subject) in subjects.iter().enumerate() {
        let progress = match index % 4 {
            0 => DELIVERED,
            1 => EXHAUSTED,
            2 => pending(2),
            _ => {
                Before::Leased.set(table, subject).await;
                continue;
            }
        };
        Before::Recorded(progress).set(table, subject).await;
        expected.push((key_of(key(subject)).1, subject.0.clone(), progress));
    }
    expected.sort_unstable_by_key(|(position, ..)| *position);
    let (event, endpoint, arrived) = &subjects[0];
    for (wanted, looked_at) in [(&statuses[..], 8), (&statuses[..], 1_000), (&statuses[..2], 24), (&statuses[1..2], 8)]
    {
        let mut part = OldestFirst { after: None, since_unix_ms: 0, until_unix_ms: arrived + 1_000_000 };
        let (mut read, mut pages) = (Vec::new(), 0);
        loop {
            pages += 1;
            let stretch = lists.oldest_first(&event.tenant, endpoint, part, wanted, looked_at).await.unwrap();
            let found = stretch.deliveries.into_iter().map(|one| (one.position, one.event, one.progress));
            read.extend(found);
            let Some(read_to) = stretch.read_to else { break };
            assert!(part.after.is_none_or(|after| after < read_to), "every page makes progress");
            part.after = Some(read_to);
        }
        let of_status = expected.iter().filter(|(.., progress)| wanted.contains(&progress.status)).cloned();
        assert_eq!(read, of_status.collect::<Vec<_>>(), "{wanted:?}, {looked_at}");
        assert!(pages > 1 || looked_at > 100, "{pages}");
    }
    let none = OldestFirst { after: None, since_unix_ms: arrived + 1_000_000, until_unix_ms: arrived + 1_000_001 };
    let stretch = lists.oldest_first(&event.tenant, endpoint, none, &statuses, 8).await.unwrap();
    assert_eq!(stretch, ListStretch { deliveries: Vec::new(), read_to: None });
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

/// Returns the event type that [`EndpointWrite::SetSchema`] writes: its events are kept for a week.
pub fn invoice(schema: &str) -> TypeRules {
    TypeRules { kind: "invoice".to_owned(), schema: schema.to_owned(), retention_days: Some(7) }
}

/// An event is stored once. A second insert returns the first fan-out.
pub async fn an_event<E: Events<Error: Debug>>(table: &E, event: &Event, endpoint: &EndpointId) {
    let first = |message_id: &str, payload_hash| FirstFanOut {
        message_id: message_id.to_owned(),
        endpoints: vec![endpoint.clone()],
        sent: 0,
        at_unix_seconds: AT / 1_000,
        arrival: Arrival { moment: Moment::of(event, AT), expires_at: AT / 1_000 + 3_600 },
        payload_hash,
        number: None,
        retention_days: None,
    };
    assert_eq!(table.get(&event.key).await.unwrap(), None);
    assert_eq!(table.get_some(&[&event.key, &event.key]).await.unwrap(), [None, None]);
    let ours = first("m-1", event.payload_hash());
    assert_eq!(table.insert(event, &ours, None).await.unwrap(), Insertion::New(None));
    for again in [ours.clone(), first("m-2", event.payload_hash()), first("m-3", [7; 32])] {
        assert_eq!(table.insert(event, &again, None).await.unwrap(), Insertion::Stored(ours.clone()), "{again:?}");
    }
    for sent in [5, 3] {
        table.note_sent(&event.key, sent).await.unwrap();
    }
    let noted = FirstFanOut { sent: 5, ..ours.clone() };
    assert_eq!(
        table.insert(event, &ours, None).await.unwrap(),
        Insertion::Stored(noted),
        "a lower number changes nothing"
    );
    let stored = StoredEvent { event: event.clone(), arrived_unix_ms: AT };
    assert_eq!(table.get(&event.key).await.unwrap(), Some(stored.clone()));
    let several = [&event.key, &event.key, &event.key];
    assert_eq!(
        table.get_some(&several).await.unwrap(),
        [Some(stored.clone()), Some(stored.clone()), Some(stored.clone())]
    );
    assert_eq!(table.get_some(&several[..1]).await.unwrap(), [Some(stored.clone())]);
    assert_eq!(table.get_some(&[]).await.unwrap(), []);
    let delivery = DeliveryKey { event: &event.key, endpoint, arrived_unix_ms: AT, retention_days: None };
    table.keep_until(delivery, AT + 100 * 24 * 3_600_000).await.unwrap();
    table.keep_for_endpoint(delivery).await.unwrap();
    assert_eq!(table.get(&event.key).await.unwrap(), Some(stored));
}

/// Events of one counter get numbers that grow by one: each event one, however many messages bring it at the same time.
pub async fn counted_events<E: Events<Error: Debug>>(
    table: &E,
    events: &[Event],
    endpoint: &EndpointId,
    counter: &str,
) {
    let insert = async |event: &Event, message_id: &str, counter: Option<&str>| {
        let first = FirstFanOut {
            message_id: message_id.to_owned(),
            endpoints: vec![endpoint.clone()],
            sent: 0,
            at_unix_seconds: AT / 1_000,
            arrival: Arrival { moment: Moment::of(event, AT), expires_at: AT / 1_000 + 3_600 },
            payload_hash: event.payload_hash(),
            number: None,
            retention_days: None,
        };
        table.insert(event, &first, counter).await.unwrap()
    };
    let (uncounted, rest) = events.split_first().unwrap();
    assert_eq!(insert(uncounted, "m-1", None).await, Insertion::New(None));
    let (later, raced) = rest.split_first().unwrap();
    let messages = ["m-1", "m-2"];
    let twice = raced.iter().flat_map(|event| messages.map(|message| insert(event, message, Some(counter))));
    let inserted = join_all(twice).await;
    let mut numbers = Vec::new();
    for (event, [one, other]) in raced.iter().zip(inserted.as_chunks::<2>().0) {
        let number = match (one, other) {
            (Insertion::New(number), Insertion::Stored(stored))
            | (Insertion::Stored(stored), Insertion::New(number)) => {
                assert_eq!(stored.number, *number, "both messages know the same number");
                number.unwrap()
            }
            other => panic!("two messages with one event: {other:?}"),
        };
        assert_eq!(table.get(&event.key).await.unwrap().unwrap().event.number, Some(number));
        numbers.push(number);
    }
    assert_eq!(insert(uncounted, "m-1", Some(counter)).await, insert(uncounted, "m-1", None).await, "it has none");
    let Insertion::New(Some(last)) = insert(later, "m-1", Some(counter)).await else { panic!("it is new") };
    numbers.sort_unstable();
    numbers.push(last);
    let expected: Vec<_> = std::iter::successors(Some(SequenceNumber::first(AT / 1_000)), |one| Some(one.next()))
        .take(numbers.len())
        .collect();
    assert_eq!(numbers, expected, "no number is given twice, and none is left out");
}

/// An event that was stored by [`an_event`] is erased. Its tombstone keeps its endpoints.
pub async fn an_erased_event<E: Events<Error: Debug>>(table: &E, event: &Event, endpoint: &EndpointId) {
    let moment = Some(Moment::of(event, AT));
    let before = EventTraces { event: Some(event.clone()), moment, endpoints: vec![endpoint.clone()] };
    let after = EventTraces { event: None, ..before.clone() };
    let key = &event.key;
    assert_eq!(table.traces(key).await.unwrap(), Some(before.clone()));
    assert_eq!(table.erase(key).await.unwrap(), Some(before));
    for _ in 0..2 {
        assert_eq!(table.traces(key).await.unwrap(), Some(after.clone()));
        assert_eq!((table.get(key).await.unwrap(), table.get_some(&[key]).await.unwrap()), (None, vec![None]));
        let first = FirstFanOut {
            message_id: "m-1".to_owned(),
            endpoints: vec![endpoint.clone()],
            sent: 0,
            at_unix_seconds: AT / 1_000,
            arrival: Arrival { moment: Moment::of(event, AT), expires_at: AT / 1_000 + 3_600 },
            payload_hash: event.payload_hash(),
            number: None,
            retention_days: None,
        };
        assert_eq!(table.insert(event, &first, None).await.unwrap(), Insertion::Erased);
        let delivery = DeliveryKey { event: key, endpoint, arrived_unix_ms: AT, retention_days: None };
        table.note_sent(key, 1).await.unwrap();
        table.keep_for_endpoint(delivery).await.unwrap();
        assert_eq!(table.erase(key).await.unwrap(), Some(after.clone()), "a repetition changes nothing");
    }
}

/// An event that is erased before it arrives is not stored when it does.
pub async fn an_event_erased_before_it_arrives<E: Events<Error: Debug>>(table: &E, event: &Event) {
    assert_eq!((table.traces(&event.key).await.unwrap(), table.erase(&event.key).await.unwrap()), (None, None));
    let first = FirstFanOut {
        message_id: "m-1".to_owned(),
        endpoints: Vec::new(),
        sent: 0,
        at_unix_seconds: AT / 1_000,
        arrival: Arrival { moment: Moment::of(event, AT), expires_at: AT / 1_000 + 3_600 },
        payload_hash: event.payload_hash(),
        number: None,
        retention_days: None,
    };
    assert_eq!(table.insert(event, &first, None).await.unwrap(), Insertion::Erased);
    let traces = EventTraces { event: None, moment: None, endpoints: Vec::new() };
    assert_eq!(table.traces(&event.key).await.unwrap(), Some(traces));
}

/// Keeping an event that is gone does not bring a part of it back.
pub async fn a_missing_event<E: Events<Error: Debug>>(table: &E, event: &Event, endpoint: &EndpointId) {
    let delivery = DeliveryKey { event: &event.key, endpoint, arrived_unix_ms: AT, retention_days: None };
    table.keep_until(delivery, AT + 100 * 24 * 3_600_000).await.unwrap();
    table.keep_for_endpoint(delivery).await.unwrap();
    table.note_sent(&event.key, 1).await.unwrap();
    assert_eq!(table.get(&event.key).await.unwrap(), None);
}

/// A write of an endpoint.
#[derive(Clone, Copy, Debug)]
pub enum EndpointWrite {
    /// Creates it, with these types.
    Create(&'static str),
    /// Sets its filter, or removes it.
    SetFilter(Option<&'static str>),
    /// Sets its types.
    SetTypes(&'static str),
    /// Sets its description.
    Describe,
    Disable,
    Remove,
    /// Sets the schema of the event type `invoice`, or removes the type.
    SetSchema(Option<&'static str>),
}

/// The version of a tenant's subscriptions changes with each that is added, changed or removed, and with nothing else.
pub async fn subscriptions<S: Subscriptions<Error: Debug>>(
    table: &S,
    tenant: &TenantId,
    id: &EndpointId,
    write: impl AsyncFn(EndpointWrite),
) {
    let version = async || table.versions(&[tenant]).await.pop().unwrap().unwrap();
    assert_eq!((version().await, table.of_tenant(tenant).await.unwrap()), (None, Vec::new()), "no endpoint yet");
    let one = r#"[{"type":"a","statuses":["b"]}]"#;
    let filter = Some(r#"{"data":{"total":[{"numeric":[">",100]}]}}"#);
    let cases = [
        (EndpointWrite::Create("[]"), Some("[]"), None, true),
        (EndpointWrite::Describe, Some("[]"), None, false),
        (EndpointWrite::SetTypes(one), Some(one), None, true),
        (EndpointWrite::SetFilter(filter), Some(one), filter, true),
        (EndpointWrite::Disable, Some(one), filter, false),
        (EndpointWrite::SetTypes("[]"), Some("[]"), filter, true),
        (EndpointWrite::SetFilter(None), Some("[]"), None, true),
        (EndpointWrite::Remove, None, None, true),
    ];
    for (change, types, filter, is_new) in cases {
        let before = version().await;
        write(change).await;
        let after = version().await;
        assert!(after.is_some() && (after != before) == is_new, "{change:?}: {before:?}, {after:?}");
        let expected: Vec<_> =
            types.map(|types| (id.clone(), Subscription::parse(types, filter))).into_iter().collect();
        assert_eq!(table.of_tenant(tenant).await.unwrap(), expected, "{change:?}");
    }
    for schema in [Some(r#"{"type":"object"}"#), Some("true"), None] {
        let before = version().await.unwrap();
        write(EndpointWrite::SetSchema(schema)).await;
        let after = version().await.unwrap();
        assert!(after.number != before.number && after.has_event_types == schema.is_some(), "{before:?}, {after:?}");
        let expected: Vec<_> = schema.map(invoice).into_iter().collect();
        assert_eq!(table.schemas(tenant).await.unwrap(), expected);
        assert_eq!(table.of_tenant(tenant).await.unwrap(), [], "no endpoint");
    }
    let both = table.versions(&[tenant, &TenantId::parse("initech").unwrap()]).await;
    assert_eq!(*both[0].as_ref().unwrap(), version().await, "in the order of the tenants");
    assert_eq!(both.len(), 2);
}

/// An endpoint is disabled once, and enabled by the proof of its own origin.
pub async fn an_endpoint<E: Endpoints<Error: Debug>>(
    table: &E,
    tenant: &TenantId,
    missing: &EndpointId,
    stored: &StoredEndpoint,
    put: impl AsyncFn(StoredEndpoint) -> EndpointId,
) {
    assert!(!table.exists(tenant, missing).await.unwrap());
    assert_eq!(table.get(tenant, missing).await.unwrap(), None);
    assert_eq!(table.disable(tenant, missing, DisabledBecause::Gone).await.unwrap(), Written::Overtaken);
    assert_eq!(table.verify(tenant, missing, "https://receiver.example").await.unwrap(), Written::Overtaken);
    assert!(!table.exists(tenant, missing).await.unwrap(), "nothing was written");

    let read = async |id: &EndpointId| {
        let mut read = table.get(tenant, id).await.unwrap().unwrap();
        read.updated_at = stored.updated_at;
        read
    };
    let id = put(stored.clone()).await;
    assert!(table.exists(tenant, &id).await.unwrap());
    assert_eq!(read(&id).await, *stored);
    assert_eq!(table.verify(tenant, &id, "https://receiver.example").await.unwrap(), Written::Overtaken, "enabled");
    assert_eq!(table.disable(tenant, &id, DisabledBecause::Gone).await.unwrap(), Written::Yes);
    assert_eq!(table.disable(tenant, &id, DisabledBecause::Failing).await.unwrap(), Written::Overtaken);
    let gone = StoredEndpoint { disabled: Some(DisabledBecause::Gone), version: stored.version + 1, ..stored.clone() };
    assert_eq!(read(&id).await, gone);
    assert_eq!(table.verify(tenant, &id, "https://receiver.example").await.unwrap(), Written::Overtaken, "gone");
    assert_eq!(read(&id).await, gone);

    let unverified = StoredEndpoint { disabled: Some(DisabledBecause::Unverified), ..stored.clone() };
    let id = put(unverified.clone()).await;
    assert_eq!(table.verify(tenant, &id, "https://other.example").await.unwrap(), Written::Overtaken);
    assert_eq!(read(&id).await, unverified);
    assert_eq!(table.verify(tenant, &id, "https://receiver.example").await.unwrap(), Written::Yes);
    let origin = Some("https://receiver.example".to_owned());
    assert_eq!(
        read(&id).await,
        StoredEndpoint { verified_origin: origin, version: stored.version + 1, ..stored.clone() }
    );
    assert_eq!(table.verify(tenant, &id, "https://receiver.example").await.unwrap(), Written::Overtaken);
}

/// A state takes one callback, until it expires or is used up; its repetition is accepted until it is acknowledged.
pub async fn a_token_request<T: TokenRequests<Error: Debug>>(
    table: &T,
    tenant: &TenantId,
    id: &RequestId,
    register: impl AsyncFn(&TokenRequest, Option<&TokenRequest>),
) {
    let state = |number| CallbackToken::new([number; 32]).hash();
    let expires_at = AT / 1_000;
    let (before, late) = (expires_at - 1, expires_at + 60);
    let request = |number| TokenRequest {
        tenant: tenant.clone(),
        id: id.clone(),
        redirect_url: Some("https://tpp.example/done".into()),
        registered_at: expires_at - 3_600,
        expires_at,
        state: state(number),
        called: None,
    };
    let heard = |payload: &str, acknowledged_by: Option<&str>| {
        let (payload, acknowledged_by) = (payload.to_owned(), acknowledged_by.map(str::to_owned));
        TokenRequest { called: Some(BankResponse { at: before, payload, acknowledged_by }), ..request(7) }
    };
    let record =
        async |number, payload, now| table.record_callback(tenant, id, &state(number), payload, now).await.unwrap();

    assert_eq!(table.of_state(&state(7)).await.unwrap(), None);
    assert_eq!(record(7, "{}", before).await, Changed::No(None));
    assert_eq!(table.acknowledge(&request(7), "a").await.unwrap(), Changed::No(None));

    register(&request(7), None).await;
    assert_eq!(table.of_state(&state(7)).await.unwrap(), Some((tenant.clone(), id.clone())));
    assert_eq!(record(8, "{}", before).await, Changed::No(Some(request(7))), "another state");
    assert_eq!(record(7, "{}", expires_at).await, Changed::No(Some(request(7))), "expired");
    assert_eq!(record(7, "{}", before).await, Changed::Yes(heard("{}", None)));
    assert_eq!(record(7, r#"{"a":1}"#, before).await, Changed::No(Some(heard("{}", None))), "another callback");
    assert_eq!(record(7, "{}", late).await, Changed::Yes(heard("{}", None)), "the same, with the time of the first");

    let elsewhere = TokenRequest { state: state(8), ..heard("{}", None) };
    assert_eq!(table.acknowledge(&elsewhere, "a").await.unwrap(), Changed::No(Some(heard("{}", None))));
    assert_eq!(table.acknowledge(&heard("{}", None), "a").await.unwrap(), Changed::Yes(heard("{}", Some("a"))));
    assert_eq!(
        table.acknowledge(&heard("{}", None), "a").await.unwrap(),
        Changed::Yes(heard("{}", Some("a"))),
        "again"
    );
    assert_eq!(table.acknowledge(&heard("{}", None), "b").await.unwrap(), Changed::No(Some(heard("{}", Some("a")))));
    assert_eq!(record(7, "{}", before).await, Changed::No(Some(heard("{}", Some("a")))), "used up");

    register(&request(8), Some(&heard("{}", Some("a")))).await;
    assert_eq!(table.of_state(&state(7)).await.unwrap(), Some((tenant.clone(), id.clone())), "the item stays");
    assert_eq!(record(7, "{}", before).await, Changed::No(Some(request(8))), "void");
    let called = BankResponse { at: before, payload: "{}".into(), acknowledged_by: None };
    assert_eq!(record(8, "{}", before).await, Changed::Yes(TokenRequest { called: Some(called), ..request(8) }));
}
