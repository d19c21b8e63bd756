//! Redrive: tries the messages of a dead-letter queue again, on an operator's command.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt as _};
use serde::Serialize;
use signpost_core::delivery::{Delivery, DeliveryStatus, RejectionReason, ReplayKind};
use signpost_core::endpoint::EndpointId;
use signpost_core::event::{Event, EventKey, TenantId};

use crate::logs::Chain;
use crate::metrics::Metric;
use crate::ports::Ports;
use crate::ports::clock::Clock as _;
use crate::ports::deliveries::Deliveries as _;
use crate::ports::endpoints::Endpoints as _;
use crate::ports::queue::{Message, Queue as _, Received};
use crate::sweep::{CALLS_AT_ONCE, Sweep};

/// The messages to try again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redrive {
    /// Deliveries of `DeadLetterQueue`.
    DeadLetters {
        /// Only those to this endpoint; those to all endpoints if `None`.
        endpoint: Option<EndpointId>,
        /// Only those of this tenant; those of all tenants if `None`.
        tenant: Option<TenantId>,
    },
    /// Events of `RejectedQueue`.
    Rejected {
        /// Only those of this tenant; those of all tenants if `None`.
        tenant: Option<TenantId>,
    },
}

/// Returns a key for the delivery or event in a message. Each is tried once per run, even if several messages contain
/// it.
fn identity(redrive: &Redrive, received: &Received) -> String {
    let event = |key: &EventKey| format!("{}/{}#{}", key.tenant, key.id, key.source);
    let found = match redrive {
        Redrive::DeadLetters { .. } => Delivery::parse(&received.body)
            .ok()
            .map(|delivery| format!("{} {}", delivery.endpoint, event(&delivery.event.key))),
        Redrive::Rejected { .. } => Event::parse(&received.body).ok().map(|one| event(&one.key)),
    };
    found.unwrap_or_else(|| received.id.clone())
}

/// The result of one redrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Redriven {
    /// How many deliveries or events were sent to their queue again, or removed with their tenant.
    pub moved: usize,
    /// How many were read and stay in the queue.
    pub kept: usize,
    /// Whether the time was over before all were read.
    pub more: bool,
}

/// How long a redrive goes on. With the calls that run then, it stays within the function's 50 s.
pub const REDRIVE_WORK: Duration = Duration::from_secs(20);
/// How long a message is hidden if the run crashes: as long as a run can last.
const HIDDEN: Duration = Duration::from_secs(50);
/// How many receive calls run at the same time, each for up to ten messages. Forty of 1 MiB, the largest, fit into
/// memory.
const RECEIVED_AT_ONCE: usize = 4;

/// The progress of a run.
struct Tally<E> {
    /// When the run began, in milliseconds since the Unix epoch.
    began_unix_ms: u64,
    /// The deliveries and events that were tried. SQS's clock may be behind Lambda's, so times alone cannot decide.
    tried: HashSet<String>,
    moved: usize,
    /// The receipts of the messages that are still in the queue, by message id.
    held: HashMap<String, String>,
    /// Why a message could not be judged.
    failed: Option<E>,
}

impl<E> Tally<E> {
    fn new(began_unix_ms: u64) -> Self {
        Self { began_unix_ms, tried: HashSet::new(), moved: 0, held: HashMap::new(), failed: None }
    }
}

impl<P: Ports> Sweep<P> {
    /// Tries the messages of a queue again, for at most `work`.
    ///
    /// Each delivery and each event is tried once per run. Messages that arrive after the run began are ignored, because a
    /// delivery that fails at once would be sent again and again.
    ///
    /// A delivery that was given up is reset, if its endpoint exists. One that was replayed or acknowledged since is put
    /// into the queue as well, where its record decides what remains to be done. An event is sent again if it is valid now.
    /// A message of a tenant that was erased since is removed. All other messages are kept.
    ///
    /// Two runs at the same time, and a crash at any point, do no harm: a message leaves its queue only after its successor
    /// was sent. Messages that stay are hidden while this runs, or for 50 s if it crashes.
    ///
    /// # Errors
    /// DynamoDB or SQS failed. Messages that were not moved stay in their queue.
    pub async fn redrive_for(&self, redrive: &Redrive, work: Duration) -> Result<Redriven, P::Error> {
        let (from, to) = match redrive {
            Redrive::DeadLetters { .. } => (&self.dead_letter_queue, &self.deliveries_queue),
            Redrive::Rejected { .. } => (&self.rejected_queue, &self.events_queue),
        };
        let mut tally = Tally::new(self.clock.unix_ms());
        let outcome = self.move_until(redrive, from, to, self.clock.elapsed() + work, &mut tally).await;
        let Tally { moved, held, failed, .. } = tally;
        let kept = held.len();
        if let Err(error) = from.release_all(held.into_values()).await {
            tracing::warn!(error = %Chain(&error), kept, "redrive.release_failed"); // They are hidden as after a crash.
        }
        tracing::info!(moved, kept, "redrive.done");
        self.meter.add(Metric::MessagesRedriven, moved);
        let more = outcome?;
        failed.map_or(Ok(Redriven { moved, kept, more }), Err)
    }

    /// Moves messages until all were read or the time is over. Returns true if the time was over.
    async fn move_until(
        &self,
        redrive: &Redrive,
        from: &P::Queue,
        to: &P::Queue,
        deadline: Duration,
        tally: &mut Tally<P::Error>,
    ) -> Result<bool, P::Error> {
        while self.clock.elapsed() < deadline {
            let received = join_all((0..RECEIVED_AT_ONCE).map(|_| from.receive(HIDDEN))).await;
            for message in received.iter().flatten().flatten() {
                tally.held.insert(message.id.clone(), message.receipt.clone());
            }
            let received = received.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
            if received.is_empty() {
                return Ok(false);
            }
            let began = tally.began_unix_ms;
            let received: Vec<_> = received.into_iter().filter(|one| one.sent_unix_ms < began).collect();
            let received: Vec<_> = received.iter().filter(|one| tally.tried.insert(identity(redrive, one))).collect();
            let judged = received.into_iter().map(async |received| (received, self.again(redrive, received).await));
            let judged: Vec<_> = stream::iter(judged).buffered(CALLS_AT_ONCE).collect().await;
            let (mut messages, mut done) = (Vec::new(), Vec::new());
            for (received, judged) in judged {
                match judged {
                    Ok(Judged::Keep) => {}
                    Ok(Judged::Remove) => done.push(received),
                    Ok(Judged::Again(message)) => {
                        messages.push(message);
                        done.push(received);
                    }
                    Err(error) => {
                        tracing::error!(message.id = received.id, error = %Chain(&error), "redrive.not_moved");
                        tally.failed = Some(error);
                    }
                }
            }
            to.send_all(messages).await?;
            from.remove_all(done.iter().map(|received| received.receipt.clone())).await?;
            tally.moved += done.len();
            for received in done {
                tally.held.remove(&received.id);
            }
        }
        Ok(true)
    }

    /// Decides what happens to a message.
    async fn again(&self, redrive: &Redrive, received: &Received) -> Result<Judged, P::Error> {
        match redrive {
            Redrive::DeadLetters { endpoint, tenant } => {
                let Ok(delivery) = Delivery::parse(&received.body) else { return Ok(Judged::Keep) };
                let of_tenant = &delivery.event.key.tenant;
                let is_meant = endpoint.as_ref().is_none_or(|chosen| *chosen == delivery.endpoint)
                    && tenant.as_ref().is_none_or(|chosen| chosen == of_tenant);
                if !is_meant {
                    return Ok(Judged::Keep);
                }
                // Also if the endpoint exists: the address of notices has the same id if the tenant sets one again.
                if delivery.arrived_unix_ms < self.endpoints.erased_until(of_tenant).await? {
                    return Ok(Judged::Remove);
                }
                if !self.endpoints.exists(of_tenant, &delivery.endpoint).await? {
                    return Ok(Judged::Keep);
                }
                // The record first. Otherwise `deliver` would find the delivery given up, and give it up again.
                let record = self.deliveries.standing(delivery.key()).await?;
                let status = record.and_then(|record| record.progress).map(|progress| progress.status);
                if status == Some(DeliveryStatus::Exhausted) {
                    self.deliveries.reset_for_replay(delivery.key(), ReplayKind::Redrive).await?;
                }
                let Delivery { endpoint, event, arrived_unix_ms } = &delivery;
                let since = Some(self.clock.unix_ms());
                Ok(Judged::Again(Message::of_delivery(endpoint, event, *arrived_unix_ms, since)))
            }
            Redrive::Rejected { tenant } => {
                let Ok(event) = Event::parse(&received.body) else { return Ok(Judged::Keep) };
                if tenant.as_ref().is_some_and(|chosen| *chosen != event.key.tenant) {
                    return Ok(Judged::Keep);
                }
                // Sent again, it would be a new message, which arrives after the erasure of its tenant.
                if received.sent_unix_ms < self.endpoints.erased_until(&event.key.tenant).await? {
                    return Ok(Judged::Remove);
                }
                let is_conflict = received.reason.as_deref() == Some(RejectionReason::ConflictingDuplicate.as_str());
                Ok(if is_conflict { Judged::Keep } else { Judged::Again(Message::of_event(&event)) })
            }
        }
    }
}

/// The decision on a message.
enum Judged {
    /// It stays.
    Keep,
    /// Its tenant was erased, and it goes with it.
    Remove,
    /// This one is sent in its place.
    Again(Message),
}
