//! `AuditTable`: who changed what ([`signpost_core::audit`]). Partition key `tenant`, sort key `entry`: the entry's id, and
//! `#0` for what was intended or `#1` for the outcome. DynamoDB removes items after the retention.
//!
//! Items are only ever inserted: `dynamodb:PartiQLInsert` replaces no item, which `dynamodb:PutItem` may do.

use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use serde_json::{Value, json};
use signpost_core::audit::{Actor, AuditQuery, Change, Entry, EntryId, SECRETS};
use signpost_core::endpoint::EndpointId;
use signpost_core::event::TenantId;

use crate::aws::batch_insert::insert_one;
use crate::aws::{AwsError, Item, ItemError, n, number, optional, s, text, unreadable};
use crate::runtime::logs::Chain;

/// The audit log in the table.
#[derive(Clone, Debug)]
pub struct AuditLog {
    client: Client,
    table: String,
    retention: Duration,
}

const ITEM: &str = "entry of the audit log";
/// How many items one call reads at most.
const READ_AT_ONCE: i32 = 200;
/// How long one request looks for entries of an endpoint, which may be few among many.
const LOOKING: Duration = Duration::from_secs(5);

impl AuditLog {
    /// Adapts `client` to the table called `table`, which keeps entries for `retention`.
    #[must_use]
    pub fn new(client: Client, table: String, retention: Duration) -> Self {
        Self { client, table, retention }
    }

    /// Writes an entry: its intention if it has no status, otherwise its outcome.
    ///
    /// Needs `dynamodb:PartiQLInsert`. One call. A repetition changes nothing.
    ///
    /// # Errors
    /// The call failed. The item may be written.
    pub async fn write(&self, tenant: &TenantId, entry: &Entry) -> Result<(), AwsError> {
        insert_one(&self.client, &self.table, self.item_of(tenant, entry)).await
    }

    /// Reads up to `most` entries of a tenant, newest first. Also returns the id of the entry after which the next page
    /// starts; `None` after the last page. An entry that cannot be read is left out and logged.
    ///
    /// Needs `dynamodb:Query`. One call per 200 items, for at most five seconds.
    ///
    /// # Errors
    /// A call failed.
    pub async fn page(
        &self,
        tenant: &TenantId,
        query: &AuditQuery,
        most: usize,
    ) -> Result<(Vec<Entry>, Option<EntryId>), AwsError> {
        let (mut entries, mut before, started) = (Vec::<Entry>::new(), query.before.clone(), Instant::now());
        loop {
            let (items, last) = self.read(tenant, query, before.as_ref()).await?;
            for item in items {
                let Some(entry) = identified(tenant, &item) else { continue };
                if entries.last().is_some_and(|newer| newer.id == entry.id) {
                    continue; // The intention, after the outcome, which has all of it.
                }
                if entries.len() == most {
                    let next = entries.last().map(|last| last.id.clone());
                    return Ok((entries, next));
                }
                entries.push(entry);
            }
            match last {
                None => return Ok((entries, None)),
                Some(last) if started.elapsed() > LOOKING => return Ok((entries, Some(last))),
                Some(last) => before = Some(last),
            }
        }
    }

    /// Reads some items before an entry, newest first, and the entry of the last one that was looked at, if there are more.
    async fn read(
        &self,
        tenant: &TenantId,
        query: &AuditQuery,
        before: Option<&EntryId>,
    ) -> Result<(Vec<Item>, Option<EntryId>), AwsError> {
        let first = format!("{:013}", query.since_unix_ms);
        // A colon comes after all digits. An id is before each of its two items, so `BETWEEN` includes neither.
        let last = before.map_or(":", EntryId::as_str);
        if *first > *last {
            return Ok((Vec::new(), None)); // DynamoDB refuses such bounds.
        }
        let call = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .scan_index_forward(false)
            .limit(READ_AT_ONCE)
            .key_condition_expression("tenant = :tenant AND entry BETWEEN :first AND :last")
            .expression_attribute_values(":tenant", s(tenant.as_str()))
            .expression_attribute_values(":first", s(first))
            .expression_attribute_values(":last", s(last));
        let call = match &query.endpoint {
            None => call,
            Some(endpoint) => call
                .filter_expression("endpoint = :endpoint")
                .expression_attribute_values(":endpoint", s(endpoint.as_str())),
        };
        let page = call.send().await.map_err(AwsError::of("dynamodb:Query"))?;
        let last = page.last_evaluated_key.as_ref().and_then(|key| id_of(key).ok());
        Ok((page.items.unwrap_or_default(), last))
    }

    fn item_of(&self, tenant: &TenantId, entry: &Entry) -> Item {
        let Entry { id, actor, action, endpoint, event, request_id, status, change } = entry;
        let Change { before, after, secrets } = change;
        let phase = u8::from(status.is_some());
        let expires_at = id.unix_ms() / 1_000 + self.retention.as_secs();
        let mut item = Item::from([
            ("tenant".into(), s(tenant.as_str())),
            ("entry".into(), s(format!("{id}#{phase}"))),
            ("actor".into(), s(actor.shown().to_string())),
            ("action".into(), s(action)),
            ("requestId".into(), s(request_id)),
            ("change".into(), s(json!({"before": before, "after": after, "secrets": secrets}).to_string())),
            ("expiresAt".into(), n(expires_at)),
        ]);
        item.extend(endpoint.as_ref().map(|endpoint| ("endpoint".into(), s(endpoint.as_str()))));
        item.extend(event.as_ref().map(|event| ("event".into(), s(event))));
        item.extend(status.map(|status| ("httpStatus".into(), n(status))));
        item
    }
}

/// Reads an item; logs one that cannot be read.
fn identified(tenant: &TenantId, item: &Item) -> Option<Entry> {
    match entry_of(item).map_err(AwsError::corrupt(ITEM)) {
        Ok(entry) => Some(entry),
        Err(error) => {
            tracing::error!(tenant.id = %tenant, error = %Chain(&error), "audit.unreadable");
            None
        }
    }
}

fn id_of(item: &Item) -> Result<EntryId, ItemError> {
    let id = text(item, "entry")?.split('#').next().and_then(EntryId::parse);
    id.ok_or_else(|| unreadable("entry"))
}

fn entry_of(item: &Item) -> Result<Entry, ItemError> {
    let json =
        |name| -> Result<Value, ItemError> { serde_json::from_str(text(item, name)?).map_err(|_| unreadable(name)) };
    let mut change = json("change")?;
    let secrets = change["secrets"].as_array().cloned().unwrap_or_default();
    let endpoint = optional(item, "endpoint", text)?;
    let status = optional(item, "httpStatus", number)?;
    Ok(Entry {
        id: id_of(item)?,
        actor: Actor::parse(&json("actor")?).ok_or_else(|| unreadable("actor"))?,
        action: text(item, "action")?.to_owned(),
        endpoint: endpoint.map(|id| EndpointId::parse(id).ok_or_else(|| unreadable("endpoint"))).transpose()?,
        event: optional(item, "event", text)?.map(str::to_owned),
        request_id: text(item, "requestId")?.to_owned(),
        status: status.map(|status| u16::try_from(status).map_err(|_| unreadable("httpStatus"))).transpose()?,
        change: Change {
            before: change["before"].take(),
            after: change["after"].take(),
            secrets: SECRETS.into_iter().filter(|name| secrets.iter().any(|secret| secret == name)).collect(),
        },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use aws_config::{BehaviorVersion, SdkConfig};
    use uuid::Uuid;

    use super::*;

    fn log() -> AuditLog {
        let aws = SdkConfig::builder().behavior_version(BehaviorVersion::latest()).build();
        AuditLog::new(Client::new(&aws), "audit".into(), Duration::from_hours(24))
    }

    #[test]
    fn entries_read_back_and_expire_after_their_retention() {
        let tenant = TenantId::parse("acme").unwrap();
        let intended = Entry {
            id: EntryId::new(1_769_853_600_000, Uuid::from_u128(1)),
            actor: Actor::Iam { principal: "arn:aws:iam::000000000000:user/ann".into() },
            action: "POST /v1/tenants/{tenant}/endpoints".into(),
            endpoint: None,
            event: None,
            request_id: "r-1".into(),
            status: None,
            change: Change::default(),
        };
        let done = Entry {
            endpoint: Some(EndpointId::new(Uuid::from_u128(2))),
            event: Some("payment-1".into()),
            status: Some(201),
            change: Change {
                secrets: BTreeSet::from(["signing"]),
                ..Change::between(Value::Null, json!({"url": "a"}))
            },
            ..intended.clone()
        };
        let items = [intended, done].map(|entry| {
            let item = log().item_of(&tenant, &entry);
            assert_eq!(entry_of(&item).unwrap(), entry);
            assert_eq!(number(&item, "expiresAt").unwrap(), 1_769_853_600 + 24 * 3_600);
            item
        });
        let [intended, done] = items.map(|item| text(&item, "entry").unwrap().to_owned());
        assert!(intended < done, "newest first, the outcome comes before the intention");
    }
}
