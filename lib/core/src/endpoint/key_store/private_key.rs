//! Private keys, in any encoding.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _,
};
use der::asn1::OctetStringRef;
use der::{Decode as _, Reader as _, SliceReader};
use spki::{AlgorithmIdentifierRef, ObjectIdentifier, SubjectPublicKeyInfoOwned};

use super::{StoreError, StoreFormat};

/// The encoding of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyEncoding {
    /// `RSAPrivateKey`, RFC 8017, appendix A.1.2.
    Pkcs1,
    /// `PrivateKeyInfo`, RFC 5958, section 2.
    Pkcs8,
    /// `ECPrivateKey`, RFC 5915, section 3.
    Sec1,
}

/// A private key of a kind that TLS supports.
pub(super) struct PrivateKey {
    algorithm: ObjectIdentifier,
    pkcs8: Vec<u8>,
    /// The content of `subjectPublicKey` in its certificates.
    public: Vec<u8>,
}

/// RFC 8017, appendix A.1.
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// `id-ecPublicKey`, RFC 5480, section 2.1.1.
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// RFC 8410, section 3.
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

static CURVES: [&EcdsaSigningAlgorithm; 3] =
    [&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P384_SHA384_ASN1_SIGNING, &ECDSA_P521_SHA512_ASN1_SIGNING];

impl PrivateKey {
    /// Reads a key that is not encrypted, or is decrypted already.
    pub(super) fn read(format: StoreFormat, encoding: KeyEncoding, der: &[u8]) -> Result<Self, StoreError> {
        let key = match encoding {
            KeyEncoding::Pkcs1 => rsa::KeyPair::from_der(der).ok().and_then(|key| Self::of_rsa(&key)),
            KeyEncoding::Sec1 => Self::of_curve(|curve| EcdsaKeyPair::from_private_key_der(curve, der).ok()),
            KeyEncoding::Pkcs8 => match algorithm(der).map_err(|source| format.malformed(source))? {
                RSA => rsa::KeyPair::from_pkcs8(der).ok().and_then(|key| Self::of_rsa(&key)),
                EC => Self::of_curve(|curve| EcdsaKeyPair::from_pkcs8(curve, der).ok()),
                ED25519 => Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok().and_then(|key| Self::of_ed25519(&key)),
                _ => None,
            },
        };
        key.ok_or(StoreError::UnsupportedKey)
    }

    /// Returns the `PrivateKeyInfo` in DER.
    pub(super) fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// Returns whether `public` is its public half.
    pub(super) fn is_of(&self, public: &SubjectPublicKeyInfoOwned) -> bool {
        public.algorithm.oid == self.algorithm && public.subject_public_key.as_bytes() == Some(&self.public)
    }

    fn of_rsa(key: &rsa::KeyPair) -> Option<Self> {
        let pkcs8 = key.as_der().ok()?.as_ref().to_vec();
        Some(Self { algorithm: RSA, pkcs8, public: key.public_key().as_ref().to_vec() })
    }

    fn of_curve(read: impl Fn(&'static EcdsaSigningAlgorithm) -> Option<EcdsaKeyPair>) -> Option<Self> {
        let key = CURVES.into_iter().find_map(read)?;
        let pkcs8 = key.to_pkcs8v1().ok()?.as_ref().to_vec();
        Some(Self { algorithm: EC, pkcs8, public: key.public_key().as_ref().to_vec() })
    }

    fn of_ed25519(key: &Ed25519KeyPair) -> Option<Self> {
        let pkcs8 = key.to_pkcs8v1().ok()?.as_ref().to_vec();
        Some(Self { algorithm: ED25519, pkcs8, public: key.public_key().as_ref().to_vec() })
    }
}

/// Returns the kind of the key in a `PrivateKeyInfo`. Its attributes, which Windows writes, are ignored.
pub(super) fn algorithm(pkcs8: &[u8]) -> der::Result<ObjectIdentifier> {
    let mut reader = SliceReader::new(pkcs8)?;
    let algorithm = reader.sequence(|reader| {
        u8::decode(reader)?;
        let algorithm = AlgorithmIdentifierRef::decode(reader)?;
        <&OctetStringRef>::decode(reader)?;
        reader.read_slice(reader.remaining_len())?;
        Ok::<_, der::Error>(algorithm.oid)
    })?;
    reader.finish()?;
    Ok(algorithm)
}
