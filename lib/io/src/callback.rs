//! The one HTTP client for callbacks: no redirects, no proxies, no private networks, and one deadline for it all.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use signpost_core::attempt::{AttemptError, AttemptResult, judge_status};
use signpost_core::request::Request;
use signpost_core::target::{TargetError, TargetRules};

use crate::connections::{self, Connection, ObserveConnections};

/// Sends attempts. One per warm environment: it keeps connections and the certificate store.
#[derive(Clone, Debug)]
pub struct Callbacks {
    client: Client,
    rules: TargetRules,
}

/// How many bytes of an answer are read, so that a connection can be used again; what is beyond is left unread.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;

impl Callbacks {
    /// Sets up the client; every address it ever connects to has passed `rules`.
    ///
    /// # Errors
    /// The certificate store cannot be loaded: the function must not start.
    pub fn new(rules: TargetRules) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .retry(reqwest::retry::never())
            .tcp_nodelay(true)
            .connector_layer(ObserveConnections)
            .dns_resolver(VettedResolver(rules))
            .build()?;
        Ok(Self { client, rules })
    }

    /// Makes one attempt and judges the answer. `timeout` covers everything from DNS to the last byte.
    ///
    /// # Errors
    /// Everything that is no acknowledgement, told apart as the tenant needs it.
    pub async fn post(&self, url: &str, request: Request, timeout: Duration) -> AttemptResult {
        let url = self.rules.parse_url(url).map_err(AttemptError::ForbiddenTarget)?;
        match tokio::time::timeout(timeout, self.exchange(url, &request.headers, request.body.into())).await {
            Err(_) => Err(AttemptError::TimedOut(timeout)),
            Ok(Err(error)) => Err(classify(error)),
            Ok(Ok(status)) => judge_status(status),
        }
    }

    /// Sends a request, reads the answer to its end, and gives the status.
    ///
    /// Lambda freezes between invocations, and what a pooled connection was connected to may be gone when it thaws. So a
    /// request that failed before anything was answered, on a connection that was *reused*, is sent once more; each
    /// such connection leaves the pool as it fails. On a new connection, a failure is the receiver's.
    async fn exchange(&self, url: Url, headers: &[(&str, String)], body: Bytes) -> Result<u16, reqwest::Error> {
        let mut stale_connections = 0;
        let response = loop {
            let post = self.client.post(url.clone()).body(body.clone());
            let post = headers.iter().fold(post, |post, (name, value)| post.header(*name, value));
            match connections::observe(post.send()).await {
                (Err(_), Connection::Reused) if stale_connections < MAX_STALE_CONNECTIONS => stale_connections += 1,
                (sent, _) => break sent?,
            }
        };
        let status = response.status().as_u16();
        drain(response).await.map(|()| status)
    }
}

/// How many dead connections one request may meet: one for each delivery of a batch, and some.
const MAX_STALE_CONNECTIONS: u32 = 16;

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
