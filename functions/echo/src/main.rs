//! Cold start of the `echo` function: the event loop. It has no settings and no clients.

use std::convert::Infallible;

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use echo::handle;
use lambda_runtime::{Error, LambdaEvent, run, service_fn, tracing};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    run(service_fn(async |event: LambdaEvent<ApiGatewayV2httpRequest>| Ok::<_, Infallible>(handle(&event.payload))))
        .await
}
