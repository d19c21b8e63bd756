//! DynamoDB and KMS in this process, as far as single items need them: it notes the items that are written, and answers
//! every read from a few items.

use std::sync::{Arc, Mutex, PoisonError};

use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};
use signpost_io::mac::MacKey;

/// The services. Clones share the items that were written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wire {
    written: Arc<Mutex<Vec<Value>>>,
    items: Vec<Value>,
}

impl Wire {
    /// Answers every read from `items`.
    pub(crate) fn with(items: impl IntoIterator<Item = Value>) -> Self {
        Self { items: items.into_iter().collect(), ..Self::default() }
    }

    /// Returns the items that were written since the last call.
    pub(crate) fn take(&self) -> Vec<Value> {
        std::mem::take(&mut *self.written.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the only item that was written since the last call.
    pub(crate) fn take_one(&self) -> Value {
        let [item] = self.take().try_into().unwrap();
        item
    }

    pub(crate) fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::new(&self.sdk())
    }

    /// Returns a key that accepts every MAC.
    pub(crate) fn mac(&self) -> MacKey {
        MacKey::new(aws_sdk_kms::Client::new(&self.sdk()), "mac".into())
    }

    fn sdk(&self) -> SdkConfig {
        let connector = SharedHttpConnector::new(self.clone());
        let credentials = Credentials::new("AKIDEXAMPLE", "secret", None, None, "a test");
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .retry_config(RetryConfig::disabled())
            .http_client(http_client_fn(move |_, _| connector.clone()))
            .build()
    }

    fn answer(&self, operation: &str, body: &Value) -> Value {
        match operation {
            "GenerateMac" => return json!({"KeyId": "mac", "Mac": BASE64.encode([9; 32])}),
            "VerifyMac" => return json!({"KeyId": "mac", "MacValid": true}),
            _ => {}
        }
        let items = written_by(operation, body);
        self.written.lock().unwrap_or_else(PoisonError::into_inner).extend(items);
        let of_key = |key: &Value| self.items.iter().find(|item| has_key(item, key));
        match operation {
            "GetItem" => of_key(&body["Key"]).map_or_else(|| json!({}), |item| json!({"Item": item})),
            "BatchGetItem" => {
                let keys = body["RequestItems"]["t"]["Keys"].as_array().unwrap();
                json!({"Responses": {"t": keys.iter().filter_map(of_key).collect::<Vec<_>>()}})
            }
            "Query" => {
                let found: Vec<_> = self.items.iter().filter(|item| is_asked_for(item, body)).collect();
                json!({"Items": found, "Count": found.len(), "ScannedCount": found.len()})
            }
            "BatchExecuteStatement" => {
                json!({"Responses": vec![json!({}); body["Statements"].as_array().unwrap().len()]})
            }
            _ => json!({}),
        }
    }
}

fn has_key(item: &Value, key: &Value) -> bool {
    key.as_object().unwrap().iter().all(|(name, value)| item[name] == *value)
}

/// Returns whether a query is for the partition of an item: a lane has several.
fn is_asked_for(item: &Value, query: &Value) -> bool {
    let partitions = ["pk", "tenant", "algorithm"].map(|name| &item[name]);
    let values = query["ExpressionAttributeValues"].as_object().into_iter().flat_map(Map::values);
    values.into_iter().any(|value| partitions.contains(&value))
}

fn written_by(operation: &str, body: &Value) -> Vec<Value> {
    match operation {
        "PutItem" => vec![body["Item"].clone()],
        "TransactWriteItems" => {
            let puts = body["TransactItems"].as_array().unwrap().iter();
            puts.filter_map(|write| write.get("Put").map(|put| put["Item"].clone())).collect()
        }
        "UpdateItem" if body["Key"]["sk"]["S"].as_str().is_some_and(|key| key.starts_with("chunk#")) => {
            let values = body["ExpressionAttributeValues"].as_object().unwrap().iter();
            let values = values.map(|(name, value)| (name.trim_start_matches(':').to_owned(), value.clone()));
            let key = body["Key"].as_object().unwrap().clone();
            vec![Value::Object(values.chain(key).collect())]
        }
        "BatchExecuteStatement" => body["Statements"].as_array().unwrap().iter().map(inserted_by).collect(),
        _ => Vec::new(),
    }
}

/// Returns the item of `INSERT INTO "table" VALUE {'name':?,…}`.
fn inserted_by(statement: &Value) -> Value {
    let text = statement["Statement"].as_str().unwrap();
    let names = text.split('\'').skip(1).step_by(2).map(str::to_owned);
    Value::Object(names.zip(statement["Parameters"].as_array().unwrap().iter().cloned()).collect())
}

impl HttpConnector for Wire {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default();
        let body = serde_json::from_slice(request.body().bytes().unwrap_or_default()).unwrap();
        let answer = self.answer(operation, &body).to_string();
        HttpConnectorFuture::ready(Ok(HttpResponse::new(200.try_into().unwrap(), answer.into())))
    }
}
