//! Public keys as verifiers fetch them: PEM by `kid`, JWK by `kid`, and the set of all (JWKS).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use pkcs1::RsaPublicKeyRef;
use serde::Serialize;
use spki::der::pem::LineEnding;
use spki::der::{Decode as _, EncodePem as _};
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

/// The public half of an RSA signing key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    kid: String,
    pem: String,
    pkcs1: Vec<u8>,
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

/// The bytes are no RSA public key in DER `SubjectPublicKeyInfo` (RFC 5280, section 4.1; RFC 8017, appendix A.1).
#[derive(Debug, thiserror::Error)]
#[error("public key of signing key `{kid}` cannot be read; expected RSA SubjectPublicKeyInfo in DER")]
pub struct PublicKeyError {
    kid: String,
    #[source]
    source: spki::Error,
}

/// A JSON Web Key (RFC 7517) of an RSA public key (RFC 7518, section 6.3.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Jwk<'a> {
    kty: &'static str,
    alg: &'static str,
    r#use: &'static str,
    kid: &'a str,
    n: String,
    e: String,
}

/// A JSON Web Key Set (RFC 7517, section 5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JwkSet<'a> {
    /// The keys, in no order that means anything.
    pub keys: Vec<Jwk<'a>>,
}

/// `rsaEncryption`, RFC 8017, appendix A.1.
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

impl PublicKey {
    /// Takes a DER `SubjectPublicKeyInfo`, as KMS returns it.
    ///
    /// # Errors
    /// Anything but an RSA key: nobody could verify with it.
    pub fn from_spki(kid: &str, der: &[u8]) -> Result<Self, PublicKeyError> {
        let parse = || -> Result<Self, spki::Error> {
            let spki = SubjectPublicKeyInfoRef::from_der(der)?;
            spki.algorithm.assert_algorithm_oid(RSA_ENCRYPTION)?;
            let pkcs1 = spki.subject_public_key.as_bytes().ok_or(spki::Error::KeyMalformed)?;
            let key = RsaPublicKeyRef::from_der(pkcs1)?;
            Ok(Self {
                kid: kid.to_owned(),
                pem: spki.to_pem(LineEnding::LF)?,
                pkcs1: pkcs1.to_vec(),
                modulus: key.modulus.as_bytes().to_vec(),
                exponent: key.public_exponent.as_bytes().to_vec(),
            })
        };
        parse().map_err(|source| PublicKeyError { kid: kid.to_owned(), source })
    }

    /// The id it is fetched by.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The key in PEM, `-----BEGIN PUBLIC KEY-----` (RFC 7468, section 13), ending in a newline.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The key in DER `RSAPublicKey` (RFC 8017, appendix A.1.1).
    #[must_use]
    pub fn pkcs1(&self) -> &[u8] {
        &self.pkcs1
    }

    /// The key as a JWK.
    #[must_use]
    pub fn jwk(&self) -> Jwk<'_> {
        Jwk {
            kty: "RSA",
            alg: "RS256",
            r#use: "sig",
            kid: &self.kid,
            n: BASE64URL.encode(&self.modulus),
            e: BASE64URL.encode(&self.exponent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with `openssl genrsa 2048 | openssl rsa -pubout`.
    const PEM: &str = include_str!("../tests/data/rsa-2048.public.pem");
    /// Of the same key, `openssl rsa -pubin -modulus`.
    const MODULUS: &str = include_str!("../tests/data/rsa-2048.modulus.txt");

    fn der() -> Vec<u8> {
        let lines: String = PEM.lines().filter(|line| !line.starts_with("-----")).collect();
        base64::engine::general_purpose::STANDARD.decode(lines).unwrap()
    }

    #[test]
    fn pem_is_what_openssl_writes() {
        assert_eq!(PublicKey::from_spki("k", &der()).unwrap().pem(), PEM);
    }

    #[test]
    fn jwk_has_modulus_and_exponent_of_openssl() {
        let key = PublicKey::from_spki("k1", &der()).unwrap();
        let jwk = serde_json::to_value(key.jwk()).unwrap();
        let hex = MODULUS.trim().trim_start_matches("Modulus=");
        let modulus: Vec<_> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        assert_eq!(BASE64URL.decode(jwk["n"].as_str().unwrap()).unwrap(), modulus);
        // RFC 7518, section 6.3.1.1: no leading zero octet; 65537 is AQAB.
        assert_eq!((&jwk["e"], &jwk["kty"], &jwk["kid"]), (&"AQAB".into(), &"RSA".into(), &"k1".into()));
    }

    #[test]
    fn other_bytes_are_refused() {
        let text = PublicKey::from_spki("k", b"garbage").unwrap_err().to_string();
        assert_eq!(text, "public key of signing key `k` cannot be read; expected RSA SubjectPublicKeyInfo in DER");
    }
}
