//! The states of subjects, in `EventsTable`: one item for each event and subject, which is never overwritten. Partition
//! key `pk` ([`signpost_core::status::state::partition`]), sort key `sk` (`state#<position>`). Only states of sessions
//! contain the payload, so that one query answers for a session; the other payloads stay with the event.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use futures_util::future::try_join_all;
use signpost_core::event::{Event, TenantId};
use signpost_core::status::session;
use signpost_core::status::state::{Moment, StateKey, SubjectState, partition, subjects};
use signpost_engine::ports;
use signpost_engine::ports::events::Arrival;

use crate::aws::batch_insert::{Inserted, LARGEST_TOGETHER, insert};
use crate::aws::coalesce::Coalescer;
use crate::aws::compression::{WRITE_UNIT, length, packed, unpacked};
use crate::aws::{AwsError, Item, ItemError, if_condition_held, n, s, text, unreadable};
use crate::runtime::api_gateway::bytes_in_answer;
use crate::runtime::clock::unix_now;
use crate::runtime::logs::Chain;
use crate::tables::tombstone_expires_at;

/// The states in the table.
#[derive(Clone, Debug)]
pub struct States {
    client: Client,
    table: String,
    retention: Duration,
    together: Arc<Coalescer<Item, Result<Inserted, AwsError>>>,
}

/// The subject that a caller asks for.
#[derive(Clone, Copy, Debug)]
pub struct SubjectKey<'a> {
    /// The tenant that it belongs to.
    pub tenant: &'a TenantId,
    /// The CloudEvents `type` of the events about it.
    pub kind: &'a str,
    /// Its name.
    pub name: &'a str,
}

impl States {
    /// Adapts `client` to the table called `table`; tombstones are kept for `retention`.
    #[must_use]
    pub fn new(client: Client, table: String, retention: Duration) -> Self {
        Self { client, table, retention, together: Arc::default() }
    }

    /// Reads the position of a subject's newest state (strongly consistent).
    ///
    /// Needs `dynamodb:Query`. One call, one read unit.
    ///
    /// # Errors
    /// The call failed, or the item cannot be read.
    pub async fn newest(&self, subject: SubjectKey<'_>) -> Result<Option<StateKey>, AwsError> {
        let call = self.newest_first(subject).limit(1).projection_expression("sk, erasedAt");
        let answer = call.send().await;
        let items = answer.map_err(AwsError::of("dynamodb:Query"))?.items.unwrap_or_default();
        match items.first() {
            Some(item) if item.contains_key(ERASED_AT) => self.newest_kept(subject).await,
            item => item.map(place_of).transpose().map_err(AwsError::corrupt(ITEM)),
        }
    }

    /// Does as [`Self::newest`] for a subject whose newest state was erased.
    async fn newest_kept(&self, subject: SubjectKey<'_>) -> Result<Option<StateKey>, AwsError> {
        let call = self.newest_first(subject).filter_expression(IS_KEPT).projection_expression("sk");
        let mut items = call.into_paginator().items().send();
        let newest = items.try_next().await.map_err(AwsError::of("dynamodb:Query"))?;
        newest.as_ref().map(place_of).transpose().map_err(AwsError::corrupt(ITEM))
    }

    /// Reads the positions of up to `most` states of a subject that were not erased, oldest first.
    ///
    /// Needs `dynamodb:Query`. One call per MiB.
    ///
    /// # Errors
    /// A call failed, or an item cannot be read.
    pub async fn oldest(&self, subject: SubjectKey<'_>, most: usize) -> Result<Vec<StateKey>, AwsError> {
        let call = self.newest_first(subject).scan_index_forward(true).filter_expression(IS_KEPT);
        let mut items = call.projection_expression("sk").into_paginator().items().send();
        let mut places = Vec::new();
        while places.len() < most
            && let Some(item) = items.try_next().await.map_err(AwsError::of("dynamodb:Query"))?
        {
            places.push(place_of(&item).map_err(AwsError::corrupt(ITEM))?);
        }
        Ok(places)
    }

    /// Replaces a state by a tombstone, which is kept as long as an event that arrives now.
    ///
    /// Needs `dynamodb:UpdateItem`. One write.
    ///
    /// # Errors
    /// The call failed.
    pub async fn erase_state(&self, subject: SubjectKey<'_>, place: &StateKey) -> Result<(), AwsError> {
        let SubjectKey { tenant, kind, name } = subject;
        let call = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("pk", s(partition(tenant, kind, name)))
            .key("sk", s(format!("{STATE}{}", place.key())))
            .update_expression("SET erasedAt = :now, expiresAt = :expires REMOVE #status, stage, #data")
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#data", "data")
            .expression_attribute_values(":now", n(unix_now().as_secs()))
            .expression_attribute_values(":expires", n(tombstone_expires_at(self.retention)));
        call.send().await.map(drop).map_err(AwsError::of("dynamodb:UpdateItem"))
    }

    /// Reads up to `most` states of a subject, newest first (strongly consistent). A state that cannot be read is left
    /// out and logged.
    ///
    /// Needs `dynamodb:Query`. One call, except for a session with large payloads.
    ///
    /// # Errors
    /// A call failed.
    pub async fn history(&self, subject: SubjectKey<'_>, most: usize) -> Result<Vec<SubjectState>, AwsError> {
        let call = self.newest_first(subject).limit(i32::try_from(most).unwrap_or(i32::MAX));
        let call = call.filter_expression(IS_KEPT).projection_expression("sk, #status, stage");
        let call = call.expression_attribute_names("#status", "status");
        Ok(read(call, most).await?.iter().filter_map(|item| readable(item, state_of(item))).collect())
    }

    /// Reads up to `most` payloads of a session, newest first, and at most 4 MiB of them, as counted in the answer and
    /// not as packed in the table.
    ///
    /// Needs `dynamodb:Query`. One call per MiB.
    ///
    /// # Errors
    /// A call failed.
    pub async fn callbacks(&self, subject: SubjectKey<'_>, most: usize) -> Result<Vec<(StateKey, String)>, AwsError> {
        let call = self.newest_first(subject).limit(i32::try_from(most).unwrap_or(i32::MAX));
        let callback = |item| Ok((place_of(item)?, unpacked(item, "data")?.into_owned()));
        let items = read(call.filter_expression(IS_KEPT), most).await?;
        Ok(within(MAX_BYTES, items.iter().filter_map(|item| readable(item, callback(item)))))
    }

    fn newest_first(&self, subject: SubjectKey<'_>) -> QueryFluentBuilder {
        let SubjectKey { tenant, kind, name } = subject;
        self.client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :event")
            .expression_attribute_values(":event", s(partition(tenant, kind, name)))
            .scan_index_forward(false)
            .consistent_read(true)
    }
}

impl ports::events::States for States {
    type Error = AwsError;

    /// Needs `dynamodb:PartiQLInsert`: one write of less than 1 KiB, without a read, in one call with up to 24 others
    /// that are written at the same time. There are two writes if the event's `subject` differs from the name in its
    /// payload. A session's state also has the payload. A large state, or one that exists already, is put alone, which
    /// needs `dynamodb:PutItem`.
    async fn put(
        &self,
        event: &Event,
        arrival: Arrival,
        status: Option<&str>,
        stage: Option<&str>,
    ) -> Result<(), AwsError> {
        let place = StateKey::of(event, arrival.moment);
        let data = (event.kind == session::KIND).then(|| packed(event.data(), WRITE_UNIT - BESIDE));
        let is_small = data.as_ref().is_none_or(|data| length(data) <= LARGEST_TOGETHER);
        let puts = subjects(event).into_iter().map(async |subject| {
            let mut item = Item::from([
                ("pk".into(), s(partition(&event.key.tenant, &event.kind, &subject))),
                ("sk".into(), s(format!("{STATE}{}", place.key()))),
                ("expiresAt".into(), n(arrival.expires_at)),
            ]);
            let optional = [("status", status.map(s)), ("stage", stage.map(s)), ("data", data.clone())];
            item.extend(optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
            if is_small {
                let insert = async |items| insert(&self.client, &self.table, items).await;
                if self.together.load(item.clone(), insert).await.transpose()? == Some(Inserted::Yes) {
                    return Ok(());
                }
            }
            let call = self.client.put_item().table_name(&self.table).set_item(Some(item));
            let call = call.condition_expression("attribute_not_exists(erasedAt)");
            if_condition_held(call.send().await, "dynamodb:PutItem").map(drop)
        });
        try_join_all(puts).await.map(drop)
    }

    /// Needs `dynamodb:UpdateItem`. One write for each name of the subject.
    async fn erase(&self, event: &Event, moment: Moment) -> Result<usize, AwsError> {
        let place = StateKey::of(event, moment);
        let names = subjects(event);
        let erased = names
            .iter()
            .map(|name| self.erase_state(SubjectKey { tenant: &event.key.tenant, kind: &event.kind, name }, &place));
        try_join_all(erased).await?;
        Ok(names.len())
    }
}

const STATE: &str = "state#";
const ERASED_AT: &str = "erasedAt";
/// Excludes the tombstones of states whose event was erased.
const IS_KEPT: &str = "attribute_not_exists(erasedAt)";
/// About how many bytes a state of a session has beside the payload.
const BESIDE: usize = 300;
const ITEM: &str = "state";

/// How many bytes of a session's payloads are read at most. An answer of Lambda has at most 6 MB.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// How many pages of a subject's states are read at most, each of 1 MiB.
const MAX_PAGES: usize = 4;

/// Returns the first of `callbacks` that have at most `room` bytes together. Unpacks at most one more than these.
fn within(mut room: usize, callbacks: impl Iterator<Item = (StateKey, String)>) -> Vec<(StateKey, String)> {
    let fits = |(_, data): &(StateKey, String)| {
        let left = room.checked_sub(bytes_in_answer(data));
        room = left.unwrap_or_default();
        left.is_some()
    };
    callbacks.take_while(fits).collect()
}

/// Reads up to `most` items and [`MAX_PAGES`].
async fn read(call: QueryFluentBuilder, most: usize) -> Result<Vec<Item>, AwsError> {
    let mut pages = call.into_paginator().send();
    let mut items = Vec::new();
    for _ in 0..MAX_PAGES {
        let Some(page) = pages.next().await else { break };
        items.extend(page.map_err(AwsError::of("dynamodb:Query"))?.items.unwrap_or_default());
        if items.len() >= most {
            break;
        }
    }
    items.truncate(most);
    Ok(items)
}

fn readable<T>(item: &Item, read: Result<T, ItemError>) -> Option<T> {
    if let Err(error) = &read {
        let (event, record) = (text(item, "pk").unwrap_or_default(), text(item, "sk").unwrap_or_default());
        tracing::error!(error = %Chain(error), event, record, "state.unreadable");
    }
    read.ok()
}

fn state_of(item: &Item) -> Result<SubjectState, ItemError> {
    let optional = |name| text(item, name).ok().map(str::to_owned);
    Ok(SubjectState { place: place_of(item)?, status: optional("status"), stage: optional("stage") })
}

fn place_of(item: &Item) -> Result<StateKey, ItemError> {
    let key = text(item, "sk")?.strip_prefix(STATE);
    key.and_then(StateKey::parse).ok_or_else(|| unreadable("sk"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_beyond_the_limit_are_not_unpacked() {
        let place = StateKey::parse("2026-01-31T10:00:00.000000000Z#1769853600007#op-1#/core").unwrap();
        let cases = [
            (100, vec![60, 40, 1], 2, 3, "exactly full"),
            (100, vec![60, 41, 1], 1, 2, "one byte too much, and a smaller one does not take its place"),
            (100, vec![60, 39], 2, 2, "all of them"),
            (
                MAX_BYTES,
                vec![256 * 1024; 1_000],
                16,
                17,
                "the largest events, of which a page of the table holds hundreds",
            ),
        ];
        for (room, sizes, expected, unpacked, why) in cases {
            let mut count = 0;
            let callbacks = sizes.into_iter().map(|size| (place.clone(), " ".repeat(size)));
            let kept = within(room, callbacks.inspect(|_| count += 1));
            assert_eq!((kept.len(), count), (expected, unpacked), "{why}");
        }
    }
}
