//! The status of the subjects of events, for clients that poll.

pub mod session;
pub mod state;
