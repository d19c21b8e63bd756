//! Requests: their tenant and endpoint, their content, and their conditions.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use http::header::{IF_MATCH, IF_NONE_MATCH};
use signpost_core::delivery::replay::ReplayId;
use signpost_core::endpoint::EndpointId;
use signpost_core::event::catalogue::TypeName;
use signpost_core::event::{EventId, TenantId};
use signpost_core::input::fault::Fault;
use signpost_core::input::prefer;
use signpost_core::input::problem::Problem;
use signpost_core::portal::{Capability, Link, LinkId, Scope};
use signpost_core::tenant_erasure::ErasureId;
use signpost_io::runtime::api_gateway::{
    body_text, lists_strongly, lists_weakly, lists_with_prefix, media_type, parameter,
};

use crate::audit::Trail;
use crate::erasure::no_such_erasure;
use crate::portal_links::no_such_link;
use crate::replays::no_such_replay;

/// A request about a tenant's endpoints.
pub(crate) struct ApiRequest<'a> {
    pub(crate) tenant: TenantId,
    /// Its changes so far, for the audit log.
    pub(crate) trail: Trail,
    /// The link of an integrator who makes the request; none for an operator.
    link: Option<&'a Link>,
    request: &'a ApiGatewayV2httpRequest,
}

/// The subject of a request.
pub(crate) struct RequestedSubject {
    pub(crate) kind: String,
    pub(crate) name: String,
    /// Whether the request states where the type ends.
    is_certain: bool,
}

impl RequestedSubject {
    /// Returns the other subjects that the same path can mean, as type and name.
    pub(crate) fn others(&self) -> Vec<(String, &str)> {
        let slashes = self.name.match_indices('/').filter(|_| !self.is_certain);
        let split = slashes.map(|(at, _)| (format!("{}/{}", self.kind, &self.name[..at]), &self.name[at + 1..]));
        split.filter(|(_, name)| !name.is_empty()).collect()
    }
}

/// How many bytes a body may have: enough for settings with two key stores in base64.
const MAX_BODY_BYTES: usize = 256 * 1024;

impl<'a> ApiRequest<'a> {
    pub(crate) fn of(request: &'a ApiGatewayV2httpRequest) -> Result<Self, Problem> {
        let tenant = request.path_parameters.get("tenant").and_then(|tenant| TenantId::parse(tenant));
        let tenant = tenant.ok_or_else(|| {
            Problem::not_found(format!("there is no such tenant: a tenant's id is {}", TenantId::EXPECTED))
        })?;
        Ok(Self { tenant, trail: Trail::default(), link: None, request })
    }

    /// Reads a request of an integrator. Tenant and rights are those of the link, and never those of the request.
    pub(crate) fn of_integrator(link: &'a Link, request: &'a ApiGatewayV2httpRequest) -> Self {
        Self { tenant: link.tenant.clone(), trail: Trail::default(), link: Some(link), request }
    }

    /// Returns the link of an integrator; none for an operator.
    pub(crate) fn integrator(&self) -> Option<&Link> {
        self.link
    }

    /// Returns whether the caller may see this endpoint, if the tenant has it.
    pub(crate) fn may_see(&self, endpoint: &EndpointId) -> bool {
        self.link.is_none_or(|link| link.scope.includes(endpoint))
    }

    /// Returns the only endpoints that the caller may see; none if it may see all of the tenant's.
    pub(crate) fn only(&self) -> Option<&BTreeSet<EndpointId>> {
        match &self.link?.scope {
            Scope::All => None,
            Scope::Only(endpoints) => Some(endpoints),
        }
    }

    /// Returns whether an answer may have a new signing secret.
    pub(crate) fn may_see_secrets(&self) -> bool {
        self.link.is_none_or(|link| link.can.contains(&Capability::Secret))
    }

    /// Returns the request as API Gateway passed it on.
    pub(crate) fn request(&self) -> &ApiGatewayV2httpRequest {
        self.request
    }

    /// Returns the endpoint in the path. One that the caller may not see does not differ from one that does not exist.
    pub(crate) fn endpoint(&self) -> Result<EndpointId, Problem> {
        self.named_endpoint().filter(|id| self.may_see(id)).ok_or_else(no_such_endpoint)
    }

    /// Returns the endpoint in the path, also if the caller may not see it: for the audit log.
    pub(crate) fn named_endpoint(&self) -> Option<EndpointId> {
        self.request.path_parameters.get("endpoint").and_then(|id| EndpointId::parse(id))
    }

    /// Returns the link in the path.
    pub(crate) fn link(&self) -> Result<LinkId, Problem> {
        let id = self.request.path_parameters.get("link").and_then(|id| LinkId::parse(id));
        id.ok_or_else(no_such_link)
    }

    /// Returns the replay in the path.
    pub(crate) fn replay(&self) -> Result<ReplayId, Problem> {
        let id = self.request.path_parameters.get("replay").and_then(|id| ReplayId::parse(id));
        id.ok_or_else(no_such_replay)
    }

    /// Returns the erasure in the path.
    pub(crate) fn erasure(&self) -> Result<ErasureId, Problem> {
        let id = self.request.path_parameters.get("erasure").and_then(|id| ErasureId::parse(id));
        id.ok_or_else(no_such_erasure)
    }

    /// Returns the event type in the path. None if it is the name of no type that a tenant could have.
    pub(crate) fn event_type(&self) -> Option<TypeName> {
        self.request.path_parameters.get("type").and_then(|name| TypeName::parse(name))
    }

    /// Returns the event in the path.
    pub(crate) fn event(&self) -> Result<EventId, Problem> {
        let id = self.request.path_parameters.get("event").and_then(|id| EventId::parse(id));
        id.ok_or_else(|| Problem::not_found(format!("there is no such event: an event's id is {}", EventId::EXPECTED)))
    }

    /// Returns the subject in the path: its type and its name, both of which may contain slashes. API Gateway decodes
    /// `%2F`, so the path does not show where the type ends. It ends at the first slash, or as the parameter `type`
    /// says.
    pub(crate) fn subject(&self) -> Result<RequestedSubject, Problem> {
        // API Gateway decodes all escapes in a path except `%25`.
        let part = |name| self.request.path_parameters.get(name).map(|part| part.replace("%25", "%"));
        let (kind, name) =
            part("type").zip(part("subject")).ok_or_else(|| Problem::not_found("there is no such route"))?;
        let Some(certain) = self.parameter("type") else {
            return Ok(RequestedSubject { kind, name, is_certain: false });
        };
        let path = format!("{kind}/{name}");
        let rest = path.strip_prefix(&certain).and_then(|rest| rest.strip_prefix('/')).filter(|rest| !rest.is_empty());
        let name = rest.map(str::to_owned).ok_or_else(|| {
            Problem::not_found("after `/status/`, the path must have the `type` of the query, a slash and the subject")
        })?;
        Ok(RequestedSubject { kind: certain, name, is_certain: true })
    }

    /// Returns how long the caller wants to wait for news.
    pub(crate) fn wait(&self) -> Option<Duration> {
        let preferences = self.request.headers.get_all("prefer").iter();
        prefer::wait(preferences.filter_map(|value| value.to_str().ok()))
    }

    /// Returns the body, if it has one of these media types.
    pub(crate) fn body(&self, media_types: &[&str]) -> Result<String, Problem> {
        let found = media_type(&self.request.headers);
        if !media_types.contains(&&*found) {
            let expected = media_types.join(" or ");
            return Err(Problem::unsupported_media_type(format!("content-type is `{found}`; expected {expected}")));
        }
        let text = body_text(self.request)?;
        if text.len() > MAX_BODY_BYTES {
            let expected = format!("at most {MAX_BODY_BYTES} bytes");
            let fault = Fault::too_large(format!("{} bytes", text.len()), expected);
            return Err(Problem::content_too_large(vec![fault]));
        }
        Ok(text)
    }

    /// Does the same for a request that need not have a body.
    pub(crate) fn optional_body(&self, media_types: &[&str]) -> Result<Option<String>, Problem> {
        let is_empty = self.request.body.as_deref().unwrap_or_default().is_empty();
        if is_empty { Ok(None) } else { self.body(media_types).map(Some) }
    }

    /// Returns a parameter of the query.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        parameter(self.request, name)
    }

    /// Reads which page the request asks for, of a list that is ordered by endpoint id: how many entries, by default
    /// `most`, and the id after which it starts.
    pub(crate) fn page_by_endpoint(&self, most: i32) -> Result<(i32, Option<EndpointId>), Problem> {
        let mut faults = Vec::new();
        let (limit, cursor) = (self.limit(most), self.parameter("cursor"));
        faults.extend(limit.as_ref().err().cloned());
        let after = cursor.as_deref().map(EndpointId::parse);
        if after == Some(None) {
            let found = cursor.as_deref().unwrap_or_default();
            faults.push(Fault::of_text("?cursor".into(), found, "the `cursor` of the page before"));
        }
        match limit {
            Ok(limit) if faults.is_empty() => Ok((limit, after.flatten())),
            _ => Err(Problem::bad_request(faults)),
        }
    }

    /// Reads how many entries of a list the request asks for, by default `most`.
    pub(crate) fn limit(&self, most: i32) -> Result<i32, Fault> {
        let Some(text) = self.parameter("limit") else { return Ok(most) };
        let limit = text.parse().ok().filter(|limit| (1..=most).contains(limit));
        limit.ok_or_else(|| Fault::of_text("?limit".into(), &text, format!("a whole number, 1 to {most}")))
    }

    /// Returns the start of the request's URL before the route: the domain, and the base path of a custom domain.
    pub(crate) fn base_url(&self) -> String {
        let domain = self.request.request_context.domain_name.as_deref().unwrap_or_default();
        let path = self.request.raw_path.as_deref().unwrap_or_default();
        let begin = if self.link.is_some() { "/portal/" } else { "/v1/tenants/" };
        let before = path.split_once(begin).map_or("", |(before, _)| before);
        format!("https://{domain}{before}")
    }

    /// Returns the path of an endpoint for this caller.
    pub(crate) fn path_of(&self, endpoint: &EndpointId) -> String {
        match self.link {
            None => format!("/v1/tenants/{}/endpoints/{endpoint}", self.tenant),
            Some(_) => format!("/portal/api/endpoints/{endpoint}"),
        }
    }

    /// Returns whether the request is conditional on a version (RFC 9110, section 13.1.1).
    pub(crate) fn has_condition(&self) -> bool {
        self.request.headers.contains_key(IF_MATCH)
    }

    /// Refuses a request whose `If-Match` does not list the current version, as `tag` or as an `ETag` that also names a
    /// hold.
    pub(crate) fn check_condition(&self, tag: &str) -> Result<(), Problem> {
        let of_version = format!("{}-", tag.trim_end_matches('"'));
        let is_listed = || {
            let headers = &self.request.headers;
            lists_strongly(headers, IF_MATCH, tag) || lists_with_prefix(headers, IF_MATCH, &of_version)
        };
        if !self.has_condition() || is_listed() {
            return Ok(());
        }
        Err(changed_meanwhile())
    }

    /// Returns whether the caller already has this version (RFC 9110, section 13.1.2).
    pub(crate) fn has(&self, tag: &str) -> bool {
        lists_weakly(&self.request.headers, IF_NONE_MATCH, tag)
    }
}

pub(crate) fn no_such_endpoint() -> Problem {
    Problem::not_found("the tenant has no such endpoint; list them to see which there are")
}

pub(crate) fn changed_meanwhile() -> Problem {
    Problem::precondition_failed(
        "the endpoint has changed since, or `If-Match` is not its `ETag` with the quotes; read it again and repeat the \
         change on its current state",
    )
}
