//! Erasures of tenants: nothing of an erased tenant is sent or kept, also if runs of `sweep` fail or are killed, and other
//! tenants lose nothing.

use std::rc::Rc;

use fastrand::Rng;
use serde_json::json;
use signpost_core::delivery::DeliveryStatus;
use signpost_core::tenant_erasure::NOT_ENDED;

use crate::clock::START;
use crate::crowd::plan;
use crate::functions::run_functions;
use crate::laws::Story;
use crate::people::{disable, enable, erase_tenant, operate, produce, redrive, remove};
use crate::queue::Mischief;
use crate::receivers::{Mood, Receiver};
use crate::world::{Plan, Trouble, World, endpoint, endpoint_id, tenant_name, types_of};

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
/// The endpoints: those with an even index are of the tenant that is erased.
const ENDPOINTS: usize = 4;
const ERASED: usize = 0;

/// Two tenants with two endpoints each, whose receivers fail now and then.
fn world(seed: u64, trouble: Trouble, moods: [Mood; ENDPOINTS]) -> Rc<World> {
    let mischief = Mischief { twice: 0.02, undead: 0.02 };
    let quiet_from = START + 2 * HOUR;
    let plan = Plan { tenant_of: |index| index % 2, trouble, mischief, quiet_from, call_ms: 20, ..plan(seed) };
    let retry = json!({"schedule": [1, 5, 60, 1_000]});
    let settings = (0..ENDPOINTS).map(|index| {
        endpoint(index, &json!({"types": types_of(index, ENDPOINTS), "retry": retry, "timeoutSeconds": 10}))
    });
    let receivers = moods.into_iter().enumerate().map(|(index, mood)| {
        // Those of the other tenant recover, so that all of its deliveries have to arrive.
        let well = if index % 2 == ERASED { mood } else { Mood::Well(50) };
        Receiver::new(vec![(0, mood), (START + HOUR, well)])
    });
    World::new(plan, settings.collect(), receivers.collect())
}

/// Asserts that no table has anything of the erased tenant.
fn check_that_nothing_is_left(world: &World) {
    let tables = world.tables.borrow();
    let is_own = |endpoint: usize| (world.plan.tenant_of)(endpoint) == ERASED;
    // Events that arrive after the end are stored again, without endpoints.
    let until = tables.erased_until[&tenant_name(ERASED)];
    let laws = world.laws.borrow();
    let old = tables.events.iter().filter(|(number, first)| {
        let arrived = first.arrival.moment.arrived_unix_ms();
        world.tenant_of_number(&laws, **number) == ERASED && arrived < until
    });
    let events: Vec<_> = old.map(|(number, _)| number).collect();
    assert!(events.is_empty(), "events {events:?} are left");
    // If deliver cannot find out that the tenant is erased, it notes that it has sent nothing. That has no attempt.
    let records =
        tables.records.iter().filter(|(id, record)| is_own(world.endpoint_of(**id)) && record.status.is_some());
    let records: Vec<_> = records.collect();
    assert!(records.is_empty(), "records {records:?} are left");
    let parked: Vec<_> =
        tables.parked.values().flat_map(|lane| lane.keys()).filter(|(_, id)| is_own(world.endpoint_of(*id))).collect();
    assert!(parked.is_empty(), "{parked:?} are parked");
    for endpoint in (0..ENDPOINTS).filter(|endpoint| is_own(*endpoint)) {
        assert!(tables.endpoints[endpoint].is_none());
        assert!(!tables.breakers.contains_key(&endpoint), "the breaker of {endpoint} is left");
        assert!(!tables.drains.contains_key(&endpoint_id(endpoint)), "a drain of {endpoint} is left");
        assert!(!tables.waiting.contains_key(&endpoint_id(endpoint)), "a note of {endpoint} is left");
    }
    assert!(tables.running_erasures.is_empty());
}

/// Asserts that all deliveries of the other tenant have arrived, except those that it gave up.
fn check_that_the_neighbour_lost_nothing(world: &World) {
    let (tables, laws) = (world.tables.borrow(), world.laws.borrow());
    let dead: Vec<_> = world.dead_letters.queue.borrow().bodies().collect();
    for (number, event) in (0..).zip(&laws.events) {
        if world.tenant_of_number(&laws, number) == ERASED {
            continue;
        }
        for (id, _) in event.deliveries() {
            let status = tables.records.get(&id).and_then(|record| record.status);
            assert!(status == Some(DeliveryStatus::Delivered) || dead.contains(&id), "delivery {id}: {status:?}");
        }
    }
}

fn run(seed: u64) {
    let dice = &mut Rng::with_seed(seed);
    let likely = |dice: &mut Rng, most: f64| if dice.bool() { 0.0 } else { most * dice.f64() };
    let trouble = Trouble {
        crash: likely(dice, 0.01),
        refused: likely(dice, 0.05),
        lost: likely(dice, 0.05),
        slow: likely(dice, 0.02),
    };
    let mood = |dice: &mut Rng| match dice.u8(..4) {
        0 => Mood::Failing,
        1 => Mood::Hanging,
        _ => Mood::Well(dice.u64(1..300)),
    };
    let moods = [(); ENDPOINTS].map(|()| mood(dice));
    let world = world(seed, trouble, moods);
    let _story = Story::of(&world);
    let erased_at = dice.u64(START..START + HOUR);
    for _ in 0..dice.usize(10..60) {
        // Also while the tenant is being erased.
        let (at, tenant) = (dice.u64(START..START + HOUR + 10 * MINUTE), dice.usize(..2));
        let endpoints: Vec<_> = (0..ENDPOINTS).filter(|index| index % 2 == tenant && dice.u8(..3) > 0).collect();
        if !endpoints.is_empty() {
            produce(&world, at, endpoints);
        }
    }
    if dice.bool() {
        operate(&world, dice.u64(START..=erased_at), |process| disable(process, 2));
    }
    if dice.bool() {
        operate(&world, dice.u64(START..=erased_at), |process| remove(process, 0));
    }
    for _ in 0..dice.usize(1..3) {
        operate(&world, erased_at + dice.u64(..10 * MINUTE), |process| erase_tenant(process, ERASED));
    }
    operate(&world, erased_at + dice.u64(..2 * HOUR), redrive);
    // A drain ends if its endpoint cannot be read, until an operator enables the endpoint.
    for endpoint in [1, 3] {
        operate(&world, world.plan.quiet_from + MINUTE, move |process| enable(process, endpoint));
    }
    run_functions(&world);
    for _ in 0..30 {
        world.clock.run(world.now() + 10 * MINUTE, || false);
        world.check_that_nothing_is_lost();
    }
    let until = world.tables.borrow().erased_until[&tenant_name(ERASED)];
    assert!(until < NOT_ENDED, "the erasure does not end");
    check_that_nothing_is_left(&world);
    check_that_the_neighbour_lost_nothing(&world);
}

#[test]
fn nothing_of_an_erased_tenant_is_sent_or_kept_and_its_neighbour_loses_nothing() {
    (0..40).for_each(run);
}
