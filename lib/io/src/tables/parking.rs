//! `ParkingTable`: deliveries that wait outside of the queue. Partition key `pk` (the lane), sort key `sk` (the place)
//! ([`signpost_core::delivery::parking`]). What is parked never disappears by itself: a delivery whose event's retention has ended
//! meanwhile is for the dead-letter queue to tell of. Notes of what was given up do (`expiresAt`, the table's TTL).
//!
//! Three lanes hold no deliveries: `drain` has the endpoints whose lanes are to be emptied, `waiting` those for which
//! deliveries wait, and `sweep` what the sweeping knows of itself.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::json;
use signpost_core::delivery::parking::{Lane, first_place, place};
use signpost_core::delivery::{DeadLetterReason, DeliveryKey};
use signpost_core::endpoint::EndpointId;
use signpost_core::event::{EventId, EventKey, TenantId};

use crate::aws::{AwsError, Item, ItemError, if_condition_held, n, number, s, text, unreadable};
use crate::queue::Message;
use crate::runtime::clock::unix_now;
use crate::runtime::logs::Chain;
use crate::tables::events::StoredEvent;

/// The table of parked deliveries.
#[derive(Clone, Debug)]
pub struct Parking {
    client: Client,
    table: String,
    retention: Duration,
}

/// A parked delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// The event.
    pub event: EventKey,
    /// Where it goes.
    pub endpoint: EndpointId,
    /// The moment of its place, in milliseconds since the Unix epoch: since when it waits, or until when.
    pub at_unix_ms: u64,
    /// When the event arrived, in milliseconds since the Unix epoch, where that is known: the place of its record.
    arrived_unix_ms: Option<u64>,
    lane: String,
    place: String,
    /// Nobody else has chosen it: what tells this parking from one after it in the same place.
    mark: Option<u64>,
}

/// An endpoint whose parked deliveries are to go out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// When it was asked for, in seconds since the Unix epoch.
    pub asked_at: u64,
}

/// An endpoint for which deliveries wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// When it was last noted, in seconds since the Unix epoch.
    pub noted_at: u64,
}

impl Parking {
    /// Adapts `client` to the table called `table`; what was given up is noted for `retention`.
    #[must_use]
    pub fn new(client: Client, table: String, retention: Duration) -> Self {
        Self { client, table, retention }
    }

    /// Parks a delivery until a moment, in milliseconds since the Unix epoch. Doing so again changes nothing.
    ///
    /// Needs `dynamodb:PutItem`. One write.
    ///
    /// # Errors
    /// The call failed: the delivery must stay in the queue.
    pub async fn until(&self, delivery: DeliveryKey<'_>, unix_ms: u64) -> Result<(), AwsError> {
        self.put(Lane::due_at(unix_ms, delivery), unix_ms, delivery).await
    }

    /// Parks a delivery until its endpoint's lane is drained, behind those that came before `unix_ms`.
    ///
    /// Needs `dynamodb:PutItem`. One write.
    ///
    /// # Errors
    /// The call failed: the delivery must stay in the queue.
    pub async fn for_endpoint(&self, delivery: DeliveryKey<'_>, unix_ms: u64) -> Result<(), AwsError> {
        self.put(Lane::Endpoint(delivery.endpoint.clone()), unix_ms, delivery).await
    }

    /// Notes a delivery that was given up at a moment, in milliseconds since the Unix epoch, so that it can be recovered. The
    /// note goes with the retention.
    ///
    /// Needs `dynamodb:PutItem`. One write.
    ///
    /// # Errors
    /// The call failed: the delivery must stay in the queue.
    pub async fn exhausted(&self, delivery: DeliveryKey<'_>, unix_ms: u64) -> Result<(), AwsError> {
        let mut item = item_of(&Lane::Exhausted(delivery.endpoint.clone()), unix_ms, delivery);
        item.insert("expiresAt".into(), n((unix_now() + self.retention).as_secs()));
        self.put_item(item).await
    }

    async fn put(&self, lane: Lane, unix_ms: u64, delivery: DeliveryKey<'_>) -> Result<(), AwsError> {
        self.put_item(item_of(&lane, unix_ms, delivery)).await
    }

    async fn put_item(&self, item: Item) -> Result<(), AwsError> {
        let call = self.client.put_item().table_name(&self.table).set_item(Some(item)).item(MARK, n(fastrand::u64(..)));
        call.send().await.map_err(AwsError::of("dynamodb:PutItem"))?;
        Ok(())
    }

    /// Reads up to `limit` deliveries of a lane, the oldest first. An item that cannot be read is left where it is, and
    /// told of in the logs.
    ///
    /// Needs `dynamodb:Query`. One call.
    ///
    /// # Errors
    /// The call failed.
    pub async fn first_of(&self, lane: &Lane, limit: usize) -> Result<Vec<Parked>, AwsError> {
        self.first_since(lane, 0, limit).await
    }

    /// The same of those that are at a moment or behind it, in milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// As [`Self::first_of`].
    pub async fn first_since(&self, lane: &Lane, unix_ms: u64, limit: usize) -> Result<Vec<Parked>, AwsError> {
        let items = self.query(&lane.key(), &first_place(unix_ms), limit).await?;
        Ok(items.iter().filter_map(|item| readable(item, parked_of)).collect())
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

    /// Takes a delivery out, once it is back in the queue, unless it has been parked anew since: whoever took it from the
    /// queue may have been faster, and its place is the same.
    ///
    /// Needs `dynamodb:DeleteItem`.
    ///
    /// # Errors
    /// The call failed: it will be put into the queue again, where the repetition is recognised.
    pub async fn remove(&self, parked: &Parked) -> Result<(), AwsError> {
        let key = key(parked.lane.clone(), parked.place.clone());
        let call = self.client.delete_item().table_name(&self.table).set_key(Some(key));
        let call = call.expression_attribute_names("#mark", MARK);
        let call = match parked.mark {
            Some(mark) => call.condition_expression("#mark = :mark").expression_attribute_values(":mark", n(mark)),
            None => call.condition_expression("attribute_not_exists(#mark)"),
        };
        if_condition_held(call.send().await, "dynamodb:DeleteItem").map(drop)
    }

    /// Asks for an endpoint's lane to be drained from now on.
    ///
    /// Needs `dynamodb:PutItem`.
    ///
    /// # Errors
    /// The call failed: what is parked stays there. Ask again.
    pub async fn ask_to_drain(&self, endpoint: &EndpointId) -> Result<(), AwsError> {
        self.note(DRAIN, endpoint).await
    }

    /// Notes that deliveries wait for an endpoint, so that `sweep` looks after them ([`Self::waiting`]).
    ///
    /// Needs `dynamodb:PutItem`. One write. Note it before the first delivery is parked, and again every hour.
    ///
    /// # Errors
    /// The call failed: operators would not hear of a delivery that waits too long. Do not park yet.
    pub async fn note_waiting(&self, endpoint: &EndpointId) -> Result<(), AwsError> {
        self.note(WAITING, endpoint).await
    }

    async fn note(&self, lane: &str, endpoint: &EndpointId) -> Result<(), AwsError> {
        let item = key(lane.into(), endpoint.to_string());
        let call = self.client.put_item().table_name(&self.table).set_item(Some(item));
        let call = call.item("askedAt", n(unix_now().as_secs()));
        call.send().await.map_err(AwsError::of("dynamodb:PutItem"))?;
        Ok(())
    }

    /// Reads which endpoints' lanes are to be drained, up to `limit`.
    ///
    /// Needs `dynamodb:Query`.
    ///
    /// # Errors
    /// The call failed.
    pub async fn drains(&self, limit: usize) -> Result<Vec<Drain>, AwsError> {
        let items = self.query(DRAIN, "e", limit).await?; // An endpoint's id begins with it.
        Ok(items.iter().filter_map(|item| readable(item, drain_of)).collect())
    }

    /// Ends a draining, unless it has been asked for again since.
    ///
    /// Needs `dynamodb:DeleteItem`.
    ///
    /// # Errors
    /// The call failed: the lane is looked at again.
    pub async fn end_drain(&self, drain: &Drain) -> Result<(), AwsError> {
        self.end_note(DRAIN, &drain.endpoint, drain.asked_at).await
    }

    /// Reads up to `limit` endpoints for which deliveries wait, by id, those behind `after`.
    ///
    /// Needs `dynamodb:Query`. One call.
    ///
    /// # Errors
    /// The call failed.
    pub async fn waiting(&self, after: Option<&EndpointId>, limit: usize) -> Result<Vec<Waiting>, AwsError> {
        let from = after.map_or_else(|| "e".to_owned(), |id| format!("{id}!")); // An id has no `!`.
        let items = self.query(WAITING, &from, limit).await?;
        let noted = items.iter().filter_map(|item| readable(item, drain_of));
        Ok(noted.map(|Drain { endpoint, asked_at }| Waiting { endpoint, noted_at: asked_at }).collect())
    }

    /// Removes an endpoint from those for which deliveries wait, unless it has been noted again since.
    ///
    /// Needs `dynamodb:DeleteItem`.
    ///
    /// # Errors
    /// The call failed: the endpoint is looked at again.
    pub async fn end_waiting(&self, waiting: &Waiting) -> Result<(), AwsError> {
        self.end_note(WAITING, &waiting.endpoint, waiting.noted_at).await
    }

    async fn end_note(&self, lane: &str, endpoint: &EndpointId, seen: u64) -> Result<(), AwsError> {
        let call = self
            .client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(key(lane.into(), endpoint.to_string())))
            .condition_expression("askedAt = :seen")
            .expression_attribute_values(":seen", n(seen));
        if_condition_held(call.send().await, "dynamodb:DeleteItem").map(drop)
    }

    /// Becomes the one that sweeps until a moment, and gives the last minute that was swept to its end; nothing if somebody
    /// else is at it. Moments and minutes are those of the Unix epoch.
    ///
    /// Needs `dynamodb:UpdateItem`.
    ///
    /// # Errors
    /// The call failed, or the item cannot be read.
    pub async fn begin_sweep(&self, now: u64, until: u64, first_minute: u64) -> Result<Option<u64>, AwsError> {
        let call = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(SWEEP.into(), SWEEP.into())))
            .update_expression("SET busyUntil = :until, sweptMinute = if_not_exists(sweptMinute, :first)")
            .condition_expression("attribute_not_exists(busyUntil) OR busyUntil <= :now")
            .expression_attribute_values(":until", n(until))
            .expression_attribute_values(":now", n(now))
            .expression_attribute_values(":first", n(first_minute))
            .return_values(aws_sdk_dynamodb::types::ReturnValue::AllNew);
        let Some(updated) = if_condition_held(call.send().await, "dynamodb:UpdateItem")? else { return Ok(None) };
        let minute = number(&updated.attributes.unwrap_or_default(), "sweptMinute");
        minute.map(Some).map_err(AwsError::of::<ItemError>(READING))
    }

    /// Tells how far the sweeping has come, and lets the next one begin.
    ///
    /// Needs `dynamodb:UpdateItem`.
    ///
    /// # Errors
    /// The call failed: the next one waits for the moment that this one announced, and begins where it began.
    pub async fn end_sweep(&self, swept_minute: u64) -> Result<(), AwsError> {
        let call = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(SWEEP.into(), SWEEP.into())))
            .update_expression("SET sweptMinute = :minute REMOVE busyUntil")
            .expression_attribute_values(":minute", n(swept_minute));
        call.send().await.map_err(AwsError::of("dynamodb:UpdateItem"))?;
        Ok(())
    }
}

impl Parked {
    /// Which delivery it is, if that is known without its event.
    #[must_use]
    pub fn key(&self) -> Option<DeliveryKey<'_>> {
        let (event, endpoint) = (&self.event, &self.endpoint);
        Some(DeliveryKey { event, endpoint, arrived_unix_ms: self.arrived_unix_ms? })
    }
}

impl Message {
    /// The message that has a parked delivery sent, with its event as it is kept.
    #[must_use]
    pub fn of_parked(parked: &Parked, StoredEvent { event, arrived_unix_ms }: &StoredEvent) -> Self {
        Self::of_delivery(&parked.endpoint, event, *arrived_unix_ms, Some(parked.at_unix_ms))
    }
}

/// The dead letter of a parked delivery whose event's retention ended before its time came: the event's key is all that is
/// left of it.
#[must_use]
pub fn without_event(parked: &Parked) -> Message {
    let (event, reason) = (&parked.event, DeadLetterReason::EventGone);
    tracing::error!(tenant.id = %event.tenant, event.id = %event.id, endpoint.id = %parked.endpoint, "delivery.event_gone");
    let key = json!({"tenant": event.tenant.as_str(), "id": event.id.as_str(), "source": event.source});
    let body = json!({"endpoint": parked.endpoint.as_str(), "event": key}).to_string();
    Message { body, attributes: vec![("reason", reason.as_str().to_owned())], ..Message::default() }
}

const READING: &str = "reading the parking";
const DRAIN: &str = "drain";
const MARK: &str = "mark";
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
        mark: item.contains_key(MARK).then(|| number(item, MARK)).transpose()?,
    })
}

fn drain_of(item: &Item) -> Result<Drain, ItemError> {
    let endpoint = EndpointId::parse(text(item, "sk")?).ok_or_else(|| unreadable("sk"))?;
    Ok(Drain { endpoint, asked_at: number(item, "askedAt")? })
}
