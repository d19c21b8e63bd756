//! The erasures of tenants ([`signpost_core::tenant_erasure`]) in `ParkingTable`, and their work in all tables. Partition key
//! `pk`, sort key `sk`:
//!
//! - an erasure: `erasure#<tenant>`, and its id. The table's TTL (`expiresAt`) removes it 30 days after its last change;
//! - a note that one runs: `erasures`, and the tenant. So a tenant has at most one;
//! - an endpoint that is removed: `removed#<tenant>`, and its id. Its deliveries are in partitions that only its id names.
//!
//! Partitions that name the tenant or one of its endpoints are queried. Token requests, links, events and parked deliveries
//! are spread over partitions that nothing lists, so their tables are read as a whole, in segments.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::scan::builders::ScanFluentBuilder;
use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};
use signpost_core::delivery::list::parts;
use signpost_core::delivery::parking::Lane;
use signpost_core::endpoint::EndpointId;
use signpost_core::event::TenantId;
use signpost_core::tenant_erasure::{ErasureId, ErasureStage, KEPT, NOT_ENDED, Removed, TenantErasure};
use signpost_engine::ports;
use signpost_engine::ports::limits::SlotPool;
use signpost_engine::ports::tenant_erasures::{ErasureStep, RunningErasure, TenantErasures as _};

use crate::aws::batch_get::get;
use crate::aws::{AwsError, Item, ItemError, if_condition_held, n, number, optional, s, text, unreadable};
use crate::runtime::clock::{unix_ms_now, unix_now};
use crate::runtime::logs::Chain;
use crate::tables::breakers::breaker_key;
use crate::tables::endpoint_keys::KEYS_OUTLIVE_SECONDS;
use crate::tables::limits::{second_key, slots_lanes};
use crate::tables::parking::{drain_key, key, removed_lane, waiting_key};
use crate::tables::subscriptions::{ERASED_UNTIL, HEAD};
use crate::tables::{quotas, replays, sealing_keys, subscriptions};

/// The erasures in the table, and the tables that they work on.
#[derive(Clone, Debug)]
pub struct TenantErasures {
    client: Client,
    tables: ErasedTables,
}

/// The tables that hold something of tenants. The audit log is not among them: nothing may remove its entries.
#[derive(Clone, Debug)]
pub struct ErasedTables {
    /// `EndpointKeysTable`.
    pub endpoint_keys: String,
    /// `EndpointsTable`.
    pub endpoints: String,
    /// `EventsTable`.
    pub events: String,
    /// `ParkingTable`.
    pub parking: String,
    /// `PortalTable`.
    pub portal: String,
    /// `TokenRequestsTable`.
    pub token_requests: String,
}

/// The names of the keys of a table.
type Keys = [&'static str; 2];

const OF_ENDPOINTS: Keys = ["tenant", "endpoint"];
const OF_ENDPOINT_KEYS: Keys = ["tenant", "key"];
const OF_OTHERS: Keys = ["pk", "sk"];

const ITEM: &str = "erasure of a tenant";
const RUNNING: &str = "erasures";
/// How many items are removed at the same time.
const AT_ONCE: usize = 32;
/// How many items of a partition one step removes.
const PAGE: i32 = 500;
/// How many deliveries of each part of an endpoint's list one step removes. Each has a partition of its own for its attempts.
const RECORDS: i32 = 50;
/// In how many segments a table is read, at the same time.
const SEGMENTS: usize = 8;
/// How many items of a segment one step reads.
const SCANNED: i32 = 1_000;

impl TenantErasures {
    /// Adapts `client` to these tables.
    #[must_use]
    pub fn new(client: Client, tables: ErasedTables) -> Self {
        Self { client, tables }
    }

    /// Writes a new erasure, unless one of the tenant runs. Returns the one that runs then.
    ///
    /// Needs `dynamodb:PutItem`, and `dynamodb:GetItem` if there is a note. Two calls in most cases.
    ///
    /// # Errors
    /// A call failed, or other requests were faster again and again. The erasure may be written.
    pub async fn create(&self, erasure: &TenantErasure) -> Result<TenantErasure, AwsError> {
        let mut id = erasure.id.clone();
        let note = RunningErasure { tenant: erasure.tenant.clone(), id: id.clone(), noted_at: unix_now().as_secs() };
        let call = self.client.put_item().table_name(&self.tables.parking).set_item(Some(item_of_note(&note)));
        let call = call.condition_expression("attribute_not_exists(pk)");
        if if_condition_held(call.send().await, "dynamodb:PutItem")?.is_none() {
            let note = get(&self.client, &self.tables.parking, note_key(&erasure.tenant), None).await?;
            let Some(note) = note.map(|item| note_of(&item)).transpose().map_err(AwsError::corrupt(ITEM))? else {
                return Err(overtaken());
            };
            match self.get(&erasure.tenant, &note.id).await? {
                Some(running) if !running.is_done() => return Ok(running),
                Some(_) => {
                    self.end_running(&note).await?; // It has ended just now.
                    return Err(overtaken());
                }
                None => id = note.id, // Another request wrote only the note.
            }
        }
        let erasure = TenantErasure { id, ..erasure.clone() };
        let call = self.client.put_item().table_name(&self.tables.parking).set_item(Some(item_of(&erasure)?));
        let call = call.condition_expression("attribute_not_exists(pk)");
        match if_condition_held(call.send().await, "dynamodb:PutItem")? {
            Some(_) => Ok(erasure),
            None => self.get(&erasure.tenant, &erasure.id).await?.ok_or_else(overtaken),
        }
    }

    /// Marks the tenant: `fanout` drops its events from now on, and `manage` changes nothing of it.
    async fn mark(&self, tenant: &TenantId) -> Result<(), AwsError> {
        let call = self
            .client
            .update_item()
            .table_name(&self.tables.endpoints)
            .set_key(Some(subscriptions::key(tenant, HEAD)))
            // Readers expect the counts.
            .update_expression(
                "SET erasedUntil = :never, endpoints = if_not_exists(endpoints, :zero), \
                 settingsBytes = if_not_exists(settingsBytes, :zero) ADD version :one",
            )
            .expression_attribute_values(":never", n(NOT_ENDED))
            .expression_attribute_values(":zero", n(0))
            .expression_attribute_values(":one", n(1));
        call.send().await.map(drop).map_err(AwsError::of("dynamodb:UpdateItem"))
    }

    /// Notes that the erasure has ended. A repetition does not move the end, because the tenant may have new events.
    async fn unmark(&self, tenant: &TenantId) -> Result<(), AwsError> {
        let call = self
            .client
            .update_item()
            .table_name(&self.tables.endpoints)
            .set_key(Some(subscriptions::key(tenant, HEAD)))
            .update_expression(
                "SET erasedUntil = :now, endpoints = :zero, settingsBytes = :zero, eventTypes = :zero, \
                 eventTypeBytes = :zero ADD version :one",
            )
            .condition_expression(format!("{ERASED_UNTIL} = :never"))
            .expression_attribute_values(":never", n(NOT_ENDED))
            .expression_attribute_values(":now", n(unix_ms_now()))
            .expression_attribute_values(":zero", n(0))
            .expression_attribute_values(":one", n(1));
        if_condition_held(call.send().await, "dynamodb:UpdateItem").map(drop)
    }

    /// Removes all endpoints and their subscriptions. Each is noted first, because its deliveries are found by its id.
    async fn remove_endpoints(&self, tenant: &TenantId) -> Result<u64, AwsError> {
        let mut removed = 0;
        loop {
            let (keys, _) = self
                .keys_in(&self.tables.endpoints, OF_ENDPOINTS, tenant.as_str(), Some(EndpointId::PREFIX), PAGE)
                .await?;
            if keys.is_empty() {
                return Ok(removed);
            }
            let ids: Vec<_> =
                keys.iter().filter_map(|key| text(key, "endpoint").ok().and_then(EndpointId::parse)).collect();
            self.note_removed(tenant, &ids).await?;
            removed += keys.len() as u64;
            self.delete_all(&self.tables.endpoints, keys).await?;
        }
    }

    /// Removes what the partitions have that name the tenant.
    async fn remove_settings(&self, tenant: &TenantId) -> Result<ErasureStep, AwsError> {
        let mut removed = Removed { endpoints: self.remove_endpoints(tenant).await?, ..Removed::default() };
        let (keys, mut is_more) =
            self.keys_in(&self.tables.endpoints, OF_ENDPOINTS, tenant.as_str(), None, PAGE).await?;
        let keys: Vec<_> =
            keys.into_iter().filter(|key| text(key, "endpoint").is_ok_and(|name| name != HEAD)).collect();
        removed.event_types = count(&keys, "endpoint", "t#");
        self.delete_all(&self.tables.endpoints, keys).await?;
        self.end_keys(tenant).await?;
        let lanes = quotas::lanes(tenant).into_iter().chain(slots_lanes(SlotPool::Tenant(tenant.clone())));
        for lane in lanes.chain([replays::lane(tenant)]) {
            let is_replays = lane == replays::lane(tenant);
            let (keys, more) = self.keys_in(&self.tables.parking, OF_OTHERS, &lane, None, PAGE).await?;
            removed.replays += if is_replays { keys.len() as u64 } else { 0 };
            is_more |= more;
            self.delete_all(&self.tables.parking, keys).await?;
        }
        let prefix = format!("{tenant}#");
        let (keys, _) = self.keys_in(&self.tables.parking, OF_OTHERS, replays::RUNNING, Some(&prefix), PAGE).await?;
        self.delete_all(&self.tables.parking, keys).await?;
        Ok(ErasureStep { removed, cursor: is_more.then(|| "more".to_owned()) })
    }

    /// Removes the key pair that seals the tenant's secrets, and ends the publication of its endpoints' keys. Receivers still
    /// verify what they got last.
    async fn end_keys(&self, tenant: &TenantId) -> Result<(), AwsError> {
        let call = self.client.query().table_name(&self.tables.endpoint_keys).consistent_read(true);
        let call = call
            .key_condition_expression("tenant = :tenant")
            .expression_attribute_values(":tenant", s(tenant.as_str()));
        let items = call.into_paginator().items().send();
        let items: Vec<_> = items.try_collect().await.map_err(AwsError::of("dynamodb:Query"))?;
        let keys = items.iter().map(|item| key_in(item, OF_ENDPOINT_KEYS));
        let expires_at = unix_now().as_secs() + KEYS_OUTLIVE_SECONDS;
        let ends = keys.map(async |key| {
            if text(&key, "key").is_ok_and(|name| name == sealing_keys::SORT_KEY) {
                return self.delete_all(&self.tables.endpoint_keys, vec![key]).await;
            }
            let call = self
                .client
                .update_item()
                .table_name(&self.tables.endpoint_keys)
                .set_key(Some(key))
                .update_expression("SET expiresAt = :at")
                .condition_expression(
                    "attribute_exists(tenant) AND (attribute_not_exists(expiresAt) OR expiresAt > :at)",
                )
                .expression_attribute_values(":at", n(expires_at));
            if_condition_held(call.send().await, "dynamodb:UpdateItem").map(drop)
        });
        stream::iter(ends).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Removes some deliveries of the first endpoint that is noted, or what else it has, and then the note.
    async fn remove_deliveries(&self, tenant: &TenantId) -> Result<ErasureStep, AwsError> {
        let (notes, _) = self.keys_in(&self.tables.parking, OF_OTHERS, &removed_lane(tenant), None, 1).await?;
        let Some(note) = notes.into_iter().next() else { return Ok(ErasureStep::default()) };
        let cursor = Some(text(&note, "sk").map_err(AwsError::corrupt(ITEM))?.to_owned());
        let endpoint = cursor.as_deref().and_then(EndpointId::parse);
        let endpoint = endpoint.ok_or_else(|| unreadable("sk")).map_err(AwsError::corrupt(ITEM))?;
        let lists =
            parts(&endpoint).map(async |part| self.keys_in(&self.tables.events, OF_OTHERS, &part, None, RECORDS).await);
        let records: Vec<_> = try_join_all(lists).await?.into_iter().flat_map(|(keys, _)| keys).collect();
        let mut removed = Removed { deliveries: records.len() as u64, ..Removed::default() };
        if records.is_empty() {
            let (parked, is_more) = self.remove_endpoint_lanes(&endpoint).await?;
            removed.parked = parked;
            if !is_more {
                self.delete_all(&self.tables.parking, vec![note]).await?;
            }
            return Ok(ErasureStep { removed, cursor });
        }
        // The attempts first, because only the record names them.
        let beside = records.iter().map(async |record| {
            let [part, place] = OF_OTHERS.map(|name| text(record, name).unwrap_or_default());
            self.clear(&self.tables.events, OF_OTHERS, &format!("{part}#{place}")).await
        });
        let () = stream::iter(beside).buffer_unordered(AT_ONCE / 2).try_collect().await?;
        self.delete_all(&self.tables.events, records).await?;
        Ok(ErasureStep { removed, cursor })
    }

    /// Removes what `ParkingTable` has under the id of an endpoint. Returns how many parked deliveries that were, and whether
    /// there are more.
    async fn remove_endpoint_lanes(&self, endpoint: &EndpointId) -> Result<(u64, bool), AwsError> {
        let lanes = [Lane::Endpoint(endpoint.clone()), Lane::Exhausted(endpoint.clone())];
        let lanes = lanes.iter().flat_map(Lane::partitions).map(|lane| (lane, 1));
        let slots = slots_lanes(SlotPool::Endpoint(endpoint.clone())).map(|lane| (lane, 0));
        let cleared = lanes.chain(slots).map(async |(lane, counted)| {
            let (keys, is_more) = self.keys_in(&self.tables.parking, OF_OTHERS, &lane, None, PAGE).await?;
            let parked = counted * keys.len() as u64;
            self.delete_all(&self.tables.parking, keys).await?;
            Ok::<_, AwsError>((parked, is_more))
        });
        let cleared: Vec<_> = stream::iter(cleared).buffer_unordered(4).try_collect().await?;
        let single = [breaker_key(endpoint), second_key(endpoint), drain_key(endpoint), waiting_key(endpoint)];
        self.delete_all(&self.tables.parking, single.into()).await?;
        Ok((cleared.iter().map(|(parked, _)| parked).sum(), cleared.iter().any(|(_, is_more)| *is_more)))
    }

    /// Reads a page of each segment of a table that is not read to its end, and removes the items that `filter` chooses: all
    /// of those that `:tenant` belongs to.
    async fn scan(
        &self,
        erasure: &TenantErasure,
        table: &str,
        filter: impl Fn(ScanFluentBuilder) -> ScanFluentBuilder,
        counted: impl Fn(&[Item]) -> Removed,
    ) -> Result<ErasureStep, AwsError> {
        let mut segments = Segment::all_of(erasure.cursor.as_deref());
        let pages = segments.iter().enumerate().filter(|(_, segment)| **segment != Segment::Done);
        let pages = pages.map(async |(index, segment)| {
            let call = self.client.scan().table_name(table).consistent_read(true).limit(SCANNED);
            let call = call
                .segment(i32::try_from(index).unwrap_or_default())
                .total_segments(i32::try_from(SEGMENTS).unwrap_or_default())
                .set_exclusive_start_key(segment.key());
            let page = filter(call).send().await.map_err(AwsError::of("dynamodb:Scan"))?;
            Ok::<_, AwsError>((index, page.items.unwrap_or_default(), page.last_evaluated_key))
        });
        let pages: Vec<_> = try_join_all(pages).await?;
        let mut found = Vec::new();
        for (index, items, last) in pages {
            found.extend(items);
            segments[index] = last.as_ref().map_or(Ok(Segment::Done), Segment::at).map_err(AwsError::corrupt(ITEM))?;
        }
        let removed = counted(&found);
        self.note_removed(&erasure.tenant, &endpoints_in(&found)).await?; // Before the events that name them.
        let keys = found.iter().map(|item| key_in(item, OF_OTHERS)).collect();
        self.delete_all(table, keys).await?;
        let is_over = segments.iter().all(|segment| *segment == Segment::Done);
        let cursor = serde_json::to_string(&segments).map_err(AwsError::of("dynamodb:PutItem"))?;
        Ok(ErasureStep { removed, cursor: (!is_over).then_some(cursor) })
    }

    async fn note_removed(&self, tenant: &TenantId, endpoints: &[EndpointId]) -> Result<(), AwsError> {
        let notes = endpoints.iter().map(async |endpoint| {
            let item = key(removed_lane(tenant), endpoint.to_string());
            let call = self.client.put_item().table_name(&self.tables.parking).set_item(Some(item));
            call.send().await.map(drop).map_err(AwsError::of("dynamodb:PutItem"))
        });
        stream::iter(notes).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Reads the keys of up to `limit` items of a partition, and whether there are more.
    async fn keys_in(
        &self,
        table: &str,
        [partition, sort]: Keys,
        value: &str,
        prefix: Option<&str>,
        limit: i32,
    ) -> Result<(Vec<Item>, bool), AwsError> {
        let call = self
            .client
            .query()
            .table_name(table)
            .consistent_read(true)
            .limit(limit)
            .expression_attribute_names("#partition", partition)
            .expression_attribute_names("#sort", sort)
            .expression_attribute_values(":value", s(value))
            .projection_expression("#partition, #sort");
        let call = match prefix {
            None => call.key_condition_expression("#partition = :value"),
            Some(prefix) => call
                .key_condition_expression("#partition = :value AND begins_with(#sort, :prefix)")
                .expression_attribute_values(":prefix", s(prefix)),
        };
        let page = call.send().await.map_err(AwsError::of("dynamodb:Query"))?;
        Ok((page.items.unwrap_or_default(), page.last_evaluated_key.is_some()))
    }

    /// Removes all items of a partition.
    async fn clear(&self, table: &str, keys: Keys, value: &str) -> Result<(), AwsError> {
        loop {
            let (found, is_more) = self.keys_in(table, keys, value, None, PAGE).await?;
            self.delete_all(table, found).await?;
            if !is_more {
                return Ok(());
            }
        }
    }

    async fn delete_all(&self, table: &str, keys: Vec<Item>) -> Result<(), AwsError> {
        let deletes = keys.into_iter().map(async |key| {
            let call = self.client.delete_item().table_name(table).set_key(Some(key));
            call.send().await.map(drop).map_err(AwsError::of("dynamodb:DeleteItem"))
        });
        stream::iter(deletes).buffer_unordered(AT_ONCE).try_collect().await
    }
}

impl ports::tenant_erasures::TenantErasures for TenantErasures {
    type Error = AwsError;

    /// Needs `dynamodb:Query`. One call per 1 MiB.
    async fn running(&self) -> Result<Vec<RunningErasure>, AwsError> {
        let call = self.client.query().table_name(&self.tables.parking).consistent_read(true);
        let call = call.key_condition_expression("pk = :lane").expression_attribute_values(":lane", s(RUNNING));
        let (mut items, mut running) = (call.into_paginator().items().send(), Vec::new());
        while let Some(item) = items.try_next().await.map_err(AwsError::of("dynamodb:Query"))? {
            running.extend(readable(&item, note_of));
        }
        Ok(running)
    }

    /// Needs `dynamodb:GetItem`.
    async fn get(&self, tenant: &TenantId, id: &ErasureId) -> Result<Option<TenantErasure>, AwsError> {
        let item = get(&self.client, &self.tables.parking, key(lane(tenant), id.to_string()), None).await?;
        item.map(|item| erasure_of(tenant, &item)).transpose().map_err(AwsError::corrupt(ITEM))
    }

    /// Needs `dynamodb:PutItem`. One write.
    async fn replace(&self, after: &TenantErasure) -> Result<bool, AwsError> {
        let call = self
            .client
            .put_item()
            .table_name(&self.tables.parking)
            .set_item(Some(item_of(after)?))
            .condition_expression("version = :before")
            .expression_attribute_values(":before", n(after.version.saturating_sub(1)));
        Ok(if_condition_held(call.send().await, "dynamodb:PutItem")?.is_some())
    }

    /// Needs `dynamodb:DeleteItem`. One write.
    async fn end_running(&self, running: &RunningErasure) -> Result<(), AwsError> {
        let call = self
            .client
            .delete_item()
            .table_name(&self.tables.parking)
            .set_key(Some(note_key(&running.tenant)))
            .condition_expression("erasureId = :id")
            .expression_attribute_values(":id", s(running.id.as_str()));
        if_condition_held(call.send().await, "dynamodb:DeleteItem").map(drop)
    }

    /// Needs `dynamodb:Query` and `dynamodb:DeleteItem` on the tables of endpoints, their keys, events and parked deliveries;
    /// `dynamodb:UpdateItem` on the first two; `dynamodb:Scan` and `dynamodb:DeleteItem` on those of token requests, links,
    /// events and parked deliveries. The first stage needs only `EndpointsTable`, and `dynamodb:PutItem` on `ParkingTable`.
    async fn step(&self, erasure: &TenantErasure) -> Result<ErasureStep, AwsError> {
        let tenant = &erasure.tenant;
        let of_tenant = |call: ScanFluentBuilder| {
            call.filter_expression("tenant = :tenant")
                .expression_attribute_values(":tenant", s(tenant.as_str()))
                .projection_expression("pk, sk, tenant")
        };
        match erasure.stage {
            ErasureStage::Endpoints => {
                self.mark(tenant).await?;
                let endpoints = self.remove_endpoints(tenant).await?;
                Ok(ErasureStep { removed: Removed { endpoints, ..Removed::default() }, cursor: None })
            }
            ErasureStage::Settings => self.remove_settings(tenant).await,
            ErasureStage::TokenRequests => {
                let counted =
                    |items: &[Item]| Removed { token_requests: count(items, "sk", "tenant#"), ..Removed::default() };
                self.scan(erasure, &self.tables.token_requests, of_tenant, counted).await
            }
            ErasureStage::Links => {
                let counted = |items: &[Item]| Removed { links: count(items, "pk", "tenant#"), ..Removed::default() };
                self.scan(erasure, &self.tables.portal, of_tenant, counted).await
            }
            ErasureStage::Events => {
                // Events and states: `<tenant>/<id>`, and `<tenant>/states#<hash>`. No tenant has a slash.
                let filter = |call: ScanFluentBuilder| {
                    call.filter_expression("begins_with(pk, :tenant)")
                        .expression_attribute_values(":tenant", s(format!("{tenant}/")))
                        .projection_expression("pk, sk, endpoints, replayedTo")
                };
                let counted = |items: &[Item]| Removed {
                    events: count(items, "sk", "event#"),
                    states: count(items, "sk", "state#"),
                    ..Removed::default()
                };
                self.scan(erasure, &self.tables.events, filter, counted).await
            }
            ErasureStage::Deliveries => self.remove_deliveries(tenant).await,
            ErasureStage::Parked => {
                // Drains name the tenant too. Only deliveries name an event.
                let filter = |call: ScanFluentBuilder| {
                    of_tenant(call)
                        .projection_expression("pk, sk, tenant, #event")
                        .expression_attribute_names("#event", "event")
                };
                let parked = |items: &[Item]| items.iter().filter(|item| item.contains_key("event")).count() as u64;
                let counted = |items: &[Item]| Removed { parked: parked(items), ..Removed::default() };
                self.scan(erasure, &self.tables.parking, filter, counted).await
            }
            ErasureStage::Ending => self.unmark(tenant).await.map(|()| ErasureStep::default()),
            ErasureStage::Settling | ErasureStage::Done => Ok(ErasureStep::default()),
        }
    }
}

/// How far a segment of a table is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Segment {
    Start,
    /// Up to the item with these keys.
    At(String, String),
    Done,
}

impl Segment {
    /// Reads the cursor of a stage. One that cannot be read begins again, which removes nothing twice.
    fn all_of(cursor: Option<&str>) -> Vec<Self> {
        let read: Option<Vec<Self>> = cursor.and_then(|cursor| serde_json::from_str(cursor).ok());
        read.filter(|segments| segments.len() == SEGMENTS).unwrap_or_else(|| vec![Self::Start; SEGMENTS])
    }

    fn at(last: &Item) -> Result<Self, ItemError> {
        Ok(Self::At(text(last, "pk")?.to_owned(), text(last, "sk")?.to_owned()))
    }

    fn key(&self) -> Option<Item> {
        match self {
            Self::Start | Self::Done => None,
            Self::At(partition, sort) => Some(key(partition.clone(), sort.clone())),
        }
    }
}

/// Counts the items with an attribute that begins so.
fn count(items: &[Item], name: &'static str, prefix: &str) -> u64 {
    items.iter().filter(|item| text(item, name).is_ok_and(|text| text.starts_with(prefix))).count() as u64
}

fn key_in(item: &Item, names: Keys) -> Item {
    names.into_iter().filter_map(|name| Some((name.to_owned(), item.get(name)?.clone()))).collect()
}

/// Returns the endpoints that events name, each once.
fn endpoints_in(items: &[Item]) -> Vec<EndpointId> {
    let lists = items.iter().filter_map(|item| item.get("endpoints")?.as_l().ok()).flatten();
    let first = lists.filter_map(|id: &AttributeValue| id.as_s().ok());
    let later = items.iter().filter_map(|item| item.get("replayedTo")?.as_ss().ok()).flatten();
    let mut ids: Vec<_> = first.chain(later).filter_map(|id| EndpointId::parse(id)).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn overtaken() -> AwsError {
    AwsError::of("dynamodb:PutItem")(std::io::Error::other(
        "another request began or ended an erasure at the same time",
    ))
}

fn lane(tenant: &TenantId) -> String {
    format!("erasure#{tenant}")
}

fn note_key(tenant: &TenantId) -> Item {
    key(RUNNING.into(), tenant.to_string())
}

fn item_of_note(running: &RunningErasure) -> Item {
    let mut item = note_key(&running.tenant);
    item.insert("erasureId".into(), s(running.id.as_str()));
    item.insert("requestedAt".into(), n(running.noted_at));
    item
}

fn note_of(item: &Item) -> Result<RunningErasure, ItemError> {
    Ok(RunningErasure {
        tenant: TenantId::parse(text(item, "sk")?).ok_or_else(|| unreadable("sk"))?,
        id: ErasureId::parse(text(item, "erasureId")?).ok_or_else(|| unreadable("erasureId"))?,
        noted_at: number(item, "requestedAt")?,
    })
}

fn item_of(erasure: &TenantErasure) -> Result<Item, AwsError> {
    let TenantErasure { tenant, id, stage, cursor, removed, .. } = erasure;
    let TenantErasure { created_unix_ms, stopped_unix_ms, changed_unix_ms, version, .. } = erasure;
    let mut item = key(lane(tenant), id.to_string());
    item.extend([
        ("stage".into(), s(stage.as_str())),
        ("removed".into(), s(serde_json::to_string(removed).map_err(AwsError::of("dynamodb:PutItem"))?)),
        ("createdUnixMs".into(), n(created_unix_ms)),
        ("changedUnixMs".into(), n(changed_unix_ms)),
        ("version".into(), n(version)),
        ("expiresAt".into(), n(changed_unix_ms / 1_000 + KEPT.as_secs())),
    ]);
    item.extend(cursor.as_ref().map(|cursor| ("cursor".into(), s(cursor))));
    item.extend(stopped_unix_ms.map(|at| ("stoppedUnixMs".into(), n(at))));
    Ok(item)
}

fn erasure_of(tenant: &TenantId, item: &Item) -> Result<TenantErasure, ItemError> {
    Ok(TenantErasure {
        tenant: tenant.clone(),
        id: ErasureId::parse(text(item, "sk")?).ok_or_else(|| unreadable("sk"))?,
        stage: ErasureStage::parse(text(item, "stage")?).ok_or_else(|| unreadable("stage"))?,
        cursor: optional(item, "cursor", text)?.map(str::to_owned),
        removed: serde_json::from_str(text(item, "removed")?).map_err(|_| unreadable("removed"))?,
        created_unix_ms: number(item, "createdUnixMs")?,
        stopped_unix_ms: optional(item, "stoppedUnixMs", number)?,
        changed_unix_ms: number(item, "changedUnixMs")?,
        version: number(item, "version")?,
    })
}

/// Reads an item; logs one that cannot be read.
fn readable<T>(item: &Item, read: impl Fn(&Item) -> Result<T, ItemError>) -> Option<T> {
    let read = read(item);
    if let Err(error) = &read {
        let (lane, place) = (text(item, "pk").unwrap_or_default(), text(item, "sk").unwrap_or_default());
        tracing::error!(error = %Chain(error), lane, place, "erasure.unreadable");
    }
    read.ok()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn erasures_and_their_notes_read_back_and_expire() {
        let tenant = TenantId::parse("acme").unwrap();
        let id = ErasureId::new(7_000, Uuid::from_u128(2));
        let new = TenantErasure::new(tenant.clone(), id.clone(), 7_000);
        let removed = Removed { endpoints: 2, events: 3, ..Removed::default() };
        let stopped = new.after_step(removed, None, 8_000);
        let begun = stopped.after_step(Removed::default(), Some("[]".into()), 9_000);
        for erasure in [new, stopped, begun] {
            let item = item_of(&erasure).unwrap();
            assert_eq!(erasure_of(&tenant, &item).unwrap(), erasure);
            let expires_at = erasure.changed_unix_ms / 1_000 + 30 * 24 * 3_600;
            assert_eq!(number(&item, "expiresAt").unwrap(), expires_at);
            assert!(!item.contains_key("tenant"), "the scan of parked deliveries finds those with a tenant");
        }
        let note = RunningErasure { tenant, id, noted_at: 7 };
        assert_eq!(note_of(&item_of_note(&note)).unwrap(), note);
        assert!(!item_of_note(&note).contains_key("tenant"));
    }

    #[test]
    fn a_scan_goes_on_where_each_segment_stopped() {
        let mut segments = Segment::all_of(None);
        assert_eq!(segments, vec![Segment::Start; SEGMENTS]);
        segments[1] = Segment::At("acme/1".into(), "event#/core".into());
        segments[2] = Segment::Done;
        let cursor = serde_json::to_string(&segments).unwrap();
        assert_eq!(Segment::all_of(Some(&cursor)), segments);
        assert_eq!(segments[1].key(), Some(key("acme/1".into(), "event#/core".into())));
        for unreadable in ["", "more", "[]"] {
            assert_eq!(Segment::all_of(Some(unreadable)), vec![Segment::Start; SEGMENTS]);
        }
    }

    #[test]
    fn each_endpoint_that_events_name_is_noted_once() {
        let [one, two, three] = [1, 2, 3].map(|number| EndpointId::new(Uuid::from_u128(number)));
        let list = |ids: &[&EndpointId]| AttributeValue::L(ids.iter().map(|id| s(id.as_str())).collect());
        let items = [
            Item::from([("endpoints".into(), list(&[&one, &two]))]),
            Item::from([
                ("endpoints".into(), list(&[&two])),
                ("replayedTo".into(), AttributeValue::Ss(vec![three.to_string()])),
            ]),
            Item::from([("pk".into(), s("acme/states#x"))]),
        ];
        assert_eq!(endpoints_in(&items), [one, two, three]);
    }
}
