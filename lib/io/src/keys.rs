//! `KeysTable` and the KMS key that wraps what it holds. Partition key `algorithm`, sort key `generation`.
//!
//! The table has each signing key's public key in the clear and its private key wrapped: only `kms:Decrypt` under
//! encryption context `{purpose: signing, kid: …}` opens it.

use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_kms::types::DataKeyPairSpec;
use signpost_core::algorithm::Algorithm;
use signpost_core::keys::KeyMoments;
use signpost_core::public_key::PublicKey;

use crate::aws::{AwsError, Item, ItemError, bytes, if_condition_held, n, number, s, text, unreadable};

/// One signing key as the table has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// Counts up by one from key to key; whoever writes a generation first has made it.
    pub generation: u64,
    /// When it is published, signs and rests.
    pub moments: KeyMoments,
    /// The public key, which knows its `kid`.
    pub public: PublicKey,
    /// The private key in PKCS#8 DER, wrapped by KMS.
    pub wrapped_private: Vec<u8>,
    /// When the table's TTL removes it, in seconds since the Unix epoch; only superseded keys have that.
    pub expires_at: Option<u64>,
}

/// The table of signing keys.
#[derive(Clone, Debug)]
pub struct KeyTable {
    client: aws_sdk_dynamodb::Client,
    table: String,
}

/// A key pair that KMS has made and nobody has seen the private half of.
#[derive(Clone, Debug)]
pub struct WrappedPair {
    /// DER `SubjectPublicKeyInfo`.
    pub public_spki: Vec<u8>,
    /// The private key in PKCS#8 DER, wrapped.
    pub wrapped_private: Vec<u8>,
}

/// The KMS key that wraps private keys.
#[derive(Clone, Debug)]
pub struct WrappingKey {
    client: aws_sdk_kms::Client,
    key_id: String,
}

impl KeyTable {
    /// Adapts `client` to the table called `table`.
    #[must_use]
    pub fn new(client: aws_sdk_dynamodb::Client, table: String) -> Self {
        Self { client, table }
    }

    /// Reads all signing keys of an algorithm, oldest generation first, as they are now (strongly consistent).
    ///
    /// Needs `dynamodb:Query`. One call; there are rarely more than four keys.
    ///
    /// # Errors
    /// The call failed, or an item cannot be read.
    pub async fn all(&self, algorithm: Algorithm) -> Result<Vec<StoredKey>, AwsError> {
        let call = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression("algorithm = :algorithm")
            .expression_attribute_values(":algorithm", s(algorithm.as_str()));
        let items = call.send().await.map_err(AwsError::of("dynamodb:Query"))?.items.unwrap_or_default();
        items
            .iter()
            .map(|item| from_item(item, algorithm))
            .collect::<Result<_, _>>()
            .map_err(AwsError::of::<ItemError>("reading a signing key"))
    }

    /// Writes a new signing key; false if its generation was there before, made by a rotation at the same time.
    ///
    /// Needs `dynamodb:PutItem`.
    ///
    /// # Errors
    /// The call failed.
    pub async fn add(
        &self,
        algorithm: Algorithm,
        kid: &str,
        generation: u64,
        pair: &WrappedPair,
        moments: KeyMoments,
    ) -> Result<bool, AwsError> {
        let call = self
            .client
            .put_item()
            .table_name(&self.table)
            .item("algorithm", s(algorithm.as_str()))
            .item("generation", n(generation))
            .item("kid", s(kid))
            .item("publicKey", AttributeValue::B(Blob::new(&*pair.public_spki)))
            .item("wrappedPrivateKey", AttributeValue::B(Blob::new(&*pair.wrapped_private)))
            .item("publishedAt", n(moments.published_at))
            .item("signFrom", n(moments.sign_from))
            .item("signUntil", n(moments.sign_until))
            .item("verifyUntil", n(moments.verify_until))
            .condition_expression("attribute_not_exists(algorithm)");
        Ok(if_condition_held(call.send().await, "dynamodb:PutItem")?.is_some())
    }

    /// Leaves a superseded signing key to the table's TTL, to be removed after `expires_at` (seconds since the Unix
    /// epoch). The last key never has one, however late its successor is.
    ///
    /// Needs `dynamodb:UpdateItem`.
    ///
    /// # Errors
    /// The call failed; do it again at the next rotation.
    pub async fn expire(&self, key: &StoredKey, expires_at: u64) -> Result<(), AwsError> {
        let call = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("algorithm", s(key.public.algorithm().as_str()))
            .key("generation", n(key.generation))
            .update_expression("SET expiresAt = :at")
            .condition_expression("attribute_exists(algorithm)")
            .expression_attribute_values(":at", n(expires_at));
        call.send().await.map_err(AwsError::of("dynamodb:UpdateItem"))?;
        Ok(())
    }
}

impl WrappingKey {
    /// Adapts `client` to the KMS key `key_id` (id, ARN or alias).
    #[must_use]
    pub fn new(client: aws_sdk_kms::Client, key_id: String) -> Self {
        Self { client, key_id }
    }

    /// Has KMS make a key pair for `kid` and wrap the private key, which never leaves KMS unwrapped.
    ///
    /// Needs `kms:GenerateDataKeyPairWithoutPlaintext` under encryption context `{purpose: signing, kid}`. In us-east-1,
    /// $0.0012 a call for RSA and $0.00001 for the others.
    ///
    /// # Errors
    /// The call failed.
    pub async fn generate_pair(&self, algorithm: Algorithm, kid: &str) -> Result<WrappedPair, AwsError> {
        const CALL: &str = "kms:GenerateDataKeyPairWithoutPlaintext";
        let spec = match algorithm {
            Algorithm::EdDSA => DataKeyPairSpec::EccNistEdwards25519,
            Algorithm::ES256 => DataKeyPairSpec::EccNistP256,
            Algorithm::RS256 => DataKeyPairSpec::Rsa2048,
        };
        let call = self
            .client
            .generate_data_key_pair_without_plaintext()
            .key_id(&self.key_id)
            .key_pair_spec(spec)
            .encryption_context("purpose", "signing")
            .encryption_context("kid", kid)
            .customize()
            .config_override(aws_sdk_kms::config::Builder::new().timeout_config(patient()));
        let pair = call.send().await.map_err(AwsError::of(CALL))?;
        match (pair.public_key, pair.private_key_ciphertext_blob) {
            (Some(public), Some(private)) => {
                Ok(WrappedPair { public_spki: public.into_inner(), wrapped_private: private.into_inner() })
            }
            _ => Err(AwsError::of(CALL)(std::io::Error::other("the answer lacks a key"))),
        }
    }

    /// Unwraps the private key of `kid`: PKCS#8 DER, to be kept in memory only.
    ///
    /// Needs `kms:Decrypt` under encryption context `{purpose: signing, kid}`. A key wrapped for another `kid` does not
    /// open.
    ///
    /// # Errors
    /// The call failed.
    pub async fn unwrap_private(&self, kid: &str, wrapped: &[u8]) -> Result<Vec<u8>, AwsError> {
        let call = self
            .client
            .decrypt()
            .key_id(&self.key_id)
            .ciphertext_blob(aws_sdk_kms::primitives::Blob::new(wrapped))
            .encryption_context("purpose", "signing")
            .encryption_context("kid", kid);
        let opened = call.send().await.map_err(AwsError::of("kms:Decrypt"))?.plaintext;
        opened
            .map(aws_sdk_kms::primitives::Blob::into_inner)
            .ok_or_else(|| AwsError::of("kms:Decrypt")(std::io::Error::other("the answer lacks the plaintext")))
    }
}

/// Finding two primes takes KMS seconds at times. Within the 60 s of `rotate-keys`.
fn patient() -> TimeoutConfig {
    let (one_try, call) = (Duration::from_secs(10), Duration::from_secs(20));
    TimeoutConfig::builder().operation_attempt_timeout(one_try).operation_timeout(call).build()
}

fn from_item(item: &Item, algorithm: Algorithm) -> Result<StoredKey, ItemError> {
    let kid = text(item, "kid")?;
    let public = PublicKey::from_spki(kid, bytes(item, "publicKey")?).ok();
    let moments = KeyMoments {
        published_at: number(item, "publishedAt")?,
        sign_from: number(item, "signFrom")?,
        sign_until: number(item, "signUntil")?,
        verify_until: number(item, "verifyUntil")?,
    };
    Ok(StoredKey {
        generation: number(item, "generation")?,
        moments,
        public: public.filter(|key| key.algorithm() == algorithm).ok_or_else(|| unreadable("publicKey"))?,
        wrapped_private: bytes(item, "wrappedPrivateKey")?.to_vec(),
        expires_at: item.contains_key("expiresAt").then(|| number(item, "expiresAt")).transpose()?,
    })
}
