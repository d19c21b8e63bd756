//! Endpoints' secrets, sealed by AES-256-GCM under a data key from KMS.
//!
//! A function that seals needs no permission to open. A secret that was sealed for one endpoint or purpose does not
//! open for another: KMS binds the data key to tenant and endpoint. The seal itself is bound to these, to the secret's
//! purpose, and to the server that the secret is sent to.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::DataKeySpec;
use signpost_core::endpoint::EndpointId;
use signpost_core::event::TenantId;
use signpost_core::secret::Secret;
use zeroize::Zeroizing;

use crate::aws::AwsError;

/// A vault that seals and opens secrets.
#[derive(Clone, Debug)]
pub struct Vault {
    client: aws_sdk_kms::Client,
    key_id: String,
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

/// The reason why a secret did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The call to KMS failed. If KMS refused it, the data key is another endpoint's, or the role lacks a permission.
    #[error("data key of a secret could not be unwrapped")]
    Aws(#[from] AwsError),
    /// The seal is broken: it was made for another owner or purpose, or changed.
    #[error("secret was sealed for another endpoint or purpose, or changed; set the secret again")]
    Broken,
}

/// The first byte of a sealed secret, which identifies the format.
const VERSION: u8 = 1;

impl Vault {
    /// Adapts `client` to the KMS key `key_id` (id, ARN or alias).
    #[must_use]
    pub fn new(client: aws_sdk_kms::Client, key_id: String) -> Self {
        Self { client, key_id }
    }

    /// Seals a secret for its owner and purpose.
    ///
    /// Needs `kms:GenerateDataKey` with encryption context `{purpose: endpoint-secrets, tenant, endpoint}`. A call
    /// costs $0.000003.
    ///
    /// # Errors
    /// The call failed.
    pub async fn seal(&self, place: SealContext<'_>, secret: &Secret) -> Result<Vec<u8>, AwsError> {
        const CALL: &str = "kms:GenerateDataKey";
        let call = self
            .client
            .generate_data_key()
            .key_id(&self.key_id)
            .key_spec(DataKeySpec::Aes256)
            .encryption_context("purpose", CONTEXT_PURPOSE)
            .encryption_context("tenant", place.tenant.as_str())
            .encryption_context("endpoint", place.endpoint.as_str());
        let made = call.send().await.map_err(AwsError::of(CALL))?;
        let incomplete = || AwsError::of(CALL)(std::io::Error::other("the answer of KMS lacks a key"));
        let plain = Zeroizing::new(made.plaintext.ok_or_else(incomplete)?.into_inner());
        let wrapped = made.ciphertext_blob.ok_or_else(incomplete)?.into_inner();
        seal_under(&plain, &wrapped, place, secret)
            .ok_or_else(|| AwsError::of(CALL)(std::io::Error::other("the key from KMS does not fit")))
    }

    /// Opens a secret that was sealed for `place`.
    ///
    /// Needs `kms:Decrypt` with encryption context `{purpose: endpoint-secrets, tenant, endpoint}`. One call, so keep
    /// the result while the sealed bytes stay the same.
    ///
    /// # Errors
    /// KMS failed, or the secret was not sealed for this place.
    pub async fn open(&self, place: SealContext<'_>, sealed: &[u8]) -> Result<Secret, OpenError> {
        let (wrapped, rest) = split(sealed).ok_or(OpenError::Broken)?;
        let call = self
            .client
            .decrypt()
            .key_id(&self.key_id)
            .ciphertext_blob(Blob::new(wrapped))
            .encryption_context("purpose", CONTEXT_PURPOSE)
            .encryption_context("tenant", place.tenant.as_str())
            .encryption_context("endpoint", place.endpoint.as_str());
        let plain = call.send().await.map_err(AwsError::of("kms:Decrypt"))?.plaintext.ok_or(OpenError::Broken)?;
        let plain = Zeroizing::new(plain.into_inner());
        open_under(&plain, rest, place).ok_or(OpenError::Broken)
    }
}

const CONTEXT_PURPOSE: &str = "endpoint-secrets";

/// Returns `version ‖ length of the wrapped key (2 bytes) ‖ wrapped key ‖ nonce ‖ ciphertext and tag`.
fn seal_under(plain: &[u8], wrapped: &[u8], place: SealContext<'_>, secret: &Secret) -> Option<Vec<u8>> {
    let key = RandomizedNonceKey::new(&AES_256_GCM, plain).ok()?;
    let mut content = Zeroizing::new(secret.reveal().as_bytes().to_vec());
    let nonce = key.seal_in_place_append_tag(Aad::from(bound_to(place)), &mut *content).ok()?;
    let length = u16::try_from(wrapped.len()).ok()?;
    Some([&[VERSION], &length.to_be_bytes()[..], wrapped, nonce.as_ref(), &content].concat())
}

fn open_under(plain: &[u8], rest: &[u8], place: SealContext<'_>) -> Option<Secret> {
    let key = RandomizedNonceKey::new(&AES_256_GCM, plain).ok()?;
    let (nonce, content) = rest.split_at_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut content = Zeroizing::new(content.to_vec());
    let opened = key.open_in_place(nonce, Aad::from(bound_to(place)), &mut content).ok()?;
    std::str::from_utf8(opened).ok().map(|text| Secret::new(text.to_owned()))
}

/// Returns the wrapped data key and the sealed content.
fn split(sealed: &[u8]) -> Option<(&[u8], &[u8])> {
    let [VERSION, high, low, rest @ ..] = sealed else { return None };
    rest.split_at_checked(usize::from(u16::from_be_bytes([*high, *low])))
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
    use super::*;

    const KEY: [u8; 32] = [7; 32];

    #[test]
    fn a_secret_opens_in_its_place_and_in_no_other() {
        let (acme, globex) = (TenantId::parse("acme").unwrap(), TenantId::parse("globex").unwrap());
        let [one, other] = [1, 2].map(|number| EndpointId::new(uuid::Uuid::from_u128(number)));
        let place = SealContext { tenant: &acme, endpoint: &one, purpose: Purpose::Auth("basic https://a.example") };
        let sealed = seal_under(&KEY, b"wrapped", place, &Secret::new("user:pass".into())).unwrap();
        let (wrapped, rest) = split(&sealed).unwrap();
        assert_eq!(wrapped, b"wrapped");
        assert_eq!(open_under(&KEY, rest, place).unwrap().reveal(), "user:pass");

        let elsewhere = [
            SealContext { tenant: &globex, ..place },
            SealContext { endpoint: &other, ..place },
            SealContext { purpose: Purpose::Signing, ..place },
            SealContext { purpose: Purpose::Auth("apiKey https://a.example"), ..place },
            SealContext { purpose: Purpose::Auth("basic https://evil.example"), ..place },
        ];
        for place in elsewhere {
            assert_eq!(open_under(&KEY, rest, place), None, "{place:?}");
        }
        assert_eq!(open_under(&[8; 32], rest, place), None, "another key");
    }

    #[test]
    fn a_changed_or_shortened_seal_does_not_open() {
        let tenant = TenantId::parse("acme").unwrap();
        let endpoint = EndpointId::new(uuid::Uuid::nil());
        let place = SealContext { tenant: &tenant, endpoint: &endpoint, purpose: Purpose::Auth("mtls") };
        let sealed = seal_under(&KEY, b"w", place, &Secret::new("s".into())).unwrap();
        for length in 0..sealed.len() {
            let opened = split(&sealed[..length]).and_then(|(_, rest)| open_under(&KEY, rest, place));
            assert_eq!(opened, None, "{length} bytes");
        }
        let (_, rest) = split(&sealed).unwrap();
        for index in 0..rest.len() {
            let mut changed = rest.to_vec();
            changed[index] ^= 1;
            assert_eq!(open_under(&KEY, &changed, place), None, "byte {index}");
        }
    }
}
