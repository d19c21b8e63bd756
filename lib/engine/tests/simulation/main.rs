//! The engine in a world of its own: ports in memory that misbehave as SQS, DynamoDB, KMS, Lambda and receivers may, by a
//! virtual clock and a seed.
//!
//! The world has no rule of delivery. `ports` implements the engine's ports: each await of one may fail, take its time, or
//! be the last of its process. `tables` and `queue` keep what DynamoDB and SQS keep, `mapping` invokes as Lambda does, and
//! `laws` says what must hold in every world. `wild` makes small worlds in which everything goes wrong, `crowd` large ones,
//! and `cases` worlds in which one thing happens. `isolation` tests queues and mappings without the engine.
//!
//! A schedule that fails names its seed, and prints its history when it runs alone:
//! `SIGNPOST_SEED=<seed> cargo test --package signpost-engine --test simulation`. `SIGNPOST_SCHEDULES=<number>` runs as
//! many; `make soak` goes on for minutes.

#![expect(clippy::print_stdout, reason = "figures are for who asks for them, by `--nocapture`")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod calm;
mod cases;
mod clock;
#[path = "../conformance/mod.rs"]
mod conformance;
mod conforms;
mod crowd;
mod deliver_cases;
mod fanout_cases;
mod functions;
mod heat;
mod isolation;
mod laws;
mod mapping;
mod neighbours;
mod people;
mod ports;
mod queue;
mod receivers;
mod relay_cases;
mod replay_cases;
mod soak;
mod sweep_cases;
mod tables;
mod tenant_erasure_cases;
mod wild;
mod world;

use crowd::Crowd;
use laws::Figures;
use neighbours::{Neighbour, Scene, latency};
use queue::MAX_IN_FLIGHT;
use receivers::Mood;

/// Says which seed it was when a schedule fails.
pub struct Schedule(pub u64);

impl Drop for Schedule {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the schedule of seed {0} failed; SIGNPOST_SEED={0} runs it alone", self.0);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "which schedules a test runs is no setting of a function")]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// For how long `make soak` has new schedules run.
fn soak_minutes() -> Option<u64> {
    number("SIGNPOST_SOAK_MINUTES")
}

#[test]
fn no_failure_loses_a_delivery_sends_it_twice_at_once_or_breaks_a_limit() {
    if let Some(minutes) = soak_minutes() {
        return soak::run(minutes);
    }
    let alone = number("SIGNPOST_SEED");
    let first = alone.unwrap_or_default();
    let count = if alone.is_some() { 1 } else { number("SIGNPOST_SCHEDULES").unwrap_or(300) };
    let mut worst = Figures::default();
    for seed in first..first + count {
        let _schedule = Schedule(seed);
        worst.add(&wild::run(seed, alone.is_some()));
    }
    println!("{count} schedules: {worst:?}");
}

#[test]
fn healthy_endpoints_do_not_wait_for_dead_ones_and_few_are_in_flight() {
    let (seed, crowd) = match soak_minutes() {
        None => (1, Crowd { dead: 100, per_second: 5, seconds: 150 }),
        Some(_) => (soak::fresh_seed(), Crowd { dead: 100, per_second: 50, seconds: 1_800 }),
    };
    crowd::check(number("SIGNPOST_SEED").unwrap_or(seed), crowd);
}

/// Prints the figures of docs/performance.md, if it runs for long, as in `make bench`: docs/neighbours.bars has them.
#[test]
fn no_neighbour_costs_a_tenant_more_than_a_healthy_one_of_the_same_load() {
    let seconds = if soak_minutes().is_none() { 10 } else { 30 };
    for (concurrency, per_second) in [([5, 10], 1), ([50, 100], 100), ([50, 100], 1_000)] {
        for is_new in [false, true] {
            if is_new && per_second > 100 && soak_minutes().is_none() {
                continue; // It takes long, and shows the same.
            }
            let seed = number("SIGNPOST_SEED").unwrap_or(1);
            let scene = Scene { seed, neighbour: None, per_second, seconds, concurrency, is_new };
            let of = |neighbour| latency(Scene { neighbour, ..scene });
            let (alone, healthy) = (of(None), of(Some(Neighbour::Healthy)));
            let own = if is_new { "a new endpoint" } else { "a quick endpoint" };
            println!("panel p99 of {own}, beside {per_second} events a second\n{alone} alone");
            for neighbour in Neighbour::ALL {
                let latency = of(Some(neighbour));
                println!("{latency} {}", neighbour.label());
                // An endpoint that begins to hang, and those on the slow track, hold up functions until pollers are added.
                let is_bounded = match neighbour {
                    Neighbour::BeginsToHang => latency.longest < 2_000,
                    _ if is_new => latency.longest < 2_000,
                    _ => 10 * latency.p99 <= 12 * healthy.p99,
                };
                assert!(is_bounded, "{neighbour:?}: {latency:?}; healthy: {healthy:?}");
            }
        }
    }
}

#[test]
fn deliveries_that_wait_for_a_retry_are_not_in_flight() {
    // As many as the endpoints of a tenant can have fail, and for a day in `make soak`.
    let (seed, seconds) = if soak_minutes().is_none() { (1, 300) } else { (soak::fresh_seed(), 24 * 3_600) };
    let seed = number("SIGNPOST_SEED").unwrap_or(seed);
    let (most, deliveries) = crowd::in_flight_of_waits(seed, 1_000, 100, seconds);
    println!("{deliveries} deliveries, at most {most} in flight");
    // Nearly half of them fail, and each of these waits for 890 s: that would be 14,000 after five minutes, and 43,000 in a day.
    assert!(most < MAX_IN_FLIGHT / 100, "{most} in flight");
}

#[test]
fn deliveries_that_our_own_faults_hold_up_are_not_in_flight_for_more_than_a_minute() {
    let (per_second, seconds) = (50, 600);
    let (most, deliveries) = crowd::in_flight_of_our_faults(per_second, seconds);
    println!("{deliveries} deliveries, at most {most} in flight");
    // Ten, twenty and thirty seconds. Longer waits are delayed messages.
    assert!(most < 65 * usize::try_from(per_second).unwrap(), "{most} of {deliveries} in flight");
}

#[test]
fn no_partition_is_near_its_limit_of_writes_at_a_thousand_deliveries_a_second_to_one_endpoint_with_limits() {
    let cases = [
        ((500, Some(500), Mood::Well(100)), "half of them find no room"),
        ((10, None, Mood::Well(200)), "most of them find no slot"),
        ((500, None, Mood::Well(100)), "all find a slot"),
        ((500, Some(500), Mood::Flaky(49)), "half of them fail"),
    ];
    for ((at_once, per_second, mood), why) in cases {
        let most = crowd::heat_of_limits(at_once, per_second, mood);
        println!("{why}: {most:?}");
        // The count of a second is one item, which each environment asks at least once a second.
        let bound = |kind: &str| if kind == "second" { 600 } else { 500 };
        assert!(most.iter().all(|(kind, writes)| *writes <= bound(kind)), "{why}: {most:?}");
    }
}

#[test]
fn parked_deliveries_are_sent_by_age_and_at_their_pace_after_the_receiver_recovers() {
    let seed = number("SIGNPOST_SEED").unwrap_or(1);
    let _schedule = Schedule(seed);
    // By the pace of one that is just back, 5,000 take 600 + 1,200 + 2,400 + the rest, and by a limit 60 times as many as
    // in a second. Before that comes a probe, after at most a quarter of an hour, and the minutes of the sweeps: the first
    // after the probe may be a minute after it, and give 1,200 already.
    let cases = [
        ((5_000, None, None), 15 + 2 + 4, 6_000, 700, "as fast as its pace"),
        ((1_000, Some(3), None), 15 + 2 + 2, 6_000, 100, "as fast as three at once can be"),
        ((1_000, None, Some(5)), 15 + 2 + 4, 5 * 61, 1_000, "five in a second, which a sweep spreads"),
        ((1_000, Some(2), Some(3)), 15 + 2 + 6, 3 * 61, 100, "three in a second, which the holders of slots wait for"),
    ];
    for ((count, at_once, per_second), minutes, in_a_minute, displaced, why) in cases {
        let drained = crowd::back_after_hours(seed, count, at_once, per_second);
        assert!(drained.minutes <= minutes, "{why}: {drained:?}");
        assert!(drained.in_first_minute <= 1_300, "{why}, but slowly at first: {drained:?}");
        assert!(drained.most_in_a_minute <= in_a_minute, "{why}: {drained:?}");
        // Those of one batch or of some pages overtake each other, and what finds no room in its second waits for another
        // minute, at times for several.
        assert!(drained.most_displaced <= displaced, "{why}: {drained:?}");
    }
}
