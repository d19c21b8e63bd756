//! `PortalTable`: links to the integrators' page ([`signpost_core::portal`]). Partition key `pk`, sort key `sk`:
//!
//! - a link with its session: `tenant#<tenant>`, and the link's id;
//! - a code: `code#<hash>`, and `code`;
//! - a token: `token#<hash>`, and `token`.
//!
//! Codes and tokens name a link, and count only while that link names them too. So one write to the link ends both, or
//! uses a code up. The table's TTL (`expiresAt`) removes items a week after the session must have ended.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use signpost_core::endpoint::EndpointId;
use signpost_core::event::TenantId;
use signpost_core::portal::{Capability, Link, LinkId, Scope, Session};
use signpost_core::random_secret::SecretHash;

use crate::aws::batch_get::get;
use crate::aws::{AwsError, Item, ItemError, if_condition_held, n, number, optional, s, text, unreadable};
use crate::runtime::logs::Chain;

/// The links in the table.
#[derive(Clone, Debug)]
pub struct PortalLinks {
    client: Client,
    table: String,
}

const ITEM: &str = "link to the integrators' page";
/// How many links one call reads to end them.
const READ_AT_ONCE: i32 = 100;
/// How many links are ended at the same time.
const ENDED_AT_ONCE: usize = 10;

impl PortalLinks {
    /// Adapts `client` to the table called `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Writes a new link.
    ///
    /// Needs `dynamodb:PutItem`. Two writes: first the link, then its code, which nobody knows before the answer.
    ///
    /// # Errors
    /// A call failed. A link without its code opens nothing.
    pub async fn add(&self, link: &Link) -> Result<(), AwsError> {
        self.put(item_of(link)).await?;
        self.put(pointer(CODE, &link.code, link)).await
    }

    /// Reads up to `most` links of a tenant, newest first, starting after `after`, and the link after which the next page
    /// starts. A link that cannot be read is left out and logged.
    ///
    /// Needs `dynamodb:Query`. One call. Strongly consistent.
    ///
    /// # Errors
    /// The call failed.
    pub async fn page(
        &self,
        tenant: &TenantId,
        after: Option<&LinkId>,
        most: i32,
    ) -> Result<(Vec<Link>, Option<LinkId>), AwsError> {
        let call = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .scan_index_forward(false)
            .key_condition_expression("pk = :tenant")
            .expression_attribute_values(":tenant", s(tenant_key(tenant)))
            .set_exclusive_start_key(after.map(|id| key(tenant, id)))
            .limit(most);
        let page = call.send().await.map_err(AwsError::of("dynamodb:Query"))?;
        let last = page.last_evaluated_key.as_ref().and_then(|key| LinkId::parse(text(key, "sk").ok()?));
        let items = page.items.unwrap_or_default();
        Ok((items.iter().filter_map(|item| readable(tenant, item)).collect(), last))
    }

    /// Ends a link and its session at `now`, in seconds since the Unix epoch. Returns false if the tenant has no such link.
    /// A repetition changes nothing.
    ///
    /// Needs `dynamodb:UpdateItem`. One write.
    ///
    /// # Errors
    /// The call failed. The link may be ended.
    pub async fn end(&self, tenant: &TenantId, id: &LinkId, now: u64) -> Result<bool, AwsError> {
        let call = self
            .update(tenant, id)
            .update_expression("SET endedAt = if_not_exists(endedAt, :now)")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":now", n(now));
        Ok(if_condition_held(call.send().await, "dynamodb:UpdateItem")?.is_some())
    }

    /// Ends all links of a tenant at `now`, in seconds since the Unix epoch, and their sessions. Returns how many were not
    /// over. An unreadable link is ended too.
    ///
    /// Needs `dynamodb:Query` and `dynamodb:UpdateItem`. One call for 100 links, and a write for each that is not over.
    ///
    /// # Errors
    /// A call failed. Some of the links may be ended.
    pub async fn end_all(&self, tenant: &TenantId, now: u64) -> Result<usize, AwsError> {
        let (mut after, mut ended) = (None, 0);
        loop {
            let call = self
                .client
                .query()
                .table_name(&self.table)
                .consistent_read(true)
                .key_condition_expression("pk = :tenant")
                .expression_attribute_values(":tenant", s(tenant_key(tenant)))
                .set_exclusive_start_key(after)
                .limit(READ_AT_ONCE);
            let page = call.send().await.map_err(AwsError::of("dynamodb:Query"))?;
            let items = page.items.unwrap_or_default();
            let is_due = |item: &&Item| link_of(item).map_or(true, |link| !link.is_over(now));
            let due = items.iter().filter(is_due).filter_map(|item| LinkId::parse(text(item, "sk").ok()?));
            let ends = due.map(async |id| self.end(tenant, &id, now).await);
            let done: Vec<_> = stream::iter(ends).buffer_unordered(ENDED_AT_ONCE).try_collect().await?;
            ended += done.into_iter().filter(|is_ended| *is_ended).count();
            after = page.last_evaluated_key;
            if after.is_none() {
                return Ok(ended);
            }
        }
    }

    /// Finds the link that has this code (strongly consistent). The code may be used up, late or ended.
    ///
    /// Needs `dynamodb:GetItem`. Two calls.
    ///
    /// # Errors
    /// A call failed, or an item cannot be read.
    pub async fn of_code(&self, code: &SecretHash) -> Result<Option<Link>, AwsError> {
        Ok(self.found(CODE, code).await?.filter(|link| link.code == *code))
    }

    /// Finds the link whose session has this token (strongly consistent). The session may have ended.
    ///
    /// Needs `dynamodb:GetItem`. Two calls.
    ///
    /// # Errors
    /// A call failed, or an item cannot be read.
    pub async fn of_token(&self, token: &SecretHash) -> Result<Option<Link>, AwsError> {
        let has_it = |link: &Link| link.session.as_ref().is_some_and(|session| session.token == *token);
        Ok(self.found(TOKEN, token).await?.filter(has_it))
    }

    /// Uses the code of a link up, and opens its session. Returns false if the code was used or ended, or is late.
    ///
    /// Needs `dynamodb:PutItem` and `dynamodb:UpdateItem`. Two writes: first the token, which counts for nothing until the
    /// link names it.
    ///
    /// # Errors
    /// A call failed. The code may be used up.
    pub async fn open(&self, link: &Link, session: &Session) -> Result<bool, AwsError> {
        self.put(pointer(TOKEN, &session.token, link)).await?;
        let call = self
            .update(&link.tenant, &link.id)
            .update_expression("SET tokenHash = :token, sessionStartedAt = :now, sessionExpiresAt = :end")
            // A repetition by the SDK, after an answer that got lost, has the same token and succeeds.
            .condition_expression(
                "codeHash = :code AND codeExpiresAt > :now AND attribute_not_exists(endedAt) \
                 AND (attribute_not_exists(tokenHash) OR tokenHash = :token)",
            )
            .expression_attribute_values(":code", s(link.code.as_str()))
            .expression_attribute_values(":token", s(session.token.as_str()))
            .expression_attribute_values(":now", n(session.started_at))
            .expression_attribute_values(":end", n(session.expires_at));
        Ok(if_condition_held(call.send().await, "dynamodb:UpdateItem")?.is_some())
    }

    /// Ends the session with this token at `now`, in seconds since the Unix epoch. A repetition changes nothing.
    ///
    /// Needs `dynamodb:UpdateItem`. One write.
    ///
    /// # Errors
    /// The call failed. The session may be ended.
    pub async fn end_session(&self, link: &Link, token: &SecretHash, now: u64) -> Result<(), AwsError> {
        let call = self
            .update(&link.tenant, &link.id)
            .update_expression("SET sessionEndedAt = if_not_exists(sessionEndedAt, :now)")
            .condition_expression("tokenHash = :token")
            .expression_attribute_values(":token", s(token.as_str()))
            .expression_attribute_values(":now", n(now));
        if_condition_held(call.send().await, "dynamodb:UpdateItem").map(drop)
    }

    async fn found(&self, kind: &'static str, hash: &SecretHash) -> Result<Option<Link>, AwsError> {
        let place = Item::from([("pk".into(), s(format!("{kind}#{hash}"))), ("sk".into(), s(kind))]);
        let Some(pointer) = get(&self.client, &self.table, place, None).await? else { return Ok(None) };
        let (tenant, id) = named_by(&pointer).map_err(AwsError::corrupt(ITEM))?;
        let item = get(&self.client, &self.table, key(&tenant, &id), None).await?;
        item.as_ref().map(link_of).transpose().map_err(AwsError::corrupt(ITEM))
    }

    async fn put(&self, item: Item) -> Result<(), AwsError> {
        let call = self.client.put_item().table_name(&self.table).set_item(Some(item));
        call.send().await.map(drop).map_err(AwsError::of("dynamodb:PutItem"))
    }

    fn update(&self, tenant: &TenantId, id: &LinkId) -> UpdateItemFluentBuilder {
        self.client.update_item().table_name(&self.table).set_key(Some(key(tenant, id)))
    }
}

const CODE: &str = "code";
const TOKEN: &str = "token";

fn tenant_key(tenant: &TenantId) -> String {
    format!("tenant#{tenant}")
}

fn key(tenant: &TenantId, id: &LinkId) -> Item {
    Item::from([("pk".into(), s(tenant_key(tenant))), ("sk".into(), s(id.as_str()))])
}

/// Returns the item that leads from a code or a token to its link.
fn pointer(kind: &'static str, hash: &SecretHash, link: &Link) -> Item {
    Item::from([
        ("pk".into(), s(format!("{kind}#{hash}"))),
        ("sk".into(), s(kind)),
        ("tenant".into(), s(link.tenant.as_str())),
        ("link".into(), s(link.id.as_str())),
        ("expiresAt".into(), n(link.listed_until())),
    ])
}

fn named_by(pointer: &Item) -> Result<(TenantId, LinkId), ItemError> {
    let tenant = TenantId::parse(text(pointer, "tenant")?).ok_or_else(|| unreadable("tenant"))?;
    let id = LinkId::parse(text(pointer, "link")?).ok_or_else(|| unreadable("link"))?;
    Ok((tenant, id))
}

fn item_of(link: &Link) -> Item {
    let texts = |all: Vec<&str>| AttributeValue::L(all.into_iter().map(s).collect());
    let mut item = key(&link.tenant, &link.id);
    item.extend([
        ("tenant".into(), s(link.tenant.as_str())),
        ("can".into(), texts(link.can.iter().map(|one| one.as_str()).collect())),
        ("createdAt".into(), n(link.created_at)),
        ("codeExpiresAt".into(), n(link.code_expires_at)),
        ("sessionSeconds".into(), n(link.session_lifetime.as_secs())),
        ("codeHash".into(), s(link.code.as_str())),
        ("expiresAt".into(), n(link.listed_until())),
    ]);
    let endpoints = match &link.scope {
        Scope::All => s("*"),
        Scope::Only(endpoints) => texts(endpoints.iter().map(EndpointId::as_str).collect()),
    };
    item.insert("endpoints".into(), endpoints);
    item.extend(link.name.as_ref().map(|name| ("name".into(), s(name))));
    item
}

/// Reads an item; logs one that cannot be read.
fn readable(tenant: &TenantId, item: &Item) -> Option<Link> {
    match link_of(item).map_err(AwsError::corrupt(ITEM)) {
        Ok(link) => Some(link),
        Err(error) => {
            tracing::error!(tenant.id = %tenant, error = %Chain(&error), "portal_link.unreadable");
            None
        }
    }
}

fn link_of(item: &Item) -> Result<Link, ItemError> {
    let hash = |item: &Item, name| SecretHash::parse(text(item, name)?).ok_or_else(|| unreadable(name));
    let session = optional(item, "tokenHash", hash)?.map(|token| {
        Ok::<_, ItemError>(Session {
            token,
            started_at: number(item, "sessionStartedAt")?,
            expires_at: number(item, "sessionExpiresAt")?,
            ended_at: optional(item, "sessionEndedAt", number)?,
        })
    });
    Ok(Link {
        tenant: TenantId::parse(text(item, "tenant")?).ok_or_else(|| unreadable("tenant"))?,
        id: LinkId::parse(text(item, "sk")?).ok_or_else(|| unreadable("sk"))?,
        scope: scope_of(item)?,
        can: list(item, "can", Capability::parse)?,
        name: optional(item, "name", text)?.map(str::to_owned),
        created_at: number(item, "createdAt")?,
        code_expires_at: number(item, "codeExpiresAt")?,
        session_lifetime: Duration::from_secs(number(item, "sessionSeconds")?),
        code: hash(item, "codeHash")?,
        session: session.transpose()?,
        ended_at: optional(item, "endedAt", number)?,
    })
}

/// Reads the endpoints of a link. Only the text `*` means all of them.
fn scope_of(item: &Item) -> Result<Scope, ItemError> {
    match text(item, "endpoints") {
        Ok("*") => Ok(Scope::All),
        Ok(_) => Err(unreadable("endpoints")),
        Err(_) => list(item, "endpoints", EndpointId::parse).map(Scope::Only),
    }
}

fn list<T: Ord>(item: &Item, name: &'static str, parse: fn(&str) -> Option<T>) -> Result<BTreeSet<T>, ItemError> {
    let all = item.get(name).and_then(|value| value.as_l().ok()).ok_or_else(|| unreadable(name))?;
    let parsed = all.iter().map(|value| parse(value.as_s().ok()?));
    parsed.collect::<Option<_>>().ok_or_else(|| unreadable(name))
}

#[cfg(test)]
mod tests {
    use signpost_core::portal::{LinkRequest, PortalSecret};
    use uuid::Uuid;

    use super::*;

    fn link(request: LinkRequest) -> Link {
        let code = PortalSecret::new([1; 32]).hash();
        Link::new(TenantId::parse("acme").unwrap(), LinkId::new(7, Uuid::from_u128(1)), request, code, 1_000)
    }

    #[test]
    fn links_read_back_and_outlive_their_session_in_the_list() {
        let endpoints = BTreeSet::from([1, 2].map(|number| EndpointId::new(Uuid::from_u128(number))));
        let narrow = LinkRequest {
            scope: Scope::Only(endpoints),
            can: BTreeSet::from(Capability::ALL),
            name: Some("Acme".into()),
            ..LinkRequest::default()
        };
        for link in [link(LinkRequest::default()), link(narrow)] {
            let mut item = item_of(&link);
            assert_eq!(link_of(&item).unwrap(), link);
            assert_eq!(number(&item, "expiresAt").unwrap(), 1_000 + 900 + 3_600 + 7 * 86_400);
            let session = link.session(PortalSecret::new([2; 32]).hash(), 1_200);
            item.extend([
                ("tokenHash".into(), s(session.token.as_str())),
                ("sessionStartedAt".into(), n(session.started_at)),
                ("sessionExpiresAt".into(), n(session.expires_at)),
            ]);
            assert_eq!(link_of(&item).unwrap().session, Some(session.clone()));
            item.extend([("sessionEndedAt".into(), n(1_300)), ("endedAt".into(), n(1_400))]);
            let read = link_of(&item).unwrap();
            assert_eq!((read.session.unwrap().ended_at, read.ended_at), (Some(1_300), Some(1_400)));
            let lead = pointer(TOKEN, &session.token, &link);
            assert_eq!(named_by(&lead).unwrap(), (link.tenant.clone(), link.id.clone()));
        }
    }

    /// An item that was written by hand must not become a link with more rights.
    #[test]
    fn an_unreadable_link_opens_nothing() {
        let whole = item_of(&link(LinkRequest::default()));
        for name in ["tenant", "sk", "endpoints", "can", "createdAt", "codeExpiresAt", "sessionSeconds", "codeHash"] {
            let mut item = whole.clone();
            item.remove(name);
            assert!(link_of(&item).is_err(), "without {name}");
        }
        let list = |text: &str| AttributeValue::L(vec![s(text)]);
        for (name, value) in [("endpoints", s("all")), ("endpoints", list("*")), ("can", list("admin"))] {
            let mut item = whole.clone();
            item.insert(name.into(), value);
            assert!(link_of(&item).is_err(), "{name}");
        }
    }
}
