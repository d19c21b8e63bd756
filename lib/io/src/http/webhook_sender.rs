//! Webhooks: sends the requests of attempts, with the authentication that the receiver requires, under one deadline.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use bytes::Bytes;
use http::header::{LOCATION, RETRY_AFTER};
use lru::LruCache;
use reqwest::tls::{TlsInfo, Version};
use reqwest::{Certificate, Identity, Response};
use signpost_core::delivery::attempt::{AttemptError, AttemptResult, judge_status, retry_after};
use signpost_core::delivery::destination::Call;
use signpost_core::delivery::request::Request;
use signpost_core::delivery::response_excerpt::{READ_BYTES, excerpt};
use signpost_core::delivery::sent::{Connection, Sent, shortened, without_query_values};
use signpost_core::delivery::verification::{ALLOWED_ORIGIN, Answer, Preflight};
use signpost_core::endpoint::Method;
use signpost_core::endpoint::auth::{AuthHeader, ClientCredentials};
use signpost_core::endpoint::destination::{Destination, RolePatterns};
use signpost_core::endpoint::target::Target;
use signpost_core::event::TenantId;
use signpost_core::fingerprint::fingerprint;
use signpost_core::secret::Secret;
use signpost_engine::ports;
use signpost_engine::ports::webhooks::Exchange;
use tokio::time::Instant;

use crate::http::access_tokens::Tokens;
use crate::http::destinations::{DestinationError, Destinations};
use crate::http::guarded_client::{Body, Clients, Failed, Guard, Tls, read_body};
use crate::http::pieces;
use signpost_engine::slots::lock;

/// The way in which Signpost authenticates to a receiver.
#[derive(Clone, Debug)]
pub enum ClientAuth {
    /// No authentication.
    Anonymous,
    /// A client certificate; made by [`ClientAuth::certificate`].
    Certificate(ClientCertificate),
    /// A header with a secret.
    Header(AuthHeader),
    /// An access token.
    OAuth2 {
        /// How to request the token.
        client: ClientCredentials,
        /// The client's secret.
        secret: Secret,
    },
}

/// A private key with its certificate, and the authorities that may issue the receiver's.
#[derive(Clone)]
pub struct ClientCertificate {
    identity: Secret,
    trusted: Option<String>,
    fingerprint: [u8; 32],
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCertificate(…)")
    }
}

impl ClientAuth {
    /// Authenticates by a private key with its certificate chain. `trusted` lists the authorities that may issue the
    /// receiver's certificate; without it, the public ones. All are PEM.
    #[must_use]
    pub fn certificate(identity: Secret, trusted: Option<String>) -> Self {
        let fingerprint = fingerprint([identity.reveal(), trusted.as_deref().unwrap_or_default()]);
        Self::Certificate(ClientCertificate { identity, trusted, fingerprint })
    }
}

/// A sender of attempts. Create one per warm environment, because it keeps connections and the certificate store.
pub struct WebhookSender {
    guard: Guard,
    plain: Clients,
    with_certificate: Mutex<LruCache<[u8; 32], Arc<Clients>>>,
    tokens: Tokens,
    /// The way to queues and event buses, if the stack may assume roles.
    destinations: Option<Destinations>,
}

/// How many clients with their own certificates are kept. Each has connections, and a certificate store: 110 KiB and 20 ms
/// if it trusts the system's authorities (measured with 146 of them), and a few KiB if it trusts the endpoint's own.
const MAX_CERTIFICATE_CLIENTS: NonZeroUsize = NonZeroUsize::new(100).unwrap();

impl WebhookSender {
    /// Creates the sender. It connects only to addresses that `guard` has checked.
    ///
    /// # Errors
    /// The certificate store cannot be loaded. The function must not start.
    pub fn new(guard: Guard) -> Result<Self, reqwest::Error> {
        let plain = Clients::new(guard.clone(), Tls::default())?;
        Ok(Self {
            guard,
            plain,
            with_certificate: Mutex::new(LruCache::new(MAX_CERTIFICATE_CLIENTS)),
            tokens: Tokens::default(),
            destinations: None,
        })
    }

    /// Lets the sender put webhooks into queues and on event buses through `roles`, with the settings in `aws`.
    #[must_use]
    pub fn with_roles(self, aws: &SdkConfig, roles: RolePatterns) -> Self {
        Self { destinations: Some(Destinations::new(aws.clone(), roles)), ..self }
    }

    async fn handshake(&self, preflight: Preflight, call: HttpCall<'_>, sender: &str) -> Exchange {
        let sent = Sent::of_preflight(&preflight, call.auth.map(|auth| &*auth.name));
        let Preflight { target, headers } = preflight;
        let outgoing = Outgoing { method: reqwest::Method::OPTIONS, target, headers, body: Bytes::new() };
        let exchange = self.call(outgoing, call, |answer| answer.judge_permission(sender)).await;
        Exchange { sent: Some(sent), ..exchange }
    }

    async fn webhook(
        &self,
        request: Request,
        call: HttpCall<'_>,
        judge: impl Fn(Answer<'_>) -> AttemptResult,
    ) -> Exchange {
        let sent = Sent::of(&request, call.auth.map(|auth| &*auth.name));
        let exchange = self.call(Outgoing::from(request), call, judge).await;
        Exchange { sent: Some(sent), ..exchange }
    }

    /// Sends a request before its deadline. `judge` judges the answer.
    async fn call(
        &self,
        outgoing: Outgoing,
        call: HttpCall<'_>,
        judge: impl Fn(Answer<'_>) -> AttemptResult,
    ) -> Exchange {
        let HttpCall { caller, auth, .. } = call;
        let exchange = self.exchange(outgoing, call, judge).await.unwrap_or_else(Exchange::failed);
        let is_unauthorized = exchange.result.as_ref().is_err_and(|error| error.status() == Some(401));
        if let (ClientAuth::OAuth2 { client, secret }, true, Some(header)) = (caller, is_unauthorized, auth) {
            // The token was revoked before its end, so the next attempt requests another.
            self.tokens.forget(client, secret, header);
        }
        exchange
    }

    /// Returns the header that authenticates the request, if there is one. Requests an access token if none is stored.
    async fn header(&self, caller: &ClientAuth, deadline: Deadline) -> Result<Option<AuthHeader>, AttemptError> {
        match caller {
            ClientAuth::Anonymous | ClientAuth::Certificate(_) => Ok(None),
            ClientAuth::Header(header) => Ok(Some(header.clone())),
            ClientAuth::OAuth2 { client, secret } => {
                let target = self.guard.rules().parse(&client.token_url);
                let target = target.map_err(AttemptError::TokenForbiddenTarget)?;
                self.tokens.get(&self.plain, &target, client, secret, deadline).await.map(Some)
            }
        }
    }

    async fn exchange(
        &self,
        outgoing: Outgoing,
        call: HttpCall<'_>,
        judge: impl Fn(Answer<'_>) -> AttemptResult,
    ) -> Result<Exchange, AttemptError> {
        match call.caller {
            ClientAuth::Certificate(certificate) => {
                let clients = self.with_certificate(certificate)?;
                exchange(&clients, outgoing, call, judge).await
            }
            ClientAuth::Anonymous | ClientAuth::Header(_) | ClientAuth::OAuth2 { .. } => {
                exchange(&self.plain, outgoing, call, judge).await
            }
        }
    }

    /// Returns the client with this certificate, and creates it at the first use. If there are too many, the least
    /// recently used one is dropped.
    fn with_certificate(&self, certificate: &ClientCertificate) -> Result<Arc<Clients>, AttemptError> {
        let read = || -> Result<Tls, reqwest::Error> {
            let identity = Identity::from_pem(certificate.identity.reveal().as_bytes())?;
            let trusted = certificate.trusted.as_ref().map(|pem| Certificate::from_pem_bundle(pem.as_bytes()));
            Ok(Tls { identity: Some(identity), trusted: trusted.transpose()? })
        };
        let unusable = |error: reqwest::Error| AttemptError::BadCertificate(Box::new(error));
        let make = || Clients::new(self.guard.clone(), read()?).map(Arc::new);
        let mut known = lock(&self.with_certificate);
        known.try_get_or_insert(certificate.fingerprint, make).map(Arc::clone).map_err(unusable)
    }
}

impl WebhookSender {
    /// Checks an endpoint's URL, as far as that is possible before its host is resolved.
    ///
    /// # Errors
    /// [`AttemptError::ForbiddenTarget`].
    pub fn target(&self, url: &str) -> Result<Target, AttemptError> {
        self.guard.rules().parse(url).map_err(AttemptError::ForbiddenTarget)
    }

    /// Makes one attempt and judges the answer. `timeout` covers everything from DNS to the last byte, including the
    /// request for an access token.
    pub async fn send(&self, request: Request, caller: &ClientAuth, timeout: Duration) -> Exchange {
        let deadline = Deadline::after(timeout);
        let header = match self.header(caller, deadline).await {
            Ok(header) => header,
            Err(error) => return Exchange::failed(error),
        };
        let call = HttpCall { caller, auth: header.as_ref(), deadline };
        self.webhook(request, call, |answer| judge_status(answer.status, answer.retry_after)).await
    }

    /// Makes one attempt to verify the receiver: it proves that it wants webhooks from `sender` by its answer to
    /// `preflight` or, failing that, by the echo of `challenge` in its answer to `request`. `timeout` covers both.
    ///
    /// Returns the exchange that decided.
    pub async fn prove(
        &self,
        preflight: Preflight,
        request: Request,
        sender: &str,
        challenge: &str,
        caller: &ClientAuth,
        timeout: Duration,
    ) -> Exchange {
        let deadline = Deadline::after(timeout);
        let header = match self.header(caller, deadline).await {
            Ok(header) => header,
            Err(error) => return Exchange::failed(error),
        };
        let call = HttpCall { caller, auth: header.as_ref(), deadline };
        // Some firewalls drop every OPTIONS request, so half of the time is kept for the webhook.
        let half = HttpCall { deadline: Deadline { at: deadline.at - timeout / 2, ..deadline }, ..call };
        let permission = self.handshake(preflight, half, sender).await;
        if permission.result.is_ok() {
            return permission;
        }
        self.webhook(request, call, |answer| answer.judge_echo(challenge)).await
    }
}

impl ports::webhooks::Webhooks for WebhookSender {
    type Access = ClientAuth;
    type Error = DestinationError;

    fn target(&self, url: &str) -> Result<Target, AttemptError> {
        self.target(url)
    }

    async fn send(&self, request: Request, access: &ClientAuth, timeout: Duration) -> Exchange {
        self.send(request, access, timeout).await
    }

    async fn prove(
        &self,
        preflight: Preflight,
        request: Request,
        sender: &str,
        challenge: &str,
        access: &ClientAuth,
        timeout: Duration,
    ) -> Exchange {
        self.prove(preflight, request, sender, challenge, access, timeout).await
    }

    async fn put(
        &self,
        tenant: &TenantId,
        destination: &Destination,
        request: Request,
        call: Call,
        timeout: Duration,
    ) -> Result<Exchange, DestinationError> {
        let destinations = self.destinations.as_ref().ok_or(DestinationError::NoAws)?;
        destinations.put(tenant, destination, &request, call, timeout).await
    }
}

impl fmt::Debug for WebhookSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookSender").field("guard", &self.guard).finish_non_exhaustive()
    }
}

/// The time by which an attempt must end, and its timeout, for error texts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    pub(crate) timeout: Duration,
}

impl Deadline {
    pub(crate) fn after(timeout: Duration) -> Self {
        Self { at: Instant::now() + timeout, timeout }
    }
}

/// The authentication of a request, and its deadline.
#[derive(Clone, Copy)]
pub(crate) struct HttpCall<'a> {
    pub(crate) caller: &'a ClientAuth,
    pub(crate) auth: Option<&'a AuthHeader>,
    pub(crate) deadline: Deadline,
}

/// A request as HTTP has it, without its authentication.
pub(crate) struct Outgoing {
    pub(crate) method: reqwest::Method,
    pub(crate) target: Target,
    pub(crate) headers: Vec<(Cow<'static, str>, String)>,
    pub(crate) body: Bytes,
}

impl From<Request> for Outgoing {
    fn from(request: Request) -> Self {
        let Request { method, target, headers, body } = request;
        let method = match method {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
            Method::Put => reqwest::Method::PUT,
        };
        Self { method, target, headers, body: Bytes::from(body) }
    }
}

/// Sends a request and reads the answer to its end. `judge` judges it.
///
/// A status counts even if the body breaks off. Only an acknowledgement needs the whole answer, because a receiver that
/// breaks off may have failed in the middle of its work.
pub(crate) async fn exchange(
    clients: &Clients,
    outgoing: Outgoing,
    HttpCall { auth, deadline, .. }: HttpCall<'_>,
    judge: impl Fn(Answer<'_>) -> AttemptResult,
) -> Result<Exchange, AttemptError> {
    let Outgoing { method, target, headers, body } = outgoing;
    let build = |client: &reqwest::Client| {
        let request = client.request(method.clone(), target.url().clone());
        let request = if body.is_empty() { request } else { request.body(pieces::body(body.clone())) };
        // The authentication header must be alone, so the endpoint's own header with that name is not sent.
        let is_other = |name: &str| auth.is_none_or(|auth| !auth.name.eq_ignore_ascii_case(name));
        let others = headers.iter().filter(|(name, _)| is_other(name));
        let request = others.fold(request, |request, (name, value)| request.header(&**name, value));
        match auth {
            Some(AuthHeader { name, value }) => request.header(name, value.reveal()),
            None => request,
        }
    };
    let response = clients.send(build, deadline.at).await.map_err(|failed| match failed {
        Failed::Forbidden(refusal) => AttemptError::ForbiddenAddress(refusal),
        Failed::Exchange { fault, source } => {
            AttemptError::Exchange { fault, timeout: deadline.timeout, source: source.map(Into::into) }
        }
    })?;
    let retry_after = wait_of(&response);
    let (status, allowed_origin) = (response.status().as_u16(), only(&response, ALLOWED_ORIGIN));
    let (connection, redirect) = (connection(&response), redirect(&response));
    // One byte more, to see if the body goes on.
    let Body { kept: read, fault } = read_body(response, READ_BYTES + 1, deadline.at).await;
    let result = judge(Answer { status, retry_after, allowed_origin: allowed_origin.as_deref(), body: &read });
    let result = result.and_then(|status| match fault {
        Some(fault) => Err(AttemptError::AnswerBroken { status, fault, timeout: deadline.timeout }),
        None => Ok(status),
    });
    // An acknowledgement is complete without its body.
    let kept = (result.is_err() && !read.is_empty()).then(|| {
        let mut secrets = auth.map(AuthHeader::secrets).unwrap_or_default();
        secrets.extend(target.query_secrets());
        excerpt(&read[..read.len().min(READ_BYTES)], fault.is_some() || read.len() > READ_BYTES, &secrets)
    });
    Ok(Exchange { result, response: kept, sent: None, connection, redirect })
}

/// Returns how long the answer asks Signpost to wait.
pub(crate) fn wait_of(response: &Response) -> Option<Duration> {
    let asked = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    asked.and_then(|value| retry_after(value, SystemTime::now()))
}

/// Returns the value of a header that occurs exactly once.
fn only(response: &Response, name: &str) -> Option<String> {
    let mut values = response.headers().get_all(name).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    value.to_str().ok().map(str::to_owned)
}

fn connection(response: &Response) -> Option<Connection> {
    let tls = response.extensions().get::<TlsInfo>().and_then(TlsInfo::version);
    let tls = tls.map(|version| match version {
        Version::TLS_1_3 => "1.3".to_owned(),
        Version::TLS_1_2 => "1.2".to_owned(),
        other => format!("{other:?}"),
    });
    Some(Connection { address: response.remote_addr()?, tls })
}

/// Returns the target of a redirect, resolved against the URL of the request (RFC 9110, section 10.2.2).
fn redirect(response: &Response) -> Option<String> {
    let location = response.headers().get(LOCATION).filter(|_| response.status().is_redirection())?;
    let target = response.url().join(location.to_str().ok()?).ok()?;
    Some(shortened(&without_query_values(&target), MAX_REDIRECT_BYTES))
}

/// How many bytes of a redirect's target are kept.
const MAX_REDIRECT_BYTES: usize = 200;
