//! `ParkingTable`: deliveries that wait outside of the queue. Partition key `pk` (the lane), sort key `sk` (the place)
//! ([`signpost_core::delivery::parking`]).
//!
//! A parked delivery has no TTL. If its event's retention ends meanwhile, it goes to the dead-letter queue. Notes of
//! deliveries that were given up have one (`expiresAt`).
//!
//! The lane of an endpoint has several partitions, because one accepts 1,000 writes per second. These lanes hold no
//! deliveries: `drain#<shard>` lists the endpoints whose lanes must be emptied, `waiting` those for which deliveries
//! wait, and `sweep` has the state of the sweep itself.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future::try_join_all;
use signpost_core::delivery::DeliveryKey;
use signpost_core::delivery::drain::drain_shard;
use signpost_core::delivery::parking::{Lane, first_place, place};
use signpost_core::endpoint::EndpointId;
use signpost_core::event::catalogue::retention_of;
use signpost_core::event::{EventId, EventKey, TenantId};
use signpost_engine::ports;
use signpost_engine::ports::parking::{Drain, Parked, SweepState, Waiting};

use crate::aws::batch_delete::delete;
use crate::aws::{AwsError, Item, ItemError, if_condition_held, n, number, optional, s, text, unreadable};
use crate::runtime::clock::unix_now;
use crate::runtime::logs::Chain;
use crate::tables::{RETENTION_DAYS, retention_days_of};

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

    /// Notes that an endpoint is removed, until its deliveries have expired. An erasure of the tenant finds them by it.
    ///
    /// Needs `dynamodb:PutItem`. One write.
    ///
    /// # Errors
    /// The call failed.
    pub async fn note_removed(&self, tenant: &TenantId, endpoint: &EndpointId) -> Result<(), AwsError> {
        let mut item = key(removed_lane(tenant), endpoint.to_string());
        item.insert("expiresAt".into(), n((unix_now() + self.retention + LAST_ATTEMPTS).as_secs()));
        let call = self.client.put_item().table_name(&self.table).set_item(Some(item));
        call.send().await.map(drop).map_err(AwsError::of("dynamodb:PutItem"))
    }

    /// Reads up to `limit` deliveries of a lane from `unix_ms` on, in milliseconds since the Unix epoch, oldest first. An
    /// item that cannot be read is skipped and logged, and hides none behind it.
    ///
    /// Needs `dynamodb:Query`. One call for each partition, and more if one has most of the oldest deliveries or items
    /// that cannot be read.
    ///
    /// # Errors
    /// A call failed.
    pub async fn first_since(&self, lane: &Lane, unix_ms: u64, limit: usize) -> Result<Vec<Parked>, AwsError> {
        let begin = |key| Partition { key, from: Some(first_place(unix_ms)), read: VecDeque::new() };
        let mut partitions: Vec<_> = lane.partitions().into_iter().map(begin).collect();
        let page = page_of_partition(limit, partitions.len());
        let mut found = Vec::new();
        while found.len() < limit {
            // The oldest is known once each partition has shown its own.
            try_join_all(partitions.iter_mut().map(|partition| self.read_on(partition, page))).await?;
            let ahead = partitions.iter_mut().filter(|partition| !partition.read.is_empty());
            let Some(oldest) = ahead.min_by(|one, other| one.read[0].place.cmp(&other.read[0].place)) else { break };
            found.extend(oldest.read.pop_front());
        }
        Ok(found)
    }

    /// Reads the next page of a partition if all that was read before is taken.
    async fn read_on(&self, partition: &mut Partition, page: usize) -> Result<(), AwsError> {
        while partition.read.is_empty()
            && let Some(from) = partition.from.take()
        {
            let (read, next) = self.read_page(&partition.key, &from, page, parked_of).await?;
            (partition.read, partition.from) = (read.into(), next);
        }
        Ok(())
    }

    /// Reads up to `limit` items of a partition, from a place on. Skips those that cannot be read, and logs them.
    async fn read_all<T>(&self, key: &str, from: String, limit: usize, read: ReadItem<T>) -> Result<Vec<T>, AwsError> {
        let (mut found, mut from) = (Vec::new(), Some(from));
        while found.len() < limit
            && let Some(place) = from.take()
        {
            let (some, next) = self.read_page(key, &place, limit - found.len(), read).await?;
            found.extend(some);
            from = next;
        }
        Ok(found)
    }

    /// Reads one page of a partition. Returns the items that can be read, and where the next page starts, if there may be
    /// one.
    async fn read_page<T>(
        &self,
        key: &str,
        from: &str,
        limit: usize,
        read: ReadItem<T>,
    ) -> Result<(Vec<T>, Option<String>), AwsError> {
        let call = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression("pk = :lane AND sk >= :from")
            .expression_attribute_values(":lane", s(key))
            .expression_attribute_values(":from", s(from))
            .limit(i32::try_from(limit).unwrap_or(i32::MAX));
        let answer = call.send().await.map_err(AwsError::of("dynamodb:Query"))?;
        let (items, more) = (answer.items.unwrap_or_default(), answer.last_evaluated_key);
        // A page ends at its limit, or at 1 MB. No place has this character, so none is between.
        let next = more.and_then(|last| Some(format!("{}\u{1}", text(&last, "sk").ok()?)));
        Ok((items.iter().filter_map(|item| readable(item, read)).collect(), next))
    }

    async fn end_note(&self, key: Item, seen: u64) -> Result<(), AwsError> {
        let call = self
            .client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(key))
            .condition_expression("requestedAt = :seen")
            .expression_attribute_values(":seen", n(seen));
        if_condition_held(call.send().await, "dynamodb:DeleteItem").map(drop)
    }
}

/// A partition of a lane, while its deliveries are merged with those of others.
struct Partition {
    key: String,
    /// Where the next page starts; `None` if there is none.
    from: Option<String>,
    /// The deliveries that are not merged yet.
    read: VecDeque<Parked>,
}

type ReadItem<T> = fn(&Item) -> Result<T, ItemError>;

/// Returns how many deliveries of one partition are read together: its share of `limit` and a fourth, because deliveries
/// are not spread evenly.
fn page_of_partition(limit: usize, partitions: usize) -> usize {
    let share = limit.div_ceil(partitions);
    if partitions == 1 { share } else { share.saturating_add(share / 4).saturating_add(1).min(limit) }
}

impl ports::parking::Parking for Parking {
    type Error = AwsError;

    /// Needs `dynamodb:PutItem`. One write.
    async fn park(&self, lane: Lane, unix_ms: u64, delivery: DeliveryKey<'_>) -> Result<(), AwsError> {
        let mut item = item_of(&lane, unix_ms, delivery);
        if let Lane::Exhausted(_) = lane {
            item.insert(
                "expiresAt".into(),
                n((unix_now() + retention_of(delivery.retention_days, self.retention)).as_secs()),
            );
        }
        self.put_item(item).await
    }

    /// Needs `dynamodb:Query`. One call for each partition.
    async fn first_of(&self, lane: &Lane, limit: usize) -> Result<Vec<Parked>, AwsError> {
        self.first_since(lane, 0, limit).await
    }

    /// Needs `dynamodb:Query`. One call for each partition.
    async fn is_empty(&self, lane: &Lane) -> Result<bool, AwsError> {
        let partitions = lane.partitions();
        let counts = partitions.iter().map(async |key| {
            let call = self
                .client
                .query()
                .table_name(&self.table)
                .consistent_read(true)
                .key_condition_expression("pk = :lane")
                .expression_attribute_values(":lane", s(key))
                .limit(1);
            Ok(call.send().await.map_err(AwsError::of("dynamodb:Query"))?.count)
        });
        Ok(try_join_all(counts).await?.into_iter().all(|count| count == 0))
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

    /// Needs `dynamodb:PartiQLDelete`: one call for 25 deliveries. One that is not removed with the others is removed alone,
    /// which needs `dynamodb:DeleteItem`.
    async fn remove_all(&self, parked: &[Parked]) -> Result<(), AwsError> {
        let (fenced, others): (Vec<_>, Vec<_>) = parked.iter().partition(|parked| parked.fencing_token.is_some());
        let condition = |parked: &&Parked| {
            let mut item = key(parked.lane.clone(), parked.place.clone());
            item.extend(parked.fencing_token.map(|token| (FENCING_TOKEN.to_owned(), n(token))));
            item
        };
        let items: Vec<_> = fenced.iter().map(condition).collect();
        let removed = delete(&self.client, &self.table, &items).await?;
        let left = fenced.into_iter().zip(removed).filter_map(|(parked, is_removed)| (!is_removed).then_some(parked));
        try_join_all(left.chain(others).map(|parked| self.remove(parked))).await.map(drop)
    }

    /// Needs `dynamodb:UpdateItem`.
    async fn ask_to_drain(&self, tenant: &TenantId, endpoint: &EndpointId) -> Result<(), AwsError> {
        let call = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(drain_key(endpoint)))
            .update_expression("SET requestedAt = :now, tenant = :tenant")
            .expression_attribute_values(":now", n(unix_now().as_secs()))
            .expression_attribute_values(":tenant", s(tenant.as_str()));
        call.send().await.map_err(AwsError::of("dynamodb:UpdateItem"))?;
        Ok(())
    }

    /// Needs `dynamodb:GetItem`. One call.
    async fn is_drain_requested(&self, endpoint: &EndpointId) -> Result<bool, AwsError> {
        let call = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(drain_key(endpoint)))
            .projection_expression("pk")
            .consistent_read(true);
        Ok(call.send().await.map_err(AwsError::of("dynamodb:GetItem"))?.item.is_some())
    }

    /// Needs `dynamodb:PutItem`.
    async fn ask_to_drain_now(&self, tenant: &TenantId, endpoint: &EndpointId) -> Result<(), AwsError> {
        let mut item = drain_key(endpoint);
        item.insert("requestedAt".into(), n(unix_now().as_secs()));
        item.insert("tenant".into(), s(tenant.as_str()));
        self.put_item(item).await
    }

    /// Needs `dynamodb:Query`. One call, and more if items cannot be read.
    async fn drains(&self, shard: u8, after: Option<&EndpointId>, limit: usize) -> Result<Vec<Drain>, AwsError> {
        self.read_all(&drain_lane(shard), behind(after), limit, drain_of).await
    }

    /// Needs `dynamodb:UpdateItem`.
    async fn postpone_drain(&self, drain: &Drain, unix_ms: u64) -> Result<(), AwsError> {
        let call = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(drain_key(&drain.endpoint)))
            .update_expression("SET notBefore = :until")
            .expression_attribute_values(":until", n(unix_ms))
            .expression_attribute_names("#token", FENCING_TOKEN);
        let call = match drain.fencing_token {
            Some(token) => call.condition_expression("#token = :token").expression_attribute_values(":token", n(token)),
            None => call.condition_expression("attribute_exists(pk) AND attribute_not_exists(#token)"),
        };
        if_condition_held(call.send().await, "dynamodb:UpdateItem").map(drop)
    }

    /// Needs `dynamodb:DeleteItem`.
    async fn end_drain(&self, drain: &Drain) -> Result<(), AwsError> {
        self.end_note(drain_key(&drain.endpoint), drain.asked_at).await
    }

    /// Needs `dynamodb:PutItem`. One write. Call it before the first delivery is parked, and again every hour.
    async fn note_waiting(&self, endpoint: &EndpointId) -> Result<(), AwsError> {
        let call = self.client.put_item().table_name(&self.table).set_item(Some(waiting_key(endpoint)));
        let call = call.item("requestedAt", n(unix_now().as_secs()));
        call.send().await.map_err(AwsError::of("dynamodb:PutItem"))?;
        Ok(())
    }

    /// Needs `dynamodb:Query`. One call, and more if items cannot be read.
    async fn waiting(&self, after: Option<&EndpointId>, limit: usize) -> Result<Vec<Waiting>, AwsError> {
        self.read_all(WAITING, behind(after), limit, waiting_of).await
    }

    /// Needs `dynamodb:DeleteItem`.
    async fn end_waiting(&self, waiting: &Waiting) -> Result<(), AwsError> {
        self.end_note(waiting_key(&waiting.endpoint), waiting.noted_at).await
    }

    /// Needs `dynamodb:UpdateItem`.
    async fn begin_sweep(&self, now: u64, until: u64, first_minute: u64) -> Result<Option<SweepState>, AwsError> {
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
        let state = state_of(&updated.attributes.unwrap_or_default());
        state.map(Some).map_err(AwsError::corrupt(ITEM))
    }

    /// Needs `dynamodb:UpdateItem`.
    async fn end_sweep(&self, state: &SweepState) -> Result<(), AwsError> {
        let SweepState { swept_minute, drained_until, watched_until } = state;
        let (mut set, mut remove) = (vec!["checkpointMinute = :minute".to_owned()], vec!["leasedUntil"]);
        let mut call = self.client.update_item().table_name(&self.table).set_key(Some(key(SWEEP.into(), SWEEP.into())));
        for (name, id) in [(DRAINED_UNTIL, drained_until), (WATCHED_UNTIL, watched_until)] {
            match id {
                Some(id) => {
                    set.push(format!("{name} = :{name}"));
                    call = call.expression_attribute_values(format!(":{name}"), s(id.as_str()));
                }
                None => remove.push(name),
            }
        }
        let call = call.update_expression(format!("SET {} REMOVE {}", set.join(", "), remove.join(", ")));
        let call = call.expression_attribute_values(":minute", n(swept_minute));
        call.send().await.map_err(AwsError::of("dynamodb:UpdateItem"))?;
        Ok(())
    }
}

/// How long after the removal of an endpoint its deliveries may still be written: messages of SQS come up for 14 days.
const LAST_ATTEMPTS: Duration = Duration::from_hours(15 * 24);

const ITEM: &str = "parked delivery";
const DRAINED_UNTIL: &str = "drainedUntil";
const FENCING_TOKEN: &str = "fencingToken";
const SWEEP: &str = "sweep";
const WAITING: &str = "waiting";
const WATCHED_UNTIL: &str = "watchedUntil";

pub(crate) fn key(lane: String, place: String) -> HashMap<String, AttributeValue> {
    HashMap::from([("pk".into(), s(lane)), ("sk".into(), s(place))])
}

/// Returns the first sort key behind that of an endpoint; without one, the first of all.
fn behind(endpoint: Option<&EndpointId>) -> String {
    endpoint.map_or_else(|| "e".to_owned(), |id| format!("{id}!")) // Ids begin with `e`, and none has a `!`.
}

/// Returns the lane that lists the removed endpoints of a tenant, whose deliveries may still be in `EventsTable`.
pub(crate) fn removed_lane(tenant: &TenantId) -> String {
    format!("removed#{tenant}")
}

fn drain_lane(shard: u8) -> String {
    format!("drain#{shard}")
}

pub(crate) fn drain_key(endpoint: &EndpointId) -> Item {
    key(drain_lane(drain_shard(endpoint)), endpoint.to_string())
}

pub(crate) fn waiting_key(endpoint: &EndpointId) -> Item {
    key(WAITING.into(), endpoint.to_string())
}

fn item_of(lane: &Lane, unix_ms: u64, delivery: DeliveryKey<'_>) -> Item {
    let mut item = key(lane.partition_of(delivery.event), place(unix_ms, delivery));
    item.insert("tenant".into(), s(delivery.event.tenant.as_str()));
    item.insert("event".into(), s(delivery.event.id.as_str()));
    item.insert("source".into(), s(&*delivery.event.source));
    item.insert("endpoint".into(), s(delivery.endpoint.as_str()));
    item.insert("arrivedUnixMs".into(), n(delivery.arrived_unix_ms));
    item.extend(delivery.retention_days.map(|days| (RETENTION_DAYS.into(), n(days))));
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
        retention_days: retention_days_of(item)?,
        event: EventKey { tenant, source: text(item, "source")?.to_owned(), id },
        endpoint: EndpointId::parse(text(item, "endpoint")?).ok_or_else(|| unreadable("endpoint"))?,
        lane: text(item, "pk")?.to_owned(),
        place: text(item, "sk")?.to_owned(),
        fencing_token: optional(item, FENCING_TOKEN, number)?,
    })
}

fn drain_of(item: &Item) -> Result<Drain, ItemError> {
    Ok(Drain {
        endpoint: EndpointId::parse(text(item, "sk")?).ok_or_else(|| unreadable("sk"))?,
        tenant: TenantId::parse(text(item, "tenant")?).ok_or_else(|| unreadable("tenant"))?,
        asked_at: number(item, "requestedAt")?,
        not_before_unix_ms: optional(item, "notBefore", number)?.unwrap_or_default(),
        fencing_token: optional(item, FENCING_TOKEN, number)?,
    })
}

fn waiting_of(item: &Item) -> Result<Waiting, ItemError> {
    let endpoint = EndpointId::parse(text(item, "sk")?).ok_or_else(|| unreadable("sk"))?;
    Ok(Waiting { endpoint, noted_at: number(item, "requestedAt")? })
}

fn state_of(item: &Item) -> Result<SweepState, ItemError> {
    let id = |name: &'static str| {
        let id = optional(item, name, text)?;
        id.map(|id| EndpointId::parse(id).ok_or_else(|| unreadable(name))).transpose()
    };
    Ok(SweepState {
        swept_minute: number(item, "checkpointMinute")?,
        drained_until: id(DRAINED_UNTIL)?,
        watched_until: id(WATCHED_UNTIL)?,
    })
}
