//! Public keys as verifiers fetch them: PEM by `kid`, JWK by `kid`, and the set of all (JWKS).
//!
//! A key has an id that no verifier sees. Each tenant publishes the key under its own `kid` ([`crate::signing::kid`]).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use pkcs1::RsaPublicKeyRef;
use serde::Serialize;
use spki::der::pem::LineEnding;
use spki::der::{Decode as _, EncodePem as _};
use spki::{AlgorithmIdentifierRef, ObjectIdentifier, SubjectPublicKeyInfoRef};

use crate::endpoint_id::EndpointId;
use crate::signing::algorithm::Algorithm;

/// The public half of a signing key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    id: String,
    algorithm: Algorithm,
    pem: String,
    bytes: Vec<u8>,
    parameters: Parameters,
}

/// The bytes are not a public key of a supported algorithm in DER `SubjectPublicKeyInfo` (RFC 5280, section 4.1).
#[derive(Debug, thiserror::Error)]
#[error("public key of signing key `{id}` cannot be read; expected RSA, P-256 or Ed25519 SubjectPublicKeyInfo in DER")]
pub struct PublicKeyError {
    id: String,
    #[source]
    source: spki::Error,
}

/// A JSON Web Key (RFC 7517).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Jwk<'a> {
    alg: Algorithm,
    r#use: &'static str,
    kid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<&'a str>,
    #[serde(flatten)]
    parameters: &'a Parameters,
}

impl<'a> Jwk<'a> {
    /// Names, in the member `endpoint`, the only endpoint whose requests the key verifies. Verifiers that do not know
    /// the member ignore it (RFC 7517, section 4).
    #[must_use]
    pub fn of_endpoint(self, endpoint: &'a EndpointId) -> Self {
        Self { endpoint: Some(endpoint.as_str()), ..self }
    }
}

/// The parameters of the key, in base64url: of RSA (RFC 7518, section 6.3.1), of an elliptic curve (section 6.2.1), or
/// of Ed25519 (RFC 8037, section 2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kty")]
enum Parameters {
    #[serde(rename = "EC")]
    Ec { crv: &'static str, x: String, y: String },
    #[serde(rename = "OKP")]
    Okp { crv: &'static str, x: String },
    #[serde(rename = "RSA")]
    Rsa { n: String, e: String },
}

/// A JSON Web Key Set (RFC 7517, section 5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JwkSet<'a> {
    /// The keys, in no significant order.
    pub keys: Vec<Jwk<'a>>,
}

/// `rsaEncryption`, RFC 8017, appendix A.1.
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// `id-ecPublicKey`, RFC 5480, section 2.1.1.
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// `secp256r1`, better known as P-256: RFC 5480, section 2.1.1.1.
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
/// DER of a `SubjectPublicKeyInfo` up to the 32 bytes of an Ed25519 key (RFC 8410, section 4).
const ED25519_SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// `id-Ed25519`, RFC 8410, section 3.
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

impl PublicKey {
    /// Takes a DER `SubjectPublicKeyInfo`, as KMS returns it.
    ///
    /// # Errors
    /// The key does not have a supported algorithm. No receiver could verify its signatures.
    pub fn from_spki(id: &str, der: &[u8]) -> Result<Self, PublicKeyError> {
        let parse = || -> Result<Self, spki::Error> {
            let spki = SubjectPublicKeyInfoRef::from_der(der)?;
            let subject_public_key = spki.subject_public_key.as_bytes().ok_or(spki::Error::KeyMalformed)?;
            let (algorithm, parameters) = parameters(&spki.algorithm, subject_public_key)?;
            Ok(Self {
                id: id.to_owned(),
                algorithm,
                pem: spki.to_pem(LineEnding::LF)?,
                bytes: subject_public_key.to_vec(),
                parameters,
            })
        };
        parse().map_err(|source| PublicKeyError { id: id.to_owned(), source })
    }

    /// Takes the 32 bytes of an Ed25519 public key (RFC 8032, section 5.1.5).
    ///
    /// # Errors
    /// None in practice: any 32 bytes have the form of a key.
    pub fn from_ed25519(id: &str, bytes: &[u8; 32]) -> Result<Self, PublicKeyError> {
        Self::from_spki(id, &[&ED25519_SPKI_PREFIX[..], bytes].concat())
    }

    /// Returns the id in the table and in the encrypted private key. No verifier sees it: see [`crate::signing::kid`].
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the algorithm of the signatures that the key verifies.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the key in PEM, `-----BEGIN PUBLIC KEY-----` (RFC 7468, section 13), ending in a newline.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Returns the key as cryptographic libraries expect it: DER `RSAPublicKey` (RFC 8017, appendix A.1.1), an
    /// uncompressed point (SEC 1, section 2.3.3), or the 32 bytes of Ed25519.
    #[must_use]
    pub fn subject_public_key(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the key as a JWK, under the `kid` by which its verifiers know it.
    #[must_use]
    pub fn jwk(&self, kid: String) -> Jwk<'_> {
        Jwk { alg: self.algorithm, r#use: "sig", kid, endpoint: None, parameters: &self.parameters }
    }
}

fn parameters(kind: &AlgorithmIdentifierRef<'_>, key: &[u8]) -> Result<(Algorithm, Parameters), spki::Error> {
    match kind.oid {
        RSA_ENCRYPTION => {
            let key = RsaPublicKeyRef::from_der(key)?;
            let [n, e] = [key.modulus, key.public_exponent].map(|number| BASE64URL.encode(number.as_bytes()));
            Ok((Algorithm::RS256, Parameters::Rsa { n, e }))
        }
        EC_PUBLIC_KEY => {
            kind.assert_parameters_oid(P256)?;
            let [4, point @ ..] = key else { return Err(spki::Error::KeyMalformed) }; // 4: uncompressed.
            let (x, y) = point.split_at_checked(32).filter(|(_, y)| y.len() == 32).ok_or(spki::Error::KeyMalformed)?;
            let (x, y) = (BASE64URL.encode(x), BASE64URL.encode(y));
            Ok((Algorithm::ES256, Parameters::Ec { crv: "P-256", x, y }))
        }
        ED25519 if key.len() == 32 => {
            Ok((Algorithm::EdDSA, Parameters::Okp { crv: "Ed25519", x: BASE64URL.encode(key) }))
        }
        oid => Err(spki::Error::OidUnknown { oid }),
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};

    use super::*;

    /// Made with `openssl genpkey` and `openssl pkey -pubout`.
    const RSA: &str = include_str!("../../tests/data/rsa-2048.public.pem");
    const P256: &str = include_str!("../../tests/data/p256.public.pem");
    const ED25519: &str = include_str!("../../tests/data/ed25519.public.pem");

    fn key(pem: &str) -> PublicKey {
        let lines: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        PublicKey::from_spki("k1", &base64::engine::general_purpose::STANDARD.decode(lines).unwrap()).unwrap()
    }

    /// Returns the bytes of hexadecimal digits as openssl prints them, with or without colons.
    fn bytes(hex: &str) -> Vec<u8> {
        let digits: String = hex.chars().filter(char::is_ascii_hexdigit).collect();
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
    }

    /// Returns the bytes after `pub:` in the output of `openssl pkey -pubin -text`.
    fn printed(text: &str) -> Vec<u8> {
        let lines = text.lines().skip_while(|line| *line != "pub:").skip(1).take_while(|line| line.starts_with(' '));
        bytes(&lines.collect::<String>())
    }

    #[test]
    fn pem_is_what_openssl_writes() {
        for pem in [RSA, P256, ED25519] {
            assert_eq!(key(pem).pem(), pem);
        }
    }

    #[test]
    fn jwk_has_the_numbers_that_openssl_prints() {
        let modulus = include_str!("../../tests/data/rsa-2048.modulus.txt").trim().trim_start_matches("Modulus=");
        let point = printed(include_str!("../../tests/data/p256.public.txt"));
        let ed25519 = printed(include_str!("../../tests/data/ed25519.public.txt"));
        let encode = |bytes: &[u8]| BASE64URL.encode(bytes);
        // RFC 7518, section 6.3.1.1: no leading zero octet; 65537 is AQAB.
        let cases = [
            (RSA, serde_json::json!({"kty": "RSA", "alg": "RS256", "n": encode(&bytes(modulus)), "e": "AQAB"})),
            (
                P256,
                serde_json::json!(
                    {"kty": "EC", "alg": "ES256", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..])}
                ),
            ),
            (ED25519, serde_json::json!({"kty": "OKP", "alg": "EdDSA", "crv": "Ed25519", "x": encode(&ed25519)})),
        ];
        for (pem, mut expected) in cases {
            expected["use"] = "sig".into();
            expected["kid"] = "k1".into();
            assert_eq!(serde_json::to_value(key(pem).jwk("k1".into())).unwrap(), expected);
        }
    }

    #[test]
    fn the_bytes_of_an_ed25519_key_make_the_key_that_openssl_writes() {
        let bytes: [u8; 32] = printed(include_str!("../../tests/data/ed25519.public.txt")).try_into().unwrap();
        assert_eq!(PublicKey::from_ed25519("k1", &bytes).unwrap().pem(), ED25519);
    }

    /// Every base64url text of 32 bytes has 43 characters. A coordinate with leading zero bytes keeps them (RFC 7518,
    /// section 6.2.1.2).
    #[test]
    fn coordinates_of_es256_keys_always_have_43_characters() {
        for _ in 0..600 {
            let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
            let spki: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
            let jwk = serde_json::to_value(PublicKey::from_spki("k", spki.as_ref()).unwrap().jwk("k".into())).unwrap();
            assert!(["x", "y"].iter().all(|name| jwk[name].as_str().unwrap().len() == 43), "{jwk}");
        }
    }

    #[test]
    fn other_bytes_are_refused() {
        let text = PublicKey::from_spki("k", b"garbage").unwrap_err().to_string();
        let expected = "expected RSA, P-256 or Ed25519 SubjectPublicKeyInfo in DER";
        assert_eq!(text, format!("public key of signing key `k` cannot be read; {expected}"));
    }
}
