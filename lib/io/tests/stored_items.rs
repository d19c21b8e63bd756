//! Items in tables, as releases write them ([`signpost_core::form`]). Each folder of `fixtures/` is a set of items, as
//! DynamoDB's JSON. A set stays as it is once a release has written it: items of a release are read by the next one, and by
//! the one before it after an operator has gone back.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod wire;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use signpost_core::audit::{Actor, AuditQuery, Change, Entry, EntryId};
use signpost_core::delivery::answer::{AnswerRecord, answer_print};
use signpost_core::delivery::attempt::Attempt;
use signpost_core::delivery::attempt_log::encode;
use signpost_core::delivery::breaker::Breaker;
use signpost_core::delivery::drain::drain_shard;
use signpost_core::delivery::parking::Lane;
use signpost_core::delivery::sent::{Connection, Sent, SentRecord};
use signpost_core::delivery::{DeliveryKey, DeliveryStatus, Progress};
use signpost_core::endpoint::signing_secrets::SecretVersion;
use signpost_core::endpoint::{DisabledBecause, Endpoint, EndpointId};
use signpost_core::event::catalogue::{EventType, TypeName};
use signpost_core::event::{Event, TenantId};
use signpost_core::form::NEWEST;
use signpost_core::signing::algorithm::Algorithm;
use signpost_core::signing::key_rotation::KeyMoments;
use signpost_core::signing::public_key::PublicKey;
use signpost_core::signing::standard_webhooks::WebhookPublicKey;
use signpost_core::status::state::Moment;
use signpost_core::token_request::{CallbackToken, RequestId, TokenRequest};
use signpost_engine::ports::deliveries::Deliveries as _;
use signpost_engine::ports::endpoints::{Endpoints as _, SealedKeys, StoredEndpoint};
use signpost_engine::ports::events::{Arrival, Events as _, FirstFanOut, States as _};
use signpost_engine::ports::limits::Breakers as _;
use signpost_engine::ports::parking::Parking as _;
use signpost_engine::ports::subscriptions::Subscriptions as _;
use signpost_engine::ports::token_requests::TokenRequests as _;
use signpost_io::aws::AwsError;
use signpost_io::tables::audit::AuditLog;
use signpost_io::tables::breakers::Breakers;
use signpost_io::tables::deliveries::Deliveries;
use signpost_io::tables::endpoint_keys::{EndpointKey, EndpointKeyTable};
use signpost_io::tables::endpoints::Endpoints;
use signpost_io::tables::event_types::EventTypes;
use signpost_io::tables::events::Events;
use signpost_io::tables::parking::Parking;
use signpost_io::tables::sealing_keys::SealingKeys;
use signpost_io::tables::signing_keys::{KeyTable, StoredKey, WrappedPair};
use signpost_io::tables::states::{States, SubjectKey};
use signpost_io::tables::subscriptions::Subscriptions;
use signpost_io::tables::token_requests::TokenRequests;
use uuid::Uuid;

use wire::Wire;

fn event_type_name() -> TypeName {
    TypeName::parse("invoice.paid").unwrap()
}

fn event_type() -> EventType {
    EventType::parse(r#"{"description":"Paid.","schema":{"maximum":10.50},"example":{},"deprecated":true}"#, RETENTION)
        .unwrap()
}

const RETENTION: Duration = Duration::from_hours(720);
const ARRIVED: u64 = 1_769_853_600_007;
/// The sets of fixtures, oldest first. This release writes the last one, and reads all.
const SETS: [&str; 1] = ["v1"];

/// Attributes whose values differ each time: moments of this process's clock, and random tokens.
const VOLATILE: [&str; 3] = ["expiresAt", "fencingToken", "requestedAt"];
/// Maps whose names are data, and texts that are a producer's.
const DATA: [&str; 5] = ["json", "values", "fields", "example", "schema"];

fn tenant() -> TenantId {
    TenantId::parse("acme").unwrap()
}

fn endpoint() -> EndpointId {
    EndpointId::new(Uuid::from_u128(0x0123_4567_89ab_cdef))
}

fn event() -> Event {
    Event::parse(include_str!("../../core/tests/fixtures/v1/event.json").trim_end()).unwrap()
}

fn arrival() -> Arrival {
    let moment = Moment::parse("2026-01-31T10:00:00.000000000Z#1769853600007").unwrap();
    Arrival { moment, expires_at: 1_772_445_600 }
}

fn attempt() -> Attempt {
    Attempt {
        number: 1,
        at_unix_ms: ARRIVED + 40,
        duration_ms: 120,
        kids: vec!["3b898542-d329-4d44-bb7d-f7a85988cf50".into()],
        status: Some(503),
        error: Some("endpoint answered 503; answer 2xx to acknowledge".into()),
        cause: Some("status".into()),
        response: Some("busy".into()),
        answer: AnswerRecord::New,
        redirect: Some("https://hooks.example/login".into()),
        sent: SentRecord::This(Sent {
            method: "POST".into(),
            url: "https://hooks.example/in".into(),
            names: "content-type webhook-id".into(),
            values: vec![("content-type".into(), "application/json".into())],
            body_sha256: [7; 32],
            body_bytes: 90,
        }),
        connection: Some(Connection { address: "203.0.113.7:443".parse().unwrap(), tls: Some("1.3".into()) }),
    }
}

/// Returns an attempt with another request than the first one.
fn second_attempt() -> Attempt {
    let SentRecord::This(sent) = attempt().sent else { panic!("the first attempt sends something") };
    let sent = SentRecord::This(Sent { method: "PUT".into(), ..sent });
    Attempt { number: 2, response: None, answer: AnswerRecord::Known, sent, ..attempt() }
}

fn with_members(mut item: Value, members: &Value) -> Value {
    item.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    item
}

fn progress() -> Progress {
    Progress {
        status: DeliveryStatus::Pending,
        attempts: 1,
        before_replay: 1,
        next_attempt_unix_ms: ARRIVED + 5_160,
        replay: None,
        last_sent: Some(7),
        last_answer: Some(answer_print("busy")),
    }
}

fn stored_endpoint() -> StoredEndpoint {
    let settings = json!({
        "url": "https://hooks.example/in", "types": [{"type": "operation", "statuses": ["APPROVED"]}],
        "fields": {"operation": ["operationId"]}, "auth": {"kind": "oauth2", "tokenUrl": "https://id.example/token",
        "clientId": "signpost", "scope": "hooks"}, "retry": {"schedule": [5, 300]}, "maxConcurrency": 3,
        "headers": {"X-Team": "payments"},
    });
    let keys = |number: u8| SealedKeys { sealed: vec![number; 9], public_key: WebhookPublicKey::new([number; 32]) };
    StoredEndpoint {
        verified_origin: Some("https://hooks.example".into()),
        disabled: Some(DisabledBecause::Operator),
        version: 1,
        updated_at: 1_769_853_700,
        auth_secret: Some(vec![1; 9]),
        trusted: Some("-----BEGIN CERTIFICATE-----".into()),
        signing_secrets: vec![
            SecretVersion { secret: keys(3), created_at: 1_769_853_600, expires_at: Some(1_769_953_600) },
            SecretVersion::new(keys(4), 1_769_853_700),
        ],
        ..StoredEndpoint::new(serde_json::from_value::<Endpoint>(settings).unwrap(), 1_769_853_600)
    }
}

fn signing_key() -> StoredKey {
    let public_spki = pem_content(include_str!("../../core/tests/data/p256.public.pem"));
    let moments = KeyMoments { published_at: 1, sign_from: 3_601, sign_until: 90_001, verify_until: 176_401 };
    let public = PublicKey::from_spki("070725bf-7dac-4712-b61a-420ba3701263", &public_spki).unwrap();
    StoredKey { generation: 7, moments, public, public_spki, wrapped_private: vec![9; 40], expires_at: None }
}

fn pem_content(pem: &str) -> Vec<u8> {
    let text: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    BASE64.decode(text).unwrap()
}

fn endpoint_key() -> EndpointKey {
    EndpointKey { endpoint: endpoint(), public_key: WebhookPublicKey::new([4; 32]), expires_at: None }
}

fn token_request() -> TokenRequest {
    TokenRequest {
        tenant: tenant(),
        id: RequestId::parse("rq:1").unwrap(),
        redirect_url: Some("https://tpp.example/".into()),
        registered_at: 1_769_853_600,
        expires_at: 1_769_857_200,
        state: CallbackToken::new([7; 32]).hash(),
        called: None,
    }
}

fn entry() -> Entry {
    Entry {
        id: EntryId::new(ARRIVED, Uuid::from_u128(1)),
        actor: Actor::Iam { principal: "arn:aws:iam::000000000000:user/ann".into() },
        action: "PATCH /v1/tenants/{tenant}/endpoints/{endpoint}".into(),
        endpoint: Some(endpoint()),
        event: Some("payment-1".into()),
        request_id: "r-1".into(),
        status: Some(200),
        change: Change {
            secrets: ["signing"].into(),
            ..Change::between(json!({"url": "https://hooks.example/a"}), json!({"url": "https://hooks.example/in"}))
        },
    }
}

/// Writes the items of all kinds. Returns each by the name of its fixture.
async fn written() -> BTreeMap<&'static str, Value> {
    let wire = Wire::default();
    let (event, endpoint, stored) = (event(), endpoint(), stored_endpoint());
    let delivery =
        DeliveryKey { event: &event.key, endpoint: &endpoint, arrived_unix_ms: ARRIVED, retention_days: None };
    let mut items = BTreeMap::new();

    let first = FirstFanOut {
        message_id: "f6b1".into(),
        endpoints: vec![endpoint.clone()],
        sent: 0,
        at_unix_seconds: ARRIVED / 1_000,
        arrival: arrival(),
        payload_hash: [5; 32],
        number: None,
        retention_days: None,
    };
    Events::new(wire.dynamodb(), "t".into(), RETENTION).insert(&event, &first, None).await.unwrap();
    items.insert("event", wire.take_one());
    States::new(wire.dynamodb(), "t".into(), RETENTION).put(&event, arrival(), Some("APPROVED"), None).await.unwrap();
    items.insert("state", wire.take_one());
    let deliveries = Deliveries::new(wire.dynamodb(), "t".into(), RETENTION);
    assert!(deliveries.insert(delivery, &attempt(), progress()).await.unwrap());
    let [record, answer] = wire.take().try_into().unwrap();
    // The second attempt, with another request. The eighth attempt moves those before it.
    assert!(deliveries.update(delivery, &second_attempt(), Some(1), progress()).await.unwrap());
    items.insert("sent", wire.take_one());
    let full = json!({"attemptCount": {"N": "7"}});
    let full = Wire::with([with_members(record.clone(), &full)]);
    let eighth = Attempt { number: 8, sent: SentRecord::Same, response: None, ..attempt() };
    let table = Deliveries::new(full.dynamodb(), "t".into(), RETENTION);
    assert!(table.update(delivery, &eighth, Some(1), Progress { attempts: 8, ..progress() }).await.unwrap());
    items.insert("chunk", full.take_one());
    items.extend([("delivery", record), ("answer", answer)]);

    let parking = Parking::new(wire.dynamodb(), "t".into(), RETENTION);
    parking.park(Lane::due_at(ARRIVED, delivery), ARRIVED, delivery).await.unwrap();
    items.insert("parked-delivery", wire.take_one());
    parking.park(Lane::Exhausted(endpoint.clone()), ARRIVED, delivery).await.unwrap();
    items.insert("given-up-delivery", wire.take_one());
    parking.ask_to_drain_now(&tenant(), &endpoint).await.unwrap();
    items.insert("drain-request", wire.take_one());
    parking.note_waiting(&endpoint).await.unwrap();
    items.insert("waiting-note", wire.take_one());
    let breakers = Breakers::new(wire.dynamodb(), "t".into());
    assert!(breakers.replace(&endpoint, None, &Breaker::default(), 7).await.unwrap());
    items.insert("breaker", wire.take_one());

    Endpoints::new(wire.dynamodb(), "t".into()).put(&tenant(), &endpoint, &stored, None).await.unwrap();
    let [settings, subscription] = wire.take().try_into().unwrap();
    items.extend([("endpoint", settings), ("subscription", subscription)]);
    let event_types = EventTypes::new(wire.dynamodb(), "t".into());
    event_types.put(&tenant(), &event_type_name(), &event_type(), 1_769_853_600).await.unwrap();
    items.insert("event-type", wire.take_one());
    assert!(KeyTable::new(wire.dynamodb(), "t".into(), wire.mac()).add(&signing_key()).await.unwrap());
    items.insert("signing-key", wire.take_one());
    EndpointKeyTable::new(wire.dynamodb(), "t".into(), wire.mac()).publish(&tenant(), &endpoint_key()).await.unwrap();
    items.insert("endpoint-key", wire.take_one());
    let pair = WrappedPair { public_spki: vec![1; 20], wrapped_private: vec![2; 20] };
    assert!(SealingKeys::new(wire.dynamodb(), "t".into()).add(&tenant(), &pair, &wire.mac()).await.unwrap());
    items.insert("sealing-key", wire.take_one());

    let requests = TokenRequests::new(wire.dynamodb(), "t".into());
    assert!(requests.register(&token_request(), None, RETENTION).await.unwrap());
    let [state, request] = wire.take().try_into().unwrap();
    items.extend([("callback-state", state), ("token-request", request)]);

    let audit = AuditLog::new(wire.dynamodb(), "t".into(), RETENTION);
    audit.write(&tenant(), &Entry { status: None, change: Change::default(), ..entry() }).await.unwrap();
    items.insert("audit-intention", wire.take_one());
    audit.write(&tenant(), &entry()).await.unwrap();
    items.insert("audit-outcome", wire.take_one());
    items
}

/// Reads an item of the kind `name`. Returns what was read, without what differs each time.
async fn read(name: &str, item: &Value) -> Result<String, AwsError> {
    let mut items = vec![item.clone()];
    if matches!(name, "answer" | "chunk" | "sent") {
        // The record of the delivery, in a state in which it needs the item.
        let entry = encode(&second_attempt(), ARRIVED, None, None);
        let state = match name {
            "answer" => json!({}),
            "chunk" => {
                json!({"attempts": {"L": []}, "chunks": {"N": "1"}, "sent": {"M": newest()["chunk"]["sent"]["M"]}})
            }
            _ => json!({"attempts": {"L": [{"B": BASE64.encode(entry)}]}}),
        };
        items.push(with_members(newest()["delivery"].clone(), &state));
    }
    let wire = Wire::with(items);
    let (event, endpoint, tenant) = (event(), endpoint(), tenant());
    let delivery =
        DeliveryKey { event: &event.key, endpoint: &endpoint, arrived_unix_ms: ARRIVED, retention_days: None };
    let parking = Parking::new(wire.dynamodb(), "t".into(), RETENTION);
    let requests = TokenRequests::new(wire.dynamodb(), "t".into());
    let table = |read: &dyn Debug| format!("{read:?}");
    Ok(match name {
        "event" => {
            let stored = Events::new(wire.dynamodb(), "t".into(), RETENTION).get(&event.key).await?;
            table(&stored.map(|one| (one.event, one.arrived_unix_ms)))
        }
        "state" => {
            let subject = SubjectKey { tenant: &tenant, kind: "operation", name: "op-1" };
            table(&States::new(wire.dynamodb(), "t".into(), RETENTION).history(subject, 9).await?)
        }
        "answer" | "chunk" | "delivery" | "sent" => {
            let deliveries = Deliveries::new(wire.dynamodb(), "t".into(), RETENTION);
            table(&(deliveries.standing(delivery).await?, deliveries.attempts(delivery).await?))
        }
        "parked-delivery" => table(&parking.first_of(&Lane::due_at(ARRIVED, delivery), 9).await?),
        "given-up-delivery" => table(&parking.first_of(&Lane::Exhausted(endpoint), 9).await?),
        "drain-request" => table(&parking.drains(drain_shard(&endpoint), None, 9).await?),
        "waiting-note" => table(&parking.waiting(None, 9).await?),
        "breaker" => table(&Breakers::new(wire.dynamodb(), "t".into()).read(&endpoint).await?),
        "endpoint" => table(&Endpoints::new(wire.dynamodb(), "t".into()).get(&tenant, &endpoint).await?),
        "subscription" => table(&Subscriptions::new(wire.dynamodb(), "t".into()).of_tenant(&tenant).await?),
        "event-type" => {
            let schemas = Subscriptions::new(wire.dynamodb(), "t".into()).schemas(&tenant).await?;
            let event_types = EventTypes::new(wire.dynamodb(), "t".into());
            table(&(event_types.get(&tenant, &event_type_name()).await?, schemas))
        }
        "signing-key" => table(&KeyTable::new(wire.dynamodb(), "t".into(), wire.mac()).line(Algorithm::ES256).await?),
        "endpoint-key" => {
            table(&EndpointKeyTable::new(wire.dynamodb(), "t".into(), wire.mac()).of_tenant(&tenant).await?)
        }
        "sealing-key" => {
            table(&SealingKeys::new(wire.dynamodb(), "t".into()).get_authentic(&tenant, &wire.mac()).await?)
        }
        "audit-intention" | "audit-outcome" => {
            let audit = AuditLog::new(wire.dynamodb(), "t".into(), RETENTION);
            let query = AuditQuery { since_unix_ms: 0, endpoint: None, before: None };
            table(&audit.page(&tenant, &query, 9).await?.0)
        }
        "callback-state" => table(&requests.of_state(&token_request().state).await?),
        "token-request" => table(&requests.find(&token_request().id, None).await?),
        other => panic!("no reader of {other}"),
    })
}

fn newest() -> BTreeMap<String, Value> {
    fixtures(SETS[SETS.len() - 1])
}

fn fixtures(set: &str) -> BTreeMap<String, Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(set);
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files.map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), parsed(&path))).collect()
}

fn parsed(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Replaces the values that differ each time.
fn steady(mut item: Value) -> Value {
    for name in VOLATILE {
        if let Some(value) = item.get_mut(name) {
            *value = json!({"N": "1772445600"});
        }
    }
    item
}

/// If this fails, this release writes other items than the last set has. If no release has written that set yet, replace
/// the fixture. Otherwise keep the set, and add another one to [`SETS`]. If an older release must not ignore the change,
/// raise the form, in the release after one that can read it.
#[tokio::test]
async fn the_items_of_this_release_are_those_of_the_fixtures() {
    assert_eq!(NEWEST, 1, "add fixtures of the new form, and keep those of form 1");
    let (written, fixtures) = (written().await, newest());
    let mut missing = Vec::new();
    for (name, item) in &written {
        let item = steady(item.clone());
        match fixtures.get(*name) {
            Some(fixture) => assert_eq!(item, *fixture, "{name}"),
            None => missing.push(format!("{name}.json\n{}", serde_json::to_string_pretty(&item).unwrap())),
        }
    }
    assert!(missing.is_empty(), "fixtures are missing; this release writes\n\n{}\n", missing.join("\n\n"));
    assert!(fixtures.keys().map(String::as_str).eq(written.keys().copied()), "each fixture has a writer");
}

#[tokio::test]
async fn the_items_of_all_sets_are_read() {
    let fixtures = newest();
    let event = event();
    let expected: [(&str, &dyn Debug); 6] = [
        ("event", &Some((event, ARRIVED))),
        ("endpoint", &Some(stored_endpoint())),
        ("token-request", &[token_request()]),
        ("breaker", &(Breaker::default(), Some(7_u64))),
        ("endpoint-key", &[endpoint_key()]),
        ("audit-outcome", &[entry()]),
    ];
    for (name, expected) in expected {
        assert_eq!(read(name, &fixtures[name]).await.unwrap(), format!("{expected:?}"), "{name}");
    }
    for set in SETS {
        for (name, item) in &self::fixtures(set) {
            let read = read(name, item).await.unwrap();
            assert!(read != "None" && read != "[]", "{set}/{name} is not found");
        }
    }
}

/// Lists the copies of an item that have one member more: each in another of its maps and JSON objects.
fn with_a_new_member(value: &Value, added: &Value) -> Vec<Value> {
    let Value::Object(members) = value else { return Vec::new() };
    let mut copies = Vec::new();
    let mut larger = members.clone();
    larger.insert("addedLater".into(), added.clone());
    copies.push(Value::Object(larger));
    for (name, attribute) in members.iter().filter(|(name, _)| !DATA.contains(&name.as_str())) {
        for changed in attribute_with_a_new_member(attribute, added) {
            let mut copy = members.clone();
            copy.insert(name.clone(), changed);
            copies.push(Value::Object(copy));
        }
    }
    copies
}

fn attribute_with_a_new_member(attribute: &Value, added: &Value) -> Vec<Value> {
    if attribute.get("M").is_some() {
        return with_a_new_member(&attribute["M"], added).into_iter().map(|map| json!({"M": map})).collect();
    }
    if let Some(list) = attribute.get("L").and_then(Value::as_array) {
        let changed = |(index, one): (usize, &Value)| {
            let changes = attribute_with_a_new_member(one, added).into_iter();
            changes
                .map(|change| {
                    let mut list = list.clone();
                    list[index] = change;
                    json!({"L": list})
                })
                .collect::<Vec<_>>()
        };
        return list.iter().enumerate().flat_map(changed).collect();
    }
    let inner = attribute.get("S").and_then(Value::as_str).and_then(|text| serde_json::from_str::<Value>(text).ok());
    let inner = inner.map(|inner| json_with_a_new_member(&inner)).unwrap_or_default();
    inner.into_iter().map(|inner| json!({"S": inner.to_string()})).collect()
}

/// The same for JSON in a text attribute.
fn json_with_a_new_member(value: &Value) -> Vec<Value> {
    match value {
        Value::Object(members) => {
            let mut copies = Vec::new();
            let mut larger = members.clone();
            larger.insert("addedLater".into(), json!({"a": [1]}));
            copies.push(Value::Object(larger));
            for (name, inner) in
                members.iter().filter(|(name, _)| !["fields", "headers", "before", "after"].contains(&name.as_str()))
            {
                for changed in json_with_a_new_member(inner) {
                    let mut copy = members.clone();
                    copy.insert(name.clone(), changed);
                    copies.push(Value::Object(copy));
                }
            }
            copies
        }
        Value::Array(list) => {
            let changed = |(index, one): (usize, &Value)| {
                let changes = json_with_a_new_member(one).into_iter();
                changes
                    .map(|change| {
                        let mut list = list.clone();
                        list[index] = change;
                        Value::Array(list)
                    })
                    .collect::<Vec<_>>()
            };
            list.iter().enumerate().flat_map(changed).collect()
        }
        _ => Vec::new(),
    }
}

/// So the release before reads what this one writes, as long as this one only adds members.
#[tokio::test]
async fn attributes_and_members_that_a_newer_release_adds_are_ignored() {
    let mut tried = 0;
    for (name, item) in &newest() {
        let before = read(name, item).await.unwrap();
        for added in [json!({"S": "new"}), json!({"N": "1"}), json!({"BOOL": true}), json!({"M": {"a": {"S": "b"}}})] {
            for copy in with_a_new_member(item, &added) {
                tried += 1;
                assert_eq!(read(name, &copy).await.unwrap(), before, "{name}: {copy}");
            }
        }
    }
    assert!(tried >= 80, "{tried} copies");
}

/// A reader that would act wrongly without a new setting or a new spelling must not read the item.
#[tokio::test]
async fn an_item_of_a_newer_form_is_refused_by_name() {
    let fixtures = newest();
    for name in ["event", "endpoint", "event-type"] {
        let mut item = fixtures[name].clone();
        item["v"] = json!({"N": "2"});
        let refusal = read(name, &item).await.unwrap_err();
        assert!(
            matches!(&refusal, AwsError::NewerItem { item, source } if *item == name.replace('-', " ") && source.found == 2),
            "{refusal:?}"
        );
    }
    let mut item = fixtures["subscription"].clone();
    item["v"] = json!({"N": "2"});
    assert_eq!(
        read("subscription", &item).await.unwrap(),
        format!("[({:?}, None)]", endpoint()),
        "it is there, unread"
    );
}
