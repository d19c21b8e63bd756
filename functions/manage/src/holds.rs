//! Holds in answers: why deliveries to an endpoint wait, and until when.

use futures_util::future::try_join;
use serde::Serialize;
use signpost_core::delivery::breaker::Breaker;
use signpost_core::delivery::hold::Hold;
use signpost_core::endpoint::EndpointId;
use signpost_core::event::TenantId;
use signpost_engine::ports::endpoints::StoredEndpoint;
use signpost_io::aws::AwsError;
use signpost_io::runtime::clock::{rfc3339, unix_ms_now};

use crate::App;

/// A hold in the form of answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ShownHold {
    since: Option<String>,
    because: &'static str,
    next_probe_at: Option<String>,
}

impl ShownHold {
    pub(crate) fn of(hold: &Hold) -> Self {
        Self {
            since: hold.since_unix_ms.map(rfc3339),
            because: hold.because.as_str(),
            next_probe_at: hold.next_probe_unix_ms.map(rfc3339),
        }
    }

    /// Returns the part of an `ETag` for the hold.
    pub(crate) fn tag(&self) -> String {
        let [since, next] = [&self.since, &self.next_probe_at].map(|moment| moment.as_deref().unwrap_or_default());
        format!("{}@{since}/{next}", self.because)
    }
}

impl App {
    /// Reads the holds on deliveries to endpoints, in their order. Makes no call for an empty list.
    pub(crate) async fn holds(
        &self,
        tenant: &TenantId,
        endpoints: &[EndpointId],
    ) -> Result<Vec<Option<Hold>>, AwsError> {
        if endpoints.is_empty() {
            return Ok(Vec::new());
        }
        let disabled = self.endpoints.disabled(tenant, endpoints);
        let (disabled, breakers) = Box::pin(try_join(disabled, self.breakers.read_all(endpoints))).await?;
        let now = unix_ms_now();
        Ok(disabled.into_iter().zip(&breakers).map(|(disabled, breaker)| Hold::of(disabled, breaker, now)).collect())
    }

    /// Reads the hold of the breaker of an enabled endpoint. A disabled endpoint shows its own reason instead.
    pub(crate) async fn held(&self, id: &EndpointId, stored: &StoredEndpoint) -> Result<Option<ShownHold>, AwsError> {
        if stored.disabled.is_some() {
            return Ok(None);
        }
        let breakers = Box::pin(self.breakers.read_all(std::slice::from_ref(id))).await?;
        Ok(breakers.first().and_then(|breaker| held(stored, breaker)))
    }

    /// Does the same for many endpoints.
    pub(crate) async fn held_of_all(
        &self,
        endpoints: &[(EndpointId, StoredEndpoint)],
    ) -> Result<Vec<Option<ShownHold>>, AwsError> {
        let ids: Vec<_> = endpoints.iter().map(|(id, _)| id.clone()).collect();
        let breakers = Box::pin(self.breakers.read_all(&ids)).await?;
        Ok(endpoints.iter().zip(&breakers).map(|((_, stored), breaker)| held(stored, breaker)).collect())
    }
}

fn held(stored: &StoredEndpoint, breaker: &Breaker) -> Option<ShownHold> {
    let hold = stored.disabled.is_none().then(|| breaker.hold(unix_ms_now()))?;
    hold.as_ref().map(ShownHold::of)
}
