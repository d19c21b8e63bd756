//! The things that a tenant sets up: endpoints, notices, event types, filters, and links to the integrators' page.

use clap::{Args as Group, Subcommand};

use super::{Care, Tenant};

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
