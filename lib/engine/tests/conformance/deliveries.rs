//! The records of deliveries, and the lists of an endpoint.

use std::fmt::Debug;

use signpost_core::delivery::answer::AnswerRecord;
use signpost_core::delivery::attempt::Attempt;
use signpost_core::delivery::list::{OldestFirst, key_of};
use signpost_core::delivery::sent::SentRecord;
use signpost_core::delivery::{DeadLetterReason, DeliveryRecord, DeliveryStatus, Progress, ReplayKind};
use signpost_engine::ports::deliveries::{Deliveries, Lease, LeaseResult, Recorded};
use signpost_engine::ports::replays::{DeliveryLists, ListStretch};

use super::{AT, Subject, key};

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
