//! Cold start of the `deliver` function: settings, clients, then the event loop. Everything else is in the library.

use deliver::{Config, app, handle};
use lambda_runtime::{Error, LambdaEvent, run, service_fn, tracing};
use tokio::runtime::Builder;

/// How many tasks run before tokio checks the clock. A task that reads a flood from a receiver runs for some
/// milliseconds. With tokio's default of 61 such tasks, an attempt would run far beyond its deadline.
const EVENT_INTERVAL: u32 = 4;

fn main() -> Result<(), Error> {
    Builder::new_current_thread().enable_all().event_interval(EVENT_INTERVAL).build()?.block_on(serve())
}

async fn serve() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let config = Config::from_env()?; // An invalid setting fails the init phase, before any message is taken.
    let app = &app(&signpost_io::aws::load().await, config)?;
    run(service_fn(async |event: LambdaEvent<_>| handle(event.payload, app).await)).await
}
