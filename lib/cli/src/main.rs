//! The entry point of `signpost`. Everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the program cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(signpost_cli::main());
    runtime.shutdown_background(); // A question to DNS that has no answer yet does not hold the program.
    code
}
