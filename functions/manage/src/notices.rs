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
        let faults = faults_with(&submission.endpoint.types, &submission.endpoint);
        if !faults.is_empty() {
            return Err(Problem::bad_request(faults).into());
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

/// Refuses settings of the address of notices that say nothing about notices.
pub(crate) fn check_types(asked: &ApiRequest<'_>, id: &EndpointId, submission: &Submission) -> Result<(), Problem> {
    let settings = &submission.endpoint;
    let is_whole = settings.types == types() && faults_with(&[], settings).is_empty();
    if is_whole || purpose(asked, id) == "events" {
        return Ok(());
    }
    Err(Problem::conflict(
        "the endpoint is the tenant's address of notices, which gets every notice, whole and without a number",
    ))
}

/// Returns the faults of settings that an address of notices cannot have.
fn faults_with(types: &[TypeFilter], settings: &Endpoint) -> Vec<Fault> {
    const WHOLE: &str = "nothing, because the address gets every notice, whole";
    const NO_NUMBER: &str = "`false`, because notices have no numbers";
    let reserved = [
        ("/types", !types.is_empty(), "a selection", WHOLE),
        ("/filter", settings.filter.is_some(), "a selection", WHOLE),
        ("/fields", !settings.fields.is_empty(), "a selection", WHOLE),
        ("/sequence", settings.sequence, "`true`", NO_NUMBER),
    ];
    let set = reserved.into_iter().filter(|(_, is_set, ..)| *is_set);
    set.map(|(name, _, found, expected)| Fault::whole(found, expected).code(FaultCode::Reserved).under(name)).collect()
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
