//! Cold start of the `portal` function: settings, clients, then the event loop. Everything else is in the library.

use std::convert::Infallible;
use std::process::ExitCode;

use lambda_runtime::Error;
use portal::{App, Config, handle};
use signpost_io::runtime::lambda::Lambda;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    Lambda::run("portal", serve).await
}

async fn serve(lambda: &Lambda) -> Result<(), Error> {
    let config = Config::from_env()?; // An invalid setting fails the init phase, before any request.
    let app = &App::new(&signpost_io::aws::load().await, config);
    lambda.serve(async |request| Ok::<_, Infallible>(handle(request, app).await)).await
}
