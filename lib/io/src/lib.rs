//! Adapters: how the rules of `signpost-core` reach DynamoDB, SQS, KMS, HTTPS receivers, settings and logs.

pub mod aws;
pub mod breakers;
pub mod callback;
pub mod clients;
pub mod clock;
pub mod config;
mod connections;
pub mod deliveries;
pub mod endpoints;
pub mod events;
mod gathering;
pub mod history;
pub mod http_api;
mod inserting;
pub mod keys;
pub mod limits;
pub mod listing;
pub mod logs;
pub mod parking;
pub mod queue;
mod reading;
pub mod recipients;
pub mod signers;
pub mod states;
pub mod token_requests;
mod tokens;
pub mod vault;
