//! Ids of endpoints.

use std::fmt;

use uuid::Uuid;

use crate::dated_id::has_form;
use crate::fingerprint::{fingerprint, hexadecimal};

/// An endpoint's id: `ep_` and 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId(String);

impl EndpointId {
    /// The beginning of each id.
    pub const PREFIX: &str = "ep_";

    /// Makes an id from a random UUID.
    #[must_use]
    pub fn new(random: Uuid) -> Self {
        Self(format!("{}{}", Self::PREFIX, random.simple()))
    }

    /// Returns the id of the endpoint that gets the notices of a tenant. It is always the same, and no random id.
    #[must_use]
    pub fn of_notices(tenant: &str) -> Self {
        let hash = fingerprint(["notices", tenant]);
        Self(format!("{}{}", Self::PREFIX, hexadecimal(&hash[..16])))
    }

    /// Parses an id in the form that [`Self::new`] makes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        has_form(text, Self::PREFIX).then(|| Self(text.to_owned()))
    }

    /// Returns the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tenant_has_one_id_for_its_notices() {
        let id = EndpointId::of_notices("acme");
        assert_eq!(EndpointId::parse(id.as_str()).as_ref(), Some(&id));
        assert_eq!(EndpointId::of_notices("acme"), id);
        assert_ne!(EndpointId::of_notices("acme2"), id);
    }
}
