//! A second opinion on AWS: the calls of `lib/io` against two other programs that play DynamoDB, SQS and KMS, moto and
//! dynalite. If only one of several has written what AWS does, the others find it.
//!
//! Each runs the checks of `lib/engine/tests/conformance`. [`EXCEPTIONS`] lists the checks that one of them cannot pass, with
//! the reason. An exception that is no longer needed fails the test.

use std::future::Future;
use std::os::unix::process::CommandExt as _;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, TableStatus,
};
use aws_sdk_kms::types::{KeySpec, KeyUsageType};
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use futures_util::FutureExt as _;
use serde_json::{Map, Value, json};
use signpost_core::delivery::answer::{AnswerRecord, answer_print};
use signpost_core::delivery::attempt::Attempt;
use signpost_core::delivery::{DeliveryKey, DeliveryStatus, Progress};
use signpost_core::endpoint::filter::Filter;
use signpost_core::endpoint::{DisabledBecause, TypeFilter};
use signpost_core::event::catalogue::{EventType, TypeName};
use signpost_core::signing::algorithm::Algorithm;
use signpost_core::token_request::{RequestId, TokenRequest};
use signpost_engine::ports::deliveries::{Deliveries as _, Recorded};
use signpost_engine::ports::endpoints::{Endpoints as _, StoredEndpoint, Written};
use signpost_engine::ports::queue::{Message, Queue as _};
use signpost_io::mac::MacKey;
use signpost_io::queue::Queue;
use signpost_io::runtime::clock::unix_ms_now;
use signpost_io::tables::breakers::Breakers;
use signpost_io::tables::deliveries::Deliveries;
use signpost_io::tables::endpoints::{Endpoints, PutResult};
use signpost_io::tables::event_types::{self, EventTypes};
use signpost_io::tables::events::Events;
use signpost_io::tables::limits::Limits;
use signpost_io::tables::parking::Parking;
use signpost_io::tables::signing_keys::WrappingKey;
use signpost_io::tables::subscriptions::Subscriptions;
use signpost_io::tables::token_requests::TokenRequests;
use signpost_testkit::build::{attempt, tenant};
use uuid::Uuid;

use crate::ports::conformance::{self, EndpointWrite};
use crate::ports::{RETENTION, endpoint_id, new_event, stored, subjects};

/// Checks that an emulator cannot pass, because it differs from AWS.
const EXCEPTIONS: [(&str, &str, &str); 9] = [
    ("moto", "partiql", "py_partiql_parser 0.6.3 does not take parameters of an INSERT"),
    ("moto", "a_key_pair", "moto has no GenerateDataKeyPairWithoutPlaintext"),
    ("dynalite", "partiql", "dynalite has no BatchExecuteStatement"),
    ("dynalite", "a_lease", "dynalite ignores ReturnValuesOnConditionCheckFailure, so a refusal has no item"),
    ("dynalite", "a_count", "the same"),
    ("dynalite", "a_token_request", "the same"),
    ("dynalite", "an_event", "the same"),
    ("dynalite", "an_endpoint", "dynalite has no TransactWriteItems"),
    ("dynalite", "subscriptions", "the same"),
];

type Check = (&'static str, Pin<Box<dyn Future<Output = ()>>>);

/// A program that plays AWS on loopback, until it is dropped.
struct Emulator {
    process: Child,
    /// The way to it, as the functions call AWS.
    aws: SdkConfig,
    /// The same, with a [`Bridge`].
    bridged: SdkConfig,
}

impl Emulator {
    async fn start(mut command: Command, port: u16) -> Self {
        let process = command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let process = process.unwrap_or_else(|error| panic!("{command:?}: {error}; run `make test`, which sets it up"));
        let credentials = Credentials::new("AKIDEXAMPLE", "secret", None, None, "a test");
        let aws = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(credentials)
            .endpoint_url(format!("http://127.0.0.1:{port}"))
            .load()
            .await;
        let connector = SharedHttpConnector::new(Bridge(reqwest::Client::new()));
        let bridged = aws.to_builder().http_client(http_client_fn(move |_, _| connector.clone())).build();
        let emulator = Self { process, aws, bridged };
        emulator.wait(port).await;
        emulator
    }

    /// Waits until the program listens.
    async fn wait(&self, port: u16) {
        let listens = async {
            while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), listens).await.unwrap();
    }
}

impl Drop for Emulator {
    /// Ends the process group, because `node` may be a program that starts the real one.
    fn drop(&mut self) {
        drop(Command::new("kill").args(["-KILL", "--", &format!("-{}", self.process.id())]).status());
        drop(self.process.wait());
    }
}

/// Sends requests to an emulator, with statements of `PartiQL` as single calls: moto 5.2 cannot read their parameters, and
/// dynalite has none. So the checks reach all that follows an insert.
#[derive(Clone, Debug)]
struct Bridge(reqwest::Client);

const PARTIQL: &str = "DynamoDB_20120810.BatchExecuteStatement";

impl Bridge {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, reqwest::Error> {
        if request.headers().get("x-amz-target") != Some(PARTIQL) {
            let body = request.body().bytes().unwrap_or_default().to_vec();
            let (status, answer) = self.post(&request, None, body).await?;
            return Ok(HttpResponse::new(status.try_into().unwrap(), answer.into()));
        }
        let body: Value = serde_json::from_slice(request.body().bytes().unwrap_or_default()).unwrap();
        let mut responses = Vec::new();
        for statement in body["Statements"].as_array().unwrap() {
            let (operation, call) = single_call(statement);
            let (status, answer) = self.post(&request, Some(operation), call.to_string().into_bytes()).await?;
            responses.push(if status == 200 { json!({}) } else { json!({"Error": error_of(operation, &answer)}) });
        }
        Ok(HttpResponse::new(200.try_into().unwrap(), json!({"Responses": responses}).to_string().into()))
    }

    async fn post(
        &self,
        request: &HttpRequest,
        operation: Option<&str>,
        body: Vec<u8>,
    ) -> Result<(u16, Vec<u8>), reqwest::Error> {
        let mut call = self.0.post(request.uri().to_string());
        for (name, value) in request.headers().iter().filter(|(name, _)| *name != "content-length") {
            let target = operation.filter(|_| name == "x-amz-target");
            call = call.header(name, target.map_or_else(|| value.to_owned(), |one| format!("DynamoDB_20120810.{one}")));
        }
        let answer = call.body(body).send().await?;
        Ok((answer.status().as_u16(), answer.bytes().await?.to_vec()))
    }
}

/// Returns the call that does what a statement of `lib/io/src/aws/batch_insert.rs` or `batch_delete.rs` does.
fn single_call(statement: &Value) -> (&'static str, Value) {
    let text = statement["Statement"].as_str().unwrap();
    let (is_insert, mark) = (text.starts_with("INSERT"), if text.starts_with("INSERT") { '\'' } else { '"' });
    let table = text.split('"').nth(1).unwrap();
    let names = text[text.find(['{', '=']).unwrap().min(text.find("WHERE").unwrap_or(usize::MAX))..]
        .split(mark)
        .skip(1)
        .step_by(2);
    let mut item: Map<_, _> =
        names.map(str::to_owned).zip(statement["Parameters"].as_array().unwrap().iter().cloned()).collect();
    if is_insert {
        return (
            "PutItem",
            json!({"TableName": table, "Item": item, "ConditionExpression": "attribute_not_exists(pk)"}),
        );
    }
    let key: Map<_, _> = ["pk", "sk"].map(|name| (name.to_owned(), item.remove(name).unwrap())).into_iter().collect();
    let (token, value) = item.into_iter().next().unwrap();
    let call = json!({
        "TableName": table, "Key": key, "ConditionExpression": "#token = :token",
        "ExpressionAttributeNames": {"#token": token}, "ExpressionAttributeValues": {":token": value},
    });
    ("DeleteItem", call)
}

fn error_of(operation: &str, answer: &[u8]) -> Value {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    let code = answer["__type"].as_str().unwrap_or_default().rsplit('#').next().unwrap_or_default().to_owned();
    let is_refused = code == "ConditionalCheckFailedException";
    let code = match operation {
        "PutItem" if is_refused => "DuplicateItem".to_owned(),
        _ if is_refused => "ConditionalCheckFailed".to_owned(),
        _ => code,
    };
    json!({"Code": code, "Message": answer["message"]})
}

impl HttpConnector for Bridge {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let bridge = self.clone();
        HttpConnectorFuture::new(async move {
            bridge.send(request).await.map_err(|error| ConnectorError::io(Box::new(error)))
        })
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

async fn moto() -> Emulator {
    let (mut command, port) = (Command::new("moto_server"), free_port());
    command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
    Emulator::start(command, port).await
}

async fn dynalite() -> Emulator {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../infra/local/verify/node_modules/dynalite/cli.js");
    let (mut command, port) = (Command::new("node"), free_port());
    command.arg(program).args(["--host", "127.0.0.1", "--port", &port.to_string(), "--createTableMs", "0"]);
    Emulator::start(command, port).await
}

/// Creates a table with these keys, and returns its name.
async fn table(aws: &SdkConfig, [hash, range]: [&str; 2]) -> String {
    let (client, name) = (aws_sdk_dynamodb::Client::new(aws), format!("t-{}", Uuid::new_v4()));
    let mut call = client.create_table().table_name(&name).billing_mode(BillingMode::PayPerRequest);
    for (attribute, kind) in [(hash, KeyType::Hash), (range, KeyType::Range)] {
        let definition =
            AttributeDefinition::builder().attribute_name(attribute).attribute_type(ScalarAttributeType::S);
        let key = KeySchemaElement::builder().attribute_name(attribute).key_type(kind);
        call = call.attribute_definitions(definition.build().unwrap()).key_schema(key.build().unwrap());
    }
    call.send().await.unwrap();
    loop {
        let described = client.describe_table().table_name(&name).send().await.unwrap();
        if described.table.unwrap().table_status == Some(TableStatus::Active) {
            return name;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn lanes(aws: &SdkConfig) -> (aws_sdk_dynamodb::Client, String) {
    (aws_sdk_dynamodb::Client::new(aws), table(aws, ["pk", "sk"]).await)
}

async fn deliveries(aws: &SdkConfig) -> Deliveries {
    let (client, name) = lanes(aws).await;
    Deliveries::new(client, name, RETENTION)
}

async fn parking(aws: &SdkConfig) -> Parking {
    let (client, name) = lanes(aws).await;
    Parking::new(client, name, RETENTION)
}

async fn an_endpoint(aws: &SdkConfig) {
    let (tenant, before) = (tenant(), stored(json!({"url": "https://receiver.example/0"})));
    let endpoints = Endpoints::new(aws_sdk_dynamodb::Client::new(aws), table(aws, ["tenant", "endpoint"]).await);
    let put = async |stored: StoredEndpoint| {
        let id = endpoint_id();
        assert_eq!(endpoints.put(&tenant, &id, &stored, None).await.unwrap(), PutResult::Written);
        assert!(endpoints.exists(&tenant, &id).await.unwrap());
        id
    };
    conformance::an_endpoint(&endpoints, &tenant, &endpoint_id(), &before, put).await;
}

/// Makes so many attempts that some move to a chunk, and an answer is beside the record.
async fn attempts(aws: &SdkConfig) {
    let (table, (event, endpoint, arrived_unix_ms)) = (deliveries(aws).await, subjects()());
    let key = DeliveryKey { event: &event, endpoint: &endpoint, arrived_unix_ms, retention_days: None };
    let (mut made, count) = (Vec::new(), 21);
    for number in 1..=count {
        let answer = if number == 1 { AnswerRecord::New } else { AnswerRecord::Known };
        let one = Attempt { response: Some("busy".into()), answer, ..attempt(number, Some(503)) };
        let progress = Progress {
            status: if number == count { DeliveryStatus::Exhausted } else { DeliveryStatus::Pending },
            attempts: number,
            before_replay: 0,
            next_attempt_unix_ms: 1,
            replay: None,
            last_sent: None,
            last_answer: Some(answer_print("busy")),
        };
        let due = (number > 1).then_some(1);
        assert_eq!(table.record(key, &one, due, progress).await.unwrap(), Recorded::Yes);
        made.push(one);
    }
    assert_eq!(table.attempts(key).await.unwrap(), made);
}

async fn subscriptions(aws: &SdkConfig) {
    let (tenant, id, client) = (tenant(), endpoint_id(), aws_sdk_dynamodb::Client::new(aws));
    let name = table(aws, ["tenant", "endpoint"]).await;
    let (endpoints, subscriptions) =
        (Endpoints::new(client.clone(), name.clone()), Subscriptions::new(client.clone(), name.clone()));
    let types = |text: &str| serde_json::from_str::<Vec<TypeFilter>>(text).unwrap();
    let change = async |change: &dyn Fn(&mut StoredEndpoint)| {
        let mut stored = endpoints.get(&tenant, &id).await.unwrap().unwrap();
        let before = stored.version;
        stored.version += 1;
        change(&mut stored);
        assert_eq!(endpoints.put(&tenant, &id, &stored, Some(before)).await.unwrap(), PutResult::Written);
    };
    let write = async |write: EndpointWrite| match write {
        EndpointWrite::Create(text) => {
            let mut new = stored(json!({"url": "https://receiver.example/0"}));
            new.settings.types = types(text);
            assert_eq!(endpoints.put(&tenant, &id, &new, None).await.unwrap(), PutResult::Written);
        }
        EndpointWrite::SetFilter(text) => {
            change(&|stored| stored.settings.filter = text.map(|text| Filter::parse(text).unwrap())).await;
        }
        EndpointWrite::SetTypes(text) => change(&|stored| stored.settings.types = types(text)).await,
        EndpointWrite::Describe => change(&|stored| stored.settings.description = "new".into()).await,
        EndpointWrite::Disable => {
            assert_eq!(endpoints.disable(&tenant, &id, DisabledBecause::Gone).await.unwrap(), Written::Yes);
        }
        EndpointWrite::Remove => assert_eq!(endpoints.delete(&tenant, &id, None).await.unwrap(), Written::Yes),
        EndpointWrite::SetSchema(schema) => {
            let (event_types, name) =
                (EventTypes::new(client.clone(), name.clone()), TypeName::parse("invoice").unwrap());
            match schema {
                Some(schema) => {
                    let text = format!(r#"{{"schema":{schema},"example":{{}},"retentionDays":7}}"#);
                    let event_type = EventType::parse(&text, Duration::from_hours(720)).unwrap();
                    let written = event_types.put(&tenant, &name, &event_type, 7).await.unwrap();
                    assert!(matches!(written, event_types::PutResult::Written(_)));
                }
                None => assert!(event_types.delete(&tenant, &name).await.unwrap().is_some()),
            }
        }
    };
    conformance::subscriptions(&subscriptions, &tenant, &id, write).await;
}

/// Inserts as `lib/io` does, without a bridge.
async fn partiql(aws: SdkConfig) {
    conformance::an_insert(&deliveries(&aws).await, subjects()).await;
}

async fn a_token_request(aws: &SdkConfig) {
    let (client, name) = lanes(aws).await;
    let requests = TokenRequests::new(client, name);
    let register = async |request: &TokenRequest, before: Option<&TokenRequest>| {
        assert!(requests.register(request, before, RETENTION).await.unwrap());
    };
    conformance::a_token_request(&requests, &tenant(), &RequestId::parse("rq:1").unwrap(), register).await;
}

/// Lists the checks of the tables. Each has a table of its own.
fn table_checks(aws: &SdkConfig) -> Vec<Check> {
    macro_rules! checks {
        ($($name:literal => |$aws:ident| $check:expr),+ $(,)?) => {
            vec![$(($name, { let $aws = aws.clone(); Box::pin(async move { $check.await }) as Pin<Box<_>> })),+]
        };
    }
    checks![
        "a_lease" => |aws| conformance::a_lease(&deliveries(&aws).await, subjects()),
        "a_release" => |aws| conformance::a_release(&deliveries(&aws).await, subjects()),
        "an_insert" => |aws| conformance::an_insert(&deliveries(&aws).await, subjects()),
        "an_update" => |aws| conformance::an_update(&deliveries(&aws).await, subjects()),
        "an_update_keeps" => |aws| conformance::an_update_keeps(&deliveries(&aws).await, subjects()),
        "an_acknowledgement" => |aws| conformance::an_acknowledgement(&deliveries(&aws).await, subjects()),
        "a_record" => |aws| conformance::a_record(&deliveries(&aws).await, subjects()),
        "attempts" => |aws| attempts(&aws),
        "a_replay" => |aws| conformance::a_replay(&deliveries(&aws).await, subjects(), unix_ms_now),
        "an_end" => |aws| conformance::an_end(&deliveries(&aws).await, subjects(), unix_ms_now),
        "a_lane" => |aws| conformance::a_lane(&parking(&aws).await, subjects()),
        "a_removal" => |aws| conformance::a_removal(&parking(&aws).await, subjects()),
        "a_removal_of_many" => |aws| conformance::a_removal_of_many(&parking(&aws).await, subjects()),
        "a_drain" => |aws| conformance::a_drain(&parking(&aws).await, unix_ms_now),
        "a_postponed_drain" => |aws| conformance::a_postponed_drain(&parking(&aws).await),
        "a_waiting_note" => |aws| conformance::a_waiting_note(&parking(&aws).await),
        "a_sweep" => |aws| conformance::a_sweep(&parking(&aws).await),
        "a_slot" => |aws| async {
            let (client, name) = lanes(&aws).await;
            conformance::a_slot(&Limits::new(client, name), &endpoint_id()).await;
        },
        "a_count" => |aws| async {
            let (client, name) = lanes(&aws).await;
            conformance::a_count(&Limits::new(client, name), &endpoint_id()).await;
        },
        "a_breaker" => |aws| async {
            let (client, name) = lanes(&aws).await;
            conformance::a_breaker(&Breakers::new(client, name), &endpoint_id()).await;
        },
        "an_event" => |aws| async {
            let (client, name) = lanes(&aws).await;
            conformance::an_event(&Events::new(client, name, RETENTION), &new_event(), &endpoint_id()).await;
        },
        "a_missing_event" => |aws| async {
            let (client, name) = lanes(&aws).await;
            conformance::a_missing_event(&Events::new(client, name, RETENTION), &new_event(), &endpoint_id()).await;
        },
        "an_endpoint" => |aws| an_endpoint(&aws),
        "subscriptions" => |aws| subscriptions(&aws),
        "a_token_request" => |aws| a_token_request(&aws),
    ]
}

/// Sends, receives, hides, shows and removes messages, as `lib/io` does.
async fn a_queue(aws: SdkConfig) {
    let client = aws_sdk_sqs::Client::new(&aws);
    let name = format!("q-{}", Uuid::new_v4());
    let url = client.create_queue().queue_name(name).send().await.unwrap().queue_url.unwrap();
    let queue = Queue::new(client, url);
    let message = |body: &str, delay| Message {
        body: body.into(),
        group: Some("acme".into()),
        attributes: vec![("reason", "exhausted".into())],
        delay: Duration::from_secs(delay),
    };
    queue.send_all((0..12).map(|index| message(&index.to_string(), 0))).await.unwrap();
    queue.send_all([message("late", 900)]).await.unwrap();
    let mut received = Vec::new();
    while received.len() < 12 {
        let some = queue.receive(Duration::from_secs(50)).await.unwrap();
        assert!(!some.is_empty(), "{received:?}");
        received.extend(some);
    }
    let mut bodies: Vec<u32> = received.iter().map(|one| one.body.parse().unwrap()).collect();
    bodies.sort_unstable();
    assert!(bodies.into_iter().eq(0..12), "the delayed message does not come");
    assert!(received.iter().all(|one| one.reason.as_deref() == Some("exhausted") && one.sent_unix_ms > 0));
    assert_eq!(queue.receive(Duration::from_secs(50)).await.unwrap(), [], "all are hidden");
    queue.delay_retry(&received[0].receipt, Duration::from_secs(30)).await.unwrap();
    queue.release_all([received[1].receipt.clone()]).await.unwrap();
    let [again] = queue.receive(Duration::from_secs(50)).await.unwrap().try_into().unwrap();
    assert_eq!(again.id, received[1].id);
    let receipts = received.iter().map(|one| if one.id == again.id { &again } else { one }.receipt.clone());
    queue.remove_all(receipts.collect::<Vec<_>>()).await.unwrap();
}

async fn a_mac(aws: SdkConfig) {
    let client = aws_sdk_kms::Client::new(&aws);
    let create = client.create_key().key_spec(KeySpec::Hmac256).key_usage(KeyUsageType::GenerateVerifyMac);
    let id = create.send().await.unwrap().key_metadata.unwrap().key_id;
    let key = MacKey::new(client, id);
    let made = key.generate(&[1; 32]).await.unwrap();
    assert!(key.verify(&[1; 32], &made).await.unwrap());
    assert!(!key.verify(&[2; 32], &made).await.unwrap());
}

async fn a_key_pair(aws: SdkConfig) {
    let client = aws_sdk_kms::Client::new(&aws);
    let id = client.create_key().send().await.unwrap().key_metadata.unwrap().key_id;
    let key = WrappingKey::new(client, id);
    let pair = key.generate_pair(Algorithm::ES256, "one").await.unwrap();
    assert!(!key.unwrap_private("one", &pair.wrapped_private).await.unwrap().is_empty());
    assert!(key.unwrap_private("other", &pair.wrapped_private).await.is_err(), "it opens under its own id only");
}

/// Runs checks one after the other. Returns the names of those that failed.
async fn failed(checks: Vec<Check>) -> Vec<&'static str> {
    let mut failed = Vec::new();
    for (name, check) in checks {
        if AssertUnwindSafe(check).catch_unwind().await.is_err() {
            failed.push(name);
        }
    }
    failed
}

fn assert_only_exceptions(emulator: &str, failed: &[&str]) {
    let expected: Vec<_> = EXCEPTIONS.iter().filter(|(one, ..)| *one == emulator).map(|(_, check, _)| *check).collect();
    for check in failed {
        assert!(expected.contains(check), "{check} fails on {emulator}: fix the call, or name the difference from AWS");
    }
    for check in expected {
        assert!(failed.contains(&check), "{check} passes on {emulator}: remove it from the exceptions");
    }
}

#[tokio::test]
async fn moto_takes_the_calls_of_all_adapters_as_the_local_stack_does() {
    let moto = moto().await;
    let mut checks = table_checks(&moto.bridged);
    checks.push(("partiql", Box::pin(partiql(moto.aws.clone()))));
    checks.push(("a_queue", Box::pin(a_queue(moto.aws.clone()))));
    checks.push(("a_mac", Box::pin(a_mac(moto.aws.clone()))));
    checks.push(("a_key_pair", Box::pin(a_key_pair(moto.aws.clone()))));
    assert_only_exceptions("moto", &failed(checks).await);
}

#[tokio::test]
async fn dynalite_takes_the_calls_of_all_tables_as_the_local_stack_does() {
    let dynalite = dynalite().await;
    let mut checks = table_checks(&dynalite.bridged);
    checks.push(("partiql", Box::pin(partiql(dynalite.aws.clone()))));
    assert_only_exceptions("dynalite", &failed(checks).await);
}
