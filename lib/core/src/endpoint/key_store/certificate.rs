//! Certificates: their subjects, their validity, and which one issued another.

use der::Decode as _;
use rustls_pki_types::CertificateDer;
use x509_cert::time::Time;

use super::private_key::PrivateKey;
use super::{CertificateFacts, StoreError};

/// An X.509 certificate (RFC 5280) and its bytes.
pub(super) struct Certificate {
    der: Vec<u8>,
    parsed: x509_cert::Certificate,
}

/// The maximum number of certificates in a chain: one more than the intermediate certificates that rustls accepts.
const MAX_CHAIN: usize = 7;

/// The maximum number of stored characters of a name, which is more than people write.
const SUBJECT_CHARACTERS: usize = 256;

/// Returns the certificates for a key: its own, the certificate of its issuer, and so on, without the root.
///
/// If several certificates match, the one with the longest validity is used, because stores keep old ones beside their
/// renewals.
pub(super) fn chain<'a>(
    certificates: &'a [Certificate],
    key: &PrivateKey,
    now: u64,
) -> Result<Vec<&'a Certificate>, StoreError> {
    if certificates.is_empty() {
        return Err(StoreError::NoCertificate);
    }
    let longest = |wanted: &dyn Fn(&Certificate) -> bool| {
        certificates.iter().filter(|certificate| wanted(certificate)).max_by_key(|certificate| certificate.not_after())
    };
    let leaf = longest(&|certificate| key.is_of(certificate.public_key())).ok_or(StoreError::KeyMismatch)?;
    leaf.check_usable(now)?;
    let mut chain = vec![leaf];
    let mut last = leaf;
    while let Some(issuer) = longest(&|certificate| certificate.issued(last)) {
        if issuer.is_self_issued() || chain.iter().any(|known| known.der == issuer.der) {
            break; // A root, or authorities that certified each other.
        }
        if chain.len() == MAX_CHAIN {
            return Err(StoreError::TooLarge { what: "certificates in a chain", limit: MAX_CHAIN as u64 });
        }
        issuer.check_valid(now)?;
        chain.push(issuer);
        last = issuer;
    }
    Ok(chain)
}

impl Certificate {
    pub(super) fn parse(der: Vec<u8>) -> der::Result<Self> {
        let parsed = x509_cert::Certificate::from_der(&der)?;
        Ok(Self { der, parsed })
    }

    pub(super) fn der(&self) -> &[u8] {
        &self.der
    }

    pub(super) fn facts(&self) -> CertificateFacts {
        CertificateFacts { subject: self.subject(), not_after: rfc3339(self.validity().not_after) }
    }

    /// Returns the last second of its validity, in Unix seconds.
    pub(super) fn not_after(&self) -> u64 {
        unix_seconds(self.validity().not_after)
    }

    /// Checks that it has not expired at `now`. Its last second is still valid (RFC 5280, section 4.1.2.5).
    pub(super) fn check_not_expired(&self, now: u64) -> Result<(), StoreError> {
        if now > self.not_after() {
            let CertificateFacts { subject, not_after } = self.facts();
            return Err(StoreError::Expired { subject, not_after });
        }
        Ok(())
    }

    /// Checks that rustls accepts it as an authority. Signpost delivers with rustls.
    pub(super) fn check_authority(&self) -> Result<(), StoreError> {
        match webpki::anchor_from_trusted_cert(&CertificateDer::from(self.der.as_slice())) {
            Ok(_) => Ok(()),
            Err(source) => Err(StoreError::UnsupportedCertificate { subject: self.subject(), source }),
        }
    }

    fn check_valid(&self, now: u64) -> Result<(), StoreError> {
        self.check_not_expired(now)?;
        let not_before = self.validity().not_before;
        if now < unix_seconds(not_before) {
            return Err(StoreError::NotYetValid { subject: self.subject(), not_before: rfc3339(not_before) });
        }
        Ok(())
    }

    /// Checks that it is valid, and that rustls accepts it as the certificate of an endpoint.
    fn check_usable(&self, now: u64) -> Result<(), StoreError> {
        self.check_valid(now)?;
        match webpki::EndEntityCert::try_from(&CertificateDer::from(self.der.as_slice())) {
            Ok(_) => Ok(()),
            Err(source) => Err(StoreError::UnsupportedCertificate { subject: self.subject(), source }),
        }
    }

    fn public_key(&self) -> &spki::SubjectPublicKeyInfoOwned {
        self.parsed.tbs_certificate().subject_public_key_info()
    }

    fn validity(&self) -> &x509_cert::time::Validity {
        self.parsed.tbs_certificate().validity()
    }

    fn subject(&self) -> String {
        let mut subject = self.parsed.tbs_certificate().subject().to_string();
        if let Some((end, _)) = subject.char_indices().nth(SUBJECT_CHARACTERS) {
            subject.truncate(end);
            subject.push('…');
        }
        subject
    }

    fn issued(&self, other: &Self) -> bool {
        self.parsed.tbs_certificate().subject() == other.parsed.tbs_certificate().issuer()
    }

    fn is_self_issued(&self) -> bool {
        self.issued(self)
    }
}

fn unix_seconds(time: Time) -> u64 {
    time.to_unix_duration().as_secs()
}

fn rfc3339(time: Time) -> String {
    time.to_date_time().to_string()
}
