//! A virtual clock, and the tasks that run by it: one at a time, in an order that the seed decides.
//!
//! A task is a future that waits for nothing but this clock and other tasks. The tasks of a *group* die together, wherever
//! each of them stands: what a process that is killed leaves undone.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use fastrand::Rng;

pub type Task = u64;
pub type Group = u64;
type Work = Pin<Box<dyn Future<Output = ()>>>;

/// The group of what is never killed.
pub const IMMORTAL: Group = 0;

/// When a simulation begins, in milliseconds since the Unix epoch.
pub const START: u64 = 1_800_000_000_000;

pub struct Clock {
    now: Cell<u64>,
    serial: Cell<u64>,
    running: Cell<(Group, Task)>,
    /// Moment, tie-breaker, task.
    wakes: RefCell<BinaryHeap<Reverse<(u64, u32, Task)>>>,
    tasks: RefCell<HashMap<Task, (Group, Work)>>,
    groups: RefCell<HashMap<Group, Vec<Task>>>,
    dice: RefCell<Rng>,
}

impl Clock {
    pub fn new(seed: u64) -> Self {
        Self {
            now: Cell::new(START),
            serial: Cell::new(0),
            running: Cell::new((IMMORTAL, 0)),
            wakes: RefCell::default(),
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
        self.tasks.borrow_mut().insert(task, (group, Box::pin(work)));
        self.wake_at(task, self.now());
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
        self.wake_at(self.this(), until);
        poll_fn(|_| if self.now() >= until { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// Waits until somebody wakes this task.
    pub async fn doze(&self) {
        let mut is_asleep = false;
        poll_fn(|_| if std::mem::replace(&mut is_asleep, true) { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// The task that is running.
    pub fn this(&self) -> Task {
        self.running.get().1
    }

    pub fn wake(&self, task: Task) {
        self.wake_at(task, self.now());
    }

    /// Runs until `is_over`, or until a moment has come. Returns whether it was over.
    pub fn run(&self, until: u64, mut is_over: impl FnMut() -> bool) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        while !is_over() {
            let next = self.wakes.borrow().peek().map(|Reverse(next)| *next);
            let Some((at, _, task)) = next.filter(|(at, ..)| *at <= until) else {
                self.now.set(until);
                return false;
            };
            self.wakes.borrow_mut().pop();
            self.now.set(self.now().max(at));
            let Some((group, mut work)) = self.tasks.borrow_mut().remove(&task) else { continue };
            self.running.set((group, task));
            let is_done = work.as_mut().poll(&mut context).is_ready();
            let is_dead = group != IMMORTAL && !self.is_alive(group);
            if !is_done && !is_dead {
                self.tasks.borrow_mut().insert(task, (group, work));
            } else if let Some(tasks) = self.groups.borrow_mut().get_mut(&group) {
                tasks.retain(|other| *other != task);
            }
        }
        true
    }

    fn next(&self) -> u64 {
        self.serial.set(self.serial.get() + 1);
        self.serial.get()
    }

    fn wake_at(&self, task: Task, at: u64) {
        let tie = self.dice.borrow_mut().u32(..);
        self.wakes.borrow_mut().push(Reverse((at, tie, task)));
    }
}

/// A lock that tasks of one process wait for in line.
#[derive(Default)]
pub struct Lock {
    is_held: Cell<bool>,
    tickets: Cell<u64>,
    /// Who waits: by ticket, because a task may wait for something else at the same time, or give up.
    waiting: RefCell<VecDeque<(u64, Task)>>,
}

pub struct Held {
    lock: Rc<Lock>,
    clock: Rc<Clock>,
}

pub async fn lock(lock: &Rc<Lock>, clock: &Rc<Clock>) -> Held {
    if !lock.is_held.replace(true) {
        return Held { lock: Rc::clone(lock), clock: Rc::clone(clock) };
    }
    let ticket = lock.tickets.get();
    lock.tickets.set(ticket + 1);
    lock.waiting.borrow_mut().push_back((ticket, clock.this()));
    let mut place = Place { lock: Rc::clone(lock), clock: Rc::clone(clock), ticket, is_taken: false };
    poll_fn(|_| if place.is_in_line() { Poll::Pending } else { Poll::Ready(()) }).await;
    place.is_taken = true;
    Held { lock: Rc::clone(lock), clock: Rc::clone(clock) }
}

/// A place in the line of a lock. Who is first gets the lock as it leaves the line.
struct Place {
    lock: Rc<Lock>,
    clock: Rc<Clock>,
    ticket: u64,
    /// Whether its turn came, and it knows.
    is_taken: bool,
}

impl Place {
    fn is_in_line(&self) -> bool {
        self.lock.waiting.borrow().iter().any(|(ticket, _)| *ticket == self.ticket)
    }
}

impl Drop for Place {
    /// Gives up. If it got the lock and does not know, the next one gets it.
    fn drop(&mut self) {
        if self.is_in_line() {
            self.lock.waiting.borrow_mut().retain(|(ticket, _)| *ticket != self.ticket);
        } else if !self.is_taken {
            self.lock.release(&self.clock);
        }
    }
}

impl Lock {
    fn release(&self, clock: &Clock) {
        match self.waiting.borrow_mut().pop_front() {
            Some((_, next)) => clock.wake(next),
            None => self.is_held.set(false),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.lock.release(&self.clock);
    }
}

/// Wakes the one that waits for something to come.
#[derive(Default)]
pub struct Bell {
    waiting: Cell<Option<Task>>,
    /// The next moment at which it wakes up by itself.
    alarm: Cell<u64>,
}

impl Bell {
    pub fn ring(&self, clock: &Clock) {
        if let Some(task) = self.waiting.take() {
            clock.wake(task);
        }
    }

    /// Waits for a ring, or until a moment. May end before.
    pub async fn wait(&self, clock: &Clock, until: Option<u64>) {
        self.waiting.set(Some(clock.this()));
        let is_set = (clock.now() + 1..=until.unwrap_or(u64::MAX)).contains(&self.alarm.get());
        if let Some(until) = until.filter(|_| !is_set) {
            self.alarm.set(until);
            clock.wake_at(clock.this(), until);
        }
        clock.doze().await;
        self.waiting.take();
    }
}
