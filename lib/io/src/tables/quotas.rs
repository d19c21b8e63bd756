//! The quotas of tenants ([`signpost_core::quota`]), shared by all environments, in `ParkingTable`: lane `quota#<tenant>` has
//! an item per quota and minute with a count, lane `waiting#<tenant>` an item for each request that waits for news.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use signpost_core::event::TenantId;
use signpost_core::quota::{MOST_WAITING, Quota, minute_of};

use crate::aws::{AwsError, Item, if_condition_held, n, number, s, text};
use crate::runtime::clock::{millis, unix_ms_now};
use crate::tables::parking::key;

/// The quotas in the table.
#[derive(Clone, Debug)]
pub struct Quotas {
    client: Client,
    table: String,
}

/// The permission to wait for news. If its holder dies, it ends by itself.
#[derive(Debug)]
pub struct WaitingPlace {
    key: Item,
    holder: u64,
}

/// How long the table keeps unused items, in seconds.
const KEPT_SECONDS: u64 = 3_600;

/// How often a free place is tried, because others may take it first.
const TRIES: usize = 3;

impl Quotas {
    /// Adapts `client` to the table called `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Counts a request of a tenant in the minute of `unix_seconds`. Returns false if the quota is used up.
    ///
    /// Needs `dynamodb:UpdateItem`. One call.
    ///
    /// # Errors
    /// The call failed.
    pub async fn count(&self, tenant: &TenantId, quota: Quota, unix_seconds: u64) -> Result<bool, AwsError> {
        let place = format!("{}#{}", quota.as_str(), minute_of(unix_seconds));
        let call = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(format!("quota#{tenant}"), place)))
            .update_expression("SET expiresAt = :expires ADD requestCount :one")
            .condition_expression("attribute_not_exists(requestCount) OR requestCount < :limit")
            .expression_attribute_values(":one", n(1))
            .expression_attribute_values(":limit", n(quota.per_minute()))
            .expression_attribute_values(":expires", n(unix_seconds + KEPT_SECONDS));
        Ok(if_condition_held(call.send().await, "dynamodb:UpdateItem")?.is_some())
    }

    /// Takes a place to wait for `longest`. Returns `None` if [`MOST_WAITING`] requests of the tenant wait already, or if
    /// others were faster.
    ///
    /// Needs `dynamodb:Query` and `dynamodb:UpdateItem`. Two calls in most cases.
    ///
    /// # Errors
    /// A call failed.
    pub async fn wait(&self, tenant: &TenantId, longest: Duration) -> Result<Option<WaitingPlace>, AwsError> {
        let mut free = self.free(tenant).await?;
        fastrand::shuffle(&mut free);
        for place in free.into_iter().take(TRIES) {
            let place = WaitingPlace { key: key(lane(tenant), place), holder: fastrand::u64(..) };
            let now = unix_ms_now();
            let call = self
                .client
                .update_item()
                .table_name(&self.table)
                .set_key(Some(place.key.clone()))
                .update_expression("SET fencingToken = :holder, heldUntil = :until, expiresAt = :expires")
                .condition_expression("attribute_not_exists(pk) OR heldUntil <= :now")
                .expression_attribute_values(":holder", n(place.holder))
                .expression_attribute_values(":now", n(now))
                .expression_attribute_values(":until", n(now + millis(longest)))
                .expression_attribute_values(":expires", n(now / 1_000 + KEPT_SECONDS));
            if if_condition_held(call.send().await, "dynamodb:UpdateItem")?.is_some() {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// Frees a place.
    ///
    /// Needs `dynamodb:DeleteItem`. One call.
    ///
    /// # Errors
    /// The call failed. The place is free when its time is over.
    pub async fn leave(&self, place: WaitingPlace) -> Result<(), AwsError> {
        let call = self
            .client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(place.key))
            .condition_expression("fencingToken = :holder")
            .expression_attribute_values(":holder", n(place.holder));
        if_condition_held(call.send().await, "dynamodb:DeleteItem").map(drop)
    }

    /// Returns the places of a tenant that nobody holds.
    async fn free(&self, tenant: &TenantId) -> Result<Vec<String>, AwsError> {
        let call = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression("pk = :lane")
            .expression_attribute_values(":lane", s(lane(tenant)));
        let items = call.send().await.map_err(AwsError::of("dynamodb:Query"))?.items.unwrap_or_default();
        let now = unix_ms_now();
        let is_held = |item: &&Item| number(item, "heldUntil").is_ok_and(|until| until > now);
        let held: Vec<_> = items.iter().filter(is_held).filter_map(|item| text(item, "sk").ok()).collect();
        let places = (0..MOST_WAITING).map(|index| format!("{index:03}"));
        Ok(places.filter(|place| !held.contains(&&**place)).collect())
    }
}

/// Returns the lanes of a tenant: of its counts, and of its requests that wait.
pub(crate) fn lanes(tenant: &TenantId) -> [String; 2] {
    [format!("quota#{tenant}"), lane(tenant)]
}

fn lane(tenant: &TenantId) -> String {
    format!("waiting#{tenant}")
}
