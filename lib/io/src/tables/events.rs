//! `EventsTable`: each event once. Partition key `pk` (`<tenant>/<id>`), sort key `sk` (`event#<source>`). The table's
//! TTL (`expiresAt`) removes items after the retention.
//!
//! An item of DynamoDB has at most 400 KB. The rest of an event that is longer, packed, is in parts: items of a partition of
//! their own (`<tenant>/<id>/part`), named by the hash of the event's text, so that parts of another event are never
//! overwritten.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure::AllOld;
use aws_sdk_dynamodb::types::{AttributeValue, CancellationReason, Put, ReturnValue, TransactWriteItem, Update};
use futures_util::future::try_join_all;
use signpost_core::delivery::DeliveryKey;
use signpost_core::delivery::parking::{kept_for_endpoint, kept_until};
use signpost_core::endpoint::EndpointId;
use signpost_core::event::catalogue::retention_of;
use signpost_core::event::sequence::SequenceNumber;
use signpost_core::event::{Event, EventKey};
use signpost_core::fingerprint::{fingerprint, hexadecimal};
use signpost_core::status::state::Moment;
use signpost_engine::ports;
use signpost_engine::ports::events::{Arrival, EventTraces, FirstFanOut, Insertion, MOST_READ_BYTES, StoredEvent};

use crate::aws::batch_get::{get, get_all};
use crate::aws::batch_insert::{Inserted, LARGEST_TOGETHER, insert};
use crate::aws::coalesce::Coalescer;
use crate::aws::compression::{WRITE_UNIT, joined, length, packed, parts, unpacked};
use crate::aws::{
    AwsError, Item, ItemError, bytes, check_form, if_condition_held, n, number, optional, s, text, unreadable,
};
use crate::runtime::clock::{unix_ms_now, unix_now};
use crate::runtime::logs::Chain;
use crate::tables::subscriptions::TRANSACTION;
use crate::tables::{RETENTION_DAYS, retention_days_of, tombstone_expires_at};

/// The events in the table.
#[derive(Clone, Debug)]
pub struct Events {
    client: Client,
    table: String,
    retention: Duration,
    together: Arc<Coalescer<Item, Result<Inserted, AwsError>>>,
}

impl Events {
    /// Adapts `client` to the table called `table`; items are kept for `retention`.
    #[must_use]
    pub fn new(client: Client, table: String, retention: Duration) -> Self {
        Self { client, table, retention, together: Arc::default() }
    }
}

impl ports::events::Events for Events {
    type Error = AwsError;

    /// Needs `dynamodb:PartiQLInsert`: one write with the condition that there is no item, in one call with up to 24
    /// others that are written at the same time. A large event, or one that was not inserted, is put alone, which needs
    /// `dynamodb:PutItem`. If there is an item, the refusal returns it, so there is no read.
    ///
    /// A counted event needs `dynamodb:GetItem` for its counter, and `dynamodb:PutItem` and `dynamodb:UpdateItem` in one
    /// transaction, which takes twice as many write units as the event and its counter alone.
    async fn insert(&self, event: &Event, first: &FirstFanOut, counter: Option<&str>) -> Result<Insertion, AwsError> {
        let ids = first.endpoints.iter().map(|id| s(id.as_str())).collect();
        let number_bytes = if counter.is_some() { NUMBER_BYTES } else { 0 };
        let room = room_beside(&event.key, first.endpoints.len()).saturating_sub(number_bytes);
        let json = packed(event.json(), room);
        let (json, rest) = parts(json, PART_BYTES);
        let is_small = length(&json) <= LARGEST_TOGETHER;
        let mut item = item_key(&event.key);
        let places = (!rest.is_empty()).then(|| Parts {
            of: partition(&event.key),
            name: hexadecimal(fingerprint([event.json()])),
            count: rest.len(),
        });
        if let Some(places) = &places {
            // Before the event, which is complete as soon as it is there. In a box, because it is rare.
            Box::pin(self.put_parts(places, rest, first.arrival.expires_at)).await?;
            item.extend(places.attributes());
        }
        item.extend([
            ("json".into(), json),
            ("payloadHash".into(), AttributeValue::B(Blob::new(first.payload_hash))),
            ("messageId".into(), s(&*first.message_id)),
            ("endpoints".into(), AttributeValue::L(ids)),
            ("fannedOutAt".into(), n(first.at_unix_seconds)),
            ("effectiveAt".into(), s(first.arrival.moment.key())),
            ("expiresAt".into(), n(first.arrival.expires_at)),
        ]);
        item.extend(first.retention_days.map(|days| (RETENTION_DAYS.into(), n(days))));
        if let Some(counter) = counter {
            let inserted = Box::pin(self.insert_counted(item, counter, first)).await?;
            return self.inserted(inserted, places.as_ref()).await;
        }
        if is_small {
            let insert = async |items| insert(&self.client, &self.table, items).await;
            if self.together.load(item.clone(), insert).await.transpose()? == Some(Inserted::Yes) {
                return Ok(Insertion::New(None));
            }
        }
        let call = self.client.put_item().table_name(&self.table).set_item(Some(item));
        let call = call.condition_expression("attribute_not_exists(pk)");
        let result = call.return_values_on_condition_check_failure(AllOld).send().await;
        let Err(refused) = result else { return Ok(Insertion::New(None)) };
        match refused.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(check)) => {
                let stored = check.item().ok_or_else(|| unreadable("pk"));
                let before = stored.and_then(inserted_before).map_err(AwsError::of::<ItemError>("reading an event"))?;
                self.inserted(before, places.as_ref()).await
            }
            _ => Err(AwsError::of("dynamodb:PutItem")(refused)),
        }
    }

    /// Needs `dynamodb:UpdateItem`. One write.
    async fn note_sent(&self, key: &EventKey, sent: usize) -> Result<(), AwsError> {
        let call = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(item_key(key)))
            .update_expression("SET sent = :sent")
            .condition_expression("attribute_exists(pk) AND (attribute_not_exists(sent) OR sent < :sent)")
            .expression_attribute_values(":sent", n(sent));
        if_condition_held(call.send().await, "dynamodb:UpdateItem").map(drop)
    }

    /// Needs `dynamodb:GetItem`.
    async fn get(&self, key: &EventKey) -> Result<Option<StoredEvent>, AwsError> {
        let item = get(&self.client, &self.table, item_key(key), None).await?;
        match item {
            None => Ok(None),
            Some(item) => readable(key, &whole(&self.client, &self.table, item).await?),
        }
    }

    /// Needs `dynamodb:BatchGetItem` and `dynamodb:GetItem`. One call for up to 100 events, and one for each that does not
    /// fit into its 16 MB, and for each part.
    async fn get_some(&self, keys: &[&EventKey]) -> Result<Vec<Option<StoredEvent>>, AwsError> {
        let items = get_all(&self.client, &self.table, keys.iter().map(|key| item_key(key)).collect(), None).await;
        let (mut events, mut bytes) = (Vec::with_capacity(keys.len()), 0);
        for (key, item) in keys.iter().zip(items) {
            let kept = match item? {
                None => None,
                Some(item) => readable(key, &whole(&self.client, &self.table, item).await?)?,
            };
            bytes += kept.as_ref().map_or(0, |kept| kept.event.json().len());
            if bytes > MOST_READ_BYTES && !events.is_empty() {
                break;
            }
            events.push(kept);
        }
        Ok(events)
    }

    /// Needs `dynamodb:UpdateItem`: one write, if the event's retention would end earlier, and one for each part.
    async fn keep_until(&self, delivery: DeliveryKey<'_>, unix_ms: u64) -> Result<(), AwsError> {
        self.keep(delivery, kept_until(delivery.arrived_unix_ms, self.retention_of(delivery), unix_ms)).await
    }

    async fn keep_for_endpoint(&self, delivery: DeliveryKey<'_>) -> Result<(), AwsError> {
        self.keep(delivery, kept_for_endpoint(delivery.arrived_unix_ms, self.retention_of(delivery), unix_ms_now()))
            .await
    }

    /// Needs `dynamodb:GetItem`.
    async fn traces(&self, key: &EventKey) -> Result<Option<EventTraces>, AwsError> {
        match get(&self.client, &self.table, item_key(key), None).await? {
            None => Ok(None),
            Some(item) => traces_of(key, &whole(&self.client, &self.table, item).await?).map(Some),
        }
    }

    /// Needs `dynamodb:UpdateItem`. One write, of the item as it was. For each part of a large event a read and a write
    /// more, which need `dynamodb:GetItem` and `dynamodb:DeleteItem`.
    async fn erase(&self, key: &EventKey) -> Result<Option<EventTraces>, AwsError> {
        let now = unix_now();
        let call = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(item_key(key)))
            .update_expression(
                "SET erasedAt = if_not_exists(erasedAt, :now), expiresAt = :expires \
                 REMOVE json, payloadHash, messageId, sent",
            )
            .expression_attribute_values(":now", n(now.as_secs()))
            .expression_attribute_values(":expires", n(tombstone_expires_at(self.retention)))
            .return_values(ReturnValue::AllOld);
        let before = call.send().await.map_err(AwsError::of("dynamodb:UpdateItem"))?.attributes;
        let Some(before) = before.filter(|item| !item.is_empty()) else { return Ok(None) };
        let parts = Parts::of(&before).map_err(AwsError::corrupt(ITEM))?;
        let traces = traces_of(key, &whole(&self.client, &self.table, before).await?)?;
        if let Some(parts) = parts {
            // The tombstone names the parts until they are gone, so that a repetition finds them.
            Box::pin(self.remove_parts(key, &parts)).await?;
        }
        Ok(Some(traces))
    }
}

impl Events {
    /// Removes the parts that were written for an event that turned out to be erased.
    async fn inserted(&self, insertion: Insertion, places: Option<&Parts>) -> Result<Insertion, AwsError> {
        if let (Insertion::Erased, Some(places)) = (&insertion, places) {
            Box::pin(self.empty_parts(places)).await?;
        }
        Ok(insertion)
    }

    /// Writes an event with the next number of a counter, unless there is one with its key. It reads the counter once.
    /// Each refusal then says how far others have counted meanwhile.
    async fn insert_counted(&self, mut item: Item, counter: &str, first: &FirstFanOut) -> Result<Insertion, AwsError> {
        let key = Item::from([("pk".into(), s(counter)), ("sk".into(), s(COUNTER))]);
        let mut last = match get(&self.client, &self.table, key.clone(), None).await? {
            Some(item) => counted(&item)?,
            None => None,
        };
        let expires_at = first.at_unix_seconds + self.retention.as_secs();
        for round in 0..MOST_ROUNDS {
            let number = last.map_or_else(|| SequenceNumber::first(first.at_unix_seconds), SequenceNumber::next);
            item.insert(NUMBER.into(), n(number.number()));
            let put = Put::builder().table_name(&self.table).set_item(Some(item.clone()));
            let put = put.condition_expression("attribute_not_exists(pk)");
            let put =
                put.return_values_on_condition_check_failure(AllOld).build().map_err(AwsError::of(TRANSACTION))?;
            let count = Update::builder()
                .table_name(&self.table)
                .set_key(Some(key.clone()))
                .update_expression("SET #last = :number, expiresAt = :expires")
                .expression_attribute_names("#last", NUMBER)
                .expression_attribute_values(":number", n(number.number()))
                .expression_attribute_values(":expires", n(expires_at));
            let count = match last {
                None => count.condition_expression("attribute_not_exists(#last)"),
                Some(last) => {
                    let count = count.condition_expression("#last = :last");
                    count.expression_attribute_values(":last", n(last.number()))
                }
            };
            let count = count.return_values_on_condition_check_failure(AllOld).build();
            let count = count.map_err(AwsError::of(TRANSACTION))?;
            let call = self
                .client
                .transact_write_items()
                .transact_items(TransactWriteItem::builder().put(put).build())
                .transact_items(TransactWriteItem::builder().update(count).build());
            let Err(refused) = call.send().await else { return Ok(Insertion::New(Some(number))) };
            let reasons = match refused.as_service_error() {
                Some(TransactWriteItemsError::TransactionCanceledException(canceled)) => {
                    canceled.cancellation_reasons()
                }
                _ => return Err(AwsError::of(TRANSACTION)(refused)),
            };
            let refused_with = |index: usize| {
                let reason = reasons.get(index).filter(|reason| reason.code() == Some("ConditionalCheckFailed"));
                reason.map(CancellationReason::item)
            };
            if let Some(stored) = refused_with(0) {
                let stored = stored.ok_or_else(|| unreadable("pk")).and_then(inserted_before);
                return stored.map_err(AwsError::of::<ItemError>("reading an event"));
            }
            match refused_with(1) {
                Some(Some(item)) => last = counted(item)?,
                Some(None) => last = None, // It has expired since.
                None if !reasons.iter().any(|reason| reason.code() == Some("TransactionConflict")) => {
                    return Err(AwsError::of(TRANSACTION)(refused));
                }
                None => {
                    // At random, so that two writers do not meet again.
                    tokio::time::sleep(Duration::from_millis(fastrand::u64(1..=5 + 5 * u64::from(round)))).await;
                }
            }
        }
        Err(AwsError::of(TRANSACTION)(CounterBusy))
    }

    fn retention_of(&self, delivery: DeliveryKey<'_>) -> Duration {
        retention_of(delivery.retention_days, self.retention)
    }

    async fn keep(&self, delivery: DeliveryKey<'_>, until: Option<u64>) -> Result<(), AwsError> {
        let Some(until) = until else { return Ok(()) };
        let call = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(item_key(delivery.event)))
            .update_expression("SET expiresAt = :until")
            .condition_expression("attribute_exists(pk) AND expiresAt < :until")
            .expression_attribute_values(":until", n(until))
            .return_values(ReturnValue::AllOld);
        let kept = if_condition_held(call.send().await, "dynamodb:UpdateItem")?.and_then(|answer| answer.attributes);
        match kept.as_ref().map(Parts::of).transpose().map_err(AwsError::corrupt(ITEM))?.flatten() {
            None => Ok(()),
            Some(parts) => Box::pin(self.keep_parts(&parts, until)).await,
        }
    }

    async fn put_parts(&self, places: &Parts, parts: Vec<AttributeValue>, expires_at: u64) -> Result<(), AwsError> {
        let puts = places.keys().zip(parts).map(|(mut item, part)| {
            item.extend([("json".into(), part), ("expiresAt".into(), n(expires_at + PARTS_LAST_LONGER_SECONDS))]);
            self.client.put_item().table_name(&self.table).set_item(Some(item)).send()
        });
        try_join_all(puts).await.map(drop).map_err(AwsError::of("dynamodb:PutItem"))
    }

    async fn keep_parts(&self, places: &Parts, until: u64) -> Result<(), AwsError> {
        let updates = places.keys().map(async |key| {
            let call = self
                .client
                .update_item()
                .table_name(&self.table)
                .set_key(Some(key))
                .update_expression("SET expiresAt = :until")
                .condition_expression("attribute_exists(pk)")
                .expression_attribute_values(":until", n(until + PARTS_LAST_LONGER_SECONDS));
            if_condition_held(call.send().await, "dynamodb:UpdateItem").map(drop)
        });
        try_join_all(updates).await.map(drop)
    }

    async fn remove_parts(&self, key: &EventKey, places: &Parts) -> Result<(), AwsError> {
        let deletes =
            places.keys().map(|part| self.client.delete_item().table_name(&self.table).set_key(Some(part)).send());
        try_join_all(deletes).await.map_err(AwsError::of("dynamodb:DeleteItem"))?;
        let call = self.client.update_item().table_name(&self.table).set_key(Some(item_key(key)));
        let call = call.update_expression("REMOVE parts, partsName").condition_expression("attribute_exists(erasedAt)");
        if_condition_held(call.send().await, "dynamodb:UpdateItem").map(drop)
    }

    /// Removes the text of parts that were written for an event that turned out to be erased.
    async fn empty_parts(&self, places: &Parts) -> Result<(), AwsError> {
        let updates = places.keys().map(|part| {
            let call = self.client.update_item().table_name(&self.table).set_key(Some(part));
            let call = call.update_expression("REMOVE json SET expiresAt = :now");
            call.expression_attribute_values(":now", n(unix_now().as_secs())).send()
        });
        try_join_all(updates).await.map(drop).map_err(AwsError::of("dynamodb:UpdateItem"))
    }

    /// Adds `endpoints` to the event's recipients. Returns false if the event has expired or was erased.
    ///
    /// Needs `dynamodb:UpdateItem`. One write.
    ///
    /// # Errors
    /// The call failed. Send nothing to these endpoints, because the event's history would not show it.
    pub async fn add_endpoints(&self, key: &EventKey, endpoints: Vec<String>) -> Result<bool, AwsError> {
        let call = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(item_key(key)))
            .update_expression("ADD replayedTo :endpoints")
            .condition_expression("attribute_exists(pk) AND attribute_not_exists(erasedAt)")
            .expression_attribute_values(":endpoints", AttributeValue::Ss(endpoints));
        Ok(if_condition_held(call.send().await, "dynamodb:UpdateItem")?.is_some())
    }
}

/// Too many others count the events of a subject at the same time.
#[derive(Debug, thiserror::Error)]
#[error("counter of the event's subject was changed by others {MOST_ROUNDS} times; the event is tried again")]
struct CounterBusy;

const ITEM: &str = "event";
/// The sort key of a counter, and the attribute with an event's number and with the last number of a counter.
const COUNTER: &str = "sequence";
const NUMBER: &str = "sequence";
/// How many bytes an event's number takes in its item.
const NUMBER_BYTES: usize = 24;
/// How often an event is written if others count the same subject at the same time. It takes a second at most, so that the
/// subject does not hold up the others of its batch.
const MOST_ROUNDS: u32 = 12;
/// How many bytes of a packed event one item has. 100 KB of an item's 400 are left for the endpoints of 1,000 recipients.
const PART_BYTES: usize = 300 * 1024;
/// DynamoDB removes expired items within days, in any order. Parts last longer, so that no event is there without them.
const PARTS_LAST_LONGER_SECONDS: u64 = 7 * 24 * 3_600;

/// The places of the parts of an event that the event's item has no room for.
#[derive(Debug)]
struct Parts {
    /// The partition of the event.
    of: String,
    /// The hash of the event's text.
    name: String,
    count: usize,
}

impl Parts {
    /// Returns the places that an event's item names, if it names some.
    fn of(item: &Item) -> Result<Option<Self>, ItemError> {
        let Some(count) = optional(item, "parts", number)? else { return Ok(None) };
        let count = usize::try_from(count).map_err(|_| unreadable("parts"))?;
        Ok(Some(Self { of: text(item, "pk")?.to_owned(), name: text(item, "partsName")?.to_owned(), count }))
    }

    /// Returns what the event's item says of its parts.
    fn attributes(&self) -> [(String, AttributeValue); 2] {
        [("parts".into(), n(self.count)), ("partsName".into(), s(&*self.name))]
    }

    fn keys(&self) -> impl Iterator<Item = Item> {
        (0..self.count).map(|index| {
            let place = format!("part#{}#{index}", self.name);
            Item::from([("pk".into(), s(format!("{}/part", self.of))), ("sk".into(), s(place))])
        })
    }
}

/// Puts an event's parts into its item. If one is gone, the event cannot be read.
///
/// Needs `dynamodb:GetItem`: one call for each part, none for an event of one item.
pub(crate) async fn whole(client: &Client, table: &str, mut item: Item) -> Result<Item, AwsError> {
    let Some(places) = Parts::of(&item).map_err(AwsError::corrupt(ITEM))? else { return Ok(item) };
    // In a box, because it is rare and would make the future of every reader larger.
    let reads = Box::pin(try_join_all(places.keys().map(|key| get(client, table, key, None))));
    let rest: Vec<_> = reads.await?.into_iter().map(Option::unwrap_or_default).collect();
    let parts = item.get("json").into_iter().chain(rest.iter().filter_map(|part| part.get("json")));
    if let Some(json) = joined(&parts.collect::<Vec<_>>()) {
        item.insert("json".into(), json);
    }
    Ok(item)
}

/// Reads an event; `None` for one that cannot be read, which is logged. An event of a newer release is an error instead:
/// its deliveries wait for that release.
fn readable(key: &EventKey, item: &Item) -> Result<Option<StoredEvent>, AwsError> {
    check_form(item, ITEM)?;
    if erased_at(item).is_some() {
        return Ok(None);
    }
    let kept = kept_of(item);
    if let Err(error) = &kept {
        tracing::error!(event.id = %key.id, tenant.id = %key.tenant, error = %Chain(error), "event.unreadable");
    }
    Ok(kept.ok())
}

/// Returns when an event was erased, in seconds since the Unix epoch.
pub(crate) fn erased_at(item: &Item) -> Option<u64> {
    number(item, "erasedAt").ok()
}

fn traces_of(key: &EventKey, item: &Item) -> Result<EventTraces, AwsError> {
    let event = readable(key, item)?.map(|kept| kept.event);
    let traces = || -> Result<_, ItemError> {
        let Some(moment) = optional(item, "effectiveAt", |item, _| moment_of(item))? else {
            return Ok(EventTraces { event, moment: None, endpoints: Vec::new() });
        };
        let mut endpoints = endpoints_of(item)?;
        endpoints.extend(also_to_of(item)?.into_iter().filter(|id| !endpoints.contains(id)).collect::<Vec<_>>());
        Ok(EventTraces { event, moment: Some(moment), endpoints })
    };
    traces().map_err(AwsError::corrupt(ITEM))
}

pub(crate) fn kept_of(item: &Item) -> Result<StoredEvent, ItemError> {
    let json = unpacked(item, "json")?;
    let mut event = Event::reread(&json).map_err(|_| unreadable("json"))?;
    event.number = number_of(item)?;
    event.retention_days = retention_days_of(item)?;
    Ok(StoredEvent { event, arrived_unix_ms: moment_of(item)?.arrived_unix_ms() })
}

pub(crate) fn endpoints_of(item: &Item) -> Result<Vec<EndpointId>, ItemError> {
    let ids = item.get("endpoints").and_then(|list| list.as_l().ok()).ok_or_else(|| unreadable("endpoints"))?;
    let parse = |id: &AttributeValue| id.as_s().ok().and_then(|id| EndpointId::parse(id));
    ids.iter().map(parse).collect::<Option<_>>().ok_or_else(|| unreadable("endpoints"))
}

/// Reads the endpoints that were added to an event later.
pub(crate) fn also_to_of(item: &Item) -> Result<Vec<EndpointId>, ItemError> {
    let Some(ids) = item.get("replayedTo") else { return Ok(Vec::new()) };
    let ids = ids.as_ss().map_err(|_| unreadable("replayedTo"))?;
    ids.iter().map(|id| EndpointId::parse(id)).collect::<Option<_>>().ok_or_else(|| unreadable("replayedTo"))
}

fn item_key(key: &EventKey) -> Item {
    Item::from([("pk".into(), s(partition(key))), ("sk".into(), s(record(key)))])
}

/// Returns how many bytes of an event fit into the one write unit that its item takes in any case.
fn room_beside(key: &EventKey, endpoints: usize) -> usize {
    const REST: usize = 200; // Names of all attributes, and values of constant length.
    const ENDPOINT: usize = 36;
    WRITE_UNIT.saturating_sub(REST + partition(key).len() + record(key).len() + ENDPOINT * endpoints)
}

/// Returns the sort key of an event.
fn record(key: &EventKey) -> String {
    format!("event#{}", key.source)
}

/// Returns the partition key of a tenant's events with one id.
pub(crate) fn partition(key: &EventKey) -> String {
    format!("{}/{}", key.tenant, key.id)
}

fn inserted_before(stored: &Item) -> Result<Insertion, ItemError> {
    if erased_at(stored).is_some() { Ok(Insertion::Erased) } else { first_of(stored).map(Insertion::Stored) }
}

fn first_of(stored: &Item) -> Result<FirstFanOut, ItemError> {
    let payload_hash = bytes(stored, "payloadHash")?.try_into().map_err(|_| unreadable("payloadHash"))?;
    Ok(FirstFanOut {
        message_id: text(stored, "messageId")?.to_owned(),
        endpoints: endpoints_of(stored)?,
        sent: optional(stored, "sent", number)?.map_or(0, |sent| usize::try_from(sent).unwrap_or(usize::MAX)),
        at_unix_seconds: number(stored, "fannedOutAt")?,
        arrival: Arrival { moment: moment_of(stored)?, expires_at: number(stored, "expiresAt")? },
        payload_hash,
        number: number_of(stored)?,
        retention_days: retention_days_of(stored)?,
    })
}

fn number_of(item: &Item) -> Result<Option<SequenceNumber>, ItemError> {
    Ok(optional(item, NUMBER, number)?.map(SequenceNumber::of))
}

/// Returns the last number of a counter.
fn counted(counter: &Item) -> Result<Option<SequenceNumber>, AwsError> {
    number_of(counter).map_err(AwsError::corrupt("counter"))
}

fn moment_of(item: &Item) -> Result<Moment, ItemError> {
    Moment::parse(text(item, "effectiveAt")?).ok_or_else(|| unreadable("effectiveAt"))
}
