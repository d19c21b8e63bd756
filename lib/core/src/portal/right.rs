//! The rights of a session: what it may do, with which endpoints, and which right each route needs.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::endpoint::EndpointId;

/// A kind of request that a link allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Capability {
    /// See endpoints, deliveries, events and keys. Every link allows it.
    View,
    /// Send a test event.
    Test,
    /// Send events again.
    Replay,
    /// Create, change, enable, disable and remove endpoints.
    Edit,
    /// Make new signing secrets, and see them once.
    Secret,
}

impl Capability {
    /// Every capability, in the order of answers.
    pub const ALL: [Self; 5] = [Self::View, Self::Test, Self::Replay, Self::Edit, Self::Secret];

    /// The form of a capability, for messages.
    pub(super) const EXPECTED: &str = "one of view, test, replay, edit, secret";

    /// Returns the name in the API and in tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Test => "test",
            Self::Replay => "replay",
            Self::Edit => "edit",
            Self::Secret => "secret",
        }
    }

    /// Parses a name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == text)
    }
}

/// The endpoints that a link allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All endpoints of the tenant, later ones too.
    All,
    /// These only.
    Only(BTreeSet<EndpointId>),
}

impl Scope {
    /// Returns whether the link allows this endpoint, if the tenant has it.
    #[must_use]
    pub fn includes(&self, endpoint: &EndpointId) -> bool {
        match self {
            Self::All => true,
            Self::Only(endpoints) => endpoints.contains(endpoint),
        }
    }
}

/// A route of the page that needs a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Method and path, as API Gateway names the route.
    pub key: &'static str,
    /// The capability that it needs.
    pub needs: Capability,
    /// The operators' route that does the same, for a tenant in its path. None if only the page has it.
    pub operators: Option<&'static str>,
}

impl Route {
    /// Finds a route by API Gateway's name for it.
    #[must_use]
    pub fn of_key(key: &str) -> Option<&'static Self> {
        ROUTES.iter().find(|route| route.key == key)
    }
}

const fn route(key: &'static str, needs: Capability, operators: &'static str) -> Route {
    Route { key, needs, operators: Some(operators) }
}

const fn own(key: &'static str, needs: Capability) -> Route {
    Route { key, needs, operators: None }
}

/// Every route that needs a session, except the two that show and end the session itself.
pub const ROUTES: [Route; 21] = [
    route("GET /portal/api/endpoints", Capability::View, "GET /v1/tenants/{tenant}/endpoints"),
    route("POST /portal/api/endpoints", Capability::Edit, "POST /v1/tenants/{tenant}/endpoints"),
    route("GET /portal/api/endpoints/{endpoint}", Capability::View, "GET /v1/tenants/{tenant}/endpoints/{endpoint}"),
    route(
        "PATCH /portal/api/endpoints/{endpoint}",
        Capability::Edit,
        "PATCH /v1/tenants/{tenant}/endpoints/{endpoint}",
    ),
    route(
        "DELETE /portal/api/endpoints/{endpoint}",
        Capability::Edit,
        "DELETE /v1/tenants/{tenant}/endpoints/{endpoint}",
    ),
    route(
        "POST /portal/api/endpoints/{endpoint}/enable",
        Capability::Edit,
        "POST /v1/tenants/{tenant}/endpoints/{endpoint}/enable",
    ),
    route(
        "POST /portal/api/endpoints/{endpoint}/disable",
        Capability::Edit,
        "POST /v1/tenants/{tenant}/endpoints/{endpoint}/disable",
    ),
    route(
        "POST /portal/api/endpoints/{endpoint}/test",
        Capability::Test,
        "POST /v1/tenants/{tenant}/endpoints/{endpoint}/test",
    ),
    route(
        "GET /portal/api/endpoints/{endpoint}/deliveries",
        Capability::View,
        "GET /v1/tenants/{tenant}/endpoints/{endpoint}/deliveries",
    ),
    route(
        "POST /portal/api/endpoints/{endpoint}/recover",
        Capability::Replay,
        "POST /v1/tenants/{tenant}/endpoints/{endpoint}/recover",
    ),
    route(
        "POST /portal/api/endpoints/{endpoint}/rotate-secret",
        Capability::Secret,
        "POST /v1/tenants/{tenant}/endpoints/{endpoint}/rotate-secret",
    ),
    route("GET /portal/api/events/{event}", Capability::View, "GET /v1/tenants/{tenant}/events/{event}"),
    route(
        "POST /portal/api/events/{event}/replay",
        Capability::Replay,
        "POST /v1/tenants/{tenant}/events/{event}/replay",
    ),
    route("POST /portal/api/filters/test", Capability::View, "POST /v1/tenants/{tenant}/filters/test"),
    route("POST /portal/api/replays", Capability::Replay, "POST /v1/tenants/{tenant}/replays"),
    route("GET /portal/api/replays", Capability::View, "GET /v1/tenants/{tenant}/replays"),
    route("GET /portal/api/replays/{replay}", Capability::View, "GET /v1/tenants/{tenant}/replays/{replay}"),
    route("DELETE /portal/api/replays/{replay}", Capability::Replay, "DELETE /v1/tenants/{tenant}/replays/{replay}"),
    route("GET /portal/api/catalogue", Capability::View, "GET /v1/tenants/{tenant}/event-types"),
    own("GET /portal/api/keys", Capability::View),
    own("GET /portal/api/snippets", Capability::View),
];

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::audit::is_change;

    #[test]
    fn names_of_capabilities_read_back() {
        for capability in Capability::ALL {
            assert_eq!(Capability::parse(capability.as_str()), Some(capability));
            assert_eq!(serde_json::to_value(capability).unwrap(), capability.as_str());
        }
        for bad in ["", "View", "admin"] {
            assert_eq!(Capability::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn to_see_is_enough_for_what_changes_nothing_and_for_nothing_else() {
        for route in &ROUTES {
            assert_eq!(route.needs == Capability::View, !is_change(route.key), "{}", route.key);
            assert_eq!(Route::of_key(route.key), Some(route));
            let (method, _) = route.key.split_once(' ').unwrap();
            assert!(route.operators.is_none_or(|operators| operators.starts_with(method)), "{}", route.key);
        }
        for unknown in ["", "GET /portal/api/endpoints/", "PUT /portal/api/endpoints", "GET /v1/tenants/{tenant}/audit"]
        {
            assert_eq!(Route::of_key(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn a_link_that_names_endpoints_allows_no_other() {
        let [one, other] = [1, 2].map(|number| EndpointId::new(Uuid::from_u128(number)));
        let only = Scope::Only(BTreeSet::from([one.clone()]));
        assert!(Scope::All.includes(&one) && Scope::All.includes(&other));
        assert!(only.includes(&one) && !only.includes(&other));
    }
}
