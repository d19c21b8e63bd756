//! Token requests, which bank callbacks answer.

use signpost_core::event::TenantId;
use signpost_core::random_secret::SecretHash;
use signpost_core::token_request::{RequestId, TokenRequest};

/// The token requests.
pub trait TokenRequests {
    /// The reason why a call failed.
    type Error;

    /// Returns the tenant and the token request that a state belongs to.
    ///
    /// # Errors
    /// The call failed, or the item cannot be read.
    async fn of_state(&self, state: &SecretHash) -> Result<Option<(TenantId, RequestId)>, Self::Error>;

    /// Records a bank callback, if its state is current, not expired at `now`, in seconds since the Unix epoch, and not
    /// used up. The bank may repeat the same callback until it is [acknowledged](Self::acknowledge), even after the
    /// state has expired. A different callback is refused.
    ///
    /// # Errors
    /// The call failed, or the item cannot be read.
    async fn record_callback(
        &self,
        tenant: &TenantId,
        id: &RequestId,
        state: &SecretHash,
        payload: &str,
        now: u64,
    ) -> Result<Changed, Self::Error>;

    /// Uses up a state: its bank callback has arrived. If several callers try, only one gets [`Changed::Yes`]. A caller
    /// whose answer got lost tries again with the same `by`, and succeeds.
    ///
    /// # Errors
    /// The call failed, or the item cannot be read.
    async fn acknowledge(&self, request: &TokenRequest, by: &str) -> Result<Changed, Self::Error>;
}

/// The result of a conditional change of a token request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// Changed; this is the request now.
    Yes(TokenRequest),
    /// Not changed; this is the request, if there is one.
    No(Option<TokenRequest>),
}
