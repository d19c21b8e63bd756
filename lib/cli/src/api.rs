//! The client of the HTTP API. [`OPERATIONS`] lists every route that it calls.

use std::time::Duration;

use http::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use url::form_urlencoded;

use crate::aws::{Answer, Unsigned};
use crate::commands::care::{Count, Precision};
use crate::failure::{Failure, Outcome};
use crate::stack::{API_URL, Stack};

/// A route of the contract (`infra/openapi.yaml`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// `operationId`.
    pub id: &'static str,
    /// The method.
    pub method: &'static str,
    /// The path, with its parameters in braces.
    pub path: &'static str,
    /// Members of the query that the client may send.
    pub query: &'static [&'static str],
    /// The media types of the bodies that the client may send.
    pub media_types: &'static [&'static str],
}

macro_rules! operations {
    ($($constant:ident = $id:literal $method:literal $path:literal $query:expr, $media_types:expr;)*) => {
        $(#[doc = concat!("`", $method, " ", $path, "`.")]
        pub const $constant: Operation =
            Operation { id: $id, method: $method, path: $path, query: $query, media_types: $media_types };)*

        /// All operations of the client.
        pub const OPERATIONS: &[Operation] = &[$($constant),*];
    };
}

const JSON: &str = "application/json";
/// How often a request that changes nothing is sent in all, if the API answers 503. Its answer says to send it again.
const TRIES: u32 = 5;
/// The wait between two tries: the `Retry-After` of the API.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
const ENDPOINT: &str = "/v1/tenants/{tenant}/endpoints/{endpoint}";
const PORTAL_LINK: &str = "/v1/tenants/{tenant}/portal-links/{link}";

operations! {
    POST_EVENTS = "postEvents" "POST" "/v1/events" &[], &["application/cloudevents+json", "application/cloudevents-batch+json"];
    READ_EVENT = "readEvent" "GET" "/v1/tenants/{tenant}/events/{event}" &["source", "cursor"], &[];
    ERASE_EVENT = "eraseEvent" "DELETE" "/v1/tenants/{tenant}/events/{event}" &["source", "dryRun"], &[];
    REPLAY_EVENT = "replayEvent" "POST" "/v1/tenants/{tenant}/events/{event}/replay" &["source"], &[JSON];
    CREATE_ENDPOINT = "createEndpoint" "POST" "/v1/tenants/{tenant}/endpoints" &[], &[JSON];
    LIST_ENDPOINTS = "listEndpoints" "GET" "/v1/tenants/{tenant}/endpoints" &["cursor"], &[];
    GET_ENDPOINT = "getEndpoint" "GET" "/v1/tenants/{tenant}/endpoints/{endpoint}" &[], &[];
    UPDATE_ENDPOINT = "updateEndpoint" "PATCH" "/v1/tenants/{tenant}/endpoints/{endpoint}" &[], &["application/merge-patch+json"];
    DELETE_ENDPOINT = "deleteEndpoint" "DELETE" "/v1/tenants/{tenant}/endpoints/{endpoint}" &[], &[];
    ENABLE_ENDPOINT = "enableEndpoint" "POST" "/v1/tenants/{tenant}/endpoints/{endpoint}/enable" &[], &[];
    DISABLE_ENDPOINT = "disableEndpoint" "POST" "/v1/tenants/{tenant}/endpoints/{endpoint}/disable" &[], &[];
    TEST_ENDPOINT = "testEndpoint" "POST" "/v1/tenants/{tenant}/endpoints/{endpoint}/test" &[], &[JSON];
    ROTATE_SECRET = "rotateEndpointSecret" "POST" "/v1/tenants/{tenant}/endpoints/{endpoint}/rotate-secret" &[], &[JSON];
    LIST_DELIVERIES = "listDeliveries" "GET" "/v1/tenants/{tenant}/endpoints/{endpoint}/deliveries" &["cursor", "since", "status"], &[];
    RECOVER_ENDPOINT = "recoverEndpoint" "POST" "/v1/tenants/{tenant}/endpoints/{endpoint}/recover" &[], &[JSON];
    CREATE_REPLAY = "createReplay" "POST" "/v1/tenants/{tenant}/replays" &[], &[JSON];
    LIST_REPLAYS = "listReplays" "GET" "/v1/tenants/{tenant}/replays" &["cursor"], &[];
    READ_REPLAY = "readReplay" "GET" "/v1/tenants/{tenant}/replays/{replay}" &[], &[];
    STOP_REPLAY = "stopReplay" "DELETE" "/v1/tenants/{tenant}/replays/{replay}" &[], &[];
    ERASE_TENANT = "eraseTenant" "POST" "/v1/tenants/{tenant}/erasures" &[], &[JSON];
    READ_ERASURE = "readErasure" "GET" "/v1/tenants/{tenant}/erasures/{erasure}" &[], &[];
    CREATE_PORTAL_LINK = "createPortalLink" "POST" "/v1/tenants/{tenant}/portal-links" &[], &[JSON];
    LIST_PORTAL_LINKS = "listPortalLinks" "GET" "/v1/tenants/{tenant}/portal-links" &["cursor"], &[];
    END_PORTAL_LINK = "endPortalLink" "DELETE" "/v1/tenants/{tenant}/portal-links/{link}" &[], &[];
    END_PORTAL_LINKS = "endPortalLinks" "DELETE" "/v1/tenants/{tenant}/portal-links" &[], &[];
    PUT_EVENT_TYPE = "putEventType" "PUT" "/v1/tenants/{tenant}/event-types/{type}" &[], &[JSON];
    LIST_EVENT_TYPES = "listEventTypes" "GET" "/v1/tenants/{tenant}/event-types" &["cursor"], &[];
    READ_EVENT_TYPE = "readEventType" "GET" "/v1/tenants/{tenant}/event-types/{type}" &[], &[];
    DELETE_EVENT_TYPE = "deleteEventType" "DELETE" "/v1/tenants/{tenant}/event-types/{type}" &[], &[];
    TEST_FILTER = "testFilter" "POST" "/v1/tenants/{tenant}/filters/test" &[], &[JSON];
    SET_NOTICES = "setNotices" "PUT" "/v1/tenants/{tenant}/notices" &[], &[JSON];
    GET_NOTICES = "getNotices" "GET" "/v1/tenants/{tenant}/notices" &[], &[];
    DELETE_NOTICES = "removeNotices" "DELETE" "/v1/tenants/{tenant}/notices" &[], &[];
    LIST_AUDIT = "listAudit" "GET" "/v1/tenants/{tenant}/audit" &["cursor", "since", "endpoint"], &[];
    READ_STATUS = "readStatus" "GET" "/v1/tenants/{tenant}/status/{type}/{subject}" &["type"], &[];
    ERASE_SUBJECT = "eraseSubject" "DELETE" "/v1/tenants/{tenant}/status/{type}/{subject}" &["type", "dryRun"], &[];
    REGISTER_TOKEN_REQUEST = "registerTokenRequest" "POST" "/v1/tenants/{tenant}/token-requests" &[], &[JSON];
    GET_EGRESS_ADDRESSES = "getEgressAddresses" "GET" "/.well-known/egress-addresses.json" &[], &[];
    GET_KEY_SET = "getKeySet" "GET" "/tenants/{tenant}/.well-known/jwks.json" &[], &[];
}

/// Characters that a segment of a path has to escape (RFC 3986, section 2.3).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A call of an operation.
#[derive(Debug)]
pub struct Call<'a> {
    /// The route.
    pub operation: &'a Operation,
    /// The parameters of the path.
    pub path: &'a [(&'a str, &'a str)],
    /// The query, without absent members.
    pub query: &'a [(&'a str, Option<&'a str>)],
    /// The media type and the bytes of the body.
    pub body: Option<(&'static str, Vec<u8>)>,
    /// For how many seconds the API may wait for news (RFC 7240).
    pub prefer_wait: Option<u64>,
}

impl<'a> Call<'a> {
    /// Makes a call without query and body.
    #[must_use]
    pub fn new(operation: &'a Operation, path: &'a [(&'a str, &'a str)]) -> Self {
        Self { operation, path, query: &[], body: None, prefer_wait: None }
    }

    /// Adds a JSON body.
    #[must_use]
    pub fn with_json(self, body: &Value) -> Self {
        let media_type = self.operation.media_types.first().copied().unwrap_or(JSON);
        Self { body: Some((media_type, body.to_string().into_bytes())), ..self }
    }

    /// Adds a query.
    #[must_use]
    pub fn with_query(self, query: &'a [(&'a str, Option<&'a str>)]) -> Self {
        Self { query, ..self }
    }

    /// Returns the path and the query.
    #[must_use]
    pub fn target(&self) -> String {
        let path = self.path.iter().fold(self.operation.path.to_owned(), |path, (name, value)| {
            path.replace(&format!("{{{name}}}"), &utf8_percent_encode(value, SEGMENT).to_string())
        });
        let pairs = self.query.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish().replace('+', "%20");
        if query.is_empty() { path } else { format!("{path}?{query}") }
    }
}

impl Stack<'_> {
    /// Calls the API, and returns the JSON of the answer; `null` if there is none.
    ///
    /// # Errors
    /// The API refuses, or does not answer.
    pub async fn call(&self, call: Call<'_>) -> Outcome<Value> {
        Ok(serde_json::from_str(&self.call_for_text(call).await?).unwrap_or_default())
    }

    /// Calls the API, and returns the answer as it is spelled: a payload has numbers that a parser would change.
    ///
    /// # Errors
    /// As for [`Self::call`].
    pub async fn call_for_text(&self, call: Call<'_>) -> Outcome<String> {
        let url = format!("{}{}", self.output(API_URL).await?.trim_end_matches('/'), call.target());
        let method = Method::from_bytes(call.operation.method.as_bytes()).unwrap_or_default();
        let (media_type, body) = call.body.unwrap_or(("", Vec::new()));
        let prefer = call.prefer_wait.map(|seconds| format!("wait={seconds}")).unwrap_or_default();
        let headers = [("content-type", media_type), ("prefer", &prefer)];
        let headers: Vec<_> = headers.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        let mut tries = if method == Method::GET { TRIES } else { 1 };
        let answer = loop {
            let (method, body) = (method.clone(), body.clone());
            let request = Unsigned { service: "execute-api", method, url: &url, headers: &headers, body };
            let answer = self.aws.send(request).await?;
            tries -= 1;
            if answer.status != 503 || tries == 0 {
                break answer;
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        };
        if (200..300).contains(&answer.status) { Ok(answer.text()) } else { Err(refusal(call.operation, &answer)) }
    }

    /// Reads all pages of a list.
    ///
    /// # Errors
    /// As for [`Self::call`].
    pub async fn pages(&self, call: &Call<'_>, member: &str) -> Outcome<Vec<Value>> {
        let mut items = Vec::new();
        self.each_page(call, member, |page| {
            items.extend(page);
            true
        })
        .await?;
        Ok(items)
    }

    /// Reads the first `limit` items of a list. Returns whether there may be more as well.
    ///
    /// # Errors
    /// As for [`Self::call`].
    pub async fn first(&self, call: &Call<'_>, member: &str, limit: usize) -> Outcome<(Vec<Value>, bool)> {
        let mut items = Vec::new();
        let has_more = self
            .each_page(call, member, |page| {
                items.extend(page);
                items.len() < limit
            })
            .await?;
        let is_cut = items.len() > limit;
        items.truncate(limit);
        Ok((items, has_more || is_cut))
    }

    /// Counts the items of a list, and stops at `most`.
    ///
    /// # Errors
    /// As for [`Self::call`].
    pub async fn count(&self, call: &Call<'_>, member: &str, most: usize) -> Outcome<Count> {
        let mut number = 0;
        let has_more = self
            .each_page(call, member, |page| {
                number += page.len();
                number < most
            })
            .await?;
        let precision = if has_more { Precision::AtLeast } else { Precision::Exact };
        Ok(Count { number, precision })
    }

    /// Reads pages while `take` says to go on. Returns whether there are more pages.
    async fn each_page(
        &self,
        call: &Call<'_>,
        member: &str,
        mut take: impl FnMut(Vec<Value>) -> bool,
    ) -> Outcome<bool> {
        let mut cursor = None::<String>;
        loop {
            let query: Vec<_> = call.query.iter().copied().chain([("cursor", cursor.as_deref())]).collect();
            let mut page = self.call(Call::new(call.operation, call.path).with_query(&query)).await?;
            let Value::Array(items) = page[member].take() else { return Ok(false) };
            cursor = page["cursor"].as_str().map(str::to_owned);
            let goes_on = take(items);
            if cursor.is_none() || !goes_on {
                return Ok(cursor.is_some());
            }
        }
    }
}

/// Explains a refusal: the problem document (RFC 9457) with every fault, and what to do.
fn refusal(operation: &Operation, answer: &Answer) -> Failure {
    let problem = answer.json();
    let detail = problem["detail"].as_str().or(problem["message"].as_str()).map(str::to_owned);
    let what = detail.unwrap_or_else(|| format!("the API answered {} without a reason", answer.status));
    let fault = |fault: &Value| {
        let text = |name: &str| fault[name].as_str().unwrap_or_default().to_owned();
        let pointer = text("pointer");
        let place = if pointer.is_empty() { "the body".to_owned() } else { pointer };
        format!("{place}: found {}; expected {}", text("found"), text("expected"))
    };
    let faults = problem["errors"].as_array().map(|faults| faults.iter().map(fault).collect()).unwrap_or_default();
    let failure = match answer.status {
        401 | 403 => Failure::refused(
            format!("{what} ({})", answer.status),
            format!(
                "allow execute-api:Invoke on {} {} (docs/operator-policy.json); see `signpost whoami`",
                operation.method, operation.path
            ),
        ),
        404 if operation.path.starts_with(ENDPOINT) => {
            Failure::not_found(what, "list the tenant's endpoints: `signpost endpoint list --tenant …`")
        }
        404 if operation.path == GET_NOTICES.path => {
            Failure::not_found(what, "set the address: `signpost notices set URL --tenant …`")
        }
        404 if operation.id == ERASE_EVENT.id => {
            Failure::not_found(what, "if it has not arrived yet, add --source; then it is dropped when it arrives")
        }
        404 if operation.path == READ_STATUS.path => {
            Failure::not_found(what, "check the tenant, the type and the subject; --wait waits for the first state")
        }
        404 if operation.path == PORTAL_LINK => {
            Failure::not_found(what, "list the tenant's links: `signpost portal-link list --tenant …`")
        }
        404 if operation.path == READ_EVENT_TYPE.path => {
            Failure::not_found(what, "list the types: `signpost event-type list --tenant …`")
        }
        404 if operation.path == READ_REPLAY.path => {
            Failure::not_found(what, "list the tenant's replays: `signpost replays list --tenant …`")
        }
        404 if operation.path == READ_ERASURE.path => {
            Failure::not_found(what, "the answer of `signpost erase tenant` named the id; it is kept for 30 days")
        }
        404 => Failure::not_found(what, "check the tenant and the id; a new event needs a moment to arrive"),
        409 if operation.path == LIST_REPLAYS.path => {
            Failure::refused(what, "stop one: `signpost replays stop REPLAY --tenant …`, or wait until one is done")
        }
        409 if operation.path == READ_EVENT_TYPE.path => {
            Failure::refused(what, "choose another type: `signpost event-type list --tenant …` shows which there are")
        }
        409 if operation.path.contains("{event}") => {
            Failure::refused(what, "if several sources use the id, add --source")
        }
        409 => Failure::refused(what, "change what the message names, or wait until it is over, and send it again"),
        410 => Failure::not_found(what, "nothing is left to show; see docs/erasure.md"),
        429 => Failure::refused(what, "wait a minute, then send it again"),
        500.. => Failure::refused(what, "try again; if it stays, see the log group of the function"),
        _ => Failure::refused(
            what,
            if problem["errors"].is_array() {
                "correct each of these, and send it again"
            } else {
                "see infra/openapi.yaml"
            },
        ),
    };
    failure.with_details(faults)
}
