//! Bulk replays: deliveries that the runs of `sweep` send again, also after runs that fail, are killed or overlap a stop.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use fastrand::Rng;
use serde_json::json;
use signpost_core::delivery::breaker::Breaker;
use signpost_core::delivery::replay::{EndStatus, Replay, ReplayCounts, ReplayFilter, ReplayId, ReplayState};
use signpost_core::delivery::{DeliveryStatus, Progress, ReplayKind};
use signpost_core::endpoint::DisabledBecause;
use signpost_engine::ports::replays::Replays as _;
use signpost_engine::sweep::Swept;
use uuid::Uuid;

use crate::calm::{Broken, Calm, Failure, MINUTE, SECOND, failed};
use crate::clock::{IMMORTAL, START};
use crate::functions::sweep_of;
use crate::ports::Which;
use crate::receivers::Mood;
use crate::tables::Place;
use crate::world::{Call, Fault, Process, Role, acme, endpoint_id, type_for};

/// The deliveries of a test ended before this moment, and its replays are made then.
const MADE: u64 = START + 10 * MINUTE;

fn calm(endpoints: usize) -> Calm {
    let settings: Vec<_> = (0..endpoints).map(|_| (json!({}), Mood::Well(50))).collect();
    Calm::new(&settings)
}

fn ended(status: DeliveryStatus, at: u64) -> Progress {
    Progress { status, next_attempt_unix_ms: at, ..failed(3) }
}

/// Stores a delivery that has ended before the replay.
fn put(calm: &Calm, endpoint: usize, status: DeliveryStatus) -> u32 {
    let delivery = calm.delivery_to(endpoint);
    calm.put_record(delivery, ended(status, MADE - 1));
    delivery
}

fn exhausted(calm: &Calm, endpoint: usize, count: usize) -> BTreeSet<u32> {
    (0..count).map(|_| put(calm, endpoint, DeliveryStatus::Exhausted)).collect()
}

fn all() -> ReplayFilter {
    ReplayFilter {
        endpoints: BTreeSet::new(),
        types: BTreeSet::new(),
        statuses: BTreeSet::from([EndStatus::Exhausted]),
        since_unix_ms: START,
        until_unix_ms: MADE,
    }
}

/// Makes a replay, as `manage` does. Returns its id.
fn make(calm: &Calm, filter: ReplayFilter) -> ReplayId {
    calm.wait(MADE.saturating_sub(calm.world.now()));
    let number = calm.world.tables.borrow().replays.len() as u128;
    let replay = Replay::new(acme(), ReplayId::new(MADE, Uuid::from_u128(number)), filter, MADE);
    let id = replay.id.clone();
    assert!(calm.world.tables.borrow_mut().create_replay(replay, MADE / SECOND));
    id
}

fn replay(calm: &Calm, id: &ReplayId) -> Replay {
    calm.world.tables.borrow().replays[&(acme().to_string(), id.clone())].clone()
}

fn sweep(calm: &Calm) -> Result<Swept, Fault> {
    let (sweep, now) = (Rc::new(sweep_of(Process::new(&calm.world, Role::Sweep))), calm.world.now());
    calm.run(async move { sweep.sweep_at(now).await })
}

/// Runs `sweep` every minute until the replay has ended and all of its deliveries are in the queue.
fn finish(calm: &Calm, id: &ReplayId) -> Replay {
    for _ in 0..60 {
        calm.wait(MINUTE);
        sweep(calm).unwrap();
        if replay(calm, id).state != ReplayState::Running && calm.parked().is_empty() {
            return replay(calm, id);
        }
    }
    panic!("{:?}, {} parked", replay(calm, id), calm.parked().len());
}

/// Returns how often each delivery was put into the queue.
fn queued(calm: &Calm) -> BTreeMap<u32, usize> {
    let mut times = BTreeMap::new();
    for message in calm.sent(Which::Deliveries) {
        *times.entry(calm.world.delivery_in(&message.body)).or_default() += 1;
    }
    times
}

fn once(deliveries: &BTreeSet<u32>) -> BTreeMap<u32, usize> {
    deliveries.iter().map(|delivery| (*delivery, 1)).collect()
}

fn counts(sent: u64, skipped: u64) -> ReplayCounts {
    ReplayCounts { sent, skipped }
}

#[test]
fn a_replay_sends_all_that_its_filter_includes_once_and_ends() {
    use DeliveryStatus::{Delivered, Exhausted, Pending};
    let calm = calm(3);
    let mut of = BTreeMap::new();
    for endpoint in 0..3 {
        for status in [Delivered, Exhausted, Pending] {
            of.insert((endpoint, status.as_str()), put(&calm, endpoint, status));
        }
    }
    calm.wait(SECOND);
    let late = put(&calm, 0, Exhausted);
    let pick = |keys: &[(usize, &'static str)]| keys.iter().map(|key| of[key]).collect::<BTreeSet<_>>();
    let given_up = pick(&[(0, "exhausted"), (1, "exhausted"), (2, "exhausted")]);
    let with_late: BTreeSet<_> = given_up.iter().copied().chain([late]).collect();
    let both = BTreeSet::from([EndStatus::Delivered, EndStatus::Exhausted]);
    let cases = [
        (all(), with_late.clone(), "all that were given up"),
        (ReplayFilter { until_unix_ms: START + SECOND, ..all() }, given_up, "until a moment"),
        (ReplayFilter { since_unix_ms: START + SECOND, ..all() }, BTreeSet::from([late]), "since a moment"),
        (
            ReplayFilter { endpoints: BTreeSet::from([endpoint_id(2)]), statuses: both, ..all() },
            pick(&[(2, "delivered"), (2, "exhausted")]),
            "of an endpoint",
        ),
        (
            ReplayFilter { types: BTreeSet::from([type_for(&[1]), "other".into()]), ..all() },
            pick(&[(1, "exhausted")]),
            "of a type",
        ),
        (ReplayFilter { types: BTreeSet::from(["other".into()]), ..all() }, BTreeSet::new(), "none"),
    ];
    let records = calm.world.tables.borrow().records.clone();
    for (filter, expected, why) in cases {
        calm.world.watch.borrow_mut().as_mut().unwrap().sent.clear();
        calm.world.tables.borrow_mut().records.clone_from(&records);
        let id = make(&calm, filter);
        let ended = finish(&calm, &id);
        assert_eq!(ended.state, ReplayState::Done, "{why}");
        assert_eq!((queued(&calm), ended.counts), (once(&expected), counts(expected.len() as u64, 0)), "{why}");
        for delivery in expected {
            let progress = calm.progress(delivery).unwrap();
            let found = (progress.status, progress.before_replay, progress.replay);
            assert_eq!(found, (Pending, 3, Some(ReplayKind::Replay)), "{why}");
        }
        assert!(calm.world.tables.borrow().running_replays.is_empty(), "{why}: its note is removed");
    }
}

#[test]
fn a_replay_skips_what_ended_since_and_what_has_no_event_any_more() {
    let calm = calm(1);
    let [sent, gone] = [put(&calm, 0, DeliveryStatus::Exhausted), put(&calm, 0, DeliveryStatus::Delivered)];
    let since = calm.delivery_to(0);
    calm.put_record(since, ended(DeliveryStatus::Delivered, MADE + 1));
    let number = calm.world.laws.borrow().event_of(gone);
    calm.world.tables.borrow_mut().gone.insert(number);
    let both = BTreeSet::from([EndStatus::Delivered, EndStatus::Exhausted]);
    let id = make(&calm, ReplayFilter { statuses: both, ..all() });
    assert_eq!(finish(&calm, &id).counts, counts(1, 2));
    assert_eq!(queued(&calm), once(&BTreeSet::from([sent])));
    assert_eq!(calm.dead_letters(), [""; 0], "nothing is parked without its event");
}

#[test]
fn a_replay_parks_in_each_minute_what_a_drain_sends_in_one() {
    let limited = json!({"maxPerSecond": 2});
    let cases = [
        (json!({}), None, false, 700, "as many as one that never failed gets: more than these"),
        (json!({}), Some(Breaker::closed_at(MADE)), false, 600, "just back"),
        (limited, None, false, 108, "most of a minute at its limit"),
        (json!({}), None, true, 600, "disabled"),
    ];
    for (settings, breaker, is_disabled, expected, why) in cases {
        let calm = Calm::with(settings, Mood::Well(50));
        exhausted(&calm, 0, 700);
        if let Some(breaker) = breaker {
            calm.put_breaker(0, breaker);
        }
        if is_disabled {
            calm.world.tables.borrow_mut().disable(0, DisabledBecause::Operator);
        }
        make(&calm, all());
        make(&calm, all());
        assert_eq!(sweep(&calm).unwrap().replayed, expected, "{why}: both replays together");
        let waiting = calm.lane(Place::Endpoint(0)).len() + queued(&calm).len();
        assert_eq!(waiting, expected, "{why}");
    }
}

#[test]
fn a_replay_sends_the_oldest_first() {
    let calm = calm(1);
    let mut older = BTreeSet::new();
    for _ in 0..300 {
        older.insert(put(&calm, 0, DeliveryStatus::Exhausted));
        calm.wait(1);
    }
    let newer = exhausted(&calm, 0, 300);
    calm.put_breaker(0, Breaker::closed_at(MADE)); // 600 a minute.
    make(&calm, all());
    // Calls take their time, so that no two pages begin in the same millisecond.
    calm.break_calls(None);
    calm.world.watch.borrow_mut().as_mut().unwrap().slow = Some((Broken::Each(("Replays", "replace")), 2));
    assert_eq!(sweep(&calm).unwrap().replayed, 600);
    let lane = calm.lane(Place::Endpoint(0)).into_iter().map(|(_, delivery)| delivery);
    let moved: Vec<_> = calm.sent(Which::Deliveries).iter().map(|one| calm.world.delivery_in(&one.body)).collect();
    let sequence: Vec<_> = moved.into_iter().chain(lane).collect(); // The drain of the same run may have moved some.
    let first: BTreeSet<_> = sequence.iter().take(250).copied().collect();
    assert!(first.is_subset(&older), "pages are in order, and each has 50");
    assert!(newer.iter().all(|delivery| sequence.contains(delivery)));
}

#[test]
fn a_removed_endpoint_is_left_out() {
    let calm = calm(3);
    let lists = [0, 1, 2].map(|endpoint| exhausted(&calm, endpoint, 2));
    calm.world.tables.borrow_mut().endpoints[1] = None;
    let expected: BTreeSet<_> = lists[0].union(&lists[2]).copied().collect();
    let named = BTreeSet::from([0, 1, 2].map(endpoint_id));
    for filter in [all(), ReplayFilter { endpoints: named, ..all() }] {
        let records = calm.world.tables.borrow().records.clone();
        calm.world.watch.borrow_mut().as_mut().unwrap().sent.clear();
        let id = make(&calm, filter);
        assert_eq!(finish(&calm, &id).counts, counts(4, 0));
        assert_eq!(queued(&calm), once(&expected));
        calm.world.tables.borrow_mut().records = records;
    }
}

#[test]
fn a_note_without_its_replay_is_removed_after_a_while() {
    let calm = calm(1);
    let id = make(&calm, all());
    calm.world.tables.borrow_mut().replays.clear();
    sweep(&calm).unwrap();
    assert_eq!(calm.world.tables.borrow().running_replays[0].id, id, "`manage` may still write it");
    calm.wait(10 * MINUTE);
    sweep(&calm).unwrap();
    assert!(calm.world.tables.borrow().running_replays.is_empty());
}

/// The replay of the tests of failures: some deliveries of each kind to two endpoints, in several pages.
fn mixed(calm: &Calm) -> (ReplayId, BTreeSet<u32>) {
    let mut wanted = BTreeSet::new();
    for (endpoint, count) in [(0, 28), (1, 1)] {
        wanted.extend(exhausted(calm, endpoint, count));
        put(calm, endpoint, DeliveryStatus::Delivered);
        put(calm, endpoint, DeliveryStatus::Pending);
        wanted.extend(exhausted(calm, endpoint, count));
    }
    (make(calm, all()), wanted)
}

/// Has the calls of one run fail or end it, one after the other. Returns what each of the worlds is after that run.
fn broken_runs(check: impl Fn(&Calm, &ReplayId, &BTreeSet<u32>, &str)) {
    let calls: Vec<Call> = {
        let calm = calm(2);
        mixed(&calm);
        calm.break_calls(None);
        sweep(&calm).unwrap();
        calm.seen(|watch| watch.calls.clone())
    };
    assert!(calls.len() > 150, "{} calls", calls.len());
    for (nth, call) in calls.into_iter().enumerate() {
        for failure in [Failure::Refused, Failure::Lost, Failure::KilledBefore, Failure::KilledAfter] {
            let calm = calm(2);
            let (id, wanted) = mixed(&calm);
            calm.break_calls(Some((Broken::Nth(nth), failure)));
            let (sweep, now) = (Rc::new(sweep_of(Process::new(&calm.world, Role::Sweep))), calm.world.now());
            let _ = calm.run_mortal(async move { sweep.sweep_at(now).await });
            calm.break_calls(None);
            check(&calm, &id, &wanted, &format!("call {nth}, {call:?}, {failure:?}"));
        }
    }
}

#[test]
fn a_run_that_fails_or_is_killed_at_any_call_leaves_out_no_delivery_and_sends_none_for_ever() {
    broken_runs(|calm, id, wanted, why| {
        let ended = finish(calm, id);
        assert_eq!(ended.state, ReplayState::Done, "{why}");
        assert_eq!(ended.counts, counts(wanted.len() as u64, 0), "{why}: each counts once");
        let queued = queued(calm);
        assert_eq!(queued.keys().copied().collect::<BTreeSet<_>>(), *wanted, "{why}");
        assert!(queued.values().all(|times| *times <= 2), "{why}: {queued:?}");
        assert!(calm.world.tables.borrow().running_replays.is_empty(), "{why}");
    });
}

/// As `manage` stops a replay.
async fn stop(process: &Process, id: &ReplayId) {
    loop {
        let replay = process.get(&acme(), id).await.unwrap().unwrap();
        let is_running = replay.state == ReplayState::Running;
        if !is_running || process.replace(&replay.with_state(ReplayState::Stopped, process.now())).await.unwrap() {
            return;
        }
    }
}

#[test]
fn a_replay_that_is_stopped_after_any_failure_ends_and_parks_nothing_more() {
    broken_runs(|calm, id, wanted, why| {
        let (process, own) = (Process::new(&calm.world, Role::Operator), id.clone());
        calm.run(async move { stop(&process, &own).await });
        let parked = calm.parked().len() + queued(calm).len();
        let ended = finish(calm, id);
        assert!(ended.state != ReplayState::Running, "{why}");
        assert!(queued(calm).len() <= parked && queued(calm).keys().all(|id| wanted.contains(id)), "{why}");
        assert!(calm.world.tables.borrow().running_replays.is_empty(), "{why}");
    });
}

#[test]
fn a_replay_that_is_stopped_during_a_page_keeps_its_counts() {
    let calls = {
        let calm = calm(2);
        mixed(&calm);
        calm.break_calls(None);
        sweep(&calm).unwrap();
        calm.seen(|watch| watch.calls.len())
    };
    for nth in 0..calls {
        let calm = calm(2);
        let (id, _) = mixed(&calm);
        calm.break_calls(None);
        // The operator's call comes while this one takes a second.
        calm.world.watch.borrow_mut().as_mut().unwrap().slow = Some((Broken::Nth(nth), SECOND));
        let (process, own) = (Process::new(&calm.world, Role::Operator), id.clone());
        calm.world.clock.spawn(IMMORTAL, async move {
            while process.world.watch.borrow().as_ref().unwrap().calls.len() <= nth {
                process.world.clock.sleep(1).await;
            }
            stop(&process, &own).await;
        });
        sweep(&calm).unwrap();
        calm.wait(SECOND);
        calm.world.watch.borrow_mut().as_mut().unwrap().slow = None;
        let ended = finish(&calm, &id);
        assert!(ended.state != ReplayState::Running);
        assert_eq!(
            ended.counts.sent,
            queued(&calm).len() as u64,
            "call {nth}: all that was parked is sent, and counts"
        );
    }
}

#[test]
fn a_failing_replay_does_not_stop_the_others() {
    let calm = calm(2);
    exhausted(&calm, 0, 3);
    let others = exhausted(&calm, 1, 3);
    let bad = make(&calm, ReplayFilter { endpoints: BTreeSet::from([endpoint_id(0)]), ..all() });
    let good = make(&calm, ReplayFilter { endpoints: BTreeSet::from([endpoint_id(1)]), ..all() });
    calm.world.tables.borrow_mut().replays.get_mut(&(acme().to_string(), bad.clone())).unwrap().version = 7;
    calm.break_calls(Some((Broken::Each(("Replays", "get")), Failure::Refused)));
    assert!(sweep(&calm).is_err(), "neither can be read");
    calm.break_calls(None);
    assert_eq!(finish(&calm, &good).counts, counts(3, 0));
    assert!(others.iter().all(|delivery| queued(&calm).contains_key(delivery)));
}

#[test]
fn ten_thousand_deliveries_are_sent_again_although_runs_are_killed() {
    let mut dice = Rng::with_seed(7);
    let calm = Calm::in_time(&[(json!({}), Mood::Well(50))], 20);
    let wanted = exhausted(&calm, 0, 10_000);
    let id = make(&calm, all());
    let mut runs = 0;
    while replay(&calm, &id).state == ReplayState::Running || !calm.parked().is_empty() {
        runs += 1;
        assert!(runs < 60, "{:?}", replay(&calm, &id));
        calm.wait(MINUTE);
        let is_killed = runs % 3 != 0;
        calm.break_calls(is_killed.then(|| (Broken::Nth(dice.usize(10..4_000)), Failure::KilledAfter)));
        let (sweep, now) = (Rc::new(sweep_of(Process::new(&calm.world, Role::Sweep))), calm.world.now());
        let _ = calm.run_mortal(async move { sweep.sweep_at(now).await });
    }
    let (queued, ended) = (queued(&calm), replay(&calm, &id));
    assert_eq!(queued.keys().copied().collect::<BTreeSet<_>>(), wanted);
    assert_eq!(ended.counts, counts(10_000, 0), "each counts once");
    let messages: usize = queued.values().sum();
    assert!(messages < 10_000 + runs * 400, "{messages} messages after {runs} runs");
}
