//! The stack: queues of dead letters, signing keys, the audit log, and checks.

use clap::{Args as Group, Subcommand, ValueEnum};

use super::{Care, Tenant};

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
