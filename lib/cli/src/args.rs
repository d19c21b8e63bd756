//! The command line, as clap reads it.

use std::path::PathBuf;

use clap::{Args as Group, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::output::Form;

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

/// Commands about endpoints.
#[derive(Debug, Subcommand)]
pub enum EndpointCommand {
    /// Register a receiver, and show its signing secret once
    #[command(
        after_help = "Examples:\n  signpost endpoint create https://hooks.acme.example/in --tenant acme\n  signpost endpoint create --queue-arn arn:aws:sqs:eu-west-1:111122223333:webhooks --role-arn arn:aws:iam::111122223333:role/webhooks-acme -t acme"
    )]
    Create(Box<EndpointCreate>),
    /// List a tenant's endpoints
    #[command(
        after_help = "Examples:\n  signpost endpoint list --tenant acme\n  signpost endpoint list --tenant acme --output jsonl | jq -r .url"
    )]
    List(EndpointList),
    /// Show an endpoint
    #[command(
        after_help = "Examples:\n  signpost endpoint show ep_0123456789abcdef0123456789abcdef --tenant acme\n  signpost endpoint show ep_0123456789abcdef0123456789abcdef -t acme --output json"
    )]
    Show(EndpointOf),
    /// Change settings of an endpoint
    #[command(
        after_help = "Examples:\n  signpost endpoint update ep_0123456789abcdef0123456789abcdef -t acme --timeout 5\n  echo '{\"retry\":null}' | signpost endpoint update ep_0123456789abcdef0123456789abcdef -t acme --settings -"
    )]
    Update(Box<EndpointUpdate>),
    /// Remove an endpoint, and give up what waits for it
    #[command(
        after_help = "Examples:\n  signpost endpoint delete ep_0123456789abcdef0123456789abcdef -t acme --dry-run\n  signpost endpoint delete ep_0123456789abcdef0123456789abcdef -t acme --yes"
    )]
    Delete(EndpointDelete),
    /// Send webhooks to an endpoint again, parked ones too
    #[command(
        after_help = "Examples:\n  signpost endpoint enable ep_0123456789abcdef0123456789abcdef --tenant acme\n  signpost endpoint enable ep_0123456789abcdef0123456789abcdef -t acme --output json"
    )]
    Enable(EndpointOf),
    /// Park the deliveries to an endpoint
    #[command(
        after_help = "Examples:\n  signpost endpoint disable ep_0123456789abcdef0123456789abcdef --tenant acme\n  signpost endpoint disable ep_0123456789abcdef0123456789abcdef -t acme --output json"
    )]
    Disable(EndpointOf),
    /// Send a test event, and wait for the receiver's answer
    #[command(
        after_help = "Examples:\n  signpost endpoint test ep_0123456789abcdef0123456789abcdef --tenant acme\n  signpost endpoint test ep_0123456789abcdef0123456789abcdef -t acme --wait 0"
    )]
    Test(EndpointTest),
    /// Replace the signing secret, and show the new one once
    #[command(
        after_help = "Examples:\n  signpost endpoint rotate-secret ep_0123456789abcdef0123456789abcdef -t acme --overlap 3600 --dry-run\n  signpost endpoint rotate-secret ep_0123456789abcdef0123456789abcdef -t acme --end-all-others --yes"
    )]
    RotateSecret(RotateSecret),
}

/// An endpoint of a tenant.
#[derive(Debug, Group)]
pub struct EndpointOf {
    /// The endpoint's id
    #[arg(value_name = "ENDPOINT")]
    pub endpoint: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub tenant: Tenant,
}

/// Settings of an endpoint. Those without an option come from `--settings`.
#[derive(Debug, Default, Group)]
pub struct Settings {
    /// JSON file with settings, or - for stdin; other options replace its members
    #[arg(long, value_name = "FILE")]
    pub settings: Option<String>,
    /// Text for people
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// Event type, with statuses if you like; repeat it for more
    #[arg(long = "type", value_name = "TYPE[:STATUS,…]")]
    pub types: Vec<String>,
    /// Filter of the events' content: JSON, a file with it, or - for stdin
    #[arg(long, value_name = "FILE|JSON")]
    pub filter: Option<String>,
    /// Whether webhooks have numbers, by which the receiver puts them in order
    #[arg(long, value_name = "true|false", hide_possible_values = true)]
    pub sequence: Option<bool>,
    /// jws, standard-webhooks, http-message-signatures
    #[arg(long, value_name = "FORMAT,…", value_delimiter = ',')]
    pub signatures: Vec<String>,
    /// Key algorithm: RS256, ES256, `EdDSA`
    #[arg(long, value_name = "ALGORITHM")]
    pub algorithm: Option<String>,
    /// Seconds until an attempt fails
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u32>,
    /// Authentication of the requests: basic or apiKey
    #[arg(long, value_name = "KIND", requires = "auth_secret_file")]
    pub auth: Option<String>,
    /// File with the secret of --auth, or - for stdin
    #[arg(long, value_name = "FILE", requires = "auth")]
    pub auth_secret_file: Option<String>,
}

/// `endpoint create`.
#[derive(Debug, Group)]
pub struct EndpointCreate {
    /// The receiver's URL
    #[arg(required_unless_present_any = ["queue_arn", "bus_arn", "settings"])]
    pub url: Option<String>,
    /// SQS queue that takes the webhooks instead of a URL
    #[arg(long, value_name = "ARN", requires = "role_arn", conflicts_with_all = ["url", "bus_arn"])]
    pub queue_arn: Option<String>,
    /// `EventBridge` bus that takes the webhooks instead of a URL
    #[arg(long, value_name = "ARN", requires = "role_arn", conflicts_with = "url")]
    pub bus_arn: Option<String>,
    /// Role that may send to the queue or the bus
    #[arg(long, value_name = "ARN", conflicts_with = "url")]
    pub role_arn: Option<String>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub tenant: Tenant,
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub settings: Settings,
}

/// `endpoint list`.
#[derive(Debug, Group)]
pub struct EndpointList {
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub tenant: Tenant,
}

/// `endpoint update`.
#[derive(Debug, Group)]
pub struct EndpointUpdate {
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub endpoint: EndpointOf,
    /// The receiver's new URL
    #[arg(long)]
    pub url: Option<String>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub settings: Settings,
}

/// `endpoint delete`.
#[derive(Debug, Group)]
pub struct EndpointDelete {
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub endpoint: EndpointOf,
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub care: Care,
}

/// `endpoint test`.
#[derive(Debug, Group)]
pub struct EndpointTest {
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub endpoint: EndpointOf,
    /// Type of the catalogue whose example is sent
    #[arg(long = "type", value_name = "TYPE")]
    pub event_type: Option<String>,
    /// How long to wait for the first attempt; 0 does not wait
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub wait: u64,
}

/// `endpoint rotate-secret`.
#[derive(Debug, Group)]
pub struct RotateSecret {
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub endpoint: EndpointOf,
    /// Seconds for which the old secret goes on signing, a day by default
    #[arg(long, value_name = "SECONDS")]
    pub overlap: Option<u32>,
    /// End all other secrets at once, because one has leaked
    #[arg(long, conflicts_with = "overlap")]
    pub end_all_others: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub care: Care,
}

/// `send`.
#[derive(Debug, Group)]
#[command(
    after_help = "Examples:\n  signpost send --type operation --tenant acme --wait 30\n  jq -c '.[]' events.json | signpost send - --via sqs"
)]
pub struct Send {
    /// File with one event, an array, or one event a line; - for stdin
    #[arg(value_name = "FILE", required_unless_present = "example", conflicts_with = "example")]
    pub file: Option<String>,
    /// Send the example of a payload format
    #[arg(long = "type", value_name = "FORMAT", requires = "tenant")]
    pub example: Option<PayloadFormat>,
    /// Tenant of the example
    #[arg(long, short, env = "SIGNPOST_TENANT", hide_env_values = true)]
    pub tenant: Option<String>,
    /// The way in
    #[arg(long, value_enum, default_value_t)]
    pub via: Via,
    /// Wait until each event is delivered
    #[arg(long, value_name = "SECONDS")]
    pub wait: Option<u64>,
    /// Print the events, and send nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// A way for events into the stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Via {
    /// `POST /v1/events`, which lists all faults at once.
    #[default]
    Http,
    /// `EventsQueue`.
    Sqs,
}

/// A payload format with an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PayloadFormat {
    /// PowerAuth
    Operation,
    /// PowerAuth
    Activation,
    /// TransactionLink
    Workflow,
    /// Token.io
    TokenRequest,
    /// The account-information session service
    Session,
    /// The account-information session service
    Payment,
    /// IDPay
    Transaction,
}

/// Commands about events.
#[derive(Debug, Subcommand)]
pub enum EventCommand {
    /// Show an event with its deliveries and attempts
    #[command(
        after_help = "Examples:\n  signpost event show payment-1-approved --tenant acme\n  signpost event show payment-1-approved -t acme --source /core --output json"
    )]
    Show(EventShow),
}

/// `event show`.
#[derive(Debug, Group)]
pub struct EventShow {
    /// The event's id
    #[arg(value_name = "EVENT")]
    pub event: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub tenant: Tenant,
    /// The event's source, if several sources use the id
    #[arg(long)]
    pub source: Option<String>,
    /// How long to wait until the event arrives
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub wait: u64,
}

/// `deliveries`.
#[derive(Debug, Group)]
#[command(
    after_help = "Examples:\n  signpost deliveries ep_0123456789abcdef0123456789abcdef -t acme --status exhausted\n  signpost deliveries ep_0123456789abcdef0123456789abcdef -t acme --since 2026-01-31T10:00:00Z --follow"
)]
pub struct Deliveries {
    /// The endpoint's id
    #[arg(value_name = "ENDPOINT")]
    pub endpoint: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub tenant: Tenant,
    /// Only this status: pending, delivered or exhausted
    #[arg(long, value_parser = ["pending", "delivered", "exhausted"], hide_possible_values = true)]
    pub status: Option<String>,
    /// Only events from this moment on, in RFC 3339
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// The most deliveries
    #[arg(long, default_value_t = 50, value_name = "NUMBER")]
    pub limit: usize,
    /// Go on, and show what changes, until Ctrl-C
    #[arg(long, short)]
    pub follow: bool,
}

/// `tail`.
#[derive(Debug, Group)]
#[command(
    after_help = "Examples:\n  signpost tail --tenant acme\n  signpost tail --tenant acme --output jsonl | jq -r .event"
)]
pub struct Tail {
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub tenant: Tenant,
}

/// `replay`.
#[derive(Debug, Group)]
#[command(
    after_help = "Examples:\n  signpost replay payment-1-approved --tenant acme --dry-run\n  signpost replay payment-1-approved -t acme --endpoint ep_0123456789abcdef0123456789abcdef --yes"
)]
pub struct Replay {
    /// The event's id
    #[arg(value_name = "EVENT")]
    pub event: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub tenant: Tenant,
    /// The event's source, if several sources use the id
    #[arg(long)]
    pub source: Option<String>,
    /// Only this endpoint, even if its types do not include the event
    #[arg(long)]
    pub endpoint: Option<String>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub care: Care,
}

/// `recover`.
#[derive(Debug, Group)]
#[command(
    after_help = "Examples:\n  signpost recover ep_0123456789abcdef0123456789abcdef -t acme --since 2026-01-31T10:00:00Z --dry-run\n  signpost recover ep_0123456789abcdef0123456789abcdef -t acme --since 2026-01-31T10:00:00Z --yes"
)]
pub struct Recover {
    /// The endpoint's id
    #[arg(value_name = "ENDPOINT")]
    pub endpoint: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub tenant: Tenant,
    /// From this moment on, in RFC 3339
    #[arg(long, value_name = "TIME")]
    pub since: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub care: Care,
}

/// Commands about bulk replays.
#[derive(Debug, Subcommand)]
pub enum ReplaysCommand {
    /// Send many deliveries again, or count them
    #[command(
        after_help = "Examples:\n  signpost replays create --tenant acme --since 2026-01-31T10:00:00Z --dry-run\n  signpost replays create -t acme --since 2026-01-31T10:00:00Z --status exhausted,delivered --type operation --yes --wait 600"
    )]
    Create(ReplaysCreate),
    /// List bulk replays, newest first
    #[command(
        after_help = "Examples:\n  signpost replays list --tenant acme\n  signpost replays list --tenant acme --output jsonl | jq -r .id"
    )]
    List(ReplaysList),
    /// Show a bulk replay and its progress
    #[command(
        after_help = "Examples:\n  signpost replays show rp_0123456789abcdef0123456789abcdef --tenant acme\n  signpost replays show rp_0123456789abcdef0123456789abcdef -t acme --wait 600"
    )]
    Show(ReplaysShow),
    /// Stop a bulk replay
    #[command(
        after_help = "Examples:\n  signpost replays stop rp_0123456789abcdef0123456789abcdef --tenant acme --dry-run\n  signpost replays stop rp_0123456789abcdef0123456789abcdef -t acme --yes"
    )]
    Stop(ReplaysStop),
}

/// `replays create`.
#[derive(Debug, Group)]
pub struct ReplaysCreate {
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub tenant: Tenant,
    /// Events that arrived from this moment on, in RFC 3339
    #[arg(long, value_name = "TIME")]
    pub since: String,
    /// Events that arrived before this moment; else until now
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Only this endpoint; repeat it for more; else all
    #[arg(long = "endpoint", value_name = "ENDPOINT")]
    pub endpoints: Vec<String>,
    /// Only events of this type; repeat it for more; else all
    #[arg(long = "type", value_name = "TYPE")]
    pub types: Vec<String>,
    /// exhausted, which is the default, or delivered
    #[arg(long = "status", value_name = "STATUS,…", value_delimiter = ',')]
    pub statuses: Vec<String>,
    /// Wait until the replay has ended
    #[arg(long, value_name = "SECONDS")]
    pub wait: Option<u64>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub care: Care,
}

/// `replays list`.
#[derive(Debug, Group)]
pub struct ReplaysList {
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub tenant: Tenant,
}

/// `replays show`.
#[derive(Debug, Group)]
pub struct ReplaysShow {
    /// The replay's id
    #[arg(value_name = "REPLAY")]
    pub replay: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub tenant: Tenant,
    /// Wait until the replay has ended
    #[arg(long, value_name = "SECONDS")]
    pub wait: Option<u64>,
}

/// `replays stop`.
#[derive(Debug, Group)]
pub struct ReplaysStop {
    /// The replay's id
    #[arg(value_name = "REPLAY")]
    pub replay: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub tenant: Tenant,
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub care: Care,
}

/// Commands that erase.
#[derive(Debug, Subcommand)]
pub enum EraseCommand {
    /// Erase an event
    #[command(
        after_help = "Examples:\n  signpost erase event payment-1-approved --tenant acme --dry-run\n  signpost erase event payment-1-approved -t acme --source /core --yes"
    )]
    Event(EraseEvent),
    /// Erase all events about a subject
    #[command(
        after_help = "Examples:\n  signpost erase subject operation payment-1 --tenant acme --dry-run\n  signpost erase subject operation payment-1 -t acme --yes --output json"
    )]
    Subject(EraseSubject),
    /// Erase a tenant with all that it has
    #[command(
        after_help = "Examples:\n  signpost erase tenant acme --dry-run\n  signpost erase tenant acme --yes --wait 600"
    )]
    Tenant(EraseTenant),
    /// Show how far the erasure of a tenant has come
    #[command(
        after_help = "Examples:\n  signpost erase show er_0123456789abcdef0123456789abcdef --tenant acme\n  signpost erase show er_0123456789abcdef0123456789abcdef -t acme --wait 600 --output json"
    )]
    Show(EraseShow),
}

/// `erase event`.
#[derive(Debug, Group)]
pub struct EraseEvent {
    /// The event's id
    #[arg(value_name = "EVENT")]
    pub event: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub tenant: Tenant,
    /// The event's source; needed if several use the id, or if it has not arrived
    #[arg(long)]
    pub source: Option<String>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub care: Care,
}

/// `erase subject`.
#[derive(Debug, Group)]
pub struct EraseSubject {
    /// The type of the events about it, such as operation
    #[arg(value_name = "TYPE")]
    pub kind: String,
    /// The subject of the events, such as an `operationId`
    pub subject: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub tenant: Tenant,
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub care: Care,
}

/// `erase tenant`.
#[derive(Debug, Group)]
pub struct EraseTenant {
    /// The tenant's id, which no variable can replace
    #[arg(value_name = "TENANT")]
    pub name: String,
    /// Wait until the erasure has ended
    #[arg(long, value_name = "SECONDS")]
    pub wait: Option<u64>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub care: Care,
}

/// `erase show`.
#[derive(Debug, Group)]
pub struct EraseShow {
    /// The erasure's id
    #[arg(value_name = "ERASURE")]
    pub erasure: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub tenant: Tenant,
    /// Wait until the erasure has ended
    #[arg(long, value_name = "SECONDS")]
    pub wait: Option<u64>,
}

/// Commands about the queues of what was given up.
#[derive(Debug, Subcommand)]
pub enum DlqCommand {
    /// List messages with their reasons
    #[command(after_help = "Examples:\n  signpost dlq list\n  signpost dlq list --queue rejected --output jsonl")]
    List(DlqList),
    /// Show one message whole
    #[command(
        after_help = "Examples:\n  signpost dlq show 5fea7756-0ea4-451a-a703-a558b933e274\n  signpost dlq show 5fea7756-0ea4-451a-a703-a558b933e274 --output json"
    )]
    Show(DlqShow),
    /// Try all messages again
    #[command(
        after_help = "Examples:\n  signpost dlq redrive --tenant acme --dry-run\n  signpost dlq redrive --queue rejected --yes"
    )]
    Redrive(DlqRedrive),
}

/// A queue of what was given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Queue {
    /// `DeadLetterQueue`: deliveries.
    #[default]
    DeadLetter,
    /// `RejectedQueue`: events.
    Rejected,
}

/// `dlq list`.
#[derive(Debug, Group)]
pub struct DlqList {
    /// The queue
    #[arg(long, value_enum, default_value_t)]
    pub queue: Queue,
    /// The most messages
    #[arg(long, default_value_t = 50, value_name = "NUMBER")]
    pub limit: usize,
}

/// `dlq show`.
#[derive(Debug, Group)]
pub struct DlqShow {
    /// The message's id
    #[arg(value_name = "MESSAGE")]
    pub message: String,
    /// The queue
    #[arg(long, value_enum, default_value_t)]
    pub queue: Queue,
}

/// `dlq redrive`.
#[derive(Debug, Group)]
pub struct DlqRedrive {
    /// The queue
    #[arg(long, value_enum, default_value_t)]
    pub queue: Queue,
    /// Only this tenant's messages
    #[arg(long, short)]
    pub tenant: Option<String>,
    /// Only this endpoint's deliveries
    #[arg(long)]
    pub endpoint: Option<String>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub care: Care,
}

/// Commands about keys.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// List the public keys of a tenant
    #[command(
        after_help = "Examples:\n  signpost keys list --tenant acme\n  signpost keys list --tenant acme --output json > keys.json"
    )]
    List(KeysList),
    /// Replace the signing keys of all tenants at once
    #[command(after_help = "Examples:\n  signpost keys rotate --dry-run\n  signpost keys rotate --yes")]
    Rotate(KeysRotate),
}

/// `keys list`.
#[derive(Debug, Group)]
pub struct KeysList {
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub tenant: Tenant,
}

/// `keys rotate`.
#[derive(Debug, Group)]
pub struct KeysRotate {
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub care: Care,
}

/// `status`.
#[derive(Debug, Group)]
#[command(
    after_help = "Examples:\n  signpost status operation payment-1 --tenant acme --wait 20\n  signpost status operation payment-1 -t acme --output json | jq .history"
)]
pub struct Status {
    /// The type of the events about it, such as operation
    #[arg(value_name = "TYPE")]
    pub kind: String,
    /// The subject of the events, such as an `operationId`
    pub subject: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub tenant: Tenant,
    /// How long to wait for the first state, up to 20
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=20))]
    pub wait: Option<u64>,
}

/// `token-request`.
#[derive(Debug, Group)]
#[command(
    after_help = "Examples:\n  signpost token-request consent-42 --tenant acme --redirect-url https://tpp.example/done\n  signpost token-request consent-42 -t acme --expires-in 900 --output json | jq -r .callbackUrl"
)]
pub struct TokenRequest {
    /// Your id for it, unique within the tenant
    #[arg(value_name = "ID")]
    pub id: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub tenant: Tenant,
    /// The https URL to which Signpost sends the browser
    #[arg(long, value_name = "URL")]
    pub redirect_url: Option<String>,
    /// How long the bank may take, an hour by default
    #[arg(long, value_name = "SECONDS")]
    pub expires_in: Option<u32>,
}

/// Commands about event types.
#[derive(Debug, Subcommand)]
pub enum EventTypeCommand {
    /// Register an event type, or replace it
    #[command(
        after_help = "Examples:\n  signpost event-type put invoice.paid type.json --tenant acme\n  signpost event-type put invoice.paid '{\"schema\":true,\"example\":{}}' -t acme"
    )]
    Put(EventTypePut),
    /// List the event types, those that are built in first
    #[command(
        after_help = "Examples:\n  signpost event-type list --tenant acme\n  signpost event-type list -t acme --output jsonl | jq -r .type"
    )]
    List(EventTypeList),
    /// Show an event type with its schema and its example
    #[command(
        after_help = "Examples:\n  signpost event-type show operation --tenant acme\n  signpost event-type show invoice.paid -t acme --output json"
    )]
    Show(EventTypeOf),
    /// Remove an event type; its events are accepted without a check then
    #[command(
        after_help = "Examples:\n  signpost event-type delete invoice.paid --tenant acme --dry-run\n  signpost event-type delete invoice.paid -t acme --yes"
    )]
    Delete(EventTypeDelete),
}

/// `event-type put`.
#[derive(Debug, Group)]
pub struct EventTypePut {
    /// The type: the CloudEvents `type` of its events
    #[arg(value_name = "TYPE")]
    pub name: String,
    /// Members schema and example, and optionally description and deprecated: JSON, a file with it, or - for stdin
    #[arg(value_name = "FILE|JSON")]
    pub definition: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub tenant: Tenant,
}

/// `event-type list`.
#[derive(Debug, Group)]
pub struct EventTypeList {
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub tenant: Tenant,
}

/// `event-type show`.
#[derive(Debug, Group)]
pub struct EventTypeOf {
    /// The type
    #[arg(value_name = "TYPE")]
    pub name: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub tenant: Tenant,
}

/// `event-type delete`.
#[derive(Debug, Group)]
pub struct EventTypeDelete {
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub event_type: EventTypeOf,
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub care: Care,
}

/// Commands about filters.
#[derive(Debug, Subcommand)]
pub enum FilterCommand {
    /// Say whether an event fits a filter, and where not
    #[command(
        after_help = "Examples:\n  signpost filter test filter.json event.json --tenant acme\n  signpost filter test '{\"type\":[\"invoice\"]}' event.json -t acme"
    )]
    Test(FilterTest),
}

/// `filter test`.
#[derive(Debug, Group)]
pub struct FilterTest {
    /// The filter: JSON, a file with it, or - for stdin
    #[arg(value_name = "FILE|JSON")]
    pub filter: String,
    /// The event: JSON, a file with it, or - for stdin
    #[arg(value_name = "EVENT")]
    pub event: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub tenant: Tenant,
}

/// Commands about the address of notices.
#[derive(Debug, Subcommand)]
pub enum NoticesCommand {
    /// Set the address, or replace all of its settings
    #[command(
        after_help = "Examples:\n  signpost notices set https://hooks.acme.example/notices --tenant acme\n  signpost notices set https://hooks.acme.example/notices -t acme --timeout 5"
    )]
    Set(Box<EndpointCreate>),
    /// Show the address
    #[command(
        after_help = "Examples:\n  signpost notices show --tenant acme\n  signpost notices show -t acme --output json | jq -r .id"
    )]
    Show(EndpointList),
    /// Remove the address
    #[command(
        after_help = "Examples:\n  signpost notices remove --tenant acme --dry-run\n  signpost notices remove -t acme --yes"
    )]
    Remove(NoticesRemove),
}

/// `notices remove`.
#[derive(Debug, Group)]
pub struct NoticesRemove {
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub tenant: Tenant,
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub care: Care,
}

/// `audit`.
#[derive(Debug, Group)]
#[command(
    after_help = "Examples:\n  signpost audit --tenant acme --since 2026-01-31T10:00:00Z\n  signpost audit -t acme --endpoint ep_0123456789abcdef0123456789abcdef --output jsonl | jq .before,.after"
)]
pub struct Audit {
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub tenant: Tenant,
    /// Only entries about this endpoint
    #[arg(long)]
    pub endpoint: Option<String>,
    /// Only entries from this moment on, in RFC 3339
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// The most entries
    #[arg(long, default_value_t = 50, value_name = "NUMBER")]
    pub limit: usize,
}

/// Commands about links to the integrators' page.
#[derive(Debug, Subcommand)]
pub enum PortalLinkCommand {
    /// Make a link, and show its URL once
    #[command(
        after_help = "Examples:\n  signpost portal-link create --tenant acme --can test,replay\n  signpost portal-link create -t acme --endpoint ep_0123456789abcdef0123456789abcdef --session 86400 --output json | jq -r .url"
    )]
    Create(PortalLinkCreate),
    /// List links and their sessions
    #[command(
        after_help = "Examples:\n  signpost portal-link list --tenant acme\n  signpost portal-link list --tenant acme --output jsonl | jq -r .id"
    )]
    List(PortalLinkList),
    /// End a link, or all of a tenant, with the sessions
    #[command(
        after_help = "Examples:\n  signpost portal-link end pl_0123456789abcdef0123456789abcdef --tenant acme --yes\n  signpost portal-link end --all --tenant acme --dry-run"
    )]
    End(PortalLinkEnd),
}

/// `portal-link create`.
#[derive(Debug, Group)]
pub struct PortalLinkCreate {
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub tenant: Tenant,
    /// Only this endpoint; repeat it for more; else all, later ones too
    #[arg(long = "endpoint", value_name = "ENDPOINT")]
    pub endpoints: Vec<String>,
    /// test, replay, edit, secret; view is always allowed
    #[arg(long, value_name = "RIGHT,…", value_delimiter = ',')]
    pub can: Vec<String>,
    /// How long the link can be opened, 15 minutes by default
    #[arg(long, value_name = "SECONDS")]
    pub expires_in: Option<u32>,
    /// How long the session lasts, an hour by default
    #[arg(long, value_name = "SECONDS")]
    pub session: Option<u32>,
    /// The tenant's name on the page
    #[arg(long, value_name = "TEXT")]
    pub name: Option<String>,
}

/// `portal-link list`.
#[derive(Debug, Group)]
pub struct PortalLinkList {
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub tenant: Tenant,
}

/// `portal-link end`.
#[derive(Debug, Group)]
pub struct PortalLinkEnd {
    /// The link's id
    #[arg(value_name = "LINK", required_unless_present = "all", conflicts_with = "all")]
    pub link: Option<String>,
    /// All links of the tenant
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub tenant: Tenant,
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub care: Care,
}

/// `addresses`.
#[derive(Debug, Group)]
#[command(
    after_help = "Examples:\n  signpost addresses\n  signpost addresses --output json | jq -r '.addresses[], .upcoming[]'"
)]
pub struct Addresses {}

/// `whoami`.
#[derive(Debug, Group)]
#[command(
    after_help = "Examples:\n  signpost whoami\n  signpost whoami --stack signpost-test --profile test --output json"
)]
pub struct Whoami {}

/// `smoke`.
#[derive(Debug, Group)]
#[command(
    after_help = "Examples:\n  signpost smoke\n  signpost smoke --stack signpost-test --profile test --output jsonl"
)]
pub struct Smoke {
    /// How long to wait for a delivery
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub wait: u64,
}

/// `doctor`.
#[derive(Debug, Group)]
#[command(
    after_help = "Examples:\n  signpost doctor https://hooks.acme.example/in\n  signpost doctor https://hooks.acme.example/in --client-certificate client.pem --client-key client.key"
)]
pub struct Doctor {
    /// The receiver's URL
    pub url: String,
    /// Allow private addresses, other ports and http, as a local stack does
    #[arg(long)]
    pub allow_private: bool,
    /// PEM file with the client certificate to present, and its chain
    #[arg(long, value_name = "FILE", requires = "client_key")]
    pub client_certificate: Option<String>,
    /// PEM file with the key of the client certificate, or - for stdin
    #[arg(long, value_name = "FILE", requires = "client_certificate")]
    pub client_key: Option<String>,
}

/// `listen`.
#[derive(Debug, Group)]
#[command(
    after_help = "Examples:\n  signpost listen --keys https://api.example/tenants/acme/.well-known/jwks.json --forward-to http://127.0.0.1:3000/in\n  signpost listen --tenant acme --public-url https://tunnel.example/in"
)]
pub struct Listen {
    /// Port on loopback; 0 takes a free one
    #[arg(long, default_value_t = 9000)]
    pub port: u16,
    /// Pass each webhook that verifies on to this URL, and its answer back
    #[arg(long, value_name = "URL")]
    pub forward_to: Option<String>,
    /// Save each request as a file in this folder, for `verify`; a file has the credentials that the request has
    #[arg(long, value_name = "FOLDER")]
    pub save: Option<PathBuf>,
    /// Pass on and acknowledge webhooks that do not verify, too
    #[arg(long)]
    pub skip_verify: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub trusted: Trusted,
    /// With an AWS account: make an endpoint of this tenant, and remove it at the end
    #[arg(long, short, env = "SIGNPOST_TENANT", hide_env_values = true, conflicts_with = "keys")]
    pub tenant: Option<String>,
    /// The URL by which Signpost reaches this machine, such as that of a tunnel
    #[arg(long, requires = "tenant")]
    pub public_url: Option<String>,
    /// Event types for the endpoint, with statuses if you like
    #[arg(long = "type", value_name = "TYPE[:STATUS,…]", requires = "tenant")]
    pub types: Vec<String>,
}

/// `verify`.
#[derive(Debug, Group)]
#[command(
    after_help = "Examples:\n  signpost verify request.txt --keys https://api.example/tenants/acme/.well-known/jwks.json --any-age\n  pbpaste | signpost verify - --keys keys.json --secret-file secret.txt --url https://hooks.acme.example/in"
)]
pub struct Verify {
    /// HTTP message, `curl -i` or `curl -v` output, or HAR file; - for stdin
    #[arg(value_name = "FILE")]
    pub file: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub trusted: Trusted,
    /// Accept a request of any age, because it was saved
    #[arg(long)]
    pub any_age: bool,
}

/// Keys and settings that a receiver trusts.
#[derive(Clone, Debug, Default, Group)]
pub struct Trusted {
    /// The endpoint's `jwksUrl`, or a file with the key set
    #[arg(long, value_name = "URL|FILE")]
    pub keys: Option<String>,
    /// File with the endpoint's signing secret, for `v1`; - for stdin
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<String>,
    /// The endpoint's id, for `v1a`
    #[arg(long, value_name = "ENDPOINT")]
    pub endpoint: Option<String>,
    /// The URL in the endpoint's settings, for HTTP message signatures and GET
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// The endpoint's `jwsAlgorithm`; else that of the key
    #[arg(long, value_name = "ALGORITHM")]
    pub algorithm: Option<String>,
    /// Seconds between the moment of signing and now
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub tolerance: u64,
}

/// `completion`.
#[derive(Debug, Group)]
#[command(
    after_help = "Examples:\n  signpost completion bash > ~/.local/share/bash-completion/completions/signpost\n  signpost completion zsh > ~/.zfunc/_signpost"
)]
pub struct Completion {
    /// The shell
    pub shell: Shell,
}

/// `man`.
#[derive(Debug, Group)]
#[command(after_help = "Examples:\n  signpost man ~/.local/share/man/man1\n  signpost man . && man ./signpost.1")]
pub struct Man {
    /// The directory
    pub directory: String,
}
