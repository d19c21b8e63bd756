//! `EventsTable`: each event once. Partition key `pk` (`<tenant>/<id>`), sort key `sk` (`event#<source>`). The table's
//! TTL (`expiresAt`) removes items after the retention.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure::AllOld;
use signpost_core::delivery::DeliveryKey;
use signpost_core::delivery::parking::{kept_for_endpoint, kept_until};
use signpost_core::endpoint::EndpointId;
use signpost_core::event::{Event, EventKey};
use signpost_core::status::state::Moment;
use signpost_engine::ports;
use signpost_engine::ports::events::{Arrival, FirstFanOut, StoredEvent};

use crate::aws::batch_get::{get, get_all};
use crate::aws::batch_insert::{Inserted, LARGEST_TOGETHER, insert};
use crate::aws::coalesce::Coalescer;
use crate::aws::compression::{WRITE_UNIT, length, packed, unpacked};
use crate::aws::{
    AwsError, Item, ItemError, bytes, check_form, if_condition_held, n, number, optional, s, text, unreadable,
};
use crate::runtime::clock::unix_ms_now;
use crate::runtime::logs::Chain;

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
    async fn insert(&self, event: &Event, first: &FirstFanOut) -> Result<Option<FirstFanOut>, AwsError> {
        let ids = first.endpoints.iter().map(|id| s(id.as_str())).collect();
        let json = packed(event.json(), room_beside(&event.key, first.endpoints.len()));
        let is_small = length(&json) <= LARGEST_TOGETHER;
        let mut item = item_key(&event.key);
        item.extend([
            ("json".into(), json),
            ("payloadHash".into(), AttributeValue::B(Blob::new(first.payload_hash))),
            ("messageId".into(), s(&*first.message_id)),
            ("endpoints".into(), AttributeValue::L(ids)),
            ("fannedOutAt".into(), n(first.at_unix_seconds)),
            ("effectiveAt".into(), s(first.arrival.moment.key())),
            ("expiresAt".into(), n(first.arrival.expires_at)),
        ]);
        if is_small {
            let insert = async |items| insert(&self.client, &self.table, items).await;
            if self.together.load(item.clone(), insert).await.transpose()? == Some(Inserted::Yes) {
                return Ok(None);
            }
        }
        let call = self.client.put_item().table_name(&self.table).set_item(Some(item));
        let call = call.condition_expression("attribute_not_exists(pk)");
        let result = call.return_values_on_condition_check_failure(AllOld).send().await;
        let Err(refused) = result else { return Ok(None) };
        match refused.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(check)) => {
                let stored = check.item().ok_or_else(|| unreadable("pk"));
                stored.and_then(first_of).map(Some).map_err(AwsError::of::<ItemError>("reading an event"))
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
        item.map_or(Ok(None), |item| readable(key, &item))
    }

    /// Needs `dynamodb:BatchGetItem` and `dynamodb:GetItem`. One call for up to 100 events, and one for each that does not
    /// fit into its 16 MB.
    async fn get_all(&self, keys: &[&EventKey]) -> Result<Vec<Option<StoredEvent>>, AwsError> {
        let items = get_all(&self.client, &self.table, keys.iter().map(|key| item_key(key)).collect(), None).await;
        let events = keys.iter().zip(items).map(|(key, item)| item?.map_or(Ok(None), |item| readable(key, &item)));
        events.collect()
    }

    /// Needs `dynamodb:UpdateItem`: one write, if the event's retention would end earlier.
    async fn keep_until(&self, delivery: DeliveryKey<'_>, unix_ms: u64) -> Result<(), AwsError> {
        self.keep(delivery, kept_until(delivery.arrived_unix_ms, self.retention, unix_ms)).await
    }

    async fn keep_for_endpoint(&self, delivery: DeliveryKey<'_>) -> Result<(), AwsError> {
        self.keep(delivery, kept_for_endpoint(delivery.arrived_unix_ms, self.retention, unix_ms_now())).await
    }
}

impl Events {
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

const ITEM: &str = "event";

/// Reads an event; `None` for one that cannot be read, which is logged. An event of a newer release is an error instead:
/// its deliveries wait for that release.
fn readable(key: &EventKey, item: &Item) -> Result<Option<StoredEvent>, AwsError> {
    check_form(item, ITEM)?;
    let kept = kept_of(item);
    if let Err(error) = &kept {
        tracing::error!(event.id = %key.id, tenant.id = %key.tenant, error = %Chain(error), "event.unreadable");
    }
    Ok(kept.ok())
}

pub(crate) fn kept_of(item: &Item) -> Result<StoredEvent, ItemError> {
    let json = unpacked(item, "json")?;
    let event = Event::reread(&json).map_err(|_| unreadable("json"))?;
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

fn first_of(stored: &Item) -> Result<FirstFanOut, ItemError> {
    let payload_hash = bytes(stored, "payloadHash")?.try_into().map_err(|_| unreadable("payloadHash"))?;
    Ok(FirstFanOut {
        message_id: text(stored, "messageId")?.to_owned(),
        endpoints: endpoints_of(stored)?,
        sent: optional(stored, "sent", number)?.map_or(0, |sent| usize::try_from(sent).unwrap_or(usize::MAX)),
        at_unix_seconds: number(stored, "fannedOutAt")?,
        arrival: Arrival { moment: moment_of(stored)?, expires_at: number(stored, "expiresAt")? },
        payload_hash,
    })
}

fn moment_of(item: &Item) -> Result<Moment, ItemError> {
    Moment::parse(text(item, "effectiveAt")?).ok_or_else(|| unreadable("effectiveAt"))
}
