//! Tests of the command line: the program itself, against an API that a test plays.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod care;
mod certificates;
mod client_certificates;
mod contract;
mod diagnoses;
mod operators;
mod pipes;
mod program;
mod receiving;
mod signed;
mod smoke;
mod snapshots;
mod stack;
mod stub_api;
mod terminal;
