//! An SQS standard queue: at least once, in no order, hidden while in flight, and no more in flight than SQS allows.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use fastrand::Rng;
use signpost_core::delivery::Receipt;

/// All that a standard queue has in flight at once.
pub const MAX_IN_FLIGHT: usize = 120_000;
/// `maxReceiveCount` of the template.
const MAX_RECEIVES: u32 = 1_000;
/// How far from the front a message may be that comes next.
const DISORDER: usize = 10;

/// How a queue misbehaves, as it may.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mischief {
    /// How likely a message that was received can be received again at once.
    pub twice: f64,
    /// How likely a message that was deleted comes again.
    pub undead: f64,
}

pub struct Queue {
    visibility_ms: u64,
    /// Whether each group gets its turn (fair queue).
    is_fair: bool,
    messages: HashMap<u64, Message>,
    next: u64,
    visible: Vec<VecDeque<u64>>,
    /// The groups that have visible messages.
    waiting: Vec<usize>,
    /// Until when, which, and its receipt then.
    hidden: BinaryHeap<Reverse<(u64, u64, u32)>>,
    in_flight: usize,
    /// The most there ever were in flight.
    pub most_in_flight: usize,
    /// Messages that left by `maxReceiveCount`, without a reason.
    pub given_up: Vec<u32>,
}

#[derive(Clone, Debug)]
struct Message {
    body: u32,
    group: usize,
    since: Option<u64>,
    sent: u64,
    receives: u32,
    first_received: u64,
    /// Which change of its visibility was the last.
    change: u32,
    is_in_flight: bool,
}

/// A message as it was received.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    pub message: u64,
    pub body: u32,
    pub receipt: Receipt,
    receives: u32,
}

impl Queue {
    pub fn new(visibility_ms: u64, is_fair: bool) -> Self {
        Self {
            visibility_ms,
            is_fair,
            messages: HashMap::new(),
            next: 0,
            visible: Vec::new(),
            waiting: Vec::new(),
            hidden: BinaryHeap::new(),
            in_flight: 0,
            most_in_flight: 0,
            given_up: Vec::new(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub fn bodies(&self) -> impl Iterator<Item = u32> {
        self.messages.values().map(|message| message.body)
    }

    pub fn send(&mut self, body: u32, group: usize, since: Option<u64>, delay_seconds: u64, now: u64) {
        assert!(delay_seconds <= 900, "SQS keeps nothing back for {delay_seconds} s");
        let group = if self.is_fair { group } else { 0 };
        let message = self.next;
        self.next += 1;
        let (receives, first_received, change) = (0, 0, 0);
        let new = Message { body, group, since, sent: now, receives, first_received, change, is_in_flight: false };
        self.messages.insert(message, new);
        match delay_seconds {
            0 => self.show(message, group),
            seconds => self.hidden.push(Reverse((now + 1_000 * seconds, message, 0))),
        }
    }

    pub fn receive(&mut self, most: usize, now: u64, mischief: Mischief, dice: &mut Rng) -> Vec<Received> {
        self.advance(now);
        let mut received = Vec::new();
        while received.len() < most && self.in_flight < MAX_IN_FLIGHT && !self.waiting.is_empty() {
            let turn = dice.usize(..self.waiting.len());
            let group = &mut self.visible[self.waiting[turn]];
            let next = group.remove(dice.usize(..group.len().min(DISORDER))).unwrap();
            if group.is_empty() {
                self.waiting.swap_remove(turn);
            }
            let Some(message) = self.messages.get_mut(&next) else { continue };
            if message.receives >= MAX_RECEIVES {
                self.given_up.push(message.body);
                self.messages.remove(&next);
                continue;
            }
            message.receives += 1;
            message.change += 1;
            if message.receives == 1 {
                message.first_received = now;
            }
            if !std::mem::replace(&mut message.is_in_flight, true) {
                self.in_flight += 1;
            }
            let hidden_for = if dice.f64() < mischief.twice { dice.u64(..5_000) } else { self.visibility_ms };
            self.hidden.push(Reverse((now + hidden_for, next, message.change)));
            received.push(Received {
                message: next,
                body: message.body,
                receives: message.receives,
                receipt: Receipt {
                    receives: message.receives,
                    first_received_unix_ms: message.first_received,
                    since_unix_ms: message.since.unwrap_or(message.sent),
                    is_again: message.since.is_some(),
                },
            });
        }
        self.most_in_flight = self.most_in_flight.max(self.in_flight);
        received
    }

    /// `ChangeMessageVisibility`. Who received the message before somebody else did has no say any more.
    pub fn hide(&mut self, received: &Received, seconds: u64, now: u64) {
        let Some(message) = self.messages.get_mut(&received.message) else { return };
        if message.receives == received.receives && message.is_in_flight {
            message.change += 1;
            self.hidden.push(Reverse((now + 1_000 * seconds.min(43_200), received.message, message.change)));
        }
    }

    /// `DeleteMessage`. By a receipt that is not the last, it may do nothing.
    pub fn delete(&mut self, received: &Received, now: u64, mischief: Mischief, dice: &mut Rng) {
        let Some(message) = self.messages.get_mut(&received.message) else { return };
        if message.receives != received.receives && dice.bool() {
            return;
        }
        if dice.f64() < mischief.undead {
            message.change += 1;
            self.hidden.push(Reverse((now + dice.u64(..600_000), received.message, message.change)));
            return;
        }
        if message.is_in_flight {
            self.in_flight -= 1;
        }
        self.messages.remove(&received.message);
    }

    pub fn visibility_ms(&self) -> u64 {
        self.visibility_ms
    }

    /// Whether something can be received now, and otherwise when that may be.
    pub fn next_visible(&mut self, now: u64) -> Option<u64> {
        self.advance(now);
        let is_full = self.in_flight >= MAX_IN_FLIGHT;
        if is_full || self.waiting.is_empty() { self.hidden.peek().map(|Reverse((at, ..))| *at) } else { Some(now) }
    }

    fn advance(&mut self, now: u64) {
        while let Some(&Reverse((at, id, change))) = self.hidden.peek() {
            if at > now {
                break;
            }
            self.hidden.pop();
            let Some(message) = self.messages.get_mut(&id).filter(|message| message.change == change) else { continue };
            message.change += 1;
            if std::mem::take(&mut message.is_in_flight) {
                self.in_flight -= 1;
            }
            let group = message.group;
            self.show(id, group);
        }
    }

    fn show(&mut self, message: u64, group: usize) {
        if self.visible.len() <= group {
            self.visible.resize_with(group + 1, VecDeque::new);
        }
        if self.visible[group].is_empty() {
            self.waiting.push(group);
        }
        self.visible[group].push_back(message);
    }
}
