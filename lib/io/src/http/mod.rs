//! HTTPS: webhooks to receivers, and access tokens from token servers, through a guard against private addresses.

mod access_tokens;
mod connections;
mod exchange_faults;
pub mod guarded_client;
mod pieces;
pub mod webhook_sender;
