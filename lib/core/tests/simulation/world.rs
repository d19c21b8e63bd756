//! A world: queues, tables and receivers, what goes wrong in it, and the processes that work there.

use std::cell::RefCell;
use std::rc::Rc;

use fastrand::Rng;

use crate::clock::{Bell, Clock, START};
use crate::laws::Laws;
use crate::queue::{Mischief, Queue};
use crate::receivers::Receiver;
use crate::tables::{Endpoint, Tables};

/// `VisibilityTimeout` of `EventsQueue` and of `DeliveriesQueue` in the template.
const EVENTS_VISIBILITY_MS: u64 = 360_000;
const DELIVERIES_VISIBILITY_MS: u64 = 540_000;
/// How long a call to AWS takes at most: `CALL_TIMEOUT` of `lib/io/src/aws/mod.rs`.
const CALL_TIMEOUT_MS: u64 = 4_000;

pub struct World {
    pub clock: Rc<Clock>,
    pub dice: RefCell<Rng>,
    pub plan: Plan,
    pub tables: RefCell<Tables>,
    pub events: RefCell<Queue>,
    pub events_bell: Bell,
    pub deliveries: RefCell<Queue>,
    pub deliveries_bell: Rc<Bell>,
    pub receivers: RefCell<Vec<Receiver>>,
    pub laws: RefCell<Laws>,
}

/// The settings of a world.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub trouble: Trouble,
    pub mischief: Mischief,
    /// From when on nothing goes wrong any more.
    pub quiet_from: u64,
    /// `MaximumConcurrency` of the event source mapping.
    pub concurrency: usize,
    pub is_fair: bool,
    /// The longest time that most calls take.
    pub call_ms: u64,
    /// How far a process's clock may be off.
    pub skew_ms: u64,
}

/// How likely it is that something goes wrong with a call, or wherever else a process waits.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trouble {
    pub crash: f64,
    /// It fails, and nothing was done.
    pub refused: f64,
    /// It was done, and the answer gets lost.
    pub lost: f64,
    /// It takes as long as it may.
    pub slow: f64,
}

/// A call failed.
#[derive(Clone, Copy, Debug)]
pub struct Fault;

impl World {
    pub fn new(plan: Plan, endpoints: Vec<Endpoint>, receivers: Vec<Receiver>) -> Rc<Self> {
        Rc::new(Self {
            clock: Rc::new(Clock::new(plan.seed)),
            dice: RefCell::new(Rng::with_seed(plan.seed ^ 0x5eed)),
            tables: RefCell::new(Tables { endpoints: endpoints.into_iter().map(Some).collect(), ..Tables::default() }),
            events: RefCell::new(Queue::new(EVENTS_VISIBILITY_MS, false)),
            deliveries: RefCell::new(Queue::new(DELIVERIES_VISIBILITY_MS, plan.is_fair)),
            events_bell: Bell::default(),
            deliveries_bell: Rc::default(),
            receivers: RefCell::new(receivers),
            laws: RefCell::default(),
            plan,
        })
    }

    pub fn now(&self) -> u64 {
        self.clock.now()
    }

    /// Keeps the history of a delivery, so that a failed schedule can be examined.
    pub fn tell(&self, id: u32, what: impl FnOnce() -> String) {
        if let Some(story) = &mut self.laws.borrow_mut().story {
            story.push((id, format!("{:>12.3} s  task {:>6}  {}", self.seconds(), self.clock.this(), what())));
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "for the eye")]
    fn seconds(&self) -> f64 {
        (self.now() - START) as f64 / 1_000.0
    }

    pub fn chance(&self, likelihood: f64) -> bool {
        likelihood > 0.0 && self.dice.borrow_mut().f64() < likelihood
    }

    pub fn below(&self, end: u64) -> u64 {
        self.dice.borrow_mut().u64(..end.max(1))
    }

    pub fn mischief(&self) -> Mischief {
        if self.now() < self.plan.quiet_from { self.plan.mischief } else { Mischief::default() }
    }

    fn trouble(&self) -> Trouble {
        if self.now() < self.plan.quiet_from { self.plan.trouble } else { Trouble::default() }
    }

    pub fn endpoint_of(&self, id: u32) -> usize {
        self.laws.borrow().facts[id as usize].endpoint
    }
}

/// One process: an environment of a function, or an operator at work.
#[derive(Clone)]
pub struct Process {
    pub world: Rc<World>,
    skew_ms: u64,
    is_mortal: bool,
}

impl Process {
    pub fn new(world: &Rc<World>) -> Self {
        let skew_ms = world.below(2 * world.plan.skew_ms + 1);
        Self { world: Rc::clone(world), skew_ms, is_mortal: true }
    }

    pub fn immortal(world: &Rc<World>) -> Self {
        Self { is_mortal: false, ..Self::new(world) }
    }

    /// The moment by this process's own clock.
    pub fn now(&self) -> u64 {
        self.world.now() + self.skew_ms - self.world.plan.skew_ms
    }

    pub async fn may_die(&self) {
        if self.is_mortal && self.world.chance(self.world.trouble().crash) {
            self.world.laws.borrow_mut().figures.crashes += 1;
            self.world.clock.die().await;
        }
    }

    /// Makes a call that does something at once, some time after it was made and some time before its answer is here.
    pub async fn call<T>(&self, work: impl FnOnce(&World) -> T) -> Result<T, Fault> {
        let (world, trouble) = (&self.world, self.world.trouble());
        self.may_die().await;
        let most = if world.chance(trouble.slow) { CALL_TIMEOUT_MS } else { world.plan.call_ms };
        let (there, back) = (world.below(most), world.below(most));
        world.clock.sleep(there / 2).await;
        if world.chance(trouble.refused) {
            return Err(Fault);
        }
        let done = work(world);
        world.clock.sleep(back / 2).await;
        self.may_die().await;
        if world.chance(trouble.lost) { Err(Fault) } else { Ok(done) }
    }

    /// A call to the tables.
    pub async fn table<T>(&self, work: impl FnOnce(&mut Tables) -> T) -> Result<T, Fault> {
        self.call(|world| work(&mut world.tables.borrow_mut())).await
    }

    /// A call that is part of a delivery's story.
    pub async fn delivery<T>(&self, id: u32, what: &str, work: impl FnOnce(&mut Tables) -> T) -> Result<T, Fault> {
        self.call(|world| {
            let done = work(&mut world.tables.borrow_mut());
            world.tell(id, || format!("{what}: {:?}", world.tables.borrow().records.get(&id)));
            done
        })
        .await
    }

    /// Sends messages to `DeliveriesQueue`, ten in a call: which, since when, and by how many seconds later.
    pub async fn send_all(&self, messages: &[(u32, Option<u64>, u64)]) -> Result<(), Fault> {
        for ten in messages.chunks(10) {
            self.call(|world| {
                let mut queue = world.deliveries.borrow_mut();
                for &(id, since, delay) in ten {
                    queue.send(id, world.endpoint_of(id), since, delay, world.now());
                    world.tell(id, || format!("queued, since {since:?}, after {delay} s"));
                }
                world.deliveries_bell.ring(&world.clock);
            })
            .await?;
        }
        Ok(())
    }
}
