//! Signing keys, their rotation, and the three signature formats of webhooks.

pub mod algorithm;
pub mod http_signature;
pub mod jws;
pub mod key_rotation;
pub mod kid;
pub mod public_key;
pub mod signer;
pub mod standard_webhooks;
