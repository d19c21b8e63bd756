//! The command line, as clap reads it.

mod endpoints;
mod events;
mod stack;
mod tools;

use clap::{Args as Group, Parser, Subcommand};

use crate::output::Form;

pub use endpoints::*;
pub use events::*;
pub use stack::*;
pub use tools::*;

/// Signed webhooks from AWS Lambda: send events, manage endpoints, verify webhooks.
#[derive(Debug, Parser)]
#[command(
    name = "signpost",
    version,
    disable_help_subcommand = true,
    after_help = "Examples:\n  signpost verify request.txt --keys https://api.example/tenants/acme/.well-known/jwks.json\n  signpost endpoint create https://hooks.acme.example/in --tenant acme\nExit codes: 0 done, 1 refused or failed, 2 usage, 3 not found, 4 timed out."
)]
pub struct Args {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The heading of the options that every command has.
const COMMON: &str = "Common options";

/// Options of every command.
#[derive(Clone, Debug, Default, Group)]
pub struct Global {
    /// Form of the data on stdout
    #[arg(
        long,
        global = true,
        help_heading = COMMON,
        value_enum,
        default_value_t,
        hide_possible_values = true,
        value_name = "table|json|jsonl"
    )]
    pub output: Form,
    /// Profile of the AWS configuration
    #[arg(long, global = true, help_heading = COMMON, value_name = "NAME")]
    pub profile: Option<String>,
    /// AWS region
    #[arg(long, global = true, help_heading = COMMON, value_name = "REGION")]
    pub region: Option<String>,
    /// CloudFormation stack; else `API_URL` and others, else `signpost`
    #[arg(long, global = true, help_heading = COMMON, value_name = "NAME", env = "SIGNPOST_STACK", hide_env = true)]
    pub stack: Option<String>,
    /// URL of AWS's services, for a local stack
    #[arg(long, global = true, help_heading = COMMON, value_name = "URL")]
    pub endpoint_url: Option<String>,
    /// Show each request on stderr, without secrets
    #[arg(long, short, global = true, help_heading = COMMON)]
    pub verbose: bool,
}

/// The commands, in the order of the help.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create, show, change, test and remove endpoints
    #[command(
        subcommand,
        after_help = "Examples:\n  signpost endpoint create https://hooks.acme.example/in --tenant acme\n  signpost endpoint list --tenant acme"
    )]
    Endpoint(EndpointCommand),
    /// Register types of events with their schemas, and list them
    #[command(
        subcommand,
        after_help = "Examples:\n  signpost event-type put invoice.paid type.json --tenant acme\n  signpost event-type list --tenant acme"
    )]
    EventType(EventTypeCommand),
    /// Try a filter with an event
    #[command(
        subcommand,
        after_help = "Examples:\n  signpost filter test filter.json event.json --tenant acme\n  signpost filter test '{\"type\":[\"invoice\"]}' event.json -t acme"
    )]
    Filter(FilterCommand),
    /// Send events from a file, from stdin, or an example
    Send(Send),
    /// Show an event with its deliveries and attempts
    #[command(
        subcommand,
        after_help = "Examples:\n  signpost event show payment-1-approved --tenant acme\n  signpost event show payment-1-approved --tenant acme --wait 20"
    )]
    Event(EventCommand),
    /// List the deliveries to an endpoint
    Deliveries(Deliveries),
    /// Send one event again
    Replay(Replay),
    /// Send again what an endpoint did not get since a time
    Recover(Recover),
    /// Send many deliveries again, in the background
    #[command(
        subcommand,
        after_help = "Examples:\n  signpost replays create --tenant acme --since 2026-01-31T10:00:00Z --dry-run\n  signpost replays list --tenant acme"
    )]
    Replays(ReplaysCommand),
    /// Erase an event, all about a subject, or a tenant
    #[command(
        subcommand,
        after_help = "Examples:\n  signpost erase event payment-1-approved --tenant acme --dry-run\n  signpost erase subject operation payment-1 --tenant acme --yes"
    )]
    Erase(EraseCommand),
    /// List, show and redrive what was given up or rejected
    #[command(
        subcommand,
        after_help = "Examples:\n  signpost dlq list\n  signpost dlq redrive --tenant acme --dry-run"
    )]
    Dlq(DlqCommand),
    /// List a tenant's public keys, or rotate signing keys
    #[command(
        subcommand,
        after_help = "Examples:\n  signpost keys list --tenant acme\n  signpost keys rotate --dry-run"
    )]
    Keys(KeysCommand),
    /// List the addresses that webhooks come from
    Addresses(Addresses),
    /// Show the newest state of a subject
    Status(Status),
    /// Register a token request, and show the URL for the bank
    TokenRequest(TokenRequest),
    /// Set, show or remove the address that gets notices
    #[command(
        subcommand,
        after_help = "Examples:\n  signpost notices set https://hooks.acme.example/notices --tenant acme\n  signpost notices show --tenant acme"
    )]
    Notices(NoticesCommand),
    /// List who changed what
    Audit(Audit),
    /// Make, list and end links to the integrators' page
    #[command(
        subcommand,
        after_help = "Examples:\n  signpost portal-link create --tenant acme\n  signpost portal-link list --tenant acme"
    )]
    PortalLink(PortalLinkCommand),
    /// Show a tenant's deliveries as they happen
    Tail(Tail),
    /// Show the account, the region, the stack and its version
    Whoami(Whoami),
    /// Try the stack out: send events, and verify the webhooks
    Smoke(Smoke),
    /// Find out why a receiver's URL cannot be called
    Doctor(Doctor),
    /// Receive and verify webhooks on this machine
    Listen(Listen),
    /// Verify a saved request, and say which step failed
    Verify(Verify),
    /// Print a completion script for a shell
    #[command(hide = true)]
    Completion(Completion),
    /// Write man pages into a directory
    #[command(hide = true)]
    Man(Man),
}

/// The tenant of a command.
#[derive(Clone, Debug, Group)]
pub struct Tenant {
    /// The tenant
    #[arg(long, short, env = "SIGNPOST_TENANT", hide_env_values = true, value_name = "TENANT")]
    pub tenant: String,
}

/// Options of each command that sends again, replaces or removes. They make it safe.
#[derive(Clone, Copy, Debug, Group)]
pub struct Care {
    /// Count, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
}
