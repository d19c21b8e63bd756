//! The subscriptions in `EndpointsTable`, beside the endpoints of each tenant.
//!
//! - `s#<endpoint>`: the types and the filter of an endpoint, and how many bytes its settings have.
//! - `head`: a version that each change of a subscription or an event type raises, the number of endpoints and the bytes of
//!   their settings, the number of event types and their bytes, and when the tenant was erased. It is never removed, so that
//!   no version comes twice.
//!
//! [`super::endpoints`] writes them together with the endpoint, in one transaction.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, Delete, Put, TransactWriteItem, Update};
use signpost_core::endpoint::EndpointId;
use signpost_core::endpoint::quota::{MAX_ENDPOINTS, MAX_SETTINGS_BYTES, Usage, settings_bytes};
use signpost_core::endpoint::subscription::Subscription;
use signpost_core::event::TenantId;
use signpost_engine::ports;
use signpost_engine::ports::endpoints::StoredEndpoint;
use signpost_engine::ports::subscriptions::{TypeRules, Version};

use crate::aws::batch_get::{Projection, get, get_all};
use crate::aws::{AwsError, Item, ItemError, check_form, n, number, optional, s, text};
use crate::tables::event_types;

/// The subscriptions in the table of endpoints.
#[derive(Clone, Debug)]
pub struct Subscriptions {
    client: Client,
    table: String,
}

/// The sort key of a tenant's head.
pub(crate) const HEAD: &str = "head";
/// The sort key of a subscription begins with this. The id of its endpoint follows.
const PREFIX: &str = "s#";

/// The attribute of a head that says when the tenant was erased ([`Version::erased_until_unix_ms`]).
pub(crate) const ERASED_UNTIL: &str = "erasedUntil";

pub(crate) const HEAD_ITEM: &str = "head of the tenant's endpoints";
const ITEM: &str = "subscription";
pub(crate) const TRANSACTION: &str = "dynamodb:TransactWriteItems";

impl Subscriptions {
    /// Adapts `client` to the table called `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Reads what the endpoints of a tenant take of their bounds.
    ///
    /// Needs `dynamodb:GetItem`. One call, strongly consistent.
    ///
    /// # Errors
    /// The call failed, or the item cannot be read.
    pub async fn usage(&self, tenant: &TenantId) -> Result<Usage, AwsError> {
        let head = get(&self.client, &self.table, key(tenant, HEAD), None).await?;
        let Some(head) = head else { return Ok(Usage::default()) };
        let usage =
            || Ok(Usage { endpoints: number(&head, "endpoints")?, settings_bytes: number(&head, "settingsBytes")? });
        usage().map_err(AwsError::corrupt::<ItemError>(HEAD_ITEM))
    }

    /// Returns when a tenant was erased last, as [`Version::erased_until_unix_ms`].
    ///
    /// Needs `dynamodb:GetItem`. One call, strongly consistent.
    ///
    /// # Errors
    /// The call failed, or the item cannot be read.
    pub async fn erased_until(&self, tenant: &TenantId) -> Result<u64, AwsError> {
        let projection = Projection { expression: "tenant, endpoint, erasedUntil", names: HashMap::new() };
        let head = get(&self.client, &self.table, key(tenant, HEAD), Some(&projection)).await?;
        let until = head.map(|head| optional(&head, ERASED_UNTIL, number)).transpose();
        Ok(until.map_err(AwsError::corrupt(HEAD_ITEM))?.flatten().unwrap_or_default())
    }

    /// Reads how many endpoints and event types a tenant has, the address of notices included.
    ///
    /// Needs `dynamodb:GetItem`. One call, strongly consistent.
    ///
    /// # Errors
    /// The call failed, or the item cannot be read.
    pub async fn counts(&self, tenant: &TenantId) -> Result<(u64, u64), AwsError> {
        let Some(head) = get(&self.client, &self.table, key(tenant, HEAD), None).await? else { return Ok((0, 0)) };
        let count = |name| Ok(optional(&head, name, number)?.unwrap_or_default());
        let counts = || Ok((count("endpoints")?, count("eventTypes")?));
        counts().map_err(AwsError::corrupt::<ItemError>(HEAD_ITEM))
    }

    /// Reads the subscription of an endpoint.
    ///
    /// Needs `dynamodb:GetItem`. One call, strongly consistent.
    pub(crate) async fn get(&self, tenant: &TenantId, id: &EndpointId) -> Result<Option<StoredSubscription>, AwsError> {
        let item = get(&self.client, &self.table, key(tenant, &sort_key(id)), None).await?;
        item.as_ref().map(StoredSubscription::of_item).transpose()
    }

    /// Builds the writes beside that of an endpoint: its subscription changes from `before` to `after`, and the head
    /// counts the difference. The last write is that of the head. Its condition is that the tenant stays within its bounds.
    pub(crate) fn writes(
        &self,
        tenant: &TenantId,
        id: &EndpointId,
        before: Option<&StoredSubscription>,
        after: Option<&StoredSubscription>,
    ) -> Result<[TransactWriteItem; 2], AwsError> {
        let subscription = TransactWriteItem::builder();
        let subscription = if let Some(after) = after {
            let mut item = key(tenant, &sort_key(id));
            item.extend([("types".into(), s(&*after.types)), ("settingsBytes".into(), n(after.settings_bytes))]);
            item.extend(after.filter.as_ref().map(|filter| ("filter".into(), s(&**filter))));
            item.extend(after.sequence.then(|| ("sequence".into(), AttributeValue::Bool(true))));
            let put = Put::builder().table_name(&self.table).set_item(Some(item));
            subscription.put(put.build().map_err(AwsError::of(TRANSACTION))?)
        } else {
            // Otherwise the head would count other bytes than those that go.
            let delete = Delete::builder()
                .table_name(&self.table)
                .set_key(Some(key(tenant, &sort_key(id))))
                .condition_expression("settingsBytes = :bytes")
                .expression_attribute_values(":bytes", n(before.map_or(0, |before| before.settings_bytes)));
            subscription.delete(delete.build().map_err(AwsError::of(TRANSACTION))?)
        };
        let head = self.head(tenant, before, after).map_err(AwsError::of(TRANSACTION))?;
        Ok([subscription.build(), TransactWriteItem::builder().update(head).build()])
    }

    fn head(
        &self,
        tenant: &TenantId,
        before: Option<&StoredSubscription>,
        after: Option<&StoredSubscription>,
    ) -> Result<Update, aws_sdk_dynamodb::error::BuildError> {
        let chosen =
            |one: Option<&StoredSubscription>| one.map(|one| (one.types.clone(), one.filter.clone(), one.sequence));
        let bytes = |one: Option<&StoredSubscription>| one.map_or(0, |one| i128::from(one.settings_bytes));
        let count = |one: Option<&StoredSubscription>| i64::from(one.is_some());
        let (more, larger) = (count(after) - count(before), bytes(after) - bytes(before));
        let mut update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key(tenant, HEAD)))
            .update_expression("ADD version :changes, endpoints :more, settingsBytes :larger")
            .expression_attribute_values(":changes", n(i64::from(chosen(before) != chosen(after))))
            .expression_attribute_values(":more", n(more))
            .expression_attribute_values(":larger", n(larger));
        let mut conditions = Vec::new();
        if more > 0 {
            conditions.push("endpoints < :most");
            update = update.expression_attribute_values(":most", n(MAX_ENDPOINTS));
        }
        if larger > 0 {
            conditions.push("settingsBytes <= :room");
            update = update.expression_attribute_values(":room", n(i128::from(MAX_SETTINGS_BYTES) - larger));
        }
        if !conditions.is_empty() {
            let condition = format!("attribute_not_exists(endpoints) OR ({})", conditions.join(" AND "));
            update = update.condition_expression(condition);
        }
        update.build()
    }
}

/// The subscription of an endpoint as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredSubscription {
    /// The types, in JSON.
    types: String,
    /// The filter of their content, in JSON.
    filter: Option<String>,
    /// Whether the endpoint asks for the numbers of events.
    sequence: bool,
    /// The bytes of the endpoint's settings ([`settings_bytes`]).
    pub(crate) settings_bytes: u64,
}

impl StoredSubscription {
    pub(crate) fn of(stored: &StoredEndpoint) -> Result<Self, AwsError> {
        let types = serde_json::to_string(&stored.settings.types).map_err(AwsError::of(TRANSACTION))?;
        let filter = stored.settings.filter.as_ref().map(|filter| filter.json().to_owned());
        let settings_bytes = settings_bytes(&stored.settings, stored.trusted.as_deref());
        Ok(Self { types, filter, sequence: stored.settings.sequence, settings_bytes })
    }

    fn of_item(item: &Item) -> Result<Self, AwsError> {
        check_form(item, ITEM)?;
        let types = text(item, "types").map_err(AwsError::corrupt(ITEM))?.to_owned();
        let filter = optional(item, "filter", text).map_err(AwsError::corrupt(ITEM))?.map(str::to_owned);
        let settings_bytes = number(item, "settingsBytes").map_err(AwsError::corrupt(ITEM))?;
        Ok(Self { types, filter, sequence: asks_for_sequence(item), settings_bytes })
    }
}

impl ports::subscriptions::Subscriptions for Subscriptions {
    type Error = AwsError;

    /// Needs `dynamodb:BatchGetItem`, and `dynamodb:GetItem` for a single tenant or one that DynamoDB left out. One call
    /// for up to 100 tenants, and one read unit for each. Strongly consistent.
    async fn versions(&self, tenants: &[&TenantId]) -> Vec<Result<Option<Version>, AwsError>> {
        let keys = tenants.iter().map(|tenant| key(tenant, HEAD)).collect();
        let version = |head: Item| {
            let read = || {
                let event_types = optional(&head, "eventTypes", number)?.unwrap_or_default();
                let erased_until_unix_ms = optional(&head, ERASED_UNTIL, number)?.unwrap_or_default();
                Ok(Version {
                    number: number(&head, "version")?,
                    has_event_types: event_types > 0,
                    erased_until_unix_ms,
                })
            };
            read().map_err(AwsError::corrupt::<ItemError>(HEAD_ITEM))
        };
        let expression = "tenant, endpoint, version, eventTypes, erasedUntil";
        let projection = Projection { expression, names: HashMap::new() };
        let heads = get_all(&self.client, &self.table, keys, Some(&projection)).await;
        heads.into_iter().map(|head| head.and_then(|head| head.map(version).transpose())).collect()
    }

    /// Needs `dynamodb:Query`. One call per 1 MiB of subscriptions. Strongly consistent.
    async fn of_tenant(&self, tenant: &TenantId) -> Result<Vec<(EndpointId, Option<Subscription>)>, AwsError> {
        let mut items = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression("tenant = :tenant AND begins_with(endpoint, :prefix)")
            .expression_attribute_values(":tenant", s(tenant.as_str()))
            .expression_attribute_values(":prefix", s(PREFIX))
            .into_paginator()
            .items()
            .send();
        let mut subscriptions = Vec::new();
        while let Some(item) = items.try_next().await.map_err(AwsError::of("dynamodb:Query"))? {
            subscriptions.extend(identified(tenant, &item));
        }
        Ok(subscriptions)
    }

    /// Needs `dynamodb:Query`. One call per 1 MiB of event types. Strongly consistent.
    async fn schemas(&self, tenant: &TenantId) -> Result<Vec<TypeRules>, AwsError> {
        event_types::schemas(&self.client, &self.table, tenant).await
    }
}

/// Returns the endpoint of a subscription, and its filters; logs those that cannot be read.
fn identified(tenant: &TenantId, item: &Item) -> Option<(EndpointId, Option<Subscription>)> {
    let id = text(item, "endpoint").ok().and_then(|key| EndpointId::parse(key.strip_prefix(PREFIX)?));
    let Some(id) = id else {
        tracing::error!(tenant.id = %tenant, "endpoint.invalid_id");
        return None;
    };
    let read = || {
        check_form(item, ITEM).ok()?;
        let mut read = Subscription::parse(text(item, "types").ok()?, optional(item, "filter", text).ok()?)?;
        read.sequence = asks_for_sequence(item);
        Some(read)
    };
    let subscription = read();
    if subscription.is_none() {
        tracing::error!(tenant.id = %tenant, endpoint.id = %id, "subscription.unreadable");
    }
    Some((id, subscription))
}

fn asks_for_sequence(item: &Item) -> bool {
    matches!(item.get("sequence"), Some(AttributeValue::Bool(true)))
}

fn sort_key(id: &EndpointId) -> String {
    format!("{PREFIX}{id}")
}

pub(crate) fn key(tenant: &TenantId, sort: &str) -> Item {
    Item::from([("tenant".into(), s(tenant.as_str())), ("endpoint".into(), s(sort))])
}
