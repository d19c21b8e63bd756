//! `TokenRequestsTable`: token requests, and the states in their callback URLs. Partition key `pk`, sort key `sk`:
//!
//! - a token request: its id, and `tenant#<tenant>`;
//! - a state: `state#<hash>`, and `state`. It names a token request, and is valid only if that request names it too.
//!
//! The table's TTL (`expiresAt`) removes items one retention period after the last moment at which the bank could call
//! back.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use signpost_core::event::TenantId;
use signpost_core::random_secret::SecretHash;
use signpost_core::token_request::{BankResponse, RequestId, TokenRequest};
use signpost_engine::ports;
use signpost_engine::ports::token_requests::Changed;

use crate::aws::{AwsError, Item, ItemError, if_condition_held, n, number, optional, s, text, unreadable};

/// The table of token requests.
#[derive(Clone, Debug)]
pub struct TokenRequests {
    client: Client,
    table: String,
}

impl TokenRequests {
    /// Adapts `client` to the table called `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Reads the token requests with this id (strongly consistent): that of `tenant` or, without one, the first two of
    /// all tenants.
    ///
    /// Needs `dynamodb:Query`.
    ///
    /// # Errors
    /// The call failed, or an item cannot be read.
    pub async fn find(&self, id: &RequestId, tenant: Option<&TenantId>) -> Result<Vec<TokenRequest>, AwsError> {
        let call = self.client.query().table_name(&self.table).consistent_read(true).limit(2);
        let call = call.expression_attribute_values(":id", s(id.as_str()));
        let call = match tenant {
            None => call.key_condition_expression("pk = :id"),
            Some(tenant) => call
                .key_condition_expression("pk = :id AND sk = :record")
                .expression_attribute_values(":record", s(record(tenant))),
        };
        let items = call.send().await.map_err(AwsError::of("dynamodb:Query"))?.items.unwrap_or_default();
        items.iter().map(read).collect::<Result<_, _>>().map_err(AwsError::corrupt(ITEM))
    }

    /// Registers a token request. It replaces `before`, whose state becomes invalid. The item is kept for `retention`
    /// after the bank could call back last. Returns false if the stored request is not `before` any more; nothing is
    /// changed then.
    ///
    /// Needs `dynamodb:PutItem`. Two writes: first the state, which nobody can use yet, then the request that it
    /// belongs to.
    ///
    /// # Errors
    /// A call failed.
    pub async fn register(
        &self,
        request: &TokenRequest,
        before: Option<&TokenRequest>,
        retention: Duration,
    ) -> Result<bool, AwsError> {
        let expires_at = request.expires_at + retention.as_secs();
        let state = Item::from([
            ("pk".into(), s(state_key(&request.state))),
            ("sk".into(), s(STATE)),
            ("requestId".into(), s(request.id.as_str())),
            ("tenant".into(), s(request.tenant.as_str())),
            ("expiresAt".into(), n(expires_at)),
        ]);
        let call = self.client.put_item().table_name(&self.table).set_item(Some(state));
        call.send().await.map_err(AwsError::of("dynamodb:PutItem"))?;

        let call = self.client.put_item().table_name(&self.table).set_item(Some(item_of(request, expires_at)));
        let call = match before {
            None => call.condition_expression("attribute_not_exists(tokenRequest)"),
            Some(TokenRequest { state, called: None, .. }) => call
                .condition_expression("stateHash = :state AND attribute_not_exists(payload)")
                .expression_attribute_values(":state", s(state.as_str())),
            Some(TokenRequest { state, called: Some(called), .. }) => call
                .condition_expression("stateHash = :state AND payload = :payload")
                .expression_attribute_values(":state", s(state.as_str()))
                .expression_attribute_values(":payload", s(&called.payload)),
        };
        Ok(if_condition_held(call.send().await, "dynamodb:PutItem")?.is_some())
    }

    /// Removes a token request with its bank callback, unless it was registered again. A later callback to its URL is
    /// refused as unknown.
    ///
    /// Needs `dynamodb:DeleteItem`. One write.
    ///
    /// # Errors
    /// The call failed.
    pub async fn erase(&self, request: &TokenRequest) -> Result<(), AwsError> {
        let call = self
            .client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(key(&request.tenant, &request.id)))
            .condition_expression("stateHash = :state")
            .expression_attribute_values(":state", s(request.state.as_str()));
        if_condition_held(call.send().await, "dynamodb:DeleteItem").map(drop)
    }

    fn update(&self, tenant: &TenantId, id: &RequestId) -> UpdateItemFluentBuilder {
        let call = self.client.update_item().table_name(&self.table).set_key(Some(key(tenant, id)));
        call.return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }
}

impl ports::token_requests::TokenRequests for TokenRequests {
    type Error = AwsError;

    /// Needs `dynamodb:GetItem`.
    async fn of_state(&self, state: &SecretHash) -> Result<Option<(TenantId, RequestId)>, AwsError> {
        let call = self.client.get_item().table_name(&self.table).consistent_read(true);
        let call = call.key("pk", s(state_key(state))).key("sk", s(STATE));
        let Some(item) = call.send().await.map_err(AwsError::of("dynamodb:GetItem"))?.item else { return Ok(None) };
        let names = || -> Result<_, ItemError> {
            let tenant = TenantId::parse(text(&item, "tenant")?).ok_or_else(|| unreadable("tenant"))?;
            let id = RequestId::parse(text(&item, "requestId")?).ok_or_else(|| unreadable("requestId"))?;
            Ok((tenant, id))
        };
        names().map(Some).map_err(AwsError::corrupt(ITEM))
    }

    /// Needs `dynamodb:UpdateItem`. One write.
    async fn record_callback(
        &self,
        tenant: &TenantId,
        id: &RequestId,
        state: &SecretHash,
        payload: &str,
        now: u64,
    ) -> Result<Changed, AwsError> {
        let call = self
            .update(tenant, id)
            .update_expression("SET payload = :payload, calledAt = if_not_exists(calledAt, :now)")
            .condition_expression(
                "stateHash = :state AND attribute_not_exists(acknowledgedBy) \
                 AND (payload = :payload OR (attribute_not_exists(payload) AND callbackExpiresAt > :now))",
            )
            .expression_attribute_values(":state", s(state.as_str()))
            .expression_attribute_values(":payload", s(payload))
            .expression_attribute_values(":now", n(now));
        changed(call).await
    }

    /// Needs `dynamodb:UpdateItem`. One write.
    async fn acknowledge(&self, request: &TokenRequest, by: &str) -> Result<Changed, AwsError> {
        let call = self
            .update(&request.tenant, &request.id)
            .update_expression("SET acknowledgedBy = :by")
            // A caller whose answer got lost tries again with the same `by`, and succeeds.
            .condition_expression(
                "stateHash = :state AND (attribute_not_exists(acknowledgedBy) OR acknowledgedBy = :by)",
            )
            .expression_attribute_values(":state", s(request.state.as_str()))
            .expression_attribute_values(":by", s(by));
        changed(call).await
    }
}

async fn changed(call: UpdateItemFluentBuilder) -> Result<Changed, AwsError> {
    let read = |item: &Item| read(item).map_err(AwsError::corrupt(ITEM));
    match call.send().await {
        Ok(answer) => {
            let now = answer.attributes().ok_or_else(|| unreadable("attributes"));
            now.map_err(AwsError::corrupt(ITEM)).and_then(read).map(Changed::Yes)
        }
        Err(refused) => match refused.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(check)) => {
                let item = check.item().filter(|item| !item.is_empty());
                item.map(read).transpose().map(Changed::No)
            }
            _ => Err(AwsError::of("dynamodb:UpdateItem")(refused)),
        },
    }
}

const STATE: &str = "state";
const ITEM: &str = "token request";

fn state_key(state: &SecretHash) -> String {
    format!("state#{state}") // A request's id has no `#`.
}

fn record(tenant: &TenantId) -> String {
    format!("tenant#{tenant}")
}

fn key(tenant: &TenantId, id: &RequestId) -> HashMap<String, AttributeValue> {
    HashMap::from([("pk".into(), s(id.as_str())), ("sk".into(), s(record(tenant)))])
}

fn item_of(request: &TokenRequest, expires_at: u64) -> Item {
    let mut item = Item::from([
        ("tenant".into(), s(request.tenant.as_str())),
        ("stateHash".into(), s(request.state.as_str())),
        ("registeredAt".into(), n(request.registered_at)),
        ("callbackExpiresAt".into(), n(request.expires_at)),
        ("expiresAt".into(), n(expires_at)),
    ]);
    item.extend(key(&request.tenant, &request.id));
    item.extend(request.redirect_url.as_ref().map(|url| ("redirectUrl".into(), s(url))));
    item
}

fn read(item: &Item) -> Result<TokenRequest, ItemError> {
    let optional_text = |name| optional(item, name, |item, name| text(item, name).map(str::to_owned));
    let called = optional_text("payload")?.map(|payload| {
        Ok(BankResponse { at: number(item, "calledAt")?, payload, acknowledged_by: optional_text("acknowledgedBy")? })
    });
    Ok(TokenRequest {
        tenant: TenantId::parse(text(item, "tenant")?).ok_or_else(|| unreadable("tenant"))?,
        id: RequestId::parse(text(item, "pk")?).ok_or_else(|| unreadable("pk"))?,
        redirect_url: optional_text("redirectUrl")?,
        registered_at: number(item, "registeredAt")?,
        expires_at: number(item, "callbackExpiresAt")?,
        state: SecretHash::parse(text(item, "stateHash")?).ok_or_else(|| unreadable("stateHash"))?,
        called: called.transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use signpost_core::token_request::CallbackToken;

    use super::*;

    #[test]
    fn token_requests_read_back() {
        let bare = TokenRequest {
            tenant: TenantId::parse("acme").unwrap(),
            id: RequestId::parse("rq:1").unwrap(),
            redirect_url: None,
            registered_at: 1,
            expires_at: 2,
            state: CallbackToken::new([7; 32]).hash(),
            called: None,
        };
        let full = TokenRequest { redirect_url: Some("https://tpp.example/".into()), ..bare.clone() };
        for request in [&bare, &full] {
            assert_eq!(read(&item_of(request, 102)).unwrap(), *request);
        }
        let mut item = item_of(&bare, 102);
        item.extend([("payload".into(), s("{}")), ("calledAt".into(), n(3))]);
        let called = BankResponse { at: 3, payload: "{}".into(), acknowledged_by: None };
        assert_eq!(read(&item).unwrap().called, Some(called));
        item.remove("calledAt");
        assert!(read(&item).is_err());
    }
}
