//! The list of an endpoint's deliveries, newest first, from the items of [`crate::tables::deliveries`] in
//! `EventsTable`.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use futures_util::future::try_join_all;
use signpost_core::delivery::list::{
    ListPosition, ListQuery, OldestFirst, SHARDS, ShardPage, oldest_first, page, parts,
};
use signpost_core::delivery::{DeadLetterReason, DeliveryStatus, Progress};
use signpost_core::endpoint::EndpointId;
use signpost_core::event::{EventKey, TenantId};
use signpost_engine::ports;
use signpost_engine::ports::replays::{ListStretch, ListedDelivery};

use crate::aws::{AwsError, Item, ItemError, number, optional, s, text, unreadable};
use crate::runtime::logs::Chain;
use crate::tables::deliveries::{event_of, progress_of, reason_of};

/// The lists of deliveries.
#[derive(Clone, Debug)]
pub struct Listing {
    client: Client,
    table: String,
}

/// A delivery as it is in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The event.
    pub event: EventKey,
    /// The delivery's progress, without the number of attempts before a replay.
    pub progress: Progress,
    /// Why it was given up; `None` if it was not.
    pub reason: Option<DeadLetterReason>,
    /// When the event arrived, in milliseconds since the Unix epoch.
    pub arrived_unix_ms: u64,
    /// When its first attempt started, in milliseconds since the Unix epoch; `None` if there was none.
    pub first_attempt_unix_ms: Option<u64>,
}

impl Listing {
    /// Adapts `client` to the table called `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Reads up to `most` matching deliveries of a tenant's endpoint, and the position after which there may be more. A
    /// page may be shorter although there are more. An item that cannot be read is left out and logged.
    ///
    /// Needs `dynamodb:Query`. One call per part of the list, all at the same time. Strongly consistent.
    ///
    /// # Errors
    /// A call failed.
    pub async fn page(
        &self,
        tenant: &TenantId,
        endpoint: &EndpointId,
        wanted: ListQuery,
        most: usize,
    ) -> Result<(Vec<Listed>, Option<ListPosition>), AwsError> {
        let Some(range) = wanted.range() else { return Ok((Vec::new(), None)) };
        let stretches = parts(endpoint).map(|part| self.look(tenant, part, wanted, range, most));
        let (page, next) = page(try_join_all(stretches).await?, most);
        Ok((page.into_iter().map(|(_, listed)| listed).collect(), next))
    }

    async fn look(
        &self,
        tenant: &TenantId,
        part: String,
        wanted: ListQuery,
        (from, to): (ListPosition, ListPosition),
        most: usize,
    ) -> Result<ShardPage<Listed>, AwsError> {
        let mut call = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression("pk = :part AND sk BETWEEN :from AND :to")
            .filter_expression(HAS_BEGUN)
            .projection_expression("sk, eventRef, #status, attemptCount, nextAttemptAt, reason, firstAt")
            .set_expression_attribute_names(Some(names()))
            .expression_attribute_values(":part", s(part))
            .expression_attribute_values(":from", s(from.key()))
            .expression_attribute_values(":to", s(to.key()))
            .scan_index_forward(false)
            .limit(i32::try_from(most).unwrap_or(FILTERED_AT_ONCE));
        if let Some(status) = wanted.status {
            call = call
                .limit(FILTERED_AT_ONCE)
                .filter_expression("#status = :status")
                .expression_attribute_values(":status", s(status.as_str()));
        }
        let answer = call.send().await.map_err(AwsError::of("dynamodb:Query"))?;
        let last = answer.last_evaluated_key.as_ref().map(place_of).transpose();
        let items = answer.items.unwrap_or_default();
        let found = items.iter().filter_map(|item| readable(tenant, item)).collect();
        Ok(ShardPage { found, scanned_to: last.map_err(AwsError::corrupt("delivery"))? })
    }
}

impl ports::replays::DeliveryLists for Listing {
    type Error = AwsError;

    /// Needs `dynamodb:Query`. One call per part of the list, all at the same time. Strongly consistent.
    async fn oldest_first(
        &self,
        tenant: &TenantId,
        endpoint: &EndpointId,
        part: OldestFirst,
        statuses: &[DeliveryStatus],
        looked_at: usize,
    ) -> Result<ListStretch, AwsError> {
        let Some(range) = part.range() else { return Ok(ListStretch { deliveries: Vec::new(), read_to: None }) };
        let limit = i32::try_from(looked_at.div_ceil(SHARDS.into())).unwrap_or(i32::MAX);
        let stretches = parts(endpoint).map(|part| self.look_on(tenant, part, range, statuses, limit));
        let (deliveries, read_to) = oldest_first(try_join_all(stretches).await?);
        Ok(ListStretch { deliveries: deliveries.into_iter().map(|(_, delivery)| delivery).collect(), read_to })
    }
}

impl Listing {
    /// Looks at `limit` deliveries of a part, from the oldest on.
    async fn look_on(
        &self,
        tenant: &TenantId,
        part: String,
        (from, to): (ListPosition, ListPosition),
        statuses: &[DeliveryStatus],
        limit: i32,
    ) -> Result<ShardPage<ListedDelivery>, AwsError> {
        let mut call = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression("pk = :part AND sk BETWEEN :from AND :to")
            .projection_expression(
                "sk, eventRef, #status, attemptCount, beforeReplay, nextAttemptAt, replay, sentPrint, answerPrint",
            )
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":part", s(part))
            .expression_attribute_values(":from", s(from.key()))
            .expression_attribute_values(":to", s(to.key()))
            .limit(limit);
        let names: Vec<_> = (0..statuses.len()).map(|index| format!(":status{index}")).collect();
        for (name, status) in names.iter().zip(statuses) {
            call = call.expression_attribute_values(name, s(status.as_str()));
        }
        let filter = format!("{HAS_BEGUN} AND #status IN ({})", names.join(", "));
        let answer = call.filter_expression(filter).send().await.map_err(AwsError::of("dynamodb:Query"))?;
        let last = answer.last_evaluated_key.as_ref().map(place_of).transpose();
        let found = answer.items.unwrap_or_default();
        let found = found.iter().filter_map(|item| logged(item, walked_of(tenant, item))).collect();
        Ok(ShardPage { found, scanned_to: last.map_err(AwsError::corrupt("delivery"))? })
    }
}

fn walked_of(tenant: &TenantId, item: &Item) -> Result<(ListPosition, ListedDelivery), ItemError> {
    let (position, (id, source)) = (place_of(item)?, event_of(item)?);
    let event = EventKey { tenant: tenant.clone(), source: source.to_owned(), id };
    Ok((position, ListedDelivery { position, event, progress: progress_of(item)?, retention_days: None }))
}

/// Excludes deliveries that were only leased, because they have no attempt yet.
const HAS_BEGUN: &str = "attribute_exists(attemptCount)";
/// How many deliveries of a part one call reads if it filters by status.
const FILTERED_AT_ONCE: i32 = 500;

fn readable(tenant: &TenantId, item: &Item) -> Option<(ListPosition, Listed)> {
    logged(item, listed_of(tenant, item))
}

/// Logs an item that cannot be read.
fn logged<T>(item: &Item, listed: Result<T, ItemError>) -> Option<T> {
    if let Err(error) = &listed {
        let (event, record) = (text(item, "eventRef").unwrap_or_default(), text(item, "sk").unwrap_or_default());
        tracing::error!(error = %Chain(error), event, record, "delivery.unreadable");
    }
    listed.ok()
}

fn listed_of(tenant: &TenantId, item: &Item) -> Result<(ListPosition, Listed), ItemError> {
    let place = place_of(item)?;
    let (id, source) = event_of(item)?;
    let event = EventKey { tenant: tenant.clone(), source: source.to_owned(), id };
    let arrived_unix_ms = place.arrived_unix_ms();
    let first_attempt_unix_ms = optional(item, "firstAt", number)?;
    let (progress, reason) = (progress_of(item)?, reason_of(item)?);
    Ok((place, Listed { event, progress, reason, arrived_unix_ms, first_attempt_unix_ms }))
}

fn place_of(item: &Item) -> Result<ListPosition, ItemError> {
    ListPosition::parse(text(item, "sk")?).ok_or_else(|| unreadable("sk"))
}

fn names() -> HashMap<String, String> {
    ["status"].map(|name| (format!("#{name}"), name.to_owned())).into()
}
