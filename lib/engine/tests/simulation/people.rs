//! Who is not part of Signpost: producers with their events, and operators.

use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use signpost_core::delivery::{DeliveryKey, ReplayKind};
use signpost_core::endpoint::{DisabledBecause, EndpointId};
use signpost_core::event::TenantId;
use signpost_core::status::state::Moment;
use signpost_core::tenant_erasure::{ErasureId, ErasureStage, TenantErasure};
use signpost_engine::erasure::Erasure;
use signpost_engine::ports::clock::Random;
use signpost_engine::ports::deliveries::Deliveries as _;
use signpost_engine::ports::events::{Arrival, FirstFanOut};
use signpost_engine::ports::parking::Parking as _;
use signpost_engine::ports::queue::{Message, Queue as _};
use signpost_engine::ports::tenant_erasures::TenantErasures;
use signpost_engine::sweep::Redrive;

use crate::clock::IMMORTAL;
use crate::functions::sweep_of;
use crate::ports::{QueueOf, Sim, Which};
use crate::queue::Body;
use crate::tables::index_of;
use crate::world::{Fault, Process, Role, World, acme, endpoint_id, tenant_name};
use uuid::Uuid;

/// Has an event accepted by `EventsQueue`.
pub fn produce(world: &Rc<World>, at: u64, endpoints: Vec<usize>) {
    let this = Rc::clone(world);
    world.clock.spawn(IMMORTAL, async move {
        this.clock.sleep(at - this.now()).await;
        let number = this.accept(&endpoints);
        let body = Body { text: this.text_of(number).into(), id: number, ..Body::default() };
        this.events.queue.borrow_mut().send(body, 0, 0, this.now());
        this.events.bell.ring();
    });
}

/// Has a steady stream of deliveries, already fanned out, put into `DeliveriesQueue`.
pub fn stream(world: &Rc<World>, endpoint: usize, per_second: u64, from: u64, until: u64) {
    stream_to(world, endpoint..endpoint + 1, per_second, from, until);
}

/// Does as [`stream`], to one of these endpoints after the other.
pub fn stream_to(world: &Rc<World>, endpoints: Range<usize>, per_second: u64, from: u64, until: u64) {
    let this = Rc::clone(world);
    world.clock.spawn(IMMORTAL, async move {
        this.clock.sleep(from - this.now() + this.below(1_000 / per_second)).await;
        for endpoint in endpoints.cycle() {
            if this.now() >= until {
                return;
            }
            let (id, message) = fanned_out(&this, endpoint);
            this.queue_delivery(Which::Deliveries, id, Body { text: message.body.into(), id, ..Body::default() }, 0);
            this.clock.sleep(1_000 / per_second).await;
        }
    });
}

/// Accepts an event for one endpoint, already fanned out. Returns its delivery, and the message of it.
pub fn fanned_out(world: &World, endpoint: usize) -> (u32, Message) {
    let (number, to, now) = (world.accept(&[endpoint]), endpoint_id(endpoint), world.now());
    let event = world.event(number);
    let arrival = Arrival { moment: Moment::of(&event, now), expires_at: u64::MAX };
    let first = FirstFanOut {
        message_id: String::new(),
        endpoints: vec![to.clone()],
        sent: 0,
        at_unix_seconds: now / 1_000,
        arrival,
        payload_hash: [0; 32],
        number: None,
        retention_days: None,
    };
    world.tables.borrow_mut().events.insert(number, first);
    (world.delivery_of(&event.key, &to), Message::of_delivery(&to, &event, now, None))
}

/// Has an operator do something at a moment, again until nothing fails.
pub fn operate<F: Future<Output = Result<(), Fault>>>(
    world: &Rc<World>,
    at: u64,
    work: impl Fn(Process) -> F + 'static,
) {
    let this = Rc::clone(world);
    world.clock.spawn(IMMORTAL, async move {
        this.clock.sleep(at - this.now()).await;
        while work(Process::new(&this, Role::Operator)).await.is_err() {
            this.clock.sleep(5_000).await;
        }
    });
}

/// As `manage` enables an endpoint.
pub async fn enable(process: Process, endpoint: usize) -> Result<(), Fault> {
    let (now, version) = (process.now(), process.world.below(u64::MAX));
    let close = |world: &World| {
        world.laws.borrow_mut().closed(endpoint);
        let breakers = &mut world.tables.borrow_mut().breakers;
        let before = breakers.remove(&endpoint).map(|(before, _)| before).unwrap_or_default();
        breakers.insert(endpoint, (before.closed_by_operator(now), version));
    };
    process.call(("Breakers", "close"), close).await?;
    process.ask_to_drain_now(&acme(), &endpoint_id(endpoint)).await?;
    let enable = |world: &World| {
        world.laws.borrow_mut().enabled(endpoint);
        world.tables.borrow_mut().enable(endpoint)
    };
    process.call(("Endpoints", "put"), enable).await.map(drop)
}

/// As `manage` disables an endpoint.
pub async fn disable(process: Process, endpoint: usize) -> Result<(), Fault> {
    let disable = |world: &World| world.disable(endpoint, DisabledBecause::Operator);
    process.call(("Endpoints", "put"), disable).await.map(drop)
}

/// As `manage` removes an endpoint.
pub async fn remove(process: Process, endpoint: usize) -> Result<(), Fault> {
    process.ask_to_drain_now(&acme(), &endpoint_id(endpoint)).await?;
    process.table(("Endpoints", "delete"), |tables| tables.endpoints[endpoint] = None).await
}

/// As `manage` replays a delivery.
pub async fn replay(process: Process, number: u32, endpoint: &EndpointId) -> Result<(), Fault> {
    let event = process.world.event(number);
    let id = process.world.laws.borrow().events[number as usize].delivery_to(index_of(endpoint)).unwrap();
    let (_, _, arrived_unix_ms) = process.world.parts_of(id);
    process.world.laws.borrow_mut().facts[id as usize].is_being_replayed = true;
    let key = DeliveryKey { event: &event.key, endpoint, arrived_unix_ms, retention_days: None };
    process.reset_for_replay(key, ReplayKind::Replay).await?;
    let message = Message::of_delivery(endpoint, &event, arrived_unix_ms, Some(process.now()));
    QueueOf { process: process.clone(), which: Which::Deliveries }.send_all([message]).await?;
    process.world.laws.borrow_mut().facts[id as usize].is_being_replayed = false;
    Ok(())
}

/// As `manage` erases an event. From the answer on, the law about erased events holds.
pub async fn erase(process: Process, number: u32) -> Result<(), Fault> {
    let key = process.world.event(number).key;
    let erasure = Erasure::<Sim> { events: &process, deliveries: &process, states: &process };
    erasure.event(&key).await?;
    let now = process.world.now();
    process.world.laws.borrow_mut().erased_at.entry(number).or_insert(now);
    Ok(())
}

/// As `manage` begins to erase a tenant. From the answer on, the laws about erased tenants hold.
pub async fn erase_tenant(process: Process, tenant: usize) -> Result<(), Fault> {
    let (now, name) = (process.now(), TenantId::parse(&tenant_name(tenant)).unwrap());
    let new = TenantErasure::new(name, ErasureId::new(now, Uuid::from_u128(Random::u64(&process).into())), now);
    let made = process.table(("TenantErasures", "create"), |tables| tables.create_erasure(&new, now / 1_000)).await?;
    if made.stage == ErasureStage::Endpoints {
        let step = process.step(&made).await?;
        let after = made.after_step(step.removed, step.cursor, process.now());
        TenantErasures::replace(&process, &after).await?;
    }
    let now = process.world.now();
    process.world.laws.borrow_mut().tenants_erased_at.entry(tenant).or_insert(now);
    Ok(())
}

/// Has `sweep` try all dead letters again.
pub async fn redrive(process: Process) -> Result<(), Fault> {
    let all = Redrive::DeadLetters { endpoint: None, tenant: None };
    sweep_of(process).redrive_for(&all, Duration::from_secs(20)).await.map(drop)
}
