//! Who is not part of Signpost: producers with their events, and operators.

use std::rc::Rc;

use signpost_core::delivery::breaker::Breaker;

use crate::clock::IMMORTAL;
use crate::world::{Fault, Process, World};

/// Has an event accepted by `EventsQueue`.
pub fn produce(world: &Rc<World>, at: u64, endpoints: Vec<usize>) {
    let this = Rc::clone(world);
    world.clock.spawn(IMMORTAL, async move {
        this.clock.sleep(at - this.now()).await;
        let event = this.laws.borrow_mut().accept(&endpoints, this.now());
        this.events.borrow_mut().send(event, 0, None, 0, this.now());
        this.events_bell.ring(&this.clock);
    });
}

/// Has a steady stream of deliveries, already fanned out, put into `DeliveriesQueue`.
pub fn stream(world: &Rc<World>, endpoint: usize, per_second: u64, from: u64, until: u64) {
    let this = Rc::clone(world);
    world.clock.spawn(IMMORTAL, async move {
        this.clock.sleep(from - this.now() + this.below(1_000 / per_second)).await;
        while this.now() < until {
            let event = this.laws.borrow_mut().accept(&[endpoint], this.now());
            let id = this.laws.borrow().events[event as usize].start;
            this.deliveries.borrow_mut().send(id, endpoint, None, 0, this.now());
            this.deliveries_bell.ring(&this.clock);
            this.clock.sleep(1_000 / per_second).await;
        }
    });
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
        while work(Process::immortal(&this)).await.is_err() {
            this.clock.sleep(5_000).await;
        }
    });
}

/// As `manage` enables an endpoint.
pub async fn enable(process: Process, endpoint: usize) -> Result<(), Fault> {
    let now = process.now();
    process.table(|tables| tables.drains.insert(endpoint, now / 1_000)).await?;
    let (closed, version) = (Breaker::closed_at(process.now()), process.world.below(u64::MAX));
    process.table(|tables| tables.breakers.insert(endpoint, (closed, version))).await?;
    switch(&process, endpoint, true).await
}

pub async fn disable(process: Process, endpoint: usize) -> Result<(), Fault> {
    switch(&process, endpoint, false).await
}

/// As `manage` removes an endpoint.
pub async fn remove(process: Process, endpoint: usize) -> Result<(), Fault> {
    let now = process.now();
    process.table(|tables| tables.drains.insert(endpoint, now / 1_000)).await?;
    process.table(|tables| tables.endpoints[endpoint] = None).await
}

/// As `manage` replays a delivery.
pub async fn replay(process: Process, id: u32) -> Result<(), Fault> {
    let now = process.now();
    process.world.tell(id, || "replay".into());
    process
        .call(|world| {
            {
                let fact = &mut world.laws.borrow_mut().facts[id as usize];
                (fact.is_replayed, fact.is_being_replayed) = (true, true);
            }
            world.may_overlap(id);
            world.tables.borrow_mut().begin_anew(id, now);
        })
        .await?;
    process.send_all(&[(id, Some(process.now()), 0)]).await?;
    process.world.laws.borrow_mut().facts[id as usize].is_being_replayed = false;
    Ok(())
}

async fn switch(process: &Process, endpoint: usize, is_enabled: bool) -> Result<(), Fault> {
    process.table(|tables| tables.endpoints[endpoint].iter_mut().for_each(|one| one.is_enabled = is_enabled)).await
}
