//! What a warm environment remembers: endpoints with their opened secrets, and signing keys.

pub mod endpoint_cache;
pub mod signer_cache;
