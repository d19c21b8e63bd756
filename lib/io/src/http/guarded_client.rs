//! Guarded HTTP clients: no redirects, no proxies, no private networks. Every request to a URL that is not Signpost's
//! own uses one of them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, Identity, Response};
use signpost_core::delivery::cause::{ExchangeFault, Stage};
use signpost_core::endpoint::target::{Target, TargetError, TargetRules};
use tokio::time::{Instant, timeout_at};

use crate::http::connections::{Connection, ObserveConnections, observe};
use crate::http::exchange_faults::{fault_of, refusal, was_closed};

/// The rules for targets, and the way to resolve names.
#[derive(Clone)]
pub struct Guard {
    rules: Arc<TargetRules>,
    lookup: Arc<Lookup>,
}

/// A function that resolves a host's name to its addresses.
pub type Lookup = dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync;

impl Guard {
    /// Creates a guard with `rules` and the system's name resolution. Logs a warning if the rules are dangerous.
    #[must_use]
    pub fn new(rules: TargetRules) -> Self {
        if rules.dangerously_allow_http || rules.dangerously_allow_private_targets {
            tracing::warn!(?rules, "DANGEROUS target rules: for local and test stacks only");
        }
        Self::with_lookup(rules, Arc::new(|host| Box::pin(system_lookup(host))))
    }

    /// Creates a guard for the services of AWS, which have private addresses behind VPC endpoints. The hosts are not those of
    /// settings.
    pub(crate) fn of_aws(rules: TargetRules) -> Self {
        Self::with_lookup(rules, Arc::new(|host| Box::pin(system_lookup(host))))
    }

    /// Creates a guard that resolves names with `lookup`.
    #[must_use]
    pub fn with_lookup(rules: TargetRules, lookup: Arc<Lookup>) -> Self {
        Self { rules: Arc::new(rules), lookup }
    }

    /// Returns the rules.
    #[must_use]
    pub fn rules(&self) -> &TargetRules {
        &self.rules
    }

    /// Checks the current addresses of a host, so that a forbidden one is found before the endpoint is stored. Hosts
    /// that do not resolve are allowed. Makes one look-up, which may take `patience`.
    ///
    /// # Errors
    /// One of its addresses is forbidden.
    pub async fn probe(&self, target: &Target, patience: Duration) -> Result<(), TargetError> {
        let Some(host) = target.url().domain() else { return Ok(()) }; // An address in the URL was checked before.
        match tokio::time::timeout(patience, (self.lookup)(host.to_owned())).await {
            Ok(Ok(addresses)) => addresses.into_iter().try_for_each(|address| self.rules.vet_address(address)),
            Ok(Err(_)) | Err(_) => Ok(()),
        }
    }
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").field("rules", &self.rules).finish_non_exhaustive()
    }
}

async fn system_lookup(host: String) -> io::Result<Vec<IpAddr>> {
    Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect())
}

/// The TLS settings of a client.
#[derive(Clone, Default)]
pub(crate) struct Tls {
    /// The client's certificate, with its private key.
    pub(crate) identity: Option<Identity>,
    /// The authorities that may issue servers' certificates; the system's if `None`.
    pub(crate) trusted: Option<Vec<Certificate>>,
}

/// A client with a connection pool, and one that opens a connection for each request.
pub(crate) struct Clients {
    guard: Guard,
    tls: Tls,
    pooled: Client,
    /// Created at the first use, because it loads the certificate store again.
    unpooled: OnceLock<Client>,
}

/// How long an idle connection is kept. Receivers close theirs after 5 to 75 s by default, and Lambda may freeze the
/// process for longer. With a shorter time, fewer connections are dead when they are reused.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(10);

impl Clients {
    pub(crate) fn new(guard: Guard, tls: Tls) -> Result<Self, reqwest::Error> {
        Ok(Self { pooled: builder(&guard, &tls).build()?, unpooled: OnceLock::new(), guard, tls })
    }

    /// Sends the request that `build` makes, and waits for the head of the answer until `deadline`.
    ///
    /// Lambda freezes the process between invocations, and a pooled connection may be dead afterwards. So if a *reused*
    /// connection was closed before any answer, the request is sent once more on a new one. On a new connection, the
    /// same is the receiver's failure.
    pub(crate) async fn send(
        &self,
        build: impl Fn(&Client) -> reqwest::RequestBuilder,
        deadline: Instant,
    ) -> Result<Response, Failed> {
        let (sent, connection) = observe(timeout_at(deadline, build(&self.pooled).send())).await;
        let (sent, connection) = match (sent, connection) {
            (Ok(Err(error)), Connection::Reused) if was_closed(&error) => {
                let client = self.unpooled().map_err(|error| self.failed(error))?;
                observe(timeout_at(deadline, build(client).send())).await
            }
            sent => sent,
        };
        let Ok(sent) = sent else {
            let stage = if connection == Connection::Opening { Stage::Connecting } else { Stage::Waiting };
            return Err(Failed::Exchange { fault: ExchangeFault::TimedOut(stage), source: None });
        };
        let response = sent.map_err(|error| self.failed(error))?;
        if is_framed_twice(&response) {
            return Err(Failed::Exchange { fault: ExchangeFault::AnswerAmbiguous, source: None });
        }
        Ok(response)
    }

    fn failed(&self, error: reqwest::Error) -> Failed {
        match refusal(&error) {
            Some(refusal) => Failed::Forbidden(refusal), // URLs, and addresses in them, were checked before.
            None => Failed::Exchange {
                fault: fault_of(&error, self.tls.identity.is_some()),
                source: Some(error.without_url()), // A URL's query may contain a token.
            },
        }
    }

    fn unpooled(&self) -> Result<&Client, reqwest::Error> {
        if let Some(client) = self.unpooled.get() {
            return Ok(client);
        }
        let client = builder(&self.guard, &self.tls).pool_max_idle_per_host(0).build()?;
        Ok(self.unpooled.get_or_init(|| client))
    }
}

/// The reason why there is no answer.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The host resolved to a forbidden address.
    Forbidden(TargetError),
    /// The exchange failed.
    Exchange { fault: ExchangeFault, source: Option<reqwest::Error> },
}

fn builder(guard: &Guard, tls: &Tls) -> ClientBuilder {
    let builder = Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .retry(reqwest::retry::never())
        .tcp_nodelay(true)
        .tls_info(true)
        // The status line decides. Other HTTP clients accept such heads, so their senders believe that they answered.
        .http1_allow_obsolete_multiline_headers_in_responses(true)
        .http1_allow_spaces_after_header_name_in_responses(true)
        .http1_ignore_invalid_headers_in_responses(true)
        .http1_max_headers(MAX_HEADERS)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .connector_layer(ObserveConnections)
        .dns_resolver(VettedResolver(guard.clone()));
    let builder = match &tls.identity {
        Some(identity) => builder.identity(identity.clone()),
        None => builder,
    };
    match &tls.trusted {
        Some(trusted) => builder.tls_certs_only(trusted.iter().cloned()),
        None => builder,
    }
}

/// How many header lines of an answer are read. hyper's own limit is 100, and a head has at most 400 KiB.
const MAX_HEADERS: usize = 1_000;

/// How many bytes of an answer are read, so that its connection can be reused. The rest is not read.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;

/// An answer's body, as far as it was read.
pub(crate) struct Body {
    /// Its first bytes.
    pub(crate) kept: Vec<u8>,
    /// Why the body was not read to its end; `None` if it was.
    pub(crate) fault: Option<ExchangeFault>,
}

/// Reads an answer's body, up to [`MAX_RESPONSE_BYTES`] and until `deadline`, and keeps its first `most` bytes. If the
/// body breaks off, it keeps the part that arrived.
pub(crate) async fn read_body(mut response: Response, most: usize, deadline: Instant) -> Body {
    let (mut read, mut kept) = (0, Vec::new());
    let fault = loop {
        if read >= MAX_RESPONSE_BYTES {
            break None;
        }
        match timeout_at(deadline, response.chunk()).await {
            Ok(Ok(None)) => break None,
            Ok(Ok(Some(chunk))) => {
                read += chunk.len();
                keep(&mut kept, &chunk, most);
            }
            Ok(Err(_)) => break Some(ExchangeFault::AnswerCut),
            Err(_) => break Some(ExchangeFault::TimedOut(Stage::Reading)),
        }
    };
    Body { kept, fault }
}

/// Returns whether an answer states the end of its body in two ways (RFC 9112, section 6.3). Then it is unclear where
/// the next answer on the connection begins. So the answer is not trusted, and the connection is not reused.
fn is_framed_twice(response: &Response) -> bool {
    let mut lengths = response.headers().get_all(CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else { return false };
    lengths.any(|other| other != first) || response.headers().contains_key(TRANSFER_ENCODING)
}

fn keep(kept: &mut Vec<u8>, chunk: &Bytes, most: usize) {
    let room = most.saturating_sub(kept.len()).min(chunk.len());
    kept.extend_from_slice(&chunk[..room]);
}

/// A host's name does not resolve.
#[derive(Debug, thiserror::Error)]
#[error("name does not resolve")]
pub(crate) struct LookupError(#[source] io::Error);

/// A resolver that refuses a host if *any* of its addresses is forbidden. The client connects to exactly the addresses
/// that were checked, so a second answer (DNS rebinding) has no effect.
struct VettedResolver(Guard);

impl Resolve for VettedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let Guard { rules, lookup } = self.0.clone();
        Box::pin(async move {
            let addresses = lookup(name.as_str().to_owned()).await.map_err(LookupError)?;
            for address in &addresses {
                rules.vet_address(*address)?;
            }
            Ok(Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs)
        })
    }
}
