//! The environment of a function: settings, the clock, logs, metrics, invocations, and the requests of API Gateway.

pub mod api_gateway;
pub mod clock;
pub mod config;
pub mod lambda;
pub mod logs;
pub mod metrics;
