//! The steps of an event, of a delivery, of a parked delivery and of a drain.
//!
//! The functions of Signpost are adapters around this crate: a batch of SQS comes in, the engine decides, an answer
//! goes out. The engine calls tables, queues and receivers only through the traits in [`ports`]. So the simulation in
//! `tests/simulation/` runs exactly this code against ports in memory that fail in every way.
//!
//! This crate has no runtime and no AWS client.
//!
//! # Modules
//!
//! Each module uses only those above it.
//!
//! - [`ports`]: everything outside of the engine.
//! - [`slots`], [`logs`], [`metrics`]: the memory of a warm environment, errors with their causes, and what is counted.
//! - [`endpoint_cache`], [`breaker_cache`], [`limiter`]: what a warm environment knows about endpoints, and the limits
//!   that it shares with others.
//! - [`catalogue`]: the schemas of event types, and the check of events.
//! - [`subscription_cache`]: what a warm environment knows about subscriptions.
//! - [`fanout`]: one event to the deliveries of its endpoints.
//! - [`deliver`]: one delivery to its next attempt, and a drain.
//! - [`sweep`]: parked deliveries back to the queue, and redrives.
//! - [`relay`]: one bank callback to an event.

#![expect(async_fn_in_trait, reason = "every port is resolved at compile time, where the compiler sees what is `Send`")]

pub mod breaker_cache;
pub mod catalogue;
pub mod deliver;
pub mod endpoint_cache;
pub mod erasure;
pub mod fanout;
pub mod limiter;
pub mod logs;
pub mod metrics;
pub mod ports;
pub mod relay;
pub mod slots;
pub mod subscription_cache;
pub mod sweep;
