//! Single runs of `sweep`: the deliveries that they move and leave. Due deliveries, drains, and dead letters on an operator's command.

use std::collections::HashSet;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use serde_json::json;
use signpost_core::delivery::breaker::Breaker;
use signpost_core::delivery::parking::Lane;
use signpost_core::delivery::{DeliveryStatus, Progress, ReplayKind};
use signpost_core::endpoint::{DisabledBecause, EndpointId};
use signpost_core::event::{Event, TenantId};
use signpost_engine::ports::parking::{Parking as _, SweepState};
use signpost_engine::ports::queue::{Message, Queue as _};
use signpost_engine::sweep::{Redrive, Redriven, Sweep, Swept};

use crate::calm::{Broken, Calm, Failure, MINUTE, SECOND, failed, open_since, quick};
use crate::clock::START;
use crate::functions::sweep_of;
use crate::people::enable;
use crate::ports::{QueueOf, Sim, Which};
use crate::receivers::Mood;
use crate::tables::{Place, Pool};
use crate::world::{Fault, Process, Role, acme, endpoint_id};

fn sweep(calm: &Calm) -> Rc<Sweep<Sim>> {
    Rc::new(sweep_of(Process::new(&calm.world, Role::Sweep)))
}

fn swept(calm: &Calm) -> Result<Swept, Fault> {
    let (sweep, now) = (sweep(calm), calm.world.now());
    calm.run(async move { sweep.sweep_at(now).await })
}

/// Parks a new delivery until a moment.
fn park_until(calm: &Calm, at: u64) -> u32 {
    let delivery = calm.delivery_to(0);
    // Of the minute's eight lanes, any will do.
    calm.park(Lane::Due { minute: at.div_ceil(MINUTE), shard: 3 }, at, delivery);
    delivery
}

/// Parks new deliveries until their endpoint accepts them, and requests a drain.
fn park_for(calm: &Calm, endpoint: usize, count: u64) -> Vec<u32> {
    let process = calm.process.clone();
    calm.run(async move { process.ask_to_drain(&acme(), &endpoint_id(endpoint)).await.unwrap() });
    let park = |at| {
        let delivery = calm.delivery_to(endpoint);
        calm.park(Lane::Endpoint(endpoint_id(endpoint)), at, delivery);
        delivery
    };
    (START - count..START).map(park).collect()
}

/// Returns the deliveries that were put into the queue, each after how many seconds.
fn queued(calm: &Calm) -> Vec<(u32, u64)> {
    let id = |message: &Message| calm.world.delivery_in(&message.body);
    calm.sent(Which::Deliveries).iter().map(|message| (id(message), message.delay.as_secs())).collect()
}

fn waiting_for(calm: &Calm, endpoint: usize) -> usize {
    calm.lane(Place::Endpoint(endpoint)).len()
}

#[test]
fn due_deliveries_come_back_minute_by_minute_three_minutes_ahead_and_each_after_the_rest_of_its_wait() {
    let calm = Calm::with(json!({}), Mood::Well(50));
    assert_eq!(START % MINUTE, 0);
    let late = park_until(&calm, START - 5 * MINUTE);
    let due = park_until(&calm, START - 1);
    let soon = park_until(&calm, START + 90 * SECOND + 1);
    let last = park_until(&calm, START + 3 * MINUTE);
    let later = park_until(&calm, START + 3 * MINUTE + 1);
    let expected = Swept { due: 4, ..Swept::default() };
    assert_eq!(swept(&calm).unwrap(), expected);
    assert_eq!(queued(&calm), [(late, 0), (due, 0), (soon, 91), (last, 180)]);
    let left: Vec<_> = calm.parked().into_iter().map(|(.., id)| id).collect();
    assert_eq!(left, [later]);
    assert_eq!(calm.world.tables.borrow().swept, Some(swept_until(START / MINUTE + 3)));
    calm.wait(MINUTE);
    assert_eq!(swept(&calm).unwrap(), expected_due(1));
    assert_eq!((queued(&calm)[4], calm.parked()), ((later, 121), Vec::new()));
}

/// The state after a run that swept up to a minute.
fn swept_until(minute: u64) -> SweepState {
    SweepState { swept_minute: minute, ..SweepState::default() }
}

fn expected_due(due: usize) -> Swept {
    Swept { due, ..Swept::default() }
}

#[test]
fn a_parked_delivery_keeps_the_time_since_when_it_waits_in_its_message() {
    let calm = Calm::with(json!({}), Mood::Well(50));
    let delivery = park_until(&calm, START);
    swept(&calm).unwrap();
    assert_eq!(calm.attributes(Which::Deliveries, "since"), [Some(START.to_string())]);
    assert_eq!(calm.sent(Which::Deliveries)[0].body, calm.body_of(delivery));
}

#[test]
fn minutes_that_were_not_swept_are_swept_first() {
    let calm = Calm::with(json!({}), Mood::Well(50));
    calm.world.tables.borrow_mut().swept = Some(swept_until(START / MINUTE - 600));
    let delivery = park_until(&calm, START - 599 * MINUTE);
    assert_eq!(swept(&calm).unwrap(), expected_due(1));
    assert_eq!(queued(&calm), [(delivery, 0)]);
}

#[test]
fn the_first_run_of_a_stack_looks_an_hour_back() {
    let calm = Calm::with(json!({}), Mood::Well(50));
    park_until(&calm, START - 56 * MINUTE);
    park_until(&calm, START - 58 * MINUTE);
    assert_eq!(swept(&calm).unwrap(), expected_due(1));
}

#[test]
fn a_failed_minute_is_swept_again_and_no_later_one_before_it() {
    let calm = Calm::with(json!({}), Mood::Well(50));
    let [one, two] = [park_until(&calm, START), park_until(&calm, START + MINUTE)];
    calm.break_calls(Some((Broken::Each(("DeliveriesQueue", "send_all")), Failure::Refused)));
    assert!(swept(&calm).is_err());
    assert_eq!(
        (calm.parked().len(), calm.world.tables.borrow().swept.clone()),
        (2, Some(swept_until(START / MINUTE - 1)))
    );
    calm.break_calls(None);
    assert_eq!(swept(&calm).unwrap(), expected_due(2));
    assert_eq!(queued(&calm), [(one, 0), (two, 60)]);
}

#[test]
fn a_delivery_leaves_the_table_only_after_it_is_in_the_queue() {
    for failure in [Failure::Refused, Failure::Lost] {
        for call in [("DeliveriesQueue", "send_all"), ("Events", "get_some"), ("Parking", "remove_all")] {
            let calm = Calm::with(json!({}), Mood::Well(50));
            let delivery = park_until(&calm, START);
            calm.break_calls(Some((Broken::Each(call), failure)));
            assert!(swept(&calm).is_err(), "{call:?}, {failure:?}");
            let is_parked = !calm.parked().is_empty();
            assert!(is_parked || queued(&calm) == [(delivery, 0)], "{call:?}, {failure:?}");
        }
    }
}

#[test]
fn a_run_does_nothing_while_another_has_the_lease() {
    let calm = Calm::with(json!({}), Mood::Well(50));
    park_until(&calm, START);
    park_for(&calm, 0, 1);
    calm.world.tables.borrow_mut().busy_until = Some(START / SECOND + 1);
    assert_eq!(swept(&calm).unwrap(), Swept { busy: true, ..Swept::default() });
    assert_eq!((queued(&calm), calm.parked().len()), (Vec::new(), 2));
    calm.wait(SECOND);
    assert_eq!(swept(&calm).unwrap(), Swept { due: 1, drained: 1, ..Swept::default() });
    assert_eq!(calm.world.tables.borrow().busy_until, None);
}

#[test]
fn an_endpoint_gets_its_parked_deliveries_oldest_first_at_the_pace_of_its_breaker_over_the_minute() {
    let cases = [
        (Some(Breaker::closed_at(START)), 600, 10, "just back"),
        (Some(Breaker::closed_at(START - MINUTE)), 700, 20, "twice as many in each minute"),
        (None, 700, 100, "it never failed"),
        (Some(open_since(START - 31 * SECOND)), 1, 1, "a probe"),
        (Some(open_since(START)), 0, 1, "left alone"),
    ];
    for (breaker, most, in_a_second, why) in cases {
        let calm = Calm::with(json!({}), Mood::Well(50));
        if let Some(breaker) = breaker {
            calm.put_breaker(0, breaker);
        }
        let parked = park_for(&calm, 0, 700);
        assert_eq!(swept(&calm).unwrap(), Swept { drained: most, ..Swept::default() }, "{why}");
        let expected = parked[..most].iter().enumerate();
        let expected: Vec<_> = expected.map(|(turn, id)| (*id, turn as u64 / in_a_second)).collect();
        assert_eq!(queued(&calm), expected, "{why}");
        assert_eq!(waiting_for(&calm, 0), 700 - most, "{why}");
    }
}

#[test]
fn a_drain_fills_only_the_limits_of_its_endpoint() {
    let cases = [
        (json!({"maxPerSecond": 2}), 108, "of most of a minute"),
        (json!({"maxConcurrency": 3}), 2, "of the free slots"),
    ];
    for (limits, expected, why) in cases {
        let calm = Calm::with(limits, Mood::Well(50));
        calm.world.tables.borrow_mut().slots.insert((Pool::Endpoint(0), 1), (7, u64::MAX));
        park_for(&calm, 0, 200);
        assert_eq!(swept(&calm).unwrap().drained, expected, "{why}");
    }
}

#[test]
fn a_drain_of_a_slow_endpoint_moves_no_more_than_its_tenant_has_seats_and_keeps_the_pace_of_one_that_is_just_back() {
    let slow = Breaker::closed_at(START - 10 * MINUTE);
    let cases = [
        (slow.clone(), false, 1, "those who get a seat send the others"),
        (slow, true, 0, "they would only be parked again"),
        (Breaker::closed_at(START), false, 200, "it is just back, and the sweep sets the pace"),
        (Breaker::closed_at(START), true, 0, "no seat is free"),
        (quick(), true, 200, "a quick endpoint needs no seat"),
    ];
    for (breaker, is_taken, expected, why) in cases {
        let calm = Calm::with(json!({}), Mood::Well(50)); // A tenant has one seat here.
        calm.put_breaker(0, breaker);
        if is_taken {
            calm.world.tables.borrow_mut().slots.insert((Pool::Tenant(0), 0), (7, u64::MAX));
        }
        park_for(&calm, 0, 200);
        assert_eq!(swept(&calm).unwrap().drained, expected, "{why}");
    }
}

#[test]
fn deliveries_to_a_disabled_or_unreadable_endpoint_stay_parked() {
    for is_disabled in [true, false] {
        let calm = Calm::new(&[(json!({}), Mood::Well(50)), (json!({}), Mood::Well(50))]);
        park_for(&calm, 0, 1);
        park_for(&calm, 1, 1);
        {
            let mut tables = calm.world.tables.borrow_mut();
            if is_disabled {
                tables.endpoints[0].as_mut().unwrap().disabled = Some(DisabledBecause::Operator);
            } else {
                tables.unreadable.insert(0);
            }
        }
        assert_eq!(swept(&calm).unwrap(), Swept { drained: 1, ..Swept::default() });
        assert_eq!((waiting_for(&calm, 0), waiting_for(&calm, 1)), (1, 0));
    }
}

#[test]
fn an_endpoint_that_could_not_be_read_for_minutes_gets_its_deliveries_afterwards() {
    let calm = Calm::with(json!({}), Mood::Well(50));
    park_for(&calm, 0, 1);
    calm.world.tables.borrow_mut().unreadable.insert(0);
    for _ in 0..5 {
        swept(&calm).unwrap();
        calm.wait(MINUTE);
    }
    calm.world.tables.borrow_mut().unreadable.remove(&0);
    assert_eq!(swept(&calm).unwrap().drained, 1);
}

#[test]
fn deliveries_to_a_removed_endpoint_come_back_to_be_given_up() {
    let calm = Calm::with(json!({}), Mood::Well(50));
    let parked = park_for(&calm, 0, 30);
    calm.world.tables.borrow_mut().endpoints[0] = None;
    assert_eq!(swept(&calm).unwrap().drained, parked.len());
}

#[test]
fn a_request_to_drain_ends_three_minutes_later_once_the_lane_is_empty() {
    let calm = Calm::with(json!({}), Mood::Well(50));
    park_for(&calm, 0, 1);
    for (minutes, is_requested) in [(0, true), (2, true), (1, false)] {
        calm.wait(minutes * MINUTE);
        swept(&calm).unwrap();
        assert_eq!(!calm.world.tables.borrow().drains.is_empty(), is_requested, "{minutes} minutes later");
    }
}

#[test]
fn a_failure_for_one_endpoint_does_not_stop_the_drains_of_others() {
    let calm = Calm::new(&[(json!({"maxConcurrency": 5}), Mood::Well(50)), (json!({}), Mood::Well(50))]);
    park_for(&calm, 0, 1);
    park_for(&calm, 1, 1);
    calm.break_calls(Some((Broken::Each(("Limits", "held")), Failure::Refused)));
    assert!(swept(&calm).is_err());
    assert_eq!((waiting_for(&calm, 0), waiting_for(&calm, 1)), (1, 0));
    assert_eq!(calm.world.tables.borrow().busy_until, None, "the next run need not wait");
}

/// Requests a drain of an endpoint's lane, for a tenant.
fn ask_for(calm: &Calm, tenant: &str, endpoint: usize) {
    let now = calm.world.now() / SECOND;
    let tenant = TenantId::parse(tenant).unwrap();
    calm.world.tables.borrow_mut().ask_to_drain(&tenant, &endpoint_id(endpoint), now);
}

/// Parks the same deliveries in the lanes of many endpoints.
fn park_in_lanes(calm: &Calm, endpoints: Range<usize>, deliveries: &[u32]) {
    let mut tables = calm.world.tables.borrow_mut();
    for endpoint in endpoints {
        for (at, delivery) in deliveries.iter().enumerate() {
            tables.park(Place::Endpoint(endpoint), START - 1_000 + at as u64, *delivery, 7);
        }
    }
}

#[test]
fn thousands_of_endpoints_with_open_breakers_delay_nobody_and_cost_next_to_nothing() {
    for (count, enabled, why) in [(1_000, 0, "first"), (1_000, 1_000, "last"), (5_000, 2_500, "in the middle")] {
        let calm = Calm::with(json!({}), Mood::Well(50));
        calm.add_endpoints(count);
        let delivery = calm.delivery_to(0);
        park_in_lanes(&calm, enabled..enabled + 1, &[delivery]);
        for endpoint in 0..=count {
            ask_for(&calm, "acme", endpoint);
            if endpoint != enabled {
                calm.put_breaker(endpoint, open_since(START));
            }
        }
        assert_eq!(swept(&calm).unwrap(), Swept { drained: 1, ..Swept::default() }, "{why}");
        assert_eq!(queued(&calm), [(delivery, 0)], "{why}");
        calm.wait(SECOND);
        calm.break_calls(None);
        assert_eq!(swept(&calm).unwrap(), Swept::default(), "{why}");
        let calls = calm.seen(|watch| watch.calls.len());
        assert!(calls < 40, "{why}: {calls} calls for {count} endpoints with open breakers");
        assert_eq!(calm.calls(("Breakers", "read")), 1, "{why}: that of the enabled endpoint");
    }
}

#[test]
fn an_endpoint_is_left_alone_until_its_breaker_admits_a_probe_or_an_operator_enables_it() {
    let cases = [
        (20 * SECOND, false, 0, 0, "another delivery was parked, and its breaker is open"),
        (30 * SECOND, false, 1, 1, "a probe is due"),
        (20 * SECOND, true, 1, 2, "an operator enabled it"),
    ];
    for (wait, is_enabled, looks, drained, why) in cases {
        let calm = Calm::with(json!({}), Mood::Well(50));
        calm.put_breaker(0, open_since(START));
        park_for(&calm, 0, 2);
        assert_eq!(swept(&calm).unwrap(), Swept::default(), "{why}");
        calm.wait(wait);
        ask_for(&calm, "acme", 0);
        if is_enabled {
            let process = calm.process.clone();
            calm.run(async move { enable(process, 0).await.unwrap() });
        }
        calm.break_calls(None);
        assert_eq!(swept(&calm).unwrap(), Swept { drained, ..Swept::default() }, "{why}");
        assert_eq!(calm.calls(("Breakers", "read")), looks, "{why}");
    }
}

#[test]
fn a_removed_endpoint_does_not_wait_for_its_breaker() {
    let calm = Calm::with(json!({}), Mood::Well(50));
    calm.put_breaker(0, open_since(START));
    park_for(&calm, 0, 30);
    calm.world.tables.borrow_mut().endpoints[0] = None;
    assert_eq!(swept(&calm).unwrap().drained, 30);
}

#[test]
fn an_endpoint_gets_its_pace_beside_a_thousand_of_another_tenant() {
    for (own, others) in [(0, 1..1_001), (1_000, 0..1_000)] {
        let calm = Calm::in_time(&[(json!({}), Mood::Well(50))], 300);
        calm.add_endpoints(1_000);
        let deliveries: Vec<_> = (0..740).map(|_| calm.delivery_to(0)).collect();
        let (shared, few) = deliveries.split_at(40);
        park_in_lanes(&calm, own..own + 1, few);
        park_in_lanes(&calm, others.clone(), shared);
        others.for_each(|endpoint| ask_for(&calm, "acme", endpoint));
        ask_for(&calm, "globex", own);
        calm.put_breaker(own, Breaker::closed_at(calm.world.now()));
        let done = swept(&calm).unwrap();
        assert!(done.drained < 30_000, "{done:?}: one run can drain all, which shows nothing");
        assert_eq!(waiting_for(&calm, own), 100, "600 a minute, as if it were alone; {done:?}");
    }
}

#[test]
fn twenty_endpoints_get_their_full_pace_in_one_run() {
    let calm = Calm::in_time(&[(json!({}), Mood::Well(50))], 30);
    calm.add_endpoints(20);
    let deliveries: Vec<_> = (0..6_000).map(|_| calm.delivery_to(0)).collect();
    park_in_lanes(&calm, 1..21, &deliveries);
    (1..21).for_each(|endpoint| ask_for(&calm, "acme", endpoint));
    let began = calm.world.now();
    assert_eq!(swept(&calm).unwrap(), Swept { drained: 120_000, ..Swept::default() });
    assert!(calm.world.now() - began < 40 * SECOND, "{} ms", calm.world.now() - began);
}

#[test]
fn a_run_that_ends_early_is_continued_by_the_next_where_it_stopped() {
    let calm = Calm::in_time(&[(json!({}), Mood::Well(50))], 2_000);
    calm.add_endpoints(600);
    for endpoint in 0..600 {
        let delivery = calm.delivery_to(0);
        park_in_lanes(&calm, endpoint..endpoint + 1, &[delivery]);
        ask_for(&calm, if endpoint % 3 == 0 { "acme" } else { "globex" }, endpoint);
    }
    let mut left = 600;
    while left > 0 {
        let began = calm.world.now();
        let done = swept(&calm).unwrap();
        assert!(done.drained >= left.min(25), "{done:?}: {left} were left, and those that had a turn come last");
        left -= done.drained;
        assert!(left <= done.not_reached, "{done:?}: {left} are left");
        assert!(calm.world.now() - began < 50 * SECOND, "the function's time");
        calm.wait(MINUTE - (calm.world.now() - began) % MINUTE);
    }
    assert_eq!(queued(&calm).into_iter().collect::<HashSet<_>>().len(), 600);
}

#[test]
fn a_run_that_starts_in_the_middle_of_the_drains_reaches_those_before_it_too() {
    let calm = Calm::in_time(&[(json!({}), Mood::Well(50))], 20);
    calm.add_endpoints(99);
    for endpoint in 0..100 {
        let delivery = calm.delivery_to(0);
        park_in_lanes(&calm, endpoint..endpoint + 1, &[delivery]);
        ask_for(&calm, "acme", endpoint);
    }
    let drained_until = Some(endpoint_id(50));
    calm.world.tables.borrow_mut().swept = Some(SweepState { drained_until, ..swept_until(START / MINUTE + 3) });
    assert_eq!(swept(&calm).unwrap(), Swept { drained: 100, ..Swept::default() });
    assert_eq!(calm.world.tables.borrow().swept.as_ref().unwrap().drained_until, None);
}

#[test]
fn the_expiry_watch_goes_on_where_it_stopped() {
    let calm = Calm::in_time(&[(json!({}), Mood::Well(50))], 2_000);
    calm.wait(START.next_multiple_of(60 * MINUTE) - START);
    calm.add_endpoints(399);
    let delivery = calm.delivery_to(0);
    {
        let mut tables = calm.world.tables.borrow_mut();
        for endpoint in 0..400 {
            tables.park(Place::Endpoint(endpoint), START - 20 * 24 * 60 * MINUTE, delivery, 7);
            tables.waiting.insert(endpoint_id(endpoint), START / SECOND);
        }
    }
    let mut warned = Vec::new();
    for _ in 0..10 {
        let began = calm.world.now();
        warned.push(swept(&calm).unwrap().expiring);
        calm.wait(MINUTE - (calm.world.now() - began));
    }
    assert!((1..400).contains(&warned[0]), "{warned:?}: the first run has not the time for all");
    assert_eq!(warned.iter().sum::<usize>(), 400, "{warned:?}");
    assert_eq!(warned.last(), Some(&0), "{warned:?}: the watch begins again after an hour");
}

#[test]
fn a_parked_delivery_whose_event_is_gone_becomes_a_dead_letter() {
    let calm = Calm::with(json!({}), Mood::Well(50));
    let [gone, kept] = [park_until(&calm, START), park_until(&calm, START)];
    calm.world.tables.borrow_mut().gone.insert(calm.world.laws.borrow().event_of(gone));
    assert_eq!(swept(&calm).unwrap(), expected_due(2));
    assert_eq!((queued(&calm), calm.dead_letters()), (vec![(kept, 0)], vec!["event-gone".to_owned()]));
    assert_eq!((calm.status(gone), calm.parked()), (Some(DeliveryStatus::Exhausted), Vec::new()));
}

/// Puts a message into a queue, with the reason of its rejection.
fn put(calm: &Calm, which: Which, body: String, reason: &str) {
    let queue = QueueOf { process: calm.process.clone(), which };
    let message = Message { body, attributes: vec![("reason", reason.to_owned())], ..Message::default() };
    calm.run(async move { queue.send_all([message]).await.unwrap() });
}

/// Creates a delivery that was given up. Returns it.
fn given_up(calm: &Calm, endpoint: usize) -> u32 {
    let delivery = calm.delivery_to(endpoint);
    calm.put_record(delivery, Progress { status: DeliveryStatus::Exhausted, ..failed(3) });
    put(calm, Which::DeadLetters, calm.body_of(delivery), "exhausted");
    delivery
}

fn redriven(calm: &Calm, redrive: Redrive) -> Result<Redriven, Fault> {
    calm.wait(SECOND); // Messages that arrive while it runs are ignored.
    let sweep = sweep(calm);
    calm.run(async move { sweep.redrive_for(&redrive, Duration::from_secs(20)).await })
}

fn dead_letters(endpoint: Option<EndpointId>, tenant: Option<&str>) -> Redrive {
    Redrive::DeadLetters { endpoint, tenant: tenant.map(|tenant| TenantId::parse(tenant).unwrap()) }
}

fn rejected(tenant: Option<&str>) -> Redrive {
    Redrive::Rejected { tenant: tenant.map(|tenant| TenantId::parse(tenant).unwrap()) }
}

/// Returns how many messages a queue holds.
fn left(calm: &Calm, which: Which) -> usize {
    which.pipe(&calm.world).queue.borrow().bodies().count()
}

fn done(moved: usize, kept: usize) -> Redriven {
    Redriven { moved, kept, more: false }
}

#[test]
fn a_redrive_resets_a_delivery_that_was_given_up_and_queues_it() {
    let calm = Calm::with(json!({}), Mood::Well(50));
    let delivery = given_up(&calm, 0);
    assert_eq!(redriven(&calm, dead_letters(None, None)).unwrap(), done(1, 0));
    let progress = calm.progress(delivery).unwrap();
    assert_eq!((progress.status, progress.attempts, progress.before_replay), (DeliveryStatus::Pending, 3, 3));
    assert_eq!(progress.replay, Some(ReplayKind::Redrive));
    assert_eq!((queued(&calm), left(&calm, Which::DeadLetters)), (vec![(delivery, 0)], 0));
    let since = (START + SECOND).to_string();
    assert_eq!(calm.attributes(Which::Deliveries, "since"), [Some(since)], "another message of it may exist");
}

#[test]
fn a_redrive_does_not_reset_a_delivery_that_was_delivered_since() {
    let calm = Calm::with(json!({}), Mood::Well(50));
    let delivery = calm.delivery_to(0);
    calm.put_record(delivery, Progress { status: DeliveryStatus::Delivered, ..failed(4) });
    put(&calm, Which::DeadLetters, calm.body_of(delivery), "exhausted");
    assert_eq!(redriven(&calm, dead_letters(None, None)).unwrap(), done(1, 0));
    assert_eq!(calm.status(delivery), Some(DeliveryStatus::Delivered));
}

#[test]
fn a_redrive_tries_each_delivery_once() {
    let calm = Calm::with(json!({}), Mood::Well(50));
    let delivery = given_up(&calm, 0);
    put(&calm, Which::DeadLetters, calm.body_of(delivery), "exhausted");
    assert_eq!(redriven(&calm, dead_letters(None, None)).unwrap(), done(1, 1));
    assert_eq!((queued(&calm).len(), left(&calm, Which::DeadLetters)), (1, 1));
}

#[test]
fn a_redrive_keeps_what_it_is_not_for() {
    let cases = [
        (dead_letters(Some(endpoint_id(1)), None), 1, "of this endpoint"),
        (dead_letters(None, Some("globex")), 0, "of another tenant"),
        (dead_letters(None, Some("acme")), 2, "of this tenant"),
        (dead_letters(Some(endpoint_id(0)), Some("globex")), 0, "of both"),
    ];
    for (redrive, moved, why) in cases {
        let calm = Calm::new(&[(json!({}), Mood::Well(50)), (json!({}), Mood::Well(50))]);
        let (first, second) = (given_up(&calm, 0), given_up(&calm, 1));
        assert_eq!(redriven(&calm, redrive).unwrap(), done(moved, 2 - moved), "{why}");
        let expected = [first, second].into_iter().filter(|id| queued(&calm).contains(&(*id, 0))).count();
        assert_eq!((expected, left(&calm, Which::DeadLetters)), (moved, 2 - moved), "{why}");
        let exhausted = [first, second].into_iter().filter(|id| calm.status(*id) == Some(DeliveryStatus::Exhausted));
        assert_eq!(exhausted.count(), 2 - moved, "{why}: what is kept is not reset");
    }
}

#[test]
fn what_a_redrive_keeps_is_visible_again_at_once() {
    let calm = Calm::with(json!({}), Mood::Well(50));
    given_up(&calm, 0);
    redriven(&calm, dead_letters(None, Some("globex"))).unwrap();
    let now = calm.world.now();
    assert_eq!(calm.world.dead_letters.queue.borrow_mut().next_visible(now), Some(now));
}

#[test]
fn a_redrive_keeps_the_deliveries_of_removed_endpoints() {
    let calm = Calm::with(json!({}), Mood::Well(50));
    let delivery = given_up(&calm, 0);
    calm.world.tables.borrow_mut().endpoints[0] = None;
    assert_eq!(redriven(&calm, dead_letters(None, None)).unwrap(), done(0, 1));
    assert_eq!(calm.status(delivery), Some(DeliveryStatus::Exhausted));
}

#[test]
fn a_dead_letter_leaves_its_queue_only_after_its_successor_was_sent() {
    let calls = {
        let calm = Calm::with(json!({}), Mood::Well(50));
        given_up(&calm, 0);
        calm.break_calls(None);
        redriven(&calm, dead_letters(None, None)).unwrap();
        calm.seen(|watch| watch.calls.clone())
    };
    for (nth, call) in calls.into_iter().enumerate() {
        for failure in [Failure::Refused, Failure::Lost] {
            let why = format!("call {nth}, {call:?}, {failure:?}");
            let calm = Calm::with(json!({}), Mood::Well(50));
            let delivery = given_up(&calm, 0);
            calm.break_calls(Some((Broken::Nth(nth), failure)));
            let _ = redriven(&calm, dead_letters(None, None));
            let is_queued = queued(&calm) == [(delivery, 0)];
            assert!(is_queued || left(&calm, Which::DeadLetters) == 1, "{why}");
            calm.break_calls(None);
            calm.wait(MINUTE); // After a lost answer, the messages are hidden for 50 s.
            redriven(&calm, dead_letters(None, None)).unwrap();
            assert_eq!(left(&calm, Which::DeadLetters), 0, "{why}");
            assert!(!queued(&calm).is_empty() && calm.status(delivery) == Some(DeliveryStatus::Pending), "{why}");
        }
    }
}

#[test]
fn a_redrive_sends_rejected_events_that_are_valid_now_and_keeps_conflicts_and_invalid_ones() {
    let calm = Calm::with(json!({}), Mood::Well(50));
    let bodies: Vec<_> = (0..3).map(|_| calm.world.text_of(calm.world.accept(&[0]))).collect();
    put(&calm, Which::Rejected, bodies[0].clone(), "invalid-event");
    put(&calm, Which::Rejected, bodies[1].clone(), "conflicting-duplicate");
    put(&calm, Which::Rejected, bodies[2].replace("acme", "globex"), "invalid-event");
    assert_eq!(redriven(&calm, rejected(Some("acme"))).unwrap(), done(1, 2));
    let sent = calm.sent(Which::Events);
    assert_eq!((sent.len(), &sent[0].body), (1, &bodies[0]));
    assert_eq!(sent[0].group.as_deref(), Some("acme"));
    assert_eq!(Event::parse(&sent[0].body).unwrap().key.id.as_str(), "e0");
    assert_eq!(redriven(&calm, rejected(None)).unwrap(), done(1, 1));
}

#[test]
fn a_run_counts_what_it_moved_and_says_how_far_it_is_behind() {
    let calm = Calm::with(json!({}), Mood::Well(50));
    swept(&calm).unwrap();
    let zeros = [("EndpointsNotReached", 0), ("MinutesBehind", 0), ("OldestParkedAge", 0)];
    assert_eq!(calm.numbers(), zeros, "zero is written, too");
    park_until(&calm, START + 3 * MINUTE + 1);
    park_for(&calm, 0, 3);
    calm.wait(MINUTE);
    swept(&calm).unwrap();
    let (drained, oldest) = (("DeliveriesDrained", 3), ("OldestParkedAge", 60));
    let expected = [drained, ("DeliveriesDue", 1), ("EndpointsNotReached", 0), ("MinutesBehind", 0), oldest];
    assert_eq!(calm.numbers(), expected);
}
