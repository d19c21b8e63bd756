//! Cold start of the `relay` function: settings, clients, then the event loop. Everything else is in the library.

use std::convert::Infallible;

use lambda_runtime::{Error, LambdaEvent, run, service_fn, tracing};
use relay::{Config, app, handle};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let config = Config::from_env()?; // An invalid setting fails the init phase, before any request.
    let app = &app(&signpost_io::aws::load().await, config);
    run(service_fn(async |event: LambdaEvent<_>| Ok::<_, Infallible>(handle(event.payload, app).await))).await
}
