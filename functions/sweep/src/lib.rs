//! Puts parked deliveries back into `DeliveriesQueue`: those that are due, and those whose endpoint accepts requests
//! again. A schedule invokes it every minute. Operators invoke it with `{"redrive":"DeadLetterQueue"}` or
//! `{"redrive":"RejectedQueue"}` to try the messages of one of these queues again.

mod command;
mod config;
mod expiry_watch;
mod redrive;
mod sweep;

use std::time::Duration;

use aws_config::SdkConfig;
use lambda_runtime::Error;
use serde::Serialize;
use serde_json::Value;
use signpost_io::queue::Queue;
use signpost_io::runtime::clock::unix_ms_now;
use signpost_io::tables::breakers::Breakers;
use signpost_io::tables::deliveries::Deliveries;
use signpost_io::tables::endpoints::Endpoints;
use signpost_io::tables::events::Events;
use signpost_io::tables::limits::Limits;
use signpost_io::tables::parking::Parking;

use command::Command;
pub use config::Config;
pub use redrive::{Redrive, Redriven, redrive_for};
pub use sweep::{Swept, sweep_at};

/// The clients of the function.
#[derive(Debug)]
pub struct App {
    events_queue: Queue,
    breakers: Breakers,
    dead_letter_queue: Queue,
    deliveries_queue: Queue,
    endpoints: Endpoints,
    events: Events,
    limits: Limits,
    parking: Parking,
    deliveries: Deliveries,
    rejected_queue: Queue,
    retention: Duration,
}

impl App {
    /// Creates the clients. This needs no network.
    #[must_use]
    pub fn new(aws: &SdkConfig, config: Config) -> Self {
        let (dynamodb, sqs) = (aws_sdk_dynamodb::Client::new(aws), aws_sdk_sqs::Client::new(aws));
        Self {
            events_queue: Queue::new(sqs.clone(), config.events_queue_url),
            breakers: Breakers::new(dynamodb.clone(), config.parking_table.clone()),
            dead_letter_queue: Queue::new(sqs.clone(), config.dead_letter_queue_url),
            deliveries_queue: Queue::new(sqs.clone(), config.deliveries_queue_url),
            retention: config.retention,
            rejected_queue: Queue::new(sqs, config.rejected_queue_url),
            deliveries: Deliveries::new(dynamodb.clone(), config.events_table.clone(), config.retention),
            endpoints: Endpoints::new(dynamodb.clone(), config.endpoints_table),
            events: Events::new(dynamodb.clone(), config.events_table, config.retention),
            limits: Limits::new(dynamodb.clone(), config.parking_table.clone()),
            parking: Parking::new(dynamodb, config.parking_table, config.retention),
        }
    }
}

/// The answer of the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Done {
    /// For an operator.
    Redriven(Redriven),
    /// For the schedule.
    Swept(Swept),
}

/// Sweeps once, or redrives a queue, as the payload asks.
///
/// # Errors
/// The payload is not a valid command, or a call failed as in [`sweep_at`] and [`redrive_for`].
pub async fn handle(payload: Value, app: &App) -> Result<Done, Error> {
    Ok(match Command::parse(&payload)? {
        Command::Redrive(redrive) => Done::Redriven(redrive_for(app, &redrive, redrive::WORK).await?),
        Command::Sweep => Done::Swept(sweep_at(app, unix_ms_now()).await?),
    })
}

/// How many calls to AWS run at the same time.
const CALLS_AT_ONCE: usize = 16;
