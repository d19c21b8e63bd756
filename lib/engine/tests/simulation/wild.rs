//! Many small worlds in which everything goes wrong that may.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::rc::Rc;

use fastrand::Rng;
use serde_json::{Value, json};
use signpost_core::delivery::DeliveryStatus;
use signpost_core::endpoint::NOTICE_TYPES;
use signpost_core::endpoint::retry::RetryPolicy;
use signpost_engine::ports::endpoints::StoredEndpoint;

use crate::clock::{IMMORTAL, START};
use crate::functions::run_functions_in;
use crate::laws::{Figures, Story};
use crate::mapping::Account;
use crate::people::{disable, enable, erase, operate, produce, redrive, remove, replay};
use crate::queue::Mischief;
use crate::receivers::{Mood, Receiver};
use crate::world::{Plan, Trouble, World, endpoint, endpoint_id, types_of};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
/// Enough concurrent executions for everything here, unless other functions take them.
const ACCOUNT: usize = 20;
/// How long the last delivery may still be pending after every receiver has recovered: a wait that was on record, a breaker that
/// was open, messages that come back after faults, and the drains. The waits of the default policy are 28 hours together.
const AFTERMATH: u64 = (28 + 3) * HOUR;

/// Runs the world of a seed to its end.
pub fn run(seed: u64, is_told: bool) -> Figures {
    let dice = &mut Rng::with_seed(seed);
    let world = world(seed, dice);
    let _story = is_told.then(|| Story::of(&world));
    let account = Account::new(ACCOUNT);
    run_functions_in(&world, &account);
    if dice.u8(..10) == 0 {
        world.clock.spawn(IMMORTAL, other_functions(Rc::clone(&world), account));
    }
    let quiet_from = world.plan.quiet_from;
    let is_over = loop {
        let until = world.now() + 10 * MINUTE;
        world.clock.run(until, || false);
        world.check_that_nothing_is_lost();
        if world.now() > quiet_from + 10 * MINUTE && world.is_all_over() {
            break true;
        }
        if world.now() > quiet_from + AFTERMATH {
            break false;
        }
    };
    world.check_numbers();
    if world.plan.trouble.crash == 0.0 && world.laws.borrow().figures.killed_late == 0 {
        world.clock.run(world.now() + 2 * MINUTE, || false);
        world.check_that_slots_are_free();
    }
    assert!(is_over, "not everything that waited was sent: {:?}", world.tables.borrow().waiting().collect::<Vec<_>>());
    let (tables, laws) = (world.tables.borrow(), world.laws.borrow());
    let dead: HashSet<_> = world.dead_letters.queue.borrow().bodies().collect();
    for (event, number) in laws.events.iter().zip(0..) {
        let Some(first) = tables.events.get(&number) else {
            assert!(tables.erased.contains(&number), "event {number} is lost");
            continue;
        };
        for (id, endpoint) in event.deliveries().filter(|(_, index)| first.endpoints.contains(&endpoint_id(*index))) {
            let status = tables.records.get(&id).and_then(|record| record.status);
            assert!(
                status != Some(DeliveryStatus::Erased) || tables.erased.contains(&number),
                "delivery {id} is erased, and its event is not"
            );
            let is_done = matches!(status, Some(DeliveryStatus::Delivered | DeliveryStatus::Erased));
            assert!(
                status == Some(DeliveryStatus::Erased) || !tables.erased.contains(&number) || dead.contains(&id),
                "delivery {id} of an erased event: {status:?}"
            );
            let is_over = is_done || dead.contains(&id);
            assert!(is_over, "delivery {id} to {endpoint}: {status:?}, {:?}", laws.facts[id as usize]);
        }
    }
    let measured = world.measured_attempts.get();
    assert!(measured <= laws.figures.sends, "an attempt counts once");
    if world.plan.trouble.crash == 0.0 && laws.figures.killed_late == 0 {
        assert_eq!(measured, laws.figures.sends, "every attempt counts");
    }
    let most_in_flight = world.most_in_flight();
    Figures { most_in_flight, ..laws.figures }
}

/// At times, other functions of the account take all of its concurrency for some minutes.
async fn other_functions(world: Rc<World>, account: Rc<Account>) {
    while world.now() < world.plan.quiet_from {
        world.clock.sleep(world.below(40 * MINUTE)).await;
        let all: Vec<_> = std::iter::from_fn(|| account.enter()).collect();
        world.clock.sleep(world.below(12 * MINUTE)).await;
        drop(all);
    }
}

fn world(seed: u64, dice: &mut Rng) -> Rc<World> {
    let quiet_from = START + dice.u64(10 * MINUTE..6 * HOUR);
    let likely = |dice: &mut Rng, most: &[f64]| most[dice.usize(..most.len())];
    let plan = Plan {
        seed,
        trouble: Trouble {
            crash: likely(dice, &[0.0, 0.001, 0.01, 0.05]),
            refused: likely(dice, &[0.0, 0.0, 0.01, 0.1]),
            lost: likely(dice, &[0.0, 0.0, 0.01, 0.1]),
            slow: likely(dice, &[0.0, 0.0, 0.01, 0.2]),
        },
        mischief: Mischief {
            twice: likely(dice, &[0.0, 0.0, 0.01, 0.2]),
            undead: likely(dice, &[0.0, 0.0, 0.01, 0.2]),
        },
        quiet_from,
        concurrency: dice.usize(2..6),
        slow_concurrency: dice.usize(2..6),
        slow_per_tenant: dice.u16(1..4),
        tenant_of: |_| 0,
        is_fair: dice.bool(),
        call_ms: [2, 2, 20, 200][dice.usize(..4)],
        skew_ms: [0, 50, 1_000][dice.usize(..3)],
        signs: dice.u8(..10) == 0,
    };
    let count = dice.usize(1..4);
    let signatures = if plan.signs { json!(["standard-webhooks", "jws"]) } else { json!([]) };
    let endpoints: Vec<_> = (0..count).map(|index| settings(index, count, &signatures, dice)).collect();
    let receivers = endpoints.iter().map(|_| receiver(dice, quiet_from)).collect();
    let world = World::new(plan, endpoints, receivers);
    let events = dice.usize(1..40);
    for _ in 0..events {
        let at = dice.u64(START..quiet_from);
        let burst = if dice.u8(..10) == 0 { dice.usize(1..30) } else { 1 };
        let endpoints: Vec<_> = (0..count).filter(|_| dice.bool()).collect();
        (0..burst).for_each(|_| produce(&world, at, endpoints.clone()));
    }
    operators(&world, count, dice);
    world
}

fn settings(index: usize, count: usize, signatures: &Value, dice: &mut Rng) -> StoredEndpoint {
    let retry = match dice.u8(..3) {
        0 => serde_json::to_value(RetryPolicy::default()).unwrap(),
        1 => {
            let (retries, interval) = (dice.u32(..8), dice.u32(1..1_200));
            serde_json::to_value(RetryPolicy::fixed(retries, interval).unwrap()).unwrap()
        }
        _ => json!({"schedule": [1, 5, 60, 1_000, 3_600]}),
    };
    let mut types = types_of(index, count);
    if dice.bool() {
        types.as_array_mut().unwrap().extend(NOTICE_TYPES.map(|kind| json!({"type": kind})));
    }
    let limit = |dice: &mut Rng, most| (dice.u8(..3) == 0).then(|| dice.u16(1..most));
    let all = json!({
        "types": types,
        "signatures": signatures,
        "jwsAlgorithm": "ES256",
        "retry": retry,
        "timeoutSeconds": dice.u64(1..=30),
        "maxConcurrency": limit(dice, 4),
        "maxPerSecond": limit(dice, 6),
        "sequence": dice.bool(),
    });
    endpoint(index, &all)
}

fn receiver(dice: &mut Rng, well_from: u64) -> Receiver {
    let mut moods = vec![(0, mood(dice))];
    let mut at = START;
    let pace = if dice.u8(..4) == 0 { MINUTE } else { 40 * MINUTE };
    loop {
        at += dice.u64(1..pace);
        if at >= well_from {
            break;
        }
        moods.push((at, mood(dice)));
    }
    moods.push((well_from, Mood::Well(500)));
    Receiver::new(moods)
}

fn mood(dice: &mut Rng) -> Mood {
    match dice.u8(..12) {
        0..4 => Mood::Well(dice.u64(1..300)),
        4 => Mood::Well(40_000),
        5..7 => Mood::Failing,
        7 => Mood::Refusing,
        8..10 => Mood::Hanging,
        10 => Mood::Busy(dice.u64(..3_000)),
        _ => Mood::Gone,
    }
}

/// Replays of anything at any time, endpoints that come and go, and in the end all enabled.
fn operators(world: &Rc<World>, endpoints: usize, dice: &mut Rng) {
    let quiet_from = world.plan.quiet_from;
    for _ in 0..dice.usize(..6) {
        let (at, chosen) = (dice.u64(START..quiet_from), dice.u32(..));
        let known = Rc::new(OnceCell::new());
        operate(world, at, move |process| {
            let known = Rc::clone(&known);
            async move {
                let known = known.get_or_init(|| process.world.any_delivery(chosen)).clone();
                if let Some((number, endpoint)) = known { replay(process, number, &endpoint).await } else { Ok(()) }
            }
        });
    }
    for _ in 0..dice.usize(..3) {
        operate(world, dice.u64(START..quiet_from), redrive);
    }
    for endpoint in 0..endpoints {
        for _ in 0..dice.usize(..4) {
            operate(world, dice.u64(START..quiet_from), move |process| enable(process, endpoint));
        }
        if dice.u8(..3) == 0 {
            operate(world, dice.u64(START..quiet_from), move |process| disable(process, endpoint));
        }
        match dice.u8(..20) {
            0 => operate(world, dice.u64(START..quiet_from), move |process| remove(process, endpoint)),
            _ => operate(world, quiet_from + MINUTE, move |process| enable(process, endpoint)),
        }
    }
    // Events are erased at any moment, also before they arrive.
    if dice.bool() {
        for _ in 0..dice.usize(1..4) {
            let (at, chosen) = (dice.u64(START..quiet_from), dice.u32(..));
            let known = Rc::new(OnceCell::new());
            operate(world, at, move |process| {
                let known = Rc::clone(&known);
                async move {
                    match *known.get_or_init(|| process.world.any_event(chosen)) {
                        Some(number) => erase(process, number).await,
                        None => Ok(()),
                    }
                }
            });
        }
    }
}
