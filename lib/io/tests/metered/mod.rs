//! A DynamoDB table in this process that counts write units, as far as the records of deliveries need it. It does not
//! check conditions: the tests write in a sequence in which all of them hold.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};

/// The bytes that one write unit pays for.
const WRITE_UNIT: usize = 1_024;

type Item = Map<String, Value>;

#[derive(Debug, Default)]
struct State {
    /// By partition key and sort key.
    items: BTreeMap<(String, String), Item>,
    units: usize,
    /// How many calls were made.
    calls: usize,
    refuses_answers: bool,
}

/// The table. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table(Arc<Mutex<State>>);

impl Table {
    /// Returns the write units since the last call.
    pub(crate) fn take_units(&self) -> usize {
        std::mem::take(&mut self.state().units)
    }

    /// Returns the number of calls since the last call of this function.
    pub(crate) fn take_calls(&self) -> usize {
        std::mem::take(&mut self.state().calls)
    }

    /// Returns the sizes of all items, by sort key.
    pub(crate) fn sizes(&self) -> Vec<(String, usize)> {
        self.state().items.iter().map(|((_, sort), item)| (sort.clone(), size_of(item))).collect()
    }

    /// Refuses the items of answers, as a table that is throttled.
    pub(crate) fn refuse_answers(&self, refuses: bool) {
        self.state().refuses_answers = refuses;
    }

    pub(crate) fn items(&self) -> Vec<Item> {
        self.state().items.values().cloned().collect()
    }

    pub(crate) fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        let connector = SharedHttpConnector::new(self.clone());
        let credentials = Credentials::new("AKIDEXAMPLE", "secret", None, None, "a test");
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .retry_config(RetryConfig::disabled())
            .http_client(http_client_fn(move |_, _| connector.clone()))
            .build();
        aws_sdk_dynamodb::Client::new(&config)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, operation: &str, body: &Value) -> Value {
        let mut state = self.state();
        state.calls += 1;
        match operation {
            "GetItem" => state.items.get(&key_of(&body["Key"])).map_or_else(|| json!({}), |item| json!({"Item": item})),
            "BatchGetItem" => {
                let keys = body["RequestItems"]["t"]["Keys"].as_array().unwrap();
                let found: Vec<_> = keys.iter().filter_map(|key| state.items.get(&key_of(key))).collect();
                json!({"Responses": {"t": found}})
            }
            "BatchExecuteStatement" => {
                let statements = body["Statements"].as_array().unwrap();
                json!({"Responses": statements.iter().map(|statement| state.insert(statement)).collect::<Vec<_>>()})
            }
            "UpdateItem" => state.update(body),
            "TransactWriteItems" => {
                let before = state.units;
                for write in body["TransactItems"].as_array().unwrap() {
                    if let Some(put) = write.get("Put") {
                        let item = put["Item"].as_object().unwrap().clone();
                        state.units += units(size_of(&item));
                        state.items.insert(key_of(&put["Item"]), item);
                    } else {
                        state.update(&write["Update"]);
                    }
                }
                state.units += state.units - before; // Twice, as AWS says of transactions.
                json!({})
            }
            other => panic!("no {other} here"),
        }
    }
}

impl State {
    /// Does `INSERT INTO "table" VALUE {'name':?,…}`.
    fn insert(&mut self, statement: &Value) -> Value {
        let text = statement["Statement"].as_str().unwrap();
        let names = text.split('\'').skip(1).step_by(2).map(str::to_owned);
        let item: Item = names.zip(statement["Parameters"].as_array().unwrap().iter().cloned()).collect();
        self.units += units(size_of(&item));
        let key = key_of(&Value::Object(item.clone()));
        if self.refuses_answers && key.1.starts_with("answer#") {
            return json!({"Error": {"Code": "ThrottlingError"}});
        }
        if self.items.contains_key(&key) {
            return json!({"Error": {"Code": "DuplicateItem"}});
        }
        self.items.insert(key, item);
        json!({})
    }

    /// Does `SET a = …, b = … REMOVE c, d`.
    fn update(&mut self, body: &Value) -> Value {
        let before = self.items.get(&key_of(&body["Key"])).cloned();
        let mut item = before.clone().unwrap_or_else(|| body["Key"].as_object().unwrap().clone());
        let (sets, removed) = body["UpdateExpression"]
            .as_str()
            .unwrap()
            .split_once(" REMOVE ")
            .unwrap_or_else(|| (body["UpdateExpression"].as_str().unwrap(), ""));
        let name = |name: &str| match name.trim() {
            "#status" => "status".to_owned(),
            "#last" => "sequence".to_owned(),
            name => name.to_owned(),
        };
        for (set, value) in parts(sets.strip_prefix("SET ").unwrap()).iter().map(|set| set.split_once('=').unwrap()) {
            let value = value_of(value.trim(), before.as_ref(), &body["ExpressionAttributeValues"]);
            item.insert(name(set), value);
        }
        for gone in removed.split(',').filter(|gone| !gone.is_empty()) {
            item.remove(&name(gone));
        }
        self.units += units(size_of(&item).max(before.as_ref().map_or(0, size_of)));
        self.items.insert(key_of(&body["Key"]), item);
        before.map_or_else(|| json!({}), |before| json!({"Attributes": before}))
    }
}

/// Splits at the commas that are in no brackets.
fn parts(list: &str) -> Vec<String> {
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for one in list.chars() {
        depth += i32::from(one == '(') - i32::from(one == ')');
        match one {
            ',' if depth == 0 => parts.push(String::new()),
            _ => parts.last_mut().unwrap().push(one),
        }
    }
    parts
}

fn value_of(expression: &str, item: Option<&Item>, values: &Value) -> Value {
    if let Some(arguments) = expression.strip_prefix("list_append(").and_then(|rest| rest.strip_suffix(')')) {
        let lists = parts(arguments).into_iter().map(|part| value_of(part.trim(), item, values));
        return json!({"L": lists.flat_map(|list| list["L"].as_array().unwrap().clone()).collect::<Vec<_>>()});
    }
    if let Some(arguments) = expression.strip_prefix("if_not_exists(").and_then(|rest| rest.strip_suffix(')')) {
        let (name, otherwise) = arguments.split_once(", ").unwrap();
        return item.and_then(|item| item.get(name)).unwrap_or(&values[otherwise]).clone();
    }
    values[expression].clone()
}

fn key_of(key: &Value) -> (String, String) {
    let part = |name: &str| key[name]["S"].as_str().unwrap().to_owned();
    (part("pk"), part("sk"))
}

fn units(size: usize) -> usize {
    size.div_ceil(WRITE_UNIT)
}

fn size_of(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len() + size(value)).sum()
}

/// Returns the size in bytes as DynamoDB counts it ("DynamoDB item sizes and formats"): names and values, one byte for
/// each element of a list or a map, and three for each list or map.
fn size(value: &Value) -> usize {
    let (kind, value) = value.as_object().unwrap().iter().next().unwrap();
    match &**kind {
        "S" => value.as_str().unwrap().len(),
        "N" => value.as_str().unwrap().len().div_ceil(2) + 2,
        "B" => BASE64.decode(value.as_str().unwrap()).unwrap().len(),
        "L" => 3 + value.as_array().unwrap().iter().map(|value| 1 + size(value)).sum::<usize>(),
        "M" => 3 + value.as_object().unwrap().iter().map(|(name, value)| 1 + name.len() + size(value)).sum::<usize>(),
        _ => 1,
    }
}

impl HttpConnector for Table {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default();
        let body = serde_json::from_slice(request.body().bytes().unwrap_or_default()).unwrap();
        let answer = self.answer(operation, &body).to_string();
        HttpConnectorFuture::ready(Ok(HttpResponse::new(200.try_into().unwrap(), answer.into())))
    }
}
