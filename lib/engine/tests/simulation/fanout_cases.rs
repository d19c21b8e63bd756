//! Single invocations of `fanout`, and their effects on each event.

use std::rc::Rc;

use serde_json::{Value, json};
use signpost_core::delivery::Delivery;
use signpost_core::endpoint::filter::Filter;
use signpost_core::event::TenantId;
use signpost_engine::fanout::{Fanout, QueuedEvent};
use signpost_engine::ports::subscriptions::TypeRules;

use crate::calm::{Broken, Calm, Failure, MINUTE};
use crate::clock::START;
use crate::functions::{RETENTION, fanout_of};
use crate::ports::{Sim, Which};
use crate::receivers::Mood;
use crate::tables::index_of;
use crate::world::{Call, Process, Role, endpoint, endpoint_id, type_for, types_of};

const VERSIONS: Call = ("Subscriptions", "versions");
const OF_TENANT: Call = ("Subscriptions", "of_tenant");
const SEND: Call = ("DeliveriesQueue", "send_all");

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

/// Creates a world with many endpoints that subscribe to the type that names all of them. The first ones subscribe to the
/// type that names only the first, too.
fn many(count: usize) -> Calm {
    let all = type_for(&(0..count).collect::<Vec<_>>());
    let settings = |index| match index {
        0 => json!({"types": [{"type": all}, {"type": type_for(&[0])}]}),
        _ => json!({"types": [{"type": all}]}),
    };
    let endpoints: Vec<_> = (0..count).map(|index| (settings(index), Mood::Well(50))).collect();
    Calm::new(&endpoints)
}

/// Invokes `fanout` in a new environment. Returns the ids of the messages that come again.
fn fan_out(calm: &Calm, batch: Vec<Queued>) -> Vec<&'static str> {
    invoke(calm, &environment(calm), batch, false)
}

fn environment(calm: &Calm) -> Rc<Fanout<Sim>> {
    Rc::new(fanout_of(Process::new(&calm.world, Role::Fanout)))
}

fn invoke(calm: &Calm, fanout: &Rc<Fanout<Sim>>, batch: Vec<Queued>, is_own: bool) -> Vec<&'static str> {
    present(calm, fanout, batch, is_own, 1)
}

/// Invokes `fanout` with messages that are presented for the `receives`th time.
fn present(
    calm: &Calm,
    fanout: &Rc<Fanout<Sim>>,
    batch: Vec<Queued>,
    is_own: bool,
    receives: u32,
) -> Vec<&'static str> {
    let fanout = Rc::clone(fanout);
    calm.run(async move {
        let receipts: Vec<_> = (0..batch.len()).map(|index| format!("{index}#1")).collect();
        let messages = batch.iter().zip(&receipts).map(|(Queued { message_id, body }, receipt_handle)| QueuedEvent {
            message_id,
            receipt_handle,
            receives,
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
    let index = |id| (0..128).find(|index| endpoint_id(*index) == id).unwrap();
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
fn an_endpoint_whose_subscription_cannot_be_read_gets_every_event() {
    let calm = three();
    calm.world.tables.borrow_mut().unreadable.insert(1);
    // Its own filters would not want this event.
    let number = calm.world.accept(&[0, 1]);
    let body = calm.world.text_of(number).replace(&type_for(&[0, 1]), &type_for(&[0]));
    assert!(fan_out(&calm, vec![Queued { message_id: "m-1", body }]).is_empty());
    assert_eq!(recipients(&calm), [0, 1]);
}

/// The schema of a type of this world.
fn set_schema(calm: &Calm, endpoints: &[usize], schema: &str) {
    calm.world.tables.borrow_mut().schemas =
        vec![TypeRules { kind: type_for(endpoints), schema: schema.to_owned(), retention_days: None }];
}

#[test]
fn an_event_that_does_not_fit_the_schema_of_its_type_is_rejected_with_each_fault() {
    let calm = three();
    let other = accepted(&calm, "m-1", &[1]);
    let kind = type_for(&[0, 2]);
    let body = format!(
        r#"{{"specversion":"1.0","id":"x","source":"/core","type":"{kind}","tenant":"acme","data":{{"total":1}}}}"#
    );
    is_foreign(&calm, &body);
    let bad = Queued { message_id: "m-2", body };
    set_schema(&calm, &[0, 2], r#"{"required":["name"],"properties":{"total":{"type":"string"}}}"#);
    assert!(fan_out(&calm, vec![bad.clone(), other]).is_empty());
    assert_eq!(recipients(&calm), [1], "another type has no schema");
    let rejected = calm.sent(Which::Rejected);
    let attribute = |name: &str| rejected[0].attributes.iter().find(|(known, _)| *known == name).unwrap().1.clone();
    assert_eq!((rejected.len(), &*rejected[0].body, &*attribute("reason")), (1, &*bad.body, "invalid-event"));
    let faults: Value = serde_json::from_str(&attribute("faults")).unwrap();
    let pointers: Vec<_> = faults.as_array().unwrap().iter().map(|fault| fault["pointer"].as_str().unwrap()).collect();
    assert_eq!(pointers, ["/data/name", "/data/total"]);
}

#[test]
fn a_schema_that_was_changed_does_not_stop_a_fan_out_that_has_begun() {
    let calm = three();
    let event = accepted(&calm, "m-1", &[0, 2]);
    calm.break_calls(Some((Broken::Each(SEND), Failure::Refused)));
    assert_eq!(fan_out(&calm, vec![event.clone()]), ["m-1"]);
    calm.break_calls(None);
    set_schema(&calm, &[0, 2], "false");
    assert!(present(&calm, &environment(&calm), vec![event], false, 2).is_empty());
    assert_eq!(recipients(&calm), [0, 2], "the same message again");
    let other = accepted(&calm, "m-2", &[0, 2]);
    is_foreign(&calm, &other.body);
    assert!(present(&calm, &environment(&calm), vec![other], false, 2).is_empty());
    assert_eq!((recipients(&calm).len(), calm.sent(Which::Rejected).len()), (2, 1), "it was not stored");
}

#[test]
fn a_schema_has_an_effect_on_the_very_next_event_and_costs_no_call_until_it_changes() {
    let (calm, calls) = (three(), |calm: &Calm| calm.calls(("Subscriptions", "schemas")));
    let fanout = environment(&calm);
    let send = |message_id| invoke(&calm, &fanout, vec![accepted(&calm, message_id, &[0])], false);
    assert!(send("m-1").is_empty());
    assert_eq!((recipients(&calm).len(), calls(&calm)), (1, 0), "a tenant without event types");
    set_schema(&calm, &[0], "{}");
    assert!(send("m-2").is_empty() && send("m-3").is_empty());
    assert_eq!((recipients(&calm).len(), calls(&calm)), (3, 1));
    calm.world.tables.borrow_mut().schemas = Vec::new();
    assert!(send("m-4").is_empty());
    assert_eq!((recipients(&calm).len(), calls(&calm)), (4, 1));
}

#[test]
fn an_event_is_kept_for_the_days_of_its_type_and_not_longer_than_the_stack_keeps_events() {
    let calm = three();
    let rules = |endpoints: &[usize], days| {
        let (kind, schema) = (type_for(endpoints), "true".to_owned());
        TypeRules { kind, schema, retention_days: Some(days) }
    };
    calm.world.tables.borrow_mut().schemas = vec![rules(&[0], 2), rules(&[1], u16::MAX)];
    let fanout = environment(&calm);
    let events: Vec<_> = [0, 1, 2].map(|to| accepted(&calm, ["m-1", "m-2", "m-3"][to], &[to])).into();
    assert!(invoke(&calm, &fanout, events, false).is_empty());
    let of = |number: u32| {
        let tables = calm.world.tables.borrow();
        let first = &tables.events[&number];
        (first.arrival.expires_at - first.at_unix_seconds, first.retention_days)
    };
    let (day, stack) = (86_400, RETENTION.as_secs());
    assert_eq!([0, 1, 2].map(of), [(2 * day, Some(2)), (stack, Some(u16::MAX)), (stack, None)]);
    let mut days = Vec::new();
    for message in calm.sent(Which::Deliveries) {
        let delivery = Delivery::parse(&message.body).unwrap();
        days.push((index_of(&delivery.endpoint), delivery.key().retention_days));
    }
    days.sort_unstable();
    let expected = [(0, Some(2)), (1, Some(u16::MAX)), (2, None)];
    assert_eq!(days, expected, "each record is kept as long as its event");
    assert_eq!(calm.calls(("Subscriptions", "schemas")), 1);
}

#[test]
fn a_filter_decides_which_events_an_endpoint_gets_and_an_unwanted_one_is_stored_and_done() {
    let calm = three();
    let set = |index: usize, filter: &str| {
        let mut tables = calm.world.tables.borrow_mut();
        tables.endpoints[index].as_mut().unwrap().settings.filter = Some(Filter::parse(filter).unwrap());
    };
    set(0, r#"{"data":{"n":[{"numeric":[">",0]}]}}"#);
    let unwanted = calm.world.accept(&[]);
    let body = calm.world.text_of(unwanted).replace(&type_for(&[]), &type_for(&[0]));
    let (first, second) = (Queued { message_id: "m-0", body }, accepted(&calm, "m-1", &[0]));
    assert!(fan_out(&calm, vec![first, second]).is_empty());
    assert_eq!(recipients(&calm), [0], "only the event whose `n` is more than 0");
    assert_eq!(calm.world.tables.borrow().events.len(), 2);
    // An endpoint that another event would keep busy for too long gets it.
    set(1, &format!(r#"{{"data":{{"n":[{}]}}}}"#, (5..105).map(|n| n.to_string()).collect::<Vec<_>>().join(",")));
    let number = calm.world.accept(&[1]);
    let long = format!(r#""data":{{"n":[{}]}}"#, vec!["1"; 1_000].join(","));
    let body = calm.world.text_of(number).replace(&format!(r#""data":{{"n":{number}}}"#), &long);
    assert!(fan_out(&calm, vec![Queued { message_id: "m-2", body }]).is_empty());
    assert_eq!(recipients(&calm), [0, 1]);
}

#[test]
fn the_state_of_a_subject_is_written_before_its_deliveries_are_queued() {
    let calm = three();
    let event = accepted(&calm, "m-1", &[0]);
    fan_out(&calm, vec![event]);
    let expected = [VERSIONS, OF_TENANT, ("Events", "insert"), ("States", "put"), SEND];
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
    assert!(
        invoke(&calm, &environment(&calm), vec![Queued { message_id: "m-1", body: body.to_owned() }], true).is_empty()
    );
    assert_eq!(recipients(&calm), [0], "only to endpoints that name its type");
}

#[test]
fn a_notice_goes_once_to_who_listed_its_type_and_to_the_operator_and_never_to_its_subject() {
    let told = json!({"types": [{"type": "signpost.endpoint-failing"}]});
    let calm = Calm::new(&[(told.clone(), Mood::Well(50)), (told, Mood::Well(50))]);
    let notice = |parked: u32| {
        let body = json!({
            "specversion": "1.0", "id": "failing-1", "source": "/signpost", "type": "signpost.endpoint-failing",
            "tenant": "acme", "subject": endpoint_id(0).as_str(), "data": {"parkedAtLeast": parked},
        });
        body.to_string()
    };
    calm.world.accept_own(&signpost_core::event::Event::parse_own(&notice(3)).unwrap());
    for (message_id, parked) in [("m-1", 3), ("m-2", 4)] {
        let queued = Queued { message_id, body: notice(parked) };
        assert!(invoke(&calm, &environment(&calm), vec![queued], true).is_empty());
    }
    assert_eq!(recipients(&calm), [1]);
    let copies: Vec<_> = calm.sent(Which::Notices).into_iter().map(|message| message.body).collect();
    assert_eq!(copies, [notice(3)], "the first one counts");
    assert!(calm.sent(Which::Rejected).is_empty(), "the second one is no conflict");
}

#[test]
fn a_tenant_whose_subscriptions_cannot_be_read_fails_only_its_own_messages() {
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
fn the_subscriptions_of_a_tenant_are_read_once_for_a_batch() {
    let calm = three();
    let batch = ["m-1", "m-2", "m-3"].map(|id| accepted(&calm, id, &[0]));
    fan_out(&calm, batch.to_vec());
    let reads = calm.seen(|watch| watch.calls.iter().filter(|call| **call == OF_TENANT).count());
    assert_eq!(reads, 1);
}

#[test]
fn an_event_that_cannot_be_stored_comes_again_alone() {
    let calm = three();
    let batch = ["m-1", "m-2"].map(|id| accepted(&calm, id, &[0]));
    // After the subscriptions were read, the events are stored one by one.
    calm.break_calls(Some((Broken::Nth(2), Failure::Refused)));
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
fn subscriptions_are_read_again_only_after_they_have_changed() {
    let calm = three();
    let fanout = environment(&calm);
    let reads = || calm.seen(|watch| watch.calls.iter().filter(|call| **call == OF_TENANT).count());
    for (id, expected) in [("m-1", 1), ("m-2", 1)] {
        let event = accepted(&calm, id, &[0]);
        assert!(invoke(&calm, &fanout, vec![event], false).is_empty());
        assert_eq!(reads(), expected, "{id}");
    }
    calm.world.tables.borrow_mut().endpoints.push(Some(endpoint(3, &json!({}))));
    let event = accepted(&calm, "m-3", &[0, 3]);
    let body = event.body.replace(&type_for(&[0, 3]), &type_for(&[0]));
    assert!(invoke(&calm, &fanout, vec![Queued { body, ..event }], false).is_empty());
    assert_eq!((reads(), recipients(&calm)), (2, vec![0, 0, 0, 3]), "the new endpoint gets the very next event");
}

#[test]
fn a_tenant_whose_deliveries_cannot_be_queued_fails_only_its_own_messages() {
    let calm = three();
    calm.world.watch.borrow_mut().as_mut().unwrap().refused = Some(r#""tenant":"globex""#);
    let event = accepted(&calm, "m-1", &[0]);
    let mut other = accepted(&calm, "m-2", &[0, 1]);
    other.body = other.body.replace("acme", "globex");
    let last = accepted(&calm, "m-3", &[1]);
    assert_eq!(fan_out(&calm, vec![event, other, last]), ["m-2"]);
    assert_eq!(recipients(&calm), [0, 1], "one call for all failed, and then only that of the other tenant");
    let marked = calm.attributes(Which::Deliveries, "since").into_iter().flatten().count();
    assert_eq!(marked, 2, "the first call may have queued them already");
}

/// Each call takes 2.9 seconds. The fifth is the first to send, and ends after the deadline.
#[test]
fn a_call_for_several_tenants_that_fails_at_the_deadline_returns_all_its_messages() {
    let calm = three();
    let mut other = accepted(&calm, "m-2", &[1]);
    other.body = other.body.replace("acme", "globex");
    let batch = vec![accepted(&calm, "m-1", &[0]), other];
    let set = |slow, refused| {
        let mut watch = calm.world.watch.borrow_mut();
        (watch.as_mut().unwrap().slow, watch.as_mut().unwrap().refused) = (slow, refused);
    };
    set(Some((Broken::All, 2_900)), Some(r#""tenant":"globex""#));
    assert_eq!(fan_out(&calm, batch.clone()), ["m-1", "m-2"]);
    assert!(recipients(&calm).is_empty());
    set(None, None);
    assert!(fan_out(&calm, batch).is_empty());
    assert_eq!(recipients(&calm), [0, 1]);
}

#[test]
fn a_message_that_failed_comes_again_after_seconds_whatever_failed() {
    let invalid = Queued { message_id: "m-2", body: "{}".to_owned() };
    let calls = [
        (VERSIONS, 1),
        (OF_TENANT, 1),
        (("Events", "insert"), 1),
        (("States", "put"), 1),
        (SEND, 1),
        (("RejectedQueue", "send_all"), 1),
    ];
    for (call, expected) in calls {
        let calm = three();
        is_foreign(&calm, &invalid.body);
        let event = accepted(&calm, "m-1", &[0]);
        calm.break_calls(Some((Broken::Each(call), Failure::Refused)));
        assert_eq!(fan_out(&calm, vec![event, invalid.clone()]).len(), expected, "{call:?}");
        let waits = calm.waits();
        assert!(waits.len() == expected && waits.iter().all(|wait| (5..=10).contains(wait)), "{call:?}: {waits:?}");
    }
}

#[test]
fn a_message_whose_wait_cannot_be_set_comes_again_too() {
    let calm = three();
    let event = accepted(&calm, "m-1", &[0]);
    calm.break_calls(Some((Broken::All, Failure::Refused)));
    assert_eq!(fan_out(&calm, vec![event]), ["m-1"]);
}

#[test]
fn a_fan_out_that_fails_midway_goes_on_after_the_last_endpoint_before_the_failure() {
    let calm = many(30);
    let event = accepted(&calm, "m-1", &(0..30).collect::<Vec<_>>());
    // After the versions, the subscriptions, the event and its state: the second of three calls.
    calm.break_calls(Some((Broken::Nth(5), Failure::Refused)));
    assert_eq!(fan_out(&calm, vec![event.clone()]), ["m-1"]);
    assert_eq!(recipients(&calm), (0..10).chain(20..30).collect::<Vec<_>>());
    calm.break_calls(None);
    assert!(fan_out(&calm, vec![event]).is_empty());
    assert_eq!(recipients(&calm)[20..], (10..30).collect::<Vec<_>>(), "not from the start");
}

#[test]
fn a_fan_out_whose_progress_cannot_be_noted_begins_again_where_it_began() {
    let calm = many(20);
    let event = accepted(&calm, "m-1", &(0..20).collect::<Vec<_>>());
    calm.break_calls(Some((Broken::Each(("Events", "note_sent")), Failure::Refused)));
    calm.world.watch.borrow_mut().as_mut().unwrap().refused = Some("ep_0000000000000000000000000000000a"); // The eleventh.
    assert_eq!(fan_out(&calm, vec![event.clone()]), ["m-1"]);
    assert_eq!(recipients(&calm), (0..10).collect::<Vec<_>>());
    assert!((5..=10).contains(&calm.waits()[0]));
    calm.world.watch.borrow_mut().as_mut().unwrap().refused = None;
    assert!(fan_out(&calm, vec![event]).is_empty());
    assert_eq!(recipients(&calm)[10..], (0..20).collect::<Vec<_>>());
}

/// Four calls of ten messages run at once, and each takes five seconds: 120 messages are on their way until the deadline.
#[test]
fn a_fan_out_stops_before_the_deadline_and_goes_on_at_once_where_it_stopped() {
    let calm = many(128);
    let all: Vec<_> = (0..128).collect();
    let large = accepted(&calm, "m-1", &all);
    let small = accepted(&calm, "m-2", &[0]);
    calm.world.watch.borrow_mut().as_mut().unwrap().slow = Some((Broken::Each(SEND), 5_000));
    let began = calm.world.now();
    assert_eq!(fan_out(&calm, vec![large.clone(), small]), ["m-1"], "the small one was first");
    let ms = calm.world.now() - began;
    assert!((12_000..20_000).contains(&ms), "{ms} ms");
    assert_eq!((recipients(&calm).len(), calm.waits()), (120, vec![0]));
    let counted = [("DeliveriesQueued", 120), ("EventsContinued", 1), ("EventsFannedOut", 2)];
    assert_eq!(calm.numbers(), counted, "a fan-out that goes on has not failed");
    assert!(fan_out(&calm, vec![large]).is_empty());
    let mut all_recipients = recipients(&calm);
    all_recipients.sort_unstable();
    assert_eq!(all_recipients, [vec![0], all].concat(), "nobody twice");
}

#[test]
fn ten_large_fan_outs_end_and_each_delivery_is_queued_once() {
    let calm = many(128);
    let ids = ["m-0", "m-1", "m-2", "m-3", "m-4", "m-5", "m-6", "m-7", "m-8", "m-9"];
    let all: Vec<_> = (0..128).collect();
    let batch = ids.map(|id| {
        let mut event = accepted(&calm, id, &all);
        let data = format!(r#"{{"n":"{}"}}"#, "x".repeat(250_000));
        let number = event.body.rfind(r#"{"n":"#).unwrap();
        event.body.replace_range(number..event.body.len() - 1, &data);
        event
    });
    calm.world.watch.borrow_mut().as_mut().unwrap().slow = Some((Broken::Each(SEND), 3_000));
    let (mut rest, mut invocations) = (batch.to_vec(), 0);
    while !rest.is_empty() {
        let again = fan_out(&calm, rest.clone());
        rest.retain(|one| again.contains(&one.message_id));
        invocations += 1;
        assert!(invocations <= 30, "{} are left", rest.len());
    }
    let mut recipients = recipients(&calm);
    recipients.sort_unstable();
    assert_eq!(recipients, all.iter().flat_map(|index| [*index; 10]).collect::<Vec<_>>());
    assert!(invocations > 1, "the deadline was met");
}

#[test]
fn an_invocation_ends_before_its_timeout_however_slow_all_calls_are() {
    for ms in [1_000, 2_000, 3_000, 3_900] {
        for refused in [None, Some("acme")] {
            let calm = many(128);
            is_foreign(&calm, "{}");
            let large = accepted(&calm, "m-1", &(0..128).collect::<Vec<_>>());
            let mut other = accepted(&calm, "m-2", &[0]);
            other.body = other.body.replace("acme", "globex");
            let invalid = Queued { message_id: "m-3", body: "{}".to_owned() };
            let slow = Some((Broken::All, ms));
            let mut watch = calm.world.watch.borrow_mut();
            (watch.as_mut().unwrap().slow, watch.as_mut().unwrap().refused) = (slow, refused);
            drop(watch);
            let began = calm.world.now();
            fan_out(&calm, vec![large, other, invalid]);
            let took = calm.world.now() - began;
            assert!(took < 29_000, "{took} ms, with {ms} ms for each call");
        }
    }
}

#[test]
fn a_message_whose_call_hangs_comes_again_and_its_invocation_ends_in_time() {
    let cases = [("Events", "insert"), ("States", "put"), SEND, ("RejectedQueue", "send_all")];
    for call in cases {
        let calm = three();
        is_foreign(&calm, "{}");
        let valid = accepted(&calm, "m-1", &[0]);
        let invalid = Queued { message_id: "m-2", body: "{}".to_owned() };
        calm.world.watch.borrow_mut().as_mut().unwrap().slow = Some((Broken::Each(call), 60_000));
        let began = calm.world.now();
        let expected = if call.0 == "RejectedQueue" { "m-2" } else { "m-1" };
        assert_eq!(fan_out(&calm, vec![valid, invalid]), [expected], "{call:?}");
        let took = calm.world.now() - began;
        assert!(took < 29_000, "{took} ms, because {call:?} hangs");
    }
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

#[test]
fn an_event_counts_once_and_each_of_its_deliveries() {
    let calm = three();
    let (twice, nobody) = (accepted(&calm, "m-1", &[0, 2]), accepted(&calm, "m-3", &[]));
    let (invalid, again) = ("no event".to_owned(), Queued { message_id: "m-2", body: twice.body.clone() });
    is_foreign(&calm, &invalid);
    fan_out(&calm, vec![twice]);
    assert_eq!(calm.numbers(), [("DeliveriesQueued", 2), ("EventsFannedOut", 1)]);
    fan_out(&calm, vec![again, nobody, Queued { message_id: "m-4", body: invalid }]);
    let expected = [("EventsDuplicate", 1), ("EventsFannedOut", 1), ("EventsRejected", 1), ("EventsUnwanted", 1)];
    assert_eq!(calm.numbers(), expected);
    calm.break_calls(Some((Broken::Each(SEND), Failure::Refused)));
    fan_out(&calm, vec![accepted(&calm, "m-5", &[1])]);
    assert_eq!(calm.numbers(), [("EventsDeferred", 1), ("EventsFannedOut", 1)]);
}
