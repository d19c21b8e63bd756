//! Erasures of tenants: everything that Signpost keeps of a tenant is removed.
//!
//! `manage` makes an erasure and removes the endpoints, so that nothing more is sent. `sweep` works on the rest, stage by
//! stage, because nothing lists all items of a tenant: it has to look through whole tables.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::dated_id::dated_id;
use crate::delivery::LONGEST_ATTEMPT;
use crate::event::TenantId;
use crate::input::fault::{Fault, Faults};
use crate::input::json;
use crate::input::object::{Found, Object};

/// How long an erasure is kept after its last change.
pub const KEPT: Duration = Duration::from_hours(30 * 24);
/// How long after the endpoints are gone the removal of the rest begins. By then, every function that had read them
/// before has ended: an attempt of an endpoint that `deliver` remembers for ten seconds, and all that is shorter.
pub const SETTLING: Duration = Duration::from_secs(LONGEST_ATTEMPT.as_secs() + 25);
/// The mark of a tenant that is being erased, in the place of the moment at which that ended.
pub const NOT_ENDED: u64 = u64::MAX;

dated_id!(
    /// The id of an erasure: `er_`, the moment at which it was made, and random digits. A later erasure has a greater id.
    ErasureId,
    "er_"
);

/// The work of an erasure that comes next. Each stage begins when the one before it has nothing left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ErasureStage {
    /// The tenant is marked, and its endpoints are removed.
    Endpoints,
    /// Requests and functions that had begun before end.
    Settling,
    /// Event types, keys, bulk replays, counts and slots are removed: partitions that name the tenant.
    Settings,
    /// Token requests and bank callbacks are removed.
    TokenRequests,
    /// Links to the integrators' page and their sessions are removed.
    Links,
    /// Events, the parts of large ones, and states are removed. The endpoints that events name are noted.
    Events,
    /// For each endpoint that is noted, its deliveries, attempts, breaker, slots and notes are removed.
    Deliveries,
    /// Parked deliveries are removed.
    Parked,
    /// The mark of the tenant becomes the moment at which the erasure ended.
    Ending,
    /// Nothing is left to do.
    Done,
}

impl ErasureStage {
    /// Every stage, in their order.
    pub const ALL: [Self; 10] = [
        Self::Endpoints,
        Self::Settling,
        Self::Settings,
        Self::TokenRequests,
        Self::Links,
        Self::Events,
        Self::Deliveries,
        Self::Parked,
        Self::Ending,
        Self::Done,
    ];

    /// Returns the name in tables and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Endpoints => "endpoints",
            Self::Settling => "settling",
            Self::Settings => "settings",
            Self::TokenRequests => "tokenRequests",
            Self::Links => "links",
            Self::Events => "events",
            Self::Deliveries => "deliveries",
            Self::Parked => "parked",
            Self::Ending => "ending",
            Self::Done => "done",
        }
    }

    /// Parses a name of [`Self::as_str`].
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.as_str() == name)
    }

    /// Returns the stage after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self::ALL.into_iter().find(|stage| *stage > self).unwrap_or(Self::Done)
    }
}

/// How much an erasure has removed so far. A run that is killed may have removed more than it could count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Removed {
    /// Endpoints, with their subscriptions, secrets and the address of notices.
    pub endpoints: u64,
    /// Event types.
    pub event_types: u64,
    /// Events.
    pub events: u64,
    /// States of subjects.
    pub states: u64,
    /// Records of deliveries, with their attempts.
    pub deliveries: u64,
    /// Parked deliveries, and notes of those that were given up.
    pub parked: u64,
    /// Token requests.
    pub token_requests: u64,
    /// Links to the integrators' page.
    pub links: u64,
    /// Bulk replays.
    pub replays: u64,
}

impl Removed {
    /// Returns the sum.
    #[must_use]
    pub fn and(self, more: Self) -> Self {
        Self {
            endpoints: self.endpoints + more.endpoints,
            event_types: self.event_types + more.event_types,
            events: self.events + more.events,
            states: self.states + more.states,
            deliveries: self.deliveries + more.deliveries,
            parked: self.parked + more.parked,
            token_requests: self.token_requests + more.token_requests,
            links: self.links + more.links,
            replays: self.replays + more.replays,
        }
    }

    /// Returns how many things these are together.
    #[must_use]
    pub fn total(self) -> u64 {
        let Self { endpoints, event_types, events, states, deliveries, parked, token_requests, links, replays } = self;
        endpoints + event_types + events + states + deliveries + parked + token_requests + links + replays
    }
}

/// An erasure of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantErasure {
    /// The tenant.
    pub tenant: TenantId,
    /// The id.
    pub id: ErasureId,
    /// The work that comes next.
    pub stage: ErasureStage,
    /// How far the stage has come, in the words of the tables; none at its begin.
    pub cursor: Option<String>,
    /// How much was removed so far.
    pub removed: Removed,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_unix_ms: u64,
    /// When all endpoints were removed, in milliseconds since the Unix epoch; none before that.
    pub stopped_unix_ms: Option<u64>,
    /// When it changed last, in milliseconds since the Unix epoch.
    pub changed_unix_ms: u64,
    /// The number of changes, for conditional writes.
    pub version: u64,
}

impl TenantErasure {
    /// Makes a new erasure at a moment, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn new(tenant: TenantId, id: ErasureId, now_unix_ms: u64) -> Self {
        Self {
            tenant,
            id,
            stage: ErasureStage::Endpoints,
            cursor: None,
            removed: Removed::default(),
            created_unix_ms: now_unix_ms,
            stopped_unix_ms: None,
            changed_unix_ms: now_unix_ms,
            version: 1,
        }
    }

    /// Returns whether it has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.stage == ErasureStage::Done
    }

    /// Returns the erasure after a step: `removed` is what the step removed, and `cursor` how far the stage has come. Without
    /// it, the stage is over.
    #[must_use]
    pub fn after_step(&self, removed: Removed, cursor: Option<String>, now_unix_ms: u64) -> Self {
        let stage = if cursor.is_some() { self.stage } else { self.stage.next() };
        let stopped_unix_ms = match self.stage {
            ErasureStage::Endpoints if cursor.is_none() => Some(now_unix_ms),
            _ => self.stopped_unix_ms,
        };
        Self {
            stage,
            cursor,
            removed: self.removed.and(removed),
            stopped_unix_ms,
            changed_unix_ms: now_unix_ms,
            version: self.version + 1,
            ..self.clone()
        }
    }

    /// Returns whether everything that began before the endpoints were removed has ended.
    #[must_use]
    pub fn has_settled(&self, now_unix_ms: u64) -> bool {
        let settling = u64::try_from(SETTLING.as_millis()).unwrap_or(u64::MAX);
        self.stopped_unix_ms.is_some_and(|stopped| now_unix_ms >= stopped + settling)
    }
}

/// The body of a request for an erasure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErasureRequest {
    /// Whether to count only.
    pub is_dry_run: bool,
}

impl ErasureRequest {
    /// Parses `{"tenant":…,"dryRun":…}`. The tenant must be that of the path, so that no request erases a tenant by a
    /// mistyped path.
    ///
    /// # Errors
    /// All faults.
    pub fn parse(text: &str, tenant: &TenantId) -> Result<Self, Vec<Fault>> {
        let expected = format!("`{tenant}`, the tenant of the path, to confirm that all of it is erased");
        let value = json::parse(text, "{\"tenant\":…}")?;
        let (mut faults, mut is_dry_run) = (Faults::default(), false);
        if let Some(mut object) = Object::open(&Found::whole(value), &mut faults) {
            match object.nullable_member("tenant") {
                None => faults.push(Fault::missing("tenant", expected)),
                Some(found) => {
                    let named: Option<String> = found.read(&expected, &mut faults);
                    if named.is_some_and(|named| named != tenant.as_str()) {
                        faults.push(Fault::at(&found.pointer, found.value, &expected));
                    }
                }
            }
            if let Some(found) = object.nullable_member("dryRun") {
                is_dry_run = found.read("true or false", &mut faults).unwrap_or_default();
            }
            object.close(&mut faults);
        }
        faults.none().map(|()| Self { is_dry_run })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn acme() -> TenantId {
        TenantId::parse("acme").unwrap()
    }

    #[test]
    fn the_stages_follow_each_other_and_are_told_apart() {
        let mut stage = ErasureStage::Endpoints;
        let mut seen = vec![stage];
        while stage != ErasureStage::Done {
            stage = stage.next();
            seen.push(stage);
        }
        assert_eq!(seen, ErasureStage::ALL);
        assert_eq!(ErasureStage::Done.next(), ErasureStage::Done);
        for stage in ErasureStage::ALL {
            assert_eq!(ErasureStage::parse(stage.as_str()), Some(stage));
        }
    }

    #[test]
    fn the_rest_is_removed_only_when_no_attempt_can_run_any_more() {
        let new = TenantErasure::new(acme(), ErasureId::new(7, Uuid::nil()), 1_000);
        assert!(!new.has_settled(u64::MAX), "its endpoints are not removed");
        let partly = new.after_step(Removed { endpoints: 3, ..Removed::default() }, Some("3".into()), 2_000);
        assert_eq!((partly.stage, partly.stopped_unix_ms), (ErasureStage::Endpoints, None));
        let stopped = partly.after_step(Removed { endpoints: 2, ..Removed::default() }, None, 3_000);
        assert_eq!((stopped.stage, stopped.removed.endpoints, stopped.version), (ErasureStage::Settling, 5, 3));
        // An endpoint that deliver remembers for 10 s, and the 95 s of an attempt.
        let longest = 3_000 + (10 + 95) * 1_000;
        assert!(!stopped.has_settled(longest), "an attempt may still be sent");
        assert!(stopped.has_settled(longest + 15_000));
        let later = stopped.after_step(Removed::default(), None, 200_000);
        assert_eq!((later.stage, later.stopped_unix_ms), (ErasureStage::Settings, Some(3_000)));
    }

    #[test]
    fn a_request_names_the_tenant_again() {
        let parse = |text: &str| ErasureRequest::parse(text, &acme());
        assert_eq!(parse(r#"{"tenant":"acme"}"#), Ok(ErasureRequest { is_dry_run: false }));
        assert_eq!(parse(r#"{"tenant":"acme","dryRun":true}"#), Ok(ErasureRequest { is_dry_run: true }));
        let pointers = |text: &str| parse(text).unwrap_err().into_iter().map(|fault| fault.pointer).collect::<Vec<_>>();
        let cases = [
            ("{}", vec!["/tenant"]),
            (r#"{"tenant":null}"#, vec!["/tenant"]),
            (r#"{"tenant":"globex"}"#, vec!["/tenant"]),
            (r#"{"tenant":7,"dryRun":"yes"}"#, vec!["/tenant", "/dryRun"]),
            (r#"{"tenant":"acme","all":true}"#, vec!["/all"]),
        ];
        for (text, expected) in cases {
            assert_eq!(pointers(text), expected, "{text}");
        }
    }
}
