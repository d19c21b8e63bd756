//! Large worlds: many endpoints that are down, with far more events than the others, beside some that are well.

use std::collections::BTreeMap;

use serde_json::json;
use signpost_engine::ports::endpoints::StoredEndpoint;

use crate::Schedule;
use crate::calm::{Broken, Failure, Watch};
use crate::clock::START;
use crate::functions::{run_functions, run_functions_in};
use crate::heat::Heat;
use crate::mapping::Account;
use crate::people::{stream, stream_to};
use crate::queue::{MAX_IN_FLIGHT, Mischief};
use crate::receivers::{Mood, Receiver};
use crate::world::{Plan, Trouble, World, endpoint};

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

const WELL: usize = 10;

/// How the endpoints that are well fared.
#[derive(Debug)]
struct Fared {
    median_ms: u64,
    p99_ms: u64,
    most_in_flight: usize,
    parked: usize,
    /// To all, the dead included.
    sent: usize,
}

pub fn plan(seed: u64) -> Plan {
    Plan {
        seed,
        trouble: Trouble::default(),
        mischief: Mischief::default(),
        quiet_from: START,
        concurrency: 50,
        slow_concurrency: 100,
        slow_per_tenant: 50,
        tenant_of: |_| 0,
        is_fair: true,
        call_ms: 20,
        skew_ms: 0,
        signs: false,
    }
}

fn settings(index: usize, max_concurrency: Option<u16>, max_per_second: Option<u16>) -> StoredEndpoint {
    let retry = json!({"maxRetries": 5, "intervalSeconds": 5, "backoff": "fixed"});
    let limits = json!({"maxConcurrency": max_concurrency, "maxPerSecond": max_per_second, "timeoutSeconds": 10, "retry": retry});
    endpoint(index, &limits)
}

/// How many of each, for how long. The well get ten events a second each.
#[derive(Clone, Copy)]
pub struct Crowd {
    pub dead: usize,
    pub per_second: u64,
    pub seconds: u64,
}

/// Checks that few deliveries are in flight, and that those to endpoints that are well are no later beside dead ones.
pub fn check(seed: u64, crowd: Crowd) {
    let _schedule = Schedule(seed);
    let alone = beside_the_dead(seed, Crowd { dead: 0, ..crowd });
    let beside = beside_the_dead(seed, crowd);
    println!("alone: {alone:?}\nbeside the dead: {beside:?}");
    assert!(beside.most_in_flight < MAX_IN_FLIGHT / 10, "{beside:?}");
    assert!(beside.p99_ms <= 2 * alone.p99_ms && beside.median_ms <= 2 * alone.median_ms, "{alone:?}, {beside:?}");
    let to_the_dead = beside.sent - alone.sent;
    assert!(100 * beside.parked >= 99 * to_the_dead, "of {to_the_dead} to the dead: {beside:?}");
}

/// Some are well, others are dead, and what came within the first two minutes is not reckoned: until the breakers are open and
/// have been probed together for the first time, the dead receivers hold up their senders.
fn beside_the_dead(seed: u64, crowd: Crowd) -> Fared {
    let Crowd { dead, per_second, seconds } = crowd;
    let moods = [Mood::Hanging, Mood::Refusing, Mood::Failing, Mood::Hanging];
    let dead_ones = (0..dead).map(|index| Receiver::new(vec![(0, moods[index % moods.len()])]));
    let receivers: Vec<_> = (0..WELL).map(|_| Receiver::new(vec![(0, Mood::Well(200))])).chain(dead_ones).collect();
    let world =
        World::new(plan(seed), (0..receivers.len()).map(|index| settings(index, None, None)).collect(), receivers);
    let until = START + seconds * SECOND;
    for index in 0..WELL + dead {
        stream(&world, index, if index < WELL { 10 } else { per_second }, START, until);
    }
    run_functions(&world);
    world.clock.run(until + 2 * MINUTE, || false);
    world.check_that_nothing_is_lost();

    let laws = world.laws.borrow();
    let well = laws.facts.iter().filter(|fact| fact.endpoint < WELL);
    let late = well.filter(|fact| fact.accepted_at >= START + 2 * MINUTE);
    let mut delays: Vec<_> = late.map(|fact| fact.acknowledged_at.unwrap() - fact.accepted_at).collect();
    delays.sort_unstable();
    let parked = world.tables.borrow().waiting().count();
    let most_in_flight = world.most_in_flight();
    let (median_ms, p99_ms) = (delays[delays.len() / 2], delays[delays.len() * 99 / 100]);
    Fared { median_ms, p99_ms, most_in_flight, parked, sent: laws.facts.len() }
}

/// How an endpoint got what was parked for it.
#[derive(Debug)]
pub struct Drained {
    /// From when it was back until it had everything.
    pub minutes: u64,
    /// How many it got in the minute that began with the first after the probe.
    pub in_first_minute: usize,
    /// The most it got in a minute.
    pub most_in_a_minute: usize,
    /// The largest distance between the order of arrival and the order by age.
    pub most_displaced: usize,
}

/// An endpoint is dead for two hours, gets `count` events meanwhile, and is back.
pub fn back_after_hours(seed: u64, count: u64, at_once: Option<u16>, per_second: Option<u16>) -> Drained {
    let back = START + 2 * HOUR;
    let receiver = Receiver::new(vec![(0, Mood::Refusing), (back, Mood::Well(100))]);
    let world = World::new(plan(seed), vec![settings(0, at_once, per_second)], vec![receiver]);
    // A breaker opens by the first of them, so that all others wait for nothing but the drain.
    stream(&world, 0, 20, START + MINUTE, START + MINUTE + count * SECOND / 20);
    run_functions(&world);
    world.clock.run(back, || false);
    while !world.is_all_over() {
        let until = world.now() + MINUTE;
        world.clock.run(until, || false);
        world.check_that_nothing_is_lost();
        assert!(world.now() < back + 6 * HOUR, "{} are still parked", world.tables.borrow().waiting().count());
    }
    let laws = world.laws.borrow();
    let mut got: Vec<_> =
        laws.facts.iter().enumerate().filter_map(|(age, fact)| Some((fact.acknowledged_at?, age))).collect();
    got.sort_unstable();
    let displaced = got.iter().enumerate().map(|(turn, (_, age))| turn.abs_diff(*age));
    let most_displaced = displaced.max().unwrap_or_default();
    let in_a_minute =
        |(turn, (at, _)): (usize, &(u64, usize))| got[turn..].partition_point(|(later, _)| *later < at + MINUTE);
    let in_first_minute = in_a_minute((1, &got[1]));
    let most_in_a_minute = got.iter().enumerate().map(in_a_minute).max().unwrap_or_default();
    assert!(world.dead_letters.queue.borrow().is_empty(), "a delivery was given up while it waited for its endpoint");
    assert_eq!(laws.figures.killed_late, 0, "invocations of `deliver` take longer than they may");
    let minutes = (got[got.len() - 1].0 - back).div_ceil(MINUTE);
    Drained { minutes, in_first_minute, most_in_a_minute, most_displaced }
}

/// Many endpoints that fail nearly every second request, so that their breakers stay closed, and whose retries wait for
/// nearly a quarter of an hour. Returns the most messages that were in flight at once, and the deliveries.
pub fn in_flight_of_waits(seed: u64, endpoints: usize, per_second: u64, seconds: u64) -> (usize, usize) {
    let _schedule = Schedule(seed);
    let slow = json!({"retry": {"maxRetries": 14, "intervalSeconds": 890, "backoff": "fixed"}});
    let stored = (0..endpoints).map(|index| endpoint(index, &slow)).collect();
    let receivers = (0..endpoints).map(|_| Receiver::new(vec![(0, Mood::Flaky(49))])).collect();
    let world = World::new(plan(seed), stored, receivers);
    stream_to(&world, 0..endpoints, per_second, START, START + seconds * SECOND);
    run_functions(&world);
    world.clock.run(START + seconds * SECOND, || false);
    world.check_that_nothing_is_lost();
    let most = world.most_in_flight();
    (most, world.laws.borrow().facts.len())
}

/// An endpoint whose secret cannot be opened, so that each receive of its deliveries ends with an internal error. Returns
/// the most messages that were in flight at once, and the deliveries.
pub fn in_flight_of_our_faults(per_second: u64, seconds: u64) -> (usize, usize) {
    let _schedule = Schedule(1);
    let receivers = vec![Receiver::new(vec![(0, Mood::Well(50))])];
    let world = World::new(plan(1), vec![settings(0, None, None)], receivers);
    let broken = Some((Broken::Each(("Secrets", "open")), Failure::Refused));
    *world.watch.borrow_mut() = Some(Watch { broken, ..Watch::default() });
    stream(&world, 0, per_second, START, START + seconds * SECOND);
    run_functions(&world);
    world.clock.run(START + seconds * SECOND, || false);
    world.check_that_nothing_is_lost();
    let most = world.most_in_flight();
    (most, world.laws.borrow().facts.len())
}

/// One endpoint with limits gets a thousand deliveries a second: far more than its limits allow, or as many as it can take.
/// Returns the most writes a second in one partition of the tables, by kind.
pub fn heat_of_limits(at_once: u16, per_second: Option<u16>, mood: Mood) -> BTreeMap<&'static str, u64> {
    let _schedule = Schedule(1);
    let world = World::new(plan(1), vec![settings(0, Some(at_once), per_second)], vec![Receiver::new(vec![(0, mood)])]);
    *world.heat.borrow_mut() = Some(Heat::default());
    for _ in 0..10 {
        stream(&world, 0, 100, START, START + 20 * SECOND);
    }
    run_functions(&world);
    world.clock.run(START + 40 * SECOND, || false);
    world.check_that_nothing_is_lost();
    world.heat.take().unwrap().most_per_second()
}

/// Other functions use up the account, so that Lambda throttles the first invocation for nearly the visibility timeout.
/// Whenever it begins then, SQS presents the message again while it sends.
#[test]
fn a_delivery_is_sent_once_although_lambda_throttles_its_first_invocation_for_nearly_its_visibility_timeout() {
    for seed in 0..100 {
        let _schedule = Schedule(seed);
        let slow = endpoint(0, &json!({"timeoutSeconds": 30}));
        let world = World::new(plan(seed), vec![slow], vec![Receiver::new(vec![(0, Mood::Well(25_000))])]);
        let account = Account::new(10);
        let others: Vec<_> = std::iter::from_fn(|| account.enter()).collect();
        stream(&world, 0, 1, START, START + SECOND);
        run_functions_in(&world, &account);
        world.clock.run(START + 75 * SECOND, || false);
        drop(others);
        world.clock.run(START + HOUR, || false);
        world.check_that_nothing_is_lost();
    }
}
