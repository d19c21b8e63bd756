//! Endpoints' secrets, sealed with a key pair of their tenant by HPKE (RFC 9180).
//!
//! The public half seals, so a function that seals ([`Sealer`]) needs no permission to open. KMS wraps the private half
//! for its tenant: a function that opens ([`Vault`]) makes one call to KMS per tenant, however many secrets the tenant
//! has. The seal is bound to tenant, endpoint and purpose, and to the server that the secret is sent to.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use aws_lc_rs::encoding::{AsBigEndian as _, EcPrivateKeyBin};
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_P256_HKDF_SHA256_AES_256;
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke, HpkePrivateKey, HpkePublicKey};
use signpost_core::endpoint::EndpointId;
use signpost_core::event::TenantId;
use signpost_core::fingerprint::fingerprint;
use signpost_core::secret::Secret;
use signpost_engine::slots::Slots;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::aws::AwsError;
use crate::mac::MacKey;
use crate::runtime::clock::unix_now;
use crate::tables::sealing_keys::SealingKeys;
use crate::tables::signing_keys::{WrappedPair, WrappingKey};

/// The half of the vault that seals secrets.
#[derive(Clone, Debug)]
pub struct Sealer {
    keys: SealingKeys,
    wrapping: WrappingKey,
    mac: MacKey,
}

/// The half of the vault that opens secrets. It remembers private keys and opened secrets.
pub struct Vault {
    keys: SealingKeys,
    wrapping: WrappingKey,
    pairs: Slots<TenantId, Mutex<KnownPair>>,
    opened: Slots<[u8; 32], Mutex<Option<Secret>>>,
}

/// The purpose of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose<'a> {
    /// It authenticates to the receiver, in this way and at this server only ([`Auth::binding`]).
    ///
    /// [`Auth::binding`]: signpost_core::endpoint::auth::Auth::binding
    Auth(&'a str),
    /// It signs requests, and is shared with the receiver.
    Signing,
}

/// The owner and the purpose of a secret.
#[derive(Clone, Copy, Debug)]
pub struct SealContext<'a> {
    /// The endpoint's tenant.
    pub tenant: &'a TenantId,
    /// The endpoint.
    pub endpoint: &'a EndpointId,
    /// The purpose.
    pub purpose: Purpose<'a>,
}

/// The reason why a secret could not be sealed.
#[derive(Debug, thiserror::Error)]
enum SealError {
    #[error("public key from KMS is unusable; expected P-256")]
    PublicKey,
    #[error("secret could not be encrypted; try again")]
    Encrypt(#[source] rustls::Error),
}

/// The reason why a secret did not open.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OpenError {
    /// A call failed. If KMS refused it, the private key is another tenant's, or the role lacks a permission.
    #[error("private key of the tenant's secrets could not be read or unwrapped")]
    Aws(#[from] AwsError),
    /// The seal is broken: it was made for another owner or purpose, or changed.
    #[error("secret was sealed for another endpoint or purpose, or changed; set the secret again")]
    Broken,
    /// The key pair is not in the table any more.
    #[error("secret was sealed with a key pair that is gone; set the secret again")]
    PairGone,
}

/// The private key that opens a tenant's secrets.
struct OpenedPair {
    id: PairId,
    private: HpkePrivateKey,
}

/// The state of one tenant's private key. The caller that reads it holds the lock, so that concurrent callers share one call.
#[derive(Default)]
struct KnownPair {
    opened: Option<Arc<OpenedPair>>,
    /// Why the last read failed, and until when other callers get this answer.
    failure: Option<(OpenError, Duration)>,
}

/// The first bytes of a hash of the public key.
type PairId = [u8; 8];

/// How many tenants' private keys are remembered; each has some 500 bytes.
const MAX_PAIRS: usize = 5_000;
/// How many opened secrets are remembered, if they fit into [`MAX_OPENED_BYTES`]: four for each of 5,000 endpoints.
const MAX_OPENED: usize = 20_000;
/// How much memory the opened secrets may have. A client certificate with its chain may have some kilobytes.
const MAX_OPENED_BYTES: usize = 24 * 1024 * 1024;
/// How much memory a remembered secret needs besides its text, about.
const BESIDE_SECRET: usize = 300;
/// How long a failure is shared, so that the deliveries of one batch do not wait for it one by one.
const FAILURE_SHARED_FOR: Duration = Duration::from_secs(1);

impl Sealer {
    /// Seals with the key pairs in `keys`, which `wrapping` makes and `mac` authenticates.
    #[must_use]
    pub fn new(keys: SealingKeys, wrapping: WrappingKey, mac: MacKey) -> Self {
        Self { keys, wrapping, mac }
    }

    /// Seals a secret for its owner and purpose.
    ///
    /// Needs `dynamodb:GetItem`, and `kms:VerifyMac` once per tenant and environment. For the first secret of a tenant,
    /// also `kms:GenerateDataKeyPairWithoutPlaintext`, `kms:GenerateMac` and `dynamodb:PutItem`.
    ///
    /// # Errors
    /// A call failed, or the tenant's key pair is not authentic.
    pub async fn seal(&self, place: SealContext<'_>, secret: &Secret) -> Result<Vec<u8>, AwsError> {
        let pair = self.pair(place.tenant).await?;
        seal_under(&pair.public_spki, place, secret).map_err(AwsError::corrupt("key pair of a tenant's secrets"))
    }

    /// Returns the tenant's key pair, and makes it if there is none. If several callers make one, the first one counts.
    async fn pair(&self, tenant: &TenantId) -> Result<WrappedPair, AwsError> {
        if let Some(pair) = self.keys.get_authentic(tenant, &self.mac).await? {
            return Ok(pair);
        }
        let made = self.wrapping.generate_sealing_pair(tenant).await?;
        if self.keys.add(tenant, &made, &self.mac).await? {
            tracing::info!(tenant.id = %tenant, "sealing_key.made");
            return Ok(made);
        }
        // Also if the write succeeded, its answer got lost and the SDK repeated it.
        let pair = self.keys.get_authentic(tenant, &self.mac).await?;
        pair.ok_or_else(|| AwsError::of("dynamodb:GetItem")(std::io::Error::other("the tenant's key pair vanished")))
    }
}

impl Vault {
    /// Opens secrets with the key pairs in `keys`, which `wrapping` unwraps.
    #[must_use]
    pub fn new(keys: SealingKeys, wrapping: WrappingKey) -> Self {
        let opened = Slots::within(MAX_OPENED, MAX_OPENED_BYTES);
        Self { keys, wrapping, pairs: Slots::new(MAX_PAIRS), opened }
    }

    /// Opens a secret that was sealed for `place`.
    ///
    /// Needs `dynamodb:GetItem` and `kms:Decrypt`, once per tenant and environment. A secret that was opened before
    /// costs nothing, as long as it is remembered.
    ///
    /// # Errors
    /// A call failed, or the secret was not sealed for this place.
    pub async fn open(&self, place: SealContext<'_>, sealed: &[u8]) -> Result<Secret, OpenError> {
        // Both, because only a secret that was opened for this place may be used at this place.
        let key = fingerprint([&bound_to(place), sealed]);
        let slot = self.opened.get(key);
        let mut slot = slot.lock().await;
        if let Some(secret) = &*slot {
            return Ok(secret.clone());
        }
        let parts = split(sealed).ok_or(OpenError::Broken)?;
        let pair = self.pair(place.tenant, parts.pair).await?;
        let secret = open_under(&pair.private, parts, place).ok_or(OpenError::Broken)?;
        self.opened.set_bytes(&key, BESIDE_SECRET + secret.reveal().len());
        Ok(slot.insert(secret).clone())
    }

    /// Returns the private key of the pair `id`. Unwraps it if it is not known.
    async fn pair(&self, tenant: &TenantId, id: PairId) -> Result<Arc<OpenedPair>, OpenError> {
        let slot = self.pairs.get(tenant.clone());
        let mut known = slot.lock().await;
        if let Some(pair) = known.opened.as_ref().filter(|pair| pair.id == id) {
            return Ok(Arc::clone(pair));
        }
        if let Some((failure, _)) = known.failure.as_ref().filter(|(_, until)| unix_now() < *until) {
            return Err(failure.clone());
        }
        match self.unwrap(tenant, id).await {
            Ok(pair) => Ok(Arc::clone(known.opened.insert(Arc::new(pair)))),
            Err(error) => {
                if let OpenError::Aws(_) = &error {
                    known.failure = Some((error.clone(), unix_now() + FAILURE_SHARED_FOR));
                }
                Err(error)
            }
        }
    }

    async fn unwrap(&self, tenant: &TenantId, id: PairId) -> Result<OpenedPair, OpenError> {
        let pair = self.keys.get(tenant).await?;
        let pair = pair.filter(|pair| pair_id(&pair.public_spki) == id).ok_or(OpenError::PairGone)?;
        let pkcs8 = Zeroizing::new(self.wrapping.unwrap_sealing(tenant, &pair.wrapped_private).await?);
        Ok(OpenedPair { id, private: private_key(&pkcs8).ok_or(OpenError::Broken)? })
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("keys", &self.keys).finish_non_exhaustive() // Never a secret.
    }
}

/// The application of HPKE: what all seals of this kind have in common.
const INFO: &[u8] = b"signpost endpoint secret";

/// The first byte of a sealed secret, which identifies the format.
const VERSION: u8 = 1;

/// The bytes of an encapsulated key, an uncompressed point of P-256 (RFC 9180, section 7.1).
const ENCAPSULATED_BYTES: usize = 65;

/// The beginning of the `SubjectPublicKeyInfo` of a P-256 key (RFC 5480), before its uncompressed point.
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The parts of a sealed secret.
#[derive(Clone, Copy)]
struct Parts<'a> {
    pair: PairId,
    encapsulated: &'a [u8],
    content: &'a [u8],
}

/// Returns `version ‖ id of the pair ‖ encapsulated key ‖ ciphertext and tag`.
fn seal_under(spki: &[u8], place: SealContext<'_>, secret: &Secret) -> Result<Vec<u8>, SealError> {
    let point = spki.strip_prefix(&P256_SPKI).ok_or(SealError::PublicKey)?;
    let (public, plain) = (HpkePublicKey(point.to_vec()), secret.reveal().as_bytes());
    let sealed = DH_KEM_P256_HKDF_SHA256_AES_256.seal(INFO, &bound_to(place), plain, &public);
    let (EncapsulatedSecret(encapsulated), content) = sealed.map_err(SealError::Encrypt)?;
    Ok([&[VERSION][..], &pair_id(spki), &encapsulated, &content].concat())
}

fn open_under(private: &HpkePrivateKey, parts: Parts<'_>, place: SealContext<'_>) -> Option<Secret> {
    let Parts { encapsulated, content, .. } = parts;
    let encapsulated = EncapsulatedSecret(encapsulated.to_vec());
    let opened = DH_KEM_P256_HKDF_SHA256_AES_256.open(&encapsulated, INFO, &bound_to(place), content, private);
    let opened = Zeroizing::new(opened.ok()?);
    std::str::from_utf8(&opened).ok().map(|text| Secret::new(text.to_owned()))
}

fn split(sealed: &[u8]) -> Option<Parts<'_>> {
    let [VERSION, rest @ ..] = sealed else { return None };
    let (pair, rest) = rest.split_first_chunk()?;
    let (encapsulated, content) = rest.split_at_checked(ENCAPSULATED_BYTES)?;
    Some(Parts { pair: *pair, encapsulated, content })
}

fn pair_id(spki: &[u8]) -> PairId {
    let mut id = PairId::default();
    id.copy_from_slice(&fingerprint([spki])[..size_of::<PairId>()]);
    id
}

/// Reads a private key of P-256 from PKCS#8 DER.
fn private_key(pkcs8: &[u8]) -> Option<HpkePrivateKey> {
    let key = PrivateKey::from_private_key_der(&ECDH_P256, pkcs8).ok()?;
    let number: EcPrivateKeyBin<'_> = key.as_be_bytes().ok()?;
    Some(HpkePrivateKey::from(number.as_ref().to_vec()))
}

/// Returns the data that the seal is bound to. Ids have no slash, so two places never have the same data.
fn bound_to(place: SealContext<'_>) -> Vec<u8> {
    let SealContext { tenant, endpoint, purpose } = place;
    match purpose {
        Purpose::Auth(binding) => format!("{tenant}/{endpoint}/auth/{binding}").into_bytes(),
        Purpose::Signing => format!("{tenant}/{endpoint}/signing").into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
    use proptest::prelude::*;
    use rustls::crypto::aws_lc_rs::hpke::DH_KEM_P256_HKDF_SHA256_AES_128;

    use super::*;

    fn pair() -> (Vec<u8>, HpkePrivateKey) {
        let key = PrivateKey::generate(&ECDH_P256).unwrap();
        let spki: PublicKeyX509Der<'_> = key.compute_public_key().unwrap().as_der().unwrap();
        let pkcs8: Pkcs8V1Der<'_> = key.as_der().unwrap();
        (spki.as_ref().to_vec(), private_key(pkcs8.as_ref()).unwrap())
    }

    fn opened(private: &HpkePrivateKey, sealed: &[u8], place: SealContext<'_>) -> Option<Secret> {
        split(sealed).and_then(|parts| open_under(private, parts, place))
    }

    #[test]
    fn a_secret_opens_in_its_place_and_in_no_other() {
        let (acme, globex) = (TenantId::parse("acme").unwrap(), TenantId::parse("globex").unwrap());
        let [one, other] = [1, 2].map(|number| EndpointId::new(uuid::Uuid::from_u128(number)));
        let place = SealContext { tenant: &acme, endpoint: &one, purpose: Purpose::Auth("basic https://a.example") };
        let (public, private) = pair();
        let sealed = seal_under(&public, place, &Secret::new("user:pass".into())).unwrap();
        assert_eq!(opened(&private, &sealed, place).unwrap().reveal(), "user:pass");

        let elsewhere = [
            SealContext { tenant: &globex, ..place },
            SealContext { endpoint: &other, ..place },
            SealContext { purpose: Purpose::Signing, ..place },
            SealContext { purpose: Purpose::Auth("apiKey https://a.example"), ..place },
            SealContext { purpose: Purpose::Auth("basic https://evil.example"), ..place },
        ];
        for place in elsewhere {
            assert_eq!(opened(&private, &sealed, place), None, "{place:?}");
        }
        assert_eq!(opened(&pair().1, &sealed, place), None, "another key");
    }

    #[test]
    fn a_changed_or_shortened_seal_does_not_open() {
        let tenant = TenantId::parse("acme").unwrap();
        let endpoint = EndpointId::new(uuid::Uuid::nil());
        let place = SealContext { tenant: &tenant, endpoint: &endpoint, purpose: Purpose::Auth("mtls") };
        let (public, private) = pair();
        let sealed = seal_under(&public, place, &Secret::new("s".into())).unwrap();
        for length in 0..sealed.len() {
            assert_eq!(opened(&private, &sealed[..length], place), None, "{length} bytes");
        }
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            let is_id = (1..9).contains(&index); // The id only selects the key.
            assert_eq!(opened(&private, &changed, place).is_some(), is_id, "byte {index}");
        }
    }

    #[test]
    fn two_seals_of_one_secret_differ() {
        let tenant = TenantId::parse("acme").unwrap();
        let endpoint = EndpointId::new(uuid::Uuid::nil());
        let place = SealContext { tenant: &tenant, endpoint: &endpoint, purpose: Purpose::Signing };
        let (public, _) = pair();
        let [one, other] = [(); 2].map(|()| seal_under(&public, place, &Secret::new("s".into())).unwrap());
        assert_ne!(one[9..], other[9..]);
    }

    #[test]
    fn a_public_key_of_another_kind_seals_nothing() {
        let tenant = TenantId::parse("acme").unwrap();
        let endpoint = EndpointId::new(uuid::Uuid::nil());
        let place = SealContext { tenant: &tenant, endpoint: &endpoint, purpose: Purpose::Signing };
        let mut point = P256_SPKI.to_vec();
        point.extend([4; 65]);
        for (spki, what) in [(vec![], "no key"), (P256_SPKI.to_vec(), "no point"), (point, "not on the curve")] {
            assert!(seal_under(&spki, place, &Secret::new("s".into())).is_err(), "{what}");
        }
    }

    proptest! {
        #[test]
        fn every_secret_opens_as_it_was(text in ".{0,300}") {
            let tenant = TenantId::parse("acme").unwrap();
            let endpoint = EndpointId::new(uuid::Uuid::nil());
            let place = SealContext { tenant: &tenant, endpoint: &endpoint, purpose: Purpose::Signing };
            let (public, private) = pair();
            let sealed = seal_under(&public, place, &Secret::new(text.clone())).unwrap();
            let opened = opened(&private, &sealed, place).unwrap();
            prop_assert_eq!(opened.reveal(), text);
        }
    }

    /// RFC 9180 has no vector for this suite. So the vector of the same key exchange with AES-128-GCM (appendix A.3.1) comes
    /// first. The other one has the same inputs, and was computed in Python by a program that reproduces the first.
    #[test]
    fn published_vectors_open() {
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
        };
        let encapsulated = "04a92719c6195d5085104f469a8b9814d5838ff72b60501e2c4466e5e67b325ac98536d7b61a1af4b78e5b7f951c\
                            0900be863c403ce65c9bfcb9382657222d18c4";
        let key = "f3ce7fdae57e1a310d87f1ebbde6f328be0a99cdbcadf4d6589cf29de4b8ffd2";
        let [info, aad] = ["4f6465206f6e2061204772656369616e2055726e", "436f756e742d30"].map(hex);
        let suites: [(&dyn Hpke, _, _); 2] = [
            (
                DH_KEM_P256_HKDF_SHA256_AES_128,
                "5ad590bb8baa577f8619db35a36311226a896e7342a6d836d8b7bcd2f20b6c7f9076ac232e3ab2523f39513434",
                "RFC 9180, appendix A.3.1",
            ),
            (
                DH_KEM_P256_HKDF_SHA256_AES_256,
                "518c46e6810fbc55362f7d5995b0f54339d93664ca44e5c74d0f289c4f7983b4781b193de04ad3319f177244de",
                "the suite in use",
            ),
        ];
        for (suite, content, which) in suites {
            let encapsulated = EncapsulatedSecret(hex(encapsulated));
            let private = HpkePrivateKey::from(hex(key));
            let opened = suite.open(&encapsulated, &info, &aad, &hex(content), &private).unwrap();
            assert_eq!(opened, b"Beauty is truth, truth beauty", "{which}");
        }
    }
}
