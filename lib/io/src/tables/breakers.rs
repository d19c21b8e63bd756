//! The circuit breakers of endpoints ([`signpost_core::delivery::breaker`]), in `ParkingTable`: lane
//! `breaker#<endpoint>`, place `breaker`. An endpoint without a failure has none.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use signpost_core::delivery::breaker::Breaker;
use signpost_core::endpoint::EndpointId;
use signpost_engine::ports;

use crate::aws::batch_get::get_all;
use crate::aws::{AwsError, Item, ItemError, if_condition_held, n, number, s, text};
use crate::runtime::clock::{unix_ms_now, unix_now};
use crate::tables::parking::key;

/// The breakers in the table.
#[derive(Clone, Debug)]
pub struct Breakers {
    client: Client,
    table: String,
}

/// How long the table keeps a breaker that does not change.
const KEPT_FOR: Duration = Duration::from_hours(30 * 24);

impl Breakers {
    /// Adapts `client` to the table called `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Reads the breakers of endpoints as they are now, in the order of `endpoints`.
    ///
    /// Needs `dynamodb:BatchGetItem`, and `dynamodb:GetItem` for a single one. One call for up to 100 of them. Strongly
    /// consistent.
    ///
    /// # Errors
    /// A call failed, or an item cannot be read.
    pub async fn read_all(&self, endpoints: &[EndpointId]) -> Result<Vec<Breaker>, AwsError> {
        let keys = endpoints.iter().map(|endpoint| key(lane(endpoint), PLACE.into())).collect();
        let items = get_all(&self.client, &self.table, keys, None).await;
        let read = |item: Option<Item>| Ok(item.as_ref().map(breaker_of).transpose()?.unwrap_or_default().0);
        items.into_iter().map(|item| item.and_then(read)).collect()
    }

    /// Closes a breaker, because an operator says that the endpoint is healthy. The limits of notices stay, and notices that
    /// wait to be sent.
    ///
    /// Needs `dynamodb:GetItem` and `dynamodb:PutItem`. One call of each, or a few more if others change the breaker
    /// meanwhile.
    ///
    /// # Errors
    /// A call failed. Try again.
    pub async fn close(&self, endpoint: &EndpointId) -> Result<(), AwsError> {
        let mut closed = Breaker::closed_at(unix_ms_now());
        for _ in 0..ROUNDS {
            let (before, version) = match ports::limits::Breakers::read(self, endpoint).await {
                Ok(read) => read,
                Err(AwsError::CorruptItem { .. }) => break, // It is replaced.
                Err(error) => return Err(error),
            };
            closed = before.closed_by_operator(unix_ms_now());
            if ports::limits::Breakers::replace(self, endpoint, version, &closed, fastrand::u64(..)).await? {
                return Ok(());
            }
        }
        let item = item_of(endpoint, &closed, fastrand::u64(..))?;
        let call = self.client.put_item().table_name(&self.table).set_item(Some(item));
        call.send().await.map_err(AwsError::of("dynamodb:PutItem"))?;
        Ok(())
    }
}

impl ports::limits::Breakers for Breakers {
    type Error = AwsError;

    /// Needs `dynamodb:GetItem`. One call, strongly consistent.
    async fn read(&self, endpoint: &EndpointId) -> Result<(Breaker, Option<u64>), AwsError> {
        let call = self.client.get_item().table_name(&self.table).set_key(Some(key(lane(endpoint), PLACE.into())));
        let item = call.consistent_read(true).send().await.map_err(AwsError::of("dynamodb:GetItem"))?.item;
        let Some(item) = item else { return Ok((Breaker::default(), None)) };
        let (breaker, version) = breaker_of(&item)?;
        Ok((breaker, Some(version)))
    }

    /// Needs `dynamodb:PutItem`. One call.
    async fn replace(
        &self,
        endpoint: &EndpointId,
        before: Option<u64>,
        breaker: &Breaker,
        version: u64,
    ) -> Result<bool, AwsError> {
        let item = item_of(endpoint, breaker, version)?;
        let call = self.client.put_item().table_name(&self.table).set_item(Some(item));
        let call = match before {
            None => call.condition_expression("attribute_not_exists(pk)"),
            Some(before) => {
                call.condition_expression("version = :before").expression_attribute_values(":before", n(before))
            }
        };
        Ok(if_condition_held(call.send().await, "dynamodb:PutItem")?.is_some())
    }
}

/// How often an operator's change is computed again if others change the breaker meanwhile. After that, it replaces theirs.
const ROUNDS: usize = 5;

const ITEM: &str = "breaker";
const PLACE: &str = "breaker";

/// Returns the key of an endpoint's breaker.
pub(crate) fn breaker_key(endpoint: &EndpointId) -> Item {
    key(lane(endpoint), PLACE.into())
}

fn lane(endpoint: &EndpointId) -> String {
    format!("breaker#{endpoint}")
}

/// Reads an item of [`item_of`]: a breaker and its version.
fn breaker_of(item: &Item) -> Result<(Breaker, u64), AwsError> {
    let read = || -> Result<_, ItemError> { Ok((text(item, "state")?, number(item, "version")?)) };
    let (state, version) = read().map_err(AwsError::corrupt(ITEM))?;
    Ok((serde_json::from_str(state).map_err(AwsError::corrupt(ITEM))?, version))
}

fn item_of(endpoint: &EndpointId, breaker: &Breaker, version: u64) -> Result<Item, AwsError> {
    let mut item = key(lane(endpoint), PLACE.into());
    item.insert("state".into(), s(serde_json::to_string(breaker).map_err(AwsError::of("dynamodb:PutItem"))?));
    item.insert("version".into(), n(version));
    item.insert("expiresAt".into(), n((unix_now() + KEPT_FOR).as_secs()));
    Ok(item)
}
