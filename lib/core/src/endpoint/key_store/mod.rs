//! Key stores as operators give them for TLS client authentication (mTLS), rewritten as PEM, so that what delivers
//! needs to know neither Java's formats nor PKCS#12.
//!
//! What is read here comes from outside: no length is believed, and what a store may cost is bounded by
//! [`MAX_STORE_BYTES`], [`MAX_PASSWORD_BYTES`] and [`MAX_HASH_ROUNDS`].

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

/// How a store is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreFormat {
    /// Java's own, `keytool -storetype JKS`, version 2.
    Jks,
    /// Text: `PRIVATE KEY`, `ENCRYPTED PRIVATE KEY`, `RSA PRIVATE KEY`, `EC PRIVATE KEY`, `CERTIFICATE` (RFC 7468).
    Pem,
    /// `.p12`, `.pfx`, and what `keytool` has written by default since Java 9 (RFC 7292).
    Pkcs12,
}

/// A store as it was given.
pub struct Store<'a> {
    /// How `content` is to be read.
    pub format: StoreFormat,
    /// The file's bytes.
    pub content: &'a [u8],
    /// What opens it. A key inside has to have the same one.
    pub password: Option<&'a str>,
}

/// The most bytes of a store that are read: six times what the authorities that come with Java take.
pub const MAX_STORE_BYTES: usize = 1 << 20;

/// The most bytes of a password: far more than people have, and so few that hashing it once for each part of a store,
/// which nothing else bounds, takes no time.
pub const MAX_PASSWORD_BYTES: usize = 1024;

/// A private key and the certificates that go with it.
pub struct ClientIdentity {
    /// PKCS#8 `PRIVATE KEY`, then the `CERTIFICATE`s, leaf first; the root is left out, for receivers have their own
    /// (RFC 8446, section 4.4.2).
    pub pem: String,
    /// What the leaf says.
    pub certificate: CertificateFacts,
}

/// What a tenant is shown of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateFacts {
    /// Whose it is, as RFC 4514 writes names; a long one is cut.
    pub subject: String,
    /// Its last second, RFC 3339 in UTC.
    pub not_after: String,
}

/// Authorities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedCertificates {
    /// `CERTIFICATE`s, in the order of the store.
    pub pem: String,
    /// How many there are; at least one.
    pub count: usize,
}

/// Why a store is not taken. `Display` is for its owner; what a library said of it is the source, for operators.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The certificate, or every authority, is past its time.
    #[error("certificate of `{subject}` expired at {not_after}; renew it")]
    Expired {
        /// Whose certificate it is.
        subject: String,
        /// Its last second, RFC 3339 in UTC.
        not_after: String,
    },
    /// No certificate is of the private key.
    #[error("private key belongs to none of the certificates; give the key and the certificate that was issued for it")]
    KeyMismatch,
    /// The password opens the store, but not the key in it.
    #[error("private key has a password of its own; give it that of the store")]
    KeyPasswordDiffers,
    /// The bytes are not what the format says.
    #[error("store cannot be read as {format}; check that it is complete, or export it again")]
    Malformed {
        /// What it was read as.
        format: StoreFormat,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is none.
    #[error("store holds no certificate; add one")]
    NoCertificate,
    /// There is none.
    #[error("store holds no private key; export the certificate together with its key")]
    NoPrivateKey,
    /// The certificate's time has not come.
    #[error("certificate of `{subject}` is not valid before {not_before}; give one that is valid now")]
    NotYetValid {
        /// Whose certificate it is.
        subject: String,
        /// Its first second, RFC 3339 in UTC.
        not_before: String,
    },
    /// The bytes are a store, of another format.
    #[error("store is {found}, not {given}; change its format")]
    OtherFormat {
        /// What was said.
        given: StoreFormat,
        /// What the bytes look like.
        found: StoreFormat,
    },
    /// It is encrypted, and no password was given.
    #[error("store is encrypted and no password was given; give its password")]
    PasswordMissing,
    /// Which one is meant, nobody said.
    #[error("store holds {count} private keys; keep the one to authenticate with")]
    SeveralKeys {
        /// How many.
        count: usize,
    },
    /// Reading it would cost more than is granted.
    #[error("store takes more than {limit} {what}; export it again with less")]
    TooLarge {
        /// What is counted.
        what: &'static str,
        /// The most that is granted.
        limit: u64,
    },
    /// A certificate that TLS cannot be spoken with.
    #[error("certificate of `{subject}` cannot be used with TLS; give one of X.509 version 3 (RFC 5280)")]
    UnsupportedCertificate {
        /// Whose certificate it is.
        subject: String,
        /// What is wrong with it.
        #[source]
        source: webpki::Error,
    },
    /// Encrypted with what is read nowhere else either, or may not be any more.
    #[error("store is encrypted in a way that is not supported; export it again with AES-256 and PBKDF2")]
    UnsupportedEncryption,
    /// A private key that TLS cannot be spoken with.
    #[error(
        "private key is of an unsupported kind; expected RSA of 2048 to 8192 bits, EC on P-256, P-384 or P-521, or Ed25519"
    )]
    UnsupportedKey,
    /// The password does not open it; a damaged store looks the same.
    #[error("password does not open the store; give the one it was written with")]
    WrongPassword,
}

/// What a format's reader finds for an identity: one key, and the certificates that may be its own.
struct KeyAndCertificates {
    encoding: KeyEncoding,
    key: Vec<u8>,
    certificates: Vec<Vec<u8>>,
}

impl Store<'_> {
    /// The private key with its certificate chain, as it is to be used at `now`, in unix seconds.
    ///
    /// Certificates that are not in the chain are left out. Nothing is said about whether anyone trusts the chain:
    /// that is for whoever it is shown to.
    ///
    /// # Errors
    /// What its owner has to change.
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

    /// Every certificate in it, less those that have expired at `now`, in unix seconds.
    ///
    /// Without a password a store is read as far as it is in the clear, and whether somebody changed it is not checked.
    ///
    /// # Errors
    /// What its owner has to change.
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
    /// What bytes look like.
    fn of(content: &[u8]) -> Option<Self> {
        let has = |part: &[u8], within: usize| content.windows(part.len()).take(within).any(|window| window == part);
        if content.starts_with(&jks::MAGIC) {
            Some(Self::Jks)
        } else if content.first() == Some(&0x30) && has(&pkcs12::VERSION_3, 8) {
            Some(Self::Pkcs12) // A SEQUENCE that starts with a 3, after at most five bytes of length, or the one of BER.
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
