//! Logs: an error with its causes in one field.

pub use signpost_engine::logs::Chain;
