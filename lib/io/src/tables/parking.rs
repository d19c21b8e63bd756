//! `ParkingTable`: deliveries that wait outside of the queue. Partition key `pk` (the lane), sort key `sk` (the place)
//! ([`signpost_core::delivery::parking`]).
//!
//! A parked delivery has no TTL. If its event's retention ends meanwhile, it goes to the dead-letter queue. Notes of
//! deliveries that were given up have one (`expiresAt`).
//!
//! Three lanes hold no deliveries: `drain` lists the endpoints whose lanes must be emptied, `waiting` those for which
//! deliveries wait, and `sweep` has the state of the sweep itself.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use signpost_core::delivery::DeliveryKey;
use signpost_core::delivery::parking::{Lane, first_place, place};
use signpost_core::endpoint::EndpointId;
use signpost_core::event::{EventId, EventKey, TenantId};
use signpost_engine::ports;
use signpost_engine::ports::parking::{Drain, Parked, Waiting};

use crate::aws::{AwsError, Item, ItemError, if_condition_held, n, number, optional, s, text, unreadable};
use crate::runtime::clock::unix_now;
use crate::runtime::logs::Chain;

/// The table of parked deliveries.
#[derive(Clone, Debug)]
pub struct Parking {
    client: Client,
    table: String,
    retention: Duration,
}

impl Parking {
    /// Adapts `client` to the table called `table`; notes of given-up deliveries are kept for `retention`.
    #[must_use]
    pub fn new(client: Client, table: String, retention: Duration) -> Self {
        Self { client, table, retention }
    }

    async fn put_item(&self, item: Item) -> Result<(), AwsError> {
        let call = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .item(FENCING_TOKEN, n(fastrand::u64(..)));
        call.send().await.map_err(AwsError::of("dynamodb:PutItem"))?;
        Ok(())
    }

    /// Reads up to `limit` deliveries of a lane from `unix_ms` on, in milliseconds since the Unix epoch, oldest first. An
    /// item that cannot be read is skipped and logged, and hides none behind it.
    ///
    /// Needs `dynamodb:Query`. One call, and more if items cannot be read.
    ///
    /// # Errors
    /// The call failed.
    pub async fn first_since(&self, lane: &Lane, unix_ms: u64, limit: usize) -> Result<Vec<Parked>, AwsError> {
        let (lane, mut from, mut found) = (lane.key(), first_place(unix_ms), Vec::new());
        loop {
            let items = self.query(&lane, &from, limit).await?;
            found.extend(items.iter().filter_map(|item| readable(item, parked_of)));
            let last = items.last().filter(|_| found.len() < limit && items.len() == limit);
            let Some(last) = last.and_then(|last| text(last, "sk").ok()) else { break };
            from = format!("{last}\u{1}"); // No place has this character, so none is between.
        }
        found.truncate(limit);
        Ok(found)
    }

    async fn query(&self, lane: &str, from: &str, limit: usize) -> Result<Vec<Item>, AwsError> {
        let call = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression("pk = :lane AND sk >= :from")
            .expression_attribute_values(":lane", s(lane))
            .expression_attribute_values(":from", s(from))
            .limit(i32::try_from(limit).unwrap_or(i32::MAX));
        Ok(call.send().await.map_err(AwsError::of("dynamodb:Query"))?.items.unwrap_or_default())
    }

    async fn note(&self, lane: &str, endpoint: &EndpointId) -> Result<(), AwsError> {
        let item = key(lane.into(), endpoint.to_string());
        let call = self.client.put_item().table_name(&self.table).set_item(Some(item));
        let call = call.item("requestedAt", n(unix_now().as_secs()));
        call.send().await.map_err(AwsError::of("dynamodb:PutItem"))?;
        Ok(())
    }

    async fn end_note(&self, lane: &str, endpoint: &EndpointId, seen: u64) -> Result<(), AwsError> {
        let call = self
            .client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(key(lane.into(), endpoint.to_string())))
            .condition_expression("requestedAt = :seen")
            .expression_attribute_values(":seen", n(seen));
        if_condition_held(call.send().await, "dynamodb:DeleteItem").map(drop)
    }
}

impl ports::parking::Parking for Parking {
    type Error = AwsError;

    /// Needs `dynamodb:PutItem`. One write.
    async fn park(&self, lane: Lane, unix_ms: u64, delivery: DeliveryKey<'_>) -> Result<(), AwsError> {
        let mut item = item_of(&lane, unix_ms, delivery);
        if let Lane::Exhausted(_) = lane {
            item.insert("expiresAt".into(), n((unix_now() + self.retention).as_secs()));
        }
        self.put_item(item).await
    }

    /// Needs `dynamodb:Query`. One call.
    async fn first_of(&self, lane: &Lane, limit: usize) -> Result<Vec<Parked>, AwsError> {
        self.first_since(lane, 0, limit).await
    }

    /// Needs `dynamodb:Query`. One call.
    async fn is_empty(&self, lane: &Lane) -> Result<bool, AwsError> {
        Ok(self.query(&lane.key(), &first_place(0), 1).await?.is_empty())
    }

    /// Needs `dynamodb:DeleteItem`.
    async fn remove(&self, parked: &Parked) -> Result<(), AwsError> {
        let key = key(parked.lane.clone(), parked.place.clone());
        let call = self.client.delete_item().table_name(&self.table).set_key(Some(key));
        let call = call.expression_attribute_names("#token", FENCING_TOKEN);
        let call = match parked.fencing_token {
            Some(fencing_token) => {
                call.condition_expression("#token = :token").expression_attribute_values(":token", n(fencing_token))
            }
            None => call.condition_expression("attribute_not_exists(#token)"),
        };
        if_condition_held(call.send().await, "dynamodb:DeleteItem").map(drop)
    }

    /// Needs `dynamodb:PutItem`.
    async fn ask_to_drain(&self, endpoint: &EndpointId) -> Result<(), AwsError> {
        self.note(DRAIN, endpoint).await
    }

    /// Needs `dynamodb:Query`.
    async fn drains(&self, limit: usize) -> Result<Vec<Drain>, AwsError> {
        let items = self.query(DRAIN, "e", limit).await?; // Endpoint ids begin with `e`.
        Ok(items.iter().filter_map(|item| readable(item, drain_of)).collect())
    }

    /// Needs `dynamodb:DeleteItem`.
    async fn end_drain(&self, drain: &Drain) -> Result<(), AwsError> {
        self.end_note(DRAIN, &drain.endpoint, drain.asked_at).await
    }

    /// Needs `dynamodb:PutItem`. One write. Call it before the first delivery is parked, and again every hour.
    async fn note_waiting(&self, endpoint: &EndpointId) -> Result<(), AwsError> {
        self.note(WAITING, endpoint).await
    }

    /// Needs `dynamodb:Query`. One call.
    async fn waiting(&self, after: Option<&EndpointId>, limit: usize) -> Result<Vec<Waiting>, AwsError> {
        let from = after.map_or_else(|| "e".to_owned(), |id| format!("{id}!")); // An id has no `!`.
        let items = self.query(WAITING, &from, limit).await?;
        let noted = items.iter().filter_map(|item| readable(item, drain_of));
        Ok(noted.map(|Drain { endpoint, asked_at }| Waiting { endpoint, noted_at: asked_at }).collect())
    }

    /// Needs `dynamodb:DeleteItem`.
    async fn end_waiting(&self, waiting: &Waiting) -> Result<(), AwsError> {
        self.end_note(WAITING, &waiting.endpoint, waiting.noted_at).await
    }

    /// Needs `dynamodb:UpdateItem`.
    async fn begin_sweep(&self, now: u64, until: u64, first_minute: u64) -> Result<Option<u64>, AwsError> {
        let call = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(SWEEP.into(), SWEEP.into())))
            .update_expression("SET leasedUntil = :until, checkpointMinute = if_not_exists(checkpointMinute, :first)")
            .condition_expression("attribute_not_exists(leasedUntil) OR leasedUntil <= :now")
            .expression_attribute_values(":until", n(until))
            .expression_attribute_values(":now", n(now))
            .expression_attribute_values(":first", n(first_minute))
            .return_values(aws_sdk_dynamodb::types::ReturnValue::AllNew);
        let Some(updated) = if_condition_held(call.send().await, "dynamodb:UpdateItem")? else { return Ok(None) };
        let minute = number(&updated.attributes.unwrap_or_default(), "checkpointMinute");
        minute.map(Some).map_err(AwsError::corrupt(ITEM))
    }

    /// Needs `dynamodb:UpdateItem`.
    async fn end_sweep(&self, swept_minute: u64) -> Result<(), AwsError> {
        let call = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(SWEEP.into(), SWEEP.into())))
            .update_expression("SET checkpointMinute = :minute REMOVE leasedUntil")
            .expression_attribute_values(":minute", n(swept_minute));
        call.send().await.map_err(AwsError::of("dynamodb:UpdateItem"))?;
        Ok(())
    }
}

const ITEM: &str = "parked delivery";
const DRAIN: &str = "drain";
const FENCING_TOKEN: &str = "fencingToken";
const SWEEP: &str = "sweep";
const WAITING: &str = "waiting";

pub(crate) fn key(lane: String, place: String) -> HashMap<String, AttributeValue> {
    HashMap::from([("pk".into(), s(lane)), ("sk".into(), s(place))])
}

fn item_of(lane: &Lane, unix_ms: u64, delivery: DeliveryKey<'_>) -> Item {
    let mut item = key(lane.key(), place(unix_ms, delivery));
    item.insert("tenant".into(), s(delivery.event.tenant.as_str()));
    item.insert("event".into(), s(delivery.event.id.as_str()));
    item.insert("source".into(), s(&*delivery.event.source));
    item.insert("endpoint".into(), s(delivery.endpoint.as_str()));
    item.insert("arrivedUnixMs".into(), n(delivery.arrived_unix_ms));
    item
}

fn readable<T>(item: &Item, read: fn(&Item) -> Result<T, ItemError>) -> Option<T> {
    let read = read(item);
    if let Err(error) = &read {
        let (lane, place) = (text(item, "pk").unwrap_or_default(), text(item, "sk").unwrap_or_default());
        tracing::error!(error = %Chain(error), lane, place, "parking.unreadable");
    }
    read.ok()
}

fn parked_of(item: &Item) -> Result<Parked, ItemError> {
    let id = EventId::parse(text(item, "event")?).ok_or_else(|| unreadable("event"))?;
    let tenant = TenantId::parse(text(item, "tenant")?).ok_or_else(|| unreadable("tenant"))?;
    let at_unix_ms = text(item, "sk")?.get(..13).and_then(|digits| digits.parse().ok());
    Ok(Parked {
        at_unix_ms: at_unix_ms.ok_or_else(|| unreadable("sk"))?,
        arrived_unix_ms: number(item, "arrivedUnixMs").ok(),
        event: EventKey { tenant, source: text(item, "source")?.to_owned(), id },
        endpoint: EndpointId::parse(text(item, "endpoint")?).ok_or_else(|| unreadable("endpoint"))?,
        lane: text(item, "pk")?.to_owned(),
        place: text(item, "sk")?.to_owned(),
        fencing_token: optional(item, FENCING_TOKEN, number)?,
    })
}

fn drain_of(item: &Item) -> Result<Drain, ItemError> {
    let endpoint = EndpointId::parse(text(item, "sk")?).ok_or_else(|| unreadable("sk"))?;
    Ok(Drain { endpoint, asked_at: number(item, "requestedAt")? })
}
