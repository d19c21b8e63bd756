//! Roles of customers, and calls to their queues, against a server that plays AWS.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use futures_util::future::join_all;
use signpost_core::delivery::attempt::AttemptError;
use signpost_core::delivery::destination::Call;
use signpost_core::delivery::request::{AttemptStart, Keyring, Request};
use signpost_core::endpoint::Endpoint;
use signpost_core::endpoint::destination::{Destination, RolePatterns};
use signpost_core::endpoint::target::TargetRules;
use signpost_core::event::Event;
use signpost_engine::ports::webhooks::{Exchange, Webhooks as _};
use signpost_io::http::destinations::DestinationError;
use signpost_io::http::guarded_client::Guard;
use signpost_io::http::webhook_sender::WebhookSender;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A request to AWS: its head in lower case, and its body.
#[derive(Clone, Debug)]
struct Asked {
    head: String,
    body: String,
}

impl Asked {
    fn is_to_sts(&self) -> bool {
        self.body.contains("Action=AssumeRole")
    }
}

/// Plays STS and SQS on loopback. `answer` gives status and body.
struct Aws {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Aws {
    async fn start(answer: impl Fn(&Asked) -> (u16, String) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let (noted, answer) = (Arc::clone(&asked), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (noted, answer) = (Arc::clone(&noted), Arc::clone(&answer));
                tokio::spawn(async move {
                    let (asked, mut stream) = read(stream).await;
                    noted.lock().unwrap().push(asked.clone());
                    let (status, body) = answer(&asked);
                    let length = body.len();
                    let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
                    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
                });
            }
        });
        Self { url, asked }
    }

    fn sender(&self, roles: &str) -> WebhookSender {
        sender(&self.url, roles)
    }

    fn calls(&self) -> (usize, usize) {
        let asked = self.asked.lock().unwrap();
        let sts = asked.iter().filter(|one| one.is_to_sts()).count();
        (sts, asked.len() - sts)
    }
}

fn sender(url: &str, roles: &str) -> WebhookSender {
    let aws = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new("own", "own", None, None, "test")))
        .retry_config(aws_config::retry::RetryConfig::disabled())
        .endpoint_url(url)
        .build();
    let sender = WebhookSender::new(Guard::new(TargetRules::INTERNET)).unwrap();
    sender.with_roles(&aws, RolePatterns::parse(roles).unwrap())
}

async fn read(stream: TcpStream) -> (Asked, TcpStream) {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).await.unwrap();
        if line.trim().is_empty() {
            break;
        }
        let line = line.to_ascii_lowercase();
        if let Some(bytes) = line.strip_prefix("content-length:") {
            length = bytes.trim().parse().unwrap();
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).await.unwrap();
    (Asked { head, body: String::from_utf8(body).unwrap() }, reader.into_inner())
}

const ROLES: &str = "arn:aws:iam::*:role/hooks-*";

fn credentials() -> String {
    // The form of https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html#API_AssumeRole_Examples
    "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Credentials>\
     <AccessKeyId>ASIATHEIRS</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>theirs</SessionToken>\
     <Expiration>2100-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
        .to_owned()
}

fn sts_error(code: &str) -> String {
    format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
         <Code>{code}</Code><Message>m</Message></Error></ErrorResponse>"
    )
}

async fn put(sender: &WebhookSender, tenant: &str) -> Result<Exchange, DestinationError> {
    let settings = format!(
        r#"{{"kind":"sqs","queueArn":"arn:aws:sqs:eu-west-1:111122223333:q",
            "roleArn":"arn:aws:iam::111122223333:role/hooks-a","externalId":"signpost-of-{tenant}"}}"#
    );
    let destination: Destination = serde_json::from_str(&settings).unwrap();
    let event =
        format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t","tenant":"{tenant}","data":{{"a":1}}}}"#);
    let event = Event::parse(&event).unwrap();
    let endpoint = Endpoint { signatures: Vec::new(), ..Endpoint::new(destination.resource.url()) };
    let target = TargetRules::INTERNET.parse(&endpoint.url).unwrap();
    let start = AttemptStart { number: 1, unix_seconds: 0, replay: None };
    let request = Request::build(&event, &endpoint, target, start, &Keyring::default()).unwrap();
    let call = Call::build(&request, &destination, &event, start).unwrap();
    sender.put(&event.key.tenant, &destination, request, call, Duration::from_secs(5)).await
}

#[tokio::test]
async fn a_batch_assumes_a_role_once_with_the_tenants_external_id_and_signs_with_its_credentials() {
    let aws =
        Aws::start(|asked| (200, if asked.is_to_sts() { credentials() } else { r#"{"MessageId":"m"}"#.into() })).await;
    let sender = aws.sender(ROLES);
    for exchange in join_all((0..10).map(|_| put(&sender, "acme"))).await {
        assert_eq!(exchange.unwrap().result.unwrap(), 200);
    }
    assert_eq!(aws.calls(), (1, 10), "single flight");
    put(&sender, "globex").await.unwrap();
    assert_eq!(aws.calls(), (2, 11), "another tenant has credentials of its own");
    let asked = aws.asked.lock().unwrap().clone();
    let [first, second] = [0, 1].map(|at| asked.iter().filter(|one| one.is_to_sts()).nth(at).unwrap().body.clone());
    assert!(first.contains("ExternalId=signpost-of-acme") && second.contains("ExternalId=signpost-of-globex"));
    assert!(first.contains("RoleSessionName=signpost-acme"), "{first}");
    let sent = asked.iter().find(|one| !one.is_to_sts()).unwrap();
    for part in [
        "x-amz-target: amazonsqs.sendmessage",
        "x-amz-security-token: theirs",
        "credential=asiatheirs/",
        "/eu-west-1/sqs/",
    ] {
        assert!(sent.head.contains(part), "{part}: {}", sent.head);
    }
}

#[tokio::test]
async fn a_role_that_does_not_trust_signpost_is_the_customers_fault_and_everything_else_of_sts_is_not() {
    for (code, status, is_theirs) in [
        ("AccessDenied", 403, true),
        ("ValidationError", 400, true),
        ("Throttling", 400, false),
        ("InvalidClientTokenId", 403, false),
        ("ExpiredToken", 403, false),
        ("RegionDisabledException", 403, false),
        ("InternalFailure", 500, false),
    ] {
        let aws = Aws::start(move |_| (status, sts_error(code))).await;
        match put(&aws.sender(ROLES), "acme").await {
            Ok(Exchange { result: Err(AttemptError::RoleRefused(_)), sent: None, .. }) if is_theirs => {}
            Err(DestinationError::NoCredentials(_)) if !is_theirs => {}
            other => panic!("{code}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_refusal_of_sts_is_shared_by_the_deliveries_of_a_batch() {
    let aws = Aws::start(|_| (403, sts_error("AccessDenied"))).await;
    let sender = aws.sender(ROLES);
    for exchange in join_all((0..10).map(|_| put(&sender, "acme"))).await {
        assert!(matches!(exchange.unwrap().result, Err(AttemptError::RoleRefused(_))));
    }
    assert_eq!(aws.calls(), (1, 0));
}

#[tokio::test]
async fn without_a_network_or_the_permission_of_the_stack_nothing_is_charged() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let unreachable = put(&sender(&url, ROLES), "acme").await;
    assert!(matches!(unreachable, Err(DestinationError::NoCredentials(_))), "{unreachable:?}");
    let aws = Aws::start(|_| (200, credentials())).await;
    let forbidden = put(&aws.sender("arn:aws:iam::*:role/others-*"), "acme").await.unwrap_err();
    assert!(forbidden.to_string().contains("`DestinationRoleArns`"), "{forbidden}");
    assert_eq!(aws.calls(), (0, 0));
    let plain = WebhookSender::new(Guard::new(TargetRules::INTERNET)).unwrap();
    assert!(matches!(put(&plain, "acme").await, Err(DestinationError::NoAws)));
}

#[tokio::test]
async fn a_refused_session_is_not_used_again() {
    for (code, is_ours) in [("ExpiredTokenException", true), ("AccessDeniedException", false)] {
        let answer = format!(r#"{{"__type":"com.amazonaws.sqs#{code}","message":"m"}}"#);
        let aws =
            Aws::start(move |asked| if asked.is_to_sts() { (200, credentials()) } else { (403, answer.clone()) }).await;
        let sender = aws.sender(ROLES);
        for attempt in 1..=2 {
            let put = put(&sender, "acme").await;
            assert_eq!(matches!(put, Err(DestinationError::Rejected(_))), is_ours, "{put:?}");
            if let Ok(exchange) = put {
                assert_eq!(exchange.result.unwrap_err().status(), Some(403));
                assert!(exchange.response.unwrap().contains(code), "the answer of AWS is kept");
                assert!(exchange.sent.is_some());
            }
            assert_eq!(aws.calls(), (attempt, attempt), "{code}");
        }
    }
}
