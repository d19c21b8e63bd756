//! Encryption with a password, as in PKCS#8 keys and PKCS#12 stores: PBES2 with PBKDF2 (RFC 8018), and the older
//! schemes of RFC 7292, appendix C.

use std::num::NonZeroU32;

use aws_lc_rs::cipher::{self, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey};
use aws_lc_rs::{digest, pbkdf2};
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockCipherDecrypt, BlockModeDecrypt as _, KeyInit, KeyIvInit as _};
use der::Sequence;
use der::asn1::OctetStringRef;
use spki::{AlgorithmIdentifierRef, ObjectIdentifier};

use super::{StoreError, StoreFormat};

/// The maximum number of hash rounds for one store, for all derivations from its passwords together.
///
/// OpenSSL asks for about 6 000, Java 17 for 30 000, and Java 8 for 350 000. Tools that follow OWASP ask for 600 000
/// for each of the MAC, the certificates and the key. With SHA-1, a key of 256 bits takes two blocks of them. Three
/// million rounds of the slowest hash, SHA-512, take one second on a whole core. A Lambda function of 256 MB has a
/// seventh of a core, so they take about seven seconds there: a key store and a trust store fit in one request. Without
/// a limit, a store could ask for four billion.
pub const MAX_HASH_ROUNDS: u64 = 3_000_000;

/// A password in the forms that derivations need, and the hash rounds that remain.
pub(super) struct Opener<'a> {
    format: StoreFormat,
    password: &'a str,
    /// The password for the schemes of PKCS#12.
    pub(super) bmp: Vec<u8>,
    rounds_left: u64,
}

/// `EncryptedPrivateKeyInfo`, RFC 5958, section 3.
#[derive(Sequence)]
pub(super) struct EncryptedPrivateKeyInfo<'a> {
    pub(super) algorithm: AlgorithmIdentifierRef<'a>,
    pub(super) encrypted: &'a OctetStringRef,
}

/// `PBES2-params`, RFC 8018, appendix A.4.
#[derive(Sequence)]
struct Pbes2Parameters<'a> {
    derivation: AlgorithmIdentifierRef<'a>,
    encryption: AlgorithmIdentifierRef<'a>,
}

/// `PBKDF2-params`, RFC 8018, appendix A.2.
#[derive(Sequence)]
struct Pbkdf2Parameters<'a> {
    salt: &'a OctetStringRef,
    iterations: u32,
    #[asn1(optional = "true")]
    key_length: Option<u32>,
    #[asn1(optional = "true")]
    prf: Option<AlgorithmIdentifierRef<'a>>,
}

/// `pkcs-12PbeParams`, RFC 7292, appendix C.
#[derive(Sequence)]
struct Pkcs12Parameters<'a> {
    salt: &'a OctetStringRef,
    iterations: u32,
}

/// The purpose of the bytes that [`pkcs12_key`] derives, RFC 7292, appendix B.3.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    Key = 1,
    Iv = 2,
    Mac = 3,
}

#[derive(Clone, Copy)]
enum Cipher {
    Aes(&'static cipher::Algorithm),
    Rc2,
    TripleDes,
}

const PBES2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.13");
const PBKDF2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.12");
const PBE_SHA1_3DES: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.1.3");
const PBE_SHA1_RC2_128: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.1.5");
const PBE_SHA1_RC2_40: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.1.6");

const HMAC_SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.2.7");
const HMAC_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.2.9");
const HMAC_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.2.10");
const HMAC_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.2.11");

const DES_EDE3_CBC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.3.7");
const AES_128_CBC: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.1.2");
const AES_192_CBC: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.1.22");
const AES_256_CBC: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.1.42");

/// The block size of RC2 and DES, and of their initialization vectors.
const OLD_BLOCK_BYTES: usize = 8;

impl<'a> Opener<'a> {
    pub(super) fn new(format: StoreFormat, password: &'a str) -> Self {
        Self { format, password, bmp: bmp_string(password), rounds_left: MAX_HASH_ROUNDS }
    }

    /// Decrypts with the scheme that the algorithm names.
    ///
    /// # Errors
    /// [`StoreError::WrongPassword`] if the padding of the plaintext is wrong. One wrong password in 256 passes this
    /// check, so the caller must check the plaintext too.
    pub(super) fn decrypt(
        &mut self,
        algorithm: &AlgorithmIdentifierRef<'_>,
        encrypted: &[u8],
    ) -> Result<Vec<u8>, StoreError> {
        match algorithm.oid {
            PBES2 => self.decrypt_pbes2(algorithm, encrypted),
            PBE_SHA1_3DES => self.decrypt_pbes1(algorithm, Cipher::TripleDes, 24, encrypted),
            PBE_SHA1_RC2_128 => self.decrypt_pbes1(algorithm, Cipher::Rc2, 16, encrypted),
            PBE_SHA1_RC2_40 => self.decrypt_pbes1(algorithm, Cipher::Rc2, 5, encrypted),
            _ => Err(StoreError::UnsupportedEncryption),
        }
    }

    /// Subtracts the rounds of a derivation from the remaining ones.
    pub(super) fn spend(
        &mut self,
        iterations: u32,
        wanted: usize,
        hash_bytes: usize,
    ) -> Result<NonZeroU32, StoreError> {
        let iterations = NonZeroU32::new(iterations).ok_or_else(|| self.format.malformed("no iterations"))?;
        let blocks = wanted.div_ceil(hash_bytes) as u64;
        self.rounds_left = self
            .rounds_left
            .checked_sub(blocks * u64::from(iterations.get()))
            .ok_or(StoreError::TooLarge { what: "rounds of hashing", limit: MAX_HASH_ROUNDS })?;
        Ok(iterations)
    }

    fn decrypt_pbes2(
        &mut self,
        algorithm: &AlgorithmIdentifierRef<'_>,
        encrypted: &[u8],
    ) -> Result<Vec<u8>, StoreError> {
        let parameters: Pbes2Parameters<'_> = self.parameters(algorithm)?;
        if parameters.derivation.oid != PBKDF2 {
            return Err(StoreError::UnsupportedEncryption);
        }
        let (cipher, key_bytes) = match parameters.encryption.oid {
            AES_128_CBC => (Cipher::Aes(&cipher::AES_128), 16),
            AES_192_CBC => (Cipher::Aes(&cipher::AES_192), 24),
            AES_256_CBC => (Cipher::Aes(&cipher::AES_256), 32),
            DES_EDE3_CBC => (Cipher::TripleDes, 24),
            _ => return Err(StoreError::UnsupportedEncryption),
        };
        let iv: &OctetStringRef = self.parameters(&parameters.encryption)?;
        let derivation: Pbkdf2Parameters<'_> = self.parameters(&parameters.derivation)?;
        // RFC 8018, appendix A.2: the default is HMAC-SHA-1.
        let (prf, hash_bytes) = match derivation.prf.map_or(HMAC_SHA1, |prf| prf.oid) {
            HMAC_SHA1 => (pbkdf2::PBKDF2_HMAC_SHA1, 20),
            HMAC_SHA256 => (pbkdf2::PBKDF2_HMAC_SHA256, 32),
            HMAC_SHA384 => (pbkdf2::PBKDF2_HMAC_SHA384, 48),
            HMAC_SHA512 => (pbkdf2::PBKDF2_HMAC_SHA512, 64),
            _ => return Err(StoreError::UnsupportedEncryption),
        };
        if derivation.key_length.is_some_and(|length| length != key_bytes) {
            return Err(self.format.malformed("key length does not fit the cipher"));
        }
        let mut key = vec![0; key_bytes as usize];
        let iterations = self.spend(derivation.iterations, key.len(), hash_bytes)?;
        pbkdf2::derive(prf, iterations, derivation.salt.as_bytes(), self.password.as_bytes(), &mut key);
        cipher.decrypt(self.format, &key, iv.as_bytes(), encrypted)
    }

    fn decrypt_pbes1(
        &mut self,
        algorithm: &AlgorithmIdentifierRef<'_>,
        cipher: Cipher,
        key_bytes: usize,
        encrypted: &[u8],
    ) -> Result<Vec<u8>, StoreError> {
        let parameters: Pkcs12Parameters<'_> = self.parameters(algorithm)?;
        let hash = &digest::SHA1_FOR_LEGACY_USE_ONLY;
        let mut derive = |purpose, wanted| {
            let iterations = self.spend(parameters.iterations, wanted, hash.output_len())?;
            Ok(pkcs12_key(hash, purpose, &self.bmp, parameters.salt.as_bytes(), iterations, wanted))
        };
        let key = derive(Purpose::Key, key_bytes)?;
        let iv = derive(Purpose::Iv, OLD_BLOCK_BYTES)?;
        cipher.decrypt(self.format, &key, &iv, encrypted)
    }

    fn parameters<'b, T>(&self, algorithm: &AlgorithmIdentifierRef<'b>) -> Result<T, StoreError>
    where
        T: der::Choice<'b> + der::DecodeValue<'b, Error = der::Error>,
    {
        let parameters = algorithm.parameters.ok_or_else(|| self.format.malformed("encryption parameters missing"))?;
        parameters.decode_as().map_err(|source| self.format.malformed(source))
    }
}

impl Cipher {
    /// Decrypts in CBC mode and removes the padding of PKCS#7 (RFC 8018, section 6.1.1).
    fn decrypt(self, format: StoreFormat, key: &[u8], iv: &[u8], encrypted: &[u8]) -> Result<Vec<u8>, StoreError> {
        let bad_iv = || format.malformed("initialization vector is not one block");
        match self {
            Self::Aes(algorithm) => {
                let iv = DecryptionContext::Iv128(iv.try_into().map_err(|_| bad_iv())?);
                let mut buffer = encrypted.to_vec();
                let plaintext = UnboundCipherKey::new(algorithm, key)
                    .and_then(PaddedBlockDecryptingKey::cbc_pkcs7)
                    .and_then(|key| key.decrypt(&mut buffer, iv).map(|plaintext| plaintext.to_vec()));
                plaintext.map_err(|_| StoreError::WrongPassword)
            }
            Self::Rc2 => decrypt_old::<rc2::Rc2>(key, iv.try_into().map_err(|_| bad_iv())?, encrypted),
            Self::TripleDes => decrypt_old::<des::TdesEde3>(key, iv.try_into().map_err(|_| bad_iv())?, encrypted),
        }
    }
}

fn decrypt_old<C: BlockCipherDecrypt + KeyInit>(
    key: &[u8],
    iv: [u8; OLD_BLOCK_BYTES],
    encrypted: &[u8],
) -> Result<Vec<u8>, StoreError> {
    let decryptor = cbc::Decryptor::<C>::new_from_slices(key, &iv).map_err(|_| StoreError::UnsupportedEncryption)?;
    decryptor.decrypt_padded_vec::<Pkcs7>(encrypted).map_err(|_| StoreError::WrongPassword)
}

/// Derives bytes from a password as PKCS#12 does: RFC 7292, appendix B.2. The variables have its letters.
pub(super) fn pkcs12_key(
    hash: &'static digest::Algorithm,
    purpose: Purpose,
    password: &[u8],
    salt: &[u8],
    iterations: NonZeroU32,
    wanted: usize,
) -> Vec<u8> {
    let v = hash.block_len();
    let filled = |part: &[u8]| part.iter().copied().cycle().take(part.len().next_multiple_of(v)).collect::<Vec<_>>();
    let diversifier = vec![purpose as u8; v];
    let mut i = [filled(salt), filled(password)].concat();
    let mut derived = Vec::with_capacity(wanted + hash.output_len());
    while derived.len() < wanted {
        let mut a = digest::digest(hash, &[diversifier.as_slice(), &i].concat());
        for _ in 1..iterations.get() {
            a = digest::digest(hash, a.as_ref());
        }
        derived.extend_from_slice(a.as_ref());
        // I_j = (I_j + B + 1) mod 2^v, where B is A repeated.
        for block in i.chunks_mut(v) {
            let mut carry = 1;
            for (at, byte) in block.iter_mut().enumerate().rev() {
                let sum = u16::from(*byte) + u16::from(a.as_ref()[at % hash.output_len()]) + carry;
                carry = sum >> 8;
                *byte = sum.to_be_bytes()[1];
            }
        }
    }
    derived.truncate(wanted);
    derived
}

/// Returns a password as PKCS#12 hashes it: UTF-16 in big endian and a zero (RFC 7292, appendix B.1).
fn bmp_string(password: &str) -> Vec<u8> {
    password.encode_utf16().chain([0]).flat_map(u16::to_be_bytes).collect()
}
