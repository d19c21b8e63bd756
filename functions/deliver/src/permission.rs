//! Whether an endpoint takes another request now: its limits, and its breaker.

use signpost_core::breaker::Admission;
use signpost_core::endpoint::EndpointId;
use signpost_io::aws::AwsError;
use signpost_io::clock::unix_ms_now;
use signpost_io::limits::Slot;
use signpost_io::logs::Chain;
use signpost_io::recipients::Recipient;

use crate::App;

/// Whether a request may be sent now.
pub(crate) enum Permission {
    /// It may; with the slot that it takes, where the endpoint has a limit.
    Granted(Option<Slot>),
    /// The endpoint takes no more at the moment.
    NotNow,
}

impl App {
    /// Asks whether an endpoint takes another request now. One that has no limits and is well is not asked for anything.
    pub(crate) async fn permission(
        &self,
        recipient: &Recipient,
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
            Ok(true) => Ok(Permission::Granted(slot)),
            refused => {
                self.release(slot).await;
                refused.map(|_| Permission::NotNow)
            }
        }
    }

    async fn takes_one_more(&self, recipient: &Recipient, endpoint: &EndpointId) -> Result<bool, AwsError> {
        if let Some(limit) = recipient.endpoint().max_per_second
            && !self.limits.begin(endpoint, limit).await?
        {
            return Ok(false);
        }
        Ok(match self.breakers.get(endpoint).await.admits(unix_ms_now()) {
            Admission::Park => false,
            Admission::Probe => self.breakers.claim_probe(endpoint).await,
            Admission::Send => true,
        })
    }

    /// Gives a slot back, if there is one. One that cannot be given back is free when its lease ends.
    pub(crate) async fn release(&self, slot: Option<Slot>) {
        let Some(slot) = slot else { return };
        if let Err(error) = self.limits.release(slot).await {
            tracing::warn!(error = %Chain(&error), "slot.not_released");
        }
    }
}
