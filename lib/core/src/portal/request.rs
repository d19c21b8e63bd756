//! The body of the request for a link.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Capability, MAX_CODE_SECONDS, MAX_ENDPOINTS, MAX_NAME_CHARACTERS, MAX_SESSION_SECONDS, Scope};
use crate::endpoint::EndpointId;
use crate::input::fault::{Fault, FaultCode, Faults};
use crate::input::json;
use crate::input::object::{Found, Object};

/// An operator's request for a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkRequest {
    /// The endpoints that the link allows.
    pub scope: Scope,
    /// The capabilities, which always include [`Capability::View`].
    pub can: BTreeSet<Capability>,
    /// How long the code is good.
    pub code_lifetime: Duration,
    /// How long the session lasts.
    pub session_lifetime: Duration,
    /// The tenant's display name on the page.
    pub name: Option<String>,
}

impl Default for LinkRequest {
    fn default() -> Self {
        Self {
            scope: Scope::All,
            can: BTreeSet::from([Capability::View]),
            code_lifetime: Duration::from_mins(15),
            session_lifetime: Duration::from_hours(1),
            name: None,
        }
    }
}

impl LinkRequest {
    /// Parses `{"endpoints":…,"can":[…],"expiresInSeconds":…,"sessionSeconds":…,"name":…}`. All members are optional.
    ///
    /// # Errors
    /// All faults.
    pub fn parse(text: &str) -> Result<Self, Vec<Fault>> {
        let value = json::parse(text, "a link to the integrators' page, in JSON")?;
        let (mut faults, mut read) = (Faults::default(), Self::default());
        if let Some(mut object) = Object::open(&Found::whole(value), &mut faults) {
            if let Some(found) = object.nullable_member("endpoints") {
                read.scope = read_scope(&found, &mut faults);
            }
            if let Some(found) = object.nullable_member("can") {
                read.can.extend(read_capabilities(&found, &mut faults));
            }
            if let Some(found) = object.nullable_member("expiresInSeconds") {
                let seconds = found.within(60..=MAX_CODE_SECONDS, &mut faults).unwrap_or_default();
                read.code_lifetime = Duration::from_secs(seconds.into());
            }
            if let Some(found) = object.nullable_member("sessionSeconds") {
                let seconds = found.within(300..=MAX_SESSION_SECONDS, &mut faults).unwrap_or_default();
                read.session_lifetime = Duration::from_secs(seconds.into());
            }
            if let Some(found) = object.nullable_member("name") {
                read.name = found.text(MAX_NAME_CHARACTERS, &mut faults);
            }
            object.close(&mut faults);
        }
        faults.none().map(|()| read)
    }
}

/// Reads `"*"` or a list of endpoints.
fn read_scope(found: &Found<'_>, faults: &mut Faults) -> Scope {
    const EXPECTED: &str = "`\"*\"`, or a list of 1 to 100 ids of endpoints";
    if found.is(&"*".into()) {
        return Scope::All;
    }
    if !found.value.get().starts_with('[') {
        faults.push(Fault::at(&found.pointer, found.value, EXPECTED).code(FaultCode::NotOneOf));
        return Scope::All;
    }
    let items = found.items(MAX_ENDPOINTS, faults);
    if items.is_empty() {
        faults.push(Fault::at(&found.pointer, found.value, EXPECTED).code(FaultCode::OutOfRange));
    }
    let ids = items.iter().filter_map(|item| {
        let text: String = item.read("the id of an endpoint", faults)?;
        let id = EndpointId::parse(&text);
        if id.is_none() {
            faults.push(Fault::at(&item.pointer, item.value, "the id of an endpoint"));
        }
        id
    });
    Scope::Only(ids.collect())
}

fn read_capabilities(found: &Found<'_>, faults: &mut Faults) -> Vec<Capability> {
    let items = found.items(Capability::ALL.len(), faults);
    items.iter().filter_map(|item| item.one_of(Capability::EXPECTED, faults)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn everything_may_be_left_out_and_to_see_is_always_allowed() {
        for text in ["{}", r#"{"endpoints":null,"can":null,"name":null}"#, r#"{"endpoints":"*","can":[]}"#] {
            assert_eq!(LinkRequest::parse(text), Ok(LinkRequest::default()), "{text}");
        }
        let id = "ep_00000000000000000000000000000001";
        let text = json!({"endpoints": [id, id], "can": ["secret", "edit"], "expiresInSeconds": 60,
            "sessionSeconds": 604_800, "name": "Acme s.r.o."});
        let expected = LinkRequest {
            scope: Scope::Only(BTreeSet::from([EndpointId::parse(id).unwrap()])),
            can: BTreeSet::from([Capability::View, Capability::Edit, Capability::Secret]),
            code_lifetime: Duration::from_mins(1),
            session_lifetime: Duration::from_hours(7 * 24),
            name: Some("Acme s.r.o.".into()),
        };
        assert_eq!(LinkRequest::parse(&text.to_string()), Ok(expected));
    }

    #[test]
    fn every_fault_is_listed() {
        let text = json!({"endpoints": ["ep_1", 7], "can": ["admin"], "expiresInSeconds": 59, "sessionSeconds": 299,
            "name": "", "tenant": "other"});
        let told: Vec<_> = LinkRequest::parse(&text.to_string())
            .unwrap_err()
            .into_iter()
            .map(|fault| (fault.pointer, fault.expected))
            .collect();
        let expected = [
            ("/endpoints/0", "the id of an endpoint"),
            ("/endpoints/1", "the id of an endpoint"),
            ("/can/0", "one of view, test, replay, edit, secret"),
            ("/expiresInSeconds", "a whole number, 60 to 86400"),
            ("/sessionSeconds", "a whole number, 300 to 604800"),
            ("/name", "a text of 1 to 100 characters"),
            ("/tenant", "no such member; there are endpoints, can, expiresInSeconds, sessionSeconds, name"),
        ];
        assert_eq!(told, expected.map(|(pointer, expected)| (pointer.to_owned(), expected.to_owned())));
        let many = vec!["ep_00000000000000000000000000000001"; 101];
        for bad in [
            json!({"endpoints": []}),
            json!({"endpoints": "all"}),
            json!({"endpoints": {}}),
            json!({"endpoints": many}),
            json!({"can": "view"}),
            json!({"expiresInSeconds": 86_401}),
            json!({"sessionSeconds": 604_801}),
            json!({"name": "x".repeat(101)}),
            json!([]),
            json!(7),
        ] {
            assert_eq!(LinkRequest::parse(&bad.to_string()).unwrap_err().len(), 1, "{bad}");
        }
    }

    proptest! {
        /// No list of endpoints becomes a link for all endpoints, and no number becomes another.
        #[test]
        fn a_link_never_allows_more_than_was_asked_for(ids in prop::collection::vec(any::<u128>(), 1..=100)) {
            let ids: BTreeSet<_> = ids.into_iter().map(|id| EndpointId::new(uuid::Uuid::from_u128(id))).collect();
            let texts: Vec<_> = ids.iter().map(EndpointId::as_str).collect();
            let read = LinkRequest::parse(&json!({ "endpoints": texts }).to_string()).unwrap();
            prop_assert_eq!(read.scope, Scope::Only(ids));
            prop_assert_eq!(read.can, BTreeSet::from([Capability::View]));
        }
    }
}
