//! Tools for tests and the demo, for development only: a client of the local stack, a receiver whose answers a test
//! sets and which records its requests, hostile receivers, a bank that calls back, a small Lambda whose processes a
//! test can kill, programs with a time limit, verifiers that share no code with Signpost, and builders.

#![expect(clippy::expect_used, reason = "a test fails by a panic, and the message names what is missing")]

pub mod authority;
pub mod aws_proxy;
pub mod bank;
pub mod build;
pub mod customer;
pub mod event_source;
pub mod examples;
pub mod hostile;
pub mod lambda_host;
pub mod lineage;
pub mod local_stack;
pub mod program;
pub mod receiver;
pub mod runtime_api;
pub mod signed_http;
pub mod verify;
