//! The tables in memory do what the ports demand of every table.

use std::rc::Rc;

use serde_json::json;
use signpost_core::delivery::replay::Replay;
use signpost_core::endpoint::DisabledBecause;
use signpost_core::endpoint::filter::Filter;
use signpost_core::event::TenantId;
use signpost_core::tenant_erasure::TenantErasure;
use signpost_core::token_request::{RequestId, TokenRequest};

use crate::calm::Calm;
use crate::conformance::{self, EndpointWrite, Subject};
use crate::receivers::Mood;
use crate::tables::Tables;
use crate::world::{Process, endpoint, endpoint_id};

fn calm() -> Rc<Calm> {
    Rc::new(Calm::with(json!({}), Mood::Well(50)))
}

/// Makes deliveries of stored events.
fn subjects(calm: &Rc<Calm>) -> impl Fn() -> Subject + use<> {
    let calm = Rc::clone(calm);
    move || {
        let delivery = calm.delivery_to(0);
        calm.world.laws.borrow_mut().facts[delivery as usize].unrecorded = 9; // Attempts are recorded that were never made.
        calm.world.parts_of(delivery)
    }
}

fn now(process: &Process) -> impl Fn() -> u64 + use<> {
    let process = process.clone();
    move || process.now()
}

/// Checks a port of deliveries or of parked ones.
macro_rules! conforms {
    ($($name:ident: $check:ident $(, $extra:ident)?;)*) => {$(
        #[test]
        fn $name() {
            let calm = calm();
            let (table, subjects) = (calm.process.clone(), subjects(&calm));
            calm.run(async move { conformance::$check(&table, subjects $(, $extra(&table))?).await });
        }
    )*};
}

conforms! {
    a_lease_is_refused_while_another_holds_and_unless_an_attempt_is_due: a_lease;
    a_lease_is_released_by_its_owner_only: a_release;
    a_first_attempt_is_inserted_only_if_there_is_no_item: an_insert;
    an_attempt_is_recorded_only_on_the_record_that_it_was_based_on: an_update;
    an_update_keeps_the_last_fingerprint_and_the_replay: an_update_keeps;
    an_acknowledgement_is_recorded_once_whatever_the_record_says: an_acknowledgement;
    a_failure_is_not_recorded_over_another_record_and_an_acknowledgement_is: a_record;
    a_replay_makes_a_delivery_due_and_its_attempts_not_count: a_replay, now;
    a_delivery_is_given_up_unless_it_is_delivered: an_end, now;
    a_delivery_whose_event_was_erased_stays_so: an_erasure;
    a_lane_holds_each_delivery_once_for_each_time_oldest_first: a_lane;
    a_parked_delivery_is_removed_unless_it_was_parked_again: a_removal;
    deliveries_are_removed_together_unless_one_was_parked_again: a_removal_of_many;
}

#[test]
fn a_drain_ends_unless_it_was_requested_again() {
    let table = calm().process.clone();
    let (calm, now) = (calm(), now(&table));
    calm.run(async move { conformance::a_drain(&table, now).await });
}

#[test]
fn a_drain_is_postponed_until_it_is_requested_for_the_next_run() {
    let calm = calm();
    let table = calm.process.clone();
    calm.run(async move { conformance::a_postponed_drain(&table).await });
}

#[test]
fn a_note_of_waiting_deliveries_ends_unless_it_was_written_again() {
    let calm = calm();
    let table = calm.process.clone();
    calm.run(async move { conformance::a_waiting_note(&table).await });
}

#[test]
fn one_sweep_runs_at_a_time_and_the_next_starts_where_it_stopped() {
    let calm = calm();
    let table = calm.process.clone();
    calm.run(async move { conformance::a_sweep(&table).await });
}

#[test]
fn a_bulk_replay_is_replaced_only_by_its_next_version() {
    let calm = calm();
    let (table, here) = (calm.process.clone(), Rc::clone(&calm.world));
    calm.run(async move {
        let create = async |replay: &Replay| here.tables.borrow_mut().create_replay(replay.clone(), 7);
        conformance::a_bulk_replay(&table, create).await;
    });
}

#[test]
fn a_tenant_has_one_erasure_that_runs_and_it_is_replaced_only_by_its_next_version() {
    let calm = calm();
    let (table, here) = (calm.process.clone(), Rc::clone(&calm.world));
    calm.run(async move {
        let create = async |erasure: &TenantErasure| here.tables.borrow_mut().create_erasure(erasure, 7);
        conformance::a_tenant_erasure(&table, create).await;
    });
}

#[test]
fn a_list_of_deliveries_is_read_from_the_oldest_on() {
    let calm = calm();
    let (table, subjects) = (calm.process.clone(), subjects(&calm));
    calm.run(async move { conformance::a_delivery_list(&table, &table, subjects).await });
}

#[test]
fn a_slot_belongs_to_its_holder_until_its_lease_ends() {
    let calm = calm();
    let table = calm.process.clone();
    calm.run(async move { conformance::a_slot(&table, &endpoint_id(0)).await });
}

#[test]
fn requests_are_counted_by_the_second() {
    let calm = calm();
    let table = calm.process.clone();
    calm.run(async move { conformance::a_count(&table, &endpoint_id(0)).await });
}

#[test]
fn a_breaker_is_replaced_only_by_a_writer_that_knows_it() {
    let calm = calm();
    let table = calm.process.clone();
    calm.world.tables.borrow_mut().breakers.clear();
    calm.run(async move { conformance::a_breaker(&table, &endpoint_id(0)).await });
}

#[test]
fn an_event_is_stored_once() {
    let calm = calm();
    let (table, number, gone) = (calm.process.clone(), calm.world.accept(&[0]), calm.world.accept(&[0]));
    let (event, missing) = (calm.world.event(number), calm.world.event(gone));
    calm.run(async move {
        conformance::an_event(&table, &event, &endpoint_id(0)).await;
        conformance::an_erased_event(&table, &event, &endpoint_id(0)).await;
        conformance::a_missing_event(&table, &missing, &endpoint_id(0)).await;
        conformance::an_event_erased_before_it_arrives(&table, &missing).await;
    });
}

#[test]
fn events_are_counted_once() {
    let calm = calm();
    let (table, numbers) = (calm.process.clone(), [(); 6].map(|()| calm.world.accept(&[0])));
    let events = numbers.map(|number| calm.world.event(number));
    calm.run(async move { conformance::counted_events(&table, &events, &endpoint_id(0), "a-counter").await });
}

#[test]
fn an_endpoint_is_disabled_once_and_enabled_by_the_proof_of_its_own_origin() {
    let calm = calm();
    let (table, here) = (calm.process.clone(), Rc::clone(&calm.world));
    calm.world.tables.borrow_mut().endpoints.push(None);
    let tenant = TenantId::parse("acme").unwrap();
    calm.run(async move {
        let put = async |stored| {
            let mut tables = here.tables.borrow_mut();
            tables.endpoints.push(Some(stored));
            endpoint_id(tables.endpoints.len() - 1)
        };
        conformance::an_endpoint(&table, &tenant, &endpoint_id(1), &endpoint(0, &json!({})), put).await;
    });
}

#[test]
fn the_version_of_subscriptions_changes_with_each_of_them() {
    let calm = Calm::new(&[]);
    let (table, here) = (calm.process.clone(), Rc::clone(&calm.world));
    let tenant = TenantId::parse("acme").unwrap();
    calm.run(async move {
        let write = async |write: EndpointWrite| {
            let Tables { endpoints: all, schemas, .. } = &mut *here.tables.borrow_mut();
            let types = |types: &str| serde_json::from_str(types).unwrap();
            match write {
                EndpointWrite::Create(text) => {
                    let mut stored = endpoint(0, &json!({}));
                    stored.settings.types = types(text);
                    all.push(Some(stored));
                }
                EndpointWrite::SetFilter(text) => {
                    all[0].as_mut().unwrap().settings.filter = text.map(|text| Filter::parse(text).unwrap());
                }
                EndpointWrite::SetTypes(text) => all[0].as_mut().unwrap().settings.types = types(text),
                EndpointWrite::Describe => all[0].as_mut().unwrap().settings.description = "new".into(),
                EndpointWrite::Disable => all[0].as_mut().unwrap().disabled = Some(DisabledBecause::Operator),
                EndpointWrite::Remove => all[0] = None,
                EndpointWrite::SetSchema(schema) => {
                    *schemas = schema.map(conformance::invoice).into_iter().collect();
                }
            }
        };
        conformance::subscriptions(&table, &tenant, &endpoint_id(0), write).await;
    });
}

#[test]
fn a_state_takes_one_bank_callback() {
    let calm = calm();
    let (table, here) = (calm.process.clone(), Rc::clone(&calm.world));
    let (tenant, id) = (TenantId::parse("acme").unwrap(), RequestId::parse("rq:1").unwrap());
    calm.run(async move {
        let register = async |request: &TokenRequest, _: Option<&TokenRequest>| {
            here.tables.borrow_mut().register(request.clone());
        };
        conformance::a_token_request(&table, &tenant, &id, register).await;
    });
}
