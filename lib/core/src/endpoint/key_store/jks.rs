//! Java key stores of type JKS. There is no standard. The classes `sun.security.provider.JavaKeyStore` and
//! `KeyProtector` of the JDK define the format.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA1_OUTPUT_LEN};
use der::Decode as _;
use spki::ObjectIdentifier;

use super::encryption::EncryptedPrivateKeyInfo;
use super::private_key::KeyEncoding;
use super::{KeyAndCertificates, StoreError, StoreFormat};

/// The first bytes of a store.
pub(super) const MAGIC: [u8; 4] = [0xfe, 0xed, 0xfe, 0xed];
/// The version since JDK 1.2. The version before has no types of certificates.
const VERSION: u32 = 2;
const PRIVATE_KEY_ENTRY: u32 = 1;
const TRUSTED_CERTIFICATE_ENTRY: u32 = 2;
/// The salt of the password for the digest over the store.
const WHITENER: &[u8] = b"Mighty Aphrodite";
/// Sun's key protector.
const KEY_PROTECTOR: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.42.2.17.1.1");

/// The reason why bytes are not a store.
#[derive(Debug, thiserror::Error)]
enum JksError {
    #[error("{0} bytes follow the last entry; the digest has {SHA1_OUTPUT_LEN}")]
    Digest(usize),
    #[error("key is not protected in Java's way")]
    KeyProtection,
    #[error("bytes end too early")]
    Truncated,
    #[error("entry is of kind {0}")]
    UnknownEntry(u32),
    #[error("version is {0}")]
    Version(u32),
    #[error("bytes do not start like a store")]
    WrongMagic,
}

/// The entries of a store, as slices of its bytes.
struct Jks<'a> {
    /// Encrypted keys, each with its chain.
    keys: Vec<(&'a [u8], Vec<&'a [u8]>)>,
    trusted: Vec<&'a [u8]>,
    /// The bytes that the digest covers.
    signed: &'a [u8],
    digest: &'a [u8],
}

/// The unread bytes.
struct Bytes<'a>(&'a [u8]);

pub(super) fn identity(content: &[u8], password: Option<&str>) -> Result<KeyAndCertificates, StoreError> {
    let store = Jks::parse(content)?;
    let (key, chain) = match store.keys.as_slice() {
        [] => return Err(StoreError::NoPrivateKey),
        [entry] => entry,
        keys => return Err(StoreError::SeveralKeys { count: keys.len() }),
    };
    let password = password_digest(password.ok_or(StoreError::PasswordMissing)?);
    store.verify(&password)?;
    Ok(KeyAndCertificates {
        encoding: KeyEncoding::Pkcs8,
        key: unprotect(&password, key)?,
        certificates: chain.iter().map(|certificate| certificate.to_vec()).collect(),
    })
}

pub(super) fn trusted(content: &[u8], password: Option<&str>) -> Result<Vec<Vec<u8>>, StoreError> {
    let store = Jks::parse(content)?;
    if let Some(password) = password {
        store.verify(&password_digest(password))?;
    }
    Ok(store.trusted.iter().map(|certificate| certificate.to_vec()).collect())
}

impl<'a> Jks<'a> {
    fn parse(content: &'a [u8]) -> Result<Self, StoreError> {
        Self::read(content).map_err(|source| StoreFormat::Jks.malformed(source))
    }

    fn read(content: &'a [u8]) -> Result<Self, JksError> {
        let mut bytes = Bytes(content);
        if bytes.take(MAGIC.len())? != MAGIC {
            return Err(JksError::WrongMagic);
        }
        let version = bytes.number()?;
        if version != VERSION {
            return Err(JksError::Version(version));
        }
        let mut store = Self { keys: Vec::new(), trusted: Vec::new(), signed: content, digest: content };
        // The count is not trusted: every entry needs bytes, so reading ends with them.
        for _ in 0..bytes.number()? {
            let kind = bytes.number()?;
            bytes.text()?; // The alias.
            bytes.take(size_of::<u64>())?; // The time of its creation.
            match kind {
                PRIVATE_KEY_ENTRY => {
                    let key = bytes.block()?;
                    let chain = (0..bytes.number()?).map(|_| bytes.certificate()).collect::<Result<_, _>>()?;
                    store.keys.push((key, chain));
                }
                TRUSTED_CERTIFICATE_ENTRY => store.trusted.push(bytes.certificate()?),
                kind => return Err(JksError::UnknownEntry(kind)),
            }
        }
        store.digest = bytes.0;
        store.signed = &content[..content.len() - bytes.0.len()];
        if store.digest.len() == SHA1_OUTPUT_LEN { Ok(store) } else { Err(JksError::Digest(store.digest.len())) }
    }

    fn verify(&self, password: &Context) -> Result<(), StoreError> {
        let digest = digest(password, &[WHITENER, self.signed]);
        verify_slices_are_equal(&digest, self.digest).map_err(|_| StoreError::WrongPassword)
    }
}

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], JksError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(JksError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u32, JksError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(JksError::Truncated)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*taken))
    }

    /// Reads a text in the form of `java.io.DataOutput.writeUTF`.
    fn text(&mut self) -> Result<&'a [u8], JksError> {
        let (length, rest) = self.0.split_first_chunk().ok_or(JksError::Truncated)?;
        self.0 = rest;
        self.take(u16::from_be_bytes(*length).into())
    }

    /// Reads bytes that follow their length.
    fn block(&mut self) -> Result<&'a [u8], JksError> {
        let length = self.number()?;
        self.take(usize::try_from(length).map_err(|_| JksError::Truncated)?)
    }

    fn certificate(&mut self) -> Result<&'a [u8], JksError> {
        self.text()?; // Its type. Only X.509 was ever written. Any other type fails when the certificate is read.
        self.block()
    }
}

/// Removes Sun's protection. The key is combined, by exclusive or, with a chain of SHA-1 digests of the password. A
/// salt starts the chain and precedes the key, and a digest of password and key follows it.
fn unprotect(password: &Context, protected: &[u8]) -> Result<Vec<u8>, StoreError> {
    let malformed = || StoreFormat::Jks.malformed(JksError::KeyProtection);
    let info = EncryptedPrivateKeyInfo::from_der(protected).map_err(|source| StoreFormat::Jks.malformed(source))?;
    if info.algorithm.oid != KEY_PROTECTOR {
        return Err(malformed());
    }
    let (salt, rest) = info.encrypted.as_bytes().split_first_chunk::<SHA1_OUTPUT_LEN>().ok_or_else(malformed)?;
    let (encrypted, check) = rest.split_last_chunk::<SHA1_OUTPUT_LEN>().ok_or_else(malformed)?;
    let mut link = *salt;
    let mut key = encrypted.to_vec();
    for chunk in key.chunks_mut(SHA1_OUTPUT_LEN) {
        link = digest(password, &[&link]);
        chunk.iter_mut().zip(link).for_each(|(byte, mask)| *byte ^= mask);
    }
    // At this point, the password has already opened the store.
    verify_slices_are_equal(&digest(password, &[&key]), check).map_err(|_| StoreError::KeyPasswordDiffers)?;
    Ok(key)
}

/// Returns a digest that already contains a password in big-endian UTF-16. Therefore even a long password is hashed
/// only once.
fn password_digest(password: &str) -> Context {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    context.update(&password.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<_>>());
    context
}

fn digest(password: &Context, parts: &[&[u8]]) -> [u8; SHA1_OUTPUT_LEN] {
    let mut context = password.clone();
    for part in parts {
        context.update(part);
    }
    let mut digest = [0; SHA1_OUTPUT_LEN];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}
