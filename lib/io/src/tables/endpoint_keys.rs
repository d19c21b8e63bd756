//! `EndpointKeysTable`: the public keys of endpoints' `v1a` signatures. Partition key `tenant`, sort key `key`. The
//! table also has the key pairs that seal secrets ([`crate::tables::sealing_keys`]).
//!
//! `manage` writes an item before the key signs for the first time, with a MAC ([`crate::mac`]). The items are small
//! and separate from the endpoints' settings, because anybody may fetch a tenant's keys.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::StreamExt as _;
use futures_util::stream;
use signpost_core::endpoint::EndpointId;
use signpost_core::event::TenantId;
use signpost_core::fingerprint::fingerprint;
use signpost_core::signing::standard_webhooks::WebhookPublicKey;

use crate::aws::{AwsError, Item, bytes, if_condition_held, n, number, s, text};
use crate::mac::MacKey;
use crate::runtime::clock::unix_now;
use crate::runtime::metrics::{Metric, meter};

/// The table of endpoints' public keys, with the key that authenticates its items.
#[derive(Debug)]
pub struct EndpointKeyTable {
    client: Client,
    table: String,
    mac: MacKey,
}

/// The public key of an endpoint that signs `v1a`, or did so recently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointKey {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// The key.
    pub public_key: WebhookPublicKey,
    /// When it stops being published, in seconds since the Unix epoch; `None` while it signs.
    pub expires_at: Option<u64>,
}

/// How long an endpoint's public key stays published after its last signature, in seconds.
pub const KEYS_OUTLIVE_SECONDS: u64 = 3_600;
/// How many items are verified at the same time.
const VERIFIED_AT_ONCE: usize = 20;

impl EndpointKeyTable {
    /// Adapts `client` to the table called `table`.
    #[must_use]
    pub fn new(client: Client, table: String, mac: MacKey) -> Self {
        Self { client, table, mac }
    }

    /// Publishes a key until `expires_at` (seconds since the Unix epoch), or until [`Self::expire`] ends it. Repeating
    /// the call changes only the end.
    ///
    /// Needs `kms:GenerateMac` and `dynamodb:PutItem`.
    ///
    /// # Errors
    /// A call failed. The key must not sign yet.
    pub async fn publish(&self, tenant: &TenantId, key: &EndpointKey) -> Result<(), AwsError> {
        let EndpointKey { endpoint, public_key, expires_at } = key;
        let mac = self.mac.generate(&authenticated(tenant, endpoint, public_key)).await?;
        let mut item = primary_key(tenant, &sort_key(endpoint, public_key));
        item.insert("mac".into(), AttributeValue::B(Blob::new(mac)));
        item.extend(expires_at.map(|at| ("expiresAt".into(), n(at))));
        let call = self.client.put_item().table_name(&self.table).set_item(Some(item));
        call.send().await.map(drop).map_err(AwsError::of("dynamodb:PutItem"))
    }

    /// Ends the publication of an endpoint's keys at `expires_at`, in seconds since the Unix epoch, unless they end
    /// earlier. DynamoDB removes an item some time after its end.
    ///
    /// Needs `dynamodb:Query` and `dynamodb:UpdateItem`.
    ///
    /// # Errors
    /// A call failed. Repeat it to end the other keys.
    pub async fn expire(&self, tenant: &TenantId, endpoint: &EndpointId, expires_at: u64) -> Result<(), AwsError> {
        self.expire_but(tenant, endpoint, None, expires_at).await
    }

    /// Does the same for all keys of an endpoint except `kept`.
    ///
    /// # Errors
    /// As [`Self::expire`].
    pub async fn expire_but(
        &self,
        tenant: &TenantId,
        endpoint: &EndpointId,
        kept: Option<&WebhookPublicKey>,
        expires_at: u64,
    ) -> Result<(), AwsError> {
        let kept = kept.map(|key| sort_key(endpoint, key));
        for item in self.items(tenant, Some(endpoint)).await? {
            let Ok(key) = text(&item, "key") else { continue };
            if kept.as_deref() == Some(key) {
                continue;
            }
            let call = self
                .client
                .update_item()
                .table_name(&self.table)
                .set_key(Some(primary_key(tenant, key)))
                .update_expression("SET expiresAt = :at")
                .condition_expression(
                    "attribute_exists(tenant) AND (attribute_not_exists(expiresAt) OR expiresAt > :at)",
                )
                .expression_attribute_values(":at", n(expires_at));
            if_condition_held(call.send().await, "dynamodb:UpdateItem")?;
        }
        Ok(())
    }

    /// Reads the keys that a tenant's endpoints sign with, or did so recently (strongly consistent).
    ///
    /// An item that cannot be read, or whose MAC does not verify, is left out and logged at `error` as `key.refused`.
    /// The others are still published.
    ///
    /// Needs `dynamodb:Query`, and `kms:VerifyMac` once per item and environment.
    ///
    /// # Errors
    /// A call failed.
    pub async fn of_tenant(&self, tenant: &TenantId) -> Result<Vec<EndpointKey>, AwsError> {
        let (items, now) = (self.items(tenant, None).await?, unix_now().as_secs());
        let mut keys = Vec::with_capacity(items.len());
        let mut read = stream::iter(items)
            .map(|item| async move { self.read(tenant, &item, now).await })
            .buffered(VERIFIED_AT_ONCE);
        while let Some(key) = read.next().await {
            keys.extend(key?);
        }
        Ok(keys)
    }

    async fn items(&self, tenant: &TenantId, endpoint: Option<&EndpointId>) -> Result<Vec<Item>, AwsError> {
        let call = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .expression_attribute_values(":tenant", s(tenant.as_str()));
        // The table has another item of the tenant (`crate::tables::sealing_keys`), whose sort key has no such prefix.
        let prefix = endpoint.map_or_else(|| "ep_".to_owned(), |endpoint| format!("{endpoint}#"));
        let call = call
            .key_condition_expression("tenant = :tenant AND begins_with(#key, :prefix)")
            .expression_attribute_names("#key", "key")
            .expression_attribute_values(":prefix", s(prefix));
        call.into_paginator().items().send().try_collect().await.map_err(AwsError::of("dynamodb:Query"))
    }

    async fn read(&self, tenant: &TenantId, item: &Item, now: u64) -> Result<Option<EndpointKey>, AwsError> {
        let expires_at: Option<u64> = number(item, "expiresAt").ok();
        if expires_at.is_some_and(|at| at <= now) {
            return Ok(None);
        }
        let name = text(item, "key").unwrap_or_default();
        let parts = name.split_once('#').and_then(|(endpoint, key)| {
            Some((EndpointId::parse(endpoint)?, WebhookPublicKey::parse(key)?, bytes(item, "mac").ok()?))
        });
        if let Some((endpoint, public_key, mac)) = parts
            && self.mac.verify(&authenticated(tenant, &endpoint, &public_key), mac).await?
        {
            return Ok(Some(EndpointKey { endpoint, public_key, expires_at }));
        }
        tracing::error!(tenant.id = %tenant, key.name = name, "key.refused");
        meter().add(Metric::RefusedKeys, 1);
        Ok(None)
    }
}

/// Returns the input of an item's MAC: the tenant, the endpoint and the key.
fn authenticated(tenant: &TenantId, endpoint: &EndpointId, key: &WebhookPublicKey) -> [u8; 32] {
    fingerprint(["signpost-endpoint-key", tenant.as_str(), endpoint.as_str(), &key.to_string()])
}

/// Returns `<endpoint>#<whpk_…>`. An endpoint's id has no `#`.
fn sort_key(endpoint: &EndpointId, key: &WebhookPublicKey) -> String {
    format!("{endpoint}#{key}")
}

fn primary_key(tenant: &TenantId, key: &str) -> Item {
    Item::from([("tenant".into(), s(tenant.as_str())), ("key".into(), s(key))])
}
