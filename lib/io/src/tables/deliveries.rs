//! The deliveries to each endpoint and their attempts, in `EventsTable`.
//!
//! Partition key `pk` (a part of the endpoint's list), sort key `sk` (the position in it, see
//! [`signpost_core::delivery::list`]). A delivery gets its item with its first attempt, or earlier, if it is leased,
//! released or replayed before that. Every write pays for the whole item, so it has only a log of the last attempts. The
//! older ones, answers and later requests are beside it, see `attempts.rs`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::ProvideErrorMetadata as _;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use futures_util::future::join3;
use signpost_core::delivery::answer::AnswerRecord;
use signpost_core::delivery::attempt::Attempt;
use signpost_core::delivery::attempt_log::{begins_chunk, encode};
use signpost_core::delivery::list::key_of;
use signpost_core::delivery::sent::SentRecord;
use signpost_core::delivery::{DeadLetterReason, DeliveryKey, DeliveryRecord, DeliveryStatus, Progress, ReplayKind};
use signpost_core::event::EventId;
use signpost_core::event::catalogue::retention_of;
use signpost_engine::ports;
use signpost_engine::ports::deliveries::{Lease, LeaseResult};

use crate::aws::batch_get::{Projection, get, get_all};
use crate::aws::batch_insert::{Inserted, insert, insert_one};
use crate::aws::coalesce::{Announced, Coalescer};
use crate::aws::{AwsError, Item, ItemError, if_condition_held, n, number, optional, s, text, unreadable};
use crate::runtime::clock::{unix_ms_now, unix_now};
use crate::runtime::logs::Chain;
use crate::tables::attempts::{
    answer_item, chunk_key, chunks_of, keys_beside, left_beside, map_of_sent, read_attempts, sent_item,
};
use crate::tables::tombstone_expires_at;

/// The deliveries in the table.
#[derive(Clone, Debug)]
pub struct Deliveries {
    client: Client,
    table: String,
    retention: Duration,
    together: Arc<Together>,
}

/// Calls that the deliveries of a batch share.
#[derive(Debug, Default)]
struct Together {
    /// Each question is a record and the items beside it.
    records: Coalescer<Vec<Item>, Vec<Result<Inserted, AwsError>>>,
    standings: Coalescer<Item, Result<Option<Item>, AwsError>>,
}

impl Deliveries {
    /// Adapts `client` to the table called `table`; items are kept for `retention`.
    #[must_use]
    pub fn new(client: Client, table: String, retention: Duration) -> Self {
        Self { client, table, retention, together: Arc::default() }
    }

    /// Builds the part of the update that all records of an attempt share, with the attempt if it is kept.
    fn update_call(
        &self,
        delivery: DeliveryKey<'_>,
        kept: Option<&Kept>,
        progress: Progress,
    ) -> UpdateItemFluentBuilder {
        let call = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(delivery)))
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":of", s(event_name(delivery)))
            .expression_attribute_values(":status", s(progress.status.as_str()))
            .expression_attribute_values(":next", n(progress.next_attempt_unix_ms))
            .expression_attribute_values(":expires", n(self.expires_at(delivery)));
        let Some(kept) = kept else { return call };
        let entry = AttributeValue::L(vec![AttributeValue::B(Blob::new(&*kept.entry))]);
        let call = call.expression_attribute_values(":attempt", entry);
        let values = [
            (":none", kept.chunks.is_none().then(|| AttributeValue::L(Vec::new()))),
            (":chunks", kept.chunks.map(n)),
            (":firstAt", kept.first_at.map(n)),
            (":sent", kept.first_sent.clone().map(AttributeValue::M)),
            (":sentPrint", kept.last_sent.map(n)),
            (":answerPrint", kept.last_answer.map(n)),
        ];
        let given = values.into_iter().filter_map(|(name, value)| Some((name, value?)));
        given.fold(call, |call, (name, value)| call.expression_attribute_values(name, value))
    }

    /// Stores what an attempt needs beside the record, and returns what the record keeps. If a call fails, the attempt
    /// is recorded without that part: a record that is missing would cost the receiver a repetition.
    async fn keep(&self, delivery: DeliveryKey<'_>, attempt: &Attempt, progress: Progress) -> Kept {
        let store = async |item: Option<Item>| match item {
            None => true,
            Some(item) => {
                // In a box, as all that most attempts do not need: it would make every attempt's future larger.
                let stored = Box::pin(insert_one(&self.client, &self.table, item)).await;
                stored.inspect_err(|error| log_lost(attempt, error)).is_ok()
            }
        };
        let sent = match &attempt.sent {
            SentRecord::This(sent) if attempt.number > 1 => Some(sent_item(delivery, sent, self.expires_at(delivery))),
            SentRecord::This(_) | SentRecord::Nothing | SentRecord::Same => None,
        };
        let answer = new_answer(attempt).map(|answer| answer_item(delivery, answer, self.expires_at(delivery)));
        let chunks = async {
            if !begins_chunk(attempt.number) {
                return None;
            }
            let moved = Box::pin(self.move_to_chunk(delivery, attempt.number)).await;
            moved.inspect_err(|error| log_lost(attempt, error)).ok().flatten()
        };
        let (has_sent, has_answer, chunks) = join3(store(sent), store(answer), chunks).await;
        let last_answer = progress.last_answer.filter(|_| has_answer);
        let entry = if has_answer {
            encode(attempt, delivery.arrived_unix_ms, progress.last_sent, last_answer)
        } else {
            let attempt = Attempt { answer: AnswerRecord::Skipped, ..attempt.clone() };
            encode(&attempt, delivery.arrived_unix_ms, progress.last_sent, last_answer)
        };
        Kept {
            entry,
            chunks,
            last_sent: progress.last_sent.filter(|_| has_sent),
            last_answer,
            first_at: (attempt.number == 1).then_some(attempt.at_unix_ms),
            first_sent: first_sent(attempt),
        }
    }

    /// Copies the attempts before attempt `number` into a chunk, if the record has them, and returns the number of
    /// chunks with this one. The update that records the attempt removes them from the record. Until then, the chunk
    /// does not count, and is overwritten.
    async fn move_to_chunk(&self, delivery: DeliveryKey<'_>, number: u32) -> Result<Option<u32>, AwsError> {
        let record = get(&self.client, &self.table, key(delivery), None).await?.unwrap_or_default();
        let attempts = record.get("attempts").filter(|_| attempts_in(&record) == Some(u64::from(number) - 1));
        let Some(attempts) = attempts else { return Ok(None) };
        let chunks = chunks_of(&record).map_err(AwsError::corrupt(ITEM))?;
        let call = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(chunk_key(delivery, chunks)))
            .expression_attribute_values(":attempts", attempts.clone())
            .expression_attribute_values(":expiresAt", n(self.expires_at(delivery)));
        let call = match record.get("sent") {
            None => call.update_expression("SET attempts = :attempts, expiresAt = :expiresAt"),
            Some(sent) => call
                .update_expression("SET attempts = :attempts, sent = :sent, expiresAt = :expiresAt")
                .expression_attribute_values(":sent", sent.clone()),
        };
        sent(call).await?;
        Ok(Some(chunks + 1))
    }

    /// Reads the kept attempts of a delivery, oldest first, for operators' tools.
    ///
    /// Needs `dynamodb:GetItem`, and `dynamodb:BatchGetItem` for what is beside the record.
    ///
    /// # Errors
    /// A call failed, or an item cannot be read.
    pub async fn attempts(&self, delivery: DeliveryKey<'_>) -> Result<Vec<Attempt>, AwsError> {
        let item = get(&self.client, &self.table, key(delivery), None).await?.unwrap_or_default();
        Ok(read_attempts(&self.client, &self.table, &[(delivery, &item)]).await?.pop().unwrap_or_default())
    }

    /// Returns the record of a first attempt, and the item of its answer if that is kept.
    fn first_items(&self, delivery: DeliveryKey<'_>, attempt: &Attempt, progress: Progress) -> Vec<Item> {
        let (mut item, expires_at) = (key(delivery), self.expires_at(delivery));
        let entry = encode(attempt, delivery.arrived_unix_ms, progress.last_sent, progress.last_answer);
        item.extend(progress.last_sent.map(|print| ("sentPrint".into(), n(print))));
        item.extend(progress.last_answer.map(|print| ("answerPrint".into(), n(print))));
        item.extend((progress.before_replay > 0).then(|| ("beforeReplay".into(), n(progress.before_replay))));
        item.extend(first_sent(attempt).map(|sent| ("sent".into(), AttributeValue::M(sent))));
        item.extend([
            ("status".into(), s(progress.status.as_str())),
            ("nextAttemptAt".into(), n(progress.next_attempt_unix_ms)),
            ("expiresAt".into(), n(expires_at)),
            ("eventRef".into(), s(event_name(delivery))),
            ("attemptCount".into(), n(progress.attempts)),
            ("firstAt".into(), n(attempt.at_unix_ms)),
            ("attempts".into(), AttributeValue::L(vec![AttributeValue::B(Blob::new(entry))])),
        ]);
        let answer = new_answer(attempt).map(|answer| answer_item(delivery, answer, expires_at));
        std::iter::once(item).chain(answer).collect()
    }

    fn expires_at(&self, delivery: DeliveryKey<'_>) -> u64 {
        (unix_now() + retention_of(delivery.retention_days, self.retention)).as_secs()
    }

    /// Removes the texts that an attempt has left beside a record, if its event was erased while the attempt ran.
    async fn forget_if_erased(
        &self,
        delivery: DeliveryKey<'_>,
        attempt: &Attempt,
        chunks: Option<u32>,
    ) -> Result<(), AwsError> {
        let standing = ports::deliveries::Deliveries::standing(self, delivery).await?;
        if !standing.is_some_and(|record| record.is_erased()) {
            return Ok(());
        }
        for left in left_beside(delivery, attempt, chunks) {
            let call = self
                .client
                .update_item()
                .table_name(&self.table)
                .set_key(Some(left))
                .update_expression("REMOVE #text, sent, attempts SET expiresAt = :expires")
                .expression_attribute_names("#text", "text")
                .expression_attribute_values(":expires", n(unix_now().as_secs()));
            sent(call).await?;
        }
        Ok(())
    }
}

impl ports::deliveries::Deliveries for Deliveries {
    type Error = AwsError;
    type Announced<'a> = Announced<'a>;

    /// Needs `dynamodb:GetItem`.
    async fn standing(&self, delivery: DeliveryKey<'_>) -> Result<Option<DeliveryRecord>, AwsError> {
        standing_in(get(&self.client, &self.table, key(delivery), Some(&standing_only())).await?.as_ref())
    }

    /// Needs `dynamodb:BatchGetItem`, and `dynamodb:GetItem` for a delivery without others.
    async fn standing_batched(&self, delivery: DeliveryKey<'_>) -> Result<Option<DeliveryRecord>, AwsError> {
        let read = async |keys| get_all(&self.client, &self.table, keys, Some(&standing_only())).await;
        match self.together.standings.load(key(delivery), read).await {
            Some(item) => standing_in(item?.as_ref()),
            None => self.standing(delivery).await,
        }
    }

    /// Needs `dynamodb:UpdateItem`. One write and no read, because a refusal returns the item.
    async fn lease(&self, delivery: DeliveryKey<'_>, wanted: Lease) -> Result<LeaseResult, AwsError> {
        let is_due = "(attribute_not_exists(leasedUntil) OR leasedUntil <= :now) \
                      AND (attribute_not_exists(#status) OR (#status = :pending AND nextAttemptAt <= :due))";
        let condition = if wanted.needs_record {
            format!("attribute_exists(expiresAt) AND {is_due}") // The item exists.
        } else {
            is_due.to_owned()
        };
        let call = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(delivery)))
            .update_expression("SET leasedUntil = :until, expiresAt = if_not_exists(expiresAt, :expires)")
            .condition_expression(condition)
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":pending", s(DeliveryStatus::Pending.as_str()))
            .expression_attribute_values(":now", n(wanted.from_unix_ms))
            .expression_attribute_values(":due", n(wanted.due_by_unix_ms))
            .expression_attribute_values(":until", n(wanted.until_unix_ms))
            .expression_attribute_values(":expires", n(self.expires_at(delivery)))
            .return_values(ReturnValue::AllOld)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let standing = |item: Option<&Item>| {
            item.filter(|item| !item.is_empty()).map(standing_of).transpose().map_err(AwsError::corrupt(ITEM))
        };
        match call.send().await {
            Ok(answer) => Ok(LeaseResult::Taken(standing(answer.attributes())?)),
            Err(refused) => match refused.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(check)) => {
                    Ok(LeaseResult::Refused(standing(check.item())?))
                }
                _ => Err(AwsError::of("dynamodb:UpdateItem")(refused)),
            },
        }
    }

    /// Needs `dynamodb:UpdateItem`. One write.
    async fn release(&self, delivery: DeliveryKey<'_>, leased_until_unix_ms: Option<u64>) -> Result<(), AwsError> {
        let call = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(delivery)))
            .update_expression("SET leasedUntil = :zero, expiresAt = if_not_exists(expiresAt, :expires)")
            .expression_attribute_values(":zero", n(0))
            .expression_attribute_values(":expires", n(self.expires_at(delivery)));
        let call = match leased_until_unix_ms {
            None => call.condition_expression("attribute_not_exists(leasedUntil)"),
            Some(until) => {
                call.condition_expression("leasedUntil = :ours").expression_attribute_values(":ours", n(until))
            }
        };
        sent(call).await.map(drop)
    }

    fn announce_first(&self) -> Announced<'_> {
        self.together.records.announce()
    }

    /// Needs `dynamodb:PartiQLInsert`. One call for up to 25 deliveries of the same batch. An answer that is kept is an
    /// item more.
    async fn insert(&self, delivery: DeliveryKey<'_>, attempt: &Attempt, progress: Progress) -> Result<bool, AwsError> {
        let items = self.first_items(delivery, attempt, progress);
        let answer = items.get(1).cloned();
        let insert = async |groups: Vec<Vec<Item>>| {
            let sizes: Vec<_> = groups.iter().map(Vec::len).collect();
            let all = insert(&self.client, &self.table, groups.into_iter().flatten().collect()).await;
            let mut all = all.into_iter();
            sizes.into_iter().map(|size| all.by_ref().take(size).collect()).collect()
        };
        let inserted = self.together.records.load(items, insert).await.unwrap_or_default();
        if let (Some(answer), Some(Ok(Inserted::No))) = (answer, inserted.get(1)) {
            // It may be that DynamoDB could not take this one of the call's items.
            let stored = Box::pin(insert_one(&self.client, &self.table, answer)).await;
            let _ = stored.inspect_err(|error| log_lost(attempt, error));
        }
        Ok(inserted.into_iter().next().transpose()? == Some(Inserted::Yes))
    }

    /// Needs `dynamodb:UpdateItem`, and `dynamodb:PartiQLInsert` for an answer or a request that is new. One write, and
    /// one for each of these. A read and a write more if older attempts become a chunk. If the item is full, the progress
    /// is recorded without the attempt, which takes a write of its own.
    async fn update(
        &self,
        delivery: DeliveryKey<'_>,
        attempt: &Attempt,
        on_record: Option<u64>,
        progress: Progress,
    ) -> Result<bool, AwsError> {
        let condition = match on_record {
            None => "attribute_not_exists(attemptCount)",
            Some(_) => "attemptCount = :before AND #status = :pending AND nextAttemptAt = :due",
        };
        let kept = self.keep(delivery, attempt, progress).await;
        let next = |kept: Option<&Kept>| {
            let also = if kept.is_some_and(|kept| kept.chunks.is_some()) { ", sent" } else { "" };
            let expression =
                format!("{SET}, attemptCount = :count, beforeReplay = :free{} REMOVE leasedUntil{also}", put(kept));
            let call = self.update_call(delivery, kept, progress).update_expression(expression);
            let call = call.condition_expression(condition).expression_attribute_values(":count", n(progress.attempts));
            let call = call.expression_attribute_values(":free", n(progress.before_replay));
            let Some(due) = on_record else { return call }; // DynamoDB refuses a value that is not used.
            let pending = s(DeliveryStatus::Pending.as_str());
            let call = call.expression_attribute_values(":before", n(attempt.number - 1));
            call.expression_attribute_values(":pending", pending).expression_attribute_values(":due", n(due))
        };
        let is_recorded = sent_if_it_fits(next, &kept, attempt).await?;
        if !is_recorded {
            Box::pin(self.forget_if_erased(delivery, attempt, kept.chunks)).await?;
        }
        Ok(is_recorded)
    }

    /// Needs `dynamodb:UpdateItem`. One write, or two as in `update`.
    async fn acknowledge(
        &self,
        delivery: DeliveryKey<'_>,
        attempt: &Attempt,
        progress: Progress,
    ) -> Result<bool, AwsError> {
        let kept = Kept { chunks: None, ..self.keep(delivery, attempt, progress).await };
        let after_all = |kept: Option<&Kept>| {
            let expression = format!("{SET}{} REMOVE leasedUntil", put(kept));
            let call = self.update_call(delivery, kept, progress).update_expression(expression);
            let call = call.condition_expression("#status <> :status AND #status <> :erased");
            call.expression_attribute_values(":erased", s(DeliveryStatus::Erased.as_str()))
        };
        let is_recorded = sent_if_it_fits(after_all, &kept, attempt).await?;
        if !is_recorded {
            Box::pin(self.forget_if_erased(delivery, attempt, kept.chunks)).await?;
        }
        Ok(is_recorded)
    }

    /// Needs `dynamodb:UpdateItem`. One write. The caller must send the delivery's message afterwards.
    async fn reset_for_replay(&self, delivery: DeliveryKey<'_>, replay: ReplayKind) -> Result<(), AwsError> {
        let call = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(delivery)))
            .update_expression(
                "SET eventRef = :of, #status = :pending, attemptCount = if_not_exists(attemptCount, :zero), \
                 beforeReplay = if_not_exists(attemptCount, :zero), nextAttemptAt = :now, replay = :replay, \
                 expiresAt = :expires REMOVE reason, answerPrint",
            )
            .condition_expression("attribute_not_exists(#status) OR #status <> :erased")
            .expression_attribute_values(":erased", s(DeliveryStatus::Erased.as_str()))
            .expression_attribute_values(":replay", s(replay.as_str()))
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":of", s(event_name(delivery)))
            .expression_attribute_values(":pending", s(DeliveryStatus::Pending.as_str()))
            .expression_attribute_values(":zero", n(0))
            .expression_attribute_values(":now", n(unix_ms_now()))
            .expression_attribute_values(":expires", n(self.expires_at(delivery)));
        sent(call).await.map(drop)
    }

    /// Needs `dynamodb:UpdateItem`, `dynamodb:Query` and `dynamodb:DeleteItem`. One write, one read, and a write for each
    /// item beside the record.
    async fn erase(&self, delivery: DeliveryKey<'_>) -> Result<(), AwsError> {
        let call = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(delivery)))
            .update_expression(format!(
                "{SET}, attemptCount = if_not_exists(attemptCount, :zero) \
                 REMOVE attempts, chunks, sent, sentPrint, answerPrint, firstAt, replay, reason, leasedUntil"
            ))
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":of", s(event_name(delivery)))
            .expression_attribute_values(":status", s(DeliveryStatus::Erased.as_str()))
            .expression_attribute_values(":zero", n(0))
            .expression_attribute_values(":next", n(unix_ms_now()))
            .expression_attribute_values(":expires", n(tombstone_expires_at(self.retention)));
        sent(call).await?;
        for item in keys_beside(&self.client, &self.table, delivery).await? {
            let call = self.client.delete_item().table_name(&self.table).set_key(Some(item));
            call.send().await.map_err(AwsError::of("dynamodb:DeleteItem"))?;
        }
        Ok(())
    }

    /// Needs `dynamodb:UpdateItem`. One write.
    async fn end(&self, delivery: DeliveryKey<'_>, reason: DeadLetterReason) -> Result<(), AwsError> {
        let call = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(delivery)))
            .update_expression(format!(
                "{SET}, attemptCount = if_not_exists(attemptCount, :zero), reason = :reason REMOVE leasedUntil"
            ))
            .condition_expression("attribute_not_exists(#status) OR NOT #status IN (:delivered, :erased)")
            .expression_attribute_values(":erased", s(DeliveryStatus::Erased.as_str()))
            .expression_attribute_values(":reason", s(reason.as_str()))
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":of", s(event_name(delivery)))
            .expression_attribute_values(":status", s(DeliveryStatus::Exhausted.as_str()))
            .expression_attribute_values(":delivered", s(DeliveryStatus::Delivered.as_str()))
            .expression_attribute_values(":zero", n(0))
            .expression_attribute_values(":next", n(unix_ms_now()))
            .expression_attribute_values(":expires", n(self.expires_at(delivery)));
        sent(call).await.map(drop)
    }
}

const ITEM: &str = "delivery";
const SET: &str = "SET eventRef = :of, #status = :status, nextAttemptAt = :next, expiresAt = :expires";

/// The parts of an attempt that the record keeps.
#[derive(Debug)]
struct Kept {
    /// The entry of the log.
    entry: Vec<u8>,
    /// The number of chunks, if the attempts before this one became a chunk just now.
    chunks: Option<u32>,
    last_sent: Option<u64>,
    last_answer: Option<u64>,
    /// When the first attempt began, if it is this one.
    first_at: Option<u64>,
    /// The request of the first attempt, if it is this one.
    first_sent: Option<Item>,
}

fn first_sent(attempt: &Attempt) -> Option<Item> {
    match &attempt.sent {
        SentRecord::This(sent) if attempt.number == 1 => Some(map_of_sent(sent)),
        SentRecord::This(_) | SentRecord::Nothing | SentRecord::Same => None,
    }
}

/// Returns the answer that is stored with this attempt.
fn new_answer(attempt: &Attempt) -> Option<&str> {
    attempt.response.as_deref().filter(|_| attempt.answer == AnswerRecord::New)
}

fn log_lost(attempt: &Attempt, error: &AwsError) {
    tracing::warn!(attempt.number = attempt.number, error = %Chain(error), "delivery.detail_not_kept");
}

fn attempts_in(record: &Item) -> Option<u64> {
    number(record, "attemptCount").ok()
}

/// Returns the part of the update that stores the attempt.
fn put(kept: Option<&Kept>) -> String {
    let Some(kept) = kept else { return String::new() };
    let mut put = match kept.chunks {
        None => ", attempts = list_append(if_not_exists(attempts, :none), :attempt)".to_owned(),
        Some(_) => ", attempts = :attempt, chunks = :chunks".to_owned(),
    };
    let parts = [
        (kept.first_at.is_some(), ", firstAt = if_not_exists(firstAt, :firstAt)"),
        (kept.first_sent.is_some(), ", sent = if_not_exists(sent, :sent)"),
        (kept.last_sent.is_some(), ", sentPrint = :sentPrint"),
        (kept.last_answer.is_some(), ", answerPrint = :answerPrint"),
    ];
    put.extend(parts.into_iter().filter(|(is_there, _)| *is_there).map(|(_, part)| part));
    put
}

/// Sends an update with an attempt, or without it if the item has no room for it, for example because somebody wrote
/// the item by hand. Returns whether its condition held.
///
/// An acknowledgement must be on record, or the delivery is sent again and again.
async fn sent_if_it_fits(
    update: impl Fn(Option<&Kept>) -> UpdateItemFluentBuilder,
    kept: &Kept,
    attempt: &Attempt,
) -> Result<bool, AwsError> {
    match update(Some(kept)).send().await {
        Err(error) if error.code() == Some("ValidationException") => {
            let error = AwsError::of("dynamodb:UpdateItem")(error);
            tracing::warn!(attempt.number = attempt.number, error = %Chain(&error), "delivery.record_full");
            sent(update(None)).await
        }
        answer => Ok(if_condition_held(answer, "dynamodb:UpdateItem")?.is_some()),
    }
}

/// Sends an update. Returns whether its condition held.
async fn sent(call: UpdateItemFluentBuilder) -> Result<bool, AwsError> {
    Ok(if_condition_held(call.send().await, "dynamodb:UpdateItem")?.is_some())
}

/// Returns the projection to a delivery's record and its key.
fn standing_only() -> Projection {
    Projection {
        expression: "pk, sk, #status, attemptCount, beforeReplay, nextAttemptAt, leasedUntil, replay, sentPrint, \
                     answerPrint",
        names: ["status"].map(|name| (format!("#{name}"), name.to_owned())).into(),
    }
}

fn standing_in(item: Option<&Item>) -> Result<Option<DeliveryRecord>, AwsError> {
    item.map(standing_of).transpose().map_err(AwsError::corrupt(ITEM))
}

/// Returns the key of a delivery's item, which is its position in the endpoint's list.
pub(crate) fn key(delivery: DeliveryKey<'_>) -> Item {
    let (part, place) = key_of(delivery);
    HashMap::from([("pk".into(), s(part)), ("sk".into(), s(place.key()))])
}

/// Returns the value of `eventRef`, which names the delivered event. An item with `attemptCount` has it. An event id has
/// no `#`.
fn event_name(delivery: DeliveryKey<'_>) -> String {
    format!("{}#{}", delivery.event.id, delivery.event.source)
}

/// Reads a value of [`event_name`]: the event's id and source.
pub(crate) fn event_of(item: &Item) -> Result<(EventId, &str), ItemError> {
    let (id, source) = text(item, "eventRef")?.split_once('#').ok_or_else(|| unreadable("eventRef"))?;
    Ok((EventId::parse(id).ok_or_else(|| unreadable("eventRef"))?, source))
}

/// Reads a delivery's record. A delivery that was only leased has no progress.
pub(crate) fn standing_of(item: &Item) -> Result<DeliveryRecord, ItemError> {
    Ok(DeliveryRecord {
        progress: item.contains_key("attemptCount").then(|| progress_of(item)).transpose()?,
        leased_until_unix_ms: optional(item, "leasedUntil", number)?.unwrap_or_default(),
    })
}

pub(crate) fn progress_of(item: &Item) -> Result<Progress, ItemError> {
    let before_replay = optional(item, "beforeReplay", number)?.unwrap_or_default();
    Ok(Progress {
        status: DeliveryStatus::parse(text(item, "status")?).ok_or_else(|| unreadable("status"))?,
        attempts: u32::try_from(number(item, "attemptCount")?).map_err(|_| unreadable("attemptCount"))?,
        before_replay: u32::try_from(before_replay).map_err(|_| unreadable("beforeReplay"))?,
        next_attempt_unix_ms: number(item, "nextAttemptAt")?,
        replay: text(item, "replay").ok().and_then(ReplayKind::parse),
        last_sent: number(item, "sentPrint").ok(),
        last_answer: number(item, "answerPrint").ok(),
    })
}

/// Reads why a delivery was given up; `None` if it was not. Without the attribute, its attempts were exhausted.
pub(crate) fn reason_of(item: &Item) -> Result<Option<DeadLetterReason>, ItemError> {
    if text(item, "status").ok().and_then(DeliveryStatus::parse) != Some(DeliveryStatus::Exhausted) {
        return Ok(None);
    }
    if !item.contains_key("reason") {
        return Ok(Some(DeadLetterReason::Exhausted));
    }
    DeadLetterReason::parse(text(item, "reason")?).map(Some).ok_or_else(|| unreadable("reason"))
}
