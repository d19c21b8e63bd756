//! The commands, one module each.

mod addresses;
mod audit;
pub mod care;
mod deliveries;
mod dlq;
mod doctor;
mod endpoint;
mod erase;
mod event;
mod event_type;
mod filter;
mod keys;
mod listen;
mod notices;
mod portal_link;
mod replays;
mod send;
mod shell;
pub mod smoke;
mod status;
mod token_request;
mod trust;
mod verify;
mod whoami;

use crate::args::{Args, Command};
use crate::aws::Aws;
use crate::environment::Environment;
use crate::failure::Outcome;
use crate::output::Output;
use crate::stack::Stack;

/// Runs the command.
///
/// # Errors
/// The command was not done.
pub async fn run(args: Args, environment: &Environment, output: &Output) -> Outcome {
    let aws = Aws::new(&args.global, output)?;
    let stack = Stack::new(&aws, &args.global, environment);
    match args.command {
        Command::Addresses(_) => addresses::list(&stack, output).await,
        Command::Audit(args) => audit::list(&args, &stack, output).await,
        Command::Completion(args) => shell::completion(&args, output),
        Command::Deliveries(args) => deliveries::list(&args, &stack, output).await,
        Command::Dlq(command) => dlq::run(command, &stack, output).await,
        Command::Doctor(args) => doctor::run(&args, output).await,
        Command::Endpoint(command) => endpoint::run(command, &stack, output).await,
        Command::Event(command) => event::run(command, &stack, output).await,
        Command::EventType(command) => event_type::run(command, &stack, output).await,
        Command::Filter(command) => filter::run(command, &stack, output).await,
        Command::Keys(command) => keys::run(command, &stack, output).await,
        Command::Listen(args) => listen::run(&args, &stack, output).await,
        Command::Man(args) => shell::man(&args, output),
        Command::Notices(command) => notices::run(command, &stack, output).await,
        Command::PortalLink(command) => portal_link::run(command, &stack, output).await,
        Command::Recover(args) => event::recover(&args, &stack, output).await,
        Command::Replay(args) => event::replay(&args, &stack, output).await,
        Command::Replays(command) => replays::run(command, &stack, output).await,
        Command::Erase(command) => erase::run(command, &stack, output).await,
        Command::Send(args) => send::run(&args, &stack, output).await,
        Command::Smoke(args) => smoke::run(&args, &stack, output).await,
        Command::Status(args) => status::show(&args, &stack, output).await,
        Command::Tail(args) => deliveries::tail(&args, &stack, output).await,
        Command::TokenRequest(args) => token_request::register(&args, &stack, output).await,
        Command::Verify(args) => verify::run(&args, &aws, output).await,
        Command::Whoami(_) => whoami::run(&stack, output).await,
    }
}
