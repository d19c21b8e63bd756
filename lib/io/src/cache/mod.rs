//! Caches of a warm environment: endpoints with their opened secrets, and signing keys.

pub mod endpoint_cache;
pub mod signer_cache;
