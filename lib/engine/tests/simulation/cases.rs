//! Small worlds in which one thing happens, beside the schedules in which everything does.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use signpost_core::delivery::attempt::{AttemptError, AttemptResult};
use signpost_core::delivery::breaker::Admission;
use signpost_core::delivery::parking::NOTED_FOR_SECONDS;
use signpost_core::delivery::verification::Question;
use signpost_core::delivery::{DeliveryStatus, Receipt, Track};
use signpost_core::endpoint::{DISABLED_TYPE, DisabledBecause, VERIFICATION_TYPE};
use signpost_core::event::{Event, OWN_SOURCE, TenantId};
use signpost_engine::breaker_cache::BreakerCache;
use signpost_engine::deliver::QueuedDelivery;
use signpost_engine::fanout::QueuedEvent;
use signpost_engine::metrics::Meter;
use signpost_engine::ports::queue::Message;
use signpost_engine::sweep::{Redrive, Redriven};

use crate::calm::{FIRST, quick};
use crate::clock::{IMMORTAL, START};
use crate::crowd::plan;
use crate::functions::{deliver_of, fanout_of, run_functions, sweep_of};
use crate::people::{erase, fanned_out, operate, produce, replay, stream};
use crate::ports::Sim;
use crate::queue::Body;
use crate::receivers::{Mood, Receiver};
use crate::tables::Place;
use crate::world::{Process, Role, World, acme, endpoint, endpoint_id};

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A world in which nothing fails, with one endpoint for each of these settings and receivers.
fn calm<const N: usize>(endpoints: [(serde_json::Value, Mood); N]) -> Rc<World> {
    calm_by(1, endpoints)
}

fn calm_by<const N: usize>(seed: u64, endpoints: [(serde_json::Value, Mood); N]) -> Rc<World> {
    let (settings, moods): (Vec<_>, Vec<_>) = endpoints.into_iter().unzip();
    let settings = settings.into_iter().enumerate().map(|(index, settings)| endpoint(index, &settings));
    let receivers = moods.into_iter().map(|mood| Receiver::new(vec![(0, mood)]));
    let world = World::new(plan(seed), settings.collect(), receivers.collect());
    world.tables.borrow_mut().breakers = (0..N).map(|index| (index, (quick(), 1))).collect();
    world
}

/// Runs one piece of work in a world, and nothing else.
fn done<T: 'static>(world: &Rc<World>, work: impl Future<Output = T> + 'static) -> T {
    let result = Rc::new(RefCell::new(None));
    let answer = Rc::clone(&result);
    world.clock.spawn(IMMORTAL, async move {
        let done = work.await;
        answer.replace(Some(done));
    });
    world.clock.run(world.now() + HOUR, || result.borrow().is_some());
    let Some(done) = result.take() else { panic!("the work does not end") };
    done
}

/// Has `deliver` handle a message, as received so often. Returns whether it is done.
fn deliver(world: &Rc<World>, body: String, receives: u32) -> bool {
    let process = Process::new(world, Role::Operator);
    let now = world.now();
    let receipt = Receipt {
        receives,
        earlier_receives: 0,
        first_received_unix_ms: now - DAY,
        since_unix_ms: now - DAY,
        is_again: receives > 1,
        track: Track::Slow,
    };
    done(world, async move {
        let message = QueuedDelivery { message_id: "m", body: &body, receipt_handle: "0#1", receipt };
        deliver_of(process).handle(&[message]).await.is_empty()
    })
}

fn reasons(world: &World) -> Vec<String> {
    world.dead_letters.queue.borrow().contents().filter_map(|body| body.reason.as_deref().map(str::to_owned)).collect()
}

fn status(world: &World, id: u32) -> Option<DeliveryStatus> {
    world.tables.borrow().records.get(&id).and_then(|record| record.status)
}

fn well(ms: u64) -> Mood {
    Mood::Well(ms)
}

/// Numbers that are in docs/performance.md in money: one more call for each delivery is worth a thought.
#[test]
fn a_delivery_costs_no_more_calls_than_it_must() {
    let world = calm([(json!({}), well(50))]);
    stream(&world, 0, 1, START, START + SECOND);
    run_functions(&world);
    world.clock.run(START + 50 * SECOND, || false);
    assert_eq!(
        world.calls.get(),
        5,
        "reads the endpoint, opens its secrets, reads its breaker and the record, records"
    );

    let world = calm([(json!({"maxConcurrency": 1}), Mood::Failing)]);
    stream(&world, 0, 20, START, START + SECOND);
    run_functions(&world);
    world.clock.run(START + 20 * SECOND, || false);
    let before = world.calls.get();
    stream(&world, 0, 1, world.now(), world.now() + SECOND);
    world.clock.run(START + 25 * SECOND, || false);
    let calls = world.calls.get() - before;
    assert!(calls <= 6, "{calls} calls park a delivery whose endpoint is down, one of them to request a drain");
}

#[test]
fn internal_errors_cause_few_repetitions_and_end_a_delivery_after_days() {
    // No world has a signing key.
    let world = calm([(json!({"signatures": ["jws"]}), well(50))]);
    stream(&world, 0, 1, START, START + SECOND);
    run_functions(&world);
    world.clock.run(START + HOUR, || false);
    assert!(world.calls.get() < 200, "{} calls in an hour", world.calls.get());

    let (id, message) = fanned_out(&world, 0);
    assert!(deliver(&world, message.body.clone(), 499), "it may still be sent, with a delay");
    assert_eq!((reasons(&world), status(&world, id)), (Vec::<String>::new(), None));
    assert!(deliver(&world, message.body, 500), "it is given up");
    assert_eq!((reasons(&world), status(&world, id)), (vec!["deferred".to_owned()], Some(DeliveryStatus::Exhausted)));
}

#[test]
fn a_foreign_message_is_a_dead_letter() {
    let world = calm([(json!({}), well(50))]);
    assert!(deliver(&world, "{}".into(), 1));
    assert_eq!(reasons(&world), ["bad-message"]);
}

#[test]
fn one_failed_call_delays_no_delivery_for_the_time_of_a_lease() {
    for settings in [json!({}), json!({"maxConcurrency": 1}), json!({"maxConcurrency": 1, "maxPerSecond": 1})] {
        for failing in 1.. {
            let world = calm_by(failing, [(settings.clone(), well(50))]);
            world.refuses.set(Some(failing));
            stream(&world, 0, 20, START, START + 140);
            run_functions(&world);
            world.clock.run(START + 5 * MINUTE, || false);
            world.check_that_nothing_is_lost();
            world.check_that_slots_are_free();
            let laws = world.laws.borrow();
            // A slot that could not be released is held for the time of an attempt.
            let most = if laws.forgotten_slots.is_empty() { 85 * SECOND } else { 4 * MINUTE };
            let most = if settings == json!({}) { 12 * SECOND } else { most };
            for fact in &laws.facts {
                let took = fact.acknowledged_at.unwrap_or(u64::MAX) - fact.accepted_at;
                assert!(took <= most, "{took} ms, because call {failing} failed; {settings}");
            }
            if world.calls.get() < failing {
                break;
            }
        }
    }
}

#[test]
fn deliveries_that_find_no_slot_are_sent_by_those_that_have_one() {
    for seed in 0..200 {
        let world = calm_by(seed, [(json!({"maxConcurrency": 1}), well(50))]);
        stream(&world, 0, 20, START, START + 140);
        run_functions(&world);
        world.clock.run(START + 50 * SECOND, || false);
        let sent = world.laws.borrow().facts.iter().all(|fact| fact.acknowledged_at.is_some());
        assert!(sent, "a delivery of world {seed} waits for a sweep");
    }
}

#[test]
fn an_endpoint_that_answers_410_gets_nothing_more_and_its_tenant_learns_why() {
    let world = calm([(json!({}), Mood::Gone), (json!({"types": [{"type": DISABLED_TYPE}]}), well(50))]);
    let deliver = deliver_of(Process::new(&world, Role::Operator));
    let messages = [0, 0].map(|index| fanned_out(&world, index).1.body);
    let receipt = Receipt {
        receives: 1,
        earlier_receives: 0,
        first_received_unix_ms: START,
        since_unix_ms: START,
        is_again: false,
        track: Track::Slow,
    };
    done(&world, async move {
        for body in messages {
            deliver.handle(&[QueuedDelivery { message_id: "m", body: &body, receipt_handle: "0#1", receipt }]).await;
        }
    });
    assert_eq!(world.laws.borrow().figures.sends, 1, "the endpoint is disabled");
    let disabled = world.tables.borrow().endpoints[0].as_ref().unwrap().disabled;
    assert_eq!(disabled, Some(DisabledBecause::Gone));
    assert_eq!(world.own_events.queue.borrow().contents().count(), 1);
    run_functions(&world);
    world.clock.run(START + MINUTE, || false);
    let told = world.laws.borrow().facts.iter().any(|fact| fact.endpoint == 1 && fact.acknowledged_at.is_some());
    assert!(told, "the other endpoint of the tenant gets the event");
}

#[test]
fn a_delivery_that_its_first_receiver_may_be_sending_is_not_parked() {
    let world = calm([(json!({}), well(50))]);
    world.tables.borrow_mut().endpoints[0].as_mut().unwrap().disabled = Some(DisabledBecause::Operator);
    let (_, Message { body, .. }) = fanned_out(&world, 0);
    let deliver = deliver_of(Process::new(&world, Role::Operator));
    let receipt = Receipt {
        receives: 2,
        earlier_receives: 0,
        first_received_unix_ms: START - 5 * SECOND,
        since_unix_ms: START - 5 * SECOND,
        is_again: false,
        track: Track::Slow,
    };
    let again = done(&world, async move {
        let message = QueuedDelivery { message_id: "m", body: &body, receipt_handle: "0#2", receipt };
        deliver.handle(&[message]).await.len()
    });
    assert_eq!((again, world.tables.borrow().waiting().count()), (0, 0), "a drain could send it at the same time");
    let next = world.slow_deliveries.queue.borrow_mut().next_visible(world.now()).unwrap();
    let expected = START + 90 * SECOND..=START + 91 * SECOND;
    assert!(expected.contains(&next), "a message in its place comes at {next}, and is expected in {expected:?}");
}

#[test]
fn a_drain_that_lost_its_slot_sends_nothing() {
    let world = calm([(json!({"maxConcurrency": 1, "timeoutSeconds": 10}), Mood::Hanging)]);
    stream(&world, 0, 20, START, START + 140);
    run_functions(&world);
    world.clock.run(START + 5 * SECOND, || false);
    for held in world.tables.borrow_mut().slots.values_mut() {
        *held = (7, START + 95 * SECOND); // As if its lease had ended, and another function had taken it.
    }
    world.clock.run(START + 50 * SECOND, || false);
    assert_eq!(world.laws.borrow().figures.sends, 1);
}

#[test]
fn only_the_first_receiver_of_a_message_knows_that_nothing_was_sent() {
    for (receives, expected) in [(1, 1), (2, 0)] {
        let world = calm([(json!({}), well(50))]);
        let (_, message) = fanned_out(&world, 0);
        world.refuses.set(Some(1));
        assert!(!deliver(&world, message.body, receives), "the endpoint could not be read");
        assert_eq!(world.tables.borrow().records.len(), expected, "received {receives} times");
    }
}

#[test]
fn a_failure_that_a_replay_overtook_does_not_end_the_delivery() {
    let retry = json!({"maxRetries": 0, "intervalSeconds": 60, "backoff": "fixed"});
    let world = calm([(json!({"retry": retry, "timeoutSeconds": 10}), Mood::Hanging)]);
    stream(&world, 0, 1, START, START + SECOND);
    operate(&world, START + 5 * SECOND, |process| async move { replay(process, 0, &endpoint_id(0)).await });
    run_functions(&world);
    world.clock.run(START + 13 * SECOND, || false);
    assert_eq!((world.laws.borrow().figures.sends, reasons(&world)), (2, Vec::new()), "the second one is being sent");
    world.clock.run(START + 20 * SECOND, || false);
    assert_eq!(reasons(&world), ["exhausted"]);
}

#[test]
fn an_attempt_that_runs_during_an_erasure_is_the_last_one() {
    let retry = json!({"maxRetries": 5, "intervalSeconds": 1, "backoff": "fixed"});
    let world = calm([(json!({"retry": retry, "timeoutSeconds": 10}), Mood::Hanging)]);
    stream(&world, 0, 1, START, START + SECOND);
    operate(&world, START + 5 * SECOND, |process| async move { erase(process, 0).await });
    run_functions(&world);
    world.clock.run(START + HOUR, || false);
    assert_eq!((world.laws.borrow().figures.sends, reasons(&world)), (1, Vec::new()));
    assert_eq!(status(&world, 0), Some(DeliveryStatus::Erased), "the failure is not recorded");
    assert!(world.is_all_over(), "its message has left the queue");
}

#[test]
fn an_event_that_is_erased_before_it_arrives_is_dropped() {
    let world = calm([(json!({"types": [{"type": "t1"}]}), well(50))]);
    produce(&world, START + 2 * SECOND, vec![0]);
    produce(&world, START + 3 * SECOND, vec![0]);
    operate(&world, START + SECOND, |process| async move {
        process.world.tables.borrow_mut().erased.insert(0);
        Ok(())
    });
    run_functions(&world);
    world.clock.run(START + MINUTE, || false);
    let acknowledged: Vec<_> = world.laws.borrow().facts.iter().map(|fact| fact.acknowledged_at.is_some()).collect();
    assert_eq!(acknowledged, [false, true]);
    assert!(world.is_all_over());
}

#[test]
fn a_probe_that_fails_costs_its_delivery_no_retry() {
    let retry = json!({"maxRetries": 1, "intervalSeconds": 1, "backoff": "fixed"});
    let world = calm([(json!({"retry": retry}), Mood::Failing)]);
    let process = Process::new(&world, Role::Operator);
    let cache = BreakerCache::<Sim>::new(process.clone(), process.clone(), process, Meter::default());
    let result: AttemptResult = Err(AttemptError::Rejected { status: 500, retry_after: None });
    done(&world, async move {
        for _ in 0..10 {
            cache.observe(&endpoint_id(0), &result, Duration::from_millis(5)).await;
        }
    });
    stream(&world, 0, 1, world.now(), world.now() + SECOND);
    run_functions(&world);
    world.clock.run(START + HOUR, || false);
    let sends = world.laws.borrow().figures.sends;
    assert!(sends >= 3 && reasons(&world).is_empty(), "{sends} probes, {:?}", reasons(&world));
}

#[test]
fn an_endpoint_that_is_enabled_gets_the_very_next_delivery() {
    let world = calm([(json!({}), well(50))]);
    world.tables.borrow_mut().endpoints[0].as_mut().unwrap().disabled = Some(DisabledBecause::Operator);
    let deliver = deliver_of(Process::new(&world, Role::Operator));
    let messages = [0, 0].map(|index| fanned_out(&world, index).1.body);
    let tables = Rc::clone(&world);
    done(&world, async move {
        for body in messages {
            deliver
                .handle(&[QueuedDelivery { message_id: "m", body: &body, receipt_handle: "0#1", receipt: FIRST }])
                .await;
            tables.tables.borrow_mut().enable(0);
        }
    });
    assert_eq!((world.laws.borrow().figures.sends, world.tables.borrow().waiting().count()), (1, 1));
}

#[test]
fn an_endpoint_that_fails_for_days_is_disabled_and_one_that_fails_for_hours_is_not() {
    let world = calm([(json!({}), Mood::Failing), (json!({"types": [{"type": DISABLED_TYPE}]}), well(50))]);
    (0..6 * 24).for_each(|hour| produce(&world, START + hour * HOUR, vec![0]));
    run_functions(&world);
    let disabled = || world.tables.borrow().endpoints[0].as_ref().unwrap().disabled;
    world.clock.run(START + 4 * DAY, || false);
    assert_eq!(disabled(), None, "after four days");
    world.clock.run(START + 6 * DAY + HOUR, || false);
    assert_eq!(disabled(), Some(DisabledBecause::Failing), "after six days");
}

#[test]
fn a_replayed_delivery_gets_the_attempts_of_its_policy_again_and_no_more() {
    let retry = json!({"maxRetries": 2, "intervalSeconds": 60, "backoff": "fixed"});
    let world = calm([(json!({"retry": retry}), Mood::Failing)]);
    stream(&world, 0, 1, START, START + SECOND);
    operate(&world, START + HOUR, |process| async move { replay(process, 0, &endpoint_id(0)).await });
    run_functions(&world);
    for (until, sends) in [(START + HOUR, 3), (START + 2 * HOUR, 6)] {
        world.clock.run(until, || false);
        assert_eq!(world.laws.borrow().figures.sends, sends);
        assert_eq!(reasons(&world), vec!["exhausted"; usize::try_from(sends / 3).unwrap()]);
    }
    let at = world.laws.borrow().sent_at.clone();
    let waits: Vec<_> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(waits.iter().all(|wait| *wait >= 59 * SECOND), "{waits:?} ms between the attempts");
}

#[test]
fn a_receiver_that_asks_for_time_gets_it() {
    let world = calm([(json!({"retry": {"schedule": [1, 1, 1]}}), Mood::Busy(1_800))]);
    stream(&world, 0, 1, START, START + SECOND);
    run_functions(&world);
    world.clock.run(START + 2 * HOUR, || false);
    let at = world.laws.borrow().sent_at.clone();
    let waits: Vec<_> = at.windows(2).map(|pair| (pair[1] - pair[0]) / SECOND).collect();
    assert!(
        waits.len() == 3 && waits.iter().all(|wait| (1_799..2_100).contains(wait)),
        "{waits:?} s between the attempts"
    );
}

#[test]
fn a_receiver_that_does_not_answer_is_held_long_before_its_timeout() {
    let world = calm([(json!({"timeoutSeconds": 30}), Mood::Hanging)]);
    stream(&world, 0, 20, START, START + 25 * SECOND);
    run_functions(&world);
    world.clock.run(START + 25 * SECOND, || false);
    let sends = world.laws.borrow().figures.sends;
    assert!(sends <= 150, "{sends} requests wait for an answer");
}

#[test]
fn failures_that_two_functions_report_at_the_same_time_all_count() {
    let world = calm([(json!({}), Mood::Failing)]);
    let caches = [(); 2].map(|()| {
        let process = Process::new(&world, Role::Operator);
        BreakerCache::<Sim>::new(process.clone(), process.clone(), process, Meter::default())
    });
    let result: AttemptResult = Err(AttemptError::Rejected { status: 500, retry_after: None });
    let caches = caches.map(Rc::new);
    let again = Rc::clone(&caches[0]);
    let breaker = done(&world, async move {
        for _ in 0..5 {
            let both = caches.iter().map(|cache| async {
                cache.get(&endpoint_id(0)).await;
                cache.observe(&endpoint_id(0), &result, Duration::from_millis(5)).await;
            });
            join_all(both).await;
        }
        caches[0].claim_probe(&endpoint_id(0)).await; // Reads it again.
        caches[0].get(&endpoint_id(0)).await
    });
    assert_eq!(breaker.admits(world.now()), Admission::Park, "ten failures in a row open it");

    world.clock.run(world.now() + 3 * SECOND, || false);
    world.refuses.set(Some(world.calls_of_all.get() + 1));
    let breaker = done(&world, async move { again.get(&endpoint_id(0)).await });
    assert_eq!(breaker.admits(world.now()), Admission::Park, "it stays as it was read last, if the table fails");
}

#[test]
fn an_endpoint_that_proves_itself_gets_what_waited() {
    let types = json!([{"type": DISABLED_TYPE}]);
    let world = calm([(json!({"types": types}), well(50))]);
    world.tables.borrow_mut().endpoints[0].as_mut().unwrap().disabled = Some(DisabledBecause::Unverified);
    let data = Question::new(&endpoint_id(0), 1, [7; 32]).data();
    let text = format!(
        r#"{{"specversion":"1.0","id":"q","source":"{OWN_SOURCE}","type":"{VERIFICATION_TYPE}","tenant":"acme","data":{data}}}"#
    );
    let event = Event::parse_own(&text).unwrap();
    world.accept_own(&event);
    assert!(deliver(&world, Message::of_delivery(&endpoint_id(0), &event, START, None).body, 1));
    let tables = world.tables.borrow();
    assert_eq!(tables.endpoints[0].as_ref().unwrap().disabled, None);
    assert!(tables.drains.contains_key(&endpoint_id(0)), "what was parked meanwhile is drained");
}

#[test]
fn an_event_is_fanned_out_once_and_a_conflicting_one_is_rejected() {
    let arrivals = |world: &World| -> Vec<u64> {
        let queue = world.deliveries.queue.borrow();
        let arrived = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()["arrivedUnixMs"].as_u64();
        queue.contents().filter_map(|body| arrived(&body.text)).collect()
    };
    let world = calm([(json!({}), well(50))]);
    let text = world.text_of(world.accept(&[0]));
    let fan_out = |message_id: &'static str, text: String, arrived_unix_ms| {
        let fanout = fanout_of(Process::new(&world, Role::Fanout));
        done(&world, async move {
            let (receipt_handle, receives) = ("0#1", 1);
            let message =
                QueuedEvent { message_id, receipt_handle, receives, body: &text, arrived_unix_ms, is_own: false };
            fanout.handle(&[message]).await.is_empty()
        })
    };
    assert!(fan_out("m-1", text.clone(), START));
    assert!(fan_out("m-2", text.clone(), START + SECOND));
    assert_eq!(arrivals(&world), [START], "the producer repeated it");
    world.clock.run(START + HOUR, || false);
    assert!(fan_out("m-3", text.clone(), START + HOUR));
    assert_eq!(arrivals(&world), [START, START], "its first message may be gone; the record is where it was");

    let other = text.replace(r#"{"n":0}"#, r#"{"n":1}"#);
    for failing in 1..10 {
        world.refuses.set(Some(world.calls_of_all.get() + failing));
        let before = world.rejected.queue.borrow().contents().count();
        let is_done = fan_out("m-4", other.clone(), START + HOUR);
        let is_rejected = world.rejected.queue.borrow().contents().count() > before;
        assert_eq!(is_done, is_rejected, "call {failing} fails");
    }
    world.refuses.set(None);
    assert!(
        world.rejected.queue.borrow().contents().all(|body| body.reason.as_deref() == Some("conflicting-duplicate"))
    );
    assert_eq!(arrivals(&world).len(), 2);
}

#[test]
fn a_parked_delivery_whose_event_has_expired_is_a_dead_letter() {
    for (max_concurrency, streamed) in [(None, 0), (Some(1), 1)] {
        let world = calm([(json!({"maxConcurrency": max_concurrency}), well(50))]);
        let (id, _) = fanned_out(&world, 0);
        {
            let mut tables = world.tables.borrow_mut();
            tables.events.clear();
            tables.park(Place::Endpoint(0), START, id, 7);
            tables.ask_to_drain(&acme(), &endpoint_id(0), START / SECOND);
        }
        if streamed > 0 {
            stream(&world, 0, 1, START, START + SECOND);
        }
        run_functions(&world);
        world.clock.run(START + if streamed > 0 { 30 } else { 120 } * SECOND, || false);
        assert_eq!((reasons(&world), status(&world, id)), (vec!["event-gone".into()], Some(DeliveryStatus::Exhausted)));
        assert_eq!(world.tables.borrow().waiting().count(), 0);
    }
}

#[test]
fn a_sweep_warns_of_each_endpoint_once() {
    let world = calm([(json!({}), well(50)), (json!({}), well(50)), (json!({}), well(50))]);
    let now = START.next_multiple_of(HOUR);
    for index in 0..3 {
        let (id, _) = fanned_out(&world, index);
        let mut tables = world.tables.borrow_mut();
        tables.park(Place::Endpoint(index), START - 20 * DAY, id, 7);
        tables.waiting.insert(endpoint_id(index), now / SECOND - 3 * NOTED_FOR_SECONDS);
    }
    world.clock.run(now, || false);
    let process = Process::new(&world, Role::Operator);
    let swept = done(&world, async move { sweep_of(process).sweep_at(now).await.unwrap() });
    assert_eq!(swept.expiring, 3);
}

#[test]
fn a_disabled_endpoint_costs_a_sweep_little() {
    let world = calm([(json!({}), well(50))]);
    world.tables.borrow_mut().endpoints[0].as_mut().unwrap().disabled = Some(DisabledBecause::Operator);
    (0..50).for_each(|index| produce(&world, START + index * 10, vec![0]));
    run_functions(&world);
    world.clock.run(START + MINUTE / 2, || false);
    world.tables.borrow_mut().ask_to_drain(&acme(), &endpoint_id(0), START / SECOND);
    let before = world.calls.get();
    world.clock.run(START + 3 * MINUTE, || false);
    assert_eq!(world.calls.get(), before, "its deliveries stay parked");
}

#[test]
fn a_redrive_tries_what_can_be_delivered_now_and_keeps_the_rest() {
    let tenant = |name| Some(TenantId::parse(name).unwrap());
    let dead = |tenant| Redrive::DeadLetters { endpoint: None, tenant };
    let cases = [
        (dead(None), (1, 1), "the endpoint of the other was removed"),
        (dead(tenant("acme")), (1, 1), "both are of this tenant"),
        (dead(tenant("umbrella")), (0, 2), "both are of another tenant"),
        (Redrive::Rejected { tenant: None }, (0, 1), "it conflicts with another event as before"),
    ];
    for (redrive, (moved, kept), why) in cases {
        let world = calm([(json!({}), well(50)), (json!({}), well(50))]);
        for index in 0..2 {
            let (id, message) = fanned_out(&world, index);
            world.tables.borrow_mut().end(id, START);
            let body = Body { text: message.body.into(), id, reason: Some("exhausted".into()), ..Body::default() };
            world.dead_letters.queue.borrow_mut().send(body, 0, 0, START);
        }
        world.tables.borrow_mut().endpoints[1] = None;
        let body =
            Body { text: world.text_of(0).into(), reason: Some("conflicting-duplicate".into()), ..Body::default() };
        world.rejected.queue.borrow_mut().send(body, 0, 0, START);
        world.clock.run(START + SECOND, || false);
        let sweep = sweep_of(Process::new(&world, Role::Operator));
        let redriven = done(&world, async move { sweep.redrive_for(&redrive, Duration::from_secs(20)).await.unwrap() });
        assert_eq!(redriven, Redriven { moved, kept, more: false }, "{why}");
        run_functions(&world);
        world.clock.run(START + MINUTE, || false);
        let expected = if moved > 0 { DeliveryStatus::Delivered } else { DeliveryStatus::Exhausted };
        assert_eq!(status(&world, 0), Some(expected), "{why}");
    }
}
