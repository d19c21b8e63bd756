//! `KeysTable`, and the KMS key that wraps its private keys. Partition key `algorithm`, sort key `generation`.
//!
//! The table has the public half of each signing key in the clear and the private half wrapped: only `kms:Decrypt` with
//! encryption context `{purpose: signing, keyId: …}` opens it. Each item has a MAC ([`crate::mac`]). Items whose MAC
//! does not verify are neither published nor used, so a writer of the table cannot plant a key.

use std::collections::HashMap;
use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_kms::types::DataKeyPairSpec;
use futures_util::future::try_join_all;
use signpost_core::event::TenantId;
use signpost_core::fingerprint::fingerprint;
use signpost_core::signing::algorithm::Algorithm;
use signpost_core::signing::key_rotation::KeyMoments;
use signpost_core::signing::public_key::PublicKey;

use crate::aws::{AwsError, Item, ItemError, bytes, if_condition_held, n, number, optional, s, text, unreadable};
use crate::mac::MacKey;
use crate::runtime::logs::Chain;
use crate::runtime::metrics::{Metric, meter};

/// One signing key as it is in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// The number of the key; each new one adds 1. The first writer of a number succeeds.
    pub generation: u64,
    /// When the key is published, signs and rests.
    pub moments: KeyMoments,
    /// The public key, with the key's id.
    pub public: PublicKey,
    /// The public key as KMS returned it: DER `SubjectPublicKeyInfo`.
    pub public_spki: Vec<u8>,
    /// The private key in PKCS#8 DER, wrapped by KMS.
    pub wrapped_private: Vec<u8>,
    /// When the table's TTL removes it, in seconds since the Unix epoch; only superseded keys have it.
    pub expires_at: Option<u64>,
}

/// The signing keys of one algorithm.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyLine {
    /// The keys whose items are authentic, oldest generation first.
    pub keys: Vec<StoredKey>,
    /// The generations of all items, refused ones included. A new key cannot have one of them.
    pub taken: Vec<u64>,
}

/// The table of signing keys, with the key that authenticates its items.
#[derive(Clone, Debug)]
pub struct KeyTable {
    client: aws_sdk_dynamodb::Client,
    table: String,
    mac: MacKey,
}

/// A key pair from KMS. Nobody has seen its private half.
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
    pub fn new(client: aws_sdk_dynamodb::Client, table: String, mac: MacKey) -> Self {
        Self { client, table, mac }
    }

    /// Reads the signing keys of an algorithm as they are now (strongly consistent).
    ///
    /// An item that cannot be read, or whose MAC does not verify, is left out and logged at `error` as `key.refused`.
    /// The others are still used.
    ///
    /// Needs `dynamodb:Query`, and `kms:VerifyMac` once per item and environment. One call per MiB; there are rarely
    /// more than four keys.
    ///
    /// # Errors
    /// A call failed. Nothing is known of the items.
    pub async fn line(&self, algorithm: Algorithm) -> Result<KeyLine, AwsError> {
        let pages = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression("algorithm = :algorithm")
            .expression_attribute_values(":algorithm", s(algorithm.as_str()))
            .into_paginator()
            .items()
            .send();
        let items = pages.try_collect().await.map_err(AwsError::of("dynamodb:Query"))?;
        let taken = items.iter().filter_map(|item| number(item, "generation").ok()).collect();
        let keys = try_join_all(items.iter().map(|item| self.authentic(item, algorithm))).await?;
        Ok(KeyLine { keys: keys.into_iter().flatten().collect(), taken })
    }

    /// Reads an item. Returns `None` if `rotate-keys` did not write it.
    async fn authentic(&self, item: &Item, algorithm: Algorithm) -> Result<Option<StoredKey>, AwsError> {
        let refuse = |error: &ItemError| {
            let generation = number(item, "generation").ok();
            let error = Chain(error);
            tracing::error!(key.algorithm = %algorithm, key.generation = generation, %error, "key.refused");
            meter().add(Metric::RefusedKeys, 1);
        };
        let (key, mac) = match from_item(item, algorithm).and_then(|key| Ok((key, bytes(item, "mac")?))) {
            Ok(read) => read,
            Err(error) => {
                refuse(&error);
                return Ok(None);
            }
        };
        let message = authenticated(&key);
        if self.mac.verify(&message, mac).await? {
            return Ok(Some(key));
        }
        refuse(&unreadable("mac"));
        Ok(None)
    }

    /// Writes a new signing key with its MAC. Returns false if another rotation has already used its generation.
    ///
    /// Needs `kms:GenerateMac` and `dynamodb:PutItem`.
    ///
    /// # Errors
    /// A call failed.
    pub async fn add(&self, key: &StoredKey) -> Result<bool, AwsError> {
        let mac = self.mac.generate(&authenticated(key)).await?;
        let StoredKey { generation, moments, public, public_spki, wrapped_private, expires_at: _ } = key;
        let call = self
            .client
            .put_item()
            .table_name(&self.table)
            .item("algorithm", s(public.algorithm().as_str()))
            .item("generation", n(*generation))
            .item("keyId", s(public.id()))
            .item("publicKey", AttributeValue::B(Blob::new(&**public_spki)))
            .item("wrappedPrivateKey", AttributeValue::B(Blob::new(&**wrapped_private)))
            .item("publishedAt", n(moments.published_at))
            .item("signFrom", n(moments.sign_from))
            .item("signUntil", n(moments.sign_until))
            .item("verifyUntil", n(moments.verify_until))
            .item("mac", AttributeValue::B(Blob::new(mac)))
            .condition_expression("attribute_not_exists(algorithm)");
        Ok(if_condition_held(call.send().await, "dynamodb:PutItem")?.is_some())
    }

    /// Lets the table's TTL remove a superseded signing key after `expires_at` (seconds since the Unix epoch). Never
    /// call this for the last key, even if its successor is late.
    ///
    /// Needs `dynamodb:UpdateItem`.
    ///
    /// # Errors
    /// The call failed. Repeat it at the next rotation.
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

    /// Asks KMS for a key pair for `key_id`. The private key never leaves KMS unwrapped.
    ///
    /// Needs `kms:GenerateDataKeyPairWithoutPlaintext` with encryption context `{purpose: signing, keyId}`. In
    /// us-east-1, a call costs $0.0012 for RSA and $0.00001 for the other algorithms.
    ///
    /// # Errors
    /// The call failed.
    pub async fn generate_pair(&self, algorithm: Algorithm, key_id: &str) -> Result<WrappedPair, AwsError> {
        let spec = match algorithm {
            Algorithm::EdDSA => DataKeyPairSpec::EccNistEdwards25519,
            Algorithm::ES256 => DataKeyPairSpec::EccNistP256,
            Algorithm::RS256 => DataKeyPairSpec::Rsa2048,
        };
        self.generate(spec, signing(key_id), Some(patient())).await
    }

    /// Asks KMS for the P-256 key pair that seals the secrets of a tenant. The private key never leaves KMS unwrapped.
    ///
    /// Needs `kms:GenerateDataKeyPairWithoutPlaintext` with encryption context `{purpose: endpoint-secrets, tenant}`.
    /// A call costs $0.00001 in us-east-1.
    ///
    /// # Errors
    /// The call failed.
    pub async fn generate_sealing_pair(&self, tenant: &TenantId) -> Result<WrappedPair, AwsError> {
        self.generate(DataKeyPairSpec::EccNistP256, sealing(tenant), None).await
    }

    async fn generate(
        &self,
        spec: DataKeyPairSpec,
        context: EncryptionContext<'_>,
        timeouts: Option<TimeoutConfig>,
    ) -> Result<WrappedPair, AwsError> {
        const CALL: &str = "kms:GenerateDataKeyPairWithoutPlaintext";
        let mut settings = aws_sdk_kms::config::Builder::new();
        settings.set_timeout_config(timeouts);
        let call = self
            .client
            .generate_data_key_pair_without_plaintext()
            .key_id(&self.key_id)
            .key_pair_spec(spec)
            .set_encryption_context(Some(owned(context)))
            .customize()
            .config_override(settings);
        let pair = call.send().await.map_err(AwsError::of(CALL))?;
        match (pair.public_key, pair.private_key_ciphertext_blob) {
            (Some(public), Some(private)) => {
                Ok(WrappedPair { public_spki: public.into_inner(), wrapped_private: private.into_inner() })
            }
            _ => Err(AwsError::of(CALL)(std::io::Error::other("the answer of KMS lacks a key"))),
        }
    }

    /// Unwraps the private key of `key_id`: PKCS#8 DER. Keep it in memory only.
    ///
    /// Needs `kms:Decrypt` with encryption context `{purpose: signing, keyId}`. A key that was wrapped for another id
    /// does not open.
    ///
    /// # Errors
    /// The call failed.
    pub async fn unwrap_private(&self, key_id: &str, wrapped: &[u8]) -> Result<Vec<u8>, AwsError> {
        self.unwrap(signing(key_id), wrapped).await
    }

    /// Unwraps the private key that opens the secrets of a tenant: PKCS#8 DER. Keep it in memory only.
    ///
    /// Needs `kms:Decrypt` with encryption context `{purpose: endpoint-secrets, tenant}`. A key that was wrapped for
    /// another tenant does not open.
    ///
    /// # Errors
    /// The call failed.
    pub async fn unwrap_sealing(&self, tenant: &TenantId, wrapped: &[u8]) -> Result<Vec<u8>, AwsError> {
        self.unwrap(sealing(tenant), wrapped).await
    }

    async fn unwrap(&self, context: EncryptionContext<'_>, wrapped: &[u8]) -> Result<Vec<u8>, AwsError> {
        const CALL: &str = "kms:Decrypt";
        let call = self
            .client
            .decrypt()
            .key_id(&self.key_id)
            .ciphertext_blob(Blob::new(wrapped))
            .set_encryption_context(Some(owned(context)));
        let opened = call.send().await.map_err(AwsError::of(CALL))?.plaintext.map(Blob::into_inner);
        opened.ok_or_else(|| AwsError::of(CALL)(std::io::Error::other("the answer of KMS lacks the plaintext")))
    }
}

/// The encryption context of a wrapped private key. IAM grants each function one purpose, and KMS unwraps a key only
/// with the context under which it was wrapped.
type EncryptionContext<'a> = [(&'static str, &'a str); 2];

fn signing(key_id: &str) -> EncryptionContext<'_> {
    [("purpose", "signing"), ("keyId", key_id)]
}

fn sealing(tenant: &TenantId) -> EncryptionContext<'_> {
    [("purpose", "endpoint-secrets"), ("tenant", tenant.as_str())]
}

fn owned(context: EncryptionContext<'_>) -> HashMap<String, String> {
    HashMap::from(context.map(|(name, value)| (name.to_owned(), value.to_owned())))
}

/// Returns longer timeouts, because KMS may need seconds to find two primes. They fit into the 60 s of `rotate-keys`.
fn patient() -> TimeoutConfig {
    let (one_try, call) = (Duration::from_secs(10), Duration::from_secs(20));
    TimeoutConfig::builder().operation_attempt_timeout(one_try).operation_timeout(call).build()
}

fn from_item(item: &Item, algorithm: Algorithm) -> Result<StoredKey, ItemError> {
    let spki = bytes(item, "publicKey")?;
    let public = PublicKey::from_spki(text(item, "keyId")?, spki).ok();
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
        public_spki: spki.to_vec(),
        wrapped_private: bytes(item, "wrappedPrivateKey")?.to_vec(),
        expires_at: optional(item, "expiresAt", number)?,
    })
}

/// Returns the input of an item's MAC: a hash over all of the item except `expiresAt`. That is written later, and its
/// only effect is that DynamoDB removes the item.
fn authenticated(key: &StoredKey) -> [u8; 32] {
    let KeyMoments { published_at, sign_from, sign_until, verify_until } = key.moments;
    let numbers = [key.generation, published_at, sign_from, sign_until, verify_until].map(|number| number.to_string());
    let texts = ["signpost-signing-key", key.public.algorithm().as_str(), key.public.id()];
    let texts = texts.into_iter().chain(numbers.iter().map(|text| &**text)).map(str::as_bytes);
    fingerprint(texts.chain([&*key.public_spki, &*key.wrapped_private]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> StoredKey {
        let spki = [&[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00][..], &[7; 32]].concat();
        StoredKey {
            generation: 3,
            moments: KeyMoments { published_at: 1, sign_from: 2, sign_until: 3, verify_until: 4 },
            public: PublicKey::from_spki("k", &spki).unwrap(),
            public_spki: spki,
            wrapped_private: vec![1],
            expires_at: None,
        }
    }

    #[test]
    fn a_mac_covers_everything_that_matters_of_an_item() {
        type Change = fn(&mut StoredKey);
        let alterations: [(Change, &str); 8] = [
            (|key| key.generation = 4, "the generation"),
            (|key| key.moments.published_at = 0, "publishedAt"),
            (|key| key.moments.sign_from = 0, "signFrom"),
            (|key| key.moments.sign_until = 9, "signUntil"),
            (|key| key.moments.verify_until = 9, "verifyUntil"),
            (|key| key.public = PublicKey::from_spki("l", &key.public_spki).unwrap(), "the id"),
            (|key| *key.public_spki.last_mut().unwrap() = 8, "the public key"),
            (|key| key.wrapped_private = vec![2], "the private key"),
        ];
        for (alter, what) in alterations {
            let mut changed = key();
            alter(&mut changed);
            assert_ne!(authenticated(&changed), authenticated(&key()), "{what}");
        }
        let expiring = StoredKey { expires_at: Some(9), ..key() };
        assert_eq!(authenticated(&expiring), authenticated(&key()), "expiresAt is written later");
    }
}
