//! Puts parked deliveries back into `DeliveriesQueue`: those that are due, and those whose endpoint may be called again.
//! Invoked by a schedule every minute.

mod config;

use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use lambda_runtime::Error;
use serde::Serialize;
use serde_json::json;
use signpost_core::delivery::{DeadLetterReason, Delivery};
use signpost_core::parking::{Lane, last_due_minute};
use signpost_io::aws::AwsError;
use signpost_io::clock::unix_ms_now;
use signpost_io::events::Events;
use signpost_io::parking::{Parked, Parking};
use signpost_io::queue::{Message, Queue};

pub use config::Config;

/// What the function needs at hand.
#[derive(Debug)]
pub struct App {
    dead_letters: Queue,
    deliveries: Queue,
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

/// How long the work of one run may take; what is left is the next one's. Within the function's 50 s.
const WORK: Duration = Duration::from_secs(35);
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
    let deadline = Instant::now() + WORK;
    let mut swept = Swept::default();
    let due = app.sweep_due(&mut minute, last, deadline, &mut swept).await;
    let drained = app.sweep_drains(now, deadline, &mut swept).await;
    app.parking.end_sweep(minute).await?;
    if swept != Swept::default() || minute < last {
        tracing::info!(
            due = swept.due,
            drained = swept.drained,
            minutes_behind = last.saturating_sub(minute),
            "sweep.done"
        );
    }
    due.and(drained)?;
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
            for lane in Lane::of_minute(*minute + 1) {
                if !self.empty(&lane, usize::MAX, deadline, &mut swept.due).await? {
                    return Ok(());
                }
            }
            *minute += 1;
        }
        Ok(())
    }

    /// Moves what waits for endpoints that may be called again.
    async fn sweep_drains(&self, now: u64, deadline: Instant, swept: &mut Swept) -> Result<(), AwsError> {
        for drain in self.parking.drains(MAX_DRAINS).await? {
            let lane = Lane::Endpoint(drain.endpoint.clone());
            let is_empty = self.empty(&lane, DRAINED_AT_ONCE, deadline, &mut swept.drained).await?;
            if is_empty && now >= drain.asked_at + DRAIN_SECONDS {
                self.parking.end_drain(&drain.endpoint).await?;
            }
        }
        Ok(())
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
