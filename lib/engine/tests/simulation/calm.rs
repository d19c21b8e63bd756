//! A calm world, in which nothing goes wrong except for the one call that a test chooses: for tests of a single invocation.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use signpost_core::delivery::attempt::judge_status;
use signpost_core::delivery::breaker::{Breaker, Outcomes};
use signpost_core::delivery::pace::QUICK_AFTER;
use signpost_core::delivery::parking::Lane;
use signpost_core::delivery::{DeliveryKey, DeliveryRecord, DeliveryStatus, Progress, Receipt, Track};
use signpost_core::event::TenantId;
use signpost_core::status::state::Moment;
use signpost_engine::deliver::{Deliver, QueuedDelivery};
use signpost_engine::ports::events::{Arrival, FirstFanOut};
use signpost_engine::ports::parking::Parking as _;
use signpost_engine::ports::queue::Message;

use crate::clock::{IMMORTAL, START};
use crate::functions::deliver_of;
use crate::ports::{Sim, Which};
use crate::queue::Mischief;
use crate::receivers::{Mood, Receiver};
use crate::tables::Place;
use crate::world::{Call, Plan, Process, Role, Trouble, World, endpoint, endpoint_id};

pub const SECOND: u64 = 1_000;
pub const MINUTE: u64 = 60 * SECOND;

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing is done.
    Refused,
    /// It is done, and the answer gets lost.
    Lost,
    /// The process is killed before anything is done.
    KilledBefore,
    /// The process is killed after it is done.
    KilledAfter,
}

/// The calls that fail.
#[derive(Clone, Copy, Debug)]
pub enum Broken {
    /// Only this one, counted from 0.
    Nth(usize),
    /// All of this port's method.
    Each(Call),
    /// All.
    All,
}

/// The names and values of a request's headers.
pub type Headers = Vec<(Cow<'static, str>, String)>;

/// The calls that a test observes in a world, and those that it makes fail.
#[derive(Default)]
pub struct Watch {
    pub calls: Vec<Call>,
    pub broken: Option<(Broken, Failure)>,
    pub broken_tenant: Option<TenantId>,
    /// A text. Calls with a message that contains it fail.
    pub refused: Option<&'static str>,
    /// The calls that take this many milliseconds.
    pub slow: Option<(Broken, u64)>,
    /// The messages that were sent to each queue, in order.
    pub sent: Vec<(Which, Message)>,
    /// The bodies that are no deliveries and no events of this world. They stay out of its queues.
    pub foreign: HashSet<String>,
    /// The receipts of messages that come again, and after how many seconds.
    pub waits: Vec<(String, u64)>,
    /// The requests that were sent: to which endpoint, and with which headers.
    pub requests: Vec<(usize, Headers)>,
}

impl Watch {
    /// Notes a call. Returns how it fails, if it does, and how many milliseconds it takes besides the usual ones.
    pub fn begin(&mut self, call: Call) -> (Option<Failure>, u64) {
        let is_meant = |broken: &Broken| match *broken {
            Broken::Nth(nth) => nth == self.calls.len(),
            Broken::Each(each) => each == call,
            Broken::All => true,
        };
        let failure = self.broken.filter(|(broken, _)| is_meant(broken)).map(|(_, failure)| failure);
        let ms = self.slow.filter(|(slow, _)| is_meant(slow)).map_or(0, |(_, ms)| ms);
        self.calls.push(call);
        (failure, ms)
    }
}

/// A calm world, and one environment of `deliver` in it.
pub struct Calm {
    pub world: Rc<World>,
    pub process: Process,
    deliver: Rc<Deliver<Sim>>,
}

/// A message of `deliver`.
#[derive(Clone, Copy, Debug)]
pub struct Presented {
    pub delivery: u32,
    pub receipt: Receipt,
}

/// The receipt of a message that comes for the first time.
pub const FIRST: Receipt = Receipt {
    receives: 1,
    earlier_receives: 0,
    first_received_unix_ms: START,
    since_unix_ms: START,
    is_again: false,
    track: Track::Fast,
};

/// The receipt of a message that comes for the `receives`th time, long after the first.
pub fn again(receives: u32) -> Receipt {
    Receipt {
        receives,
        earlier_receives: 0,
        first_received_unix_ms: START - 10 * MINUTE,
        since_unix_ms: START,
        is_again: false,
        track: Track::Fast,
    }
}

impl Calm {
    /// Creates a world with an endpoint for each of these settings, whose receiver is in this mood.
    pub fn new(endpoints: &[(Value, Mood)]) -> Self {
        Self::in_time(endpoints, 0)
    }

    /// Creates such a world in which a call takes up to `call_ms`.
    pub fn in_time(endpoints: &[(Value, Mood)], call_ms: u64) -> Self {
        let plan = Plan {
            seed: 1,
            trouble: Trouble::default(),
            mischief: Mischief::default(),
            quiet_from: START,
            concurrency: 1,
            slow_concurrency: 1,
            slow_per_tenant: 1,
            tenant_of: |_| 0,
            is_fair: true,
            call_ms,
            skew_ms: 0,
            signs: false,
        };
        let stored = endpoints.iter().enumerate().map(|(index, (settings, _))| endpoint(index, settings));
        let receivers = endpoints.iter().map(|(_, mood)| Receiver::new(vec![(0, *mood)]));
        let world = World::new(plan, stored.collect(), receivers.collect());
        *world.watch.borrow_mut() = Some(Watch::default());
        world.tables.borrow_mut().breakers = (0..endpoints.len()).map(|index| (index, (quick(), 1))).collect();
        let process = Process::new(&world, Role::Deliver);
        Self { deliver: Rc::new(deliver_of(process.clone())), process, world }
    }

    /// Creates a world with one endpoint.
    pub fn with(settings: Value, mood: Mood) -> Self {
        Self::new(&[(settings, mood)])
    }

    /// Starts another environment of `deliver` in the same world.
    pub fn beside(&self) -> Self {
        let process = Process::new(&self.world, Role::Deliver);
        Self { deliver: Rc::new(deliver_of(process.clone())), process, world: Rc::clone(&self.world) }
    }

    /// Does some work, and returns its result.
    pub fn run<T: 'static>(&self, work: impl Future<Output = T> + 'static) -> T {
        let result = Rc::new(RefCell::new(None));
        let here = Rc::clone(&result);
        self.world.clock.spawn(IMMORTAL, async move { *here.borrow_mut() = Some(work.await) });
        let is_done = self.world.clock.run(self.world.now() + 10 * MINUTE, || result.borrow().is_some());
        assert!(is_done, "the work hangs");
        result.take().unwrap()
    }

    /// Does some work that may be killed. Returns its result, or none if it was.
    pub fn run_mortal<T: 'static>(&self, work: impl Future<Output = T> + 'static) -> Option<T> {
        let (result, group, clock) = (Rc::new(RefCell::new(None)), self.world.clock.group(), &self.world.clock);
        let here = Rc::clone(&result);
        clock.spawn(group, async move { *here.borrow_mut() = Some(work.await) });
        let is_over = || result.borrow().is_some() || !clock.is_alive(group);
        assert!(clock.run(self.world.now() + 10 * MINUTE, is_over), "the work hangs");
        clock.retire(group);
        result.take()
    }

    /// Lets time pass.
    pub fn wait(&self, ms: u64) {
        self.world.clock.run(self.world.now() + ms, || false);
    }

    /// Stores an event that goes to an endpoint, and returns its delivery.
    pub fn delivery_to(&self, endpoint: usize) -> u32 {
        self.stored(self.world.accept(&[endpoint]), endpoint)
    }

    /// Stores an event, and returns its delivery to an endpoint.
    pub fn stored(&self, number: u32, endpoint: usize) -> u32 {
        let event = self.world.event(number);
        let arrival = Arrival { moment: Moment::of(&event, self.world.now()), expires_at: u64::MAX };
        let first = FirstFanOut {
            message_id: format!("m-{number}"),
            endpoints: vec![endpoint_id(endpoint)],
            sent: 0,
            at_unix_seconds: self.world.now() / SECOND,
            arrival,
            payload_hash: event.payload_hash(),
            number: None,
            retention_days: None,
        };
        self.world.tables.borrow_mut().events.insert(number, first);
        self.world.laws.borrow().events[number as usize].delivery_to(endpoint).unwrap()
    }

    /// Takes the sums and gauges that were counted since the last call, by metric.
    pub fn numbers(&self) -> Vec<(&'static str, u64)> {
        self.world.meter.take().all.numbers.into_iter().map(|(metric, number)| (metric.as_str(), number)).collect()
    }

    /// Returns the body of a delivery's message.
    pub fn body_of(&self, delivery: u32) -> String {
        let (_, endpoint, arrived) = self.world.parts_of(delivery);
        let event = self.world.event(self.world.laws.borrow().event_of(delivery));
        Message::of_delivery(&endpoint, &event, arrived, None).body
    }

    /// Invokes `deliver` with a batch. Returns which of the messages come again, by their place in the batch.
    pub fn deliver(&self, batch: &[Presented]) -> Vec<usize> {
        let bodies = batch.iter().map(|one| (self.body_of(one.delivery), self.on_its_track(*one)));
        self.run(self.invocation(bodies.collect()))
    }

    /// Returns the receipt of a delivery that is not moved to the other track: endpoints with a limit are on the slow one.
    fn on_its_track(&self, Presented { delivery, receipt }: Presented) -> Receipt {
        let endpoint = self.world.endpoint_of(delivery);
        let tables = self.world.tables.borrow();
        let limit = tables.endpoints[endpoint].as_ref().and_then(|stored| stored.settings.max_concurrency);
        Receipt { track: if limit.is_some() { Track::Slow } else { receipt.track }, ..receipt }
    }

    /// The invocation of `deliver` with a batch of bodies.
    pub fn invocation(&self, batch: Vec<(String, Receipt)>) -> impl Future<Output = Vec<usize>> + use<> {
        let deliver = Rc::clone(&self.deliver);
        async move {
            let names = batch
                .iter()
                .enumerate()
                .map(|(index, (_, receipt))| (index.to_string(), format!("{index}#{}", receipt.receives)));
            let names: Vec<_> = names.collect();
            let messages = batch.iter().zip(&names).map(|((body, receipt), (message_id, receipt_handle))| {
                QueuedDelivery { message_id, body, receipt_handle, receipt: *receipt }
            });
            let messages: Vec<_> = messages.collect();
            deliver.handle(&messages).await.iter().map(|id| id.parse().unwrap()).collect()
        }
    }

    /// Invokes `deliver` with one message. Returns whether it comes again.
    pub fn deliver_one(&self, delivery: u32, receipt: Receipt) -> bool {
        !self.deliver(&[Presented { delivery, receipt }]).is_empty()
    }

    /// Looks at what was observed so far.
    pub fn seen<T>(&self, look: impl FnOnce(&Watch) -> T) -> T {
        look(self.world.watch.borrow().as_ref().unwrap())
    }

    /// Has calls fail from now on, or none any more. Calls are counted from here.
    pub fn break_calls(&self, broken: Option<(Broken, Failure)>) {
        let mut watch = self.world.watch.borrow_mut();
        let watch = watch.as_mut().unwrap();
        watch.broken = broken;
        watch.calls.clear();
    }

    /// Returns how many requests were sent.
    pub fn requests(&self) -> usize {
        self.seen(|watch| watch.requests.len())
    }

    /// Returns the value of a header of the last request.
    pub fn header(&self, name: &str) -> Option<String> {
        let header = |watch: &Watch| {
            let (_, headers) = watch.requests.last()?;
            headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.clone())
        };
        self.seen(header)
    }

    /// Returns after how many seconds messages come again, in the order of the calls.
    pub fn waits(&self) -> Vec<u64> {
        self.seen(|watch| watch.waits.iter().map(|(_, seconds)| *seconds).collect())
    }

    /// Returns the messages that were sent to a queue.
    pub fn sent(&self, which: Which) -> Vec<Message> {
        let sent = |watch: &Watch| {
            let sent = watch.sent.iter().filter(|(one, _)| *one == which);
            sent.map(|(_, message)| message.clone()).collect()
        };
        self.seen(sent)
    }

    /// Returns the delays, in seconds, of the messages that were sent to a queue.
    pub fn delays(&self, which: Which) -> Vec<u64> {
        self.sent(which).iter().map(|message| message.delay.as_secs()).collect()
    }

    /// Returns the values of an attribute of the messages that were sent to a queue.
    pub fn attributes(&self, which: Which, name: &str) -> Vec<Option<String>> {
        let value =
            |message: &Message| message.attributes.iter().find(|(one, _)| *one == name).map(|(_, value)| value.clone());
        self.sent(which).iter().map(value).collect()
    }

    /// Returns the reasons of the dead letters.
    pub fn dead_letters(&self) -> Vec<String> {
        self.attributes(Which::DeadLetters, "reason").into_iter().map(Option::unwrap).collect()
    }

    pub fn record(&self, delivery: u32) -> Option<DeliveryRecord> {
        self.world.tables.borrow().standing(delivery)
    }

    pub fn progress(&self, delivery: u32) -> Option<Progress> {
        self.record(delivery)?.progress
    }

    pub fn status(&self, delivery: u32) -> Option<DeliveryStatus> {
        self.progress(delivery).map(|progress| progress.status)
    }

    /// Returns the deliveries in a lane, each with the time in its place.
    pub fn lane(&self, place: Place) -> Vec<(u64, u32)> {
        let first = self.world.tables.borrow().first_of(place, usize::MAX);
        first.into_iter().map(|(at, id, _)| (at, id)).collect()
    }

    /// Returns all parked deliveries and notes, with their lanes.
    pub fn parked(&self) -> Vec<(Place, u64, u32)> {
        let tables = self.world.tables.borrow();
        let all = tables.parked.iter().flat_map(|(place, lane)| lane.keys().map(|(at, id)| (*place, *at, *id)));
        all.collect()
    }

    /// Parks a delivery.
    pub fn park(&self, lane: Lane, at: u64, delivery: u32) {
        let process = self.process.clone();
        self.run(async move {
            let (event, endpoint, arrived_unix_ms) = process.world.parts_of(delivery);
            let key = DeliveryKey { event: &event, endpoint: &endpoint, arrived_unix_ms, retention_days: None };
            if let Lane::Endpoint(_) = lane {
                process.world.tables.borrow_mut().ask_to_drain(&event.tenant, &endpoint, at / SECOND);
            }
            process.park(lane, at, key).await.unwrap();
        });
    }

    /// Writes a record.
    pub fn put_record(&self, delivery: u32, progress: Progress) {
        assert!(self.world.tables.borrow_mut().insert(delivery, progress), "{delivery} has a record");
    }

    pub fn put_breaker(&self, endpoint: usize, breaker: Breaker) {
        self.world.tables.borrow_mut().breakers.insert(endpoint, (breaker, 1));
    }

    /// Adds endpoints like the first one. Their lanes may have deliveries to the first one.
    pub fn add_endpoints(&self, count: usize) {
        let mut tables = self.world.tables.borrow_mut();
        let (first, before) = (tables.endpoints[0].clone(), tables.endpoints.len());
        tables.endpoints.resize(before + count, first);
        tables.breakers.extend((before..before + count).map(|index| (index, (quick(), 1))));
    }

    /// Returns how many calls of a port's method were made since the last [`Self::break_calls`].
    pub fn calls(&self, call: Call) -> usize {
        self.seen(|watch| watch.calls.iter().filter(|one| **one == call).count())
    }

    /// Changes the mood of a receiver from now on.
    pub fn set_mood(&self, endpoint: usize, mood: Mood) {
        self.world.receivers.borrow_mut()[endpoint].moods.push((self.world.now(), mood));
    }
}

/// The progress of a delivery that has failed `attempts` times, and is due since the start.
pub fn failed(attempts: u32) -> Progress {
    Progress {
        status: DeliveryStatus::Pending,
        attempts,
        before_replay: 0,
        next_attempt_unix_ms: START,
        replay: None,
        last_sent: None,
        last_answer: None,
    }
}

/// The breaker of an endpoint that has proved that it is quick.
pub fn quick() -> Breaker {
    let mut outcomes = Outcomes::default();
    (0..QUICK_AFTER).for_each(|_| outcomes.add_duration(Duration::ZERO));
    Breaker::default().after(&outcomes, START, 0.5)
}

/// A breaker that opened at this time, for 30 seconds.
pub fn open_since(unix_ms: u64) -> Breaker {
    let mut failures = Outcomes::default();
    (0..10).for_each(|_| failures.add(&judge_status(500, None), unix_ms));
    quick().after(&failures, unix_ms, 0.5)
}

/// A policy of equal waits.
pub fn fixed(max_retries: u32, seconds: u32) -> Value {
    json!({"maxRetries": max_retries, "intervalSeconds": seconds, "backoff": "fixed"})
}
