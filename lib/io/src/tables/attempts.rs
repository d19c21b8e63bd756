//! The attempts of deliveries, in `EventsTable`: a compact log in the delivery's record, and items beside it.
//!
//! Partition key `pk` of the items beside the record (the key of the record, so that each delivery has a partition of its
//! own and the lists never see them), sort key `sk`: `chunk#` with a number for older attempts, `answer#` and `sent#`
//! with a fingerprint for answers and requests.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use signpost_core::delivery::DeliveryKey;
use signpost_core::delivery::answer::answer_print;
use signpost_core::delivery::attempt::Attempt;
use signpost_core::delivery::attempt_log::{Entry, attempts, decode, shown_chunks};
use signpost_core::delivery::list::key_of;
use signpost_core::delivery::sent::{Sent, SentRecord};

use crate::aws::batch_get::get_all;
use crate::aws::compression::{WRITE_UNIT, packed, unpacked};
use crate::aws::{AwsError, Item, ItemError, bytes, n, number, optional, s, text, unreadable};

/// The bytes of an item of an answer besides the answer.
const BESIDE: usize = 192;
const ITEM: &str = "delivery";

/// Returns the key of an item beside a delivery's record.
fn key_beside(delivery: DeliveryKey<'_>, name: String) -> Item {
    let (part, place) = key_of(delivery);
    HashMap::from([("pk".into(), s(format!("{part}#{}", place.key()))), ("sk".into(), s(name))])
}

fn answer_key(delivery: DeliveryKey<'_>, print: u64) -> Item {
    key_beside(delivery, format!("answer#{print:016x}"))
}

fn sent_key(delivery: DeliveryKey<'_>, print: u64) -> Item {
    key_beside(delivery, format!("sent#{print:016x}"))
}

/// Returns the key of the chunk with an index.
pub(crate) fn chunk_key(delivery: DeliveryKey<'_>, index: u32) -> Item {
    key_beside(delivery, format!("chunk#{index:06}"))
}

/// Reads the keys of all items beside a record.
///
/// Needs `dynamodb:Query`. One call per MiB.
pub(crate) async fn keys_beside(
    client: &Client,
    table: &str,
    delivery: DeliveryKey<'_>,
) -> Result<Vec<Item>, AwsError> {
    let (part, place) = key_of(delivery);
    let mut items = client
        .query()
        .table_name(table)
        .consistent_read(true)
        .key_condition_expression("pk = :record")
        .expression_attribute_values(":record", s(format!("{part}#{}", place.key())))
        .projection_expression("pk, sk")
        .into_paginator()
        .items()
        .send();
    let mut keys = Vec::new();
    while let Some(item) = items.try_next().await.map_err(AwsError::of("dynamodb:Query"))? {
        keys.push(item);
    }
    Ok(keys)
}

/// Returns the keys of the items that recording an attempt may have written beside the record, which then has `chunks`.
pub(crate) fn left_beside(delivery: DeliveryKey<'_>, attempt: &Attempt, chunks: Option<u32>) -> Vec<Item> {
    let answer = attempt.response.as_deref().map(|answer| answer_key(delivery, answer_print(answer)));
    let sent = match &attempt.sent {
        SentRecord::This(sent) => Some(sent_key(delivery, sent.print())),
        SentRecord::Nothing | SentRecord::Same => None,
    };
    let chunk = chunks.map(|chunks| chunk_key(delivery, chunks.saturating_sub(1)));
    answer.into_iter().chain(sent).chain(chunk).collect()
}

/// Returns the item of an answer. A long answer is compressed, so that most need one write unit.
pub(crate) fn answer_item(delivery: DeliveryKey<'_>, answer: &str, expires_at: u64) -> Item {
    let mut item = answer_key(delivery, answer_print(answer));
    item.extend([("text".into(), packed(answer, WRITE_UNIT - BESIDE)), ("expiresAt".into(), n(expires_at))]);
    item
}

/// Returns the item of a request.
pub(crate) fn sent_item(delivery: DeliveryKey<'_>, sent: &Sent, expires_at: u64) -> Item {
    let mut item = sent_key(delivery, sent.print());
    item.extend([("sent".into(), AttributeValue::M(map_of_sent(sent))), ("expiresAt".into(), n(expires_at))]);
    item
}

/// Reads the attempts of deliveries, each with its record, oldest first: at least the first five and the last seventy of
/// each.
///
/// Needs `dynamodb:BatchGetItem` and `dynamodb:GetItem`. No call for deliveries that have neither many attempts nor an
/// answer. Otherwise two calls for each 100 items: chunks, then answers and requests.
///
/// # Errors
/// A call failed, or an item cannot be read.
pub(crate) async fn read_attempts(
    client: &Client,
    table: &str,
    records: &[(DeliveryKey<'_>, &Item)],
) -> Result<Vec<Vec<Attempt>>, AwsError> {
    let mut logs = Vec::with_capacity(records.len());
    for (delivery, record) in records {
        logs.push(Log::of_record(*delivery, record).map_err(AwsError::corrupt(ITEM))?);
    }
    let chunks = logs.iter().map(|log| shown_chunks(log.chunks).map(|index| chunk_key(log.delivery, index)).collect());
    let chunks = get_grouped(client, table, chunks.collect()).await?;
    for (log, chunks) in logs.iter_mut().zip(chunks) {
        for chunk in chunks {
            log.add(&chunk).map_err(AwsError::corrupt(ITEM))?;
        }
    }
    let beside = get_grouped(client, table, logs.iter().map(Log::keys_beside).collect()).await?;
    let read = logs.into_iter().zip(beside).map(|(log, items)| log.attempts(&items));
    read.collect::<Result<_, _>>().map_err(AwsError::corrupt(ITEM))
}

/// Reads groups of items. Items that have expired are left out.
async fn get_grouped(client: &Client, table: &str, groups: Vec<Vec<Item>>) -> Result<Vec<Vec<Item>>, AwsError> {
    let sizes: Vec<_> = groups.iter().map(Vec::len).collect();
    let mut read = get_all(client, table, groups.into_iter().flatten().collect(), None).await.into_iter();
    let found = |size| read.by_ref().take(size).filter_map(Result::transpose).collect();
    sizes.into_iter().map(found).collect()
}

/// The log of a delivery, while it is read.
struct Log<'a> {
    delivery: DeliveryKey<'a>,
    entries: Vec<Entry>,
    /// The request of the first attempt.
    first: Option<Sent>,
    /// The number of chunks.
    chunks: u32,
}

impl<'a> Log<'a> {
    fn of_record(delivery: DeliveryKey<'a>, record: &Item) -> Result<Self, ItemError> {
        let mut log = Self { delivery, entries: Vec::new(), first: None, chunks: chunks_of(record)? };
        log.add(record)?;
        Ok(log)
    }

    /// Adds the entries of the record or of a chunk.
    fn add(&mut self, item: &Item) -> Result<(), ItemError> {
        let entries = item.get("attempts").and_then(|list| list.as_l().ok()).map(Vec::as_slice).unwrap_or_default();
        for entry in entries {
            let entry = entry.as_b().ok().and_then(|entry| decode(entry.as_ref(), self.delivery.arrived_unix_ms));
            self.entries.push(entry.ok_or_else(|| unreadable("attempts"))?);
        }
        if let Some(sent) = item.get("sent") {
            self.first = Some(sent_of(sent.as_m().map_err(|_| unreadable("sent"))?)?);
        }
        Ok(())
    }

    /// Returns the keys of the answers and requests that the entries refer to.
    fn keys_beside(&self) -> Vec<Item> {
        let first = self.first.as_ref().map(Sent::print);
        let answers: BTreeSet<_> = self.entries.iter().filter_map(Entry::answer_print).collect();
        let sent: BTreeSet<_> = self.entries.iter().filter_map(Entry::sent_print).collect();
        let answers = answers.into_iter().map(|print| answer_key(self.delivery, print));
        let sent = sent.into_iter().filter(|print| Some(*print) != first).map(|print| sent_key(self.delivery, print));
        answers.chain(sent).collect()
    }

    fn attempts(self, beside: &[Item]) -> Result<Vec<Attempt>, ItemError> {
        let (mut answers, mut sent) = (BTreeMap::new(), BTreeMap::new());
        for item in beside {
            if let Some(one) = item.get("sent") {
                let one = sent_of(one.as_m().map_err(|_| unreadable("sent"))?)?;
                sent.insert(one.print(), one);
            } else {
                let answer = unpacked(item, "text")?.into_owned();
                answers.insert(answer_print(&answer), answer);
            }
        }
        Ok(attempts(self.entries, self.first.as_ref(), &sent, &answers))
    }
}

/// Returns how many chunks a record has.
pub(crate) fn chunks_of(record: &Item) -> Result<u32, ItemError> {
    let chunks = optional(record, "chunks", number)?.unwrap_or_default();
    u32::try_from(chunks).map_err(|_| unreadable("chunks"))
}

/// Returns the attribute of a request.
pub(crate) fn map_of_sent(sent: &Sent) -> Item {
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
