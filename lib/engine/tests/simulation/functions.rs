//! Lambda: it invokes `deliver` and `fanout` by event source mappings, `sweep` by the minute.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use signpost_engine::deliver::{Deliver, DeliverPorts, QueuedDelivery};
use signpost_engine::fanout::{Fanout, FanoutPorts, QueuedEvent};
use signpost_engine::sweep::{Sweep, SweepPorts};

use crate::clock::{Group, IMMORTAL};
use crate::mapping::{Account, Answer, Function, Invocation, Mapping, Settings, Source};
use crate::ports::{QueueOf, Sim, Which};
use crate::queue::Received;
use crate::world::{Pipe, Process, Role, World};

/// Timeouts of the functions in the template.
const DELIVER_TIMEOUT_MS: u64 = 90_000;
const FANOUT_TIMEOUT_MS: u64 = 30_000;
pub const SWEEP_TIMEOUT_MS: u64 = 50_000;
/// How often `fanout` runs at once here, for each of its queues.
const FANOUTS: usize = 4;
/// How long events are kept: longer than any schedule lasts.
pub const RETENTION: Duration = Duration::from_hours(30 * 24);

/// `Concurrent executions` of an account, by default.
const ACCOUNT: usize = 1_000;
/// How long an environment of `deliver` or `fanout` takes to start: 13 ms in docs/performance.md, and what Lambda adds.
const COLD_START_MS: u64 = 100;

/// Has everything run until the end of the world.
pub fn run_functions(world: &Rc<World>) {
    run_functions_in(world, &Account::new(ACCOUNT));
}

/// Has everything run in an account, which other functions may use up.
pub fn run_functions_in(world: &Rc<World>, account: &Rc<Account>) {
    let settings = |maximum_concurrency, timeout_ms| Settings {
        maximum_concurrency: Some(maximum_concurrency),
        timeout_ms,
        cold_start_ms: COLD_START_MS,
    };
    let tracks = [(Which::Deliveries, world.plan.concurrency), (Which::SlowDeliveries, world.plan.slow_concurrency)];
    for (which, concurrency) in tracks {
        let deliver = Rc::new(DeliverFunction { world: Rc::clone(world), which });
        Mapping::start(deliver, account, settings(concurrency, DELIVER_TIMEOUT_MS));
    }
    for which in [Which::Events, Which::OwnEvents] {
        let fanout = Rc::new(FanoutFunction { world: Rc::clone(world), which });
        Mapping::start(fanout, account, settings(FANOUTS, FANOUT_TIMEOUT_MS));
    }
    world.clock.spawn(IMMORTAL, schedule(Rc::clone(world)));
}

fn source<'a>(world: &'a World, pipe: &'a Pipe) -> Source<'a> {
    let World { clock, dice, .. } = world;
    Source { clock, queue: &pipe.queue, bell: &pipe.bell, dice, mischief: world.mischief() }
}

/// Names the messages that come again. Their ids are their numbers in the queue.
fn failures(again: &[&str]) -> Answer {
    Answer::Failures(again.iter().map(|id| id.parse().unwrap()).collect())
}

/// As Lambda invokes `deliver` for one of its queues. In truth, both share the environments.
struct DeliverFunction {
    world: Rc<World>,
    which: Which,
}

/// An environment of a function: the engine, and its process.
struct Environment<E> {
    process: Process,
    engine: E,
}

impl Function for DeliverFunction {
    type Environment = Environment<Deliver<Sim>>;

    fn source(&self) -> Source<'_> {
        source(&self.world, self.which.pipe(&self.world))
    }

    fn environment(&self) -> Self::Environment {
        let process = Process::new(&self.world, Role::Deliver);
        Environment { engine: deliver_of(process.clone()), process }
    }

    async fn invoke(self: Rc<Self>, invocation: Invocation<Self::Environment>) -> Answer {
        let Invocation { environment, batch } = invocation;
        let names = batch.iter().map(|message| (message.message.to_string(), QueueOf::receipt(message)));
        let names: Vec<_> = names.collect();
        let messages = batch.iter().zip(&names).map(|(message, (message_id, receipt_handle))| {
            let Received { body, receipt, .. } = message;
            self.world.tell(body.id, || format!("received, {receipt:?}"));
            QueuedDelivery { message_id, body: &body.text, receipt_handle, receipt: *receipt }
        });
        let messages: Vec<_> = messages.collect();
        let answer = failures(&environment.engine.handle(&messages).await);
        self.world.take_measured();
        environment.process.may_die().await;
        answer
    }

    fn on_delete(&self, deleted: &Received) {
        self.world.tell(deleted.body.id, || "deleted".into());
    }

    fn on_timeout(&self) {
        self.world.laws.borrow_mut().figures.killed_late += 1;
    }
}

/// Creates an environment of `deliver`.
pub fn deliver_of(process: Process) -> Deliver<Sim> {
    let queue = |which| QueueOf { process: process.clone(), which };
    Deliver::new(DeliverPorts {
        dead_letter_queue: queue(Which::DeadLetters),
        deliveries_queue: queue(Which::Deliveries),
        meter: process.world.meter.clone(),
        own_events_queue: queue(Which::OwnEvents),
        clock: process.clone(),
        random: process.clone(),
        breakers: process.clone(),
        deliveries: process.clone(),
        endpoints: process.clone(),
        events: process.clone(),
        limits: process.clone(),
        parking: process.clone(),
        secrets: process.clone(),
        sender: "signpost".into(),
        signers: process.clone(),
        slow_deliveries_queue: queue(Which::SlowDeliveries),
        slow_invocations_per_tenant: process.world.plan.slow_per_tenant.try_into().unwrap(),
        webhooks: process,
    })
}

struct FanoutFunction {
    world: Rc<World>,
    which: Which,
}

impl Function for FanoutFunction {
    type Environment = Environment<Fanout<Sim>>;

    fn source(&self) -> Source<'_> {
        source(&self.world, self.which.pipe(&self.world))
    }

    fn environment(&self) -> Self::Environment {
        let process = Process::new(&self.world, Role::Fanout);
        Environment { engine: fanout_of(process.clone()), process }
    }

    async fn invoke(self: Rc<Self>, invocation: Invocation<Self::Environment>) -> Answer {
        let Invocation { environment, batch } = invocation;
        let names = batch.iter().map(|message| (message.message.to_string(), QueueOf::receipt(message)));
        let names: Vec<_> = names.collect();
        let is_own = self.which == Which::OwnEvents;
        let messages = batch.iter().zip(&names).map(|(received, (message_id, receipt_handle))| QueuedEvent {
            message_id,
            receipt_handle,
            receives: received.receipt.receives,
            body: &received.body.text,
            arrived_unix_ms: received.sent,
            is_own,
        });
        let messages: Vec<_> = messages.collect();
        let answer = failures(&environment.engine.handle(&messages).await);
        self.world.take_measured();
        environment.process.may_die().await;
        answer
    }
}

/// Creates an environment of `fanout`.
pub fn fanout_of(process: Process) -> Fanout<Sim> {
    let queue = |which| QueueOf { process: process.clone(), which };
    Fanout::new(FanoutPorts {
        deliveries_queue: queue(Which::Deliveries),
        events_queue: queue(Which::Events),
        meter: process.world.meter.clone(),
        notices_queues: vec![queue(Which::Notices)],
        own_events_queue: queue(Which::OwnEvents),
        rejected_queue: queue(Which::Rejected),
        retention: RETENTION,
        clock: process.clone(),
        events: process.clone(),
        random: process.clone(),
        states: process.clone(),
        subscriptions: process,
    })
}

/// Creates an environment of `sweep`.
pub fn sweep_of(process: Process) -> Sweep<Sim> {
    let queue = |which| QueueOf { process: process.clone(), which };
    Sweep::new(SweepPorts {
        dead_letter_queue: queue(Which::DeadLetters),
        deliveries_queue: queue(Which::Deliveries),
        events_queue: queue(Which::Events),
        meter: process.world.meter.clone(),
        rejected_queue: queue(Which::Rejected),
        retention: RETENTION,
        clock: process.clone(),
        random: process.clone(),
        breakers: process.clone(),
        deliveries: process.clone(),
        delivery_lists: process.clone(),
        endpoints: process.clone(),
        erasures: process.clone(),
        events: process.clone(),
        limits: process.clone(),
        replays: process.clone(),
        slow_invocations_per_tenant: process.world.plan.slow_per_tenant.try_into().unwrap(),
        subscriptions: process.clone(),
        parking: process,
    })
}

/// Runs `sweep` every minute, sometimes twice.
async fn schedule(world: Rc<World>) {
    let idle = Rc::new(RefCell::new(Vec::new()));
    loop {
        world.clock.sleep(60_000 - world.now() % 60_000).await;
        let runs = if world.now() < world.plan.quiet_from && world.chance(0.1) { 2 } else { 1 };
        for _ in 0..runs {
            let group = world.clock.group();
            limit(&world, group);
            let (this, late, idle) = (Rc::clone(&world), world.below(3_000), Rc::clone(&idle));
            world.clock.spawn(group, async move {
                this.clock.sleep(late).await;
                let warm = idle.borrow_mut().pop();
                let environment = warm.unwrap_or_else(|| {
                    let process = Process::new(&this, Role::Sweep);
                    Environment { engine: sweep_of(process.clone()), process }
                });
                let _ = environment.engine.sweep_at(environment.process.now()).await;
                idle.borrow_mut().push(environment);
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
