//! Verifies webhooks from Signpost in one call: see [`Receiver`].
//!
//! ```no_run
//! # async fn webhook(headers: reqwest::header::HeaderMap, body: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
//! use signpost_receiver::{Receiver, Settings};
//!
//! let receiver = Receiver::new(Settings {
//!     keys_url: Some("https://api.example/tenants/acme/.well-known/jwks.json".to_owned()),
//!     url: Some("https://hooks.acme.example/in".to_owned()),
//!     ..Settings::default()
//! })?;
//! let event = receiver.verify(&headers, body, None, "POST").await?;
//! # Ok(())
//! # }
//! ```

mod encoding;
mod error;
mod http_signature;
mod keys;
mod receiver;
mod request;

pub use error::{Error, KeysUnavailable, SettingsError, VerificationError};
pub use keys::{Key, KeySet, KeySetOptions};
pub use receiver::{Algorithm, Event, Format, Receiver, Settings};
