//! Cold start of the `fanout` function: settings, clients, then the event loop. Everything else is in the library.

use std::process::ExitCode;

use fanout::{App, Config, handle};
use lambda_runtime::Error;
use signpost_io::runtime::lambda::Lambda;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    Lambda::run("fanout", serve).await
}

async fn serve(lambda: &Lambda) -> Result<(), Error> {
    let config = Config::from_env()?; // An invalid setting fails the init phase, before any message is taken.
    let app = &App::new(&signpost_io::aws::load().await, config);
    lambda.serve(async |batch| handle(batch, app).await).await
}
