//! Commands that need no stack: verify and receive webhooks, completions, and the manual page.

use std::path::PathBuf;

use clap::Args as Group;
use clap_complete::Shell;

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
