//! Signers: private signing keys, ready to sign.

use std::sync::Arc;

use aws_lc_rs::error::KeyRejected;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};

use crate::event::TenantId;
use crate::signing::algorithm::Algorithm;
use crate::signing::kid;
use crate::signing::public_key::PublicKey;

/// A signer with one private key.
///
/// Signing needs no network: the private key is in memory, and nowhere else. On one core of an x86-64 server it takes
/// about 11 µs with Ed25519, 20 µs with ES256, and 350 µs with RS256.
pub struct Signer {
    id: String,
    key: Key,
}

/// A signing key as one tenant's verifiers know it: under the tenant's own `kid` ([`crate::signing::kid`]).
///
/// JWS and RFC 9421 sign the `kid`, so a signature for one tenant cannot be used as another tenant's.
#[derive(Clone, Debug)]
pub struct TenantSigner {
    kid: String,
    signer: Arc<Signer>,
}

impl TenantSigner {
    /// Prepares a signing key for `tenant`.
    #[must_use]
    pub fn new(signer: Arc<Signer>, tenant: &TenantId) -> Self {
        Self { kid: kid::of_signing_key(signer.id(), tenant), signer }
    }

    /// Returns the id under which the tenant's verifiers find the public key.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Returns the algorithm of the signatures.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.signer.algorithm()
    }

    /// Signs `message` like [`Signer::sign`]. The caller puts the `kid` into the signed content.
    ///
    /// # Errors
    /// The same as for [`Signer::sign`].
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        self.signer.sign(message)
    }
}

enum Key {
    EdDSA(Ed25519KeyPair),
    ES256(EcdsaKeyPair),
    RS256(RsaKeyPair),
}

/// The reason why a private key cannot sign.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// The signature could not be computed.
    #[error("signing with `{id}` failed; try again")]
    Failed {
        /// The id of the signing key.
        id: String,
    },
    /// The decrypted bytes are not a private key of the algorithm in PKCS#8 DER.
    #[error("private key of signing key `{id}` cannot be read; expected {algorithm} in PKCS#8 DER; rotate the key")]
    Malformed {
        /// The id of the signing key.
        id: String,
        /// The expected algorithm.
        algorithm: Algorithm,
        /// The parser's error.
        #[source]
        source: KeyRejected,
    },
    /// The private key belongs to another public key.
    #[error("private key of signing key `{id}` does not belong to its public key; rotate the key")]
    Mismatched {
        /// The id of the signing key.
        id: String,
    },
}

impl Signer {
    /// Takes a private key in PKCS#8 DER, as KMS decrypts it, and its published public key. If they do not match, the
    /// key is refused, because the published key would not verify its signatures.
    ///
    /// # Errors
    /// The key cannot be read, or it belongs to another public key. Another attempt has the same result.
    pub fn from_pkcs8(public: &PublicKey, pkcs8: &[u8]) -> Result<Self, SignerError> {
        let (id, algorithm) = (public.id(), public.algorithm());
        let key = match algorithm {
            Algorithm::EdDSA => Ed25519KeyPair::from_pkcs8(pkcs8).map(Key::EdDSA),
            Algorithm::ES256 => EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).map(Key::ES256),
            Algorithm::RS256 => RsaKeyPair::from_pkcs8(pkcs8).map(Key::RS256),
        };
        let key = key.map_err(|source| SignerError::Malformed { id: id.to_owned(), algorithm, source })?;
        let own = match &key {
            Key::EdDSA(key) => key.public_key().as_ref(),
            Key::ES256(key) => key.public_key().as_ref(),
            Key::RS256(key) => key.public_key().as_ref(),
        };
        if own != public.subject_public_key() {
            return Err(SignerError::Mismatched { id: id.to_owned() });
        }
        Ok(Self { id: id.to_owned(), key })
    }

    /// Returns the id in the table and in the encrypted private key. No verifier sees it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the algorithm of the signatures.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match self.key {
            Key::EdDSA(_) => Algorithm::EdDSA,
            Key::ES256(_) => Algorithm::ES256,
            Key::RS256(_) => Algorithm::RS256,
        }
    }

    /// Signs `message`. The signature has the form that both JWS (RFC 7518, section 3) and RFC 9421 (section 3.3)
    /// require: for ES256, the two numbers one after the other, not DER.
    ///
    /// # Errors
    /// The cryptographic library failed, which is an internal error. Another attempt may succeed.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        let random = SystemRandom::new();
        let signature = match &self.key {
            Key::EdDSA(key) => key.try_sign(message).map(|signature| signature.as_ref().to_vec()),
            Key::ES256(key) => key.sign(&random, message).map(|signature| signature.as_ref().to_vec()),
            Key::RS256(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).map(|()| signature)
            }
        };
        signature.map_err(|_| SignerError::Failed { id: self.id.clone() })
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("id", &self.id).finish_non_exhaustive() // Never the private key.
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
    };
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    /// Returns the same for a tenant.
    pub(crate) fn tenant_signer(algorithm: Algorithm) -> (TenantSigner, PublicKey) {
        let (signer, public) = signer(algorithm);
        (TenantSigner::new(Arc::new(signer), &TenantId::parse("acme").unwrap()), public)
    }

    /// Key pairs made by `openssl genpkey`, PKCS#8 and `SubjectPublicKeyInfo`, both DER.
    pub(crate) fn signer(algorithm: Algorithm) -> (Signer, PublicKey) {
        let (private, public) = pair(algorithm);
        let public = PublicKey::from_spki("070725bf-7dac-4712-b61a-420ba3701263", &public).unwrap();
        (Signer::from_pkcs8(&public, &private).unwrap(), public)
    }

    fn pair(algorithm: Algorithm) -> (Vec<u8>, Vec<u8>) {
        let (private, public) = match algorithm {
            Algorithm::EdDSA => {
                (include_str!("../../tests/data/ed25519.pem"), include_str!("../../tests/data/ed25519.public.pem"))
            }
            Algorithm::ES256 => {
                (include_str!("../../tests/data/p256.pem"), include_str!("../../tests/data/p256.public.pem"))
            }
            Algorithm::RS256 => {
                (include_str!("../../tests/data/rsa-2048.pem"), include_str!("../../tests/data/rsa-2048.public.pem"))
            }
        };
        let der = |pem: &str| {
            let lines: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
            STANDARD.decode(lines).unwrap()
        };
        (der(private), der(public))
    }

    #[test]
    fn a_signature_verifies_under_the_public_key() {
        for algorithm in Algorithm::ALL {
            let (signer, public) = signer(algorithm);
            assert_eq!((signer.algorithm(), public.algorithm()), (algorithm, algorithm));
            let verification: &dyn VerificationAlgorithm = match algorithm {
                Algorithm::EdDSA => &ED25519,
                Algorithm::ES256 => &ECDSA_P256_SHA256_FIXED,
                Algorithm::RS256 => &RSA_PKCS1_2048_8192_SHA256,
            };
            let verifier = UnparsedPublicKey::new(verification, public.subject_public_key());
            let signature = signer.sign(b"message").unwrap();
            assert!(verifier.verify(b"message", &signature).is_ok(), "{algorithm}");
            assert!(verifier.verify(b"massage", &signature).is_err(), "{algorithm}");
        }
    }

    #[test]
    fn a_private_key_that_is_not_the_published_ones_is_refused() {
        let (_, rsa) = pair(Algorithm::RS256);
        let public = PublicKey::from_spki("k", &rsa).unwrap();
        let other = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
        let other = aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&other).unwrap();
        let refused = Signer::from_pkcs8(&public, other.as_ref());
        assert!(matches!(refused, Err(SignerError::Mismatched { .. })));
        let refused = Signer::from_pkcs8(&public, b"garbage");
        assert!(matches!(refused, Err(SignerError::Malformed { .. })));
    }
}
