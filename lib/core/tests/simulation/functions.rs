//! Lambda: it invokes `deliver` and `fanout` by event source mappings, `sweep` by the minute.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::clock::{Bell, Group, IMMORTAL};
use crate::deliver::Environment;
use crate::queue::{Queue, Received};
use crate::sweep::sweep;
use crate::world::{Process, World};

/// Timeouts of the functions in the template.
const DELIVER_TIMEOUT_MS: u64 = 90_000;
const FANOUT_TIMEOUT_MS: u64 = 60_000;
const SWEEP_TIMEOUT_MS: u64 = 50_000;
/// `DRAIN_FOR` of `functions/deliver/src/lib.rs`.
const DRAIN_FOR_MS: u64 = 15_000;
/// How often `fanout` runs at once here.
const FANOUTS: usize = 4;

/// Has everything run until the end of the world.
pub fn run_functions(world: &Rc<World>) {
    world.clock.spawn(IMMORTAL, deliver(Rc::clone(world)));
    world.clock.spawn(IMMORTAL, fanout(Rc::clone(world)));
    world.clock.spawn(IMMORTAL, schedule(Rc::clone(world)));
}

/// The environments of a function: those that are idle, and how many more invocations there may be.
struct Pool<T> {
    idle: RefCell<Vec<T>>,
    free: Cell<usize>,
}

/// The place that an invocation takes until it ends, or is killed.
struct Seat<T> {
    pool: Rc<Pool<T>>,
    world: Rc<World>,
}

impl<T> Drop for Seat<T> {
    fn drop(&mut self) {
        self.pool.free.set(self.pool.free.get() + 1);
        self.world.deliveries_bell.ring(&self.world.clock);
        self.world.events_bell.ring(&self.world.clock);
    }
}

impl<T> Pool<T> {
    fn new(most: usize) -> Rc<Self> {
        Rc::new(Self { idle: RefCell::default(), free: Cell::new(most) })
    }

    fn seat(self: &Rc<Self>, world: &Rc<World>) -> Seat<T> {
        self.free.set(self.free.get() - 1);
        Seat { pool: Rc::clone(self), world: Rc::clone(world) }
    }
}

/// Ends a group that goes on for longer than its function may.
fn limit(world: &Rc<World>, group: Group, timeout_ms: u64) {
    let this = Rc::clone(world);
    world.clock.spawn(IMMORTAL, async move {
        this.clock.sleep(timeout_ms).await;
        if this.clock.is_alive(group) {
            this.laws.borrow_mut().figures.killed_late += u64::from(timeout_ms == DELIVER_TIMEOUT_MS);
            this.clock.kill(group);
        }
    });
}

/// Returns the next batch of an event source mapping, as soon as it has messages and a free function.
async fn next_batch<T>(world: &World, queue: &RefCell<Queue>, bell: &Bell, pool: &Pool<T>) -> Vec<Received> {
    loop {
        let now = world.now();
        if pool.free.get() > 0 {
            let (mischief, dice) = (world.mischief(), &mut world.dice.borrow_mut());
            let batch = queue.borrow_mut().receive(10, now, mischief, dice);
            if !batch.is_empty() {
                return batch;
            }
        }
        let next = queue.borrow_mut().next_visible(now);
        let next = next.filter(|_| pool.free.get() > 0).map(|at| at.max(now + 20));
        bell.wait(&world.clock, next).await;
    }
}

async fn deliver(world: Rc<World>) {
    let pool = Pool::<Rc<Environment>>::new(world.plan.concurrency);
    loop {
        let batch = next_batch(&world, &world.deliveries, &world.deliveries_bell, &pool).await;
        let (group, seat) = (world.clock.group(), pool.seat(&world));
        limit(&world, group, DELIVER_TIMEOUT_MS);
        let idle = pool.idle.borrow_mut().pop();
        let environment = idle.unwrap_or_else(|| Rc::new(Environment::new(Process::new(&world))));
        world.clock.spawn(group, invoke_deliver(Rc::clone(&world), group, environment, batch, seat));
        world.clock.sleep(1).await;
    }
}

async fn invoke_deliver(
    world: Rc<World>,
    group: Group,
    environment: Rc<Environment>,
    batch: Vec<Received>,
    seat: Seat<Rc<Environment>>,
) {
    let (deadline, invocation) = (world.now() + DRAIN_FOR_MS, world.clock.this());
    let (left, done) = (Rc::new(Cell::new(batch.len())), Rc::new(RefCell::new(Vec::new())));
    for message in batch {
        let (world, environment) = (Rc::clone(&world), Rc::clone(&environment));
        let (left, done) = (Rc::clone(&left), Rc::clone(&done));
        let clock = Rc::clone(&world.clock);
        clock.spawn(group, async move {
            world.tell(message.body, || format!("received, {:?}", message.receipt));
            if environment.settle(message, deadline).await {
                done.borrow_mut().push(message);
            }
            left.set(left.get() - 1);
            if left.get() == 0 {
                world.clock.wake(invocation);
            }
        });
    }
    while left.get() > 0 {
        world.clock.doze().await;
    }
    environment.process.may_die().await;
    for message in done.take() {
        let (mischief, dice) = (world.mischief(), &mut world.dice.borrow_mut());
        world.tell(message.body, || "deleted".into());
        world.deliveries.borrow_mut().delete(&message, world.now(), mischief, dice);
    }
    world.clock.retire(group);
    seat.pool.idle.borrow_mut().push(environment);
}

async fn fanout(world: Rc<World>) {
    let pool = Pool::<()>::new(FANOUTS);
    loop {
        let batch = next_batch(&world, &world.events, &world.events_bell, &pool).await;
        let (group, seat) = (world.clock.group(), pool.seat(&world));
        limit(&world, group, FANOUT_TIMEOUT_MS);
        world.clock.spawn(group, invoke_fanout(Rc::clone(&world), group, batch, seat));
    }
}

/// Step by step as `functions/fanout/src/lib.rs`.
async fn invoke_fanout(world: Rc<World>, group: Group, batch: Vec<Received>, _seat: Seat<()>) {
    let process = Process::new(&world);
    let (mut done, mut sent) = (Vec::new(), Vec::new());
    let mut messages = Vec::new();
    for received in batch {
        let (event, message, now) = (received.body, received.message, process.now());
        let claim = process.table(|tables| match tables.claims.get(&event) {
            None => {
                tables.claims.insert(event, (message, now));
                Claim::FanOut
            }
            Some((owner, claimed)) if *owner != message && now < claimed + OWNER_ALIVE_MS => Claim::Duplicate,
            Some(_) => Claim::Again,
        });
        let since = match claim.await {
            Ok(Claim::FanOut) => None,
            Ok(Claim::Again) => Some(process.now()),
            Ok(Claim::Duplicate) => {
                done.push(received);
                continue;
            }
            Err(_) => continue,
        };
        let ids = world.laws.borrow().events[event as usize].clone();
        if since.is_some() {
            ids.clone().for_each(|id| world.may_overlap(id));
        }
        messages.extend(ids.map(|id| (id, since, 0)));
        sent.push(received);
    }
    if process.send_all(&messages).await.is_ok() {
        done.append(&mut sent);
    }
    process.may_die().await;
    for message in done {
        let (mischief, dice) = (world.mischief(), &mut world.dice.borrow_mut());
        world.events.borrow_mut().delete(&message, world.now(), mischief, dice);
    }
    world.clock.retire(group);
}

/// The item that conflicts with an event, as `lib/io/src/tables/events.rs` judges it.
enum Claim {
    FanOut,
    Again,
    Duplicate,
}

const OWNER_ALIVE_MS: u64 = 900_000;

/// Runs `sweep` every minute, sometimes twice.
async fn schedule(world: Rc<World>) {
    loop {
        world.clock.sleep(60_000 - world.now() % 60_000).await;
        let runs = if world.now() < world.plan.quiet_from && world.chance(0.1) { 2 } else { 1 };
        for _ in 0..runs {
            let group = world.clock.group();
            limit(&world, group, SWEEP_TIMEOUT_MS);
            let (this, late) = (Rc::clone(&world), world.below(3_000));
            world.clock.spawn(group, async move {
                this.clock.sleep(late).await;
                let _ = sweep(&Process::new(&this)).await;
                this.clock.retire(group);
            });
        }
    }
}
