//! Sending of deliveries before a deadline: small fan-outs first, and each as far as it gets.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use signpost_core::delivery::Stored;
use signpost_core::endpoint::EndpointId;
use signpost_core::event::{Event, TenantId};

use super::Fanout;
use crate::logs::Chain;
use crate::metrics::Metric;
use crate::ports::Ports;
use crate::ports::clock::Clock as _;
use crate::ports::queue::{MAX_BATCH_BYTES, Message, Queue as _};

/// How many calls to send run at the same time. Each may hold a few copies of 1 MiB.
const CALLS_AT_ONCE: usize = 4;
/// How many messages one call may have.
const MAX_BATCH_MESSAGES: usize = 10;
/// How long one call to send may take: it repeats what SQS refuses, up to three times.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(6);

/// An event and its endpoints. Times are milliseconds since the Unix epoch.
pub(super) struct FanOut<'a> {
    pub(super) event: &'a Event,
    pub(super) stored: Stored,
    pub(super) endpoints: Vec<EndpointId>,
    /// How many of the endpoints it was sent to before.
    pub(super) sent: usize,
    /// When the event first arrived.
    pub(super) arrived_unix_ms: u64,
    /// Since when it waits, if this is not the first fan-out.
    pub(super) since_unix_ms: Option<u64>,
}

/// How far a fan-out came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    /// How many of the endpoints it was sent to, counted from the first up to one that it was not sent to.
    pub(super) sent: usize,
    pub(super) end: End,
}

/// Why a fan-out ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// All deliveries are queued.
    Done,
    /// A call failed.
    Failed,
    /// The deadline came first.
    Stopped,
}

impl FanOut<'_> {
    fn message(&self, index: usize, since_unix_ms: Option<u64>) -> Message {
        let FanOut { event, stored, arrived_unix_ms, .. } = self;
        Message::of_stored(&self.endpoints[index], event, *stored, *arrived_unix_ms, since_unix_ms)
    }

    /// Returns the size of each message. All are of the same size, because all ids are, and none is larger if it is sent
    /// again.
    fn message_bytes(&self) -> usize {
        if self.endpoints.is_empty() { 0 } else { self.message(0, Some(self.arrived_unix_ms)).size() }
    }
}

/// A fan-out under way.
struct Course {
    message_bytes: usize,
    /// The next endpoint to send to.
    next: usize,
    /// The first endpoint whose message was not sent, after a call failed.
    failed_at: Option<usize>,
}

/// The messages of one call: of some fan-outs, by index, each to some of their endpoints.
struct Call {
    parts: Vec<(usize, Range<usize>)>,
    /// Whether SQS may have some of the messages already.
    is_again: bool,
}

impl<P: Ports> Fanout<P> {
    /// Sends the fan-outs until the deadline, and returns how far each came.
    ///
    /// One call may have messages of several tenants. If it fails, each tenant's messages are sent again alone, so that
    /// the fault of one is not the others'. Messages are created while they are sent, because a large event for many
    /// endpoints would not fit into memory.
    pub(super) async fn send_until(&self, fan_outs: &[FanOut<'_>], deadline: Duration) -> Vec<Sent> {
        let mut courses: Vec<_> = fan_outs
            .iter()
            .map(|one| Course { message_bytes: one.message_bytes(), next: one.sent, failed_at: None })
            .collect();
        let mut order: Vec<_> = (0..fan_outs.len()).collect();
        // So that a large fan-out does not hold up the others.
        order.sort_by_key(|&index| {
            (fan_outs[index].endpoints.len() - courses[index].next) * courses[index].message_bytes
        });
        let (mut alone, mut running) = (VecDeque::new(), FuturesUnordered::new());
        loop {
            while running.len() < CALLS_AT_ONCE && self.ports.clock.elapsed() < deadline {
                let call = alone.pop_front().or_else(|| next_call(fan_outs, &mut courses, &order));
                let Some(call) = call else { break };
                running.push(async { (self.is_sent(fan_outs, &call).await, call) });
            }
            let Some((is_sent, call)) = running.next().await else { break };
            if !is_sent {
                let by_tenant = by_tenant(fan_outs, &call);
                match &*by_tenant {
                    [_] => fail(&mut courses, &call),
                    _ => alone.extend(by_tenant),
                }
            }
        }
        for call in &alone {
            fail(&mut courses, call); // The deadline came before them.
        }
        let sent = fan_outs.iter().zip(courses).map(|(fan_out, Course { next, failed_at, .. })| Sent {
            sent: failed_at.unwrap_or(next),
            end: match failed_at {
                Some(_) => End::Failed,
                None if next < fan_out.endpoints.len() => End::Stopped,
                None => End::Done,
            },
        });
        sent.collect()
    }

    async fn is_sent(&self, fan_outs: &[FanOut<'_>], Call { parts, is_again }: &Call) -> bool {
        let again = is_again.then(|| self.ports.clock.unix_ms());
        let messages = parts.iter().flat_map(|(index, range)| {
            let fan_out = &fan_outs[*index];
            range.clone().map(move |endpoint| fan_out.message(endpoint, fan_out.since_unix_ms.or(again)))
        });
        match self.ports.clock.within(CALL_TIMEOUT, self.ports.deliveries_queue.send_all(messages)).await {
            Some(Ok(())) => {
                for (index, range) in parts {
                    let tenant = &fan_outs[*index].event.key.tenant;
                    self.ports.meter.add_of(tenant, Metric::DeliveriesQueued, range.len());
                }
                true
            }
            Some(Err(error)) => {
                tracing::error!(error = %Chain(&error), events = parts.len(), "event.not_fanned_out");
                false
            }
            None => {
                tracing::error!(error = "sending took too long", events = parts.len(), "event.not_fanned_out");
                false
            }
        }
    }
}

/// Takes the messages of the next call, from the fan-outs in this order. One that has failed waits for its next invocation.
fn next_call(fan_outs: &[FanOut<'_>], courses: &mut [Course], order: &[usize]) -> Option<Call> {
    let (mut parts, mut messages, mut bytes) = (Vec::new(), 0, 0);
    for &index in order {
        let course = &mut courses[index];
        if course.failed_at.is_some() {
            continue;
        }
        let first = course.next;
        while course.next < fan_outs[index].endpoints.len()
            && messages < MAX_BATCH_MESSAGES
            && (messages == 0 || bytes + course.message_bytes <= MAX_BATCH_BYTES)
        {
            course.next += 1;
            messages += 1;
            bytes += course.message_bytes;
        }
        if first < course.next {
            parts.push((index, first..course.next));
        }
    }
    (!parts.is_empty()).then_some(Call { parts, is_again: false })
}

/// Splits a call that failed into one for each tenant.
fn by_tenant(fan_outs: &[FanOut<'_>], call: &Call) -> Vec<Call> {
    let mut calls: Vec<(&TenantId, Call)> = Vec::new();
    for (index, range) in &call.parts {
        let (tenant, part) = (&fan_outs[*index].event.key.tenant, (*index, range.clone()));
        match calls.iter_mut().find(|(of, _)| *of == tenant) {
            Some((_, call)) => call.parts.push(part),
            None => calls.push((tenant, Call { parts: vec![part], is_again: true })),
        }
    }
    calls.into_iter().map(|(_, call)| call).collect()
}

fn fail(courses: &mut [Course], call: &Call) {
    for (index, range) in &call.parts {
        let failed_at = &mut courses[*index].failed_at;
        *failed_at = Some(failed_at.map_or(range.start, |before| before.min(range.start)));
    }
}
