//! A certificate authority for tests, which issues the certificates of servers and clients on loopback.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
    date_time_ymd,
};
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;

/// An authority that exists for one test.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// Makes an authority.
    ///
    /// # Panics
    /// Never, because the parameters are valid.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "each call makes another authority")]
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Signpost tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    /// The authority's certificate in PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// The authority's certificate in DER.
    #[must_use]
    pub fn der(&self) -> Vec<u8> {
        self.0.der().to_vec()
    }

    /// Issues the certificate of a server on 127.0.0.1.
    ///
    /// # Panics
    /// Never, because the parameters are valid.
    #[must_use]
    pub fn server(&self) -> CertifiedKey {
        self.issue(CertificateParams::default())
    }

    /// Issues the certificate of a server on 127.0.0.1 that has expired.
    ///
    /// # Panics
    /// Never, because the parameters are valid.
    #[must_use]
    pub fn expired_server(&self) -> CertifiedKey {
        let mut params = CertificateParams::default();
        params.not_after = date_time_ymd(2001, 2, 3);
        self.issue(params)
    }

    /// Issues the certificate of a server on 127.0.0.1 that is not valid yet.
    ///
    /// # Panics
    /// Never, because the parameters are valid.
    #[must_use]
    pub fn future_server(&self) -> CertifiedKey {
        let mut params = CertificateParams::default();
        params.not_before = date_time_ymd(3001, 2, 3);
        self.issue(params)
    }

    /// Issues the certificate of a server on another host.
    ///
    /// # Panics
    /// Never, because the parameters are valid.
    #[must_use]
    pub fn server_elsewhere(&self) -> CertifiedKey {
        let name = "elsewhere.example".try_into().expect("a host name");
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::DnsName(name)];
        self.issue(params)
    }

    fn issue(&self, mut params: CertificateParams) -> CertifiedKey {
        if params.subject_alt_names.is_empty() {
            params.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        certified(certificate.der().clone(), &key)
    }

    /// Makes a self-signed certificate of a server on 127.0.0.1, as `openssl req -x509` does.
    ///
    /// # Panics
    /// Never, because the parameters are valid.
    #[must_use]
    pub fn self_signed_server() -> CertifiedKey {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        certified(params.self_signed(&key).expect("a certificate").der().clone(), &key)
    }

    /// Issues the certificate of a client, and returns its private key and the certificate in PEM.
    ///
    /// # Panics
    /// Never, because the parameters are valid.
    #[must_use]
    pub fn client(&self, common_name: &str) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        key.serialize_pem() + &certificate.pem()
    }
}

fn certified(certificate: CertificateDer<'static>, key: &KeyPair) -> CertifiedKey {
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("PKCS#8");
    CertifiedKey::from_der(vec![certificate], key, &default_provider()).expect("a matching key")
}
