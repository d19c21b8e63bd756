//! The KMS key that authenticates public keys in tables. An item that Signpost did not write has no valid MAC, so its
//! key is neither published nor used. A writer of a table cannot plant a key.

use std::sync::Arc;

use aws_sdk_kms::operation::verify_mac::VerifyMacError;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::MacAlgorithmSpec;
use signpost_core::fingerprint::fingerprint;
use signpost_engine::slots::Slots;
use tokio::sync::Mutex;

use crate::aws::AwsError;

/// An HMAC-SHA-256 key that never leaves KMS, and its verdicts, so that KMS is asked about an item once per
/// environment. Concurrent callers share one call.
#[derive(Clone, Debug)]
pub struct MacKey {
    client: aws_sdk_kms::Client,
    key_id: String,
    verdicts: Arc<Slots<[u8; 32], Mutex<Option<bool>>>>,
}

/// How many verdicts are remembered; each has some 150 bytes.
const MAX_VERDICTS: usize = 50_000;

/// The size of an HMAC-SHA-256 in bytes (FIPS 198-1).
const MAC_BYTES: usize = 32;

impl MacKey {
    /// Adapts `client` to the KMS key `key_id` (id, ARN or alias), whose key spec is `HMAC_256`.
    #[must_use]
    pub fn new(client: aws_sdk_kms::Client, key_id: String) -> Self {
        Self { client, key_id, verdicts: Arc::new(Slots::new(MAX_VERDICTS)) }
    }

    /// Returns the MAC of `message`, 32 bytes.
    ///
    /// Needs `kms:GenerateMac`. One call, $0.000003.
    ///
    /// # Errors
    /// The call failed; try again.
    pub async fn generate(&self, message: &[u8; 32]) -> Result<Vec<u8>, AwsError> {
        const CALL: &str = "kms:GenerateMac";
        let call = self.client.generate_mac().key_id(&self.key_id).mac_algorithm(MacAlgorithmSpec::HmacSha256);
        let answer = call.message(Blob::new(message)).send().await.map_err(AwsError::of(CALL))?;
        let mac = answer.mac.map(Blob::into_inner);
        mac.ok_or_else(|| AwsError::of(CALL)(std::io::Error::other("the answer of KMS lacks the MAC")))
    }

    /// Returns whether `mac` is the MAC of `message`.
    ///
    /// Needs `kms:VerifyMac`. One call, $0.000003; none for a MAC of another length, or for a pair that was verified
    /// before.
    ///
    /// # Errors
    /// The call failed, which says nothing about the MAC; try again.
    pub async fn verify(&self, message: &[u8; 32], mac: &[u8]) -> Result<bool, AwsError> {
        if mac.len() != MAC_BYTES {
            return Ok(false);
        }
        let verdict = self.verdicts.get(fingerprint([&message[..], mac]));
        let mut verdict = verdict.lock().await;
        if let Some(verdict) = *verdict {
            return Ok(verdict);
        }
        Ok(*verdict.insert(self.ask(message, mac).await?))
    }

    async fn ask(&self, message: &[u8; 32], mac: &[u8]) -> Result<bool, AwsError> {
        let call = self.client.verify_mac().key_id(&self.key_id).mac_algorithm(MacAlgorithmSpec::HmacSha256);
        match call.message(Blob::new(message)).mac(Blob::new(mac)).send().await {
            Ok(answer) => Ok(answer.mac_valid),
            Err(error) => match error.as_service_error() {
                Some(VerifyMacError::KmsInvalidMacException(_)) => Ok(false),
                _ => Err(AwsError::of("kms:VerifyMac")(error)),
            },
        }
    }
}
