//! Receivers: what they answer, and when; and one attempt as it is on the wire.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use signpost_core::delivery::attempt::{AttemptError, AttemptResult, judge_status};
use signpost_core::delivery::breaker::Admission;
use signpost_core::delivery::cause::{ExchangeFault, Stage};
use signpost_core::delivery::destination::Call;
use signpost_core::delivery::request::Request;
use signpost_core::delivery::verification::Preflight;
use signpost_core::endpoint::destination::Destination;
use signpost_core::endpoint::target::{Target, TargetRules};
use signpost_core::event::{EventId, TenantId};
use signpost_engine::ports::clock::millis;
use signpost_engine::ports::webhooks::{Exchange, Webhooks};

use crate::laws::Laws;
use crate::world::Process;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Acknowledges within so many milliseconds.
    Well(u64),
    /// Acknowledges after exactly so many milliseconds.
    After(u64),
    /// Answers 500 at once.
    Failing,
    /// Answers 500 to so many of a hundred requests, and acknowledges the others.
    Flaky(u64),
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

impl Webhooks for Process {
    type Access = ();
    type Error = Infallible;

    fn target(&self, url: &str) -> Result<Target, AttemptError> {
        TargetRules::default().parse(url).map_err(AttemptError::ForbiddenTarget)
    }

    async fn send(&self, request: Request, (): &(), timeout: Duration) -> Exchange {
        let endpoint = request.target.url().path()[1..].parse().unwrap();
        let named = |name| request.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value);
        let event = named("webhook-id").and_then(|id| EventId::parse(id.split(':').next()?)).unwrap();
        let number = self.world.number_of(&event);
        let id = self.world.laws.borrow().events[number as usize].delivery_to(endpoint).unwrap();
        if self.world.laws.borrow().events[number as usize].own.is_none() {
            assert_eq!(request.body, format!(r#"{{"n":{number}}}"#));
        }
        {
            let tables = self.world.tables.borrow();
            if let Some(stored) = &tables.endpoints[endpoint] {
                let given = tables.events.get(&number).and_then(|first| first.number);
                let given = given.filter(|_| stored.settings.sequence).map(|given| given.to_string());
                assert_eq!(named("ce-sequence"), given.as_ref(), "delivery {id} has another number than its event");
            }
        }
        if let Some(watch) = self.world.watch.borrow_mut().as_mut() {
            watch.requests.push((endpoint, request.headers.clone()));
        }
        for name in ["jws-signature", "webhook-signature"] {
            assert_eq!(self.world.plan.signs, named(name).is_some(), "{name}");
        }
        let result = self.reach(id, endpoint, timeout).await;
        Exchange { result, response: None, sent: None, connection: None, redirect: None }
    }

    async fn prove(
        &self,
        _: Preflight,
        request: Request,
        _: &str,
        _: &str,
        access: &(),
        timeout: Duration,
    ) -> Exchange {
        self.send(request, access, timeout).await
    }

    async fn put(
        &self,
        _: &TenantId,
        _: &Destination,
        request: Request,
        _: Call,
        timeout: Duration,
    ) -> Result<Exchange, Infallible> {
        Ok(self.send(request, &(), timeout).await)
    }
}

impl Process {
    /// Sends a delivery once. The receiver finishes a request that it has begun, even if the sender dies.
    async fn reach(&self, id: u32, to: usize, timeout: Duration) -> AttemptResult {
        self.may_die().await;
        let (world, now, timeout_ms) = (&self.world, self.world.now(), millis(timeout));
        let mood = world.receivers.borrow()[to].mood(now);
        let failed = |fault| AttemptError::Exchange { fault, timeout, source: None };
        let timed_out = || failed(ExchangeFault::TimedOut(Stage::Waiting));
        let (took, result) = match mood {
            Mood::Well(ms) => (1 + world.below(ms), judge_status(204, None)),
            Mood::After(ms) => (ms, judge_status(204, None)),
            Mood::Failing => (1 + world.below(20), judge_status(500, None)),
            Mood::Flaky(percent) => {
                (1 + world.below(20), judge_status(if world.below(100) < percent { 500 } else { 204 }, None))
            }
            Mood::Refusing => (1, Err(failed(ExchangeFault::ConnectionRefused))),
            Mood::Hanging => (timeout_ms, Err(timed_out())),
            Mood::Busy(seconds) => (1 + world.below(20), judge_status(429, Some(Duration::from_secs(seconds)))),
            Mood::Gone => (1 + world.below(20), judge_status(410, None)),
        };
        let (took, result) = if took < timeout_ms { (took, result) } else { (timeout_ms, Err(timed_out())) };
        world.tell(id, || format!("sent; for {took} ms: {result:?}"));
        {
            let (receiver, mut laws) = (&mut world.receivers.borrow_mut()[to], world.laws.borrow_mut());
            receiver.under_way.retain(|end| *end > now);
            receiver.under_way.push(now + took);
            receiver.arrivals.push_back(now);
            while receiver.arrivals.front().is_some_and(|at| at + 1_000 <= now) {
                receiver.arrivals.pop_front();
            }
            let tables = world.tables.borrow();
            if let Some(stored) = &tables.endpoints[to] {
                laws.begins(to, stored.settings.max_per_second, now);
                let is_open = tables.breakers.get(&to).is_some_and(|(one, _)| one.admits(now) != Admission::Send);
                if is_open && world.plan.is_answered() {
                    laws.begins_while_open(to, now);
                }
                Laws::at_once(receiver.under_way.len(), &stored.settings);
                laws.in_a_second(receiver.arrivals.len(), &stored.settings);
            }
            let record = tables.records.get(&id).and_then(|record| record.status);
            laws.sent(id, world.plan.tenant_of, (now, now + took), result.is_ok(), record);
        }
        world.clock.sleep(took / 2).await;
        self.may_die().await;
        world.clock.sleep(took - took / 2).await;
        result
    }
}
