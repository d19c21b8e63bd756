//! Signature algorithms of signing keys.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An algorithm of signing keys. Each algorithm has its own sequence of keys, which rotates independently.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Algorithm {
    /// Ed25519 (RFC 8032), which JWS calls `EdDSA` (RFC 8037).
    EdDSA,
    /// ECDSA over P-256 with SHA-256 (RFC 7518, section 3.4).
    ES256,
    /// RSA of 2,048 bits, PKCS #1 v1.5, with SHA-256 (RFC 7518, section 3.3).
    #[default]
    RS256,
}

impl Algorithm {
    /// All algorithms.
    pub const ALL: [Self; 3] = [Self::EdDSA, Self::ES256, Self::RS256];

    /// Returns the name in JSON Web Signatures (RFC 7518, section 3.1; RFC 8037, section 3.1).
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EdDSA => "EdDSA",
            Self::ES256 => "ES256",
            Self::RS256 => "RS256",
        }
    }

    /// Returns the name in HTTP Message Signatures (RFC 9421, section 3.3).
    #[must_use]
    pub fn http_signature_name(self) -> &'static str {
        match self {
            Self::EdDSA => "ed25519",
            Self::ES256 => "ecdsa-p256-sha256",
            Self::RS256 => "rsa-v1_5-sha256",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
