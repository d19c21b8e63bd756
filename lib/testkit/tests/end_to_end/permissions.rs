//! Least privilege, enforced by the local stack: actions that each role may not do. All other tests run with the same
//! enforcement, so they show that every grant in the template is sufficient.

use aws_credential_types::Credentials;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{DataKeyPairSpec, DataKeySpec, MacAlgorithmSpec};
use serde_json::json;
use signpost_core::endpoint::EndpointId;
use signpost_core::event::TenantId;
use signpost_core::signing::algorithm::Algorithm;
use signpost_io::tables::sealing_keys::SealingKeys;
use signpost_testkit::build::{event, event_id, tenant};
use signpost_testkit::local_stack::{LocalStack, endpoint_path, endpoints_path, setting};

const ROLES: [&str; 10] = [
    "ECHO_ROLE",
    "INGEST_ROLE",
    "FANOUT_ROLE",
    "DELIVER_ROLE",
    "MANAGE_ROLE",
    "PORTAL_ROLE",
    "ROTATEKEYS_ROLE",
    "PUBLICKEYS_ROLE",
    "RELAY_ROLE",
    "SWEEP_ROLE",
];

#[tokio::test]
async fn events_are_not_taken_from_strangers() {
    let stack = LocalStack::from_env().await;
    let body = event(&tenant(), &event_id(), &json!({})).to_string();
    assert_eq!(stack.post_events_unsigned(body.clone()).await.status, 403);
    let unknown = Credentials::new("AKIAIOSFODNN7EXAMPLE", "a guess", None, None, "an unknown key");
    assert_eq!(stack.post_events_as(&unknown, "application/json", body).await.status, 403);
}

#[tokio::test]
async fn no_function_may_do_what_it_does_not_need() {
    let stack = LocalStack::from_env().await;
    for role in ROLES {
        let aws = stack.assume_role(&setting(role)).await;
        let dynamodb = aws_sdk_dynamodb::Client::new(&aws);
        let sqs = aws_sdk_sqs::Client::new(&aws);
        let kms = aws_sdk_kms::Client::new(&aws);

        assert!(may_do_its_work(role, &dynamodb, &sqs).await, "{role} may do its work");

        for table in [
            "ENDPOINTS_TABLE",
            "ENDPOINT_KEYS_TABLE",
            "EVENTS_TABLE",
            "KEYS_TABLE",
            "PARKING_TABLE",
            "PORTAL_TABLE",
            "TOKEN_REQUESTS_TABLE",
        ] {
            let scan = dynamodb.scan().table_name(setting(table)).send().await;
            assert_refused(scan.map(drop), &format!("{role}: dynamodb:Scan on {table}"));
        }
        if !is_manage(role) && role != "SWEEP_ROLE" {
            let call = dynamodb.query().table_name(setting("EVENTS_TABLE")).key_condition_expression("pk = :e");
            let nobody = AttributeValue::S("nobody".into());
            let read = call.expression_attribute_values(":e", nobody).send().await;
            assert_refused(read.map(drop), &format!("{role}: dynamodb:Query on events, deliveries and states"));
        }
        let purge = sqs.purge_queue().queue_url(setting("EVENTS_QUEUE_URL")).send().await;
        assert_refused(purge.map(drop), &format!("{role}: sqs:PurgeQueue"));
        let nobody = AttributeValue::S("nobody".into());
        let at = |table: &str| (setting(table), nobody.clone(), nobody.clone());
        if role != "RELAY_ROLE" {
            let (table, request, record) = at("TOKEN_REQUESTS_TABLE");
            let call = dynamodb.update_item().table_name(table).key("pk", request).key("sk", record);
            let said = call.update_expression("SET payload = registeredAt").send().await;
            assert_refused(said.map(drop), &format!("{role}: dynamodb:UpdateItem of a token request"));
        }
        if role != "MANAGE_ROLE" {
            let (table, request, record) = at("TOKEN_REQUESTS_TABLE");
            let call = dynamodb.put_item().table_name(table).item("pk", request).item("sk", record);
            assert_refused(call.send().await.map(drop), &format!("{role}: dynamodb:PutItem of a token request"));
            let call = dynamodb.query().table_name(setting("TOKEN_REQUESTS_TABLE"));
            let call = call.key_condition_expression("pk = :r").expression_attribute_values(":r", nobody.clone());
            assert_refused(call.send().await.map(drop), &format!("{role}: dynamodb:Query of token requests"));
        }
        if role == "RELAY_ROLE" {
            // Strangers can call `relay`, so an attack on it must not reach anything except token requests and
            // OwnEventsQueue.
            for (table, [hash, range]) in [
                ("ENDPOINTS_TABLE", ["tenant", "endpoint"]),
                ("EVENTS_TABLE", ["pk", "sk"]),
                ("PARKING_TABLE", ["pk", "sk"]),
            ] {
                let (name, first, second) = at(table);
                let read = dynamodb.get_item().table_name(name).key(hash, first).key(range, second).send().await;
                assert_refused(read.map(drop), &format!("{role}: dynamodb:GetItem on {table}"));
            }
            for queue in ["DELIVERIES_QUEUE_URL", "DEAD_LETTER_QUEUE_URL", "EVENTS_QUEUE_URL", "REJECTED_QUEUE_URL"] {
                let sent =
                    sqs.send_message().queue_url(setting(queue)).message_body("from a test of roles").send().await;
                assert_refused(sent.map(drop), &format!("{role}: sqs:SendMessage to {queue}"));
            }
            let taken = sqs.receive_message().queue_url(setting("EVENTS_QUEUE_URL")).visibility_timeout(0).send().await;
            assert_refused(taken.map(drop), &format!("{role}: sqs:ReceiveMessage from EventsQueue"));
        }
        let mac = |role: &str| matches!(role, "MANAGE_ROLE" | "PORTAL_ROLE" | "ROTATEKEYS_ROLE");
        if !mac(role) {
            let call = kms.generate_mac().key_id(setting("MAC_KEY")).mac_algorithm(MacAlgorithmSpec::HmacSha256);
            let made = call.message(Blob::new("a planted key")).send().await;
            assert_refused(made.map(drop), &format!("{role}: kms:GenerateMac, which would allow forged keys"));
        }
        if role != "ROTATEKEYS_ROLE" {
            let call = dynamodb.put_item().table_name(setting("KEYS_TABLE"));
            let call = call.item("algorithm", nobody.clone()).item("generation", AttributeValue::N("0".into()));
            assert_refused(call.send().await.map(drop), &format!("{role}: dynamodb:PutItem of a signing key"));
        }
        if !is_manage(role) {
            let (table, tenant, key) = at("ENDPOINT_KEYS_TABLE");
            let call = dynamodb.put_item().table_name(table).item("tenant", tenant).item("key", key);
            assert_refused(call.send().await.map(drop), &format!("{role}: dynamodb:PutItem of an endpoint's key"));
        }
        if !matches!(role, "DELIVER_ROLE" | "MANAGE_ROLE" | "PORTAL_ROLE" | "RELAY_ROLE") {
            let call = sqs.send_message().queue_url(setting("OWN_EVENTS_QUEUE_URL")).message_body("forged");
            assert_refused(call.send().await.map(drop), &format!("{role}: sqs:SendMessage to OwnEventsQueue"));
        }
        if role != "DELIVER_ROLE" {
            let key = stack.keys(Algorithm::RS256).await.remove(0);
            let call = kms.decrypt().key_id(setting("WRAPPING_KEY")).encryption_context("purpose", "signing");
            let call = call.encryption_context("keyId", key.public.id());
            let opened = call.ciphertext_blob(Blob::new(key.wrapped_private)).send().await;
            assert_refused(opened.map(drop), &format!("{role}: kms:Decrypt of a private key"));
        }
    }
}

#[tokio::test]
async fn links_are_for_manage_and_portal_and_nobody_lists_them_but_manage() {
    let stack = LocalStack::from_env().await;
    let (table, nobody) = (setting("PORTAL_TABLE"), AttributeValue::S("nobody".into()));
    for role in ROLES {
        let dynamodb = aws_sdk_dynamodb::Client::new(&stack.assume_role(&setting(role)).await);
        if !is_manage(role) {
            let call = dynamodb.put_item().table_name(&table).item("pk", nobody.clone()).item("sk", nobody.clone());
            assert_refused(call.send().await.map(drop), &format!("{role}: dynamodb:PutItem of a link or a token"));
            let call = dynamodb.update_item().table_name(&table).key("pk", nobody.clone()).key("sk", nobody.clone());
            let written = call.update_expression("SET endedAt = createdAt").send().await;
            assert_refused(written.map(drop), &format!("{role}: dynamodb:UpdateItem of a link"));
        }
        if role != "PORTAL_ROLE" {
            let call = dynamodb.get_item().table_name(&table).key("pk", nobody.clone()).key("sk", nobody.clone());
            assert_refused(call.send().await.map(drop), &format!("{role}: dynamodb:GetItem of a link or a token"));
        }
        let deleted = dynamodb.delete_item().table_name(&table).key("pk", nobody.clone()).key("sk", nobody.clone());
        if role != "SWEEP_ROLE" {
            // It erases tenants. The scans above show that it cannot read a link.
            let refused = format!("{role}: dynamodb:DeleteItem of a link or a token");
            assert_refused(deleted.send().await.map(drop), &refused);
        }
        if role == "MANAGE_ROLE" {
            continue;
        }
        // Strangers can call `portal`. An attack on it must not find out who has links, or what operators did.
        for (name, hash) in [("PORTAL_TABLE", "pk"), ("AUDIT_TABLE", "tenant")] {
            let call = dynamodb.query().table_name(setting(name)).key_condition_expression(format!("{hash} = :hash"));
            let read = call.expression_attribute_values(":hash", nobody.clone()).send().await;
            assert_refused(read.map(drop), &format!("{role}: dynamodb:Query on {name}"));
        }
    }
}

#[tokio::test]
async fn the_key_that_opens_secrets_is_for_deliver_alone() {
    let stack = LocalStack::from_env().await;
    let secretive = tenant();
    stack.register_with(&secretive, &json!({"url": "https://hooks.example/in"})).await;
    let sealing = SealingKeys::new(stack.dynamodb(), setting("ENDPOINT_KEYS_TABLE")).get(&secretive).await;
    let sealing = sealing.unwrap().unwrap();
    for role in ROLES {
        let aws = stack.assume_role(&setting(role)).await;
        let (dynamodb, kms) = (aws_sdk_dynamodb::Client::new(&aws), aws_sdk_kms::Client::new(&aws));
        if !matches!(role, "MANAGE_ROLE" | "PORTAL_ROLE" | "ROTATEKEYS_ROLE") {
            let call = kms.generate_data_key_pair_without_plaintext().key_id(setting("WRAPPING_KEY"));
            let call = call.key_pair_spec(DataKeyPairSpec::EccNistP256).encryption_context("tenant", "acme");
            let made = call.encryption_context("purpose", "endpoint-secrets").send().await;
            assert_refused(made.map(drop), &format!("{role}: kms:GenerateDataKeyPairWithoutPlaintext"));
        }
        let data_key =
            kms.generate_data_key().key_id(setting("WRAPPING_KEY")).key_spec(DataKeySpec::Aes256).send().await;
        assert_refused(data_key.map(drop), &format!("{role}: kms:GenerateDataKey, whose plaintext it would see"));
        if role != "DELIVER_ROLE" {
            let call = kms.decrypt().key_id(setting("WRAPPING_KEY")).encryption_context("purpose", "endpoint-secrets");
            let call = call.encryption_context("tenant", secretive.as_str());
            let opened = call.ciphertext_blob(Blob::new(&*sealing.wrapped_private)).send().await;
            assert_refused(opened.map(drop), &format!("{role}: kms:Decrypt of the key that opens secrets"));
        }
        if !matches!(role, "DELIVER_ROLE" | "MANAGE_ROLE" | "PORTAL_ROLE") {
            let (tenant, key) = [secretive.as_str(), "secrets"].map(|text| AttributeValue::S(text.to_owned())).into();
            let call = dynamodb.get_item().table_name(setting("ENDPOINT_KEYS_TABLE"));
            let read = call.key("tenant", tenant).key("key", key).send().await;
            assert_refused(read.map(drop), &format!("{role}: dynamodb:GetItem of the key that opens secrets"));
        }
    }
}

/// Deletes nothing from the stack's queues. Others can see a received message again at once.
#[tokio::test]
async fn a_redrive_is_granted_to_sweep_and_to_nobody_else() {
    let stack = LocalStack::from_env().await;
    let aws = stack.assume_role(&setting("SWEEP_ROLE")).await;
    let (dynamodb, sqs) = (aws_sdk_dynamodb::Client::new(&aws), aws_sdk_sqs::Client::new(&aws));
    for queue in ["DEAD_LETTER_QUEUE_URL", "REJECTED_QUEUE_URL"] {
        let url = setting(queue);
        let received = sqs.receive_message().queue_url(&url).visibility_timeout(0).send().await;
        assert!(received.is_ok(), "{queue}: {received:?}");
        let entry = aws_sdk_sqs::types::DeleteMessageBatchRequestEntry::builder().id("1").receipt_handle("none");
        let deleted = sqs.delete_message_batch().queue_url(&url).entries(entry.build().unwrap()).send().await;
        assert_eq!(deleted.unwrap().failed.len(), 1, "{queue}: only the receipt handle is wrong");
        let entry =
            aws_sdk_sqs::types::ChangeMessageVisibilityBatchRequestEntry::builder().id("1").receipt_handle("none");
        let call = sqs.change_message_visibility_batch().queue_url(&url).entries(entry.build().unwrap());
        assert_eq!(call.send().await.unwrap().failed.len(), 1, "{queue}");
    }
    let sent = sqs.send_message().queue_url(setting("EVENTS_QUEUE_URL")).message_body("from a test of roles");
    assert!(sent.send().await.is_ok());
    let key = AttributeValue::S("nobody".into());
    let call = dynamodb.update_item().table_name(setting("EVENTS_TABLE")).key("pk", key.clone()).key("sk", key);
    let call = call.update_expression("SET attemptCount = attemptCount");
    let updated = call.condition_expression("attribute_exists(attemptCount)").send().await;
    let error = updated.unwrap_err().into_service_error();
    assert!(error.is_conditional_check_failed_exception(), "{error:?}");

    for role in [
        "DELIVER_ROLE",
        "FANOUT_ROLE",
        "INGEST_ROLE",
        "MANAGE_ROLE",
        "PORTAL_ROLE",
        "PUBLICKEYS_ROLE",
        "RELAY_ROLE",
        "ROTATEKEYS_ROLE",
    ] {
        let sqs = aws_sdk_sqs::Client::new(&stack.assume_role(&setting(role)).await);
        let received = sqs.receive_message().queue_url(setting("DEAD_LETTER_QUEUE_URL")).visibility_timeout(0).send();
        assert_refused(received.await.map(drop), &format!("{role}: sqs:ReceiveMessage from DeadLetterQueue"));
    }
}

/// Returns whether a role belongs to a function with the code of `manage`.
fn is_manage(role: &str) -> bool {
    matches!(role, "MANAGE_ROLE" | "PORTAL_ROLE")
}

/// A positive control: these are the role's credentials, and they work for what the template grants.
async fn may_do_its_work(role: &str, dynamodb: &aws_sdk_dynamodb::Client, sqs: &aws_sdk_sqs::Client) -> bool {
    match role {
        "ECHO_ROLE" => true, // It calls nothing.
        "INGEST_ROLE" | "RELAY_ROLE" => {
            let queue = if role == "INGEST_ROLE" { "EVENTS_QUEUE_URL" } else { "OWN_EVENTS_QUEUE_URL" };
            let call = sqs.send_message().queue_url(setting(queue)).message_body("from a test of roles");
            call.send().await.is_ok()
        }
        "FANOUT_ROLE" | "MANAGE_ROLE" | "PORTAL_ROLE" => {
            let call = dynamodb.query().table_name(setting("ENDPOINTS_TABLE"));
            let call = call.key_condition_expression("tenant = :t");
            let nobody = AttributeValue::S("nobody".into());
            call.expression_attribute_values(":t", nobody).send().await.is_ok()
        }
        "SWEEP_ROLE" => {
            let call = dynamodb.query().table_name(setting("PARKING_TABLE")).key_condition_expression("pk = :l");
            let drain = AttributeValue::S("drain#0".into());
            call.expression_attribute_values(":l", drain).send().await.is_ok()
        }
        _ => {
            let call = dynamodb.query().table_name(setting("KEYS_TABLE"));
            let call = call.key_condition_expression("algorithm = :a");
            let rs256 = AttributeValue::S("RS256".into());
            call.expression_attribute_values(":a", rs256).send().await.is_ok()
        }
    }
}

fn assert_refused<E: aws_sdk_dynamodb::error::ProvideErrorMetadata>(outcome: Result<(), E>, what: &str) {
    let code = outcome.err().and_then(|error| error.code().map(str::to_owned)).unwrap_or_default();
    assert!(code.starts_with("AccessDenied"), "{what} was answered with `{code}`; expected AccessDenied");
}

/// Grants a role the example policy of `docs/` for one tenant, as an account's administrator does.
#[tokio::test]
async fn an_operator_of_one_tenant_cannot_touch_the_endpoints_of_another() {
    let stack = LocalStack::from_env().await;
    let (own, other) = (tenant(), tenant());
    let [own_id, other_id] = [&own, &other]
        .map(async |tenant| stack.register_with(tenant, &json!({"url": "https://hooks.example/in"})).await.id);
    let (own_id, other_id) = (own_id.await, other_id.await);
    let operator = stack.operator_of(&own).await;
    let ask = async |method: &str, path: String, body: Option<serde_json::Value>| {
        stack.manage_as(&operator, method, &path, &[], body.as_ref()).await.status
    };

    let calls = |tenant: &TenantId, id: &EndpointId| {
        let (all, one) = (endpoints_path(tenant), endpoint_path(tenant, id));
        let settings = Some(json!({"url": "https://hooks.example/other"}));
        [
            ("GET", all.clone(), None, 200),
            ("POST", all, settings.clone(), 201),
            ("GET", one.clone(), None, 200),
            ("PATCH", one.clone(), settings, 200),
            ("POST", format!("{one}/disable"), None, 200),
            ("POST", format!("{one}/enable"), None, 200),
            ("POST", format!("{one}/test"), None, 202),
            ("POST", format!("{one}/rotate-secret"), None, 200),
            ("GET", format!("/v1/tenants/{tenant}/status/operation/op-1"), None, 404), // It does not exist.
            ("DELETE", one, None, 204),
        ]
    };
    let seen = stack.manage("GET", &endpoint_path(&other, &other_id), None).await;
    for (method, path, body, _) in calls(&other, &other_id) {
        assert_eq!(ask(method, path.clone(), body).await, 403, "{method} {path}");
    }
    // These have the tenant in their query, where no policy looks. A caller that may use them may use them for every
    // tenant.
    for question in ["status", "Accounts/status", "status/details"] {
        let path = format!("/api/session/{question}?sessionId=s-1&tenant={own}");
        assert_eq!(ask("GET", path.clone(), None).await, 403, "{path}");
        assert_eq!(stack.manage("GET", &path, None).await.status, 404, "{path}: there is no such session");
    }
    // Paths that a gateway and a function may read as different tenants.
    for path in [
        format!("/v1/tenants/{own}%2F..%2F{other}/endpoints"),
        format!("/v1/tenants/{own}/../{other}/endpoints"),
        format!("/v1/tenants/{own}%2Fendpoints/{other}"),
        format!("/v1/tenants/{own}/endpoints/..%2F..%2F{other}%2Fendpoints%2F{other_id}"),
        format!("/v1/tenants/{own}/endpoints/{other_id}"),
        format!("/v1/tenants/{own}/../{other}/status/operation/op-1"),
        format!("/v1/tenants/{own}%2F..%2F{other}/status/operation/op-1"),
        format!("/v1/tenants/{own}/status/operation/..%2F..%2F..%2F{other}%2Fstatus%2Foperation%2Fop-1"),
    ] {
        let status = ask("GET", path.clone(), None).await;
        assert!(matches!(status, 400 | 403 | 404), "{path} answered {status}");
    }
    assert_eq!(stack.manage("GET", &endpoint_path(&other, &other_id), None).await.text, seen.text, "untouched");
    for (method, path, body, status) in calls(&own, &own_id) {
        assert_eq!(ask(method, path.clone(), body).await, status, "{method} {path}: the policy grants this");
    }
    let event = event(&own, &event_id(), &json!({})).to_string();
    assert_eq!(stack.post_events_as(&operator, "application/json", event).await.status, 403, "not a producer");
}
