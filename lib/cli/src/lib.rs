//! The `signpost` command line: for operators, who have an AWS account, and for integrators, who have none.
//!
//! Data goes to stdout, and everything for people goes to stderr. [`failure::Exit`] lists the exit codes. Every request
//! to the HTTP API is one of [`api::OPERATIONS`], which a test compares with `infra/openapi.yaml`.

pub mod api;
pub mod args;
pub mod aws;
pub mod commands;
pub mod environment;
pub mod failure;
pub mod input;
pub mod output;
pub mod signals;
pub mod stack;
pub mod verify;

use std::process::ExitCode;

use clap::Parser as _;

use args::Args;
use environment::Environment;
use failure::Failure;
use output::Output;

/// Reads the command line, runs the command, and prints the failure, if there is one.
pub async fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help goes to stdout, and its pipe may be closed.
            drop(error.print());
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let environment = Environment::from_env();
    let output = Output::new(&args.global, &environment);
    match Box::pin(commands::run(args, &environment, &output)).await {
        Ok(()) | Err(Failure::BrokenPipe) => ExitCode::SUCCESS,
        Err(Failure::Told(failure)) => {
            output.failure(&failure);
            ExitCode::from(failure.exit.code())
        }
    }
}
