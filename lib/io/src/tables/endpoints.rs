//! `EndpointsTable`: the endpoints of each tenant. Partition key `tenant`, sort key `endpoint`. Beside them are their
//! subscriptions ([`super::subscriptions`]).

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, CancellationReason, Delete, Put, TransactWriteItem};
use signpost_core::endpoint::auth::origin;
use signpost_core::endpoint::quota::QuotaError;
use signpost_core::endpoint::signing_secrets::SecretVersion;
use signpost_core::endpoint::{DisabledBecause, Endpoint, EndpointId};
use signpost_core::event::TenantId;
use signpost_core::input::fault::Fault;
use signpost_core::signing::standard_webhooks::WebhookPublicKey;
use signpost_engine::ports;
use signpost_engine::ports::endpoints::{SealedKeys, StoredEndpoint, Written};

use crate::aws::batch_get::{Projection, get_all};
use crate::aws::{
    AwsError, Item, ItemError, bytes, check_form, if_condition_held, n, number, optional, s, text, unreadable,
};
use crate::runtime::clock::unix_now;
use crate::runtime::logs::Chain;
use crate::tables::subscriptions::{StoredSubscription, Subscriptions, TRANSACTION};

/// The table of endpoints.
#[derive(Clone, Debug)]
pub struct Endpoints {
    client: Client,
    table: String,
    subscriptions: Subscriptions,
}

/// Some of a tenant's endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The endpoints, ordered by id.
    pub endpoints: Vec<(EndpointId, StoredEndpoint)>,
    /// Where the next page starts; `None` after the last page.
    pub next: Option<EndpointId>,
}

impl Endpoints {
    /// Adapts `client` to the table called `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { subscriptions: Subscriptions::new(client.clone(), table.clone()), client, table }
    }

    /// Reads up to `limit` endpoints of a tenant, ordered by id, starting after `after`. Unreadable ones are left out.
    ///
    /// Needs `dynamodb:Query`. One call.
    ///
    /// # Errors
    /// The call failed.
    pub async fn page(&self, tenant: &TenantId, after: Option<&EndpointId>, limit: i32) -> Result<Page, AwsError> {
        let call = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression("tenant = :tenant AND begins_with(endpoint, :prefix)")
            .expression_attribute_values(":tenant", s(tenant.as_str()))
            .expression_attribute_values(":prefix", s(EndpointId::PREFIX))
            .set_exclusive_start_key(after.map(|id| key(tenant, id)))
            .limit(limit);
        let page = call.send().await.map_err(AwsError::of("dynamodb:Query"))?;
        let last = page.last_evaluated_key.as_ref().and_then(|key| text(key, "endpoint").ok());
        let items = page.items.unwrap_or_default();
        let read = items.iter().filter_map(|item| identified(tenant, item, stored_of));
        Ok(Page {
            endpoints: read.filter_map(|(id, stored)| Some((id, stored?))).collect(),
            next: last.and_then(EndpointId::parse),
        })
    }

    /// Reads why endpoints are disabled, in the order of `ids`; `None` for one that is enabled or was removed.
    ///
    /// Needs `dynamodb:BatchGetItem`, and `dynamodb:GetItem` for a single one. One call for up to 100 of them. Strongly
    /// consistent.
    ///
    /// # Errors
    /// A call failed, or an item cannot be read.
    pub async fn disabled(
        &self,
        tenant: &TenantId,
        ids: &[EndpointId],
    ) -> Result<Vec<Option<DisabledBecause>>, AwsError> {
        let keys = ids.iter().map(|id| key(tenant, id)).collect();
        let projection = Projection {
            expression: "tenant, endpoint, #disabled",
            names: HashMap::from([("#disabled".into(), "disabled".into())]),
        };
        let read = |item: Option<Item>| Ok(item.as_ref().map(disabled_of).transpose()?.flatten());
        let items = get_all(&self.client, &self.table, keys, Some(&projection)).await;
        items.into_iter().map(|item| item.and_then(read)).collect()
    }

    /// Writes an endpoint: a new one if `before` is `None`, or the successor of version `before`. Its subscription and
    /// the tenant's head change in the same transaction, if its filters or its bytes do.
    ///
    /// Needs `dynamodb:PutItem`, and `dynamodb:UpdateItem` for the head; a change needs `dynamodb:GetItem`. One call of
    /// each, or more if others change endpoints of the tenant meanwhile.
    ///
    /// # Errors
    /// A call failed, or the subscription cannot be read.
    pub async fn put(
        &self,
        tenant: &TenantId,
        id: &EndpointId,
        stored: &StoredEndpoint,
        before: Option<u64>,
    ) -> Result<PutResult, AwsError> {
        let after = StoredSubscription::of(stored)?;
        let mut item = item_of(stored)?;
        item.extend(key(tenant, id));
        let put = Put::builder().table_name(&self.table).set_item(Some(item));
        let put = match before {
            None => put.condition_expression("attribute_not_exists(endpoint)"),
            Some(before) => {
                put.condition_expression("version = :before").expression_attribute_values(":before", n(before))
            }
        };
        let put = TransactWriteItem::builder().put(put.build().map_err(AwsError::of(TRANSACTION))?).build();
        loop {
            // Each change of the subscription raises the version, which is the condition of the write.
            let subscription = match before {
                None => None,
                Some(_) => self.subscriptions.get(tenant, id).await?,
            };
            let mut writes = vec![put.clone()];
            if subscription.as_ref() != Some(&after) {
                writes.extend(self.subscriptions.writes(tenant, id, subscription.as_ref(), Some(&after))?);
            }
            match Box::pin(transact(&self.client, writes)).await? {
                Transacted::Yes => return Ok(PutResult::Written),
                Transacted::Refused(0) => return Ok(PutResult::Overtaken),
                Transacted::Refused(_) => {}
            }
            let usage = self.subscriptions.usage(tenant).await?;
            let checked = match subscription {
                None => usage.check_new(after.settings_bytes),
                Some(before) => usage.check_larger(after.settings_bytes.saturating_sub(before.settings_bytes)),
            };
            if let Err(full) = checked {
                return Ok(PutResult::Full(full));
            } // Otherwise another writer has made room since. Try again.
        }
    }

    /// Removes an endpoint; if `before` is given, only that version of it. Its subscription goes in the same transaction.
    ///
    /// Needs `dynamodb:DeleteItem`, `dynamodb:GetItem`, and `dynamodb:UpdateItem` for the head. One call of each, or more
    /// if others change endpoints of the tenant meanwhile.
    ///
    /// # Errors
    /// A call failed, or the subscription cannot be read.
    pub async fn delete(&self, tenant: &TenantId, id: &EndpointId, before: Option<u64>) -> Result<Written, AwsError> {
        let delete = Delete::builder().table_name(&self.table).set_key(Some(key(tenant, id)));
        let delete = match before {
            None => delete.condition_expression("attribute_exists(endpoint)"),
            Some(before) => {
                delete.condition_expression("version = :before").expression_attribute_values(":before", n(before))
            }
        };
        let delete = TransactWriteItem::builder().delete(delete.build().map_err(AwsError::of(TRANSACTION))?).build();
        loop {
            let mut writes = vec![delete.clone()];
            if let Some(subscription) = self.subscriptions.get(tenant, id).await? {
                writes.extend(self.subscriptions.writes(tenant, id, Some(&subscription), None)?);
            }
            match Box::pin(transact(&self.client, writes)).await? {
                Transacted::Yes => return Ok(Written::Yes),
                Transacted::Refused(0) => return Ok(Written::Overtaken),
                Transacted::Refused(_) => {} // Another writer has changed the subscription. Read it again.
            }
        }
    }
}

/// Makes all of `writes`, or none. Repeats them if another transaction is changing one of the items.
pub(crate) async fn transact(client: &Client, writes: Vec<TransactWriteItem>) -> Result<Transacted, AwsError> {
    let mut round = 1;
    loop {
        let call = client.transact_write_items().set_transact_items(Some(writes.clone()));
        let Err(refused) = call.send().await else { return Ok(Transacted::Yes) };
        let Some(TransactWriteItemsError::TransactionCanceledException(canceled)) = refused.as_service_error() else {
            return Err(AwsError::of(TRANSACTION)(refused));
        };
        let codes: Vec<_> = canceled.cancellation_reasons().iter().filter_map(CancellationReason::code).collect();
        if let Some(index) = codes.iter().position(|code| *code == "ConditionalCheckFailed") {
            return Ok(Transacted::Refused(index));
        }
        if round == ROUNDS || !codes.contains(&"TransactionConflict") {
            return Err(AwsError::of(TRANSACTION)(refused));
        }
        // At random, so that two writers do not meet again.
        let most_ms = u64::from(LONGEST_PAUSE_MS) >> (ROUNDS - round);
        tokio::time::sleep(Duration::from_millis(fastrand::u64(1..=most_ms.max(1)))).await;
        round += 1;
    }
}

/// The result of writing an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutResult {
    /// It was written.
    Written,
    /// It was not written, because the endpoint is not, or not any more, as the condition requires.
    Overtaken,
    /// It was not written, because the tenant has no room for it.
    Full(QuotaError),
}

/// The result of a transaction.
pub(crate) enum Transacted {
    /// All writes were made.
    Yes,
    /// The condition of this write, counted from 0, did not hold. No write was made.
    Refused(usize),
}

/// How often a transaction is tried in all if it meets others, and the longest pause before the last time.
const ROUNDS: u32 = 8;
const LONGEST_PAUSE_MS: u32 = 800;

impl ports::endpoints::Endpoints for Endpoints {
    type Error = AwsError;

    /// Needs `dynamodb:GetItem`.
    async fn get(&self, tenant: &TenantId, id: &EndpointId) -> Result<Option<StoredEndpoint>, AwsError> {
        let call = self.client.get_item().table_name(&self.table).set_key(Some(key(tenant, id))).consistent_read(true);
        let item = call.send().await.map_err(AwsError::of("dynamodb:GetItem"))?.item;
        item.as_ref().map(stored_of).transpose()
    }

    /// Needs `dynamodb:GetItem`.
    async fn exists(&self, tenant: &TenantId, id: &EndpointId) -> Result<bool, AwsError> {
        let call = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key(tenant, id)))
            .projection_expression("endpoint")
            .consistent_read(true);
        Ok(call.send().await.map_err(AwsError::of("dynamodb:GetItem"))?.item.is_some())
    }

    /// Needs `dynamodb:GetItem`.
    async fn erased_until(&self, tenant: &TenantId) -> Result<u64, AwsError> {
        self.subscriptions.erased_until(tenant).await
    }

    /// Needs `dynamodb:UpdateItem`.
    async fn disable(&self, tenant: &TenantId, id: &EndpointId, because: DisabledBecause) -> Result<Written, AwsError> {
        let call = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(tenant, id)))
            .update_expression("SET disabled = :because, updatedAt = :now ADD version :one")
            .condition_expression("attribute_exists(endpoint) AND attribute_not_exists(disabled)")
            .expression_attribute_values(":because", s(because.as_str()))
            .expression_attribute_values(":now", n(unix_now().as_secs()))
            .expression_attribute_values(":one", n(1));
        if_condition_held(call.send().await, "dynamodb:UpdateItem").map(|answer| Written::of(answer.is_some()))
    }

    /// Needs `dynamodb:GetItem` and `dynamodb:UpdateItem`. One call of each, or more if others change the endpoint
    /// meanwhile.
    async fn verify(&self, tenant: &TenantId, id: &EndpointId, proved: &str) -> Result<Written, AwsError> {
        loop {
            let Some(stored) = self.get(tenant, id).await? else { return Ok(Written::Overtaken) };
            let is_asked = stored.disabled == Some(DisabledBecause::Unverified);
            if !is_asked || origin(&stored.settings.url) != proved {
                return Ok(Written::Overtaken);
            }
            let call = self
                .client
                .update_item()
                .table_name(&self.table)
                .set_key(Some(key(tenant, id)))
                .update_expression("SET verifiedOrigin = :origin, updatedAt = :now REMOVE disabled ADD version :one")
                .condition_expression("version = :before")
                .expression_attribute_values(":origin", s(proved))
                .expression_attribute_values(":now", n(unix_now().as_secs()))
                .expression_attribute_values(":one", n(1))
                .expression_attribute_values(":before", n(stored.version));
            // Another writer that was faster has changed the version. Read and judge the new one.
            if if_condition_held(call.send().await, "dynamodb:UpdateItem")?.is_some() {
                return Ok(Written::Yes);
            }
        }
    }
}

/// Returns the endpoint's id and the result of `read`; logs an unreadable item.
fn identified<T>(
    tenant: &TenantId,
    item: &Item,
    read: fn(&Item) -> Result<T, AwsError>,
) -> Option<(EndpointId, Option<T>)> {
    let Some(id) = text(item, "endpoint").ok().and_then(EndpointId::parse) else {
        tracing::error!(tenant.id = %tenant, "endpoint.invalid_id");
        return None;
    };
    let read = read(item);
    if let Err(error) = &read {
        let error = Chain(error);
        tracing::error!(tenant.id = %tenant, endpoint.id = %id, %error, "endpoint.unreadable");
    }
    Some((id, read.ok()))
}

fn key(tenant: &TenantId, id: &EndpointId) -> HashMap<String, AttributeValue> {
    HashMap::from([("tenant".into(), s(tenant.as_str())), ("endpoint".into(), s(id.as_str()))])
}

const ITEM: &str = "endpoint";

/// Settings that can be parsed, but are not valid.
#[derive(Debug, thiserror::Error)]
#[error("settings have faults: {0:?}")]
struct FaultySettings(Vec<Fault>);

fn settings_of(item: &Item) -> Result<Endpoint, AwsError> {
    let settings = text(item, "settings").map_err(AwsError::corrupt(ITEM))?;
    let endpoint: Endpoint = serde_json::from_str(settings).map_err(AwsError::corrupt(ITEM))?;
    endpoint.check().map_err(|faults| AwsError::corrupt(ITEM)(FaultySettings(faults)))?;
    Ok(endpoint)
}

fn stored_of(item: &Item) -> Result<StoredEndpoint, AwsError> {
    check_form(item, ITEM)?;
    let settings = settings_of(item)?;
    let read = || -> Result<StoredEndpoint, ItemError> {
        let secrets = item.get("signingSecrets").and_then(|value| value.as_l().ok());
        let secrets = secrets.ok_or_else(|| unreadable("signingSecrets"))?.iter().map(|secret| {
            let secret = secret.as_m().map_err(|_| unreadable("signingSecrets"))?;
            let public_key = WebhookPublicKey::parse(text(secret, "publicKey")?);
            Ok(SecretVersion {
                secret: SealedKeys {
                    sealed: bytes(secret, "sealed")?.to_vec(),
                    public_key: public_key.ok_or_else(|| unreadable("publicKey"))?,
                },
                created_at: number(secret, "createdAt")?,
                expires_at: optional(secret, "expiresAt", number)?,
            })
        });
        Ok(StoredEndpoint {
            settings,
            verified_origin: item
                .contains_key("verifiedOrigin")
                .then(|| text(item, "verifiedOrigin").map(str::to_owned))
                .transpose()?,
            disabled: disabled_in(item)?,
            version: number(item, "version")?,
            created_at: number(item, "createdAt")?,
            updated_at: number(item, "updatedAt")?,
            auth_secret: item
                .contains_key("authSecret")
                .then(|| bytes(item, "authSecret").map(<[u8]>::to_vec))
                .transpose()?,
            trusted: item.contains_key("trusted").then(|| text(item, "trusted").map(str::to_owned)).transpose()?,
            signing_secrets: secrets.collect::<Result<_, ItemError>>()?,
        })
    };
    read().map_err(AwsError::corrupt(ITEM))
}

fn disabled_of(item: &Item) -> Result<Option<DisabledBecause>, AwsError> {
    disabled_in(item).map_err(AwsError::corrupt(ITEM))
}

fn disabled_in(item: &Item) -> Result<Option<DisabledBecause>, ItemError> {
    let disabled = optional(item, "disabled", text)?;
    disabled.map(|text| DisabledBecause::parse(text).ok_or_else(|| unreadable("disabled"))).transpose()
}

fn item_of(stored: &StoredEndpoint) -> Result<Item, AwsError> {
    let settings = serde_json::to_string(&stored.settings).map_err(AwsError::of("dynamodb:PutItem"))?;
    let b = |bytes: &[u8]| AttributeValue::B(Blob::new(bytes));
    let secret = |secret: &SecretVersion<SealedKeys>| {
        let mut item = Item::from([
            ("sealed".into(), b(&secret.secret.sealed)),
            ("publicKey".into(), s(secret.secret.public_key.to_string())),
            ("createdAt".into(), n(secret.created_at)),
        ]);
        item.extend(secret.expires_at.map(|at| ("expiresAt".into(), n(at))));
        AttributeValue::M(item)
    };
    let mut item = Item::from([
        ("settings".into(), s(settings)),
        ("version".into(), n(stored.version)),
        ("createdAt".into(), n(stored.created_at)),
        ("updatedAt".into(), n(stored.updated_at)),
        ("signingSecrets".into(), AttributeValue::L(stored.signing_secrets.iter().map(secret).collect())),
    ]);
    item.extend(stored.auth_secret.as_ref().map(|sealed| ("authSecret".into(), b(sealed))));
    item.extend(stored.disabled.map(|because| ("disabled".into(), s(because.as_str()))));
    item.extend(stored.verified_origin.as_ref().map(|origin| ("verifiedOrigin".into(), s(origin))));
    item.extend(stored.trusted.as_ref().map(|pem| ("trusted".into(), s(pem))));
    Ok(item)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(number: u8) -> SealedKeys {
        SealedKeys { sealed: vec![number], public_key: WebhookPublicKey::new([number; 32]) }
    }

    #[test]
    fn endpoints_read_back() {
        let full = StoredEndpoint {
            settings: Endpoint::new("https://a.example"),
            verified_origin: Some("https://a.example".into()),
            disabled: Some(DisabledBecause::Gone),
            version: 7,
            created_at: 1,
            updated_at: 2,
            auth_secret: Some(vec![1, 2]),
            trusted: Some("PEM".into()),
            signing_secrets: vec![
                SecretVersion { secret: keys(3), created_at: 1, expires_at: Some(9) },
                SecretVersion::new(keys(4), 2),
            ],
        };
        let bare = StoredEndpoint::new(Endpoint::new("https://a.example"), 1);
        for stored in [full, bare] {
            assert_eq!(stored_of(&item_of(&stored).unwrap()).unwrap(), stored);
        }
    }

    #[test]
    fn invalid_settings_are_unreadable() {
        let mut item = item_of(&StoredEndpoint::new(Endpoint::new("https://a.example"), 1)).unwrap();
        for settings in ["{", "{}", r#"{"url":"https://a.example","signatures":[]}"#] {
            item.insert("settings".into(), s(settings));
            assert!(stored_of(&item).is_err(), "{settings}");
        }
    }
}
