//! The client of the local stack, for tests and the demo. It uses the interfaces of producers, operators and
//! integrators.

use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use aws_config::timeout::TimeoutConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_sqs::types::{Message, QueueAttributeName};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use reqwest::Client;
use serde_json::{Value, json};
use signpost_core::delivery::DeliveryKey;
use signpost_core::delivery::attempt::Attempt;
use signpost_core::delivery::breaker::{Breaker, Outcomes};
use signpost_core::delivery::list::{ListPosition, key_of};
use signpost_core::delivery::pace::QUICK_AFTER;
use signpost_core::delivery::parking::Lane;
use signpost_core::endpoint::retry::RetryPolicy;
use signpost_core::endpoint::{Endpoint, EndpointId};
use signpost_core::event::{Event, EventId, EventKey, TenantId};
use signpost_core::signing::algorithm::Algorithm;
use signpost_core::signing::standard_webhooks::WebhookPublicKey;
use signpost_core::status::state::Moment;
use signpost_engine::ports::endpoints::StoredEndpoint;
use signpost_engine::ports::events::Events as _;
use signpost_engine::ports::events::{Arrival, FirstFanOut};
use signpost_engine::ports::limits::Breakers as _;
use signpost_engine::ports::parking::Parking as _;
use signpost_engine::ports::queue::Queue as _;
use signpost_io::mac::MacKey;
use signpost_io::runtime::clock::unix_now;
use signpost_io::tables::breakers::Breakers;
use signpost_io::tables::deliveries::Deliveries;
use signpost_io::tables::endpoints::Endpoints;
use signpost_io::tables::events::Events;
use signpost_io::tables::parking::Parking;
use signpost_io::tables::signing_keys::{KeyTable, StoredKey};
use uuid::Uuid;

use crate::build::ARRIVED;
use crate::signed_http::{Signature, send};

/// A running local stack.
#[derive(Clone, Debug)]
pub struct LocalStack {
    /// URL of the HTTP API, without a slash at the end.
    pub api_url: String,
    /// Settings of the AWS SDK, with the credentials of the account's root.
    pub aws: SdkConfig,
    http: Client,
}

/// A new endpoint.
#[derive(Clone, Debug)]
pub struct Registered {
    /// Its id.
    pub id: EndpointId,
    /// The signing secret, which the API shows once.
    pub signing_secret: String,
}

/// Returns the path of a tenant's endpoints.
#[must_use]
pub fn endpoints_path(tenant: &TenantId) -> String {
    format!("/v1/tenants/{tenant}/endpoints")
}

/// Returns the start of the paths of a tenant's public keys.
#[must_use]
pub fn keys_path(tenant: &TenantId) -> String {
    format!("/tenants/{tenant}")
}

/// Returns the path of an endpoint.
#[must_use]
pub fn endpoint_path(tenant: &TenantId, id: &EndpointId) -> String {
    format!("/v1/tenants/{tenant}/endpoints/{id}")
}

/// A complete answer of the HTTP API.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as text.
    pub text: String,
}

impl Answer {
    /// Parses the body as JSON.
    ///
    /// # Panics
    /// The body is not valid JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// Returns a header's text, empty if the header is missing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub(crate) async fn read(response: reqwest::Result<reqwest::Response>) -> Self {
        let response = response.expect("an answer from the API");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, text: response.text().await.expect("a whole answer") }
    }
}

/// Sends a request again if the stack was too busy to reach a table or a queue, as the answer says to do.
async fn patiently(send: impl AsyncFn() -> Answer) -> Answer {
    let begin = Instant::now();
    loop {
        let answer = send().await;
        let is_busy = answer.status == 503 && answer.text.contains("could not be reached");
        if !is_busy || begin.elapsed() > BUSY {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// How long the stack may be too busy for a request.
const BUSY: Duration = Duration::from_secs(30);

/// How long a test waits for a message before it fails.
const PATIENCE: Duration = Duration::from_mins(2);

impl LocalStack {
    /// Reads the settings of the stack from the process environment. `make up` writes them to `.local/stack.env`.
    ///
    /// # Panics
    /// The settings are missing.
    pub async fn from_env() -> Self {
        // The stack is one process for all tests, so it answers more slowly than AWS when many tests call it.
        let timeouts = TimeoutConfig::builder().operation_timeout(PATIENCE).build();
        let aws = signpost_io::aws::load().await.into_builder().timeout_config(timeouts).build();
        Self { api_url: setting("API_URL"), aws, http: Client::new() }
    }

    /// Posts events with a signature, as a producer does.
    ///
    /// # Panics
    /// The API does not answer.
    pub async fn post_events(&self, media_type: &str, body: String) -> Answer {
        self.post_events_as(&root(), media_type, body).await
    }

    /// Posts events with the given credentials.
    ///
    /// # Panics
    /// The API does not answer.
    pub async fn post_events_as(&self, credentials: &Credentials, media_type: &str, body: String) -> Answer {
        let signature = &Signature { credentials, service: "execute-api" };
        patiently(async || {
            let request = self.http.post(format!("{}/v1/events", self.api_url)).header("content-type", media_type);
            let request = request.body(body.clone()).build().expect("a request");
            Answer::read(send(&self.http, request, signature).await).await
        })
        .await
    }

    /// Posts events without a signature, as a stranger does.
    ///
    /// # Panics
    /// The API does not answer.
    pub async fn post_events_unsigned(&self, body: String) -> Answer {
        let request = self.http.post(format!("{}/v1/events", self.api_url)).header("content-type", "application/json");
        Answer::read(request.body(body).send().await).await
    }

    /// Gets a public path of the API.
    ///
    /// # Panics
    /// The API does not answer.
    pub async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.http.get(format!("{}{path}", self.api_url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::read(request.send().await).await
    }

    /// Calls a public route of the API. A body is JSON, unless the headers say otherwise.
    ///
    /// # Panics
    /// The API does not answer.
    pub async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<String>) -> Answer {
        let mut request = self.http.request(method.parse().expect("a method"), format!("{}{path}", self.api_url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            let has_type = headers.iter().any(|(name, _)| *name == "content-type");
            request = if has_type { request } else { request.header("content-type", "application/json") };
            request = request.body(body);
        }
        patiently(async || Answer::read(request.try_clone().expect("a body in memory").send().await).await).await
    }

    /// Sends messages to `EventsQueue`, as a producer without HTTP does, ten in one call.
    ///
    /// # Panics
    /// SQS refuses a message.
    pub async fn send_events(&self, bodies: impl IntoIterator<Item = String>) {
        self.send_to(&setting("EVENTS_QUEUE_URL"), bodies).await;
    }

    /// Sends messages to the queue at `url`, ten in one call.
    ///
    /// # Panics
    /// SQS refuses a message.
    pub async fn send_to(&self, url: &str, bodies: impl IntoIterator<Item = String>) {
        let queue = signpost_io::queue::Queue::new(self.sqs(), url.to_owned());
        let message = |body| signpost_engine::ports::queue::Message { body, ..Default::default() };
        queue.send_all(bodies.into_iter().map(message)).await.expect("SQS accepts the messages");
    }

    /// Calls the management API with a signature, as an operator does.
    ///
    /// # Panics
    /// The API does not answer.
    pub async fn manage(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.manage_as(&root(), method, path, &[], body).await
    }

    /// Calls the management API with the given credentials and headers.
    ///
    /// # Panics
    /// The API does not answer.
    pub async fn manage_as(
        &self,
        credentials: &Credentials,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        let method = method.parse().expect("a method");
        let mut request = self.http.request(method, format!("{}{path}", self.api_url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let request = request.build().expect("a request");
        let signature = &Signature { credentials, service: "execute-api" };
        patiently(async || {
            let request = request.try_clone().expect("a body in memory");
            Answer::read(send(&self.http, request, signature).await).await
        })
        .await
    }

    /// Registers an endpoint, and returns its id.
    ///
    /// # Panics
    /// The API refuses the endpoint.
    pub async fn register(&self, tenant: &TenantId, endpoint: &Endpoint) -> EndpointId {
        self.register_with(tenant, &json!(endpoint)).await.id
    }

    /// Registers an endpoint with settings as operators write them. If they do not set `retry`, the endpoint gets five
    /// retries, five seconds apart, so that no test waits for the default schedule.
    ///
    /// # Panics
    /// The API refuses the endpoint.
    pub async fn register_with(&self, tenant: &TenantId, settings: &Value) -> Registered {
        let mut settings = settings.clone();
        if settings.get("retry").is_none_or(|retry| *retry == json!(RetryPolicy::default())) {
            settings["retry"] = json!({"maxRetries": 5, "intervalSeconds": 5, "backoff": "fixed"});
        }
        let answer = self.manage("POST", &endpoints_path(tenant), Some(&settings)).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let text = |name: &str| answer.json()[name].as_str().unwrap_or_default().to_owned();
        let id = EndpointId::parse(&text("id")).expect("an endpoint's id");
        Registered { id, signing_secret: text("signingSecret") }
    }

    /// Writes down that an endpoint has proved that it is quick, so that its deliveries are sent from `DeliveriesQueue`.
    ///
    /// # Panics
    /// The endpoint has a breaker already.
    pub async fn make_quick(&self, endpoint: &EndpointId) {
        make_quick(&self.aws, setting("PARKING_TABLE"), endpoint).await;
    }

    /// Registers a token request, and returns its callback URL.
    ///
    /// # Panics
    /// The API refuses the token request.
    pub async fn register_token_request(&self, tenant: &TenantId, registration: &Value) -> String {
        let answer = self.manage("POST", &format!("/v1/tenants/{tenant}/token-requests"), Some(registration)).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()["callbackUrl"].as_str().expect("a callback URL").to_owned()
    }

    /// Ends the time in which a bank may call back.
    ///
    /// # Panics
    /// The token request does not exist.
    pub async fn let_expire(&self, tenant: &TenantId, token_request: &str) {
        let text = |text: String| aws_sdk_dynamodb::types::AttributeValue::S(text);
        let call = self.dynamodb().update_item().table_name(setting("TOKEN_REQUESTS_TABLE"));
        let call = call.key("pk", text(token_request.to_owned())).key("sk", text(format!("tenant#{tenant}")));
        let call = call.update_expression("SET callbackExpiresAt = registeredAt");
        call.condition_expression("attribute_exists(stateHash)").send().await.expect("the token request is there");
    }

    /// Moves the time of the bank callback back by `seconds`.
    ///
    /// # Panics
    /// The token request does not exist, or the bank has not called back.
    pub async fn let_callback_age(&self, tenant: &TenantId, token_request: &str, seconds: u64) {
        let text = |text: String| aws_sdk_dynamodb::types::AttributeValue::S(text);
        let call = self.dynamodb().update_item().table_name(setting("TOKEN_REQUESTS_TABLE"));
        let call = call.key("pk", text(token_request.to_owned())).key("sk", text(format!("tenant#{tenant}")));
        let call = call.update_expression("SET calledAt = calledAt - :seconds");
        let seconds = aws_sdk_dynamodb::types::AttributeValue::N(seconds.to_string());
        let call = call.expression_attribute_values(":seconds", seconds);
        call.condition_expression("attribute_exists(calledAt)").send().await.expect("the bank has called back");
    }

    /// Reads the whole table of token requests.
    ///
    /// # Panics
    /// The table cannot be read.
    pub async fn token_requests_table(&self) -> String {
        let mut pages =
            self.dynamodb().scan().table_name(setting("TOKEN_REQUESTS_TABLE")).into_paginator().items().send();
        let mut items = Vec::new();
        while let Some(item) = pages.next().await {
            items.push(item.expect("the table can be read"));
        }
        format!("{items:?}")
    }

    /// Writes an endpoint whose settings and whose filters are not valid JSON.
    ///
    /// # Panics
    /// The table refuses the items.
    pub async fn register_unreadable(&self, tenant: &TenantId) -> EndpointId {
        let id = EndpointId::new(Uuid::new_v4());
        let stored = StoredEndpoint::new(Endpoint::new("https://receiver.example"), 0);
        self.endpoints().put(tenant, &id, &stored, None).await.expect("the table accepts the endpoint");
        let text = |text: &str| aws_sdk_dynamodb::types::AttributeValue::S(text.to_owned());
        for (key, attribute) in [(id.to_string(), "settings"), (format!("s#{id}"), "types")] {
            let update = self.dynamodb().update_item().table_name(setting("ENDPOINTS_TABLE"));
            let update = update.key("tenant", text(tenant.as_str())).key("endpoint", text(&key));
            let update = update.update_expression(format!("SET {attribute} = :broken"));
            update.expression_attribute_values(":broken", text("{")).send().await.expect("the table changes the item");
        }
        id
    }

    /// Writes an endpoint directly to the table, under the id that it has: the API cannot patch invalid settings.
    ///
    /// # Panics
    /// The table refuses the item.
    pub async fn repair(&self, tenant: &TenantId, id: &EndpointId, settings: Endpoint) {
        self.endpoints().delete(tenant, id, None).await.expect("the table deletes the old item");
        self.endpoints()
            .put(tenant, id, &StoredEndpoint::new(settings, 0), None)
            .await
            .expect("the table accepts the endpoint");
    }

    /// Removes an endpoint.
    ///
    /// # Panics
    /// The API does not delete the endpoint.
    pub async fn remove(&self, tenant: &TenantId, id: &EndpointId) {
        let answer = self.manage("DELETE", &endpoint_path(tenant, id), None).await;
        assert_eq!(answer.status, 204, "{answer:?}");
    }

    /// Reads the recorded attempts to deliver an event of source `/core` to an endpoint.
    ///
    /// # Panics
    /// The table cannot be read.
    pub async fn attempts(&self, tenant: &TenantId, event_id: &str, endpoint: &EndpointId) -> Vec<Attempt> {
        let id = EventId::parse(event_id).expect("an event id");
        let event = EventKey { tenant: tenant.clone(), source: "/core".into(), id };
        let Some(arrived_unix_ms) = self.arrived(&event, endpoint).await else { return Vec::new() };
        let table = Deliveries::new(self.dynamodb(), setting("EVENTS_TABLE"), Duration::ZERO);
        table
            .attempts(DeliveryKey { event: &event, endpoint, arrived_unix_ms, retention_days: None })
            .await
            .expect("the table can be read")
    }

    /// Finds the record of a delivery, and reads from its sort key when the event arrived.
    async fn arrived(&self, event: &EventKey, endpoint: &EndpointId) -> Option<u64> {
        let key = DeliveryKey { event, endpoint, arrived_unix_ms: 0, retention_days: None };
        let query = self
            .dynamodb()
            .query()
            .table_name(setting("EVENTS_TABLE"))
            .consistent_read(true)
            .key_condition_expression("pk = :part")
            .filter_expression("eventRef = :event")
            .expression_attribute_values(":part", AttributeValue::S(key_of(key).0))
            .expression_attribute_values(":event", AttributeValue::S(format!("{}#{}", event.id, event.source)));
        let items = query.send().await.expect("the table can be read").items.unwrap_or_default();
        let place = items.first()?.get("sk")?.as_s().ok().and_then(|place| ListPosition::parse(place));
        Some(place.expect("a delivery's place").arrived_unix_ms())
    }

    /// Waits until `count` attempts are recorded, because `deliver` records an attempt a moment after the receiver sees
    /// it.
    ///
    /// # Panics
    /// Fewer attempts are recorded after two minutes.
    pub async fn wait_for_attempts(
        &self,
        tenant: &TenantId,
        event_id: &str,
        endpoint: &EndpointId,
        count: usize,
    ) -> Vec<Attempt> {
        until(&format!("{count} attempts of {event_id}"), async || {
            let attempts = self.attempts(tenant, event_id, endpoint).await;
            (attempts.len() >= count).then_some(attempts)
        })
        .await
    }

    /// Waits until the last recorded attempt has the given status, and returns all attempts.
    ///
    /// # Panics
    /// No such attempt is recorded within two minutes.
    pub async fn wait_for_status(
        &self,
        tenant: &TenantId,
        event_id: &str,
        endpoint: &EndpointId,
        status: u16,
    ) -> Vec<Attempt> {
        until(&format!("{status} for {event_id}"), async || {
            let attempts = self.attempts(tenant, event_id, endpoint).await;
            attempts.last().is_some_and(|last| last.status == Some(status)).then_some(attempts)
        })
        .await
    }

    /// Waits until an event of `source` is in the table, and returns the ids of its endpoints.
    ///
    /// # Panics
    /// The event is not in the table within two minutes.
    pub async fn wait_for_event(&self, tenant: &TenantId, event_id: &str, source: &str) -> Vec<String> {
        let key = |text: String| aws_sdk_dynamodb::types::AttributeValue::S(text);
        let item = until(event_id, async || {
            let call = self.dynamodb().get_item().table_name(setting("EVENTS_TABLE")).consistent_read(true);
            let call = call.key("pk", key(format!("{tenant}/{event_id}"))).key("sk", key(format!("event#{source}")));
            call.send().await.expect("the table can be read").item
        })
        .await;
        let ids = item.get("endpoints").and_then(|ids| ids.as_l().ok()).expect("a list of endpoints");
        ids.iter().filter_map(|id| id.as_s().ok()).cloned().collect()
    }

    /// Reads the signing keys of an algorithm from the table.
    ///
    /// # Panics
    /// The table cannot be read.
    pub async fn keys(&self, algorithm: Algorithm) -> Vec<StoredKey> {
        self.key_table().line(algorithm).await.expect("the table can be read").keys
    }

    /// Returns the table of signing keys, with the credentials of the account's root.
    #[must_use]
    pub fn key_table(&self) -> KeyTable {
        let mac = MacKey::new(aws_sdk_kms::Client::new(&self.aws), setting("MAC_KEY"));
        KeyTable::new(self.dynamodb(), setting("KEYS_TABLE"), mac)
    }

    /// Returns credentials of an operator of one tenant, who has the example policy of `docs/` and no other.
    ///
    /// # Panics
    /// IAM refuses the policy.
    pub async fn operator_of(&self, tenant: &TenantId) -> Credentials {
        let policy = include_str!("../../../docs/operator-policy.json")
            .replace("REGION", "us-east-1")
            .replace("ACCOUNT", "000000000000")
            .replace("API_ID", self.api_url.rsplit('/').next().unwrap_or_default())
            .replace("TENANT", tenant.as_str());
        self.operator(&format!("operator-of-{tenant}"), &policy).await
    }

    /// Waits until a tenant's key set contains the endpoint's key `whpk_…`, and returns its JWK. It waits because the
    /// function caches a set for some seconds.
    ///
    /// # Panics
    /// The set does not contain the key within two minutes.
    pub async fn until_set_has(&self, tenant: &TenantId, public_key: &str) -> Value {
        let bytes = WebhookPublicKey::parse(public_key).expect("`whpk_` and base64");
        let x = URL_SAFE_NO_PAD.encode(bytes.bytes());
        until(&format!("{public_key} in the key set"), async || {
            let set = self.get(&format!("{}/.well-known/jwks.json", keys_path(tenant)), &[]).await.json();
            set["keys"].as_array()?.iter().find(|key| key["x"] == x.as_str()).cloned()
        })
        .await
    }

    /// Returns the start of the URLs of a tenant's public keys.
    #[must_use]
    pub fn keys_url(&self, tenant: &TenantId) -> String {
        format!("{}{}", self.api_url, keys_path(tenant))
    }

    /// Makes keys with `rotate-keys` that sign at once, one for each algorithm, and returns their ids.
    ///
    /// # Panics
    /// The function fails or cannot be invoked.
    pub async fn rotate_now(&self) -> Vec<String> {
        let answer = self.invoke("ROTATE_KEYS_FUNCTION", &json!({"force": true})).await;
        serde_json::from_value(answer.json()["keyIds"].clone())
            .unwrap_or_else(|_| panic!("`rotate-keys` made no key: {answer:?}"))
    }

    /// Invokes the function whose name is in the setting `function`, as an operator does.
    ///
    /// # Panics
    /// Lambda does not answer.
    pub async fn invoke(&self, function: &str, payload: &Value) -> Answer {
        let url = format!("{}/2015-03-31/functions/{}/invocations", setting("AWS_ENDPOINT_URL"), setting(function));
        let request = self.http.post(url).body(payload.to_string()).build().expect("a request");
        Answer::read(send(&self.http, request, &Signature { credentials: &root(), service: "lambda" }).await).await
    }

    /// Waits for a message for which `is_it` is true, in the queue whose URL is in the setting `queue`. Deletes and
    /// returns it.
    ///
    /// # Panics
    /// No such message arrives within two minutes.
    pub async fn wait_for_message(&self, queue: &str, is_it: impl Fn(&str) -> bool) -> Message {
        self.wait_for_message_at(&setting(queue), is_it).await
    }

    /// Does what [`Self::wait_for_message`] does, in the queue at `url`.
    ///
    /// # Panics
    /// No such message arrives within two minutes.
    pub async fn wait_for_message_at(&self, url: &str, is_it: impl Fn(&str) -> bool) -> Message {
        let sqs = self.sqs();
        until(&format!("a matching message in {url}"), async || {
            let call = sqs.receive_message().queue_url(url).max_number_of_messages(10).wait_time_seconds(1);
            // One second is long enough to see the next ten messages, and short enough that other readers find theirs.
            let call = call.visibility_timeout(1).message_attribute_names("All");
            let messages = call.send().await.expect("the queue can be read").messages.unwrap_or_default();
            let message = messages.into_iter().find(|message| message.body().is_some_and(&is_it))?;
            let handle = message.receipt_handle().unwrap_or_default();
            // If another reader has received the message since, the handle is stale. Then the message stays, which does
            // no harm.
            let _ = sqs.delete_message().queue_url(url).receipt_handle(handle).send().await;
            Some(message)
        })
        .await
    }

    /// Writes an event as `fanout` does, for one endpoint.
    ///
    /// # Panics
    /// The table refuses the event.
    pub async fn store(&self, event: &Event, endpoint: &EndpointId) {
        let events = Events::new(self.dynamodb(), setting("EVENTS_TABLE"), Duration::from_hours(1));
        let first = FirstFanOut {
            message_id: "stored by a test".into(),
            endpoints: vec![endpoint.clone()],
            sent: 0,
            at_unix_seconds: unix_now().as_secs(),
            arrival: Arrival {
                moment: Moment::of(event, ARRIVED),
                expires_at: (unix_now() + Duration::from_hours(1)).as_secs(),
            },
            payload_hash: event.payload_hash(),
            number: None,
            retention_days: None,
        };
        events.insert(event, &first, None).await.expect("the table accepts the event");
    }

    /// Waits until `count` deliveries are parked for an endpoint.
    ///
    /// # Panics
    /// Fewer deliveries are parked after two minutes.
    pub async fn wait_for_parked(&self, endpoint: &EndpointId, count: usize) {
        self.wait_for_parked_in(&setting("PARKING_TABLE"), endpoint, count).await;
    }

    /// Waits until `count` deliveries are parked for an endpoint, in a table like `ParkingTable`.
    ///
    /// # Panics
    /// Fewer deliveries are parked after two minutes.
    pub async fn wait_for_parked_in(&self, table: &str, endpoint: &EndpointId, count: usize) {
        let parking = Parking::new(self.dynamodb(), table.to_owned(), Duration::ZERO);
        let lane = Lane::Endpoint(endpoint.clone());
        until(&format!("{count} parked for {endpoint}"), async || {
            let parked = parking.first_of(&lane, 100).await.expect("the table can be read");
            (parked.len() >= count).then_some(())
        })
        .await;
    }

    /// Creates a table like `ParkingTable`, and returns its name.
    ///
    /// # Panics
    /// DynamoDB does not create the table.
    pub async fn parking_table(&self, name: &str) -> String {
        let attribute = |name: &str| json!({"AttributeName": name, "AttributeType": "S"});
        let body = json!({
            "TableName": name, "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [attribute("pk"), attribute("sk")],
            "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        });
        let answer = self.json("dynamodb", "DynamoDB_20120810.CreateTable", &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        name.to_owned()
    }

    /// Creates a queue, and returns its URL.
    ///
    /// # Panics
    /// SQS does not create the queue.
    pub async fn queue(&self, name: &str) -> String {
        self.queue_that_hides(name, Duration::from_secs(30)).await // The default of SQS.
    }

    /// Creates a queue with a visibility timeout, and returns its URL.
    ///
    /// # Panics
    /// SQS does not create the queue.
    pub async fn queue_that_hides(&self, name: &str, timeout: Duration) -> String {
        let call = self.sqs().create_queue().queue_name(name);
        let call = call.attributes(QueueAttributeName::VisibilityTimeout, timeout.as_secs().to_string());
        call.send().await.expect("a queue").queue_url.expect("its URL")
    }

    /// Waits until the queue at `url` has no message, neither visible nor hidden nor delayed. Returns false if
    /// `patience` is over.
    ///
    /// # Panics
    /// SQS does not answer.
    pub async fn wait_until_empty(&self, url: &str, patience: Duration) -> bool {
        let sqs = self.sqs();
        let holds_nothing = async || {
            let call = sqs.get_queue_attributes().queue_url(url).attribute_names(QueueAttributeName::All);
            let attributes = call.send().await.expect("SQS returns the attributes").attributes.unwrap_or_default();
            let counts = [
                QueueAttributeName::ApproximateNumberOfMessages,
                QueueAttributeName::ApproximateNumberOfMessagesDelayed,
                QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
            ];
            counts.iter().all(|name| attributes.get(name).is_none_or(|count| count == "0")).then_some(())
        };
        tokio::time::timeout(patience, asking(holds_nothing)).await.is_ok()
    }

    /// Returns how many messages of the queue at `url` are delayed.
    ///
    /// # Panics
    /// SQS does not answer.
    pub async fn delayed(&self, url: &str) -> usize {
        let name = QueueAttributeName::ApproximateNumberOfMessagesDelayed;
        let call = self.sqs().get_queue_attributes().queue_url(url).attribute_names(name.clone());
        let attributes = call.send().await.expect("SQS returns the attributes").attributes.unwrap_or_default();
        attributes[&name].parse().expect("a number")
    }

    /// Deletes and returns all visible messages of the queue at `url`.
    ///
    /// # Panics
    /// The queue cannot be read.
    pub async fn take_all(&self, url: &str) -> Vec<Message> {
        let (sqs, mut all) = (self.sqs(), Vec::new());
        loop {
            let call = sqs.receive_message().queue_url(url).max_number_of_messages(10).message_attribute_names("All");
            let messages = call.send().await.expect("the queue can be read").messages.unwrap_or_default();
            if messages.is_empty() {
                return all;
            }
            for message in &messages {
                let handle = message.receipt_handle().unwrap_or_default();
                sqs.delete_message().queue_url(url).receipt_handle(handle).send().await.expect("the handle is ours");
            }
            all.extend(messages);
        }
    }

    /// Assumes a function's role, as Lambda does for it.
    ///
    /// # Panics
    /// The role cannot be assumed.
    pub async fn assume_role(&self, role: &str) -> SdkConfig {
        let provider = SharedCredentialsProvider::new(self.credentials_of(role).await);
        self.aws.to_builder().credentials_provider(provider).build()
    }

    /// Creates a role with a policy, as an account's administrator does, and assumes it.
    ///
    /// # Panics
    /// The role cannot be created or assumed.
    pub async fn operator(&self, role: &str, policy: &str) -> Credentials {
        let trust = json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "*"},
        }]});
        let version = ("Version", "2010-05-08");
        let make =
            [("Action", "CreateRole"), version, ("RoleName", role), ("AssumeRolePolicyDocument", &trust.to_string())];
        let grant = [
            ("Action", "PutRolePolicy"),
            version,
            ("RoleName", role),
            ("PolicyName", role),
            ("PolicyDocument", policy),
        ];
        for form in [&make[..], &grant] {
            let answer = self.query("iam", form).await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        self.credentials_of(role).await
    }

    /// Calls a service that speaks the query protocol.
    async fn query(&self, service: &'static str, form: &[(&str, &str)]) -> Answer {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = self.http.post(setting("AWS_ENDPOINT_URL")).body(body);
        let request = request.header("content-type", "application/x-www-form-urlencoded").build().expect("a request");
        Answer::read(send(&self.http, request, &Signature { credentials: &root(), service }).await).await
    }

    async fn credentials_of(&self, role: &str) -> Credentials {
        let arn = format!("arn:aws:iam::000000000000:role/{role}");
        let form =
            [("Action", "AssumeRole"), ("Version", "2011-06-15"), ("RoleSessionName", "test"), ("RoleArn", &arn)];
        let answer = self.query("sts", &form).await;
        let element = |name: &str| {
            let after = answer.text.split_once(&format!("<{name}>")).map(|(_, after)| after);
            let value = after.and_then(|after| after.split_once("</")).map(|(value, _)| value.to_owned());
            value.unwrap_or_else(|| panic!("no {name} in {}", answer.text))
        };
        let token = Some(element("SessionToken"));
        Credentials::new(element("AccessKeyId"), element("SecretAccessKey"), token, None, "assumed role")
    }

    /// Returns the lines of a log group, named by logical id.
    pub async fn log_lines(&self, group: &str) -> Vec<String> {
        let name = setting(&format!("{}_GROUP", group.to_uppercase()));
        let (mut lines, mut token) = (Vec::new(), Value::Null);
        loop {
            let query = json!({"logGroupName": name, "nextToken": token});
            let answer = self.json("logs", "Logs_20140328.FilterLogEvents", &query).await.json();
            let events = answer["events"].as_array().cloned().unwrap_or_default();
            lines.extend(events.iter().filter_map(|event| event["message"].as_str()).map(str::to_owned));
            match answer.get("nextToken") {
                Some(next) if !events.is_empty() => token = next.clone(),
                _ => return lines,
            }
        }
    }

    /// Waits until the log groups, named by logical id, contain `until_logged`, and returns all their text.
    ///
    /// # Panics
    /// The text does not appear within two minutes.
    pub async fn logs_of(&self, groups: &[&str], until_logged: &str) -> String {
        until(&format!("logs of {until_logged}"), async || {
            let mut text = String::new();
            for group in groups {
                let name = setting(&format!("{}_GROUP", group.to_uppercase()));
                let answer = self.json("logs", "Logs_20140328.FilterLogEvents", &json!({"logGroupName": name})).await;
                let events = answer.json()["events"].as_array().cloned().unwrap_or_default();
                text.extend(events.iter().filter_map(|event| event["message"].as_str()));
            }
            text.contains(until_logged).then_some(text)
        })
        .await
    }

    /// Calls a service that speaks one of the JSON protocols.
    async fn json(&self, service: &'static str, target: &str, body: &Value) -> Answer {
        let request = self.http.post(setting("AWS_ENDPOINT_URL")).body(body.to_string());
        let request = request.header("content-type", "application/x-amz-json-1.1").header("x-amz-target", target);
        let request = request.build().expect("a request");
        Answer::read(send(&self.http, request, &Signature { credentials: &root(), service }).await).await
    }

    /// Returns a client of DynamoDB, which bypasses the API.
    #[must_use]
    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::new(&self.aws)
    }

    /// Returns the table of endpoints, which bypasses the API.
    #[must_use]
    pub fn endpoints(&self) -> Endpoints {
        Endpoints::new(self.dynamodb(), setting("ENDPOINTS_TABLE"))
    }

    fn sqs(&self) -> aws_sdk_sqs::Client {
        aws_sdk_sqs::Client::new(&self.aws)
    }
}

/// Calls `ask` until it returns a value: for states that AWS cannot wait for.
///
/// # Panics
/// `ask` returns no value within two minutes.
pub async fn until<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    tokio::time::timeout(PATIENCE, asking(ask)).await.unwrap_or_else(|_| panic!("waited two minutes for {what}"))
}

async fn asking<T>(ask: impl AsyncFn() -> Option<T>) -> T {
    loop {
        match ask().await {
            Some(answer) => return answer,
            None => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

/// Returns the attribute `name` of a message, empty if it is missing.
#[must_use]
pub fn attribute<'a>(message: &'a Message, name: &str) -> &'a str {
    let value = message.message_attributes().and_then(|attributes| attributes.get(name));
    value.and_then(|value| value.string_value()).unwrap_or_default()
}

/// Reads a setting of the local stack.
///
/// # Panics
/// The setting is missing.
#[must_use]
pub fn setting(name: &str) -> String {
    signpost_io::runtime::config::environment(name).unwrap_or_else(|| {
        panic!(
            "`{name}` is not set, so there is no local stack; run `make test`, or `make up` and load .local/stack.env"
        )
    })
}

/// Returns the credentials of the account's root in the local stack.
#[must_use]
pub fn root() -> Credentials {
    Credentials::new(setting("AWS_ACCESS_KEY_ID"), setting("AWS_SECRET_ACCESS_KEY"), None, None, "local stack")
}

/// Does as [`LocalStack::make_quick`], in another parking table.
///
/// # Panics
/// The endpoint has a breaker already.
pub async fn make_quick(aws: &SdkConfig, parking_table: String, endpoint: &EndpointId) {
    let mut outcomes = Outcomes::default();
    (0..QUICK_AFTER).for_each(|_| outcomes.add_duration(Duration::ZERO));
    let quick = Breaker::default().after(&outcomes, 0, 0.5);
    let breakers = Breakers::new(aws_sdk_dynamodb::Client::new(aws), parking_table);
    assert!(breakers.replace(endpoint, None, &quick, 1).await.expect("a table"), "{endpoint} has a breaker");
}
