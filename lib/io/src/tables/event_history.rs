//! The history of an event: the event, its deliveries and their attempts, as operators see them.

use aws_sdk_dynamodb::Client;
use signpost_core::delivery::attempt::Attempt;
use signpost_core::delivery::{DeadLetterReason, DeliveryKey, Progress};
use signpost_core::endpoint::EndpointId;
use signpost_core::event::{Event, EventId, EventKey, TenantId};

use crate::aws::batch_get::get_all;
use crate::aws::{AwsError, Item, ItemError, number, s, text, unreadable};
use crate::tables::attempts::read_attempts;
use crate::tables::deliveries::{key, reason_of, standing_of};
use signpost_engine::ports::events::StoredEvent;

use crate::tables::events::{also_to_of, endpoints_of, erased_at, kept_of, partition, whole};

/// The histories of events.
#[derive(Clone, Debug)]
pub struct Histories {
    client: Client,
    table: String,
}

/// An event, and the endpoints that it went to.
#[derive(Clone, Debug)]
pub struct History {
    /// The event.
    pub event: Event,
    /// When it first arrived, in milliseconds since the Unix epoch.
    pub arrived_unix_ms: u64,
    /// When it was fanned out first, in seconds since the Unix epoch.
    pub fanned_out_at: u64,
    /// The endpoints of the first fan-out.
    pub endpoints: Vec<EndpointId>,
    /// The endpoints of later replays.
    pub also_to: Vec<EndpointId>,
}

/// The tombstone of an event that was erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// The event's source.
    pub source: String,
    /// When it was erased, in seconds since the Unix epoch.
    pub erased_at: u64,
    /// The endpoints that it went to.
    pub endpoints: Vec<EndpointId>,
}

/// The history of one delivery.
#[derive(Clone, Debug)]
pub struct DeliveryHistory {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// The delivery's progress.
    pub progress: Progress,
    /// Why it was given up; `None` if it was not.
    pub reason: Option<DeadLetterReason>,
    /// Its attempts, oldest first.
    pub attempts: Vec<Attempt>,
}

impl Histories {
    /// Adapts `client` to the table called `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Reads a tenant's events with an id, and where each went: one for each source that used the id. Events that were
    /// erased are apart.
    ///
    /// Needs `dynamodb:Query`, and `dynamodb:GetItem` for the parts of a large event. One call per 1 MiB. Strongly consistent.
    ///
    /// # Errors
    /// A call failed, or an item cannot be read.
    pub async fn of(&self, tenant: &TenantId, id: &EventId) -> Result<(Vec<History>, Vec<Tombstone>), AwsError> {
        let key = EventKey { tenant: tenant.clone(), source: String::new(), id: id.clone() };
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression("pk = :event")
            .expression_attribute_values(":event", s(partition(&key)))
            .into_paginator()
            .items()
            .send();
        let (mut histories, mut tombstones) = (Vec::new(), Vec::new());
        while let Some(item) = pages.try_next().await.map_err(AwsError::of("dynamodb:Query"))? {
            if let Some(erased_at) = erased_at(&item) {
                tombstones.push(tombstone_of(&item, erased_at).map_err(AwsError::corrupt(ITEM))?);
                continue;
            }
            let item = whole(&self.client, &self.table, item).await?;
            histories.push(history_of(&item).map_err(AwsError::corrupt(ITEM))?);
        }
        Ok((histories, tombstones))
    }

    /// Reads the deliveries of an event to some endpoints. Those without an attempt that were neither given up nor
    /// replayed are left out.
    ///
    /// Needs `dynamodb:BatchGetItem` and `dynamodb:GetItem`. One call for up to 100 endpoints, and those of
    /// `read_attempts`. Strongly consistent.
    ///
    /// # Errors
    /// A call failed, or an item cannot be read.
    pub async fn deliveries(
        &self,
        history: &History,
        endpoints: &[&EndpointId],
    ) -> Result<Vec<DeliveryHistory>, AwsError> {
        let (event, arrived_unix_ms) = (&history.event.key, history.arrived_unix_ms);
        let key_of = |endpoint| DeliveryKey { event, endpoint, arrived_unix_ms, retention_days: None };
        let keys = endpoints.iter().map(|endpoint| key(key_of(endpoint))).collect();
        let mut records = Vec::new();
        for (endpoint, item) in endpoints.iter().copied().zip(get_all(&self.client, &self.table, keys, None).await) {
            records.extend(item?.map(|item| (key_of(endpoint), item)));
        }
        let logs: Vec<_> = records.iter().map(|(delivery, item)| (*delivery, item)).collect();
        let logs = read_attempts(&self.client, &self.table, &logs).await?;
        let mut deliveries = Vec::new();
        for ((delivery, item), attempts) in records.iter().zip(logs) {
            deliveries.extend(delivery_of(item, delivery.endpoint, attempts).map_err(AwsError::corrupt(ITEM))?);
        }
        Ok(deliveries)
    }
}

const ITEM: &str = "event";

fn history_of(item: &Item) -> Result<History, ItemError> {
    let StoredEvent { event, arrived_unix_ms } = kept_of(item)?;
    Ok(History {
        event,
        arrived_unix_ms,
        fanned_out_at: number(item, "fannedOutAt")?,
        endpoints: endpoints_of(item)?,
        also_to: also_to_of(item)?,
    })
}

fn tombstone_of(item: &Item, erased_at: u64) -> Result<Tombstone, ItemError> {
    // One that was erased before it arrived has no endpoints.
    let mut endpoints = if item.contains_key("endpoints") { endpoints_of(item)? } else { Vec::new() };
    endpoints.extend(also_to_of(item)?);
    let source = text(item, "sk")?.split_once('#').map(|(_, source)| source.to_owned());
    Ok(Tombstone { source: source.ok_or_else(|| unreadable("sk"))?, erased_at, endpoints })
}

/// Reads a delivery; `None` if it has no progress yet.
fn delivery_of(
    item: &Item,
    endpoint: &EndpointId,
    attempts: Vec<Attempt>,
) -> Result<Option<DeliveryHistory>, ItemError> {
    let Some(progress) = standing_of(item)?.progress else { return Ok(None) };
    Ok(Some(DeliveryHistory { endpoint: endpoint.clone(), progress, reason: reason_of(item)?, attempts }))
}
