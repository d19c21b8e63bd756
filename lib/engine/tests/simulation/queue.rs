//! An SQS standard queue: at least once, in no order, hidden while in flight, and no more in flight than SQS allows.
//!
//! Each rule of a fair queue is from this page:
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-fair-queues-detailed.html>. What that page
//! does not say is marked "assumed".

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::rc::Rc;

use fastrand::Rng;
use signpost_core::delivery::{Receipt, Track};

use crate::clock::Numbers;

/// All that a standard queue has in flight at once. A long poll then returns nothing, and no error:
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-queues.html>.
pub const MAX_IN_FLIGHT: usize = 120_000;
/// `maxReceiveCount` of the template.
const MAX_RECEIVES: u32 = 1_000;
/// How far from the front a message may be that comes next.
const DISORDER: usize = 10;
/// A group is noisy if it has more than a tenth of the messages in flight, and at least 30 of them. It is noisy, too, if
/// consumers recently spent more than a tenth of their time on it.
const NOISY_SHARE: u64 = 10;
const NOISY_IN_FLIGHT: usize = 30;
/// A group that sends no message for so long is not noisy any more, even with a large backlog.
const QUIET_AFTER_MS: u64 = 300_000;
/// The time that counts as recent. Assumed: this minute and the one before it.
const SHARE_MS: u64 = 60_000;

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
    pub track: Track,
    /// Whether messages carry their `MessageGroupId` (fair queue).
    is_fair: bool,
    messages: HashMap<u64, Message, Numbers>,
    next: u64,
    /// How often a message became visible.
    shown: u64,
    groups: Vec<Group>,
    /// The groups that have visible messages.
    waiting: Vec<usize>,
    spent: Spent,
    /// Until when, which, and its receipt then.
    hidden: BinaryHeap<Reverse<(u64, u64, u32)>>,
    in_flight: usize,
    /// The most there ever were in flight.
    pub most_in_flight: usize,
    /// Messages that left by `maxReceiveCount`, without a reason.
    pub given_up: Vec<u32>,
}

#[derive(Default)]
struct Group {
    /// The visible messages, each after the number by which it became visible.
    visible: VecDeque<(u64, u64)>,
    in_flight: usize,
    last_sent: u64,
    spent: Spent,
}

/// Time that consumers spent, from each receive until the message was deleted or came back: in this minute, and in the one
/// before it. Assumed: a message that is hidden until its retry counts, because it is in flight.
#[derive(Clone, Copy, Default)]
struct Spent {
    minute: u64,
    ms: [u64; 2],
}

impl Spent {
    fn add(&mut self, ms: u64, now: u64) {
        self.advance(now);
        self.ms[0] += ms;
    }

    fn recently(&mut self, now: u64) -> u64 {
        self.advance(now);
        self.ms[0] + self.ms[1]
    }

    fn advance(&mut self, now: u64) {
        let minute = now / SHARE_MS;
        self.ms = match minute - self.minute {
            0 => self.ms,
            1 => [0, self.ms[0]],
            _ => [0, 0],
        };
        self.minute = minute;
    }
}

/// The content of a message.
#[derive(Clone, Debug, Default)]
pub struct Body {
    pub text: Rc<str>,
    /// The event or the delivery in it.
    pub id: u32,
    /// The attributes `since` and `reason`.
    pub since: Option<u64>,
    /// The attribute `receives`.
    pub receives: u32,
    pub reason: Option<Rc<str>>,
}

#[derive(Clone, Debug)]
struct Message {
    body: Body,
    group: usize,
    sent: u64,
    receives: u32,
    first_received: u64,
    last_received: u64,
    /// Which change of its visibility was the last.
    change: u32,
    is_in_flight: bool,
}

/// A message as it was received.
#[derive(Clone, Debug)]
pub struct Received {
    pub message: u64,
    pub body: Body,
    pub sent: u64,
    pub receipt: Receipt,
}

impl Queue {
    pub fn new(visibility_ms: u64, is_fair: bool) -> Self {
        Self {
            visibility_ms,
            track: Track::Fast,
            is_fair,
            messages: HashMap::default(),
            next: 0,
            shown: 0,
            groups: Vec::new(),
            waiting: Vec::new(),
            spent: Spent::default(),
            hidden: BinaryHeap::new(),
            in_flight: 0,
            most_in_flight: 0,
            given_up: Vec::new(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub fn contents(&self) -> impl Iterator<Item = &Body> {
        self.messages.values().map(|message| &message.body)
    }

    pub fn bodies(&self) -> impl Iterator<Item = u32> {
        self.messages.values().map(|message| message.body.id)
    }

    pub fn send(&mut self, body: Body, group: usize, delay_seconds: u64, now: u64) {
        assert!(delay_seconds <= 900, "SQS keeps nothing back for {delay_seconds} s");
        let group = if self.is_fair { group } else { 0 };
        let message = self.next;
        self.next += 1;
        let new = Message {
            body,
            group,
            sent: now,
            receives: 0,
            first_received: 0,
            last_received: 0,
            change: 0,
            is_in_flight: false,
        };
        self.messages.insert(message, new);
        if self.groups.len() <= group {
            self.groups.resize_with(group + 1, Group::default);
        }
        self.groups[group].last_sent = now;
        match delay_seconds {
            0 => self.show(message, group),
            seconds => self.hidden.push(Reverse((now + 1_000 * seconds, message, 0))),
        }
    }

    pub fn receive(&mut self, most: usize, now: u64, mischief: Mischief, dice: &mut Rng) -> Vec<Received> {
        self.advance(now);
        let mut received = Vec::new();
        while received.len() < most && self.in_flight < MAX_IN_FLIGHT && !self.waiting.is_empty() {
            let turn = self.turn(now, dice);
            let group = &mut self.groups[self.waiting[turn]];
            let (_, next) = group.visible.remove(dice.usize(..group.visible.len().min(DISORDER))).unwrap();
            if group.visible.is_empty() {
                self.waiting.swap_remove(turn);
            }
            let Some(message) = self.messages.get_mut(&next) else { continue };
            if message.receives >= MAX_RECEIVES {
                self.given_up.push(message.body.id);
                self.messages.remove(&next);
                continue;
            }
            message.receives += 1;
            message.change += 1;
            if message.receives == 1 {
                message.first_received = now;
            }
            message.last_received = now;
            if !std::mem::replace(&mut message.is_in_flight, true) {
                self.in_flight += 1;
                group.in_flight += 1;
            }
            let hidden_for = if dice.f64() < mischief.twice { dice.u64(..5_000) } else { self.visibility_ms };
            self.hidden.push(Reverse((now + hidden_for, next, message.change)));
            received.push(Received {
                message: next,
                body: message.body.clone(),
                sent: message.sent,
                receipt: Receipt {
                    receives: message.receives,
                    earlier_receives: message.body.receives,
                    first_received_unix_ms: message.first_received,
                    since_unix_ms: message.body.since.unwrap_or(message.sent),
                    is_again: message.body.since.is_some(),
                    track: self.track,
                },
            });
        }
        self.most_in_flight = self.most_in_flight.max(self.in_flight);
        received
    }

    /// Returns the index in `waiting` of the group that the next message is from: the group with the oldest message among
    /// those that are not noisy, or else the noisy group that has the fewest in flight.
    fn turn(&mut self, now: u64, dice: &mut Rng) -> usize {
        if self.waiting.len() == 1 {
            return 0;
        }
        let (in_flight, spent) = (self.in_flight as u64, self.spent.recently(now));
        let rank = |index: &usize| {
            let group = &mut self.groups[*index];
            let has_many = group.in_flight >= NOISY_IN_FLIGHT && NOISY_SHARE * group.in_flight as u64 > in_flight;
            let is_slow = NOISY_SHARE * group.spent.recently(now) > spent;
            let is_noisy = (has_many || is_slow) && now < group.last_sent + QUIET_AFTER_MS;
            let age = group.visible[0].0 + dice.u64(..DISORDER as u64);
            (is_noisy, if is_noisy { group.in_flight as u64 } else { age })
        };
        let ranks = self.waiting.iter().map(rank).enumerate();
        ranks.min_by_key(|(_, rank)| *rank).map(|(turn, _)| turn).unwrap()
    }

    /// `ChangeMessageVisibility`. Who received the message before somebody else did has no say any more.
    pub fn hide(&mut self, id: u64, receives: u32, seconds: u64, now: u64) {
        let Some(message) = self.messages.get_mut(&id) else { return };
        if message.receives == receives && message.is_in_flight {
            message.change += 1;
            self.hidden.push(Reverse((now + 1_000 * seconds.min(43_200), id, message.change)));
        }
    }

    /// `DeleteMessage`. By a receipt that is not the last, it may do nothing.
    pub fn delete(&mut self, id: u64, receives: u32, now: u64, mischief: Mischief, dice: &mut Rng) {
        let Some(message) = self.messages.get_mut(&id) else { return };
        if message.receives != receives && dice.bool() {
            return;
        }
        if dice.f64() < mischief.undead {
            message.change += 1;
            self.hidden.push(Reverse((now + dice.u64(..600_000), id, message.change)));
            return;
        }
        if message.is_in_flight {
            self.in_flight -= 1;
            let (group, ms) = (message.group, now - message.last_received);
            self.spend(group, ms, now);
        }
        self.messages.remove(&id);
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
            let group = message.group;
            if std::mem::take(&mut message.is_in_flight) {
                self.in_flight -= 1;
                let ms = at - message.last_received;
                self.spend(group, ms, now);
            }
            self.show(id, group);
        }
    }

    /// Notes that a message of a group is in flight no longer, and for how long it was.
    fn spend(&mut self, group: usize, ms: u64, now: u64) {
        self.groups[group].in_flight -= 1;
        self.groups[group].spent.add(ms, now);
        self.spent.add(ms, now);
    }

    fn show(&mut self, message: u64, group: usize) {
        if self.groups[group].visible.is_empty() {
            self.waiting.push(group);
        }
        self.shown += 1;
        self.groups[group].visible.push_back((self.shown, message));
    }
}
