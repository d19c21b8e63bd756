//! Receivers: what they answer, and when; and one attempt as it is on the wire.

use std::collections::VecDeque;
use std::time::Duration;

use signpost_core::delivery::attempt::{AttemptError, AttemptResult, judge_status};
use signpost_core::delivery::cause::{ExchangeFault, Stage};

use crate::laws::Laws;
use crate::tables::Endpoint;
use crate::world::Process;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Acknowledges within so many milliseconds.
    Well(u64),
    /// Answers 500 at once.
    Failing,
    /// Takes no connection.
    Refusing,
    /// Answers nothing until the attempt's time is up.
    Hanging,
    /// Answers 429 and asks for so many seconds.
    Busy(u64),
    /// Answers 410.
    Gone,
}

#[derive(Debug, Default)]
pub struct Receiver {
    /// From when on it is in which mood, in order.
    pub moods: Vec<(u64, Mood)>,
    /// When the requests that are under way end.
    under_way: Vec<u64>,
    /// When requests came in within the last second.
    arrivals: VecDeque<u64>,
}

impl Receiver {
    pub fn new(moods: Vec<(u64, Mood)>) -> Self {
        Self { moods, ..Self::default() }
    }

    pub fn mood(&self, now: u64) -> Mood {
        self.moods.iter().rev().find(|(from, _)| *from <= now).map_or(Mood::Well(50), |(_, mood)| *mood)
    }
}

impl Process {
    /// Sends a delivery once. The receiver finishes a request that it has begun, even if the sender dies.
    pub async fn send(&self, id: u32, to: usize, endpoint: &Endpoint) -> AttemptResult {
        self.may_die().await;
        let (world, now) = (&self.world, self.world.now());
        let mood = world.receivers.borrow()[to].mood(now);
        let (took, result) = match mood {
            Mood::Well(ms) => (1 + world.below(ms), judge_status(204, None)),
            Mood::Failing => (1 + world.below(20), judge_status(500, None)),
            Mood::Refusing => (1, Err(failed(ExchangeFault::ConnectionRefused, endpoint))),
            Mood::Hanging => (endpoint.timeout_ms, Err(timed_out(endpoint))),
            Mood::Busy(seconds) => (1 + world.below(20), judge_status(429, Some(Duration::from_secs(seconds)))),
            Mood::Gone => (1 + world.below(20), judge_status(410, None)),
        };
        let (took, result) =
            if took < endpoint.timeout_ms { (took, result) } else { (endpoint.timeout_ms, Err(timed_out(endpoint))) };
        world.tell(id, || format!("sent; for {took} ms: {result:?}"));
        {
            let (receiver, mut laws) = (&mut world.receivers.borrow_mut()[to], world.laws.borrow_mut());
            receiver.under_way.retain(|end| *end > now);
            receiver.under_way.push(now + took);
            Laws::at_once(receiver.under_way.len(), endpoint);
            receiver.arrivals.push_back(now);
            while receiver.arrivals.front().is_some_and(|at| at + 1_000 <= now) {
                receiver.arrivals.pop_front();
            }
            laws.in_a_second(receiver.arrivals.len(), endpoint);
            let record = world.tables.borrow().records.get(&id).and_then(|record| record.status);
            laws.sent(id, now, now + took, result.is_ok(), record);
        }
        world.clock.sleep(took / 2).await;
        self.may_die().await;
        world.clock.sleep(took - took / 2).await;
        result
    }
}

fn timed_out(endpoint: &Endpoint) -> AttemptError {
    failed(ExchangeFault::TimedOut(Stage::Waiting), endpoint)
}

fn failed(fault: ExchangeFault, endpoint: &Endpoint) -> AttemptError {
    AttemptError::Exchange { fault, timeout: Duration::from_millis(endpoint.timeout_ms), source: None }
}
