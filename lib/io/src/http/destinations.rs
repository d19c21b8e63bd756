//! Destinations: puts webhooks into queues and on event buses of customers, through roles in their accounts.
//!
//! SQS and EventBridge are called by AWS's JSON protocol over the client of webhooks, so each attempt is one request, with
//! a deadline, a status and an answer on record. An SDK would send again by itself, and the SDK of EventBridge would make
//! every cold start longer.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_sdk_sts::error::ProvideErrorMetadata as _;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use bytes::Bytes;
use signpost_core::delivery::attempt::AttemptError;
use signpost_core::delivery::destination::{Call, is_of_credentials, judge};
use signpost_core::delivery::request::Request;
use signpost_core::delivery::sent::Sent;
use signpost_core::delivery::verification::Answer;
use signpost_core::endpoint::destination::{Destination, RoleArn, RolePatterns};
use signpost_core::endpoint::target::{Target, TargetError, TargetRules};
use signpost_core::event::TenantId;
use signpost_core::fingerprint::fingerprint;
use signpost_engine::ports::webhooks::Exchange;
use signpost_engine::slots::Slots;
use tokio::sync::Mutex;
use tokio::time::timeout_at;

use crate::aws::AwsError;
use crate::http::guarded_client::{Clients, Guard, Tls};
use crate::http::webhook_sender::{ClientAuth, Deadline, HttpCall, Outgoing, exchange};

/// A sender to destinations. What it needs is made at the first use, so that stacks without destinations pay nothing.
pub(crate) struct Destinations {
    aws: SdkConfig,
    roles: RolePatterns,
    connected: OnceLock<Connected>,
    sessions: Slots<[u8; 32], Mutex<CacheEntry>>,
}

struct Connected {
    clients: Clients,
    sts: aws_sdk_sts::Client,
}

/// The state of one role, as one tenant assumes it.
#[derive(Default)]
struct CacheEntry {
    session: Option<Session>,
    /// Why STS refused the role, and until when other callers get this answer.
    refusal: Option<(Arc<dyn std::error::Error + Send + Sync>, SystemTime)>,
}

struct Session {
    credentials: Credentials,
    /// By the wall clock, because the monotonic one may stop while Lambda freezes the process.
    good_until: SystemTime,
}

/// The reason why nothing can be sent to a destination: an internal error, never charged to the endpoint.
#[derive(Debug, thiserror::Error)]
pub enum DestinationError {
    /// The client for AWS could not be made.
    #[error("certificate store cannot be loaded")]
    Client(#[source] reqwest::Error),
    /// The environment has no AWS settings.
    #[error("this sender has no settings of AWS")]
    NoAws,
    /// STS gave no credentials, for a reason that is not the role's.
    #[error("credentials of the role are not available")]
    NoCredentials(#[from] AwsError),
    /// The stack may not assume the role any more.
    #[error("`{0}` is no role that the stack may assume; add it to the parameter `DestinationRoleArns`")]
    RoleNotAllowed(String),
    /// AWS did not accept the credentials, although they should be valid.
    #[error("AWS refused the credentials of the role")]
    Rejected(#[source] AttemptError),
    /// The call could not be signed.
    #[error("call to AWS could not be signed")]
    Unsigned,
    /// The address of AWS in the environment is not valid.
    #[error("the environment's endpoint of AWS cannot be used")]
    UnusableEndpoint(#[source] TargetError),
}

/// How many roles' credentials are kept.
const CAPACITY: usize = 1_000;
/// How long before their end credentials are not used any more. They are valid for an hour.
const MARGIN: Duration = Duration::from_mins(5);
/// How long a refusal is shared, so that the deliveries of one batch do not ask STS one by one.
const REFUSAL_SHARED_FOR: Duration = Duration::from_secs(1);
/// The maximum length of a session's name ([`AssumeRole`][api]).
///
/// [api]: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
const MAX_SESSION_NAME_BYTES: usize = 64;

impl Destinations {
    /// Creates a sender that may assume `roles`.
    pub(crate) fn new(aws: SdkConfig, roles: RolePatterns) -> Self {
        Self { aws, roles, connected: OnceLock::new(), sessions: Slots::new(CAPACITY) }
    }

    /// Makes one attempt and judges AWS's answer. `timeout` covers the request for credentials too.
    ///
    /// Needs `sts:AssumeRole`, once per role, tenant and hour.
    ///
    /// # Errors
    /// The role could not be assumed by a fault on this side.
    pub(crate) async fn put(
        &self,
        tenant: &TenantId,
        destination: &Destination,
        request: &Request,
        call: Call,
        timeout: Duration,
    ) -> Result<Exchange, DestinationError> {
        let deadline = Deadline::after(timeout);
        if !self.roles.allows(&destination.role) {
            return Err(DestinationError::RoleNotAllowed(destination.role.as_str().to_owned()));
        }
        let connected = self.connected()?;
        let key = fingerprint([tenant.as_str(), destination.role.as_str(), &destination.external_id]);
        let credentials = match self.credentials(&key, &connected.sts, tenant, destination, deadline).await? {
            Ok(credentials) => credentials,
            Err(refused) => return Ok(Exchange::failed(refused)),
        };
        let kind = destination.resource.kind;
        let outgoing = self.signed(destination, call, &credentials)?;
        let http = HttpCall { caller: &ClientAuth::Anonymous, auth: None, deadline };
        let judged = |answer: Answer<'_>| judge(kind, answer.status, answer.body);
        let exchange = exchange(&connected.clients, outgoing, http, judged).await.unwrap_or_else(Exchange::failed);
        if matches!(exchange.result, Err(AttemptError::Destination { .. })) {
            // The role may have changed since, or its sessions were ended. The next attempt uses new credentials.
            self.forget(key, &credentials);
        }
        if is_of_credentials(&exchange.result)
            && let Err(error) = exchange.result
        {
            return Err(DestinationError::Rejected(error));
        }
        Ok(Exchange { sent: Some(Sent::of(request, None)), ..exchange })
    }

    fn connected(&self) -> Result<&Connected, DestinationError> {
        if let Some(connected) = self.connected.get() {
            return Ok(connected);
        }
        let clients = Clients::new(Guard::of_aws(self.rules()), Tls::default()).map_err(DestinationError::Client)?;
        let sts = aws_sdk_sts::Client::new(&self.aws);
        Ok(self.connected.get_or_init(|| Connected { clients, sts }))
    }

    /// Returns the rules for the addresses of AWS. A VPC endpoint of SQS or EventBridge has a private address. Only hosts
    /// of AWS are called, which an endpoint's settings cannot change.
    fn rules(&self) -> TargetRules {
        let is_plain = self.aws.endpoint_url().is_some_and(|url| url.starts_with("http://"));
        let rules = TargetRules { dangerously_allow_private_targets: true, ..TargetRules::INTERNET };
        TargetRules { dangerously_allow_http: is_plain, ..rules }
    }

    fn target(&self, destination: &Destination) -> Result<Target, DestinationError> {
        let base = destination.resource.service_url();
        let url = self.aws.endpoint_url().unwrap_or(&base);
        self.rules().parse(url).map_err(DestinationError::UnusableEndpoint)
    }

    /// Returns valid credentials of the role, or the reason why the customer's account does not give any. Concurrent
    /// callers share one call.
    async fn credentials(
        &self,
        key: &[u8; 32],
        sts: &aws_sdk_sts::Client,
        tenant: &TenantId,
        destination: &Destination,
        deadline: Deadline,
    ) -> Result<Result<Credentials, AttemptError>, DestinationError> {
        let late = |_| AwsError::of("sts:AssumeRole")(std::io::Error::from(std::io::ErrorKind::TimedOut));
        let slot = self.sessions.get(*key);
        let mut slot = timeout_at(deadline.at, slot.lock()).await.map_err(late)?;
        let now = SystemTime::now();
        if let Some(session) = slot.session.as_ref().filter(|session| now < session.good_until) {
            return Ok(Ok(session.credentials.clone()));
        }
        if let Some((refusal, _)) = slot.refusal.as_ref().filter(|(_, until)| now < *until) {
            return Ok(Err(AttemptError::RoleRefused(Box::new(Arc::clone(refusal)))));
        }
        let assumed = assume(sts, tenant, &destination.role, &destination.external_id);
        match timeout_at(deadline.at, Box::pin(assumed)).await.map_err(late)?? {
            Ok(credentials) => {
                let end = credentials.expiry().unwrap_or(now);
                let good_until = end.checked_sub(MARGIN).unwrap_or(now);
                *slot = CacheEntry {
                    session: Some(Session { credentials: credentials.clone(), good_until }),
                    refusal: None,
                };
                Ok(Ok(credentials))
            }
            Err(refusal) => {
                *slot = CacheEntry { session: None, refusal: Some((Arc::clone(&refusal), now + REFUSAL_SHARED_FOR)) };
                Ok(Err(AttemptError::RoleRefused(Box::new(refusal))))
            }
        }
    }

    /// Makes the next caller assume the role again. Does nothing while another caller does so.
    fn forget(&self, key: [u8; 32], used: &Credentials) {
        let slot = self.sessions.get(key);
        if let Ok(mut slot) = slot.try_lock()
            && slot.session.as_ref().is_some_and(|own| own.credentials.access_key_id() == used.access_key_id())
        {
            slot.session = None;
        }
    }

    /// Signs a call by AWS Signature Version 4.
    fn signed(
        &self,
        destination: &Destination,
        call: Call,
        credentials: &Credentials,
    ) -> Result<Outgoing, DestinationError> {
        let Call { content_type, operation, body } = call;
        let target = self.target(destination)?;
        let headers = [("content-type", content_type), ("x-amz-target", operation)];
        let identity = credentials.clone().into();
        let resource = &destination.resource;
        let params = SigningParams::builder()
            .identity(&identity)
            .region(resource.region())
            .name(resource.kind.code())
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|_| DestinationError::Unsigned)?;
        let body = Bytes::from(body);
        let signable =
            SignableRequest::new("POST", target.url().as_str(), headers.into_iter(), SignableBody::Bytes(&body))
                .map_err(|_| DestinationError::Unsigned)?;
        let (instructions, _) = sign(signable, &params.into()).map_err(|_| DestinationError::Unsigned)?.into_parts();
        let (signed, _) = instructions.into_parts();
        let headers = headers.map(|(name, value)| (name.into(), value.to_owned())).into_iter();
        let signed = signed.iter().map(|header| (header.name().into(), header.value().to_owned()));
        Ok(Outgoing { method: reqwest::Method::POST, target, headers: headers.chain(signed).collect(), body })
    }
}

/// Why STS refused a role: its owner can change that.
type Refusal = Arc<dyn std::error::Error + Send + Sync>;

/// Assumes a role for a tenant.
///
/// STS answers `AccessDenied` if the role does not exist or does not trust this caller, and `ValidationError` if its ARN is
/// not one. Everything else is not the customer's fault: no network, a throttle, or credentials of this function.
async fn assume(
    sts: &aws_sdk_sts::Client,
    tenant: &TenantId,
    role: &RoleArn,
    external_id: &str,
) -> Result<Result<Credentials, Refusal>, AwsError> {
    const CALL: &str = "sts:AssumeRole";
    let call = sts.assume_role().role_arn(role.as_str()).external_id(external_id);
    let answer = match call.role_session_name(session_name(tenant)).send().await {
        Ok(answer) => answer,
        Err(error) if matches!(error.code(), Some("AccessDenied" | "ValidationError")) => {
            return Ok(Err(Arc::new(error)));
        }
        Err(error) => return Err(AwsError::of(CALL)(error)),
    };
    let lacking = || AwsError::of(CALL)(std::io::Error::other("the answer of STS lacks credentials"));
    let credentials = answer.credentials.ok_or_else(lacking)?;
    let expires = SystemTime::try_from(credentials.expiration).map_err(|_| lacking())?;
    let (id, secret) = (credentials.access_key_id, credentials.secret_access_key);
    Ok(Ok(Credentials::new(id, secret, Some(credentials.session_token), Some(expires), "destination")))
}

/// Returns the name of the session, which the customer sees in `CloudTrail`.
fn session_name(tenant: &TenantId) -> String {
    let mut name = format!("signpost-{}", tenant.as_str());
    name.truncate(MAX_SESSION_NAME_BYTES); // Tenants are ASCII.
    name
}

impl fmt::Debug for Destinations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Destinations").field("roles", &self.roles).finish_non_exhaustive()
    }
}
