//! A virtual clock, and the tasks that run by it: one at a time, in an order that the seed decides.
//!
//! A task is a future that waits for nothing but this clock and other tasks. The tasks of a *group* die together, wherever
//! each of them stands: what a process that is killed leaves undone.

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::future::poll_fn;
use std::hash::{BuildHasherDefault, Hasher};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use fastrand::Rng;

pub type Task = u64;
pub type Group = u64;
type Work = Pin<Box<dyn Future<Output = ()>>>;

/// The group of what is never killed.
pub const IMMORTAL: Group = 0;

/// When a simulation begins, in milliseconds since the Unix epoch.
pub const START: u64 = 1_800_000_000_000;

/// A moment at which a task is woken. The one with the smallest moment comes first, then the one with the smallest tie.
struct Alarm {
    at: u64,
    tie: u32,
    target: Target,
}

enum Target {
    Task(Task),
    /// Something within a task that has a waker of its own, such as one future of a stream.
    Part(Waker),
}

impl Ord for Alarm {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.tie).cmp(&(self.at, self.tie))
    }
}

impl PartialOrd for Alarm {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Alarm {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Alarm {}

/// Numbers are their own hashes: schedules are quick, and no schedule attacks a hash table.
pub type Numbers = BuildHasherDefault<NumberHasher>;

#[derive(Default)]
pub struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn write(&mut self, _: &[u8]) {
        unreachable!("only numbers are hashed");
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    /// Spreads the number over all bits (Fibonacci hashing), because tables look at the highest ones.
    fn write_u64(&mut self, number: u64) {
        self.0 = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Makes a task run soon.
struct Wakes {
    task: Task,
    ready: Arc<Mutex<VecDeque<Task>>>,
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.ready.lock().unwrap().push_back(self.task);
    }
}

pub struct Clock {
    now: Cell<u64>,
    serial: Cell<u64>,
    running: Cell<(Group, Task)>,
    /// Identifies the waker of the running task.
    own_waker: Cell<*const ()>,
    alarms: RefCell<BinaryHeap<Alarm>>,
    tasks: RefCell<HashMap<Task, (Group, Work, Waker), Numbers>>,
    /// The tasks that were woken, in order.
    ready: Arc<Mutex<VecDeque<Task>>>,
    groups: RefCell<HashMap<Group, Vec<Task>, Numbers>>,
    dice: RefCell<Rng>,
}

impl Clock {
    pub fn new(seed: u64) -> Self {
        Self {
            now: Cell::new(START),
            serial: Cell::new(0),
            running: Cell::new((IMMORTAL, 0)),
            own_waker: Cell::new(std::ptr::null()),
            alarms: RefCell::default(),
            ready: Arc::default(),
            tasks: RefCell::default(),
            groups: RefCell::default(),
            dice: RefCell::new(Rng::with_seed(seed)),
        }
    }

    /// The moment, in milliseconds since the Unix epoch.
    pub fn now(&self) -> u64 {
        self.now.get()
    }

    pub fn group(&self) -> Group {
        let group = self.next();
        self.groups.borrow_mut().insert(group, Vec::new());
        group
    }

    pub fn spawn(&self, group: Group, work: impl Future<Output = ()> + 'static) {
        let task = self.next();
        if group != IMMORTAL {
            match self.groups.borrow_mut().get_mut(&group) {
                Some(tasks) => tasks.push(task),
                None => return,
            }
        }
        let waker = Waker::from(Arc::new(Wakes { task, ready: Arc::clone(&self.ready) }));
        self.tasks.borrow_mut().insert(task, (group, Box::pin(work), waker));
        self.push(self.now(), Target::Task(task));
    }

    pub fn is_alive(&self, group: Group) -> bool {
        self.groups.borrow().contains_key(&group)
    }

    /// Lets a group end that has come to its end.
    pub fn retire(&self, group: Group) {
        self.groups.borrow_mut().remove(&group);
    }

    /// Ends a group and all of its tasks.
    pub fn kill(&self, group: Group) {
        let tasks = self.groups.borrow_mut().remove(&group).unwrap_or_default();
        let dead: Vec<_> = tasks.iter().filter_map(|task| self.tasks.borrow_mut().remove(task)).collect();
        drop(dead); // With nothing borrowed: guards are dropped with them.
    }

    /// Ends the group of the task that says so.
    pub async fn die(&self) {
        let (group, _) = self.running.get();
        assert_ne!(group, IMMORTAL, "who is immortal cannot die");
        self.kill(group);
        std::future::pending::<()>().await;
    }

    pub async fn sleep(&self, ms: u64) {
        let until = self.now() + ms;
        let mut is_set = false;
        poll_fn(|context| {
            if self.now() >= until {
                return Poll::Ready(());
            }
            if !std::mem::replace(&mut is_set, true) {
                self.alarm(until, context.waker());
            }
            Poll::Pending
        })
        .await;
    }

    /// The task that is running.
    pub fn this(&self) -> Task {
        self.running.get().1
    }

    /// Runs until `is_over`, or until a moment has come. Returns whether it was over.
    pub fn run(&self, until: u64, mut is_over: impl FnMut() -> bool) -> bool {
        while !is_over() {
            let ready = self.ready.lock().unwrap().pop_front();
            if let Some(task) = ready {
                self.poll(task);
                continue;
            }
            if self.alarms.borrow().peek().is_none_or(|next| next.at > until) {
                self.now.set(until);
                return false;
            }
            let alarm = self.alarms.borrow_mut().pop();
            let Some(Alarm { at, target, .. }) = alarm else { continue };
            self.now.set(self.now().max(at));
            match target {
                Target::Task(task) => self.poll(task),
                Target::Part(waker) => waker.wake(),
            }
        }
        true
    }

    fn poll(&self, task: Task) {
        let Some((group, mut work, waker)) = self.tasks.borrow_mut().remove(&task) else { return };
        self.running.set((group, task));
        self.own_waker.set(waker.data());
        let is_done = work.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        let is_dead = group != IMMORTAL && !self.is_alive(group);
        if !is_done && !is_dead {
            self.tasks.borrow_mut().insert(task, (group, work, waker));
        } else if let Some(tasks) = self.groups.borrow_mut().get_mut(&group) {
            tasks.retain(|other| *other != task);
        }
    }

    fn next(&self) -> u64 {
        self.serial.set(self.serial.get() + 1);
        self.serial.get()
    }

    pub fn alarm(&self, at: u64, waker: &Waker) {
        let is_own = waker.data() == self.own_waker.get();
        self.push(at, if is_own { Target::Task(self.this()) } else { Target::Part(waker.clone()) });
    }

    fn push(&self, at: u64, target: Target) {
        let tie = self.dice.borrow_mut().u32(..);
        self.alarms.borrow_mut().push(Alarm { at, tie, target });
    }
}

/// Wakes the one that waits for something to come.
#[derive(Default)]
pub struct Bell {
    waiting: Cell<Option<Waker>>,
    /// The next moment at which it wakes up by itself.
    alarm: Cell<u64>,
}

impl Bell {
    pub fn ring(&self) {
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }

    /// Waits for a ring, or until a moment. May end before.
    pub async fn wait(&self, clock: &Clock, until: Option<u64>) {
        let mut is_asleep = false;
        poll_fn(|context| {
            if std::mem::replace(&mut is_asleep, true) {
                return Poll::Ready(());
            }
            self.waiting.set(Some(context.waker().clone()));
            let is_set = (clock.now() + 1..=until.unwrap_or(u64::MAX)).contains(&self.alarm.get());
            if let Some(until) = until.filter(|_| !is_set) {
                self.alarm.set(until);
                clock.alarm(until, context.waker());
            }
            Poll::Pending
        })
        .await;
        self.waiting.take();
    }
}
