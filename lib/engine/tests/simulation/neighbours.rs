//! How much one tenant's trouble delays another, from the first second on.

use std::fmt;

use serde_json::json;
use signpost_core::delivery::breaker::Breaker;
use signpost_core::delivery::parking::Lane;

use crate::Schedule;
use crate::calm::quick;
use crate::clock::START;
use crate::crowd::plan;
use crate::functions::run_functions;
use crate::people::{fanned_out, stream};
use crate::receivers::{Mood, Receiver};
use crate::tables::Place;
use crate::world::{Plan, World, acme, endpoint, endpoint_id};

const SECOND: u64 = 1_000;
/// How many events the tenant that is well gets in a second.
const OWN_PER_SECOND: u64 = 20;

/// The tenant beside the one that is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbour {
    Healthy,
    /// A new endpoint that never answers.
    Hangs,
    /// An endpoint that has proved that it is quick, and stops to answer.
    BeginsToHang,
    AnswersAfter9Seconds,
    AnswersAfter29Seconds,
    /// Just so few failures that its breaker stays closed.
    Fails49Percent,
    /// A thousand endpoints, all down.
    ThousandDown,
    /// Enabled a moment ago, with a hundred thousand parked deliveries.
    JustEnabled,
}

impl Neighbour {
    pub const ALL: [Self; 8] = [
        Self::Healthy,
        Self::Hangs,
        Self::BeginsToHang,
        Self::AnswersAfter9Seconds,
        Self::AnswersAfter29Seconds,
        Self::Fails49Percent,
        Self::ThousandDown,
        Self::JustEnabled,
    ];

    pub fn label(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Hangs => "never answers",
            Self::BeginsToHang => "quick, and begins to hang",
            Self::AnswersAfter9Seconds => "answers after 9 s",
            Self::AnswersAfter29Seconds => "answers after 29 s",
            Self::Fails49Percent => "fails 49 %",
            Self::ThousandDown => "1,000 endpoints, all down",
            Self::JustEnabled => "just enabled, 100,000 parked",
        }
    }

    fn endpoints(self) -> usize {
        if self == Self::ThousandDown { 1_000 } else { 1 }
    }

    fn mood(self) -> Mood {
        match self {
            Self::Healthy | Self::JustEnabled => Mood::Well(200),
            Self::Hangs | Self::BeginsToHang => Mood::Hanging,
            Self::AnswersAfter9Seconds => Mood::After(9 * SECOND),
            Self::AnswersAfter29Seconds => Mood::After(29 * SECOND),
            Self::Fails49Percent => Mood::Flaky(49),
            Self::ThousandDown => Mood::Refusing,
        }
    }

    fn breaker(self) -> Breaker {
        match self {
            Self::Healthy | Self::BeginsToHang | Self::Fails49Percent | Self::ThousandDown => quick(),
            Self::JustEnabled => Breaker::closed_at(START),
            Self::Hangs | Self::AnswersAfter9Seconds | Self::AnswersAfter29Seconds => Breaker::default(),
        }
    }
}

/// How long deliveries took from `DeliveriesQueue` to their acknowledgement, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    pub p50: u64,
    pub p99: u64,
    pub longest: u64,
}

/// Two tenants.
#[derive(Clone, Copy, Debug)]
pub struct Scene {
    pub seed: u64,
    pub neighbour: Option<Neighbour>,
    /// How many events the neighbour gets in a second.
    pub per_second: u64,
    pub seconds: u64,
    /// `DeliverConcurrency` and `SlowDeliverConcurrency`. A tenant may have two fifths of the latter.
    pub concurrency: [usize; 2],
    /// Whether the endpoint of the tenant that is well is new, so that it has not proved that it is quick.
    pub is_new: bool,
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p50, p99, longest } = self;
        write!(f, "# p50 {p50}, longest {longest}\nbar {p99}")
    }
}

/// How many worlds the latency of a scene is measured in. One has too few deliveries for a 99th percentile: from seed to
/// seed, it differs by a fifth.
const WORLDS: u64 = 3;

/// Returns how the tenant that is well fares, in all worlds together.
pub fn latency(scene: Scene) -> Latency {
    let mut took: Vec<_> = (scene.seed..scene.seed + WORLDS).flat_map(|seed| waits(Scene { seed, ..scene })).collect();
    took.sort_unstable();
    Latency { p50: took[took.len() / 2], p99: took[took.len() * 99 / 100], longest: took[took.len() - 1] }
}

/// Returns how long each delivery of the tenant that is well took in one world.
fn waits(scene: Scene) -> Vec<u64> {
    let Scene { seed, neighbour, per_second, seconds, concurrency: [concurrency, slow_concurrency], is_new } = scene;
    let _schedule = Schedule(seed);
    let count = neighbour.map_or(0, Neighbour::endpoints);
    let settings = json!({"timeoutSeconds": if neighbour == Some(Neighbour::AnswersAfter29Seconds) { 30 } else { 10 }});
    let stored = (0..=count).map(|index| endpoint(index, &settings)).collect();
    let moods = std::iter::once(Mood::Well(200)).chain((0..count).filter_map(|_| neighbour.map(Neighbour::mood)));
    let receivers = moods.map(|mood| Receiver::new(vec![(0, mood)])).collect();
    let slow_per_tenant = u16::try_from(slow_concurrency * 2 / 5).unwrap();
    let plan = Plan { concurrency, slow_concurrency, slow_per_tenant, ..plan(seed) };
    let world = World::new(Plan { tenant_of: |index| usize::from(index == 0), ..plan }, stored, receivers);
    world.tables.borrow_mut().breakers.insert(0, (if is_new { Breaker::default() } else { quick() }, 1));
    let until = START + seconds * SECOND;
    stream(&world, 0, OWN_PER_SECOND, START, until);
    if let Some(neighbour) = neighbour {
        for index in 1..=count {
            world.tables.borrow_mut().breakers.insert(index, (neighbour.breaker(), 1));
        }
        if neighbour == Neighbour::JustEnabled {
            park(&world, 100_000);
        }
        let streams = count.min(usize::try_from(per_second).unwrap());
        for index in 1..=streams {
            stream(&world, index, per_second / u64::try_from(streams).unwrap(), START, until);
        }
    }
    run_functions(&world);
    world.clock.run(until + 60 * SECOND, || false);
    world.check_that_nothing_is_lost();
    let laws = world.laws.borrow();
    let own = laws.facts.iter().filter(|fact| fact.endpoint == 0);
    own.map(|fact| fact.acknowledged_at.unwrap_or(u64::MAX) - fact.accepted_at).collect()
}

/// Parks deliveries for the neighbour, and requests their drain, as `manage` does when it enables an endpoint.
fn park(world: &World, count: u64) {
    for since in 0..count {
        let (id, _) = fanned_out(world, 1);
        let lane = Place::of(&Lane::Endpoint(endpoint_id(1)));
        world.tables.borrow_mut().park(lane, START - count + since, id, since);
    }
    world.tables.borrow_mut().ask_to_drain_now(&acme(), &endpoint_id(1), START / SECOND, 1);
}
