//! Gives what is in a dead-letter queue another try, on an operator's command.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt as _};
use serde::Serialize;
use signpost_core::delivery::{Delivery, DeliveryStatus, RejectionReason, ReplayKind};
use signpost_core::endpoint::EndpointId;
use signpost_core::event::{Event, EventKey, TenantId};
use signpost_io::aws::AwsError;
use signpost_io::queue::{Message, Queue, Received};
use signpost_io::runtime::clock::unix_ms_now;
use signpost_io::runtime::logs::Chain;

use crate::{App, CALLS_AT_ONCE};

/// What is to be tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redrive {
    /// Deliveries of `DeadLetterQueue`.
    DeadLetters {
        /// Those to this endpoint; to all if there is none.
        endpoint: Option<EndpointId>,
        /// Those of this tenant; of all if there is none.
        tenant: Option<TenantId>,
    },
    /// Events of `RejectedQueue`.
    Rejected {
        /// Those of this tenant; of all if there is none.
        tenant: Option<TenantId>,
    },
}

/// What is tried once in a run, whichever message it is in.
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

/// What one redrive did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Redriven {
    /// How many deliveries or events are on their way again.
    pub moved: usize,
    /// How many were looked at and stay in the queue.
    pub kept: usize,
    /// Whether the time was up before all were looked at.
    pub more: bool,
}

/// How long a redrive goes on; with the calls that are under way then, within the function's 50 s.
pub(crate) const WORK: Duration = Duration::from_secs(20);
/// How long a message is hidden from others if the run dies: as long as one can last.
const HIDDEN: Duration = Duration::from_secs(50);
/// How often messages are received at once, up to ten each time: forty of 1 MiB, the largest, still fit into memory.
const RECEIVED_AT_ONCE: usize = 4;

/// Gives what is in a queue another try, for `work` at the most.
///
/// Each delivery and each event is tried once in a run: what comes into the queue after the run began is left alone, or a
/// delivery that fails at once would be sent again and again.
///
/// A delivery begins anew if it was given up and its endpoint is there; one that was replayed or acknowledged since is
/// put into the queue as well, where its record tells what is left to do. An event is sent anew if it is valid now.
/// Messages of which neither is true are kept.
///
/// Safe to run twice at once, and to be stopped anywhere: a message leaves its queue only after another is on its way.
/// Whatever stays is hidden from others while this runs, or for 50 s if it dies.
///
/// # Errors
/// DynamoDB or SQS failed: what was not moved stays where it is.
pub async fn redrive_for(app: &App, redrive: &Redrive, work: Duration) -> Result<Redriven, AwsError> {
    let (from, to) = match redrive {
        Redrive::DeadLetters { .. } => (&app.dead_letter_queue, &app.deliveries_queue),
        Redrive::Rejected { .. } => (&app.rejected_queue, &app.events_queue),
    };
    let mut tally = Tally { began_unix_ms: unix_ms_now(), ..Tally::default() };
    let outcome = app.move_until(redrive, from, to, Instant::now() + work, &mut tally).await;
    let Tally { moved, held, failed, .. } = tally;
    let kept = held.len();
    if let Err(error) = from.release_all(held.into_values()).await {
        tracing::warn!(error = %Chain(&error), kept, "redrive.still_hidden"); // For as long as if the run had died.
    }
    tracing::info!(moved, kept, "redrive.done");
    let more = outcome?;
    failed.map_or(Ok(Redriven { moved, kept, more }), Err)
}

/// What a run has done so far.
#[derive(Default)]
struct Tally {
    /// When the run began, in milliseconds since the Unix epoch.
    began_unix_ms: u64,
    /// What is on its way again. SQS's clock may be behind ours, so the moments alone do not tell.
    tried: HashSet<String>,
    moved: usize,
    /// The receipts of the messages that are still in the queue, by their ids.
    held: HashMap<String, String>,
    /// Why a message could not be judged.
    failed: Option<AwsError>,
}

impl App {
    /// Moves what may be moved until nothing is left that was not looked at, or the time is up, and tells whether it was.
    async fn move_until(
        &self,
        redrive: &Redrive,
        from: &Queue,
        to: &Queue,
        deadline: Instant,
        tally: &mut Tally,
    ) -> Result<bool, AwsError> {
        while Instant::now() < deadline {
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
                    Ok(None) => {}
                    Ok(Some(message)) => {
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

    /// The message that gives this one another try; none if it is to be kept.
    async fn again(&self, redrive: &Redrive, received: &Received) -> Result<Option<Message>, AwsError> {
        match redrive {
            Redrive::DeadLetters { endpoint, tenant } => {
                let Ok(delivery) = Delivery::parse(&received.body) else { return Ok(None) };
                let of_tenant = &delivery.event.key.tenant;
                let is_meant = endpoint.as_ref().is_none_or(|chosen| *chosen == delivery.endpoint)
                    && tenant.as_ref().is_none_or(|chosen| chosen == of_tenant);
                if !is_meant || !self.endpoints.exists(of_tenant, &delivery.endpoint).await? {
                    return Ok(None);
                }
                // Before its message: one that comes to a record of a delivery that was given up is given up again.
                let standing = self.deliveries.standing(delivery.key()).await?;
                let status = standing.and_then(|standing| standing.progress).map(|progress| progress.status);
                if status == Some(DeliveryStatus::Exhausted) {
                    self.deliveries.reset_for_replay(delivery.key(), ReplayKind::Redrive).await?;
                }
                let Delivery { endpoint, event, arrived_unix_ms } = &delivery;
                Ok(Some(Message::of_delivery(endpoint, event, *arrived_unix_ms, Some(unix_ms_now()))))
            }
            Redrive::Rejected { tenant } => {
                let is_conflict = received.reason.as_deref() == Some(RejectionReason::ConflictingDuplicate.as_str());
                let event = Event::parse(&received.body).ok().filter(|_| !is_conflict);
                let event = event.filter(|event| tenant.as_ref().is_none_or(|chosen| *chosen == event.key.tenant));
                Ok(event.as_ref().map(Message::of_event))
            }
        }
    }
}
