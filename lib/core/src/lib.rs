//! The pure rules of Signpost: what an event is, which endpoints receive it, how a request is built and signed, what an
//! answer means, and when a signing key changes. This crate has no network, reads no clock and draws no random number:
//! time, randomness and settings are arguments.
//!
//! # Folders
//!
//! Each folder uses only those above it.
//!
//! - [`secret`], [`fingerprint`], [`form`], [`endpoint::EndpointId`]: values that every folder may use.
//! - [`input`]: JSON as a sender spells it, and all faults of an input.
//! - [`event`]: the CloudEvents envelope, and the payloads that vendors document.
//! - [`status`]: the state of a subject, from all events about it.
//! - [`signing`]: signing keys, their rotation, and the three signature formats.
//! - [`endpoint`]: a receiver's settings, their validation, and how Signpost authenticates to the receiver.
//! - [`delivery`]: the HTTP request of an attempt, the effects of its outcome, breakers, limits and parking.
//! - [`token_request`]: bank callbacks, and the users' authorizations that they answer.
//! - [`portal`]: links to the integrators' page, and the rights of their sessions.
//! - [`audit`]: who changed what, and when.
//! - [`tenant_erasure`]: the removal of all that belongs to a tenant.
//!
//! # Glossary
//!
//! One word per thing, in code, logs, tables, API and docs:
//!
//! - **event**: what a producer submits, a CloudEvents 1.0 envelope around a payload ([`event`]).
//! - **payload**: the JSON object in an event's `data`, often in a vendor's format ([`event::family`]).
//! - **tenant**: a customer of the operator. Each event and each endpoint belongs to one ([`event::TenantId`]).
//! - **endpoint**: a receiver's URL and its settings ([`endpoint`]).
//! - **webhook**: an event as Signpost sends it to an endpoint, signed ([`delivery::request`]).
//! - **delivery**: one event to one endpoint ([`delivery`]).
//! - **attempt**: one HTTP request of a delivery ([`delivery::attempt`]).
//! - **parked**: a delivery that waits in a table and not in the queue ([`delivery::parking`]).
//! - **breaker**: stops deliveries to an endpoint that fails. A **probe** is the one delivery that tests the endpoint
//!   ([`delivery::breaker`]).
//! - **subject**: the thing that an event is about, such as an operation. A **state** is its condition from a given
//!   time on ([`status::state`]).
//! - **signing key**: a key pair with a `kid` ([`signing::key_rotation`]). Its public half is a
//!   [`signing::public_key`].
//! - **bank callback**: the request by which a bank answers a **token request**, which a user authorizes at the bank
//!   ([`token_request`]).
//! - **link**: opens the integrators' page once. The **session** that it opens has the rights of the link ([`portal`]).
//! - **key store**: a file for TLS with a private key and its certificates, or with authorities
//!   ([`endpoint::key_store`]).

pub mod audit;
mod dated_id;
pub mod delivery;
pub mod endpoint;
mod endpoint_id;
pub mod event;
pub mod fingerprint;
pub mod form;
pub mod input;
pub mod portal;
pub mod quota;
pub mod random_secret;
pub mod secret;
pub mod signing;
pub mod status;
pub mod tenant_erasure;
pub mod token_request;
