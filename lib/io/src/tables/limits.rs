//! The limits of endpoints and tenants ([`signpost_core::delivery::limits`]), shared by all environments, in `ParkingTable`:
//! the lanes `slots#<endpoint or tenant>#<shard>` have one item per slot, lane `second#<endpoint>` one item with a count.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure::AllOld;
use futures_util::future::try_join_all;
use signpost_core::delivery::limits::{HeldSlot, Second};
use signpost_core::endpoint::{EndpointId, Limit};
use signpost_engine::ports;
use signpost_engine::ports::limits::{ConcurrencySlot, Counted, SlotPool};

use crate::aws::{AwsError, Item, ItemError, if_condition_held, n, number, s, text, unreadable};
use crate::tables::parking::key;

/// The limits in the table.
#[derive(Clone, Debug)]
pub struct Limits {
    client: Client,
    table: String,
}

/// How long the table keeps unused items, in seconds.
const KEPT_SECONDS: u64 = 24 * 3_600;
/// How many partitions the slots of a pool are spread over. A sender writes twice for each request, and a partition takes
/// 1,000 writes a second.
const SHARDS: u16 = 8;

impl Limits {
    /// Adapts `client` to the table called `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }
}

impl ports::limits::Limits for Limits {
    type Error = AwsError;

    /// Needs `dynamodb:Query`. Up to eight calls at the same time, as many as there are slots.
    async fn held(&self, pool: &SlotPool, limit: Limit) -> Result<Vec<HeldSlot>, AwsError> {
        // In boxes, because the future of every delivery contains these, and they are rare.
        let shards = (0..SHARDS.min(limit.into())).map(|shard| Box::pin(self.held_in(pool, shard, limit)));
        let mut held = try_join_all(shards).await?.concat();
        held.sort_unstable_by_key(|slot| slot.index);
        Ok(held)
    }

    /// Needs `dynamodb:UpdateItem`. One call.
    async fn take(&self, slot: &ConcurrencySlot, now_unix_ms: u64, until_unix_ms: u64) -> Result<bool, AwsError> {
        self.lease(slot, "attribute_not_exists(pk) OR heldUntil <= :now", now_unix_ms, until_unix_ms).await
    }

    /// Needs `dynamodb:UpdateItem`. One call.
    async fn renew(&self, slot: &ConcurrencySlot, now_unix_ms: u64, until_unix_ms: u64) -> Result<bool, AwsError> {
        self.lease(slot, "fencingToken = :holder AND heldUntil > :now", now_unix_ms, until_unix_ms).await
    }

    /// Needs `dynamodb:DeleteItem`. One call.
    async fn release(&self, slot: ConcurrencySlot) -> Result<(), AwsError> {
        let call = self
            .client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(slot_key(&slot)))
            .condition_expression("fencingToken = :holder")
            .expression_attribute_values(":holder", n(slot.holder));
        if_condition_held(call.send().await, "dynamodb:DeleteItem").map(drop)
    }

    /// Needs `dynamodb:UpdateItem`. One call.
    async fn count_first(&self, endpoint: &EndpointId, unix_seconds: u64, requests: u16) -> Result<Counted, AwsError> {
        let call = self.count(endpoint, unix_seconds, requests);
        let call = call.update_expression("SET unixSeconds = :second, requestCount = :more, expiresAt = :expires");
        counted(call.condition_expression("attribute_not_exists(pk) OR unixSeconds < :second")).await
    }

    /// Needs `dynamodb:UpdateItem`. One call.
    async fn count_more(
        &self,
        endpoint: &EndpointId,
        unix_seconds: u64,
        limit: Limit,
        requests: u16,
    ) -> Result<Counted, AwsError> {
        let Some(most_before) = u16::from(limit).checked_sub(requests) else { return Ok(Counted::Instead(None)) };
        let call = self.count(endpoint, unix_seconds, requests);
        let call = call.update_expression("SET requestCount = requestCount + :more, expiresAt = :expires");
        let call = call.condition_expression("unixSeconds = :second AND requestCount <= :most");
        counted(call.expression_attribute_values(":most", n(most_before))).await
    }
}

impl Limits {
    async fn held_in(&self, pool: &SlotPool, shard: u16, limit: Limit) -> Result<Vec<HeldSlot>, AwsError> {
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression("pk = :lane AND sk < :end")
            .expression_attribute_values(":lane", s(slots_lane(pool, shard)))
            .expression_attribute_values(":end", s(place_of(limit.into())))
            .into_paginator()
            .items()
            .send();
        let mut held = Vec::new();
        while let Some(item) = pages.try_next().await.map_err(AwsError::of("dynamodb:Query"))? {
            held.push(held_of(&item).map_err(AwsError::corrupt(ITEM))?);
        }
        Ok(held)
    }

    fn count(&self, endpoint: &EndpointId, unix_seconds: u64, requests: u16) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(second_key(endpoint)))
            .expression_attribute_values(":second", n(unix_seconds))
            .expression_attribute_values(":more", n(requests))
            .expression_attribute_values(":expires", n(unix_seconds + KEPT_SECONDS))
            .return_values_on_condition_check_failure(AllOld)
    }

    async fn lease(
        &self,
        slot: &ConcurrencySlot,
        condition: &str,
        now_unix_ms: u64,
        until_unix_ms: u64,
    ) -> Result<bool, AwsError> {
        let call = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(slot_key(slot)))
            .update_expression("SET fencingToken = :holder, heldUntil = :until, expiresAt = :expires")
            .condition_expression(condition)
            .expression_attribute_values(":holder", n(slot.holder))
            .expression_attribute_values(":now", n(now_unix_ms))
            .expression_attribute_values(":until", n(until_unix_ms))
            .expression_attribute_values(":expires", n(now_unix_ms / 1_000 + KEPT_SECONDS));
        Ok(if_condition_held(call.send().await, "dynamodb:UpdateItem")?.is_some())
    }
}

async fn counted(call: UpdateItemFluentBuilder) -> Result<Counted, AwsError> {
    let Err(refused) = call.send().await else { return Ok(Counted::Yes) };
    let Some(UpdateItemError::ConditionalCheckFailedException(check)) = refused.as_service_error() else {
        return Err(AwsError::of("dynamodb:UpdateItem")(refused));
    };
    let counted = check.item().map(second_of).transpose();
    Ok(Counted::Instead(counted.map_err(AwsError::corrupt(ITEM))?))
}

const ITEM: &str = "limit";

/// Returns the lanes of all shards.
pub(crate) fn slots_lanes(pool: SlotPool) -> impl Iterator<Item = String> {
    (0..SHARDS).map(move |shard| slots_lane(&pool, shard))
}

/// Returns the key of the count of an endpoint.
pub(crate) fn second_key(endpoint: &EndpointId) -> Item {
    key(format!("second#{endpoint}"), "second".into())
}

/// Returns the lane of a shard. No tenant has the id of an endpoint, because theirs have no `_`.
fn slots_lane(pool: &SlotPool, shard: u16) -> String {
    match pool {
        SlotPool::Endpoint(endpoint) => format!("slots#{endpoint}#{shard}"),
        SlotPool::Tenant(tenant) => format!("slots#{tenant}#{shard}"),
    }
}

fn slot_key(slot: &ConcurrencySlot) -> Item {
    key(slots_lane(&slot.pool, slot.index % SHARDS), place_of(slot.index))
}

/// Returns the sort key of a slot. Limits have at most three digits.
fn place_of(index: u16) -> String {
    format!("{index:03}")
}

fn held_of(item: &Item) -> Result<HeldSlot, ItemError> {
    let index = text(item, "sk")?.parse().map_err(|_| unreadable("sk"))?;
    Ok(HeldSlot { index, until_unix_ms: number(item, "heldUntil")? })
}

fn second_of(item: &Item) -> Result<Second, ItemError> {
    let begun = u16::try_from(number(item, "requestCount")?).map_err(|_| unreadable("requestCount"))?;
    Ok(Second { unix_seconds: number(item, "unixSeconds")?, begun })
}
