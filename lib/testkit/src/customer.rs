//! A customer with an AWS account of its own in the local stack: queues, buses, and a role that Signpost may assume.

use std::collections::BTreeMap;
use std::time::Instant;

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use http::{HeaderMap, HeaderName, Method};
use reqwest::Client;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::local_stack::{LocalStack, setting, until};
use crate::receiver::Received;
use crate::signed_http::{Signature, send};

/// The customer's account. The parameter `DestinationRoleArns` of the local stack allows its roles `webhooks-…`.
pub const ACCOUNT: &str = "111122223333";

/// The account, as its administrator.
#[derive(Debug)]
pub struct Customer {
    credentials: Credentials,
    http: Client,
    sqs: aws_sdk_sqs::Client,
}

/// A queue of the customer.
#[derive(Clone, Debug)]
pub struct CustomerQueue {
    /// Its ARN.
    pub arn: String,
    url: String,
}

/// The part of an endpoint's `destination` that a trust policy needs.
#[derive(Clone, Debug)]
pub struct Trusted {
    /// `assumedBy`.
    pub assumed_by: String,
    /// `externalId`.
    pub external_id: String,
}

impl Trusted {
    /// Reads them from an endpoint.
    ///
    /// # Panics
    /// It has no destination.
    #[must_use]
    pub fn of(endpoint: &Value) -> Self {
        let text = |name: &str| endpoint["destination"][name].as_str().expect("a destination").to_owned();
        Self { assumed_by: text("assumedBy"), external_id: text("externalId") }
    }

    /// Returns the trust policy in docs/destinations.md.
    #[must_use]
    pub fn policy(&self) -> Value {
        json!({"Version": "2012-10-17", "Statement": [{
            "Sid": "SignpostAssumesRole", "Effect": "Allow", "Action": "sts:AssumeRole",
            "Principal": {"AWS": self.assumed_by},
            "Condition": {"StringEquals": {"sts:ExternalId": self.external_id}},
        }]})
    }
}

impl Customer {
    /// Opens the account.
    pub async fn new() -> Self {
        // To MiniStack, a key id that is an account's number belongs to the root of the account.
        let credentials = Credentials::new(ACCOUNT, "test", None, None, "customer");
        let provider = SharedCredentialsProvider::new(credentials.clone());
        let aws: SdkConfig = signpost_io::aws::load().await.into_builder().credentials_provider(provider).build();
        Self { credentials, http: Client::new(), sqs: aws_sdk_sqs::Client::new(&aws) }
    }

    /// Creates a queue; a FIFO queue if `suffix` is `.fifo`.
    ///
    /// # Panics
    /// The queue cannot be created.
    pub async fn queue(&self, suffix: &str) -> CustomerQueue {
        let name = format!("webhooks-{}{suffix}", Uuid::new_v4());
        let call = self.sqs.create_queue().queue_name(&name);
        let call = if suffix.is_empty() { call } else { call.attributes("FifoQueue".into(), "true") };
        let url = call.send().await.expect("a queue").queue_url.expect("its URL");
        CustomerQueue { arn: format!("arn:aws:sqs:us-east-1:{ACCOUNT}:{name}"), url }
    }

    /// Returns the ARN of a role that does not exist yet.
    #[must_use]
    pub fn role_arn() -> String {
        format!("arn:aws:iam::{ACCOUNT}:role/webhooks-{}", Uuid::new_v4())
    }

    /// Creates the role.
    ///
    /// # Panics
    /// It cannot be created.
    pub async fn create_role(&self, arn: &str, trust: &Trusted) {
        let name = name_of(arn);
        let policy = trust.policy().to_string();
        self.iam(&[("Action", "CreateRole"), ("RoleName", name), ("AssumeRolePolicyDocument", &policy)]).await;
    }

    /// Lets the role do `action` on `resource`.
    ///
    /// # Panics
    /// It cannot be allowed.
    pub async fn allow(&self, role_arn: &str, action: &str, resource: &str) {
        let policy = json!({"Version": "2012-10-17", "Statement": [{
            "Sid": "SendWebhooks", "Effect": "Allow", "Action": action, "Resource": resource,
        }]});
        let (name, policy) = (name_of(role_arn), policy.to_string());
        let form =
            [("Action", "PutRolePolicy"), ("RoleName", name), ("PolicyName", "send"), ("PolicyDocument", &policy)];
        self.iam(&form).await;
    }

    /// Creates an event bus whose events of this source and type go to a queue. Returns its ARN.
    ///
    /// # Panics
    /// It cannot be created.
    pub async fn bus(&self, source: &str, kind: &str, queue: &CustomerQueue) -> String {
        let name = format!("webhooks-{}", Uuid::new_v4());
        self.events("CreateEventBus", &json!({ "Name": name })).await;
        let pattern = json!({"source": [source], "detail-type": [kind]}).to_string();
        self.events("PutRule", &json!({"Name": name, "EventBusName": name, "EventPattern": pattern})).await;
        let targets = json!([{"Id": "queue", "Arn": queue.arn}]);
        self.events("PutTargets", &json!({"Rule": name, "EventBusName": name, "Targets": targets})).await;
        format!("arn:aws:events:us-east-1:{ACCOUNT}:event-bus/{name}")
    }

    /// Takes the next message that `is_it` accepts from a queue: its body, its attributes, and its group.
    ///
    /// # Panics
    /// No such message arrives within two minutes.
    pub async fn message(&self, queue: &CustomerQueue, is_it: impl Fn(&str) -> bool) -> Taken {
        until("a message in the customer's queue", async || {
            let call = self.sqs.receive_message().queue_url(&queue.url).max_number_of_messages(10).wait_time_seconds(1);
            let call = call.message_attribute_names("All").visibility_timeout(1);
            let call = call.message_system_attribute_names(aws_sdk_sqs::types::MessageSystemAttributeName::All);
            let messages = call.send().await.expect("the queue can be read").messages.unwrap_or_default();
            let message = messages.into_iter().find(|message| message.body().is_some_and(&is_it))?;
            let handle = message.receipt_handle().unwrap_or_default();
            let _ = self.sqs.delete_message().queue_url(&queue.url).receipt_handle(handle).send().await;
            let attributes = message.message_attributes.unwrap_or_default().into_iter();
            let text = |value: aws_sdk_sqs::types::MessageAttributeValue| value.string_value.unwrap_or_default();
            let group = message
                .attributes
                .and_then(|mut all| all.remove(&aws_sdk_sqs::types::MessageSystemAttributeName::MessageGroupId));
            Some(Taken {
                body: message.body.unwrap_or_default(),
                attributes: attributes.map(|(name, value)| (name, text(value))).collect(),
                group,
            })
        })
        .await
    }

    /// Returns how many messages a queue has.
    ///
    /// # Panics
    /// The queue cannot be read.
    pub async fn count(&self, queue: &CustomerQueue) -> usize {
        let name = aws_sdk_sqs::types::QueueAttributeName::ApproximateNumberOfMessages;
        let call = self.sqs.get_queue_attributes().queue_url(&queue.url).attribute_names(name.clone());
        let attributes = call.send().await.expect("the queue").attributes.unwrap_or_default();
        attributes.get(&name).and_then(|count| count.parse().ok()).unwrap_or_default()
    }

    async fn iam(&self, form: &[(&str, &str)]) {
        let version = ("Version", "2010-05-08");
        let body =
            url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).extend_pairs([version]).finish();
        let media_type = "application/x-www-form-urlencoded";
        self.call("iam", &[("content-type", media_type)], body).await;
    }

    async fn events(&self, operation: &str, body: &Value) {
        let target = format!("AWSEvents.{operation}");
        let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", &target)];
        self.call("events", &headers, body.to_string()).await;
    }

    async fn call(&self, service: &'static str, headers: &[(&str, &str)], body: String) {
        let mut request = self.http.post(setting("AWS_ENDPOINT_URL")).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let signature = Signature { credentials: &self.credentials, service };
        let answer = send(&self.http, request.build().expect("a request"), &signature).await.expect("an answer");
        let (status, text) = (answer.status(), answer.text().await.unwrap_or_default());
        assert!(status.is_success(), "{service}: {status} {text}");
    }
}

/// A message that the customer took from a queue.
#[derive(Clone, Debug)]
pub struct Taken {
    /// Its body.
    pub body: String,
    /// Its attributes.
    pub attributes: BTreeMap<String, String>,
    /// Its group, in a FIFO queue.
    pub group: Option<String>,
}

impl Taken {
    /// Returns the webhook in a message of a `destination` of kind `sqs`, as docs/destinations.md says.
    ///
    /// # Panics
    /// It is none.
    #[must_use]
    pub fn webhook(&self) -> Received {
        let mut headers = self.attributes.clone();
        let more = headers.remove("more-headers").unwrap_or_else(|| "{}".to_owned());
        headers.extend(serde_json::from_str::<BTreeMap<String, String>>(&more).expect("more headers"));
        received(&headers, &self.body)
    }

    /// Returns the webhook in an event that a rule has put into a queue.
    ///
    /// # Panics
    /// It is none.
    #[must_use]
    pub fn webhook_of_event(&self) -> Received {
        let event: Value = serde_json::from_str(&self.body).expect("an event of EventBridge");
        let detail = &event["detail"];
        let headers: BTreeMap<String, String> =
            serde_json::from_value(detail["headers"].clone()).expect("the headers of a webhook");
        received(&headers, detail["body"].as_str().expect("the body of a webhook"))
    }
}

fn received(headers: &BTreeMap<String, String>, body: &str) -> Received {
    let header = |(name, value): (&String, &String)| {
        (HeaderName::try_from(name).expect("a name"), value.parse().expect("a value"))
    };
    let headers: HeaderMap = headers.iter().map(header).collect();
    Received {
        at: Instant::now().into(),
        method: Method::POST,
        uri: "/".parse().expect("a path"),
        url: "https://queue.example/".to_owned(),
        headers,
        body: body.to_owned().into(),
        client_certificate: None,
        status: None,
    }
}

fn name_of(role_arn: &str) -> &str {
    role_arn.rsplit('/').next().unwrap_or_default()
}

impl LocalStack {
    /// Creates an endpoint with a destination, and returns it as the API shows it.
    ///
    /// # Panics
    /// The API refuses it.
    pub async fn register_destination(&self, tenant: &signpost_core::event::TenantId, settings: &Value) -> Value {
        let path = crate::local_stack::endpoints_path(tenant);
        let mut settings = settings.clone();
        settings["retry"] = json!({"maxRetries": 20, "intervalSeconds": 2, "backoff": "fixed"});
        let answer = self.manage("POST", &path, Some(&settings)).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()
    }
}
