//! Cold start of the `deliver` function: settings, clients, then the event loop. Everything else is in the library.

use std::process::ExitCode;

use deliver::{Config, app, handle};
use lambda_runtime::Error;
use signpost_io::runtime::lambda::Lambda;
use tokio::runtime::Builder;

/// How many tasks run before tokio checks the clock. A task that reads a flood from a receiver runs for some
/// milliseconds. With tokio's default of 61 such tasks, an attempt would run far beyond its deadline.
const EVENT_INTERVAL: u32 = 4;

fn main() -> Result<ExitCode, Error> {
    let runtime = Builder::new_current_thread().enable_all().event_interval(EVENT_INTERVAL).build()?;
    Ok(runtime.block_on(Lambda::run("deliver", serve)))
}

async fn serve(lambda: &Lambda) -> Result<(), Error> {
    let config = Config::from_env()?; // An invalid setting fails the init phase, before any message is taken.
    let app = &app(&signpost_io::aws::load().await, config)?;
    lambda.serve(async |batch| handle(batch, app).await).await
}
