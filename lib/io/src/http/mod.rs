//! HTTPS: webhooks to receivers, and access tokens from token servers, through a guard against private addresses. And
//! webhooks to queues and event buses of customers.

mod access_tokens;
mod connections;
pub mod destinations;
mod exchange_faults;
pub mod guarded_client;
mod pieces;
pub mod webhook_sender;
