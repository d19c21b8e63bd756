//! The entry point of `signpost`. Everything else is in the library.

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    signpost_cli::main().await
}
