//! The deliveries to each endpoint and their attempts, in `EventsTable`.
//!
//! Partition key `pk` (a part of the endpoint's list), sort key `sk` (the position in it, see
//! [`signpost_core::delivery::list`]). A delivery gets its item with its first attempt, or earlier, if it is leased,
//! released or replayed before that.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::ProvideErrorMetadata as _;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use signpost_core::delivery::attempt::Attempt;
use signpost_core::delivery::list::key_of;
use signpost_core::delivery::sent::{Connection, Sent, SentRecord};
use signpost_core::delivery::{DeadLetterReason, DeliveryKey, DeliveryRecord, DeliveryStatus, Progress, ReplayKind};
use signpost_core::event::EventId;
use signpost_engine::ports;
use signpost_engine::ports::deliveries::{Lease, LeaseResult};

use crate::aws::batch_get::{Projection, get, get_all};
use crate::aws::batch_insert::{Inserted, insert};
use crate::aws::coalesce::{Announced, Coalescer};
use crate::aws::{AwsError, Item, ItemError, bytes, if_condition_held, n, number, optional, s, text, unreadable};
use crate::runtime::clock::{unix_ms_now, unix_now};
use crate::runtime::logs::Chain;

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
    records: Coalescer<Item, Result<Inserted, AwsError>>,
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
        kept: Option<&Attempt>,
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
            .expression_attribute_values(":expires", n((unix_now() + self.retention).as_secs()));
        let call = match progress.last_sent {
            Some(print) => call.expression_attribute_values(":print", n(print)),
            None => call,
        };
        let Some(attempt) = kept else { return call };
        let item = AttributeValue::M(item_of(attempt));
        match slot(attempt.number) {
            AttemptIndex::Next => call
                .expression_attribute_values(":none", AttributeValue::L(Vec::new()))
                .expression_attribute_values(":attempt", AttributeValue::L(vec![item])),
            AttemptIndex::Of(_) => call.expression_attribute_values(":attempt", item),
        }
    }

    /// Reads the kept attempts of a delivery, oldest first, for operators' tools.
    ///
    /// Needs `dynamodb:GetItem`.
    ///
    /// # Errors
    /// The call failed, or the item cannot be read.
    pub async fn attempts(&self, delivery: DeliveryKey<'_>) -> Result<Vec<Attempt>, AwsError> {
        let item = get(&self.client, &self.table, key(delivery), None).await?.unwrap_or_default();
        attempts_of(&item).map_err(AwsError::corrupt(ITEM))
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
            .expression_attribute_values(":expires", n((unix_now() + self.retention).as_secs()))
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
            .expression_attribute_values(":expires", n((unix_now() + self.retention).as_secs()));
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

    /// Needs `dynamodb:PartiQLInsert`. One call for up to 25 deliveries of the same batch.
    async fn insert(&self, delivery: DeliveryKey<'_>, attempt: &Attempt, progress: Progress) -> Result<bool, AwsError> {
        let mut item = key(delivery);
        item.extend(progress.last_sent.map(|print| ("sentPrint".into(), n(print))));
        item.extend((progress.before_replay > 0).then(|| ("beforeReplay".into(), n(progress.before_replay))));
        item.extend([
            ("status".into(), s(progress.status.as_str())),
            ("nextAttemptAt".into(), n(progress.next_attempt_unix_ms)),
            ("expiresAt".into(), n((unix_now() + self.retention).as_secs())),
            ("eventRef".into(), s(event_name(delivery))),
            ("attemptCount".into(), n(progress.attempts)),
            ("attempts".into(), AttributeValue::L(vec![AttributeValue::M(item_of(attempt))])),
        ]);
        let insert = async |items| insert(&self.client, &self.table, items).await;
        Ok(self.together.records.load(item, insert).await.transpose()? == Some(Inserted::Yes))
    }

    /// Needs `dynamodb:UpdateItem`. One write. If the item is full, the progress is recorded without the attempt, which
    /// takes a write of its own.
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
        let next = |kept: Option<&Attempt>| {
            let expression = format!(
                "{SET}, attemptCount = :count, beforeReplay = :free{}{} REMOVE leasedUntil",
                put(kept),
                printed(progress)
            );
            let call = self.update_call(delivery, kept, progress).update_expression(expression);
            let call = call.condition_expression(condition).expression_attribute_values(":count", n(progress.attempts));
            let call = call.expression_attribute_values(":free", n(progress.before_replay));
            let Some(due) = on_record else { return call }; // DynamoDB refuses a value that is not used.
            let pending = s(DeliveryStatus::Pending.as_str());
            let call = call.expression_attribute_values(":before", n(attempt.number - 1));
            call.expression_attribute_values(":pending", pending).expression_attribute_values(":due", n(due))
        };
        sent_if_it_fits(next, attempt).await
    }

    /// Needs `dynamodb:UpdateItem`. One write, or two as in `update`.
    async fn acknowledge(
        &self,
        delivery: DeliveryKey<'_>,
        attempt: &Attempt,
        progress: Progress,
    ) -> Result<bool, AwsError> {
        let after_all = |kept: Option<&Attempt>| {
            let expression = format!("{SET}{}{} REMOVE leasedUntil", put(kept), printed(progress));
            let call = self.update_call(delivery, kept, progress).update_expression(expression);
            call.condition_expression("#status <> :status")
        };
        sent_if_it_fits(after_all, attempt).await
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
                 expiresAt = :expires REMOVE reason",
            )
            .expression_attribute_values(":replay", s(replay.as_str()))
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":of", s(event_name(delivery)))
            .expression_attribute_values(":pending", s(DeliveryStatus::Pending.as_str()))
            .expression_attribute_values(":zero", n(0))
            .expression_attribute_values(":now", n(unix_ms_now()))
            .expression_attribute_values(":expires", n((unix_now() + self.retention).as_secs()));
        sent(call).await.map(drop)
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
            .condition_expression("attribute_not_exists(#status) OR #status <> :delivered")
            .expression_attribute_values(":reason", s(reason.as_str()))
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":of", s(event_name(delivery)))
            .expression_attribute_values(":status", s(DeliveryStatus::Exhausted.as_str()))
            .expression_attribute_values(":delivered", s(DeliveryStatus::Delivered.as_str()))
            .expression_attribute_values(":zero", n(0))
            .expression_attribute_values(":next", n(unix_ms_now()))
            .expression_attribute_values(":expires", n((unix_now() + self.retention).as_secs()));
        sent(call).await.map(drop)
    }
}

const ITEM: &str = "delivery";
const SET: &str = "SET eventRef = :of, #status = :status, nextAttemptAt = :next, expiresAt = :expires";
/// How many of the first attempts are kept.
const KEPT_FIRST: u32 = 5;
/// How many of the last attempts are kept. An item has at most 400 KB, and the longest attempt about 4.5 KB.
const KEPT_LAST: u32 = 70;

/// The position of an attempt in the list of kept ones.
enum AttemptIndex {
    /// After the others.
    Next,
    /// At the index of an older one, which it replaces.
    Of(u32),
}

/// Returns the position of attempt `number`. The last attempts form a ring buffer after the first ones.
fn slot(number: u32) -> AttemptIndex {
    match number.checked_sub(KEPT_FIRST + KEPT_LAST + 1) {
        None => AttemptIndex::Next,
        Some(beyond) => AttemptIndex::Of(KEPT_FIRST + beyond % KEPT_LAST),
    }
}

/// Returns the part of the update that stores the fingerprint of the last request.
fn printed(progress: Progress) -> &'static str {
    if progress.last_sent.is_some() { ", sentPrint = :print" } else { "" }
}

/// Returns the part of the update that stores the attempt.
fn put(kept: Option<&Attempt>) -> String {
    match kept.map(|attempt| slot(attempt.number)) {
        None => String::new(),
        Some(AttemptIndex::Next) => ", attempts = list_append(if_not_exists(attempts, :none), :attempt)".to_owned(),
        Some(AttemptIndex::Of(index)) => format!(", attempts[{index}] = :attempt"),
    }
}

/// Sends an update with an attempt, or without it if the item has no room for it, for example because somebody wrote
/// the item by hand. Returns whether its condition held.
///
/// An acknowledgement must be on record, or the delivery is sent again and again.
async fn sent_if_it_fits(
    update: impl Fn(Option<&Attempt>) -> UpdateItemFluentBuilder,
    attempt: &Attempt,
) -> Result<bool, AwsError> {
    match update(Some(attempt)).send().await {
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
        expression: "pk, sk, #status, attemptCount, beforeReplay, nextAttemptAt, leasedUntil, replay, sentPrint",
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

pub(crate) fn attempts_of(item: &Item) -> Result<Vec<Attempt>, ItemError> {
    let attempts = item.get("attempts").and_then(|list| list.as_l().ok()).map(Vec::as_slice).unwrap_or_default();
    let read = |attempt: &AttributeValue| attempt.as_m().map_err(|_| unreadable("attempts")).and_then(attempt_of);
    let mut attempts: Vec<Attempt> = attempts.iter().map(read).collect::<Result<_, _>>()?;
    attempts.sort_by_key(|attempt| attempt.number); // The last ones are in a ring buffer.
    Ok(attempts)
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

fn item_of(attempt: &Attempt) -> Item {
    let mut item = Item::from([
        ("number".into(), n(attempt.number)),
        ("at".into(), n(attempt.at_unix_ms)),
        ("durationMs".into(), n(attempt.duration_ms)),
        ("kids".into(), AttributeValue::L(attempt.kids.iter().map(s).collect())),
    ]);
    item.extend(attempt.status.map(|status| ("status".into(), n(status))));
    item.extend(attempt.error.as_ref().map(|error| ("error".into(), s(error))));
    item.extend(attempt.cause.as_ref().map(|cause| ("cause".into(), s(cause))));
    item.extend(attempt.response.as_ref().map(|response| ("response".into(), s(response))));
    item.extend(attempt.redirect.as_ref().map(|redirect| ("redirect".into(), s(redirect))));
    item.extend(match &attempt.sent {
        SentRecord::Nothing => Some(("sent".into(), AttributeValue::Bool(false))),
        SentRecord::Same => None,
        SentRecord::This(sent) => Some(("sent".into(), AttributeValue::M(item_of_sent(sent)))),
    });
    if let Some(Connection { address, tls }) = &attempt.connection {
        item.insert("address".into(), s(address.to_string()));
        item.extend(tls.as_ref().map(|tls| ("tls".into(), s(tls))));
    }
    item
}

fn item_of_sent(sent: &Sent) -> Item {
    let Sent { method, url, names, values, body_sha256, body_bytes } = sent;
    let values = values.iter().map(|(name, value)| (name.clone(), s(value))).collect();
    Item::from([
        ("method".into(), s(method)),
        ("url".into(), s(url)),
        ("names".into(), s(names)),
        ("values".into(), AttributeValue::M(values)),
        ("sha256".into(), AttributeValue::B(Blob::new(body_sha256))),
        ("bytes".into(), n(body_bytes)),
    ])
}

fn sent_of(item: &Item) -> Result<Sent, ItemError> {
    let values = item.get("values").and_then(|values| values.as_m().ok()).ok_or_else(|| unreadable("values"))?;
    let mut values: Vec<(String, String)> =
        values.iter().filter_map(|(name, value)| Some((name.clone(), value.as_s().ok()?.clone()))).collect();
    values.sort_unstable();
    Ok(Sent {
        method: text(item, "method")?.to_owned(),
        url: text(item, "url")?.to_owned(),
        names: text(item, "names")?.to_owned(),
        values,
        body_sha256: bytes(item, "sha256")?.try_into().map_err(|_| unreadable("sha256"))?,
        body_bytes: number(item, "bytes")?,
    })
}

fn attempt_of(item: &Item) -> Result<Attempt, ItemError> {
    let optional_text = |name| optional(item, name, |item, name| text(item, name).map(str::to_owned));
    let address = optional_text("address")?.map(|address| address.parse()).transpose();
    let (address, tls) = (address.map_err(|_| unreadable("address"))?, optional_text("tls")?);
    let kids = item.get("kids").and_then(|kids| kids.as_l().ok());
    let kids = kids.map(|kids| kids.iter().filter_map(|kid| kid.as_s().ok()).cloned().collect());
    let status = optional(item, "status", number)?;
    Ok(Attempt {
        number: u32::try_from(number(item, "number")?).map_err(|_| unreadable("number"))?,
        at_unix_ms: number(item, "at")?,
        duration_ms: number(item, "durationMs")?,
        kids: kids.ok_or_else(|| unreadable("kids"))?,
        status: status.map(u16::try_from).transpose().map_err(|_| unreadable("status"))?,
        error: optional_text("error")?,
        cause: optional_text("cause")?,
        response: optional_text("response")?,
        redirect: optional_text("redirect")?,
        sent: match item.get("sent") {
            None => SentRecord::Same,
            Some(AttributeValue::M(sent)) => SentRecord::This(sent_of(sent)?),
            Some(_) => SentRecord::Nothing,
        },
        connection: address.map(|address| Connection { address, tls }),
    })
}

#[cfg(test)]
mod tests {
    use signpost_core::delivery::response_excerpt::KEPT_BYTES;
    use signpost_core::delivery::sent::{MAX_HEADER_BYTES, MAX_URL_BYTES};

    use super::*;

    /// Returns the size in bytes as DynamoDB counts it ("DynamoDB item sizes and formats"): names and values, one byte
    /// for each element of a list or a map, and three for each list or map.
    fn size(value: &AttributeValue) -> usize {
        match value {
            AttributeValue::S(text) => text.len(),
            AttributeValue::N(digits) => digits.len().div_ceil(2) + 2,
            AttributeValue::B(bytes) => bytes.as_ref().len(),
            AttributeValue::L(values) => 3 + values.iter().map(|value| 1 + size(value)).sum::<usize>(),
            AttributeValue::M(item) => 3 + item.iter().map(|(name, value)| 1 + name.len() + size(value)).sum::<usize>(),
            _ => 1,
        }
    }

    #[test]
    fn attempts_read_back() {
        let failed = Attempt {
            number: 3,
            at_unix_ms: 1_769_853_600_123,
            duration_ms: 10_000,
            kids: vec!["070725bf-7dac-4712-b61a-420ba3701263".into()],
            status: Some(500),
            error: Some("endpoint answered 500; answer 2xx to acknowledge".into()),
            cause: Some("status".into()),
            response: Some("no such payment".into()),
            redirect: Some("https://a.example/login".into()),
            sent: SentRecord::This(Sent {
                method: "POST".into(),
                url: "https://a.example/in?token=[redacted]".into(),
                names: "content-type x-team".into(),
                values: vec![("content-type".into(), "application/json".into()), ("x-team".into(), "a".into())],
                body_sha256: [7; 32],
                body_bytes: 500,
            }),
            connection: Some(Connection { address: "203.0.113.7:443".parse().unwrap(), tls: Some("1.3".into()) }),
        };
        let timed_out = Attempt { status: None, connection: None, sent: SentRecord::Same, ..failed.clone() };
        let unsent = Attempt { sent: SentRecord::Nothing, ..timed_out.clone() };
        let acknowledged = Attempt { error: None, cause: None, response: None, status: Some(204), ..failed.clone() };
        for attempt in [failed, timed_out, unsent, acknowledged] {
            assert_eq!(attempt_of(&item_of(&attempt)).unwrap(), attempt);
        }
    }

    /// Returns an attempt that has all parts, each of its maximum size.
    fn longest() -> Attempt {
        let values = (0..32).map(|index| (format!("x-header-{index:03}"), "v".repeat(20)));
        Attempt {
            number: u32::MAX,
            at_unix_ms: u64::MAX,
            duration_ms: u64::MAX,
            kids: vec!["070725bf-7dac-4712-b61a-420ba3701263".into(); 2],
            status: Some(599),
            error: Some("x".repeat(300)),
            cause: Some("x".repeat(40)),
            response: Some("x".repeat(KEPT_BYTES)),
            redirect: Some("x".repeat(200)),
            sent: SentRecord::This(Sent {
                method: "DELETE".into(),
                url: "x".repeat(MAX_URL_BYTES),
                names: "x".repeat(MAX_HEADER_BYTES),
                values: values.collect(),
                body_sha256: [7; 32],
                body_bytes: u64::MAX,
            }),
            connection: Some(Connection {
                address: "[2001:db8:1234:5678:9abc:def0:1234:5678]:65535".parse().unwrap(),
                tls: Some("1.3".into()),
            }),
        }
    }

    #[test]
    fn the_longest_kept_attempts_fit_into_an_item() {
        const ITEM: usize = 400 * 1024;
        const BESIDE: usize = 16 * 1024; // Its keys and all other attributes, mostly the event's source.
        let longest = size(&AttributeValue::M(item_of(&longest())));
        let all = (KEPT_FIRST + KEPT_LAST) as usize * (longest + 1);
        assert!(all + BESIDE <= ITEM, "{all} bytes of attempts, {longest} each");
    }

    #[test]
    fn the_first_attempts_stay_and_the_last_ones_go_round() {
        let mut kept: Vec<u32> = Vec::new();
        for number in 1..=1_000 {
            match slot(number) {
                AttemptIndex::Next => kept.push(number),
                AttemptIndex::Of(index) => kept[index as usize] = number,
            }
            let mut sorted = kept.clone();
            sorted.sort_unstable();
            let last = number.saturating_sub(KEPT_LAST).max(KEPT_FIRST) + 1;
            let expected: Vec<_> = (1..=KEPT_FIRST.min(number)).chain(last..=number).collect();
            assert_eq!(sorted, expected);
        }
    }
}
