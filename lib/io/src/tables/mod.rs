//! DynamoDB: one module per kind of item.

mod attempts;
pub mod audit;
pub mod breakers;
pub mod deliveries;
pub mod delivery_list;
pub mod endpoint_keys;
pub mod endpoints;
pub mod event_history;
pub mod event_types;
pub mod events;
pub mod limits;
pub mod parking;
pub mod portal_links;
pub mod quotas;
pub mod replays;
pub mod sealing_keys;
pub mod signing_keys;
pub mod states;
pub mod subscriptions;
pub mod token_requests;
