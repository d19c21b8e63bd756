//! `EndpointsTable`: the endpoints of each tenant. Partition key `tenant`, sort key `endpoint`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use signpost_core::endpoint::{Endpoint, EndpointId};
use signpost_core::event::TenantId;
use signpost_core::fault::Fault;

use crate::aws::{AwsError, Item, s, text, unreadable};

/// The table of endpoints.
#[derive(Clone, Debug)]
pub struct Endpoints {
    client: Client,
    table: String,
}

impl Endpoints {
    /// Adapts `client` to the table called `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Reads all endpoints of a tenant, as they are now (strongly consistent).
    ///
    /// Needs `dynamodb:Query`. One call per 1 MiB of endpoints.
    ///
    /// # Errors
    /// The call failed, or an item cannot be read: nobody is left out of a fan-out silently.
    pub async fn of_tenant(&self, tenant: &TenantId) -> Result<Vec<(EndpointId, Endpoint)>, AwsError> {
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression("tenant = :tenant")
            .expression_attribute_values(":tenant", s(tenant.as_str()))
            .into_paginator()
            .items()
            .send();
        let mut endpoints = Vec::new();
        while let Some(item) = pages.try_next().await.map_err(AwsError::of("dynamodb:Query"))? {
            endpoints.push(from_item(&item)?);
        }
        Ok(endpoints)
    }

    /// Reads one endpoint, if it is there now (strongly consistent): one that was made a moment ago is not missed.
    ///
    /// Needs `dynamodb:GetItem`.
    ///
    /// # Errors
    /// The call failed, or the item cannot be read.
    pub async fn get(&self, tenant: &TenantId, id: &EndpointId) -> Result<Option<Endpoint>, AwsError> {
        let call = self.client.get_item().table_name(&self.table).set_key(Some(key(tenant, id))).consistent_read(true);
        let item = call.send().await.map_err(AwsError::of("dynamodb:GetItem"))?.item;
        Ok(item.as_ref().map(from_item).transpose()?.map(|(_, endpoint)| endpoint))
    }

    /// Writes an endpoint, whether it was there or not.
    ///
    /// Needs `dynamodb:PutItem`, which none of the functions has: this is for operators' tools.
    ///
    /// # Errors
    /// The settings have faults, or the call failed.
    pub async fn put(&self, tenant: &TenantId, id: &EndpointId, endpoint: &Endpoint) -> Result<(), PutError> {
        endpoint.check().map_err(PutError::Faults)?;
        let settings = serde_json::to_string(endpoint).map_err(AwsError::of("dynamodb:PutItem"))?;
        let mut item = key(tenant, id);
        item.insert("settings".into(), s(settings));
        let call = self.client.put_item().table_name(&self.table).set_item(Some(item));
        call.send().await.map_err(AwsError::of("dynamodb:PutItem"))?;
        Ok(())
    }

    /// Removes an endpoint, if it is there.
    ///
    /// Needs `dynamodb:DeleteItem`, which none of the functions has.
    ///
    /// # Errors
    /// The call failed.
    pub async fn delete(&self, tenant: &TenantId, id: &EndpointId) -> Result<(), AwsError> {
        let call = self.client.delete_item().table_name(&self.table).set_key(Some(key(tenant, id)));
        call.send().await.map_err(AwsError::of("dynamodb:DeleteItem"))?;
        Ok(())
    }
}

/// Why an endpoint was not written.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// The call failed.
    #[error("endpoint could not be written; try again")]
    Aws(#[from] AwsError),
    /// The settings could be read, but make no sense: each fault says what to change.
    #[error("endpoint has faults: {0:?}")]
    Faults(Vec<Fault>),
}

fn key(tenant: &TenantId, id: &EndpointId) -> HashMap<String, AttributeValue> {
    HashMap::from([("tenant".into(), s(tenant.as_str())), ("endpoint".into(), s(id.as_str()))])
}

fn from_item(item: &Item) -> Result<(EndpointId, Endpoint), AwsError> {
    let read = || {
        let id = EndpointId::parse(text(item, "endpoint")?).ok_or_else(|| unreadable("endpoint"))?;
        let endpoint = serde_json::from_str(text(item, "settings")?).map_err(|_| unreadable("settings"))?;
        Ok((id, endpoint))
    };
    read().map_err(AwsError::of::<crate::aws::ItemError>("reading an endpoint"))
}

/// Endpoints as they were at most [`CACHED_FOR`] ago, for `deliver`, which meets the same few again and again.
///
/// A changed or removed endpoint therefore gets requests under its old settings for that long.
#[derive(Debug)]
pub struct CachedEndpoints {
    table: Endpoints,
    entries: Mutex<HashMap<(TenantId, EndpointId), Cached>>,
}

type Cached = (Instant, Arc<Endpoint>);

/// How long a cached endpoint is taken for current.
pub const CACHED_FOR: Duration = Duration::from_secs(10);

/// How many endpoints are cached at once: a few hundred bytes each.
const CAPACITY: usize = 10_000;

impl CachedEndpoints {
    /// Caches what `table` answers.
    #[must_use]
    pub fn new(table: Endpoints) -> Self {
        Self { table, entries: Mutex::default() }
    }

    /// Gives one endpoint, if it is there. An absent one is not remembered, so that a new one is found at once.
    ///
    /// # Errors
    /// It was not cached and the call failed.
    pub async fn get(&self, tenant: &TenantId, id: &EndpointId) -> Result<Option<Arc<Endpoint>>, AwsError> {
        let (now, key) = (Instant::now(), (tenant.clone(), id.clone()));
        let fresh = |at: &Instant| now.duration_since(*at) < CACHED_FOR;
        if let Some((at, endpoint)) = self.entries.lock().unwrap_or_else(PoisonError::into_inner).get(&key)
            && fresh(at)
        {
            return Ok(Some(Arc::clone(endpoint)));
        }
        let Some(endpoint) = self.table.get(tenant, id).await? else { return Ok(None) };
        let endpoint = Arc::new(endpoint);
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= CAPACITY {
            entries.retain(|_, (at, _)| fresh(at));
        }
        if entries.len() < CAPACITY {
            entries.insert(key, (now, Arc::clone(&endpoint)));
        }
        Ok(Some(endpoint))
    }
}
