//! Reading of items by their keys, many in one call.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::KeysAndAttributes;
use futures_util::future::join_all;

use crate::aws::{AwsError, Item};

/// The attributes to read: an expression, and the names that its placeholders stand for.
#[derive(Clone, Debug)]
pub(crate) struct Projection {
    pub(crate) expression: &'static str,
    pub(crate) names: HashMap<String, String>,
}

impl Projection {
    /// Returns the names, if there are some: DynamoDB refuses an empty map.
    fn names(&self) -> Option<HashMap<String, String>> {
        Some(self.names.clone()).filter(|names| !names.is_empty())
    }
}

/// How many keys one call may have.
const MOST_AT_ONCE: usize = 100;
const OPERATION: &str = "dynamodb:BatchGetItem";

/// Reads an item (strongly consistent), all of it or the projected attributes.
///
/// Needs `dynamodb:GetItem`.
pub(crate) async fn get(
    client: &Client,
    table: &str,
    key: Item,
    projection: Option<&Projection>,
) -> Result<Option<Item>, AwsError> {
    let call = client.get_item().table_name(table).set_key(Some(key)).consistent_read(true);
    let call = call.set_projection_expression(projection.map(|one| one.expression.to_owned()));
    let call = call.set_expression_attribute_names(projection.and_then(Projection::names));
    Ok(call.send().await.map_err(AwsError::of("dynamodb:GetItem"))?.item)
}

/// Reads the items of `keys`, in their order. A projection must include the key attributes.
///
/// Needs `dynamodb:BatchGetItem`, and `dynamodb:GetItem` for a single key or one that DynamoDB left out. One call for
/// up to 100 keys.
pub(crate) async fn get_all(
    client: &Client,
    table: &str,
    keys: Vec<Item>,
    projection: Option<&Projection>,
) -> Vec<Result<Option<Item>, AwsError>> {
    let mut all = Vec::with_capacity(keys.len());
    for keys in keys.chunks(MOST_AT_ONCE) {
        all.extend(get_some(client, table, keys, projection).await);
    }
    all
}

async fn get_some(
    client: &Client,
    table: &str,
    keys: &[Item],
    projection: Option<&Projection>,
) -> Vec<Result<Option<Item>, AwsError>> {
    let get_alone = |key: &Item| get(client, table, key.clone(), projection);
    if let [key] = keys {
        return vec![get_alone(key).await];
    }
    let wanted = KeysAndAttributes::builder()
        .set_keys(Some(distinct(keys)))
        .consistent_read(true)
        .set_projection_expression(projection.map(|one| one.expression.to_owned()))
        .set_expression_attribute_names(projection.and_then(Projection::names));
    let read = async {
        let wanted = wanted.build().map_err(AwsError::of(OPERATION))?;
        client.batch_get_item().request_items(table, wanted).send().await.map_err(AwsError::of(OPERATION))
    };
    let answer = match read.await {
        Ok(answer) => answer,
        Err(error) => return keys.iter().map(|_| Err(error.clone())).collect(),
    };
    let found = answer.responses.as_ref().and_then(|tables| tables.get(table)).map(Vec::as_slice);
    let left_out = answer.unprocessed_keys.as_ref().and_then(|tables| tables.get(table));
    let left_out = left_out.map(KeysAndAttributes::keys).unwrap_or_default();
    join_all(keys.iter().map(async |key| {
        if left_out.contains(key) {
            return get_alone(key).await;
        }
        let is_it = |item: &&Item| key.iter().all(|(name, value)| item.get(name) == Some(value));
        Ok(found.unwrap_or_default().iter().find(is_it).cloned())
    }))
    .await
}

/// Returns each of `keys` once, because DynamoDB refuses repeated keys.
fn distinct(keys: &[Item]) -> Vec<Item> {
    let first = |(index, key): &(usize, &Item)| !keys[..*index].contains(key);
    keys.iter().enumerate().filter(first).map(|(_, key)| key.clone()).collect()
}
