//! Single invocations of `fanout`, and their effects on each event.

use serde_json::{Value, json};
use signpost_core::delivery::Delivery;
use signpost_core::event::TenantId;
use signpost_engine::fanout::QueuedEvent;

use crate::calm::{Broken, Calm, Failure, MINUTE};
use crate::clock::START;
use crate::functions::fanout_of;
use crate::ports::Which;
use crate::receivers::Mood;
use crate::world::{Process, Role, endpoint_id, type_for, types_of};

/// A message of `EventsQueue`.
#[derive(Clone, Debug)]
struct Queued {
    message_id: &'static str,
    body: String,
}

/// Creates a world with three endpoints that subscribe to the types that name them.
fn three() -> Calm {
    let endpoints = [0, 1, 2].map(|index| (json!({"types": types_of(index, 3)}), Mood::Well(50)));
    Calm::new(&endpoints)
}

/// Invokes `fanout`. Returns the ids of the messages that come again.
fn fan_out(calm: &Calm, batch: Vec<Queued>) -> Vec<&'static str> {
    invoke(calm, batch, false)
}

fn invoke(calm: &Calm, batch: Vec<Queued>, is_own: bool) -> Vec<&'static str> {
    let fanout = fanout_of(Process::new(&calm.world, Role::Fanout));
    calm.run(async move {
        let messages = batch.iter().map(|Queued { message_id, body }| QueuedEvent {
            message_id,
            body,
            arrived_unix_ms: START,
            is_own,
        });
        let messages: Vec<_> = messages.collect();
        let again = fanout.handle(&messages).await;
        batch.iter().map(|one| one.message_id).filter(|id| again.contains(id)).collect()
    })
}

/// Has an event for these endpoints accepted. Returns its message.
fn accepted(calm: &Calm, message_id: &'static str, endpoints: &[usize]) -> Queued {
    let number = calm.world.accept(endpoints);
    Queued { message_id, body: calm.world.text_of(number) }
}

/// Returns the endpoints of the queued deliveries.
fn recipients(calm: &Calm) -> Vec<usize> {
    let endpoint = |body: &str| Delivery::parse(body).unwrap().endpoint;
    let index = |id| (0..3).find(|index| endpoint_id(*index) == id).unwrap();
    calm.sent(Which::Deliveries).iter().map(|message| index(endpoint(&message.body))).collect()
}

/// Keeps a body without an event of this world out of its queues.
fn is_foreign(calm: &Calm, body: &str) {
    calm.world.watch.borrow_mut().as_mut().unwrap().foreign.insert(body.to_owned());
}

#[test]
fn an_event_goes_to_the_endpoints_that_subscribe_to_it_in_the_group_of_its_tenant() {
    let calm = three();
    let event = accepted(&calm, "m-1", &[0, 2]);
    assert!(fan_out(&calm, vec![event.clone()]).is_empty());
    assert_eq!(recipients(&calm), [0, 2]);
    for message in calm.sent(Which::Deliveries) {
        let delivery = Delivery::parse(&message.body).unwrap();
        assert_eq!((delivery.event.json(), delivery.arrived_unix_ms), (&*event.body, START));
        assert_eq!(message.group.as_deref(), Some("acme"));
        assert_eq!(message.attributes, [], "no other message of the delivery can exist");
    }
    assert!(calm.sent(Which::Rejected).is_empty());
}

#[test]
fn an_event_that_no_endpoint_wants_is_stored_and_done() {
    let calm = three();
    let event = accepted(&calm, "m-1", &[]);
    assert!(fan_out(&calm, vec![event]).is_empty());
    assert_eq!((recipients(&calm), calm.world.tables.borrow().events.len()), (vec![], 1));
}

#[test]
fn an_endpoint_whose_settings_cannot_be_read_gets_every_event() {
    let calm = three();
    calm.world.tables.borrow_mut().unreadable.insert(1);
    // Its own settings would not want this event.
    let number = calm.world.accept(&[0, 1]);
    let body = calm.world.text_of(number).replace(&type_for(&[0, 1]), &type_for(&[0]));
    assert!(fan_out(&calm, vec![Queued { message_id: "m-1", body }]).is_empty());
    assert_eq!(recipients(&calm), [0, 1]);
}

#[test]
fn the_state_of_a_subject_is_written_before_its_deliveries_are_queued() {
    let calm = three();
    let event = accepted(&calm, "m-1", &[0]);
    fan_out(&calm, vec![event]);
    let expected =
        [("Endpoints", "of_tenant"), ("Events", "insert"), ("States", "put"), ("DeliveriesQueue", "send_all")];
    assert_eq!(calm.seen(|watch| watch.calls.clone()), expected);
}

#[test]
fn a_duplicate_is_dropped_while_the_message_that_brought_the_event_may_be_alive() {
    let calm = three();
    let event = accepted(&calm, "m-1", &[0]);
    fan_out(&calm, vec![event.clone()]);
    for (minutes, copies) in [(14, 1), (1, 2)] {
        calm.wait(minutes * MINUTE);
        let duplicate = Queued { message_id: "m-2", ..event.clone() };
        assert!(fan_out(&calm, vec![duplicate]).is_empty());
        assert_eq!(recipients(&calm).len(), copies, "{minutes} minutes later");
    }
}

#[test]
fn a_message_that_is_presented_again_goes_to_the_endpoints_of_the_first_time() {
    let calm = three();
    let event = accepted(&calm, "m-1", &[0]);
    fan_out(&calm, vec![event.clone()]);
    calm.wait(MINUTE);
    let all = json!([{"type": type_for(&[0])}]);
    calm.world.tables.borrow_mut().endpoints[1].as_mut().unwrap().settings.types = serde_json::from_value(all).unwrap();
    assert!(fan_out(&calm, vec![event]).is_empty());
    assert_eq!(recipients(&calm), [0, 0], "not to one that subscribes to it meanwhile");
    let since = (START + MINUTE).to_string();
    assert_eq!(calm.attributes(Which::Deliveries, "since"), [None, Some(since)]);
    let messages = calm.sent(Which::Deliveries);
    assert_eq!(messages[0].body, messages[1].body);
}

#[test]
fn an_event_with_the_key_of_another_is_rejected_with_the_reason() {
    let calm = three();
    let event = accepted(&calm, "m-1", &[0]);
    fan_out(&calm, vec![event.clone()]);
    let other = event.body.replace(r#"{"n":0}"#, r#"{"n":1}"#);
    assert_ne!(other, event.body);
    assert!(fan_out(&calm, vec![Queued { message_id: "m-2", body: other.clone() }]).is_empty());
    assert_eq!(recipients(&calm), [0]);
    let rejected = calm.sent(Which::Rejected);
    let attributes = [("reason", "conflicting-duplicate".to_owned()), ("messageId", "m-2".to_owned())];
    assert_eq!((rejected.len(), &*rejected[0].body, &*rejected[0].attributes), (1, &*other, &attributes[..]));
}

#[test]
fn an_invalid_event_is_rejected_with_all_faults_and_the_others_of_its_batch_are_fanned_out() {
    let calm = three();
    let invalid = r#"{"specversion":"2.0","id":"e7","source":"/core","type":"t1","tenant":"acme"}"#;
    is_foreign(&calm, invalid);
    let valid = accepted(&calm, "m-1", &[0]);
    let batch = vec![Queued { message_id: "m-2", body: invalid.to_owned() }, valid];
    assert!(fan_out(&calm, batch).is_empty());
    assert_eq!(recipients(&calm), [0]);
    assert_eq!(calm.sent(Which::Rejected)[0].body, invalid);
    assert_eq!(calm.attributes(Which::Rejected, "reason"), [Some("invalid-event".to_owned())]);
    let faults = calm.attributes(Which::Rejected, "faults")[0].clone().unwrap();
    let faults: Vec<Value> = serde_json::from_str(&faults).unwrap();
    assert!(faults.len() >= 2, "the version, and the missing data: {faults:?}");
}

#[test]
fn signposts_own_events_are_rejected_when_a_producer_sends_them() {
    for source in ["/signpost", "/callbacks"] {
        let calm = three();
        let body = format!(
            r#"{{"specversion":"1.0","id":"e0","source":"{source}","type":"t1","tenant":"acme","data":{{"n":0}}}}"#
        );
        is_foreign(&calm, &body);
        assert!(fan_out(&calm, vec![Queued { message_id: "m-1", body }]).is_empty());
        assert_eq!(calm.attributes(Which::Rejected, "reason"), [Some("invalid-event".to_owned())], "{source}");
        assert_eq!((recipients(&calm), calm.world.tables.borrow().events.len()), (vec![], 0), "{source}");
    }
}

#[test]
fn signposts_own_events_are_fanned_out_from_their_own_queue() {
    let told = json!({"types": [{"type": "signpost.endpoint-disabled"}]});
    let calm = Calm::new(&[(told, Mood::Well(50)), (json!({}), Mood::Well(50))]);
    let body = r#"{"specversion":"1.0","id":"own","source":"/signpost","type":"signpost.endpoint-disabled","tenant":"acme","subject":"ep","data":{}}"#;
    let event = signpost_core::event::Event::parse_own(body).unwrap();
    calm.world.accept_own(&event);
    assert!(invoke(&calm, vec![Queued { message_id: "m-1", body: body.to_owned() }], true).is_empty());
    assert_eq!(recipients(&calm), [0], "only to endpoints that name its type");
}

#[test]
fn a_tenant_whose_endpoints_cannot_be_read_fails_only_its_own_messages() {
    let calm = three();
    let globex = TenantId::parse("globex").unwrap();
    calm.world.watch.borrow_mut().as_mut().unwrap().broken_tenant = Some(globex);
    let event = accepted(&calm, "m-1", &[0]);
    let mut other = accepted(&calm, "m-2", &[0]);
    other.body = other.body.replace("acme", "globex");
    let last = accepted(&calm, "m-3", &[1]);
    assert_eq!(fan_out(&calm, vec![event, other, last]), ["m-2"]);
    assert_eq!(recipients(&calm), [0, 1]);
}

#[test]
fn the_endpoints_of_a_tenant_are_read_once_for_a_batch() {
    let calm = three();
    let batch = ["m-1", "m-2", "m-3"].map(|id| accepted(&calm, id, &[0]));
    fan_out(&calm, batch.to_vec());
    let reads = calm.seen(|watch| watch.calls.iter().filter(|call| **call == ("Endpoints", "of_tenant")).count());
    assert_eq!(reads, 1);
}

#[test]
fn an_event_that_cannot_be_stored_comes_again_alone() {
    let calm = three();
    let batch = ["m-1", "m-2"].map(|id| accepted(&calm, id, &[0]));
    // After the endpoints were read, the events are stored one by one.
    calm.break_calls(Some((Broken::Nth(1), Failure::Refused)));
    assert_eq!(fan_out(&calm, batch.to_vec()).len(), 1);
    assert_eq!(recipients(&calm), [0]);
}

#[test]
fn a_failure_of_the_deliveries_queue_returns_all_events_of_the_batch_and_no_rejection() {
    let calm = three();
    let invalid = Queued { message_id: "m-3", body: "{}".to_owned() };
    is_foreign(&calm, &invalid.body);
    let [one, two] = ["m-1", "m-2"].map(|id| accepted(&calm, id, &[0]));
    calm.break_calls(Some((Broken::Each(("DeliveriesQueue", "send_all")), Failure::Refused)));
    assert_eq!(fan_out(&calm, vec![one, invalid, two]), ["m-1", "m-2"]);
    assert_eq!(calm.sent(Which::Rejected).len(), 1);
}

#[test]
fn a_failure_of_the_rejected_queue_returns_the_rejections_and_no_delivery() {
    let calm = three();
    let invalid = Queued { message_id: "m-2", body: "{}".to_owned() };
    is_foreign(&calm, &invalid.body);
    let event = accepted(&calm, "m-1", &[0]);
    calm.break_calls(Some((Broken::Each(("RejectedQueue", "send_all")), Failure::Refused)));
    assert_eq!(fan_out(&calm, vec![event, invalid]), ["m-2"]);
    assert_eq!(recipients(&calm), [0]);
}

#[test]
fn whichever_call_fails_or_loses_its_answer_the_same_message_presented_again_reaches_every_endpoint() {
    let calls = {
        let calm = three();
        let event = accepted(&calm, "m-1", &[0, 1]);
        fan_out(&calm, vec![event]);
        calm.seen(|watch| watch.calls.clone())
    };
    for (nth, call) in calls.into_iter().enumerate() {
        for failure in [Failure::Refused, Failure::Lost] {
            let calm = three();
            let event = accepted(&calm, "m-1", &[0, 1]);
            calm.break_calls(Some((Broken::Nth(nth), failure)));
            assert_eq!(fan_out(&calm, vec![event.clone()]), ["m-1"], "{call:?}, {failure:?}");
            calm.break_calls(None);
            assert!(fan_out(&calm, vec![event]).is_empty(), "{call:?}, {failure:?}");
            let all = recipients(&calm);
            assert!([0, 1].iter().all(|index| all.contains(index)), "{call:?}, {failure:?}: {all:?}");
            assert!(all.len() <= 4, "{call:?}, {failure:?}: {all:?}");
        }
    }
}
