//! Events and deliveries: send, show, replay and erase them.

use clap::{Args as Group, Subcommand, ValueEnum};

use super::{Care, Tenant};

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
    /// How long to wait until the event has arrived and each delivery has an attempt
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
