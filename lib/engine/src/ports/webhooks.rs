//! The way to receivers, and the keys that sign.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use signpost_core::delivery::attempt::{AttemptError, AttemptResult};
use signpost_core::delivery::destination::Call;
use signpost_core::delivery::request::Request;
use signpost_core::delivery::sent::{Connection, Sent};
use signpost_core::delivery::verification::Preflight;
use signpost_core::endpoint::destination::Destination;
use signpost_core::endpoint::target::Target;
use signpost_core::event::TenantId;
use signpost_core::signing::algorithm::Algorithm;
use signpost_core::signing::signer::Signer;

/// A sender of webhooks.
pub trait Webhooks {
    /// How it authenticates to a receiver.
    type Access;
    /// The reason why nothing can be sent to a destination: an internal error, never charged to an endpoint.
    type Error: Error + Send + Sync + 'static;

    /// Checks an endpoint's URL, as far as that is possible before its host is resolved.
    ///
    /// # Errors
    /// [`AttemptError::ForbiddenTarget`].
    fn target(&self, url: &str) -> Result<Target, AttemptError>;

    /// Makes one attempt and judges the answer. `timeout` covers everything from DNS to the last byte, including the
    /// request for an access token.
    async fn send(&self, request: Request, access: &Self::Access, timeout: Duration) -> Exchange;

    /// Makes one attempt by which the receiver must prove that it wants webhooks from `sender`: by its answer to
    /// `preflight`, or to the request with `challenge`.
    async fn prove(
        &self,
        preflight: Preflight,
        request: Request,
        sender: &str,
        challenge: &str,
        access: &Self::Access,
        timeout: Duration,
    ) -> Exchange;

    /// Makes one attempt to put a webhook into a queue or on an event bus of `tenant`'s customer, and judges AWS's answer.
    /// `request` is the webhook in `call`. `timeout` also covers the request for the role's credentials.
    ///
    /// # Errors
    /// The role could not be assumed by a fault on Signpost's side.
    async fn put(
        &self,
        tenant: &TenantId,
        destination: &Destination,
        request: Request,
        call: Call,
        timeout: Duration,
    ) -> Result<Exchange, Self::Error>;
}

/// The result of sending a request.
#[derive(Debug)]
pub struct Exchange {
    /// The acknowledgement, or the reason why there is none.
    pub result: AttemptResult,
    /// The beginning of the body of a refusal, without the secrets of the request; `None` if there was no body.
    pub response: Option<String>,
    /// The request as it was sent; `None` if nothing was sent.
    pub sent: Option<Sent>,
    /// The connection of the answer; `None` if no answer came.
    pub connection: Option<Connection>,
    /// Where the answer redirects to, without the values of the URL's query.
    pub redirect: Option<String>,
}

impl Exchange {
    /// Creates the result of an attempt that sent nothing.
    #[must_use]
    pub fn failed(error: AttemptError) -> Self {
        Self { result: Err(error), response: None, sent: None, connection: None, redirect: None }
    }
}

/// The signing keys of all tenants.
pub trait Signers {
    /// The reason why no key can sign: an internal error, never charged to an endpoint.
    type Error: Error + Send + Sync + 'static;

    /// Returns the signer of the algorithm's current key.
    ///
    /// # Errors
    /// No key can sign.
    async fn current(&self, algorithm: Algorithm) -> Result<Arc<Signer>, Self::Error>;
}
