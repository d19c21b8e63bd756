//! Admission of a request to an endpoint, by its limits and its breaker.

use signpost_core::delivery::breaker::Admission;
use signpost_core::endpoint::EndpointId;
use signpost_io::aws::AwsError;
use signpost_io::cache::endpoint_cache::ResolvedEndpoint;
use signpost_io::runtime::clock::unix_ms_now;
use signpost_io::runtime::logs::Chain;
use signpost_io::tables::limits::ConcurrencySlot;

use crate::App;

/// The decision on a request.
pub(crate) enum Permission {
    /// The request may be sent.
    Granted {
        /// The slot that it uses, if the endpoint has a limit.
        slot: Option<ConcurrencySlot>,
        /// Whether it is the probe of an open breaker.
        is_probe: bool,
    },
    /// The endpoint accepts no further request at the moment.
    NotNow,
}

impl App {
    /// Asks for admission of a request. Makes no call for an endpoint without limits whose breaker is closed.
    pub(crate) async fn permission(
        &self,
        recipient: &ResolvedEndpoint,
        endpoint: &EndpointId,
    ) -> Result<Permission, AwsError> {
        let slot = match recipient.endpoint().max_concurrency {
            None => None,
            Some(limit) => match self.limits.take(endpoint, limit).await? {
                Some(slot) => Some(slot),
                None => return Ok(Permission::NotNow),
            },
        };
        match self.takes_one_more(recipient, endpoint).await {
            Ok(Some(is_probe)) => Ok(Permission::Granted { slot, is_probe }),
            refused => {
                self.release(slot).await;
                refused.map(|_| Permission::NotNow)
            }
        }
    }

    /// Asks the limit per second and the breaker. Returns whether the request is a probe; `None` if it may not be sent.
    async fn takes_one_more(
        &self,
        recipient: &ResolvedEndpoint,
        endpoint: &EndpointId,
    ) -> Result<Option<bool>, AwsError> {
        if let Some(limit) = recipient.endpoint().max_per_second
            && !self.limits.begin(endpoint, limit).await?
        {
            return Ok(None);
        }
        Ok(match self.breakers.get(endpoint).await.admits(unix_ms_now()) {
            Admission::Park => None,
            Admission::Probe => self.breakers.claim_probe(endpoint).await.then_some(true),
            Admission::Send => Some(false),
        })
    }

    /// Releases a slot, if there is one. If that fails, the slot is free when its lease expires.
    pub(crate) async fn release(&self, slot: Option<ConcurrencySlot>) {
        let Some(slot) = slot else { return };
        if let Err(error) = self.limits.release(slot).await {
            tracing::warn!(error = %Chain(&error), "slot.not_released");
        }
    }
}
