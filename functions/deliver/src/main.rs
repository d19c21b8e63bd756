//! Cold start of the `deliver` function: settings, clients, then the event loop. Everything else is in the library.

use deliver::{App, Config, handle};
use lambda_runtime::{Error, LambdaEvent, run, service_fn, tracing};
use tokio::runtime::Builder;

/// How many tasks run before the clock is looked at. One that reads what a receiver floods it with runs for some milliseconds,
/// and tokio's own 61 of them would carry an attempt far beyond its deadline.
const EVENT_INTERVAL: u32 = 4;

fn main() -> Result<(), Error> {
    Builder::new_current_thread().enable_all().event_interval(EVENT_INTERVAL).build()?.block_on(serve())
}

async fn serve() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let config = Config::from_env()?; // A bad setting fails the init phase, before any message is taken.
    let app = &App::new(&signpost_io::aws::load().await, config)?;
    run(service_fn(async |event: LambdaEvent<_>| handle(event.payload, app).await)).await
}
