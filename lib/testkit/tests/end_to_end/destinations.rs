//! Webhooks in queues and on event buses of a customer, in an AWS account of its own.

use serde_json::{Value, json};
use signpost_core::endpoint::EndpointId;
use signpost_core::event::TenantId;
use signpost_testkit::build::{event, event_id, tenant};
use signpost_testkit::customer::{Customer, CustomerQueue, Trusted};
use signpost_testkit::local_stack::{LocalStack, endpoint_path, endpoints_path};
use signpost_testkit::receiver::Received;
use signpost_testkit::verify::independently_with;

/// An endpoint whose webhooks go to a queue of the customer.
struct Fixture {
    stack: LocalStack,
    customer: Customer,
    tenant: TenantId,
    queue: CustomerQueue,
    role: String,
    endpoint: Value,
}

impl Fixture {
    /// Creates the queue, the endpoint, and then the role that trusts it. The role may send if `is_allowed`.
    async fn new(suffix: &str, is_allowed: bool) -> Self {
        let (stack, customer, tenant) = (LocalStack::from_env().await, Customer::new().await, tenant());
        let (queue, role) = (customer.queue(suffix).await, Customer::role_arn());
        let destination = json!({"kind": "sqs", "queueArn": queue.arn, "roleArn": role});
        let settings = json!({"destination": destination, "signatures": ["jws", "standard-webhooks"]});
        let endpoint = stack.register_destination(&tenant, &settings).await;
        customer.create_role(&role, &Trusted::of(&endpoint)).await;
        if is_allowed {
            customer.allow(&role, "sqs:SendMessage", &queue.arn).await;
        }
        Self { stack, customer, tenant, queue, role, endpoint }
    }

    fn id(&self) -> EndpointId {
        EndpointId::parse(self.endpoint["id"].as_str().unwrap()).unwrap()
    }

    /// Sends an event and returns its id.
    async fn send(&self) -> String {
        let id = event_id();
        self.stack.send_events([event(&self.tenant, &id, &json!({"text": "a b", "id": id})).to_string()]).await;
        id
    }

    async fn take(&self, id: &str) -> Received {
        self.customer.message(&self.queue, |body| body.contains(id)).await.webhook()
    }

    async fn post(&self, what: &str) -> Value {
        let answer =
            self.stack.manage("POST", &format!("{}/{what}", endpoint_path(&self.tenant, &self.id())), None).await;
        assert!(answer.status < 300, "{answer:?}");
        answer.json()
    }
}

/// Verifies webhooks with eight libraries and programs that share no code with Signpost: JWS, `v1` and `v1a`.
async fn verify(stack: &LocalStack, tenant: &TenantId, webhook: &Received, secret: &str) -> Vec<String> {
    let reports = independently_with(&stack.keys_url(tenant), std::slice::from_ref(webhook), secret).await;
    for report in &reports {
        assert_eq!(report.error, None, "{report:?}");
    }
    let verified: Vec<_> = reports.iter().flat_map(|report| &report.verified).cloned().collect();
    for format in ["RS256", "v1", "v1a"] {
        assert!(verified.iter().any(|one| one.split(' ').any(|word| word == format)), "{format}: {verified:?}");
    }
    reports.into_iter().map(|report| report.kid).collect()
}

#[tokio::test]
async fn a_webhook_arrives_in_a_customers_queue_and_verifies_before_and_after_keys_rotate() {
    let fixture = Fixture::new("", true).await;
    let Fixture { stack, tenant, endpoint, .. } = &fixture;
    assert_eq!((endpoint.get("url"), endpoint["enabled"].as_bool()), (None, Some(true)));
    let id = fixture.send().await;
    let webhook = fixture.take(&id).await;
    assert_eq!((webhook.event_id(), webhook.header("ce-type")), (&*id, "example"));
    let before = verify(stack, tenant, &webhook, endpoint["signingSecret"].as_str().unwrap()).await;

    let rotated = fixture.post("rotate-secret").await;
    let made = stack.rotate_now().await;
    assert!(!made.is_empty());
    // A warm environment signs with the key that it knows for some seconds more.
    let secret = rotated["signingSecret"].as_str().unwrap();
    loop {
        let id = fixture.send().await;
        let webhook = fixture.take(&id).await;
        if webhook.header("webhook-signature").matches("v1,").count() < 2 {
            continue; // Sent with the settings from before, which an environment remembers for ten seconds.
        }
        if verify(stack, tenant, &webhook, secret).await != before {
            break;
        }
    }

    let attempts = stack.wait_for_attempts(tenant, &id, &fixture.id(), 1).await;
    assert_eq!((attempts[0].status, attempts[0].error.as_deref()), (Some(200), None));
    let path = format!("/v1/tenants/{tenant}/events/{id}?source=/core");
    let shown = stack.manage("GET", &path, None).await.json();
    let sent = &shown["deliveries"][0]["attempts"][0]["sent"];
    let url = sent["url"].as_str().unwrap();
    assert!(url.starts_with("https://sqs.us-east-1.amazonaws.com/111122223333/webhooks-"), "{sent}");
}

#[tokio::test]
async fn a_webhook_arrives_on_a_customers_event_bus_and_a_rule_matches_it() {
    let (stack, customer, tenant) = (LocalStack::from_env().await, Customer::new().await, tenant());
    let (queue, role) = (customer.queue("").await, Customer::role_arn());
    let bus = customer.bus("/core", "example", &queue).await;
    let destination = json!({"kind": "eventBridge", "busArn": bus, "roleArn": role});
    let settings = json!({"destination": destination, "signatures": ["jws", "standard-webhooks"]});
    let endpoint = stack.register_destination(&tenant, &settings).await;
    customer.create_role(&role, &Trusted::of(&endpoint)).await;
    customer.allow(&role, "events:PutEvents", &bus).await;
    let id = event_id();
    let mut other = event(&tenant, &event_id(), &json!({}));
    other["type"] = json!("other");
    let sent = event(&tenant, &id, &json!({"big": 1, "id": id}));
    let exact = sent.to_string().replace("\"big\":1", "\"big\":12345678901234567890123.0");
    stack.send_events([other.to_string(), exact]).await;
    let message = customer.message(&queue, |body| body.contains(&id)).await;
    let webhook = message.webhook_of_event();
    assert!(String::from_utf8_lossy(&webhook.body).contains("12345678901234567890123.0"), "the bytes that were signed");
    verify(&stack, &tenant, &webhook, endpoint["signingSecret"].as_str().unwrap()).await;
    let event: Value = serde_json::from_str(&message.body).unwrap();
    assert_eq!((&event["source"], &event["detail-type"]), (&json!("/core"), &json!("example")));
    let endpoint = EndpointId::parse(endpoint["id"].as_str().unwrap()).unwrap();
    let others = other["id"].as_str().unwrap();
    assert_eq!(stack.wait_for_attempts(&tenant, others, &endpoint, 1).await[0].status, Some(200));
    assert_eq!(customer.count(&queue).await, 0, "the rule matches one of two types");
}

#[tokio::test]
async fn a_missing_permission_is_on_record_with_its_fix_and_the_webhook_arrives_after_it() {
    let fixture = Fixture::new(".fifo", false).await;
    let id = fixture.send().await;
    let denied = fixture.stack.wait_for_attempts(&fixture.tenant, &id, &fixture.id(), 1).await.remove(0);
    assert_eq!(denied.cause.as_deref(), Some("destination-denied"), "{denied:?}");
    assert_eq!(denied.status, Some(403));
    let error = denied.error.unwrap();
    assert!(error.contains("allow `sqs:SendMessage` on it in the role's policy"), "{error}");

    fixture.customer.allow(&fixture.role, "sqs:SendMessage", &fixture.queue.arn).await;
    let message = fixture.customer.message(&fixture.queue, |body| body.contains(&id)).await;
    assert!(message.group.is_some(), "{message:?}");
    let webhook = message.webhook();
    verify(&fixture.stack, &fixture.tenant, &webhook, fixture.endpoint["signingSecret"].as_str().unwrap()).await;
}

#[tokio::test]
async fn deliveries_to_a_disabled_queue_are_parked_and_arrive_once_it_is_enabled() {
    let fixture = Fixture::new("", true).await;
    fixture.post("disable").await;
    let id = fixture.send().await;
    fixture.stack.wait_for_parked(&fixture.id(), 1).await;
    assert_eq!(fixture.customer.count(&fixture.queue).await, 0);
    fixture.post("enable").await;
    assert_eq!(fixture.take(&id).await.event_id(), id);
}

#[tokio::test]
async fn a_tenant_cannot_send_through_the_role_of_another() {
    let fixture = Fixture::new("", true).await;
    let thief = tenant();
    let destination = json!({"kind": "sqs", "queueArn": fixture.queue.arn, "roleArn": fixture.role});
    let stolen = fixture.stack.register_destination(&thief, &json!({ "destination": destination })).await;
    let [own, other] = [&fixture.endpoint, &stolen].map(|endpoint| endpoint["destination"]["externalId"].clone());
    assert_ne!(own, other);
    let again = fixture.stack.register_destination(&fixture.tenant, &json!({ "destination": destination })).await;
    assert_eq!(again["destination"]["externalId"], own, "the same for all endpoints of a tenant");

    let forged = json!({"destination": {"externalId": own}});
    let thiefs = EndpointId::parse(stolen["id"].as_str().unwrap()).unwrap();
    let refused = fixture.stack.manage("PATCH", &endpoint_path(&thief, &thiefs), Some(&forged)).await;
    assert_eq!((refused.status, &refused.json()["errors"][0]["pointer"]), (400, &json!("/destination/externalId")));

    let id = event_id();
    fixture.stack.send_events([event(&thief, &id, &json!({"id": id})).to_string()]).await;
    let attempt = fixture.stack.wait_for_attempts(&thief, &id, &thiefs, 1).await.remove(0);
    assert_eq!((attempt.cause.as_deref(), attempt.status), (Some("role-refused"), None), "{attempt:?}");
    let error = attempt.error.unwrap();
    assert!(error.contains("`externalId`") && error.contains("trust policy"), "{error}");
    assert_eq!(fixture.customer.count(&fixture.queue).await, 0);
}

#[tokio::test]
async fn a_role_that_the_stack_may_not_assume_is_refused_with_the_parameter_that_allows_it() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let destination = json!({
        "kind": "sqs", "queueArn": "arn:aws:sqs:us-east-1:111122223333:q", "roleArn": "arn:aws:iam::111122223333:role/admin",
    });
    let refused = stack.manage("POST", &endpoints_path(&tenant), Some(&json!({ "destination": destination }))).await;
    let fault = &refused.json()["errors"][0];
    assert_eq!((refused.status, &fault["pointer"]), (400, &json!("/destination/roleArn")));
    assert!(fault["expected"].as_str().unwrap().contains("`DestinationRoleArns`"), "{fault}");
}
