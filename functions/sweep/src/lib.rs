//! Puts parked deliveries back into `DeliveriesQueue`: those that are due, and those whose endpoint accepts requests
//! again. A schedule invokes it every minute. Operators invoke it with `{"redrive":"DeadLetterQueue"}` or
//! `{"redrive":"RejectedQueue"}` to try the messages of one of these queues again.
//! [`signpost_engine::sweep`] decides; this crate connects it to AWS.

mod command;
mod config;

use aws_config::SdkConfig;
use lambda_runtime::Error;
use serde::Serialize;
use serde_json::Value;
use signpost_engine::sweep::{REDRIVE_WORK, Redriven, Sweep, SweepPorts, Swept};
use signpost_io::ports::Aws;
use signpost_io::queue::Queue;
use signpost_io::runtime::clock::{SystemClock, ThreadRandom, unix_ms_now};
use signpost_io::runtime::metrics::meter;
use signpost_io::tables::breakers::Breakers;
use signpost_io::tables::deliveries::Deliveries;
use signpost_io::tables::delivery_list::Listing;
use signpost_io::tables::endpoints::Endpoints;
use signpost_io::tables::events::Events;
use signpost_io::tables::limits::Limits;
use signpost_io::tables::parking::Parking;
use signpost_io::tables::replays::Replays;
use signpost_io::tables::subscriptions::Subscriptions;
use signpost_io::tables::tenant_erasures::{ErasedTables, TenantErasures};

use command::Command;
pub use config::Config;

/// The function: the engine on AWS.
pub type App = Sweep<Aws>;

/// Creates the clients. This needs no network.
#[must_use]
pub fn app(aws: &SdkConfig, config: Config) -> App {
    let (dynamodb, sqs) = (aws_sdk_dynamodb::Client::new(aws), aws_sdk_sqs::Client::new(aws));
    let erased = ErasedTables {
        endpoint_keys: config.endpoint_keys_table,
        endpoints: config.endpoints_table.clone(),
        events: config.events_table.clone(),
        parking: config.parking_table.clone(),
        portal: config.portal_table,
        token_requests: config.token_requests_table,
    };
    Sweep::new(SweepPorts {
        clock: SystemClock,
        random: ThreadRandom,
        breakers: Breakers::new(dynamodb.clone(), config.parking_table.clone()),
        dead_letter_queue: Queue::new(sqs.clone(), config.dead_letter_queue_url),
        deliveries: Deliveries::new(dynamodb.clone(), config.events_table.clone(), config.retention),
        deliveries_queue: Queue::new(sqs.clone(), config.deliveries_queue_url),
        delivery_lists: Listing::new(dynamodb.clone(), config.events_table.clone()),
        endpoints: Endpoints::new(dynamodb.clone(), config.endpoints_table.clone()),
        erasures: TenantErasures::new(dynamodb.clone(), erased),
        events: Events::new(dynamodb.clone(), config.events_table, config.retention),
        events_queue: Queue::new(sqs.clone(), config.events_queue_url),
        limits: Limits::new(dynamodb.clone(), config.parking_table.clone()),
        meter: meter().clone(),
        parking: Parking::new(dynamodb.clone(), config.parking_table.clone(), config.retention),
        rejected_queue: Queue::new(sqs, config.rejected_queue_url),
        replays: Replays::new(dynamodb.clone(), config.parking_table),
        retention: config.retention,
        slow_invocations_per_tenant: config.slow_invocations_per_tenant,
        subscriptions: Subscriptions::new(dynamodb, config.endpoints_table),
    })
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
/// The payload is not a valid command, or a call failed as in [`Sweep::sweep_at`] and [`Sweep::redrive_for`].
pub async fn handle(payload: Value, app: &App) -> Result<Done, Error> {
    Ok(match Command::parse(&payload)? {
        Command::Redrive(redrive) => Done::Redriven(app.redrive_for(&redrive, REDRIVE_WORK).await?),
        Command::Sweep => Done::Swept(app.sweep_at(unix_ms_now()).await?),
    })
}
