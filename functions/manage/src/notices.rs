//! The operators' routes for the address that gets a tenant's notices: what happens to its endpoints
//! ([`signpost_core::delivery::notices`]).
//!
//! The address is an endpoint under an id of its own ([`EndpointId::of_notices`]), which gets notices and nothing else. The
//! routes for endpoints show it, test it, enable it and give it a new secret.

use signpost_core::endpoint::settings::Submission;
use signpost_core::endpoint::{Endpoint, EndpointId, NOTICE_TYPES, TypeFilter};
use signpost_core::input::fault::{Fault, FaultCode};
use signpost_core::input::problem::Problem;
use signpost_engine::ports::endpoints::Endpoints as _;
use signpost_engine::ports::endpoints::StoredEndpoint;

use crate::api_request::{ApiRequest, changed_meanwhile};
use crate::endpoints::JSON;
use crate::{Answer, App, Refusal};

impl App {
    /// Sets the address: creates its endpoint, or replaces all of its settings.
    pub(crate) async fn set_notices(&self, asked: &ApiRequest<'_>) -> Answer {
        let id = of_notices(asked);
        let mut submission = self.submission(&asked.tenant, &asked.body(&[JSON])?, None).await?;
        let Endpoint { types: chosen, filter, fields, .. } = &submission.endpoint;
        for (name, is_set) in
            [("/types", !chosen.is_empty()), ("/filter", filter.is_some()), ("/fields", !fields.is_empty())]
        {
            if is_set {
                let fault = Fault::whole("a selection", "nothing, because the address gets every notice, whole");
                return Err(Problem::bad_request(vec![fault.code(FaultCode::Reserved).under(name)]).into());
            }
        }
        submission.endpoint.types = types();
        if self.endpoints.exists(&asked.tenant, &id).await? {
            let submitted = async |_: &StoredEndpoint| -> Result<Submission, Refusal> { Ok(submission.clone()) };
            return Box::pin(self.update_to(asked, &id, submitted)).await;
        }
        if asked.has_condition() {
            return Err(changed_meanwhile().into());
        }
        self.breakers.close(&id).await?; // It may be that of an address before.
        let location = format!("/v1/tenants/{}/notices", asked.tenant);
        Box::pin(self.create_as(asked, &id, submission, &location)).await
    }

    pub(crate) async fn read_notices(&self, asked: &ApiRequest<'_>) -> Answer {
        self.read_one(asked, &of_notices(asked)).await.map_err(not_set)
    }

    pub(crate) async fn remove_notices(&self, asked: &ApiRequest<'_>) -> Answer {
        self.delete_one(asked, &of_notices(asked)).await.map_err(not_set)
    }
}

/// Returns the purpose of an endpoint.
pub(crate) fn purpose(asked: &ApiRequest<'_>, id: &EndpointId) -> &'static str {
    if *id == of_notices(asked) { "notices" } else { "events" }
}

/// Refuses another selection of events for the address of notices.
pub(crate) fn check_types(asked: &ApiRequest<'_>, id: &EndpointId, submission: &Submission) -> Result<(), Problem> {
    let Endpoint { types: chosen, filter, fields, .. } = &submission.endpoint;
    if purpose(asked, id) == "events" || (*chosen == types() && filter.is_none() && fields.is_empty()) {
        return Ok(());
    }
    Err(Problem::conflict("the endpoint is the tenant's address of notices, which gets every notice, whole"))
}

fn of_notices(asked: &ApiRequest<'_>) -> EndpointId {
    EndpointId::of_notices(asked.tenant.as_str())
}

fn types() -> Vec<TypeFilter> {
    NOTICE_TYPES.into_iter().map(TypeFilter::of).collect()
}

fn not_set(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::Problem(problem) if problem.status == 404 => {
            Problem::not_found("the tenant has no address of notices; set one with PUT").into()
        }
        other => other,
    }
}
