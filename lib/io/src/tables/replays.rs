//! The bulk replays ([`signpost_core::delivery::replay`]) in `ParkingTable`. Partition key `pk`, sort key `sk`:
//!
//! - a replay: `replay#<tenant>`, and its id. The table's TTL (`expiresAt`) removes it 30 days after its last change;
//! - a note that one runs: `replays`, and `<tenant>#<index>`. So a tenant has at most as many as there are indexes.
//!
//! `manage` writes the note first, so that no replay is without one. `sweep` removes it when the replay has ended.

use aws_sdk_dynamodb::Client;
use signpost_core::delivery::list::ListPosition;
use signpost_core::delivery::replay::{
    KEPT, MOST_RUNNING, Replay, ReplayCounts, ReplayFilter, ReplayId, ReplayPage, ReplayPosition, ReplayState,
};
use signpost_core::endpoint::EndpointId;
use signpost_core::event::TenantId;
use signpost_engine::ports;
use signpost_engine::ports::replays::{Replays as _, RunningReplay};

use crate::aws::batch_get::get;
use crate::aws::{AwsError, Item, ItemError, if_condition_held, n, number, optional, s, text, unreadable};
use crate::runtime::clock::{unix_ms_now, unix_now};
use crate::runtime::logs::Chain;
use crate::tables::parking::key;

/// The replays in the table.
#[derive(Clone, Debug)]
pub struct Replays {
    client: Client,
    table: String,
}

const ITEM: &str = "replay";
pub(crate) const RUNNING: &str = "replays";
/// The value of `listPosition` behind the end of a list. Positions begin with a digit.
const END: &str = "end";
/// How often a change of a replay is tried, because `sweep` may change it at the same time.
const TRIES: usize = 5;

impl Replays {
    /// Adapts `client` to the table called `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Writes a new replay. Returns false if the tenant has [`MOST_RUNNING`] that run.
    ///
    /// Needs `dynamodb:Query` and `dynamodb:PutItem`. Three calls in most cases.
    ///
    /// # Errors
    /// A call failed. The replay may be written.
    pub async fn create(&self, replay: &Replay) -> Result<bool, AwsError> {
        let running = self.running_of(Some(&replay.tenant)).await?;
        let free = (0..MOST_RUNNING).filter(|index| !running.iter().any(|running| running.index == *index));
        for index in free {
            let (tenant, id) = (replay.tenant.clone(), replay.id.clone());
            let note = RunningReplay { tenant, index, id, noted_at: unix_now().as_secs() };
            let call = self.client.put_item().table_name(&self.table).set_item(Some(item_of_note(&note)));
            let call = call.condition_expression("attribute_not_exists(pk)");
            if if_condition_held(call.send().await, "dynamodb:PutItem")?.is_some() {
                let call = self.client.put_item().table_name(&self.table).set_item(Some(item_of(replay)));
                call.send().await.map_err(AwsError::of("dynamodb:PutItem"))?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Reads up to `most` replays of a tenant, newest first, starting after `after`, and the replay after which the next
    /// page starts. One that cannot be read is left out and logged.
    ///
    /// Needs `dynamodb:Query`. One call. Strongly consistent.
    ///
    /// # Errors
    /// The call failed.
    pub async fn page(
        &self,
        tenant: &TenantId,
        after: Option<&ReplayId>,
        most: i32,
    ) -> Result<(Vec<Replay>, Option<ReplayId>), AwsError> {
        let call = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .scan_index_forward(false)
            .key_condition_expression("pk = :lane")
            .expression_attribute_values(":lane", s(lane(tenant)))
            .set_exclusive_start_key(after.map(|id| key(lane(tenant), id.to_string())))
            .limit(most);
        let page = call.send().await.map_err(AwsError::of("dynamodb:Query"))?;
        let last = page.last_evaluated_key.as_ref().and_then(|key| ReplayId::parse(text(key, "sk").ok()?));
        let items = page.items.unwrap_or_default();
        Ok((items.iter().filter_map(|item| readable(item, |item| replay_of(tenant, item))).collect(), last))
    }

    /// Stops a replay. Returns it as it is then: one that has ended stays as it is. Returns none if the tenant has no such
    /// replay.
    ///
    /// Needs `dynamodb:GetItem`, `dynamodb:PutItem`, `dynamodb:Query` and `dynamodb:DeleteItem`. Four calls in most cases.
    ///
    /// # Errors
    /// A call failed, or `sweep` changed the replay again and again. It may be stopped.
    pub async fn stop(&self, tenant: &TenantId, id: &ReplayId) -> Result<Option<Replay>, AwsError> {
        for _ in 0..TRIES {
            let Some(replay) = self.get(tenant, id).await? else { return Ok(None) };
            if replay.state != ReplayState::Running {
                return Ok(Some(replay));
            }
            let stopped = replay.with_state(ReplayState::Stopped, unix_ms_now());
            if self.replace(&stopped).await? {
                for running in self.running_of(Some(tenant)).await?.iter().filter(|running| running.id == *id) {
                    self.end_running(running).await?;
                }
                return Ok(Some(stopped));
            }
        }
        Err(AwsError::of("dynamodb:PutItem")(std::io::Error::other("the replay changed with every try")))
    }

    /// Reads the notes of running replays: of one tenant, or of all.
    async fn running_of(&self, tenant: Option<&TenantId>) -> Result<Vec<RunningReplay>, AwsError> {
        let prefix = tenant.map(|tenant| format!("{tenant}#"));
        let condition = if prefix.is_some() { "pk = :lane AND begins_with(sk, :tenant)" } else { "pk = :lane" };
        let mut call = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression(condition)
            .expression_attribute_values(":lane", s(RUNNING));
        if let Some(prefix) = prefix {
            call = call.expression_attribute_values(":tenant", s(prefix));
        }
        let (mut items, mut running) = (call.into_paginator().items().send(), Vec::new());
        while let Some(item) = items.try_next().await.map_err(AwsError::of("dynamodb:Query"))? {
            running.extend(readable(&item, note_of));
        }
        Ok(running)
    }
}

impl ports::replays::Replays for Replays {
    type Error = AwsError;

    /// Needs `dynamodb:Query`. One call per 1 MiB.
    async fn running(&self) -> Result<Vec<RunningReplay>, AwsError> {
        self.running_of(None).await
    }

    /// Needs `dynamodb:GetItem`.
    async fn get(&self, tenant: &TenantId, id: &ReplayId) -> Result<Option<Replay>, AwsError> {
        let item = get(&self.client, &self.table, key(lane(tenant), id.to_string()), None).await?;
        item.map(|item| replay_of(tenant, &item)).transpose().map_err(AwsError::corrupt(ITEM))
    }

    /// Needs `dynamodb:PutItem`. One write.
    async fn replace(&self, after: &Replay) -> Result<bool, AwsError> {
        let call = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item_of(after)))
            .condition_expression("version = :before")
            .expression_attribute_values(":before", n(after.version.saturating_sub(1)));
        Ok(if_condition_held(call.send().await, "dynamodb:PutItem")?.is_some())
    }

    /// Needs `dynamodb:DeleteItem`. One write.
    async fn end_running(&self, running: &RunningReplay) -> Result<(), AwsError> {
        let call = self
            .client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(note_key(running)))
            .condition_expression("replayId = :id")
            .expression_attribute_values(":id", s(running.id.as_str()));
        if_condition_held(call.send().await, "dynamodb:DeleteItem").map(drop)
    }
}

pub(crate) fn lane(tenant: &TenantId) -> String {
    format!("replay#{tenant}")
}

fn note_key(running: &RunningReplay) -> Item {
    key(RUNNING.into(), format!("{}#{}", running.tenant, running.index))
}

fn item_of_note(running: &RunningReplay) -> Item {
    let mut item = note_key(running);
    item.insert("replayId".into(), s(running.id.as_str()));
    item.insert("requestedAt".into(), n(running.noted_at));
    item
}

fn note_of(item: &Item) -> Result<RunningReplay, ItemError> {
    let (tenant, index) = text(item, "sk")?.split_once('#').ok_or_else(|| unreadable("sk"))?;
    Ok(RunningReplay {
        tenant: TenantId::parse(tenant).ok_or_else(|| unreadable("sk"))?,
        index: index.parse().map_err(|_| unreadable("sk"))?,
        id: ReplayId::parse(text(item, "replayId")?).ok_or_else(|| unreadable("replayId"))?,
        noted_at: number(item, "requestedAt")?,
    })
}

fn item_of(replay: &Replay) -> Item {
    let Replay { tenant, id, filter, state, position, counts, created_unix_ms, changed_unix_ms, page, version } =
        replay;
    let mut item = key(lane(tenant), id.to_string());
    item.extend([
        ("filter".into(), s(filter.stored())),
        ("replayState".into(), s(state.as_str())),
        ("sentCount".into(), n(counts.sent)),
        ("skippedCount".into(), n(counts.skipped)),
        ("createdUnixMs".into(), n(created_unix_ms)),
        ("changedUnixMs".into(), n(changed_unix_ms)),
        ("version".into(), n(version)),
        ("expiresAt".into(), n(changed_unix_ms / 1_000 + KEPT.as_secs())),
    ]);
    if let Some(position) = position {
        item.insert("endpoint".into(), s(position.endpoint().as_str()));
        let in_list = match position {
            ReplayPosition::Behind(_) => Some(END.to_owned()),
            ReplayPosition::In(_, after) => after.map(ListPosition::key),
        };
        item.extend(in_list.map(|in_list| ("listPosition".into(), s(in_list))));
    }
    if let Some(ReplayPage { since_unix_ms, to }) = page {
        item.insert("pageSinceUnixMs".into(), n(since_unix_ms));
        item.extend(to.map(|to| ("pageTo".into(), s(to.key()))));
    }
    item
}

fn replay_of(tenant: &TenantId, item: &Item) -> Result<Replay, ItemError> {
    let place = |name| {
        let text = optional(item, name, text)?.filter(|text| *text != END);
        text.map(|text| ListPosition::parse(text).ok_or_else(|| unreadable(name))).transpose()
    };
    let endpoint = optional(item, "endpoint", text)?;
    let endpoint = endpoint.map(|id| EndpointId::parse(id).ok_or_else(|| unreadable("endpoint"))).transpose()?;
    let after = place("listPosition")?;
    let position = endpoint.map(|endpoint| match text(item, "listPosition") {
        Ok(END) => ReplayPosition::Behind(endpoint),
        _ => ReplayPosition::In(endpoint, after),
    });
    let (since, to) = (optional(item, "pageSinceUnixMs", number)?, place("pageTo")?);
    Ok(Replay {
        tenant: tenant.clone(),
        id: ReplayId::parse(text(item, "sk")?).ok_or_else(|| unreadable("sk"))?,
        filter: ReplayFilter::of_stored(text(item, "filter")?).ok_or_else(|| unreadable("filter"))?,
        state: ReplayState::parse(text(item, "replayState")?).ok_or_else(|| unreadable("replayState"))?,
        position,
        counts: ReplayCounts { sent: number(item, "sentCount")?, skipped: number(item, "skippedCount")? },
        created_unix_ms: number(item, "createdUnixMs")?,
        changed_unix_ms: number(item, "changedUnixMs")?,
        page: since.map(|since_unix_ms| ReplayPage { since_unix_ms, to }),
        version: number(item, "version")?,
    })
}

/// Reads an item; logs one that cannot be read.
fn readable<T>(item: &Item, read: impl Fn(&Item) -> Result<T, ItemError>) -> Option<T> {
    let read = read(item);
    if let Err(error) = &read {
        let (lane, place) = (text(item, "pk").unwrap_or_default(), text(item, "sk").unwrap_or_default());
        tracing::error!(error = %Chain(error), lane, place, "replay.unreadable");
    }
    read.ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use signpost_core::delivery::replay::EndStatus;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn replays_and_their_notes_read_back_and_expire() {
        let tenant = TenantId::parse("acme").unwrap();
        let endpoint = EndpointId::new(Uuid::from_u128(1));
        let filter = ReplayFilter {
            endpoints: BTreeSet::from([endpoint.clone()]),
            types: BTreeSet::from(["operation".to_owned()]),
            statuses: BTreeSet::from([EndStatus::Exhausted]),
            since_unix_ms: 1,
            until_unix_ms: 2,
        };
        let id = ReplayId::new(7_000, Uuid::from_u128(2));
        let new = Replay::new(tenant.clone(), id.clone(), filter.clone(), 7_000);
        let at = filter.part_of_list(None).range().map(|(first, _)| first);
        let begun = new.with_page(at, 8_000);
        let to_the_end = new.with_page(None, 8_000);
        let counts = ReplayCounts { sent: 3, skipped: 2 };
        let paged = begun.after_page(ReplayPosition::In(endpoint.clone(), at), counts, 9_000);
        let first = begun.after_page(ReplayPosition::In(endpoint.clone(), None), counts, 9_000);
        let done =
            paged.after_page(ReplayPosition::Behind(endpoint), counts, 9_000).with_state(ReplayState::Done, 10_000);
        for replay in [new, begun, to_the_end, paged, first, done] {
            let item = item_of(&replay);
            assert_eq!(replay_of(&tenant, &item).unwrap(), replay);
            let expires_at = replay.changed_unix_ms / 1_000 + 30 * 24 * 3_600;
            assert_eq!(number(&item, "expiresAt").unwrap(), expires_at);
            for name in ["filter", "replayState", "sentCount", "skippedCount", "createdUnixMs", "version"] {
                let mut broken = item.clone();
                broken.remove(name);
                assert!(replay_of(&tenant, &broken).is_err(), "without {name}");
            }
        }
        let note = RunningReplay { tenant, index: 4, id, noted_at: 7 };
        assert_eq!(note_of(&item_of_note(&note)).unwrap(), note);
    }
}
