//! For development only: what tests and the demo are made of. A handle of the local stack, a receiver that answers as
//! told and remembers what it got, receivers that do harm, a bank that calls back, a small Lambda whose processes can be
//! killed, verifiers that share no code with Signpost, and builders.

#![expect(clippy::expect_used, reason = "a test fails by panicking, and the message says what was missing")]

pub mod authority;
pub mod aws_proxy;
pub mod bank;
pub mod build;
pub mod event_source;
pub mod examples;
pub mod hostile;
pub mod lambda_host;
pub mod local_stack;
pub mod receiver;
pub mod runtime_api;
pub mod signed_http;
pub mod verify;
