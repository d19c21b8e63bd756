//! The event types of tenants in `EndpointsTable`, under the sort key `t#<type>`: description, schema, example, and whether
//! they are deprecated. Each write also raises the version in the tenant's `head` ([`super::subscriptions`]), and counts
//! them and their bytes there. So `fanout` learns of a change with the next event, and reads nothing more until then.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, Delete, Put, TransactWriteItem, Update};
use signpost_core::event::TenantId;
use signpost_core::event::catalogue::{EventType, MAX_CATALOGUE_BYTES, MAX_EVENT_TYPES, TypeName};

use signpost_engine::ports::subscriptions::TypeRules;

use crate::aws::batch_get::get;
use crate::aws::{AwsError, Item, ItemError, check_form, n, number, optional, s, text, unreadable};
use crate::runtime::logs::Chain;
use crate::tables::endpoints::{Transacted, transact};
use crate::tables::subscriptions::{HEAD, HEAD_ITEM, TRANSACTION, key};
use crate::tables::{RETENTION_DAYS, retention_days_of};

/// The event types in the table of endpoints.
#[derive(Clone, Debug)]
pub struct EventTypes {
    client: Client,
    table: String,
}

/// An event type as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEventType {
    /// The event type.
    pub event_type: EventType,
    /// Each change raises it.
    pub version: u64,
    /// When it was first registered, in seconds since the Unix epoch.
    pub created_at: u64,
    /// When it was changed last, in seconds since the Unix epoch.
    pub updated_at: u64,
}

/// Some of a tenant's event types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The event types, ordered by name.
    pub types: Vec<(TypeName, StoredEventType)>,
    /// Where the next page starts; `None` after the last page.
    pub next: Option<TypeName>,
}

/// The result of writing an event type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutResult {
    /// It was written. This is what was there before.
    Written(Option<StoredEventType>),
    /// It was not written, because the tenant has [`MAX_EVENT_TYPES`], or they would take more than
    /// [`MAX_CATALOGUE_BYTES`].
    Full {
        /// How many event types the tenant has.
        types: u64,
        /// How many bytes they take.
        bytes: u64,
    },
}

/// The sort key of an event type begins with this. Its name follows.
const PREFIX: &str = "t#";
const ITEM: &str = "event type";

impl EventTypes {
    /// Adapts `client` to the table called `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Reads an event type.
    ///
    /// Needs `dynamodb:GetItem`. One call, strongly consistent.
    ///
    /// # Errors
    /// The call failed, or the item cannot be read.
    pub async fn get(&self, tenant: &TenantId, name: &TypeName) -> Result<Option<StoredEventType>, AwsError> {
        let item = get(&self.client, &self.table, key(tenant, &sort_key(name)), None).await?;
        item.as_ref().map(stored_of).transpose()
    }

    /// Reads up to `limit` event types of a tenant, ordered by name, starting after `after`. Unreadable ones are left out.
    ///
    /// Needs `dynamodb:Query`. One call.
    ///
    /// # Errors
    /// The call failed.
    pub async fn page(&self, tenant: &TenantId, after: Option<&TypeName>, limit: i32) -> Result<Page, AwsError> {
        let call = query(&self.client, &self.table, tenant)
            .set_exclusive_start_key(after.map(|name| key(tenant, &sort_key(name))))
            .limit(limit);
        let page = call.send().await.map_err(AwsError::of("dynamodb:Query"))?;
        let next = page.last_evaluated_key.as_ref().and_then(|key| name_of(key).ok());
        let read = page.items.unwrap_or_default().into_iter().filter_map(|item| {
            let read = name_of(&item).map_err(AwsError::corrupt(ITEM)).and_then(|name| Ok((name, stored_of(&item)?)));
            log_unreadable(tenant, read)
        });
        Ok(Page { types: read.collect(), next })
    }

    /// Writes an event type, in the place of one that is there. `now` is in seconds since the Unix epoch.
    ///
    /// Needs `dynamodb:GetItem`, `dynamodb:PutItem`, and `dynamodb:UpdateItem` for the head. One call to read and one to
    /// write, or more if others change event types or endpoints of the tenant meanwhile.
    ///
    /// # Errors
    /// A call failed, or the item that is there cannot be read.
    pub async fn put(
        &self,
        tenant: &TenantId,
        name: &TypeName,
        event_type: &EventType,
        now: u64,
    ) -> Result<PutResult, AwsError> {
        loop {
            let before = self.get(tenant, name).await?;
            let stored = StoredEventType {
                event_type: event_type.clone(),
                version: before.as_ref().map_or(1, |before| before.version + 1),
                created_at: before.as_ref().map_or(now, |before| before.created_at),
                updated_at: now,
            };
            let mut item = item_of(&stored);
            item.extend(key(tenant, &sort_key(name)));
            let put = Put::builder().table_name(&self.table).set_item(Some(item));
            let put = match &before {
                None => put.condition_expression("attribute_not_exists(endpoint)"),
                Some(before) => put
                    .condition_expression("version = :before")
                    .expression_attribute_values(":before", n(before.version)),
            };
            let put = TransactWriteItem::builder().put(put.build().map_err(AwsError::of(TRANSACTION))?).build();
            let head = self.head(tenant, before.as_ref(), Some(&stored))?;
            match Box::pin(transact(&self.client, vec![put, head])).await? {
                Transacted::Yes => return Ok(PutResult::Written(before)),
                Transacted::Refused(0) => {} // Another writer was faster. Read it again.
                Transacted::Refused(_) => {
                    let (types, bytes) = self.usage(tenant).await?;
                    let more = stored.event_type.bytes().saturating_sub(before.as_ref().map_or(0, of_it));
                    if (before.is_none() && types >= MAX_EVENT_TYPES) || bytes + more > MAX_CATALOGUE_BYTES {
                        return Ok(PutResult::Full { types, bytes });
                    } // Otherwise another writer has made room since. Try again.
                }
            }
        }
    }

    /// Removes an event type. Returns what was there.
    ///
    /// Needs `dynamodb:GetItem`, `dynamodb:DeleteItem`, and `dynamodb:UpdateItem` for the head. One call to read and one to
    /// write, or more if others change event types or endpoints of the tenant meanwhile.
    ///
    /// # Errors
    /// A call failed, or the item cannot be read.
    pub async fn delete(&self, tenant: &TenantId, name: &TypeName) -> Result<Option<StoredEventType>, AwsError> {
        loop {
            let Some(before) = self.get(tenant, name).await? else { return Ok(None) };
            let delete = Delete::builder()
                .table_name(&self.table)
                .set_key(Some(key(tenant, &sort_key(name))))
                .condition_expression("version = :before")
                .expression_attribute_values(":before", n(before.version));
            let delete = delete.build().map_err(AwsError::of(TRANSACTION))?;
            let head = self.head(tenant, Some(&before), None)?;
            let writes = vec![TransactWriteItem::builder().delete(delete).build(), head];
            match Box::pin(transact(&self.client, writes)).await? {
                Transacted::Yes => return Ok(Some(before)),
                Transacted::Refused(_) => {} // Another writer was faster. Read it again.
            }
        }
    }

    /// Builds the write of the head beside that of an event type. Its condition is that the tenant stays within its bounds.
    fn head(
        &self,
        tenant: &TenantId,
        before: Option<&StoredEventType>,
        after: Option<&StoredEventType>,
    ) -> Result<TransactWriteItem, AwsError> {
        let count = |one: Option<&StoredEventType>| i64::from(one.is_some());
        let bytes = |one: Option<&StoredEventType>| i128::from(one.map_or(0, of_it));
        let (more, larger) = (count(after) - count(before), bytes(after) - bytes(before));
        // A head without endpoints has counts of them, which readers expect.
        let mut update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key(tenant, HEAD)))
            .update_expression(
                "ADD version :one, endpoints :zero, settingsBytes :zero, eventTypes :more, eventTypeBytes :larger",
            )
            .expression_attribute_values(":one", n(1))
            .expression_attribute_values(":zero", n(0))
            .expression_attribute_values(":more", n(more))
            .expression_attribute_values(":larger", n(larger));
        let mut conditions = Vec::new();
        if more > 0 {
            conditions.push("eventTypes < :most");
            update = update.expression_attribute_values(":most", n(MAX_EVENT_TYPES));
        }
        if larger > 0 {
            conditions.push("eventTypeBytes <= :room");
            update = update.expression_attribute_values(":room", n(i128::from(MAX_CATALOGUE_BYTES) - larger));
        }
        if !conditions.is_empty() {
            let condition = format!("attribute_not_exists(eventTypes) OR ({})", conditions.join(" AND "));
            update = update.condition_expression(condition);
        }
        Ok(TransactWriteItem::builder().update(update.build().map_err(AwsError::of(TRANSACTION))?).build())
    }

    async fn usage(&self, tenant: &TenantId) -> Result<(u64, u64), AwsError> {
        let head = get(&self.client, &self.table, key(tenant, HEAD), None).await?.unwrap_or_default();
        let read = |name| optional(&head, name, number).map_err(AwsError::corrupt(HEAD_ITEM));
        Ok((read("eventTypes")?.unwrap_or_default(), read("eventTypeBytes")?.unwrap_or_default()))
    }
}

/// Reads the rules of all event types of a tenant, without their other attributes.
///
/// Needs `dynamodb:Query`. One call per 1 MiB of event types. Strongly consistent.
pub(crate) async fn schemas(client: &Client, table: &str, tenant: &TenantId) -> Result<Vec<TypeRules>, AwsError> {
    let query = query(client, table, tenant)
        .projection_expression("tenant, endpoint, #schema, retentionDays, #form")
        .expression_attribute_names("#schema", "schema")
        .expression_attribute_names("#form", signpost_core::form::MEMBER);
    let mut items = query.into_paginator().items().send();
    let mut schemas = Vec::new();
    while let Some(item) = items.try_next().await.map_err(AwsError::of("dynamodb:Query"))? {
        let read = || {
            check_form(&item, ITEM)?;
            let read = || {
                Ok(TypeRules {
                    kind: name_of(&item)?.as_str().to_owned(),
                    schema: text(&item, "schema")?.to_owned(),
                    retention_days: retention_days_of(&item)?,
                })
            };
            read().map_err(AwsError::corrupt::<ItemError>(ITEM))
        };
        schemas.extend(log_unreadable(tenant, read()));
    }
    Ok(schemas)
}

fn query(
    client: &Client,
    table: &str,
    tenant: &TenantId,
) -> aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder {
    client
        .query()
        .table_name(table)
        .consistent_read(true)
        .key_condition_expression("tenant = :tenant AND begins_with(endpoint, :prefix)")
        .expression_attribute_values(":tenant", s(tenant.as_str()))
        .expression_attribute_values(":prefix", s(PREFIX))
}

/// Logs why an event type cannot be read. Its events are accepted.
fn log_unreadable<T>(tenant: &TenantId, read: Result<T, AwsError>) -> Option<T> {
    if let Err(error) = &read {
        tracing::error!(tenant.id = %tenant, error = %Chain(error), "event_type.unreadable");
    }
    read.ok()
}

fn sort_key(name: &TypeName) -> String {
    format!("{PREFIX}{name}")
}

fn name_of(item: &Item) -> Result<TypeName, ItemError> {
    let name = text(item, "endpoint")?.strip_prefix(PREFIX).and_then(TypeName::parse);
    name.ok_or_else(|| unreadable("endpoint"))
}

fn of_it(stored: &StoredEventType) -> u64 {
    stored.event_type.bytes()
}

fn item_of(stored: &StoredEventType) -> Item {
    let StoredEventType { event_type, version, created_at, updated_at } = stored;
    let EventType { description, schema, example, deprecated, retention_days } = event_type;
    let days = retention_days.map(|days| (RETENTION_DAYS.to_owned(), n(days)));
    let mut item = Item::from([
        ("description".into(), s(&**description)),
        ("schema".into(), s(&**schema)),
        ("example".into(), s(&**example)),
        ("deprecated".into(), AttributeValue::Bool(*deprecated)),
        ("version".into(), n(version)),
        ("createdAt".into(), n(created_at)),
        ("updatedAt".into(), n(updated_at)),
    ]);
    item.extend(days);
    item
}

fn stored_of(item: &Item) -> Result<StoredEventType, AwsError> {
    check_form(item, ITEM)?;
    let read = || -> Result<StoredEventType, ItemError> {
        let deprecated = item.get("deprecated").and_then(|value| value.as_bool().ok());
        Ok(StoredEventType {
            event_type: EventType {
                description: text(item, "description")?.to_owned(),
                schema: text(item, "schema")?.to_owned(),
                example: text(item, "example")?.to_owned(),
                deprecated: *deprecated.ok_or_else(|| unreadable("deprecated"))?,
                retention_days: retention_days_of(item)?,
            },
            version: number(item, "version")?,
            created_at: number(item, "createdAt")?,
            updated_at: number(item, "updatedAt")?,
        })
    };
    read().map_err(AwsError::corrupt(ITEM))
}
