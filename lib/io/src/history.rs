//! What became of an event: the event, its deliveries and their attempts, as operators see them. All of it is one
//! partition of `EventsTable`.

use aws_sdk_dynamodb::Client;
use signpost_core::attempt::Attempt;
use signpost_core::delivery::Progress;
use signpost_core::endpoint::EndpointId;
use signpost_core::event::{Event, EventId, EventKey, TenantId};

use crate::aws::{AwsError, Item, ItemError, number, s, text, unreadable};
use crate::deliveries::{attempts_of, standing_of};
use crate::events::{endpoints_of, event_of, partition};

/// The events in the table, and what became of them.
#[derive(Clone, Debug)]
pub struct Histories {
    client: Client,
    table: String,
}

/// What became of one event.
#[derive(Clone, Debug)]
pub struct History {
    /// The event.
    pub event: Event,
    /// When it was fanned out first, in seconds since the Unix epoch.
    pub fanned_out_at: u64,
    /// The endpoints that it went to then.
    pub endpoints: Vec<EndpointId>,
    /// The deliveries that have had attempts.
    pub deliveries: Vec<DeliveryHistory>,
}

/// What became of one delivery.
#[derive(Clone, Debug)]
pub struct DeliveryHistory {
    /// Where it goes.
    pub endpoint: EndpointId,
    /// Where it stands.
    pub progress: Progress,
    /// Its attempts, oldest first.
    pub attempts: Vec<Attempt>,
}

impl Histories {
    /// Adapts `client` to the table called `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Reads what became of a tenant's events by an id: one for each source that used it.
    ///
    /// Needs `dynamodb:Query`. One call per 1 MiB.
    ///
    /// # Errors
    /// The call failed, or an item cannot be read.
    pub async fn of(&self, tenant: &TenantId, id: &EventId) -> Result<Vec<History>, AwsError> {
        let key = EventKey { tenant: tenant.clone(), source: String::new(), id: id.clone() };
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression("#event = :event")
            .expression_attribute_names("#event", "event")
            .expression_attribute_values(":event", s(partition(&key)))
            .into_paginator()
            .items()
            .send();
        let (mut histories, mut deliveries) = (Vec::new(), Vec::new());
        while let Some(item) = pages.try_next().await.map_err(AwsError::of("dynamodb:Query"))? {
            let read = match Record::of(&item).map_err(AwsError::of::<ItemError>(READING))? {
                Record::Event => history_of(&item).map(|history| histories.push(history)),
                Record::Delivery { endpoint, source } => {
                    let delivery = delivery_of(&item, endpoint);
                    delivery.map(|delivery| deliveries.extend(delivery.map(|delivery| (source.to_owned(), delivery))))
                }
            };
            read.map_err(AwsError::of::<ItemError>(READING))?;
        }
        for (source, delivery) in deliveries {
            let of_event = histories.iter_mut().find(|history| history.event.key.source == source);
            if let Some(history) = of_event {
                history.deliveries.push(delivery); // Else its event's retention ended before its own.
            }
        }
        Ok(histories)
    }
}

const READING: &str = "reading an event's history";

/// What an item is, by its sort key.
pub(crate) enum Record<'a> {
    Event,
    Delivery { endpoint: EndpointId, source: &'a str },
}

impl<'a> Record<'a> {
    pub(crate) fn of(item: &'a Item) -> Result<Self, ItemError> {
        let record = text(item, "record")?;
        if record.starts_with("event#") {
            return Ok(Self::Event);
        }
        let (endpoint, source) = record
            .strip_prefix("delivery#")
            .and_then(|rest| rest.split_once('#'))
            .ok_or_else(|| unreadable("record"))?;
        let endpoint = EndpointId::parse(endpoint).ok_or_else(|| unreadable("record"))?;
        Ok(Self::Delivery { endpoint, source })
    }
}

fn history_of(item: &Item) -> Result<History, ItemError> {
    Ok(History {
        event: event_of(item)?,
        fanned_out_at: number(item, "claimedAt")?,
        endpoints: endpoints_of(item)?,
        deliveries: Vec::new(),
    })
}

/// Reads a delivery; nothing of one that has had no attempt.
fn delivery_of(item: &Item, endpoint: EndpointId) -> Result<Option<DeliveryHistory>, ItemError> {
    let Some(progress) = standing_of(item)?.progress else { return Ok(None) };
    Ok(Some(DeliveryHistory { endpoint, progress, attempts: attempts_of(item)? }))
}
