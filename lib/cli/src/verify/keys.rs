//! The keys that a verifier trusts: a tenant's published key set (RFC 7517).

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde::Deserialize;
use signpost_core::signing::algorithm::Algorithm;

/// A public key of a key set.
#[derive(Clone, Debug)]
pub struct PublishedKey {
    /// The id that signatures name.
    pub kid: String,
    /// The one algorithm that the key verifies.
    pub algorithm: Algorithm,
    /// The endpoint whose `v1a` signatures the key verifies. Such a key verifies nothing else.
    pub endpoint: Option<String>,
    numbers: Numbers,
}

#[derive(Clone, Debug)]
enum Numbers {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    Point(Vec<u8>),
    Ed25519(Vec<u8>),
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Jwk {
    kid: String,
    kty: String,
    endpoint: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl PublishedKey {
    /// Reads a key set. Keys of other kinds are left out, because Signpost has none.
    ///
    /// # Errors
    /// The text is not a key set. The message says what was expected.
    pub fn parse_set(json: &[u8]) -> Result<Vec<Self>, String> {
        let set: Set = serde_json::from_slice(json).map_err(|error| {
            format!("not a key set: {error}; expected `{{\"keys\":[…]}}`, as the endpoint's `jwksUrl` answers")
        })?;
        Ok(set.keys.iter().filter_map(Self::of).collect())
    }

    fn of(jwk: &Jwk) -> Option<Self> {
        let number = |text: &Option<String>| BASE64URL.decode(text.as_ref()?).ok();
        let (algorithm, numbers) = match jwk.kty.as_str() {
            "RSA" => (Algorithm::RS256, Numbers::Rsa { n: number(&jwk.n)?, e: number(&jwk.e)? }),
            "EC" => (Algorithm::ES256, Numbers::Point([vec![4], number(&jwk.x)?, number(&jwk.y)?].concat())),
            "OKP" => (Algorithm::EdDSA, Numbers::Ed25519(number(&jwk.x)?)),
            _ => return None,
        };
        Some(Self { kid: jwk.kid.clone(), algorithm, endpoint: jwk.endpoint.clone(), numbers })
    }

    /// Returns whether `signature` is this key's signature over `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.numbers {
            Numbers::Rsa { n, e } => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok()
            }
            Numbers::Point(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
            }
            Numbers::Ed25519(x) => UnparsedPublicKey::new(&ED25519, x).verify(message, signature).is_ok(),
        }
    }

    /// Returns the length of this key's signatures in bytes.
    #[must_use]
    pub fn signature_bytes(&self) -> usize {
        match &self.numbers {
            Numbers::Rsa { n, .. } => n.len(),
            Numbers::Point(_) | Numbers::Ed25519(_) => 64,
        }
    }
}
