//! `EventsTable`: each event once. Partition key `pk` (`<tenant>/<id>`), sort key `sk` (`event#<source>`). The table's
//! TTL (`expiresAt`) removes items after the retention.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use signpost_core::delivery::DeliveryKey;
use signpost_core::delivery::parking::{kept_for_endpoint, kept_until};
use signpost_core::endpoint::EndpointId;
use signpost_core::event::{Event, EventKey};
use signpost_core::status::state::Moment;

use crate::aws::batch_get::get;
use crate::aws::batch_insert::{Inserted, LARGEST_TOGETHER, insert};
use crate::aws::coalesce::Coalescer;
use crate::aws::compression::{WRITE_UNIT, length, packed, unpacked};
use crate::aws::{AwsError, Item, ItemError, bytes, if_condition_held, n, number, s, text, unreadable};
use crate::runtime::clock::{unix_ms_now, unix_now};
use crate::runtime::logs::Chain;

/// The events in the table.
#[derive(Clone, Debug)]
pub struct Events {
    client: Client,
    table: String,
    retention: Duration,
    together: Arc<Coalescer<Item, Result<Inserted, AwsError>>>,
}

/// The result of writing an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventClaim {
    /// The event is new. This message fans it out, to the given endpoints.
    FanOut(Arrival),
    /// This message fans the event out again, to the endpoints of the first time. SQS presented it again after a crash
    /// or a failed call, and some of its deliveries may be queued already. Endpoints that were added meanwhile do not
    /// get it.
    FanOutAgain(Vec<EndpointId>, Arrival),
    /// Another message brought the same event shortly before, and fans it out.
    Duplicate,
    /// Another message brought an event with the same key and a different payload.
    Conflict,
}

/// A stored event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// The event.
    pub event: Event,
    /// When it first arrived, in milliseconds since the Unix epoch.
    pub arrived_unix_ms: u64,
}

/// Facts about the first arrival of an event. They are stored, so that every repetition has the same effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When the state that the event reports began.
    pub moment: Moment,
    /// When its retention ends, in seconds since the Unix epoch.
    pub expires_at: u64,
}

impl Events {
    /// Adapts `client` to the table called `table`; items are kept for `retention`.
    #[must_use]
    pub fn new(client: Client, table: String, retention: Duration) -> Self {
        Self { client, table, retention, together: Arc::default() }
    }

    /// Writes an event that is not there yet, with its endpoints and the SQS message `message_id` that brought it.
    /// `arrived_unix_ms` is when that message arrived, in milliseconds since the Unix epoch.
    ///
    /// Needs `dynamodb:PartiQLInsert`: one write with the condition that there is no item, in one call with up to 24
    /// others that are written at the same time. A large event, or one that was not inserted, is put alone, which needs
    /// `dynamodb:PutItem`. If there is an item, the refusal returns it, so there is no read.
    ///
    /// # Errors
    /// The call failed, or the existing item cannot be read.
    pub async fn claim(
        &self,
        event: &Event,
        endpoints: &[EndpointId],
        message_id: &str,
        arrived_unix_ms: u64,
    ) -> Result<EventClaim, AwsError> {
        let hash = event.payload_hash();
        let now = unix_now();
        let expires_at = (now + self.retention).as_secs();
        let first_time = Arrival { moment: Moment::of(event, arrived_unix_ms), expires_at };
        let ids = endpoints.iter().map(|id| s(id.as_str())).collect();
        let json = packed(event.json(), room_beside(&event.key, endpoints.len()));
        let is_small = length(&json) <= LARGEST_TOGETHER;
        let mut item = item_key(&event.key);
        item.extend([
            ("json".into(), json),
            ("payloadHash".into(), AttributeValue::B(Blob::new(hash))),
            ("messageId".into(), s(message_id)),
            ("endpoints".into(), AttributeValue::L(ids)),
            ("fannedOutAt".into(), n(now.as_secs())),
            ("effectiveAt".into(), s(first_time.moment.key())),
            ("expiresAt".into(), n(expires_at)),
        ]);
        if is_small {
            let insert = async |items| insert(&self.client, &self.table, items).await;
            if self.together.load(item.clone(), insert).await.transpose()? == Some(Inserted::Yes) {
                return Ok(EventClaim::FanOut(first_time));
            }
        }
        let result = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(pk)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let Err(refused) = result else { return Ok(EventClaim::FanOut(first_time)) };
        match refused.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(check)) => {
                let stored = check.item().ok_or_else(|| unreadable("pk"));
                stored.and_then(|stored| judge(stored, &hash, message_id, now.as_secs())).map_err(AwsError::of::<
                    ItemError,
                >(
                    "reading an event"
                ))
            }
            _ => Err(AwsError::of("dynamodb:PutItem")(refused)),
        }
    }
}

impl Events {
    /// Reads an event. Returns `None` if its retention has ended, or if it cannot be read.
    ///
    /// Needs `dynamodb:GetItem`.
    ///
    /// # Errors
    /// The call failed.
    pub async fn get(&self, key: &EventKey) -> Result<Option<StoredEvent>, AwsError> {
        let Some(item) = get(&self.client, &self.table, item_key(key), None).await? else { return Ok(None) };
        let kept = kept_of(&item);
        if let Err(error) = &kept {
            tracing::error!(event.id = %key.id, tenant.id = %key.tenant, error = %Chain(error), "event.unreadable");
        }
        Ok(kept.ok())
    }

    /// Extends the retention of the event of a delivery that is parked until `unix_ms`, in milliseconds since the Unix
    /// epoch, so that the event is there until then.
    ///
    /// Needs `dynamodb:UpdateItem`: one write, if the event's retention would end earlier.
    ///
    /// # Errors
    /// The call failed. Do not park the delivery, because its event could be gone when the delivery is due.
    pub async fn keep_until(&self, delivery: DeliveryKey<'_>, unix_ms: u64) -> Result<(), AwsError> {
        self.keep(delivery, kept_until(delivery.arrived_unix_ms, self.retention, unix_ms)).await
    }

    /// Extends it for a delivery that waits for its endpoint, to at least half of the retention from now on.
    ///
    /// # Errors
    /// As [`Self::keep_until`].
    pub async fn keep_for_endpoint(&self, delivery: DeliveryKey<'_>) -> Result<(), AwsError> {
        self.keep(delivery, kept_for_endpoint(delivery.arrived_unix_ms, self.retention, unix_ms_now())).await
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
            .expression_attribute_values(":until", n(until));
        if_condition_held(call.send().await, "dynamodb:UpdateItem").map(drop)
    }

    /// Adds `endpoints` to the event's recipients. Returns false if the event has expired.
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
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":endpoints", AttributeValue::Ss(endpoints));
        Ok(if_condition_held(call.send().await, "dynamodb:UpdateItem")?.is_some())
    }
}

pub(crate) fn kept_of(item: &Item) -> Result<StoredEvent, ItemError> {
    let json = unpacked(item, "json")?;
    let raw = serde_json::from_str(&json).map_err(|_| unreadable("json"))?;
    let event = Event::reread(raw).map_err(|_| unreadable("json"))?;
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

/// How long, in seconds, the message that brought an event is assumed to be alive, so that a repetition can be left to
/// it. SQS presents it for far longer, but it may have gone to a dead-letter queue and come back under a new id. A
/// repetition that comes later than this sends the deliveries again; `deliver` recognises those on record.
const OWNER_ALIVE_SECONDS: u64 = 900;

fn judge(stored: &Item, hash: &[u8], message_id: &str, now: u64) -> Result<EventClaim, ItemError> {
    if bytes(stored, "payloadHash")? != hash {
        return Ok(EventClaim::Conflict);
    }
    let is_owner = text(stored, "messageId")? == message_id;
    if !is_owner && now < number(stored, "fannedOutAt")? + OWNER_ALIVE_SECONDS {
        return Ok(EventClaim::Duplicate);
    }
    Ok(EventClaim::FanOutAgain(endpoints_of(stored)?, first_time_of(stored)?))
}

fn first_time_of(stored: &Item) -> Result<Arrival, ItemError> {
    Ok(Arrival { moment: moment_of(stored)?, expires_at: number(stored, "expiresAt")? })
}

fn moment_of(item: &Item) -> Result<Moment, ItemError> {
    Moment::parse(text(item, "effectiveAt")?).ok_or_else(|| unreadable("effectiveAt"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_conflicting_item_decides() {
        let id = format!("ep_{:032x}", 7);
        let stored = Item::from([
            ("payloadHash".into(), AttributeValue::B(Blob::new([1; 32]))),
            ("messageId".into(), s("m-1")),
            ("fannedOutAt".into(), n(1_000)),
            ("effectiveAt".into(), s("2026-01-31T10:00:00.000000000Z#1769853600007")),
            ("expiresAt".into(), n(9_000)),
            ("endpoints".into(), AttributeValue::L(vec![s(&id)])),
        ]);
        let moment = Moment::parse("2026-01-31T10:00:00.000000000Z#1769853600007").unwrap();
        let again =
            EventClaim::FanOutAgain(vec![EndpointId::parse(&id).unwrap()], Arrival { moment, expires_at: 9_000 });
        let cases = [
            ([1; 32], "m-1", 1_000, again.clone(), "SQS presents the same message again"),
            ([1; 32], "m-2", 1_000, EventClaim::Duplicate, "the producer sent the event again"),
            ([1; 32], "m-2", 1_899, EventClaim::Duplicate, "and again, while the first message is alive"),
            ([1; 32], "m-2", 1_900, again, "the first message may be gone, as after a redrive"),
            ([2; 32], "m-2", 9_000, EventClaim::Conflict, "another payload under the same id"),
            ([2; 32], "m-1", 1_000, EventClaim::Conflict, "another payload, even from the same message"),
        ];
        for (hash, message_id, now, expected, why) in cases {
            assert_eq!(judge(&stored, &hash, message_id, now).unwrap(), expected, "{why}");
        }
    }
}
