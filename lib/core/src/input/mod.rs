//! Input from senders: JSON that keeps its spelling, query strings, headers, and the list of all faults of an input.

pub mod fault;
pub mod headers;
pub mod json;
pub(crate) mod moment;
pub(crate) mod number;
pub(crate) mod object;
pub mod prefer;
pub mod problem;
pub mod query;
pub(crate) mod scanner;
