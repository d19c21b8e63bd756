//! Key stores that operators set for TLS client authentication (mTLS), converted to PEM. Therefore `deliver` needs
//! neither Java's formats nor PKCS#12.
//!
//! Stores are untrusted input: their lengths are not trusted, and [`MAX_STORE_BYTES`], [`MAX_PASSWORD_BYTES`] and
//! [`MAX_HASH_ROUNDS`] limit the cost of reading one.

mod ber;
mod certificate;
mod encryption;
mod jks;
mod pem;
mod pkcs12;
mod private_key;

use std::fmt::{self, Display, Formatter};

use der::pem::LineEnding;
use serde::{Deserialize, Serialize};

use certificate::Certificate;
pub use encryption::MAX_HASH_ROUNDS;
use private_key::{KeyEncoding, PrivateKey};

/// The format of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreFormat {
    /// Java's own format, `keytool -storetype JKS`, version 2.
    Jks,
    /// Text: `PRIVATE KEY`, `ENCRYPTED PRIVATE KEY`, `RSA PRIVATE KEY`, `EC PRIVATE KEY`, `CERTIFICATE` (RFC 7468).
    Pem,
    /// `.p12` or `.pfx`, the default of `keytool` since Java 9 (RFC 7292).
    Pkcs12,
}

/// A store as the operator sent it.
pub struct Store<'a> {
    /// The format of `content`.
    pub format: StoreFormat,
    /// The file's bytes.
    pub content: &'a [u8],
    /// The password of the store. A key inside must have the same password.
    pub password: Option<&'a str>,
}

/// The maximum number of bytes of a store: six times the size of the authorities that come with Java.
pub const MAX_STORE_BYTES: usize = 1 << 20;

/// The maximum number of bytes of a password, which is far more than people use. Signpost hashes the password once for
/// each part of a store. Nothing else limits this, but with so few bytes it takes no measurable time.
pub const MAX_PASSWORD_BYTES: usize = 1024;

/// A private key and its certificates.
pub struct ClientIdentity {
    /// PKCS#8 `PRIVATE KEY`, then the `CERTIFICATE`s, leaf first. The root is omitted, because receivers have their own
    /// (RFC 8446, section 4.4.2).
    pub pem: String,
    /// The properties of the leaf.
    pub certificate: CertificateFacts,
}

/// The properties of a certificate that a tenant sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateFacts {
    /// The subject, as RFC 4514 writes names. A long one is shortened.
    pub subject: String,
    /// The last second of its validity, RFC 3339 in UTC.
    pub not_after: String,
}

/// Trusted authorities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedCertificates {
    /// The `CERTIFICATE`s, in the order of the store.
    pub pem: String,
    /// The number of authorities, at least one.
    pub count: usize,
}

/// The reason why a store is refused. `Display` is for the store's owner. The source has a library's error, for
/// operators.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The certificate, or every authority, has expired.
    #[error("certificate of `{subject}` expired at {not_after}; renew it")]
    Expired {
        /// The subject of the certificate.
        subject: String,
        /// The last second of its validity, RFC 3339 in UTC.
        not_after: String,
    },
    /// The private key belongs to none of the certificates.
    #[error("private key belongs to none of the certificates; give the key and the certificate that was issued for it")]
    KeyMismatch,
    /// The password opens the store, but not the key in it.
    #[error("private key has its own password; give the key and the store the same one")]
    KeyPasswordDiffers,
    /// The bytes do not have the given format.
    #[error("store cannot be read as {format}; check that it is complete, or export it again")]
    Malformed {
        /// The given format.
        format: StoreFormat,
        /// The fault that a library found.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store has no certificate.
    #[error("store holds no certificate; add one")]
    NoCertificate,
    /// The store has no private key.
    #[error("store holds no private key; export the certificate together with its key")]
    NoPrivateKey,
    /// The certificate is not valid yet.
    #[error("certificate of `{subject}` is not valid before {not_before}; give one that is valid now")]
    NotYetValid {
        /// The subject of the certificate.
        subject: String,
        /// The first second of its validity, RFC 3339 in UTC.
        not_before: String,
    },
    /// The store has another format.
    #[error("store is {found}, not {given}; change its format")]
    OtherFormat {
        /// The given format.
        given: StoreFormat,
        /// The format that the bytes seem to have.
        found: StoreFormat,
    },
    /// The store is encrypted, and no password was given.
    #[error("store is encrypted and no password was given; give its password")]
    PasswordMissing,
    /// The store has several private keys, and nothing says which one to use.
    #[error("store holds {count} private keys; keep only the one to authenticate with")]
    SeveralKeys {
        /// The number of private keys.
        count: usize,
    },
    /// Reading the store would exceed a limit.
    #[error("store takes more than {limit} {what}; export it again with less")]
    TooLarge {
        /// The thing that is limited.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// The certificate cannot be used for TLS.
    #[error("certificate of `{subject}` cannot be used with TLS; give one of X.509 version 3 (RFC 5280)")]
    UnsupportedCertificate {
        /// The subject of the certificate.
        subject: String,
        /// The fault of the certificate.
        #[source]
        source: webpki::Error,
    },
    /// The encryption is unsupported, because it is rare or no longer allowed.
    #[error("store is encrypted in a way that is not supported; export it again with AES-256 and PBKDF2")]
    UnsupportedEncryption,
    /// The private key cannot be used for TLS.
    #[error(
        "private key is of an unsupported kind; expected RSA of 2048 to 8192 bits, EC on P-256, P-384 or P-521, or Ed25519"
    )]
    UnsupportedKey,
    /// The password does not open the store. A damaged store causes the same error.
    #[error("password does not open the store; give the one it was written with")]
    WrongPassword,
}

/// The key of an identity, and the certificates that may belong to it, as a format's reader finds them.
struct KeyAndCertificates {
    encoding: KeyEncoding,
    key: Vec<u8>,
    certificates: Vec<Vec<u8>>,
}

impl Store<'_> {
    /// Returns the private key with its certificate chain, for use at `now`, in Unix seconds.
    ///
    /// Certificates outside the chain are omitted. This does not check whether anyone trusts the chain, because the
    /// receiver decides that.
    ///
    /// # Errors
    /// The change that the owner must make.
    pub fn identity(&self, now: u64) -> Result<ClientIdentity, StoreError> {
        let found = self.read(jks::identity, pem::identity, pkcs12::identity)?;
        let key = PrivateKey::read(self.format, found.encoding, &found.key)?;
        let certificates = self.parse(found.certificates)?;
        let chain = certificate::chain(&certificates, &key, now)?;
        let mut pem = self.encode("PRIVATE KEY", key.pkcs8())?;
        for certificate in &chain {
            pem += &self.encode("CERTIFICATE", certificate.der())?;
        }
        let leaf = chain.first().ok_or(StoreError::NoCertificate)?;
        Ok(ClientIdentity { pem, certificate: leaf.facts() })
    }

    /// Returns every certificate that has not expired at `now`, in Unix seconds.
    ///
    /// Without a password, only the unencrypted parts of a store are read, and its integrity is not checked.
    ///
    /// # Errors
    /// The change that the owner must make.
    pub fn trusted(&self, now: u64) -> Result<TrustedCertificates, StoreError> {
        let found = self.read(jks::trusted, pem::trusted, pkcs12::trusted)?;
        let certificates = self.parse(found)?;
        let latest = certificates.iter().max_by_key(|certificate| certificate.not_after());
        latest.ok_or(StoreError::NoCertificate)?.check_not_expired(now)?;
        let mut trusted = TrustedCertificates { pem: String::new(), count: 0 };
        for certificate in certificates.iter().filter(|certificate| certificate.check_not_expired(now).is_ok()) {
            certificate.check_authority()?;
            trusted.pem += &self.encode("CERTIFICATE", certificate.der())?;
            trusted.count += 1;
        }
        Ok(trusted)
    }

    fn read<T>(&self, jks: Reader<T>, pem: Reader<T>, pkcs12: Reader<T>) -> Result<T, StoreError> {
        if self.content.len() > MAX_STORE_BYTES {
            return Err(StoreError::TooLarge { what: "bytes", limit: MAX_STORE_BYTES as u64 });
        }
        if self.password.is_some_and(|password| password.len() > MAX_PASSWORD_BYTES) {
            return Err(StoreError::TooLarge { what: "bytes of password", limit: MAX_PASSWORD_BYTES as u64 });
        }
        let read = match self.format {
            StoreFormat::Jks => jks,
            StoreFormat::Pem => pem,
            StoreFormat::Pkcs12 => pkcs12,
        };
        read(self.content, self.password).map_err(|error| match (&error, StoreFormat::of(self.content)) {
            (StoreError::Malformed { .. }, Some(found)) if found != self.format => {
                StoreError::OtherFormat { given: self.format, found }
            }
            _ => error,
        })
    }

    fn parse(&self, certificates: Vec<Vec<u8>>) -> Result<Vec<Certificate>, StoreError> {
        let parsed = certificates.into_iter().map(Certificate::parse).collect::<Result<_, _>>();
        parsed.map_err(|source| self.format.malformed(source))
    }

    fn encode(&self, label: &'static str, der: &[u8]) -> Result<String, StoreError> {
        der::pem::encode_string(label, LineEnding::LF, der).map_err(|source| self.format.malformed(source))
    }
}

/// Reads content with a password, if there is one.
type Reader<T> = fn(&[u8], Option<&str>) -> Result<T, StoreError>;

impl StoreFormat {
    /// Guesses the format of the bytes.
    fn of(content: &[u8]) -> Option<Self> {
        let has = |part: &[u8], within: usize| content.windows(part.len()).take(within).any(|window| window == part);
        if content.starts_with(&jks::MAGIC) {
            Some(Self::Jks)
        } else if content.first() == Some(&0x30) && has(&pkcs12::VERSION_3, 8) {
            Some(Self::Pkcs12) // A SEQUENCE that starts with a 3, after at most five bytes of length, or BER's one.
        } else if has(pem::BEGIN.as_bytes(), usize::MAX) {
            Some(Self::Pem)
        } else {
            None
        }
    }

    fn malformed(self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
        StoreError::Malformed { format: self, source: source.into() }
    }
}

impl Display for StoreFormat {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Jks => "JKS",
            Self::Pem => "PEM",
            Self::Pkcs12 => "PKCS#12",
        })
    }
}

impl fmt::Debug for Store<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("format", &self.format).finish_non_exhaustive()
    }
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientIdentity").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}
