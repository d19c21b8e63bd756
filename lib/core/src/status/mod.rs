//! How the subjects of events stand, for those who poll.

pub mod session;
pub mod state;
