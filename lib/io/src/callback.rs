//! The one HTTP client for callbacks: no redirects, no proxies, no private networks, and one deadline for it all.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Response};
use signpost_core::attempt::{AttemptError, AttemptResult, judge_status};
use signpost_core::endpoint::Method;
use signpost_core::request::Request;
use signpost_core::target::{Target, TargetError, TargetRules};

use crate::connections::{self, Connection, ObserveConnections};

/// Sends attempts. One per warm environment: it keeps connections and the certificate store.
#[derive(Debug)]
pub struct Callbacks {
    pooled: Client,
    /// Opens a connection for each request. Made when it is first needed, for it loads the certificate store again.
    unpooled: OnceLock<Client>,
    rules: TargetRules,
}

/// How many bytes of an answer are read, so that a connection can be used again; what is beyond is left unread.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;

/// How long an idle connection is kept. Receivers close theirs after 5 to 75 s by default, and Lambda may freeze for
/// longer: the shorter, the fewer dead connections are met.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(10);

impl Callbacks {
    /// Sets up the client; every address it ever connects to has passed `rules`.
    ///
    /// # Errors
    /// The certificate store cannot be loaded: the function must not start.
    pub fn new(rules: TargetRules) -> Result<Self, reqwest::Error> {
        Ok(Self { pooled: builder(rules).build()?, unpooled: OnceLock::new(), rules })
    }

    /// Judges an endpoint's URL, as far as that can be told before its host is resolved.
    ///
    /// # Errors
    /// [`AttemptError::ForbiddenTarget`].
    pub fn target(&self, url: &str) -> Result<Target, AttemptError> {
        self.rules.parse(url).map_err(AttemptError::ForbiddenTarget)
    }

    /// Makes one attempt and judges the answer. `timeout` covers everything from DNS to the last byte.
    ///
    /// # Errors
    /// Everything that is no acknowledgement, told apart as the tenant needs it.
    pub async fn send(&self, request: Request, timeout: Duration) -> AttemptResult {
        match tokio::time::timeout(timeout, self.exchange(request)).await {
            Err(_) => Err(AttemptError::TimedOut(timeout)),
            Ok(Err(error)) => Err(classify(error)),
            Ok(Ok(status)) => judge_status(status),
        }
    }

    /// Sends a request, reads the answer to its end, and gives the status.
    ///
    /// Lambda freezes between invocations, and what a pooled connection was connected to may be gone when it thaws. So a
    /// request whose *reused* connection was closed before anything was answered is sent once more, over a new one. On
    /// a new connection, the same is the receiver's failure.
    async fn exchange(&self, request: Request) -> Result<u16, reqwest::Error> {
        let Request { method, target, headers, body } = request;
        let method = match method {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
            Method::Put => reqwest::Method::PUT,
        };
        let body = Bytes::from(body);
        let build = |client: &Client| {
            let request = client.request(method.clone(), target.url().clone());
            let request = if body.is_empty() { request } else { request.body(body.clone()) };
            headers.iter().fold(request, |request, (name, value)| request.header(*name, value))
        };
        let response = match connections::observe(build(&self.pooled).send()).await {
            (Err(error), Connection::Reused) if connections::was_closed(&error) => {
                build(self.unpooled()?).send().await?
            }
            (sent, _) => sent?,
        };
        let status = response.status().as_u16();
        drain(response).await.map(|()| status)
    }

    fn unpooled(&self) -> Result<&Client, reqwest::Error> {
        if let Some(client) = self.unpooled.get() {
            return Ok(client);
        }
        let client = builder(self.rules).pool_max_idle_per_host(0).build()?;
        Ok(self.unpooled.get_or_init(|| client))
    }
}

fn builder(rules: TargetRules) -> ClientBuilder {
    Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .retry(reqwest::retry::never())
        .tcp_nodelay(true)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .connector_layer(ObserveConnections)
        .dns_resolver(VettedResolver(rules))
}

/// Reads an answer's body, up to [`MAX_RESPONSE_BYTES`].
async fn drain(mut response: Response) -> Result<(), reqwest::Error> {
    let mut read = 0;
    while read < MAX_RESPONSE_BYTES {
        let Some(chunk) = response.chunk().await? else { break };
        read += chunk.len();
    }
    Ok(())
}

fn classify(error: reqwest::Error) -> AttemptError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(current) = cause {
        if let Some(refusal) = current.downcast_ref::<TargetError>() {
            return AttemptError::ForbiddenTarget(refusal.clone());
        }
        cause = current.source();
    }
    AttemptError::Connection(Box::new(error.without_url())) // A URL may hold the tenant's token in its query.
}

/// Resolves names as the system does and refuses a host if *any* of its addresses is none we call: the connection is
/// made to the very addresses that were vetted, so a second answer (DNS rebinding) never counts.
struct VettedResolver(TargetRules);

impl Resolve for VettedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let rules = self.0;
        Box::pin(async move {
            let addresses: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            for address in &addresses {
                rules.vet_address(address.ip())?;
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}
