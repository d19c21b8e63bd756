//! PKCS#12, RFC 7292, in BER and with a password for both privacy and integrity, which is the usual form.
//!
//! The content of a bag shows its type. The attributes of bags are ignored: names are for people, and the key itself
//! shows which certificate belongs to it.

use std::borrow::Cow;

use aws_lc_rs::digest;
use aws_lc_rs::hmac;
use der::asn1::{AnyRef, OctetStringRef};
use der::{Decode, Sequence, Tag, TagNumber, Tagged as _};
use spki::{AlgorithmIdentifierRef, ObjectIdentifier};

use super::ber;
use super::encryption::{EncryptedPrivateKeyInfo, Opener, Purpose, pkcs12_key};
use super::private_key::{self, KeyEncoding};
use super::{KeyAndCertificates, StoreError, StoreFormat};

/// `version` of a PFX, an INTEGER.
pub(super) const VERSION_3: [u8; 3] = [0x02, 0x01, 0x03];

/// Section 4.
#[derive(Sequence)]
struct Pfx<'a> {
    version: u8,
    auth_safe: ContentInfo<'a>,
    #[asn1(optional = "true")]
    mac_data: Option<MacData<'a>>,
}

/// RFC 5652, section 3.
#[derive(Sequence)]
struct ContentInfo<'a> {
    content_type: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    content: AnyRef<'a>,
}

/// Section 4.
#[derive(Sequence)]
struct MacData<'a> {
    mac: DigestInfo<'a>,
    salt: &'a OctetStringRef,
    #[asn1(default = "one")]
    iterations: u32,
}

/// RFC 8017, appendix A.2.4.
#[derive(Sequence)]
struct DigestInfo<'a> {
    algorithm: AlgorithmIdentifierRef<'a>,
    digest: &'a OctetStringRef,
}

/// RFC 5652, section 8.
#[derive(Sequence)]
struct EncryptedData<'a> {
    version: u8,
    content: EncryptedContentInfo<'a>,
}

/// RFC 5652, section 6.1.
#[derive(Sequence)]
struct EncryptedContentInfo<'a> {
    content_type: ObjectIdentifier,
    algorithm: AlgorithmIdentifierRef<'a>,
    /// An octet string with the tag `[0]`, in one piece or, with the same tag, in several.
    encrypted: AnyRef<'a>,
}

/// Section 4.2.
#[derive(Sequence)]
struct SafeBag<'a> {
    kind: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    value: AnyRef<'a>,
    #[asn1(optional = "true")]
    attributes: Option<AnyRef<'a>>,
}

/// Section 4.2.3.
#[derive(Sequence)]
struct CertBag<'a> {
    kind: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    value: &'a OctetStringRef,
}

const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
const ENCRYPTED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.6");

const KEY_BAG: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.10.1.1");
const SHROUDED_KEY_BAG: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.10.1.2");
const CERT_BAG: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.10.1.3");
const X509_CERTIFICATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.22.1");

const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
const SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3");

/// The content of a store. Keys are still encrypted, because only a required key is worth the decryption.
#[derive(Default)]
struct Bags {
    keys: Vec<KeyBag>,
    certificates: Vec<Vec<u8>>,
}

/// A key in DER: `PrivateKeyInfo`, or `EncryptedPrivateKeyInfo` if it is shrouded.
struct KeyBag {
    is_shrouded: bool,
    der: Vec<u8>,
}

/// A store whose bags are readable.
struct Opened<'a> {
    bags: Bags,
    /// The means to decrypt keys, if there is a password.
    opener: Option<Opener<'a>>,
    /// True if the password is known to be correct.
    is_verified: bool,
}

pub(super) fn identity(content: &[u8], password: Option<&str>) -> Result<KeyAndCertificates, StoreError> {
    let Opened { bags, opener, is_verified } = open(content, password)?;
    let key = match bags.keys.as_slice() {
        [] => return Err(StoreError::NoPrivateKey),
        [key] => key,
        keys => return Err(StoreError::SeveralKeys { count: keys.len() }),
    };
    let key = if key.is_shrouded {
        unshroud(&key.der, opener).map_err(|error| match error {
            StoreError::WrongPassword if is_verified => StoreError::KeyPasswordDiffers,
            error => error,
        })?
    } else {
        key.der.clone()
    };
    Ok(KeyAndCertificates { encoding: KeyEncoding::Pkcs8, key, certificates: bags.certificates })
}

pub(super) fn trusted(content: &[u8], password: Option<&str>) -> Result<Vec<Vec<u8>>, StoreError> {
    Ok(open(content, password)?.bags.certificates)
}

/// Checks a store's integrity, if there is a password, and decrypts the containers of its bags.
fn open<'a>(content: &[u8], password: Option<&'a str>) -> Result<Opened<'a>, StoreError> {
    let content = normal(content)?;
    let pfx: Pfx<'_> = parse(&content)?;
    if pfx.version != 3 || pfx.auth_safe.content_type != DATA {
        return Err(StoreFormat::Pkcs12.malformed("version is not 3, or integrity is not by password"));
    }
    let auth_safe = octets(pfx.auth_safe.content)?.as_bytes();
    let mut opener = password.map(|password| Opener::new(StoreFormat::Pkcs12, password));
    let is_verified = match (&pfx.mac_data, &mut opener) {
        (Some(mac_data), Some(opener)) => mac_data.verify(opener, auth_safe).map(|()| true)?,
        (None, _) | (_, None) => false,
    };
    let mut bags = Bags::default();
    let auth_safe = normal(auth_safe)?; // The MAC covers the original bytes.
    for safe in parse::<Vec<ContentInfo<'_>>>(&auth_safe)? {
        let contents = match safe.content_type {
            DATA => Cow::Borrowed(octets(safe.content)?.as_bytes()),
            ENCRYPTED_DATA => {
                let data: EncryptedData<'_> =
                    safe.content.decode_as().map_err(|source| StoreFormat::Pkcs12.malformed(source))?;
                let opener = opener.as_mut().ok_or(StoreError::PasswordMissing)?;
                Cow::Owned(opener.decrypt(&data.content.algorithm, &data.content.encrypted()?)?)
            }
            _ => return Err(StoreError::UnsupportedEncryption), // Encrypted for a public key, section 3.1.
        };
        // If nothing else verified the password, the plaintext shows whether it was correct.
        let is_guess = safe.content_type == ENCRYPTED_DATA && !is_verified;
        bags.add(&contents).map_err(|error| if is_guess { StoreError::WrongPassword } else { error })?;
    }
    Ok(Opened { bags, opener, is_verified })
}

fn unshroud(der: &[u8], opener: Option<Opener<'_>>) -> Result<Vec<u8>, StoreError> {
    let info: EncryptedPrivateKeyInfo<'_> = parse(der)?;
    let key = opener.ok_or(StoreError::PasswordMissing)?.decrypt(&info.algorithm, info.encrypted.as_bytes())?;
    let key = ber::to_der(&key).map_err(|_| StoreError::WrongPassword)?;
    private_key::algorithm(&key).map_err(|_| StoreError::WrongPassword)?;
    Ok(key)
}

impl EncryptedContentInfo<'_> {
    fn encrypted(&self) -> Result<Cow<'_, [u8]>, StoreError> {
        let bytes = self.encrypted.value();
        let number = TagNumber(0);
        match self.encrypted.tag() {
            Tag::ContextSpecific { constructed: false, number: found } if found == number => Ok(Cow::Borrowed(bytes)),
            Tag::ContextSpecific { constructed: true, number: found } if found == number => {
                ber::joined(bytes).map(Cow::Owned).map_err(|source| StoreFormat::Pkcs12.malformed(source))
            }
            _ => Err(StoreFormat::Pkcs12.malformed("encrypted content is not an octet string")),
        }
    }
}

impl Bags {
    fn add(&mut self, contents: &[u8]) -> Result<(), StoreError> {
        for bag in parse::<Vec<SafeBag<'_>>>(&normal(contents)?)? {
            match bag.kind {
                KEY_BAG | SHROUDED_KEY_BAG => {
                    let der =
                        der::Encode::to_der(&bag.value).map_err(|source| StoreFormat::Pkcs12.malformed(source))?;
                    self.keys.push(KeyBag { is_shrouded: bag.kind == SHROUDED_KEY_BAG, der });
                }
                CERT_BAG => {
                    let bag: CertBag<'_> =
                        bag.value.decode_as().map_err(|source| StoreFormat::Pkcs12.malformed(source))?;
                    if bag.kind == X509_CERTIFICATE {
                        self.certificates.push(bag.value.as_bytes().to_vec());
                    }
                }
                _ => {} // TLS does not use secrets and revocations.
            }
        }
        Ok(())
    }
}

impl MacData<'_> {
    /// Checks the store's integrity, which also shows whether the password is correct.
    ///
    /// An empty password is either nothing or a zero: appendix B.1 requires the zero, and some writers omit it.
    fn verify(&self, opener: &mut Opener<'_>, auth_safe: &[u8]) -> Result<(), StoreError> {
        let (hash, hmac) = match self.mac.algorithm.oid {
            SHA1 => (&digest::SHA1_FOR_LEGACY_USE_ONLY, hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
            SHA256 => (&digest::SHA256, hmac::HMAC_SHA256),
            SHA384 => (&digest::SHA384, hmac::HMAC_SHA384),
            SHA512 => (&digest::SHA512, hmac::HMAC_SHA512),
            _ => return Err(StoreError::UnsupportedEncryption),
        };
        let is_right = |opener: &mut Opener<'_>| {
            let iterations = opener.spend(self.iterations, hash.output_len(), hash.output_len())?;
            let salt = self.salt.as_bytes();
            let key = pkcs12_key(hash, Purpose::Mac, &opener.bmp, salt, iterations, hash.output_len());
            Ok::<_, StoreError>(
                hmac::verify(&hmac::Key::new(hmac, &key), auth_safe, self.mac.digest.as_bytes()).is_ok(),
            )
        };
        if is_right(opener)? {
            return Ok(());
        }
        if opener.bmp == [0, 0] {
            opener.bmp.clear();
            if is_right(opener)? {
                return Ok(());
            }
        }
        Err(StoreError::WrongPassword)
    }
}

fn parse<'a, T: Decode<'a, Error = der::Error>>(der: &'a [u8]) -> Result<T, StoreError> {
    T::from_der(der).map_err(|source| StoreFormat::Pkcs12.malformed(source))
}

fn normal(ber: &[u8]) -> Result<Vec<u8>, StoreError> {
    ber::to_der(ber).map_err(|source| StoreFormat::Pkcs12.malformed(source))
}

fn octets(content: AnyRef<'_>) -> Result<&OctetStringRef, StoreError> {
    content.decode_as().map_err(|source| StoreFormat::Pkcs12.malformed(source))
}

/// The default of `iterations`, section 4.
fn one() -> u32 {
    1
}
