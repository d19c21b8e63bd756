//! `EndpointsTable`: the endpoints of each tenant. Partition key `tenant`, sort key `endpoint`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use signpost_core::endpoint::{Endpoint, EndpointId};
use signpost_core::event::TenantId;
use signpost_core::fault::Fault;

use crate::aws::{AwsError, Item, ItemError, s, text};
use crate::logs::Chain;

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
    /// One whose settings cannot be read comes without them, so that it neither holds up its neighbours nor misses
    /// anything: `deliver` keeps what is queued for it until it is repaired.
    ///
    /// Needs `dynamodb:Query`. One call per 1 MiB of endpoints.
    ///
    /// # Errors
    /// The call failed.
    pub async fn of_tenant(&self, tenant: &TenantId) -> Result<Vec<(EndpointId, Option<Endpoint>)>, AwsError> {
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
            let Some(id) = text(&item, "endpoint").ok().and_then(EndpointId::parse) else {
                tracing::error!(tenant.id = %tenant, "endpoint.bad_id: nothing can be sent to it; remove the item");
                continue;
            };
            let settings = settings_of(&item);
            if let Err(error) = &settings {
                let error = Chain(error);
                tracing::error!(tenant.id = %tenant, endpoint.id = %id, %error, "endpoint.unreadable");
            }
            endpoints.push((id, settings.ok()));
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
        item.as_ref().map(settings_of).transpose()
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

fn settings_of(item: &Item) -> Result<Endpoint, AwsError> {
    let settings = text(item, "settings").map_err(AwsError::of::<ItemError>(READING))?;
    let endpoint: Endpoint = serde_json::from_str(settings).map_err(AwsError::of(READING))?;
    endpoint.check().map_err(|faults| AwsError::of(READING)(PutError::Faults(faults)))?;
    Ok(endpoint)
}

const READING: &str = "reading an endpoint's settings";

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
