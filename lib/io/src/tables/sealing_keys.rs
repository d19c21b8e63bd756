//! The key pairs that seal the secrets of endpoints: one item per tenant in `EndpointKeysTable`, sort key `secrets`.
//!
//! `manage` writes the item, with a MAC ([`crate::mac`]), before it seals the first secret of the tenant. The item is
//! never changed. The private half is wrapped: only `kms:Decrypt` with encryption context `{purpose: endpoint-secrets,
//! tenant}` opens it.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use signpost_core::event::TenantId;
use signpost_core::fingerprint::fingerprint;

use crate::aws::{AwsError, Item, bytes, if_condition_held, s, unreadable};
use crate::mac::MacKey;
use crate::runtime::metrics::{Metric, meter};
use crate::tables::signing_keys::WrappedPair;

/// The table of the tenants' key pairs.
#[derive(Clone, Debug)]
pub struct SealingKeys {
    client: Client,
    table: String,
}

/// The sort key. No endpoint's id, with which the other sort keys of the table start, is a prefix of it.
pub(crate) const SORT_KEY: &str = "secrets";

impl SealingKeys {
    /// Adapts `client` to the table called `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Reads the key pair of a tenant (strongly consistent), but does not verify its MAC; `None` if there is none.
    ///
    /// To open secrets, no MAC is needed: KMS unwraps only private keys that it wrapped for this tenant.
    ///
    /// Needs `dynamodb:GetItem`. One call.
    ///
    /// # Errors
    /// The call failed, or the item cannot be read.
    pub async fn get(&self, tenant: &TenantId) -> Result<Option<WrappedPair>, AwsError> {
        Ok(self.read(tenant).await?.map(|(pair, _)| pair))
    }

    /// Reads the key pair of a tenant and verifies its MAC, so that no secret is sealed with a public key that somebody
    /// planted. Logs an item whose MAC does not verify at `error` as `key.refused`.
    ///
    /// Needs `dynamodb:GetItem`, and `kms:VerifyMac` once per tenant and environment.
    ///
    /// # Errors
    /// A call failed, or the item is not authentic.
    pub async fn get_authentic(&self, tenant: &TenantId, mac: &MacKey) -> Result<Option<WrappedPair>, AwsError> {
        let Some((pair, found)) = self.read(tenant).await? else { return Ok(None) };
        if mac.verify(&authenticated(tenant, &pair), &found).await? {
            return Ok(Some(pair));
        }
        tracing::error!(tenant.id = %tenant, key.name = SORT_KEY, "key.refused");
        meter().add(Metric::RefusedKeys, 1);
        Err(AwsError::corrupt(ITEM)(unreadable("mac")))
    }

    /// Writes the key pair of a tenant with its MAC. Returns false if the tenant has one already.
    ///
    /// Needs `kms:GenerateMac` and `dynamodb:PutItem`.
    ///
    /// # Errors
    /// A call failed. Do not seal with this pair.
    pub async fn add(&self, tenant: &TenantId, pair: &WrappedPair, mac: &MacKey) -> Result<bool, AwsError> {
        let made = mac.generate(&authenticated(tenant, pair)).await?;
        let b = |bytes: &[u8]| AttributeValue::B(Blob::new(bytes));
        let call = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(primary_key(tenant)))
            .item("publicKey", b(&pair.public_spki))
            .item("wrappedPrivateKey", b(&pair.wrapped_private))
            .item("mac", b(&made))
            .condition_expression("attribute_not_exists(tenant)");
        Ok(if_condition_held(call.send().await, "dynamodb:PutItem")?.is_some())
    }

    async fn read(&self, tenant: &TenantId) -> Result<Option<(WrappedPair, Vec<u8>)>, AwsError> {
        let call = self.client.get_item().table_name(&self.table).set_key(Some(primary_key(tenant)));
        let answer = call.consistent_read(true).send().await.map_err(AwsError::of("dynamodb:GetItem"))?;
        let Some(item) = answer.item else { return Ok(None) };
        let part = |name| bytes(&item, name).map(<[u8]>::to_vec).map_err(AwsError::corrupt(ITEM));
        let pair = WrappedPair { public_spki: part("publicKey")?, wrapped_private: part("wrappedPrivateKey")? };
        Ok(Some((pair, part("mac")?)))
    }
}

const ITEM: &str = "key pair of a tenant's secrets";

/// Returns the input of an item's MAC: the tenant and both halves.
fn authenticated(tenant: &TenantId, pair: &WrappedPair) -> [u8; 32] {
    let texts = ["signpost-sealing-key", tenant.as_str()].map(str::as_bytes);
    fingerprint(texts.into_iter().chain([&*pair.public_spki, &*pair.wrapped_private]))
}

fn primary_key(tenant: &TenantId) -> Item {
    Item::from([("tenant".into(), s(tenant.as_str())), ("key".into(), s(SORT_KEY))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_covers_the_tenant_and_both_halves() {
        let pair = |public: u8, private: u8| WrappedPair { public_spki: vec![public], wrapped_private: vec![private] };
        let [acme, globex] = ["acme", "globex"].map(|name| TenantId::parse(name).unwrap());
        let original = authenticated(&acme, &pair(1, 2));
        for (tenant, pair, what) in [
            (&globex, pair(1, 2), "the tenant"),
            (&acme, pair(3, 2), "the public half"),
            (&acme, pair(1, 3), "the private half"),
        ] {
            assert_ne!(authenticated(tenant, &pair), original, "{what}");
        }
    }
}
