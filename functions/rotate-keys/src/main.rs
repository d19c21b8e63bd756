//! Cold start of the `rotate-keys` function: settings, clients, then the event loop. Everything else is in the library.

use std::process::ExitCode;

use lambda_runtime::Error;
use rotate_keys::{App, Config, handle};
use signpost_io::runtime::lambda::Lambda;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    Lambda::run("rotate-keys", serve).await
}

async fn serve(lambda: &Lambda) -> Result<(), Error> {
    let config = Config::from_env(); // An invalid setting is reported later: a deploy waits for that answer.
    let app = &App::new(&signpost_io::aws::load().await, config)?;
    lambda.serve(async |payload| handle(payload, app).await).await
}
