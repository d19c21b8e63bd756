//! Insertion of many new items in one call, each with the condition that it does not exist. `BatchWriteItem` has no
//! conditions; `TransactWriteItems` costs twice as much and writes all or none.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, BatchStatementErrorCodeEnum, BatchStatementRequest};

use crate::aws::{AwsError, Item};
use crate::runtime::logs::Chain;

/// The result of inserting an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inserted {
    /// The item was inserted.
    Yes,
    /// The item was not inserted: it exists already, or DynamoDB could not insert it at the moment.
    No,
}

/// How many bytes the longest attribute of an item may have if it is inserted with others: 25 of them stay under 1 MiB.
pub(crate) const LARGEST_TOGETHER: usize = 32 * 1024;
/// How many statements one call may have.
const MOST_AT_ONCE: usize = 25;
const OPERATION: &str = "dynamodb:PartiQLInsert";

/// Inserts `items` and returns the result of each, in their order.
///
/// Needs `dynamodb:PartiQLInsert`. One call for 25 items; each costs as much as one that is put alone.
pub(crate) async fn insert(client: &Client, table: &str, items: Vec<Item>) -> Vec<Result<Inserted, AwsError>> {
    let mut all = Vec::with_capacity(items.len());
    for items in items.chunks(MOST_AT_ONCE) {
        match insert_some(client, table, items).await {
            Ok(inserted) => all.extend(inserted.into_iter().map(Ok)),
            Err(error) => all.extend(items.iter().map(|_| Err(error.clone()))),
        }
    }
    all
}

/// Inserts an item, unless it exists: a repetition changes nothing.
///
/// Needs `dynamodb:PartiQLInsert`. One call.
///
/// # Errors
/// The call failed, or DynamoDB could not insert the item.
pub(crate) async fn insert_one(client: &Client, table: &str, item: Item) -> Result<(), AwsError> {
    let call = client.batch_execute_statement().statements(statement(table, &item)?);
    let answers = call.send().await.map_err(AwsError::of(OPERATION))?.responses.unwrap_or_default();
    match answers.into_iter().next().map(|answer| answer.error) {
        Some(None) => Ok(()),
        Some(Some(error)) if error.code == Some(BatchStatementErrorCodeEnum::DuplicateItem) => Ok(()),
        refused => Err(AwsError::of(OPERATION)(std::io::Error::other(format!("{refused:?}")))),
    }
}

async fn insert_some(client: &Client, table: &str, items: &[Item]) -> Result<Vec<Inserted>, AwsError> {
    // Of items with the same key, only the first is inserted, because AWS does not document what a call with both does.
    let is_again = |index: usize| items[..index].iter().any(|other| has_key_of(other, &items[index]));
    let first: Vec<_> = (0..items.len()).filter(|index| !is_again(*index)).collect();
    let statements = first.iter().map(|index| statement(table, &items[*index])).collect::<Result<_, _>>()?;
    let call = client.batch_execute_statement().set_statements(Some(statements));
    let answers = call.send().await.map_err(AwsError::of(OPERATION))?.responses.unwrap_or_default();
    let mut inserted = vec![Inserted::No; items.len()];
    for (index, answer) in first.into_iter().zip(answers) {
        match answer.error {
            None => inserted[index] = Inserted::Yes,
            Some(error) if error.code == Some(BatchStatementErrorCodeEnum::DuplicateItem) => {}
            Some(error) => {
                let refusal = std::io::Error::other(format!("{:?}: {:?}", error.code, error.message));
                tracing::warn!(error = %Chain(&refusal), "item.not_inserted");
            }
        }
    }
    Ok(inserted)
}

fn has_key_of(one: &Item, other: &Item) -> bool {
    ["pk", "sk"].into_iter().all(|name| one.get(name) == other.get(name))
}

fn statement(table: &str, item: &Item) -> Result<BatchStatementRequest, AwsError> {
    let (names, values): (Vec<_>, Vec<AttributeValue>) =
        item.iter().map(|(name, value)| (format!("'{name}':?"), value.clone())).unzip();
    let text = format!("INSERT INTO \"{table}\" VALUE {{{}}}", names.join(","));
    let statement = BatchStatementRequest::builder().statement(text).set_parameters(Some(values)).build();
    statement.map_err(AwsError::of(OPERATION))
}
