//! New items, many in one call, each on the condition that it is not there: what `BatchWriteItem` does without conditions,
//! and `TransactWriteItems` for twice the price and for all or none.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, BatchStatementErrorCodeEnum, BatchStatementRequest};

use crate::aws::{AwsError, Item};
use crate::runtime::logs::Chain;

/// Whether an item was inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inserted {
    /// It was.
    Yes,
    /// It was not: it is there, or DynamoDB could not take it at the moment.
    No,
}

/// The most bytes of the longest attribute in an item that is inserted together with others: 25 of them stay under 1 MiB.
pub(crate) const LARGEST_TOGETHER: usize = 32 * 1024;
/// The most statements in one call.
const MOST_AT_ONCE: usize = 25;
const OPERATION: &str = "dynamodb:PartiQLInsert";

/// Inserts `items`, and tells of each whether it was, in their order.
///
/// Needs `dynamodb:PartiQLInsert`. One call for 25 items; each is charged for as one that is put alone.
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

async fn insert_some(client: &Client, table: &str, items: &[Item]) -> Result<Vec<Inserted>, AwsError> {
    // Of items of the same key, the first is inserted; what a call with both would do is nowhere promised.
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
