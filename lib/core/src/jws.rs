//! Detached JSON Web Signatures: the `JWS-SIGNATURE` header.

use aws_lc_rs::error::KeyRejected;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;

/// Signs with one RSA key as JWS `RS256` (RFC 7518, section 3.3), the payload detached (RFC 7515, appendix F).
///
/// Signing takes about a third of a millisecond and no network: the private key is in memory, and nowhere else.
pub struct Rs256Signer {
    kid: String,
    protected: String,
    key: RsaKeyPair,
}

/// Why a private key cannot sign.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// The unwrapped bytes are no RSA private key of 2,048 bits or more in PKCS#8 DER.
    #[error("private key of signing key `{kid}` cannot be read; expected RSA in PKCS#8 DER, rotate the key")]
    Malformed {
        /// Which signing key.
        kid: String,
        /// What the parser says of it.
        #[source]
        source: KeyRejected,
    },
    /// The private key is another pair's.
    #[error("private key of signing key `{kid}` does not belong to its public key; rotate the key")]
    Mismatched {
        /// Which signing key.
        kid: String,
    },
    /// The signature could not be computed.
    #[error("signing with `{kid}` failed; try again")]
    Failed {
        /// Which signing key.
        kid: String,
    },
}

impl Rs256Signer {
    /// Takes an RSA private key in PKCS#8 DER, as KMS unwraps it, and the public key it was published with, in PKCS#1
    /// DER, so that nothing is ever signed that the published key would not verify.
    ///
    /// # Errors
    /// A key that cannot be read or is another's: that signing key is of no use, whoever tries again.
    pub fn from_pkcs8(kid: &str, pkcs8: &[u8], public_pkcs1: &[u8]) -> Result<Self, SignerError> {
        let key =
            RsaKeyPair::from_pkcs8(pkcs8).map_err(|source| SignerError::Malformed { kid: kid.to_owned(), source })?;
        if key.public_key().as_ref() != public_pkcs1 {
            return Err(SignerError::Mismatched { kid: kid.to_owned() });
        }
        let protected = BASE64URL.encode(format!(r#"{{"alg":"RS256","kid":"{kid}","typ":"JWT"}}"#));
        Ok(Self { kid: kid.to_owned(), protected, key })
    }

    /// The id that verifiers fetch the public key by.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Signs `payload` and returns the compact serialization without it: `<header>..<signature>`.
    ///
    /// The header is exactly `{"alg":"RS256","kid":"…","typ":"JWT"}`. `payload` must be the very bytes that go over the
    /// wire: a receiver puts them, base64url-encoded, between the two dots and verifies an ordinary JWS.
    ///
    /// # Errors
    /// The cryptographic library refused, which is a fault on our side; another attempt may succeed.
    pub fn sign_detached(&self, payload: &[u8]) -> Result<String, SignerError> {
        let signature =
            sign(&self.key, &self.protected, payload).ok_or_else(|| SignerError::Failed { kid: self.kid.clone() })?;
        Ok(format!("{}..{signature}", self.protected))
    }
}

/// The base64url signature over `<protected>.<payload>` (RFC 7515, section 5.1, step 5).
fn sign(key: &RsaKeyPair, protected: &str, payload: &[u8]) -> Option<String> {
    let mut input = String::with_capacity(protected.len() + 1 + payload.len().div_ceil(3) * 4);
    input.push_str(protected);
    input.push('.');
    BASE64URL.encode_string(payload, &mut input);
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), input.as_bytes(), &mut signature).ok()?;
    Some(BASE64URL.encode(signature))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
    use pkcs1::der::Encode as _;
    use pkcs1::{RsaPrivateKey, UintRef};
    use serde::Deserialize;

    use super::*;

    /// RFC 7515, appendix A.2: the key, what is signed, and the signature, all base64url.
    #[derive(Deserialize)]
    struct Vector {
        key: BTreeMap<String, String>,
        protected: String,
        payload: String,
        signature: String,
    }

    fn key_pair(jwk: &BTreeMap<String, String>) -> RsaKeyPair {
        let decoded = ["n", "e", "d", "p", "q", "dp", "dq", "qi"].map(|member| BASE64URL.decode(&jwk[member]).unwrap());
        let [modulus, public_exponent, private_exponent, prime1, prime2, exponent1, exponent2, coefficient] =
            decoded.each_ref().map(|member| UintRef::new(member).unwrap());
        let key = RsaPrivateKey {
            modulus,
            public_exponent,
            private_exponent,
            prime1,
            prime2,
            exponent1,
            exponent2,
            coefficient,
            other_prime_infos: None,
        };
        RsaKeyPair::from_der(&key.to_der().unwrap()).unwrap()
    }

    #[test]
    fn rfc_7515_appendix_a_2_is_reproduced() {
        let vector: Vector = serde_json::from_str(include_str!("../tests/data/rfc7515-a2.json")).unwrap();
        let payload = BASE64URL.decode(&vector.payload).unwrap();
        assert_eq!(sign(&key_pair(&vector.key), &vector.protected, &payload).unwrap(), vector.signature);
    }

    fn generated() -> (Vec<u8>, RsaKeyPair) {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let pkcs8: Pkcs8V1Der<'_> = key.as_der().unwrap();
        (pkcs8.as_ref().to_vec(), key)
    }

    #[test]
    fn the_payload_is_detached_and_verifies_when_put_back() {
        let (pkcs8, key) = generated();
        let kid = "070725bf-7dac-4712-b61a-420ba3701263";
        let signer = Rs256Signer::from_pkcs8(kid, &pkcs8, key.public_key().as_ref()).unwrap();
        let payload = br#"{"name":"John\u0020Smith"}"#;
        let detached = signer.sign_detached(payload).unwrap();

        // RFC 7515, appendix F: the middle part is empty, and is put back by whoever verifies.
        let [protected, "", signature] = detached.split('.').collect::<Vec<_>>()[..] else {
            panic!("not detached: {detached}")
        };
        let header = String::from_utf8(BASE64URL.decode(protected).unwrap()).unwrap();
        assert_eq!(header, format!(r#"{{"alg":"RS256","kid":"{kid}","typ":"JWT"}}"#));
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key().as_ref());
        let compact = format!("{protected}.{}", BASE64URL.encode(payload));
        public.verify(compact.as_bytes(), &BASE64URL.decode(signature).unwrap()).unwrap();
    }

    #[test]
    fn a_private_key_that_is_not_the_published_ones_is_refused() {
        let ((pkcs8, _), (_, other)) = (generated(), generated());
        let refused = Rs256Signer::from_pkcs8("k", &pkcs8, other.public_key().as_ref());
        assert!(matches!(refused.err(), Some(SignerError::Mismatched { .. })));
        let refused = Rs256Signer::from_pkcs8("k", b"garbage", other.public_key().as_ref());
        assert!(matches!(refused.err(), Some(SignerError::Malformed { .. })));
    }
}
