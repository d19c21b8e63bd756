//! The pure rules of Signpost: what an event is, who wants it, how a request is built and signed, what an answer means,
//! and when signing keys take turns. Nothing here talks to a network, reads a clock or rolls a die: time, randomness
//! and settings are arguments.
//!
//! # Glossary
//!
//! One word per thing, in code, logs, tables, API and docs:
//!
//! - **event**: what a producer submits, a CloudEvents 1.0 envelope around a payload ([`event`]).
//! - **tenant**: whose endpoints an event may reach ([`event::TenantId`]).
//! - **endpoint**: a receiver's URL and its settings ([`endpoint`]).
//! - **delivery**: one event to one endpoint ([`delivery`]).
//! - **attempt**: one HTTP request of a delivery ([`attempt`]).
//! - **subject**: what an event is about, such as an operation; a **state** is how it stood from a moment on ([`state`]).
//! - **signing key**: a key pair with a `kid` ([`keys`]); its public half is a [`public_key`].
//! - **token request**: what a user authorizes at his bank, which calls back ([`token_request`]).
//! - **key store**: a file with a private key and its certificates, or with authorities, for TLS ([`key_store`]).

pub mod algorithm;
pub mod attempt;
pub mod auth;
pub mod breaker;
pub mod cause;
pub mod cloud_events;
pub mod delivery;
pub mod draining;
pub mod endpoint;
mod envelope;
pub mod event;
pub mod excerpt;
pub mod family;
pub mod fault;
pub mod fingerprint;
pub mod headers;
pub mod http_signature;
pub mod json;
pub mod jws;
pub mod key_store;
pub mod keys;
pub mod kid;
pub mod limits;
pub mod listing;
pub mod live_secrets;
mod object;
pub mod parking;
pub mod prefer;
pub mod problem;
pub mod projection;
pub mod public_key;
pub mod query;
pub mod request;
pub mod retry;
pub mod secret;
pub mod sent;
pub mod session;
pub mod settings;
pub mod signer;
mod spelling;
pub mod standard_webhooks;
pub mod state;
pub mod target;
pub mod token_refusal;
pub mod token_request;
pub mod verification;
