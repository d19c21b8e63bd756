//! End-to-end tests on the local stack: `sam deploy` deploys the real template, with the real binaries, enforced IAM,
//! and keys that sign for a minute. `make test` starts them.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod audit;
mod batches;
mod breaker;
mod busy;
mod command_line;
mod contract;
mod deliveries;
mod deploy;
mod destinations;
mod docs;
mod duplicates;
mod endpoints;
mod erasure;
mod event_bus;
mod event_types;
mod fanout;
mod faults;
mod filters;
mod first_keys;
mod handlers;
mod hostile;
mod kills;
mod limits;
mod metrics;
mod notices;
mod own;
mod parking;
mod payloads;
mod permissions;
mod portal;
mod ports;
mod public_keys;
mod receivers;
mod redrive;
mod rejection;
mod replay;
mod replays;
mod retries;
mod rotation;
mod round_trip;
mod second_opinion;
mod secrets;
mod sent;
mod sequence;
mod signatures;
mod smoke;
mod status;
mod tenants;
mod tls;
mod token_requests;
mod topics;
mod verification;
