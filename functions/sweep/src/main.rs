//! Cold start of the `sweep` function: settings, clients, then the event loop. Everything else is in the library.

use std::process::ExitCode;

use lambda_runtime::Error;
use signpost_io::runtime::lambda::Lambda;
use sweep::{Config, app, handle};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    Lambda::run("sweep", serve).await
}

async fn serve(lambda: &Lambda) -> Result<(), Error> {
    let config = Config::from_env()?; // An invalid setting fails the init phase, before any move.
    let app = &app(&signpost_io::aws::load().await, config);
    lambda.serve(async |payload| handle(payload, app).await).await
}
