//! Lambda: it invokes `deliver` and `fanout` by event source mappings, `sweep` by the minute.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::clock::{Group, IMMORTAL};
use crate::deliver::Environment;
use crate::mapping::{Account, Answer, Function, Invocation, Mapping, Settings, Source};
use crate::queue::Received;
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

/// `Concurrent executions` of an account, by default.
const ACCOUNT: usize = 1_000;
/// How long an environment of `deliver` or `fanout` takes to start: 13 ms in docs/performance.md, and what Lambda adds.
const COLD_START_MS: u64 = 100;

/// Has everything run until the end of the world.
pub fn run_functions(world: &Rc<World>) {
    let account = Account::new(ACCOUNT);
    let settings = |maximum_concurrency, timeout_ms| Settings {
        maximum_concurrency: Some(maximum_concurrency),
        timeout_ms,
        cold_start_ms: COLD_START_MS,
    };
    let deliver = Rc::new(Deliver(Rc::clone(world)));
    Mapping::start(deliver, &account, settings(world.plan.concurrency, DELIVER_TIMEOUT_MS));
    Mapping::start(Rc::new(Fanout(Rc::clone(world))), &account, settings(FANOUTS, FANOUT_TIMEOUT_MS));
    world.clock.spawn(IMMORTAL, schedule(Rc::clone(world)));
}

struct Deliver(Rc<World>);

impl Function for Deliver {
    type Environment = Environment;

    fn source(&self) -> Source<'_> {
        let World { clock, dice, deliveries: queue, deliveries_bell: bell, .. } = &*self.0;
        Source { clock, queue, bell, dice, mischief: self.0.mischief() }
    }

    fn environment(&self) -> Environment {
        Environment::new(Process::new(&self.0))
    }

    fn invoke(self: Rc<Self>, invocation: Invocation<Environment>) -> impl Future<Output = Answer> {
        deliver(Rc::clone(&self.0), invocation)
    }

    fn on_delete(&self, deleted: &Received) {
        self.0.tell(deleted.body, || "deleted".into());
    }

    fn on_timeout(&self) {
        self.0.laws.borrow_mut().figures.killed_late += 1;
    }
}

async fn deliver(world: Rc<World>, invocation: Invocation<Environment>) -> Answer {
    let Invocation { group, environment, batch } = invocation;
    let (deadline, this) = (world.now() + DRAIN_FOR_MS, world.clock.this());
    let (left, failures) = (Rc::new(Cell::new(batch.len())), Rc::new(RefCell::new(Vec::new())));
    for &message in batch.iter() {
        let (world, environment) = (Rc::clone(&world), Rc::clone(&environment));
        let (left, failures) = (Rc::clone(&left), Rc::clone(&failures));
        let clock = Rc::clone(&world.clock);
        clock.spawn(group, async move {
            world.tell(message.body, || format!("received, {:?}", message.receipt));
            if !environment.settle(message, deadline).await {
                failures.borrow_mut().push(message.message);
            }
            left.set(left.get() - 1);
            if left.get() == 0 {
                world.clock.wake(this);
            }
        });
    }
    while left.get() > 0 {
        world.clock.doze().await;
    }
    environment.process.may_die().await;
    Answer::Failures(failures.take())
}

struct Fanout(Rc<World>);

impl Function for Fanout {
    type Environment = Process;

    fn source(&self) -> Source<'_> {
        let World { clock, dice, events: queue, events_bell: bell, .. } = &*self.0;
        Source { clock, queue, bell, dice, mischief: self.0.mischief() }
    }

    fn environment(&self) -> Process {
        Process::new(&self.0)
    }

    fn invoke(self: Rc<Self>, invocation: Invocation<Process>) -> impl Future<Output = Answer> {
        fanout(Rc::clone(&self.0), invocation)
    }
}

/// Step by step as `functions/fanout/src/lib.rs`.
async fn fanout(world: Rc<World>, Invocation { environment: process, batch, .. }: Invocation<Process>) -> Answer {
    let (mut done, mut sent) = (Vec::new(), Vec::new());
    let mut messages = Vec::new();
    for &received in batch.iter() {
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
                done.push(received.message);
                continue;
            }
            Err(_) => continue,
        };
        let ids = world.laws.borrow().events[event as usize].clone();
        if since.is_some() {
            ids.clone().for_each(|id| world.may_overlap(id));
        }
        messages.extend(ids.map(|id| (id, since, 0)));
        sent.push(received.message);
    }
    if process.send_all(&messages).await.is_ok() {
        done.append(&mut sent);
    }
    process.may_die().await;
    let failures = batch.iter().map(|received| received.message).filter(|message| !done.contains(message));
    Answer::Failures(failures.collect())
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
            limit(&world, group);
            let (this, late) = (Rc::clone(&world), world.below(3_000));
            world.clock.spawn(group, async move {
                this.clock.sleep(late).await;
                let _ = sweep(&Process::new(&this)).await;
                this.clock.retire(group);
            });
        }
    }
}

/// Ends a `sweep` that goes on for longer than it may.
fn limit(world: &Rc<World>, group: Group) {
    let clock = Rc::clone(&world.clock);
    world.clock.spawn(IMMORTAL, async move {
        clock.sleep(SWEEP_TIMEOUT_MS).await;
        clock.kill(group);
    });
}
