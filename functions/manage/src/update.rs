//! Changes of endpoints: read, change, and write on the condition that nobody else has changed the endpoint meanwhile.

use signpost_core::endpoint::EndpointId;
use signpost_core::input::problem::Problem;
use signpost_engine::ports::endpoints::Endpoints as _;
use signpost_engine::ports::endpoints::StoredEndpoint;
use signpost_io::runtime::clock::unix_now;
use signpost_io::tables::endpoints::PutResult;

use crate::api_request::{ApiRequest, changed_meanwhile, no_such_endpoint};
use crate::holds::ShownHold;
use crate::{App, Refusal};

/// How often a change that lost against another is applied again to the result of the other.
const ROUNDS: usize = 5;

impl App {
    /// Changes an endpoint by `change`, and returns the result.
    ///
    /// If a change loses against another, it is refused with `If-Match`, and applied to the result of the other without
    /// it. If a write succeeded but its answer got lost, this recognises the write and does not repeat it.
    pub(crate) async fn change(
        &self,
        asked: &ApiRequest<'_>,
        id: &EndpointId,
        change: impl AsyncFn(StoredEndpoint) -> Result<StoredEndpoint, Refusal>,
    ) -> Result<StoredEndpoint, Refusal> {
        for _ in 0..ROUNDS {
            let stored = self.stored(asked, id).await?;
            asked.check_condition(&tag(&stored))?;
            let before = stored.version;
            let changed = change(stored.clone()).await?;
            if changed == stored {
                asked.trail.endpoint(id, Some(&stored), Some(&stored));
                return Ok(stored);
            }
            let changed = StoredEndpoint { version: before + 1, updated_at: unix_now().as_secs(), ..changed };
            asked.trail.endpoint(id, Some(&stored), Some(&changed)); // Before the write, whose answer may get lost.
            match self.endpoints.put(&asked.tenant, id, &changed, Some(before)).await? {
                PutResult::Written => return Ok(changed),
                PutResult::Full(full) => return Err(Problem::conflict(full.to_string()).into()),
                PutResult::Overtaken => {}
            }
            if self.endpoints.get(&asked.tenant, id).await?.as_ref() == Some(&changed) {
                return Ok(changed);
            }
        }
        Err(changed_meanwhile().into())
    }

    /// Reads the endpoint of the request.
    pub(crate) async fn stored(&self, asked: &ApiRequest<'_>, id: &EndpointId) -> Result<StoredEndpoint, Refusal> {
        let stored = self.endpoints.get(&asked.tenant, id).await?;
        stored.ok_or_else(|| no_such_endpoint().into())
    }
}

/// Returns the `ETag` of an endpoint in answers: its version, and the hold on its deliveries, which changes without a
/// new version. As a condition of a change, it means the version ([`ApiRequest::check_condition`]).
pub(crate) fn shown_tag(stored: &StoredEndpoint, held: Option<&ShownHold>) -> String {
    match held {
        None => tag(stored),
        Some(held) => format!("\"{}-{}\"", stored.version, held.tag()),
    }
}

/// Returns the version of an endpoint as an `ETag`.
pub(crate) fn tag(stored: &StoredEndpoint) -> String {
    format!("\"{}\"", stored.version)
}
