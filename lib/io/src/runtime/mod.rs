//! What a function's process has around it: settings, the clock, logs, and the requests of API Gateway.

pub mod api_gateway;
pub mod clock;
pub mod config;
pub mod logs;
