//! How far Lambda and SQS keep tenants apart by themselves, and where they do not: event source mappings that invoke trivial
//! functions.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use fastrand::Rng;

use crate::clock::{Bell, Clock, IMMORTAL, START};
use crate::mapping::{Account, Answer, Function, Invocation, Mapping, Settings, Source};
use crate::queue::{Body, MAX_IN_FLIGHT, Mischief, Queue, Received};

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const VISIBILITY: u64 = 540 * SECOND;

/// A queue, and the function that it invokes.
struct Lab {
    clock: Rc<Clock>,
    queue: RefCell<Queue>,
    bell: Bell,
    dice: RefCell<Rng>,
    handler: Handler,
    running: Cell<usize>,
    most_running: Cell<usize>,
    seen: RefCell<Vec<Seen>>,
}

type Handler = Box<dyn Fn(&[Received]) -> Work>;

/// The work of an invocation: its time, and its answer.
struct Work {
    ms: u64,
    answer: Answer,
}

/// A message that an invocation got.
#[derive(Clone, Copy, Debug)]
struct Seen {
    at: u64,
    message: u64,
    receives: u32,
}

fn done(ms: u64) -> Work {
    Work { ms, answer: Answer::Failures(Vec::new()) }
}

impl Lab {
    fn new(clock: &Rc<Clock>, is_fair: bool, handler: impl Fn(&[Received]) -> Work + 'static) -> Rc<Self> {
        Rc::new(Self {
            clock: Rc::clone(clock),
            queue: RefCell::new(Queue::new(VISIBILITY, is_fair)),
            bell: Bell::default(),
            dice: RefCell::new(Rng::with_seed(1)),
            handler: Box::new(handler),
            running: Cell::new(0),
            most_running: Cell::new(0),
            seen: RefCell::default(),
        })
    }

    /// Sends messages. They are numbered from 0 on.
    fn send(&self, count: u64, group: usize) {
        for _ in 0..count {
            self.queue.borrow_mut().send(Body::default(), group, 0, self.clock.now());
        }
        self.bell.ring();
    }

    fn run(&self, ms: u64) {
        self.clock.run(self.clock.now() + ms, || false);
    }

    /// When a message was received, since the start.
    fn times(&self, message: u64) -> Vec<u64> {
        self.seen.borrow().iter().filter(|seen| seen.message == message).map(|seen| seen.at - START).collect()
    }

    fn most_receives(&self) -> u32 {
        self.seen.borrow().iter().map(|seen| seen.receives).max().unwrap()
    }
}

/// The number of concurrent invocations, also if one is killed.
struct Running(Rc<Lab>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.set(self.0.running.get() - 1);
    }
}

impl Function for Lab {
    type Environment = ();

    fn source(&self) -> Source<'_> {
        let Self { clock, queue, bell, dice, .. } = self;
        Source { clock, queue, bell, dice, mischief: Mischief::default() }
    }

    fn environment(&self) {}

    async fn invoke(self: Rc<Self>, invocation: Invocation<()>) -> Answer {
        self.running.set(self.running.get() + 1);
        self.most_running.set(self.most_running.get().max(self.running.get()));
        let running = Running(Rc::clone(&self));
        let seen = |one: &Received| Seen { at: self.clock.now(), message: one.message, receives: one.receipt.receives };
        self.seen.borrow_mut().extend(invocation.batch.iter().map(seen));
        let Work { ms, answer } = (self.handler)(&invocation.batch);
        self.clock.sleep(ms).await;
        drop(running);
        answer
    }
}

fn settings(maximum_concurrency: impl Into<Option<usize>>) -> Settings {
    Settings { maximum_concurrency: maximum_concurrency.into(), timeout_ms: VISIBILITY, cold_start_ms: 0 }
}

/// A clock, and an account with more concurrency than any mapping uses.
fn world() -> (Rc<Clock>, Rc<Account>) {
    (Rc::new(Clock::new(1)), Account::new(10_000))
}

#[test]
fn a_backlog_gets_five_pollers_then_three_hundred_more_each_minute_up_to_1250() {
    let (clock, account) = world();
    let lab = Lab::new(&clock, false, |_| done(30 * SECOND));
    let mapping = Mapping::start(Rc::clone(&lab), &account, settings(None));
    lab.send(100_000, 0);
    let mut running = Vec::new();
    for wait in [100, MINUTE, MINUTE, MINUTE, MINUTE, MINUTE] {
        lab.run(wait);
        running.push(lab.running.get());
    }
    assert_eq!(running, [5, 305, 605, 905, 1_205, 1_250]);
    lab.run(10 * MINUTE);
    assert!(lab.queue.borrow().is_empty());
    // The next message ends the pollers that waited without success.
    lab.send(1, 0);
    lab.run(SECOND);
    assert_eq!(mapping.pollers(), 5);
    assert_eq!(lab.most_receives(), 1);
}

#[test]
fn maximum_concurrency_holds_and_no_message_is_received_that_cannot_be_invoked() {
    for most in [2, 5, 50] {
        let (clock, account) = world();
        let lab = Lab::new(&clock, false, |_| done(20 * SECOND));
        Mapping::start(Rc::clone(&lab), &account, settings(most));
        lab.send(2_000, 0);
        lab.run(5 * MINUTE);
        assert_eq!(lab.most_running.get(), most);
        assert_eq!(lab.queue.borrow().most_in_flight, 10 * most);
        assert_eq!(lab.most_receives(), 1);
    }
}

/// A message that is throttled, because another function has both executions of the account for a while. Returns when it
/// was invoked, and how often it had been received by then.
fn throttled_for(ms: u64) -> Vec<(u64, u32)> {
    let (clock, account) = (Rc::new(Clock::new(1)), Account::new(2));
    let (neighbour, told) = ([account.enter(), account.enter()], Rc::clone(&clock));
    clock.spawn(IMMORTAL, async move {
        told.sleep(ms).await;
        drop(neighbour);
    });
    let lab = Lab::new(&clock, false, |_| done(80 * SECOND));
    let mapping = Mapping::start(Rc::clone(&lab), &account, settings(5));
    lab.send(1, 0);
    lab.run(SECOND);
    assert_eq!(mapping.throttled.get(), 1);
    while clock.now() < START + VISIBILITY - SECOND && lab.running.get() == 0 {
        let visible = lab.queue.borrow_mut().next_visible(clock.now());
        assert_eq!(visible, Some(START + VISIBILITY), "a throttled message stays hidden");
        lab.run(SECOND);
    }
    lab.run(20 * MINUTE);
    assert!(lab.queue.borrow().is_empty());
    lab.seen.borrow().iter().map(|seen| (seen.at - START, seen.receives)).collect()
}

#[test]
fn a_throttled_batch_is_tried_again_until_its_visibility_timeout_and_comes_back_then_and_not_earlier() {
    let brief = throttled_for(20 * SECOND);
    let [(at, 1)] = brief[..] else { panic!("{brief:?}") };
    assert!((20 * SECOND..50 * SECOND).contains(&at), "{brief:?}");
    let long = throttled_for(VISIBILITY + 10 * SECOND);
    let [(at, 2)] = long[..] else { panic!("{long:?}") };
    assert!((VISIBILITY + 10 * SECOND..VISIBILITY + 40 * SECOND).contains(&at), "{long:?}");
}

#[test]
fn a_batch_that_was_throttled_for_nearly_its_visibility_timeout_is_handled_twice_at_once() {
    // The first invocation begins long after the first receive: no lease can rely on that time. It goes on for 80 seconds.
    let twice = throttled_for(VISIBILITY - 60 * SECOND);
    let [(first, 1), (second, 2)] = twice[..] else { panic!("{twice:?}") };
    assert!(first < VISIBILITY && (VISIBILITY..first + 80 * SECOND).contains(&second), "{twice:?}");
}

#[test]
fn only_the_failures_that_a_response_names_come_back_and_they_do_not_make_the_mapping_back_off() {
    let (clock, account) = world();
    // The messages that ask for a minute by `ChangeMessageVisibility`, while they are handled.
    let asks = Rc::new(RefCell::new(Vec::new()));
    let asked = Rc::clone(&asks);
    let lab = Lab::new(&clock, false, move |batch| {
        let failed = |one: &&Received| one.receipt.receives == 1 && [3, 5].contains(&one.message);
        let failed: Vec<_> = batch.iter().filter(failed).cloned().collect();
        asked.borrow_mut().extend(failed.iter().filter(|one| one.message == 5).cloned());
        Work { ms: SECOND, answer: Answer::Failures(failed.iter().map(|one| one.message).collect()) }
    });
    let mapping = Mapping::start(Rc::clone(&lab), &account, settings(50));
    lab.send(10, 0);
    lab.run(500);
    lab.queue.borrow_mut().hide(asks.borrow()[0].message, asks.borrow()[0].receipt.receives, 60, clock.now());
    lab.run(20 * MINUTE);
    assert_eq!(lab.times(3), [0, VISIBILITY]);
    assert_eq!(lab.times(5), [0, 500 + MINUTE]);
    assert_eq!(lab.seen.borrow().len(), 12, "the others were deleted");
    assert_eq!(mapping.pollers(), 5);
}

#[test]
fn a_batch_whose_invocation_fails_hangs_or_crashes_comes_back_as_a_whole_after_its_visibility_timeout() {
    let cases = [
        (SECOND, Answer::Error, 1, "an error leaves the environment"),
        (SECOND, Answer::Failures(vec![10]), 1, "a response that names a message of another batch is an error"),
        (u64::from(u32::MAX), Answer::Failures(Vec::new()), 2, "a timeout ends the environment"),
    ];
    for (ms, answer, cold_starts, why) in cases {
        let (clock, account) = world();
        let answer = RefCell::new(Some(answer));
        let lab = Lab::new(&clock, false, move |_| answer.take().map_or(done(1), |answer| Work { ms, answer }));
        let settings = Settings { timeout_ms: 90 * SECOND, ..settings(50) };
        let mapping = Mapping::start(Rc::clone(&lab), &account, settings);
        lab.send(10, 0);
        lab.run(100 * SECOND);
        assert_eq!((lab.running.get(), mapping.pollers()), (0, 4), "{why}, and takes away a poller");
        lab.run(20 * MINUTE);
        assert!((0..10).all(|message| lab.times(message) == [0, VISIBILITY]), "{why}: {:?}", lab.seen);
        assert_eq!(mapping.cold_starts.get(), cold_starts, "{why}");
        assert_eq!(mapping.pollers(), 5, "{why}, and the poller is back");
    }
}

/// How a tenant fares whose messages come among as many that fail.
struct BesideFailures {
    /// When all of its messages had been handled.
    seconds: u64,
    fewest_pollers: usize,
    /// When there were fifty pollers again, after the last failure.
    recovered_after: u64,
}

/// 4,000 messages to a tenant that is well, among as many that fail for ten minutes.
fn beside_failures(answer: impl Fn(Vec<u64>) -> Answer + 'static) -> BesideFailures {
    const COUNT: u64 = 8_000;
    let (clock, account) = world();
    let (well_from, told) = (START + 10 * MINUTE, Rc::clone(&clock));
    let lab = Lab::new(&clock, false, move |batch| {
        let failed = |one: &&Received| told.now() < well_from && one.message % 2 == 1;
        let failed: Vec<_> = batch.iter().filter(failed).map(|one| one.message).collect();
        Work { ms: SECOND, answer: if failed.is_empty() { done(0).answer } else { answer(failed) } }
    });
    let mapping = Mapping::start(Rc::clone(&lab), &account, settings(50));
    lab.send(COUNT, 0);
    let (mut fewest_pollers, mut recovered_after) = (usize::MAX, u64::MAX);
    while !lab.queue.borrow().is_empty() {
        lab.run(SECOND);
        if clock.now() == well_from {
            lab.send(20_000, 0); // So that fifty pollers are needed.
        }
        fewest_pollers = fewest_pollers.min(mapping.pollers());
        if clock.now() >= well_from && mapping.pollers() == 50 {
            recovered_after = recovered_after.min((clock.now() - well_from) / SECOND);
        }
    }
    let last = |message| *lab.times(message).last().unwrap();
    let seconds = (0..COUNT).step_by(2).map(last).max().unwrap() / SECOND;
    BesideFailures { seconds, fewest_pollers, recovered_after }
}

#[test]
fn errors_make_the_mapping_back_off_and_delay_a_neighbour_and_named_failures_do_not() {
    let named = beside_failures(Answer::Failures);
    let thrown = beside_failures(|_| Answer::Error);
    assert!(named.seconds <= 40, "{}", named.seconds);
    assert_eq!(named.fewest_pollers, 5);
    // With the failed message of its batch, a message that could be handled comes back, again and again.
    assert!(thrown.seconds >= 600, "{}", thrown.seconds);
    assert_eq!(thrown.fewest_pollers, 2);
    assert!((60..=120).contains(&thrown.recovered_after), "{}", thrown.recovered_after);
}

#[test]
fn an_environment_is_used_again_until_it_was_idle_for_ten_minutes() {
    let (clock, account) = world();
    let lab = Lab::new(&clock, false, |_| done(SECOND));
    let settings = Settings { cold_start_ms: 300, ..settings(50) };
    let mapping = Mapping::start(Rc::clone(&lab), &account, settings);
    let cases = [
        (0, 1, 300, "the first starts"),
        (9 * MINUTE, 1, 0, "it is used again"),
        (9 * MINUTE, 1, 0, "and again"),
        (11 * MINUTE, 2, 300, "it has ended"),
    ];
    for (message, (wait, cold_starts, late, why)) in (0..).zip(cases) {
        lab.run(wait);
        let at = clock.now() - START;
        lab.send(1, 0);
        lab.run(2 * SECOND);
        assert_eq!(lab.times(message), [at + late], "{why}");
        assert_eq!(mapping.cold_starts.get(), cold_starts, "{why}");
    }
}

#[test]
fn when_120_000_messages_are_in_flight_nobody_gets_anything_not_even_in_a_fair_queue() {
    let (clock, account) = world();
    // To a tenant whose messages all fail, and stay hidden for their visibility timeout.
    let failing = MAX_IN_FLIGHT as u64 + 10_000;
    let lab = Lab::new(&clock, true, move |batch| {
        let failed = batch.iter().map(|one| one.message).filter(|message| *message < failing);
        Work { ms: SECOND, answer: Answer::Failures(failed.collect()) }
    });
    Mapping::start(Rc::clone(&lab), &account, settings(1_000));
    lab.send(failing, 0);
    lab.run(4 * MINUTE);
    assert_eq!(lab.queue.borrow().most_in_flight, MAX_IN_FLIGHT);
    assert!(lab.seen.borrow().len() >= MAX_IN_FLIGHT);
    lab.send(1, 1);
    lab.run(10 * MINUTE);
    let [at] = lab.times(failing)[..] else { panic!("{:?}", lab.times(failing)) };
    assert!(
        (VISIBILITY..VISIBILITY + MINUTE).contains(&at),
        "it came soon after the first that are visible again: {at}"
    );
}

/// How the messages of a tenant fare that sends about one a second, beside one that sends 50,000 at once.
#[derive(Debug)]
struct BesideNoise {
    /// The longest wait of those that were sent in each minute.
    longest_ms: [u64; 12],
    /// When the backlog was handled.
    drained_after: u64,
}

/// Each batch takes `batch_ms`. The noisy tenant goes on with one message a minute, if it `goes_on`.
fn beside_noise(is_fair: bool, concurrency: usize, batch_ms: u64, goes_on: bool) -> BesideNoise {
    const BACKLOG: u64 = 50_000;
    let (clock, account) = world();
    let lab = Lab::new(&clock, is_fair, move |_| done(batch_ms));
    Mapping::start(Rc::clone(&lab), &account, settings(concurrency));
    lab.send(BACKLOG, 0);
    let sent = Rc::new(RefCell::new(Vec::new()));
    let (this, log, dice) = (Rc::clone(&lab), Rc::clone(&sent), RefCell::new(Rng::with_seed(1)));
    clock.spawn(IMMORTAL, async move {
        for message in BACKLOG.. {
            let wait = dice.borrow_mut().u64(500..1_500);
            this.clock.sleep(wait).await;
            if this.clock.now() >= START + 12 * MINUTE {
                return;
            }
            let is_noise = goes_on && message % 60 == 0;
            this.send(1, usize::from(!is_noise));
            log.borrow_mut().extend((!is_noise).then_some((this.clock.now() - START, message)));
        }
    });
    lab.run(13 * MINUTE);
    assert!(lab.queue.borrow().is_empty());
    let (seen, mut longest_ms) = (lab.seen.borrow(), [0; 12]);
    let received: HashMap<_, _> = seen.iter().map(|seen| (seen.message, seen.at - START)).collect();
    for (at, message) in sent.take() {
        let longest = &mut longest_ms[usize::try_from(at / MINUTE).unwrap()];
        *longest = (received[&message] - at).max(*longest);
    }
    let drained_after = (0..BACKLOG).map(|message| received[&message]).max().unwrap();
    BesideNoise { longest_ms, drained_after }
}

#[test]
fn a_quiet_tenant_does_not_wait_for_the_backlog_of_a_noisy_one_in_a_fair_queue_and_waits_for_all_of_it_in_another() {
    let cases = [
        (true, 50, SECOND, "500 in flight show which tenant is noisy"),
        (true, 2, 200, "20 in flight do not, but the consumers' time does"),
        (false, 50, SECOND, "without a message group, SQS knows no tenants"),
    ];
    for (is_fair, concurrency, batch_ms, why) in cases {
        let BesideNoise { longest_ms, drained_after } = beside_noise(is_fair, concurrency, batch_ms, true);
        let longest = *longest_ms.iter().max().unwrap();
        let in_flight = u64::try_from(10 * concurrency).unwrap();
        assert!(drained_after >= 50_000 / in_flight * batch_ms, "{why}: drained after {drained_after} ms");
        let is_kept_apart = longest <= batch_ms;
        assert_eq!(is_kept_apart, is_fair, "{why}: waits for {longest} ms");
        assert!(is_fair || longest >= drained_after / 10 * 9, "{why}: waits for {longest} of {drained_after} ms");
    }
}

#[test]
fn a_noisy_tenant_that_sends_nothing_for_five_minutes_has_its_backlog_handled_before_what_others_send_then() {
    let BesideNoise { longest_ms, .. } = beside_noise(true, 50, 5 * SECOND, false);
    assert!(longest_ms[..4].iter().all(|longest| *longest <= 5 * SECOND), "{longest_ms:?}");
    assert!(longest_ms[5] >= 2 * MINUTE, "its messages are older, and it is not noisy any more: {longest_ms:?}");
}

#[test]
fn of_two_noisy_tenants_each_gets_as_much() {
    let (clock, account) = world();
    let lab = Lab::new(&clock, true, |_| done(SECOND));
    Mapping::start(Rc::clone(&lab), &account, settings(50));
    lab.send(40_000, 0);
    lab.send(10_000, 1);
    // At 500 a second, the smaller backlog is done after 40 s, and would be the last after 100 s by age.
    lab.run(2 * MINUTE);
    assert!(lab.queue.borrow().is_empty());
    let seen = lab.seen.borrow();
    let smaller = seen.iter().filter(|seen| seen.message >= 40_000);
    let last_of_the_smaller = smaller.map(|seen| seen.at - START).max().unwrap();
    assert!((38 * SECOND..=46 * SECOND).contains(&last_of_the_smaller), "{last_of_the_smaller}");
}
