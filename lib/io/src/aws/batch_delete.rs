//! Deletion of many items in one call, each with a condition. `BatchWriteItem` has no conditions.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, BatchStatementErrorCodeEnum, BatchStatementRequest};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::aws::{AwsError, Item};

/// How many statements one call may have.
const MOST_AT_ONCE: usize = 25;
/// How many calls run at the same time.
const CALLS_AT_ONCE: usize = 4;
const OPERATION: &str = "dynamodb:PartiQLDelete";

/// Deletes the items that have all these attributes, keys included. An item that has others instead stays, and one that
/// does not exist is no error. Returns whether each is done, in their order; DynamoDB may be unable to delete one at the
/// moment.
///
/// Needs `dynamodb:PartiQLDelete`. One call for 25 items; each costs as much as one that is deleted alone.
///
/// # Errors
/// A call failed. Some of the items may be deleted.
pub(crate) async fn delete(client: &Client, table: &str, items: &[Item]) -> Result<Vec<bool>, AwsError> {
    let calls = items.chunks(MOST_AT_ONCE).map(|items| delete_some(client, table, items));
    stream::iter(calls).buffered(CALLS_AT_ONCE).try_concat().await
}

async fn delete_some(client: &Client, table: &str, items: &[Item]) -> Result<Vec<bool>, AwsError> {
    let statements = items.iter().map(|item| statement(table, item)).collect::<Result<_, _>>()?;
    let call = client.batch_execute_statement().set_statements(Some(statements));
    let answers = call.send().await.map_err(AwsError::of(OPERATION))?.responses.unwrap_or_default();
    let is_done = |index: usize| match answers.get(index).map(|answer| &answer.error) {
        Some(None) => true,
        Some(Some(error)) => error.code == Some(BatchStatementErrorCodeEnum::ConditionalCheckFailed),
        None => false,
    };
    Ok((0..items.len()).map(is_done).collect())
}

fn statement(table: &str, item: &Item) -> Result<BatchStatementRequest, AwsError> {
    let (conditions, values): (Vec<_>, Vec<AttributeValue>) =
        item.iter().map(|(name, value)| (format!("\"{name}\"=?"), value.clone())).unzip();
    let text = format!("DELETE FROM \"{table}\" WHERE {}", conditions.join(" AND "));
    let statement = BatchStatementRequest::builder().statement(text).set_parameters(Some(values)).build();
    statement.map_err(AwsError::of(OPERATION))
}
