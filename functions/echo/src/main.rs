//! Cold start of the `echo` function: the event loop. It has no settings of its own and no clients.

use std::convert::Infallible;
use std::process::ExitCode;

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use echo::handle;
use lambda_runtime::Error;
use signpost_io::runtime::lambda::Lambda;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    Lambda::run("echo", serve).await
}

async fn serve(lambda: &Lambda) -> Result<(), Error> {
    lambda.serve(async |request: ApiGatewayV2httpRequest| Ok::<_, Infallible>(handle(&request))).await
}
