//! Cold start of the `rotate-keys` function: settings, clients, then the event loop. Everything else is in the library.

use lambda_runtime::{Error, LambdaEvent, run, service_fn, tracing};
use rotate_keys::{App, Config, handle};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let config = Config::from_env(); // An invalid setting is reported later: a deploy waits for that answer.
    let app = &App::new(&signpost_io::aws::load().await, config)?;
    run(service_fn(async |event: LambdaEvent<_>| handle(event.payload, app).await)).await
}
