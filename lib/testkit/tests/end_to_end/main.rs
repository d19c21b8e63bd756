//! The whole way on the local stack: the real template, deployed by `sam deploy`, running the real binaries with IAM
//! enforced and keys that sign for a minute. Started by `make test`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod batches;
mod breaker;
mod contract;
mod deliveries;
mod deploy;
mod docs;
mod duplicates;
mod endpoints;
mod faults;
mod first_keys;
mod handlers;
mod hostile;
mod kills;
mod limits;
mod own;
mod parking;
mod payloads;
mod permissions;
mod public_keys;
mod redrive;
mod rejection;
mod replay;
mod retries;
mod rotation;
mod round_trip;
mod secrets;
mod sent;
mod signatures;
mod status;
mod tenants;
mod tls;
mod token_requests;
mod verification;
