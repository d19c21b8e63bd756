//! Puts parked deliveries back into `DeliveriesQueue`: those that are due, and those whose endpoint may be called again.
//! Invoked by a schedule every minute.

mod config;

use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use lambda_runtime::Error;
use serde::Serialize;
use serde_json::json;
use signpost_core::delivery::{DeadLetterReason, Delivery};
use signpost_core::parking::{Lane, last_due_minute};
use signpost_io::aws::AwsError;
use signpost_io::clock::unix_ms_now;
use signpost_io::endpoints::Endpoints;
use signpost_io::events::Events;
use signpost_io::logs::Chain;
use signpost_io::parking::{Drain, Parked, Parking};
use signpost_io::queue::{Message, Queue};

pub use config::Config;

/// What the function needs at hand.
#[derive(Debug)]
pub struct App {
    dead_letters: Queue,
    deliveries: Queue,
    endpoints: Endpoints,
    events: Events,
    parking: Parking,
}

impl App {
    /// Makes the clients. Needs no network yet.
    #[must_use]
    pub fn new(aws: &SdkConfig, config: Config) -> Self {
        let (dynamodb, sqs) = (aws_sdk_dynamodb::Client::new(aws), aws_sdk_sqs::Client::new(aws));
        Self {
            dead_letters: Queue::new(sqs.clone(), config.dead_letter_queue_url),
            deliveries: Queue::new(sqs, config.deliveries_queue_url),
            endpoints: Endpoints::new(dynamodb.clone(), config.endpoints_table),
            events: Events::new(dynamodb.clone(), config.events_table, config.retention),
            parking: Parking::new(dynamodb, config.parking_table, config.retention),
        }
    }
}

/// What one sweeping did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Swept {
    /// How many deliveries are back in the queue because their time has come.
    pub due: usize,
    /// How many because their endpoint may be called again.
    pub drained: usize,
    /// Whether somebody else was at it, so that nothing was done.
    pub busy: bool,
}

/// How long what is due may take in one run; what is left is the next one's. With the drains, within the function's 50 s.
const DUE_WORK: Duration = Duration::from_secs(20);
/// How long the drains may take in one run, whatever is due.
const DRAIN_WORK: Duration = Duration::from_secs(15);
/// How long a run keeps the others away, in seconds: longer than it can last, and over when the next one comes.
const LEASE_SECONDS: u64 = 55;
/// How far the very first run of a stack looks back: farther than its schedule can be late.
const FIRST_LOOK_BACK_MINUTES: u64 = 60;
/// How many deliveries of one endpoint go out in one run: ten a second, for it may just be back.
const DRAINED_AT_ONCE: usize = 600;
/// How long, in seconds, a lane that is empty is still looked at: functions that remember the endpoint as it was go on
/// parking for a while.
const DRAIN_SECONDS: u64 = 180;
/// How many endpoints' lanes are drained in one run.
const MAX_DRAINS: i32 = 1_000;
/// How many deliveries are moved together.
const PAGE: i32 = 100;
/// How many calls to DynamoDB are under way at once.
const CALLS_AT_ONCE: usize = 16;

/// Sweeps once.
///
/// Safe to run twice at once, and to be stopped anywhere: one run keeps the others away, and a delivery leaves the table
/// only after it is in the queue, where a repetition is recognised by its record.
///
/// # Errors
/// DynamoDB or SQS failed: what was not moved is moved by the next run.
pub async fn handle(app: &App) -> Result<Swept, Error> {
    sweep_at(app, unix_ms_now()).await
}

/// The same, as if it were the moment `now_unix_ms`, in milliseconds since the Unix epoch.
///
/// # Errors
/// As [`handle`].
pub async fn sweep_at(app: &App, now_unix_ms: u64) -> Result<Swept, Error> {
    let (now, last) = (now_unix_ms / 1_000, last_due_minute(now_unix_ms));
    let first = last.saturating_sub(FIRST_LOOK_BACK_MINUTES);
    let Some(mut minute) = app.parking.begin_sweep(now, now + LEASE_SECONDS, first).await? else {
        tracing::info!("sweep.busy");
        return Ok(Swept { busy: true, ..Swept::default() });
    };
    let mut swept = Swept::default();
    let due = app.sweep_due(&mut minute, last, Instant::now() + DUE_WORK, &mut swept).await;
    let drained = app.sweep_drains(now, Instant::now() + DRAIN_WORK, &mut swept).await;
    app.parking.end_sweep(minute).await?;
    if swept != Swept::default() || minute < last {
        tracing::info!(
            due = swept.due,
            drained = swept.drained,
            minutes_behind = last.saturating_sub(minute),
            "sweep.done"
        );
    }
    if let (Err(error), Err(_)) = (&due, &drained) {
        tracing::error!(error = %Chain(error), "sweep.due_failed"); // The other one is logged by the runtime.
    }
    drained.and(due)?;
    Ok(swept)
}

impl App {
    /// Moves what is due, minute by minute, and counts `minute` up as it goes.
    async fn sweep_due(
        &self,
        minute: &mut u64,
        last: u64,
        deadline: Instant,
        swept: &mut Swept,
    ) -> Result<(), AwsError> {
        while *minute < last {
            let emptied = Lane::of_minute(*minute + 1).map(async |lane| {
                let mut moved = 0;
                let is_empty = self.empty(&lane, usize::MAX, deadline, &mut moved).await;
                (is_empty, moved)
            });
            let emptied = join_all(emptied).await;
            swept.due += emptied.iter().map(|(_, moved)| moved).sum::<usize>();
            for (is_empty, _) in emptied {
                if !is_empty? {
                    return Ok(());
                }
            }
            *minute += 1;
        }
        Ok(())
    }

    /// Moves what waits for endpoints that may be called again. Begins with another endpoint each minute, so that none
    /// has to wait for those before it for ever; one's trouble does not keep the others from their turn.
    async fn sweep_drains(&self, now: u64, deadline: Instant, swept: &mut Swept) -> Result<(), AwsError> {
        let mut drains = self.parking.drains(MAX_DRAINS).await?;
        let first = usize::try_from(now / 60).unwrap_or_default() % drains.len().max(1);
        drains.rotate_left(first);
        let mut outcome = Ok(());
        for drain in drains {
            if let Err(error) = self.drain(&drain, now, deadline, &mut swept.drained).await {
                tracing::error!(endpoint.id = %drain.endpoint, error = %Chain(&error), "sweep.drain_failed");
                outcome = Err(error);
            }
        }
        outcome
    }

    async fn drain(&self, drain: &Drain, now: u64, deadline: Instant, moved: &mut usize) -> Result<(), AwsError> {
        let lane = Lane::Endpoint(drain.endpoint.clone());
        let is_done = match self.parking.first_of(&lane, 1).await?.first() {
            None => true,
            // Disabled again, or not enabled yet: what would go out would only be parked anew, behind the others.
            Some(parked) if self.is_disabled(parked).await? => true,
            Some(_) => self.empty(&lane, DRAINED_AT_ONCE, deadline, moved).await?,
        };
        if is_done && now >= drain.asked_at + DRAIN_SECONDS {
            self.parking.end_drain(drain).await?;
        }
        Ok(())
    }

    /// Whether the endpoint of a parked delivery is there, and disabled or unreadable: then nothing can be sent to it.
    async fn is_disabled(&self, parked: &Parked) -> Result<bool, AwsError> {
        let stored = self.endpoints.get(&parked.event.tenant, &parked.endpoint).await;
        match stored {
            Ok(stored) => Ok(stored.is_some_and(|stored| stored.disabled.is_some())),
            Err(error) if self.endpoints.is_there(&parked.event.tenant, &parked.endpoint).await? => {
                tracing::warn!(endpoint.id = %parked.endpoint, error = %Chain(&error), "sweep.endpoint_unreadable");
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    /// Moves the deliveries of a lane, `most` of them at the most, and tells whether there is none left.
    async fn empty(&self, lane: &Lane, most: usize, deadline: Instant, moved: &mut usize) -> Result<bool, AwsError> {
        let mut left = most;
        while left > 0 && Instant::now() < deadline {
            let page = self.parking.first_of(lane, PAGE).await?;
            if page.is_empty() {
                return Ok(true);
            }
            self.move_all(&page).await?;
            *moved += page.len();
            left = left.saturating_sub(page.len());
        }
        Ok(false)
    }

    async fn move_all(&self, page: &[Parked]) -> Result<(), AwsError> {
        let read = page.iter().map(async |parked| Ok::<_, AwsError>((parked, self.events.get(&parked.event).await?)));
        let read: Vec<_> = stream::iter(read).buffered(CALLS_AT_ONCE).try_collect().await?;
        let (mut messages, mut gone) = (Vec::new(), Vec::new());
        for (parked, event) in read {
            match event {
                Some(event) => messages.push(Message {
                    body: Delivery::message(&parked.endpoint, &event),
                    group: Some(parked.endpoint.to_string()),
                    attributes: Vec::new(),
                }),
                None => gone.push(without_event(parked)),
            }
        }
        self.deliveries.send_all(messages).await?;
        self.dead_letters.send_all(gone).await?;
        let removed = page.iter().map(|parked| self.parking.remove(parked));
        stream::iter(removed).buffer_unordered(CALLS_AT_ONCE).try_collect::<()>().await
    }
}

/// A delivery whose event's retention ended before its time came: what is left is to say so.
fn without_event(parked: &Parked) -> Message {
    let (event, reason) = (&parked.event, DeadLetterReason::EventGone);
    tracing::error!(tenant.id = %event.tenant, event.id = %event.id, endpoint.id = %parked.endpoint, "delivery.event_gone");
    let key = json!({"tenant": event.tenant.as_str(), "id": event.id.as_str(), "source": event.source});
    let body = json!({"endpoint": parked.endpoint.as_str(), "event": key}).to_string();
    Message { body, group: None, attributes: vec![("reason", reason.as_str().to_owned())] }
}
