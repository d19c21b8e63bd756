//! Links and their sessions: what is stored of them, and their states.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Capability, LinkId, LinkRequest, Scope};
use crate::event::TenantId;
use crate::random_secret::SecretHash;

/// How long a link stays in the list after its session must have ended: a week.
const LISTED: Duration = Duration::from_hours(7 * 24);

/// A link to the integrators' page, with its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The tenant of the session.
    pub tenant: TenantId,
    /// The id, which the audit log names.
    pub id: LinkId,
    /// The endpoints that the session may see.
    pub scope: Scope,
    /// The requests that the session may make.
    pub can: BTreeSet<Capability>,
    /// The tenant's display name on the page.
    pub name: Option<String>,
    /// When an operator made it, in seconds since the Unix epoch.
    pub created_at: u64,
    /// Until when the code is good, in seconds since the Unix epoch.
    pub code_expires_at: u64,
    /// How long its session lasts.
    pub session_lifetime: Duration,
    /// The hash of the code.
    pub code: SecretHash,
    /// The session, once the code was used.
    pub session: Option<Session>,
    /// When an operator ended it, in seconds since the Unix epoch.
    pub ended_at: Option<u64>,
}

/// The session of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The hash of the token.
    pub token: SecretHash,
    /// When the code was used, in seconds since the Unix epoch.
    pub started_at: u64,
    /// When it ends by itself, in seconds since the Unix epoch.
    pub expires_at: u64,
    /// When the integrator ended it, in seconds since the Unix epoch.
    pub ended_at: Option<u64>,
}

/// The state of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// An operator ended it.
    Ended,
    /// Nobody used its code in time.
    Expired,
    /// Its code can be used.
    Unused,
    /// Its code was used.
    Used,
}

impl LinkState {
    /// Returns the name, as the API spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Expired => "expired",
            Self::Unused => "unused",
            Self::Used => "used",
        }
    }
}

/// The state of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// The integrator or an operator ended it.
    Ended,
    /// Its time is over.
    Expired,
    /// Its token can be used.
    Open,
}

impl SessionState {
    /// Returns the name, as the API spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Expired => "expired",
            Self::Open => "open",
        }
    }
}

impl Link {
    /// Makes a link of a request at `now`, in seconds since the Unix epoch.
    #[must_use]
    pub fn new(tenant: TenantId, id: LinkId, request: LinkRequest, code: SecretHash, now: u64) -> Self {
        Self {
            tenant,
            id,
            scope: request.scope,
            can: request.can,
            name: request.name,
            created_at: now,
            code_expires_at: now + request.code_lifetime.as_secs(),
            session_lifetime: request.session_lifetime,
            code,
            session: None,
            ended_at: None,
        }
    }

    /// Returns the session that its code opens at `now`.
    #[must_use]
    pub fn session(&self, token: SecretHash, now: u64) -> Session {
        Session { token, started_at: now, expires_at: now + self.session_lifetime.as_secs(), ended_at: None }
    }

    /// Returns the state of the link.
    #[must_use]
    pub fn state(&self, now: u64) -> LinkState {
        match &self.session {
            _ if self.ended_at.is_some() => LinkState::Ended,
            Some(_) => LinkState::Used,
            None if now >= self.code_expires_at => LinkState::Expired,
            None => LinkState::Unused,
        }
    }

    /// Returns the state of its session, if there is one.
    #[must_use]
    pub fn session_state(&self, now: u64) -> Option<SessionState> {
        let session = self.session.as_ref()?;
        Some(match session.ended_at {
            Some(_) => SessionState::Ended,
            None if self.ended_at.is_some() => SessionState::Ended,
            None if now >= session.expires_at => SessionState::Expired,
            None => SessionState::Open,
        })
    }

    /// Returns its session if that is open and has this token.
    #[must_use]
    pub fn open_session(&self, token: &SecretHash, now: u64) -> Option<&Session> {
        let session = self.session.as_ref().filter(|session| session.token == *token);
        session.filter(|_| self.session_state(now) == Some(SessionState::Open))
    }

    /// Returns whether it is over: neither its code nor its token can be used.
    #[must_use]
    pub fn is_over(&self, now: u64) -> bool {
        match self.state(now) {
            LinkState::Ended | LinkState::Expired => true,
            LinkState::Unused => false,
            LinkState::Used => self.session_state(now) != Some(SessionState::Open),
        }
    }

    /// Returns until when the link is listed, in seconds since the Unix epoch. Its session has ended long before.
    #[must_use]
    pub fn listed_until(&self) -> u64 {
        self.code_expires_at + self.session_lifetime.as_secs() + LISTED.as_secs()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::super::PortalSecret;
    use super::*;

    fn hash(number: u8) -> SecretHash {
        PortalSecret::new([number; 32]).hash()
    }

    /// Returns a link that was made at 1,000, whose code is good until 1,900 and whose session lasts an hour.
    fn link() -> Link {
        let (tenant, id) = (TenantId::parse("acme").unwrap(), LinkId::new(1_000_000, Uuid::from_u128(1)));
        Link::new(tenant, id, LinkRequest::default(), hash(1), 1_000)
    }

    fn opened(at: u64) -> Link {
        let link = link();
        Link { session: Some(link.session(hash(2), at)), ..link }
    }

    #[test]
    fn states_follow_from_what_happened_and_from_the_time() {
        let ended = |link: Link| Link { ended_at: Some(1_500), ..link };
        let left = |mut link: Link| {
            link.session.as_mut().unwrap().ended_at = Some(1_600);
            link
        };
        let cases = [
            (link(), 1_899, "unused", None, false),
            (link(), 1_900, "expired", None, true),
            (ended(link()), 1_600, "ended", None, true),
            (ended(link()), 9_999, "ended", None, true),
            (opened(1_200), 1_200, "used", Some("open"), false),
            (opened(1_200), 4_799, "used", Some("open"), false),
            (opened(1_200), 4_800, "used", Some("expired"), true),
            (left(opened(1_200)), 1_700, "used", Some("ended"), true),
            (ended(opened(1_200)), 1_700, "ended", Some("ended"), true),
        ];
        for (link, now, state, session, is_over) in cases {
            let seen = (link.state(now).as_str(), link.session_state(now).map(SessionState::as_str), link.is_over(now));
            assert_eq!(seen, (state, session, is_over), "{link:?} at {now}");
            assert_eq!(link.open_session(&hash(2), now).is_some(), session == Some("open"), "{link:?} at {now}");
            assert_eq!(link.open_session(&hash(1), now), None, "a code is no token");
        }
    }

    proptest! {
        /// The session of a link is never open after the link or the session ended, nor after its time.
        #[test]
        fn an_ended_session_never_opens_again(
            started in 1_000_u64..1_900, ended in prop::option::of(1_000_u64..9_000),
            left in prop::option::of(1_000_u64..9_000), now in 1_000_u64..9_000,
        ) {
            let mut link = Link { ended_at: ended, ..opened(started) };
            link.session.as_mut().unwrap().ended_at = left;
            let is_open = link.open_session(&hash(2), now).is_some();
            prop_assert_eq!(is_open, ended.is_none() && left.is_none() && now < started + 3_600);
            prop_assert!(link.listed_until() > started + 3_600);
        }
    }
}
