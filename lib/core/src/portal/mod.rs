//! The integrators' page: the links that operators make, the sessions that integrators open with them, and the rights
//! of a session.
//!
//! A link has a code that is good once. Who has the code opens the link's session and gets a token for it. The tenant,
//! the endpoints and the capabilities of a session are those of its link, and nothing in a request can change them.

mod link;
mod request;
mod right;
mod secret;

pub use link::{Link, LinkState, Session, SessionState};
pub use request::LinkRequest;
pub use right::{Capability, ROUTES, Route, Scope};
pub use secret::{LinkId, PortalSecret};

/// How long the longest code is good, in seconds: a day.
pub const MAX_CODE_SECONDS: u32 = 86_400;

/// How long the longest session lasts, in seconds: a week.
pub const MAX_SESSION_SECONDS: u32 = 604_800;

/// How many endpoints a link may name.
pub const MAX_ENDPOINTS: usize = 100;

/// How many characters the display name of a link may have.
pub const MAX_NAME_CHARACTERS: usize = 100;
