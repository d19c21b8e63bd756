//! PEM, RFC 7468, in the lenient form that people paste: text around the sections, any line length, other sections
//! between.

use std::str::Utf8Error;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use der::Decode as _;

use super::ber;
use super::encryption::{EncryptedPrivateKeyInfo, Opener};
use super::private_key::{self, KeyEncoding};
use super::{KeyAndCertificates, StoreError, StoreFormat};

/// The start of a section.
pub(super) const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";

/// The reason why text is not PEM.
#[derive(Debug, thiserror::Error)]
enum PemError {
    #[error("content of a section is not base64")]
    Base64(#[source] base64::DecodeError),
    #[error("there is no section")]
    Empty,
    #[error("not text")]
    NotText(#[source] Utf8Error),
    #[error("a section does not end")]
    Unterminated,
}

/// One section: its label, and the content between its lines.
struct Section<'a> {
    label: &'a str,
    body: &'a str,
}

pub(super) fn identity(content: &[u8], password: Option<&str>) -> Result<KeyAndCertificates, StoreError> {
    let sections = sections(content)?;
    let keys: Vec<_> = sections.iter().filter(|section| section.label.ends_with("PRIVATE KEY")).collect();
    let key = match keys.as_slice() {
        [] => return Err(StoreError::NoPrivateKey),
        [key] => key,
        keys => return Err(StoreError::SeveralKeys { count: keys.len() }),
    };
    let encoding = match key.label {
        "ENCRYPTED PRIVATE KEY" | "PRIVATE KEY" => KeyEncoding::Pkcs8,
        "EC PRIVATE KEY" => KeyEncoding::Sec1,
        "RSA PRIVATE KEY" => KeyEncoding::Pkcs1,
        _ => return Err(StoreError::UnsupportedKey),
    };
    if key.body.contains("Proc-Type:") {
        return Err(StoreError::UnsupportedEncryption); // RFC 1421, as OpenSSL wrote it before 1.0: MD5, one round.
    }
    let der = key.decode()?;
    let key = if key.label == "ENCRYPTED PRIVATE KEY" { decrypt(&der, password)? } else { der };
    Ok(KeyAndCertificates { encoding, key, certificates: certificates(&sections)? })
}

pub(super) fn trusted(content: &[u8], _: Option<&str>) -> Result<Vec<Vec<u8>>, StoreError> {
    certificates(&sections(content)?)
}

fn certificates(sections: &[Section<'_>]) -> Result<Vec<Vec<u8>>, StoreError> {
    // OpenSSL wrote the second label in the past, RFC 7468, section 5.1.
    let is_certificate = |section: &&Section<'_>| matches!(section.label, "CERTIFICATE" | "X509 CERTIFICATE");
    sections.iter().filter(is_certificate).map(Section::decode).collect()
}

fn decrypt(der: &[u8], password: Option<&str>) -> Result<Vec<u8>, StoreError> {
    let der = ber::to_der(der).map_err(|source| StoreFormat::Pem.malformed(source))?; // RFC 7468, section 11.
    let info = EncryptedPrivateKeyInfo::from_der(&der).map_err(|source| StoreFormat::Pem.malformed(source))?;
    let mut opener = Opener::new(StoreFormat::Pem, password.ok_or(StoreError::PasswordMissing)?);
    let key = opener.decrypt(&info.algorithm, info.encrypted.as_bytes())?;
    // There is no digest: only the decrypted key shows whether the password is correct.
    private_key::algorithm(&key).map_err(|_| StoreError::WrongPassword)?;
    Ok(key)
}

fn sections(content: &[u8]) -> Result<Vec<Section<'_>>, StoreError> {
    read(content).map_err(|source| StoreFormat::Pem.malformed(source))
}

fn read(content: &[u8]) -> Result<Vec<Section<'_>>, PemError> {
    let mut rest = str::from_utf8(content).map_err(PemError::NotText)?;
    let mut sections = Vec::new();
    while let Some((_, begun)) = rest.split_once(BEGIN) {
        let (label, text) = begun.split_once(DASHES).ok_or(PemError::Unterminated)?;
        let (body, end) = text.split_once(DASHES).ok_or(PemError::Unterminated)?;
        let end = end.strip_prefix("END ").and_then(|end| end.strip_prefix(label));
        rest = end.and_then(|end| end.strip_prefix(DASHES)).ok_or(PemError::Unterminated)?;
        sections.push(Section { label, body });
    }
    if sections.is_empty() { Err(PemError::Empty) } else { Ok(sections) }
}

impl Section<'_> {
    fn decode(&self) -> Result<Vec<u8>, StoreError> {
        let base64: String = self.body.split_ascii_whitespace().collect();
        BASE64.decode(base64).map_err(|source| StoreFormat::Pem.malformed(PemError::Base64(source)))
    }
}
