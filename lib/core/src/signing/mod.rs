//! Signing keys, when they take turns, and the three formats that webhooks are signed in.

pub mod algorithm;
pub mod http_signature;
pub mod jws;
pub mod key_rotation;
pub mod kid;
pub mod public_key;
pub mod signer;
pub mod standard_webhooks;
