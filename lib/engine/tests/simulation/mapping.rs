//! An event source mapping: Lambda polls an SQS standard queue for a function, and invokes it with batches.
//!
//! AWS documents most of what this file does, and each rule names its page in parentheses:
//! - scaling: <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html>
//! - errors: <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html>
//! - configure: <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html>
//! - parameters: <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-parameters.html>
//! - concurrency: <https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html>
//! - environments: <https://docs.aws.amazon.com/lambda/latest/operatorguide/execution-environments.html>
//!
//! A constant or a rule that AWS does not document says "assumed".

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use fastrand::Rng;

use crate::clock::{Bell, Clock, Group, IMMORTAL};
use crate::queue::{Mischief, Queue, Received};

/// "Lambda starts processing five batches at a time" (scaling).
pub const FIRST_POLLERS: usize = 5;
/// "The maximum number of invokes that an event source mapping can process simultaneously is 1,250" (scaling).
pub const MOST_POLLERS: usize = 1_250;
/// "By up to 300 more concurrent invokes per minute" (scaling). Assumed: one by one, at even distances.
const GROWS_EVERY_MS: u64 = 60_000 / 300;
/// Lambda "can optimize to as few as 2 concurrent invokes" when traffic is low (scaling). Assumed: errors reduce it to as
/// few. The optimization is not modelled, because `MaximumConcurrency` turns it off.
const FEWEST_POLLERS: usize = 2;
/// How long an idle poller waits for a message before it ends, if more than five exist. Assumed: one empty long poll, which
/// SQS limits to 20 seconds.
const IDLE_POLLER_MS: u64 = 20_000;
/// "Lambda gradually backs off, reducing the amount of concurrency" (errors). Assumed: each failed or throttled batch
/// takes away its poller, and no poller comes for a minute after it.
const BACKS_OFF_FOR_MS: u64 = 60_000;
/// How soon a throttled batch is tried again. Assumed: within a second, then within twice as long each time, up to half a
/// minute, at random.
const THROTTLED_FOR_MS: [u64; 2] = [1_000, 30_000];
/// `BatchSize` without a batching window: 10 by default (parameters), and no `ReceiveMessage` returns more.
const BATCH: usize = 10;
/// Lambda keeps an idle environment "for a non-deterministic period of time" (environments). Assumed: ten minutes, as
/// measured in <https://mikhail.io/2019/08/aws-lambda-cold-starts-after-10-minutes/>.
const IDLE_ENVIRONMENT_MS: u64 = 600_000;
/// How long nothing is received after an empty answer, so that messages which become visible one by one come together.
const POLLS_EVERY_MS: u64 = 20;

/// The function that a mapping invokes, and the queue that it is invoked for.
pub trait Function: 'static {
    /// The state that an environment keeps from one invocation to the next.
    type Environment: 'static;

    fn source(&self) -> Source<'_>;

    /// Starts an environment: the init phase.
    fn environment(&self) -> Self::Environment;

    /// Handles a batch. It may also never return, or end its group.
    fn invoke(self: Rc<Self>, invocation: Invocation<Self::Environment>) -> impl Future<Output = Answer> + 'static;

    fn on_delete(&self, _deleted: &Received) {}

    fn on_timeout(&self) {}
}

/// The queue of a mapping, and the world around it.
pub struct Source<'a> {
    pub clock: &'a Rc<Clock>,
    pub queue: &'a RefCell<Queue>,
    /// Rings when a message is sent, or becomes visible earlier than it would.
    pub bell: &'a Bell,
    pub dice: &'a RefCell<Rng>,
    pub mischief: Mischief,
}

pub struct Invocation<E> {
    pub environment: Rc<E>,
    pub batch: Rc<[Received]>,
}

/// The answer of an invocation.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// A response with `batchItemFailures`: `message` of each that failed. The others are deleted. If one is not of the
    /// batch, the whole batch failed (errors).
    Failures(Vec<u64>),
    /// An error of the function: the whole batch comes back after its visibility timeout (errors).
    Error,
}

#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// `MaximumConcurrency`, 2 to 1,000. Lambda then reads no more batches than it can invoke (scaling).
    pub maximum_concurrency: Option<usize>,
    /// `Timeout` of the function. Begins after the init phase.
    pub timeout_ms: u64,
    /// How long the init phase of an environment takes.
    pub cold_start_ms: u64,
}

/// The concurrent executions of an account, or those that are reserved for a function.
///
/// "By default, Lambda provides your account with a total concurrency limit of 1,000 concurrent executions across all
/// functions in a Region" (concurrency). What exceeds it is throttled.
pub struct Account {
    free: Cell<usize>,
}

impl Account {
    pub fn new(concurrency: usize) -> Rc<Self> {
        Rc::new(Self { free: Cell::new(concurrency) })
    }

    /// Returns `None` if all are in use: Lambda throttles the invocation.
    pub fn enter(self: &Rc<Self>) -> Option<Execution> {
        self.free.set(self.free.get().checked_sub(1)?);
        Some(Execution(Rc::clone(self)))
    }
}

/// One concurrent execution of an account, until it is dropped.
pub struct Execution(Rc<Account>);

impl Drop for Execution {
    fn drop(&mut self) {
        self.0.free.set(self.0.free.get() + 1);
    }
}

pub struct Mapping<F: Function> {
    function: Rc<F>,
    account: Rc<Account>,
    settings: Settings,
    pollers: Cell<usize>,
    /// Since when each idle poller waits, the longest first.
    idle: RefCell<VecDeque<u64>>,
    /// Whether messages came since all pollers last waited without success.
    is_active: Cell<bool>,
    /// From when on a poller may be added.
    grows_at: Cell<u64>,
    /// Since when each environment is idle, the longest first.
    environments: RefCell<VecDeque<(u64, Rc<F::Environment>)>>,
    /// Batches that were throttled at least once.
    pub throttled: Cell<usize>,
    pub cold_starts: Cell<usize>,
}

impl<F: Function> Mapping<F> {
    /// Starts to poll, until the end of the world.
    pub fn start(function: Rc<F>, account: &Rc<Account>, settings: Settings) -> Rc<Self> {
        let most = settings.maximum_concurrency;
        assert!(most.is_none_or(|most| (2..=1_000).contains(&most)), "`MaximumConcurrency` is {most:?}; set 2 to 1000");
        // "Lambda validates this requirement" (configure).
        let visibility_ms = function.source().queue.borrow().visibility_ms();
        assert!(
            settings.timeout_ms <= visibility_ms,
            "the timeout exceeds the visibility timeout of {visibility_ms} ms"
        );
        let mapping = Rc::new(Self {
            function,
            account: Rc::clone(account),
            settings,
            pollers: Cell::new(0),
            idle: RefCell::default(),
            is_active: Cell::new(false),
            grows_at: Cell::new(0),
            environments: RefCell::default(),
            throttled: Cell::new(0),
            cold_starts: Cell::new(0),
        });
        mapping.clock().spawn(IMMORTAL, Rc::clone(&mapping).poll());
        mapping
    }

    pub fn pollers(&self) -> usize {
        self.pollers.get()
    }

    fn clock(&self) -> &Rc<Clock> {
        self.function.source().clock
    }

    fn now(&self) -> u64 {
        self.clock().now()
    }

    /// All pollers: one task stands for them, because only one of them can be the next to receive.
    async fn poll(self: Rc<Self>) {
        loop {
            let batch = self.next_batch().await;
            let poller = Poller { mapping: Rc::clone(&self), stays: Cell::new(false), is_throttled: Cell::new(false) };
            match self.account.enter() {
                Some(execution) => self.invoke(batch, poller, execution),
                None => self.clock().spawn(IMMORTAL, Rc::clone(&self).invoke_when_admitted(batch, poller)),
            }
            self.clock().sleep(1).await;
        }
    }

    /// Returns the next batch, as soon as there are messages and an idle poller. Takes that poller.
    async fn next_batch(&self) -> Rc<[Received]> {
        let source = self.function.source();
        loop {
            let now = self.now();
            self.scale(now);
            let is_idle = !self.idle.borrow().is_empty();
            if is_idle {
                let (mischief, dice) = (self.function.source().mischief, &mut source.dice.borrow_mut());
                let batch = source.queue.borrow_mut().receive(BATCH, now, mischief, dice);
                if !batch.is_empty() {
                    self.activate(now);
                    self.idle.borrow_mut().pop_back();
                    return batch.into();
                }
                self.is_active.set(self.is_active.get() && self.idle.borrow().len() < self.pollers.get());
            }
            let visible = source.queue.borrow_mut().next_visible(now);
            let next = if is_idle { visible.map(|at| at.max(now + POLLS_EVERY_MS)) } else { self.growth(visible) };
            source.bell.wait(source.clock, next).await;
        }
    }

    /// A queue that becomes active has five pollers for a moment, however much waits there.
    fn activate(&self, now: u64) {
        if !self.is_active.replace(true) {
            self.grows_at.set(self.grows_at.get().max(now + GROWS_EVERY_MS));
        }
    }

    /// Returns when the next poller comes, if all are busy and messages are visible at some moment.
    fn growth(&self, visible: Option<u64>) -> Option<u64> {
        let at = visible?.max(self.grows_at.get());
        (self.pollers.get() < self.most()).then_some(at)
    }

    /// Adds and ends pollers, as many as there should be by now.
    fn scale(&self, now: u64) {
        let (first, mut idle) = (self.most().min(FIRST_POLLERS), self.idle.borrow_mut());
        while self.pollers.get() > first && idle.front().is_some_and(|since| since + IDLE_POLLER_MS <= now) {
            idle.pop_front();
            self.pollers.set(self.pollers.get() - 1);
        }
        let may_grow = self.grows_at.get() <= now;
        while may_grow && self.pollers.get() < first {
            idle.push_back(now);
            self.pollers.set(self.pollers.get() + 1);
        }
        let is_wanted = idle.is_empty() && may_grow && self.pollers.get() < self.most();
        if is_wanted && self.function.source().queue.borrow_mut().next_visible(now) == Some(now) {
            idle.push_back(now);
            self.pollers.set(self.pollers.get() + 1);
            self.grows_at.set(now + GROWS_EVERY_MS);
        }
    }

    fn most(&self) -> usize {
        self.settings.maximum_concurrency.unwrap_or(MOST_POLLERS)
    }

    /// A throttled batch keeps its poller, and stays hidden. "Lambda continues to retry the message until the message's
    /// timestamp exceeds your queue's visibility timeout, at which point Lambda drops the message" (errors): it is then
    /// visible again, and was received once more.
    async fn invoke_when_admitted(self: Rc<Self>, batch: Rc<[Received]>, poller: Poller<F>) {
        self.throttled.set(self.throttled.get() + 1);
        poller.is_throttled.set(true);
        self.back_off();
        let until = self.now() + self.function.source().queue.borrow().visibility_ms();
        let [mut most, longest] = THROTTLED_FOR_MS;
        loop {
            let wait = self.function.source().dice.borrow_mut().u64(1..=most);
            if self.now() + wait >= until {
                return self.clock().sleep(until - self.now()).await;
            }
            self.clock().sleep(wait).await;
            if let Some(execution) = self.account.enter() {
                return self.invoke(batch, poller, execution);
            }
            most = longest.min(2 * most);
        }
    }

    fn invoke(self: &Rc<Self>, batch: Rc<[Received]>, poller: Poller<F>, execution: Execution) {
        let group = self.clock().group();
        self.clock().spawn(group, Rc::clone(self).execute(group, batch, poller, execution));
    }

    async fn execute(self: Rc<Self>, group: Group, batch: Rc<[Received]>, poller: Poller<F>, execution: Execution) {
        let environment = self.environment().await;
        self.limit(group);
        let invocation = Invocation { environment: Rc::clone(&environment), batch: Rc::clone(&batch) };
        let answer = Rc::clone(&self.function).invoke(invocation).await;
        drop(execution);
        let is_in_batch = |failure: &u64| batch.iter().any(|message| message.message == *failure);
        if let Answer::Failures(failures) = answer
            && failures.iter().all(is_in_batch)
        {
            poller.stays.set(!poller.is_throttled.get());
            batch.iter().filter(|message| !failures.contains(&message.message)).for_each(|done| self.delete(done));
        }
        // An environment survives an error that its function returns; one that is killed is not here any more.
        self.environments.borrow_mut().push_back((self.now(), environment));
        self.clock().retire(group);
    }

    fn delete(&self, message: &Received) {
        let Source { queue, dice, mischief, .. } = self.function.source();
        self.function.on_delete(message);
        queue.borrow_mut().delete(
            message.message,
            message.receipt.receives,
            self.now(),
            mischief,
            &mut dice.borrow_mut(),
        );
    }

    /// Returns the environment that became idle last, or a new one. Assumed: AWS documents that environments are used
    /// again, but not which.
    async fn environment(&self) -> Rc<F::Environment> {
        let now = self.now();
        let is_over = |idle: &VecDeque<(u64, _)>| idle.front().is_some_and(|(at, _)| at + IDLE_ENVIRONMENT_MS <= now);
        while is_over(&self.environments.borrow()) {
            let ended = self.environments.borrow_mut().pop_front();
            drop(ended);
        }
        let idle = self.environments.borrow_mut().pop_back();
        if let Some((_, environment)) = idle {
            return environment;
        }
        self.cold_starts.set(self.cold_starts.get() + 1);
        if self.settings.cold_start_ms > 0 {
            self.clock().sleep(self.settings.cold_start_ms).await;
        }
        Rc::new(self.function.environment())
    }

    /// Ends an invocation that goes on for longer than its function may, and its environment with it.
    fn limit(self: &Rc<Self>, group: Group) {
        let this = Rc::clone(self);
        self.clock().spawn(IMMORTAL, async move {
            this.clock().sleep(this.settings.timeout_ms).await;
            if this.clock().is_alive(group) {
                this.function.on_timeout();
                this.clock().kill(group);
            }
        });
    }

    fn back_off(&self) {
        self.grows_at.set(self.now() + BACKS_OFF_FOR_MS);
    }
}

/// A poller that has a batch, until the batch is done with.
struct Poller<F: Function> {
    mapping: Rc<Mapping<F>>,
    /// Whether the invocation ended without an error, and was not throttled.
    stays: Cell<bool>,
    is_throttled: Cell<bool>,
}

impl<F: Function> Drop for Poller<F> {
    fn drop(&mut self) {
        let mapping = &self.mapping;
        if !self.stays.get() {
            mapping.back_off();
        }
        if self.stays.get() || mapping.pollers.get() <= FEWEST_POLLERS {
            mapping.idle.borrow_mut().push_back(mapping.now());
        } else {
            mapping.pollers.set(mapping.pollers.get() - 1);
        }
        let source = mapping.function.source();
        source.bell.ring();
    }
}
