//! The limits of endpoints ([`signpost_core::delivery::limits`]), shared by all environments, in `ParkingTable`: lane
//! `slots#<endpoint>` has one item per slot, lane `second#<endpoint>` one item with a count.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure::AllOld;
use signpost_core::delivery::LONGEST_ATTEMPT;
use signpost_core::delivery::limits::{HeldSlot, Second, begin, free_slots};
use signpost_core::endpoint::{EndpointId, Limit};

use crate::aws::{AwsError, Item, ItemError, if_condition_held, n, number, s, text, unreadable};
use crate::runtime::clock::{millis, unix_ms_now};
use crate::tables::parking::key;

/// The limits in the table.
#[derive(Clone, Debug)]
pub struct Limits {
    client: Client,
    table: String,
}

/// A slot that the owner of this value holds.
#[derive(Debug)]
pub struct ConcurrencySlot {
    endpoint: EndpointId,
    index: u16,
    /// A random token that distinguishes the holder from later ones.
    holder: u64,
}

/// The result of counting a request.
enum Counted {
    Yes,
    /// Not counted; the table has this count instead.
    Instead(Option<Second>),
}

/// How many free slots to try.
const TRIES: usize = 4;
/// How many times to count a request again that lost against others.
const ROUNDS: usize = 4;
/// How long the table keeps unused items, in seconds.
const KEPT_SECONDS: u64 = 24 * 3_600;

impl Limits {
    /// Adapts `client` to the table called `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Takes a slot for the time of one attempt. Returns `None` if all slots are held, or if others were faster.
    ///
    /// Needs `dynamodb:Query` and `dynamodb:UpdateItem`. One call if all slots are held, otherwise two in most cases.
    ///
    /// # Errors
    /// A call failed. Do not send.
    pub async fn take(&self, endpoint: &EndpointId, limit: Limit) -> Result<Option<ConcurrencySlot>, AwsError> {
        let held = self.held(endpoint).await?;
        let mut free: Vec<_> = free_slots(&held, limit, unix_ms_now()).collect();
        fastrand::shuffle(&mut free);
        for index in free.into_iter().take(TRIES) {
            let slot = ConcurrencySlot { endpoint: endpoint.clone(), index, holder: fastrand::u64(..) };
            if self.lease(&slot, "attribute_not_exists(pk) OR heldUntil <= :now").await? {
                return Ok(Some(slot));
            }
        }
        Ok(None)
    }

    /// Counts the free slots.
    ///
    /// Needs `dynamodb:Query`.
    ///
    /// # Errors
    /// The call failed.
    pub async fn free(&self, endpoint: &EndpointId, limit: Limit) -> Result<usize, AwsError> {
        Ok(free_slots(&self.held(endpoint).await?, limit, unix_ms_now()).count())
    }

    /// Extends a slot for another attempt. Returns false if the slot was lost.
    ///
    /// Needs `dynamodb:UpdateItem`.
    ///
    /// # Errors
    /// The call failed. Do not send.
    pub async fn renew(&self, slot: &ConcurrencySlot) -> Result<bool, AwsError> {
        self.lease(slot, "fencingToken = :holder AND heldUntil > :now").await
    }

    /// Releases a slot.
    ///
    /// Needs `dynamodb:DeleteItem`.
    ///
    /// # Errors
    /// The call failed. The slot is free when its lease expires.
    pub async fn release(&self, slot: ConcurrencySlot) -> Result<(), AwsError> {
        let call = self
            .client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(slot_key(&slot)))
            .condition_expression("fencingToken = :holder")
            .expression_attribute_values(":holder", n(slot.holder));
        if_condition_held(call.send().await, "dynamodb:DeleteItem").map(drop)
    }

    /// Counts a request in the current second. Returns false if the limit is reached.
    ///
    /// Needs `dynamodb:UpdateItem`. One call in most cases.
    ///
    /// # Errors
    /// A call failed. Do not send.
    pub async fn begin(&self, endpoint: &EndpointId, limit: Limit) -> Result<bool, AwsError> {
        // Try the most likely case first: another request of this second. A refusal returns the actual count.
        let mut is_first = false;
        for _ in 0..ROUNDS {
            let now = unix_ms_now();
            let counted = match self.count(endpoint, limit, now / 1_000, is_first).await? {
                Counted::Yes => return Ok(true),
                Counted::Instead(counted) => counted,
            };
            let Some(next) = begin(counted, limit, now) else { return Ok(false) };
            is_first = next.begun == 1;
        }
        Ok(false)
    }

    async fn count(
        &self,
        endpoint: &EndpointId,
        limit: Limit,
        unix_seconds: u64,
        is_first: bool,
    ) -> Result<Counted, AwsError> {
        let call = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(format!("second#{endpoint}"), "second".into())))
            .expression_attribute_values(":second", n(unix_seconds))
            .expression_attribute_values(":one", n(1))
            .expression_attribute_values(":expires", n(unix_seconds + KEPT_SECONDS))
            .return_values_on_condition_check_failure(AllOld);
        let call = if is_first {
            call.update_expression("SET unixSeconds = :second, requestCount = :one, expiresAt = :expires")
                .condition_expression("attribute_not_exists(pk) OR unixSeconds < :second")
        } else {
            call.update_expression("SET requestCount = requestCount + :one, expiresAt = :expires")
                .condition_expression("unixSeconds = :second AND requestCount < :limit")
                .expression_attribute_values(":limit", n(u16::from(limit)))
        };
        let Err(refused) = call.send().await else { return Ok(Counted::Yes) };
        let Some(UpdateItemError::ConditionalCheckFailedException(check)) = refused.as_service_error() else {
            return Err(AwsError::of("dynamodb:UpdateItem")(refused));
        };
        let counted = check.item().map(second_of).transpose();
        Ok(Counted::Instead(counted.map_err(AwsError::corrupt(ITEM))?))
    }

    async fn held(&self, endpoint: &EndpointId) -> Result<Vec<HeldSlot>, AwsError> {
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression("pk = :lane")
            .expression_attribute_values(":lane", s(slots_lane(endpoint)))
            .into_paginator()
            .items()
            .send();
        let mut held = Vec::new();
        while let Some(item) = pages.try_next().await.map_err(AwsError::of("dynamodb:Query"))? {
            held.push(held_of(&item).map_err(AwsError::corrupt(ITEM))?);
        }
        Ok(held)
    }

    async fn lease(&self, slot: &ConcurrencySlot, condition: &str) -> Result<bool, AwsError> {
        let now = unix_ms_now();
        let call = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(slot_key(slot)))
            .update_expression("SET fencingToken = :holder, heldUntil = :until, expiresAt = :expires")
            .condition_expression(condition)
            .expression_attribute_values(":holder", n(slot.holder))
            .expression_attribute_values(":now", n(now))
            .expression_attribute_values(":until", n(now + millis(LONGEST_ATTEMPT)))
            .expression_attribute_values(":expires", n(now / 1_000 + KEPT_SECONDS));
        Ok(if_condition_held(call.send().await, "dynamodb:UpdateItem")?.is_some())
    }
}

const ITEM: &str = "limit";

fn slots_lane(endpoint: &EndpointId) -> String {
    format!("slots#{endpoint}")
}

fn slot_key(slot: &ConcurrencySlot) -> Item {
    key(slots_lane(&slot.endpoint), format!("{:03}", slot.index))
}

fn held_of(item: &Item) -> Result<HeldSlot, ItemError> {
    let index = text(item, "sk")?.parse().map_err(|_| unreadable("sk"))?;
    Ok(HeldSlot { index, until_unix_ms: number(item, "heldUntil")? })
}

fn second_of(item: &Item) -> Result<Second, ItemError> {
    let begun = u16::try_from(number(item, "requestCount")?).map_err(|_| unreadable("requestCount"))?;
    Ok(Second { unix_seconds: number(item, "unixSeconds")?, begun })
}
